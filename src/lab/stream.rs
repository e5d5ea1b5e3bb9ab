//! A TCP connection under a moving host: numbered octets both ways without end, every one checked.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, SocketAddrV6, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use socket2::{Domain, Protocol, Socket, Type};

use super::guest::LabError;
use super::host::Host;

/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(10);
/// How soon a thread sees that it is to stop.
const PATIENCE: Duration = Duration::from_millis(20);
/// What is written at a time.
const PIECE: usize = 1000;
/// The octets repeat after this many: a prime, so that a lost piece is seen wherever it was.
const PERIOD: u64 = 251;

/// What one direction of a connection did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectionReport {
    /// Octets that arrived, all as they were sent.
    pub octets: u64,
    /// When the last of them came.
    pub last: SystemTime,
    /// The longest time between two arrivals, the one until now included.
    pub longest_stall: Duration,
    /// Why it ended, if it did: an error, an end of the stream, or a wrong octet.
    pub failure: Option<String>,
}

/// What a connection did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamReport {
    /// From the client to the server.
    pub up: DirectionReport,
    /// From the server to the client.
    pub down: DirectionReport,
}

impl StreamReport {
    /// Whether neither direction has failed and both moved within a time before `now`.
    #[must_use]
    pub fn alive(&self, now: SystemTime, within: Duration) -> bool {
        let moves = |direction: &DirectionReport| {
            // What came after `now` was read is no silence at all.
            direction.failure.is_none() && now.duration_since(direction.last).unwrap_or_default() <= within
        };
        moves(&self.up) && moves(&self.down)
    }
}

/// A running connection; it is closed when this is dropped.
pub struct TcpFlow {
    up: Arc<Shared>,
    down: Arc<Shared>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl TcpFlow {
    /// Connects `source` (an address of `client`, port 0 for any) with `destination` (of `server`) and sends 1000 octets each
    /// `interval` in both directions.
    ///
    /// # Errors
    /// When the connection does not come up.
    pub fn start(
        (client, source): (&Host, SocketAddrV6),
        (server, destination): (&Host, SocketAddrV6),
        interval: Duration,
    ) -> Result<Self, LabError> {
        let fail = |e| LabError::system(format!("TCP {source} to {destination}"), e);
        let listener = server.enter(|| TcpListener::bind(destination))?.map_err(fail)?;
        let far = client.enter(|| connect(source, destination))?.map_err(fail)?;
        let (near, _) = listener.accept().map_err(fail)?;
        let mut flow = Self {
            up: Shared::new(),
            down: Shared::new(),
            stop: Arc::new(AtomicBool::new(false)),
            threads: Vec::new(),
        };
        let (up, down) = (Arc::clone(&flow.up), Arc::clone(&flow.down));
        for (stream, arrivals) in [(near, up), (far, down)] {
            stream.set_read_timeout(Some(PATIENCE)).map_err(fail)?;
            stream.set_write_timeout(Some(PATIENCE)).map_err(fail)?;
            stream.set_nodelay(true).map_err(fail)?;
            let (writer, stop) = (stream.try_clone().map_err(fail)?, Arc::clone(&flow.stop));
            flow.threads.push(thread::spawn(move || write(writer, interval, &stop)));
            let stop = Arc::clone(&flow.stop);
            flow.threads.push(thread::spawn(move || read(stream, &arrivals, &stop)));
        }
        Ok(flow)
    }

    /// The report until now.
    #[must_use]
    pub fn so_far(&self) -> StreamReport {
        StreamReport { up: self.up.report(), down: self.down.report() }
    }

    /// Reports and closes the connection.
    #[must_use]
    pub fn stop(self) -> StreamReport {
        self.so_far()
    }
}

impl Drop for TcpFlow {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The arrivals of one direction.
struct Shared {
    report: Mutex<DirectionReport>,
}

impl Shared {
    fn new() -> Arc<Self> {
        let report =
            DirectionReport { octets: 0, last: SystemTime::now(), longest_stall: Duration::ZERO, failure: None };
        Arc::new(Self { report: Mutex::new(report) })
    }

    fn lock(&self) -> MutexGuard<'_, DirectionReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self) -> DirectionReport {
        let mut report = self.lock().clone();
        report.longest_stall = report.longest_stall.max(report.last.elapsed().unwrap_or_default());
        report
    }
}

fn connect(source: SocketAddrV6, destination: SocketAddrV6) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::V6(source).into())?;
    socket.connect_timeout(&SocketAddr::V6(destination).into(), CONNECT)?;
    Ok(socket.into())
}

/// The octet at a place of the stream.
fn octet(place: u64) -> u8 {
    u8::try_from(place % PERIOD).unwrap_or(u8::MAX)
}

fn write(mut stream: TcpStream, interval: Duration, stop: &AtomicBool) {
    let mut place = 0;
    while !stop.load(Ordering::Relaxed) {
        let piece: Vec<u8> = (place..).take(PIECE).map(octet).collect();
        match stream.write(&piece) {
            Ok(written) => {
                place += u64::try_from(written).unwrap_or(u64::MAX);
                thread::sleep(interval);
            }
            Err(e) if is_only_late(&e) => {}
            // The reader of the other end, or of this one, hears of it too and reports it.
            Err(_) => return,
        }
    }
}

fn read(mut stream: TcpStream, arrivals: &Shared, stop: &AtomicBool) {
    let mut buffer = vec![0; 64 * 1024];
    while !stop.load(Ordering::Relaxed) {
        let failure = match stream.read(&mut buffer) {
            Ok(0) => "the stream ended".to_owned(),
            Ok(count) => {
                let now = SystemTime::now();
                let mut report = arrivals.lock();
                let came = buffer.get(..count).unwrap_or_default();
                let wrong = (report.octets..).zip(came).find(|(place, came)| octet(*place) != **came);
                report.longest_stall = report.longest_stall.max(now.duration_since(report.last).unwrap_or_default());
                report.last = now;
                report.octets += u64::try_from(count).unwrap_or(u64::MAX);
                match wrong {
                    Some((place, came)) => format!("octet {place} is {came}"),
                    None => continue,
                }
            }
            Err(e) if is_only_late(&e) => continue,
            Err(e) => e.to_string(),
        };
        arrivals.lock().failure = Some(failure);
        return;
    }
}

/// A time-out of ours, not the connection's own (ETIMEDOUT), which is its end.
fn is_only_late(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direction_is_alive_if_it_moved_lately_or_after_the_question() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let report = |last| {
            let direction = DirectionReport { octets: 1, last: at(last), longest_stall: Duration::ZERO, failure: None };
            StreamReport { up: direction.clone(), down: direction }
        };
        let within = Duration::from_secs(2);
        assert!(report(9).alive(at(10), within));
        assert!(report(11).alive(at(10), within));
        assert!(!report(7).alive(at(10), within));
        let mut ended = report(10);
        ended.down.failure = Some("the stream ended".to_owned());
        assert!(!ended.alive(at(10), within));
    }
}
