//! The iptables text: the talk's own rules for the talk's network, and taken by both kinds of iptables.

mod common;

use common::{config, full, in_namespace, plan, talk};
use fielato_policy::render::{iptables, script};

fn host(text: &str, name: &str) -> String {
    iptables::host(&common::host(&config(text), name).unwrap())
}

#[test]
fn the_talks_own_rules() {
    let hub = iptables::hub(&plan(&talk()).firewall);
    assert!(
        hub.starts_with("iptables -t nat -A POSTROUTING -s 192.168.4.0/24 ! -o wg0 -j MASQUERADE\n"),
        "{hub}"
    );
    assert!(!hub.contains("ip6tables"), "{hub}");
    assert!(host(&talk(), "client-b").starts_with("iptables -A INPUT -p tcp ! -s 10.0.123.2 --dport 1234 -j DROP\n"));
    let member = talk().replace("strategy = \"source\"", "strategy = \"member\"");
    let member = host(&member, "client-b");
    assert!(
        member.starts_with("iptables -A INPUT -p tcp ! -i wg0 --dport 1234 -j DROP\n"),
        "{member}"
    );
    // What comes out of the tunnel is judged as the hub does; the overlay has no IPv6.
    assert!(
        member.ends_with(
            "-A FIELATO-TUNNEL -j DROP\niptables -A INPUT -j FIELATO-TUNNEL\nip6tables -A INPUT -p tcp ! -i wg0 --dport 1234 -j DROP\n"
        ),
        "{member}"
    );
}

#[test]
fn a_family_without_an_address_of_the_hub_is_closed() {
    assert!(host(&talk(), "client-b").ends_with("\nip6tables -A INPUT -p tcp --dport 1234 -j DROP\n"));
}

#[test]
fn two_addresses_of_the_hub_need_a_chain() {
    let text = talk().replace(
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\nsource = [\"10.0.123.2\", \"10.0.124.2\"]",
    );
    assert!(host(&text, "client-b").starts_with(
        "iptables -N FIELATO-HOST\niptables -A FIELATO-HOST -s 10.0.123.2 -j RETURN\niptables -A FIELATO-HOST -s 10.0.124.2 -j RETURN\niptables -A FIELATO-HOST -p tcp --dport 1234 -j DROP\niptables -A INPUT -j FIELATO-HOST\n"
    ));
}

#[test]
fn the_forward_chain_of_the_talk() {
    let hub = iptables::hub(&plan(&talk()).firewall);
    let expected = r#"iptables -N FIELATO-FORWARD
iptables -A FIELATO-FORWARD ! -i wg0 -s 192.168.4.0/24 -j DROP
iptables -A FIELATO-FORWARD ! -i wg0 ! -o wg0 -j DROP
iptables -A FIELATO-FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
iptables -A FIELATO-FORWARD -m conntrack --ctstate INVALID -j DROP
iptables -N FIELATO-F1
iptables -A FIELATO-F1 -d 192.168.4.2 -m comment --comment "rule 1" -j ACCEPT
iptables -A FIELATO-F1 -d 192.168.4.3 -m comment --comment "rule 1" -j ACCEPT
iptables -N FIELATO-F1-S
iptables -A FIELATO-F1-S -s 192.168.4.2 -m comment --comment "rule 1" -j FIELATO-F1
iptables -A FIELATO-F1-S -s 192.168.4.3 -m comment --comment "rule 1" -j FIELATO-F1
iptables -A FIELATO-FORWARD -m comment --comment "rule 1" -j FIELATO-F1-S
"#;
    assert!(hub.contains(expected), "{hub}");
    assert!(
        hub.ends_with(
            "iptables -I FORWARD -j FIELATO-FORWARD\niptables -I INPUT -j FIELATO-INPUT\niptables -I OUTPUT -j FIELATO-OUTPUT\n"
        ),
        "{hub}"
    );
}

#[test]
fn both_kinds_of_iptables_take_every_rule() {
    for text in [
        talk(),
        full(),
        talk().replace(
            "uplink = \"eth0\"",
            "uplink = \"eth0\"\nsource = [\"10.0.123.2\", \"10.0.124.2\"]",
        ),
    ] {
        let names = config(&text).hosts.into_keys().collect::<Vec<_>>();
        let hosts: Vec<String> = names.iter().map(|name| host(&text, name)).collect();
        for rules in std::iter::once(iptables::hub(&plan(&text).firewall)).chain(hosts) {
            for kind in ["legacy", "nft"] {
                let script = rules
                    .replace("ip6tables ", &format!("ip6tables-{kind} "))
                    .replace("iptables ", &format!("iptables-{kind} "));
                let listed = in_namespace(
                    "both_kinds_of_iptables_take_every_rule",
                    &format!("{script}iptables-{kind}-save"),
                    "",
                );
                let Some(listed) = listed else { return };
                assert!(listed.contains("-j DROP"), "{listed}");
            }
        }
    }
}

#[test]
fn scripts_are_scripts() {
    let plan = plan(&full());
    let hub = script::hub(&plan, "/etc/fielato/keys/wg0.key");
    let rules = hub.find("nft -f").unwrap();
    let link = hub.find("ip link add").unwrap();
    assert!(rules < link, "the rules come before the interface");
    assert!(
        hub.contains("wg set wg0 listen-port 51820 private-key '/etc/fielato/keys/wg0.key'\n"),
        "{hub}"
    );
    assert!(
        hub.contains("sysctl -q -w net.ipv4.ip_forward=1\nsysctl -q -w net.ipv6.conf.all.forwarding=1\n"),
        "{hub}"
    );
    assert!(
        hub.contains("tc class add dev wg0 parent 1: classid 1:10 htb rate 10mbit\n"),
        "{hub}"
    );
    let host = script::host(&common::host(&config(&full()), "server").unwrap());
    for text in [hub, host, script::member("alice", "wg0")] {
        assert!(fielato_testkit::run("sh", &["-n"], &text).status.success(), "{text}");
    }
}
