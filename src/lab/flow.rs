//! Flows that show what an application loses while a host moves: numbered UDP datagrams and ICMPv6 echoes with their times.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::guest::LabError;
use super::host::Host;

/// How soon a thread sees that it is to stop.
const PATIENCE: Duration = Duration::from_millis(20);
/// What comes later than this after the last was sent is lost.
const LINGER: Duration = Duration::from_millis(300);

/// What may lie unread.
const RECEIVE_BUFFER: usize = 4 << 20;

/// ICMPv6 echo request and reply (RFC 4443 §4.1, §4.2).
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;

/// A datagram, or an echo request, of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Its number, from 0 on.
    pub number: u64,
    /// When it was handed to the kernel (which may have refused it: that counts as lost).
    pub sent: SystemTime,
    /// When it arrived, or its reply did.
    pub received: Option<SystemTime>,
}

/// What became of a flow, in the order of sending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowReport {
    /// All datagrams.
    pub datagrams: Vec<Datagram>,
    /// How many arrived more than once.
    pub duplicates: u64,
}

/// An interruption of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// When the first lost datagram was sent.
    pub from: SystemTime,
    /// When the first delivered one after it was sent.
    pub until: SystemTime,
    /// How many were lost between.
    pub lost: usize,
}

impl Outage {
    /// From the first lost datagram to the first delivered one, as sent.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.until.duration_since(self.from).unwrap_or_default()
    }
}

impl FlowReport {
    /// What was sent in a time.
    pub fn sent_between(&self, from: SystemTime, until: SystemTime) -> impl Iterator<Item = &Datagram> {
        self.datagrams.iter().filter(move |datagram| datagram.sent >= from && datagram.sent <= until)
    }

    /// How many of those sent in a time never arrived.
    #[must_use]
    pub fn lost_between(&self, from: SystemTime, until: SystemTime) -> usize {
        self.sent_between(from, until).filter(|datagram| datagram.received.is_none()).count()
    }

    /// How many never arrived.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.datagrams.iter().filter(|datagram| datagram.received.is_none()).count()
    }

    /// How many arrived.
    #[must_use]
    pub fn delivered(&self) -> usize {
        self.datagrams.len() - self.lost()
    }

    /// The first datagram sent at or after `from` that arrived.
    #[must_use]
    pub fn first_delivered_after(&self, from: SystemTime) -> Option<Datagram> {
        self.datagrams.iter().find(|datagram| datagram.sent >= from && datagram.received.is_some()).copied()
    }

    /// Every run of lost datagrams that ended, in order.
    #[must_use]
    pub fn outages(&self) -> Vec<Outage> {
        let mut outages = Vec::new();
        let mut open: Option<(SystemTime, usize)> = None;
        for datagram in &self.datagrams {
            match (datagram.received, open) {
                (None, None) => open = Some((datagram.sent, 1)),
                (None, Some((from, lost))) => open = Some((from, lost + 1)),
                (Some(_), Some((from, lost))) => {
                    outages.push(Outage { from, until: datagram.sent, lost });
                    open = None;
                }
                (Some(_), None) => {}
            }
        }
        outages
    }

    /// The longest outage that began in a time.
    #[must_use]
    pub fn longest_outage_between(&self, from: SystemTime, until: SystemTime) -> Option<Outage> {
        let outages = self.outages().into_iter().filter(|outage| outage.from >= from && outage.from <= until);
        outages.max_by_key(Outage::duration)
    }

    /// The longest time between two arrivals, of those that lie at least partly in a time.
    #[must_use]
    pub fn longest_silence_between(&self, from: SystemTime, until: SystemTime) -> Duration {
        let mut arrivals: Vec<SystemTime> = self.datagrams.iter().filter_map(|datagram| datagram.received).collect();
        arrivals.sort_unstable();
        let pairs = arrivals.iter().zip(arrivals.iter().skip(1));
        let silences = pairs.filter(|(one, next)| **next >= from && **one <= until);
        silences.filter_map(|(one, next)| next.duration_since(*one).ok()).max().unwrap_or_default()
    }

    /// How long each delivered datagram took, in the order of sending.
    #[must_use]
    pub fn delays(&self) -> Vec<Duration> {
        let delay = |datagram: &Datagram| datagram.received?.duration_since(datagram.sent).ok();
        self.datagrams.iter().filter_map(delay).collect()
    }
}

/// Numbered UDP datagrams at a steady rate, one way.
pub struct UdpFlow {
    flow: Flow,
}

