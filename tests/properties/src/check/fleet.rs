//! The control channel: what a protected host, or somebody in its place, says to the hub.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use fielato_fleet::hub::{ConnectionId, Hub, Limits, Output};
use fielato_fleet::{Digest, Now, ToHub, VERSION, line};
use fielato_policy::HostPlan;
use fielato_policy::config::{PortSpec, Protocol};
use fielato_policy::plan::Admit;

/// Whatever a host says, in whatever pieces: it is never sent another host's plan, what waits for it is bounded, and the other host is
/// served as before.
pub fn fleet(data: &[u8]) {
    let mut now = Now {
        instant: Instant::now(),
        clock: "2026-06-01T12:00:00Z".parse().expect("a time"),
    };
    let mut hub = Hub::new(Limits::default());
    let address = |number: u8| IpAddr::from([192, 168, 4, number]);
    let hosts = BTreeMap::from([("bad".to_owned(), vec![address(2)]), ("good".to_owned(), vec![address(3)])]);
    hub.set_hosts(&hosts, now);
    hub.publish(1, plans(1234), now);
    // A host with a token that it has not used yet is asked for it first.
    if data.len() % 2 == 1 {
        let until = "2026-06-01T13:00:00Z".parse().expect("a time");
        hub.expect_enrolment("bad", Digest::of_bytes(b"secret"), until);
    }

    let (bad, good) = (ConnectionId(1), ConnectionId(2));
    hub.handle_open(bad, address(2), now);
    let mut said = Vec::new();
    // The first byte of a piece says how long it is, and how long it is waited after it.
    let mut rest = data;
    while let [length, others @ ..] = rest {
        let (piece, after) = others.split_at(usize::from(*length).min(others.len()));
        hub.handle_bytes(bad, piece, now);
        let wait = Duration::from_millis(u64::from(*length % 7) * 500);
        now.instant += wait;
        hub.handle_time(now);
        while let Some(output) = hub.poll_output() {
            match output {
                Output::Write(id) if id == bad => {
                    said.extend_from_slice(hub.outgoing(bad));
                    let sent = hub.outgoing(bad).len();
                    assert!(sent <= 1 << 20, "{sent} bytes wait");
                    hub.handle_sent(bad, sent, now);
                }
                Output::Close(_, last) => said.extend_from_slice(&last),
                Output::Enrol { host, .. } => assert_eq!(host, "bad"),
                Output::Write(_) | Output::EnrolmentOver(_) => {}
            }
        }
        while hub.poll_event().is_some() {}
        rest = after;
    }
    let said = String::from_utf8_lossy(&said);
    assert!(!said.contains(r#""name":"good""#), "{said}");

    hub.handle_open(good, address(3), now);
    let hello = ToHub::Hello {
        version: VERSION,
        host: None,
        revision: None,
        digest: None,
    };
    hub.handle_bytes(good, &line(&hello), now);
    let plan = String::from_utf8_lossy(hub.outgoing(good));
    assert!(plan.contains(r#""name":"good""#), "the other host is not served: {plan}");
}

fn plans(port: u16) -> BTreeMap<String, HostPlan> {
    let of = |name: &str, port| HostPlan {
        name: name.to_owned(),
        admit: Admit::Sources(vec![IpAddr::from([10, 0, 123, 2])]),
        ports: BTreeSet::from([PortSpec {
            protocol: Protocol::Tcp,
            first: port,
            last: port,
        }]),
        tunnel: None,
    };
    let named = [("bad", port), ("good", port + 1)];
    named
        .into_iter()
        .map(|(name, port)| (name.to_owned(), of(name, port)))
        .collect()
}
