//! The standard scene: a home link with its home agent, a core router with three access links, a correspondent, a mobile node.
//!
//! ```text
//!  2001:db8:1::/64 HOME ──home0 [ha] eth0── F 2001:db8:f::/64 ──eth-f [r]──┬─eth-a── A 2001:db8:a::/64 ── [mn] eth0
//!                                                                          ├─eth-b── B 2001:db8:b::/64
//!                                                                          └─eth-c── C 2001:db8:c::/64 ── [cn] eth0
//! ```
//!
//! The router advertises on A and B. The delay lies on F, so that it counts between home agent and everyone else, once each way.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv6Addr;
use std::ops::Deref;
use std::process::Command;
use std::time::Duration;

use super::capture::{Capture, Packet};
use super::guest::LabError;
use super::host::{Host, Lab};
use super::link::{Impairment, Move, Port, Segment};
use super::process::Process;

/// The home agent, on its home link.
pub const HOME_AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
/// The home network's prefix, of 64 bits.
pub const HOME_PREFIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0);
/// The home agent's address on F.
pub const HOME_AGENT_OUTSIDE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 2);
/// The correspondent, on C.
pub const CORRESPONDENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 5);

/// What radvd and the first router advertisements may take.
const ADVERTISING: Duration = Duration::from_secs(10);
/// ICMPv6 router advertisement (RFC 4861 §4.2).
const ROUTER_ADVERTISEMENT: u8 = 134;

/// The links of the scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Link {
    /// The home link, 2001:db8:1::/64.
    Home,
    /// An access link with router advertisements, 2001:db8:a::/64.
    A,
    /// The other one, 2001:db8:b::/64.
    B,
    /// The correspondent's link, 2001:db8:c::/64.
    C,
    /// Between the router and the home agent, 2001:db8:f::/64.
    F,
}

impl Link {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Home, Self::A, Self::B, Self::C, Self::F];

    /// The prefix, of 64 bits.
    #[must_use]
    pub const fn prefix(self) -> Ipv6Addr {
        let site = match self {
            Self::Home => 1,
            Self::A => 0xa,
            Self::B => 0xb,
            Self::C => 0xc,
            Self::F => 0xf,
        };
        Ipv6Addr::new(0x2001, 0xdb8, site, 0, 0, 0, 0, 0)
    }

    /// The router's address on it: the core router's, at home the home agent's.
    #[must_use]
    pub const fn router(self) -> Ipv6Addr {
        let [a, b, site, ..] = self.prefix().segments();
        Ipv6Addr::new(a, b, site, 0, 0, 0, 0, 1)
    }

    /// Its bridge's name in the namespace `links`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::A => "a",
            Self::B => "b",
            Self::C => "c",
            Self::F => "f",
        }
    }
}

/// How the scene is to be.
#[derive(Clone, Debug)]
pub struct SceneOptions {
    /// One way between the home agent and everything beyond F.
    pub delay: Duration,
    /// Where the mobile node's `eth0` begins.
    pub start: Link,
    /// Whether the mobile node has an `eth1` too (attached to nothing until it is moved).
    pub second_interface: bool,
    /// Whether a radvd stands in for the home agent's own router advertisements on the home link.
    pub home_advertisements: bool,
    /// Whether the mobile node's kernel does duplicate address detection, which takes a second and more at each move.
    pub duplicate_address_detection: bool,
    /// Whether the mobile node's kernel listens to router advertisements by itself, as a Linux host does until a daemon is started.
    pub autoconfiguration: bool,
}

impl Default for SceneOptions {
    /// No delay, one interface on A, no advertisements at home, no duplicate address detection, autoconfiguration.
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            start: Link::A,
            second_interface: false,
            home_advertisements: false,
            duplicate_address_detection: false,
            autoconfiguration: true,
        }
    }
}

/// The scene, set up and advertising.
pub struct Scene {
    /// The mobile node, without any address of its own but link-local ones.
    pub mn: Mobile,
    /// The home agent's host: `home0` on the home link, `eth0` on F.
    pub ha: Host,
    /// The correspondent: `eth0` on C.
    pub cn: Host,
    /// The core router: `eth-a`, `eth-b`, `eth-c`, `eth-f`.
    pub r: Host,
    segments: BTreeMap<Link, Segment>,
    /// The router's and the home agent's end of F.
    core: Vec<Port>,
    options: SceneOptions,
    _advertisers: Vec<Process>,
    lab: Lab,
}

