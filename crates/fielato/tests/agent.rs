//! A protected host and its agent, on real rules.
//!
//! ```text
//!  hub ── wg0 ── host ── eth0 ── alien      alien    may reach nothing that is guarded
//! ```
//! Between the hub and the host stands a cable instead of a tunnel: what matters here is what the host does about its interfaces.

mod common;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use common::{FIELATO, Finished, Process, finish, kill, ready, shell, wait_until};
use fielato_control::fleet::{Fleet, Listen};
use fielato_fleet::hub::HostStatus;
use fielato_kernel::netns::NetnsGuard;
use fielato_kernel::nft;
use fielato_policy::circumstances::Circumstances;
use fielato_policy::plan::PerFamily;
use fielato_policy::{Config, HostPlan};
use fielato_testkit::unique;
use jiff::Timestamp;
use tempfile::TempDir;

/// Guarded; in the policy.
const GUARDED: u16 = 1234;
/// Not in the policy.
const OTHER: u16 = 4321;

/// A policy for `storage`, a member, that lets in those of the overlay's addresses 192.168.4.N and fd00:4::N.
fn plan(strategy: &str, friends: &[u8]) -> HostPlan {
    let mut text = format!(
        r#"
[hub]
interface = "wg0"
endpoint = "192.0.2.1:51820"
addresses = ["192.168.4.1/24", "fd00:4::1/64"]
uplink = "eth0"
source = ["10.88.0.9", "fd88::9"]

[member.storage]
addresses = ["192.168.4.10", "fd00:4::10"]
public_key = "/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v4="

[host.storage]
address = ["10.88.0.1", "fd88::1"]
strategy = "{strategy}"

[service.files]
host = "storage"
ports = ["tcp/{GUARDED}"]

[[rule]]
from = "friends"
to = "files"
action = "accept"
"#
    );
    for number in 2..9 {
        // One is always there, of whom no test speaks: a group must have somebody.
        let group = if number == 8 || friends.contains(&number) {
            "friends"
        } else {
            "others"
        };
        text += &format!(
            "[member.m{number}]\naddresses = [\"192.168.4.{number}\", \"fd00:4::{number}\"]\npublic_key = \"{}=\"\ngroups = [\"{group}\"]\n",
            char::from(b'A' + number).to_string().repeat(42) + "A"
        );
    }
    let config = Config::parse(&text).unwrap_or_else(|faults| panic!("{}", faults.display("x", &text)));
    let circumstances = Circumstances::at(Timestamp::now(), PerFamily::default());
    HostPlan::compile(&config, "storage", &circumstances).unwrap()
}

struct World {
    hub: NetnsGuard,
    host: NetnsGuard,
    alien: NetnsGuard,
    root: TempDir,
    fleet: Option<Fleet>,
    agent: Option<Process>,
}

/// Somebody else's rules on the host, as Docker or ufw have them.
const OTHERS: &str = "table ip others { chain input { type filter hook input priority 5; policy accept; udp dport 9 drop; }; }
table ip6 others { set s { type ipv6_addr; }; }";

