//! `debezium-json` and `ogg-json`: changes of a database's tables as JSON, with the row before and the row after.

use super::json::Json;
use super::{DecodeError, Decoded, Decoder, Encoder, Format, Payloads};
use crate::options::{OptionReader, option};
use arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringArray, StructArray, new_null_array,
};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use catalog::Options;
use engine::connector::OptionHelp;
use engine::error::Result;
use engine::message::{ChangeBatch, RowKind};
use engine::plan::ChangelogMode;
use std::sync::Arc;

/// A kind of envelope around the rows before and after a change.
#[derive(Debug)]
pub struct ChangeJson {
    name: &'static str,
    /// Key of the kind of change.
    op: &'static str,
    inserts: &'static [&'static str],
    updates: &'static [&'static str],
    deletes: &'static [&'static str],
    /// Whether records may be wrapped in `{"schema": …, "payload": …}`.
    has_schema: bool,
}

/// What Debezium writes: `op` is `c` (create), `r` (read), `u` (update) or `d` (delete).
pub const DEBEZIUM: ChangeJson = ChangeJson {
    name: "debezium-json",
    op: "op",
    inserts: &["c", "r"],
    updates: &["u"],
    deletes: &["d"],
    has_schema: true,
};

/// What Oracle GoldenGate writes: `op_type` is `I`, `U` or `D`.
pub const OGG: ChangeJson = ChangeJson {
    name: "ogg-json",
    op: "op_type",
    inserts: &["I"],
    updates: &["U"],
    deletes: &["D"],
    has_schema: false,
};

const SCHEMA_INCLUDE: &str = "schema-include";

impl ChangeJson {
    /// The options of the rows' JSON: all but our own.
    fn inner(options: &Options) -> Options {
        options.iter().filter(|(k, _)| *k != SCHEMA_INCLUDE).map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    fn has_envelope(&self, options: &Options) -> Result<bool> {
        if !self.has_schema {
            return Ok(false);
        }
        let help = self.options();
        OptionReader::new(self.name, options, &help)?.boolean(SCHEMA_INCLUDE)
    }

    /// The columns of a record.
    fn envelope(&self, row: &Fields) -> Fields {
        let row =
            DataType::Struct(row.iter().map(|f| Arc::new(f.as_ref().clone().with_nullable(true))).collect());
        Fields::from(vec![
            Field::new("before", row.clone(), true),
            Field::new("after", row, true),
            Field::new(self.op, DataType::Utf8, true),
        ])
    }
}

impl Format for ChangeJson {
    fn name(&self) -> &'static str {
        self.name
    }

    fn options(&self) -> Vec<OptionHelp> {
        let mut options: Vec<OptionHelp> =
            Json.options().into_iter().filter(|o| o.key != "fail-on-missing-field").collect();
        if self.has_schema {
            options.push(option(
                SCHEMA_INCLUDE,
                Some("false"),
                false,
                "Whether records come with their schema: `{\"schema\": …, \"payload\": …}` (Kafka Connect's `value.converter.schemas.enable`).",
            ));
        }
        options
    }

    fn check(&self, options: &Options, schema: &SchemaRef) -> Result<()> {
        self.has_envelope(options)?;
        Json.check(&Self::inner(options), schema)
    }

    fn changelog(&self) -> ChangelogMode {
        ChangelogMode::RETRACT
    }

    fn accepts(&self) -> ChangelogMode {
        ChangelogMode::RETRACT
    }

    fn decoder(
        &self,
        options: &Options,
        projection: SchemaRef,
        _: SchemaRef,
        zone: chrono_tz::Tz,
    ) -> Result<Box<dyn Decoder>> {
        let envelope = self.envelope(projection.fields());
        let wrapped = self.has_envelope(options)?;
        let fields = match wrapped {
            true => Fields::from(vec![Field::new("payload", DataType::Struct(envelope), true)]),
            false => envelope,
        };
        let inner = Self::inner(options);
        let ignore = inner.get("ignore-parse-errors").is_some_and(|v| v.eq_ignore_ascii_case("true"));
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let json = Json.decoder(&inner, schema.clone(), schema, zone)?;
        Ok(Box::new(ChangeDecoder {
            inserts: self.inserts,
            updates: self.updates,
            deletes: self.deletes,
            name: self.name,
            json,
            wrapped,
            ignore,
            projection,
        }))
    }

    fn encoder(&self, options: &Options, schema: SchemaRef, zone: chrono_tz::Tz) -> Result<Box<dyn Encoder>> {
        let envelope: SchemaRef = Arc::new(Schema::new(self.envelope(schema.fields())));
        let json = Json.encoder(&Self::inner(options), envelope.clone(), zone)?;
        Ok(Box::new(ChangeEncoder { insert: self.inserts[0], delete: self.deletes[0], json, envelope }))
    }
}

