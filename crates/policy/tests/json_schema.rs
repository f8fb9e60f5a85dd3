//! The JSON Schema: the shipped one is the one that the parser's keys make, and it says what the parser says.

mod common;

use serde_json::{Value, json};

/// What `value` breaks of `schema`, in the parts of JSON Schema that ours is made of; a keyword that is none of these fails the test.
fn faults(schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (keyword, said) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "$schema" | "title" | "description" => {}
            "type" => {
                let is = match said.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64() || value.is_u64(),
                    other => panic!("{other}"),
                };
                if !is {
                    found.push(format!("{at}: not of type {said}"));
                }
            }
            "enum" if !said.as_array().unwrap().contains(value) => found.push(format!("{at}: not one of {said}")),
            "minimum" if value.as_i64().is_some_and(|value| value < said.as_i64().unwrap()) => {
                found.push(format!("{at}: below {said}"));
            }
            "maximum" if value.as_i64().is_some_and(|value| value > said.as_i64().unwrap()) => {
                found.push(format!("{at}: above {said}"));
            }
            "enum" | "minimum" | "maximum" => {}
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    found.extend(faults(said, item, &format!("{at}[{index}]")));
                }
            }
            "properties" => {
                for (key, of) in said.as_object().unwrap() {
                    if let Some(inner) = value.get(key) {
                        found.extend(faults(of, inner, &format!("{at}.{key}")));
                    }
                }
            }
            "required" => {
                for key in said.as_array().unwrap().iter().map(|key| key.as_str().unwrap()) {
                    if value.is_object() && value.get(key).is_none() {
                        found.push(format!("{at}: lacks {key}"));
                    }
                }
            }
            "additionalProperties" => {
                let known = schema.get("properties");
                let rest = value.as_object().into_iter().flatten();
                for (key, inner) in rest.filter(|(key, _)| known.is_none_or(|known| known.get(key).is_none())) {
                    match said {
                        Value::Bool(false) => found.push(format!("{at}: unknown {key}")),
                        said => found.extend(faults(said, inner, &format!("{at}.{key}"))),
                    }
                }
            }
            "anyOf" => {
                let ways: Vec<Vec<String>> = said.as_array().unwrap().iter().map(|way| faults(way, value, at)).collect();
                if ways.iter().all(|way| !way.is_empty()) {
                    found.push(format!("{at}: none of the ways: {ways:?}"));
                }
            }
            other => panic!("{other}"),
        }
    }
    found
}

/// TOML as JSON, dates as texts.
fn as_json(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => json!(text),
        toml::Value::Integer(number) => json!(number),
        toml::Value::Float(number) => json!(number),
        toml::Value::Boolean(flag) => json!(flag),
        toml::Value::Datetime(time) => json!(time.to_string()),
        toml::Value::Array(items) => items.iter().map(as_json).collect(),
        toml::Value::Table(table) => table.iter().map(|(key, value)| (key.clone(), as_json(value))).collect(),
    }
}

fn check(text: &str) -> Vec<String> {
    let schema = serde_json::from_str(&fielato_policy::json_schema()).unwrap();
    faults(&schema, &as_json(&toml::from_str::<toml::Value>(text).unwrap()), "")
}

#[test]
fn the_shipped_schema_is_this_one() {
    let shipped: Value = serde_json::from_str(include_str!("../../../docs/fielato.schema.json")).unwrap();
    let made: Value = serde_json::from_str(&fielato_policy::json_schema()).unwrap();
    assert_eq!(
        shipped, made,
        "print it with `cargo run -p fielato-policy --example json_schema`"
    );
}

#[test]
fn what_the_parser_accepts_fits() {
    let page = include_str!("../../../docs/configuration.md");
    let examples = page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut count = 0;
    for text in examples.map(str::to_owned).chain([common::talk(), common::full()]) {
        assert_eq!(check(&text), Vec::<String>::new(), "{text}");
        count += 1;
    }
    assert!(count > 5);
}

#[test]
fn what_is_wrong_does_not() {
    for (from, to, expected) in [
        ("uplink =", "uplnik =", ".hub: unknown uplnik"),
        ("uplink = \"eth0\"", "", ".hub: lacks uplink"),
        ("mtu = 1420", "mtu = 70000", ".hub.mtu: above 65535"),
        ("mtu = 1420", "mtu = \"1420\"", ".hub.mtu: not of type \"integer\""),
        (
            "\"source\"",
            "\"sauce\"",
            ".host.server.strategy: not one of [\"source\",\"member\"]",
        ),
        ("action = \"drop\"", "action = \"dorp\"", ".rule[0].action: not one of"),
        (
            "groups = [",
            "groups = [1, ",
            ".member.alice.groups[0]: not of type \"string\"",
        ),
        ("[[ban]]", "[[bann]]", ": unknown bann"),
    ] {
        let text = common::full().replacen("uplink = \"eth0\"", "uplink = \"eth0\"\nmtu = 1420", 1);
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        let found = check(&changed);
        assert!(found.iter().any(|one| one.starts_with(expected)), "{to}: {found:?}");
    }
}
