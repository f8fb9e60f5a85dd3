//! A policy judged before it is applied: `can`, `who-can`, `matrix`, `test`, `check`, `plan`. They ask the file alone.

use serde_json::{Value, json};

use crate::common::{FIELATO, KEY_A, KEY_B, Machine, Pair, can_run};

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
rate = "10mbit"

[member.bob]
addresses = ["192.168.4.3"]
public_key = "{KEY_B}"

[host.archive]
address = ["10.0.123.9", "2001:db8::9"]
strategy = "source"

[service.storage]
host = "archive"
ports = ["tcp/1094", "udp/2049"]

[service.shell]
host = "archive"
ports = ["tcp/22"]

[[rule]]
from = "staff"
to = ["storage", "hub"]
action = "accept"

[[rule]]
from = "alice"
to = "storage"
action = "drop"

[[test]]
from = "staff"
to = "storage"
expect = "accept"
rate = "10mbit"

[[test]]
name = "bob stays outside"
from = "bob"
to = ["storage", "shell"]
expect = "drop"
"#
    )
}

fn machine(text: &str) -> Machine {
    let machine = Machine::files();
    machine.write_config(text);
    machine
}

/// In which line the rule with this number stands.
fn line_of_rule(text: &str, number: usize) -> usize {
    let rules = (1..).zip(text.lines()).filter(|(_, line)| *line == "[[rule]]");
    rules.map(|(line, _)| line).nth(number - 1).unwrap()
}

#[test]
fn who_reaches_what() {
    let machine = machine(&config());
    let file = machine.config_path().display().to_string();
    let line = line_of_rule(&config(), 1);
    assert_eq!(
        machine.fielato("can alice storage").ok(),
        format!("yes: alice reaches storage\n  tcp/1094 udp/2049, IPv4 and IPv6  accept  [[rule]] 1, {file}:{line}\n")
    );
    let said = machine.fielato("can bob shell");
    assert_eq!((said.code, said.err.as_str()), (1, ""));
    assert_eq!(
        said.out,
        "no: bob does not reach shell\n  tcp/22, IPv4  drop  no rule\n\
         `fielato trace --from bob --to shell --reply` tells every step, and what to change\n"
    );
    let refused = machine.fielato("can carol shell").fails(2);
    assert!(
        refused.starts_with("fielato: there is no member, host or address \"carol\""),
        "{refused}"
    );

    let json = machine.fielato("can alice hub:22/tcp --json").json();
    assert_eq!((&json["reach"], &json["lines"]), (&json!("yes"), &json!([line.to_string()])));

    let who = machine.fielato("who-can storage").ok();
    let lines: Vec<&str> = who.lines().collect();
    assert_eq!(lines[0], "member  storage  because");
    assert_eq!(lines[1], format!("alice   yes      [[rule]] 1, {file}:{line}"));
    assert_eq!(lines[2], "bob     no       no rule");
    let who = machine.fielato("who-can storage --json").json();
    let reach: Vec<&Value> = who["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| &member["reach"])
        .collect();
    assert_eq!(reach, [&json!("yes"), &json!("no")]);
    machine.fielato("who-can nothing").fails(2);

    let matrix = machine.fielato("matrix").ok();
    assert_eq!(
        matrix,
        format!("member  shell  storage\nalice   no     yes {line}\nbob     no     no\n")
    );
    let csv = machine.fielato("matrix --csv").ok();
    assert_eq!(csv, format!("member,shell,storage\nalice,no,yes {line}\nbob,no,no\n"));
    let json = machine.fielato("matrix --json").json();
    assert_eq!(json["members"][0]["services"]["storage"]["reach"], "yes");
}

#[test]
fn the_files_own_tests() {
    let good = machine(&config());
    assert_eq!(good.fielato("test").ok(), "3 passed, 0 failed\n");

    let opened = format!(
        "{}\n[[rule]]\nfrom = \"bob\"\nto = \"shell\"\naction = \"accept\"\n",
        config()
    );
    let bad = machine(&opened.replace("rate = \"10mbit\"\n\n[[test]]", "rate = \"20mbit\"\n\n[[test]]"));
    let said = bad.fielato("test");
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    let line = line_of_rule(&opened, 3);
    let expected = format!(
        "bob to shell: expected drop, found accept: [[rule]] 3, {}:{line}\n  tcp 192.168.4.3:40000 > 10.0.123.9:22 SYN, ",
        bad.config_path().display()
    );
    assert!(said.out.contains(&expected), "{}", said.out);
    assert!(said.out.contains("failed: [[test]] bob stays outside, "), "{}", said.out);
    assert!(
        said.out
            .contains("alice to storage: expected a rate of 20mbit, found 10mbit\n"),
        "{}",
        said.out
    );
    assert!(said.out.ends_with("\n1 passed, 2 failed\n"), "{}", said.out);
    let said = bad.fielato("test --json");
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, &json["version"], &json["failed"]), (1, &json!(1), &json!(2)));
    assert_eq!(json["tests"][0]["failure"]["kind"], "rate");
}

