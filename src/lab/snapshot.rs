//! What a host's kernel holds for a daemon, as a text that can be compared: "as before the start" is a test.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use super::guest::LabError;

/// Options of `ip` and the questions asked with them.
const QUESTIONS: [(&[&str], &str); 4] = [
    (&["-6"], "address show\nroute show table all\nrule show\nneighbour show proxy\n"),
    (&["-4"], "address show\nroute show table all\nrule show\n"),
    (&[], "link show\nxfrm policy list\n"),
    // Never the keys. Behind the states in one batch, `ip` lists no policies.
    (&[], "xfrm state list nokeys\n"),
];
/// Words whose value goes on by itself: they are left out, with the value.
const RUNNING_ON: [&str; 4] = ["expires", "valid_lft", "preferred_lft", "age"];

/// Addresses, routes, rules, proxy neighbours, interfaces, XFRM states and policies, and the settings of IPv6, in a fixed order.
///
/// What runs on by itself (lifetimes, sequence numbers of states) and keys are not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    lines: BTreeSet<String>,
}

impl Snapshot {
    /// Of the calling thread's namespace.
    pub(crate) fn take() -> Result<Self, LabError> {
        let mut lines = BTreeSet::new();
        for (options, questions) in QUESTIONS {
            lines.extend(ask(options, questions)?.lines().map(without_running_on));
        }
        settings("net/ipv6/conf", &mut lines);
        settings("net/ipv6/neigh", &mut lines);
        Ok(Self { lines })
    }

    /// What `later` has more (`+`) and less (`-`), a line each; empty if they are the same.
    #[must_use]
    pub fn difference(&self, later: &Self) -> String {
        let gone = self.lines.difference(&later.lines).map(|line| format!("- {line}\n"));
        let come = later.lines.difference(&self.lines).map(|line| format!("+ {line}\n"));
        gone.chain(come).collect()
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Starting `ip` costs more than its answers: several questions each.
fn ask(options: &[&str], questions: &str) -> Result<String, LabError> {
    let fail = |e| LabError::system("asking ip", e);
    let mut ip = Command::new("ip")
        .args(options)
        .args(["-oneline", "-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(fail)?;
    if let Some(mut input) = ip.stdin.take() {
        input.write_all(questions.as_bytes()).map_err(fail)?;
    }
    let output = ip.wait_with_output().map_err(fail)?;
    if !output.status.success() {
        return Err(fail(std::io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The line without values that change by themselves, and with single blanks.
fn without_running_on(line: &str) -> String {
    let mut words = line.split_whitespace();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if RUNNING_ON.contains(&word) {
            words.next();
        } else if word == "lastused" {
            // A date and a time.
            words.nth(1);
        } else if word == "anti-replay" {
            // The counters of a state, up to its selector.
            kept.extend(words.find(|word| *word == "sel"));
        } else {
            kept.push(word);
        }
    }
    kept.join(" ")
}

/// All that can be read below a folder of /proc/sys: some settings are for writing only.
fn settings(folder: &str, lines: &mut BTreeSet<String>) {
    let Ok(interfaces) = fs::read_dir(format!("/proc/sys/{folder}")) else { return };
    for interface in interfaces.filter_map(Result::ok) {
        let Ok(files) = fs::read_dir(interface.path()) else { continue };
        for file in files.filter_map(Result::ok) {
            if let Ok(value) = fs::read_to_string(file.path()) {
                let interface = interface.file_name();
                let (interface, file) = (interface.to_string_lossy(), file.file_name());
                lines.insert(format!("{folder}/{interface}/{} = {}", file.to_string_lossy(), value.trim()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_that_counts_down_is_no_difference() {
        let at = |left: &str| without_running_on(&format!("default via fe80::1 dev eth0  expires {left} pref medium"));
        assert_eq!(at("12sec"), at("9sec"));
        assert_eq!(at("9sec"), "default via fe80::1 dev eth0 pref medium");
    }

    #[test]
    fn a_packet_under_a_state_is_no_difference() {
        let at = |seq: &str| {
            without_running_on(&format!(
                "src ::1 dst ::2 proto esp mode transport lastused 2026-11-24 22:28:0{seq} anti-replay context: seq {seq}, oseq 0x0, bitmap 0x1 sel src ::1/128"
            ))
        };
        assert_eq!(at("1"), at("2"));
        assert_eq!(at("1"), "src ::1 dst ::2 proto esp mode transport sel src ::1/128");
    }

    #[test]
    fn a_difference_names_what_came_and_what_went() {
        let of = |lines: [&str; 2]| Snapshot { lines: lines.into_iter().map(str::to_owned).collect() };
        assert_eq!(of(["a", "b"]).difference(&of(["b", "c"])), "- a\n+ c\n");
    }
}
