//! Looking at packets where a device handles them: copies for whoever captures, bounded, and next to nothing while nobody does.
//!
//! Packets go by in the device's threads and are never held up: when a listener's ring is full, the packet is counted as lost for it.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fielato_gateway::Station;
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

/// A packet, copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tapped {
    /// Which side.
    pub side: Side,
    /// Which way: from peers, or towards them.
    pub direction: Direction,
    /// When, since 1970.
    pub at: Duration,
    /// From the IP header on, as much as was asked for.
    pub bytes: Vec<u8>,
    /// How long it was. A superpacket is shown whole.
    pub len: usize,
    /// Whether it was seen where the gateway judged it, as it came; else where it went by, as it left.
    pub judged: bool,
    /// What it met, of a packet that was judged, if the limit allowed it.
    pub stations: Option<Vec<Station>>,
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
    /// Of no more packets than this each second it is asked what they meet.
    pub explained: u32,
    /// No other packets are wanted.
    pub only_explained: bool,
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
    /// The second of which `explained` counts.
    second: u64,
    explained: u32,
}

/// A packet that somebody wants: asked for before it is judged, shown afterwards.
#[derive(Debug)]
pub struct Ticket {
    direction: Direction,
    at: Duration,
    bytes: Vec<u8>,
    len: usize,
    /// Who wants it, and whether with what it meets.
    rings: Vec<(Arc<Ring>, bool)>,
}

