//! Statements to optimised logical plans, one per INSERT.
use std::collections::BTreeMap;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast::{Query, Statement as SqlStatement};

use crate::catalog::{Catalog, Relation};
use crate::diagnose::diagnose;
use crate::error::{Error, Position};
use crate::functions::Functions;
use crate::graph::TableSpec;
use crate::statement::{CreateView, Name, Statement};
use crate::tokens::Tokens;
use crate::{depth, lift, statement, unsupported};

mod insert;
mod optimize;
mod table;

/// Most nodes a query may have once its views are put in their places: a few views that each use the one before twice
/// would otherwise grow without bound.
const MAX_PLAN_NODES: usize = 2000;

/// A query and the table its rows go to.
#[derive(Debug)]
pub(crate) struct PlannedInsert {
    pub plan: LogicalPlan,
    pub sink: TableSpec,
    /// Where the statement begins.
    pub position: Position,
}

/// What a text comes to.
pub(crate) struct Planned {
    pub inserts: Vec<PlannedInsert>,
    pub settings: BTreeMap<String, String>,
}

/// Plans all statements of a text.
pub(crate) fn plan(statements: Vec<Tokens>) -> Result<Planned, Error> {
    let mut planner = Planner { catalog: Catalog::new() };
    let mut planned = Planned { inserts: Vec::new(), settings: BTreeMap::new() };
    for tokens in statements {
        depth::check(&tokens)?;
        unsupported::check(&tokens)?;
        let tokens = lift::lift(tokens);
        planner.statement(&tokens, &mut planned)?;
    }
    Ok(planned)
}

struct Planner {
    catalog: Catalog,
}

impl Planner {
    fn statement(&mut self, tokens: &Tokens, planned: &mut Planned) -> Result<(), Error> {
        match statement::parse(tokens)? {
            Statement::Set { key, value } => {
                planned.settings.insert(key, value);
            }
            Statement::CreateTable(table) => self.create_table(table, tokens)?,
            Statement::CreateView(view) => self.create_view(view, tokens)?,
            Statement::Insert(insert) => planned.inserts.push(self.insert(insert, tokens)?),
        }
        Ok(())
    }

    fn create_view(&mut self, view: CreateView, tokens: &Tokens) -> Result<(), Error> {
        self.catalog.check_free(&view.name)?;
        let plan = self.query(view.query, tokens)?;
        let plan = self.rename(plan, &view.columns, tokens)?;
        self.catalog.insert(&view.name, Relation { plan, table: None, position: view.name.position });
        Ok(())
    }

    /// Gives the columns of a view the names of its column list.
    fn rename(&self, plan: LogicalPlan, names: &[Name], tokens: &Tokens) -> Result<LogicalPlan, Error> {
        let Some(first) = names.first() else { return Ok(plan) };
        let columns = plan.schema().columns();
        if columns.len() != names.len() {
            let message = format!("the view names {} columns, its query has {}", names.len(), columns.len());
            return Err(Error::at(first.position, message));
        }
        let exprs = columns.into_iter().zip(names).map(|(column, name)| Expr::Column(column).alias(name.text.clone()));
        let exprs: Vec<Expr> = exprs.collect();
        let build = |plan| LogicalPlanBuilder::from(plan).project(exprs)?.build();
        build(plan).map_err(|error| diagnose(error, tokens, &self.catalog))
    }

    /// A query as a logical plan: names resolved, nothing optimised.
    fn query(&self, query: Box<Query>, tokens: &Tokens) -> Result<LogicalPlan, Error> {
        let plan = self
            .sql()
            .sql_statement_to_plan(SqlStatement::Query(query))
            .map_err(|error| diagnose(error, tokens, &self.catalog))?;
        check_size(&plan, tokens)?;
        check_expressions(&plan, tokens)?;
        Ok(plan)
    }

    fn sql(&self) -> SqlToRel<'_, Catalog> {
        let options = ParserOptions::new()
            .with_enable_ident_normalization(false)
            .with_collect_spans(true)
            .with_parse_float_as_decimal(true)
            .with_map_string_types_to_utf8view(false);
        SqlToRel::new_with_options(&self.catalog, options)
    }
}

/// Counts nodes, stopping at the limit.
fn check_size(plan: &LogicalPlan, tokens: &Tokens) -> Result<(), Error> {
    let mut nodes = 0;
    let mut rest = vec![plan];
    while let Some(plan) = rest.pop() {
        nodes += 1;
        if nodes > MAX_PLAN_NODES {
            let message =
                format!("this query has more than {MAX_PLAN_NODES} steps once its views are put in their places");
            return Err(Error::at(tokens.start(), message).help("use fewer or smaller views"));
        }
        rest.extend(plan.inputs());
    }
    Ok(())
}

/// Refuses expressions that a stream cannot evaluate, or not the same way twice.
fn check_expressions(plan: &LogicalPlan, tokens: &Tokens) -> Result<(), Error> {
    let mut found = None;
    let outcome = plan.apply(|node| {
        node.apply_expressions(|expr| {
            check_expression(expr, tokens, &mut found);
            Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    });
    match (found, outcome) {
        (Some(error), _) => Err(error),
        (None, Ok(_)) => Ok(()),
        (None, Err(error)) => Err(Error::at(tokens.start(), error.strip_backtrace())),
    }
}

/// Puts the first complaint about an expression or a part of it into `found`.
fn check_expression(expr: &Expr, tokens: &Tokens, found: &mut Option<Error>) {
    // The visitor below never fails by itself.
    let _ = expr.apply(|expr| {
        let refused = match expr {
            Expr::ScalarFunction(call) if !Functions::is_deterministic(&call.func) => {
                let names = std::iter::once(call.func.name()).chain(call.func.aliases().iter().map(String::as_str));
                let position = names.filter_map(|name| tokens.find_name(name)).min().unwrap_or(tokens.start());
                let message = format!("function {} is not deterministic", call.func.name());
                Some(
                    Error::at(position, message)
                        .help("a job must give the same result after a restart: use event time and keys"),
                )
            }
            Expr::ScalarSubquery(_)
            | Expr::InSubquery(_)
            | Expr::Exists(_)
            | Expr::OuterReferenceColumn(..)
            | Expr::SetComparison(_) => {
                let message = "subqueries in expressions are not supported yet";
                Some(Error::at(tokens.start(), message).help("join with the subquery in FROM"))
            }
            Expr::WindowFunction(_) => Some(Error::at(tokens.start(), "OVER is not supported yet")),
            Expr::Unnest(_) => Some(Error::at(tokens.start(), "UNNEST is not supported yet")),
            Expr::Placeholder(_) => Some(Error::at(tokens.start(), "placeholders are not supported")),
            _ => None,
        };
        let stop = refused.is_some();
        *found = found.take().or(refused);
        Ok(if stop { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
}
