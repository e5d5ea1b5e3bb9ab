//! Two engines back to back: a clock that only the test moves, links that lose what the test wants, owners that answer.

use std::collections::VecDeque;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use ike::action::{
    AddressRequest, ChildDecision, ChildRequest, ChildSa, Connect, EspSuite, KeyHandle, Lease, Lifetime, LocalAuth,
    PeerPolicy, RemoteAuth, SignatureScheme,
};
use ike::crypto::{Randomness, Secret};
use ike::wire::{Identity, TrafficSelector};
use ike::{Action, ChildId, CloseReason, Config, Endpoints, Engine, IkeSaId, Input};

/// Octets that look random and are the same in each run.
pub(crate) struct Seeded(pub u64);

impl Randomness for Seeded {
    fn fill(&mut self, octets: &mut [u8]) {
        for octet in octets {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *octet = (z ^ (z >> 31)) as u8;
        }
    }
}

/// The mobile node's side, which usually initiates.
pub(crate) const MN: usize = 0;
/// The home agent's side.
pub(crate) const HA: usize = 1;

/// What an owner says when it is asked.
pub(crate) struct Owner {
    pub(crate) identify: Result<(), String>,
    pub(crate) psk: Vec<u8>,
    pub(crate) certificates: bool,
    pub(crate) local_id: Identity,
    pub(crate) verify: Result<(), String>,
    pub(crate) sign: Result<(), String>,
    pub(crate) lease: Result<Option<Lease>, String>,
    /// None: accept what is offered.
    pub(crate) refuse: Option<ike::wire::NotifyType>,
    /// Accept only these.
    pub(crate) narrow: Option<(Vec<TrafficSelector>, Vec<TrafficSelector>)>,
    /// Answer nothing.
    pub(crate) silent: bool,
}

pub(crate) struct Host {
    pub(crate) engine: Engine,
    pub(crate) owner: Owner,
    /// All actions but those that were sent or answered, and a mark for each datagram sent.
    pub(crate) log: Vec<Event>,
    pub(crate) children: Vec<ChildSa>,
}

/// What a host did.
#[derive(Debug)]
pub(crate) enum Event {
    Sent,
    Installed,
    Did(Action),
}

#[derive(Clone)]
pub(crate) struct Datagram {
    pub(crate) to: usize,
    /// As the receiver sees them.
    pub(crate) endpoints: Endpoints,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) hosts: [Host; 2],
    pub(crate) wire: VecDeque<Datagram>,
    /// Every datagram ever sent, with its sender.
    pub(crate) sent: Vec<(usize, Endpoints, Vec<u8>)>,
    /// The source address of the mobile node's datagrams is replaced by this one.
    pub(crate) nat: Option<SocketAddr>,
}

pub(crate) fn mn_id() -> Identity {
    Identity::Rfc822("mn@example.org".into())
}

pub(crate) fn ha_id() -> Identity {
    Identity::Fqdn("ha.example.org".into())
}

pub(crate) fn home() -> Ipv6Addr {
    "2001:db8:1::2".parse().unwrap()
}

pub(crate) fn ha_address() -> Ipv6Addr {
    "2001:db8:1::1".parse().unwrap()
}

pub(crate) fn endpoints(local: &str, remote: &str) -> Endpoints {
    Endpoints { local: local.parse().unwrap(), remote: remote.parse().unwrap() }
}

pub(crate) const CARE_OF: &str = "[2001:db8:2::2]:500";
pub(crate) const HOME_AGENT: &str = "[2001:db8:1::1]:500";

/// The binding update SA of RFC 4877.
pub(crate) fn binding_update() -> ChildRequest {
    let (home, agent) = (home()..=home(), ha_address()..=ha_address());
    ChildRequest {
        local_selectors: vec![TrafficSelector::mobility_header(home, 5)],
        remote_selectors: vec![TrafficSelector::mobility_header(agent, 6)],
        transport: true,
        suites: vec![EspSuite::AesGcm16_256, EspSuite::AesCbc256HmacSha256],
        lifetime: lifetime(),
        tag: 77,
    }
}

/// The payload SA.
pub(crate) fn payload() -> ChildRequest {
    ChildRequest {
        local_selectors: vec![TrafficSelector::any(home()..=home())],
        remote_selectors: vec![TrafficSelector::any(ike::wire::ts::EVERY_IPV6)],
        transport: false,
        tag: 78,
        ..binding_update()
    }
}

