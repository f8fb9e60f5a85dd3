//! Policies that are applied, confirmed or not, and taken back; grants; what is remembered of all that.

use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{Client, Hub, Pair, Talk, can_run, eventually, overlay};

fn rule(from: &str, to: &str, action: &str) -> String {
    format!("\n[[rule]]\nfrom = \"{from}\"\nto = \"{to}\"\naction = \"{action}\"\n")
}

/// A hub that alice may reach, up with this engine; the configuration without rules.
fn hub_for_alice(engine: &str) -> (Pair, String) {
    let pair = Pair::new();
    pair.hub.fielato("member add alice").ok();
    let bare = pair.hub.config();
    pair.hub.write_config(&(bare.clone() + &rule("alice", "hub", "accept")));
    pair.hub.fielato(&format!("up --engine {engine} --wireguard userspace")).ok();
    (pair, bare)
}

fn revision(hub: &Hub) -> u64 {
    hub.fielato("status --json").json()["revision"].as_u64().unwrap()
}

/// Number, state, origin of the last revisions, the newest first.
fn log(hub: &Hub) -> Vec<(u64, String)> {
    let log = hub.fielato("log --json").json();
    let revisions = log["revisions"].as_array().unwrap().iter();
    revisions
        .map(|one| (one["number"].as_u64().unwrap(), one["state"].to_string()))
        .collect()
}

#[test]
fn what_is_not_confirmed_comes_back_by_itself_and_the_session_survives() {
    if !can_run("applied::what_is_not_confirmed_comes_back_by_itself_and_the_session_survives") {
        return;
    }
    for engine in ["kernel", "userspace"] {
        let (Pair { hub, outside }, bare) = hub_for_alice(engine);
        let client = Client::start(&hub, &outside, "alice");
        let server = overlay(&hub)[0].clone();
        eventually("the tunnel carries", || client.ping(&server));
        let mut session = Talk::begin(&hub, &outside, &server, "2222");
        assert!(session.carries(), "{engine}");

        // The administrator cuts the branch that he sits on.
        hub.write_config(&(bare + &rule("alice", "hub", "drop")));
        let applied = hub.fielato("apply --confirm 4s --json").json();
        assert_eq!(applied["applied"]["revision"], 2, "{engine}: {applied}");
        assert!(!client.ping(&server), "{engine}: it is in force at once");
        assert_eq!(revision(&hub), 2, "{engine}");
        let told = hub.fielato("reload").fails(1);
        assert!(told.contains("fielato confirm"), "{engine}: {told}");

        eventually("the policy before is back", || revision(&hub) == 1);
        eventually("the session goes on", || session.carries());
        assert!(client.ping(&server), "{engine}");
        let told = hub.fielato("confirm").fails(1);
        assert!(told.contains("no policy waits"), "{engine}: {told}");
        let [(2, undone), (1, stands)] = &log(&hub)[..] else {
            panic!("{engine}: {:?}", log(&hub))
        };
        assert!(
            undone.contains("not confirmed in time") && stands.contains("confirmed"),
            "{engine}: {undone} {stands}"
        );
        let audit = std::fs::read_to_string(hub.root().join("var/lib/fielato/audit.jsonl")).unwrap();
        assert!(
            audit.contains("apply --confirm 4s") && audit.contains("not confirmed in time"),
            "{engine}: {audit}"
        );
    }
}

