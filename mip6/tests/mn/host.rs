//! A mobile node, its clock, and what it has done so far.

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use mip6::action::{CareOf, Interface, Location, MobileNodeAction, MobileNodeInput, Via};
use mip6::address::{HomeAddress, HomeAgentAddress, Prefix};
use mip6::mn::{Config, MobileNode};
use mip6::wire::{
    AcknowledgementFlags, BindingAcknowledgement, BindingStatus, BindingUpdate, Icmp6Message, Lifetime,
    MobilityMessage, MobilityOption, NeighbourOption, PrefixInformation, RouterAdvertisement,
};

pub(crate) const WLAN: Interface = Interface(3);
pub(crate) const LTE: Interface = Interface(4);

pub(crate) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn address(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

pub(crate) fn home_address() -> HomeAddress {
    HomeAddress(address("2001:db8:100::10"))
}

pub(crate) fn home_agent() -> HomeAgentAddress {
    HomeAgentAddress(address("2001:db8:100::1"))
}

pub(crate) fn prefix(text: &str) -> Prefix {
    Prefix::new(address(text), 64)
}

pub(crate) fn home_prefix() -> Prefix {
    prefix("2001:db8:100::")
}

/// A router on a link.
#[derive(Clone, Debug)]
pub(crate) struct TestRouter {
    pub(crate) address: Ipv6Addr,
    pub(crate) advertisement: RouterAdvertisement,
}

impl TestRouter {
    pub(crate) fn new(number: u8, text: &str) -> Self {
        let information = PrefixInformation {
            address: address(text),
            length: 64,
            on_link: true,
            autonomous: true,
            router_address: false,
            valid: 86400,
            preferred: 14400,
        };
        Self {
            address: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, number.into()),
            advertisement: RouterAdvertisement {
                router_lifetime: 1800,
                options: vec![
                    NeighbourOption::SourceLinkLayer([2, 0, 0, 0, 0, number]),
                    NeighbourOption::Prefix(information),
                ],
                ..RouterAdvertisement::default()
            },
        }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut RouterAdvertisement)) -> Self {
        change(&mut self.advertisement);
        self
    }

    pub(crate) fn with_prefix(self, change: impl FnOnce(&mut PrefixInformation)) -> Self {
        self.with(|advertisement| {
            let mut prefixes = advertisement.options.iter_mut().filter_map(|option| match option {
                NeighbourOption::Prefix(prefix) => Some(prefix),
                _ => None,
            });
            change(prefixes.next().unwrap());
        })
    }

    pub(crate) fn message(&self) -> Vec<u8> {
        Icmp6Message::RouterAdvertisement(self.advertisement.clone()).write()
    }
}

/// The access routers of two foreign links, and the home agent on the home link.
pub(crate) fn router_a() -> TestRouter {
    TestRouter::new(0xa, "2001:db8:a::")
}

pub(crate) fn router_b() -> TestRouter {
    TestRouter::new(0xb, "2001:db8:b::")
}

pub(crate) fn router_home() -> TestRouter {
    TestRouter::new(1, "2001:db8:100::")
}

