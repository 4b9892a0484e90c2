//! Mini-batches: rows wait, so that the operator behind tells the changes of many at once.

use super::snapshots::{groups_of, times, unknown_table};
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::{Error, Result};
use crate::message::{ChangeBatch, RowKind};
use crate::plan::MiniBatchNode;
use crate::state::{SnapshotProgress, StateReader, StateRows, StateWriter};
use crate::time::Watermark;
use arrow::array::{ArrayRef, AsArray, Int8Array, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Int8Type, Schema, SchemaRef};
use std::sync::Arc;

/// State table of the rows that wait: number of the checkpoint, row kind, the row. Rows of earlier checkpoints than
/// the one that is restored are none any more.
const PENDING: &str = "pending";
/// Name of the value that holds the number of the checkpoint and since when rows wait, as JSON.
const CHECKPOINT: &str = "mini-batch";
const KINDS: [RowKind; 4] = [RowKind::Insert, RowKind::UpdateBefore, RowKind::UpdateAfter, RowKind::Delete];

/// Gives the rows of its input to an operator in batches of exactly `size` rows; fewer where they have waited for
/// `latency`, before event time goes on, and at the end. The operator takes each batch as one.
pub struct MiniBatch {
    inner: Box<dyn Operator>,
    size: usize,
    latency_ms: i64,
    keys: Vec<usize>,
    input: SchemaRef,
    pending: Vec<ChangeBatch>,
    rows: usize,
    /// When the first of them came.
    since_ms: Option<i64>,
    max_parallelism: usize,
}

impl MiniBatch {
    /// Rows of `input` for `inner`, whose state is kept by `keys`.
    pub fn new(inner: Box<dyn Operator>, node: MiniBatchNode, keys: &[usize], input: SchemaRef) -> Self {
        Self {
            inner,
            size: usize::try_from(node.size).unwrap_or(usize::MAX).max(1),
            latency_ms: i64::try_from(node.latency_ms).unwrap_or(i64::MAX),
            keys: keys.to_vec(),
            input,
            pending: Vec::new(),
            rows: 0,
            since_ms: None,
            max_parallelism: 1,
        }
    }

    /// The rows that wait, as one batch.
    fn whole(&self) -> Result<ChangeBatch> {
        if let [only] = &self.pending[..] {
            return Ok(only.clone());
        }
        let records = concat_batches(&self.input, self.pending.iter().map(ChangeBatch::records))?;
        if self.pending.iter().all(|b| b.kinds().is_none()) {
            return Ok(ChangeBatch::inserts(records));
        }
        let kinds: Vec<RowKind> =
            self.pending.iter().flat_map(|b| (0..b.num_rows()).map(|row| b.kind(row))).collect();
        Ok(ChangeBatch::new(records, kinds))
    }

    fn flush(&mut self, context: &OperatorContext, out: &mut dyn Collector) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let whole = self.whole()?;
        self.pending.clear();
        self.rows = 0;
        self.inner.process(0, whole, context, out)
    }

    fn due_ms(&self) -> Option<i64> {
        let since = self.since_ms.filter(|_| self.rows > 0)?;
        Some(since.saturating_add(self.latency_ms))
    }

    fn take_back(&mut self, rows: &StateRows, checkpoints: &[i64]) -> Result<()> {
        let columns = rows.rows.columns();
        let fits = columns.len() == 2 + self.input.fields().len()
            && columns[2..].iter().zip(self.input.fields()).all(|(c, f)| c.data_type() == f.data_type());
        let kinds = columns.get(1).and_then(|c| c.as_primitive_opt::<Int8Type>());
        let (true, Some(kinds)) = (fits, kinds) else {
            return Err(unknown_table(PENDING, "an aggregate over these columns"));
        };
        let numbers = times(&rows.rows, 0)?;
        let kind = |row: usize| KINDS.get(kinds.value(row) as usize).copied().unwrap_or(RowKind::Insert);
        let mine: Vec<u32> = (0..rows.rows.num_rows() as u32)
            .filter(|r| checkpoints.contains(&numbers.value(*r as usize)))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.rows.num_rows()));
        let records = RecordBatch::try_new_with_options(self.input.clone(), columns[2..].to_vec(), &options)?;
        let all: Vec<RowKind> = (0..rows.rows.num_rows()).map(kind).collect();
        let taken = ChangeBatch::new(records, all).take(&mine.into())?;
        self.rows += taken.num_rows();
        if taken.num_rows() > 0 {
            self.pending.push(taken);
        }
        Ok(())
    }
}

/// A checkpoint's state without the rows that wait, which are put aside.
struct Rest<'a> {
    state: &'a mut dyn StateReader,
    pending: Vec<StateRows>,
}

