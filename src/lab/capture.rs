//! Captures: every packet of an interface, both ways, with the kernel's time, in memory and in a pcap file.

use std::fs::File;
use std::io::{self, BufWriter, IoSliceMut, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeSpec, TimeVal, TimeValLike};

use super::guest::LabError;
use super::host::Host;

/// What an unread burst may take.
const RECEIVE_BUFFER: usize = 16 << 20;
/// The longest packet, with offloading.
const LONGEST: usize = 66_000;
/// How soon the thread sees that it is to stop, in milliseconds.
const PATIENCE: i64 = 20;
/// PACKET_OUTGOING: sent by the host itself.
const OUTGOING: u8 = 4;
/// A pcap file with times in nanoseconds.
const PCAP_NANOSECONDS: u32 = 0xa1b2_3c4d;
/// LINKTYPE_ETHERNET.
const ETHERNET: u32 = 1;

/// A packet as it passed the interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// When, by the kernel.
    pub at: SystemTime,
    /// Whether the host sent it.
    pub sent: bool,
    /// From the Ethernet header on.
    pub octets: Vec<u8>,
}

/// A running capture. It ends when it is dropped.
pub struct Capture {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    packets: Mutex<Vec<Packet>>,
    changed: Condvar,
    stop: AtomicBool,
}

impl Capture {
    /// Starts to capture; every packet after the return is seen. With `file`, a pcap file is written along.
    ///
    /// The interface has to be of Ethernet's kind: a port, a bridge or the loopback.
    ///
    /// # Errors
    /// When there is no such interface, or the file cannot be written.
    pub fn start(host: &Host, interface: &str, file: Option<&Path>) -> Result<Self, LabError> {
        let index = usize::try_from(host.interface(interface)?).unwrap_or(usize::MAX);
        let socket = host.enter(open)??;
        let file = file.map(Pcap::create).transpose()?;
        let shared = Arc::new(Shared::default());
        let run = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name(format!("capture {} {interface}", host.name()))
            .spawn(move || capture(&socket, index, file, &run))
            .map_err(|e| LabError::system("starting a thread", e))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The packets until now.
    #[must_use]
    pub fn packets(&self) -> Vec<Packet> {
        self.shared.lock().clone()
    }

    /// Waits for a packet, of those seen already or yet to come.
    ///
    /// # Errors
    /// When none that is wanted comes in time.
    pub fn wait_for(
        &self,
        what: &str,
        within: Duration,
        mut wanted: impl FnMut(&Packet) -> bool,
    ) -> Result<Packet, LabError> {
        let end = Instant::now() + within;
        let mut seen = 0;
        let mut packets = self.shared.lock();
        loop {
            if let Some(packet) = packets.iter().skip(seen).find(|packet| wanted(packet)) {
                return Ok(packet.clone());
            }
            seen = packets.len();
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(LabError::TimedOut { what: format!("{what} (of {seen} packets)"), within });
            }
            packets = self.shared.changed.wait_timeout(packets, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends it. All packets that had passed by then are among the returned.
    #[must_use]
    pub fn stop(mut self) -> Vec<Packet> {
        self.end();
        std::mem::take(&mut *self.shared.lock())
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Packet>> {
        self.packets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket that gets the packets of all interfaces of the calling thread's namespace.
fn open() -> Result<OwnedFd, LabError> {
    let open = || {
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(PATIENCE))?;
        Ok::<_, Errno>(socket)
    };
    open().map_err(|e| LabError::system("opening a packet socket", e))
}

fn capture(socket: &OwnedFd, index: usize, mut file: Option<Pcap>, shared: &Shared) {
    let mut buffer = vec![0; LONGEST];
    loop {
        // Read before the socket is found empty: what came before the stop is taken.
        let stop = shared.stop.load(Ordering::Relaxed);
        match receive(socket, &mut buffer) {
            Ok((packet, at)) if at == index => {
                if let Some(file) = &mut file {
                    file.write(&packet);
                }
                shared.lock().push(packet);
                shared.changed.notify_all();
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) if !stop => {
                if let Some(file) = &mut file {
                    file.flush();
                }
            }
            Err(_) => return,
        }
    }
}

/// The next packet and the index of its interface.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Result<(Packet, usize), Errno> {
    let mut control = nix::cmsg_space!(TimeSpec);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
    let stamp = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(time) => Some(UNIX_EPOCH + Duration::from(time)),
        _ => None,
    });
    let address = message.address.ok_or(Errno::EINVAL)?;
    let octets = message.iovs().next().unwrap_or_default().to_vec();
    let at = stamp.unwrap_or_else(SystemTime::now);
    Ok((Packet { at, sent: address.pkttype() == OUTGOING, octets }, address.ifindex()))
}

/// A capture file being written.
struct Pcap {
    path: PathBuf,
    /// Gone after an error, which has been told.
    file: Option<BufWriter<File>>,
}

impl Pcap {
    fn create(path: &Path) -> Result<Self, LabError> {
        let file = File::create(path).map_err(|e| LabError::file(path, e))?;
        let mut pcap = Self { path: path.to_owned(), file: Some(BufWriter::new(file)) };
        let mut header = Vec::new();
        header.extend_from_slice(&PCAP_NANOSECONDS.to_ne_bytes());
        header.extend_from_slice(&2_u16.to_ne_bytes());
        header.extend_from_slice(&4_u16.to_ne_bytes());
        for field in [0, 0, u32::try_from(LONGEST).unwrap_or(u32::MAX), ETHERNET] {
            header.extend_from_slice(&field.to_ne_bytes());
        }
        pcap.put(&header);
        Ok(pcap)
    }

    fn write(&mut self, packet: &Packet) {
        let since = packet.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let length = u32::try_from(packet.octets.len()).unwrap_or(u32::MAX);
        let mut record = Vec::with_capacity(16 + packet.octets.len());
        // Seconds are 32 bits in this format, until 2106.
        for field in [u32::try_from(since.as_secs()).unwrap_or(u32::MAX), since.subsec_nanos(), length, length] {
            record.extend_from_slice(&field.to_ne_bytes());
        }
        record.extend_from_slice(&packet.octets);
        self.put(&record);
    }

    fn put(&mut self, octets: &[u8]) {
        let result = self.file.as_mut().map_or(Ok(()), |file| file.write_all(octets));
        self.check(result);
    }

    fn flush(&mut self) {
        let result = self.file.as_mut().map_or(Ok(()), BufWriter::flush);
        self.check(result);
    }

    fn check(&mut self, result: io::Result<()>) {
        if let Err(e) = result {
            tracing::warn!(path = %self.path.display(), error = %e, "capture file ends here");
            self.file = None;
        }
    }
}
