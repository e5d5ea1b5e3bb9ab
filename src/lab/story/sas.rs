//! The SAs that a host's kernel holds, as `ip` tells them: an observer that is not ours.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv6Addr;
use std::process::Command;

use crate::lab::guest::LabError;
use crate::lab::host::Host;

/// An ESP SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sa {
    pub(super) source: Ipv6Addr,
    pub(super) destination: Ipv6Addr,
    pub(super) spi: u32,
    pub(super) tunnel: bool,
    /// The sequence number of the last packet that was sent under it.
    pub(super) sent: u64,
    /// The highest that was received.
    pub(super) received: u64,
}

/// All ESP SAs of a host.
///
/// # Errors
/// When `ip` cannot be run.
pub(super) fn read(host: &Host) -> Result<Vec<Sa>, LabError> {
    let text = ask(host, &["-oneline", "xfrm", "state", "list", "nokeys"])?;
    Ok(text.lines().filter_map(parse).collect())
}

/// What `ip` says in a host.
///
/// # Errors
/// When it cannot be run, or refuses.
pub(super) fn ask(host: &Host, words: &[&str]) -> Result<String, LabError> {
    let fail = |e| LabError::system(format!("{}: ip {}", host.name(), words.join(" ")), e);
    let output = host.enter(|| Command::new("ip").args(words).output())?.map_err(fail)?;
    if !output.status.success() {
        return Err(fail(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The SPIs of some SAs; a pair in both directions has two.
pub(super) fn spis(sas: &[Sa]) -> BTreeSet<u32> {
    sas.iter().map(|sa| sa.spi).collect()
}

/// Why `after` is not `before` moved to `care_of`; nothing if it is.
pub(super) fn not_migrated(before: &[Sa], after: &[Sa], care_of: Ipv6Addr, soft: bool) -> Option<String> {
    if spis(before) != spis(after) {
        return Some(format!("SPIs were {} and are {}", hex(&spis(before)), hex(&spis(after))));
    }
    for old in before {
        let mut now = after.iter().filter(|sa| sa.spi == old.spi);
        let there = |sa: &Sa| !sa.tunnel || sa.source == care_of || sa.destination == care_of;
        let Some(moved) = now.clone().find(|sa| there(sa)) else {
            return Some(format!("SA {:08x} is not at {care_of}", old.spi));
        };
        // In a soft handover the inbound ones are at both addresses for a while.
        if !soft && now.any(|sa| !there(sa)) {
            return Some(format!("SA {:08x} is at its old address still", old.spi));
        }
        if moved.sent < old.sent || moved.received < old.received {
            return Some(format!(
                "SA {:08x} counts anew: {}/{} after {}/{}",
                old.spi, moved.sent, moved.received, old.sent, old.received
            ));
        }
    }
    None
}

fn hex(spis: &BTreeSet<u32>) -> String {
    spis.iter().map(|spi| format!("{spi:08x}")).collect::<Vec<_>>().join(" ")
}

/// A line of `ip -oneline xfrm state`.
fn parse(line: &str) -> Option<Sa> {
    let words: Vec<&str> = line.split([' ', '\t', '\\', ',']).filter(|word| !word.is_empty()).collect();
    let value = |words: &[&str], name: &str| {
        words.iter().skip_while(|word| **word != name).nth(1).map(|word| (*word).to_owned())
    };
    let number = |text: String| u64::from_str_radix(text.split('(').next()?.strip_prefix("0x")?, 16).ok();
    if value(&words, "proto")? != "esp" {
        return None;
    }
    let context = words.iter().position(|word| *word == "anti-replay").unwrap_or(words.len());
    let counters = words.get(context..).unwrap_or_default();
    let counter = |low: &str, high: &str| {
        let part = |name: &str| value(counters, name).and_then(number).unwrap_or_default();
        (part(high) << 32) | part(low)
    };
    Some(Sa {
        source: value(&words, "src")?.parse().ok()?,
        destination: value(&words, "dst")?.parse().ok()?,
        spi: u32::try_from(value(&words, "spi").and_then(number)?).ok()?,
        tunnel: value(&words, "mode")? == "tunnel",
        sent: counter("oseq", "oseq-hi"),
        received: counter("seq", "seq-hi"),
    })
}
