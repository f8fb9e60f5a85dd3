//! The commands that judge a policy before it is applied.

use std::net::IpAddr;
use std::path::PathBuf;

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

pub const CHECK_EXAMPLES: &str = "\
Examples:
  fielato check
  fielato check --config new.toml && fielato apply
  fielato check --json | jq -r '.findings[] | select(.severity == \"warning\") | .message'
  fielato check --strict            (in a pipeline: warnings fail)

Told are: rules that are never reached, and which ones decide instead; rules that say the opposite of the same packets; members that
can reach nothing; services that are open to everyone; networks that overlap; what would cut your own session or the hosts' agents;
others' rules on this machine that may stop what ours let pass (as root).

Exit codes: 0 nothing is refused; 1 something is (with --strict, or is warned of); 2 the configuration is not valid.";

pub const PLAN_EXAMPLES: &str = "\
Examples:
  fielato plan
  fielato plan --full | less
  fielato plan --against old.toml --json | jq '.machines[].machine'

Exit codes: 0 nothing would change; 3 something would; 2 a configuration that is refused.";

#[derive(Debug, Args)]
pub struct Check {
    /// Where you come from, when sshd's variable does not say so (behind tmux): the session that must not be cut
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<IpAddr>,
    /// Let pass what would cut your own session
    #[arg(long)]
    pub force: bool,
    /// Refuse what is warned of, too
    #[arg(long)]
    pub strict: bool,
    /// Print JSON, with a `version` field
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Plan {
    /// The policy to compare with [default: the one that was applied last]
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// Also in the words of nft, tc and wg, as a unified diff
    #[arg(long)]
    pub full: bool,
    /// Print JSON, with a `version` field
    #[arg(long)]
    pub json: bool,
}

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
