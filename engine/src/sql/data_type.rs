//! `SqlType`: the only table of types. SQL text to Flink's types, and Flink's types to Arrow and back.
//!
//! Arrow cannot tell `CHAR(3)` from `STRING`, nor `TIMESTAMP(2)` from `TIMESTAMP(3)`: where the Arrow type alone
//! would be read as another SQL type, the field carries the SQL type's text under [`TYPE_KEY`].

use crate::error::{Error, Result};
use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, TimeUnit};
use datafusion_sql::sqlparser::ast;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Key of the field metadata that holds the SQL type's text, without NOT NULL, where Arrow's type loses it.
pub const TYPE_KEY: &str = "runnel.type";
/// Key of the field metadata that marks a time attribute: `rowtime` or `proctime`.
pub const TIME_KEY: &str = "runnel.time";
/// Length of STRING and BYTES, and the largest that a type may have.
pub const MAX_LENGTH: u32 = i32::MAX as u32;
/// Most digits of a DECIMAL; more are cut to this, as Flink does.
pub const MAX_DECIMAL_PRECISION: u8 = 38;
/// Most fraction digits of a TIMESTAMP; more are cut to this, as Flink does.
pub const MAX_TIME_PRECISION: u8 = 9;

/// A type of Flink SQL, without its nullability.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SqlType {
    /// Of the literal NULL.
    Null,
    /// `CHAR(n)`: characters, padded with spaces by CAST.
    Char(u32),
    /// `VARCHAR(n)`; `STRING` is the longest.
    Varchar(u32),
    /// `BINARY(n)`: bytes.
    Binary(u32),
    /// `VARBINARY(n)`; `BYTES` is the longest.
    Varbinary(u32),
    /// `BOOLEAN`
    Boolean,
    /// `TINYINT`: 8 bits, signed.
    TinyInt,
    /// `SMALLINT`: 16 bits, signed.
    SmallInt,
    /// `INT`: 32 bits, signed.
    Int,
    /// `BIGINT`: 64 bits, signed.
    BigInt,
    /// `DECIMAL(precision, scale)`
    Decimal(u8, u8),
    /// `FLOAT`: 32 bits.
    Float,
    /// `DOUBLE`: 64 bits.
    Double,
    /// `DATE`
    Date,
    /// `TIME(p)`; columns and casts always have precision 0, as in Flink.
    Time(u8),
    /// `TIMESTAMP(p)`: wall time.
    Timestamp(u8),
    /// `TIMESTAMP_LTZ(p)`: a point in time, shown in the session's zone.
    TimestampLtz(u8),
    /// All intervals of years and months.
    IntervalYearMonth,
    /// All intervals of days to seconds.
    IntervalDayTime,
    /// `ARRAY<T>`
    Array(Box<Element>),
    /// `MAP<K, V>`
    Map(Box<Element>, Box<Element>),
    /// `MULTISET<T>`: elements and how often they occur.
    Multiset(Box<Element>),
    /// `ROW<name T, …>`
    Row(Vec<RowField>),
}

/// The type of an array's, map's or multiset's elements.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Element {
    /// Its type.
    pub data_type: SqlType,
    /// False where declared NOT NULL.
    pub nullable: bool,
}

/// One field of a ROW.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowField {
    /// Without quotes.
    pub name: String,
    /// Its type.
    pub data_type: SqlType,
    /// False where declared NOT NULL.
    pub nullable: bool,
}

/// What a time attribute counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeKind {
    /// Event time: the column of a WATERMARK.
    Rowtime,
    /// Processing time: `PROCTIME()`.
    Proctime,
}

impl SqlType {
    /// The longest VARCHAR.
    pub const STRING: Self = Self::Varchar(MAX_LENGTH);
    /// The longest VARBINARY.
    pub const BYTES: Self = Self::Varbinary(MAX_LENGTH);

    /// Reads a type as it stands in SQL, with its nullability: `INT NOT NULL` gives `(Int, false)`.
    ///
    /// Errors: no such type, or a length or precision out of range, with the place in `text`.
    pub fn parse(text: &str) -> Result<(Self, bool)> {
        super::parser::whole(text, |s| super::type_parser::parse_type(&mut s.p))
    }

