//! What was expected of the story, and what came of it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Handover, milliseconds};

/// From the care-of address being usable to the binding update on the wire.
const UPDATE_WITHIN: Duration = Duration::from_millis(5);
/// How much longer than one round trip nothing may come down, and how long nothing may go up.
const GAP_BEYOND: Duration = Duration::from_millis(20);

/// What was to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// In words.
    pub what: String,
    /// Why it did not hold, if it did not.
    pub failure: Option<String>,
}

/// What came of a story.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// The kernel's release.
    pub kernel: String,
    /// How many IKE SAs were begun, counted on the access links.
    pub ike_sa_inits: usize,
    /// The handovers between the access links.
    pub handovers: Vec<Handover>,
    /// The return home.
    pub home: Option<Handover>,
    /// The departure from home.
    pub away: Option<Handover>,
    /// Everything that was expected, in the order in which it was judged.
    pub expectations: Vec<Expectation>,
}

/// The medians of some handovers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Medians {
    /// See [`Handover::rtt`].
    pub rtt: Duration,
    /// See [`Handover::link`].
    pub link: Duration,
    /// See [`Handover::address`].
    pub address: Duration,
    /// See [`Handover::update_sent`].
    pub update_sent: Duration,
    /// From the update to its acknowledgement on the access link.
    pub answer: Duration,
    /// See [`Handover::uplink_gap`].
    pub uplink_gap: Duration,
    /// See [`Handover::downlink_gap`].
    pub downlink_gap: Duration,
}

impl Summary {
    /// Whether all that was expected held, and the story came to its end.
    #[must_use]
    pub fn ok(&self) -> bool {
        !self.expectations.is_empty() && self.expectations.iter().all(|expectation| expectation.failure.is_none())
    }

    /// The medians of the handovers between the access links; none without any.
    #[must_use]
    pub fn medians(&self) -> Option<Medians> {
        let median = |of: fn(&Handover) -> Duration| {
            let mut times: Vec<Duration> = self.handovers.iter().map(of).collect();
            times.sort_unstable();
            let upper = *times.get(times.len() / 2)?;
            // Of an even number the two in the middle count.
            let lower = *times.get(times.len().checked_sub(1)? / 2)?;
            Some((lower + upper) / 2)
        };
        Some(Medians {
            rtt: median(|handover| handover.rtt)?,
            link: median(|handover| handover.link)?,
            address: median(|handover| handover.address)?,
            update_sent: median(|handover| handover.update_sent)?,
            answer: median(|handover| handover.acknowledged.saturating_sub(handover.update_sent))?,
            uplink_gap: median(|handover| handover.uplink_gap)?,
            downlink_gap: median(|handover| handover.downlink_gap)?,
        })
    }

    /// Notes what came of something that was expected.
    pub(super) fn expect(&mut self, what: impl Into<String>, failure: Option<String>) {
        self.expectations.push(Expectation { what: what.into(), failure });
    }

    /// Judges what is known only at the end.
    pub(super) fn judge_times(&mut self, soft: bool) {
        let Some(medians) = self.medians() else { return };
        for (what, took, bound) in [
            ("binding update on the wire", medians.update_sent, UPDATE_WITHIN),
            ("uplink gap", medians.uplink_gap, GAP_BEYOND),
            ("downlink gap", medians.downlink_gap, medians.rtt + GAP_BEYOND),
        ] {
            let bound_text = format!("{:.0} ms", milliseconds(bound));
            let failure = (took > bound).then(|| format!("it took {:.1} ms", milliseconds(took)));
            let round_trip = if what == "downlink gap" { ", one round trip and 20 ms" } else { "" };
            self.expect(format!("{what} within {bound_text}{round_trip} (median)"), failure);
        }
        if soft {
            let lost: usize = self.handovers.iter().map(|handover| handover.lost_up + handover.lost_down).sum();
            let failure = (lost > 0).then(|| format!("{lost} were lost"));
            self.expect("not one packet lost in either direction, of a thousand a second", failure);
        }
    }

    /// As the last JSON object of the demo.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let handover = |handover: &Handover| Value::Object(handover.to_json());
        let failures: Vec<String> = self.failures().collect();
        json!({
            "event": "summary", "ok": self.ok(), "kernel": self.kernel, "ike_sa_inits": self.ike_sa_inits,
            "handovers": self.handovers.iter().map(handover).collect::<Vec<_>>(),
            "home": self.home.as_ref().map(handover), "away": self.away.as_ref().map(handover),
            "failures": failures,
        })
    }

    /// What was expected and did not hold, and why.
    pub fn failures(&self) -> impl Iterator<Item = String> {
        self.expectations
            .iter()
            .filter_map(|expectation| expectation.failure.as_ref().map(|why| format!("{}: {why}", expectation.what)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(gaps: &[u64], lost: usize) -> Summary {
        let ms = Duration::from_millis;
        let handover = |gap: &u64| Handover {
            n: 1,
            from: "A",
            to: "B",
            cause: "carrier lost",
            rtt: ms(100),
            link: ms(5),
            address: ms(2),
            update_sent: ms(1),
            acknowledged: ms(104),
            uplink_gap: ms(2),
            downlink_gap: ms(*gap),
            lost_up: 0,
            lost_down: lost,
            migrated: Some(true),
            netlink_messages: 10,
        };
        Summary { handovers: gaps.iter().map(handover).collect(), ..Summary::default() }
    }

    fn judged(gaps: &[u64], lost: usize, soft: bool) -> Summary {
        let mut summary = summary(gaps, lost);
        summary.judge_times(soft);
        summary
    }

    #[test]
    fn the_median_is_judged_and_not_the_worst() {
        assert!(judged(&[105, 110, 900], 0, false).ok());
        let slow = judged(&[105, 121, 122], 0, false);
        assert!(!slow.ok());
        assert!(slow.failures().any(|failure| failure.contains("downlink gap") && failure.contains("121.0 ms")));
    }

    #[test]
    fn of_an_even_number_of_handovers_the_median_lies_between_the_two_in_the_middle() {
        assert_eq!(summary(&[100, 104, 108, 900], 0).medians().unwrap().downlink_gap, Duration::from_millis(106));
        assert_eq!(summary(&[], 0).medians(), None);
    }

    #[test]
    fn a_lost_packet_is_a_failure_only_when_the_old_link_stayed() {
        assert!(judged(&[101], 1, false).ok());
        assert!(!judged(&[101], 1, true).ok());
    }

    #[test]
    fn a_story_that_proved_nothing_is_not_fine() {
        assert!(!Summary::default().ok());
        assert_eq!(Summary::default().to_json()["ok"], false);
    }
}
