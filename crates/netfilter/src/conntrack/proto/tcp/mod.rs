//! TCP (`nf_conntrack_proto_tcp.c`): states, windows, timeouts.

mod states;
#[cfg(test)]
mod tests;
mod window;

use fielato_wire::TcpFlags;

pub use states::{Segment, TcpState};
pub use window::End;

use self::states::{Step, is_possible, step};
use self::window::{Window, before};
use super::{ProtoPacket, ProtoState, ProtoVerdict, kill, override_of, refresh};
use crate::Now;
use crate::conntrack::{Config, Conn, Direction, Status};

/// What a TCP connection remembers (`struct ip_ct_tcp`). What tells [`ProtoState`] apart lies in its first bytes, beside what
/// other protocols remember: [`Conn`] counts cache lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Tcp {
    /// State.
    pub state: TcpState,
    /// Class of the last segment that was in the window, or let through.
    pub last_segment: Segment,
    /// Its direction.
    pub last_direction: Direction,
    /// How often the last ACK was repeated.
    pub retransmissions: u8,
    /// Both ends, by direction.
    pub ends: [End; 2],
    /// Sequence number of the last ACK, or of a segment let through.
    pub last_seq: u32,
    /// Its ACK.
    pub last_ack: u32,
    /// The sequence number after it.
    pub last_end: u32,
    /// Its window.
    pub last_window: u16,
    /// Window scale of a SYN that was let through.
    pub last_scale: u8,
    /// Flags of such a SYN, as in [`End::flags`].
    pub last_flags: u8,
}

/// The TCP header of a segment; offsets are checked.
pub(super) struct TcpHeader<'a> {
    flags: TcpFlags,
    seq: u32,
    ack: u32,
    window: u16,
    options: &'a [u8],
    payload_len: u32,
}

impl<'a> TcpHeader<'a> {
    /// Reads it; `None` when it is not all there.
    fn parse(transport: &'a [u8]) -> Option<TcpHeader<'a>> {
        let fixed = transport.first_chunk::<20>()?;
        let header_len = usize::from(fixed[12] >> 4) * 4;
        let word = |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        Some(TcpHeader {
            flags: TcpFlags(fixed[13]),
            seq: word(4),
            ack: word(8),
            window: u16::from_be_bytes([fixed[14], fixed[15]]),
            options: transport.get(20..header_len)?,
            payload_len: (transport.len() - header_len) as u32,
        })
    }

    const fn is_syn(&self) -> bool {
        self.flags.has(TcpFlags::SYN)
    }

    const fn is_ack(&self) -> bool {
        self.flags.has(TcpFlags::ACK)
    }

    const fn is_rst(&self) -> bool {
        self.flags.has(TcpFlags::RST)
    }

    /// The sequence number after it: SYN and FIN count as one byte each (`segment_seq_plus_len`).
    const fn end(&self) -> u32 {
        self.seq
            .wrapping_add(self.payload_len)
            .wrapping_add(self.is_syn() as u32)
            .wrapping_add(self.flags.has(TcpFlags::FIN) as u32)
    }
}

/// Whether the header is whole (`tcp_error`'s first check; the checksum is the second).
pub(super) fn is_whole(transport: &[u8]) -> bool {
    TcpHeader::parse(transport).is_some()
}

/// Whether the header's flags make sense (`tcp_error`'s last check).
pub(super) fn is_sound(transport: &[u8]) -> bool {
    TcpHeader::parse(transport).is_some_and(|header| is_possible(header.flags))
}

/// Every segment of a connection (`nf_conntrack_tcp_packet`).
pub(super) fn packet(conn: &mut Conn, packet: &ProtoPacket<'_>, fresh: bool, config: &Config, now: Now) -> ProtoVerdict {
    let Some(header) = TcpHeader::parse(packet.transport) else {
        return ProtoVerdict::Invalid;
    };
    let known = match conn.proto {
        _ if fresh => Tcp::begin(&header, config),
        ProtoState::Tcp(tcp) => Some(tcp),
        _ => None,
    };
    let Some(mut tcp) = known else {
        return ProtoVerdict::Invalid;
    };
    let verdict = tcp.judge(conn, packet.direction, &header, config, now);
    conn.proto = ProtoState::Tcp(tcp);
    verdict
}

impl Tcp {
    /// The first segment: a SYN, or (when `tcp_loose`) one out of the middle (`tcp_new`).
    fn begin(header: &TcpHeader<'_>, config: &Config) -> Option<Tcp> {
        let first = step(Direction::Original, Segment::of(header.flags), TcpState::None);
        let mut sender = End {
            end: header.end(),
            max_end: header.end(),
            max_window: u32::from(header.window).max(1),
            ..End::default()
        };
        let mut receiver = End::default();
        match first {
            Step::To(TcpState::SynSent) => sender.read_options(header.options),
            Step::To(_) if config.tcp_loose => {
                sender.max_end = sender.end.wrapping_add(sender.max_window);
                // SACK and window scaling may have been agreed on before.
                sender.flags = End::SACK | End::LIBERAL;
                receiver.flags = sender.flags;
            }
            _ => return None,
        }
        Some(Tcp {
            state: TcpState::None,
            last_segment: Segment::Bare,
            last_direction: Direction::Original,
            retransmissions: 0,
            ends: [sender, receiver],
            last_seq: 0,
            last_ack: 0,
            last_end: 0,
            last_window: 0,
            last_scale: 0,
            last_flags: 0,
        })
    }

