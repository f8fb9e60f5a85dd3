//! What would change, on which machine.

mod common;

use fielato_policy::diff::{Machine, Op, PlanDiff, Policy, diff};
use fielato_policy::plan::PerFamily;
use fielato_policy::{Circumstances, Plan};
use jiff::Timestamp;

use common::{NOW, config, full};

fn difference(old: &str, new: &str) -> PlanDiff {
    let compiled = |text: &str| {
        let config = config(text);
        let now: Timestamp = NOW.parse().unwrap();
        let plan = Plan::compile(&config, &Circumstances::at(now, PerFamily::default()));
        (config, plan)
    };
    let (old, new) = (compiled(old), compiled(new));
    let policy = |(config, plan): &'static (_, _)| Policy { config, plan };
    diff(policy(Box::leak(Box::new(old))), policy(Box::leak(Box::new(new))))
}

/// `hub: + rule 3 accept …`
fn said(diff: &PlanDiff) -> Vec<String> {
    let lines = diff.machines.iter().flat_map(|machine| {
        let name = match &machine.machine {
            Machine::Hub => "hub".to_owned(),
            Machine::Host(name) => format!("host {name}"),
            Machine::Members(names) => names.join("+"),
        };
        let line = move |change: &fielato_policy::diff::Change| {
            let text = format!(
                "{name}: {} {} {} {}",
                change.op.sign(),
                change.kind,
                change.name,
                change.detail
            );
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        machine.changes.iter().map(line).collect::<Vec<_>>()
    });
    lines.collect()
}

#[test]
fn nothing_and_what_is_nothing() {
    let text = full();
    assert!(difference(&text, &text).is_empty());
    let moved = format!("# Another line.\n\n{text}\n# And one below.\n");
    assert!(difference(&text, &moved).is_empty());
    let test = format!("{text}\n[service.unused]\nhost = \"server\"\nports = [\"tcp/443\"]\n");
    assert!(difference(&text, &test).is_empty());
}

#[test]
fn members_groups_and_bans() {
    let carol = "[member.carol]\naddresses = [\"192.168.4.9\"]\npublic_key = \"AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=\"\ngroups = [\"lab-staff\"]\n";
    let new = format!("{}\n{carol}\n[[ban]]\naddress = \"198.51.100.7\"\n", full());
    let found = difference(&full(), &new);
    let expected = [
        "hub: + member carol addresses 192.168.4.9; public_key AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=",
        "hub: ~ group lab-staff +carol",
        "hub: + ban 198.51.100.7",
        "host bob: ~ set group_lab_staff +192.168.4.9",
        "host bob: ~ set members +192.168.4.9",
    ];
    let lines = said(&found);
    for line in &lines {
        assert!(expected.contains(&line.as_str()), "{lines:#?}");
    }
    assert_eq!(&lines[..3], &expected[..3]);
    assert!(found.machines[0].full.contains("\n+# carol\n"), "{}", found.machines[0].full);
    let back = difference(&new, &full());
    assert_eq!(
        said(&back)[..3],
        [
            "hub: - member carol",
            "hub: ~ group lab-staff -carol",
            "hub: - ban 198.51.100.7"
        ]
    );
}

#[test]
fn rules_come_go_move_and_change() {
    let rule =
        |from: &str, to: &str, action: &str| format!("[[rule]]\nfrom = \"{from}\"\nto = \"{to}\"\naction = \"{action}\"\n\n");
    let start = full();
    let base = start.split_once("[[rule]]").unwrap().0.to_owned();
    let (a, b, c) = (
        rule("alice", "web", "accept"),
        rule("bob", "web", "accept"),
        rule("members", "hub", "accept"),
    );
    let with = |rules: &[&str]| format!("{base}{}", rules.concat());
    let old = with(&[&a, &b, &c]);
    assert_eq!(said(&difference(&old, &with(&[&a, &c])))[0], "hub: - rule 2 accept bob > web");
    assert_eq!(
        said(&difference(&old, &with(&[&a, &rule("internet", "web", "reject"), &b, &c])))[0],
        "hub: + rule 2 reject internet > web"
    );
    assert_eq!(
        said(&difference(&old, &with(&[&a, &rule("bob", "web", "drop"), &c])))[0],
        "hub: ~ rule 2 drop bob > web (action accept -> drop)"
    );
    assert_eq!(
        said(&difference(&old, &with(&[&c, &a, &b]))),
        ["hub: > rule 1 accept members > hub (was rule 3)"]
    );
}

#[test]
fn hosts_ports_and_members_files() {
    let ports = full().replace(
        "ports = [\"tcp/443\", \"tcp/80-90\", \"udp/443\"]",
        "ports = [\"tcp/443\", \"tcp/8080\"]",
    );
    let found = difference(&full(), &ports);
    let server = found
        .machines
        .iter()
        .find(|machine| machine.machine == Machine::Host("server".into()))
        .unwrap();
    let changes: Vec<(Op, &str)> = server
        .changes
        .iter()
        .map(|change| (change.op, change.name.as_str()))
        .collect();
    assert_eq!(
        changes,
        [(Op::Remove, "tcp/80-90"), (Op::Remove, "udp/443"), (Op::Add, "tcp/8080")]
    );
    assert!(server.full.starts_with("--- a/server\n+++ b/server\n@@ "), "{}", server.full);

    // A network more in the lab reaches members with that route by their files alone; the rules about the internet change too.
    let lab = full().replace("lab = [\"10.0.124.0/24\"]", "lab = [\"10.0.124.0/24\", \"10.0.125.0/24\"]");
    let found = difference(&full(), &lab);
    let lines = said(&found);
    assert_eq!(lines[0], "hub: ~ hub lab 10.0.124.0/24 -> 10.0.124.0/24, 10.0.125.0/24");
    assert!(
        lines.last().unwrap().starts_with("alice: ~ file AllowedIPs 192.168.4.0/24, "),
        "{lines:?}"
    );
    let alone = full().replace("keepalive = 25", "keepalive = 20");
    assert_eq!(
        said(&difference(&full(), &alone)),
        ["alice: ~ file PersistentKeepalive 25 -> 20"]
    );

    let gone = full().replace(
        "[host.bob]\naddress = \"10.0.123.5\"",
        "[host.bob]\naddress = \"10.0.123.55\"",
    );
    let found = difference(&full(), &gone);
    assert_eq!(said(&found)[0], "hub: ~ host bob addresses 10.0.123.5 -> 10.0.123.55");
}
