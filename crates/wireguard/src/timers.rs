//! The timers of one tunnel (WireGuard paper, section 6; the Linux driver's `timers.c`).
//!
//! Events arm or disarm; nothing here sends. Whoever owns the tunnel asks [`Timers::next`] when to come back and
//! [`Timers::pop`] what is due.

use std::time::{Duration, Instant};

use crate::limits::{KEEPALIVE_TIMEOUT, REJECT_AFTER_TIME, REKEY_TIMEOUT};

/// What the passing of time asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// The initiation was not answered.
    Retransmit,
    /// The peer sent data and heard nothing since: let it know that we are here.
    Keepalive,
    /// We sent data and heard nothing since: the peer may have lost its keys.
    NewHandshake,
    /// The interval that the administrator set is over.
    Persistent,
    /// The keys have not been of use for long.
    ZeroKeys,
}

/// When something is due; `None` for what is not armed.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    retransmit: Option<Instant>,
    keepalive: Option<Instant>,
    /// Data arrived while `keepalive` was armed.
    another_keepalive: bool,
    new_handshake: Option<Instant>,
    persistent: Option<Instant>,
    zero_keys: Option<Instant>,
}

impl Timers {
    /// A packet left. `jitter` keeps two ends from beginning a handshake at one moment. Whether that armed something.
    pub(crate) fn data_sent(&mut self, now: Instant, jitter: impl FnOnce() -> Duration) -> bool {
        let arms = self.new_handshake.is_none();
        if arms {
            self.new_handshake = Some(now + KEEPALIVE_TIMEOUT + REKEY_TIMEOUT + jitter());
        }
        arms
    }

    /// A packet arrived. Whether that armed something.
    pub(crate) fn data_received(&mut self, now: Instant) -> bool {
        let arms = self.keepalive.is_none();
        if arms {
            self.keepalive = Some(now + KEEPALIVE_TIMEOUT);
        } else {
            self.another_keepalive = true;
        }
        arms
    }

    /// Any authenticated message left, a handshake or a keepalive too. `persistent` is the administrator's interval.
    pub(crate) fn sent(&mut self, now: Instant, persistent: Option<Duration>) {
        self.keepalive = None;
        self.persistent = persistent.map(|interval| now + interval);
    }

    /// The keepalive that was due left. When more data arrived meanwhile, there is to be another one.
    pub(crate) fn keepalive_sent(&mut self, now: Instant) {
        if std::mem::take(&mut self.another_keepalive) {
            self.keepalive = Some(now + KEEPALIVE_TIMEOUT);
        }
    }

    /// Any authenticated message arrived.
    pub(crate) fn received(&mut self, now: Instant, persistent: Option<Duration>) {
        self.new_handshake = None;
        self.persistent = persistent.map(|interval| now + interval);
    }

    /// An initiation left.
    pub(crate) fn initiated(&mut self, now: Instant, jitter: Duration) {
        self.retransmit = Some(now + REKEY_TIMEOUT + jitter);
    }

    /// Keys were agreed on.
    pub(crate) fn session_derived(&mut self, now: Instant) {
        self.zero_keys = Some(now + 3 * REJECT_AFTER_TIME);
    }

    /// Both sides have the keys.
    pub(crate) fn completed(&mut self) {
        self.retransmit = None;
    }

    /// Whether an initiation waits for its answer.
    pub(crate) fn is_asking(&self) -> bool {
        self.retransmit.is_some()
    }

    /// Nobody answered for [`crate::limits::REKEY_ATTEMPT_TIME`].
    pub(crate) fn gave_up(&mut self, now: Instant) {
        self.keepalive = None;
        self.zero_keys.get_or_insert(now + 3 * REJECT_AFTER_TIME);
    }

    /// Sends a persistent keepalive at `at`, or never.
    pub(crate) fn set_persistent(&mut self, at: Option<Instant>) {
        self.persistent = at;
    }

    /// The earliest moment at which something is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        let Self {
            retransmit,
            keepalive,
            another_keepalive: _,
            new_handshake,
            persistent,
            zero_keys,
        } = self;
        [retransmit, keepalive, new_handshake, persistent, zero_keys]
            .into_iter()
            .flatten()
            .min()
            .copied()
    }

    /// Something that is due by `now`, disarmed.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Due> {
        let due = |timer: &mut Option<Instant>| timer.take_if(|at| *at <= now).is_some();
        // Keys that are over come first: what they would be used for is over too.
        if due(&mut self.zero_keys) {
            return Some(Due::ZeroKeys);
        }
        if due(&mut self.retransmit) {
            return Some(Due::Retransmit);
        }
        if due(&mut self.keepalive) {
            return Some(Due::Keepalive);
        }
        if due(&mut self.new_handshake) {
            return Some(Due::NewHandshake);
        }
        due(&mut self.persistent).then_some(Due::Persistent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_armed_is_due_once_and_not_before() {
        let start = Instant::now();
        let mut timers = Timers::default();
        assert_eq!((timers.next(), timers.pop(start)), (None, None));
        timers.data_sent(start, || SECOND);
        timers.data_sent(start + SECOND, || SECOND);
        let at = start + 16 * SECOND;
        assert_eq!(timers.next(), Some(at));
        assert_eq!(timers.pop(at - Duration::from_nanos(1)), None);
        assert_eq!((timers.pop(at), timers.pop(at)), (Some(Due::NewHandshake), None));
    }

    #[test]
    fn an_answer_disarms() {
        let start = Instant::now();
        let mut timers = Timers::default();
        timers.data_sent(start, || Duration::ZERO);
        timers.received(start, None);
        timers.data_received(start);
        timers.sent(start, None);
        timers.initiated(start, Duration::ZERO);
        timers.completed();
        assert_eq!(timers.next(), None);
        timers.sent(start, Some(25 * SECOND));
        assert_eq!(timers.next(), Some(start + 25 * SECOND));
    }

    #[test]
    fn data_during_the_wait_asks_for_another_keepalive() {
        let start = Instant::now();
        let mut timers = Timers::default();
        timers.data_received(start);
        timers.data_received(start + SECOND);
        let first = start + KEEPALIVE_TIMEOUT;
        assert_eq!((timers.pop(first), timers.pop(first)), (Some(Due::Keepalive), None));
        timers.sent(first, None);
        timers.keepalive_sent(first);
        assert_eq!(timers.next(), Some(first + KEEPALIVE_TIMEOUT));
        let second = first + KEEPALIVE_TIMEOUT;
        assert_eq!((timers.pop(second), timers.next()), (Some(Due::Keepalive), None));
    }
}
