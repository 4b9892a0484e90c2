//! The condition that a join tests beside its keys, over the columns that it reads.

use super::rows::{evaluate_mask, expression_error};
use crate::error::Result;
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;
use datafusion_physical_expr::utils::collect_columns;
use std::sync::Arc;

/// A condition over the columns of both sides, moved to those that it reads.
pub(super) struct JoinCondition {
    expression: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
    columns: [Vec<usize>; 2],
}

impl JoinCondition {
    /// `expression` is bound to left columns followed by right columns.
    pub(super) fn new(expression: &Arc<dyn PhysicalExpr>, sides: [&SchemaRef; 2]) -> Result<Self> {
        let width = sides[0].fields().len();
        let mut read: Vec<usize> = collect_columns(expression).iter().map(Column::index).collect();
        read.sort_unstable();
        read.dedup();
        let moved = Arc::clone(expression).transform_up(|e| {
            Ok(match e.downcast_ref::<Column>() {
                Some(column) => {
                    let at = read.iter().position(|r| *r == column.index()).unwrap_or(column.index());
                    let moved: Arc<dyn PhysicalExpr> = Arc::new(Column::new(column.name(), at));
                    Transformed::yes(moved)
                }
                None => Transformed::no(e),
            })
        });
        let field = |i: &usize| match i.checked_sub(width) {
            None => sides[0].field(*i).clone(),
            Some(right) => sides[1].field(right).clone(),
        };
        Ok(Self {
            expression: moved.map_err(expression_error)?.data,
            schema: Arc::new(Schema::new(read.iter().map(field).collect::<Vec<_>>())),
            columns: [
                read.iter().copied().filter(|i| *i < width).collect(),
                read.iter().copied().filter(|i| *i >= width).map(|i| i - width).collect(),
            ],
        })
    }

    /// Columns of input `input` that it reads.
    pub(super) fn columns(&self, input: usize) -> &[usize] {
        &self.columns[input]
    }

    /// Whether it is true of each pair: `own` are the columns read of input `input`, `other` those of the other one.
    pub(super) fn test(
        &self,
        input: usize,
        own: Vec<ArrayRef>,
        other: Vec<ArrayRef>,
        pairs: usize,
    ) -> Result<BooleanArray> {
        let columns = if input == 0 { [own, other].concat() } else { [other, own].concat() };
        let options = RecordBatchOptions::new().with_row_count(Some(pairs));
        let records = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        evaluate_mask(&self.expression, &records)
    }
}
