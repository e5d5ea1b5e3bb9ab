//! Packets made by hand: IPv6, Home Address option, Mobility Header, ESP.

use std::net::{Ipv6Addr, SocketAddr};
use std::process::Command;

use homeward::lab::Host;
use mip6::address::{CareOfAddress, HomeAddress};
use mip6::wire::{
    AcknowledgementFlags, BindingAcknowledgement, BindingError, BindingErrorStatus, BindingStatus, BindingUpdate,
    ICMPV6, Lifetime, MobilityMessage, MobilityOption, UpdateFlags, checksum,
};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use socket2::{Domain, Protocol, Socket, Type};

const MOBILITY_HEADER: u8 = 135;
const DESTINATION_OPTIONS: u8 = 60;
const ROUTING: u8 = 43;
const ESP: u8 = 50;
const IPV6: u8 = 41;
const UDP: u8 = 17;
/// The raw protocol whose packets bring their own header.
const RAW: i32 = 255;

/// An outbound ESP SA as the kernel of its owner shows it to root.
#[derive(Debug)]
pub(crate) struct Stolen {
    spi: u32,
    key: Vec<u8>,
    salt: [u8; 4],
    /// The last sequence number that the owner has used.
    pub(crate) sequence: u32,
}

impl Stolen {
    /// The one SA in a host's kernel that is wanted, by its text.
    pub(crate) fn from(host: &Host, wanted: impl Fn(&str) -> bool) -> Self {
        let output = host.enter(|| Command::new("ip").args(["xfrm", "state"]).output()).unwrap().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let states = split(&text);
        let [state] = &states.iter().filter(|state| wanted(state)).collect::<Vec<_>>()[..] else {
            panic!("not one such SA in {text}")
        };
        let after = |word: &str| {
            let mut words = state.split_whitespace().skip_while(|found| *found != word);
            words.nth(1).unwrap_or_else(|| panic!("{word} in {state}")).trim_end_matches(',').to_owned()
        };
        let number = |text: String| u32::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
        assert!(state.contains("flag esn") && after("oseq-hi") == "0x0", "{state}");
        let key = after("rfc4106(gcm(aes))");
        let octets: Vec<u8> =
            (2..key.len()).step_by(2).map(|at| u8::from_str_radix(&key[at..at + 2], 16).unwrap()).collect();
        let (key, salt) = octets.split_at(octets.len() - 4);
        Self {
            spi: number(after("spi")),
            key: key.to_vec(),
            salt: salt.try_into().unwrap(),
            sequence: number(after("oseq")),
        }
    }

    /// An ESP packet from its SPI on (RFC 4303 §2, RFC 4106), with extended sequence numbers whose high half is zero.
    pub(crate) fn seal(&self, sequence: u32, next_header: u8, data: &[u8]) -> Vec<u8> {
        let mut plain = data.to_vec();
        let padding = (4 - (plain.len() + 2) % 4) % 4;
        plain.extend((1..=padding).map(|octet| octet as u8));
        plain.extend([padding as u8, next_header]);
        let mut packet = self.spi.to_be_bytes().to_vec();
        packet.extend(sequence.to_be_bytes());
        // An IV that the owner's kernel does not use.
        let iv = (u64::MAX - u64::from(sequence)).to_be_bytes();
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&self.salt);
        nonce[4..].copy_from_slice(&iv);
        // RFC 4106 §5: the high half is authenticated and not sent.
        let authenticated = [self.spi, 0, sequence].map(u32::to_be_bytes).concat();
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &self.key).unwrap());
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(authenticated), &mut plain)
            .unwrap();
        packet.extend(iv);
        packet.extend(plain);
        packet
    }

    /// A packet in the tunnel between two addresses.
    pub(crate) fn tunnel(&self, sequence: u32, (from, to): (Ipv6Addr, Ipv6Addr), inner: &[u8]) -> Vec<u8> {
        ipv6(from, to, ESP, &self.seal(sequence, IPV6, inner))
    }

    /// A Binding Update as RFC 4877 §4.1 has it: the Home Address option, then ESP in transport mode.
    pub(crate) fn update(
        &self,
        sequence: u32,
        (care_of, home): (Ipv6Addr, Ipv6Addr),
        agent: Ipv6Addr,
        message: &[u8],
    ) -> Vec<u8> {
        let esp = self.seal(sequence, MOBILITY_HEADER, message);
        ipv6(care_of, agent, DESTINATION_OPTIONS, &[home_address_option(home, ESP), esp].concat())
    }
}

