//! The configuration: text in, checked model or diagnostics out.
//!
//! [`load`] turns the text of one file into a [`model::Model`], or says everything that is wrong with it at once.
//! Nothing here touches the disk: files with shared secrets are read through the function that the caller gives, and
//! the files whose permissions matter come back as a list ([`Loaded::secrets`]) for the caller to look at.

#![forbid(unsafe_code)]

mod check;
mod diagnostic;
pub mod model;
mod nearest;
mod raw;
mod secret;
mod value;

use std::io;
use std::path::Path;

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use secret::SecretFile;

/// A configuration that may be run.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub model: model::Model,
    /// What is odd but may be meant.
    pub warnings: Diagnostics,
    /// Files that nobody else may read: the private key and the shared secrets. Whoever loads a configuration hands
    /// the mode of each to [`SecretFile::check`].
    pub secrets: Vec<SecretFile>,
}

/// Checks the configuration `text`, which was read from `path`.
///
/// Paths in the file are relative to the folder of `path`; they come back joined with it. `read` is called with such
/// joined paths, once for each `psk_file`.
///
/// # Errors
/// Every independent error with its place and its fix, warnings among them.
pub fn load(
    path: &Path,
    text: &str,
    read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
) -> Result<Loaded, Diagnostics> {
    let mut notes = diagnostic::Notes::new(path, text);
    match raw::File::parse(text, &mut notes) {
        Some(file) => check::check(file, path, read, notes),
        None => Err(notes.finish()),
    }
}
