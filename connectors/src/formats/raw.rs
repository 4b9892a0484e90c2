//! `raw`: the bytes of a record are the value of the table's only column.

use super::column::{Column, Values};
use super::{DecodeError, Decoded, Decoder, Encoder, Format, Payloads, excerpt};
use crate::options::{OptionReader, option};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, SchemaRef,
};
use catalog::Options;
use engine::connector::OptionHelp;
use engine::error::{Error, Result};
use engine::message::ChangeBatch;

/// The format.
#[derive(Debug)]
pub struct Raw;

/// Reads the options; tells whether numbers have their lowest byte first.
fn is_little_endian(options: &Options) -> Result<bool> {
    let help = Raw.options();
    let reader = OptionReader::new("raw", options, &help)?;
    match reader.get("charset") {
        Some(charset) if charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("utf8") => {}
        Some(charset) => {
            return Err(Error::unsupported(
                format!("'raw.charset' = '{charset}'"),
                "Leave it out for UTF-8, or declare the column as BYTES.",
            ));
        }
        None => {}
    }
    Ok(reader.choice("endianness", &["big-endian", "little-endian"])? == Some(1))
}

impl Format for Raw {
    fn name(&self) -> &'static str {
        "raw"
    }

    fn options(&self) -> Vec<OptionHelp> {
        vec![
            option("charset", Some("UTF-8"), false, "Encoding of STRING; only `UTF-8`."),
            option(
                "endianness",
                Some("big-endian"),
                false,
                "Order of a number's bytes, `big-endian` or `little-endian`.",
            ),
        ]
    }

    fn check(&self, options: &Options, schema: &SchemaRef) -> Result<()> {
        is_little_endian(options)?;
        let [field] = schema.fields().as_ref() else {
            return Err(Error::user(format!(
                "The format 'raw' is for tables with one physical column; this one has {}.",
                schema.fields().len()
            )));
        };
        match field.data_type() {
            DataType::Utf8 | DataType::Binary | DataType::Boolean | DataType::Float32 | DataType::Float64 => {
                Ok(())
            }
            t if t.is_signed_integer() => Ok(()),
            _ => Err(Error::user(format!(
                "The format 'raw' has no bytes for the type {} of column `{}`.",
                engine::functions::field::type_text(field),
                field.name()
            ))
            .with_hint("It takes STRING, BYTES, BOOLEAN, and the integer and floating point types.")),
        }
    }

    fn decoder(
        &self,
        options: &Options,
        projection: SchemaRef,
        declared: SchemaRef,
        _zone: chrono_tz::Tz,
    ) -> Result<Box<dyn Decoder>> {
        self.check(options, &declared)?;
        let column = projection.fields().first().map(Column::new).transpose()?;
        Ok(Box::new(RawDecoder { schema: projection, column, little: is_little_endian(options)? }))
    }

    fn encoder(
        &self,
        options: &Options,
        schema: SchemaRef,
        _zone: chrono_tz::Tz,
    ) -> Result<Box<dyn Encoder>> {
        self.check(options, &schema)?;
        Ok(Box::new(RawEncoder { little: is_little_endian(options)? }))
    }
}

struct RawDecoder {
    schema: SchemaRef,
    /// `None` if nobody reads it.
    column: Option<Column>,
    little: bool,
}

impl Decoder for RawDecoder {
    fn decode(&mut self, payloads: &Payloads) -> std::result::Result<Decoded, DecodeError> {
        let mut columns = Vec::new();
        if let Some(column) = &mut self.column {
            column.truncate(0);
            for payload in 0..payloads.len() {
                let bytes = payloads.get(payload);
                if !push(bytes, column, self.little) {
                    let message = format!(
                        "The {} bytes of the record are no {}: {}.",
                        bytes.len(),
                        engine::functions::field::type_text(&column.field),
                        excerpt(bytes, 0, 60)
                    );
                    return Err(DecodeError { payload, message });
                }
            }
            let array = column.finish().map_err(|e| DecodeError { payload: 0, message: e.to_string() })?;
            columns.push(array);
        }
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(payloads.len()));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options);
        let batch = batch.map_err(|e| DecodeError { payload: 0, message: e.to_string() })?;
        Ok(Decoded { batch, kinds: None, origin: None, skipped: 0 })
    }
}

