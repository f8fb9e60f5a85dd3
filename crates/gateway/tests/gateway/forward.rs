//! Forwarding, delivery, the hub's own packets, ICMP errors.

use fielato_gateway::{Buffer, Offload, PortId, Route, RouteKind, RoutingRule, RpFilter};
use fielato_wire::build::{Ip, Tcp, fragments, reassemble};
use fielato_wire::{Family, Headers, Segmentation, SegmentationKind, checksum};

use crate::net::*;

#[test]
fn packets_go_both_ways_and_live_shorter() {
    for family in FAMILIES {
        let mut gateway = gateway(config());
        let [member, _, server, far] = places(family);
        for (by, packet, out) in [
            (TUNNEL, ip(member, server), UPLINK),
            (TUNNEL, ip(member, far), UPLINK),
            (UPLINK, ip(server, member), TUNNEL),
        ] {
            let packet = Ip { ttl: 9, ..packet }.udp(1000, 53, b"question");
            let [(port, data)] = &pass(&mut gateway, by, &packet, START)[..] else {
                panic!("one packet was to leave");
            };
            let headers = Headers::receive(data).unwrap();
            assert_eq!((*port, headers.ttl), (out, 8));
            assert_eq!(headers.transport(data), Headers::parse(&packet).unwrap().transport(&packet));
        }
        assert_eq!(drops(&gateway), []);
    }
}

#[test]
fn what_is_for_the_hub_is_delivered_and_what_is_the_hubs_is_sent() {
    for family in FAMILIES {
        let mut gateway = gateway(config());
        let [member, hub, _, _] = places(family);
        let question = ip(member, hub).udp(1000, 53, b"question");
        assert_eq!(pass(&mut gateway, TUNNEL, &question, START), [(HOST, question)]);
        let answer = ip(hub, member).udp(53, 1000, b"answer");
        assert_eq!(pass(&mut gateway, HOST, &answer, START), [(TUNNEL, answer)]);
        let foreign = ip(member, hub).udp(53, 1000, b"answer");
        assert_eq!(pass(&mut gateway, HOST, &foreign, START), []);
        assert_eq!(drops(&gateway), [("foreign", 1)]);
    }
}

#[test]
fn the_errors_that_a_router_owes_are_sent_and_limited() {
    for family in FAMILIES {
        let v4 = family == Family::V4;
        let [member, _, server, _] = places(family);
        let own = if v4 { "10.8.0.1" } else { "fd08::1" };
        let big = vec![0; 1480];
        let mut prohibiting = config();
        let refused = if v4 { "203.0.113.0/24" } else { "2001:db8:bad::/48" };
        prohibiting.routes.push(Route {
            kind: RouteKind::Prohibit,
            ..Route::to(refused.parse().unwrap(), UPLINK)
        });
        let there = if v4 { "203.0.113.5" } else { "2001:db8:bad::5" };
        let dont_fragment = |packet: Ip| Ip {
            dont_fragment: v4,
            ..packet
        };
        for (by, packet, error, answers_by) in [
            (
                TUNNEL,
                ip(member, server).ttl(1).udp(1, 2, b"x"),
                if v4 { (11, 0) } else { (3, 0) },
                TUNNEL,
            ),
            (
                UPLINK,
                dont_fragment(ip(server, member)).udp(1, 2, &big),
                if v4 { (3, 4) } else { (2, 0) },
                UPLINK,
            ),
            (
                TUNNEL,
                ip(member, there).udp(1, 2, b"x"),
                if v4 { (3, 13) } else { (1, 1) },
                TUNNEL,
            ),
        ] {
            let mut gateway = gateway(prohibiting.clone());
            let [(port, data)] = &pass(&mut gateway, by, &packet, START)[..] else {
                panic!("one error was to leave");
            };
            let headers = Headers::receive(data).unwrap();
            assert_eq!(
                (*port, (headers.icmp_type, headers.icmp_code)),
                (answers_by, error),
                "{family:?}"
            );
            if by == TUNNEL {
                assert_eq!(headers.src.to_ip(family).to_string(), own);
            }
            if error.0 == if v4 { 3 } else { 2 } && error.1 == if v4 { 4 } else { 0 } {
                continue;
            }
            let more = (0..50).map(|_| pass(&mut gateway, by, &packet, START).len()).sum::<usize>();
            assert!((1..=5).contains(&more), "{more} more errors");
            assert!(gateway.icmp_refused() > 0);
        }
    }
}

