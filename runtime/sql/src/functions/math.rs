//! Arithmetic functions of Flink SQL.
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Datum, Scalar};
use arrow::compute::kernels::{cmp, numeric, zip::zip};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::binary::binary_numeric_coercion;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::types::sql_name;

/// Which function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Abs,
    Mod,
    Ceil,
    Floor,
    Round,
    Power,
    Sqrt,
    Exp,
    Ln,
}

/// All functions of this module.
pub(super) fn all() -> impl Iterator<Item = Arc<ScalarUDF>> {
    use Kind::{Abs, Ceil, Exp, Floor, Ln, Mod, Power, Round, Sqrt};
    let kinds = [Abs, Mod, Ceil, Floor, Round, Power, Sqrt, Exp, Ln];
    kinds.into_iter().map(|kind| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(Math { kind, signature }))
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Math {
    kind: Kind,
    signature: Signature,
}

impl ScalarUDFImpl for Math {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Abs => "abs",
            Kind::Mod => "mod",
            Kind::Ceil => "ceil",
            Kind::Floor => "floor",
            Kind::Round => "round",
            Kind::Power => "power",
            Kind::Sqrt => "sqrt",
            Kind::Exp => "exp",
            Kind::Ln => "ln",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let wrong = || {
            let types: Vec<String> = arguments.iter().map(sql_name).collect();
            plan_err!("{} does not take ({})", self.name().to_uppercase(), types.join(", "))
        };
        if arguments.iter().any(|argument| !argument.is_numeric() && *argument != DataType::Null) {
            return wrong();
        }
        match (self.kind, arguments) {
            (Kind::Mod, [left, right]) => match binary_numeric_coercion(left, right) {
                Some(common) => Ok(vec![common.clone(), common]),
                None => wrong(),
            },
            (Kind::Abs, [argument]) => Ok(vec![or_float(argument)]),
            (Kind::Ceil | Kind::Floor | Kind::Round, [argument]) if argument.is_integer() => Ok(vec![argument.clone()]),
            (Kind::Power, [_, _]) => Ok(vec![DataType::Float64; 2]),
            (Kind::Round, [_, places]) if places.is_integer() => Ok(vec![DataType::Float64, DataType::Int64]),
            (Kind::Ceil | Kind::Floor | Kind::Round | Kind::Sqrt | Kind::Exp | Kind::Ln, [_]) => {
                Ok(vec![DataType::Float64])
            }
            _ => wrong(),
        }
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments.first() {
            Some(first) => Ok(first.clone()),
            None => plan_err!("{} takes an argument", self.name().to_uppercase()),
        }
    }

    /// MOD is the operator, which has kernels for constants.
    fn simplify(&self, arguments: Vec<Expr>, _info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        match (self.kind, <[Expr; 2]>::try_from(arguments)) {
            (Kind::Mod, Ok([left, right])) => {
                let operation = BinaryExpr::new(Box::new(left), Operator::Modulo, Box::new(right));
                Ok(ExprSimplifyResult::Simplified(Expr::BinaryExpr(operation)))
            }
            (_, Ok(arguments)) => Ok(ExprSimplifyResult::Original(arguments.into())),
            (_, Err(arguments)) => Ok(ExprSimplifyResult::Original(arguments)),
        }
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&call.args)?;
        let result = match (self.kind, arrays.as_slice()) {
            (Kind::Abs, [argument]) => absolute(argument)?,
            (Kind::Mod, [left, right]) => numeric::rem(left, right)?,
            (Kind::Power, [base, exponent]) => binary(base, exponent, f64::powf),
            (Kind::Round, [value, places]) => round(value, places)?,
            (_, [argument]) if argument.data_type().is_integer() => Arc::clone(argument),
            (kind, [argument]) => unary(argument, kind),
            _ => return plan_err!("wrong number of arguments for {}", self.name()),
        };
        // Constants stay one value, as the planner's constant folding expects.
        if call.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_))) && result.len() == 1 {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

fn or_float(data_type: &DataType) -> DataType {
    if *data_type == DataType::Null { DataType::Float64 } else { data_type.clone() }
}

fn absolute(argument: &ArrayRef) -> Result<ArrayRef> {
    let zero = Scalar::new(ScalarValue::new_zero(argument.data_type())?.to_array()?);
    let negative = cmp::lt(argument, &zero as &dyn Datum)?;
    let turned = if negative.true_count() == 0 { Arc::clone(argument) } else { numeric::neg(argument)? };
    Ok(zip(&negative, &turned, argument)?)
}

fn unary(argument: &ArrayRef, kind: Kind) -> ArrayRef {
    let function = match kind {
        Kind::Ceil => f64::ceil,
        Kind::Floor => f64::floor,
        Kind::Sqrt => f64::sqrt,
        Kind::Exp => f64::exp,
        Kind::Ln => f64::ln,
        Kind::Round | Kind::Abs | Kind::Mod | Kind::Power => f64::round,
    };
    Arc::new(argument.as_primitive::<Float64Type>().unary::<_, Float64Type>(function))
}

fn binary(left: &ArrayRef, right: &ArrayRef, function: impl Fn(f64, f64) -> f64) -> ArrayRef {
    let (left, right) = (left.as_primitive::<Float64Type>(), right.as_primitive::<Float64Type>());
    let values = left.iter().zip(right.iter()).map(|(left, right)| Some(function(left?, right?)));
    Arc::new(values.collect::<arrow::array::Float64Array>())
}

fn round(value: &ArrayRef, places: &ArrayRef) -> Result<ArrayRef> {
    let places = arrow::compute::cast(places, &DataType::Float64)?;
    Ok(binary(value, &places, |value, places| {
        let scale = 10_f64.powf(places);
        let scaled = value * scale;
        if scaled.is_finite() { scaled.round() / scale } else { value }
    }))
}
