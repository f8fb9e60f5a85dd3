//! `fielato tc`: tc's commands as edits of what hangs on a device.
//!
//! Both engines make a device exactly what a list of items says and keep what stays the same, so a command is an edit of that
//! list. It follows what tc says of `add`, `change`, `replace` and `delete` (man 8 tc).

use fielato_policy::plan::Shaping;
use fielato_qdisc::units::HANDLE;
use fielato_qdisc::{Class, Filter, Handle, Item, Parent, ParseError, Qdisc};

/// What a command is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    /// `tc qdisc`
    Qdisc,
    /// `tc class`
    Class,
    /// `tc filter`
    Filter,
}

/// A tc command.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// `tc [-s] [-j] OBJECT show [dev DEV]`
    Show {
        /// What is shown.
        object: Object,
        /// Of which device; all that the hub has when none is named.
        dev: Option<String>,
        /// With statistics (`-s`).
        statistics: bool,
        /// As JSON (`-j`).
        json: bool,
    },
    /// A command that changes something.
    Change(Change),
}

/// What changes on a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The device.
    pub dev: String,
    /// What happens there.
    pub edit: Edit,
}

/// What happens to the items of a device.
#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    /// An item comes, or takes another's place.
    Put(How, Item),
    /// `tc qdisc del`: the discipline at this place, or with this handle, goes with all below it.
    RemoveQdisc {
        /// `root` or `parent CLASSID`.
        parent: Option<Parent>,
        /// `handle MAJOR:`.
        handle: Option<Handle>,
    },
    /// `tc class del classid CLASSID`
    RemoveClass(Handle),
    /// `tc filter del parent HANDLE [prio PRIO]`: those at the discipline, or only those of one priority.
    RemoveFilters {
        /// The discipline.
        parent: Handle,
        /// The priority.
        prio: Option<u16>,
    },
}

/// tc's three ways to bring an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// There must be none at its place.
    Add,
    /// There must be one of the same kind, which gets other parameters.
    Change,
    /// Whatever is there gives way.
    Replace,
}

/// Words that are no tc command, or one that can't be carried out.
#[derive(Debug, thiserror::Error)]
pub enum TcError {
    /// Not tc's words.
    #[error("{0}\n(as in `fielato tc qdisc add dev wg0 root netem delay 500ms`, `fielato tc -s qdisc show dev wg0`)")]
    Words(String),
    /// An item's words are wrong; the place is underlined.
    #[error("{}", underlined(.words, .error))]
    Item {
        /// What follows the device.
        words: String,
        /// What is wrong with it.
        error: ParseError,
    },
    /// There is something at its place.
    #[error("{0} hangs there already; `replace` puts another in its place, `change` gives it other parameters")]
    Taken(String),
    /// There is nothing to change or to delete.
    #[error("there is no {0}; `fielato tc qdisc show`, `fielato tc class show` and `fielato tc filter show` list what there is")]
    Missing(String),
    /// `change` can't make another discipline of it.
    #[error("`change` cannot make a {new} of {old}; use `replace`")]
    OtherKind {
        /// What is there.
        old: &'static str,
        /// What was wanted.
        new: &'static str,
    },
    /// The class has classes of its own.
    #[error("class {0} has classes below it; delete these first")]
    HasChildren(Handle),
}

fn underlined(words: &str, error: &ParseError) -> String {
    let before = words.get(..error.offset).unwrap_or(words).chars().count();
    let wide = words
        .get(error.offset..)
        .and_then(|rest| rest.split_ascii_whitespace().next())
        .map_or(1, |word| word.chars().count());
    format!("{error}\n  {words}\n  {}{}", " ".repeat(before), "^".repeat(wide))
}

