//! Deduplication: the first or the last row of each key, by event time or as rows come.

use super::kept_rows::{self, KeptRows};
use super::row_codec::RowCodec;
use super::rows::{MAX_BATCH_ROWS, batch, inserts_only, milliseconds};
use super::segments::{RowRef, Segments};
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::Result;
use crate::message::{ChangeBatch, RowKind};
use crate::plan::{DeduplicateNode, TimeAttribute};
use crate::state::{KeyTable, SnapshotProgress, StateReader, StateWriter};
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

const ROWS: &str = "rows";

/// Keeps one row of each key. By processing time the first row is told at once and never changes; in all other cases
/// a row that takes the place of another is told by `-U` and `+U`.
pub struct Deduplicate {
    keys: Vec<usize>,
    time: TimeAttribute,
    keep_last: bool,
    compared: Vec<usize>,
    /// Of the compared columns, where they matter.
    comparison: Option<RowCodec>,
    update_before: bool,
    input: SchemaRef,
    output: SchemaRef,
    table: KeyTable,
    kept: Kept,
    rows: Segments,
    groups: Vec<u32>,
    common: KeptRows,
}

/// What is known of each key.
#[derive(Default)]
struct Kept {
    /// Its row; of keys whose first row was told for ever, one of NULLs.
    rows: Vec<Option<RowRef>>,
    /// Event time of the row; NULL is before all else. Empty without event time.
    times: Vec<i64>,
    /// Its compared columns. Empty where they do not matter.
    same: Vec<Box<[u8]>>,
    /// When it was written. Empty without a time to live.
    touched_ms: Vec<i64>,
}

impl Deduplicate {
    /// `output` has the columns of `input`.
    ///
    /// Errors: a column of a type that cannot be kept.
    pub fn new(
        node: &DeduplicateNode,
        input: SchemaRef,
        output: SchemaRef,
        update_before: bool,
    ) -> Result<Self> {
        let types: Vec<_> = node.keys.iter().map(|c| input.field(*c).data_type().clone()).collect();
        Ok(Self {
            keys: node.keys.clone(),
            time: node.time,
            keep_last: node.keep_last,
            comparison: match node.time {
                TimeAttribute::Proctime if node.keep_last => {
                    Some(RowCodec::new(node.compared.iter().map(|c| input.field(*c).data_type().clone()))?)
                }
                _ => None,
            },
            compared: node.compared.clone(),
            update_before,
            table: KeyTable::new(&types)?,
            kept: Kept::default(),
            rows: Segments::new(input.clone()),
            groups: Vec::new(),
            common: KeptRows::default(),
            input,
            output,
        })
    }

    fn is_first_for_ever(&self) -> bool {
        self.time == TimeAttribute::Proctime && !self.keep_last
    }

    /// The group of each key, with room for what is known of it.
    fn intern(&mut self, keys: &[ArrayRef], rows: usize) -> Result<()> {
        self.table.intern(keys, rows, &mut self.groups)?;
        let slots = self.table.slots();
        self.kept.rows.resize(slots, None);
        if self.time != TimeAttribute::Proctime {
            self.kept.times.resize(slots, 0);
        }
        if self.comparison.is_some() {
            self.kept.same.resize(slots, Box::from([]));
        }
        if self.common.has_ttl() {
            self.kept.touched_ms.resize(slots, 0);
        }
        Ok(())
    }

    fn key_columns(&self, records: &RecordBatch) -> Vec<ArrayRef> {
        self.keys.iter().map(|c| Arc::clone(records.column(*c))).collect()
    }

    fn comparisons(&self, records: &RecordBatch) -> Result<Option<arrow::row::Rows>> {
        let Some(codec) = &self.comparison else { return Ok(None) };
        let columns: Vec<ArrayRef> = self.compared.iter().map(|c| Arc::clone(records.column(*c))).collect();
        codec.encode(&columns).map(Some)
    }

