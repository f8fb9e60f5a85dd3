//! Nothing panics on any bytes on any port, and everything stays bounded.

use fielato_gateway::{Buffer, Gateway, Link, Now, Offload, PortId, TraceFilter};
use fielato_wire::build::Tcp;
use fielato_wire::{Segmentation, SegmentationKind};

use crate::net::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn subject(seed: u64) -> Gateway {
    let nat = "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n";
    let rules = filter("-A FORWARD -i wg0 -p udp -j LOG\n-A FORWARD -i wg0 -p tcp -j REJECT\n-A FORWARD -j ACCEPT");
    let mut config = with_rules(&format!("{nat}{rules}"), &format!("{nat}{rules}"));
    config.settings.conntrack.max = 500;
    config.settings.neighbours.max = 32;
    config.settings.log_lines = 16;
    config.guard.sources = 64;
    if seed % 2 == 1 {
        config.ports[2].link = Link::Ethernet { mac: MAC };
    }
    Gateway::new(config, seed, START).unwrap()
}

/// A packet that is nearly right, bytes of it changed at random.
fn packet(rng: &mut fastrand::Rng) -> Vec<u8> {
    let family = FAMILIES[rng.usize(..2)];
    let places = places(family);
    let ip = ip(places[rng.usize(..4)], places[rng.usize(..4)]).ttl(rng.u8(..));
    let mut data = match rng.u8(..6) {
        0 => ip.udp(rng.u16(..), rng.u16(..), &vec![0; rng.usize(..3000)]),
        1 => ip.tcp(&Tcp::new(rng.u16(..), rng.u16(..)).flags(rng.u8(..))),
        2 => ip.echo_request(rng.u16(..), rng.u16(..), b"hello"),
        3 => {
            let inner = ip.udp(1, 2, b"x");
            ip.reply().icmp_error(rng.u8(..), rng.u8(..), 0, &inner)
        }
        4 => ip.icmp(rng.u8(133..138), 0, 0, &[rng.u8(..); 40]),
        _ => (0..rng.usize(..100)).map(|_| rng.u8(..)).collect(),
    };
    for _ in 0..rng.usize(..3) {
        if let Some(place) = (!data.is_empty()).then(|| rng.usize(..data.len())) {
            data[place] = rng.u8(..);
        }
    }
    data.truncate(if rng.u8(..8) == 0 {
        rng.usize(..=data.len())
    } else {
        data.len()
    });
    data
}

fn offload(rng: &mut fastrand::Rng) -> Offload {
    let kinds = [SegmentationKind::Tcp4, SegmentationKind::Tcp6, SegmentationKind::Udp];
    Offload {
        needs_csum: rng.bool().then(|| (rng.u16(..100), rng.u16(..20))),
        data_valid: rng.bool(),
        segmentation: rng.bool().then(|| Segmentation {
            kind: kinds[rng.usize(..3)],
            ecn: rng.bool(),
            size: rng.u16(..2000),
            header_len: rng.u16(..),
        }),
    }
}

#[test]
fn no_bytes_make_it_fail() {
    for seed in 0..8 {
        let mut gateway = subject(seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut now = START;
        gateway.start_trace(TraceFilter::default(), 500);
        for round in 0..6_000 {
            now = now.plus(rng.u64(..20_000_000));
            let port = PortId(rng.u16(1..5));
            let mut data = packet(&mut rng);
            if port == UPLINK && seed % 2 == 1 && rng.u8(..8) != 0 {
                let kind = [[8, 0], [8, 6], [0x86, 0xdd]][rng.usize(..3)];
                let to = if rng.bool() { MAC } else { [0xff; 6] };
                data = [&to[..], &[2, 0, 0, 0, 0, rng.u8(..)], &kind, &data].concat();
            }
            let offload = if rng.u8(..4) == 0 {
                offload(&mut rng)
            } else {
                Offload::default()
            };
            gateway.receive(port, Buffer { data, offload }, now);
            if rng.bool() {
                gateway.transmit(now);
            }
            if round % 50 == 0 {
                gateway.handle_timeout(now);
                let usage = gateway.usage();
                assert!(
                    usage.connections <= 500 && usage.neighbours <= 32 && usage.sources <= 128,
                    "{usage:?}"
                );
                assert!(usage.waiting <= 3 * 1000);
                gateway.drain_events();
            }
        }
        assert!(gateway.drain_log().count() <= 16);
        // What waits leaves, and what began ends.
        sent(&mut gateway, now);
        for _ in 0..20 {
            now = now.plus(86_400 * Now::SECOND);
            gateway.handle_timeout(now);
            sent(&mut gateway, now);
        }
        let usage = gateway.usage();
        assert_eq!(
            (usage.connections, usage.waiting, usage.neighbours_asked),
            (0, 0, 0),
            "{usage:?}"
        );
    }
}
