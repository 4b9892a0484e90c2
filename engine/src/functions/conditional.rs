//! IF, COALESCE, GREATEST and other choices; TYPEOF, CURRENT_DATABASE.

use super::common::{argument_rows, common_field};
use super::field;
use super::scalar::{Binding, Call, Function, Kind, char_count, result};
use arrow::array::*;
use arrow::compute::kernels::zip::zip;
use arrow::compute::{SortOptions, is_null, nullif};
use arrow::datatypes::*;
use datafusion_common::{Result, ScalarValue};
use std::cmp::Ordering;
use std::sync::Arc;

const ANY: Kind = Kind::Any;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("IF", &[Kind::Boolean, ANY, ANY], |b| common(b, 1), if_then_else),
    Function::new("IFNULL", &[ANY, ANY], coalesce_type, coalesce),
    Function::new("COALESCE", &[ANY], coalesce_type, coalesce).variadic(),
    Function::new("NULLIF", &[ANY, ANY], nullif_type, null_if),
    Function::new("GREATEST", &[ANY], wider, |c| extreme(c, Ordering::Greater)).variadic(),
    Function::new("LEAST", &[ANY], wider, |c| extreme(c, Ordering::Less)).variadic(),
    Function::new("CURRENT_DATABASE", &[], result::text, current_database),
    Function::new("TYPEOF", &[ANY, Kind::Boolean], result::nullable_text, type_of).optional(1),
    // A type that is known.
    Function::new("typeof ", &[Kind::Text], result::nullable_text, |c| c.array(0)),
];

fn common(b: &Binding<'_>, from: usize) -> Result<Field> {
    match common_field(&b.typed_fields()[from..]) {
        Some(f) => Ok(field::like(&f, f.is_nullable())),
        None => b.refuse("they have no type in common; CAST one of them."),
    }
}

fn if_then_else(call: &Call<'_>) -> Result<ArrayRef> {
    let condition = call.flag(0)?;
    let mask = BooleanArray::from_iter((0..call.rows).map(|row| Some(condition.get(row) == Some(true))));
    let (a, b) = (argument_rows(call, 1, call.field)?, argument_rows(call, 2, call.field)?);
    Ok(zip(&mask, &a, &b)?)
}

/// As [`common`], where a FLOAT beside a DOUBLE is a DOUBLE in any order.
fn wider(b: &Binding<'_>) -> Result<Field> {
    let common = common(b, 0)?;
    let double = b.fields.iter().any(|f| f.data_type() == &DataType::Float64);
    Ok(match common.data_type() {
        DataType::Float32 if double => Field::new("", DataType::Float64, common.is_nullable()),
        _ => common,
    })
}

/// As Flink: a TIMESTAMP beside a DATE becomes a DATE, beside a TIMESTAMP_LTZ one with local time zone.
fn common_time(b: &Binding<'_>) -> Option<Field> {
    let typed = b.typed_fields();
    let times: Vec<&Field> = typed.iter().filter(|f| !f.data_type().is_null()).collect();
    let is = |of: fn(&DataType) -> bool| times.iter().any(|f| of(f.data_type()));
    let all = times.iter().all(|f| matches!(f.data_type(), DataType::Date32 | DataType::Timestamp(..)));
    let (date, local) = (is(|t| t == &DataType::Date32), is(field::is_ltz));
    let plain = is(|t| matches!(t, DataType::Timestamp(..)) && !field::is_ltz(t));
    if !all || usize::from(date) + usize::from(local) + usize::from(plain) < 2 {
        return None;
    }
    if date {
        return Some(Field::new("", DataType::Date32, true));
    }
    let precision = times.iter().map(|f| field::precision(f)).max()?;
    Some(field::timestamp(precision, true, true))
}

fn coalesce_type(b: &Binding<'_>) -> Result<Field> {
    let common = common_time(b).map_or_else(|| wider(b), Ok)?;
    let nullable = b.fields.iter().all(|f| f.is_nullable() || f.data_type().is_null());
    Ok(field::like(&common, nullable))
}

fn coalesce(call: &Call<'_>) -> Result<ArrayRef> {
    let mut out = argument_rows(call, 0, call.field)?;
    for i in 1..call.len() {
        if out.null_count() == 0 {
            break;
        }
        let next = argument_rows(call, i, call.field)?;
        out = zip(&is_null(&out)?, &next, &out)?;
    }
    Ok(out)
}

fn nullif_type(b: &Binding<'_>) -> Result<Field> {
    common(b, 0)?;
    Ok(field::like(&b.typed_fields()[0], true))
}

fn null_if(call: &Call<'_>) -> Result<ArrayRef> {
    let a = call.array(0)?;
    let Some(common) = common_field(call.fields.iter().map(AsRef::as_ref)) else { return Ok(a) };
    let (mut x, mut y) = (argument_rows(call, 0, &common)?, argument_rows(call, 1, &common)?);
    // -0.0 equals 0.0.
    if common.data_type() == &DataType::Float64 {
        let canonical =
            |a: &ArrayRef| Arc::new(a.as_primitive::<Float64Type>().unary::<_, Float64Type>(|v| v + 0.0));
        (x, y) = (canonical(&x), canonical(&y));
    }
    let compare = make_comparator(&x, &y, SortOptions::default())?;
    let equal = BooleanArray::from_iter(
        (0..call.rows).map(|row| Some(x.is_valid(row) && y.is_valid(row) && compare(row, row).is_eq())),
    );
    Ok(nullif(&a, &equal)?)
}

/// NULL where any argument is.
fn extreme(call: &Call<'_>, wanted: Ordering) -> Result<ArrayRef> {
    let mut best = argument_rows(call, 0, call.field)?;
    for i in 1..call.len() {
        let next = argument_rows(call, i, call.field)?;
        let better =
            {
                let compare = make_comparator(&next, &best, SortOptions::default())?;
                BooleanArray::from_iter((0..call.rows).map(|row| {
                    Some(best.is_valid(row) && (next.is_null(row) || compare(row, row) == wanted))
                }))
            };
        best = zip(&better, &next, &best)?;
    }
    Ok(best)
}

fn current_database(call: &Call<'_>) -> Result<ArrayRef> {
    let out: StringArray = (0..call.rows).map(|_| Some(&*call.env.database)).collect();
    Ok(Arc::new(out))
}

fn type_of(call: &Call<'_>) -> Result<ArrayRef> {
    let text = match call.args.first() {
        Some(datafusion_expr::ColumnarValue::Scalar(ScalarValue::Utf8(Some(t))))
            if field::declared(&call.fields[0]).is_none() =>
        {
            format!("CHAR({}) NOT NULL", char_count(t))
        }
        _ => field::type_text(&call.fields[0]),
    };
    let out: StringArray = (0..call.rows).map(|_| Some(text.as_str())).collect();
    Ok(Arc::new(out))
}