    fn judge(
        &mut self,
        conn: &mut Conn,
        direction: Direction,
        header: &TcpHeader<'_>,
        config: &Config,
        now: Now,
    ) -> ProtoVerdict {
        let segment = Segment::of(header.flags);
        let mut old = self.state;
        let mut check_window = true;
        let new = match step(direction, segment, old) {
            Step::Invalid => return ProtoVerdict::Invalid,
            // The table leads from SYN_SENT back to it for a SYN sent again; from the later states a SYN opens anew.
            Step::To(TcpState::SynSent) if matches!(old, TcpState::TimeWait | TcpState::Close) => {
                if self.may_reopen(direction) {
                    return ProtoVerdict::Repeat;
                }
                match self.pass_unsure(direction, segment, header, old) {
                    Some(resynced) => {
                        old = TcpState::SynSent;
                        resynced
                    }
                    None => return ProtoVerdict::Ignore,
                }
            }
            Step::Ignore => match self.pass_unsure(direction, segment, header, old) {
                Some(resynced) => {
                    old = TcpState::SynSent;
                    resynced
                }
                None => return ProtoVerdict::Ignore,
            },
            Step::To(TcpState::TimeWait) if old == TcpState::LastAck && self.is_challenge_ack(direction, segment) => {
                self.last_flags &= !End::CHALLENGE;
                return ProtoVerdict::Ignore;
            }
            Step::To(TcpState::SynSent2) => {
                self.last_flags |= End::SIMULTANEOUS;
                TcpState::SynSent2
            }
            Step::To(TcpState::SynRecv)
                if direction == Direction::Reply && segment == Segment::Ack && self.last_flags & End::SIMULTANEOUS != 0 =>
            {
                TcpState::Established
            }
            Step::To(TcpState::Close) if segment == Segment::Rst => match self.reset(conn, direction, header, config) {
                Reset::Invalid => return ProtoVerdict::Invalid,
                Reset::Valid => {
                    check_window = false;
                    TcpState::Close
                }
                Reset::ValidKeeping(state) => {
                    check_window = false;
                    state
                }
                Reset::CheckWindow(state) => state,
            },
            Step::To(state) => state,
        };

        if check_window {
            let offset = seq_offset(conn, direction.reverse(), header.ack.wrapping_sub(1));
            match self.in_window(direction, segment, header, offset, config) {
                Window::In => {}
                Window::Ignore => return ProtoVerdict::Ignore,
                Window::Out => {
                    self.outside(conn, direction, segment, config, now);
                    return ProtoVerdict::Invalid;
                }
            }
        }
        self.last_segment = segment;
        self.last_direction = direction;
        self.state = new;
        if old != new && new == TcpState::FinWait {
            self.ends[direction.index()].flags |= End::CLOSED_FIRST;
        }
        let timeouts = TcpTimeouts { conn, config };
        let mut timeout = self.timeout(&timeouts, segment);
        let unacknowledged = timeouts.unacknowledged();

        if !conn.status.has(Status::SEEN_REPLY) {
            if header.is_rst() {
                // The only answer is a RST: there never was a connection.
                kill(conn);
                return ProtoVerdict::Accept;
            }
            if segment == Segment::Syn && old == TcpState::SynSent {
                // Repeated SYNs don't keep an entry alive: another client may want the port.
                return ProtoVerdict::Ignore;
            }
            if new == TcpState::Established {
                timeout = timeout.min(unacknowledged); // Picked up in the middle, nothing came back yet.
            }
        } else if matches!(old, TcpState::SynRecv | TcpState::Established) && new == TcpState::Established {
            conn.status.set(Status::ASSURED);
        }
        refresh(conn, timeout, now);
        ProtoVerdict::Accept
    }