    /// The type that sqlparser's `data_type` stands for: casts parsed by us carry our text, the rest is read
    /// as sqlparser prints it.
    pub fn of_ast(data_type: &ast::DataType) -> Result<(Self, bool)> {
        Self::parse(&data_type.to_string()).map(|(t, nullable)| (t.declared(), nullable))
    }

    /// The type in sqlparser's terms, to be read back by [`SqlType::of_ast`].
    pub fn to_ast(&self) -> ast::DataType {
        ast::DataType::Custom(ast::ObjectName::from(vec![ast::Ident::new(self.to_string())]), vec![])
    }

    /// The type that a column or a CAST gets when this one is written: Flink's planner knows no fractions of
    /// seconds in TIME, whatever precision is declared.
    pub fn declared(self) -> Self {
        let element = |e: Box<Element>| Box::new(Element { data_type: e.data_type.declared(), ..*e });
        match self {
            Self::Time(_) => Self::Time(0),
            Self::Array(e) => Self::Array(element(e)),
            Self::Multiset(e) => Self::Multiset(element(e)),
            Self::Map(k, v) => Self::Map(element(k), element(v)),
            Self::Row(fields) => Self::Row(
                fields.into_iter().map(|f| RowField { data_type: f.data_type.declared(), ..f }).collect(),
            ),
            other => other,
        }
    }

    /// The Arrow type of its values.
    pub fn to_arrow(&self) -> DataType {
        let unit = |p: &u8| match p {
            0 => TimeUnit::Second,
            1..=3 => TimeUnit::Millisecond,
            4..=6 => TimeUnit::Microsecond,
            _ => TimeUnit::Nanosecond,
        };
        match self {
            Self::Null => DataType::Null,
            Self::Char(_) | Self::Varchar(_) => DataType::Utf8,
            Self::Binary(_) | Self::Varbinary(_) => DataType::Binary,
            Self::Boolean => DataType::Boolean,
            Self::TinyInt => DataType::Int8,
            Self::SmallInt => DataType::Int16,
            Self::Int => DataType::Int32,
            Self::BigInt => DataType::Int64,
            Self::Decimal(precision, scale) => DataType::Decimal128(*precision, *scale as i8),
            Self::Float => DataType::Float32,
            Self::Double => DataType::Float64,
            Self::Date => DataType::Date32,
            Self::Time(_) => DataType::Time32(TimeUnit::Millisecond),
            Self::Timestamp(p) => DataType::Timestamp(unit(p), None),
            Self::TimestampLtz(p) => DataType::Timestamp(unit(p), Some("UTC".into())),
            Self::IntervalYearMonth => DataType::Interval(IntervalUnit::YearMonth),
            Self::IntervalDayTime => DataType::Interval(IntervalUnit::DayTime),
            Self::Array(e) => DataType::List(Arc::new(e.data_type.to_field("item", e.nullable))),
            Self::Map(k, v) => map_type(&k.data_type, v.data_type.to_field("value", v.nullable)),
            Self::Multiset(e) => map_type(&e.data_type, Self::Int.to_field("value", false)),
            Self::Row(fields) => DataType::Struct(
                fields.iter().map(|f| f.data_type.to_field(&f.name, f.nullable)).collect::<Fields>(),
            ),
        }
    }

    /// A column of this type. [`SqlType::of`] gives the type back.
    pub fn to_field(&self, name: impl Into<String>, nullable: bool) -> Field {
        let arrow = self.to_arrow();
        let lost = Self::from_arrow(&arrow) != *self;
        let field = Field::new(name, arrow, nullable);
        if !lost {
            return field;
        }
        field.with_metadata(HashMap::from([(TYPE_KEY.to_owned(), self.to_string())]))
    }

