//! `[[shape]]`: tc's words, checked as the kernel would when they are added in order.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use fielato_qdisc::{Class, Handle, Parent, Qdisc, QdiscKind};
use toml::de::DeTable;

use crate::config::{Groups, Hub, Member, Party, Shape, ShapeItem};
use crate::diagnostic::{Sink, Texts};
use crate::keys::SHAPE;
use crate::schema::{Section, Text, Top};

use super::machines::Table;
use super::names::{Names, Place};
use super::sections;

pub fn read(top: &Top<'_>, hub: &Hub, names: &mut Names<'_>, sink: &mut Sink) -> Vec<Shape> {
    let mut devices: HashMap<String, Device> = HashMap::new();
    let mut shapes = Vec::new();
    for (span, table) in sections(top, "shape", sink) {
        shapes.extend(one(top, span, table, hub, names, &mut devices, sink));
    }
    shapes
}

fn one<'a>(
    top: &Top<'a>,
    span: Range<usize>,
    table: &'a DeTable<'a>,
    hub: &Hub,
    names: &mut Names<'_>,
    devices: &mut HashMap<String, Device>,
    sink: &mut Sink,
) -> Option<Shape> {
    let (file, line) = top.texts.line(span.start);
    let began = span.start;
    let section = Section::new("shape".to_owned(), span, table, SHAPE, sink);
    let dev = device(&section, hub, sink);
    let known = devices.entry(dev.clone()).or_default();
    let qdisc = section.text("qdisc", "tc's words in quotes", sink);
    let class = section.text("class", "tc's words in quotes", sink);
    match (qdisc, class) {
        (Some((words, at)), None) => {
            if section.value("for").is_some() {
                sink.error(
                    section.span_of("for"),
                    "shape: a qdisc has no `for`",
                    "put `for` beside the class that these parties belong to",
                );
            }
            match fielato_qdisc::qdisc(words) {
                Ok(qdisc) => {
                    known.add_qdisc(&dev, &qdisc, at, sink);
                    Some(Shape {
                        dev,
                        item: ShapeItem::Qdisc(qdisc),
                        file,
                        line,
                    })
                }
                Err(error) => word_error(top.texts, (words, at), &error, sink),
            }
        }
        (None, Some((words, at))) => {
            let parties = if section.value("for").is_some() {
                names.parties(&section, "for", Place::For, sink)
            } else {
                Vec::new()
            };
            match fielato_qdisc::class(words) {
                Ok(class) => {
                    known.add_class(&dev, &class, at, sink);
                    known.claim(&dev, &parties, class.classid, began, top.texts, sink);
                    let parties = parties.into_iter().map(|(party, _)| party).collect();
                    Some(Shape {
                        dev,
                        item: ShapeItem::Class { class, parties },
                        file,
                        line,
                    })
                }
                Err(error) => word_error(top.texts, (words, at), &error, sink),
            }
        }
        _ if section.value("qdisc").is_some() && section.value("class").is_some() => {
            sink.error(
                section.span_of("class"),
                "shape: qdisc and class in one",
                "write one [[shape]] for each, in the order in which tc adds them",
            );
            None
        }
        _ if section.value("qdisc").is_some() || section.value("class").is_some() => None,
        _ => {
            section.missing(
                "qdisc",
                "add qdisc = \"root netem delay 500ms\" or class = \"parent 1: classid 1:10 htb rate 10mbit\"",
                sink,
            );
            None
        }
    }
}

fn device(section: &Section<'_>, hub: &Hub, sink: &mut Sink) -> String {
    let Some((dev, span)) = section.text("dev", "an interface's name", sink) else {
        return hub.interface.clone();
    };
    let unknown = !hub.interface.is_empty() && !hub.uplink.is_empty() && dev != hub.interface && dev != hub.uplink;
    if unknown {
        let message = format!(
            "shape: dev \"{}\" is neither the hub's interface nor its uplink",
            dev.escape_debug()
        );
        sink.error(span, message, format!("use {} or {}", hub.interface, hub.uplink));
    }
    dev.to_owned()
}

/// Points at the word that tc would not take. A string with escapes is underlined as a whole: its
/// bytes are not those of the file.
fn word_error<T>(texts: &Texts<'_>, (words, span): Text<'_>, error: &fielato_qdisc::ParseError, sink: &mut Sink) -> Option<T> {
    let verbatim = texts.get(span.start + 1..span.end.saturating_sub(1)) == Some(words);
    let at = if verbatim && error.offset < words.len() {
        let word = words[error.offset..]
            .find(char::is_whitespace)
            .unwrap_or(words.len() - error.offset);
        let start = span.start + 1 + error.offset;
        start..start + word.max(1)
    } else {
        span
    };
    sink.error(at, format!("shape: {}", error.message), "");
    None
}

/// What has been added to one device so far.
#[derive(Default)]
struct Device {
    root: bool,
    /// Major numbers of disciplines, and whether they have classes.
    handles: HashMap<u16, bool>,
    classes: HashSet<Handle>,
    /// Classes that have a discipline of their own.
    leaves: HashSet<Handle>,
    /// Who is in which class, with the place that says so.
    parties: HashMap<String, (Handle, usize)>,
}

