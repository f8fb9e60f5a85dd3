//! Between sockets of one machine, over loopback.
#![allow(unsafe_code)]

use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fielato_wireguard::Path;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use socket2::{Domain, MaybeUninitSlice, MsgHdrMut, Socket, Type};

use super::*;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// A datagram, the way it came, and its ECN bits.
type Received = (Vec<u8>, Path, u8);

fn bind(workers: usize) -> Sockets {
    Sockets::bind(0, 0, workers).unwrap()
}

fn of(pair: &Pair, family: IpAddr) -> &Udp {
    if family.is_ipv4() {
        &pair.v4
    } else {
        pair.v6.as_ref().expect("IPv6")
    }
}

/// Both families' loopback addresses, or the one that there is.
fn families(test: &str) -> Vec<IpAddr> {
    if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        return vec![V4, V6];
    }
    fielato_testkit::skip(test, "no IPv6 here: that half does not run");
    vec![V4]
}

/// Runs `test` in a network namespace of its own, which goes when it ends. Its loopback is up.
fn isolated(test: impl FnOnce() + Send) {
    let body = || {
        // SAFETY: only the network namespace of this thread changes; file descriptors and memory stay shared.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
        run("ip link set lo up");
        test();
    };
    std::thread::scope(|scope| scope.spawn(body).join().unwrap());
}