#[test]
fn what_is_confirmed_stays_and_can_be_gone_back_from() {
    if !can_run("applied::what_is_confirmed_stays_and_can_be_gone_back_from") {
        return;
    }
    let (Pair { hub, outside: _outside }, bare) = hub_for_alice("kernel");
    let first = hub.config();
    let second = bare + &rule("alice", "any", "reject");
    hub.write_config(&second);
    hub.quietly("apply --confirm=2s -m because").ok();
    assert!(hub.fielato("status").ok().contains("unless confirmed"));
    assert!(hub.fielato("confirm").ok().contains("revision 2 stays"));
    sleep(Duration::from_secs(3));
    assert_eq!(revision(&hub), 2);
    assert!(hub.fielato("apply").ok().contains("was in force already"));

    let shown = hub.fielato("show").ok();
    assert!(
        shown.contains("because") && shown.contains("-to = \"hub\"") && shown.contains("+to = \"any\""),
        "{shown}"
    );
    assert_eq!(hub.fielato("show 1 --text").ok(), first);
    let told = hub.fielato("show 7").fails(1);
    assert!(told.contains("1 to 2 are kept"), "{told}");

    hub.write_config(&(second.clone() + "# not applied\n"));
    let told = hub.fielato("rollback").ok();
    assert!(told.contains("revision 3 is in force"), "{told}");
    assert_eq!(hub.config(), first);
    let beside = hub.root().join("etc/fielato/fielato.toml.before-rollback");
    assert!(
        std::fs::read_to_string(beside).unwrap().contains("# not applied"),
        "nothing is lost"
    );
    hub.fielato("rollback 2").ok();
    assert_eq!(hub.config(), second);
    let told = hub.fielato("log").ok();
    assert!(told.contains("rollback 2") && told.contains("because"), "{told}");

    // What waits can be taken back at once, too.
    hub.write_config(&first);
    hub.fielato("apply --confirm 1h").ok();
    assert!(
        hub.fielato("rollback")
            .ok()
            .contains("revision 5 is taken back; revision 4 is in force")
    );
    assert_eq!(revision(&hub), 4);
    // A bad file changes nothing.
    hub.write_config("[hub\n");
    hub.fielato("apply").fails(2);
    assert_eq!(revision(&hub), 4);
    // And a hub that is started anew comes up with what was applied. Meanwhile the past can be asked for all the same.
    hub.fielato("down").ok();
    let told = hub.fielato("log");
    assert_eq!(told.err, "fielato: no daemon runs; this is what the last one has stored\n");
    assert!(
        told.out.contains("the last in force") && told.out.contains("rollback 2"),
        "{}",
        told.out
    );
    assert_eq!(hub.fielato("show --json").json()["revision"]["number"], 4);
    assert_eq!(hub.fielato("show 1 --text").ok(), first);
    assert!(hub.fielato("grants").ok().contains("no grants"));
    hub.fielato("status").fails(4);
    let told = hub.fielato("up --wireguard userspace").fails(2);
    assert!(told.contains("--applied") && told.contains("revision 4"), "{told}");
    hub.fielato("up --applied --wireguard userspace").ok();
    assert_eq!(revision(&hub), 4);
}

#[test]
fn what_fails_its_tests_or_locks_its_author_out_is_refused() {
    if !can_run("applied::what_fails_its_tests_or_locks_its_author_out_is_refused") {
        return;
    }
    let (Pair { hub, outside: _outside }, bare) = hub_for_alice("kernel");
    let good = hub.config();
    assert_eq!(hub.fielato("plan").code, 0, "nothing would change");

    // A test that the policy passes, then one that it does not.
    let test = |expect: &str| format!("\n[[test]]\nfrom = \"alice\"\nto = \"hub\"\nexpect = \"{expect}\"\n");
    hub.write_config(&(good.clone() + &test("drop")));
    let told = hub.fielato("apply").fails(1);
    assert!(told.contains("tests fail") && told.contains("alice to hub"), "{told}");
    assert_eq!(revision(&hub), 1);
    hub.write_config(&(good.clone() + &test("accept")));
    hub.fielato("apply").ok();
    assert_eq!(revision(&hub), 2);

    // Over the tunnel, as alice; the new policy no longer lets her in.
    let server = overlay(&hub)[0].clone();
    let status = hub.fielato("status --json").json();
    let alice = status["members"][0]["addresses"][0]
        .as_str()
        .unwrap()
        .split('/')
        .next()
        .unwrap()
        .to_owned();
    hub.write_config(&(bare + &rule("alice", "hub", "reject")));
    assert_eq!(hub.fielato("plan").code, 3, "something would change");
    let over_ssh = |arguments: &str| {
        let mut command = hub.command(crate::common::FIELATO);
        command
            .args(arguments.split(' '))
            .env("SSH_CONNECTION", format!("{alice} 40000 {server} 22"));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, told) = over_ssh("apply");
    assert!(
        code == Some(1) && told.contains("would cut your own session") && told.contains("--force"),
        "{code:?} {told}"
    );
    assert_eq!(revision(&hub), 2);
    assert_eq!(over_ssh("apply --force --confirm 1h").0, Some(0));
    assert_eq!(revision(&hub), 3);
    hub.fielato("rollback").ok();
}

