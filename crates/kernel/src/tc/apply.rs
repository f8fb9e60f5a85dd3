//! A device's disciplines and classes are made what they should be: all of them, or none.

use fielato_qdisc::spec::{HostFairness, LinkLayer};
use fielato_qdisc::{Class, Handle, Item, Parent, Qdisc, QdiscKind};

use super::attributes::{find, u32_at};
use super::error::TcError;
use super::message::{
    HEADER_LEN, NLM_F_CREATE, NLM_F_EXCL, ROOT, TCA_KIND, classes, number, parent_number, qdiscs, remove, remove_root, set,
};
use super::node::{Node, nodes};
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
/// with no items the kernel's default comes back. A filter among them is refused ([`TcError::Filter`]).
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
    let mut standing = Vec::new();
    if let Previous::Applied(previous) = previous
        && ours
    {
        standing = nodes(previous)?;
        if !stands(netlink, ifindex, &standing)? {
            standing.clear();
        }
    }
    let nodes = nodes(items)?;
    if standing == nodes {
        return Ok(());
    }
    check_parents(&nodes)?;
    check_hosts(&nodes)?;
    check_link_layers(&nodes)?;
    let probed = probe(&nodes, &psched)?;

    let device = &mut Device {
        netlink,
        ifindex,
        psched,
    };
    let changed = match changes(&standing, &nodes) {
        Some(changes) => device.carry_out(&changes),
        None => device.rebuild(ours, &nodes),
    };
    let Err((failed, source)) = changed else { return Ok(()) };
    let item = failed.to_string();
    match (device.put_back(&standing), failed) {
        // Every parent stands, so that "no such entry" can only mean the discipline itself. (After a trial it isn't that.)
        (Ok(()), Node::Qdisc(qdisc)) if probed == Probed::Nowhere && source.errno() == Some(libc::ENOENT) => {
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
fn check_hosts(nodes: &[Node<'_>]) -> Result<(), TcError> {
    let asks = |node: &&Node<'_>| match node {
        Node::Qdisc(Qdisc {
            kind: QdiscKind::FqCodel(fq_codel),
            ..
        }) => matches!(fq_codel.hosts, Some(HostFairness::Src | HostFairness::Dst)),
        _ => false,
    };
    match nodes.iter().find(asks) {
        Some(node) => Err(TcError::KnowsNoHosts { item: node.to_string() }),
        None => Ok(()),
    }
}

/// Nobody asks for lengths that the kernel can't compute.
fn check_link_layers(nodes: &[Node<'_>]) -> Result<(), TcError> {
    let asks = |node: &&Node<'_>| match node {
        Node::Qdisc(qdisc) => qdisc.stab.is_some_and(|stab| stab.linklayer == LinkLayer::Wireguard),
        Node::Class(_) => false,
    };
    match nodes.iter().find(asks) {
        Some(node) => Err(TcError::KnowsNoWireguard { item: node.to_string() }),
        None => Ok(()),
    }
}

/// Every parent is made before its children.
fn check_parents(nodes: &[Node<'_>]) -> Result<(), TcError> {
    let mut made = std::collections::HashSet::new();
    for &node in nodes {
        let (parent, makes) = match node {
            Node::Qdisc(qdisc) => (qdisc.parent, qdisc.handle),
            Node::Class(class) => (Parent::Class(class.parent), Some(class.classid)),
        };
        if let Parent::Class(parent) = parent
            && !made.contains(&parent)
        {
            return Err(TcError::NoParent {
                item: node.to_string(),
                parent,
            });
        }
        made.extend(makes);
        // tbf and netem have one class each, without being told.
        if let (Node::Qdisc(qdisc), Some(handle)) = (node, makes)
            && matches!(qdisc.kind, QdiscKind::Tbf(_) | QdiscKind::Netem(_))
        {
            made.insert(Handle { minor: 1, ..handle });
        }
        // prio's bands are classes.
        if let (Node::Qdisc(qdisc), Some(handle)) = (node, makes)
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

/// Whether every one of `nodes` is on the device, so that only differences need to be carried out.
fn stands(netlink: &mut Netlink, ifindex: u32, nodes: &[Node<'_>]) -> Result<bool, NetlinkError> {
    let entries = |bodies: Vec<Vec<u8>>| -> Vec<Entry> { bodies.into_iter().map(Entry::new).collect() };
    let qdiscs = entries(qdiscs(netlink, ifindex)?);
    let classes = entries(classes(netlink, ifindex)?);
    let class_numbers: std::collections::HashMap<u32, u32> = classes.iter().map(|entry| (entry.handle, entry.parent)).collect();
    Ok(nodes.iter().all(|node| match node {
        Node::Qdisc(qdisc) => qdiscs.iter().any(|entry| entry.is_qdisc(qdisc)),
        Node::Class(class) => {
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
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step<'a> {
    Remove(Node<'a>),
    Add(Node<'a>),
    Change(Node<'a>),
}

/// The steps from `old` to `new`, or `None` when the tree must be made anew.
fn changes<'a>(old: &[Node<'a>], new: &[Node<'a>]) -> Option<Vec<Step<'a>>> {
    let (old_root, new_root) = (root(old)?, root(new)?);
    if old_root != new_root {
        return None;
    }
    let (old_tree, new_tree) = (Tree::new(old), Tree::new(new));
    let mut steps = Vec::new();
    // Leaves first: a class with children can't be removed.
    for &node in old.iter().rev() {
        match node {
            Node::Class(class) => match new_tree.classes.get(&class.classid) {
                None => steps.push(Step::Remove(node)),
                Some(new) if new.parent != class.parent => return None,
                Some(_) => {}
            },
            Node::Qdisc(qdisc) => {
                // A class takes its discipline along.
                let stays = matches!(qdisc.parent, Parent::Class(class) if new_tree.classes.contains_key(&class));
                if stays && new_tree.qdiscs.get(&qdisc.parent) != Some(&qdisc) {
                    steps.push(Step::Remove(node));
                }
            }
        }
    }
    for &node in new {
        match node {
            Node::Class(class) => match old_tree.classes.get(&class.classid) {
                None => steps.push(Step::Add(node)),
                Some(old) if *old != class => steps.push(Step::Change(node)),
                Some(_) => {}
            },
            Node::Qdisc(qdisc) if old_tree.qdiscs.get(&qdisc.parent) != Some(&qdisc) => steps.push(Step::Add(node)),
            Node::Qdisc(_) => {}
        }
    }
    Some(steps)
}

fn root<'a>(nodes: &[Node<'a>]) -> Option<&'a Qdisc> {
    nodes.iter().find_map(|node| match *node {
        Node::Qdisc(qdisc) if qdisc.parent == Parent::Root => Some(qdisc),
        _ => None,
    })
}

/// Nodes by what they are found by.
struct Tree<'a> {
    qdiscs: std::collections::HashMap<Parent, &'a Qdisc>,
    classes: std::collections::HashMap<Handle, &'a Class>,
}

impl<'a> Tree<'a> {
    fn new(nodes: &[Node<'a>]) -> Self {
        let mut tree = Tree {
            qdiscs: Default::default(),
            classes: Default::default(),
        };
        for &node in nodes {
            match node {
                Node::Qdisc(qdisc) => drop(tree.qdiscs.insert(qdisc.parent, qdisc)),
                Node::Class(class) => drop(tree.classes.insert(class.classid, class)),
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
    fn carry_out<'a>(&mut self, steps: &[Step<'a>]) -> Result<(), (Node<'a>, NetlinkError)> {
        for step in steps {
            match *step {
                Step::Remove(node) => remove(self.netlink, self.ifindex, node).map_err(|error| (node, error))?,
                Step::Add(node) => self.set(node, NLM_F_CREATE | NLM_F_EXCL)?,
                Step::Change(node) => self.set(node, 0)?,
            }
        }
        Ok(())
    }

    fn rebuild<'a>(&mut self, ours: bool, nodes: &[Node<'a>]) -> Result<(), (Node<'a>, NetlinkError)> {
        if let (true, Some(&first)) = (ours, nodes.first()) {
            remove_root(self.netlink, self.ifindex).map_err(|error| (first, error))?;
        }
        for &node in nodes {
            self.set(node, NLM_F_CREATE | NLM_F_EXCL)?;
        }
        Ok(())
    }

    fn set<'a>(&mut self, node: Node<'a>, flags: u16) -> Result<(), (Node<'a>, NetlinkError)> {
        set(self.netlink, self.ifindex, node, flags, &self.psched).map_err(|error| (node, error))
    }

    /// The tree that stood before, or the kernel's default.
    fn put_back(&mut self, standing: &[Node<'_>]) -> Result<(), NetlinkError> {
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
            Step::Remove(node) => format!("- {node}"),
            Step::Add(node) => format!("+ {node}"),
            Step::Change(node) => format!("~ {node}"),
        };
        changes(&nodes(&old).unwrap(), &nodes(&new).unwrap()).map(|steps| steps.iter().map(text).collect())
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
