//! What a handover cost, from the flows, the captures and the logs.

use std::net::Ipv6Addr;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::stage::{Flows, Stage};
use super::wire::{self, What};
use super::{Place, milliseconds, sas};
use crate::lab::attached::{address, is_on};
use crate::lab::guest::LabError;
use crate::lab::service::{Event, Service};
use crate::lab::topology::{HOME_AGENT, Link};

/// What a step of a handover may take before it counts as failed: the home agent probes for duplicates for a second when a binding
/// is new, and a lost update is repeated after a second.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What a handover cost. Times count from when the new care-of address (at home: the home address) is usable; those of link and
/// address lie before.
#[derive(Clone, Debug, PartialEq)]
pub struct Handover {
    /// Counted from 1.
    pub n: u32,
    /// The link that was left.
    pub from: &'static str,
    /// The link that was come to.
    pub to: &'static str,
    /// Why the mobile node moved.
    pub cause: &'static str,
    /// Between the access router and the home agent, there and back.
    pub rtt: Duration,
    /// From the cut of the old link (softly: the plugging in of the new one) to its carrier.
    pub link: Duration,
    /// From there until an address was usable: router solicitation, advertisement, address.
    pub address: Duration,
    /// Until the binding update passed the access link.
    pub update_sent: Duration,
    /// Until the binding acknowledgement passed it.
    pub acknowledged: Duration,
    /// Until the first uplink datagram was sent that arrived.
    pub uplink_gap: Duration,
    /// Until the first downlink datagram arrived.
    pub downlink_gap: Duration,
    /// Uplink datagrams that never arrived, of a thousand a second.
    pub lost_up: usize,
    /// Downlink datagrams that never arrived.
    pub lost_down: usize,
    /// Whether the SAs went on with their SPIs and counters at the new address, in both kernels; at home they rest.
    pub migrated: Option<bool>,
    /// Requests to the mobile node's kernel.
    pub netlink_messages: u64,
}

impl Handover {
    /// As a JSON object; times in milliseconds.
    #[must_use]
    pub fn to_json(&self) -> Map<String, Value> {
        let value = json!({
            "n": self.n, "from": self.from, "to": self.to, "cause": self.cause,
            "rtt_ms": milliseconds(self.rtt), "link_ms": milliseconds(self.link),
            "address_ms": milliseconds(self.address), "bu_sent_ms": milliseconds(self.update_sent),
            "ba_ms": milliseconds(self.acknowledged), "uplink_gap_ms": milliseconds(self.uplink_gap),
            "downlink_gap_ms": milliseconds(self.downlink_gap), "lost": self.lost_up + self.lost_down,
            "lost_up": self.lost_up, "lost_down": self.lost_down, "migrated": self.migrated,
            "netlink_messages": self.netlink_messages,
        });
        match value {
            Value::Object(fields) => fields,
            _ => Map::new(),
        }
    }
}

/// A handover's name for the reader.
pub(super) fn link_name(link: Link) -> &'static str {
    match link {
        Link::Home => "home",
        Link::A => "A",
        Link::B => "B",
        Link::C => "C",
        Link::F => "F",
    }
}

/// A movement under way.
pub(super) struct Journey {
    pub(super) n: u32,
    pub(super) from: Link,
    pub(super) to: Link,
    /// Up to when losses were counted before.
    pub(super) counted: SystemTime,
}

/// What a handover came to.
pub(super) struct Arrival {
    pub(super) handover: Handover,
    /// The new care-of address, or at home the home address.
    pub(super) address: Ipv6Addr,
    /// Up to when losses are counted now.
    pub(super) counted: SystemTime,
    /// Why the SAs are not where they should be.
    pub(super) not_migrated: Option<String>,
}

