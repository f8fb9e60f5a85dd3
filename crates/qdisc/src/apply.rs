//! From what is written to what runs: validation, and a tree rebuilt around the queues that stay.

use std::collections::{HashMap, HashSet};

use crate::discipline::{Environment, Fifo, Node, Queued, Running};
use crate::item::Item;
use crate::packet::Packet;
use crate::spec::{Class, Handle, Parent, Qdisc, QdiscKind};
use crate::stats::Counters;

/// Disciplines within disciplines: the kernel allows as many (`check_loop` in net/sched/sch_api.c).
const MAX_NESTING: usize = 8;

/// Classes within classes (`TC_HTB_MAXDEPTH`).
const MAX_CLASSES: usize = 8;

/// Why items can't be applied. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// No discipline hangs at the root.
    #[error("no discipline hangs at `root`: add one, such as `root handle 1: htb`, above the others")]
    NoRoot,
    /// Two disciplines at one place.
    #[error("two disciplines hang at `{0}`: remove one")]
    PlaceTaken(Parent),
    /// One handle for two disciplines or classes.
    #[error("`{0}` is given twice: handles and class identifiers are unique on a device")]
    HandleTaken(Handle),
    /// A place that does not exist.
    #[error("`{0}` hangs at `{1}`, which does not exist or can't hold it: add the class first")]
    NoSuchParent(String, Handle),
    /// A kind that the user-space engine does not run.
    #[error("{0} does not run in the user-space engine: use {1} there, or engine = \"kernel\"")]
    Unsupported(&'static str, &'static str),
    /// A class whose parents lead back to itself, or too far.
    #[error("class `{0}` lies too deep: at most {MAX_CLASSES} classes from htb down to it")]
    ClassTooDeep(Handle),
    /// Too many disciplines within each other.
    #[error("`{0}` is nested too deep: at most {MAX_NESTING} disciplines within each other")]
    TooDeep(Handle),
}

/// Items in the order in which they are needed.
#[derive(Default)]
pub(crate) struct Wanted<'a> {
    qdiscs: HashMap<Parent, &'a Qdisc>,
    classes: HashMap<u16, Vec<&'a Class>>,
}

impl<'a> Wanted<'a> {
    /// Sorts and checks `items`.
    pub fn new(items: &'a [Item]) -> Result<Self, ApplyError> {
        let mut wanted = Wanted::default();
        let mut handles = HashSet::new();
        for item in items {
            match item {
                Item::Qdisc(qdisc) => {
                    runs(&qdisc.kind)?;
                    if qdisc.handle.is_some_and(|handle| !handles.insert(handle)) {
                        return Err(ApplyError::HandleTaken(qdisc.handle.unwrap_or_default()));
                    }
                    if wanted.qdiscs.insert(qdisc.parent, qdisc).is_some() {
                        return Err(ApplyError::PlaceTaken(qdisc.parent));
                    }
                }
                Item::Class(class) => {
                    if !handles.insert(class.classid) {
                        return Err(ApplyError::HandleTaken(class.classid));
                    }
                    wanted.classes.entry(class.classid.major).or_default().push(class);
                }
            }
        }
        if !items.is_empty() && !wanted.qdiscs.contains_key(&Parent::Root) {
            return Err(ApplyError::NoRoot);
        }
        wanted.check_places()?;
        wanted.sort_classes()?;
        Ok(wanted)
    }

    /// Every class must belong to an htb, directly or through other classes; parents are put before their children.
    fn sort_classes(&mut self) -> Result<(), ApplyError> {
        let htbs: HashSet<u16> = self
            .qdiscs
            .values()
            .filter(|qdisc| matches!(qdisc.kind, QdiscKind::Htb { .. }))
            .filter_map(|qdisc| qdisc.handle.map(|handle| handle.major))
            .collect();
        for (major, classes) in &mut self.classes {
            let parents: HashMap<Handle, Handle> = classes.iter().map(|class| (class.classid, class.parent)).collect();
            let depth = |class: &Class| {
                let mut at = class.classid;
                for depth in 1..=MAX_CLASSES {
                    match parents.get(&at) {
                        Some(parent) if parent.minor == 0 && parent.major == *major && htbs.contains(major) => return Ok(depth),
                        Some(parent) => at = *parent,
                        None => return Err(ApplyError::NoSuchParent(class.to_string(), at)),
                    }
                }
                Err(ApplyError::ClassTooDeep(class.classid))
            };
            let mut sorted = classes
                .iter()
                .map(|class| depth(class).map(|depth| (depth, *class)))
                .collect::<Result<Vec<_>, _>>()?;
            sorted.sort_by_key(|(depth, _)| *depth);
            *classes = sorted.into_iter().map(|(_, class)| class).collect();
        }
        Ok(())
    }

    /// Every discipline must hang on something that hangs on the root.
    fn check_places(&self) -> Result<(), ApplyError> {
        let inner: HashSet<Handle> = self.classes.values().flatten().map(|class| class.parent).collect();
        let leaves: HashSet<Handle> = self
            .classes
            .values()
            .flatten()
            .map(|class| class.classid)
            .filter(|class| !inner.contains(class))
            .collect();
        let mut below: HashMap<u16, Vec<(Handle, &Qdisc)>> = HashMap::new();
        for (parent, qdisc) in &self.qdiscs {
            if let Parent::Class(class) = parent {
                below.entry(class.major).or_default().push((*class, qdisc));
            }
        }
        let mut next: Vec<(&Qdisc, usize)> = self.qdiscs.get(&Parent::Root).map(|root| (*root, 1)).into_iter().collect();
        while let Some((qdisc, depth)) = next.pop() {
            let handle = qdisc.handle.unwrap_or_default();
            if depth > MAX_NESTING {
                return Err(ApplyError::TooDeep(handle));
            }
            for (class, child) in below.remove(&handle.major).unwrap_or_default() {
                if !holds(&qdisc.kind, class, &leaves) {
                    return Err(ApplyError::NoSuchParent(child.to_string(), class));
                }
                next.push((child, depth + 1));
            }
        }
        match below.values().flatten().next() {
            Some((class, qdisc)) => Err(ApplyError::NoSuchParent(qdisc.to_string(), *class)),
            None => Ok(()),
        }
    }
}

