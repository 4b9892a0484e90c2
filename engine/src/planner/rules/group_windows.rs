//! Group windows, `GROUP BY TUMBLE(ts, …)` with `TUMBLE_START(…)` and its like, become a window and an aggregate over it.

use crate::error::Error;
use crate::planner::diagnostics::carry;
use crate::planner::nodes::{Window, WindowColumns, group_window_call};
use crate::planner::relations::interval_ms;
use crate::sql::SqlType;
use crate::time::WindowSpec;
use arrow::datatypes::DataType;
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, Result, TableReference};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::logical_plan::Aggregate;
use datafusion_expr::{Expr, ExprSchemable, Extension, LogicalPlan, LogicalPlanBuilder};
use datafusion_sql::sqlparser::ast::{
    self, GroupByExpr, Select, SelectItem, Visit, VisitMut, Visitor, VisitorMut,
};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Adds the auxiliary calls of SELECT and HAVING to GROUP BY, so that they bind as group expressions.
pub fn prepare(query: &mut ast::Query) {
    struct Prepare;
    impl VisitorMut for Prepare {
        type Break = ();
        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
            prepare_select(select);
            ControlFlow::Continue(())
        }
    }
    let _ = query.visit(&mut Prepare);
}

fn prepare_select(select: &mut Select) {
    let GroupByExpr::Expressions(groups, _) = &select.group_by else { return };
    if !groups.iter().any(|e| part_of(e) == Some("")) {
        return;
    }
    struct Auxiliaries(Vec<ast::Expr>);
    impl Visitor for Auxiliaries {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
            if part_of(expr).is_some() && !self.0.contains(expr) {
                self.0.push(expr.clone());
            }
            ControlFlow::Continue(())
        }
    }
    let mut found = Auxiliaries(groups.clone());
    let known = found.0.len();
    for item in &select.projection {
        if let SelectItem::UnnamedExpr(e) | SelectItem::ExprWithAlias { expr: e, .. } = item {
            let _ = e.visit(&mut found);
        }
    }
    if let Some(having) = &select.having {
        let _ = having.visit(&mut found);
    }
    if let GroupByExpr::Expressions(groups, _) = &mut select.group_by {
        groups.extend(found.0.into_iter().skip(known));
    }
}

/// The part of a group window that the call stands for, if it is one.
fn part_of(expr: &ast::Expr) -> Option<&'static str> {
    match expr {
        ast::Expr::Function(call) if call.over.is_none() => {
            group_window_call(&call.name.to_string()).map(|c| c.part)
        }
        _ => None,
    }
}

/// Rewrites every aggregate over a group window.
///
/// Errors (ours, carried): a window over something that is no timestamp, an auxiliary without its window, lengths that are
/// no intervals.
pub fn rewrite(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan
        .transform_up(|node| match node {
            LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.iter().any(|e| call(e).is_some()) => {
                Ok(Transformed::yes(rewrite_aggregate(aggregate)?))
            }
            other => Ok(Transformed::no(other)),
        })?
        .data;
    refuse_strays(&plan)?;
    Ok(plan)
}

