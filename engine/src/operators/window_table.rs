//! WindowTable: being written.

use super::{Collector, Operator, OperatorContext};
use crate::error::{Error, Result};
use crate::message::ChangeBatch;
use crate::plan::WindowTableNode;
use arrow::datatypes::SchemaRef;

/// Being written.
pub struct WindowTable;

impl WindowTable {
    /// Being written.
    pub fn new(node: &WindowTableNode, input: SchemaRef, output: SchemaRef) -> Result<Self> {
        let _ = (node, input, output);
        Err(Error::internal("WindowTable is being written"))
    }
}

impl Operator for WindowTable {
    fn process(
        &mut self,
        _: usize,
        _: ChangeBatch,
        _: &OperatorContext,
        _: &mut dyn Collector,
    ) -> Result<()> {
        Err(Error::internal("WindowTable is being written"))
    }
}
