//! The hosts: one home agent, several mobile nodes, and how each is set up.

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use homeward::daemon::{home_agent, mobile_node};
use homeward::kernel::fake::{FakeKernel, Release};
use homeward::rfc4877::pad::Pad;
use ike::action::{EspSuite, Lifetime, LocalAuth, PeerPolicy, RemoteAuth};
use ike::crypto::Secret;
use ike::wire::Identity;
use mip6::action::{Interface, MobileNodeInput};
use mip6::address::{HomeAddress, HomeAgentAddress, Prefix};
use mip6::wire::{Icmp6Message, NeighbourOption, PrefixInformation, RouterAdvertisement};

use crate::hand::Hand;
use crate::random::Random;

/// The home agent, which is also the router of the home link.
pub(crate) const AGENT: HomeAgentAddress = HomeAgentAddress(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1));
/// Somebody far away.
pub(crate) const CORRESPONDENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 9);
/// The home agent's interface on the home link.
pub(crate) const HOME_LINK: Interface = Interface(1);
/// The first interface of a mobile node; its loopback is 1.
pub(crate) const FIRST: usize = 2;

/// A link that a mobile node can be plugged into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Home,
    A,
    B,
    C,
}

impl Place {
    pub(crate) const ALL: [Self; 4] = [Self::Home, Self::A, Self::B, Self::C];
    pub(crate) const FOREIGN: [Self; 3] = [Self::A, Self::B, Self::C];

    pub(crate) fn prefix(self) -> Prefix {
        let third = match self {
            Self::Home => 1,
            Self::A => 0xa,
            Self::B => 0xb,
            Self::C => 0xc,
        };
        Prefix::new(Ipv6Addr::new(0x2001, 0xdb8, third, 0, 0, 0, 0, 0), 64)
    }

    /// Its router's link-local address.
    pub(crate) fn router(self) -> Ipv6Addr {
        let last = self.prefix().address().segments()[2];
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last)
    }

    /// What a foreign router advertises.
    pub(crate) fn advertisement(self, interval: Option<Duration>) -> Vec<u8> {
        let information = PrefixInformation {
            address: self.prefix().address(),
            length: 64,
            on_link: true,
            autonomous: true,
            router_address: false,
            valid: 86_400,
            preferred: 14_400,
        };
        let mut options = vec![
            NeighbourOption::SourceLinkLayer([2, 0, 0, 0, 0, self.router().octets()[15]]),
            NeighbourOption::Prefix(information),
        ];
        options.extend(interval.map(|interval| NeighbourOption::AdvertisementInterval(interval.as_millis() as u32)));
        let advertisement = RouterAdvertisement { router_lifetime: 1800, options, ..RouterAdvertisement::default() };
        Icmp6Message::RouterAdvertisement(advertisement).write()
    }
}

/// What is the same for all hosts of a run.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) release: Release,
    pub(crate) mobiles: usize,
    /// Home addresses are assigned from a pool.
    pub(crate) assigned: bool,
    pub(crate) key_mobility: bool,
    pub(crate) lifetime: Duration,
    pub(crate) linger: Duration,
    pub(crate) newest_link: bool,
    /// How much the second interface is liked more than the first.
    pub(crate) preferences: [u32; 2],
    pub(crate) child_rekey: Duration,
    pub(crate) ike_rekey: Duration,
    pub(crate) liveness: Duration,
    /// How often foreign routers advertise, and whether they say so.
    pub(crate) advertise: Duration,
    pub(crate) interval_told: bool,
    pub(crate) trace: bool,
}

impl Setup {
    /// One mobile node with an assigned address, and nothing that happens by itself soon.
    pub(crate) fn quiet() -> Self {
        Self {
            release: Release::Linux6_12,
            mobiles: 1,
            assigned: true,
            key_mobility: true,
            lifetime: Duration::from_secs(420),
            linger: Duration::from_secs(2),
            newest_link: true,
            preferences: [1, 1],
            child_rekey: Duration::from_secs(3600),
            ike_rekey: Duration::from_secs(14_400),
            liveness: Duration::from_secs(30),
            advertise: Duration::from_secs(10),
            interval_told: false,
            trace: false,
        }
    }

    pub(crate) fn random(random: &mut Random) -> Self {
        let secs = Duration::from_secs;
        Self {
            release: random.pick(&[Release::Linux6_1, Release::Linux6_12]),
            mobiles: 1 + random.below(3),
            assigned: random.happens(500),
            key_mobility: !random.happens(150),
            lifetime: secs(random.pick(&[60, 120, 420])),
            linger: random.pick(&[secs(0), secs(2), secs(2), secs(5)]),
            newest_link: random.happens(700),
            preferences: random.pick(&[[1, 1], [2, 1], [1, 2]]),
            child_rekey: secs(random.pick(&[20, 60, 300, 3600])),
            ike_rekey: secs(random.pick(&[30, 120, 600, 14_400])),
            liveness: secs(random.pick(&[10, 30])),
            advertise: secs(random.pick(&[3, 10, 30])),
            interval_told: random.happens(500),
            trace: false,
        }
    }

    fn ike(&self) -> ike::Config {
        ike::Config {
            liveness: Some(self.liveness),
            ike_lifetime: Lifetime { rekey: self.ike_rekey, hard: self.ike_rekey * 3 / 2 },
            ..ike::Config::default()
        }
    }

    fn child_lifetime(&self) -> Lifetime {
        Lifetime { rekey: self.child_rekey, hard: self.child_rekey * 3 / 2 }
    }

