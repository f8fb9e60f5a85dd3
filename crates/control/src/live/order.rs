//! Packets of several sockets, in the order of their times, a moment later.
//!
//! Each is held for a while: packets of another socket, or what is said about it, may come after it.

use std::collections::BTreeMap;
use std::time::Duration;

use fielato_wire::pcapng::Verdict;

/// Most packets that are held.
const HELD_MAX: usize = 32 * 1024;
/// Most of their bytes.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// A packet that waits to be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// When it was seen, since 1970.
    pub at: Duration,
    /// Number of the interface in the file.
    pub interface: u32,
    /// Whether it was leaving.
    pub outbound: bool,
    /// As much as is written.
    pub bytes: Vec<u8>,
    /// How long it was.
    pub len: u32,
    /// What became of it, or how to learn that.
    pub fate: Fate,
}

/// What became of a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nobody will say.
    Unknown,
    /// By this it is found again among traced packets.
    Traced(Vec<u8>),
    /// This is known.
    Known(Explained),
}

/// What there is to say of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Explained {
    /// Whether it went on.
    pub verdict: Verdict,
    /// Why, in a sentence.
    pub comment: String,
}

/// The packets that wait.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// By time, and by number where times are the same.
    held: BTreeMap<(Duration, u64), Held>,
    next: u64,
    bytes: usize,
}

impl Order {
    pub fn push(&mut self, packet: Held) {
        self.bytes += packet.bytes.len();
        self.next += 1;
        self.held.insert((packet.at, self.next), packet);
    }

    /// The oldest packet, when it was seen before `until`, or when too much is held.
    pub fn pop(&mut self, until: Duration) -> Option<Held> {
        let full = self.held.len() > HELD_MAX || self.bytes > BYTES_MAX;
        let (&(at, number), _) = self.held.first_key_value()?;
        if at >= until && !full {
            return None;
        }
        let packet = self.held.remove(&(at, number))?;
        self.bytes -= packet.bytes.len();
        Some(packet)
    }

    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(at: u64, interface: u32) -> Held {
        Held {
            at: Duration::from_millis(at),
            interface,
            outbound: false,
            bytes: vec![0; 100],
            len: 100,
            fate: Fate::Unknown,
        }
    }

    #[test]
    fn packets_come_out_in_order_after_a_while() {
        let mut order = Order::default();
        for (at, interface) in [(5, 0), (3, 1), (3, 2), (9, 0)] {
            order.push(packet(at, interface));
        }
        let until = Duration::from_millis(6);
        let out: Vec<_> = std::iter::from_fn(|| order.pop(until)).collect();
        assert_eq!(out, [packet(3, 1), packet(3, 2), packet(5, 0)]);
        assert!(!order.is_empty());
        assert_eq!(order.pop(Duration::MAX), Some(packet(9, 0)));
        assert!(order.is_empty() && order.bytes == 0);
    }

    #[test]
    fn no_more_than_so_much_is_held() {
        let mut order = Order::default();
        for at in 0..HELD_MAX as u64 {
            order.push(packet(at, 0));
        }
        assert_eq!(order.pop(Duration::ZERO), None);
        order.push(packet(1 << 40, 0));
        assert_eq!(order.pop(Duration::ZERO), Some(packet(0, 0)));
        assert_eq!(order.pop(Duration::ZERO), None);
        let large = Held {
            bytes: vec![0; BYTES_MAX],
            ..packet(2, 0)
        };
        order.push(large);
        assert_eq!(order.pop(Duration::ZERO), Some(packet(1, 0)));
    }
}
