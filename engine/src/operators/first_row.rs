//! Deduplication that keeps the first row of each key as rows come: it is told at once and never changes, so that only
//! the key is kept.

use super::kept_rows::{KeptTable, ROWS};
use super::rows::{batch, inserts_only, parts};
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::Result;
use crate::message::ChangeBatch;
use crate::plan::DeduplicateNode;
use crate::state::{
    GroupStore, Payload, SnapshotKind, SnapshotProgress, StateReader, StateRows, StateWriter,
};
use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

/// See `Deduplicate`.
pub(super) struct FirstRow {
    keys: Vec<usize>,
    output: SchemaRef,
    store: GroupStore<Seen>,
    groups: Vec<u32>,
}

/// Whether the first row of each key was told.
struct Seen {
    told: Vec<bool>,
    /// Of rows of the key columns alone.
    table: KeptTable,
}

impl Payload for Seen {
    fn resize(&mut self, groups: usize) {
        self.told.resize(groups, false);
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let told = groups.iter().map(|g| Some(self.told[*g as usize]));
        Ok(vec![Arc::new(told.collect::<BooleanArray>())])
    }

    fn merge(&mut self, _: &[ArrayRef], groups: &[u32]) -> Result<()> {
        groups.iter().for_each(|g| self.told[*g as usize] = true);
        Ok(())
    }

    fn clear(&mut self, group: u32) {
        self.told[group as usize] = false;
    }

    fn size(&self) -> usize {
        self.told.len()
    }

    fn fresh(&self) -> Result<Self> {
        Ok(Self { told: Vec::new(), table: self.table.clone() })
    }

    fn rows(&self, groups: &[u32], keys: &[ArrayRef], _: SnapshotKind) -> Result<Option<Vec<StateRows>>> {
        if groups.is_empty() {
            return Ok(Some(Vec::new()));
        }
        Ok(Some(vec![self.table.key_rows(keys)?]))
    }

    fn deleted(&self, keys: &[ArrayRef]) -> Result<Option<Vec<StateRows>>> {
        Ok(Some(vec![self.table.deleted(keys)?]))
    }
}

impl FirstRow {
    /// As `Deduplicate::new`.
    pub(super) fn new(node: &DeduplicateNode, input: &SchemaRef, output: SchemaRef) -> Result<Self> {
        let own: Vec<usize> = (0..node.keys.len()).collect();
        let table = KeptTable::new(&Arc::new(input.project(&node.keys)?), &own, &[]);
        let types = table.key_types();
        Ok(Self {
            keys: node.keys.clone(),
            output,
            store: GroupStore::new(ROWS, &types, Seen { told: Vec::new(), table })?,
            groups: Vec::new(),
        })
    }

    /// Tells the first row of each key.
    fn tell(&mut self, input: &ChangeBatch, now_ms: i64, out: &mut dyn Collector) -> Result<()> {
        let keys: Vec<ArrayRef> = self.keys.iter().map(|c| Arc::clone(input.records().column(*c))).collect();
        self.store.enter(&keys, input.num_rows(), now_ms, &mut self.groups)?;
        let mut picks: Vec<u32> = Vec::new();
        for (row, group) in self.groups.iter().enumerate() {
            let told = &mut self.store.payload_mut().told[*group as usize];
            if !std::mem::replace(told, true) {
                self.store.change(*group, now_ms);
                picks.push(row as u32);
            }
        }
        self.store.settle(now_ms)?;
        if picks.is_empty() {
            return Ok(());
        }
        let picked = input.take(&picks.into())?;
        let columns = picked.records().columns().to_vec();
        out.emit(ChangeBatch::inserts(batch(&self.output, columns, picked.num_rows())?))
    }
}

impl Operator for FirstRow {
    fn open(&mut self, context: &OpenContext) -> Result<()> {
        self.store.payload_mut().table.open(context);
        self.store.open(context.store());
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
        let most = self.store.rows_at_once();
        parts(&input, most, |part| self.tell(part, context.now_ms, out))
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        let table = self.store.payload().table.clone();
        while let Some(part) = state.next_rows()? {
            if let Some(back) = table.put_back(&mut self.store, &part)? {
                self.store.payload_mut().merge(&[], &back.groups)?;
                self.store.settle_put_back(&[])?;
            }
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
