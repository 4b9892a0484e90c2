//! DISTINCT around any aggregate: only the first of equal rows of a group reaches it.

use super::fold::selection;
use super::{Accumulator, Changes};
use crate::error::Result;
use crate::state::KeyTable;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, ListArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Int64Type};
use std::sync::Arc;

/// No pair: the end of a chain.
const NONE: u32 = u32::MAX;

/// The pair is in no chain.
const ABSENT: u32 = u32::MAX - 1;

/// How often each pair of a group and its argument values is there, in one table for all groups; the pairs of a
/// group are chained, so that a group can be cleared.
pub(super) struct Distinct {
    inner: Box<dyn Accumulator>,
    pairs: KeyTable,
    /// The next pair of the group of each; `ABSENT` for those that are not there.
    after: Vec<u32>,
    heads: Vec<u32>,
    /// Where rows may be taken back. Else a pair that has come stays.
    counted: Option<Counted>,
}

/// What taking pairs back needs to know of each.
#[derive(Default)]
struct Counted {
    counts: Vec<i64>,
    groups: Vec<u32>,
    before: Vec<u32>,
}

impl Distinct {
    pub(super) fn new(
        inner: Box<dyn Accumulator>,
        argument_types: &[DataType],
        retracts: bool,
    ) -> Result<Self> {
        let types: Vec<DataType> =
            std::iter::once(DataType::Int32).chain(argument_types.iter().cloned()).collect();
        Ok(Self {
            inner,
            pairs: KeyTable::new(&types)?,
            after: Vec::new(),
            heads: Vec::new(),
            counted: retracts.then(Counted::default),
        })
    }

    fn intern(&mut self, values: &[ArrayRef], groups: &[u32]) -> Result<Vec<u32>> {
        let group: ArrayRef = Arc::new(Int32Array::from_iter_values(groups.iter().map(|g| *g as i32)));
        let keys: Vec<ArrayRef> = std::iter::once(group).chain(values.iter().cloned()).collect();
        let mut pairs = Vec::new();
        self.pairs.intern(&keys, groups.len(), &mut pairs)?;
        let slots = self.pairs.slots();
        self.after.resize(slots, ABSENT);
        if let Some(counted) = &mut self.counted {
            counted.counts.resize(slots, 0);
            counted.groups.resize(slots, 0);
            counted.before.resize(slots, NONE);
        }
        Ok(pairs)
    }

    /// Takes in those of the rows that count. Which of all rows are the first of their pair.
    fn take_in(
        &mut self,
        values: &[ArrayRef],
        groups: &[u32],
        filter: Option<&BooleanArray>,
    ) -> Result<BooleanArray> {
        let Some(selected) = selection(values, filter, self.inner.skips_nulls()) else {
            let pairs = self.intern(values, groups)?;
            let new = pairs.iter().zip(groups).map(|(pair, group)| self.put(*pair, *group, 1));
            return Ok(BooleanArray::from(new.collect::<Vec<_>>()));
        };
        let rows = UInt32Array::from_iter_values(selected.set_indices().map(|row| row as u32));
        let columns = values.iter().map(|v| Ok(take(v, &rows, None)?)).collect::<Result<Vec<_>>>()?;
        let picked: Vec<u32> = rows.values().iter().map(|row| groups[*row as usize]).collect();
        let pairs = self.intern(&columns, &picked)?;
        let mut new = vec![false; groups.len()];
        for ((pair, group), row) in pairs.iter().zip(&picked).zip(rows.values()) {
            new[*row as usize] = self.put(*pair, *group, 1);
        }
        Ok(BooleanArray::from(new))
    }

    /// Adds `count` of a pair. Whether it was not there before.
    #[inline]
    fn put(&mut self, pair: u32, group: u32, count: i64) -> bool {
        let at = pair as usize;
        if let Some(counted) = &mut self.counted {
            counted.counts[at] += count;
        }
        if self.after[at] != ABSENT {
            return false;
        }
        let head = std::mem::replace(&mut self.heads[group as usize], pair);
        self.after[at] = head;
        if let Some(counted) = &mut self.counted {
            (counted.groups[at], counted.before[at]) = (group, NONE);
            if head != NONE {
                counted.before[head as usize] = pair;
            }
        }
        true
    }

    /// Takes one of a pair back. Whether none is left.
    fn take_back(&mut self, pair: u32) -> bool {
        let at = pair as usize;
        // One that is not there was taken back without having come.
        let Some(counted) = self.counted.as_mut().filter(|_| self.after[at] != ABSENT) else { return false };
        counted.counts[at] -= 1;
        if counted.counts[at] != 0 {
            return false;
        }
        let (before, after) = (counted.before[at], std::mem::replace(&mut self.after[at], ABSENT));
        match before {
            NONE => self.heads[counted.groups[at] as usize] = after,
            _ => self.after[before as usize] = after,
        }
        if after != NONE {
            counted.before[after as usize] = before;
        }
        true
    }

