//! `homeward demo`: the whole idea, live, on a real kernel.

mod guest;
mod print;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::lab::{self, Story, in_guest};
use print::Printer;

/// What to show, and how.
#[derive(Clone, Debug, Args)]
pub(super) struct Demo {
    /// One JSON object a line instead of words.
    #[arg(long)]
    json: bool,
    /// One-way delay between the access routers and the home agent, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=1000))]
    delay: u16,
    /// Handovers between the access links A and B.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=1000))]
    moves: u16,
    /// Keep a capture of every link, and the keys to read them, in this folder.
    #[arg(long, value_name = "DIR")]
    pcap: Option<PathBuf>,
    /// How home agent and mobile node prove who they are.
    #[arg(long, value_enum, default_value_t = Auth::Cert)]
    auth: Auth,
    /// The old link stays up during a handover: the mobile node has two interfaces, and nothing may get lost.
    #[arg(long)]
    soft: bool,
    /// The kernel to run on: 6.1, 6.12 or running; as a rule the running one if it has what is needed, else 6.1.
    #[arg(long, value_name = "VERSION")]
    kernel: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Auth {
    /// By a shared secret.
    Psk,
    /// By certificates of one authority.
    Cert,
}

impl Demo {
    /// Shows it; whether every expectation held.
    ///
    /// # Errors
    /// What keeps it from being shown, in one line.
    pub(super) fn run(self) -> Result<bool, String> {
        if in_guest() { self.tell() } else { guest::run(&self) }
    }

    /// Inside the guest.
    fn tell(&self) -> Result<bool, String> {
        let story = Story {
            program: std::env::current_exe().map_err(|error| error.to_string())?,
            auth: match self.auth {
                Auth::Psk => lab::Auth::Psk,
                Auth::Cert => lab::Auth::Certificate,
            },
            delay: Duration::from_millis(self.delay.into()),
            moves: self.moves.into(),
            soft: self.soft,
            captures: self.pcap.as_ref().and_then(|_| guest::captures()),
        };
        let mut printer = Printer::new(self.json);
        printer.title(&story);
        let summary = story.tell(&mut |moment| printer.moment(moment));
        printer.summary(&summary);
        Ok(summary.ok())
    }
}