impl Journey {
    /// Moves the mobile node and measures what it costs.
    pub(super) fn make(
        &self,
        stage: &mut Stage<'_>,
        mobile_node: &Service,
        flows: &Flows,
        home_address: Ipv6Addr,
        soft: bool,
    ) -> Result<Arrival, LabError> {
        let at_home = self.to == Link::Home;
        let before = [sas::read(stage.host(Place::MobileNode))?, sas::read(stage.host(Place::HomeAgent))?];
        let mark = mobile_node.mark();
        let moved = stage.go(self.from, self.to)?;
        let (registered, usable, at) = if at_home {
            let registered = mobile_node.wait_after(mark, "unbound", PATIENCE)?;
            (registered, mobile_node.wait_after(mark, "relocate", PATIENCE)?, home_address)
        } else {
            let here = |event: &Event| address(event, "care_of").is_ok_and(|at| is_on(at, self.to));
            let registered = mobile_node.wait_for(mark, "bound", PATIENCE, here)?;
            let usable = mobile_node.wait_for(mark, "care_of_usable", PATIENCE, here)?;
            let at = address(&usable, "care_of")?;
            (registered, usable, at)
        };
        let moved_on = mobile_node.wait_after(mark, "relocate", PATIENCE)?;
        // What it heard of its links last before it moved: the new one's carrier, or that the old one is gone.
        let heard = mobile_node.events().into_iter().rev().find(|event| {
            ["link_up", "link_down"].contains(&event.name.as_str()) && event.at >= moved.left && event.at <= usable.at
        });
        let heard = heard.map_or(usable.at, |event| event.at);
        let (update, acknowledgement) = self.signalling(stage, at, usable.at)?;
        let counted = flows.wait_for_both(PATIENCE)?;
        let (uplink_gap, downlink_gap) = self.gaps(flows, usable.at, counted)?;
        let not_migrated = if at_home { None } else { moved_wrongly(stage, &before, at, soft)? };
        let since = |at: SystemTime| at.duration_since(usable.at).unwrap_or_default();
        let handover = Handover {
            n: self.n,
            from: link_name(self.from),
            to: link_name(self.to),
            cause: cause(self.to, &moved_on),
            rtt: stage.round_trip(),
            link: heard.duration_since(moved.left).unwrap_or_default(),
            address: usable.at.duration_since(heard).unwrap_or_default(),
            update_sent: since(update),
            acknowledged: since(acknowledgement),
            uplink_gap,
            downlink_gap,
            lost_up: flows.up.between(self.counted, counted).lost(),
            lost_down: flows.down.between(self.counted, counted).lost(),
            migrated: (!at_home).then_some(not_migrated.is_none()),
            netlink_messages: registered.number("netlink_messages").unwrap_or_default(),
        };
        Ok(Arrival { handover, address: at, counted, not_migrated })
    }

    /// When the binding update and its acknowledgement passed the new link.
    fn signalling(
        &self,
        stage: &Stage<'_>,
        address: Ipv6Addr,
        usable: SystemTime,
    ) -> Result<(SystemTime, SystemTime), LabError> {
        let (update, acknowledgement) =
            if self.to == Link::Home { (What::Esp, What::Esp) } else { (What::FromCareOf, What::ToCareOf) };
        let capture = stage.capture(self.to)?;
        let find =
            |name: &str, from: SystemTime, source: Option<Ipv6Addr>, destination: Option<Ipv6Addr>, what: What| {
                capture.wait_for(name, PATIENCE, |packet| {
                    packet.at >= from
                        && wire::read(packet).is_some_and(|seen| {
                            seen.what == what
                                && source.is_none_or(|source| seen.source == source)
                                && destination.is_none_or(|destination| seen.destination == destination)
                        })
                })
            };
        let sent = find("a binding update", usable, Some(address), Some(HOME_AGENT), update)?.at;
        let answered = find("a binding acknowledgement", sent, Some(HOME_AGENT), Some(address), acknowledgement)?.at;
        Ok((sent, answered))
    }

    fn gaps(&self, flows: &Flows, usable: SystemTime, counted: SystemTime) -> Result<(Duration, Duration), LabError> {
        let never = || LabError::TimedOut { what: "a datagram after the handover".to_owned(), within: PATIENCE };
        let up = flows.up.between(usable, counted + PATIENCE).first_delivered_after(usable).ok_or_else(never)?.sent;
        // What arrives afterwards may have been sent before.
        let down = flows.down.between(self.counted, counted + PATIENCE).datagrams.into_iter();
        let down = down.filter_map(|datagram| datagram.received).filter(|at| *at >= usable).min().ok_or_else(never)?;
        let since = |at: SystemTime| at.duration_since(usable).unwrap_or_default();
        Ok((since(up), since(down)))
    }
}

/// Why the SAs of either side are not at the new address.
fn moved_wrongly(
    stage: &Stage<'_>,
    before: &[Vec<sas::Sa>; 2],
    address: Ipv6Addr,
    soft: bool,
) -> Result<Option<String>, LabError> {
    for (place, before) in [Place::MobileNode, Place::HomeAgent].into_iter().zip(before) {
        let after = sas::read(stage.host(place))?;
        if let Some(why) = sas::not_migrated(before, &after, address, soft && place == Place::MobileNode) {
            return Ok(Some(format!("{}: {why}", place.name())));
        }
    }
    Ok(None)
}

/// What made the mobile node move, by its own log.
fn cause(to: Link, moved_on: &Event) -> &'static str {
    match (to, moved_on.text("soft").as_str()) {
        (Link::Home, _) => "home prefix",
        (_, "true") => "newer link",
        _ => "carrier lost",
    }
}
