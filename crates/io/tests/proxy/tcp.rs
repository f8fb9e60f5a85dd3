//! TCP through the proxy.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fielato_io::proxy::{DropReason, Local, Options};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;

use super::common::{can_run, wait_for};
use super::member::{Member, World, options};

/// The outside's addresses, one of each family.
const OUTSIDE: [&str; 2] = ["10.9.0.2", "[fd09::2]"];

/// Bytes that tell their place.
fn pattern(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// A server in the outside for `connections` connections, each on a thread of its own: its port.
fn serve(world: &World, connections: usize, work: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> (u16, JoinHandle<()>) {
    world.outside.within(|| {
        let listener = TcpListener::bind("[::]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            let threads: Vec<_> = (0..connections)
                .map(|_| {
                    let (stream, _) = listener.accept().unwrap();
                    let work = work.clone();
                    std::thread::spawn(move || work(stream))
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
        (port, thread)
    })
}

/// Reads what is there: how many bytes. Each is compared with the pattern, repeated.
fn read(member: &mut Member<'_>, handle: SocketHandle, done: usize, pattern: &[u8]) -> usize {
    let mut more = 0;
    let socket = member.tcp(handle);
    while socket.can_recv() {
        more += socket
            .recv(|data| {
                let at = (done + more) % pattern.len();
                let len = data.len().min(pattern.len() - at);
                assert!(data[..len] == pattern[at..at + len], "wrong bytes after {}", done + more);
                (len, len)
            })
            .unwrap();
    }
    more
}

#[test]
fn a_hundred_megabytes_arrive_whole_each_way() {
    if !can_run("a_hundred_megabytes_arrive_whole_each_way") {
        return;
    }
    const LEN: usize = 100 << 20;
    let world = World::new(options());
    let pattern = pattern(1 << 20);
    for (index, address) in OUTSIDE.into_iter().enumerate() {
        let data = pattern.clone();
        let (port, server) = serve(&world, 1, move |mut stream| {
            for _ in 0..LEN / data.len() {
                stream.write_all(&data).unwrap();
            }
            stream.shutdown(Shutdown::Write).unwrap();
            let mut piece = vec![0; data.len()];
            for _ in 0..LEN / data.len() {
                stream.read_exact(&mut piece).unwrap();
                assert!(piece == data);
            }
            assert_eq!(stream.read(&mut piece).unwrap(), 0);
        });
        let mut member = world.member();
        let start = Instant::now();
        let handle = member.connect(&format!("{address}:{port}"), 1 << 20);
        let mut received = 0;
        member.until("all bytes and the end", |member| {
            received += read(member, handle, received, &pattern);
            member.state(handle) == State::CloseWait && !member.tcp(handle).can_recv()
        });
        assert_eq!(received, LEN);
        let down = start.elapsed();
        let mut sent = 0;
        member.until("all bytes to be sent", |member| {
            let at = sent % pattern.len();
            sent += member.tcp(handle).send_slice(&pattern[at..]).unwrap();
            sent == LEN
        });
        member.tcp(handle).close();
        member.until("the close", |member| member.state(handle) == State::Closed);
        server.join().unwrap();
        let up = start.elapsed() - down;
        println!("{address}: {LEN} bytes in {down:?}, back in {up:?}");
        let stats = world.proxy.stats();
        assert_eq!(
            (stats.bytes_in, stats.bytes_out),
            ((LEN * (index + 1)) as u64, (LEN * (index + 1)) as u64)
        );
    }
    forgotten(&world);
    assert_eq!(world.proxy.stats().tcp_memory, 0);
}

/// Waits until no connection is left: TIME-WAIT lasts ten seconds, as long as `wait_for`.
fn forgotten(world: &World) {
    std::thread::sleep(Duration::from_secs(5));
    wait_for("connections to be forgotten", || world.proxy.stats().tcp_open == 0);
}

/// A fetch of `len` bytes by `member`.
fn fetch(member: &mut Member<'_>, world: &World, address: &str, len: usize) {
    let pattern = pattern(1 << 20);
    let data = pattern.clone();
    let (port, server) = serve(world, 1, move |mut stream| {
        for _ in 0..len / data.len() {
            stream.write_all(&data).unwrap();
        }
    });
    let handle = member.connect(&format!("{address}:{port}"), 1 << 20);
    let mut received = 0;
    member.until("all bytes and the end", |member| {
        received += read(member, handle, received, &pattern);
        member.state(handle) == State::CloseWait && !member.tcp(handle).can_recv()
    });
    assert_eq!(received, len);
    member.tcp(handle).close();
    member.until("the close", |member| member.state(handle) == State::Closed);
    server.join().unwrap();
}

#[test]
fn superpackets_are_cut_where_they_are_wanted_whole() {
    if !can_run("superpackets_are_cut_where_they_are_wanted_whole") {
        return;
    }
    let world = World::new(Options {
        superpackets: true,
        ..options()
    });
    for address in OUTSIDE {
        fetch(&mut world.member(), &world, address, 20 << 20);
    }
    assert!(world.inbox.superpackets.load(Ordering::Relaxed) > 100);
    let plain = World::new(options());
    fetch(&mut plain.member(), &plain, OUTSIDE[0], 1 << 20);
    assert_eq!(plain.inbox.superpackets.load(Ordering::Relaxed), 0);
}

#[test]
fn what_the_tunnel_loses_is_sent_again() {
    if !can_run("what_the_tunnel_loses_is_sent_again") {
        return;
    }
    let world = World::new(options());
    for address in OUTSIDE {
        let mut member = world.member();
        member.lose(10);
        fetch(&mut member, &world, address, 2 << 20);
    }
}

#[test]
fn a_refused_port_is_a_reset_and_no_way_an_icmp_error() {
    if !can_run("a_refused_port_is_a_reset_and_no_way_an_icmp_error") {
        return;
    }
    let world = World::new(options());
    for address in OUTSIDE {
        let mut member = world.member();
        let handle = member.connect(&format!("{address}:9"), 4096);
        member.until("the reset", |member| member.state(handle) == State::Closed);
    }
    // Each was told by its first SYN.
    assert_eq!(world.proxy.stats().tcp_refused, 2);
    // The namespaces have no default route.
    for (number, address) in ["192.0.2.1", "[2001:db8::1]"].into_iter().enumerate() {
        let mut member = world.member();
        member.connect(&format!("{address}:80"), 4096);
        let before = world.inbox.take();
        assert_eq!(before, None);
        member.poll();
        let error = world.inbox.next();
        let headers = fielato_wire::Headers::receive(&error).unwrap();
        let expected = [(3, 0), (1, 0)][number];
        assert_eq!((headers.icmp_type, headers.icmp_code), expected, "{error:?}");
    }
    assert_eq!(world.proxy.stats().dropped(DropReason::Unreachable), 2);
}

#[test]
fn each_side_can_close_first_and_still_hear_the_other() {
    if !can_run("each_side_can_close_first_and_still_hear_the_other") {
        return;
    }
    let world = World::new(options());
    for address in OUTSIDE {
        // The member closes, and is answered with all it sent.
        let (port, server) = serve(&world, 1, |mut stream| {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            stream.write_all(&all).unwrap();
        });
        let mut member = world.member();
        let handle = member.connect(&format!("{address}:{port}"), 65_536);
        member.until("the connection", |member| member.tcp(handle).can_send());
        member.tcp(handle).send_slice(b"all I have").unwrap();
        member.tcp(handle).close();
        member.until("the answer", |member| member.tcp(handle).recv_queue() == 10);
        member
            .tcp(handle)
            .recv(|data| (data.len(), assert_eq!(data, b"all I have")))
            .unwrap();
        member.until("the other end's close", |member| member.state(handle) == State::TimeWait);
        server.join().unwrap();

        // The outside closes, and hears what comes after.
        let (port, server) = serve(&world, 1, |mut stream| {
            stream.shutdown(Shutdown::Write).unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            assert_eq!(all, b"too late?");
        });
        let handle = member.connect(&format!("{address}:{port}"), 65_536);
        member.until("the other end's close", |member| member.state(handle) == State::CloseWait);
        member.pass(Duration::from_millis(50));
        member.tcp(handle).send_slice(b"too late?").unwrap();
        member.tcp(handle).close();
        member.until("the close", |member| member.state(handle) == State::Closed);
        server.join().unwrap();
    }
}

#[test]
fn a_reset_is_carried_on_and_what_came_before_it_too() {
    if !can_run("a_reset_is_carried_on_and_what_came_before_it_too") {
        return;
    }
    let world = World::new(options());
    for address in OUTSIDE {
        // By the outside: it leaves unread what the member sent.
        let (port, server) = serve(&world, 1, |mut stream| {
            stream.write_all(&[7; 50_000]).unwrap();
            while stream.peek(&mut [0; 1]).unwrap() == 0 {}
        });
        let mut member = world.member();
        // So slow that the reset comes while much is unread.
        let handle = member.connect(&format!("{address}:{port}"), 4096);
        member.until("the connection", |member| member.tcp(handle).can_send());
        member.tcp(handle).send_slice(b"never read").unwrap();
        member.pass(Duration::from_millis(200));
        server.join().unwrap();
        let mut received = 0;
        member.until("all and the reset", |member| {
            received += read(member, handle, received, &[7; 1000]);
            member.state(handle) == State::Closed
        });
        assert_eq!(received, 50_000);

        // By the member.
        let (port, server) = serve(&world, 1, |mut stream| {
            let error = stream.read(&mut [0; 1]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        });
        let handle = member.connect(&format!("{address}:{port}"), 4096);
        member.until("the connection", |member| member.tcp(handle).can_send());
        member.tcp(handle).abort();
        member.poll();
        server.join().unwrap();
    }
    forgotten(&world);
}

#[test]
fn two_hundred_connections_at_once() {
    if !can_run("two_hundred_connections_at_once") {
        return;
    }
    const LEN: usize = 100_000;
    let world = World::new(options());
    let pattern = pattern(LEN);
    let data = pattern.clone();
    let (port, server) = serve(&world, 200, move |mut stream| stream.write_all(&data).unwrap());
    let mut member = world.member();
    let handles: Vec<_> = (0..200)
        .map(|number| member.connect(&format!("{}:{port}", OUTSIDE[number % 2]), 16_384))
        .collect();
    let mut received = vec![0; handles.len()];
    member.until("all bytes of all", |member| {
        for (done, handle) in received.iter_mut().zip(&handles) {
            *done += read(member, *handle, *done, &pattern);
            if member.state(*handle) == State::CloseWait && !member.tcp(*handle).can_recv() {
                member.tcp(*handle).close();
            }
        }
        handles.iter().all(|handle| member.state(*handle) == State::Closed)
    });
    assert!(received.iter().all(|done| *done == LEN));
    server.join().unwrap();
    forgotten(&world);
    assert_eq!(world.proxy.stats().tcp_opened, 200);
}

#[test]
fn who_does_not_read_holds_back_the_other_and_no_memory() {
    if !can_run("who_does_not_read_holds_back_the_other_and_no_memory") {
        return;
    }
    const LEN: usize = 256 << 20;
    let world = World::new(options());
    let (port, server) = serve(&world, 1, |mut stream| {
        stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        let piece = vec![0; 1 << 20];
        let mut left = LEN;
        while left > 0 {
            match stream.write(&piece) {
                Ok(len) => left -= len,
                Err(error) => return assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
        }
        panic!("all of it was taken, and nobody reads");
    });
    let mut member = world.member();
    let handle = member.connect(&format!("10.9.0.2:{port}"), 65_536);
    member.until("the server to wait in vain", |_| server.is_finished());
    server.join().unwrap();
    // Taken from the outside is what our buffer and the member's hold.
    let stats = world.proxy.stats();
    assert!(stats.bytes_in <= stats.tcp_memory / 2 + 65_536, "{stats:?}");
    assert!(stats.tcp_memory <= 2 << 20, "{stats:?}");

    // The other direction: a server that does not read.
    let (port, server) = serve(&world, 1, |mut stream| {
        std::thread::sleep(Duration::from_secs(1));
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert!(all.len() > 1 << 20);
    });
    member.tcp(handle).abort();
    let handle = member.connect(&format!("10.9.0.2:{port}"), 65_536);
    member.until("the connection", |member| member.tcp(handle).can_send());
    let (mut sent, start) = (0, Instant::now());
    while start.elapsed() < Duration::from_millis(500) {
        sent += member.tcp(handle).send_slice(&[0; 65_536]).unwrap();
        member.poll();
    }
    // Our buffers and the kernel's of both sockets (`tcp_wmem`, `tcp_rmem`).
    assert!(sent < 24 << 20, "{sent} bytes");
    let queued = world.proxy.stats().bytes_out as usize;
    assert!(queued <= sent);
    member.tcp(handle).close();
    member.until("the rest to be read", |_| server.is_finished());
    server.join().unwrap();
}

#[test]
fn places_that_are_not_for_members_are_refused_by_name() {
    if !can_run("places_that_are_not_for_members_are_refused_by_name") {
        return;
    }
    let world = World::new(options());
    // On every address of the hub: nobody may come.
    let listener = world.hub.within(|| TcpListener::bind("[::]:8080")).unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut member = world.member();
    let mut expect = |addresses: &[&str], reason| {
        for address in addresses {
            let before = world.proxy.stats().dropped(reason);
            member.connect(&format!("{address}:8080"), 4096);
            member.until(&format!("{address} to be refused"), |_| {
                world.proxy.stats().dropped(reason) == before + 1
            });
        }
    };
    expect(
        &[
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.1",
            "169.254.169.254",
            "[fe80::1]",
            "[::ffff:127.0.0.1]",
            "[::1]",
        ],
        DropReason::DestinationSpecial,
    );
    expect(&["10.9.0.1", "[fd09::1]"], DropReason::DestinationOwn);
    expect(&["10.8.0.3", "10.8.0.1", "[fd08::1]"], DropReason::DestinationOverlay);
    // A broadcast address of a link is found by the machine's routes.
    expect(&["10.9.0.255"], DropReason::DestinationSpecial);
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(world.inbox.take(), None);
}

#[test]
fn what_is_beyond_the_limits_is_dropped_and_counted() {
    if !can_run("what_is_beyond_the_limits_is_dropped_and_counted") {
        return;
    }
    let mut options = options();
    options.limits.tcp = 5;
    options.limits.tcp_member = 3;
    let world = World::new(options);
    let (port, server) = serve(&world, 5, |mut stream| assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0));
    let mut member = world.member();
    let mut handles = Vec::new();
    // Three of one address, two of the other.
    for number in 0..4 {
        handles.push(member.connect(&format!("10.9.0.2:{port}"), 4096));
        handles.push(member.connect(&format!("[fd09::2]:{port}"), 4096));
        if number < 2 {
            member.until("two more connections", |_| world.proxy.stats().tcp_opened == 2 * number + 2);
        }
    }
    member.until("the limits", |_| {
        let stats = world.proxy.stats();
        stats.tcp_opened == 5 && stats.dropped(DropReason::TcpLimit) + stats.dropped(DropReason::TcpMemberLimit) >= 3
    });
    assert_eq!(world.proxy.stats().tcp_open, 5);
    for handle in handles {
        member.tcp(handle).abort();
    }
    member.until("room", |_| world.proxy.stats().tcp_open == 0);
    server.join().unwrap();

    // Those that are over and wait for late segments make room.
    for _ in 0..7 {
        fetch(&mut member, &world, OUTSIDE[0], 0);
    }
    assert_eq!(world.proxy.stats().tcp_opened, 12);
}

#[test]
fn the_hubs_own_services_are_those_that_listen_on_all_addresses() {
    if !can_run("the_hubs_own_services_are_those_that_listen_on_all_addresses") {
        return;
    }
    let own = ["10.8.0.1", "fd08::1"];
    let world = World::new(Options {
        local: Local::Addresses(own.map(|address| address.parse().unwrap()).to_vec()),
        ..options()
    });
    for via in ["10.9.0.2", "fd09::2"] {
        world.hub.run(&format!("ip route add default via {via}"));
    }
    let everywhere = world.hub.within(|| TcpListener::bind("[::]:0")).unwrap();
    let open = everywhere.local_addr().unwrap().port();
    for (own, loopback) in [("10.8.0.1", "127.0.0.1:0"), ("[fd08::1]", "[::1]:0")] {
        let mut member = world.member();
        let handle = member.connect(&format!("{own}:{open}"), 4096);
        member.until("the connection", |member| member.tcp(handle).can_send());
        let (mut stream, from) = everywhere.accept().unwrap();
        assert!(!from.ip().is_loopback(), "{from}");
        stream.write_all(b"welcome").unwrap();
        member.until("the welcome", |member| member.tcp(handle).recv_queue() == 7);
        member.tcp(handle).abort();
        member.poll();

        let inside = world.hub.within(|| TcpListener::bind(loopback)).unwrap();
        let handle = member.connect(&format!("{own}:{}", inside.local_addr().unwrap().port()), 4096);
        member.until("the reset", |member| member.state(handle) == State::Closed);
        inside.set_nonblocking(true).unwrap();
        assert!(inside.accept().is_err());
    }
}
