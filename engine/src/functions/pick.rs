//! `Pick`: a CASE that only chooses between columns by an integer, as of streams whose rows are of several kinds. It is
//! worked off in one pass over the rows, without copying the columns apart and together again.

use super::scalar::carry;
use crate::error::Error;
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, Int64Array, PrimitiveArray, RecordBatch, downcast_primitive,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::{cast, interleave};
use arrow::datatypes::{DataType, FieldRef, Int64Type, Schema};
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::{ColumnarValue, Operator};
use datafusion_physical_expr::expressions::{BinaryExpr, CaseExpr, Column, Literal};
use datafusion_physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Most branches: they are compared one by one.
const MAX_BRANCHES: usize = 16;

/// Whether `expression` is a column, or a field of a row in one: reading it copies nothing.
pub fn is_access(expression: &Arc<dyn PhysicalExpr>) -> bool {
    if expression.downcast_ref::<Column>().is_some() {
        return true;
    }
    let Some(call) = expression.downcast_ref::<ScalarFunctionExpr>() else { return false };
    match call.args() {
        [row, names @ ..] if call.name() == "get_field" => {
            is_access(row) && names.iter().all(|n| n.downcast_ref::<Literal>().is_some())
        }
        _ => false,
    }
}

/// See the head of the file.
#[derive(Debug)]
pub struct Pick {
    /// What is compared.
    base: Arc<dyn PhysicalExpr>,
    /// What it is compared with.
    whens: Vec<i64>,
    /// The columns of the branches, then the one of all other rows.
    results: Vec<Arc<dyn PhysicalExpr>>,
    field: FieldRef,
    /// The CASE that it does the work of.
    case: Arc<dyn PhysicalExpr>,
}

impl Pick {
    /// `expression` over `schema` as such, if it is one.
    pub fn of(expression: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Option<Self> {
        let field = expression.return_field(schema).ok()?;
        let pick = Self::new(expression, field)?;
        let fits =
            |r: &Arc<dyn PhysicalExpr>| r.data_type(schema).is_ok_and(|t| t == *pick.field.data_type());
        let compared = pick.base.data_type(schema).ok()?.is_signed_integer();
        (compared && pick.results.iter().all(fits)).then_some(pick)
    }

    fn new(expression: &Arc<dyn PhysicalExpr>, field: FieldRef) -> Option<Self> {
        let case = expression.downcast_ref::<CaseExpr>()?;
        if case.when_then_expr().len() > MAX_BRANCHES {
            return None;
        }
        let mut base = case.expr().cloned();
        let mut whens = Vec::new();
        let mut results = Vec::new();
        for (when, then) in case.when_then_expr() {
            let constant = match (case.expr(), when.downcast_ref::<BinaryExpr>()) {
                (Some(_), _) => when,
                (None, Some(equals)) if *equals.op() == Operator::Eq => {
                    if base.as_ref().is_some_and(|b| !b.eq(equals.left())) {
                        return None;
                    }
                    base = Some(Arc::clone(equals.left()));
                    equals.right()
                }
                _ => return None,
            };
            whens.push(integer(constant)?);
            results.push(Arc::clone(then));
        }
        results.push(Arc::clone(case.else_expr()?));
        let base = base.filter(is_access)?;
        let case = Arc::clone(expression);
        results.iter().all(is_access).then_some(Self { base, whens, results, field, case })
    }
}

fn integer(expression: &Arc<dyn PhysicalExpr>) -> Option<i64> {
    match expression.downcast_ref::<Literal>()?.value() {
        ScalarValue::Int8(v) => v.map(i64::from),
        ScalarValue::Int16(v) => v.map(i64::from),
        ScalarValue::Int32(v) => v.map(i64::from),
        ScalarValue::Int64(v) => *v,
        _ => None,
    }
}

impl fmt::Display for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.case.fmt(f)
    }
}

impl PartialEq for Pick {
    fn eq(&self, other: &Self) -> bool {
        self.case.eq(&other.case)
    }
}

impl Eq for Pick {}

impl Hash for Pick {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.case.hash(state);
    }
}

impl PhysicalExpr for Pick {
    fn return_field(&self, _: &Schema) -> Result<FieldRef> {
        Ok(Arc::clone(&self.field))
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let rows = batch.num_rows();
        let base = self.base.evaluate(batch)?.into_array(rows)?;
        let base = cast(&base, &DataType::Int64)?;
        let choices = choices(base.as_primitive::<Int64Type>(), &self.whens);
        let results = self.results.iter().map(|r| r.evaluate(batch)?.into_array(rows));
        let results = results.collect::<Result<Vec<_>>>()?;
        Ok(ColumnarValue::Array(picked(&results, &choices)?))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.case.children()
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let case = Arc::clone(&self.case).with_new_children(children)?;
        Ok(match Self::new(&case, Arc::clone(&self.field)) {
            Some(pick) => Arc::new(pick),
            None => case,
        })
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.case.fmt_sql(f)
    }
}

/// For each row the branch that it takes: the first whose constant is its value, else the last.
fn choices(base: &Int64Array, whens: &[i64]) -> Vec<u8> {
    let other = whens.len();
    let choose = |value: i64| whens.iter().position(|w| *w == value).unwrap_or(other) as u8;
    match base.nulls() {
        None => base.values().iter().map(|v| choose(*v)).collect(),
        Some(_) => base.iter().map(|v| v.map_or(other as u8, choose)).collect(),
    }
}

