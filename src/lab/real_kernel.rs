//! Tests that run on real kernels: on the machine itself a test starts its own binary again inside each guest, and fails with the
//! guest's console if the kernel goes down.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::guest::{Guest, Outcome, Stream, Verdict};
use super::kernel::Kernel;

/// The variables that a test hands on to itself in the guest, by how they begin.
const HANDED_ON: [&str; 4] = ["RUST_", "HOMEWARD_", "PROPTEST_", "CARGO_BIN_EXE"];

/// Runs `body` as root on each of [`Kernel::requested`], one after the other, with 256 MiB and two minutes each.
///
/// `test_name` is the test's own full name, as `module::name` without the crate's; [`real_kernel_test!`](crate::real_kernel_test)
/// knows it.
///
/// # Panics
/// When the body fails, or the kernel panics or hangs: that is how a test fails.
pub fn on_real_kernel(test_name: &str, body: fn()) {
    on_real_kernel_within(test_name, Duration::from_secs(120), 256 << 20, body);
}

/// As [`on_real_kernel`], with a time for each kernel from its boot on, and its memory in bytes.
///
/// # Panics
/// When the body fails, or the kernel panics or hangs.
pub fn on_real_kernel_within(test_name: &str, timeout: Duration, memory: u64, body: fn()) {
    drop(outcomes_on_real_kernels(test_name, timeout, memory, body));
}

/// As [`on_real_kernel_within`]; what the body printed is given back, for each kernel. In the guest itself there is none.
///
/// # Panics
/// When the body fails, or the kernel panics or hangs.
pub fn outcomes_on_real_kernels(test_name: &str, timeout: Duration, memory: u64, body: fn()) -> Vec<Outcome> {
    if in_guest() {
        body();
        let mark = output_folder().map(|folder| fs::write(folder.join("body-ran"), ""));
        assert!(matches!(mark, Some(Ok(()))), "the guest has no output folder");
        return Vec::new();
    }
    let run = |kernel: Kernel| match run_on(&kernel, test_name, timeout, memory) {
        Ok(outcome) => outcome,
        Err(why) => fail(&format!("{test_name} on kernel {kernel}: {why}")),
    };
    Kernel::requested().into_iter().map(run).collect()
}

/// Whether this process runs inside a guest (or in its namespaces on the running kernel).
#[must_use]
pub fn in_guest() -> bool {
    std::env::var_os("HOMEWARD_GUEST").is_some()
}

/// In a guest, the only folder whose files the outside sees.
#[must_use]
pub fn output_folder() -> Option<PathBuf> {
    std::env::var_os("HOMEWARD_OUT").map(PathBuf::from)
}

fn run_on(kernel: &Kernel, test_name: &str, timeout: Duration, memory: u64) -> Result<Outcome, String> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let own = own.to_string_lossy();
    let mut guest = Guest::new(kernel.clone()).timeout(timeout).memory(memory);
    for (name, value) in std::env::vars_os() {
        if HANDED_ON.iter().any(|start| name.to_string_lossy().starts_with(start)) {
            guest = guest.env(name, value);
        }
    }
    // `print!`, for the test harness to keep it back unless the test fails.
    let mut sink = |_: Stream, line: &str| println!("  {line}");
    let outcome = guest
        .run(&[&own, test_name, "--exact", "--nocapture", "--test-threads=1"], &mut sink)
        .map_err(|e| e.to_string())?;
    println!("{test_name}: ran on kernel {} ({kernel})", outcome.kernel_release);
    match outcome.verdict {
        Verdict::Exited(0) if outcome.body_ran => Ok(outcome),
        Verdict::Exited(0) => Err("the guest found no test of this name".to_owned()),
        Verdict::Exited(status) => Err(format!("failed with status {status} (release {})", outcome.kernel_release)),
        Verdict::Panicked { console } => Err(format!("the kernel went down; its console:\n{console}")),
        Verdict::Hung { console } => Err(format!("not done within {timeout:?}; the kernel's console:\n{console}")),
    }
}

#[expect(clippy::panic, reason = "this is how a test fails")]
fn fail(why: &str) -> ! {
    panic!("{why}")
}

/// Declares a `#[test]` whose body runs on real kernels, see [`on_real_kernel`](crate::lab::on_real_kernel).
///
/// ```ignore
/// real_kernel_test!(a_namespace_has_a_loopback, {
///     assert!(std::path::Path::new("/proc/net/if_inet6").exists());
/// });
/// real_kernel_test!(a_long_one, within 300 seconds, {});
/// ```
#[macro_export]
macro_rules! real_kernel_test {
    ($(#[$attribute:meta])* $name:ident, within $seconds:literal seconds, $body:block) => {
        $(#[$attribute])*
        #[test]
        fn $name() {
            let full = concat!(module_path!(), "::", stringify!($name));
            let name = full.split_once("::").map_or(full, |(_, name)| name);
            $crate::lab::on_real_kernel_within(name, std::time::Duration::from_secs($seconds), 256 << 20, || $body);
        }
    };
    ($(#[$attribute:meta])* $name:ident, $body:block) => {
        $crate::real_kernel_test!($(#[$attribute])* $name, within 120 seconds, $body);
    };
}
