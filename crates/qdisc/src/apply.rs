//! From what is written to what runs: validation, and a tree rebuilt around the queues that stay.

use std::collections::{HashMap, HashSet};

use crate::discipline::{Environment, Fifo, Node, Queued, Running};
use crate::filter::Filters;
use crate::item::Item;
use crate::packet::Packet;
use crate::spec::{Class, Filter, Handle, Parent, Qdisc, QdiscKind};
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
    /// A filter whose class does not exist.
    #[error("filter `{0}` chooses `{1}`, which does not exist: add the class, or name another")]
    NoSuchClass(String, Handle),
    /// A filter where none is asked.
    #[error("filter `{0}` hangs at `{1}`, which asks no filters: htb, prio and sfq do, and htb's inner classes")]
    NoFilters(String, Handle),
    /// Too many disciplines within each other.
    #[error("`{0}` is nested too deep: at most {MAX_NESTING} disciplines within each other")]
    TooDeep(Handle),
}

/// Items in the order in which they are needed.
#[derive(Default)]
pub(crate) struct Wanted<'a> {
    qdiscs: HashMap<Parent, &'a Qdisc>,
    classes: HashMap<u16, Vec<&'a Class>>,
    filters: HashMap<Handle, Vec<&'a Filter>>,
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
                Item::Filter(filter) => wanted.filters.entry(filter.parent).or_default().push(filter),
            }
        }
        if !items.is_empty() && !wanted.qdiscs.contains_key(&Parent::Root) {
            return Err(ApplyError::NoRoot);
        }
        wanted.check_places()?;
        wanted.check_classes()?;
        wanted.check_filters()?;
        Ok(wanted)
    }

    /// Every class must belong to an htb, directly or through other classes.
    fn check_classes(&self) -> Result<(), ApplyError> {
        let htbs: HashSet<u16> = self
            .qdiscs
            .values()
            .filter(|qdisc| matches!(qdisc.kind, QdiscKind::Htb { .. }))
            .filter_map(|qdisc| qdisc.handle.map(|handle| handle.major))
            .collect();
        let parents: HashMap<Handle, Handle> = self
            .classes
            .values()
            .flatten()
            .map(|class| (class.classid, class.parent))
            .collect();
        for class in self.classes.values().flatten() {
            let mut at = class.classid;
            let mut depth = 0;
            while at.minor != 0 {
                depth += 1;
                if depth > MAX_CLASSES {
                    return Err(ApplyError::ClassTooDeep(class.classid));
                }
                match parents.get(&at) {
                    Some(parent) => at = *parent,
                    None => return Err(ApplyError::NoSuchParent(class.to_string(), at)),
                }
            }
            if at.major != class.classid.major || !htbs.contains(&at.major) {
                return Err(ApplyError::NoSuchParent(class.to_string(), at));
            }
        }
        Ok(())
    }

    /// Every filter must be where filters are asked, and choose what exists.
    fn check_filters(&self) -> Result<(), ApplyError> {
        let by_handle: HashMap<Handle, &Qdisc> = self
            .qdiscs
            .values()
            .filter_map(|qdisc| qdisc.handle.map(|handle| (handle, *qdisc)))
            .collect();
        let mut classes = HashSet::new();
        let mut inner = HashSet::new();
        for class in self.classes.values().flatten() {
            classes.insert(class.classid);
            inner.insert(class.parent);
        }
        for filter in self.filters.values().flatten() {
            let discipline = Handle {
                minor: 0,
                ..filter.parent
            };
            let kind = by_handle.get(&discipline).map(|qdisc| &qdisc.kind);
            let asked = match kind {
                Some(QdiscKind::Htb { .. }) => filter.parent.minor == 0 || inner.contains(&filter.parent),
                Some(QdiscKind::Prio(_) | QdiscKind::Sfq(_)) => filter.parent.minor == 0,
                _ => false,
            };
            if !asked {
                return Err(ApplyError::NoFilters(filter.to_string(), filter.parent));
            }
            let Some(class) = filter.classid else { continue };
            let exists = match kind {
                Some(QdiscKind::Htb { .. }) => class == discipline || classes.contains(&class),
                Some(QdiscKind::Prio(prio)) => (1..=u16::from(prio.bands)).contains(&class.minor),
                _ => class.minor > 0,
            };
            if class.major != discipline.major || !exists {
                return Err(ApplyError::NoSuchClass(filter.to_string(), class));
            }
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
        QdiscKind::Prio(prio) => (1..=u16::from(prio.bands)).contains(&class.minor),
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
        | QdiscKind::Prio(_)
        | QdiscKind::Sfq(_)
        | QdiscKind::Codel(_)
        | QdiscKind::FqCodel(_)
        | QdiscKind::Netem(_) => Ok(()),
        QdiscKind::Cake(_) => Err(ApplyError::Unsupported(kind.name(), "fq_codel below htb")),
    }
}