struct ChangeDecoder {
    inserts: &'static [&'static str],
    updates: &'static [&'static str],
    deletes: &'static [&'static str],
    name: &'static str,
    json: Box<dyn Decoder>,
    wrapped: bool,
    ignore: bool,
    projection: SchemaRef,
}

/// Which row of a record is meant.
const BEFORE: usize = 0;
const AFTER: usize = 1;

impl Decoder for ChangeDecoder {
    fn decode(&mut self, payloads: &Payloads) -> std::result::Result<Decoded, DecodeError> {
        let decoded = self.json.decode(payloads)?;
        let internal = |e: arrow::error::ArrowError| DecodeError { payload: 0, message: e.to_string() };
        let columns: Vec<ArrayRef> = match self.wrapped {
            true => decoded.batch.column(0).as_struct().columns().to_vec(),
            false => decoded.batch.columns().to_vec(),
        };
        let rows: [&StructArray; 2] = [columns[BEFORE].as_struct(), columns[AFTER].as_struct()];
        let ops: &StringArray = columns[2].as_string();
        let mut picks: Vec<(usize, usize)> = Vec::with_capacity(ops.len());
        let mut kinds: Vec<RowKind> = Vec::with_capacity(ops.len());
        let mut origin: Vec<u32> = Vec::with_capacity(ops.len());
        let mut skipped = decoded.skipped;
        for record in 0..ops.len() {
            let payload = decoded.origin.as_ref().map_or(record as u32, |o| o[record]);
            let op = if ops.is_valid(record) { ops.value(record) } else { "" };
            let wanted: &[(usize, RowKind)] = if self.inserts.contains(&op) {
                &[(AFTER, RowKind::Insert)]
            } else if self.updates.contains(&op) {
                &[(BEFORE, RowKind::UpdateBefore), (AFTER, RowKind::UpdateAfter)]
            } else if self.deletes.contains(&op) {
                &[(BEFORE, RowKind::Delete)]
            } else {
                // An empty record is a tombstone that follows a delete.
                if payloads.get(payload as usize).is_empty() {
                    continue;
                }
                &[]
            };
            let lacks = wanted.iter().find(|(side, _)| rows[*side].is_null(record));
            if wanted.is_empty() || lacks.is_some() {
                if self.ignore {
                    skipped += 1;
                    continue;
                }
                let message = match lacks {
                    None => format!("Unknown kind of change \"{op}\" in a record of '{}'.", self.name),
                    Some((AFTER, _)) => format!("The \"after\" of a change \"{op}\" is null."),
                    Some(_) => format!(
                        "The \"before\" of a change \"{op}\" is null; with PostgreSQL, the table needs REPLICA IDENTITY FULL."
                    ),
                };
                return Err(DecodeError { payload: payload as usize, message });
            }
            for (side, kind) in wanted {
                picks.push((*side, record));
                kinds.push(*kind);
                origin.push(payload);
            }
        }
        let columns = (0..self.projection.fields().len())
            .map(|c| interleave(&[rows[BEFORE].column(c).as_ref(), rows[AFTER].column(c).as_ref()], &picks))
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(internal)?;
        let options = RecordBatchOptions::new().with_row_count(Some(kinds.len()));
        let batch = RecordBatch::try_new_with_options(self.projection.clone(), columns, &options)
            .map_err(|e| DecodeError { payload: 0, message: e.to_string() })?;
        let kinds = kinds.iter().any(|k| *k != RowKind::Insert).then(|| Arc::from(kinds));
        Ok(Decoded { batch, kinds, origin: Some(origin), skipped })
    }
}

struct ChangeEncoder {
    insert: &'static str,
    delete: &'static str,
    json: Box<dyn Encoder>,
    envelope: SchemaRef,
}

