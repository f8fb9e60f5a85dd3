//! TCP by table: segments with what the tracker makes of them, over both families.

use fielato_wire::{Family, TcpFlags, checksum, number};

use super::ProtoVerdict::{Accept, Invalid, Repeat};
use super::*;
use crate::conntrack::proto::testing::Track;

const O: Direction = Direction::Original;
const R: Direction = Direction::Reply;
const SYN: u8 = TcpFlags::SYN;
const ACK: u8 = TcpFlags::ACK;
const FIN: u8 = TcpFlags::FIN | ACK;
const RST: u8 = TcpFlags::RST;
const SYN_ACK: u8 = SYN | ACK;

/// A segment: direction, flags, sequence number, ACK, payload bytes.
#[derive(Clone, Copy, Debug)]
struct Seg(Direction, u8, u32, u32, usize);

fn bytes(family: Family, Seg(direction, flags, seq, ack, len): Seg, window: u16, options: &[u8]) -> Vec<u8> {
    let mut tcp = vec![0u8; 20];
    let (sport, dport) = if direction == O { (4000u16, 80u16) } else { (80, 4000) };
    tcp[0..2].copy_from_slice(&sport.to_be_bytes());
    tcp[2..4].copy_from_slice(&dport.to_be_bytes());
    tcp[4..8].copy_from_slice(&seq.to_be_bytes());
    tcp[8..12].copy_from_slice(&ack.to_be_bytes());
    tcp[12] = (5 + options.len() as u8 / 4) << 4;
    tcp[13] = flags;
    tcp[14..16].copy_from_slice(&window.to_be_bytes());
    tcp.extend_from_slice(options);
    tcp.resize(tcp.len() + len, b'x');
    let (src, dst) = Track::addresses(family, direction);
    let check = checksum::transport(src, dst, number::TCP, &tcp);
    tcp[16..18].copy_from_slice(&check.to_be_bytes());
    tcp
}

fn track(family: Family) -> Track {
    Track::new(family, number::TCP)
}

fn send(track: &mut Track, segment: Seg) -> ProtoVerdict {
    send_with(track, segment, 1_000, &[])
}

fn send_with(track: &mut Track, segment: Seg, window: u16, options: &[u8]) -> ProtoVerdict {
    let family = track.conn.tuples[0].family;
    track.packet(segment.0, &bytes(family, segment, window, options))
}

fn state(track: &Track) -> &'static str {
    crate::conntrack::proto::state_name(&track.conn.proto).unwrap_or("-")
}

fn tcp(track: &Track) -> Tcp {
    match track.conn.proto {
        ProtoState::Tcp(tcp) => tcp,
        _ => panic!("no TCP"),
    }
}

/// Plays segments; each with verdict, state and seconds left.
fn play(steps: &[(Seg, ProtoVerdict, &str, u64)]) {
    for family in [Family::V4, Family::V6] {
        let mut track = track(family);
        run(&mut track, steps);
    }
}

fn run(track: &mut Track, steps: &[(Seg, ProtoVerdict, &str, u64)]) {
    for (number, &(segment, verdict, name, left)) in steps.iter().enumerate() {
        assert_eq!(send(track, segment), verdict, "step {number}: {segment:?}");
        assert_eq!((state(track), track.left()), (name, left), "step {number}: {segment:?}");
    }
}

const DAY5: u64 = 432_000;

const HANDSHAKE: [(Seg, ProtoVerdict, &str, u64); 3] = [
    (Seg(O, SYN, 100, 0, 0), Accept, "SYN_SENT", 120),
    (Seg(R, SYN_ACK, 500, 101, 0), Accept, "SYN_RECV", 60),
    (Seg(O, ACK, 101, 501, 0), Accept, "ESTABLISHED", DAY5),
];

fn established(family: Family) -> Track {
    let mut track = track(family);
    run(&mut track, &HANDSHAKE);
    track
}

