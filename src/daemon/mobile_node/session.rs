//! The IKE SA with the home agent: built, watched, closed.

use std::net::{SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

use ike::action::{Action, AddressRequest, ChildDecision, CloseReason, Connect, Endpoints, IkeSaId, Input};
use ike::wire::NotifyType;
use mip6::action::{Location, MobileNodeInput};
use mip6::address::HomeAddress;
use tracing::{debug, info, warn};

use super::children::Wants;
use super::{MobileNode, RECONNECT};
use crate::daemon::shell::Shell;
use crate::rfc4877::child::Purpose;

const IKE_PORT: u16 = 500;

/// The IKE SA with the home agent.
pub(super) enum Session {
    /// None; the next try may start then.
    Idle { not_before: Option<Instant>, pause: Duration },
    /// Being built.
    Connecting { pause: Duration },
    /// Stands. While the home agent may have forgotten it, another one is being built beside it, which will take its place.
    /// `pause`: before the next one is tried, should this one end. It is short again once we are bound.
    Established { ike_sa: IkeSaId, attempt: u64, successor: Option<u64>, pause: Duration },
}

impl MobileNode {
    pub(super) fn connect(&mut self, now: Instant) {
        let Session::Idle { pause, .. } = self.session else { return };
        // With no place to begin from there is nothing to wait for but the next place.
        self.session = match self.begin(now) {
            true => Session::Connecting { pause },
            false => Session::Idle { not_before: None, pause },
        };
    }

    /// Builds an IKE SA that will take the place of one that the home agent may have forgotten (RFC 7296 §2.4: what says so is
    /// not proved, so the old one stays until the new one is authenticated).
    fn succeed(&mut self, now: Instant) {
        if !self.stopping
            && matches!(self.session, Session::Established { successor: None, .. })
            && self.begin(now)
            && let Session::Established { successor, .. } = &mut self.session
        {
            *successor = Some(self.attempt);
        }
    }

    /// Whether there is a place to begin from.
    fn begin(&mut self, now: Instant) -> bool {
        let (Some(local), Location::Away(_)) = (self.local(IKE_PORT), self.location) else { return false };
        let remote = SocketAddr::V6(SocketAddrV6::new(self.settings.home_agent.0, IKE_PORT, 0, 0));
        let (local_auth, remote_auth) = (self.settings.credentials)();
        self.attempt += 1;
        self.attempt_moved = false;
        // RFC 4877 §9: with no home address of our own an empty request asks for any; one that we had is suggested.
        let address = match self.settings.home_address {
            Some(_) => None,
            None => {
                let suggestion = self.home_address.filter(|home| self.occupied != Some(*home)).map(|home| home.0);
                Some(AddressRequest { suggestion, dns: false })
            }
        };
        self.ike.handle(
            now,
            Input::Connect(Box::new(Connect {
                endpoints: Endpoints { local, remote },
                local_id: self.settings.identity.clone(),
                remote_id: self.settings.home_agent_identity.clone(),
                local_auth,
                remote_auth,
                address,
                child: Some(self.request(Purpose::Binding, self.settings.home_address)),
                initial_contact: true,
                tag: self.attempt,
            })),
        );
        info!(event = "ike_connect", %local, %remote);
        true
    }

    pub(super) fn ike_action(&mut self, now: Instant, action: Action, shell: &mut dyn Shell) {
        match action {
            Action::Send { endpoints, bytes } => shell.send_ike(endpoints, &bytes),
            Action::VerifySignature { ike_sa, identity, chain, scheme, octets, signature } => {
                let verdict = shell.verify(&identity, &chain, scheme, &octets, &signature);
                self.ike.handle(now, Input::SignatureVerified(ike_sa, verdict));
            }
            Action::Sign { ike_sa, key, scheme, octets } => {
                let signature = shell.sign(key, scheme, &octets);
                self.ike.handle(now, Input::Signed(ike_sa, signature));
            }
            Action::IdentifyPeer { ike_sa, claimed, .. } => {
                let reason = format!("a mobile node answers nobody, {claimed} asked");
                self.ike.handle(now, Input::PeerIdentified(ike_sa, Err(reason)));
            }
            Action::Authorize { ike_sa, .. } => {
                // Cannot follow, for nobody is identified; refused all the same.
                self.ike.handle(now, Input::Authorized { ike_sa, lease: Err("not a home agent".into()), child: None });
            }
            Action::JudgeChild { ike_sa, .. } => {
                let reason = "a mobile node asks for its CHILD_SAs itself".to_owned();
                let decision = ChildDecision::Refuse { notify: NotifyType::NoAdditionalSas, reason };
                self.ike.handle(now, Input::ChildJudged(ike_sa, decision));
            }
            Action::Established { ike_sa, tag, .. } if tag != self.attempt => {
                self.ike.handle(now, Input::Close(ike_sa))
            }
            Action::Established { ike_sa, tag, peer, endpoints, lease } => {
                info!(event = "ike_established", %peer, local = %endpoints.local, remote = %endpoints.remote);
                let pause = match self.session {
                    Session::Connecting { pause } | Session::Idle { pause, .. } => longer(pause),
                    Session::Established { pause, .. } => {
                        // The home agent may have forgotten the binding with the old one.
                        self.unsecured(now);
                        pause
                    }
                };
                self.session = Session::Established { ike_sa, attempt: tag, successor: None, pause };
                // Of an attempt that went on from another place the home agent may know the first one only.
                self.ike_moved = std::mem::take(&mut self.attempt_moved);
                self.wants = Wants::begin_with(Purpose::Binding);
                let home_address = lease.map(|lease| HomeAddress(lease.address)).or(self.settings.home_address);
                match home_address {
                    Some(home_address) => self.adopt(now, home_address, shell),
                    None => {
                        warn!(event = "no_home_address", %peer, "the home agent assigned none: set mobile.home_address");
                        self.ike.handle(now, Input::Close(ike_sa));
                    }
                }
            }
            Action::IkeRekeyed(_) => info!(event = "ike_rekeyed"),
            Action::InstallChild(sa) => self.install(now, &sa, shell),
            Action::RemoveChild(id) => self.remove_child(now, id, shell),
            Action::ChildFailed { ike_sa, tag, notify } => self.child_failed(now, ike_sa, tag, notify),
            Action::Alive(_) => debug!(event = "ike_alive"),
            Action::Doubtful(ike_sa) => {
                if self.is_session(ike_sa) {
                    info!(event = "ike_doubtful", "the home agent seems to have forgotten us: another IKE SA is tried");
                    self.succeed(now);
                }
            }
            Action::Closed { tag, reason, .. } => self.ended(now, tag, &reason),
            Action::Audit(audit) => {
                let remote = audit.remote.map(tracing::field::display);
                match self.refused.allows(now) {
                    true => {
                        let withheld = self.refused.withheld();
                        warn!(event = "refused", reason = audit.reason, remote, withheld);
                    }
                    false => debug!(event = "refused", reason = audit.reason, remote),
                }
            }
            Action::KeyLog(keys) => shell.log_keys(&keys),
        }
    }

    /// An IKE SA is over, or the attempt to build it.
    fn ended(&mut self, now: Instant, tag: u64, reason: &CloseReason) {
        match &mut self.session {
            Session::Established { successor, .. } if *successor == Some(tag) => {
                // The old one tells for itself whether it is dead.
                *successor = None;
                debug!(event = "ike_attempt_ended", %reason);
            }
            Session::Established { attempt, successor: Some(_), .. } if *attempt == tag => {
                info!(event = "ike_closed", %reason);
                self.session = Session::Connecting { pause: RECONNECT.0 };
                self.unsecured(now);
            }
            Session::Established { attempt, .. } if *attempt == tag => self.closed(now, reason),
            Session::Connecting { .. } if tag == self.attempt => self.closed(now, reason),
            Session::Established { .. } | Session::Connecting { .. } | Session::Idle { .. } => {
                debug!(event = "ike_attempt_ended", %reason);
            }
        }
    }

    fn closed(&mut self, now: Instant, reason: &CloseReason) {
        let pause = match self.session {
            Session::Connecting { pause } => longer(pause),
            Session::Established { pause, .. } => pause,
            Session::Idle { .. } => RECONNECT.0,
        };
        self.unsecured(now);
        if self.stopping {
            self.session = Session::Idle { not_before: None, pause };
            self.finished = true;
            return;
        }
        warn!(event = "ike_closed", %reason, retry_s = pause.as_secs());
        self.session = Session::Idle { not_before: Some(now + pause), pause };
    }

    /// We are bound: what went wrong before is over.
    pub(super) fn succeeded(&mut self) {
        if let Session::Established { pause, .. } = &mut self.session {
            *pause = RECONNECT.0;
        }
    }

    pub(super) fn disconnect(&mut self, now: Instant) {
        let unfinished = self.unfinished();
        match self.session {
            Session::Established { ike_sa, .. } => self.ike.handle(now, Input::Close(ike_sa)),
            Session::Idle { .. } | Session::Connecting { .. } => self.finished = true,
        }
        if let Some(ike_sa) = unfinished {
            self.ike.handle(now, Input::Close(ike_sa));
        }
    }

    /// RFC 4877 §7.4: who cannot move the IKE SA needs a new one from the new care-of address; the old one goes when that stands.
    pub(super) fn renew_session(&mut self, now: Instant) {
        self.succeed(now);
    }

    /// RFC 6275 §11.7.1: after status 134 the home address is not used any more. One that was assigned is replaced by another
    /// (RFC 4877 §9): at once, or if it is assigned once more, ever more seldom.
    pub(super) fn replace_home_address(&mut self, now: Instant, home_address: HomeAddress) {
        if self.settings.home_address.is_some() {
            return;
        }
        match (self.occupied.replace(home_address), &self.session) {
            (Some(known), Session::Established { ike_sa, .. }) if known == home_address => {
                self.ike.handle(now, Input::Close(*ike_sa));
            }
            _ => self.succeed(now),
        }
    }

    /// IKE goes along to the place where we are now. Says whether an IKE SA that stands is to be moved when the update has
    /// left.
    pub(super) fn session_moves(&mut self, now: Instant) -> bool {
        if let Some(ike_sa) = self.unfinished() {
            match self.location {
                // What was begun goes on from here: a second attempt and the first would each close what the other built.
                Location::Away(_) => {
                    self.move_ike(now, ike_sa);
                    self.attempt_moved = true;
                }
                // At home there is nothing to register and nothing to tunnel.
                Location::Home { .. } => self.ike.handle(now, Input::Close(ike_sa)),
                Location::Nowhere => {}
            }
        }
        if let Session::Idle { .. } = self.session {
            self.connect(now);
        }
        matches!(self.session, Session::Established { .. })
    }

    /// The IKE SA that is being built.
    fn unfinished(&self) -> Option<IkeSaId> {
        match self.session {
            Session::Connecting { .. } => self.ike.attempt(self.attempt),
            Session::Established { successor: Some(attempt), .. } => self.ike.attempt(attempt),
            Session::Idle { .. } | Session::Established { successor: None, .. } => None,
        }
    }

    /// No binding update may be sent.
    pub(super) fn unsecured(&mut self, now: Instant) {
        if std::mem::take(&mut self.secured) {
            self.mip6.handle(now, MobileNodeInput::Unsecured);
        }
    }

    /// Whether this is the IKE SA that we use.
    pub(super) fn is_session(&self, used: IkeSaId) -> bool {
        matches!(self.session, Session::Established { ike_sa, .. } if ike_sa == used)
    }

    /// An update was not answered: is the home agent there, and does it still know us?
    pub(super) fn doubt(&mut self, now: Instant) {
        if let Session::Established { ike_sa, .. } = self.session {
            self.ike.handle(now, Input::CheckLiveness(ike_sa));
        }
    }
}

/// A peer that refuses, or an IKE SA that does not come to be of use, is tried ever more seldom.
fn longer(pause: Duration) -> Duration {
    (pause * 2).min(RECONNECT.1)
}