impl Encoder for ChangeEncoder {
    /// `-U` is written as a delete and `+U` as an insert, as Flink does.
    fn encode(&mut self, batch: &ChangeBatch, out: &mut Payloads) -> Result<()> {
        let rows = batch.num_rows();
        let DataType::Struct(fields) = self.envelope.field(AFTER).data_type().clone() else { return Ok(()) };
        let adds: Vec<bool> = (0..rows).map(|row| batch.kind(row).is_addition()).collect();
        let side = |wanted: bool| -> Result<ArrayRef> {
            if adds.iter().all(|a| *a != wanted) {
                return Ok(new_null_array(&DataType::Struct(fields.clone()), rows));
            }
            let nulls = arrow::buffer::NullBuffer::from_iter(adds.iter().map(|a| *a == wanted));
            Ok(Arc::new(StructArray::try_new_with_length(
                fields.clone(),
                batch.records().columns().to_vec(),
                Some(nulls),
                rows,
            )?))
        };
        let ops =
            StringArray::from_iter_values(adds.iter().map(|a| if *a { self.insert } else { self.delete }));
        let columns = vec![side(false)?, side(true)?, Arc::new(ops) as ArrayRef];
        let records = RecordBatch::try_new(self.envelope.clone(), columns)?;
        self.json.encode(&ChangeBatch::inserts(records), out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int32Array;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int32, true),
            Field::new("g", DataType::Utf8, true),
        ]))
    }

    fn decode(
        format: &ChangeJson,
        options: &[(&str, &str)],
        lines: &[&str],
    ) -> std::result::Result<String, String> {
        let options: Options = options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let mut decoder = format.decoder(&options, schema(), schema(), chrono_tz::Tz::UTC).unwrap();
        let mut payloads = Payloads::default();
        lines.iter().for_each(|l| payloads.push(l.as_bytes()));
        payloads.pad();
        let decoded = decoder.decode(&payloads).map_err(|e| format!("{}: {}", e.payload, e.message))?;
        let batch = match decoded.kinds {
            Some(kinds) => ChangeBatch::new(decoded.batch, kinds),
            None => ChangeBatch::inserts(decoded.batch),
        };
        let (ids, gs) = (batch.records().column(0).clone(), batch.records().column(1).clone());
        let (ids, gs): (&Int32Array, &StringArray) = (ids.as_primitive(), gs.as_string());
        Ok((0..batch.num_rows())
            .map(|r| format!("{} {} {}", batch.kind(r).short(), ids.value(r), gs.value(r)))
            .collect::<Vec<_>>()
            .join("; "))
    }

    #[test]
    fn changes_become_rows_with_kinds() {
        let lines = [
            r#"{"op":"c","before":null,"after":{"id":1,"g":"a"},"source":{"db":"x"}}"#,
            r#"{"op":"u","before":{"id":1,"g":"a"},"after":{"id":1,"g":"é"}}"#,
            r#"{"op":"d","before":{"id":1,"g":"é"}}"#,
            "",
            r#"{"op":"r","after":{"g":"b","id":2}}"#,
        ];
        assert_eq!(decode(&DEBEZIUM, &[], &lines).unwrap(), "+I 1 a; -U 1 a; +U 1 é; -D 1 é; +I 2 b");
        let lines = [
            r#"{"op_type":"I","after":{"id":1,"g":"a"}}"#,
            r#"{"op_type":"U","before":{"id":1,"g":"a"},"after":{"id":2,"g":"a"}}"#,
            r#"{"op_type":"D","before":{"id":2,"g":"a"}}"#,
        ];
        assert_eq!(decode(&OGG, &[], &lines).unwrap(), "+I 1 a; -U 1 a; +U 2 a; -D 2 a");
    }

    #[test]
    fn records_may_come_with_their_schema() {
        let lines = [r#"{"schema":{"type":"struct"},"payload":{"op":"c","after":{"id":1,"g":"a"}}}"#];
        assert_eq!(decode(&DEBEZIUM, &[(SCHEMA_INCLUDE, "true")], &lines).unwrap(), "+I 1 a");
    }

    #[test]
    fn what_is_no_change_is_an_error_or_skipped() {
        let lines = [r#"{"op":"x","after":{"id":1}}"#, r#"{"op":"c","after":{"id":2,"g":"b"}}"#];
        assert_eq!(
            decode(&DEBEZIUM, &[], &lines).unwrap_err(),
            "0: Unknown kind of change \"x\" in a record of 'debezium-json'."
        );
        assert_eq!(decode(&DEBEZIUM, &[("ignore-parse-errors", "true")], &lines).unwrap(), "+I 2 b");
        let lines = [r#"{"op":"u","after":{"id":1,"g":"a"}}"#];
        assert!(decode(&DEBEZIUM, &[], &lines).unwrap_err().contains("REPLICA IDENTITY FULL"));
    }

    #[test]
    fn updates_are_written_as_delete_and_create() {
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int32Array::from(vec![1, 1])), Arc::new(StringArray::from(vec!["a", "b"]))];
        let records = RecordBatch::try_new(schema(), columns).unwrap();
        let batch = ChangeBatch::new(records, vec![RowKind::UpdateBefore, RowKind::UpdateAfter]);
        let mut encoder = DEBEZIUM.encoder(&Options::default(), schema(), chrono_tz::Tz::UTC).unwrap();
        let mut out = Payloads::default();
        encoder.encode(&batch, &mut out).unwrap();
        let lines: Vec<&str> = out.iter().map(|b| std::str::from_utf8(b).unwrap()).collect();
        assert_eq!(
            lines,
            [
                r#"{"before":{"id":1,"g":"a"},"after":null,"op":"d"}"#,
                r#"{"before":null,"after":{"id":1,"g":"b"},"op":"c"}"#
            ]
        );
    }
}
