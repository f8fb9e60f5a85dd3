//! The way to one peer that is in use: handshake, sessions, timers, and packets that wait.
//!
//! Up to three sessions at once, as in the Linux driver (`noise.c`): the current one; the previous one, for what is
//! still under way; and the next one, which the peer began and has not used yet.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::cookie::Macs;
use crate::noise::{Initiator, SessionKeys};
use crate::session::Session;
use crate::timers::Timers;

/// Packets that wait for one peer's handshake; the kernel keeps as many (`MAX_STAGED_PACKETS`).
pub(crate) const STAGED_MAX: usize = 128;

/// Wrong answers to one initiation that are looked at: each costs two multiplications on the curve.
const WRONG_RESPONSES: u8 = 8;

/// About 4 KB with its sessions, so it is made when first needed and goes with its last keys.
pub(crate) struct Tunnel {
    pub(crate) static_static: zeroize::Zeroizing<[u8; 32]>,
    pub(crate) macs: Macs,
    handshake: Option<Outgoing>,
    /// Initiations without an answer, since something else than a timer asked for one.
    pub(crate) attempts: u32,
    pub(crate) last_initiation: Option<Instant>,
    current: Option<Box<Session>>,
    previous: Option<Box<Session>>,
    next: Option<Box<Session>>,
    pub(crate) timers: Timers,
    /// Whether the current session's last minute was used to ask for another one.
    renewed_late: bool,
    pub(crate) staged: VecDeque<Vec<u8>>,
    /// When the device looks at the timers next; not later than they say.
    pub(crate) wake: Option<Instant>,
}

/// An initiation that waits for its answer.
struct Outgoing {
    initiator: Initiator,
    index: u32,
    wrong_responses: u8,
}

/// What became of a session's number.
pub(crate) type Retired = Option<u32>;

impl Tunnel {
    pub(crate) fn new(static_static: zeroize::Zeroizing<[u8; 32]>, macs: Macs) -> Self {
        Self {
            static_static,
            macs,
            handshake: None,
            attempts: 0,
            last_initiation: None,
            current: None,
            previous: None,
            next: None,
            timers: Timers::default(),
            renewed_late: false,
            staged: VecDeque::new(),
            wake: None,
        }
    }

    /// The session to send with, unless it is over.
    pub(crate) fn sending(&mut self, now: Instant) -> Option<&mut Session> {
        self.current.as_deref_mut().filter(|session| !session.is_over(now))
    }

    /// The session that has this number with us, unless it is over.
    pub(crate) fn receiving(&mut self, index: u32, now: Instant) -> Option<&mut Session> {
        let Self {
            current, previous, next, ..
        } = self;
        let session = [current, previous, next]
            .into_iter()
            .flatten()
            .find(|session| session.local() == index)?;
        (!session.is_over(now)).then_some(session)
    }

    /// Whether the session to send with is due for renewal (`keep_key_fresh` in `send.c`).
    pub(crate) fn is_stale_to_send(&self, now: Instant) -> bool {
        self.current
            .as_ref()
            .is_some_and(|session| session.wants_rekey_after_send(now))
    }

    /// Whether a session that only receives is due for renewal, told once (`keep_key_fresh` in `receive.c`).
    pub(crate) fn is_stale_to_receive(&mut self, now: Instant) -> bool {
        let stale = !self.renewed_late
            && self
                .current
                .as_ref()
                .is_some_and(|session| session.wants_rekey_after_receive(now));
        self.renewed_late |= stale;
        stale
    }

    /// Keeps what is needed to read the answer; returns the number of the initiation that it replaces.
    pub(crate) fn begun(&mut self, initiator: Initiator, index: u32) -> Retired {
        let outgoing = Outgoing {
            initiator,
            index,
            wrong_responses: 0,
        };
        self.handshake.replace(outgoing).map(|old| old.index)
    }

    /// The initiation of this number, while it may be answered.
    pub(crate) fn awaiting(&self, index: u32) -> Option<&Initiator> {
        let outgoing = self.handshake.as_ref()?;
        (outgoing.index == index && outgoing.wrong_responses < WRONG_RESPONSES).then_some(&outgoing.initiator)
    }

    /// Counts a wrong answer.
    pub(crate) fn wrong_response(&mut self) {
        if let Some(outgoing) = &mut self.handshake {
            outgoing.wrong_responses = outgoing.wrong_responses.saturating_add(1);
        }
    }

    /// Our initiation was answered (`wg_noise_handshake_begin_session`). The number passes from handshake to session.
    pub(crate) fn answered(&mut self, keys: SessionKeys, now: Instant) -> [Retired; 2] {
        self.handshake = None;
        let new = Box::new(Session::new(keys, now));
        let old = self.current.replace(new);
        let (previous, dropped) = match self.next.take() {
            // The peer has not used it, but may think that we do.
            Some(next) => (Some(next), old),
            None => (old, None),
        };
        let before = std::mem::replace(&mut self.previous, previous);
        self.established();
        self.timers.session_derived(now);
        [index_of(before), index_of(dropped)]
    }

    /// We answered the peer's initiation. Nothing is sent with these keys until the peer has used them.
    pub(crate) fn responded(&mut self, keys: SessionKeys, now: Instant) -> [Retired; 2] {
        let new = Box::new(Session::new(keys, now));
        let (before, previous) = (self.next.replace(new), self.previous.take());
        self.timers.session_derived(now);
        [index_of(before), index_of(previous)]
    }

    /// The peer used the session of this number: when it is the next one, it is the current one from now on.
    pub(crate) fn used(&mut self, index: u32) -> Option<Retired> {
        let next = self.next.take_if(|next| next.local() == index)?;
        let current = self.current.replace(next);
        let retired = std::mem::replace(&mut self.previous, current);
        self.established();
        Some(index_of(retired))
    }

    /// See [`crate::Shard::skip_counters`].
    pub(crate) fn skip_counters(&mut self, counter: u64) {
        if let Some(session) = &mut self.current {
            session.skip_counters(counter);
        }
    }

    fn established(&mut self) {
        self.timers.completed();
        self.attempts = 0;
        self.renewed_late = false;
    }

    /// Forgets our own initiation; returns its number.
    pub(crate) fn forget_handshake(&mut self) -> Retired {
        self.handshake.take().map(|outgoing| outgoing.index)
    }

    /// Forgets the sessions; returns their numbers.
    pub(crate) fn forget_sessions(&mut self) -> [Retired; 3] {
        [
            index_of(self.current.take()),
            index_of(self.previous.take()),
            index_of(self.next.take()),
        ]
    }
}

fn index_of(session: Option<Box<Session>>) -> Retired {
    session.map(|session| session.local())
}

/// The administrator's interval between keepalives; 0 for off.
pub(crate) fn interval(seconds: u16) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}