#[test]
fn what_is_strange() {
    let machine = machine(&config());
    let file = machine.config_path().display().to_string();
    let line = line_of_rule(&config(), 2);
    let text = machine.fielato("check").ok();
    let expected = format!(
        "{file}:{line}:1: warning: rule 2 is never reached: rule 1 decides over all its packets first\n      put it before rule 1, or take it out\n"
    );
    assert!(text.contains(&expected), "{text}");
    let member = 1 + config().lines().position(|line| line == "[member.bob]").unwrap();
    assert!(
        text.contains(&format!("{file}:{member}:9: warning: member bob can reach nothing")),
        "{text}"
    );
    machine.fielato("check --strict").fails(1);
    let json = machine.fielato("check --json").json();
    let kinds: Vec<&str> = json["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["kind"].as_str().unwrap())
        .collect();
    assert!(
        kinds.contains(&"never-reached") && kinds.contains(&"reaches-nothing"),
        "{kinds:?}"
    );
    assert_eq!((&json["findings"][0]["line"], &json["valid"]), (&json!(line), &json!(true)));

    machine.write_config(&config().replace("action = \"drop\"", "action = \"dorp\""));
    let said = machine.fielato("check").fails(2);
    assert!(said.contains(&format!("{file}:")) && said.contains("dorp"), "{said}");
    let said = machine.fielato("check --json");
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, &json["valid"]), (2, &json!(false)));
    assert!(
        json["faults"][0]["line"].as_u64().is_some_and(|at| at > line as u64),
        "{json}"
    );
}

#[test]
fn ones_own_session_is_not_cut() {
    let machine = machine(&config());
    let login = |peer: &str, words: &str| machine.sh(&format!("SSH_CONNECTION='{peer} 5000 192.168.4.1 22' {FIELATO} {words}"));
    login("192.168.4.2", "check").ok();
    let said = login("192.168.4.3", "check");
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    assert!(
        said.out
            .contains("refused: this would cut your own session, from 192.168.4.3 to port 22: no rule\n"),
        "{}",
        said.out
    );
    login("192.168.4.3", "check --force").ok();
}

#[test]
fn what_would_change() {
    let machine = machine(&config());
    let old = machine.root().join("old.toml");
    std::fs::write(&old, config()).unwrap();
    let against = format!("plan --against {}", old.display());
    assert_eq!(machine.fielato(&against).ok(), "nothing would change\n");
    let new = config()
        .replace("groups = [\"staff\"]\n", "")
        .replace("[member.bob]\n", "[member.bob]\ngroups = [\"staff\"]\n");
    machine.write_config(&new.replace("ports = [\"tcp/22\"]", "ports = [\"tcp/2222\"]"));
    let said = machine.fielato(&against);
    assert_eq!((said.code, said.err.as_str()), (3, ""));
    assert_eq!(
        said.out,
        "hub\n  ~ group staff +bob -alice\n  ~ service shell ports tcp/22 -> tcp/2222\n\nhost archive\n  - protected port tcp/22\n  + protected port tcp/2222\n"
    );
    let full = machine.fielato(&format!("{against} --full"));
    assert!(full.out.contains("--- a/hub\n+++ b/hub\n@@ "), "{}", full.out);
    let json = machine.fielato(&format!("{against} --json"));
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&json["version"], &json["changes"]), (&json!(1), &json!(true)));
    assert_eq!(json["machines"][0]["changes"][0]["kind"], "group");
    machine.write_config("nonsense");
    machine.fielato(&against).fails(2);
}

#[test]
fn what_would_change_from_a_policy_in_several_files() {
    let machine = machine(&config());
    let folder = machine.root().join("old/rules.d");
    std::fs::create_dir_all(&folder).unwrap();
    // All rules stand in a file of their own, beside the other policy and not beside this one.
    let (head, rules) = config()
        .split_once("[[rule]]")
        .map(|(head, rules)| (head.to_owned(), format!("[[rule]]{rules}")))
        .unwrap();
    let old = machine.root().join("old/old.toml");
    std::fs::write(&old, format!("include = [\"rules.d/*.toml\"]\n{head}")).unwrap();
    std::fs::write(folder.join("10.toml"), &rules).unwrap();
    let against = format!("plan --against {}", old.display());
    assert_eq!(machine.fielato(&against).ok(), "nothing would change\n");
    std::fs::write(folder.join("10.toml"), rules.replacen("\"accept\"", "\"drop\"", 1)).unwrap();
    let said = machine.fielato(&against);
    assert_eq!((said.code, said.err.as_str()), (3, ""));
    assert!(said.out.contains("~ rule 1"), "{}", said.out);
    std::fs::write(folder.join("10.toml"), "nonsense").unwrap();
    let told = machine.fielato(&against).fails(2);
    assert!(told.contains("rules.d/10.toml:1:"), "{told}");
    let told = machine.fielato("plan --against nowhere.toml").fails(1);
    assert!(told.contains("there is no nowhere.toml"), "{told}");
}

#[test]
fn rules_that_nft_does_not_list() {
    const TEST: &str = "judged::rules_that_nft_does_not_list";
    if !can_run(TEST) || !fielato_testkit::can_run(TEST, &["iptables-legacy", "ip6tables-legacy-save"]) {
        return;
    }
    let Pair { hub, outside: _outside } = Pair::new();
    let about = || {
        let json = hub.fielato("check --json").json();
        let findings = json["findings"].as_array().unwrap().iter();
        let foreign = findings.filter(|finding| finding["kind"] == "foreign-rules");
        foreign
            .map(|finding| finding["message"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(about(), Vec::<String>::new());
    hub.sh("iptables-legacy -P FORWARD DROP && ip6tables-legacy -A INPUT -p tcp --dport 23 -j REJECT")
        .ok();
    let told = about();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with(
            "chain FORWARD of iptables-legacy's table ip filter (hook forward, priority 0, beside ours) drops by its policy"
        ),
        "{told:?}"
    );
    assert!(
        told[1].starts_with("chain INPUT of iptables-legacy's table ip6 filter (hook input, priority 0, beside ours) has 1 rule"),
        "{told:?}"
    );
}
