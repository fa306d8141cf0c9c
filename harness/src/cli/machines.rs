//! Options about the machines that a cluster runs on, for every command that starts one.

use clap::Args;

/// How the machines are made.
#[derive(Debug, Args)]
pub struct MachineArgs {
    /// Processors of each mail node. Under emulation a second one costs the host twice the time for the same work
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub processors: u32,
}
