//! GROUPING SETS, ROLLUP, CUBE and `()` become rows expanded by their sets and an aggregate by the set's number;
//! GROUPING, GROUPING_ID and GROUP_ID become values of that number.

use crate::error::Error;
use crate::planner::diagnostics::carry;
use crate::planner::expressions::unalias;
use crate::planner::nodes::Expand;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, Result, ScalarValue};
use datafusion_expr::expr::{AggregateFunction, Case};
use datafusion_expr::logical_plan::{Aggregate, Projection};
use datafusion_expr::{Expr, Extension, GroupingSet, LogicalPlan};
use datafusion_sql::sqlparser::ast::{self, GroupByExpr, Select, VisitMut, VisitorMut};
use std::cmp::Ordering;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Most grouping sets of a query: each row is taken so often.
const MAX_SETS: usize = 1024;

/// Writes each GROUP BY that has sets as one list of sets: the product of its parts.
///
/// Errors: more than `MAX_SETS` sets.
pub fn prepare(query: &mut ast::Query) -> crate::error::Result<()> {
    struct Prepare;
    impl VisitorMut for Prepare {
        type Break = Error;
        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
            match prepare_select(select) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            }
        }
    }
    match query.visit(&mut Prepare) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

fn prepare_select(select: &mut Select) -> crate::error::Result<()> {
    let GroupByExpr::Expressions(groups, _) = &mut select.group_by else { return Ok(()) };
    let has_sets = |e: &ast::Expr| match e {
        ast::Expr::GroupingSets(_) | ast::Expr::Rollup(_) | ast::Expr::Cube(_) => true,
        ast::Expr::Tuple(items) => items.is_empty(),
        _ => false,
    };
    if !groups.iter().any(has_sets) {
        return Ok(());
    }
    let mut sets: Vec<Vec<ast::Expr>> = vec![Vec::new()];
    for group in groups.iter() {
        let part: Vec<Vec<ast::Expr>> = match group {
            ast::Expr::GroupingSets(sets) => sets.clone(),
            ast::Expr::Rollup(parts) => (0..=parts.len()).rev().map(|n| parts[..n].concat()).collect(),
            ast::Expr::Cube(parts) if parts.len() < usize::BITS as usize && 1 << parts.len() <= MAX_SETS => {
                let all = 1usize << parts.len();
                let chosen = |mask: usize| {
                    let has = |i: &usize| mask & (1 << (parts.len() - 1 - i)) == 0;
                    (0..parts.len()).filter(has).flat_map(|i| parts[i].clone()).collect()
                };
                (0..all).map(chosen).collect()
            }
            ast::Expr::Cube(_) => return Err(too_many()),
            ast::Expr::Tuple(items) => vec![items.clone()],
            plain => vec![vec![plain.clone()]],
        };
        if sets.len().saturating_mul(part.len()) > MAX_SETS {
            return Err(too_many());
        }
        sets = sets.iter().flat_map(|a| part.iter().map(move |b| [&a[..], &b[..]].concat())).collect();
    }
    *groups = vec![ast::Expr::GroupingSets(sets)];
    Ok(())
}

fn too_many() -> Error {
    Error::user(format!("GROUP BY has more than {MAX_SETS} grouping sets."))
        .with_hint("Write out the sets that are needed with GROUPING SETS.")
}

