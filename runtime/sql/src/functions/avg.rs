//! `AVG` with Flink's result types: integers stay integers (truncating), decimals keep their kind.
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{not_impl_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

/// The function as the planner sees it; the op that computes it is not DataFusion's.
pub(super) fn avg() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::new_from_impl(Avg { signature: Signature::user_defined(Volatility::Immutable) }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Avg {
    signature: Signature,
}

impl AggregateUDFImpl for Avg {
    fn name(&self) -> &str {
        "avg"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [argument] = arg_types else { return plan_err!("AVG takes one argument, not {}", arg_types.len()) };
        Ok(vec![match argument {
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => DataType::Int64,
            DataType::Float32 | DataType::Float64 | DataType::Null => DataType::Float64,
            DataType::Decimal128(..) => argument.clone(),
            other => return plan_err!("AVG takes a number, not {}", crate::types::sql_name(other)),
        }])
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(match arg_types {
            [DataType::Decimal128(_, scale)] => DataType::Decimal128(38, (*scale).max(6)),
            [argument] => self.coerce_types(std::slice::from_ref(argument))?.remove(0),
            _ => return plan_err!("AVG takes one argument, not {}", arg_types.len()),
        })
    }

    fn accumulator(&self, _arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        not_impl_err!("AVG runs in the streaming aggregate only")
    }
}
