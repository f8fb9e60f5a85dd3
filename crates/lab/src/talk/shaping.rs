//! Step 6.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::ping::Ping;
use super::{StepSpec, Talk};
use crate::gateway::{Engine, Strategy};
use crate::machine::Machine;
use crate::topology::{Family, Node, TUNNEL};

pub(super) const STEP: StepSpec = StepSpec {
    title: "Shaping",
    claim: "HTB holds each member to its rate; netem's 500 ms are met once on the way to the hub and back, and twice between members.",
    needs_tunnel: true,
    takes_down: false,
    run,
};

/// The classes: member, minor number, Mbit/s.
const CLASSES: [(Node, u16, u32); 2] = [(Node::ClientA, 0x10, 2), (Node::ClientB, 0x20, 1)];
/// How far a rate may be off.
const TOLERANCE: f64 = 0.03;
/// How long the flows run before they are measured: queues have filled and the buckets are empty.
const WARM_UP: Duration = Duration::from_millis(700);
const MEASURED: Duration = Duration::from_secs(4);
/// Measurements at most.
const ATTEMPTS: u32 = 3;
/// The discard port: nobody sends there but us.
const PORT: u16 = 9;
const PAYLOAD: usize = 1200;
const POLL: Duration = Duration::from_millis(50);

const DELAY_MS: f64 = 500.0;
const DELAY_TOLERANCE_MS: f64 = 30.0;

/// The root discipline: below that of an interface with many queues there are hundreds of lines.
fn shortly(disciplines: &str) -> &str {
    disciplines.lines().next().unwrap_or_default().trim_end()
}

fn run(talk: &mut Talk<'_, '_, '_>) -> Result<()> {
    let before = disciplines(talk)?;
    let result = rates(talk).and_then(|()| delay(talk));
    // Whatever happened: what follows is measured without shaping.
    talk.gateway()?.write_config(Strategy::Member, "")?;
    talk.gateway()?.reload()?;
    result?;
    let after = disciplines(talk)?;
    talk.recorder
        .check("without [[shape]] again", shortly(&before), shortly(&after), before == after)
}

/// Two members at once, each by IPv4 and IPv6 at once: the class is the member's, not the address's.
fn rates(talk: &mut Talk<'_, '_, '_>) -> Result<()> {
    talk.gateway()?.write_config(Strategy::Member, &htb(talk.engine))?;
    talk.gateway()?.reload()?;
    let hub = talk.lab.machine(Node::VpnCore);
    let mut flows = Vec::new();
    for (member, ..) in CLASSES {
        for family in Family::BOTH {
            flows.push((
                member,
                Flow::start(
                    hub,
                    talk.lab.machine(member),
                    SocketAddr::new(member.overlay(family), PORT),
                    family,
                )?,
            ));
        }
    }
    talk.interrupt.sleep(WARM_UP)?;
    let (before, after) = window(talk, &flows)?;
    drop(flows);
    for (member, minor, rate) in CLASSES {
        let [v4, v6] = Family::BOTH.map(|family| after.received(&before, member, family));
        let left = after.left(&before, minor);
        let passed = is_close(v4 + v6, rate) && v4 > 0.0 && v6 > 0.0;
        let expected = format!("{rate} Mbit/s ± {:.0} %, both families in it", TOLERANCE * 100.0);
        let measured = format!(
            "{:.3} Mbit/s received (IPv4 {v4:.2}, IPv6 {v6:.2}), {left:.3} left the class",
            v4 + v6
        );
        talk.recorder
            .check(format!("HTB, both members at once: to {member}"), expected, measured, passed)?;
    }
    let shown = hub.fielato(["shape", "show", "--json"]).succeed(talk.interrupt)?;
    let missing: Vec<String> = CLASSES
        .iter()
        .map(|(_, minor, _)| format!("1:{minor:x}"))
        .filter(|class| !shown.contains(&format!("\"{class}\"")) && !shown.contains(&format!(" {class} ")))
        .collect();
    let measured = if missing.is_empty() {
        "both classes".to_owned()
    } else {
        format!("without {}", missing.join(", "))
    };
    talk.recorder
        .check("`fielato shape show`", "both classes", measured, missing.is_empty())
}