impl World {
    fn new() -> Self {
        let space = |role: &str| NetnsGuard::create(&format!("{}-{role}", unique("agent"))).unwrap();
        let (hub, host, alien) = (space("hub"), space("host"), space("alien"));
        for machine in [&hub, &host, &alien] {
            shell(
                machine,
                "sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
                 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
                 ip link set lo up",
            );
        }
        shell(
            &hub,
            &format!("ip link add wg0 type veth peer name wg0 netns {}", host.name()),
        );
        shell(
            &alien,
            &format!("ip link add eth0 type veth peer name eth0 netns {}", host.name()),
        );
        // As a tunnel it has no neighbour discovery, which the rules would not let in.
        for end in [&hub, &host] {
            shell(end, "ip link set wg0 address 02:00:00:00:00:01 arp off");
        }
        shell(&hub, "ip link set wg0 up");
        for number in 1..9 {
            shell(
                &hub,
                &format!("ip addr add 192.168.4.{number}/24 dev wg0; ip addr add fd00:4::{number}/64 dev wg0 nodad"),
            );
        }
        shell(
            &host,
            "ip addr add 192.168.4.10/24 dev wg0; ip addr add fd00:4::10/64 dev wg0 nodad; ip link set wg0 up
             ip addr add 10.88.0.1/24 dev eth0; ip addr add fd88::1/64 dev eth0 nodad; ip link set eth0 up",
        );
        shell(
            &alien,
            "ip addr add 10.88.0.2/24 dev eth0; ip addr add fd88::2/64 dev eth0 nodad
             ip addr add 10.88.0.9/24 dev eth0; ip addr add fd88::9/64 dev eth0 nodad; ip link set eth0 up
             ip addr add 192.168.4.2/32 dev lo; ip addr add fd00:4::2/128 dev lo nodad",
        );
        host.run_in(|| nft::apply(OTHERS)).unwrap().unwrap();
        for port in [GUARDED, OTHER] {
            let listener = host
                .run_in(|| TcpListener::bind((IpAddr::from([0u16; 8]), port)))
                .unwrap()
                .unwrap();
            thread::spawn(move || {
                listener
                    .incoming()
                    .flatten()
                    .for_each(|mut client| drop(client.write_all(b"x")))
            });
        }
        Self {
            hub,
            host,
            alien,
            root: tempfile::Builder::new().prefix("fielato-agent-").tempdir().unwrap(),
            fleet: None,
            agent: None,
        }
    }

    /// The hub begins to serve, and publishes.
    fn serve(&mut self, revision: u64, plan: HostPlan) {
        let listen = Listen {
            interface: "wg0".to_owned(),
            addresses: vec!["192.168.4.1".parse().unwrap(), "fd00:4::1".parse().unwrap()],
            port: 51821,
        };
        let hosts = BTreeMap::from([(
            "storage".to_owned(),
            vec!["192.168.4.10".parse().unwrap(), "fd00:4::10".parse().unwrap()],
        )]);
        self.fleet = Some(self.hub.run_in(|| Fleet::start(&listen, &hosts)).unwrap().unwrap());
        self.publish(revision, plan);
    }

    fn publish(&self, revision: u64, plan: HostPlan) {
        self.fleet
            .as_ref()
            .unwrap()
            .publish(revision, BTreeMap::from([("storage".to_owned(), plan)]));
    }

    fn status(&self) -> HostStatus {
        self.fleet.as_ref().unwrap().status().remove(0)
    }

    fn wait_for(&self, revision: u64) {
        wait_until("the host enforces it", Duration::from_secs(40), || {
            self.status().revision == Some(revision)
        });
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.host.command(Command::new(FIELATO), &[]).unwrap();
        command
            .args(arguments)
            .env("FIELATO_ROOT", self.root.path())
            .env_remove("FIELATO_CONFIG");
        command
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        finish(&mut self.command(arguments))
    }

    fn start_agent(&mut self, hub: &str) {
        let child = self
            .command(&["agent", "run", "--hub", hub, "--interface", "wg0"])
            .spawn()
            .unwrap();
        self.agent = Some(Process(child));
    }

    fn report(&self) -> Option<serde_json::Value> {
        let finished = self.run(&["agent", "status", "--json"]);
        (finished.code == Some(0)).then(|| serde_json::from_str(&finished.out).unwrap())
    }

    /// Whether `from`, an address of that machine, gets an answer of the host's.
    fn reaches(&self, machine: &NetnsGuard, from: &str, to: &str, port: u16) -> bool {
        let script = format!(
            "import socket,sys
f=socket.AF_INET6 if ':' in '{to}' else socket.AF_INET
s=socket.socket(f); s.settimeout(0.25); s.bind(('{from}',0)); s.connect(('{to}',{port})); sys.exit(0 if s.recv(1) else 1)"
        );
        let mut command = machine.command(Command::new("python3"), &[]).unwrap();
        finish(command.args(["-c", &script])).code == Some(0)
    }

