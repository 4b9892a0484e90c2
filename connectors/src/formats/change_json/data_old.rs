//! Records with the row after a change in `data`, and in `old` only those columns that an update has overwritten.

use super::{Change, ChangeJson, Found, Layout, Reading, internal, row_type};
use crate::formats::json::Json;
use crate::formats::{DecodeError, Decoded, Decoder, Format, Payloads};
use arrow::array::{Array, ArrayRef, AsArray, MapArray, StringArray, StructArray};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use catalog::Options;
use engine::error::Result;
use engine::message::RowKind;
use std::ops::Range;
use std::sync::Arc;

/// Indexes in a record, and of their rows in what is picked from.
const DATA: usize = 0;
const OLD: usize = 1;
const OP: usize = 2;

/// A decoder with the options `inner` of the rows' JSON, which passes over what `include` (database and table) does not
/// match.
pub(super) fn decoder(
    format: &ChangeJson,
    inner: &Options,
    include: [Option<regex::Regex>; 2],
    projection: SchemaRef,
    zone: chrono_tz::Tz,
) -> Result<Box<dyn Decoder>> {
    let listed = format.layout == Layout::DataOldLists;
    let shape = |name: &str, row: DataType| match listed {
        true => Field::new_list(name, Field::new_list_field(row, true), true),
        false => Field::new(name, row, true),
    };
    let mut fields = vec![
        shape("data", row_type(projection.fields())),
        shape("old", row_type(projection.fields())),
        Field::new(format.ops.key, DataType::Utf8, true),
    ];
    let mut filters = Vec::new();
    for (name, pattern) in ["database", "table"].into_iter().zip(include) {
        if let Some(pattern) = pattern {
            filters.push((fields.len(), pattern));
            fields.push(Field::new(name, DataType::Utf8, true));
        }
    }
    let json = |fields: Vec<Field>| {
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        Json.decoder(inner, schema.clone(), schema, zone)
    };
    let entry = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, true),
    ]);
    let overwritten = DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry), false)), false);
    Ok(Box::new(DataOld {
        reading: Reading::new(format, inner),
        json: json(fields)?,
        keys: json(vec![shape("old", overwritten)])?,
        listed,
        filters,
        projection,
    }))
}

struct DataOld {
    reading: Reading,
    json: Box<dyn Decoder>,
    /// Reads `old` as maps, to tell a column that was NULL from one that is not there.
    keys: Box<dyn Decoder>,
    listed: bool,
    /// Index in a record, and what it must match.
    filters: Vec<(usize, regex::Regex)>,
    projection: SchemaRef,
}

/// One row to make: of the row after the change; for the row before an update, with what was overwritten.
struct Pick {
    data: usize,
    old: Option<usize>,
}

/// The values of a column of a record, which may be a list of them, and which of them each record has.
struct Rows {
    values: ArrayRef,
    listed: Option<arrow::buffer::OffsetBuffer<i32>>,
    nulls: Option<arrow::buffer::NullBuffer>,
}

impl Rows {
    fn new(column: &ArrayRef, listed: bool) -> Self {
        match listed {
            true => {
                let list = column.as_list::<i32>();
                Self {
                    values: list.values().clone(),
                    listed: Some(list.offsets().clone()),
                    nulls: list.nulls().cloned(),
                }
            }
            false => Self { values: column.clone(), listed: None, nulls: column.nulls().cloned() },
        }
    }

    /// Where the values of `record` are; `None` if it has none.
    fn of(&self, record: usize) -> Option<Range<usize>> {
        if self.nulls.as_ref().is_some_and(|n| n.is_null(record)) {
            return None;
        }
        Some(match &self.listed {
            Some(offsets) => offsets[record] as usize..offsets[record + 1] as usize,
            None => record..record + 1,
        })
    }
}

impl DataOld {
    fn passes(&self, columns: &[ArrayRef], record: usize) -> bool {
        self.filters.iter().all(|(column, pattern)| {
            let names: &StringArray = columns[*column].as_string();
            names.is_valid(record) && pattern.is_match(names.value(record))
        })
    }
}

