//! Gives projections the SQL types that Arrow loses: `'a'` is CHAR(1), a CASE of texts the longest of them.

use crate::planner::expressions::{common_text, field_of, retype, type_metadata};
use crate::sql::SqlType;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, Result};
use datafusion_expr::expr::Alias;
use datafusion_expr::logical_plan::{Projection, Values};
use datafusion_expr::{Expr, LogicalPlan};
use std::sync::Arc;

/// The same plan; fields of projections carry their types, and so do all above them.
pub fn typed(plan: LogicalPlan) -> Result<LogicalPlan> {
    let typed = plan.transform_up(|node| match node {
        LogicalPlan::Projection(projection) => {
            let mut exprs = Vec::with_capacity(projection.expr.len());
            for (index, expr) in projection.expr.into_iter().enumerate() {
                let (qualifier, field) = projection.schema.qualified_field(index);
                let ours = SqlType::of(&field_of(&expr, projection.input.schema(), None)?);
                let known = SqlType::of(field);
                if ours == known || !matches!(ours, SqlType::Char(_) | SqlType::Varchar(_)) {
                    exprs.push(expr);
                    continue;
                }
                let metadata = Some(type_metadata(&ours));
                exprs.push(match expr {
                    Expr::Alias(alias) => Expr::Alias(Alias { metadata, ..alias }),
                    other => Expr::Alias(
                        Alias::new(other, qualifier.cloned(), field.name()).with_metadata(metadata),
                    ),
                });
            }
            Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(exprs, projection.input)?)))
        }
        LogicalPlan::Values(values) => {
            let mut fields = Vec::new();
            for (index, (qualifier, field)) in values.schema.iter().enumerate() {
                let types = values
                    .values
                    .iter()
                    .map(|row| Ok(SqlType::of(&field_of(&row[index], &DFSchema::empty(), None)?)))
                    .collect::<Result<Vec<_>>>()?;
                let field = retype(field.as_ref().clone(), common_text(&types));
                fields.push((qualifier.cloned(), Arc::new(field)));
            }
            let schema = Arc::new(DFSchema::new_with_metadata(fields, Default::default())?);
            Ok(Transformed::yes(LogicalPlan::Values(Values { schema, ..values })))
        }
        other => other.recompute_schema().map(Transformed::yes),
    })?;
    Ok(typed.data)
}
