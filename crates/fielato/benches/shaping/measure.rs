//! What is measured, and what it should be.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use fielato_lab::Interrupt;
use fielato_testkit::bench::{Goal, Limit};

use crate::Finding;
use crate::flow::{Receiver, Sender, delays, quantile, rate};
use crate::hub::{A, B, Kind, Topology};
use crate::implementation::Implementation;

type Measurement = fn(&Lab) -> Result<Vec<Finding>>;

/// Every measurement with its name.
pub const ALL: [(&str, Measurement); 6] = [
    ("rate", rates),
    ("borrowing", borrowing),
    ("fairness", fairness),
    ("sparse", sparse),
    ("netem-delay", netem_delay),
    ("netem-loss", netem_loss),
];

/// IP packets of a bulk flow.
const BULK: usize = 1400;
/// IP packets of a sparse flow.
const SPARSE: usize = 128;
const PORT: u16 = 7000;
/// Queues have filled and buckets are empty by then.
const WARM_UP: Duration = Duration::from_millis(700);

/// Two members and a hub whose shaping changes.
pub struct Lab {
    topology: Topology,
    interrupt: &'static Interrupt,
    seconds: f64,
}

impl Lab {
    pub fn new(engine: Kind, ours: &Implementation, quick: bool, interrupt: &'static Interrupt) -> Result<Self> {
        let topology = Topology::shaped(engine, ours, interrupt)?;
        Ok(Self {
            topology,
            interrupt,
            seconds: if quick { 1.0 } else { 4.0 },
        })
    }

    fn shape(&self, lines: &str) -> Result<()> {
        self.topology.shape(lines)
    }

    fn time(&self, factor: f64) -> Duration {
        Duration::from_secs_f64(self.seconds * factor)
    }

    fn receiver(&self, port: u16, clock: Instant) -> Result<Receiver> {
        Receiver::start(&self.topology.b, port, clock)
    }

    /// Megabits per second of IP packets, to b.
    fn bulk(&self, port: u16, mbit: f64, clock: Instant) -> Result<Sender> {
        let interval = Duration::from_secs_f64(BULK as f64 * 8.0 / mbit / 1e6);
        Sender::start(&self.topology.a, to(port)?, BULK, interval, clock)
    }

    fn sparse(&self, port: u16, clock: Instant) -> Result<Sender> {
        Sender::start(&self.topology.a, to(port)?, SPARSE, Duration::from_millis(5), clock)
    }

    /// Delays in milliseconds of a sparse flow while nothing else happens.
    fn idle(&self) -> Result<Vec<f64>> {
        let clock = Instant::now();
        let (receiver, sender) = (self.receiver(PORT, clock)?, self.sparse(PORT, clock)?);
        self.interrupt.sleep(self.time(0.5))?;
        sender.finish()?;
        self.interrupt.sleep(Duration::from_millis(200))?;
        Ok(delays(&receiver.finish()?))
    }
}

fn to(port: u16) -> Result<SocketAddr> {
    Ok(SocketAddr::new(B.parse()?, port))
}

fn goal(what: impl Into<String>, measured: f64, limit: Limit, unit: &'static str) -> Goal {
    Goal {
        what: what.into(),
        measured,
        limit,
        unit,
    }
}

fn rates(lab: &Lab) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for mbit in [1.0, 10.0, 50.0, 100.0, 200.0, 500.0] {
        lab.shape(&format!(
            "[[shape]]\nqdisc = \"root handle 1: htb default 10\"\n[[shape]]\nclass = \"parent 1: classid 1:10 htb rate {mbit}mbit\"\n"
        ))?;
        let clock = Instant::now();
        let (receiver, sender) = (lab.receiver(PORT, clock)?, lab.bulk(PORT, mbit * 1.25, clock)?);
        // Of slow flows more time, so that one packet is not a per cent.
        let time = lab.time(if mbit < 10.0 { 3.0 } else { 1.0 });
        lab.interrupt.sleep(WARM_UP + time)?;
        sender.finish()?;
        let measured = rate(&receiver.finish()?, WARM_UP, WARM_UP + time);
        let error = (measured / mbit - 1.0).abs() * 100.0;
        findings.push(Finding {
            name: format!("htb {mbit} Mbit/s"),
            figures: vec![("mbit_per_s", measured), ("error_percent", error)],
            goals: vec![goal(format!("error of {mbit} Mbit/s"), error, Limit::Most(0.5), " %")],
        });
    }
    Ok(findings)
}

