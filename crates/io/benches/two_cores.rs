//! Is it worth while to give half of a batch's cryptography to another core? One batch is what one superpacket makes: 44
//! messages of 1,456 bytes. `cargo bench -p fielato-io --bench two_cores`; results in `bench/results/two-cores.json`.
//!
//! Three ways: one thread seals all; a helper that spins seals half; a helper that sleeps and is woken seals half. Each with
//! the other cores idle, and with as many busy threads as there are cores: a hub under load.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use fielato_io::aead::{Cipher, best};
use fielato_wireguard::aead::Aead;

const MESSAGES: usize = 44;
const LEN: usize = 1_424;
const BATCHES: usize = 3_000;
const ROUNDS: usize = 5;

/// Half a batch that two threads pass between them.
struct Half {
    turn: AtomicU32,
    data: Mutex<Vec<u8>>,
    done: AtomicBool,
}

const MINE: u32 = 0;
const YOURS: u32 = 1;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Alone,
    Spinning,
    Woken,
}

fn seal(cipher: &mut Cipher, data: &mut [u8], counter: u64) {
    for message in data.chunks_exact_mut(LEN) {
        std::hint::black_box(cipher.seal(&[7; 32], counter, message));
    }
}

fn help(half: &Half, way: Way) {
    let mut cipher = best().expect("a cipher");
    let mut counter = 0;
    while !half.done.load(Ordering::Acquire) {
        if half.turn.load(Ordering::Acquire) != YOURS {
            match way {
                Way::Woken => thread::park(),
                _ => std::hint::spin_loop(),
            }
            continue;
        }
        counter += 1;
        seal(&mut cipher, &mut half.data.lock().unwrap(), counter);
        half.turn.store(MINE, Ordering::Release);
    }
}

/// Nanoseconds per batch, and of all this process' threads' processor time per batch.
fn measure(way: Way) -> (f64, f64) {
    let half = Half {
        turn: AtomicU32::new(MINE),
        data: Mutex::new(vec![0; LEN * MESSAGES / 2]),
        done: AtomicBool::new(false),
    };
    let mut own = vec![0; LEN * MESSAGES / 2];
    let mut cipher = best().expect("a cipher");
    thread::scope(|scope| {
        let helper = (way != Way::Alone).then(|| scope.spawn(|| help(&half, way)));
        let helper: Option<Thread> = helper.map(|helper| helper.thread().clone());
        let mut batch = |counter| match &helper {
            None => {
                seal(&mut cipher, &mut half.data.lock().unwrap(), counter);
                seal(&mut cipher, &mut own, counter);
            }
            Some(helper) => {
                half.turn.store(YOURS, Ordering::Release);
                if way == Way::Woken {
                    helper.unpark();
                }
                seal(&mut cipher, &mut own, counter);
                while half.turn.load(Ordering::Acquire) != MINE {
                    std::hint::spin_loop();
                }
            }
        };
        (0..200).for_each(&mut batch);
        let (start, cpu) = (Instant::now(), cpu_time());
        (0..BATCHES as u64).for_each(&mut batch);
        let (wall, cpu) = (start.elapsed(), cpu_time() - cpu);
        half.done.store(true, Ordering::Release);
        if let Some(helper) = &helper {
            helper.unpark();
        }
        let per_batch = |time: Duration| time.as_nanos() as f64 / BATCHES as f64;
        (per_batch(wall), per_batch(cpu))
    })
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

fn main() {
    // `cargo test` runs benches too, with `--test`.
    if std::env::args().any(|word| word == "--test") {
        return;
    }
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let cipher = best().expect("a cipher").name();
    println!("cipher {cipher}, {cores} cores, {MESSAGES} messages of {LEN} bytes; medians of {ROUNDS} rounds");
    println!("{:>22} {:>14} {:>14}", "", "µs per batch", "CPU µs");
    let mut results = Vec::new();
    for busy in [0, cores] {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..busy {
                scope.spawn(|| {
                    let mut cipher = best().expect("a cipher");
                    let mut data = vec![0; LEN];
                    while !stop.load(Ordering::Relaxed) {
                        seal(&mut cipher, &mut data, 0);
                    }
                });
            }
            let ways = [
                ("one thread", Way::Alone),
                ("helper that spins", Way::Spinning),
                ("helper that is woken", Way::Woken),
            ];
            let mut rounds = vec![Vec::new(); ways.len()];
            for _ in 0..ROUNDS {
                for (round, (_, way)) in rounds.iter_mut().zip(ways) {
                    round.push(measure(way));
                }
            }
            stop.store(true, Ordering::Relaxed);
            for (mut round, (name, _)) in rounds.into_iter().zip(ways) {
                round.sort_by(|a, b| a.0.total_cmp(&b.0));
                let (wall, cpu) = round[ROUNDS / 2];
                let what = if busy == 0 { "cores idle" } else { "cores busy" };
                println!("{name:>22} {:>14.1} {:>14.1}  {what}", wall / 1e3, cpu / 1e3);
                results.push(serde_json::json!({
                    "way": name, "busy_threads": busy, "wall_us_per_batch": wall / 1e3,
                    // With busy threads their time is in it, too.
                    "cpu_us_per_batch": if busy == 0 { Some(cpu / 1e3) } else { None },
                }));
            }
        });
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench/results/two-cores.json");
    let json = serde_json::json!({ "version": 1, "cipher": cipher, "cores": cores, "results": results });
    if let Err(error) = std::fs::write(&path, format!("{json:#}\n")) {
        eprintln!("{}: {error}", path.display());
    }
}