pub(crate) fn lifetime() -> Lifetime {
    Lifetime { rekey: Duration::from_secs(3600), hard: Duration::from_secs(4000) }
}

/// A configuration in which nothing happens by itself for a long time.
pub(crate) fn quiet() -> Config {
    Config { liveness: None, key_log: true, ..Config::default() }
}

pub(crate) fn connect() -> Connect {
    Connect {
        endpoints: endpoints(CARE_OF, HOME_AGENT),
        local_id: mn_id(),
        remote_id: ha_id(),
        local_auth: LocalAuth::Psk(Secret::new(b"a secret of the two".to_vec())),
        remote_auth: RemoteAuth::Psk(Secret::new(b"a secret of the two".to_vec())),
        address: None,
        child: Some(binding_update()),
        initial_contact: false,
        tag: 5,
    }
}

/// The same with certificates on both sides.
pub(crate) fn connect_with_certificates() -> Connect {
    Connect {
        local_auth: certificate(MN),
        remote_auth: RemoteAuth::Certificate { authorities: vec![[9; 20]] },
        ..connect()
    }
}

fn certificate(host: usize) -> LocalAuth {
    LocalAuth::Certificate {
        chain: vec![vec![0x30, host as u8], vec![0x30, 0xca]],
        key: KeyHandle(host as u64),
        schemes: vec![SignatureScheme::EcdsaP256Sha256],
    }
}

pub(crate) fn address_request() -> AddressRequest {
    AddressRequest { suggestion: None, dns: true }
}

pub(crate) fn lease() -> Lease {
    Lease { address: home(), prefix_len: 64, dns: vec![ha_address()] }
}

