//! Nodes in which the order of rows decides: Top-N, deduplication, sorting and OVER.

use super::graph::{AggregateCall, TimeAttribute};

/// A column to order by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SortColumn {
    /// Index of the input column.
    pub column: usize,
    /// `DESC`.
    pub descending: bool,
    /// `NULLS FIRST`: in Flink the default of `ASC`, and not that of `DESC`.
    pub nulls_first: bool,
}

/// Where the ranks end that a Top-N keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RankEnd {
    /// The last rank, from 1.
    Constant(u64),
    /// A column of the input holds it; the first row of a partition decides.
    Column(usize),
}

/// What a Top-N may count on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TopNStrategy {
    /// The input holds inserts only: no more than N rows of a partition are kept.
    AppendFast,
    /// A row of the same key takes the place of an earlier one and never ranks lower: no more than N rows are kept.
    UpdateFast {
        /// The key's columns.
        keys: Vec<usize>,
    },
    /// Rows may be taken back: all rows are kept.
    Retract,
}

/// The first rows of each partition in an order, as a changelog (`ROW_NUMBER() … <= N`, `ORDER BY … LIMIT N`).
/// Output columns: the input's, then the rank where it is wanted.
#[derive(Debug, Clone)]
pub struct TopNNode {
    /// Columns of the partition; empty for one ranking over all rows.
    pub partition: Vec<usize>,
    /// The order; rows that are equal in it rank as they come.
    pub order: Vec<SortColumn>,
    /// First rank that is emitted, from 1.
    pub start: u64,
    /// Last rank that is emitted.
    pub end: RankEnd,
    /// Whether the rank is a column of the output (BIGINT NOT NULL).
    pub rank_number: bool,
    /// What may be counted on.
    pub strategy: TopNStrategy,
}

/// The first or the last row of each key by time. Takes inserts only.
#[derive(Debug, Clone)]
pub struct DeduplicateNode {
    /// Columns of the key.
    pub keys: Vec<usize>,
    /// What tells first from last.
    pub time: TimeAttribute,
    /// Whether the last row is kept rather than the first.
    pub keep_last: bool,
    /// Columns by which a row is the same as the one before: all but processing time.
    pub compared: Vec<usize>,
}

/// The first rows of each window and partition, emitted when the watermark passes the window's end. Output columns:
/// the input's, then the rank where it is wanted.
#[derive(Debug, Clone)]
pub struct WindowTopNNode {
    /// Index of `window_end`.
    pub window_end: usize,
    /// Zone of the window columns; `None` for UTC.
    pub zone: Option<chrono_tz::Tz>,
    /// Columns of the partition, the window's bounds included.
    pub partition: Vec<usize>,
    /// The order; rows that are equal in it rank as they come.
    pub order: Vec<SortColumn>,
    /// First rank that is emitted, from 1.
    pub start: u64,
    /// Last rank that is emitted.
    pub end: u64,
    /// Whether the rank is a column of the output (BIGINT NOT NULL).
    pub rank_number: bool,
    /// Of rows that are equal in the order the last one ranks first (deduplication that keeps the last row).
    pub last_of_equals: bool,
}

/// Rows in an order: by event time as the watermark comes, or all at the end of input (batch mode).
#[derive(Debug, Clone)]
pub struct SortNode {
    /// The order; rows that are equal in it stay as they come.
    pub order: Vec<SortColumn>,
    /// The time attribute by which rows are emitted; `None` for all at the end.
    pub time: Option<TimeAttribute>,
    /// Rows left out first.
    pub skip: u64,
    /// Rows emitted then; `None` for all.
    pub fetch: Option<u64>,
}

/// Where the frame of an OVER begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameBound {
    /// `UNBOUNDED PRECEDING` as a beginning, `UNBOUNDED FOLLOWING` as an end.
    Unbounded,
    /// So many rows, or so many milliseconds or units of the ORDER BY column, before the current row; negative for
    /// after it. 0 is the current row.
    Preceding(i64),
}

/// The frame of an OVER.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// `ROWS`; otherwise `RANGE`, where rows equal in the order are in it together.
    pub rows: bool,
    /// First row.
    pub start: FrameBound,
    /// Last row.
    pub end: FrameBound,
}

/// One function of an OVER.
#[derive(Debug, Clone)]
pub struct OverCall {
    /// What it computes: an aggregate, or `row_number`, `rank`, `dense_rank`, `percent_rank`, `cume_dist`, `ntile`,
    /// `lag`, `lead`. The arguments of the last two are the value's column and that of the default, if there is one.
    pub call: AggregateCall,
    /// The rows that an aggregate takes in.
    pub frame: Frame,
    /// Rows that LAG looks back or LEAD ahead; the number of tiles of NTILE; 0 for others.
    pub offset: u64,
}

/// Functions over the neighbours of each row. Output columns: the input's, then a column for each call. Takes inserts
/// only.
#[derive(Debug, Clone)]
pub struct OverNode {
    /// Columns of the partition; empty for one over all rows.
    pub partition: Vec<usize>,
    /// The order.
    pub order: Vec<SortColumn>,
    /// The time attribute that the order is by; `None` for all at the end of input (batch mode).
    pub time: Option<TimeAttribute>,
    /// The functions.
    pub calls: Vec<OverCall>,
}
