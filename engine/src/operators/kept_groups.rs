//! Whole rows by key as bytes, as the payload of a `GroupStore`, for operators that compare whole rows or take them back.
//!
//! In memory rows are in arrow's row format, on disk the bytes of a group are those that it writes itself, and in
//! checkpoints rows are columns: the row's, then numbers that the operator keeps beside it.

use super::kept_rows::KeptTable;
use super::row_codec::RowCodec;
use super::rows::MAX_BATCH_ROWS;
use crate::error::{Error, Result};
use crate::state::{Payload, SnapshotKind, StateRows};
use arrow::array::{ArrayRef, AsArray, BinaryArray, Int64Array};
use arrow::datatypes::SchemaRef;
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

/// The groups of an operator. Whoever changes one adds what it grows by to `bytes`.
pub(super) struct KeptGroups<G> {
    pub(super) groups: Vec<G>,
    pub(super) bytes: usize,
    pub(super) table: KeptTable,
    codec: Arc<RowCodec>,
}

impl<G: KeptGroup> KeptGroups<G> {
    /// No groups of rows of `input`.
    ///
    /// Errors: a column of a type that cannot be kept.
    pub(super) fn new(input: &SchemaRef, table: KeptTable) -> Result<Self> {
        Ok(Self { groups: Vec::new(), bytes: 0, table, codec: Arc::new(RowCodec::of_schema(input)?) })
    }

    /// `group` grew by so many bytes.
    pub(super) fn grew(&mut self, by: isize) {
        self.bytes = self.bytes.saturating_add_signed(by);
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
        Ok(Self { groups: Vec::new(), bytes: 0, table: self.table.clone(), codec: Arc::clone(&self.codec) })
    }

    fn rows(&self, groups: &[u32], keys: &[ArrayRef], kind: SnapshotKind) -> Result<Option<Vec<StateRows>>> {
        if groups.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let mut out = Vec::new();
        if G::MANY && kind == SnapshotKind::Delta {
            // What an earlier snapshot holds of them gives way as a whole.
            out.push(self.table.deleted(keys)?);
        }
        let (mut rows, mut numbers) = (Vec::new(), vec![Vec::new(); self.table.numbers()]);
        for group in groups {
            self.groups[*group as usize].rows(&mut |row, beside| {
                rows.push(row);
                numbers.iter_mut().zip(beside).for_each(|(column, number)| column.push(number));
            });
        }
        for first in (0..rows.len()).step_by(MAX_BATCH_ROWS) {
            let part = first..(first + MAX_BATCH_ROWS).min(rows.len());
            let mut columns = self.codec.decode(rows[part.clone()].iter().copied())?;
            for column in &numbers {
                columns.push(Arc::new(column[part.clone()].iter().copied().collect::<Int64Array>()));
            }
            out.push(self.table.rows(&columns, part.len())?);
        }
        Ok(Some(out))
    }

    fn deleted(&self, keys: &[ArrayRef]) -> Result<Option<Vec<StateRows>>> {
        Ok(Some(vec![self.table.deleted(keys)?]))
    }
}
