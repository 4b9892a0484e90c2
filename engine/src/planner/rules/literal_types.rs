//! Gives projections the SQL types that Arrow loses: `'a'` is CHAR(1), a CASE of texts the longest of them.

use crate::planner::expressions::{field_of, type_metadata};
use crate::sql::SqlType;
use datafusion_common::Result;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_expr::expr::Alias;
use datafusion_expr::logical_plan::Projection;
use datafusion_expr::{Expr, LogicalPlan};

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
                    other => Expr::Alias(Alias::new(other, qualifier.cloned(), field.name()).with_metadata(metadata)),
                });
            }
            Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(exprs, projection.input)?)))
        }
        other => other.recompute_schema().map(Transformed::yes),
    })?;
    Ok(typed.data)
}
