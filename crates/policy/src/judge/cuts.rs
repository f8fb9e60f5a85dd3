//! Where ports begin to be judged differently: a range of ports is asked about once for each piece that no rule cuts.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::config::{PortSpec, Protocol};
use crate::{Config, Plan, raw};

/// First ports of pieces.
#[derive(Default)]
pub(super) struct Cuts {
    of: BTreeMap<Protocol, BTreeSet<u16>>,
    /// Of every protocol.
    any: BTreeSet<u16>,
}

impl Cuts {
    /// Every bound of every range that a rule of the hub or of a protected host names, and every number that a rule in iptables' words
    /// has: one that is no port costs a question more, and no more.
    pub fn of(config: &Config, plan: &Plan) -> Cuts {
        let mut cuts = Cuts::default();
        let rules = plan.firewall.forward.iter().chain(&plan.firewall.input);
        let named = rules.flat_map(|rule| &rule.to).flat_map(|to| &to.ports);
        let protected = config.services.values().flat_map(|service| &service.ports);
        for port in named.chain(protected) {
            let of = cuts.of.entry(port.protocol).or_default();
            of.insert(port.first);
            of.extend(port.last.checked_add(1));
        }
        for number in plan.firewall.raw.iter().flat_map(raw::numbers) {
            cuts.any.insert(number);
            cuts.any.extend(number.checked_add(1));
        }
        cuts
    }

    /// The same ports, cut where anything begins or ends.
    pub fn pieces(&self, ports: &[PortSpec]) -> Vec<PortSpec> {
        let mut pieces = Vec::new();
        for &PortSpec { protocol, first, last } in ports {
            let mut begin = first;
            let within = (Bound::Excluded(first), Bound::Included(last));
            let of = self.of.get(&protocol).map(|of| of.range(within)).into_iter().flatten();
            let cuts: BTreeSet<u16> = of.chain(self.any.range(within)).copied().collect();
            for cut in cuts {
                pieces.push(PortSpec {
                    protocol,
                    first: begin,
                    last: cut.saturating_sub(1),
                });
                begin = cut;
            }
            pieces.push(PortSpec {
                protocol,
                first: begin,
                last,
            });
        }
        pieces
    }
}
