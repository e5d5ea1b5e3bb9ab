//! `homeward check`: is this configuration file right?

use std::path::Path;

/// Reads and checks the file, and the certificates and keys that it names; prints what is odd about them.
///
/// # Errors
/// The diagnostics, ready to be printed.
pub(super) fn run(path: &Path) -> Result<(), String> {
    let model = super::run::load(path)?;
    if let Some(soon) = crate::daemon::check(&model)? {
        eprintln!("warning: {soon}");
    }
    println!("{}: fine", path.display());
    Ok(())
}
