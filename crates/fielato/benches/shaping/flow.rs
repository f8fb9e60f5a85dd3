//! Datagrams with their times in them, from one machine to another; both read the same clock.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::machine::Machine;

/// Bytes of IPv4 and UDP headers.
const HEADERS: usize = 28;
/// Number and time.
const STAMP: usize = 16;
const BUFFER: usize = 4 << 20;

/// A datagram that arrived.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// Since the clock's start.
    pub at: Duration,
    /// When it was sent, since the clock's start.
    pub sent: Duration,
    /// Bytes of the IP packet.
    pub len: usize,
}

/// What receives at a port, and writes down what arrives.
pub struct Receiver {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Arrival>>,
}

/// What sends to a port.
pub struct Sender {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Receiver {
    pub fn start(machine: &Machine, port: u16, clock: Instant) -> Result<Self> {
        let socket = machine.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)))??;
        // As much as the system permits: root may have any.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER);
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut arrivals = Vec::new();
            let mut buffer = [0; 2048];
            while !asked.load(Ordering::Relaxed) {
                match socket.recv(&mut buffer) {
                    Ok(len) => {
                        let at = clock.elapsed();
                        let sent = buffer[8..STAMP].try_into().map_or(0, u64::from_be_bytes);
                        arrivals.push(Arrival {
                            at,
                            sent: Duration::from_nanos(sent),
                            len: len + HEADERS,
                        });
                    }
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                    Err(_) => break,
                }
            }
            arrivals
        });
        Ok(Self { stop, thread })
    }

    pub fn finish(self) -> Result<Vec<Arrival>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("a receiver panicked"))
    }
}

impl Sender {
    /// Sends IP packets of `len` bytes, one each `interval`, from a port of its own.
    pub fn start(machine: &Machine, to: SocketAddr, len: usize, interval: Duration, clock: Instant) -> Result<Self> {
        let socket = machine.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
        socket.connect(to)?;
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut payload = vec![0; len - HEADERS];
            let (begun, mut number) = (Instant::now(), 0_u64);
            while !asked.load(Ordering::Relaxed) {
                // What is late is made up for, a millisecond's worth at once.
                while interval * (number as u32) <= begun.elapsed() {
                    payload[..8].copy_from_slice(&number.to_be_bytes());
                    payload[8..STAMP].copy_from_slice(&(clock.elapsed().as_nanos() as u64).to_be_bytes());
                    // A full queue loses it, as any network may.
                    let _ = socket.send(&payload);
                    number += 1;
                }
                std::thread::sleep(interval.min(Duration::from_millis(1)));
            }
            number
        });
        Ok(Self { stop, thread })
    }

    /// How many it sent.
    pub fn finish(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("a sender panicked"))
    }
}

/// Megabits per second of IP packets that arrived in `from..to`.
pub fn rate(arrivals: &[Arrival], from: Duration, to: Duration) -> f64 {
    let within: Vec<&Arrival> = arrivals.iter().filter(|arrival| (from..to).contains(&arrival.at)).collect();
    let (Some(first), Some(last)) = (within.first(), within.last()) else {
        return 0.0;
    };
    // From the first arrival to the last: its bytes came in the time before it.
    let bytes: usize = within.iter().skip(1).map(|arrival| arrival.len).sum();
    bytes as f64 * 8.0 / (last.at - first.at).as_secs_f64() / 1e6
}

/// Delays in milliseconds, sorted.
pub fn delays(arrivals: &[Arrival]) -> Vec<f64> {
    let mut delays: Vec<f64> = arrivals
        .iter()
        .map(|arrival| arrival.at.saturating_sub(arrival.sent).as_secs_f64() * 1e3)
        .collect();
    delays.sort_by(f64::total_cmp);
    delays
}

/// Of sorted values; NaN when there are none.
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = (sorted.len() as f64 * part) as usize;
    sorted
        .get(at.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}