/// Rewrites every aggregate with sets or with a call of GROUPING and its like.
///
/// Errors (ours, carried): GROUPING of something that is no key.
pub fn rewrite(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up(|node| match node {
        LogicalPlan::Aggregate(aggregate)
            if matches!(aggregate.group_expr.first(), Some(Expr::GroupingSet(_)))
                || aggregate.aggr_expr.iter().any(|e| grouping_call(e).is_some()) =>
        {
            Ok(Transformed::yes(rewrite_aggregate(aggregate)?))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(plan.data)
}

/// The call of GROUPING, GROUPING_ID or GROUP_ID that `expr` is.
fn grouping_call(expr: &Expr) -> Option<&AggregateFunction> {
    match unalias(expr) {
        Expr::AggregateFunction(call)
            if matches!(call.func.name(), "grouping" | "grouping_id" | "group_id") =>
        {
            Some(call)
        }
        _ => None,
    }
}

fn sets_of(aggregate: &Aggregate) -> Vec<Vec<Expr>> {
    match aggregate.group_expr.first() {
        Some(Expr::GroupingSet(GroupingSet::GroupingSets(sets))) => sets.clone(),
        Some(Expr::GroupingSet(GroupingSet::Rollup(all))) => {
            (0..=all.len()).rev().map(|n| all[..n].to_vec()).collect()
        }
        Some(Expr::GroupingSet(GroupingSet::Cube(all))) => {
            let chosen = |mask: usize| {
                let has = |i: &usize| mask & (1 << (all.len() - 1 - i)) == 0;
                (0..all.len()).filter(has).map(|i| all[i].clone()).collect()
            };
            (0..1usize << all.len()).map(chosen).collect()
        }
        _ => vec![aggregate.group_expr.clone()],
    }
}

fn rewrite_aggregate(aggregate: Aggregate) -> Result<LogicalPlan> {
    let mut sets = sets_of(&aggregate);
    let mut keys: Vec<Expr> = Vec::new();
    for key in sets.iter().flatten() {
        if !keys.contains(key) {
            keys.push(key.clone());
        }
    }
    let mask = |set: &Vec<Expr>| keys.iter().map(|k| set.contains(k)).collect::<Vec<bool>>();
    let mut masks: Vec<Vec<bool>> = sets.iter().map(mask).collect();
    sort(&mut masks);
    sets.clear();
    let mut input = Arc::unwrap_or_clone(Arc::clone(&aggregate.input));
    let varying: Vec<usize> = (0..keys.len()).filter(|k| masks.iter().any(|m| !m[*k])).collect();
    let mut groups = keys.clone();
    if masks.len() > 1 {
        let expanded = varying.iter().map(|k| keys[*k].clone()).collect();
        let has = masks.iter().map(|m| varying.iter().map(|k| m[*k]).collect()).collect();
        let expand = Expand::try_new(expanded, has, input)?;
        input = LogicalPlan::Extension(Extension { node: Arc::new(expand) });
        for (index, key) in varying.iter().enumerate() {
            groups[*key] = Expr::Column(Column::new_unqualified(Expand::key_name(index)));
        }
        groups.push(Expr::Column(Column::new_unqualified(Expand::SET)));
    }
    let calls: Vec<Expr> =
        aggregate.aggr_expr.iter().filter(|e| grouping_call(e).is_none()).cloned().collect();
    let below = Aggregate::try_new(Arc::new(input), groups, calls)?;
    // The columns of the aggregate as it was, out of those of the new one.
    let columns = below.schema.columns();
    let n_groups = keys.len() + usize::from(masks.len() > 1);
    let was_set = matches!(aggregate.group_expr.first(), Some(Expr::GroupingSet(_)));
    let mut values: Vec<Expr> = (0..keys.len()).map(|k| Expr::Column(columns[k].clone())).collect();
    if was_set {
        let internal = ScalarValue::new_zero(aggregate.schema.field(keys.len()).data_type())?;
        values.push(Expr::Literal(internal, None));
    }
    let mut next = n_groups;
    for expr in &aggregate.aggr_expr {
        values.push(match grouping_call(expr) {
            Some(call) => by_set(&masks, grouping_values(call, &keys, &masks)?),
            None => {
                next += 1;
                Expr::Column(columns[next - 1].clone())
            }
        });
    }
    let named = values.into_iter().zip(aggregate.schema.iter()).map(|(value, (qualifier, field))| {
        let same =
            matches!(&value, Expr::Column(c) if c.relation.as_ref() == qualifier && &c.name == field.name());
        if same { value } else { value.alias_qualified(qualifier.cloned(), field.name()) }
    });
    let projection = Projection::try_new(named.collect(), Arc::new(LogicalPlan::Aggregate(below)))?;
    Ok(LogicalPlan::Projection(projection))
}

/// What the call is for each set.
fn grouping_values(call: &AggregateFunction, keys: &[Expr], masks: &[Vec<bool>]) -> Result<Vec<i64>> {
    if call.func.name() == "group_id" {
        let before = |i: usize| masks[..i].iter().filter(|m| **m == masks[i]).count() as i64;
        return Ok((0..masks.len()).map(before).collect());
    }
    let position = |argument: &Expr| {
        keys.iter().position(|k| unalias(k) == unalias(argument)).ok_or_else(|| {
            let name = call.func.name().to_uppercase();
            carry(
                Error::user(format!("Argument to {name} operator must be a grouped expression"))
                    .with_hint(format!("{name} takes expressions that stand in GROUP BY, written the same.")),
            )
        })
    };
    let arguments = call.params.args.iter().map(position).collect::<Result<Vec<_>>>()?;
    let value = |mask: &Vec<bool>| arguments.iter().fold(0, |value, k| value << 1 | i64::from(!mask[*k]));
    Ok(masks.iter().map(value).collect())
}

/// A value for each set.
fn by_set(masks: &[Vec<bool>], values: Vec<i64>) -> Expr {
    let number = |n: i64| Expr::Literal(ScalarValue::Int64(Some(n)), None);
    let first = values.first().copied().unwrap_or_default();
    if masks.len() < 2 || values.iter().all(|v| *v == first) {
        return number(first);
    }
    let cases = values.iter().enumerate().skip(1).filter(|(_, value)| **value != first);
    let cases = cases.map(|(set, value)| (Box::new(number(set as i64)), Box::new(number(*value))));
    Expr::Case(Case {
        expr: Some(Box::new(Expr::Column(Column::new_unqualified(Expand::SET)))),
        when_then_expr: cases.collect(),
        else_expr: Some(Box::new(number(first))),
    })
}

/// Sorts sets as Flink's planner does, which decides the order in which a row's sets come: those that hold others
/// first, else by their keys' bits. That is no total order, so the way of sorting matters: Java's for short lists.
fn sort(sets: &mut [Vec<bool>]) {
    let bits = |set: &Vec<bool>| set.iter().rev().fold(0u128, |bits, has| bits << 1 | u128::from(*has));
    let compare = |a: &Vec<bool>, b: &Vec<bool>| {
        let (a, b) = (bits(a), bits(b));
        match () {
            () if a == b => Ordering::Equal,
            () if a & b == b => Ordering::Less,
            () if a & b == a => Ordering::Greater,
            () => a.cmp(&b),
        }
    };
    let mut sorted = 1;
    if sets.len() > 1 {
        let descending = compare(&sets[1], &sets[0]).is_lt();
        sorted = 2;
        while sorted < sets.len() && compare(&sets[sorted], &sets[sorted - 1]).is_lt() == descending {
            sorted += 1;
        }
        if descending {
            sets[..sorted].reverse();
        }
    }
    for next in sorted..sets.len() {
        let (mut left, mut right) = (0, next);
        while left < right {
            let middle = (left + right) / 2;
            if compare(&sets[next], &sets[middle]).is_lt() {
                right = middle;
            } else {
                left = middle + 1;
            }
        }
        sets[left..=next].rotate_right(1);
    }
}