/// A class takes all until another one, to which half belongs, begins.
fn borrowing(lab: &Lab) -> Result<Vec<Finding>> {
    const MBIT: f64 = 40.0;
    /// Windows in which the newcomer's rate is looked at.
    const WINDOW: Duration = Duration::from_millis(20);
    lab.shape(&format!(
        "[[shape]]\nqdisc = \"root handle 1: htb default 10\"\n\
         [[shape]]\nclass = \"parent 1: classid 1:1 htb rate {MBIT}mbit\"\n\
         [[shape]]\nclass = \"parent 1:1 classid 1:10 htb rate {0}mbit ceil {MBIT}mbit\"\n\
         [[shape]]\nclass = \"parent 1:1 classid 1:20 htb rate {0}mbit ceil {MBIT}mbit\"\nfor = [\"a\"]\n\
         [[shape]]\nqdisc = \"parent 1:10 pfifo limit 50\"\n[[shape]]\nqdisc = \"parent 1:20 pfifo limit 50\"\n",
        MBIT / 2.0
    ))?;
    let clock = Instant::now();
    let own = lab.receiver(PORT, clock)?;
    let other = Receiver::start(&lab.topology.a, PORT, clock)?;
    // To b by the default class; to a by the other one.
    let borrower = lab.bulk(PORT, MBIT * 1.25, clock)?;
    lab.interrupt.sleep(WARM_UP)?;
    let begun = clock.elapsed();
    let target = SocketAddr::new(A.parse()?, PORT);
    let interval = Duration::from_secs_f64(BULK as f64 * 8.0 / MBIT / 1e6);
    let newcomer = Sender::start(&lab.topology.b, target, BULK, interval, clock)?;
    lab.interrupt.sleep(lab.time(0.5))?;
    borrower.finish()?;
    newcomer.finish()?;
    let (own, other) = (own.finish()?, other.finish()?);
    let alone = rate(&own, Duration::from_millis(300), begun);
    let mut at = begun;
    let given_back = loop {
        let newcomers = rate(&other, at, at + WINDOW);
        if newcomers >= MBIT / 2.0 * 0.95 {
            // Only at its end has the window shown the rate.
            break (at + WINDOW - begun).as_secs_f64() * 1e3;
        }
        at += Duration::from_millis(5);
        if at > begun + lab.time(0.5) {
            break f64::INFINITY;
        }
    };
    let shared = rate(&own, begun + Duration::from_millis(200), begun + lab.time(0.4));
    Ok(vec![Finding {
        name: "htb borrowing".into(),
        figures: vec![
            ("alone_mbit_per_s", alone),
            ("shared_mbit_per_s", shared),
            ("given_back_ms", given_back),
        ],
        goals: vec![
            goal("borrowed bandwidth given back", given_back, Limit::Most(100.0), " ms"),
            goal("borrowing alone, of the ceiling", alone / MBIT, Limit::Least(0.97), ""),
        ],
    }])
}

fn fairness(lab: &Lab) -> Result<Vec<Finding>> {
    const FLOWS: u16 = 16;
    const MBIT: f64 = 40.0;
    lab.shape(&limited(MBIT))?;
    let clock = Instant::now();
    let receivers = (0..FLOWS)
        .map(|flow| lab.receiver(PORT + flow, clock))
        .collect::<Result<Vec<_>>>()?;
    let each = MBIT * 1.5 / f64::from(FLOWS);
    let senders = (0..FLOWS)
        .map(|flow| lab.bulk(PORT + flow, each, clock))
        .collect::<Result<Vec<_>>>()?;
    lab.interrupt.sleep(WARM_UP + lab.time(1.0))?;
    for sender in senders {
        sender.finish()?;
    }
    let mut rates = Vec::new();
    for receiver in receivers {
        rates.push(rate(&receiver.finish()?, WARM_UP, WARM_UP + lab.time(1.0)));
    }
    let (sum, squares) = (rates.iter().sum::<f64>(), rates.iter().map(|rate| rate * rate).sum::<f64>());
    let jain = sum * sum / (f64::from(FLOWS) * squares);
    Ok(vec![Finding {
        name: "fq_codel, 16 flows".into(),
        figures: vec![("jain", jain), ("mbit_per_s", sum)],
        goals: vec![goal("Jain's index of 16 equal flows", jain, Limit::Least(0.99), "")],
    }])
}

