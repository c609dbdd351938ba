//! GROUP BY: per window where it names both bounds of one, running otherwise.
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::logical_expr::expr::AggregateFunction as Call;
use datafusion::logical_expr::{Aggregate as LogicalAggregate, Expr};
use datafusion::physical_expr::PhysicalExpr;

use super::Lowering;
use super::expr::unalias;
use super::relation::{Relation, Slot};
use super::window::{WINDOW_ROLES, window_fields};
use crate::dataflow::{Node, NodeKind, Role, column};
use crate::error::Error;
use crate::graph::{Aggregate, AggregateFunction, OpKind, WindowTime};

/// An aggregate call whose inputs are positions in the list of expressions the op needs.
struct Compiled {
    function: AggregateFunction,
    distinct: bool,
    argument: Option<usize>,
    filter: Option<usize>,
}

/// What the op does, over columns of its input, and the fields of keys and aggregates.
struct Grouping {
    keys: Vec<usize>,
    aggregates: Vec<Aggregate>,
    time: Option<WindowTime>,
    fields: Vec<Field>,
}

impl Lowering<'_> {
    pub(super) fn aggregate(&mut self, aggregate: &LogicalAggregate) -> Result<Relation, Error> {
        let mut input = self.plan(&aggregate.input)?;
        let schema = aggregate.input.schema();
        let groups: Vec<&Expr> = aggregate.group_expr.iter().map(unalias).collect();
        if groups.iter().any(|expr| matches!(expr, Expr::GroupingSet(_))) {
            return Err(self.refuse("GROUPING SETS are not supported yet"));
        }
        let calls: Vec<&Call> = aggregate.aggr_expr.iter().map(|expr| self.call(expr)).collect::<Result<_, _>>()?;
        // Only a window's columns are more than keys; event time itself is a key like others.
        let role_of = |input: &Relation, expr: &Expr| match input.slot(expr, schema).map(|slot| input.role(slot)) {
            Some(role) if WINDOW_ROLES.contains(&role) => role,
            _ => Role::None,
        };
        let roles_of = |input: &Relation| -> Vec<Role> { groups.iter().map(|expr| role_of(input, expr)).collect() };
        let mut roles = roles_of(&input);
        let inputs_of = |call: &&Call| -> Vec<Expr> {
            call.params.args.iter().cloned().chain(call.params.filter.as_deref().cloned()).collect()
        };
        let others =
            groups.iter().zip(&roles).filter(|(_, role)| **role == Role::None).map(|(expr, _)| (*expr).clone());
        let absorbed = is_windowed(&roles)
            && !others.chain(calls.iter().flat_map(inputs_of)).any(|expr| input.needs_window(&expr, schema));
        if !absorbed {
            input = self.assign(input)?;
            roles = roles_of(&input);
        }
        let windowed = is_windowed(&roles);
        if windowed && input.node.updating {
            return Err(self
                .refuse("a window over an updating result is not supported yet")
                .help("aggregate in windows from the start: GROUP BY window_start, window_end"));
        }
        if !windowed {
            roles.fill(Role::None);
        }
        self.grouped(aggregate, input, &groups, &calls, &roles)
    }

    /// The op, once it is known which of `groups` are keys: those without a role.
    fn grouped(
        &mut self,
        aggregate: &LogicalAggregate,
        input: Relation,
        groups: &[&Expr],
        calls: &[&Call],
        roles: &[Role],
    ) -> Result<Relation, Error> {
        let schema = aggregate.input.schema();
        let mut needed: Vec<Arc<dyn PhysicalExpr>> = Vec::new();
        for (expr, _) in groups.iter().zip(roles).filter(|(_, role)| **role == Role::None) {
            needed.push(self.compile(expr, schema, &input)?);
        }
        let key_count = needed.len();
        let compiled: Vec<Compiled> = calls
            .iter()
            .map(|call| self.compile_call(call, aggregate, &input, &mut needed))
            .collect::<Result<_, _>>()?;
        let first_time = needed.len();
        needed.extend(self.time_columns(&input, groups, roles, aggregate));
        let (node, positions) = self.arrange(&input.node, &needed)?;
        let keys = positions[..key_count].to_vec();
        let group_count = groups.len();
        let aggregates: Vec<Aggregate> = compiled
            .into_iter()
            .enumerate()
            .map(|(index, call)| Aggregate {
                function: call.function,
                distinct: call.distinct,
                argument: call.argument.map(|argument| positions[argument]),
                filter: call.filter.map(|filter| positions[filter]),
                output: aggregate.schema.field(group_count + index).data_type().clone(),
            })
            .collect();
        let time = match (&positions[first_time..], input.window) {
            ([], _) => None,
            ([rowtime, ..], Some(pending)) => Some(WindowTime::Assign { window: pending.window, rowtime: *rowtime }),
            ([start, rest @ ..], None) => {
                Some(WindowTime::Attached { start: *start, end: rest.first().copied().unwrap_or(*start) })
            }
        };
        let fields = self.output_fields(aggregate, &node, &keys, &aggregates, roles);
        Ok(self.keyed(node, Grouping { keys, aggregates, time, fields }, roles))
    }

    /// What finds a row's window: the event time, or both bounds.
    fn time_columns(
        &self,
        input: &Relation,
        groups: &[&Expr],
        roles: &[Role],
        aggregate: &LogicalAggregate,
    ) -> Vec<Arc<dyn PhysicalExpr>> {
        if !is_windowed(roles) {
            return Vec::new();
        }
        if let Some(pending) = input.window {
            return vec![column(&input.node, pending.rowtime)];
        }
        let bound = |wanted: Role| {
            let position = roles.iter().position(|role| *role == wanted)?;
            match input.slot(groups[position], aggregate.input.schema())? {
                Slot::Physical(index) => Some(column(&input.node, index)),
                Slot::Window(_) => None,
            }
        };
        [Role::WindowStart, Role::WindowEnd].into_iter().filter_map(bound).collect()
    }

    fn output_fields(
        &self,
        aggregate: &LogicalAggregate,
        node: &Node,
        keys: &[usize],
        aggregates: &[Aggregate],
        roles: &[Role],
    ) -> Vec<Field> {
        // COUNT(*) is counting a constant to the planner; to everyone else it is not.
        let names = aggregate.schema.fields().iter().map(|field| field.name().replace("count(Int64(1))", "count(*)"));
        let names: Vec<String> = names.collect();
        let key_names = names.iter().zip(roles).filter(|(_, role)| **role == Role::None).map(|(name, _)| name.as_str());
        let key_fields =
            key_names.zip(keys).map(|(name, key)| Field::new(name, node.schema.field(*key).data_type().clone(), true));
        let aggregate_fields =
            names[roles.len()..].iter().zip(aggregates).map(|(name, call)| Field::new(name, call.output.clone(), true));
        key_fields.chain(aggregate_fields).collect()
    }

    fn keyed(&mut self, input: Arc<Node>, grouping: Grouping, roles: &[Role]) -> Relation {
        let Grouping { keys, aggregates, time, mut fields } = grouping;
        let (key_count, value_count) = (keys.len(), keys.len() + aggregates.len());
        let mut output_roles = vec![Role::None; value_count];
        let (kind, updating) = match time {
            Some(time) => {
                fields.extend(window_fields());
                output_roles.extend(WINDOW_ROLES);
                (OpKind::WindowAggregate { time, keys, aggregates }, false)
            }
            None => (OpKind::GroupAggregate { keys, aggregates }, true),
        };
        let node =
            self.flow.add(NodeKind::Op(kind), vec![input], Arc::new(Schema::new(fields)), updating, output_roles);
        let mut next_key = 0;
        let groups = roles.iter().map(|role| match WINDOW_ROLES.iter().position(|window| window == role) {
            Some(index) => value_count + index,
            None => {
                next_key += 1;
                next_key - 1
            }
        });
        let groups: Vec<usize> = groups.collect();
        let columns = groups.into_iter().chain(key_count..value_count).map(Slot::Physical).collect();
        Relation { node, columns, window: None }
    }

    fn call<'e>(&self, expr: &'e Expr) -> Result<&'e Call, Error> {
        match unalias(expr) {
            Expr::AggregateFunction(call) => Ok(call),
            other => Err(self.refuse(format!("not an aggregate: {}", crate::tokens::shorten(&other.to_string())))),
        }
    }

    fn compile_call(
        &self,
        call: &Call,
        aggregate: &LogicalAggregate,
        input: &Relation,
        needed: &mut Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Compiled, Error> {
        let name = call.func.name();
        let function = match name {
            "count" => AggregateFunction::Count,
            "sum" => AggregateFunction::Sum,
            "min" => AggregateFunction::Min,
            "max" => AggregateFunction::Max,
            "avg" => AggregateFunction::Avg,
            other => return Err(self.refuse(format!("aggregate {other} is not supported yet"))),
        };
        if !call.params.order_by.is_empty() {
            return Err(self.refuse(format!("ORDER BY within {name} is not supported")));
        }
        let extremum = matches!(function, AggregateFunction::Min | AggregateFunction::Max);
        let distinct = call.params.distinct && !extremum;
        if distinct && function != AggregateFunction::Count {
            return Err(self
                .refuse(format!("{name}(DISTINCT ...) is not supported yet"))
                .help("COUNT(DISTINCT ...) is"));
        }
        let schema = aggregate.input.schema();
        let mut place = |expr: &Expr| -> Result<usize, Error> {
            needed.push(self.compile(expr, schema, input)?);
            Ok(needed.len() - 1)
        };
        let arguments: Vec<&Expr> = call.params.args.iter().map(unalias).collect();
        let argument = match arguments.as_slice() {
            [Expr::Literal(value, _)] if function == AggregateFunction::Count && !value.is_null() && !distinct => None,
            [] if function == AggregateFunction::Count => None,
            [argument] => Some(place(argument)?),
            _ => return Err(self.refuse(format!("{name} with several arguments is not supported yet"))),
        };
        let filter = call.params.filter.as_deref().map(&mut place).transpose()?;
        Ok(Compiled { function, distinct, argument, filter })
    }
}

fn is_windowed(roles: &[Role]) -> bool {
    roles.contains(&Role::WindowStart) && roles.contains(&Role::WindowEnd)
}
