//! The sessions of each key with their accumulators, as the payload of a `GroupStore`.

use super::aggregates::{self, Accumulators, Aggregates};
use super::local_time::LocalTime;
use super::rows::MAX_BATCH_ROWS;
use super::sessions::{Session, Sessions};
use super::snapshots::TableRows;
use crate::error::{Error, Result};
use crate::state::{Payload, SnapshotKind, StateRows};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{Field, Int64Type};
use std::sync::Arc;

/// State table of sessions: start, end, keys, states. A session takes the place of all earlier ones of its key
/// that it holds; those that closed since are left out at a restore by the progress told beside them.
pub(super) const SESSIONS: &str = "sessions";

/// Sessions in slots, and accumulators beside them.
pub(super) struct SessionState {
    pub(super) sessions: Sessions,
    pub(super) accumulators: Accumulators,
    aggregates: Arc<Aggregates>,
    local: LocalTime,
    pub(super) max_parallelism: usize,
    /// Open sessions on disk.
    on_disk: i64,
}

impl SessionState {
    /// No sessions.
    pub(super) fn new(gap: i64, local: LocalTime, aggregates: Arc<Aggregates>) -> Result<Self> {
        Ok(Self {
            sessions: Sessions::new(gap, local),
            accumulators: aggregates.make()?,
            aggregates,
            local,
            max_parallelism: 1,
            on_disk: 0,
        })
    }

    /// Number of open sessions, in memory and on disk.
    pub(super) fn open(&self) -> u64 {
        (self.sessions.len() as i64 + self.on_disk).max(0) as u64
    }

    /// The slots of `groups`, one group after the other, and how many each has.
    fn slots_of(&self, groups: &[u32]) -> (Vec<u32>, Vec<usize>) {
        let of = |group: &u32| self.sessions.of_key(*group);
        (groups.iter().flat_map(of).copied().collect(), groups.iter().map(|g| of(g).len()).collect())
    }

    fn times(&self, slots: &[u32]) -> [ArrayRef; 2] {
        let column = |time: fn(Session) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(slots.iter().map(|s| time(self.sessions.session(*s)))))
        };
        [column(|s| s.start), column(|s| s.end)]
    }
}

impl Payload for SessionState {
    fn resize(&mut self, _: usize) {}

    /// Lists: starts, ends, states.
    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let (slots, lengths) = self.slots_of(groups);
        let mut columns = self.times(&slots).to_vec();
        columns.extend(aggregates::states(&self.accumulators, &slots)?);
        let offsets = OffsetBuffer::from_lengths(lengths);
        let list = |values: ArrayRef| {
            let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
            Ok(Arc::new(ListArray::try_new(field, offsets.clone(), values, None::<NullBuffer>)?) as ArrayRef)
        };
        columns.into_iter().map(list).collect()
    }

    fn merge(&mut self, columns: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let mut values = Vec::with_capacity(columns.len());
        let mut keys: Vec<u32> = Vec::new();
        for (number, column) in columns.iter().enumerate() {
            let list = column.as_list::<i32>();
            let offsets = list.value_offsets();
            let (first, last) = (offsets[0] as usize, offsets[list.len()] as usize);
            values.push(list.values().slice(first, last - first));
            if number == 0 {
                let lengths = offsets.windows(2).map(|w| (w[1] - w[0]) as usize);
                keys = groups.iter().zip(lengths).flat_map(|(g, n)| std::iter::repeat_n(*g, n)).collect();
            }
        }
        let [starts, ends, states @ ..] = &values[..] else {
            return Err(Error::internal("Sessions have no times."));
        };
        let (starts, ends) = (starts.as_primitive::<Int64Type>(), ends.as_primitive::<Int64Type>());
        let session = |(row, key): (usize, &u32)| {
            self.sessions.open(Session { start: starts.value(row), end: ends.value(row), key: *key })
        };
        let slots: Vec<u32> = keys.iter().enumerate().map(session).collect();
        self.on_disk -= slots.len() as i64;
        aggregates::resize(&mut self.accumulators, self.sessions.slots());
        aggregates::merge(&mut self.accumulators, states, &slots)
    }

    fn clear(&mut self, group: u32) {
        let slots = self.sessions.drop_key(group);
        // A key without sessions is taken away; one with sessions goes elsewhere.
        self.on_disk += slots.len() as i64;
        for accumulator in &mut self.accumulators {
            slots.iter().for_each(|slot| accumulator.clear(*slot));
        }
    }

    fn size(&self) -> usize {
        self.sessions.size() + aggregates::size(&self.accumulators)
    }

    fn spare(&self, _: usize, _: usize) -> usize {
        let (slots, free) = (self.sessions.slots(), self.sessions.free_slots());
        (self.size() as u128 * free as u128).checked_div(slots as u128).unwrap_or(0) as usize
    }

    fn fresh(&self) -> Result<Self> {
        let mut fresh = Self::new(self.sessions.gap(), self.local, self.aggregates.clone())?;
        fresh.max_parallelism = self.max_parallelism;
        fresh.sessions.progress = self.sessions.progress;
        Ok(fresh)
    }

    fn inherit(&mut self, old: &mut Self) {
        self.on_disk += old.on_disk;
    }

    fn due(&self, group: u32) -> i64 {
        let ends = self.sessions.of_key(group).iter().map(|slot| self.sessions.session(*slot).end);
        ends.min().map_or(i64::MAX, |end| self.local.passed(end - 1))
    }

    fn rows(&self, groups: &[u32], keys: &[ArrayRef], _: SnapshotKind) -> Result<Option<Vec<StateRows>>> {
        let (slots, lengths) = self.slots_of(groups);
        let mut rows = TableRows::new(SESSIONS, 2, keys.len(), self.max_parallelism);
        let picks = lengths.iter().zip(0u32..).flat_map(|(n, row)| std::iter::repeat_n(row, *n));
        let picks: Vec<u32> = picks.collect();
        for (slots, picks) in slots.chunks(MAX_BATCH_ROWS).zip(picks.chunks(MAX_BATCH_ROWS)) {
            let mut columns = self.times(slots).to_vec();
            let picks = arrow::array::UInt32Array::from(picks.to_vec());
            for key in keys {
                columns.push(arrow::compute::take(key, &picks, None)?);
            }
            columns.extend(aggregates::states(&self.accumulators, slots)?);
            rows.add(columns);
        }
        rows.finish().map(|rows| Some(rows.into_iter().collect()))
    }

    fn deleted(&self, _: &[ArrayRef]) -> Result<Option<Vec<StateRows>>> {
        Ok(Some(Vec::new()))
    }
}
