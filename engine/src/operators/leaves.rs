//! `Leaves`: the columns and fields of columns that expressions read, so that only these are copied when rows are chosen.

use super::rows::{evaluate, expression_error};
use crate::error::Result;
use crate::functions::is_access;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;
use std::sync::Arc;

/// What expressions over one schema read: columns, and fields of rows in columns. To take them out costs nothing.
pub(super) struct Leaves {
    accesses: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
}

impl Leaves {
    /// The leaves of `expressions` over `input`, and the expressions over these leaves.
    pub(super) fn of(
        expressions: &[Arc<dyn PhysicalExpr>],
        input: &SchemaRef,
    ) -> Result<(Self, Vec<Arc<dyn PhysicalExpr>>)> {
        let mut accesses: Vec<Arc<dyn PhysicalExpr>> = Vec::new();
        let mut over = |expression: &Arc<dyn PhysicalExpr>| {
            let moved = Arc::clone(expression).transform_down(|e| {
                if !is_access(&e) {
                    return Ok(Transformed::no(e));
                }
                let at = accesses.iter().position(|a| a.eq(&e)).unwrap_or_else(|| {
                    accesses.push(Arc::clone(&e));
                    accesses.len() - 1
                });
                let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(&e.to_string(), at));
                Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
            });
            Ok(moved.map_err(expression_error)?.data)
        };
        let moved = expressions.iter().map(&mut over).collect::<Result<Vec<_>>>()?;
        let field = |access: &Arc<dyn PhysicalExpr>| {
            let field = access.return_field(input).map_err(expression_error)?;
            Ok(Field::new(access.to_string(), field.data_type().clone(), true)
                .with_metadata(field.metadata().clone()))
        };
        let fields = accesses.iter().map(field).collect::<Result<Vec<_>>>()?;
        Ok((Self { accesses, schema: Arc::new(Schema::new(fields)) }, moved))
    }

    /// The leaves of `records`.
    pub(super) fn take(&self, records: &RecordBatch) -> Result<RecordBatch> {
        let columns =
            self.accesses.iter().map(|a| evaluate(a, records)).collect::<Result<Vec<ArrayRef>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(records.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}
