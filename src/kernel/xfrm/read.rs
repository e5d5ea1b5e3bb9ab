//! Answers of the kernel's IPsec.

use std::net::IpAddr;

use netlink_packet_core::ParseableParametrized;
use netlink_packet_xfrm::constants::{XFRM_MSG_NEWPOLICY, XFRM_MSG_NEWSA, XFRM_MSG_NEWSPDINFO};
use netlink_packet_xfrm::policy::{ModifyMessage as PolicyMessage, SpdInfoAttrs};
use netlink_packet_xfrm::state::ModifyMessage as StateMessage;
use netlink_packet_xfrm::{Address, Lifetime, UserTemplate, XfrmAttrs, XfrmMessage};

use super::{address, mode_of, protocol_of, write};
use crate::kernel::netlink::{Refused, Request};
use crate::kernel::op::{SaKey, Template};

/// `struct xfrm_usersa_info`, `xfrm_userpolicy_info` and the flags of an SPD information, which attributes follow.
const LEAST: [(u16, usize); 3] = [(XFRM_MSG_NEWSA, 224), (XFRM_MSG_NEWPOLICY, 168), (XFRM_MSG_NEWSPDINFO, 4)];
/// Sequence numbers that an outbound SA leaves out when it is added again: more packets than can have been sent between its
/// reading and its deletion. None may be used twice (RFC 4303 §3.3.3).
const SEQUENCE_GAP: u32 = 1 << 10;

/// An SA as it stands in the kernel, keys included: wiped when it is dropped.
pub(in crate::kernel) struct Sa(StateMessage);

impl Drop for Sa {
    fn drop(&mut self) {
        write::wipe(XfrmMessage::AddSa(std::mem::take(&mut self.0)));
    }
}

impl Sa {
    /// From the answer to a question for it.
    pub(in crate::kernel) fn read(answer: &[u8]) -> Result<Self, Refused> {
        match message(XFRM_MSG_NEWSA, answer)? {
            XfrmMessage::AddSa(message) => Ok(Self(message)),
            _ => Err(unexpected()),
        }
    }

    /// Source and destination.
    pub(in crate::kernel) fn ends(&self) -> (IpAddr, IpAddr) {
        let info = &self.0.user_sa_info;
        (address(info.saddr.addr, info.family), address(info.id.daddr.addr, info.family))
    }

    /// The ports of its UDP encapsulation.
    pub(in crate::kernel) fn encapsulation(&self) -> Option<(u16, u16)> {
        self.0.nlas.iter().find_map(|attribute| match attribute {
            XfrmAttrs::EncapsulationTemplate(encapsulation) => {
                Some((encapsulation.encap_sport, encapsulation.encap_dport))
            }
            _ => None,
        })
    }

    /// What adds a copy with another destination, its replay state included.
    pub(in crate::kernel) fn copy_to(mut self, destination: IpAddr) -> Request {
        let mut copy = std::mem::take(&mut self.0);
        copy.user_sa_info.id.daddr = Address::from_ip(&destination);
        copy.nlas.retain(is_taken_over);
        write::new_sa(copy)
    }

    /// What adds it again after it was deleted: it goes on behind its sequence numbers, and its counters go on too.
    pub(in crate::kernel) fn again(mut self) -> Request {
        let mut sa = std::mem::take(&mut self.0);
        sa.nlas.retain(is_taken_over);
        for attribute in &mut sa.nlas {
            match attribute {
                XfrmAttrs::ReplayState(replay) if replay.oseq > 0 => {
                    replay.oseq = replay.oseq.saturating_add(SEQUENCE_GAP);
                }
                XfrmAttrs::ReplayStateEsn(replay) if replay.oseq > 0 || replay.oseq_hi > 0 => {
                    let (low, carry) = replay.oseq.overflowing_add(SEQUENCE_GAP);
                    // Without extended numbers the kernel keeps the high half at zero and stops at the end.
                    let extended = sa.user_sa_info.flags & netlink_packet_xfrm::constants::XFRM_STATE_ESN != 0;
                    replay.oseq = if carry && !extended { u32::MAX } else { low };
                    replay.oseq_hi = replay.oseq_hi.saturating_add(u32::from(carry && extended));
                }
                _ => {}
            }
        }
        let counted = sa.user_sa_info.lifetime_cur;
        if counted != Lifetime::default() {
            sa.nlas.push(XfrmAttrs::LifetimeBytes(counted));
        }
        write::new_sa(sa)
    }
}

/// Whether an attribute of an SA that was read belongs into a request that adds it: not what the kernel only tells, and the
/// untruncated authentication algorithm stands there beside the truncated one.
fn is_taken_over(attribute: &XfrmAttrs) -> bool {
    !matches!(attribute, XfrmAttrs::LastUsed(_) | XfrmAttrs::AuthenticationAlg(_) | XfrmAttrs::Pad())
}

/// A policy as it stands in the kernel.
pub(in crate::kernel) struct KernelPolicy(PolicyMessage);

impl KernelPolicy {
    /// From the answer to a question for it.
    pub(in crate::kernel) fn read(answer: &[u8]) -> Result<Self, Refused> {
        match message(XFRM_MSG_NEWPOLICY, answer)? {
            XfrmMessage::AddPolicy(message) => Ok(Self(message)),
            _ => Err(unexpected()),
        }
    }

    /// Its templates; those of protocols and modes that are not ours are left out.
    pub(in crate::kernel) fn templates(&self) -> Vec<Template> {
        let of = |attribute: &XfrmAttrs| match attribute {
            XfrmAttrs::Template(templates) => templates.iter().filter_map(template).collect(),
            _ => Vec::new(),
        };
        self.0.nlas.iter().flat_map(of).collect()
    }

    /// What adds it again after it was deleted.
    pub(in crate::kernel) fn again(self) -> Request {
        write::new_policy(self.0)
    }
}

/// The prefix lengths, local and remote, by which IPv6 policies are hashed.
pub(in crate::kernel) fn spd_hash(answer: &[u8]) -> Result<(u8, u8), Refused> {
    let XfrmMessage::NewSpdInfo(info) = message(XFRM_MSG_NEWSPDINFO, answer)? else { return Err(unexpected()) };
    info.nlas
        .iter()
        .find_map(|attribute| match attribute {
            SpdInfoAttrs::SpdIpv6HThresh(threshold) => Some((threshold.lbits, threshold.rbits)),
            _ => None,
        })
        .ok_or_else(|| Refused::new("the kernel does not tell its thresholds for hashing policies"))
}

/// SA's name and end points in words.
pub(in crate::kernel) fn name(key: &SaKey) -> String {
    format!("{:?} SA {:08x} from {} to {}", key.protocol, key.spi, key.source, key.destination)
}

fn template(template: &UserTemplate) -> Option<Template> {
    Some(Template {
        protocol: protocol_of(template.id.proto)?,
        mode: mode_of(template.mode)?,
        source: address(template.saddr.addr, template.family),
        destination: address(template.id.daddr.addr, template.family),
        reqid: template.reqid,
        optional: template.optional != 0,
    })
}

fn message(kind: u16, answer: &[u8]) -> Result<XfrmMessage, Refused> {
    // The codec panics on messages that are too short.
    let least = LEAST.iter().find(|(known, _)| *known == kind).map_or(usize::MAX, |(_, least)| *least);
    if answer.len() < least {
        return Err(Refused::new("the kernel's answer is too short"));
    }
    XfrmMessage::parse_with_param(answer, kind).map_err(|error| Refused::new(error.to_string()))
}

fn unexpected() -> Refused {
    Refused::new("the kernel answered something else")
}
