//! FTP control connections (`nf_conntrack_ftp.c`, `nf_nat_ftp.c`).
//!
//! Only what begins a line is read, or a client could have a server announce what the client chose (by a file's name in
//! an answer, say). Where lines begin is known from the sequence numbers after line ends.

use fielato_wire::number;

use super::super::{
    Conn, ConnId, Conntrack, Direction, ExpectError, ExpectId, ExpectNat, Expectation, HelperKind, Status, Tuple,
};
use super::ftp_text::{self, Announcement, Found};
use crate::nat::mangle::mangle_tcp;
use crate::verdict::{DropReason, Verdict};
use crate::{Now, Packet};
use fielato_wire::Addr;

/// Places where a line begins that are remembered per direction (`NUM_SEQ_TO_REMEMBER`).
const REMEMBERED: usize = 2;
/// Ports tried for an expectation under NAT.
const ATTEMPTS: u32 = 128;

/// Reads a segment of an established connection (`help`).
pub(super) fn help(conntrack: &mut Conntrack, packet: &mut Packet, id: ConnId, direction: Direction, now: Now) -> Verdict {
    packet.pieces = None; // The kernel makes the packet linear for this; it is then cut anew.
    let Some((seq, payload)) = payload(packet) else {
        return Verdict::Accept;
    };
    let Some(conn) = conntrack.get_mut(id) else {
        return Verdict::Accept;
    };
    let next = seq.wrapping_add(payload.len() as u32);
    let ends_line = payload.last() == Some(&b'\n');
    if !begins_line(conn, direction, seq) {
        if ends_line {
            remember(conn, direction, next);
        }
        return Verdict::Accept;
    }
    let tuple = conn.tuples[direction.index()];
    let verdict = match ftp_text::find(payload, direction, tuple.family, tuple.src) {
        Found::Nothing => Verdict::Accept,
        // The rest would come in a packet that does not begin a line: it must come whole, or tracking fails.
        Found::Partial => return Verdict::Drop(DropReason::Helper),
        // Only for the sender itself: else anyone could open a way to another machine (`loose` is off).
        Found::Whole(found) if found.addr != tuple.src => Verdict::Accept,
        Found::Whole(found) => announce(conntrack, packet, id, direction, &found, seq, now),
    };
    if ends_line && let Some(conn) = conntrack.get_mut(id) {
        remember(conn, direction, next);
    }
    verdict
}

/// Sequence number and payload, if there is any.
fn payload(packet: &Packet) -> Option<(u32, &[u8])> {
    let tcp = packet.transport();
    let header = tcp.first_chunk::<20>()?;
    let payload = tcp.get(usize::from(header[12] >> 4) * 4..)?;
    let seq = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    (!payload.is_empty()).then_some((seq, payload))
}

/// Whether a line ended just before `seq` (`find_nl_seq`).
fn begins_line(conn: &Conn, direction: Direction, seq: u32) -> bool {
    conn.extra
        .as_ref()
        .is_some_and(|extra| extra.line_starts[direction.index()].contains(&seq))
}

/// Remembers where a line begins, in the place of the oldest unless it is older still (`update_nl_seq`).
fn remember(conn: &mut Conn, direction: Direction, seq: u32) {
    let starts = &mut conn.extra_mut().line_starts[direction.index()];
    if starts.contains(&seq) {
        return;
    }
    if starts.len() < REMEMBERED {
        starts.push(seq);
        return;
    }
    let comes_before = |a: u32, b: u32| (a.wrapping_sub(b) as i32) < 0;
    let oldest = usize::from(!comes_before(starts[0], starts[1]));
    if comes_before(starts[oldest], seq) {
        starts[oldest] = seq;
    }
}

/// Expects what was announced; under NAT the packet then announces where this machine can be reached for it.
fn announce(
    conntrack: &mut Conntrack,
    packet: &mut Packet,
    id: ConnId,
    direction: Direction,
    found: &Announcement,
    seq: u32,
    now: Now,
) -> Verdict {
    const DROP: Verdict = Verdict::Drop(DropReason::Helper);
    let Some(conn) = conntrack.get(id) else {
        return Verdict::Accept;
    };
    // The connection comes from where this packet goes, to where its answers go.
    let other = *conn.tuple(direction.reverse());
    let translated = conn.status.has(Status::SRC_NAT | Status::DST_NAT);
    let expectation = Expectation {
        tuple: Tuple {
            sport: 0,
            dport: found.port,
            protocol: number::TCP,
            ..other
        },
        src_mask: Addr::mask(other.family, other.family.bits()),
        sport_mask: 0,
        master: id,
        zone: conn.zone,
        helper: None,
        class: HelperKind::Ftp,
        permanent: false,
        nat: if translated {
            ExpectNat::Follow {
                direction: direction.reverse(),
                saved_addr: found.addr,
                saved_port: found.port,
            }
        } else {
            ExpectNat::None
        },
        deadline: now.mono.saturating_add(HelperKind::Ftp.expect_timeout()),
    };
    if !translated {
        return match conntrack.expect(expectation) {
            Ok(_) => Verdict::Accept,
            Err(_) => DROP,
        };
    }
    let seed = now.mono ^ u64::from(seq) << 32 ^ u64::from(found.port);
    let Some((expected, port)) = expect_at_a_free_port(conntrack, expectation, seed) else {
        return DROP;
    };
    let text = ftp_text::write(found.form, other.family, other.dst, port);
    if !mangle_tcp(conntrack, packet, id, direction, found.place.clone(), text.as_bytes()) {
        conntrack.unexpect(expected);
        return DROP;
    }
    Verdict::Accept
}

/// Expects at the announced port or, when others expect there, at one above it (`nf_nat_exp_find_port`).
fn expect_at_a_free_port(conntrack: &mut Conntrack, mut expectation: Expectation, seed: u64) -> Option<(ExpectId, u16)> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let first = expectation.tuple.dport;
    let above = u16::MAX - first;
    for _ in 0..=ATTEMPTS.min(u32::from(above)) {
        let port = expectation.tuple.dport;
        match conntrack.expect(expectation.clone()) {
            Ok(id) => return Some((id, port)),
            Err(ExpectError::Clash) if above > 0 => expectation.tuple.dport = first + rng.u16(..above),
            Err(_) => return None,
        }
    }
    None
}
