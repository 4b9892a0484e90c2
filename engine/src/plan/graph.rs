//! `StreamPlan`: the graph of operators, with all that the runtime needs to build them.

use super::ordered::{DeduplicateNode, OverNode, SortNode, TopNNode, WindowTopNNode};
use super::pattern::MatchRecognizeNode;
use super::{ChangelogMode, Partitioning};
use crate::connector::{Lookup, Sink, Source};
use crate::time::WindowSpec;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;
use std::sync::Arc;

/// Index of a node in `StreamPlan::nodes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// Stable identity of an operator, derived from the plan: state is restored by it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperatorId(pub String);

/// A job: nodes in topological order (inputs before users), one or more sinks.
#[derive(Debug, Clone, Default)]
pub struct StreamPlan {
    /// `nodes[i].id == NodeId(i)`.
    pub nodes: Vec<StreamNode>,
}

/// One operator of the job.
#[derive(Debug, Clone)]
pub struct StreamNode {
    /// Its index.
    pub id: NodeId,
    /// Its identity across restarts.
    pub operator_id: OperatorId,
    /// One line for EXPLAIN, error texts and metrics, in Flink's form: `Calc(select=[a, b], where=[a > 1])`.
    pub name: String,
    /// What it does.
    pub kind: NodeKind,
    /// Where its rows come from, in input order.
    pub inputs: Vec<Edge>,
    /// Columns of its output. Fields carry our type metadata (see `sql::data_type`).
    pub schema: SchemaRef,
    /// Number of tasks.
    pub parallelism: usize,
    /// Row kinds of its output.
    pub changelog: ChangelogMode,
}

/// Rows of `from` come in, spread by `partitioning`.
#[derive(Debug, Clone)]
pub struct Edge {
    /// The node whose output it is.
    pub from: NodeId,
    /// How it is spread over our tasks.
    pub partitioning: Partitioning,
}

/// What a node does. Expressions are bound to the columns of the (only) input by index.
#[derive(Debug, Clone)]
pub enum NodeKind {
    /// Reads a table. No inputs.
    Source(SourceNode),
    /// Emits fixed rows, then ends. No inputs, parallelism 1.
    Values(ValuesNode),
    /// Filters, then projects.
    Calc(CalcNode),
    /// Passes all inputs on (UNION ALL). Schemas agree by position.
    Union,
    /// A window function without aggregate: adds `window_start`, `window_end`, `window_time`.
    WindowTable(WindowTableNode),
    /// Aggregates in windows.
    WindowAggregate(WindowAggregateNode),
    /// Each row once for each grouping set.
    Expand(ExpandNode),
    /// Aggregates without windows, as a changelog.
    GroupAggregate(GroupAggregateNode),
    /// Joins two inputs window by window. Two inputs.
    WindowJoin(WindowJoinNode),
    /// Joins two changelogs, for as long as the job runs. Two inputs.
    RegularJoin(RegularJoinNode),
    /// Joins rows whose times are close to each other. Two inputs.
    IntervalJoin(IntervalJoinNode),
    /// Joins rows with versions of a table. Two inputs.
    TemporalJoin(TemporalJoinNode),
    /// Joins rows with those that a connector finds for them. One input.
    LookupJoin(LookupJoinNode),
    /// Rows beside the elements of a value.
    Unnest(UnnestNode),
    /// `LIMIT`/`OFFSET`: the first rows that come. Parallelism 1.
    Limit(LimitNode),
    /// The first rows of each partition in an order, as a changelog.
    TopN(TopNNode),
    /// The first or last row of each key by time.
    Deduplicate(DeduplicateNode),
    /// The first rows of each window and partition.
    WindowTopN(WindowTopNNode),
    /// Rows in an order.
    Sort(SortNode),
    /// Functions over the neighbours of each row (OVER).
    Over(OverNode),
    /// Rows that follow each other as a pattern says (MATCH_RECOGNIZE).
    MatchRecognize(MatchRecognizeNode),
    /// Updates by key to a changelog with whole rows.
    ChangelogNormalize(ChangelogNormalizeNode),
    /// Leaves `-U` out, or makes it `-D`, for who goes by key.
    DropUpdateBefore(DropUpdateBeforeNode),
    /// The last row of each key of the sink, of rows that have another key.
    UpsertMaterialize(UpsertMaterializeNode),
    /// Writes to a table or to the caller.
    Sink(SinkNode),
}

