//! FIRST_VALUE and LAST_VALUE as aggregates: in the order of arrival, NULLs left out.

use super::fold::Fold;
use super::value::{Lists, Value, open_lists};
use crate::error::Result;
use crate::state::column::Codec;
use arrow::array::ArrayRef;
use std::collections::VecDeque;

/// The first or last value of rows that stay.
pub(super) struct FirstLast<V: Value, const LAST: bool> {
    codec: Codec,
    values: Vec<Option<V::Owned>>,
    /// Bytes of all of them on the heap.
    heap: usize,
}

impl<V: Value, const LAST: bool> FirstLast<V, LAST> {
    pub(super) fn new(codec: Codec) -> Self {
        Self { codec, values: Vec::new(), heap: 0 }
    }
}

impl<V: Value, const LAST: bool> Fold for FirstLast<V, LAST> {
    type Input = V::Array;
    type Output = V::Builder;

    const IN_TIME_ORDER: bool = true;

    fn bind(&self, values: &[ArrayRef]) -> Result<V::Array> {
        Ok(V::array(&self.codec.encode(&values[0])?))
    }

    fn resize(&mut self, groups: usize) {
        self.values.resize(groups.max(self.values.len()), None);
    }

    fn add(&mut self, group: usize, input: &V::Array, row: usize) {
        let value = &mut self.values[group];
        if LAST || value.is_none() {
            let new = V::own(input, row);
            self.heap += V::heap(&new);
            self.heap -= value.replace(new).as_ref().map_or(0, V::heap);
        }
    }

    fn retract(&mut self, _: usize, _: &V::Array, _: usize) {
        // `accumulator` makes the other form where rows may be taken back.
    }

    fn clear(&mut self, group: usize) {
        self.heap -= self.values[group].take().as_ref().map_or(0, V::heap);
    }

    fn output(&self, capacity: usize) -> V::Builder {
        V::builder(capacity)
    }

    fn push(&self, group: usize, out: &mut V::Builder) {
        V::append(out, self.values[group].as_ref());
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
        self.values.len() * size_of::<Option<V::Owned>>() + self.heap
    }
}

/// The first or last value of rows that may be taken back: all values in the order of arrival. The earliest of
/// equal values is taken back, as in Flink.
pub(super) struct RetractableFirstLast<V: Value, const LAST: bool> {
    codec: Codec,
    values: Vec<VecDeque<V::Owned>>,
    /// Number of values in all groups.
    held: usize,
}

impl<V: Value, const LAST: bool> RetractableFirstLast<V, LAST> {
    pub(super) fn new(codec: Codec) -> Self {
        Self { codec, values: Vec::new(), held: 0 }
    }
}

impl<V: Value, const LAST: bool> Fold for RetractableFirstLast<V, LAST> {
    type Input = V::Array;
    type Output = V::Builder;

    const IN_TIME_ORDER: bool = true;

    fn bind(&self, values: &[ArrayRef]) -> Result<V::Array> {
        Ok(V::array(&self.codec.encode(&values[0])?))
    }

    fn resize(&mut self, groups: usize) {
        self.values.resize_with(groups.max(self.values.len()), VecDeque::new);
    }

    fn add(&mut self, group: usize, input: &V::Array, row: usize) {
        self.held += 1;
        self.values[group].push_back(V::own(input, row));
    }

    fn retract(&mut self, group: usize, input: &V::Array, row: usize) {
        let values = &mut self.values[group];
        if let Some(at) = values.iter().position(|v| V::compare(input, row, v).is_eq()) {
            values.remove(at);
            self.held -= 1;
        }
    }

    fn clear(&mut self, group: usize) {
        self.held -= std::mem::take(&mut self.values[group]).len();
    }

    fn output(&self, capacity: usize) -> V::Builder {
        V::builder(capacity)
    }

    fn push(&self, group: usize, out: &mut V::Builder) {
        let values = &self.values[group];
        V::append(out, if LAST { values.back() } else { values.front() });
    }

    fn finish(&self, out: V::Builder) -> Result<ArrayRef> {
        self.codec.decode(V::finish(out))
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut lists = Lists::<V>::new(groups.len());
        for group in groups {
            self.values[*group as usize].iter().for_each(|v| lists.append(Some(v)));
            lists.end();
        }
        Ok(vec![lists.finish(&self.codec)?])
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let (range, values) = open_lists(&states[0]);
        let values = V::array(&self.codec.encode(values)?);
        for (row, group) in groups.iter().enumerate() {
            self.held += range(row).len();
            self.values[*group as usize].extend(range(row).map(|i| V::own(&values, i)));
        }
        Ok(())
    }

    fn size(&self) -> usize {
        self.values.len() * 32 + self.held * (size_of::<V::Owned>() + V::HEAP)
    }
}
