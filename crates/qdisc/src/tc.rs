//! Whole commands: what follows `tc`, as typed values, and what they do to a device's items.
//!
//! ```
//! use fielato_qdisc::tc::Command;
//!
//! let mut items = Vec::new();
//! let Ok(Command::Edit { dev, edit }) = Command::parse("qdisc add dev wg0 root netem delay 500ms") else { panic!() };
//! edit.apply(&mut items).unwrap();
//! assert_eq!((dev.as_str(), items[0].to_string().as_str()), ("wg0", "qdisc root netem delay 500ms"));
//! ```

use crate::item::Item;
use crate::parse;
use crate::spec::{FilterProtocol, Handle, Parent, Qdisc};
use crate::units::{HANDLE, NUMBER, Unit};
use crate::words::{ParseError, Word, Words, put};

/// What follows `tc`.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// `tc [-s] [-j] OBJECT show …`
    Show(Show),
    /// A command that changes what hangs on a device.
    Edit {
        /// The device.
        dev: String,
        /// What happens there.
        edit: Edit,
    },
}

/// What is to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Show {
    /// Of which kind.
    pub object: Object,
    /// Of which device; of all when absent.
    pub dev: Option<String>,
    /// Only what hangs there.
    pub parent: Option<Parent>,
    /// `-s`: with statistics.
    pub statistics: bool,
    /// `-j`: as JSON.
    pub json: bool,
}

/// What happens to the items of a device.
#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    /// Adds what must not be there yet.
    Add(Item),
    /// Changes what must be there.
    Change(Item),
    /// Adds or changes.
    Replace(Item),
    /// Removes.
    Delete(Target),
}

/// What a command is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    /// Disciplines.
    Qdisc,
    /// Classes.
    Class,
    /// Filters.
    Filter,
}

/// What is removed, and everything below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The discipline that is known by its place, its handle or both; by neither it is none.
    Qdisc {
        /// The place.
        parent: Option<Parent>,
        /// The handle.
        handle: Option<Handle>,
    },
    /// A class.
    Class(Handle),
    /// All filters of a discipline or class that fit.
    Filters {
        /// Whose.
        parent: Handle,
        /// Of this priority.
        prio: Option<u16>,
        /// Of this protocol.
        protocol: Option<FilterProtocol>,
    },
}

const OBJECTS: [(&str, Object); 3] = [("qdisc", Object::Qdisc), ("class", Object::Class), ("filter", Object::Filter)];

#[derive(Clone, Copy)]
enum Verb {
    Add,
    Change,
    Replace,
    Delete,
}

/// Every one with its words; none shows.
const VERBS: [(&str, Option<Verb>); 9] = [
    ("add", Some(Verb::Add)),
    ("change", Some(Verb::Change)),
    ("replace", Some(Verb::Replace)),
    ("delete", Some(Verb::Delete)),
    ("del", Some(Verb::Delete)),
    ("show", None),
    ("list", None),
    ("ls", None),
    ("lst", None),
];

impl Command {
    /// Reads what follows `tc`; a leading `tc` is passed over.
    ///
    /// # Errors
    /// When a word is not tc's; it points at that word.
    pub fn parse(text: &str) -> Result<Command, ParseError> {
        Command::parse_with_tables(text, &mut |_| Err(String::new()))
    }

