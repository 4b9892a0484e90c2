//! SINGLE_VALUE: the value of the only row. A subquery that stands for a value is aggregated with it.

use super::fold::Fold;
use super::value::{Lists, Value, open_lists};
use crate::error::{Error, Result};
use crate::state::column::Codec;
use arrow::array::ArrayRef;

/// The value of the only row of each group; that there is another is an error.
pub(super) struct SingleValue<V: Value> {
    codec: Codec,
    /// The values of each group, NULLs too.
    values: Vec<Vec<Option<V::Owned>>>,
    /// Number of values in all groups.
    held: usize,
    /// Whether a group had two rows at a time.
    exceeded: bool,
}

impl<V: Value> SingleValue<V> {
    pub(super) fn new(codec: Codec) -> Self {
        Self { codec, values: Vec::new(), held: 0, exceeded: false }
    }

    fn check(&self) -> Result<()> {
        if !self.exceeded {
            return Ok(());
        }
        Err(Error::user("SingleValueAggFunction received more than one element.").with_hint(
            "A subquery that stands for a value may give one row: write MAX(x), LIMIT 1, or a join instead.",
        ))
    }
}

impl<V: Value> Fold for SingleValue<V> {
    type Input = V::Array;
    type Output = V::Builder;

    const SKIPS_NULLS: bool = false;

    fn bind(&self, values: &[ArrayRef]) -> Result<V::Array> {
        Ok(V::array(&self.codec.encode(&values[0])?))
    }

    fn resize(&mut self, groups: usize) {
        self.values.resize_with(groups.max(self.values.len()), Vec::new);
    }

    fn add(&mut self, group: usize, input: &V::Array, row: usize) {
        self.held += 1;
        let values = &mut self.values[group];
        values.push((!V::is_null(input, row)).then(|| V::own(input, row)));
        self.exceeded |= values.len() > 1;
    }

    fn retract(&mut self, group: usize, _: &V::Array, _: usize) {
        if self.values[group].pop().is_some() {
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
        V::append(out, self.values[group].first().and_then(|v| v.as_ref()));
    }

    fn finish(&self, out: V::Builder) -> Result<ArrayRef> {
        self.check()?;
        self.codec.decode(V::finish(out))
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        self.check()?;
        let mut lists = Lists::<V>::new(groups.len());
        for group in groups {
            self.values[*group as usize].iter().for_each(|v| lists.append(v.as_ref()));
            lists.end();
        }
        Ok(vec![lists.finish(&self.codec)?])
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let (range, values) = open_lists(&states[0]);
        let values = V::array(&self.codec.encode(values)?);
        for (row, group) in groups.iter().enumerate() {
            range(row).for_each(|i| self.add(*group as usize, &values, i));
        }
        Ok(())
    }

    fn size(&self) -> usize {
        self.values.len() * 24 + self.held * (size_of::<Option<V::Owned>>() + V::HEAP)
    }
}
