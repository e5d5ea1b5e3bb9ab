//! One home agent, a clock that stands still until it is moved, and the updates of mobile nodes.

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use mip6::action::{Authority, HomeAgentAction as Action, HomeAgentInput as Input, Via};
use mip6::address::{CareOfAddress, HomeAddress, HomeAgentAddress, Prefix};
use mip6::ha::{Config, HomeAgent};
use mip6::wire::{
    BindingAcknowledgement, BindingStatus, BindingUpdate, Lifetime, MobilityMessage, MobilityOption, UpdateFlags,
};

pub(crate) const AHLK: UpdateFlags = UpdateFlags(0xf000);
pub(crate) const AH: UpdateFlags = UpdateFlags(0xc000);

pub(crate) fn address(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

pub(crate) fn agent() -> Ipv6Addr {
    address("2001:db8:1::1")
}

pub(crate) fn home() -> HomeAddress {
    HomeAddress(address("2001:db8:1::100"))
}

pub(crate) fn care_of(link: u16) -> CareOfAddress {
    CareOfAddress(Ipv6Addr::new(0x2001, 0xdb8, 0xf000 + link, 0, 0, 0, 0, 0x100))
}

pub(crate) fn config() -> Config {
    Config::new(HomeAgentAddress(agent()), Prefix::new(agent(), 64))
}

/// A Binding Update in all its parts, with sensible ones to begin with.
#[derive(Clone, Debug)]
pub(crate) struct Update {
    pub(crate) source: Ipv6Addr,
    pub(crate) header: Option<CareOfAddress>,
    pub(crate) destination: Ipv6Addr,
    pub(crate) authority: Authority,
    pub(crate) sequence: u16,
    pub(crate) flags: UpdateFlags,
    pub(crate) lifetime: u16,
    pub(crate) options: Vec<MobilityOption>,
}

impl Update {
    /// From a foreign link, for 420 s.
    pub(crate) fn away(sequence: u16, care_of: CareOfAddress) -> Self {
        Self {
            source: home().0,
            header: Some(care_of),
            destination: agent(),
            authority: Authority::Owner { key_mobility: true },
            sequence,
            flags: AH,
            lifetime: 105,
            options: vec![MobilityOption::AlternateCareOf(care_of)],
        }
    }

    /// De-registration from the home link.
    pub(crate) fn at_home(sequence: u16) -> Self {
        Self { header: None, lifetime: 0, options: Vec::new(), ..Self::away(sequence, care_of(1)) }
    }

    pub(crate) fn input(self) -> Input {
        let message = MobilityMessage::BindingUpdate(BindingUpdate {
            sequence: self.sequence,
            flags: self.flags,
            lifetime: Lifetime(self.lifetime),
            options: self.options,
        })
        .write();
        Input::MobilityMessage {
            source: self.source,
            care_of: self.header,
            destination: self.destination,
            authority: self.authority,
            message,
        }
    }
}

pub(crate) struct Lab {
    pub(crate) agent: HomeAgent,
    pub(crate) now: Instant,
}

impl Lab {
    #[expect(clippy::disallowed_methods, reason = "a test starts its clock anywhere")]
    pub(crate) fn new(config: Config) -> Self {
        let mut lab = Self { agent: HomeAgent::new(config, [7; 32]), now: Instant::now() };
        lab.hand(Input::Timeout);
        lab
    }

    /// A home agent that knows [`home`] at `care_of(1)` with sequence number 1.
    pub(crate) fn bound() -> Self {
        let mut lab = Self::new(config());
        lab.register(Update::away(1, care_of(1)));
        lab
    }

    pub(crate) fn hand(&mut self, input: Input) -> Vec<Action> {
        self.agent.handle(self.now, input);
        std::iter::from_fn(|| self.agent.poll()).collect()
    }

    pub(crate) fn update(&mut self, update: Update) -> Vec<Action> {
        self.hand(update.input())
    }

    pub(crate) fn done(&mut self, done: bool) -> Vec<Action> {
        self.hand(Input::BindDone { home_address: home(), done })
    }

    pub(crate) fn pass(&mut self, milliseconds: u64) -> Vec<Action> {
        self.now += Duration::from_millis(milliseconds);
        self.hand(Input::Timeout)
    }

    /// A new binding, all the way to its acknowledgement.
    pub(crate) fn register(&mut self, update: Update) -> BindingAcknowledgement {
        let home_address = HomeAddress(update.source);
        let actions = self.update(update);
        assert!(matches!(actions[..], [Action::ProbeDuplicate { .. }, ..]), "{actions:?}");
        let actions = self.pass(1000);
        assert!(matches!(actions[..], [Action::Bind { from: None, .. }]), "{actions:?}");
        acknowledgement(&self.hand(Input::BindDone { home_address, done: true })).1
    }

    /// A move or refresh, all the way to its acknowledgement.
    pub(crate) fn refresh(&mut self, update: Update) -> BindingAcknowledgement {
        let actions = self.update(update);
        assert!(matches!(actions[..], [Action::Bind { from: Some(_), .. }]), "{actions:?}");
        acknowledgement(&self.done(true)).1
    }
}

/// The one acknowledgement among the actions.
pub(crate) fn acknowledgement(actions: &[Action]) -> (Via, BindingAcknowledgement) {
    let found: Vec<_> = actions
        .iter()
        .filter_map(|action| match action {
            Action::SendMobilityMessage { via, message, .. } => match MobilityMessage::parse(message) {
                Ok(MobilityMessage::BindingAcknowledgement(acknowledgement)) => Some((*via, acknowledgement)),
                other => panic!("{other:?}"),
            },
            _ => None,
        })
        .collect();
    assert_eq!(found.len(), 1, "{actions:?}");
    found[0].clone()
}

/// The status of the one refusal, after a look at whether it was judged so.
pub(crate) fn refused(actions: &[Action]) -> BindingStatus {
    let (_, acknowledgement) = acknowledgement(actions);
    assert!(!acknowledgement.status.is_accepted());
    assert!(
        actions.iter().any(|action| matches!(
            action,
            Action::Judged { status, reason: Some(_), .. } if *status == acknowledgement.status
        )),
        "{actions:?}"
    );
    assert!(!actions.iter().any(|action| matches!(action, Action::Bind { .. } | Action::Unbind { .. })));
    acknowledgement.status
}

/// Nothing but a sentence for the log.
pub(crate) fn dropped(actions: &[Action]) -> bool {
    matches!(actions, [Action::Audit(_)])
}
