//! Steps 4 and 5: the two ways in which a protected host tells the VPN's packets from others.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};

use super::service::{Service, Way};
use super::{StepSpec, Talk, forge};
use crate::gateway::Strategy;
use crate::interrupt::Interrupt;
use crate::machine::Machine;
use crate::topology::{Family, Node, OUTER, OUTER_PREFIX_V4, OUTER_PREFIX_V6, SERVICE_PORT};

pub(super) const SOURCE: StepSpec = StepSpec {
    title: "Strategy source",
    claim: "The host admits the hub's address only: past the hub nobody gets in, and through it everyone is the hub.",
    needs_tunnel: true,
    takes_down: false,
    run: source,
};

pub(super) const MEMBER: StepSpec = StepSpec {
    title: "Strategy member",
    claim: "The host admits what comes in by its tunnel: a forged overlay address passes a filter by source, and not this one.",
    needs_tunnel: true,
    takes_down: false,
    run: member,
};

/// How long a packet may take across the switch.
const PATIENCE: Duration = Duration::from_secs(3);
/// Table that counts what the filters let through.
const WATCH: &str = "lab_watch";
/// Table of `render HOST --format nft`.
const HOST_TABLE: &str = "fielato_host";
/// UDP and TCP, IPv4 and IPv6.
const FORGED: usize = 4;

fn source(talk: &mut Talk<'_, '_, '_>) -> Result<()> {
    talk.gateway()?.write_config(Strategy::Source, "")?;
    talk.gateway()?.reload()?;
    let _service = Service::start(talk.lab.machine(Node::ClientB))?;
    for format in Format::BOTH {
        let rules = HostRules::apply(talk, format)?;
        let direct = Family::BOTH.map(|family| (Way::Direct, Node::ClientB.outer(family)));
        talk.expect_silence(&direct, format.words())?;
        for family in Family::BOTH {
            talk.expect_seen(
                Way::Routed,
                Node::ClientB.outer(family),
                Node::VpnCore.outer(family),
                format.words(),
            )?;
        }
        rules.remove(talk.interrupt)?;
    }
    Ok(())
}

fn member(talk: &mut Talk<'_, '_, '_>) -> Result<()> {
    talk.gateway()?.write_config(Strategy::Member, "")?;
    talk.gateway()?.reload()?;
    let service = Service::start(talk.lab.machine(Node::ClientB))?;
    for format in Format::BOTH {
        let rules = HostRules::apply(talk, format)?;
        let outer = Family::BOTH.map(|family| [Way::Direct, Way::Routed].map(|way| (way, Node::ClientB.outer(family))));
        talk.expect_silence(outer.as_flattened(), format.words())?;
        for family in Family::BOTH {
            talk.expect_seen(
                Way::Routed,
                Node::ClientB.overlay(family),
                Node::ClientA.overlay(family),
                format.words(),
            )?;
        }
        rules.remove(talk.interrupt)?;
    }
    forged(talk, &service)
}

