//! Others' tables on the machine, as `nft` lists them.

mod common;

use fielato_policy::analyse::{Finding, Severity, foreign};

use common::in_namespace;

/// What is found of these tables, made in a network namespace of its own.
fn found(test: &str, tables: &str) -> Option<Vec<Finding>> {
    // nft wants a line's end before a bracket that closes.
    let tables = tables.replace(" }", "\n}");
    let listing = in_namespace(test, "nft -f - && nft -j list ruleset", &tables)?;
    Some(foreign(&listing, "wg0").unwrap())
}

fn said(findings: &[Finding]) -> Vec<(Severity, &str, &str)> {
    let said = findings.iter();
    said.map(|finding| (finding.severity, finding.message.as_str(), finding.help.as_str()))
        .collect()
}

#[test]
fn dockers_forward_policy() {
    // As iptables-nft lists what dockerd makes.
    let tables = "table ip filter {
        chain DOCKER { }
        chain DOCKER-USER { }
        chain FORWARD { type filter hook forward priority filter; policy drop; jump DOCKER-USER; jump DOCKER; }
        chain INPUT { type filter hook input priority filter; policy accept; }
    }
    table ip nat { chain POSTROUTING { type nat hook postrouting priority srcnat; policy accept; masquerade } }";
    let Some(findings) = found("dockers_forward_policy", tables) else {
        return;
    };
    assert_eq!(
        said(&findings),
        [(
            Severity::Warning,
            "chain FORWARD of table ip filter of Docker (hook forward, priority 0, beside ours) drops by its policy what none of its own rules accepts: an accept of ours does not save a packet from it",
            "`iptables -I DOCKER-USER -i wg0 -j ACCEPT` and `iptables -I DOCKER-USER -o wg0 -j ACCEPT` leave it to us"
        )]
    );
}

#[test]
fn rules_behind_jumps_and_maps() {
    let tables = "table inet mine {
        chain deep { ip saddr 192.0.2.1 drop; tcp dport 23 reject; }
        chain loop { jump deep; }
        chain early { type filter hook prerouting priority -10; policy accept; jump loop; }
        chain maps { type filter hook forward priority 10; policy accept; tcp dport vmap { 25 : drop, 80 : jump deep } }
        chain fine { type filter hook input priority 0; policy accept; tcp dport 22 accept; }
        chain sent { type filter hook output priority 0; policy drop; }
    }
    table inet fielato { chain forward { type filter hook forward priority filter; policy drop; drop; } }
    table arp other { chain in { type filter hook input priority 0; policy drop; } }";
    let Some(findings) = found("rules_behind_jumps_and_maps", tables) else {
        return;
    };
    let said: Vec<&str> = findings.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(
        said,
        [
            "chain early of table inet mine (hook prerouting, priority -10, before ours) has 2 rules that drop or reject, also what ours accept",
            "chain maps of table inet mine (hook forward, priority 10, behind ours) has 3 rules that drop or reject, also what ours accept"
        ]
    );
    assert!(findings.iter().all(|finding| finding.severity == Severity::Note));
}

#[test]
fn who_made_them() {
    let tables = "table ip filter {
        chain ufw-user-input { }
        chain INPUT { type filter hook input priority filter; policy drop; jump ufw-user-input; }
    }
    table inet firewalld { chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept; reject; } }";
    let Some(findings) = found("who_made_them", tables) else {
        return;
    };
    let helps: Vec<&str> = findings.iter().map(|finding| finding.help.as_str()).collect();
    assert_eq!(
        helps,
        [
            "`ufw allow in on wg0` leaves it to us",
            "`firewall-cmd --permanent --zone=trusted --add-interface=wg0` leaves it to us"
        ]
    );
}

#[test]
fn nothing_and_nonsense() {
    assert_eq!(
        foreign(r#"{"nftables": [{"metainfo": {"version": "1.0.6"}}]}"#, "wg0").unwrap(),
        []
    );
    assert!(foreign("not JSON", "wg0").is_err());
    assert!(foreign(r#"{"nftables": [{"chain": {"family": 3}}]}"#, "wg0").is_err());
}
