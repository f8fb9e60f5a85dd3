//! The same UAPI requests to wireguard-go and to our device, and the answers compared line by line.
//!
//! Both devices have the same keys and ports, each in a namespace of its own with the interface up (wireguard-go binds
//! its port only then). Where we differ on purpose, the script names both answers, so that a change on either side
//! is seen.

#[path = "../common/mod.rs"]
mod common;
mod scripts;

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use common::programs::Program;
use common::{Namespace, can_run, unique};
use fielato_io::Device;
use scripts::{SCRIPTS, Step};

/// Who answers on a UAPI socket.
struct Server {
    name: String,
    namespace: Namespace,
}

impl Server {
    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(format!("/var/run/wireguard/{}.sock", self.name)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    }

    /// The answer on a connection of its own.
    fn ask(&self, request: &str) -> String {
        ask(&mut self.connect(), request)
    }

    /// The configuration alone: what `get=1` tells, in an order that does not depend on who tells it.
    fn configuration(&self) -> String {
        canonical(&self.ask("get=1\n\n"))
    }
}

/// Sends a request and reads up to the empty line, or to the end of the connection.
fn ask(stream: &mut UnixStream, request: &str) -> String {
    // The other side may have hung up on an earlier request; then there is nothing to read either.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\n\n") {
        match stream.read(&mut byte) {
            Ok(1) => answer.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8(answer).unwrap()
}

/// Peers and allowed IPs come in any order; counters and times are no configuration.
fn canonical(report: &str) -> String {
    let volatile = ["last_handshake_time_", "tx_bytes=", "rx_bytes="];
    let wanted = |line: &&str| !line.is_empty() && !volatile.iter().any(|key| line.starts_with(key));
    let mut device = Vec::new();
    let mut peers: Vec<Vec<&str>> = Vec::new();
    let mut end = Vec::new();
    for line in report.lines().filter(wanted) {
        match peers.last_mut() {
            _ if line.starts_with("errno=") => end.push(line),
            _ if line.starts_with("public_key=") => peers.push(vec![line]),
            Some(peer) => peer.push(line),
            None => device.push(line),
        }
    }
    peers.iter_mut().for_each(|peer| {
        let values = peer
            .iter()
            .position(|line| line.starts_with("allowed_ip="))
            .unwrap_or(peer.len());
        peer[values..].sort_unstable();
    });
    peers.sort_unstable();
    [device, peers.concat(), end].concat().join("\n")
}

/// Our device and wireguard-go, without any configuration, up.
fn both() -> (Device, Program, Server, Server) {
    let (ours, go) = (server("u"), server("g"));
    let device = ours
        .namespace
        .within(|| Device::create_unconfigured(&ours.name, 1420))
        .unwrap();
    let program = Program::wireguard_go(&go.namespace, &go.name);
    for Server { name, namespace } in [&ours, &go] {
        namespace.run(&format!("ip link set {name} up"));
    }
    (device, program, ours, go)
}

fn server(prefix: &str) -> Server {
    Server {
        name: unique(prefix),
        namespace: Namespace::new(),
    }
}

#[test]
fn the_same_answers_as_wireguard_go() {
    if !can_run("the_same_answers_as_wireguard_go") {
        return;
    }
    let mut wrong = Vec::new();
    for (title, steps) in SCRIPTS {
        let (_device, _program, ours, go) = both();
        // The first request of each script: with the same port, what is told before is the same.
        for server in [&ours, &go] {
            assert_eq!(server.ask("set=1\nlisten_port=4000\n\n"), "errno=0\n\n");
        }
        for (at, step) in steps.iter().enumerate() {
            let Step { request, differs } = step;
            let (mine, theirs) = (ours.ask(request), go.ask(request));
            let expected = differs.unwrap_or((&theirs, &theirs));
            if (canonical(&mine), canonical(&theirs)) != (canonical(expected.0), canonical(expected.1)) {
                wrong.push(format!(
                    "{title}, request {at}: {request:?}\n  ours {mine:?}\n  go   {theirs:?}"
                ));
            }
            let (mine, theirs) = (ours.configuration(), go.configuration());
            // After a request that we refuse as a whole and wireguard-go by halves, nothing more is comparable.
            if differs.is_none() && mine != theirs {
                wrong.push(format!(
                    "{title}, after request {at}: {request:?}\n--- ours\n{mine}\n--- go\n{theirs}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn several_requests_on_one_connection() {
    if !can_run("several_requests_on_one_connection") {
        return;
    }
    let (_device, _program, ours, go) = both();
    let requests = [
        "set=1\nlisten_port=4000\nfwmark=7\n\n",
        "get=1\n\n",
        "set=1\nfwmark=0\n\n",
        "get=1\n\n",
    ];
    let answers = [&ours, &go].map(|server| {
        let mut stream = server.connect();
        requests.map(|request| canonical(&ask(&mut stream, request)))
    });
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0][1], "listen_port=4000\nfwmark=7\nerrno=0");
    assert_eq!(answers[0][3], "listen_port=4000\nerrno=0");
    // All at once, before any answer is read: wireguard-go loses the later ones, we answer them in order.
    let mut stream = ours.connect();
    let first = ask(&mut stream, &requests.concat());
    let rest = [(); 3].map(|()| ask(&mut stream, ""));
    let at_once = [vec![first], rest.to_vec()].concat();
    assert!(
        at_once.iter().map(|answer| canonical(answer)).eq(answers[0].clone()),
        "{at_once:?}"
    );
}

#[test]
fn a_port_in_use_is_refused_with_its_number() {
    if !can_run("a_port_in_use_is_refused_with_its_number") {
        return;
    }
    let (_device, _program, ours, go) = both();
    let answers = [&ours, &go].map(|server| {
        let taken = server.namespace.within(|| UdpSocket::bind("0.0.0.0:4003")).unwrap();
        let refused = server.ask("set=1\nlisten_port=4003\n\n");
        drop(taken);
        (refused, server.ask("set=1\nlisten_port=4003\n\n"), server.configuration())
    });
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0].0, format!("errno=-{EADDRINUSE}\n\n"));
    assert_eq!(answers[0].2, "listen_port=4003\nerrno=0");
}

/// `EADDRINUSE` of Linux.
const EADDRINUSE: i32 = 98;

/// What wireguard-go does not answer at all, we answer, so that a client knows.
#[test]
fn what_is_no_request_is_answered_and_ends_the_connection() {
    if !can_run("what_is_no_request_is_answered_and_ends_the_connection") {
        return;
    }
    let (_device, _program, ours, go) = both();
    for text in ["\n", "get=2\n", "hello\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "get=1 \n\n"] {
        let mut stream = ours.connect();
        assert_eq!(ask(&mut stream, text), "errno=-71\n\n", "{text:?}");
        assert_eq!(ask(&mut stream, "get=1\n\n"), "", "{text:?}: the connection is over");
        assert_eq!(go.ask(text), "", "{text:?}");
    }
    // A client that went away in the middle has not meant what it did not say.
    for text in ["set=1\nfwmark=5\n", "set=1\nfwmark=5", "set=1", "get=1\n"] {
        let mut stream = ours.connect();
        stream.write_all(text.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(ask(&mut stream, ""), "errno=-71\n\n", "{text:?}");
    }
    assert!(!ours.configuration().contains("fwmark"));
}

/// `wg` names the interface of a link-local endpoint; the device must keep it. (wireguard-go forgets it when it tells.)
#[test]
fn a_link_local_endpoint_keeps_its_interface() {
    if !can_run("a_link_local_endpoint_keeps_its_interface") {
        return;
    }
    let ours = server("u");
    let Server { name, namespace } = &ours;
    let _device = namespace.within(|| Device::create_unconfigured(name, 1420)).unwrap();
    namespace.run("ip link add near7 type veth peer name far7");
    let key = "zk+sVpWBh8rYQsM4lPNnPHNKnVqDjHUZjzPRmRrY4iE=";
    namespace.run(&format!("wg set {name} peer {key} endpoint [fe80::9%near7]:7"));
    let shown = namespace.run(&format!("wg show {name} endpoints"));
    assert_eq!(shown, format!("{key}\t[fe80::9%near7]:7\n"));
    assert_eq!(
        ours.ask(&format!(
            "set=1\npublic_key={}\nendpoint=[fe80::9%none]:7\n\n",
            "01".repeat(32)
        )),
        "errno=-22\n\n"
    );
}
