//! A netlink socket for requests: many in one send, their answers matched by sequence number.
//!
//! The kernel works a send off in order, and goes on after a request that it refuses. It acknowledges the last request of a
//! send only, for each acknowledgement costs a call; errors it reports for every one.

use std::io;

use netlink_packet_core::{
    Emitable, ErrorBuffer, ErrorMessage, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR,
    NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkSerializable, NlasIterator, Parseable,
};
use netlink_sys::{Socket, SocketAddr, protocols};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use zeroize::{Zeroize, Zeroizing};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// The kernel's words about an error.
const NLMSGERR_ATTR_MSG: u16 = 1;
const HEADER: usize = 16;
/// Requests in one send. With Linux's default receive buffer the answers to 300 do not fit.
const REQUESTS_IN_ONE_SEND: usize = 128;
/// Octets in one send: well below the send buffer that Linux gives by default (212992).
const OCTETS_IN_ONE_SEND: usize = 128 << 10;
/// Holds the answers to the largest send by far; Linux grants a privileged process more than its limit.
const RECEIVE_BUFFER: usize = 4 << 20;
/// The largest datagram that Linux makes of a dump has 32 KiB.
const DATAGRAM: usize = 64 << 10;
/// How often a dump is tried that the kernel says is inconsistent.
const DUMP_TRIES: u32 = 5;
/// An answer stands in the queue before the send returns. One that is not there is lost.
const PATIENCE_SECONDS: i64 = 2;

/// What the kernel refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// `errno`; 0 if the answer could not be read.
    pub(super) errno: i32,
    /// In words.
    pub(super) reason: String,
    /// The answer was lost: it may have been done all the same.
    pub(super) perhaps_done: bool,
}

impl Refused {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { errno: 0, reason: reason.into(), perhaps_done: false }
    }

    /// What was to be removed is not there.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.errno, libc::ENOENT | libc::ESRCH | libc::EADDRNOTAVAIL | libc::ENODEV)
    }

    fn lost(error: &io::Error) -> Self {
        Self { perhaps_done: true, ..Self::from(error) }
    }
}

impl From<&io::Error> for Refused {
    fn from(error: &io::Error) -> Self {
        Self { errno: error.raw_os_error().unwrap_or(0), reason: error.to_string(), perhaps_done: false }
    }
}

/// A request: its type, flags and body. It may hold keys and is wiped.
#[derive(Clone)]
pub(super) struct Request {
    kind: u16,
    flags: u16,
    body: Zeroizing<Vec<u8>>,
}

impl Request {
    pub(super) fn new(message: &impl NetlinkSerializable, flags: u16) -> Self {
        let mut body = Zeroizing::new(vec![0; message.buffer_len()]);
        message.serialize(&mut body);
        Self { kind: message.message_type(), flags, body }
    }

    #[cfg(test)]
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    #[cfg(test)]
    pub(super) fn kind(&self) -> u16 {
        self.kind
    }

    fn length(&self) -> usize {
        aligned(HEADER + self.body.len())
    }

    /// Writes it to where its length of octets is free.
    fn emit(&self, sequence: u32, flags: u16, to: &mut Zeroizing<Vec<u8>>) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.length = u32::try_from(HEADER + self.body.len()).map_err(io::Error::other)?;
        header.message_type = self.kind;
        header.flags = NLM_F_REQUEST | self.flags | flags;
        header.sequence_number = sequence;
        let mut octets = [0; HEADER];
        header.emit(&mut octets);
        let end = to.len() + self.length();
        to.extend_from_slice(&octets);
        to.extend_from_slice(&self.body);
        to.resize(end, 0);
        Ok(())
    }
}

/// The body of what the kernel answered. It may hold keys and is wiped.
pub(super) type Answer = Zeroizing<Vec<u8>>;

/// What became of a request: what the kernel answered beside its acknowledgement, or why it refused.
pub(super) type Outcome = Result<Vec<Answer>, Refused>;

