//! What all operators do with columns: evaluate expressions, make batches that fit a schema, read times.

use super::Collector;
use crate::error::{Error, Result};
use crate::message::ChangeBatch;
use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use datafusion_common::DataFusionError;
use datafusion_physical_expr::PhysicalExpr;
use std::sync::Arc;

/// Most rows in a batch that an operator makes itself.
pub(super) const MAX_BATCH_ROWS: usize = 8192;

/// The error of an expression, as ours: what a function of ours raised is passed through.
pub(super) fn expression_error(error: DataFusionError) -> Error {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            expression_error(*inner)
        }
        DataFusionError::ArrowError(e, _) => (*e).into(),
        DataFusionError::Execution(message) => Error::user(message),
        DataFusionError::External(inner) => match inner.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(other) => Error::user(other.to_string()),
        },
        other => Error::internal(other.strip_backtrace()),
    }
}

/// The values of `expression` for all rows of `records`.
pub(crate) fn evaluate(expression: &Arc<dyn PhysicalExpr>, records: &RecordBatch) -> Result<ArrayRef> {
    let rows = records.num_rows();
    expression.evaluate(records).and_then(|v| v.into_array(rows)).map_err(expression_error)
}

/// The rows of `records` for which `predicate` is true; NULL is not.
pub(super) fn evaluate_mask(
    predicate: &Arc<dyn PhysicalExpr>,
    records: &RecordBatch,
) -> Result<BooleanArray> {
    let values = evaluate(predicate, records)?;
    let Some(mask) = values.as_any().downcast_ref::<BooleanArray>() else {
        return Err(Error::internal(format!("A condition gave {} instead of BOOLEAN.", values.data_type())));
    };
    Ok(match mask.nulls() {
        None => mask.clone(),
        Some(nulls) => BooleanArray::new(mask.values() & nulls.inner(), None),
    })
}

/// A batch of `rows` rows with `schema`. Columns of another representation of the same values are converted.
///
/// Errors: a NULL in a NOT NULL column.
pub(crate) fn batch(schema: &SchemaRef, mut columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    if columns.len() != schema.fields().len() {
        let (have, want) = (columns.len(), schema.fields().len());
        return Err(Error::internal(format!("An operator made {have} columns instead of {want}.")));
    }
    for (column, field) in columns.iter_mut().zip(schema.fields()) {
        if column.data_type() != field.data_type() {
            *column = cast(column, field.data_type())?;
        }
        if !field.is_nullable() && column.logical_null_count() > 0 {
            return Err(Error::user(format!(
                "Column '{}' is NOT NULL, however, a null value is being written into it.",
                field.name()
            )));
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

/// A time column as milliseconds.
pub(super) fn milliseconds(
    column: &ArrayRef,
) -> Result<arrow::array::PrimitiveArray<arrow::datatypes::Int64Type>> {
    use arrow::array::AsArray;
    use arrow::datatypes::{Int64Type, TimestampMillisecondType};
    let column = match column.data_type() {
        DataType::Timestamp(TimeUnit::Millisecond, _) => column.clone(),
        DataType::Timestamp(_, zone) => {
            cast(column, &DataType::Timestamp(TimeUnit::Millisecond, zone.clone()))?
        }
        other => return Err(Error::internal(format!("A time attribute has the type {other}."))),
    };
    Ok(column.as_primitive::<TimestampMillisecondType>().reinterpret_cast::<Int64Type>())
}

/// Gives `batch` to `each`, in parts of at most `most` rows. A part holds no memory of the others.
pub(super) fn parts(
    batch: &ChangeBatch,
    most: usize,
    mut each: impl FnMut(&ChangeBatch) -> Result<()>,
) -> Result<()> {
    let rows = batch.num_rows();
    if rows == 0 {
        return Ok(());
    }
    if rows <= most {
        return each(batch);
    }
    for first in (0..rows).step_by(most) {
        let part = first as u32..(first + most).min(rows) as u32;
        each(&batch.take(&part.collect::<Vec<_>>().into())?)?;
    }
    Ok(())
}

/// Refuses changes in an operator that takes only inserts.
pub(super) fn inserts_only(batch: &ChangeBatch, operator: &str) -> Result<()> {
    match batch.kinds() {
        None => Ok(()),
        Some(_) => Err(Error::unsupported(
            format!("{operator} over an input with updates or deletes"),
            "Aggregate without a window (GROUP BY without window_start and window_end), or window the input before it is aggregated.",
        )),
    }
}

/// Gathers columns of rows and passes them on in batches that are neither tiny nor huge.
pub(super) struct Gather<'a> {
    schema: &'a SchemaRef,
    parts: Vec<Vec<ArrayRef>>,
    rows: usize,
    out: &'a mut dyn Collector,
}

impl<'a> Gather<'a> {
    /// Rows of `schema` for `out`.
    pub(super) fn new(schema: &'a SchemaRef, out: &'a mut dyn Collector) -> Self {
        Self { schema, parts: Vec::new(), rows: 0, out }
    }

    /// Adds `rows` rows.
    pub(super) fn add(&mut self, columns: Vec<ArrayRef>, rows: usize) -> Result<()> {
        self.parts.push(columns);
        self.rows += rows;
        if self.rows >= MAX_BATCH_ROWS { self.flush() } else { Ok(()) }
    }

    /// Passes on what is there. To be called at the end.
    pub(super) fn flush(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        let mut parts = std::mem::take(&mut self.parts);
        if rows == 0 {
            return Ok(());
        }
        let columns = if parts.len() == 1 {
            parts.swap_remove(0)
        } else {
            let width = self.schema.fields().len();
            let column = |i: usize| {
                let arrays: Vec<&dyn Array> = parts.iter().map(|p| p[i].as_ref()).collect();
                Ok(concat(&arrays)?)
            };
            (0..width).map(column).collect::<Result<_>>()?
        };
        self.out.emit(ChangeBatch::inserts(batch(self.schema, columns, rows)?))
    }
}
