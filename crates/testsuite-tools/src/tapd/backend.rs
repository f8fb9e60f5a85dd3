//! What stands between the taps.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use fielato_wire::Family;

/// A machine with two interfaces that forwards between them.
pub trait Backend {
    /// A packet arrives at a tap.
    fn inject(&mut self, tap: usize, packet: &[u8], now: Instant) -> io::Result<()>;

    /// The machine itself sends a packet.
    fn send_local(&mut self, packet: &[u8], now: Instant) -> io::Result<()>;

    /// What left the machine since the last call: which tap, and the packet.
    fn outputs(&mut self) -> io::Result<Vec<(usize, Vec<u8>)>>;

    /// What to wait on for packets that leave without one coming in.
    fn wakes(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }

    /// The rule set as restore text with counters, and its generation.
    fn save_rules(&mut self, family: Family) -> Result<(String, u64), String> {
        Err(format!("the rules of {family:?} are the kernel's own here: use its iptables"))
    }

    /// Replaces the rule set if its generation is still this one; `false` when it is not.
    fn restore_rules(&mut self, family: Family, generation: u64, text: &str, now: Instant) -> Result<bool, String> {
        let _ = (generation, text, now);
        Err(format!("the rules of {family:?} are the kernel's own here: use its iptables"))
    }
}
