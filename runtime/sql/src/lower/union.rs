//! `UNION ALL`.
use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Union;
use datafusion::physical_expr::expressions::Literal;

use super::Lowering;
use super::relation::{Relation, Slot};
use crate::dataflow::{NodeKind, NodeRef, Output, Role};
use crate::error::Error;

impl Lowering<'_> {
    pub(super) fn union(&mut self, union: &Union) -> Result<Relation, Error> {
        let fields = union.schema.fields();
        let mut inputs: Vec<NodeRef> = Vec::with_capacity(union.inputs.len());
        for input in &union.inputs {
            let relation = self.plan(input)?;
            let relation = self.assign(relation)?;
            let named = relation.columns.iter().zip(fields);
            let mut outputs: Vec<Output> =
                named.filter_map(|(slot, field)| relation.output(*slot, field.name())).collect();
            if outputs.is_empty() {
                // Rows that are only counted: something must carry them, of one type in all inputs.
                let expr = Arc::new(Literal::new(ScalarValue::Boolean(Some(true))));
                outputs.push(Output { expr, name: "row".to_owned(), role: Role::None });
            }
            inputs.push(self.project(&relation.node, outputs)?);
        }
        let Some(first) = inputs.first() else { return Err(self.refuse("a UNION needs inputs")) };
        let schema = Arc::clone(&first.schema);
        if inputs.iter().any(|input| input.schema.fields() != schema.fields()) {
            return Err(self
                .refuse("the inputs of a UNION have different types")
                .help("CAST their columns to the same types"));
        }
        // A column keeps its meaning only if it has it in all inputs.
        let role = |index: usize| {
            let role = first.roles[index];
            if inputs.iter().all(|input| input.roles[index] == role) { role } else { Role::None }
        };
        let roles = (0..schema.fields().len()).map(role).collect();
        let updating = inputs.iter().any(|input| input.updating);
        let node = self.flow.add(NodeKind::Union, inputs, schema, updating, roles);
        Ok(Relation { columns: (0..fields.len()).map(Slot::Physical).collect(), node, window: None })
    }
}
