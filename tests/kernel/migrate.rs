//! Migration: what it keeps, and the traps of it.

use std::process::Command;

use homeward::kernel::Linux;
use homeward::kernel::op::{Direction, EspSa, Move, Op};
use homeward::lab::{Host, Lab};
use homeward::real_kernel_test;

use crate::support::*;

const STATES: &str = "-6 xfrm state list";
const POLICIES: &str = "-6 xfrm policy list";

fn migrate(moves: Vec<Move>) -> Op {
    Op::Migrate { policy: payload(A).key, moves }
}

fn both() -> Vec<Move> {
    vec![outbound(A, B), inbound(A, B)]
}

/// A mobile node and its home agent on one link, with a tunnel between them.
struct Pair {
    _lab: Lab,
    mobile: Host,
    agent: Host,
}

impl Pair {
    fn new() -> Self {
        let lab = Lab::new().unwrap();
        let (mobile, agent) = (lab.host("mobile").unwrap(), lab.host("agent").unwrap());
        let segment = lab.segment("link").unwrap();
        for host in [&mobile, &agent] {
            lab.connect(host, "eth0", &segment).unwrap();
        }
        for address in ["2001:db8:a::7/32", "2001:db8:b::7/32"] {
            mobile.address("eth0", address).unwrap();
        }
        mobile.address("lo", "2001:db8:1::2/128").unwrap();
        agent.address("eth0", "2001:db8:1::1/32").unwrap();
        Self { _lab: lab, mobile, agent }
    }

    fn open(&self) -> (Linux, Linux) {
        let open = |host: &Host| host.enter(|| Linux::open(&journal(host.name())).unwrap()).unwrap();
        (open(&self.mobile), open(&self.agent))
    }

    /// So many packets there and back through the tunnel; how many were answered.
    fn ping(&self, count: u32) -> u32 {
        let ping = || {
            let mut command = Command::new("ping");
            command.args(["-6", "-n", "-i", "0.05", "-W", "2", "-c", &count.to_string(), "-I", HOME, AGENT]);
            let output = command.output().unwrap();
            String::from_utf8_lossy(&output.stdout).matches("bytes from").count()
        };
        self.mobile.enter(ping).unwrap().try_into().unwrap()
    }

    fn states(&self, host: &Host) -> String {
        host.enter(|| ip("-s xfrm state list")).unwrap()
    }
}

/// The tunnel as the home agent has it.
fn at_agent(care_of: &str) -> Vec<Op> {
    let outbound = policy(Direction::Out, selector("::/0", HOME, 0), 100, vec![tunnel(AGENT, care_of, REQID)]);
    let inbound = policy(Direction::In, selector(HOME, "::/0", 0), 100, vec![tunnel("::", "::", 0)]);
    vec![
        Op::AddSa(EspSa { selector: selector(HOME, "::/0", 0), ..sa(care_of, AGENT, 0xa1, REQID) }),
        Op::AddSa(EspSa { selector: selector("::/0", HOME, 0), ..sa(AGENT, care_of, 0xa2, REQID) }),
        Op::SetPolicy(outbound),
        Op::SetPolicy(inbound),
    ]
}

fn at_mobile(care_of: &str) -> Vec<Op> {
    let inbound = policy(Direction::In, selector("::/0", HOME, 0), 100, vec![tunnel("::", "::", 0)]);
    vec![
        Op::AddSa(EspSa { selector: selector(HOME, "::/0", 0), ..sa(care_of, AGENT, 0xa1, REQID) }),
        Op::AddSa(EspSa { selector: selector("::/0", HOME, 0), ..sa(AGENT, care_of, 0xa2, REQID) }),
        Op::SetPolicy(payload(care_of)),
        Op::SetPolicy(inbound),
    ]
}

