//! What somebody on the overlay can try who has a host's key, or none: it is refused, and noted with a reason.

mod common;

use std::net::IpAddr;
use std::time::Duration;

use common::*;
use fielato_fleet::hub::{ConnectionId, Hub, Limits, Output, Refusal};
use fielato_fleet::{Digest, Now, REQUEST_LINE_MAX, ToHub, VERSION};
use fielato_wireguard::PrivateKey;

const ONE: ConnectionId = ConnectionId(1);
const TWO: ConnectionId = ConnectionId(2);

fn hello() -> ToHub {
    ToHub::Hello {
        version: VERSION,
        host: None,
        revision: None,
        digest: None,
    }
}

/// A hub with three hosts, and a connection from the first of them that has been greeted.
fn greeted() -> (Hub, Now) {
    let now = start();
    let mut hub = hub(3, Limits::default(), now);
    hub.handle_open(ONE, addresses(0)[0], now);
    say(&mut hub, ONE, &hello(), now);
    events(&mut hub);
    outputs(&mut hub);
    (hub, now)
}

fn own_digest(port: u16) -> Digest {
    Digest::of(&plan("host-0", port))
}

/// The connection was ended, and this was the reason.
#[track_caller]
fn ended(hub: &mut Hub, id: ConnectionId, reason: Refusal) {
    assert_eq!(refusals(hub), [(Some("host-0".to_owned()), reason.clone())]);
    let closed = outputs(hub).into_iter().find_map(|output| match output {
        Output::Close(closed, last) if closed == id => Some(String::from_utf8(last).unwrap()),
        _ => None,
    });
    let told = closed.expect("the connection is closed");
    if reason != Refusal::SlowReader {
        assert!(told.contains("refused"), "{told}");
    }
}

#[test]
fn a_stranger_hears_nothing() {
    let now = start();
    let mut hub = hub(1, Limits::default(), now);
    for (id, stranger) in [(ONE, "192.168.4.2"), (TWO, "fd00:4::2")] {
        hub.handle_open(id, stranger.parse::<IpAddr>().unwrap(), now);
        say(&mut hub, id, &hello(), now);
        assert_eq!(outputs(&mut hub), [Output::Close(id, Vec::new())]);
        assert_eq!(refusals(&mut hub), [(None, Refusal::NotAHost)]);
    }
}

#[test]
fn a_host_gets_its_own_plan_whatever_it_says() {
    for address in addresses(0) {
        let now = start();
        let mut hub = hub(3, Limits::default(), now);
        hub.handle_open(ONE, address, now);
        say(&mut hub, ONE, &hello(), now);
        let text = heard(&mut hub, ONE, now);
        assert!(text.contains("host-0") && !text.contains("host-1"), "{text}");
    }
}

#[test]
fn a_mapped_address_is_the_address() {
    let now = start();
    let mut hub = hub(1, Limits::default(), now);
    hub.handle_open(ONE, "::ffff:192.168.4.10".parse().unwrap(), now);
    say(&mut hub, ONE, &hello(), now);
    assert!(heard(&mut hub, ONE, now).contains("host-0"));
}

#[test]
fn asking_for_another_hosts_plan_ends_it() {
    let (mut hub, now) = greeted();
    heard(&mut hub, ONE, now);
    let other = ToHub::Hello {
        version: VERSION,
        host: Some("host-1".to_owned()),
        revision: None,
        digest: None,
    };
    say(&mut hub, ONE, &other, now);
    assert_eq!(heard(&mut hub, ONE, now), "");
    ended(&mut hub, ONE, Refusal::AnothersPlan("host-1".to_owned()));
}

#[test]
fn acknowledging_what_was_never_sent_ends_it() {
    for revision in [0, 2, u64::MAX] {
        let (mut hub, now) = greeted();
        let ack = ToHub::Ack {
            revision,
            digest: own_digest(1),
        };
        say(&mut hub, ONE, &ack, now);
        ended(&mut hub, ONE, Refusal::NeverSent(revision));
        assert_eq!(hub.status(now)[0].revision, None, "it counts as nothing");
    }
}