    /// The home address of a mobile node, if it is not assigned.
    pub(crate) fn home_address(&self, mobile: usize) -> Option<HomeAddress> {
        let last = 0x100 + mobile as u16;
        (!self.assigned).then(|| HomeAddress(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, last)))
    }

    pub(crate) fn mobile_node(&self, mobile: usize, random: &mut Random) -> mobile_node::MobileNode {
        let settings = mobile_node::Settings {
            identity: identity(mobile),
            home_agent_identity: agent_identity(),
            home_agent: AGENT,
            home_prefix_len: 64,
            home_address: self.home_address(mobile),
            credentials: Box::new(psk),
            suites: vec![EspSuite::AesGcm16_256],
            child_lifetime: self.child_lifetime(),
        };
        let mut config = mip6::mn::Config::new(Place::Home.prefix());
        config.lifetime = self.lifetime;
        config.key_mobility = self.key_mobility;
        config.linger = self.linger;
        config.newest_link = self.newest_link;
        config.binding_may_exist = true;
        let engine = ike::Engine::new(self.ike(), Box::new(Random::new(random.next())));
        mobile_node::MobileNode::new(settings, engine, mip6::mn::MobileNode::new(config, random.entropy()))
    }

    pub(crate) fn home_agent(&self, random: &mut Random) -> home_agent::HomeAgent {
        let settings = home_agent::Settings {
            address: AGENT,
            interface: HOME_LINK,
            interface_name: "eth0".into(),
            prefix: Place::Home.prefix(),
            outside: Vec::new(),
            identify: Box::new(|_| {
                let local_id = agent_identity();
                let (local_auth, remote_auth) = psk();
                Ok(PeerPolicy { local_id, local_auth, remote_auth, tag: 0 })
            }),
            suites: vec![EspSuite::AesGcm16_256],
            child_lifetime: self.child_lifetime(),
        };
        let mut config = mip6::ha::Config::new(AGENT, Place::Home.prefix());
        config.advertise = Some(self.advertise);
        config.solicited_delay = Duration::ZERO;
        config.link_layer = Some([2, 0, 0, 0, 0, 1]);
        let entries =
            (0..self.mobiles).map(|mobile| (identity(mobile), self.home_address(mobile).into_iter().collect()));
        let pool = Prefix::new(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0x1000, 0), 120);
        let pad = Pad::new(AGENT, Place::Home.prefix(), Some(pool), entries);
        let engine = ike::Engine::new(self.ike(), Box::new(Random::new(random.next())));
        let mip6 = mip6::ha::HomeAgent::new(config, random.entropy());
        home_agent::HomeAgent::new(settings, engine, mip6, pad)
    }

    pub(crate) fn hand(&self, random: &mut Random) -> Hand {
        Hand::new(FakeKernel::new(self.release), Random::new(random.next()), self.trace)
    }
}

pub(crate) fn identity(mobile: usize) -> Identity {
    Identity::Rfc822(format!("mn{mobile}@example.org"))
}

pub(crate) fn agent_identity() -> Identity {
    Identity::Fqdn("ha.example.org".into())
}

/// How both prove their identity.
pub(crate) fn psk() -> (LocalAuth, RemoteAuth) {
    (LocalAuth::Psk(secret()), RemoteAuth::Psk(secret()))
}

fn secret() -> Secret {
    Secret::from_slice(b"a secret of the two")
}

/// A mobile node, or the machine of one that does not run.
pub(crate) struct Mobile {
    pub(crate) node: Option<mobile_node::MobileNode>,
    pub(crate) hand: Hand,
    /// What each interface is plugged into, whether or not the node has been told.
    pub(crate) plugged: [Option<Place>; 2],
    /// When a stopping node is ended all the same.
    pub(crate) farewell: Option<Duration>,
}

impl Mobile {
    /// The place of an interface, by the kernel's index.
    pub(crate) fn place(&self, interface: u32) -> Option<Place> {
        *self.plugged.get((interface as usize).checked_sub(FIRST)?)?
    }

    /// Whether a packet for this address arrives: it is on an interface that is plugged into that place.
    pub(crate) fn is_at(&self, address: Ipv6Addr, place: Place) -> bool {
        let here = |known: &&homeward::kernel::op::Address| {
            known.address == address && self.place(known.interface) == Some(place)
        };
        self.hand.kernel.addresses().iter().any(|known| here(&known))
    }

    /// The place that packets leave to: the default route's, if its router is there.
    pub(crate) fn way_out(&self) -> Option<Place> {
        let route = self.hand.kernel.default_route()?;
        let place = self.place(route.interface)?;
        (route.gateway == Some(place.router())).then_some(place)
    }

    pub(crate) fn start(&mut self, now: Instant, setup: &Setup, number: usize, random: &mut Random) {
        let mut node = setup.mobile_node(number, random);
        let names = ["eth0".to_owned(), "wlan0".to_owned()];
        // A daemon that cannot start is started again by its supervisor.
        let refusals = std::mem::take(&mut self.hand.refusals);
        node.start(&names, &mut self.hand).expect("it starts");
        for (index, place) in self.plugged.iter().enumerate() {
            if place.is_some() {
                let interface = Interface((index + FIRST) as u32);
                let preference = setup.preferences[index];
                node.mobility(now, MobileNodeInput::LinkUp { interface, preference }, &mut self.hand);
            }
        }
        self.hand.refusals = refusals;
        self.node = Some(node);
    }
}