    fn chain(&self, group: u32) -> impl Iterator<Item = u32> + '_ {
        let next = |pair: &u32| Some(self.after[*pair as usize]).filter(|p| *p != NONE);
        std::iter::successors(Some(self.heads[group as usize]).filter(|p| *p != NONE), next)
    }

    /// Empties the chain of `group`; the pairs stay in the table.
    fn drop_chain(&mut self, group: u32) -> Vec<u32> {
        let dropped: Vec<u32> = self.chain(group).collect();
        for pair in &dropped {
            self.after[*pair as usize] = ABSENT;
            if let Some(counted) = &mut self.counted {
                counted.counts[*pair as usize] = 0;
            }
        }
        self.heads[group as usize] = NONE;
        dropped
    }
}

impl Accumulator for Distinct {
    fn resize(&mut self, groups: usize) {
        self.inner.resize(groups);
        self.heads.resize(groups.max(self.heads.len()), NONE);
    }

    fn update(&mut self, values: &[ArrayRef], groups: &[u32], filter: Option<&BooleanArray>) -> Result<()> {
        let new = self.take_in(values, groups, filter)?;
        self.inner.update(values, groups, Some(&new))
    }

    fn advance(
        &mut self,
        values: &[ArrayRef],
        groups: &[u32],
        filter: Option<&BooleanArray>,
    ) -> Result<ArrayRef> {
        let new = self.take_in(values, groups, filter)?;
        self.inner.advance(values, groups, Some(&new))
    }

    fn change(
        &mut self,
        values: &[ArrayRef],
        groups: &[u32],
        changes: Changes<'_>,
        filter: Option<&BooleanArray>,
    ) -> Result<(ArrayRef, ArrayRef)> {
        let selected = selection(values, filter, self.inner.skips_nulls());
        let pairs = self.intern(values, groups)?;
        let mut signs = vec![0; groups.len()];
        for (row, (pair, group)) in pairs.iter().zip(groups).enumerate() {
            if selected.as_ref().is_none_or(|s| s.value(row)) {
                signs[row] = match changes.signs[row] {
                    1 => i8::from(self.put(*pair, *group, 1)),
                    -1 => -i8::from(self.take_back(*pair)),
                    _ => 0,
                };
            }
            if !changes.clears.is_empty() && changes.clears[row] {
                let dropped = self.drop_chain(*group);
                // Pairs of rows to come in this batch are already interned and stay until its end.
                let late = dropped.into_iter().filter(|p| !pairs.contains(p)).collect::<Vec<_>>();
                self.pairs.remove(late);
            }
        }
        let gone = pairs.iter().copied().filter(|p| self.after[*p as usize] == ABSENT);
        self.pairs.remove(gone.collect::<Vec<_>>());
        self.inner.change(values, groups, Changes { signs: &signs, clears: changes.clears }, None)
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        self.inner.evaluate(groups)
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut ends = vec![0];
        let mut pairs: Vec<u32> = Vec::new();
        for group in groups {
            let start = pairs.len();
            pairs.extend(self.chain(*group));
            // The chain has the last one first.
            pairs[start..].reverse();
            ends.push(pairs.len() as i32);
        }
        let counts = pairs.iter().map(|p| self.counted.as_ref().map_or(1, |c| c.counts[*p as usize]));
        let mut columns = self.pairs.keys(&pairs)?;
        columns.remove(0);
        columns.push(Arc::new(Int64Array::from_iter_values(counts)));
        let offsets = OffsetBuffer::new(ends.into());
        let list = |values: ArrayRef| {
            let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
            Ok(Arc::new(ListArray::try_new(field, offsets.clone(), values, None)?) as ArrayRef)
        };
        columns.into_iter().map(list).collect()
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let Some((counts, values)) = states.split_last() else { return Ok(()) };
        let counts = counts.as_list::<i32>();
        let (first, last) =
            (counts.value_offsets()[0] as usize, counts.value_offsets()[counts.len()] as usize);
        let values: Vec<ArrayRef> =
            values.iter().map(|v| v.as_list::<i32>().values().slice(first, last - first)).collect();
        let lengths = counts.value_offsets().windows(2).map(|w| (w[1] - w[0]) as usize);
        let groups: Vec<u32> =
            groups.iter().zip(lengths).flat_map(|(g, n)| std::iter::repeat_n(*g, n)).collect();
        let counts = counts.values().as_primitive::<Int64Type>().values();
        let pairs = self.intern(&values, &groups)?;
        let new = pairs.iter().zip(&groups).zip(&counts[first..last]);
        let new = new.map(|((pair, group), count)| self.put(*pair, *group, *count)).collect::<Vec<_>>();
        self.inner.update(&values, &groups, Some(&BooleanArray::from(new)))
    }

    fn clear(&mut self, group: u32) {
        let dropped = self.drop_chain(group);
        self.pairs.remove(dropped);
        self.inner.clear(group);
    }

    fn skips_nulls(&self) -> bool {
        self.inner.skips_nulls()
    }

    fn merges_in_time_order(&self) -> bool {
        self.inner.merges_in_time_order()
    }

    fn size(&self) -> usize {
        let counted = if self.counted.is_some() { 16 } else { 0 };
        self.inner.size() + self.pairs.size() + self.after.len() * (4 + counted) + self.heads.len() * 4
    }
}
