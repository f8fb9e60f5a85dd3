//! The commands that put a policy in force, take it back, and tell what was done.

use std::net::IpAddr;

use clap::{Args, ValueEnum};

use super::{Json, parse_duration};

pub const APPLY_EXAMPLES: &str = "\
Examples:
  fielato apply --confirm 60s -m 'storage for the guests'     then, from a new session: fielato confirm
  fielato apply

With --confirm the policy before comes back by itself when `fielato confirm` does not come in time: rules, members, shaping. That
holds also if the daemon is killed meanwhile. The file stays as it is; `fielato log` tells what became of it.

What would cut your own session is refused. sshd tells where you come from (SSH_CONNECTION); where that is lost, as behind tmux, every
member's connection to port 22, or to where sshd or dropbear listens, may be yours. Others' logins that it cuts are warned of.";

pub const ROLLBACK_EXAMPLES: &str = "\
Examples:
  fielato rollback         takes back what waits to be confirmed; else goes back to the revision before
  fielato rollback 12      makes the configuration file what it was in revision 12, and applies it

The file that is replaced is kept as fielato.toml.before-rollback.";

pub const USAGE_EXAMPLES: &str = "\
Examples:
  fielato usage --since 30d
  fielato usage --since 2026-11-01T00:00:00Z --by group --csv

Hours are kept for a year. Received is what the member sent: bytes of WireGuard's messages, packets inside the tunnel. A dash
stands where the kernel can't count packets; `fielato status` says why.";

#[derive(Debug, Args)]
pub struct Apply {
    /// Take it back unless `fielato confirm` comes within this time [without TIME: 60s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, num_args = 0..=1, default_missing_value = "60s")]
    pub confirm: Option<jiff::SignedDuration>,
    /// What for; `fielato log` shows it
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
    #[command(flatten)]
    pub way: Way,
    #[command(flatten)]
    pub json: Json,
}

/// How not to lock oneself out.
#[derive(Debug, Args)]
pub struct Way {
    /// Where you come from, when sshd's variable does not say so (behind tmux): the session that must not be cut
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<IpAddr>,
    /// Also if it cuts your own session, or the hosts' agents
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct Rollback {
    /// The revision to go back to, see `fielato log`
    pub revision: Option<u64>,
    /// Take it back unless `fielato confirm` comes within this time [without TIME: 60s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, num_args = 0..=1, default_missing_value = "60s", require_equals = true)]
    pub confirm: Option<jiff::SignedDuration>,
    /// What for; `fielato log` shows it
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
    #[command(flatten)]
    pub way: Way,
}

#[derive(Debug, Args)]
pub struct Log {
    /// How many
    #[arg(short = 'n', long, default_value_t = 20)]
    pub limit: usize,
    #[command(flatten)]
    pub json: Json,
}

#[derive(Debug, Args)]
pub struct Show {
    /// The revision [default: the one in force]
    pub revision: Option<u64>,
    /// Print the policy's text alone
    #[arg(long, conflicts_with = "json")]
    pub text: bool,
    #[command(flatten)]
    pub json: Json,
}

#[derive(Debug, Args)]
pub struct GrantArgs {
    /// Who
    pub member: String,
    /// To what
    pub service: String,
    /// How long, for instance 15m, 2h, 7d
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    pub duration: jiff::SignedDuration,
    /// What for; `fielato grants` and the audit log show it
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

#[derive(Debug, Args)]
pub struct Revoke {
    /// Who
    pub member: String,
    /// To what
    pub service: String,
}

#[derive(Debug, Args)]
pub struct UsageArgs {
    /// From then on: a time before now (12h, 30d) or a date and time with offset
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = parse_since)]
    pub since: Since,
    /// Summed up by what
    #[arg(long, value_enum, default_value_t = By::Member)]
    pub by: By,
    /// Print comma-separated values
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
    #[command(flatten)]
    pub json: Json,
}

/// The beginning of a time.
#[derive(Debug, Clone, Copy)]
pub enum Since {
    /// So long before now.
    Before(jiff::SignedDuration),
    /// This moment.
    At(jiff::Timestamp),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// Each member
    Member,
    /// Each group; who is in two counts in both
    Group,
}

fn parse_since(text: &str) -> Result<Since, String> {
    match (parse_duration(text), text.parse()) {
        (_, Ok(moment)) => Ok(Since::At(moment)),
        (Ok(before), _) => Ok(Since::Before(before)),
        (Err(_), Err(_)) => {
            Err("neither a time before now (12h, 30d) nor a date and time with offset (2026-11-01T00:00:00Z)".into())
        }
    }
}
