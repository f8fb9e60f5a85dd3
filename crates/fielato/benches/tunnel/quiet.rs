//! Whether the machine has nothing else to do, from the kernel's own account.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fielato_lab::Interrupt;

/// A machine is quiet when others use less of its processors than this.
pub const QUIET: f64 = 0.08;
/// How long others are watched for one answer.
const WATCH: Duration = Duration::from_millis(400);

/// How long may be waited for a quiet machine, over the whole run.
#[derive(Debug)]
pub struct Patience(pub Duration);

impl Patience {
    /// Waits until the machine is quiet or patience ends. Returns which share of the processors others used at last.
    pub fn wait(&mut self, interrupt: &Interrupt) -> Result<f64> {
        loop {
            let begun = Instant::now();
            let before = Ticks::now()?;
            interrupt.sleep(WATCH)?;
            let busy = Ticks::now()?.since(before).busy();
            if busy < QUIET || self.0.is_zero() {
                return Ok(busy);
            }
            eprint!("\rwaiting for a quiet machine, {:.0} % busy", busy * 100.0);
            self.0 = self.0.saturating_sub(begun.elapsed());
        }
    }
}

/// Processor time of the whole machine, in ticks.
#[derive(Debug, Clone, Copy)]
pub struct Ticks {
    all: f64,
    idle: f64,
    stolen: f64,
}

impl Ticks {
    /// Since the machine began, from the first line of /proc/stat (proc_stat(5)).
    pub fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let line = text.lines().next().and_then(|line| line.strip_prefix("cpu "));
        let ticks = line.context("/proc/stat has no line `cpu`")?.split_whitespace();
        // user nice system idle iowait irq softirq steal; what follows is part of user and nice.
        let ticks = ticks.take(8).map(str::parse).collect::<Result<Vec<f64>, _>>()?;
        let column = |number: usize| ticks.get(number).copied().unwrap_or_default();
        Ok(Self {
            all: ticks.iter().sum(),
            idle: column(3) + column(4),
            stolen: column(7),
        })
    }

    /// What passed since then.
    pub fn since(self, before: Self) -> Self {
        Self {
            all: self.all - before.all,
            idle: self.idle - before.idle,
            stolen: self.stolen - before.stolen,
        }
    }

    /// Which part was not idle.
    pub fn busy(self) -> f64 {
        1.0 - self.idle / self.all.max(1.0)
    }

    /// Which part the host gave to others.
    pub fn stolen(self) -> f64 {
        self.stolen / self.all.max(1.0)
    }
}
