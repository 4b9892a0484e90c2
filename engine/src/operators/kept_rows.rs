//! What operators that keep whole rows have in common: state TTL, and rows of state in checkpoints.

use super::OpenContext;
use crate::error::{Error, Result};
use crate::state::StateRows;
use crate::state::key_group::key_groups;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

/// State TTL and key groups of an operator.
#[derive(Debug, Default)]
pub(super) struct KeptRows {
    ttl_ms: i64,
    max_parallelism: usize,
    /// Processing time of the first look at the clock, for restored rows.
    started_ms: i64,
    swept_ms: Option<i64>,
}

impl KeptRows {
    /// Takes over what the task tells.
    pub(super) fn open(&mut self, context: &OpenContext) {
        self.ttl_ms = i64::try_from(context.state_ttl_ms).unwrap_or(i64::MAX);
        self.max_parallelism = context.max_parallelism;
    }

    /// Whether state has a time to live.
    pub(super) fn has_ttl(&self) -> bool {
        self.ttl_ms > 0
    }

    /// Whether state that was written last at `touched_ms` is too old.
    pub(super) fn expired(&self, touched_ms: i64, now_ms: i64) -> bool {
        self.ttl_ms > 0
            && touched_ms.max(self.started_ms) > 0
            && now_ms - touched_ms.max(self.started_ms) >= self.ttl_ms
    }

    /// When old state wants to be looked for, in milliseconds since the epoch.
    pub(super) fn next_sweep_ms(&self) -> Option<i64> {
        (self.ttl_ms > 0).then(|| self.swept_ms.map_or(i64::MIN, |at| at.saturating_add(self.ttl_ms)))
    }

    /// Whether it is time to look for old state.
    pub(super) fn sweep_is_due(&mut self, now_ms: i64) -> bool {
        if self.started_ms == 0 {
            self.started_ms = now_ms;
        }
        let due = self.swept_ms.is_some_and(|at| now_ms >= at.saturating_add(self.ttl_ms));
        if due || self.swept_ms.is_none() {
            self.swept_ms = Some(now_ms);
        }
        due
    }

    /// Time of writing for restored rows.
    pub(super) fn opened_ms(&self) -> i64 {
        self.started_ms
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
