//! From the schemas that are derived to those that Kubernetes takes.
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

/// An object with any fields: its own schema would make the definition too big to be applied.
pub fn open_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Makes a derived schema structural: one type each, enums as lists, signed formats. A field that may be absent may not be
/// null as well: the API server then drops a null, and rules have one case less.
pub fn structural(schema: &mut Schema) {
    let mut value = std::mem::take(schema).to_value();
    rewrite(&mut value);
    if let Ok(rewritten) = Schema::try_from(value) {
        *schema = rewritten;
    }
}

fn rewrite(value: &mut Value) {
    let Some(schema) = value.as_object_mut() else { return };
    drop_null(schema);
    merge_words(schema);
    sign(schema);
    if let Some(children) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        children.values_mut().for_each(rewrite);
    }
    for field in ["items", "additionalProperties"] {
        if let Some(child) = schema.get_mut(field) {
            rewrite(child);
        }
    }
    if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
        schema.remove("additionalProperties");
    }
    schema.remove("title");
}

/// `Option<T>` becomes `T`.
fn drop_null(schema: &mut Map<String, Value>) {
    let is_null = |one: &Value| one.is_null() || *one == json!("null") || *one == json!({"type": "null"});
    for field in ["type", "enum", "anyOf"] {
        if let Some(list) = schema.get_mut(field).and_then(Value::as_array_mut) {
            list.retain(|one| !is_null(one));
        }
    }
    let single = |value: Option<&Value>| {
        value.and_then(Value::as_array).filter(|list| list.len() == 1).map(|list| list[0].clone())
    };
    if let Some(one) = single(schema.get("type")) {
        schema.insert("type".into(), one);
    }
    if let Some(Value::Object(one)) = single(schema.get("anyOf")) {
        schema.remove("anyOf");
        for (key, value) in one {
            schema.entry(key).or_insert(value);
        }
    }
}

/// A choice of documented words becomes an enum whose description says what each word means.
fn merge_words(schema: &mut Map<String, Value>) {
    let Some(choices) = schema.get("oneOf").and_then(Value::as_array) else { return };
    let words: Option<Vec<Value>> = choices.iter().map(|choice| choice.get("const").cloned()).collect();
    let Some(words) = words else { return };
    let docs = choices.iter().filter_map(|choice| {
        let doc = choice.get("description")?.as_str()?;
        Some(format!("{}: {}", choice.get("const")?.as_str()?, doc))
    });
    let docs: Vec<String> = docs.collect();
    let about = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    let description = format!("{about} {}", docs.join(" "));
    schema.remove("oneOf");
    schema.insert("type".into(), json!("string"));
    schema.insert("enum".into(), Value::Array(words));
    schema.insert("description".into(), json!(description.trim()));
}

/// The API server knows int32 and int64.
fn sign(schema: &mut Map<String, Value>) {
    let (format, most) = match schema.get("format").and_then(Value::as_str) {
        Some("uint8" | "uint16" | "uint32") => ("int32", json!(i32::MAX)),
        Some("uint64" | "uint") => ("int64", json!(1u64 << 53)),
        _ => return,
    };
    schema.insert("format".into(), json!(format));
    schema.entry("maximum").or_insert(most);
    schema.entry("minimum").or_insert(json!(0));
}
