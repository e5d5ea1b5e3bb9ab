//! From the checked configuration to a node: the only place where words of the file become words of the cores.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use conf::model::{Authentication, Identity as Name, Model, Net, Role};
use ike::action::{EspSuite, Lifetime, LocalAuth, PeerPolicy, RemoteAuth};
use ike::crypto::Secret;
use ike::wire::Identity;
use mip6::address::{HomeAddress, HomeAgentAddress, Prefix};
use ring::rand::{SecureRandom, SystemRandom};

use super::Node;
use super::credentials::Credentials;
use super::home_agent::{self, HomeAgent};
use super::mobile_node::{self, MobileNode};
use super::world::World;
use crate::rfc4877::pad::Pad;

/// What we offer and accept, by preference.
const SUITES: [EspSuite; 3] = [EspSuite::AesGcm16_256, EspSuite::AesGcm16_128, EspSuite::AesCbc256HmacSha256];

/// Makes the node that the configuration describes.
///
/// # Errors
/// What does not fit this machine, in words.
pub(super) fn node(model: Model, credentials: &Arc<Credentials>, world: &World) -> Result<Node, String> {
    let engine = ike::Engine::new(ike_config(&model, credentials), Box::new(Random(SystemRandom::new())));
    let entropy = entropy()?;
    let identity = name(&model.identity);
    let child_lifetime = lifetime(model.ike.child_rekey);
    match model.role {
        Role::MobileNode(mobile) => {
            let agent = HomeAgentAddress(mobile.home_agent.address);
            let credentials = credentials.clone();
            let authentication = mobile.home_agent.authentication;
            let settings = mobile_node::Settings {
                identity,
                home_agent_identity: name(&mobile.home_agent.identity),
                home_agent: agent,
                home_prefix_len: mobile.home_prefix.len,
                home_address: mobile.home_address.map(HomeAddress),
                credentials: Box::new(move || auth(&credentials, &authentication)),
                suites: SUITES.to_vec(),
                child_lifetime,
            };
            let mut config = mip6::mn::Config::new(prefix(mobile.home_prefix));
            config.lifetime = mobile.lifetime;
            config.newest_link = mobile.newest_link;
            config.linger = mobile.linger;
            // An earlier process may have been killed before it de-registered.
            config.binding_may_exist = true;
            config.initial_first_reg = mobile.first_wait;
            let mip6 = mip6::mn::MobileNode::new(config, entropy);
            let interfaces: BTreeMap<String, u32> =
                mobile.interfaces.into_iter().map(|interface| (interface.name, interface.preference)).collect();
            for name in interfaces.keys() {
                world.listen(world.index(name)?);
            }
            Ok(Node::MobileNode(Box::new(MobileNode::new(settings, engine, mip6)), interfaces))
        }
        Role::HomeAgent(agent) => {
            let interface = world.index(&agent.interface)?;
            let (address, home_prefix) = (HomeAgentAddress(agent.address), prefix(agent.prefix));
            let addresses = |addresses: &[std::net::Ipv6Addr]| addresses.iter().copied().map(HomeAddress).collect();
            let entries: Vec<(Identity, Vec<HomeAddress>)> =
                agent.mobile_nodes.iter().map(|node| (name(&node.identity), addresses(&node.home_addresses))).collect();
            let outside = entries.iter().flat_map(|(_, homes)| homes).copied();
            let outside = outside.filter(|home| !home_prefix.contains(home.0)).collect();
            let pad = Pad::new(address, home_prefix, agent.pool.map(prefix), entries);
            let authentication: BTreeMap<Identity, Authentication> =
                agent.mobile_nodes.into_iter().map(|node| (name(&node.identity), node.authentication)).collect();
            let credentials = credentials.clone();
            let settings = home_agent::Settings {
                address,
                interface,
                interface_name: agent.interface,
                prefix: home_prefix,
                outside,
                identify: Box::new(move |claimed| {
                    let authentication = authentication
                        .get(claimed)
                        .ok_or_else(|| format!("{claimed} is not among the mobile nodes of the configuration"))?;
                    let (local_auth, remote_auth) = auth(&credentials, authentication);
                    Ok(PeerPolicy { local_id: identity.clone(), local_auth, remote_auth, tag: 0 })
                }),
                suites: SUITES.to_vec(),
                child_lifetime,
            };
            let mut config = mip6::ha::Config::new(address, home_prefix);
            config.max_lifetime = agent.max_lifetime;
            config.advertise = agent.advertise;
            // There is no second home agent on the link that could answer at the same time.
            config.solicited_delay = Duration::ZERO;
            config.link_layer = world.link(interface).and_then(|link| link.link_layer);
            let mip6 = mip6::ha::HomeAgent::new(config, entropy);
            Ok(Node::HomeAgent(Box::new(HomeAgent::new(settings, engine, mip6, pad)), interface))
        }
    }
}

fn ike_config(model: &Model, credentials: &Credentials) -> ike::Config {
    ike::Config {
        // Without being asked for it in IKE_SA_INIT many an initiator sends no certificate (RFC 7296 §3.7).
        authorities: credentials.authorities().to_vec(),
        liveness: Some(model.ike.liveness),
        ike_lifetime: lifetime(model.ike.ike_rekey),
        key_log: model.ike.key_log.is_some(),
        ..ike::Config::default()
    }
}

/// What is not rekeyed by then is deleted: half as long again leaves room for retransmissions and for a lost peer.
fn lifetime(rekey: Duration) -> Lifetime {
    Lifetime { rekey, hard: rekey + rekey / 2 }
}

fn auth(credentials: &Credentials, authentication: &Authentication) -> (LocalAuth, RemoteAuth) {
    match authentication {
        Authentication::Psk(secret) => {
            (LocalAuth::Psk(Secret::from_slice(secret)), RemoteAuth::Psk(Secret::from_slice(secret)))
        }
        Authentication::Certificate => (credentials.local(), credentials.remote()),
    }
}

fn name(name: &Name) -> Identity {
    match name {
        Name::Ipv6(address) => Identity::Ipv6(*address),
        Name::Email(email) => Identity::Rfc822(email.clone()),
        Name::DomainName(domain) => Identity::Fqdn(domain.clone()),
    }
}

fn prefix(net: Net) -> Prefix {
    Prefix::new(net.address, net.len)
}

fn entropy() -> Result<[u8; 32], String> {
    let mut octets = [0; 32];
    SystemRandom::new().fill(&mut octets).map_err(|_| "the kernel gives no random numbers".to_owned())?;
    Ok(octets)
}

struct Random(SystemRandom);

impl ike::crypto::Randomness for Random {
    #[expect(clippy::expect_used, reason = "getrandom(2) does not fail after boot; without it no key is a key")]
    fn fill(&mut self, octets: &mut [u8]) {
        self.0.fill(octets).expect("the kernel gives random numbers");
    }
}