/// The states in the output of `ip xfrm state`.
fn split(text: &str) -> Vec<String> {
    let mut states: Vec<String> = Vec::new();
    for line in text.lines() {
        match states.last_mut() {
            Some(state) if line.starts_with(char::is_whitespace) => {
                state.push(' ');
                state.push_str(line.trim());
            }
            _ => states.push(line.trim().to_owned()),
        }
    }
    states
}

/// A registration of `care_of` for a minute, with its checksum.
pub(crate) fn registration(home: Ipv6Addr, care_of: Ipv6Addr, agent: Ipv6Addr, sequence: u16) -> Vec<u8> {
    let flags = [UpdateFlags::HOME_REGISTRATION, UpdateFlags::KEY_MOBILITY];
    let update = BindingUpdate {
        sequence,
        flags: flags.into_iter().fold(UpdateFlags::ACKNOWLEDGE, UpdateFlags::with),
        lifetime: Lifetime(15),
        options: vec![MobilityOption::AlternateCareOf(CareOfAddress(care_of))],
    };
    let mut message = MobilityMessage::BindingUpdate(update).write();
    checksum::fill_mobility(home, agent, &mut message);
    message
}

/// Without ESP and without a Home Address option.
pub(crate) fn plain(source: Ipv6Addr, agent: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    ipv6(source, agent, MOBILITY_HEADER, message)
}

/// Without ESP, with a Home Address option.
pub(crate) fn plain_with_option(care_of: Ipv6Addr, home: Ipv6Addr, agent: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    ipv6(care_of, agent, DESTINATION_OPTIONS, &[&home_address_option(home, MOBILITY_HEADER)[..], message].concat())
}

/// Without ESP, to a home address by way of its care-of address (RFC 6275 §6.4).
pub(crate) fn by_way_of(care_of: Ipv6Addr, packet: &[u8]) -> Vec<u8> {
    let mut header = vec![packet[6], 2, 2, 1, 0, 0, 0, 0];
    header.extend(&packet[24..40]);
    let source: [u8; 16] = packet[8..24].try_into().unwrap();
    ipv6(Ipv6Addr::from(source), care_of, ROUTING, &[&header[..], &packet[40..]].concat())
}

/// The home agent says that it does not know us, or that it accepts what we never sent.
pub(crate) fn agents_messages(agent: Ipv6Addr, home: Ipv6Addr) -> [Vec<u8>; 2] {
    let error = BindingError {
        status: BindingErrorStatus::UnknownBinding,
        home_address: HomeAddress(home),
        options: Vec::new(),
    };
    let acknowledgement = BindingAcknowledgement {
        status: BindingStatus::DuplicateAddressDetectionFailed,
        flags: AcknowledgementFlags::default(),
        sequence: 1,
        lifetime: Lifetime(0),
        options: Vec::new(),
    };
    [MobilityMessage::BindingError(error), MobilityMessage::BindingAcknowledgement(acknowledgement)].map(|message| {
        let mut message = message.write();
        checksum::fill_mobility(agent, home, &mut message);
        ipv6(agent, home, MOBILITY_HEADER, &message)
    })
}

/// An echo request.
pub(crate) fn echo_request(source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![128, 0, 0, 0, 0, 1, 0, 1];
    checksum::fill_icmp6(source, destination, &mut message);
    ipv6(source, destination, ICMPV6, &message)
}

/// A UDP datagram without checksum field of any worth, for packets that nobody is to get.
pub(crate) fn datagram(source: Ipv6Addr, destination: Ipv6Addr, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + data.len()).unwrap();
    let mut udp = Vec::new();
    for field in [4711, 4711, length, 0xffff] {
        udp.extend(u16::to_be_bytes(field));
    }
    udp.extend(data);
    ipv6(source, destination, UDP, &udp)
}

/// RFC 6275 §6.3: the address stands at 8n+6 behind padding.
fn home_address_option(home: Ipv6Addr, next_header: u8) -> Vec<u8> {
    let mut header = vec![next_header, 2, 1, 2, 0, 0, 201, 16];
    header.extend(home.octets());
    header
}

fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    packet.extend([next_header, 64]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    packet
}

/// Sends a packet from a host, whatever its source address says.
pub(crate) fn send(host: &Host, packet: &[u8]) {
    let destination: [u8; 16] = packet[24..40].try_into().unwrap();
    let to = SocketAddr::new(Ipv6Addr::from(destination).into(), 0).into();
    host.enter(|| {
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(RAW)))?;
        socket.send_to(packet, &to)
    })
    .unwrap()
    .unwrap();
}
