//! What the IKE engine asks and tells.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Instant;

use ike::action::{Action, ChildDecision, Endpoints, IkeSaId, Input};
use ike::wire::{Identity, NotifyType};
use mip6::address::HomeAddress;
use tracing::{debug, info, warn};

use super::HomeAgent;
use crate::daemon::shell::Shell;
use crate::kernel::op::SaKey;

const IKE_PORT: u16 = 500;
/// IKE SAs of one identity. While surplus ones are being closed, which a peer can delay, there may be twice as many.
const IKE_SAS: usize = 8;

impl HomeAgent {
    /// Tells mobile nodes whose tunnels an earlier process of ours held and lost (by a kill) that these are gone, so that they need
    /// not wait for their next liveness check. It proves nothing and makes them ask (RFC 7296 §1.5, §2.4). Of many at once only
    /// some are told.
    pub fn tell_lost(&mut self, now: Instant, lost: &[SaKey], shell: &mut dyn Shell) {
        let agent = IpAddr::V6(self.settings.address.0);
        let mut told = BTreeSet::new();
        for key in lost.iter().filter(|key| key.destination == agent) {
            // The SAs in transport mode come from home addresses, where nobody is reached now.
            let IpAddr::V6(care_of) = key.source else { continue };
            let home = self.settings.prefix.contains(care_of) || self.settings.outside.contains(&HomeAddress(care_of));
            if home || !told.insert(care_of) {
                continue;
            }
            let at = |address| SocketAddr::V6(SocketAddrV6::new(address, IKE_PORT, 0, 0));
            let endpoints = Endpoints { local: at(self.settings.address.0), remote: at(care_of) };
            self.ike.handle(now, Input::UnknownSpi { endpoints, spi: key.spi });
        }
        self.drain(now, shell);
    }

    pub(super) fn ike_action(&mut self, now: Instant, action: Action, shell: &mut dyn Shell) {
        match action {
            Action::Send { endpoints, bytes } => shell.send_ike(endpoints, &bytes),
            Action::IdentifyPeer { ike_sa, claimed, .. } => {
                // Only who has proved to be somebody can use his number up.
                let answer = match self.ike_sas_of(&claimed).count() < 2 * IKE_SAS {
                    true => (self.settings.identify)(&claimed).map(Box::new),
                    false => Err(format!("{claimed} has as many IKE SAs as one may have")),
                };
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
                let child = child.map(|offer| self.judge(now, &identity, &offer));
                self.ike.handle(now, Input::Authorized { ike_sa, lease, child });
            }
            Action::JudgeChild { ike_sa, offer } => {
                let decision = match self.peers.get(&ike_sa).cloned() {
                    Some(identity) => self.judge(now, &identity, &offer),
                    None => refusal("this IKE SA has no identity"),
                };
                self.ike.handle(now, Input::ChildJudged(ike_sa, decision));
            }
            Action::Established { ike_sa, peer, endpoints, .. } => {
                info!(event = "ike_established", %peer, local = %endpoints.local, remote = %endpoints.remote);
                self.admit(now, ike_sa, peer);
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
                let remote = audit.remote.map(tracing::field::display);
                let identity = audit.identity.map(tracing::field::display);
                match self.refused.allows(now) {
                    true => {
                        let withheld = self.refused.withheld();
                        warn!(event = "refused", reason = audit.reason, remote, identity, withheld);
                    }
                    false => debug!(event = "refused", reason = audit.reason, remote, identity),
                }
            }
            Action::KeyLog(keys) => shell.log_keys(&keys),
        }
    }

    pub(super) fn ike_sas_of<'a>(&'a self, identity: &'a Identity) -> impl Iterator<Item = IkeSaId> + 'a {
        self.peers.iter().filter(move |(_, peer)| *peer == identity).map(|(ike_sa, _)| *ike_sa)
    }

    /// One more IKE SA of this identity stands. A mobile node has one, and two while one takes the other's place; of many that a
    /// node builds without closing any the oldest goes, so that it takes no more memory than it is due.
    fn admit(&mut self, now: Instant, ike_sa: IkeSaId, peer: Identity) {
        let own: Vec<IkeSaId> = self.ike_sas_of(&peer).collect();
        let surplus = (own.len() + 1).saturating_sub(IKE_SAS);
        for oldest in own.into_iter().take(surplus) {
            info!(event = "ike_surplus", %peer, most = IKE_SAS);
            self.ike.handle(now, Input::Close(oldest));
        }
        self.peers.insert(ike_sa, peer);
    }

    fn judge(&mut self, now: Instant, identity: &Identity, offer: &ike::action::ChildOffer) -> ChildDecision {
        let decision = self.pad.judge(identity, offer, self.settings.child_lifetime, &self.settings.suites);
        if let ChildDecision::Refuse { reason, .. } = &decision {
            match self.refused.allows(now) {
                true => {
                    warn!(event = "child_refused", peer = %identity, reason, withheld = self.refused.withheld());
                }
                false => debug!(event = "child_refused", peer = %identity, reason),
            }
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
