//! Bytes over TCP, each one checked on arrival.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Namespace, is_slow};

/// A prime, so that no segment that is lost, doubled or out of place goes unseen.
const PERIOD: usize = 1_000_003;

/// What is sent, over and over.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let byte_at = |at: u32| (at.wrapping_mul(2_654_435_761) >> 13) as u8;
    (0..PERIOD as u32).map(byte_at).collect()
});

/// Written and read at once.
const PIECE: usize = 64 << 10;

/// Something that happens in the middle of a transfer.
pub type Move<'a> = &'a (dyn Fn() + Sync);

/// Bytes of a transfer whose size does not matter.
pub fn small_transfer() -> u64 {
    if is_slow() { 200_000 } else { 3 << 20 }
}

/// 2 GB, or what takes a moment.
pub fn large_transfer(long: bool) -> u64 {
    match (is_slow(), long) {
        (true, _) => 4 << 20,
        (false, true) => 2_000_000_000,
        (false, false) => 32 << 20,
    }
}

/// Sends `bytes` bytes to `address`.
pub fn transfer(from: &Namespace, to: &Namespace, address: IpAddr, bytes: u64) {
    let sent = AtomicU64::new(0);
    carry(from, to, address, &sent, |at| at < bytes);
}

/// Sends until all of `moves` are done, and some more after each.
pub fn moved_transfer(from: &Namespace, to: &Namespace, address: IpAddr, moves: &[Move<'_>]) {
    let sent = AtomicU64::new(0);
    let goal = AtomicU64::new(u64::MAX);
    std::thread::scope(|scope| {
        let carrier = scope.spawn(|| carry(from, to, address, &sent, |at| at < goal.load(Ordering::Relaxed)));
        let more = || {
            let enough = sent.load(Ordering::Relaxed) + small_transfer();
            while sent.load(Ordering::Relaxed) < enough && !carrier.is_finished() {
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        more();
        for step in moves {
            step();
            more();
        }
        goal.store(0, Ordering::Relaxed);
        carrier.join().unwrap();
    });
}

/// Sends while `goes_on` of what was sent so far, and checks what arrives.
fn carry(from: &Namespace, to: &Namespace, address: IpAddr, sent: &AtomicU64, goes_on: impl Fn(u64) -> bool + Sync) {
    let timeout = Duration::from_secs(if is_slow() { 120 } else { 30 });
    let listener = to.within(|| TcpListener::bind(SocketAddr::new(address, 0)).unwrap());
    let address = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        // Connected first: when that fails, nobody waits for the other side.
        let mut stream = from.within(|| TcpStream::connect_timeout(&address, timeout)).unwrap();
        stream.set_write_timeout(Some(timeout)).unwrap();
        let (mut arriving, _) = listener.accept().unwrap();
        arriving.set_read_timeout(Some(timeout)).unwrap();
        let reader = scope.spawn(move || check(&mut arriving));
        let mut at = 0;
        while goes_on(at) {
            let begin = at as usize % PERIOD;
            let piece = &PATTERN[begin..(begin + PIECE).min(PERIOD)];
            stream.write_all(piece).unwrap();
            at += piece.len() as u64;
            sent.store(at, Ordering::Relaxed);
        }
        drop(stream);
        assert_eq!(reader.join().unwrap(), at, "bytes are missing");
    });
}

/// Reads to the end; how many bytes there were, all of them right.
fn check(stream: &mut TcpStream) -> u64 {
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    loop {
        let len = stream.read(&mut buffer).unwrap();
        if len == 0 {
            return at;
        }
        let mut rest = &buffer[..len];
        while !rest.is_empty() {
            let begin = at as usize % PERIOD;
            let expected = &PATTERN[begin..(begin + rest.len()).min(PERIOD)];
            assert!(rest.starts_with(expected), "bytes differ after {at}");
            rest = &rest[expected.len()..];
            at += expected.len() as u64;
        }
    }
}
