//! What one thread leaves for a worker: packets and datagrams of peers that are the worker's. The kernel steers nearly all of
//! them to the right worker itself.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use fielato_wire::Offload;
use fielato_wireguard::Origin;

use crate::fd::Waker;

/// Mails that wait. A worker that is further behind loses more.
const MAX: usize = 512;

/// For one worker.
pub(super) enum Mail {
    /// A message that another worker's socket got.
    Datagram {
        /// The message.
        bytes: Vec<u8>,
        /// How it came.
        origin: Origin,
    },
    /// A packet that another worker's queue of the interface got.
    Packet {
        /// The packet.
        bytes: Vec<u8>,
        /// What is left to be done with it.
        offload: Offload,
    },
}

/// A worker's mails.
pub(super) struct Inbox {
    mails: Mutex<VecDeque<Mail>>,
    /// Used when there is mail, and when the worker shall look at its timers, its sockets, or whether to end.
    pub(super) waker: Waker,
}

impl Inbox {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            mails: Mutex::new(VecDeque::new()),
            waker: Waker::new()?,
        })
    }

    /// Leaves a mail and wakes the worker. False when too many wait, and this one is lost.
    pub(super) fn post(&self, mail: Mail) -> bool {
        let waiting = self.push(mail);
        if waiting == Some(1) {
            self.waker.wake();
        }
        waiting.is_some()
    }

    /// Like [`Inbox::post`], for the worker itself, which looks before it sleeps.
    pub(super) fn leave(&self, mail: Mail) -> bool {
        self.push(mail).is_some()
    }

    /// How many wait now; `None` when there is no room.
    fn push(&self, mail: Mail) -> Option<usize> {
        let mut mails = self.mails.lock().unwrap_or_else(PoisonError::into_inner);
        (mails.len() < MAX).then(|| {
            mails.push_back(mail);
            mails.len()
        })
    }

    /// All mails, in exchange for an empty list.
    pub(super) fn take(&self, into: &mut VecDeque<Mail>) {
        let mut mails = self.mails.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *mails, into);
    }
}