fn run(command: &str) {
    let words: Vec<&str> = command.split(' ').collect();
    let output = fielato_testkit::run(words[0], &words[1..], "");
    assert!(
        output.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Waits for the system to use a new IPv6 address, which it prepares in the background (kernel file net/ipv6/addrconf.c).
fn await_address(address: IpAddr) {
    for _ in 0..500 {
        let works = UdpSocket::bind((address, 0)).and_then(|socket| {
            socket.send_to(b"?", socket.local_addr()?)?;
            Ok(arrives(&socket, Duration::from_millis(10)))
        });
        if matches!(works, Ok(true)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{address} is not usable");
}

fn arrives(fd: impl AsFd, within: Duration) -> bool {
    let timeout = Timespec {
        tv_sec: within.as_secs() as _,
        tv_nsec: within.subsec_nanos().into(),
    };
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)) == Ok(1)
}

/// The next `count` datagrams, and in how many messages they came. Fails when there are fewer or more.
fn receive(udp: &Udp, count: usize) -> (Vec<Received>, usize) {
    let mut batch = ReceiveBatch::new();
    let (mut received, mut messages) = (Vec::new(), 0);
    while received.len() < count {
        assert!(arrives(udp, Duration::from_secs(5)), "{} of {count} came", received.len());
        messages += udp.receive(&mut batch).unwrap();
        let (buffer, arrivals) = batch.arrivals();
        for arrival in arrivals {
            let (from, ecn) = (arrival.origin.path, arrival.origin.tos);
            received.extend(arrival.datagrams().map(|range| (buffer[range].to_vec(), from, ecn)));
        }
    }
    assert_eq!(received.len(), count);
    assert!(is_empty(udp));
    (received, messages)
}

/// Over loopback, what was sent has arrived.
fn is_empty(udp: &Udp) -> bool {
    let mut batch = ReceiveBatch::new();
    matches!(udp.receive(&mut batch), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

fn bytes(received: &[Received]) -> Vec<&[u8]> {
    received.iter().map(|(bytes, ..)| &bytes[..]).collect()
}

/// Data messages for the first worker, each different.
fn datagrams(count: usize, size: usize, last: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..count {
        let size = if number + 1 == count { last } else { size };
        let mut datagram: Vec<u8> = (0..size).map(|at| (at * 7 + number) as u8).collect();
        datagram[..8].copy_from_slice(&[4, 0, 0, 0, 0, 0, 0, number as u8]);
        bytes.extend(datagram);
    }
    bytes
}

fn to(ip: IpAddr, port: u16) -> Path {
    SocketAddr::from((ip, port)).into()
}

fn transmit(to: Path, segment: Option<u16>, bytes: &[u8]) -> Transmit<'_> {
    Transmit {
        to,
        tos: 0,
        segment,
        bytes,
    }
}

#[test]
fn a_segmented_payload_arrives_as_one_batch() {
    for family in families("a_segmented_payload_arrives_as_one_batch") {
        let (a, b) = (bind(1), bind(1));
        let payload = datagrams(41, 1420, 100);
        let sent = Transmit {
            tos: 0b10,
            ..transmit(to(family, b.port), Some(1420), &payload)
        };
        assert_eq!(a.workers[0].send(&[sent]), 0);
        let mut batch = ReceiveBatch::new();
        assert_eq!(of(&b.workers[0], family).receive(&mut batch).unwrap(), 1);
        let (buffer, mut arrivals) = batch.arrivals();
        let message = arrivals.next().unwrap();
        assert_eq!(
            (message.stride, message.range.len(), message.origin.tos),
            (1420, 40 * 1420 + 100, 0b10)
        );
        assert_eq!(message.origin.path.remote, SocketAddr::from((family, a.port)));
        assert_eq!(message.origin.path.local, Some(family));
        let received: Vec<&[u8]> = message.datagrams().map(|range| &buffer[range]).collect();
        assert_eq!(received, payload.chunks(1420).collect::<Vec<_>>());
    }
}

#[test]
fn the_largest_payload_passes() {
    for family in families("the_largest_payload_passes") {
        let (a, b) = (bind(1), bind(1));
        let size = PAYLOAD_MAX / SEGMENTS_MAX;
        let payload = datagrams(SEGMENTS_MAX, size, size);
        let mut single = vec![4; PAYLOAD_MAX];
        single[4] = 0;
        let to = to(family, b.port);
        let sent = [transmit(to, Some(size as u16), &payload), transmit(to, None, &single)];
        assert_eq!(a.workers[0].send(&sent), 0);
        let (received, messages) = receive(of(&b.workers[0], family), SEGMENTS_MAX + 1);
        assert_eq!(messages, 2);
        assert_eq!(
            bytes(&received),
            payload.chunks(size).chain([&single[..]]).collect::<Vec<_>>()
        );
    }
}

#[test]
fn without_segmentation_each_datagram_is_sent_alone() {
    for family in families("without_segmentation_each_datagram_is_sent_alone") {
        let (a, b) = (bind(1), bind(1));
        of(&a.workers[0], family).segmentation.store(false, Ordering::Relaxed);
        let (many, few) = (datagrams(70, 900, 900), datagrams(2, 300, 20));
        let to = to(family, b.port);
        let sent = [
            transmit(to, None, &few),
            transmit(to, Some(900), &many),
            transmit(to, Some(300), &few),
            transmit(to, Some(320), &few),
        ];
        assert_eq!(a.workers[0].send(&sent), 0);
        let (received, _) = receive(of(&b.workers[0], family), 1 + 70 + 2 + 1);
        let expected = [&few[..]]
            .into_iter()
            .chain(many.chunks(900))
            .chain(few.chunks(300))
            .chain([&few[..]]);
        assert_eq!(bytes(&received), expected.collect::<Vec<_>>());
    }
}

#[test]
fn the_whole_tos_byte_is_sent_and_its_ecn_bits_are_received() {
    for family in families("the_whole_tos_byte_is_sent_and_its_ecn_bits_are_received") {
        let (a, b) = (bind(1), bind(1));
        let other = Socket::new(Domain::for_address((family, 0).into()), Type::DGRAM, None).unwrap();
        if family.is_ipv4() {
            other.set_recv_tos_v4(true).unwrap();
        } else {
            other.set_recv_tclass_v6(true).unwrap();
        }
        other.bind(&SocketAddr::from((family, 0)).into()).unwrap();
        let port = other.local_addr().unwrap().as_socket().unwrap().port();
        for tos in [0x88, 0x00, 0x01, 0xff, 0x8a] {
            let payload = datagrams(3, 50, 50);
            let sent = |port| Transmit {
                tos,
                ..transmit(to(family, port), Some(50), &payload)
            };
            assert_eq!(a.workers[0].send(&[sent(b.port), sent(port)]), 0);
            for (_, _, ecn) in receive(of(&b.workers[0], family), 3).0 {
                assert_eq!(ecn, tos & 0b11);
            }
            for _ in 0..3 {
                assert_eq!(receive_tos(&other), tos, "{family}");
            }
        }
    }
}

/// The TOS or traffic class of the next datagram.
fn receive_tos(socket: &Socket) -> u8 {
    assert!(arrives(socket, Duration::from_secs(5)));
    let (mut data, mut control) = ([MaybeUninit::uninit(); 100], [MaybeUninit::new(0); 64]);
    let mut slices = [MaybeUninitSlice::new(&mut data)];
    let mut message = MsgHdrMut::new().with_buffers(&mut slices).with_control(&mut control);
    socket.recvmsg(&mut message, 0).unwrap();
    // One control message: its header, then the byte, or a number of which the byte is the low one.
    let header = size_of::<libc::cmsghdr>();
    assert!(message.control_len() > header);
    // SAFETY: all bytes were initialised above.
    unsafe { control[header].assume_init() }
}

#[test]
fn a_batch_goes_to_many_and_one_loss_stops_nobody() {
    let families = families("a_batch_goes_to_many_and_one_loss_stops_nobody");
    let a = bind(1);
    let others: Vec<Sockets> = (0..3).map(|_| bind(1)).collect();
    let payloads: Vec<Vec<u8>> = (0..64).map(|number| datagrams(1 + number % 5, 200 + number, 60)).collect();
    let mut sent = Vec::new();
    for (number, payload) in payloads.iter().enumerate() {
        let (family, other) = (families[number / 2 % families.len()], &others[number % 3]);
        // Nothing can be sent to port 0.
        let port = if number == 30 { 0 } else { other.port };
        sent.push(transmit(to(family, port), Some(200 + number as u16), payload));
    }
    let lost = sent[30].datagrams();
    // More than one system call can carry.
    let twice = sent.repeat(2);
    assert_eq!(a.workers[0].send(&twice), 2 * lost);
    for &family in &families {
        for other in &others {
            let mine = |sent: &&Transmit<'_>| sent.to.remote == SocketAddr::from((family, other.port));
            let mine = twice.iter().filter(mine);
            let expected: Vec<&[u8]> = mine
                .flat_map(|sent| sent.bytes.chunks(usize::from(sent.segment.unwrap())))
                .collect();
            assert!(expected.len() > 50);
            assert_eq!(bytes(&receive(of(&other.workers[0], family), expected.len()).0), expected);
        }
    }
}

#[test]
fn messages_find_their_worker() {
    for family in families("messages_find_their_worker") {
        let (a, b) = (bind(1), bind(3));
        let message = |kind: u8, first: u8, second: u8| [kind, 0, 0, 0, first, 1, 2, 3, second, 2, 1, 0, 9, 9].to_vec();
        // Which socket gets what: 3 is that of initiations.
        let table = [
            (message(4, 0, 2), 0),
            (message(4, 1, 0), 1),
            (message(4, 2, 0), 2),
            (message(4, 3, 1), 0),
            (message(4, 255, 1), 0),
            // A response has the sender's index first.
            (message(2, 2, 0), 0),
            (message(2, 0, 1), 1),
            (message(2, 1, 2), 2),
            (message(2, 1, 3), 0),
            (message(3, 2, 1), 2),
            (message(1, 0, 0), 3),
            (message(1, 2, 1), 3),
            (vec![1], 3),
            (vec![4, 0, 0, 0, 2], 2),
            (vec![4, 0, 0, 0], 0),
            (vec![2, 0, 0, 0, 2, 2, 2, 2], 0),
            (vec![7], 0),
        ];
        let sockets: Vec<&Udp> = b
            .workers
            .iter()
            .chain([&b.initiations])
            .map(|pair| of(pair, family))
            .collect();
        for (datagram, wanted) in table {
            assert_eq!(a.workers[0].send(&[transmit(to(family, b.port), None, &datagram)]), 0);
            for (number, socket) in sockets.iter().enumerate() {
                if number == wanted {
                    assert_eq!(bytes(&receive(socket, 1).0), [&datagram[..]]);
                } else {
                    assert!(is_empty(socket), "{datagram:?} came to {number}, not {wanted}");
                }
            }
        }
        // An empty datagram arrives, too.
        assert_eq!(a.workers[0].send(&[transmit(to(family, b.port), None, &[])]), 0);
        let mut batch = ReceiveBatch::new();
        assert_eq!(sockets[0].receive(&mut batch).unwrap(), 1);
        assert_eq!(
            batch.arrivals().1.map(|arrival| arrival.datagrams().count()).sum::<usize>(),
            1
        );
    }
}

fn foreign(address: SocketAddr, shares: bool) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(shares)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[test]
fn a_port_in_use_is_refused() {
    let taken = |port| match Sockets::bind(port, 0, 2) {
        Err(error) => assert_eq!(error.kind(), ErrorKind::AddrInUse),
        Ok(_) => panic!("port {port} is another's"),
    };
    for family in families("a_port_in_use_is_refused") {
        for shares in [false, true] {
            let other = foreign((family, 0).into(), shares).unwrap();
            let port = other.local_addr().unwrap().as_socket().unwrap().port();
            taken(port);
            drop(other);
            let ours = Sockets::bind(port, 0, 2).unwrap();
            assert_eq!(ours.port, port);
            taken(port);
            assert!(foreign((family, port).into(), false).is_err());
        }
    }
}

#[test]
fn who_joins_later_gets_nothing() {
    for family in families("who_joins_later_gets_nothing") {
        let (a, b) = (bind(1), bind(2));
        let any = if family.is_ipv4() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        } else {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        };
        let other = foreign((any, b.port).into(), true).unwrap();
        for index in 0..=255 {
            let datagram = [4, 0, 0, 0, index, 0, 0, 0];
            assert_eq!(a.workers[0].send(&[transmit(to(family, b.port), None, &datagram)]), 0);
        }
        receive(of(&b.workers[0], family), 255);
        receive(of(&b.workers[1], family), 1);
        assert!(!arrives(&other, Duration::from_millis(10)));
    }
}

#[test]
fn the_number_of_workers_has_bounds() {
    for workers in [0, 257] {
        assert!(matches!(Sockets::bind(0, 0, workers), Err(error) if error.kind() == ErrorKind::InvalidInput));
    }
    assert_eq!(bind(256).workers.len(), 256);
}

#[test]
fn datagrams_leave_from_the_address_asked_for_or_another_when_it_is_gone() {
    if !fielato_testkit::can_run(
        "datagrams_leave_from_the_address_asked_for_or_another_when_it_is_gone",
        &["ip"],
    ) {
        return;
    }
    isolated(|| {
        for address in ["fd00::7", "fd00::8"] {
            run(&format!("ip address add {address} dev lo"));
            await_address(address.parse().unwrap());
        }
        let table = [
            (V4, ["127.0.0.7", "127.0.0.8"], ["192.0.2.1", "fd00::7"]),
            (V6, ["fd00::7", "fd00::8"], ["2001:db8::1", "127.0.0.7"]),
        ];
        for (any, [mine, theirs], gone) in table {
            let (a, b) = (bind(1), bind(1));
            let (mine, theirs): (IpAddr, IpAddr) = (mine.parse().unwrap(), theirs.parse().unwrap());
            let payload = datagrams(5, 500, 100);
            let send = |from: &Sockets, path: Path| {
                let sent = [transmit(path, Some(500), &payload), transmit(path, None, &payload)];
                assert_eq!(from.workers[0].send(&sent), 0);
            };
            let path = Path {
                local: Some(mine),
                ..to(theirs, b.port)
            };
            send(&a, path);
            let (received, _) = receive(of(&b.workers[0], any), 6);
            let back = received[0].1;
            assert_eq!((back.remote.ip(), back.local), (mine, Some(theirs)));
            assert!(received.iter().all(|(_, from, _)| *from == back));
            // The answer goes the same way back.
            send(&b, back);
            let (received, _) = receive(of(&a.workers[0], any), 6);
            assert_eq!((received[5].1.remote, received[5].1.local), (path.remote, path.local));

            for gone in gone {
                let path = Path {
                    local: Some(gone.parse().unwrap()),
                    ..to(theirs, b.port)
                };
                send(&a, path);
                let (received, messages) = receive(of(&b.workers[0], any), 6);
                // Still segmented by the system.
                assert_eq!((received.len(), messages), (6, 2), "{gone}");
            }
        }
    });
}

#[test]
fn segments_larger_than_the_path_are_sent_one_by_one() {
    if !fielato_testkit::can_run("segments_larger_than_the_path_are_sent_one_by_one", &["ip"]) {
        return;
    }
    isolated(|| {
        run("ip link set lo mtu 1280");
        for family in [V4, V6] {
            let (a, b) = (bind(1), bind(1));
            let (large, small) = (datagrams(40, 1400, 333), datagrams(3, 1000, 10));
            let path = Path {
                local: Some(family),
                ..to(family, b.port)
            };
            let sent = [
                transmit(path, Some(1000), &small),
                transmit(path, Some(1400), &large),
                transmit(path, Some(1000), &small),
            ];
            assert_eq!(a.workers[0].send(&sent), 0);
            let (received, messages) = receive(of(&b.workers[0], family), 46);
            let expected = small.chunks(1000).chain(large.chunks(1400)).chain(small.chunks(1000));
            assert_eq!(bytes(&received), expected.collect::<Vec<_>>());
            assert_eq!(messages, 42);
            // It is the path's fault, not the device's.
            assert!(of(&a.workers[0], family).segmentation.load(Ordering::Relaxed));
        }
    });
}

#[test]
fn all_sockets_are_marked() {
    if !fielato_testkit::root("all_sockets_are_marked") {
        return;
    }
    let sockets = Sockets::bind(0, 5, 2).unwrap();
    let marks = || -> Vec<u32> {
        let pairs = sockets.workers.iter().chain([&sockets.initiations]);
        pairs.flat_map(Pair::iter).map(|udp| udp.socket.mark().unwrap()).collect()
    };
    let count = marks().len();
    assert!(count >= 3);
    assert_eq!(marks(), vec![5; count]);
    sockets.set_fwmark(9).unwrap();
    assert_eq!(marks(), vec![9; count]);
}
