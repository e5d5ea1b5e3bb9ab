//! Looking: what certificates say, and whether they prove anything.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use conf::model::Identity;
use pki::{Authorities, Description, PemError, PrivateKey, Scheme, VerifyError, certificates, describe, readable_time};

use super::files::read;
use crate::daemon::in_certificates;
use crate::private_file::{self, PrivateFile};

/// Says what is in each of `files`.
pub(super) fn show(files: &[PathBuf]) -> Result<String, String> {
    let mut text = String::new();
    for path in files {
        text.push_str(&show_one(path, SystemTime::now()).map_err(|error| format!("{}: {error}", path.display()))?);
    }
    Ok(text)
}

fn show_one(path: &Path, now: SystemTime) -> Result<String, String> {
    let PrivateFile { mode, content } = private_file::read(path).map_err(|error| error.to_string())?;
    let found = match certificates(&content) {
        Ok(found) => found,
        Err(PemError::Empty) => Vec::new(),
        Err(broken) => return Err(broken.to_string()),
    };
    let mut text = String::new();
    for (index, der) in found.iter().enumerate() {
        let number = if found.len() > 1 { format!(", certificate {}", index + 1) } else { String::new() };
        let described = describe(der, now).map_err(|error| format!("{error}{number}"))?;
        text.push_str(&lines(&format!("{}{number}", path.display()), &described, now));
    }
    let has_key = String::from_utf8_lossy(&content).contains("PRIVATE KEY-----");
    match PrivateKey::from_pem(&content) {
        Ok(key) => {
            let _ = writeln!(text, "{}: private key", path.display());
            let _ = writeln!(text, "  key        {}", kind(&key));
            if mode & 0o077 != 0 {
                let mode = mode & 0o777;
                let _ = writeln!(
                    text,
                    "  odd        others may use it (mode {mode:04o}): run `chmod 600 {}`",
                    path.display()
                );
            }
            if let Some(first) = found.first()
                && !key.belongs_to(first).map_err(|error| error.to_string())?
            {
                let _ = writeln!(text, "  odd        it is not the key of the first certificate in this file");
            }
        }
        Err(error) if has_key => return Err(error.to_string()),
        Err(_) if found.is_empty() => return Err("neither a certificate nor a private key in PEM form".to_owned()),
        Err(_) => {}
    }
    Ok(text)
}

fn kind(key: &PrivateKey) -> &'static str {
    match key.schemes() {
        [Scheme::EcdsaP256Sha256, ..] => "ECDSA, P-256",
        [Scheme::EcdsaP384Sha384, ..] => "ECDSA, P-384",
        [Scheme::Ed25519, ..] => "Ed25519",
        [Scheme::RsaPssSha256, ..] | [] => "RSA",
    }
}

fn lines(place: &str, described: &Description, now: SystemTime) -> String {
    let what = if described.authority { "certificate of an authority" } else { "certificate" };
    let mut text = format!("{place}: {what}\n");
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<10} {value}");
    };
    line("subject", &described.subject);
    for name in &described.names {
        line("name", &name.to_string());
    }
    line("issuer", &described.issuer);
    line("valid from", &readable_time(described.not_before));
    line("until", &readable_time(described.not_after));
    line("key", &described.key);
    line("signed by", &described.signature);
    line("usage", described.key_usage.as_deref().unwrap_or("any"));
    line("purpose", described.purposes.as_deref().unwrap_or("any"));
    line("serial", &described.serial);
    line("sha256", &described.fingerprint);
    for odd in described.oddities.iter().cloned().chain(described.expires_soon(now)) {
        line("odd", &odd);
    }
    text
}

/// Judges the certificate in `file`, as a peer would.
pub(super) fn verify(
    file: &Path,
    authorities: &[PathBuf],
    identity: Option<&Identity>,
    key: Option<&Path>,
) -> Result<String, String> {
    let now = SystemTime::now();
    let in_file = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let chain = certificates(read(file)?.as_bytes()).map_err(|error| in_file(file, &error))?;
    let mut trusted = Vec::new();
    for path in authorities {
        let found = certificates(read(path)?.as_bytes()).map_err(|error| in_file(path, &error))?;
        Authorities::new(&found).map_err(|error| in_file(path, &error))?;
        trusted.extend(found);
    }
    let trusted = Authorities::new(&trusted).map_err(|error| error.to_string())?;
    let first = chain.first().map(Vec::as_slice).unwrap_or_default();
    let described = describe(first, now).map_err(|error| in_file(file, &error))?;
    let expected = match identity {
        Some(identity) => in_certificates(identity),
        None => described
            .names
            .first()
            .cloned()
            .ok_or_else(|| in_file(file, &"it has no subjectAltName that can prove an identity"))?,
    };
    pki::verify(&chain, &trusted, now, &expected).map_err(|error| match error {
        VerifyError::WrongIdentity { expected, .. } => {
            let names = described.readable_names();
            in_file(file, &format!("the chain is good, but the certificate is for {names}, not for `{expected}`"))
        }
        other => in_file(file, &other),
    })?;
    if let Some(path) = key {
        let private = PrivateKey::from_pem(&private_file::read_key(path)?).map_err(|e| in_file(path, &e))?;
        if !private.belongs_to(first).map_err(|error| in_file(file, &error))? {
            return Err(in_file(path, &format!("this is not the key of the certificate in {}", file.display())));
        }
    }
    let names = match identity {
        Some(_) => format!("`{expected}`"),
        None => described.readable_names(),
    };
    let until = readable_time(described.not_after);
    Ok(format!("{}: good for {names}, until {until}\n", file.display()))
}
