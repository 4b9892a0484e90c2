//! Numbers in the frames of OVER become plain ones again: DataFusion looks at their mark here.

use datafusion_sql::sqlparser::ast::{
    Expr, NamedWindowExpr, Query, Select, Value, ValueWithSpan, VisitMut, VisitorMut, WindowFrameBound,
    WindowSpec, WindowType,
};
use std::ops::ControlFlow;

/// Rewrites the frames of all OVERs and WINDOW clauses of the query.
pub fn rewrite(query: &mut Query) {
    struct Frames;
    impl VisitorMut for Frames {
        type Break = ();
        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::Function(call) = expr
                && let Some(WindowType::WindowSpec(spec)) = &mut call.over
            {
                plain(spec);
            }
            ControlFlow::Continue(())
        }
        fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
            for window in &mut select.named_window {
                if let NamedWindowExpr::WindowSpec(spec) = &mut window.1 {
                    plain(spec);
                }
            }
            ControlFlow::Continue(())
        }
    }
    let _ = query.visit(&mut Frames);
}

fn plain(spec: &mut WindowSpec) {
    let Some(frame) = &mut spec.window_frame else { return };
    for bound in std::iter::once(&mut frame.start_bound).chain(&mut frame.end_bound) {
        if let WindowFrameBound::Preceding(Some(n)) | WindowFrameBound::Following(Some(n)) = bound
            && let Expr::Value(ValueWithSpan { value: Value::Number(_, marked), .. }) = n.as_mut()
        {
            *marked = false;
        }
    }
}