impl Command {
    /// Reads the words after `tc`.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(words: &[String]) -> Result<Self, TcError> {
        let wrong = |message: String| Err(TcError::Words(message));
        let mut words = words.iter().map(String::as_str).peekable();
        let (mut statistics, mut json) = (false, false);
        while let Some(option) = words.next_if(|word| word.starts_with('-')) {
            match option {
                "-s" | "-statistics" | "--statistics" => statistics = true,
                "-j" | "-json" | "--json" => json = true,
                // More than we have, and for nobody's eyes but tc's own; what is printed says it anyway.
                "-d" | "-details" | "-p" | "-pretty" | "-n" | "-nm" => {}
                other => return wrong(format!("tc's option {other} is not known here; -s and -j are")),
            }
        }
        let object = match words.next() {
            Some("qdisc" | "q") => Object::Qdisc,
            Some("class" | "c") => Object::Class,
            Some("filter" | "f") => Object::Filter,
            Some(other) => return wrong(format!("tc {other} is not known here; qdisc, class and filter are")),
            None => return wrong("what of: qdisc, class or filter?".to_owned()),
        };
        let verb = words.next().unwrap_or("show");
        let mut dev = None;
        let mut rest: Vec<&str> = Vec::new();
        while let Some(word) = words.next() {
            match word {
                "dev" if dev.is_none() => match words.next() {
                    Some(name) => dev = Some(name.to_owned()),
                    None => return wrong("`dev` wants the name of a device".to_owned()),
                },
                word => rest.push(word),
            }
        }
        let how = match verb {
            "show" | "list" | "ls" | "s" => {
                return Ok(Self::Show {
                    object,
                    dev,
                    statistics,
                    json,
                });
            }
            "add" | "a" => Some(How::Add),
            "change" => Some(How::Change),
            "replace" => Some(How::Replace),
            "del" | "delete" | "d" => None,
            other => return wrong(format!("tc cannot {other}; it can add, change, replace, delete and show")),
        };
        let Some(dev) = dev else {
            return wrong("which device? `dev` and its name are missing".to_owned());
        };
        let edit = match how {
            Some(how) => Edit::Put(how, item(object, rest.join(" "))?),
            None => removal(object, &rest)?,
        };
        Ok(Self::Change(Change { dev, edit }))
    }
}

fn item(object: Object, words: String) -> Result<Item, TcError> {
    let read = match object {
        Object::Qdisc => fielato_qdisc::qdisc(&words).map(Item::Qdisc),
        Object::Class => fielato_qdisc::class(&words).map(Item::Class),
        Object::Filter => fielato_qdisc::filter(&words).map(Item::Filter),
    };
    read.map_err(|error| TcError::Item { words, error })
}

/// Reads what names the item that goes. What follows (the kind, its parameters) says nothing more.
fn removal(object: Object, words: &[&str]) -> Result<Edit, TcError> {
    let (mut parent, mut handle, mut classid, mut prio) = (None, None, None, None);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || {
            let value = words.next().copied().unwrap_or_default();
            (HANDLE.read)(value).ok_or_else(|| TcError::Words(format!("`{word}` wants {}, not `{value}`", HANDLE.expected)))
        };
        match *word {
            "root" => parent = Some(Parent::Root),
            "parent" => parent = Some(Parent::Class(value()?)),
            "handle" => handle = Some(value()?),
            "classid" => classid = Some(value()?),
            "prio" | "pref" => prio = words.next().and_then(|word| word.parse().ok()),
            _ => break,
        }
    }
    match (object, parent, handle, classid) {
        (Object::Qdisc, None, None, _) => Err(TcError::Words(
            "which discipline? name it by `root`, `parent` or `handle`".into(),
        )),
        (Object::Qdisc, parent, handle, _) => Ok(Edit::RemoveQdisc { parent, handle }),
        (Object::Class, _, _, Some(classid)) => Ok(Edit::RemoveClass(classid)),
        (Object::Class, _, _, None) => Err(TcError::Words("which class? name it by `classid MAJOR:MINOR`".into())),
        (Object::Filter, Some(Parent::Class(parent)), _, _) => Ok(Edit::RemoveFilters { parent, prio }),
        (Object::Filter, ..) => Err(TcError::Words("whose filters? name the discipline by `parent MAJOR:`".into())),
    }
}

impl Change {
    /// What all devices have after the change.
    ///
    /// # Errors
    /// When the device has no such item, or one too many.
    pub fn apply(&self, shaping: &[Shaping]) -> Result<Vec<Shaping>, TcError> {
        let (own, mut others): (Vec<Shaping>, Vec<Shaping>) =
            shaping.iter().cloned().partition(|shaping| shaping.dev == self.dev);
        let mut items: Vec<Item> = own.into_iter().map(|shaping| shaping.item).collect();
        self.edit.apply(&mut items)?;
        others.extend(items.into_iter().map(|item| Shaping {
            dev: self.dev.clone(),
            item,
        }));
        Ok(others)
    }
}

