//! UDP and ping through the proxy: packets by hand.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use fielato_gateway::Buffer;
use fielato_io::proxy::{DropReason, Local};
use fielato_wire::build::{Ip, fragments, reassemble};
use fielato_wire::{Headers, checksum, number};

use super::common::{can_run, wait_for};
use super::member::{MTU, World, options};

/// A member and an outside address of each family.
const FAMILIES: [(&str, &str); 2] = [("10.8.0.2", "10.9.0.2"), ("fd08::2", "fd09::2")];

fn ip(from: &str, to: &str) -> Ip {
    Ip::between(from.parse().unwrap(), to.parse().unwrap()).unwrap()
}

fn send(world: &World, packet: Vec<u8>) {
    assert!(world.proxy.send(Buffer::from(packet)));
}

/// A server that answers each datagram with the same, and gives the sources of `count` of them.
fn echo(world: &World, address: &str, count: usize) -> (u16, std::thread::JoinHandle<Vec<SocketAddr>>) {
    let socket = world
        .outside
        .within(|| UdpSocket::bind((address.parse::<IpAddr>().unwrap(), 0)))
        .unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let port = socket.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let mut room = vec![0; 65_536];
        let mut answer = |_| {
            let (len, from) = socket.recv_from(&mut room).unwrap();
            socket.send_to(&room[..len], from).unwrap();
            from
        };
        (0..count).map(&mut answer).collect()
    });
    (port, thread)
}

fn dropped(world: &World, reason: DropReason) -> u64 {
    world.proxy.stats().dropped(reason)
}

/// What a UDP packet is: source and destination with ports, and payload. Its checksum is right.
fn udp(packet: &[u8]) -> (SocketAddr, SocketAddr, Vec<u8>) {
    let headers = Headers::receive(packet).unwrap();
    assert_eq!(headers.protocol, number::UDP);
    let transport = headers.transport(packet);
    let sum = checksum::pseudo(headers.src, headers.dst, number::UDP, transport.len() as u32);
    assert_eq!(checksum::fold(sum + checksum::sum(transport)), 0xffff);
    (
        SocketAddr::new(headers.src.to_ip(headers.family), headers.sport),
        SocketAddr::new(headers.dst.to_ip(headers.family), headers.dport),
        transport[8..].to_vec(),
    )
}

#[test]
fn udp_is_answered_and_one_port_talks_to_several() {
    if !can_run("udp_is_answered_and_one_port_talks_to_several") {
        return;
    }
    let world = World::new(options());
    for (member, outside) in FAMILIES {
        let servers = [echo(&world, outside, 2), echo(&world, outside, 1)];
        let mut sources = Vec::new();
        for (port, text) in [(servers[0].0, "one"), (servers[1].0, "two"), (servers[0].0, "")] {
            send(&world, ip(member, outside).udp(5353, port, text.as_bytes()));
            let (from, to, payload) = udp(&world.inbox.next());
            assert_eq!(from, SocketAddr::new(outside.parse().unwrap(), port));
            assert_eq!(to, SocketAddr::new(member.parse().unwrap(), 5353));
            assert_eq!(payload, text.as_bytes());
        }
        for (_, server) in servers {
            sources.extend(server.join().unwrap());
        }
        assert!(sources.iter().all(|source| *source == sources[0]), "{sources:?}");

        // Somebody else in the outside sends to that port.
        let stranger = world
            .outside
            .within(|| UdpSocket::bind((outside.parse::<IpAddr>().unwrap(), 0)))
            .unwrap();
        let before = dropped(&world, DropReason::Stranger);
        stranger.send_to(b"hello?", sources[0]).unwrap();
        wait_for("the stranger to be counted", || {
            dropped(&world, DropReason::Stranger) == before + 1
        });
    }
    assert_eq!(world.inbox.take(), None);
    let stats = world.proxy.stats();
    assert_eq!((stats.udp_open, stats.udp_opened), (2, 2));
}

