//! What changes between two plans of a protected host, when that is no more than elements of sets.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{ElementChange, is_single, set_name};
use crate::plan::{HostPlan, TunnelPlan};
use crate::render::family::Family;

/// The steps that lead from one plan of a host to another when only single addresses in sets differ, as for the hub's
/// [`update`](super::update); the table is `inet fielato_host`. `None` when more differs: load [`host`](super::host) then.
pub fn update_host(old: &HostPlan, new: &HostPlan) -> Option<Vec<ElementChange>> {
    let HostPlan {
        name: _,
        admit,
        ports,
        tunnel,
    } = old;
    if (admit, ports) != (&new.admit, &new.ports) {
        return None;
    }
    match (tunnel, &new.tunnel) {
        (None, None) => Some(Vec::new()),
        (Some(old), Some(new)) => update_tunnel(old, new),
        _ => None,
    }
}

fn update_tunnel(old: &TunnelPlan, new: &TunnelPlan) -> Option<Vec<ElementChange>> {
    let TunnelPlan {
        overlay,
        hub,
        sets,
        rules,
    } = old;
    if (overlay, hub, rules) != (&new.overlay, &new.hub, &new.rules) || !sets.keys().eq(new.sets.keys()) {
        return None;
    }
    let mut steps = Vec::new();
    for ((name, before), after) in sets
        .iter()
        .zip(new.sets.values())
        .filter(|((_, before), after)| before != after)
    {
        // A set that holds a network is an interval set, also for its single addresses.
        if before.iter().chain(after).any(|net| !is_single(net)) {
            return None;
        }
        let (before, after): (BTreeSet<&IpNet>, BTreeSet<&IpNet>) = (before.iter().collect(), after.iter().collect());
        let step = |net: &IpNet, add| ElementChange {
            set: set_name(name, Family::of(net.addr())),
            add,
            address: net.addr(),
            class: None,
        };
        steps.extend(before.difference(&after).map(|net| step(net, false)));
        steps.extend(after.difference(&before).map(|net| step(net, true)));
    }
    Some(steps)
}