impl Edit {
    fn apply(&self, items: &mut Vec<Item>) -> Result<(), TcError> {
        match self {
            Self::Put(how, Item::Qdisc(qdisc)) => put_qdisc(items, *how, qdisc),
            Self::Put(how, Item::Class(class)) => put_class(items, *how, class),
            Self::Put(how, Item::Filter(filter)) => put_filter(items, *how, filter),
            Self::RemoveQdisc { parent, handle } => {
                let is_it = |qdisc: &Qdisc| {
                    parent.is_none_or(|parent| qdisc.parent == parent) && (handle.is_none() || qdisc.handle == *handle)
                };
                let Some(found) = qdiscs(items).find(|qdisc| is_it(qdisc)).cloned() else {
                    return Err(TcError::Missing("such discipline".into()));
                };
                remove_below(items, found.handle);
                items.retain(|item| !matches!(item, Item::Qdisc(qdisc) if *qdisc == found));
                Ok(())
            }
            Self::RemoveClass(classid) => remove_class(items, *classid),
            Self::RemoveFilters { parent, prio } => {
                let before = items.len();
                items.retain(|item| {
                    let Item::Filter(filter) = item else { return true };
                    filter.parent != *parent || prio.is_some() && filter.prio != *prio
                });
                match items.len() < before {
                    true => Ok(()),
                    false => Err(TcError::Missing(format!("such filter at {parent}"))),
                }
            }
        }
    }
}

fn qdiscs(items: &[Item]) -> impl Iterator<Item = &Qdisc> {
    items.iter().filter_map(|item| match item {
        Item::Qdisc(qdisc) => Some(qdisc),
        Item::Class(_) | Item::Filter(_) => None,
    })
}

fn put_qdisc(items: &mut Vec<Item>, how: How, new: &Qdisc) -> Result<(), TcError> {
    let place = items
        .iter()
        .position(|item| matches!(item, Item::Qdisc(qdisc) if qdisc.parent == new.parent));
    let old = place.and_then(|place| match items.get(place) {
        Some(Item::Qdisc(qdisc)) => Some((place, qdisc.clone())),
        _ => None,
    });
    match (how, old) {
        (How::Add, Some((_, old))) => Err(TcError::Taken(format!("`{old}`"))),
        (How::Change, None) => Err(TcError::Missing(format!("discipline at `{}`", new.parent))),
        (How::Change, Some((_, old))) if old.kind.name() != new.kind.name() => Err(TcError::OtherKind {
            old: old.kind.name(),
            new: new.kind.name(),
        }),
        (_, Some((place, old))) => {
            let handle = new.handle.or(old.handle);
            let stays = old.kind.name() == new.kind.name() && handle == old.handle;
            if let Some(item) = items.get_mut(place) {
                // A discipline that stays itself keeps its handle, and what hangs below it.
                let handle = if stays { handle } else { new.handle };
                *item = Item::Qdisc(Qdisc { handle, ..new.clone() });
            }
            if !stays {
                remove_below(items, old.handle);
            }
            Ok(())
        }
        (_, None) => {
            items.push(Item::Qdisc(new.clone()));
            Ok(())
        }
    }
}

fn put_class(items: &mut Vec<Item>, how: How, new: &Class) -> Result<(), TcError> {
    let old = items
        .iter_mut()
        .find(|item| matches!(item, Item::Class(class) if class.classid == new.classid));
    match (how, old) {
        (How::Add, Some(_)) => Err(TcError::Taken(format!("class {}", new.classid))),
        (How::Change, None) => Err(TcError::Missing(format!("class {}", new.classid))),
        (_, Some(item)) => {
            *item = Item::Class(new.clone());
            Ok(())
        }
        (_, None) => {
            items.push(Item::Class(new.clone()));
            Ok(())
        }
    }
}

/// tc knows a filter again by handle; here it is by discipline, priority and protocol.
fn put_filter(items: &mut Vec<Item>, how: How, new: &Filter) -> Result<(), TcError> {
    let is_it = |filter: &Filter| {
        new.prio.is_some() && (filter.parent, filter.prio, &filter.protocol) == (new.parent, new.prio, &new.protocol)
    };
    let old = items
        .iter_mut()
        .find(|item| matches!(item, Item::Filter(filter) if is_it(filter)));
    match (how, old) {
        (How::Change, None) => Err(TcError::Missing(format!("such filter at {}", new.parent))),
        (How::Change | How::Replace, Some(item)) => {
            *item = Item::Filter(new.clone());
            Ok(())
        }
        (How::Add | How::Replace, _) => {
            items.push(Item::Filter(new.clone()));
            Ok(())
        }
    }
}

