//! TUN queues over the real kernel: two interfaces joined by a loop that cuts what one gives and joins it for the other.
//!
//! ```text
//!   namespace A                                 namespace B
//!   TUN: 10.8.0.1, fd08::1  ── cut, join ──►    TUN: 10.8.0.2, fd08::2
//! ```

mod common;

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::transfers::transfer;
use common::{Namespace, can_run, raise, unique};
use fielato_io::tun::{self, Interface, Offloads, Options, Queue, READ_MAX};
use fielato_wire::build::Ip;
use fielato_wire::gro::Coalescer;
use fielato_wire::gso::Segments;
use fielato_wire::{Headers, Offload, SegmentationKind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const ADDRESSES: [&str; 2] = ["10.8.0.2", "fd08::2"];

/// A namespace with a TUN interface.
struct End {
    namespace: Namespace,
    name: String,
    interface: Interface,
    queues: Vec<Queue>,
}

impl End {
    fn new(host: u8, options: &Options) -> Self {
        let (namespace, name) = (Namespace::new(), unique("tun"));
        let (interface, queues) = namespace.within(|| tun::create(&name, options)).unwrap();
        raise(&namespace, &name, host);
        Self {
            namespace,
            name,
            interface,
            queues,
        }
    }
}

/// What went from one interface to the other.
#[derive(Default)]
struct Seen {
    superpackets: AtomicUsize,
    longest: AtomicUsize,
    joined: AtomicUsize,
    queues: AtomicUsize,
}

/// Waits a moment for a packet.
fn readable(queue: &Queue) -> bool {
    let wait = Timespec {
        tv_sec: 0,
        tv_nsec: 20_000_000,
    };
    matches!(poll(&mut [PollFd::new(&queue.as_fd(), PollFlags::IN)], Some(&wait)), Ok(1..))
}

/// Carries packets from one queue to the other until told to end.
fn carry(from: &Queue, to: &Queue, seen: &Seen, end: &AtomicBool) {
    let Offloads { tcp, udp } = to.offloads();
    let mut coalescer = Coalescer::new(if tcp { 44 } else { 1 }, udp);
    let mut packet = vec![0; READ_MAX];
    let mut buffer = vec![0; 4 << 20];
    let mut used = false;
    while !end.load(Ordering::Acquire) {
        let mut at = 0;
        // A batch: what is there now, as far as there is room for it.
        while at + 2 * READ_MAX < buffer.len() {
            let (offload, len) = match from.read(&mut packet) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("read: {error}"),
            };
            let mut segments = Segments::new(&packet[..len], &offload).unwrap();
            seen.superpackets
                .fetch_add(usize::from(segments.count() > 1), Ordering::Relaxed);
            seen.longest.fetch_max(segments.count(), Ordering::Relaxed);
            while let Some(len) = segments.write_next(&mut buffer[at..]) {
                assert!(len <= 1420, "a segment of {len} bytes");
                assert!(Headers::receive(&buffer[at..at + len]).is_ok());
                coalescer.push(&buffer, at..at + len).unwrap();
                at += len;
            }
        }
        if at == 0 {
            readable(from);
            continue;
        }
        if !used {
            used = true;
            seen.queues.fetch_add(1, Ordering::Relaxed);
        }
        let items: Vec<(Offload, Vec<Range<usize>>)> = coalescer
            .finish(&mut buffer)
            .map(|item| (item.offload, item.parts.to_vec()))
            .collect();
        for (offload, parts) in items {
            seen.joined.fetch_add(usize::from(parts.len() > 1), Ordering::Relaxed);
            let parts: Vec<_> = parts.into_iter().map(|part| IoSlice::new(&buffer[part])).collect();
            to.write(&offload, &parts).unwrap();
        }
    }
}

/// Does something while both ends are joined; returns what went from the first to the second.
fn joined(a: &End, b: &End, work: impl FnOnce()) -> Seen {
    let (end, there, back) = (AtomicBool::new(false), Seen::default(), Seen::default());
    struct Ends<'a>(&'a AtomicBool);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    std::thread::scope(|scope| {
        let _ends = Ends(&end);
        for (from, to, seen) in [(a, b, &there), (b, a, &back)] {
            for (n, queue) in from.queues.iter().enumerate() {
                let to = &to.queues[n % to.queues.len()];
                let end = &end;
                scope.spawn(move || carry(queue, to, seen, end));
            }
        }
        work();
    });
    there
}

fn options(offloads: bool, queues: usize) -> Options {
    Options {
        queues,
        offloads,
        ..Options::default()
    }
}

