//! Deduplication: the first or the last row of each key, by event time or as rows come.

use super::first_row::FirstRow;
use super::kept_columns::{self, KeptColumns, RowIndex};
use super::kept_rows::{KeptTable, ROWS};
use super::row_codec::RowCodec;
use super::rows::{batch, inserts_only, milliseconds, parts};
use super::segments::RowRef;
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::Result;
use crate::message::{ChangeBatch, RowKind};
use crate::plan::{DeduplicateNode, TimeAttribute};
use crate::state::{GroupStore, SnapshotProgress, StateReader, StateWriter};
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::row::Rows;
use std::sync::Arc;

/// Keeps one row of each key. By processing time the first row is told at once and never changes; in all other cases
/// a row that takes the place of another is told by `-U` and `+U`.
pub struct Deduplicate(Box<dyn Operator>);

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
        Ok(Self(match node.time {
            TimeAttribute::Proctime if !node.keep_last => Box::new(FirstRow::new(node, &input, output)?),
            _ => Box::new(OneRow::new(node, &input, output, update_before)?),
        }))
    }
}

impl Operator for Deduplicate {
    fn open(&mut self, context: &OpenContext) -> Result<()> {
        self.0.open(context)
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        self.0.restore(state)
    }

    fn snapshot(&mut self, checkpoint_id: u64, out: &mut StateWriter) -> Result<SnapshotProgress> {
        self.0.snapshot(checkpoint_id, out)
    }

    fn continue_snapshot(&mut self, out: &mut StateWriter) -> Result<SnapshotProgress> {
        self.0.continue_snapshot(out)
    }

    fn process(
        &mut self,
        input: usize,
        batch: ChangeBatch,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        self.0.process(input, batch, context, out)
    }

    fn status(&self) -> OperatorStatus {
        self.0.status()
    }
}

/// Keeps the row itself.
struct OneRow {
    keep_last: bool,
    update_before: bool,
    output: SchemaRef,
    store: GroupStore<KeptColumns<Kept>>,
    groups: Vec<u32>,
}

/// The row of each key, and what decides whether another takes its place.
struct Kept {
    rows: Vec<KeptRow>,
    /// Its compared columns, and the bytes of all. Empty where they do not matter.
    same: Vec<Box<[u8]>>,
    same_bytes: usize,
    order: Arc<Order>,
}

#[derive(Clone, Copy)]
struct KeptRow {
    /// `NULLS`: there is none.
    row: RowRef,
    /// Its event time; NULL is before all else.
    time: i64,
}

const NOTHING: KeptRow = KeptRow { row: RowRef::NULLS, time: i64::MIN };

/// What rows are ordered by.
enum Order {
    /// Event time in this column.
    Time(usize),
    /// As they come; those that are the same in these columns are not told again.
    Coming { compared: Vec<usize>, codec: RowCodec },
}

/// Of the rows of a batch, what `Order` asks for.
enum Beside {
    Times(Vec<i64>),
    Same(Rows),
}

impl Order {
    fn of(&self, records: &RecordBatch) -> Result<Beside> {
        match self {
            Self::Time(column) => {
                let times = milliseconds(records.column(*column))?;
                Ok(Beside::Times(match times.nulls() {
                    None => times.values().to_vec(),
                    Some(_) => times.iter().map(|t| t.unwrap_or(i64::MIN)).collect(),
                }))
            }
            Self::Coming { compared, codec } => {
                let columns: Vec<ArrayRef> =
                    compared.iter().map(|c| Arc::clone(records.column(*c))).collect();
                Ok(Beside::Same(codec.encode(&columns)?))
            }
        }
    }
}

impl Kept {
    /// Whether the row of a group is kept where row `at` comes.
    #[inline]
    fn stays(&self, group: u32, beside: &Beside, at: usize, keep_last: bool) -> bool {
        let kept = &self.rows[group as usize];
        kept.row != RowRef::NULLS
            && match beside {
                Beside::Times(times) if keep_last => times[at] < kept.time,
                Beside::Times(times) => times[at] >= kept.time,
                Beside::Same(same) => *self.same[group as usize] == *same.row(at).data(),
            }
    }

    /// Puts a row in the place of the one before. Gives that.
    #[inline]
    fn replace(&mut self, group: u32, row: RowRef, beside: &Beside, at: usize) -> Option<RowRef> {
        let time = match beside {
            Beside::Times(times) => times[at],
            Beside::Same(same) => {
                let new: Box<[u8]> = same.row(at).data().into();
                self.same_bytes += new.len();
                let before = std::mem::replace(&mut self.same[group as usize], new);
                self.same_bytes -= before.len();
                i64::MIN
            }
        };
        let before = std::mem::replace(&mut self.rows[group as usize], KeptRow { row, time });
        Some(before.row).filter(|row| *row != RowRef::NULLS)
    }
}