/// Packets with client-a's overlay address as source, sent past the tunnel: by the talk's weaker filter, then by ours.
fn forged(talk: &mut Talk<'_, '_, '_>, service: &Service) -> Result<()> {
    let host = talk.lab.machine(Node::ClientB);
    let weak = HostRules::by_source(host, talk.interrupt)?;
    let watch = Watch::start(host, talk.interrupt)?;
    send_forged(talk, "past the weaker filter")?;
    let passed = watch.wait_for(FORGED as u64)?;
    let received = received(talk.interrupt, service, "past the weaker filter", 2)?;
    let expected = format!("all {FORGED} get in (UDP and TCP, IPv4 and IPv6), both datagrams reach the service");
    let measured = format!("{passed} of {FORGED} get in, {received} datagrams reach the service");
    let good = passed == FORGED as u64 && received == 2;
    talk.recorder
        .check("forged overlay source, filter `! -s` overlay", expected, measured, good)?;
    weak.remove(talk.interrupt)?;
    let passed_before = watch.packets()?;

    let rules = HostRules::apply(talk, Format::Nft)?;
    send_forged(talk, "past ours")?;
    let dropped = talk.interrupt.wait(PATIENCE, || {
        let dropped = packets_counted(host, HOST_TABLE, talk.interrupt)?;
        Ok((dropped >= FORGED as u64).then_some(dropped))
    })?;
    let dropped = dropped.map_or_else(|| packets_counted(host, HOST_TABLE, talk.interrupt), Ok)?;
    let passed = watch.packets()? - passed_before;
    let received = self::received(talk.interrupt, service, "past ours", 0)?;
    let expected = format!("none of {FORGED} gets in, all are dropped by our rules, nothing reaches the service");
    let measured = format!("{passed} get in, {dropped} dropped by our rules, {received} datagrams reach the service");
    let good = passed == 0 && dropped == FORGED as u64 && received == 0;
    talk.recorder
        .check("forged overlay source, our filter `! -i wg0`", expected, measured, good)?;
    watch.stop()?;
    rules.remove(talk.interrupt)
}

fn send_forged(talk: &Talk<'_, '_, '_>, payload: &str) -> Result<()> {
    let from = talk.lab.machine(Node::ClientA);
    for (index, family) in Family::BOTH.into_iter().enumerate() {
        let to = SocketAddr::new(Node::ClientB.outer(family), SERVICE_PORT);
        let source = SocketAddr::new(Node::ClientA.overlay(family), 40_000 + index as u16);
        forge::send(from, to.ip(), &forge::udp(source, to, payload.as_bytes()))?;
        forge::send(from, to.ip(), &forge::tcp_syn(source, to))?;
    }
    Ok(())
}

/// How many datagrams with this payload and a forged source the service received: waits for `expected` of them.
fn received(interrupt: &Interrupt, service: &Service, payload: &str, expected: usize) -> Result<usize> {
    let forged: Vec<IpAddr> = Family::BOTH.map(|family| Node::ClientA.overlay(family)).to_vec();
    let count = || {
        let datagrams = service.datagrams();
        datagrams
            .iter()
            .filter(|datagram| datagram.payload == payload.as_bytes() && forged.contains(&datagram.from))
            .count()
    };
    let reached = interrupt.wait(PATIENCE, || Ok((count() >= expected).then(count)))?;
    Ok(reached.unwrap_or_else(count))
}

/// In which form the host gets its rules.
#[derive(Debug, Clone, Copy)]
enum Format {
    Nft,
    Iptables,
}

impl Format {
    const BOTH: [Self; 2] = [Self::Nft, Self::Iptables];

    fn words(self) -> &'static str {
        match self {
            Self::Nft => "nft",
            Self::Iptables => "iptables",
        }
    }
}

/// Rules on client-b.
struct HostRules<'l> {
    machine: &'l Machine,
    format: Format,
}

impl<'l> HostRules<'l> {
    /// What the hub renders for client-b, as it is.
    fn apply(talk: &Talk<'_, 'l, '_>, format: Format) -> Result<Self> {
        let render = ["render", Node::ClientB.name(), "--format", format.words()];
        let text = talk.lab.machine(Node::VpnCore).fielato(render).succeed(talk.interrupt)?;
        let machine = talk.lab.machine(Node::ClientB);
        match format {
            Format::Nft => machine.call("nft", ["-f", "-"]),
            Format::Iptables => machine.call("sh", ["-e"]),
        }
        .input(text)
        .succeed(talk.interrupt)
        .with_context(|| format!("client-b does not take the rules rendered as {}", format.words()))?;
        Ok(Self { machine, format })
    }