real_kernel_test!(a_migration_keeps_spis_keys_sequence_numbers_windows_counters_and_selectors, {
    let pair = Pair::new();
    let (mut mobile, mut agent) = pair.open();
    done(&mut mobile, &at_mobile(A));
    done(&mut agent, &at_agent(A));
    assert_eq!(pair.ping(5), 5);
    let before = (pair.states(&pair.mobile), pair.states(&pair.agent));
    println!("{}", before.0);
    assert!(before.0.contains("oseq 0x5") && before.0.contains("seq 0x5"), "{}", before.0);
    let agents = policy(Direction::Out, selector("::/0", HOME, 0), 100, vec![]).key;
    done(&mut mobile, &[migrate(both())]);
    done(&mut agent, &[Op::Migrate { policy: agents, moves: both() }]);
    // Keys, windows, counters, times: all but the address is as before. The order of the list may have changed.
    let sorted = |text: &str| {
        let mut states: Vec<String> = text.split(" src 2001:").map(str::to_owned).collect();
        states.iter_mut().for_each(|state| *state = state.trim_start_matches("src 2001:").to_owned());
        states.sort();
        states
    };
    let moved = |text: &str| sorted(&text.replace(A, B));
    assert_eq!(sorted(&pair.states(&pair.mobile)), moved(&before.0));
    assert_eq!(sorted(&pair.states(&pair.agent)), moved(&before.1));
    pair.mobile.enter(|| shows(POLICIES, "tmpl src 2001:db8:b::7 dst 2001:db8:1::1")).unwrap();
    // And it goes on where it was: no number is taken for a replay, none is used twice.
    assert_eq!(pair.ping(3), 3);
    let after = pair.states(&pair.mobile);
    assert!(after.contains("oseq 0x8") && after.contains("seq 0x8"), "{after}");
    mobile.restore().unwrap();
    agent.restore().unwrap();
    assert_eq!(pair.states(&pair.mobile), "");
});

real_kernel_test!(a_copy_of_an_sa_goes_on_with_its_replay_state, {
    let pair = Pair::new();
    let (mut mobile, mut agent) = pair.open();
    done(&mut mobile, &at_mobile(A));
    done(&mut agent, &at_agent(A));
    assert_eq!(pair.ping(4), 4);
    // Soft handover: what comes to either care-of address is accepted, then only what is sent moves.
    done(&mut mobile, &[Op::CopySa { from: key(AGENT, A, 0xa2), to: at(B) }]);
    let copy = pair.mobile.enter(|| ip(&format!("-s xfrm state get src {AGENT} dst {B} proto esp spi 0xa2"))).unwrap();
    assert!(copy.contains("seq 0x4, oseq 0x0, bitmap 0x0000000f"), "{copy}");
    done(&mut mobile, &[migrate(vec![outbound(A, B)])]);
    assert_eq!(pair.ping(2), 2);
    let agents = policy(Direction::Out, selector("::/0", HOME, 0), 100, vec![]).key;
    done(&mut agent, &[Op::Migrate { policy: agents, moves: both() }]);
    assert_eq!(pair.ping(2), 2);
    done(&mut mobile, &[Op::DeleteSa(key(AGENT, A, 0xa2))]);
    assert_eq!(pair.ping(2), 2);
});

real_kernel_test!(an_overlap_of_two_pairs_with_one_reqid_moves_as_a_whole, {
    let bed = Bed::new();
    bed.unchanged(|linux| {
        done(linux, &tunnel_pair(A, (1, 2)));
        done(linux, &[Op::AddSa(sa(A, AGENT, 3, REQID)), Op::AddSa(sa(AGENT, A, 4, REQID))]);
        done(linux, &[migrate(both())]);
        hides(STATES, A);
        hides(POLICIES, A);
        // And back, by a batch that fails behind it.
        let before = bed.node.snapshot().unwrap();
        let back = vec![outbound(B, A), inbound(B, A)];
        refused(linux, &[migrate(back), Op::DeletePolicy(pass("2001:db8::5").key)]);
        assert_eq!(before.difference(&bed.node.snapshot().unwrap()), "");
    });
});

real_kernel_test!(more_moves_than_one_message_holds_are_all_made, {
    let bed = Bed::new();
    bed.unchanged(|linux| {
        let mut moves = Vec::new();
        // The pair that the policy leads to comes last.
        for reqid in (REQID..REQID + 5).rev() {
            let with = |from: &Move| Move { reqid, ..*from };
            done(linux, &[Op::AddSa(sa(A, AGENT, reqid, reqid)), Op::AddSa(sa(AGENT, A, reqid, reqid))]);
            moves.extend(both().iter().map(with));
        }
        done(linux, &[Op::SetPolicy(payload(A)), migrate(moves.clone())]);
        hides(STATES, A);
        hides(POLICIES, A);
        assert_eq!(ip(STATES).matches(B).count(), 10);
        // One of them cannot: none does.
        ip("-6 xfrm state add src 2001:db8:1::1 dst 2001:db8:a::7 proto esp spi 0x1003 mode tunnel \
            aead rfc4106(gcm(aes)) 0x000102030405060708090a0b0c0d0e0f10111213 128");
        let before = bed.node.snapshot().unwrap();
        let back: Vec<Move> = moves.iter().map(|entry| Move { from: entry.to, to: entry.from, ..*entry }).collect();
        let failure = refused(linux, &[migrate(back)]);
        println!("{failure}");
        assert_eq!(before.difference(&bed.node.snapshot().unwrap()), "");
        ip("-6 xfrm state delete src 2001:db8:1::1 dst 2001:db8:a::7 proto esp spi 0x1003");
    });
});