#[test]
fn a_killed_daemon_takes_nothing_unconfirmed_with_it() {
    if !can_run("applied::a_killed_daemon_takes_nothing_unconfirmed_with_it") {
        return;
    }
    let (Pair { hub, outside }, bare) = hub_for_alice("kernel");
    let client = Client::start(&hub, &outside, "alice");
    let server = overlay(&hub)[0].clone();
    eventually("the tunnel carries", || client.ping(&server));
    hub.write_config(&(bare + &rule("alice", "hub", "drop")));
    hub.fielato("apply --confirm 1h").ok();
    assert!(!client.ping(&server));
    let pid = hub.fielato("status --json").json()["pid"].as_i64().unwrap();
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
    eventually("another one runs, with the policy before", || {
        let said = hub.quietly("status --json");
        said.code == 0 && {
            let status = said.json();
            status["revision"] == 1 && status["pid"].as_i64() != Some(pid)
        }
    });
    eventually("the tunnel carries again", || client.ping(&server));
    assert!(log(&hub)[0].1.contains("before it was confirmed"), "{:?}", log(&hub));
}

#[test]
fn a_grant_opens_for_a_while_and_outlives_the_daemon() {
    if !can_run("applied::a_grant_opens_for_a_while_and_outlives_the_daemon") {
        return;
    }
    for engine in ["kernel", "userspace"] {
        let Pair { hub, outside: _outside } = Pair::new();
        hub.fielato("member add alice").ok();
        let server = "10.9.0.2";
        hub.write_config(
            &(hub.config()
                + &format!("\n[host.far]\naddress = \"{server}\"\nstrategy = \"source\"\n\n[service.web]\nhost = \"far\"\nports = [\"tcp/8080\"]\n")),
        );
        hub.fielato(&format!("up --engine {engine} --wireguard userspace")).ok();
        let may = |hub: &Hub| hub.quietly("trace --from alice --to web").code == 0;
        let rules = || hub.sh("nft list table inet fielato").out;
        assert!(!may(&hub), "{engine}");
        let told = hub.fielato("grant nobody web --for 1h").fails(1);
        assert!(told.contains("no member nobody"), "{told}");
        hub.fielato("grant alice web --for 1h").ok();
        assert!(may(&hub), "{engine}");
        let grants = hub.fielato("grants --json").json();
        assert_eq!(grants["grants"][0]["member"], "alice", "{grants}");
        if engine == "kernel" {
            assert!(rules().contains("8080"), "{}", rules());
        }
        hub.fielato("down").ok();
        hub.fielato(&format!("up --engine {engine} --wireguard userspace")).ok();
        assert_eq!(hub.fielato("grants --json").json()["grants"][0]["service"], "web");
        assert!(may(&hub), "{engine}");
        if engine == "kernel" {
            assert!(rules().contains("8080"), "{}", rules());
        }
        hub.fielato("revoke alice web").ok();
        assert!(hub.fielato("revoke alice web").fails(1).contains("no grant"));
        hub.fielato("grant alice web --for 2s").ok();
        eventually("it ends by itself", || hub.fielato("grants").ok().contains("no grants"));
        assert!(!rules().contains("8080") && !may(&hub), "{}", rules());
    }
}

/// What alice has sent and got, bytes and packets.
fn used(hub: &Hub) -> [u64; 4] {
    let usage = hub.fielato("usage --json").json();
    let alice = usage["usage"]
        .as_array()
        .unwrap()
        .iter()
        .find(|of| of["name"] == "alice")
        .cloned();
    let number = |name: &str| alice.as_ref().map_or(0, |of| of[name].as_u64().unwrap());
    ["rx_bytes", "tx_bytes", "rx_packets", "tx_packets"].map(number)
}

