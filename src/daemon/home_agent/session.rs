//! What the IKE engine asks and tells.

use std::time::Instant;

use ike::action::{Action, ChildDecision, IkeSaId, Input};
use ike::wire::{Identity, NotifyType};
use tracing::{debug, info, warn};

use super::HomeAgent;
use crate::daemon::shell::Shell;

impl HomeAgent {
    pub(super) fn ike_action(&mut self, now: Instant, action: Action, shell: &mut dyn Shell) {
        match action {
            Action::Send { endpoints, bytes } => shell.send_ike(endpoints, &bytes),
            Action::IdentifyPeer { ike_sa, claimed, .. } => {
                let answer = (self.settings.identify)(&claimed).map(Box::new);
                self.ike.handle(now, Input::PeerIdentified(ike_sa, answer));
            }
            Action::VerifySignature { ike_sa, identity, chain, scheme, octets, signature } => {
                let verdict = shell.verify(&identity, &chain, scheme, &octets, &signature);
                self.ike.handle(now, Input::SignatureVerified(ike_sa, verdict));
            }
            Action::Sign { ike_sa, key, scheme, octets } => {
                let signature = shell.sign(key, scheme, &octets);
                self.ike.handle(now, Input::Signed(ike_sa, signature));
            }
            Action::Authorize { ike_sa, identity, address, child, .. } => {
                let lease = address.map(|request| self.pad.lease(&identity, &request)).transpose();
                let child = child.map(|offer| self.judge(&identity, &offer));
                self.ike.handle(now, Input::Authorized { ike_sa, lease, child });
            }
            Action::JudgeChild { ike_sa, offer } => {
                let decision = match self.peers.get(&ike_sa) {
                    Some(identity) => self.judge(identity, &offer),
                    None => refusal("this IKE SA has no identity"),
                };
                self.ike.handle(now, Input::ChildJudged(ike_sa, decision));
            }
            Action::Established { ike_sa, peer, endpoints, .. } => {
                info!(event = "ike_established", %peer, local = %endpoints.local, remote = %endpoints.remote);
                self.peers.insert(ike_sa, peer);
            }
            Action::IkeRekeyed(ike_sa) => info!(event = "ike_rekeyed", peer = self.name(ike_sa)),
            Action::InstallChild(sa) => self.install(now, &sa, shell),
            Action::ChildFailed { ike_sa, tag, notify } => {
                debug!(event = "child_refused", peer = self.name(ike_sa), tag, ?notify);
            }
            Action::RemoveChild(id) => self.remove_child(now, id, shell),
            // The mobile node builds another one if it finds out that this one is dead.
            Action::Doubtful(ike_sa) => debug!(event = "ike_doubtful", peer = self.name(ike_sa)),
            Action::Alive(ike_sa) => debug!(event = "ike_alive", peer = self.name(ike_sa)),
            Action::Closed { ike_sa, reason, .. } => {
                match self.peers.get(&ike_sa) {
                    Some(peer) => info!(event = "ike_closed", %peer, %reason),
                    // Who never proved to be anybody was refused with a line of its own.
                    None => debug!(event = "ike_attempt_ended", %reason),
                }
                self.forget(now, ike_sa);
            }
            Action::Audit(audit) => {
                warn!(
                    event = "refused",
                    reason = audit.reason,
                    remote = audit.remote.map(tracing::field::display),
                    identity = audit.identity.map(tracing::field::display)
                );
            }
            Action::KeyLog(keys) => shell.log_keys(&keys),
        }
    }

    fn judge(&self, identity: &Identity, offer: &ike::action::ChildOffer) -> ChildDecision {
        let decision = self.pad.judge(identity, offer, self.settings.child_lifetime, &self.settings.suites);
        if let ChildDecision::Refuse { reason, .. } = &decision {
            warn!(event = "child_refused", peer = %identity, reason);
        }
        decision
    }

    fn name(&self, ike_sa: IkeSaId) -> String {
        self.peers.get(&ike_sa).map_or_else(|| "unknown".to_owned(), ToString::to_string)
    }
}

fn refusal(reason: &str) -> ChildDecision {
    ChildDecision::Refuse { notify: NotifyType::TsUnacceptable, reason: reason.to_owned() }
}
