//! Targets, most of which let the packet go on, so that cases stay alive.

use fielato_wire::Family;

use super::{Place, hook};
use crate::network;
use crate::sets;
use crate::subject::Port;

type Entry = (u32, fn(&mut Place<'_>) -> Option<String>);

const ANYWHERE: [Entry; 15] = [
    (12, |_| None), // a rule without target only counts
    (14, |_| Some("-j ACCEPT".to_owned())),
    (5, |place| (place.table != "nat").then(|| "-j DROP".to_owned())),
    (7, |_| Some("-j RETURN".to_owned())),
    (2, |_| Some("-j LOG --log-prefix \"seen \"".to_owned())),
    (2, |place| {
        Some(format!("-j NFLOG --nflog-group {}", place.random.between(20, 30)))
    }),
    (10, mark),
    (6, connmark),
    (2, queue),
    (2, classify),
    (2, tcpmss),
    (8, tee),
    (4, set),
    (1, idletimer),
    (1, rateest),
];

const RAW: [Entry; 2] = [(8, ct), (1, |_| Some("-j TRACE".to_owned()))];
const MANGLE: [Entry; 10] = [
    (6, ttl),
    (4, dscp),
    (4, tos),
    (1, tproxy),
    (2, tcpoptstrip),
    (2, ecn),
    (2, hmark),
    (2, npt),
    (1, |_| Some("-j AUDIT --type accept".to_owned())),
    (1, |_| Some("-j CHECKSUM --checksum-fill".to_owned())),
];
const NAT: [Entry; 5] = [(14, snat), (14, dnat), (8, masquerade), (6, redirect), (5, netmap)];
const FILTER: [Entry; 1] = [(10, reject)];

/// One that may stand there; nothing for a rule that only counts.
pub(super) fn generate(place: &mut Place<'_>) -> Option<String> {
    let own: &[Entry] = match place.table {
        "raw" => &RAW,
        "mangle" => &MANGLE,
        "nat" => &NAT,
        "filter" => &FILTER,
        _ => &[],
    };
    let all: Vec<&Entry> = ANYWHERE.iter().chain(own).collect();
    let weights: Vec<u32> = all.iter().map(|(weight, _)| *weight).collect();
    all[place.random.weighted(&weights)].1(place)
}

fn mark(place: &mut Place<'_>) -> Option<String> {
    let (value, mask) = (place.random.below(256), place.random.below(256));
    Some(match place.random.below(6) {
        0 => format!("-j MARK --set-mark {value:#x}"),
        1 => format!("-j MARK --set-xmark {value:#x}/{mask:#x}"),
        2 => format!("-j MARK --and-mark {mask:#x}"),
        3 => format!("-j MARK --or-mark {value:#x}"),
        4 => format!("-j MARK --xor-mark {value:#x}"),
        _ => format!("-j MARK --set-mark {:#x}/{mask:#x}", value & mask),
    })
}

/// Not in `raw`: there it would change the template that `-j CT` left, which is the rule's and not the packet's.
fn connmark(place: &mut Place<'_>) -> Option<String> {
    if !place.tracking() || place.table == "raw" {
        return None;
    }
    let (value, mask) = (place.random.below(256), place.random.below(256));
    Some(match place.random.below(6) {
        0 => format!("-j CONNMARK --set-mark {value:#x}"),
        1 => format!("-j CONNMARK --set-xmark {value:#x}/{mask:#x}"),
        2 => "-j CONNMARK --save-mark".to_owned(),
        3 => format!("-j CONNMARK --save-mark --nfmask {value:#x} --ctmask {mask:#x}"),
        4 => "-j CONNMARK --restore-mark".to_owned(),
        _ => format!("-j CONNMARK --restore-mark --nfmask {value:#x} --ctmask {mask:#x}"),
    })
}

/// Adds to the set that begins empty, and takes out of it.
fn set(place: &mut Place<'_>) -> Option<String> {
    if place.conditions.copies {
        return None;
    }
    let [.., seen] = sets::all(place.family);
    let (verb, side) = (*place.random.pick(&["add", "add", "del"]), place.random.pick(&["src", "dst"]));
    let exist = if verb == "add" && place.random.chance(30) {
        " --exist"
    } else {
        ""
    };
    Some(format!("-j SET --{verb}-set {} {side}{exist}", seen.name))
}

/// Its timer is longer than any case. Labels are the whole kernel's.
fn idletimer(place: &mut Place<'_>) -> Option<String> {
    let family = if place.v4() { 4 } else { 6 };
    *place.serial += 1;
    Some(format!("-j IDLETIMER --timeout 3600 --label oracle{family}{}", place.serial))
}

/// Nothing asks for the rate, which depends on the clock.
fn rateest(place: &mut Place<'_>) -> Option<String> {
    *place.serial += 1;
    let family = if place.v4() { 4 } else { 6 };
    Some(format!(
        "-j RATEEST --rateest-name e{family}{} --rateest-interval 1s --rateest-ewmalog 2s",
        place.serial
    ))
}

/// Nobody listens: dropped, or let through with the bypass.
fn queue(place: &mut Place<'_>) -> Option<String> {
    let number = place.random.below(4);
    Some(match place.random.below(4) {
        0 => format!("-j NFQUEUE --queue-num {number}"),
        1 => format!("-j NFQUEUE --queue-balance {number}:{} --queue-bypass", number + 3),
        _ => format!("-j NFQUEUE --queue-num {number} --queue-bypass"),
    })
}

fn classify(place: &mut Place<'_>) -> Option<String> {
    place
        .only(hook::FORWARD | hook::OUTPUT | hook::POSTROUTING)
        .then(|| format!("-j CLASSIFY --set-class 1:{}", place.random.between(1, 20)))
}

/// The kernel wants the rule itself to say that it is about SYN.
fn tcpmss(place: &mut Place<'_>) -> Option<String> {
    if place.protocol != Some("tcp") {
        return None;
    }
    let target = if place.only(hook::FORWARD | hook::OUTPUT | hook::POSTROUTING) && place.random.chance(50) {
        "--clamp-mss-to-pmtu".to_owned()
    } else {
        format!("--set-mss {}", place.random.pick(&[500, 1200, 1460]))
    };
    Some(format!("-m tcp --tcp-flags SYN,RST SYN -j TCPMSS {target}"))
}

/// Of forwarded packets only: a copy of what is for the router itself comes back by the loopback, at once in one world and later in
/// the other.
fn tee(place: &mut Place<'_>) -> Option<String> {
    if !place.conditions.copies || !place.only(hook::FORWARD) {
        return None;
    }
    let port = *place.random.pick(&[Port::Inside, Port::Outside]);
    let gateway = *place.random.pick(network::hosts(place.family, port));
    Some(format!("-j TEE --gateway {}", gateway.display(place.family)))
}

fn ct(place: &mut Place<'_>) -> Option<String> {
    if !place.tracking() {
        return None;
    }
    Some(match place.random.weighted(&[4, 1, 2, 2, 2, 2]) {
        0 => "-j CT --notrack".to_owned(),
        1 => "-j NOTRACK".to_owned(),
        2 => format!("-j CT --zone {}", place.random.between(1, 3)),
        3 => format!("-j CT --zone-orig {}", place.random.between(1, 3)),
        4 => format!("-j CT --zone-reply {}", place.random.between(1, 3)),
        _ => match place.protocol {
            Some("tcp") => "-j CT --helper ftp".to_owned(),
            Some("udp") => "-j CT --helper tftp".to_owned(),
            _ => "-j CT --ctevents new,destroy".to_owned(),
        },
    })
}

fn ttl(place: &mut Place<'_>) -> Option<String> {
    let name = if place.v4() { "ttl" } else { "hl" };
    let action = *place.random.pick(&["set 64", "set 5", "dec 1", "inc 1", "dec 10", "inc 200"]);
    Some(format!("-j {} --{name}-{action}", name.to_uppercase()))
}

fn dscp(place: &mut Place<'_>) -> Option<String> {
    let values = [
        "--set-dscp 0x2e",
        "--set-dscp 0x00",
        "--set-dscp-class AF11",
        "--set-dscp-class CS1",
    ];
    Some(format!("-j DSCP {}", place.random.pick(&values)))
}

fn tos(place: &mut Place<'_>) -> Option<String> {
    let values = [
        "--set-tos 0x10",
        "--set-tos 0x08/0x3f",
        "--and-tos 0xf0",
        "--or-tos 0x04",
        "--xor-tos 0x0c",
    ];
    Some(format!("-j TOS {}", place.random.pick(&values)))
}

/// No socket listens there, so it drops.
fn tproxy(place: &mut Place<'_>) -> Option<String> {
    let right = place.only(hook::PREROUTING) && matches!(place.protocol, Some("tcp" | "udp"));
    right.then(|| format!("-j TPROXY --on-port {} --tproxy-mark 0x1/0x1", place.port()))
}

fn tcpoptstrip(place: &mut Place<'_>) -> Option<String> {
    let options = ["wscale", "mss,sack-permitted", "timestamp,3", "5,8,3,4,2"];
    (place.protocol == Some("tcp")).then(|| format!("-j TCPOPTSTRIP --strip-options {}", place.random.pick(&options)))
}

fn ecn(place: &mut Place<'_>) -> Option<String> {
    (place.v4() && place.protocol == Some("tcp")).then(|| "-j ECN --ecn-tcp-remove".to_owned())
}

/// Marks by hash: the kernel's seed is the rule's own.
fn hmark(place: &mut Place<'_>) -> Option<String> {
    let tuples: &[&str] = match has_ports(place) {
        true => &["src,dst,sport,dport", "src,sport", "dport", "src,dst,sport,dport,proto"],
        false => &["src,dst", "src", "dst", "src,dst,proto", "ct,src,dst"],
    };
    let modulus = place.random.between(2, 200);
    Some(format!(
        "-j HMARK --hmark-tuple {} --hmark-mod {modulus} --hmark-offset {} --hmark-rnd 0x{:x}",
        place.random.pick(tuples),
        place.random.between(1, 20),
        place.random.between(1, 0xffff)
    ))
}

/// Prefixes that the same rule, or another like it on the way back, translates to and fro.
fn npt(place: &mut Place<'_>) -> Option<String> {
    let (inner, outer) = ("fd00:0:0:1::/64", "2001:db8:0:77::/64");
    if place.v4() {
        return None;
    }
    if place.only(hook::POSTROUTING | hook::INPUT) {
        Some(format!("-j SNPT --src-pfx {inner} --dst-pfx {outer}"))
    } else if place.only(hook::PREROUTING | hook::OUTPUT) {
        Some(format!("-j DNPT --src-pfx {outer} --dst-pfx {inner}"))
    } else {
        None
    }
}

fn reject(place: &mut Place<'_>) -> Option<String> {
    if place.conditions.copies {
        return None; // The answer to a copy may end the connection before the packet itself goes on.
    }
    if place.protocol == Some("tcp") && place.random.chance(50) {
        return Some("-j REJECT --reject-with tcp-reset".to_owned());
    }
    let kinds: &[&str] = if place.v4() {
        &[
            "icmp-net-unreachable",
            "icmp-host-unreachable",
            "icmp-port-unreachable",
            "icmp-proto-unreachable",
            "icmp-net-prohibited",
            "icmp-host-prohibited",
            "icmp-admin-prohibited",
        ]
    } else {
        &[
            "icmp6-no-route",
            "icmp6-adm-prohibited",
            "icmp6-addr-unreachable",
            "icmp6-port-unreachable",
            "icmp6-policy-fail",
            "icmp6-reject-route",
        ]
    };
    Some(format!("-j REJECT --reject-with {}", place.random.pick(kinds)))
}

fn has_ports(place: &Place<'_>) -> bool {
    matches!(place.protocol, Some("tcp" | "udp" | "sctp" | "dccp"))
}

/// `ADDRESS`, `FIRST-LAST`, `ADDRESS:PORT`, `ADDRESS:FIRST-LAST`.
fn to(place: &mut Place<'_>, addresses: &[fielato_wire::Addr], ports: &[&str]) -> String {
    let family = place.family;
    let a = *place.random.pick(addresses);
    let b = *place.random.pick(addresses);
    let (with_ports, with_range) = (has_ports(place) && place.random.chance(50), place.random.chance(35));
    let show = |address: fielato_wire::Addr| match family {
        Family::V6 if with_ports => format!("[{}]", address.display(family)),
        _ => address.display(family).to_string(),
    };
    let mut text = match with_range {
        // A range in IPv6's brackets has both ends in one pair.
        true if family == Family::V6 && with_ports => {
            format!("[{}-{}]", a.min(b).display(family), a.max(b).display(family))
        }
        true => format!("{}-{}", show(a.min(b)), show(a.max(b))),
        false => show(a),
    };
    if with_ports {
        text += &format!(":{}", place.random.pick(ports));
    }
    text
}

fn random_flags(place: &mut Place<'_>) -> &'static str {
    ["", " --random", " --random-fully", " --persistent"][place.random.weighted(&[14, 2, 2, 2])]
}

fn snat(place: &mut Place<'_>) -> Option<String> {
    if !place.only(hook::POSTROUTING | hook::INPUT) {
        return None;
    }
    let mut addresses = network::spare(place.family).to_vec();
    addresses.push(network::local(place.family)[1]);
    let to = to(place, &addresses, &["30000", "30000-30003", "2000-2001", "20000-40000"]);
    Some(format!("-j SNAT --to-source {to}{}", random_flags(place)))
}

fn dnat(place: &mut Place<'_>) -> Option<String> {
    if !place.only(hook::PREROUTING | hook::OUTPUT) {
        return None;
    }
    let port = *place.random.pick(&[Port::Inside, Port::Inside, Port::Outside]);
    let addresses = network::hosts(place.family, port);
    let to = to(place, addresses, &["80", "8080-8083", "22"]);
    let flags = ["", "", "", " --random", " --persistent"];
    Some(format!("-j DNAT --to-destination {to}{}", place.random.pick(&flags)))
}

fn masquerade(place: &mut Place<'_>) -> Option<String> {
    if !place.only(hook::POSTROUTING) {
        return None;
    }
    let mut text = "-j MASQUERADE".to_owned();
    if has_ports(place) && place.random.chance(40) {
        text += &format!(" --to-ports {}", place.random.pick(&["30000-30007", "31000", "1024-65535"]));
    }
    Some(text + ["", "", "", " --random", " --random-fully"][place.random.below(5)])
}

fn redirect(place: &mut Place<'_>) -> Option<String> {
    if !place.only(hook::PREROUTING) {
        return None;
    }
    let mut text = "-j REDIRECT".to_owned();
    if has_ports(place) && place.random.chance(60) {
        text += &format!(" --to-ports {}", place.random.pick(&["8080", "8080-8083", "3128"]));
    }
    Some(text)
}

fn netmap(place: &mut Place<'_>) -> Option<String> {
    let network = if place.only(hook::PREROUTING | hook::OUTPUT) {
        if place.v4() { "10.0.0.0/28" } else { "fd00:0:0:1::/124" }
    } else if place.only(hook::POSTROUTING | hook::INPUT) {
        if place.v4() { "203.0.113.64/28" } else { "2001:db8::c0/124" }
    } else {
        return None;
    };
    Some(format!("-j NETMAP --to {network}"))
}
