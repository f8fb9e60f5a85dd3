//! A hub with ten thousand peers of whom a thousand send, beside a hub with one.
//!
//! ```text
//!  generator ── 10.77.0.2 ═ veth ═ 10.77.0.9 ── hub
//!  its peers: 10.128.0.1 … outside, 10.64.0.1 … inside; all they send goes to 10.200.0.1, where the hub's kernel drops it
//! ```

use std::fmt::Write as _;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use anyhow::{Result, bail};
use fielato_wireguard::{PrivateKey, PublicKey};

use crate::generator::{Arrivals, Generator, Identity, Outcome, PACKET};
use crate::implementation::{Device, Implementation, MTU, PORT};
use crate::machine::Machine;
use crate::scenario::{Extent, Figures};

/// Peers that the hub knows in the large case.
const CONFIGURED: usize = 10_000;
/// Of whom so many send.
const SENDING: usize = 1_000;
/// Packets that a peer sends in one go: one, or as many as a TCP stream of a peer with offloads would.
const BURSTS: [usize; 2] = [1, 32];
/// Packets sealed at a time: 46 MB of them.
const BATCH: usize = 32_000;
/// Peers told with one `wg addconf`: not every program takes a thousand at once.
const TOLD_AT_ONCE: usize = 100;
const TARGET: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 1);

/// Both cases, in turns.
pub fn measure(implementation: &Implementation, extent: Extent) -> Result<Figures> {
    let mut one = Case::new(implementation, 1, 1, extent)?;
    let mut figures = Vec::new();
    let names = [
        [
            "one_single_mbit_per_s",
            "one_single_ns_per_packet",
            "one_single_waited",
            "one_single_lost",
        ],
        [
            "one_burst_mbit_per_s",
            "one_burst_ns_per_packet",
            "one_burst_waited",
            "one_burst_lost",
        ],
    ];
    one.measure(names, extent, &mut figures)?;
    drop(one);
    let mut many = Case::new(implementation, CONFIGURED, SENDING, extent)?;
    let names = [
        [
            "many_single_mbit_per_s",
            "many_single_ns_per_packet",
            "many_single_waited",
            "many_single_lost",
        ],
        [
            "many_burst_mbit_per_s",
            "many_burst_ns_per_packet",
            "many_burst_waited",
            "many_burst_lost",
        ],
    ];
    many.measure(names, extent, &mut figures)?;
    figures.push(("resident_mb", many.hub.process.memory("VmRSS")?));
    figures.push(("peak_mb", many.hub.process.memory("VmHWM")?));
    Ok(figures)
}

/// A hub with its peers.
struct Case {
    generator: Generator,
    arrivals: Arrivals,
    hub: Device,
    /// Kept for their namespaces.
    _machines: [Machine; 2],
}

impl Case {
    fn new(implementation: &Implementation, configured: usize, sending: usize, extent: Extent) -> Result<Self> {
        let (machine, outside) = (Machine::new("hub")?, Machine::new("peers")?);
        Machine::join((&machine, "v0", "10.77.0.9/24"), (&outside, "v0", "10.77.0.2/24"))?;
        outside.shell("ip route add local 10.128.0.0/16 dev lo")?;
        machine.shell("ip route add 10.128.0.0/16 via 10.77.0.2\nip route add blackhole 10.200.0.0/16")?;
        let hub = Device::start(implementation, &machine, extent.interrupt)?;
        hub.up(&machine, "10.63.0.1/32", MTU)?;

        let identities = (0..sending).map(identity).collect::<Result<Vec<_>>>()?;
        let keys = identities.iter().map(|identity| identity.key.public_key());
        let keys: Vec<PublicKey> = keys.chain((sending..configured).map(stranger)).collect();
        for (chunk, keys) in keys.chunks(TOLD_AT_ONCE).enumerate() {
            let mut text = String::new();
            for (number, key) in keys.iter().enumerate() {
                let inner = inner(chunk * TOLD_AT_ONCE + number);
                // Writing to a string can't fail.
                let _ = write!(text, "[Peer]\nPublicKey = {key}\nAllowedIPs = {inner}/32\n");
            }
            hub.set("addconf", &text)?;
            extent.interrupt.check()?;
        }

        let socket = outside.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)))??;
        let address = (Ipv4Addr::new(10, 77, 0, 9), PORT).into();
        let mut generator = Generator::new(socket, address, hub.key.public_key(), &identities, TARGET)?;
        generator.connect(extent.interrupt)?;
        let arrivals = Arrivals::open(&hub.counters_file(), &hub.interface)?;
        let mut case = Self {
            generator,
            arrivals,
            hub,
            _machines: [machine, outside],
        };
        // The first packets of the sessions, and as many as show how much the hub takes at a time.
        for burst in BURSTS {
            case.round(BATCH, burst, extent)?;
        }
        Ok(case)
    }

    fn measure(&mut self, names: [[&'static str; 4]; 2], extent: Extent, figures: &mut Figures) -> Result<()> {
        for (burst, [rate, cost, waited, lost]) in BURSTS.into_iter().zip(names) {
            let wanted = Duration::from_secs(u64::from(extent.seconds)) / 2;
            let (mut sum, mut cpu) = (Outcome::default(), 0);
            while sum.time < wanted {
                let (outcome, used) = self.round(BATCH, burst, extent)?;
                sum.delivered += outcome.delivered;
                sum.lost += outcome.lost;
                sum.time += outcome.time;
                sum.waited += outcome.waited;
                cpu += used;
            }
            let delivered = sum.delivered as f64;
            let seconds = sum.time.as_secs_f64();
            figures.push((rate, delivered * (PACKET * 8) as f64 / seconds / 1e6));
            figures.push((cost, cpu as f64 / delivered));
            figures.push((waited, sum.waited.as_secs_f64() / seconds));
            figures.push((lost, sum.lost as f64 / (delivered + sum.lost as f64)));
        }
        Ok(())
    }

    /// What became of a batch, and the nanoseconds that the hub spent on it.
    fn round(&mut self, count: usize, burst: usize, extent: Extent) -> Result<(Outcome, u64)> {
        let sealed = self.generator.seal(count, burst)?;
        let before = self.hub.process.cpu()?;
        let outcome = self.generator.send(&sealed, &self.arrivals, extent.interrupt)?;
        if outcome.delivered == 0 {
            bail!("nothing of {count} packets came out of the tunnel");
        }
        Ok((outcome, self.hub.process.cpu()? - before))
    }
}

fn identity(number: usize) -> Result<Identity> {
    Ok(Identity {
        key: PrivateKey::generate()?,
        address: Ipv4Addr::from_bits(Ipv4Addr::new(10, 128, 0, 1).to_bits() + number as u32),
        inner: inner(number),
    })
}

fn inner(number: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 64, 0, 1).to_bits() + number as u32)
}

/// A key that nobody has the private half of; no two are equal.
fn stranger(number: usize) -> PublicKey {
    let mut key = [0x5a; 32];
    key[..8].copy_from_slice(&(number as u64).to_be_bytes());
    PublicKey(key)
}
