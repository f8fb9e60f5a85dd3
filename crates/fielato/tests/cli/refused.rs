//! Every bad configuration is refused with its place, its text and what would be right, and nothing is changed.

use std::fs;

use crate::common::{KEY_A, KEY_B, Machine, Pair, can_run};

/// A valid file, which the cases below change. The lines that they name are counted from here.
fn base() -> String {
    format!(
        r#"# The hub of the tests.
[hub]
interface = "wg0"
endpoint = "10.0.123.2:51820"
addresses = ["192.168.4.1/24", "fd00:4::1/64"]
uplink = "eth0"

[member.alice] # first of all
addresses = ["192.168.4.2", "fd00:4::2"]
public_key = "{KEY_A}"

[member.bob]
addresses = ["192.168.4.3", "fd00:4::3"]
public_key = "{KEY_B}"

[host.server]
address = "10.0.123.4"
strategy = "source"

[service.web]
host = "server"
ports = ["tcp/1234"]

[[rule]]
from = "alice"
to = "web"
action = "accept"
"#
    )
}

struct Case {
    name: &'static str,
    from: &'static str,
    to: &'static str,
    /// Line and column.
    place: &'static str,
    /// What the message names, and what it advises.
    words: &'static [&'static str],
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { name: "not TOML", from: "\"wg0\"", to: "wg0", place: "3:13", words: &["interface = wg0"] },
    Case { name: "unknown key", from: "uplink", to: "uplnik", place: "6:1", words: &["unknown key uplnik", "uplnik = \"eth0\"", "uplink"] },
    Case { name: "unknown table", from: "[member.bob]", to: "[membre.bob]", place: "12:2", words: &["unknown key membre", "member"] },
    Case { name: "duplicate address", from: "192.168.4.3", to: "192.168.4.2", place: "13:14", words: &["192.168.4.2", "alice", "bob"] },
    Case { name: "duplicate IPv6 address", from: "fd00:4::3", to: "fd00:4::2", place: "13:29", words: &["fd00:4::2", "alice", "bob"] },
    Case { name: "the hub's address", from: "192.168.4.3", to: "192.168.4.1", place: "13:14", words: &["192.168.4.1", "hub"] },
    Case { name: "overlapping overlays", from: "\"fd00:4::1/64\"", to: "\"192.168.4.200/25\"", place: "5:32", words: &["192.168.4."] },
    Case { name: "outside the overlay", from: "192.168.4.3", to: "192.168.5.3", place: "13:14", words: &["192.168.5.3 is outside the overlay", "inside 192.168.4.0/24"] },
    Case { name: "IPv6 outside the overlay", from: "fd00:4::3", to: "fd00:5::3", place: "13:29", words: &["fd00:5::3 is outside the overlay", "inside fd00:4::/64"] },
    Case { name: "service on an unknown host", from: "host = \"server\"", to: "host = \"serer\"", place: "21:8", words: &["unknown host \"serer\"", "server"] },
    Case { name: "rule about nobody", from: "from = \"alice\"", to: "from = \"alcie\"", place: "25:8", words: &["nothing is called \"alcie\"", "name a member"] },
    Case { name: "no such port", from: "tcp/1234", to: "tcp/123456", place: "22:10", words: &["tcp/123456"] },
    Case { name: "no such strategy", from: "\"source\"", to: "\"sauce\"", place: "18:12", words: &["sauce", "source"] },
    Case { name: "no such action", from: "\"accept\"", to: "\"acept\"", place: "27:10", words: &["acept", "accept"] },
    Case { name: "key of the wrong length", from: "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=", to: "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=", place: "14:14", words: &["member bob: public_key", "44 characters of base64", "wg pubkey"] },
    Case { name: "one key twice", from: "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=", to: "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=", place: "14:14", words: &["bob", "alice"] },
    Case { name: "something is missing", from: "uplink = \"eth0\"\n", to: "", place: "2:1", words: &["uplink is missing"] },
];

#[test]
fn the_base_is_accepted() {
    let machine = Machine::files();
    machine.write_config(&base());
    machine.fielato("render hub").ok();
}

