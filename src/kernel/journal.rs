//! What would have to be undone if the process were killed now: a file of JSON lines, written before the kernel is told.
//!
//! It holds no keys. Its first line says of which boot and which network namespace it tells: what stands in the kernel of another
//! one is not ours, whatever its name. Lines for what was removed in the meantime stay until the file is made anew; removing
//! something twice does no harm.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::inverse::Undo;

/// The file is made anew from what stands when it has grown to this.
const COMPACT_AT: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    length: u64,
}

/// Where the objects of a journal are.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Origin {
    /// The kernel's name for this boot.
    boot: String,
    /// The inode of the network namespace.
    namespace: u64,
}

impl Origin {
    /// Of the calling thread.
    fn here() -> io::Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        Ok(Self { boot, namespace: fs::metadata("/proc/thread-self/ns/net")?.ino() })
    }
}

impl Journal {
    /// What an earlier process left behind here, last first. A journal of another boot or another network namespace tells
    /// nothing, and so does a line that cannot be read, as the last one that a kill cut off.
    pub(super) fn left_behind(path: &Path) -> io::Result<Vec<Undo>> {
        let octets = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            result => result?,
        };
        if octets.is_empty() {
            return Ok(Vec::new());
        }
        let mut lines = octets.split(|octet| *octet == b'\n').filter(|line| !line.is_empty());
        let origin = lines.next().and_then(|line| serde_json::from_slice::<Origin>(line).ok());
        let here = Origin::here()?;
        let why = match origin {
            Some(origin) if origin == here => None,
            Some(Origin { boot, .. }) if boot != here.boot => Some("it is of an earlier boot"),
            Some(_) => Some("it is of another network namespace"),
            None => Some("it is damaged; what a killed process left behind is still there, if there was one"),
        };
        if let Some(why) = why {
            tracing::warn!(event = "journal_ignored", path = %path.display(), why);
            return Ok(Vec::new());
        }
        let mut records = Vec::new();
        let mut unreadable = 0_usize;
        for line in lines {
            match serde_json::from_slice(line) {
                Ok(record) if is_ours_to_undo(&record) => records.push(record),
                Ok(_) | Err(_) => unreadable += 1,
            }
        }
        if unreadable > 0 {
            tracing::warn!(event = "journal_damaged", path = %path.display(), lines_passed_over = unreadable);
        }
        records.reverse();
        Ok(records)
    }

    /// A journal without records in place of an earlier one.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let mut line = serde_json::to_string(&Origin::here()?)?;
        line.push('\n');
        file.write_all(line.as_bytes())?;
        Ok(Self { path: path.to_owned(), file, length: 0 })
    }

    pub(super) fn append(&mut self, records: &[Undo]) -> io::Result<()> {
        let mut text = String::new();
        for record in records {
            text.push_str(&serde_json::to_string(record)?);
            text.push('\n');
        }
        self.file.write_all(text.as_bytes())?;
        self.length += u64::try_from(text.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    pub(super) fn is_long(&self) -> bool {
        self.length > COMPACT_AT
    }

    /// Makes the file anew with these records; the old one stands until the new one is whole.
    pub(super) fn compact(&mut self, records: &[Undo]) -> io::Result<()> {
        let fresh = self.path.with_extension("new");
        let mut journal = Self::create(&fresh)?;
        journal.append(records)?;
        fs::rename(&fresh, &self.path)?;
        (self.file, self.length) = (journal.file, journal.length);
        Ok(())
    }

    /// Nothing is left to undo.
    pub(super) fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// A journal that somebody has tampered with, or that fell to pieces, leads nowhere but to IPv6's own settings.
fn is_ours_to_undo(record: &Undo) -> bool {
    match record {
        Undo::Sysctl { path, .. } => path.starts_with("net/ipv6/") && path.split('/').all(|part| part != ".."),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(path: &str) -> Undo {
        Undo::Sysctl { path: path.into(), value: "0".into() }
    }

    /// What is read of a journal that was written and then changed.
    fn read_back(name: &str, records: &[Undo], change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Vec<Undo> {
        let path = std::env::temp_dir().join(format!("homeward-journal-{}-{name}", std::process::id()));
        Journal::create(&path).unwrap().append(records).unwrap();
        fs::write(&path, change(fs::read(&path).unwrap())).unwrap();
        let found = Journal::left_behind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        found
    }

    #[test]
    fn what_was_written_is_read_back_last_first() {
        let records = [setting("net/ipv6/conf/all/forwarding"), Undo::SpdHash];
        let found = read_back("whole", &records, |octets| octets);
        assert_eq!(found, [Undo::SpdHash, setting("net/ipv6/conf/all/forwarding")]);
    }

    #[test]
    fn a_record_that_was_cut_off_or_damaged_is_passed_over_and_the_others_are_kept() {
        let records = [setting("net/ipv6/conf/all/forwarding"), Undo::SpdHash];
        let found = read_back("cut", &records, |mut octets| {
            octets.truncate(octets.len() - 3);
            octets
        });
        assert_eq!(found, [setting("net/ipv6/conf/all/forwarding")]);
        let found = read_back("damaged", &records, |octets| {
            let text = String::from_utf8(octets).unwrap().replace("forwarding", "\u{0}");
            let mut octets = text.into_bytes();
            octets.iter_mut().filter(|octet| **octet == 0).for_each(|octet| *octet = 0xff);
            octets
        });
        assert_eq!(found, [Undo::SpdHash]);
    }

    #[test]
    fn a_journal_of_another_boot_or_namespace_or_none_that_can_be_told_is_not_acted_on() {
        let here = Origin::here().unwrap();
        for (name, from, to) in [
            ("boot", here.boot.clone(), "c0ffee00-0000-4000-8000-000000000000".to_owned()),
            ("namespace", here.namespace.to_string(), "1".to_owned()),
            ("header", "{".to_owned(), "[".to_owned()),
        ] {
            let found = read_back(name, &[Undo::SpdHash], |octets| {
                String::from_utf8(octets).unwrap().replacen(&from, &to, 1).into_bytes()
            });
            assert_eq!(found, [], "{name}");
        }
        assert_eq!(read_back("empty", &[Undo::SpdHash], |_| Vec::new()), []);
        assert_eq!(read_back("noise", &[Undo::SpdHash], |_| vec![0xff; 4096]), []);
    }

    #[test]
    fn a_journal_changes_no_setting_that_is_not_of_ipv6() {
        let records = [setting("kernel/core_pattern"), setting("net/ipv6/../../kernel/core_pattern"), Undo::SpdHash];
        assert_eq!(read_back("settings", &records, |octets| octets), [Undo::SpdHash]);
    }
}
