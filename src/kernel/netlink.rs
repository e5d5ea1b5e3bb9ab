//! A netlink socket for requests, one at a time, each acknowledged.

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols};

/// NLM_F_REQUEST | NLM_F_ACK.
const REQUEST: u16 = 1 | 4;
/// NLM_F_DUMP.
const DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSGERR_ATTR_MSG: u16 = 1;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const HEADER: usize = 16;
/// Holds the answers to the largest request that is made here.
const BUFFER: usize = 4 << 20;

/// What the kernel refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// `errno`; 0 if the answer could not be read.
    pub(super) errno: i32,
    /// In words.
    pub(super) reason: String,
}

impl Refused {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { errno: 0, reason: reason.into() }
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self { errno: error.raw_os_error().unwrap_or(0), reason: error.to_string() }
    }
}

/// A socket for requests to one netlink family. It belongs to the network namespace of the thread that opens it.
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
    /// Messages sent since the last look.
    pub(super) sent: u32,
}

impl Netlink {
    pub(super) fn xfrm() -> io::Result<Self> {
        Self::open(protocols::NETLINK_XFRM)
    }

    pub(super) fn route() -> io::Result<Self> {
        Self::open(protocols::NETLINK_ROUTE)
    }

    fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        socket.set_rx_buf_sz(i32::try_from(BUFFER).unwrap_or(i32::MAX))?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0, sent: 0 })
    }

    /// Sends a request and waits for its acknowledgement; an answer that comes before it is returned.
    pub(super) fn request(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<Option<Vec<u8>>, Refused> {
        let sequence = self.send(kind, REQUEST | flags, body)?;
        let mut answer = None;
        loop {
            for message in self.receive(sequence)? {
                match message.kind {
                    NLMSG_ERROR => return acknowledged(&message).map(|()| answer),
                    _ => answer = Some(message.body),
                }
            }
        }
    }

    /// Sends a dump request and collects what comes.
    pub(super) fn dump(&mut self, kind: u16, body: &[u8]) -> Result<Vec<Vec<u8>>, Refused> {
        let sequence = self.send(kind, 1 | DUMP, body)?;
        let mut found = Vec::new();
        loop {
            for message in self.receive(sequence)? {
                match message.kind {
                    NLMSG_DONE => return Ok(found),
                    NLMSG_ERROR => acknowledged(&message)?,
                    _ => found.push(message.body),
                }
            }
        }
    }

    fn send(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<u32, Refused> {
        self.sequence = self.sequence.wrapping_add(1);
        self.sent = self.sent.saturating_add(1);
        let length = u32::try_from(HEADER + body.len()).map_err(|_| Refused::new("the message is too long"))?;
        let mut message = zeroize::Zeroizing::new(Vec::with_capacity(HEADER + body.len()));
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend(0u32.to_ne_bytes());
        message.extend(body);
        self.socket.send(&message, 0)?;
        Ok(self.sequence)
    }

    /// The messages of the next datagram that answer `sequence`.
    fn receive(&mut self, sequence: u32) -> Result<Vec<Message>, Refused> {
        let (octets, sender) = self.socket.recv_from_full()?;
        if sender.port_number() != 0 {
            // CVE-2010-2522: anybody can send to a netlink socket, the kernel alone has port 0.
            return Ok(Vec::new());
        }
        Ok(Message::split(&octets).filter(|message| message.sequence == sequence).collect())
    }
}

/// A netlink message that came.
pub(super) struct Message {
    pub(super) kind: u16,
    flags: u16,
    sequence: u32,
    pub(super) body: Vec<u8>,
}

impl Message {
    /// The messages of a datagram; what is cut off is left out.
    pub(super) fn split(mut octets: &[u8]) -> impl Iterator<Item = Self> + use<'_> {
        std::iter::from_fn(move || {
            let length = usize::try_from(u32_at(octets, 0)?).ok()?;
            let message = octets.get(..length)?;
            let found = Self {
                kind: u16_at(message, 4)?,
                flags: u16_at(message, 6)?,
                sequence: u32_at(message, 8)?,
                body: message.get(HEADER..)?.to_vec(),
            };
            octets = octets.get(aligned(length)..).unwrap_or_default();
            Some(found)
        })
    }
}

fn acknowledged(message: &Message) -> Result<(), Refused> {
    let errno = u32_at(&message.body, 0).map_or(0, |code| i32::from_ne_bytes(code.to_ne_bytes()).wrapping_neg());
    if errno == 0 {
        return Ok(());
    }
    let mut reason = io::Error::from_raw_os_error(errno).to_string();
    if message.flags & NLM_F_ACK_TLVS != 0 {
        let echoed = if message.flags & NLM_F_CAPPED != 0 {
            HEADER
        } else {
            u32_at(&message.body, 4).and_then(|length| usize::try_from(length).ok()).unwrap_or(HEADER)
        };
        let attributes = message.body.get(aligned(4 + echoed)..).unwrap_or_default();
        for (kind, value) in attributes_of(attributes) {
            if kind == NLMSGERR_ATTR_MSG {
                let text = String::from_utf8_lossy(value);
                reason = format!("{reason} ({})", text.trim_end_matches('\0'));
            }
        }
    }
    Err(Refused { errno, reason })
}

/// The attributes of a message: type and value.
pub(super) fn attributes_of(mut octets: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(octets, 0)?);
        let kind = u16_at(octets, 2)?;
        let value = octets.get(4..length)?;
        octets = octets.get(aligned(length)..).unwrap_or_default();
        Some((kind & 0x3fff, value))
    })
}

/// Appends an attribute.
pub(super) fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(aligned(body.len()), 0);
}

pub(super) fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(octets.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(octets.get(at..at + 4)?.try_into().ok()?))
}

fn aligned(length: usize) -> usize {
    (length + 3) & !3
}