/// The begin and the end of a measurement. A machine that is busy with other things may hold packets up on their way to the
/// receivers, long after they left their class; then it is measured again, a few times.
fn window(talk: &Talk<'_, '_, '_>, flows: &[(Node, Flow)]) -> Result<(Sample, Sample)> {
    let mut attempt = 1;
    loop {
        let before = Sample::take(talk, flows)?;
        talk.interrupt.sleep(MEASURED)?;
        let after = Sample::take(talk, flows)?;
        let held_up = CLASSES.iter().any(|&(member, minor, rate)| {
            let received: f64 = Family::BOTH
                .iter()
                .map(|&family| after.received(&before, member, family))
                .sum();
            !is_close(received, rate) && is_close(after.left(&before, minor), rate)
        });
        if !held_up || attempt == ATTEMPTS {
            return Ok((before, after));
        }
        attempt += 1;
    }
}

fn is_close(measured: f64, rate: u32) -> bool {
    (measured / f64::from(rate) - 1.0).abs() <= TOLERANCE
}

/// The bursts are what a slow machine's timer may be late by, 40 ms; tc's own default is one packet. A process that waits for a
/// processor among those that send may be later.
///
/// The user-space engine's flows come to it by a TUN, which holds no sender back: it drops. Of two that send as fast as they can,
/// the one whose packets come just when there is room would have it all; fq_codel divides it.
fn htb(engine: Engine) -> String {
    let mut text = String::from("[[shape]]\nqdisc = \"root handle 1: htb default 0\"\n");
    let burst = match engine {
        Engine::Kernel => "10k",
        Engine::Userspace => "50k",
    };
    for (member, minor, rate) in CLASSES {
        text += &format!(
            "[[shape]]\nclass = \"parent 1: classid 1:{minor:x} htb rate {rate}mbit burst {burst} cburst {burst}\"\nfor = [\"{member}\"]\n"
        );
        if engine == Engine::Userspace {
            text += &format!("[[shape]]\nqdisc = \"parent 1:{minor:x} fq_codel\"\n");
        }
    }
    text
}

fn delay(talk: &mut Talk<'_, '_, '_>) -> Result<()> {
    let netem = format!("[[shape]]\nqdisc = \"root netem delay {DELAY_MS}ms\"\n");
    let core = format!("netem {DELAY_MS} ms: client-a → vpn-core");
    let other = format!("netem {DELAY_MS} ms: client-a → client-b");
    let gone = "netem removed: client-a → client-b";
    let more = |factor: f64| format!("{:.0} ± {DELAY_TOLERANCE_MS} ms more", factor * DELAY_MS);
    if is_shaped_by_kernel(talk)?
        && let Some(reason) = kernel_lacks_netem(talk)?
    {
        refused(talk, &netem)?;
        let reason = format!("this kernel has no netem (tc: {reason})");
        talk.recorder.skip(core, more(1.0), reason.clone())?;
        talk.recorder.skip(other, more(2.0), reason.clone())?;
        return talk.recorder.skip(gone, "as before", reason);
    }
    talk.gateway()?.write_config(Strategy::Member, "")?;
    talk.gateway()?.reload()?;
    let ping = Ping {
        count: 5,
        interval: Duration::from_millis(100),
        patience: Duration::from_secs(5),
    };
    let round_trip = |talk: &Talk<'_, '_, '_>, to: Node| -> Result<f64> {
        let pong = ping.send(talk.lab.machine(Node::ClientA), to.overlay(Family::V4), talk.interrupt)?;
        let shortest = pong.shortest.with_context(|| format!("ping client-a → {to}: {pong}"))?;
        Ok(shortest.as_secs_f64() * 1e3)
    };
    let before = [round_trip(talk, Node::VpnCore)?, round_trip(talk, Node::ClientB)?];
    talk.gateway()?.write_config(Strategy::Member, &netem)?;
    talk.gateway()?.reload()?;
    let with = [round_trip(talk, Node::VpnCore)?, round_trip(talk, Node::ClientB)?];
    talk.gateway()?.write_config(Strategy::Member, "")?;
    talk.gateway()?.reload()?;
    let after = round_trip(talk, Node::ClientB)?;
    for (index, (what, factor)) in [(core, 1.0), (other, 2.0)].into_iter().enumerate() {
        let added = with[index] - before[index];
        let measured = format!("{added:.1} ms more ({:.1} → {:.1} ms)", before[index], with[index]);
        talk.recorder.check(
            what,
            more(factor),
            measured,
            (added - factor * DELAY_MS).abs() <= DELAY_TOLERANCE_MS,
        )?;
    }
    let added = after - before[1];
    talk.recorder.check(
        gone,
        format!("within {DELAY_TOLERANCE_MS} ms of before"),
        format!("{added:+.1} ms"),
        added.abs() <= DELAY_TOLERANCE_MS,
    )
}