#[test]
fn a_closed_udp_port_is_told_by_icmp() {
    if !can_run("a_closed_udp_port_is_told_by_icmp") {
        return;
    }
    let world = World::new(options());
    for (member, outside) in FAMILIES {
        // The second is told even though the error of the first was pending.
        for port in [9, 10] {
            let packet = ip(member, outside).udp(4000, port, b"anybody?");
            send(&world, packet.clone());
            let error = world.inbox.next();
            let headers = Headers::receive(&error).unwrap();
            let expected = if member.contains(':') { (1, 4) } else { (3, 3) };
            assert_eq!((headers.icmp_type, headers.icmp_code), expected);
            assert_eq!(headers.dst.to_ip(headers.family).to_string(), member);
            let quoted = Headers::parse(&headers.transport(&error)[8..]).unwrap();
            assert_eq!((quoted.sport, quoted.dport), (4000, port));
            assert_eq!(quoted.src.to_ip(quoted.family).to_string(), member);
        }
    }
    // No way there at all.
    for (from, to) in [("10.8.0.2", "192.0.2.1"), ("fd08::2", "2001:db8::9")] {
        send(&world, ip(from, to).udp(4000, 53, b"?"));
        let error = world.inbox.next();
        let headers = Headers::receive(&error).unwrap();
        let expected = if from.contains(':') { (1, 0) } else { (3, 0) };
        assert_eq!((headers.icmp_type, headers.icmp_code), expected);
    }
}

#[test]
fn long_datagrams_pass_in_fragments_both_ways() {
    if !can_run("long_datagrams_pass_in_fragments_both_ways") {
        return;
    }
    let world = World::new(options());
    for (member, outside) in FAMILIES {
        let (port, server) = echo(&world, outside, 1);
        let payload: Vec<u8> = (0..20_000).map(|at| (at / 7) as u8).collect();
        let whole = ip(member, outside).id(77).udp(4000, port, &payload);
        for piece in fragments(&whole, MTU.into(), 78).unwrap().into_iter().rev() {
            send(&world, piece);
        }
        let count = payload.len().div_ceil(1368);
        let pieces: Vec<_> = (0..count).map(|_| world.inbox.next()).collect();
        let (from, _, answer) = udp(&reassemble(&pieces).unwrap());
        assert_eq!((from.port(), answer), (port, payload));
        server.join().unwrap();
    }
}

#[test]
fn ping_is_answered_with_the_members_own_identifier() {
    if !can_run("ping_is_answered_with_the_members_own_identifier") {
        return;
    }
    let world = World::new(options());
    for (member, outside) in FAMILIES {
        for sequence in 1..=3 {
            let data = vec![sequence as u8; 1000 * usize::from(sequence)];
            send(&world, ip(member, outside).echo_request(4711, sequence, &data));
            let mut packets = vec![world.inbox.next()];
            while Headers::receive(packets.last().unwrap()).unwrap().more_fragments {
                packets.push(world.inbox.next());
            }
            let reply = match packets.len() {
                1 => packets.remove(0),
                _ => reassemble(&packets).unwrap(),
            };
            let id = Headers::receive(&reply).unwrap();
            let expected = ip(outside, member).echo_reply(4711, sequence, &data);
            let l4 = id.ip_header_len();
            assert_eq!(reply[l4..], expected[l4..]);
            assert_eq!((id.src, id.dst), (ip(outside, member).src, ip(outside, member).dst));
        }
    }
    assert_eq!(world.proxy.stats().ping_open, 2);
}

#[test]
fn ping_without_permission_is_counted() {
    if !can_run("ping_without_permission_is_counted") {
        return;
    }
    let world = World::new(options());
    world
        .hub
        .within(|| std::fs::write("/proc/sys/net/ipv4/ping_group_range", "1 0"))
        .unwrap();
    for (member, outside) in FAMILIES {
        send(&world, ip(member, outside).echo_request(1, 1, b"?"));
    }
    wait_for("the counter", || dropped(&world, DropReason::PingNotPermitted) == 2);
    assert_eq!((world.inbox.take(), world.proxy.stats().ping_open), (None, 0));
}

