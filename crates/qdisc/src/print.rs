//! Disciplines and classes written in tc's words, as the parser and `tc` itself take them.

use std::fmt::{Display, Formatter, Result};

use crate::spec::{
    Cake, Class, Codel, DEFAULT_BANDS, DEFAULT_PRIOMAP, DEFAULT_R2Q, Distribution, FqCodel, Handle, HostFairness, HtbClass,
    LinkLayer, Loss, Netem, Parent, Prio, Qdisc, QdiscKind, Sfq, Slot, SlotWait, Stab, Tbf,
};
use crate::units::{write_precise_time, write_rate, write_size, write_time};

impl Display for Handle {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.minor {
            0 => write!(f, "{:x}:", self.major),
            minor => write!(f, "{:x}:{minor:x}", self.major),
        }
    }
}

impl Display for Parent {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Parent::Root => f.write_str("root"),
            Parent::Class(class) => write!(f, "parent {class}"),
        }
    }
}

impl Display for Qdisc {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}", self.parent)?;
        optional(f, "handle", self.handle)?;
        optional(f, "stab", self.stab)?;
        write!(f, " {}", self.kind)
    }
}

impl Display for Class {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "parent {} classid {} htb {}", self.parent, self.classid, self.htb)
    }
}

impl Display for QdiscKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(self.name())?;
        match self {
            QdiscKind::Pfifo { limit } => optional(f, "limit", *limit),
            QdiscKind::Bfifo { limit } => optional(f, "limit", limit.map(write_size)),
            QdiscKind::Tbf(tbf) => write!(f, " {tbf}"),
            QdiscKind::Htb { default, r2q } => {
                if *default != 0 {
                    write!(f, " default 0x{default:x}")?;
                }
                optional(f, "r2q", Some(*r2q).filter(|r2q| *r2q != DEFAULT_R2Q))
            }
            QdiscKind::Prio(prio) => write!(f, "{prio}"),
            QdiscKind::Sfq(sfq) => write!(f, "{sfq}"),
            QdiscKind::Netem(netem) => write!(f, "{netem}"),
            QdiscKind::Codel(codel) => write!(f, "{codel}"),
            QdiscKind::FqCodel(fq_codel) => write!(f, "{fq_codel}"),
            QdiscKind::Cake(cake) => write!(f, "{cake}"),
        }
    }
}

impl Display for Tbf {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(
            f,
            "rate {} burst {} limit {}",
            write_rate(self.rate),
            write_size(self.burst),
            write_size(self.limit)
        )?;
        optional(f, "peakrate", self.peakrate.map(write_rate))?;
        optional(f, "mtu", self.mtu.map(write_size))
    }
}

impl Display for HtbClass {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "rate {}", write_rate(self.rate))?;
        optional(f, "ceil", Some(self.ceil).filter(|ceil| *ceil != self.rate).map(write_rate))?;
        optional(f, "burst", self.burst.map(write_size))?;
        optional(f, "cburst", self.cburst.map(write_size))?;
        optional(f, "prio", Some(self.prio).filter(|prio| *prio != 0))?;
        optional(f, "quantum", self.quantum)
    }
}

impl Display for Stab {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        // `linklayer ethernet` is the default, said where nothing else is: `stab` alone is not tc's words.
        let options = [self.mpu, self.mtu, self.tsize];
        let silent = self.overhead.is_none() && options.iter().all(Option::is_none);
        let linklayer = (silent || self.linklayer != LinkLayer::Ethernet).then_some(self.linklayer.word());
        let mut words = Vec::new();
        words.extend(linklayer.map(|word| format!("linklayer {word}")));
        words.extend(self.overhead.map(|bytes| format!("overhead {bytes}")));
        for (name, value) in std::iter::zip(["mpu", "mtu", "tsize"], options) {
            words.extend(value.map(|value| format!("{name} {value}")));
        }
        f.write_str(&words.join(" "))
    }
}

/// Begins with a space unless there is nothing to say.
impl Display for Prio {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        optional(f, "bands", Some(self.bands).filter(|bands| *bands != DEFAULT_BANDS))?;
        if self.priomap != DEFAULT_PRIOMAP {
            f.write_str(" priomap")?;
            for band in self.priomap {
                write!(f, " {band}")?;
            }
        }
        Ok(())
    }
}

/// Begins with a space unless there is nothing to say.
impl Display for Sfq {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        optional(f, "limit", self.limit)?;
        optional(f, "depth", self.depth)?;
        optional(f, "flows", self.flows)?;
        optional(f, "divisor", self.divisor)?;
        optional(f, "quantum", self.quantum.map(write_size))?;
        optional(f, "perturb", self.perturb.map(|time| time.as_secs()))?;
        switch(f, Some(self.headdrop), "headdrop", "")
    }
}

