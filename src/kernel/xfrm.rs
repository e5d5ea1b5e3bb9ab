//! IPsec states and policies: `linux/xfrm.h` as octets, and the operations on them.

use std::net::IpAddr;

use super::netlink::{Netlink, Refused, attribute, attributes_of, u32_at};
use super::op::{
    Direction, EspKeys, EspSa, Mode, Move, Net, Policy, PolicyKey, PolicyType, Protocol, RouteOptimization, SaKey,
    Selector, Template, Verdict,
};

const NEWSA: u16 = 0x10;
const DELSA: u16 = 0x11;
const GETSA: u16 = 0x12;
const DELPOLICY: u16 = 0x14;
const GETPOLICY: u16 = 0x15;
const UPDPOLICY: u16 = 0x19;
const UPDSA: u16 = 0x1a;
const MIGRATE: u16 = 0x21;
const NEWSPDINFO: u16 = 0x24;

const ALG_AUTH_TRUNC: u16 = 20;
const ALG_CRYPT: u16 = 2;
const ALG_AEAD: u16 = 18;
const ENCAP: u16 = 4;
const TMPL: u16 = 5;
const REPLAY_VAL: u16 = 10;
const SRCADDR: u16 = 13;
const COADDR: u16 = 14;
const POLICY_TYPE: u16 = 16;
const MIGRATE_ATTRIBUTE: u16 = 17;
const REPLAY_ESN_VAL: u16 = 23;
const SPD_IPV6_HTHRESH: u16 = 4;

const STATE_WILDRECV: u8 = 8;
const STATE_ESN: u8 = 128;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const UDP_ENCAP_ESPINUDP: u16 = 2;
/// `struct xfrm_usersa_info`; attributes follow.
const USERSA_INFO: usize = 224;
/// `struct xfrm_userpolicy_info`; attributes follow.
const USERPOLICY_INFO: usize = 168;
/// The kernel takes so many entries in one message.
const MIGRATE_ENTRIES: usize = 6;
/// The plain replay window's bits.
const PLAIN_WINDOW: u32 = 32;

/// Sets the prefix lengths by which IPv6 policies are hashed.
pub(super) fn spd_hash(netlink: &mut Netlink, local: u8, remote: u8) -> Result<(), Refused> {
    let mut body = vec![0; 4];
    attribute(&mut body, SPD_IPV6_HTHRESH, &[local, remote]);
    netlink.request(NEWSPDINFO, 0, &body).map(drop)
}

pub(super) fn add_sa(netlink: &mut Netlink, sa: &EspSa) -> Result<(), Refused> {
    netlink.request(NEWSA, 0, &esp_body(sa)).map(drop)
}

pub(super) fn delete_sa(netlink: &mut Netlink, key: &SaKey) -> Result<(), Refused> {
    netlink.request(DELSA, 0, &sa_id(key)).map(drop)
}

/// Adds a route-optimisation state, or gives the one that is there another care-of address.
pub(super) fn set_route_optimization(netlink: &mut Netlink, state: &RouteOptimization) -> Result<(), Refused> {
    let body = route_optimization_body(state);
    match netlink.request(UPDSA, 0, &body) {
        Err(refused) if refused.errno == libc::ESRCH => netlink.request(NEWSA, 0, &body).map(drop),
        result => result.map(drop),
    }
}

/// Copies an SA with its replay state to another destination.
pub(super) fn copy_sa(netlink: &mut Netlink, from: &SaKey, to: IpAddr) -> Result<(), Refused> {
    let answer = netlink.request(GETSA, 0, &sa_id(from))?.ok_or_else(|| Refused::new("no such SA"))?;
    let answer = zeroize::Zeroizing::new(answer);
    let mut body = zeroize::Zeroizing::new(answer.get(..USERSA_INFO).ok_or_else(short)?.to_vec());
    body.get_mut(SELECTOR..SELECTOR + 16).ok_or_else(short)?.copy_from_slice(&octets(to));
    for (kind, value) in attributes_of(answer.get(USERSA_INFO..).unwrap_or_default()) {
        if matches!(kind, ALG_AUTH_TRUNC | ALG_CRYPT | ALG_AEAD | ENCAP | REPLAY_VAL | REPLAY_ESN_VAL) {
            attribute(&mut body, kind, value);
        }
    }
    netlink.request(NEWSA, 0, &body).map(drop)
}