#[test]
fn the_hubs_own_overlay_address_is_its_primary_one_and_never_its_loopback() {
    if !can_run("the_hubs_own_overlay_address_is_its_primary_one_and_never_its_loopback") {
        return;
    }
    let mut options = options();
    options.local = Local::Addresses(vec!["10.8.0.1".parse().unwrap(), "fd08::1".parse().unwrap()]);
    let world = World::new(options);
    for (member, own, loopback) in [("10.8.0.2", "10.8.0.1", "127.0.0.1"), ("fd08::2", "fd08::1", "::1")] {
        send(&world, ip(member, own).echo_request(7, 1, b"hub?"));
        let reply = world.inbox.next();
        let headers = Headers::receive(&reply).unwrap();
        let expected = ip(own, member).echo_reply(7, 1, b"hub?");
        let l4 = headers.ip_header_len();
        assert_eq!((headers.src, &reply[l4..]), (ip(own, member).src, &expected[l4..]));

        // Nothing leads out of this machine, so it has no primary address.
        let before = dropped(&world, DropReason::NoOwnAddress);
        send(&world, ip(member, own).udp(4000, 53, b"?"));
        wait_for("the counter", || dropped(&world, DropReason::NoOwnAddress) == before + 1);

        let [via, any] = if own.contains(':') {
            ["fd09::2", "::"]
        } else {
            ["10.9.0.2", "0.0.0.0"]
        };
        world.hub.run(&format!("ip route add default via {via}"));
        let bind = |address: &str| {
            let address: IpAddr = address.parse().unwrap();
            let socket = world.hub.within(|| UdpSocket::bind((address, 0))).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let port = socket.local_addr().unwrap().port();
            (socket, port)
        };
        let (service, port) = bind(any);
        send(&world, ip(member, own).udp(4000, port, b"question"));
        let mut room = [0; 100];
        let (len, from) = service.recv_from(&mut room).unwrap();
        assert_eq!(&room[..len], b"question");
        service.send_to(b"answer", from).unwrap();
        let (from, to, answer) = udp(&world.inbox.next());
        assert_eq!((from.ip().to_string(), from.port()), (own.to_owned(), port));
        assert_eq!((to.ip().to_string(), to.port()), (member.to_owned(), 4000));
        assert_eq!(answer, b"answer");

        let (inside, port) = bind(loopback);
        send(&world, ip(member, own).udp(4000, port, b"secret?"));
        let error = world.inbox.next();
        let expected = if own.contains(':') { (1, 4) } else { (3, 3) };
        let headers = Headers::receive(&error).unwrap();
        assert_eq!((headers.icmp_type, headers.icmp_code), expected);
        inside.set_nonblocking(true).unwrap();
        assert!(inside.recv_from(&mut room).is_err());
    }
}

#[test]
fn mappings_beyond_the_limits_and_what_is_not_carried_are_counted() {
    if !can_run("mappings_beyond_the_limits_and_what_is_not_carried_are_counted") {
        return;
    }
    let mut options = options();
    (options.limits.udp, options.limits.udp_member) = (5, 3);
    (options.limits.ping, options.limits.ping_member) = (3, 2);
    let world = World::new(options);
    // Three of four of the first; then what is left.
    for (member, outside) in FAMILIES {
        for number in 0..4 {
            send(&world, ip(member, outside).udp(4000 + number, 9, b"x"));
            send(&world, ip(member, outside).echo_request(number, 1, b"x"));
        }
    }
    wait_for("the limits", || {
        let of = |reason| dropped(&world, reason);
        [
            of(DropReason::UdpLimit) + of(DropReason::UdpMemberLimit),
            of(DropReason::PingLimit) + of(DropReason::PingMemberLimit),
        ] == [3, 5]
    });
    let stats = world.proxy.stats();
    assert_eq!((stats.udp_open, stats.ping_open), (5, 3));
    assert!(stats.dropped(DropReason::UdpMemberLimit) > 0 && stats.dropped(DropReason::UdpLimit) > 0);

    let (member, outside) = FAMILIES[0];
    let mut wrong = ip(member, outside).udp(4000, 9, b"damaged");
    *wrong.last_mut().unwrap() ^= 1;
    for (packet, reason) in [
        (wrong, DropReason::Malformed),
        (vec![], DropReason::Malformed),
        (ip(member, outside).gre(0x800, None, b"tunnel"), DropReason::NotCarried),
        (ip(member, outside).echo_reply(1, 1, b""), DropReason::NotCarried),
        (ip(member, "127.0.0.1").udp(1, 1, b""), DropReason::DestinationSpecial),
        (ip(member, "224.0.0.251").udp(5353, 5353, b""), DropReason::DestinationSpecial),
        (ip(member, "10.9.0.1").echo_request(9, 1, b""), DropReason::DestinationOwn),
        (ip(member, "10.8.0.3").udp(1, 1, b""), DropReason::DestinationOverlay),
    ] {
        let before = dropped(&world, reason);
        send(&world, packet);
        wait_for(reason.name(), || dropped(&world, reason) == before + 1);
    }
}
