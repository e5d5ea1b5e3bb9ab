//! The CHILD_SAs under it: asked for, installed, removed, and asked for again when one is missing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ike::action::{ChildId, ChildRequest, ChildSa, IkeSaId, Input};
use ike::wire::NotifyType;
use mip6::action::MobileNodeInput;
use mip6::address::HomeAddress;
use tracing::{info, warn};

use super::MobileNode;
use super::session::Session;
use crate::daemon::shell::Shell;
use crate::kernel::op::Op;
use crate::rfc4877::child::{Child, Purpose, Side};

/// How long to wait before a missing CHILD_SA is asked for again, first and at the longest: the home agent may have refused it
/// for good.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What is asked of the home agent.
pub(super) struct Wants {
    /// Asked for and not answered yet.
    asked: BTreeSet<Purpose>,
    /// When what is missing is asked for.
    at: Option<Instant>,
    pause: Duration,
}

impl Wants {
    pub(super) fn new() -> Self {
        Self { asked: BTreeSet::new(), at: None, pause: PAUSE.0 }
    }

    /// Under a new IKE SA, whose first CHILD_SA is for this.
    pub(super) fn begin_with(purpose: Purpose) -> Self {
        Self { asked: BTreeSet::from([purpose]), ..Self::new() }
    }

    /// When it is time to ask.
    pub(super) fn due(&self) -> Option<Instant> {
        self.at
    }

    fn later(&mut self, now: Instant) {
        if self.at.is_none() {
            self.at = Some(now + self.pause);
            self.pause = (self.pause * 2).min(PAUSE.1);
        }
    }
}

impl MobileNode {
    pub(super) fn request(&self, purpose: Purpose, home_address: Option<HomeAddress>) -> ChildRequest {
        let (local_selectors, remote_selectors) = purpose.selectors(home_address, self.settings.home_agent);
        ChildRequest {
            local_selectors,
            remote_selectors,
            transport: purpose.transport(),
            suites: self.settings.suites.clone(),
            lifetime: self.settings.child_lifetime,
            tag: purpose.tag(),
        }
    }

    pub(super) fn install(&mut self, now: Instant, sa: &ChildSa, shell: &mut dyn Shell) {
        let child = self.child(sa);
        let Some(child) = child else {
            self.ike.handle(now, Input::InstallFailed(sa.id));
            return;
        };
        self.children.insert(sa.id, (sa.ike_sa, child));
        let mut ops: Vec<Op> = child.install(sa).into();
        let policies = self.arrived.then(|| self.tunnels());
        let desired = policies.map(|(more, desired)| {
            ops.extend(more);
            desired
        });
        self.wants.asked.remove(&child.purpose);
        if !self.apply(&ops, shell) {
            self.children.remove(&sa.id);
            self.ike.handle(now, Input::InstallFailed(sa.id));
            self.wants.later(now);
            return;
        }
        if let Some(desired) = desired {
            let useless = self.tunnels_stand(desired);
            self.repair.remove(now, useless.into_iter().map(Op::DeleteSa).collect(), shell);
        }
        info!(
            event = "child",
            purpose = child.purpose.name(),
            inbound = format_args!("{:08x}", child.inbound_spi),
            outbound = format_args!("{:08x}", child.outbound_spi),
            rekeyed = sa.replaces.is_some()
        );
        if child.purpose == Purpose::Binding && !std::mem::replace(&mut self.secured, true) {
            let home_agent = self.settings.home_agent;
            self.mip6.handle(now, MobileNodeInput::Secured { home_address: child.home_address, home_agent });
        }
        if self.missing(sa.ike_sa).is_empty() {
            self.wants.pause = PAUSE.0;
        } else if child.purpose == Purpose::Binding && sa.replaces.is_none() {
            self.ask(now);
        }
    }

    fn child(&mut self, sa: &ChildSa) -> Option<Child> {
        Child::new(sa, Side::MobileNode, self.home_address?, self.settings.home_agent, &mut self.reqids)
    }

    pub(super) fn remove_child(&mut self, now: Instant, id: ChildId, shell: &mut dyn Shell) {
        let Some((ike_sa, child)) = self.children.remove(&id) else { return };
        // First policies, so that no packet looks for an SA that is gone.
        self.follow(now, shell);
        let copies = self.standing.take_copies(|copy| copy.of == id);
        let sas = child.remove().into_iter().chain(copies.into_iter().map(Op::DeleteSa));
        self.repair.remove(now, sas.collect(), shell);
        if !self.children.values().any(|(_, other)| other.purpose == Purpose::Binding) {
            self.unsecured(now);
        }
        if !self.missing(ike_sa).is_empty() {
            self.wants.later(now);
        }
    }

    pub(super) fn child_failed(&mut self, now: Instant, ike_sa: IkeSaId, tag: u64, notify: Option<NotifyType>) {
        let purpose = Purpose::from_tag(tag);
        let name = purpose.map_or("unknown", Purpose::name);
        let reason = match (purpose, notify, self.settings.home_address) {
            (Some(Purpose::Binding), Some(NotifyType::TsUnacceptable), Some(home_address)) => {
                format!("the home agent's configuration has another home address for us than {home_address}")
            }
            (Some(Purpose::Binding), Some(NotifyType::FailedCpRequired), Some(_)) => {
                "the home agent assigns us a home address: set home_address = \"assign\"".to_owned()
            }
            (_, Some(notify), _) => format!("the home agent says {notify}"),
            (_, None, _) => "the IKE SA ended before".to_owned(),
        };
        warn!(event = "child_refused", purpose = name, reason);
        let (Some(purpose), true) = (purpose, self.is_session(ike_sa)) else { return };
        let useless = match notify {
            // Without it there is no registration, and what the home agent would say otherwise it says in IKE_AUTH.
            Some(_) if purpose == Purpose::Binding => !self.secured,
            // RFC 4877 §9: it has taken our home address back.
            Some(NotifyType::FailedCpRequired) => true,
            Some(_) | None => false,
        };
        if useless {
            self.ike.handle(now, Input::Close(ike_sa));
        } else {
            // RFC 7296 §1.3: no reason to give the IKE SA up; it is asked for again, more and more seldom.
            self.wants.asked.remove(&purpose);
            self.wants.later(now);
        }
    }

    /// Asks for what is missing: first of all for the CHILD_SA of binding updates.
    pub(super) fn ask(&mut self, now: Instant) {
        self.wants.at = None;
        let Session::Established { ike_sa, .. } = self.session else { return };
        if self.stopping {
            return;
        }
        let missing = self.missing(ike_sa);
        let first = missing.contains(&Purpose::Binding).then_some(Purpose::Binding);
        for purpose in first.map_or(missing, |binding| vec![binding]) {
            if self.wants.asked.insert(purpose) {
                let request = self.request(purpose, self.home_address);
                self.ike.handle(now, Input::CreateChild(ike_sa, request));
            }
        }
    }

    /// What there is no CHILD_SA for under this IKE SA, if it is the one that we use.
    fn missing(&self, ike_sa: IkeSaId) -> Vec<Purpose> {
        let stands = |purpose| self.children.values().any(|(of, child)| *of == ike_sa && child.purpose == purpose);
        let all = std::iter::once(Purpose::Binding).chain(Purpose::LATER);
        all.filter(|purpose| self.is_session(ike_sa) && !stands(*purpose)).collect()
    }
}
