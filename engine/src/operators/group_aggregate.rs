//! GroupAggregate: being written.

use super::{Collector, Operator, OperatorContext};
use crate::error::{Error, Result};
use crate::message::ChangeBatch;
use crate::plan::GroupAggregateNode;
use arrow::datatypes::SchemaRef;

/// Being written.
pub struct GroupAggregate;

impl GroupAggregate {
    /// Being written.
    pub fn new(node: &GroupAggregateNode, input: SchemaRef, output: SchemaRef) -> Result<Self> {
        let _ = (node, input, output);
        Err(Error::internal("GroupAggregate is being written"))
    }
}

impl Operator for GroupAggregate {
    fn process(
        &mut self,
        _: usize,
        _: ChangeBatch,
        _: &OperatorContext,
        _: &mut dyn Collector,
    ) -> Result<()> {
        Err(Error::internal("GroupAggregate is being written"))
    }
}
