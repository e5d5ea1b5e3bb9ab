//! A host with an executor, and short names for the objects that the tests work with.

use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;

use homeward::kernel::op::{
    Direction, EspKeys, EspSa, Mode, Move, Net, Op, Policy, PolicyKey, PolicyType, Protocol, RouteOptimization, SaKey,
    Selector, Template, Verdict,
};
use homeward::kernel::{Failure, Kernel, Linux};
use homeward::lab::{Host, Lab, Segment};
use zeroize::Zeroizing;

/// The home agent, where tunnels end, too.
pub(crate) const AGENT: &str = "2001:db8:1::1";
/// The mobile node's home address.
pub(crate) const HOME: &str = "2001:db8:1::2";
/// Care-of addresses.
pub(crate) const A: &str = "2001:db8:a::7";
pub(crate) const B: &str = "2001:db8:b::7";
/// reqid of the payload tunnel.
pub(crate) const REQID: u32 = 0x1001;

/// One host with an interface `eth0`, and a folder for a journal.
pub(crate) struct Bed {
    pub(crate) lab: Lab,
    pub(crate) node: Host,
    pub(crate) segment: Segment,
    pub(crate) eth0: u32,
}

impl Bed {
    pub(crate) fn new() -> Self {
        let lab = Lab::new().unwrap();
        let node = lab.host("node").unwrap();
        let segment = lab.segment("link").unwrap();
        lab.connect(&node, "eth0", &segment).unwrap();
        node.address("eth0", "2001:db8:a::7/64").unwrap();
        node.address("eth0", "2001:db8:b::7/64").unwrap();
        let eth0 = node.interface("eth0").unwrap();
        Self { lab, node, segment, eth0 }
    }

    /// Runs a closure in the host, with an executor.
    pub(crate) fn run<T: Send>(&self, body: impl FnOnce(&mut Linux) -> T + Send) -> T {
        self.node.enter(|| body(&mut Linux::open(&journal("node")).unwrap())).unwrap()
    }

    /// Runs a closure in the host that must leave it as it was, once what is ours is gone.
    pub(crate) fn unchanged<T: Send>(&self, body: impl FnOnce(&mut Linux) -> T + Send) -> T {
        let before = self.node.snapshot().unwrap();
        let result = self.run(|linux| {
            let result = body(linux);
            linux.restore().unwrap();
            result
        });
        assert_eq!(before.difference(&self.node.snapshot().unwrap()), "");
        result
    }
}

/// The journal of a host: in memory, and gone with the guest.
pub(crate) fn journal(host: &str) -> PathBuf {
    Path::new("/run/homeward-test").join(host).join("kernel.journal")
}

/// What `ip` prints, in the namespace of this thread.
pub(crate) fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    printed.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
pub(crate) fn shows(arguments: &str, text: &str) {
    let printed = ip(arguments);
    assert!(printed.contains(text), "ip {arguments} does not show {text:?} but\n{printed}");
}

#[track_caller]
pub(crate) fn hides(arguments: &str, text: &str) {
    let printed = ip(arguments);
    assert!(!printed.contains(text), "ip {arguments} shows {text:?}:\n{printed}");
}

/// Carries out what must not fail.
#[track_caller]
pub(crate) fn done(linux: &mut Linux, batch: &[Op]) -> u32 {
    match linux.apply(batch) {
        Ok(done) => done.messages,
        Err(failure) => panic!("{failure}"),
    }
}

/// Carries out what must fail, and must be undone as a whole.
#[track_caller]
pub(crate) fn refused(linux: &mut Linux, batch: &[Op]) -> Failure {
    match linux.apply(batch) {
        Ok(_) => panic!("it was not refused"),
        Err(failure) => {
            assert_eq!(failure.left_behind, Vec::<String>::new(), "{failure}");
            failure
        }
    }
}

pub(crate) fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

pub(crate) fn at(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// An address with a length; without one it is whole.
pub(crate) fn net(text: &str) -> Net {
    let (address, len) = text.split_once('/').unwrap_or((text, "128"));
    Net { address: at(address), len: len.parse().unwrap() }
}

pub(crate) fn selector(source: &str, destination: &str, protocol: u8) -> Selector {
    Selector { source: net(source), destination: net(destination), protocol, source_port: None, destination_port: None }
}

pub(crate) fn key(source: &str, destination: &str, spi: u32) -> SaKey {
    SaKey { protocol: Protocol::Esp, source: at(source), destination: at(destination), spi }
}

/// An ESP SA in tunnel mode for anything.
pub(crate) fn sa(source: &str, destination: &str, spi: u32, reqid: u32) -> EspSa {
    EspSa {
        key: key(source, destination, spi),
        mode: Mode::Tunnel,
        reqid,
        selector: selector("::/0", "::/0", 0),
        keys: EspKeys::AesGcm16(Zeroizing::new((0..36).map(|at| at ^ 0x5a).collect())),
        replay_window: 32,
        esn: false,
        encapsulation: None,
    }
}

pub(crate) fn tunnel(source: &str, destination: &str, reqid: u32) -> Template {
    Template {
        protocol: Protocol::Esp,
        mode: Mode::Tunnel,
        source: at(source),
        destination: at(destination),
        reqid,
        optional: false,
    }
}

pub(crate) fn policy(direction: Direction, selector: Selector, priority: u32, templates: Vec<Template>) -> Policy {
    let key = PolicyKey { kind: PolicyType::Main, direction, selector };
    Policy { key, priority, verdict: Verdict::Allow(templates) }
}

/// The policy for what leaves a home address through its tunnel.
pub(crate) fn payload(care_of: &str) -> Policy {
    policy(Direction::Out, selector(HOME, "::/0", 0), 100, vec![tunnel(care_of, AGENT, REQID)])
}

/// A policy without a template, for any host.
pub(crate) fn pass(host: &str) -> Policy {
    policy(Direction::Out, selector(host, "::/0", 0), 50, Vec::new())
}

pub(crate) fn outbound(from: &str, to: &str) -> Move {
    Move { from: (at(from), at(AGENT)), to: (at(to), at(AGENT)), reqid: REQID }
}

pub(crate) fn inbound(from: &str, to: &str) -> Move {
    Move { from: (at(AGENT), at(from)), to: (at(AGENT), at(to)), reqid: REQID }
}

/// A tunnel of a home address at a care-of address: both SAs and the policy.
pub(crate) fn tunnel_pair(care_of: &str, spis: (u32, u32)) -> Vec<Op> {
    vec![
        Op::AddSa(sa(care_of, AGENT, spis.0, REQID)),
        Op::AddSa(sa(AGENT, care_of, spis.1, REQID)),
        Op::SetPolicy(payload(care_of)),
    ]
}

/// The state by which a home address stands for a care-of address.
pub(crate) fn option_state(care_of: &str, wildcard: bool) -> RouteOptimization {
    let key = SaKey { protocol: Protocol::DestinationOptions, spi: 0, ..key(HOME, AGENT, 0) };
    RouteOptimization { key, care_of: v6(care_of), wildcard }
}

/// A counter of `/proc/net/xfrm_stat`, of this thread's namespace.
pub(crate) fn xfrm_counter(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/xfrm_stat").unwrap();
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Whether this is Linux 6.1.
pub(crate) fn is_6_1() -> bool {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap().starts_with("6.1.")
}