    /// Overlay members that reach the guarded port, by both families alike.
    fn let_in(&self) -> Vec<u8> {
        let reaches = |number: u8| {
            let v4 = self.reaches(&self.hub, &format!("192.168.4.{number}"), "192.168.4.10", GUARDED);
            let v6 = self.reaches(&self.hub, &format!("fd00:4::{number}"), "fd00:4::10", GUARDED);
            assert_eq!(v4, v6, "member {number}");
            v4
        };
        [2, 3, 5].into_iter().filter(|number| reaches(*number)).collect()
    }

    /// Nobody gets in from outside, but to what is not guarded.
    fn assert_guarded(&self) {
        for (from, to) in [("10.88.0.2", "10.88.0.1"), ("fd88::2", "fd88::1")] {
            assert!(!self.reaches(&self.alien, from, to, GUARDED), "{from}");
            assert!(self.reaches(&self.alien, from, to, OTHER), "{from}");
        }
    }

    fn table(&self) -> Option<String> {
        let listed = self.host.run_in(nft::list_rules).unwrap().unwrap();
        let begin = listed.find("table inet fielato_host")?;
        Some(listed[begin..].lines().next().unwrap_or_default().to_owned())
    }

    fn others(&self) -> String {
        let listed = self.host.run_in(nft::list_rules).unwrap().unwrap();
        listed.split("table ").filter(|table| table.contains("others")).collect()
    }

    fn sysctl(&self, name: &str) -> String {
        shell(&self.host, &format!("sysctl -n {name}")).trim().to_owned()
    }

    fn file(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }
}

/// The test needs these and root.
fn can_run(test: &str) -> bool {
    ready(test) && fielato_testkit::need(test, "python3")
}

#[test]
fn a_host_follows_the_hub_and_guards_when_hub_and_agent_are_gone() {
    if !can_run("a_host_follows_the_hub_and_guards_when_hub_and_agent_are_gone") {
        return;
    }
    let mut world = World::new();
    let others = world.others();
    assert!(world.reaches(&world.alien, "10.88.0.2", "10.88.0.1", GUARDED), "open before");
    world.serve(1, plan("member", &[2]));
    world.start_agent("192.168.4.1");
    world.wait_for(1);
    world.assert_guarded();
    assert_eq!(world.let_in(), [2]);
    assert_eq!(world.sysctl("net.ipv4.conf.wg0.rp_filter"), "1");

    // A member more or less: elements of a set, in the same table.
    let table = world
        .host
        .run_in(|| nft::table(nft::Family::Inet, "fielato_host"))
        .unwrap()
        .unwrap();
    world.publish(2, plan("member", &[2, 3, 5]));
    world.wait_for(2);
    assert_eq!(world.let_in(), [2, 3, 5]);
    world.publish(3, plan("member", &[5]));
    world.wait_for(3);
    assert_eq!(world.let_in(), [5]);
    let same = world
        .host
        .run_in(|| nft::table(nft::Family::Inet, "fielato_host"))
        .unwrap()
        .unwrap();
    assert_eq!(same, table, "the table was not made anew");

    // The plan on the disk is for root only.
    let kept = std::fs::metadata(world.file("var/lib/fielato/agent-plan.json")).unwrap();
    assert_eq!(kept.permissions().mode() & 0o777, 0o600);

    // The hub goes.
    world.fleet = None;
    wait_until("the agent notices", Duration::from_secs(10), || {
        world.report().is_some_and(|report| report["connected"] == false)
    });
    assert_eq!(world.let_in(), [5]);
    world.assert_guarded();

    // The agent is killed.
    kill(world.agent.take().unwrap().0.id());
    assert_eq!(world.let_in(), [5]);
    world.assert_guarded();
    assert_eq!(world.report().unwrap()["running"], false);

    // As after a reboot: no rules, no hub.
    world
        .host
        .run_in(|| nft::delete_table(nft::Family::Inet, "fielato_host"))
        .unwrap()
        .unwrap();
    assert!(world.reaches(&world.alien, "10.88.0.2", "10.88.0.1", GUARDED));
    world.start_agent("[fd00:4::1]:51821");
    wait_until("the last plan stands", Duration::from_secs(10), || world.table().is_some());
    world.assert_guarded();
    assert_eq!(world.let_in(), [5]);

    // A newer policy store: it is followed, by the other family.
    world.serve(9, plan("source", &[]));
    world.wait_for(9);
    assert!(!world.reaches(&world.alien, "10.88.0.2", "10.88.0.1", GUARDED));
    for (hub, to) in [("10.88.0.9", "10.88.0.1"), ("fd88::9", "fd88::1")] {
        assert!(
            world.reaches(&world.alien, hub, to, GUARDED),
            "strategy source: the hub's address is let in"
        );
    }

    // Taking it away: not under the agent's hands, then whole.
    assert!(world.run(&["agent", "remove"]).err.contains("an agent runs"), "refused");
    world.agent = None;
    world.assert_guarded_by_source();
    let removed = world.run(&["agent", "remove"]);
    assert_eq!(removed.code, Some(0), "{removed:?}");
    assert_eq!(world.table(), None);
    assert!(world.reaches(&world.alien, "10.88.0.2", "10.88.0.1", GUARDED));
    assert_eq!(world.sysctl("net.ipv4.conf.wg0.rp_filter"), "0", "put back");
    assert_eq!(world.others(), others, "nobody else's rules were touched");
}

