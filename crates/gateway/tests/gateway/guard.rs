//! The guard stands before the hooks.

use crate::net::*;

#[test]
fn a_banned_source_reaches_no_hook() {
    for family in FAMILIES {
        let counting = "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING\nCOMMIT\n";
        let mut gateway = gateway(with_rules(counting, counting));
        let [member, _, server, _] = places(family);
        let packet = ip(member, server).udp(1, 2, b"x");
        let met = |gateway: &fielato_gateway::Gateway| {
            let ruleset = gateway.netfilter().ruleset(family);
            ruleset.tables[0].chains[0].rules[0].counters.packets
        };
        assert_eq!(pass(&mut gateway, TUNNEL, &packet, START).len(), 1);
        assert_eq!(met(&gateway), 1);
        let network = if member.contains(':') { "fd08::/120" } else { "10.8.0.0/29" }
            .parse()
            .unwrap();
        gateway.ban(network, None).unwrap();
        assert_eq!(pass(&mut gateway, TUNNEL, &packet, START), []);
        assert_eq!((met(&gateway), drops(&gateway)), (1, vec![("banned", 1)]));
        assert_eq!((gateway.bans()[0].packets, gateway.bans()[0].bytes), (1, packet.len() as u64));
        assert_eq!(gateway.top(9)[0].packets, 1);
        // The guard is the tunnel's: an answer from elsewhere with that source is others' to judge.
        assert_eq!(pass(&mut gateway, UPLINK, &packet, START).len(), 1);
        assert!(gateway.unban(network));
        assert_eq!(pass(&mut gateway, TUNNEL, &packet, START).len(), 1);
        // A ban outlives a change of the configuration only when it is part of it.
        gateway.ban(network, None).unwrap();
        gateway.swap(config(), START).unwrap();
        assert_eq!(gateway.bans(), []);
    }
}
