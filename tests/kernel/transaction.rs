//! All or nothing: a batch that fails anywhere leaves the kernel as it was.

use homeward::kernel::op::{Address, EspSa, Op, Policy, Route, Verdict};
use homeward::real_kernel_test;

use crate::support::*;

/// Something of each kind that stands before.
fn standing(eth0: u32) -> Vec<Op> {
    let mut ops = tunnel_pair(A, (0xa1, 0xa2));
    ops.extend([
        Op::SetPolicy(pass("2001:db8::77")),
        Op::AddSa(EspSa { encapsulation: Some((4500, 4500)), ..sa("2001:db8::77", AGENT, 0xa3, 7) }),
        Op::SetRouteOptimization(option_state(A, false)),
        Op::AddAddress(Address { interface: 1, address: v6(HOME), len: 128, home: true }),
        Op::SetRoute(route(eth0, "2001:db8:a::9")),
        Op::AddProxy { interface: eth0, address: v6("2001:db8:1::9") },
        Op::Sysctl { path: "net/ipv6/conf/eth0/accept_ra".into(), value: "0".into() },
        Op::SpdHash { local: 0, remote: 128 },
    ]);
    ops
}

fn route(interface: u32, gateway: &str) -> Route {
    let destination = (v6("2001:db8:f::"), 48);
    Route { destination, gateway: Some(v6(gateway)), interface, preferred_source: None, metric: 3, local: false }
}

/// A batch that changes, adds and removes something of each kind, and takes up the same thing more than once.
fn changing(eth0: u32) -> Vec<Op> {
    let (pass, block) = (pass("2001:db8::77"), Policy { verdict: Verdict::Block, ..pass("2001:db8::77") });
    let new = Address { interface: eth0, address: v6("2001:db8:a::66"), len: 64, home: false };
    vec![
        Op::SpdHash { local: 64, remote: 64 },
        Op::AddAddress(new),
        Op::SetRoute(route(eth0, "2001:db8:a::67")),
        Op::SetPolicy(block.clone()),
        Op::SetPolicy(Policy { priority: 3, ..pass.clone() }),
        Op::AddSa(sa("2001:db8::5", AGENT, 0xb1, 9)),
        Op::Migrate { policy: payload(A).key, moves: vec![outbound(A, B), inbound(A, B)] },
        Op::CopySa { from: key(AGENT, B, 0xa2), to: at("2001:db8:c::7") },
        Op::SetRouteOptimization(option_state(B, false)),
        Op::SetRouteOptimization(option_state(B, true)),
        Op::Sysctl { path: "net/ipv6/conf/eth0/accept_ra".into(), value: "1".into() },
        Op::AddProxy { interface: eth0, address: v6("2001:db8:1::8") },
        Op::DeleteProxy { interface: eth0, address: v6("2001:db8:1::9") },
        Op::DeleteAddress(Address { interface: 1, address: v6(HOME), len: 128, home: true }),
        Op::DeletePolicy(pass.key),
        Op::SetPolicy(block),
        Op::DeleteSa(key("2001:db8::77", AGENT, 0xa3)),
        Op::DeleteSa(option_state(B, true).key),
        Op::DeleteSa(key(AGENT, B, 0xa2)),
        Op::DeleteRoute(route(eth0, "2001:db8:a::67")),
        Op::DeleteAddress(new),
        Op::DeletePolicy(payload(A).key),
    ]
}

real_kernel_test!(a_batch_that_fails_at_any_index_leaves_the_kernel_as_before, within 300 seconds, {
    let bed = Bed::new();
    bed.unchanged(|linux| {
        done(linux, &standing(bed.eth0));
        let before = bed.node.snapshot().unwrap();
        let hash = ip("-s -s xfrm policy count");
        let whole = changing(bed.eth0);
        let nowhere = selector("2001:db8:dead::1", "::/0", 0);
        let fault = [
            Op::DeletePolicy(homeward::kernel::op::PolicyKey { selector: nowhere, ..payload(A).key }),
            // Of the other family: a send of its own.
            Op::SetRoute(Route { gateway: Some(v6("2001:db8:ffff::1")), ..route(bed.eth0, "::") }),
        ];
        for index in 0..=whole.len() {
            let mut batch = whole.clone();
            batch.insert(index, fault[index % 2].clone());
            let failure = refused(linux, &batch);
            assert_eq!(failure.index, index, "{failure}");
            assert_eq!(before.difference(&bed.node.snapshot().unwrap()), "", "at {index}");
            assert_eq!(ip("-s -s xfrm policy count"), hash, "at {index}");
        }
        // And what is remembered is right as well: the same batch, without a fault, works, and so does the end.
        done(linux, &whole);
        hides("-6 xfrm policy list", "2001:db8:a::7");
    });
});

