//! Both daemons over links that lose, double and reorder, with a clock that only the test moves and kernels in memory. One seed is
//! one life; it replays exactly: `HOMEWARD_SEED=… cargo test --test sim replay -- --nocapture`.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a simulation that does not hold together has failed"
)]

mod chaos;
mod faults;
mod hand;
mod hoarder;
mod hosts;
mod random;
mod trace;
mod verdict;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// From `HOMEWARD_SEED`, if it is set.
fn seed() -> Option<u64> {
    let text = std::env::var("HOMEWARD_SEED").ok()?;
    Some(text.parse().expect("HOMEWARD_SEED is a number"))
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Plays one seed without its trace. A panic is a fault like any other.
fn fault(seed: u64) -> (Option<String>, Duration) {
    match catch_unwind(AssertUnwindSafe(|| chaos::play(seed, false))) {
        Ok(end) => (end.fault, end.covered),
        Err(_) => (Some("a panic".into()), Duration::ZERO),
    }
}

#[test]
fn a_thousand_seeds_end_consistent() {
    let (first, count) = (number("HOMEWARD_FIRST_SEED", 0), number("HOMEWARD_SEEDS", 1000));
    let next = AtomicU64::new(first);
    let failed: Mutex<Vec<(u64, String)>> = Mutex::new(Vec::new());
    let covered: Mutex<Duration> = Mutex::new(Duration::ZERO);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let (fault, time) = fault(seed);
                    *covered.lock().unwrap() += time;
                    if let Some(fault) = fault {
                        failed.lock().unwrap().push((seed, fault));
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    println!("{count} seeds, {} h of virtual time", covered.into_inner().unwrap().as_secs() / 3600);
    let mut report = String::new();
    for (seed, fault) in &failed {
        report += &format!(
            "\nseed {seed}: {fault:.300}\n  HOMEWARD_SEED={seed} cargo test --test sim replay -- --nocapture --exact replay"
        );
    }
    assert!(failed.is_empty(), "{} of {count} seeds fail:{report}", failed.len());
}

/// Shows the life of the seed in `HOMEWARD_SEED`.
#[test]
fn replay() {
    let Some(seed) = seed() else { return };
    trace::to_stdout();
    let end = chaos::play(seed, true);
    assert_eq!(end.fault, None, "seed {seed}");
}

#[test]
fn a_seed_replays_exactly() {
    let life = |seed| {
        let end = chaos::play(seed, false);
        (end.fault, end.covered)
    };
    assert_eq!(life(7), life(7));
}
