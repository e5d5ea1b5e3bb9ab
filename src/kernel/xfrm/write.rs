//! Requests to the kernel's IPsec.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::DefaultNla;
use netlink_packet_xfrm::constants::{UDP_ENCAP_ESPINUDP, XFRM_STATE_ESN, XFRM_STATE_WILDRECV, XFRMA_MIGRATE};
use netlink_packet_xfrm::policy::{
    DelGetMessage as PolicyIdMessage, GetSpdInfoMessage, ModifyMessage as PolicyMessage, NewSpdInfoMessage, SpdHThresh,
    SpdInfoAttrs,
};
use netlink_packet_xfrm::state::{DelGetMessage as StateIdMessage, ModifyMessage as StateMessage};
use netlink_packet_xfrm::{
    Address, Alg, AlgAead, AlgAuth, EncapTmpl, Id, LifetimeConfig, MigrateMessage, ReplayEsn,
    Selector as KernelSelector, UserPolicyId, UserPolicyInfo, UserPolicyType, UserSaId, UserSaInfo, UserTemplate,
    XFRM_INF, XfrmAttrs, XfrmMessage,
};
use zeroize::{Zeroize, Zeroizing};

use super::{direction, family, mode, policy_type, protocol};
use crate::kernel::netlink::Request;
use crate::kernel::op::{
    EspKeys, EspSa, Mode, Move, Net, Policy, PolicyKey, Protocol, RouteOptimization, SaKey, Selector, Template, Verdict,
};

/// The plain replay window's bits.
const PLAIN_WINDOW: u32 = 32;
/// Octets of an algorithm's name.
const ALGORITHM_NAME: usize = 64;
/// The truncated length of HMAC-SHA2-256 (RFC 4868 §2.3) and of the ICV of AES-GCM (RFC 4106 §6), in bits.
const ICV_BITS: u32 = 128;

/// Adds an ESP SA.
pub(in crate::kernel) fn add_sa(sa: &EspSa) -> Request {
    let extended = sa.esn || sa.replay_window > PLAIN_WINDOW;
    let mut message = StateMessage {
        user_sa_info: UserSaInfo {
            selector: selector(&sa.selector),
            reqid: sa.reqid,
            replay_window: if extended { 0 } else { u8::try_from(sa.replay_window).unwrap_or(u8::MAX) },
            flags: if sa.esn { XFRM_STATE_ESN } else { 0 },
            ..sa_info(&sa.key, sa.mode)
        },
        nlas: algorithms(&sa.keys),
    };
    if extended {
        message.nlas.push(XfrmAttrs::ReplayStateEsn(empty_window(sa.replay_window)));
    }
    message.nlas.extend(sa.encapsulation.map(encapsulation));
    new_sa(message)
}

/// Adds a route-optimisation state, or replaces the one that is there.
pub(in crate::kernel) fn set_route_optimization(state: &RouteOptimization, replace: bool) -> Request {
    let info = sa_info(&state.key, Mode::RouteOptimization);
    let message = StateMessage {
        user_sa_info: UserSaInfo { flags: if state.wildcard { XFRM_STATE_WILDRECV } else { 0 }, ..info },
        nlas: vec![XfrmAttrs::CareOfAddr(Address::from_ipv6(&state.care_of))],
    };
    let message = if replace { XfrmMessage::UpdateSa(message) } else { XfrmMessage::AddSa(message) };
    Request::new(&message, 0)
}

/// Adds an SA as it was read, and wipes it.
pub(in crate::kernel) fn new_sa(message: StateMessage) -> Request {
    let message = XfrmMessage::AddSa(message);
    let request = Request::new(&message, 0);
    wipe(message);
    request
}

/// Wipes the keys of a message.
pub(super) fn wipe(message: XfrmMessage) {
    let (XfrmMessage::AddSa(mut message) | XfrmMessage::UpdateSa(mut message)) = message else { return };
    for attribute in &mut message.nlas {
        match attribute {
            XfrmAttrs::EncryptionAlgAead(algorithm) => algorithm.alg_key.zeroize(),
            XfrmAttrs::AuthenticationAlgTrunc(algorithm) => algorithm.alg_key.zeroize(),
            XfrmAttrs::EncryptionAlg(algorithm) | XfrmAttrs::AuthenticationAlg(algorithm) => {
                algorithm.alg_key.zeroize();
            }
            _ => {}
        }
    }
}

pub(in crate::kernel) fn delete_sa(key: &SaKey) -> Request {
    Request::new(&XfrmMessage::DeleteSa(sa_id(key)), 0)
}