/// A table being read: connector, then computed columns and filter, then a watermark per split.
#[derive(Debug, Clone)]
pub struct SourceNode {
    /// Full name of the table, for messages.
    pub table: String,
    /// The connector's reading half.
    pub source: Arc<dyn Source>,
    /// Columns that the reader produces, in this order: the physical and metadata columns that the query
    /// needs (a struct column may hold fewer fields than declared).
    pub projection: SchemaRef,
    /// Computed columns: expressions over `projection` that give the node's schema. `None` if the
    /// projection is the schema.
    pub computed: Option<Vec<Arc<dyn PhysicalExpr>>>,
    /// Columns of the table's primary key in the node's output; empty if there is none or not all of it is read.
    pub primary_key: Vec<usize>,
    /// Event time of the table, if declared.
    pub watermark: Option<WatermarkStrategy>,
}

/// How a source makes watermarks, for each split on its own.
#[derive(Debug, Clone)]
pub struct WatermarkStrategy {
    /// Gives each row's watermark as a timestamp of milliseconds, or NULL; bound to the node's schema.
    pub expression: Arc<dyn PhysicalExpr>,
    /// `table.exec.source.idle-timeout` or `scan.watermark.idle-timeout`, in milliseconds; `None` is off.
    pub idle_timeout_ms: Option<u64>,
    /// `pipeline.auto-watermark-interval`, in milliseconds; 0 means with every row.
    pub interval_ms: u64,
    /// Whether each watermark is told where it arises: an update that any row may bring can take back an earlier row
    /// of a window. Else only those that decide about the rows that come next.
    pub tells_each: bool,
}

/// Fixed rows.
#[derive(Debug, Clone)]
pub struct ValuesNode {
    /// In order.
    pub batches: Vec<RecordBatch>,
}

/// Filter and projection.
#[derive(Debug, Clone)]
pub struct CalcNode {
    /// Rows for which it is not true are dropped.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// Gives the node's schema.
    pub projection: Vec<Arc<dyn PhysicalExpr>>,
}

/// Rows once for each grouping set. Output columns: those of the input, keys, number of the set (BIGINT).
#[derive(Debug, Clone)]
pub struct ExpandNode {
    /// The keys that not all sets have.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// For each set, whether it has the key; a key that it has not is NULL.
    pub sets: Vec<Vec<bool>>,
}

/// Which column is the time attribute, and of which kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeAttribute {
    /// Event time: the column's index, a TIMESTAMP(3) or TIMESTAMP_LTZ(3).
    Rowtime {
        /// Index of the column in the input.
        column: usize,
    },
    /// Processing time: the clock, when the row is processed.
    Proctime,
}

/// A window function without an aggregate.
#[derive(Debug, Clone)]
pub struct WindowTableNode {
    /// Size, slide, gap, …
    pub window: WindowSpec,
    /// What decides the window.
    pub time: TimeAttribute,
    /// Session windows only: `PARTITION BY` columns.
    pub keys: Vec<usize>,
    /// Zone in which windows are aligned where time is TIMESTAMP_LTZ or processing time; `None` for TIMESTAMP.
    pub zone: Option<chrono_tz::Tz>,
}

/// Where an aggregate's windows come from.
#[derive(Debug, Clone)]
pub enum WindowInput {
    /// Assigned here, from the time attribute.
    Assign {
        /// Size, slide, gap, …
        window: WindowSpec,
        /// What decides the window.
        time: TimeAttribute,
        /// Zone in which windows are aligned where time is TIMESTAMP_LTZ or processing time; `None` for TIMESTAMP.
        zone: Option<chrono_tz::Tz>,
    },
    /// The input is windowed already: rows carry `window_start` and `window_end` (TIMESTAMP(3), wall time in
    /// `zone`); the window fires when the watermark passes its end.
    Attached {
        /// Index of `window_start`.
        start: usize,
        /// Index of `window_end`.
        end: usize,
        /// Zone of the two columns; `None` for UTC.
        zone: Option<chrono_tz::Tz>,
    },
}

