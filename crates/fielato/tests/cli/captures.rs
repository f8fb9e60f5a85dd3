//! Real packets of a hub that is up, in capture files and traces.
//!
//! ```text
//!   hub: eth0 10.9.0.1  ───  outside: eth0 10.9.0.2, with alice's device
//! ```

use std::fs;
use std::io::Read as _;
use std::process::Stdio;

use fielato_wire::pcapng::{Block, Direction, Interface, LinkType, Packet, Statistics, blocks};

use crate::common::{Client, Hub, Machine, Pair, Running, can_run, eventually, overlay};

/// Alice may reach the hub itself and a service outside; nothing else.
const RULES: &str = r#"
[host.archive]
address = ["10.9.0.2", "fd09::2"]
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

/// A hub with alice, who has a session.
fn with_alice() -> (Hub, Machine) {
    let Pair { hub, outside } = Pair::up();
    hub.fielato("member add alice").ok();
    hub.write_config(&(hub.config() + RULES));
    hub.fielato("reload").ok();
    (hub, outside)
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
    let (hub, outside) = with_alice();
    let client = Client::start(&hub, &outside, "alice");
    let addresses = overlay(&hub);
    for address in &addresses {
        eventually("the tunnel carries", || client.ping(address));
    }
    let both = capture(&hub, &["--snaplen", "120"], "both.pcapng");
    let one = capture(&hub, &["--clear", "icmp6 and member alice", "-c", "1"], "one.pcapng");
    for address in &addresses {
        assert!(client.ping(address));
    }
    let told = end(both);
    assert!(told.contains("packets captured"), "{told}");
    let mut one = one;
    assert!(said(&mut one).contains("1 packet captured"), "it ended by itself");

    let captured = Captured::read(&hub, "both.pcapng");
    let names: Vec<_> = captured.interfaces.iter().map(|one| (one.name.as_str(), one.link)).collect();
    let clear = format!("{} (clear)", hub.interface);
    assert_eq!(
        names,
        [(clear.as_str(), LinkType::Raw), ("eth0 (cipher)", LinkType::Ethernet)]
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
    assert_eq!(Captured::read(&hub, "one.pcapng").packets.len(), 1);

    // Readers of others agree. tcpdump reads files of one link type only, so it is given one side.
    let cipher = capture(&hub, &["--cipher", "member alice"], "cipher.pcapng");
    assert!(client.ping(&addresses[0]));
    end(cipher);
    let count = Captured::read(&hub, "cipher.pcapng").packets.len();
    let read = hub.sh(&format!("tcpdump -n -r {}/cipher.pcapng", hub.root().display())).ok();
    assert!(count >= 2 && read.lines().count() == count, "{count}: {read}");
    assert!(read.contains("10.9.0.1.51820"), "{read}");
    let clear = hub.sh(&format!("tcpdump -n -r {}/one.pcapng", hub.root().display())).ok();
    assert!(clear.contains("ICMP6, echo request"), "{clear}");
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