/// Whether a discipline of this kind has a class `class` that can hold a discipline; `leaves` are all htb's that have no children.
fn holds(kind: &QdiscKind, class: Handle, leaves: &HashSet<Handle>) -> bool {
    match kind {
        QdiscKind::Tbf(_) | QdiscKind::Netem(_) => class.minor == 1,
        QdiscKind::Htb { .. } => leaves.contains(&class),
        _ => false,
    }
}

/// Whether a kind runs here.
fn runs(kind: &QdiscKind) -> Result<(), ApplyError> {
    match kind {
        QdiscKind::Pfifo { .. }
        | QdiscKind::Bfifo { .. }
        | QdiscKind::Htb { .. }
        | QdiscKind::Tbf(_)
        | QdiscKind::FqCodel(_)
        | QdiscKind::Netem(_) => Ok(()),
        other => Err(ApplyError::Unsupported(other.name(), "fq_codel below htb")),
    }
}

/// Builds a tree from what is wanted and from the nodes that there are.
pub(crate) struct Builder<'a, P> {
    wanted: Wanted<'a>,
    environment: Environment,
    rng: &'a mut fastrand::Rng,
    /// The number for the next discipline that has no handle of its own.
    next_major: u16,
    /// What waited in queues that are no more.
    pub displaced: Vec<Queued<P>>,
}

impl<'a, P: Packet> Builder<'a, P> {
    pub fn new(wanted: Wanted<'a>, environment: Environment, rng: &'a mut fastrand::Rng) -> Self {
        Builder {
            wanted,
            environment,
            rng,
            next_major: 0x8000,
            displaced: Vec::new(),
        }
    }

    /// The root discipline: from `old`, if it is of the same kind and handle.
    pub fn root(&mut self, old: Option<Node<P>>) -> Node<P> {
        self.node(Parent::Root, old, &QdiscKind::Pfifo { limit: None })
    }

    /// The discipline in `class`: what is wanted there, else `default`.
    pub fn child(&mut self, class: Handle, old: Option<Node<P>>, default: &QdiscKind) -> Node<P> {
        self.node(Parent::Class(class), old, default)
    }

    /// The discipline in `class`, if one is wanted there.
    pub fn child_if_wanted(&mut self, class: Handle, old: Option<Node<P>>) -> Option<Node<P>> {
        if self.wanted.qdiscs.contains_key(&Parent::Class(class)) {
            return Some(self.child(class, old, &QdiscKind::Pfifo { limit: None }));
        }
        if let Some(old) = old {
            self.remove(old);
        }
        None
    }

    /// The wanted classes of a discipline.
    pub fn classes(&self, major: u16) -> Vec<&'a Class> {
        self.wanted.classes.get(&major).cloned().unwrap_or_default()
    }

    /// A discipline that goes away: what waits in it is kept for the new tree.
    pub fn remove(&mut self, mut old: Node<P>) {
        old.drain(&mut self.displaced);
    }

    /// What a new discipline may know.
    pub fn environment(&mut self) -> Environment {
        Environment {
            seed: self.rng.u64(..),
            ..self.environment.clone()
        }
    }

    fn node(&mut self, parent: Parent, old: Option<Node<P>>, default: &QdiscKind) -> Node<P> {
        let qdisc = self.wanted.qdiscs.get(&parent).copied();
        let kind = qdisc.map_or(default, |qdisc| &qdisc.kind);
        let environment = self.environment();
        let handle = qdisc.and_then(|qdisc| qdisc.handle);
        let same = |old: &Node<P>| {
            old.kind == kind.name()
                && (old.handle.major != 0) == qdisc.is_some()
                && handle.is_none_or(|handle| handle == old.handle)
        };
        let mut node = match old {
            Some(mut old) if same(&old) => {
                old.change(kind, &environment);
                old
            }
            old => {
                if let Some(old) = old {
                    self.remove(old);
                }
                let handle = match qdisc {
                    None => Handle::default(),
                    Some(_) => handle.unwrap_or_else(|| self.free_handle()),
                };
                // Kinds that don't run were refused before.
                let running = Running::new(kind, &environment)
                    .unwrap_or_else(|| Running::Fifo(Fifo::new(&QdiscKind::Pfifo { limit: None }, &environment)));
                Node {
                    handle,
                    parent,
                    kind: kind.name(),
                    counters: Counters::default(),
                    running,
                }
            }
        };
        node.reshape(self);
        node
    }

    /// A handle that nobody uses: the kernel takes them from 8001: on, too (`qdisc_alloc_handle`).
    fn free_handle(&mut self) -> Handle {
        let used: HashSet<u16> = self
            .wanted
            .qdiscs
            .values()
            .filter_map(|qdisc| qdisc.handle.map(|handle| handle.major))
            .collect();
        loop {
            self.next_major = self.next_major.wrapping_add(1).max(1);
            if !used.contains(&self.next_major) {
                return Handle {
                    major: self.next_major,
                    minor: 0,
                };
            }
        }
    }
}
