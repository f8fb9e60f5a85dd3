//! What cutting and joining superpackets costs per packet of 1,400 bytes, beside the copy alone.

use std::hint::black_box;
use std::ops::Range;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fielato_wire::build::{Ip, Tcp};
use fielato_wire::gro::Coalescer;
use fielato_wire::gso::Segments;
use fielato_wire::{Offload, Segmentation, SegmentationKind, checksum};

const SIZE: usize = 1368;
const COUNT: usize = 44;

fn ip() -> Ip {
    Ip::v4([10, 0, 0, 1], [10, 0, 0, 2])
}

fn segment(sequence: usize, payload: &[u8]) -> Tcp {
    // Timestamps, as Linux has them.
    let options = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
    Tcp::new(1000, 2000)
        .seq(sequence as u32)
        .ack(1)
        .options(options)
        .payload(payload)
}

fn sums(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("1,400 bytes");
    let from = vec![0x5a; 1400];
    let mut to = vec![0; 1400];
    group.bench_function("copy", |bencher| {
        bencher.iter(|| {
            to.copy_from_slice(black_box(&from));
            black_box(&mut to);
        });
    });
    group.bench_function("copy and sum", |bencher| {
        bencher.iter(|| black_box(checksum::copy_and_sum(black_box(&mut to), black_box(&from))));
    });
    group.bench_function("sum", |bencher| bencher.iter(|| checksum::sum(black_box(&from))));
    group.bench_function("sum of 20", |bencher| bencher.iter(|| checksum::sum(black_box(&from[..20]))));
    group.finish();
}

fn cut(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("per packet");
    group.throughput(Throughput::Elements(COUNT as u64));
    let packet = ip().tcp(&segment(1, &vec![0x5a; SIZE * COUNT]));
    let offload = Offload {
        needs_csum: Some((20, 16)),
        data_valid: false,
        segmentation: Some(Segmentation {
            kind: SegmentationKind::Tcp4,
            ecn: false,
            size: SIZE as u16,
            header_len: 52,
        }),
    };
    let mut out = vec![0; 1 << 17];
    group.bench_function("copy only", |bencher| {
        bencher.iter(|| {
            for (to, from) in out.chunks_mut(1500).zip(black_box(&packet).chunks(SIZE)) {
                to[..from.len()].copy_from_slice(from);
            }
            black_box(&mut out);
        });
    });
    group.bench_function("cut", |bencher| {
        bencher.iter(|| {
            let mut segments = Segments::new(black_box(&packet), &offload).unwrap();
            for to in out.chunks_mut(1500) {
                if segments.write_next(to).is_none() {
                    break;
                }
            }
            black_box(&mut out);
        });
    });
    group.finish();
}

fn join(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("per packet");
    group.throughput(Throughput::Elements(COUNT as u64));
    for (what, size, stride) in [("join", SIZE, 1), ("join, each of another flow", 64, 0)] {
        let mut buffer = Vec::new();
        let ranges: Vec<Range<usize>> = (0..COUNT)
            .map(|n| {
                let mut segment = segment(n * size * stride, &vec![0x5a; size]);
                segment.sport += if stride == 0 { n as u16 } else { 0 };
                let start = buffer.len();
                buffer.extend(ip().id(n as u32).tcp(&segment));
                start..buffer.len()
            })
            .collect();
        let fresh = buffer.clone();
        let mut coalescer = Coalescer::new(64, true);
        group.bench_function(what, |bencher| {
            bencher.iter(|| {
                // Joining has changed the first packet's headers.
                buffer[..52].copy_from_slice(&fresh[..52]);
                for range in &ranges {
                    coalescer.push(&buffer, range.clone()).unwrap();
                }
                coalescer.finish(&mut buffer).map(|item| item.parts.len()).sum::<usize>()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, sums, cut, join);
criterion_main!(benches);
