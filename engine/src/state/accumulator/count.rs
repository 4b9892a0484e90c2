//! COUNT.

use super::fold::Fold;
use crate::error::Result;
use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::Int64Type;
use std::sync::Arc;

/// COUNT(*), and COUNT(x, …) of the rows in which no argument is NULL.
#[derive(Default)]
pub(super) struct Count {
    counts: Vec<i64>,
}

impl Fold for Count {
    type Input = ();
    type Output = Vec<i64>;

    fn bind(&self, _: &[ArrayRef]) -> Result<()> {
        Ok(())
    }

    fn resize(&mut self, groups: usize) {
        self.counts.resize(groups.max(self.counts.len()), 0);
    }

    #[inline]
    fn add(&mut self, group: usize, (): &(), _: usize) {
        self.counts[group] += 1;
    }

    #[inline]
    fn retract(&mut self, group: usize, (): &(), _: usize) {
        self.counts[group] -= 1;
    }

    fn clear(&mut self, group: usize) {
        self.counts[group] = 0;
    }

    fn output(&self, capacity: usize) -> Vec<i64> {
        Vec::with_capacity(capacity)
    }

    #[inline]
    fn push(&self, group: usize, out: &mut Vec<i64>) {
        out.push(self.counts[group]);
    }

    fn finish(&self, out: Vec<i64>) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from(out)))
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let counts = groups.iter().map(|g| self.counts[*g as usize]);
        Ok(vec![Arc::new(Int64Array::from_iter_values(counts))])
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let counts = states[0].as_primitive::<Int64Type>().values();
        groups.iter().zip(counts).for_each(|(g, count)| self.counts[*g as usize] += count);
        Ok(())
    }

    fn size(&self) -> usize {
        self.counts.len() * 8
    }
}
