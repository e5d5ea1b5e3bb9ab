//! Links: bridges, the hosts' ports on them, and what a path does to packets.

use std::os::fd::AsRawFd;
use std::time::{Duration, SystemTime};

use netlink_packet_core::DefaultNla;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};

use super::guest::LabError;
use super::host::{Host, up};
use super::netlink::How;

/// What a change of carrier may take until the host has been told.
const CARRIER: Duration = Duration::from_secs(5);
/// An interface name's longest, IFNAMSIZ without its end.
const LONGEST_NAME: usize = 15;

/// TCA_OPTIONS: to netem a structure of its own, followed by attributes.
const TCA_OPTIONS: u16 = 2;
/// TCA_NETEM_LATENCY64: a delay in nanoseconds.
const TCA_NETEM_LATENCY64: u16 = 10;
/// How many packets netem holds back: a second at the highest rate of any test.
const NETEM_LIMIT: u32 = 20_000;

/// A link: what is attached to it hears each other at once.
#[derive(Clone)]
pub struct Segment {
    links: Host,
    name: String,
    index: u32,
}

impl Segment {
    pub(crate) fn new(links: &Host, name: &str) -> Result<Self, LabError> {
        let index = links.new_index();
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Address(hardware_address(index)),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Bridge),
                // A port forwards as soon as it is up, and all ports get all multicast.
                LinkInfo::Data(InfoData::Bridge(vec![
                    InfoBridge::ForwardDelay(0),
                    InfoBridge::StpState(BridgeStpState::Disabled),
                    InfoBridge::MulticastSnooping(false),
                ])),
            ]),
        ];
        // A bridge passes a copy of all frames to its own interface, where captures look, only if that is promiscuous.
        let mut open = LinkMessage::default();
        open.header.index = index;
        open.header.flags = LinkFlags::Up | LinkFlags::Promisc;
        open.header.change_mask = LinkFlags::Up | LinkFlags::Promisc;
        let requests = vec![
            (How::Create, RouteNetlinkMessage::NewLink(message)),
            (How::Change, RouteNetlinkMessage::SetLink(open)),
        ];
        links.netlink(&format!("link {name}"), requests)?;
        links.know_interface(name, index);
        Ok(Self { links: links.clone(), name: name.to_owned(), index })
    }

    /// The bridge's name in the namespace `links`, where a capture sees all of the link's packets.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace of the links.
    #[must_use]
    pub fn links(&self) -> &Host {
        &self.links
    }
}

/// What a path does to the packets of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Impairment {
    /// How much later each packet comes.
    pub delay: Duration,
    /// The share of packets that are lost, 0 to 1.
    pub loss: f64,
}

/// When a host moved, in the clock of its captures and flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Its old link was cut just after this.
    pub left: SystemTime,
    /// It has been told of its new link's carrier just before this.
    pub arrived: SystemTime,
}

/// A host's interface and the cable to wherever it is attached.
#[derive(Clone)]
pub struct Port {
    host: Host,
    interface: String,
    index: u32,
    links: Host,
    /// The cable's other end, in the namespace of the links.
    far: u32,
}

impl Port {
    pub(crate) fn new(host: &Host, interface: &str, links: &Host) -> Result<Self, LabError> {
        let (index, far) = (host.new_index(), host.new_index());
        let mut far_name = format!("{}-{interface}", host.name());
        if far_name.len() > LONGEST_NAME {
            far_name = format!("port{far}");
        }
        let mut peer = LinkMessage::default();
        peer.header.index = far;
        peer.attributes = vec![
            LinkAttribute::IfName(far_name.clone()),
            LinkAttribute::Address(hardware_address(far)),
            LinkAttribute::NetNsFd(links.namespace().as_raw_fd()),
        ];
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = vec![
            LinkAttribute::IfName(interface.to_owned()),
            LinkAttribute::Address(hardware_address(index)),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ];
        let requests = vec![(How::Create, RouteNetlinkMessage::NewLink(message)), (How::Change, up(index))];
        host.netlink(&format!("{}: interface {interface}", host.name()), requests)?;
        host.know_interface(interface, index);
        links.know_interface(&far_name, far);
        Ok(Self { host: host.clone(), interface: interface.to_owned(), index, links: links.clone(), far })
    }