impl RowIndex for Kept {
    const MANY: bool = false;
    type Beside = Beside;

    fn fresh(&self) -> Self {
        Self { rows: Vec::new(), same: Vec::new(), same_bytes: 0, order: Arc::clone(&self.order) }
    }

    fn resize(&mut self, groups: usize) {
        self.rows.resize(groups, NOTHING);
        if let Order::Coming { .. } = *self.order {
            self.same.resize(groups, Box::from([]));
        }
    }

    fn beside(&self, records: &RecordBatch) -> Result<Beside> {
        self.order.of(records)
    }

    fn put(&mut self, group: u32, row: RowRef, beside: &Beside, at: usize) -> Option<RowRef> {
        self.replace(group, row, beside, at)
    }

    fn rows(&self, group: u32) -> impl Iterator<Item = RowRef> {
        std::iter::once(self.rows[group as usize].row)
    }

    fn rows_mut(&mut self) -> impl Iterator<Item = &mut RowRef> {
        self.rows.iter_mut().map(|kept| &mut kept.row)
    }

    fn clear(&mut self, group: u32) -> impl Iterator<Item = RowRef> + use<> {
        if let Some(same) = self.same.get_mut(group as usize) {
            self.same_bytes -= std::mem::take(same).len();
        }
        let gone = std::mem::replace(&mut self.rows[group as usize], NOTHING).row;
        Some(gone).filter(|row| *row != RowRef::NULLS).into_iter()
    }

    fn size(&self, _: usize) -> usize {
        self.rows.len() * self.group_size() + self.same_bytes
    }

    fn group_size(&self) -> usize {
        let same = if self.same.is_empty() { 0 } else { size_of::<Box<[u8]>>() };
        size_of::<KeptRow>() + same
    }
}

impl OneRow {
    fn new(
        node: &DeduplicateNode,
        input: &SchemaRef,
        output: SchemaRef,
        update_before: bool,
    ) -> Result<Self> {
        let order = match node.time {
            TimeAttribute::Rowtime { column } => Order::Time(column),
            TimeAttribute::Proctime => {
                let types = node.compared.iter().map(|c| input.field(*c).data_type().clone());
                Order::Coming { compared: node.compared.clone(), codec: RowCodec::new(types)? }
            }
        };
        let index = Kept { rows: Vec::new(), same: Vec::new(), same_bytes: 0, order: Arc::new(order) };
        let table = KeptTable::new(input, &node.keys, &[]);
        let types = table.key_types();
        Ok(Self {
            keep_last: node.keep_last,
            update_before,
            output,
            store: GroupStore::new(ROWS, &types, KeptColumns::new(input, table, index))?,
            groups: Vec::new(),
        })
    }

    /// Takes rows in, and tells which take another's place.
    fn add(&mut self, records: &RecordBatch, now_ms: i64, out: &mut dyn Collector) -> Result<()> {
        let rows = records.num_rows();
        let mut groups = std::mem::take(&mut self.groups);
        let keys = self.store.payload().table.key_columns(records);
        self.store.enter(&keys, rows, now_ms, &mut groups)?;
        let beside = self.store.payload().index.beside(records)?;
        let segment = self.store.payload_mut().rows.add(records.clone());
        let (mut told, mut kinds) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        // Rows that go may still have to be told.
        let mut gone = Vec::new();
        for (row, group) in groups.iter().enumerate() {
            let kept = &mut self.store.payload_mut().index;
            let new = segment.row(row);
            if kept.stays(*group, &beside, row, self.keep_last) {
                gone.push(new);
                continue;
            }
            let before = kept.replace(*group, new, &beside, row);
            self.store.change(*group, now_ms);
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
        let kept = self.store.payload_mut();
        gone.into_iter().for_each(|row| kept.rows.release(row));
        kept.tidy()?;
        self.store.settle(now_ms)
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
            self.store.payload().take(told)?
        };
        out.emit(ChangeBatch::new(batch(&self.output, columns, kinds.len())?, kinds))
    }
}

impl Operator for OneRow {
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
        parts(&input, most, |part| self.add(part.records(), context.now_ms, out))
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        kept_columns::restore(&mut self.store, state)
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
