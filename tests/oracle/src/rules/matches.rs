//! Matches, each with options that often hold for the packets of [`crate::traffic`].

use fielato_wire::{Addr, Family};

use super::{Place, WORDS, hook};
use crate::sets;

/// Name, weight, and what writes it; nothing where it may not stand.
type Entry = (&'static str, u32, fn(&mut Place<'_>) -> Option<String>);

const MATCHES: [Entry; 48] = [
    ("protocol", 40, protocol),
    ("multiport", 10, multiport),
    ("conntrack", 14, conntrack),
    ("state", 5, state),
    ("mark", 8, mark),
    ("connmark", 5, connmark),
    ("length", 6, length),
    ("ttl", 5, ttl),
    ("tos", 4, tos),
    ("dscp", 4, dscp),
    ("ecn", 2, ecn),
    ("tcpmss", 4, tcpmss),
    ("limit", 4, limit),
    ("hashlimit", 4, hashlimit),
    ("connbytes", 4, connbytes),
    ("connlimit", 3, connlimit),
    ("quota", 4, quota),
    ("statistic", 5, statistic),
    ("recent", 5, recent),
    ("string", 4, string),
    ("u32", 5, u32_match),
    ("time", 3, time),
    ("iprange", 6, iprange),
    ("addrtype", 5, addrtype),
    ("pkttype", 2, pkttype),
    ("rpfilter", 4, rpfilter),
    ("comment", 1, comment),
    ("helper", 3, helper),
    ("ah", 2, ah),
    ("frag", 3, frag),
    ("hbh", 3, hbh),
    ("dst", 3, dst),
    ("rt", 4, rt),
    ("ipv6header", 4, ipv6header),
    ("mac", 1, mac),
    ("policy", 1, policy),
    ("devgroup", 2, devgroup),
    ("ipcomp", 2, ipcomp),
    ("bpf", 3, bpf),
    ("cluster", 2, cluster),
    ("mh", 2, mh),
    ("srh", 2, srh),
    ("physdev", 1, physdev),
    ("set", 5, set),
    ("connlabel", 3, connlabel),
    ("realm", 1, realm),
    ("cpu", 1, cpu),
    ("socket", 1, socket),
];

/// One that may stand there, with its name.
pub(super) fn generate(place: &mut Place<'_>) -> Option<(&'static str, String)> {
    const COUNTING: [&str; 7] = ["limit", "hashlimit", "connbytes", "connlimit", "quota", "statistic", "recent"];
    // Few cases are paced, and only these have it.
    let weight = |(name, weight, _)| {
        if name == "connlimit" && place.conditions.paced {
            40
        } else {
            weight
        }
    };
    let (name, _, write) = MATCHES[place.random.weighted(&MATCHES.map(weight))];
    if place.conditions.copies && COUNTING.contains(&name) {
        return None;
    }
    Some((name, write(place)?))
}

/// The match that `-p` brings.
fn protocol(place: &mut Place<'_>) -> Option<String> {
    let protocol = place.protocol?;
    match protocol {
        "tcp" => Some(tcp(place)),
        "udp" | "dccp" | "sctp" => {
            let mut text = format!("-m {protocol}");
            for option in ["--sport", "--dport"] {
                if place.random.chance(50) {
                    let (not, ports) = (place.not(), place.ports());
                    text += &format!(" {not}{option} {ports}");
                }
            }
            match protocol {
                "sctp" if place.random.chance(50) => text += &sctp_chunks(place),
                "dccp" if place.random.chance(50) => {
                    let kinds = [
                        "REQUEST",
                        "RESPONSE",
                        "DATA",
                        "ACK",
                        "REQUEST,RESPONSE",
                        "DATAACK,CLOSE,RESET",
                    ];
                    text += &format!(" {}--dccp-types {}", place.not(), place.random.pick(&kinds));
                }
                "dccp" if place.random.chance(50) => {
                    text += &format!(" {}--dccp-option {}", place.not(), place.random.pick(&[32, 1, 5]));
                }
                _ => {}
            }
            Some(text)
        }
        "icmp" => {
            let kinds = ["8", "0", "3/3", "3", "11/0", "any", "13", "5", "12"];
            Some(format!("-m icmp {}--icmp-type {}", place.not(), place.random.pick(&kinds)))
        }
        "ipv6-icmp" => {
            let kinds = ["128", "129", "1/4", "1", "2", "3/0", "4", "100"];
            Some(format!("-m icmp6 {}--icmpv6-type {}", place.not(), place.random.pick(&kinds)))
        }
        "esp" => {
            let spis = ["1000", "0:2000", "500:999"];
            Some(format!("-m esp {}--espspi {}", place.not(), place.random.pick(&spis)))
        }
        _ => None,
    }
}

