//! Values below `/proc/sys/`.

use std::fs;

use super::netlink::Refused;

/// Reads a value.
pub(super) fn read(path: &str) -> Result<String, Refused> {
    fs::read_to_string(full(path)).map(|value| value.trim().to_owned()).map_err(Refused::from)
}

/// Writes a value.
pub(super) fn write(path: &str, value: &str) -> Result<(), Refused> {
    fs::write(full(path), value).map_err(Refused::from)
}

fn full(path: &str) -> String {
    format!("/proc/sys/{path}")
}
