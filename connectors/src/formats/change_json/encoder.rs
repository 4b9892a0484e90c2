//! Writing changes: `+I` and `+U` as inserts, `-U` and `-D` as deletes, as Flink does.

use super::before_after::{self, AFTER};
use super::{ChangeJson, Layout, row_type};
use crate::formats::json::Json;
use crate::formats::{Encoder, Format, Payloads};
use arrow::array::{ArrayRef, ListArray, RecordBatch, StringArray, StructArray, new_null_array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use catalog::Options;
use engine::error::Result;
use engine::message::ChangeBatch;
use std::sync::Arc;

/// An encoder with the options `inner` of the rows' JSON.
pub(super) fn encoder(
    format: &ChangeJson,
    inner: &Options,
    schema: &SchemaRef,
    zone: chrono_tz::Tz,
) -> Result<Box<dyn Encoder>> {
    let row = row_type(schema.fields());
    let fields = match format.layout {
        Layout::BeforeAfter { .. } => before_after::envelope(format, schema.fields()),
        Layout::DataOld => Fields::from(vec![
            Field::new("data", row, true),
            Field::new(format.ops.key, DataType::Utf8, true),
        ]),
        Layout::DataOldLists => Fields::from(vec![
            Field::new_list("data", Field::new_list_field(row, true), true),
            Field::new(format.ops.key, DataType::Utf8, true),
        ]),
    };
    let envelope: SchemaRef = Arc::new(Schema::new(fields));
    Ok(Box::new(ChangeEncoder {
        layout: format.layout,
        insert: format.ops.inserts[0],
        delete: format.ops.deletes[0],
        json: Json.encoder(inner, envelope.clone(), zone)?,
        envelope,
    }))
}

struct ChangeEncoder {
    layout: Layout,
    insert: &'static str,
    delete: &'static str,
    json: Box<dyn Encoder>,
    envelope: SchemaRef,
}

impl Encoder for ChangeEncoder {
    fn encode(&mut self, batch: &ChangeBatch, out: &mut Payloads) -> Result<()> {
        let rows = batch.num_rows();
        let adds: Vec<bool> = (0..rows).map(|row| batch.kind(row).is_addition()).collect();
        let ops =
            StringArray::from_iter_values(adds.iter().map(|a| if *a { self.insert } else { self.delete }));
        let row = |fields: &Fields, nulls: Option<NullBuffer>| {
            StructArray::try_new_with_length(fields.clone(), batch.records().columns().to_vec(), nulls, rows)
        };
        let mut columns: Vec<ArrayRef> = Vec::new();
        match (self.layout, self.envelope.field(0).data_type()) {
            (Layout::BeforeAfter { .. }, DataType::Struct(fields)) => {
                for wanted in [false, true] {
                    columns.push(if adds.iter().all(|a| *a != wanted) {
                        new_null_array(self.envelope.field(AFTER).data_type(), rows)
                    } else {
                        let nulls = NullBuffer::from_iter(adds.iter().map(|a| *a == wanted));
                        Arc::new(row(fields, Some(nulls))?)
                    });
                }
            }
            (_, DataType::Struct(fields)) => columns.push(Arc::new(row(fields, None)?)),
            (_, DataType::List(item)) => {
                if let DataType::Struct(fields) = item.data_type() {
                    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(1, rows));
                    let values = Arc::new(row(fields, None)?);
                    columns.push(Arc::new(ListArray::try_new(item.clone(), offsets, values, None)?));
                }
            }
            _ => {}
        }
        columns.push(Arc::new(ops));
        let records = RecordBatch::try_new(self.envelope.clone(), columns)?;
        self.json.encode(&ChangeBatch::inserts(records), out)
    }
}