    /// The SQL type of a column: that of its metadata, else the one natural for its Arrow type.
    pub fn of(field: &Field) -> Self {
        // A text that does not fit the Arrow type is a left-over of an expression that copied metadata.
        field
            .metadata()
            .get(TYPE_KEY)
            .and_then(|text| Self::parse(text).ok())
            .map(|(data_type, _)| data_type)
            .filter(|data_type| same_layout(&data_type.to_arrow(), field.data_type()))
            .unwrap_or_else(|| Self::from_arrow(field.data_type()))
    }

    /// The SQL type natural for an Arrow type; nested fields may carry metadata of their own.
    pub fn from_arrow(arrow: &DataType) -> Self {
        let digits = |unit: &TimeUnit| match unit {
            TimeUnit::Second => 0,
            TimeUnit::Millisecond => 3,
            TimeUnit::Microsecond => 6,
            TimeUnit::Nanosecond => 9,
        };
        let element = |f: &Field| Box::new(Element { data_type: Self::of(f), nullable: f.is_nullable() });
        match arrow {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Boolean,
            DataType::Int8 => Self::TinyInt,
            DataType::Int16 | DataType::UInt8 => Self::SmallInt,
            DataType::Int32 | DataType::UInt16 => Self::Int,
            DataType::Int64 | DataType::UInt32 | DataType::UInt64 => Self::BigInt,
            DataType::Float16 | DataType::Float32 => Self::Float,
            DataType::Float64 => Self::Double,
            DataType::Decimal32(p, s)
            | DataType::Decimal64(p, s)
            | DataType::Decimal128(p, s)
            | DataType::Decimal256(p, s) => {
                let precision = (*p).clamp(1, MAX_DECIMAL_PRECISION);
                Self::Decimal(precision, (*s).clamp(0, precision as i8) as u8)
            }
            DataType::Date32 | DataType::Date64 => Self::Date,
            DataType::Time32(_) | DataType::Time64(_) => Self::Time(0),
            DataType::Timestamp(unit, None) => Self::Timestamp(digits(unit)),
            DataType::Timestamp(unit, Some(_)) => Self::TimestampLtz(digits(unit)),
            DataType::Interval(IntervalUnit::YearMonth) => Self::IntervalYearMonth,
            DataType::Interval(_) | DataType::Duration(_) => Self::IntervalDayTime,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Self::BYTES,
            DataType::FixedSizeBinary(n) => Self::Binary(u32::try_from(*n).unwrap_or(MAX_LENGTH)),
            DataType::List(f)
            | DataType::LargeList(f)
            | DataType::ListView(f)
            | DataType::LargeListView(f)
            | DataType::FixedSizeList(f, _) => Self::Array(element(f)),
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(fields) if fields.len() == 2 => {
                    // Arrow's keys are never null; Flink's are declared nullable unless the metadata says more.
                    let key = Box::new(Element { data_type: Self::of(&fields[0]), nullable: true });
                    Self::Map(key, element(&fields[1]))
                }
                _ => Self::Null,
            },
            DataType::Struct(fields) => Self::Row(
                fields
                    .iter()
                    .map(|f| RowField {
                        name: f.name().clone(),
                        data_type: Self::of(f),
                        nullable: f.is_nullable(),
                    })
                    .collect(),
            ),
            DataType::Dictionary(_, value) => Self::from_arrow(value),
            DataType::RunEndEncoded(_, value) => Self::of(value),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Union(..) => Self::STRING,
        }
    }

    /// Whether this is a TIMESTAMP or TIMESTAMP_LTZ that may be event time: of precision 3 or less.
    pub fn is_rowtime(&self) -> bool {
        matches!(self, Self::Timestamp(p) | Self::TimestampLtz(p) if *p <= 3)
    }

    /// Whether values of this type go into a column of type `target` without CAST, as Flink decides at
    /// INSERT. Both are taken as nullable.
    pub fn casts_implicitly_to(&self, target: &Self) -> bool {
        use SqlType::*;
        let numeric =
            |t: &Self| matches!(t, TinyInt | SmallInt | Int | BigInt | Decimal(..) | Float | Double);
        if self == target || *self == Null {
            return true;
        }
        match (self, target) {
            (Char(_), Char(_)) | (Char(_) | Varchar(_), Varchar(_)) => true,
            (Binary(_), Binary(_)) | (Binary(_) | Varbinary(_), Varbinary(_)) => true,
            (TinyInt, SmallInt | Int | BigInt | Float) => true,
            (SmallInt, Int | BigInt | Float) => true,
            (Int, BigInt | Float) => true,
            (BigInt, Float) | (Decimal(..), Float) => true,
            (from, Decimal(..) | Double) if numeric(from) => true,
            (Date, Date) => true,
            (Timestamp(_), Date | Time(_)) => true,
            (Time(_), Time(_)) => true,
            (Timestamp(_) | TimestampLtz(_), Timestamp(_) | TimestampLtz(_)) => true,
            (Array(a), Array(b)) | (Multiset(a), Multiset(b)) => a.casts_implicitly_to(b),
            (Map(ak, av), Map(bk, bv)) => ak.casts_implicitly_to(bk) && av.casts_implicitly_to(bv),
            (Row(a), Row(b)) => {
                a.len() == b.len()
                    && a.iter().zip(b).all(|(a, b)| {
                        (b.nullable || !a.nullable) && a.data_type.casts_implicitly_to(&b.data_type)
                    })
            }
            _ => false,
        }
    }

    /// The type as SHOW CREATE TABLE writes it: nothing abbreviated, `VARCHAR(2147483647)` for STRING.
    pub fn ddl(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, true);
        text
    }

    fn write(&self, out: &mut String, ddl: bool) {
        use std::fmt::Write;
        let element = |out: &mut String, e: &Element| {
            e.data_type.write(out, ddl);
            out.push_str(if e.nullable { "" } else { " NOT NULL" });
        };
        // Writing to a String cannot fail.
        let _ = match self {
            Self::Null => write!(out, "NULL"),
            Self::Char(n) => write!(out, "CHAR({n})"),
            Self::Varchar(MAX_LENGTH) if !ddl => write!(out, "STRING"),
            Self::Varchar(n) => write!(out, "VARCHAR({n})"),
            Self::Binary(n) => write!(out, "BINARY({n})"),
            Self::Varbinary(MAX_LENGTH) if !ddl => write!(out, "BYTES"),
            Self::Varbinary(n) => write!(out, "VARBINARY({n})"),
            Self::Boolean => write!(out, "BOOLEAN"),
            Self::TinyInt => write!(out, "TINYINT"),
            Self::SmallInt => write!(out, "SMALLINT"),
            Self::Int => write!(out, "INT"),
            Self::BigInt => write!(out, "BIGINT"),
            Self::Decimal(p, s) => write!(out, "DECIMAL({p}, {s})"),
            Self::Float => write!(out, "FLOAT"),
            Self::Double => write!(out, "DOUBLE"),
            Self::Date => write!(out, "DATE"),
            Self::Time(p) => write!(out, "TIME({p})"),
            Self::Timestamp(p) => write!(out, "TIMESTAMP({p})"),
            Self::TimestampLtz(p) if ddl => write!(out, "TIMESTAMP({p}) WITH LOCAL TIME ZONE"),
            Self::TimestampLtz(p) => write!(out, "TIMESTAMP_LTZ({p})"),
            Self::IntervalYearMonth => write!(out, "INTERVAL MONTH"),
            Self::IntervalDayTime => write!(out, "INTERVAL SECOND(3)"),
            Self::Array(e) => {
                out.push_str("ARRAY<");
                element(out, e);
                write!(out, ">")
            }
            Self::Multiset(e) => {
                out.push_str("MULTISET<");
                element(out, e);
                write!(out, ">")
            }
            Self::Map(k, v) => {
                out.push_str("MAP<");
                element(out, k);
                out.push_str(", ");
                element(out, v);
                write!(out, ">")
            }
            Self::Row(fields) => {
                out.push_str("ROW<");
                for (i, f) in fields.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { ", " });
                    let _ = write!(out, "{} ", catalog::quote_identifier(&f.name));
                    f.data_type.write(out, ddl);
                    out.push_str(if f.nullable { "" } else { " NOT NULL" });
                }
                write!(out, ">")
            }
        };
    }
}

