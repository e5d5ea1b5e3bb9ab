//! What the design builds on (and works around) in Linux's IPsec, seen with our own executor.

use std::io::{ErrorKind, Read};
use std::net::SocketAddrV6;
use std::time::{Duration, Instant};

use homeward::kernel::Linux;
use homeward::kernel::op::{
    Direction, EspSa, Mode, Op, Policy, PolicyKey, PolicyType, Protocol, RouteOptimization, SaKey, Selector, Template,
    Verdict,
};
use homeward::lab::{Host, Lab};
use homeward::real_kernel_test;
use socket2::{Domain, Socket, Type};

use crate::support::*;

const MOBILITY_HEADER: u8 = 135;
const ICMPV6: u8 = 58;
/// What a packet that is dropped by IPsec is counted as.
const DROPS: [&str; 5] =
    ["XfrmInNoPols", "XfrmInTmplMismatch", "XfrmInPolBlock", "XfrmInNoStates", "XfrmInStateMismatch"];

/// A mobile node and its home agent on one link.
struct Two {
    _lab: Lab,
    mobile: Host,
    agent: Host,
}

#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Arrived,
    Dropped(&'static str),
}

impl Two {
    fn new() -> Self {
        let lab = Lab::new().unwrap();
        let (mobile, agent) = (lab.host("mobile").unwrap(), lab.host("agent").unwrap());
        let segment = lab.segment("link").unwrap();
        for host in [&mobile, &agent] {
            lab.connect(host, "eth0", &segment).unwrap();
        }
        mobile.address("eth0", "2001:db8:a::7/32").unwrap();
        mobile.address("lo", "2001:db8:1::2/128").unwrap();
        mobile.address("lo", "2001:db8:1::3/128").unwrap();
        agent.address("eth0", "2001:db8:1::1/32").unwrap();
        let two = Self { _lab: lab, mobile, agent };
        // A link that has just come up swallows packets; afterwards both know each other.
        let end = Instant::now() + Duration::from_secs(20);
        while two.fate(A, MOBILITY_HEADER, 1) != Some(Fate::Arrived) {
            assert!(Instant::now() < end, "nothing arrives");
        }
        two
    }

    fn open(&self) -> (Linux, Linux) {
        let open = |host: &Host| host.enter(|| Linux::open(&journal(host.name())).unwrap()).unwrap();
        (open(&self.mobile), open(&self.agent))
    }

    /// Sends a message of this type from an address of the mobile node to the agent; an error of sending is none.
    fn fate(&self, source: &str, protocol: u8, message_type: u8) -> Option<Fate> {
        let receiver = self.agent.enter(|| raw(AGENT, protocol)).unwrap();
        let counters = || self.agent.enter(|| DROPS.map(xfrm_counter)).unwrap();
        let before = counters();
        // A Mobility Header has its length and type where an ICMPv6 message has its code and checksum.
        let message = match protocol {
            MOBILITY_HEADER => [59, 1, message_type, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            _ => [message_type, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        };
        let sent = self.mobile.enter(|| {
            let to = SocketAddrV6::new(v6(AGENT), 0, 0, 0);
            raw(source, protocol).send_to(&message, &to.into())
        });
        sent.unwrap().ok()?;
        let at = if protocol == MOBILITY_HEADER { 2 } else { 0 };
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end {
            let mut octets = [0; 256];
            match (&receiver).read(&mut octets) {
                Ok(_) if octets[at] == message_type => return Some(Fate::Arrived),
                Ok(_) => {}
                Err(error) => assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}"),
            }
            let after = counters();
            if let Some(at) = (0..DROPS.len()).find(|at| after[*at] > before[*at]) {
                return Some(Fate::Dropped(DROPS[at]));
            }
        }
        panic!("what came of type {message_type} of {protocol} from {source} is not known");
    }
}

fn raw(address: &str, protocol: u8) -> Socket {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(i32::from(protocol).into())).unwrap();
    socket.bind(&SocketAddrV6::new(v6(address), 0, 0, 0).into()).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    socket
}

fn typed(message_type: u16, code: Option<u16>, from: &str, protocol: u8) -> Selector {
    Selector { source_port: Some(message_type), destination_port: code, ..selector(from, AGENT, protocol) }
}

fn block(direction: Direction, selector: Selector) -> Op {
    Op::SetPolicy(Policy { verdict: Verdict::Block, ..policy(direction, selector, 10, vec![]) })
}

fn gone(op: &Op) -> Op {
    match op {
        Op::SetPolicy(policy) => Op::DeletePolicy(policy.key),
        Op::SetRouteOptimization(state) => Op::DeleteSa(state.key),
        _ => panic!("{op:?}"),
    }
}

real_kernel_test!(mobility_header_types_are_told_apart_only_in_what_leaves, {
    let two = Two::new();
    let (mut mobile, mut agent) = two.open();
    let update = typed(5, None, A, MOBILITY_HEADER);
    let blocks = block(Direction::Out, update);
    done(&mut mobile, std::slice::from_ref(&blocks));
    assert_eq!(two.fate(A, MOBILITY_HEADER, 5), None, "it cannot be sent");
    assert_eq!(two.fate(A, MOBILITY_HEADER, 1), Some(Fate::Arrived));
    done(&mut mobile, &[gone(&blocks)]);
    // A policy for the type does not see what comes; one for every type does.
    done(&mut agent, &[block(Direction::In, update)]);
    assert_eq!(two.fate(A, MOBILITY_HEADER, 5), Some(Fate::Arrived));
    done(&mut agent, &[block(Direction::In, selector(A, AGENT, MOBILITY_HEADER))]);
    assert_eq!(two.fate(A, MOBILITY_HEADER, 5), Some(Fate::Dropped("XfrmInPolBlock")));
});