impl StateReader for Rest<'_> {
    fn next_rows(&mut self) -> Result<Option<StateRows>> {
        loop {
            match self.state.next_rows()? {
                Some(rows) if rows.table == PENDING => self.pending.push(rows),
                other => return Ok(other),
            }
        }
    }

    fn values(&self, name: &str) -> Vec<&[u8]> {
        self.state.values(name)
    }
}

impl Operator for MiniBatch {
    fn open(&mut self, context: &OpenContext) -> Result<()> {
        self.max_parallelism = context.max_parallelism;
        self.inner.open(context)
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        let read = |text: &[u8]| {
            serde_json::from_slice::<(i64, Option<i64>)>(text)
                .map_err(|e| Error::user(format!("The checkpoint's mini-batch cannot be read: {e}.")))
        };
        let tasks = state.values(CHECKPOINT).into_iter().map(read).collect::<Result<Vec<_>>>()?;
        let checkpoints: Vec<i64> = tasks.iter().map(|(checkpoint, _)| *checkpoint).collect();
        self.since_ms = tasks.iter().filter_map(|(_, since)| *since).min();
        let mut rest = Rest { state, pending: Vec::new() };
        self.inner.restore(&mut rest)?;
        while rest.next_rows()?.is_some() {}
        for rows in rest.pending {
            self.take_back(&rows, &checkpoints)?;
        }
        Ok(())
    }

    fn snapshot(&mut self, checkpoint_id: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        let number = i64::try_from(checkpoint_id).unwrap_or(i64::MAX);
        let since = self.since_ms.filter(|_| self.rows > 0);
        let value = serde_json::to_vec(&(number, since)).map_err(|e| Error::internal(e.to_string()))?;
        out.value(CHECKPOINT, value);
        if self.rows > 0 {
            let whole = self.whole()?;
            let rows = whole.num_rows();
            let kind =
                |row: usize| KINDS.iter().position(|k| *k == whole.kind(row)).unwrap_or_default() as i8;
            let mut columns: Vec<ArrayRef> = vec![
                Arc::new(Int64Array::from_value(number, rows)),
                Arc::new(Int8Array::from_iter_values((0..rows).map(kind))),
            ];
            columns.extend_from_slice(whole.records().columns());
            let names = ["checkpoint".to_owned(), "kind".to_owned()].into_iter();
            let names = names.chain((0..self.input.fields().len()).map(|i| format!("column{i}")));
            let fields: Vec<Field> =
                names.zip(&columns).map(|(n, c)| Field::new(n, c.data_type().clone(), true)).collect();
            let keys: Vec<ArrayRef> =
                self.keys.iter().map(|k| Arc::clone(whole.records().column(*k))).collect();
            out.rows(StateRows {
                table: PENDING.to_owned(),
                key_groups: groups_of(&keys, self.max_parallelism)?,
                rows: RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?,
                deleted: None,
            });
        }
        self.inner.snapshot(checkpoint_id, out)
    }

    fn continue_snapshot(&mut self, out: &mut StateWriter) -> Result<SnapshotProgress> {
        self.inner.continue_snapshot(out)
    }

    fn checkpoint_complete(&mut self, checkpoint_id: u64) -> Result<()> {
        self.inner.checkpoint_complete(checkpoint_id)
    }

    fn process(
        &mut self,
        _: usize,
        input: ChangeBatch,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        let mut start = 0;
        while start < input.num_rows() {
            let taken = (input.num_rows() - start).min(self.size - self.rows.min(self.size - 1));
            if self.rows == 0 {
                self.since_ms = Some(context.now_ms);
            }
            self.pending.push(input.slice(start, taken));
            self.rows += taken;
            start += taken;
            if self.rows >= self.size {
                self.flush(context, out)?;
            }
        }
        Ok(())
    }

    fn on_watermark(
        &mut self,
        watermark: Watermark,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        self.flush(context, out)?;
        self.inner.on_watermark(watermark, context, out)
    }

    fn next_timer_ms(&self) -> Option<i64> {
        [self.due_ms(), self.inner.next_timer_ms()].into_iter().flatten().min()
    }

    fn on_timer(&mut self, context: &OperatorContext, out: &mut dyn Collector) -> Result<()> {
        if self.due_ms().is_some_and(|due| due <= context.now_ms) {
            self.flush(context, out)?;
        }
        self.inner.on_timer(context, out)
    }

    fn finish(&mut self, context: &OperatorContext, out: &mut dyn Collector) -> Result<()> {
        self.flush(context, out)?;
        self.inner.finish(context, out)
    }

    fn is_done(&self) -> bool {
        self.inner.is_done()
    }

    fn status(&self) -> OperatorStatus {
        let waiting: usize = self.pending.iter().map(ChangeBatch::num_bytes).sum();
        let status = self.inner.status();
        OperatorStatus { state_bytes: status.state_bytes + waiting as u64, ..status }
    }
}
