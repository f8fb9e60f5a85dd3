//! The nft text: as expected for the talk, and taken by nft itself.

mod common;

use common::{config, full, in_namespace, plan, plan_at, talk};
use fielato_policy::plan::Firewall;
use fielato_policy::render::nft::{self, ElementChange};

#[test]
fn the_talk() {
    let expected = r#"table inet fielato
delete table inet fielato
table inet fielato {
	set members_v4 {
		type ipv4_addr
		elements = { 192.168.4.2, 192.168.4.3 }
	}
	set members_v6 {
		type ipv6_addr
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		iifname != "wg0" ip saddr 192.168.4.0/24 counter drop comment "forged source"
		meta nfproto ipv4 iifname != "wg0" oifname != "wg0" counter drop comment "transit"
		meta nfproto ipv6 iifname != "wg0" oifname != "wg0" counter accept comment "transit"
		ct state established,related accept
		ct state invalid counter drop comment "invalid"
		ip saddr @members_v4 ip daddr @members_v4 counter accept comment "rule 1"
		ip6 saddr @members_v6 ip6 daddr @members_v6 counter accept comment "rule 1"
		ip saddr @members_v4 ip daddr { 10.0.123.4, 192.168.4.3 } tcp dport 1234 counter accept comment "rule 2"
		counter drop comment "no rule"
	}
	chain input {
		type filter hook input priority filter; policy accept;
		iifname "lo" accept
		iifname != "wg0" ip saddr 192.168.4.0/24 counter drop comment "forged source"
		iifname != "wg0" accept
		ct state established,related accept
		ct state invalid counter drop comment "invalid"
		ip saddr @members_v4 counter accept comment "rule 2"
		ip6 saddr @members_v6 counter accept comment "rule 2"
		counter drop comment "no rule"
	}
	chain output {
		type filter hook output priority filter; policy accept;
		oifname "wg0" ct state new tcp flags & (fin | syn | rst | ack) != syn counter drop comment "mid-connection"
	}
	chain postrouting_nat {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 192.168.4.0/24 oifname != "wg0" masquerade
	}
}
"#;
    assert_eq!(nft::hub(&plan(&talk()).firewall), expected);
}

#[test]
fn nft_takes_every_rule_set_twice() {
    for text in [talk(), full()] {
        let rules = nft::hub(&plan(&text).firewall);
        // Once where there is no such table, once where there is; beside a table of somebody else's.
        let twice = format!("{rules}\n{rules}");
        let listed = in_namespace(
            "nft_takes_every_rule_set_twice",
            "nft add table inet other; nft -f -; nft list tables; nft -s list ruleset",
            &twice,
        );
        let Some(listed) = listed else { return };
        assert!(listed.starts_with("table inet other\ntable inet fielato\n"), "{listed}");
        assert!(listed.contains("masquerade"), "{listed}");
    }
}

#[test]
fn neighbours_that_differ_in_from_are_one_line() {
    let rules = nft::hub(&plan(&full()).firewall);
    assert!(
        rules.contains("ip saddr @group_lab_staff_v4 ip daddr 10.0.123.5 tcp dport 22 counter accept comment \"rules 2, 3\""),
        "{rules}"
    );
    // Two groups whose names differ in a character that nft does not take.
    assert!(
        rules.contains("ip6 saddr @group_lab_staff_2_v6 ip6 daddr 2001:db8::4 tcp dport { 80-90, 443 } counter accept"),
        "{rules}"
    );
}

#[test]
fn members_are_elements_not_rules() {
    let mut text = talk();
    let lines = nft::hub(&plan(&text).firewall)
        .lines()
        .filter(|line| line.contains("counter"))
        .count();
    for number in 4..250 {
        let mut key = [7; 32];
        key[0] = number;
        let key = fielato_wireguard::PublicKey(key);
        text.push_str(&format!(
            "[member.m{number}]\naddresses = [\"192.168.4.{number}\"]\npublic_key = \"{key}\"\n"
        ));
    }
    let more = nft::hub(&plan(&text).firewall);
    assert_eq!(more.lines().filter(|line| line.contains("counter")).count(), lines);
    assert!(more.contains("192.168.4.249"));
}

/// The steps as nft text.
fn as_text(steps: &[ElementChange]) -> String {
    let line = |step: &ElementChange| {
        let verb = if step.add { "add" } else { "delete" };
        let class = step.class.map_or(String::new(), |class| format!(" : {class}"));
        format!("{verb} element inet fielato {} {{ {}{class} }}\n", step.set, step.address)
    };
    steps.iter().map(line).collect()
}