#[test]
fn with_place_text_and_help_and_nothing_changes() {
    for Case {
        name,
        from,
        to,
        place,
        words,
    } in CASES
    {
        let machine = Machine::files();
        let text = base().replacen(from, to, 1);
        assert_ne!(text, base(), "{name}");
        machine.write_config(&text);
        for command in [
            "render hub",
            "up --foreground",
            "member add carol",
            "member remove alice",
            "member list",
        ] {
            let told = machine.fielato(command).fails(2);
            let at = format!("{}:{place}: ", machine.config_path().display());
            assert!(told.contains(&at), "{name}: {command}: not at {place}: {told}");
            for word in *words {
                assert!(told.contains(word), "{name}: {command}: {word:?} is not in: {told}");
            }
            let line: usize = place.split(':').next().unwrap().parse().unwrap();
            let offending = text.lines().nth(line - 1).unwrap().split(" = ").next().unwrap();
            assert!(told.contains(offending), "{name}: the line is not shown: {told}");
            let help = told.lines().find(|line| line.contains("| ") && line.contains("^ "));
            assert!(help.is_some() || *name == "not TOML", "{name}: {command}: no help: {told}");
        }
        assert_eq!(machine.config(), text, "{name}");
        assert!(!machine.root().join("etc/fielato/keys").exists(), "{name}");
        assert!(!machine.root().join("var").exists(), "{name}");
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let machine = Machine::files();
    machine.write_config(&base().replace("uplink", "uplnik").replace("192.168.4.3", "192.168.5.3"));
    let told = machine.fielato("render hub").fails(2);
    assert!(told.contains(":6:1: ") && told.contains(":13:14: "), "{told}");
}

#[test]
fn secrets_in_the_file_are_refused_without_being_shown() {
    let secret = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
    for (table, key) in [
        ("[hub]", "private_key"),
        ("[member.alice] # first of all", "private_key"),
        ("[member.alice] # first of all", "preshared_key"),
        ("[member.bob]", "psk"),
    ] {
        let machine = Machine::files();
        machine.write_config(&base().replacen(table, &format!("{table}\n{key} = \"{secret}\""), 1));
        let told = machine.fielato("render hub").fails(2);
        assert!(!told.contains(secret), "{key}: the secret is shown");
        assert!(told.contains(key) && told.contains("0600"), "{key}: {told}");
    }
    // Under a name that is nearly right, it is not told to be a secret, and not shown either.
    let machine = Machine::files();
    machine.write_config(&base().replacen("[hub]", &format!("[hub]\nprivat = \"{secret}\""), 1));
    let told = machine.fielato("render hub").fails(2);
    assert!(told.contains("unknown key privat") && !told.contains(secret), "{told}");
    // In the place of a public key, too short to be one: perhaps half a private key.
    let machine = Machine::files();
    machine.write_config(&base().replacen(KEY_A, &secret[4..], 1));
    let told = machine.fielato("render hub").fails(2);
    assert!(!told.contains(&secret[4..]), "{told}");
}

#[test]
fn wrong_usage_is_refused_too() {
    let machine = Machine::files();
    machine.write_config(&base());
    for arguments in [
        "",
        "frobnicate",
        "up --sideways",
        "ban 300.1.2.3",
        "ban 10.0.0.1 --for never",
        "ban 10.0.0.1 --for 0s",
        "render hub --format html",
        "member add",
    ] {
        let told = machine.fielato(arguments).fails(2);
        assert!(!told.is_empty(), "{arguments}");
    }
    assert_eq!(machine.config(), base());
}

#[test]
fn a_key_that_others_can_read_is_refused_without_being_shown() {
    use std::os::unix::fs::PermissionsExt as _;
    let machine = Machine::files();
    machine.write_config(&base());
    machine.write_key("wg0.key", KEY_B);
    fs::set_permissions(machine.key("wg0.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let told = machine.fielato("member config alice").fails(1);
    assert!(told.contains("mode 0644") && told.contains("chmod 600"), "{told}");
    assert!(!told.contains(KEY_B), "{told}");
}

#[test]
fn a_running_hub_goes_on_with_the_old_one() {
    if !can_run("refused::a_running_hub_goes_on_with_the_old_one") {
        return;
    }
    let Pair { hub, outside: _outside } = Pair::up();
    hub.fielato("member add alice").ok();
    hub.fielato("reload").ok();
    let good = hub.config();
    let state = |what: &str| hub.sh(what).ok();
    let rules = state("nft -s list ruleset");
    let peers = state(&format!("wg show {}", hub.interface));
    let status = hub.fielato("status --json").json();

    let bad = format!("{good}\n[service.web]\nhost = \"nobody\"\nports = [\"tcp/80\"]\n");
    hub.write_config(&bad);
    let told = hub.fielato("reload").fails(2);
    assert!(
        told.contains("unknown host \"nobody\"") && told.contains("fielato.toml:"),
        "{told}"
    );
    assert_eq!(hub.config(), bad);
    assert_eq!(state("nft -s list ruleset"), rules);
    assert_eq!(state(&format!("wg show {}", hub.interface)), peers);
    let after = hub.fielato("status --json").json();
    assert_eq!((&after["pid"], &after["members"]), (&status["pid"], &status["members"]));

    hub.write_config(&good);
    assert_eq!(hub.fielato("reload").ok(), "nothing changed\n");
}