/// Whether nobody but the kernel can shape what leaves by the tunnel: where our device encrypts, it can.
fn is_shaped_by_kernel(talk: &Talk<'_, '_, '_>) -> Result<bool> {
    Ok(talk.status()?["wireguard"] == "kernel")
}

/// What tc says when it can't make a netem discipline, on an interface that carries nothing.
fn kernel_lacks_netem(talk: &Talk<'_, '_, '_>) -> Result<Option<String>> {
    let machine = talk.lab.machine(Node::ClientA);
    let output = machine
        .call("tc", ["qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"])
        .run(talk.interrupt)?;
    if output.status.success() {
        machine
            .call("tc", ["qdisc", "delete", "dev", "lo", "root"])
            .succeed(talk.interrupt)?;
        return Ok(None);
    }
    Ok(Some(output.stderr.lines().next().unwrap_or("no reason").trim().to_owned()))
}

/// A discipline that the kernel lacks: an error that says so, and what stood before stands.
fn refused(talk: &mut Talk<'_, '_, '_>, netem: &str) -> Result<()> {
    let before = disciplines(talk)?;
    talk.gateway()?.write_config(Strategy::Member, netem)?;
    let output = talk.lab.machine(Node::VpnCore).fielato(["reload"]).run(talk.interrupt)?;
    let said = output.stderr.trim().to_owned();
    let passed = !output.status.success() && said.contains("netem");
    let measured = if output.status.success() {
        "accepted".to_owned()
    } else {
        said
    };
    talk.recorder.check(
        "`reload` with netem, which this kernel lacks",
        "refused, naming the module",
        measured,
        passed,
    )?;
    let after = disciplines(talk)?;
    let same = before == after && before.contains("htb");
    let measured = if same {
        "HTB as before".to_owned()
    } else {
        format!("before:\n{before}\nafter:\n{after}")
    };
    talk.recorder.check(
        "what the refused `reload` left",
        "the disciplines and classes as before",
        measured,
        same,
    )
}

/// Disciplines and classes of the hub's tunnel, without statistics.
fn disciplines(talk: &Talk<'_, '_, '_>) -> Result<String> {
    let qdiscs = talk.tc(&["qdisc", "show", "dev", TUNNEL])?;
    let classes = talk.tc(&["class", "show", "dev", TUNNEL])?;
    Ok(format!("{}\n{}", qdiscs.trim(), classes.trim()).trim().to_owned())
}

/// How much has flowed so far.
struct Sample {
    at: Instant,
    /// By member and family: bytes that arrived, from the IP header on.
    received: Vec<(Node, Family, u64)>,
    /// By class: bytes that left it, as tc counts them.
    left: Vec<(String, u64)>,
}

impl Sample {
    fn take(talk: &Talk<'_, '_, '_>, flows: &[(Node, Flow)]) -> Result<Self> {
        let classes = talk.tc(&["-s", "class", "show", "dev", TUNNEL])?;
        let left = bytes_by_class(&classes);
        Ok(Self {
            left,
            received: flows
                .iter()
                .map(|(member, flow)| (*member, flow.family, flow.bytes.load(Ordering::Relaxed)))
                .collect(),
            at: Instant::now(),
        })
    }