/// Appends the value of `bytes`; false if they are none.
fn push(bytes: &[u8], column: &mut Column, little: bool) -> bool {
    macro_rules! number {
        ($values:expr, $t:ty) => {
            match bytes.try_into() {
                Ok(bytes) if little => $values.push(<$t>::from_le_bytes(bytes)),
                Ok(bytes) => $values.push(<$t>::from_be_bytes(bytes)),
                Err(_) => return false,
            }
        };
    }
    match &mut column.values {
        Values::Text(text) => {
            if simdutf8::basic::from_utf8(bytes).is_err() {
                return false;
            }
            text.bytes.extend_from_slice(bytes);
            if !text.close() {
                return false;
            }
        }
        Values::Binary(all) => {
            all.bytes.extend_from_slice(bytes);
            if !all.close() {
                return false;
            }
        }
        Values::Boolean(values) => match bytes {
            [byte] => values.push(*byte != 0),
            _ => return false,
        },
        Values::Int8(values) => number!(values, i8),
        Values::Int16(values) => number!(values, i16),
        Values::Int32(values) => number!(values, i32),
        Values::Int64(values) => number!(values, i64),
        Values::Float32(values) => number!(values, f32),
        Values::Float64(values) => number!(values, f64),
        _ => return false,
    }
    column.pushed();
    true
}

struct RawEncoder {
    little: bool,
}

impl Encoder for RawEncoder {
    fn encode(&mut self, batch: &ChangeBatch, out: &mut Payloads) -> Result<()> {
        let array = batch.records().column(0);
        for row in 0..batch.num_rows() {
            macro_rules! number {
                ($t:ty) => {{
                    let value = array.as_primitive::<$t>().value(row);
                    match self.little {
                        true => out.push(&value.to_le_bytes()),
                        false => out.push(&value.to_be_bytes()),
                    }
                }};
            }
            match array.data_type() {
                _ if array.is_null(row) => out.push(&[]),
                DataType::Utf8 => out.push(array.as_string::<i32>().value(row).as_bytes()),
                DataType::Binary => out.push(array.as_binary::<i32>().value(row)),
                DataType::Boolean => out.push(&[u8::from(array.as_boolean().value(row))]),
                DataType::Int8 => number!(Int8Type),
                DataType::Int16 => number!(Int16Type),
                DataType::Int32 => number!(Int32Type),
                DataType::Int64 => number!(Int64Type),
                DataType::Float32 => number!(Float32Type),
                DataType::Float64 => number!(Float64Type),
                other => return Err(Error::internal(format!("raw cannot write {other}"))),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int32Array, StringArray};
    use arrow::datatypes::{Field, Schema};
    use std::sync::Arc;

    fn schema(t: DataType) -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("c", t, true)]))
    }

    #[test]
    fn bytes_there_and_back() {
        for (array, bytes, little) in [
            (Arc::new(StringArray::from(vec!["é", ""])) as ArrayRef, vec!["é".as_bytes(), b""], false),
            (
                Arc::new(Int32Array::from(vec![1, -2])),
                vec![&[0u8, 0, 0, 1][..], &[255, 255, 255, 254]],
                false,
            ),
            (Arc::new(Int32Array::from(vec![1])), vec![&[1u8, 0, 0, 0][..]], true),
        ] {
            let schema = schema(array.data_type().clone());
            let endianness = if little { "little-endian" } else { "big-endian" };
            let options: Options = [("endianness".to_string(), endianness.to_string())].into();
            let batch = RecordBatch::try_new(schema.clone(), vec![array]).unwrap();
            let mut out = Payloads::default();
            let mut encoder = Raw.encoder(&options, schema.clone(), chrono_tz::UTC).unwrap();
            encoder.encode(&ChangeBatch::inserts(batch.clone()), &mut out).unwrap();
            assert_eq!(out.iter().collect::<Vec<_>>(), bytes);
            out.pad();
            let mut decoder = Raw.decoder(&options, schema.clone(), schema, chrono_tz::UTC).unwrap();
            assert_eq!(decoder.decode(&out).unwrap().batch, batch);
        }
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let number = schema(DataType::Int32);
        let mut payloads = Payloads::default();
        payloads.push(b"abc");
        let mut decoder = Raw.decoder(&Options::new(), number.clone(), number, chrono_tz::UTC).unwrap();
        let error = decoder.decode(&payloads).unwrap_err();
        assert_eq!(error.message, "The 3 bytes of the record are no INT: abc.");
        let two = Arc::new(Schema::new(vec![
            Field::new("a", DataType::Utf8, true),
            Field::new("b", DataType::Utf8, true),
        ]));
        assert!(Raw.check(&Options::new(), &two).unwrap_err().message().contains("one physical column"));
        assert!(Raw.check(&Options::new(), &schema(DataType::Date32)).is_err());
    }
}
