//! The scene with its two processes, the captures of its links, and the flows between the mobile node and the correspondent.

use std::fs;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::{Moment, Place, Story, wire};
use crate::lab::capture::Capture;
use crate::lab::flow::{PingFlow, UdpFlow};
use crate::lab::guest::LabError;
use crate::lab::host::Host;
use crate::lab::link::Move;
use crate::lab::service::{Configurations, MOBILE_NODE_ID, Node, Service};
use crate::lab::snapshot::Snapshot;
use crate::lab::stream::TcpFlow;
use crate::lab::topology::{CORRESPONDENT, HOME_AGENT, Link, Scene, SceneOptions};
use crate::lab::tree;

/// A thousand datagrams a second, each way: what a gap and a loss are measured with.
const INTERVAL: Duration = Duration::from_millis(1);
/// Octets of payload.
const SIZE: usize = 100;
const UDP_PORT: u16 = 4000;
const TCP_PORT: u16 = 4001;
const STREAM_INTERVAL: Duration = Duration::from_millis(20);
const PING_INTERVAL: Duration = Duration::from_millis(100);

/// A router answers a solicitation within half a second (RFC 4861 §6.2.6).
const ADVERTISED: Duration = Duration::from_secs(1);

/// Everything that is set up before the first process starts.
pub(super) struct Stage<'a> {
    pub(super) scene: Scene,
    pub(super) files: Configurations,
    /// The access links, where a mobile node's signalling passes.
    pub(super) captures: Vec<(Link, Capture)>,
    /// What nothing is asked of but its file.
    _others: Vec<Capture>,
    /// Asks the home agent from the access router, for the round trip between them.
    round_trips: PingFlow,
    /// The kernels' state before the start.
    pub(super) before: [(Place, Snapshot); 2],
    /// Which interface is in use, when there are two.
    second_in_use: bool,
    start: SystemTime,
    story: &'a Story,
    audience: &'a mut dyn FnMut(&Moment),
}

impl<'a> Stage<'a> {
    pub(super) fn set(story: &'a Story, audience: &'a mut dyn FnMut(&Moment)) -> Result<Self, LabError> {
        let options = SceneOptions {
            delay: story.delay,
            second_interface: story.soft,
            autoconfiguration: false,
            ..SceneOptions::default()
        };
        let scene = Scene::new(options)?;
        let folder = std::env::temp_dir().join("homeward-demo");
        let node = Node { interfaces: interfaces(story.soft), ..Node::default() };
        let files = Configurations::new(&folder, story.auth, &[node])?;
        if story.soft {
            // Of two links as good as each other the mobile node takes the one that came up last.
            files.change(&format!("{MOBILE_NODE_ID}.toml"), "preference = 2", "preference = 1")?;
            // An interface that had carrier once keeps its link-local address: it is to have it before the start too.
            scene.mn.move_second_to(Link::B)?;
            scene.mn.second()?.detach()?;
        }
        if let Some(folder) = &story.captures {
            fs::create_dir_all(folder).map_err(|e| LabError::file(folder, e))?;
        }
        let file = |link: Link| story.captures.as_ref().map(|folder| folder.join(format!("{}.pcap", link.name())));
        let capture = |host: &Host, interface: &str, link: Link, keep| {
            Capture::start_keeping(host, interface, file(link).as_deref(), keep)
        };
        let captures = vec![
            (Link::A, capture(&scene.r, "eth-a", Link::A, wire::AWAY)?),
            (Link::B, capture(&scene.r, "eth-b", Link::B, wire::AWAY)?),
            (Link::Home, capture(&scene.ha, "home0", Link::Home, wire::AT_HOME)?),
        ];
        let mut others = Vec::new();
        if story.captures.is_some() {
            others.push(capture(&scene.r, "eth-c", Link::C, &[])?);
            others.push(capture(&scene.r, "eth-f", Link::F, &[])?);
        }
        let round_trips = PingFlow::start(&scene.r, None, HOME_AGENT, PING_INTERVAL)?;
        let before = [(Place::HomeAgent, scene.ha.snapshot()?), (Place::MobileNode, scene.mn.snapshot()?)];
        Ok(Self {
            scene,
            files,
            captures,
            _others: others,
            round_trips,
            before,
            second_in_use: false,
            start: SystemTime::now(),
            story,
            audience,
        })
    }

    pub(super) fn host(&self, place: Place) -> &Host {
        match place {
            Place::Lab => &self.scene.r,
            Place::HomeAgent => &self.scene.ha,
            Place::MobileNode => &self.scene.mn,
        }
    }

    pub(super) fn run(&self, place: Place) -> Result<Service, LabError> {
        let name = if place == Place::HomeAgent { "ha" } else { MOBILE_NODE_ID };
        Service::start(&self.story.program, self.host(place), &self.files.folder().join(format!("{name}.toml")))
    }

