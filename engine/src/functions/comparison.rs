//! `= <> < <= > >=` of FLOAT, DOUBLE and INTERVAL as Java computes them: -0.0 equals 0.0, NaN equals nothing and is
//! neither less nor greater, a day is 24 hours. Arrow orders all bits of a number instead.

use super::operators::spans;
use super::scalar::{Call, Environment, Function, Kind, result};
use crate::time::MockClock;
use arrow::array::*;
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::cast;
use arrow::datatypes::*;
use chrono_tz::Tz;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, Result};
use datafusion_expr::expr::{Between, ScalarFunction};
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, Operator};
use std::sync::Arc;

const TWO: &[Kind] = &[Kind::Any, Kind::Any];

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("=", TWO, result::boolean, |c| compare(c, Operator::Eq)),
    Function::new("<>", TWO, result::boolean, |c| compare(c, Operator::NotEq)),
    Function::new("<", TWO, result::boolean, |c| compare(c, Operator::Lt)),
    Function::new("<=", TWO, result::boolean, |c| compare(c, Operator::LtEq)),
    Function::new(">", TWO, result::boolean, |c| compare(c, Operator::Gt)),
    Function::new(">=", TWO, result::boolean, |c| compare(c, Operator::GtEq)),
];

/// A coerced expression over `schema` whose comparisons of such types are ours.
pub fn as_java(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let ours = |e: &Expr| {
        Ok::<_, datafusion_common::DataFusionError>(match e.get_type(schema)? {
            DataType::Interval(_) => true,
            t => t.is_floating(),
        })
    };
    let replaced = expr.transform_up(|e| match e {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            match function(op).filter(|_| matches!((ours(&left), ours(&right)), (Ok(true), Ok(true)))) {
                Some(f) => Ok(Transformed::yes(call(f, *left, *right))),
                None => Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }))),
            }
        }
        Expr::Between(Between { expr, negated, low, high }) if ours(&expr)? => {
            let bound = |op, bound: Box<Expr>| {
                let expr = expr.as_ref().clone();
                match function(op) {
                    Some(f) => call(f, expr, *bound),
                    None => Expr::BinaryExpr(BinaryExpr::new(Box::new(expr), op, bound)),
                }
            };
            let within = bound(Operator::GtEq, low).and(bound(Operator::LtEq, high));
            Ok(Transformed::yes(if negated { Expr::Not(Box::new(within)) } else { within }))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(replaced.data)
}

fn function(op: Operator) -> Option<&'static Function> {
    let name = op.to_string();
    let name = if op == Operator::NotEq { "<>" } else { name.as_str() };
    FUNCTIONS.iter().find(|f| f.name == name)
}

fn call(function: &Function, left: Expr, right: Expr) -> Expr {
    // A comparison asks for neither the time nor the zone.
    let env = Environment::new(Arc::new(MockClock::at(0)), Tz::UTC);
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(function.udf(&env)), vec![left, right]))
}

fn compare(call: &Call<'_>, op: Operator) -> Result<ArrayRef> {
    let (a, b) = (call.fields[0].data_type(), call.fields[1].data_type());
    let compared = match (a, b) {
        (DataType::Float32, DataType::Float32) => by::<Float32Type>(call, op, |i| call.column(i))?,
        (DataType::Interval(_), _) | (_, DataType::Interval(_)) => by::<Int64Type>(call, op, |i| {
            let (array, constant) = call.column(i)?;
            let lengths: Int64Array = match array.data_type() {
                DataType::Interval(_) => {
                    let of = spans(&array);
                    (0..array.len()).map(|row| of(row).map(|s| length(s.months, s.ms))).collect()
                }
                _ => new_null_array(&DataType::Int64, array.len()).as_primitive().clone(),
            };
            Ok((Arc::new(lengths), constant))
        })?,
        _ => by::<Float64Type>(call, op, |i| {
            let (array, constant) = call.column(i)?;
            Ok((cast(&array, &DataType::Float64)?, constant))
        })?,
    };
    Ok(Arc::new(compared))
}

