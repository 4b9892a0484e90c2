//! The operators, one in a file, and the contract that they share. They are pure: they neither spawn,
//! sleep nor read the clock.
//!
//! Constructors take the plan's node, the schemas of the inputs and of the output:
//! `X::new(&node, input, output)`, with `&[SchemaRef]` where there are several inputs. [`Values`] is no
//! operator but an iterator of batches, for the task that stands in for a source.

mod aggregates;
mod arrived_rows;
mod calc;
mod changelog_normalize;
mod deduplicate;
mod drop_update_before;
mod expand;
mod first_row;
mod group_aggregate;
mod interval_join;
mod interval_state;
mod join_condition;
mod join_rows;
mod join_state;
mod kept_columns;
mod kept_groups;
mod kept_rows;
mod leaves;
mod limit;
mod local_time;
mod lookup_cache;
mod lookup_join;
mod lookup_rows;
mod lookup_table;
mod match_recognize;
mod mini_batch;
mod over;
mod over_batch;
mod over_state;
mod ranked_rows;
mod regular_join;
mod row_codec;
pub(crate) mod rows;
mod segments;
mod session_aggregate;
mod session_state;
mod sessions;
mod slice_aggregate;
mod snapshots;
mod sort;
mod sorted_runs;
mod temporal_join;
mod temporal_state;
mod top_n;
mod top_n_list;
mod top_n_tree;
mod union;
mod unnest;
mod upsert_materialize;
mod values;
mod window_aggregate;
mod window_join;
mod window_table;
mod window_top_n;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use calc::Calc;
pub use changelog_normalize::ChangelogNormalize;
pub use deduplicate::Deduplicate;
pub use drop_update_before::DropUpdateBefore;
pub use expand::Expand;
pub use group_aggregate::GroupAggregate;
pub use interval_join::IntervalJoin;
pub use limit::Limit;
pub use lookup_join::LookupJoin;
pub use match_recognize::MatchRecognize;
pub use mini_batch::MiniBatch;
pub use over::over;
pub use regular_join::RegularJoin;
pub use sort::Sort;
pub use temporal_join::TemporalJoin;
pub use top_n::TopN;
pub use union::Union;
pub use unnest::Unnest;
pub use upsert_materialize::UpsertMaterialize;
pub use values::Values;
pub use window_aggregate::WindowAggregate;
pub use window_join::WindowJoin;
pub use window_table::WindowTable;
pub use window_top_n::WindowTopN;

use crate::error::Result;
use crate::message::ChangeBatch;
use crate::state::{MemoryBudget, SnapshotProgress, StateReader, StateWriter, StoreContext};
use crate::time::Watermark;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Receives what an operator emits. In a chain this is the next operator.
pub trait Collector {
    /// Passes rows on. Empty batches may be dropped.
    fn emit(&mut self, batch: ChangeBatch) -> Result<()>;
}

/// Counters that an operator keeps for its task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OperatorStatus {
    /// Rows dropped because they came after their windows had fired.
    pub late_rows: u64,
    /// Rows dropped because their event time was NULL.
    pub null_time_rows: u64,
    /// Windows (of all keys) that are open.
    pub open_windows: u64,
    /// The event time whose watermark fires the next window, in milliseconds.
    pub next_fire_ms: Option<i64>,
    /// Bytes of state, estimated.
    pub state_bytes: u64,
}

/// What an operator may ask of its surroundings in each call.
#[derive(Debug, Clone, Copy)]
pub struct OperatorContext {
    /// Processing time, in milliseconds since the epoch.
    pub now_ms: i64,
    /// Event time before the rows at hand, merged over all inputs.
    pub watermark: Watermark,
}

/// What an operator may use for as long as it runs.
#[derive(Debug, Clone)]
pub struct OpenContext {
    /// Which task this is, from 0.
    pub task: usize,
    /// Number of tasks of the operator.
    pub parallelism: usize,
    /// Number of key groups.
    pub max_parallelism: usize,
    /// For keyed state.
    pub memory: Arc<MemoryBudget>,
    /// `table.exec.state.ttl` in milliseconds of processing time; 0 keeps state for ever.
    pub state_ttl_ms: u64,
    /// `operator id-task`: a name for files that no other operator instance of the job has.
    pub name: String,
    /// Whether checkpoints are taken, so that changes are worth tracking.
    pub checkpointing: bool,
    /// See [`StoreContext::oversized_key`].
    pub oversized_key: Arc<AtomicU64>,
}

