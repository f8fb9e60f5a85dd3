//! Ordered parts of the file: rules, published ports, raw rules, shapes.

use serde::Serialize;

use super::sequence::{Matching, matching};
use super::values::{content, fields};
use super::{Change, Op};
use crate::config::{Action, Config, Party, Rule};

/// What came, went, moved and changed among the rules.
pub(super) fn rules(old: &Config, new: &Config) -> Vec<Change> {
    let same_place = |old: &Rule, new: &Rule| match (&old.name, &new.name) {
        (None, None) => (&old.from, &old.to) == (&new.from, &new.to),
        (old, new) => old == new,
    };
    ordered("rule", &old.rules, &new.rules, rule_text, same_place)
}

/// The same of other lists, whose items are themselves told.
pub(super) fn items<T: Serialize>(kind: &'static str, old: &[T], new: &[T], text: impl Fn(&T) -> String) -> Vec<Change> {
    ordered(kind, old, new, text, |_, _| false)
}

fn ordered<T: Serialize>(
    kind: &'static str,
    old: &[T],
    new: &[T],
    text: impl Fn(&T) -> String,
    is_heir: impl Fn(&T, &T) -> bool,
) -> Vec<Change> {
    let contents = |items: &[T]| items.iter().map(content).collect::<Vec<String>>();
    let Matching {
        stayed: _,
        moved,
        removed,
        mut added,
    } = matching(&contents(old), &contents(new));
    let number = |place: usize| place.saturating_add(1).to_string();
    // A change and where it stands, in the new list as far as it is there.
    let mut changes: Vec<(usize, Change)> = Vec::new();
    for place in removed {
        let Some(gone) = old.get(place) else { continue };
        let heir = added
            .iter()
            .position(|added| new.get(*added).is_some_and(|new| is_heir(gone, new)));
        match heir.map(|index| added.remove(index)).and_then(|at| Some((at, new.get(at)?))) {
            Some((at, heir)) => changes.push((
                at,
                Change {
                    op: Op::Change,
                    kind,
                    name: number(at),
                    detail: format!("{} ({})", text(heir), fields(gone, heir, &[]).join("; ")),
                },
            )),
            None => changes.push((
                place,
                Change {
                    op: Op::Remove,
                    kind,
                    name: number(place),
                    detail: text(gone),
                },
            )),
        }
    }
    for (op, places) in [
        (Op::Add, added.iter().map(|place| (*place, *place)).collect()),
        (Op::Move, moved),
    ] {
        for (before, place) in places {
            let Some(item) = new.get(place) else { continue };
            let detail = match op {
                Op::Move => format!("{} (was {kind} {})", text(item), number(before)),
                _ => text(item),
            };
            let name = number(place);
            changes.push((place, Change { op, kind, name, detail }));
        }
    }
    changes.sort_by_key(|(place, change)| (*place, change.op));
    changes.into_iter().map(|(_, change)| change).collect()
}

/// `accept staff > storage, hub`
pub fn rule_text(rule: &Rule) -> String {
    let Rule {
        name,
        from,
        to,
        action,
        when,
        until,
        file: _,
        line: _,
    } = rule;
    let action = match action {
        Action::Accept => "accept".to_owned(),
        Action::Drop => "drop".to_owned(),
        Action::Reject => "reject".to_owned(),
        Action::Log { prefix } => format!("log {prefix:?}"),
        Action::Limit(rate) => format!("limit {}/{}", rate.count, rate.per.word()),
    };
    let mut text = format!("{action} {} > {}", parties(from), parties(to));
    if !when.is_empty() {
        text.push_str(", at times");
    }
    if let Some(until) = until {
        text.push_str(&format!(", until {until}"));
    }
    if let Some(name) = name {
        text.push_str(&format!(" ({name})"));
    }
    text
}

/// As the file names them.
pub(super) fn parties(parties: &[Party]) -> String {
    let names = parties.iter().map(|party| match party {
        Party::Any => "any".to_owned(),
        Party::Members => "members".to_owned(),
        Party::Hub => "hub".to_owned(),
        Party::Internet => "internet".to_owned(),
        Party::Member(name) | Party::Group(name) | Party::Host(name) | Party::Service(name) => name.clone(),
        Party::Prefix(net) => crate::render::plain(net),
    });
    names.collect::<Vec<_>>().join(", ")
}
