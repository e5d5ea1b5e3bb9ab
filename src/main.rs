//! The command line of Homeward.

use std::process::ExitCode;

fn main() -> ExitCode {
    homeward::cli::main()
}