    /// As [`Command::parse`]; netem's `distribution NAME` may also name a table, whose text `tables` gives.
    ///
    /// # Errors
    /// When a word is not tc's, or a table can't be read; it points at that word.
    pub fn parse_with_tables(text: &str, tables: &mut dyn FnMut(&str) -> Result<String, String>) -> Result<Command, ParseError> {
        let mut words = Words::new(text);
        let (mut statistics, mut json) = (false, false);
        let object = loop {
            let Some(word) = words.next() else {
                return Err(words.ended("what it is about is missing: qdisc, class or filter"));
            };
            match word.text {
                "tc" => {}
                "-s" | "-stats" | "-statistics" => statistics = true,
                "-j" | "-json" => json = true,
                // Details and layout: nothing more is known here than what is shown anyway.
                "-d" | "-details" | "-p" | "-pretty" => {}
                text if text.starts_with('-') => {
                    return Err(word.unknown("an option that is supported", &["-s", "-j", "-d", "-p"]));
                }
                _ => break find(word, &OBJECTS, "what tc is used for here")?,
            }
        };
        let verb = match words.next() {
            Some(word) => find(word, &VERBS, "what can be done with it")?,
            None => None,
        };
        // The rest is read as if the words up to here and the device had not been there, but places stay what they are.
        let mut rest = blank(text, 0, words.place());
        let dev = take_device(&mut rest, text)?;
        let rest = rest.as_str();
        let Some(verb) = verb else {
            let parent = shown(rest)?;
            return Ok(Command::Show(Show {
                object,
                dev,
                parent,
                statistics,
                json,
            }));
        };
        let Some(dev) = dev else {
            return Err(words.ended("the device is missing: `dev DEV`"));
        };
        let mut item = |rest: &str| -> Result<Item, ParseError> {
            Ok(match object {
                Object::Qdisc => Item::Qdisc(parse::qdisc_with_tables(rest, tables)?),
                Object::Class => Item::Class(parse::class(rest)?),
                Object::Filter => Item::Filter(parse::filter(rest)?),
            })
        };
        let edit = match verb {
            Verb::Add => Edit::Add(item(rest)?),
            Verb::Change => Edit::Change(item(rest)?),
            Verb::Replace => Edit::Replace(item(rest)?),
            Verb::Delete => Edit::Delete(target(object, rest)?),
        };
        Ok(Command::Edit { dev, edit })
    }
}

/// The value of a word or of its beginning, as tc takes it.
fn find<T: Copy>(word: Word<'_>, table: &[(&str, T)], what: &str) -> Result<T, ParseError> {
    let exact = table.iter().find(|(name, _)| *name == word.text);
    let begins = table.iter().find(|(name, _)| name.starts_with(word.text));
    let names: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
    match exact.or(begins) {
        Some((_, value)) => Ok(*value),
        None => Err(word.unknown(what, &names)),
    }
}

/// The text with spaces from `from` to `to`.
fn blank(text: &str, from: usize, to: usize) -> String {
    let spaces = " ".repeat(to - from);
    [&text[..from], &spaces, &text[to..]].concat()
}

/// Takes the first `dev DEV` out of the words.
fn take_device(rest: &mut String, text: &str) -> Result<Option<String>, ParseError> {
    let mut words = Words::new(text);
    while let Some(word) = words.next() {
        if word.text == "dev" && rest[word.offset..].starts_with("dev") {
            let Some(device) = words.next() else {
                return Err(word.error("`dev` wants the name of a device"));
            };
            *rest = blank(rest, word.offset, device.offset + device.text.len());
            return Ok(Some(device.text.to_owned()));
        }
    }
    Ok(None)
}

fn shown(rest: &str) -> Result<Option<Parent>, ParseError> {
    let mut words = Words::new(rest);
    let mut parent = None;
    while let Some(word) = words.next() {
        match word.text {
            "root" => put(&mut parent, word, Parent::Root)?,
            "parent" => {
                let handle = words.value(word, &HANDLE)?;
                put(&mut parent, word, Parent::Class(handle))?;
            }
            _ => return Err(word.unknown("a word after `show`", &["dev", "root", "parent"])),
        }
    }
    Ok(parent)
}

/// What follows the verb of a removal. The kind may be said, and its options, as in tc; they don't matter.
fn target(object: Object, rest: &str) -> Result<Target, ParseError> {
    let mut words = Words::new(rest);
    let (mut parent, mut handle, mut classid, mut prio, mut protocol) = (None, None, None, None, None);
    while let Some(word) = words.next() {
        match word.text {
            "root" => put(&mut parent, word, Parent::Root)?,
            "parent" => {
                let class = words.value(word, &HANDLE)?;
                put(&mut parent, word, Parent::Class(class))?;
            }
            "handle" if object == Object::Qdisc => words.fill(&mut handle, word, &HANDLE)?,
            "classid" if object == Object::Class => words.fill(&mut classid, word, &HANDLE)?,
            "prio" | "pref" if object == Object::Filter => words.fill(&mut prio, word, &PRIO)?,
            "protocol" if object == Object::Filter => {
                let Some(name) = words.next() else {
                    return Err(word.error("`protocol` wants all, ip or ipv6"));
                };
                put(
                    &mut protocol,
                    word,
                    find(name, &FilterProtocol::WORDS, "a protocol that can be used here")?,
                )?;
            }
            _ => break,
        }
    }
    match (object, parent, classid) {
        (Object::Qdisc, None, _) if handle.is_none() => {
            Err(words.ended("which one is missing: `root`, `parent CLASSID` or `handle MAJOR:`"))
        }
        (Object::Qdisc, ..) => Ok(Target::Qdisc { parent, handle }),
        (Object::Class, _, Some(classid)) => Ok(Target::Class(classid)),
        (Object::Class, _, None) => Err(words.ended("which one is missing: `classid MAJOR:MINOR`")),
        (Object::Filter, Some(Parent::Class(parent)), _) => Ok(Target::Filters { parent, prio, protocol }),
        (Object::Filter, ..) => Err(words.ended("whose filters is missing: `parent HANDLE`")),
    }
}

