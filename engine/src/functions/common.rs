//! The type that several values have in common, as in CASE, COALESCE or ARRAY[…].

use super::cast::cast_array;
use super::field;
use super::operators::common_number;
use super::scalar::Call;
use arrow::array::ArrayRef;
use arrow::datatypes::*;
use datafusion_common::Result;
use std::sync::Arc;

/// The type that all fields can become without losing anything, nullable where one of them is.
pub fn common_field<'a>(fields: impl IntoIterator<Item = &'a Field>) -> Option<Field> {
    let mut fields = fields.into_iter();
    let mut common = fields.next()?.clone();
    for f in fields {
        common = pair(&common, f)?;
    }
    Some(common)
}

fn pair(a: &Field, b: &Field) -> Option<Field> {
    use DataType as D;
    let nullable = a.is_nullable() || b.is_nullable();
    let (x, y) = (a.data_type(), b.data_type());
    if x.is_null() {
        return Some(field::like(b, true));
    }
    if y.is_null() {
        return Some(field::like(a, true));
    }
    if x == y {
        if field::declared(a) == field::declared(b) {
            return Some(field::like(a, nullable));
        }
        return Some(match x {
            D::Timestamp(..) => {
                let p = field::precision(a).max(field::precision(b));
                field::timestamp(p, field::is_ltz(x), nullable)
            }
            D::Utf8 | D::Binary => texts(a, b, nullable),
            _ => Field::new("", x.clone(), nullable),
        });
    }
    let data_type = match (x, y) {
        _ if x.is_numeric() && y.is_numeric() => common_number(x, y)?,
        (D::Timestamp(..), D::Timestamp(..)) if field::is_ltz(x) == field::is_ltz(y) => {
            let p = field::precision(a).max(field::precision(b));
            return Some(field::timestamp(p, field::is_ltz(x), nullable));
        }
        (D::Date32, D::Timestamp(..)) => return Some(field::like(b, nullable)),
        (D::Timestamp(..), D::Date32) => return Some(field::like(a, nullable)),
        (D::List(x), D::List(y)) => D::List(Arc::new(pair(x, y)?.with_name("item"))),
        (D::Struct(x), D::Struct(y)) if x.len() == y.len() => {
            let fields = x.iter().zip(y).map(|(x, y)| Some(pair(x, y)?.with_name(x.name())));
            D::Struct(fields.collect::<Option<_>>()?)
        }
        (D::Map(x, sorted), D::Map(y, _)) => {
            let entries = pair(x, y)?;
            D::Map(Arc::new(entries.with_name("entries").with_nullable(false)), *sorted)
        }
        _ => return None,
    };
    Some(Field::new("", data_type, nullable))
}

/// CHAR and VARCHAR of different lengths: a VARCHAR of the longer.
fn texts(a: &Field, b: &Field, nullable: bool) -> Field {
    use field::Length;
    let of = |l| match l {
        Length::Unlimited => None,
        Length::AtMost(n) | Length::Exactly(n) => Some(n),
    };
    let name = if a.data_type() == &DataType::Utf8 { "VARCHAR" } else { "VARBINARY" };
    match (of(field::length(a)), of(field::length(b))) {
        (Some(x), Some(y)) => {
            field::declare(a.data_type().clone(), nullable, format!("{name}({})", x.max(y)))
        }
        _ => Field::new("", a.data_type().clone(), nullable),
    }
}

/// Argument `i` of a call as `to`: an array of one value, and true, if it is a constant. Lengths of CHAR and
/// VARCHAR are left alone.
pub(super) fn argument(call: &Call<'_>, i: usize, to: &Field) -> Result<(ArrayRef, bool)> {
    let (array, constant) = call.column(i)?;
    if array.data_type() == to.data_type() {
        return Ok((array, constant));
    }
    let plain = Field::new("", to.data_type().clone(), true);
    let to = if matches!(to.data_type(), DataType::Utf8 | DataType::Binary) { &plain } else { to };
    Ok((cast_array(&array, &call.fields[i], to, false, call.env.zone)?, constant))
}

/// As [`argument`], one value a row.
pub(super) fn argument_rows(call: &Call<'_>, i: usize, to: &Field) -> Result<ArrayRef> {
    let (array, constant) = argument(call, i, to)?;
    if !constant || call.rows == array.len() {
        return Ok(array);
    }
    let indices = UInt32Indices::from_value(0, call.rows);
    Ok(arrow::compute::take(&array, &indices, None)?)
}

type UInt32Indices = arrow::array::UInt32Array;