impl Element {
    /// An element that may be null.
    pub fn nullable(data_type: SqlType) -> Self {
        Self { data_type, nullable: true }
    }

    fn casts_implicitly_to(&self, target: &Self) -> bool {
        (target.nullable || !self.nullable) && self.data_type.casts_implicitly_to(&target.data_type)
    }
}

/// As DESCRIBE writes it: `STRING`, `BYTES`, `TIMESTAMP_LTZ(3)`.
impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text, false);
        f.pad(&text)
    }
}

/// The kind of time attribute that a column is, if it is one.
pub fn time_attribute(field: &Field) -> Option<TimeKind> {
    match field.metadata().get(TIME_KEY).map(String::as_str) {
        Some("rowtime") => Some(TimeKind::Rowtime),
        Some("proctime") => Some(TimeKind::Proctime),
        _ => None,
    }
}

/// The same column, marked as a time attribute.
pub fn with_time_attribute(field: Field, kind: TimeKind) -> Field {
    let mut metadata = field.metadata().clone();
    let value = match kind {
        TimeKind::Rowtime => "rowtime",
        TimeKind::Proctime => "proctime",
    };
    metadata.insert(TIME_KEY.to_owned(), value.to_owned());
    field.with_metadata(metadata)
}

/// The same column as a plain timestamp.
pub fn without_time_attribute(field: Field) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.remove(TIME_KEY);
    field.with_metadata(metadata)
}

