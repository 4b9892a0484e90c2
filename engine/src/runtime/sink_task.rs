//! The end of a chain: a connector's `Writer` as an operator, with NOT NULL enforcement and timed flushes.

use super::restore::COMMITTABLES;
use crate::connector::{Metrics, Writer, WriterContext};
use crate::error::{Error, Result};
use crate::failpoint;
use crate::message::ChangeBatch;
use crate::operators::{Collector, OpenContext, Operator, OperatorContext};
use crate::plan::SinkNode;
use crate::state::{SnapshotProgress, StateWriter};
use crate::time::Watermark;
use arrow::array::{Array, BooleanArray};
use arrow::buffer::BooleanBuffer;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Writes rows. The writer is opened on the task's own thread, since that may touch the network.
pub(super) struct SinkOperator {
    node: SinkNode,
    context: WriterContext,
    rows_out: Arc<AtomicU64>,
    writer: Option<Box<dyn Writer>>,
    /// When the rows that were written want a flush, in milliseconds since the epoch.
    flush_at_ms: Option<i64>,
}

impl SinkOperator {
    /// Not open yet. Rows written are counted in `rows_out`.
    pub(super) fn new(node: SinkNode, context: WriterContext, rows_out: Arc<AtomicU64>) -> Self {
        Self { node, context, rows_out, writer: None, flush_at_ms: None }
    }

    fn writer(&mut self) -> Result<&mut dyn Writer> {
        match self.writer.as_mut() {
            Some(writer) => Ok(writer.as_mut()),
            None => Err(Error::internal("The sink was not opened.")),
        }
    }
}

impl Operator for SinkOperator {
    fn open(&mut self, _: &OpenContext) -> Result<()> {
        self.writer = Some(self.node.sink.writer(self.context.clone())?);
        Ok(())
    }

    fn process(
        &mut self,
        _input: usize,
        batch: ChangeBatch,
        context: &OperatorContext,
        _out: &mut dyn Collector,
    ) -> Result<()> {
        let batch = enforce_not_null(batch, &self.node)?;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let rows = batch.num_rows();
        let writer = self.writer()?;
        writer.write(batch)?;
        let interval = writer.flush_interval_ms();
        Metrics::add(&self.rows_out, rows);
        if let (None, Some(interval)) = (self.flush_at_ms, interval) {
            self.flush_at_ms = Some(context.now_ms.saturating_add_unsigned(interval));
        }
        Ok(())
    }

    fn on_watermark(&mut self, _: Watermark, _: &OperatorContext, _: &mut dyn Collector) -> Result<()> {
        Ok(())
    }

    fn next_timer_ms(&self) -> Option<i64> {
        self.flush_at_ms
    }

    fn on_timer(&mut self, _context: &OperatorContext, _out: &mut dyn Collector) -> Result<()> {
        self.flush_at_ms = None;
        self.writer()?.flush()
    }

    fn finish(&mut self, _context: &OperatorContext, _out: &mut dyn Collector) -> Result<()> {
        self.flush_at_ms = None;
        self.writer()?.flush()
    }

    fn snapshot(&mut self, checkpoint_id: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        failpoint::hit("checkpoint.sink-prepare")?;
        out.full();
        self.flush_at_ms = None;
        let prepared = self.writer()?.prepare_commit(checkpoint_id)?;
        if !prepared.is_empty() {
            let text = serde_json::to_vec(&prepared).map_err(|e| Error::internal(e.to_string()))?;
            out.value(COMMITTABLES, text);
        }
        Ok(SnapshotProgress::Done)
    }

    fn checkpoint_complete(&mut self, checkpoint_id: u64) -> Result<()> {
        failpoint::hit("commit.sink")?;
        self.writer()?.commit(checkpoint_id)?;
        failpoint::hit("commit.after")
    }

    fn close(&mut self) -> Result<()> {
        self.writer()?.finish()
    }
}

/// Refuses rows with a null in a column declared NOT NULL, or drops them, as the sink is set.
///
/// Errors: such a row came, and they are not to be dropped. The text is Flink's.
fn enforce_not_null(batch: ChangeBatch, node: &SinkNode) -> Result<ChangeBatch> {
    let records = batch.records();
    let mut keep: Option<BooleanBuffer> = None;
    for column in &node.not_null {
        let Some(nulls) = records.column(*column).logical_nulls().filter(|n| n.null_count() > 0) else {
            continue;
        };
        if !node.drop_nulls {
            let name = records.schema().field(*column).name().clone();
            return Err(Error::user(format!(
                "Column '{name}' is NOT NULL, however, a null value is being written into it. You can set job \
                 configuration 'table.exec.sink.not-null-enforcer'='DROP' to suppress this exception and drop such \
                 records silently."
            )));
        }
        keep = Some(match keep {
            None => nulls.inner().clone(),
            Some(k) => &k & nulls.inner(),
        });
    }
    match keep {
        None => Ok(batch),
        Some(keep) => Ok(batch.filter(&BooleanArray::new(keep, None))?),
    }
}

#[cfg(test)]
mod tests {
    use super::super::collect;
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};

    #[test]
    fn nulls_are_refused_in_flinks_words_or_dropped() {
        let a: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3), None]));
        let b: ArrayRef = Arc::new(Int64Array::from(vec![None, None, Some(3), Some(4)]));
        let rows = RecordBatch::try_from_iter_with_nullable([("a", a, true), ("b", b, true)]).unwrap();
        let batch = ChangeBatch::inserts(rows);
        let mut node = SinkNode {
            table: "t".into(),
            sink: collect().0,
            primary_key: vec![],
            not_null: vec![0],
            drop_nulls: false,
        };
        let error = enforce_not_null(batch.clone(), &node).unwrap_err();
        assert_eq!(
            error.message(),
            "Column 'a' is NOT NULL, however, a null value is being written into it. You can set job configuration \
             'table.exec.sink.not-null-enforcer'='DROP' to suppress this exception and drop such records silently."
        );
        node.drop_nulls = true;
        assert_eq!(enforce_not_null(batch.clone(), &node).unwrap().num_rows(), 2);
        node.not_null = vec![0, 1];
        assert_eq!(enforce_not_null(batch.clone(), &node).unwrap().num_rows(), 1);
        node.not_null = vec![];
        assert_eq!(enforce_not_null(batch, &node).unwrap().num_rows(), 4);
    }
}
