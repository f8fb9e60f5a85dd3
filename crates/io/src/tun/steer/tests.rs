//! An interface of four queues in a network namespace of its own. What the system sends is looked for on all of them.

use std::collections::BTreeSet;
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use fielato_wire::build::Ip;
use fielato_wire::{Offload, SegmentationKind};
use rustix::net::netdevice::name_to_index;
use rustix::thread::{CapabilitySet, UnshareFlags, capabilities, set_capabilities, unshare_unsafe};
use socket2::{Domain, Socket, Type};

use super::*;
use crate::tun::{Interface, Options, READ_MAX, create};

const QUEUES: usize = 4;
const FLOWS: usize = 24;
const PORT: u16 = 9;

/// An interface that everything is routed to.
struct Lab {
    interface: Interface,
    queues: Vec<Queue>,
}

impl Lab {
    fn new() -> Self {
        let options = Options {
            queues: QUEUES,
            ..Options::default()
        };
        let (interface, queues) = create("steered", &options).unwrap();
        run("ip addr add 10.8.0.1/24 dev steered");
        run("ip addr add fd08::1/64 dev steered nodad");
        run("ip link set steered up");
        run("ip route add default dev steered");
        run("ip -6 route add default dev steered");
        Self { interface, queues }
    }

    /// The first packet that `wanted` is true of, and its queue. Others are about as well: the system looks for routers.
    fn find(&self, mut wanted: impl FnMut(&Offload, &[u8]) -> bool) -> usize {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut packet = vec![0; READ_MAX];
        loop {
            for (n, queue) in self.queues.iter().enumerate() {
                while let Ok((offload, len)) = queue.read(&mut packet) {
                    if wanted(&offload, &packet[..len]) {
                        return n;
                    }
                }
            }
            assert!(Instant::now() < deadline, "the packet came out of no queue");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The queue of what this flow sends next.
    fn queue_of(&self, flow: &Flow) -> usize {
        let Flow { socket, from, to } = flow;
        let payload = from.port().to_be_bytes();
        socket.send_to(&payload, to).unwrap();
        let expected = udp(*from, *to, &payload);
        let addresses = |packet: &[u8]| packet.get(if to.is_ipv4() { 12..24 } else { 8..44 }).map(<[u8]>::to_vec);
        self.find(|_, packet| {
            packet.first().map(|byte| byte >> 4) == Some(if to.is_ipv4() { 4 } else { 6 })
                && addresses(packet) == addresses(&expected)
                && packet.ends_with(&payload)
        })
    }

    /// The queues of what many new flows to an address send, one datagram each.
    fn queues_of(&self, to: &str) -> BTreeSet<usize> {
        flows(to).iter().map(|flow| self.queue_of(flow)).collect()
    }

    /// The system receives the flow's other direction from this queue.
    fn answer(&self, flow: &Flow, queue: usize) {
        let packet = udp(flow.to, flow.from, b"answer");
        self.queues[queue]
            .write(&Offload::default(), &[IoSlice::new(&packet)])
            .unwrap();
    }

    /// Gives the interface any bytes to send.
    fn send_raw(&self, bytes: &[u8]) {
        let socket = Socket::new(Domain::PACKET, Type::RAW, None).unwrap();
        let index = name_to_index(&socket, self.interface.name()).unwrap();
        // SAFETY: `sockaddr_ll` is plain data, for which all zeros is a value.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_IP as u16).to_be();
        address.sll_ifindex = index as i32;
        // SAFETY: the bytes and the address, both of the length said, live through the call.
        let sent = unsafe {
            libc::sendto(
                socket.as_raw_fd(),
                bytes.as_ptr().cast(),
                bytes.len(),
                0,
                (&raw const address).cast(),
                size_of_val(&address) as u32,
            )
        };
        assert_eq!(sent, bytes.len() as isize, "{}", io::Error::last_os_error());
    }
}

/// Datagrams from one socket to one address.
struct Flow {
    socket: UdpSocket,
    from: SocketAddr,
    to: SocketAddr,
}

fn flows(to: &str) -> Vec<Flow> {
    let to = SocketAddr::new(to.parse().unwrap(), PORT);
    let here: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::new(10, 8, 0, 1).into(),
        SocketAddr::V6(_) => "fd08::1".parse::<Ipv6Addr>().unwrap().into(),
    };
    let flow = |_| {
        let socket = UdpSocket::bind((here, 0)).unwrap();
        let from = socket.local_addr().unwrap();
        Flow { socket, from, to }
    };
    (0..FLOWS).map(flow).collect()
}

fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let ip = Ip::between(from.ip(), to.ip()).unwrap();
    ip.udp(from.port(), to.port(), payload)
}

