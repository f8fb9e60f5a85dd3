//! Traces in sentences: a day in the life of a packet.

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use super::cipher::Cipher;
use super::packet::{Layer, Shown};
use super::station::{End, PacketEnd, Place, Role, Station, Step, Trace};
use super::text::{named, why};
use crate::gateway::Origin;

/// All traces as numbered sentences, with the packet's layers where it changes them. `file` is how the configuration file is
/// called.
pub fn explain(traces: &[Trace], file: &str) -> String {
    let mut out = String::new();
    for (index, trace) in traces.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        one(trace, file, &mut out);
    }
    out
}

fn one(trace: &Trace, file: &str, out: &mut String) {
    let begin = match trace.role {
        Role::Asked => "",
        Role::Opening => "A connection is established by packets that pass both ways. Here one of them is stopped.\n",
        Role::Answer => "Now the answer.\n",
    };
    let _ = writeln!(out, "{begin}{} sends {}.", capital(&trace.from.to_string()), trace.packet);
    out.push_str(&layers(&trace.packet));
    let mut number = 0;
    let mut say = |text: String| {
        number += 1;
        let mut lines = text.lines().flat_map(wrapped);
        let _ = writeln!(out, "{number:>3}. {}", lines.next().unwrap_or_default());
        for line in lines {
            let _ = writeln!(out, "     {line}");
        }
    };
    for station in &trace.stations {
        say(sentence(station, &trace.packet, file));
    }
    match &trace.end {
        End::Arrived { at, packet } => say(format!("It arrives at {} as {packet}.", of(at))),
        End::Stopped { at, reason, advice } => {
            say(format!("It ends here, at {}: {}.", of(at), why(reason, file)));
            let _ = writeln!(out, "\nWhat to do: {advice}");
        }
    }
}

fn sentence(station: &Station, packet: &Shown, file: &str) -> String {
    let Station { place, step } = station;
    match step {
        Step::MemberRoute {
            route,
            network: Some(network),
        } => format!(
            "{} looks for {} in its AllowedIPs, which `route = {route}` filled, and finds {network}: the packet goes into the tunnel.",
            capital(&of(place)),
            packet.destination
        ),
        Step::MemberRoute { route, network: None } => format!(
            "{} looks for {} in its AllowedIPs, which `route = {route}` filled, and finds nothing: the packet leaves by its own network and never sees the hub.",
            capital(&of(place)),
            packet.destination
        ),
        Step::Encrypt { to, cipher } => encrypt(to, cipher),
        Step::Decrypt { from, source, allowed } => decrypt(place, from, *source, allowed),
        Step::NoPeer { member, state } => {
            format!("{member} {state}: the hub does not know its key, and there is no session to send it in.")
        }
        Step::Guard { limited: true, .. } => "The guard drops it: its source sends more than it may.".to_owned(),
        Step::Guard { ban: None, .. } => "The guard finds no ban of its source, and counts it.".to_owned(),
        Step::Guard { ban: Some(network), .. } => {
            format!("The guard finds a ban of {network}, and drops it before anything else looks at it.")
        }
        Step::Arrive { interface } => format!("It comes to {} by {interface}, in clear.", of(place)),
        Step::Connection { state } => connection(state),
        Step::Table {
            hook,
            table,
            chain,
            rule,
            origin,
            verdict,
        } => table_verdict(place, [hook, table, chain], *rule, origin.as_ref(), verdict, file),
        Step::Nat {
            end: PacketEnd::Source,
            before,
            after,
            supposed: _,
        } => format!("Its source {before} becomes {after}; connection tracking remembers it, and turns the answers back."),
        Step::Nat {
            end: PacketEnd::Destination,
            before,
            after,
            supposed: _,
        } => format!("Connection tracking turns its destination {before} back into {after}."),
        Step::Proxy { address } => format!(
            "An ordinary socket of the hub's machine carries it between the VPN and the outside; from here on its address is {address}."
        ),
        Step::Route { interface: None, .. } => "The route says that it is for this machine itself.".to_owned(),
        Step::Route {
            interface: Some(interface),
            via,
        } => {
            let via = via.map_or_else(String::new, |via| format!(", to the router {via}"));
            format!("The route says that it leaves by {interface}{via}.")
        }
        Step::Queue { interface, path } if path.is_empty() => {
            format!("It waits its turn in the queue of {interface}, first in, first out.")
        }
        Step::Queue { interface, path } => format!("It waits its turn on {interface}: {}.", path.join(", ")),
        Step::Tell { packet, lost: None } => format!("The sender is told: {packet}."),
        Step::Tell {
            packet,
            lost: Some((at, reason)),
        } => format!(
            "The sender would be told, but that is stopped at {at} ({}): {packet}.",
            why(reason, file)
        ),
    }
}

