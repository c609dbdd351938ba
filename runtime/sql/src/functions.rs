//! The functions a text may call: DataFusion's, those of Flink it lacks, and our aggregates.
use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::execution::SessionStateDefaults;
use datafusion::functions_aggregate::{count::count_udaf, min_max, sum::sum_udaf};
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, Volatility};

mod avg;
mod flink;
mod math;

/// Functions by lower-case name.
#[derive(Debug)]
pub(crate) struct Functions {
    scalar: BTreeMap<String, Arc<ScalarUDF>>,
    aggregate: BTreeMap<String, Arc<AggregateUDF>>,
}

impl Functions {
    pub(crate) fn new() -> Self {
        let mut scalar = BTreeMap::new();
        for function in SessionStateDefaults::default_scalar_functions() {
            for alias in function.aliases() {
                scalar.insert(alias.to_lowercase(), Arc::clone(&function));
            }
            scalar.insert(function.name().to_lowercase(), function);
        }
        for function in math::all().chain(flink::all()) {
            scalar.insert(function.name().to_owned(), function);
        }
        let aggregates = [count_udaf(), sum_udaf(), min_max::min_udaf(), min_max::max_udaf(), avg::avg()];
        let aggregate = aggregates.into_iter().map(|function| (function.name().to_owned(), function)).collect();
        Self { scalar, aggregate }
    }

    pub(crate) fn scalar(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.scalar.get(&name.to_lowercase()).cloned()
    }

    pub(crate) fn aggregate(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.aggregate.get(&name.to_lowercase()).cloned()
    }

    pub(crate) fn scalar_names(&self) -> impl Iterator<Item = &str> + Clone {
        self.scalar.keys().map(String::as_str)
    }

    pub(crate) fn aggregate_names(&self) -> impl Iterator<Item = &str> + Clone {
        self.aggregate.keys().map(String::as_str)
    }

    /// Whether the same arguments always give the same value, on every process and after every restart.
    pub(crate) fn is_deterministic(function: &ScalarUDF) -> bool {
        function.signature().volatility == Volatility::Immutable
    }
}
