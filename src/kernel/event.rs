//! What the kernel tells by itself: links going up and down.

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols};
use tokio::io::unix::AsyncFd;

use super::netlink::{Message, Netlink, Refused, attributes_of, u32_at};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTNLGRP_LINK: u32 = 1;
const IFINFO: usize = 16;
const IFF_UP: u32 = 1;
const IFF_RUNNING: u32 = 0x40;
const IFF_LOWER_UP: u32 = 0x1_0000;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;

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
    let mut netlink = Netlink::route()?;
    let answers = netlink.dump(RTM_GETLINK, &[0; IFINFO]).map_err(wrong)?;
    Ok(answers.iter().filter_map(|body| link(body, true)).collect())
}

/// A subscription to the state of links.
pub struct Events(AsyncFd<Socket>);

impl Events {
    /// Subscribes. To be called inside an async runtime.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(protocols::NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.add_membership(RTNLGRP_LINK)?;
        socket.set_non_blocking(true)?;
        Ok(Self(crate::net::watch(socket)?))
    }

    /// The next changes. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// What the kernel said; ENOBUFS when changes were missed.
    pub async fn next(&mut self) -> io::Result<Vec<Link>> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|socket| socket.get_ref().recv_from_full()) {
                // CVE-2010-2522: the kernel alone has port 0.
                Ok(Ok((octets, sender))) if sender.port_number() == 0 => {
                    let changes: Vec<Link> = Message::split(&octets)
                        .filter_map(|message| match message.kind {
                            RTM_NEWLINK => link(&message.body, true),
                            RTM_DELLINK => link(&message.body, false),
                            _ => None,
                        })
                        .collect();
                    if !changes.is_empty() {
                        return Ok(changes);
                    }
                }
                Ok(Ok(_)) | Err(_) => {}
                Ok(Err(error)) => return Err(error),
            }
        }
    }
}

fn link(body: &[u8], there: bool) -> Option<Link> {
    let flags = u32_at(body, 8)?;
    let usable = IFF_UP | IFF_RUNNING | IFF_LOWER_UP;
    let mut link = Link {
        index: u32_at(body, 4)?,
        name: String::new(),
        running: there && flags & usable == usable,
        link_layer: None,
    };
    for (kind, value) in attributes_of(body.get(IFINFO..)?) {
        match kind {
            IFLA_ADDRESS => link.link_layer = value.try_into().ok(),
            IFLA_IFNAME => link.name = String::from_utf8_lossy(value).trim_end_matches('\0').to_owned(),
            _ => {}
        }
    }
    Some(link)
}
