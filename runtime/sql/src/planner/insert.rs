//! `INSERT INTO`: the query's columns fitted to the sink's.
use std::collections::BTreeSet;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};

use super::{PlannedInsert, Planner, optimize};
use datafusion::sql::sqlparser::ast::{Ident, SelectItem, SetExpr};

use crate::diagnose::diagnose;
use crate::error::Error;
use crate::graph::TableSpec;
use crate::statement::{Insert, Name};
use crate::tokens::Tokens;
use crate::types::{is_assignable, sql_name};

impl Planner {
    pub(super) fn insert(&self, insert: Insert, tokens: &Tokens) -> Result<PlannedInsert, Error> {
        let sink = self.sink(&insert.table)?.clone();
        let targets = targets(&insert, &sink)?;
        let mut query = insert.query;
        name_apart(&mut query.body);
        let plan = self.query(query, tokens)?;
        let plan = self.fit(plan, &insert.table, &sink, &targets, tokens)?;
        let plan = optimize::optimize(plan, &self.catalog).map_err(|error| diagnose(error, tokens, &self.catalog))?;
        Ok(PlannedInsert { plan, sink, position: tokens.start() })
    }

    fn sink(&self, name: &Name) -> Result<&TableSpec, Error> {
        let relation =
            self.catalog.get(&name.text).ok_or_else(|| self.catalog.unknown(&name.text).or_at(name.position))?;
        relation.table.as_ref().ok_or_else(|| {
            Error::at(name.position, format!("\"{}\" is a view: nothing can be inserted into it", name.text))
                .help("declare a table with CREATE TABLE")
        })
    }

    /// Projects the query to the columns of the sink, in their order and types.
    fn fit(
        &self,
        plan: LogicalPlan,
        table: &Name,
        sink: &TableSpec,
        targets: &[usize],
        tokens: &Tokens,
    ) -> Result<LogicalPlan, Error> {
        // Types are those after coercion, which literals and functions may still change.
        let plan = optimize::analyze(plan, &self.catalog).map_err(|error| diagnose(error, tokens, &self.catalog))?;
        let columns = plan.schema().columns();
        if columns.len() != targets.len() {
            let message =
                format!("the query has {}, table \"{}\" takes {}", counted(columns.len()), table.text, targets.len());
            let names: Vec<String> = targets.iter().map(|index| describe(sink, *index)).collect();
            return Err(Error::at(table.position, message).help(format!("columns: {}", names.join(", "))));
        }
        let mut exprs = Vec::with_capacity(sink.schema.fields().len());
        for (index, field) in sink.schema.fields().iter().enumerate() {
            let Some(position) = targets.iter().position(|target| *target == index) else {
                let null =
                    ScalarValue::try_from(field.data_type()).map_err(|error| diagnose(error, tokens, &self.catalog));
                exprs.push(Expr::Literal(null?, None).alias(field.name()));
                continue;
            };
            let from = plan.schema().field(position).data_type();
            if !is_assignable(from, field.data_type()) {
                return Err(mismatch(table, sink, index, from, plan.schema().field(position).name()));
            }
            let expr = Expr::Column(columns[position].clone());
            let expr = expr.cast_to(field.data_type(), plan.schema());
            exprs.push(expr.map_err(|error| diagnose(error, tokens, &self.catalog))?.alias(field.name()));
        }
        let build = || LogicalPlanBuilder::from(plan).project(exprs)?.build();
        build().map_err(|error| diagnose(error, tokens, &self.catalog))
    }
}

/// The columns of an INSERT go by position, so equal ones need no names of the user's. The planner wants them distinct.
fn name_apart(body: &mut SetExpr) {
    match body {
        SetExpr::SetOperation { left, right, .. } => {
            name_apart(left);
            name_apart(right);
        }
        SetExpr::Query(query) => name_apart(&mut query.body),
        SetExpr::Select(select) => {
            let mut seen = BTreeSet::new();
            for (index, item) in select.projection.iter_mut().enumerate() {
                let SelectItem::UnnamedExpr(expr) = item else { continue };
                if !seen.insert(expr.to_string()) {
                    let alias =
                        Ident::with_quote('`', format!("{} {index}", crate::tokens::shorten(&expr.to_string())));
                    *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
                }
            }
        }
        _ => {}
    }
}

/// Which column of the sink each column of the query goes to.
fn targets(insert: &Insert, sink: &TableSpec) -> Result<Vec<usize>, Error> {
    if insert.columns.is_empty() {
        return Ok((0..sink.schema.fields().len()).collect());
    }
    let mut targets = Vec::with_capacity(insert.columns.len());
    for name in &insert.columns {
        let Ok(index) = sink.schema.index_of(&name.text) else {
            let names: Vec<&str> = sink.schema.fields().iter().map(|field| field.name().as_str()).collect();
            return Err(Error::at(
                name.position,
                format!("table \"{}\" has no column \"{}\" to write", sink.name, name.text),
            )
            .help(crate::suggest::advice(&name.text, "columns", names)));
        };
        if targets.contains(&index) {
            return Err(Error::at(name.position, format!("column \"{}\" is named twice", name.text)));
        }
        targets.push(index);
    }
    Ok(targets)
}

fn counted(columns: usize) -> String {
    format!("{columns} column{}", if columns == 1 { "" } else { "s" })
}

fn describe(sink: &TableSpec, index: usize) -> String {
    let field = sink.schema.field(index);
    format!("{} {}", field.name(), sql_name(field.data_type()))
}

fn mismatch(table: &Name, sink: &TableSpec, index: usize, from: &DataType, from_name: &str) -> Error {
    let field = sink.schema.field(index);
    let message = format!(
        "column \"{}\" of table \"{}\" is of type {}, but the query gives {} (\"{}\")",
        field.name(),
        table.text,
        sql_name(field.data_type()),
        sql_name(from),
        crate::tokens::shorten(from_name),
    );
    Error::at(table.position, message).help(format!("write CAST(... AS {}) in the query", sql_name(field.data_type())))
}
