//! UNION ALL.

use super::rows::batch;
use super::{Collector, Operator, OperatorContext};
use crate::error::Result;
use crate::message::ChangeBatch;
use arrow::datatypes::SchemaRef;

/// Passes the rows of all inputs on, as they come. Columns agree by position; names and time attributes are
/// those of the output.
pub struct Union {
    output: SchemaRef,
}

impl Union {
    /// Makes rows of `output` out of rows of any of `inputs`.
    pub fn new(inputs: &[SchemaRef], output: SchemaRef) -> Result<Self> {
        let _ = inputs;
        Ok(Self { output })
    }
}

impl Operator for Union {
    fn process(
        &mut self,
        _: usize,
        input: ChangeBatch,
        _: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        if input.records().schema_ref() == &self.output {
            return out.emit(input);
        }
        let records = batch(&self.output, input.records().columns().to_vec(), input.num_rows())?;
        out.emit(input.with_records(records))
    }
}