impl Tap {
    /// Whether anybody listens: one relaxed load.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.0.on.load(Ordering::Relaxed)
    }

    /// Asks whether anybody wants this packet, which the gateway is about to judge. `at` is the time since 1970. Packets towards the
    /// tunnel are wanted for what they meet only: they are shown once more when they leave.
    #[inline]
    pub fn ask(&self, direction: Direction, at: Duration, packet: &[u8]) -> Option<Ticket> {
        if !self.is_on() {
            return None;
        }
        self.ask_listeners(direction, at, packet)
    }

    fn ask_listeners(&self, direction: Direction, at: Duration, packet: &[u8]) -> Option<Ticket> {
        let headers = Headers::parse(packet).ok();
        let wants = |ring: &Arc<Ring>| {
            let chosen = wants(&ring.wanted.clear, headers.as_ref());
            let explained = chosen && ring.may_explain(at);
            let plain = chosen && direction == Direction::Inbound && !ring.wanted.only_explained;
            (explained || plain).then(|| (Arc::clone(ring), explained))
        };
        let rings: Vec<_> = lock(&self.0.listeners).iter().filter_map(wants).collect();
        let snaplen = rings.iter().map(|(ring, _)| ring.wanted.snaplen).max()?;
        Some(Ticket {
            direction,
            at,
            bytes: packet[..packet.len().min(snaplen)].to_vec(),
            len: packet.len(),
            rings,
        })
    }

    /// Shows a packet that goes by, from its IP header on. `at` is the time since 1970.
    pub fn show(&self, side: Side, direction: Direction, at: Duration, packet: &[u8]) {
        if !self.is_on() {
            return;
        }
        let headers = Headers::parse(packet).ok();
        for ring in lock(&self.0.listeners).iter().filter(|ring| !ring.wanted.only_explained) {
            let filter = match side {
                Side::Clear => &ring.wanted.clear,
                Side::Cipher => &ring.wanted.cipher,
            };
            if wants(filter, headers.as_ref()) {
                ring.push(Tapped {
                    side,
                    direction,
                    at,
                    bytes: packet[..packet.len().min(ring.wanted.snaplen)].to_vec(),
                    len: packet.len(),
                    judged: false,
                    stations: None,
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
            self.show(Side::Cipher, direction, at, &ip.tos(tos).udp(sport, dport, payload));
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

impl Ticket {
    /// Whether somebody wants to know what the packet meets.
    pub fn explains(&self) -> bool {
        self.rings.iter().any(|(_, explained)| *explained)
    }

    /// Shows the packet, with what it met, to those who want it.
    pub fn show(self, stations: Option<&[Station]>) {
        let Self {
            direction,
            at,
            bytes,
            len,
            rings,
        } = self;
        for (ring, explained) in rings {
            ring.push(Tapped {
                side: Side::Clear,
                direction,
                at,
                bytes: bytes[..bytes.len().min(ring.wanted.snaplen)].to_vec(),
                len,
                judged: true,
                stations: stations.filter(|_| explained).map(<[Station]>::to_vec),
            });
        }
    }
}

impl Ring {
    fn may_explain(&self, at: Duration) -> bool {
        let mut waiting = lock(&self.waiting);
        if waiting.second != at.as_secs() {
            (waiting.second, waiting.explained) = (at.as_secs(), 0);
        }
        let may = waiting.explained < self.wanted.explained;
        waiting.explained += u32::from(may);
        may
    }

    fn push(&self, tapped: Tapped) {
        self.seen.fetch_add(1, Ordering::Relaxed);
        let mut waiting = lock(&self.waiting);
        if waiting.packets.len() >= self.wanted.packets || waiting.bytes + tapped.bytes.len() > self.wanted.bytes {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.bytes += tapped.bytes.len();
        waiting.packets.push_back(tapped);
        drop(waiting);
        self.came.notify_one();
    }
}

/// Whether a filter wants a packet. Of what is no IP packet there is nothing to choose by.
fn wants(filter: &Option<Filter>, headers: Option<&Headers>) -> bool {
    match (filter, headers) {
        (None, _) => false,
        (Some(filter), Some(headers)) => filter.matches(headers),
        (Some(filter), None) => filter.is_all(),
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
    use fielato_wire::build::Ip;
    use fielato_wire::filter::Words;

    use super::*;

    const NOW: Duration = Duration::from_secs(1);

    fn wanted(filter: &str) -> Wanted {
        Wanted {
            clear: Some(Words::parse(filter).unwrap().resolve(&|_, _| None).unwrap()),
            cipher: None,
            snaplen: 20,
            explained: 2,
            only_explained: false,
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

    fn show(tap: &Tap, at: Duration, packet: &[u8]) -> Option<bool> {
        let ticket = tap.ask(Direction::Inbound, at, packet)?;
        let explains = ticket.explains();
        ticket.show(explains.then_some(&[]));
        Some(explains)
    }

    #[test]
    fn everybody_is_shown_what_they_want() {
        let tap = Tap::default();
        let [v4, v6] = packets();
        assert_eq!(show(&tap, NOW, &v4), None);
        let (port, all) = (tap.listen(wanted("port 53")).unwrap(), tap.listen(wanted("")).unwrap());
        assert_eq!(show(&tap, NOW, &v4), Some(true));
        assert_eq!(show(&tap, NOW, &v6), Some(true));
        let one = |packet: &[u8]| Tapped {
            side: Side::Clear,
            direction: Direction::Inbound,
            at: NOW,
            bytes: packet[..20].to_vec(),
            len: packet.len(),
            judged: true,
            stations: Some(Vec::new()),
        };
        assert_eq!(port.take(Duration::ZERO), [one(&v4)]);
        assert_eq!(all.take(Duration::ZERO), [one(&v4), one(&v6)]);
        assert_eq!(all.take(Duration::ZERO), []);
        drop(all);
        assert_eq!((tap.is_on(), show(&tap, NOW, &v6)), (true, None));
        drop(port);
        assert!(!tap.is_on());
    }

    #[test]
    fn no_more_are_explained_than_was_asked_for() {
        let [v4, _] = packets();
        for (only_explained, beyond) in [(false, Some(false)), (true, None)] {
            let tap = Tap::default();
            let _listener = tap.listen(Wanted {
                only_explained,
                ..wanted("")
            });
            let explained: Vec<_> = (0..4).map(|_| show(&tap, NOW, &v4)).collect();
            assert_eq!(explained, [Some(true), Some(true), beyond, beyond]);
            assert_eq!(show(&tap, NOW + Duration::from_secs(1), &v4), Some(true), "the next second");
        }
    }

    #[test]
    fn what_leaves_is_shown_as_it_left_and_explained_as_it_came() {
        let tap = Tap::default();
        let [v4, _] = packets();
        let both = tap
            .listen(Wanted {
                cipher: Some(Filter::all()),
                explained: 1,
                ..wanted("")
            })
            .unwrap();
        for _ in 0..2 {
            if let Some(ticket) = tap.ask(Direction::Outbound, NOW, &v4) {
                ticket.show(Some(&[]));
            }
        }
        tap.show(Side::Clear, Direction::Outbound, NOW, &v4);
        tap.show(Side::Cipher, Direction::Inbound, NOW, &v4);
        let seen: Vec<_> = both
            .take(Duration::ZERO)
            .iter()
            .map(|seen| (seen.side, seen.judged, seen.stations.is_some()))
            .collect();
        assert_eq!(
            seen,
            [
                (Side::Clear, true, true),
                (Side::Clear, false, false),
                (Side::Cipher, false, false)
            ]
        );
    }

    #[test]
    fn is_bounded() {
        let tap = Tap::default();
        let listeners: Vec<_> = (0..LISTENERS_MAX).map(|_| tap.listen(wanted("")).unwrap()).collect();
        assert_eq!(tap.listen(wanted("")).unwrap_err(), Busy);
        let [v4, _] = packets();
        for _ in 0..10 {
            show(&tap, NOW, &v4);
        }
        for listener in &listeners {
            assert_eq!((listener.seen(), listener.lost()), (10, 7));
            assert_eq!(listener.take(Duration::ZERO).len(), 3);
        }
        // Room again, and now the bytes are the limit.
        drop(listeners);
        let tight = tap.listen(Wanted { bytes: 39, ..wanted("") }).unwrap();
        for _ in 0..2 {
            show(&tap, NOW, &v4);
        }
        assert_eq!((tight.take(Duration::ZERO).len(), tight.lost()), (1, 1));
    }

    #[test]
    fn a_listener_wakes_when_something_comes() {
        let tap = Tap::default();
        let listener = tap.listen(wanted("")).unwrap();
        let [v4, _] = packets();
        std::thread::scope(|scope| {
            scope.spawn(|| show(&tap, NOW, &v4));
            assert_eq!(listener.take(Duration::from_secs(10)).len(), 1);
        });
        assert_eq!(listener.take(Duration::from_millis(1)), []);
    }
}