#[test]
fn tcp_crosses_with_and_without_offloads() {
    if !can_run("tcp_crosses_with_and_without_offloads") {
        return;
    }
    for (here, there) in [(true, true), (true, false), (false, true), (false, false)] {
        let (a, b) = (End::new(1, &options(here, 1)), End::new(2, &options(there, 1)));
        for address in ADDRESSES {
            let address: IpAddr = address.parse().unwrap();
            let seen = joined(&a, &b, || transfer(&a.namespace, &b.namespace, address, 20 << 20));
            let (superpackets, joined) = (seen.superpackets.into_inner(), seen.joined.into_inner());
            assert_eq!(superpackets > 50, here, "{address}: {superpackets} superpackets read");
            assert_eq!(joined > 50, there, "{address}: {joined} superpackets written");
        }
        let statistics = b
            .namespace
            .run(&format!("cat /sys/class/net/{}/statistics/rx_errors", b.name));
        assert_eq!(statistics.trim(), "0");
    }
}

#[test]
fn flows_spread_over_queues() {
    if !can_run("flows_spread_over_queues") {
        return;
    }
    let (a, b) = (End::new(1, &options(true, 4)), End::new(2, &options(true, 4)));
    assert_eq!(a.queues.len(), 4);
    for address in ADDRESSES {
        let address: IpAddr = address.parse().unwrap();
        let seen = joined(&a, &b, || {
            transfer(&a.namespace, &b.namespace, address, 4 << 20);
            // Many flows, so that all of them on one queue would be a wonder.
            let sockets: Vec<_> = a.namespace.within(|| {
                let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                (0..64).map(|_| UdpSocket::bind(any).unwrap()).collect()
            });
            for socket in &sockets {
                socket.send_to(&[1; 100], SocketAddr::new(address, 9)).unwrap();
            }
            std::thread::sleep(Duration::from_millis(100));
        });
        assert!(seen.queues.into_inner() > 1, "{address}: all on one queue");
    }
}

#[test]
fn settings_reach_the_interface() {
    if !can_run("settings_reach_the_interface") {
        return;
    }
    let end = End::new(
        1,
        &Options {
            mtu: 1380,
            gso_segments_max: Some(44),
            queue_len: Some(77),
            ..Options::default()
        },
    );
    let link = end.namespace.run(&format!("ip -details link show {}", end.name));
    for expected in ["mtu 1380", "qlen 77", "gso_max_segs 44"] {
        assert!(link.contains(expected), "{expected} in {link}");
    }
    assert_eq!(end.interface.name(), end.name);
    assert_eq!(end.interface.mtu().unwrap(), 1380);
    end.interface.set_mtu(1400).unwrap();
    end.interface.set_queue_len(500).unwrap();
    let link = end.namespace.run(&format!("ip link show {}", end.name));
    assert!(link.contains("mtu 1400") && link.contains("qlen 500"), "{link}");
    assert!(end.interface.set_mtu(20).is_err());
    // Nobody's interface is taken over, whatever is asked of it.
    for options in [options(true, 1), options(false, 1), options(true, 2)] {
        let taken = end
            .namespace
            .within(|| tun::create(&end.name, &options).map(drop))
            .unwrap_err();
        assert_eq!(taken.raw_os_error(), Some(libc::EBUSY));
    }
    for name in ["", "a/b", "a b", "with-15-bytes+1x", "tun%d"] {
        let wrong = end
            .namespace
            .within(|| tun::create(name, &options(true, 1)).map(drop))
            .unwrap_err();
        assert_eq!(wrong.kind(), io::ErrorKind::InvalidInput, "{name:?}");
    }
}

#[test]
fn a_limit_that_the_kernel_refuses_is_done_without() {
    if !can_run("a_limit_that_the_kernel_refuses_is_done_without") {
        return;
    }
    let end = End::new(
        1,
        &Options {
            // More than `GSO_MAX_SEGS` (include/linux/netdevice.h).
            gso_segments_max: Some(70_000),
            ..Options::default()
        },
    );
    let link = end.namespace.run(&format!("ip -details link show {}", end.name));
    assert!(link.contains("gso_max_segs 65535"), "{link}");
}

#[test]
fn the_kernels_superpackets_have_no_more_segments_than_told() {
    if !can_run("the_kernels_superpackets_have_no_more_segments_than_told") {
        return;
    }
    let limited = Options {
        gso_segments_max: Some(8),
        ..options(true, 1)
    };
    let (a, b) = (End::new(1, &limited), End::new(2, &options(true, 1)));
    for address in ADDRESSES {
        let seen = joined(&a, &b, || {
            transfer(&a.namespace, &b.namespace, address.parse().unwrap(), 4 << 20);
        });
        let longest = seen.longest.into_inner();
        assert!((2..=8).contains(&longest), "{address}: {longest} segments");
    }
}

