//! Queueing disciplines and classes as typed values.

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use distribution::{Distribution, Table, TableError};
pub use filter::{Filter, FilterKind, FilterProtocol, Flower, U32Field, U32Key};
pub use netem::{Loss, Netem, Slot, SlotWait};
pub use prio::{DEFAULT_BANDS, DEFAULT_PRIOMAP, Prio};
pub use sfq::Sfq;
pub use stab::{LinkLayer, Stab};

mod defaults;
pub(crate) mod distribution;
mod filter;
mod netem;
mod prio;
mod sfq;
mod stab;

/// A tc handle or class identifier `MAJOR:MINOR` (both hexadecimal when written).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Handle {
    /// The discipline's number.
    pub major: u16,
    /// The class within it; 0 names the discipline itself.
    pub minor: u16,
}

/// Where a discipline or class hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Parent {
    /// The device's own egress.
    Root,
    /// A class of a classful discipline.
    Class(Handle),
}

/// `qdisc add dev DEV <parent> [handle H:] [stab …] <kind …>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Qdisc {
    /// Where it hangs.
    pub parent: Parent,
    /// Its handle; the kernel chooses one when there is none.
    pub handle: Option<Handle>,
    /// How lengths are charged in it, if not as they are.
    pub stab: Option<Stab>,
    /// What it is.
    pub kind: QdiscKind,
}

/// `class add dev DEV parent H classid C htb …`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Class {
    /// The class or discipline it belongs to.
    pub parent: Handle,
    /// Its own identifier.
    pub classid: Handle,
    /// Its parameters.
    pub htb: HtbClass,
}

/// The disciplines and their parameters. Rates are bytes per second, sizes are bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum QdiscKind {
    /// `pfifo limit PACKETS`
    Pfifo {
        /// Packets; the device's transmit queue length when absent.
        limit: Option<u32>,
    },
    /// `bfifo limit BYTES`
    Bfifo {
        /// Bytes.
        limit: Option<u32>,
    },
    /// `tbf rate R burst B {latency T | limit L} [peakrate P mtu M]` (`man 8 tc-tbf`)
    Tbf(Tbf),
    /// `htb [default MINOR] [r2q N]` (`man 8 tc-htb`)
    Htb {
        /// Minor number of the class for unclassified packets; 0 lets them pass unshaped.
        default: u16,
        /// Divisor from rate to quantum.
        r2q: u32,
    },
    /// `prio [bands N] [priomap P…]` (`man 8 tc-prio`)
    Prio(Prio),
    /// `sfq …` (`man 8 tc-sfq`)
    Sfq(Sfq),
    /// `netem …` (`man 8 tc-netem`)
    Netem(Box<Netem>),
    /// `codel …` (`man 8 tc-codel`)
    Codel(Codel),
    /// `fq_codel …` (`man 8 tc-fq_codel`)
    FqCodel(FqCodel),
    /// `cake …` (`man 8 tc-cake`)
    Cake(Cake),
}

/// HTB's divisor from rate to quantum unless another is given.
pub const DEFAULT_R2Q: u32 = 10;

impl QdiscKind {
    /// The kernel's name for it.
    pub fn name(&self) -> &'static str {
        match self {
            QdiscKind::Pfifo { .. } => "pfifo",
            QdiscKind::Bfifo { .. } => "bfifo",
            QdiscKind::Tbf(_) => "tbf",
            QdiscKind::Htb { .. } => "htb",
            QdiscKind::Prio(_) => "prio",
            QdiscKind::Sfq(_) => "sfq",
            QdiscKind::Netem(_) => "netem",
            QdiscKind::Codel(_) => "codel",
            QdiscKind::FqCodel(_) => "fq_codel",
            QdiscKind::Cake(_) => "cake",
        }
    }
}

/// Parameters of a token bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tbf {
    /// Bytes per second.
    pub rate: u64,
    /// Bucket size, bytes.
    pub burst: u32,
    /// Bytes that may wait.
    pub limit: u32,
    /// Bytes per second of the second bucket.
    pub peakrate: Option<u64>,
    /// Size of the second bucket, bytes.
    pub mtu: Option<u32>,
}

