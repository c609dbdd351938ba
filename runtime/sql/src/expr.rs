//! A compiled scalar expression over record batches.
use std::{fmt, sync::Arc};

use arrow::{array::ArrayRef, array::RecordBatch, error::ArrowError};
use datafusion::physical_expr::PhysicalExpr;

/// An expression bound to a schema; evaluates straight on batches of that schema.
#[derive(Clone)]
pub struct Expr {
    physical: Arc<dyn PhysicalExpr>,
}

impl Expr {
    pub(crate) fn new(physical: Arc<dyn PhysicalExpr>) -> Self {
        Self { physical }
    }

    /// Passes on a column.
    pub fn column(name: &str, index: usize) -> Self {
        Self::new(Arc::new(datafusion::physical_expr::expressions::Column::new(name, index)))
    }

    pub(crate) fn physical(&self) -> &Arc<dyn PhysicalExpr> {
        &self.physical
    }

    /// One value per row of `batch`. Errors are those of the data (division by zero, overflow, bad cast).
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef, ArrowError> {
        let value = self.physical.evaluate(batch).map_err(|error| ArrowError::ExternalError(Box::new(error)))?;
        value.into_array(batch.num_rows()).map_err(|error| ArrowError::ExternalError(Box::new(error)))
    }

    /// The column this expression merely passes on, if it does nothing else.
    pub fn as_column(&self) -> Option<usize> {
        let column = self.physical.downcast_ref::<datafusion::physical_expr::expressions::Column>()?;
        Some(column.index())
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.physical, f)
    }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.physical, f)
    }
}
