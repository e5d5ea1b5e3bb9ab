//! What happens, step by step.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv6Addr;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use serde_json::{Map, Value, json};

use super::handover::{Arrival, Journey, PATIENCE, link_name};
use super::stage::{Flows, Stage};
use super::wire::{self, What};
use super::{Moment, Place, Story, Summary, milliseconds, sas};
use crate::lab::attached::address;
use crate::lab::guest::LabError;
use crate::lab::service::{Auth, Service};
use crate::lab::topology::{HOME_AGENT, Link};

/// Between two movements, beside what is under way on the links.
const PAUSE: Duration = Duration::from_millis(300);
/// The SAs of RFC 4877 between a mobile node and its home agent: four pairs.
const SAS: usize = 8;
/// A stream that stood still for longer is not taken for alive.
const STREAM_ALIVE: Duration = Duration::from_secs(3);
/// What a process may take to end.
const END: Duration = Duration::from_secs(10);

pub(super) fn play(story: &Story, audience: &mut dyn FnMut(&Moment)) -> Summary {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut summary = Summary { kernel: release.trim().to_owned(), ..Summary::default() };
    let result = Stage::set(story, audience).and_then(|stage| Play::begin(story, stage)?.play(&mut summary));
    if let Err(error) = result {
        summary.expect("the story comes to its end", Some(error.to_string()));
    }
    summary
}

struct Play<'a> {
    story: &'a Story,
    stage: Stage<'a>,
    home_agent: Service,
    mobile_node: Service,
    home_address: Ipv6Addr,
    here: Link,
    counted: SystemTime,
}

impl<'a> Play<'a> {
    /// The mobile node attaches for the first time.
    fn begin(story: &'a Story, mut stage: Stage<'a>) -> Result<Self, LabError> {
        let delay = milliseconds(story.delay);
        let text = format!("home link, access links A and B, correspondent; {delay} ms one way to the home agent");
        stage.say(Place::Lab, "ready", text, fields(json!({ "delay_ms": delay, "soft": story.soft })));
        let home_agent = stage.run(Place::HomeAgent)?;
        let at = home_agent.wait("started", PATIENCE)?.at;
        let text = format!("home agent started: {HOME_AGENT}");
        stage.say_at(at, Place::HomeAgent, "started", text, fields(json!({ "address": HOME_AGENT })));
        let mobile_node = stage.run(Place::MobileNode)?;
        let care_of = mobile_node.wait("care_of_usable", PATIENCE)?;
        let text = format!("mobile node started on A: care-of address {}", care_of.text("care_of"));
        stage.say_at(
            care_of.at,
            Place::MobileNode,
            "care_of",
            text,
            fields(json!({ "address": care_of.text("care_of") })),
        );
        let event = mobile_node.wait("ike_established", PATIENCE)?;
        let (by, peer) = match story.auth {
            Auth::Psk => ("a shared secret", event.text("peer")),
            Auth::Certificate => ("certificates", event.text("peer")),
        };
        let peer = peer.trim_start_matches("fqdn:").to_owned();
        let text = format!("IKE SA with {peer} by {by}: IKE_SA_INIT and IKE_AUTH from the care-of address");
        stage.say_at(event.at, Place::MobileNode, "ike_established", text, fields(json!({ "peer": peer })));
        let event = mobile_node.wait("home_address", PATIENCE)?;
        let home_address = address(&event, "home_address")?;
        let text = format!("home address {home_address}, assigned by the home agent");
        let values = fields(json!({ "address": home_address }));
        stage.say_at(event.at, Place::MobileNode, "home_address", text, values);
        let bound = mobile_node.wait("bound", PATIENCE)?;
        let children = mobile_node.all("child");
        let purposes: Vec<String> = children.iter().map(|child| child.text("purpose").replace('-', " ")).collect();
        if let Some(last) = children.last() {
            let text = format!("a pair of SAs each for {}", purposes.join(", "));
            stage.say_at(last.at, Place::MobileNode, "children", text, fields(json!({ "purposes": purposes })));
        }
        let lifetime = bound.number("lifetime_s");
        let text = format!(
            "bound for {} s, after the home agent has probed for duplicates of the home address",
            lifetime.unwrap_or_default()
        );
        stage.say_at(bound.at, Place::MobileNode, "bound", text, fields(json!({ "lifetime_s": lifetime })));
        Ok(Self { story, stage, home_agent, mobile_node, home_address, here: Link::A, counted: SystemTime::now() })
    }

