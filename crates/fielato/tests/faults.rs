//! `kill -9` at random moments of `up`, `reload` and `down`, over and over: the next command converges, nothing that must not
//! pass ever does, and what belongs to others stays as it was.
//!
//! `FIELATO_FAULT_ROUNDS` says how many rounds of ten kills (default: as many as are begun within 20 seconds, at most 5),
//! `FIELATO_FAULT_SEED` repeats a run's choices.

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::prober::{FORBIDDEN, Prober};
use common::snapshot::Snapshot;
use common::{Finished, Started, VARIANTS, World, kill, ready, shell, wait_until};
use fielato_kernel::netns::NetnsGuard;

const KILLS_A_ROUND: usize = 10;
/// When nobody said how many rounds, none is begun after this time.
const SHORT: Duration = Duration::from_secs(20);

#[test]
fn killed_at_random_moments() {
    const TEST: &str = "killed_at_random_moments";
    if !ready(TEST) {
        return;
    }
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let wanted = number("FIELATO_FAULT_ROUNDS");
    let rounds = wanted.unwrap_or(5);
    let seed = number("FIELATO_FAULT_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos())
    });
    println!("{rounds} rounds of {KILLS_A_ROUND} kills; FIELATO_FAULT_SEED={seed}");

    let mut campaign = Campaign::prepare(World::new(), Random(seed));
    for round in 0..rounds {
        if wanted.is_none() && round > 0 && campaign.began.elapsed() > SHORT {
            break;
        }
        for _ in 0..KILLS_A_ROUND {
            campaign.kill_once();
        }
        println!("round {}: {}", round + 1, campaign.tally);
    }
    campaign.close();
}

/// Which command is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Up,
    Reload,
    Down,
}

/// Which process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    /// The one that holds the lock.
    Daemon,
    /// The one that a person started.
    Command,
}

struct Campaign {
    world: World,
    prober: Prober,
    random: Random,
    /// The machine before any `up`.
    initial: Snapshot,
    /// The machine after an undisturbed `up` of each configuration.
    expected: Vec<Snapshot>,
    /// How long the commands take when nobody disturbs them.
    durations: BTreeMap<Kind, Duration>,
    /// The configuration that is in force, while the hub is up.
    up: Option<usize>,
    next: usize,
    tally: Tally,
    began: Instant,
}

impl Campaign {
    fn prepare(mut world: World, random: Random) -> Self {
        let initial = Snapshot::take(&world);
        let prober = Prober::start(&world);
        let mut durations: BTreeMap<Kind, Vec<Duration>> = BTreeMap::new();
        let mut timed = |kind: Kind, world: &World, command: &str| {
            let began = Instant::now();
            must(world.run(&[command]), command);
            durations.entry(kind).or_default().push(began.elapsed());
        };
        let mut expected = Vec::new();
        for variant in 0..VARIANTS {
            world.configure(variant);
            timed(Kind::Up, &world, "up");
            expected.push(Snapshot::take(&world));
            world.configure((variant + 1) % VARIANTS);
            timed(Kind::Reload, &world, "reload");
            timed(Kind::Down, &world, "down");
            assert_eq!(
                initial.differences(&Snapshot::take(&world)),
                "",
                "after an undisturbed `down`"
            );
        }
        for (variant, expected) in expected.iter().enumerate() {
            world.configure(variant);
            check_rules(&world, expected);
        }
        // The first `up` finds cold caches, so the median.
        let median = |(kind, mut taken): (Kind, Vec<Duration>)| {
            taken.sort_unstable();
            (kind, taken[taken.len() / 2])
        };
        let durations = durations.into_iter().map(median).collect();
        assert!(world.others_live());
        assert_eq!(prober.leaks(&world), BTreeMap::new(), "without any kill");
        println!(
            "undisturbed: {durations:?}; {} items before, {} after up",
            initial.len(),
            expected[0].len()
        );
        Self {
            world,
            prober,
            random,
            initial,
            expected,
            durations,
            up: None,
            next: 0,
            tally: Tally::default(),
            began: Instant::now(),
        }
        .with_control()
    }

