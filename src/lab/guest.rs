//! Boots a kernel in user mode on this machine's root file system, read-only, runs one command in it and says how it ended.
//!
//! The guest's only window to write through is its output folder. The command's output goes to files there, which are passed on
//! while it runs and survive a panic of the kernel.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::kernel::Kernel;
use super::slot::Slot;

/// How often the output files are looked at: below what a reader notices.
const LOOK: Duration = Duration::from_millis(10);
/// What a guest that is to stop gets before it is killed.
const GRACE: Duration = Duration::from_millis(500);

/// Why a guest could not be run at all.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// No kernel of this version is installed or fetched.
    #[error("there is no user-mode Linux {version} here; {help}")]
    NoKernel {
        /// The version asked for.
        version: String,
        /// What to do.
        help: &'static str,
    },
    /// The running kernel was built without what is needed.
    #[error("the running kernel {release} lacks {missing}; user-mode Linux has all of it (kernel 6.1)")]
    Unable {
        /// Its release.
        release: String,
        /// The options of its build.
        missing: String,
    },
    /// A file of the lab could not be used.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A system call failed.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// Something that was waited for did not come.
    #[error("{what} did not come within {within:?}")]
    TimedOut {
        /// What was awaited.
        what: String,
        /// How long.
        within: Duration,
    },
}

impl LabError {
    pub(crate) fn file(path: &Path, source: io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }

    pub(crate) fn system(doing: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System { doing: doing.into(), source: source.into() }
    }
}

/// Which of a command's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a guest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The command ended with this status (128 + N for signal N).
    Exited(i32),
    /// The kernel went down under the command.
    Panicked {
        /// What the kernel said.
        console: String,
    },
    /// Neither the command nor the kernel ended in time.
    Hung {
        /// What the kernel said.
        console: String,
    },
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub verdict: Verdict,
    /// All of the command's standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
    /// The release of the kernel, empty if it did not come up.
    pub kernel_release: String,
    /// Whether the command called [`super::real_kernel`]'s body to its end.
    pub(crate) body_ran: bool,
}

impl Outcome {
    /// Whether the command ended with status 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.verdict == Verdict::Exited(0)
    }
}

/// Runs a command on a kernel and passes its output on to this process's own, line by line as it comes.
///
/// `memory` is the guest's in bytes (the running kernel does not care). The environment is `env` alone, beside PATH, HOME, LANG
/// and TMPDIR.
///
/// # Errors
/// When the guest cannot be started; that it panicked or hung is an [`Outcome`].
pub fn run_in_guest(
    kernel: &Kernel,
    argv: &[impl AsRef<OsStr>],
    env: &[(String, String)],
    timeout: Duration,
    memory: u64,
) -> Result<Outcome, LabError> {
    let mut guest = Guest::new(kernel.clone()).timeout(timeout).memory(memory);
    for (name, value) in env {
        guest = guest.env(name, value);
    }
    guest.run(argv, &mut |stream, line| match stream {
        // A reader that went away is no reason to stop the guest.
        Stream::Stdout => drop(writeln!(io::stdout(), "{line}")),
        Stream::Stderr => drop(writeln!(io::stderr(), "{line}")),
    })
}

/// A guest to be.
#[derive(Clone, Debug)]
pub struct Guest {
    kernel: Kernel,
    memory: u64,
    timeout: Duration,
    env: Vec<(OsString, OsString)>,
    output: Option<PathBuf>,
}

impl Guest {
    /// A guest with 256 MiB and two minutes.
    #[must_use]
    pub fn new(kernel: Kernel) -> Self {
        Self { kernel, memory: 256 << 20, timeout: Duration::from_secs(120), env: Vec::new(), output: None }
    }

    /// The guest's memory in bytes.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// How long the guest may take from the start of its boot; waiting for a free slot does not count.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets a variable of the command's environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The folder that the guest may write to, which stays (the command finds it in `HOMEWARD_OUT`); without it, a temporary one.
    #[must_use]
    pub fn output(mut self, folder: impl Into<PathBuf>) -> Self {
        self.output = Some(folder.into());
        self
    }

