//! NAT never leads two live flows to one tuple, and what it rewrites has right checksums.

use std::collections::HashMap;

use fielato_netfilter::conntrack::{Config, Direction};
use fielato_netfilter::{Netfilter, Now};
use fielato_properties::machine::{self, INSIDE, OUTSIDE, inside, outside};
use fielato_properties::sums;
use fielato_wire::build::{Dccp, Ip, Tcp};
use fielato_wire::{Family, Headers, number};

const NAT: &str = "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n";

/// Rules of both families, with which few ports or addresses are left to choose from.
const RULES: [[&str; 2]; 9] = [
    ["-A POSTROUTING -o eth1 -p tcp -j MASQUERADE --to-ports 4000-4040"; 2],
    ["-A POSTROUTING -o eth1 -p udp -j MASQUERADE --to-ports 4000-4040 --random"; 2],
    ["-A POSTROUTING -o eth1 -p tcp -j MASQUERADE --to-ports 4000-4040 --random-fully"; 2],
    ["-A POSTROUTING -o eth1 -j MASQUERADE"; 2],
    [
        "-A POSTROUTING -p udp -j SNAT --to-source 203.0.113.10-203.0.113.12:4000-4015 --persistent",
        "-A POSTROUTING -p udp -j SNAT --to-source [2001:db8::a-2001:db8::c]:4000-4015 --persistent",
    ],
    [
        "-A POSTROUTING -p tcp -j SNAT --to-source 203.0.113.10:4000-4040 --random-fully",
        "-A POSTROUTING -p tcp -j SNAT --to-source [2001:db8::a]:4000-4040 --random-fully",
    ],
    [
        "-A PREROUTING -p tcp -j DNAT --to-destination 203.0.113.20-203.0.113.21:80-81 --random",
        "-A PREROUTING -p tcp -j DNAT --to-destination [2001:db8::14-2001:db8::15]:80-81 --random",
    ],
    ["-A PREROUTING -p udp -j REDIRECT --to-ports 4000-4003"; 2],
    [
        "-A POSTROUTING -o eth1 -j NETMAP --to 203.0.113.8/30",
        "-A POSTROUTING -o eth1 -j NETMAP --to 2001:db8::8/126",
    ],
];

/// Every transport there is a checksum for, from one address to another.
fn packets(ip: &Ip, sport: u16, dport: u16) -> Vec<Vec<u8>> {
    vec![
        ip.tcp(&Tcp::new(sport, dport).syn().seq(7).payload(*b"odd")),
        ip.udp(sport, dport, b"hello"),
        ip.udplite(sport, dport, 0, b"all of it"),
        ip.udplite(sport, dport, 8, b"the header"),
        ip.echo_request(sport, 1, b"ping"),
        // INIT: its tag is 0 (RFC 9260 §8.5.1).
        ip.sctp(
            sport,
            dport,
            0,
            &[1, 0, 0, 20, 0, 0, 0, 9, 0, 0, 255, 255, 0, 1, 0, 1, 0, 0, 0, 1],
        ),
        ip.dccp(&Dccp::new(0, sport, dport)),
    ]
}

#[test]
fn no_two_live_flows_share_a_tuple() {
    for rules in RULES {
        for family in [Family::V4, Family::V6] {
            let rule = rules[family as usize];
            let mut netfilter = Netfilter::new(Config::default(), 11);
            let now = Now::from_secs(1000);
            machine::replace(&mut netfilter, machine::rules(family, &format!("{NAT}{rule}\nCOMMIT\n")), now);
            let (mut passed, mut dropped) = (0, 0);
            // What the receiver sees, and who sent it.
            let mut seen = HashMap::new();
            for flow in 0..400u16 {
                let ip = Ip::new(
                    family,
                    inside(family, 1 + (flow % 9) as u8),
                    outside(family, 200 + (flow % 2) as u8),
                );
                for packet in packets(&ip, 2000 + flow / 9, 80) {
                    let Some(fate) = machine::receive(&mut netfilter, packet.clone(), INSIDE, now) else {
                        panic!("{rule}: a sound packet");
                    };
                    let Some(out) = machine::passed(fate) else {
                        dropped += 1;
                        continue;
                    };
                    passed += 1;
                    sums::verify(&out.data).unwrap_or_else(|what| panic!("{rule}: {what}: {:02x?}", out.data));
                    let headers = out.headers;
                    let id = match headers.protocol {
                        number::ICMP | number::ICMPV6 => u16::from_be_bytes([out.transport()[4], out.transport()[5]]),
                        _ => headers.sport,
                    };
                    let key = (headers.protocol, headers.src, headers.dst, id, headers.dport);
                    let from = (ip.src, ip.dst, 2000 + flow / 9);
                    let other = seen.insert(key, from).filter(|other| *other != from);
                    assert_eq!(other, None, "{rule}: {key:?} of {from:?}");
                }
            }
            assert!(passed > 100, "{rule}: {passed} passed, {dropped} dropped");
            let mut owners = HashMap::new();
            for (id, conn) in netfilter.conntrack().iter() {
                for direction in [Direction::Original, Direction::Reply] {
                    let owner = owners.insert(*conn.tuple(direction), id);
                    assert!(owner.is_none_or(|owner| owner == id), "{rule}: {}", conn.tuple(direction));
                }
            }
        }
    }
}

/// An error about a translated packet comes back to its sender, and quotes what that one sent.
#[test]
fn errors_come_back_whole() {
    for rules in RULES {
        for family in [Family::V4, Family::V6] {
            let rule = rules[family as usize];
            let mut netfilter = Netfilter::new(Config::default(), 5);
            let now = Now::from_secs(1000);
            machine::replace(&mut netfilter, machine::rules(family, &format!("{NAT}{rule}\nCOMMIT\n")), now);
            let mut translated = 0;
            for flow in 0..12u8 {
                let ip = Ip::new(family, inside(family, 1 + flow % 4), outside(family, 200));
                let sport = 2000 + u16::from(flow);
                for packet in packets(&ip, sport, 80) {
                    let fate = machine::receive(&mut netfilter, packet.clone(), INSIDE, now);
                    let Some(out) = fate.and_then(machine::passed) else {
                        continue;
                    };
                    translated += usize::from(out.data[12..] != packet[12..]);
                    if out.out_interface.index != OUTSIDE {
                        continue;
                    }
                    let code = if family == Family::V4 { (3, 3) } else { (1, 4) };
                    let router = Ip::new(family, outside(family, 77), out.headers.src);
                    let error = router.icmp_error(code.0, code.1, 0, &out.data);
                    let back = machine::receive(&mut netfilter, error, OUTSIDE, now).and_then(machine::passed);
                    let Some(back) = back else {
                        panic!("{rule}: the error about {:02x?} was dropped", out.data);
                    };
                    assert_eq!(back.headers.dst, ip.src, "{rule}");
                    sums::verify(&back.data).unwrap_or_else(|what| panic!("{rule}: {what}: {:02x?}", back.data));
                    // The quote is the packet as it was sent, but for the way's TTL.
                    let quote = &back.data[back.headers.ip_header_len() + 8..];
                    let quoted = Headers::parse(quote).unwrap();
                    assert_eq!((quoted.src, quoted.dst), (ip.src, ip.dst), "{rule}");
                    assert_eq!(
                        quoted.transport(quote),
                        Headers::parse(&packet).unwrap().transport(&packet),
                        "{rule}"
                    );
                }
            }
            assert!(translated > 10, "{rule}: {translated}");
        }
    }
}
