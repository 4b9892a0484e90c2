//! Rows beside the elements of an array, map or multiset.

use super::rows::{batch, evaluate, evaluate_mask};
use super::{Collector, Operator, OperatorContext};
use crate::error::{Error, Result};
use crate::message::ChangeBatch;
use crate::plan::UnnestNode;
use arrow::array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, Int32Type, SchemaRef};
use std::sync::Arc;

/// Gives each row once for each element of a value, in order, with the row's kind. With `outer`, a row without an element
/// that fits comes once, beside NULLs.
pub struct Unnest {
    node: UnnestNode,
    output: SchemaRef,
}

impl Unnest {
    /// Columns of `output`: the input's, then those of an element, then its number if wanted.
    pub fn new(node: &UnnestNode, _: SchemaRef, output: SchemaRef) -> Result<Self> {
        Ok(Self { node: node.clone(), output })
    }
}

/// The elements of a column's values.
struct Elements {
    /// Where those of each row begin and end.
    ranges: Vec<(usize, usize)>,
    columns: Vec<ArrayRef>,
    /// How often each is there.
    times: Option<Int32Array>,
}

fn elements(value: &ArrayRef, multiset: bool) -> Result<Elements> {
    let ranges = |offsets: &[i32]| {
        let range = |row: usize| match value.is_null(row) {
            true => (0, 0),
            false => (offsets[row] as usize, offsets[row + 1] as usize),
        };
        (0..value.len()).map(range).collect()
    };
    match value.data_type() {
        DataType::Map(..) => {
            let map = value.as_map();
            let times = multiset.then(|| cast(map.values(), &DataType::Int32)).transpose()?;
            let columns = match multiset {
                true => columns_of(map.keys()),
                false => vec![Arc::clone(map.keys()), Arc::clone(map.values())],
            };
            let times = times.map(|t| t.as_primitive::<Int32Type>().clone());
            Ok(Elements { ranges: ranges(map.value_offsets()), columns, times })
        }
        DataType::List(_) => {
            let list = value.as_list::<i32>();
            Ok(Elements {
                ranges: ranges(list.value_offsets()),
                columns: columns_of(list.values()),
                times: None,
            })
        }
        DataType::LargeList(f) | DataType::FixedSizeList(f, _) | DataType::ListView(f) => {
            let field = Field::new("item", f.data_type().clone(), true);
            elements(&cast(value, &DataType::List(Arc::new(field)))?, multiset)
        }
        other => Err(Error::internal(format!("UNNEST of a value of the type {other}."))),
    }
}

/// The fields of rows; else the values themselves.
fn columns_of(values: &ArrayRef) -> Vec<ArrayRef> {
    match values.as_struct_opt() {
        None => vec![Arc::clone(values)],
        // A field of a NULL row is NULL.
        Some(rows) => match rows.nulls() {
            None => rows.columns().to_vec(),
            Some(nulls) => rows.columns().iter().map(|c| masked(c, nulls)).collect(),
        },
    }
}

fn masked(column: &ArrayRef, nulls: &arrow::buffer::NullBuffer) -> ArrayRef {
    let data = column.to_data();
    let both = arrow::buffer::NullBuffer::union(data.nulls(), Some(nulls));
    match data.into_builder().nulls(both).build() {
        Ok(data) => arrow::array::make_array(data),
        Err(_) => Arc::clone(column),
    }
}

impl Operator for Unnest {
    fn process(
        &mut self,
        _: usize,
        input: ChangeBatch,
        _: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        let value = evaluate(&self.node.value, input.records())?;
        let elements = elements(&value, self.node.multiset)?;
        // For each row of the output: the input's row, the element (NULL of a row without), its number.
        let (mut rows, mut picks, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
        for (row, (from, to)) in elements.ranges.iter().enumerate() {
            let first = rows.len();
            for at in *from..*to {
                let times = elements.times.as_ref().map_or(1, |t| t.value(at));
                for _ in 0..times {
                    rows.push(row as u32);
                    picks.push(Some(at as u32));
                    numbers.push(Some((rows.len() - first) as i32));
                }
            }
            if self.node.outer && rows.len() == first {
                rows.push(row as u32);
                picks.push(None);
                numbers.push(None);
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        let mut all = self.joined(&input, &elements, &rows, &picks, &numbers)?;
        if let Some(condition) = &self.node.condition {
            let mask = evaluate_mask(condition, all.records())?;
            let (mut kept_rows, mut kept_picks, mut kept_numbers) = (Vec::new(), Vec::new(), Vec::new());
            for at in 0..rows.len() {
                let is_last = rows.get(at + 1) != Some(&rows[at]);
                if mask.value(at) && picks[at].is_some() {
                    kept_rows.push(rows[at]);
                    kept_picks.push(picks[at]);
                    kept_numbers.push(numbers[at]);
                } else if is_last && self.node.outer && kept_rows.last() != Some(&rows[at]) {
                    kept_rows.push(rows[at]);
                    kept_picks.push(None);
                    kept_numbers.push(None);
                }
            }
            all = self.joined(&input, &elements, &kept_rows, &kept_picks, &kept_numbers)?;
        }
        if all.num_rows() == 0 { Ok(()) } else { out.emit(all) }
    }
}

impl Unnest {
    fn joined(
        &self,
        input: &ChangeBatch,
        elements: &Elements,
        rows: &[u32],
        picks: &[Option<u32>],
        numbers: &[Option<i32>],
    ) -> Result<ChangeBatch> {
        let row_picks = UInt32Array::from(rows.to_vec());
        let element_picks = UInt32Array::from(picks.to_vec());
        let mut columns = Vec::with_capacity(self.output.fields().len());
        for column in input.records().columns() {
            columns.push(take(column, &row_picks, None)?);
        }
        for column in &elements.columns {
            columns.push(take(column, &element_picks, None)?);
        }
        if self.node.ordinality {
            columns.push(Arc::new(Int32Array::from(numbers.to_vec())));
        }
        let records: RecordBatch = if columns.is_empty() {
            let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
            RecordBatch::try_new_with_options(self.output.clone(), columns, &options)?
        } else {
            batch(&self.output, columns, rows.len())?
        };
        Ok(match input.kinds() {
            None => ChangeBatch::inserts(records),
            Some(kinds) => {
                ChangeBatch::new(records, rows.iter().map(|r| kinds[*r as usize]).collect::<Vec<_>>())
            }
        })
    }
}
