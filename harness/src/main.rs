//! `harness`: runs scenarios against a cluster of virtual machines.

use std::process::ExitCode;

fn main() -> ExitCode {
    harness::cli::main()
}
