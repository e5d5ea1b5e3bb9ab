//! An IKE initiator that asks for what it likes: the engine, driven by a test over a UDP socket.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::time::{Duration, Instant};

use homeward::lab::Host;
use ike::action::{AddressRequest, ChildRequest, ChildSa, Connect, EspSuite, Lease, Lifetime, LocalAuth, RemoteAuth};
use ike::crypto::{Randomness, Secret};
use ike::wire::{Identity, NotifyType, TrafficSelector};
use ike::{Action, CloseReason, Endpoints, Engine, IkeSaId, Input};
use ring::rand::{SecureRandom, SystemRandom};

const PATIENCE: Duration = Duration::from_secs(10);
const PORT: u16 = 500;

struct Random(SystemRandom);

impl Randomness for Random {
    fn fill(&mut self, octets: &mut [u8]) {
        self.0.fill(octets).unwrap();
    }
}

/// What became of it until now.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    pub(crate) ike_sa: Option<IkeSaId>,
    pub(crate) lease: Option<Lease>,
    pub(crate) children: Vec<ChildSa>,
    pub(crate) failed: Vec<Option<NotifyType>>,
    pub(crate) closed: Vec<CloseReason>,
}

/// A peer on a host of the lab.
pub(crate) struct IkePeer {
    engine: Engine,
    socket: UdpSocket,
    endpoints: Endpoints,
    pub(crate) fate: Fate,
}

impl IkePeer {
    /// Begins an IKE SA from `local`, with a shared secret, and a first child for this home address (none: any).
    pub(crate) fn connect(
        host: &Host,
        (local, agent): (Ipv6Addr, Ipv6Addr),
        (id, agent_id): (&str, &str),
        secret: &str,
        address: Option<AddressRequest>,
        home: Option<Ipv6Addr>,
    ) -> Self {
        let at = |address| SocketAddr::V6(SocketAddrV6::new(address, PORT, 0, 0));
        let endpoints = Endpoints { local: at(local), remote: at(agent) };
        let socket = host.enter(|| UdpSocket::bind(endpoints.local)).unwrap().unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let engine = Engine::new(ike::Config::default(), Box::new(Random(SystemRandom::new())));
        let secret = || Secret::new(secret.as_bytes().to_vec());
        let mut peer = Self { engine, socket, endpoints, fate: Fate::default() };
        let connect = Connect {
            endpoints,
            local_id: Identity::Fqdn(id.to_owned()),
            remote_id: Identity::Fqdn(agent_id.to_owned()),
            local_auth: LocalAuth::Psk(secret()),
            remote_auth: RemoteAuth::Psk(secret()),
            address,
            child: Some(child(home, agent)),
            initial_contact: true,
            tag: 1,
        };
        peer.input(Input::Connect(Box::new(connect)));
        peer
    }

    /// Asks for another child, for this home address.
    pub(crate) fn ask(&mut self, home: Ipv6Addr, agent: Ipv6Addr) {
        let ike_sa = self.fate.ike_sa.unwrap();
        self.input(Input::CreateChild(ike_sa, child(Some(home), agent)));
    }

    pub(crate) fn close(&mut self) {
        self.input(Input::Close(self.fate.ike_sa.unwrap()));
        self.until("the end", |fate| !fate.closed.is_empty());
    }

    /// Goes on until something has happened.
    pub(crate) fn until(&mut self, what: &str, done: impl Fn(&Fate) -> bool) {
        let end = Instant::now() + PATIENCE;
        let mut octets = vec![0; 65_536];
        while !done(&self.fate) {
            assert!(Instant::now() < end, "{what} did not come: {:?}", self.fate);
            if let Ok((length, _)) = self.socket.recv_from(&mut octets) {
                let bytes = octets[..length].to_vec();
                self.input(Input::Datagram { endpoints: self.endpoints, bytes });
            }
            self.input(Input::Timeout);
        }
    }

    fn input(&mut self, input: Input) {
        self.engine.handle(Instant::now(), input);
        while let Some(action) = self.engine.poll() {
            match action {
                Action::Send { bytes, endpoints } => _ = self.socket.send_to(&bytes, endpoints.remote).unwrap(),
                Action::Established { ike_sa, lease, .. } => {
                    self.fate.ike_sa = Some(ike_sa);
                    self.fate.lease = lease;
                }
                Action::InstallChild(child) => self.fate.children.push(*child),
                Action::ChildFailed { notify, .. } => self.fate.failed.push(notify),
                Action::Closed { reason, .. } => self.fate.closed.push(reason),
                other => println!("{other:?}"),
            }
        }
    }
}

/// The SA for binding updates (RFC 4877 §7.3).
fn child(home: Option<Ipv6Addr>, agent: Ipv6Addr) -> ChildRequest {
    let home = home.map_or(ike::wire::ts::EVERY_IPV6, |home| home..=home);
    let lifetime = Lifetime { rekey: Duration::from_secs(3600), hard: Duration::from_secs(5400) };
    ChildRequest {
        local_selectors: vec![TrafficSelector::mobility_header(home, 5)],
        remote_selectors: vec![TrafficSelector::mobility_header(agent..=agent, 6)],
        transport: true,
        suites: vec![EspSuite::AesGcm16_256],
        lifetime,
        tag: 1,
    }
}