/// Parameters of an HTB class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HtbClass {
    /// Guaranteed bytes per second.
    pub rate: u64,
    /// Bytes per second that borrowing may reach.
    pub ceil: u64,
    /// Bytes that may be sent at ceil speed; computed from the rate when absent.
    pub burst: Option<u32>,
    /// Bytes that may be sent at line speed; computed from the ceil when absent.
    pub cburst: Option<u32>,
    /// Lower is offered excess bandwidth first.
    pub prio: u32,
    /// Bytes served per round; computed from the rate and r2q when absent.
    pub quantum: Option<u32>,
}

/// Parameters of codel, a single queue; the kernel's defaults when absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Codel {
    /// Packets.
    pub limit: Option<u32>,
    /// Acceptable standing delay.
    pub target: Option<Duration>,
    /// Time over which it must be exceeded.
    pub interval: Option<Duration>,
    /// Mark instead of drop.
    pub ecn: Option<bool>,
    /// Mark all packets above this delay.
    pub ce_threshold: Option<Duration>,
}

/// Parameters of fq_codel; the kernel's defaults when absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct FqCodel {
    /// Packets in all queues.
    pub limit: Option<u32>,
    /// Number of queues.
    pub flows: Option<u32>,
    /// Acceptable standing delay.
    pub target: Option<Duration>,
    /// Time over which it must be exceeded.
    pub interval: Option<Duration>,
    /// Bytes served per round.
    pub quantum: Option<u32>,
    /// Mark instead of drop.
    pub ecn: Option<bool>,
    /// Mark all packets above this delay.
    pub ce_threshold: Option<Duration>,
    /// Bytes of memory for all queues.
    pub memory_limit: Option<u32>,
    /// Share between hosts before flows, by which address; as the interface says when absent. Not known to the kernel.
    pub hosts: Option<HostFairness>,
}

/// What is a host for fairness between hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum HostFairness {
    /// Who sends: towards a network, before its source is translated.
    Src,
    /// Who receives: towards the members.
    #[default]
    Dst,
    /// Nobody: flows share alone, as in the kernel.
    None,
}

impl HostFairness {
    /// Every one with its word.
    pub const WORDS: [(&'static str, HostFairness); 3] = [
        ("src", HostFairness::Src),
        ("dst", HostFairness::Dst),
        ("none", HostFairness::None),
    ];
}

/// Parameters of CAKE; the kernel's defaults when absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Cake {
    /// Bytes per second; `None` for unlimited.
    pub bandwidth: Option<u64>,
    /// Round-trip time it is tuned for.
    pub rtt: Option<Duration>,
    /// Bytes added to every packet's length.
    pub overhead: Option<i32>,
    /// Smallest packet size charged, bytes.
    pub mpu: Option<u32>,
    /// Bytes of memory.
    pub memory_limit: Option<u32>,
    /// Priority tins.
    pub diffserv: Option<CakeDiffserv>,
    /// What is treated as one flow.
    pub flow_mode: Option<CakeFlowMode>,
    /// Look behind NAT for the inner addresses.
    pub nat: Option<bool>,
    /// Thin out superfluous acknowledgements.
    pub ack_filter: Option<bool>,
}

/// CAKE's priority tins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum CakeDiffserv {
    Diffserv3,
    Diffserv4,
    Diffserv8,
    Besteffort,
    Precedence,
}

impl CakeDiffserv {
    /// Every one with tc's word for it.
    pub const WORDS: [(&'static str, CakeDiffserv); 5] = [
        ("diffserv3", CakeDiffserv::Diffserv3),
        ("diffserv4", CakeDiffserv::Diffserv4),
        ("diffserv8", CakeDiffserv::Diffserv8),
        ("besteffort", CakeDiffserv::Besteffort),
        ("precedence", CakeDiffserv::Precedence),
    ];
}

/// CAKE's flow isolation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum CakeFlowMode {
    Flowblind,
    Srchost,
    Dsthost,
    Hosts,
    Flows,
    DualSrchost,
    DualDsthost,
    TripleIsolate,
}

impl CakeFlowMode {
    /// Every one with tc's word for it.
    pub const WORDS: [(&'static str, CakeFlowMode); 8] = [
        ("flowblind", CakeFlowMode::Flowblind),
        ("srchost", CakeFlowMode::Srchost),
        ("dsthost", CakeFlowMode::Dsthost),
        ("hosts", CakeFlowMode::Hosts),
        ("flows", CakeFlowMode::Flows),
        ("dual-srchost", CakeFlowMode::DualSrchost),
        ("dual-dsthost", CakeFlowMode::DualDsthost),
        ("triple-isolate", CakeFlowMode::TripleIsolate),
    ];
}
