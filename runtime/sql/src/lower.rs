//! Logical plans to dataflow: aggregates and joins become streaming ops, by what their columns mean for time.
use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{Fields, Schema};
use datafusion::common::DFSchema;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Distinct, Expr, Extension, Filter, LogicalPlan, Projection, TableScan};
use datafusion::physical_expr::PhysicalExpr;

use crate::catalog::PhysicalTable;
use crate::dataflow::{Dataflow, NodeKind, NodeRef, Output, Role};
use crate::error::{Error, Position};
use crate::expr::Expr as CompiledExpr;
use crate::graph::{DECLARED_COLUMNS, OpKind, TableSpec};
use crate::node;
use crate::planner::PlannedInsert;

mod aggregate;
mod expr;
mod join;
mod relation;
mod union;
mod window;

use relation::{Relation, Slot};

/// Lowers all INSERTs of a text into one dataflow; gives their sinks.
pub(crate) fn lower(inserts: &[PlannedInsert]) -> Result<Vec<NodeRef>, Error> {
    let mut flow = Dataflow::default();
    let mut sinks = Vec::with_capacity(inserts.len());
    for insert in inserts {
        let mut lowering = Lowering { flow: &mut flow, position: insert.position };
        let relation = lowering.plan(&insert.plan)?;
        sinks.push(lowering.sink(relation, &insert.sink)?);
    }
    Ok(sinks)
}

/// The lowering of one INSERT.
struct Lowering<'a> {
    flow: &'a mut Dataflow,
    /// Of the statement, for what has no better place.
    position: Position,
}