/// On whatever WireGuard the machine has: the kernel's counts bytes only.
#[test]
fn usage_is_counted_and_outlives_the_daemon() {
    if !can_run("applied::usage_is_counted_and_outlives_the_daemon") {
        return;
    }
    for engine in ["kernel", "userspace"] {
        let Pair { hub, outside } = Pair::new();
        hub.fielato("member add alice").ok();
        hub.write_config(&(hub.config() + &rule("alice", "hub", "accept") + "\n[group.all]\nmembers = [\"alice\"]\n"));
        hub.fielato(&format!("up --engine {engine}")).ok();
        let client = Client::start(&hub, &outside, "alice");
        let server = overlay(&hub)[0].clone();
        eventually("the tunnel carries", || client.ping(&server));
        let before = used(&hub);
        outside.sh(&format!("ping -q -c 20 -i 0.02 -s 1000 {server}")).ok();
        let after = used(&hub);
        assert!(
            after[0] - before[0] > 20_000 && after[1] - before[1] > 20_000,
            "{engine}: {before:?} {after:?}"
        );
        assert_eq!(
            (after[2] - before[2], after[3] - before[3]),
            (20, 20),
            "{engine}: an echo, an answer"
        );
        let status = hub.fielato("status --json").json();
        assert_eq!(
            Some(used(&hub)[0]),
            status["members"][0]["rx_bytes"].as_u64(),
            "{engine}: as the device counts"
        );
        // Taken down in the middle of it: what was answered was counted.
        let mut pings = outside.command("ping");
        pings
            .args(["-q", "-c", "1000", "-i", "0.002", "-w", "4", &server])
            .stdout(Stdio::piped());
        let pings = pings.spawn().unwrap();
        sleep(Duration::from_millis(500));
        hub.fielato("down").ok();
        let told = String::from_utf8(pings.wait_with_output().unwrap().stdout).unwrap();
        let words: Vec<&str> = told.split_whitespace().collect();
        let number = |what: &str| -> u64 {
            let at = words.iter().position(|word| word.trim_end_matches(',') == what).unwrap();
            words[..at].iter().rev().find_map(|word| word.parse().ok()).unwrap()
        };
        let (asked, answered) = (number("transmitted"), number("received"));
        assert!((50..asked).contains(&answered), "{engine}: {told}");
        let stored = used(&hub);
        assert!(stored[2] >= after[2] + answered, "{engine}: {stored:?}, as stored");
        let err = hub.fielato("usage --by group --csv").err;
        assert!(err.contains("no daemon runs"), "{engine}: {err}");
        hub.fielato(&format!("up --engine {engine}")).ok();
        let again = used(&hub);
        let grown = [again[2] - after[2], again[3] - after[3]];
        assert!(
            grown.iter().all(|counted| (answered..=asked).contains(counted)),
            "{engine}: {grown:?} {told}"
        );
        assert!(again[0] > after[0] && again[1] > after[1], "{engine}: {again:?}");
        eventually("the tunnel carries again", || client.ping(&server));
        let before = used(&hub);
        outside.sh(&format!("ping -q -c 5 -i 0.02 {server}")).ok();
        // The kernel's device goes on when the daemon is killed, and so does what counts packets; of our own only what
        // was written survives.
        let status = hub.fielato("status --json").json();
        let own = status["wireguard"] == "userspace";
        let kernel_has_it = hub.sh("ip link add other type wireguard && ip link del other").code == 0;
        assert_eq!(own, !kernel_has_it || engine == "userspace");
        if own {
            sleep(Duration::from_secs(4));
        }
        let daemon = Pid::from_raw(i32::try_from(status["pid"].as_i64().unwrap()).unwrap()).unwrap();
        kill_process(daemon, Signal::KILL).unwrap();
        eventually("the daemon is gone", || hub.quietly("status").code != 0);
        if !own {
            outside.sh(&format!("ping -q -c 5 -i 0.02 {server}")).ok();
        }
        hub.fielato(&format!("up --engine {engine}")).ok();
        let counted = if own { 5 } else { 10 };
        let after = used(&hub);
        assert_eq!(
            (after[2] - before[2], after[3] - before[3]),
            (counted, counted),
            "{engine}: killed"
        );

        let csv = hub.fielato("usage --csv --since 1h").ok();
        let line = format!("alice,{},{},{},{}", after[0], after[1], after[2], after[3]);
        assert!(
            csv.starts_with("name,rx_bytes,tx_bytes,rx_packets,tx_packets\n") && csv.contains(&line),
            "{engine}: {csv}"
        );
        let groups = hub.fielato("usage --by group --csv").ok();
        assert!(groups.contains(&line.replace("alice", "all")), "{engine}: {groups}");
        let text = hub.fielato("usage").ok();
        let mut lines = text.lines();
        assert!(lines.next().unwrap().ends_with("packets received  packets sent"), "{text}");
        let numbers: Vec<&str> = lines.next().unwrap().split_whitespace().rev().take(2).collect();
        assert_eq!(numbers, [after[3].to_string(), after[2].to_string()], "{text}");
    }
}