#[test]
fn acknowledging_twice_or_anothers_revision_ends_it() {
    let (mut hub, now) = greeted();
    let ack = ToHub::Ack {
        revision: 1,
        digest: own_digest(1),
    };
    say(&mut hub, ONE, &ack, now);
    assert_eq!(hub.status(now)[0].revision, Some(1));
    events(&mut hub);
    say(&mut hub, ONE, &ack, now);
    ended(&mut hub, ONE, Refusal::NeverSent(1));

    let (mut hub, now) = greeted();
    let others = ToHub::Ack {
        revision: 1,
        digest: Digest::of(&plan("host-1", 2)),
    };
    say(&mut hub, ONE, &others, now);
    ended(&mut hub, ONE, Refusal::AnothersDigest(1));
    for host in hub.status(now) {
        assert_eq!(host.revision, None, "{host:?}");
    }
}

#[test]
fn a_claim_to_enforce_something_unknown_counts_as_nothing() {
    let (mut hub, now) = greeted();
    for (revision, digest) in [(1, Digest::of_bytes(b"x")), (2, own_digest(1)), (u64::MAX, own_digest(1))] {
        heard(&mut hub, ONE, now);
        let claim = ToHub::Hello {
            version: VERSION,
            host: None,
            revision: Some(revision),
            digest: Some(digest),
        };
        say(&mut hub, ONE, &claim, now);
        assert_eq!(hub.status(now)[0].revision, None);
        assert!(heard(&mut hub, ONE, now).contains("\"full\""));
    }
}

#[test]
fn what_is_no_message_ends_it() {
    let deep = "[".repeat(10_000);
    let texts = [
        "",
        "{}",
        "null",
        "\u{0}",
        "{\"say\":\"full\"}",
        "{\"say\":\"ack\",\"revision\":-1,\"digest\":\"\"}",
        &deep,
    ];
    for text in texts {
        let (mut hub, now) = greeted();
        hub.handle_bytes(ONE, format!("{text}\n").as_bytes(), now);
        ended(&mut hub, ONE, Refusal::NotUnderstood);
    }
}

#[test]
fn fields_that_nobody_knows_are_passed_over() {
    let (mut hub, now) = greeted();
    hub.handle_bytes(ONE, b"{\"say\":\"drift\",\"what\":\"x\",\"new\":[1,{\"a\":2}]}\n", now);
    assert_eq!(hub.status(now)[0].drift, 1);
}

#[test]
fn another_version_is_refused() {
    let now = start();
    let mut hub = hub(1, Limits::default(), now);
    hub.handle_open(ONE, addresses(0)[0], now);
    hub.handle_bytes(ONE, b"{\"say\":\"hello\",\"version\":2}\n", now);
    ended(&mut hub, ONE, Refusal::Version(2));
}

#[test]
fn an_oversized_line_ends_it_before_it_is_whole() {
    let (mut hub, now) = greeted();
    let chunk = vec![b'x'; 1024];
    for _ in 0..REQUEST_LINE_MAX / chunk.len() {
        hub.handle_bytes(ONE, &chunk, now);
        assert_eq!(refusals(&mut hub), []);
    }
    hub.handle_bytes(ONE, &chunk, now);
    ended(&mut hub, ONE, Refusal::Oversized);
}

#[test]
fn a_slow_line_and_a_slow_reader_are_cut_off() {
    let patience = Limits::default().patience;
    let (mut hub, mut now) = greeted();
    heard(&mut hub, ONE, now);
    // A byte each second keeps nobody's attention.
    for _ in 0..patience.as_secs() {
        assert_eq!(refusals(&mut hub), []);
        hub.handle_bytes(ONE, b"{", now);
        now = later(now, Duration::from_secs(1));
        hub.handle_time(now);
    }
    ended(&mut hub, ONE, Refusal::SlowLine);

    let (mut hub, now) = greeted();
    assert!(!hub.outgoing(ONE).is_empty());
    hub.handle_time(later(now, patience));
    ended(&mut hub, ONE, Refusal::SlowReader);
}

#[test]
fn who_says_nothing_is_cut_off() {
    let now = start();
    let mut hub = hub(1, Limits::default(), now);
    hub.handle_open(ONE, addresses(0)[0], now);
    hub.handle_time(later(now, Limits::default().patience));
    ended(&mut hub, ONE, Refusal::NoGreeting);
}

