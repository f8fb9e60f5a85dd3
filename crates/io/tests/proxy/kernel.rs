//! A member that is a kernel: its packets come from a TUN interface, superpackets among them.

use std::io::{IoSlice, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use fielato_gateway::Buffer;
use fielato_io::proxy::{Options, Proxy, Sink};
use fielato_io::tun::{self, Interface, Queue, READ_MAX};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::common::{Namespace, cable, can_run, is_slow, ping, raise, unique};
use super::member::options;

/// What comes back, written to the interface.
struct Back {
    queue: OnceLock<Queue>,
    loss: Loss,
}

/// Of a thousand packets so many get lost.
struct Loss {
    per_mille: u32,
    random: AtomicU32,
}

impl Loss {
    fn new(per_mille: u32) -> Self {
        Self {
            per_mille,
            random: AtomicU32::new(1),
        }
    }

    fn strikes(&self) -> bool {
        let random = self
            .random
            .load(Ordering::Relaxed)
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        self.random.store(random, Ordering::Relaxed);
        random >> 16 < self.per_mille * 65_536 / 1000
    }
}

impl Sink for Back {
    fn send(&self, packets: &mut Vec<Buffer>) {
        let queue = self.queue.get().expect("nothing comes back before something went out");
        for packet in packets.drain(..).filter(|_| !self.loss.strikes()) {
            queue.write(&packet.offload, &[IoSlice::new(&packet.data)]).unwrap();
        }
    }
}

/// The member's kernel, the proxy and the outside.
struct World {
    member: Namespace,
    outside: Namespace,
    hub: Namespace,
    _interface: Interface,
    end: Arc<AtomicBool>,
    carrier: Option<std::thread::JoinHandle<()>>,
    proxy: Arc<Proxy>,
}

impl World {
    /// Superpackets are used unless some get lost.
    fn new(loss: u32) -> Self {
        let (hub, outside) = cable();
        hub.within(|| std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"))
            .unwrap();
        assert!(["10.9.0.2", "fd09::2"].iter().all(|address| ping(&hub, address)));
        let (member, name) = (Namespace::new(), unique("tun"));
        let tun_options = tun::Options {
            offloads: loss == 0,
            ..tun::Options::default()
        };
        let (interface, mut queues) = member.within(|| tun::create(&name, &tun_options)).unwrap();
        raise(&member, &name, 2);
        for net in ["10.9.0.0/24", "fd09::/64"] {
            member.run(&format!("ip route add {net} dev {name}"));
        }
        let queue = queues.remove(0);
        let back = Arc::new(Back {
            queue: OnceLock::new(),
            loss: Loss::new(loss),
        });
        assert!(back.queue.set(queue.try_clone().unwrap()).is_ok());
        let options = Options {
            superpackets: loss == 0,
            ..options()
        };
        let proxy = Arc::new(hub.within(|| Proxy::start(options, back)).unwrap());
        let end = Arc::new(AtomicBool::new(false));
        let carrier = std::thread::spawn({
            let (proxy, end) = (Arc::clone(&proxy), Arc::clone(&end));
            move || carry(&queue, &proxy, &Loss::new(loss), &end)
        });
        Self {
            member,
            outside,
            hub,
            _interface: interface,
            end,
            carrier: Some(carrier),
            proxy,
        }
    }

    /// How long `bytes` bytes take to the member and from it.
    fn transfers(&self, address: &str, bytes: usize) -> [Duration; 2] {
        let listener = self.outside.within(|| TcpListener::bind("[::]:0")).unwrap();
        let to = format!("{address}:{}", listener.local_addr().unwrap().port());
        std::thread::scope(|scope| {
            let server = scope.spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(&data(bytes)).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                let mut all = Vec::new();
                stream.read_to_end(&mut all).unwrap();
                assert!(all == data(bytes));
            });
            let mut stream = self.member.within(|| TcpStream::connect(to)).unwrap();
            let (mut all, start) = (Vec::new(), Instant::now());
            stream.read_to_end(&mut all).unwrap();
            assert!(all == data(bytes));
            let (down, start) = (start.elapsed(), Instant::now());
            stream.write_all(&all).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            server.join().unwrap();
            [down, start.elapsed()]
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(carrier) = self.carrier.take() {
            let _ = carrier.join();
        }
    }
}

fn data(bytes: usize) -> Vec<u8> {
    (0..bytes as u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

fn carry(queue: &Queue, proxy: &Proxy, loss: &Loss, end: &AtomicBool) {
    let mut packet = vec![0; READ_MAX];
    let wait = Timespec {
        tv_sec: 0,
        tv_nsec: 20_000_000,
    };
    while !end.load(Ordering::Relaxed) {
        match queue.read(&mut packet) {
            Ok(_) if loss.strikes() => {}
            Ok((offload, len)) => {
                // A full queue is a lossy link.
                proxy.send(Buffer {
                    data: packet[..len].to_vec(),
                    offload,
                });
            }
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                poll(&mut [PollFd::new(queue, PollFlags::IN)], Some(&wait)).unwrap();
            }
        }
    }
}

#[test]
fn a_kernel_fetches_and_sends() {
    if !can_run("a_kernel_fetches_and_sends") {
        return;
    }
    let world = World::new(0);
    // FIELATO_PROXY_BYTES is for measuring.
    let bytes = std::env::var("FIELATO_PROXY_BYTES").map_or(32 << 20, |text| text.parse().unwrap());
    for address in ["10.9.0.2", "[fd09::2]"] {
        let times = world.transfers(address, bytes);
        let rates = times.map(|time| (bytes as f64 * 8e-6 / time.as_secs_f64()) as u64);
        println!("{address}: {bytes} bytes at {} Mbit/s, back at {} Mbit/s", rates[0], rates[1]);
    }
    for address in ["10.9.0.2", "fd09::2"] {
        assert!(ping(&world.member, address), "{address}");
    }
    assert_eq!(world.proxy.stats().tcp_opened, 2);
    assert!(!ping(&world.member, "10.9.0.1"), "the hub's own address");
    assert!(ping(&world.hub, "10.9.0.1"));
}

#[test]
fn a_kernel_on_a_lossy_way_does_not_wait_for_seconds() {
    if !can_run("a_kernel_on_a_lossy_way_does_not_wait_for_seconds") {
        return;
    }
    let world = World::new(10);
    for address in ["10.9.0.2", "[fd09::2]"] {
        let [down, up] = world.transfers(address, 8 << 20);
        println!("{address}: 8 MiB with a loss of 1 % each way: {down:?}, back {up:?}");
        // Some sixty are lost each way. smoltcp's timer alone is a second for each that comes with another.
        assert!(down.max(up) < Duration::from_secs(if is_slow() { 120 } else { 15 }));
    }
}