pub(crate) struct Host {
    pub(crate) node: MobileNode,
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    pub(crate) done: Vec<(Duration, MobileNodeAction)>,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self::with(|_| ())
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(home_prefix());
        change(&mut config);
        #[expect(clippy::disallowed_methods, reason = "a test has to begin at some time")]
        let now = Instant::now();
        Self { node: MobileNode::new(config, [7; 32]), now, start: now, done: Vec::new() }
    }

    /// On a foreign link, secured, bound.
    pub(crate) fn bound() -> Self {
        Self::bound_with(|_| ())
    }

    pub(crate) fn bound_with(change: impl FnOnce(&mut Config)) -> Self {
        let mut host = Self::with(change);
        host.up(WLAN, 1);
        host.advertise(WLAN, &router_a());
        host.secure();
        host.acknowledge_last();
        host.take();
        host
    }

    pub(crate) fn handle(&mut self, input: MobileNodeInput) {
        self.node.handle(self.now, input);
        while let Some(action) = self.node.poll() {
            self.done.push((self.now - self.start, action));
        }
    }

    /// Lets time pass, with every timeout on the way.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut steps = 0;
        while let Some(deadline) = self.node.deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.handle(MobileNodeInput::Timeout);
            steps += 1;
            assert!(steps < 10_000, "the deadline never moves on");
        }
        self.now = end;
    }

    /// What was done since the last call.
    pub(crate) fn take(&mut self) -> Vec<MobileNodeAction> {
        self.done.drain(..).map(|(_, action)| action).collect()
    }

    pub(crate) fn up(&mut self, interface: Interface, preference: u32) {
        self.handle(MobileNodeInput::LinkUp { interface, preference });
    }

    pub(crate) fn down(&mut self, interface: Interface) {
        self.handle(MobileNodeInput::LinkDown(interface));
    }

    pub(crate) fn advertise(&mut self, interface: Interface, router: &TestRouter) {
        let message = router.message();
        self.handle(MobileNodeInput::RouterAdvertisement { interface, source: router.address, message });
    }

    pub(crate) fn secure(&mut self) {
        self.handle(MobileNodeInput::Secured { home_address: home_address(), home_agent: home_agent() });
    }

    pub(crate) fn mobility(&mut self, message: MobilityMessage) {
        self.handle(MobileNodeInput::MobilityMessage {
            source: home_agent().0,
            destination: home_address().0,
            message: message.write(),
        });
    }

    pub(crate) fn answer(&mut self, acknowledgement: BindingAcknowledgement) {
        self.mobility(MobilityMessage::BindingAcknowledgement(acknowledgement));
    }

    pub(crate) fn refuse(&mut self, status: BindingStatus) {
        let sequence = self.last_update().1.sequence;
        self.answer(BindingAcknowledgement { status, lifetime: Lifetime(0), ..accepted(sequence, Lifetime(0)) });
    }

    /// The home agent accepts the last update as it is.
    pub(crate) fn acknowledge_last(&mut self) {
        let (_, update) = self.last_update();
        self.answer(accepted(update.sequence, update.lifetime));
    }

    /// The same for the last update among actions that were taken out.
    pub(crate) fn acknowledge_last_of(&mut self, actions: &[MobileNodeAction]) {
        let sequence = actions.iter().rev().find_map(|action| match action {
            MobileNodeAction::SendBindingUpdate { sequence, .. } => Some(*sequence),
            _ => None,
        });
        self.answer(accepted(sequence.unwrap(), Lifetime(105)));
    }

    pub(crate) fn last_update(&self) -> (Via, BindingUpdate) {
        self.updates().pop().map(|(_, via, update)| (via, update)).unwrap()
    }

    /// All updates since the last [`Self::take`], with their times.
    pub(crate) fn updates(&self) -> Vec<(Duration, Via, BindingUpdate)> {
        let updates = self.done.iter().filter_map(|(at, action)| match action {
            MobileNodeAction::SendBindingUpdate { via, message, .. } => match MobilityMessage::parse(message) {
                Ok(MobilityMessage::BindingUpdate(update)) => Some((*at, *via, update)),
                other => panic!("not a binding update: {other:?}"),
            },
            _ => None,
        });
        updates.collect()
    }

    pub(crate) fn care_of(&self) -> CareOf {
        match self.node.location() {
            Location::Away(care_of) => care_of,
            other => panic!("not on a foreign link: {other:?}"),
        }
    }

    /// The times of the actions that fulfil the predicate, since the last [`Self::take`].
    pub(crate) fn times(&self, is_it: impl Fn(&MobileNodeAction) -> bool) -> Vec<Duration> {
        self.done.iter().filter(|(_, action)| is_it(action)).map(|(at, _)| *at).collect()
    }

    pub(crate) fn has(&self, is_it: impl Fn(&MobileNodeAction) -> bool) -> bool {
        !self.times(is_it).is_empty()
    }
}

pub(crate) fn accepted(sequence: u16, lifetime: Lifetime) -> BindingAcknowledgement {
    BindingAcknowledgement {
        status: BindingStatus::Accepted,
        flags: AcknowledgementFlags::KEY_MOBILITY,
        sequence,
        lifetime,
        options: Vec::new(),
    }
}

pub(crate) fn advice(units: u16) -> Vec<MobilityOption> {
    vec![MobilityOption::BindingRefreshAdvice(units)]
}

/// The names of the actions, in order, without audits and prefix discovery.
pub(crate) fn names(actions: &[MobileNodeAction]) -> Vec<&'static str> {
    let name = |action: &MobileNodeAction| match action {
        MobileNodeAction::SolicitRouter(_) => Some("solicit"),
        MobileNodeAction::AddCareOf(_) => Some("add"),
        MobileNodeAction::RemoveCareOf(_) => Some("remove"),
        MobileNodeAction::ProbeDuplicate { .. } => Some("probe"),
        MobileNodeAction::Relocate { .. } => Some("relocate"),
        MobileNodeAction::SendBindingUpdate { .. } => Some("update"),
        MobileNodeAction::Bound { .. } => Some("bound"),
        MobileNodeAction::Unbound { .. } => Some("unbound"),
        MobileNodeAction::Refused { .. } => Some("refused"),
        MobileNodeAction::AnnounceHome { .. } => Some("announce"),
        MobileNodeAction::Stopped => Some("stopped"),
        MobileNodeAction::SendBindingError { .. }
        | MobileNodeAction::SendPrefixSolicitation { .. }
        | MobileNodeAction::HomePrefix { .. }
        | MobileNodeAction::Audit(_) => None,
    };
    actions.iter().filter_map(name).collect()
}

pub(crate) fn relocations(actions: &[MobileNodeAction]) -> Vec<(Location, Location, bool)> {
    let relocation = |action: &MobileNodeAction| match action {
        MobileNodeAction::Relocate { from, to, soft } => Some((*from, *to, *soft)),
        _ => None,
    };
    actions.iter().filter_map(relocation).collect()
}
