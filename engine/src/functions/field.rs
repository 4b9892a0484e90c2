//! What a field's Arrow type does not tell: the precision of a time, the length of a CHAR, MULTISET, and the
//! SQL type's text. Reads the metadata that `sql::data_type` writes (`runnel.type`).

use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

/// Metadata key of the SQL type's text, where it is not the Arrow type's default.
pub const TYPE_KEY: &str = "runnel.type";

/// A zone name that marks TIMESTAMP_LTZ in Arrow.
pub const LTZ_ZONE: &str = "UTC";

/// The declared text of the SQL type, if it is not the Arrow type's default.
pub fn declared(field: &Field) -> Option<&str> {
    field.metadata().get(TYPE_KEY).map(String::as_str)
}

/// The number in the first parentheses of the declared type, if its name is one of `names`.
fn declared_number(field: &Field, names: &[&str]) -> Option<usize> {
    let (name, rest) = declared(field)?.split_once('(')?;
    if !names.contains(&name.trim()) {
        return None;
    }
    rest.split_once(')')?.0.trim().parse().ok()
}

/// Digits of a second that a TIME, TIMESTAMP or TIMESTAMP_LTZ has: 0 to 9.
pub fn precision(field: &Field) -> usize {
    let by_unit = |unit: &TimeUnit| match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    };
    match field.data_type() {
        DataType::Timestamp(unit, _) => {
            let most = by_unit(unit);
            declared_number(field, &["TIMESTAMP", "TIMESTAMP_LTZ"]).map_or(most, |p| p.min(most))
        }
        DataType::Time32(_) | DataType::Time64(_) => declared_number(field, &["TIME"]).unwrap_or(0),
        _ => 0,
    }
    .min(9)
}

/// Length limit of a string or byte type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// STRING, BYTES.
    Unlimited,
    /// VARCHAR(n), VARBINARY(n): longer values are cut.
    AtMost(usize),
    /// CHAR(n), BINARY(n): longer values are cut, shorter ones filled up.
    Exactly(usize),
}

/// The length limit that the field declares.
pub fn length(field: &Field) -> Length {
    match field.data_type() {
        DataType::Utf8 | DataType::Binary => {
            if let Some(n) = declared_number(field, &["CHAR", "BINARY"]) {
                Length::Exactly(n)
            } else if let Some(n) = declared_number(field, &["VARCHAR", "VARBINARY"]) {
                Length::AtMost(n)
            } else {
                Length::Unlimited
            }
        }
        _ => Length::Unlimited,
    }
}

/// Whether the field is a MULTISET (and not a MAP).
pub fn is_multiset(field: &Field) -> bool {
    declared(field).is_some_and(|t| t.starts_with("MULTISET"))
}

/// Whether the type is TIMESTAMP_LTZ.
pub fn is_ltz(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(_, Some(_)))
}

/// A field of `data_type` whose declared SQL type is `text`.
pub fn declare(data_type: DataType, nullable: bool, text: impl Into<String>) -> Field {
    Field::new("", data_type, nullable).with_metadata(HashMap::from([(TYPE_KEY.to_string(), text.into())]))
}

/// Arrow's unit for a TIMESTAMP of `precision` digits.
pub fn timestamp_unit(precision: usize) -> TimeUnit {
    match precision {
        0 => TimeUnit::Second,
        1..=3 => TimeUnit::Millisecond,
        4..=6 => TimeUnit::Microsecond,
        _ => TimeUnit::Nanosecond,
    }
}

/// A TIMESTAMP or TIMESTAMP_LTZ field of `precision` digits.
pub fn timestamp(precision: usize, ltz: bool, nullable: bool) -> Field {
    let data_type = DataType::Timestamp(timestamp_unit(precision), ltz.then(|| Arc::from(LTZ_ZONE)));
    match precision {
        0 | 3 | 6 | 9 => Field::new("", data_type, nullable),
        p => declare(data_type, nullable, format!("TIMESTAMP{}({p})", if ltz { "_LTZ" } else { "" })),
    }
}

/// A TIME(0) field.
pub fn time0(nullable: bool) -> Field {
    Field::new("", DataType::Time32(TimeUnit::Millisecond), nullable)
}

/// The same type and metadata under another name and nullability.
pub fn like(field: &Field, nullable: bool) -> Field {
    Field::new("", field.data_type().clone(), nullable)
        .with_metadata(field.metadata().iter().filter(|(k, _)| *k == TYPE_KEY).map(own).collect())
}

fn own((k, v): (&String, &String)) -> (String, String) {
    (k.clone(), v.clone())
}

