//! Watermarks and window functions.
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};

use super::Lowering;
use super::relation::{Pending, Relation, Slot};
use crate::dataflow::{NodeKind, Role};
use crate::error::Error;
use crate::expr::Expr as CompiledExpr;
use crate::graph::OpKind;
use crate::node::{WINDOW_COLUMNS, Watermark, WindowFunction};
use crate::types::TIMESTAMP;

/// The roles of what a window function appends.
pub(super) const WINDOW_ROLES: [Role; 3] = [Role::WindowStart, Role::WindowEnd, Role::WindowTime];

/// The columns a windowed op appends.
pub(super) fn window_fields() -> impl Iterator<Item = Field> {
    WINDOW_COLUMNS.iter().map(|name| Field::new(*name, TIMESTAMP, true))
}

impl Lowering<'_> {
    pub(super) fn watermark(&mut self, watermark: &Watermark) -> Result<Relation, Error> {
        let input = self.plan(&watermark.input)?;
        let schema = watermark.input.schema();
        let expr = CompiledExpr::new(self.compile(&watermark.expr, schema, &input)?);
        let mut roles = input.node.roles.clone();
        if let Some(Slot::Physical(index)) = input.slot(&watermark.rowtime, schema) {
            roles[index] = Role::Rowtime;
        }
        let kind = OpKind::Watermark { expr, idle_timeout_ms: watermark.idle_timeout_ms };
        let node = self.flow.pass(kind, input.node, roles);
        Ok(Relation { node, ..input })
    }

    /// Notes the window; it is applied when something needs its columns, or absorbed by an aggregate.
    pub(super) fn window_function(&mut self, function: &WindowFunction) -> Result<Relation, Error> {
        let input = self.plan(&function.input)?;
        let input = self.assign(input)?;
        let slot = input.slot(&function.rowtime, function.input.schema());
        let rowtime = match slot {
            Some(Slot::Physical(index)) if input.node.roles[index].is_event_time() => index,
            _ => {
                let message = format!("{} is not an event time column, so it cannot be windowed by", function.rowtime);
                return Err(Error::at(function.position, message).help(
                    "declare a watermark in its table, as in WATERMARK FOR ts AS ts - INTERVAL '5' SECOND, and pass the \
                     column on as it is; of an earlier window, window_time is the event time",
                ));
            }
        };
        if input.node.updating {
            return Err(Error::at(function.position, "a window over an updating result is not supported yet")
                .help("aggregate in windows from the start: GROUP BY window_start, window_end"));
        }
        let mut columns = input.columns;
        columns.extend(WINDOW_ROLES.map(Slot::Window));
        Ok(Relation { node: input.node, columns, window: Some(Pending { window: function.window, rowtime }) })
    }

    /// Applies the pending window, if there is one.
    pub(super) fn assign(&mut self, relation: Relation) -> Result<Relation, Error> {
        let Some(Pending { window, rowtime }) = relation.window else { return Ok(relation) };
        let input = relation.node;
        let first = input.schema.fields().len();
        let fields = input.schema.fields().iter().map(|field| field.as_ref().clone()).chain(window_fields());
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        // From here on the window's time is the event time, and no earlier window counts.
        let inherited = input.roles.iter().map(|_| Role::None);
        let roles = inherited.chain(WINDOW_ROLES).collect();
        let kind = NodeKind::Op(OpKind::AssignWindows { window, rowtime });
        let node = self.flow.add(kind, vec![input], schema, false, roles);
        let place = |slot: &Slot| match slot {
            Slot::Window(Role::WindowStart) => Slot::Physical(first),
            Slot::Window(Role::WindowEnd) => Slot::Physical(first + 1),
            Slot::Window(_) => Slot::Physical(first + 2),
            physical => *physical,
        };
        let columns = relation.columns.iter().map(place).collect();
        Ok(Relation { node, columns, window: None })
    }
}
