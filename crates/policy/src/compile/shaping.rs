//! Disciplines, classes, and who goes into which.

use std::collections::BTreeMap;

use fielato_qdisc::Handle;
use ipnet::IpNet;

use super::{World, nets, rates};
use crate::config::{Party, Shape, ShapeItem};
use crate::plan::Shaping;
use fielato_qdisc::Item;

/// What is added to the devices, in order.
pub fn items(world: &World<'_>) -> Vec<Shaping> {
    let hub = &world.config.hub;
    match rates::tree(world) {
        // The parser lets no [[shape]] stand beside rates.
        Some(tree) => [&hub.interface, &hub.uplink]
            .into_iter()
            .flat_map(|dev| tree.items(dev))
            .collect(),
        None => world.config.shapes.iter().map(shaping).collect(),
    }
}

fn shaping(shape: &Shape) -> Shaping {
    let item = match &shape.item {
        ShapeItem::Qdisc(qdisc) => Item::Qdisc(qdisc.clone()),
        ShapeItem::Class { class, parties: _ } => Item::Class(class.clone()),
    };
    Shaping {
        dev: shape.dev.clone(),
        item,
    }
}

/// Who goes into which class, by device. A member's own name (or an address) says more than its group, a group more than `members`.
pub fn classes(world: &World<'_>) -> BTreeMap<String, BTreeMap<IpNet, Handle>> {
    let hub = &world.config.hub;
    if let Some(tree) = rates::tree(world) {
        let devices = [hub.interface.clone(), hub.uplink.clone()];
        return devices.map(|dev| (dev, tree.members.clone())).into();
    }
    let mut ranked: BTreeMap<String, BTreeMap<IpNet, (Rank, Handle)>> = BTreeMap::new();
    for shape in &world.config.shapes {
        let ShapeItem::Class { class, parties } = &shape.item else {
            continue;
        };
        for party in parties {
            let claims = ranked.entry(shape.dev.clone()).or_default();
            let (rank, nets) = class_nets(world, party);
            for net in nets {
                let claim = claims.entry(net).or_insert((rank, class.classid));
                if rank > claim.0 {
                    *claim = (rank, class.classid);
                }
            }
        }
    }
    let plain = |claims: BTreeMap<IpNet, (Rank, Handle)>| claims.into_iter().map(|(net, (_, class))| (net, class)).collect();
    ranked.into_iter().map(|(dev, claims)| (dev, plain(claims))).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Everyone,
    Group,
    Own,
}

fn class_nets(world: &World<'_>, party: &Party) -> (Rank, Vec<IpNet>) {
    match party {
        Party::Members => (Rank::Everyone, nets(world.active().map(|(_, member)| member))),
        Party::Group(name) => (Rank::Group, nets(world.group_members(name))),
        Party::Member(name) => (Rank::Own, world.member_nets(name)),
        Party::Prefix(net) => (Rank::Own, vec![*net]),
        // The parser lets none of these have a class.
        Party::Any | Party::Hub | Party::Internet | Party::Host(_) | Party::Service(_) => (Rank::Everyone, Vec::new()),
    }
}