const PRIO: Unit<u16> = Unit {
    expected: "a priority from 1 to 65535",
    read: |word| u16::try_from((NUMBER.read)(word)?).ok().filter(|prio| *prio > 0),
};

/// Why a command does not fit what is there. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// It is there already.
    #[error("`{0}` hangs there already: `replace` puts another in its place, `change` gives it other parameters")]
    Exists(String),
    /// It is not there.
    #[error("there is no `{0}`: `add` or `replace` makes it, `show` lists what there is")]
    Missing(String),
    /// A discipline of another kind or handle stands there.
    #[error("`{0}` hangs there, which `change` can't make another of: use `replace`")]
    Another(String),
    /// A class with classes below it can't be removed alone.
    #[error("class `{0}` has classes or filters: delete these first")]
    Busy(Handle),
}

impl Edit {
    /// Does to `items` what the command says. Whether the result makes sense is for [`crate::Tree::apply`] to say.
    ///
    /// # Errors
    /// When what is to be added exists, or what is to be changed or removed doesn't. Nothing has changed then.
    pub fn apply(&self, items: &mut Vec<Item>) -> Result<(), EditError> {
        match self {
            Edit::Add(item) => match find_item(items, item) {
                Some((_, there)) => Err(EditError::Exists(there.to_string())),
                None => {
                    items.push(item.clone());
                    Ok(())
                }
            },
            Edit::Change(item) => change(items, item),
            Edit::Replace(item) => {
                replace(items, item);
                Ok(())
            }
            Edit::Delete(target) => delete(items, target),
        }
    }
}

fn change(items: &mut [Item], item: &Item) -> Result<(), EditError> {
    let Some((place, there)) = find_item(items, item) else {
        return Err(EditError::Missing(item.to_string()));
    };
    let mut new = item.clone();
    if let (Item::Qdisc(old), Item::Qdisc(new)) = (there, &mut new) {
        if !is_same(old, new) {
            return Err(EditError::Another(there.to_string()));
        }
        new.handle = old.handle;
    }
    items[place] = new;
    Ok(())
}

fn replace(items: &mut Vec<Item>, item: &Item) {
    let Some((place, there)) = find_item(items, item) else {
        items.push(item.clone());
        return;
    };
    let mut new = item.clone();
    if let (Item::Qdisc(old), Item::Qdisc(new)) = (there, &mut new) {
        match (is_same(old, new), old.handle) {
            (true, handle) => new.handle = handle,
            // Another discipline: what hung on the old one goes with it.
            (false, Some(handle)) => {
                items.remove(place);
                remove_below(items, handle.major);
                items.push(item.clone());
                return;
            }
            (false, None) => {}
        }
    }
    items[place] = new;
}

/// Whether `new` gives the discipline `old` other parameters, rather than being another one.
fn is_same(old: &Qdisc, new: &Qdisc) -> bool {
    old.kind.name() == new.kind.name() && new.handle.is_none_or(|handle| Some(handle) == old.handle)
}

/// Where the item stands that `item` is about.
fn find_item<'a>(items: &'a [Item], item: &Item) -> Option<(usize, &'a Item)> {
    items.iter().enumerate().find(|(_, there)| match (there, item) {
        (Item::Qdisc(there), Item::Qdisc(item)) => there.parent == item.parent,
        (Item::Class(there), Item::Class(item)) => there.classid == item.classid,
        // Filters of one priority stand side by side, unless they look for the same.
        (Item::Filter(there), Item::Filter(item)) => {
            (there.parent, there.prio, there.protocol, &there.kind) == (item.parent, item.prio, item.protocol, &item.kind)
        }
        _ => false,
    })
}