/// Everything of the home address goes out with a Home Address option, and is taken in with one.
fn with_option(two: &Two, mobile: &mut Linux, agent: &mut Linux, wild: &Op) {
    let option = |source, destination, optional| Template {
        protocol: Protocol::DestinationOptions,
        mode: Mode::RouteOptimization,
        source: at(source),
        destination: at(destination),
        reqid: 0,
        optional,
    };
    let sub = |direction, selector, template| {
        let key = PolicyKey { kind: PolicyType::Sub, direction, selector };
        Op::SetPolicy(Policy { key, priority: 10, verdict: Verdict::Allow(vec![template]) })
    };
    done(
        mobile,
        &[
            Op::SetRouteOptimization(option_state(A, false)),
            sub(Direction::Out, selector(HOME, AGENT, 0), option(HOME, AGENT, false)),
        ],
    );
    done(agent, &[sub(Direction::In, selector(HOME, AGENT, 0), option("::", "::", true))]);
    // Without a state for it nobody may use the option.
    assert_eq!(two.fate(HOME, ICMPV6, 146), Some(Fate::Dropped("XfrmInNoStates")));
    done(agent, std::slice::from_ref(wild));
    assert_eq!(two.fate(HOME, ICMPV6, 146), Some(Fate::Arrived));
}

fn wild() -> Op {
    let key = SaKey { protocol: Protocol::DestinationOptions, source: at("::"), destination: at("::"), spi: 0 };
    Op::SetRouteOptimization(RouteOptimization { key, care_of: v6("::"), wildcard: true })
}

real_kernel_test!(two_policies_together_see_a_prefix_solicitation_behind_a_home_address_option, {
    let two = Two::new();
    let (mut mobile, mut agent) = two.open();
    with_option(&two, &mut mobile, &mut agent, &wild());
    let esp = Template {
        protocol: Protocol::Esp,
        mode: Mode::Transport,
        source: at("::"),
        destination: at("::"),
        reqid: 0,
        optional: false,
    };
    let demand = |selector| Op::SetPolicy(policy(Direction::In, selector, 10, vec![esp]));
    let by_type = demand(typed(146, Some(0), HOME, ICMPV6));
    let by_garbage = demand(typed(58, Some(2), HOME, ICMPV6));
    let (mut seen_by_type, mut seen_by_garbage) = (Fate::Arrived, Fate::Dropped("XfrmInTmplMismatch"));
    if !is_6_1() {
        std::mem::swap(&mut seen_by_type, &mut seen_by_garbage);
    }
    done(&mut agent, std::slice::from_ref(&by_type));
    assert_eq!(two.fate(HOME, ICMPV6, 146), Some(seen_by_type));
    done(&mut agent, &[gone(&by_type), by_garbage]);
    assert_eq!(two.fate(HOME, ICMPV6, 146), Some(seen_by_garbage));
    done(&mut agent, &[by_type]);
    assert_eq!(two.fate(HOME, ICMPV6, 146), Some(Fate::Dropped("XfrmInTmplMismatch")));
});

real_kernel_test!(a_wild_state_serves_every_care_of_address_and_a_bound_one_its_own, {
    let two = Two::new();
    let (mut mobile, mut agent) = two.open();
    with_option(&two, &mut mobile, &mut agent, &wild());
    done(&mut agent, &[gone(&wild())]);
    let bound = |care_of: &str| Op::SetRouteOptimization(option_state(care_of, false));
    done(&mut agent, &[bound(A)]);
    assert_eq!(two.fate(HOME, ICMPV6, 146), Some(Fate::Arrived));
    // The state that is there gets another care-of address: UPDSA changes it in place.
    done(&mut agent, &[bound(B)]);
    assert_eq!(two.fate(HOME, ICMPV6, 146), Some(Fate::Dropped("XfrmInNoStates")));
    done(&mut agent, &[bound(A)]);
    assert_eq!(two.fate(HOME, ICMPV6, 146), Some(Fate::Arrived));
});

real_kernel_test!(an_sas_selector_binds_it_to_its_home_address, {
    let two = Two::new();
    let (mut mobile, mut agent) = two.open();
    // The mobile node sends for another home address, too, under its own SA.
    let out = |home| Op::SetPolicy(policy(Direction::Out, selector(home, AGENT, 0), 10, vec![tunnel(A, AGENT, 1)]));
    done(&mut mobile, &[Op::AddSa(sa(A, AGENT, 1, 1)), out(HOME), out("2001:db8:1::3")]);
    let accept = policy(Direction::In, selector("2001:db8:1::/64", "::/0", 0), 10, vec![tunnel("::", "::", 0)]);
    let open = EspSa { selector: selector("::/0", "::/0", 0), ..sa(A, AGENT, 1, 1) };
    done(&mut agent, &[Op::AddSa(open), Op::SetPolicy(accept)]);
    assert_eq!(two.fate(HOME, ICMPV6, 200), Some(Fate::Arrived));
    assert_eq!(two.fate("2001:db8:1::3", ICMPV6, 200), Some(Fate::Arrived), "without a selector it passes");
    let bound = EspSa { selector: selector(HOME, "::/0", 0), ..sa(A, AGENT, 1, 1) };
    // A window that is empty again would take the next numbers anyway.
    done(&mut agent, &[Op::DeleteSa(bound.key), Op::AddSa(bound)]);
    assert_eq!(two.fate(HOME, ICMPV6, 200), Some(Fate::Arrived));
    assert_eq!(two.fate("2001:db8:1::3", ICMPV6, 200), Some(Fate::Dropped("XfrmInStateMismatch")));
});
