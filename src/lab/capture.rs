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
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recv, recvmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeSpec, TimeVal, TimeValLike};
use socket2::{SockFilter, SockRef};

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
/// BPF_LD | BPF_ABS with BPF_W or BPF_B, BPF_JMP | BPF_JEQ | BPF_K, BPF_RET | BPF_K.
const BPF_LOAD_WORD: u16 = 0x20;
const BPF_LOAD_OCTET: u16 = 0x30;
const BPF_JUMP_EQUAL: u16 = 0x15;
const BPF_RETURN: u16 = 0x06;
/// SKF_AD_OFF + SKF_AD_IFINDEX: where a filter finds the interface's index.
const BPF_INTERFACE: u32 = 0xffff_f000 + 8;
/// Where the IPv6 header says what follows it: behind the Ethernet header's 14 octets.
const NEXT_HEADER: u32 = 20;
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
        Self::begin(host, interface, file, None)
    }

    /// As [`Capture::start`], but in memory are only packets whose IPv6 header is followed by one of these headers; the file gets
    /// all. Without a file the others do not even leave the kernel, so that a capture on a full link costs little.
    ///
    /// # Errors
    /// When there is no such interface, or the file cannot be written.
    pub fn start_keeping(
        host: &Host,
        interface: &str,
        file: Option<&Path>,
        headers: &'static [u8],
    ) -> Result<Self, LabError> {
        Self::begin(host, interface, file, Some(headers))
    }

    fn begin(
        host: &Host,
        interface: &str,
        file: Option<&Path>,
        headers: Option<&'static [u8]>,
    ) -> Result<Self, LabError> {
        let index = host.interface(interface)?;
        let socket = host.enter(|| open(index, headers.filter(|_| file.is_none())))??;
        let file = file.map(Pcap::create).transpose()?;
        let shared = Arc::new(Shared::default());
        let run = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name(format!("capture {} {interface}", host.name()))
            .spawn(move || capture(&socket, file, headers, &run))
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

/// A socket that gets the packets of one interface of the calling thread's namespace, of those with one of the headers.
fn open(index: u32, headers: Option<&[u8]>) -> Result<OwnedFd, LabError> {
    let open = || {
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
        only(&socket, index, headers)?;
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(PATIENCE))?;
        // What came before the filter stood may be of any interface.
        while recv(socket.as_raw_fd(), &mut [0; 1], MsgFlags::MSG_DONTWAIT).is_ok() {}
        Ok::<_, io::Error>(socket)
    };
    open().map_err(|e| LabError::system("opening a packet socket", e))
}

/// Has the kernel pass on the packets of one interface: in a namespace with a router's many, the others would cost more than all else.
fn only(socket: &OwnedFd, index: u32, headers: Option<&[u8]>) -> io::Result<()> {
    let pass = |octets| SockFilter::new(BPF_RETURN, 0, 0, octets);
    // A comparison jumps over so many instructions if it holds, and over so many if it does not.
    let load_interface = SockFilter::new(BPF_LOAD_WORD, 0, 0, BPF_INTERFACE);
    let mut program = vec![load_interface, SockFilter::new(BPF_JUMP_EQUAL, 1, 0, index), pass(0)];
    if let Some(headers) = headers {
        program.push(SockFilter::new(BPF_LOAD_OCTET, 0, 0, NEXT_HEADER));
        for header in headers {
            program.extend([SockFilter::new(BPF_JUMP_EQUAL, 0, 1, u32::from(*header)), pass(u32::MAX)]);
        }
        program.push(pass(0));
    }
    program.push(pass(u32::MAX));
    SockRef::from(socket).attach_filter(&program)
}

fn capture(socket: &OwnedFd, mut file: Option<Pcap>, headers: Option<&[u8]>, shared: &Shared) {
    let mut buffer = vec![0; LONGEST];
    loop {
        // Read before the socket is found empty: what came before the stop is taken.
        let stop = shared.stop.load(Ordering::Relaxed);
        match receive(socket, &mut buffer) {
            Ok(packet) => {
                if let Some(file) = &mut file {
                    file.write(&packet);
                }
                if headers.is_none_or(|headers| packet.octets.get(20).is_some_and(|next| headers.contains(next))) {
                    shared.lock().push(packet);
                    shared.changed.notify_all();
                }
            }
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) if !stop => {
                if let Some(file) = &mut file {
                    file.flush();
                }
            }
            Err(_) => return,
        }
    }
}

/// The next packet.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Result<Packet, Errno> {
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
    Ok(Packet { at, sent: address.pkttype() == OUTGOING, octets })
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
