//! What is meant where nothing is said.

use std::time::Duration;

use super::{Codel, FqCodel, HostFairness, QdiscKind, Sfq};

/// The standing delay that CoDel accepts, and for how long it may be exceeded (`codel_params_init`).
const TARGET: Duration = Duration::from_millis(5);
const INTERVAL: Duration = Duration::from_millis(100);

impl QdiscKind {
    /// The same with every default filled in that the user-space engine has, for an interface of this queue length and MTU.
    pub fn with_defaults(&self, txqueuelen: u32, mtu: u32, hosts: HostFairness) -> QdiscKind {
        // `__fifo_init`: at least one packet; for bytes, as many full packets.
        let packets = txqueuelen.max(1);
        let mut filled = self.clone();
        match &mut filled {
            QdiscKind::Pfifo { limit } => {
                limit.get_or_insert(packets);
            }
            QdiscKind::Bfifo { limit } => {
                limit.get_or_insert(packets.saturating_mul(mtu));
            }
            QdiscKind::Sfq(sfq) => {
                sfq.limit.get_or_insert(Sfq::MAX_DEPTH);
                sfq.depth.get_or_insert(Sfq::MAX_DEPTH);
                sfq.flows.get_or_insert(Sfq::DEFAULT_FLOWS);
                sfq.divisor.get_or_insert(Sfq::DEFAULT_DIVISOR);
                sfq.quantum.get_or_insert(mtu.max(1));
            }
            QdiscKind::Codel(codel) => *codel = codel.with_defaults(),
            QdiscKind::FqCodel(fq_codel) => *fq_codel = fq_codel.with_defaults(mtu, hosts),
            QdiscKind::Netem(netem) => {
                netem.limit.get_or_insert(1000);
            }
            QdiscKind::Htb { .. } | QdiscKind::Tbf(_) | QdiscKind::Prio(_) | QdiscKind::Cake(_) => {}
        }
        filled
    }
}

impl Codel {
    /// The same with every default filled in (`codel_init`).
    pub fn with_defaults(&self) -> Codel {
        Codel {
            limit: self.limit.or(Some(1000)),
            target: self.target.or(Some(TARGET)),
            interval: self.interval.or(Some(INTERVAL)),
            ecn: self.ecn.or(Some(false)),
            ce_threshold: self.ce_threshold,
        }
    }
}

impl FqCodel {
    /// The kernel refuses less (`fq_codel_change`).
    const LEAST_QUANTUM: u32 = 256;

    /// The same with every default filled in (`fq_codel_init`); one full packet has `mtu` bytes.
    pub fn with_defaults(&self, mtu: u32, hosts: HostFairness) -> FqCodel {
        FqCodel {
            limit: self.limit.or(Some(10_240)),
            flows: self.flows.or(Some(1024)),
            quantum: Some(self.quantum.unwrap_or(mtu).max(Self::LEAST_QUANTUM)),
            target: self.target.or(Some(TARGET)),
            interval: self.interval.or(Some(INTERVAL)),
            memory_limit: self.memory_limit.or(Some(32 << 20)),
            ecn: self.ecn.or(Some(true)),
            ce_threshold: self.ce_threshold,
            hosts: self.hosts.or(Some(hosts)),
        }
    }
}