    fn play(mut self, summary: &mut Summary) -> Result<(), LabError> {
        self.wait_for_sas()?;
        let flows = Flows::start(&self.stage.scene, self.home_address)?;
        self.counted = flows.wait_for_both(PATIENCE)?;
        let text = "to and from the correspondent: ping, a TCP stream, a thousand datagrams a second each way";
        self.stage.say(Place::MobileNode, "flows", text.to_owned(), Map::new());

        let mut astray = Vec::new();
        let mut exchanges = Exchange::ALL.into_iter();
        for n in 1..=self.story.moves {
            let to = if self.here == Link::A { Link::B } else { Link::A };
            let arrival = self.travel(n, to, &flows)?;
            astray.extend(arrival.not_migrated.iter().map(|why| format!("handover {n}: {why}")));
            summary.handovers.push(arrival.handover);
            if let Some(exchange) = exchanges.next() {
                self.exchange(exchange, summary)?;
            }
        }
        for exchange in exchanges {
            self.exchange(exchange, summary)?;
        }
        let failure = (!astray.is_empty()).then(|| astray.join("; "));
        summary.expect("every handover: the same SAs go on at the new address, in both kernels", failure);
        self.go_home(summary, &flows)?;
        self.leave_home(summary, &flows)?;
        self.finish_flows(flows, summary);
        self.take_down(summary)
    }

    /// Moves, measures and tells it.
    fn travel(&mut self, n: u32, to: Link, flows: &Flows) -> Result<Arrival, LabError> {
        // What is under way on the links is not to be cut off by the next movement.
        std::thread::sleep(PAUSE + 4 * self.story.delay);
        let journey = Journey { n, from: self.here, to, counted: self.counted };
        let (mobile_node, home) = (&self.mobile_node, self.home_address);
        let arrival = journey.make(&mut self.stage, mobile_node, flows, home, self.story.soft)?;
        self.here = to;
        self.counted = arrival.counted;
        let handover = &arrival.handover;
        let text = format!(
            "{} → {}: {}; BU after {:.1} ms, BA after {:.1} ms; nothing up for {:.1} ms, nothing down for {:.1} ms",
            handover.from,
            handover.to,
            handover.cause,
            milliseconds(handover.update_sent),
            milliseconds(handover.acknowledged),
            milliseconds(handover.uplink_gap),
            milliseconds(handover.downlink_gap)
        );
        let mut values = handover.to_json();
        values.insert("address".to_owned(), json!(arrival.address));
        self.stage.say(Place::MobileNode, "handover", text, values);
        Ok(arrival)
    }

    /// An exchange over the IKE SA, from where the mobile node is now.
    fn exchange(&mut self, exchange: Exchange, summary: &mut Summary) -> Result<(), LabError> {
        let service = if exchange.place == Place::HomeAgent { &self.home_agent } else { &self.mobile_node };
        let mark = service.mark();
        let old = sas::spis(&sas::read(self.stage.host(exchange.place))?);
        service.signal(exchange.signal)?;
        let answered = service.wait_after(mark, exchange.answer, PATIENCE);
        let renewed = match (&answered, exchange.renews) {
            (Ok(_), true) => self.wait_for_renewal(&old).err(),
            _ => None,
        };
        let failure = answered.as_ref().err().or(renewed.as_ref()).map(ToString::to_string);
        summary.expect(format!("at the new address: {}", exchange.text), failure.clone());
        if failure.is_none() {
            let values = fields(json!({ "exchange": exchange.name, "link": link_name(self.here) }));
            self.stage.say(
                exchange.place,
                "ike_exchange",
                format!("{}, on {}", exchange.text, link_name(self.here)),
                values,
            );
        }
        Ok(())
    }

