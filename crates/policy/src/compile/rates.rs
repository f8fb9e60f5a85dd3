//! Rates of members and groups as HTB trees: one on the hub's interface, towards the members, and its like on the uplink.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use fielato_qdisc::spec::{FqCodel, HtbClass};
use fielato_qdisc::{Class, Handle, Item, Parent, Qdisc, QdiscKind};
use ipnet::IpNet;

use super::World;
use crate::config::{Limits, Member, Over, Quota};
use crate::plan::Shaping;

/// The classes of one device, which both devices have, and whose traffic goes into which.
#[derive(Default)]
pub struct Tree {
    classes: Vec<Class>,
    /// Classes that hold traffic; each has a queue of its own.
    leaves: Vec<Handle>,
    /// By address.
    pub members: BTreeMap<IpNet, Handle>,
}

const MAJOR: u16 = 1;
const ROOT: Handle = Handle { major: MAJOR, minor: 0 };

/// The tree, when the file has rates or quotas that throttle. It is there as long as it could be needed: classes come and go, the
/// discipline stays.
pub fn tree(world: &World<'_>) -> Option<Tree> {
    let config = world.config;
    let throttles = |limits: &Limits| {
        matches!(
            limits.quota,
            Some(Quota {
                over: Over::Throttle { .. },
                ..
            })
        )
    };
    let shapes = |limits: &Limits| limits.rate.is_some() || throttles(limits);
    let members = config.members.values().map(|member| &member.limits);
    let groups = config.groups.values().map(|group| &group.limits);
    members.chain(groups).any(shapes).then(|| Builder::new(world).build())
}

struct Builder<'w, 'a> {
    world: &'w World<'a>,
    rates: crate::config::Rates<'a>,
    taken: HashSet<u16>,
    tree: Tree,
}

impl<'w, 'a> Builder<'w, 'a> {
    fn new(world: &'w World<'a>) -> Self {
        Self {
            rates: world.config.rates(),
            world,
            taken: HashSet::from([0]),
            tree: Tree::default(),
        }
    }

    fn build(mut self) -> Tree {
        let groups = self.groups();
        let mut shares: BTreeMap<&str, u64> = BTreeMap::new();
        for (name, _) in self.world.active() {
            if let Some(group) = self.rates.parent_of_member(name) {
                *shares.entry(group).or_default() += 1;
            }
        }
        for (name, member) in self.world.active() {
            let parent = self.rates.parent_of_member(name);
            let share = parent.and_then(|group| shares.get(group)).copied().unwrap_or(1);
            if let Some(htb) = self.member(name, member, parent, share) {
                let parent = parent.and_then(|group| groups.get(group)).copied().unwrap_or(ROOT);
                let classid = self.number(member);
                self.tree.classes.push(Class { parent, classid, htb });
                self.tree.leaves.push(classid);
                let own = member.addresses.iter().map(|address| (IpNet::from(*address), classid));
                self.tree.members.extend(own);
            }
        }
        self.tree
    }

    /// A class for each group with a rate, the outer ones first.
    fn groups(&mut self) -> BTreeMap<&'a str, Handle> {
        let config = self.world.config;
        let rated = config
            .groups
            .iter()
            .filter_map(|(name, group)| Some((name.as_str(), group, group.limits.rate?)));
        let mut rated: Vec<_> = rated
            .map(|(name, group, rate)| (self.rates.depth(name), name, group, rate))
            .collect();
        rated.sort_by_key(|(depth, name, _, _)| (*depth, *name));
        let mut known = BTreeMap::new();
        for (_, name, group, rate) in rated {
            let outer = self.rates.parent_of_group(name).and_then(|outer| known.get(outer)).copied();
            let classid = self.free(FIRST_GROUP);
            let htb = htb(rate, group.limits.ceil.unwrap_or(rate), group.limits.priority);
            self.tree.classes.push(Class {
                parent: outer.unwrap_or(ROOT),
                classid,
                htb,
            });
            known.insert(name, classid);
        }
        known
    }

    /// A member's own part, or that of a group: its own rate, or a fair share of the group's; the whole of it when others leave room.
    fn member(&self, name: &str, member: &Member, group: Option<&str>, share: u64) -> Option<HtbClass> {
        if let Some(Over::Throttle { rate }) = self.world.circumstances.over_quota.get(name) {
            return Some(htb(*rate, *rate, member.limits.priority));
        }
        let Limits {
            rate, ceil, priority, ..
        } = member.limits;
        let group = group
            .and_then(|group| self.world.config.groups.get(group))
            .map(|group| &group.limits);
        match (rate, group) {
            (Some(rate), None) => Some(htb(rate, ceil.unwrap_or(rate), priority)),
            (rate, Some(group)) => {
                let whole = group.rate.unwrap_or(1);
                let rate = rate.unwrap_or(whole / share.max(1)).max(LEAST);
                let ceil = ceil.unwrap_or(group.ceil.unwrap_or(whole)).max(rate);
                Some(htb(rate, ceil, priority.or(group.priority)))
            }
            (None, None) => None,
        }
    }

    /// A number that stays when others come and go: the end of the member's address, where that is free.
    fn number(&mut self, member: &Member) -> Handle {
        let wish = member.addresses.first().map_or(1, |address| match address {
            IpAddr::V4(v4) => v4.to_bits() as u16,
            IpAddr::V6(v6) => v6.to_bits() as u16,
        });
        self.free(wish)
    }

    /// The first number from `wish` on that nobody has.
    fn free(&mut self, wish: u16) -> Handle {
        let order = (wish..=u16::MAX).chain(1..wish);
        let minor = order
            .into_iter()
            .find(|minor| !self.taken.contains(minor))
            .unwrap_or(u16::MAX);
        self.taken.insert(minor);
        Handle { major: MAJOR, minor }
    }
}

/// Where groups' numbers begin; a member whose address ends so gets the next one.
const FIRST_GROUP: u16 = 0xf000;

/// Bytes per second: a share of less would hold a full packet for a minute and more.
const LEAST: u64 = 1000;

fn htb(rate: u64, ceil: u64, priority: Option<u8>) -> HtbClass {
    HtbClass {
        rate,
        ceil,
        burst: None,
        cburst: None,
        prio: u32::from(priority.unwrap_or(0)),
        // The kernel computes it from the rate, and complains in its log of what comes out for slow and fast ones.
        quantum: Some(QUANTUM),
    }
}

/// A full packet and its headers per round, for every class alike.
const QUANTUM: u32 = 1514;

impl Tree {
    /// It on one device: what has no class passes unshaped.
    pub fn items(&self, dev: &str) -> Vec<Shaping> {
        let qdisc = |parent, handle, kind| {
            Item::Qdisc(Qdisc {
                parent,
                handle,
                stab: None,
                kind,
            })
        };
        let root = QdiscKind::Htb {
            default: 0,
            r2q: fielato_qdisc::spec::DEFAULT_R2Q,
        };
        let root = std::iter::once(qdisc(Parent::Root, Some(ROOT), root));
        let classes = self.classes.iter().cloned().map(Item::Class);
        let queues = self
            .leaves
            .iter()
            .map(|leaf| qdisc(Parent::Class(*leaf), None, QdiscKind::FqCodel(FqCodel::default())));
        let items = root.chain(classes).chain(queues);
        items
            .map(|item| Shaping {
                dev: dev.to_owned(),
                item,
            })
            .collect()
    }
}
