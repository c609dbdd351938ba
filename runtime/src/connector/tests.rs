use std::collections::BTreeMap;

use arrow::datatypes::{Field, Schema};

use super::options::{OptionKind, duration_ms};
use super::*;

fn table(connector: &str, options: &[(&str, &str)]) -> TableSpec {
    let options: BTreeMap<_, _> = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let schema = Arc::new(Schema::new(vec![Field::new("price", DataType::Int64, true)]));
    TableSpec { name: "bid".into(), connector: connector.into(), options, schema, line: 1, column: 1 }
}

#[test]
fn durations() {
    let cases = [
        ("30s", Some(30_000)),
        ("5 min", Some(300_000)),
        ("100 ms", Some(100)),
        ("100", Some(100)),
        (" 1 h ", Some(3_600_000)),
        ("2 DAYS", Some(172_800_000)),
        ("1.5 s", None),
        ("-1 s", None),
        ("s", None),
        ("", None),
        ("10 fortnights", None),
        ("99999999999999999 d", None),
    ];
    for (text, ms) in cases {
        assert_eq!(duration_ms(text), ms, "{text}");
    }
}

#[test]
fn defaults_fit_their_own_types_and_names_are_lower_case() {
    for connector in all() {
        for doc in connector.source.into_iter().chain(connector.sink).flatten() {
            assert_eq!(doc.name, doc.name.to_lowercase());
            assert!(!doc.doc.is_empty());
            assert!(!doc.required || doc.default.is_none(), "{}", doc.name);
            if let (Some(value), false) = (doc.default, doc.name.contains('#')) {
                let mut options = vec![(doc.name, value)];
                let needed = connector.source.into_iter().chain(connector.sink).flatten().filter(|doc| doc.required);
                options.extend(needed.map(|doc| match doc.kind {
                    OptionKind::Choice(words) => (doc.name, words[0]),
                    _ => (doc.name, "/tmp"),
                }));
                let docs = if connector.source.is_some_and(|docs| docs.iter().any(|other| other.name == doc.name)) {
                    connector.source
                } else {
                    connector.sink
                };
                options::Options::read(&table(connector.name, &options), docs.unwrap()).unwrap();
            }
        }
    }
}

#[test]
fn the_registry_agrees_with_its_docs() {
    for connector in all() {
        assert_eq!(source(connector.name).is_some(), connector.source.is_some(), "{}", connector.name);
        assert_eq!(sink(connector.name).is_some(), connector.sink.is_some(), "{}", connector.name);
    }
}

#[test]
fn error_texts() {
    let nexmark = |option: (&'static str, &'static str)| vec![("nexmark.table", "bid"), option];
    type Case<'c> = (Role, &'c str, Vec<(&'c str, &'c str)>, &'c str);
    let cases: Vec<Case> = vec![
        (
            Role::Source,
            "nexmrak",
            vec![],
            "there is no connector 'nexmrak', did you mean 'nexmark'? (connectors that can be read: READ)",
        ),
        (Role::Sink, "kafka", vec![], "there is no connector 'kafka' (connectors that can be written: WRITTEN)"),
        (Role::Source, "print", vec![], "connector 'print' cannot be read (connectors that can: READ)"),
        (Role::Sink, "nexmark", vec![], "connector 'nexmark' cannot be written (connectors that can: WRITTEN)"),
        (
            Role::Source,
            "nexmark",
            vec![],
            "option 'nexmark.table' is missing: add 'nexmark.table' = 'person' or 'auction' or 'bid' or 'all' to its WITH clause",
        ),
        (
            Role::Source,
            "nexmark",
            vec![("nexmark.table", "bids")],
            "option 'nexmark.table' = 'bids': expected 'person' or 'auction' or 'bid' or 'all'",
        ),
        (
            Role::Source,
            "nexmark",
            nexmark(("nexmark.rate", "fast")),
            "option 'nexmark.rate' = 'fast': expected a whole number of rows a second, or a script such as '20000 for \
             30s, 100000 for 60s' (the last rate holds)",
        ),
        (
            Role::Source,
            "nexmark",
            nexmark(("nexmark.events", "-1")),
            "option 'nexmark.events' = '-1': expected a whole number of at least 0",
        ),
        (
            Role::Source,
            "nexmark",
            nexmark(("nexmark.event", "1")),
            "connector 'nexmark' has no option 'nexmark.event', did you mean 'nexmark.events'? (its options: \
             nexmark.event-rate, nexmark.events, nexmark.rate, nexmark.table)",
        ),
        (Role::Sink, "blackhole", vec![("x", "1")], "connector 'blackhole' has no option 'x' (its options: none)"),
    ];
    let names = |is: fn(&ConnectorDoc) -> bool| {
        proposed().iter().filter(|doc| is(doc)).map(|doc| doc.name).collect::<Vec<_>>().join(", ")
    };
    let (read, written) = (names(|doc| doc.source.is_some()), names(|doc| doc.sink.is_some()));
    for (role, connector, options, expected) in cases {
        let error = validate(&table(connector, &options), role).unwrap_err();
        let expected = expected.replace("READ", &read).replace("WRITTEN", &written);
        assert!(matches!(error, Error::User(_)));
        assert_eq!(error.to_string(), format!("table \"bid\": {expected}"));
    }
}
