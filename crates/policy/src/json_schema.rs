//! The file's keys as a JSON Schema, so that editors complete and check it.

use serde_json::{Map, Value as Json, json};

use crate::keys::{Key, TOP, Value};

/// The JSON Schema (draft 2020-12) of `fielato.toml`, as text. It says which keys there are, what kind of value each takes, and which
/// are needed; whether an address, a rate or a name is a right one, `fielato check` says.
pub fn json_schema() -> String {
    let mut schema = table(TOP, true);
    schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("title".to_owned(), json!("fielato.toml"));
    let mut text = format!("{:#}", Json::Object(schema));
    text.push('\n');
    text
}

/// What an included file has may be missing in the main one, and the other way round, so that
/// nothing is needed at the top.
fn table(keys: &[Key], top: bool) -> Map<String, Json> {
    let properties = keys.iter().map(|key| {
        let mut schema = value(&key.value);
        schema.insert("description".to_owned(), json!(key.about));
        (key.name.to_owned(), Json::Object(schema))
    });
    let mut schema = object(json!({
        "type": "object",
        "additionalProperties": false,
        "properties": Json::Object(properties.collect()),
    }));
    let needed: Vec<&str> = keys.iter().filter(|key| key.needed).map(|key| key.name).collect();
    if !needed.is_empty() && !top {
        schema.insert("required".to_owned(), json!(needed));
    }
    schema
}

fn value(value: &Value) -> Map<String, Json> {
    let texts = || json!({ "type": "array", "items": { "type": "string" } });
    let list = |keys: &[Key]| json!({ "type": "array", "items": Json::Object(table(keys, false)) });
    match value {
        // A date and time without quotes is a text in JSON's terms.
        Value::Text | Value::Time => object(json!({ "type": "string" })),
        Value::Word(words) => object(json!({ "type": "string", "enum": words })),
        Value::Texts => object(texts()),
        Value::TextOrTexts => object(json!({ "anyOf": [{ "type": "string" }, texts()] })),
        Value::Flag => object(json!({ "type": "boolean" })),
        Value::Number(least, most) => object(json!({ "type": "integer", "minimum": least, "maximum": most })),
        Value::Table(keys) => table(keys, false),
        Value::List(keys) => object(list(keys)),
        Value::TableOrList(keys) => object(json!({ "anyOf": [Json::Object(table(keys, false)), list(keys)] })),
        Value::Named(keys) => object(json!({
            "type": "object",
            "additionalProperties": Json::Object(table(keys, false)),
        })),
    }
}

/// The fields of a literal object.
fn object(json: Json) -> Map<String, Json> {
    match json {
        Json::Object(fields) => fields,
        other => Map::from_iter([("const".to_owned(), other)]),
    }
}
