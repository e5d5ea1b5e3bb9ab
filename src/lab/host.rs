//! Virtual hosts: network namespaces, made and set up over netlink. Starting `ip` for each step would take many times as long in a guest.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::IpAddr;
use std::panic;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use super::guest::LabError;
use super::link::{Port, Segment};
use super::netlink::{How, LinkWatch, Netlink};
use super::process::Process;
use super::snapshot::Snapshot;

/// The index that every namespace's loopback has.
const LOOPBACK: u32 = 1;
/// Where `ip netns` looks for names.
const NAMES: &str = "/run/netns";

/// Hosts and the links between them. Needs root, and belongs into a guest: see [`super::on_real_kernel`].
///
/// The links are bridges in a namespace of their own, `links`.
pub struct Lab {
    links: Host,
    indexes: Arc<AtomicU32>,
}

impl Lab {
    /// A lab without hosts.
    ///
    /// # Errors
    /// When namespaces cannot be made here.
    pub fn new() -> Result<Self, LabError> {
        // Every interface of the lab has an index of its own. A veth whose peer has the same one (in another namespace) is not taken
        // for a virtual one, and Linux then reports the change of its carrier up to a second late.
        let indexes = Arc::new(AtomicU32::new(100));
        Ok(Self { links: Host::new("links", &indexes)?, indexes })
    }

    /// A new host, reached as well by `ip netns exec NAME`. Its addresses need no duplicate address detection.
    ///
    /// # Errors
    /// When the namespace cannot be made.
    pub fn host(&self, name: &str) -> Result<Host, LabError> {
        Host::new(name, &self.indexes)
    }

    /// A new link that hosts can be attached to.
    ///
    /// # Errors
    /// When the bridge cannot be made.
    pub fn segment(&self, name: &str) -> Result<Segment, LabError> {
        Segment::new(&self.links, name)
    }

    /// A new interface of a host, up and attached, with carrier.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn connect(&self, host: &Host, interface: &str, segment: &Segment) -> Result<Port, LabError> {
        let port = self.port(host, interface)?;
        port.attach(segment)?;
        Ok(port)
    }

    /// A new interface of a host, up but attached to nothing, without carrier.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn port(&self, host: &Host, interface: &str) -> Result<Port, LabError> {
        Port::new(host, interface, &self.links)
    }

    /// The namespace of the links, to look at.
    #[must_use]
    pub fn links(&self) -> &Host {
        &self.links
    }
}

/// A network namespace. Clones are the same host; it goes with the last of them.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    namespace: File,
    path: PathBuf,
    netlink: Mutex<Netlink>,
    interfaces: Mutex<BTreeMap<String, u32>>,
    indexes: Arc<AtomicU32>,
}

