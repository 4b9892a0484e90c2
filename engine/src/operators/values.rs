//! Fixed rows.

use super::rows::batch;
use crate::error::Result;
use crate::message::ChangeBatch;
use crate::plan::ValuesNode;
use arrow::datatypes::SchemaRef;
use std::vec::IntoIter;

/// The rows of VALUES, batch by batch: the runtime's source task for it drains this iterator.
pub struct Values {
    batches: IntoIter<ChangeBatch>,
}

impl Values {
    /// The rows of `node`, with the columns of `output`.
    pub fn new(node: &ValuesNode, output: SchemaRef) -> Result<Self> {
        let batches = node
            .batches
            .iter()
            .map(|b| Ok(ChangeBatch::inserts(batch(&output, b.columns().to_vec(), b.num_rows())?)))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { batches: batches.into_iter() })
    }
}

impl Iterator for Values {
    type Item = ChangeBatch;

    fn next(&mut self) -> Option<ChangeBatch> {
        self.batches.next()
    }
}
