//! Joins with a table as of a time: the times of both sides become part of the join's condition.

use crate::error::Error;
use crate::planner::diagnostics::carry;
use crate::planner::expressions::columns_read;
use crate::planner::nodes::{AS_OF_PROCTIME, Hinted, Versioned, as_of, as_of_proctime};
use crate::sql::data_type::{TimeKind, time_attribute};
use arrow::datatypes::DataType;
use datafusion_common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema, Result};
use datafusion_expr::logical_plan::{Filter, Join, JoinType};
use datafusion_expr::utils::{conjunction, split_conjunction, split_conjunction_owned};
use datafusion_expr::{Expr, LogicalPlan};
use std::sync::Arc;

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
        LogicalPlan::Extension(extension) => {
            let node = extension.node.as_any();
            match node.downcast_ref::<Hinted>() {
                Some(hinted) => versioned(&hinted.input),
                None => node.downcast_ref::<Versioned>(),
            }
        }
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
    let right = join.right.schema();
    let column = |schema: &DFSchema, i: usize| Expr::Column(Column::from(schema.qualified_field(i)));
    let condition = match kind {
        TimeKind::Rowtime => {
            let is_rowtime = |i: &usize| time_attribute(right.field(*i)) == Some(TimeKind::Rowtime);
            let time = (0..right.fields().len()).find(is_rowtime);
            as_of(std::iter::once(column(left, at)).chain(time.map(|i| column(right, i))).collect())
        }
        // The time is that of the lookup: columns that are read anyhow keep the condition between the sides.
        TimeKind::Proctime => {
            let first = |schema: &DFSchema, other: usize| {
                let read = columns_read(&join.filter, schema).into_iter().next();
                column(schema, read.unwrap_or(other))
            };
            as_of_proctime(vec![first(left, at), first(right, 0)])
        }
    };
    let filter = match join.filter.clone() {
        Some(filter) => filter.and(condition),
        None => condition,
    };
    Ok(LogicalPlan::Join(Join { filter: Some(filter), ..join }))
}

/// Takes out the marks of joins as of processing time that the optimizer has copied: by a join's key it infers conditions of
/// one side alone, which then go anywhere.
pub fn drop_copies(plan: LogicalPlan) -> Result<LogicalPlan> {
    let is_mark = |e: &Expr| matches!(e, Expr::ScalarFunction(call) if call.func.name() == AS_OF_PROCTIME);
    let without =
        |filter: Expr| conjunction(split_conjunction_owned(filter).into_iter().filter(|e| !is_mark(e)));
    let has_mark = |filter: &Expr| split_conjunction(filter).into_iter().any(is_mark);
    let dropped = plan.transform_up_with_subqueries(|node| {
        Ok(match node {
            LogicalPlan::Filter(filter) if has_mark(&filter.predicate) => {
                Transformed::yes(match without(filter.predicate) {
                    Some(predicate) => LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?),
                    None => Arc::unwrap_or_clone(filter.input),
                })
            }
            LogicalPlan::Join(join)
                if versioned(&join.right).is_none() && join.filter.as_ref().is_some_and(has_mark) =>
            {
                let filter = join.filter.and_then(without);
                Transformed::yes(LogicalPlan::Join(Join { filter, ..join }))
            }
            other => Transformed::no(other),
        })
    });
    Ok(dropped?.data)
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
