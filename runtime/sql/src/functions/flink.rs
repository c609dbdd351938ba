//! Functions of Flink SQL that are put together from DataFusion's while planning, so that nothing but kernels runs.
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{ScalarValue, internal_err, plan_err};
use datafusion::error::Result;
use datafusion::functions::datetime::expr_fn::{to_char, to_timestamp_millis};
use datafusion::functions::regex::expr_fn::regexp_match;
use datafusion::functions_nested::expr_fn::{array_element, string_to_array};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, cast, lit,
};

use crate::error::Error;
use crate::types::{TIMESTAMP, sql_name, timestamp_ltz};

mod pattern;

/// Which function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    DateFormat,
    RegexpExtract,
    SplitIndex,
    ToTimestamp,
    ToTimestampLtz,
}

/// All functions of this module.
pub(super) fn all() -> impl Iterator<Item = Arc<ScalarUDF>> {
    use Kind::{DateFormat, RegexpExtract, SplitIndex, ToTimestamp, ToTimestampLtz};
    let kinds = [DateFormat, RegexpExtract, SplitIndex, ToTimestamp, ToTimestampLtz];
    kinds.into_iter().map(|kind| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(Rewritten { kind, signature }))
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Rewritten {
    kind: Kind,
    signature: Signature,
}

impl ScalarUDFImpl for Rewritten {
    fn name(&self) -> &str {
        match self.kind {
            Kind::DateFormat => "date_format",
            Kind::RegexpExtract => "regexp_extract",
            Kind::SplitIndex => "split_index",
            Kind::ToTimestamp => "to_timestamp",
            Kind::ToTimestampLtz => "to_timestamp_ltz",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        use DataType::{Int64, Timestamp, Utf8};
        let text = |data_type: &DataType| matches!(data_type, Utf8 | DataType::Null);
        match (self.kind, arguments) {
            (Kind::DateFormat, [Timestamp(..), format]) if text(format) => Ok(vec![TIMESTAMP, Utf8]),
            (Kind::RegexpExtract, [value, regex]) if text(value) && text(regex) => Ok(vec![Utf8, Utf8]),
            (Kind::RegexpExtract, [value, regex, group]) if text(value) && text(regex) && group.is_integer() => {
                Ok(vec![Utf8, Utf8, Int64])
            }
            (Kind::SplitIndex, [value, delimiter, index]) if text(value) && text(delimiter) && index.is_integer() => {
                Ok(vec![Utf8, Utf8, Int64])
            }
            (Kind::ToTimestamp, [value]) if text(value) => Ok(vec![Utf8]),
            (Kind::ToTimestamp, [value, format]) if text(value) && text(format) => Ok(vec![Utf8, Utf8]),
            (Kind::ToTimestampLtz, [value]) if value.is_integer() => Ok(vec![Int64]),
            (Kind::ToTimestampLtz, [value, precision]) if value.is_integer() && precision.is_integer() => {
                Ok(vec![Int64, Int64])
            }
            _ => {
                let types: Vec<String> = arguments.iter().map(sql_name).collect();
                plan_err!("{} does not take ({})", self.name().to_uppercase(), types.join(", "))
            }
        }
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(match self.kind {
            Kind::DateFormat | Kind::RegexpExtract | Kind::SplitIndex => DataType::Utf8,
            Kind::ToTimestamp => TIMESTAMP,
            Kind::ToTimestampLtz => timestamp_ltz(),
        })
    }

    fn simplify(&self, arguments: Vec<Expr>, _info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let rewritten = match (self.kind, arguments.as_slice()) {
            (Kind::DateFormat, [value, format]) => to_char(value.clone(), lit(self.pattern(format)?)),
            (Kind::RegexpExtract, [value, regex]) => extract(value, regex, lit(1_i64)),
            (Kind::RegexpExtract, [value, regex, group]) => extract(value, regex, group.clone() + lit(1_i64)),
            (Kind::SplitIndex, [value, delimiter, index]) => array_element(
                string_to_array(value.clone(), delimiter.clone(), lit(ScalarValue::Utf8(None))),
                index.clone() + lit(1_i64),
            ),
            (Kind::ToTimestamp, [value]) => to_timestamp_millis(vec![value.clone()]),
            (Kind::ToTimestamp, [value, format]) => {
                to_timestamp_millis(vec![value.clone(), lit(self.pattern(format)?)])
            }
            (Kind::ToTimestampLtz, [value]) => millis(value.clone()),
            (Kind::ToTimestampLtz, [value, Expr::Literal(ScalarValue::Int64(Some(precision)), _)]) => match precision {
                0 => millis(value.clone() * lit(1000_i64)),
                3 => millis(value.clone()),
                other => {
                    return plan_err!("TO_TIMESTAMP_LTZ takes seconds (0) or milliseconds (3), not precision {other}");
                }
            },
            _ => return plan_err!("{} takes constants for its formats and precisions", self.name().to_uppercase()),
        };
        Ok(ExprSimplifyResult::Simplified(rewritten))
    }

    fn invoke_with_args(&self, _call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("{} is replaced while planning", self.name())
    }
}

impl Rewritten {
    /// A format of Java's as one of the library's.
    fn pattern(&self, format: &Expr) -> Result<String> {
        let Expr::Literal(ScalarValue::Utf8(Some(format)), _) = format else {
            return plan_err!("the format of {} must be a text constant", self.name().to_uppercase());
        };
        pattern::to_strftime(format).map_err(|letter| {
            let message = format!("the format '{format}' has a letter that is not supported: {letter}");
            Error::somewhere(message).help("letters: yyyy, MM, dd, HH, mm, ss, SSS; other text in single quotes").into()
        })
    }
}

fn millis(value: Expr) -> Expr {
    cast(to_timestamp_millis(vec![value]), timestamp_ltz())
}

/// Group 0 is the whole match: it is made the first group.
fn extract(value: &Expr, regex: &Expr, index: Expr) -> Expr {
    let whole = match regex {
        Expr::Literal(ScalarValue::Utf8(Some(regex)), _) => lit(format!("({regex})")),
        _ => datafusion::functions::string::expr_fn::concat(vec![lit("("), regex.clone(), lit(")")]),
    };
    array_element(regexp_match(value.clone(), whole, None), index)
}
