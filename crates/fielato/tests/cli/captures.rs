//! Real packets of a hub that is up, in capture files and traces.
//!
//! ```text
//!   archive: eth0 10.8.0.5  ───  eth1 10.8.0.1 :hub: eth0 10.9.0.1  ───  outside: eth0 10.9.0.2, with alice's device
//! ```

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Instant;

use fielato_wire::pcapng::{Block, Direction, Interface, LinkType, Packet, Statistics, Verdict, blocks};

use crate::common::{Client, Hub, Machine, PATIENCE, Pair, Running, can_run, eventually, overlay};

/// Alice may reach the hub itself and a service outside; nothing else.
const RULES: &str = r#"
[host.archive]
address = ["10.8.0.5", "fd08::5"]
strategy = "source"

[service.files]
host = "archive"
ports = ["udp/4000"]

[[rule]]
from = "members"
to = "hub"
action = "accept"

[[rule]]
from = "alice"
to = "files"
action = "accept"
"#;

/// The machines.
struct World {
    hub: Hub,
    outside: Machine,
    archive: Machine,
}

impl World {
    /// A hub that is up on the kernel engine and knows alice.
    fn new() -> Self {
        Self::up("--wireguard userspace")
    }

    /// The same, brought up with these options.
    fn up(options: &str) -> Self {
        let Pair { hub, outside } = Pair::new();
        hub.fielato(&format!("up {options}")).ok();
        let archive = Machine::with_namespace();
        hub.sh(&format!(
            "ip link add eth1 type veth peer name eth0 netns {}",
            archive.netns()
        ))
        .ok();
        for (at, dev, host) in [(&*hub, "eth1", 1), (&archive, "eth0", 5)] {
            at.sh(&format!(
                "ip addr add 10.8.0.{host}/24 dev {dev} && ip addr add fd08::{host}/64 dev {dev} nodad && ip link set {dev} up"
            ))
            .ok();
        }
        hub.fielato("member add alice").ok();
        hub.write_config(&(hub.config() + RULES));
        hub.fielato("reload").ok();
        Self { hub, outside, archive }
    }

    /// Alice's device, with a session.
    fn alice(&self) -> Client<'_> {
        let client = Client::start(&self.hub, &self.outside, "alice");
        for address in overlay(&self.hub) {
            eventually("the tunnel carries", || client.ping(&address));
        }
        client
    }

    /// Sends a datagram of either family from alice to the archive.
    fn send(&self, port: u16) {
        for address in ["10.8.0.5", "fd08::5"] {
            self.outside.sh(&format!("bash -c 'echo x >/dev/udp/{address}/{port}'")).ok();
        }
    }
}

/// `fielato capture` with these words, which has begun.
fn capture(hub: &Hub, words: &[&str], file: &str) -> Running {
    let path = hub.root().join(file);
    let mut command = hub.command(crate::common::FIELATO);
    command.arg("capture").args(words).arg("-w").arg(&path).stderr(Stdio::piped());
    let running = hub.spawn(command);
    eventually("the capture has begun", || {
        fs::metadata(&path).is_ok_and(|file| file.len() > 0)
    });
    running
}

/// Ends it as Ctrl-C does; what it said.
fn end(mut capture: Running) -> String {
    capture.signal(rustix::process::Signal::INT);
    said(&mut capture)
}

fn said(capture: &mut Running) -> String {
    let mut said = String::new();
    capture.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(capture.end(), 0, "{said}");
    said
}

/// What a capture file holds.
struct Captured {
    interfaces: Vec<Interface>,
    packets: Vec<Packet<'static>>,
    statistics: Vec<Statistics>,
}

impl Captured {
    fn read(hub: &Hub, file: &str) -> Self {
        let bytes = fs::read(hub.root().join(file)).unwrap().leak();
        let mut captured = Self {
            interfaces: Vec::new(),
            packets: Vec::new(),
            statistics: Vec::new(),
        };
        for block in blocks(bytes) {
            match block.unwrap() {
                Block::Section { application } => assert!(application.starts_with("fielato "), "{application}"),
                Block::Interface(interface) => captured.interfaces.push(interface),
                Block::Packet(packet) => captured.packets.push(packet),
                Block::Statistics(statistics) => captured.statistics.push(statistics),
                Block::Other(kind) => panic!("a block of type {kind}"),
            }
        }
        captured
    }

    /// Packets of an interface in a direction.
    fn count(&self, interface: u32, direction: Direction) -> usize {
        let one = |packet: &&Packet<'_>| packet.interface == interface && packet.direction == Some(direction);
        self.packets.iter().filter(one).count()
    }
}

