//! WindowJoin: being written.

use super::{Collector, Operator, OperatorContext};
use crate::error::{Error, Result};
use crate::message::ChangeBatch;
use crate::plan::WindowJoinNode;
use arrow::datatypes::SchemaRef;

/// Being written.
pub struct WindowJoin;

impl WindowJoin {
    /// Being written.
    pub fn new(node: &WindowJoinNode, inputs: &[SchemaRef], output: SchemaRef) -> Result<Self> {
        let _ = (node, inputs, output);
        Err(Error::internal("WindowJoin is being written"))
    }
}

impl Operator for WindowJoin {
    fn process(
        &mut self,
        _: usize,
        _: ChangeBatch,
        _: &OperatorContext,
        _: &mut dyn Collector,
    ) -> Result<()> {
        Err(Error::internal("WindowJoin is being written"))
    }
}