fn decrypt(place: &Place, from: &str, source: IpAddr, allowed: &[IpNet]) -> String {
    let nets: Vec<String> = allowed.iter().map(crate::render::plain).collect();
    let nets = nets.join(", ");
    let means = match allowed.iter().any(|net| net.contains(&source)) {
        true => format!("{source} is among these, so nobody else can have sent it"),
        false => format!("{source} is not among these, so it is dropped"),
    };
    let who = capital(&of(place));
    format!("{who} decrypts it with the key of {from}, which may send from {nets}: {means}.")
}

fn connection(state: &str) -> String {
    let means = match state {
        "new" => "nothing was seen of this connection before",
        "established" => "it belongs to a connection that was seen both ways",
        "related" => "it concerns a connection that is known",
        "invalid" => "it belongs to no connection, and can't begin one",
        _ => "connections are not tracked here",
    };
    format!("Connection tracking calls it {state}: {means}.")
}

fn table_verdict(
    place: &Place,
    [hook, table, chain]: [&str; 3],
    rule: Option<usize>,
    origin: Option<&Origin>,
    verdict: &str,
    file: &str,
) -> String {
    let meaning = match origin {
        Some(Origin::Rule { .. } | Origin::Raw { .. }) | None => "",
        Some(Origin::Grant { .. }) => ": what was granted for a time passes before every rule",
        Some(Origin::OverQuota) => ": a quota is used up, and nothing more passes",
        Some(Origin::Publish { .. } | Origin::Translated) => ": a published port leads to a machine behind the hub",
        Some(Origin::FromHub) => ": what the hub itself sends is not filtered",
        Some(Origin::ForgedSource) => ": overlay addresses come out of the tunnel alone",
        Some(Origin::Transit) => ": it neither comes from the VPN nor goes to it",
        Some(Origin::Established) => ": whoever may begin a connection may go on with it",
        Some(Origin::Invalid) => ": what belongs to nothing is dropped",
        Some(Origin::MidConnection) => ": the hub goes on only with what was let begin",
        Some(Origin::Loopback) => ": the hub talks to itself",
        Some(Origin::NotOurs) => ": what the hub hears from elsewhere is not the VPN's to judge",
        Some(Origin::ControlChannel) => ": the hub's control port is for protected hosts' agents alone",
        Some(Origin::NoRule) => ": what no rule lets in stays outside",
        Some(Origin::Masquerade) => ": what leaves the VPN takes the hub's address",
        Some(Origin::Protected) => ": this port is open to the VPN alone",
    };
    let by = match (rule, origin) {
        (Some(rule), Some(origin)) => format!("rule {rule} of {chain} ({})", named(origin, file)),
        (Some(rule), None) => format!("rule {rule} of {chain}"),
        (None, _) => format!("the policy of {chain}"),
    };
    format!(
        "At the hook {hook} of {}, in table {table}, {by} says {verdict}{meaning}.",
        of(place)
    )
}

/// A line as lines that are pleasant to read.
fn wrapped(line: &str) -> Vec<String> {
    const WIDTH: usize = 95;
    let mut lines = vec![String::new()];
    for word in line.split(' ') {
        match lines.last_mut() {
            Some(last) if last.is_empty() => last.push_str(word),
            Some(last) if last.chars().count() + 1 + word.chars().count() <= WIDTH => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Sizes in words, then the layers.
fn encrypt(to: &str, cipher: &Cipher) -> String {
    let Cipher {
        plain,
        padding,
        header,
        tag,
        udp,
        ip,
        length,
        from,
        to: endpoint,
    } = cipher;
    let version = if *ip == 40 { "IPv6" } else { "IPv4" };
    let padded = if *padding == 0 {
        format!("{plain} bytes")
    } else {
        format!("{plain} bytes and {padding} of padding")
    };
    format!(
        "WireGuard encrypts it for {to}: {padded} become {length} on the wire, and whoever listens learns no more than that and the addresses.\n\
         {from} > {endpoint}\n\
         | {version} {ip} | UDP {udp} | WireGuard {header} | the packet {plain} | padding {padding} | tag {tag} |"
    )
}

/// `| IPv4 20 | TCP 40 | data 100 |`; nothing where the headers are not known.
fn layers(packet: &Shown) -> String {
    let layers = packet
        .layers
        .iter()
        .map(|Layer { name, length }| format!(" {name} {length} |"));
    let text: String = layers.collect();
    if text.is_empty() { text } else { format!("     |{text}\n") }
}

/// A machine in a sentence.
fn of(place: &Place) -> String {
    match place {
        Place::Hub => "the hub".to_owned(),
        Place::Outside => "the machine outside".to_owned(),
        Place::Member(name) | Place::Host(name) => name.clone(),
    }
}

/// Names stay as they are.
fn capital(text: &str) -> String {
    match text.strip_prefix("the ") {
        Some(rest) => format!("The {rest}"),
        None => text.to_owned(),
    }
}
