//! `[raw]`.

use crate::config::RawRule;
use crate::diagnostic::Sink;
use crate::keys::RAW;
use crate::raw;
use crate::schema::{Section, Top};

/// Every file may have one; their rules stand behind each other.
pub fn read(top: &Top<'_>, sink: &mut Sink) -> Vec<RawRule> {
    let sections: Vec<Section<'_>> = top
        .files()
        .iter()
        .filter_map(|file| file.subtable("raw", RAW, sink))
        .collect();
    let mut rules = Vec::new();
    for section in sections {
        let after = section.flag("after", false, sink);
        let right = "[\"-A FORWARD -p gre -j ACCEPT\"]";
        if section.value("rules").is_none() {
            section.missing("rules", &format!("add rules = {right}"), sink);
        }
        for (text, span) in section.texts("rules", false, right, sink) {
            match raw::parse(text) {
                Ok(rule) => {
                    let (file, line) = top.texts.line(span.start);
                    rules.push(RawRule {
                        after,
                        number: rules.len() + 1,
                        file,
                        line,
                        ..rule
                    });
                }
                Err(error) => sink.error(span, format!("{}: {error}", section.what), error.help()),
            }
        }
    }
    rules
}
