//! The verbs of the command line, one file each.

mod check;
mod pki;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// IKEv2 and Mobile IPv6 in one process, joined as RFC 4877 describes.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run as the home agent or mobile node that the configuration describes.
    Run {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Check a configuration file and say what is wrong with it.
    Check {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Make an authority and certificates, look at them, and judge them.
    Pki {
        #[command(subcommand)]
        verb: pki::Verb,
    },
}

/// Runs the verb that the command line names.
pub fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Run { config } => run::run(&config),
        Verb::Check { config } => check::run(&config),
        Verb::Pki { verb } => pki::run(verb),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("homeward: {message}");
            ExitCode::FAILURE
        }
    }
}
