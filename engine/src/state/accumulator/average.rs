//! AVG, as Flink divides: integers truncate, floats are summed as DOUBLE, decimals round HALF_UP.

use super::fold::Fold;
use super::sum::{DECIMAL_LIMIT, DecimalSum, MAX_DECIMAL_DIGITS, Sum};
use crate::error::Result;
use arrow::array::{ArrayRef, Decimal128Array, Float64Array, Int64Array, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use std::sync::Arc;

/// Least scale of AVG over decimals.
const MIN_SCALE: i8 = 6;

macro_rules! delegate_to_sum {
    ($wide:expr) => {
        fn bind(&self, values: &[ArrayRef]) -> Result<Self::Input> {
            self.sum.bind(&[cast(&values[0], &$wide)?])
        }

        delegate_to_sum!();
    };
    () => {
        fn resize(&mut self, groups: usize) {
            self.sum.resize(groups);
        }

        #[inline]
        fn add(&mut self, group: usize, input: &Self::Input, row: usize) {
            self.sum.add(group, input, row);
        }

        #[inline]
        fn retract(&mut self, group: usize, input: &Self::Input, row: usize) {
            self.sum.retract(group, input, row);
        }

        fn clear(&mut self, group: usize) {
            self.sum.clear(group);
        }

        fn output(&self, capacity: usize) -> Self::Output {
            Vec::with_capacity(capacity)
        }

        fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
            self.sum.state(groups)
        }

        fn merge(&mut self, states: &[ArrayRef], groups: &[u32]) -> Result<()> {
            self.sum.merge(states, groups)
        }

        fn size(&self) -> usize {
            self.sum.size()
        }
    };
}

/// AVG of integers: a BIGINT sum (wrapping) over the count, truncated, of the argument's type.
pub(super) struct IntegerAverage {
    result: DataType,
    sum: Sum<Int64Type>,
}

impl IntegerAverage {
    pub(super) fn new(result: DataType) -> Self {
        Self { result, sum: Sum::default() }
    }
}

impl Fold for IntegerAverage {
    type Input = PrimitiveArray<Int64Type>;
    type Output = Vec<Option<i64>>;

    delegate_to_sum!(DataType::Int64);

    fn push(&self, group: usize, out: &mut Self::Output) {
        out.push(self.sum.get(group).map(|(sum, n)| sum.wrapping_div(n)));
    }

    fn finish(&self, out: Self::Output) -> Result<ArrayRef> {
        let wide: ArrayRef = Arc::new(Int64Array::from(out));
        Ok(cast(&wide, &self.result)?)
    }
}

/// AVG of FLOAT and DOUBLE, of the argument's type.
pub(super) struct FloatAverage {
    result: DataType,
    sum: Sum<Float64Type>,
}

impl FloatAverage {
    pub(super) fn new(result: DataType) -> Self {
        Self { result, sum: Sum::default() }
    }
}

impl Fold for FloatAverage {
    type Input = PrimitiveArray<Float64Type>;
    type Output = Vec<Option<f64>>;

    delegate_to_sum!(DataType::Float64);

    fn push(&self, group: usize, out: &mut Self::Output) {
        out.push(self.sum.get(group).map(|(sum, n)| sum / n as f64));
    }

    fn finish(&self, out: Self::Output) -> Result<ArrayRef> {
        let wide: ArrayRef = Arc::new(Float64Array::from(out));
        Ok(cast(&wide, &self.result)?)
    }
}

/// AVG of DECIMAL(p, s): a DECIMAL(38, max(6, s)), rounded HALF_UP.
pub(super) struct DecimalAverage {
    scale: i8,
    sum: DecimalSum,
}

impl DecimalAverage {
    pub(super) fn new(scale: i8) -> Self {
        Self { scale, sum: DecimalSum::new(scale) }
    }

    fn result_scale(&self) -> i8 {
        self.scale.max(MIN_SCALE)
    }
}

impl Fold for DecimalAverage {
    type Input = Decimal128Array;
    type Output = Vec<Option<i128>>;

    fn bind(&self, values: &[ArrayRef]) -> Result<Self::Input> {
        self.sum.bind(values)
    }

    delegate_to_sum!();

    fn push(&self, group: usize, out: &mut Self::Output) {
        let digits = (self.result_scale() - self.scale) as u32;
        out.push(self.sum.get(group).and_then(|(sum, n)| divide(sum, n, digits)));
    }

    fn finish(&self, out: Self::Output) -> Result<ArrayRef> {
        let data_type = DataType::Decimal128(MAX_DECIMAL_DIGITS, self.result_scale());
        Ok(Arc::new(Decimal128Array::from(out).with_data_type(data_type)))
    }
}

/// `sum / n` with `digits` more digits, HALF_UP; `None` without room for it.
fn divide(sum: i128, n: i64, digits: u32) -> Option<i128> {
    let factor = 10_i128.pow(digits);
    let n = i128::from(n);
    let whole = (sum / n).checked_mul(factor)?;
    // |sum % n| < 2^63, so there is room for the factor (at most 10^6), and for doubling.
    let part = (sum % n) * factor;
    let (quotient, rest) = (part / n, part % n);
    let away = if (rest < 0) == (n < 0) { 1 } else { -1 };
    let rounded = quotient + if 2 * rest.abs() >= n.abs() { away } else { 0 };
    whole.checked_add(rounded).filter(|v| v.abs() < DECIMAL_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::divide;

    #[test]
    fn decimals_round_half_up_away_from_zero() {
        assert_eq!(divide(577, 3, 4), Some(1_923_333));
        assert_eq!(divide(5, 2, 0), Some(3));
        assert_eq!(divide(-5, 2, 0), Some(-3));
        assert_eq!(divide(4, 3, 0), Some(1));
        assert_eq!(divide(-5, -2, 0), Some(3));
        assert_eq!(divide(super::DECIMAL_LIMIT - 1, 1, 6), None);
    }
}