fn tcp(place: &mut Place<'_>) -> String {
    let mut text = "-m tcp".to_owned();
    for option in ["--sport", "--dport"] {
        if place.random.chance(45) {
            let (not, ports) = (place.not(), place.ports());
            text += &format!(" {not}{option} {ports}");
        }
    }
    if place.random.chance(30) {
        let flags = [
            "FIN,SYN,RST,ACK SYN",
            "SYN,RST SYN",
            "FIN FIN",
            "RST RST",
            "ACK ACK",
            "SYN,ACK SYN,ACK",
            "FIN,SYN,RST,PSH,ACK,URG NONE",
            "PSH,ACK PSH",
        ];
        text += &format!(" {}--tcp-flags {}", place.not(), place.random.pick(&flags));
    }
    if place.random.chance(10) {
        text += &format!(" {}--tcp-option {}", place.not(), place.random.pick(&[2, 3, 4, 8, 5]));
    }
    text
}

fn sctp_chunks(place: &mut Place<'_>) -> String {
    let chunks = [
        "all INIT",
        "any DATA,INIT",
        "only DATA",
        "any INIT_ACK,COOKIE_ECHO,COOKIE_ACK",
        "any SACK,HEARTBEAT",
        "any SHUTDOWN,ABORT",
        "any DATA:Be",
        "all DATA:u,SACK",
    ];
    format!(" {}--chunk-types {}", place.not(), place.random.pick(&chunks))
}

fn multiport(place: &mut Place<'_>) -> Option<String> {
    if !matches!(place.protocol?, "tcp" | "udp" | "sctp" | "dccp" | "udplite") {
        return None;
    }
    let count = place.random.between(1, 4);
    let list: Vec<String> = (0..count).map(|_| place.ports()).collect();
    let not = place.not();
    let option = place.random.pick(&["--sports", "--dports", "--dports", "--ports"]);
    Some(format!("-m multiport {not}{option} {}", list.join(",")))
}

fn conntrack(place: &mut Place<'_>) -> Option<String> {
    if !place.tracking() {
        return None;
    }
    let not = place.not();
    let rest = match place.random.weighted(&[40, 8, 8, 8, 8, 8, 8, 6, 6]) {
        0 => {
            let all = [
                "NEW",
                "ESTABLISHED",
                "RELATED",
                "INVALID",
                "UNTRACKED",
                "SNAT",
                "DNAT",
                "RELATED,ESTABLISHED",
                "NEW,INVALID",
                "SNAT,DNAT",
                "NEW,UNTRACKED",
            ];
            format!("--ctstate {}", place.random.pick(&all))
        }
        1 => format!("--ctproto {}", place.random.pick(&["tcp", "udp", "1", "58", "132"])),
        2 => format!("{} {}", place.random.pick(&["--ctorigsrc", "--ctorigdst"]), place.network()),
        3 => format!("{} {}", place.random.pick(&["--ctreplsrc", "--ctrepldst"]), place.network()),
        4 => format!(
            "{} {}",
            place.random.pick(&["--ctorigsrcport", "--ctorigdstport"]),
            place.ports()
        ),
        5 => format!(
            "{} {}",
            place.random.pick(&["--ctreplsrcport", "--ctrepldstport"]),
            place.ports()
        ),
        6 => {
            let all = ["NONE", "SEEN_REPLY", "ASSURED", "CONFIRMED", "EXPECTED", "SEEN_REPLY,ASSURED"];
            format!("--ctstatus {}", place.random.pick(&all))
        }
        // Bounds far from any timeout, so that a second more or less of real time is no difference.
        7 => format!(
            "--ctexpire {}",
            place.random.pick(&["45:90", "200:1000", "1000:500000", "0:15"])
        ),
        _ => return Some(format!("-m conntrack --ctdir {}", place.random.pick(&["ORIGINAL", "REPLY"]))),
    };
    let not = if rest.ends_with("/0") { "" } else { not };
    Some(format!("-m conntrack {not}{rest}"))
}

