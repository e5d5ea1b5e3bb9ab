//! Each operation, seen from outside, and its undoing.

use homeward::kernel::op::{
    Address, Direction, EspKeys, EspSa, Mode, Op, Policy, PolicyKey, PolicyType, Protocol, Route, SaKey, Selector,
    Template, Verdict,
};
use homeward::real_kernel_test;
use zeroize::Zeroizing;

use crate::support::*;

const STATES: &str = "-6 xfrm state list";
const POLICIES: &str = "-6 xfrm policy list";

fn route(gateway: Option<&str>, interface: u32, metric: u32) -> Route {
    Route {
        destination: (v6("2001:db8:f::"), 48),
        gateway: gateway.map(v6),
        interface,
        preferred_source: Some(v6(A)),
        metric,
        local: false,
    }
}

real_kernel_test!(every_operation_is_seen_from_outside_and_restored, {
    let bed = Bed::new();
    bed.node.enter(|| ip("xfrm policy set hthresh6 120 110")).unwrap();
    let home = Address { interface: 1, address: v6(HOME), len: 128, home: true };
    let cbc =
        EspKeys::AesCbcHmacSha256 { encryption: Zeroizing::new(vec![1; 32]), integrity: Zeroizing::new(vec![2; 32]) };
    let eth0 = bed.eth0;
    let typed = Selector { source_port: Some(5), ..selector(HOME, AGENT, 135) };
    let option = Template {
        protocol: Protocol::DestinationOptions,
        mode: Mode::RouteOptimization,
        source: at(HOME),
        destination: at(AGENT),
        reqid: 0,
        optional: true,
    };
    let sub = Policy {
        key: PolicyKey { kind: PolicyType::Sub, direction: Direction::Out, selector: typed },
        priority: 10,
        verdict: Verdict::Allow(vec![option]),
    };
    let block =
        Policy { verdict: Verdict::Block, ..policy(Direction::Forward, selector("::/0", HOME, 0), 200, vec![]) };
    let neighbour = Op::SetNeighbour { interface: eth0, address: v6("2001:db8:a::9"), link_layer: [2, 0, 0, 0, 0, 9] };
    let setting = |value: &str| Op::Sysctl { path: "net/ipv6/conf/eth0/accept_ra".into(), value: value.into() };
    bed.unchanged(|linux| {
        // Each operation with where it is seen, and what is seen.
        let gcm = sa(A, AGENT, 0xabcd_0001, REQID);
        let steps: Vec<(Op, &str, &str)> = vec![
            (
                Op::SpdHash { local: 0, remote: 128 },
                "-s -s xfrm policy count",
                "SPD IPv6 thresholds: local 0 remote 128",
            ),
            (Op::AddSa(gcm), STATES, "spi 0xabcd0001 reqid 4097 mode tunnel replay-window 32"),
            (
                Op::AddSa(EspSa { keys: cbc, mode: Mode::Transport, ..sa(HOME, AGENT, 0xabcd_0002, 1) }),
                STATES,
                "spi 0xabcd0002 reqid 1 mode transport",
            ),
            (
                Op::AddSa(EspSa { esn: true, replay_window: 128, ..sa(A, AGENT, 0xabcd_0003, 7) }),
                STATES,
                "replay_window 128",
            ),
            (
                Op::AddSa(EspSa { encapsulation: Some((4500, 4501)), ..sa(A, AGENT, 0xabcd_0004, 8) }),
                STATES,
                "encap type espinudp sport 4500 dport 4501",
            ),
            (Op::AddSa(sa(AGENT, A, 0xabcd_0005, REQID)), STATES, "spi 0xabcd0005"),
            (Op::CopySa { from: key(AGENT, A, 0xabcd_0005), to: at(B) }, STATES, "src 2001:db8:1::1 dst 2001:db8:b::7"),
            (Op::SetRouteOptimization(option_state(A, false)), STATES, "proto hao reqid 0 mode ro"),
            (Op::SetRouteOptimization(option_state(A, true)), STATES, "flag wildrecv"),
            (Op::SetRouteOptimization(option_state(B, true)), STATES, "coa 2001:db8:b::7"),
            (
                Op::SetPolicy(payload(A)),
                POLICIES,
                "priority 100 ptype main tmpl src 2001:db8:a::7 dst 2001:db8:1::1 proto esp",
            ),
            (Op::SetPolicy(Policy { priority: 101, ..payload(A) }), POLICIES, "priority 101"),
            (Op::SetPolicy(sub), POLICIES, "type 5 dir out priority 10 ptype sub"),
            (Op::SetPolicy(block), POLICIES, "dir fwd action block"),
            (
                Op::Migrate { policy: payload(A).key, moves: vec![outbound(A, B)] },
                POLICIES,
                "tmpl src 2001:db8:b::7 dst 2001:db8:1::1",
            ),
            (Op::AddAddress(home), "-6 address show dev lo", "2001:db8:1::2/128 scope global nodad home"),
            (
                Op::SetRoute(route(None, eth0, 3)),
                "-6 route",
                "2001:db8:f::/48 dev eth0 proto 77 src 2001:db8:a::7 metric 3",
            ),
            (Op::SetRoute(route(Some("2001:db8:a::9"), eth0, 3)), "-6 route", "2001:db8:f::/48 via 2001:db8:a::9"),
            (
                Op::AddProxy { interface: eth0, address: v6(HOME) },
                "-6 neighbour show proxy",
                "2001:db8:1::2 dev eth0 proxy",
            ),
            (neighbour, "-6 neighbour show dev eth0", "2001:db8:a::9 lladdr 02:00:00:00:00:09"),
        ];
        for (op, where_, what) in steps {
            hides(where_, what);
            done(linux, &[op]);
            shows(where_, what);
        }
        done(linux, &[setting("0")]);
        assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv6/conf/eth0/accept_ra").unwrap().trim(), "0");
        shows(STATES, "coa 2001:db8:b::7");
        hides(STATES, "coa 2001:db8:a::7");
        // And away again, each by its own operation.
        for (op, where_, what) in [
            (
                Op::DeleteNeighbour { interface: eth0, address: v6("2001:db8:a::9") },
                "-6 neighbour show dev eth0",
                "02:00:00:00:00:09",
            ),
            (Op::DeleteProxy { interface: eth0, address: v6(HOME) }, "-6 neighbour show proxy", "2001:db8:1::2"),
            (Op::DeleteRoute(route(None, eth0, 3)), "-6 route", "2001:db8:f::/48"),
            (Op::DeleteAddress(home), "-6 address show dev lo", "2001:db8:1::2"),
            (Op::DeletePolicy(payload(A).key), POLICIES, "priority 101"),
            (Op::DeleteSa(key(AGENT, B, 0xabcd_0005)), STATES, "src 2001:db8:1::1 dst 2001:db8:b::7"),
            (Op::DeleteSa(option_state(B, true).key), STATES, "proto hao"),
        ] {
            shows(where_, what);
            done(linux, &[op]);
            hides(where_, what);
        }
        // What is not there is removed already; of SAs and policies it is an error.
        done(
            linux,
            &[
                Op::DeleteProxy { interface: eth0, address: v6(HOME) },
                Op::DeleteRoute(route(None, eth0, 3)),
                Op::DeleteAddress(home),
            ],
        );
        assert_eq!(refused(linux, &[Op::DeletePolicy(payload(A).key)]).errno, Some(libc::ENOENT));
        assert_eq!(refused(linux, &[Op::DeleteSa(key(AGENT, B, 0xabcd_0005))]).errno, Some(libc::ESRCH));
    });
    bed.node.enter(|| shows("-s -s xfrm policy count", "SPD IPv6 thresholds: local 120 remote 110")).unwrap();
});