/// A property of the window among an aggregate's output columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WindowProperty {
    /// `window_start`, TIMESTAMP(3).
    Start,
    /// `window_end`, TIMESTAMP(3), exclusive.
    End,
    /// `window_time`: end - 1 ms, the new rowtime, of the input attribute's type.
    Rowtime,
    /// The new processing-time attribute, TIMESTAMP_LTZ(3).
    Proctime,
}

/// Aggregation in windows. Output columns: keys, then aggregates, then properties.
#[derive(Debug, Clone)]
pub struct WindowAggregateNode {
    /// The windows.
    pub input: WindowInput,
    /// Group keys besides the window: indexes of input columns.
    pub keys: Vec<usize>,
    /// The aggregates.
    pub aggregates: Vec<AggregateCall>,
    /// The window's properties that the query reads.
    pub properties: Vec<WindowProperty>,
    /// Whether the input may hold `-U`/`-D`: windows whose rows have all been taken back are not told.
    pub retracts: bool,
}

/// One aggregate call. The runtime maps `function` to an accumulator.
#[derive(Debug, Clone)]
pub struct AggregateCall {
    /// Lower-case name: `count`, `sum`, `avg`, `min`, `max`, …
    pub function: String,
    /// Argument columns of the input; empty for COUNT(*).
    pub arguments: Vec<usize>,
    /// `DISTINCT`.
    pub distinct: bool,
    /// `FILTER (WHERE …)`: index of a BOOLEAN input column.
    pub filter: Option<usize>,
    /// Result type, Flink's.
    pub data_type: arrow::datatypes::DataType,
    /// Name of the output column.
    pub name: String,
    /// MAX of what only grows, MIN of what only falls: a row that is taken back is followed by one that is no worse, so
    /// nothing is taken back.
    pub monotone: bool,
}

/// How long rows wait for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MiniBatchNode {
    /// `table.exec.mini-batch.size`: most rows.
    pub size: u64,
    /// `table.exec.mini-batch.allow-latency` in milliseconds.
    pub latency_ms: u64,
}

/// Aggregation without windows. Output columns: keys, then aggregates.
#[derive(Debug, Clone)]
pub struct GroupAggregateNode {
    /// Indexes of input columns; empty for a global aggregate.
    pub keys: Vec<usize>,
    /// The aggregates; empty for SELECT DISTINCT.
    pub aggregates: Vec<AggregateCall>,
    /// Whether the input may hold `-U`/`-D`: accumulators must then be able to take back.
    pub retracts: bool,
    /// Whether `-U` is emitted before `+U`.
    pub update_before: bool,
    /// Batch mode: results once, at the end of input (a global aggregate then gives a row for no rows).
    pub at_end_only: bool,
    /// `table.exec.mini-batch.*`: each mini-batch tells at most one change of a group.
    pub mini_batch: Option<MiniBatchNode>,
    /// `STATE_TTL` in milliseconds, 0 for ever; `None`: `table.exec.state.ttl`.
    pub ttl_ms: Option<u64>,
}

/// Join of rows of the same window, emitted when the watermark passes the window's end. Output: left columns, then right
/// columns; left columns only of semi and anti joins.
#[derive(Debug, Clone)]
pub struct WindowJoinNode {
    /// Which rows it gives; no mark join.
    pub join_type: JoinType,
    /// `window_end` in the left and the right input.
    pub window_end: (usize, usize),
    /// Zone of the window columns; `None` for UTC.
    pub zone: Option<chrono_tz::Tz>,
    /// Columns that must be equal (the window's bounds included).
    pub keys: Vec<JoinKey>,
    /// Further condition, bound to left columns followed by right columns.
    pub condition: Option<Arc<dyn PhysicalExpr>>,
}

