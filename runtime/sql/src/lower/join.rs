//! Inner joins: per window where both sides are windowed and their bounds are compared, regular otherwise.
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::common::NullEquality;
use datafusion::logical_expr::{Expr, Join, JoinType};
use datafusion::physical_expr::PhysicalExpr;

use super::Lowering;
use super::expr::unalias;
use super::relation::{Relation, Slot};
use crate::dataflow::{Node, NodeKind, NodeRef, Role};
use crate::error::Error;
use crate::expr::Expr as CompiledExpr;
use crate::graph::OpKind;

const SUPPORTED: &str =
    "inner joins with at least one equality between the two sides are supported, as in a JOIN b ON a.x = b.y";

/// One side, brought to where the op reads it.
struct Side {
    node: NodeRef,
    /// Where each column of the logical side is.
    columns: Vec<usize>,
    keys: Vec<usize>,
    window: Option<(usize, usize)>,
}

impl Lowering<'_> {
    pub(super) fn join(&mut self, join: &Join) -> Result<Relation, Error> {
        if join.join_type != JoinType::Inner {
            return Err(self.refuse(format!("{} joins are not supported yet", join.join_type)).help(SUPPORTED));
        }
        if join.on.is_empty() {
            return Err(self.refuse("a join without an equality between its sides is not supported").help(SUPPORTED));
        }
        if join.null_equality == NullEquality::NullEqualsNull {
            return Err(self.refuse("a join by IS NOT DISTINCT FROM is not supported").help(SUPPORTED));
        }
        let left = self.plan(&join.left)?;
        let left = self.assign(left)?;
        let right = self.plan(&join.right)?;
        let right = self.assign(right)?;
        let role = |relation: &Relation, expr: &Expr, plan: &datafusion::logical_expr::LogicalPlan| {
            relation.slot(unalias(expr), plan.schema()).map_or(Role::None, |slot| relation.role(slot))
        };
        let pairs: Vec<(Role, Role)> =
            join.on.iter().map(|(l, r)| (role(&left, l, &join.left), role(&right, r, &join.right))).collect();
        let windowed = pairs.contains(&(Role::WindowStart, Role::WindowStart))
            && pairs.contains(&(Role::WindowEnd, Role::WindowEnd));
        if windowed && (left.node.updating || right.node.updating) {
            return Err(self.refuse("a window join of an updating result is not supported yet"));
        }
        let is_bound =
            |pair: &(Role, Role)| windowed && pair.0 == pair.1 && matches!(pair.0, Role::WindowStart | Role::WindowEnd);
        let on = |keep_bounds: bool| join.on.iter().zip(&pairs).filter(move |(_, pair)| is_bound(pair) == keep_bounds);
        let left_exprs: (Vec<&Expr>, Vec<&Expr>) =
            (on(false).map(|((l, _), _)| l).collect(), bounds(on(true).map(|((l, _), pair)| (l, pair.0))));
        let right_exprs: (Vec<&Expr>, Vec<&Expr>) =
            (on(false).map(|((_, r), _)| r).collect(), bounds(on(true).map(|((_, r), pair)| (r, pair.0))));
        let left = self.side(&left, &join.left, &left_exprs.0, &left_exprs.1)?;
        let right = self.side(&right, &join.right, &right_exprs.0, &right_exprs.1)?;
        self.joined(join, left, right)
    }

    /// All columns of a side, its keys and the bounds of its window.
    fn side(
        &mut self,
        relation: &Relation,
        plan: &datafusion::logical_expr::LogicalPlan,
        keys: &[&Expr],
        window: &[&Expr],
    ) -> Result<Side, Error> {
        let schema = plan.schema();
        let mut needed: Vec<Arc<dyn PhysicalExpr>> = Vec::new();
        for slot in &relation.columns {
            if let Slot::Physical(index) = slot {
                needed.push(crate::dataflow::column(&relation.node, *index));
            }
        }
        let (columns, key_count) = (needed.len(), keys.len());
        for expr in keys.iter().chain(window) {
            needed.push(self.compile(expr, schema, relation)?);
        }
        let (node, positions) = self.arrange(&relation.node, &needed)?;
        let keys = positions[columns..columns + key_count].to_vec();
        let window = match &positions[columns + key_count..] {
            [start, end] => Some((*start, *end)),
            _ => None,
        };
        Ok(Side { node, columns: positions[..columns].to_vec(), keys, window })
    }

    fn joined(&mut self, join: &Join, left: Side, right: Side) -> Result<Relation, Error> {
        for (l, r) in left.keys.iter().zip(&right.keys) {
            let (l, r) = (left.node.schema.field(*l).data_type(), right.node.schema.field(*r).data_type());
            if l != r {
                let (l, r) = (crate::types::sql_name(l), crate::types::sql_name(r));
                return Err(self.refuse(format!("a join compares {l} with {r}")).help("CAST one of them"));
            }
        }
        let width = left.node.schema.fields().len();
        let columns: Vec<Slot> = left
            .columns
            .iter()
            .copied()
            .chain(right.columns.iter().map(|index| width + index))
            .map(Slot::Physical)
            .collect();
        let residual = match &join.filter {
            Some(filter) => {
                let expr = self.compile_with(filter, &join.schema, |index| columns.get(index).copied())?;
                Some(CompiledExpr::new(expr))
            }
            None => None,
        };
        let updating = left.node.updating || right.node.updating;
        let schema = Arc::new(Schema::new(fields(&left.node).chain(fields(&right.node)).collect::<Vec<_>>()));
        let (kind, roles) = match (left.window, right.window) {
            (Some(left_window), Some(right_window)) => {
                let roles = left.node.roles.iter().chain(&right.node.roles);
                // Rows come when their window ends: of event times only the window's is still ahead of the watermark.
                let roles = roles.map(|role| if *role == Role::Rowtime { Role::None } else { *role }).collect();
                let (left_keys, right_keys) = (left.keys, right.keys);
                (OpKind::WindowJoin { left_keys, right_keys, left_window, right_window, residual }, roles)
            }
            _ => {
                let roles = vec![Role::None; schema.fields().len()];
                (OpKind::Join { left_keys: left.keys, right_keys: right.keys, residual }, roles)
            }
        };
        let node = self.flow.add(NodeKind::Op(kind), vec![left.node, right.node], schema, updating, roles);
        Ok(Relation { node, columns, window: None })
    }
}

/// Start, then end.
fn bounds<'e>(exprs: impl Iterator<Item = (&'e Expr, Role)>) -> Vec<&'e Expr> {
    let exprs: Vec<_> = exprs.collect();
    let find = |wanted: Role| exprs.iter().find(|(_, role)| *role == wanted).map(|(expr, _)| *expr);
    [Role::WindowStart, Role::WindowEnd].into_iter().filter_map(find).collect()
}

fn fields(node: &Node) -> impl Iterator<Item = Field> + '_ {
    node.schema.fields().iter().map(|field| field.as_ref().clone())
}
