//! `FETCH FIRST n ROWS ONLY` becomes LIMIT, which DataFusion binds.

use datafusion_sql::sqlparser::ast::{LimitClause, Query, VisitMut, VisitorMut};
use std::ops::ControlFlow;

/// Rewrites every FETCH of the query. PERCENT and WITH TIES have been refused by then.
pub fn rewrite(query: &mut Query) {
    struct Fetches;
    impl VisitorMut for Fetches {
        type Break = ();
        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
            let Some(fetch) = query.fetch.take() else { return ControlFlow::Continue(()) };
            let (offset, limit_by) = match query.limit_clause.take() {
                Some(LimitClause::LimitOffset { offset, limit_by, .. }) => (offset, limit_by),
                _ => (None, Vec::new()),
            };
            let limit = fetch.quantity.or_else(|| crate::sql::parse_expression("1").ok());
            query.limit_clause = Some(LimitClause::LimitOffset { limit, offset, limit_by });
            ControlFlow::Continue(())
        }
    }
    let _ = query.visit(&mut Fetches);
}
