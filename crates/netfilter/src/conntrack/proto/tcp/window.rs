//! Window tracking: whether a segment can belong to what both ends have said so far (`tcp_in_window`).
//!
//! After Guido van Rooij's "Real Stateful TCP Packet Filtering in IP Filter". Of each end is known: the end of what it sent,
//! the end of what it may send, the largest window it offered, the largest ACK it sent. A segment is in the window when
//!
//! 1. it begins before the end of what its sender may send,
//! 2. it ends after what its receiver could still hold,
//! 3. it acknowledges no more than was sent,
//! 4. its ACK is not too old.

use super::{Segment, Tcp, TcpHeader, TcpState};
use crate::conntrack::{Config, Direction};

/// What is known of one end (`struct ip_ct_tcp_state`). Packed, as a connection holds two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(Rust, packed(2))]
pub struct End {
    /// The sequence number after what it sent.
    pub end: u32,
    /// The sequence number up to which it may send.
    pub max_end: u32,
    /// The largest window it offered; 0 as long as nothing came from it.
    pub max_window: u32,
    /// The largest ACK it sent.
    pub max_ack: u32,
    /// Its window scale.
    pub scale: u8,
    /// [`End::SCALES`] and others.
    pub flags: u8,
}

impl End {
    /// It offered window scaling.
    pub const SCALES: u8 = 0x01;
    /// It permits SACK.
    pub const SACK: u8 = 0x02;
    /// It sent the first FIN.
    pub const CLOSED_FIRST: u8 = 0x04;
    /// Its windows are not checked strictly: the connection was picked up in the middle.
    pub const LIBERAL: u8 = 0x08;
    /// Data it sent was not acknowledged yet.
    pub const UNACKNOWLEDGED: u8 = 0x10;
    /// [`End::max_ack`] is set.
    pub const MAX_ACK_SET: u8 = 0x20;
    /// A challenge ACK may come (RFC 5961 §4); in [`Tcp::last_flags`] only.
    pub const CHALLENGE: u8 = 0x40;
    /// Both ends sent a SYN; in [`Tcp::last_flags`] only.
    pub const SIMULTANEOUS: u8 = 0x80;

    /// Whether any of `bits` is set.
    pub const fn has(&self, bits: u8) -> bool {
        self.flags & bits != 0
    }

    /// Forgets all but the leniency (`nf_ct_tcp_state_reset`).
    pub const fn reset(&mut self) {
        *self = End {
            end: 0,
            max_end: 0,
            max_window: 0,
            max_ack: 0,
            scale: 0,
            flags: self.flags & End::LIBERAL,
        };
    }

    /// Reads the options of a SYN (`tcp_options`). Without any option, what was known stays.
    pub fn read_options(&mut self, options: &[u8]) {
        if options.is_empty() {
            return;
        }
        self.scale = 0;
        self.flags &= End::LIBERAL;
        for (kind, value) in Options(options) {
            match (kind, value) {
                (SACK_PERMITTED, []) => self.flags |= End::SACK,
                (WINDOW_SCALE, &[scale]) => {
                    // RFC 7323 §2.3: a larger shift is taken as 14.
                    self.scale = scale.min(14);
                    self.flags |= End::SCALES;
                }
                _ => {}
            }
        }
    }
}

const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;

/// Walks TCP options, kind and value; ends at the first that can't be read.
pub struct Options<'a>(pub &'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        loop {
            match *self.0 {
                [0, ..] | [] | [_] => return None,
                [1, ref rest @ ..] => self.0 = rest,
                [kind, len, ..] => {
                    let value = self.0.get(2..usize::from(len))?;
                    self.0 = &self.0[usize::from(len)..];
                    return Some((kind, value));
                }
            }
        }
    }
}

/// Whether `a` comes after `b` in sequence space.
pub const fn after(a: u32, b: u32) -> bool {
    (b.wrapping_sub(a) as i32) < 0
}

/// Whether `a` comes before `b` in sequence space.
pub const fn before(a: u32, b: u32) -> bool {
    after(b, a)
}

/// An ACK may lag this far behind, or the sender's largest window if that is more (`MAXACKWINDOW`).
const ACK_LAG: u32 = 66_000;

/// The verdict of window tracking (`enum nf_ct_tcp_action`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// In the window.
    In,
    /// Outside, but harmless: it passes and changes nothing.
    Ignore,
    /// Outside.
    Out,
}

