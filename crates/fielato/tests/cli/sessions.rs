//! A reload changes only what changed: sessions and connections of others go on.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{Client, Machine, Pair, Running, Talk, can_run, eventually, overlay};

/// A ping every 20 ms that counts what it lost when it is told to stop.
fn pinging(machine: &Machine, address: &str) -> Running {
    let mut ping: Command = machine.command("ping");
    ping.args(["-q", "-i", "0.02", address]).stdout(Stdio::piped());
    machine.spawn(ping)
}

/// How many were sent and how many came back.
fn end_of(mut ping: Running) -> (u32, u32) {
    ping.signal(rustix::process::Signal::INT);
    let mut told = String::new();
    ping.0.stdout.take().unwrap().read_to_string(&mut told).unwrap();
    ping.end();
    // "150 packets transmitted, 150 received, 0% packet loss, time 3001ms"
    let line = told.lines().find(|line| line.contains("transmitted")).unwrap();
    let mut counts = line
        .split(", ")
        .map(|part| part.split(' ').next().unwrap().parse().unwrap_or_default());
    (counts.next().unwrap(), counts.next().unwrap())
}

#[test]
fn a_session_outlives_the_adding_of_others() {
    if !can_run("sessions::a_session_outlives_the_adding_of_others") {
        return;
    }
    let Pair { hub, outside } = Pair::up();
    allow(&hub);
    hub.fielato("member add alice").ok();
    hub.fielato("reload").ok();
    let overlay = overlay(&hub);
    let client = Client::start(&hub, &outside, "alice");
    for address in &overlay {
        eventually("the tunnel carries", || client.ping(address));
    }
    let handshake = client.latest_handshake();
    let peer = || hub.fielato("status --json").json()["members"][0].clone();
    let before = peer();
    assert_eq!(before["name"], "alice");

    let pings: Vec<Running> = overlay.iter().map(|address| pinging(&outside, address)).collect();
    for name in ["bob", "carol", "dave"] {
        hub.fielato(&format!("member add {name}")).ok();
        let changes = hub.fielato("reload --json").json();
        assert_eq!(changes["changes"]["peers_set"], 1, "{changes}");
        assert_eq!(changes["changes"]["peers_removed"], 0, "{changes}");
        std::thread::sleep(Duration::from_millis(100));
    }
    hub.fielato("member remove bob").ok();
    assert_eq!(hub.fielato("reload --json").json()["changes"]["peers_removed"], 1);
    for ping in pings {
        let (sent, received) = end_of(ping);
        // The last one may be under way when it is told to end.
        assert!(sent > 10 && received + 1 >= sent, "{received} of {sent}");
    }
    assert_eq!(client.latest_handshake(), handshake);
    let after = peer();
    // To the second, as `wg` has it: beyond that the clocks' difference is told too.
    let second = |peer: &serde_json::Value| peer["latest_handshake"].as_str().unwrap()[..19].to_owned();
    assert_eq!(second(&after), second(&before));
    assert_eq!(after["endpoint"], before["endpoint"]);
    assert!(
        after["rx_bytes"].as_u64() > before["rx_bytes"].as_u64(),
        "counters go on: {before} {after}"
    );

    // Who is disabled is out at once, and back with the same file.
    hub.fielato("member disable alice").ok();
    hub.fielato("reload").ok();
    assert!(!client.ping(&overlay[0]));
    hub.fielato("member enable alice").ok();
    hub.fielato("reload").ok();
    eventually("she is back", || client.ping(&overlay[0]));
}

#[test]
fn a_connection_outlives_a_change_of_the_rules() {
    if !can_run("sessions::a_connection_outlives_a_change_of_the_rules") {
        return;
    }
    let Pair { hub, outside } = Pair::up();
    hub.fielato("member add alice --group staff").ok();
    hub.write_config(&(hub.config() + "\n[[rule]]\nfrom = \"staff\"\nto = \"hub\"\naction = \"accept\"\n"));
    hub.fielato("reload").ok();
    let client = Client::start(&hub, &outside, "alice");
    let server = overlay(&hub)[0].clone();
    eventually("the tunnel carries", || client.ping(&server));

    let mut listen = hub.command("nc");
    listen.args(["-l", "-n", "-s", &server, "-p", "4321"]).stdout(Stdio::piped());
    let mut listener = hub.spawn(listen);
    let mut command = outside.command("nc");
    command.args(["-n", &server, "4321"]);
    eventually("the server listens", || hub.sh("ss -Hltn sport = 4321").ok().contains("4321"));
    let mut sender = Running(command.stdin(Stdio::piped()).spawn().unwrap());
    let mut input = sender.0.stdin.take().unwrap();
    let mut output = listener.0.stdout.take().unwrap();
    let mut carry = |text: &[u8; 8]| {
        input.write_all(text).unwrap();
        let mut seen = [0; 8];
        output.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, text);
    };
    carry(b"before..");

    // Another service, another rule: the whole rule set is replaced.
    let more = "\n[host.archive]\naddress = \"10.9.0.2\"\nstrategy = \"source\"\n\n[service.files]\nhost = \"archive\"\nports = [\"tcp/443\"]\n\
                \n[[rule]]\nfrom = \"members\"\nto = \"files\"\naction = \"accept\"\n";
    hub.write_config(&(hub.config() + more));
    let changes = hub.fielato("reload --json").json();
    assert_eq!(changes["changes"]["rules"], "whole", "{changes}");
    carry(b"after...");
    // And a member added to a group is an element of a set.
    hub.fielato("member add bob --group staff").ok();
    let changes = hub.fielato("reload --json").json();
    assert_eq!(changes["changes"]["rules"], "elements", "{changes}");
    carry(b"again...");
    assert!(client.ping(&server));
}

#[test]
fn a_connection_that_is_forbidden_now_ends_and_others_go_on() {
    if !can_run("sessions::a_connection_that_is_forbidden_now_ends_and_others_go_on") {
        return;
    }
    for engine in ["kernel", "userspace"] {
        let Pair { hub, outside } = Pair::new();
        hub.fielato("member add alice").ok();
        let rule = |to: &str, action: &str| format!("\n[[rule]]\nfrom = \"alice\"\nto = \"{to}\"\naction = \"{action}\"\n");
        let before = hub.config();
        hub.write_config(&(before.clone() + &rule("hub", "accept")));
        hub.fielato(&format!("up --engine {engine} --wireguard userspace")).ok();
        let [server4, server6] = &overlay(&hub)[..] else {
            panic!("two addresses")
        };
        let client = Client::start(&hub, &outside, "alice");
        eventually("the tunnel carries", || client.ping(server4) && client.ping(server6));

        let mut over4 = Talk::begin(&hub, &outside, server4, "4321");
        let mut over6 = Talk::begin(&hub, &outside, server6, "4321");
        assert!(over4.carries() && over6.carries(), "{engine}");
        hub.write_config(&(before + &rule(server4, "reject") + &rule("hub", "accept")));
        let changes = hub.fielato("reload --json").json();
        assert_eq!(changes["changes"]["rules"], "whole", "{engine}: {changes}");
        assert!(over6.carries(), "{engine}: it is still allowed");
        assert!(!over4.carries(), "{engine}: what is forbidden now went on");
        assert!(
            changes["changes"]["connections_cut"].as_u64() >= Some(1),
            "{engine}: {changes}"
        );
        hub.fielato("down").ok();
    }
}

fn allow(hub: &Machine) {
    hub.write_config(&(hub.config() + "\n[[rule]]\nfrom = \"members\"\nto = \"hub\"\naction = \"accept\"\n"));
}
