//! Forwarding, delivery, the hub's own packets, ICMP errors.

use fielato_wire::Headers;
use fielato_wire::build::Ip;

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
