//! `UNION ALL`.
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::logical_expr::Union;

use super::Lowering;
use super::relation::Relation;
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
            let outputs: Vec<Output> = named.filter_map(|(slot, field)| relation.output(*slot, field.name())).collect();
            inputs.push(self.project(&relation.node, outputs)?);
        }
        let Some(first) = inputs.first() else { return Err(self.refuse("a UNION needs inputs")) };
        let types = first.schema.fields().iter().map(|field| field.data_type().clone());
        let columns = fields.iter().zip(types).map(|(field, data_type)| Field::new(field.name(), data_type, true));
        let schema = Arc::new(Schema::new(columns.collect::<Vec<_>>()));
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
        Ok(Relation::of(self.flow.add(NodeKind::Union, inputs, schema, updating, roles)))
    }
}