impl OpenContext {
    /// For a store of keyed state.
    pub fn store(&self) -> StoreContext {
        StoreContext {
            owner: self.name.clone(),
            max_parallelism: self.max_parallelism,
            memory: self.memory.clone(),
            ttl_ms: self.state_ttl_ms,
            tracks: self.checkpointing,
            oversized_key: self.oversized_key.clone(),
        }
    }
}

#[cfg(test)]
impl OpenContext {
    /// One task, memory without limit.
    pub(crate) fn for_tests() -> Self {
        Self {
            task: 0,
            parallelism: 1,
            max_parallelism: 128,
            memory: MemoryBudget::unlimited(),
            state_ttl_ms: 0,
            name: "test-0".into(),
            checkpointing: true,
            oversized_key: Arc::default(),
        }
    }
}

/// One parallel instance of an operator. Its life: `open`, `restore` where there is state to take back, then rows.
///
/// The task calls `process` for each batch, `on_watermark` when the merged watermark of all inputs has moved
/// (after that the watermark goes downstream), `on_timer` when `next_timer_ms` has come, and at the end of all
/// inputs `on_watermark` with [`Watermark::MAX`] and then `finish`.
pub trait Operator: Send {
    /// Called once on the task's thread before anything else; may touch the outside.
    fn open(&mut self, context: &OpenContext) -> Result<()> {
        let _ = context;
        Ok(())
    }

    /// Takes back the state of a checkpoint, perhaps written at another parallelism. Called once after `open`.
    ///
    /// Errors: the state is not this operator's, or cannot be read.
    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        let _ = state;
        Ok(())
    }

    /// A barrier has come: gives the state as it is now. Where that would take long (more than a few milliseconds),
    /// a first part is given and `More` returned; rows that come before the rest was given must not change what
    /// the snapshot holds. The default is for operators without state.
    fn snapshot(&mut self, checkpoint_id: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        let _ = (checkpoint_id, out);
        Ok(SnapshotProgress::Done)
    }

    /// The next part of the snapshot at hand, of a few milliseconds' work.
    fn continue_snapshot(&mut self, out: &mut StateWriter) -> Result<SnapshotProgress> {
        let _ = out;
        Ok(SnapshotProgress::Done)
    }

    /// Checkpoint `checkpoint_id`, and with it all before it, is complete: what sinks have prepared for it may be
    /// published.
    fn checkpoint_complete(&mut self, checkpoint_id: u64) -> Result<()> {
        let _ = checkpoint_id;
        Ok(())
    }

    /// Rows of input `input`.
    fn process(
        &mut self,
        input: usize,
        batch: ChangeBatch,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()>;

    /// Event time has come to `watermark`: fire what is due.
    fn on_watermark(
        &mut self,
        watermark: Watermark,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        let _ = (watermark, context, out);
        Ok(())
    }

    /// The watermark that goes downstream when event time has come to `watermark`: an operator whose rows may be
    /// older than that holds it back.
    fn watermark_out(&self, watermark: Watermark) -> Watermark {
        watermark
    }

    /// Whether all rows come in `finish`, as in batch mode: event time goes on downstream only behind them.
    fn emits_at_end(&self) -> bool {
        false
    }

    /// When processing time wants `on_timer`, in milliseconds since the epoch.
    fn next_timer_ms(&self) -> Option<i64> {
        None
    }

    /// Processing time `context.now_ms` has come.
    fn on_timer(&mut self, context: &OperatorContext, out: &mut dyn Collector) -> Result<()> {
        let _ = (context, out);
        Ok(())
    }

    /// All inputs have ended and the last watermark was processed: emit what is left.
    fn finish(&mut self, context: &OperatorContext, out: &mut dyn Collector) -> Result<()> {
        let _ = (context, out);
        Ok(())
    }

    /// The job has ended well: all was emitted, and the last checkpoint, where any are taken, is complete.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }

    /// Whether nothing more will be emitted, whatever comes (LIMIT reached): the job may stop its sources.
    fn is_done(&self) -> bool {
        false
    }

    /// Counters for the shell.
    fn status(&self) -> OperatorStatus {
        OperatorStatus::default()
    }
}