/// A class of so many Mbit/s, with fq_codel in it.
fn limited(mbit: f64) -> String {
    format!(
        "[[shape]]\nqdisc = \"root handle 1: htb default 10\"\n[[shape]]\nclass = \"parent 1: classid 1:10 htb rate {mbit}mbit\"\n\
         [[shape]]\nqdisc = \"parent 1:10 fq_codel\"\n"
    )
}

fn sparse(lab: &Lab) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for mbit in [20.0, 50.0, 100.0] {
        lab.shape(&limited(mbit))?;
        let idle = quantile(&lab.idle()?, 0.5);
        let clock = Instant::now();
        let (bulk_receiver, bulk) = (lab.receiver(PORT + 1, clock)?, lab.bulk(PORT + 1, mbit * 1.25, clock)?);
        lab.interrupt.sleep(WARM_UP)?;
        let (receiver, sender) = (lab.receiver(PORT, clock)?, lab.sparse(PORT, clock)?);
        lab.interrupt.sleep(lab.time(1.0))?;
        sender.finish()?;
        bulk.finish()?;
        bulk_receiver.finish()?;
        let loaded = delays(&receiver.finish()?);
        let [median, late] = [0.5, 0.99].map(|part| quantile(&loaded, part) - idle);
        findings.push(Finding {
            name: format!("fq_codel, sparse at {mbit} Mbit/s"),
            figures: vec![("added_p50_ms", median), ("added_p99_ms", late), ("idle_p50_ms", idle)],
            goals: vec![
                goal(
                    format!("sparse flow's added delay at {mbit} Mbit/s, p50"),
                    median,
                    Limit::Most(5.0),
                    " ms",
                ),
                goal(
                    format!("sparse flow's added delay at {mbit} Mbit/s, p99"),
                    late,
                    Limit::Most(20.0),
                    " ms",
                ),
            ],
        });
    }
    Ok(findings)
}

fn netem_delay(lab: &Lab) -> Result<Vec<Finding>> {
    lab.shape("")?;
    let before = quantile(&lab.idle()?, 0.5);
    let mut findings = Vec::new();
    for asked in [10.0, 100.0] {
        lab.shape(&format!("[[shape]]\nqdisc = \"root netem delay {asked}ms\"\n"))?;
        let clock = Instant::now();
        let (receiver, sender) = (lab.receiver(PORT, clock)?, lab.sparse(PORT, clock)?);
        lab.interrupt.sleep(lab.time(0.75))?;
        sender.finish()?;
        lab.interrupt.sleep(Duration::from_millis(300))?;
        let added = quantile(&delays(&receiver.finish()?), 0.5) - before;
        findings.push(Finding {
            name: format!("netem delay {asked} ms"),
            figures: vec![("added_p50_ms", added)],
            goals: vec![goal(
                format!("netem delay {asked} ms, off by"),
                (added - asked).abs(),
                Limit::Most(1.0),
                " ms",
            )],
        });
    }
    Ok(findings)
}

fn netem_loss(lab: &Lab) -> Result<Vec<Finding>> {
    const LOSS: f64 = 0.05;
    lab.shape(&format!("[[shape]]\nqdisc = \"root netem loss {}%\"\n", LOSS * 100.0))?;
    let clock = Instant::now();
    let receiver = lab.receiver(PORT, clock)?;
    let interval = Duration::from_micros(250);
    let sender = Sender::start(&lab.topology.a, to(PORT)?, SPARSE, interval, clock)?;
    lab.interrupt.sleep(lab.time(1.5))?;
    let sent = sender.finish()? as f64;
    lab.interrupt.sleep(Duration::from_millis(200))?;
    let lost = 1.0 - receiver.finish()?.len() as f64 / sent;
    let error = (LOSS * (1.0 - LOSS) / sent).sqrt();
    let off = (lost - LOSS).abs() / error;
    Ok(vec![Finding {
        name: "netem loss 5 %".into(),
        figures: vec![("lost_percent", lost * 100.0), ("standard_errors", off)],
        goals: vec![goal("netem loss 5 %, off by", off, Limit::Most(3.0), " standard errors")],
    }])
}
