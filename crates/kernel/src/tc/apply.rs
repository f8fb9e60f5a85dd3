//! A device's disciplines and classes are made what they should be: all of them, or none.

use fielato_qdisc::spec::{HostFairness, LinkLayer};
use fielato_qdisc::{Class, Handle, Parent, Qdisc, QdiscKind};

use super::attributes::{find, u32_at};
use super::error::TcError;
use super::item::Item;
use super::message::{
    HEADER_LEN, NLM_F_CREATE, NLM_F_EXCL, ROOT, TCA_KIND, classes, number, parent_number, qdiscs, remove, remove_root, set,
};
use super::probe::{Probed, probe};
use super::psched::Psched;
use crate::netlink::{Netlink, NetlinkError};

/// What we did to the device earlier. Without it a root discipline there is somebody else's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Previous<'a> {
    /// Nothing.
    Nothing,
    /// These items were set up and nothing was begun since.
    Applied(&'a [Item]),
    /// These were begun; whether they were finished isn't known (a crash came between). They are set up anew.
    Attempted(&'a [Item]),
}

impl<'a> Previous<'a> {
    fn items(self) -> &'a [Item] {
        match self {
            Previous::Nothing => &[],
            Previous::Applied(items) | Previous::Attempted(items) => items,
        }
    }
}

/// Makes the disciplines and classes of a device those of `items`, which come in the order in which tc would be given them;
/// with no items the kernel's default comes back.
///
/// - A root discipline that is neither the kernel's own (handle `0:`) nor ours is left alone, and an error.
/// - All items are tried elsewhere first, so that what the kernel lacks or refuses is found before the device is touched.
///   Without `CAP_SYS_ADMIN` there is no elsewhere: the device itself is tried, and put back as the next but one point says.
/// - Where a tree of ours stands, only the differences are carried out: what stays the same keeps its queues and statistics.
///   A change that the kernel can't make in place (of the root discipline, of a class's parent) makes the whole tree anew.
/// - Should the kernel refuse an item on the device nevertheless, the tree that stood there is set up again (its statistics
///   begin at zero), or, without one, the kernel's default comes back.
///
/// While a tree is made anew packets pass unshaped, for the time of a few system calls.
///
/// # Errors
/// Any [`TcError`]; the device is as before except after [`TcError::Lost`].
pub fn replace(netlink: &mut Netlink, ifindex: u32, previous: Previous<'_>, items: &[Item]) -> Result<(), TcError> {
    let ours = is_ours(netlink, ifindex, previous)?;
    if items.is_empty() {
        if ours {
            remove_root(netlink, ifindex)?;
        }
        return Ok(());
    }
    let psched = Psched::read().map_err(TcError::Psched)?;
    let standing = match previous {
        Previous::Applied(previous) if ours && stands(netlink, ifindex, previous)? => previous,
        _ => &[],
    };
    if standing == items {
        return Ok(());
    }
    check_parents(items)?;
    check_hosts(items)?;
    check_link_layers(items)?;
    let probed = probe(items, &psched)?;

    let device = &mut Device {
        netlink,
        ifindex,
        psched,
    };
    let changed = match changes(standing, items) {
        Some(changes) => device.carry_out(&changes),
        None => device.rebuild(ours, items),
    };
    let Err((failed, source)) = changed else { return Ok(()) };
    let item = failed.to_string();
    match (device.put_back(standing), failed) {
        // Every parent stands, so that "no such entry" can only mean the discipline itself. (After a trial it isn't that.)
        (Ok(()), Item::Qdisc(qdisc)) if probed == Probed::Nowhere && source.errno() == Some(libc::ENOENT) => {
            Err(TcError::lacks(qdisc))
        }
        (Ok(()), _) => Err(TcError::PutBack { ifindex, item, source }),
        (Err(again), _) => Err(TcError::Lost {
            ifindex,
            item,
            source,
            again,
        }),
    }
}

