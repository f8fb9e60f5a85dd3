//! `fielato trace`: it asks the file alone.

use std::time::Duration;

use fielato_wire::build::{Ip, Tcp};
use fielato_wire::pcap;
use fielato_wire::pcapng::{self, Direction, LinkType};
use serde_json::{Value, json};

use crate::common::{KEY_A, KEY_B, Machine};

fn config() -> String {
    format!(
        r#"[hub]
interface = "wg0"
endpoint = "10.0.123.2:51820"
addresses = ["192.168.4.1/24", "fd00:4::1/64"]
uplink = "eth0"
source = ["10.0.123.2", "2001:db8::2"]

[member.alice]
addresses = ["192.168.4.2", "fd00:4::2"]
public_key = "{KEY_A}"
groups = ["staff"]

[member.bob]
addresses = ["192.168.4.3"]
public_key = "{KEY_B}"

[host.archive]
address = ["10.0.123.9", "2001:db8::9"]
strategy = "source"

[service.storage]
host = "archive"
ports = ["tcp/1094"]

[[rule]]
from = "staff"
to = ["storage", "hub"]
action = "accept"
"#
    )
}

fn machine() -> Machine {
    let machine = Machine::files();
    machine.write_config(&config());
    machine
}

/// The stations' names, in order.
fn stations(trace: &Value) -> Vec<&str> {
    let stations = trace["stations"].as_array().unwrap();
    stations.iter().map(|station| station["station"].as_str().unwrap()).collect()
}

#[test]
fn what_passes_and_what_does_not() {
    let machine = machine();
    let text = machine.fielato("trace --from alice --to storage:1094/tcp --reply").ok();
    let line = 1 + config().lines().position(|line| line == "[[rule]]").unwrap();
    let rule = format!("([[rule]] 1, {}:{line}): accept", machine.config_path().display());
    assert!(text.contains(&rule), "{text}");
    assert!(
        text.contains("nat          source 192.168.4.2:40000 -> 10.0.123.2:40000"),
        "{text}"
    );
    assert!(
        text.contains("passes: tcp 10.0.123.9:1094 > 192.168.4.2:40000 SYN ACK"),
        "{text}"
    );
    let said = machine.fielato("trace --from bob --to storage --explain");
    assert_eq!((said.code, said.err.as_str()), (1, ""));
    assert!(
        said.out
            .contains("What to do: no [[rule]] lets bob reach storage; add:\n[[rule]]\n"),
        "{}",
        said.out
    );
}

#[test]
fn json_says_the_same() {
    let machine = machine();
    let passes = machine.fielato("trace -6 --from alice --to storage --json").json();
    assert_eq!(passes["passes"], true);
    let [trace] = passes["traces"].as_array().unwrap().as_slice() else {
        panic!("{passes}")
    };
    let expected = [
        "member-route",
        "encrypt",
        "decrypt",
        "guard",
        "connection",
        "route",
        "table",
        "table",
        "nat",
        "queue",
        "table",
    ];
    assert_eq!(stations(trace), expected, "{trace}");
    assert_eq!(trace["packet"]["source"], "fd00:4::2");
    assert_eq!(trace["stations"][1]["cipher"]["length"], 140);
    assert_eq!(trace["stations"][6]["origin"]["number"], 1);
    assert_eq!(trace["end"]["verdict"], "arrived");
    assert_eq!(trace["end"]["at"], json!({ "kind": "host", "name": "archive" }));

    let said = machine.fielato("trace --from bob --to storage --json");
    assert_eq!(said.code, 1);
    let stopped: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&stopped["version"], &stopped["passes"]), (&json!(1), &json!(false)));
    let end = &stopped["traces"][0]["end"];
    assert_eq!(end["reason"], json!({ "kind": "rule", "origin": { "kind": "no-rule" } }));
    assert!(end["advice"].as_str().unwrap().contains("from = \"bob\""), "{end}");
}

#[test]
fn recorded_bans_count() {
    let machine = machine();
    machine.fielato("ban 192.168.4.2").ok();
    let said = machine.fielato("trace --from alice --to storage");
    assert_eq!(said.code, 1);
    assert!(said.out.contains("run `fielato unban 192.168.4.2/32`"), "{}", said.out);
    machine.fielato("unban 192.168.4.2").ok();
    machine.fielato("trace --from alice --to storage").ok();
}

#[test]
fn a_capture_is_followed() {
    let machine = machine();
    let there = Ip::v4([192, 168, 4, 2], [10, 0, 123, 9]);
    let back = Ip::v4([10, 0, 123, 9], [10, 0, 123, 2]);
    let packets = [
        there.tcp(&Tcp::new(5555, 1094).syn().seq(1)),
        back.tcp(&Tcp::new(1094, 5555).syn().seq(7).ack(2)),
    ];
    let mut file = pcap::header();
    for (second, packet) in packets.iter().enumerate() {
        file.extend(pcap::record(Duration::from_secs(second as u64), packet));
    }
    let path = machine.root().join("two.pcap");
    std::fs::write(&path, &file).unwrap();
    let traced = machine.fielato(&format!("trace --packet {} --json", path.display())).json();
    let traces = traced["traces"].as_array().unwrap();
    assert_eq!(traces.len(), 2, "{traced}");
    assert_eq!(traces[1]["end"]["at"], json!({ "kind": "member", "name": "alice" }));
    for (bytes, expected) in [
        (&file[..file.len() - 3], "the capture file ends within packet 2"),
        (&b"no capture"[..], "neither a pcap nor a pcapng file"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = machine.fielato(&format!("trace --packet {}", path.display())).fails(1);
        assert!(error.contains(expected), "{error}");
    }
    // In the newer format, beside what is not asked about: the packet in cipher, and as it went out.
    let mut file = pcapng::section("test");
    for name in ["wg0 (clear)", "wg0 (cipher)"] {
        file.extend(pcapng::interface(&pcapng::Interface {
            name: name.into(),
            description: String::new(),
            link: LinkType::Raw,
            snaplen: 0,
            filter: String::new(),
        }));
    }
    for (interface, direction) in [(0, Direction::Inbound), (1, Direction::Inbound), (0, Direction::Outbound)] {
        file.extend(pcapng::packet(&pcapng::Packet {
            interface,
            at: Duration::from_secs(1),
            bytes: &packets[0],
            original_len: packets[0].len() as u32,
            direction: Some(direction),
            verdict: None,
            lost: 0,
            comments: Vec::new(),
        }));
    }
    std::fs::write(&path, &file).unwrap();
    let traced = machine.fielato(&format!("trace --packet {} --json", path.display())).json();
    assert_eq!(traced["traces"].as_array().unwrap().len(), 1, "{traced}");
}

#[test]
fn questions_that_make_no_sense() {
    let machine = machine();
    for (question, expected) in [
        ("--from alice", "--to"),
        ("--from alice --to storage --packet x", "cannot be used with"),
        ("--from alice --to storage --json --explain", "cannot be used with"),
        ("--from carol --to storage", "there is no member, host or address \"carol\""),
        ("--from staff --to storage", "ask about one of its members: alice"),
        ("--from alice --to storage:http", "\"http\" is not a port"),
        ("-6 --from bob --to storage", "no address of the same family IPv6"),
    ] {
        let error = machine.fielato(&format!("trace {question}")).fails(2);
        assert!(error.contains(expected), "{question}: {error}");
    }
    // A file that is none is refused as everywhere.
    machine.write_config("[hub]\n");
    machine.fielato("trace --from alice --to storage").fails(2);
}
