//! Files that nobody but their owner may use: private keys and shared secrets.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

/// What a file holds, and what `stat` said of it while it was open: of that very file, whatever else has its name by now.
pub(crate) struct PrivateFile {
    pub(crate) mode: u32,
    pub(crate) content: Zeroizing<Vec<u8>>,
}

/// Reads a file.
///
/// # Errors
/// It cannot be read.
pub(crate) fn read(path: &Path) -> io::Result<PrivateFile> {
    let mut file = File::open(path)?;
    let found = file.metadata()?;
    // With room for all of it, and for the read that finds its end: growing would leave copies behind.
    let room = usize::try_from(found.len()).unwrap_or(0).saturating_add(32);
    let mut content = Zeroizing::new(Vec::new());
    content.try_reserve_exact(room)?;
    file.read_to_end(&mut content)?;
    Ok(PrivateFile { mode: found.mode(), content })
}

/// Reads a private key.
///
/// # Errors
/// It cannot be read, or others may use it.
pub(crate) fn read_key(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let PrivateFile { mode, content } = read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mode = mode & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!(
            "{path} is a private key, but others may use it (mode {mode:04o}). If nobody has read it, \
             run `chmod 600 {path}`; otherwise make a new one",
            path = path.display()
        ));
    }
    Ok(content)
}
