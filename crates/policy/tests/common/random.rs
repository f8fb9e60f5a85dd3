//! Configurations made at random, as text, and packets that have something to do with them.

// Each test file uses a part of it.
#![allow(dead_code)]

use std::fmt::Write as _;
use std::net::IpAddr;

use fastrand::Rng;
use fielato_wire::build::{Ip, Tcp};
use fielato_wireguard::PublicKey;

/// Members, groups, hosts of both strategies, services, and rules with every kind of party.
pub fn configuration(rng: &mut Rng) -> String {
    let mut text = String::from(
        "[hub]\ninterface = \"wg0\"\nendpoint = \"10.0.123.2:51820\"\naddresses = [\"192.168.4.1/24\", \"fd00:4::1/64\"]\n\
         uplink = \"eth0\"\nsource = [\"10.0.123.2\", \"2001:db8::2\"]\nlab = [\"10.0.124.0/24\"]\n",
    );
    let _ = writeln!(text, "transit = \"{}\"", ["auto", "drop", "leave"][rng.usize(..3)]);
    let _ = writeln!(text, "masquerade = {}", rng.bool());
    let members = 2 + rng.u8(..6);
    for member in 0..members {
        let key = PublicKey([member + 1; 32]);
        let last = member + 2;
        let addresses = match rng.u8(..4) {
            0 => format!("\"192.168.4.{last}\""),
            1 => format!("\"fd00:4::{last:x}\""),
            _ => format!("\"192.168.4.{last}\", \"fd00:4::{last:x}\""),
        };
        let groups: Vec<String> = (0..3).filter(|_| rng.bool()).map(|group| format!("\"g{group}\"")).collect();
        let _ = writeln!(
            text,
            "[member.m{member}]\naddresses = [{addresses}]\npublic_key = \"{key}\"\ngroups = [{}]",
            groups.join(", ")
        );
        match rng.u8(..6) {
            0 => text.push_str("disabled = true\n"),
            1 => text.push_str("expires = 2026-01-01T00:00:00Z\n"),
            _ => {}
        }
    }
    // A group has at least one member.
    let key = PublicKey([99; 32]);
    let _ = writeln!(
        text,
        "[member.last]\naddresses = [\"192.168.4.99\", \"fd00:4::63\"]\npublic_key = \"{key}\"\ngroups = [\"g0\", \"g1\", \"g2\"]"
    );
    text.push_str("[host.h0]\naddress = [\"10.0.123.4\", \"2001:db8::4\"]\nstrategy = \"source\"\n");
    text.push_str("[host.h1]\naddress = \"10.0.123.5\"\nstrategy = \"source\"\n");
    text.push_str("[host.m0]\naddress = \"10.0.123.6\"\nstrategy = \"member\"\n");
    text.push_str("[service.s0]\nhost = \"h0\"\nports = [\"tcp/80\", \"udp/53\", \"tcp/443\"]\n");
    text.push_str("[service.s1]\nhost = \"m0\"\nports = [\"tcp/20-25\"]\n");
    let many: Vec<String> = (0..20).map(|port| format!("\"tcp/{}\"", 1000 + 3 * port)).collect();
    let _ = writeln!(
        text,
        "[service.s2]\nhost = \"h1\"\nports = [{}, \"udp/1000-1010\"]",
        many.join(", ")
    );
    for _ in 0..rng.usize(..9) {
        let action = ["accept", "accept", "drop", "reject"][rng.usize(..4)];
        let (from, to) = (parties(rng, members, false), parties(rng, members, true));
        let _ = writeln!(text, "[[rule]]\nfrom = [{from}]\nto = [{to}]\naction = \"{action}\"");
    }
    text
}

fn parties(rng: &mut Rng, members: u8, to: bool) -> String {
    const NETS: [&str; 8] = [
        "10.0.123.0/24",
        "10.0.123.6",
        "192.168.4.0/29",
        "2001:db8::/64",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "fd00:4::/125",
        "10.0.124.0/25",
    ];
    let mut all: Vec<String> = Vec::new();
    for _ in 0..1 + rng.usize(..3) {
        all.push(match rng.u8(..if to { 11 } else { 8 }) {
            0 => "any".into(),
            1 => "members".into(),
            2 => format!("m{}", rng.u8(..members)),
            3 | 4 => format!("g{}", rng.u8(..3)),
            5 => "internet".into(),
            6 => format!("h{}", rng.u8(..2)),
            7 => NETS[rng.usize(..NETS.len())].into(),
            8 => "hub".into(),
            _ => format!("s{}", rng.u8(..3)),
        });
    }
    if rng.u8(..8) == 0 {
        all.extend(NETS.map(str::to_owned));
    }
    all.sort();
    all.dedup();
    if all.iter().any(|party| party == "any") {
        all = vec!["any".into()];
    }
    all.iter().map(|party| format!("\"{party}\"")).collect::<Vec<_>>().join(", ")
}

/// An address that some configuration gives a meaning.
pub fn address(rng: &mut Rng, v4: bool) -> IpAddr {
    let known: &[&str] = if v4 {
        &[
            "10.0.123.4",
            "10.0.123.5",
            "10.0.123.6",
            "10.0.123.77",
            "10.0.124.9",
            "198.51.100.7",
            "203.0.113.9",
            "8.8.8.8",
        ]
    } else {
        &["2001:db8::4", "2001:db8::5", "2001:db8:7::1", "fd00:5::1"]
    };
    let text = match (rng.bool(), v4) {
        (true, true) => format!("192.168.4.{}", if rng.u8(..5) == 0 { 99 } else { 2 + rng.u8(..8) }),
        (true, false) => format!("fd00:4::{:x}", if rng.u8(..5) == 0 { 99 } else { 2 + rng.u8(..8) }),
        (false, _) => known[rng.usize(..known.len())].to_owned(),
    };
    text.parse().unwrap()
}

/// A packet that could begin a connection, with its protocol and destination port.
pub fn opening(rng: &mut Rng, src: IpAddr, dst: IpAddr, sport: u16) -> (Vec<u8>, u8, u16) {
    let ip = Ip::between(src, dst).unwrap();
    let port = [80, 443, 53, 22, 25, 26, 1000, 1001, 1003, 1057, 9999][rng.usize(..11)];
    match rng.u8(..5) {
        0 => (ip.echo_request(sport, 1, b"?"), if src.is_ipv4() { 1 } else { 58 }, 0),
        1 | 2 => (ip.udp(sport, port, b"?"), 17, port),
        _ => (ip.tcp(&Tcp::new(sport, port).syn()), 6, port),
    }
}
