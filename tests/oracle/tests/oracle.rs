//! The engine against the kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fielato_oracle::campaign::{self, Plan, Summary};
use fielato_oracle::case::Trace;
use fielato_oracle::engine::Engine;
use fielato_oracle::kernel::Kernel;
use fielato_oracle::run::{self, Outcome};
use fielato_oracle::subject::Subject;

/// Packets of the fixed seeds, and of the fresh one.
const FIXED: u64 = 160_000;
const FRESH: u64 = 40_000;
/// Seed of the first fixed case.
const SEED: u64 = 1;
/// Packets and first seed of the comparison with nftables text.
const NFT_PACKETS: u64 = 20_000;
const NFT_SEED: u64 = 1_000;
/// Cases that may differ with a fresh seed. The aim is none; about one in two thousand does as yet (README.md), which must not
/// stop those who changed something else. Of the fixed seeds none does.
const DIFFER: usize = 1;
/// Matches and targets that no packet of the fixed seeds need fulfil: on a TUN there is no MAC, and these hold for few packets.
const SELDOM: f64 = 0.15;

fn regressions() -> Vec<(PathBuf, Trace)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "case"));
    files.sort();
    let read = |file: PathBuf| {
        let trace = Trace::from_text(&file.display().to_string(), &fs::read_to_string(&file).unwrap()).unwrap();
        (file, trace)
    };
    files.into_iter().map(read).collect()
}

fn replay_all(subject: &mut impl Subject) {
    let mut failed = Vec::new();
    for (file, trace) in regressions() {
        match run::replay(subject, &trace) {
            Ok(Outcome::Same) => {}
            Ok(other) => failed.push(format!("{}: {other:?}", file.display())),
            Err(error) => failed.push(format!("{}: {error}", file.display())),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn can_run(test: &str) -> bool {
    let programs = ["ip", "ipset", "nft", "iptables-legacy-restore", "ip6tables-legacy-restore"];
    fielato_testkit::can_run(test, &programs)
}

fn plan(seed: u64, packets: u64) -> Plan {
    Plan {
        seed,
        packets,
        case_packets: 500,
        threads: 2,
        stop_after: usize::MAX,
        save: None,
        minimise: Duration::ZERO,
        progress: false,
    }
}

fn agree(seed: u64, packets: u64, may_differ: usize) -> Summary {
    let summary = campaign::run(&plan(seed, packets), Kernel::new, || Engine::new(seed)).unwrap();
    println!("seed {seed}: {}", summary.line());
    let told: Vec<String> = summary
        .mismatches
        .iter()
        .map(|(case, mismatch, _)| format!("case {case}: {mismatch}"))
        .collect();
    assert!(
        told.len() <= may_differ,
        "make one small with: oracle run --seed CASE --packets 500 --save FOLDER\n{}",
        told.join("\n")
    );
    summary
}

#[test]
fn regressions_stay_mended() {
    let count = regressions().len();
    assert!(count > 0, "no case files found");
    replay_all(&mut Engine::default());
}

#[test]
fn regressions_are_what_the_kernel_does() {
    if can_run("regressions_are_what_the_kernel_does") {
        replay_all(&mut Kernel::new());
    }
}

#[test]
fn the_kernel_agrees_with_itself() {
    if !can_run("the_kernel_agrees_with_itself") {
        return;
    }
    let summary = campaign::run(&plan(7_000_000, 10_000), Kernel::new, Kernel::new).unwrap();
    assert_eq!(summary.mismatches.len(), 0, "{:?}", summary.mismatches);
    assert!(summary.packets > 8_000, "{}", summary.line());
}

#[test]
fn the_engine_agrees_with_the_kernel() {
    if !can_run("the_engine_agrees_with_the_kernel") {
        return;
    }
    let summary = agree(SEED, FIXED, 0);
    assert!(summary.packets > FIXED * 9 / 10, "{}", summary.line());
    assert!(
        summary.refused.is_empty(),
        "rules that the engine refuses: {:?}",
        summary.refused
    );
    let (unexercised, all) = (summary.coverage.unexercised(), summary.coverage.len());
    assert!(
        (unexercised.len() as f64) < all as f64 * SELDOM,
        "never exercised: {unexercised:?}"
    );

    let fresh = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() << 20;
    agree(fresh, FRESH, DIFFER);
}

/// The nftables text that is rendered of a rule set does what iptables does with the rules themselves.
#[test]
fn nftables_text_does_the_same() {
    if !can_run("nftables_text_does_the_same") {
        return;
    }
    let summary = campaign::run(&plan(NFT_SEED, NFT_PACKETS), Kernel::new, Kernel::nft).unwrap();
    println!("{}", summary.line());
    // Ports that the kernel chooses by chance meet others once in about a million packets; what the text does otherwise, it does again.
    let again = |case: u64| campaign::run(&plan(case, 500), Kernel::new, Kernel::nft).unwrap();
    let told: Vec<String> = summary
        .mismatches
        .iter()
        .filter(|(case, ..)| !again(*case).mismatches.is_empty())
        .map(|(case, mismatch, _)| format!("case {case}: {mismatch}"))
        .collect();
    assert!(
        told.is_empty(),
        "make one small with: oracle run --against nft --seed CASE --packets 500 --save FOLDER\n{}",
        told.join("\n")
    );
    assert!(summary.packets > NFT_PACKETS * 8 / 10, "{}", summary.line());
    // Most rules can be said; and leaving out too many would prove nothing.
    let left_out: u64 = summary.refused.values().map(|(count, _)| count).sum();
    assert!(left_out < summary.rules / 2, "{}: {:?}", summary.line(), summary.refused);
}

#[test]
fn a_wrong_answer_is_noticed() {
    if !can_run("a_wrong_answer_is_noticed") {
        return;
    }
    let mut kernel = Kernel::new();
    let mut engine = Engine::default();
    let mut noticed = [0; 3];
    for seed in 0..40 {
        let Some(mut trace) = run::record(&mut kernel, run::setup(seed), seed, 60).unwrap() else {
            continue;
        };
        if !matches!(run::replay(&mut engine, &trace).unwrap(), Outcome::Same) {
            continue;
        }
        let good = trace.clone();
        if let Some(output) = trace.steps.iter_mut().find_map(|step| step.outputs.first_mut()) {
            output.packet[1] ^= 4; // type of service
            noticed[0] += usize::from(matches!(run::replay(&mut engine, &trace).unwrap(), Outcome::Differs(_)));
        }
        let mut trace = good.clone();
        if let Some(counter) = trace.counters.first_mut() {
            counter.packets += 1;
            noticed[1] += usize::from(matches!(run::replay(&mut engine, &trace).unwrap(), Outcome::Differs(_)));
        }
        let mut trace = good;
        if let Some(connection) = trace.connections.first_mut() {
            connection.mark ^= 1;
            noticed[2] += usize::from(matches!(run::replay(&mut engine, &trace).unwrap(), Outcome::Differs(_)));
        }
    }
    assert!(noticed.iter().all(|count| *count > 10), "{noticed:?}");
}
