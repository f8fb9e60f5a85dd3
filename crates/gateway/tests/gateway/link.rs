//! A port of Ethernet frames.

use fielato_gateway::{Buffer, Gateway, Link, Now, PortId};
use fielato_wire::build::Ip;
use fielato_wire::{Addr, Family, Headers};

use crate::net::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const SERVER: [u8; 6] = [2, 0, 0, 0, 0, 9];

fn gateway_on_ethernet() -> Gateway {
    let mut config = config();
    config.ports[2].link = Link::Ethernet { mac: MAC };
    gateway(config)
}

fn frame(to: [u8; 6], kind: u16, data: &[u8]) -> Vec<u8> {
    [&to[..], &SERVER, &kind.to_be_bytes(), data].concat()
}

const fn ether_type(family: Family) -> u16 {
    match family {
        Family::V4 => 0x0800,
        Family::V6 => 0x86dd,
    }
}

/// The server's answer to the question who has its address.
fn answer(family: Family, question: &[u8]) -> Vec<u8> {
    match family {
        Family::V4 => {
            assert_eq!(question[12..22], [8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
            let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 2];
            arp.extend_from_slice(&SERVER);
            arp.extend_from_slice(&question[38..42]);
            arp.extend_from_slice(&question[22..32]);
            frame(MAC, 0x0806, &arp)
        }
        Family::V6 => {
            let asked = Headers::receive(&question[14..]).unwrap();
            assert_eq!((asked.icmp_type, asked.ttl), (135, 255));
            let target = &question[14 + 48..14 + 64];
            let ip = Ip::new(Family::V6, Addr::read(target), asked.src).ttl(255);
            let body = [target, &[2, 1], &SERVER].concat();
            frame(MAC, 0x86dd, &ip.icmp(136, 0, 0x6000_0000, &body))
        }
    }
}

#[test]
fn the_next_hop_is_found_and_frames_go_to_it() {
    for family in FAMILIES {
        let mut gateway = gateway_on_ethernet();
        let [member, _, server, far] = places(family);
        for (to, hop) in [
            (server, server),
            (far, if family == Family::V4 { "192.0.2.254" } else { "2001:db8::fe" }),
        ] {
            let packets: Vec<Vec<u8>> = (0..2).map(|port| ip(member, to).udp(port, 53, b"question")).collect();
            let [(UPLINK, question)] = &pass(&mut gateway, TUNNEL, &packets[0], START)[..] else {
                panic!("a question was to be sent");
            };
            assert_eq!(pass(&mut gateway, TUNNEL, &packets[1], START), []);
            let asked = match family {
                Family::V4 => Addr::read(&question[38..42]),
                Family::V6 => Addr::read(&question[14 + 48..14 + 64]),
            };
            assert_eq!(asked.to_ip(family).to_string(), hop);
            let sent = pass(&mut gateway, UPLINK, &answer(family, question), START);
            assert_eq!(sent.len(), 2);
            for ((port, data), packet) in sent.iter().zip(&packets) {
                assert_eq!((*port, &data[..6], &data[6..12]), (UPLINK, &SERVER[..], &MAC[..]));
                assert_eq!(data[12..14], ether_type(family).to_be_bytes());
                let (sent, given) = (Headers::receive(&data[14..]).unwrap(), Headers::parse(packet).unwrap());
                assert_eq!(
                    (sent.src, sent.dst, sent.sport, sent.ttl),
                    (given.src, given.dst, given.sport, 63)
                );
            }
        }
        assert_eq!(gateway.neighbours(UPLINK), 2);
        // And back.
        let packet = ip(server, member).udp(53, 1, b"answer");
        let back = pass(&mut gateway, UPLINK, &frame(MAC, ether_type(family), &packet), START);
        assert_eq!((back.len(), back[0].0), (1, TUNNEL));
        assert_eq!(drops(&gateway), []);
    }
}

#[test]
fn who_waits_for_a_host_that_is_not_there_is_told() {
    for family in FAMILIES {
        let mut gateway = gateway_on_ethernet();
        let [member, _, server, _] = places(family);
        for port in 0..5 {
            pass(&mut gateway, TUNNEL, &ip(member, server).udp(port, 53, b"question"), START);
        }
        let mut told = Vec::new();
        let mut questions = 1;
        let mut now = START;
        while let Some(due) = gateway.poll_timeout().filter(|due| *due < START.mono + 5 * Now::SECOND) {
            now = now.plus(due.saturating_sub(now.mono).max(1_000_000));
            gateway.handle_timeout(now);
            for (port, data) in sent(&mut gateway, now) {
                match port {
                    TUNNEL => told.push(Headers::receive(&data).unwrap()),
                    _ => questions += 1,
                }
            }
        }
        assert_eq!(questions, 3);
        let error = if family == Family::V4 { (3, 1) } else { (1, 3) };
        assert_eq!(told.len(), 3);
        assert!(told.iter().all(|headers| (headers.icmp_type, headers.icmp_code) == error));
        assert_eq!(drops(&gateway), [("neighbour-queue", 2), ("no-neighbour", 3)]);
        assert_eq!(gateway.neighbours(UPLINK), 0);
    }
}

#[test]
fn frames_that_are_not_for_us_are_dropped_by_name() {
    let mut gateway = gateway_on_ethernet();
    let packet = ip("192.0.2.9", "10.8.0.7").udp(1, 2, b"x");
    let other = [2, 0, 0, 0, 0, 0x55];
    for data in [
        frame(other, 0x0800, &packet),
        frame(MAC, 0x0800, &[]),
        frame(MAC, 0x86dd, &packet),
        frame(MAC, 0x8100, &packet),
        vec![0; 13],
        frame(MAC, 0x0806, &[0; 28]),
        frame([0xff; 6], 0x0800, &packet),
    ] {
        assert_eq!(pass(&mut gateway, UPLINK, &data, START), []);
    }
    assert_eq!(
        drops(&gateway),
        [
            ("other-station", 1),
            ("ether-type", 4),
            ("bad-neighbour-message", 1),
            ("link-group", 1)
        ]
    );
    gateway.receive(PortId(3), Buffer::default(), START);
}