/// A group window outside GROUP BY.
fn refuse_strays(plan: &LogicalPlan) -> Result<()> {
    plan.apply(|node| {
        for expr in node.expressions() {
            expr.apply(|e| match call(e) {
                Some((call, name)) if !call.part.is_empty() => Err(carry(
                    Error::user(format!(
                        "Call to auxiliary group function '{name}' must have matching call to group function '{}' in GROUP \
                         BY clause",
                        call.window.to_uppercase()
                    ))
                    .with_hint("Give both the same arguments."),
                )),
                Some((call, name)) => Err(carry(
                    Error::user(format!("Group function '{name}' can only appear in GROUP BY clause"))
                        .with_hint(format!("SELECT {0}_START(…), {0}_END(…) gives the window.", call.window.to_uppercase())),
                )),
                None => Ok(TreeNodeRecursion::Continue),
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

fn call(expr: &Expr) -> Option<(crate::planner::nodes::GroupWindowCall, String)> {
    match expr {
        Expr::ScalarFunction(f) => {
            group_window_call(f.func.name()).map(|c| (c, f.func.name().to_uppercase()))
        }
        Expr::Alias(alias) => call(&alias.expr),
        _ => None,
    }
}

fn function(expr: &Expr) -> Option<&ScalarFunction> {
    match expr {
        Expr::ScalarFunction(f) => Some(f),
        Expr::Alias(alias) => function(&alias.expr),
        _ => None,
    }
}

fn rewrite_aggregate(aggregate: Aggregate) -> Result<LogicalPlan> {
    let windows: Vec<&Expr> =
        aggregate.group_expr.iter().filter(|e| call(e).is_some_and(|(c, _)| c.part.is_empty())).collect();
    let Some(main) = windows.first().and_then(|e| function(e)) else {
        // Only auxiliaries: the check for strays says so.
        return Ok(LogicalPlan::Aggregate(aggregate));
    };
    if windows.len() > 1 {
        return Err(carry(Error::user("Only a single window group function may be used in GROUP BY.")));
    }
    let arguments = main.args.clone();
    let name = main.func.name().to_string();
    let input = Arc::unwrap_or_clone(Arc::clone(&aggregate.input));
    let (input, time) = time_column(input, &name, arguments.first())?;
    let spec = spec(&name, &arguments)?;
    let names = WindowColumns::group_window();
    let column = |name: &str| Expr::Column(Column::new_unqualified(name));
    let (start, end, rowtime) = (column(&names.start), column(&names.end), column(&names.time));
    let window = Window::try_new(spec, vec![time], names, true, input)?;
    let window = LogicalPlan::Extension(Extension { node: Arc::new(window) });

    let mut groups = vec![start.clone(), end.clone()];
    let mut outputs: Vec<(Expr, Option<TableReference>, String)> = Vec::new();
    let schema = &aggregate.schema;
    for (index, expr) in aggregate.group_expr.iter().enumerate() {
        let (qualifier, field) = schema.qualified_field(index);
        let original = (qualifier.cloned(), field.name().clone());
        let replacement = match call(expr) {
            None => {
                groups.push(expr.clone());
                outputs.push((
                    Expr::Column(Column::new(original.0.clone(), &original.1)),
                    original.0,
                    original.1,
                ));
                continue;
            }
            Some((call, aux)) => {
                if call.window != name || function(expr).is_none_or(|f| f.args != arguments) {
                    return Err(carry(
                        Error::user(format!(
                            "Call to auxiliary group function '{aux}' must have matching call to group function '{}' in \
                             GROUP BY clause",
                            call.window.to_uppercase()
                        ))
                        .with_hint("Give both the same arguments."),
                    ));
                }
                match call.part {
                    "" | "start" => start.clone(),
                    "end" => end.clone(),
                    _ => {
                        if !groups.contains(&rowtime) {
                            groups.push(rowtime.clone());
                        }
                        rowtime.clone()
                    }
                }
            }
        };
        outputs.push((replacement, original.0, original.1));
    }
    for index in aggregate.group_expr.len()..schema.fields().len() {
        let (qualifier, field) = schema.qualified_field(index);
        let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        outputs.push((column, qualifier.cloned(), field.name().clone()));
    }
    let grouped = LogicalPlanBuilder::from(window).aggregate(groups, aggregate.aggr_expr.clone())?.build()?;
    let projected = outputs.into_iter().map(|(expr, qualifier, name)| match &expr {
        Expr::Column(c) if c.relation == qualifier && c.name == name => expr,
        _ => expr.alias_qualified(qualifier, name),
    });
    LogicalPlanBuilder::from(grouped).project(projected)?.build()
}

/// The column of the window's first argument; a call such as PROCTIME() is projected first.
fn time_column(input: LogicalPlan, window: &str, argument: Option<&Expr>) -> Result<(LogicalPlan, Column)> {
    let window = window.to_uppercase();
    let Some(argument) = argument else {
        return Err(carry(Error::user(format!("{window} needs a time attribute and a length."))));
    };
    let data_type = argument.get_type(input.schema())?;
    if !matches!(data_type, DataType::Timestamp(..)) {
        let found =
            argument.to_field(input.schema()).map(|(_, f)| SqlType::of(&f).to_string()).unwrap_or_default();
        return Err(carry(
            Error::user(format!(
                "Cannot apply '{window}' to arguments of type '{window}(<{found}>, <INTERVAL>)'. Supported form(s): \
                 '{window}(<DATETIME>, <DATETIME_INTERVAL>)'"
            ))
            .with_hint("Group by the column that WATERMARK FOR declares, or by a PROCTIME() column."),
        ));
    }
    if let Expr::Column(column) = argument {
        return Ok((input, column.clone()));
    }
    let mut exprs: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
    exprs.push(argument.clone().alias(TIME_ARGUMENT));
    let input = LogicalPlanBuilder::from(input).project(exprs)?.build()?;
    Ok((input, Column::new_unqualified(TIME_ARGUMENT)))
}

/// Name of a projected time argument.
const TIME_ARGUMENT: &str = "w$argument";

fn spec(window: &str, arguments: &[Expr]) -> Result<WindowSpec> {
    let name = window.to_uppercase();
    let wanted =
        if window == "hop" { "HOP(ts, slide, size)".to_string() } else { format!("{name}(ts, length)") };
    let lengths = arguments[1..]
        .iter()
        .map(|e| {
            let ms = interval_ms(e).map_err(|problem| {
                carry(Error::user(format!("{name}: {problem}.")).with_hint(format!("Write {wanted}.")))
            })?;
            if ms <= 0 {
                return Err(carry(Error::user(format!(
                    "{name} takes lengths greater than 0, but got {ms} ms."
                ))));
            }
            Ok(ms)
        })
        .collect::<Result<Vec<i64>>>()?;
    match (window, lengths.as_slice()) {
        ("tumble", [size]) => Ok(WindowSpec::Tumble { size: *size, offset: 0 }),
        ("hop", [slide, size]) => Ok(WindowSpec::Hop { slide: *slide, size: *size, offset: 0 }),
        ("session", [gap]) => Ok(WindowSpec::Session { gap: *gap }),
        _ => Err(carry(
            Error::user(format!("Invalid number of arguments to {name}."))
                .with_hint(format!("Write {wanted}.")),
        )),
    }
}