#[test]
fn what_no_router_forwards_is_dropped_by_name() {
    let mut strict = config();
    strict.ports[2].rp_filter = RpFilter::Strict;
    let blackhole = Route {
        kind: RouteKind::Blackhole,
        ..Route::to("203.0.113.0/24".parse().unwrap(), UPLINK)
    };
    strict.routes.push(blackhole);
    for (by, from, to, reason) in [
        (TUNNEL, "127.0.0.1", "192.0.2.9", "martian"),
        (TUNNEL, "10.8.0.7", "127.0.0.1", "martian"),
        (TUNNEL, "0.1.2.3", "192.0.2.9", "martian"),
        (TUNNEL, "10.8.0.7", "0.1.2.3", "martian"),
        (TUNNEL, "224.0.0.9", "192.0.2.9", "martian"),
        (TUNNEL, "255.255.255.255", "192.0.2.9", "martian"),
        (TUNNEL, "10.8.0.7", "239.1.1.1", "martian"),
        (UPLINK, "10.8.0.1", "10.8.0.7", "martian"),
        (UPLINK, "10.8.0.9", "10.8.0.7", "reverse-path"),
        (TUNNEL, "10.8.0.7", "203.0.113.1", "blackhole"),
        (TUNNEL, "::1", "2001:db8::9", "martian"),
        (TUNNEL, "fd08::7", "::1", "martian"),
        (TUNNEL, "ff02::1", "2001:db8::9", "martian"),
        (TUNNEL, "fd08::7", "ff01::1", "martian"),
        (TUNNEL, "fe80::7", "2001:db8::9", "martian"),
        (TUNNEL, "fd08::7", "febf::9", "martian"),
        (TUNNEL, "::", "2001:db8::9", "martian"),
    ] {
        let mut gateway = gateway(strict.clone());
        assert_eq!(
            pass(&mut gateway, by, &ip(from, to).udp(1, 2, b"x"), START),
            [],
            "{from} to {to}"
        );
        assert_eq!(drops(&gateway), [(reason, 1)], "{from} to {to}");
    }
    let mut gateway = gateway(strict);
    assert_eq!(
        pass(&mut gateway, PortId(77), &ip("10.8.0.7", "192.0.2.9").udp(1, 2, b"x"), START),
        []
    );
    assert_eq!(pass(&mut gateway, TUNNEL, b"garbage", START), []);
    assert_eq!(drops(&gateway), [("no-port", 1), ("malformed", 1)]);
}

#[test]
fn routing_rules_choose_the_table() {
    let mut config = with_rules(
        "*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -j MARK --set-mark 7\nCOMMIT\n",
        "*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -j MARK --set-mark 7\nCOMMIT\n",
    );
    for (net, rule) in [("0.0.0.0/0", "10.8.0.64/26"), ("::/0", "fd08::40/122")] {
        config.routes.push(Route {
            table: 100,
            ..Route::to(net.parse().unwrap(), TUNNEL)
        });
        let by_mark = RoutingRule {
            priority: 10,
            from: None,
            to: None,
            iif: Some("wg0".to_owned()),
            mark: Some((7, 0xff)),
            table: 100,
        };
        config.rules.push(by_mark.clone());
        config.rules.push(RoutingRule {
            from: Some(rule.parse().unwrap()),
            mark: None,
            ..by_mark
        });
    }
    for family in FAMILIES {
        let mut gateway = gateway(config.clone());
        let [member, _, server, _] = places(family);
        let special = if family == Family::V4 { "10.8.0.65" } else { "fd08::41" };
        let tcp = ip(member, server).tcp(&Tcp::new(1, 2).syn());
        assert_eq!(pass(&mut gateway, TUNNEL, &tcp, START)[0].0, TUNNEL);
        let udp = ip(member, server).udp(1, 2, b"x");
        assert_eq!(pass(&mut gateway, TUNNEL, &udp, START)[0].0, UPLINK);
        let from = ip(special, server).udp(1, 2, b"x");
        assert_eq!(pass(&mut gateway, TUNNEL, &from, START)[0].0, TUNNEL);
    }
}

#[test]
fn a_hub_without_a_stack_answers_pings_itself() {
    for family in FAMILIES {
        let mut config = config();
        config.ports.retain(|port| port.id != HOST);
        let mut gateway = gateway(config);
        let [member, hub, _, _] = places(family);
        let request = ip(member, hub).echo_request(7, 1, b"hello");
        let [(TUNNEL, data)] = &pass(&mut gateway, TUNNEL, &request, START)[..] else {
            panic!("a reply was to leave");
        };
        assert_eq!(*data, ip(hub, member).echo_reply(7, 1, b"hello"));
        assert_eq!(pass(&mut gateway, TUNNEL, &ip(member, hub).udp(1, 2, b"x"), START), []);
        assert_eq!(drops(&gateway), [("no-host", 1)]);
    }
}

