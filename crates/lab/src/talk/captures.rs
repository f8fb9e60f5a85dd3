//! Step 2.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::pcap::{ETHERNET, Frame, Pcap, classify};
use super::service::{Reached, Service, Way, ask};
use super::{StepSpec, Talk};
use crate::gateway::Engine;
use crate::interrupt::Interrupt;
use crate::machine::Machine;
use crate::topology::{Family, HUB_PORT, Node, OUTER, TUNNEL};

pub(super) const STEP: StepSpec = StepSpec {
    title: "Captures",
    claim: "The same exchange is in clear on the hub's wg0 and in cipher on its eth0.",
    needs_tunnel: true,
    takes_down: false,
    run,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// Where the captures go.
#[derive(Debug)]
pub(super) struct CaptureFiles {
    directory: PathBuf,
    clear: PathBuf,
    cipher: PathBuf,
}

impl CaptureFiles {
    /// In a directory of this run's own, unless the user named one.
    pub(super) fn new(named: Option<&Path>, run: &str, engine: Engine) -> Self {
        let directory = named.map_or_else(|| std::env::temp_dir().join(run), Path::to_owned);
        Self {
            clear: directory.join(match engine {
                Engine::Kernel => "clear-wg0.pcap",
                Engine::Userspace => "clear-wg0.pcapng",
            }),
            cipher: directory.join("cipher-eth0.pcap"),
            directory,
        }
    }

    fn make_directory(&self) -> Result<()> {
        let made = DirBuilder::new().mode(0o700).recursive(true).create(&self.directory);
        made.with_context(|| format!("cannot make {}", self.directory.display()))
    }

    /// Removes what of them is there.
    pub(super) fn remove(&self) {
        // What is not there needs no removing, and a directory with other things in it is not ours alone.
        let _ = fs::remove_file(&self.clear);
        let _ = fs::remove_file(&self.cipher);
        let _ = fs::remove_dir(&self.directory);
    }
}

fn run(talk: &mut Talk<'_, '_, '_>) -> Result<()> {
    talk.captures.make_directory()?;
    let hub = talk.lab.machine(Node::VpnCore);
    let CaptureFiles { clear, cipher, .. } = talk.captures;
    let payload = format!("in clear only inside the tunnel {}", std::process::id());

    let capture_clear = match talk.engine {
        Engine::Kernel => Capture::start(hub, TUNNEL, clear, talk.interrupt)?,
        // What members send each other does not come to the interface there: the engine writes it down itself.
        Engine::Userspace => Capture::start_own(hub, clear, talk.interrupt)?,
    };
    let capture_cipher = Capture::start(hub, OUTER, cipher, talk.interrupt)?;
    let service = Service::start(talk.lab.machine(Node::ClientB))?;
    for family in Family::BOTH {
        let to = Node::ClientB.overlay(family);
        let reached = ask(talk.lab.machine(Node::ClientA), Way::Routed, to, &payload, PATIENCE)?;
        let passed = matches!(&reached, Reached::Answered { text, .. } if *text == payload);
        talk.recorder.check(
            format!("an exchange client-a ↔ client-b, {family}"),
            "answered",
            reached.to_string(),
            passed,
        )?;
    }
    drop(service);
    // Question and answer cross wg0 twice each: in and out of the hub.
    let written = talk
        .interrupt
        .wait(PATIENCE, || Ok((capture_clear.holding(&payload)? >= 8).then_some(())))?;
    capture_clear.stop(talk.interrupt)?;
    capture_cipher.stop(talk.interrupt)?;

    let clear_pcap = match talk.engine {
        Engine::Kernel => read(clear)?,
        Engine::Userspace => read(&converted(talk, clear)?)?,
    };
    let cipher_pcap = read(cipher)?;
    let packets = clear_pcap.packets.len();
    let measured = format!("in {} of {packets} packets", clear_pcap.holding(payload.as_bytes()));
    talk.recorder.check(
        "the payload in the clear capture",
        "question and answer, in and out, IPv4 and IPv6: in 8 packets",
        measured,
        written.is_some(),
    )?;
    let packets = cipher_pcap.packets.len();
    let holding = cipher_pcap.holding(payload.as_bytes());
    let measured = format!("in {holding} of {packets} packets");
    talk.recorder.check(
        "the payload in the cipher capture",
        "in none of at least 8 packets",
        measured,
        holding == 0 && packets >= 8,
    )?;
    only_wireguard(talk, &cipher_pcap)?;
    by_tcpdump(talk, clear, cipher, &payload)?;
    for path in [clear, cipher] {
        talk.recorder.note(&path.display().to_string())?;
        talk.recorder.keep(path.display().to_string());
    }
    Ok(())
}

fn only_wireguard(talk: &mut Talk<'_, '_, '_>, cipher: &Pcap) -> Result<()> {
    if cipher.link_type != ETHERNET {
        bail!("the capture on {OUTER} has link type {}, not Ethernet", cipher.link_type);
    }
    let frames: Vec<Frame> = cipher.packets.iter().map(|packet| classify(packet, HUB_PORT)).collect();
    let wireguard = frames.iter().filter(|frame| **frame == Frame::WireGuard).count();
    let neighbours = frames.iter().filter(|frame| **frame == Frame::Neighbours).count();
    let mut others: Vec<String> = frames
        .into_iter()
        .filter_map(|frame| if let Frame::Other(what) = frame { Some(what) } else { None })
        .collect();
    let count = others.len();
    others.dedup();
    let measured = format!(
        "{wireguard} of UDP port {HUB_PORT}, {neighbours} of ARP and neighbour discovery, {count} others {}",
        others.join(", ")
    );
    talk.recorder.check(
        "the outer packets",
        format!("UDP port {HUB_PORT} only, beside ARP and neighbour discovery"),
        measured,
        wireguard >= 8 && count == 0,
    )
}

/// The same questions to tcpdump itself.
fn by_tcpdump(talk: &mut Talk<'_, '_, '_>, clear: &Path, cipher: &Path, payload: &str) -> Result<()> {
    let hub = talk.lab.machine(Node::VpnCore);
    let read = |file: &Path, arguments: &[&str]| {
        let file = file.display().to_string();
        hub.call(
            "tcpdump",
            ["-n", "-A", "-r", &file].iter().chain(arguments).copied().collect::<Vec<_>>(),
        )
        .succeed(talk.interrupt)
    };
    let in_clear = read(clear, &[])?.matches(payload).count();
    let in_cipher = read(cipher, &[])?.matches(payload).count();
    let others = read(
        cipher,
        &[
            "not",
            "arp",
            "and",
            "not",
            "icmp6",
            // Multicast listener reports stand behind a hop-by-hop header, where icmp6 doesn't find them.
            "and",
            "not",
            "ip6",
            "proto",
            "0",
            "and",
            "not",
            "udp",
            "port",
            &HUB_PORT.to_string(),
        ],
    )?;
    let measured = format!(
        "payload shown {in_clear} times in clear, {in_cipher} times in cipher; {} other packets",
        others.lines().count()
    );
    let expected = "8 times in clear, never in cipher; no other packets";
    talk.recorder.check(
        "read back by `tcpdump -r`",
        expected,
        measured,
        in_clear == 8 && in_cipher == 0 && others.is_empty(),
    )
}

/// tcpdump at work.
struct Capture {
    child: Child,
    file: PathBuf,
    log: PathBuf,
}

impl Capture {
    fn start(machine: &Machine, interface: &str, file: &Path, interrupt: &Interrupt) -> Result<Self> {
        let log = machine.directory().join(format!("log/tcpdump-{interface}.log"));
        let path = file
            .to_str()
            .context("the captures' directory has a name that is not UTF-8")?;
        // As root, since the files go to a directory of root's; every packet to the file at once. The buffer has places of the
        // snapshot's length, of which the default of 256 KiB would leave room for eight.
        let arguments = [
            "-n",
            "-i",
            interface,
            "-w",
            path,
            "-U",
            "--immediate-mode",
            "-Z",
            "root",
            "-s",
            "9216",
            "-B",
            "16384",
        ];
        let mut capture = Self {
            child: machine.call("tcpdump", arguments).start(&log)?,
            file: file.to_owned(),
            log,
        };
        let listening = interrupt.wait(PATIENCE, || {
            let said = fs::read_to_string(&capture.log)?;
            if let Some(status) = capture.child.try_wait()? {
                bail!("tcpdump on {interface}: {status}\n{}", said.trim());
            }
            Ok(said.contains("listening on").then_some(()))
        })?;
        listening.with_context(|| format!("tcpdump on {interface} did not begin in {} s", PATIENCE.as_secs()))?;
        Ok(capture)
    }

    /// `fielato capture`, of what is in clear. It stands when the file has its beginning.
    fn start_own(machine: &Machine, file: &Path, interrupt: &Interrupt) -> Result<Self> {
        let log = machine.directory().join("log/capture.log");
        let path = file
            .to_str()
            .context("the captures' directory has a name that is not UTF-8")?;
        let mut capture = Self {
            child: machine.fielato(["capture", "--clear", "-w", path]).start(&log)?,
            file: file.to_owned(),
            log,
        };
        let writing = interrupt.wait(PATIENCE, || {
            if let Some(status) = capture.child.try_wait()? {
                bail!("fielato capture: {status}\n{}", fs::read_to_string(&capture.log)?.trim());
            }
            Ok(fs::metadata(&capture.file).is_ok_and(|file| file.len() > 0).then_some(()))
        })?;
        writing.with_context(|| format!("fielato capture did not begin in {} s", PATIENCE.as_secs()))?;
        Ok(capture)
    }

    /// How often the payload is in the file so far.
    fn holding(&self, payload: &str) -> Result<usize> {
        let bytes = fs::read(&self.file)?;
        Ok(bytes
            .windows(payload.len())
            .filter(|window| *window == payload.as_bytes())
            .count())
    }

    /// Lets tcpdump write what it has, and waits for its end.
    fn stop(mut self, interrupt: &Interrupt) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::INT).context("cannot end the capture")?;
        let ended = interrupt.wait(PATIENCE, || Ok(self.child.try_wait()?))?;
        ended.with_context(|| format!("the capture did not end in {} s", PATIENCE.as_secs()))?;
        Ok(())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // After `stop` both find nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The capture in the older format, written by tcpdump: what reads our file is not ours.
fn converted(talk: &Talk<'_, '_, '_>, file: &Path) -> Result<PathBuf> {
    let hub = talk.lab.machine(Node::VpnCore);
    let older = hub.directory().join("log/clear.pcap");
    let (from, to) = (file.display().to_string(), older.display().to_string());
    hub.call("tcpdump", ["-r", &from, "-Z", "root", "-w", &to])
        .succeed(talk.interrupt)?;
    Ok(older)
}

fn read(path: &Path) -> Result<Pcap> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Pcap::parse(&bytes).with_context(|| path.display().to_string())
}
