//! Refuses what Runnel does not plan yet, by name and place, before it is bound.

use crate::error::{Error, Result, Span};
use crate::planner::diagnostics::span;
use datafusion_sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, JoinOperator, Query, Select, SetExpr, SetOperator,
    SetQuantifier, Spanned, TableFactor, Visit, Visitor,
};
use std::ops::ControlFlow;

/// Checks the whole query.
///
/// Errors: a clause that is not supported, with what to write instead.
pub fn check(query: &Query) -> Result<()> {
    match query.visit(&mut Check::default()) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Place of the first join that is written in the query, for errors about joins found later.
pub fn first_join(query: &Query) -> Option<Span> {
    struct First(Option<Span>);
    impl Visitor for First {
        type Break = ();
        fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
            let joined = select.from.iter().flat_map(|f| &f.joins).map(|j| j.relation.span());
            let second = select.from.iter().skip(1).map(|f| f.relation.span());
            if self.0.is_none() {
                self.0 = joined.chain(second).find_map(span);
            }
            ControlFlow::Continue(())
        }
    }
    let mut first = First(None);
    let _ = query.visit(&mut first);
    first.0
}

/// Place of the first call of a function that `message` names in capitals.
pub fn first_call(query: &Query, message: &str) -> Option<Span> {
    struct First<'a>(Vec<&'a str>, Option<Span>);
    impl Visitor for First<'_> {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            let name = match expr {
                Expr::Function(call) => call.name.to_string().to_uppercase(),
                _ => return ControlFlow::Continue(()),
            };
            if self.1.is_none() && self.0.contains(&name.as_str()) {
                self.1 = span(expr.span());
            }
            ControlFlow::Continue(())
        }
    }
    let words =
        message.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|w| !w.is_empty()).collect();
    let mut first = First(words, None);
    let _ = query.visit(&mut first);
    first.1
}

/// Which subqueries are inputs of window functions.
#[derive(Default)]
struct Check {
    inputs: Vec<Span>,
}

type Flow = ControlFlow<Error>;

fn refuse(what: &str, instead: &str, at: Option<Span>) -> Flow {
    ControlFlow::Break(Error::unsupported(what, instead).at(at))
}

impl Visitor for Check {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &Query) -> Flow {
        if let Some(with) = &query.with
            && with.recursive
        {
            return refuse(
                "WITH RECURSIVE",
                "Flink has none either; write the steps out.",
                span(with.span()),
            );
        }
        if query.fetch.as_ref().is_some_and(|f| f.percent || f.with_ties) {
            return refuse(
                "FETCH with PERCENT or WITH TIES",
                "Write FETCH FIRST n ROWS ONLY.",
                span(query.span()),
            );
        }
        self.body(&query.body)
    }

    fn pre_visit_select(&mut self, select: &Select) -> Flow {
        if let Some(qualify) = &select.qualify {
            return refuse(
                "QUALIFY",
                "Write SELECT … FROM (SELECT *, ROW_NUMBER() OVER (…) AS rn FROM t) WHERE rn = 1.",
                span(qualify.span()),
            );
        }
        if !select.lateral_views.is_empty() {
            return refuse("LATERAL VIEW", "There is no replacement yet.", span(select.span()));
        }
        for join in select.from.iter().flat_map(|f| &f.joins) {
            let at = span(join.relation.span());
            match &join.join_operator {
                JoinOperator::Join(_)
                | JoinOperator::Inner(_)
                | JoinOperator::CrossJoin(_)
                | JoinOperator::Left(_)
                | JoinOperator::LeftOuter(_)
                | JoinOperator::Right(_)
                | JoinOperator::RightOuter(_)
                | JoinOperator::FullOuter(_) => {}
                _ => {
                    return refuse(
                        "This kind of join",
                        "There are INNER, LEFT, RIGHT, FULL and CROSS JOIN; semi and anti joins are written with IN, EXISTS, \
                         NOT IN, NOT EXISTS.",
                        at,
                    );
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> Flow {
        let at = span(factor.span());
        match factor {
            TableFactor::Table { sample: Some(_), .. } => {
                refuse("TABLESAMPLE", "Filter with WHERE RAND() < 0.1 instead.", at)
            }
            TableFactor::Table { name, args: Some(_), .. } => refuse(
                &format!("The table function {name}"),
                "Windows are written FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE)).",
                at,
            ),
            TableFactor::Function { .. } => refuse("LATERAL TABLE", "There is no replacement yet.", at),
            TableFactor::Unpivot { .. } => {
                refuse("UNPIVOT", "Write CROSS JOIN UNNEST(ARRAY[ROW(…)]) AS t (k, v).", at)
            }
            TableFactor::TableFunction { expr: Expr::Function(call), .. } => {
                if let FunctionArguments::List(list) = &call.args {
                    for argument in &list.args {
                        if let FunctionArg::Unnamed(FunctionArgExpr::Expr(e))
                        | FunctionArg::Named { arg: FunctionArgExpr::Expr(e), .. }
                        | FunctionArg::ExprNamed { arg: FunctionArgExpr::Expr(e), .. } = argument
                        {
                            self.inputs.extend(span(e.span()));
                        }
                    }
                }
                ControlFlow::Continue(())
            }
            TableFactor::Table { .. }
            | TableFactor::TableFunction { .. }
            | TableFactor::UNNEST { .. }
            | TableFactor::MatchRecognize { .. }
            | TableFactor::Pivot { .. }
            | TableFactor::Derived { .. }
            | TableFactor::NestedJoin { .. } => ControlFlow::Continue(()),
            _ => {
                refuse("This kind of table expression", "Name a table, a subquery or a window function.", at)
            }
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> Flow {
        let at = || span(expr.span());
        match expr {
            Expr::Function(call) if !call.within_group.is_empty() => {
                refuse("WITHIN GROUP", "Aggregate without an order.", at())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

impl Check {
    fn body(&mut self, body: &SetExpr) -> Flow {
        match body {
            SetExpr::SetOperation { op, set_quantifier, left, right } => {
                let at = span(right.span());
                match (op, set_quantifier) {
                    (
                        SetOperator::Union,
                        SetQuantifier::All | SetQuantifier::None | SetQuantifier::Distinct,
                    ) => {}
                    (SetOperator::Union, _) => {
                        return refuse("UNION BY NAME", "Name the columns in the same order.", at);
                    }
                    (
                        SetOperator::Intersect | SetOperator::Except,
                        SetQuantifier::None | SetQuantifier::Distinct | SetQuantifier::All,
                    ) => {}
                    (op, quantifier) => {
                        let what = format!("{op} {quantifier}");
                        return refuse(what.trim(), "Compare keys with an aggregate over UNION ALL.", at);
                    }
                }
                self.body(left)?;
                self.body(right)
            }
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                refuse("A change inside a query", "Write INSERT INTO t SELECT ….", span(body.span()))
            }
            _ => ControlFlow::Continue(()),
        }
    }
}
