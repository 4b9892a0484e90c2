//! The writing half of a connector: `Sink`, and while running its `Writer`s.

use super::Metrics;
use crate::error::Result;
use crate::message::ChangeBatch;
use crate::plan::ChangelogMode;
use crate::time::Clock;
use arrow::datatypes::{FieldRef, SchemaRef};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What becomes of rows when the job fails and is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryGuarantee {
    /// Rows may be lost or doubled.
    None,
    /// Rows may be doubled.
    AtLeastOnce,
    /// Neither: rows are published when their checkpoint is complete.
    ExactlyOnce,
}

/// Something prepared that a complete checkpoint publishes: a transaction, pending files. It is kept in the
/// checkpoint, so that a restored job can publish what was prepared before the crash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committable {
    /// The connector's own text (JSON), without secrets.
    pub text: String,
}

/// What the runtime gives a sink that is to be recovered.
#[derive(Debug, Clone)]
pub struct RecoverContext {
    /// For asynchronous clients.
    pub runtime: tokio::runtime::Handle,
    /// The sink's operator id, stable across restarts.
    pub operator_id: String,
    /// Number of writers that will be opened.
    pub parallelism: usize,
    /// The checkpoint that the job is restored from; `None` for a fresh start.
    pub checkpoint_id: Option<u64>,
}

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

    /// What is promised where checkpoints are taken.
    fn delivery_guarantee(&self) -> DeliveryGuarantee {
        DeliveryGuarantee::AtLeastOnce
    }

    /// Called once when a job with checkpoints starts, before any writer is opened. `prepared` is what all writers
    /// had prepared for the checkpoint that is restored (empty at a fresh start): each must be published now unless
    /// it was already. What was begun after that checkpoint by an earlier run (open transactions, files in
    /// progress) must be taken back, so that it neither shows nor blocks readers. Must be safe to repeat: the
    /// process may be killed in the middle.
    fn recover(&self, context: &RecoverContext, prepared: &[Committable]) -> Result<()> {
        let _ = (context, prepared);
        Ok(())
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
    /// The sink's operator id, stable across restarts: part of transactional ids and file names.
    pub operator_id: String,
    /// Whether checkpoints are taken. Without them, exactly-once writers publish at the end of input.
    pub checkpointing: bool,
    /// The checkpoint that the job was restored from; `None` at a fresh start.
    pub restored_from: Option<u64>,
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

    /// A barrier has come: all rows so far belong to checkpoint `checkpoint_id`. Rows that come later must not
    /// be published with them. Gives what is to be published when the checkpoint is complete, including what was
    /// prepared for earlier checkpoints and is not committed yet. The default flushes: at least once.
    fn prepare_commit(&mut self, checkpoint_id: u64) -> Result<Vec<Committable>> {
        let _ = checkpoint_id;
        self.flush()?;
        Ok(Vec::new())
    }

    /// Checkpoint `checkpoint_id` is complete: publishes all that was prepared for it and for those before it.
    fn commit(&mut self, checkpoint_id: u64) -> Result<()> {
        let _ = checkpoint_id;
        Ok(())
    }

    /// The input has ended and all is flushed (and, with checkpoints, committed): publish what is left where
    /// there are no checkpoints, close files, say good-bye.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}
