//! Which class a packet waits in.

use std::collections::BTreeMap;

use fielato_gateway::{Buffer, Config, Shaping, Station};
use fielato_qdisc::{Handle, Item};

use crate::net::*;

fn shaped() -> Config {
    let nat = |net| format!("*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -s {net} -o eth0 -j MASQUERADE\nCOMMIT\n");
    let mut config = with_rules(&nat("10.8.0.0/24"), &nat("fd08::/64"));
    let class = |minor| Handle { major: 1, minor };
    for port in [TUNNEL, UPLINK] {
        let htb = |minor| fielato_qdisc::class(&format!("parent 1: classid 1:{minor} htb rate 1mbit")).unwrap();
        config.shaping.push(Shaping {
            port,
            items: vec![
                Item::Qdisc(fielato_qdisc::qdisc("root handle 1: htb default 30").unwrap()),
                Item::Class(htb(10)),
                Item::Class(htb(20)),
                Item::Class(htb(30)),
            ],
            classes: BTreeMap::from([
                ("10.8.0.7/32".parse().unwrap(), class(0x10)),
                ("10.8.0.0/24".parse().unwrap(), class(0x20)),
                ("fd08::7/128".parse().unwrap(), class(0x10)),
                ("fd08::/64".parse().unwrap(), class(0x20)),
            ]),
        });
    }
    config
}

fn class_of(stations: &[Station]) -> String {
    let path = stations.iter().find_map(|station| match station {
        Station::Queue { path, .. } => Some(path),
        _ => None,
    });
    path.and_then(|path| path.iter().rev().find(|handle| !handle.ends_with(':')))
        .cloned()
        .unwrap_or_default()
}

#[test]
fn members_have_their_classes_both_ways() {
    for family in FAMILIES {
        let mut gateway = gateway(shaped());
        let [member, hub, server, _] = places(family);
        let (other, outside) = match family {
            fielato_wire::Family::V4 => ("10.8.0.9", "192.0.2.1"),
            fielato_wire::Family::V6 => ("fd08::9", "2001:db8::1"),
        };
        for (by, packet, class) in [
            // By the source, although it is masqueraded.
            (TUNNEL, ip(member, server).udp(1000, 53, b"x"), "1:10"),
            (TUNNEL, ip(other, server).udp(1001, 53, b"x"), "1:20"),
            // By the destination, as it is when the translation is undone.
            (UPLINK, ip(server, outside).udp(53, 1000, b"x"), "1:10"),
            (UPLINK, ip(server, outside).udp(53, 1001, b"x"), "1:20"),
            (TUNNEL, ip(other, member).udp(1, 2, b"x"), "1:10"),
            (HOST, ip(hub, other).udp(1, 2, b"x"), "1:20"),
        ] {
            for _ in 0..2 {
                let stations = gateway.receive_traced(by, Buffer::from(packet.clone()), START);
                assert_eq!(class_of(&stations), class, "{family:?} {stations:#?}");
            }
        }
        // On the short way of known flows, too.
        let packet = ip(member, server).udp(1000, 53, b"x");
        for _ in 0..5 {
            gateway.receive(TUNNEL, Buffer::from(packet.clone()), START);
        }
        let stats = gateway.egress(UPLINK).unwrap().stats();
        let of_member = stats.iter().find(|stats| stats.handle.minor == 0x10).unwrap();
        assert_eq!(of_member.backlog.packets, 7);
    }
}

#[test]
fn a_gateway_can_go_to_another_thread() {
    let gateway = gateway(shaped());
    let moved = std::thread::spawn(move || gateway.usage()).join().unwrap();
    assert_eq!(moved.connections, 0);
}