#[test]
fn both_sides_stand_in_one_file_that_others_read() {
    if !can_run("captures::both_sides_stand_in_one_file_that_others_read") {
        return;
    }
    if !fielato_testkit::need("captures::both_sides_stand_in_one_file_that_others_read", "tcpdump") {
        return;
    }
    let world = World::new();
    let (hub, client) = (&world.hub, world.alice());
    let addresses = overlay(hub);
    let both = capture(hub, &["--snaplen", "120"], "both.pcapng");
    let one = capture(hub, &["--clear", "icmp6 and member alice", "-c", "1"], "one.pcapng");
    for address in &addresses {
        assert!(client.ping(address));
    }
    let told = end(both);
    assert!(told.contains("packets captured"), "{told}");
    let mut one = one;
    assert!(said(&mut one).contains("1 packet captured"), "it ended by itself");

    let captured = Captured::read(hub, "both.pcapng");
    let names: Vec<_> = captured.interfaces.iter().map(|one| (one.name.as_str(), one.link)).collect();
    let clear = format!("{} (clear)", hub.interface);
    assert_eq!(
        names,
        [(clear.as_str(), LinkType::Ethernet), ("eth0 (cipher)", LinkType::Ethernet)]
    );
    // A ping of either family, each with its answer, on both sides.
    for interface in [0, 1] {
        for direction in [Direction::Inbound, Direction::Outbound] {
            assert!(captured.count(interface, direction) >= 2, "{interface} {direction:?}");
        }
    }
    assert!(captured.packets.is_sorted_by_key(|packet| packet.at));
    for packet in &captured.packets {
        assert_eq!(packet.bytes.len(), packet.original_len.min(120) as usize);
    }
    let delivered: u64 = captured.statistics.iter().map(|one| one.delivered).sum();
    assert_eq!(delivered as usize, captured.packets.len());
    assert_eq!(Captured::read(hub, "one.pcapng").packets.len(), 1);

    // Readers of others agree, on both sides together and on one.
    let read = hub.sh(&format!("tcpdump -n -r {}/both.pcapng", hub.root().display())).ok();
    assert_eq!(read.lines().count(), captured.packets.len(), "{read}");
    assert!(
        read.contains("ICMP6, echo request") && read.contains("10.9.0.1.51820"),
        "{read}"
    );
    let cipher = capture(hub, &["--cipher", "member alice"], "cipher.pcapng");
    assert!(client.ping(&addresses[0]));
    end(cipher);
    let count = Captured::read(hub, "cipher.pcapng").packets.len();
    let read = hub.sh(&format!("tcpdump -n -r {}/cipher.pcapng", hub.root().display())).ok();
    assert!(count >= 2 && read.lines().count() == count, "{count}: {read}");
    assert!(read.contains("10.9.0.1.51820"), "{read}");
    let clear = hub.sh(&format!("tcpdump -n -r {}/one.pcapng", hub.root().display())).ok();
    assert!(clear.contains("ICMP6, echo request"), "{clear}");
}

/// The line of the configuration on which the `number`th rule begins.
fn line_of_rule(hub: &Hub, number: usize) -> usize {
    let config = hub.config();
    let rules = config.lines().enumerate().filter(|(_, line)| line.starts_with("[[rule]]"));
    rules.map(|(index, _)| index + 1).nth(number - 1).unwrap()
}

/// Everything that is set up in nftables.
fn tables(hub: &Hub) -> String {
    hub.sh("nft list tables").ok()
}

