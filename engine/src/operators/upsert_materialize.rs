//! The last row of each key of a sink, out of changes that have another key.

use super::kept_rows::{self, KeptRows};
use super::row_codec::{RowBytes, RowChanges, RowCodec};
use super::rows::MAX_BATCH_ROWS;
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::Result;
use crate::message::{ChangeBatch, RowKind};
use crate::plan::UpsertMaterializeNode;
use crate::state::{KeyTable, SnapshotProgress, StateReader, StateWriter};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef};
use std::sync::Arc;

const ROWS: &str = "rows";
const NUMBER: &str = "$number";

/// Keeps all rows of each key of the sink in the order in which they came. The last one is what the sink shall hold:
/// it is told by `+I` if it is the only one, by `+U` if there are others; when it is taken back, the one before it is
/// told by `+U`, and `-D` is told when none is left. A row is taken back by the key of the changes, or whole where
/// they have none. Never tells `-U`.
pub struct UpsertMaterialize {
    keys: Vec<usize>,
    upsert_key: Vec<usize>,
    input: SchemaRef,
    output: SchemaRef,
    rows: RowCodec,
    identity: RowCodec,
    table: KeyTable,
    kept: Vec<Vec<Kept>>,
    touched_ms: Vec<i64>,
    groups: Vec<u32>,
    changes: RowChanges,
    bytes: usize,
    common: KeptRows,
}

#[derive(Debug, Clone)]
struct Kept {
    /// The upsert key, or the whole row.
    identity: Box<[u8]>,
    row: RowBytes,
}

impl UpsertMaterialize {
    /// `output` has the columns of `input`.
    ///
    /// Errors: a column of a type that cannot be kept.
    pub fn new(node: &UpsertMaterializeNode, input: SchemaRef, output: SchemaRef) -> Result<Self> {
        let types: Vec<_> = node.keys.iter().map(|c| input.field(*c).data_type().clone()).collect();
        let upsert_key = match node.upsert_key.is_empty() {
            true => (0..input.fields().len()).collect(),
            false => node.upsert_key.clone(),
        };
        let identity = RowCodec::new(upsert_key.iter().map(|c| input.field(*c).data_type().clone()))?;
        Ok(Self {
            keys: node.keys.clone(),
            upsert_key,
            rows: RowCodec::of_schema(&input)?,
            identity,
            table: KeyTable::new(&types)?,
            kept: Vec::new(),
            touched_ms: Vec::new(),
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
        self.kept.resize(self.table.slots(), Vec::new());
        self.touched_ms.resize(self.table.slots(), 0);
        Ok(())
    }

    fn identities(&self, records: &RecordBatch) -> Result<arrow::row::Rows> {
        let columns: Vec<ArrayRef> = self.upsert_key.iter().map(|c| Arc::clone(records.column(*c))).collect();
        self.identity.encode(&columns)
    }
}

impl Operator for UpsertMaterialize {
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
        let identities = self.identities(records)?;
        let mut gone: Vec<u32> = Vec::new();
        for (row, group) in self.groups.iter().enumerate() {
            let kept = &mut self.kept[*group as usize];
            let touched = &mut self.touched_ms[*group as usize];
            if self.common.expired(*touched, context.now_ms) {
                kept.clear();
            }
            *touched = context.now_ms;
            let identity = identities.row(row).data();
            let known = kept.iter().position(|k| k.identity.as_ref() == identity);
            let bytes: RowBytes = Arc::from(encoded.row(row).data());
            if batch.kind(row).is_addition() {
                let by_key = self.upsert_key.len() < self.input.fields().len();
                let kind = if kept.is_empty() { RowKind::Insert } else { RowKind::UpdateAfter };
                self.changes.push(kind, &bytes, 0);
                self.bytes += bytes.len() + identity.len();
                let new = Kept { identity: identity.into(), row: bytes };
                match known.filter(|_| by_key).and_then(|at| kept.get_mut(at)) {
                    Some(old) => *old = new,
                    None => kept.push(new),
                }
                continue;
            }
            // A row that is not there was too old, or never came.
            let Some(at) = known else { continue };
            let was_last = at + 1 == kept.len();
            let removed = kept.remove(at);
            self.bytes = self.bytes.saturating_sub(removed.row.len() + removed.identity.len());
            match kept.last() {
                None => {
                    self.changes.push(RowKind::Delete, &bytes, 0);
                    gone.push(*group);
                }
                Some(last) if was_last => self.changes.push(RowKind::UpdateAfter, &last.row, 0),
                Some(_) => {}
            }
        }
        gone.retain(|g| self.kept[*g as usize].is_empty());
        self.table.remove(gone);
        match self.changes.take(&self.rows, &self.output, false)? {
            Some(changes) => out.emit(changes),
            None => Ok(()),
        }
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        let width = self.input.fields().len();
        let mut all: Vec<(u32, i64, Kept)> = Vec::new();
        while let Some(part) = state.next_rows()? {
            let columns = kept_rows::columns(&part, ROWS, width + 1)?;
            let schema = kept_rows::schema(&self.input, &[]);
            let records = kept_rows::records(&schema, &columns[..width], part.rows.num_rows())?;
            let numbers = columns[width].as_primitive::<Int64Type>();
            self.intern(&records)?;
            let encoded = self.rows.encode(records.columns())?;
            let identities = self.identities(&records)?;
            for (row, group) in self.groups.iter().enumerate() {
                let row_bytes: RowBytes = Arc::from(encoded.row(row).data());
                self.bytes += row_bytes.len();
                let kept = Kept { identity: identities.row(row).data().into(), row: row_bytes };
                all.push((*group, numbers.value(row), kept));
            }
        }
        all.sort_by_key(|(_, number, _)| *number);
        for (group, _, kept) in all {
            self.touched_ms[group as usize] = self.common.opened_ms();
            self.kept[group as usize].push(kept);
        }
        Ok(())
    }

    fn snapshot(&mut self, _: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        out.full();
        let schema = kept_rows::schema(&self.input, &[NUMBER]);
        let all: Vec<(&RowBytes, i64)> = self
            .table
            .groups()
            .flat_map(|g| self.kept[g as usize].iter().zip(0i64..).map(|(k, n)| (&k.row, n)))
            .collect();
        for part in all.chunks(MAX_BATCH_ROWS) {
            let mut columns = self.rows.decode(part.iter().map(|(r, _)| r.as_ref()))?;
            columns.push(Arc::new(Int64Array::from_iter_values(part.iter().map(|(_, n)| *n))));
            let records = kept_rows::records(&schema, &columns, part.len())?;
            out.rows(self.common.state_rows(ROWS, records, &self.keys)?);
        }
        Ok(SnapshotProgress::Done)
    }

    fn status(&self) -> OperatorStatus {
        OperatorStatus { state_bytes: (self.bytes + self.table.size()) as u64, ..OperatorStatus::default() }
    }
}
