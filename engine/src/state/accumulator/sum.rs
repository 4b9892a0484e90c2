//! SUM: of the argument's own type and wrapping, as in Flink; NULL while there are no values.

use super::fold::Fold;
use crate::error::Result;
use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, AsArray, Decimal128Array, Int64Array, PrimitiveArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{ArrowPrimitiveType, DataType, Decimal128Type, Int64Type};
use std::sync::Arc;

/// Digits of Flink's widest DECIMAL.
pub(super) const MAX_DECIMAL_DIGITS: u8 = 38;
/// The first unscaled value that DECIMAL(38) cannot hold.
pub(super) const DECIMAL_LIMIT: i128 = 10_i128.pow(MAX_DECIMAL_DIGITS as u32);

/// SUM of integers and floats.
pub(super) struct Sum<T: ArrowPrimitiveType> {
    sums: Vec<T::Native>,
    counts: Vec<i64>,
}

impl<T: ArrowPrimitiveType> Default for Sum<T> {
    fn default() -> Self {
        Self { sums: Vec::new(), counts: Vec::new() }
    }
}

impl<T: ArrowPrimitiveType> Sum<T> {
    /// Sum and number of values, or `None` where there are none.
    pub(super) fn get(&self, group: usize) -> Option<(T::Native, i64)> {
        (self.counts[group] != 0).then(|| (self.sums[group], self.counts[group]))
    }
}

impl<T: ArrowPrimitiveType<Native: ArrowNativeTypeOp>> Fold for Sum<T> {
    type Input = PrimitiveArray<T>;
    type Output = (Vec<T::Native>, Vec<bool>);

    fn bind(&self, values: &[ArrayRef]) -> Result<Self::Input> {
        Ok(values[0].as_primitive::<T>().clone())
    }

    fn resize(&mut self, groups: usize) {
        let groups = groups.max(self.sums.len());
        self.sums.resize(groups, T::Native::ZERO);
        self.counts.resize(groups, 0);
    }

    #[inline]
    fn add(&mut self, group: usize, input: &Self::Input, row: usize) {
        self.sums[group] = self.sums[group].add_wrapping(input.values()[row]);
        self.counts[group] += 1;
    }

    #[inline]
    fn retract(&mut self, group: usize, input: &Self::Input, row: usize) {
        self.sums[group] = self.sums[group].sub_wrapping(input.values()[row]);
        self.counts[group] -= 1;
    }

    fn clear(&mut self, group: usize) {
        self.sums[group] = T::Native::ZERO;
        self.counts[group] = 0;
    }

    fn output(&self, capacity: usize) -> Self::Output {
        (Vec::with_capacity(capacity), Vec::with_capacity(capacity))
    }

    #[inline]
    fn push(&self, group: usize, out: &mut Self::Output) {
        out.0.push(self.sums[group]);
        out.1.push(self.counts[group] != 0);
    }

    fn finish(&self, (values, valid): Self::Output) -> Result<ArrayRef> {
        let nulls = Some(NullBuffer::from(valid)).filter(|n| n.null_count() > 0);
        Ok(Arc::new(PrimitiveArray::<T>::new(values.into(), nulls)))
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let sums = groups.iter().map(|g| self.sums[*g as usize]);
        let counts = groups.iter().map(|g| self.counts[*g as usize]);
        Ok(vec![
            Arc::new(PrimitiveArray::<T>::from_iter_values(sums)),
            Arc::new(Int64Array::from_iter_values(counts)),
        ])
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let sums = states[0].as_primitive::<T>().values();
        let counts = states[1].as_primitive::<Int64Type>().values();
        for (row, group) in groups.iter().enumerate() {
            let group = *group as usize;
            self.sums[group] = self.sums[group].add_wrapping(sums[row]);
            self.counts[group] += counts[row];
        }
        Ok(())
    }

    fn size(&self) -> usize {
        self.sums.len() * (size_of::<T::Native>() + 8)
    }
}

/// SUM of DECIMAL(p, s): a DECIMAL(38, s). A sum that has no room in it is NULL, and stays so.
pub(super) struct DecimalSum {
    scale: i8,
    /// Sum and number of values.
    sums: Vec<(i128, i64)>,
    overflown: Vec<bool>,
}

impl DecimalSum {
    pub(super) fn new(scale: i8) -> Self {
        Self { scale, sums: Vec::new(), overflown: Vec::new() }
    }

    fn put(&mut self, group: usize, value: i128, count: i64) {
        let (sum, n) = &mut self.sums[group];
        *n += count;
        match sum.checked_add(value).filter(|s| s.unsigned_abs() < DECIMAL_LIMIT.unsigned_abs()) {
            Some(new) => *sum = new,
            None => self.overflown[group] = true,
        }
    }

    /// Sum and number of values, or `None` where there is no sum.
    pub(super) fn get(&self, group: usize) -> Option<(i128, i64)> {
        let (sum, n) = self.sums[group];
        (n != 0 && !self.overflown[group]).then_some((sum, n))
    }
}

impl Fold for DecimalSum {
    type Input = Decimal128Array;
    type Output = Vec<Option<i128>>;

    fn bind(&self, values: &[ArrayRef]) -> Result<Self::Input> {
        Ok(values[0].as_primitive::<Decimal128Type>().clone())
    }

    fn resize(&mut self, groups: usize) {
        let groups = groups.max(self.sums.len());
        self.sums.resize(groups, (0, 0));
        self.overflown.resize(groups, false);
    }

    #[inline]
    fn add(&mut self, group: usize, input: &Self::Input, row: usize) {
        self.put(group, input.values()[row], 1);
    }

    #[inline]
    fn retract(&mut self, group: usize, input: &Self::Input, row: usize) {
        self.put(group, -input.values()[row], -1);
    }

    fn clear(&mut self, group: usize) {
        self.sums[group] = (0, 0);
        self.overflown[group] = false;
    }

    fn output(&self, capacity: usize) -> Self::Output {
        Vec::with_capacity(capacity)
    }

    fn push(&self, group: usize, out: &mut Self::Output) {
        out.push(self.get(group).map(|(sum, _)| sum));
    }

    fn finish(&self, out: Self::Output) -> Result<ArrayRef> {
        let data_type = DataType::Decimal128(MAX_DECIMAL_DIGITS, self.scale);
        Ok(Arc::new(Decimal128Array::from(out).with_data_type(data_type)))
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        // An overflown sum travels as NULL.
        let sum = |g: &u32| (!self.overflown[*g as usize]).then(|| self.sums[*g as usize].0);
        let sums = Decimal128Array::from_iter(groups.iter().map(sum));
        let counts = groups.iter().map(|g| self.sums[*g as usize].1);
        let data_type = DataType::Decimal128(MAX_DECIMAL_DIGITS, self.scale);
        Ok(vec![Arc::new(sums.with_data_type(data_type)), Arc::new(Int64Array::from_iter_values(counts))])
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let sums = states[0].as_primitive::<Decimal128Type>();
        let counts = states[1].as_primitive::<Int64Type>().values();
        for (row, group) in groups.iter().enumerate() {
            let group = *group as usize;
            self.overflown[group] |= sums.is_null(row);
            let value = if sums.is_null(row) { 0 } else { sums.value(row) };
            self.put(group, value, counts[row]);
        }
        Ok(())
    }

    fn size(&self) -> usize {
        self.sums.len() * 33
    }
}
