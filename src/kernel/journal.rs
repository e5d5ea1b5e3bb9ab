//! What would have to be undone if the process were killed now: a file of JSON lines, written before the kernel is told.
//!
//! It holds no keys. Lines for what was removed in the meantime stay until the file is made anew; removing something twice does no
//! harm.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::inverse::Undo;

/// The file is made anew from what stands when it has grown to this.
const COMPACT_AT: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    length: u64,
}

impl Journal {
    /// What an earlier process left behind, last first. A line that was cut off by its end is left out.
    pub(super) fn left_behind(path: &Path) -> io::Result<Vec<Undo>> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            result => result?,
        };
        Ok(text.lines().rev().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// An empty journal in place of an earlier one.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
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
