//! What names stand for: tables, views, functions; and the planner's view of them.
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::TableReference;
use datafusion::common::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner, TypePlanner};
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF};

use crate::error::{Error, Position};
use crate::functions::Functions;
use crate::graph::TableSpec;
use crate::naming::CastNames;
use crate::statement::Name;
use crate::types::FlinkTypes;
use crate::windowing::WindowFunctions;

/// Something a query can read: a table with its computed columns and watermark, or a view.
#[derive(Debug)]
pub(crate) struct Relation {
    /// The plan that reading it stands for.
    pub plan: LogicalPlan,
    /// What a sink or source needs to know; none for a view.
    pub table: Option<TableSpec>,
    /// Where it is declared.
    pub position: Position,
}

/// Everything known by name.
pub(crate) struct Catalog {
    relations: BTreeMap<String, Relation>,
    pub functions: Functions,
    pub config: Arc<ConfigOptions>,
    expressions: Vec<Arc<dyn ExprPlanner>>,
    windows: Vec<Arc<dyn RelationPlanner>>,
}

impl Catalog {
    pub(crate) fn new() -> Self {
        Self {
            relations: BTreeMap::new(),
            functions: Functions::new(),
            config: Arc::new(ConfigOptions::new()),
            expressions: std::iter::once(Arc::new(CastNames) as Arc<dyn ExprPlanner>)
                .chain(SessionStateDefaults::default_expr_planners())
                .collect(),
            windows: vec![Arc::new(WindowFunctions)],
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Relation> {
        self.relations.get(name)
    }

    /// Refuses a name that is taken, with the place of the other.
    pub(crate) fn check_free(&self, name: &Name) -> Result<(), Error> {
        let Some(other) = self.get(&name.text) else { return Ok(()) };
        let kind = if other.table.is_some() { "table" } else { "view" };
        let message = format!("\"{}\" is declared twice", name.text);
        Err(Error::at(name.position, message)
            .help(format!("line {} declares a {kind} of this name; rename one of them", other.position.line)))
    }

    pub(crate) fn insert(&mut self, name: &Name, relation: Relation) {
        self.relations.insert(name.text.clone(), relation);
    }

    /// The error for a name that stands for nothing.
    pub(crate) fn unknown(&self, name: &str) -> Error {
        let names = self.relations.keys().map(String::as_str);
        let help = match crate::suggest::advice(name, "tables and views", names) {
            help if help.is_empty() => "declare it with CREATE TABLE before its use".to_owned(),
            help => help,
        };
        Error::somewhere(format!("unknown table \"{name}\"")).help(help)
    }
}

/// The physical columns of a table, at the bottom of every plan.
pub(crate) struct PhysicalTable {
    pub spec: TableSpec,
}

impl TableSource for PhysicalTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.spec.schema)
    }
}

/// A name that stands for a plan, which the planner puts in its place.
struct Inlined {
    plan: LogicalPlan,
}

impl TableSource for Inlined {
    fn schema(&self) -> SchemaRef {
        Arc::new(self.plan.schema().as_arrow().clone())
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.plan))
    }
}

impl ContextProvider for Catalog {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        match self.get(name.table()) {
            Some(relation) => Ok(Arc::new(Inlined { plan: relation.plan.clone() })),
            None => Err(self.unknown(name.table()).into()),
        }
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.expressions
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.windows
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(FlinkTypes))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.functions.scalar(name)
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.functions.aggregate(name)
    }

    fn get_window_meta(&self, _name: &str) -> Option<Arc<WindowUDF>> {
        None
    }

    fn get_variable_type(&self, _variable_names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.config
    }

    fn udf_names(&self) -> Vec<String> {
        self.functions.scalar_names().map(str::to_owned).collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.functions.aggregate_names().map(str::to_owned).collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}
