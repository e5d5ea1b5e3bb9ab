//! `homeward demo` as an operator runs it, on every kernel that the tests are to run on.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::process::{Command, Output};

use homeward::lab::Kernel;
use serde_json::Value;

/// How often a story is told whose times alone were too long: what else the machine does takes its part in them.
const TRIES: usize = 3;
/// Medians are over at least so many.
const MOVES: usize = 10;
/// Milliseconds.
const UPDATE_WITHIN: f64 = 5.0;
const BEYOND: f64 = 20.0;

fn demo(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_homeward")).arg("demo").args(words).output().unwrap()
}

/// Tells the story on each kernel; every expectation but those about times has to hold the first time.
fn on_each_kernel(words: &[&str], moves: usize, judge: fn(&Value) -> Result<(), String>) {
    for kernel in Kernel::requested() {
        let (kernel, count) = (kernel.to_string(), moves.to_string());
        let mut words = words.to_vec();
        words.extend(["--json", "--kernel", &kernel, "--moves", &count]);
        let mut tries = 0;
        while let Err(why) = judge(&told(&words, moves)) {
            tries += 1;
            assert!(tries < TRIES, "kernel {kernel}: {why}");
            println!("kernel {kernel}: {why}; once more");
        }
    }
}

/// The summary of one telling, after all has been judged that has nothing to do with time.
fn told(words: &[&str], moves: usize) -> Value {
    let output = demo(words);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = events.last().unwrap_or_else(|| panic!("{output:?}")).clone();
    println!("{summary}");
    assert_eq!(summary["event"], "summary");
    assert_eq!(output.status.success(), summary["ok"] == true, "{summary}");
    let failures = summary["failures"].as_array().unwrap();
    // Those are judged by the caller.
    let others: Vec<&Value> = failures.iter().filter(|why| !why.as_str().unwrap().contains("(median)")).collect();
    assert!(others.is_empty(), "{others:#?}");
    assert_eq!(summary["ok"] == true, failures.is_empty());
    assert_eq!(summary["ike_sa_inits"], 1);
    let handovers = summary["handovers"].as_array().unwrap();
    assert_eq!(handovers.len(), moves);
    for (at, handover) in handovers.iter().enumerate() {
        let (from, to) = if at % 2 == 0 { ("A", "B") } else { ("B", "A") };
        assert_eq!((&handover["n"], &handover["from"], &handover["to"]), (&(at + 1).into(), &from.into(), &to.into()));
        assert_eq!(handover["migrated"], true);
        assert!(handover["netlink_messages"].as_u64().unwrap() > 0);
    }
    let seen = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    // And home, and away again.
    assert_eq!((seen("handover"), seen("ike_exchange"), seen("stopped")), (moves + 2, 3, 2));
    summary
}

fn median(summary: &Value, field: &str) -> f64 {
    let handovers = summary["handovers"].as_array().unwrap();
    let mut times: Vec<f64> = handovers.iter().map(|handover| handover[field].as_f64().unwrap()).collect();
    times.sort_by(f64::total_cmp);
    f64::midpoint(times[(times.len() - 1) / 2], times[times.len() / 2])
}

fn at_most(summary: &Value, field: &str, bound: f64) -> Result<(), String> {
    let median = median(summary, field);
    println!("{field}: {median} ms, at most {bound} ms");
    if median <= bound { Ok(()) } else { Err(format!("the median of {field} is {median} ms, not within {bound} ms")) }
}

#[test]
fn ten_handovers_with_certificates_send_their_updates_within_five_milliseconds() {
    on_each_kernel(&[], MOVES, |summary| at_most(summary, "bu_sent_ms", UPDATE_WITHIN));
}

#[test]
fn ten_handovers_over_a_slow_path_cost_one_round_trip_down_and_next_to_nothing_up() {
    on_each_kernel(&["--auth", "psk", "--delay", "50"], MOVES, |summary| {
        // What was measured has the delay that was asked for, twice.
        let round_trip = median(summary, "rtt_ms");
        assert!(round_trip >= 100.0, "{round_trip}");
        assert!(median(summary, "ba_ms") >= 100.0);
        at_most(summary, "downlink_gap_ms", round_trip + BEYOND)?;
        at_most(summary, "uplink_gap_ms", BEYOND)
    });
}

#[test]
fn nothing_is_lost_while_the_old_link_stays_up() {
    on_each_kernel(&["--soft"], 6, |summary| {
        for handover in summary["handovers"].as_array().unwrap() {
            assert_eq!(handover["lost"], 0, "{handover}");
            assert_eq!(handover["cause"], "newer link");
        }
        Ok(())
    });
}

#[test]
fn an_operator_gets_a_timeline_a_table_and_captures_with_their_keys() {
    let kernel = Kernel::requested().first().unwrap().to_string();
    let folder = std::env::temp_dir().join(format!("homeward-demo-test-{}", std::process::id()));
    let output = demo(&["--kernel", &kernel, "--moves", "1", "--pcap", folder.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    println!("{text}");
    for part in ["A → B: carrier lost; BU after ", "gap down", "   1  A     B     carrier lost", "  yes  "] {
        assert!(text.contains(part), "no {part:?}");
    }
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    let column = |line: &str| line.chars().count();
    let table: Vec<&str> =
        text.lines().filter(|line| line.contains("netlink") || line.contains("carrier lost  ")).collect();
    assert!(table.len() >= 3 && table.iter().all(|line| column(line) == column(table[0])), "{table:#?}");
    for link in ["a", "b", "c", "f", "home"] {
        // More than the file's own header.
        assert!(fs::metadata(folder.join(format!("{link}.pcap"))).unwrap().len() > 1000, "{link}");
    }
    for who in ["ha", "mn.example.org"] {
        let keys = folder.join(format!("{who}.keys"));
        let lines = |file: &str| fs::read_to_string(keys.join(file)).unwrap().lines().count();
        // Two directions of four pairs at least, and as many of those that took their places.
        assert!(lines("esp_sa") >= 16 && lines("ikev2_decryption_table") >= 2);
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_keeps_the_demo_from_running_is_said_in_one_line() {
    for (words, why) in [
        (["--kernel", "5.4"], "there is no user-mode Linux 5.4 here; known are 6.1, 6.12 and running"),
        (["--moves", "0"], "0 is not in 1..=1000"),
    ] {
        let output = demo(&words);
        assert!(!output.status.success());
        assert!(output.stdout.is_empty());
        let text = String::from_utf8(output.stderr).unwrap();
        let line = text.lines().next().unwrap();
        assert!(line.contains(why), "{text}");
    }
}
