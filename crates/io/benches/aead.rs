//! What sealing and opening a packet costs, with ring and with Intel's library, by turns; and what the library's memory is.
//!
//! `cargo bench -p fielato-io --bench aead`. Writes `bench/results/aead.json`. One core; 45 packets one after another, each in a buffer
//! of its own and with the next counter, as one superpacket's are, so that a figure has more than the first-level cache in it.
//! ring and Intel's library take turns round by round, as a shared machine's speed varies more than they differ, and what is counted is the
//! thread's processor time.

#![allow(missing_docs)]

use std::hint::black_box;
use std::time::Duration;
use std::{fs, io};

use fielato_io::aead::IpsecMb;
use fielato_testkit::bench::{self, Series};
use fielato_wireguard::aead::{Aead, Ring};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

/// A small packet, a voice packet, a full one (1,420 bytes padded to 16 are 1,424), and more than one datagram holds.
const SIZES: [usize; 6] = [64, 96, 256, 1420, 1424, 65_000];
const PACKETS: usize = 45;
/// Reading the clock is a system call, so each packet is sealed so many times over, and opened as often, before it is read again.
const LAYERS: usize = 16;
const ROUNDS: usize = 41;
/// Of one cipher, one direction, one round.
const ROUND: Duration = Duration::from_millis(4);

fn main() -> io::Result<()> {
    let before = resident()?;
    let mut ipsec_mb = IpsecMb::new()
        .inspect_err(|reason| eprintln!("only ring is measured: {reason}"))
        .ok();
    let first = resident()?;
    let more: Vec<_> = (0..8).map_while(|_| IpsecMb::new().ok()).collect();
    let all = resident()?;
    if ipsec_mb.is_some() {
        println!(
            "memory: {} kB for the library and the first manager, {} kB for each further one\n",
            first.saturating_sub(before),
            all.saturating_sub(first) / more.len().max(1),
        );
    }
    let memory = json!({ "library_and_first_kb": first.saturating_sub(before), "eight_more_kb": all.saturating_sub(first) });

    let mut rows = Vec::new();
    println!("ns per packet, medians of {ROUNDS} rounds   seal: ring  ipsec-mb       open: ring  ipsec-mb");
    for size in SIZES {
        let mut packets = vec![vec![0; size]; PACKETS];
        let mut series = [const { Series(Vec::new()) }; 4];
        for round in 0..=ROUNDS {
            let [ring, intel] = [Some(&mut Ring as &mut dyn Aead), ipsec_mb.as_mut().map(|cipher| cipher as _)];
            for (place, cipher) in [ring, intel].into_iter().enumerate() {
                let Some(cipher) = cipher else { continue };
                let (seal, open) = measure(cipher, &mut packets);
                // The first round warms up.
                if round > 0 {
                    series[place].0.push(seal);
                    series[place + 2].0.push(open);
                }
            }
        }
        let median = |place: usize| (!series[place].0.is_empty()).then(|| series[place].median());
        let text = |place| median(place).map_or_else(|| "-".to_owned(), |ns| format!("{ns:.0}"));
        println!("{size:>6} bytes{:>35}{:>10}{:>17}{:>10}", text(0), text(1), text(2), text(3));
        rows.push(json!({
            "bytes": size,
            "seal_ns": { "ring": median(0), "ipsec_mb": median(1) },
            "open_ns": { "ring": median(2), "ipsec_mb": median(3) },
        }));
    }
    let conditions = json!({ "packets": PACKETS, "rounds": ROUNDS, "memory": memory });
    bench::write(
        "aead",
        "ChaCha20-Poly1305, nanoseconds of processor time per packet",
        &conditions,
        &rows,
        &[],
    )
}

/// Nanoseconds a packet for sealing and for opening.
fn measure(cipher: &mut dyn Aead, packets: &mut [Vec<u8>]) -> (f64, f64) {
    let key = [7; 32];
    let count = packets.len();
    let mut tags = vec![[0; 16]; count * LAYERS];
    let (mut sealing, mut opening, mut times) = (Duration::ZERO, Duration::ZERO, 0);
    while sealing < ROUND {
        let start = processor_time();
        for (counter, tag) in tags.iter_mut().enumerate() {
            *tag = cipher.seal(black_box(&key), counter as u64, &mut packets[counter % count]);
        }
        let sealed = processor_time();
        for (counter, tag) in tags.iter().enumerate().rev() {
            assert!(cipher.open(black_box(&key), counter as u64, &mut packets[counter % count], tag));
        }
        opening += processor_time() - sealed;
        sealing += sealed - start;
        times += tags.len();
    }
    let each = |time: Duration| time.as_secs_f64() * 1e9 / times as f64;
    (each(sealing), each(opening))
}

/// What this thread has used of a processor: others that run here as well don't count.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What the process has in memory, in kB.
fn resident() -> io::Result<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line
        .and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0))
}
