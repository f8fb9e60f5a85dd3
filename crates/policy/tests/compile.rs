//! Who is a peer, who is in which set and class, and what a moment changes.

mod common;

use common::{config, full, plan, plan_at, talk};
use fielato_policy::config::Action;
use fielato_policy::plan::{Addresses, Admit, Origin, PerFamily};

fn nets(texts: &[&str]) -> Vec<ipnet::IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn who_has_expired_is_nowhere() {
    let before = plan_at(&full(), "2026-12-30T23:59:59Z");
    assert_eq!(before.next_change, Some("2026-12-31T00:00:00Z".parse().unwrap()));
    assert_eq!(
        before.peers.iter().map(|peer| peer.name.as_str()).collect::<Vec<_>>(),
        ["alice", "bob"]
    );
    // From the very moment on.
    let after = plan_at(&full(), "2026-12-31T00:00:00Z");
    assert_eq!(after.next_change, None);
    assert_eq!(
        after.peers.iter().map(|peer| peer.name.as_str()).collect::<Vec<_>>(),
        ["alice"]
    );
    assert!(!format!("{:?}", after.firewall).contains("fd00:4::3"), "{:?}", after.firewall);
}

#[test]
fn a_ban_of_the_file_ends_and_is_waited_for() {
    let text = full().replace("expires = 2026-12-31T00:00:00Z\n", "");
    let before = plan_at(&text, "2026-12-30T23:59:59Z");
    assert_eq!(before.next_change, Some("2026-12-31T00:00:00Z".parse().unwrap()));
    let after = plan_at(&text, "2026-12-31T00:00:00Z");
    assert_eq!(after.next_change, None);
    assert_eq!(after.bans.len() + 1, before.bans.len());
}

#[test]
fn who_is_disabled_is_nowhere_and_changes_nothing_later() {
    let text = full().replace("until = 2026-12-31T00:00:00Z\n", "");
    assert!(plan(&text).next_change.is_some(), "who is not disabled does");
    let plan = plan(&text.replace("expires =", "disabled = true\nexpires ="));
    assert_eq!(plan.next_change, None);
    assert_eq!(plan.peers.len(), 1);
    assert!(!format!("{:?}", plan.firewall).contains("fd00:4::3"));
}

#[test]
fn a_rule_whose_only_member_is_gone_is_gone() {
    let text = talk().replace(
        "from = \"members\"\nto = \"members\"",
        "from = \"client-a\"\nto = \"members\"",
    );
    assert_eq!(plan(&text).firewall.forward.len(), 2);
    let text = text.replace("# wireguard-go", "\ndisabled = true");
    assert_eq!(plan(&text).firewall.forward.len(), 1);
}

#[test]
fn peers_own_single_addresses() {
    let plan = plan(&full());
    assert_eq!(plan.peers[0].allowed_ips, nets(&["192.168.4.2/32", "fd00:4::2/128"]));
}

#[test]
fn hub_and_any_are_input_and_any_is_forward_too() {
    let firewall = plan(&full()).firewall;
    let numbers = |rules: &[fielato_policy::plan::FilterRule]| {
        let number = |rule: &fielato_policy::plan::FilterRule| match &rule.origin {
            Origin::Rule { number, .. } => *number,
            other => panic!("{other:?}"),
        };
        rules.iter().map(number).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&firewall.forward), [1, 2, 3, 4, 5, 6, 7]);
    // Rule 1 names addresses, of which one might be the hub's.
    assert_eq!(numbers(&firewall.input), [1, 4, 7]);
    assert_eq!(firewall.input[1].to.len(), 1);
    assert_eq!(firewall.forward[6].action, Action::Reject);
}

#[test]
fn internet_is_what_is_not_ours() {
    let firewall = plan(&full()).firewall;
    let near = nets(&[
        "10.0.123.4/31",
        "10.0.124.0/24",
        "192.168.4.0/24",
        "2001:db8::4/128",
        "fd00:4::/64",
    ]);
    assert_eq!(firewall.forward[3].to[0].addresses, Addresses::Except(near));
}

#[test]
fn the_closer_word_chooses_the_class() {
    let classes = plan(&full()).firewall.classes;
    let of = |dev: &str, net: &str| {
        classes[dev]
            .get(&net.parse::<ipnet::IpNet>().unwrap())
            .map(ToString::to_string)
    };
    assert_eq!(of("wg0", "192.168.4.2/32").as_deref(), Some("1:10"));
    assert_eq!(of("wg0", "fd00:4::3/128").as_deref(), Some("1:1a"));
    assert_eq!(of("wg0", "192.168.4.0/28").as_deref(), Some("1:1a"));
    assert_eq!(of("eth0", "192.168.4.2/32").as_deref(), Some("2:1"));
}

#[test]
fn transit_is_left_alone_where_it_was_before() {
    let now = "2026-06-01T12:00:00Z".parse().unwrap();
    let leave = |text: &str, v4, v6| {
        let PerFamily { v4, v6 } = common::compile(&config(text), now, PerFamily { v4, v6 })
            .firewall
            .leave_transit;
        (v4, v6)
    };
    let with = |word: &str| full().replace("uplink = \"eth0\"", &format!("uplink = \"eth0\"\ntransit = \"{word}\""));
    assert_eq!(leave(&full(), true, false), (true, false));
    assert_eq!(leave(&with("auto"), false, true), (false, true));
    assert_eq!(leave(&with("drop"), true, true), (false, false));
    assert_eq!(leave(&with("leave"), false, false), (true, true));
    // `up` does not touch the forwarding of a family that the overlay lacks.
    assert_eq!(leave(&talk(), false, false), (false, true));
}

#[test]
fn hosts_by_strategy() {
    let server = common::host(&config(&full()), "server").unwrap();
    assert_eq!(
        server.admit,
        Admit::Sources(vec!["10.0.123.2".parse().unwrap(), "2001:db8::2".parse().unwrap()])
    );
    assert_eq!(server.ports.len(), 3);
    let bob = common::host(&config(&full()), "bob").unwrap();
    assert_eq!(bob.admit, Admit::Interface("wg0".to_owned()));
    assert_eq!(common::host(&config(&full()), "nobody"), None);
}

#[test]
fn plans_and_configurations_are_json() {
    let json = serde_json::to_value(plan(&full())).unwrap();
    assert_eq!(json["peers"][0]["name"], "alice");
    assert_eq!(json["peers"][0]["allowed_ips"][0], "192.168.4.2/32");
    assert_eq!(json["firewall"]["classes"]["wg0"]["192.168.4.2/32"]["minor"], 0x10);
    assert_eq!(json["next_change"], "2026-12-31T00:00:00Z");
    let json = serde_json::to_value(config(&full())).unwrap();
    assert_eq!(json["members"]["bob"]["route"], "all");
    assert_eq!(json["members"]["alice"]["keepalive"], 25);
    let json = serde_json::to_value(common::host(&config(&full()), "server").unwrap()).unwrap();
    assert_eq!(json["ports"][0]["protocol"], "tcp");
}