/// Months and milliseconds never meet in one comparison of Flink's; a month counts as 30 days.
fn length(months: i64, ms: i64) -> i64 {
    months.wrapping_mul(30 * super::calendar::DAY_MS).wrapping_add(ms)
}

fn by<T: ArrowPrimitiveType>(
    call: &Call<'_>,
    op: Operator,
    column: impl Fn(usize) -> Result<(ArrayRef, bool)>,
) -> Result<BooleanArray> {
    let ((a, a_constant), (b, b_constant)) = (column(0)?, column(1)?);
    let (a, b) = (a.as_primitive::<T>(), b.as_primitive::<T>());
    let rows = call.rows;
    let each = |test: fn(&T::Native, &T::Native) -> bool| {
        let (x, y) = (a.values(), b.values());
        match (a_constant, b_constant) {
            (false, true) if !y.is_empty() => BooleanBuffer::collect_bool(rows, |i| test(&x[i], &y[0])),
            (true, false) if !x.is_empty() => BooleanBuffer::collect_bool(rows, |i| test(&x[0], &y[i])),
            (true, true) => BooleanBuffer::collect_bool(rows, |_| test(&x[0], &y[0])),
            _ => BooleanBuffer::collect_bool(rows, |i| test(&x[i], &y[i])),
        }
    };
    let values = match op {
        Operator::Eq => each(|a, b| a == b),
        Operator::NotEq => each(|a, b| a != b),
        Operator::Lt => each(|a, b| a < b),
        Operator::LtEq => each(|a, b| a <= b),
        Operator::Gt => each(|a, b| a > b),
        _ => each(|a, b| a >= b),
    };
    let nulls = |array: &PrimitiveArray<T>, constant: bool| match array.nulls() {
        Some(_) if constant => Some(NullBuffer::new_null(rows)).filter(|_| array.is_null(0)),
        other => other.cloned(),
    };
    let nulls = NullBuffer::union(nulls(a, a_constant).as_ref(), nulls(b, b_constant).as_ref());
    Ok(BooleanArray::new(values, nulls))
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion_common::ScalarValue;
    use datafusion_expr::lit;

    #[test]
    fn numbers_as_java_and_days_of_24_hours() {
        let schema = DFSchema::empty();
        let value = |expr: Expr| {
            let expr = as_java(expr, &schema).unwrap();
            let context = datafusion_expr::simplify::SimplifyContext::builder()
                .with_schema(Arc::new(schema.clone()))
                .build();
            let simplifier = datafusion_optimizer::simplify_expressions::ExprSimplifier::new(context);
            match simplifier.simplify(expr).unwrap() {
                Expr::Literal(ScalarValue::Boolean(v), _) => v,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(value(lit(-0.0_f64).eq(lit(0.0_f64))), Some(true));
        assert_eq!(value(lit(-0.0_f64).lt(lit(0.0_f64))), Some(false));
        assert_eq!(value(lit(f64::NAN).eq(lit(f64::NAN))), Some(false));
        assert_eq!(value(lit(f64::NAN).not_eq(lit(1.0_f64))), Some(true));
        assert_eq!(value(lit(f64::NAN).gt(lit(1.0_f64))), Some(false));
        assert_eq!(value(lit(f64::NAN).between(lit(0.0_f64), lit(1.0_f64))), Some(false));
        assert_eq!(value(lit(ScalarValue::Float64(None)).eq(lit(1.0_f64))), None);
        let interval = |days, ms: i64| {
            lit(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, days, ms * 1_000_000))))
        };
        assert_eq!(value(interval(1, 0).eq(interval(0, 86_400_000))), Some(true));
        assert_eq!(value(interval(1, 0).gt(interval(0, 7_200_000))), Some(true));
    }
}