    /// Boots, runs `argv` in the present folder, hands each line of its output to `sink` while it runs, and halts.
    ///
    /// # Errors
    /// When the guest cannot be started; that it panicked or hung is an [`Outcome`].
    pub fn run(&self, argv: &[impl AsRef<OsStr>], sink: &mut dyn FnMut(Stream, &str)) -> Result<Outcome, LabError> {
        let folder = Folder::new(self.output.as_deref())?;
        let _slot = Slot::take()?;
        let command = self.prepare(&folder.path, argv)?;
        let run = Run::start(command, &folder.path)?;
        run.watch(&folder.path, self.timeout, sink)
    }

    /// Writes what the first process reads, and makes the command that starts the kernel.
    fn prepare(&self, out: &Path, argv: &[impl AsRef<OsStr>]) -> Result<Command, LabError> {
        let mut script = b"#!/bin/sh\n".to_vec();
        let mut mounts = String::new();
        let mut command = match &self.kernel {
            Kernel::Running => {
                let _ = writeln!(mounts, "tmpfs /run tmpfs mode=755 0 0");
                script.extend_from_slice(RUNNING.as_bytes());
                let mut command = supervised("unshare");
                command.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
                if !nix::unistd::geteuid().is_root() {
                    command.args(["--user", "--map-root-user"]);
                }
                command.arg(out.join("init"));
                command
            }
            Kernel::Uml { version } => {
                let files = Kernel::files(version)?;
                let _ = writeln!(mounts, "sysfs /sys sysfs defaults 0 0");
                let _ = writeln!(mounts, "tmpfs /run tmpfs mode=755 0 0");
                let _ = writeln!(mounts, "tmpfs /dev/shm tmpfs mode=1777 0 0");
                let _ = writeln!(mounts, "devpts /dev/pts devpts defaults 0 0");
                let _ = writeln!(mounts, "none {0} hostfs {0} 0 0", out.display());
                script.extend_from_slice(GUEST.as_bytes());
                let mut command = supervised(&files.binary);
                command
                    .args([
                        "rootfstype=hostfs",
                        "rootflags=/",
                        "ro",
                        "panic=-1",
                        "con=null",
                        "con0=null,fd:1",
                        "loglevel=5",
                    ])
                    .arg(format!("mem={}M", self.memory >> 20))
                    .arg(format!("init={}/init", out.display()))
                    .arg(format!("LAB_MODULES={}", files.modules.display()))
                    .arg(format!("uml_dir={}/", out.display()))
                    .arg("umid=u")
                    .env("TMPDIR", memory_folder(self.memory, out));
                command.arg(format!("LAB_OUT={}", out.display()));
                command
            }
        };
        command.env("LAB_OUT", out).current_dir(out);
        write(&out.join("fstab"), mounts.as_bytes())?;
        write(&out.join("init"), &script)?;
        write(&out.join("command"), &self.command_script(out, argv)?)?;
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(out.join("init"), executable).map_err(|e| LabError::file(out, e))?;
        Ok(command)
    }

    /// The shell script that is the command: folder, environment, words.
    fn command_script(&self, out: &Path, argv: &[impl AsRef<OsStr>]) -> Result<Vec<u8>, LabError> {
        let folder = std::env::current_dir().map_err(|e| LabError::system("the current folder", e))?;
        let mut script = b"cd ".to_vec();
        quote(&mut script, folder.as_os_str());
        script.push(b'\n');
        let own = [("HOMEWARD_GUEST", OsString::from(self.kernel.to_string())), ("HOMEWARD_OUT", out.into())];
        let own = own.into_iter().map(|(name, value)| (OsString::from(name), value));
        for (name, value) in own.chain(self.env.iter().cloned()) {
            script.extend_from_slice(b"export ");
            script.extend_from_slice(name.as_bytes());
            script.push(b'=');
            quote(&mut script, &value);
            script.push(b'\n');
        }
        script.extend_from_slice(b"exec");
        for word in argv {
            script.push(b' ');
            quote(&mut script, word.as_ref());
        }
        script.push(b'\n');
        Ok(script)
    }
}