/// Removes the root discipline that [`replace`] set up, and with it everything below. Without one of ours nothing is done.
///
/// # Errors
/// [`TcError::Foreign`] when somebody else's stands there, or a refusal by the kernel.
pub fn clear(netlink: &mut Netlink, ifindex: u32, previous: Previous<'_>) -> Result<(), TcError> {
    replace(netlink, ifindex, previous, &[])
}

/// Nobody asks for fairness between hosts, which the kernel's fq_codel would silently not do.
fn check_hosts(items: &[Item]) -> Result<(), TcError> {
    let asks = |item: &&Item| match item {
        Item::Qdisc(Qdisc {
            kind: QdiscKind::FqCodel(fq_codel),
            ..
        }) => matches!(fq_codel.hosts, Some(HostFairness::Src | HostFairness::Dst)),
        _ => false,
    };
    match items.iter().find(asks) {
        Some(item) => Err(TcError::KnowsNoHosts { item: item.to_string() }),
        None => Ok(()),
    }
}

/// Nobody asks for lengths that the kernel can't compute.
fn check_link_layers(items: &[Item]) -> Result<(), TcError> {
    let asks = |item: &&Item| match item {
        Item::Qdisc(qdisc) => qdisc.stab.is_some_and(|stab| stab.linklayer == LinkLayer::Wireguard),
        Item::Class(_) => false,
    };
    match items.iter().find(asks) {
        Some(item) => Err(TcError::KnowsNoWireguard { item: item.to_string() }),
        None => Ok(()),
    }
}

/// Every parent is made before its children.
fn check_parents(items: &[Item]) -> Result<(), TcError> {
    let mut made = std::collections::HashSet::new();
    for item in items {
        let (parent, makes) = match item {
            Item::Qdisc(qdisc) => (qdisc.parent, qdisc.handle),
            Item::Class(class) => (Parent::Class(class.parent), Some(class.classid)),
        };
        if let Parent::Class(parent) = parent
            && !made.contains(&parent)
        {
            return Err(TcError::NoParent {
                item: item.to_string(),
                parent,
            });
        }
        made.extend(makes);
        // tbf and netem have one class each, without being told.
        if let (Item::Qdisc(qdisc), Some(handle)) = (item, makes)
            && matches!(qdisc.kind, QdiscKind::Tbf(_) | QdiscKind::Netem(_))
        {
            made.insert(Handle { minor: 1, ..handle });
        }
        // prio's bands are classes.
        if let (Item::Qdisc(qdisc), Some(handle)) = (item, makes)
            && let QdiscKind::Prio(prio) = &qdisc.kind
        {
            made.extend((1..=u16::from(prio.bands)).map(|minor| Handle { minor, ..handle }));
        }
    }
    Ok(())
}

/// Whether the root discipline on the device is one that we set up; an error when it is somebody else's.
fn is_ours(netlink: &mut Netlink, ifindex: u32, previous: Previous<'_>) -> Result<bool, TcError> {
    let Some(root) = qdiscs(netlink, ifindex)?
        .into_iter()
        .map(Entry::new)
        .find(|entry| entry.parent == ROOT)
    else {
        return Ok(false);
    };
    // What the kernel attaches by itself (noqueue, pfifo_fast, fq_codel, mq) has no handle.
    if root.handle == 0 {
        return Ok(false);
    }
    let is_this = |item: &Item| matches!(item, Item::Qdisc(qdisc) if qdisc.parent == Parent::Root && root.is_qdisc(qdisc));
    if previous.items().iter().any(is_this) {
        return Ok(true);
    }
    let handle = Handle {
        major: (root.handle >> 16) as u16,
        minor: 0,
    };
    Err(TcError::Foreign {
        ifindex,
        kind: root.kind,
        handle: handle.to_string(),
    })
}