#[test]
fn nothing_comes_before_hello() {
    let now = start();
    let mut hub = hub(1, Limits::default(), now);
    hub.handle_open(ONE, addresses(0)[0], now);
    say(&mut hub, ONE, &ToHub::Pong, now);
    ended(&mut hub, ONE, Refusal::NotGreeted);
}

#[test]
fn too_many_lines_end_it_and_many_over_time_do_not() {
    let (mut hub, mut now) = greeted();
    for _ in 0..1000 {
        now = later(now, Duration::from_millis(60));
        say(&mut hub, ONE, &ToHub::Pong, now);
    }
    assert_eq!(refusals(&mut hub), []);
    for _ in 0..Limits::default().burst + 1 {
        say(&mut hub, ONE, &ToHub::Pong, now);
    }
    ended(&mut hub, ONE, Refusal::TooFast);
}

#[test]
fn what_comes_after_an_offence_in_the_same_bytes_is_not_looked_at() {
    let (mut hub, now) = greeted();
    hub.handle_bytes(ONE, b"nonsense\n{\"say\":\"drift\",\"what\":\"x\"}\n", now);
    ended(&mut hub, ONE, Refusal::NotUnderstood);
    assert_eq!(hub.status(now)[0].drift, 0);
}

#[test]
fn offenders_are_kept_away_longer_each_time_and_others_are_not() {
    let now = start();
    let mut hub = hub(2, Limits::default(), now);
    let mut at = now;
    let mut id = 10;
    let mut waits = Vec::new();
    for _ in 0..4 {
        id += 1;
        hub.handle_open(ConnectionId(id), addresses(0)[0], at);
        hub.handle_bytes(ConnectionId(id), b"nonsense\n", at);
        assert_eq!(refusals(&mut hub).len(), 1);
        let offence = at;
        loop {
            id += 1;
            at = later(at, Duration::from_millis(500));
            hub.handle_open(ConnectionId(id), addresses(0)[0], at);
            let shut = outputs(&mut hub).contains(&Output::Close(ConnectionId(id), Vec::new()));
            hub.handle_closed(ConnectionId(id), at);
            if !shut {
                break;
            }
            assert_eq!(events(&mut hub), [], "a closed door is not worth a line each time");
        }
        waits.push((at.instant - offence.instant).as_millis());
    }
    assert_eq!(waits, [1000, 2000, 4000, 8000]);
    hub.handle_open(TWO, addresses(1)[0], at);
    assert_eq!(outputs(&mut hub), [], "another host is welcome");
}

#[test]
fn a_flood_of_connections_leaves_two_and_few_events() {
    let now = start();
    let mut hub = hub(1, Limits::default(), now);
    for id in 0..1000 {
        hub.handle_open(ConnectionId(id), addresses(0)[0], now);
        say(&mut hub, ConnectionId(id), &hello(), now);
    }
    let open = 1000
        - outputs(&mut hub)
            .iter()
            .filter(|output| matches!(output, Output::Close(..)))
            .count();
    assert!(open <= 2, "{open}");
    let told = events(&mut hub).len();
    assert!(told <= 2 * 11, "{told} events");
}

#[test]
fn events_that_nobody_fetches_are_counted_and_not_kept() {
    let now = start();
    let limits = Limits {
        events: 5,
        ..Limits::default()
    };
    let mut hub = hub(1, limits, now);
    let stranger = "192.168.4.2".parse().unwrap();
    for id in 0..12 {
        hub.handle_open(ConnectionId(id), stranger, now);
    }
    assert_eq!(events(&mut hub).len(), 5);
    hub.handle_open(ConnectionId(12), stranger, now);
    assert_eq!(events(&mut hub)[0].lost, 7);
}

#[test]
fn what_a_host_says_is_one_short_line_in_the_log() {
    let (mut hub, now) = greeted();
    let what = format!("x\n<0>forged line\u{1b}[2J{}", "y".repeat(5000));
    say(&mut hub, ONE, &ToHub::Drift { what }, now);
    let told = events(&mut hub)[0].what.to_string();
    assert!(!told.chars().any(char::is_control) && told.len() < 300, "{told}");
}