/// The type of a column as DESCRIBE and Flink's error texts show it, with NOT NULL and its mark as a time
/// attribute: `TIMESTAMP(3) *ROWTIME*`.
pub fn describe_type(field: &Field) -> String {
    let mut text = SqlType::of(field).to_string();
    if !field.is_nullable() {
        text.push_str(" NOT NULL");
    }
    match time_attribute(field) {
        Some(TimeKind::Rowtime) => text.push_str(" *ROWTIME*"),
        Some(TimeKind::Proctime) => text.push_str(" *PROCTIME*"),
        None => {}
    }
    text
}

/// Checks DECIMAL's numbers and cuts the precision to the largest, with Flink's texts.
pub(super) fn decimal(precision: u64, scale: u64) -> Result<SqlType> {
    if precision == 0 {
        return Err(Error::user(format!(
            "Decimal precision must be between 1 and {MAX_DECIMAL_PRECISION} (both inclusive)."
        )));
    }
    let precision = precision.min(u64::from(MAX_DECIMAL_PRECISION)) as u8;
    if scale > u64::from(precision) {
        return Err(Error::user(format!(
            "Decimal scale must be between 0 and the precision {precision} (both inclusive)."
        )));
    }
    Ok(SqlType::Decimal(precision, scale as u8))
}