real_kernel_test!(encapsulation_goes_along_with_a_migration, {
    let bed = Bed::new();
    bed.unchanged(|linux| {
        for ((out, back), spi) in [(((4500, 4500), (4500, 4500)), 1), (((4500, 61000), (61000, 4500)), 3)] {
            let with = |sa: EspSa, ports| Op::AddSa(EspSa { encapsulation: Some(ports), ..sa });
            let sas = [with(sa(A, AGENT, spi, REQID), out), with(sa(AGENT, A, spi + 1, REQID), back)];
            done(linux, &sas);
            done(linux, &[Op::SetPolicy(payload(A)), migrate(both())]);
            hides(STATES, A);
            for (source, destination) in [out, back] {
                shows(STATES, &format!("encap type espinudp sport {source} dport {destination}"));
            }
            let removals = [Op::DeleteSa(key(B, AGENT, spi)), Op::DeleteSa(key(AGENT, B, spi + 1))];
            done(linux, &removals);
        }
    });
});

real_kernel_test!(a_target_that_is_occupied_stops_a_migration_and_nothing_moves, {
    let bed = Bed::new();
    bed.unchanged(|linux| {
        done(linux, &tunnel_pair(A, (1, 2)));
        done(linux, &[Op::AddSa(sa(AGENT, B, 2, 77))]);
        let before = bed.node.snapshot().unwrap();
        let failure = refused(linux, &[Op::SetPolicy(pass(HOME)), migrate(both())]);
        assert_eq!((failure.index, failure.errno), (1, Some(libc::ENODATA)), "{failure}");
        assert_eq!(before.difference(&bed.node.snapshot().unwrap()), "");
    });
});

real_kernel_test!(an_sa_that_is_gone_is_found_out_although_the_kernel_acknowledges, {
    let bed = Bed::new();
    bed.node
        .enter(|| {
            let mut linux = Linux::open(&journal("node")).unwrap();
            done(&mut linux, &tunnel_pair(A, (1, 2)));
            ip("-6 xfrm state delete src 2001:db8:1::1 dst 2001:db8:a::7 proto esp spi 0x2");
            let before = (ip(STATES), ip(POLICIES));
            let failure = refused(&mut linux, &[migrate(both())]);
            assert!(failure.reason.contains("00000002"), "{failure}");
            assert!(failure.reason.contains("did not move"), "{failure}");
            // The policy and the other SA moved, and are back.
            assert_eq!((ip(STATES), ip(POLICIES)), before);
            linux.restore().unwrap();
            assert_eq!((ip(STATES), ip(POLICIES)), (String::new(), String::new()));
        })
        .unwrap();
});

real_kernel_test!(a_migration_needs_its_policy_and_on_newer_kernels_none_may_cover_it, {
    let bed = Bed::new();
    bed.unchanged(|linux| {
        done(linux, &tunnel_pair(A, (1, 2)));
        // Already moved: the template matches no entry.
        done(linux, &[migrate(both())]);
        let failure = refused(linux, &[Op::AddSa(sa(A, AGENT, 5, REQID)), migrate(vec![outbound(A, B)])]);
        assert_eq!(failure.errno, Some(libc::ENODATA), "{failure}");
        done(linux, &[migrate(vec![outbound(B, A), inbound(B, A)])]);
        let other = Op::Migrate { policy: pass("2001:db8::5").key, moves: both() };
        assert_eq!(refused(linux, &[other]).errno, Some(libc::ENOENT));
        // Another any-protocol policy above it.
        done(linux, &[Op::SetPolicy(policy(Direction::Out, selector("2001:db8:1::/64", "::/0", 0), 1, vec![]))]);
        if is_6_1() {
            done(linux, &[migrate(both())]);
        } else {
            assert_eq!(refused(linux, &[migrate(both())]).errno, Some(libc::ENODATA));
        }
    });
});