fn remove_class(items: &mut Vec<Item>, classid: Handle) -> Result<(), TcError> {
    let is_it = |item: &Item| matches!(item, Item::Class(class) if class.classid == classid);
    if !items.iter().any(is_it) {
        return Err(TcError::Missing(format!("class {classid}")));
    }
    if items
        .iter()
        .any(|item| matches!(item, Item::Class(class) if class.parent == classid))
    {
        return Err(TcError::HasChildren(classid));
    }
    let leaf = qdiscs(items).find(|qdisc| qdisc.parent == Parent::Class(classid)).cloned();
    if let Some(leaf) = leaf {
        remove_below(items, leaf.handle);
    }
    items.retain(|item| match item {
        Item::Class(class) => class.classid != classid,
        Item::Qdisc(qdisc) => qdisc.parent != Parent::Class(classid),
        Item::Filter(filter) => filter.classid != Some(classid),
    });
    Ok(())
}

/// Removes what hangs below a discipline: its classes and filters, and disciplines in its classes with what is below them.
fn remove_below(items: &mut Vec<Item>, handle: Option<Handle>) {
    let mut going: Vec<u16> = handle.into_iter().map(|handle| handle.major).collect();
    while let Some(major) = going.pop() {
        items.retain(|item| match item {
            Item::Qdisc(qdisc) => match qdisc.parent {
                Parent::Class(class) if class.major == major => {
                    going.extend(qdisc.handle.map(|handle| handle.major));
                    false
                }
                _ => true,
            },
            Item::Class(class) => class.classid.major != major,
            Item::Filter(filter) => filter.parent.major != major,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, TcError> {
        let words: Vec<String> = line.split_ascii_whitespace().map(str::to_owned).collect();
        Command::parse(&words)
    }

    fn told(shaping: &[Shaping]) -> Vec<String> {
        let text = |shaping: &Shaping| match &shaping.item {
            Item::Qdisc(qdisc) => format!("{} qdisc {qdisc}", shaping.dev),
            Item::Class(class) => format!("{} class {class}", shaping.dev),
            Item::Filter(filter) => format!("{} filter {filter}", shaping.dev),
        };
        shaping.iter().map(text).collect()
    }

    /// What stands after these commands, and what the last one says.
    fn after(lines: &[&str]) -> (Vec<String>, Option<String>) {
        let mut shaping = Vec::new();
        let mut said = None;
        for line in lines {
            let Command::Change(change) = parse(line).unwrap() else {
                panic!("{line}")
            };
            match change.apply(&shaping) {
                Ok(changed) => (shaping, said) = (changed, None),
                Err(error) => said = Some(error.to_string()),
            }
        }
        (told(&shaping), said)
    }

    #[test]
    fn what_is_shown() {
        let show = |object, dev: Option<&str>, statistics, json| Command::Show {
            object,
            dev: dev.map(str::to_owned),
            statistics,
            json,
        };
        for (line, expected) in [
            ("-s qdisc show dev wg0", show(Object::Qdisc, Some("wg0"), true, false)),
            ("-s -j class ls dev wg0", show(Object::Class, Some("wg0"), true, true)),
            ("qdisc", show(Object::Qdisc, None, false, false)),
            ("filter show", show(Object::Filter, None, false, false)),
        ] {
            assert_eq!(parse(line).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn what_is_refused_says_why() {
        for (line, reason) in [
            ("", "qdisc, class or filter"),
            ("actions show", "tc actions is not known here"),
            ("-x qdisc show", "option -x"),
            ("qdisc grow dev wg0", "tc cannot grow"),
            ("qdisc add root netem delay 1ms", "`dev` and its name are missing"),
            ("qdisc add dev", "wants the name of a device"),
            (
                "qdisc add dev wg0 root nettem",
                "did you mean `netem`?\n  root nettem\n       ^^^^^^",
            ),
            ("qdisc del dev wg0", "which discipline?"),
            ("qdisc del dev wg0 parent x", "`parent` wants"),
            ("class del dev wg0", "which class?"),
            ("filter del dev wg0", "whose filters?"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }

    #[test]
    fn disciplines_come_change_and_go() {
        let netem = "qdisc add dev wg0 root netem delay 500ms";
        assert_eq!(after(&[netem]).0, ["wg0 qdisc root netem delay 500ms"]);
        let (standing, said) = after(&[netem, "qdisc add dev wg0 root pfifo"]);
        assert_eq!(standing, ["wg0 qdisc root netem delay 500ms"]);
        assert!(said.unwrap().contains("`replace` puts another in its place"));
        assert_eq!(
            after(&[netem, "qdisc change dev wg0 root netem delay 1ms"]).0,
            ["wg0 qdisc root netem delay 1ms"]
        );
        let (_, said) = after(&[netem, "qdisc change dev wg0 root pfifo"]);
        assert!(said.unwrap().contains("cannot make a pfifo of netem"));
        let (_, said) = after(&["qdisc change dev wg0 root pfifo"]);
        assert!(said.unwrap().contains("there is no discipline at `root`"));
        assert_eq!(
            after(&[netem, "qdisc replace dev eth0 root pfifo limit 7"]).0,
            ["wg0 qdisc root netem delay 500ms", "eth0 qdisc root pfifo limit 7"]
        );
        assert_eq!(after(&[netem, "qdisc del dev wg0 root"]), (vec![], None));
        assert!(
            after(&["qdisc del dev wg0 root"])
                .1
                .unwrap()
                .contains("there is no such discipline")
        );
    }

    const HTB: [&str; 4] = [
        "qdisc add dev wg0 root handle 1: htb",
        "class add dev wg0 parent 1: classid 1:1 htb rate 10mbit",
        "class add dev wg0 parent 1:1 classid 1:10 htb rate 1mbit",
        "qdisc add dev wg0 parent 1:10 handle 10: netem delay 1ms",
    ];

    fn after_htb(more: &[&str]) -> (Vec<String>, Option<String>) {
        after(&[&HTB, more].concat())
    }

    #[test]
    fn what_hangs_below_goes_with_it() {
        assert_eq!(after_htb(&["qdisc del dev wg0 root"]), (vec![], None));
        assert_eq!(after_htb(&["qdisc del dev wg0 handle 10:"]).0.len(), 3);
        assert_eq!(
            after_htb(&["qdisc replace dev wg0 root pfifo limit 3"]).0,
            ["wg0 qdisc root pfifo limit 3"]
        );
        let (standing, said) = after_htb(&["qdisc change dev wg0 root htb default 10"]);
        assert_eq!((standing.len(), said), (4, None), "its classes stay");
        assert!(standing[0].contains("handle 1: htb default 0x10"), "{standing:?}");
        assert!(
            after_htb(&["class del dev wg0 classid 1:1"])
                .1
                .unwrap()
                .contains("has classes below it")
        );
        assert_eq!(after_htb(&["class del dev wg0 classid 1:10"]).0.len(), 2);
        assert!(
            after_htb(&["class del dev wg0 classid 1:99"])
                .1
                .unwrap()
                .contains("no class 1:99")
        );
    }

    #[test]
    fn classes_and_filters() {
        let (standing, said) = after_htb(&["class change dev wg0 parent 1:1 classid 1:10 htb rate 2mbit"]);
        assert!(said.is_none() && standing[2].contains("rate 2mbit"), "{standing:?}");
        assert!(
            after_htb(&["class add dev wg0 parent 1:1 classid 1:10 htb rate 2mbit"])
                .1
                .unwrap()
                .contains("class 1:10 hangs")
        );
        let filter = "filter add dev wg0 parent 1: prio 1 protocol ip u32 match ip dst 192.168.4.2/32 flowid 1:10";
        let (standing, said) = after_htb(&[filter]);
        assert_eq!((standing.len(), said), (5, None));
        assert_eq!(after_htb(&[filter, "filter del dev wg0 parent 1: prio 1"]).0.len(), 4);
        assert_eq!(after_htb(&[filter, "filter del dev wg0 parent 1: prio 2"]).0.len(), 5);
        assert_eq!(after_htb(&[filter, "qdisc del dev wg0 root"]), (vec![], None));
    }
}