pub(in crate::kernel) fn get_sa(key: &SaKey) -> Request {
    Request::new(&XfrmMessage::GetSa(sa_id(key)), 0)
}

/// Adds a policy, or replaces the one with the same key.
pub(in crate::kernel) fn set_policy(policy: &Policy, replace: bool) -> Request {
    let (action, templates) = match &policy.verdict {
        Verdict::Allow(templates) => (0, templates.as_slice()),
        Verdict::Block => (1, [].as_slice()),
    };
    let mut message = PolicyMessage {
        user_policy_info: UserPolicyInfo {
            selector: selector(&policy.key.selector),
            lifetime_cfg: unlimited(),
            priority: policy.priority,
            direction: direction(policy.key.direction),
            action,
            ..UserPolicyInfo::default()
        },
        nlas: Vec::new(),
    };
    if !templates.is_empty() {
        message.nlas.push(XfrmAttrs::Template(templates.iter().map(template).collect()));
    }
    message.nlas.push(kind(&policy.key));
    let message = if replace { XfrmMessage::UpdatePolicy(message) } else { XfrmMessage::AddPolicy(message) };
    Request::new(&message, 0)
}

/// Adds a policy as it was read.
pub(in crate::kernel) fn new_policy(message: PolicyMessage) -> Request {
    Request::new(&XfrmMessage::AddPolicy(message), 0)
}

pub(in crate::kernel) fn delete_policy(key: &PolicyKey) -> Request {
    Request::new(&XfrmMessage::DeletePolicy(policy_id_message(key)), 0)
}

pub(in crate::kernel) fn get_policy(key: &PolicyKey) -> Request {
    Request::new(&XfrmMessage::GetPolicy(policy_id_message(key)), 0)
}

/// Moves at most [`super::MIGRATE_ENTRIES`] SAs and the policy's template.
pub(in crate::kernel) fn migrate(policy: &PolicyKey, moves: &[Move], encapsulated: Option<(u16, u16)>) -> Request {
    // Not `XfrmAttrs::Migrate`: it holds one entry. Of two such attributes the kernel applies the last one only, and acknowledges.
    let entries = moves.iter().flat_map(migrate_entry).collect();
    let mut nlas = vec![kind(policy), XfrmAttrs::Other(DefaultNla::new(XFRMA_MIGRATE, entries))];
    nlas.extend(encapsulated.map(encapsulation));
    Request::new(&XfrmMessage::Migrate(MigrateMessage { user_policy_id: policy_id(policy), nlas }), 0)
}

/// `struct xfrm_user_migrate`.
fn migrate_entry(entry: &Move) -> Vec<u8> {
    let mut octets = Vec::with_capacity(76);
    for address in [entry.from.1, entry.from.0, entry.to.1, entry.to.0] {
        octets.extend(Address::from_ip(&address).addr);
    }
    octets.extend([protocol(Protocol::Esp), mode(Mode::Tunnel), 0, 0]);
    octets.extend(entry.reqid.to_ne_bytes());
    octets.extend(family(entry.from.0).to_ne_bytes());
    octets.extend(family(entry.to.0).to_ne_bytes());
    octets
}

/// Sets the prefix lengths, local and remote, by which IPv6 policies are hashed.
pub(in crate::kernel) fn set_spd_hash((lbits, rbits): (u8, u8)) -> Request {
    let nlas = vec![SpdInfoAttrs::SpdIpv6HThresh(SpdHThresh { lbits, rbits })];
    Request::new(&XfrmMessage::NewSpdInfo(NewSpdInfoMessage { flags: 0, nlas }), 0)
}

pub(in crate::kernel) fn get_spd_hash() -> Request {
    Request::new(&XfrmMessage::GetSpdInfo(GetSpdInfoMessage::default()), 0)
}

fn algorithms(keys: &EspKeys) -> Vec<XfrmAttrs> {
    match keys {
        EspKeys::AesGcm16(key) => vec![XfrmAttrs::EncryptionAlgAead(AlgAead {
            alg_name: algorithm("rfc4106(gcm(aes))"),
            alg_key_len: bits(key),
            alg_icv_len: ICV_BITS,
            alg_key: key.to_vec(),
        })],
        EspKeys::AesCbcHmacSha256 { encryption, integrity } => vec![
            XfrmAttrs::AuthenticationAlgTrunc(AlgAuth {
                alg_name: algorithm("hmac(sha256)"),
                alg_key_len: bits(integrity),
                alg_trunc_len: ICV_BITS,
                alg_key: integrity.to_vec(),
            }),
            XfrmAttrs::EncryptionAlg(Alg {
                alg_name: algorithm("cbc(aes)"),
                alg_key_len: bits(encryption),
                alg_key: encryption.to_vec(),
            }),
        ],
    }
}