    /// Whether a SYN opens the connection anew: it was closed in order, or the same end reset it (RFC 1122 §4.2.2.13).
    const fn may_reopen(&self, direction: Direction) -> bool {
        let closed = (self.ends[0].flags | self.ends[1].flags) & End::CLOSED_FIRST != 0;
        let reset = self.last_direction as u8 == direction as u8 && matches!(self.last_segment, Segment::Rst);
        closed || reset
    }

    /// A segment that may signal a connection between the ends that is not the one known here: it passes and is
    /// remembered. A SYN/ACK that answers a SYN let through before brings both back in step; then the new state is
    /// answered.
    fn pass_unsure(&mut self, direction: Direction, segment: Segment, header: &TcpHeader<'_>, old: TcpState) -> Option<TcpState> {
        if segment == Segment::SynAck
            && self.last_segment == Segment::Syn
            && self.last_direction != direction
            && header.ack == self.last_end
        {
            self.last_flags &= !End::CHALLENGE;
            let opener = &mut self.ends[self.last_direction.index()];
            opener.end = self.last_end;
            opener.max_end = self.last_end;
            opener.max_window = u32::from(self.last_window).max(1);
            opener.scale = self.last_scale;
            opener.flags = self.last_flags;
            self.ends[direction.index()].reset();
            return Some(TcpState::SynRecv);
        }
        self.last_segment = segment;
        self.last_direction = direction;
        self.last_seq = header.seq;
        self.last_end = header.end();
        self.last_window = header.window;
        if segment == Segment::Syn && direction == Direction::Original {
            let mut seen = End::default();
            seen.read_options(header.options);
            self.last_flags = seen.flags & (End::SCALES | End::SACK);
            self.last_scale = if seen.has(End::SCALES) { seen.scale } else { 0 };
            if old == TcpState::LastAck {
                // The answer may be a challenge ACK, which must not count as the last one (RFC 5961 §4).
                self.last_flags |= End::CHALLENGE;
            }
        }
        if old == TcpState::SynSent && segment == Segment::Ack && direction == Direction::Reply {
            self.last_ack = header.ack; // Possibly a challenge ACK that answers the SYN.
        }
        None
    }

    const fn is_challenge_ack(&self, direction: Direction, segment: Segment) -> bool {
        matches!(segment, Segment::Ack)
            && self.last_direction as u8 != direction as u8
            && matches!(self.last_segment, Segment::Syn)
            && self.last_flags & End::CHALLENGE != 0
    }

    /// Whether a RST is believed (RFC 5961 §3), and on what condition.
    fn reset(&self, conn: &Conn, direction: Direction, header: &TcpHeader<'_>, config: &Config) -> Reset {
        if self.state.is_ending() {
            return Reset::Valid; // The ports may be in use again: nothing known here says anything about it.
        }
        let established = self.state == TcpState::Established && conn.status.has(Status::ASSURED);
        let mut new = TcpState::Close;
        let other = &self.ends[direction.reverse().index()];
        if other.has(End::MAX_ACK_SET) && self.last_segment != Segment::Syn {
            if header.seq == 0 && !established {
                return Reset::CheckWindow(new); // Likely the answer to a SYN let through.
            }
            if before(header.seq, other.max_ack) && !config.tcp_ignore_invalid_rst {
                return Reset::Invalid;
            }
            let follows_last =
                self.last_segment == Segment::Ack && self.last_direction == direction && header.seq == self.last_end;
            if !established || header.seq == other.max_ack || follows_last {
                return Reset::CheckWindow(new);
            }
            // Not exactly the next number: the receiver may answer with a challenge ACK, so the state stays.
            new = self.state;
        }
        let answers_syn =
            conn.status.has(Status::SEEN_REPLY) && self.last_segment == Segment::Syn && self.last_direction != direction;
        let answers_ack = !conn.status.has(Status::ASSURED) && self.last_segment == Segment::Ack;
        let answers_challenge = self.state == TcpState::SynSent
            && self.last_segment == Segment::Ack
            && self.last_direction == Direction::Reply
            && header.seq == self.last_ack;
        if ((answers_syn || answers_ack) && header.ack == self.last_end) || answers_challenge {
            // It answers what was let through unsure; the window knows nothing of that.
            return Reset::ValidKeeping(new);
        }
        Reset::CheckWindow(new)
    }

