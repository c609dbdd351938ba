//! JSON values as YAML: block style, keys sorted, text quoted only where it must be. The same value gives the same text.
use serde_json::{Map, Value};

/// The whole document, ending in a newline.
pub fn document(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(fields) if !fields.is_empty() => object(fields, 0, &mut text),
        Value::Array(entries) if !entries.is_empty() => array(entries, 0, &mut text),
        _ => text.push_str(&format!("{}\n", scalar(value))),
    }
    text
}

fn object(fields: &Map<String, Value>, indent: usize, text: &mut String) {
    let mut sorted: Vec<(&String, &Value)> = fields.iter().collect();
    sorted.sort_by_key(|(name, _)| *name);
    for (name, value) in sorted {
        text.push_str(&format!("{:indent$}{}:", "", quote(name)));
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                text.push('\n');
                object(fields, indent + 2, text);
            }
            Value::Array(entries) if !entries.is_empty() => {
                text.push('\n');
                array(entries, indent, text);
            }
            _ => text.push_str(&format!(" {}\n", scalar(value))),
        }
    }
}

fn array(entries: &[Value], indent: usize, text: &mut String) {
    for entry in entries {
        let mut inner = String::new();
        match entry {
            Value::Object(fields) if !fields.is_empty() => object(fields, indent + 2, &mut inner),
            Value::Array(entries) if !entries.is_empty() => array(entries, indent + 2, &mut inner),
            _ => inner = format!("{:1$}{2}\n", "", indent + 2, scalar(entry)),
        }
        // The dash stands in the indentation of the first line.
        text.push_str(&format!("{:indent$}- {}", "", &inner[indent + 2..]));
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => format!("{float:.0}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// The text itself if no reader of YAML takes it for anything else, or in quotes as JSON has it, which YAML understands.
fn quote(text: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || " _./-,()'=;".contains(c))
        && !text.ends_with(' ')
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_of_every_kind() {
        let value = json!({
            "b": {"text": "plain words, with (some) marks", "colon": "a: b", "word": "off", "number": "1", "empty": ""},
            "a": [1.0, 0.5, true, null, {"y": [], "x": {}}, [["deep"]], {"z": [{"k": "v", "j": "w"}]}],
        });
        assert_eq!(
            document(&value),
            "a:\n- 1\n- 0.5\n- true\n- null\n- x: {}\n  \"y\": []\n- - - deep\n- z:\n  - j: w\n    k: v\nb:\n  \
             colon: \"a: b\"\n  empty: \"\"\n  number: \"1\"\n  text: plain words, with (some) marks\n  word: \"off\"\n"
        );
        assert_eq!(document(&json!("x\ny")), "\"x\\ny\"\n");
    }
}
