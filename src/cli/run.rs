//! `homeward run`: the process itself.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use conf::model::Model;

use crate::private_file;

/// Runs as the configuration says, until it is told to stop.
///
/// # Errors
/// What keeps it from starting, ready to be printed.
pub(super) fn run(path: &Path) -> Result<(), String> {
    // Before the files with secrets, which only root may read as a rule.
    if !nix::unistd::geteuid().is_root() {
        return Err("`run` needs root: it sets addresses, routes, policies and keys in the kernel".into());
    }
    let model = load(path)?;
    crate::telemetry::init(model.log.level, model.log.format).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(crate::daemon::run(model))
}

/// Reads and checks a configuration file and the permissions of the files with secrets that it names; warnings go to
/// standard error.
///
/// # Errors
/// The diagnostics, ready to be printed.
pub(super) fn load(path: &Path) -> Result<Model, String> {
    let shown = path.display();
    let text =
        fs::read_to_string(path).map_err(|error| format!("the configuration {shown} cannot be read: {error}"))?;
    // As they were when the shared secrets were read: a path may lead to another file later.
    let mut modes: BTreeMap<PathBuf, u32> = BTreeMap::new();
    let mut read = |file: &Path| {
        let mut found = private_file::read(file)?;
        modes.insert(file.to_owned(), found.mode);
        Ok(std::mem::take(&mut *found.content))
    };
    let loaded = conf::load(path, &text, &mut read).map_err(|found| {
        let errors = found.list().iter().filter(|diagnostic| diagnostic.severity == conf::Severity::Error).count();
        let errors = if errors == 1 { "an error".to_owned() } else { format!("{errors} errors") };
        format!("{errors} in the configuration {shown}\n\n{found}")
    })?;
    let warnings = loaded.warnings.to_string();
    if !warnings.is_empty() {
        eprintln!("{warnings}");
    }
    for secret in &loaded.secrets {
        let mode = match modes.get(&secret.path) {
            Some(mode) => *mode,
            // The private key: looked at again when it is read.
            None => fs::metadata(&secret.path)
                .map_err(|error| format!("{}: {error}", secret.path.display()))?
                .permissions()
                .mode(),
        };
        if let Some(diagnostic) = secret.check(mode) {
            return Err(diagnostic.to_string());
        }
    }
    Ok(loaded.model)
}