/// A socket for requests to one netlink family. It belongs to the network namespace of the thread that opens it.
pub(super) struct Netlink {
    socket: Socket,
    /// For what comes; empty between two datagrams, for they may hold keys.
    buffer: Vec<u8>,
    sequence: u32,
    /// Messages sent until now.
    pub(super) sent: u32,
    /// Sends until now.
    pub(super) sends: u32,
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
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        }
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE_SECONDS))?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, buffer: Vec::with_capacity(DATAGRAM), sequence: 0, sent: 0, sends: 0 })
    }

    /// Sends requests in as few sends as possible; what became of each, in their order.
    pub(super) fn exchange(&mut self, requests: &[Request]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(requests.len());
        let mut rest = requests;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(in_one_send(rest));
            outcomes.extend(self.exchange_at_once(now));
            rest = later;
        }
        outcomes
    }

    /// One request; what the kernel answered to it.
    pub(super) fn request(&mut self, request: Request) -> Outcome {
        self.exchange(&[request]).pop().unwrap_or_else(|| Err(Refused::new("no answer")))
    }

    /// Sends a dump request and collects what comes, once more if the kernel's table changed meanwhile.
    pub(super) fn dump(&mut self, request: &Request) -> Outcome {
        let mut tries = 0..DUMP_TRIES;
        loop {
            tries.next();
            let (found, interrupted) = self.dump_once(request)?;
            if !interrupted || tries.is_empty() {
                return Ok(found);
            }
        }
    }

    /// What came, and whether it was changed while it was collected.
    fn dump_once(&mut self, request: &Request) -> Result<(Vec<Answer>, bool), Refused> {
        let sequence = self.send(std::slice::from_ref(request), NLM_F_DUMP).map_err(|error| Refused::from(&error))?;
        let (mut found, mut interrupted, mut over) = (Vec::new(), false, None);
        while over.is_none() {
            self.receive(|message| {
                if message.sequence == sequence && over.is_none() {
                    interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                    match message.kind {
                        NLMSG_DONE => over = Some(Ok(())),
                        NLMSG_ERROR => over = Some(message.acknowledgement()),
                        _ => found.push(Zeroizing::new(message.body.to_vec())),
                    }
                }
            })
            .map_err(|error| Refused::from(&error))?;
        }
        over.unwrap_or(Ok(())).map(|()| (found, interrupted))
    }

    fn exchange_at_once(&mut self, requests: &[Request]) -> Vec<Outcome> {
        let first = match self.send(requests, NLM_F_ACK) {
            Ok(first) => first,
            Err(error) => return vec![Err(Refused::from(&error)); requests.len()],
        };
        let mut collected = Collected::new(first, requests.len());
        while !collected.complete {
            if let Err(error) = self.receive(|message| collected.take(&message)) {
                collected.lose(&error);
            }
        }
        collected.outcomes
    }

    /// Sends requests at once, the last one with these flags; the sequence number of the first.
    fn send(&mut self, requests: &[Request], last: u16) -> io::Result<u32> {
        let first = self.sequence.wrapping_add(1);
        // As large as needed from the start: a buffer that grows leaves copies of keys behind.
        let mut octets = Zeroizing::new(Vec::with_capacity(requests.iter().map(Request::length).sum()));
        for (at, request) in requests.iter().enumerate() {
            self.sequence = self.sequence.wrapping_add(1);
            let flags = if at + 1 == requests.len() { last } else { 0 };
            request.emit(self.sequence, flags, &mut octets)?;
        }
        self.sent = self.sent.wrapping_add(u32::try_from(requests.len()).unwrap_or(u32::MAX));
        self.sends = self.sends.wrapping_add(1);
        self.socket.send(&octets, 0)?;
        Ok(first)
    }

    /// Takes one datagram and hands on its messages.
    fn receive(&mut self, take: impl FnMut(Message<'_>)) -> io::Result<()> {
        let (length, sender) = self.socket.recv_from(&mut self.buffer, libc::MSG_TRUNC)?;
        let result = if sender.port_number() != 0 {
            // CVE-2010-2522: anybody can send to a netlink socket, the kernel alone has port 0.
            Ok(())
        } else if length > self.buffer.len() {
            Err(io::Error::other("an answer of the kernel is too long"))
        } else {
            Message::split(&self.buffer).for_each(take);
            Ok(())
        };
        // Only what was used: wiping all of it would take longer than the kernel's answer.
        self.buffer.as_mut_slice().zeroize();
        self.buffer.clear();
        result
    }
}

/// How many of these requests go into one send; at least one.
fn in_one_send(requests: &[Request]) -> usize {
    let mut octets = 0;
    let fit = requests
        .iter()
        .take(REQUESTS_IN_ONE_SEND)
        .take_while(|request| {
            octets += request.length();
            octets <= OCTETS_IN_ONE_SEND
        })
        .count();
    fit.max(1)
}

