//! Deduplication: the first or the last row of each key, by event time or as rows come.

use super::kept_rows::{self, KeptRows};
use super::row_codec::{RowBytes, RowChanges, RowCodec};
use super::rows::{MAX_BATCH_ROWS, inserts_only, milliseconds};
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
    rows: RowCodec,
    table: KeyTable,
    kept: Vec<Kept>,
    groups: Vec<u32>,
    changes: RowChanges,
    bytes: usize,
    common: KeptRows,
}

#[derive(Debug, Clone, Default)]
struct Kept {
    row: Option<RowBytes>,
    /// Its compared columns, where they matter.
    same: Option<Box<[u8]>>,
    /// Event time; NULL is before all else.
    time: i64,
    touched_ms: i64,
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
            rows: RowCodec::of_schema(&input)?,
            table: KeyTable::new(&types)?,
            kept: Vec::new(),
            groups: Vec::new(),
            changes: RowChanges::default(),
            bytes: 0,
            common: KeptRows::default(),
            input,
            output,
        })
    }

    fn intern(&mut self, records: &RecordBatch) -> Result<()> {
        let keys: Vec<ArrayRef> = self.keys.iter().map(|c| Arc::clone(records.column(*c))).collect();
        self.table.intern(&keys, records.num_rows(), &mut self.groups)?;
        self.kept.resize(self.table.slots(), Kept::default());
        Ok(())
    }

    fn comparisons(&self, records: &RecordBatch) -> Result<Option<arrow::row::Rows>> {
        let Some(codec) = &self.comparison else { return Ok(None) };
        let columns: Vec<ArrayRef> = self.compared.iter().map(|c| Arc::clone(records.column(*c))).collect();
        codec.encode(&columns).map(Some)
    }

    fn times(&self, records: &RecordBatch) -> Result<Option<Vec<i64>>> {
        let TimeAttribute::Rowtime { column } = self.time else { return Ok(None) };
        let times = milliseconds(records.column(column))?;
        Ok(Some(
            (0..times.len()).map(|r| if times.is_valid(r) { times.value(r) } else { i64::MIN }).collect(),
        ))
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
        batch: ChangeBatch,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        inserts_only(&batch, "Deduplication")?;
        let records = batch.records();
        if records.num_rows() == 0 {
            return Ok(());
        }
        self.intern(records)?;
        let times = self.times(records)?;
        let first_for_ever = times.is_none() && !self.keep_last;
        // Rows that come to stay or go out, chosen before any is encoded.
        if first_for_ever {
            let picks: Vec<u32> = (0..records.num_rows())
                .filter(|row| {
                    let kept = &mut self.kept[self.groups[*row] as usize];
                    let fresh = kept.row.is_none() || self.common.expired(kept.touched_ms, context.now_ms);
                    if fresh {
                        kept.row = Some(Arc::from([]));
                        kept.touched_ms = context.now_ms;
                    }
                    fresh
                })
                .map(|row| row as u32)
                .collect();
            if picks.is_empty() {
                return Ok(());
            }
            self.bytes += picks.len() * size_of::<Kept>();
            let picked = batch.take(&picks.into())?;
            let columns = picked.records().columns().to_vec();
            let rows = super::rows::batch(&self.output, columns, picked.num_rows())?;
            return out.emit(ChangeBatch::inserts(rows));
        }
        let encoded = self.rows.encode(records.columns())?;
        let same = self.comparisons(records)?;
        for (row, group) in self.groups.iter().enumerate() {
            let kept = &mut self.kept[*group as usize];
            if self.common.expired(kept.touched_ms, context.now_ms) {
                *kept = Kept::default();
            }
            let time = times.as_ref().map_or(0, |t| t[row]);
            let bytes = encoded.row(row).data();
            match &kept.row {
                None => {}
                Some(_) => {
                    let stays = match (self.keep_last, &times) {
                        (true, Some(_)) => time < kept.time,
                        (false, _) => time >= kept.time,
                        (true, None) => kept.same.as_deref() == same.as_ref().map(|s| s.row(row).data()),
                    };
                    if stays {
                        continue;
                    }
                }
            }
            let bytes: RowBytes = Arc::from(bytes);
            kept.touched_ms = context.now_ms;
            kept.time = time;
            kept.same = same.as_ref().map(|s| s.row(row).data().into());
            let grown = bytes.len() + size_of::<Kept>();
            match kept.row.replace(Arc::clone(&bytes)) {
                None => {
                    self.bytes += grown;
                    self.changes.push(RowKind::Insert, &bytes, 0);
                }
                Some(before) => {
                    self.bytes = (self.bytes + bytes.len()).saturating_sub(before.len());
                    if self.update_before {
                        self.changes.push(RowKind::UpdateBefore, &before, 0);
                    }
                    self.changes.push(RowKind::UpdateAfter, &bytes, 0);
                }
            }
        }
        match self.changes.take(&self.rows, &self.output, false)? {
            Some(changes) => out.emit(changes),
            None => Ok(()),
        }
    }

    fn next_timer_ms(&self) -> Option<i64> {
        self.common.next_sweep_ms()
    }

    fn on_timer(&mut self, context: &OperatorContext, _: &mut dyn Collector) -> Result<()> {
        if self.common.sweep_is_due(context.now_ms) {
            let old: Vec<u32> = self
                .table
                .groups()
                .filter(|g| self.common.expired(self.kept[*g as usize].touched_ms, context.now_ms))
                .collect();
            for group in &old {
                let gone = std::mem::take(&mut self.kept[*group as usize]);
                let size = gone.row.map_or(0, |r| r.len() + size_of::<Kept>());
                self.bytes = self.bytes.saturating_sub(size);
            }
            self.table.remove(old);
        }
        Ok(())
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        let first_for_ever = self.time == TimeAttribute::Proctime && !self.keep_last;
        while let Some(part) = state.next_rows()? {
            let rows = part.rows.num_rows();
            if first_for_ever {
                // Only the keys are kept.
                let keys = kept_rows::columns(&part, ROWS, self.keys.len())?;
                self.table.intern(keys, rows, &mut self.groups)?;
                self.kept.resize(self.table.slots(), Kept::default());
                for group in &self.groups {
                    let kept = &mut self.kept[*group as usize];
                    kept.row = Some(Arc::from([]));
                    kept.touched_ms = self.common.opened_ms();
                }
                continue;
            }
            let columns = kept_rows::columns(&part, ROWS, self.input.fields().len())?;
            let records = kept_rows::records(&kept_rows::schema(&self.input, &[]), columns, rows)?;
            self.intern(&records)?;
            let times = self.times(&records)?;
            let encoded = self.rows.encode(records.columns())?;
            let same = self.comparisons(&records)?;
            for (row, group) in self.groups.iter().enumerate() {
                let bytes: RowBytes = Arc::from(encoded.row(row).data());
                self.bytes += bytes.len() + size_of::<Kept>();
                self.kept[*group as usize] = Kept {
                    row: Some(bytes),
                    same: same.as_ref().map(|s| s.row(row).data().into()),
                    time: times.as_ref().map_or(0, |t| t[row]),
                    touched_ms: self.common.opened_ms(),
                };
            }
        }
        Ok(())
    }

    fn snapshot(&mut self, _: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        out.full();
        let first_for_ever = self.time == TimeAttribute::Proctime && !self.keep_last;
        let groups: Vec<u32> = self.table.groups().collect();
        let schema = kept_rows::schema(&self.input, &[]);
        for groups in groups.chunks(MAX_BATCH_ROWS) {
            let (records, keys) = if first_for_ever {
                let fields: Vec<_> = self.keys.iter().map(|k| Arc::clone(&schema.fields()[*k])).collect();
                let schema = Arc::new(arrow::datatypes::Schema::new(fields));
                let columns = self.table.keys(groups)?;
                (kept_rows::records(&schema, &columns, groups.len())?, (0..self.keys.len()).collect())
            } else {
                let rows = groups.iter().filter_map(|g| self.kept[*g as usize].row.as_deref());
                let columns = self.rows.decode(rows)?;
                (kept_rows::records(&schema, &columns, groups.len())?, self.keys.clone())
            };
            out.rows(self.common.state_rows(ROWS, records, &keys)?);
        }
        Ok(SnapshotProgress::Done)
    }

    fn status(&self) -> OperatorStatus {
        OperatorStatus { state_bytes: (self.bytes + self.table.size()) as u64, ..OperatorStatus::default() }
    }
}
