//! A peer whose messages the tests make up, and an engine that takes them.

use std::time::Instant;

use super::State;
use super::child;
use super::exchange::Purpose;
use crate::action::{
    Action, ChildDecision, ChildId, ChildRequest, CloseReason, Connect, Endpoints, EspSuite, IkeSaId, Input, Lifetime,
    LocalAuth, PeerPolicy, RemoteAuth,
};
use crate::config::Config;
use crate::crypto::{Randomness, Secret};
use crate::engine::Engine;
use crate::wire::ts::EVERY_IPV6;
use crate::wire::{ExchangeType, Identity, Message, Nonce, Notify, Payload, TrafficSelector};

pub(super) struct Counting(pub(super) u64);

impl Randomness for Counting {
    fn fill(&mut self, octets: &mut [u8]) {
        for octet in octets {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *octet = self.0.to_be_bytes()[0];
        }
    }
}

/// A peer whose messages the test makes up, and an engine that takes them.
pub(super) struct Pair {
    pub(super) now: Instant,
    pub(super) peer: Engine,
    pub(super) us: Engine,
    pub(super) did: Vec<Action>,
}

pub(super) const OURS: Endpoints = Endpoints {
    local: std::net::SocketAddr::new(
        std::net::IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        500,
    ),
    remote: std::net::SocketAddr::new(
        std::net::IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)),
        500,
    ),
};
pub(super) const THEIRS: Endpoints = Endpoints { local: OURS.remote, remote: OURS.local };
pub(super) const ID: IkeSaId = IkeSaId(1);

pub(super) fn request() -> ChildRequest {
    let home = "2001:db8:1::2".parse().unwrap();
    ChildRequest {
        local_selectors: vec![TrafficSelector::any(home..=home)],
        remote_selectors: vec![TrafficSelector::any(EVERY_IPV6)],
        transport: false,
        suites: vec![EspSuite::AesGcm16_256],
        lifetime: Lifetime { rekey: std::time::Duration::from_secs(3600), hard: std::time::Duration::from_secs(7200) },
        tag: 1,
    }
}

/// An IKE SA between two names.
pub(super) fn connect(endpoints: Endpoints, local: &str, remote: &str) -> Connect {
    Connect {
        endpoints,
        local_id: Identity::Fqdn(local.into()),
        remote_id: Identity::Fqdn(remote.into()),
        local_auth: LocalAuth::Psk(psk()),
        remote_auth: RemoteAuth::Psk(psk()),
        address: None,
        child: Some(request()),
        initial_contact: false,
        tag: 1,
    }
}

pub(super) fn psk() -> Secret {
    Secret::new(vec![7; 32])
}

impl Pair {
    /// Two that have not met.
    pub(super) fn strangers() -> Self {
        let engine = |seed| Engine::new(Config { liveness: None, ..Config::default() }, Box::new(Counting(seed)));
        Pair { now: crate::test_clock(), peer: engine(1), us: engine(2), did: Vec::new() }
    }

    /// The peer has connected to us and has its child.
    pub(super) fn new() -> Self {
        let mut pair = Self::strangers();
        pair.peer.handle(pair.now, Input::Connect(Box::new(connect(THEIRS, "peer", "us"))));
        pair.run();
        assert_eq!((pair.peer.established(), pair.us.established()), (1, 1));
        pair
    }

    /// Lets both act until nothing is left to say.
    pub(super) fn run(&mut self) {
        loop {
            let mut quiet = true;
            while let Some(action) = self.peer.poll() {
                quiet = false;
                if let Action::Send { bytes, .. } = action {
                    self.us.handle(self.now, Input::Datagram { endpoints: OURS, bytes });
                }
            }
            for bytes in self.ours() {
                quiet = false;
                self.peer.handle(self.now, Input::Datagram { endpoints: THEIRS, bytes });
            }
            if quiet {
                return;
            }
        }
    }

