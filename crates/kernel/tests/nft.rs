//! nftables in namespaces of our own: whole rule sets, and single elements.

mod common;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::process::Command;
use std::time::Instant;

use fielato_kernel::netns::NetnsGuard;
use fielato_kernel::nft::element::{self, Action, Change, ElementError};
use fielato_kernel::nft::{self, Family, NftError};
use ipnet::IpNet;

use common::namespace;

/// Runs in the namespace, where there is an nft to run.
fn inside(test: &str, function: impl FnOnce(&NetnsGuard) + Send) {
    let Some(netns) = namespace(test) else { return };
    netns.run_in(|| function(&netns)).unwrap();
}

#[test]
fn a_text_is_applied_whole_or_not_at_all() {
    inside("a_text_is_applied_whole_or_not_at_all", |_| {
        assert!(nft::table(Family::Inet, "fielato").unwrap().is_none());
        nft::apply("table inet fielato {\n chain c {\n tcp dport 22 accept\n }\n}\ntable ip other { }\n").unwrap();
        assert!(nft::table(Family::Inet, "fielato").unwrap().is_some());
        assert!(nft::table(Family::Ip, "fielato").unwrap().is_none());
        let json = nft::list_table_json(Family::Inet, "fielato").unwrap();
        let rules = json["nftables"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|entry| entry.get("rule").is_some());
        assert_eq!(rules.count(), 1, "{json}");

        // The last line can't be done, so the first isn't either.
        let error = nft::apply("delete table inet fielato\nadd rule inet absent c accept\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "nft refused the rules, and nothing was changed: Could not process rule: No such file or directory \
             (line 2: `add rule inet absent c accept`)"
        );
        assert!(nft::table(Family::Inet, "fielato").unwrap().is_some());

        let error = nft::apply("table inet fielato {\n  chain c {\n    tcp port 22 accept\n  }\n}\n").unwrap_err();
        let NftError::Refused(complaint) = error else {
            panic!("{error}")
        };
        assert!(complaint.message.starts_with("syntax error, unexpected"), "{complaint}");
        assert_eq!(complaint.line, Some((3, "tcp port 22 accept".to_owned())));

        for _ in 0..2 {
            nft::delete_table(Family::Inet, "fielato").unwrap();
            assert!(nft::table(Family::Inet, "fielato").unwrap().is_none());
        }
        assert!(nft::table(Family::Ip, "other").unwrap().is_some());
        assert!(matches!(
            nft::list_table_json(Family::Inet, "fielato"),
            Err(NftError::Refused(_))
        ));
    });
}

const COUNT: u32 = 2_000;

fn v4(number: u32) -> IpAddr {
    IpAddr::from((0x0a00_0000 + number).to_be_bytes())
}

fn v6(number: u32) -> IpAddr {
    IpAddr::from(((0xfd00_u128 << 112) | u128::from(number)).to_be_bytes())
}

/// Sets and maps of 2,000 neighbouring addresses, plain and with intervals, v4 and v6.
fn table() -> String {
    let mut text = String::from("table inet fielato {\n");
    for (flags, name) in [("", "plain"), ("flags interval;", "interval")] {
        for (kind, address) in [("ipv4_addr", v4 as fn(u32) -> IpAddr), ("ipv6_addr", v6)] {
            let elements: Vec<String> = (0..COUNT).map(|n| address(n).to_string()).collect();
            let values: Vec<String> = (0..COUNT).map(|n| format!("{} : 1:{:x}", address(n), n + 1)).collect();
            let elements = elements.join(", ");
            writeln!(
                text,
                "set {name}_{kind} {{ type {kind}; {flags} elements = {{ {elements} }} }}"
            )
            .unwrap();
            let values = values.join(", ");
            writeln!(
                text,
                "map {name}_{kind}_class {{ type {kind} : classid; {flags} elements = {{ {values} }} }}"
            )
            .unwrap();
        }
    }
    text + "}\n"
}