#[test]
fn handshake_data_and_close() {
    let rest = [
        (Seg(O, ACK, 101, 501, 100), Accept, "ESTABLISHED", 300), // Not acknowledged yet.
        (Seg(R, ACK, 501, 201, 0), Accept, "ESTABLISHED", DAY5),
        (Seg(O, FIN, 201, 501, 0), Accept, "FIN_WAIT", 120),
        (Seg(R, ACK, 501, 202, 0), Accept, "CLOSE_WAIT", 60),
        (Seg(R, FIN, 501, 202, 0), Accept, "LAST_ACK", 30),
        (Seg(O, ACK, 202, 502, 0), Accept, "TIME_WAIT", 120),
        (Seg(O, ACK, 202, 502, 0), Accept, "TIME_WAIT", 120),
    ];
    play(&[&HANDSHAKE[..], &rest[..]].concat());
}

#[test]
fn assured_comes_with_the_handshakes_last_ack() {
    for family in [Family::V4, Family::V6] {
        let mut track = track(family);
        for (step, assured) in HANDSHAKE.iter().zip([false, false, true]) {
            send(&mut track, step.0);
            assert_eq!(track.conn.status.has(Status::ASSURED), assured);
        }
    }
}

#[test]
fn a_repeated_syn_does_not_prolong() {
    for family in [Family::V4, Family::V6] {
        let mut track = track(family);
        send(&mut track, Seg(O, SYN, 100, 0, 0));
        track.pass(100);
        assert_eq!(send(&mut track, Seg(O, SYN, 100, 0, 0)), Accept);
        assert_eq!((state(&track), track.left()), ("SYN_SENT", 20));
    }
}

#[test]
fn a_rst_as_the_only_answer_ends_it() {
    for family in [Family::V4, Family::V6] {
        let mut track = track(family);
        send(&mut track, Seg(O, SYN, 100, 0, 0));
        assert_eq!(send(&mut track, Seg(R, RST | ACK, 0, 101, 0)), Accept);
        assert!(track.conn.status.has(Status::DYING));
    }
}

#[test]
fn what_can_not_begin_a_connection() {
    for family in [Family::V4, Family::V6] {
        for flags in [SYN_ACK, FIN, RST, RST | ACK] {
            assert_eq!(send(&mut track(family), Seg(O, flags, 1, 1, 0)), Invalid, "{flags:#x}");
        }
    }
}

#[test]
fn impossible_flags_are_unsound() {
    let possible = [
        SYN,
        SYN_ACK,
        RST,
        RST | ACK,
        FIN,
        ACK,
        SYN | TcpFlags::URG,
        ACK | TcpFlags::URG,
        FIN | TcpFlags::URG,
    ];
    for family in [Family::V4, Family::V6] {
        for flags in 0..=255u8 {
            let counts = flags & !(TcpFlags::PSH | TcpFlags::ECE | TcpFlags::CWR);
            let sound = track(family).is_sound(O, &bytes(family, Seg(O, flags, 1, 1, 0), 1_000, &[]));
            assert_eq!(sound, possible.contains(&counts), "{flags:#x}");
        }
    }
}

#[test]
fn checksums_are_verified_at_prerouting_only() {
    for family in [Family::V4, Family::V6] {
        let mut wrong = bytes(family, HANDSHAKE[0].0, 1_000, &[]);
        wrong[17] ^= 1;
        let mut track = track(family);
        assert!(!track.is_sound(O, &wrong));
        track.hook = crate::Hook::Output;
        assert!(track.is_sound(O, &wrong));
        track.hook = crate::Hook::Prerouting;
        track.config.checksum = false;
        assert!(track.is_sound(O, &wrong));
    }
}

#[test]
fn truncated_headers_are_unsound() {
    let whole = bytes(Family::V4, HANDSHAKE[0].0, 1_000, &[2, 4, 5, 180]);
    for len in 0..whole.len() {
        assert!(!is_sound(&whole[..len]));
    }
    assert!(is_sound(&whole));
}