    /// A FIN or RST outside the window: when the other end's was as well, both ends are done and the entry only lives
    /// because the two views differ; it goes sooner (`nf_tcp_handle_invalid`).
    fn outside(&mut self, conn: &mut Conn, direction: Direction, segment: Segment, config: &Config, now: Now) {
        const AT_LEAST: u64 = 120 * Now::SECOND;
        let ends = |segment| matches!(segment, Segment::Fin | Segment::Rst);
        if !conn.status.has(Status::ASSURED) || conn.status.has(Status::FIXED_TIMEOUT) || !ends(segment) {
            return;
        }
        if self.last_direction == direction || !ends(self.last_segment) {
            self.last_segment = segment;
            self.last_direction = direction;
            return;
        }
        let left = conn.deadline.saturating_sub(now.mono);
        let timeout = u64::from(TcpTimeouts { conn, config }.unacknowledged()) * Now::SECOND;
        if left >= AT_LEAST && left > timeout {
            conn.deadline = now.mono.saturating_add(timeout);
        }
    }

    /// Seconds until the connection expires if nothing more comes.
    fn timeout(&self, timeouts: &TcpTimeouts<'_>, segment: Segment) -> u32 {
        let of_state = timeouts.of(self.state);
        let flags = self.ends[0].flags | self.ends[1].flags;
        let retransmitted = self.retransmissions >= timeouts.config.tcp_max_retrans;
        if retransmitted && of_state > timeouts.max_retrans() {
            timeouts.max_retrans()
        } else if segment == Segment::Rst {
            // Also when the state stays, as a challenge ACK may come: soon one or the other will be known.
            timeouts.of(TcpState::Close)
        } else if flags & End::UNACKNOWLEDGED != 0 && of_state > timeouts.unacknowledged() {
            timeouts.unacknowledged()
        } else if self.last_window == 0 && of_state > timeouts.max_retrans() {
            timeouts.max_retrans()
        } else {
            of_state
        }
    }
}

/// What a RST does.
enum Reset {
    Invalid,
    Valid,
    ValidKeeping(TcpState),
    CheckWindow(TcpState),
}

/// Timeouts of a connection: its own where `-j CT --timeout` gave them. Their order is that of the kernel's `CTA_TIMEOUT_TCP_*`:
/// SYN_SENT, SYN_RECV, ESTABLISHED, FIN_WAIT, CLOSE_WAIT, LAST_ACK, TIME_WAIT, CLOSE, SYN_SENT2, retransmission,
/// unacknowledged.
struct TcpTimeouts<'a> {
    conn: &'a Conn,
    config: &'a Config,
}

/// A RST made here ends the connection (`nf_conntrack_tcp_set_closing`).
pub(super) fn close(conn: &mut Conn, config: &Config, now: Now) {
    if let ProtoState::Tcp(tcp) = &mut conn.proto {
        tcp.state = TcpState::Close;
        let timeout = TcpTimeouts { conn, config }.of(TcpState::Close);
        conn.deadline = now.mono.saturating_add(u64::from(timeout) * Now::SECOND);
    }
}

impl TcpTimeouts<'_> {
    fn of(&self, state: TcpState) -> u32 {
        let all = &self.config.timeouts;
        let (index, default) = match state {
            TcpState::None => return 0,
            TcpState::SynSent => (0, all.tcp_syn_sent),
            TcpState::SynRecv => (1, all.tcp_syn_recv),
            TcpState::Established => (2, all.tcp_established),
            TcpState::FinWait => (3, all.tcp_fin_wait),
            TcpState::CloseWait => (4, all.tcp_close_wait),
            TcpState::LastAck => (5, all.tcp_last_ack),
            TcpState::TimeWait => (6, all.tcp_time_wait),
            TcpState::Close => (7, all.tcp_close),
            // No sysctl sets this one.
            TcpState::SynSent2 => (8, 120),
        };
        override_of(self.conn, index).unwrap_or(default)
    }

    fn max_retrans(&self) -> u32 {
        override_of(self.conn, 9).unwrap_or(self.config.timeouts.tcp_max_retrans)
    }

    fn unacknowledged(&self) -> u32 {
        override_of(self.conn, 10).unwrap_or(self.config.timeouts.tcp_unacknowledged)
    }
}

/// How far a direction's sequence numbers were moved at `seq` (`nf_ct_seq_offset`).
fn seq_offset(conn: &Conn, direction: Direction, seq: u32) -> i32 {
    conn.extra
        .as_ref()
        .map_or(0, |extra| extra.sequence[direction.index()].offset_at(seq))
}
