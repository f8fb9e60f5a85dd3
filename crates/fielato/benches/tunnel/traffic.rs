//! What is sent through the tunnels: iperf3's streams and ping's echoes.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fielato_lab::Interrupt;
use serde_json::Value;

use crate::machine::{Machine, Process};

/// iperf3's port, in hexadecimal as /proc/net/tcp has it.
const IPERF_PORT: &str = ":1451";
/// Beyond a stream's own time.
const PATIENCE: Duration = Duration::from_secs(20);

/// A TCP stream's outcome.
#[derive(Debug, Clone, Copy)]
pub struct Stream {
    /// At the receiver, without the time of warming up.
    pub mbit_per_second: f64,
    /// All bytes, those of warming up too.
    pub bytes: f64,
    pub retransmits: f64,
}

/// What arrived of a stream of datagrams.
#[derive(Debug, Clone, Copy)]
pub struct Datagrams {
    pub received: f64,
    pub per_second: f64,
}

/// A server that waits for one stream after another.
pub struct Server(Process);

impl Server {
    pub fn start(machine: &Machine, interrupt: &Interrupt) -> Result<Self> {
        let mut process = machine.start("iperf3", &["-s"])?;
        let id = process.id();
        let listens = interrupt.wait(Duration::from_secs(5), || {
            process.check()?;
            let tables = ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/{id}/net/{table}")).unwrap_or_default());
            // proc(5): local address, remote address, state; 0A is listening.
            let listening = |line: &str| line.contains(IPERF_PORT) && line.contains(" 0A ");
            Ok(tables.iter().any(|table| table.lines().any(listening)).then_some(()))
        })?;
        listens.context("iperf3 does not listen")?;
        Ok(Self(process))
    }

    /// Fails when it has ended.
    pub fn check(&mut self) -> Result<()> {
        self.0.check()
    }
}

/// Starts one TCP stream to `target`: a second of warming up, then so many that count.
pub fn start_tcp(machine: &Machine, target: &str, seconds: u32) -> Result<Process> {
    machine.start("iperf3", &["-c", target, "-J", "-O", "1", "-t", &seconds.to_string()])
}

/// Waits for the end of [`start_tcp`].
pub fn finish_tcp(stream: Process, seconds: u32, interrupt: &Interrupt) -> Result<Stream> {
    let report = report(stream, seconds, interrupt)?;
    let intervals = report["intervals"].as_array().context("iperf3 tells of no intervals")?;
    Ok(Stream {
        mbit_per_second: number(&report["end"]["sum_received"]["bits_per_second"])? / 1e6,
        bytes: intervals
            .iter()
            .map(|interval| number(&interval["sum"]["bytes"]))
            .sum::<Result<f64>>()?,
        retransmits: number(&report["end"]["sum_sent"]["retransmits"])?,
    })
}

/// Sends datagrams with this many bytes of payload as fast as iperf3 can.
pub fn udp(machine: &Machine, target: &str, payload: u32, seconds: u32, interrupt: &Interrupt) -> Result<Datagrams> {
    let (payload_text, time) = (payload.to_string(), seconds.to_string());
    let arguments = ["-c", target, "-u", "-l", &payload_text, "-b", "0", "-t", &time, "-J"];
    let report = report(machine.start("iperf3", &arguments)?, seconds, interrupt)?;
    // The server counted these, and told the client at the end.
    let arrived = &report["end"]["sum_received"];
    let received = number(&arrived["bytes"])? / f64::from(payload);
    Ok(Datagrams {
        received,
        per_second: received / number(&arrived["seconds"])?,
    })
}

/// Round trips in milliseconds, sorted, of so many echoes a hundredth of a second apart.
pub fn ping(machine: &Machine, target: &str, count: u32, interrupt: &Interrupt) -> Result<Vec<f64>> {
    let count_text = count.to_string();
    let limit = Duration::from_millis(u64::from(count) * 10) + PATIENCE;
    let text = machine.run(
        "ping",
        &["-n", "-i", "0.01", "-W", "5", "-c", &count_text, target],
        limit,
        interrupt,
    )?;
    let mut times = text
        .lines()
        .filter_map(|line| line.split_once(" time=")?.1.strip_suffix(" ms"))
        .map(|time| Ok(time.trim().parse::<f64>()?))
        .collect::<Result<Vec<f64>>>()?;
    times.sort_by(f64::total_cmp);
    if times.len() * 10 < count as usize * 9 {
        bail!("{} of {count} pings came back", times.len());
    }
    Ok(times)
}

/// Waits until an echo comes back: the tunnel has its session then.
pub fn reach(machine: &Machine, target: &str, interrupt: &Interrupt) -> Result<()> {
    let reached = interrupt.wait(Duration::from_secs(15), || {
        let ping = machine.run("ping", &["-n", "-c", "1", "-W", "1", target], PATIENCE, interrupt);
        Ok(ping.ok().map(drop))
    })?;
    reached.with_context(|| format!("{target} was not reached within fifteen seconds"))
}

fn report(client: Process, seconds: u32, interrupt: &Interrupt) -> Result<Value> {
    let limit = Duration::from_secs(u64::from(seconds)) + PATIENCE;
    Ok(serde_json::from_str(&client.finish(limit, interrupt)?)?)
}

fn number(value: &Value) -> Result<f64> {
    value.as_f64().context("iperf3's report lacks a number")
}