fn state(place: &mut Place<'_>) -> Option<String> {
    let all = [
        "NEW",
        "ESTABLISHED",
        "RELATED",
        "INVALID",
        "UNTRACKED",
        "NEW,RELATED",
        "RELATED,ESTABLISHED",
    ];
    place
        .tracking()
        .then(|| format!("-m state {}--state {}", place.not(), place.random.pick(&all)))
}

fn mark_and_mask(place: &mut Place<'_>) -> String {
    let mark = place.random.below(256);
    match place.random.below(3) {
        0 => format!("{mark:#x}"),
        1 => format!("{:#x}/{:#x}", mark & 0xf, 0xf),
        _ => {
            let bit = 1 << place.random.below(8);
            format!("{bit:#x}/{bit:#x}")
        }
    }
}

fn mark(place: &mut Place<'_>) -> Option<String> {
    Some(format!("-m mark {}--mark {}", place.not(), mark_and_mask(place)))
}

/// Not in `raw`: there it would look at the template that `-j CT` left, which is the rule's and not the packet's.
fn connmark(place: &mut Place<'_>) -> Option<String> {
    (place.tracking() && place.table != "raw").then(|| format!("-m connmark {}--mark {}", place.not(), mark_and_mask(place)))
}

fn length(place: &mut Place<'_>) -> Option<String> {
    let low = place.random.between(20, 120);
    let high = place.random.between(low, 700);
    let not = place.not();
    Some(match place.random.below(3) {
        0 => format!("-m length {not}--length {low}"),
        1 => format!("-m length {not}--length {low}:{high}"),
        _ => format!("-m length {not}--length {low}:65535"),
    })
}

fn ttl(place: &mut Place<'_>) -> Option<String> {
    let name = if place.v4() { "ttl" } else { "hl" };
    let value = *place.random.pick(&[1, 2, 5, 63, 64, 100, 255]);
    Some(match place.random.below(3) {
        0 => format!("-m {name} {}--{name}-eq {value}", place.not()),
        1 => format!("-m {name} --{name}-lt {value}"),
        _ => format!("-m {name} --{name}-gt {value}"),
    })
}

fn tos(place: &mut Place<'_>) -> Option<String> {
    let values = ["0x10", "0x08/0x3f", "0x00", "0xb8/0xfc", "0x01/0x03"];
    Some(format!("-m tos {}--tos {}", place.not(), place.random.pick(&values)))
}

fn dscp(place: &mut Place<'_>) -> Option<String> {
    let values = [
        "--dscp 0x00",
        "--dscp 0x2e",
        "--dscp 0x04",
        "--dscp-class AF11",
        "--dscp-class EF",
        "--dscp-class CS1",
    ];
    Some(format!("-m dscp {}{}", place.not(), place.random.pick(&values)))
}

fn ecn(place: &mut Place<'_>) -> Option<String> {
    let not = place.not();
    if place.protocol == Some("tcp") && place.random.chance(60) {
        return Some(format!(
            "-m ecn {not}{}",
            place.random.pick(&["--ecn-tcp-cwr", "--ecn-tcp-ece"])
        ));
    }
    Some(format!("-m ecn {not}--ecn-ip-ect {}", place.random.below(4)))
}

fn tcpmss(place: &mut Place<'_>) -> Option<String> {
    let values = ["1460", "500:1400", "1:65535", "1200"];
    (place.protocol == Some("tcp")).then(|| format!("-m tcpmss {}--mss {}", place.not(), place.random.pick(&values)))
}

/// A rate so low that within a case only the burst counts.
fn limit(place: &mut Place<'_>) -> Option<String> {
    Some(format!(
        "-m limit --limit 1/hour --limit-burst {}",
        place.random.between(1, 12)
    ))
}

