//! `homeward pki`: an authority of one's own, and the certificates of the nodes.

mod files;
mod look;
mod make;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use clap::builder::RangedU64ValueParser;
use conf::model::Identity;

/// How long a certificate may be valid.
const DAYS: std::ops::RangeInclusive<u64> = 1..=36_500;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Make an authority: ca.pem, its certificate, and ca.key, its private key.
    Init {
        /// The folder for both files; it is made if it is missing.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// The name of the authority, for people.
        #[arg(long, value_name = "NAME", default_value = "Homeward CA")]
        name: String,
        /// How long the authority is valid.
        #[arg(long, value_name = "N", default_value = "3650", value_parser = RangedU64ValueParser::<u64>::new().range(DAYS))]
        days: u64,
    },
    /// Make a key and a certificate for a node: IDENTITY.pem and IDENTITY.key.
    Issue {
        /// The folder with ca.pem and ca.key.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Who the certificate is for, as in the configuration: a domain name, a mail address or an IPv6 address.
        #[arg(long, value_name = "IDENTITY")]
        id: Identity,
        /// The folder for the new files, if it is another one; it is made if it is missing.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// How long the certificate is valid; without it a year, or as long as the authority if that is shorter.
        #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u64>::new().range(DAYS))]
        days: Option<u64>,
    },
    /// Show what certificates and keys say, and what is odd about them.
    #[command(visible_alias = "print")]
    Show {
        /// Files in PEM form.
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
    /// Say whether a certificate proves an identity, as a peer would judge it.
    Verify {
        /// The certificate, in PEM form; authorities between it and the one on top may follow in the same file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Whom to trust: a file with authorities in PEM form. May be given several times.
        #[arg(long, value_name = "FILE", required = true, visible_alias = "cacert")]
        authority: Vec<PathBuf>,
        /// Who it has to be; without it any name in the certificate will do.
        #[arg(long, value_name = "IDENTITY")]
        id: Option<Identity>,
        /// A private key that has to belong to the certificate.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
}

/// Does what `verb` says.
///
/// # Errors
/// What went wrong and what to do about it, ready to be printed.
pub(super) fn run(verb: Verb) -> Result<(), String> {
    let text = match verb {
        Verb::Init { dir, name, days } => make::init(&dir, &name, span(days))?,
        Verb::Issue { dir, id, out, days } => make::issue(&dir, &id, out.as_deref().unwrap_or(&dir), days.map(span))?,
        Verb::Show { files } => look::show(&files)?,
        Verb::Verify { file, authority, id, key } => look::verify(&file, &authority, id.as_ref(), key.as_deref())?,
    };
    // Who reads through `head` or a pager may stop before the end.
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("cannot write: {error}")),
        _ => Ok(()),
    }
}

fn span(days: u64) -> Duration {
    Duration::from_secs(days * 86_400)
}
