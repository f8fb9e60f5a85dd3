//! `[[test]]`.

use std::ops::Range;

use toml::de::DeTable;

use crate::config::{Expect, Hub, Test};
use crate::diagnostic::Sink;
use crate::keys::TEST;
use crate::schema::{Section, Text, Top};

use super::names::Names;
use super::{limits, sections};

pub fn read(top: &Top<'_>, hub: &Hub, names: &mut Names<'_>, sink: &mut Sink) -> Vec<Test> {
    let tables = sections(top, "test", sink).into_iter();
    tables
        .filter_map(|(span, table)| one(top, span, table, hub, names, sink))
        .collect()
}

fn one<'a>(
    top: &Top<'a>,
    span: Range<usize>,
    table: &'a DeTable<'a>,
    hub: &Hub,
    names: &mut Names<'_>,
    sink: &mut Sink,
) -> Option<Test> {
    let (file, line) = top.texts.line(span.start);
    let section = Section::new("test".to_owned(), span, table, TEST, sink);
    let from = ends(&section, "from", names, sink);
    let to = ends(&section, "to", names, sink);
    let name = section
        .text("name", "a name in quotes", sink)
        .map(|(name, _)| name.to_owned());
    let via = section
        .text("via", "an interface's name", sink)
        .and_then(|text| via(text, hub, sink));
    let rate = limits::rate(&section, "rate", sink);
    let right = "\"accept\", \"drop\" or \"reject\"";
    let (word, at) = section.required_text("expect", right, sink)?;
    let expect = match word {
        "accept" => Expect::Accept,
        "drop" => Expect::Drop,
        "reject" => Expect::Reject,
        _ => {
            sink.error(
                at,
                format!("test: unknown expect \"{}\"", word.escape_debug()),
                format!("write {right}"),
            );
            return None;
        }
    };
    Some(Test {
        name,
        from,
        to,
        expect,
        via,
        rate,
        file,
        line,
    })
}

/// The words under `key`; each is somebody. What stands behind a colon is the trace's to read.
fn ends(section: &Section<'_>, key: &str, names: &mut Names<'_>, sink: &mut Sink) -> Vec<String> {
    let texts = section.texts(key, true, "a name or a list of names", sink);
    if texts.is_empty() && section.value(key).is_none_or(|value| value.get_ref().is_array()) {
        section.missing(key, &format!("add {key} = \"NAME\" or [\"NAME\", …]"), sink);
    }
    for (word, span) in &texts {
        names.check_end(&section.what, word, key == "from", span.clone(), sink);
    }
    texts.into_iter().map(|(word, _)| word.to_owned()).collect()
}

fn via((name, span): Text<'_>, hub: &Hub, sink: &mut Sink) -> Option<String> {
    if name != hub.interface && name != hub.uplink {
        let message = format!("test: packets do not reach the hub by \"{}\"", name.escape_debug());
        sink.error(span, message, format!("write \"{}\" or \"{}\"", hub.interface, hub.uplink));
        return None;
    }
    Some(name.to_owned())
}
