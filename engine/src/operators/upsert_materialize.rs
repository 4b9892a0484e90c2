//! The last row of each key of a sink, out of changes that have another key.

use super::kept_groups::{Bytes, KeptGroup, KeptGroups, NUMBERS, put_bytes};
use super::kept_rows::{KeptTable, ROWS};
use super::row_codec::{RowBytes, RowChanges, RowCodec};
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::Result;
use crate::message::{ChangeBatch, RowKind};
use crate::plan::UpsertMaterializeNode;
use crate::state::{GroupStore, SnapshotProgress, StateReader, StateWriter};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

/// Name of the number of a row in its key, in checkpoints.
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
    store: GroupStore<KeptGroups<Rows>>,
    groups: Vec<u32>,
    changes: RowChanges,
}

#[derive(Debug, Clone)]
struct Kept {
    /// The upsert key, or the whole row.
    identity: Box<[u8]>,
    row: RowBytes,
}

impl Kept {
    fn size(&self) -> usize {
        self.identity.len() + self.row.len() + size_of::<Self>() + 16
    }
}

/// The rows of a key.
#[derive(Default)]
struct Rows(Vec<Kept>);

impl KeptGroup for Rows {
    const MANY: bool = true;

    fn size(&self) -> usize {
        self.0.iter().map(Kept::size).sum()
    }

    fn write(&self, into: &mut Vec<u8>) {
        for kept in &self.0 {
            put_bytes(into, &kept.identity);
            put_bytes(into, &kept.row);
        }
    }

    fn read(from: &mut Bytes<'_>) -> Option<Self> {
        let mut rows = Vec::new();
        while !from.0.is_empty() {
            rows.push(Kept { identity: from.bytes()?.into(), row: Arc::from(from.bytes()?) });
        }
        Some(Self(rows))
    }

    fn rows<'a>(&'a self, found: &mut dyn FnMut(&'a [u8], [Option<i64>; NUMBERS])) {
        self.0.iter().zip(0..).for_each(|(kept, number)| found(&kept.row, [Some(number), None]));
    }
}

impl UpsertMaterialize {
    /// `output` has the columns of `input`.
    ///
    /// Errors: a column of a type that cannot be kept.
    pub fn new(node: &UpsertMaterializeNode, input: SchemaRef, output: SchemaRef) -> Result<Self> {
        let table = KeptTable::new(&input, &node.keys, &[NUMBER]);
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
            store: GroupStore::new(ROWS, &table.key_types(), KeptGroups::new(&input, table)?)?,
            groups: Vec::new(),
            changes: RowChanges::default(),
            input,
            output,
        })
    }

    fn identities(&self, records: &RecordBatch) -> Result<arrow::row::Rows> {
        let columns: Vec<ArrayRef> = self.upsert_key.iter().map(|c| Arc::clone(records.column(*c))).collect();
        self.identity.encode(&columns)
    }
}

impl Operator for UpsertMaterialize {
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
        self.store.touch(&keys, records.num_rows(), context.now_ms, &mut self.groups)?;
        let encoded = self.rows.encode(records.columns())?;
        let identities = self.identities(records)?;
        for (row, group) in self.groups.iter().enumerate() {
            let all = self.store.payload_mut();
            let kept = &mut all.groups[*group as usize].0;
            let identity = identities.row(row).data();
            let known = kept.iter().position(|k| k.identity.as_ref() == identity);
            let bytes: RowBytes = Arc::from(encoded.row(row).data());
            if batch.kind(row).is_addition() {
                let by_key = self.upsert_key.len() < self.input.fields().len();
                let kind = if kept.is_empty() { RowKind::Insert } else { RowKind::UpdateAfter };
                self.changes.push(kind, &bytes, 0);
                let new = Kept { identity: identity.into(), row: bytes };
                let mut grown = new.size() as isize;
                match known.filter(|_| by_key).and_then(|at| kept.get_mut(at)) {
                    Some(old) => grown -= std::mem::replace(old, new).size() as isize,
                    None => kept.push(new),
                }
                all.grew(grown);
                continue;
            }
            // A row that is not there was too old, or never came.
            let Some(at) = known else { continue };
            let was_last = at + 1 == kept.len();
            let removed = kept.remove(at);
            match kept.last() {
                None => self.changes.push(RowKind::Delete, &bytes, 0),
                Some(last) if was_last => self.changes.push(RowKind::UpdateAfter, &last.row, 0),
                Some(_) => {}
            }
            all.grew(-(removed.size() as isize));
        }
        let kept = &self.store.payload().groups;
        let empty: Vec<u32> =
            self.groups.iter().copied().filter(|g| kept[*g as usize].0.is_empty()).collect();
        self.store.remove(empty)?;
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
            let identities = self.identities(&back.records)?;
            for (row, group) in back.groups.iter().enumerate() {
                let all = self.store.payload_mut();
                let row_bytes: RowBytes = Arc::from(encoded.row(row).data());
                let kept = Kept { identity: identities.row(row).data().into(), row: row_bytes };
                all.grew(kept.size() as isize);
                // They come in the order of their numbers.
                all.groups[*group as usize].0.push(kept);
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
