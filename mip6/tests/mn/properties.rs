//! Whatever comes in, in whatever order: no panic, no endless timer, and the rules that may never be broken.

use std::collections::BTreeSet;
use std::time::Duration;

use mip6::action::{Interface, Location, MobileNodeAction, MobileNodeInput};
use mip6::wire::{
    BindingAcknowledgement, BindingError, BindingErrorStatus, BindingRefreshRequest, BindingStatus, Lifetime,
    MobilityMessage,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::host::{Host, TestRouter, accepted, home_address, home_agent};

#[derive(Clone, Debug)]
enum Step {
    Pass(u32),
    Up(u32, u32),
    Down(u32),
    Advertise {
        interface: u32,
        router: u8,
        prefix: u16,
        lifetime: u16,
        valid: u32,
        preferred: u32,
    },
    Noise(u32, Vec<u8>),
    Duplicate,
    Refused,
    Secured,
    Unsecured,
    /// Answers the update that was sent so many before the last.
    Answer {
        before: usize,
        status: u8,
        lifetime: u16,
    },
    MobilityNoise(Vec<u8>),
    PrefixNoise(Vec<u8>),
    RefreshRequest,
    BindingError,
    Stop,
}

fn step() -> impl Strategy<Value = Step> {
    let lifetime = prop_oneof![Just(0), 1..100_u16, any::<u16>()];
    let seconds = || prop_oneof![Just(0), 1..10_000_u32, Just(u32::MAX), any::<u32>()];
    let advertise = (0..3_u32, 0..12_u8, 0..12_u16, lifetime, seconds(), seconds()).prop_map(
        |(interface, router, prefix, lifetime, valid, preferred)| Step::Advertise {
            interface,
            router,
            prefix,
            lifetime,
            valid,
            preferred,
        },
    );
    prop_oneof![
        4 => prop_oneof![0..50_u32, 0..5_000_u32, 0..1_000_000_u32].prop_map(Step::Pass),
        3 => (0..3_u32, 0..3_u32).prop_map(|(interface, preference)| Step::Up(interface, preference)),
        2 => (0..3_u32).prop_map(Step::Down),
        6 => advertise,
        1 => (0..3_u32, vec(any::<u8>(), 0..80)).prop_map(|(interface, noise)| Step::Noise(interface, noise)),
        1 => Just(Step::Duplicate),
        1 => Just(Step::Refused),
        3 => Just(Step::Secured),
        1 => Just(Step::Unsecured),
        4 => (0..4_usize, prop_oneof![3 => Just(0), 1 => any::<u8>(), 1 => 128..140_u8], any::<u16>()).prop_map(
            |(before, status, lifetime)| Step::Answer { before, status, lifetime },
        ),
        1 => vec(any::<u8>(), 0..40).prop_map(Step::MobilityNoise),
        1 => vec(any::<u8>(), 0..80).prop_map(Step::PrefixNoise),
        1 => Just(Step::RefreshRequest),
        1 => Just(Step::BindingError),
        1 => prop_oneof![9 => Just(Step::RefreshRequest), 1 => Just(Step::Stop)],
    ]
}

/// What an outsider can see of the node, and what must hold of it.
#[derive(Default)]
struct Watch {
    secured: bool,
    stopped: bool,
    addresses: BTreeSet<(Interface, std::net::Ipv6Addr)>,
    location: Option<Location>,
    sent: Vec<(Duration, u16)>,
}

impl Watch {
    fn see(&mut self, at: Duration, action: &MobileNodeAction) {
        assert!(!self.stopped, "nothing comes after the end: {action:?}");
        match action {
            MobileNodeAction::AddCareOf(care_of) => {
                assert!(self.addresses.insert((care_of.interface, care_of.address.0)), "added twice");
                assert!(self.addresses.len() <= 8, "old addresses pile up");
            }
            MobileNodeAction::RemoveCareOf(care_of) => {
                assert!(self.addresses.remove(&(care_of.interface, care_of.address.0)), "removed what was not there");
            }
            MobileNodeAction::Relocate { from, to, .. } => {
                assert_eq!(*from, self.location.unwrap_or(Location::Nowhere), "the way has no gap");
                assert_ne!(from, to);
                if let Location::Away(care_of) = to {
                    assert!(self.addresses.contains(&(care_of.interface, care_of.address.0)), "the address is there");
                }
                self.location = Some(*to);
            }
            MobileNodeAction::SendBindingUpdate { sequence, .. } => {
                assert!(self.secured, "an update is only sent when secured");
                self.sent.push((at, *sequence));
                if let [.., (first, _), _, _, (last, _)] = self.sent[..] {
                    assert!(last - first >= Duration::from_secs(1), "at most three in a second");
                }
            }
            MobileNodeAction::Bound { lifetime, .. } => assert!(!lifetime.is_zero()),
            MobileNodeAction::SendPrefixSolicitation { .. } => assert!(self.secured),
            MobileNodeAction::Stopped => {
                assert!(self.addresses.is_empty(), "everything is as it was");
                self.stopped = true;
            }
            MobileNodeAction::SolicitRouter(_)
            | MobileNodeAction::ProbeDuplicate { .. }
            | MobileNodeAction::Unbound { .. }
            | MobileNodeAction::Refused { .. }
            | MobileNodeAction::AnnounceHome { .. }
            | MobileNodeAction::HomePrefix { .. }
            | MobileNodeAction::SendBindingError { .. }
            | MobileNodeAction::Audit(_) => (),
        }
    }
}

fn run(host: &mut Host, watch: &mut Watch, step: Step) {
    match step {
        Step::Pass(milliseconds) => host.pass(Duration::from_millis(milliseconds.into())),
        Step::Up(interface, preference) => host.up(Interface(interface), preference),
        Step::Down(interface) => host.down(Interface(interface)),
        Step::Advertise { interface, router, prefix, lifetime, valid, preferred } => {
            // One prefix is that of the home link.
            let text = if prefix == 0 { "2001:db8:100::".into() } else { format!("2001:db8:{prefix:x}::") };
            let router = TestRouter::new(router, &text)
                .with(|advertisement| advertisement.router_lifetime = lifetime)
                .with_prefix(|prefix| (prefix.valid, prefix.preferred) = (valid, preferred));
            host.advertise(Interface(interface), &router);
        }
        Step::Noise(interface, mut message) => {
            if let Some(kind) = message.first_mut() {
                *kind = 134;
            }
            let source = TestRouter::new(1, "2001:db8:1::").address;
            host.handle(MobileNodeInput::RouterAdvertisement { interface: Interface(interface), source, message });
        }
        Step::Duplicate => {
            if let Location::Away(care_of) = host.node.location() {
                let address = care_of.address.0;
                host.handle(MobileNodeInput::Duplicate { interface: care_of.interface, address });
            }
        }
        Step::Refused => {
            if let Location::Away(care_of) = host.node.location() {
                // The kernel does not have it, so nobody will remove it.
                if !watch.stopped {
                    watch.addresses.remove(&(care_of.interface, care_of.address.0));
                }
                host.handle(MobileNodeInput::CareOfRefused(care_of));
            }
        }
        Step::Secured => {
            watch.secured = true;
            host.secure();
        }
        Step::Unsecured => {
            watch.secured = false;
            host.handle(MobileNodeInput::Unsecured);
        }
        Step::Answer { before, status, lifetime } => {
            if let Some((_, sequence)) = watch.sent.iter().rev().nth(before) {
                let status = BindingStatus::from(status);
                host.answer(BindingAcknowledgement { status, ..accepted(*sequence, Lifetime(lifetime)) });
            }
        }
        Step::MobilityNoise(mut message) => {
            if let Some(kind) = message.get_mut(2) {
                *kind %= 9;
            }
            let (source, destination) = (home_agent().0, home_address().0);
            host.handle(MobileNodeInput::MobilityMessage { source, destination, message });
        }
        Step::PrefixNoise(mut message) => {
            if let Some(kind) = message.first_mut() {
                *kind = 147;
            }
            host.handle(MobileNodeInput::PrefixAdvertisement { source: home_agent().0, message });
        }
        Step::RefreshRequest => {
            host.mobility(MobilityMessage::BindingRefreshRequest(BindingRefreshRequest::default()));
        }
        Step::BindingError => host.mobility(MobilityMessage::BindingError(BindingError {
            status: BindingErrorStatus::UnknownBinding,
            home_address: home_address(),
            options: Vec::new(),
        })),
        Step::Stop => host.handle(MobileNodeInput::Stop),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_comes_in_breaks_the_rules(newest_link: bool, linger in 0..3_u64, steps in vec(step(), 1..80)) {
        let mut host = Host::with(|config| {
            config.newest_link = newest_link;
            config.linger = Duration::from_secs(linger);
            // Long steps of time would otherwise be spent on soliciting.
            config.solicit_initial = Duration::from_secs(1);
        });
        let mut watch = Watch::default();
        for step in steps {
            run(&mut host, &mut watch, step);
            for (at, action) in std::mem::take(&mut host.done) {
                watch.see(at, &action);
            }
            if let Some(location) = watch.location {
                prop_assert_eq!(location, host.node.location());
            }
        }
        // And the end is always reached.
        host.handle(MobileNodeInput::Stop);
        host.pass(Duration::from_secs(5));
        for (at, action) in std::mem::take(&mut host.done) {
            watch.see(at, &action);
        }
        prop_assert!(watch.stopped);
        prop_assert_eq!(host.node.deadline(), None);
    }
}
