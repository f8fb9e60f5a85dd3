//! A hub that is up: what it tells, what it keeps, and that it keeps its secrets.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::{Machine, Pair, can_run, eventually};

#[test]
fn json_has_a_version_and_parses() {
    if !can_run("running::json_has_a_version_and_parses") {
        return;
    }
    let Pair { hub, outside: _outside } = Pair::up();
    hub.fielato("member add alice").ok();
    let reload = hub.fielato("reload --json").json();
    assert_eq!(reload["changes"]["peers_set"], 1, "{reload}");
    let status = hub.fielato("status --json").json();
    assert_eq!(status["interface"], hub.interface.as_str());
    assert_eq!(
        (&status["wireguard"], &status["listen_port"]),
        (&"userspace".into(), &51820.into())
    );
    assert_eq!(status["members"][0]["name"], "alice");
    assert_eq!(hub.fielato("bans --json").json()["bans"], serde_json::json!([]));
    assert!(hub.fielato("top --once --json").json()["sources"].is_array());
    let shape = hub.fielato("shape show --json").json();
    assert_eq!(shape["devices"][0]["dev"], hub.interface.as_str());
    hub.fielato("member list --json").json();
    assert_eq!(hub.fielato("member show alice --json").json()["member"]["name"], "alice");
}

#[test]
fn what_our_device_drops_is_in_the_status() {
    if !can_run("running::what_our_device_drops_is_in_the_status") {
        return;
    }
    let Pair { hub, outside } = Pair::up();
    let drops = || hub.fielato("status --json").json()["drops"].clone();
    let malformed = |drops: &serde_json::Value| {
        let found = drops.as_array().unwrap().iter().find(|drop| drop["reason"] == "malformed");
        found.map_or(0, |drop| drop["packets"].as_u64().unwrap())
    };
    assert_eq!(malformed(&drops()), 0);
    for address in ["10.9.0.1", "fd09::1"] {
        let send = format!("for i in 1 2 3; do echo no message of WireGuard >/dev/udp/{address}/51820; done");
        outside.sh(&format!("bash -c '{send}'")).ok();
    }
    eventually("six datagrams are counted", || malformed(&drops()) == 6);
    assert!(hub.fielato("status").ok().contains("6 packets: malformed"));
}

