//! Parts of a configuration as values, compared field by field: a field that the language gains is compared too.

use std::collections::{BTreeMap, BTreeSet};

use fielato_qdisc::units::write_rate;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Change, Op};

/// Where something stands in the file is no part of what it says.
const PLACE: [&str; 2] = ["file", "line"];

/// Bytes per second.
const RATES: [&str; 2] = ["rate", "ceil"];

/// What came, went and changed between two tables of named things. Fields in `without` do not count.
pub(super) fn named<T: Serialize>(
    kind: &'static str,
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
    without: &[&str],
) -> Vec<Change> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut changes = Vec::new();
    for name in names {
        let change = |op, detail: String| Change {
            op,
            kind,
            name: name.clone(),
            detail,
        };
        match (old.get(name), new.get(name)) {
            (None, Some(new)) => changes.push(change(Op::Add, summary(new, without))),
            (Some(_), None) => changes.push(change(Op::Remove, String::new())),
            (Some(old), Some(new)) => {
                let fields = fields(old, new, without);
                if !fields.is_empty() {
                    changes.push(change(Op::Change, fields.join("; ")));
                }
            }
            (None, None) => {}
        }
    }
    changes
}

/// The fields that differ: `mtu 1420 -> 1400`.
pub(super) fn fields<T: Serialize>(old: &T, new: &T, without: &[&str]) -> Vec<String> {
    let (old, new) = (flat(old, without), flat(new, without));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let none = "none".to_owned();
    let differing = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    let text = |value: Option<&String>| value.unwrap_or(&none).clone();
    differing
        .map(|name| format!("{name} {} -> {}", text(old.get(name)), text(new.get(name))))
        .collect()
}

fn summary<T: Serialize>(value: &T, without: &[&str]) -> String {
    let fields = flat(value, without);
    let fields = fields
        .iter()
        .filter(|(_, value)| !["false", "none"].contains(&value.as_str()));
    fields
        .map(|(name, value)| format!("{name} {value}"))
        .collect::<Vec<_>>()
        .join("; ")
}

/// Fields with their values, those of tables within under both names; what is not set is left out.
fn flat<T: Serialize>(value: &T, without: &[&str]) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    // Plain data has a value.
    let value = serde_json::to_value(value).unwrap_or_default();
    put("", &value, without, &mut fields);
    fields
}

fn put(name: &str, value: &Value, without: &[&str], fields: &mut BTreeMap<String, String>) {
    match value {
        Value::Null => {}
        Value::Array(items) if items.is_empty() => {}
        Value::Object(object) => {
            for (key, value) in object {
                if let (true, Some(bytes)) = (RATES.contains(&key.as_str()), value.as_u64()) {
                    fields.insert(key.clone(), write_rate(bytes));
                    continue;
                }
                if PLACE.contains(&key.as_str()) || without.contains(&key.as_str()) {
                    continue;
                }
                let name = if name.is_empty() {
                    key.clone()
                } else {
                    format!("{name}.{key}")
                };
                put(&name, value, without, fields);
            }
        }
        value => {
            fields.insert(name.to_owned(), text(value));
        }
    }
}

/// As one would say it.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Object(object) => of_object(object).unwrap_or_else(|| value.to_string()),
        other => other.to_string(),
    }
}

/// Ports as the file has them, and who a rule names.
fn of_object(object: &Map<String, Value>) -> Option<String> {
    if let (3, Some(protocol), Some(first), Some(last)) = (
        object.len(),
        object.get("protocol").and_then(Value::as_str),
        object.get("first"),
        object.get("last"),
    ) {
        return Some(match first == last {
            true => format!("{protocol}/{first}"),
            false => format!("{protocol}/{first}-{last}"),
        });
    }
    let mut values = object.values();
    match (values.next(), values.next()) {
        (Some(Value::String(name)), None) => Some(name.clone()),
        _ => None,
    }
}

/// What something says, wherever it stands, to be compared.
pub(super) fn content<T: Serialize>(value: &T) -> String {
    let mut value = serde_json::to_value(value).unwrap_or_default();
    if let Some(object) = value.as_object_mut() {
        object.retain(|key, _| !PLACE.contains(&key.as_str()));
    }
    value.to_string()
}