#[test]
fn data_outside_the_window() {
    for family in [Family::V4, Family::V6] {
        // Far beyond the window, and an ACK of what was never sent.
        for segment in [Seg(O, ACK, 101 + 10_000, 501, 10), Seg(O, ACK, 101, 501 + 10, 0)] {
            let mut track = established(family);
            let before = tcp(&track);
            assert_eq!(send(&mut track, segment), Invalid);
            assert_eq!(tcp(&track), before);
            track.config.tcp_be_liberal = true;
            assert_eq!(send(&mut track, segment), Accept);
        }
        // Old data again is let through and changes nothing.
        let mut track = established(family);
        send(&mut track, Seg(O, ACK, 101, 501, 1_000));
        send(&mut track, Seg(R, ACK, 501, 1_101, 0));
        send(&mut track, Seg(O, ACK, 1_101, 501, 1_000));
        send(&mut track, Seg(R, ACK, 501, 2_101, 0));
        let before = tcp(&track);
        assert_eq!(send(&mut track, Seg(O, ACK, 101, 501, 10)), Accept);
        assert_eq!(tcp(&track), before);
    }
}

#[test]
fn somewhat_more_than_the_window_passes_as_unsure() {
    for family in [Family::V4, Family::V6] {
        let mut track = established(family);
        // The receiver's window is 1,000; the segment begins just behind it.
        assert_eq!(send(&mut track, Seg(O, ACK, 101 + 1_001, 501, 500)), Accept);
        assert!(tcp(&track).ends[0].has(End::UNACKNOWLEDGED));
        assert_eq!(send(&mut track, Seg(R, ACK, 501, 101 + 1_501, 0)), Accept);
    }
}

#[test]
fn windows_scale_when_both_ends_offer_it() {
    const SCALE_7: [u8; 4] = [1, 3, 3, 7];
    for family in [Family::V4, Family::V6] {
        for (answer, far_is) in [(&SCALE_7[..], Accept), (&[][..], Invalid)] {
            let mut track = track(family);
            send_with(&mut track, HANDSHAKE[0].0, 1_000, &SCALE_7);
            send_with(&mut track, HANDSHAKE[1].0, 1_000, answer);
            send(&mut track, HANDSHAKE[2].0);
            send(&mut track, Seg(R, ACK, 501, 101, 0));
            assert_eq!(send(&mut track, Seg(O, ACK, 101 + 100_000, 501, 100)), far_is);
        }
    }
}

#[test]
fn the_highest_sack_counts_as_the_ack() {
    // NOP NOP SACK 301-401.
    let sack = [1, 1, 5, 10, 0, 0, 1, 45, 0, 0, 1, 145];
    assert_eq!(super::window::highest_sack(&sack, 101), 401);
    for family in [Family::V4, Family::V6] {
        let mut track = track(family);
        send_with(&mut track, HANDSHAKE[0].0, 1_000, &[1, 1, 4, 2]);
        send_with(&mut track, HANDSHAKE[1].0, 1_000, &[1, 1, 4, 2]);
        send(&mut track, HANDSHAKE[2].0);
        // It says to have got what was never sent.
        assert_eq!(send_with(&mut track, Seg(R, ACK, 501, 101, 0), 1_000, &sack), Invalid);
        send(&mut track, Seg(O, ACK, 101, 501, 300));
        assert_eq!(send_with(&mut track, Seg(R, ACK, 501, 101, 0), 1_000, &sack), Accept);
    }
}

