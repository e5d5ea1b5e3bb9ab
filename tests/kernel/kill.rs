//! A kill at any point leaves nothing behind that the next start does not remove.
//!
//! `strace` kills a child at the n-th call of a kind, for every n that there is.

use std::process::Command;
use std::time::Duration;

use homeward::kernel::op::{Address, Op};
use homeward::kernel::{Kernel, Linux};
use homeward::lab::Host;
use homeward::real_kernel_test;

use crate::support::*;

/// In the child's environment: the index of `eth0`.
const CHILD: &str = "HOMEWARD_TEST_CHILD";
/// What changes something outside: requests to the kernel, the journal and settings, the journal's renaming and removal.
const CALLS: [&str; 4] = ["sendto", "write", "rename", "unlink"];

/// What the child does: a start, batches that add, change, move and remove, one that fails, and the end.
#[test]
#[ignore = "the child of the test below"]
fn child() {
    let Ok(eth0) = std::env::var(CHILD) else { return };
    let eth0 = eth0.parse().unwrap();
    let mut linux = Linux::open(&journal("node")).unwrap();
    let mut batch = tunnel_pair(A, (1, 2));
    batch.extend([
        Op::AddAddress(Address { interface: 1, address: v6(HOME), len: 128, home: true }),
        Op::SetRouteOptimization(option_state(A, false)),
        Op::AddProxy { interface: eth0, address: v6("2001:db8:1::9") },
        Op::Sysctl { path: "net/ipv6/conf/eth0/accept_ra".into(), value: "0".into() },
    ]);
    done(&mut linux, &batch);
    let moves = vec![outbound(A, B), inbound(A, B)];
    let migrate = |policy| Op::Migrate { policy, moves: moves.clone() };
    done(&mut linux, &[migrate(payload(A).key), Op::SetRouteOptimization(option_state(B, false))]);
    done(&mut linux, &[Op::DeleteSa(key(AGENT, B, 2)), Op::AddSa(sa(AGENT, B, 3, REQID))]);
    linux.apply(&[Op::DeletePolicy(payload(A).key), Op::AddSa(sa(AGENT, B, 3, REQID))]).unwrap_err();
    linux.restore().unwrap();
}

/// Runs the child until its n-th call of this kind; whether it was killed there.
fn killed(host: &Host, eth0: u32, call: &str, at: u32) -> bool {
    let inject = format!("inject={call}:signal=SIGKILL:when={at}");
    let mut command = Command::new("strace");
    command.args(["-f", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]);
    command.arg(std::env::current_exe().unwrap());
    command.args(["kill::child", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(CHILD, eth0.to_string());
    let mut child = host.spawn(command).unwrap();
    let status = child.wait(Duration::from_secs(60)).unwrap();
    let lines: Vec<String> = child.lines().into_iter().map(|line| line.text).collect();
    assert!(!lines.iter().any(|line| line.contains("panicked")), "{call} {at}: {lines:#?}");
    !status.success()
}

real_kernel_test!(a_kill_at_any_step_leaves_nothing_for_the_next_start_to_stumble_on, within 600 seconds, {
    let bed = Bed::new();
    let before = bed.node.snapshot().unwrap();
    let mut left_something = 0;
    for call in CALLS {
        let mut kills = 0;
        while killed(&bed.node, bed.eth0, call, kills + 1) {
            kills += 1;
            left_something += u32::from(!before.difference(&bed.node.snapshot().unwrap()).is_empty());
            // The journal is good for starting and for ending.
            bed.run(|_| {});
            assert_eq!(before.difference(&bed.node.snapshot().unwrap()), "", "killed at {call} {kills}");
        }
        println!("{call}: {kills} kills");
        assert!(kills > 0, "{call}");
    }
    assert!(left_something > 10, "{left_something}");
});