/// Begins with a space unless there is nothing to say.
impl Display for Netem {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        optional(f, "limit", self.limit)?;
        if !self.delay.is_zero() || !self.jitter.is_zero() {
            write!(f, " delay {}", write_time(self.delay))?;
            if !self.jitter.is_zero() || self.delay_correlation != 0.0 {
                write!(f, " {}", write_time(self.jitter))?;
            }
            if self.delay_correlation != 0.0 {
                write!(f, " {}%", self.delay_correlation)?;
            }
        }
        if self.distribution != Distribution::Uniform {
            write!(f, " distribution {}", self.distribution.name())?;
        }
        write!(f, "{}", self.loss)?;
        switch(f, Some(self.ecn), "ecn", "")?;
        chance(f, "duplicate", self.duplicate, self.duplicate_correlation)?;
        chance(f, "corrupt", self.corrupt, self.corrupt_correlation)?;
        chance(f, "reorder", self.reorder, self.reorder_correlation)?;
        optional(f, "gap", Some(self.gap).filter(|gap| *gap != u32::from(self.reorder > 0.0)))?;
        if self.rate != 0 {
            write!(f, " rate {}", write_rate(self.rate))?;
            match (self.packet_overhead, self.cell_size, self.cell_overhead) {
                (0, 0, 0) => {}
                (packet, 0, 0) => write!(f, " {packet}")?,
                (packet, size, 0) => write!(f, " {packet} {size}")?,
                (packet, size, cell) => write!(f, " {packet} {size} {cell}")?,
            }
        }
        optional(f, "slot", self.slot.as_ref())?;
        optional(f, "seed", self.seed)
    }
}

/// Begins with a space unless there is nothing to say.
impl Display for Loss {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Loss::Random { percent, correlation } => chance(f, "loss", *percent, *correlation),
            Loss::State { p13, p31, p32, p23, p14 } => write!(f, " loss state {p13}% {p31}% {p32}% {p23}% {p14}%"),
            Loss::Gilbert { p, r, bad, good } => write!(f, " loss gemodel {p}% {r}% {bad}% {good}%"),
        }
    }
}

impl Display for Slot {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.wait {
            SlotWait::Between(least, most) => {
                write!(f, "{} {}", write_precise_time(*least), write_precise_time(*most))?;
            }
            SlotWait::Spread {
                distribution,
                delay,
                jitter,
            } => {
                let (delay, jitter) = (write_precise_time(*delay), write_precise_time(*jitter));
                write!(f, "distribution {} {delay} {jitter}", distribution.name())?;
            }
        }
        optional(f, "packets", Some(self.packets).filter(|packets| *packets != 0))?;
        optional(f, "bytes", Some(self.bytes).filter(|bytes| *bytes != 0).map(write_size))
    }
}

/// Begins with a space unless there is nothing to say.
impl Display for Codel {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        optional(f, "limit", self.limit)?;
        optional(f, "target", self.target.map(write_time))?;
        optional(f, "interval", self.interval.map(write_time))?;
        switch(f, self.ecn, "ecn", "noecn")?;
        optional(f, "ce_threshold", self.ce_threshold.map(write_time))
    }
}

/// Begins with a space unless there is nothing to say.
impl Display for FqCodel {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        optional(f, "limit", self.limit)?;
        optional(f, "flows", self.flows)?;
        optional(f, "target", self.target.map(write_time))?;
        optional(f, "interval", self.interval.map(write_time))?;
        optional(f, "quantum", self.quantum)?;
        switch(f, self.ecn, "ecn", "noecn")?;
        optional(f, "ce_threshold", self.ce_threshold.map(write_time))?;
        optional(f, "memory_limit", self.memory_limit.map(write_size))?;
        let hosts = HostFairness::WORDS.into_iter().find(|(_, mode)| self.hosts == Some(*mode));
        optional(f, "hosts", hosts.map(|(word, _)| word))
    }
}

/// Begins with a space unless there is nothing to say.
impl Display for Cake {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        optional(f, "bandwidth", self.bandwidth.map(write_rate))?;
        optional(f, "rtt", self.rtt.map(write_time))?;
        optional(f, "overhead", self.overhead)?;
        optional(f, "mpu", self.mpu)?;
        optional(f, "memlimit", self.memory_limit.map(write_size))?;
        for (word, mode) in crate::spec::CakeDiffserv::WORDS {
            switch(f, Some(self.diffserv == Some(mode)), word, "")?;
        }
        for (word, mode) in crate::spec::CakeFlowMode::WORDS {
            switch(f, Some(self.flow_mode == Some(mode)), word, "")?;
        }
        switch(f, self.nat, "nat", "nonat")?;
        switch(f, self.ack_filter, "ack-filter", "no-ack-filter")
    }
}

fn optional(f: &mut Formatter<'_>, name: &str, value: Option<impl Display>) -> Result {
    match value {
        Some(value) => write!(f, " {name} {value}"),
        None => Ok(()),
    }
}

fn chance(f: &mut Formatter<'_>, name: &str, percent: f64, correlation: f64) -> Result {
    match (percent != 0.0, correlation != 0.0) {
        (false, false) => Ok(()),
        (true, false) => write!(f, " {name} {percent}%"),
        (_, true) => write!(f, " {name} {percent}% {correlation}%"),
    }
}

fn switch(f: &mut Formatter<'_>, state: Option<bool>, on: &str, off: &str) -> Result {
    match state {
        Some(true) => write!(f, " {on}"),
        Some(false) if !off.is_empty() => write!(f, " {off}"),
        _ => Ok(()),
    }
}
