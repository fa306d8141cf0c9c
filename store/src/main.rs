//! The agent that keeps a mail store in step on two nodes.

use std::process::ExitCode;

fn main() -> ExitCode {
    store::cli::main()
}