fn map_type(key: &SqlType, value: Field) -> DataType {
    let entries = Fields::from(vec![key.to_field("key", false), value]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

/// Whether two Arrow types store values alike, whatever their fields' names and metadata.
fn same_layout(a: &DataType, b: &DataType) -> bool {
    match (a, b) {
        (DataType::Struct(a), DataType::Struct(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_layout(a.data_type(), b.data_type()))
        }
        (DataType::List(a), DataType::List(b)) | (DataType::Map(a, _), DataType::Map(b, _)) => {
            same_layout(a.data_type(), b.data_type())
        }
        (DataType::Timestamp(a, az), DataType::Timestamp(b, bz)) => a == b && az.is_some() == bz.is_some(),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> SqlType {
        SqlType::parse(text).unwrap_or_else(|e| panic!("{text}: {e}")).0
    }

    #[test]
    fn reads_and_prints_every_type_as_flink_does() {
        // Text, DESCRIBE's form, SHOW CREATE TABLE's form: all as Flink 1.20 printed them.
        for (text, short, long) in [
            ("CHAR", "CHAR(1)", "CHAR(1)"),
            ("char(3)", "CHAR(3)", "CHAR(3)"),
            ("CHARACTER(3)", "CHAR(3)", "CHAR(3)"),
            ("VARCHAR", "STRING", "VARCHAR(2147483647)"),
            ("CHARACTER VARYING(4)", "VARCHAR(4)", "VARCHAR(4)"),
            ("VARCHAR(6)", "VARCHAR(6)", "VARCHAR(6)"),
            ("STRING", "STRING", "VARCHAR(2147483647)"),
            ("BINARY", "BINARY(1)", "BINARY(1)"),
            ("VARBINARY", "BYTES", "VARBINARY(2147483647)"),
            ("VARBINARY(5)", "VARBINARY(5)", "VARBINARY(5)"),
            ("BYTES", "BYTES", "VARBINARY(2147483647)"),
            ("BOOLEAN", "BOOLEAN", "BOOLEAN"),
            ("TINYINT", "TINYINT", "TINYINT"),
            ("SMALLINT", "SMALLINT", "SMALLINT"),
            ("INTEGER", "INT", "INT"),
            ("BIGINT", "BIGINT", "BIGINT"),
            ("DECIMAL", "DECIMAL(10, 0)", "DECIMAL(10, 0)"),
            ("DEC(4,1)", "DECIMAL(4, 1)", "DECIMAL(4, 1)"),
            ("NUMERIC(7)", "DECIMAL(7, 0)", "DECIMAL(7, 0)"),
            ("DECIMAL(39,2)", "DECIMAL(38, 2)", "DECIMAL(38, 2)"),
            ("FLOAT", "FLOAT", "FLOAT"),
            ("DOUBLE", "DOUBLE", "DOUBLE"),
            ("DOUBLE PRECISION", "DOUBLE", "DOUBLE"),
            ("DATE", "DATE", "DATE"),
            ("TIME", "TIME(0)", "TIME(0)"),
            ("TIME(2) WITHOUT TIME ZONE", "TIME(2)", "TIME(2)"),
            ("TIMESTAMP", "TIMESTAMP(6)", "TIMESTAMP(6)"),
            ("TIMESTAMP(10)", "TIMESTAMP(9)", "TIMESTAMP(9)"),
            ("TIMESTAMP(9) WITHOUT TIME ZONE", "TIMESTAMP(9)", "TIMESTAMP(9)"),
            ("TIMESTAMP(3) WITH LOCAL TIME ZONE", "TIMESTAMP_LTZ(3)", "TIMESTAMP(3) WITH LOCAL TIME ZONE"),
            ("TIMESTAMP_LTZ", "TIMESTAMP_LTZ(6)", "TIMESTAMP(6) WITH LOCAL TIME ZONE"),
            ("TIMESTAMP_LTZ(0)", "TIMESTAMP_LTZ(0)", "TIMESTAMP(0) WITH LOCAL TIME ZONE"),
            ("INTERVAL YEAR TO MONTH", "INTERVAL MONTH", "INTERVAL MONTH"),
            ("INTERVAL DAY(3) TO SECOND(6)", "INTERVAL SECOND(3)", "INTERVAL SECOND(3)"),
            ("INTERVAL MINUTES", "INTERVAL SECOND(3)", "INTERVAL SECOND(3)"),
            ("ARRAY<INT>", "ARRAY<INT>", "ARRAY<INT>"),
            ("INT ARRAY ARRAY", "ARRAY<ARRAY<INT>>", "ARRAY<ARRAY<INT>>"),
            ("ARRAY<INT NOT NULL> NOT NULL", "ARRAY<INT NOT NULL>", "ARRAY<INT NOT NULL>"),
            ("MAP<STRING, INT>", "MAP<STRING, INT>", "MAP<VARCHAR(2147483647), INT>"),
            ("INT MULTISET", "MULTISET<INT>", "MULTISET<INT>"),
            ("MULTISET<STRING>", "MULTISET<STRING>", "MULTISET<VARCHAR(2147483647)>"),
            (
                "MAP<STRING NOT NULL, ROW<x INT, y STRING>>",
                "MAP<STRING NOT NULL, ROW<`x` INT, `y` STRING>>",
                "MAP<VARCHAR(2147483647) NOT NULL, ROW<`x` INT, `y` VARCHAR(2147483647)>>",
            ),
            (
                "ROW<x INT NOT NULL 'the comment', `y z` ARRAY<ROW<q INT>>>",
                "ROW<`x` INT NOT NULL, `y z` ARRAY<ROW<`q` INT>>>",
                "ROW<`x` INT NOT NULL, `y z` ARRAY<ROW<`q` INT>>>",
            ),
            ("ROW(x INT, y STRING)", "ROW<`x` INT, `y` STRING>", "ROW<`x` INT, `y` VARCHAR(2147483647)>"),
            ("ROW<>", "ROW<>", "ROW<>"),
            ("NULL", "NULL", "NULL"),
        ] {
            let parsed = parse(text);
            assert_eq!(parsed.to_string(), short, "{text}");
            assert_eq!(parsed.ddl(), long, "{text}");
            // What is printed reads back to the same type, in both forms.
            assert_eq!(parse(short), parsed, "{short}");
            assert_eq!(parse(long), parsed, "{long}");
        }
    }

    #[test]
    fn nullability_stands_beside_the_type() {
        assert_eq!(SqlType::parse("INT NOT NULL").unwrap(), (SqlType::Int, false));
        assert_eq!(SqlType::parse("INT NULL").unwrap(), (SqlType::Int, true));
        assert!(!SqlType::parse("ARRAY<INT>  NOT  NULL").unwrap().1);
    }

    #[test]
    fn every_type_survives_the_way_through_arrow() {
        for text in [
            "CHAR(3)",
            "STRING",
            "VARCHAR(6)",
            "BINARY(4)",
            "BYTES",
            "VARBINARY(5)",
            "BOOLEAN",
            "TINYINT",
            "SMALLINT",
            "INT",
            "BIGINT",
            "DECIMAL(38, 38)",
            "FLOAT",
            "DOUBLE",
            "DATE",
            "TIME(0)",
            "TIME(3)",
            "TIMESTAMP(0)",
            "TIMESTAMP(2)",
            "TIMESTAMP(3)",
            "TIMESTAMP(6)",
            "TIMESTAMP(7)",
            "TIMESTAMP_LTZ(1)",
            "TIMESTAMP_LTZ(9)",
            "INTERVAL MONTH",
            "INTERVAL SECOND(3)",
            "ARRAY<CHAR(2) NOT NULL>",
            "MAP<STRING, TIMESTAMP(1)>",
            "MAP<INT NOT NULL, INT NOT NULL>",
            "MULTISET<VARCHAR(3)>",
            "ROW<`a b` INT NOT NULL, `c` ROW<`d` MULTISET<INT>>>",
            "NULL",
        ] {
            let t = parse(text);
            for nullable in [true, false] {
                let field = t.to_field("c", nullable);
                assert_eq!(SqlType::of(&field), t, "{text}: {field:?}");
                assert_eq!(field.is_nullable(), nullable);
            }
        }
    }

    #[test]
    fn plain_types_carry_no_metadata() {
        for text in
            ["STRING", "INT", "TIMESTAMP(3)", "TIMESTAMP_LTZ(3)", "DECIMAL(5, 2)", "ARRAY<ROW<a INT>>"]
        {
            assert!(parse(text).to_field("c", true).metadata().is_empty(), "{text}");
        }
        assert_eq!(parse("VARCHAR(6)").to_field("c", true).metadata()[TYPE_KEY], "VARCHAR(6)");
    }

    #[test]
    fn metadata_that_does_not_fit_the_arrow_type_is_ignored() {
        let field = Field::new("c", DataType::Int64, true)
            .with_metadata(HashMap::from([(TYPE_KEY.to_owned(), "CHAR(3)".to_owned())]));
        assert_eq!(SqlType::of(&field), SqlType::BigInt);
    }

    #[test]
    fn wrong_types_are_refused_with_the_place() {
        for (text, message, at) in [
            ("DECIMAL(5, 7)", "Decimal scale must be between 0 and the precision 5 (both inclusive).", 1),
            ("DECIMAL(0)", "Decimal precision must be between 1 and 38 (both inclusive).", 1),
            ("VARCHAR(2147483648)", "2147483648 is too large: at most 2147483647 is possible here.", 9),
            ("TEXT", "There is no type `TEXT`.", 1),
            ("MAP<INT>", "Expected `,` but found `>`.", 8),
            ("INT(3)", "Expected the end of the statement but found `(`.", 4),
            ("ROW<x INT, x INT>", "Field names must be unique. Found duplicates: [x]", 12),
            ("TIMESTAMP(3) WITH TIME ZONE", "TIMESTAMP WITH TIME ZONE is not supported yet.", 14),
            ("INTERVAL DAY TO YEAR", "INTERVAL cannot go from DAY to YEAR.", 17),
            ("ARRAY<", "Expected a type but the text ends.", 7),
            ("", "Expected a type but the text ends.", 1),
        ] {
            let e = SqlType::parse(text).unwrap_err();
            assert_eq!(e.message(), message, "{text}");
            assert_eq!(e.span().unwrap().start.column, at, "{text}");
        }
        let e = SqlType::parse("STRNG").unwrap_err();
        assert_eq!(e.hint(), Some("Did you mean STRING?"));
    }

    #[test]
    fn deep_types_are_refused_before_the_stack_ends() {
        let text = format!("{}INT{}", "ARRAY<".repeat(400), ">".repeat(400));
        assert!(SqlType::parse(&text).unwrap_err().message().contains("nested too deeply"));
        let text = format!("INT{}", " ARRAY".repeat(5000));
        assert!(SqlType::parse(&text).unwrap_err().message().contains("nested too deeply"));
    }

    #[test]
    fn time_attributes_are_marks_on_fields() {
        let plain = parse("TIMESTAMP(3)").to_field("ts", true);
        assert_eq!(time_attribute(&plain), None);
        let rowtime = with_time_attribute(plain.clone(), TimeKind::Rowtime);
        assert_eq!(time_attribute(&rowtime), Some(TimeKind::Rowtime));
        assert_eq!(describe_type(&rowtime), "TIMESTAMP(3) *ROWTIME*");
        assert_eq!(without_time_attribute(rowtime), plain);
        let proctime =
            with_time_attribute(parse("TIMESTAMP_LTZ(3)").to_field("pt", false), TimeKind::Proctime);
        assert_eq!(describe_type(&proctime), "TIMESTAMP_LTZ(3) NOT NULL *PROCTIME*");
    }

    #[test]
    fn implicit_casts_are_flinks() {
        for (from, to, allowed) in [
            ("INT", "BIGINT", true),
            ("BIGINT", "INT", false),
            ("CHAR(3)", "STRING", true),
            ("STRING", "VARCHAR(2)", true),
            ("STRING", "CHAR(2)", false),
            ("STRING", "INT", false),
            ("INT", "STRING", false),
            ("DECIMAL(10,2)", "DOUBLE", true),
            ("DOUBLE", "DECIMAL(10,2)", true),
            ("DOUBLE", "FLOAT", false),
            ("TIMESTAMP(3)", "TIMESTAMP_LTZ(3)", true),
            ("TIMESTAMP(6)", "TIMESTAMP(3)", true),
            ("TIMESTAMP(3)", "DATE", true),
            ("DATE", "TIMESTAMP(3)", false),
            ("ARRAY<INT>", "ARRAY<BIGINT>", true),
            ("ARRAY<INT>", "ARRAY<INT NOT NULL>", false),
            ("ROW<a INT>", "ROW<b BIGINT>", true),
            ("ROW<a INT>", "ROW<a INT, b INT>", false),
            ("NULL", "INT", true),
        ] {
            assert_eq!(parse(from).casts_implicitly_to(&parse(to)), allowed, "{from} -> {to}");
        }
    }

    #[test]
    fn declared_time_has_no_fraction() {
        let t = SqlType::of_ast(&parse("ROW<a TIME(3)>").to_ast()).unwrap().0;
        assert_eq!(t.to_string(), "ROW<`a` TIME(0)>");
    }
}
