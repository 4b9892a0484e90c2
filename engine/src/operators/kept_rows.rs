//! What operators that keep whole rows have in common: rows of state in checkpoints.

use super::OpenContext;
use crate::error::{Error, Result};
use crate::state::key_group::key_groups;
use crate::state::{GroupStore, Payload, StateRows};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use std::sync::Arc;

/// Name of the state table of operators that keep whole rows.
pub(super) const ROWS: &str = "rows";

/// The state table of an operator that keeps whole rows by key: the row's columns, then numbers beside it.
#[derive(Clone)]
pub(super) struct KeptTable {
    schema: SchemaRef,
    /// Key columns of the rows.
    keys: Vec<usize>,
    numbers: usize,
    max_parallelism: usize,
}

impl KeptTable {
    /// For rows of `input` by the columns `keys`, with numbers called `numbers`.
    pub(super) fn new(input: &SchemaRef, keys: &[usize], numbers: &[&str]) -> Self {
        Self {
            schema: schema(input, numbers),
            keys: keys.to_vec(),
            numbers: numbers.len(),
            max_parallelism: 1,
        }
    }

    /// Takes over what the task tells.
    pub(super) fn open(&mut self, context: &OpenContext) {
        self.max_parallelism = context.max_parallelism;
    }

    /// The types of the key columns.
    pub(super) fn key_types(&self) -> Vec<DataType> {
        self.keys.iter().map(|k| self.schema.field(*k).data_type().clone()).collect()
    }

    /// The key columns of rows.
    pub(super) fn key_columns(&self, records: &RecordBatch) -> Vec<ArrayRef> {
        self.keys.iter().map(|k| Arc::clone(records.column(*k))).collect()
    }

    /// Number of numbers beside a row.
    pub(super) fn numbers(&self) -> usize {
        self.numbers
    }

    /// Rows with their numbers.
    pub(super) fn rows(&self, columns: &[ArrayRef], rows: usize) -> Result<StateRows> {
        key_rows(ROWS, records(&self.schema, columns, rows)?, &self.keys, self.max_parallelism)
    }

    /// Rows of NULLs beside their keys.
    pub(super) fn key_rows(&self, keys: &[ArrayRef]) -> Result<StateRows> {
        let rows = keys.first().map_or(1, |k| k.len());
        let column = |(at, field): (usize, &Arc<Field>)| match self.keys.iter().position(|key| *key == at) {
            Some(key) => Arc::clone(&keys[key]),
            None => new_null_array(field.data_type(), rows),
        };
        let columns: Vec<ArrayRef> = self.schema.fields().iter().enumerate().map(column).collect();
        self.rows(&columns, rows)
    }

    /// Takes all rows of keys away.
    pub(super) fn deleted(&self, keys: &[ArrayRef]) -> Result<StateRows> {
        let mut rows = self.key_rows(keys)?;
        rows.deleted = Some(BooleanBuffer::new_set(rows.rows.num_rows()));
        Ok(rows)
    }

    /// Takes rows of a checkpoint: the operator puts them into their groups, then calls `settle_put_back`. Deletions
    /// are done with: `None`.
    ///
    /// Errors: the rows are of another table.
    pub(super) fn put_back<P: Payload>(
        &self,
        store: &mut GroupStore<P>,
        part: &StateRows,
    ) -> Result<Option<PutBack>> {
        let rows = part.rows.num_rows();
        let all = columns(part, ROWS, self.schema.fields().len())?;
        let all = records(&self.schema, all, rows)?;
        let mut groups = Vec::new();
        store.put_back(&self.key_columns(&all), rows, &mut groups)?;
        if part.deleted.as_ref().is_some_and(|d| d.count_set_bits() > 0) {
            groups.sort_unstable();
            groups.dedup();
            store.settle_put_back(&groups)?;
            return Ok(None);
        }
        let width = all.num_columns() - self.numbers;
        let numbers = all.columns()[width..].iter().map(|c| c.as_primitive::<Int64Type>().clone()).collect();
        let own: Vec<usize> = (0..width).collect();
        Ok(Some(PutBack { records: all.project(&own)?, numbers, groups }))
    }
}

/// Rows of a checkpoint, with the numbers beside them and their groups.
pub(super) struct PutBack {
    pub(super) records: RecordBatch,
    pub(super) numbers: Vec<Int64Array>,
    pub(super) groups: Vec<u32>,
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
