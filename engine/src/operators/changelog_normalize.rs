//! Updates and deletes by key become a changelog with whole rows.

use super::kept_rows::{self, KeptRows};
use super::row_codec::{RowBytes, RowChanges, RowCodec};
use super::rows::MAX_BATCH_ROWS;
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::Result;
use crate::message::{ChangeBatch, RowKind};
use crate::plan::ChangelogNormalizeNode;
use crate::state::{KeyTable, SnapshotProgress, StateReader, StateWriter};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

const ROWS: &str = "rows";

/// Keeps the last row of each key. The first one is told by `+I`, another one by `-U` and `+U`, and a delete by `-D`
/// with the row that is kept; a delete of a key that is not there is dropped. The same row again with the same kind
/// changes nothing and is not told (unless state has a time to live, which it lengthens).
pub struct ChangelogNormalize {
    keys: Vec<usize>,
    update_before: bool,
    input: SchemaRef,
    output: SchemaRef,
    rows: RowCodec,
    table: KeyTable,
    kept: Vec<Option<Kept>>,
    groups: Vec<u32>,
    changes: RowChanges,
    bytes: usize,
    common: KeptRows,
}

#[derive(Debug, Clone)]
struct Kept {
    row: RowBytes,
    touched_ms: i64,
}

impl ChangelogNormalize {
    /// `output` has the columns of `input`.
    ///
    /// Errors: a column of a type that cannot be kept.
    pub fn new(
        node: &ChangelogNormalizeNode,
        input: SchemaRef,
        output: SchemaRef,
        update_before: bool,
    ) -> Result<Self> {
        let types: Vec<_> = node.keys.iter().map(|c| input.field(*c).data_type().clone()).collect();
        Ok(Self {
            keys: node.keys.clone(),
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
        self.kept.resize(self.table.slots(), None);
        Ok(())
    }
}

impl Operator for ChangelogNormalize {
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
        let records = batch.records();
        if records.num_rows() == 0 {
            return Ok(());
        }
        self.intern(records)?;
        let encoded = self.rows.encode(records.columns())?;
        let mut gone: Vec<u32> = Vec::new();
        for (row, group) in self.groups.iter().enumerate() {
            let slot = &mut self.kept[*group as usize];
            if slot.as_ref().is_some_and(|k| self.common.expired(k.touched_ms, context.now_ms)) {
                *slot = None;
            }
            let kind = batch.kind(row);
            if !kind.is_addition() {
                if let Some(kept) = slot.take() {
                    self.bytes = self.bytes.saturating_sub(kept.row.len());
                    self.changes.push(RowKind::Delete, &kept.row, 0);
                }
                gone.push(*group);
                continue;
            }
            let bytes = encoded.row(row).data();
            // As in Flink an equal row is told again where it comes as an update.
            let same = slot.as_ref().is_some_and(|k| k.row.as_ref() == bytes) && kind == RowKind::Insert;
            if same && !self.common.has_ttl() {
                continue;
            }
            let bytes: RowBytes = Arc::from(bytes);
            self.bytes += bytes.len();
            match slot.replace(Kept { row: Arc::clone(&bytes), touched_ms: context.now_ms }) {
                None => self.changes.push(RowKind::Insert, &bytes, 0),
                Some(before) => {
                    self.bytes = self.bytes.saturating_sub(before.row.len());
                    if self.update_before {
                        self.changes.push(RowKind::UpdateBefore, &before.row, 0);
                    }
                    self.changes.push(RowKind::UpdateAfter, &bytes, 0);
                }
            }
        }
        gone.retain(|g| self.kept[*g as usize].is_none());
        self.table.remove(gone);
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
            let is_old = |k: &Option<Kept>| {
                k.as_ref().is_none_or(|k| self.common.expired(k.touched_ms, context.now_ms))
            };
            let old: Vec<u32> = self.table.groups().filter(|g| is_old(&self.kept[*g as usize])).collect();
            for group in &old {
                if let Some(kept) = self.kept[*group as usize].take() {
                    self.bytes = self.bytes.saturating_sub(kept.row.len());
                }
            }
            self.table.remove(old);
        }
        Ok(())
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        let width = self.input.fields().len();
        while let Some(part) = state.next_rows()? {
            let columns = kept_rows::columns(&part, ROWS, width)?;
            let schema = kept_rows::schema(&self.input, &[]);
            let records = kept_rows::records(&schema, columns, part.rows.num_rows())?;
            self.intern(&records)?;
            let encoded = self.rows.encode(records.columns())?;
            for (row, group) in self.groups.iter().enumerate() {
                let bytes: RowBytes = Arc::from(encoded.row(row).data());
                self.bytes += bytes.len();
                self.kept[*group as usize] = Some(Kept { row: bytes, touched_ms: self.common.opened_ms() });
            }
        }
        Ok(())
    }

    fn snapshot(&mut self, _: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        out.full();
        let schema = kept_rows::schema(&self.input, &[]);
        let all: Vec<&RowBytes> =
            self.table.groups().filter_map(|g| self.kept[g as usize].as_ref()).map(|k| &k.row).collect();
        for part in all.chunks(MAX_BATCH_ROWS) {
            let columns = self.rows.decode(part.iter().map(|r| r.as_ref()))?;
            let records = kept_rows::records(&schema, &columns, part.len())?;
            out.rows(self.common.state_rows(ROWS, records, &self.keys)?);
        }
        Ok(SnapshotProgress::Done)
    }

    fn status(&self) -> OperatorStatus {
        OperatorStatus {
            state_bytes: (self.bytes + self.table.size() + self.kept.capacity() * size_of::<Option<Kept>>())
                as u64,
            ..OperatorStatus::default()
        }
    }
}