fn delete(items: &mut Vec<Item>, target: &Target) -> Result<(), EditError> {
    match *target {
        Target::Qdisc { parent, handle } => {
            let is_it = |qdisc: &Qdisc| {
                parent.is_none_or(|parent| qdisc.parent == parent) && (handle.is_none() || qdisc.handle == handle)
            };
            let found = items.iter().find_map(|item| match item {
                Item::Qdisc(qdisc) if is_it(qdisc) => Some((qdisc.parent, qdisc.handle)),
                _ => None,
            });
            let Some((place, handle)) = found.filter(|_| (parent, handle) != (None, None)) else {
                let place = parent.map(|parent| format!(" {parent}")).unwrap_or_default();
                let handle = handle.map(|handle| format!(" handle {handle}")).unwrap_or_default();
                return Err(EditError::Missing(format!("qdisc{place}{handle}")));
            };
            if let Some(handle) = handle {
                remove_below(items, handle.major);
            }
            items.retain(|item| !matches!(item, Item::Qdisc(qdisc) if qdisc.parent == place));
            Ok(())
        }
        Target::Class(classid) => {
            if !items
                .iter()
                .any(|item| matches!(item, Item::Class(class) if class.classid == classid))
            {
                return Err(EditError::Missing(format!("class {classid}")));
            }
            // As `htb_delete`: no class with children, or that a filter chooses.
            let uses = |item: &Item| match item {
                Item::Class(class) => class.parent == classid,
                Item::Filter(filter) => filter.parent == classid || filter.classid == Some(classid),
                Item::Qdisc(_) => false,
            };
            if items.iter().any(uses) {
                return Err(EditError::Busy(classid));
            }
            let in_it = items.iter().find_map(|item| match item {
                Item::Qdisc(qdisc) if qdisc.parent == Parent::Class(classid) => Some(qdisc.handle),
                _ => None,
            });
            if let Some(Some(handle)) = in_it {
                remove_below(items, handle.major);
            }
            items.retain(|item| match item {
                Item::Class(class) => class.classid != classid,
                Item::Qdisc(qdisc) => qdisc.parent != Parent::Class(classid),
                Item::Filter(_) => true,
            });
            Ok(())
        }
        Target::Filters { parent, prio, protocol } => {
            let before = items.len();
            items.retain(|item| {
                !matches!(item, Item::Filter(filter) if filter.parent == parent
                    && (prio.is_none() || filter.prio == prio)
                    && protocol.is_none_or(|protocol| filter.protocol == protocol))
            });
            match items.len() < before {
                true => Ok(()),
                false => Err(EditError::Missing(format!("filter parent {parent}"))),
            }
        }
    }
}