#[test]
fn superpackets_are_judged_whole_and_cut_where_they_must_be() {
    for family in FAMILIES {
        let [member, _, server, _] = places(family);
        let header = if family == Family::V4 { 20 } else { 40 };
        let data = ip(server, member).tcp(&Tcp {
            payload: vec![7; 5000],
            ..Tcp::new(1000, 80).syn()
        });
        let kind = if family == Family::V4 {
            SegmentationKind::Tcp4
        } else {
            SegmentationKind::Tcp6
        };
        let superpacket = |size| Buffer {
            data: data.clone(),
            offload: Offload {
                needs_csum: Some((header, 16)),
                data_valid: false,
                segmentation: Some(Segmentation {
                    kind,
                    ecn: false,
                    size,
                    header_len: header + 20,
                }),
            },
        };
        let mut gateway = gateway(config());
        gateway.receive(UPLINK, superpacket(1300), START);
        let (port, whole) = gateway.transmit(START).unwrap();
        assert_eq!((port, whole.segment_size(), whole.data.len()), (TUNNEL, 1300, data.len()));
        let mut lengths = Vec::new();
        whole.split(&mut |segment| {
            let headers = Headers::receive(&segment.data).unwrap();
            let sum = checksum::transport(headers.src, headers.dst, headers.protocol, headers.transport(&segment.data));
            assert_eq!((sum, headers.ttl), (0, 63));
            lengths.push(segment.data.len() - usize::from(headers.l4) - 20);
        });
        assert_eq!(lengths, [1300, 1300, 1300, 1100]);

        // Segments that are too large: the sender is told so over IPv6, and fragments leave over IPv4.
        gateway.receive(UPLINK, superpacket(1400), START);
        let packets = sent(&mut gateway, START);
        match family {
            Family::V4 => assert!(packets.len() == 7 && packets.iter().all(|(port, data)| *port == TUNNEL && data.len() <= 1420)),
            Family::V6 => assert_eq!(Headers::parse(&packets[0].1).unwrap().icmp_type, 2),
        }
    }
}

#[test]
fn what_is_too_large_is_cut_and_what_came_in_pieces_leaves_in_pieces() {
    for family in FAMILIES {
        let mut gateway = gateway(config());
        let [member, _, server, _] = places(family);
        let whole = ip(server, member).id(7).udp(53, 1000, &[7; 1452]);
        let pieces = match family {
            Family::V4 => {
                let pieces = pass(&mut gateway, UPLINK, &whole, START);
                assert!(pieces.len() == 2 && pieces.iter().all(|(port, piece)| *port == TUNNEL && piece.len() <= 1420));
                pieces.into_iter().map(|(_, piece)| piece).collect()
            }
            Family::V6 => fragments(&whole, 1280, 7).unwrap(),
        };
        // All but the last wait to be put together for connection tracking.
        let (last, others) = pieces.split_last().unwrap();
        for piece in others {
            assert_eq!(pass(&mut gateway, UPLINK, piece, START), []);
        }
        let again = pass(&mut gateway, UPLINK, last, START);
        assert_eq!(again.len(), pieces.len());
        let lengths = |pieces: &mut dyn Iterator<Item = &Vec<u8>>| pieces.map(Vec::len).collect::<Vec<_>>();
        assert_eq!(
            lengths(&mut again.iter().map(|(_, piece)| piece)),
            lengths(&mut pieces.iter())
        );
        let put_together = reassemble(&again.iter().map(|(_, piece)| piece.clone()).collect::<Vec<_>>()).unwrap();
        let headers = Headers::parse(&put_together).unwrap();
        assert_eq!(headers.transport(&put_together)[8..], [7; 1452]);
    }
}

#[test]
fn a_copy_goes_to_its_gateway() {
    for family in FAMILIES {
        let [member, hub, server, _] = places(family);
        let copying = format!("*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -i wg0 -j TEE --gateway {server}\nCOMMIT\n");
        let (v4, v6) = match family {
            Family::V4 => (copying, String::new()),
            Family::V6 => (String::new(), copying),
        };
        let mut gateway = gateway(with_rules(&v4, &v6));
        let packet = ip(member, hub).udp(1, 2, b"x");
        let mut ports: Vec<_> = pass(&mut gateway, TUNNEL, &packet, START).into_iter().collect();
        ports.sort();
        assert_eq!(ports.iter().map(|(port, _)| *port).collect::<Vec<_>>(), [HOST, UPLINK]);
        assert!(
            ports
                .iter()
                .all(|(_, data)| Headers::parse(data).unwrap().dst.to_ip(family).to_string() == hub)
        );
    }
}

#[test]
fn what_the_hubs_machine_forwards_may_count_as_come_by_another_port() {
    for family in FAMILIES {
        let [member, _, server, _] = places(family);
        let rules = filter("-A FORWARD -i eth0 -j ACCEPT");
        let mut config = with_rules(&rules, &rules);
        config.settings.foreign = Some(UPLINK);
        let mut gateway = gateway(config);
        let packet = ip(server, member).udp(1, 2, b"x");
        assert_eq!(
            pass(&mut gateway, HOST, &packet, START),
            [(TUNNEL, ip(server, member).ttl(63).udp(1, 2, b"x"))]
        );
    }
}
