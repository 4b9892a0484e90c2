//! WindowAggregate: being written.

use super::{Collector, Operator, OperatorContext};
use crate::error::{Error, Result};
use crate::message::ChangeBatch;
use crate::plan::WindowAggregateNode;
use arrow::datatypes::SchemaRef;

/// Being written.
pub struct WindowAggregate;

impl WindowAggregate {
    /// Being written.
    pub fn new(node: &WindowAggregateNode, input: SchemaRef, output: SchemaRef) -> Result<Self> {
        let _ = (node, input, output);
        Err(Error::internal("WindowAggregate is being written"))
    }
}

impl Operator for WindowAggregate {
    fn process(
        &mut self,
        _: usize,
        _: ChangeBatch,
        _: &OperatorContext,
        _: &mut dyn Collector,
    ) -> Result<()> {
        Err(Error::internal("WindowAggregate is being written"))
    }
}