/// A signature that anybody can make and that fits only these octets and this key.
fn signature(key: u64, octets: &[u8]) -> Vec<u8> {
    let mut sum = key;
    for octet in octets {
        sum = sum.rotate_left(5) ^ u64::from(*octet).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    sum.to_be_bytes().to_vec()
}

impl Host {
    fn new(config: Config, seed: u64, local_id: Identity) -> Self {
        Host {
            engine: Engine::new(config, Box::new(Seeded(seed))),
            owner: Owner {
                identify: Ok(()),
                psk: b"a secret of the two".to_vec(),
                certificates: false,
                local_id,
                verify: Ok(()),
                sign: Ok(()),
                lease: Ok(None),
                refuse: None,
                narrow: None,
                silent: false,
            },
            log: Vec::new(),
            children: Vec::new(),
        }
    }

    /// The owner's answer to an action, if it is a question.
    fn answer(&self, host: usize, action: &Action) -> Option<Input> {
        let owner = &self.owner;
        if owner.silent {
            return None;
        }
        match action {
            Action::IdentifyPeer { ike_sa, .. } => {
                let (local_auth, remote_auth) = match owner.certificates {
                    true => (certificate(host), RemoteAuth::Certificate { authorities: vec![[9; 20]] }),
                    false => {
                        let psk = || Secret::new(owner.psk.clone());
                        (LocalAuth::Psk(psk()), RemoteAuth::Psk(psk()))
                    }
                };
                let policy = PeerPolicy { local_id: owner.local_id.clone(), local_auth, remote_auth, tag: 6 };
                Some(Input::PeerIdentified(*ike_sa, owner.identify.clone().map(|()| Box::new(policy))))
            }
            Action::VerifySignature { ike_sa, chain, octets, signature: made, .. } => {
                let peer = 1 - host;
                let good =
                    *chain == [vec![0x30, peer as u8], vec![0x30, 0xca]] && *made == signature(peer as u64, octets);
                let verdict = if good { owner.verify.clone() } else { Err("the fake signature is wrong".into()) };
                Some(Input::SignatureVerified(*ike_sa, verdict))
            }
            Action::Sign { ike_sa, key, octets, .. } => {
                Some(Input::Signed(*ike_sa, owner.sign.clone().map(|()| signature(key.0, octets))))
            }
            Action::Authorize { ike_sa, child, address, .. } => Some(Input::Authorized {
                ike_sa: *ike_sa,
                lease: match address {
                    Some(_) => owner.lease.clone(),
                    None => Ok(None),
                },
                child: child.as_ref().map(|offer| self.decide(offer)),
            }),
            Action::JudgeChild { ike_sa, offer } => Some(Input::ChildJudged(*ike_sa, self.decide(offer))),
            _ => None,
        }
    }

    fn decide(&self, offer: &ike::action::ChildOffer) -> ChildDecision {
        if let Some(notify) = self.owner.refuse {
            return ChildDecision::Refuse { notify, reason: "the owner does not want it".into() };
        }
        let (local, remote) = match &self.owner.narrow {
            Some((local, remote)) => (local.clone(), remote.clone()),
            None => (offer.local_selectors.clone(), offer.remote_selectors.clone()),
        };
        ChildDecision::Accept(ChildRequest {
            local_selectors: local,
            remote_selectors: remote,
            transport: offer.transport,
            tag: 99,
            ..binding_update()
        })
    }

    fn did<T>(&self, pick: impl Fn(&Action) -> Option<T>) -> Vec<T> {
        let actions = self.log.iter().filter_map(|event| match event {
            Event::Did(action) => pick(action),
            Event::Sent | Event::Installed => None,
        });
        actions.collect()
    }

    pub(crate) fn established(&self) -> Vec<IkeSaId> {
        self.did(|action| match action {
            Action::Established { ike_sa, .. } => Some(*ike_sa),
            _ => None,
        })
    }

    pub(crate) fn closed(&self) -> Vec<CloseReason> {
        self.did(|action| match action {
            Action::Closed { reason, .. } => Some(reason.clone()),
            _ => None,
        })
    }

    pub(crate) fn audits(&self) -> Vec<String> {
        self.did(|action| match action {
            Action::Audit(audit) => Some(audit.reason.clone()),
            _ => None,
        })
    }

    pub(crate) fn failed(&self) -> Vec<Option<ike::wire::NotifyType>> {
        self.did(|action| match action {
            Action::ChildFailed { notify, .. } => Some(*notify),
            _ => None,
        })
    }

    pub(crate) fn removed(&self) -> Vec<ChildId> {
        self.did(|action| match action {
            Action::RemoveChild(child) => Some(*child),
            _ => None,
        })
    }

    pub(crate) fn alive(&self) -> usize {
        self.did(|action| matches!(action, Action::Alive(_)).then_some(())).len()
    }

    /// How often the peer was said to know the IKE SA no more.
    pub(crate) fn doubtful(&self) -> usize {
        self.did(|action| matches!(action, Action::Doubtful(_)).then_some(())).len()
    }

    /// Starts anew, without any memory.
    pub(crate) fn reboot(&mut self, config: Config, seed: u64) {
        self.engine = Engine::new(config, Box::new(Seeded(seed)));
        self.log.clear();
        self.children.clear();
    }

    pub(crate) fn rekeyed(&self) -> usize {
        self.did(|action| matches!(action, Action::IkeRekeyed(_)).then_some(())).len()
    }

    /// The children that are installed now.
    pub(crate) fn living(&self) -> Vec<&ChildSa> {
        let removed = self.removed();
        self.children.iter().filter(|child| !removed.contains(&child.id)).collect()
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(quiet(), quiet(), 1)
    }

    pub(crate) fn with(mn: Config, ha: Config, seed: u64) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "an Instant can only be made from the clock; tests then only add"
        )]
        let now = Instant::now();
        World {
            now,
            hosts: [Host::new(mn, seed * 2, mn_id()), Host::new(ha, seed * 2 + 1, ha_id())],
            wire: VecDeque::new(),
            sent: Vec::new(),
            nat: None,
        }
    }

    /// An IKE SA and its first child stand on both sides.
    pub(crate) fn attached() -> Self {
        Self::attached_with(1)
    }

    pub(crate) fn attached_with(seed: u64) -> Self {
        let mut world = Self::with(quiet(), quiet(), seed);
        world.input(MN, Input::Connect(Box::new(connect())));
        world.run();
        assert_eq!(world.hosts[MN].living().len(), 1, "{:?}", world.hosts[MN].log);
        world.assert_agreed();
        world
    }

    pub(crate) fn ike_sa(&self, host: usize) -> IkeSaId {
        *self.hosts[host].established().last().unwrap()
    }

    /// Hands an input in, drains all actions, and answers the questions among them.
    pub(crate) fn input(&mut self, host: usize, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let this = &mut self.hosts[host];
            this.engine.handle(self.now, input);
            while let Some(action) = this.engine.poll() {
                inputs.extend(this.answer(host, &action));
                match action {
                    Action::Send { endpoints, bytes } => {
                        this.log.push(Event::Sent);
                        self.sent.push((host, endpoints, bytes.clone()));
                        let mut seen = Endpoints { local: endpoints.remote, remote: endpoints.local };
                        if let Some(outside) = self.nat {
                            if host == MN {
                                seen.remote = outside;
                            } else {
                                seen.local.set_port(endpoints.remote.port());
                            }
                        }
                        self.wire.push_back(Datagram { to: 1 - host, endpoints: seen, bytes });
                    }
                    Action::InstallChild(child) => {
                        this.log.push(Event::Installed);
                        this.children.push(*child);
                    }
                    action => this.log.push(Event::Did(action)),
                }
            }
        }
    }

    pub(crate) fn deliver(&mut self, datagram: Datagram) {
        let input = Input::Datagram { endpoints: datagram.endpoints, bytes: datagram.bytes };
        self.input(datagram.to, input);
    }

    /// Delivers the oldest datagram.
    pub(crate) fn step(&mut self) -> bool {
        match self.wire.pop_front() {
            Some(datagram) => {
                self.deliver(datagram);
                true
            }
            None => false,
        }
    }

    /// Delivers until nothing is on the wire.
    pub(crate) fn run(&mut self) {
        for _ in 0..1000 {
            if !self.step() {
                return;
            }
        }
        panic!("the two never come to rest");
    }

    /// Loses all that is on the wire.
    pub(crate) fn lose(&mut self) {
        self.wire.clear();
    }

    /// Lets time pass, with all timers and without loss.
    pub(crate) fn advance(&mut self, time: Duration) {
        self.advance_with(time, |_| true);
    }

    /// Lets time pass; `keep` says which datagrams arrive.
    pub(crate) fn advance_with(&mut self, time: Duration, mut keep: impl FnMut(&Datagram) -> bool) {
        let end = self.now + time;
        for _ in 0..100_000 {
            while let Some(datagram) = self.wire.pop_front() {
                if keep(&datagram) {
                    self.deliver(datagram);
                }
            }
            let deadlines = [0, 1].map(|host| self.hosts[host].engine.deadline());
            let next = deadlines.into_iter().flatten().min().filter(|at| *at <= end);
            let Some(next) = next else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            for (host, deadline) in deadlines.into_iter().enumerate() {
                if deadline.is_some_and(|at| at <= self.now) {
                    self.input(host, Input::Timeout);
                }
            }
        }
        panic!("a timer rings without end");
    }

    /// Both sides have the same children, with the same keys the other way round.
    pub(crate) fn assert_agreed(&self) {
        let (ours, theirs) = (self.hosts[MN].living(), self.hosts[HA].living());
        assert_eq!(ours.len(), theirs.len(), "\n{:#?}\n{:#?}", self.hosts[MN].log, self.hosts[HA].log);
        for child in ours {
            let pair =
                theirs.iter().find(|pair| pair.inbound.spi == child.outbound.spi).expect("a child without its pair");
            assert_eq!(pair.outbound.spi, child.inbound.spi);
            assert!(pair.inbound.encryption == child.outbound.encryption && !child.outbound.encryption.is_empty());
            assert!(pair.outbound.encryption == child.inbound.encryption);
            assert!(pair.inbound.integrity == child.outbound.integrity);
            assert_eq!(pair.local_selectors, child.remote_selectors);
            assert_eq!(pair.remote_selectors, child.local_selectors);
            assert_eq!((pair.transport, pair.suite, pair.esn), (child.transport, child.suite, child.esn));
            assert_ne!(pair.initiator, child.initiator);
        }
        let known = |host: usize| self.hosts[host].living().len();
        for host in [MN, HA] {
            let ids: Vec<_> = self.hosts[host].living().iter().map(|child| child.ike_sa).collect();
            let in_engine: usize = ids.first().map_or(0, |id| self.hosts[host].engine.children(*id).len());
            if let Some(first) = ids.first()
                && ids.iter().all(|id| id == first)
            {
                assert_eq!(in_engine, known(host), "engine and owner differ");
            }
        }
    }

    /// RFC 7296 §2.1: what has the same SPIs, direction and Message ID was the same octets each time. That is of
    /// protected messages: an unprotected word to a stranger is none of an IKE SA.
    pub(crate) fn assert_repetitions_identical(&self) {
        let mut seen = std::collections::BTreeMap::new();
        for (host, _, bytes) in &self.sent {
            let (header, _, _) = ike::wire::Header::parse(bytes).unwrap();
            if header.responder_spi == 0 || bytes[16] != 46 {
                continue;
            }
            let key = (*host, header.initiator_spi, header.responder_spi, header.flags.response, header.message_id);
            if let Some(first) = seen.insert(key, bytes) {
                assert_eq!(first, bytes, "a changed repetition");
            }
        }
    }
}
