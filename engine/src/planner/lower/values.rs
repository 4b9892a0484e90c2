//! VALUES, and SELECT without FROM.

use super::{Graph, Lowered, NewNode};
use crate::error::Result;
use crate::plan::{ChangelogMode, NodeKind, ValuesNode};
use crate::planner::diagnostics::translate;
use crate::planner::expressions::{constant, text};
use arrow::array::{ArrayRef, Int32Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion_common::DFSchema;
use datafusion_expr::ExprSchemable;
use datafusion_expr::logical_plan::{EmptyRelation, Values};
use std::sync::Arc;

impl Graph<'_> {
    pub(super) fn values(&mut self, values: &Values) -> Result<Lowered> {
        let fields: Vec<Field> = values.schema.fields().iter().map(|f| f.as_ref().clone()).collect();
        let mut columns: Vec<Vec<ArrayRef>> = vec![Vec::new(); fields.len()];
        for row in &values.values {
            for ((expr, field), column) in row.iter().zip(&fields).zip(&mut columns) {
                let typed = expr
                    .clone()
                    .cast_to(field.data_type(), &DFSchema::empty())
                    .map_err(|e| translate(e, &[]))?;
                column.push(constant(&typed)?);
            }
        }
        let arrays = columns
            .iter()
            .zip(&fields)
            .map(|(rows, field)| {
                let rows: Vec<&dyn arrow::array::Array> = rows.iter().map(AsRef::as_ref).collect();
                if rows.is_empty() {
                    return Ok(arrow::array::new_empty_array(field.data_type()));
                }
                Ok(arrow::compute::concat(&rows)?)
            })
            .collect::<Result<Vec<_>>>()?;
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
        let tuples: Vec<String> = values
            .values
            .iter()
            .map(|row| format!("{{ {} }}", row.iter().map(text).collect::<Vec<_>>().join(", ")))
            .collect();
        Ok(self.fixed(batch, format!("Values(tuples=[[{}]])", tuples.join(", "))))
    }

    pub(super) fn empty_relation(&mut self, empty: &EmptyRelation) -> Result<Lowered> {
        let mut fields: Vec<Field> = empty.schema.fields().iter().map(|f| f.as_ref().clone()).collect();
        if !empty.produce_one_row {
            let schema = Arc::new(Schema::new(fields));
            return Ok(self.fixed(RecordBatch::new_empty(schema), "Values(tuples=[[]])".into()));
        }
        // One row needs a column to count it by.
        let width = fields.len();
        fields.push(Field::new("ZERO", DataType::Int32, false));
        let mut arrays: Vec<ArrayRef> =
            fields[..width].iter().map(|f| arrow::array::new_null_array(f.data_type(), 1)).collect();
        arrays.push(Arc::new(Int32Array::from(vec![0])));
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?;
        let mut lowered = self.fixed(batch, "Values(tuples=[[{ 0 }]])".into());
        lowered.columns.truncate(width);
        lowered.fields.truncate(width);
        Ok(lowered)
    }

    fn fixed(&mut self, batch: RecordBatch, name: String) -> Lowered {
        let schema = batch.schema();
        let batches = if batch.num_rows() == 0 { Vec::new() } else { vec![batch] };
        let node = self.add(NewNode {
            kind: NodeKind::Values(ValuesNode { batches }),
            name,
            inputs: Vec::new(),
            schema: Arc::clone(&schema),
            parallelism: 1,
            changelog: ChangelogMode::APPEND,
            shared: false,
        });
        Lowered {
            node,
            columns: (0..schema.fields().len()).collect(),
            fields: schema.fields().iter().cloned().collect(),
            windowed: None,
        }
    }
}