#[test]
fn a_host_that_is_none_any_more_is_cut_off() {
    let (mut hub, now) = greeted();
    hub.set_hosts(&[(name(1), addresses(1))].into(), now);
    assert_eq!(refusals(&mut hub), [(Some("host-0".to_owned()), Refusal::NotAHost)]);
    // Nor does its address, given to another, inherit the connection.
    let (mut hub, now) = greeted();
    hub.set_hosts(&[(name(1), addresses(0)), (name(0), addresses(1))].into(), now);
    assert_eq!(refusals(&mut hub), [(Some("host-0".to_owned()), Refusal::NotAHost)]);
}

/// A hub that expects `host-0` to enrol with the token `secret` for an hour, and a connection of it.
fn enrolling() -> (Hub, Now) {
    let now = start();
    let mut hub = hub(2, Limits::default(), now);
    hub.expect_enrolment(
        "host-0",
        Digest::of_bytes(b"secret"),
        later(now, Duration::from_secs(3600)).clock,
    );
    hub.handle_open(ONE, addresses(0)[0], now);
    (hub, now)
}

fn enrol(token: &str) -> ToHub {
    ToHub::Enrol {
        version: VERSION,
        token: token.to_owned(),
        public_key: PrivateKey::generate().unwrap().public_key(),
    }
}

fn asked_to_enrol(hub: &mut Hub) -> usize {
    outputs(hub)
        .iter()
        .filter(|output| matches!(output, Output::Enrol { host, .. } if host == "host-0"))
        .count()
}

#[test]
fn a_token_is_good_once() {
    let (mut hub, now) = enrolling();
    say(&mut hub, ONE, &enrol("secret"), now);
    assert_eq!(asked_to_enrol(&mut hub), 1);
    hub.handle_enrolled(ONE, Ok(()), now);
    assert!(heard(&mut hub, ONE, now).contains("enrolled"));
    events(&mut hub);

    hub.handle_open(TWO, addresses(0)[0], now);
    say(&mut hub, TWO, &enrol("secret"), now);
    assert_eq!(refusals(&mut hub), [(Some("host-0".to_owned()), Refusal::TokenUsed)]);
    assert_eq!(asked_to_enrol(&mut hub), 0);
}

#[test]
fn a_token_said_twice_at_once_is_good_once() {
    let (mut hub, now) = enrolling();
    say(&mut hub, ONE, &enrol("secret"), now);
    say(&mut hub, ONE, &enrol("secret"), now);
    assert_eq!(asked_to_enrol(&mut hub), 1);
    assert_eq!(refusals(&mut hub), [(Some("host-0".to_owned()), Refusal::TokenUsed)]);
}

#[test]
fn a_wrong_a_late_and_anothers_token_are_refused() {
    let (mut hub, now) = enrolling();
    say(&mut hub, ONE, &enrol("guess"), now);
    ended(&mut hub, ONE, Refusal::NoToken);

    let (mut hub, now) = enrolling();
    hub.handle_open(TWO, addresses(1)[0], now);
    say(&mut hub, TWO, &enrol("secret"), now);
    assert_eq!(refusals(&mut hub), [(Some("host-1".to_owned()), Refusal::NoToken)]);
    assert_eq!(asked_to_enrol(&mut hub), 0);

    let (mut hub, now) = enrolling();
    let late = later(now, Duration::from_secs(3600));
    hub.handle_closed(ONE, now);
    hub.handle_open(TWO, addresses(0)[0], late);
    say(&mut hub, TWO, &enrol("secret"), late);
    assert_eq!(refusals(&mut hub), [(Some("host-0".to_owned()), Refusal::TokenOver)]);

    let (mut hub, _) = enrolling();
    outputs(&mut hub);
    hub.handle_time(late);
    assert!(outputs(&mut hub).contains(&Output::EnrolmentOver("host-0".to_owned())));
}

#[test]
fn the_tokens_key_alone_gets_no_plan() {
    let (mut hub, now) = enrolling();
    say(&mut hub, ONE, &hello(), now);
    assert_eq!(heard(&mut hub, ONE, now), "");
    ended(&mut hub, ONE, Refusal::EnrolFirst);
    hub.publish(2, plans(2, 10), now);
    assert_eq!(outputs(&mut hub), []);
}
