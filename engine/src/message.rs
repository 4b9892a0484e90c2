//! The protocol on one screen: what flows between operators.

use crate::time::Watermark;
use arrow::array::{RecordBatch, RecordBatchOptions};
use std::sync::Arc;

/// One message on a channel. Watermarks never go back on a channel, a barrier is seen once per channel
/// and checkpoint, and nothing follows `End`.
#[derive(Debug, Clone)]
pub enum Message {
    /// Rows.
    Batch(ChangeBatch),
    /// No more rows at or before this event time will come. Also ends idleness.
    Watermark(Watermark),
    /// The channel has no data for now and must not hold back the others' watermarks.
    Idle,
    /// All before it belongs to the checkpoint, all after it does not.
    Barrier(Barrier),
    /// Nothing more will come.
    End,
}

/// A checkpoint's mark in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Barrier {
    /// Id of the checkpoint, growing.
    pub checkpoint_id: u64,
    /// When it was triggered, in milliseconds since the epoch.
    pub triggered_at_ms: i64,
    /// What it is for.
    pub kind: BarrierKind,
}

/// What a checkpoint is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BarrierKind {
    /// Recovery. Unless `full`, operators that keep track of changes write these only.
    Checkpoint {
        /// Everything is wanted: there is no whole checkpoint to build on, or the chain of changes has grown long.
        full: bool,
    },
    /// A savepoint: everything is written, the job goes on.
    Savepoint,
    /// A savepoint with which the job stops: no row comes after the barrier. Where the job is to be drained, the
    /// last watermark has come before it.
    Stop,
}

impl BarrierKind {
    /// Whether all state is to be written.
    pub fn is_full(self) -> bool {
        !matches!(self, Self::Checkpoint { full: false })
    }
}

/// What a row does to the result. Byte values are Flink's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum RowKind {
    /// `+I`
    Insert = 0,
    /// `-U`
    UpdateBefore = 1,
    /// `+U`
    UpdateAfter = 2,
    /// `-D`
    Delete = 3,
}

impl RowKind {
    /// `+I`, `-U`, `+U` or `-D`.
    pub fn short(self) -> &'static str {
        match self {
            Self::Insert => "+I",
            Self::UpdateBefore => "-U",
            Self::UpdateAfter => "+U",
            Self::Delete => "-D",
        }
    }

    /// Whether the row is added (`+I`, `+U`) rather than taken away.
    pub fn is_addition(self) -> bool {
        matches!(self, Self::Insert | Self::UpdateAfter)
    }
}

/// Rows with their kinds. No kinds means all inserts: the fast path that stays branch-free.
#[derive(Debug, Clone)]
pub struct ChangeBatch {
    records: RecordBatch,
    kinds: Option<Arc<[RowKind]>>,
}

impl ChangeBatch {
    /// A batch of inserts.
    pub fn inserts(records: RecordBatch) -> Self {
        Self { records, kinds: None }
    }

    /// A batch with a kind for each row. Panics if the lengths differ.
    pub fn new(records: RecordBatch, kinds: impl Into<Arc<[RowKind]>>) -> Self {
        let kinds = kinds.into();
        assert_eq!(records.num_rows(), kinds.len(), "a kind for each row");
        let kinds = kinds.iter().any(|k| *k != RowKind::Insert).then_some(kinds);
        Self { records, kinds }
    }

    /// The rows.
    pub fn records(&self) -> &RecordBatch {
        &self.records
    }

    /// The kinds, or `None` where all rows are inserts.
    pub fn kinds(&self) -> Option<&[RowKind]> {
        self.kinds.as_deref()
    }

    /// Kind of row `row`.
    pub fn kind(&self, row: usize) -> RowKind {
        self.kinds.as_ref().map_or(RowKind::Insert, |k| k[row])
    }

    /// Number of rows.
    pub fn num_rows(&self) -> usize {
        self.records.num_rows()
    }

    /// Rows and kinds apart.
    pub fn into_parts(self) -> (RecordBatch, Option<Arc<[RowKind]>>) {
        (self.records, self.kinds)
    }

    /// The same kinds over other columns of as many rows (after a projection). Panics if the lengths differ.
    #[must_use]
    pub fn with_records(&self, records: RecordBatch) -> Self {
        assert_eq!(records.num_rows(), self.num_rows(), "as many rows as before");
        Self { records, kinds: self.kinds.clone() }
    }

    /// Rows `offset .. offset + length`, without copying columns.
    #[must_use]
    pub fn slice(&self, offset: usize, length: usize) -> Self {
        let records = self.records.slice(offset, length);
        match &self.kinds {
            None => Self::inserts(records),
            Some(kinds) => Self::new(records, &kinds[offset..offset + length]),
        }
    }

    /// The rows for which `mask` is true.
    pub fn filter(&self, mask: &arrow::array::BooleanArray) -> Result<Self, arrow::error::ArrowError> {
        let records = arrow::compute::filter_record_batch(&self.records, mask)?;
        Ok(match &self.kinds {
            None => Self::inserts(records),
            Some(kinds) => {
                let kept = kinds.iter().zip(mask.iter()).filter(|(_, m)| *m == Some(true)).map(|(k, _)| *k);
                Self::new(records, kept.collect::<Vec<_>>())
            }
        })
    }

    /// The rows at `indices`, in that order.
    pub fn take(&self, indices: &arrow::array::UInt32Array) -> Result<Self, arrow::error::ArrowError> {
        let records = match self.records.num_columns() {
            // Rows without columns are a number alone.
            0 => {
                let options = RecordBatchOptions::new().with_row_count(Some(indices.len()));
                RecordBatch::try_new_with_options(self.records.schema(), Vec::new(), &options)?
            }
            _ => arrow::compute::take_record_batch(&self.records, indices)?,
        };
        Ok(match &self.kinds {
            None => Self::inserts(records),
            Some(kinds) => {
                Self::new(records, indices.values().iter().map(|i| kinds[*i as usize]).collect::<Vec<_>>())
            }
        })
    }

    /// Bytes held by the columns, for bounding queues.
    pub fn num_bytes(&self) -> usize {
        self.records.get_array_memory_size()
    }
}