    /// The talk's own warning: `! -s OVERLAY` instead of `! -i wg0`.
    fn by_source(machine: &'l Machine, interrupt: &Interrupt) -> Result<Self> {
        let mut script = String::new();
        for protocol in ["tcp", "udp"] {
            for (command, overlay, length) in [
                ("iptables", Node::VpnCore.overlay(Family::V4), OUTER_PREFIX_V4),
                ("ip6tables", Node::VpnCore.overlay(Family::V6), OUTER_PREFIX_V6),
            ] {
                script += &format!("{command} -A INPUT -p {protocol} ! -s {overlay}/{length} --dport {SERVICE_PORT} -j DROP\n");
            }
        }
        machine.call("sh", ["-e"]).input(script).succeed(interrupt)?;
        Ok(Self {
            machine,
            format: Format::Iptables,
        })
    }

    fn remove(self, interrupt: &Interrupt) -> Result<()> {
        let script = match self.format {
            Format::Nft => format!("nft delete table inet {HOST_TABLE}\n"),
            // The tables that iptables-nft makes for its chains stay when the chains are empty; iptables-legacy has none.
            Format::Iptables => "for command in iptables ip6tables; do\n\
                 $command -F; $command -X\n$command -t raw -F 2>/dev/null || true\ndone\n\
                 for family in ip ip6; do for table in filter raw; do\n\
                 if nft list table $family $table >/dev/null 2>&1; then nft delete table $family $table; fi\ndone; done\n"
                .to_owned(),
        };
        self.machine.call("sh", ["-e"]).input(script).succeed(interrupt).map(drop)
    }
}

/// Counts packets for the service that have passed all filters of client-b and have an overlay source though they came in
/// from the switch.
struct Watch<'l> {
    machine: &'l Machine,
    interrupt: &'l Interrupt,
}

impl<'l> Watch<'l> {
    fn start(machine: &'l Machine, interrupt: &'l Interrupt) -> Result<Self> {
        // Filters are at priority 0; what they drop does not get here.
        let service = format!("iifname \"{OUTER}\" meta l4proto {{ tcp, udp }} th dport {SERVICE_PORT}");
        let rules = format!(
            "table inet {WATCH} {{\n chain input {{\n  type filter hook input priority 300; policy accept;\n  {service} ip saddr {} counter\n  {service} ip6 saddr {} counter\n }}\n}}\n",
            Node::ClientA.overlay_v4(),
            Node::ClientA.overlay_v6(),
        );
        machine.call("nft", ["-f", "-"]).input(rules).succeed(interrupt)?;
        Ok(Self { machine, interrupt })
    }

    fn packets(&self) -> Result<u64> {
        packets_counted(self.machine, WATCH, self.interrupt)
    }

    /// As many as `count`, or what there is when no more come.
    fn wait_for(&self, count: u64) -> Result<u64> {
        let reached = self
            .interrupt
            .wait(PATIENCE, || Ok(Some(self.packets()?).filter(|packets| *packets >= count)))?;
        reached.map_or_else(|| self.packets(), Ok)
    }

    fn stop(self) -> Result<()> {
        self.machine
            .call("nft", ["delete", "table", "inet", WATCH])
            .succeed(self.interrupt)
            .map(drop)
    }
}

/// Sum of all counters of a table.
fn packets_counted(machine: &Machine, table: &str, interrupt: &Interrupt) -> Result<u64> {
    let json = machine
        .call("nft", ["-j", "list", "table", "inet", table])
        .succeed(interrupt)?;
    Ok(sum_of_counters(&serde_json::from_str(&json).context("nft printed no JSON")?))
}

fn sum_of_counters(value: &serde_json::Value) -> u64 {
    match value {
        serde_json::Value::Array(items) => items.iter().map(sum_of_counters).sum(),
        serde_json::Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| match (name.as_str(), field["packets"].as_u64()) {
                ("counter", Some(packets)) => packets,
                _ => sum_of_counters(field),
            })
            .sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_wherever_they_are() {
        let json = r#"{"nftables": [{"rule": {"expr": [{"match": {}}, {"counter": {"packets": 3, "bytes": 9}}]}}, {"rule": {"expr": [{"counter": {"packets": 4, "bytes": 9}}, {"drop": null}]}}]}"#;
        assert_eq!(sum_of_counters(&serde_json::from_str(json).unwrap()), 7);
    }
}