#[test]
fn a_quota_that_is_used_up_blocks_within_seconds() {
    if !can_run("applied::a_quota_that_is_used_up_blocks_within_seconds") {
        return;
    }
    for engine in ["kernel", "userspace"] {
        let Pair { hub, outside } = Pair::new();
        hub.fielato("member add alice").ok();
        let plain = hub.config() + &rule("alice", "hub", "accept");
        let limited = plain.replace("\n[member.alice]\n", "\n[member.alice]\nquota = \"200kB/day\"\n");
        assert_ne!(plain, limited);
        hub.write_config(&limited);
        hub.fielato(&format!("up --engine {engine} --wireguard userspace")).ok();
        let client = Client::start(&hub, &outside, "alice");
        let server = overlay(&hub)[0].clone();
        eventually("the tunnel carries", || client.ping(&server));
        sleep(Duration::from_secs(3));
        assert!(client.ping(&server), "{engine}: nothing is used up yet");
        outside.sh(&format!("ping -q -c 100 -i 0.005 -s 1200 {server}")).ok();
        let used_up = std::time::Instant::now();
        eventually("it is blocked", || !client.ping(&server));
        assert!(
            used_up.elapsed() < Duration::from_secs(20),
            "{engine}: {:?}",
            used_up.elapsed()
        );
        let told = hub.quietly("trace --from alice --to hub").out;
        assert!(told.contains("quota"), "{engine}: {told}");
        // A greater one lets her in again, and the usage is what it was.
        hub.write_config(&limited.replace("200kB", "200MB"));
        hub.fielato("reload").ok();
        eventually("she is in again", || client.ping(&server));
        let usage = hub.fielato("usage --json").json();
        assert!(usage["usage"][0]["rx_bytes"].as_u64() > Some(100_000), "{engine}: {usage}");
    }
}

#[test]
fn a_damaged_store_costs_the_past_and_not_the_policy() {
    if !can_run("applied::a_damaged_store_costs_the_past_and_not_the_policy") {
        return;
    }
    let (Pair { hub, outside: _outside }, bare) = hub_for_alice("kernel");
    hub.write_config(&(bare + &rule("alice", "any", "reject")));
    hub.fielato("apply").ok();
    let applied = hub.config();
    hub.fielato("down").ok();
    let store = hub.root().join("var/lib/fielato/store.redb");
    let mut bytes = std::fs::read(&store).unwrap();
    let middle = bytes.len() / 2;
    bytes.truncate(middle);
    std::fs::write(&store, bytes).unwrap();
    hub.write_config("nothing of use");
    hub.fielato("up --applied --wireguard userspace").ok();
    let status = hub.fielato("status --json").json();
    let warnings = status["warnings"].to_string();
    assert!(warnings.contains("store.redb") && warnings.contains("moved to"), "{warnings}");
    assert!(
        hub.sh("nft list table inet fielato").ok().contains("reject"),
        "the last policy is in force"
    );
    // And it goes on from there, with a number that nobody had.
    hub.write_config(&applied);
    hub.fielato("apply").ok();
    assert!(revision(&hub) > 2, "{}", revision(&hub));
}
