//! CoDel: a queue is too long when packets have waited longer than a target for a whole interval (RFC 8289).
//!
//! Arithmetic and order of the steps are the kernel's (include/net/codel_impl.h), so that both drop the same packets.

use crate::discipline::{Context, Queued};
use crate::drop::DropReason;
use crate::ecn;
use crate::packet::Packet;

/// Time in units of 1,024 ns, which goes round after 73 minutes (`codel_time_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Time(u32);

impl Time {
    pub fn from_nanos(nanos: u64) -> Time {
        Time((nanos >> 10) as u32)
    }

    pub fn from_duration(duration: std::time::Duration) -> Time {
        let units = duration.as_nanos() >> 10;
        Time(u32::try_from(units).unwrap_or(u32::MAX))
    }

    pub fn as_nanos(self) -> u64 {
        u64::from(self.0) << 10
    }

    fn after(self, other: Time) -> bool {
        self.0.wrapping_sub(other.0).cast_signed() > 0
    }

    fn before(self, other: Time) -> bool {
        other.after(self)
    }

    fn plus(self, other: Time) -> Time {
        Time(self.0.wrapping_add(other.0))
    }

    fn since(self, other: Time) -> Time {
        Time(self.0.wrapping_sub(other.0))
    }
}

/// What CoDel is told.
#[derive(Debug, Clone)]
pub(crate) struct Parameters {
    /// The standing delay that is accepted.
    pub target: Time,
    /// How long it may be exceeded.
    pub interval: Time,
    /// Delay above which every packet is marked.
    pub ce_threshold: Option<Time>,
    /// Mark instead of drop.
    pub ecn: bool,
    /// A backlog of one full packet is never too long.
    pub mtu: u64,
}

/// What CoDel counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    /// The largest packet seen.
    pub max_packet: u32,
    /// Packets marked instead of dropped.
    pub marked: u64,
    /// Packets marked for `ce_threshold`.
    pub marked_above_threshold: u64,
    /// Packets dropped.
    pub dropped: u64,
}

/// A packet and the time it came.
#[derive(Debug)]
pub(crate) struct Waiting<P> {
    pub queued: Queued<P>,
    pub since: Time,
}

/// What CoDel remembers of one queue (`struct codel_vars`).
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// Packets dropped or marked since dropping began.
    count: u32,
    /// `count` when dropping began.
    last_count: u32,
    dropping: bool,
    /// 1/sqrt(count), as a fraction of 2^16.
    inverse_root: u16,
    /// When the delay will have been above the target for an interval.
    first_above: Option<Time>,
    drop_next: Time,
    /// How long the last packet waited.
    delay: Time,
}

impl State {
    /// `packets` were dropped for want of space: the signal to the senders must grow as fast.
    pub fn add_drops(&mut self, packets: u32) {
        self.count = self.count.wrapping_add(packets);
    }

    /// Drops or marks, those when it last began, whether it drops now, and how long the last packet waited.
    pub fn counts(&self) -> (u32, u32, bool, Time) {
        (self.count, self.last_count, self.dropping, self.delay)
    }

    /// One step of Newton's method towards 1/sqrt(count), in fixed point.
    fn approach_root(&mut self) {
        let root = u64::from(self.inverse_root) << 16;
        let square = (root * root) >> 32;
        let value = (3u64 << 32).wrapping_sub(u64::from(self.count).wrapping_mul(square)) >> 2;
        let value = value.wrapping_mul(root) >> (32 - 2 + 1);
        self.inverse_root = (value >> 16) as u16;
    }

    /// The control law: the next drop comes interval/sqrt(count) after `from`.
    fn next_drop(&self, from: Time, interval: Time) -> Time {
        let root = u64::from(self.inverse_root) << 16;
        from.plus(Time(((u64::from(interval.0) * root) >> 32) as u32))
    }

    /// If the queue went over the target soon after it last went below, the rate of drops that held it then is where to begin.
    fn begin_dropping(&mut self, now: Time, interval: Time) {
        self.dropping = true;
        let delta = self.count.wrapping_sub(self.last_count);
        let recently = Time(interval.0.wrapping_mul(16));
        if delta > 1 && now.since(self.drop_next).before(recently) {
            self.count = delta;
            self.approach_root();
        } else {
            self.count = 1;
            self.inverse_root = u16::MAX;
        }
        self.last_count = self.count;
        self.drop_next = self.next_drop(now, interval);
    }
}

/// CoDel for all queues of one discipline.
#[derive(Debug, Clone)]
pub(crate) struct Codel {
    pub parameters: Parameters,
    pub counts: Counts,
}

impl Codel {
    pub fn new(parameters: Parameters) -> Self {
        Codel {
            parameters,
            counts: Counts::default(),
        }
    }