impl World {
    fn assert_guarded_by_source(&self) {
        assert!(
            !self.reaches(&self.alien, "10.88.0.2", "10.88.0.1", GUARDED),
            "a stopped agent leaves its rules"
        );
    }
}

#[test]
fn drift_is_put_back_and_told() {
    if !can_run("drift_is_put_back_and_told") {
        return;
    }
    let mut world = World::new();
    world.serve(1, plan("member", &[2]));
    world.start_agent("192.168.4.1");
    world.wait_for(1);
    let ways = [
        "flush ruleset",
        "delete table inet fielato_host",
        "flush chain inet fielato_host input",
        "insert rule inet fielato_host input accept",
        "add element inet fielato_host group_friends_v4 { 192.168.4.4 }",
        "add chain inet fielato_host more { type filter hook input priority -5; policy accept; accept; }",
    ];
    for (count, way) in (1u64..).zip(ways) {
        world.host.run_in(|| nft::apply(way)).unwrap().unwrap();
        wait_until(way, Duration::from_secs(10), || world.status().drift == count);
        assert_eq!(world.let_in(), [2], "{way}");
        world.assert_guarded();
    }
    // What others do with theirs is no drift.
    world.host.run_in(|| nft::apply(OTHERS)).unwrap().unwrap();
    world
        .host
        .run_in(|| nft::apply("table inet more { chain c { }; }"))
        .unwrap()
        .unwrap();
    thread::sleep(Duration::from_millis(800));
    assert_eq!(world.status().drift, ways.len() as u64);
    assert_eq!(world.report().unwrap()["drift"], ways.len() as u64);
}