/// Adds a policy, or replaces the one with the same key.
pub(super) fn set_policy(netlink: &mut Netlink, policy: &Policy) -> Result<(), Refused> {
    let mut body = selector(&policy.key.selector);
    body.extend(unlimited());
    body.extend([0; 32]);
    body.extend(policy.priority.to_ne_bytes());
    body.extend(0u32.to_ne_bytes());
    let (action, templates) = match &policy.verdict {
        Verdict::Allow(templates) => (0, templates.as_slice()),
        Verdict::Block => (1, [].as_slice()),
    };
    body.extend([direction(policy.key.direction), action, 0, 0, 0, 0, 0, 0]);
    if !templates.is_empty() {
        let octets: Vec<u8> = templates.iter().flat_map(template).collect();
        attribute(&mut body, TMPL, &octets);
    }
    policy_type(&mut body, policy.key.kind);
    netlink.request(UPDPOLICY, 0, &body).map(drop)
}

pub(super) fn delete_policy(netlink: &mut Netlink, key: &PolicyKey) -> Result<(), Refused> {
    netlink.request(DELPOLICY, 0, &policy_id(key)).map(drop)
}

/// The policy as it stands; none if there is none.
pub(super) fn get_policy(netlink: &mut Netlink, key: &PolicyKey) -> Result<Option<Policy>, Refused> {
    let answer = match netlink.request(GETPOLICY, 0, &policy_id(key)) {
        Err(refused) if refused.errno == libc::ENOENT => return Ok(None),
        result => result?.ok_or_else(|| Refused::new("no answer"))?,
    };
    let priority = u32_at(&answer, 152).ok_or_else(short)?;
    let blocked = *answer.get(161).ok_or_else(short)? == 1;
    let mut templates = Vec::new();
    for (kind, value) in attributes_of(answer.get(USERPOLICY_INFO..).unwrap_or_default()) {
        if kind == TMPL {
            templates.extend(value.chunks_exact(64).filter_map(read_template));
        }
    }
    let verdict = if blocked { Verdict::Block } else { Verdict::Allow(templates) };
    Ok(Some(Policy { key: *key, priority, verdict }))
}

/// Moves SAs and the policy's template, and reads back: the kernel acknowledges a message of which it applied a part.
pub(super) fn migrate(netlink: &mut Netlink, policy: &PolicyKey, moves: &[Move]) -> Result<(), Refused> {
    let Some(first) = moves.first() else { return Ok(()) };
    let (lead, rest) = moves.split_at(moves.len().min(MIGRATE_ENTRIES));
    send_migrate(netlink, policy, lead)?;
    // Further messages begin with an entry that moves nothing, for one has to match the policy's template.
    let identity = Move { from: first.to, ..*first };
    for chunk in rest.chunks(MIGRATE_ENTRIES - 1) {
        let entries: Vec<Move> = std::iter::once(identity).chain(chunk.iter().copied()).collect();
        send_migrate(netlink, policy, &entries)?;
    }
    let Some(Policy { verdict: Verdict::Allow(templates), .. }) = get_policy(netlink, policy)? else {
        return Err(Refused::new("the policy is gone after the migration"));
    };
    let stale =
        templates.iter().any(|t| moves.iter().any(|m| t.reqid == m.reqid && (t.source, t.destination) == m.from));
    if stale { Err(Refused::new("the policy's template did not move")) } else { Ok(()) }
}

fn send_migrate(netlink: &mut Netlink, policy: &PolicyKey, entries: &[Move]) -> Result<(), Refused> {
    let mut body = policy_id(policy);
    let mut value = Vec::new();
    for entry in entries {
        for address in [entry.from.1, entry.from.0, entry.to.1, entry.to.0] {
            value.extend(octets(address));
        }
        value.extend([protocol(Protocol::Esp), mode(Mode::Tunnel), 0, 0]);
        value.extend(entry.reqid.to_ne_bytes());
        value.extend(family(entry.from.0).to_ne_bytes());
        value.extend(family(entry.to.0).to_ne_bytes());
    }
    attribute(&mut body, MIGRATE_ATTRIBUTE, &value);
    netlink.request(MIGRATE, 0, &body).map(drop)
}