#[test]
fn captured_packets_say_what_became_of_them_and_which_rule_decided() {
    if !can_run("captures::captured_packets_say_what_became_of_them_and_which_rule_decided") {
        return;
    }
    let world = World::new();
    let (hub, client) = (&world.hub, world.alice());
    let overlay = overlay(hub);
    let before = tables(hub);
    let capture = capture(hub, &["--clear", "not icmp6"], "said.pcapng");
    assert_ne!(tables(hub), before);
    assert!(client.ping(&overlay[0]));
    // The service is open, the other port is not. Nobody listens: the archive's refusals come back.
    world.send(4000);
    world.send(4001);
    // Towards the tunnel: what nobody asked for is dropped before it comes there.
    let send = "ip route add default via 10.8.0.1; bash -c 'echo x >/dev/udp/ALICE/5000'";
    let member = hub.fielato("member show alice --json").json();
    let alice = member["member"]["addresses"][0].as_str().unwrap();
    world.archive.sh(&send.replace("ALICE", alice)).ok();
    let told = end(capture);
    assert_eq!(tables(hub), before, "nothing of ours is left");

    let captured = Captured::read(hub, "said.pcapng");
    assert!(told.starts_with("8 packets captured"), "{told}");
    let (hub_rule, service_rule) = (line_of_rule(hub, 1), line_of_rule(hub, 2));
    let interface = &hub.interface;
    let said: Vec<_> = captured
        .packets
        .iter()
        .map(|packet| {
            let comment = packet.comments.first().map_or("", String::as_str);
            // Ports of senders are the kernel's to choose.
            let comment = comment.split(" as ").next().unwrap().to_owned();
            (packet.direction.unwrap(), packet.verdict.unwrap(), comment)
        })
        .collect();
    use Direction::{Inbound, Outbound};
    use Verdict::{Dropped, Passed};
    let wanted = [
        // The ping to the hub and its answer.
        (
            Inbound,
            Passed,
            format!("passed: rule 1, line {hub_rule} of the configuration (inet fielato input)"),
        ),
        (
            Outbound,
            Passed,
            format!("passed: no rule of ours is asked about what this machine sends; left by {interface}"),
        ),
        // The service, and the refusal over IPv4 (that over IPv6 is icmp6).
        (
            Inbound,
            Passed,
            format!("passed: rule 2, line {service_rule} of the configuration (inet fielato forward); left by eth1"),
        ),
        (
            Outbound,
            Passed,
            format!("passed: ct state established,related accept (inet fielato forward); left by {interface}"),
        ),
        (
            Inbound,
            Passed,
            format!("passed: rule 2, line {service_rule} of the configuration (inet fielato forward); left by eth1"),
        ),
        (Inbound, Dropped, "dropped: no rule (inet fielato forward)".to_owned()),
        (Inbound, Dropped, "dropped: no rule (inet fielato forward)".to_owned()),
        (
            Outbound,
            Dropped,
            "dropped: no rule (inet fielato forward) (never sent; only its headers are known)".to_owned(),
        ),
    ];
    assert_eq!(said, wanted);
    let natted = captured
        .packets
        .iter()
        .filter(|packet| packet.comments[0].contains(" as 10.8.0.1:"));
    assert_eq!(natted.count(), 1, "the masquerade is told");
}

#[test]
fn wireshark_shows_names_verdicts_and_comments() {
    let test = "captures::wireshark_shows_names_verdicts_and_comments";
    if !can_run(test) || !fielato_testkit::need(test, "tshark") {
        return;
    }
    let world = World::new();
    let (hub, client) = (&world.hub, world.alice());
    let both = capture(hub, &["--both"], "both.pcapng");
    world.send(4001);
    // Behind the datagrams.
    for address in overlay(hub) {
        assert!(client.ping(&address));
    }
    end(both);
    let fields = "-e frame.interface_name -e frame.comment -e frame.verdict.ebpf_tc -e udp.dstport";
    let file = hub.root().join("both.pcapng");
    let read = hub
        .sh(&format!("tshark -n -r {} -T fields -E separator=, {fields}", file.display()))
        .ok();
    let dropped = format!("{} (clear),dropped: no rule (inet fielato forward),2,4001", hub.interface);
    assert_eq!(read.lines().filter(|line| *line == dropped).count(), 2, "{read}");
    assert!(read.lines().any(|line| line == "eth0 (cipher),,,51820"), "{read}");
}

#[test]
fn a_flood_is_captured_and_explained_within_the_limits() {
    if !can_run("captures::a_flood_is_captured_and_explained_within_the_limits") {
        return;
    }
    let world = World::new();
    let (hub, _client) = (&world.hub, world.alice());
    let capture = capture(
        hub,
        &["--clear", "dst port 4001", "--explained", "20", "--snaplen", "64"],
        "flood.pcapng",
    );
    let begin = Instant::now();
    let flood = "bash -c 'for i in $(seq 500); do echo x >/dev/udp/10.8.0.5/4001; done'";
    world.outside.sh(flood).ok();
    let told = end(capture);
    let seconds = begin.elapsed().as_secs_f64();
    let captured = Captured::read(hub, "flood.pcapng");
    // The tunnel may lose some of so many at once.
    let count = captured.packets.len();
    assert!((200..=500).contains(&count), "{told}");
    let explained = captured.packets.iter().filter(|packet| !packet.comments.is_empty()).count() as f64;
    // A second's worth at once, and then as much every second.
    assert!(
        (1.0..=20.0 + 20.0 * (seconds + 1.0)).contains(&explained),
        "{explained} in {seconds} s"
    );
    assert!(explained < count as f64, "{explained} of {count}: the limit was not reached");
    assert!(told.contains(&format!("{explained} of {count}")), "{told}");
}

