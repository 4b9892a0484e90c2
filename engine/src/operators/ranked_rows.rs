//! The rows of each partition in an order, for Top-N: their sort keys as lists, the rows themselves as columns.

use super::kept_columns::RowIndex;
use super::row_codec::{SortCodec, SortKeys};
use super::segments::RowRef;
use crate::error::Result;
use crate::plan::SortColumn;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

/// Bytes of a sort key that need no place of their own.
const INLINE_BYTES: usize = 24;
/// Bytes of one that does, about.
const LONG_BYTES: usize = 48;

/// The rows of each partition, in order; equal ones as they came.
pub(super) struct Lists {
    pub(super) ranked: Vec<Vec<Ranked>>,
    pub(super) sort: Arc<SortCodec>,
    /// Whether sort keys are of fixed width and short.
    pub(super) inline: bool,
}

/// A row with its sort key.
pub(super) struct Ranked {
    pub(super) key: SortKey,
    pub(super) row: RowRef,
}

/// A sort key: bytes that compare like the rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SortKey {
    /// Of a fixed width, filled up with zeros, as numbers.
    Inline([u64; INLINE_BYTES / 8]),
    Bytes(Box<[u8]>),
}

impl SortKey {
    /// Of the bytes of a `SortCodec`.
    pub(super) fn new(bytes: &[u8], inline: bool) -> Self {
        if !inline {
            return Self::Bytes(bytes.into());
        }
        let mut padded = [0; INLINE_BYTES];
        let length = bytes.len().min(INLINE_BYTES);
        padded[..length].copy_from_slice(&bytes[..length]);
        let (words, _) = padded.as_chunks::<8>();
        let mut key = [0; INLINE_BYTES / 8];
        key.iter_mut().zip(words).for_each(|(k, w)| *k = u64::from_be_bytes(*w));
        Self::Inline(key)
    }
}

impl Lists {
    /// No rows of `input`, to be ordered by `order`.
    ///
    /// Errors: a type that cannot be ordered.
    pub(super) fn new(order: &[SortColumn], input: &SchemaRef) -> Result<Self> {
        // In arrow's row format a number takes a byte more than it has.
        let widths = order.iter().map(|o| input.field(o.column).data_type().primitive_width());
        let width = widths.map(|w| w.map(|w| w + 1)).sum::<Option<usize>>();
        Ok(Self {
            ranked: Vec::new(),
            sort: Arc::new(SortCodec::new(order, input)?),
            inline: width.is_some_and(|w| w <= INLINE_BYTES),
        })
    }
}

impl RowIndex for Lists {
    const MANY: bool = true;
    type Beside = SortKeys;

    fn fresh(&self) -> Self {
        Self { ranked: Vec::new(), sort: Arc::clone(&self.sort), inline: self.inline }
    }

    fn resize(&mut self, groups: usize) {
        self.ranked.resize_with(groups, Vec::new);
    }

    fn beside(&self, records: &RecordBatch) -> Result<SortKeys> {
        self.sort.encode(records)
    }

    fn put(&mut self, group: u32, row: RowRef, beside: &SortKeys, at: usize) -> Option<RowRef> {
        let key = SortKey::new(beside.get(at), self.inline);
        let ranked = &mut self.ranked[group as usize];
        let at = ranked.partition_point(|r| r.key <= key);
        ranked.insert(at, Ranked { key, row });
        None
    }

    fn rows(&self, group: u32) -> impl Iterator<Item = RowRef> {
        self.ranked[group as usize].iter().map(|r| r.row)
    }

    fn rows_mut(&mut self) -> impl Iterator<Item = &mut RowRef> {
        self.ranked.iter_mut().flatten().map(|r| &mut r.row)
    }

    fn clear(&mut self, group: u32) -> impl Iterator<Item = RowRef> + use<> {
        std::mem::take(&mut self.ranked[group as usize]).into_iter().map(|r| r.row)
    }

    fn size(&self, rows: usize) -> usize {
        let long = if self.inline { 0 } else { LONG_BYTES };
        self.ranked.len() * self.group_size() + rows * (size_of::<Ranked>() + long)
    }

    fn group_size(&self) -> usize {
        size_of::<Vec<Ranked>>()
    }
}