/// Whether a discipline can go on with other parameters: the sizes of sfq's tables are for its life, in the kernel, too.
fn can_become(old: &QdiscKind, new: &QdiscKind) -> bool {
    match (old, new) {
        (QdiscKind::Sfq(old), QdiscKind::Sfq(new)) => (old.depth, old.flows, old.divisor) == (new.depth, new.flows, new.divisor),
        _ => old.name() == new.name(),
    }
}

/// What one build leaves to the next.
pub(crate) struct BuilderState {
    pub rng: fastrand::Rng,
    /// The number of the last discipline that had no handle of its own.
    last_major: u16,
}

impl BuilderState {
    pub fn new(seed: u64) -> Self {
        BuilderState {
            rng: fastrand::Rng::with_seed(seed),
            last_major: 0x8000,
        }
    }
}

/// Builds a tree from what is wanted and from the nodes that there are.
pub(crate) struct Builder<'a, P> {
    wanted: Wanted<'a>,
    environment: Environment,
    state: &'a mut BuilderState,
    used: HashSet<u16>,
    /// What waited in queues that are no more.
    pub displaced: Vec<Queued<P>>,
}

impl<'a, P: Packet> Builder<'a, P> {
    pub fn new(wanted: Wanted<'a>, environment: Environment, state: &'a mut BuilderState) -> Self {
        let handles = wanted.qdiscs.values().filter_map(|qdisc| qdisc.handle);
        Builder {
            used: handles.map(|handle| handle.major).collect(),
            wanted,
            environment,
            state,
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

    /// The wanted filters of a discipline or class.
    pub fn filters(&self, parent: Handle) -> Filters {
        Filters::new(self.wanted.filters.get(&parent).into_iter().flatten().copied())
    }

    /// A discipline that goes away: what waits in it is kept for the new tree.
    pub fn remove(&mut self, mut old: Node<P>) {
        old.drain(&mut self.displaced);
    }

    /// What a new discipline may know.
    pub fn environment(&mut self) -> Environment {
        Environment {
            seed: self.state.rng.u64(..),
            ..self.environment.clone()
        }
    }

    fn node(&mut self, parent: Parent, old: Option<Node<P>>, default: &QdiscKind) -> Node<P> {
        let qdisc = self.wanted.qdiscs.get(&parent).copied();
        let kind = qdisc.map_or(default, |qdisc| &qdisc.kind);
        let environment = self.environment();
        let handle = qdisc.and_then(|qdisc| qdisc.handle);
        let same = |old: &Node<P>| {
            can_become(&old.spec, kind)
                && (old.handle.major != 0) == qdisc.is_some()
                && handle.is_none_or(|handle| handle == old.handle)
        };
        let mut node = match old {
            Some(mut old) if same(&old) => {
                if old.spec != *kind {
                    old.change(kind, &environment);
                    old.spec = kind.clone();
                }
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
                    spec: kind.clone(),
                    shown: kind.clone(),
                    direct_qlen: environment.txqueuelen.max(2),
                    stab: None,
                    counters: Counters::default(),
                    running,
                }
            }
        };
        node.parent = parent;
        node.stab = qdisc.and_then(|qdisc| qdisc.stab);
        node.shown = kind.with_defaults(environment.txqueuelen, environment.mtu, environment.hosts);
        node.reshape(self);
        node
    }

    /// A handle that nobody uses: the kernel takes them from 8001: on, too (`qdisc_alloc_handle`).
    fn free_handle(&mut self) -> Handle {
        loop {
            let state = &mut *self.state;
            state.last_major = state
                .last_major
                .checked_add(1)
                .filter(|major| *major < 0xffff)
                .unwrap_or(0x8001);
            if self.used.insert(state.last_major) {
                return Handle {
                    major: state.last_major,
                    minor: 0,
                };
            }
        }
    }
}
