//! `generator`: checks a cluster description and renders the files of its nodes.

use std::process::ExitCode;

fn main() -> ExitCode {
    generator::cli::main()
}
