//! `CREATE TABLE` to a catalogue entry: what reading the table means as a plan.
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::{Expr, ExprSchemable, Extension, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::planner::PlannerContext;
use datafusion::sql::sqlparser::ast::Expr as SqlExpr;

use super::{Planner, check_expression};
use crate::catalog::{PhysicalTable, Relation};
use crate::diagnose::diagnose;
use crate::error::{Error, Position};
use crate::graph::TableSpec;
use crate::node;
use crate::statement::{ColumnKind, CreateTable};
use crate::tokens::Tokens;
use crate::types::{TIMESTAMP, sql_name, timestamp_ltz};

impl Planner {
    pub(super) fn create_table(&mut self, table: CreateTable, tokens: &Tokens) -> Result<(), Error> {
        self.catalog.check_free(&table.name)?;
        let spec = spec_of(&table)?;
        let idle_timeout_ms = idle_timeout(&table)?;
        let source = Arc::new(PhysicalTable { spec: spec.clone() });
        let plan = LogicalPlanBuilder::scan(table.name.text.as_str(), source, None)
            .and_then(LogicalPlanBuilder::build)
            .map_err(|error| diagnose(error, tokens, &self.catalog))?;
        let plan = self.add_computed(&table, plan, tokens)?;
        let plan = self.add_watermark(&table, idle_timeout_ms, plan, tokens)?;
        let position = table.name.position;
        self.catalog.insert(&table.name, Relation { plan, table: Some(spec), position });
        Ok(())
    }

    /// An expression of a declaration, its types coerced.
    fn declared(&self, sql: SqlExpr, plan: &LogicalPlan, tokens: &Tokens) -> Result<Expr, Error> {
        let expr = self
            .sql()
            .sql_to_expr(sql, plan.schema(), &mut PlannerContext::new())
            .map_err(|error| diagnose(error, tokens, &self.catalog))?;
        let mut refused = None;
        check_expression(&expr, tokens, &mut refused);
        refused.map_or(Ok(expr), Err)
    }

    fn add_computed(&self, table: &CreateTable, plan: LogicalPlan, tokens: &Tokens) -> Result<LogicalPlan, Error> {
        if table.columns.iter().all(|column| matches!(column.kind, ColumnKind::Physical(_))) {
            return Ok(plan);
        }
        let mut exprs = Vec::with_capacity(table.columns.len());
        for column in &table.columns {
            let name = column.name.text.as_str();
            exprs.push(match &column.kind {
                ColumnKind::Physical(_) => {
                    Expr::Column(datafusion::common::Column::new(Some(table.name.text.as_str()), name))
                }
                ColumnKind::Computed(sql) => {
                    let expr = self.declared(sql.as_ref().clone(), &plan, tokens)?;
                    in_milliseconds(expr, &plan).map_err(|error| diagnose(error, tokens, &self.catalog))?.alias(name)
                }
            });
        }
        let build = |plan, exprs: Vec<Expr>| {
            LogicalPlanBuilder::from(plan).project(exprs)?.alias(table.name.text.as_str())?.build()
        };
        let plan = build(plan, exprs).map_err(|error| diagnose(error, tokens, &self.catalog))?;
        // Wrong types come out here, at the declaration, and not where the table is used.
        super::optimize::analyze(plan.clone(), &self.catalog)
            .map_err(|error| diagnose(error, tokens, &self.catalog))?;
        Ok(plan)
    }

    fn add_watermark(
        &self,
        table: &CreateTable,
        idle_timeout_ms: Option<u64>,
        plan: LogicalPlan,
        tokens: &Tokens,
    ) -> Result<LogicalPlan, Error> {
        let Some(watermark) = &table.watermark else { return Ok(plan) };
        let rowtime = self.declared(SqlExpr::Identifier(ident(&watermark.column.text)), &plan, tokens);
        let rowtime = rowtime
            .map_err(|error| Error { help: error.help, ..Error::at(watermark.column.position, error.message) })?;
        let type_of =
            |expr: &Expr| expr.get_type(plan.schema()).map_err(|error| diagnose(error, tokens, &self.catalog));
        let expr = self.declared(watermark.expr.as_ref().clone(), &plan, tokens)?;
        // An unknown column has no type: this is where it is found.
        let data_type = type_of(&rowtime).map_err(|error| at(error, watermark.column.position))?;
        if !matches!(data_type, DataType::Timestamp(..)) {
            let message = format!("the event time \"{}\" is of type {}", watermark.column.text, sql_name(&data_type));
            return Err(Error::at(watermark.column.position, message)
                .help("declare it TIMESTAMP(3), or compute one: ts AS TO_TIMESTAMP_LTZ(millis, 3)"));
        }
        let data_type = type_of(&expr)?;
        if !matches!(data_type, DataType::Timestamp(..)) {
            let message = format!("the watermark is of type {}, not a timestamp", sql_name(&data_type));
            return Err(Error::at(watermark.position, message).help("write for example ts - INTERVAL '5' SECOND"));
        }
        let expr = in_milliseconds(expr, &plan).map_err(|error| diagnose(error, tokens, &self.catalog))?;
        let node = node::Watermark { input: plan, rowtime, expr, idle_timeout_ms };
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }
}

fn at(mut error: Error, position: Position) -> Error {
    (error.line, error.column) = (position.line, position.column);
    error
}

fn ident(name: &str) -> datafusion::sql::sqlparser::ast::Ident {
    datafusion::sql::sqlparser::ast::Ident::with_quote('`', name)
}

/// Event times have milliseconds, whatever precision a function gives.
fn in_milliseconds(expr: Expr, plan: &LogicalPlan) -> PlanResult<Expr> {
    match expr.get_type(plan.schema())? {
        DataType::Timestamp(_, None) => expr.cast_to(&TIMESTAMP, plan.schema()),
        DataType::Timestamp(_, Some(_)) => expr.cast_to(&timestamp_ltz(), plan.schema()),
        _ => Ok(expr),
    }
}

fn spec_of(table: &CreateTable) -> Result<TableSpec, Error> {
    let options: BTreeMap<String, String> =
        table.options.iter().map(|(key, value, _)| (key.clone(), value.clone())).collect();
    let Some(connector) = options.get("connector").cloned() else {
        let message = format!("table \"{}\" has no 'connector'", table.name.text);
        return Err(Error::at(table.name.position, message).help("add WITH ('connector' = '...') to it"));
    };
    let fields = table.columns.iter().filter_map(|column| match &column.kind {
        ColumnKind::Physical(data_type) => Some(Field::new(&column.name.text, data_type.clone(), true)),
        ColumnKind::Computed(_) => None,
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    if schema.fields().is_empty() {
        return Err(Error::at(table.name.position, format!("table \"{}\" has no physical column", table.name.text)));
    }
    let Position { line, column } = table.name.position;
    Ok(TableSpec { name: table.name.text.clone(), connector, options, schema, line, column })
}

/// `'scan.watermark.idle-timeout' = '10 s'`, as Flink writes durations.
fn idle_timeout(table: &CreateTable) -> Result<Option<u64>, Error> {
    const KEYS: [&str; 2] = ["scan.watermark.idle-timeout", "watermark.idle-timeout"];
    let Some((key, value, position)) = table.options.iter().find(|(key, ..)| KEYS.contains(&key.as_str())) else {
        return Ok(None);
    };
    let text = value.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let unit: Option<u64> = match text[digits..].trim().to_lowercase().as_str() {
        "ms" | "milli" | "millis" | "" => Some(1),
        "s" | "sec" | "secs" | "second" | "seconds" => Some(1000),
        "m" | "min" | "minute" | "minutes" => Some(60_000),
        "h" | "hour" | "hours" => Some(3_600_000),
        _ => None,
    };
    let count = text[..digits].parse::<u64>().ok();
    match count.zip(unit).and_then(|(count, unit)| count.checked_mul(unit)) {
        Some(0) => Ok(None),
        Some(ms) => Ok(Some(ms)),
        None => Err(Error::at(*position, format!("option '{key}' is not a duration: '{value}'"))
            .help("write for example '10 s'")),
    }
}
