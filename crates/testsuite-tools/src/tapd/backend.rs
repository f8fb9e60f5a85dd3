//! What stands between the taps.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use fielato_iptables::remote::{Request, Response};

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

    /// Answers a question about the rules, or changes them.
    fn rules(&mut self, _: &Request, _: Instant) -> Response {
        Response::Error("the rules are the kernel's own here: use its iptables".to_owned())
    }
}
