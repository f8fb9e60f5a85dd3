//! What connection tracking costs a packet, with 1,000 and 1,000,000 connections in the table, and what a connection costs in
//! memory.
//!
//! `cargo bench -p fielato-netfilter --bench conntrack [FILTER]`. Packets belong to connections in random order, so that at a
//! million each finds nothing of its own in a cache.

#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fielato_netfilter::conntrack::{Config, Conntrack, Tuple, Zone};
use fielato_netfilter::{Hook, Interface, Now, Packet};
use fielato_wire::{Addr, Family, checksum, number};

const SIZES: [u32; 2] = [1_000, 1_000_000];
const BATCH: usize = 1_024;
const NOW: Now = Now::from_secs(1);

/// The tuple of flow `n`: 64 clients, whose ports are taken in order, as clients do.
fn tuple(family: Family, n: u32) -> Tuple {
    let base = match family {
        Family::V4 => 0x0a00_0000,
        Family::V6 => 0x2001_0db8 << 96,
    };
    Tuple {
        src: Addr::from_bits(base + u128::from(n % 64)),
        dst: Addr::from_bits(base + 0x1_0000 + u128::from(n >> 21)),
        sport: (n >> 6) as u16,
        dport: 53 + (n >> 20 & 1) as u16,
        protocol: number::UDP,
        family,
    }
}

/// The first packet of flow `n`: 64 bytes of UDP.
fn packet(family: Family, n: u32) -> Packet {
    let tuple = tuple(family, n);
    let mut udp = vec![0; 8 + 36];
    udp[..2].copy_from_slice(&tuple.sport.to_be_bytes());
    udp[2..4].copy_from_slice(&tuple.dport.to_be_bytes());
    let len = (udp.len() as u16).to_be_bytes();
    udp[4..6].copy_from_slice(&len);
    let check = checksum::transport(tuple.src, tuple.dst, number::UDP, &udp);
    udp[6..8].copy_from_slice(&check.to_be_bytes());
    let mut bytes;
    match family {
        Family::V4 => {
            bytes = vec![0x45, 0, 0, 20 + udp.len() as u8, 0, 0, 0, 0, 64, number::UDP, 0, 0];
            bytes.extend_from_slice(&(tuple.src.lo as u32).to_be_bytes());
            bytes.extend_from_slice(&(tuple.dst.lo as u32).to_be_bytes());
            let check = checksum::checksum(&bytes).to_be_bytes();
            bytes[10..12].copy_from_slice(&check);
        }
        Family::V6 => {
            bytes = vec![0x60, 0, 0, 0, 0, udp.len() as u8, number::UDP, 64];
            bytes.extend_from_slice(&tuple.src.to_bits().to_be_bytes());
            bytes.extend_from_slice(&tuple.dst.to_bits().to_be_bytes());
        }
    }
    bytes.extend_from_slice(&udp);
    Packet::received(bytes, Interface::NONE).expect("the packet is well made")
}

/// A table of `flows` connections.
fn table(family: Family, flows: u32) -> Conntrack {
    let config = Config {
        max: flows + BATCH as u32,
        ..Config::default()
    };
    let mut conntrack = Conntrack::new(config, 0x5eed);
    for n in 0..flows {
        begin(&mut conntrack, &mut packet(family, n));
    }
    assert_eq!(conntrack.count(), flows);
    conntrack
}

fn begin(conntrack: &mut Conntrack, packet: &mut Packet) {
    black_box(conntrack.track(packet, Hook::Prerouting, NOW));
    black_box(conntrack.confirm(packet, NOW));
}

fn flows(criterion: &mut Criterion) {
    for family in [Family::V4, Family::V6] {
        let mut group = criterion.benchmark_group(format!("conntrack {family:?}"));
        group.throughput(Throughput::Elements(BATCH as u64));
        for flows in SIZES {
            let mut conntrack = table(family, flows);
            println!(
                "{family:?}: {flows} connections, {} bytes each",
                conntrack.memory() / flows as usize
            );
            let mut rng = fastrand::Rng::with_seed(1);

            group.bench_function(BenchmarkId::new("lookup", flows), |bencher| {
                bencher.iter_batched(
                    || -> Vec<Tuple> { (0..BATCH).map(|_| tuple(family, rng.u32(0..flows))).collect() },
                    |tuples| {
                        let found = |tuple| conntrack.lookup(tuple, Zone::default()).is_some();
                        assert!(tuples.iter().all(found));
                    },
                    BatchSize::LargeInput,
                );
            });
            group.bench_function(BenchmarkId::new("established", flows), |bencher| {
                bencher.iter_batched(
                    || -> Vec<Packet> { (0..BATCH).map(|_| packet(family, rng.u32(0..flows))).collect() },
                    |mut packets| {
                        for packet in &mut packets {
                            begin(&mut conntrack, packet);
                        }
                        packets
                    },
                    BatchSize::LargeInput,
                );
            });
            // Begun and, so that the table keeps its size, removed again.
            group.bench_function(BenchmarkId::new("new and deleted", flows), |bencher| {
                let mut next = flows;
                bencher.iter_batched(
                    || -> Vec<Packet> {
                        next += BATCH as u32;
                        (next - BATCH as u32..next).map(|n| packet(family, n)).collect()
                    },
                    |mut packets| {
                        for packet in &mut packets {
                            begin(&mut conntrack, packet);
                            if let fielato_netfilter::PacketCt::Tracked { id, .. } = packet.ct {
                                conntrack.delete(id);
                            }
                        }
                        packets
                    },
                    BatchSize::LargeInput,
                );
            });
        }
        group.finish();
    }
}

criterion_group!(benches, flows);
criterion_main!(benches);
