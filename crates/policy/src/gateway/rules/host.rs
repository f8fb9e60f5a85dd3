//! A protected host's rules.

use fielato_netfilter::{InterfaceName, Target};
use fielato_wire::Family;
use ipnet::IpNet;

use super::filter::Filter;
use super::hub::{forged, tracked};
use super::list::List;
use super::parts::{End, Parts, Side, port_matches};
use crate::config::PortSpec;
use crate::gateway::sets::{Sets, of_family};
use crate::plan::{Admit, HostPlan, Origin, TunnelPlan};

/// A host's protected ports, closed to all but the VPN; and what comes out of its tunnel.
pub(super) fn input(plan: &HostPlan, family: Family, sets: &mut Sets) -> List {
    let HostPlan {
        name: _,
        admit,
        ports,
        tunnel,
    } = plan;
    let mut list = List::new();
    let ports: Vec<PortSpec> = ports.iter().copied().collect();
    let others = match admit {
        Admit::Interface(interface) => Parts::default().coming_by(interface, true),
        Admit::Sources(sources) => {
            let sources: Vec<IpNet> = sources.iter().copied().map(IpNet::from).collect();
            match of_family(&sources, family).as_slice() {
                // The hub has no address there, so nobody comes from it.
                [] => Parts::default(),
                [net] => Parts::default().side(
                    End::Source,
                    &Side::Net {
                        net: *net,
                        negated: true,
                    },
                ),
                all => match sets.list(all, family) {
                    Some(name) => Parts::default().side(End::Source, &Side::Set { name, negated: true }),
                    None => Parts::default(),
                },
            }
        }
    };
    for port in port_matches(&ports).iter().filter(|port| port.is_some()) {
        list.push(Origin::Protected, others.clone().ports(port), Target::Drop);
    }
    if let (Admit::Interface(interface), Some(tunnel)) = (admit, tunnel) {
        from_tunnel(interface, tunnel, family, sets, &mut list);
    }
    list
}

/// What comes out of the tunnel is judged as the hub judges it. WireGuard itself refuses sources that are not the hub's to send, so
/// that the way back is asked for by the kernel's rules alone.
fn from_tunnel(interface: &str, tunnel: &TunnelPlan, family: Family, sets: &mut Sets, list: &mut List) {
    let loopback = Parts::default().coming_by(InterfaceName::LOOPBACK.as_str(), false);
    list.push(Origin::Loopback, loopback, Target::Accept);
    forged(interface, &tunnel.overlay, family, list);
    let from_elsewhere = Parts::default().coming_by(interface, true);
    list.push(Origin::NotOurs, from_elsewhere, Target::Accept);
    tracked(list);
    let hub: Vec<IpNet> = tunnel.hub.iter().copied().map(IpNet::from).collect();
    for net in of_family(&hub, family) {
        let from_hub = Parts::default().side(End::Source, &Side::Net { net, negated: false });
        list.push(Origin::FromHub, from_hub, Target::Accept);
    }
    let mut filter = Filter {
        named: &tunnel.sets,
        family,
        hook: "input",
        sets,
    };
    for rule in &tunnel.rules {
        filter.rule(rule, list);
    }
    list.push(Origin::NoRule, Parts::default(), Target::Drop);
}
