//! Whatever comes, the home agent keeps its promises.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mip6::action::{Authority, HomeAgentAction as Action, HomeAgentInput as Input};
use mip6::address::{CareOfAddress, HomeAddress};
use mip6::ha::Config;
use mip6::wire::{Lifetime, MobilityMessage, MobilityOption, UpdateFlags};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::lab::*;

#[derive(Clone, Debug)]
enum Step {
    Update(Update),
    Octets(Vec<u8>, bool),
    Done(u16, bool),
    Duplicate(u16),
    Withdraw(u16),
    Solicit(u16),
    Prefixes(u16, Vec<u8>),
    Pass(u64),
}

fn node(number: u16) -> HomeAddress {
    HomeAddress(std::net::Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x100 + number))
}

fn updates() -> impl Strategy<Value = Update> {
    let alternate = prop_oneof![
        (0..4_u16).prop_map(|link| Some(care_of(link))),
        (0..4_u16).prop_map(|number| Some(CareOfAddress(node(number).0))),
        Just(None),
    ];
    (0..4_u16, 0..20_u16, any::<u16>(), 0..200_u16, alternate, any::<bool>(), 0..10_u8).prop_map(
        |(number, sequence, flags, lifetime, alternate, away, authority)| Update {
            source: node(number).0,
            header: away.then(|| alternate.unwrap_or(care_of(1))),
            sequence,
            flags: UpdateFlags(flags).with(UpdateFlags(if flags % 8 == 0 { 0 } else { 0x4000 })),
            lifetime: if lifetime < 20 { 0 } else { lifetime },
            options: alternate.map(MobilityOption::AlternateCareOf).into_iter().collect(),
            authority: if authority == 0 {
                Authority::None
            } else {
                Authority::Owner { key_mobility: authority % 2 == 0 }
            },
            ..Update::away(0, care_of(1))
        },
    )
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => updates().prop_map(Step::Update),
        1 => (vec(any::<u8>(), 0..64), any::<bool>()).prop_map(|(octets, known)| Step::Octets(octets, known)),
        6 => (0..4_u16, prop::bool::weighted(0.9)).prop_map(|(number, done)| Step::Done(number, done)),
        1 => (0..4_u16).prop_map(Step::Duplicate),
        1 => (0..4_u16).prop_map(Step::Withdraw),
        1 => (0..4_u16).prop_map(Step::Solicit),
        1 => (0..4_u16, vec(any::<u8>(), 0..40)).prop_map(|(number, octets)| Step::Prefixes(number, octets)),
        5 => (0..3000_u64).prop_map(Step::Pass),
        1 => (0..900_000_u64).prop_map(Step::Pass),
    ]
}

/// What the shell knows: which tunnels it has made and not taken down.
#[derive(Default)]
struct Tunnels {
    standing: BTreeMap<HomeAddress, CareOfAddress>,
    /// Asked for, where none was before, and not yet answered.
    new: BTreeSet<HomeAddress>,
}

impl Tunnels {
    /// A new tunnel that the kernel refused is not there; one that stood still stands.
    fn answered(&mut self, home_address: HomeAddress, done: bool) {
        if self.new.remove(&home_address) && !done {
            self.standing.remove(&home_address);
        }
    }

    fn carry_out(&mut self, action: &Action, asked: &BTreeMap<(HomeAddress, u16), u16>) {
        match action {
            Action::Bind { home_address, from, to, .. } => {
                // What is moved is what is there: the engine and the kernel agree.
                if let Some(from) = from {
                    assert!(self.standing.contains_key(home_address), "moved from {from} without a tunnel");
                } else {
                    assert!(!self.standing.contains_key(home_address), "made twice");
                    self.new.insert(*home_address);
                }
                self.standing.insert(*home_address, *to);
            }
            Action::Unbind { home_address, .. } => {
                self.new.remove(home_address);
                assert!(self.standing.remove(home_address).is_some(), "unbound twice");
            }
            Action::SendMobilityMessage { home_address, message, .. } => {
                let Ok(MobilityMessage::BindingAcknowledgement(answer)) = MobilityMessage::parse(message) else {
                    panic!("{message:?}")
                };
                if answer.status.is_accepted() {
                    // RFC 6275 §10.3.1: never more than was asked for.
                    assert!(answer.lifetime <= Lifetime(asked[&(*home_address, answer.sequence)]));
                }
            }
            _ => (),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn engine_and_kernel_agree_whatever_comes(steps in vec(steps(), 1..80)) {
        let config = Config { max_bindings: 3, advertise: Some(Duration::from_secs(60)), ..config() };
        let mut lab = Lab::new(config);
        let (mut tunnels, mut asked) = (Tunnels::default(), BTreeMap::new());
        for step in steps {
            let input = match step {
                Step::Update(update) => {
                    let most = asked.entry((HomeAddress(update.source), update.sequence)).or_insert(0_u16);
                    *most = update.lifetime.max(*most);
                    update.input()
                }
                Step::Octets(message, known) => Input::MobilityMessage {
                    source: node(0).0,
                    care_of: known.then(|| care_of(1)),
                    destination: agent(),
                    authority: Authority::None,
                    message,
                },
                Step::Done(number, done) => Input::BindDone { home_address: node(number), done },
                Step::Duplicate(number) => Input::Duplicate { address: node(number).0 },
                Step::Withdraw(number) => Input::Withdraw(node(number)),
                Step::Solicit(number) => Input::RouterSolicitation { source: node(number).0 },
                Step::Prefixes(number, message) => Input::PrefixSolicitation { source: node(number).0, message },
                Step::Pass(milliseconds) => {
                    lab.now += Duration::from_millis(milliseconds);
                    Input::Timeout
                }
            };
            if let Input::BindDone { home_address, done } = input {
                tunnels.answered(home_address, done);
            }
            for action in lab.hand(input) {
                tunnels.carry_out(&action, &asked);
            }
            prop_assert!(lab.agent.deadline().is_none_or(|deadline| deadline > lab.now), "what is due is done");
            prop_assert!(lab.agent.bindings().count() <= 3);
            for binding in lab.agent.bindings() {
                prop_assert!(tunnels.standing.contains_key(&binding.home_address));
            }
        }
        for action in lab.hand(Input::Stop) {
            tunnels.carry_out(&action, &asked);
        }
        prop_assert!(tunnels.standing.is_empty(), "nothing is left behind: {:?}", tunnels.standing);
    }
}
