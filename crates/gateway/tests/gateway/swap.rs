//! The configuration changes under load: whole or not at all, nothing lost, nothing reordered, and what is forbidden now stops.

use fielato_gateway::{Buffer, ConfigError, Route, SetConfig, Shaping};
use fielato_netfilter::sets::{Kind, Part};
use fielato_wire::build::Tcp;
use fielato_wire::{Addr, Family, Headers};

use crate::net::*;

/// A filter for both families that lets these ports of the server be reached.
fn admitting(ports: &str) -> fielato_gateway::Config {
    let rules = |comment: &str| {
        filter(&format!(
            "-A FORWARD -i wg0 -o eth0 -p tcp -m multiport --dports {ports} -m comment --comment \"{comment}\" -j ACCEPT"
        ))
    };
    with_rules(&rules("rule 1"), &rules("rule 1"))
}

/// Swaps, and says how many connections the new rules ended.
fn swap(gateway: &mut fielato_gateway::Gateway, config: fielato_gateway::Config) -> usize {
    gateway.swap(config, START).unwrap();
    std::iter::from_fn(|| Some(gateway.judge_some(3, START)))
        .find_map(|cut| cut)
        .unwrap()
}

/// A TCP connection of a member to the server's port, as far as data.
fn connect(gateway: &mut fielato_gateway::Gateway, family: Family, sport: u16, dport: u16) -> usize {
    let [member, _, server, _] = places(family);
    let there = Tcp::new(sport, dport);
    let packets = [
        (TUNNEL, ip(member, server).tcp(&there.clone().syn())),
        (
            UPLINK,
            ip(server, member).tcp(
                &Tcp {
                    ack: 1,
                    ..Tcp::new(dport, sport).syn()
                }
                .flags(0x12),
            ),
        ),
        (TUNNEL, ip(member, server).tcp(&Tcp { seq: 1, ack: 1, ..there }.flags(0x10))),
    ];
    packets
        .iter()
        .map(|(by, packet)| pass(gateway, *by, packet, START).len())
        .sum()
}

/// What the server acknowledges.
fn answer(family: Family, sport: u16, dport: u16) -> Vec<u8> {
    let [member, _, server, _] = places(family);
    ip(server, member).tcp(
        &Tcp {
            seq: 1,
            ack: 1,
            ..Tcp::new(sport, dport)
        }
        .flags(0x10),
    )
}

fn data(family: Family, sport: u16, dport: u16) -> Vec<u8> {
    let [member, _, server, _] = places(family);
    ip(member, server).tcp(
        &Tcp {
            seq: 1,
            ack: 1,
            payload: b"more".to_vec(),
            ..Tcp::new(sport, dport)
        }
        .flags(0x18),
    )
}

#[test]
fn flows_that_are_forbidden_now_stop_at_once_and_others_go_on() {
    for family in FAMILIES {
        let mut gateway = gateway(admitting("80,81"));
        for (sport, dport) in [(1000, 80), (1001, 81), (1002, 80)] {
            assert_eq!(connect(&mut gateway, family, sport, dport), 3);
        }
        assert_eq!(swap(&mut gateway, admitting("80")), 1);
        assert_eq!(pass(&mut gateway, TUNNEL, &data(family, 1000, 80), START).len(), 1);
        assert_eq!(pass(&mut gateway, TUNNEL, &data(family, 1001, 81), START).len(), 0);
        assert_eq!(pass(&mut gateway, UPLINK, &answer(family, 81, 1001), START).len(), 0);
        assert_eq!(pass(&mut gateway, TUNNEL, &data(family, 1002, 80), START).len(), 1);
        // The same again cuts nothing.
        assert_eq!(swap(&mut gateway, admitting("80")), 0);
        assert_eq!(gateway.netfilter().conntrack().count(), 2);
    }
}