impl Scene {
    /// Sets it up; when this returns, routers have advertised and answer solicitations.
    ///
    /// # Errors
    /// When a part cannot be made; it needs root and the package radvd.
    pub fn new(options: SceneOptions) -> Result<Self, LabError> {
        let lab = Lab::new()?;
        let mut segments = BTreeMap::new();
        for link in Link::ALL {
            segments.insert(link, lab.segment(link.name())?);
        }
        let (r, ha, cn) = (lab.host("r")?, lab.host("ha")?, lab.host("cn")?);
        let plan = [
            (&r, "eth-a", Link::A, Link::A.router()),
            (&r, "eth-b", Link::B, Link::B.router()),
            (&r, "eth-c", Link::C, Link::C.router()),
            (&r, "eth-f", Link::F, Link::F.router()),
            (&ha, "home0", Link::Home, HOME_AGENT),
            (&ha, "eth0", Link::F, HOME_AGENT_OUTSIDE),
            (&cn, "eth0", Link::C, CORRESPONDENT),
        ];
        let mut core = Vec::new();
        for (host, interface, link, address) in plan {
            let port = lab.port(host, interface)?;
            if let Some(segment) = segments.get(&link) {
                port.attach(segment)?;
            }
            host.address(interface, &format!("{address}/64"))?;
            if link == Link::F {
                core.push(port);
            }
        }
        for router in [&r, &ha] {
            router.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        }
        r.route(&format!("{HOME_PREFIX}/64"), &HOME_AGENT_OUTSIDE.to_string())?;
        ha.route("default", &Link::F.router().to_string())?;
        cn.route("default", &Link::C.router().to_string())?;
        let mut advertisers = vec![advertise(&r, &[("eth-a", Link::A), ("eth-b", Link::B)], false)?];
        if options.home_advertisements {
            advertisers.push(advertise(&ha, &[("home0", Link::Home)], true)?);
        }
        let mn = Mobile::new(&lab, "mn", &options, &segments)?;
        let scene = Self { mn, ha, cn, r, segments, core, options, _advertisers: advertisers, lab };
        scene.set_delay(scene.options.delay)?;
        Ok(scene)
    }

    /// Another mobile node, with the same options but its own name and first link.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn add_mobile(&self, name: &str, start: Link) -> Result<Mobile, LabError> {
        Mobile::new(&self.lab, name, &SceneOptions { start, ..self.options.clone() }, &self.segments)
    }

    /// Another host on a link, with `eth0`, an address, and a default route by the link's router.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn add_host(&self, name: &str, link: Link, address: Ipv6Addr) -> Result<Host, LabError> {
        let host = self.lab.host(name)?;
        self.lab.connect(&host, "eth0", self.segment(link)?)?;
        host.address("eth0", &format!("{address}/64"))?;
        host.route("default", &link.router().to_string())?;
        Ok(host)
    }

    /// Sets the delay, one way, between the home agent and everything beyond F.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_delay(&self, delay: Duration) -> Result<(), LabError> {
        self.impair(Impairment { delay, loss: 0.0 })
    }

    /// Sets delay and loss, each way, between the home agent and everything beyond F.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn impair(&self, how: Impairment) -> Result<(), LabError> {
        self.core.iter().try_for_each(|port| port.impair_sent(how))
    }

    /// Captures on a whole link: what any host on it sends, with `sent` false.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn capture(&self, link: Link, file: Option<&std::path::Path>) -> Result<Capture, LabError> {
        Capture::start(self.lab.links(), link.name(), file)
    }

    /// The lab that the scene is built in.
    #[must_use]
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// A link, to attach something of one's own.
    ///
    /// # Errors
    /// Never for a link of the scene.
    pub fn segment(&self, link: Link) -> Result<&Segment, LabError> {
        find(&self.segments, link)
    }
}

/// A host that moves. It is used as the [`Host`] that it is.
pub struct Mobile {
    host: Host,
    eth0: Port,
    eth1: Option<Port>,
    segments: BTreeMap<Link, Segment>,
}

impl Mobile {
    fn new(
        lab: &Lab,
        name: &str,
        options: &SceneOptions,
        segments: &BTreeMap<Link, Segment>,
    ) -> Result<Self, LabError> {
        let host = lab.host(name)?;
        if options.duplicate_address_detection {
            for (item, value) in [("accept_dad", "1"), ("dad_transmits", "1")] {
                host.sysctl(&format!("net/ipv6/conf/default/{item}"), value)?;
            }
        }
        if !options.autoconfiguration {
            host.sysctl("net/ipv6/conf/default/accept_ra", "0")?;
        }
        let eth0 = lab.connect(&host, "eth0", find(segments, options.start)?)?;
        let eth1 = if options.second_interface { Some(lab.port(&host, "eth1")?) } else { None };
        Ok(Self { host, eth0, eth1, segments: segments.clone() })
    }