#[test]
fn what_pretends_to_come_from_the_overlay_is_dropped() {
    if !can_run("what_pretends_to_come_from_the_overlay_is_dropped") {
        return;
    }
    let mut world = World::new();
    world.serve(1, plan("member", &[2]));
    world.start_agent("192.168.4.1");
    world.wait_for(1);
    assert_eq!(world.let_in(), [2]);
    // The alien has a member's address and a way to the host; the host, without the rules, has a way back to it.
    shell(
        &world.alien,
        "ip route add 192.168.4.10/32 via 10.88.0.1; ip -6 route add fd00:4::10/128 via fd88::1",
    );
    for (from, to) in [
        ("192.168.4.2", "192.168.4.10"),
        ("fd00:4::2", "fd00:4::10"),
        ("192.168.4.2", "10.88.0.1"),
    ] {
        for port in [GUARDED, OTHER] {
            assert!(!world.reaches(&world.alien, from, to, port), "{from} to {to}:{port}");
        }
    }
    // Nor may the tunnel bring what belongs elsewhere: the answer would leave by eth0.
    shell(
        &world.hub,
        "ip addr add 10.88.0.77/32 dev lo; ip addr add fd88::77/128 dev lo nodad",
    );
    for (from, to) in [("10.88.0.77", "192.168.4.10"), ("fd88::77", "fd00:4::10")] {
        assert!(!world.reaches(&world.hub, from, to, OTHER), "{from}");
    }
    let listed = world.host.run_in(nft::list_rules).unwrap().unwrap();
    for reason in ["forged source", "reverse path"] {
        let counted = |line: &&str| line.contains(reason) && !line.contains("packets 0 ");
        assert!(listed.lines().any(|line| counted(&line)), "{reason}: {listed}");
    }
}

#[test]
fn a_plan_that_is_damaged_on_the_disk_is_not_taken_for_one() {
    if !can_run("a_plan_that_is_damaged_on_the_disk_is_not_taken_for_one") {
        return;
    }
    let mut world = World::new();
    world.serve(1, plan("member", &[2]));
    world.start_agent("192.168.4.1");
    world.wait_for(1);
    kill(world.agent.take().unwrap().0.id());
    let path = world.file("var/lib/fielato/agent-plan.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let table = world
        .host
        .run_in(|| nft::table(nft::Family::Inet, "fielato_host"))
        .unwrap()
        .unwrap();
    for damaged in [
        text[..text.len() / 2].to_owned(),
        text.replace("1234", "1235"),
        String::new(),
        "{}".to_owned(),
    ] {
        std::fs::write(&path, damaged).unwrap();
        world.fleet = None;
        world.start_agent("192.168.4.1");
        wait_until("it is up", Duration::from_secs(10), || {
            world.report().is_some_and(|report| report["running"] == true)
        });
        assert_eq!(
            world
                .host
                .run_in(|| nft::table(nft::Family::Inet, "fielato_host"))
                .unwrap()
                .unwrap(),
            table,
            "what stands in the kernel stays"
        );
        world.agent = None;
    }
    world.start_agent("192.168.4.1");
    world.serve(2, plan("member", &[3]));
    world.wait_for(2);
    assert_eq!(world.let_in(), [3]);
}

#[test]
fn a_stranger_on_the_overlay_is_not_served() {
    if !can_run("a_stranger_on_the_overlay_is_not_served") {
        return;
    }
    let mut world = World::new();
    world.serve(1, plan("member", &[2]));
    let ask = |from: &str| {
        shell(&world.host, &format!("ip addr add {from} dev wg0"));
        world
            .host
            .run_in(|| {
                let to: SocketAddr = "192.168.4.1:51821".parse().unwrap();
                let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2)).unwrap();
                stream.write_all(b"{\"say\":\"hello\",\"version\":1}\n").ok();
                stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
                let mut text = String::new();
                stream.read_to_string(&mut text).ok();
                text
            })
            .unwrap()
    };
    shell(&world.host, "ip addr del 192.168.4.10/24 dev wg0");
    assert_eq!(ask("192.168.4.11/24"), "");
    let told = world.fleet.as_ref().unwrap().events();
    assert!(
        told.iter()
            .any(|event| event.what.to_string().contains("no protected host has this address")),
        "{told:?}"
    );
}
