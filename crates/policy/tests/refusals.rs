//! Every error that a file can have: message, line and column.

use std::fmt::Write as _;

use fielato_policy::{Config, Diagnostics};

const ALICE: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const BOB: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

/// A valid file: 27 lines that the cases below add to or change.
fn base() -> String {
    format!(
        r#"[hub]
interface = "wg0"
endpoint = "10.0.123.2:51820"
addresses = ["192.168.4.1/24", "fd00:4::1/64"]
uplink = "eth0"

[member.alice]
addresses = ["192.168.4.2", "fd00:4::2"]
public_key = "{ALICE}"
groups = ["staff"]

[member.bob]
addresses = ["192.168.4.3"]
public_key = "{BOB}"

[host.server]
address = ["10.0.123.4", "2001:db8::4"]
strategy = "source"

[service.web]
host = "server"
ports = ["tcp/1234"]

[[rule]]
from = "staff"
to = "web"
action = "accept"
"#
    )
}

fn refuse(text: &str) -> Diagnostics {
    Config::parse(text).expect_err(text)
}

fn told(text: &str) -> Vec<String> {
    refuse(text)
        .0
        .iter()
        .map(|one| format!("{}:{}: {}", one.line, one.column, one.message))
        .collect()
}

#[test]
fn the_base_is_valid() {
    let config = Config::parse(&base()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.rules[0].line, 24);
    assert_eq!(config.hub.source, ["10.0.123.2".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(
        (config.hub.listen_port, config.hub.mtu, config.hub.masquerade),
        (51820, 1420, true)
    );
    assert_eq!(config.hub.guard.sources, 65536);
}

/// What stands in the base, what stands there instead, and what is told.
const CHANGES: &[(&str, &str, &str)] = &[
    // TOML itself.
    ("interface = \"wg0\"", "interface = wg0", "2:13: not TOML: "),
    ("uplink = \"eth0\"", "uplink = \"eth0\"\nuplink = \"eth1\"", "6:1: not TOML: "),
    // Keys.
    ("uplink =", "uplnik =", "5:1: hub: unknown key uplnik"),
    ("[member.bob]", "[membre.bob]", "12:2: unknown key membre"),
    ("groups =", "grups =", "10:1: member alice: unknown key grups"),
    ("strategy =", "how =", "18:1: host server: unknown key how"),
    (
        "host = \"server\"",
        "host = \"server\"\nport = 1",
        "22:1: service web: unknown key port",
    ),
    ("from = ", "who = ", "25:1: rule: unknown key who"),
    // [hub]
    ("interface = \"wg0\"", "", "1:1: hub: interface is missing"),
    ("interface = \"wg0\"", "interface = 3", "2:13: hub: interface is an integer"),
    (
        "interface = \"wg0\"",
        "interface = \"wireguard-of-lab\"",
        "2:13: hub: interface \"wireguard-of-lab\" is longer than 15 bytes",
    ),
    (
        "interface = \"wg0\"",
        "interface = \"wg 0\"",
        "2:13: hub: interface \"wg 0\" has characters that an interface cannot have",
    ),
    (
        "interface = \"wg0\"",
        "interface = \"wg+\"",
        "2:13: hub: interface \"wg+\" has characters that an interface cannot have",
    ),
    (
        "interface = \"wg0\"",
        "interface = \"\"",
        "2:13: hub: interface \"\" is empty",
    ),
    (
        "interface = \"wg0\"",
        "interface = \"lo\"",
        "2:13: hub: interface \"lo\" is the loopback interface",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"wg0\"",
        "5:10: hub: uplink is the WireGuard interface wg0 itself",
    ),
    (
        "10.0.123.2:51820",
        "10.0.123.2",
        "3:12: hub: endpoint \"10.0.123.2\" lacks a port",
    ),
    (
        "10.0.123.2:51820",
        "10.0.123.2:0",
        "3:12: hub: endpoint \"10.0.123.2:0\" has a port that is none from 1 to 65535",
    ),
    (
        "10.0.123.2:51820",
        "2001:db8::2:51820",
        "3:12: hub: endpoint \"2001:db8::2:51820\" is an IPv6 address without brackets",
    ),
    (
        "10.0.123.2:51820",
        "[10.0.123.2]:51820",
        "3:12: hub: endpoint \"[10.0.123.2]:51820\" has brackets around something other than an IPv6 address",
    ),
    (
        "10.0.123.2:51820",
        "10.0.123.300:51820",
        "3:12: hub: endpoint \"10.0.123.300:51820\" has a host that is neither an address nor a name",
    ),
    (
        "\"192.168.4.1/24\"",
        "\"192.168.4.1\"",
        "4:14: hub: \"192.168.4.1\" is not an address with a prefix length",
    ),
    (
        "\"192.168.4.1/24\"",
        "\"192.168.4.1/33\"",
        "4:14: hub: \"192.168.4.1/33\" is not an address with a prefix length",
    ),
    (
        "\"192.168.4.1/24\"",
        "\"192.168.4.0/24\"",
        "4:14: hub: 192.168.4.0 is the overlay's network address",
    ),
    (
        "\"192.168.4.1/24\"",
        "\"192.168.4.255/24\"",
        "4:14: hub: 192.168.4.255 is the overlay's broadcast address",
    ),
    (
        "\"fd00:4::1/64\"",
        "\"fd00:4::/64\"",
        "4:32: hub: fd00:4:: is the overlay's anycast address",
    ),
    (
        "\"192.168.4.1/24\"",
        "\"192.168.4.1/32\"",
        "4:14: hub: an overlay of /32 has no room for members beside the hub",
    ),
    (
        "\"fd00:4::1/64\"",
        "\"192.168.0.1/16\"",
        "4:32: hub: the overlay 192.168.0.0/16 overlaps 192.168.4.0/24",
    ),
    (
        "\"fd00:4::1/64\"",
        "\"ff02::1/64\"",
        "4:32: hub: ff02::1 cannot be a machine's address",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\nlisten_port = 0",
        "6:15: hub: listen_port is out of range",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\nlisten_port = \"51820\"",
        "6:15: hub: listen_port is a string",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\nmtu = 500",
        "6:7: hub: mtu is out of range",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\nmtu = 70000",
        "6:7: hub: mtu is out of range",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\nmtu = 1000",
        "6:7: hub: mtu 1000 is too small for the IPv6 overlay",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\ndns = [\"nine\"]",
        "6:8: hub: dns: \"nine\" is not an address",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\nlab = [\"10.0.123.1/24\"]",
        "6:8: hub: lab: 10.0.123.1/24 has bits beyond its prefix length",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\nsource = \"192.168.4.1\"",
        "6:10: hub: source 192.168.4.1 is inside the overlay",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\nmasquerade = \"yes\"",
        "6:14: hub: masquerade is a string",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\ntransit = \"pass\"",
        "6:11: hub: unknown transit \"pass\"",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\n[hub.guard]\nsources = 0",
        "7:11: hub.guard: sources is out of range",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\n[hub.guard]\nsource = 9",
        "7:1: hub.guard: unknown key source",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\nengine = \"user\"",
        "6:10: hub: unknown engine \"user\"",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\nengine = 1",
        "6:10: hub: engine is an integer",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\nexit = \"door\"",
        "6:8: hub: unknown exit \"door\"",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\nexit = \"packet\"",
        "6:8: hub: exit = \"packet\" needs an interface of its own",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\n[hub.packet]\ninterface = \"eth1\"\naddresses = [\"10.0.9.1/24\"]\ngatewy = \"10.0.9.2\"",
        "9:1: hub.packet: unknown key gatewy",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\nexit = \"packet\"\n[hub.packet]\naddresses = [\"10.0.9.1/24\"]",
        "7:1: hub.packet: interface is missing",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\nexit = \"packet\"\n[hub.packet]\ninterface = \"eth1\"",
        "7:1: hub.packet: addresses is missing",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\nexit = \"packet\"\n[hub.packet]\ninterface = \"eth0\"\naddresses = [\"10.0.9.1/24\"]\n",
        "8:13: hub.packet: eth0 is the uplink, which the machine's own kernel uses",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\nexit = \"packet\"\n[hub.packet]\ninterface = \"wg0\"\naddresses = [\"10.0.9.1/24\"]\n",
        "8:13: hub.packet: wg0 is the WireGuard interface itself",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\nexit = \"packet\"\n[hub.packet]\ninterface = \"eth1\"\naddresses = [\"10.0.9.1\"]\n",
        "9:14: hub.packet: \"10.0.9.1\" is not an address with a prefix length",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\nexit = \"packet\"\n[hub.packet]\ninterface = \"eth1\"\naddresses = [\"224.0.0.1/24\"]\n",
        "9:14: hub.packet: 224.0.0.1 cannot be a machine's address",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\nexit = \"packet\"\n[hub.packet]\ninterface = \"eth1\"\naddresses = [\"192.168.4.77/24\"]\n",
        "9:14: hub.packet: 192.168.4.77/24 overlaps the overlay 192.168.4.0/24",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\nexit = \"packet\"\n[hub.packet]\ninterface = \"eth1\"\naddresses = [\"10.0.9.1/24\", \"10.0.9.1/16\"]\n",
        "9:29: hub.packet: 10.0.9.1 stands here twice",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\nexit = \"packet\"\n[hub.packet]\ninterface = \"eth1\"\naddresses = [\"10.0.9.1/24\"]\ngateway = \"10.0.8.2\"",
        "10:11: hub.packet: gateway 10.0.8.2 is in none of the interface's networks",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\nexit = \"packet\"\n[hub.packet]\ninterface = \"eth1\"\naddresses = [\"10.0.9.1/24\"]\ngateway = \"10.0.9.1\"",
        "10:11: hub.packet: gateway 10.0.9.1 is the hub's own address",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\nexit = \"packet\"\n[hub.packet]\ninterface = \"eth1\"\naddresses = [\"10.0.9.1/24\"]\ngateway = [\"10.0.9.2\", \"10.0.9.3\"]",
        "10:24: hub.packet: a second gateway of one family",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\nexit = \"packet\"\n[hub.packet]\ninterface = \"eth1\"\naddresses = [\"10.0.9.1/24\"]\ngateway = \"router\"",
        "10:11: hub.packet: gateway: \"router\" is not an address",
    ),
    // Members.
    (
        "\"192.168.4.2\"",
        "\"192.168.5.2\"",
        "8:14: member alice: 192.168.5.2 is outside the overlay",
    ),
    (
        "\"fd00:4::2\"",
        "\"fd00:5::2\"",
        "8:29: member alice: fd00:5::2 is outside the overlay",
    ),
    (
        "\"192.168.4.2\"",
        "\"192.168.4.0\"",
        "8:14: member alice: 192.168.4.0 is the overlay's network address",
    ),
    (
        "\"192.168.4.2\"",
        "\"192.168.4.255\"",
        "8:14: member alice: 192.168.4.255 is the overlay's broadcast address",
    ),
    (
        "\"192.168.4.3\"",
        "\"192.168.4.2\"",
        "13:14: member bob: 192.168.4.2 is member alice's address",
    ),
    (
        "\"192.168.4.3\"",
        "\"fd00:4::2\"",
        "13:14: member bob: fd00:4::2 is member alice's address",
    ),
    (
        "\"192.168.4.3\"",
        "\"192.168.4.1\"",
        "13:14: member bob: 192.168.4.1 is the hub's address",
    ),
    (
        "\"192.168.4.3\"",
        "\"192.168.4.3/32\"",
        "13:14: member bob: \"192.168.4.3/32\" is not an address",
    ),
    (
        "\"192.168.4.3\"",
        "\"::ffff:192.168.4.3\"",
        "13:14: member bob: ::ffff:192.168.4.3 is an IPv4 address in IPv6 dress",
    ),
    (
        "\"192.168.4.3\"",
        "\"192.168.4.3\", \"192.168.4.9\"",
        "13:29: member bob: a second IPv4 address",
    ),
    ("[\"192.168.4.3\"]", "[]", "12:9: member bob: addresses is missing"),
    (
        "[\"192.168.4.3\"]",
        "\"192.168.4.3\"",
        "13:13: member bob: addresses is a string",
    ),
    (
        ALICE,
        "AQEB",
        "9:14: member alice: public_key: a key has 32 bytes (44 characters of base64), this one has 3 bytes",
    ),
    (
        ALICE,
        "not base64",
        "9:14: member alice: public_key: a key is 44 characters of base64, as `wg genkey` and `wg pubkey` print it",
    ),
    (BOB, ALICE, "14:14: member bob: this is member alice's public key"),
    (
        "[member.bob]",
        "[member.\"b b\"]",
        "12:9: member name \"b b\" has characters that a name cannot have",
    ),
    (
        "[member.bob]",
        "[member.any]",
        "12:9: member name \"any\" is a word of the rules",
    ),
    (
        "[member.bob]",
        "[member.\"10.0.0.1\"]",
        "12:9: member name \"10.0.0.1\" is an address",
    ),
    (
        "[member.bob]",
        "[member.\"\"]",
        "12:9: member name \"\" is not 1 to 63 characters long",
    ),
    (
        "[member.bob]",
        "[member.\"-x\"]",
        "12:9: member name \"-x\" has characters that a name cannot have",
    ),
    (
        "\"staff\"]",
        "\"staff\", \"hub\"]",
        "10:20: group name \"hub\" is a word of the rules",
    ),
    (
        "\"staff\"]",
        "\"staff\", \"staff\"]",
        "10:20: member alice: group staff is named twice",
    ),
    (
        "\"staff\"]",
        "\"staff\", \"bob\"]",
        "10:20: group bob has the name of a member",
    ),
    (
        "\"staff\"]",
        "\"staff\", \"server\"]",
        "10:20: group server has the name of a host",
    ),
    (
        "\"staff\"]",
        "\"staff\", \"web\"]",
        "10:20: group web has the name of a service",
    ),
    (
        "groups = [\"staff\"]",
        "groups = [\"staff\"]\nroute = \"most\"",
        "11:9: member alice: unknown route \"most\"",
    ),
    (
        "groups = [\"staff\"]",
        "groups = [\"staff\"]\nroute = [\"x\"]",
        "11:10: member alice: route: \"x\" is not an address or a network",
    ),
    (
        "groups = [\"staff\"]",
        "groups = [\"staff\"]\nkeepalive = 0",
        "11:13: member alice: keepalive is out of range",
    ),
    (
        "groups = [\"staff\"]",
        "groups = [\"staff\"]\nexpires = 2027-01-31",
        "11:11: member alice: expires is not a moment in time: 2027-01-31",
    ),
    (
        "groups = [\"staff\"]",
        "groups = [\"staff\"]\nexpires = 2027-01-31T18:00:00",
        "11:11: member alice: expires is not a moment in time: 2027-01-31T18:00:00",
    ),
    (
        "groups = [\"staff\"]",
        "groups = [\"staff\"]\nexpires = \"soon\"",
        "11:11: member alice: expires is not a moment in time: soon",
    ),
    (
        "groups = [\"staff\"]",
        "groups = [\"staff\"]\ndisabled = 1",
        "11:12: member alice: disabled is an integer",
    ),
    // Secrets.
    (
        "groups = [\"staff\"]",
        "private_key = \"hush\"",
        "10:1: private_key does not belong in this file",
    ),
    (
        "groups = [\"staff\"]",
        "preshared_key = \"hush\"",
        "10:1: preshared_key does not belong in this file",
    ),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\nPrivateKey = \"hush\"",
        "6:1: PrivateKey does not belong in this file",
    ),
    // Hosts and services.
    (
        "\"10.0.123.4\"",
        "\"192.168.4.4\"",
        "17:12: host server: 192.168.4.4 is inside the overlay 192.168.4.0/24",
    ),
    (
        "\"2001:db8::4\"",
        "\"fd00:4::9\"",
        "17:26: host server: fd00:4::9 is inside the overlay fd00:4::/64",
    ),
    (
        "\"2001:db8::4\"",
        "\"10.0.123.5\"",
        "17:26: host server: a second IPv4 address",
    ),
    (
        "\"10.0.123.4\"",
        "\"10.0.123.2\"",
        "17:12: host server: 10.0.123.2 is the hub's address",
    ),
    (
        "\"source\"",
        "\"member\"",
        "18:12: host server: strategy \"member\", but no member is called server",
    ),
    ("\"source\"", "\"magic\"", "18:12: host server: unknown strategy \"magic\""),
    ("strategy = \"source\"", "", "16:7: host server: strategy is missing"),
    (
        "10.0.123.2:51820",
        "vpn.example.org:51820",
        "18:12: host server: strategy \"source\" needs the hub's address, and hub.endpoint is the name vpn.example.org",
    ),
    (
        "host = \"server\"",
        "host = \"sever\"",
        "21:8: service web: unknown host \"sever\"",
    ),
    ("\"tcp/1234\"", "\"1234\"", "22:10: service web: \"1234\" has no protocol"),
    (
        "\"tcp/1234\"",
        "\"dccp/1234\"",
        "22:10: service web: unknown protocol \"dccp\"",
    ),
    (
        "\"tcp/1234\"",
        "\"tcp/0\"",
        "22:10: service web: \"0\" is not a port from 1 to 65535, nor a range of them",
    ),
    (
        "\"tcp/1234\"",
        "\"tcp/70000\"",
        "22:10: service web: \"70000\" is not a port from 1 to 65535, nor a range of them",
    ),
    (
        "\"tcp/1234\"",
        "\"tcp/+80\"",
        "22:10: service web: \"+80\" is not a port from 1 to 65535, nor a range of them",
    ),
    (
        "\"tcp/1234\"",
        "\"udp/10-5\"",
        "22:10: service web: the range 10-5 runs backwards",
    ),
    ("[\"tcp/1234\"]", "[]", "20:10: service web: ports is missing"),
    (
        "[service.web]",
        "[service.alice]",
        "20:10: service alice has the name of a member",
    ),
    // Rules.
    (
        "from = \"staff\"",
        "from = \"stuff\"",
        "25:8: rule: nothing is called \"stuff\"",
    ),
    ("from = \"staff\"", "from = []", "24:1: rule: from is missing"),
    (
        "from = \"staff\"",
        "from = \"web\"",
        "25:8: rule: service web cannot stand in from",
    ),
    (
        "from = \"staff\"",
        "from = \"hub\"",
        "25:8: rule: \"hub\" cannot stand in from",
    ),
    (
        "to = \"web\"",
        "to = [\"web\", \"10.0.0.300/8\"]",
        "26:14: rule: \"10.0.0.300/8\" is not an address or a network",
    ),
    (
        "to = \"web\"",
        "to = \"10.0.0.1/8\"",
        "26:6: rule: 10.0.0.1/8 has bits beyond its prefix length",
    ),
    ("\"accept\"", "\"permit\"", "27:10: rule: unknown action \"permit\""),
    ("[[rule]]", "[rule]", "24:1: rule is not a list of tables"),
];

#[test]
fn every_change_is_told_in_its_place() {
    let mut failures = String::new();
    for (from, to, expected) in CHANGES {
        let text = base().replacen(from, to, 1);
        assert_ne!(text, base(), "{from} is not in the base");
        let all = match Config::parse(&text) {
            Ok(_) => vec!["accepted".to_owned()],
            Err(found) => found
                .0
                .iter()
                .map(|one| format!("{}:{}: {}", one.line, one.column, one.message))
                .collect(),
        };
        let told = all
            .iter()
            .any(|one| one == expected || (expected.ends_with(": ") && one.starts_with(expected)));
        if !told {
            let _ = writeln!(failures, "{to:?}\n  expected {expected}\n  told     {all:?}");
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// What is added behind the base (its line 28 is the first), and what is told.
const ADDITIONS: &[(&str, &str)] = &[
    (
        "[[ban]]\naddress = \"evil.example.org\"",
        "29:11: ban: \"evil.example.org\" is not an address or a network",
    ),
    (
        "[[ban]]\naddress = \"2001:db8::1/32\"",
        "29:11: ban: 2001:db8::1/32 has bits beyond its prefix length",
    ),
    (
        "[[ban]]\nuntil = \"tomorrow\"\naddress = \"10.0.0.1\"",
        "29:9: ban: until is not a moment in time: tomorrow",
    ),
    ("[[ban]]", "28:1: ban: address is missing"),
    (
        "[[shape]]\ndev = \"eth1\"\nqdisc = \"root pfifo\"",
        "29:7: shape: dev \"eth1\" is neither the hub's interface nor its uplink",
    ),
    (
        "[[shape]]\nqdisc = \"root pfifo\"\nclass = \"parent 1: classid 1:1 htb rate 1mbit\"",
        "30:9: shape: qdisc and class in one",
    ),
    ("[[shape]]", "28:1: shape: qdisc is missing"),
    (
        "[[shape]]\nqdisc = \"root pfifo\"\nfor = \"alice\"",
        "30:7: shape: a qdisc has no `for`",
    ),
    (
        "[[shape]]\nclass = \"parent 1: classid 1:1 htb rate 1mbit\"",
        "29:9: shape: wg0 has no qdisc 1: yet",
    ),
    (
        "[[shape]]\nqdisc = \"parent 1:10 pfifo\"",
        "29:9: shape: wg0 has no class 1:10 yet",
    ),
    (
        "[[shape]]\nqdisc = \"root pfifo\"\n[[shape]]\nqdisc = \"root bfifo\"",
        "31:9: shape: wg0 has a root qdisc already",
    ),
    (
        "[[shape]]\nqdisc = \"root handle 1: pfifo\"\n[[shape]]\nclass = \"parent 1: classid 1:1 htb rate 1mbit\"",
        "31:9: shape: qdisc 1: of wg0 has no classes",
    ),
    (
        "[[shape]]\nqdisc = \"root handle 1: htb\"\n[[shape]]\nclass = \"parent 1:5 classid 1:1 htb rate 1mbit\"",
        "31:9: shape: wg0 has no class 1:5 yet",
    ),
    (
        "[[shape]]\nqdisc = \"root handle 1: htb\"\n[[shape]]\nclass = \"parent 1: classid 1:1 htb rate 1mbit\"\nfor = \"web\"",
        "32:7: shape: service web cannot have a class",
    ),
    (
        "[[shape]]\nqdisc = \"root handle 1: htb\"\n[[shape]]\nclass = \"parent 1: classid 1:1 htb rate 1mbit\"\nfor = [\"alice\"]\n[[shape]]\nclass = \"parent 1: classid 1:2 htb rate 1mbit\"\nfor = [\"bob\", \"alice\"]",
        "35:15: shape: alice is in class 1:1 of wg0 already (line 30)",
    ),
    (
        "[[shape]]\nqdisc = \"root handle 1: htb\"\n[[shape]]\nclass = \"parent 1: classid 1:1 htb rate 1mbit\"\n[[shape]]\nclass = \"parent 1: classid 1:1 htb rate 2mbit\"",
        "33:9: shape: wg0 has a class 1:1 already",
    ),
    (
        "[member.carol]\naddresses = [\"192.168.4.4\"]\npublic_key = \"AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=\"\ngroups = [\"staff\", \"guests\"]\n[[shape]]\nqdisc = \"root handle 1: htb\"\n[[shape]]\nclass = \"parent 1: classid 1:1 htb rate 1mbit\"\nfor = \"staff\"\n[[shape]]\nclass = \"parent 1: classid 1:2 htb rate 1mbit\"\nfor = \"guests\"",
        "31:20: member carol: group staff is in class 1:1 of wg0, group guests in 1:2",
    ),
];

#[test]
fn every_addition_is_told_in_its_place() {
    let mut failures = String::new();
    for (addition, expected) in ADDITIONS {
        let text = format!("{}{addition}\n", base());
        let all = match Config::parse(&text) {
            Ok(_) => vec!["accepted".to_owned()],
            Err(found) => found
                .0
                .iter()
                .map(|one| format!("{}:{}: {}", one.line, one.column, one.message))
                .collect(),
        };
        if !all.iter().any(|one| one == expected) {
            let _ = writeln!(failures, "{addition:?}\n  expected {expected}\n  told     {all:?}");
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn tc_words_are_pointed_at() {
    let text = format!("{}[[shape]]\nqdisc = \"root netem delay 500parsecs\"\n", base());
    let found = refuse(&text);
    assert_eq!((found.0[0].line, found.0[0].column), (29, 27), "{found}");
    assert_eq!(&text[found.0[0].span.clone()], "500parsecs");
}

#[test]
fn all_errors_of_a_file_are_told_in_its_order() {
    let text = base()
        .replace("uplink =", "uplnik =")
        .replace("192.168.4.3", "192.168.5.3")
        .replace("\"accept\"", "\"permit\"");
    assert_eq!(
        told(&text),
        [
            "1:1: hub: uplink is missing",
            "5:1: hub: unknown key uplnik",
            "13:14: member bob: 192.168.5.3 is outside the overlay",
            "27:10: rule: unknown action \"permit\"",
        ]
    );
}

#[test]
fn the_offending_text_is_underlined_and_what_would_be_right_is_said() {
    let text = base().replace("192.168.4.2", "192.168.5.2");
    let shown = refuse(&text).display("/etc/fielato/fielato.toml", &text).to_string();
    assert_eq!(
        shown,
        "/etc/fielato/fielato.toml:8:14: member alice: 192.168.5.2 is outside the overlay
    8 | addresses = [\"192.168.5.2\", \"fd00:4::2\"]
      |              ^^^^^^^^^^^^^ use an address inside 192.168.4.0/24, for instance 192.168.4.2
"
    );
    let text = base().replace("uplink =", "uplnik =");
    let shown = refuse(&text).display("f", &text).to_string();
    assert!(
        shown.contains("did you mean uplink? known: interface, endpoint, addresses, uplink,"),
        "{shown}"
    );
}

#[test]
fn secrets_are_never_shown() {
    let secret = "cHJpdmF0ZSBrZXkgb2Ygc29tZWJvZHkgaGVyZSBvay4=";
    let texts = [
        base().replace("groups = [\"staff\"]", &format!("private_key = \"{secret}\"")),
        base().replace("groups = [\"staff\"]", &format!("private_key = {secret}")),
        base().replace("groups = [\"staff\"]", &format!("preshared_key = [\"{secret}\", 3")),
        base().replace(
            "groups = [\"staff\"]",
            &format!("keys = {{ colour = 1, PRIVATE_KEY = \"{secret}\" }}"),
        ),
        base().replace("[hub]", &format!("[hub]\nprivate-key=\"{secret}\"")),
        base().replace(ALICE, &format!("{secret}{secret}")),
    ];
    for text in texts {
        let found = refuse(&text);
        let shown = format!("{found}\n{}", found.display("f", &text));
        assert!(!shown.contains(&secret[..12]), "{shown}");
    }
}

#[test]
fn a_missing_hub_and_an_empty_file() {
    assert_eq!(told(""), ["1:1: [hub] is missing"]);
    assert_eq!(told("hub = 3"), ["1:7: hub is not a table"]);
    assert_eq!(told("[hub]\n").len(), 4);
}
