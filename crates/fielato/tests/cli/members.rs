//! `init` and `member`: keys where they belong, the file edited in place, wg-quick files that stock tools take.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use fielato_testkit::{need, unique};

use crate::common::{FIELATO, KEY_A, KEY_B, Machine, Pair, Running, can_run, eventually, values};

const CONFIG: &str = r#"# The lab's hub: this comment stays.
[hub]
interface = "wg0"
endpoint = "10.0.123.2:51820"
addresses = ["192.168.4.1/24", "fd00:4::1/64"]  # both families
uplink = "eth0"
lab = ["10.0.123.0/24"]

# Rules come last.
[[rule]]
from = "members"   # whoever that is
to = "any"
action = "accept"
"#;

/// A hub's files, written without a network.
fn machine() -> Machine {
    let machine = Machine::files();
    machine.write_config(CONFIG);
    machine.write_key("wg0.key", KEY_A);
    machine
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn init_writes_keys_and_a_configuration_once() {
    if !can_run("members::init_writes_keys_and_a_configuration_once") {
        return;
    }
    let Pair { hub, outside: _outside } = Pair::new();
    let text = hub.config();
    assert!(
        text.contains("endpoint = \"10.9.0.1:51820\"") && text.contains("uplink = \"eth0\""),
        "{text}"
    );
    hub.fielato("render hub").ok();
    let key = hub.key(&format!("{}.key", hub.interface));
    let secret = fs::read(&key).unwrap();
    assert_eq!(mode(&key), 0o600);
    assert_eq!(mode(key.parent().unwrap()), 0o700);
    assert_eq!(mode(&hub.config_path()), 0o644);
    assert_eq!(mode(hub.config_path().parent().unwrap()), 0o755);

    let told = hub.fielato("init --endpoint vpn.example.org:4500").fails(1);
    assert!(told.contains("exists and is not overwritten"), "{told}");
    assert_eq!(hub.config(), text);
    // Nor is a key that is there without a configuration.
    fs::remove_file(hub.config_path()).unwrap();
    hub.fielato(&format!("init --interface {}", hub.interface)).ok();
    assert_eq!(fs::read(&key).unwrap(), secret);
}

#[test]
fn edits_keep_comments_and_take_the_next_free_address() {
    let machine = machine();
    assert!(
        machine
            .fielato("member add alice --group staff")
            .ok()
            .contains("192.168.4.2, fd00:4::2")
    );
    assert!(machine.fielato("member add bob").ok().contains("192.168.4.3, fd00:4::3"));
    machine.fielato("member remove alice").ok();
    assert!(machine.fielato("member add carol").ok().contains("192.168.4.2, fd00:4::2"));
    for comment in [
        "# The lab's hub: this comment stays.",
        "# both families",
        "# whoever that is",
        "# Rules come last.",
    ] {
        assert!(machine.config().contains(comment), "{comment}: {}", machine.config());
    }

    machine.fielato("member disable bob").ok();
    assert_eq!(
        machine.fielato("member show bob --json").json()["member"]["state"],
        "disabled"
    );
    machine.fielato("member enable bob").ok();
    assert_eq!(machine.fielato("member show bob --json").json()["member"]["state"], "active");
    let before = machine.config();

    let list = machine.fielato("member list --json").json();
    let names: Vec<&str> = list["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(BTreeSet::from_iter(names), BTreeSet::from(["bob", "carol"]));

    // Added and removed again, the file is byte by byte as it was.
    machine.fielato("member add dave --group staff --no-psk").ok();
    machine.fielato("member remove dave").ok();
    assert_eq!(machine.config(), before);
}

#[test]
fn refused_edits_change_nothing() {
    let machine = machine();
    machine.fielato("member add alice").ok();
    let before = machine.config();
    let keys = machine
        .sh("cd $FIELATO_ROOT/etc/fielato/keys && find . -type f | sort | xargs sha256sum")
        .ok();
    for (arguments, words) in [
        ("member add alice", "alice"),
        ("member add ../evil", "../evil"),
        ("member add hub", "hub"),
        ("member add bob --public-key AAAA", "44 characters of base64"),
        ("member add bob --group hub", "hub"),
        ("member remove nobody", "nobody"),
        ("member disable nobody", "nobody"),
        ("member show nobody", "fielato member list"),
        ("member config nobody", "fielato member list"),
    ] {
        let told = machine.fielato(arguments).fails(1);
        assert!(told.contains(words), "{arguments}: {told}");
        assert_eq!(machine.config(), before, "{arguments}");
    }
    let after = machine
        .sh("cd $FIELATO_ROOT/etc/fielato/keys && find . -type f | sort | xargs sha256sum")
        .ok();
    assert_eq!(after, keys);
}

#[test]
fn keys_are_private_and_go_with_their_member() {
    let machine = machine();
    machine.fielato("member add alice").ok();
    machine.fielato(&format!("member add bob --public-key {KEY_B}")).ok();
    for name in ["alice.key", "alice.psk", "bob.psk"] {
        assert_eq!(mode(&machine.key("members").join(name)), 0o600, "{name}");
    }
    assert_eq!(mode(&machine.key("members")), 0o700);
    assert!(!machine.key("members/bob.key").exists());
    machine.fielato("member remove alice").ok();
    assert!(!machine.key("members/alice.key").exists() && !machine.key("members/alice.psk").exists());
}

#[test]
fn concurrent_edits_lose_nobody() {
    let machine = machine();
    let children: Vec<Running> = (0..8)
        .map(|number| {
            let mut command = machine.command(FIELATO);
            command
                .args(["member", "add", &format!("user{number}")])
                .stdout(std::process::Stdio::null());
            machine.spawn(command)
        })
        .collect();
    for mut child in children {
        assert_eq!(child.end(), 0);
    }
    let list = machine.fielato("member list --json").json();
    let members = list["members"].as_array().unwrap();
    let addresses: BTreeSet<&str> = members.iter().map(|one| one["addresses"][0].as_str().unwrap()).collect();
    assert_eq!((members.len(), addresses.len()), (8, 8), "{list}");
}

#[test]
fn stock_tools_take_the_members_file() {
    let test = "members::stock_tools_take_the_members_file";
    if !can_run(test) || !need(test, "wg-quick") {
        return;
    }
    let machine = Machine::with_namespace();
    machine.write_config(CONFIG);
    machine.write_key("wg0.key", KEY_A);
    machine.fielato("member add alice").ok();
    machine.fielato(&format!("member add bob --public-key {KEY_B}")).ok();

    let interface = unique("f");
    let mut device = machine.command(FIELATO);
    device.args(["device", &interface]);
    let _device = machine.spawn(device);
    eventually("the device answers", || machine.sh(&format!("wg show {interface}")).code == 0);
    let hub_public = machine.sh(&format!("echo {KEY_A} | wg pubkey")).ok();

    for (member, own_key) in [("alice", None), ("bob", Some("yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="))] {
        for (option, allowed) in [("", "10.0.123.0/24"), ("--split", "10.0.123.0/24")] {
            let file = machine.quietly(&format!("member config {member} {option}")).ok();
            // A member who has her own key puts it in.
            let file = match own_key {
                Some(key) => {
                    assert!(
                        values(&file, "PrivateKey").is_empty(),
                        "bob's private key is not ours to have"
                    );
                    file.replacen("[Interface]", &format!("[Interface]\nPrivateKey = {key}"), 1)
                }
                None => file,
            };
            let stripped = machine
                .with_file("wg-quick strip FILE", &format!("{interface}.conf"), &file)
                .ok();
            assert!(!stripped.contains("Address"), "{member}");
            machine
                .with_file(&format!("wg setconf {interface} FILE"), "stripped", &stripped)
                .ok();
            let shown = machine.sh(&format!("wg show {interface} dump")).ok();
            assert!(shown.contains(hub_public.trim()), "{member}: the hub is not the peer");
            assert!(
                shown.contains("10.0.123.2:51820") && shown.contains(allowed) && shown.contains("192.168.4.0/24"),
                "{member} {option}: {file}"
            );
        }
    }
}

#[test]
fn a_qr_code_is_drawn() {
    let machine = machine();
    machine.fielato("member add alice").ok();
    let said = machine.quietly("member config alice --qr");
    assert!(said.err.contains("private key"), "{}", said.err);
    let drawn = said.ok();
    let lines: Vec<&str> = drawn.lines().filter(|line| !line.is_empty()).collect();
    let width = lines[0].chars().count();
    assert!(lines.iter().all(|line| line.chars().count() == width));
    // ISO/IEC 18004: 17 + 4 modules per version on each side, and a quiet zone of 4 around; two rows are one line of text.
    let modules = width - 8;
    assert!((21..=177).contains(&modules) && modules % 4 == 1, "{modules} modules");
    assert_eq!(lines.len(), width.div_ceil(2));
    // Without the key itself in clear.
    let key = fs::read_to_string(machine.key("members/alice.key")).unwrap();
    assert!(!drawn.contains(key.trim()));
}
