use std::time::Duration;

use super::*;
use crate::aead::Ring;
use crate::replay::WINDOW;

fn keys(seed: u8, initiator: bool) -> SessionKeys {
    SessionKeys {
        send: [seed; 32],
        receive: [seed ^ 1; 32],
        local: u32::from(seed),
        remote: u32::from(seed ^ 1),
        initiator,
    }
}

/// Two ends of a session.
fn pair(now: Instant) -> (Session, Session) {
    (Session::new(keys(2, true), now), Session::new(keys(3, false), now))
}

fn sealed(session: &mut Session, packet: &[u8]) -> Vec<u8> {
    let mut message = vec![0; packet.len() + DATA_OVERHEAD];
    message[DATA_HEADER..][..packet.len()].copy_from_slice(packet);
    let len = session.seal(&mut Ring, &mut message, packet.len()).unwrap();
    assert_eq!(len, message.len());
    message
}

#[test]
fn packets_pass_both_ways_and_carry_their_numbers() {
    let (mut a, mut b) = pair(Instant::now());
    for (counter, packet) in [&b""[..], b"one", &[7; 1_420]].into_iter().enumerate() {
        let mut message = sealed(&mut a, packet);
        assert_eq!(message[..4], [4, 0, 0, 0]);
        assert_eq!(message[4..8], b.local().to_le_bytes());
        assert_eq!(message[8..16], (counter as u64).to_le_bytes());
        let range = b.open(&mut Ring, &mut message).unwrap();
        assert_eq!(&message[range], packet);
        let mut back = sealed(&mut b, packet);
        let range = a.open(&mut Ring, &mut back).unwrap();
        assert_eq!(&back[range], packet);
    }
}

#[test]
fn replayed_forged_and_short_messages_are_told_apart() {
    let (mut a, mut b) = pair(Instant::now());
    let message = sealed(&mut a, b"packet");
    for at in 8..message.len() {
        let mut forged = message.clone();
        forged[at] ^= 0x10;
        assert_eq!(b.open(&mut Ring, &mut forged), Err(DropReason::NotAuthentic), "byte {at}");
    }
    let mut beyond = message.clone();
    beyond[8..16].fill(0xff);
    assert_eq!(b.open(&mut Ring, &mut beyond), Err(DropReason::Replayed));
    // What was forged left no trace in the window.
    assert!(b.open(&mut Ring, &mut message.clone()).is_ok());
    assert_eq!(b.open(&mut Ring, &mut message.clone()), Err(DropReason::Replayed));
    for len in 0..DATA_OVERHEAD {
        assert_eq!(b.open(&mut Ring, &mut vec![4; len]), Err(DropReason::Malformed));
    }
    sealed(&mut b, b"packet");
    let mut own = sealed(&mut b, b"packet");
    assert_eq!(b.open(&mut Ring, &mut own), Err(DropReason::NotAuthentic));
}

#[test]
fn late_messages_pass_within_the_window_only() {
    let (mut a, mut b) = pair(Instant::now());
    let mut messages: Vec<_> = (0..WINDOW + 2).map(|_| sealed(&mut a, b"x")).collect();
    let mut last = messages.pop().unwrap();
    assert!(b.open(&mut Ring, &mut last).is_ok());
    assert_eq!(b.open(&mut Ring, &mut messages[0]), Err(DropReason::Replayed));
    for message in messages[1..].iter_mut().rev() {
        assert!(b.open(&mut Ring, message).is_ok());
    }
}

#[test]
fn the_last_counter_is_the_last() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    a.send_counter = REKEY_AFTER_MESSAGES;
    b.send_counter = REKEY_AFTER_MESSAGES;
    assert!(!a.wants_rekey_after_send(now) && !b.wants_rekey_after_send(now));
    sealed(&mut a, b"");
    sealed(&mut b, b"");
    assert!(a.wants_rekey_after_send(now) && b.wants_rekey_after_send(now));

    a.send_counter = REJECT_AFTER_MESSAGES - 1;
    assert!(!a.is_over(now));
    let mut last = sealed(&mut a, b"last");
    assert!(b.open(&mut Ring, &mut last).is_ok());
    assert!(a.is_over(now));
    for _ in 0..3 {
        assert_eq!(a.seal(&mut Ring, &mut [0; 100], 10), None);
    }
    assert_eq!(a.send_counter, REJECT_AFTER_MESSAGES);
}

#[test]
fn a_buffer_without_room_costs_no_counter() {
    let (mut a, _) = pair(Instant::now());
    for (room, len) in [(0, 0), (31, 0), (16, 0), (47, 16), (100, 69), (100, usize::MAX)] {
        assert_eq!(a.seal(&mut Ring, &mut vec![0; room], len), None);
    }
    assert_eq!(a.send_counter, 0);
    assert_eq!(a.seal(&mut Ring, &mut [0; 100], 68), Some(100));
}

#[test]
fn age_asks_for_new_keys_and_ends_the_session() {
    let start = Instant::now();
    let (a, b) = pair(start);
    // (seconds, initiator after sending, initiator after receiving, over)
    for (seconds, send, receive, over) in [
        (0, false, false, false),
        (119, false, false, false),
        (120, true, false, false),
        (164, true, false, false),
        (165, true, true, false),
        (179, true, true, false),
        (180, true, true, true),
    ] {
        let now = start + Duration::from_secs(seconds);
        assert_eq!(a.wants_rekey_after_send(now), send, "{seconds} s");
        assert_eq!(a.wants_rekey_after_receive(now), receive, "{seconds} s");
        assert!(!b.wants_rekey_after_send(now) && !b.wants_rekey_after_receive(now));
        assert_eq!((a.is_over(now), b.is_over(now)), (over, over), "{seconds} s");
    }
    assert!(a.keys.initiator && !b.keys.initiator);
    assert_eq!(a.created, start);
}
