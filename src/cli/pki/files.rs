//! Certificates and keys on the disk.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file to be made.
pub(super) struct NewFile<'a> {
    pub(super) path: PathBuf,
    pub(super) text: &'a str,
    /// Its permissions.
    pub(super) mode: u32,
}

pub(super) const FOR_ALL: u32 = 0o644;
pub(super) const FOR_THE_OWNER: u32 = 0o600;

/// Makes both files or none of them, never in the place of others, and their folder if it is missing.
///
/// # Errors
/// One of them exists, or something cannot be written.
pub(super) fn make_both(folder: &Path, files: [NewFile<'_>; 2]) -> Result<(), String> {
    for file in &files {
        // Asked before anything is made; the links below ask again.
        if file.path.symlink_metadata().is_ok() {
            return Err(exists(&file.path));
        }
    }
    let made = make_folder(folder).map_err(|error| format!("cannot make the folder {}: {error}", folder.display()))?;
    let mut kept: Vec<PathBuf> = Vec::new();
    let result = files.iter().try_for_each(|file| {
        make(file).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(&file.path),
            _ => format!("cannot write {}: {error}", file.path.display()),
        })?;
        kept.push(file.path.clone());
        Ok(())
    });
    if result.is_err() {
        for path in kept {
            let _ = fs::remove_file(path);
        }
        if made {
            let _ = fs::remove_dir(folder);
        }
    }
    result
}

fn exists(path: &Path) -> String {
    format!("{} exists already; nothing was made. Move it away, or choose another folder", path.display())
}

/// Whether it was missing. Its parent is not made: that would hide a slip of the pen.
fn make_folder(folder: &Path) -> io::Result<bool> {
    if folder.is_dir() {
        return Ok(false);
    }
    DirBuilder::new().mode(0o700).create(folder).map(|()| true)
}

/// Under another name first: whoever sees the file sees all of it, also after a power cut.
fn make(file: &NewFile<'_>) -> io::Result<()> {
    let mut name = std::ffi::OsString::from(".");
    name.push(file.path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    let draft = file.path.with_file_name(name);
    let write = || {
        let mut open = OpenOptions::new().write(true).create_new(true).mode(file.mode).open(&draft)?;
        open.write_all(file.text.as_bytes())?;
        open.sync_all()?;
        // Unlike a renaming, a link never takes the place of another file.
        fs::hard_link(&draft, &file.path)
    };
    let result = write();
    let _ = fs::remove_file(&draft);
    result?;
    if let Some(folder) = file.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Reads a file as text.
///
/// # Errors
/// It cannot be read.
pub(super) fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{FOR_ALL, FOR_THE_OWNER, NewFile, make_both};

    #[test]
    fn the_first_file_goes_again_if_the_second_cannot_be_made() {
        let folder = std::env::temp_dir().join(format!("homeward-files-{}", std::process::id()));
        let first = NewFile { path: folder.join("a.key"), text: "a", mode: FOR_THE_OWNER };
        let second = NewFile { path: folder.join("missing/a.pem"), text: "b", mode: FOR_ALL };
        let why = make_both(&folder, [first, second]).unwrap_err();
        assert!(why.contains("missing/a.pem"), "{why}");
        assert!(!folder.exists(), "the folder was made for both");
    }
}
