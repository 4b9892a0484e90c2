//! Whole rows by key, as the payload of a `GroupStore`: what Top-N, deduplication and the like keep of each key.
//!
//! In memory rows are in arrow's row format, on disk the bytes of a group are those that it writes itself, and in
//! checkpoints rows are columns: the row's, then numbers that the operator keeps beside it.

use super::kept_rows::{self, key_rows};
use super::row_codec::RowCodec;
use super::rows::MAX_BATCH_ROWS;
use super::{OpenContext, kept_rows::records};
use crate::error::{Error, Result};
use crate::state::{GroupStore, Payload, SnapshotKind, StateRows};
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, SchemaRef};
use std::sync::Arc;

/// Most numbers beside a row.
pub(super) const NUMBERS: usize = 2;

/// What is kept of one key.
pub(super) trait KeptGroup: Default + Send {
    /// Whether a group may have more than one row.
    const MANY: bool;

    /// Bytes held beside the value itself, estimated.
    fn size(&self) -> usize;

    /// Adds all of it to `into`: for the disk of this process only.
    fn write(&self, into: &mut Vec<u8>);

    /// What `write` has written.
    fn read(from: &mut Bytes<'_>) -> Option<Self>;

    /// Calls `found` with each row and the numbers beside it, in order.
    fn rows<'a>(&'a self, found: &mut dyn FnMut(&'a [u8], [Option<i64>; NUMBERS]));
}

/// Reads what `put_bytes` and `put_number` have written.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    /// A number.
    pub(super) fn number(&mut self) -> Option<i64> {
        let (number, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(i64::from_le_bytes(*number))
    }

    /// Bytes.
    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let (bytes, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.0 = rest;
        Some(bytes)
    }
}

/// Adds a number.
pub(super) fn put_number(into: &mut Vec<u8>, number: i64) {
    into.extend_from_slice(&number.to_le_bytes());
}

/// Adds bytes with their length: those of a row, which arrow keeps below 4 GB.
pub(super) fn put_bytes(into: &mut Vec<u8>, bytes: &[u8]) {
    into.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    into.extend_from_slice(bytes);
}

/// The state table of an operator.
pub(super) struct KeptTable {
    pub(super) name: &'static str,
    /// Columns of the rows, then the numbers.
    schema: SchemaRef,
    /// Key columns of the rows.
    keys: Vec<usize>,
    numbers: usize,
    /// `None`: of each key nothing is kept but that it is there.
    codec: Option<RowCodec>,
}

impl KeptTable {
    /// For rows of `input` by the columns `keys`, with numbers called `numbers`.
    ///
    /// Errors: a column of a type that cannot be kept.
    pub(super) fn new(input: &SchemaRef, keys: &[usize], numbers: &[&str]) -> Result<Self> {
        Ok(Self {
            name: "rows",
            schema: kept_rows::schema(input, numbers),
            keys: keys.to_vec(),
            numbers: numbers.len(),
            codec: Some(RowCodec::of_schema(input)?),
        })
    }
}

/// The groups of an operator. Whoever changes one adds what it grows by to `bytes`.
pub(super) struct KeptGroups<G> {
    pub(super) groups: Vec<G>,
    pub(super) bytes: usize,
    table: Arc<KeptTable>,
    max_parallelism: usize,
}

impl<G: KeptGroup> KeptGroups<G> {
    /// No groups.
    pub(super) fn new(table: KeptTable) -> Self {
        Self { groups: Vec::new(), bytes: 0, table: Arc::new(table), max_parallelism: 1 }
    }

    /// Takes over what the task tells.
    pub(super) fn open(&mut self, context: &OpenContext) {
        self.max_parallelism = context.max_parallelism;
    }

    /// `group` grew by so many bytes.
    pub(super) fn grew(&mut self, by: isize) {
        self.bytes = self.bytes.saturating_add_signed(by);
    }

    fn state_rows(&self, columns: &[ArrayRef], rows: usize, deleted: bool) -> Result<StateRows> {
        let records = records(&self.table.schema, columns, rows)?;
        let mut rows = key_rows(self.table.name, records, &self.table.keys, self.max_parallelism)?;
        rows.deleted = deleted.then(|| BooleanBuffer::new_set(rows.rows.num_rows()));
        Ok(rows)
    }

    /// Keys alone, in the table's columns.
    fn of_keys(&self, keys: &[ArrayRef], deleted: bool) -> Result<StateRows> {
        let rows = keys.first().map_or(1, |k| k.len());
        let column = |(at, field): (usize, &Arc<arrow::datatypes::Field>)| match self
            .table
            .keys
            .iter()
            .position(|key| *key == at)
        {
            Some(key) => Arc::clone(&keys[key]),
            None => new_null_array(field.data_type(), rows),
        };
        let columns: Vec<ArrayRef> = self.table.schema.fields().iter().enumerate().map(column).collect();
        self.state_rows(&columns, rows, deleted)
    }
}

impl<G: KeptGroup> Payload for KeptGroups<G> {
    fn resize(&mut self, groups: usize) {
        self.groups.resize_with(groups, G::default);
    }

    /// The bytes of each group.
    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut bytes = Vec::new();
        let column = groups.iter().map(|group| {
            bytes.clear();
            self.groups[*group as usize].write(&mut bytes);
            Some(bytes.clone())
        });
        Ok(vec![Arc::new(BinaryArray::from_iter(column))])
    }

    fn merge(&mut self, columns: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let column = columns.first().and_then(|c| c.as_binary_opt::<i32>());
        let Some(column) = column else { return Err(Error::internal("Kept rows are not bytes.")) };
        for (row, group) in groups.iter().enumerate() {
            let Some(read) = G::read(&mut Bytes(column.value(row))) else {
                return Err(Error::internal("Kept rows cannot be read back."));
            };
            self.bytes += read.size();
            self.groups[*group as usize] = read;
        }
        Ok(())
    }

    fn clear(&mut self, group: u32) {
        let gone = std::mem::take(&mut self.groups[group as usize]);
        self.bytes = self.bytes.saturating_sub(gone.size());
    }

    fn size(&self) -> usize {
        self.bytes + self.groups.len() * size_of::<G>()
    }

    fn spare(&self, free: usize, _: usize) -> usize {
        free * size_of::<G>()
    }

    fn fresh(&self) -> Result<Self> {
        Ok(Self {
            groups: Vec::new(),
            bytes: 0,
            table: Arc::clone(&self.table),
            max_parallelism: self.max_parallelism,
        })
    }

    fn rows(&self, groups: &[u32], keys: &[ArrayRef], kind: SnapshotKind) -> Result<Option<Vec<StateRows>>> {
        if groups.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let Some(codec) = &self.table.codec else { return Ok(Some(vec![self.of_keys(keys, false)?])) };
        let mut out = Vec::new();
        if G::MANY && kind == SnapshotKind::Delta {
            // What an earlier snapshot holds of them gives way as a whole.
            out.push(self.of_keys(keys, true)?);
        }
        let (mut rows, mut numbers) = (Vec::new(), vec![Vec::new(); self.table.numbers]);
        for group in groups {
            self.groups[*group as usize].rows(&mut |row, beside| {
                rows.push(row);
                numbers.iter_mut().zip(beside).for_each(|(column, number)| column.push(number));
            });
        }
        for first in (0..rows.len()).step_by(MAX_BATCH_ROWS) {
            let part = first..(first + MAX_BATCH_ROWS).min(rows.len());
            let mut columns = codec.decode(rows[part.clone()].iter().copied())?;
            for column in &numbers {
                columns.push(Arc::new(column[part.clone()].iter().copied().collect::<Int64Array>()));
            }
            out.push(self.state_rows(&columns, part.len(), false)?);
        }
        Ok(Some(out))
    }

    fn deleted(&self, keys: &[ArrayRef]) -> Result<Option<Vec<StateRows>>> {
        Ok(Some(vec![self.of_keys(keys, true)?]))
    }
}

/// Rows of a checkpoint, with their groups.
pub(super) struct PutBack {
    pub(super) records: RecordBatch,
    pub(super) groups: Vec<u32>,
}

/// Takes rows of a checkpoint: the operator puts them into their groups, then calls `settle_put_back`. Deletions
/// are done with: `None`.
///
/// Errors: the rows are of another table.
pub(super) fn put_back<G: KeptGroup>(
    store: &mut GroupStore<KeptGroups<G>>,
    part: &StateRows,
) -> Result<Option<PutBack>> {
    let table = Arc::clone(&store.payload().table);
    let columns = kept_rows::columns(part, table.name, table.schema.fields().len())?;
    let rows = part.rows.num_rows();
    let records = records(&table.schema, columns, rows)?;
    let keys: Vec<ArrayRef> = table.keys.iter().map(|k| Arc::clone(records.column(*k))).collect();
    let mut groups = Vec::new();
    store.put_back(&keys, rows, &mut groups)?;
    if part.deleted.as_ref().is_some_and(|d| d.count_set_bits() > 0) {
        groups.sort_unstable();
        groups.dedup();
        store.settle_put_back(&groups)?;
        return Ok(None);
    }
    let width = records.num_columns() - table.numbers;
    let own: Vec<usize> = (0..width).collect();
    Ok(Some(PutBack { records: records.project(&own)?, groups }))
}

/// The types of key columns.
pub(super) fn key_types(input: &SchemaRef, keys: &[usize]) -> Vec<DataType> {
    keys.iter().map(|k| input.field(*k).data_type().clone()).collect()
}