    fn times(&self, records: &RecordBatch) -> Result<Option<Vec<i64>>> {
        let TimeAttribute::Rowtime { column } = self.time else { return Ok(None) };
        let times = milliseconds(records.column(column))?;
        Ok(Some(match times.nulls() {
            None => times.values().to_vec(),
            Some(_) => times.iter().map(|t| t.unwrap_or(i64::MIN)).collect(),
        }))
    }

    fn is_expired(&self, group: u32, now_ms: i64) -> bool {
        self.kept.touched_ms.get(group as usize).is_some_and(|at| self.common.expired(*at, now_ms))
    }

    fn touch(&mut self, group: u32, now_ms: i64) {
        if let Some(at) = self.kept.touched_ms.get_mut(group as usize) {
            *at = now_ms;
        }
    }

    /// Tells the first row of each key.
    fn first(&mut self, input: &ChangeBatch, now_ms: i64, out: &mut dyn Collector) -> Result<()> {
        let mut picks: Vec<u32> = Vec::new();
        for row in 0..self.groups.len() {
            let group = self.groups[row];
            if self.kept.rows[group as usize].is_none() || self.is_expired(group, now_ms) {
                self.kept.rows[group as usize] = Some(RowRef::NULLS);
                self.touch(group, now_ms);
                picks.push(row as u32);
            }
        }
        if picks.is_empty() {
            return Ok(());
        }
        let picked = input.take(&picks.into())?;
        let columns = picked.records().columns().to_vec();
        out.emit(ChangeBatch::inserts(batch(&self.output, columns, picked.num_rows())?))
    }

    /// Forgets the row of a key.
    fn clear(&mut self, group: u32) {
        if let Some(row) = self.kept.rows[group as usize].take().filter(|r| *r != RowRef::NULLS) {
            self.rows.release(row);
        }
    }

    fn emit(
        &self,
        records: &RecordBatch,
        told: &[RowRef],
        kinds: Vec<RowKind>,
        out: &mut dyn Collector,
    ) -> Result<()> {
        if kinds.is_empty() {
            return Ok(());
        }
        let columns = if !self.update_before && told.len() == records.num_rows() {
            // Each row of the input, as it came.
            records.columns().to_vec()
        } else {
            let all: Vec<usize> = (0..self.input.fields().len()).collect();
            self.rows.take(told, &all)?
        };
        out.emit(ChangeBatch::new(batch(&self.output, columns, kinds.len())?, kinds))
    }
}

impl Operator for Deduplicate {
    fn open(&mut self, context: &OpenContext) -> Result<()> {
        self.common.open(context);
        Ok(())
    }

    fn process(
        &mut self,
        _: usize,
        input: ChangeBatch,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        inserts_only(&input, "Deduplication")?;
        let records = input.records();
        let rows = records.num_rows();
        if rows == 0 {
            return Ok(());
        }
        self.intern(&self.key_columns(records), rows)?;
        if self.is_first_for_ever() {
            return self.first(&input, context.now_ms, out);
        }
        let times = self.times(records)?;
        let same = self.comparisons(records)?;
        let segment = self.rows.add(records.clone());
        let (mut told, mut kinds) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        // Rows that go may still have to be told.
        let mut gone = Vec::new();
        let groups = std::mem::take(&mut self.groups);
        for (row, group) in groups.iter().enumerate() {
            let at = *group as usize;
            if self.is_expired(*group, context.now_ms) {
                gone.extend(self.kept.rows[at].take());
            }
            let new = segment.row(row);
            let before = self.kept.rows[at];
            let stays = before.is_some()
                && match (self.keep_last, &times) {
                    (true, Some(times)) => times[row] < self.kept.times[at],
                    (false, Some(times)) => times[row] >= self.kept.times[at],
                    (true, None) => same.as_ref().is_some_and(|s| *self.kept.same[at] == *s.row(row).data()),
                    (false, None) => true,
                };
            if stays {
                gone.push(new);
                continue;
            }
            self.kept.rows[at] = Some(new);
            self.touch(*group, context.now_ms);
            if let Some(times) = &times {
                self.kept.times[at] = times[row];
            }
            if let Some(same) = &same {
                self.kept.same[at] = same.row(row).data().into();
            }
            let kind = match before {
                None => RowKind::Insert,
                Some(before) => {
                    if self.update_before {
                        told.push(before);
                        kinds.push(RowKind::UpdateBefore);
                    }
                    gone.push(before);
                    RowKind::UpdateAfter
                }
            };
            told.push(new);
            kinds.push(kind);
        }
        self.groups = groups;
        self.emit(records, &told, kinds, out)?;
        gone.into_iter().for_each(|row| self.rows.release(row));
        if self.rows.is_sparse() {
            self.rows.compact(self.kept.rows.iter_mut().flatten())?;
        }
        Ok(())
    }

