//! What an operation costs, alone and in a batch: figures for docs/benchmarks.md, which `HOMEWARD_BINDINGS=1000` gives. Otherwise it
//! shows that larger numbers work as well.

use std::time::{Duration, Instant};

use homeward::kernel::Linux;
use homeward::kernel::op::{Move, Op};
use homeward::real_kernel_test;

use crate::support::*;

/// As many bindings as this variable says.
const BINDINGS: &str = "HOMEWARD_BINDINGS";

fn care_of(net: char, node: u32) -> String {
    format!("2001:db8:{net}::{node:x}")
}

/// A policy and four SAs, as a home agent has them for a binding.
fn binding(node: u32) -> Vec<Op> {
    let (at_a, home, spi) = (care_of('a', node), format!("2001:db8:1::{node:x}"), 0x1000 + node * 4);
    let reqid = REQID + node;
    let policy = homeward::kernel::op::Policy {
        key: homeward::kernel::op::PolicyKey { selector: selector("::/0", &home, 0), ..payload(A).key },
        priority: 100,
        verdict: homeward::kernel::op::Verdict::Allow(vec![tunnel(AGENT, &at_a, reqid)]),
    };
    vec![
        Op::AddSa(sa(&home, AGENT, spi, 1)),
        Op::AddSa(sa(AGENT, &home, spi + 1, 1)),
        Op::AddSa(sa(&at_a, AGENT, spi + 2, reqid)),
        Op::AddSa(sa(AGENT, &at_a, spi + 3, reqid)),
        Op::SetPolicy(policy),
    ]
}

fn migration(node: u32) -> Op {
    let (Some(Op::SetPolicy(policy)), reqid) = (binding(node).pop(), REQID + node) else { unreachable!() };
    let (from, to) = (at(&care_of('a', node)), at(&care_of('b', node)));
    let moves = vec![
        Move { from: (at(AGENT), from), to: (at(AGENT), to), reqid },
        Move { from: (from, at(AGENT)), to: (to, at(AGENT)), reqid },
    ];
    Op::Migrate { policy: policy.key, moves }
}

/// The time that each operation takes when so many of them go into a batch.
fn per_operation(linux: &mut Linux, ops: &[Op], in_batch: usize) -> Duration {
    let start = Instant::now();
    for batch in ops.chunks(in_batch) {
        done(linux, batch);
    }
    start.elapsed() / u32::try_from(ops.len()).unwrap()
}

real_kernel_test!(operations_in_batches_and_one_by_one, within 300 seconds, {
    let count: u32 = std::env::var(BINDINGS).map_or(150, |text| text.parse().unwrap());
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let bindings: Vec<Op> = (1..=count).flat_map(binding).collect();
    let migrations: Vec<Op> = (1..=count).map(migration).collect();
    for (name, of_bindings, of_migrations) in
        [("one by one", 1, 1), ("a binding at a time", 5, 1), ("all at once", usize::MAX, usize::MAX)]
    {
        let bed = Bed::new();
        bed.run(|linux| {
            // Loads the kernel's modules.
            Linux::probe().unwrap();
            done(linux, &[Op::SpdHash { local: 0, remote: 128 }]);
            let adding = per_operation(linux, &bindings, of_bindings);
            let moving = per_operation(linux, &migrations, of_migrations);
            assert_eq!(ip("-6 xfrm state list").matches("2001:db8:b::").count(), usize::try_from(2 * count).unwrap());
            let start = Instant::now();
            linux.restore().unwrap();
            let removing = start.elapsed() / u32::try_from(bindings.len()).unwrap();
            assert_eq!((ip("-6 xfrm state list"), ip("-6 xfrm policy list")), (String::new(), String::new()));
            println!(
                "{} {name}: {:.1} us to add each of {} objects, {:.1} us for each of {} migrations, {:.1} us to remove each",
                release.trim(),
                adding.as_secs_f64() * 1e6,
                bindings.len(),
                moving.as_secs_f64() * 1e6,
                migrations.len(),
                removing.as_secs_f64() * 1e6,
            );
        });
    }
});
