//! Folders, copied whole.

use std::fs;
use std::io;
use std::path::Path;

/// Copies a folder with all that is in it; what is at `to` already is overwritten or stays.
///
/// # Errors
/// When something cannot be read or written.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() { copy(&source, &target)? } else { fs::copy(&source, &target).map(drop)? }
    }
    Ok(())
}
