//! Looking at packets where a device handles them: copies for whoever captures, bounded, and next to nothing while nobody does.
//!
//! Packets go by in the device's threads and are never held up: when a listener's ring is full, the packet is counted as lost for it.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fielato_wire::Headers;
use fielato_wire::build::Ip;
use fielato_wire::filter::Filter;
use fielato_wireguard::Path;

/// Most listeners at once.
const LISTENERS_MAX: usize = 4;

/// Which side of the encryption a packet is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Within the tunnel.
    Clear,
    /// WireGuard's own packets.
    Cipher,
}

/// Which way a packet goes, as the hub sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Direction {
    Inbound,
    Outbound,
}

/// Whether a packet went on, and why: the rule's comment, or the reason for a drop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it went on.
    pub passed: bool,
    /// Why, for a person.
    pub text: String,
}

/// A packet, copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tapped {
    /// Which side.
    pub side: Side,
    /// Which way.
    pub direction: Direction,
    /// When, since 1970.
    pub at: Duration,
    /// From the IP header on, as much as was asked for.
    pub bytes: Vec<u8>,
    /// How long it was.
    pub len: usize,
    /// What became of it, where that is known.
    pub verdict: Option<Verdict>,
}

/// What a listener wants.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Packets within the tunnel that this filter wants; none without it.
    pub clear: Option<Filter>,
    /// Encrypted packets that this filter wants; none without it.
    pub cipher: Option<Filter>,
    /// Bytes of each packet.
    pub snaplen: usize,
    /// Most packets that wait for the listener.
    pub packets: usize,
    /// Most of their bytes.
    pub bytes: usize,
}

/// There are as many listeners as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{LISTENERS_MAX} captures are running already; end one of them")]
pub struct Busy;

/// The place in a device where packets are looked at. Clones are the same place.
#[derive(Debug, Clone, Default)]
pub struct Tap(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Whether there is a listener. Nothing else is read while there is none.
    on: AtomicBool,
    listeners: Mutex<Vec<Arc<Ring>>>,
}

#[derive(Debug)]
struct Ring {
    wanted: Wanted,
    waiting: Mutex<Waiting>,
    came: Condvar,
    seen: AtomicU64,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    packets: VecDeque<Tapped>,
    bytes: usize,
}

impl Tap {
    /// Whether anybody listens: one relaxed load. Ask before making a verdict's text or reading a clock.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.0.on.load(Ordering::Relaxed)
    }

    /// Shows a packet, from its IP header on, to those who listen. `at` is the time since 1970; `verdict` is asked when somebody
    /// wants the packet. A superpacket is shown whole, with the lengths that its headers say.
    pub fn show(&self, side: Side, direction: Direction, at: Duration, packet: &[u8], verdict: impl Fn() -> Option<Verdict>) {
        if !self.is_on() {
            return;
        }
        // Of what is no IP packet there is nothing to choose by.
        let headers = Headers::parse(packet).ok();
        for ring in lock(&self.0.listeners).iter() {
            let filter = match side {
                Side::Clear => &ring.wanted.clear,
                Side::Cipher => &ring.wanted.cipher,
            };
            let Some(filter) = filter else { continue };
            let wanted = match &headers {
                Some(headers) => filter.matches(headers),
                None => filter.is_all(),
            };
            if wanted {
                ring.push(packet, |bytes| Tapped {
                    side,
                    direction,
                    at,
                    bytes,
                    len: packet.len(),
                    verdict: verdict(),
                });
            }
        }
    }

    /// Shows a datagram between our UDP port and a peer, as the packet that it is on the network. An address of ours that is not known
    /// is left unspecified.
    pub(crate) fn show_datagram(&self, direction: Direction, at: Duration, path: &Path, tos: u8, port: u16, payload: &[u8]) {
        if !self.is_on() {
            return;
        }
        let remote = path.remote.ip();
        let unspecified = match remote {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let local = path.local.unwrap_or(unspecified);
        let ((src, sport), (dst, dport)) = match direction {
            Direction::Inbound => ((remote, path.remote.port()), (local, port)),
            Direction::Outbound => ((local, port), (remote, path.remote.port())),
        };
        if let Some(ip) = Ip::between(src, dst) {
            self.show(Side::Cipher, direction, at, &ip.tos(tos).udp(sport, dport, payload), || None);
        }
    }

    /// Begins to listen, until the listener is dropped.
    ///
    /// # Errors
    /// [`Busy`] when there are too many.
    pub fn listen(&self, wanted: Wanted) -> Result<Listener, Busy> {
        let mut listeners = lock(&self.0.listeners);
        if listeners.len() >= LISTENERS_MAX {
            return Err(Busy);
        }
        let ring = Arc::new(Ring {
            wanted,
            waiting: Mutex::default(),
            came: Condvar::new(),
            seen: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        });
        listeners.push(Arc::clone(&ring));
        self.0.on.store(true, Ordering::Relaxed);
        Ok(Listener { tap: self.clone(), ring })
    }
}