/// Whether every one of `items` is on the device, so that only differences need to be carried out.
fn stands(netlink: &mut Netlink, ifindex: u32, items: &[Item]) -> Result<bool, NetlinkError> {
    let entries = |bodies: Vec<Vec<u8>>| -> Vec<Entry> { bodies.into_iter().map(Entry::new).collect() };
    let qdiscs = entries(qdiscs(netlink, ifindex)?);
    let classes = entries(classes(netlink, ifindex)?);
    let class_numbers: std::collections::HashMap<u32, u32> = classes.iter().map(|entry| (entry.handle, entry.parent)).collect();
    Ok(items.iter().all(|item| match item {
        Item::Qdisc(qdisc) => qdiscs.iter().any(|entry| entry.is_qdisc(qdisc)),
        Item::Class(class) => {
            let parent = if class.parent.minor == 0 { ROOT } else { number(class.parent) };
            class_numbers.get(&number(class.classid)) == Some(&parent)
        }
    }))
}

/// A discipline or class as the kernel names it.
struct Entry {
    handle: u32,
    parent: u32,
    kind: String,
}

impl Entry {
    fn new(body: Vec<u8>) -> Self {
        let kind = find(&body[HEADER_LEN..], TCA_KIND).unwrap_or_default();
        Entry {
            handle: u32_at(&body, 8).unwrap_or(0),
            parent: u32_at(&body, 12).unwrap_or(0),
            kind: String::from_utf8_lossy(kind).trim_end_matches('\0').to_owned(),
        }
    }

    fn is_qdisc(&self, qdisc: &Qdisc) -> bool {
        self.parent == parent_number(qdisc.parent)
            && self.kind == qdisc.kind.name()
            && qdisc.handle.is_none_or(|handle| self.handle == number(handle))
    }
}

/// One step from a tree to another.
#[derive(Debug, PartialEq)]
enum Step<'a> {
    Remove(&'a Item),
    Add(&'a Item),
    Change(&'a Item),
}

/// The steps from `old` to `new`, or `None` when the tree must be made anew.
fn changes<'a>(old: &'a [Item], new: &'a [Item]) -> Option<Vec<Step<'a>>> {
    let (old_root, new_root) = (root(old)?, root(new)?);
    if old_root != new_root {
        return None;
    }
    let (old_tree, new_tree) = (Tree::new(old), Tree::new(new));
    let mut steps = Vec::new();
    // Leaves first: a class with children can't be removed.
    for item in old.iter().rev() {
        match item {
            Item::Class(class) => match new_tree.classes.get(&class.classid) {
                None => steps.push(Step::Remove(item)),
                Some(new) if new.parent != class.parent => return None,
                Some(_) => {}
            },
            Item::Qdisc(qdisc) => {
                // A class takes its discipline along.
                let stays = matches!(qdisc.parent, Parent::Class(class) if new_tree.classes.contains_key(&class));
                if stays && new_tree.qdiscs.get(&qdisc.parent) != Some(&qdisc) {
                    steps.push(Step::Remove(item));
                }
            }
        }
    }
    for item in new {
        match item {
            Item::Class(class) => match old_tree.classes.get(&class.classid) {
                None => steps.push(Step::Add(item)),
                Some(old) if *old != class => steps.push(Step::Change(item)),
                Some(_) => {}
            },
            Item::Qdisc(qdisc) if old_tree.qdiscs.get(&qdisc.parent) != Some(&qdisc) => steps.push(Step::Add(item)),
            Item::Qdisc(_) => {}
        }
    }
    Some(steps)
}

fn root(items: &[Item]) -> Option<&Qdisc> {
    items.iter().find_map(|item| match item {
        Item::Qdisc(qdisc) if qdisc.parent == Parent::Root => Some(qdisc),
        _ => None,
    })
}

/// Items by what they are found by.
struct Tree<'a> {
    qdiscs: std::collections::HashMap<Parent, &'a Qdisc>,
    classes: std::collections::HashMap<Handle, &'a Class>,
}

impl<'a> Tree<'a> {
    fn new(items: &'a [Item]) -> Self {
        let mut tree = Tree {
            qdiscs: Default::default(),
            classes: Default::default(),
        };
        for item in items {
            match item {
                Item::Qdisc(qdisc) => drop(tree.qdiscs.insert(qdisc.parent, qdisc)),
                Item::Class(class) => drop(tree.classes.insert(class.classid, class)),
            }
        }
        tree
    }
}

struct Device<'n> {
    netlink: &'n mut Netlink,
    ifindex: u32,
    psched: Psched,
}