#[test]
fn repeated_acks_shorten_the_timeout() {
    for family in [Family::V4, Family::V6] {
        let mut track = established(family);
        for left in [DAY5, DAY5, 300] {
            assert_eq!(send(&mut track, Seg(O, ACK, 101, 501, 0)), Accept);
            assert_eq!(track.left(), left);
        }
        assert_eq!(tcp(&track).retransmissions, 3);
        send(&mut track, Seg(R, ACK, 501, 101, 0));
        assert_eq!(track.left(), DAY5);
        // A closed window as well.
        send_with(&mut track, Seg(R, ACK, 501, 101, 0), 0, &[]);
        assert_eq!(track.left(), 300);
    }
}

#[test]
fn picked_up_in_the_middle() {
    for family in [Family::V4, Family::V6] {
        let mut track = track(family);
        run(
            &mut track,
            &[
                (Seg(O, ACK, 9_000, 7_000, 10), Accept, "ESTABLISHED", 300),
                (Seg(R, ACK, 7_000, 9_010, 0), Accept, "ESTABLISHED", 300),
            ],
        );
        assert!(!track.conn.status.has(Status::ASSURED));
        send(&mut track, Seg(O, ACK, 9_010, 7_000, 0));
        assert!(track.conn.status.has(Status::ASSURED));
        assert_eq!(track.left(), DAY5);

        let mut strict = Track::new(family, number::TCP);
        strict.config.tcp_loose = false;
        assert_eq!(send(&mut strict, Seg(O, ACK, 9_000, 7_000, 10)), Invalid);
    }
}

#[test]
fn simultaneous_open() {
    play(&[
        (Seg(O, SYN, 100, 0, 0), Accept, "SYN_SENT", 120),
        (Seg(R, SYN, 500, 0, 0), Accept, "SYN_SENT2", 120),
        (Seg(O, SYN_ACK, 100, 501, 0), Accept, "SYN_RECV", 60),
        (Seg(R, SYN_ACK, 500, 101, 0), Accept, "SYN_RECV", 60),
        (Seg(R, ACK, 501, 101, 0), Accept, "ESTABLISHED", DAY5),
    ]);
}

#[test]
fn a_syn_reopens_time_wait() {
    for family in [Family::V4, Family::V6] {
        for direction in [O, R] {
            let mut track = established(family);
            send(&mut track, Seg(O, FIN, 101, 501, 0));
            send(&mut track, Seg(R, FIN, 501, 102, 0));
            send(&mut track, Seg(O, ACK, 102, 502, 0));
            assert_eq!(state(&track), "TIME_WAIT");
            assert_eq!(send(&mut track, Seg(direction, SYN, 90_000, 0, 0)), Repeat);
        }
        // After a RST only its own sender may.
        let mut track = established(family);
        send(&mut track, Seg(O, RST, 101, 0, 0));
        assert_eq!((state(&track), track.left()), ("CLOSE", 10));
        assert_eq!(send(&mut track, Seg(O, SYN, 90_000, 0, 0)), Repeat);
        let mut track = established(family);
        send(&mut track, Seg(R, RST, 501, 0, 0));
        assert_eq!(send(&mut track, Seg(O, SYN, 90_000, 0, 0)), Accept);
        assert_eq!(state(&track), "CLOSE");
    }
}

#[test]
fn a_rst_must_be_exact() {
    for family in [Family::V4, Family::V6] {
        let fresh = || {
            let mut track = established(family);
            send(&mut track, Seg(O, ACK, 101, 501, 100));
            send(&mut track, Seg(R, ACK, 501, 201, 0));
            track
        };
        // The next number.
        let mut track = fresh();
        assert_eq!(send(&mut track, Seg(O, RST, 201, 0, 0)), Accept);
        assert_eq!(state(&track), "CLOSE");
        // Before it.
        let mut track = fresh();
        assert_eq!(send(&mut track, Seg(O, RST, 150, 0, 0)), Invalid);
        track.config.tcp_ignore_invalid_rst = true;
        assert_eq!(send(&mut track, Seg(O, RST, 150, 0, 0)), Accept);
        // In the window, but not the next: it may be answered by a challenge ACK.
        let mut track = fresh();
        assert_eq!(send(&mut track, Seg(O, RST, 400, 0, 0)), Accept);
        assert_eq!((state(&track), track.left()), ("ESTABLISHED", 10));
        // Outside.
        assert_eq!(send(&mut track, Seg(O, RST, 90_000, 0, 0)), Invalid);
    }
}

