//! How the demo is told: a timeline and a table for people, or a JSON object a line for programs.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};

use crate::lab::story::{Expectation, Handover, Medians, Moment, Story, Summary};
use crate::lab::{self};

/// Tells it on the standard output.
pub(super) struct Printer {
    json: bool,
}

impl Printer {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(super) fn title(&mut self, story: &Story) {
        if self.json {
            return;
        }
        let auth = match story.auth {
            lab::Auth::Psk => "a shared secret",
            lab::Auth::Certificate => "certificates",
        };
        let handovers = if story.moves == 1 { "One handover".to_owned() } else { format!("{} handovers", story.moves) };
        let link = if story.soft { "while the old link stays up" } else { "by loss of the old link" };
        let delay = story.delay.as_millis();
        line(&format!("{handovers} {link}; {auth}; {delay} ms one way between access routers and home agent.\n"));
        line("seconds  at   what happens");
    }

    pub(super) fn moment(&mut self, moment: &Moment) {
        if self.json {
            let mut object = moment.fields.clone();
            object.insert("event".into(), moment.event.into());
            object.insert("at".into(), moment.place.name().into());
            object.insert("t_ms".into(), json!((moment.at.as_secs_f64() * 1e6).round() / 1e3));
            object.insert("text".into(), moment.text.clone().into());
            line(&Value::Object(object).to_string());
        } else {
            line(&format!("{:7.3}  {:<4} {}", moment.at.as_secs_f64(), moment.place.name(), moment.text));
        }
    }

    pub(super) fn summary(&mut self, summary: &Summary) {
        if self.json {
            line(&summary.to_json().to_string());
            return;
        }
        if let Some(medians) = summary.medians() {
            table(summary, &medians);
        }
        line("\nExpected");
        for Expectation { what, failure } in &summary.expectations {
            line(&match failure {
                None => format!("  yes  {what}"),
                Some(why) => format!("  NO   {what}: {}", why.replace('\n', "\n         ")),
            });
        }
        let failed = summary.failures().count();
        line(&match failed {
            0 => format!("\nEvery expectation held, on Linux {}.", summary.kernel),
            1 => format!("\nOne expectation did not hold, on Linux {}.", summary.kernel),
            _ => format!("\n{failed} expectations did not hold, on Linux {}.", summary.kernel),
        });
    }
}

fn table(summary: &Summary, medians: &Medians) {
    line(
        "\nHandovers, in milliseconds. Link and address are the time until the new care-of address was usable; the four behind",
    );
    line("them count from there. Lost are datagrams of a thousand a second, up/down.\n");
    line(HEAD);
    for handover in &summary.handovers {
        line(&row(&handover.n.to_string(), handover));
    }
    line(&median_row(medians));
    for handover in summary.home.iter().chain(&summary.away) {
        line(&row("", handover));
    }
}

const HEAD: &str =
    "   #  from  to    cause           link  address  BU sent   BU→BA  gap up  gap down       lost  same SAs  netlink";

fn row(n: &str, handover: &Handover) -> String {
    let answer = handover.acknowledged.saturating_sub(handover.update_sent);
    let lost = format!("{}/{}", handover.lost_up, handover.lost_down);
    let migrated = match handover.migrated {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "at rest",
    };
    format!(
        "{n:>4}  {:<4}  {:<4}  {:<13} {:>6}  {:>7}  {:>7}  {:>6}  {:>6}  {:>8}  {lost:>9}  {migrated:>8}  {:>7}",
        handover.from,
        handover.to,
        handover.cause,
        ms(handover.link),
        ms(handover.address),
        ms(handover.update_sent),
        ms(answer),
        ms(handover.uplink_gap),
        ms(handover.downlink_gap),
        handover.netlink_messages,
    )
}

fn median_row(medians: &Medians) -> String {
    format!(
        "      median; round trip {:<10} {:>6}  {:>7}  {:>7}  {:>6}  {:>6}  {:>8}",
        ms(medians.rtt),
        ms(medians.link),
        ms(medians.address),
        ms(medians.update_sent),
        ms(medians.answer),
        ms(medians.uplink_gap),
        ms(medians.downlink_gap),
    )
}

fn ms(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1e3)
}

/// A reader that went away is no reason to stop.
fn line(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
