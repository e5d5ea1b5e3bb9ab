//! Processes of a host: their output line by line with its time, and their end with their owner's.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::guest::{LabError, Stream};

/// What a process gets between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(3);
/// How often a process is asked whether it has ended.
const LOOK: Duration = Duration::from_millis(5);

/// A line that a process has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When it was read.
    pub at: SystemTime,
    /// Where it was written to.
    pub stream: Stream,
    /// Without its end.
    pub text: String,
}

/// A running process, ended when it is dropped.
pub struct Process {
    name: String,
    child: Child,
    output: Arc<Output>,
}

#[derive(Default)]
struct Output {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<Line>,
    /// How many of the two streams have ended.
    ended: u8,
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Result<Self, LabError> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| LabError::system(format!("starting {name}"), e))?;
        let output = Arc::new(Output::default());
        if let Some(stdout) = child.stdout.take() {
            read_lines(stdout, Stream::Stdout, &output);
        }
        if let Some(stderr) = child.stderr.take() {
            read_lines(stderr, Stream::Stderr, &output);
        }
        Ok(Self { name, child, output })
    }

    /// The process's number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it has written until now.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.output.lock().lines.clone()
    }

    /// Waits for a line that contains `text`, of those written already or yet to come.
    ///
    /// # Errors
    /// When none comes in time, or the process closes its output without it.
    pub fn wait_for(&self, text: &str, within: Duration) -> Result<Line, LabError> {
        self.wait_for_after(0, text, within)
    }

    /// As [`Process::wait_for`], passing over the first `skip` lines.
    ///
    /// # Errors
    /// When none comes in time, or the process closes its output without it.
    pub fn wait_for_after(&self, skip: usize, text: &str, within: Duration) -> Result<Line, LabError> {
        self.wait_for_line(skip, &format!("{text:?}"), within, |line| line.text.contains(text))
    }

    /// Waits for a line that is `wanted`, passing over the first `skip`; `what` is it in words.
    ///
    /// # Errors
    /// When none comes in time, or the process closes its output without it.
    pub fn wait_for_line(
        &self,
        skip: usize,
        what: &str,
        within: Duration,
        mut wanted: impl FnMut(&Line) -> bool,
    ) -> Result<Line, LabError> {
        let end = Instant::now() + within;
        let mut seen = skip;
        let mut state = self.output.lock();
        loop {
            if let Some(line) = state.lines.iter().skip(seen).find(|line| wanted(line)) {
                return Ok(line.clone());
            }
            seen = seen.max(state.lines.len());
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || state.ended == 2 {
                let last: Vec<&str> = state.lines.iter().rev().take(5).rev().map(|line| line.text.as_str()).collect();
                let what = format!("{what} of {} (its last lines: {last:#?})", self.name);
                return Err(LabError::TimedOut { what, within });
            }
            state = self.output.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn signal(&self, signal: Signal) -> Result<(), LabError> {
        let id = i32::try_from(self.child.id()).unwrap_or(i32::MAX);
        kill(Pid::from_raw(id), signal).map_err(|e| LabError::system(format!("{signal} to {}", self.name), e))
    }

    /// Waits for its end and the end of its output.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus, LabError> {
        let end = Instant::now() + within;
        loop {
            let ended = self.child.try_wait().map_err(|e| LabError::system(format!("waiting for {}", self.name), e))?;
            if let Some(status) = ended {
                let state = self.output.lock();
                let left = end.saturating_duration_since(Instant::now());
                // A child of its own may hold the output open: that is not waited for longer.
                drop(self.output.changed.wait_timeout_while(state, left, |state| state.ended < 2));
                return Ok(status);
            }
            if Instant::now() >= end {
                return Err(LabError::TimedOut { what: format!("the end of {}", self.name), within });
            }
            thread::sleep(LOOK);
        }
    }

    /// Ends it, by SIGKILL if it does not follow SIGTERM in three seconds.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn terminate(&mut self) -> Result<ExitStatus, LabError> {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.signal(Signal::SIGTERM);
        }
        self.wait(GRACE).or_else(|_| {
            let _ = self.child.kill();
            self.child.wait().map_err(|e| LabError::system(format!("ending {}", self.name), e))
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.terminate();
        }
    }
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_lines(from: impl Read + Send + 'static, stream: Stream, output: &Arc<Output>) {
    let output = Arc::clone(output);
    // The thread ends with the process's output; nobody waits for it.
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while matches!(from.read_until(b'\n', &mut line), Ok(read) if read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
            output.lock().lines.push(Line { at: SystemTime::now(), stream, text });
            output.changed.notify_all();
            line.clear();
        }
        output.lock().ended += 1;
        output.changed.notify_all();
    });
}
