//! Packets that the hub must never forward, sent all the time, and looked for behind it.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fielato_kernel::netns::Netns;

use super::{World, shell};

/// Between one packet of each stream and the next.
const INTERVAL: Duration = Duration::from_millis(1);
/// The streams that must not pass, by the counters of the others' forward chain.
pub const FORBIDDEN: [&str; 6] = ["transit4", "transit6", "inward4", "inward6", "outward4", "outward6"];

/// What was counted.
#[derive(Default)]
pub struct Counts {
    /// Packets sent that must not pass.
    pub sent: AtomicU64,
    /// Of these, arrived in `far` from `out`.
    pub transit: AtomicU64,
    /// Of these, arrived in `out` from the member.
    pub outward: AtomicU64,
    /// Packets of the member's that a rule lets pass, sent; v4 and v6.
    pub allowed_sent: [AtomicU64; 2],
    /// Of these, arrived in `out`.
    pub allowed: [AtomicU64; 2],
}

/// Sends until it is dropped.
pub struct Prober {
    pub counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Stream {
    socket: UdpSocket,
    to: SocketAddr,
    forbidden: bool,
}

impl Prober {
    pub fn start(world: &World) -> Self {
        let stream = |from: &Netns, to: &str, forbidden: bool| {
            let to: SocketAddr = to.parse().unwrap();
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            Stream {
                socket: socket(from, any),
                to,
                forbidden,
            }
        };
        let streams = [
            // Between two networks that are not the VPN's: `up` turned forwarding on, so its rules must refuse it.
            stream(&world.out, "10.77.1.2:9001", true),
            stream(&world.out, "[fd77:1::2]:9001", true),
            // From the uplink to a member: no rule says so.
            stream(&world.out, "192.168.4.3:9002", true),
            stream(&world.out, "[fd00:4::3]:9002", true),
            // From a member to a port that is no service.
            stream(&world.mem, "10.77.0.2:9003", true),
            stream(&world.mem, "[fd77:0::2]:9003", true),
            stream(&world.mem, "10.77.0.2:9004", false),
            stream(&world.mem, "[fd77:0::2]:9004", false),
        ];
        // A v6 socket takes v4 too (ipv6(7), IPV6_V6ONLY).
        let receivers = [
            socket(&world.far, "[::]:9001"),
            socket(&world.out, "[::]:9003"),
            socket(&world.out, "[::]:9004"),
        ];
        let (counts, stop) = (Arc::new(Counts::default()), Arc::new(AtomicBool::new(false)));
        let (its_counts, its_stop) = (Arc::clone(&counts), Arc::clone(&stop));
        let thread = thread::spawn(move || probe(&streams, &receivers, &its_counts, &its_stop));
        Self {
            counts,
            stop,
            thread: Some(thread),
        }
    }

    /// Packets that came through and should not have; empty when none did.
    pub fn leaks(&self, world: &World) -> BTreeMap<String, u64> {
        let told = shell(&world.hub, "nft -j list counters table inet others");
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        let mut leaks: BTreeMap<String, u64> = told["nftables"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|entry| {
                let counter = entry.get("counter")?;
                Some((counter["name"].as_str()?.to_owned(), counter["packets"].as_u64()?))
            })
            .collect();
        assert_eq!(leaks.len(), FORBIDDEN.len(), "{told}");
        leaks.insert("arrived in far".into(), self.counts.transit.load(Ordering::SeqCst));
        leaks.insert("arrived in out".into(), self.counts.outward.load(Ordering::SeqCst));
        leaks.retain(|_, packets| *packets > 0);
        leaks
    }

    /// Begins to count anew.
    pub fn reset(&self, world: &World) {
        shell(&world.hub, "nft reset counters table inet others > /dev/null");
        self.counts.transit.store(0, Ordering::SeqCst);
        self.counts.outward.store(0, Ordering::SeqCst);
    }

    /// Waits until a packet that may pass has come through from now on: of v4, and of v6 where members have it.
    pub fn wait_for_allowed(&self, has_v6: bool, patience: Duration) -> Result<(), String> {
        let now = || self.counts.allowed.each_ref().map(|count| count.load(Ordering::SeqCst));
        let (before, deadline) = (now(), Instant::now() + patience);
        loop {
            let [v4, v6] = now();
            if v4 > before[0] && (v6 > before[1] || !has_v6) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "within {patience:?}, {} packets of v4 and {} of v6 came through",
                    v4 - before[0],
                    v6 - before[1]
                ));
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn socket(netns: &Netns, address: &str) -> UdpSocket {
    let socket = netns.run_in(|| UdpSocket::bind(address)).unwrap().unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn probe(streams: &[Stream], receivers: &[UdpSocket; 3], counts: &Counts, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        let next = Instant::now() + INTERVAL;
        for stream in streams {
            // Most of these can't get anywhere, and some are told so: no route while the tunnel is down, a refusal for an earlier
            // packet.
            let sent = stream.socket.send_to(b"probe", stream.to).is_ok();
            match stream.forbidden {
                true => counts.sent.fetch_add(sent.into(), Ordering::Relaxed),
                false => counts.allowed_sent[usize::from(!is_v4(stream.to))].fetch_add(sent.into(), Ordering::Relaxed),
            };
        }
        let [far, denied, allowed] = receivers;
        receive(far, |_| &counts.transit);
        receive(denied, |_| &counts.outward);
        receive(allowed, |from| &counts.allowed[usize::from(!is_v4(from))]);
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

fn receive<'a>(socket: &UdpSocket, count: impl Fn(SocketAddr) -> &'a AtomicU64) {
    let mut buffer = [0; 64];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((_, from)) => drop(count(from).fetch_add(1, Ordering::SeqCst)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            // An ICMP message for an earlier packet.
            Err(_) => {}
        }
    }
}

fn is_v4(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_ipv4()
}
