//! `Hinted`: a table of FROM of which a STATE_TTL hint says how long its rows are kept.

use datafusion_common::{DFSchemaRef, Result, plan_err};
use datafusion_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;

/// The input, unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hinted {
    /// The table, view or subquery.
    pub input: LogicalPlan,
    /// What the query calls it.
    pub name: String,
    /// How long joins and aggregates that read it keep its rows, in milliseconds; 0 for ever.
    pub ttl_ms: u64,
}

impl PartialOrd for Hinted {
    fn partial_cmp(&self, _: &Self) -> Option<Ordering> {
        None
    }
}

impl UserDefinedLogicalNodeCore for Hinted {
    fn name(&self) -> &str {
        "Hinted"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        HashSet::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Hinted: STATE_TTL of {} is {} ms", self.name, self.ttl_ms)
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Some(input) = inputs.into_iter().next() else { return plan_err!("a hint needs its table") };
        Ok(Self { input, name: self.name.clone(), ttl_ms: self.ttl_ms })
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![output_columns.to_vec()])
    }
}

/// The time to live, in milliseconds, that a hint sets for the rows of `plan` where a join or an aggregate of the same
/// query reads them: hints of subqueries are theirs.
pub fn state_ttl(plan: &LogicalPlan) -> Option<u64> {
    fn find(plan: &LogicalPlan, alias: Option<&str>) -> Option<u64> {
        match plan {
            LogicalPlan::Projection(p) => find(&p.input, alias),
            LogicalPlan::Filter(f) => find(&f.input, alias),
            LogicalPlan::SubqueryAlias(a) if alias.is_none() => find(&a.input, Some(a.alias.table())),
            LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<Hinted>() {
                Some(hinted) if alias.is_none_or(|a| a == hinted.name) => Some(hinted.ttl_ms),
                Some(hinted) => find(&hinted.input, alias),
                None => None,
            },
            _ => None,
        }
    }
    find(plan, None)
}