impl Lowering<'_> {
    fn plan(&mut self, plan: &LogicalPlan) -> Result<Relation, Error> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::SubqueryAlias(alias) => self.plan(&alias.input),
            LogicalPlan::Projection(projection) => self.projection(projection),
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Extension(extension) => self.extension(extension),
            LogicalPlan::EmptyRelation(_) => {
                Err(self.refuse("a query without FROM is not supported").help("read a table"))
            }
            LogicalPlan::Values(_) => Err(self
                .refuse("VALUES is not supported yet")
                .help("read a table, for example one of 'connector' = 'datagen'")),
            LogicalPlan::Distinct(Distinct::On(_)) => {
                Err(self.refuse("DISTINCT ON is not supported").help("use SELECT DISTINCT or GROUP BY"))
            }
            LogicalPlan::Sort(_) => Err(self.refuse("ORDER BY is not supported yet")),
            LogicalPlan::Limit(_) => Err(self.refuse("LIMIT is not supported yet")),
            LogicalPlan::Window(_) => Err(self.refuse("OVER is not supported yet")),
            LogicalPlan::Unnest(_) => Err(self.refuse("UNNEST is not supported yet")),
            other => {
                let name = other.display().to_string();
                Err(self.refuse(format!("not supported yet: {}", crate::tokens::shorten(&name))))
            }
        }
    }

    fn refuse(&self, message: impl Into<String>) -> Error {
        Error::at(self.position, message)
    }

    fn fail(&self, error: DataFusionError) -> Error {
        self.refuse(crate::tokens::lower_first(error.strip_backtrace().lines().next().unwrap_or_default()))
    }

    fn scan(&mut self, scan: &TableScan) -> Result<Relation, Error> {
        let Some(table) = scan.source.downcast_ref::<PhysicalTable>() else {
            return Err(self.refuse(format!("\"{}\" cannot be read", scan.table_name)));
        };
        let all = table.spec.schema.fields();
        let read: Vec<usize> = scan.projection.clone().unwrap_or_else(|| (0..all.len()).collect());
        let mut indices = read.clone();
        indices.sort_unstable();
        indices.dedup();
        if indices.is_empty() {
            // Rows still have to be counted: some column must carry them.
            indices.push(0);
        }
        let fields: Vec<_> = indices.iter().map(|index| Arc::clone(&all[*index])).collect();
        let schema = Arc::new(Schema::new(fields));
        let declared = HashMap::from([(DECLARED_COLUMNS.to_owned(), json_names(all))]);
        let read_schema = Arc::new(schema.as_ref().clone().with_metadata(declared));
        let spec = TableSpec { schema: read_schema, ..table.spec.clone() };
        let roles = vec![Role::None; indices.len()];
        let node = self.flow.add(NodeKind::Op(OpKind::Source(spec)), Vec::new(), schema, false, roles);
        let columns = read.iter().filter_map(|column| indices.iter().position(|index| index == column));
        Ok(Relation { node, columns: columns.map(Slot::Physical).collect(), window: None })
    }

    fn extension(&mut self, extension: &Extension) -> Result<Relation, Error> {
        let any = extension.node.as_any();
        if let Some(watermark) = any.downcast_ref::<node::Watermark>() {
            return self.watermark(watermark);
        }
        match any.downcast_ref::<node::WindowFunction>() {
            Some(window) => self.window_function(window),
            None => Err(self.refuse(format!("not supported: {}", extension.node.name()))),
        }
    }

    fn filter(&mut self, filter: &Filter) -> Result<Relation, Error> {
        let mut input = self.plan(&filter.input)?;
        let schema = filter.input.schema();
        if input.needs_window(&filter.predicate, schema) {
            input = self.assign(input)?;
        }
        if matches!(&filter.predicate, Expr::Literal(datafusion::common::ScalarValue::Boolean(Some(true)), _)) {
            return Ok(input);
        }
        let predicate = CompiledExpr::new(self.compile(&filter.predicate, schema, &input)?);
        let roles = input.node.roles.clone();
        let node = self.flow.pass(OpKind::Filter { predicate }, input.node, roles);
        Ok(Relation { node, ..input })
    }

    fn projection(&mut self, projection: &Projection) -> Result<Relation, Error> {
        let mut input = self.plan(&projection.input)?;
        let schema = projection.input.schema();
        let exprs: Vec<&Expr> = projection.expr.iter().map(expr::unalias).collect();
        if exprs.iter().any(|expr| !matches!(expr, Expr::Column(_)) && input.needs_window(expr, schema)) {
            input = self.assign(input)?;
        }
        let slots: Vec<Option<Slot>> = exprs.iter().map(|expr| input.slot(expr, schema)).collect();
        if let Some(columns) = slots.iter().copied().collect::<Option<Vec<_>>>() {
            // Only other columns or another order: nothing to compute, whoever reads them reads them there.
            return Ok(Relation { columns, ..input });
        }
        self.compute(input, schema, &exprs, &slots, projection)
    }

    /// A projection that computes something, carrying along what later steps still read.
    fn compute(
        &mut self,
        input: Relation,
        schema: &DFSchema,
        exprs: &[&Expr],
        slots: &[Option<Slot>],
        projection: &Projection,
    ) -> Result<Relation, Error> {
        let mut outputs = relation::Outputs::new(&input.node);
        let mut columns = Vec::with_capacity(exprs.len());
        for (index, (expr, slot)) in exprs.iter().zip(slots).enumerate() {
            columns.push(match slot {
                Some(Slot::Physical(physical)) => Slot::Physical(outputs.keep(*physical)),
                Some(window) => *window,
                None => {
                    let expr = self.compile(expr, schema, &input)?;
                    Slot::Physical(outputs.compute(expr, projection.schema.field(index).name()))
                }
            });
        }
        let window = input.window.map(|window| relation::Pending { rowtime: outputs.keep(window.rowtime), ..window });
        let node = self.project(&input.node, outputs.finish())?;
        Ok(Relation { node, columns, window })
    }

    fn project(&mut self, input: &NodeRef, outputs: Vec<Output>) -> Result<NodeRef, Error> {
        self.flow.project(Arc::clone(input), outputs).map_err(|error| self.fail(error))
    }

    /// Brings columns of a node to where a keyed op reads them: the positions of `exprs` in the node it gives back.
    fn arrange(&mut self, node: &NodeRef, exprs: &[Arc<dyn PhysicalExpr>]) -> Result<(NodeRef, Vec<usize>), Error> {
        let mut outputs = relation::Outputs::new(node);
        let positions: Vec<usize> = exprs.iter().map(|expr| outputs.place(expr)).collect();
        if positions.is_empty() {
            // COUNT(*) of everything reads no column, but rows without columns cannot be counted.
            outputs.keep(0);
        }
        let in_place: Option<Vec<usize>> = exprs.iter().map(crate::dataflow::column_index).collect();
        // The output of a keyed op may be read by several stages and is not worth a projection of its own; from
        // anything else only what is needed goes over the network.
        match in_place {
            Some(positions) if node.is_keyed() || outputs.len() == node.schema.fields().len() => {
                Ok((Arc::clone(node), positions))
            }
            _ => Ok((self.project(node, outputs.finish())?, positions)),
        }
    }

    fn sink(&mut self, relation: Relation, sink: &TableSpec) -> Result<NodeRef, Error> {
        let relation = self.assign(relation)?;
        let fields = sink.schema.fields();
        let outputs =
            relation.columns.iter().zip(fields).filter_map(|(slot, field)| relation.output(*slot, field.name()));
        let outputs: Vec<Output> = outputs.collect();
        let node = self.project(&relation.node, outputs)?;
        for (given, taken) in node.schema.fields().iter().zip(fields) {
            if given.data_type() != taken.data_type() || node.schema.fields().len() != fields.len() {
                let message = format!(
                    "column \"{}\" of \"{}\" does not get the type it is declared with",
                    taken.name(),
                    sink.name
                );
                return Err(self.refuse(message).help("write a CAST in the query"));
            }
        }
        let roles = node.roles.clone();
        Ok(self.flow.pass(OpKind::Sink(sink.clone()), node, roles))
    }
}

/// The names of columns as a JSON array.
fn json_names(fields: &Fields) -> String {
    let text = |name: &str| {
        let escaped = name.chars().map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            c if c < ' ' => format!("\\u{:04x}", u32::from(c)),
            c => c.to_string(),
        });
        format!("\"{}\"", escaped.collect::<String>())
    };
    let names: Vec<String> = fields.iter().map(|field| text(field.name())).collect();
    format!("[{}]", names.join(","))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};

    use super::*;

    #[test]
    fn names_are_json_whatever_is_in_them() {
        let field = |name: &str| Field::new(name, DataType::Int64, true);
        let names = Fields::from(vec![field("a"), field("b\"c\\"), field("d\n")]);
        assert_eq!(json_names(&names), r#"["a","b\"c\\","d\u000a"]"#);
    }
}