/// Removes all that hangs on a discipline: its classes, filters, and the disciplines in its classes with all of theirs.
fn remove_below(items: &mut Vec<Item>, major: u16) {
    let mut majors = vec![major];
    while let Some(major) = majors.pop() {
        items.retain(|item| match item {
            Item::Class(class) => class.classid.major != major,
            Item::Filter(filter) => filter.parent.major != major,
            Item::Qdisc(qdisc) => match (qdisc.parent, qdisc.handle) {
                (Parent::Class(class), handle) if class.major == major => {
                    majors.extend(handle.map(|handle| handle.major));
                    false
                }
                _ => true,
            },
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(commands: &[&str]) -> Result<Vec<String>, String> {
        let mut items = Vec::new();
        for command in commands {
            match Command::parse(command).map_err(|error| format!("{}: {error}", error.offset))? {
                Command::Edit { edit, .. } => edit.apply(&mut items).map_err(|error| error.to_string())?,
                Command::Show(show) => return Err(format!("{show:?}")),
            }
        }
        Ok(items.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn commands_do_what_tcs_do() {
        let tree = [
            "tc qdisc add dev wg0 root handle 1: htb default 10",
            "class add dev wg0 parent 1: classid 1:10 htb rate 10mbit",
            "class add dev wg0 parent 1: classid 1:20 htb rate 20mbit",
            "qdisc add dev wg0 parent 1:10 handle 10: fq_codel",
            "filter add dev wg0 parent 1: prio 1 matchall classid 1:20",
        ];
        let with = |more: &[&'static str]| {
            let mut commands = tree.to_vec();
            commands.extend(more);
            after(&commands)
        };
        assert_eq!(with(&[]).unwrap().len(), 5);
        assert_eq!(with(&["qdisc del dev wg0 root"]).unwrap(), [""; 0]);
        assert_eq!(with(&["qdisc delete dev wg0 parent 1:10"]).unwrap().len(), 4);
        assert_eq!(with(&["qdisc del dev wg0 handle 10:"]).unwrap().len(), 4);
        assert_eq!(with(&["qdisc del dev wg0 handle 1:"]).unwrap(), [""; 0]);
        assert_eq!(with(&["class del dev wg0 classid 1:10"]).unwrap().len(), 3);
        assert_eq!(
            with(&["class change dev wg0 parent 1: classid 1:10 htb rate 5mbit"]).unwrap()[1],
            "class parent 1: classid 1:10 htb rate 5mbit"
        );
        assert_eq!(
            with(&["qdisc replace dev wg0 root netem delay 1ms"]).unwrap(),
            ["qdisc root netem delay 1ms"]
        );
        assert_eq!(
            with(&["qdisc change dev wg0 root htb default 20"]).unwrap()[0],
            "qdisc root handle 1: htb default 0x20"
        );
        assert_eq!(
            with(&["filter del dev wg0 parent 1: prio 1", "class del dev wg0 classid 1:20"])
                .unwrap()
                .len(),
            3
        );
        for (command, said) in [
            ("qdisc add dev wg0 root pfifo", "hangs there already"),
            ("qdisc change dev wg0 root pfifo", "`change` can't make another of"),
            ("qdisc change dev wg0 parent 1:20 pfifo", "there is no"),
            ("qdisc del dev wg0 parent 1:20", "there is no"),
            ("qdisc del dev wg0 handle 20:", "there is no `qdisc handle 20:`"),
            ("qdisc del dev wg0 root handle 20:", "there is no `qdisc root handle 20:`"),
            (
                "class add dev wg0 parent 1: classid 1:10 htb rate 5mbit",
                "hangs there already",
            ),
            ("class del dev wg0 classid 1:20", "delete these first"),
            ("class del dev wg0 classid 1:30", "there is no"),
            ("filter del dev wg0 parent 1: prio 2", "there is no"),
        ] {
            let error = with(&[command]).expect_err(command);
            assert!(error.contains(said), "{command}: {error}");
        }
    }

    /// As `qdisc_change` in the kernel's net/sched/sch_api.c: only what the command says stays.
    #[test]
    fn a_change_without_a_size_table_takes_it_away() {
        let tbf = "tbf rate 1mbit burst 10k limit 10k";
        let commands = [
            format!("qdisc add dev wg0 root handle 1: stab overhead 60 {tbf}"),
            format!("qdisc change dev wg0 root {tbf}"),
        ];
        let items = after(&commands.each_ref().map(String::as_str)).unwrap();
        assert!(items[0].starts_with("qdisc root handle 1: tbf"), "{items:?}");
    }

    #[test]
    fn options_and_objects_are_read() {
        let show = |object, dev: Option<&str>, parent, statistics, json| {
            Command::Show(Show {
                object,
                dev: dev.map(str::to_owned),
                parent,
                statistics,
                json,
            })
        };
        for (words, expected) in [
            (
                "-s -j qdisc show dev wg0 root",
                show(Object::Qdisc, Some("wg0"), Some(Parent::Root), true, true),
            ),
            ("qdisc", show(Object::Qdisc, None, None, false, false)),
            ("-s c ls dev wg0", show(Object::Class, Some("wg0"), None, true, false)),
            ("filter show", show(Object::Filter, None, None, false, false)),
        ] {
            assert_eq!(Command::parse(words), Ok(expected), "{words}");
        }
    }

    #[test]
    fn errors_point_into_the_whole_command() {
        for (command, blamed, said) in [
            ("", "", "qdisc, class or filter"),
            ("qdics add dev wg0 root netem", "qdics", "did you mean `qdisc`?"),
            ("qdisc ad\u{e9} dev wg0", "ad\u{e9}", "add, change"),
            ("qdisc add root netem delay 1ms", "", "`dev DEV`"),
            ("qdisc add root netem delay 1ms dev", "dev", "name of a device"),
            ("qdisc add dev wg0 root nettem delay 1ms", "nettem", "did you mean `netem`?"),
            ("qdisc add root dev wg0 netem dleay 1ms", "dleay", "did you mean `delay`?"),
            ("-x qdisc show", "-x", "-s, -j"),
            ("qdisc del dev wg0", "", "`root`, `parent CLASSID` or `handle MAJOR:`"),
            ("class del dev wg0 parent 1:", "", "`classid MAJOR:MINOR`"),
            ("qdisc show wg0", "wg0", "a word after `show`"),
        ] {
            let error = Command::parse(command).expect_err(command);
            assert_eq!(command[error.offset..].split(' ').next(), Some(blamed), "{command}: {error}");
            assert!(error.message.contains(said), "{command}: {error}");
        }
    }
}
