//! DataFusion's analyzer and the optimizer rules that are right for streams, in a fixed list.

use super::subqueries::{GroupedSubqueries, NotInJoins, QuantifiedPredicates, SelectedExists};
use super::unique_aggregates::UniqueAggregates;
use datafusion_common::Result;
use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::TreeNodeRecursion;
use datafusion_expr::LogicalPlan;
use datafusion_optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion_optimizer::{
    Analyzer, Optimizer, OptimizerContext, OptimizerRule, decorrelate_lateral_join::DecorrelateLateralJoin,
    decorrelate_predicate_subquery::DecorrelatePredicateSubquery, eliminate_cross_join::EliminateCrossJoin,
    eliminate_duplicated_expr::EliminateDuplicatedExpr, eliminate_filter::EliminateFilter,
    eliminate_outer_join::EliminateOuterJoin, extract_equijoin_predicate::ExtractEquijoinPredicate,
    optimize_projections::OptimizeProjections, push_down_filter::PushDownFilter,
    replace_distinct_aggregate::ReplaceDistinctWithAggregate, rewrite_set_comparison::RewriteSetComparison,
    scalar_subquery_to_join::ScalarSubqueryToJoin, simplify_expressions::SimplifyExpressions,
};
use std::sync::Arc;

/// Most passes over the plan; it is stable after two for all queries tried.
const MAX_PASSES: u8 = 3;

/// Coerces types and simplifies. Leaves out what is wrong for changelogs or hides the shapes that lowering looks for.
pub fn optimize(plan: LogicalPlan) -> Result<LogicalPlan> {
    let config = ConfigOptions::default();
    let analyzer = Analyzer::with_rules(vec![Arc::new(TypeCoercion::new())]);
    let plan = analyzer.execute_and_check(plan, &config, |_, _| {})?;
    let optimized = rewrite(plan.clone(), true)?;
    // Pruning takes an aggregate of all rows, whose value nobody reads, for one row; of no rows a stream makes none.
    let optimized =
        if single_rows(&optimized)? > single_rows(&plan)? { rewrite(plan, false)? } else { optimized };
    super::temporal::drop_copies(optimized)
}

fn rewrite(plan: LogicalPlan, prunes: bool) -> Result<LogicalPlan> {
    let mut rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = vec![
        Arc::new(GroupedSubqueries),
        Arc::new(QuantifiedPredicates),
        Arc::new(RewriteSetComparison::new()),
        Arc::new(SimplifyExpressions::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(SelectedExists),
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(NotInJoins),
        Arc::new(ScalarSubqueryToJoin::new()),
        Arc::new(DecorrelateLateralJoin::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateDuplicatedExpr::new()),
        Arc::new(EliminateFilter::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(EliminateOuterJoin::new()),
        Arc::new(UniqueAggregates),
        Arc::new(PushDownFilter::new()),
        Arc::new(SimplifyExpressions::new()),
    ];
    if prunes {
        rules.push(Arc::new(OptimizeProjections::new()));
    }
    let mut config = ConfigOptions::default();
    // Scalar subqueries become joins, for there is nothing to run them before the query.
    config.optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    let context = OptimizerContext::new_with_config_options(Arc::new(config))
        .without_query_execution_start_time()
        .with_skip_failing_rules(false)
        .with_max_passes(MAX_PASSES);
    Optimizer::with_rules(rules).optimize(plan, &context, |_, _| {})
}

/// Relations of one row without columns in the plan.
fn single_rows(plan: &LogicalPlan) -> Result<usize> {
    let mut count = 0;
    plan.apply_with_subqueries(|node| {
        if matches!(node, LogicalPlan::EmptyRelation(empty) if empty.produce_one_row) {
            count += 1;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(count)
}