impl Ring {
    fn push(&self, packet: &[u8], tapped: impl FnOnce(Vec<u8>) -> Tapped) {
        self.seen.fetch_add(1, Ordering::Relaxed);
        let bytes = &packet[..packet.len().min(self.wanted.snaplen)];
        let mut waiting = lock(&self.waiting);
        if waiting.packets.len() >= self.wanted.packets || waiting.bytes + bytes.len() > self.wanted.bytes {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.bytes += bytes.len();
        waiting.packets.push_back(tapped(bytes.to_vec()));
        drop(waiting);
        self.came.notify_one();
    }
}

/// Somebody who captures.
#[derive(Debug)]
pub struct Listener {
    tap: Tap,
    ring: Arc<Ring>,
}

impl Listener {
    /// What has come, in its order; when nothing has, what comes within `patience`.
    pub fn take(&self, patience: Duration) -> Vec<Tapped> {
        let empty = |waiting: &mut Waiting| waiting.packets.is_empty();
        let waited = self.ring.came.wait_timeout_while(lock(&self.ring.waiting), patience, empty);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        waiting.bytes = 0;
        std::mem::take(&mut waiting.packets).into()
    }

    /// Packets that were wanted so far, lost ones among them.
    pub fn seen(&self) -> u64 {
        self.ring.seen.load(Ordering::Relaxed)
    }

    /// Packets that were lost so far because the ring was full.
    pub fn lost(&self) -> u64 {
        self.ring.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut listeners = lock(&self.tap.0.listeners);
        listeners.retain(|ring| !Arc::ptr_eq(ring, &self.ring));
        self.tap.0.on.store(!listeners.is_empty(), Ordering::Relaxed);
    }
}

/// A thread that panicked here has left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use fielato_wire::build::Ip;
    use fielato_wire::filter::Words;

    use super::*;

    const NOW: Duration = Duration::from_secs(1);

    fn wanted(clear: &str) -> Wanted {
        let filter = Words::parse(clear).unwrap().resolve(&|_, _| None).unwrap();
        Wanted {
            clear: Some(filter),
            cipher: None,
            snaplen: 20,
            packets: 3,
            bytes: 1000,
        }
    }

    fn packets() -> [Vec<u8>; 2] {
        [
            Ip::v4([10, 0, 0, 1], [10, 0, 0, 2]).udp(1, 53, b"question"),
            Ip::v6([1, 0, 0, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 0, 0, 2]).udp(1, 54, b"other"),
        ]
    }

    #[test]
    fn shows_what_is_wanted_to_everybody_and_asks_for_verdicts_then_only() {
        let tap = Tap::default();
        let asked = Cell::new(0);
        let show = |side| {
            for packet in packets() {
                tap.show(side, Direction::Inbound, NOW, &packet, || {
                    asked.set(asked.get() + 1);
                    Some(Verdict {
                        passed: false,
                        text: "no rule".into(),
                    })
                });
            }
        };
        show(Side::Clear);
        assert!(!tap.is_on() && asked.get() == 0);

        let (port, all) = (tap.listen(wanted("port 53")).unwrap(), tap.listen(wanted("")).unwrap());
        show(Side::Clear);
        show(Side::Cipher);
        assert_eq!(asked.get(), 3);
        let [v4, v6] = packets();
        let one = |packet: &[u8]| Tapped {
            side: Side::Clear,
            direction: Direction::Inbound,
            at: NOW,
            bytes: packet[..20].to_vec(),
            len: packet.len(),
            verdict: Some(Verdict {
                passed: false,
                text: "no rule".into(),
            }),
        };
        assert_eq!(port.take(Duration::ZERO), [one(&v4)]);
        assert_eq!(all.take(Duration::ZERO), [one(&v4), one(&v6)]);
        assert_eq!(all.take(Duration::ZERO), []);

        drop(port);
        assert!(tap.is_on());
        drop(all);
        assert!(!tap.is_on());
    }

    #[test]
    fn is_bounded() {
        let tap = Tap::default();
        let listeners: Vec<_> = (0..LISTENERS_MAX).map(|_| tap.listen(wanted("")).unwrap()).collect();
        assert_eq!(tap.listen(wanted("")).unwrap_err(), Busy);
        let [v4, _] = packets();
        for _ in 0..10 {
            tap.show(Side::Clear, Direction::Outbound, NOW, &v4, || None);
        }
        for listener in &listeners {
            assert_eq!((listener.seen(), listener.lost()), (10, 7));
            assert_eq!(listener.take(Duration::ZERO).len(), 3);
        }
        // Room again, and now the bytes are the limit.
        drop(listeners);
        let tight = tap.listen(Wanted { bytes: 39, ..wanted("") }).unwrap();
        for _ in 0..2 {
            tap.show(Side::Clear, Direction::Outbound, NOW, &v4, || None);
        }
        assert_eq!((tight.take(Duration::ZERO).len(), tight.lost()), (1, 1));
    }

    #[test]
    fn a_listener_wakes_when_something_comes() {
        let tap = Tap::default();
        let listener = tap.listen(wanted("")).unwrap();
        let [v4, _] = packets();
        std::thread::scope(|scope| {
            scope.spawn(|| tap.show(Side::Clear, Direction::Inbound, NOW, &v4, || None));
            assert_eq!(listener.take(Duration::from_secs(10)).len(), 1);
        });
        assert_eq!(listener.take(Duration::from_millis(1)), []);
    }
}
