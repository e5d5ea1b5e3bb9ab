//! A mobile node that proves its identity and then takes what it can get.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use homeward::rfc4877::child::Purpose;
use ike::action::{Action, AddressRequest, ChildRequest, Connect, Endpoints, EspSuite, Input, Lifetime};

use crate::hand::Sent;
use crate::hosts::{AGENT, Setup, agent_identity, identity, psk};
use crate::random::Random;
use crate::world::World;

const ITS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0x66);
const IKE_SAS: usize = 40;

fn at(address: Ipv6Addr) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(address), 500)
}

fn connect() -> Connect {
    let (local_selectors, remote_selectors) = Purpose::Binding.selectors(None, AGENT);
    let (local_auth, remote_auth) = psk();
    Connect {
        endpoints: Endpoints { local: at(ITS), remote: at(AGENT.0) },
        local_id: identity(0),
        remote_id: agent_identity(),
        local_auth,
        remote_auth,
        address: Some(AddressRequest { suggestion: None, dns: false }),
        child: Some(ChildRequest {
            local_selectors,
            remote_selectors,
            transport: true,
            suites: vec![EspSuite::AesGcm16_256],
            lifetime: Lifetime { rekey: Duration::from_secs(3600), hard: Duration::from_secs(5400) },
            tag: Purpose::Binding.tag(),
        }),
        initial_contact: false,
        tag: 1,
    }
}

/// Carries messages between it and the home agent until neither says anything; whether an IKE SA was built.
fn converse(world: &mut World, engine: &mut ike::Engine) -> bool {
    let mut established = false;
    loop {
        let mut quiet = true;
        while let Some(action) = engine.poll() {
            quiet = false;
            match action {
                Action::Send { bytes, .. } => {
                    let endpoints = Endpoints { local: at(AGENT.0), remote: at(ITS) };
                    world.agent.ike_datagram(world.now(), endpoints, bytes, &mut world.agent_hand);
                }
                Action::Established { .. } => established = true,
                _ => {}
            }
        }
        for sent in std::mem::take(&mut world.agent_hand.sent) {
            if let Sent::Ike { from, to, bytes } = sent {
                quiet = false;
                engine.handle(world.now(), Input::Datagram { endpoints: Endpoints { local: to, remote: from }, bytes });
            }
        }
        if quiet {
            return established;
        }
    }
}

#[test]
fn who_builds_ike_sas_without_end_has_a_few() {
    let mut world = World::new(Setup::quiet(), 1);
    let mut engine = ike::Engine::new(ike::Config::default(), Box::new(Random::new(7)));
    for _ in 0..IKE_SAS {
        engine.handle(world.now(), Input::Connect(Box::new(connect())));
        assert!(converse(&mut world, &mut engine));
    }
    assert_eq!(world.agent.ike_sas().count(), 8);
    assert_eq!(world.agent.children().count(), 8);
}

#[test]
fn who_does_not_let_go_of_them_is_refused_more() {
    let mut world = World::new(Setup::quiet(), 1);
    let mut built = 0;
    for number in 0..IKE_SAS {
        // The last one's is forgotten: nobody answers what comes for it.
        let mut engine = ike::Engine::new(ike::Config::default(), Box::new(Random::new(number as u64)));
        engine.handle(world.now(), Input::Connect(Box::new(connect())));
        built += usize::from(converse(&mut world, &mut engine));
    }
    assert_eq!(built, 16);
    assert_eq!(world.agent.ike_sas().count(), 16);
}
