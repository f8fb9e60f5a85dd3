//! The bounded queue in front of the thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use crate::fd::Waker;
use fielato_gateway::Buffer;

/// Packets from members, until the thread takes them.
pub(super) struct Inbox {
    waker: Waker,
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    packets: Vec<Buffer>,
    ended: bool,
}

impl Inbox {
    pub(super) fn new(limit: usize) -> io::Result<Self> {
        Ok(Self {
            waker: Waker::new()?,
            limit,
            state: Mutex::default(),
        })
    }

    /// Whether there was room.
    pub(super) fn push(&self, packet: Buffer) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.ended || state.packets.len() >= self.limit {
            return false;
        }
        state.packets.push(packet);
        let first = state.packets.len() == 1;
        drop(state);
        if first {
            self.waker.wake();
        }
        true
    }

    /// Takes all packets into `to`, which is empty. `false` when it is over.
    pub(super) fn take(&self, to: &mut Vec<Buffer>) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut state.packets, to);
        !state.ended
    }

    /// Before [`Inbox::take`], so that no packet is left without a wake.
    pub(super) fn clear(&self) {
        self.waker.clear();
    }

    /// Lets the thread end, and takes no more packets.
    pub(super) fn end(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        self.waker.wake();
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waker.as_fd()
    }
}