fn hashlimit(place: &mut Place<'_>) -> Option<String> {
    *place.serial += 1;
    let family = if place.v4() { 4 } else { 6 };
    let mut text = format!("-m hashlimit --hashlimit-{} 1/hour", place.random.pick(&["upto", "above"]));
    text += &format!(" --hashlimit-burst {}", place.random.between(1, 8));
    let ports = matches!(place.protocol, Some("tcp" | "udp" | "sctp" | "dccp" | "udplite"));
    let modes: &[&str] = match ports {
        true => &[
            "srcip",
            "dstip",
            "srcip,dstport",
            "srcip,srcport,dstip,dstport",
            "dstport",
            "",
        ],
        false => &["srcip", "dstip", "srcip,dstip", ""],
    };
    let mode = *place.random.pick(modes);
    if !mode.is_empty() {
        text += &format!(" --hashlimit-mode {mode}");
    }
    if mode.contains("srcip") && place.random.chance(30) {
        text += &format!(" --hashlimit-srcmask {}", if place.v4() { 24 } else { 64 });
    }
    Some(format!("{text} --hashlimit-name h{family}{}", place.serial))
}

fn connbytes(place: &mut Place<'_>) -> Option<String> {
    if !place.tracking() {
        return None;
    }
    let (mode, range) = *place.random.pick(&[
        ("packets", "2"),
        ("packets", "2:5"),
        ("packets", "0:3"),
        ("bytes", "100:1000"),
        ("bytes", "300"),
        ("avgpkt", "40:80"),
        ("avgpkt", "60"),
    ]);
    let direction = *place.random.pick(&["original", "reply", "both"]);
    Some(format!(
        "-m connbytes {}--connbytes {range} --connbytes-mode {mode} --connbytes-dir {direction}",
        place.not()
    ))
}

/// Not in `raw`, as [`connmark`]. Only where packets are paced: else the count isn't sure, nor whether there is any, without
/// which the kernel drops the packet.
fn connlimit(place: &mut Place<'_>) -> Option<String> {
    if !place.conditions.paced || place.table == "raw" {
        return None;
    }
    let option = *place.random.pick(&["--connlimit-above", "--connlimit-upto"]);
    let bound = format!("{option} {}", place.random.between(0, 6));
    let masks: &[u8] = if place.v4() { &[32, 24, 0] } else { &[128, 64, 0] };
    let mask = *place.random.pick(masks);
    let side = place.random.pick(&["--connlimit-saddr", "--connlimit-daddr"]);
    Some(format!("-m connlimit {bound} --connlimit-mask {mask} {side}"))
}

fn quota(place: &mut Place<'_>) -> Option<String> {
    Some(format!("-m quota {}--quota {}", place.not(), place.random.between(50, 3000)))
}

fn statistic(place: &mut Place<'_>) -> Option<String> {
    let not = place.not();
    // Chance is compared only where it is none.
    Some(match place.random.below(4) {
        0 => format!("-m statistic --mode random {not}--probability {}", place.random.below(2)),
        _ => {
            let every = place.random.between(1, 6);
            let packet = place.random.between(0, every - 1);
            format!("-m statistic --mode nth {not}--every {every} --packet {packet}")
        }
    })
}

fn recent(place: &mut Place<'_>) -> Option<String> {
    let family = if place.v4() { 4 } else { 6 };
    let name = format!("r{family}{}", place.random.below(2));
    let side = *place.random.pick(&["--rsource", "--rdest"]);
    let not = place.not();
    Some(match place.random.below(5) {
        0 | 1 => format!("-m recent {not}--set --name {name} {side}"),
        2 => format!(
            "-m recent {not}--rcheck --hitcount {} --name {name} {side}",
            place.random.between(1, 6)
        ),
        3 => format!("-m recent {not}--update --seconds 86400 --name {name} {side}"),
        _ => format!("-m recent {not}--remove --name {name} {side}"),
    })
}

fn string(place: &mut Place<'_>) -> Option<String> {
    let mut text = format!("-m string {}--string", place.not());
    text += &match place.random.below(3) {
        0 => " fiel".to_owned(),
        _ => format!(" \"{}\"", place.random.pick(&WORDS)),
    };
    text += &format!(" --algo {}", place.random.pick(&["bm", "kmp"]));
    if place.random.chance(40) {
        text += &format!(" --from {}", place.random.between(0, 60));
    }
    if place.random.chance(40) {
        text += &format!(" --to {}", place.random.between(61, 400));
    }
    if place.random.chance(20) {
        text += " --icase";
    }
    Some(text)
}