fn algorithm(name: &str) -> [u8; ALGORITHM_NAME] {
    let mut octets = [0; ALGORITHM_NAME];
    octets.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    octets
}

fn bits(key: &Zeroizing<Vec<u8>>) -> u32 {
    u32::try_from(key.len() * 8).unwrap_or(u32::MAX)
}

/// An extended replay window in which nothing has come yet.
fn empty_window(packets: u32) -> ReplayEsn {
    let replay_window = packets.max(1);
    let words = replay_window.div_ceil(32);
    let bmp = vec![0; usize::try_from(words).unwrap_or(0)];
    ReplayEsn { bmp_len: words, replay_window, bmp, ..ReplayEsn::default() }
}

fn encapsulation((encap_sport, encap_dport): (u16, u16)) -> XfrmAttrs {
    XfrmAttrs::EncapsulationTemplate(EncapTmpl {
        encap_type: UDP_ENCAP_ESPINUDP,
        encap_sport,
        encap_dport,
        encap_oa: Address::default(),
    })
}

fn sa_info(key: &SaKey, applied: Mode) -> UserSaInfo {
    UserSaInfo {
        id: Id { daddr: Address::from_ip(&key.destination), spi: key.spi, proto: protocol(key.protocol) },
        saddr: Address::from_ip(&key.source),
        lifetime_cfg: unlimited(),
        family: family(key.destination),
        mode: mode(applied),
        ..UserSaInfo::default()
    }
}

fn sa_id(key: &SaKey) -> StateIdMessage {
    StateIdMessage {
        user_sa_id: UserSaId {
            daddr: Address::from_ip(&key.destination),
            spi: key.spi,
            family: family(key.destination),
            proto: protocol(key.protocol),
        },
        nlas: vec![XfrmAttrs::SrcAddr(Address::from_ip(&key.source))],
    }
}

fn policy_id_message(key: &PolicyKey) -> PolicyIdMessage {
    PolicyIdMessage { user_policy_id: policy_id(key), nlas: vec![kind(key)] }
}

fn policy_id(key: &PolicyKey) -> UserPolicyId {
    UserPolicyId { selector: selector(&key.selector), index: 0, direction: direction(key.direction) }
}

fn kind(key: &PolicyKey) -> XfrmAttrs {
    XfrmAttrs::PolicyType(UserPolicyType { ptype: policy_type(key.kind), ..UserPolicyType::default() })
}

fn selector(selector: &Selector) -> KernelSelector {
    let port = |port: Option<u16>| (port.unwrap_or(0), if port.is_some() { u16::MAX } else { 0 });
    let ((sport, sport_mask), (dport, dport_mask)) = (port(selector.source_port), port(selector.destination_port));
    KernelSelector {
        daddr: masked(selector.destination),
        saddr: masked(selector.source),
        dport,
        dport_mask,
        sport,
        sport_mask,
        family: family(selector.source.address),
        prefixlen_d: selector.destination.len,
        prefixlen_s: selector.source.len,
        proto: selector.protocol,
        ..KernelSelector::default()
    }
}

/// The address without what lies beyond its length: the kernel compares all of it when it looks for a policy.
fn masked(net: Net) -> Address {
    let kept = |width: u32| width.saturating_sub(u32::from(net.len));
    match net.address {
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(kept(128)).unwrap_or(0);
            Address::from_ipv6(&Ipv6Addr::from_bits(address.to_bits() & mask))
        }
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(kept(32)).unwrap_or(0);
            Address::from_ipv4(&Ipv4Addr::from_bits(address.to_bits() & mask))
        }
    }
}

fn template(template: &Template) -> UserTemplate {
    UserTemplate {
        id: Id { daddr: Address::from_ip(&template.destination), spi: 0, proto: protocol(template.protocol) },
        family: family(template.source),
        saddr: Address::from_ip(&template.source),
        reqid: template.reqid,
        mode: mode(template.mode),
        optional: u8::from(template.optional),
        ..UserTemplate::default()
    }
}

/// `struct xfrm_lifetime_cfg` without limits: lifetimes are IKE's.
fn unlimited() -> LifetimeConfig {
    LifetimeConfig {
        soft_byte_limit: XFRM_INF,
        hard_byte_limit: XFRM_INF,
        soft_packet_limit: XFRM_INF,
        hard_packet_limit: XFRM_INF,
        ..LifetimeConfig::default()
    }
}
