//! Rows of a lookup table on their way from the connector into a join: filtered, with the columns that the join gives.

use super::rows::{batch, evaluate, evaluate_mask};
use crate::error::Result;
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;
use std::sync::Arc;

/// What becomes of rows that a connector gives.
pub(super) struct LookupRows {
    filter: Option<Arc<dyn PhysicalExpr>>,
    columns: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
}

impl LookupRows {
    /// Rows for which `filter` is true, as `columns` with `schema`.
    pub(super) fn new(
        filter: Option<Arc<dyn PhysicalExpr>>,
        columns: Vec<Arc<dyn PhysicalExpr>>,
        schema: SchemaRef,
    ) -> Self {
        Self { filter, columns, schema }
    }

    /// Columns of the rows.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Which of `records` pass the filter; `None` for all.
    pub(super) fn mask(&self, records: &RecordBatch) -> Result<Option<BooleanArray>> {
        self.filter.as_ref().map(|f| evaluate_mask(f, records)).transpose()
    }

    /// Those of `records` that pass the filter.
    pub(super) fn passing(&self, records: &RecordBatch) -> Result<RecordBatch> {
        match self.mask(records)? {
            None => Ok(records.clone()),
            Some(mask) => Ok(filter_record_batch(records, &mask)?),
        }
    }

    /// The columns of `records`, which have passed the filter.
    pub(super) fn shaped(&self, records: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.columns.iter().map(|c| evaluate(c, records)).collect::<Result<_>>()?;
        batch(&self.schema, columns, records.num_rows())
    }
}