impl Host {
    fn new(name: &str, indexes: &Arc<AtomicU32>) -> Result<Self, LabError> {
        let path = PathBuf::from(NAMES).join(name);
        fs::create_dir_all(NAMES).map_err(|e| LabError::file(NAMES.as_ref(), e))?;
        File::create(&path).map_err(|e| LabError::file(&path, e))?;
        let (namespace, netlink) = on_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|e| LabError::system("making a network namespace", e))?;
            let own = PathBuf::from("/proc/thread-self/ns/net");
            let namespace = File::open(&own).map_err(|e| LabError::file(&own, e))?;
            mount(Some(&own), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .map_err(|e| LabError::system("naming a network namespace", e))?;
            for which in ["all", "default"] {
                for (item, value) in [("accept_dad", "0"), ("dad_transmits", "0")] {
                    set_sysctl(&format!("net/ipv6/conf/{which}/{item}"), value)?;
                }
            }
            Ok::<_, LabError>((namespace, Netlink::open()?))
        })?;
        let host = Self {
            inner: Arc::new(Inner {
                name: name.to_owned(),
                namespace,
                path,
                netlink: Mutex::new(netlink),
                interfaces: Mutex::new(BTreeMap::from([("lo".to_owned(), LOOPBACK)])),
                indexes: Arc::clone(indexes),
            }),
        };
        host.netlink("the loopback", vec![(How::Change, up(LOOPBACK))])?;
        Ok(host)
    }

    /// The name, as `ip netns` knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Runs a closure inside the host, on a thread of its own. Sockets that it opens and processes that it starts stay there.
    ///
    /// # Errors
    /// When the thread cannot enter the namespace.
    pub fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        on_thread(|| {
            self.move_this_thread()?;
            Ok(inside())
        })
    }

    /// Moves the calling thread into the host, for good: for a thread that is to live there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn move_this_thread(&self) -> Result<(), LabError> {
        setns(&self.inner.namespace, CloneFlags::CLONE_NEWNET)
            .map_err(|e| LabError::system(format!("entering {}", self.inner.name), e))
    }

    /// Starts a process inside the host; it is ended when the [`Process`] is dropped.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, command: Command) -> Result<Process, LabError> {
        self.enter(|| Process::start(command))?
    }

    /// Adds `address/length` to an interface, usable at once. With `/128` on `lo` it is a home address's place.
    ///
    /// # Errors
    /// When the text is no address, or the kernel refuses it.
    pub fn address(&self, interface: &str, prefix: &str) -> Result<(), LabError> {
        let (address, length) = parse_prefix(prefix)?;
        let mut message = AddressMessage::default();
        message.header.family = family(address);
        message.header.prefix_len = length;
        message.header.index = self.interface(interface)?;
        message.attributes.push(AddressAttribute::Local(address));
        message.attributes.push(AddressAttribute::Address(address));
        if address.is_ipv6() {
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        let doing = format!("{}: address {prefix} on {interface}", self.name());
        self.netlink(&doing, vec![(How::Replace, RouteNetlinkMessage::NewAddress(message))])
    }

    /// Adds a route to `prefix` (`default` for all of IPv6) by a router.
    ///
    /// # Errors
    /// When a text is no prefix or address, or the kernel refuses the route.
    pub fn route(&self, prefix: &str, via: &str) -> Result<(), LabError> {
        let (destination, length) = parse_prefix(if prefix == "default" { "::/0" } else { prefix })?;
        let (gateway, _) = parse_prefix(via)?;
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: family(destination),
            destination_prefix_length: length,
            table: RouteHeader::RT_TABLE_MAIN,
            protocol: RouteProtocol::Static,
            scope: RouteScope::Universe,
            kind: RouteType::Unicast,
            ..RouteHeader::default()
        };
        if length > 0 {
            message.attributes.push(RouteAttribute::Destination(RouteAddress::from(destination)));
        }
        message.attributes.push(RouteAttribute::Gateway(RouteAddress::from(gateway)));
        let doing = format!("{}: route {prefix} via {via}", self.name());
        self.netlink(&doing, vec![(How::Replace, RouteNetlinkMessage::NewRoute(message))])
    }

    /// Writes to `/proc/sys` as the host sees it; `name` is as `net/ipv6/conf/all/forwarding`.
    ///
    /// # Errors
    /// When there is no such setting, or it does not take the value.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<(), LabError> {
        self.enter(|| set_sysctl(name, value))?
    }

    /// What of the host's state in the kernel a daemon could leave behind.
    ///
    /// # Errors
    /// When `ip` cannot be run.
    pub fn snapshot(&self) -> Result<Snapshot, LabError> {
        self.enter(Snapshot::take)?
    }

    /// The index of an interface.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn interface(&self, name: &str) -> Result<u32, LabError> {
        if let Some(index) = self.interfaces().get(name) {
            return Ok(*index);
        }
        self.enter(|| nix::net::if_::if_nametoindex(name))?
            .map_err(|e| LabError::system(format!("{}: interface {name}", self.name()), e))
    }

    /// Waits for an interface to have carrier and be usable, or not to.
    ///
    /// # Errors
    /// When it does not come to that in time.
    pub fn wait_running(&self, interface: &str, running: bool, within: Duration) -> Result<(), LabError> {
        let index = self.interface(interface)?;
        let watch = self.watch_link(index)?;
        self.until_running(&watch, index, running, within)
    }

    pub(crate) fn watch_link(&self, index: u32) -> Result<LinkWatch, LabError> {
        self.enter(|| LinkWatch::open(index))?
    }

    /// An interface that is down never runs: that one is not waited for.
    pub(crate) fn until_running(
        &self,
        watch: &LinkWatch,
        index: u32,
        running: bool,
        within: Duration,
    ) -> Result<(), LabError> {
        let now = self.inner.netlink.lock().unwrap_or_else(PoisonError::into_inner).link_flags(index)?;
        let what = format!("{}: interface {index} {}", self.name(), if running { "running" } else { "not running" });
        watch.until(now, &what, within, |flags| {
            !flags.contains(LinkFlags::Up) || flags.contains(LinkFlags::Running) == running
        })
    }

    pub(crate) fn netlink(&self, doing: &str, requests: Vec<(How, RouteNetlinkMessage)>) -> Result<(), LabError> {
        self.inner.netlink.lock().unwrap_or_else(PoisonError::into_inner).batch(doing, requests)
    }

    /// An index for a new interface that no other interface of the lab has.
    pub(crate) fn new_index(&self) -> u32 {
        self.inner.indexes.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn know_interface(&self, name: &str, index: u32) {
        self.interfaces().insert(name.to_owned(), index);
    }

    pub(crate) fn namespace(&self) -> &File {
        &self.inner.namespace
    }

    fn interfaces(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, u32>> {
        self.inner.interfaces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
        let _ = fs::remove_file(&self.path);
    }
}

/// Sets an interface up.
pub(crate) fn up(index: u32) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    RouteNetlinkMessage::SetLink(message)
}

fn set_sysctl(name: &str, value: &str) -> Result<(), LabError> {
    let path = PathBuf::from("/proc/sys").join(name);
    fs::write(&path, value).map_err(|e| LabError::file(&path, e))
}

/// Runs a closure on a new thread, whose namespace is then nobody else's concern; a panic goes on in the caller.
fn on_thread<T: Send>(inside: impl FnOnce() -> Result<T, LabError> + Send) -> Result<T, LabError> {
    thread::scope(|scope| {
        let thread =
            thread::Builder::new().spawn_scoped(scope, inside).map_err(|e| LabError::system("starting a thread", e))?;
        thread.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked))
    })
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet }
}

/// Reads `address/length`, or an address alone.
fn parse_prefix(text: &str) -> Result<(IpAddr, u8), LabError> {
    let parse = || {
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let address: IpAddr = address.parse().ok()?;
        let longest = if address.is_ipv6() { 128 } else { 32 };
        let length = length.map_or(Some(longest), |length| length.parse().ok())?;
        (length <= longest).then_some((address, length))
    };
    parse().ok_or_else(|| {
        LabError::system(
            format!("{text:?} is no address or prefix"),
            std::io::Error::from(std::io::ErrorKind::InvalidInput),
        )
    })
}
