//! JSON: one object a line, with `op` first when the result is not append-only.

use super::ResultWriter;
use super::cells;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, SchemaRef,
};
use chrono_tz::Tz;
use engine::functions::text;
use engine::message::{ChangeBatch, RowKind};
use serde_json::{Map, Number, Value};
use std::io::{self, Write};

/// Writes objects; numbers and booleans as such, the rest as Flink's text, nested values nested.
pub struct Json<W> {
    out: W,
    schema: SchemaRef,
    zone: Tz,
    with_op: bool,
}

impl<W: Write> Json<W> {
    /// `with_op` adds `"op"`.
    pub fn new(out: W, schema: SchemaRef, zone: Tz, with_op: bool) -> Self {
        Self { out, schema, zone, with_op }
    }
}

impl<W: Write> ResultWriter for Json<W> {
    fn begin(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn batch(&mut self, batch: &ChangeBatch) -> io::Result<()> {
        let mut lines = String::new();
        for row in 0..batch.num_rows() {
            let op = self.with_op.then(|| batch.kind(row));
            lines.push_str(&object(batch.records(), &self.schema, row, self.zone, op));
            lines.push('\n');
        }
        self.out.write_all(lines.as_bytes())?;
        self.out.flush()
    }

    fn end(&mut self, _interrupted: bool) -> io::Result<()> {
        self.out.flush()
    }
}

/// One row as an object.
pub fn object(batch: &RecordBatch, schema: &SchemaRef, row: usize, zone: Tz, op: Option<RowKind>) -> String {
    let mut object = Map::new();
    if let Some(op) = op {
        object.insert("op".into(), op.short().into());
    }
    for (field, array) in schema.fields().iter().zip(batch.columns()) {
        object.insert(field.name().clone(), value(array.as_ref(), row, field, zone));
    }
    Value::Object(object).to_string()
}

fn value(array: &dyn Array, row: usize, field: &Field, zone: Tz) -> Value {
    if cells::is_null(array, row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::Float32 => {
            // Through the shortest text, so that 0.1 does not become 0.10000000149011612.
            let x = array.as_primitive::<Float32Type>().value(row);
            float(x.to_string().parse().unwrap_or(f64::from(x)))
        }
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row)),
        DataType::List(item) => {
            let items = array.as_list::<i32>().value(row);
            (0..items.len()).map(|i| value(items.as_ref(), i, item, zone)).collect()
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let entries = fields.iter().zip(columns);
            Value::Object(entries.map(|(f, a)| (f.name().clone(), value(a.as_ref(), row, f, zone))).collect())
        }
        DataType::Map(entries, _) => {
            let pairs = array.as_map().value(row);
            let DataType::Struct(fields) = entries.data_type() else { return Value::Null };
            let (keys, values) = (pairs.column(0), pairs.column(1));
            let key = |i| match value(keys.as_ref(), i, &fields[0], zone) {
                Value::String(s) => s,
                other => other.to_string(),
            };
            Value::Object(
                (0..pairs.len()).map(|i| (key(i), value(values.as_ref(), i, &fields[1], zone))).collect(),
            )
        }
        _ => {
            let mut cell = String::new();
            text::write_value(&mut cell, array, row, field, zone);
            match array.data_type() {
                // Exact, where a double would not be.
                DataType::Decimal128(..) => cell
                    .parse::<f64>()
                    .ok()
                    .and_then(Number::from_f64)
                    .filter(|n| n.to_string() == cell)
                    .map_or(Value::String(cell), Value::Number),
                _ => Value::String(cell),
            }
        }
    }
}

fn float(x: f64) -> Value {
    Number::from_f64(x).map_or_else(|| Value::String(x.to_string()), Value::Number)
}
