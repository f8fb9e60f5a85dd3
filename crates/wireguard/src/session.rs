//! One session's keys at work: data messages out and in, in place, without allocation.

use std::ops::Range;
use std::time::Instant;

use crate::aead::Aead;
use crate::drops::DropReason;
use crate::limits::{
    REJECT_AFTER_MESSAGES, REJECT_AFTER_TIME, REKEY_AFTER_MESSAGES, REKEY_AFTER_TIME, REKEY_AFTER_TIME_RECEIVING,
};
use crate::message::{DATA_HEADER, DATA_OVERHEAD, DATA_TYPE, TAG, u64_at};
use crate::noise::SessionKeys;
use crate::replay::ReplayWindow;

/// Keys, the counter for sending and the window for receiving.
pub(crate) struct Session {
    keys: SessionKeys,
    /// The next message's number.
    send_counter: u64,
    created: Instant,
    window: ReplayWindow,
}

impl Session {
    pub(crate) fn new(keys: SessionKeys, now: Instant) -> Self {
        Self {
            keys,
            send_counter: 0,
            created: now,
            window: ReplayWindow::new(),
        }
    }

    /// Our number of the session: the receiver in what the peer sends.
    pub(crate) fn local(&self) -> u32 {
        self.keys.local
    }

    /// Leaves out counters up to this one. Never goes back: a counter is used once.
    pub(crate) fn skip_counters(&mut self, counter: u64) {
        self.send_counter = self.send_counter.max(counter);
    }

    /// Whether the session is over: too old, or its counter at the end (WireGuard paper, section 6.2).
    #[inline]
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.send_counter >= REJECT_AFTER_MESSAGES || now.saturating_duration_since(self.created) >= REJECT_AFTER_TIME
    }

    /// Whether to begin a new handshake after sending with this session.
    #[inline]
    pub(crate) fn wants_rekey_after_send(&self, now: Instant) -> bool {
        self.send_counter > REKEY_AFTER_MESSAGES
            || (self.keys.initiator && now.saturating_duration_since(self.created) >= REKEY_AFTER_TIME)
    }

    /// Whether to begin one after receiving: the initiator's last chance before a session dies that only it receives on.
    #[inline]
    pub(crate) fn wants_rekey_after_receive(&self, now: Instant) -> bool {
        self.keys.initiator && now.saturating_duration_since(self.created) >= REKEY_AFTER_TIME_RECEIVING
    }

    /// Makes a data message of the packet at `message[16..16 + len]` (of length 0 for a keepalive; padding is the
    /// caller's) and returns the message's length. `None` when the session's counters are used up, or when `message`
    /// has not 16 bytes of room behind the packet.
    #[inline]
    pub(crate) fn seal(&mut self, aead: &mut dyn Aead, message: &mut [u8], len: usize) -> Option<usize> {
        if self.send_counter >= REJECT_AFTER_MESSAGES {
            return None;
        }
        let (header, rest) = message.split_first_chunk_mut::<DATA_HEADER>()?;
        let (packet, rest) = rest.split_at_mut_checked(len)?;
        let tag = rest.first_chunk_mut::<TAG>()?;

        let counter = self.send_counter;
        // Counted before use: no way out of here may lead to the same counter twice.
        self.send_counter += 1;
        header[..4].copy_from_slice(&DATA_TYPE);
        header[4..8].copy_from_slice(&self.keys.remote.to_le_bytes());
        header[8..].copy_from_slice(&counter.to_le_bytes());
        *tag = aead.seal(&self.keys.send, counter, packet);
        Some(len + DATA_OVERHEAD)
    }

    /// Decrypts a data message of this session in place and returns where its packet is.
    ///
    /// # Errors
    /// [`DropReason::Malformed`] when it is too short, [`DropReason::Replayed`] when its counter was seen before, is
    /// too old or too high, [`DropReason::NotAuthentic`] when the session's peer did not write it. The window
    /// remembers only authentic messages.
    #[inline]
    pub(crate) fn open(&mut self, aead: &mut dyn Aead, message: &mut [u8]) -> Result<Range<usize>, DropReason> {
        let end = match message.len().checked_sub(TAG) {
            Some(end) if end >= DATA_HEADER => end,
            _ => return Err(DropReason::Malformed),
        };
        let counter = u64_at(message, 8);
        // A replayed message costs no decryption.
        if !self.window.would_accept(counter) {
            return Err(DropReason::Replayed);
        }
        let (data, tag) = message.split_last_chunk_mut::<TAG>().ok_or(DropReason::Malformed)?;
        let packet = data.get_mut(DATA_HEADER..).ok_or(DropReason::Malformed)?;
        if !aead.open(&self.keys.receive, counter, packet, tag) {
            return Err(DropReason::NotAuthentic);
        }
        if !self.window.check_and_set(counter) {
            return Err(DropReason::Replayed);
        }
        Ok(DATA_HEADER..end)
    }
}

#[cfg(test)]
mod tests;