/// A field of an array's elements.
pub fn item(of: &Field, nullable: bool) -> FieldRef {
    Arc::new(like(of, nullable).with_name("item"))
}

/// Flink's text of the field's SQL type, with ` NOT NULL` where it is; names inside ROW are quoted, as TYPEOF
/// prints them.
pub fn type_text(field: &Field) -> String {
    let mut out = String::new();
    write_type(&mut out, field, false);
    if !field.is_nullable() && !matches!(field.data_type(), DataType::Null) {
        out.push_str(" NOT NULL");
    }
    out
}

/// Flink's text of an Arrow type that has no metadata, for error sentences.
pub fn type_name(data_type: &DataType) -> String {
    type_text(&Field::new("", data_type.clone(), true))
}

fn write_type(out: &mut String, field: &Field, with_null: bool) {
    match field.data_type() {
        DataType::List(item) if declared(field).is_none_or(|t| t.starts_with("ARRAY")) => {
            out.push_str("ARRAY<");
            write_type(out, item, true);
            out.push('>');
        }
        DataType::Map(entries, _) => {
            if let DataType::Struct(kv) = entries.data_type()
                && let [k, v] = &kv[..]
            {
                if is_multiset(field) {
                    out.push_str("MULTISET<");
                    write_type(out, k, true);
                } else {
                    out.push_str("MAP<");
                    write_type(out, k, true);
                    out.push_str(", ");
                    write_type(out, v, true);
                }
                out.push('>');
            }
        }
        DataType::Struct(fields) => {
            out.push_str("ROW<");
            for (i, f) in fields.iter().enumerate() {
                let comma = if i > 0 { ", " } else { "" };
                let _ = write!(out, "{comma}`{}` ", f.name().replace('`', "``"));
                write_type(out, f, true);
            }
            out.push('>');
        }
        other => match declared(field) {
            Some(text) => out.push_str(text),
            None => write_default(out, other, field),
        },
    }
    if with_null && !field.is_nullable() {
        out.push_str(" NOT NULL");
    }
}

fn write_default(out: &mut String, data_type: &DataType, field: &Field) {
    let _ = match data_type {
        DataType::Null => out.write_str("NULL"),
        DataType::Boolean => out.write_str("BOOLEAN"),
        DataType::Int8 => out.write_str("TINYINT"),
        DataType::Int16 => out.write_str("SMALLINT"),
        DataType::Int32 => out.write_str("INT"),
        DataType::Int64 => out.write_str("BIGINT"),
        DataType::Float32 => out.write_str("FLOAT"),
        DataType::Float64 => out.write_str("DOUBLE"),
        DataType::Decimal128(p, s) => write!(out, "DECIMAL({p}, {s})"),
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => out.write_str("STRING"),
        DataType::Binary | DataType::BinaryView | DataType::LargeBinary => out.write_str("BYTES"),
        DataType::Date32 => out.write_str("DATE"),
        DataType::Time32(_) | DataType::Time64(_) => write!(out, "TIME({})", precision(field)),
        DataType::Timestamp(_, None) => write!(out, "TIMESTAMP({})", precision(field)),
        DataType::Timestamp(_, Some(_)) => write!(out, "TIMESTAMP_LTZ({})", precision(field)),
        DataType::Interval(IntervalUnit::YearMonth) => out.write_str("INTERVAL MONTH"),
        DataType::Interval(_) => out.write_str("INTERVAL SECOND(3)"),
        other => write!(out, "{other}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_metadata() {
        let char3 = declare(DataType::Utf8, true, "CHAR(3)");
        assert_eq!(length(&char3), Length::Exactly(3));
        assert_eq!(length(&declare(DataType::Utf8, true, "VARCHAR(6)")), Length::AtMost(6));
        assert_eq!(length(&Field::new("", DataType::Utf8, true)), Length::Unlimited);
        assert_eq!(precision(&timestamp(2, true, true)), 2);
        assert_eq!(precision(&timestamp(3, false, true)), 3);
        assert_eq!(precision(&time0(true)), 0);
    }

    #[test]
    fn prints_types() {
        assert_eq!(type_text(&timestamp(2, false, false)), "TIMESTAMP(2) NOT NULL");
        let item = Arc::new(Field::new("item", DataType::Int32, false));
        assert_eq!(type_text(&Field::new("", DataType::List(item), false)), "ARRAY<INT NOT NULL> NOT NULL");
        let row = DataType::Struct(
            vec![Field::new("a", DataType::Int32, false), Field::new("b", DataType::Utf8, true)].into(),
        );
        assert_eq!(type_text(&Field::new("", row, true)), "ROW<`a` INT NOT NULL, `b` STRING>");
    }
}
