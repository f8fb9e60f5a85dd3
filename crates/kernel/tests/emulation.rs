//! The kernel's netem and fq_codel beside ours: the same settings, the same packets at the same times. The kernel's stand on a
//! veth pair between two namespaces; ours get every packet at the moment at which it was sent there, on a virtual clock.
//!
//! ```text
//!  namespace a                         namespace b
//!  sender --- va [netem or fq_codel] ===== vb --- receiver
//!  10.98.0.1                                      10.98.0.2
//! ```
//!
//! Times are compared to a millisecond, which a busy machine is too late for. `tools/test-vm.sh` runs this in a virtual machine
//! whose time is the number of its instructions (`FIELATO_VM_ACCEL=icount`), and nobody is late.

mod common;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::stamped;
use fielato_kernel::netlink::Netlink;
use fielato_kernel::netns::NetnsGuard;
use fielato_kernel::tc::{Previous, TcError, clear, replace};
use fielato_qdisc::{DropReason, Extra, FqCodelStats, Item, Packet, Settings, Tree};
use fielato_wire::build::Ip;

const SENDER: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 1);
const RECEIVER: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 2);
const PORT: u16 = 9;
/// IPv4 and UDP headers.
const HEADERS: usize = 28;
const ETHERNET: u16 = 14;

/// The two namespaces and the sender's device.
struct Wire {
    a: NetnsGuard,
    b: NetnsGuard,
    netlink: Netlink,
    ifindex: u32,
}

