//! Whether the machine has nothing else to do, from the kernel's own account, and how fast it is at the moment.

use std::fs;
use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fielato_lab::Interrupt;

/// A machine is quiet when others use less of its processors than this.
const QUIET: f64 = 0.08;
/// A turn was disturbed when others had more than this; a part of it are the kernel's own threads.
pub const DISTURBED: f64 = 0.15;
/// How long others are watched for one answer.
const WATCH: Duration = Duration::from_millis(400);
/// Steps of the computation that tells the machine's speed: some ten milliseconds.
const STEPS: u32 = 4_000_000;

/// How long may be waited for a quiet machine, over the whole run, and how much of it may be measured again.
#[derive(Debug)]
pub struct Patience(pub Duration);

impl Patience {
    /// Waits until the machine is quiet or patience ends.
    pub fn wait(&mut self, interrupt: &Interrupt) -> Result<()> {
        loop {
            let begun = Instant::now();
            let before = Ticks::now()?;
            interrupt.sleep(WATCH)?;
            let busy = Ticks::now()?.since(before).busy();
            if busy < QUIET || self.0.is_zero() {
                return Ok(());
            }
            eprint!("\rwaiting for a quiet machine, {:.0} % busy", busy * 100.0);
            self.spend(begun.elapsed());
        }
    }

    /// Takes time from it; false when there was none left.
    pub fn spend(&mut self, time: Duration) -> bool {
        let any = !self.0.is_zero();
        self.0 = self.0.saturating_sub(time);
        any
    }
}

/// Million steps per second of a computation on two processors at once, for each. Two virtual processors that share one real
/// core have half the speed; where the host moves them about, turns of different speeds can't be compared.
pub fn speed() -> f64 {
    let steps = || {
        let mut lanes = [1_u64, 2, 3, 4, 5, 6, 7, 8];
        for step in 0..STEPS {
            // Independent of each other, so that the multiplier is what is short.
            for lane in &mut lanes {
                *lane = lane.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(step);
            }
        }
        black_box(lanes);
    };
    let begun = Instant::now();
    thread::scope(|scope| {
        scope.spawn(steps);
        steps();
    });
    f64::from(STEPS) / begun.elapsed().as_secs_f64() / 1e6
}

/// Processor time of the whole machine, and of this program with the children that it has waited for, in ticks.
#[derive(Debug, Clone, Copy)]
pub struct Ticks {
    all: f64,
    idle: f64,
    stolen: f64,
    /// In programs and in system calls; interrupts are ours as well as others'.
    work: f64,
    own: f64,
}

impl Ticks {
    /// Since the machine began, from the first line of /proc/stat (proc_stat(5)).
    pub fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let line = text.lines().next().and_then(|line| line.strip_prefix("cpu "));
        let ticks = line.context("/proc/stat has no line `cpu`")?.split_whitespace();
        // user nice system idle iowait irq softirq steal; what follows is part of user and nice.
        let ticks = ticks.take(8).map(str::parse::<f64>).collect::<Result<Vec<_>, _>>()?;
        let column = |number: usize| ticks.get(number).copied().unwrap_or_default();
        // proc_pid_stat(5): utime, stime, cutime, cstime are the fields 14 to 17; the third follows the name in brackets.
        let own = fs::read_to_string("/proc/self/stat")?;
        let (_, own) = own.rsplit_once(") ").context("/proc/self/stat holds no name")?;
        let own = own.split_whitespace().skip(11).take(4).map(str::parse::<f64>);
        Ok(Self {
            all: ticks.iter().sum(),
            idle: column(3) + column(4),
            stolen: column(7),
            work: column(0) + column(1) + column(2),
            own: own.sum::<Result<f64, _>>()?,
        })
    }

    /// What passed since then.
    pub fn since(self, before: Self) -> Self {
        Self {
            all: self.all - before.all,
            idle: self.idle - before.idle,
            stolen: self.stolen - before.stolen,
            work: self.work - before.work,
            own: self.own - before.own,
        }
    }

    /// Which part was not idle.
    pub fn busy(self) -> f64 {
        1.0 - self.idle / self.all.max(1.0)
    }

    /// Which part other programs had.
    pub fn others(self) -> f64 {
        (self.work - self.own).max(0.0) / self.all.max(1.0)
    }

    /// Which part the host gave to others.
    pub fn stolen(self) -> f64 {
        self.stolen / self.all.max(1.0)
    }
}
