//! Updates and deletes by key become a changelog with whole rows.

use super::kept_groups::{Bytes, KeptGroup, KeptGroups, NUMBERS};
use super::kept_rows::{KeptTable, ROWS};
use super::row_codec::{RowBytes, RowChanges, RowCodec};
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::Result;
use crate::message::{ChangeBatch, RowKind};
use crate::plan::ChangelogNormalizeNode;
use crate::state::{GroupStore, SnapshotProgress, StateReader, StateWriter};
use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

/// Keeps the last row of each key. The first one is told by `+I`, another one by `-U` and `+U`, and a delete by `-D`
/// with the row that is kept; a delete of a key that is not there is dropped. The same row again with the same kind
/// changes nothing and is not told (unless state has a time to live, which it lengthens).
pub struct ChangelogNormalize {
    keys: Vec<usize>,
    update_before: bool,
    output: SchemaRef,
    rows: RowCodec,
    store: GroupStore<KeptGroups<Kept>>,
    groups: Vec<u32>,
    changes: RowChanges,
}

/// The row of a key.
#[derive(Default)]
struct Kept(Option<RowBytes>);

impl KeptGroup for Kept {
    const MANY: bool = false;

    fn size(&self) -> usize {
        self.0.as_ref().map_or(0, size_of_row)
    }

    fn write(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(self.0.as_deref().unwrap_or_default());
    }

    fn read(from: &mut Bytes<'_>) -> Option<Self> {
        Some(Self(Some(Arc::from(from.0))))
    }

    fn rows<'a>(&'a self, found: &mut dyn FnMut(&'a [u8], [Option<i64>; NUMBERS])) {
        if let Some(row) = &self.0 {
            found(row, [None; NUMBERS]);
        }
    }
}

/// Bytes of a row, with the counters before it.
fn size_of_row(row: &RowBytes) -> usize {
    row.len() + 16
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
        let table = KeptTable::new(&input, &node.keys, &[]);
        Ok(Self {
            keys: node.keys.clone(),
            update_before,
            rows: RowCodec::of_schema(&input)?,
            store: GroupStore::new(ROWS, &table.key_types(), KeptGroups::new(&input, table)?)?,
            groups: Vec::new(),
            changes: RowChanges::default(),
            output,
        })
    }
}

impl Operator for ChangelogNormalize {
    fn open(&mut self, context: &OpenContext) -> Result<()> {
        self.store.payload_mut().table.open(context);
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
        let records = batch.records();
        if records.num_rows() == 0 {
            return Ok(());
        }
        let keys: Vec<ArrayRef> = self.keys.iter().map(|c| Arc::clone(records.column(*c))).collect();
        self.store.enter(&keys, records.num_rows(), context.now_ms, &mut self.groups)?;
        let encoded = self.rows.encode(records.columns())?;
        let has_ttl = self.store.has_ttl();
        let mut gone: Vec<u32> = Vec::new();
        for (row, group) in self.groups.iter().enumerate() {
            let kept = self.store.payload_mut();
            let slot = &mut kept.groups[*group as usize].0;
            let kind = batch.kind(row);
            if !kind.is_addition() {
                if let Some(before) = slot.take() {
                    kept.grew(-(size_of_row(&before) as isize));
                    self.changes.push(RowKind::Delete, &before, 0);
                    self.store.change(*group, context.now_ms);
                }
                gone.push(*group);
                continue;
            }
            let bytes = encoded.row(row).data();
            // As in Flink an equal row is told again where it comes as an update.
            let same = slot.as_ref().is_some_and(|k| k.as_ref() == bytes) && kind == RowKind::Insert;
            if same && !has_ttl {
                continue;
            }
            let bytes: RowBytes = Arc::from(bytes);
            let before = slot.replace(Arc::clone(&bytes));
            let had = before.as_ref().map_or(0, size_of_row);
            kept.grew(size_of_row(&bytes) as isize - had as isize);
            self.store.change(*group, context.now_ms);
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
        gone.retain(|g| self.store.payload().groups[*g as usize].0.is_none());
        self.store.remove(gone)?;
        self.store.settle(context.now_ms)?;
        match self.changes.take(&self.rows, &self.output, false)? {
            Some(changes) => out.emit(changes),
            None => Ok(()),
        }
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        let table = self.store.payload().table.clone();
        while let Some(part) = state.next_rows()? {
            let Some(back) = table.put_back(&mut self.store, &part)? else { continue };
            let encoded = self.rows.encode(back.records.columns())?;
            for (row, group) in back.groups.iter().enumerate() {
                let kept = self.store.payload_mut();
                let bytes: RowBytes = Arc::from(encoded.row(row).data());
                let grown = size_of_row(&bytes) as isize;
                let before = kept.groups[*group as usize].0.replace(bytes);
                kept.grew(grown - before.as_ref().map_or(0, size_of_row) as isize);
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