fn esp_body(sa: &EspSa) -> zeroize::Zeroizing<Vec<u8>> {
    let extended = sa.esn || sa.replay_window > PLAIN_WINDOW;
    let window = if extended { 0 } else { u8::try_from(sa.replay_window).unwrap_or(u8::MAX) };
    let flags = if sa.esn { STATE_ESN } else { 0 };
    let mut body = sa_info(&sa.key, &selector(&sa.selector), sa.reqid, mode(sa.mode), window, flags);
    match &sa.keys {
        EspKeys::AesGcm16(key) => {
            let mut value = algorithm("rfc4106(gcm(aes))", key.len());
            value.extend(128u32.to_ne_bytes());
            value.extend(key.iter());
            attribute(&mut body, ALG_AEAD, &value);
        }
        EspKeys::AesCbcHmacSha256 { encryption, integrity } => {
            let mut value = algorithm("hmac(sha256)", integrity.len());
            value.extend(128u32.to_ne_bytes());
            value.extend(integrity.iter());
            attribute(&mut body, ALG_AUTH_TRUNC, &value);
            let mut value = algorithm("cbc(aes)", encryption.len());
            value.extend(encryption.iter());
            attribute(&mut body, ALG_CRYPT, &value);
        }
    }
    if extended {
        let words = sa.replay_window.max(1).div_ceil(32);
        let mut value = Vec::new();
        for word in [words, 0, 0, 0, 0, sa.replay_window.max(1)] {
            value.extend(word.to_ne_bytes());
        }
        value.extend(std::iter::repeat_n(0, usize::try_from(words).unwrap_or(0) * 4));
        attribute(&mut body, REPLAY_ESN_VAL, &value);
    }
    if let Some((source, destination)) = sa.encapsulation {
        let mut value = UDP_ENCAP_ESPINUDP.to_ne_bytes().to_vec();
        value.extend(source.to_be_bytes());
        value.extend(destination.to_be_bytes());
        value.extend([0; 18]);
        attribute(&mut body, ENCAP, &value);
    }
    body
}

fn route_optimization_body(state: &RouteOptimization) -> zeroize::Zeroizing<Vec<u8>> {
    let flags = if state.wildcard { STATE_WILDRECV } else { 0 };
    let mut body = sa_info(&state.key, &[0; SELECTOR], 0, mode(Mode::RouteOptimization), 0, flags);
    attribute(&mut body, COADDR, &state.care_of.octets());
    body
}

/// `struct xfrm_selector`.
const SELECTOR: usize = 56;

fn sa_info(key: &SaKey, selector: &[u8], reqid: u32, mode: u8, window: u8, flags: u8) -> zeroize::Zeroizing<Vec<u8>> {
    let mut body = zeroize::Zeroizing::new(Vec::with_capacity(512));
    body.extend(selector);
    body.extend(octets(key.destination));
    body.extend(key.spi.to_be_bytes());
    body.extend([protocol(key.protocol), 0, 0, 0]);
    body.extend(octets(key.source));
    body.extend(unlimited());
    body.extend([0; 32 + 12]);
    body.extend(0u32.to_ne_bytes());
    body.extend(reqid.to_ne_bytes());
    body.extend(family(key.destination).to_ne_bytes());
    body.extend([mode, window, flags, 0, 0, 0, 0, 0, 0, 0]);
    body
}

fn sa_id(key: &SaKey) -> Vec<u8> {
    let mut body = octets(key.destination).to_vec();
    body.extend(key.spi.to_be_bytes());
    body.extend(family(key.destination).to_ne_bytes());
    body.extend([protocol(key.protocol), 0]);
    attribute(&mut body, SRCADDR, &octets(key.source));
    body
}

