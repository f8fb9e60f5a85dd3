//! The protocol's constants (WireGuard paper, section 6.1; the kernel driver's `messages.h`).

use std::time::Duration;

/// Messages after which a session's initiator or responder asks for new keys.
pub const REKEY_AFTER_MESSAGES: u64 = 1 << 60;
/// Counters from here on are neither sent nor taken: the replay window would run over.
pub const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);
/// Age at which the initiator asks for new keys when it sends.
pub const REKEY_AFTER_TIME: Duration = Duration::from_secs(120);
/// Age at which a session is over.
pub const REJECT_AFTER_TIME: Duration = Duration::from_secs(180);
/// How long a handshake is tried again and again before the waiting packets are given up.
pub const REKEY_ATTEMPT_TIME: Duration = Duration::from_secs(90);
/// Time between two initiations to the same peer.
pub const REKEY_TIMEOUT: Duration = Duration::from_secs(5);
/// Upper bound of the random time added to [`REKEY_TIMEOUT`], so that two ends don't try in step.
pub const REKEY_TIMEOUT_JITTER: Duration = Duration::from_millis(333);
/// A peer that received data and sent nothing for this long sends an empty message.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Age at which the initiator asks for new keys when it receives: one more attempt and one more keepalive fit
/// before the session is over (section 6.2).
pub const REKEY_AFTER_TIME_RECEIVING: Duration = Duration::from_secs(180 - 10 - 5);
/// Initiations that one peer is answered per second (the kernel's `INITIATIONS_PER_SECOND`).
pub const INITIATIONS_PER_SECOND: u32 = 50;
/// Age at which the secret behind cookies is replaced (section 5.4.7).
pub const COOKIE_SECRET_MAX_AGE: Duration = Duration::from_secs(120);
/// How much earlier the receiver of a cookie stops using it (the kernel's `COOKIE_SECRET_LATENCY`).
pub const COOKIE_LATENCY: Duration = Duration::from_secs(5);
/// The plaintext of data messages is padded with zeros to a multiple of this (section 5.4.6).
pub const PADDING_MULTIPLE: usize = 16;