impl Decoder for DataOld {
    fn decode(&mut self, payloads: &Payloads) -> std::result::Result<Decoded, DecodeError> {
        let decoded = self.json.decode(payloads)?;
        let columns = decoded.batch.columns();
        let (data, old) = (Rows::new(&columns[DATA], self.listed), Rows::new(&columns[OLD], self.listed));
        let ops: &StringArray = columns[OP].as_string();
        let mut picks: Vec<Pick> = Vec::with_capacity(ops.len());
        let mut found = Found { skipped: decoded.skipped, ..Found::default() };
        for record in 0..ops.len() {
            let payload = decoded.origin.as_ref().map_or(record as u32, |o| o[record]);
            if !self.passes(columns, record) {
                continue;
            }
            let change = self.reading.change(ops, record, payloads.get(payload as usize));
            let rows = change.and_then(|change| {
                if change == Change::None {
                    return Ok((change, 0..0, 0..0));
                }
                let lacks =
                    |what: &str| format!("The \"{what}\" of a change \"{}\" is null.", ops.value(record));
                let new = data.of(record).ok_or_else(|| lacks("data"))?;
                let overwritten = match change {
                    Change::Update => old.of(record).ok_or_else(|| lacks("old"))?,
                    _ => 0..0,
                };
                if change == Change::Update && overwritten.len() < new.len() {
                    return Err("The \"old\" of a change tells fewer rows than its \"data\".".to_string());
                }
                if new.clone().any(|row| data.values.is_null(row)) {
                    return Err(lacks("data"));
                }
                Ok((change, new, overwritten))
            });
            let (change, new, overwritten) = match rows {
                Ok(rows) => rows,
                Err(_) if self.reading.ignore => {
                    found.skipped += 1;
                    continue;
                }
                Err(message) => return Err(DecodeError { payload: payload as usize, message }),
            };
            for (n, row) in new.enumerate() {
                let kind = match change {
                    Change::Delete => RowKind::Delete,
                    Change::Update => RowKind::UpdateAfter,
                    _ => RowKind::Insert,
                };
                if change == Change::Update {
                    picks.push(Pick { data: row, old: Some(overwritten.start + n) });
                    found.kinds.push(RowKind::UpdateBefore);
                    found.origin.push(payload);
                }
                picks.push(Pick { data: row, old: None });
                found.kinds.push(kind);
                found.origin.push(payload);
            }
        }
        let (new, overwritten): (&StructArray, &StructArray) =
            (data.values.as_struct(), old.values.as_struct());
        let mut keys: Option<ArrayRef> = None;
        let mut rows = Vec::with_capacity(self.projection.fields().len());
        for (c, field) in self.projection.fields().iter().enumerate() {
            let mut sources = Vec::with_capacity(picks.len());
            for pick in &picks {
                sources.push(match pick.old {
                    None => (DATA, pick.data),
                    Some(row) if overwritten.column(c).is_valid(row) => (OLD, row),
                    Some(_) if new.column(c).is_null(pick.data) => (DATA, pick.data),
                    Some(row) => {
                        // It was NULL, or it is not there and so was not changed: only the text tells.
                        let read = match keys.take() {
                            Some(read) => read,
                            None => {
                                let read = self.keys.decode(payloads)?;
                                Rows::new(read.batch.column(0), self.listed).values
                            }
                        };
                        let was_null = names(read.as_map(), row, field.name());
                        keys = Some(read);
                        if was_null { (OLD, row) } else { (DATA, pick.data) }
                    }
                });
            }
            let both = [new.column(c).as_ref(), overwritten.column(c).as_ref()];
            rows.push(interleave(&both, &sources).map_err(internal)?);
        }
        found.decoded(&self.projection, rows).map_err(internal)
    }
}

/// Whether the map of `row` has an entry `key`.
fn names(maps: &MapArray, row: usize, key: &str) -> bool {
    let keys: &StringArray = maps.keys().as_string();
    if row >= maps.len() {
        return false;
    }
    let offsets = maps.value_offsets();
    (offsets[row] as usize..offsets[row + 1] as usize).any(|i| keys.value(i) == key)
}
