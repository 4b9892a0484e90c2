//! JSON_STRING, JSON_OBJECT and JSON_ARRAY: values as JSON texts, written as Flink writes them (fields sorted).
//!
//! The parser gives JSON_OBJECT and JSON_ARRAY a text in front: `N` keeps NULLs or `A` leaves them out, then for
//! each value `1` if it is JSON already (a nested call of one of the two) or `0`.

use super::scalar::{Binding, Call, Function, Kind, result, user, user_hint};
use super::{field, text};
use arrow::array::*;
use arrow::datatypes::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono_tz::Tz;
use datafusion_common::Result;
use std::collections::BTreeMap;

const ANY: Kind = Kind::Any;
const T: Kind = Kind::Text;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("JSON_STRING", &[ANY], string_type, json_string),
    Function::new("JSON_OBJECT", &[T, ANY], object_type, json_object).optional(1).variadic(),
    Function::new("JSON_ARRAY", &[T, ANY], built_type, json_array).optional(1).variadic(),
];

/// Refuses what Flink has no JSON for.
fn check(t: &DataType, name: &str) -> Result<()> {
    use DataType as D;
    match t {
        D::Date32 | D::Time32(_) | D::Time64(_) | D::Interval(_) => user_hint(
            format!(
                "{name} cannot write a value of type {}.",
                field::type_text(&Field::new("", t.clone(), true))
            ),
            "Write CAST(… AS STRING).",
        ),
        D::List(item) => check(item.data_type(), name),
        D::Struct(fields) => fields.iter().try_for_each(|f| check(f.data_type(), name)),
        D::Map(entries, _) => match entries.data_type() {
            D::Struct(kv) if kv.len() == 2 && kv[0].data_type() == &D::Utf8 => check(kv[1].data_type(), name),
            _ => user_hint(
                format!("{name} writes maps whose keys are STRING only."),
                "Write CAST(m AS MAP<STRING, …>).",
            ),
        },
        _ => Ok(()),
    }
}

fn string_type(b: &Binding<'_>) -> Result<Field> {
    check(b.data_type(0), b.name)?;
    result::text(b)
}

fn built_type(b: &Binding<'_>) -> Result<Field> {
    for f in &b.fields[1..] {
        check(f.data_type(), b.name)?;
    }
    Ok(Field::new("", DataType::Utf8, false))
}

fn object_type(b: &Binding<'_>) -> Result<Field> {
    if let Some(key) = b.fields[1..].iter().step_by(2).find(|k| k.data_type() != &DataType::Utf8) {
        return user_hint(
            format!("A key of JSON_OBJECT must be STRING, but it is {}.", field::type_text(key)),
            "Write JSON_OBJECT('key' VALUE x).",
        );
    }
    built_type(b)
}

fn json_string(call: &Call<'_>) -> Result<ArrayRef> {
    let (value, constant) = call.column(0)?;
    let row_of = |row| if constant { 0 } else { row };
    call.texts(|row, out| {
        if value.data_type().is_null() || value.is_null(row_of(row)) {
            return Ok(false);
        }
        write(out, &value, row_of(row), &call.fields[0], call.env.zone)?;
        Ok(true)
    })
}

/// Whether NULLs are kept, and which values are JSON already.
fn marks(call: &Call<'_>) -> Result<(bool, Vec<bool>)> {
    let marks = call.text(0)?;
    let marks = marks.get(0).unwrap_or("N").as_bytes();
    Ok((marks.first() == Some(&b'N'), marks.iter().skip(1).map(|m| *m == b'1').collect()))
}

/// Writes argument `i`; `false` if it is NULL.
fn value(
    out: &mut String,
    call: &Call<'_>,
    columns: &[(ArrayRef, bool)],
    i: usize,
    row: usize,
    raw: bool,
) -> Result<bool> {
    let (array, constant) = &columns[i];
    let row = if *constant { 0 } else { row };
    if array.data_type().is_null() || array.is_null(row) {
        return Ok(false);
    }
    match array.as_string_opt::<i32>() {
        Some(texts) if raw => out.push_str(texts.value(row)),
        _ => write(out, array, row, &call.fields[i], call.env.zone)?,
    }
    Ok(true)
}

fn json_object(call: &Call<'_>) -> Result<ArrayRef> {
    let (keeps_nulls, raw) = marks(call)?;
    let columns = (0..call.len()).map(|i| call.column(i)).collect::<Result<Vec<_>>>()?;
    let keys = (1..call.len()).step_by(2).map(|i| call.text(i)).collect::<Result<Vec<_>>>()?;
    call.texts(|row, out| {
        let mut members = BTreeMap::new();
        for (n, key) in keys.iter().enumerate() {
            let Some(key) = key.get(row) else { return user("A key of JSON_OBJECT is NULL.") };
            let mut json = String::new();
            let raw = raw.get(n).copied().unwrap_or(false);
            if value(&mut json, call, &columns, 2 + n * 2, row, raw)? {
                members.insert(key, json);
            } else if keeps_nulls {
                members.insert(key, "null".to_owned());
            }
        }
        object(out, members.iter().map(|(k, v)| (*k, v.as_str())));
        Ok(true)
    })
}

