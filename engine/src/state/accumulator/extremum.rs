//! MIN and MAX: the best value alone where rows only come, all values where they may go.

use super::fold::Fold;
use super::value::{Fixed, Lists, Total, Value, open_lists};
use crate::error::Result;
use crate::state::column::Codec;
use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int64Type};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// MIN or MAX of rows that stay.
pub(super) struct Extremum<V: Value, const MAX: bool> {
    codec: Codec,
    best: Vec<Option<V::Owned>>,
    /// Bytes of all of them on the heap.
    heap: usize,
}

impl<V: Value, const MAX: bool> Extremum<V, MAX> {
    const BETTER: Ordering = if MAX { Ordering::Greater } else { Ordering::Less };

    pub(super) fn new(codec: Codec) -> Self {
        Self { codec, best: Vec::new(), heap: 0 }
    }
}

impl<V: Value, const MAX: bool> Fold for Extremum<V, MAX> {
    type Input = V::Array;
    type Output = V::Builder;

    fn bind(&self, values: &[ArrayRef]) -> Result<V::Array> {
        Ok(V::array(&self.codec.encode(&values[0])?))
    }

    fn resize(&mut self, groups: usize) {
        self.best.resize(groups.max(self.best.len()), None);
    }

    #[inline]
    fn add(&mut self, group: usize, input: &V::Array, row: usize) {
        let best = &mut self.best[group];
        if best.as_ref().is_none_or(|b| V::compare(input, row, b) == Self::BETTER) {
            let new = V::own(input, row);
            self.heap += V::heap(&new);
            self.heap -= best.replace(new).as_ref().map_or(0, V::heap);
        }
    }

    fn retract(&mut self, _: usize, _: &V::Array, _: usize) {
        // `accumulator` makes the other form where rows may be taken back.
    }

    fn clear(&mut self, group: usize) {
        self.heap -= self.best[group].take().as_ref().map_or(0, V::heap);
    }

    fn output(&self, capacity: usize) -> V::Builder {
        V::builder(capacity)
    }

    #[inline]
    fn push(&self, group: usize, out: &mut V::Builder) {
        V::append(out, self.best[group].as_ref());
    }

    fn finish(&self, out: V::Builder) -> Result<ArrayRef> {
        self.codec.decode(V::finish(out))
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut out = self.output(groups.len());
        groups.iter().for_each(|g| self.push(*g as usize, &mut out));
        Ok(vec![self.finish(out)?])
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let input = self.bind(states)?;
        for (row, group) in groups.iter().enumerate().filter(|(row, _)| !V::is_null(&input, *row)) {
            self.add(*group as usize, &input, row);
        }
        Ok(())
    }

    fn size(&self) -> usize {
        self.best.len() * size_of::<Option<V::Owned>>() + self.heap
    }
}

/// MIN or MAX of rows that may be taken back: how often each value is there.
pub(super) struct RetractableExtremum<V: Value, const MAX: bool> {
    codec: Codec,
    values: Vec<BTreeMap<V::Owned, i64>>,
    /// Number of values in all groups.
    held: usize,
}

impl<V: Value, const MAX: bool> RetractableExtremum<V, MAX> {
    pub(super) fn new(codec: Codec) -> Self {
        Self { codec, values: Vec::new(), held: 0 }
    }

    fn put(&mut self, group: usize, value: V::Owned, count: i64) {
        let values = &mut self.values[group];
        match values.entry(value) {
            Entry::Vacant(entry) => {
                entry.insert(count);
                self.held += 1;
            }
            Entry::Occupied(mut entry) => {
                *entry.get_mut() += count;
                if *entry.get() == 0 {
                    entry.remove();
                    self.held -= 1;
                }
            }
        }
    }
}

impl<V: Value, const MAX: bool> Fold for RetractableExtremum<V, MAX> {
    type Input = V::Array;
    type Output = V::Builder;

    fn bind(&self, values: &[ArrayRef]) -> Result<V::Array> {
        Ok(V::array(&self.codec.encode(&values[0])?))
    }

    fn resize(&mut self, groups: usize) {
        self.values.resize_with(groups.max(self.values.len()), BTreeMap::new);
    }

    fn add(&mut self, group: usize, input: &V::Array, row: usize) {
        self.put(group, V::own(input, row), 1);
    }

    fn retract(&mut self, group: usize, input: &V::Array, row: usize) {
        self.put(group, V::own(input, row), -1);
    }

    fn clear(&mut self, group: usize) {
        self.held -= std::mem::take(&mut self.values[group]).len();
    }

    fn output(&self, capacity: usize) -> V::Builder {
        V::builder(capacity)
    }

    fn push(&self, group: usize, out: &mut V::Builder) {
        // A count below zero waits for the row that was taken back before it came.
        let mut there = self.values[group].iter().filter(|(_, count)| **count > 0).map(|(value, _)| value);
        V::append(out, if MAX { there.next_back() } else { there.next() });
    }

    fn finish(&self, out: V::Builder) -> Result<ArrayRef> {
        self.codec.decode(V::finish(out))
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        counted_state::<V>(&self.codec, groups.iter().map(|g| &self.values[*g as usize]))
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let (range, values) = open_lists(&states[0]);
        let values = V::array(&self.codec.encode(values)?);
        let counts = states[1].as_list::<i32>().values().as_primitive::<Int64Type>();
        for (row, group) in groups.iter().enumerate() {
            for i in range(row) {
                self.put(*group as usize, V::own(&values, i), counts.value(i));
            }
        }
        Ok(())
    }

    fn size(&self) -> usize {
        counted_size::<V>(self.values.len(), self.held)
    }
}

/// Values with their counts as two columns of lists.
pub(super) fn counted_state<'a, V: Value>(
    codec: &Codec,
    groups: impl ExactSizeIterator<Item = &'a BTreeMap<V::Owned, i64>>,
) -> Result<Vec<ArrayRef>> {
    let mut values = Lists::<V>::new(groups.len());
    let mut counts = Lists::<Fixed<Int64Type>>::new(groups.len());
    for group in groups {
        for (value, count) in group {
            values.append(Some(value));
            counts.append(Some(&Total(*count)));
        }
        values.end();
        counts.end();
    }
    Ok(vec![values.finish(codec)?, counts.finish(&Codec::new(&DataType::Int64)?)?])
}

/// Bytes of `held` counted values in `groups` groups, estimated: of each, the tree keeps about three words besides.
pub(super) fn counted_size<V: Value>(groups: usize, held: usize) -> usize {
    groups * 24 + held * (24 + size_of::<V::Owned>() + V::HEAP)
}
