//! Whole rows as bytes and back, and sort keys as bytes that compare like the rows they stand for.

use crate::error::{Error, Result};
use crate::message::{ChangeBatch, RowKind};
use crate::plan::SortColumn;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};
use std::sync::Arc;

/// A row in arrow's row format: equal rows have equal bytes.
pub(super) type RowBytes = Arc<[u8]>;

fn converter(fields: Vec<SortField>) -> Result<RowConverter> {
    if !RowConverter::supports_fields(&fields) {
        return Err(Error::unsupported(
            "Keeping rows with a column of this type",
            "Leave the column out, or CAST it to STRING.",
        ));
    }
    Ok(RowConverter::new(fields)?)
}

/// Encodes columns of given types.
#[derive(Debug)]
pub(super) struct RowCodec {
    converter: RowConverter,
}

impl RowCodec {
    /// For rows of `types`.
    ///
    /// Errors: a type that cannot be kept.
    pub(super) fn new(types: impl IntoIterator<Item = DataType>) -> Result<Self> {
        Ok(Self { converter: converter(types.into_iter().map(SortField::new).collect())? })
    }

    /// For all columns of `schema`.
    pub(super) fn of_schema(schema: &SchemaRef) -> Result<Self> {
        Self::new(schema.fields().iter().map(|f| f.data_type().clone()))
    }

    /// The rows of `columns`.
    pub(super) fn encode(&self, columns: &[ArrayRef]) -> Result<Rows> {
        Ok(self.converter.convert_columns(columns)?)
    }

    /// The columns of rows.
    pub(super) fn decode<'a>(&self, rows: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        let parser = self.converter.parser();
        Ok(self.converter.convert_rows(rows.into_iter().map(|r| parser.parse(r)))?)
    }
}

/// Encodes sort keys.
#[derive(Debug)]
pub(super) struct SortCodec {
    columns: Vec<usize>,
    converter: Option<RowConverter>,
}

impl SortCodec {
    /// For an order over columns of `schema`. No columns: all rows are equal.
    ///
    /// Errors: a type that cannot be ordered.
    pub(super) fn new(order: &[SortColumn], schema: &SchemaRef) -> Result<Self> {
        let fields: Vec<SortField> = order
            .iter()
            .map(|o| {
                let options = SortOptions { descending: o.descending, nulls_first: o.nulls_first };
                SortField::new_with_options(schema.field(o.column).data_type().clone(), options)
            })
            .collect();
        let converter = if fields.is_empty() { None } else { Some(converter(fields)?) };
        Ok(Self { columns: order.iter().map(|o| o.column).collect(), converter })
    }

    /// The sort key of each row.
    pub(super) fn encode(&self, records: &RecordBatch) -> Result<SortKeys> {
        let Some(converter) = &self.converter else { return Ok(SortKeys(None)) };
        let columns: Vec<ArrayRef> = self.columns.iter().map(|c| Arc::clone(records.column(*c))).collect();
        Ok(SortKeys(Some(converter.convert_columns(&columns)?)))
    }
}

/// Sort keys of a batch.
pub(super) struct SortKeys(Option<Rows>);

impl SortKeys {
    /// The key of row `row`.
    pub(super) fn get(&self, row: usize) -> &[u8] {
        match &self.0 {
            Some(rows) => rows.row(row).data(),
            None => &[],
        }
    }
}

/// Changes that an operator is about to emit: rows as bytes, with their kinds and perhaps a rank.
#[derive(Debug, Default)]
pub(super) struct RowChanges {
    pub(super) kinds: Vec<RowKind>,
    pub(super) rows: Vec<RowBytes>,
    pub(super) ranks: Vec<i64>,
}

impl RowChanges {
    /// Adds a change.
    pub(super) fn push(&mut self, kind: RowKind, row: &RowBytes, rank: i64) {
        self.kinds.push(kind);
        self.rows.push(Arc::clone(row));
        self.ranks.push(rank);
    }

    /// Makes a batch of `output` out of what is there, the rank as last column if `with_rank`. `None` if nothing is.
    pub(super) fn take(
        &mut self,
        codec: &RowCodec,
        output: &SchemaRef,
        with_rank: bool,
    ) -> Result<Option<ChangeBatch>> {
        if self.kinds.is_empty() {
            return Ok(None);
        }
        let kinds = std::mem::take(&mut self.kinds);
        let rows = std::mem::take(&mut self.rows);
        let ranks = std::mem::take(&mut self.ranks);
        let mut columns = codec.decode(rows.iter().map(AsRef::as_ref))?;
        if with_rank {
            columns.push(Arc::new(arrow::array::Int64Array::from(ranks)));
        }
        let records = super::rows::batch(output, columns, kinds.len())?;
        Ok(Some(ChangeBatch::new(records, kinds)))
    }
}