/// Tests of the manual's kinds: a field, a range, an offset out of the packet.
fn u32_match(place: &mut Place<'_>) -> Option<String> {
    let tests: &[&str] = match place.family {
        Family::V4 => &[
            "0&0xffff=40:100",
            "6&0xff=6",
            "6&0xff=17,132",
            "4&0x3fff=0",
            "0>>22&0x3c@0>>16=1024:65535",
            "6&0xff=1&&0>>22&0x3c@0>>24=8",
            "0>>22&0x3c@12>>26&0x3c@0=0x0:0xffffffff",
            "2000=0",
        ],
        Family::V6 => &[
            "4>>16=20:60",
            "4>>8&0xff=6",
            "4>>8&0xff=17,132",
            "40>>16=1024:65535",
            "4&0xff=63,64",
            "8=0xfd000000",
            "2000=0",
        ],
    };
    let not = place.not();
    Some(format!("-m u32 {not}--u32 \"{}\"", place.random.pick(tests)))
}

/// Times that hold always or never, whatever the clock says.
fn time(place: &mut Place<'_>) -> Option<String> {
    let times = [
        "--datestart 2001-01-01T00:00:00",
        "--datestart 2001-01-01T00:00:00 --datestop 2002-01-01T00:00:00",
        "--timestart 00:00:00 --timestop 23:59:59",
        "--weekdays Mon,Tue,Wed,Thu,Fri,Sat,Sun",
        "--datestart 2037-01-01T00:00:00",
    ];
    Some(format!("-m time {}", place.random.pick(&times)))
}

fn iprange(place: &mut Place<'_>) -> Option<String> {
    let (a, b) = (place.address(), place.address());
    let family = place.family;
    let range = |a: Addr, b: Addr| format!("{}-{}", a.min(b).display(family), a.max(b).display(family));
    let option = *place.random.pick(&["--src-range", "--dst-range"]);
    Some(format!("-m iprange {}{option} {}", place.not(), range(a, b)))
}

fn addrtype(place: &mut Place<'_>) -> Option<String> {
    let kinds: &[&str] = if place.v4() {
        &["LOCAL", "UNICAST", "BROADCAST", "MULTICAST", "LOCAL,BROADCAST"]
    } else {
        &["LOCAL", "UNICAST", "MULTICAST", "LOCAL,UNICAST"]
    };
    let option = *place.random.pick(&["--src-type", "--dst-type"]);
    let mut text = format!("-m addrtype {}{option} {}", place.not(), place.random.pick(kinds));
    if place.v4() && place.random.chance(15) {
        if place.only(hook::PREROUTING | hook::INPUT) {
            text += " --limit-iface-in";
        } else if place.only(hook::OUTPUT | hook::POSTROUTING) {
            text += " --limit-iface-out";
        }
    }
    Some(text)
}

fn pkttype(place: &mut Place<'_>) -> Option<String> {
    let kinds = ["unicast", "broadcast", "multicast"];
    Some(format!("-m pkttype {}--pkt-type {}", place.not(), place.random.pick(&kinds)))
}

fn rpfilter(place: &mut Place<'_>) -> Option<String> {
    if !place.only(hook::PREROUTING) || !matches!(place.table, "raw" | "mangle") {
        return None;
    }
    let options = ["", " --loose", " --invert", " --loose --invert", " --accept-local"];
    Some(format!("-m rpfilter{}", place.random.pick(&options)))
}

fn comment(place: &mut Place<'_>) -> Option<String> {
    Some(format!(
        "-m comment --comment \"{}\"",
        place.random.pick(&["plain", "two words", "a 'quote'"])
    ))
}

fn helper(place: &mut Place<'_>) -> Option<String> {
    place
        .tracking()
        .then(|| format!("-m helper {}--helper {}", place.not(), place.random.pick(&["ftp", "tftp"])))
}

