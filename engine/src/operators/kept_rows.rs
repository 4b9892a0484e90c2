//! What operators that keep whole rows have in common: rows of state in checkpoints.

use super::OpenContext;
use crate::error::{Error, Result};
use crate::state::StateRows;
use crate::state::key_group::key_groups;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

/// Key groups of an operator.
#[derive(Debug, Default)]
pub(super) struct KeptRows {
    max_parallelism: usize,
}

impl KeptRows {
    /// Takes over what the task tells.
    pub(super) fn open(&mut self, context: &OpenContext) {
        self.max_parallelism = context.max_parallelism;
    }

    /// Rows of state, keyed by `keys`; by nothing if there are none.
    pub(super) fn state_rows(&self, table: &str, rows: RecordBatch, keys: &[usize]) -> Result<StateRows> {
        key_rows(table, rows, keys, self.max_parallelism)
    }
}

/// Rows of state, keyed by `keys`; by nothing if there are none.
pub(super) fn key_rows(
    table: &str,
    rows: RecordBatch,
    keys: &[usize],
    max_parallelism: usize,
) -> Result<StateRows> {
    let columns: Vec<ArrayRef> = keys.iter().map(|k| Arc::clone(rows.column(*k))).collect();
    let groups = if columns.is_empty() {
        None
    } else {
        let mut groups = Vec::new();
        key_groups(&columns, max_parallelism, &mut groups)?;
        Some(groups)
    };
    Ok(StateRows { table: table.into(), key_groups: groups, rows, deleted: None })
}

/// `input`'s columns, nullable, then BIGINT columns called `more`.
pub(super) fn schema(input: &SchemaRef, more: &[&str]) -> SchemaRef {
    let mut fields: Vec<Arc<Field>> =
        input.fields().iter().map(|f| Arc::new(f.as_ref().clone().with_nullable(true))).collect();
    fields.extend(more.iter().map(|name| Arc::new(Field::new(*name, DataType::Int64, true))));
    Arc::new(Schema::new(fields))
}

/// A batch of state.
pub(super) fn records(schema: &SchemaRef, columns: &[ArrayRef], rows: usize) -> Result<RecordBatch> {
    let columns = columns.iter().zip(schema.fields());
    let columns = columns
        .map(|(c, f)| match c.data_type() == f.data_type() {
            true => Ok(Arc::clone(c)),
            false => Ok(arrow::compute::cast(c, f.data_type())?),
        })
        .collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// The columns of rows of state `table`.
///
/// Errors: they are of another table or have another number of columns.
pub(super) fn columns<'a>(part: &'a StateRows, table: &str, width: usize) -> Result<&'a [ArrayRef]> {
    if part.table != table || part.rows.num_columns() != width {
        return Err(Error::user(format!(
            "The checkpoint holds state table '{}' with {} columns where '{table}' with {width} was expected.",
            part.table,
            part.rows.num_columns()
        ))
        .with_hint("The query has changed: start it without the checkpoint."));
    }
    Ok(part.rows.columns())
}
