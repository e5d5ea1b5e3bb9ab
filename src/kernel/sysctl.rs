//! Values below `/proc/sys/`.

use std::fs;

use super::netlink::Refused;

/// Reads a value.
pub(super) fn read(path: &str) -> Result<String, Refused> {
    fs::read_to_string(full(path)).map(|value| value.trim().to_owned()).map_err(|error| Refused::from(&error))
}

/// Writes a value.
pub(super) fn write(path: &str, value: &str) -> Result<(), Refused> {
    fs::write(full(path), value).map_err(|error| Refused::from(&error))
}

/// The same setting of every interface, for one that stands below `conf/all/`.
pub(super) fn siblings(path: &str) -> Vec<String> {
    let Some((folder, name)) = path.split_once("/all/") else { return Vec::new() };
    let Ok(found) = fs::read_dir(full(folder)) else { return Vec::new() };
    let names = found.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.map(|interface| format!("{folder}/{interface}/{name}")).collect()
}

fn full(path: &str) -> String {
    format!("/proc/sys/{path}")
}