/// Runs `test` in a network namespace of its own, which goes when it ends. Without root it does not run.
fn isolated(name: &str, test: impl FnOnce() + Send) {
    if !fielato_testkit::root(name) {
        return;
    }
    let body = || {
        // SAFETY: only the network namespace of this thread changes; file descriptors and memory stay shared.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
        test();
    };
    std::thread::scope(|scope| scope.spawn(body).join().unwrap());
}

fn run(command: &str) {
    let words: Vec<&str> = command.split(' ').collect();
    let output = fielato_testkit::run(words[0], &words[1..], "");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}\n{said}");
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn only(queue: usize) -> BTreeSet<usize> {
    BTreeSet::from([queue])
}

/// Prefixes within prefixes, and where they lead.
const PREFIXES: [(&str, u32); 9] = [
    ("10.0.0.0/8", 1),
    ("10.1.0.0/16", 2),
    ("10.1.2.0/24", 3),
    ("10.1.2.3/32", 1),
    ("192.0.2.128/25", 2),
    ("fd10::/16", 1),
    ("fd10:1::/32", 2),
    ("fd10:1:2::/64", 3),
    ("fd10:1:2::3/128", 1),
];

/// Destinations and their queues; the last of each family is covered by no prefix.
const DESTINATIONS: [(&str, usize); 12] = [
    ("10.200.0.1", 1),
    ("10.1.99.1", 2),
    ("10.1.2.9", 3),
    ("10.1.2.3", 1),
    ("192.0.2.129", 2),
    ("192.0.2.127", 0),
    ("172.16.0.1", 0),
    ("fd10:2::1", 1),
    ("fd10:1:3::1", 2),
    ("fd10:1:2::9", 3),
    ("fd10:1:2::3", 1),
    ("fd99::1", 0),
];

fn steering(prefixes: &[(&str, u32)]) -> Steering {
    let mut steering = Steering::new().unwrap();
    for (prefix, worker) in prefixes {
        steering.set(net(prefix), *worker).unwrap();
    }
    steering
}

#[test]
fn each_destination_has_its_queue() {
    isolated("each_destination_has_its_queue", || {
        let lab = Lab::new();
        steering(&PREFIXES).attach(&lab.queues[2]).unwrap();
        for (to, queue) in DESTINATIONS {
            assert_eq!(lab.queues_of(to), only(queue), "{to}");
        }
    });
}

#[test]
fn writes_do_not_move_a_flow() {
    isolated("writes_do_not_move_a_flow", || {
        let lab = Lab::new();
        let steering = steering(&PREFIXES);
        for (to, queue) in DESTINATIONS {
            let flows = flows(to);
            for (n, flow) in flows.iter().enumerate() {
                // Left to itself, the kernel follows the writes.
                let other = n % QUEUES;
                lab.answer(flow, other);
                assert_eq!(lab.queue_of(flow), other, "{to} before");
            }
            steering.attach(&lab.queues[0]).unwrap();
            for (n, flow) in flows.iter().enumerate() {
                assert_eq!(lab.queue_of(flow), queue, "{to} learnt before");
                lab.answer(flow, (n + 1) % QUEUES);
                assert_eq!(lab.queue_of(flow), queue, "{to} after a write");
            }
            set_program(&lab.queues[0], -1).unwrap();
        }
    });
}

