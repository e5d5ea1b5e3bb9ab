//! Requests to the kernel's routing netlink socket, sent in one piece and acknowledged one by one: what a lab is built with.

use std::io;
use std::time::{Duration, Instant};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use super::guest::LabError;

/// The group of link events, RTNLGRP_LINK.
const LINK_EVENTS: u32 = 1;

/// Whether a request may find its object already there.
#[derive(Clone, Copy)]
pub(crate) enum How {
    /// It must be new.
    Create,
    /// What is there is replaced.
    Replace,
    /// It must be there.
    Change,
}

/// A socket in the network namespace of the thread that opened it.
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    pub(crate) fn open() -> Result<Self, LabError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.set_cap_ack(true)?;
            Ok::<_, io::Error>(socket)
        };
        Ok(Self { socket: open().map_err(|e| LabError::system("opening a netlink socket", e))?, sequence: 0 })
    }

    /// Sends all requests at once and takes their acknowledgements; `doing` is for the error.
    pub(crate) fn batch(&mut self, doing: &str, requests: Vec<(How, RouteNetlinkMessage)>) -> Result<(), LabError> {
        let count = requests.len();
        let first = self.sequence.wrapping_add(1);
        let mut octets = Vec::new();
        for (how, request) in requests {
            octets.extend_from_slice(&self.message(how, request));
        }
        let fail = |e: io::Error| LabError::system(doing, e);
        self.socket.send_to(&octets, &SocketAddr::new(0, 0), 0).map_err(fail)?;
        let mut acknowledged = 0;
        let mut refused = None;
        while acknowledged < count {
            for answer in self.receive().map_err(fail)? {
                if answer.header.sequence_number.wrapping_sub(first) as usize >= count {
                    continue;
                }
                if let NetlinkPayload::Error(error) = answer.payload {
                    if error.code.is_some() && refused.is_none() {
                        let number = answer.header.sequence_number.wrapping_sub(first);
                        refused = Some(LabError::system(format!("{doing} (request {number})"), error.to_io()));
                    }
                    acknowledged += 1;
                }
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// The flags of an interface.
    pub(crate) fn link_flags(&mut self, index: u32) -> Result<LinkFlags, LabError> {
        let fail = |e: io::Error| LabError::system("asking for an interface", e);
        let mut question = LinkMessage::default();
        question.header.index = index;
        let octets = self.message(How::Change, RouteNetlinkMessage::GetLink(question));
        self.socket.send_to(&octets, &SocketAddr::new(0, 0), 0).map_err(fail)?;
        let mut flags = None;
        loop {
            for answer in self.receive().map_err(fail)? {
                match answer.payload {
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => flags = Some(link.header.flags),
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(fail(error.to_io())),
                    // The acknowledgement comes last.
                    NetlinkPayload::Error(_) => {
                        return flags.ok_or_else(|| fail(io::Error::from(io::ErrorKind::NotFound)));
                    }
                    _ => {}
                }
            }
        }
    }

    fn message(&mut self, how: How, request: RouteNetlinkMessage) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(request);
        message.header.sequence_number = self.sequence;
        message.header.flags = NLM_F_REQUEST
            | NLM_F_ACK
            | match how {
                How::Create => NLM_F_CREATE | NLM_F_EXCL,
                How::Replace => NLM_F_CREATE | NLM_F_REPLACE,
                How::Change => 0,
            };
        message.finalize();
        let mut octets = vec![0; message.buffer_len()];
        message.serialize(&mut octets);
        octets
    }

    fn receive(&self) -> io::Result<Vec<NetlinkMessage<RouteNetlinkMessage>>> {
        let (octets, _) = self.socket.recv_from_full()?;
        Ok(split(&octets))
    }
}

/// Hears of every change of an interface of its namespace.
pub(crate) struct LinkWatch {
    events: Socket,
    index: u32,
}

impl LinkWatch {
    pub(crate) fn open(index: u32) -> Result<Self, LabError> {
        let open = || {
            let mut events = Socket::new(NETLINK_ROUTE)?;
            // First the address, then the group: the other way round the group is lost.
            events.bind_auto()?;
            events.add_membership(LINK_EVENTS)?;
            Ok::<_, io::Error>(events)
        };
        Ok(Self { events: open().map_err(|e| LabError::system("watching an interface", e))?, index })
    }

    /// Waits for the flags to be as wished, beginning with what they are.
    pub(crate) fn until(
        &self,
        now: LinkFlags,
        what: &str,
        within: Duration,
        wished: impl Fn(LinkFlags) -> bool,
    ) -> Result<(), LabError> {
        let end = Instant::now() + within;
        let mut flags = now;
        while !wished(flags) {
            let late = || LabError::TimedOut { what: what.to_owned(), within };
            let left = end.checked_duration_since(Instant::now()).ok_or_else(late)?;
            let patience = TimeVal::microseconds(i64::try_from(left.as_micros()).unwrap_or(i64::MAX).max(1));
            setsockopt(&self.events, sockopt::ReceiveTimeout, &patience)
                .map_err(|e| LabError::system("watching an interface", e))?;
            match self.events.recv_from_full() {
                Ok((octets, _)) => {
                    for event in split(&octets) {
                        if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = event.payload
                            && link.header.index == self.index
                        {
                            flags = link.header.flags;
                        }
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(LabError::system("watching an interface", e)),
            }
        }
        Ok(())
    }
}

/// The messages of a datagram; one that does not parse ends it.
fn split(octets: &[u8]) -> Vec<NetlinkMessage<RouteNetlinkMessage>> {
    let mut messages = Vec::new();
    let mut rest = octets;
    while let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) {
        let length = usize::try_from(message.header.length).unwrap_or(usize::MAX).next_multiple_of(4);
        messages.push(message);
        match rest.get(length..) {
            Some(next) if !next.is_empty() => rest = next,
            _ => break,
        }
    }
    messages
}
