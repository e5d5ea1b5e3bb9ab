//! The dependency law: which crate and which folder may know which (docs/architecture.md).

#![expect(clippy::unwrap_used, reason = "a test that cannot read the tree has failed")]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The part of a manifest from `[dependencies]` to the next table.
fn dependencies(member: &str) -> Vec<String> {
    let manifest = fs::read_to_string(root().join(member).join("Cargo.toml")).unwrap();
    let table = manifest.split("[dependencies]").nth(1).unwrap_or_default();
    table.split("\n[").next().unwrap_or_default().lines().filter(|l| !l.is_empty()).map(str::to_owned).collect()
}

#[test]
fn the_member_crates_know_neither_each_other_nor_tokio_nor_netlink() {
    for member in ["ike", "mip6", "pki", "conf"] {
        let dependencies = dependencies(member);
        assert!(!dependencies.is_empty(), "{member}: no dependencies read");
        for line in dependencies {
            for forbidden in ["homeward-", "tokio", "netlink", "nix", "socket2"] {
                assert!(!line.starts_with(forbidden), "{member} depends on {line}");
            }
        }
    }
}

#[test]
fn the_cores_forbid_clocks_sockets_and_randomness_of_their_own() {
    for core in ["ike", "mip6"] {
        let lints = fs::read_to_string(root().join(core).join("clippy.toml")).unwrap();
        for forbidden in ["Instant::now", "SystemTime::now", "SystemRandom::new", "UdpSocket", "thread::sleep"] {
            assert!(lints.contains(forbidden), "{core}/clippy.toml does not forbid {forbidden}");
        }
        for path in sources(&root().join(core).join("src")) {
            let text = fs::read_to_string(&path).unwrap();
            // Tests may start their virtual clock somewhere.
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            for forbidden in ["Instant::now()", "SystemTime::now()", "SystemRandom::new()", "UdpSocket::bind"] {
                assert!(!text.contains(forbidden), "{} has {forbidden}", path.display());
            }
        }
    }
}

#[test]
fn only_rfc4877_and_the_daemon_know_both_cores() {
    for path in sources(&root().join("src")) {
        let name = path.strip_prefix(root().join("src")).unwrap().to_string_lossy().into_owned();
        if name.starts_with("rfc4877/") || name.starts_with("daemon/") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let knows = |core: &str| text.contains(&format!("{core}::")) && text.contains(&format!("use {core}::"));
        assert!(!(knows("ike") && knows("mip6")), "{name} knows both IKE and Mobile IPv6");
    }
}

#[test]
fn the_lint_for_unsafe_code_stands_in_every_member_crate() {
    for member in ["ike", "mip6", "pki", "conf"] {
        let text = fs::read_to_string(root().join(member).join("src/lib.rs")).unwrap();
        assert!(text.contains("#![forbid(unsafe_code)]"), "{member}/src/lib.rs");
    }
}
