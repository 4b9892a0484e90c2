//! Top-N over inserts: the best rows of each partition so far as a list, the rows themselves as columns.

use super::kept_columns::{self, KeptColumns};
use super::kept_rows::{KeptTable, ROWS};
use super::ranked_rows::{Lists, Ranked, SortKey};
use super::rows::{MAX_BATCH_ROWS, batch, inserts_only, parts};
use super::segments::RowRef;
use super::top_n::NUMBERS;
use super::{Collector, OpenContext, Operator, OperatorContext, OperatorStatus};
use crate::error::Result;
use crate::message::{ChangeBatch, RowKind};
use crate::plan::TopNNode;
use crate::state::{GroupStore, SnapshotProgress, StateReader, StateWriter};
use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

/// See `TopN`. Rows come only, and the last rank is the same for all partitions.
pub(super) struct ListTopN {
    start: u64,
    end: u64,
    rank_number: bool,
    update_before: bool,
    output: SchemaRef,
    store: GroupStore<KeptColumns<Lists>>,
    groups: Vec<u32>,
    changes: Changes,
}

/// What is about to be told.
#[derive(Default)]
struct Changes {
    kinds: Vec<RowKind>,
    rows: Vec<RowRef>,
    ranks: Vec<i64>,
    /// Rows that are kept no more, once all is told.
    gone: Vec<RowRef>,
}

impl ListTopN {
    /// As `TopN::new`; `end` is the last rank.
    pub(super) fn new(
        node: &TopNNode,
        end: u64,
        input: SchemaRef,
        output: SchemaRef,
        update_before: bool,
    ) -> Result<Self> {
        let index = Lists::new(&node.order, &input)?;
        let table = KeptTable::new(&input, &node.partition, &NUMBERS);
        let types = table.key_types();
        Ok(Self {
            start: node.start,
            end,
            rank_number: node.rank_number,
            update_before,
            output,
            store: GroupStore::new(ROWS, &types, KeptColumns::new(&input, table, index))?,
            groups: Vec::new(),
            changes: Changes::default(),
        })
    }

    fn tell(&mut self, kind: RowKind, row: RowRef, rank: u64) {
        if (self.start..=self.end).contains(&rank) {
            self.changes.kinds.push(kind);
            self.changes.rows.push(row);
            self.changes.ranks.push(rank as i64);
        }
    }

    fn update(&mut self, before: RowRef, after: RowRef, rank: u64) {
        if self.update_before {
            self.tell(RowKind::UpdateBefore, before, rank);
        }
        self.tell(RowKind::UpdateAfter, after, rank);
    }

    /// Puts a row at `at` of the list of `group`, and tells what that changes.
    fn insert(&mut self, group: u32, at: usize, key: SortKey, row: RowRef) {
        let mut ranked = std::mem::take(self.ranked(group));
        let full = ranked.len() as u64 >= self.end;
        if self.end == 1 && self.start == 1 {
            match ranked.first() {
                None => self.tell(RowKind::Insert, row, 1),
                Some(best) => self.update(best.row, row, 1),
            }
        } else if self.rank_number || self.start > 1 {
            let (mut rank, mut current) = (at as u64 + 1, row);
            for next in &ranked[at..] {
                if rank > self.end {
                    break;
                }
                self.update(next.row, current, rank);
                current = next.row;
                rank += 1;
            }
            if rank <= self.end {
                self.tell(RowKind::Insert, current, rank);
            }
        } else {
            if let Some(last) = ranked.last().filter(|_| full) {
                self.tell(RowKind::Delete, last.row, self.end);
            }
            self.tell(RowKind::Insert, row, self.end);
        }
        if full && let Some(last) = ranked.pop() {
            self.changes.gone.push(last.row);
        }
        ranked.insert(at, Ranked { key, row });
        *self.ranked(group) = ranked;
    }

    fn ranked(&mut self, group: u32) -> &mut Vec<Ranked> {
        &mut self.store.payload_mut().index.ranked[group as usize]
    }

    /// Passes on what was told.
    fn flush(&mut self, out: &mut dyn Collector) -> Result<()> {
        let kinds = std::mem::take(&mut self.changes.kinds);
        if kinds.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.changes.rows);
        let ranks = std::mem::take(&mut self.changes.ranks);
        let mut columns = self.store.payload().take(&rows)?;
        if self.rank_number {
            columns.push(Arc::new(Int64Array::from(ranks)));
        }
        out.emit(ChangeBatch::new(batch(&self.output, columns, kinds.len())?, kinds))
    }
}

impl ListTopN {
    /// Ranks rows.
    fn add(&mut self, records: &RecordBatch, now_ms: i64, out: &mut dyn Collector) -> Result<()> {
        let mut groups = std::mem::take(&mut self.groups);
        let keys = self.store.payload().table.key_columns(records);
        self.store.enter(&keys, records.num_rows(), now_ms, &mut groups)?;
        let kept = self.store.payload_mut();
        let (sort, inline) = (kept.index.sort.encode(records)?, kept.index.inline);
        let segment = kept.rows.add(records.clone());
        for (row, group) in groups.iter().enumerate() {
            let kept = self.store.payload_mut();
            let ranked = &kept.index.ranked[*group as usize];
            let key = SortKey::new(sort.get(row), inline);
            let full = ranked.len() as u64 >= self.end;
            // Most rows of a long stream rank too low.
            if full && ranked.last().is_none_or(|worst| key >= worst.key) {
                kept.rows.release(segment.row(row));
                continue;
            }
            let at = ranked.partition_point(|r| r.key <= key);
            self.insert(*group, at, key, segment.row(row));
            self.store.change(*group, now_ms);
            if self.changes.kinds.len() >= MAX_BATCH_ROWS {
                self.flush(out)?;
            }
        }
        self.groups = groups;
        self.flush(out)?;
        let kept = self.store.payload_mut();
        std::mem::take(&mut self.changes.gone).into_iter().for_each(|row| kept.rows.release(row));
        kept.tidy()?;
        self.store.settle(now_ms)
    }
}

impl Operator for ListTopN {
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
        inserts_only(&input, "A Top-N that was planned for inserts")?;
        let most = self.store.rows_at_once();
        parts(&input, most, |part| self.add(part.records(), context.now_ms, out))
    }

    fn restore(&mut self, state: &mut dyn StateReader) -> Result<()> {
        // Rows of a partition come in order.
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
