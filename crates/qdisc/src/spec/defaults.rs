//! What is meant where nothing is said.

use std::time::Duration;

use super::{QdiscKind, Sfq};

impl QdiscKind {
    /// The same with every default filled in that the user-space engine has, for an interface of this queue length and MTU.
    pub fn with_defaults(&self, txqueuelen: u32, mtu: u32) -> QdiscKind {
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
            QdiscKind::FqCodel(fq_codel) => {
                fq_codel.limit.get_or_insert(10_240);
                fq_codel.flows.get_or_insert(1024);
                fq_codel.quantum.get_or_insert(mtu.max(256));
                fq_codel.target.get_or_insert(Duration::from_millis(5));
                fq_codel.interval.get_or_insert(Duration::from_millis(100));
                fq_codel.memory_limit.get_or_insert(32 << 20);
                fq_codel.ecn.get_or_insert(true);
            }
            QdiscKind::Netem(netem) => {
                netem.limit.get_or_insert(1000);
            }
            QdiscKind::Htb { .. } | QdiscKind::Tbf(_) | QdiscKind::Prio(_) | QdiscKind::Cake(_) => {}
        }
        filled
    }
}