    fn received(&self, before: &Self, member: Node, family: Family) -> f64 {
        let bytes = |sample: &Self| {
            sample
                .received
                .iter()
                .find(|(m, f, _)| (*m, *f) == (member, family))
                .map_or(0, |found| found.2)
        };
        self.rate(before, bytes(self) - bytes(before))
    }

    fn left(&self, before: &Self, minor: u16) -> f64 {
        let class = format!("1:{minor:x}");
        let bytes = |sample: &Self| {
            sample
                .left
                .iter()
                .find(|(handle, _)| *handle == class)
                .map_or(0, |found| found.1)
        };
        self.rate(before, bytes(self) - bytes(before))
    }

    /// Mbit/s.
    fn rate(&self, before: &Self, bytes: u64) -> f64 {
        bytes as f64 * 8.0 / (self.at - before.at).as_secs_f64() / 1e6
    }
}

/// What `tc -s class show` says; its JSON is none in iproute2 6.1.
fn bytes_by_class(text: &str) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let mut class = None;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["class", _, handle, ..] => class = Some((*handle).to_owned()),
            ["Sent", bytes, "bytes", ..] => found.extend(class.take().zip(bytes.parse().ok())),
            _ => {}
        }
    }
    found
}

/// Datagrams as fast as they go.
struct Flow {
    family: Family,
    bytes: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Flow {
    fn start(from: &Machine, to: &Machine, address: SocketAddr, family: Family) -> Result<Self> {
        let receiver = to
            .within(|| Ok(UdpSocket::bind(address)?))
            .with_context(|| format!("cannot receive at {address}"))?;
        let any = SocketAddr::new(
            match family {
                Family::V4 => std::net::Ipv4Addr::UNSPECIFIED.into(),
                Family::V6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
            },
            0,
        );
        let sender = from.within(|| Ok(UdpSocket::bind(any)?))?;
        sender.connect(address)?;
        // Bounded, so that both see when they should stop.
        receiver.set_read_timeout(Some(POLL))?;
        sender.set_write_timeout(Some(POLL))?;
        let mut flow = Self {
            family,
            bytes: Arc::default(),
            stop: Arc::default(),
            threads: Vec::new(),
        };
        let (stop, bytes) = (Arc::clone(&flow.stop), Arc::clone(&flow.bytes));
        // IPv4 and UDP header; IPv6 and UDP header.
        let headers = if family == Family::V4 { 20 + 8 } else { 40 + 8 };
        flow.threads
            .push(std::thread::spawn(move || receive(&receiver, headers, &bytes, &stop)));
        let stop = Arc::clone(&flow.stop);
        // The full queue of its class holds it back: the socket's buffer is then full too.
        flow.threads.push(std::thread::spawn(move || send(&sender, &stop)));
        Ok(flow)
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic there has been printed; there is nothing to add.
            let _ = thread.join();
        }
    }
}

fn send(socket: &UdpSocket, stop: &AtomicBool) {
    let payload = [0x5a; PAYLOAD];
    while !stop.load(Ordering::Relaxed) {
        match socket.send(&payload) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            // The queue is full (ENOBUFS), or nobody listens any more: not as fast as the processor can.
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn receive(socket: &UdpSocket, headers: u64, bytes: &AtomicU64, stop: &AtomicBool) {
    let mut buffer = [0; PAYLOAD + 1];
    while !stop.load(Ordering::Relaxed) {
        if let Ok(length) = socket.recv(&mut buffer) {
            bytes.fetch_add(length as u64 + headers, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tc_prints() {
        let text = "class htb 1:10 root prio 0 rate 2Mbit ceil 2Mbit burst 1600b cburst 1600b \n Sent 1228 bytes 1 pkt (dropped 0, overlimits 0 requeues 0) \n backlog 0b 0p requeues 0\n lended: 1 borrowed: 0 giants: 0\n\nclass htb 1:20 root prio 0 rate 1Mbit\n Sent 0 bytes 0 pkt\n";
        assert_eq!(bytes_by_class(text), [("1:10".to_owned(), 1228), ("1:20".to_owned(), 0)]);
    }
}
