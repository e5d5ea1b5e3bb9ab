//! The demo outside its guest: boots one with itself inside and passes on what it says.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Demo;
use crate::lab::{Guest, Kernel, Stream, Verdict, output_folder, tree};

/// Programs that the story uses, and the packages that have them.
const PROGRAMS: [(&str, &str); 2] = [("ip", "iproute2"), ("radvd", "radvd")];
/// Where the guest looks for them.
const FOLDERS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Octets.
const MEMORY: u64 = 384 << 20;
/// What the story takes without handovers, and what a handover takes at the most.
const TIME: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(15));

/// In the guest: the folder whose files get out as the captures.
pub(super) fn captures() -> Option<PathBuf> {
    output_folder().map(|folder| folder.join("captures"))
}

/// Boots, and passes on line by line; whether every expectation held.
///
/// # Errors
/// What is missing, or what became of the guest.
pub(super) fn run(demo: &Demo) -> Result<bool, String> {
    if let Some((program, package)) = missing(&PROGRAMS, &FOLDERS) {
        return Err(format!("the demo needs the program {program}: apt-get install {package}"));
    }
    let kernel = demo.kernel.as_deref().map_or_else(Kernel::preferred, Kernel::named);
    kernel.find().map_err(|error| error.to_string())?;
    if kernel == Kernel::Running && !nix::unistd::geteuid().is_root() {
        return Err("on the running kernel the demo needs root; user-mode Linux (--kernel 6.1) does not".into());
    }
    if !demo.json {
        match &kernel {
            Kernel::Running => say("In namespaces of their own on the running kernel."),
            Kernel::Uml { version } => say(&format!("Booting Linux {version} in user mode, which takes some seconds.")),
        }
    }
    let folder = Folder::new()?;
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut words: Vec<OsString> = vec![own.into(), "demo".into()];
    words.extend(arguments(demo));
    let guest = Guest::new(kernel).memory(MEMORY).timeout(TIME.0 + TIME.1 * u32::from(demo.moves)).output(&folder.0);
    let mut pass_on = |stream: Stream, line: &str| match stream {
        Stream::Stdout => say(line),
        // A reader that went away is no reason to stop.
        Stream::Stderr => drop(writeln!(io::stderr(), "{line}")),
    };
    let outcome = guest.run(&words, &mut pass_on).map_err(|error| error.to_string())?;
    if let Some(to) = &demo.pcap {
        folder.keep_captures(to).map_err(|error| format!("{}: {error}", to.display()))?;
        if !demo.json {
            let to = to.display();
            say(&format!("Captures of every link are in {to}. To read into them, with the home agent's keys:"));
            say(&format!("  WIRESHARK_CONFIG_DIR={to}/ha.keys tshark -r {to}/a.pcap"));
        }
    }
    match outcome.verdict {
        Verdict::Exited(status) => Ok(status == 0),
        Verdict::Panicked { console } => Err(format!("the kernel went down; it said:\n{console}")),
        Verdict::Hung { console } => Err(format!("the demo did not come to its end; the kernel said:\n{console}")),
    }
}

/// The arguments that concern the story itself.
fn arguments(demo: &Demo) -> Vec<OsString> {
    let auth = match demo.auth {
        super::Auth::Psk => "psk",
        super::Auth::Cert => "cert",
    };
    let mut words = vec![
        format!("--delay={}", demo.delay).into(),
        format!("--moves={}", demo.moves).into(),
        format!("--auth={auth}").into(),
    ];
    for (flag, set) in [("--json", demo.json), ("--soft", demo.soft), ("--pcap=kept", demo.pcap.is_some())] {
        if set {
            words.push(flag.into());
        }
    }
    words
}

/// The first program that is in none of the folders, with its package.
fn missing(programs: &[(&'static str, &'static str)], folders: &[&str]) -> Option<(&'static str, &'static str)> {
    let is_there = |program: &str| folders.iter().any(|folder| Path::new(folder).join(program).is_file());
    programs.iter().copied().find(|(program, _)| !is_there(program))
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// The guest's window, which goes with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("homeward-demo-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }

    /// Copies what the guest left for it.
    fn keep_captures(&self, to: &Path) -> io::Result<()> {
        tree::copy(&self.0.join("captures"), to)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::missing;

    #[test]
    fn the_program_that_is_missing_is_named_with_its_package() {
        let programs = [("sh", "dash"), ("no-such-program", "no-such-package")];
        assert_eq!(missing(&programs, &["/usr/bin", "/bin"]), Some(("no-such-program", "no-such-package")));
        assert_eq!(missing(&programs[..1], &["/usr/bin", "/bin"]), None);
    }
}
