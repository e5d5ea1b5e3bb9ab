//! `homeward check`: is this configuration file right?

use std::path::Path;

/// Reads and checks the file; prints what is odd about it.
///
/// # Errors
/// The diagnostics, ready to be printed.
pub(super) fn run(path: &Path) -> Result<(), String> {
    super::run::load(path)?;
    println!("{}: fine", path.display());
    Ok(())
}