#[test]
fn changes_count_at_once() {
    isolated("changes_count_at_once", || {
        let lab = Lab::new();
        let mut steering = Steering::new().unwrap();
        steering.attach(&lab.queues[0]).unwrap();
        for (wide, narrow, host, inside, outside) in [
            ("0.0.0.0/0", "10.1.2.77/24", "10.1.2.3/32", "10.1.2.3", "172.16.0.1"),
            ("::/0", "fd10:1::77/64", "fd10:1::3/128", "fd10:1::3", "fd99::1"),
        ] {
            let expect = |wanted: [usize; 2], when: &str| {
                assert_eq!([inside, outside].map(|to| lab.queues_of(to)), wanted.map(only), "{when}");
            };
            expect([0, 0], "at first");
            steering.set(net(host), 1).unwrap();
            expect([1, 0], "a host");
            steering.set(net(narrow), 2).unwrap();
            expect([1, 0], "a host in a network");
            steering.set(net(host), 3).unwrap();
            expect([3, 0], "the host moved");
            steering.remove(net(host)).unwrap();
            steering.remove(net(host)).unwrap();
            expect([2, 0], "the network alone");
            steering.set(net(wide), 3).unwrap();
            expect([2, 3], "everything else");
            steering.set(net(narrow).trunc(), 1).unwrap();
            expect([1, 3], "the network by its own address");
            steering.remove(net(narrow)).unwrap();
            expect([3, 3], "everything");
            steering.set(net(wide), 6).unwrap();
            expect([2, 2], "modulo the queues");
            steering.remove(net(wide)).unwrap();
            expect([0, 0], "at last");
        }
    });
}

#[test]
fn what_is_no_ip_packet_goes_to_the_first_queue() {
    isolated("what_is_no_ip_packet_goes_to_the_first_queue", || {
        let lab = Lab::new();
        steering(&[("0.0.0.0/0", 3), ("::/0", 3)]).attach(&lab.queues[0]).unwrap();
        let v4 = Ip::v4([10, 8, 0, 1], [10, 1, 2, 3]).udp(1, 2, b"whole");
        let v6 = Ip::between("fd08::1".parse().unwrap(), "fd10::1".parse().unwrap()).unwrap();
        let v6 = v6.udp(1, 2, b"whole");
        let other = |version: u8| [&[version << 4], &v6[1..]].concat();
        let cases = [
            (v4.clone(), 3),
            (v4[..20].to_vec(), 3),
            (v4[..19].to_vec(), 0),
            (v4[..1].to_vec(), 0),
            (v6.clone(), 3),
            (v6[..40].to_vec(), 3),
            (v6[..39].to_vec(), 0),
            (v6[..1].to_vec(), 0),
            (other(0), 0),
            (other(5), 0),
            (other(15), 0),
        ];
        for (bytes, queue) in cases {
            lab.send_raw(&bytes);
            assert_eq!(lab.find(|_, packet| packet == bytes), queue, "{bytes:02x?}");
        }
    });
}

#[test]
fn a_superpacket_goes_where_its_packets_would() {
    const TEST: &str = "a_superpacket_goes_where_its_packets_would";
    isolated(TEST, || {
        let lab = Lab::new();
        if !lab.queues[0].offloads().udp {
            let reason = "this kernel has no superpackets of datagrams for TUN interfaces (Linux 6.2)";
            return fielato_testkit::skip(TEST, reason);
        }
        steering(&PREFIXES).attach(&lab.queues[0]).unwrap();
        for (to, queue) in DESTINATIONS {
            for flow in flows(to) {
                set_segment_size(&flow.socket, 500);
                flow.socket.send_to(&[7; 10_250], flow.to).unwrap();
                let found = lab.find(|offload, _| {
                    let kind = offload.segmentation.map(|segmentation| segmentation.kind);
                    kind == Some(SegmentationKind::Udp)
                });
                assert_eq!(found, queue, "{to}");
            }
        }
    });
}

