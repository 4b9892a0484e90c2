//! A join with UNNEST becomes an unnest beside the join's left side.

use crate::planner::expressions::{coerce, unalias};
use crate::planner::nodes::Unnest;
use datafusion_common::Result;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_expr::logical_plan::{Filter, Join, JoinType};
use datafusion_expr::{Expr, Extension, LogicalPlan};
use datafusion_sql::sqlparser::ast::{self, FunctionArg, FunctionArgExpr, TableFactor, VisitMut, VisitorMut};
use std::ops::ControlFlow;
use std::sync::Arc;

/// `UNNEST(…)` in FROM, which parses as a table function by that name.
pub fn name_unnests(query: &mut ast::Query) {
    struct Names;
    impl VisitorMut for Names {
        type Break = ();
        fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
            let TableFactor::Table { name, alias, args: Some(args), with_ordinality, .. } = factor else {
                return ControlFlow::Continue(());
            };
            if !name.to_string().eq_ignore_ascii_case("UNNEST") {
                return ControlFlow::Continue(());
            }
            let exprs = args.args.iter().filter_map(|a| match a {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e.clone()),
                _ => None,
            });
            *factor = TableFactor::UNNEST {
                alias: alias.take(),
                array_exprs: exprs.collect(),
                with_offset: false,
                with_offset_alias: None,
                with_ordinality: *with_ordinality,
            };
            ControlFlow::Continue(())
        }
    }
    let _ = query.visit(&mut Names);
}

/// Rewrites every join whose right side is an UNNEST.
pub fn apply(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) if matches!(join.join_type, JoinType::Inner | JoinType::Left) => {
            match unnest(&join.right) {
                Some(unnest) => correlated(&join, unnest).map(Transformed::yes),
                None => Ok(Transformed::no(LogicalPlan::Join(join))),
            }
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(rewritten.data)
}

/// The UNNEST that `plan` is, through aliases of it and its columns.
fn unnest(plan: &LogicalPlan) -> Option<&Unnest> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => unnest(&alias.input),
        LogicalPlan::Subquery(subquery) => unnest(&subquery.subquery),
        LogicalPlan::Projection(p) if p.expr.iter().all(|e| matches!(unalias(e), Expr::Column(_))) => {
            unnest(&p.input)
        }
        LogicalPlan::Extension(extension) => extension
            .node
            .as_any()
            .downcast_ref::<Unnest>()
            .filter(|u| matches!(u.input, LogicalPlan::EmptyRelation(_))),
        _ => None,
    }
}

fn correlated(join: &Join, unnest: &Unnest) -> Result<LogicalPlan> {
    let expr = unnest.expr.clone().transform_up(|e| {
        Ok(match e {
            Expr::OuterReferenceColumn(_, column) => Transformed::yes(Expr::Column(column)),
            other => Transformed::no(other),
        })
    })?;
    let left = Arc::unwrap_or_clone(Arc::clone(&join.left));
    let width = left.schema().fields().len();
    let outer = join.join_type == JoinType::Left;
    let elements = join.schema.iter().skip(width).map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
    let condition = match &join.filter {
        Some(filter) if outer => Some(coerce(filter.clone(), &join.schema)?),
        _ => None,
    };
    let node = Unnest::try_new(left, expr.data, elements, unnest.ordinality, outer, condition)?;
    let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
    match &join.filter {
        Some(filter) if !outer => Ok(LogicalPlan::Filter(Filter::try_new(filter.clone(), Arc::new(plan))?)),
        _ => Ok(plan),
    }
}
