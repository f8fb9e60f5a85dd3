//! The commands that judge a policy before it is applied.

use clap::Args;

pub const CAN_EXAMPLES: &str = "\
Examples:
  fielato can alice storage
  fielato can alice storage:1094/tcp
  fielato can alice internet
  fielato can bob '[2001:db8::4]:53/udp' --json

Exit codes: 0 yes; 1 no, or not at all ports and in both families; 2 the question has no sense here.";

pub const WHO_CAN_EXAMPLES: &str = "\
Examples:
  fielato who-can storage
  fielato who-can hub:22/tcp
  fielato who-can storage --json | jq -r '.members[] | select(.reach == \"yes\") | .member'";

pub const MATRIX_EXAMPLES: &str = "\
Examples:
  fielato matrix
  fielato matrix --csv > access.csv

A cell says yes, no or partly, and in which line of the file the rule stands that decides; `-` where the two have no common family.";

pub const TEST_EXAMPLES: &str = "\
Examples:
  fielato test
  fielato test --config new.toml --json | jq '.tests[] | select(.failure != null)'

A test in the file:
  [[test]]
  from = \"staff\"
  to = \"storage\"
  expect = \"accept\"

Exit codes: 0 all pass; 1 some do not; 2 a configuration that is refused.";

#[derive(Debug, Args)]
pub struct Can {
    /// Who begins the connection: a member, a host, `hub`, `internet` or an address
    #[arg(value_name = "MEMBER")]
    pub from: String,
    /// What it goes to: a service, a host, a member, `hub`, `internet` or an address; behind a colon PORT/tcp, PORT/udp, PORT/sctp, icmp,
    /// icmp/TYPE or ip/NUMBER [default: all ports of a service, else a ping]
    #[arg(value_name = "SERVICE[:PORT/PROTOCOL]")]
    pub to: String,
    /// Print JSON, with a `version` field
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct WhoCan {
    /// What is to be reached, as in `fielato can`
    #[arg(value_name = "SERVICE[:PORT/PROTOCOL]")]
    pub to: String,
    /// Print JSON, with a `version` field
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Matrix {
    /// Comma-separated values: one line for each member, one column for each service
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
    /// Print JSON, with a `version` field
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Test {
    /// Print JSON, with a `version` field
    #[arg(long)]
    pub json: bool,
}
