//! What changes between two rule sets, when that is no more than elements of sets.

use std::collections::BTreeSet;
use std::net::IpAddr;

use fielato_qdisc::Handle;
use ipnet::IpNet;

use super::{is_single, map_name, set_name};
use crate::config::RawRule;
use crate::plan::{FilterRule, Firewall, Published};
use crate::render::family::Family;

/// An element that comes into a set or map of table `inet fielato`, or goes out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElementChange {
    /// Name of the set or map; its elements are single addresses, never ranges.
    pub set: String,
    /// Added, else deleted.
    pub add: bool,
    /// The element, or the key in a map.
    pub address: IpAddr,
    /// The value in a map, when it is added.
    pub class: Option<Handle>,
}

/// The steps that lead from `old` to `new` when only single addresses in sets and maps differ, to be taken in one
/// transaction; none when nothing differs. `None` when more than that differs: load [`hub`](super::hub) then.
pub fn update(old: &Firewall, new: &Firewall) -> Option<Vec<ElementChange>> {
    let Firewall {
        interface,
        uplink,
        overlay,
        masquerade,
        leave_transit,
        sets,
        blocked,
        published,
        raw,
        forward,
        input,
        classes,
    } = old;
    let same = (interface, uplink, overlay, masquerade, leave_transit, blocked)
        == (
            &new.interface,
            &new.uplink,
            &new.overlay,
            &new.masquerade,
            &new.leave_transit,
            &new.blocked,
        )
        && same_published(published, &new.published)
        && same_raw(raw, &new.raw)
        && same_rules(forward, &new.forward)
        && same_rules(input, &new.input)
        && sets.keys().eq(new.sets.keys())
        && classes.keys().eq(new.classes.keys());
    if !same {
        return None;
    }
    let mut steps = Vec::new();
    for ((name, before), after) in sets.iter().zip(new.sets.values()) {
        if before == after {
            continue;
        }
        // A set that holds a network is an interval set, also for its single addresses.
        if before.iter().chain(after).any(|net| !is_single(net)) {
            return None;
        }
        let (before, after) = differing(before, after);
        let step = |net: &IpNet, add| element_change(net, add, None, |family| set_name(name, family));
        for net in before.difference(&after) {
            steps.push(step(net, false)?);
        }
        for net in after.difference(&before) {
            steps.push(step(net, true)?);
        }
    }
    for ((dev, before), after) in classes.iter().zip(new.classes.values()) {
        let step = |net: &IpNet, class: Option<Handle>| {
            element_change(net, class.is_some(), class, |family| map_name(new, "class", dev, family))
        };
        for (net, _) in before.iter().filter(|(net, class)| after.get(net) != Some(class)) {
            steps.push(step(net, None)?);
        }
        for (net, class) in after.iter().filter(|(net, class)| before.get(net) != Some(class)) {
            steps.push(step(net, Some(*class))?);
        }
    }
    Some(steps)
}

/// What is left of both without the beginning and the end that they share: of ten thousand addresses most.
fn differing<'a>(before: &'a [IpNet], after: &'a [IpNet]) -> (BTreeSet<&'a IpNet>, BTreeSet<&'a IpNet>) {
    let begin = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    let (before, after) = (&before[begin..], &after[begin..]);
    let end = before
        .iter()
        .rev()
        .zip(after.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let middle = |nets: &'a [IpNet]| nets[..nets.len() - end].iter().collect();
    (middle(before), middle(after))
}

/// `None` for a network that is not a single address: it stands among ranges.
fn element_change(net: &IpNet, add: bool, class: Option<Handle>, set: impl Fn(Family) -> String) -> Option<ElementChange> {
    is_single(net).then(|| ElementChange {
        set: set(Family::of(net.addr())),
        add,
        address: net.addr(),
        class,
    })
}

/// Whether two rule lists have the same text. A rule's line in the file is not part of it.
fn same_rules(old: &[FilterRule], new: &[FilterRule]) -> bool {
    let same = |a: &FilterRule, b: &FilterRule| {
        let FilterRule {
            from,
            to,
            action,
            origin,
        } = a;
        (from, to, action) == (&b.from, &b.to, &b.action) && origin.is_same(&b.origin)
    };
    old.len() == new.len() && old.iter().zip(new).all(|(a, b)| same(a, b))
}

fn same_published(old: &[Published], new: &[Published]) -> bool {
    let same = |a: &Published, b: &Published| {
        let Published {
            port,
            from,
            at,
            to,
            to_port,
            origin,
        } = a;
        (port, from, at, to, to_port) == (&b.port, &b.from, &b.at, &b.to, &b.to_port) && origin.is_same(&b.origin)
    };
    old.len() == new.len() && old.iter().zip(new).all(|(a, b)| same(a, b))
}

fn same_raw(old: &[RawRule], new: &[RawRule]) -> bool {
    let text = |rule: &RawRule| (rule.table, rule.chain.clone(), rule.families, rule.words.clone(), rule.after);
    old.len() == new.len() && old.iter().zip(new).all(|(a, b)| text(a) == text(b))
}
