//! Which class an address belongs to: a member's own, or that of the smallest network around it.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use fielato_qdisc::Handle;
use ipnet::IpNet;

use crate::prefix::PrefixMap;

/// Classes by address.
#[derive(Debug, Default)]
pub(super) struct Classes {
    /// Single addresses: one look-up however many there are.
    hosts: HashMap<IpAddr, Handle>,
    networks: PrefixMap<Handle>,
}

impl Classes {
    pub(super) fn new(classes: &BTreeMap<IpNet, Handle>) -> Classes {
        let mut all = Classes::default();
        for (net, class) in classes {
            if net.prefix_len() == net.max_prefix_len() {
                all.hosts.insert(net.addr(), *class);
            } else {
                all.networks.insert(*net, *class);
            }
        }
        all
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.networks.is_empty()
    }

    pub(super) fn lookup(&self, address: IpAddr) -> Option<Handle> {
        self.hosts.get(&address).or_else(|| self.networks.lookup(address)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_own_class_before_its_networks() {
        let class = |minor| Handle { major: 1, minor };
        let classes = BTreeMap::from([
            ("10.8.0.0/16".parse().unwrap(), class(1)),
            ("10.8.1.0/24".parse().unwrap(), class(2)),
            ("10.8.1.7/32".parse().unwrap(), class(3)),
            ("fd00::/64".parse().unwrap(), class(4)),
            ("fd00::7/128".parse().unwrap(), class(5)),
        ]);
        let classes = Classes::new(&classes);
        let of = |address: &str| classes.lookup(address.parse().unwrap()).map(|class| class.minor);
        assert_eq!(of("10.8.1.7"), Some(3));
        assert_eq!(of("10.8.1.8"), Some(2));
        assert_eq!(of("10.8.2.8"), Some(1));
        assert_eq!(of("10.9.0.1"), None);
        assert_eq!(of("fd00::7"), Some(5));
        assert_eq!(of("fd00::8"), Some(4));
        assert_eq!(of("fd00:0:0:1::"), None);
    }
}