impl Device<'_> {
    fn carry_out<'a>(&mut self, steps: &[Step<'a>]) -> Result<(), (&'a Item, NetlinkError)> {
        for step in steps {
            match *step {
                Step::Remove(item) => remove(self.netlink, self.ifindex, item).map_err(|error| (item, error))?,
                Step::Add(item) => self.set(item, NLM_F_CREATE | NLM_F_EXCL)?,
                Step::Change(item) => self.set(item, 0)?,
            }
        }
        Ok(())
    }

    fn rebuild<'a>(&mut self, ours: bool, items: &'a [Item]) -> Result<(), (&'a Item, NetlinkError)> {
        if ours {
            remove_root(self.netlink, self.ifindex).map_err(|error| (&items[0], error))?;
        }
        for item in items {
            self.set(item, NLM_F_CREATE | NLM_F_EXCL)?;
        }
        Ok(())
    }

    fn set<'a>(&mut self, item: &'a Item, flags: u16) -> Result<(), (&'a Item, NetlinkError)> {
        set(self.netlink, self.ifindex, item, flags, &self.psched).map_err(|error| (item, error))
    }

    /// The tree that stood before, or the kernel's default.
    fn put_back(&mut self, standing: &[Item]) -> Result<(), NetlinkError> {
        match remove_root(self.netlink, self.ifindex) {
            // The default is there already.
            Err(error) if error.errno() == Some(libc::ENOENT) => {}
            result => result?,
        }
        self.rebuild(false, standing).map_err(|(_, error)| error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str) -> Vec<Item> {
        text.lines().map(|line| line.trim().parse().unwrap()).collect()
    }

    const TREE: &str = "qdisc root handle 1: htb default 30
        class parent 1: classid 1:1 htb rate 100mbit
        class parent 1:1 classid 1:10 htb rate 10mbit
        class parent 1:1 classid 1:30 htb rate 1mbit
        qdisc parent 1:10 handle 10: pfifo limit 100";

    fn steps(new: &str) -> Option<Vec<String>> {
        let (old, new) = (items(TREE), items(new));
        let text = |step: &Step<'_>| match step {
            Step::Remove(item) => format!("- {item}"),
            Step::Add(item) => format!("+ {item}"),
            Step::Change(item) => format!("~ {item}"),
        };
        changes(&old, &new).map(|steps| steps.iter().map(text).collect())
    }

    #[test]
    fn nothing_is_done_for_the_same_tree() {
        assert_eq!(steps(TREE), Some(vec![]));
    }

    #[test]
    fn only_differences_are_carried_out() {
        let new = TREE
            .replace("classid 1:10 htb rate 10mbit", "classid 1:10 htb rate 12mbit")
            .replace("limit 100", "limit 50");
        assert_eq!(
            steps(&new).unwrap(),
            [
                "- qdisc parent 1:10 handle 10: pfifo limit 100",
                "~ class parent 1:1 classid 1:10 htb rate 12mbit",
                "+ qdisc parent 1:10 handle 10: pfifo limit 50",
            ]
        );
    }

    #[test]
    fn a_class_takes_its_discipline_along() {
        let new = "qdisc root handle 1: htb default 30
            class parent 1: classid 1:1 htb rate 100mbit
            class parent 1:1 classid 1:30 htb rate 1mbit
            class parent 1:1 classid 1:40 htb rate 1mbit";
        assert_eq!(
            steps(new).unwrap(),
            [
                "- class parent 1:1 classid 1:10 htb rate 10mbit",
                "+ class parent 1:1 classid 1:40 htb rate 1mbit"
            ]
        );
    }

    #[test]
    fn another_root_or_parent_makes_the_tree_anew() {
        assert_eq!(steps(&TREE.replace("default 30", "default 10")), None);
        assert_eq!(
            steps(&TREE.replace("parent 1:1 classid 1:30", "parent 1: classid 1:30")),
            None
        );
        assert_eq!(steps("qdisc root netem delay 1s"), None);
    }
}