/// Has the kernel cut what is sent into datagrams of this size (`UDP_SEGMENT`, man 7 udp).
fn set_segment_size(socket: &UdpSocket, size: libc::c_int) {
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

#[test]
fn it_outlives_its_owner_and_goes_with_the_interface() {
    isolated("it_outlives_its_owner_and_goes_with_the_interface", || {
        let lab = Lab::new();
        let steering = steering(&PREFIXES);
        steering.attach(&lab.queues[0]).unwrap();
        let program = id("prog_id", steering.program.as_fd());
        drop(steering);
        assert_eq!(lab.queues_of("fd10:1:2::9"), only(3));
        assert!(is_loaded(program));

        drop(lab);
        // The kernel frees it when no processor can be running it any more.
        let deadline = Instant::now() + Duration::from_secs(10);
        while is_loaded(program) {
            assert!(Instant::now() < deadline, "program {program} is still there");
            std::thread::sleep(Duration::from_millis(10));
        }
    });
}

/// A number that the kernel gave to what is behind a file descriptor.
fn id(what: &str, fd: BorrowedFd<'_>) -> u32 {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    value.unwrap().trim().parse().unwrap()
}

fn is_loaded(program: u32) -> bool {
    aya::programs::loaded_programs().any(|info| info.is_ok_and(|info| info.id() == program))
}

#[test]
fn without_privilege_it_says_what_is_missing() {
    isolated("without_privilege_it_says_what_is_missing", || {
        Steering::new().expect("it works with privilege");
        let mut held = capabilities(None).unwrap();
        held.effective.remove(CapabilitySet::BPF | CapabilitySet::SYS_ADMIN);
        // Of this thread alone, which ends with the test.
        set_capabilities(None, held).unwrap();
        let error = Steering::new().map(drop).unwrap_err();
        assert!(matches!(error, SteerError::NotPermitted(_)), "{error}");
        assert!(error.to_string().contains("CAP_BPF"), "{error}");
    });
}

#[test]
fn hosts_beyond_the_table_are_steered_too() {
    isolated("hosts_beyond_the_table_are_steered_too", || {
        const HOSTS: u32 = 70_000;
        let lab = Lab::new();
        let mut steering = Steering::new().unwrap();
        steering.attach(&lab.queues[0]).unwrap();
        let v4 = |n: u32| IpAddr::from(Ipv4Addr::from(0x0a20_0000 + n));
        let v6 = |n: u32| IpAddr::from(Ipv6Addr::from((0xfd10 << 112) + u128::from(n)));
        for host in [&v4 as &dyn Fn(u32) -> IpAddr, &v6] {
            for n in 0..HOSTS {
                steering.set(host(n).into(), 1 + n % 3).unwrap();
            }
            let (first, last) = (host(0), host(HOSTS - 1));
            let expect = |wanted: [usize; 2], when: &str| {
                let found = [first, last].map(|to| lab.queues_of(&to.to_string()));
                assert_eq!(found, wanted.map(only), "{last} {when}");
            };
            let at_first = 1 + (HOSTS as usize - 1) % 3;
            expect([1, at_first], "at first");
            for to in [first, last] {
                steering.set(to.into(), 2).unwrap();
            }
            expect([2, 2], "moved");
            // Now the table has room for the last one, which the trie keeps as it was.
            steering.remove(first.into()).unwrap();
            expect([0, 2], "without the first");
            steering.set(last.into(), 3).unwrap();
            expect([0, 3], "moved again");
            steering.remove(last.into()).unwrap();
            expect([0, 0], "without both");
        }
    });
}
