//! What the kernel threw away for the sake of IPsec: its own counters, read now and then, because nothing else tells that a peer was
//! refused before we saw its packet.

use std::collections::BTreeMap;
use std::fs;

/// `/proc/net/xfrm_stat`, there if the kernel has CONFIG_XFRM_STATISTICS.
const COUNTERS: &str = "/proc/thread-self/net/xfrm_stat";

/// Why packets were dropped, in words; whether somebody means ill, for the others happen to the honest too.
const REASONS: [(&str, &str, bool); 7] = [
    ("XfrmInStateMismatch", "under an SA that is another's: it is not for the addresses in the packet", true),
    ("XfrmInTmplMismatch", "without the protection that the policy demands", true),
    ("XfrmInStateSeqError", "received before (replayed), or too old", true),
    ("XfrmInStateProtoError", "not authentic: changed on its way, or under another key", true),
    ("XfrmInPolBlock", "blocked by a policy", true),
    ("XfrmInNoPols", "protected, but there is no policy for it", false),
    ("XfrmInNoStates", "under an SA that does not exist (any more)", false),
];

/// A number of packets with one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// How many since the last look.
    pub packets: u64,
    /// Why.
    pub reason: &'static str,
    /// Whether only somebody who means ill, or something broken, sends such packets.
    pub suspicious: bool,
}

/// The counters of this thread's network namespace, as of the last look.
#[derive(Debug)]
pub struct Drops(BTreeMap<String, u64>);

impl Drops {
    /// Counts from now on.
    pub fn new() -> Self {
        Self(counters(&fs::read_to_string(COUNTERS).unwrap_or_default()))
    }

    /// What was dropped since the last look; nothing on a kernel that does not count.
    pub fn look(&mut self) -> Vec<Dropped> {
        self.since(counters(&fs::read_to_string(COUNTERS).unwrap_or_default()))
    }

    fn since(&mut self, now: BTreeMap<String, u64>) -> Vec<Dropped> {
        let before = std::mem::replace(&mut self.0, now);
        let count = |counters: &BTreeMap<String, u64>, name: &str| counters.get(name).copied().unwrap_or(0);
        let each = REASONS.iter().map(|(name, reason, suspicious)| Dropped {
            packets: count(&self.0, name).saturating_sub(count(&before, name)),
            reason,
            suspicious: *suspicious,
        });
        each.filter(|dropped| dropped.packets > 0).collect()
    }
}

impl Default for Drops {
    fn default() -> Self {
        Self::new()
    }
}

fn counters(text: &str) -> BTreeMap<String, u64> {
    let counter = |line: &str| {
        let (name, value) = line.split_once(char::is_whitespace)?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(counter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_came_since_the_last_look_is_told_with_its_reason() {
        let text = |mismatch: u64| format!("XfrmInError             \t4\nXfrmInStateMismatch     \t{mismatch}\n");
        let mut drops = Drops(counters(&text(3)));
        assert_eq!(drops.since(counters(&text(3))), []);
        let [dropped] = drops.since(counters(&text(5)))[..] else { panic!("one reason") };
        assert_eq!((dropped.packets, dropped.suspicious), (2, true));
        assert!(dropped.reason.contains("another's"));
        assert_eq!(drops.since(counters(&text(5))), []);
        // The counters of a kernel that has none, or that were set back.
        assert_eq!(drops.since(BTreeMap::new()), []);
    }
}