    /// Waits until both kernels hold the four pairs, and none of `old` among them.
    fn wait_for_renewal(&self, old: &BTreeSet<u32>) -> Result<(), LabError> {
        let end = Instant::now() + PATIENCE;
        loop {
            let mine = sas::spis(&sas::read(self.stage.host(Place::MobileNode))?);
            let theirs = sas::spis(&sas::read(self.stage.host(Place::HomeAgent))?);
            if mine == theirs && mine.len() == SAS && mine.is_disjoint(old) {
                return Ok(());
            }
            if Instant::now() >= end {
                let what = format!("new SAs in place of the old (there are {} and {})", mine.len(), theirs.len());
                return Err(LabError::TimedOut { what, within: PATIENCE });
            }
        }
    }

    fn wait_for_sas(&self) -> Result<(), LabError> {
        self.wait_for_renewal(&BTreeSet::new())
    }

    fn go_home(&mut self, summary: &mut Summary, flows: &Flows) -> Result<(), LabError> {
        let n = self.story.moves + 1;
        summary.home = Some(self.travel(n, Link::Home, flows)?.handover);
        let proxies = sas::ask(&self.stage.scene.ha, &["-6", "neighbour", "show", "proxy"])?;
        let home = self.home_address.to_string();
        let failure = proxies.contains(&home).then(|| format!("it still answers: {}", proxies.trim()));
        summary.expect("at home: the home agent answers for the home address no more", failure.clone());
        let mut tunnels = Vec::new();
        for place in [Place::MobileNode, Place::HomeAgent] {
            let policies = sas::ask(self.stage.host(place), &["-oneline", "xfrm", "policy", "list"])?;
            let left = policies.lines().filter(|line| line.contains("mode tunnel") && line.contains(&home)).count();
            if left > 0 {
                tunnels.push(format!("{} has {left}", place.name()));
            }
        }
        let failure = (!tunnels.is_empty()).then(|| tunnels.join(", "));
        summary.expect("at home: no tunnel policies on either side", failure);
        let kept = sas::spis(&sas::read(&self.stage.scene.mn)?).len();
        let failure = (kept != SAS).then(|| format!("there are {kept}"));
        summary.expect("at home: the SAs are kept for the next departure", failure);
        self.stage.say(
            Place::HomeAgent,
            "deregistered",
            "binding deleted, home address no longer defended, tunnel down".to_owned(),
            Map::new(),
        );
        Ok(())
    }

    fn leave_home(&mut self, summary: &mut Summary, flows: &Flows) -> Result<(), LabError> {
        let arrival = self.travel(self.story.moves + 2, Link::A, flows)?;
        let failure = arrival.not_migrated.clone();
        summary.expect("away again: the same SAs go on at the new address, in both kernels", failure);
        summary.away = Some(arrival.handover);
        Ok(())
    }

    fn finish_flows(&mut self, flows: Flows, summary: &mut Summary) {
        // What the last movement held up may still be repeated.
        let end = Instant::now() + STREAM_ALIVE;
        while !flows.stream.so_far().alive(SystemTime::now(), PAUSE) && Instant::now() < end {
            std::thread::sleep(PAUSE);
        }
        let (now, stream) = (SystemTime::now(), flows.stream.stop());
        let failure = (!stream.alive(now, STREAM_ALIVE)).then(|| format!("{stream:?}"));
        summary.expect("the TCP stream survives every movement, each octet right and in its place", failure);
        let (ping, up, down) = (flows.ping.stop(), flows.up.stop(), flows.down.stop());
        let doubled = up.duplicates + down.duplicates;
        summary.expect("no datagram arrives twice", (doubled > 0).then(|| format!("{doubled} did")));
        let stalls = [&stream.up, &stream.down].map(|direction| milliseconds(direction.longest_stall));
        let text = format!(
            "TCP alive after {} kB up and {} kB down; {} of {} pings answered",
            stream.up.octets / 1000,
            stream.down.octets / 1000,
            ping.delivered(),
            ping.datagrams.len()
        );
        let values = fields(json!({
            "tcp_octets_up": stream.up.octets, "tcp_octets_down": stream.down.octets,
            "tcp_longest_stall_up_ms": stalls[0], "tcp_longest_stall_down_ms": stalls[1],
            "pings": ping.datagrams.len(), "pings_answered": ping.delivered(),
            "datagrams_up": up.datagrams.len(), "datagrams_up_lost": up.lost(),
            "datagrams_down": down.datagrams.len(), "datagrams_down_lost": down.lost(),
        }));
        self.stage.say(Place::MobileNode, "flows_ended", text, values);
    }