fn ah(place: &mut Place<'_>) -> Option<String> {
    let spis = ["1000", "0:2000", "500:999"];
    // In IPv6, AH is an extension header, found wherever it stands.
    if place.v4() && place.protocol != Some("ah") {
        return None;
    }
    Some(format!("-m ah {}--ahspi {}", place.not(), place.random.pick(&spis)))
}

fn frag(place: &mut Place<'_>) -> Option<String> {
    let options = [
        "--fragid 0:4294967295",
        "--fragfirst",
        "--fragmore",
        "--fraglast",
        "--fragres --fragmore",
    ];
    (!place.v4()).then(|| format!("-m frag {}", place.random.pick(&options)))
}

fn hbh(place: &mut Place<'_>) -> Option<String> {
    let options = [
        "--hbh-len 8",
        "--hbh-opts 5",
        "--hbh-opts 5:2,1:0",
        "--hbh-opts 0,0,1",
        "--hbh-len 16",
        "! --hbh-len 8",
    ];
    (!place.v4()).then(|| format!("-m hbh {}", place.random.pick(&options)))
}

fn dst(place: &mut Place<'_>) -> Option<String> {
    let options = [
        "--dst-len 8",
        "--dst-opts 1",
        "--dst-len 16",
        "--dst-opts 1:4",
        "! --dst-len 8",
    ];
    (!place.v4()).then(|| format!("-m dst {}", place.random.pick(&options)))
}

fn rt(place: &mut Place<'_>) -> Option<String> {
    let options = [
        "--rt-type 2",
        "--rt-type 0",
        "--rt-segsleft 0:1",
        "--rt-type 2 --rt-len 24",
        "! --rt-type 2",
        "! --rt-segsleft 1",
        "! --rt-len 24",
        "--rt-type 0 --rt-0-res",
        "--rt-type 0 --rt-0-addrs fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd",
        "--rt-type 0 --rt-0-addrs fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd --rt-0-not-strict",
    ];
    (!place.v4()).then(|| format!("-m rt {}", place.random.pick(&options)))
}

fn ipv6header(place: &mut Place<'_>) -> Option<String> {
    let options = [
        "--header hop-by-hop --soft",
        "--header dst --soft",
        "--header route,dst --soft",
        "--header prot",
        "--header none --soft",
        "--header hop-by-hop",
        "--header auth --soft",
        "--header hop-by-hop,prot",
        "--header dst,prot",
        "--header esp",
    ];
    (!place.v4()).then(|| format!("-m ipv6header {}{}", place.not(), place.random.pick(&options)))
}

/// There is no IPsec here.
fn policy(place: &mut Place<'_>) -> Option<String> {
    let direction = if place.only(hook::PREROUTING | hook::INPUT | hook::FORWARD) {
        "in"
    } else if place.only(hook::FORWARD | hook::OUTPUT | hook::POSTROUTING) {
        "out"
    } else {
        return None;
    };
    Some(format!(
        "-m policy --dir {direction} --pol {}",
        place.random.pick(&["none", "ipsec"])
    ))
}

/// All interfaces are in group 0.
fn devgroup(place: &mut Place<'_>) -> Option<String> {
    let option = if place.only(hook::PREROUTING | hook::INPUT | hook::FORWARD) {
        "--src-group"
    } else if place.only(hook::FORWARD | hook::OUTPUT | hook::POSTROUTING) {
        "--dst-group"
    } else {
        return None;
    };
    Some(format!(
        "-m devgroup {}{option} {}",
        place.not(),
        place.random.pick(&["0", "1", "0x10/0x10"])
    ))
}

fn ipcomp(place: &mut Place<'_>) -> Option<String> {
    let spis = ["0:30000", "25956", "0:65535"];
    (place.protocol == Some("108")).then(|| format!("-m ipcomp {}--ipcompspi {}", place.not(), place.random.pick(&spis)))
}