/// Which rows a join gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JoinType {
    /// Pairs.
    Inner,
    /// Pairs, and left rows without a partner beside NULLs.
    Left,
    /// Pairs, and right rows without a partner beside NULLs.
    Right,
    /// Pairs, and rows of both sides without a partner beside NULLs.
    Full,
    /// Left rows with a partner.
    Semi,
    /// Left rows without a partner.
    Anti,
    /// All left rows, each with a BOOLEAN that tells whether it has a partner.
    Mark,
}

impl JoinType {
    /// Whether rows of input `input`, and those of the other one, are told without a partner too.
    pub fn outer(self, input: usize) -> (bool, bool) {
        let sides = (matches!(self, Self::Left | Self::Full), matches!(self, Self::Right | Self::Full));
        if input == 0 { sides } else { (sides.1, sides.0) }
    }

    /// Whether only left rows are told.
    pub fn is_one_sided(self) -> bool {
        matches!(self, Self::Semi | Self::Anti | Self::Mark)
    }

    /// Flink's name in plans.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inner => "InnerJoin",
            Self::Left => "LeftOuterJoin",
            Self::Right => "RightOuterJoin",
            Self::Full => "FullOuterJoin",
            Self::Semi => "LeftSemiJoin",
            Self::Anti => "LeftAntiJoin",
            Self::Mark => "LeftMarkJoin",
        }
    }
}

/// Columns of both sides of a join that must be equal; they are of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinKey {
    /// Column of the left input.
    pub left: usize,
    /// Column of the right input.
    pub right: usize,
    /// Whether NULL equals NULL (IS NOT DISTINCT FROM).
    pub null_safe: bool,
}

/// Join of two changelogs. Output: left columns, then right columns; left columns only if the join is one-sided, with
/// the mark after them if it is a mark join.
#[derive(Debug, Clone)]
pub struct RegularJoinNode {
    /// Which rows it gives.
    pub join_type: JoinType,
    /// Columns that must be equal. Without any, all rows meet in one task.
    pub keys: Vec<JoinKey>,
    /// Further condition, bound to left columns followed by right columns.
    pub condition: Option<Arc<dyn PhysicalExpr>>,
    /// `STATE_TTL` of the left and the right input in milliseconds, 0 for ever; `None`: `table.exec.state.ttl`.
    pub ttl_ms: [Option<u64>; 2],
    /// Whether the left and the right input only add rows.
    pub insert_only: [bool; 2],
}

/// Join of rows of which the left one's time is between the right one's plus `lower_ms` and plus `upper_ms`. Output: left
/// columns, then right columns.
#[derive(Debug, Clone)]
pub struct IntervalJoinNode {
    /// Inner or outer.
    pub join_type: JoinType,
    /// Columns that must be equal. Without any, all rows meet in one task.
    pub keys: Vec<JoinKey>,
    /// The times of the left and the right input, of one kind.
    pub time: (TimeAttribute, TimeAttribute),
    /// Least of left time minus right time, in milliseconds.
    pub lower_ms: i64,
    /// Greatest of left time minus right time, in milliseconds.
    pub upper_ms: i64,
    /// Further condition, bound to left columns followed by right columns.
    pub condition: Option<Arc<dyn PhysicalExpr>>,
    /// `table.exec.interval-join.min-cleanup-interval` in milliseconds: how much longer than needed rows are kept.
    pub min_cleanup_ms: i64,
}

/// Join of left rows with the version of the right input that held at their event time. Output: left columns, then right
/// columns.
#[derive(Debug, Clone)]
pub struct TemporalJoinNode {
    /// Inner or left.
    pub join_type: JoinType,
    /// Columns that must be equal; the right ones hold its primary key.
    pub keys: Vec<JoinKey>,
    /// Event time of the left input.
    pub left_time: usize,
    /// Event time of the right input: from when a version holds.
    pub right_time: usize,
    /// Further condition, bound to left columns followed by right columns.
    pub condition: Option<Arc<dyn PhysicalExpr>>,
}