/// Before anything but the swap itself was done: by whole packets, by fragments, by what comes back, and by errors about it.
#[test]
fn no_packet_of_a_forbidden_flow_passes_before_all_were_looked_at() {
    for family in FAMILIES {
        let [member, _, server, _] = places(family);
        let open = || {
            let mut gateway = gateway(admitting("80,81"));
            assert_eq!(connect(&mut gateway, family, 1001, 81), 3);
            assert_eq!(connect(&mut gateway, family, 1000, 80), 3);
            gateway
        };
        let there = Tcp {
            seq: 1,
            ack: 1,
            payload: vec![b'x'; 1200],
            ..Tcp::new(1001, 81)
        };
        let whole = ip(member, server).tcp(&there.clone().flags(0x18));
        let fragments = fielato_wire::build::fragments(&whole, 600, 7).unwrap();
        let answer = answer(family, 81, 1001);
        let (kind, code) = if family == Family::V4 { (3, 1) } else { (1, 3) };
        let about = ip(server, member).icmp(kind, code, 0, &data(family, 1001, 81));
        let ways: [&[(fielato_gateway::PortId, &Vec<u8>)]; 4] = [
            &[(TUNNEL, &whole)],
            &fragments.iter().map(|fragment| (TUNNEL, fragment)).collect::<Vec<_>>(),
            &[(UPLINK, &answer)],
            &[(UPLINK, &about)],
        ];
        for packets in ways {
            for forbids in [false, true] {
                let mut gateway = open();
                gateway.swap(admitting(if forbids { "80" } else { "81,80" }), START).unwrap();
                let passed: usize = packets
                    .iter()
                    .map(|(by, packet)| pass(&mut gateway, *by, packet, START).len())
                    .sum();
                assert_eq!(passed == 0, forbids, "{family:?} {packets:?}");
                assert_eq!(gateway.netfilter().conntrack().count(), if forbids { 1 } else { 2 });
                assert_eq!(gateway.judge_some(9, START), Some(usize::from(forbids)));
                assert_eq!(gateway.netfilter().conntrack().count(), if forbids { 1 } else { 2 });
                assert_eq!(pass(&mut gateway, TUNNEL, &data(family, 1000, 80), START).len(), 1);
            }
        }
    }
}

#[test]
fn what_a_forbidden_flow_brought_about_ends_with_it() {
    let config = |port: u16| {
        let raw = "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 21 -j CT --helper ftp\nCOMMIT\n";
        let rules = filter(&format!(
            "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A FORWARD -i wg0 -p tcp -m tcp --dport {port} -j ACCEPT"
        ));
        let rules = format!("{raw}{rules}");
        with_rules(&rules, &rules)
    };
    for family in FAMILIES {
        for port in [21, 80] {
            let mut gateway = gateway(config(21));
            assert_eq!(connect(&mut gateway, family, 1000, 21), 3);
            let [member, _, server, _] = places(family);
            // The server says where it waits (extended passive mode, RFC 2428).
            let mut seq = 1;
            for line in ["220 ready\r\n", "229 Entering Extended Passive Mode (|||4711|)\r\n"] {
                let says = Tcp {
                    seq,
                    ack: 1,
                    payload: line.into(),
                    ..Tcp::new(21, 1000)
                };
                seq += line.len() as u32;
                assert_eq!(
                    pass(&mut gateway, UPLINK, &ip(server, member).tcp(&says.flags(0x18)), START).len(),
                    1
                );
            }
            let comes = ip(member, server).tcp(&Tcp::new(1001, 4711).syn());
            assert_eq!(pass(&mut gateway, TUNNEL, &comes, START).len(), 1);
            gateway.swap(config(port), START).unwrap();
            let lives = port == 21;
            assert_eq!(
                pass(&mut gateway, TUNNEL, &comes, START).len(),
                usize::from(lives),
                "{family:?} {port}"
            );
            assert_eq!(gateway.netfilter().conntrack().count(), if lives { 2 } else { 0 });
        }
    }
}