/// Programs: always, by the length, by the protocol's byte, by an address, and one that loads from beyond the packet.
fn bpf(place: &mut Place<'_>) -> Option<String> {
    let (protocol, address) = if place.v4() { (9, 12) } else { (6, 20) };
    let programs = [
        "1,6 0 0 1".to_owned(),
        "4,128 0 0 0,37 0 1 80,6 0 0 1,6 0 0 0".to_owned(),
        format!("4,48 0 0 {protocol},21 0 1 6,6 0 0 65535,6 0 0 0"),
        format!("5,32 0 0 {address},84 0 0 3,21 1 0 2,6 0 0 1,6 0 0 0"),
        "3,32 0 0 3000,6 0 0 1,6 0 0 1".to_owned(),
    ];
    Some(format!("-m bpf --bytecode \"{}\"", place.random.pick(&programs)))
}

fn cluster(place: &mut Place<'_>) -> Option<String> {
    if !place.tracking() || place.table == "raw" {
        return None;
    }
    let node = place.random.between(1, 2);
    let not = place.not();
    Some(format!(
        "-m cluster --cluster-total-nodes 2 {not}--cluster-local-node {node} --cluster-hash-seed {}",
        place.random.between(1, 9)
    ))
}

fn mh(place: &mut Place<'_>) -> Option<String> {
    let kinds = ["0:255", "0:100", "101"];
    (!place.v4() && place.protocol == Some("135"))
        .then(|| format!("-m mh {}--mh-type {}", place.not(), place.random.pick(&kinds)))
}

fn srh(place: &mut Place<'_>) -> Option<String> {
    let options = [
        "--srh-segs-left-eq 1",
        "--srh-next-hdr 6",
        "! --srh-hdr-len-eq 2",
        "--srh-segs-left-lt 2",
        "--srh-tag 0 --srh-last-entry-lt 9",
    ];
    (!place.v4()).then(|| format!("-m srh {}", place.random.pick(&options)))
}

/// No bridge here.
fn physdev(place: &mut Place<'_>) -> Option<String> {
    place
        .only(hook::PREROUTING | hook::INPUT | hook::FORWARD)
        .then(|| format!("-m physdev {}--physdev-in eth0", place.not()))
}

fn set(place: &mut Place<'_>) -> Option<String> {
    let which = place.random.below(4);
    // What SET adds, a copy would find.
    if which == 3 && place.conditions.copies {
        return None;
    }
    let name = sets::all(place.family)[which].name;
    let not = place.not();
    // One flag too many or too few is allowed.
    let flags = match place.random.below(20) {
        0 => place.random.between(1, 3) as usize,
        _ => sets::DIMENSIONS[which],
    };
    let sides: Vec<&str> = (0..flags).map(|_| *place.random.pick(&["src", "dst"])).collect();
    let more = ["", "", "", " --return-nomatch"][place.random.below(4)];
    Some(format!("-m set {not}--match-set {name} {}{more}", sides.join(",")))
}

/// Not in `raw`, as [`connmark`].
fn connlabel(place: &mut Place<'_>) -> Option<String> {
    if !place.tracking() || place.table == "raw" {
        return None;
    }
    let label = place.random.between(1, 4);
    let set = if place.random.chance(50) { " --set" } else { "" };
    Some(format!("-m connlabel {}--label {label}{set}", place.not()))
}

/// No route here has one.
fn realm(place: &mut Place<'_>) -> Option<String> {
    if !place.v4() || !place.only(hook::INPUT | hook::FORWARD | hook::OUTPUT | hook::POSTROUTING) {
        return None;
    }
    let realms = ["0", "1", "0/0xff"];
    Some(format!("-m realm {}--realm {}", place.not(), place.random.pick(&realms)))
}

/// No machine has that many processors.
fn cpu(place: &mut Place<'_>) -> Option<String> {
    Some(format!("-m cpu {}--cpu 60000", place.not()))
}

/// Nothing listens here.
fn socket(place: &mut Place<'_>) -> Option<String> {
    if !place.only(hook::PREROUTING | hook::INPUT) || !matches!(place.table, "raw" | "mangle" | "filter") {
        return None;
    }
    Some(format!(
        "-m socket{}",
        place.random.pick(&["", " --transparent", " --nowildcard"])
    ))
}

/// There is no MAC on a TUN: it never matches, negated or not.
fn mac(place: &mut Place<'_>) -> Option<String> {
    place
        .only(hook::PREROUTING | hook::INPUT | hook::FORWARD)
        .then(|| format!("-m mac {}--mac-source 02:00:00:00:00:01", place.not()))
}