real_kernel_test!(what_others_have_is_left_to_them, {
    let bed = Bed::new();
    let eth0 = bed.eth0;
    let theirs = Address { interface: eth0, address: v6("2001:db8:a::5"), len: 64, home: false };
    bed.node
        .enter(|| {
            ip("-6 address add 2001:db8:a::5/64 dev eth0 nodad");
            ip("-6 address add 2001:db8:1::2/128 dev lo nodad");
            ip("-6 neighbour add proxy 2001:db8:1::9 dev eth0");
            ip("-6 route add 2001:db8:f::/48 via 2001:db8:a::9 dev eth0 metric 3");
            ip("-6 xfrm policy add src 2001:db8:1::2/128 dst ::/0 dir out priority 7");
            ip("-6 xfrm state add src 2001:db8:a::7 dst 2001:db8:1::1 proto esp spi 0x1 mode tunnel \
            aead rfc4106(gcm(aes)) 0x000102030405060708090a0b0c0d0e0f10111213 128");
            ip("-6 xfrm state add src 2001:db8:1::2 dst 2001:db8:1::1 proto hao mode ro coa 2001:db8:b::7");
        })
        .unwrap();
    bed.unchanged(|linux| {
        let batch = [
            Op::AddAddress(theirs),
            // As a home address it has to be changed.
            Op::AddAddress(Address { interface: 1, address: v6(HOME), len: 128, home: true }),
            Op::AddProxy { interface: eth0, address: v6("2001:db8:1::9") },
        ];
        done(linux, &batch);
        shows("-6 address show dev lo", "2001:db8:1::2/128 scope global nodad home");
        done(linux, &[Op::DeleteProxy { interface: eth0, address: v6("2001:db8:1::9") }]);
        shows("-6 neighbour show proxy", "2001:db8:1::9");
        // Theirs may be removed, and comes back in the end.
        done(linux, &[Op::DeleteAddress(theirs)]);
        hides("-6 address show dev eth0", "2001:db8:a::5");
        // A route of others is never removed, for it does not carry our mark.
        done(linux, &[Op::DeleteRoute(route(None, eth0, 3))]);
        shows("-6 route", "2001:db8:f::/48 via 2001:db8:a::9");
        // Nobody else would have made what stands in our place: it is replaced, unless the batch fails.
        let ours = [
            Op::SetRouteOptimization(option_state(A, true)),
            Op::SetPolicy(payload(A)),
            Op::SetPolicy(pass("2001:db8::77")),
        ];
        let before = bed.node.snapshot().unwrap();
        let mut fails = ours.to_vec();
        // An ESP SA in our place is an error: whose keys would it have?
        fails.push(Op::AddSa(sa(A, AGENT, 1, REQID)));
        let failure = refused(linux, &fails);
        assert_eq!((failure.index, failure.errno), (3, Some(libc::EEXIST)), "{failure}");
        assert!(failure.reason.contains("not ours"), "{failure}");
        assert_eq!(before.difference(&bed.node.snapshot().unwrap()), "");
        // A copy is made of what is ours only.
        let failure = refused(linux, &[Op::CopySa { from: key(A, AGENT, 1), to: at(B) }]);
        assert_eq!(failure.errno, Some(libc::ESRCH));
    });
    bed.run(|linux| {
        done(
            linux,
            &[
                Op::SetRouteOptimization(option_state(A, true)),
                Op::SetPolicy(payload(A)),
                Op::SetRoute(route(None, eth0, 3)),
            ],
        );
        shows(STATES, "flag wildrecv");
        shows(POLICIES, "priority 100");
        shows("-6 route", "2001:db8:f::/48 dev eth0 proto 77");
        linux.restore().unwrap();
        hides(STATES, "proto hao");
        hides(POLICIES, "dir out");
        hides("-6 route", "2001:db8:f::/48");
    });
});

