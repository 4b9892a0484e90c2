//! ORDER BY of a subquery without LIMIT goes: the order of its rows means nothing.

use datafusion_sql::sqlparser::ast::{Query, VisitMut, VisitorMut};
use std::ops::ControlFlow;

/// Takes it out of all queries below `query`.
pub fn rewrite(query: &mut Query) {
    struct Orders {
        depth: usize,
    }
    impl VisitorMut for Orders {
        type Break = ();
        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
            if self.depth > 0 && query.limit_clause.is_none() && query.fetch.is_none() {
                query.order_by = None;
            }
            self.depth += 1;
            ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }
    }
    let _ = query.visit(&mut Orders { depth: 0 });
}
