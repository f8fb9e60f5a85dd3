//! `fielato status`

use anyhow::{Result, bail};
use fielato_control::fleet::HostStatus;
use fielato_control::protocol::{GuardStatus, Request, Response, Status};
use fielato_control::{Paths, client};
use jiff::Timestamp;

use crate::output::{self, ago, bytes, from_now, or_dash, table};

/// `fielato status`
pub fn run(paths: &Paths, json: bool) -> Result<()> {
    let Response::Status(status) = client::request(paths, &Request::Status)? else {
        bail!("the daemon answered something else")
    };
    match json {
        true => output::json(&status),
        false => {
            print!("{}", text(&status, Timestamp::now()));
            Ok(())
        }
    }
}

fn guard_mode(guard: &GuardStatus) -> String {
    match (guard.mode.as_str(), guard.pinned) {
        ("gateway", _) => "in the gateway".into(),
        (mode, true) => format!("{mode} XDP, bans stand if the daemon is killed"),
        (mode, false) => format!("{mode} XDP"),
    }
}

fn text(status: &Status, now: Timestamp) -> String {
    let addresses: Vec<String> = status.addresses.iter().map(ToString::to_string).collect();
    let mut text = format!(
        "interface {} ({} engine, {} WireGuard), UDP port {}\n  public key  {}\n  addresses   {}\n  uplink      {}\n  up          {} (process {})\n",
        status.interface,
        status.engine,
        status.wireguard,
        status.listen_port,
        status.public_key,
        addresses.join(", "),
        status.uplink,
        ago(status.since, now),
        status.pid,
    );
    if let Some(revision) = status.revision {
        let until = status.confirm_until.map_or(String::new(), |until| {
            format!(", taken back {} unless confirmed: `fielato confirm`", from_now(until, now))
        });
        text += &format!("  policy      revision {revision}{until}\n");
    }
    for missing in &status.missing {
        text += &format!("  no kernel   {missing}\n");
    }
    if let Some(exit) = &status.exit {
        text += &format!("  exit        {exit}\n");
    }
    if let Some(flows) = status.flows {
        text += &format!("  flows       {flows}\n");
    }
    for guard in &status.guard {
        text += &format!("  guard       on {}, {}\n", guard.interface, guard_mode(guard));
    }
    for drops in &status.drops {
        text += &format!("  dropped     {} packets: {} ({})\n", drops.packets, drops.reason, drops.by);
    }
    for warning in &status.warnings {
        text += &format!("  warning     {warning}\n");
    }
    if status.members.is_empty() {
        return text + "\nno members; next: `fielato member add NAME`\n";
    }
    let rows: Vec<Vec<String>> = status
        .members
        .iter()
        .map(|member| {
            let addresses: Vec<String> = member.addresses.iter().map(|net| net.addr().to_string()).collect();
            vec![
                member.name.clone(),
                addresses.join(" "),
                or_dash(member.endpoint),
                member.latest_handshake.map_or("never".into(), |at| ago(at, now)),
                bytes(member.rx_bytes),
                bytes(member.tx_bytes),
            ]
        })
        .collect();
    text + "\n"
        + &table(
            &["member", "addresses", "endpoint", "latest handshake", " received", " sent"],
            &rows,
        )
        + &hosts(&status.hosts, now)
}

/// Protected hosts with an agent; nothing when there are none.
fn hosts(hosts: &[HostStatus], now: Timestamp) -> String {
    if hosts.is_empty() {
        return String::new();
    }
    let row = |host: &HostStatus| {
        let state = match (host.enrolling_until, &host.failure, host.connected) {
            (Some(until), _, _) => format!("to enrol {}", from_now(until, now)),
            (None, Some(why), _) => format!("failed: {why}"),
            (None, None, Some(_)) => "connected".to_owned(),
            (None, None, None) => "away".to_owned(),
        };
        let lag = match (host.lag, host.behind_ms) {
            (Some(0), _) | (_, None) => "-".to_owned(),
            (Some(revisions), Some(ms)) => format!("{revisions} revisions, {} s", ms / 1000),
            (None, Some(ms)) => format!("{} s", ms / 1000),
        };
        vec![
            host.name.clone(),
            state,
            or_dash(host.revision),
            lag,
            host.drift.to_string(),
            host.last_seen.map_or("never".into(), |at| ago(at, now)),
        ]
    };
    let rows: Vec<Vec<String>> = hosts.iter().map(row).collect();
    "\n".to_owned() + &table(&["host", "agent", " revision", "lag", " drift", "last seen"], &rows)
}