/// The first process of a user-mode kernel. Starting a process costs it 20 ms: as few as can be.
const GUEST: &str = r#"export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TMPDIR=/run/tmp
mount -t proc proc /proc
mount -a -T "$LAB_OUT/fstab"
read -r release </proc/sys/kernel/osrelease
echo "$release" >"$LAB_OUT/release"
mkdir -p /run/tmp /run/netns /run/lock /run/modules/lib
ln -s "$LAB_MODULES" /run/modules/lib/modules
# The kernel asks this program for modules.
printf '#!/bin/sh\nexec /sbin/modprobe -d /run/modules "$@"\n' >/run/modprobe
chmod 755 /run/modprobe
echo /run/modprobe >/proc/sys/kernel/modprobe
/sbin/modprobe -d /run/modules ipv6
ip link set lo up
sh "$LAB_OUT/command" >"$LAB_OUT/stdout" 2>"$LAB_OUT/stderr" </dev/null
echo $? >"$LAB_OUT/status.new"
mv "$LAB_OUT/status.new" "$LAB_OUT/status"
# Off; a reboot would start the same again.
echo o >/proc/sysrq-trigger
sleep 10
"#;

/// The first process of the namespaces on the running kernel.
const RUNNING: &str = r#"export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TMPDIR=/run/tmp
mount -a -T "$LAB_OUT/fstab"
read -r release </proc/sys/kernel/osrelease
echo "$release" >"$LAB_OUT/release"
mkdir -p /run/tmp /run/netns /run/lock
ip link set lo up
sh "$LAB_OUT/command" >"$LAB_OUT/stdout" 2>"$LAB_OUT/stderr" </dev/null
echo $? >"$LAB_OUT/status.new"
mv "$LAB_OUT/status.new" "$LAB_OUT/status"
"#;

/// A program that writes no core, and is killed when the thread that waits for it ends.
fn supervised(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -c 0; exec setpriv --pdeathsig KILL \"$@\"", "sh"]).arg(program);
    command
}

/// Where the kernel can keep its memory: a file that can be mapped executable, on a file system with that much room.
fn memory_folder(memory: u64, fallback: &Path) -> PathBuf {
    let fits = |folder: &Path| {
        nix::sys::statvfs::statvfs(folder).is_ok_and(|fs| {
            !fs.flags().contains(nix::sys::statvfs::FsFlags::ST_NOEXEC)
                && fs.blocks_available().saturating_mul(fs.fragment_size()) > memory
        })
    };
    [Path::new("/dev/shm"), &std::env::temp_dir()]
        .into_iter()
        .find(|folder| fits(folder))
        .unwrap_or(fallback)
        .to_owned()
}

/// A running kernel.
struct Run {
    child: Child,
    start: Instant,
}

impl Run {
    fn start(mut command: Command, out: &Path) -> Result<Self, LabError> {
        let path = out.join("console");
        let console = File::create(&path).map_err(|e| LabError::file(&path, e))?;
        let errors = console.try_clone().map_err(|e| LabError::file(&path, e))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(console)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(|e| LabError::system("starting the kernel", e))?;
        Ok(Self { child, start: Instant::now() })
    }

    fn watch(mut self, out: &Path, timeout: Duration, sink: &mut dyn FnMut(Stream, &str)) -> Result<Outcome, LabError> {
        let mut stdout = Tail::new(out.join("stdout"), Stream::Stdout);
        let mut stderr = Tail::new(out.join("stderr"), Stream::Stderr);
        let mut hung = false;
        loop {
            let ended = self.child.try_wait().map_err(|e| LabError::system("waiting for the kernel", e))?.is_some();
            stdout.pass_on(sink);
            stderr.pass_on(sink);
            if ended {
                break;
            }
            if self.start.elapsed() > timeout {
                // One that finished its command but not its halt did not hang.
                hung = !out.join("status").exists();
                self.stop();
                break;
            }
            thread::sleep(LOOK);
        }
        stdout.finish(sink);
        stderr.finish(sink);
        let text =
            |name: &str| fs::read(out.join(name)).map(|t| String::from_utf8_lossy(&t).into_owned()).unwrap_or_default();
        let console = text("console");
        let verdict = match text("status").trim().parse() {
            Ok(status) => Verdict::Exited(status),
            Err(_) if hung => Verdict::Hung { console },
            Err(_) => Verdict::Panicked { console },
        };
        Ok(Outcome {
            verdict,
            stdout: text("stdout"),
            stderr: text("stderr"),
            kernel_release: text("release").trim().to_owned(),
            body_ran: out.join("body-ran").exists(),
        })
    }

