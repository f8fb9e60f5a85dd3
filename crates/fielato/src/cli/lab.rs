//! The lab's commands.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

const DRILLS_EXAMPLES: &str = "\
Examples:
  fielato lab drills
  fielato lab drills --times 3 --engine both --json | jq -r '.steps[].checks[] | select(.outcome != \"passed\")'

An administrator is logged in on the hub through the tunnel, and applies a policy that cuts him off. It is refused; forced, it is taken
back by itself; and so it is when the daemon is killed meanwhile, at --times random moments.";

#[derive(Debug, Subcommand)]
pub enum Lab {
    /// Make client-a, vpn-core and client-b, with the tunnel running
    #[command(after_help = "Example:\n  fielato lab up && fielato lab exec client-a -- ping -c1 192.168.4.3; fielato lab down")]
    Up,
    /// Run a command on one of the machines
    #[command(after_help = "Example:\n  fielato lab exec vpn-core -- wg show")]
    Exec {
        /// client-a, vpn-core or client-b
        host: fielato_lab::Node,
        /// The command and its arguments
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<std::ffi::OsString>,
    },
    /// Remove the machines
    #[command(after_help = "Example:\n  fielato lab down")]
    Down,
    /// Show everything the gateway does, step by step, and check it
    #[command(after_help = "Examples:\n  fielato lab talk\n  fielato lab talk --engine userspace")]
    Talk(Talk),
    /// Lock the administrator out, over and over, and check that he is let in again
    #[command(after_help = DRILLS_EXAMPLES)]
    Drills(Drills),
}

#[derive(Debug, Args)]
pub struct Talk {
    /// Who judges and moves packets on the hub
    #[arg(long, value_enum, default_value_t = LabEngine::Kernel)]
    pub engine: LabEngine,
    /// Print one JSON document at the end, with a `version` field
    #[arg(long)]
    pub json: bool,
    /// Where the captures go [default: a new folder among the temporary files]
    #[arg(long, value_name = "DIR")]
    pub captures: Option<PathBuf>,
    /// Leave the machines standing at the end
    #[arg(long)]
    pub keep: bool,
}

#[derive(Debug, Args)]
pub struct Drills {
    /// How many times the daemon is killed in the middle
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub times: u32,
    /// Who judges and moves packets on the hub
    #[arg(long, value_enum, default_value_t = LabEngine::Kernel)]
    pub engine: LabEngine,
    /// Choose the same moments as the run that told this number [default: others each time]
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Print one JSON document at the end, with a `version` field
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LabEngine {
    /// nftables, tc and XDP
    Kernel,
    /// One process
    Userspace,
    /// Everything twice, and one JSON document for each
    Both,
}