/// Whether `nft get element` finds it, and what it prints.
fn lookup(set: &str, element: &str) -> Option<String> {
    let mut command = Command::new("nft");
    let output = command
        .args(["get", "element", "inet", "fielato", set, &format!("{{ {element} }}")])
        .output()
        .unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

#[test]
fn single_elements_come_and_go_among_two_thousand() {
    inside("single_elements_come_and_go_among_two_thousand", |_| {
        nft::apply(&table()).unwrap();
        for interval in [false, true] {
            for (kind, address) in [("ipv4_addr", v4 as fn(u32) -> IpAddr), ("ipv6_addr", v6)] {
                let set = format!("{}_{kind}", if interval { "interval" } else { "plain" });
                let map = format!("{set}_class");
                let step = |set: &str, action, number, value| Change {
                    set: set.to_owned(),
                    interval,
                    action,
                    element: IpNet::from(address(number)),
                    value,
                };
                // A new one beyond the others.
                let start = Instant::now();
                let add = [
                    step(&set, Action::Add, COUNT + 5, None),
                    step(&map, Action::Add, COUNT + 5, Some(0x1_2345)),
                ];
                element::change(Family::Inet, "fielato", &add).unwrap();
                let added = start.elapsed();
                let text = address(COUNT + 5).to_string();
                assert!(lookup(&set, &text).is_some(), "{set} {text}");
                assert!(lookup(&map, &text).unwrap().contains("1:2345"), "{map} {text}");
                assert!(lookup(&set, &address(COUNT + 6).to_string()).is_none());
                element::change(Family::Inet, "fielato", &add).unwrap();

                let other_value = [step(&map, Action::Add, COUNT + 5, Some(0x1_0001))];
                let error = element::change(Family::Inet, "fielato", &other_value).unwrap_err();
                assert!(matches!(error, ElementError::Conflict { .. }), "{error}");

                // A new value, in one transaction.
                let changed = [
                    step(&map, Action::Delete, COUNT + 5, None),
                    step(&map, Action::Add, COUNT + 5, Some(0x1_0001)),
                ];
                element::change(Family::Inet, "fielato", &changed).unwrap();
                assert!(lookup(&map, &text).unwrap().contains("1:1"), "{map} {text}");

                let start = Instant::now();
                let delete = [
                    step(&set, Action::Delete, COUNT + 5, None),
                    step(&map, Action::Delete, COUNT + 5, None),
                ];
                element::change(Family::Inet, "fielato", &delete).unwrap();
                println!("{set}: two added in {added:?}, two deleted in {:?}", start.elapsed());
                assert!(lookup(&set, &text).is_none() && lookup(&map, &text).is_none());
                let error = element::change(Family::Inet, "fielato", &delete).unwrap_err();
                assert!(matches!(error, ElementError::Missing { .. }), "{error}");

                // One from the middle, that nft itself has put there; its neighbours stay.
                let middle = [step(&set, Action::Delete, 500, None)];
                element::change(Family::Inet, "fielato", &middle).unwrap();
                for (number, there) in [(499, true), (500, false), (501, true)] {
                    assert_eq!(lookup(&set, &address(number).to_string()).is_some(), there, "{set} {number}");
                }
            }
        }
    });
}

#[test]
fn networks_go_into_interval_sets_only() {
    inside("networks_go_into_interval_sets_only", |_| {
        nft::apply("table inet fielato {\n set nets { type ipv4_addr; flags interval; }\n set six { type ipv6_addr; flags interval; }\n set plain { type ipv4_addr; }\n}\n")
            .unwrap();
        let step = |set: &str, interval, element: &str| Change {
            set: set.to_owned(),
            interval,
            action: Action::Add,
            element: element.parse().unwrap(),
            value: None,
        };
        let add = [
            step("nets", true, "10.1.0.0/16"),
            step("nets", true, "255.255.255.0/24"),
            step("six", true, "2001:db8::/48"),
        ];
        element::change(Family::Inet, "fielato", &add).unwrap();
        assert!(lookup("nets", "10.1.255.255").is_some() && lookup("nets", "10.2.0.0").is_none());
        assert!(lookup("nets", "255.255.255.255").is_some() && lookup("nets", "255.255.254.255").is_none());
        assert!(lookup("six", "2001:db8:0:ffff::1").is_some() && lookup("six", "2001:db8:1::").is_none());

        let error = element::change(Family::Inet, "fielato", &[step("nets", true, "10.1.2.0/24")]).unwrap_err();
        assert!(matches!(error, ElementError::Conflict { .. }), "{error}");
        let error = element::change(Family::Inet, "fielato", &[step("plain", false, "10.1.2.0/24")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "10.1.2.0/24 can't be an element of plain, which holds single addresses; give its set the flag `interval`"
        );
        // All or nothing: the first of these could be done.
        let mixed = [step("plain", false, "10.9.9.9/32"), step("absent", false, "10.9.9.9/32")];
        let error = element::change(Family::Inet, "fielato", &mixed).unwrap_err();
        assert!(matches!(error, ElementError::Missing { .. }), "{error}");
        assert!(lookup("plain", "10.9.9.9").is_none());
    });
}