    fn next_timer_ms(&self) -> Option<i64> {
        self.common.next_sweep_ms()
    }

    fn on_timer(&mut self, context: &OperatorContext, _: &mut dyn Collector) -> Result<()> {
        if self.common.sweep_is_due(context.now_ms) {
            let old: Vec<u32> = self.table.groups().filter(|g| self.is_expired(*g, context.now_ms)).collect();
            old.iter().for_each(|group| self.clear(*group));
            self.table.remove(old);
        }
        Ok(())
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        while let Some(part) = state.next_rows()? {
            let rows = part.rows.num_rows();
            if self.is_first_for_ever() {
                // Only the keys are kept.
                self.intern(kept_rows::columns(&part, ROWS, self.keys.len())?, rows)?;
                for group in std::mem::take(&mut self.groups) {
                    self.kept.rows[group as usize] = Some(RowRef::NULLS);
                    self.touch(group, self.common.opened_ms());
                }
                continue;
            }
            let columns = kept_rows::columns(&part, ROWS, self.input.fields().len())?;
            let records = kept_rows::records(&kept_rows::schema(&self.input, &[]), columns, rows)?;
            self.intern(&self.key_columns(&records), rows)?;
            let times = self.times(&records)?;
            let same = self.comparisons(&records)?;
            let segment = self.rows.add(records);
            for (row, group) in std::mem::take(&mut self.groups).into_iter().enumerate() {
                let at = group as usize;
                self.kept.rows[at] = Some(segment.row(row));
                self.touch(group, self.common.opened_ms());
                if let Some(times) = &times {
                    self.kept.times[at] = times[row];
                }
                if let Some(same) = &same {
                    self.kept.same[at] = same.row(row).data().into();
                }
            }
        }
        Ok(())
    }

    fn snapshot(&mut self, _: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        out.full();
        let groups: Vec<u32> = self.table.groups().collect();
        let schema = kept_rows::schema(&self.input, &[]);
        let all: Vec<usize> = (0..self.input.fields().len()).collect();
        for groups in groups.chunks(MAX_BATCH_ROWS) {
            let (records, keys) = if self.is_first_for_ever() {
                let fields: Vec<_> = self.keys.iter().map(|k| Arc::clone(&schema.fields()[*k])).collect();
                let schema = Arc::new(arrow::datatypes::Schema::new(fields));
                let columns = self.table.keys(groups)?;
                (kept_rows::records(&schema, &columns, groups.len())?, (0..self.keys.len()).collect())
            } else {
                let rows: Vec<RowRef> = groups.iter().filter_map(|g| self.kept.rows[*g as usize]).collect();
                let columns = self.rows.take(&rows, &all)?;
                (kept_rows::records(&schema, &columns, rows.len())?, self.keys.clone())
            };
            out.rows(self.common.state_rows(ROWS, records, &keys)?);
        }
        Ok(SnapshotProgress::Done)
    }

    fn status(&self) -> OperatorStatus {
        let (kept, keys) = (&self.kept, self.table.len());
        let times = usize::from(!kept.times.is_empty()) + usize::from(!kept.touched_ms.is_empty());
        let columns = keys * (size_of::<Option<RowRef>>() + times * size_of::<i64>())
            + kept.same.iter().map(|s| s.len() + size_of::<Box<[u8]>>()).sum::<usize>();
        let bytes = columns + self.rows.size() + self.table.size();
        OperatorStatus { state_bytes: bytes as u64, ..OperatorStatus::default() }
    }
}
