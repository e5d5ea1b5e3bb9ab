//! One process for each state folder: what stands in its journal is the doing of the process that holds the lock, or of one that
//! is gone.
//!
//! The journal is locked as well, by whoever writes it. This lock comes before it: it is taken before the IKE ports and before
//! anything is read, its file is never replaced as the journal is, and it says in the daemon's words whom to stop.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// The right to use a state folder. It ends with the process, however that ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Makes the folder if it is not there, and takes its lock.
    ///
    /// # Errors
    /// In words: the folder cannot be used, or which process uses it.
    pub(super) fn take(state_dir: &Path) -> Result<Self, String> {
        let shown = state_dir.display();
        // What we leave behind, and may undo as root, is nobody else's to read or write.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(state_dir)
            .map_err(|error| format!("the folder state_dir = {shown} cannot be made: {error}"))?;
        let path = state_dir.join("lock");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                let written = file.set_len(0).and_then(|()| file.rewind());
                written
                    .and_then(|()| writeln!(file, "{}", std::process::id()))
                    .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
                Ok(Self { _file: file })
            }
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut holder = String::new();
                let process = match file.read_to_string(&mut holder) {
                    Ok(_) if !holder.trim().is_empty() => format!(" (process {})", holder.trim()),
                    _ => String::new(),
                };
                Err(format!(
                    "another homeward{process} is running with state_dir = {shown}: stop that one, or give this one a \
                     state_dir of its own; nothing was changed"
                ))
            }
            Err((_, error)) => Err(format!("{} cannot be locked: {error}", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("homeward-lock-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        folder
    }

    #[test]
    fn a_state_folder_has_one_user_at_a_time_who_is_named() {
        let folder = folder("one");
        let lock = Lock::take(&folder).unwrap();
        let said = Lock::take(&folder).unwrap_err();
        assert!(said.contains(&format!("process {}", std::process::id())), "{said}");
        assert!(said.contains(&folder.display().to_string()), "{said}");
        drop(lock);
        Lock::take(&folder).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let file = folder("file");
        std::fs::write(&file, "").unwrap();
        let said = Lock::take(&file.join("state")).unwrap_err();
        assert!(said.contains(&file.join("state").display().to_string()), "{said}");
        std::fs::remove_file(&file).unwrap();
    }
}
