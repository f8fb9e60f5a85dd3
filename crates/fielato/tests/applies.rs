//! `apply`, `confirm` and `rollback` under traffic, and with the daemon killed in the middle: what must not pass never does, what
//! may pass is not lost, and who cuts himself off is let in again.
//!
//! `FIELATO_APPLY_ROUNDS` says how many policies are applied under traffic (default 20), `FIELATO_DRILLS` how many times the daemon is
//! killed with each engine (default 3), `FIELATO_FAULT_SEED` repeats a run's choices.

mod common;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::prober::Prober;
use common::{FIELATO, Finished, World, ready};

/// Those of the configurations between which nothing may be lost. Not the one with disciplines of the kernel: while it removes
/// those of a device it drops what is sent there (`qdisc_graft` deactivates the device's queue, `net/sched/sch_api.c`).
const VARIANTS: [usize; 4] = [0, 1, 3, 4];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

fn random() -> fastrand::Rng {
    let seed = number("FIELATO_FAULT_SEED", fastrand::u64(..));
    println!("FIELATO_FAULT_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

fn must(finished: Finished) -> String {
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished.out
}

fn up(world: &World) {
    world.configure(0);
    must(world.run(&["up"]));
    world.renew_session();
}

#[test]
fn nothing_forbidden_passes_and_nothing_allowed_is_lost_through_applies_and_rollbacks() {
    const TEST: &str = "nothing_forbidden_passes_and_nothing_allowed_is_lost_through_applies_and_rollbacks";
    if !ready(TEST) {
        return;
    }
    let (rounds, mut random) = (number("FIELATO_APPLY_ROUNDS", 20), random());
    let world = World::new();
    up(&world);
    let prober = Prober::start(&world);
    prober.wait_for_allowed(true, Duration::from_secs(12)).unwrap();
    let counts = |of: &[AtomicU64; 2]| of.each_ref().map(|count| count.load(Ordering::SeqCst));
    // What was sent before the tunnel carried is lost.
    let settle = || thread::sleep(Duration::from_millis(300));
    settle();
    let before = counts(&prober.counts.allowed_sent);
    let lost_before = before[0] - counts(&prober.counts.allowed)[0] + before[1] - counts(&prober.counts.allowed)[1];

    for round in 0..rounds {
        let variant = random.choice(VARIANTS).unwrap();
        world.configure(variant);
        match random.u8(0..4) {
            0 => drop(must(world.run(&["reload"]))),
            1 => drop(must(world.run(&["apply"]))),
            2 => {
                must(world.run(&["apply", "--confirm", "1h"]));
                // Unless nothing was new.
                world.run(&["confirm"]);
            }
            _ => {
                must(world.run(&["apply", "--confirm", "1h"]));
                world.run(&["rollback"]);
            }
        }
        assert_eq!(
            prober.leaks(&world),
            BTreeMap::new(),
            "round {round}, configuration {variant}"
        );
    }
    settle();
    let (sent, arrived) = (counts(&prober.counts.allowed_sent), counts(&prober.counts.allowed));
    let lost = sent[0].saturating_sub(arrived[0]) + sent[1].saturating_sub(arrived[1]);
    println!(
        "{rounds} policies; {} packets that must not pass, 0 passed; of {} that may, {} were lost",
        prober.counts.sent.load(Ordering::SeqCst),
        sent[0] + sent[1] - before[0] - before[1],
        lost.saturating_sub(lost_before)
    );
    // The prober never rests: a few are under way when it is looked at.
    assert!(
        lost <= lost_before + 4,
        "{lost} of {sent:?} were lost, {lost_before} of {before:?} before the first policy"
    );
}

/// The lab's own scenario, as a user calls it.
#[test]
fn who_cuts_himself_off_is_let_in_again_also_when_the_daemon_is_killed() {
    const TEST: &str = "who_cuts_himself_off_is_let_in_again_also_when_the_daemon_is_killed";
    let programs = ["ip", "nft", "ping", "wg", "wg-quick", "wireguard-go"];
    if !fielato_testkit::can_run(TEST, &programs) {
        return;
    }
    let times = number("FIELATO_DRILLS", 3).to_string();
    let seed = number("FIELATO_FAULT_SEED", fastrand::u64(..)).to_string();
    for engine in ["kernel", "userspace"] {
        let words = [
            "lab", "drills", "--json", "--engine", engine, "--times", &times, "--seed", &seed,
        ];
        let output = Command::new(FIELATO).args(words).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
        let checks = report["steps"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|step| step["checks"].as_array().unwrap());
        let failed: Vec<_> = checks.filter(|check| check["outcome"] != "passed").collect();
        assert!(failed.is_empty(), "{engine}, --seed {seed}: {failed:#?}");
        assert!(output.status.success(), "{engine}: {said}");
        assert_eq!((&report["version"], &report["engine"]), (&1.into(), &engine.into()));
        // Two at first, five about the refusal, four about the taking back, what must not pass, and the machines.
        assert_eq!(report["passed"], 13 + number("FIELATO_DRILLS", 3), "{engine}");
    }
}
