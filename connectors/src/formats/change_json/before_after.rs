//! Records with the row `before` and the row `after` a change.

use super::{Change, ChangeJson, Found, Reading, internal, row_type};
use crate::formats::json::Json;
use crate::formats::{DecodeError, Decoded, Decoder, Format, Payloads};
use arrow::array::{Array, ArrayRef, AsArray, StringArray, StructArray};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use catalog::Options;
use engine::error::Result;
use engine::message::RowKind;
use std::sync::Arc;

/// Index of `before` in a record, and of its rows in what is picked from.
pub(super) const BEFORE: usize = 0;
/// The same of `after`.
pub(super) const AFTER: usize = 1;

/// The columns of a record.
pub(super) fn envelope(format: &ChangeJson, row: &Fields) -> Fields {
    Fields::from(vec![
        Field::new("before", row_type(row), true),
        Field::new("after", row_type(row), true),
        Field::new(format.ops.key, DataType::Utf8, true),
    ])
}

/// A decoder with the options `inner` of the rows' JSON.
pub(super) fn decoder(
    format: &ChangeJson,
    inner: &Options,
    wrapped: bool,
    projection: SchemaRef,
    zone: chrono_tz::Tz,
) -> Result<Box<dyn Decoder>> {
    let envelope = envelope(format, projection.fields());
    let fields = match wrapped {
        true => Fields::from(vec![Field::new("payload", DataType::Struct(envelope), true)]),
        false => envelope,
    };
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let json = Json.decoder(inner, schema.clone(), schema, zone)?;
    Ok(Box::new(BeforeAfter { reading: Reading::new(format, inner), json, wrapped, projection }))
}

struct BeforeAfter {
    reading: Reading,
    json: Box<dyn Decoder>,
    wrapped: bool,
    projection: SchemaRef,
}

impl Decoder for BeforeAfter {
    fn decode(&mut self, payloads: &Payloads) -> std::result::Result<Decoded, DecodeError> {
        let decoded = self.json.decode(payloads)?;
        let columns: Vec<ArrayRef> = match self.wrapped {
            true => decoded.batch.column(0).as_struct().columns().to_vec(),
            false => decoded.batch.columns().to_vec(),
        };
        let rows: [&StructArray; 2] = [columns[BEFORE].as_struct(), columns[AFTER].as_struct()];
        let ops: &StringArray = columns[2].as_string();
        let mut picks: Vec<(usize, usize)> = Vec::with_capacity(ops.len());
        let mut found = Found { skipped: decoded.skipped, ..Found::default() };
        for record in 0..ops.len() {
            let payload = decoded.origin.as_ref().map_or(record as u32, |o| o[record]);
            let change = self.reading.change(ops, record, payloads.get(payload as usize));
            let wanted = change.and_then(|change| {
                let wanted: &[(usize, RowKind)] = match change {
                    Change::Insert => &[(AFTER, RowKind::Insert)],
                    Change::Update => &[(BEFORE, RowKind::UpdateBefore), (AFTER, RowKind::UpdateAfter)],
                    Change::Delete => &[(BEFORE, RowKind::Delete)],
                    Change::None => &[],
                };
                match wanted.iter().find(|(side, _)| rows[*side].is_null(record)) {
                    None => Ok(wanted),
                    Some((AFTER, _)) => {
                        Err(format!("The \"after\" of a change \"{}\" is null.", ops.value(record)))
                    }
                    Some(_) => Err(format!(
                        "The \"before\" of a change \"{}\" is null; with PostgreSQL, the table needs REPLICA IDENTITY FULL.",
                        ops.value(record)
                    )),
                }
            });
            match wanted {
                Ok(wanted) => {
                    for (side, kind) in wanted {
                        picks.push((*side, record));
                        found.kinds.push(*kind);
                        found.origin.push(payload);
                    }
                }
                Err(_) if self.reading.ignore => found.skipped += 1,
                Err(message) => return Err(DecodeError { payload: payload as usize, message }),
            }
        }
        let columns = (0..self.projection.fields().len())
            .map(|c| interleave(&[rows[BEFORE].column(c).as_ref(), rows[AFTER].column(c).as_ref()], &picks))
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(internal)?;
        found.decoded(&self.projection, columns).map_err(internal)
    }
}