impl Device {
    fn add_qdisc(&mut self, dev: &str, qdisc: &Qdisc, at: Range<usize>, sink: &mut Sink) {
        let mut refuse = |message: String, help: &str| sink.error(at.clone(), format!("shape: {message}"), help);
        match qdisc.parent {
            Parent::Root if self.root => refuse(
                format!("{dev} has a root qdisc already"),
                "hang this one into a class: parent 1:10",
            ),
            Parent::Root => self.root = true,
            Parent::Class(class) if !self.classes.contains(&class) => {
                refuse(
                    format!("{dev} has no class {} yet", class),
                    "add the class in a [[shape]] before this one",
                );
            }
            Parent::Class(class) if !self.leaves.insert(class) => {
                refuse(format!("class {} has a qdisc already", class), "a class has one qdisc");
            }
            Parent::Class(_) => {}
        }
        if let Some(handle) = qdisc.handle
            && self
                .handles
                .insert(handle.major, matches!(qdisc.kind, QdiscKind::Htb { .. }))
                .is_some()
        {
            refuse(
                format!("{dev} has a qdisc {} already", handle),
                "give every qdisc a handle of its own",
            );
        }
        // Some have classes without being told.
        if let Some(handle) = qdisc.handle {
            let count = match &qdisc.kind {
                QdiscKind::Tbf(_) | QdiscKind::Netem(_) => 1,
                QdiscKind::Prio(prio) => u16::from(prio.bands),
                _ => 0,
            };
            self.classes.extend((1..=count).map(|minor| Handle { minor, ..handle }));
        }
    }

    fn add_class(&mut self, dev: &str, class: &Class, at: Range<usize>, sink: &mut Sink) {
        let mut refuse = |message: String, help: &str| sink.error(at.clone(), format!("shape: {message}"), help);
        let Class { parent, classid, htb: _ } = class;
        match self.handles.get(&parent.major) {
            None => refuse(
                format!("{dev} has no qdisc {:x}: yet", parent.major),
                "add it in a [[shape]] before this one, with its handle: \"root handle 1: htb\"",
            ),
            Some(false) => refuse(
                format!("qdisc {:x}: of {dev} has no classes", parent.major),
                "classes belong to htb",
            ),
            Some(true) if classid.major != parent.major => {
                refuse(
                    format!("class {} is not in its parent's qdisc {:x}:", classid, parent.major),
                    "use the same number before the colon",
                );
            }
            Some(true) if parent.minor != 0 && !self.classes.contains(parent) => {
                refuse(
                    format!("{dev} has no class {} yet", parent),
                    "add the parent in a [[shape]] before this one",
                );
            }
            Some(true) => {}
        }
        if !self.classes.insert(*classid) {
            refuse(
                format!("{dev} has a class {} already", classid),
                "give every class a number of its own",
            );
        }
    }

    fn claim(
        &mut self,
        dev: &str,
        parties: &[(Party, Range<usize>)],
        class: Handle,
        began: usize,
        texts: &Texts<'_>,
        sink: &mut Sink,
    ) {
        for (party, span) in parties {
            let word = match party {
                Party::Member(name) | Party::Group(name) => name.clone(),
                Party::Prefix(net) => net.to_string(),
                Party::Members => "members".to_owned(),
                Party::Any | Party::Hub | Party::Internet | Party::Host(_) | Party::Service(_) => continue,
            };
            match self.parties.get(&word) {
                Some((other, before)) => {
                    let message = format!(
                        "shape: {word} is in class {} of {dev} already ({})",
                        other,
                        texts.line_in_words(*before)
                    );
                    sink.error(span.clone(), message, "a party has one class on a device");
                }
                None => drop(self.parties.insert(word, (class, began))),
            }
        }
    }
}

/// Notes members whose groups are in different classes of one device, unless a class names the member itself.
pub fn refuse_two_classes(shapes: &[Shape], members: &Table<Member>, in_groups: &Groups<'_>, sink: &mut Sink) {
    let mut own: HashSet<(&str, &str)> = HashSet::new();
    let mut groups: HashMap<&str, Vec<(&str, Handle)>> = HashMap::new();
    for shape in shapes {
        let ShapeItem::Class { class, parties } = &shape.item else {
            continue;
        };
        for party in parties {
            match party {
                Party::Member(name) => drop(own.insert((&shape.dev, name))),
                Party::Group(name) => groups.entry(name).or_default().push((&shape.dev, class.classid)),
                _ => {}
            }
        }
    }
    // Groups that members are in by the groups' own tables.
    let mut others: HashMap<&str, Vec<&str>> = HashMap::new();
    for group in groups.keys() {
        for member in in_groups.get(group).into_iter().flat_map(|content| &content.members) {
            others.entry(member).or_default().push(group);
        }
    }
    for (name, read) in members {
        let mut first: HashMap<&str, (&str, Handle)> = HashMap::new();
        let own_groups = read.value.groups.iter().map(String::as_str).zip(&read.groups);
        let is_own = |group: &str| read.value.groups.iter().any(|own| own == group);
        let mut further = others.remove(name.as_str()).unwrap_or_default();
        further.retain(|group| !is_own(group));
        further.sort_unstable();
        for (group, span) in own_groups.chain(further.into_iter().map(|group| (group, &read.span))) {
            for (dev, class) in groups.get(group).into_iter().flatten().copied() {
                let (before, other) = *first.entry(dev).or_insert((group, class));
                if other != class && !own.contains(&(dev, name)) {
                    let message = format!("member {name}: group {before} is in class {other} of {dev}, group {group} in {class}");
                    let help = format!("name {name} itself in the `for` of one class, or take it out of one group");
                    sink.error(span.clone(), message, help);
                }
            }
        }
    }
}
