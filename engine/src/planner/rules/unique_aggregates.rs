//! An aggregate over rows that are alone in their groups is a projection, as in Flink: DISTINCT of a table's key, MAX of
//! each group's count. Its updates are then those of its input.

use crate::planner::expressions::unalias;
use crate::planner::table::Table;
use datafusion_common::tree_node::Transformed;
use datafusion_common::{Column, DFSchema, Result};
use datafusion_expr::expr::AggregateFunction;
use datafusion_expr::logical_plan::{Aggregate, Distinct, Join, JoinType, Projection, TableScan};
use datafusion_expr::{Expr, LogicalPlan, cast};
use datafusion_optimizer::optimizer::ApplyOrder;
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};
use std::any::Any;
use std::collections::BTreeSet;

/// The rule.
#[derive(Debug)]
pub struct UniqueAggregates;

impl OptimizerRule for UniqueAggregates {
    fn name(&self) -> &str {
        "unique_aggregates"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = plan else { return Ok(Transformed::no(plan)) };
        match projection(&aggregate)? {
            Some(projection) => Ok(Transformed::yes(LogicalPlan::Projection(projection))),
            None => Ok(Transformed::no(LogicalPlan::Aggregate(aggregate))),
        }
    }

    fn supports_rewrite(&self) -> bool {
        true
    }
}

fn projection(aggregate: &Aggregate) -> Result<Option<Projection>> {
    let input = aggregate.input.schema();
    let keys: Option<BTreeSet<usize>> = aggregate.group_expr.iter().map(|e| column(e, input)).collect();
    let Some(keys) = keys.filter(|keys| !keys.is_empty()) else { return Ok(None) };
    if !unique(&aggregate.input).iter().any(|key| key.is_subset(&keys)) {
        return Ok(None);
    }
    let mut exprs: Vec<Expr> = aggregate.group_expr.clone();
    for (index, call) in aggregate.aggr_expr.iter().enumerate() {
        let Some(value) = single(call) else { return Ok(None) };
        let (qualifier, field) = aggregate.schema.qualified_field(aggregate.group_expr.len() + index);
        let value = cast(value, field.data_type().clone());
        exprs.push(value.alias_qualified(qualifier.cloned(), field.name()));
    }
    Projection::try_new(exprs, aggregate.input.clone()).map(Some)
}

/// What the call gives for a single row.
fn single(call: &Expr) -> Option<Expr> {
    match unalias(call) {
        Expr::AggregateFunction(AggregateFunction { func, params }) => match &params.args[..] {
            [argument] if params.filter.is_none() && ["sum", "min", "max"].contains(&func.name()) => {
                Some(argument.clone())
            }
            _ => None,
        },
        _ => None,
    }
}

fn column(expr: &Expr, schema: &DFSchema) -> Option<usize> {
    match unalias(expr) {
        Expr::Column(c) => schema.maybe_index_of_column(c),
        _ => None,
    }
}

type Key = BTreeSet<usize>;

/// Sets of columns whose values no two rows of the plan share.
fn unique(plan: &LogicalPlan) -> Vec<Key> {
    match plan {
        LogicalPlan::TableScan(scan) => primary_key(scan).into_iter().collect(),
        LogicalPlan::SubqueryAlias(alias) => unique(&alias.input),
        LogicalPlan::Filter(filter) => unique(&filter.input),
        LogicalPlan::Sort(sort) => unique(&sort.input),
        LogicalPlan::Limit(limit) => unique(&limit.input),
        LogicalPlan::Projection(projection) => {
            let sources: Vec<Option<usize>> =
                projection.expr.iter().map(|e| column(e, projection.input.schema())).collect();
            let place = |c: &usize| sources.iter().position(|s| *s == Some(*c));
            unique(&projection.input).iter().filter_map(|key| key.iter().map(place).collect()).collect()
        }
        LogicalPlan::Aggregate(aggregate) => {
            let plain = aggregate.group_expr.iter().all(|e| !matches!(e, Expr::GroupingSet(_)));
            plain.then(|| (0..aggregate.group_expr.len()).collect()).into_iter().collect()
        }
        LogicalPlan::Distinct(Distinct::All(input)) => vec![(0..input.schema().fields().len()).collect()],
        LogicalPlan::Join(join) => joined(join),
        _ => Vec::new(),
    }
}

fn primary_key(scan: &TableScan) -> Option<Key> {
    let source: &dyn Any = scan.source.as_ref();
    let table = source.downcast_ref::<Table>()?;
    let key = table.definition.primary_key.as_ref().filter(|k| !k.columns.is_empty())?;
    let place = |name: &String| {
        scan.projected_schema.maybe_index_of_column(&Column::new(Some(scan.table_name.clone()), name))
    };
    key.columns.iter().map(place).collect()
}

fn joined(join: &Join) -> Vec<Key> {
    let (left, right) = (unique(&join.left), unique(&join.right));
    if matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti) {
        return left;
    }
    if !matches!(join.join_type, JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full) {
        return Vec::new();
    }
    let on = |side: &LogicalPlan, pick: fn(&(Expr, Expr)) -> &Expr| -> Key {
        join.on.iter().filter_map(|pair| column(pick(pair), side.schema())).collect()
    };
    let (left_on, right_on) = (on(&join.left, |p| &p.0), on(&join.right, |p| &p.1));
    let width = join.left.schema().fields().len();
    let moved: Vec<Key> = right.iter().map(|k| k.iter().map(|c| c + width).collect()).collect();
    let mut keys: Vec<Key> = Vec::new();
    for l in &left {
        keys.extend(moved.iter().map(|r| l.union(r).copied().collect::<Key>()));
    }
    let one = |keys: &[Key], on: &Key| keys.iter().any(|k| k.is_subset(on));
    if one(&right, &right_on) && matches!(join.join_type, JoinType::Inner | JoinType::Left) {
        keys.extend(left.iter().cloned());
    }
    if one(&left, &left_on) && matches!(join.join_type, JoinType::Inner | JoinType::Right) {
        keys.extend(moved);
    }
    keys
}