real_kernel_test!(an_sa_comes_back_with_its_key_its_replay_window_and_its_counters, {
    let bed = Bed::new();
    bed.node
        .enter(|| {
            ip("-6 xfrm state add src 2001:db8:a::7 dst 2001:db8:1::1 proto esp spi 0x1 mode tunnel reqid 9 \
            replay-window 32 replay-seq 77 replay-oseq 500 sel src 2001:db8:1::2/128 proto 135 \
            aead rfc4106(gcm(aes)) 0x000102030405060708090a0b0c0d0e0f10111213 128");
            ip("-6 xfrm state add src 2001:db8:1::1 dst 2001:db8:a::7 proto esp spi 0x2 mode tunnel reqid 9 flag esn \
            replay-window 128 replay-seq 77 replay-seq-hi 3 \
            auth-trunc hmac(sha256) 0x000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f 128 \
            enc cbc(aes) 0x000102030405060708090a0b0c0d0e0f encap espinudp 4500 4501 ::");
        })
        .unwrap();
    bed.run(|linux| {
        let all = || {
            // Not the time of day at which it was added, nor the order of the list.
            let text = ip("-s xfrm state list");
            let words = text.split(' ').filter(|word| !word.contains(':') || word.contains("::"));
            let text = words.collect::<Vec<_>>().join(" ").replace("src 2001:db8:a::7 dst", "\nsrc 2001:db8:a::7 dst");
            let mut states: Vec<String> = text
                .replace("src 2001:db8:1::1 dst", "\nsrc 2001:db8:1::1 dst")
                .lines()
                .map(str::trim)
                .map(str::to_owned)
                .collect();
            states.sort();
            states.join("\n")
        };
        let before = all();
        let fault = Op::DeletePolicy(payload(A).key);
        let deletions = [Op::DeleteSa(key(A, AGENT, 1)), Op::DeleteSa(key(AGENT, A, 2)), fault];
        let failure = refused(linux, &deletions);
        assert_eq!(failure.index, 2);
        let after = all();
        assert!(before.contains("oseq 0x1f4"), "{before}");
        // None of its sequence numbers may be used twice: it leaves some out.
        assert_eq!(after.replace("oseq 0x5f4", "oseq 0x1f4"), before);
        assert!(after.contains("oseq 0x5f4"), "{after}");
        // The last deletion fails: those before it come back too.
        refused(linux, &[Op::DeleteSa(key(AGENT, A, 2)), Op::DeleteSa(key(AGENT, A, 3))]);
        assert_eq!(all().replace("oseq 0x5f4", "oseq 0x1f4"), before);
    });
});

real_kernel_test!(nothing_is_removed_beside_an_addition_that_is_refused, {
    let bed = Bed::new();
    bed.unchanged(|linux| {
        let block = Policy { verdict: Verdict::Block, ..pass(HOME) };
        done(linux, &[Op::SetPolicy(block.clone()), Op::AddSa(sa(A, AGENT, 1, 1))]);
        // A policy that is removed and added again has another index.
        let before = ip("-s xfrm policy list");
        refused(linux, &[Op::AddSa(sa(A, AGENT, 1, 2)), Op::DeletePolicy(block.key)]);
        assert_eq!(ip("-s xfrm policy list"), before);
        let index = |text: &str| text.split("index ").nth(1).map(|rest| rest.split(' ').next().unwrap().to_owned());
        refused(linux, &[Op::DeletePolicy(block.key), Op::AddSa(sa(A, AGENT, 1, 2))]);
        assert_ne!(index(&ip("-s xfrm policy list")), index(&before));
    });
});

real_kernel_test!(a_batch_goes_out_in_as_few_sends_as_its_order_allows, {
    let bed = Bed::new();
    bed.unchanged(|linux| {
        let policies = |count: u16| -> Vec<Op> {
            (0..count).map(|at| Op::SetPolicy(pass(&format!("2001:db8:77::{at:x}")))).collect()
        };
        let sends = |linux: &mut homeward::kernel::Linux, batch: &[Op]| {
            let before = linux.sends();
            let messages = done(linux, batch);
            (messages, linux.sends() - before)
        };
        assert_eq!(sends(linux, &policies(128)), (128, 1));
        assert_eq!(sends(linux, &policies(300)), (300, 3));
        let proxy = |last: u16| Op::AddProxy { interface: bed.eth0, address: v6(&format!("2001:db8:1::{last:x}")) };
        // Both are looked for before, at once.
        let [one, other] = [proxy(8), proxy(9)];
        assert_eq!(sends(linux, &[one.clone(), other.clone()]), (4, 2));
        let [xfrm, more] = [Op::SetPolicy(pass(HOME)), Op::SetPolicy(pass(A))];
        assert_eq!(sends(linux, &[one.clone(), xfrm.clone(), other.clone(), more.clone()]), (4, 4));
        assert_eq!(sends(linux, &[one, other, xfrm, more]), (4, 2));
        // A migration: one message, a question for the policy and one for each SA.
        done(linux, &tunnel_pair(A, (1, 2)));
        let migrate = Op::Migrate { policy: payload(A).key, moves: vec![outbound(A, B), inbound(A, B)] };
        assert_eq!(sends(linux, &[migrate]), (4, 1));
        let removals: Vec<Op> = policies(300).iter().filter_map(removal).collect();
        assert_eq!(sends(linux, &removals), (300, 3));
    });
});

fn removal(op: &Op) -> Option<Op> {
    match op {
        Op::SetPolicy(policy) => Some(Op::DeletePolicy(policy.key)),
        _ => None,
    }
}
