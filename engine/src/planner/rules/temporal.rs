//! Joins with a table as of a time: the times of both sides become part of the join's condition.

use crate::error::Error;
use crate::planner::diagnostics::carry;
use crate::planner::nodes::{Versioned, as_of};
use crate::sql::data_type::{TimeKind, time_attribute};
use arrow::datatypes::DataType;
use datafusion_common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion_common::{Column, Result};
use datafusion_expr::logical_plan::{Join, JoinType};
use datafusion_expr::{Expr, LogicalPlan};

/// Marks every join whose right side is `FOR SYSTEM_TIME AS OF`.
///
/// Errors (ours, carried): a kind of join, a time or a place that Flink does not take.
pub fn apply(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan
        .transform_up_with_subqueries(|node| match node {
            LogicalPlan::Join(join) if versioned(&join.right).is_some() => {
                Ok(Transformed::yes(marked(join)?))
            }
            other => Ok(Transformed::no(other)),
        })?
        .data;
    refuse_strays(&plan)?;
    Ok(plan)
}

/// The table as of a time that `plan` is, through its aliases and filters.
pub fn versioned(plan: &LogicalPlan) -> Option<&Versioned> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => versioned(&alias.input),
        LogicalPlan::Projection(p) => versioned(&p.input),
        LogicalPlan::Filter(f) => versioned(&f.input),
        LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref::<Versioned>(),
        _ => None,
    }
}

/// What Flink says of another time than the left side's time attribute.
pub const ONLY_LEFT_TIME: &str =
    "Temporal table join currently only supports 'FOR SYSTEM_TIME AS OF' left table's time attribute field";

fn marked(join: Join) -> Result<LogicalPlan> {
    let wrong = || {
        Error::user(ONLY_LEFT_TIME)
            .with_hint("Write l JOIN r FOR SYSTEM_TIME AS OF l.ts ON l.k = r.k, where ts is the column of l's WATERMARK or PROCTIME().")
    };
    if !matches!(join.join_type, JoinType::Inner | JoinType::Left) {
        let kind = join.join_type.to_string().to_uppercase();
        return Err(carry(
            Error::user(format!("Unknown join type {kind}"))
                .with_hint("A temporal join is an INNER or LEFT JOIN."),
        ));
    }
    let left = join.left.schema();
    let at = versioned(&join.right).and_then(|v| v.at.as_ref()).and_then(|c| left.maybe_index_of_column(c));
    let Some(at) = at else { return Err(carry(wrong())) };
    let kind = match (time_attribute(left.field(at)), left.field(at).data_type()) {
        (Some(kind), _) => kind,
        // What an aggregate makes of `window_time` is told by the operators only.
        (None, DataType::Timestamp(..)) => TimeKind::Rowtime,
        (None, _) => return Err(carry(wrong())),
    };
    let mut arguments = vec![Expr::Column(Column::from(left.qualified_field(at)))];
    if kind == TimeKind::Rowtime {
        let right = join.right.schema();
        let is_rowtime = |i: &usize| time_attribute(right.field(*i)) == Some(TimeKind::Rowtime);
        let time = (0..right.fields().len()).find(is_rowtime);
        arguments.extend(time.map(|i| Expr::Column(Column::from(right.qualified_field(i)))));
    }
    let condition = as_of(arguments);
    let filter = match join.filter.clone() {
        Some(filter) => filter.and(condition),
        None => condition,
    };
    Ok(LogicalPlan::Join(Join { filter: Some(filter), ..join }))
}

fn refuse_strays(plan: &LogicalPlan) -> Result<()> {
    let (mut tables, mut joins) = (0, 0);
    plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::Extension(e) if e.node.as_any().is::<Versioned>() => tables += 1,
            LogicalPlan::Join(join) if versioned(&join.right).is_some() => joins += 1,
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if tables == joins {
        return Ok(());
    }
    Err(carry(Error::user(ONLY_LEFT_TIME).with_hint(
        "The table stands on the right of a join: l JOIN r FOR SYSTEM_TIME AS OF l.ts ON l.k = r.k.",
    )))
}