impl UdpFlow {
    /// Starts to send from `source` (an address of `from`, port 0 for any) to `destination` (of `to`), one each `interval`, with
    /// `size` octets of payload, at least 8.
    ///
    /// # Errors
    /// When an address is not the host's.
    pub fn start(
        (from, source): (&Host, SocketAddrV6),
        (to, destination): (&Host, SocketAddrV6),
        interval: Duration,
        size: usize,
    ) -> Result<Self, LabError> {
        let open = |host: &Host, address: SocketAddrV6| {
            let fail = |e| LabError::system(format!("{}: UDP {address}", host.name()), e);
            let socket = host.enter(|| UdpSocket::bind(address))?.map_err(fail)?;
            socket.set_read_timeout(Some(PATIENCE)).map_err(fail)?;
            // A receiver that has to wait for the CPU loses nothing by it.
            setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).map_err(|e| fail(e.into()))?;
            Ok(socket)
        };
        let (sender, receiver) = (open(from, source)?, open(to, destination)?);
        let send = move |number: u64| {
            let mut payload = number.to_be_bytes().to_vec();
            payload.resize(size.max(payload.len()), 0x55);
            // While the host has no route this fails, as it does for any application.
            let _ = sender.send_to(&payload, destination);
        };
        let receive = move || {
            let mut payload = [0; 2048];
            let (length, _) = receiver.recv_from(&mut payload)?;
            Ok(payload
                .get(..length)
                .and_then(|payload| payload.first_chunk())
                .map(|number| u64::from_be_bytes(*number)))
        };
        Ok(Self { flow: Flow::start(interval, send, receive)? })
    }

    /// One flow each way, between the same port of two addresses.
    ///
    /// # Errors
    /// When an address is not the host's.
    pub fn both_ways(
        (one, here): (&Host, Ipv6Addr),
        (other, there): (&Host, Ipv6Addr),
        port: u16,
        interval: Duration,
        size: usize,
    ) -> Result<[Self; 2], LabError> {
        let at = |address, port| SocketAddrV6::new(address, port, 0, 0);
        let to = Self::start((one, at(here, 0)), (other, at(there, port)), interval, size)?;
        let fro = Self::start((other, at(there, 0)), (one, at(here, port)), interval, size)?;
        Ok([to, fro])
    }

    /// The report until now; the newest datagrams may still be on their way.
    #[must_use]
    pub fn so_far(&self) -> FlowReport {
        self.flow.so_far()
    }

    /// The report of what was sent in a time, without a look at all that was before.
    #[must_use]
    pub fn between(&self, from: SystemTime, until: SystemTime) -> FlowReport {
        self.flow.shared.times().between(from, until)
    }

    /// Waits until a datagram that was sent at or after `from` has arrived. On a path that keeps the order, all that was sent
    /// before and has not arrived is lost then.
    ///
    /// # Errors
    /// When none arrives in time.
    pub fn wait_for_one_sent_after(&self, from: SystemTime, within: Duration) -> Result<(), LabError> {
        let end = Instant::now() + within;
        while !self.flow.shared.times().has_arrived_since(from) {
            if Instant::now() >= end {
                return Err(LabError::TimedOut { what: "a datagram".to_owned(), within });
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Stops sending, waits a little for what is on its way, and reports.
    #[must_use]
    pub fn stop(self) -> FlowReport {
        self.flow.stop()
    }
}

/// ICMPv6 echo requests at a steady rate, each with its reply's time.
pub struct PingFlow {
    flow: Flow,
}

impl PingFlow {
    /// Starts to ask `destination` from `host`, one request each `interval`, from `source` or the address that the kernel picks.
    ///
    /// # Errors
    /// When `source` is not the host's.
    pub fn start(
        host: &Host,
        source: Option<Ipv6Addr>,
        destination: Ipv6Addr,
        interval: Duration,
    ) -> Result<Self, LabError> {
        static IDENTIFIER: AtomicU16 = AtomicU16::new(1);
        let identifier = IDENTIFIER.fetch_add(1, Ordering::Relaxed);
        let fail = |e| LabError::system(format!("{}: echo requests", host.name()), e);
        let socket = host.enter(|| Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)))?.map_err(fail)?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(fail)?;
        if let Some(source) = source {
            socket.bind(&SocketAddr::new(IpAddr::V6(source), 0).into()).map_err(fail)?;
        }
        let receiver = UdpSocket::from(socket.try_clone().map_err(fail)?);
        let to = SocketAddr::new(IpAddr::V6(destination), 0).into();
        let send = move |number: u64| {
            // The kernel fills in the checksum.
            let mut request = vec![ECHO_REQUEST, 0, 0, 0];
            request.extend_from_slice(&identifier.to_be_bytes());
            request.extend_from_slice(&[0, 0]);
            request.extend_from_slice(&number.to_be_bytes());
            let _ = socket.send_to(&request, &to);
        };
        let receive = move || {
            let mut reply = [0; 2048];
            let (length, _) = receiver.recv_from(&mut reply)?;
            let reply = reply.get(..length).unwrap_or_default();
            Ok(match reply.split_first_chunk::<8>() {
                Some((&[ECHO_REPLY, _, _, _, high, low, _, _], number)) if [high, low] == identifier.to_be_bytes() => {
                    number.first_chunk().map(|number| u64::from_be_bytes(*number))
                }
                _ => None,
            })
        };
        Ok(Self { flow: Flow::start(interval, send, receive)? })
    }

    /// The report until now; the newest replies may still be on their way.
    #[must_use]
    pub fn so_far(&self) -> FlowReport {
        self.flow.so_far()
    }

    /// Stops asking, waits a little for what is on its way, and reports.
    #[must_use]
    pub fn stop(self) -> FlowReport {
        self.flow.stop()
    }
}