#[test]
fn a_syn_on_an_old_connection_brings_both_in_step() {
    for family in [Family::V4, Family::V6] {
        let mut track = established(family);
        run(
            &mut track,
            &[
                // The client began anew; the server had forgotten the old connection.
                (Seg(O, SYN, 70_000, 0, 0), Accept, "ESTABLISHED", DAY5),
                (Seg(R, SYN_ACK, 80_000, 70_001, 0), Accept, "SYN_RECV", 60),
                (Seg(O, ACK, 70_001, 80_001, 0), Accept, "ESTABLISHED", DAY5),
            ],
        );
        // The server says that it knows nothing of it.
        let mut track = established(family);
        send(&mut track, Seg(O, SYN, 70_000, 0, 0));
        assert_eq!(send(&mut track, Seg(R, RST | ACK, 0, 70_001, 0)), Accept);
        assert_eq!(state(&track), "CLOSE");
    }
}

#[test]
fn a_challenge_ack_is_not_the_last_ack() {
    for family in [Family::V4, Family::V6] {
        let mut track = established(family);
        send(&mut track, Seg(O, FIN, 101, 501, 0));
        send(&mut track, Seg(R, FIN, 501, 102, 0));
        run(
            &mut track,
            &[
                (Seg(O, SYN, 70_000, 0, 0), Accept, "LAST_ACK", 30),
                (Seg(R, ACK, 502, 102, 0), Accept, "LAST_ACK", 30),
                (Seg(R, ACK, 502, 102, 0), Accept, "TIME_WAIT", 120),
            ],
        );
    }
}

#[test]
fn closing_out_of_step_goes_sooner() {
    for family in [Family::V4, Family::V6] {
        let mut track = established(family);
        assert_eq!(send(&mut track, Seg(O, FIN, 900_000, 501, 0)), Invalid);
        assert_eq!(track.left(), DAY5);
        assert_eq!(send(&mut track, Seg(R, FIN, 900_000, 101, 0)), Invalid);
        assert_eq!(track.left(), 300);
    }
}

#[test]
fn own_timeouts_go_before_the_settings() {
    for family in [Family::V4, Family::V6] {
        let mut track = track(family);
        track.conn.extra_mut().timeouts = Some(vec![11, 12, 13]);
        run(
            &mut track,
            &[
                (HANDSHAKE[0].0, Accept, "SYN_SENT", 11),
                (HANDSHAKE[1].0, Accept, "SYN_RECV", 12),
                (HANDSHAKE[2].0, Accept, "ESTABLISHED", 13),
                (Seg(O, FIN, 101, 501, 0), Accept, "FIN_WAIT", 120),
            ],
        );
        track.conn.status.set(Status::FIXED_TIMEOUT);
        send(&mut track, Seg(R, FIN, 501, 102, 0));
        assert_eq!((state(&track), track.left()), ("LAST_ACK", 120));
    }
}

#[test]
fn acks_of_moved_sequence_numbers_are_in_the_window() {
    for family in [Family::V4, Family::V6] {
        let mut track = established(family);
        // NAT made the client's data 50 bytes longer at 101: the server acknowledges more than the client sent.
        track.conn.extra_mut().sequence[0] = crate::nat::SeqAdjust {
            correction: 101,
            before: 0,
            after: 50,
        };
        send(&mut track, Seg(O, ACK, 101, 501, 20));
        assert_eq!(send(&mut track, Seg(R, ACK, 501, 171, 0)), Accept);
        assert_eq!(send(&mut track, Seg(R, ACK, 501, 172, 0)), Invalid);
    }
}

