//! Top-N: the first rows of each partition in an order, as a changelog.

use super::top_n_list::ListTopN;
use super::top_n_tree::TreeTopN;
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::Result;
use crate::message::ChangeBatch;
use crate::plan::{RankEnd, TopNNode, TopNStrategy};
use crate::state::{SnapshotProgress, StateReader, StateWriter};
use arrow::datatypes::SchemaRef;

/// Numbers beside a row of the state table. Rows that are equal in the order rank by the first; the second is the last
/// rank, where a row has told it.
pub(super) const NUMBERS: [&str; 2] = ["$sequence", "$end"];
/// Most ranks of a partition that are kept as a list.
const MAX_LIST: u64 = 1000;

/// Ranks the rows of each partition. Rows that are equal in the order rank as they came. Every row tells its own
/// changes, in the order in which Flink tells them:
///
/// - with the rank in the output (or an offset), all rows whose rank moves are told by `-U` and `+U`;
/// - without it, `-D` tells the row that leaves and `+I` the one that enters;
/// - of a single row with rank 1, `-U` and `+U` tell its change, unless rows may be taken back.
pub struct TopN(Box<dyn Operator>);

impl TopN {
    /// Columns of `output`: the input's, then the rank where it is wanted.
    ///
    /// Errors: a column of a type that cannot be kept or ordered.
    pub fn new(node: &TopNNode, input: SchemaRef, output: SchemaRef, update_before: bool) -> Result<Self> {
        Ok(Self(match (&node.strategy, node.end) {
            (TopNStrategy::AppendFast, RankEnd::Constant(end)) if end <= MAX_LIST => {
                Box::new(ListTopN::new(node, end, input, output, update_before)?)
            }
            _ => Box::new(TreeTopN::new(node, input, output, update_before)?),
        }))
    }
}

impl Operator for TopN {
    fn open(&mut self, context: &OpenContext) -> Result<()> {
        self.0.open(context)
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        self.0.restore(state)
    }

    fn snapshot(&mut self, checkpoint_id: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        self.0.snapshot(checkpoint_id, out)
    }

    fn continue_snapshot(&mut self, out: &mut StateWriter) -> Result<SnapshotProgress> {
        self.0.continue_snapshot(out)
    }

    fn process(
        &mut self,
        input: usize,
        batch: ChangeBatch,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        self.0.process(input, batch, context, out)
    }

    fn finish(&mut self, context: &OperatorContext, out: &mut dyn Collector) -> Result<()> {
        self.0.finish(context, out)
    }

    fn status(&self) -> OperatorStatus {
        self.0.status()
    }
}
