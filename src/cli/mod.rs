//! The verbs of the command line, one file each.

mod check;
mod demo;
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
    /// Show the whole idea on this machine: a mobile node roams between two links, goes home and leaves again.
    ///
    /// It needs no special kernel and touches nothing of this machine: everything happens in a Linux kernel in user mode, or, where
    /// the running kernel has all that is needed, in namespaces on it. The exit status is 0 only if every expectation held.
    Demo(demo::Demo),
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
        Verb::Demo(demo) => match demo.run() {
            Ok(true) => Ok(()),
            // It has said why.
            Ok(false) => return ExitCode::FAILURE,
            Err(message) => Err(message),
        },
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
