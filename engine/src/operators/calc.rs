//! Filter and projection.

use super::leaves::Leaves;
use super::rows::{batch, evaluate, evaluate_mask};
use super::{Collector, Operator, OperatorContext};
use crate::error::Result;
use crate::functions::set_current_watermark;
use crate::message::ChangeBatch;
use crate::plan::CalcNode;
use arrow::array::BooleanArray;
use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;
use std::sync::Arc;

/// Keeps the rows for which the filter is true, then computes the projection. Each row of a changelog is
/// judged on its own, as in Flink: of an update pair, one half may pass alone.
pub struct Calc {
    filter: Option<Filter>,
    projection: Vec<Arc<dyn PhysicalExpr>>,
    output: SchemaRef,
}

/// A condition, and what the projection reads of the rows that it keeps.
struct Filter {
    condition: Arc<dyn PhysicalExpr>,
    leaves: Leaves,
}

impl Calc {
    /// Expressions are bound to the columns of `input`.
    pub fn new(node: &CalcNode, input: SchemaRef, output: SchemaRef) -> Result<Self> {
        let Some(condition) = &node.filter else {
            return Ok(Self { filter: None, projection: node.projection.clone(), output });
        };
        let (leaves, projection) = Leaves::of(&node.projection, &input)?;
        Ok(Self { filter: Some(Filter { condition: Arc::clone(condition), leaves }), projection, output })
    }
}

impl Operator for Calc {
    fn process(
        &mut self,
        _: usize,
        input: ChangeBatch,
        context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        set_current_watermark(context.watermark.0);
        let kept = match &self.filter {
            None => input,
            Some(filter) => {
                let mask = evaluate_mask(&filter.condition, input.records())?;
                keep(input.with_records(filter.leaves.take(input.records())?), &mask)?
            }
        };
        if kept.num_rows() == 0 {
            return Ok(());
        }
        let columns = self.projection.iter().map(|e| evaluate(e, kept.records())).collect::<Result<_>>()?;
        let records = batch(&self.output, columns, kept.num_rows())?;
        out.emit(kept.with_records(records))
    }
}

fn keep(input: ChangeBatch, mask: &BooleanArray) -> Result<ChangeBatch> {
    Ok(if mask.true_count() == input.num_rows() { input } else { input.filter(mask)? })
}