#[test]
fn live_traces_show_stations_and_leave_nothing() {
    if !can_run("captures::live_traces_show_stations_and_leave_nothing") {
        return;
    }
    let world = World::new();
    let (hub, _client) = (&world.hub, world.alice());
    let before = tables(hub);

    let mut json = trace(hub, &["src member alice and port 4000-4001", "-c", "4", "--json"]);
    world.send(4000);
    world.send(4001);
    let packets: Vec<serde_json::Value> = lines(&mut json)
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(json.end(), 0);
    let verdicts: Vec<_> = packets.iter().map(|packet| packet["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["passed", "passed", "dropped", "dropped"]);
    for packet in &packets {
        assert_eq!(
            (&packet["version"], &packet["interface"]),
            (&1.into(), &hub.interface.as_str().into())
        );
        let station = packet["stations"]
            .as_array()
            .unwrap()
            .iter()
            .find(|station| station["place"] == "inet fielato forward");
        let station = station.unwrap_or_else(|| panic!("{packet}"));
        match packet["verdict"].as_str() {
            Some("passed") => {
                assert_eq!(station["verdict"], "accept");
                assert_eq!(station["lines"], serde_json::json!([line_of_rule(hub, 2)]));
                assert!(station["rule"].as_str().unwrap().contains("udp dport 4000"), "{station}");
                assert_eq!(packet["left"]["interface"], "eth1");
                assert_eq!(
                    packet["left"]["packet"]["source"]
                        .as_str()
                        .map(|source| source.ends_with(".1") || source.ends_with("::1")),
                    Some(true)
                );
            }
            _ => assert_eq!(
                (&station["verdict"], &packet["left"]),
                (&"drop".into(), &serde_json::Value::Null)
            ),
        }
    }

    // Text, and a client that is killed.
    let mut text = trace(hub, &["member", "alice", "and", "udp"]);
    world.send(4001);
    let mut out = BufReader::new(text.0.stdout.take().unwrap());
    let mut seen = String::new();
    while !seen.contains("dropped: no rule (inet fielato forward)") {
        assert!(out.read_line(&mut seen).unwrap() > 0, "{seen}");
    }
    assert!(seen.contains(&format!("in by {}", hub.interface)), "{seen}");
    assert_ne!(tables(hub), before);
    text.0.kill().unwrap();
    text.0.wait().unwrap();
    eventually("the kernel has removed its table", || tables(hub) == before);
}

#[test]
fn the_user_space_engine_shows_its_packets() {
    if !can_run("captures::the_user_space_engine_shows_its_packets") {
        return;
    }
    let world = World::up("--engine userspace");
    let (hub, client) = (&world.hub, world.alice());
    let overlay = overlay(hub);
    let both = capture(hub, &["--both"], "both.pcapng");
    let mut json = trace(hub, &["src member alice and port 4000-4001", "-c", "4", "--json"]);
    assert!(client.ping(&overlay[0]));
    world.send(4000);
    world.send(4001);
    let packets: Vec<serde_json::Value> = lines(&mut json)
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(json.end(), 0);
    let told = end(both);

    let verdicts: Vec<_> = packets.iter().map(|packet| packet["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["passed", "passed", "dropped", "dropped"]);
    for packet in &packets {
        let station = packet["stations"]
            .as_array()
            .unwrap()
            .iter()
            .find(|station| station["place"] == "filter FORWARD");
        let station = station.unwrap_or_else(|| panic!("{packet}"));
        match packet["verdict"].as_str() {
            Some("passed") => {
                assert_eq!(station["lines"], serde_json::json!([line_of_rule(hub, 2)]));
                assert_eq!(packet["left"]["interface"], "eth0");
            }
            _ => assert_eq!((&station["verdict"], &station["rule"]), (&"drop".into(), &"no rule".into())),
        }
    }

    let captured = Captured::read(hub, "both.pcapng");
    let names: Vec<_> = captured.interfaces.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(
        names,
        [format!("{} (clear)", hub.interface).as_str(), "eth0 (cipher)"],
        "{told}"
    );
    let said = |direction, wanted: &str| {
        let one =
            |packet: &&Packet<'_>| packet.interface == 0 && packet.direction == Some(direction) && packet.comments == [wanted];
        captured.packets.iter().filter(one).count()
    };
    let (hub_rule, service_rule) = (line_of_rule(hub, 1), line_of_rule(hub, 2));
    use Direction::{Inbound, Outbound};
    for (direction, wanted, count) in [
        (
            Inbound,
            format!("passed: rule 1, line {hub_rule} of the configuration (filter INPUT)"),
            1,
        ),
        (
            Outbound,
            format!(
                "passed: no rule of ours is asked about what this machine sends; left by {}",
                hub.interface
            ),
            1,
        ),
        (
            Inbound,
            format!("passed: rule 2, line {service_rule} of the configuration (filter FORWARD); left by eth0"),
            2,
        ),
        (Inbound, "dropped: no rule (filter FORWARD)".to_owned(), 2),
    ] {
        assert_eq!(said(direction, &wanted), count, "{wanted}");
    }
    // Every packet that came in was decrypted from one that is in the file, too.
    assert!(captured.count(1, Inbound) >= captured.count(0, Inbound));
    assert!(captured.count(1, Outbound) >= 1);
    let read = hub.sh(&format!("tcpdump -n -r {}/both.pcapng", hub.root().display()));
    assert_eq!(read.code, 0, "{}", read.err);
    assert_eq!(read.out.lines().count(), captured.packets.len());
}

#[test]
fn who_looks_at_packets_holds_nobody_up() {
    if !can_run("captures::who_looks_at_packets_holds_nobody_up") {
        return;
    }
    let world = World::up("--engine userspace");
    let (hub, client) = (&world.hub, world.alice());
    // Four that never read what they are sent, as many as may be.
    let watch = r#"{"do":"watch","clear":true,"cipher":true,"filter":"","snaplen":0,"explained":1000,"only_explained":false}"#;
    let ask = || {
        let mut socket = UnixStream::connect(hub.root().join("run/fielato/control.sock")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        writeln!(socket, "{watch}").unwrap();
        let mut line = [0; 11];
        socket.read_exact(&mut line).unwrap();
        (socket, line)
    };
    let idle: Vec<_> = (0..4).map(|_| ask()).collect();
    assert!(idle.iter().all(|(_, line)| line == b"\"watching\"\n"));
    let told = hub.fielato("capture -w /dev/null").fails(1);
    assert!(told.contains("end one of them"), "{told}");

    // Much more than the sockets hold; the tunnel and the daemon go on.
    let flood = "bash -c 'for i in $(seq 300); do head -c 1200 /dev/zero >/dev/udp/10.8.0.5/4001; done'";
    for _ in 0..3 {
        world.outside.sh(flood).ok();
        hub.fielato("status").ok();
    }
    assert!(client.ping(&overlay(hub)[0]));
    // Who goes makes room, and so does who is too slow.
    eventually("there is room", || hub.fielato("capture --for 1s -w /dev/null").code == 0);
    drop(idle);
    eventually("a trace can begin", || hub.fielato("trace --live tcp --for 1s").code == 0);
}

/// `fielato trace --live` with these words, which has begun.
fn trace(hub: &Hub, words: &[&str]) -> Running {
    let mut command = hub.command(crate::common::FIELATO);
    command.args(["trace", "--live"]).args(words);
    let mut running = hub.spawn(with_pipes(command));
    let mut said = BufReader::new(running.0.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.starts_with("tracing"), "{line}");
    running
}

fn with_pipes(mut command: Command) -> Command {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn lines(running: &mut Running) -> Vec<String> {
    BufReader::new(running.0.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .collect()
}

#[test]
fn what_the_guard_dropped_unseen_is_told() {
    if !can_run("captures::what_the_guard_dropped_unseen_is_told") {
        return;
    }
    let world = World::new();
    let (hub, client) = (&world.hub, world.alice());
    let member = hub.fielato("member show alice --json").json();
    let alice = member["member"]["addresses"][0].as_str().unwrap().to_owned();
    hub.fielato(&format!("ban {alice}")).ok();
    let capture = capture(hub, &["--clear", "ip"], "banned.pcapng");
    assert!(!client.ping(&overlay(hub)[0]));
    let told = end(capture);
    assert!(
        told.contains("0 packets captured\nbeside these the guard dropped 1 packets"),
        "{told}"
    );
}

#[test]
fn what_cannot_be_captured_is_said() {
    if !can_run("captures::what_cannot_be_captured_is_said") {
        return;
    }
    let Pair { hub, outside: _outside } = Pair::new();
    let told = hub.fielato("capture -w /dev/null").fails(4);
    assert!(told.contains("fielato up"), "{told}");
    hub.fielato("up --wireguard userspace").ok();
    let told = hub.fielato("capture -w /dev/null host 10.9.0.1 and").fails(2);
    assert!(told.contains("at its end (character 18)"), "{told}");
    let told = hub.fielato("capture -w /dev/null member bob").fails(2);
    assert!(told.contains("\"bob\""), "{told}");
    hub.fielato("capture -w /dev/null --clear --cipher").fails(2);
}
