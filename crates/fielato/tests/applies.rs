//! `apply`, `confirm` and `rollback` under traffic, and with the daemon killed in the middle: what must not pass never does, what
//! may pass is not lost, and who cuts himself off is let in again.
//!
//! `FIELATO_APPLY_ROUNDS` says how many policies are applied under traffic (default 20), `FIELATO_DRILLS` how many times the daemon is
//! killed (default 6), `FIELATO_FAULT_SEED` repeats a run's choices.

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::prober::Prober;
use common::{Finished, Started, World, kill, ready, wait_until};

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

/// The revision in force, when a daemon answers.
fn revision(world: &World) -> Option<u64> {
    let status = world.run(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&status.out).ok()?;
    status["revision"].as_u64()
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

#[test]
fn who_cuts_himself_off_is_let_in_again_also_when_the_daemon_is_killed() {
    const TEST: &str = "who_cuts_himself_off_is_let_in_again_also_when_the_daemon_is_killed";
    if !ready(TEST) {
        return;
    }
    let (drills, mut random) = (number("FIELATO_DRILLS", 6), random());
    let world = World::new();
    up(&world);
    let prober = Prober::start(&world);
    prober.wait_for_allowed(true, Duration::from_secs(12)).unwrap();
    let cut = world.config(0).replace("action = \"accept\"", "action = \"drop\"");
    let began = Instant::now();
    world.write_config(&cut);
    must(world.run(&["apply", "--confirm", "1h"]));
    let duration = began.elapsed();
    let stopped = prober.wait_for_allowed(true, Duration::from_secs(1));
    assert!(stopped.is_err(), "the drill's policy must cut the member off");
    must(world.run(&["rollback"]));
    prober.wait_for_allowed(true, Duration::from_secs(12)).unwrap();
    let good = revision(&world).unwrap();

    let mut restarted = 0;
    for drill in 0..drills {
        let delay = duration.mul_f64(random.f64() * 1.3);
        let what = format!("drill {drill}, killed after {delay:?}");
        let daemon = world.daemon().expect("the hub is up");
        world.write_config(&cut);
        let started = Started::new(&mut world.fielato(&["apply", "--confirm", "1h"]));
        thread::sleep(delay);
        kill(daemon);
        started.finish();
        // Where it was killed before it had begun, nobody was there to bring it back: that is the service manager's.
        let deadline = Instant::now() + Duration::from_secs(8);
        while world.daemon().is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(50));
        }
        match world.daemon() {
            Some(_) => restarted += 1,
            None => drop(must(world.run(&["up", "--applied"]))),
        }
        wait_until(&what, Duration::from_secs(10), || revision(&world) == Some(good));
        world.renew_session();
        prober.wait_for_allowed(true, Duration::from_secs(12)).expect(&what);
        assert_eq!(prober.leaks(&world), BTreeMap::new(), "{what}");
    }
    println!("{drills} drills; {restarted} times the hub came back by itself");
}