    /// Shows that the prober would see an open hub: interface up, forwarding on, and our rules gone.
    fn with_control(mut self) -> Self {
        self.world.configure(0);
        self.converge_up(0);
        self.check_up("the control");
        shell(&self.world.hub, "nft delete table inet fielato");
        wait_until("the prober sees an open hub in every stream", Duration::from_secs(10), || {
            self.prober.leaks(&self.world).len() == FORBIDDEN.len() + 2
        });
        println!("control, rules taken away: {:?}", self.prober.leaks(&self.world));
        must(self.world.run(&["down"]), "down");
        assert_eq!(
            self.initial.differences(&Snapshot::take(&self.world)),
            "",
            "after the control"
        );
        self.up = None;
        self.prober.reset(&self.world);
        self
    }

    /// One kill, the next command, and every check.
    fn kill_once(&mut self) {
        let kind = [Kind::Up, Kind::Reload, Kind::Down][self.next % 3];
        self.next += 1;
        let variant = self.random.below(VARIANTS);
        let victim = if self.random.below(3) == 0 {
            Victim::Command
        } else {
            Victim::Daemon
        };
        // A little past the usual end, for the command and the machine vary.
        let delay = self.durations[&kind].mul_f64(self.random.fraction() * 1.1);
        let what = format!("{kind:?} of configuration {variant}, {victim:?} killed after {delay:?}");
        let in_the_middle = match kind {
            Kind::Up => self.kill_up(variant, victim, delay),
            Kind::Reload => self.kill_reload(variant, victim, delay),
            Kind::Down => self.kill_down(victim, delay),
        };
        self.tally.kill(kind, victim, in_the_middle);
        self.watch(&what);

        let after = match self.random.below(4) {
            0 => {
                self.converge_down(&what);
                "down"
            }
            1 if kind == Kind::Reload && victim == Victim::Command => {
                self.converge_reload(variant, &what);
                "reload"
            }
            _ => {
                // The person may have edited the file meanwhile.
                let variant = if self.random.below(2) == 0 {
                    variant
                } else {
                    self.random.below(VARIANTS)
                };
                self.world.configure(variant);
                self.converge_up(variant);
                "up"
            }
        };
        self.check_up(&format!("{what}; then {after}"));
        *self.tally.converged.entry(after).or_default() += 1;
    }

    /// Starts `up`, also where an earlier one was killed, and kills it. Tells whether it was not finished.
    fn kill_up(&mut self, variant: usize, victim: Victim, delay: Duration) -> bool {
        if self.up.is_some() {
            // Half of the time over what a killed daemon left, half of the time from nothing.
            match self.random.below(2) {
                0 => kill(self.world.daemon().expect("the hub is up")),
                _ => self.converge_down("to begin with"),
            }
            self.up = None;
        }
        self.world.configure(variant);
        let arguments: &[&str] = match victim {
            Victim::Daemon => &["up", "--foreground"],
            Victim::Command => &["up"],
        };
        let started = Started::new(&mut self.world.fielato(arguments));
        thread::sleep(delay);
        match victim {
            Victim::Daemon => {
                let listening = std::os::unix::net::UnixStream::connect(self.world.file("run/fielato/control.sock")).is_ok();
                started.kill();
                !listening
            }
            Victim::Command => {
                // Whether the other process comes up or stops, the next command must cope with it.
                started.kill().code.is_none()
            }
        }
    }

    fn kill_reload(&mut self, variant: usize, victim: Victim, delay: Duration) -> bool {
        let daemon = self.must_be_up();
        self.world.configure(variant);
        self.kill_either(&["reload"], daemon, victim, delay)
    }

    fn kill_down(&mut self, victim: Victim, delay: Duration) -> bool {
        let daemon = self.must_be_up();
        let in_the_middle = self.kill_either(&["down"], daemon, victim, delay);
        self.up = None;
        in_the_middle
    }

    fn kill_either(&mut self, arguments: &[&str], daemon: u32, victim: Victim, delay: Duration) -> bool {
        let mut started = Started::new(&mut self.world.fielato(arguments));
        thread::sleep(delay);
        let in_the_middle = started.child.try_wait().unwrap().is_none();
        match victim {
            Victim::Daemon => {
                kill(daemon);
                started.finish();
                self.up = None;
            }
            Victim::Command => {
                started.kill();
            }
        }
        in_the_middle
    }

    fn must_be_up(&mut self) -> u32 {
        if self.up.is_none() {
            let variant = self.random.below(VARIANTS);
            self.world.configure(variant);
            self.converge_up(variant);
        }
        self.world.daemon().expect("the hub is up")
    }