/// Sequences as Linux 6.18 judged them, forwarded between two TUN devices with INVALID dropped. A line is a segment: direction,
/// flags, sequence number, ACK, window, payload, options; whether it passed; then the listing's state, seconds and ASSURED.
const KERNEL: &str = include_str!("kernel-6.18.txt");

#[test]
fn the_kernel_judges_the_same() {
    let mut track = track(Family::V4);
    let mut loads = String::new();
    for (number, line) in KERNEL.lines().enumerate() {
        let words: Vec<&str> = line.split(' ').collect();
        if let ["sequence", family, loose, liberal, ignore] = words[..] {
            let family = if family == "v4" { Family::V4 } else { Family::V6 };
            track = Track::new(family, number::TCP);
            track.config.checksum = false;
            track.config.tcp_loose = loose == "loose=1";
            track.config.tcp_be_liberal = liberal == "liberal=1";
            track.config.tcp_ignore_invalid_rst = ignore == "ignore_rst=1";
            loads = line.to_owned();
            continue;
        }
        let [
            direction,
            flags,
            seq,
            ack,
            window,
            len,
            options,
            passed,
            name,
            seconds,
            assured,
        ] = words[..]
        else {
            panic!("line {number}: {line}");
        };
        let direction = if direction == "0" { O } else { R };
        let hex = |at: usize| u8::from_str_radix(&options[at..at + 2], 16).unwrap();
        let options: Vec<u8> = if options == "-" {
            Vec::new()
        } else {
            (0..options.len()).step_by(2).map(hex).collect()
        };
        let segment = Seg(
            direction,
            u8::from_str_radix(flags, 16).unwrap(),
            seq.parse().unwrap(),
            ack.parse().unwrap(),
            len.parse().unwrap(),
        );
        let family = track.conn.tuples[0].family;
        let bytes = bytes(family, segment, window.parse().unwrap(), &options);
        let direction = track.oriented(direction);
        let mut verdict = track.packet(direction, &bytes);
        if verdict == Repeat {
            track.forget(direction);
            verdict = track.packet(O, &bytes);
        }
        let alive = track.conn.status.has(Status::CONFIRMED) && !track.conn.status.has(Status::DYING);
        let found = if alive {
            (
                state(&track),
                track.left(),
                if track.conn.status.has(Status::ASSURED) { "a" } else { "-" },
            )
        } else {
            track.forget(O);
            ("-", 0, "-")
        };
        let case = format!(
            "line {}: {line}\n{loads}\nfound {verdict:?} {found:?}\n{:?}",
            number + 1,
            track.conn.proto
        );
        assert_eq!(verdict == Accept, passed == "pass", "{case}");
        assert_eq!((found.0, found.2), (name, assured), "{case}");
        let seconds: u64 = seconds.parse().unwrap();
        assert!(seconds <= found.1 && found.1 <= seconds + 2, "{case}");
    }
}

#[test]
fn no_sequence_of_segments_panics() {
    let mut rng = fastrand::Rng::with_seed(3);
    for family in [Family::V4, Family::V6] {
        let mut track = track(family);
        for _ in 0..50_000 {
            let direction = if rng.bool() { O } else { R };
            let mut segment = bytes(
                family,
                Seg(
                    direction,
                    rng.u8(..),
                    rng.u32(..).wrapping_mul(u32::from(rng.bool())),
                    rng.u32(..300),
                    rng.usize(..20),
                ),
                rng.u16(..),
                &[3, 3, 14, 0, 5, 10, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0],
            );
            for _ in 0..rng.usize(..4) {
                let at = rng.usize(..segment.len());
                segment[at] = rng.u8(..);
            }
            segment.truncate(rng.usize(..=segment.len()));
            let _ = track.packet(direction, &segment);
            if rng.u8(..) == 0 {
                track = Track::new(family, number::TCP);
            }
        }
    }
}