    /// The next packet of a queue, with those before it dropped that must be. `pop` takes from the queue's head.
    pub fn dequeue<P: Packet>(
        &mut self,
        state: &mut State,
        cx: &mut Context<'_, P>,
        mut pop: impl FnMut() -> Option<Waiting<P>>,
    ) -> Option<Queued<P>> {
        let now = Time::from_nanos(cx.now);
        let interval = self.parameters.interval;
        let Some(mut head) = pop() else {
            state.dropping = false;
            return None;
        };
        let mut drop = self.must_drop(state, &head, now, cx);
        if state.dropping {
            if !drop {
                state.dropping = false;
            }
            // A large backlog may want several drops at once.
            while state.dropping && !now.before(state.drop_next) {
                state.count = state.count.wrapping_add(1);
                state.approach_root();
                if self.mark(&mut head) {
                    state.drop_next = state.next_drop(state.drop_next, interval);
                    break;
                }
                (head, drop) = self.drop_for_next(state, head, now, cx, &mut pop)?;
                match drop {
                    true => state.drop_next = state.next_drop(state.drop_next, interval),
                    false => state.dropping = false,
                }
            }
        } else if drop {
            let next = match self.mark(&mut head) {
                true => Some(head),
                false => self.drop_for_next(state, head, now, cx, &mut pop).map(|(next, _)| next),
            };
            state.begin_dropping(now, interval);
            head = next?;
        }
        let above = |threshold| state.delay.after(threshold);
        if self.parameters.ce_threshold.is_some_and(above) && ecn::mark(&mut head.queued.packet) {
            self.counts.marked_above_threshold += 1;
        }
        Some(head.queued)
    }

    /// Whether the delay has been above the target for an interval, as `head` tells.
    fn must_drop<P>(&mut self, state: &mut State, head: &Waiting<P>, now: Time, cx: &Context<'_, P>) -> bool {
        let size = head.queued.bytes;
        self.counts.max_packet = self.counts.max_packet.max(size);
        state.delay = now.since(head.since);
        // The tree counts the packet in hand until it is sent, the kernel no longer does. It is the whole discipline's backlog
        // that is compared with one full packet, not the queue's.
        let backlog = cx.counters.backlog.bytes.saturating_sub(u64::from(size));
        if state.delay.before(self.parameters.target) || backlog <= self.parameters.mtu {
            state.first_above = None;
            return false;
        }
        match state.first_above {
            Some(first_above) => now.after(first_above),
            None => {
                state.first_above = Some(now.plus(self.parameters.interval));
                false
            }
        }
    }

    fn mark<P: Packet>(&mut self, head: &mut Waiting<P>) -> bool {
        let marked = self.parameters.ecn && ecn::mark(&mut head.queued.packet);
        self.counts.marked += u64::from(marked);
        marked
    }

    /// Drops `head` for the packet behind it, and says whether that must go, too.
    fn drop_for_next<P: Packet>(
        &mut self,
        state: &mut State,
        head: Waiting<P>,
        now: Time,
        cx: &mut Context<'_, P>,
        pop: &mut impl FnMut() -> Option<Waiting<P>>,
    ) -> Option<(Waiting<P>, bool)> {
        self.counts.dropped += 1;
        cx.drop(head.queued, DropReason::Codel);
        let Some(next) = pop() else {
            state.first_above = None;
            state.dropping = false;
            return None;
        };
        let drop = self.must_drop(state, &next, now, cx);
        Some((next, drop))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_approached_as_drops_go_on() {
        let mut state = State {
            count: 1,
            inverse_root: u16::MAX,
            ..State::default()
        };
        for count in 2..400u32 {
            state.count = count;
            state.approach_root();
            let exact = 65_536.0 / f64::from(count).sqrt();
            // One step from 1 to 1/sqrt(2) is a short one; from then on it follows closely.
            let near = if count < 8 { 0.3 } else { 0.01 };
            assert!(
                (f64::from(state.inverse_root) - exact).abs() < near * exact,
                "1/sqrt({count}) is {exact}, not {}",
                state.inverse_root
            );
        }
        // 100 ms through the root of 399, around the end of the clock.
        let wait = state.next_drop(Time(u32::MAX), Time(97_656)).since(Time(u32::MAX));
        assert_eq!(wait, Time(4887));
    }

    #[test]
    fn time_goes_round() {
        let early = Time(u32::MAX - 5);
        let late = early.plus(Time(10));
        assert!(late.after(early) && early.before(late) && !early.after(late));
        assert_eq!(late.since(early), Time(10));
        assert_eq!(Time::from_nanos(1 << 42), Time(0));
        assert_eq!(Time::from_duration(std::time::Duration::from_millis(5)), Time(4882));
    }
}