/// The listing of a fresh load of `new` equals that of `old` brought to `new` by the steps.
fn update_is_right(test: &str, old: &Firewall, new: &Firewall) -> String {
    let update = as_text(&nft::update(old, new).expect("only elements differ"));
    let list = "nft -s list ruleset";
    let Some(fresh) = in_namespace(test, &format!("nft -f -; {list}"), &nft::hub(new)) else {
        return update;
    };
    let script = format!(
        "first=$(mktemp); second=$(mktemp); trap 'rm -f $first $second' EXIT; awk -v a=$first -v b=$second '/^@@@$/{{f=1;next}}{{print > (f?b:a)}}'; nft -f $first; nft -f $second; {list}"
    );
    let input = format!("{}@@@\n{update}", nft::hub(old));
    let updated = in_namespace(test, &script, &input).unwrap();
    assert_eq!(updated, fresh);
    update
}

#[test]
fn a_changed_member_is_a_short_transaction() {
    let test = "a_changed_member_is_a_short_transaction";
    // A network has a class too; its map of ranges stays as it is.
    let text = full();
    let old = plan(&text).firewall;
    // One more member above the rules: their lines move, the text does not.
    let more = text.replace(
        "[host.server]",
        "[member.carol]\naddresses = [\"192.168.4.9\", \"fd00:4::9\"]\npublic_key = \"AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=\"\ngroups = [\"lab-staff\"]\n\n[host.server]",
    );
    let new = plan(&more).firewall;
    let update = update_is_right(test, &old, &new);
    assert!(
        update.contains("add element inet fielato group_lab_staff_v4 { 192.168.4.9 }"),
        "{update}"
    );
    assert!(
        update.contains("add element inet fielato class_wg0_v6 { fd00:4::9 : 1:1a }"),
        "{update}"
    );
    assert!(!update.contains("192.168.4.2"), "{update}");
    update_is_right(test, &new, &old);
    // A member that changes its class.
    let other = more.replace("for = \"alice\"", "for = [\"alice\", \"carol\"]");
    let update = update_is_right(test, &new, &plan(&other).firewall);
    assert!(
        update.contains("delete element inet fielato class_wg0_v4 { 192.168.4.9 }"),
        "{update}"
    );
    assert!(
        update.contains("add element inet fielato class_wg0_v4 { 192.168.4.9 : 1:10 }"),
        "{update}"
    );
    // Nothing differs.
    assert_eq!(nft::update(&old, &old), Some(Vec::new()));
}

#[test]
fn other_changes_need_the_whole_text() {
    let old = plan(&talk()).firewall;
    let changes = [
        ("to = \"members\"", "to = \"client-a\""),
        ("action = \"accept\"", "action = \"drop\""),
        ("uplink = \"eth0\"", "uplink = \"eth0\"\nmasquerade = false"),
        ("uplink = \"eth0\"", "uplink = \"eth0\"\ntransit = \"leave\""),
        ("tcp/1234", "tcp/1235"),
    ];
    for (from, to) in changes {
        assert_eq!(nft::update(&old, &plan(&talk().replacen(from, to, 1)).firewall), None, "{to}");
    }
    // Another network has a class: the map of ranges differs.
    let before = plan(&full());
    let after = plan(&full().replace("192.168.4.0/28", "192.168.4.0/27"));
    assert_eq!(nft::update(&before.firewall, &after.firewall), None);
    // Only the rule of one member is left without it.
    let after = plan_at(&full(), "2027-01-01T00:00:00Z");
    assert_eq!(nft::update(&before.firewall, &after.firewall), None);
}

#[test]
fn single_addresses_have_the_last_word_over_ranges() {
    let rules = nft::hub(&plan(&full()).firewall);
    let ranges = rules
        .find("oifname \"wg0\" meta priority set ip daddr map @ranges_wg0_v4")
        .unwrap();
    let singles = rules
        .find("oifname \"wg0\" meta priority set ip daddr map @class_wg0_v4")
        .unwrap();
    assert!(ranges < singles, "{rules}");
    assert!(!rules.contains("ranges_wg0_v6") && !rules.contains("ranges_eth0"), "{rules}");
}

#[test]
fn hosts() {
    let talk_host = nft::host(&common::host(&config(&talk()), "client-b").unwrap());
    assert!(
        talk_host.contains("\t\tip saddr != 10.0.123.2 tcp dport 1234 counter drop\n"),
        "{talk_host}"
    );
    assert!(
        talk_host.contains("\t\tmeta nfproto ipv6 tcp dport 1234 counter drop\n"),
        "{talk_host}"
    );
    let member = talk().replace("strategy = \"source\"", "strategy = \"member\"");
    let member = nft::host(&common::host(&config(&member), "client-b").unwrap());
    assert!(
        member.contains("\t\tiifname != \"wg0\" tcp dport 1234 counter drop\n"),
        "{member}"
    );
    let both = config(&full());
    for text in [
        talk_host,
        member,
        nft::host(&common::host(&both, "server").unwrap()),
        nft::host(&common::host(&both, "bob").unwrap()),
    ] {
        in_namespace("hosts", "nft -c -f -", &text);
    }
    assert_eq!(common::host(&both, "alice"), None);
}
