//! Table options: what a connector declares about them, and the typed reading of what a table says.
use std::collections::BTreeMap;

use millstream_sql::graph::TableSpec;

use super::suggest;
use crate::source::Error;

/// The type of an option's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionKind {
    /// Any text.
    Text,
    /// Exactly one character; `\t` for a tab.
    Character,
    /// A file or folder.
    Path,
    /// `true` or `false`.
    Boolean,
    /// A whole number of at least this much.
    Integer {
        /// Smallest value.
        min: i64,
    },
    /// A number with or without fraction.
    Number,
    /// A rate script: `20000` or `20000 for 30s, 100000 for 60s`.
    Rate,
    /// A length of time: `30s`, `5 min`, `100 ms`.
    Duration,
    /// One of these words.
    Choice(&'static [&'static str]),
}

impl OptionKind {
    /// What a value must look like, as an error says it.
    pub fn expected(self) -> String {
        match self {
            Self::Text => "some text".into(),
            Self::Character => "one character".into(),
            Self::Path => "a path".into(),
            Self::Boolean => "'true' or 'false'".into(),
            Self::Integer { min: i64::MIN } => "a whole number".into(),
            Self::Integer { min } => format!("a whole number of at least {min}"),
            Self::Number => "a number".into(),
            Self::Rate => {
                "a whole number of rows a second, or a script such as '20000 for 30s, 100000 for 60s' (the last rate \
                 holds)"
                    .into()
            }
            Self::Duration => "a duration such as '30s', '5 min' or '100 ms'".into(),
            Self::Choice(words) => words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" or "),
        }
    }

    fn accepts(self, value: &str) -> bool {
        match self {
            Self::Text => true,
            Self::Character => character(value).is_some(),
            Self::Path => !value.is_empty() && !value.contains('\0'),
            Self::Boolean => matches!(value, "true" | "false"),
            Self::Integer { min } => value.parse::<i64>().is_ok_and(|number| number >= min),
            Self::Number => value.parse::<f64>().is_ok_and(f64::is_finite),
            Self::Rate => crate::source::schedule::Schedule::parse(value).is_some(),
            Self::Duration => duration_ms(value).is_some(),
            Self::Choice(words) => words.contains(&value),
        }
    }
}

/// One option of a connector; the source of both the checks and the reference docs.
#[derive(Debug, Clone, Copy)]
pub struct OptionDoc {
    /// Name, lower-case. `#` stands for the name of a column.
    pub name: &'static str,
    /// Type of the value.
    pub kind: OptionKind,
    /// Value if it is not given; none = required, or absent without consequence (see `required`).
    pub default: Option<&'static str>,
    /// Whether it must be given.
    pub required: bool,
    /// What it does, one or two sentences.
    pub doc: &'static str,
}

impl OptionDoc {
    /// An option that may be absent.
    pub const fn optional(name: &'static str, kind: OptionKind, doc: &'static str) -> Self {
        Self { name, kind, default: None, required: false, doc }
    }

    /// An option with a default.
    pub const fn with_default(name: &'static str, kind: OptionKind, default: &'static str, doc: &'static str) -> Self {
        Self { name, kind, default: Some(default), required: false, doc }
    }

    /// An option that must be given.
    pub const fn required(name: &'static str, kind: OptionKind, doc: &'static str) -> Self {
        Self { name, kind, default: None, required: true, doc }
    }

    /// The column a given option name is about, if this is a per-column option and the name fits.
    fn column_of<'n>(&self, name: &'n str) -> Option<&'n str> {
        let (before, after) = self.name.split_once('#')?;
        name.strip_prefix(before)?.strip_suffix(after).filter(|column| !column.is_empty())
    }

    fn is_for(&self, name: &str) -> bool {
        self.name == name || self.column_of(name).is_some()
    }
}

/// The checked options of one table.
#[derive(Debug, Clone)]
pub struct Options {
    table: String,
    values: BTreeMap<String, String>,
    docs: &'static [OptionDoc],
}

impl Options {
    /// Checks every option the table gives against what its connector declares.
    pub fn read(table: &TableSpec, docs: &'static [OptionDoc]) -> Result<Self, Error> {
        let options = Self { table: table.name.clone(), values: table.options.clone(), docs };
        for (name, value) in table.options.iter().filter(|(name, _)| name.as_str() != "connector") {
            let Some(doc) = docs.iter().find(|doc| doc.is_for(name)) else {
                return Err(options.unknown(name, &table.connector));
            };
            if !doc.kind.accepts(value) {
                return Err(options.wrong(name, &doc.kind.expected()));
            }
        }
        match docs.iter().find(|doc| doc.required && !table.options.contains_key(doc.name)) {
            Some(doc) => Err(options.user(&format!(
                "option '{}' is missing: add '{}' = {} to its WITH clause",
                doc.name,
                doc.name,
                match doc.kind {
                    OptionKind::Choice(_) => doc.kind.expected(),
                    OptionKind::Path => "'<path>'".into(),
                    _ => format!("<{}>", doc.kind.expected()),
                }
            ))),
            None => Ok(options),
        }
    }

    fn unknown(&self, name: &str, connector: &str) -> Error {
        let mut allowed: Vec<&str> = self.docs.iter().map(|doc| doc.name).collect();
        allowed.sort_unstable();
        let hint =
            suggest::nearest(name, &allowed).map_or_else(String::new, |near| format!(", did you mean '{near}'?"));
        let allowed = if allowed.is_empty() { "none".into() } else { allowed.join(", ") };
        self.user(&format!("connector '{connector}' has no option '{name}'{hint} (its options: {allowed})"))
    }

    /// A user error about this table.
    pub fn user(&self, what: &str) -> Error {
        Error::User(format!("table \"{}\": {what}", self.table))
    }

    /// A user error about the value of an option.
    pub fn wrong(&self, name: &str, expected: &str) -> Error {
        let value = self.text(name).unwrap_or_default();
        self.user(&format!("option '{name}' = '{value}': expected {expected}"))
    }

    /// The value as given, or the default.
    pub fn text(&self, name: &str) -> Option<&str> {
        let default = || self.docs.iter().find(|doc| doc.name == name).and_then(|doc| doc.default);
        self.values.get(name).map(String::as_str).or_else(default)
    }

    /// A whole number, if given (or by default).
    pub fn integer(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }

    /// A whole number that is not negative.
    pub fn count(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// A number, if given (or by default).
    pub fn number(&self, name: &str) -> Option<f64> {
        self.text(name)?.parse().ok()
    }

    /// Whether it is `true`.
    pub fn flag(&self, name: &str) -> bool {
        self.text(name) == Some("true")
    }

    /// A single character as a byte.
    pub fn character(&self, name: &str) -> Option<char> {
        character(self.text(name)?)
    }

    /// A duration in ms.
    pub fn duration_ms(&self, name: &str) -> Option<u64> {
        duration_ms(self.text(name)?)
    }
}

fn character(text: &str) -> Option<char> {
    let text = if text == "\\t" { "\t" } else { text };
    let mut characters = text.chars();
    characters.next().filter(|_| characters.next().is_none())
}

/// A duration as Flink writes it: a whole number and a unit, with or without a blank; a bare number is ms.
pub fn duration_ms(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => 1,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000,
        "h" | "hour" | "hours" => 3_600_000,
        "d" | "day" | "days" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit_ms)
}