real_kernel_test!(a_setting_for_all_interfaces_is_put_back_on_each, {
    let bed = Bed::new();
    bed.lab.connect(&bed.node, "eth1", &bed.segment).unwrap();
    bed.node.sysctl("net/ipv6/conf/eth1/forwarding", "1").unwrap();
    let setting = |value: &str| Op::Sysctl { path: "net/ipv6/conf/all/forwarding".into(), value: value.into() };
    let value = |of: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{of}/forwarding")).unwrap();
    bed.unchanged(|linux| {
        done(linux, &[setting("1"), Op::SetPolicy(pass(HOME))]);
        assert_eq!((value("all").trim(), value("eth0").trim(), value("eth1").trim()), ("1", "1", "1"));
        done(linux, &[setting("0")]);
        done(linux, &[setting("1")]);
        let failure = refused(linux, &[setting("0"), Op::Sysctl { path: "net/ipv6/none".into(), value: "1".into() }]);
        assert_eq!((failure.index, failure.errno), (1, Some(libc::ENOENT)));
        assert_eq!(value("all").trim(), "1");
    });
    let eth1 = bed.node.enter(|| value("eth1")).unwrap();
    assert_eq!(eth1.trim(), "1");
});

real_kernel_test!(sas_of_route_optimisation_are_told_apart_by_their_ends, {
    let bed = Bed::new();
    bed.unchanged(|linux| {
        let wild = SaKey { source: at("::"), ..option_state(A, true).key };
        let other = SaKey { source: at("2001:db8:1::3"), ..wild };
        for key in [wild, option_state(A, false).key, other] {
            let state = homeward::kernel::op::RouteOptimization { key, ..option_state(A, key == wild) };
            done(linux, &[Op::SetRouteOptimization(state)]);
        }
        done(linux, &[Op::DeleteSa(option_state(A, false).key)]);
        shows(STATES, "src :: dst 2001:db8:1::1 proto hao");
        shows(STATES, "src 2001:db8:1::3 dst 2001:db8:1::1 proto hao");
        hides(STATES, "src 2001:db8:1::2 dst");
    });
});