#[test]
fn a_queue_without_offloads_refuses_superpackets() {
    if !can_run("a_queue_without_offloads_refuses_superpackets") {
        return;
    }
    let end = End::new(1, &options(false, 1));
    assert_eq!(end.queues[0].offloads(), Offloads::default());
    let offload = Offload {
        needs_csum: Some((20, 16)),
        ..Offload::default()
    };
    let refused = end.queues[0].write(&offload, &[IoSlice::new(&[0x45; 40])]).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn a_cloned_queue_is_the_same_queue() {
    if !can_run("a_cloned_queue_is_the_same_queue") {
        return;
    }
    let mut end = End::new(1, &options(true, 2));
    for address in ADDRESSES {
        let address: IpAddr = address.parse().unwrap();
        let any = if address.is_ipv4() { "10.8.0.1:0" } else { "[fd08::1]:0" };
        let socket = end.namespace.within(|| UdpSocket::bind(any).unwrap());
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let (here, there) = (socket.local_addr().unwrap(), SocketAddr::new(address, 9));

        // The original goes, but the queue stays open: the kernel would give its number to the last one.
        let clone = end.queues[0].try_clone().unwrap();
        assert_eq!(clone.offloads(), end.queues[0].offloads());
        end.queues[0] = clone;
        for queue in [0, 1] {
            let answer = Ip::between(there.ip(), here.ip()).unwrap();
            let answer = answer.udp(there.port(), here.port(), b"answer");
            let written = end.queues[queue].try_clone().unwrap();
            written.write(&Offload::default(), &[IoSlice::new(&answer)]).unwrap();
            drop(written);
            let mut buffer = [0; 100];
            let (len, from) = socket.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..len], from), (b"answer".as_slice(), there));

            // The flow follows what was written: the clone has the queue's number.
            let asked = format!("question to queue {queue}");
            socket.send_to(asked.as_bytes(), there).unwrap();
            let deadline = Instant::now() + Duration::from_secs(5);
            let mut packet = vec![0; READ_MAX];
            loop {
                assert!(Instant::now() < deadline, "{asked} did not come");
                readable(&end.queues[queue]);
                match end.queues[queue].read(&mut packet) {
                    Ok((_, len)) if packet[..len].ends_with(asked.as_bytes()) => break,
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn datagrams_come_and_go_as_superpackets() {
    const TEST: &str = "datagrams_come_and_go_as_superpackets";
    if !can_run(TEST) {
        return;
    }
    let (a, b) = (End::new(1, &options(true, 1)), End::new(2, &options(true, 1)));
    if !a.queues[0].offloads().udp {
        fielato_testkit::skip(
            TEST,
            "this kernel has no superpackets of datagrams for TUN interfaces (Linux 6.2)",
        );
        return;
    }
    for address in ADDRESSES {
        let address: IpAddr = address.parse().unwrap();
        let receiver = b
            .namespace
            .within(|| UdpSocket::bind(SocketAddr::new(address, 7000)).unwrap());
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let sender = a.namespace.within(|| UdpSocket::bind(any).unwrap());
        let size: libc::c_int = 500;
        set_segment_size(&sender, size);
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        let data: Vec<u8> = (0..10_250u32).map(|n| (n * 31 % 251) as u8).collect();
        sender.send(&data).unwrap();

        // As it comes, before anything is done with it.
        let mut packet = vec![0; READ_MAX];
        let deadline = Instant::now() + Duration::from_secs(5);
        let (offload, len) = loop {
            assert!(Instant::now() < deadline, "no superpacket came");
            readable(&a.queues[0]);
            match a.queues[0].read(&mut packet) {
                // Router solicitations and reports of groups are about as well.
                Ok((offload, len)) if offload.segmentation.is_some() => break (offload, len),
                _ => {}
            }
        };
        let segmentation = offload.segmentation.unwrap();
        assert_eq!((segmentation.kind, segmentation.size), (SegmentationKind::Udp, 500));
        let mut segments = Segments::new(&packet[..len], &offload).unwrap();
        assert_eq!(segments.count(), 21);

        // Cut, joined and written to the other end, where each datagram arrives by itself.
        let (mut buffer, mut at, mut coalescer) = (vec![0; READ_MAX], 0, Coalescer::new(64, true));
        while let Some(len) = segments.write_next(&mut buffer[at..]) {
            coalescer.push(&buffer, at..at + len).unwrap();
            at += len;
        }
        let items: Vec<_> = coalescer
            .finish(&mut buffer)
            .map(|item| (item.offload, item.parts.to_vec()))
            .collect();
        let [(offload, parts)] = items.as_slice() else {
            panic!("{} superpackets", items.len());
        };
        let parts: Vec<_> = parts.iter().map(|part| IoSlice::new(&buffer[part.clone()])).collect();
        b.queues[0].write(offload, &parts).unwrap();
        let mut received = Vec::new();
        for n in 0..21 {
            let mut datagram = [0; 2000];
            let len = receiver.recv(&mut datagram).unwrap();
            assert_eq!(len, if n == 20 { 250 } else { 500 });
            received.extend_from_slice(&datagram[..len]);
        }
        assert_eq!(received, data);
    }
}

/// Has the kernel cut what is sent into datagrams of this size (`UDP_SEGMENT`, man 7 udp).
#[allow(unsafe_code)]
fn set_segment_size(socket: &UdpSocket, size: libc::c_int) {
    use std::os::fd::AsRawFd;
    // SAFETY: the option reads one `int`, which lives through the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const size).cast(),
            size_of_val(&size) as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "UDP_SEGMENT: {}", io::Error::last_os_error());
}