/// What the two kinds of flow share: a thread that sends on time and one that notes what comes.
struct Flow {
    shared: Arc<Shared>,
    sender: Option<JoinHandle<()>>,
    receiver: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    times: Mutex<Times>,
    stop_sending: AtomicBool,
    stop: AtomicBool,
}

#[derive(Default)]
struct Times {
    sent: Vec<SystemTime>,
    received: BTreeMap<u64, SystemTime>,
    duplicates: u64,
}

impl Flow {
    fn start(
        interval: Duration,
        mut send: impl FnMut(u64) + Send + 'static,
        mut receive: impl FnMut() -> std::io::Result<Option<u64>> + Send + 'static,
    ) -> Result<Self, LabError> {
        let shared = Arc::new(Shared::default());
        let thread = |run: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().spawn(run).map_err(|e| LabError::system("starting a thread", e))
        };
        let notes = Arc::clone(&shared);
        let receiver = thread(Box::new(move || {
            while !notes.stop.load(Ordering::Relaxed) {
                match receive() {
                    Ok(Some(number)) => notes.note(number),
                    Ok(None) => {}
                    Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                    // An ICMP error for a datagram that was sent: the flow goes on.
                    Err(_) => thread::sleep(Duration::from_millis(1)),
                }
            }
        }))?;
        let notes = Arc::clone(&shared);
        let sender = thread(Box::new(move || {
            let mut due = Instant::now();
            for number in 0.. {
                // On a grid from the start: one that comes late does not move those behind it.
                thread::sleep(due.saturating_duration_since(Instant::now()));
                if notes.stop_sending.load(Ordering::Relaxed) {
                    return;
                }
                notes.times().sent.push(SystemTime::now());
                send(number);
                due += interval;
            }
        }))?;
        Ok(Self { shared, sender: Some(sender), receiver: Some(receiver) })
    }

    fn so_far(&self) -> FlowReport {
        self.shared.times().report()
    }

    fn stop(mut self) -> FlowReport {
        self.shared.stop_sending.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            let _ = sender.join();
        }
        let end = Instant::now() + LINGER;
        while Instant::now() < end && self.shared.times().missing_the_end() {
            thread::sleep(Duration::from_millis(5));
        }
        self.so_far()
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.shared.stop_sending.store(true, Ordering::Relaxed);
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in [self.sender.take(), self.receiver.take()].into_iter().flatten() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, number: u64) {
        let now = SystemTime::now();
        let mut times = self.times();
        if let Entry::Vacant(place) = times.received.entry(number) {
            place.insert(now);
        } else {
            times.duplicates += 1;
        }
    }
}

impl Times {
    fn report(&self) -> FlowReport {
        self.part(0, self.sent.len())
    }

    fn between(&self, from: SystemTime, until: SystemTime) -> FlowReport {
        self.part(self.first_sent_at(from), self.sent.partition_point(|sent| *sent <= until))
    }

    fn part(&self, start: usize, end: usize) -> FlowReport {
        let datagram = |(number, sent): (u64, &SystemTime)| Datagram {
            number,
            sent: *sent,
            received: self.received.get(&number).copied(),
        };
        let numbers = u64::try_from(start).unwrap_or(u64::MAX)..;
        let sent = self.sent.iter().take(end).skip(start);
        FlowReport { datagrams: numbers.zip(sent).map(datagram).collect(), duplicates: self.duplicates }
    }

    /// The number of the first datagram sent then or later.
    fn first_sent_at(&self, from: SystemTime) -> usize {
        self.sent.partition_point(|sent| *sent < from)
    }

    fn has_arrived_since(&self, from: SystemTime) -> bool {
        let first = u64::try_from(self.first_sent_at(from)).unwrap_or(u64::MAX);
        self.received.range(first..).next().is_some()
    }

    /// Whether the last datagram, behind which nothing more can come, has not arrived.
    fn missing_the_end(&self) -> bool {
        let last = u64::try_from(self.sent.len()).unwrap_or(u64::MAX).checked_sub(1);
        last.is_some_and(|last| !self.received.contains_key(&last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds)
    }

    /// One each 10 ms, each 3 ms under way, those of `lost` never arrive.
    fn report(count: u64, lost: std::ops::Range<u64>) -> FlowReport {
        let datagram = |number| Datagram {
            number,
            sent: at(number * 10),
            received: (!lost.contains(&number)).then(|| at(number * 10 + 3)),
        };
        FlowReport { datagrams: (0..count).map(datagram).collect(), duplicates: 0 }
    }

    #[test]
    fn an_outage_lasts_from_the_first_lost_to_the_first_delivered() {
        let report = report(20, 5..9);
        let outage = report.longest_outage_between(at(0), at(200)).unwrap();
        assert_eq!((outage.from, outage.until, outage.lost), (at(50), at(90), 4));
        assert_eq!(report.lost_between(at(60), at(70)), 2);
        assert_eq!(report.first_delivered_after(at(55)).unwrap().number, 9);
        assert_eq!(report.longest_silence_between(at(0), at(200)), Duration::from_millis(50));
        assert_eq!(report.longest_outage_between(at(100), at(200)), None);
    }
}