fn json_array(call: &Call<'_>) -> Result<ArrayRef> {
    let (keeps_nulls, raw) = marks(call)?;
    let columns = (0..call.len()).map(|i| call.column(i)).collect::<Result<Vec<_>>>()?;
    call.texts(|row, out| {
        out.push('[');
        for i in 1..call.len() {
            let before = out.len();
            if before > 1 {
                out.push(',');
            }
            let raw = raw.get(i - 1).copied().unwrap_or(false);
            if !value(out, call, &columns, i, row, raw)? {
                if keeps_nulls {
                    out.push_str("null");
                } else {
                    out.truncate(before);
                }
            }
        }
        out.push(']');
        Ok(true)
    })
}

fn object<'m>(out: &mut String, members: impl Iterator<Item = (&'m str, &'m str)>) {
    out.push('{');
    for (n, (key, json)) in members.enumerate() {
        if n > 0 {
            out.push(',');
        }
        quote(out, key);
        out.push(':');
        out.push_str(json);
    }
    out.push('}');
}

/// A text in double quotes, as Jackson writes it.
fn quote(out: &mut String, value: &str) {
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The value as JSON: NULL is `null`, a ROW an object.
fn write(out: &mut String, array: &dyn Array, row: usize, of: &Field, zone: Tz) -> Result<()> {
    use DataType as D;
    if array.data_type().is_null() || array.is_null(row) {
        out.push_str("null");
        return Ok(());
    }
    match array.data_type() {
        D::Boolean => out.push_str(if array.as_boolean().value(row) { "true" } else { "false" }),
        D::Utf8 => quote(out, array.as_string::<i32>().value(row)),
        D::Binary => quote(out, &STANDARD.encode(array.as_binary::<i32>().value(row))),
        D::Float32 => text::java_float(out, array.as_primitive::<Float32Type>().value(row)),
        D::Float64 => text::java_double(out, array.as_primitive::<Float64Type>().value(row)),
        D::Decimal128(_, scale) => decimal(out, array.as_primitive::<Decimal128Type>().value(row), *scale),
        D::Timestamp(_, ltz) => {
            // ISO 8601 without the zeros at the end; TIMESTAMP_LTZ in UTC.
            let mut shown = String::new();
            text::write_value(&mut shown, array, row, of, if ltz.is_some() { Tz::UTC } else { zone });
            let shown = shown.replace(' ', "T");
            let shown = match shown.split_once('.') {
                Some((whole, fraction)) => match fraction.trim_end_matches('0') {
                    "" => whole.to_owned(),
                    fraction => format!("{whole}.{fraction}"),
                },
                None => shown,
            };
            quote(out, &if ltz.is_some() { shown + "Z" } else { shown });
        }
        D::List(item) => {
            let items = array.as_list::<i32>().value(row);
            out.push('[');
            for i in 0..items.len() {
                if i > 0 {
                    out.push(',');
                }
                write(out, &items, i, item, zone)?;
            }
            out.push(']');
        }
        D::Struct(fields) => {
            let columns = array.as_struct();
            let mut members = BTreeMap::new();
            for (f, column) in fields.iter().zip(columns.columns()) {
                let mut json = String::new();
                write(&mut json, column, row, f, zone)?;
                members.insert(f.name().as_str(), json);
            }
            object(out, members.iter().map(|(k, v)| (*k, v.as_str())));
        }
        D::Map(entries, _) => {
            let D::Struct(fields) = entries.data_type() else { return user("A map without entries.") };
            let all = array.as_map().value(row);
            let (keys, values) = (all.column(0).as_string::<i32>(), all.column(1));
            let mut members = BTreeMap::new();
            for i in 0..all.len() {
                let mut json = String::new();
                write(&mut json, values, i, &fields[1], zone)?;
                members.insert(keys.value(i), json);
            }
            object(out, members.iter().map(|(k, v)| (*k, v.as_str())));
        }
        // The integers.
        _ => text::write_value(out, array, row, of, zone),
    }
    Ok(())
}

/// As Java's BigDecimal without the zeros at the end: `1.5`, `1E+2`, `1E-7`.
fn decimal(out: &mut String, mut value: i128, scale: i8) {
    let mut scale = i32::from(scale);
    if value == 0 {
        out.push('0');
        return;
    }
    while value % 10 == 0 {
        value /= 10;
        scale -= 1;
    }
    let digits = value.unsigned_abs().to_string();
    let exponent = digits.len() as i32 - 1 - scale;
    if scale >= 0 && exponent >= -6 {
        text::decimal(out, value, scale as i8);
        return;
    }
    if value < 0 {
        out.push('-');
    }
    out.push_str(&digits[..1]);
    if digits.len() > 1 {
        out.push('.');
        out.push_str(&digits[1..]);
    }
    out.push_str(&format!("E{exponent:+}"));
}
