//! Where ports begin to be judged differently: a range of ports is asked about once for each piece that no rule cuts.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{PortSpec, Protocol};
use crate::{Config, Plan};

/// First ports of pieces, of each protocol.
#[derive(Default)]
pub(super) struct Cuts(BTreeMap<Protocol, BTreeSet<u16>>);

impl Cuts {
    /// Every bound of every range that a rule of the hub or of a protected host names.
    pub fn of(config: &Config, plan: &Plan) -> Cuts {
        let mut cuts = Cuts::default();
        let rules = plan.firewall.forward.iter().chain(&plan.firewall.input);
        let named = rules.flat_map(|rule| &rule.to).flat_map(|to| &to.ports);
        let protected = config.services.values().flat_map(|service| &service.ports);
        for port in named.chain(protected) {
            let of = cuts.0.entry(port.protocol).or_default();
            of.insert(port.first);
            of.extend(port.last.checked_add(1));
        }
        cuts
    }

    /// The same ports, cut where anything begins or ends.
    pub fn pieces(&self, ports: &[PortSpec]) -> Vec<PortSpec> {
        let mut pieces = Vec::new();
        for &PortSpec { protocol, first, last } in ports {
            let mut begin = first;
            let cuts = self.0.get(&protocol).into_iter().flatten();
            for cut in cuts.filter(|cut| first < **cut && **cut <= last) {
                pieces.push(PortSpec {
                    protocol,
                    first: begin,
                    last: cut.saturating_sub(1),
                });
                begin = *cut;
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
