//! What a packet met is told in order.

use fielato_gateway::trace::{GuardVerdict, Met, Outcome, RouteVerdict, State};
use fielato_gateway::{Buffer, Station, TraceFilter};
use fielato_wire::Family;
use fielato_wire::build::Tcp;

use crate::net::*;

fn config() -> fielato_gateway::Config {
    let nat = |v4: bool, rules: &str| {
        let net = if v4 { "10.8.0.0/24" } else { "fd08::/64" };
        format!(
            "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -s {net} -o eth0 -j MASQUERADE\nCOMMIT\n{rules}"
        )
    };
    let rules = filter(
        ":services - [0:0]\n-A FORWARD -i wg0 -j services\n\
         -A services -p tcp --dport 80 -m comment --comment \"rule 3\" -j ACCEPT\n\
         -A services -p tcp --dport 22 -m comment --comment \"rule 4\" -j REJECT --reject-with tcp-reset",
    );
    with_rules(&nat(true, &rules), &nat(false, &rules))
}

fn names(stations: &[Station]) -> Vec<String> {
    let name = |station: &Station| match station {
        Station::Received { port, .. } => format!("received {port}"),
        Station::Guard { verdict } => format!("guard {verdict:?}"),
        Station::Rule {
            table,
            chain,
            met,
            number,
            target,
            comment,
            ..
        } => {
            format!(
                "{table} {chain} {met:?} {number} {target} {}",
                comment.as_deref().unwrap_or("")
            )
        }
        Station::Connection { state, reply, .. } => format!("connection {state:?} {reply}"),
        Station::Nat {
            is_source,
            before,
            after,
        } => {
            format!("nat {is_source} {} {}", before.address, after.address)
        }
        Station::Route {
            verdict: RouteVerdict::Out { port, .. },
        } => format!("route {port}"),
        Station::Route { verdict } => format!("route {verdict:?}"),
        Station::Answer { packet } => format!("answer {}", packet.protocol),
        Station::Queue { port, .. } => format!("queue {port}"),
        Station::End(outcome) => format!("{outcome:?}"),
    };
    stations.iter().map(name).collect()
}

#[test]
fn a_connection_and_its_answer() {
    for family in FAMILIES {
        let mut gateway = gateway(config());
        let [member, _, server, _] = places(family);
        let outside = if family == Family::V4 { "192.0.2.1" } else { "2001:db8::1" };
        let syn = Buffer::from(ip(member, server).tcp(&Tcp::new(1000, 80).syn()));
        let nat = format!("nat true {member} {outside}");
        let stations = gateway.receive_traced(TUNNEL, syn.clone(), START);
        assert_eq!(
            names(&stations),
            [
                "received wg0",
                "guard Passed",
                "nat PREROUTING Policy 1 ACCEPT ",
                "connection New false",
                "route eth0",
                "filter FORWARD Rule 3 services ",
                "filter services Rule 1 ACCEPT rule 3",
                "nat POSTROUTING Rule 1 MASQUERADE ",
                nat.as_str(),
                "queue eth0",
                "Sent { port: \"eth0\" }",
            ]
        );
        let reply = Tcp {
            ack: 1,
            ..Tcp::new(80, 1000).syn()
        }
        .flags(0x12);
        let back = format!("nat false {outside} {member}");
        let stations = gateway.receive_traced(UPLINK, Buffer::from(ip(server, outside).tcp(&reply)), START);
        assert_eq!(
            names(&stations),
            [
                "received eth0",
                "connection Established true",
                back.as_str(),
                "route wg0",
                "filter FORWARD Rule 1 ACCEPT ",
                "queue wg0",
                "Sent { port: \"wg0\" }",
            ]
        );
        let rejected = Buffer::from(ip(member, server).tcp(&Tcp::new(1000, 22).syn()));
        let stations = gateway.receive_traced(TUNNEL, rejected, START);
        assert_eq!(
            names(&stations)[3..],
            [
                "connection New false",
                "route eth0",
                "filter FORWARD Rule 3 services ",
                "filter services Rule 2 REJECT rule 4",
                "answer 6",
                "Dropped { reason: \"rule\" }",
            ]
        );
        // They can be given on as JSON.
        assert!(serde_json::to_string(&stations).unwrap().contains(r#""station":"rule""#));
        gateway
            .ban(
                if family == Family::V4 { "10.0.0.0/8" } else { "fd08::/16" }.parse().unwrap(),
                None,
            )
            .unwrap();
        let stations = gateway.receive_traced(TUNNEL, syn, START);
        assert!(matches!(
            &stations[1],
            Station::Guard {
                verdict: GuardVerdict::Banned(_)
            }
        ));
        assert_eq!(stations[2], Station::End(Outcome::Dropped { reason: "banned" }));
        assert_eq!(stations.len(), 3);
    }
}

#[test]
fn real_packets_are_traced_by_filter_and_limit() {
    let mut gateway = gateway(config());
    let [member, _, server, _] = places(Family::V4);
    let filter = TraceFilter {
        destination: Some("192.0.2.0/24".parse().unwrap()),
        destination_port: Some(80),
        ..TraceFilter::default()
    };
    gateway.start_trace(filter, 3);
    for round in 0..5 {
        for port in [80, 81] {
            pass(
                &mut gateway,
                TUNNEL,
                &ip(member, server).tcp(&Tcp::new(1000 + round, port).syn()),
                START,
            );
        }
    }
    assert!(!gateway.is_tracing());
    let events = gateway.drain_events();
    assert_eq!(events.iter().map(|event| event.number).collect::<Vec<_>>(), [1, 2, 3]);
    for event in &events {
        let met = |station: &Station| matches!(station, Station::Rule { met: Met::Rule, comment: Some(comment), .. } if comment == "rule 3");
        assert!(event.stations.iter().any(met));
        assert!(
            event
                .stations
                .iter()
                .any(|station| matches!(station, Station::Connection { state: State::New, .. }))
        );
    }
    assert_eq!(gateway.drain_events(), []);
}