#[test]
fn what_cannot_be_is_refused_and_nothing_changes() {
    let mut gateway = gateway(admitting("80"));
    assert_eq!(connect(&mut gateway, Family::V4, 1000, 80), 3);
    let mut no_port = admitting("81");
    no_port
        .routes
        .push(Route::to("203.0.113.0/24".parse().unwrap(), fielato_gateway::PortId(9)));
    let mut shaped = admitting("81");
    shaped.shaping.push(Shaping {
        port: TUNNEL,
        items: vec![fielato_qdisc::Item::Qdisc(fielato_qdisc::qdisc("parent 1:1 pfifo").unwrap())],
        classes: Default::default(),
    });
    let mut rules = admitting("81");
    rules.rulesets[1].tables[0].chains[1].rules[0].target = fielato_netfilter::Target::Jump("nowhere".to_owned());
    let mut sets = admitting("81");
    let kind = Kind::from_name("hash:ip", Family::V4).unwrap();
    let twice = SetConfig {
        name: "a".to_owned(),
        kind,
        entries: Vec::new(),
    };
    sets.sets = vec![twice.clone(), twice];
    for (config, is_it) in [
        (
            no_port,
            (|error| matches!(error, ConfigError::NoPort { .. })) as fn(&ConfigError) -> bool,
        ),
        (shaped, |error| matches!(error, ConfigError::Shaping { .. })),
        (rules, |error| matches!(error, ConfigError::Rules(_))),
        (sets, |error| matches!(error, ConfigError::Set { .. })),
    ] {
        let error = gateway.swap(config, START).unwrap_err();
        assert!(is_it(&error), "{error}");
        assert_eq!(pass(&mut gateway, TUNNEL, &data(Family::V4, 1000, 80), START).len(), 1);
        assert_eq!(connect(&mut gateway, Family::V4, 1001, 81), 0);
    }
}

#[test]
fn nothing_is_lost_and_nothing_overtakes() {
    for family in FAMILIES {
        let mut long = admitting("80");
        long.settings.queue_length = 2000;
        let mut gateway = gateway(long);
        assert_eq!(connect(&mut gateway, family, 1000, 80), 3);
        let [member, _, server, _] = places(family);
        let (mut next, mut expected) = (1, 1);
        let mut check = |packets: Vec<(fielato_gateway::PortId, Vec<u8>)>| {
            for (_, packet) in packets {
                let headers = Headers::receive(&packet).unwrap();
                let seq = u32::from_be_bytes(headers.transport(&packet)[4..8].try_into().unwrap());
                assert_eq!(seq, expected);
                expected += 1;
            }
        };
        for round in 0..200 {
            for _ in 0..7 {
                let packet = ip(member, server).tcp(
                    &Tcp {
                        seq: next,
                        ack: 1,
                        payload: vec![1],
                        ..Tcp::new(1000, 80)
                    }
                    .flags(0x18),
                );
                gateway.receive(TUNNEL, Buffer::from(packet), START);
                next += 1;
            }
            // In the midst, with packets waiting.
            let mut config = admitting(if round % 2 == 0 { "80,443" } else { "80" });
            config.settings.queue_length = 2000;
            if round % 3 == 0 {
                config.shaping.push(Shaping {
                    port: UPLINK,
                    items: vec![fielato_qdisc::Item::Qdisc(
                        fielato_qdisc::qdisc("root handle 1: bfifo limit 1mb").unwrap(),
                    )],
                    classes: Default::default(),
                });
            }
            assert_eq!(swap(&mut gateway, config), 0);
            let some = std::iter::from_fn(|| gateway.transmit(START)).take(round % 5);
            check(some.map(|(port, buffer)| (port, buffer.data)).collect());
        }
        check(sent(&mut gateway, START));
        assert_eq!((expected, drops(&gateway)), (next, vec![]));
    }
}

#[test]
fn a_member_that_leaves_its_group_is_cut_off() {
    let rules = |set: &str| filter(&format!("-A FORWARD -m set --match-set {set} src -j ACCEPT"));
    for family in FAMILIES {
        let [member, _, server, _] = places(family);
        let with = |members: &[&str]| {
            let mut config = with_rules(&rules("staff"), &rules("staff"));
            let address = |member: &&str| Part::Addr(Addr::from(member.parse::<std::net::IpAddr>().unwrap()), family.bits());
            config.sets = vec![SetConfig {
                name: "staff".to_owned(),
                kind: Kind::from_name("hash:ip", family).unwrap(),
                entries: members.iter().map(|member| vec![address(member)]).collect(),
            }];
            config
        };
        let mut gateway = gateway(with(&[member]));
        let packet = ip(member, server).udp(1, 2, b"x");
        let answer = ip(server, member).udp(2, 1, b"x");
        assert_eq!(pass(&mut gateway, TUNNEL, &packet, START).len(), 1);
        assert_eq!(pass(&mut gateway, UPLINK, &answer, START).len(), 1);
        gateway.swap(with(&[]), START).unwrap();
        // At once: before anything was looked at but the packet.
        assert_eq!(pass(&mut gateway, UPLINK, &answer, START).len(), 0);
        assert_eq!(gateway.judge_some(9, START), Some(1));
        assert_eq!(pass(&mut gateway, TUNNEL, &packet, START).len(), 0);
        assert_eq!(swap(&mut gateway, with(&[member])), 0);
        assert_eq!(pass(&mut gateway, TUNNEL, &packet, START).len(), 1);
    }
}