    /// `up` of the configuration that stands in the file. Where a daemon lives on, `up` says so, and `reload` follows.
    fn converge_up(&mut self, variant: usize) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let finished = self.world.run(&["up"]);
            if finished.code == Some(0) {
                break;
            }
            assert!(finished.err.contains("fielato runs already"), "{finished:?}");
            assert_eq!(finished.code, Some(1), "{finished:?}");
            if self.world.daemon().is_some() {
                must(self.world.run(&["reload"]), "reload");
                break;
            }
            // It is coming up or going down.
            assert!(Instant::now() < deadline, "{finished:?}");
            thread::sleep(Duration::from_millis(10));
        }
        self.up = Some(variant);
    }

    fn converge_down(&mut self, what: &str) {
        must(self.world.run(&["down"]), what);
        self.up = None;
        let after = Snapshot::take(&self.world);
        assert_eq!(self.initial.differences(&after), "", "{what}; then down");
        self.watch(what);
    }

    fn converge_reload(&mut self, variant: usize, what: &str) {
        must(self.world.run(&["reload"]), what);
        self.up = Some(variant);
    }

    /// Whether the machine is like after an undisturbed `up`, and carries packets.
    fn check_up(&mut self, what: &str) {
        let Some(variant) = self.up else { return };
        assert!(self.world.daemon().is_some(), "{what}: nobody answers");
        let differences = self.expected[variant].differences(&Snapshot::take(&self.world));
        assert_eq!(differences, "", "{what}: not as after an undisturbed `up` of {variant}");
        self.world.renew_session();
        // A handshake that is lost is tried again after five seconds.
        if let Err(why) = self.prober.wait_for_allowed(World::has_v6(variant), Duration::from_secs(12)) {
            panic!("{what}: what is allowed does not pass: {why}");
        }
        self.watch(what);
    }

    /// Whether something came through that must not, or somebody else's process is gone.
    fn watch(&mut self, what: &str) {
        assert_eq!(self.prober.leaks(&self.world), BTreeMap::new(), "{what}: the hub was open");
        assert!(self.world.others_live(), "{what}: another program's interface is gone");
    }

    fn close(mut self) {
        self.converge_down("at the end");
        println!(
            "{}\n{} packets sent that must not pass, 0 passed; {:.0?}",
            self.tally,
            self.prober.counts.sent.load(Ordering::SeqCst),
            self.began.elapsed()
        );
    }
}

/// The rules in force are those that `render hub` shows: loaded elsewhere, they read the same.
fn check_rules(world: &World, expected: &Snapshot) {
    let rendered = world.run(&["render", "hub", "--format", "nft"]);
    assert_eq!(rendered.code, Some(0), "{rendered:?}");
    let file = world.file("rendered.nft");
    std::fs::write(&file, rendered.out).unwrap();
    let scratch = NetnsGuard::create(&format!("{}-scratch", fielato_testkit::unique("faults"))).unwrap();
    let text = shell(
        &scratch,
        &format!("nft -f {}; nft -s list table inet fielato", file.display()),
    );
    std::fs::remove_file(file).unwrap();
    let found = expected.text("nft rule set");
    assert!(found.contains(text.trim()), "rendered:\n{text}\nin force:\n{found}");
}

fn must(finished: Finished, what: &str) {
    assert_eq!(finished.code, Some(0), "{what}: {finished:?}");
}

/// What was done so far.
#[derive(Default)]
struct Tally {
    /// How many were killed, and how many of them before they were done.
    kills: BTreeMap<(Kind, Victim), (usize, usize)>,
    converged: BTreeMap<&'static str, usize>,
}

impl Tally {
    fn kill(&mut self, kind: Kind, victim: Victim, in_the_middle: bool) {
        let (all, middle) = self.kills.entry((kind, victim)).or_default();
        *all += 1;
        *middle += usize::from(in_the_middle);
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let total: usize = self.kills.values().map(|(all, _)| all).sum();
        write!(f, "{total} kills (")?;
        for (position, ((kind, victim), (all, middle))) in self.kills.iter().enumerate() {
            let comma = if position > 0 { ", " } else { "" };
            write!(f, "{comma}{kind:?} {victim:?} {all}, unfinished {middle}")?;
        }
        write!(f, "); converged by ")?;
        for (position, (command, times)) in self.converged.iter().enumerate() {
            let comma = if position > 0 { ", " } else { "" };
            write!(f, "{comma}{command} {times}")?;
        }
        Ok(())
    }
}

/// SplitMix64: the same seed gives the same choices.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}
