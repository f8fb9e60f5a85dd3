//! A gateway between two capture files: reads packets, says what each met, and writes what leaves.
//!
//! ```text
//! cargo run -p fielato-gateway --example pcap -- IN.pcap OUT.pcap [RULES [RULES6]]
//! ```
//!
//! RULES and RULES6 are what `iptables-save` and `ip6tables-save` print. Packets from 10.8.0.0/16 and fd08::/64 come out of the
//! tunnel, others from the uplink. It shows what an embedder does: make a `Config`, give packets with the time of each to
//! `Gateway::receive` (here to `receive_traced`, which tells what they met), take from `Gateway::transmit` what leaves, and let
//! time pass with `Gateway::handle_timeout`.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use fielato_gateway::trace::{Outcome, RouteVerdict, Summary};
use fielato_gateway::{Buffer, Config, Gateway, Link, Now, Port, PortId, PortKind, Route, RpFilter, Station};
use fielato_iptables::{FileNames, Registry, restore};
use fielato_netfilter::Ruleset;
use fielato_wire::{Family, Headers, pcap};
use ipnet::IpNet;

const TUNNEL: PortId = PortId(1);
const UPLINK: PortId = PortId(2);

fn config(rulesets: [Ruleset; 2]) -> anyhow::Result<Config> {
    let port = |id, name: &str, kind, addresses: [&str; 2]| {
        let addresses: Result<Vec<IpNet>, _> = addresses.iter().map(|net| net.parse()).collect();
        anyhow::Ok(Port {
            id,
            name: name.to_owned(),
            kind,
            mtu: 1420,
            addresses: addresses?,
            link: Link::Ip,
            rp_filter: RpFilter::Off,
        })
    };
    Ok(Config {
        ports: vec![
            port(TUNNEL, "wg0", PortKind::Tunnel, ["10.8.0.1/16", "fd08::1/64"])?,
            port(UPLINK, "eth0", PortKind::Network, ["192.0.2.1/24", "2001:db8::1/64"])?,
        ],
        routes: vec![Route::to("0.0.0.0/0".parse()?, UPLINK), Route::to("::/0".parse()?, UPLINK)],
        rulesets,
        ..Config::default()
    })
}

fn rules(file: Option<&String>, family: Family) -> anyhow::Result<Ruleset> {
    let Some(file) = file else {
        return Ok(Ruleset::new(family));
    };
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {file}"))?;
    restore::parse(&text, family, &Registry::builtin(), &FileNames::new()).with_context(|| file.clone())
}

/// By which port a packet comes: members' out of the tunnel.
fn came_by(packet: &[u8]) -> PortId {
    let member = |source: IpAddr| match source {
        IpAddr::V4(v4) => v4.octets().starts_with(&[10, 8]),
        IpAddr::V6(v6) => v6.segments().starts_with(&[0xfd08, 0, 0, 0]),
    };
    match Headers::parse(packet) {
        Ok(headers) if member(headers.src.to_ip(headers.family)) => TUNNEL,
        _ => UPLINK,
    }
}

fn ends(packet: &Summary) -> String {
    let Summary {
        source,
        destination,
        protocol,
        source_port,
        destination_port,
        ..
    } = packet;
    let port = |port: &Option<u16>| port.map_or(String::new(), |port| format!(":{port}"));
    format!(
        "{source}{} > {destination}{}, protocol {protocol}",
        port(source_port),
        port(destination_port)
    )
}

/// A station in a few words.
fn words(station: &Station) -> String {
    match station {
        Station::Received { port, packet, .. } => format!("{port} {}", packet.as_ref().map_or("no IP packet".to_owned(), ends)),
        Station::Guard { verdict } => format!("  guard: {verdict:?}"),
        Station::Rule {
            table,
            chain,
            met,
            number,
            target,
            ..
        } => format!("  {table} {chain}, {met:?} {number}: {target}"),
        Station::Connection { state, reply, .. } => format!("  {state:?}{}", if *reply { ", an answer" } else { "" }),
        Station::Nat { before, after, .. } => {
            format!("  NAT {}:{} > {}:{}", before.address, before.port, after.address, after.port)
        }
        Station::Route {
            verdict: RouteVerdict::Out { port, .. },
        } => format!("  route: {port}"),
        Station::Route { verdict } => format!("  route: {verdict:?}"),
        Station::Answer { packet } => format!("  answered: {}", ends(packet)),
        Station::Queue { port, path } => format!("  queue of {port} {}", path.join(" ")),
        Station::End(Outcome::Dropped { reason }) => format!("  dropped: {reason}"),
        Station::End(outcome) => format!("  {outcome:?}"),
    }
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output, files @ ..] = &arguments[..] else {
        bail!("usage: pcap IN.pcap OUT.pcap [RULES [RULES6]]");
    };
    let captured = pcap::read(&std::fs::read(input).with_context(|| format!("reading {input}"))?)?;
    let rulesets = [rules(files.first(), Family::V4)?, rules(files.get(1), Family::V6)?];
    let moment = |at: Duration| Now {
        mono: at.as_nanos() as u64,
        wall: at.as_nanos() as u64,
    };
    let start = captured.first().map(|first| moment(first.at)).unwrap_or_default();
    let mut gateway = Gateway::new(config(rulesets)?, 1, start)?;
    let mut out = pcap::header();
    for pcap::Captured { at, packet } in captured {
        let now = moment(at);
        gateway.handle_timeout(now);
        let port = came_by(&packet);
        for station in gateway.receive_traced(port, Buffer::from(packet), now) {
            println!("{}", words(&station));
        }
        while let Some((_, buffer)) = gateway.transmit(now) {
            buffer.split(&mut |packet| out.extend(pcap::record(at, &packet.data)));
        }
    }
    for (reason, count) in gateway.drops() {
        println!("{count} dropped: {reason}");
    }
    std::fs::write(output, out).with_context(|| format!("writing {output}"))
}