    /// Tells the audience something that has just happened.
    pub(super) fn say(&mut self, place: Place, event: &'static str, text: String, fields: Map<String, Value>) {
        self.say_at(SystemTime::now(), place, event, text, fields);
    }

    pub(super) fn say_at(
        &mut self,
        at: SystemTime,
        place: Place,
        event: &'static str,
        text: String,
        fields: Map<String, Value>,
    ) {
        let at = at.duration_since(self.start).unwrap_or_default();
        (self.audience)(&Moment { at, place, event, text, fields });
    }

    /// The capture of a link on which the mobile node can be.
    pub(super) fn capture(&self, link: Link) -> Result<&Capture, LabError> {
        let found = self.captures.iter().find(|(of, _)| *of == link).map(|(_, capture)| capture);
        found.ok_or_else(|| {
            LabError::system(
                format!("the capture of {}", link.name()),
                std::io::Error::from(std::io::ErrorKind::NotFound),
            )
        })
    }

    /// The mobile node gets to a link: with one interface, by losing the other; with two, on the one that is idle.
    pub(super) fn go(&mut self, from: Link, to: Link) -> Result<Move, LabError> {
        if !self.story.soft {
            return self.scene.mn.move_to(to);
        }
        let (eth0, eth1) = (self.scene.mn.eth0(), self.scene.mn.second()?);
        let (used, idle) = if self.second_in_use { (eth1, eth0) } else { (eth0, eth1) };
        idle.detach()?;
        self.second_in_use = !self.second_in_use;
        let mut left = SystemTime::now();
        idle.attach(self.scene.segment(to)?)?;
        if from == Link::Home {
            // Home is left only when it is gone; by then the other link has advertised itself.
            std::thread::sleep(ADVERTISED);
            left = SystemTime::now();
            used.detach()?;
        }
        Ok(Move { left, arrived: SystemTime::now() })
    }

    /// Plugs the mobile node in as it was at the beginning.
    pub(super) fn plug_in_as_before(&self) -> Result<(), LabError> {
        if self.story.soft {
            self.scene.mn.second()?.detach()?;
        }
        self.scene.mn.move_to(Link::A).map(drop)
    }

    /// The median round trip between access router and home agent.
    pub(super) fn round_trip(&self) -> Duration {
        let mut delays = self.round_trips.so_far().delays();
        delays.sort_unstable();
        delays.get(delays.len() / 2).copied().unwrap_or_default()
    }

    /// Copies the logged keys beside the captures.
    pub(super) fn keep_keys(&self) -> Result<(), LabError> {
        let Some(folder) = &self.story.captures else { return Ok(()) };
        let own = self.files.folder();
        for entry in fs::read_dir(own).map_err(|e| LabError::file(own, e))?.filter_map(Result::ok) {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "keys") {
                tree::copy(&path, &folder.join(entry.file_name())).map_err(|e| LabError::file(&path, e))?;
            }
        }
        Ok(())
    }
}

fn interfaces(soft: bool) -> Vec<String> {
    let names: &[&str] = if soft { &["eth0", "eth1"] } else { &["eth0"] };
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// What goes on between the home address and the correspondent all the time.
pub(super) struct Flows {
    pub(super) up: UdpFlow,
    pub(super) down: UdpFlow,
    pub(super) stream: TcpFlow,
    pub(super) ping: PingFlow,
}

impl Flows {
    pub(super) fn start(scene: &Scene, home: Ipv6Addr) -> Result<Self, LabError> {
        let at = |address, port| SocketAddrV6::new(address, port, 0, 0);
        let stream =
            TcpFlow::start((&scene.mn, at(home, 0)), (&scene.cn, at(CORRESPONDENT, TCP_PORT)), STREAM_INTERVAL)?;
        let ping = PingFlow::start(&scene.mn, Some(home), CORRESPONDENT, PING_INTERVAL)?;
        let [up, down] = UdpFlow::both_ways((&scene.mn, home), (&scene.cn, CORRESPONDENT), UDP_PORT, INTERVAL, SIZE)?;
        Ok(Self { up, down, stream, ping })
    }

    /// Waits until datagrams sent from now on arrive in both directions, and says when now was.
    pub(super) fn wait_for_both(&self, within: Duration) -> Result<SystemTime, LabError> {
        let now = SystemTime::now();
        let lost = |direction: &str| {
            let what = format!("a datagram from {direction}");
            move |_| LabError::TimedOut { what, within }
        };
        self.up.wait_for_one_sent_after(now, within).map_err(lost("the mobile node to the correspondent"))?;
        self.down.wait_for_one_sent_after(now, within).map_err(lost("the correspondent to the mobile node"))?;
        Ok(now)
    }
}