/// The outcomes of one send, as they come in.
struct Collected {
    first: u32,
    outcomes: Vec<Outcome>,
    /// The last one is acknowledged.
    complete: bool,
}

impl Collected {
    fn new(first: u32, requests: usize) -> Self {
        Self { first, outcomes: vec![Ok(Vec::new()); requests], complete: requests == 0 }
    }

    fn take(&mut self, message: &Message<'_>) {
        let Ok(at) = usize::try_from(message.sequence.wrapping_sub(self.first)) else { return };
        let last = at + 1 == self.outcomes.len();
        let Some(outcome) = self.outcomes.get_mut(at) else { return };
        if message.kind != NLMSG_ERROR {
            if let Ok(answers) = outcome {
                answers.push(Zeroizing::new(message.body.to_vec()));
            }
            return;
        }
        if let Err(refused) = message.acknowledgement() {
            *outcome = Err(refused);
        }
        self.complete |= last;
    }

    /// Whatever was not refused until now may have been done or not.
    fn lose(&mut self, error: &io::Error) {
        for outcome in self.outcomes.iter_mut().filter(|outcome| outcome.is_ok()) {
            *outcome = Err(Refused::lost(error));
        }
        self.complete = true;
    }
}

/// A netlink message that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    flags: u16,
    sequence: u32,
    pub(super) body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The messages of a datagram; what is cut off, and what follows it, is left out.
    pub(super) fn split(mut octets: &'a [u8]) -> impl Iterator<Item = Self> + use<'a> {
        std::iter::from_fn(move || {
            let message = NetlinkBuffer::new_checked(octets).ok()?;
            let length = usize::try_from(message.length()).ok()?;
            let found = Self {
                kind: message.message_type(),
                flags: message.flags(),
                sequence: message.sequence_number(),
                body: octets.get(HEADER..length)?,
            };
            octets = octets.get(aligned(length)..).unwrap_or_default();
            Some(found)
        })
    }

    /// What an error message says: nothing is wrong, or what.
    fn acknowledgement(&self) -> Result<(), Refused> {
        let error = ErrorBuffer::new_checked(&self.body).and_then(|buffer| ErrorMessage::parse(&buffer));
        let Ok(mut error) = error else { return Err(Refused::new("the kernel's answer is too short")) };
        let words = self.words(&error);
        // The request is echoed here, unless the kernel cut it off.
        error.header.zeroize();
        if error.code.is_none() {
            return Ok(());
        }
        let mut refused = Refused::from(&error.to_io());
        if let Some(words) = words {
            refused.reason = format!("{} ({words})", refused.reason);
        }
        Err(refused)
    }

    /// The kernel's own words, which stand behind the header of the request.
    fn words(&self, error: &ErrorMessage) -> Option<String> {
        if self.flags & NLM_F_ACK_TLVS == 0 {
            return None;
        }
        let echoed = if self.flags & NLM_F_CAPPED != 0 {
            HEADER
        } else {
            let length = NetlinkBuffer::new_checked(&error.header).ok()?.length();
            aligned(usize::try_from(length).ok()?)
        };
        let attribute = NlasIterator::new(error.header.get(echoed..)?)
            .filter_map(Result::ok)
            .find(|attribute| attribute.kind() == NLMSGERR_ATTR_MSG)?;
        Some(String::from_utf8_lossy(attribute.value()).trim_end_matches('\0').to_owned())
    }
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let mut octets = u32::try_from(HEADER + body.len()).unwrap_or_default().to_ne_bytes().to_vec();
        octets.extend(kind.to_ne_bytes());
        octets.extend(flags.to_ne_bytes());
        octets.extend(sequence.to_ne_bytes());
        octets.extend([0; 4]);
        octets.extend(body);
        octets.resize(aligned(octets.len()), 0);
        octets
    }

    fn error(sequence: u32, errno: i32) -> Vec<u8> {
        let mut body = (-errno).to_ne_bytes().to_vec();
        body.extend([0; HEADER]);
        message(NLMSG_ERROR, NLM_F_CAPPED, sequence, &body)
    }

    fn collect(first: u32, requests: usize, datagrams: &[Vec<u8>]) -> Collected {
        let mut collected = Collected::new(first, requests);
        for datagram in datagrams {
            Message::split(datagram).for_each(|message| collected.take(&message));
        }
        collected
    }

    #[test]
    fn the_acknowledgement_of_the_last_request_stands_for_all_that_were_not_refused() {
        let collected = collect(7, 3, &[error(8, libc::EEXIST), error(9, 0)]);
        assert!(collected.complete);
        let errnos: Vec<i32> =
            collected.outcomes.iter().map(|outcome| outcome.as_ref().map_or_else(|r| r.errno, |_| 0)).collect();
        assert_eq!(errnos, [0, libc::EEXIST, 0]);
    }

    #[test]
    fn an_answer_belongs_to_the_request_with_its_sequence_number() {
        let collected = collect(u32::MAX, 2, &[message(16, 0, 0, b"1234"), message(16, 0, 5, b"none"), error(0, 0)]);
        assert!(collected.complete);
        let bodies: Vec<Vec<Answer>> = collected.outcomes.into_iter().map(Result::unwrap_or_default).collect();
        assert_eq!(bodies, [vec![], vec![Zeroizing::new(b"1234".to_vec())]]);
    }

    #[test]
    fn without_the_last_acknowledgement_nothing_is_certain() {
        let mut collected = collect(1, 3, &[error(2, libc::ENOENT)]);
        assert!(!collected.complete);
        collected.lose(&io::Error::from_raw_os_error(libc::ENOBUFS));
        let perhaps: Vec<bool> =
            collected.outcomes.iter().map(|o| o.as_ref().is_err_and(|refused| refused.perhaps_done)).collect();
        assert_eq!(perhaps, [true, false, true]);
    }

    #[test]
    fn the_kernels_words_about_an_error_are_read() {
        let words = b"no such thing\0";
        let mut attribute = u16::try_from(4 + words.len()).unwrap_or_default().to_ne_bytes().to_vec();
        attribute.extend(NLMSGERR_ATTR_MSG.to_ne_bytes());
        attribute.extend(words);
        let mut body = (-libc::ESRCH).to_ne_bytes().to_vec();
        body.extend([0; HEADER]);
        body.extend(attribute);
        let octets = message(NLMSG_ERROR, NLM_F_CAPPED | NLM_F_ACK_TLVS, 1, &body);
        let collected = collect(1, 1, &[octets]);
        let Some(Err(refused)) = collected.outcomes.first() else { panic!("not refused") };
        assert_eq!(refused.errno, libc::ESRCH);
        assert!(refused.reason.ends_with("(no such thing)"), "{}", refused.reason);
    }

    #[test]
    fn a_datagram_that_is_cut_off_anywhere_yields_only_whole_messages() {
        let mut whole = message(16, 0, 1, &[0xaa; 21]);
        let first = whole.len();
        whole.extend(error(2, libc::EEXIST));
        for length in 0..whole.len() {
            let found = Message::split(whole.get(..length).unwrap_or_default()).count();
            // The padding behind the first one may be missing.
            assert_eq!(found, usize::from(length >= first - 3), "{length}");
        }
        assert_eq!(Message::split(&whole).count(), 2);
    }

    #[test]
    fn lengths_that_lie_end_the_datagram() {
        for length in [0u32, 1, 15, 0x7fff_ffff, u32::MAX] {
            let mut octets = message(NLMSG_ERROR, 0, 1, &[0; 8]);
            octets.splice(..4, length.to_ne_bytes());
            assert_eq!(Message::split(&octets).count(), 0, "{length}");
        }
        // An error without a code, and one with attributes that are none.
        let collected = collect(1, 1, &[message(NLMSG_ERROR, NLM_F_ACK_TLVS, 1, &[1, 2])]);
        assert!(collected.outcomes.first().is_some_and(Result::is_err));
        let mut body = (-1i32).to_ne_bytes().to_vec();
        body.extend([0xff; 40]);
        for flags in [NLM_F_ACK_TLVS, NLM_F_ACK_TLVS | NLM_F_CAPPED] {
            let collected = collect(1, 1, &[message(NLMSG_ERROR, flags, 1, &body)]);
            assert!(matches!(collected.outcomes.first(), Some(Err(refused)) if refused.errno == libc::EPERM));
        }
    }

    #[test]
    fn a_send_is_bounded_in_requests_and_octets() {
        let request = |length| Request { kind: 16, flags: 0, body: Zeroizing::new(vec![0; length]) };
        assert_eq!(in_one_send(&vec![request(100); 1000]), REQUESTS_IN_ONE_SEND);
        assert_eq!(in_one_send(&vec![request(OCTETS_IN_ONE_SEND / 4); 10]), 3);
        assert_eq!(in_one_send(&[request(OCTETS_IN_ONE_SEND * 2), request(1)]), 1);
    }
}
