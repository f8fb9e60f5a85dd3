//! The usual limits, all of them reached.

use fielato_gateway::Buffer;
use fielato_io::proxy::{DropReason, Limits};
use fielato_wire::build::{Ip, Tcp};
use fielato_wire::{Headers, TcpFlags};
use socket2::{Domain, Socket, Type};

use super::common::{can_run, wait_for};
use super::member::{World, options};

/// Sends packets so that the queue takes them all.
fn send_all(world: &World, packets: impl Iterator<Item = Vec<u8>>) {
    for packet in packets {
        while !world.proxy.send(Buffer::from(packet.clone())) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

fn member(number: usize) -> [u8; 4] {
    [10, 8, 0, 2 + number as u8]
}

#[test]
fn thousands_of_connections_and_mappings_at_once_and_no_more() {
    if !can_run("thousands_of_connections_and_mappings_at_once_and_no_more") {
        return;
    }
    let world = World::new(options());
    let Limits {
        tcp,
        tcp_member,
        udp,
        udp_member,
        ..
    } = Limits::default();
    if world.proxy.stats().descriptors < (tcp + udp + 2048) as u64 {
        return fielato_testkit::skip(
            "thousands_of_connections_and_mappings_at_once_and_no_more",
            "too few open files allowed",
        );
    }

    // A server that accepts nothing: the kernel keeps the connections.
    let listener = world.outside.within(|| {
        std::fs::write("/proc/sys/net/core/somaxconn", "8192").unwrap();
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener
            .bind(&"10.9.0.2:80".parse::<std::net::SocketAddr>().unwrap().into())
            .unwrap();
        listener.listen(8192).unwrap();
        listener
    });
    let syn = |member: [u8; 4], port: usize| Ip::v4(member, [10, 9, 0, 2]).tcp(&Tcp::new(port as u16, 80).syn());
    let full = tcp / tcp_member;
    for number in 0..full {
        // One more than a member may have.
        send_all(&world, (0..=tcp_member).map(|port| syn(member(number), 1024 + port)));
        let expected = ((number + 1) * tcp_member) as u64;
        wait_for("a member's connections", || world.proxy.stats().tcp_opened == expected);
    }
    send_all(&world, [syn(member(full), 1)].into_iter());
    // The last member's last and another member's first meet the limit of all.
    wait_for("the limit", || world.proxy.stats().dropped(DropReason::TcpLimit) == 2);
    let stats = world.proxy.stats();
    assert_eq!(stats.tcp_open, tcp as u64);
    assert_eq!(stats.dropped(DropReason::TcpMemberLimit), full as u64 - 1);
    assert!(stats.tcp_memory <= Limits::default().tcp_memory as u64, "{stats:?}");

    let datagram = |member: [u8; 4], port: usize| Ip::v4(member, [10, 9, 0, 2]).udp(port as u16, 9, b"");
    for number in 0..udp / udp_member {
        send_all(&world, (0..=udp_member).map(|port| datagram(member(number), 1024 + port)));
    }
    send_all(&world, [datagram(member(udp / udp_member), 1)].into_iter());
    wait_for("all mappings", || world.proxy.stats().dropped(DropReason::UdpLimit) == 2);
    let stats = world.proxy.stats();
    assert_eq!(stats.udp_open, udp as u64);
    assert_eq!(stats.dropped(DropReason::UdpMemberLimit), (udp / udp_member) as u64 - 1);

    // All connections end as their members say, and a new one is made at once.
    for number in 0..full {
        let reset = |port: usize| {
            let tcp = Tcp::new(port as u16, 80).flags(TcpFlags::RST).seq(1);
            Ip::v4(member(number), [10, 9, 0, 2]).tcp(&tcp)
        };
        send_all(&world, (0..tcp_member).map(|port| reset(1024 + port)));
    }
    wait_for("the end", || world.proxy.stats().tcp_open == 0);
    assert_eq!(world.proxy.stats().tcp_memory, 0);
    while world.inbox.take().is_some() {}
    send_all(&world, [syn(member(0), 1024)].into_iter());
    wait_for("an answer", || {
        world
            .inbox
            .take()
            .is_some_and(|packet| Headers::receive(&packet).unwrap().tcp_flags.has(TcpFlags::SYN))
    });
    drop(listener);
}