/// Row i of the result `choices[i]`.
fn picked(results: &[ArrayRef], choices: &[u8]) -> Result<ArrayRef> {
    macro_rules! primitive {
        ($t:ty, $results:expr, $choices:expr) => {
            picked_primitive::<$t>($results, $choices)
        };
    }
    let Some(first) = results.first() else { return Err(carry(Error::internal("a CASE without results"))) };
    downcast_primitive! {
        first.data_type() => (primitive, results, choices),
        _ => {
            let arrays: Vec<&dyn Array> = results.iter().map(AsRef::as_ref).collect();
            let rows: Vec<(usize, usize)> =
                choices.iter().enumerate().map(|(row, choice)| (usize::from(*choice), row)).collect();
            Ok(interleave(&arrays, &rows)?)
        }
    }
}

fn picked_primitive<T: ArrowPrimitiveType>(results: &[ArrayRef], choices: &[u8]) -> Result<ArrayRef> {
    let typed: Vec<&PrimitiveArray<T>> = results.iter().map(|r| r.as_primitive::<T>()).collect();
    let slices: Vec<&[T::Native]> = typed.iter().map(|t| t.values().as_ref()).collect();
    let values: Vec<T::Native> =
        choices.iter().enumerate().map(|(row, choice)| slices[usize::from(*choice)][row]).collect();
    let nulls = typed.iter().any(|t| t.null_count() > 0).then(|| {
        let valid = |row: usize| typed[usize::from(choices[row])].is_valid(row);
        NullBuffer::new(BooleanBuffer::collect_bool(choices.len(), valid))
    });
    let nulls = nulls.filter(|n| n.null_count() > 0);
    let array = PrimitiveArray::<T>::new(values.into(), nulls);
    Ok(Arc::new(array.with_data_type(results[0].data_type().clone())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int32Array, StringArray, TimestampMillisecondArray};
    use arrow::datatypes::{Field, TimeUnit};
    use datafusion_physical_expr::expressions::{case, lit};

    fn batch() -> RecordBatch {
        let kinds = Int32Array::from(vec![Some(0), Some(1), Some(2), None, Some(1), Some(7)]);
        let times = |first: i64| -> ArrayRef {
            let values = (0..6).map(|i| (i != 4).then_some(first + i));
            Arc::new(TimestampMillisecondArray::from_iter(values))
        };
        let texts = |prefix: &str| -> ArrayRef {
            Arc::new(StringArray::from_iter((0..6).map(|i| (i != 2).then(|| format!("{prefix}{i}")))))
        };
        let columns: [(&str, ArrayRef); 7] = [
            ("kind", Arc::new(kinds)),
            ("t0", times(0)),
            ("t1", times(10)),
            ("t2", Arc::new(TimestampMillisecondArray::from_iter_values(20..26))),
            ("s0", texts("a")),
            ("s1", texts("b")),
            ("s2", texts("c")),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    /// CASE kind WHEN 0 THEN first WHEN 1 THEN second ELSE third END.
    fn case_of(first: usize) -> Arc<dyn PhysicalExpr> {
        let column = |i: usize| -> Arc<dyn PhysicalExpr> { Arc::new(Column::new("c", i)) };
        let branches = vec![(lit(0), column(first)), (lit(1), column(first + 1))];
        case(Some(column(0)), branches, Some(column(first + 2))).unwrap()
    }

    #[test]
    fn it_gives_what_case_gives() {
        let batch = batch();
        for first in [1, 4] {
            let case = case_of(first);
            let pick = Pick::of(&case, &batch.schema()).unwrap();
            let rows = batch.num_rows();
            let expected = case.evaluate(&batch).unwrap().into_array(rows).unwrap();
            let got = pick.evaluate(&batch).unwrap().into_array(rows).unwrap();
            assert_eq!(&got, &expected);
        }
    }

    #[test]
    fn other_cases_stay_what_they_are() {
        let schema = batch().schema();
        let column = |i: usize| -> Arc<dyn PhysicalExpr> { Arc::new(Column::new("c", i)) };
        let branch = || vec![(lit(0), column(1))];
        assert!(Pick::of(&case(Some(column(0)), branch(), None).unwrap(), &schema).is_none());
        let constant = lit(ScalarValue::TimestampMillisecond(Some(1), None));
        assert!(Pick::of(&case(Some(column(0)), branch(), Some(constant)).unwrap(), &schema).is_none());
        let by_text = case(Some(column(4)), vec![(lit("a"), column(1))], Some(column(2))).unwrap();
        assert!(Pick::of(&by_text, &schema).is_none());
    }

    #[test]
    fn columns_can_be_moved() {
        let schema = batch().schema();
        let pick: Arc<dyn PhysicalExpr> = Arc::new(Pick::of(&case_of(1), &schema).unwrap());
        let children = pick.children().into_iter().cloned().collect::<Vec<_>>();
        let again = Arc::clone(&pick).with_new_children(children).unwrap();
        assert!(again.downcast_ref::<Pick>().is_some() && again.eq(&pick));
        let field = Field::new("t", DataType::Timestamp(TimeUnit::Millisecond, None), true);
        assert_eq!(again.return_field(&schema).unwrap().data_type(), field.data_type());
    }
}