fn policy_id(key: &PolicyKey) -> Vec<u8> {
    let mut body = selector(&key.selector);
    body.extend(0u32.to_ne_bytes());
    body.extend([direction(key.direction), 0, 0, 0]);
    policy_type(&mut body, key.kind);
    body
}

fn policy_type(body: &mut Vec<u8>, kind: PolicyType) {
    let kind = match kind {
        PolicyType::Main => 0,
        PolicyType::Sub => 1,
    };
    attribute(body, POLICY_TYPE, &[kind, 0, 0, 0, 0, 0]);
}

fn selector(selector: &Selector) -> Vec<u8> {
    let port = |port: Option<u16>| (port.unwrap_or(0), if port.is_some() { u16::MAX } else { 0 });
    let ((source_port, source_mask), (destination_port, destination_mask)) =
        (port(selector.source_port), port(selector.destination_port));
    let mut body = masked(selector.destination).to_vec();
    body.extend(masked(selector.source));
    for port in [destination_port, destination_mask, source_port, source_mask] {
        body.extend(port.to_be_bytes());
    }
    body.extend(family(selector.source.address).to_ne_bytes());
    body.extend([selector.destination.len, selector.source.len, selector.protocol, 0, 0, 0]);
    body.extend([0; 8]);
    body
}

fn masked(net: Net) -> [u8; 16] {
    octets(net.address)
}

fn template(template: &Template) -> Vec<u8> {
    let mut value = octets(template.destination).to_vec();
    value.extend(0u32.to_ne_bytes());
    value.extend([protocol(template.protocol), 0, 0, 0]);
    value.extend(family(template.source).to_ne_bytes());
    value.extend([0, 0]);
    value.extend(octets(template.source));
    value.extend(template.reqid.to_ne_bytes());
    value.extend([mode(template.mode), 0, u8::from(template.optional), 0]);
    value.extend([0xff; 12]);
    value
}

fn read_template(value: &[u8]) -> Option<Template> {
    let address = |at: usize| {
        let octets: [u8; 16] = value.get(at..at + 16)?.try_into().ok()?;
        Some(match u16::from_ne_bytes(value.get(24..26)?.try_into().ok()?) {
            AF_INET => IpAddr::from(*octets.first_chunk::<4>()?),
            _ => IpAddr::from(octets),
        })
    };
    Some(Template {
        protocol: match value.get(20)? {
            60 => Protocol::DestinationOptions,
            43 => Protocol::Routing,
            _ => Protocol::Esp,
        },
        mode: match value.get(48)? {
            0 => Mode::Transport,
            1 => Mode::Tunnel,
            _ => Mode::RouteOptimization,
        },
        source: address(28)?,
        destination: address(0)?,
        reqid: u32_at(value, 44)?,
        optional: *value.get(50)? != 0,
    })
}

fn algorithm(name: &str, key: usize) -> zeroize::Zeroizing<Vec<u8>> {
    let mut value = zeroize::Zeroizing::new(name.as_bytes().to_vec());
    value.resize(64, 0);
    value.extend(u32::try_from(key * 8).unwrap_or(0).to_ne_bytes());
    value
}

/// `struct xfrm_lifetime_cfg` without limits: lifetimes are IKE's.
fn unlimited() -> Vec<u8> {
    let mut value = vec![0xff; 32];
    value.extend([0; 32]);
    value
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(address) => {
            let mut octets = [0; 16];
            octets.iter_mut().zip(address.octets()).for_each(|(to, from)| *to = from);
            octets
        }
    }
}

fn family(address: IpAddr) -> u16 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn protocol(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Esp => 50,
        Protocol::DestinationOptions => 60,
        Protocol::Routing => 43,
    }
}

fn mode(mode: Mode) -> u8 {
    match mode {
        Mode::Transport => 0,
        Mode::Tunnel => 1,
        Mode::RouteOptimization => 2,
    }
}

fn direction(direction: Direction) -> u8 {
    match direction {
        Direction::In => 0,
        Direction::Out => 1,
        Direction::Forward => 2,
    }
}

fn short() -> Refused {
    Refused::new("the kernel's answer is too short")
}