/// What each rule set would say to a connection of the member to port 80 that exists.
#[test]
fn what_only_a_packet_could_tell_is_decided_for_the_flow() {
    let open = filter("-A FORWARD -j ACCEPT");
    for (rules, cut) in [
        ("-A FORWARD -m limit --limit 1/s -j ACCEPT", 0),
        ("-A FORWARD -m length --length 0:9 -j DROP\n-A FORWARD -j ACCEPT", 0),
        (":c - [0:0]\n-A FORWARD -m length --length 0:9 -j c\n-A c -j DROP", 0),
        (":c - [0:0]\n-A FORWARD -m length --length 0:9 -g c\n-A FORWARD -j DROP", 0),
        ("-A FORWARD -p tcp -j NFQUEUE", 0),
        ("-A FORWARD -p tcp -j REJECT\n-A FORWARD -j ACCEPT", 1),
        ("-A FORWARD -p tcp -j RETURN\n-A FORWARD -j ACCEPT", 1),
        (
            ":c - [0:0]\n-A FORWARD -j c\n-A FORWARD -j ACCEPT\n-A c -p tcp --dport 80 -j RETURN\n-A c -j DROP",
            0,
        ),
        (":c - [0:0]\n-A FORWARD -g c\n-A FORWARD -j ACCEPT\n-A c -p udp -j DROP", 1),
        ("-A FORWARD -j LOG\n-A FORWARD -o wg0 -j ACCEPT", 1),
        ("-A FORWARD -j LOG\n-A FORWARD -i wg0 -o eth0 -j ACCEPT", 0),
        ("-A FORWARD -m mark --mark 7 -j ACCEPT", 0),
        ("-A FORWARD -m mark --mark 8 -j ACCEPT", 1),
        ("-A FORWARD -m recent --name seen --set -j ACCEPT", 0),
        ("-A FORWARD -m conntrack --ctstate NEW -j ACCEPT", 0),
        ("-A FORWARD -p tcp --tcp-flags SYN,ACK SYN -j ACCEPT", 0),
    ] {
        for family in FAMILIES {
            let mut gateway = gateway(with_rules(&open, &open));
            assert_eq!(connect(&mut gateway, family, 1000, 80), 3);
            let marking = "*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -i wg0 -j MARK --set-mark 7\nCOMMIT\n";
            let new = format!("{marking}{}", filter(rules));
            assert_eq!(swap(&mut gateway, with_rules(&new, &new)), cut, "{rules}");
            // Nobody was counted, logged or answered.
            let tables = gateway.netfilter().ruleset(family).tables;
            let chains = tables.iter().flat_map(|table| &table.chains);
            let counted: u64 = chains
                .map(|chain| chain.counters.packets + chain.rules.iter().map(|rule| rule.counters.packets).sum::<u64>())
                .sum();
            assert_eq!((counted, gateway.drain_log().count()), (0, 0), "{rules}");
            assert_eq!(sent(&mut gateway, START), []);
        }
    }
}

#[test]
fn a_redirected_flow_is_judged_by_where_it_goes() {
    let nat = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -i eth0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.8.0.7:80\nCOMMIT\n";
    let to_port = |port: u16| {
        format!(
            "{nat}{}",
            filter(&format!("-A FORWARD -p tcp -m tcp --dport {port} -j ACCEPT"))
        )
    };
    let config = |port| with_rules(&to_port(port), &filter(""));
    let mut gateway = gateway(config(80));
    let syn = ip("192.0.2.9", "192.0.2.1").tcp(&Tcp::new(5000, 8080).syn());
    assert_eq!(pass(&mut gateway, UPLINK, &syn, START).len(), 1);
    assert_eq!(swap(&mut gateway, config(80)), 0);
    assert_eq!(swap(&mut gateway, config(8080)), 1);
}