    /// What our engine sends; its questions are answered with yes.
    pub(super) fn ours(&mut self) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        while let Some(action) = self.us.poll() {
            match &action {
                Action::Send { bytes, .. } => sent.push(bytes.clone()),
                Action::IdentifyPeer { ike_sa, .. } => {
                    let (local_auth, remote_auth) = (LocalAuth::Psk(psk()), RemoteAuth::Psk(psk()));
                    let policy = PeerPolicy { local_id: Identity::Fqdn("us".into()), local_auth, remote_auth, tag: 2 };
                    self.us.handle(self.now, Input::PeerIdentified(*ike_sa, Ok(Box::new(policy))));
                }
                Action::Authorize { ike_sa, child, .. } => {
                    let child = child.as_ref().map(yes);
                    self.us.handle(self.now, Input::Authorized { ike_sa: *ike_sa, lease: Ok(None), child });
                }
                Action::JudgeChild { ike_sa, offer } => {
                    let decision = yes(offer);
                    self.us.handle(self.now, Input::ChildJudged(*ike_sa, decision));
                }
                _ => {}
            }
            self.did.push(action);
        }
        sent
    }

    /// A request of the peer with these payloads, and our answer to it.
    pub(super) fn ask(&mut self, exchange: ExchangeType, payloads: Vec<Payload>) -> Message {
        self.peer.within(self.now, ID, |peer, ctx| {
            let State::Established(established) = &mut peer.state else { panic!("not established") };
            established.current.request(ctx, THEIRS, exchange, &payloads, Purpose::Liveness).unwrap();
        });
        let bytes = self.theirs();
        self.us.handle(self.now, Input::Datagram { endpoints: OURS, bytes });
        let sent = self.ours();
        let mut opened = None;
        self.peer.within(self.now, ID, |peer, _| {
            let State::Established(established) = &mut peer.state else { panic!("not established") };
            let answer = sent.first().expect("an answer");
            opened = Some(established.current.channel.opener.open(answer).unwrap());
            established.current.outgoing.forget();
        });
        opened.unwrap()
    }

    /// What the peer sends next.
    pub(super) fn theirs(&mut self) -> Vec<u8> {
        loop {
            match self.peer.poll() {
                Some(Action::Send { bytes, .. }) => return bytes,
                Some(_) => {}
                None => panic!("nothing was sent"),
            }
        }
    }

    /// Our request that is on its way, as the peer reads it.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Message {
        let mut opened = None;
        self.peer.within(self.now, ID, |peer, _| {
            let State::Established(established) = &mut peer.state else { panic!("not established") };
            opened = Some(established.current.channel.opener.open(bytes).unwrap());
        });
        opened.unwrap()
    }

    /// The peer's answer with these payloads to the request of ours that is due, and what we send upon it.
    pub(super) fn reply(&mut self, exchange: ExchangeType, payloads: &[Payload]) -> Vec<Vec<u8>> {
        self.peer.within(self.now, ID, |peer, ctx| {
            let State::Established(established) = &mut peer.state else { panic!("not established") };
            established.current.answer(ctx, THEIRS, exchange, payloads).unwrap();
        });
        let bytes = self.theirs();
        self.us.handle(self.now, Input::Datagram { endpoints: OURS, bytes });
        self.ours()
    }

    pub(super) fn child(&self) -> (ChildId, u32, u32) {
        let install = self.did.iter().rev().find_map(|action| match action {
            Action::InstallChild(child) => Some((child.id, child.inbound.spi, child.outbound.spi)),
            _ => None,
        });
        install.unwrap()
    }

    pub(super) fn closed(&self) -> Option<&CloseReason> {
        self.did.iter().find_map(|action| match action {
            Action::Closed { reason, .. } => Some(reason),
            _ => None,
        })
    }
}

pub(super) fn yes(offer: &crate::action::ChildOffer) -> ChildDecision {
    ChildDecision::Accept(ChildRequest {
        local_selectors: offer.local_selectors.clone(),
        remote_selectors: offer.remote_selectors.clone(),
        transport: offer.transport,
        ..request()
    })
}

pub(super) fn nonce() -> Payload {
    Payload::Nonce(Nonce::new(vec![9; 32]).unwrap())
}

pub(super) fn child_payloads(spi: u32) -> Vec<Payload> {
    let offer = child::offer(&request(), spi);
    vec![offer.sa, nonce(), offer.ts_i, offer.ts_r]
}

pub(super) fn only_notify(message: &Message) -> &Notify {
    let [Payload::Notify(notify)] = &message.payloads[..] else { panic!("{message:?}") };
    notify
}
