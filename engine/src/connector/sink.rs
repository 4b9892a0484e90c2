//! The writing half of a connector: `Sink`, and while running its `Writer`s.

use super::Metrics;
use crate::error::Result;
use crate::message::ChangeBatch;
use crate::plan::ChangelogMode;
use crate::time::Clock;
use arrow::datatypes::{FieldRef, SchemaRef};
use std::sync::Arc;

/// A table to be written.
pub trait Sink: Send + Sync + std::fmt::Debug {
    /// Row kinds that it can take. A query that makes others is refused.
    fn accepts(&self) -> ChangelogMode;

    /// Metadata keys that can be written, with their types.
    fn metadata(&self) -> Vec<(String, FieldRef)> {
        Vec::new()
    }

    /// For EXPLAIN: `kafka(topic=[t], …)`, without secrets.
    fn describe(&self) -> String;

    /// `sink.parallelism`.
    fn parallelism(&self) -> Option<usize> {
        None
    }

    /// One parallel writer. May touch the network.
    fn writer(&self, context: WriterContext) -> Result<Box<dyn Writer>>;
}

/// What the runtime gives a writer.
#[derive(Debug, Clone)]
pub struct WriterContext {
    /// Columns that come: physical, then persisted metadata, in the table's order.
    pub schema: SchemaRef,
    /// For asynchronous clients.
    pub runtime: tokio::runtime::Handle,
    /// The job's clock.
    pub clock: Arc<dyn Clock>,
    /// Which writer this is, from 0.
    pub task: usize,
    /// Number of writers.
    pub parallelism: usize,
    /// Counters that the shell and `/metrics` show.
    pub metrics: Arc<Metrics>,
}

/// Writes batches. Calls block; a full buffer makes `write` wait, which is the backpressure.
pub trait Writer: Send {
    /// Takes a batch. It may be buffered.
    fn write(&mut self, batch: ChangeBatch) -> Result<()>;

    /// Writes all that is buffered and waits until the outside has it. Called at a checkpoint, at the end, and
    /// at least once a second while rows come.
    fn flush(&mut self) -> Result<()>;

    /// Milliseconds after which buffered rows want a `flush`; `None` if nothing is ever buffered.
    fn flush_interval_ms(&self) -> Option<u64> {
        Some(1000)
    }

    /// The input has ended and all is flushed: close files, say good-bye.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}