fn wire(test: &str) -> Option<Wire> {
    let (a, b) = (common::namespace(test)?, common::namespace(test)?);
    let ip = |arguments: String| {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let output = fielato_testkit::run("ip", &arguments, "");
        assert!(
            output.status.success(),
            "ip {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let (an, bn) = (a.name(), b.name());
    ip(format!(
        "link add va netns {an} address 02:00:00:00:00:01 type veth peer name vb netns {bn} address 02:00:00:00:00:02"
    ));
    for (netns, device, own, other, mac) in [(an, "va", SENDER, RECEIVER, 2), (bn, "vb", RECEIVER, SENDER, 1)] {
        // No packet of the kernel's own may pass: no ARP, no IPv6.
        ip(format!("-n {netns} link set {device} addrgenmode none"));
        ip(format!("-n {netns} address add {own}/24 dev {device}"));
        ip(format!("-n {netns} link set {device} up"));
        ip(format!(
            "-n {netns} neighbor replace {other} lladdr 02:00:00:00:00:0{mac} dev {device} nud permanent"
        ));
    }
    let mut netlink = common::netlink(&a);
    let ifindex = fielato_kernel::link::get(&mut netlink, "va").unwrap().index;
    Some(Wire { a, b, netlink, ifindex })
}

/// A packet to send: when (ns from the beginning), of which flow, how long from its IP header on.
#[derive(Clone, Copy)]
struct Sending {
    at: u64,
    flow: u16,
    len: usize,
}

/// `count` packets of one flow, `apart` microseconds.
fn steady(count: u64, apart: u64, len: usize) -> Vec<Sending> {
    let sending = |number| Sending {
        at: number * apart * 1000,
        flow: 0,
        len,
    };
    (0..count).map(sending).collect()
}

/// What happened to packets, by their place in the list: when each was sent, and who arrived when.
struct Outcome {
    sent: Vec<u64>,
    arrived: Vec<(usize, u64)>,
}

impl Outcome {
    fn delays(&self) -> Vec<f64> {
        let mut delays: Vec<f64> = self
            .arrived
            .iter()
            .map(|(id, time)| (*time as f64 - self.sent[*id] as f64) / 1e6)
            .collect();
        delays.sort_by(f64::total_cmp);
        delays
    }

    /// The share of packets that never came.
    fn lost(&self) -> f64 {
        let mut came = vec![false; self.sent.len()];
        self.arrived.iter().for_each(|(id, _)| came[*id] = true);
        came.iter().filter(|came| !**came).count() as f64 / came.len() as f64
    }

    /// Losses in a row, in the mean.
    fn burst(&self) -> f64 {
        let mut came = vec![false; self.sent.len()];
        self.arrived.iter().for_each(|(id, _)| came[*id] = true);
        let begins = came.windows(2).filter(|pair| pair[0] && !pair[1]).count();
        came.iter().filter(|came| !**came).count() as f64 / begins.max(1) as f64
    }

    /// The same for one flow's packets.
    fn of(&self, sendings: &[Sending], flow: u16) -> Outcome {
        let of_flow = |(id, _): &&(usize, u64)| sendings[*id].flow == flow;
        Outcome {
            sent: self.sent.clone(),
            arrived: self.arrived.iter().filter(of_flow).copied().collect(),
        }
    }

    /// From the first packet sent to the last that arrived, ms.
    fn duration(&self) -> f64 {
        let last = self.arrived.iter().map(|(_, time)| *time).max().unwrap();
        (last - self.sent[0]) as f64 / 1e6
    }
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

fn items(lines: &[&str]) -> Vec<Item> {
    lines
        .iter()
        .map(|line| line.parse().unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

impl Wire {
    /// Sets up the kernel's disciplines; false, with a note, where this kernel has none of that kind.
    fn set(&mut self, test: &str, lines: &[&str]) -> bool {
        match replace(&mut self.netlink, self.ifindex, Previous::Nothing, &items(lines)) {
            Ok(()) => true,
            Err(error @ TcError::Lacks { .. }) => {
                fielato_testkit::skip(test, &error.to_string());
                false
            }
            Err(error) => panic!("{lines:?}: {error}"),
        }
    }

    fn clear(&mut self, lines: &[&str]) {
        clear(&mut self.netlink, self.ifindex, Previous::Applied(&items(lines))).unwrap();
    }

    /// Sends over the wire; the receiver waits for stragglers for as long as `rest`.
    fn send(&self, sendings: &[Sending], tos: u8, rest: Duration) -> Outcome {
        let receiver = self.b.run_in(|| UdpSocket::bind((RECEIVER, PORT)).unwrap()).unwrap();
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&receiver, 8 << 20).unwrap();
        receiver.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut flows = HashMap::new();
        for sending in sendings {
            flows.entry(sending.flow).or_insert_with(|| {
                let socket = self
                    .a
                    .run_in(|| UdpSocket::bind((SENDER, source_port(sending.flow))).unwrap())
                    .unwrap();
                rustix::net::sockopt::set_ip_tos(&socket, tos).unwrap();
                socket.connect(SocketAddr::from((RECEIVER, PORT))).unwrap();
                socket
            });
        }
        stamped::ask(&receiver).unwrap();
        let start = stamped::now();
        let elapsed = || stamped::now() - start;
        let over = AtomicBool::new(false);
        let mut sent = Vec::with_capacity(sendings.len());
        let arrived = thread::scope(|scope| {
            let receiving = scope.spawn(|| {
                let mut arrived = Vec::new();
                let mut buffer = [0; 2048];
                while !over.load(Ordering::Relaxed) {
                    let Ok((length, time)) = stamped::receive(&receiver, &mut buffer) else {
                        continue;
                    };
                    let id = buffer[..length].first_chunk().map(|id| u64::from_be_bytes(*id));
                    arrived.extend(id.map(|id| (id as usize, time.saturating_sub(start))));
                }
                arrived
            });
            for (id, sending) in sendings.iter().enumerate() {
                if let Some(wait) = sending.at.checked_sub(elapsed()) {
                    thread::sleep(Duration::from_nanos(wait));
                }
                let mut payload = vec![0; sending.len - HEADERS];
                payload[..8].copy_from_slice(&(id as u64).to_be_bytes());
                sent.push(elapsed());
                flows[&sending.flow].send(&payload).unwrap();
            }
            thread::sleep(rest);
            over.store(true, Ordering::Relaxed);
            receiving.join().unwrap()
        });
        let arrived = arrived.into_iter().filter(|(id, _)| *id < sendings.len()).collect();
        Outcome { sent, arrived }
    }
}

fn source_port(flow: u16) -> u16 {
    20_000 + flow
}

static SEED: AtomicU64 = AtomicU64::new(1);

/// A packet in our disciplines.
struct Ours {
    id: usize,
    data: Vec<u8>,
    priority: u32,
}

impl Packet for Ours {
    fn bytes(&self) -> &[u8] {
        &self.data
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }
    fn segment_size(&self) -> u16 {
        0
    }
    fn split(self, each: &mut dyn FnMut(Self)) {
        each(self);
    }
    fn duplicate(&self) -> Self {
        Ours {
            data: self.data.clone(),
            ..*self
        }
    }
    fn priority(&self) -> u32 {
        self.priority
    }
    fn mark(&self) -> u32 {
        0
    }
}

/// The same packets at the same times through our disciplines; and how many came out changed.
fn ours(lines: &[&str], sendings: &[Sending], sent: &[u64], tos: u8) -> (Outcome, usize, Tree<Ours>) {
    let mut tree = Tree::new(Settings {
        link_header: ETHERNET,
        // Another one each time.
        seed: SEED.fetch_add(1, Ordering::Relaxed),
        ..Settings::default()
    });
    tree.apply(&items(lines), 0).unwrap();
    let template = |sending: &Sending| {
        let ip = Ip {
            tos,
            ..Ip::v4(SENDER, RECEIVER)
        };
        ip.udp(source_port(sending.flow), PORT, &vec![0; sending.len - HEADERS])
    };
    let (mut arrived, mut changed) = (Vec::new(), 0);
    let mut waiting = std::iter::zip(sendings, sent).enumerate().peekable();
    loop {
        let arrival = waiting.peek().map(|(_, (_, time))| **time);
        let Some(now) = arrival.into_iter().chain(tree.poll_timeout()).min() else {
            break;
        };
        if arrival == Some(now)
            && let Some((id, (sending, _))) = waiting.next()
        {
            let data = template(sending);
            tree.enqueue(Ours { id, data, priority: 0 }, now, &mut |_, _: DropReason| {});
        }
        while let Some(packet) = tree.dequeue(now, &mut |_, _| {}) {
            let bits = |a: &[u8], b: &[u8]| std::iter::zip(a, b).any(|(a, b)| a != b);
            changed += usize::from(bits(&packet.data, &template(&sendings[packet.id])));
            arrived.push((packet.id, now));
        }
    }
    let sent = sent.to_vec();
    (Outcome { sent, arrived }, changed, tree)
}

const REST: Duration = Duration::from_millis(300);

/// Random numbers differ beyond three standard errors now and then, and a machine may stand still: what differs is tried again.
const ATTEMPTS: usize = 3;

/// Compares until both agree; panics with the last difference.
fn agree(mut compare: impl FnMut() -> Result<(), String>) {
    let mut differences = Vec::new();
    for _ in 0..ATTEMPTS {
        match compare() {
            Ok(()) => return,
            Err(difference) => {
                println!("again: {difference}");
                differences.push(difference);
            }
        }
    }
    panic!("never in {ATTEMPTS} attempts: {differences:?}");
}

fn within(what: &str, kernel: f64, ours: f64, slack: f64) -> Result<(), String> {
    match (kernel - ours).abs() <= slack {
        true => Ok(()),
        false => Err(format!(
            "{what}: the kernel's {kernel:.3}, ours {ours:.3}, more than {slack:.3} apart"
        )),
    }
}

/// What both do with the same packets under one netem.
struct Both {
    kernel: Outcome,
    ours: Outcome,
    /// Packets that ours corrupted.
    changed: usize,
}

/// `None` where this kernel has no netem.
fn netem(wire: &mut Wire, test: &str, words: &str, sendings: &[Sending], rest: Duration) -> Option<Both> {
    let line = format!("qdisc root handle 5: netem {words}");
    if !wire.set(test, &[&line]) {
        return None;
    }
    let kernel = wire.send(sendings, 0, rest);
    wire.clear(&[&line]);
    let (ours, changed, _) = ours(&[&line], sendings, &kernel.sent, 0);
    Some(Both { kernel, ours, changed })
}

#[test]
fn delays_spread_as_the_kernels() {
    let test = "delays_spread_as_the_kernels";
    let Some(mut wire) = wire(test) else { return };
    let sendings = steady(1000, 2000, 200);
    if netem(&mut wire, test, "limit 1000", &sendings[..1], REST).is_none() {
        return;
    }
    for words in [
        "delay 30ms 10ms",
        "delay 30ms 5ms distribution normal",
        "delay 30ms 5ms distribution pareto",
        "delay 30ms 5ms distribution paretonormal",
        "delay 30ms 5ms 50% distribution normal",
    ] {
        agree(|| {
            // How late the machine is when nothing is random: that much is added to ours.
            let exact = netem(&mut wire, test, "delay 30ms", &sendings[..500], REST).ok_or("no netem")?;
            let late: Vec<f64> = exact.kernel.delays().iter().map(|delay| delay - 30.0).collect();
            within("the least delay", quantile(&late, 0.01), 0.0, 1.0)?;
            let uneven = quantile(&late, 0.75) - quantile(&late, 0.25);

            let both = netem(&mut wire, test, words, &sendings, REST).ok_or("no netem")?;
            let (kernel, ours) = (both.kernel.delays(), both.ours.delays());
            within("packets", kernel.len() as f64, ours.len() as f64, 0.0)?;
            // Step by step through all of them, in no order.
            let some_late = |place: usize| late[place * 7919 % late.len()];
            let mut ours: Vec<f64> = ours
                .iter()
                .enumerate()
                .map(|(place, delay)| delay + some_late(place))
                .collect();
            ours.sort_by(f64::total_cmp);
            let quantiles = [0.05, 0.25, 0.5, 0.75, 0.9].map(|share| (quantile(&kernel, share), quantile(&ours, share)));
            println!("{words}: {quantiles:.2?}, unevenly late by {uneven:.2}");
            // Three standard errors of a quantile of 1,000 values, for the widest of these forms, at either side.
            for ((kernel, ours), slack) in std::iter::zip(quantiles, [1.4, 1.1, 1.4, 1.1, 1.4]) {
                within(words, kernel, ours, slack + uneven)?;
            }
            Ok(())
        });
    }
}

#[test]
fn losses_duplicates_and_corruptions_are_as_many_as_the_kernels() {
    let test = "losses_duplicates_and_corruptions_are_as_many_as_the_kernels";
    let Some(mut wire) = wire(test) else { return };
    let count = 3000.0;
    let sendings = steady(3000, 250, 200);
    // Words, and how many packets count as one where losses come in bursts.
    for (words, burst) in [
        ("loss 10%", 1.0),
        ("loss 20% 30%", 2.0),
        ("loss gemodel 3% 25% 80% 1%", 8.0),
        ("loss state 3% 25% 10% 40% 1%", 10.0),
        ("duplicate 15%", 1.0),
        ("duplicate 30% loss 30%", 1.0),
        ("corrupt 20%", 1.0),
    ] {
        let words = format!("limit 10000 {words}");
        let mut lacks = false;
        agree(|| {
            let Some(both) = netem(&mut wire, test, &words, &sendings, REST) else {
                lacks = true;
                return Ok(());
            };
            // Over the wire a corrupted packet has a wrong checksum, and is lost.
            let lost = (both.kernel.lost(), both.ours.lost() + both.changed as f64 / count);
            let came = (
                both.kernel.arrived.len() as f64 / count,
                (both.ours.arrived.len() - both.changed) as f64 / count,
            );
            let bursts = (both.kernel.burst(), both.ours.burst());
            println!("{words}: lost {lost:.4?}, arrived {came:.4?}, in a row {bursts:.2?}");
            // Three standard errors of the difference of two shares.
            let slack = |share: f64| 3.0 * (2.0 * share * (1.0 - share) * burst / count).sqrt();
            within("lost", lost.0, lost.1, slack(lost.1))?;
            within("arrived", came.0, came.1, slack(lost.1.max(came.1 - 1.0)))?;
            match burst > 2.0 {
                true => within("losses in a row", bursts.0, bursts.1, 0.25 * bursts.1),
                false => Ok(()),
            }
        });
        if lacks {
            return;
        }
    }
}

#[test]
fn reordering_rate_and_slots_are_the_kernels() {
    let test = "reordering_rate_and_slots_are_the_kernels";
    let Some(mut wire) = wire(test) else { return };
    if netem(&mut wire, test, "limit 1000", &steady(1, 1, 200), REST).is_none() {
        return;
    }
    let sendings = steady(1500, 1000, 200);
    for words in [
        "delay 20ms reorder 25%",
        "delay 20ms reorder 50% gap 4",
        "delay 20ms reorder 100% gap 5",
    ] {
        agree(|| {
            let both = netem(&mut wire, test, words, &sendings, REST).ok_or("no netem")?;
            let early = |outcome: &Outcome| outcome.delays().iter().filter(|delay| **delay < 10.0).count() as f64 / 1500.0;
            let (kernel, ours) = (early(&both.kernel), early(&both.ours));
            println!("{words}: reordered {kernel:.4}, ours {ours:.4}");
            within(words, kernel, ours, 3.0 * (2.0 * ours * (1.0 - ours) / 1500.0).sqrt())
        });
    }
    let sendings = steady(200, 100, 1000);
    for words in [
        "rate 2mbit",
        "rate 2mbit 20 48 5",
        "rate 2mbit -500 delay 50ms",
        "slot 20ms 30ms packets 5",
        "slot distribution normal 20ms 2ms bytes 5000",
    ] {
        agree(|| {
            let both = netem(&mut wire, test, words, &sendings, Duration::from_millis(1500)).ok_or("no netem")?;
            within(
                "packets",
                both.kernel.arrived.len() as f64,
                both.ours.arrived.len() as f64,
                0.0,
            )?;
            let (kernel, ours) = (both.kernel.duration(), both.ours.duration());
            println!("{words}: {kernel:.1} ms, ours {ours:.1} ms");
            within(words, kernel, ours, 0.05 * ours)
        });
    }
}

/// 320 packets a second of one flow, 2.6 Mbit/s, and 20 of another, which is sparse.
fn two_flows(seconds: u64) -> Vec<Sending> {
    let mut sendings = Vec::new();
    for number in 0..320 * seconds {
        let sending = |flow, len| Sending {
            at: number * 3_125_000,
            flow,
            len,
        };
        sendings.push(sending(0, 1000));
        if number % 16 == 7 {
            sendings.push(sending(1, 200));
        }
    }
    sendings
}

/// A number from the statistics of the kernel's fq_codel; tc leaves out some that are 0.
fn counted(wire: &Wire, name: &str) -> u64 {
    let text = fielato_testkit::run("tc", &["-n", wire.a.name(), "-s", "qdisc", "show", "dev", "va"], "");
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("new_flow_count"), "{text}");
    let mut words = text.split_whitespace().skip_while(|word| *word != name);
    words.nth(1).map_or(0, |value| value.parse().unwrap())
}

#[test]
fn fq_codel_drops_and_marks_as_the_kernels() {
    let test = "fq_codel_drops_and_marks_as_the_kernels";
    let Some(mut wire) = wire(test) else { return };
    let sendings = two_flows(4);
    for (words, tos) in [
        ("noecn", 2),
        ("ecn", 2),
        ("ecn target 20ms interval 200ms", 0),
        ("limit 40 target 10s", 0),
        ("ce_threshold 10ms target 10s", 2),
    ] {
        let lines = [
            "qdisc root handle 1: tbf rate 2mbit burst 10000 limit 1000000",
            &format!("qdisc parent 1:1 handle 10: fq_codel hosts none {words}"),
        ];
        let mut lacks = false;
        agree(|| {
            if !wire.set(test, &lines) {
                lacks = true;
                return Ok(());
            }
            let kernel = wire.send(&sendings, tos, Duration::from_millis(1000));
            let [marked, above, overlimit] = ["ecn_mark", "ce_mark", "drop_overlimit"].map(|name| counted(&wire, name) as f64);
            wire.clear(&lines);
            let (ours, _, tree) = ours(&lines, &sendings, &kernel.sent, tos);
            let stats = fq_codel(&tree);
            let both = |of: &dyn Fn(&Outcome) -> f64| (of(&kernel), of(&ours));
            let arrived = |flow| both(&|outcome| outcome.of(&sendings, flow).arrived.len() as f64);
            let delay = |flow| both(&|outcome| quantile(&outcome.of(&sendings, flow).delays(), 0.5));
            let pairs = [
                ("lost", both(&|outcome| outcome.lost() * sendings.len() as f64)),
                ("marked", (marked, stats.ecn_mark as f64)),
                ("marked above the threshold", (above, stats.ce_mark as f64)),
                ("dropped at the limit", (overlimit, stats.drop_overlimit as f64)),
                ("of the full flow arrived", arrived(0)),
                ("of the sparse flow arrived", arrived(1)),
                ("median delay of the full flow, ms", delay(0)),
                ("median delay of the sparse flow, ms", delay(1)),
            ];
            println!("fq_codel {words}, tos {tos}: {pairs:.1?}");
            // Every drop decides when the next one comes, so that small differences of time grow.
            for (what, (kernel, ours)) in pairs {
                within(what, kernel, ours, 0.05 * kernel.max(ours) + 4.0)?;
            }
            Ok(())
        });
        if lacks {
            return;
        }
    }
}

fn fq_codel(tree: &Tree<Ours>) -> FqCodelStats {
    let of = |stats: fielato_qdisc::Stats| match stats.extra {
        Extra::FqCodel(stats) => Some(stats),
        _ => None,
    };
    tree.stats().into_iter().find_map(of).unwrap()
}
