//! VAR_POP, VAR_SAMP, STDDEV_POP, STDDEV_SAMP, by the formula that Flink's planner writes for them:
//! `(SUM(x * x) - SUM(x) * SUM(x) / n) / n`, or `/ (n - 1)` for samples, in the argument's type.

use super::fold::Fold;
use super::sum::{DecimalSum, Sum};
use crate::error::Result;
use crate::functions::decimal::{self, Shape};
use arrow::array::{ArrayRef, ArrowNativeTypeOp, AsArray, Decimal128Array, PrimitiveArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type,
};
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

integers!(Int8Type, i8);
integers!(Int16Type, i16);
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

/// A BIGINT, as DECIMAL arithmetic takes it.
const COUNT: Shape = (19, 0);
/// Least scale of the result.
const MIN_SCALE: i8 = 6;

/// The four of them over DECIMAL(p, s): a DECIMAL(38, max(6, s)), by the same formula with Flink's type and
/// rounding for each of its steps. NULL where a step has no room.
pub(super) struct DecimalVariance {
    root: bool,
    sample: bool,
    argument: Shape,
    sums: DecimalSum,
    squares: DecimalSum,
}

impl DecimalVariance {
    pub(super) fn new(root: bool, sample: bool, argument: Shape) -> Self {
        let squares = decimal::times(argument, argument);
        Self {
            root,
            sample,
            argument,
            sums: DecimalSum::new(argument.1),
            squares: DecimalSum::new(squares.1),
        }
    }

    fn result_scale(&self) -> i8 {
        self.argument.1.max(MIN_SCALE)
    }

    fn spread(&self, squares: i128, sum: i128, n: i64, divisor: i64) -> Option<i128> {
        let sums: Shape = (decimal::MAX_PRECISION, self.argument.1);
        let square = decimal::times(sums, sums);
        let value = decimal::product(sum, sum, 2 * i32::from(sums.1) - i32::from(square.1))?;
        let mean = decimal::divide(square, COUNT);
        let value = decimal::quotient(value, i32::from(mean.1) - i32::from(square.1), i128::from(n))?;
        let of_squares: Shape = (decimal::MAX_PRECISION, decimal::times(self.argument, self.argument).1);
        let difference = decimal::plus(of_squares, mean);
        let scale = i32::from(difference.1);
        let value = decimal::rescale(squares, i32::from(of_squares.1), scale)?
            .checked_sub(decimal::rescale(value, i32::from(mean.1), scale)?)?;
        let last = decimal::divide(difference, COUNT);
        let value = decimal::quotient(value, i32::from(last.1) - scale, i128::from(divisor))?;
        let (from, to) = (i32::from(last.1), i32::from(self.result_scale()));
        let value = match self.root {
            false => decimal::rescale(value, from, to)?,
            true => from_float((value as f64 / 10_f64.powi(from)).sqrt(), to)?,
        };
        decimal::checked(value, decimal::MAX_PRECISION)
    }
}

/// The shortest digits that give `value`, at `scale`, rounded HALF_UP.
fn from_float(value: f64, scale: i32) -> Option<i128> {
    if !value.is_finite() {
        return None;
    }
    let text = value.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    decimal::rescale(digits, fraction.len() as i32, scale)
}

impl Fold for DecimalVariance {
    type Input = (Decimal128Array, Decimal128Array);
    type Output = Vec<Option<i128>>;

    const TELLS_EVERY_ROW: bool = true;

    fn bind(&self, values: &[ArrayRef]) -> Result<Self::Input> {
        let values = values[0].as_primitive::<Decimal128Type>().clone();
        let (precision, scale) = decimal::times(self.argument, self.argument);
        let drop = 2 * i32::from(self.argument.1) - i32::from(scale);
        let square = |v: i128| decimal::product(v, v, drop).and_then(|v| decimal::checked(v, precision));
        // A square without room counts as nothing; Flink's is NULL, which SUM leaves out.
        let squares = values.unary(|v| square(v).unwrap_or(0));
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
                if divisor == 0 { None } else { self.spread(squares, sum, n, divisor) }
            }
            _ => None,
        };
        out.push(value);
    }

    fn finish(&self, out: Self::Output) -> Result<ArrayRef> {
        let data_type = DataType::Decimal128(decimal::MAX_PRECISION, self.result_scale());
        Ok(Arc::new(Decimal128Array::from(out).with_data_type(data_type)))
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
