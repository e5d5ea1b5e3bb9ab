//! Making: an authority, and what it issues.

use std::path::Path;
use std::time::{Duration, SystemTime};

use conf::model::Identity;
use pki::{Authority, IssueError, Validity, certificates, describe, readable_time};

use crate::daemon::in_certificates;
use crate::private_file;

use super::files::{FOR_ALL, FOR_THE_OWNER, NewFile, make_both, read};

const CERTIFICATE: &str = "ca.pem";
const KEY: &str = "ca.key";

/// The clocks of the nodes may be late by this.
const SKEW: Duration = Duration::from_secs(3600);
/// How long certificates are valid if nobody says: a year.
const USUAL: Duration = Duration::from_secs(365 * 86_400);

/// Makes an authority.
pub(super) fn init(folder: &Path, name: &str, span: Duration) -> Result<String, String> {
    let now = SystemTime::now();
    let validity = Validity { not_before: now - SKEW, not_after: now + span };
    let made = Authority::create(name, validity).map_err(|error| format!("{error}; nothing was made"))?;
    let (certificate, key) = (folder.join(CERTIFICATE), folder.join(KEY));
    // The key first: without it the certificate is of no use.
    let files = [
        NewFile { path: key.clone(), text: &made.key_pem, mode: FOR_THE_OWNER },
        NewFile { path: certificate.clone(), text: &made.certificate_pem, mode: FOR_ALL },
    ];
    make_both(folder, files)?;
    Ok(format!(
        "Made the authority `{name}`, valid until {until}:\n\
         \x20 {certificate}  its certificate: every node needs a copy\n\
         \x20 {key}  its private key: whoever has it can be any node. Keep it here, and a copy in a safe place\n\
         Next: write `authorities = [\"{CERTIFICATE}\"]` at the top of every configuration, and for each node run\n\
         \x20 homeward pki issue --dir {folder} --id IDENTITY\n",
        until = readable_time(validity.not_after),
        certificate = certificate.display(),
        key = key.display(),
        folder = folder.display(),
    ))
}

/// Makes a key and a certificate for `identity`.
pub(super) fn issue(folder: &Path, identity: &Identity, out: &Path, span: Option<Duration>) -> Result<String, String> {
    let now = SystemTime::now();
    let (authority, not_before) = authority(folder, now)?;
    let not_after = match span {
        Some(span) => now + span,
        None => (now + USUAL).min(authority.not_after()),
    };
    let validity = Validity { not_before: not_before.max(now - SKEW), not_after };
    let made = authority.issue(&in_certificates(identity), validity).map_err(|error| match error {
        IssueError::OutlivesAuthority(until) => {
            let left = authority.not_after().duration_since(now).map_or(0, |left| left.as_secs() / 86_400);
            let shorter = if left > 0 { format!("give at most `--days {left}`, or ") } else { String::new() };
            format!("the authority itself ends at {until}: {shorter}make a new authority")
        }
        other => other.to_string(),
    })?;
    // A mail address may have a slash in it.
    let name = identity.to_string().replace('/', "_");
    let (pem, key) = (format!("{name}.pem"), format!("{name}.key"));
    let files = [
        NewFile { path: out.join(&key), text: &made.key_pem, mode: FOR_THE_OWNER },
        NewFile { path: out.join(&pem), text: &made.certificate_pem, mode: FOR_ALL },
    ];
    make_both(out, files)?;
    // What an identity is made of is written alike in Rust and in TOML.
    Ok(format!(
        "Made a certificate for `{identity}`, valid until {until}:\n\
         \x20 {pem_path}  the certificate\n\
         \x20 {key_path}  its private key: only the node itself needs it\n\
         Next: copy both and {authority} into the folder of the node's configuration, and write there\n\
         \n\
         authorities = [\"{CERTIFICATE}\"]\n\
         \n\
         [identity]\n\
         id = {id:?}\n\
         certificate = {pem:?}\n\
         key = {key:?}\n",
        until = readable_time(not_after),
        pem_path = out.join(&pem).display(),
        key_path = out.join(&key).display(),
        authority = folder.join(CERTIFICATE).display(),
        id = identity.to_string(),
    ))
}

/// The authority in `folder`, which has to be able to issue at `now`, and the moment at which it began.
fn authority(folder: &Path, now: SystemTime) -> Result<(Authority, SystemTime), String> {
    let path = folder.join(CERTIFICATE);
    if !path.exists() {
        return Err(format!(
            "{} does not exist: there is no authority. Make one with `homeward pki init --dir {}`",
            path.display(),
            folder.display()
        ));
    }
    let certificate = read(&path)?;
    let key_path = folder.join(KEY);
    let key = private_file::read_key(&key_path)?;
    let key = std::str::from_utf8(&key).map_err(|_| format!("{}: this is no text", key_path.display()))?;
    let wrong = |error: String| format!("{}: {error}", path.display());
    let authority = Authority::from_pem(&certificate, key).map_err(|error| wrong(error.to_string()))?;
    let chain = certificates(certificate.as_bytes()).map_err(|error| wrong(error.to_string()))?;
    let own = chain.first().map(Vec::as_slice).unwrap_or_default();
    let not_before = describe(own, now).map_err(|error| wrong(error.to_string()))?.not_before;
    if authority.not_after() < now {
        let until = readable_time(authority.not_after());
        return Err(wrong(format!(
            "the authority expired at {until}; make a new one in another folder with `homeward pki init`, and give its \
             certificate to every node"
        )));
    }
    if now < not_before {
        let from = readable_time(not_before);
        return Err(wrong(format!("the authority is valid only from {from} on; is the clock right?")));
    }
    Ok((authority, not_before))
}