    /// The host whose interface it is.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The interface's name there.
    #[must_use]
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Plugs it into a link and waits until both ends run.
    ///
    /// # Errors
    /// When the kernel refuses, or no carrier comes.
    pub fn attach(&self, segment: &Segment) -> Result<(), LabError> {
        let watches = (self.host.watch_link(self.index)?, self.links.watch_link(self.far)?);
        let plug = vec![(How::Change, controller(self.far, segment.index)), (How::Change, up(self.far))];
        self.links.netlink(&format!("attaching {} to {}", self.far_name(), segment.name), plug)?;
        self.host.until_running(&watches.0, self.index, true, CARRIER)?;
        self.links.until_running(&watches.1, self.far, true, CARRIER)
    }

    /// Unplugs it and waits until the host has been told that its carrier is gone.
    ///
    /// # Errors
    /// When the kernel refuses, or the carrier stays.
    pub fn detach(&self) -> Result<(), LabError> {
        let watch = self.host.watch_link(self.index)?;
        let mut down = LinkMessage::default();
        down.header.index = self.far;
        down.header.change_mask = LinkFlags::Up;
        let unplug = vec![(How::Change, RouteNetlinkMessage::SetLink(down)), (How::Change, controller(self.far, 0))];
        self.links.netlink(&format!("detaching {}", self.far_name()), unplug)?;
        self.host.until_running(&watch, self.index, false, CARRIER)
    }

    /// A layer-2 handover: the carrier goes, and comes back on the other link.
    ///
    /// # Errors
    /// As [`Port::attach`] and [`Port::detach`].
    pub fn move_to(&self, segment: &Segment) -> Result<Move, LabError> {
        let left = SystemTime::now();
        self.detach()?;
        self.attach(segment)?;
        Ok(Move { left, arrived: SystemTime::now() })
    }

    /// The other link takes the place of this one without any change of carrier, as behind a switch of the network's own.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn move_silently_to(&self, segment: &Segment) -> Result<Move, LabError> {
        let left = SystemTime::now();
        let requests = vec![(How::Change, controller(self.far, segment.index))];
        self.links.netlink(&format!("moving {} to {}", self.far_name(), segment.name), requests)?;
        Ok(Move { left, arrived: SystemTime::now() })
    }

    /// What happens to the packets that the host sends.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn impair_sent(&self, how: Impairment) -> Result<(), LabError> {
        netem(&self.host, self.index, how)
    }

    /// What happens to the packets that come to the host.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn impair_received(&self, how: Impairment) -> Result<(), LabError> {
        netem(&self.links, self.far, how)
    }

    fn far_name(&self) -> String {
        format!("{}'s {}", self.host.name(), self.interface)
    }
}

/// Makes an interface a port of a bridge, or of none for 0.
fn controller(index: u32, bridge: u32) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = vec![LinkAttribute::Controller(bridge)];
    RouteNetlinkMessage::SetLink(message)
}

/// Locally administered, and told by the index: captures of two runs can be compared.
fn hardware_address(index: u32) -> Vec<u8> {
    let mut address = vec![0x02, 0];
    address.extend_from_slice(&index.to_be_bytes());
    address
}

/// Puts netem on an interface's way out.
fn netem(host: &Host, index: u32, how: Impairment) -> Result<(), LabError> {
    let nanoseconds = i64::try_from(how.delay.as_nanos()).unwrap_or(i64::MAX);
    // struct tc_netem_qopt: latency, limit, loss, gap, duplicate, jitter. The latency is in the attribute behind it.
    let mut options = Vec::new();
    for field in [0, NETEM_LIMIT, probability(how.loss), 0, 0, 0] {
        options.extend_from_slice(&field.to_ne_bytes());
    }
    options.extend_from_slice(&12_u16.to_ne_bytes());
    options.extend_from_slice(&TCA_NETEM_LATENCY64.to_ne_bytes());
    options.extend_from_slice(&nanoseconds.to_ne_bytes());
    let mut message = TcMessage::with_index(i32::try_from(index).unwrap_or(i32::MAX));
    message.header.parent = TcHandle::ROOT;
    message.attributes =
        vec![TcAttribute::Kind("netem".to_owned()), TcAttribute::Other(DefaultNla::new(TCA_OPTIONS, options))];
    let doing = format!("{}: {how:?} on interface {index}", host.name());
    host.netlink(&doing, vec![(How::Replace, RouteNetlinkMessage::NewQueueDiscipline(message))])
}

/// A share of 1 as netem counts it, of 2³² − 1.
fn probability(share: f64) -> u32 {
    // A float's conversion saturates; the share needs no more than 32 bits.
    (share.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_probabilities() {
        assert_eq!(probability(0.0), 0);
        assert_eq!(probability(0.5), u32::MAX / 2);
        assert_eq!(probability(2.0), u32::MAX);
        assert_eq!(probability(f64::NAN), 0);
    }
}
