//! `Outcome`: what a statement gives. No terminal or HTTP type in it.

use crate::plan::ChangelogMode;
use crate::runtime::{JobHandle, ResultStream};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

/// What executing one statement gave.
#[derive(Debug)]
pub enum Outcome {
    /// It is done and there is nothing to show: Flink's `OK`.
    Done,
    /// A finished table: SHOW, DESCRIBE, EXPLAIN, SET.
    Rows {
        /// Columns; fields carry our type metadata.
        schema: SchemaRef,
        /// All rows.
        batches: Vec<RecordBatch>,
    },
    /// A SELECT is running. Dropping `results` cancels it.
    Query(Query),
    /// An INSERT (or statement set) is running. The caller waits for it or cancels it; dropping the handle
    /// cancels it too.
    Job(JobHandle),
}

/// A running SELECT.
#[derive(Debug)]
pub struct Query {
    /// Columns of the result; fields carry our type metadata.
    pub schema: SchemaRef,
    /// Row kinds that may come.
    pub changelog: ChangelogMode,
    /// Whether the query ends by itself.
    pub bounded: bool,
    /// Batch mode: only final rows come, all inserts.
    pub batch: bool,
    /// The rows, and the job's end.
    pub results: ResultStream,
}
