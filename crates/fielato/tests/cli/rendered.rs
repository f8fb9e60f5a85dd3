//! What `render` prints is taken by the tools that it is for.

use std::collections::BTreeSet;

use fielato_testkit::{need, root};

use crate::common::{KEY_A, KEY_B, Machine, values};

/// Every kind of thing that a file can have.
fn config() -> String {
    format!(
        r#"[hub]
interface = "wg0"
endpoint = "10.0.123.2:51820"
addresses = ["192.168.4.1/24", "fd00:4::1/64"]
uplink = "eth0"
lab = ["10.0.123.0/24"]

[member.alice]
addresses = ["192.168.4.2", "fd00:4::2"]
public_key = "{KEY_A}"
groups = ["staff"]

[member.server]
addresses = ["192.168.4.3", "fd00:4::3"]
public_key = "{KEY_B}"

[host.archive]
address = ["10.0.123.9", "2001:db8::9"]
strategy = "source"

[host.server]
address = ["10.0.123.4", "2001:db8::4"]
strategy = "member"

[service.web]
host = "server"
ports = ["tcp/1234", "udp/5000-5010"]

[service.files]
host = "archive"
ports = ["tcp/443"]

[[rule]]
from = "staff"
to = ["web", "files", "hub"]
action = "accept"

[[rule]]
from = "members"
to = "internet"
action = "reject"

[[shape]]
qdisc = "root handle 1: htb default 30"
[[shape]]
class = "parent 1: classid 1:10 htb rate 10mbit"
for = ["staff"]
[[shape]]
class = "parent 1: classid 1:30 htb rate 1mbit"

[[ban]]
address = "203.0.113.0/24"
"#
    )
}

fn with(machine: Machine) -> Machine {
    machine.write_config(&config());
    machine.write_key("wg0.key", KEY_A);
    machine
}

#[test]
fn nft_takes_the_rules() {
    let test = "rendered::nft_takes_the_rules";
    if !root(test) || !need(test, "nft") {
        return;
    }
    let machine = with(Machine::with_namespace());
    for name in ["hub", "archive", "server"] {
        let rules = machine.fielato(&format!("render {name} --format nft")).ok();
        machine.with_file("nft -c -f - <FILE", "rules", &rules).ok();
        machine.with_file("nft -f - <FILE && nft -f - <FILE", "rules", &rules).ok();
        assert!(machine.sh("nft list ruleset").ok().contains("chain"), "{name}");
        machine.sh("nft flush ruleset").ok();
    }
}

#[test]
fn iptables_takes_the_rules() {
    let test = "rendered::iptables_takes_the_rules";
    if !root(test) {
        return;
    }
    let machine = with(Machine::with_namespace());
    for variant in ["legacy", "nft"] {
        if !need(test, &format!("iptables-{variant}")) || !need(test, &format!("ip6tables-{variant}")) {
            return;
        }
        for name in ["hub", "archive", "server"] {
            let rules = machine.fielato(&format!("render {name} --format iptables")).ok();
            assert!(rules.contains("iptables ") && rules.contains("ip6tables "), "{name}: {rules}");
            let commands = format!(
                "iptables() {{ iptables-{variant} \"$@\"; }}\nip6tables() {{ ip6tables-{variant} \"$@\"; }}\nset -e\n{rules}"
            );
            machine.with_file("sh FILE", "commands", &commands).ok();
            let saved = machine
                .sh(&format!("iptables-{variant} -S; iptables-{variant} -t nat -S"))
                .ok();
            assert!(saved.contains("-A "), "{name}, {variant}: {saved}");
            for table in ["filter", "nat"] {
                machine
                    .sh(&format!(
                        "for i in iptables ip6tables; do $i-{variant} -t {table} -F; $i-{variant} -t {table} -X; done"
                    ))
                    .ok();
            }
        }
    }
}

#[test]
fn the_talks_own_rules() {
    let machine = with(Machine::files());
    let hub = machine.fielato("render hub --format iptables").ok();
    assert!(hub.contains("POSTROUTING") && hub.contains("MASQUERADE"), "{hub}");
    let server = machine.fielato("render server --format iptables").ok();
    assert!(
        server.contains("! -i wg0") && server.contains("1234") && server.contains("DROP"),
        "{server}"
    );
    let archive = machine.fielato("render archive --format iptables").ok();
    assert!(
        archive.contains("! -s 10.0.123.2") && archive.contains("443") && archive.contains("DROP"),
        "{archive}"
    );
}

#[test]
fn a_shell_takes_the_scripts() {
    let machine = with(Machine::files());
    machine.write_key("members/alice.key", KEY_B);
    for name in ["hub", "archive", "server", "alice"] {
        let script = machine.fielato(&format!("render {name} --format script")).ok();
        machine.with_file("sh -n FILE", "script", &script).ok();
        assert!(script.starts_with("#!/bin/sh\n"), "{name}: {script}");
    }
}

#[test]
fn wg_quick_takes_the_hubs_file() {
    let machine = with(Machine::files());
    let file = machine.fielato("render hub --format wg-quick").ok();
    assert_eq!(values(&file, "Address"), ["192.168.4.1/24", "fd00:4::1/64"]);
    assert_eq!(
        BTreeSet::from_iter(values(&file, "PublicKey")),
        BTreeSet::from([KEY_A.to_owned(), KEY_B.to_owned()])
    );
    // wg-quick runs as root only, even to strip.
    let test = "rendered::wg_quick_takes_the_hubs_file";
    if root(test) && need(test, "wg-quick") {
        let stripped = machine.with_file("wg-quick strip FILE", "wg0.conf", &file).ok();
        assert_eq!(values(&stripped, "PublicKey"), values(&file, "PublicKey"));
    }
}

#[test]
fn what_a_machine_has_not_is_refused() {
    let machine = with(Machine::files());
    for (arguments, words) in [
        ("render nobody", "there is no machine nobody"),
        ("render archive --format wg-quick", "archive"),
        ("render alice --format nft", "wg-quick and script"),
    ] {
        let told = machine.fielato(arguments).fails(1);
        assert!(told.contains(words), "{arguments}: {told}");
    }
}
