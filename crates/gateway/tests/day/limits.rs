//! Every limit there is, run into on purpose. The hub goes on.

use std::time::Duration;

use fielato_gateway::{Buffer, Hub, TraceFilter};
use fielato_wire::Family;
use fielato_wire::build::{Ip, fragments};

use crate::world::{CONNECTIONS, HOST, NEIGHBOURS, TUNNEL, UPLINK, World, address, server};

/// A packet that came out of the tunnel.
fn receive(world: &mut World, packet: Vec<u8>) {
    let now = Hub::now(world.epoch(), world.at);
    world.hub.gateway_mut().receive(TUNNEL, Buffer::from(packet), now);
}

fn count(world: &World, name: &str) -> u64 {
    let found = world.hub.gateway().drops().find(|(known, _)| *known == name);
    found.map_or(0, |(_, count)| count)
}

/// The hub's own way of doing `what` made a count grow.
fn grows(world: &mut World, name: &'static str, what: impl FnOnce(&mut World)) {
    let before = count(world, name);
    what(world);
    assert!(
        count(world, name) > before,
        "{name}: {:?}",
        world.hub.gateway().drops().collect::<Vec<_>>()
    );
    world.tally.limits.push(name);
    let later = world.at.instant + Duration::from_secs(10);
    world.pass_until(later);
    world.hub.handle_timeout(world.at);
    world.carry();
}

pub fn run_into_all(world: &mut World) {
    let v4 = Family::V4;
    let from = |number: usize| move |to| Ip::between(address(number, v4), to).unwrap();
    // Enough of the group is always admitted.
    let admitted: Vec<usize> = (0..50).filter(|number| passes(world, *number)).collect();
    let [one, other, ..] = admitted[..] else {
        panic!("two members were to be admitted");
    };

    // Connections: new ones give way to newer ones, and none is let in beyond the limit.
    for port in 0..3 * CONNECTIONS {
        let packet = from(one)(server(v4, 7)).udp(1 + port as u16, 9 + (port >> 16) as u16, b"x");
        receive(world, packet);
        world.hub.poll(world.at);
        assert!(world.hub.gateway().usage().connections <= CONNECTIONS as usize);
    }
    let early = world.hub.gateway().netfilter().conntrack().stats().early_drop;
    assert!(early > 0, "connections gave way");
    world.tally.limits.push("connections");
    world.carry();

    // The queue of the tunnel: a burst that nobody takes away.
    grows(world, "overlimit", |world| {
        let now = Hub::now(world.epoch(), world.at);
        for _ in 0..300 {
            let packet = Ip::between(server(v4, 7), address(other, v4)).unwrap().udp(53, 1, &[0; 1300]);
            let frame = [&crate::servers::GATEWAY[..], &crate::servers::SERVERS, &[8, 0], &packet].concat();
            // An answer to what the member asked.
            let question = from(other)(server(v4, 7)).udp(1, 53, b"x");
            world.hub.gateway_mut().receive(TUNNEL, Buffer::from(question), now);
            world
                .hub
                .gateway_mut()
                .receive(UPLINK, Buffer::from(masqueraded(&frame)), now);
        }
    });

    // Fragments that never become whole: the oldest give way to others.
    let datagram = from(one)(server(v4, 7)).udp(1, 53, &[0; 1400]);
    for id in 0..1000_u16 {
        let mut packet = datagram.clone();
        packet[4..6].copy_from_slice(&id.to_be_bytes());
        let first = fragments(&packet, 700, u32::from(id)).unwrap().swap_remove(0);
        receive(world, first);
    }
    world.tally.limits.push("fragments");
    let later = world.at.instant + Duration::from_secs(60);
    world.pass_until(later);
    world.hub.handle_timeout(world.at);
    world.carry();

    // Neighbours that don't answer, packets that wait for them, and more neighbours than fit.
    grows(world, "neighbour-queue", |world| {
        for number in 0x80..0x80 + 2 * NEIGHBOURS as u64 - 1 {
            let packet = from(one)(server(v4, number.min(0xfe))).udp(7, 7, b"x");
            receive(world, packet);
            assert!(world.hub.gateway().usage().neighbours <= NEIGHBOURS);
        }
    });
    grows(world, "no-neighbour", |world| {
        receive(world, from(other)(server(v4, 0xf0)).udp(7, 7, b"x"));
        for _ in 0..50 {
            let later = world.at.instant + Duration::from_millis(100);
            world.pass_until(later);
            world.hub.handle_timeout(world.at);
            world.carry();
        }
    });

    // The guard's rate for each source.
    grows(world, "source-limit", |world| {
        let packet = from(one)(server(v4, 7)).udp(1, 53, b"x");
        for _ in 0..25_000 {
            receive(world, packet.clone());
            while world.hub.poll(world.at).is_some() {}
        }
    });

    // ICMP errors.
    let before = world.hub.gateway().icmp_refused();
    for _ in 0..100 {
        receive(world, from(one)(server(v4, 7)).ttl(1).udp(1, 53, b"x"));
    }
    assert!(world.hub.gateway().icmp_refused() > before);
    world.tally.limits.push("icmp-errors");
    world.carry();

    // Bans beyond what fits, traced packets that nobody reads, packets for a stack that isn't there.
    let gateway = world.hub.gateway_mut();
    let network = |number: u32| std::net::IpAddr::from(std::net::Ipv4Addr::from_bits(0x2000_0000 + number)).into();
    let fitting = (0..140_000)
        .take_while(|number| gateway.ban(network(*number), Some(1)).is_ok())
        .count();
    assert!(fitting <= fielato_gateway::guard::MAX_BANS && fitting > 100_000);
    world.tally.limits.push("bans");
    gateway.start_trace(TraceFilter::default(), 6000);
    for _ in 0..6500 {
        receive(world, from(one)(server(v4, 7)).udp(1, 53, b"x"));
    }
    assert!(!world.hub.gateway().is_tracing());
    assert!(world.hub.gateway_mut().drain_events().len() < 6000);
    world.tally.limits.push("traced");
    grows(world, "no-port", |world| {
        let now = Hub::now(world.epoch(), world.at);
        world.hub.gateway_mut().receive(HOST, Buffer::from(vec![0x45; 20]), now);
    });
    world.hub.handle_timeout(world.at);
    world.carry();
    assert!(world.hub.gateway().bans().len() < 1000, "bans that ended are gone");
}

/// Whether rules let the member out.
fn passes(world: &mut World, number: usize) -> bool {
    let now = Hub::now(world.epoch(), world.at);
    let packet = Ip::between(address(number, Family::V4), server(Family::V4, 7))
        .unwrap()
        .udp(5, 5, b"x");
    let stations = world.hub.gateway_mut().receive_traced(TUNNEL, Buffer::from(packet), now);
    world.carry();
    use fielato_gateway::Station;
    use fielato_gateway::trace::Outcome;
    !stations
        .iter()
        .any(|station| matches!(station, Station::End(Outcome::Dropped { .. })))
}

/// The frame with the destination that masquerading gave the member's question.
fn masqueraded(frame: &[u8]) -> Vec<u8> {
    let packet = &frame[14..];
    let headers = fielato_wire::Headers::parse(packet).unwrap();
    let own = "192.0.2.1".parse::<std::net::Ipv4Addr>().unwrap();
    let ip = Ip::new(Family::V4, headers.src, fielato_wire::Addr::from(own));
    let rebuilt = ip.udp(headers.sport, headers.dport, &headers.transport(packet)[8..]);
    [&frame[..14], &rebuilt].concat()
}