/// Join of each row with the rows that a connector finds for its key now. Output: the input's columns, then those of
/// what was found.
#[derive(Debug, Clone)]
pub struct LookupJoinNode {
    /// Full name of the table, for messages.
    pub table: String,
    /// Who finds the rows.
    pub lookup: Lookup,
    /// Inner or left.
    pub join_type: JoinType,
    /// What is compared. A key with a NULL finds nothing.
    pub keys: Vec<LookupKey>,
    /// Whether a key has at most one row: all of the table's primary key is compared.
    pub is_unique: bool,
    /// Columns that the connector gives: those that are read or compared.
    pub projection: SchemaRef,
    /// Rows found of which it is not true do not count; bound to `projection`.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// Output columns of what was found, bound to `projection`.
    pub columns: Vec<Arc<dyn PhysicalExpr>>,
    /// Further condition, bound to the output.
    pub condition: Option<Arc<dyn PhysicalExpr>>,
    /// `async`: rows go on coming while requests are on their way; `None` waits for each request.
    pub asynchronous: Option<AsyncLookup>,
    /// `table.exec.async-lookup.timeout`: longest wait for an answer, in milliseconds.
    pub timeout_ms: u64,
    /// `retry-predicate` = `lookup_miss`.
    pub retry: Option<LookupRetry>,
}

/// One column of a lookup's key.
#[derive(Debug, Clone)]
pub struct LookupKey {
    /// Index in `projection`.
    pub column: usize,
    /// What it is compared with, bound to the input: a column or a constant of the same type.
    pub value: Arc<dyn PhysicalExpr>,
}

/// How lookups overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AsyncLookup {
    /// Whether rows go on in the order in which they came.
    pub ordered: bool,
    /// Most requests on their way, of a task.
    pub capacity: usize,
}

/// How a key without rows is asked for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LookupRetry {
    /// Between two requests, in milliseconds.
    pub delay_ms: u64,
    /// Requests after the first.
    pub max_attempts: u32,
}

/// Each row beside each element of a value of it. Output: the input's columns, those of an element (fields of a ROW, key and
/// value of a map), and its number if wanted.
#[derive(Debug, Clone)]
pub struct UnnestNode {
    /// Gives the array, map or multiset.
    pub value: Arc<dyn PhysicalExpr>,
    /// Whether the value is a multiset: elements with how often they are there.
    pub multiset: bool,
    /// Whether elements are numbered, from 1.
    pub ordinality: bool,
    /// Whether a row without a fitting element comes beside NULLs.
    pub outer: bool,
    /// What must hold of row and element, bound to the output.
    pub condition: Option<Arc<dyn PhysicalExpr>>,
}

/// The first rows that come.
#[derive(Debug, Clone, Copy)]
pub struct LimitNode {
    /// Rows left out first.
    pub skip: u64,
    /// Rows passed on then; `None` for all.
    pub fetch: Option<u64>,
}

/// Updates and deletes by key become a changelog with `-U`; repeated changes are told once.
#[derive(Debug, Clone)]
pub struct ChangelogNormalizeNode {
    /// Columns of the key.
    pub keys: Vec<usize>,
}

/// What becomes of `-U` on the way to one who goes by key.
#[derive(Debug, Clone, Copy)]
pub struct DropUpdateBeforeNode {
    /// It becomes `-D`: the `+U` that belongs to it may have been filtered out. Otherwise it is left out.
    pub as_delete: bool,
}

/// Keeps all rows of each key of a sink whose key is not that of the changes, and tells the last one.
#[derive(Debug, Clone)]
pub struct UpsertMaterializeNode {
    /// Columns of the sink's key.
    pub keys: Vec<usize>,
    /// Key of the changes, by which a row is found that is taken back; empty where there is none: all columns.
    pub upsert_key: Vec<usize>,
}

/// A table or the caller being written to.
#[derive(Debug, Clone)]
pub struct SinkNode {
    /// Full name of the table, for messages.
    pub table: String,
    /// The connector's writing half.
    pub sink: Arc<dyn Sink>,
    /// Columns of the table's primary key; empty without one.
    pub primary_key: Vec<usize>,
    /// Columns declared NOT NULL: a null there is an error, or drops the row.
    pub not_null: Vec<usize>,
    /// `table.exec.sink.not-null-enforcer` = `DROP`.
    pub drop_nulls: bool,
}