#[test]
fn up_once_and_down_to_nothing() {
    if !can_run("running::up_once_and_down_to_nothing") {
        return;
    }
    let Pair { hub, outside: _outside } = Pair::new();
    let seen = "ip -o link | sed 's/ mtu .*//'; nft list ruleset; sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding; tc qdisc show";
    let before = hub.sh(seen).ok();
    for arguments in ["status", "reload", "top --once", "shape show"] {
        let told = hub.fielato(arguments).fails(4);
        assert!(told.contains("fielato up"), "{arguments}: {told}");
    }
    hub.fielato("up --wireguard userspace").ok();
    assert_ne!(hub.sh(seen).ok(), before);
    let told = hub.fielato("up --wireguard userspace").fails(1);
    assert!(told.contains("runs already"), "{told}");
    hub.fielato("status").ok();
    let mode = fs::metadata(hub.root().join("run/fielato/control.sock"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    hub.fielato("down").ok();
    assert_eq!(hub.sh(seen).ok(), before);
    assert!(hub.fielato("down").ok().contains("not running"));
}

#[test]
fn bans_end_by_themselves_and_outlive_the_daemon() {
    if !can_run("running::bans_end_by_themselves_and_outlive_the_daemon") {
        return;
    }
    let Pair { hub, outside: _outside } = Pair::up();
    let banned = || -> Vec<String> {
        let bans = hub.fielato("bans --json").json();
        bans["bans"]
            .as_array()
            .unwrap()
            .iter()
            .map(|ban| ban["network"].as_str().unwrap().into())
            .collect()
    };
    hub.fielato("ban 192.0.2.1").ok();
    hub.fielato("ban 2001:db8::/32").ok();
    hub.fielato("ban 198.51.100.7/24 --for 1h").ok();
    let all = ["192.0.2.1/32", "198.51.100.0/24", "2001:db8::/32"];
    assert_eq!(banned(), all);

    let begin = Instant::now();
    hub.fielato("ban 203.0.113.9 --for 1s").ok();
    assert!(banned().contains(&"203.0.113.9/32".into()) || begin.elapsed() > Duration::from_secs(1));
    eventually("the ban of a second ends", || banned() == all);
    assert!(begin.elapsed() >= Duration::from_secs(1));

    hub.fielato("unban 192.0.2.1").ok();
    let told = hub.fielato("unban 192.0.2.1").fails(1);
    assert!(told.contains("not banned"), "{told}");
    let kept = ["198.51.100.0/24", "2001:db8::/32"];
    hub.fielato("down").ok();
    assert_eq!(banned(), kept, "without a daemon");
    hub.fielato("ban 192.0.2.77").ok();
    hub.fielato("unban 2001:db8::/32").ok();
    hub.fielato("up --wireguard userspace").ok();
    assert_eq!(banned(), ["192.0.2.77/32", "198.51.100.0/24"], "after down and up");

    // One in the file is the file's to end.
    hub.write_config(&(hub.config() + "\n[[ban]]\naddress = \"203.0.113.0/24\"\n"));
    hub.fielato("reload").ok();
    assert_eq!(banned()[0], "203.0.113.0/24");
    let told = hub.fielato("unban 203.0.113.0/24").fails(1);
    assert!(told.contains("[[ban]]"), "{told}");
}

#[test]
fn secrets_are_said_to_nobody() {
    if !can_run("running::secrets_are_said_to_nobody") {
        return;
    }
    let Pair { hub, outside: _outside } = Pair::new();
    hub.fielato("member add alice").ok();
    hub.fielato("member add bob --no-psk").ok();
    let mut daemon = hub.command(crate::common::FIELATO);
    daemon.args(["up", "--wireguard", "userspace"]).env("FIELATO_LOG", "trace");
    assert!(daemon.output().unwrap().status.success());
    for arguments in [
        "status",
        "status --json",
        "member list",
        "member list --json",
        "member show alice",
        "member show alice --json",
        "member show bob",
        "render hub",
        "render hub --format iptables",
        "render hub --format wg-quick",
        "render hub --format script",
        "render alice --format script",
        "ban 192.0.2.1",
        "bans",
        "top --once",
        "shape show",
        "member add carol",
        "reload",
        "member disable carol",
        "reload --json",
        "member remove carol",
        "reload",
    ] {
        hub.fielato(arguments).ok();
    }
    let good = hub.config();
    hub.write_config(
        &(good.clone()
            + "
rubbish"),
    );
    hub.fielato("reload").fails(2);
    hub.write_config(&good);
    let log = fs::read_to_string(hub.root().join("run/fielato/fielato.log")).unwrap();
    let mut told = hub.said() + &log + &processes_of(&hub);
    told += &fs::read_to_string(hub.root().join("var/lib/fielato/undo.json")).unwrap();
    told += &hub.config();
    assert!(log.contains("up"), "the log was read");
    assert!(told.contains("--foreground"), "the daemon's command line was read");

    let secrets = secrets(&hub.root().join("etc/fielato/keys"));
    assert_eq!(secrets.len(), 4);
    for secret in &secrets {
        assert!(!told.contains(secret), "a secret was told");
        assert!(!told.contains(&hex(secret)), "a secret was told in hexadecimal");
    }
    // The one place that must.
    let file = hub.quietly("member config alice").ok();
    assert_eq!(secrets.iter().filter(|secret| file.contains(*secret)).count(), 2);
    hub.quietly("member config bob").ok();
}

/// Command lines and environments of everything that has to do with this machine.
fn processes_of(machine: &Machine) -> String {
    let root = machine.root().to_str().unwrap();
    let mut text = String::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let read = |name: &str| String::from_utf8_lossy(&fs::read(entry.path().join(name)).unwrap_or_default()).into_owned();
        let (line, environment) = (read("cmdline"), read("environ"));
        if environment.contains(root) {
            text += &(line.replace('\0', " ") + &environment);
        }
    }
    text
}

fn secrets(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(secrets(&path)),
            false => found.push(fs::read_to_string(path).unwrap().trim().to_owned()),
        }
    }
    found
}

/// Base64 to hexadecimal, as the UAPI writes keys.
fn hex(base64: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: String = base64
        .bytes()
        .filter_map(|byte| ALPHABET.iter().position(|letter| *letter == byte))
        .map(|value| format!("{value:06b}"))
        .collect();
    (0..32)
        .map(|index| format!("{:02x}", u8::from_str_radix(&bits[index * 8..index * 8 + 8], 2).unwrap()))
        .collect()
}