impl Tcp {
    /// Judges a segment and, when it is in the window, learns from it. `ack_offset` is how far NAT has moved the sequence
    /// numbers that the segment acknowledges.
    pub(super) fn in_window(
        &mut self,
        direction: Direction,
        segment: Segment,
        header: &TcpHeader<'_>,
        ack_offset: i32,
        config: &Config,
    ) -> Window {
        let (sender, receiver) = pair(&mut self.ends, direction);
        let mut seq = header.seq;
        let mut end = header.end();
        let mut sack = header.ack;
        if receiver.has(End::SACK) {
            sack = highest_sack(header.options, sack);
        }
        let mut ack = header.ack.wrapping_sub(ack_offset as u32);
        sack = sack.wrapping_sub(ack_offset as u32);
        let window = u32::from(header.window);
        let outside = |sender: &End, verdict: Window| {
            if sender.has(End::LIBERAL) || config.tcp_be_liberal {
                Window::In
            } else {
                verdict
            }
        };

        if sender.max_window == 0 {
            if header.is_syn() {
                sender.begin(receiver, header, direction);
                if !header.is_ack() {
                    return Window::In; // Simultaneous open.
                }
            } else {
                // Nothing is known of the sender: learn from this segment.
                sender.end = end;
                sender.max_window = (window << sender.scale).max(1);
                sender.max_end = end.wrapping_add(sender.max_window);
                if receiver.max_window == 0 {
                    receiver.end = sack;
                    receiver.max_end = sack;
                } else if sack == receiver.end.wrapping_add(1) {
                    receiver.end = receiver.end.wrapping_add(1); // Likely the answer to a keepalive.
                }
            }
        } else if header.is_syn() && after(end, sender.end) && matches!(self.state, TcpState::SynSent | TcpState::SynRecv) {
            // RFC 9293 §3.4.1: who starts again uses larger sequence numbers; options may differ too.
            sender.begin(receiver, header, direction);
            if direction == Direction::Reply && !header.is_ack() {
                return Window::In;
            }
        }

        if !header.is_ack() || (header.is_rst() && ack == 0) {
            // No ACK, or the zero ACK of a careless RST: taken as if it were right.
            ack = receiver.end;
            sack = receiver.end;
        }
        if header.is_rst() && seq == 0 && self.state == TcpState::SynSent {
            seq = sender.end; // A RST that answers a SYN.
            end = sender.end;
        }

        let ack_floor = receiver.end.wrapping_sub(sender.max_window.max(ACK_LAG)).wrapping_sub(1);
        let data_floor = sender.end.wrapping_sub(receiver.max_window).wrapping_sub(1);
        if !before(seq, sender.max_end.wrapping_add(1)) {
            let overshot = end.wrapping_sub(sender.max_end).wrapping_add(1);
            if receiver.max_window != 0
                && after(end, data_floor)
                && after(sack, ack_floor)
                && overshot <= receiver.max_window
                && before(sack, receiver.end.wrapping_add(1))
            {
                // Some send more than the window allows. If rules let it pass, its ACK must be valid too.
                sender.end = end;
                sender.flags |= End::UNACKNOWLEDGED;
                return outside(sender, Window::Ignore);
            }
            return outside(sender, Window::Out);
        }
        if !before(sack, receiver.end.wrapping_add(1)) {
            return outside(sender, Window::Out);
        }
        if receiver.max_window != 0 && !after(end, data_floor) {
            return outside(sender, Window::Ignore);
        }
        if !after(sack, ack_floor) {
            return outside(sender, Window::Ignore);
        }

        // The window of a SYN is never scaled (RFC 7323 §2.2).
        let window = if header.is_syn() { window } else { window << sender.scale };
        sender.max_window = sender.max_window.max(window.wrapping_add(sack.wrapping_sub(ack)));
        if after(end, sender.end) {
            sender.end = end;
            sender.flags |= End::UNACKNOWLEDGED;
        }
        if header.is_ack() && (!sender.has(End::MAX_ACK_SET) || after(ack, sender.max_ack)) {
            sender.max_ack = ack;
            sender.flags |= End::MAX_ACK_SET;
        }
        if receiver.max_window != 0 && after(end, sender.max_end) {
            receiver.max_window = receiver.max_window.wrapping_add(end.wrapping_sub(sender.max_end));
        }
        let offered = sack.wrapping_add(window);
        if after(offered, receiver.max_end.wrapping_sub(1)) {
            receiver.max_end = offered.wrapping_add(u32::from(window == 0));
        }
        if ack == receiver.end {
            receiver.flags &= !End::UNACKNOWLEDGED;
        }
        if segment == Segment::Ack {
            self.count_retransmission(direction, seq, ack, end, header.window);
        }
        Window::In
    }

    fn count_retransmission(&mut self, direction: Direction, seq: u32, ack: u32, end: u32, window: u16) {
        let same = self.last_direction == direction
            && self.last_seq == seq
            && self.last_ack == ack
            && self.last_end == end
            && self.last_window == window;
        if same {
            // The kernel's counter is 8 bits wide and wraps.
            self.retransmissions = self.retransmissions.wrapping_add(1);
            return;
        }
        self.last_direction = direction;
        self.last_seq = seq;
        self.last_ack = ack;
        self.last_end = end;
        self.last_window = window;
        self.retransmissions = 0;
    }
}

impl End {
    /// A SYN from this end (`tcp_init_sender`).
    fn begin(&mut self, receiver: &mut End, header: &TcpHeader<'_>, direction: Direction) {
        self.end = header.end();
        self.max_end = self.end;
        self.max_window = u32::from(header.window).max(1);
        self.read_options(header.options);
        // RFC 7323 §2.2: windows are scaled only when both ends offered it.
        if direction == Direction::Reply && !(self.has(End::SCALES) && receiver.has(End::SCALES)) {
            self.scale = 0;
            receiver.scale = 0;
        }
    }
}

/// Sender and receiver of a segment in this direction.
const fn pair(ends: &mut [End; 2], direction: Direction) -> (&mut End, &mut End) {
    let [original, reply] = ends;
    match direction {
        Direction::Original => (original, reply),
        Direction::Reply => (reply, original),
    }
}

/// The highest right edge of the first SACK option, or `sack` if that is higher (`tcp_sack`).
pub(super) fn highest_sack(options: &[u8], mut sack: u32) -> u32 {
    let block = |&(kind, value): &(u8, &[u8])| kind == SACK && value.len() >= 8 && value.len() % 8 == 0;
    let Some((_, blocks)) = Options(options).find(block) else {
        return sack;
    };
    for edge in blocks.chunks_exact(8) {
        let edge = u32::from_be_bytes([edge[4], edge[5], edge[6], edge[7]]);
        if after(edge, sack) {
            sack = edge;
        }
    }
    sack
}
