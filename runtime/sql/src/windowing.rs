//! Plans `FROM TUMBLE(...)` and `FROM HOP(...)` to our window node.
use datafusion::error::Result;
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan};
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, FunctionArg, FunctionArgExpr, Ident, ObjectName, Spanned, TableFactor,
};
use std::sync::Arc;

use crate::error::{Error, Position};
use crate::graph::WindowSpec;
use crate::interval::milliseconds;
use crate::lift::WINDOW_FUNCTIONS;
use crate::node::WindowFunction;

/// Knows the window table functions.
#[derive(Debug)]
pub(crate) struct WindowFunctions;

impl RelationPlanner for WindowFunctions {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let (name, arguments, alias) = match relation {
            TableFactor::Table { ref name, args: Some(ref arguments), ref alias, .. } if is_window(name) => {
                (name.to_string(), arguments.args.clone(), alias.clone())
            }
            TableFactor::Function { ref name, ref args, ref alias, .. } if is_window(name) => {
                (name.to_string(), args.clone(), alias.clone())
            }
            other => return Ok(RelationPlanning::Original(Box::new(other))),
        };
        let position = relation.span().start.into();
        let call = Call::read(&name, arguments, position)?;
        let plan = call.plan(context)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

fn is_window(name: &ObjectName) -> bool {
    let name = name.to_string();
    WINDOW_FUNCTIONS.iter().any(|function| name.eq_ignore_ascii_case(function))
}

/// A call with its arguments in order.
struct Call {
    /// TUMBLE, HOP.
    function: String,
    position: Position,
    data: SqlExpr,
    rowtime: SqlExpr,
    intervals: Vec<SqlExpr>,
}

impl Call {
    fn read(name: &str, arguments: Vec<FunctionArg>, position: Position) -> Result<Self, Error> {
        let function = name.to_uppercase();
        let (names, usage): (&[&str], &str) = match function.as_str() {
            "TUMBLE" => {
                (&["DATA", "TIMECOL", "SIZE", "OFFSET"], "TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND)")
            }
            "HOP" => (
                &["DATA", "TIMECOL", "SLIDE", "SIZE", "OFFSET"],
                "HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND): slide, then size",
            ),
            _ => {
                return Err(
                    Error::at(position, format!("{function} windows are not supported yet")).help("use TUMBLE or HOP")
                );
            }
        };
        let mut slots: Vec<Option<SqlExpr>> = vec![None; names.len()];
        for (index, argument) in arguments.into_iter().enumerate() {
            let (name, expr) = match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => (None, expr),
                FunctionArg::Named { name, arg: FunctionArgExpr::Expr(expr), .. } => (Some(name.value), expr),
                FunctionArg::ExprNamed { name, arg: FunctionArgExpr::Expr(expr), .. } => (Some(name.to_string()), expr),
                _ => return Err(wrong_arguments(&function, position, usage)),
            };
            let slot = match name {
                None => index,
                Some(name) => names.iter().position(|known| known.eq_ignore_ascii_case(&name)).unwrap_or(names.len()),
            };
            match slots.get_mut(slot) {
                Some(slot @ None) => *slot = Some(expr),
                _ => return Err(wrong_arguments(&function, position, usage)),
            }
        }
        let mut slots = slots.into_iter();
        let (Some(data), Some(rowtime)) = (slots.next().flatten(), slots.next().flatten()) else {
            return Err(wrong_arguments(&function, position, usage));
        };
        let required = names.len() - 3;
        let intervals: Vec<Option<SqlExpr>> = slots.collect();
        if intervals[..required].iter().any(Option::is_none) {
            return Err(wrong_arguments(&function, position, usage));
        }
        Ok(Self { function, position, data, rowtime, intervals: intervals.into_iter().flatten().collect() })
    }

    fn plan(self, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
        let window = self.window()?;
        let position = known(self.rowtime.span().start.into(), self.position);
        let input = context.plan(relation_of(self.data, self.position)?)?;
        let rowtime = context.sql_to_expr(self.rowtime, input.schema())?;
        let Expr::Column(column) = &rowtime else {
            return Err(Error::at(position, "DESCRIPTOR takes the name of one column").into());
        };
        if input.schema().maybe_index_of_column(column).is_none() {
            // Resolves the column for the sake of its error, which lists what there is.
            column.clone().normalize_with_schemas_and_ambiguity_check(&[&[input.schema()]], &[])?;
        }
        let node = WindowFunction::try_new(input, rowtime, window, position)?;
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }

    fn window(&self) -> Result<WindowSpec, Error> {
        let positive = |expr: &SqlExpr, what: &str| {
            let ms = milliseconds(expr).map_err(|error| error.or_at(self.position))?;
            if ms > 0 {
                return Ok(ms);
            }
            let position = known(expr.span().start.into(), self.position);
            Err(Error::at(position, format!("the {what} of a window must be positive, not {ms} ms"))
                .help("write for example INTERVAL '10' SECOND"))
        };
        let (slide_ms, size_ms, rest) = if self.function == "HOP" {
            (positive(&self.intervals[0], "slide")?, positive(&self.intervals[1], "size")?, &self.intervals[2..])
        } else {
            let size_ms = positive(&self.intervals[0], "size")?;
            (size_ms, size_ms, &self.intervals[1..])
        };
        let offset_ms = rest.first().map_or(Ok(0), milliseconds).map_err(|error| error.or_at(self.position))?;
        if size_ms % slide_ms != 0 {
            let message = format!("the size of a window, {size_ms} ms, must be a multiple of its slide, {slide_ms} ms");
            return Err(Error::at(known(self.intervals[1].span().start.into(), self.position), message)
                .help("HOP takes the slide first, then the size"));
        }
        Ok(WindowSpec { size_ms, slide_ms, offset_ms: offset_ms.rem_euclid(slide_ms) })
    }
}

fn known(position: Position, fallback: Position) -> Position {
    if position.is_known() { position } else { fallback }
}

fn wrong_arguments(function: &str, position: Position, usage: &str) -> Error {
    Error::at(position, format!("wrong arguments for {function}")).help(format!("write {usage}"))
}

/// The relation a window function ranges over, as if it stood in FROM by itself.
fn relation_of(expr: SqlExpr, position: Position) -> Result<TableFactor, Error> {
    let parts: Vec<Ident> = match expr {
        SqlExpr::Identifier(ident) => vec![ident],
        SqlExpr::CompoundIdentifier(parts) => parts,
        SqlExpr::Subquery(subquery) => {
            return Ok(TableFactor::Derived { lateral: false, subquery, alias: None, sample: None });
        }
        other => {
            let message = format!("expected a table, found {}", crate::tokens::shorten(&other.to_string()));
            return Err(Error::at(known(other.span().start.into(), position), message).help("write TABLE t"));
        }
    };
    Ok(TableFactor::Table {
        name: ObjectName::from(parts),
        alias: None,
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    })
}
