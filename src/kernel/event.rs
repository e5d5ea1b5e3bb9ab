//! What the kernel tells by itself: links going up and down.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use netlink_packet_core::NlasIterator;
use netlink_packet_route::link::{LinkFlags, LinkHeader};
use netlink_sys::{Socket, SocketAddr, protocols};
use tokio::io::unix::AsyncFd;

use super::netlink::{Message, Netlink, Refused};
use super::route;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTNLGRP_LINK: u32 = 1;
/// `struct ifinfomsg`, which attributes follow.
const HEADER: usize = 16;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
/// The largest event: one interface with all its attributes has about 2 KiB.
const DATAGRAM: usize = 64 << 10;
/// Until the interfaces are listed again when that failed.
const AGAIN: Duration = Duration::from_millis(100);

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it is up and has a carrier.
    pub running: bool,
    /// Its link-layer address, if that has six octets.
    pub link_layer: Option<[u8; 6]>,
}

/// The interfaces that are there.
///
/// # Errors
/// What the kernel said.
pub fn links() -> io::Result<Vec<Link>> {
    let wrong = |refused: Refused| io::Error::other(refused.reason);
    let answers = Netlink::route()?.dump(&route::get_links()).map_err(wrong)?;
    Ok(answers.iter().filter_map(|body| link(body, true)).collect())
}

/// A subscription to the state of links.
pub struct Events {
    socket: AsyncFd<Socket>,
    /// What was told last, to tell what is gone after events were missed.
    told: BTreeMap<u32, Link>,
    /// Events were missed: all interfaces are to be listed.
    missed: bool,
}

impl Events {
    /// Subscribes. To be called inside an async runtime, in the network namespace that is meant.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(protocols::NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.add_membership(RTNLGRP_LINK)?;
        socket.set_non_blocking(true)?;
        // What changed before the subscription is missed as well.
        Ok(Self { socket: crate::net::watch(socket)?, told: BTreeMap::new(), missed: true })
    }

    /// The next changes; at first, and when the kernel had more to tell than its buffer holds, every interface, and those that are
    /// gone as not running. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// What the kernel said of the socket itself.
    pub async fn next(&mut self) -> io::Result<Vec<Link>> {
        loop {
            if self.missed {
                // First the queue has to be empty: until it is, Linux drops every further event, and says so only once.
                drain(self.socket.get_ref())?;
                match links() {
                    Ok(there) => {
                        self.missed = false;
                        return Ok(self.since(there));
                    }
                    Err(error) => {
                        tracing::warn!(event = "links", %error);
                        tokio::time::sleep(AGAIN).await;
                        continue;
                    }
                }
            }
            let mut ready = self.socket.readable().await?;
            match ready.try_io(|socket| receive(socket.get_ref())) {
                Ok(Ok(Some(changes))) if changes.is_empty() => {}
                Ok(Ok(Some(changes))) => {
                    self.told.extend(changes.iter().map(|link| (link.index, link.clone())));
                    return Ok(changes);
                }
                Ok(Ok(None)) => self.missed = true,
                Ok(Err(error)) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    tracing::debug!(event = "links_missed");
                    self.missed = true;
                }
                Ok(Err(error)) => {
                    // Whoever asks again is told everything.
                    self.missed = true;
                    return Err(error);
                }
                Err(_would_block) => {}
            }
        }
    }

    /// What there is, and what is no longer there.
    fn since(&mut self, there: Vec<Link>) -> Vec<Link> {
        let before = std::mem::take(&mut self.told);
        self.told = there.iter().map(|link| (link.index, link.clone())).collect();
        let gone = before.into_values().filter(|link| !self.told.contains_key(&link.index));
        let gone: Vec<Link> = gone.map(|link| Link { running: false, ..link }).collect();
        gone.into_iter().chain(there).collect()
    }
}

/// The changes in the next datagram; none if it is cut off, for who knows what it said.
fn receive(socket: &Socket) -> io::Result<Option<Vec<Link>>> {
    let mut octets = Vec::with_capacity(DATAGRAM);
    let (length, sender) = socket.recv_from(&mut octets, libc::MSG_TRUNC)?;
    if sender.port_number() != 0 {
        // CVE-2010-2522: the kernel alone has port 0.
        return Ok(Some(Vec::new()));
    }
    Ok((length <= octets.len()).then(|| changes(&octets)))
}

fn drain(socket: &Socket) -> io::Result<()> {
    loop {
        match receive(socket) {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn changes(octets: &[u8]) -> Vec<Link> {
    let changes = Message::split(octets).filter_map(|message| match message.kind {
        RTM_NEWLINK => link(message.body, true),
        RTM_DELLINK => link(message.body, false),
        _ => None,
    });
    changes.collect()
}

/// Reads an interface. Its attributes are looked through one by one: `LinkMessage` fails on one that it does not expect, and
/// newer kernels have more of them.
fn link(body: &[u8], there: bool) -> Option<Link> {
    let header = LinkHeader::parse(body).ok()?;
    let usable = LinkFlags::Up | LinkFlags::Running | LinkFlags::LowerUp;
    let mut link = Link {
        index: header.index,
        name: String::new(),
        running: there && header.flags.contains(usable),
        link_layer: None,
    };
    for attribute in NlasIterator::new(body.get(HEADER..)?).filter_map(Result::ok) {
        match attribute.kind() {
            IFLA_ADDRESS => link.link_layer = attribute.value().try_into().ok(),
            IFLA_IFNAME => link.name = String::from_utf8_lossy(attribute.value()).trim_end_matches('\0').to_owned(),
            _ => {}
        }
    }
    Some(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event: an interface 7 named "x" that is up and running.
    fn event(kind: u16) -> Vec<u8> {
        let mut body = vec![0, 0, 1, 0];
        body.extend(7u32.to_ne_bytes());
        body.extend((LinkFlags::Up | LinkFlags::Running | LinkFlags::LowerUp).bits().to_ne_bytes());
        body.extend([0; 4]);
        body.extend(6u16.to_ne_bytes());
        body.extend(IFLA_IFNAME.to_ne_bytes());
        body.extend(b"x\0\0\0");
        body.extend(10u16.to_ne_bytes());
        body.extend(IFLA_ADDRESS.to_ne_bytes());
        body.extend([2, 0, 0, 0, 0, 1, 0, 0]);
        let mut octets = u32::try_from(16 + body.len()).unwrap().to_ne_bytes().to_vec();
        octets.extend(kind.to_ne_bytes());
        octets.extend([0; 10]);
        octets.extend(body);
        octets
    }

    #[test]
    fn a_link_that_runs_and_one_that_is_gone_are_told_apart() {
        let expected = Link { index: 7, name: "x".into(), running: true, link_layer: Some([2, 0, 0, 0, 0, 1]) };
        assert_eq!(changes(&event(RTM_NEWLINK)), std::slice::from_ref(&expected));
        assert_eq!(changes(&event(RTM_DELLINK)), [Link { running: false, ..expected }]);
        assert_eq!(changes(&event(24)), []);
    }

    #[test]
    fn a_link_event_that_is_cut_off_anywhere_is_no_event() {
        let whole = event(RTM_NEWLINK);
        for length in 0..whole.len() {
            assert_eq!(changes(&whole[..length]), [], "{length}");
        }
        // A message that is whole, with a body that is not.
        for body in 0..HEADER {
            let mut octets = event(RTM_NEWLINK);
            octets.truncate(16 + body);
            octets.splice(..4, u32::try_from(16 + body).unwrap().to_ne_bytes());
            assert_eq!(changes(&octets), [], "{body}");
        }
    }
}
