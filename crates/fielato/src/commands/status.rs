//! `fielato status`

use anyhow::{Result, bail};
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
}
