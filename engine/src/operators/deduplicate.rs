//! Deduplication: the first or the last row of each key, by event time or as rows come.

use super::kept_groups::{
    Bytes, KeptGroup, KeptGroups, KeptTable, NUMBERS, key_types, put_back, put_bytes, put_number,
};
use super::row_codec::{RowBytes, RowChanges, RowCodec};
use super::rows::{inserts_only, milliseconds};
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::Result;
use crate::message::{ChangeBatch, RowKind};
use crate::plan::{DeduplicateNode, TimeAttribute};
use crate::state::{GroupStore, SnapshotProgress, StateReader, StateWriter};
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

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
    output: SchemaRef,
    rows: RowCodec,
    store: GroupStore<KeptGroups<Kept>>,
    groups: Vec<u32>,
    changes: RowChanges,
    /// No bytes, shared by all keys of which nothing else is kept.
    nothing: RowBytes,
}

#[derive(Debug, Clone, Default)]
struct Kept {
    /// Empty where the first row of a key stays for ever.
    row: Option<RowBytes>,
    /// Its compared columns, where they matter.
    same: Option<Box<[u8]>>,
    /// Event time; NULL is before all else.
    time: i64,
}

impl KeptGroup for Kept {
    const MANY: bool = false;

    fn size(&self) -> usize {
        let row = self.row.as_ref().map_or(0, |r| if r.is_empty() { 0 } else { r.len() + 16 });
        row + self.same.as_ref().map_or(0, |s| s.len())
    }

    fn write(&self, into: &mut Vec<u8>) {
        put_number(into, self.time);
        put_bytes(into, self.row.as_deref().unwrap_or_default());
        if let Some(same) = &self.same {
            put_bytes(into, same);
        }
    }

    fn read(from: &mut Bytes<'_>) -> Option<Self> {
        let (time, row) = (from.number()?, from.bytes()?);
        let same = if from.0.is_empty() { None } else { Some(from.bytes()?.into()) };
        Some(Self { row: Some(Arc::from(row)), same, time })
    }

    fn rows<'a>(&'a self, found: &mut dyn FnMut(&'a [u8], [Option<i64>; NUMBERS])) {
        if let Some(row) = &self.row {
            found(row, [None; NUMBERS]);
        }
    }
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
        let types = key_types(&input, &node.keys);
        let table = match (node.time, node.keep_last) {
            // Of the first rows, nothing is looked at again.
            (TimeAttribute::Proctime, false) => KeptTable::of_keys(&input, &node.keys)?,
            _ => KeptTable::new(&input, &node.keys, &[])?,
        };
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
            store: GroupStore::new(table.name, &types, KeptGroups::new(table))?,
            groups: Vec::new(),
            changes: RowChanges::default(),
            nothing: Arc::from([]),
            output,
        })
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
        self.store.payload_mut().open(context);
        self.store.open(context.store());
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
        let now_ms = context.now_ms;
        let keys: Vec<ArrayRef> = self.keys.iter().map(|c| Arc::clone(records.column(*c))).collect();
        self.store.enter(&keys, records.num_rows(), now_ms, &mut self.groups)?;
        let times = self.times(records)?;
        let first_for_ever = times.is_none() && !self.keep_last;
        // Rows that come to stay or go out, chosen before any is encoded.
        if first_for_ever {
            let mut picks: Vec<u32> = Vec::new();
            for (row, group) in self.groups.iter().enumerate() {
                let kept = &mut self.store.payload_mut().groups[*group as usize];
                if kept.row.is_none() {
                    kept.row = Some(Arc::clone(&self.nothing));
                    self.store.change(*group, now_ms);
                    picks.push(row as u32);
                }
            }
            self.store.settle(now_ms)?;
            if picks.is_empty() {
                return Ok(());
            }
            let picked = batch.take(&picks.into())?;
            let columns = picked.records().columns().to_vec();
            let rows = super::rows::batch(&self.output, columns, picked.num_rows())?;
            return out.emit(ChangeBatch::inserts(rows));
        }
        let encoded = self.rows.encode(records.columns())?;
        let same = self.comparisons(records)?;
        for (row, group) in self.groups.iter().enumerate() {
            let all = self.store.payload_mut();
            let kept = &mut all.groups[*group as usize];
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
            let had = kept.size() as isize;
            kept.time = time;
            kept.same = same.as_ref().map(|s| s.row(row).data().into());
            let before = kept.row.replace(Arc::clone(&bytes));
            let grown = kept.size() as isize - had;
            all.grew(grown);
            self.store.change(*group, now_ms);
            match before {
                None => self.changes.push(RowKind::Insert, &bytes, 0),
                Some(before) => {
                    if self.update_before {
                        self.changes.push(RowKind::UpdateBefore, &before, 0);
                    }
                    self.changes.push(RowKind::UpdateAfter, &bytes, 0);
                }
            }
        }
        self.store.settle(now_ms)?;
        match self.changes.take(&self.rows, &self.output, false)? {
            Some(changes) => out.emit(changes),
            None => Ok(()),
        }
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        let first_for_ever = self.time == TimeAttribute::Proctime && !self.keep_last;
        while let Some(part) = state.next_rows()? {
            let Some(back) = put_back(&mut self.store, &part)? else { continue };
            if first_for_ever {
                for group in &back.groups {
                    self.store.payload_mut().groups[*group as usize].row = Some(Arc::clone(&self.nothing));
                }
                self.store.settle_put_back(&[])?;
                continue;
            }
            let times = self.times(&back.records)?;
            let encoded = self.rows.encode(back.records.columns())?;
            let same = self.comparisons(&back.records)?;
            for (row, group) in back.groups.iter().enumerate() {
                let new = Kept {
                    row: Some(Arc::from(encoded.row(row).data())),
                    same: same.as_ref().map(|s| s.row(row).data().into()),
                    time: times.as_ref().map_or(0, |t| t[row]),
                };
                let all = self.store.payload_mut();
                let grown = new.size() as isize;
                let before = std::mem::replace(&mut all.groups[*group as usize], new);
                all.grew(grown - before.size() as isize);
            }
            self.store.settle_put_back(&[])?;
        }
        Ok(())
    }

    fn snapshot(&mut self, _: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        self.store.snapshot(out)
    }

    fn continue_snapshot(&mut self, out: &mut StateWriter) -> Result<SnapshotProgress> {
        self.store.continue_snapshot(out)
    }

    fn status(&self) -> OperatorStatus {
        OperatorStatus { state_bytes: self.store.size() as u64, ..OperatorStatus::default() }
    }
}