    /// Ends the kernel's process group: user-mode Linux keeps a process for each address space of the guest.
    fn stop(&mut self) {
        let Ok(group) = i32::try_from(self.child.id()) else { return };
        let group = Pid::from_raw(group);
        let _ = killpg(group, Signal::SIGTERM);
        let end = Instant::now() + GRACE;
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(LOOK);
        }
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // The caller's sink may have panicked; the kernel must not outlive that.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.stop();
        }
    }
}

/// A file that grows, passed on line by line.
struct Tail {
    path: PathBuf,
    file: Option<File>,
    stream: Stream,
    rest: Vec<u8>,
}

impl Tail {
    fn new(path: PathBuf, stream: Stream) -> Self {
        Self { path, file: None, stream, rest: Vec::new() }
    }

    fn pass_on(&mut self, sink: &mut dyn FnMut(Stream, &str)) {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let Some(file) = &mut self.file else { return };
        if !matches!(file.read_to_end(&mut self.rest), Ok(read) if read > 0) {
            return;
        }
        while let Some(end) = self.rest.iter().position(|&octet| octet == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            sink(self.stream, String::from_utf8_lossy(&line).trim_end_matches('\n'));
        }
    }

    fn finish(&mut self, sink: &mut dyn FnMut(Stream, &str)) {
        self.pass_on(sink);
        if !self.rest.is_empty() {
            sink(self.stream, &String::from_utf8_lossy(&self.rest));
        }
    }
}

/// The guest's window, removed at the end unless the caller named it.
struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    fn new(named: Option<&Path>) -> Result<Self, LabError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let path = named.map_or_else(
            || {
                let number = COUNT.fetch_add(1, Ordering::Relaxed);
                std::env::temp_dir().join(format!("homeward-guest-{}-{number}", std::process::id()))
            },
            Path::to_owned,
        );
        fs::create_dir_all(&path).map_err(|e| LabError::file(&path, e))?;
        let path = path.canonicalize().map_err(|e| LabError::file(&path, e))?;
        // It stands on the kernel's command line and in a mount table, which separate by blanks.
        if path.as_os_str().as_bytes().iter().any(|octet| octet.is_ascii_whitespace() || *octet == b',') {
            let blank =
                io::Error::new(io::ErrorKind::InvalidInput, "a guest's folder must have no blank or comma in its path");
            return Err(LabError::file(&path, blank));
        }
        for stale in ["status", "stdout", "stderr", "release", "body-ran"] {
            let _ = fs::remove_file(path.join(stale));
        }
        Ok(Self { path, keep: named.is_some() })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.keep {
            for own in ["init", "command", "fstab"] {
                let _ = fs::remove_file(self.path.join(own));
            }
            let _ = fs::remove_dir_all(self.path.join("u"));
        } else {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn write(path: &Path, text: &[u8]) -> Result<(), LabError> {
    fs::write(path, text).map_err(|e| LabError::file(path, e))
}

/// Appends a word in single quotes, as the shell reads it back unchanged.
fn quote(script: &mut Vec<u8>, word: &OsStr) {
    script.push(b'\'');
    for &octet in word.as_bytes() {
        if octet == b'\'' { script.extend_from_slice(b"'\\''") } else { script.push(octet) }
    }
    script.push(b'\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_word_is_read_back_unchanged() {
        let word = OsStr::new("it's $HOME `x` \"y\"\n");
        let mut script = b"printf %s ".to_vec();
        quote(&mut script, word);
        let output = Command::new("sh").arg("-c").arg(OsStr::from_bytes(&script)).output().unwrap();
        assert_eq!(output.stdout, word.as_bytes());
    }
}
