//! Rows once for each grouping set.

use super::rows::{MAX_BATCH_ROWS, batch, evaluate};
use super::{Collector, Operator, OperatorContext};
use crate::error::Result;
use crate::message::ChangeBatch;
use crate::plan::ExpandNode;
use arrow::array::{ArrayRef, Int64Array, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;
use std::sync::Arc;

/// Gives each row once for each set, sets of a row one after the other: its columns, then the keys with NULL for
/// those that are not of the set, then the number of the set. Row kinds stay.
pub struct Expand {
    keys: Vec<Arc<dyn PhysicalExpr>>,
    sets: Vec<Vec<bool>>,
    output: SchemaRef,
}

impl Expand {
    /// Columns of `output`: those of the input, keys, number of the set.
    pub fn new(node: &ExpandNode, input: SchemaRef, output: SchemaRef) -> Result<Self> {
        let _ = input;
        Ok(Self { keys: node.keys.clone(), sets: node.sets.clone(), output })
    }

    fn part(&self, input: &ChangeBatch) -> Result<ChangeBatch> {
        let rows = input.num_rows() as u32;
        let sets = self.sets.len();
        let each = |row: u32| std::iter::repeat_n(row, sets);
        let repeated = input.take(&UInt32Array::from_iter_values((0..rows).flat_map(each)))?;
        let mut columns = repeated.records().columns().to_vec();
        for (key, expression) in self.keys.iter().enumerate() {
            let values = evaluate(expression, input.records())?;
            let picks = (0..rows).flat_map(|row| self.sets.iter().map(move |set| set[key].then_some(row)));
            columns.push(take(&values, &UInt32Array::from_iter(picks), None)?);
        }
        let numbers = (0..rows).flat_map(|_| 0..sets as i64);
        columns.push(Arc::new(Int64Array::from_iter_values(numbers)) as ArrayRef);
        let records = batch(&self.output, columns, repeated.num_rows())?;
        Ok(repeated.with_records(records))
    }
}

impl Operator for Expand {
    fn process(
        &mut self,
        _: usize,
        input: ChangeBatch,
        _: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        let step = (MAX_BATCH_ROWS / self.sets.len().max(1)).max(1);
        for start in (0..input.num_rows()).step_by(step) {
            let part = self.part(&input.slice(start, step.min(input.num_rows() - start)))?;
            out.emit(part)?;
        }
        Ok(())
    }
}
