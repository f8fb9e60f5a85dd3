//! The properties on the fuzzers' corpora, and on seeded random input.

use std::path::Path;

use fielato_properties::check;

/// Random inputs of each property, unless FIELATO_PROPERTY_ROUNDS says otherwise.
const ROUNDS: u64 = 1500;

#[test]
fn every_property_holds_for_its_corpus() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, check) in check::ALL {
        let mut count = 0;
        for file in corpora.join(name).read_dir().unwrap() {
            let path = file.unwrap().path();
            println!("{}", path.display());
            check(&std::fs::read(&path).unwrap());
            count += 1;
        }
        assert!(count > 3, "{name} has {count} inputs");
    }
}

#[test]
fn every_property_holds_for_random_input() {
    let rounds = std::env::var("FIELATO_PROPERTY_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok());
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, check) in check::ALL {
        let seeds: Vec<Vec<u8>> = corpora
            .join(name)
            .read_dir()
            .unwrap()
            .map(|file| std::fs::read(file.unwrap().path()).unwrap())
            .collect();
        for seed in 0..rounds.unwrap_or(ROUNDS) {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut input = if random.u8(..) < 100 {
                (0..random.usize(..600)).map(|_| random.u8(..)).collect()
            } else {
                seeds[random.usize(..seeds.len())].clone()
            };
            for _ in 0..random.usize(..6) {
                mutate(&mut input, &seeds, &mut random);
            }
            println!("{name} {seed}");
            check(&input);
        }
    }
}

/// What fuzzers do to an input: a byte changed, a piece left out, said twice, or taken from another.
fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut fastrand::Rng) {
    if input.is_empty() {
        input.push(random.u8(..));
    }
    let at = random.usize(..input.len());
    let end = at + random.usize(..=(input.len() - at).min(40));
    match random.u8(..5) {
        0 => input[at] = random.u8(..),
        1 => input[at] ^= 1 << random.u8(..8),
        2 => drop(input.drain(at..end)),
        3 => {
            let piece = input[at..end].to_vec();
            input.splice(at..at, piece);
        }
        _ => {
            let other = &seeds[random.usize(..seeds.len())];
            let from = random.usize(..=other.len());
            let piece = other[from..].iter().copied().take(60);
            input.splice(at..at, piece.collect::<Vec<_>>());
        }
    }
}
