//! Which engine a hub gets, and what both do alike.

use std::fs;

use crate::common::{Client, Hub, Pair, can_run, overlay};

/// What could be left on a machine.
fn seen(hub: &Hub) -> String {
    // Pins are seen by all machines; others' tests have some.
    let name = hub.root().file_name().unwrap().to_string_lossy().replace('.', "_");
    hub.sh(&format!(
        "ip -br link | grep -v eth; nft list ruleset; tc qdisc show; cat /proc/sys/net/ipv4/ip_forward; ls /sys/fs/bpf | grep -F -- {name}"
    ))
    .out
}

#[test]
fn auto_takes_the_kernel_where_it_can_and_else_says_why() {
    if !can_run("engines::auto_takes_the_kernel_where_it_can_and_else_says_why") {
        return;
    }
    let Pair { hub, outside: _outside } = Pair::new();
    hub.fielato("up").ok();
    let status = hub.fielato("status --json").json();
    assert_eq!(
        (&status["engine"], &status["missing"]),
        (&"kernel".into(), &serde_json::json!([]))
    );
    hub.fielato("down").ok();

    // A kernel that has no nft, as far as this program can see.
    let before = seen(&hub);
    let program = std::path::Path::new(crate::common::FIELATO);
    let path = program.parent().unwrap();
    let up = |more: &[&str]| {
        let mut command = hub.command(crate::common::FIELATO);
        command.arg("up").args(more).env("PATH", path);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = up(&["--engine", "kernel"]);
    assert!(code == Some(1) && said.contains("`nft` is missing"), "{said}");
    assert_eq!(seen(&hub), before);
    let (code, said) = up(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("the kernel engine lacks rules: the program `nft` is missing"),
        "{said}"
    );
    let status = hub.fielato("status --json").json();
    assert_eq!(status["engine"], "userspace");
    assert!(status["missing"][0].as_str().unwrap().contains("nft"), "{status}");
    assert!(
        hub.fielato("status")
            .ok()
            .contains("no kernel   rules: the program `nft` is missing")
    );
    hub.fielato("down").ok();
    assert_eq!(seen(&hub), before);
}

#[test]
fn the_file_says_which_engine_and_a_word_overrides_it() {
    if !can_run("engines::the_file_says_which_engine_and_a_word_overrides_it") {
        return;
    }
    let Pair { hub, outside: _outside } = Pair::new();
    let text = hub.config().replacen("[hub]\n", "[hub]\nengine = \"userspace\"\n", 1);
    hub.write_config(&text);
    let engine = || hub.fielato("status --json").json()["engine"].clone();
    hub.fielato("up").ok();
    assert_eq!(engine(), "userspace");
    // Another engine is another hub.
    hub.write_config(&text.replace("userspace", "kernel"));
    assert!(hub.fielato("reload").fails(1).contains("needs a restart"));
    hub.write_config(&text);
    hub.fielato("reload").ok();
    hub.fielato("down").ok();
    hub.fielato("up --engine kernel").ok();
    assert_eq!(engine(), "kernel");
}

#[test]
fn tc_changes_the_running_hub_until_it_is_reloaded() {
    if !can_run("engines::tc_changes_the_running_hub_until_it_is_reloaded") {
        return;
    }
    for engine in ["userspace", "kernel"] {
        let Pair { hub, outside } = Pair::new();
        hub.fielato("member add ada").ok();
        let config = hub.config() + "[[rule]]\nfrom = \"members\"\nto = \"hub\"\naction = \"accept\"\n";
        hub.write_config(&config);
        hub.fielato(&format!("up --wireguard userspace --engine {engine}")).ok();
        let dev = &hub.interface;
        let client = Client::start(&hub, &outside, "ada");
        let hubs = overlay(&hub);
        let milliseconds = || -> f64 {
            let said = outside.sh(&format!("ping -c 4 -i 0.2 -W 3 -q {}", hubs[0])).ok();
            let (_, rest) = said.split_once("min/avg/max/mdev = ").unwrap();
            rest.split('/').next().unwrap().parse().unwrap()
        };
        assert!(client.ping(&hubs[0]) && milliseconds() < 50.0, "{engine}");

        assert_eq!(
            hub.fielato(&format!("tc qdisc add dev {dev} root netem delay 200ms")).ok(),
            ""
        );
        let delayed = milliseconds();
        assert!((200.0..300.0).contains(&delayed), "{engine}: {delayed} ms");
        let shown = hub.fielato(&format!("tc -s qdisc show dev {dev}")).ok();
        assert!(
            shown.starts_with("qdisc netem") && shown.contains("delay 200ms"),
            "{engine}: {shown}"
        );
        assert!(shown.contains("\n Sent "), "{engine}: {shown}");
        assert!(!hub.fielato(&format!("tc qdisc show dev {dev}")).ok().contains("Sent"));
        assert!(hub.fielato("shape show").ok().contains("netem"));

        // A second at the same place, a device of nobody's, and words that tc would not take.
        for (words, reason) in [
            (format!("qdisc add dev {dev} root pfifo"), "hangs there already"),
            ("qdisc add dev lo root pfifo".to_owned(), "lo is not the hub's"),
            (format!("qdisc add dev {dev} root nettem"), "did you mean `netem`?"),
            (format!("qdisc add dev {dev} parent 7:1 pfifo"), "7:"),
            (format!("qdisc del dev {dev} handle 7:"), "there is no `qdisc handle 7:`"),
            (
                format!("qdisc change dev {dev} root netem delay 9ms 1ms distribution nobodys"),
                "^^^^^^^",
            ),
        ] {
            let said = hub.fielato(&format!("tc {words}")).fails(1);
            assert!(said.contains(reason), "{engine}: tc {words}: {said}");
        }
        assert!(milliseconds() > 200.0, "{engine}: what was refused changed nothing");

        hub.fielato(&format!("tc qdisc change dev {dev} root netem delay 100ms")).ok();
        assert!((100.0..180.0).contains(&milliseconds()), "{engine}");
        // A table of delays from iproute2's files.
        if hub
            .sh("ls /usr/lib/tc/experimental.dist /usr/lib/*/tc/experimental.dist /usr/share/tc/experimental.dist")
            .out
            .is_empty()
        {
            fielato_testkit::skip("engines: a table of delays", "no iproute2 with experimental.dist");
        } else {
            let netem = format!("tc qdisc change dev {dev} root netem delay 100ms 5ms distribution experimental");
            hub.fielato(&netem).ok();
            assert!((90.0..180.0).contains(&milliseconds()), "{engine}");
        }
        hub.fielato("reload").ok();
        assert!(milliseconds() < 50.0, "{engine}: the file has no shaping");
        hub.fielato("down").ok();
    }
}

#[test]
fn a_killed_engine_is_followed_by_the_other() {
    if !can_run("engines::a_killed_engine_is_followed_by_the_other") {
        return;
    }
    let Pair { hub, outside: _outside } = Pair::new();
    let before = seen(&hub);
    for (first, second) in [("kernel", "userspace"), ("userspace", "kernel")] {
        hub.fielato(&format!("up --wireguard userspace --engine {first}")).ok();
        let pid = hub.fielato("status --json").json()["pid"].clone();
        // Its lock is its own until its last thread has ended.
        let ended = format!(
            "[ ! -e /proc/{pid} ] || {{ grep -q 'State:.Z' /proc/{pid}/status && [ $(ls /proc/{pid}/task | wc -l) = 1 ]; }}"
        );
        hub.sh(&format!(
            "kill -9 {pid}; for i in $(seq 100); do {{ {ended}; }} && break; sleep 0.05; done"
        ))
        .ok();
        hub.fielato(&format!("up --wireguard userspace --engine {second}")).ok();
        assert_eq!(hub.fielato("status --json").json()["engine"], second);
        let rules = hub.sh("nft list ruleset").ok();
        assert_eq!(
            rules.contains("fielato"),
            second == "kernel",
            "{first}, then {second}: {rules}"
        );
        hub.fielato("down").ok();
        assert_eq!(seen(&hub), before, "{first}, then {second}");
        assert!(!fs::exists(hub.root().join("var/lib/fielato/undo.json")).unwrap());
    }
}
