//! Somebody on the path between two devices, who reads, keeps, changes and repeats datagrams.
//!
//! ```text
//!   a ──▶ front ──▶ proxy ──▶ back ──▶ b
//! ```

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Namespace, wait_for};

/// The first byte of a message (the paper's section 5.4).
pub const INITIATION: u8 = 1;
pub const RESPONSE: u8 = 2;
pub const DATA: u8 = 4;

/// What the threads share.
struct Shared {
    front: UdpSocket,
    back: UdpSocket,
    a: Mutex<Option<SocketAddr>>,
    b: SocketAddr,
    to_b: Mutex<Vec<Vec<u8>>>,
    to_a: Mutex<Vec<Vec<u8>>>,
    holds: AtomicBool,
    ends: AtomicBool,
}

/// Ends with the test.
pub struct Proxy {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Proxy {
    /// Where `a` is to send, in `namespace`, on the way to `b`.
    pub fn new(namespace: &Namespace, front: &str, b: &str) -> Self {
        let b: SocketAddr = b.parse().unwrap();
        let bind = |address: SocketAddr| {
            let socket = namespace.within(|| UdpSocket::bind(address)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            socket
        };
        let shared = Arc::new(Shared {
            front: bind(front.parse().unwrap()),
            back: bind(SocketAddr::new(b.ip(), 0)),
            a: Mutex::new(None),
            b,
            to_b: Mutex::default(),
            to_a: Mutex::default(),
            holds: AtomicBool::new(false),
            ends: AtomicBool::new(false),
        });
        let threads = [Shared::forward as fn(&Shared), Shared::return_].map(|work| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || work(&shared))
        });
        Self {
            shared,
            threads: threads.into(),
        }
    }

    /// Whether datagrams to `b` are recorded only, and not passed on.
    pub fn hold(&self, holds: bool) {
        self.shared.holds.store(holds, Ordering::SeqCst);
    }

    /// Sends to `b` as if it came from `a`.
    pub fn inject(&self, datagram: &[u8]) {
        self.shared.back.send_to(datagram, self.shared.b).unwrap();
    }

    /// Sends to `a` as if it came from `b`.
    pub fn inject_back(&self, datagram: &[u8]) {
        let a = self.shared.a.lock().unwrap().unwrap();
        self.shared.front.send_to(datagram, a).unwrap();
    }

    /// Takes what was recorded on the way to `b`, of this kind, when there are `count` of it.
    pub fn taken(&self, kind: u8, count: usize) -> Vec<Vec<u8>> {
        take(&self.shared.to_b, kind, count)
    }

    /// As [`Proxy::taken`], on the way to `a`.
    pub fn taken_back(&self, kind: u8, count: usize) -> Vec<Vec<u8>> {
        take(&self.shared.to_a, kind, count)
    }

    /// Forgets what was recorded.
    pub fn forget(&self) {
        self.shared.to_b.lock().unwrap().clear();
        self.shared.to_a.lock().unwrap().clear();
    }
}

fn take(record: &Mutex<Vec<Vec<u8>>>, kind: u8, count: usize) -> Vec<Vec<u8>> {
    let is_kind = |datagram: &Vec<u8>| datagram.first() == Some(&kind);
    wait_for("datagrams on the way", || {
        record.lock().unwrap().iter().filter(|datagram| is_kind(datagram)).count() >= count
    });
    record.lock().unwrap().extract_if(.., |datagram| is_kind(datagram)).collect()
}

impl Shared {
    fn forward(&self) {
        let mut buffer = vec![0; 65_535];
        while !self.ends.load(Ordering::SeqCst) {
            let Ok((len, from)) = self.front.recv_from(&mut buffer) else {
                continue;
            };
            *self.a.lock().unwrap() = Some(from);
            if !self.holds.load(Ordering::SeqCst) {
                // A refusal of an earlier datagram, which the path would lose as well.
                let _ = self.back.send_to(&buffer[..len], self.b);
            }
            self.to_b.lock().unwrap().push(buffer[..len].to_vec());
        }
    }

    fn return_(&self) {
        let mut buffer = vec![0; 65_535];
        while !self.ends.load(Ordering::SeqCst) {
            let Ok(len) = self.back.recv(&mut buffer) else { continue };
            let a = *self.a.lock().unwrap();
            if let Some(a) = a {
                let _ = self.front.send_to(&buffer[..len], a);
            }
            self.to_a.lock().unwrap().push(buffer[..len].to_vec());
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            // One that panicked has said so already.
            let _ = thread.join();
        }
    }
}