    /// Both processes are told to stop, and everything is as it was.
    fn take_down(mut self, summary: &mut Summary) -> Result<(), LabError> {
        for (place, mut service) in [(Place::MobileNode, self.mobile_node), (Place::HomeAgent, self.home_agent)] {
            service.signal(Signal::SIGTERM)?;
            let status = service.wait_for_end(END)?;
            let mut wrong = Vec::new();
            if !status.success() {
                wrong.push(format!("{status}: {}", service.messages()));
            }
            for event in ["kernel_refused", "not_restored"] {
                wrong
                    .extend(service.all(event).iter().map(|event| format!("{} {}", event.name, event.text("failure"))));
            }
            let failure = (!wrong.is_empty()).then(|| wrong.join("; "));
            summary.expect(format!("{}: the kernel refused it nothing, and it ends well", name(place)), failure);
            self.stage.say(place, "stopped", format!("{} stopped by SIGTERM", name(place)), Map::new());
        }
        self.stage.plug_in_as_before()?;
        for (place, before) in &self.stage.before {
            let difference = before.difference(&self.stage.host(*place).snapshot()?);
            let failure = (!difference.is_empty()).then(|| format!("\n{}", difference.trim_end()));
            summary.expect(
                format!("{}: addresses, routes, rules, policies, SAs and settings as before", name(*place)),
                failure,
            );
        }
        self.stage.say(
            Place::Lab,
            "compared",
            "both kernels compared with what they were before the start".to_owned(),
            Map::new(),
        );
        self.stage.keep_keys()?;
        judge_links(&self.stage, summary);
        summary.judge_times(self.story.soft);
        Ok(())
    }
}

/// What passed the access links and the home link.
fn judge_links(stage: &Stage<'_>, summary: &mut Summary) {
    let mut begun = BTreeSet::new();
    let mut bare = 0;
    for (_, capture) in &stage.captures {
        for seen in capture.packets().iter().filter_map(wire::read) {
            match seen.what {
                What::IkeSaInit(spi) => drop(begun.insert(spi)),
                What::Bare => bare += 1,
                _ => {}
            }
        }
    }
    summary.ike_sa_inits = begun.len();
    let failure = (begun.len() != 1).then(|| format!("there were {}", begun.len()));
    summary.expect("one IKE_SA_INIT exchange in all, at the very beginning", failure);
    let failure = (bare > 0).then(|| format!("{bare} packets were bare"));
    summary.expect("no mobility signalling outside ESP on the access links and the home link", failure);
}

/// What an operator can have done over a standing IKE SA.
struct Exchange {
    place: Place,
    signal: Signal,
    /// The event that says that it was answered.
    answer: &'static str,
    renews: bool,
    name: &'static str,
    text: &'static str,
}

impl Exchange {
    const ALL: [Self; 3] = [
        Self {
            place: Place::MobileNode,
            signal: Signal::SIGUSR1,
            answer: "ike_alive",
            renews: false,
            name: "liveness",
            text: "the home agent answers a liveness check",
        },
        Self {
            place: Place::MobileNode,
            signal: Signal::SIGUSR2,
            answer: "ike_rekeyed",
            renews: true,
            name: "rekey",
            text: "new keys for the IKE SA and all four child SAs",
        },
        Self {
            place: Place::HomeAgent,
            signal: Signal::SIGUSR1,
            answer: "ike_alive",
            renews: false,
            name: "liveness",
            text: "the mobile node answers a liveness check",
        },
    ];
}

fn name(place: Place) -> &'static str {
    match place {
        Place::Lab => "lab",
        Place::HomeAgent => "home agent",
        Place::MobileNode => "mobile node",
    }
}

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