    /// Moves `eth0`: its carrier goes, and comes back on the other link.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn move_to(&self, link: Link) -> Result<Move, LabError> {
        self.eth0.move_to(find(&self.segments, link)?)
    }

    /// Moves `eth0` without a change of carrier.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn move_silently_to(&self, link: Link) -> Result<Move, LabError> {
        self.eth0.move_silently_to(find(&self.segments, link)?)
    }

    /// Attaches `eth1` to a link, from wherever it was.
    ///
    /// # Errors
    /// When there is no `eth1`, or the kernel refuses.
    pub fn move_second_to(&self, link: Link) -> Result<Move, LabError> {
        self.second()?.move_to(find(&self.segments, link)?)
    }

    /// `eth0`, to detach it or to make its link worse.
    #[must_use]
    pub fn eth0(&self) -> &Port {
        &self.eth0
    }

    /// `eth1`, if the scene has it.
    ///
    /// # Errors
    /// When it does not.
    pub fn second(&self) -> Result<&Port, LabError> {
        self.eth1.as_ref().ok_or_else(|| {
            LabError::system("the mobile node's eth1", std::io::Error::from(std::io::ErrorKind::NotFound))
        })
    }
}

impl Deref for Mobile {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.host
    }
}

fn find(segments: &BTreeMap<Link, Segment>, link: Link) -> Result<&Segment, LabError> {
    segments.get(&link).ok_or_else(|| {
        LabError::system(format!("link {}", link.name()), std::io::Error::from(std::io::ErrorKind::NotFound))
    })
}

/// Starts radvd and waits until it has advertised on every interface: from then on it answers solicitations.
fn advertise(host: &Host, interfaces: &[(&str, Link)], home_agent: bool) -> Result<Process, LabError> {
    let mut configuration = String::new();
    for (interface, link) in interfaces {
        configuration.push_str(&radvd_interface(interface, *link, home_agent));
    }
    let folder = std::env::temp_dir();
    let path = folder.join(format!("radvd-{}.conf", host.name()));
    fs::write(&path, configuration).map_err(|e| LabError::file(&path, e))?;
    let mut captures = Vec::new();
    for (interface, _) in interfaces {
        captures.push(Capture::start(host, interface, None)?);
    }
    let mut command = Command::new("radvd");
    command.args(["--nodaemon", "--logmethod", "stderr", "--config"]).arg(&path);
    command.arg("--pidfile").arg(folder.join(format!("radvd-{}.pid", host.name())));
    let process = host.spawn(command)?;
    for capture in captures {
        capture.wait_for("a router advertisement", ADVERTISING, is_router_advertisement).map_err(|late| {
            let said: Vec<String> = process.lines().into_iter().map(|line| line.text).collect();
            LabError::system(format!("{late}; radvd says {said:?}"), std::io::Error::from(std::io::ErrorKind::TimedOut))
        })?;
    }
    Ok(process)
}

/// Intervals as RFC 6275 §7.5 lets them be for mobile nodes, but not so short that a move is found without a solicitation.
fn radvd_interface(interface: &str, link: Link, home_agent: bool) -> String {
    let home = if home_agent { "AdvHomeAgentFlag on; AdvHomeAgentInfo on; HomeAgentLifetime 1800;" } else { "" };
    format!(
        "interface {interface} {{\n  AdvSendAdvert on; AdvIntervalOpt on; AdvDefaultLifetime 1800; {home}\n  \
         MinRtrAdvInterval 1; MaxRtrAdvInterval 3; MinDelayBetweenRAs 0.03;\n  \
         prefix {}/64 {{ AdvOnLink on; AdvAutonomous on; AdvRouterAddr on; AdvValidLifetime 3600; \
         AdvPreferredLifetime 1800; }};\n}};\n",
        if home_agent { link.router() } else { link.prefix() },
    )
}

/// Whether a packet is a router advertisement that the host itself sent.
fn is_router_advertisement(packet: &Packet) -> bool {
    // Ethernet header, IPv6 header without extensions, ICMPv6.
    packet.sent && packet.octets.get(20) == Some(&58) && packet.octets.get(54) == Some(&ROUTER_ADVERTISEMENT)
}
