//! Turns what DataFusion says about a statement into what its author needs to hear, at its place in the text.
use datafusion::common::{Column, Diagnostic, SchemaError};
use datafusion::error::DataFusionError;

use crate::catalog::Catalog;
use crate::error::{Error, Position};
use crate::lift::WINDOW_FUNCTIONS;
use crate::suggest::advice;
use crate::tokens::{Tokens, lower_first, shorten};

/// The error of a statement. `tokens` are those of the statement, to find places in.
pub(crate) fn diagnose(error: DataFusionError, tokens: &Tokens, catalog: &Catalog) -> Error {
    let place = place_of(&error);
    explain(innermost(error), tokens, catalog, place).or_at(place).or_at(tokens.start())
}

/// The place a diagnostic anywhere in the chain gives.
fn place_of(error: &DataFusionError) -> Position {
    match error {
        DataFusionError::Diagnostic(diagnostic, inner) => match diagnostic_place(diagnostic) {
            place if place.is_known() => place,
            _ => place_of(inner),
        },
        DataFusionError::Context(_, inner) => place_of(inner),
        DataFusionError::Shared(inner) => place_of(inner),
        DataFusionError::Collection(errors) => errors.first().map(place_of).unwrap_or_default(),
        _ => Position::default(),
    }
}

fn diagnostic_place(diagnostic: &Diagnostic) -> Position {
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    diagnostic
        .span
        .map(|span| Position { line: narrow(span.start.line), column: narrow(span.start.column) })
        .unwrap_or_default()
}

fn innermost(error: DataFusionError) -> DataFusionError {
    match error {
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => innermost(*inner),
        DataFusionError::Collection(mut errors) if !errors.is_empty() => innermost(errors.swap_remove(0)),
        other => other,
    }
}

fn explain(error: DataFusionError, tokens: &Tokens, catalog: &Catalog, place: Position) -> Error {
    match error {
        DataFusionError::External(inner) => match inner.downcast::<Error>() {
            Ok(error) => *error,
            Err(other) => Error::somewhere(shorten(&other.to_string())),
        },
        DataFusionError::SchemaError(error, _) => schema_error(*error, tokens, place),
        DataFusionError::Plan(message) => plan_error(&message, tokens, catalog),
        DataFusionError::NotImplemented(message) => {
            Error::somewhere(format!("not supported yet: {}", lower_first(first_line(&message))))
        }
        other => Error::somewhere(lower_first(first_line(&other.strip_backtrace()))),
    }
}

fn schema_error(error: SchemaError, tokens: &Tokens, place: Position) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => unknown_column(&field, &valid_fields, tokens, place),
        SchemaError::AmbiguousReference { field } => {
            Error::at(find(&field.name, tokens, place), format!("column \"{}\" is ambiguous", field.name))
                .help("put the name or alias of its table before it, as in t.column")
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            Error::at(find(&name, tokens, place), format!("there are two columns named \"{name}\""))
                .help("give one of them another name with AS, or its table an alias")
        }
    }
}

fn unknown_column(field: &Column, valid: &[Column], tokens: &Tokens, place: Position) -> Error {
    let position = find(&field.name, tokens, place);
    let Some(relation) = &field.relation else {
        let names = valid.iter().map(|column| column.name.as_str());
        return Error::at(position, format!("unknown column \"{}\"", field.name)).help(advice(
            &field.name,
            "columns",
            names,
        ));
    };
    let of_relation =
        |column: &&Column| column.relation.as_ref().is_some_and(|other| other.table() == relation.table());
    let names: Vec<&str> = valid.iter().filter(of_relation).map(|column| column.name.as_str()).collect();
    let message = format!("unknown column \"{}.{}\"", relation.table(), field.name);
    if names.is_empty() {
        let mut relations: Vec<&str> =
            valid.iter().filter_map(|column| Some(column.relation.as_ref()?.table())).collect();
        relations.dedup();
        return Error::at(position, message).help(advice(relation.table(), "tables here", relations));
    }
    Error::at(position, message).help(advice(&field.name, "columns", names))
}

/// A place given by the library, else where the name is written in the statement.
fn find(name: &str, tokens: &Tokens, place: Position) -> Position {
    if place.is_known() { place } else { tokens.find_name(name).unwrap_or_default() }
}

fn plan_error(message: &str, tokens: &Tokens, catalog: &Catalog) -> Error {
    if let Some(name) = between(message, "Invalid function '", "'") {
        return unknown_function(name, tokens, catalog);
    }
    if let Some(rest) = message.strip_prefix("Column in SELECT must be in GROUP BY or an aggregate function: ") {
        let message = "a selected column is neither grouped by nor aggregated";
        let name = between(rest, "column \"", "\"").and_then(|name| name.rsplit('.').next());
        let position = name.and_then(|name| tokens.find_name(name)).unwrap_or_default();
        return Error::at(position, message).help(first_line(rest).to_owned());
    }
    if message.to_lowercase().contains("require unique expression names") {
        return Error::somewhere("two selected columns have the same name")
            .help("give one of them another name with AS");
    }
    if let Some((_, help)) = message.split_once(" No function matches the given name and argument types") {
        let call = between(help, "'", "'").unwrap_or_default();
        let position = call.split('(').next().and_then(|name| tokens.find_name(name)).unwrap_or_default();
        return Error::at(position, format!("no function {} with these argument types", shorten(call)))
            .help("CAST the arguments to the types it takes");
    }
    Error::somewhere(lower_first(first_line(message)))
}

fn unknown_function(name: &str, tokens: &Tokens, catalog: &Catalog) -> Error {
    let error = Error::at(tokens.find_name(name).unwrap_or_default(), format!("unknown function \"{name}\""));
    if WINDOW_FUNCTIONS.iter().any(|function| name.eq_ignore_ascii_case(function)) {
        return error.help("windows are table functions: FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end");
    }
    let functions = &catalog.functions;
    match crate::suggest::nearest(name, functions.scalar_names().chain(functions.aggregate_names())) {
        Some(nearest) => error.help(format!("did you mean \"{nearest}\"?")),
        None => error.help("aggregates: avg, count, max, min, sum; scalar functions are those of DataFusion"),
    }
}

fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or_default().trim_end_matches('.')
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(inner, _)| inner)
}
