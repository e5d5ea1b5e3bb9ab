//! The lab itself, on every kernel that the tests are to run on.

use std::time::{Duration, Instant};

use homeward::lab::{Guest, Kernel, Verdict};
use homeward::real_kernel_test;

real_kernel_test!(a_test_runs_on_the_kernel_that_it_names, {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let named = std::env::var("HOMEWARD_GUEST").unwrap();
    assert!(named == "running" || release.starts_with(&format!("{named}.")), "{named}: {release}");
    assert!(nix::unistd::geteuid().is_root());
});

/// The user-mode kernels among those to be tested.
fn user_mode_kernels() -> Vec<Kernel> {
    Kernel::requested().into_iter().filter(|kernel| *kernel != Kernel::Running).collect()
}

#[test]
fn a_guest_that_panics_is_reported_with_its_console() {
    for kernel in user_mode_kernels() {
        let outcome = Guest::new(kernel)
            .run(&["sh", "-c", "echo before; echo c >/proc/sysrq-trigger; echo after"], &mut |_, _| {})
            .unwrap();
        let Verdict::Panicked { console } = outcome.verdict else { panic!("{outcome:?}") };
        assert!(console.contains("Kernel panic"), "{console}");
        assert_eq!(outcome.stdout, "before\n");
    }
}

#[test]
fn a_guest_that_hangs_is_reported_and_ended() {
    for kernel in user_mode_kernels() {
        let start = Instant::now();
        let guest = Guest::new(kernel).timeout(Duration::from_secs(8));
        let outcome = guest.run(&["sh", "-c", "echo before; sleep 1000"], &mut |_, _| {}).unwrap();
        assert!(matches!(outcome.verdict, Verdict::Hung { .. }), "{outcome:?}");
        assert_eq!(outcome.stdout, "before\n");
        // Waiting for a slot comes on top of the eight seconds.
        assert!(start.elapsed() < Duration::from_secs(600));
    }
}

#[test]
fn the_output_comes_while_the_command_runs() {
    for kernel in user_mode_kernels() {
        let mut lines = Vec::new();
        let script = "echo one; echo two >&2; sleep 1; echo three; exit 7";
        let outcome = Guest::new(kernel)
            .env("UNUSED", "it's")
            .run(&["sh", "-c", script], &mut |_, line| lines.push((Instant::now(), line.to_owned())))
            .unwrap();
        assert_eq!(outcome.verdict, Verdict::Exited(7));
        let at = |text: &str| lines.iter().find(|(_, line)| line == text).unwrap().0;
        assert!(at("three") - at("one") > Duration::from_millis(800));
        assert!(at("three") - at("two") > Duration::from_millis(800));
    }
}
