//! VAR_POP, VAR_SAMP, STDDEV_POP, STDDEV_SAMP, by the formula that Flink's planner writes for them:
//! `(SUM(x * x) - SUM(x) * SUM(x) / n) / n`, or `/ (n - 1)` for samples, in the argument's type.

use super::fold::Fold;
use super::sum::Sum;
use crate::error::Result;
use arrow::array::{ArrayRef, ArrowNativeTypeOp, AsArray, PrimitiveArray};
use arrow::datatypes::{ArrowPrimitiveType, Float32Type, Float64Type, Int32Type, Int64Type};
use std::sync::Arc;

/// The rest of the formula, in the argument's type.
pub(super) trait Spread: ArrowPrimitiveType<Native: ArrowNativeTypeOp> {
    /// Variance out of the sum of squares, the sum, and `n`, over `divisor`; its square root if `root`.
    fn spread(squares: Self::Native, sum: Self::Native, n: i64, divisor: i64, root: bool) -> Self::Native;
}

macro_rules! integers {
    ($type:ty, $native:ty) => {
        impl Spread for $type {
            fn spread(squares: $native, sum: $native, n: i64, divisor: i64, root: bool) -> $native {
                // COUNT is a BIGINT, so only the square is of the argument's own type.
                let square = sum.wrapping_mul(sum) as i64;
                let variance = (squares as i64).wrapping_sub(square.wrapping_div(n)).wrapping_div(divisor);
                if root { (variance as f64).sqrt() as $native } else { variance as $native }
            }
        }
    };
}

macro_rules! floats {
    ($type:ty, $native:ty) => {
        impl Spread for $type {
            fn spread(squares: $native, sum: $native, n: i64, divisor: i64, root: bool) -> $native {
                let variance = (squares - sum * sum / n as $native) / divisor as $native;
                if root { f64::from(variance).sqrt() as $native } else { variance }
            }
        }
    };
}

integers!(Int32Type, i32);
integers!(Int64Type, i64);
floats!(Float32Type, f32);
floats!(Float64Type, f64);

/// The four of them.
pub(super) struct Variance<T: Spread> {
    root: bool,
    sample: bool,
    sums: Sum<T>,
    squares: Sum<T>,
}

impl<T: Spread> Variance<T> {
    pub(super) fn new(root: bool, sample: bool) -> Self {
        Self { root, sample, sums: Sum::default(), squares: Sum::default() }
    }
}

impl<T: Spread> Fold for Variance<T> {
    type Input = (PrimitiveArray<T>, PrimitiveArray<T>);
    type Output = Vec<Option<T::Native>>;

    const TELLS_EVERY_ROW: bool = true;

    fn bind(&self, values: &[ArrayRef]) -> Result<Self::Input> {
        let values = values[0].as_primitive::<T>().clone();
        let squares = values.unary(|v| v.mul_wrapping(v));
        Ok((values, squares))
    }

    fn resize(&mut self, groups: usize) {
        self.sums.resize(groups);
        self.squares.resize(groups);
    }

    fn add(&mut self, group: usize, (values, squares): &Self::Input, row: usize) {
        self.sums.add(group, values, row);
        self.squares.add(group, squares, row);
    }

    fn retract(&mut self, group: usize, (values, squares): &Self::Input, row: usize) {
        self.sums.retract(group, values, row);
        self.squares.retract(group, squares, row);
    }

    fn clear(&mut self, group: usize) {
        self.sums.clear(group);
        self.squares.clear(group);
    }

    fn output(&self, capacity: usize) -> Self::Output {
        Vec::with_capacity(capacity)
    }

    fn push(&self, group: usize, out: &mut Self::Output) {
        let value = match (self.squares.get(group), self.sums.get(group)) {
            (Some((squares, n)), Some((sum, _))) => {
                let divisor = if self.sample { n - 1 } else { n };
                (divisor != 0).then(|| T::spread(squares, sum, n, divisor, self.root))
            }
            _ => None,
        };
        out.push(value);
    }

    fn finish(&self, out: Self::Output) -> Result<ArrayRef> {
        Ok(Arc::new(PrimitiveArray::<T>::from_iter(out)))
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns = self.sums.state(groups)?;
        columns.extend(self.squares.state(groups)?);
        Ok(columns)
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[u32]) -> Result<()> {
        self.sums.merge(&states[..2], groups)?;
        self.squares.merge(&states[2..], groups)
    }

    fn size(&self) -> usize {
        self.sums.size() + self.squares.size()
    }
}
