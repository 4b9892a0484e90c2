//! The AST pass: rewrites a query into forms that DataFusion binds to Flink's meaning.
//!
//! Names (`EXPR$0`, `k0`), INT literals, exponents, UNNEST, time travel, CEIL and FLOOR to a unit, TIMESTAMP
//! literals, INTERVAL literals. Legacy group windows are the planner's (`rules/group_windows`).

use super::data_type::SqlType;
use super::dialect;
use super::interval;
use super::names;
use super::rows;
use super::syntax;
use super::unparse::unit;
use crate::error::{Error, Result, Span};
use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use datafusion_sql::sqlparser::ast::{
    self, AccessExpr, CastKind, CeilFloorKind, DataType, DateTimeField, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentList, FunctionArguments, GroupByExpr, Ident, LimitClause, ObjectName,
    OrderBy, OrderByKind, Query, Select, SelectItem, SetExpr, TableAlias, TableFactor, UnaryOperator, Value,
    ValueWithSpan, VisitMut, VisitorMut, WindowFrame, WindowFrameBound, WindowType,
};
use std::ops::ControlFlow;

/// Rewrites a query, just before it is bound.
///
/// Errors: literals that are no date, time, timestamp, interval or number of Flink's.
pub fn desugar(query: &mut Query) -> Result<()> {
    finish(query.visit(&mut Desugar))
}

/// Rewrites an expression that stands alone: a computed column's or a watermark's.
pub fn desugar_expression(expr: &mut Expr) -> Result<()> {
    finish(expr.visit(&mut Desugar))
}

fn finish(flow: ControlFlow<Error>) -> Result<()> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(e) => Err(e),
    }
}

fn flow(result: Result<()>) -> ControlFlow<Error> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(e) => ControlFlow::Break(e),
    }
}

struct Desugar;

impl VisitorMut for Desugar {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        for table in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            if table.alias.columns.is_empty() {
                table.alias.columns = names_of_values(&table.query);
            }
        }
        if let Some(OrderBy { kind: OrderByKind::Expressions(exprs), .. }) = &mut query.order_by {
            exprs.iter_mut().for_each(|o| protect(&mut o.expr));
        }
        match &mut query.limit_clause {
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                limit.iter_mut().for_each(protect);
                offset.iter_mut().for_each(|o| protect(&mut o.value));
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => {
                protect(offset);
                protect(limit);
            }
            None => {}
        }
        if let Some(fetch) = &mut query.fetch {
            fetch.quantity.iter_mut().for_each(protect);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        if let GroupByExpr::Expressions(exprs, _) = &select.group_by
            && let Some(Expr::Value(value)) = exprs.iter().find(|e| number(e).is_some())
        {
            return ControlFlow::Break(
                Error::user(format!("GROUP BY {value} groups by a constant in Flink SQL, not by a column."))
                    .with_hint("Write the column's name.")
                    .at(place(value)),
            );
        }
        if let GroupByExpr::Expressions(exprs, _) = &mut select.group_by {
            // `GROUP BY (a, b)` is `GROUP BY a, b`.
            *exprs = std::mem::take(exprs).into_iter().flat_map(columns_of_key).collect();
        }
        for ast::NamedWindowDefinition(_, window) in &mut select.named_window {
            if let ast::NamedWindowExpr::WindowSpec(spec) = window {
                spec.window_frame.iter_mut().for_each(protect_frame);
            }
        }
        names::name_items(select);
        for joined in &mut select.from {
            for join in &mut joined.joins {
                as_of(&mut join.relation);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        unnest(factor);
        name_values(factor);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if let Expr::Function(function) = expr {
            count_rows(function);
            array_agg(function);
        }
        rows::compare(expr);
        match expr {
            Expr::Interval(literal) => flow(interval::normalize(literal)),
            Expr::Function(function) if is_of_units(function) => {
                unit_argument(function);
                ControlFlow::Continue(())
            }
            Expr::Function(Function { over: Some(WindowType::WindowSpec(spec)), .. }) => {
                spec.window_frame.iter_mut().for_each(protect_frame);
                ControlFlow::Continue(())
            }
            Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } => {
                // The one INT that only fits with its sign.
                if matches!(number(inner), Some("2147483648")) {
                    protect(inner);
                    *expr = cast(expr.clone(), &SqlType::Int);
                } else if matches!(number(inner), Some("9223372036854775808")) {
                    protect(inner);
                }
                ControlFlow::Continue(())
            }
            Expr::TypedString(_) => flow(typed_literal(expr)),
            _ => ControlFlow::Continue(()),
        }
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        match expr {
            Expr::Value(ValueWithSpan { value: Value::HexStringLiteral(digits), span }) => {
                let even = digits.len() % 2 == 0 && digits.chars().all(|c| c.is_ascii_hexdigit());
                if !even {
                    let wrong = Error::user("Binary literal string must contain an even number of hexits");
                    return ControlFlow::Break(wrong.at(syntax::span(*span)));
                }
                if let Some(bytes) = u32::try_from(digits.len() / 2).ok().filter(|n| *n > 0) {
                    *expr = cast(expr.clone(), &SqlType::Binary(bytes));
                }
                ControlFlow::Continue(())
            }
            // The third value of logic.
            Expr::Identifier(ident) if is_unknown(ident) => {
                *expr = cast(Expr::value(Value::Null), &SqlType::Boolean);
                ControlFlow::Continue(())
            }
            // A text with its character set, which is the only one.
            Expr::Prefixed { prefix, value } if prefix.value.eq_ignore_ascii_case("_UTF8") => {
                *expr = value.as_ref().clone();
                ControlFlow::Continue(())
            }
            Expr::Value(ValueWithSpan { value: value @ Value::UnicodeStringLiteral(_), .. }) => {
                if let Value::UnicodeStringLiteral(text) = value {
                    *value = Value::SingleQuotedString(std::mem::take(text));
                }
                ControlFlow::Continue(())
            }
            Expr::CompoundFieldAccess { root, access_chain } => {
                join_names(root, access_chain);
                if access_chain.is_empty() {
                    *expr = (**root).clone();
                    return ControlFlow::Continue(());
                }
                for access in access_chain {
                    if let AccessExpr::Dot(name) = access
                        && let Expr::Identifier(ident) = &*name
                    {
                        let text = Value::SingleQuotedString(ident.value.clone());
                        *name = Expr::Value(ValueWithSpan { value: text, span: ident.span });
                    }
                }
                ControlFlow::Continue(())
            }
            Expr::Value(_) => flow(numeric_literal(expr)),
            Expr::Tuple(items) if items.len() > 1 => {
                *expr = Expr::Function(rows::row_of(std::mem::take(items)));
                ControlFlow::Continue(())
            }
            // As a function it sees what is around it: columns of tables before it in FROM, and of outer queries.
            Expr::Array(array) => {
                let name = Ident::with_quote('`', "array");
                *expr = Expr::Function(dialect::call(name, std::mem::take(&mut array.elem)));
                ControlFlow::Continue(())
            }
            Expr::Ceil { .. } | Expr::Floor { .. } => {
                round_to_unit(expr);
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

/// `t.r.z[1]`: names before the first bracket are one name.
fn join_names(root: &mut Expr, chain: &mut Vec<AccessExpr>) {
    let mut names = match &*root {
        Expr::Identifier(ident) => vec![ident.clone()],
        Expr::CompoundIdentifier(idents) => idents.clone(),
        _ => return,
    };
    let before = names.len();
    while let Some(AccessExpr::Dot(Expr::Identifier(ident))) = chain.first() {
        names.push(ident.clone());
        chain.remove(0);
    }
    if names.len() > before {
        *root = Expr::CompoundIdentifier(names);
    }
}

/// `ARRAY_AGG(x ORDER BY y)`: as in Flink, the order does nothing. `ARRAY_AGG(x IGNORE NULLS)` leaves rows out.
fn array_agg(function: &mut Function) {
    use ast::FunctionArgumentClause::{IgnoreOrRespectNulls, OrderBy};
    let FunctionArguments::List(list) = &mut function.args else { return };
    if !function.name.to_string().eq_ignore_ascii_case("ARRAY_AGG") {
        return;
    }
    let ignores =
        |c: &ast::FunctionArgumentClause| matches!(c, IgnoreOrRespectNulls(ast::NullTreatment::IgnoreNulls));
    let value = match &list.args[..] {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(value))] if list.clauses.iter().any(ignores) => {
            Some(Expr::IsNotNull(Box::new(value.clone())))
        }
        _ => None,
    };
    list.clauses.retain(|clause| !matches!(clause, OrderBy(_) | IgnoreOrRespectNulls(_)));
    if let Some(value) = value {
        function.filter = Some(Box::new(match function.filter.take() {
            None => value,
            Some(filter) => Expr::BinaryOp {
                left: Box::new(Expr::Nested(filter)),
                op: ast::BinaryOperator::And,
                right: Box::new(value),
            },
        }));
    }
}

/// Whether the first argument of the call is a unit of time.
pub(super) fn is_of_units(function: &Function) -> bool {
    let name = function.name.to_string();
    ["TIMESTAMPADD", "TIMESTAMPDIFF"].iter().any(|f| name.eq_ignore_ascii_case(f))
}

/// The columns of one item of GROUP BY.
fn columns_of_key(item: Expr) -> Vec<Expr> {
    match item {
        Expr::Tuple(items) if items.len() > 1 => items,
        other => vec![other],
    }
}

/// `COUNT(1)` becomes `COUNT(*)`: beside another `COUNT(*)` the binder would give both the same name.
fn count_rows(function: &mut Function) {
    let FunctionArguments::List(list) = &mut function.args else { return };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(only))] = &list.args[..] else { return };
    let plain = list.duplicate_treatment.is_none() && list.clauses.is_empty();
    let never_null = match only {
        Expr::Cast { expr, kind: CastKind::Cast, .. } => number(expr).is_some(),
        only => number(only).is_some(),
    };
    if plain && never_null && function.name.to_string().eq_ignore_ascii_case("COUNT") {
        list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Wildcard)];
    }
}

/// `TIMESTAMPADD(HOUR, …)` becomes `TIMESTAMPADD('HOUR', …)`: the unit is no column.
fn unit_argument(function: &mut Function) {
    let FunctionArguments::List(list) = &mut function.args else { return };
    let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) = list.args.first_mut() else { return };
    if let Expr::Identifier(ident) = &*first
        && ident.quote_style.is_none()
    {
        let word = ident.value.to_ascii_uppercase();
        let unit = word.strip_prefix("SQL_TSI_").unwrap_or(&word).to_owned();
        *first = Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(unit), span: ident.span });
    }
}

/// Keeps a number as it is: an ordinal, a count of rows. The mark is the flag of `1L`, which the token pass
/// refuses, and which DataFusion does not look at.
fn protect(expr: &mut Expr) {
    if let Expr::Value(ValueWithSpan { value: Value::Number(_, keep), .. }) = expr {
        *keep = true;
    }
}

fn protect_frame(frame: &mut WindowFrame) {
    for bound in std::iter::once(&mut frame.start_bound).chain(&mut frame.end_bound) {
        if let WindowFrameBound::Preceding(Some(n)) | WindowFrameBound::Following(Some(n)) = bound {
            protect(n);
        }
    }
}

fn number(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::Number(n, false), .. }) => Some(n),
        _ => None,
    }
}

fn cast(expr: Expr, data_type: &SqlType) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(expr),
        data_type: data_type.to_ast(),
        array: false,
        format: None,
    }
}

fn string(text: impl Into<String>, span: ast::ValueWithSpan) -> Expr {
    Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text.into()), span: span.span })
}

fn place(value: &ValueWithSpan) -> Option<Span> {
    syntax::span(value.span)
}

/// Most digits that a number without exponent may have.
const MAX_DIGITS: usize = super::data_type::MAX_DECIMAL_PRECISION as usize;

/// Types a number as Flink does: INT where it fits, else BIGINT, else DECIMAL; DOUBLE with an exponent.
/// DataFusion's own BIGINT and DECIMAL are right.
fn numeric_literal(expr: &mut Expr) -> Result<()> {
    let Some(n) = number(expr).map(str::to_owned) else { return Ok(()) };
    let Expr::Value(value) = &*expr else { return Ok(()) };
    let value = value.clone();
    if n.contains(['e', 'E']) {
        if !n.parse::<f64>().is_ok_and(f64::is_finite) {
            return Err(Error::user(format!("Numeric literal '{}' out of range", syntax::shorten(&n)))
                .with_hint("A DOUBLE goes up to about 1.8e308.")
                .at(place(&value)));
        }
        *expr = cast(string(n, value), &SqlType::Double);
        return Ok(());
    }
    let digits = n.chars().filter(char::is_ascii_digit).count();
    if n.contains('.') {
        if digits > MAX_DIGITS {
            return Err(out_of_range(&n).at(place(&value)));
        }
        // A zero before the point counts for Flink, and not for DataFusion.
        let scale = n.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        if n.starts_with('0')
            && let (Ok(p), Ok(s)) = (u8::try_from(digits), u8::try_from(scale))
        {
            protect(expr);
            *expr = cast(expr.clone(), &SqlType::Decimal(p, s));
        }
        return Ok(());
    }
    if n.parse::<i32>().is_ok() {
        protect(expr);
        *expr = cast(expr.clone(), &SqlType::Int);
    } else if n.parse::<i64>().is_err() {
        return Err(out_of_range(&n).at(place(&value)));
    }
    Ok(())
}

fn out_of_range(n: &str) -> Error {
    Error::user(format!("Numeric literal '{}' out of range", syntax::shorten(n))).with_hint(
        "Whole numbers go up to 9223372036854775807; write CAST('…' AS DECIMAL(38, 0)), or 1e20 for a DOUBLE.",
    )
}

/// `DATE '…'`, `TIME '…'`, `TIMESTAMP '…'`: checked; a TIMESTAMP has as many fraction digits as written.
fn typed_literal(expr: &mut Expr) -> Result<()> {
    let Expr::TypedString(typed) = &*expr else { return Ok(()) };
    let value = typed.value.clone();
    let Value::SingleQuotedString(text) = &value.value else { return Ok(()) };
    let text = text.trim();
    let wrong = |kind: &str, form: &str| {
        Error::user(format!("Illegal {kind} literal '{}': not in format '{form}'", syntax::shorten(text)))
            .at(place(&value))
    };
    let fraction = text.rsplit_once('.').map_or(0, |(_, f)| f.len()).min(9) as u8;
    let data_type = match &typed.data_type {
        DataType::Date => {
            if NaiveDate::parse_from_str(text, "%Y-%m-%d").is_err() {
                return Err(wrong("DATE", "yyyy-MM-dd"));
            }
            SqlType::Date
        }
        DataType::Time(..) => {
            if NaiveTime::parse_from_str(text, "%H:%M:%S%.f").is_err() {
                return Err(wrong("TIME", "HH:mm:ss"));
            }
            SqlType::Time(0)
        }
        DataType::Timestamp(_, ast::TimezoneInfo::None | ast::TimezoneInfo::WithoutTimeZone) => {
            let date_alone = NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok();
            if !date_alone && NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").is_err() {
                return Err(wrong("TIMESTAMP", "yyyy-MM-dd HH:mm:ss"));
            }
            SqlType::Timestamp(fraction)
        }
        other => {
            return Err(Error::user(format!("{other} '…' is not a literal of Flink SQL."))
                .with_hint(format!("Write CAST('{}' AS {other}).", syntax::shorten(text)))
                .at(place(&value)));
        }
    };
    let text = text.to_owned();
    *expr = cast(string(text, value), &data_type);
    Ok(())
}

/// `CEIL(ts TO HOUR)` becomes `CEIL(ts, 'HOUR')`.
fn round_to_unit(expr: &mut Expr) {
    let (name, inner, field) = match &*expr {
        Expr::Ceil { expr, field } => ("CEIL", expr, field),
        Expr::Floor { expr, field } => ("FLOOR", expr, field),
        _ => return,
    };
    let field = match field {
        CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) => return,
        CeilFloorKind::DateTimeField(field) => Expr::Value(Value::SingleQuotedString(unit(field)).into()),
        CeilFloorKind::Scale(scale) => Expr::Value(scale.clone()),
    };
    let args = [(**inner).clone(), field];
    let args = args.into_iter().map(|e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e))).collect();
    *expr = Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    });
}

/// Whether the word is UNKNOWN, the third value of logic.
pub(super) fn is_unknown(ident: &Ident) -> bool {
    ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("UNKNOWN")
}

/// `(VALUES …) AS v` without names of columns: they are `EXPR$0`, `EXPR$1`, ….
fn name_values(factor: &mut TableFactor) {
    let TableFactor::Derived { subquery, alias, .. } = factor else { return };
    let columns = names_of_values(subquery);
    if columns.is_empty() {
        return;
    }
    let name = || Ident::with_quote('`', "$values");
    let alias =
        alias.get_or_insert_with(|| TableAlias { explicit: true, name: name(), columns: vec![], at: None });
    if alias.columns.is_empty() {
        alias.columns = columns;
    }
}

/// Names of the columns of VALUES; none for other queries.
fn names_of_values(query: &Query) -> Vec<ast::TableAliasColumnDef> {
    let ast::SetExpr::Values(values) = &*query.body else { return vec![] };
    let width = values.rows.first().map_or(0, |row| row.len());
    let name = |i| Ident::with_quote('`', format!("EXPR${i}"));
    (0..width).map(|i| ast::TableAliasColumnDef { name: name(i), data_type: None }).collect()
}

/// `UNNEST(a)` in FROM, which sqlparser takes for a table of that name.
fn unnest(factor: &mut TableFactor) {
    let TableFactor::Table { name, alias, args: Some(args), with_ordinality, .. } = factor else { return };
    let [ast::ObjectNamePart::Identifier(ident)] = &name.0[..] else { return };
    if ident.quote_style.is_some() || !ident.value.eq_ignore_ascii_case("UNNEST") {
        return;
    }
    let exprs: Option<Vec<Expr>> = args
        .args
        .iter()
        .map(|a| match a {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e.clone()),
            _ => None,
        })
        .collect();
    let Some(array_exprs) = exprs else { return };
    *factor = TableFactor::UNNEST {
        alias: alias.take(),
        array_exprs,
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: *with_ordinality,
    };
}

/// `r FOR SYSTEM_TIME AS OF o.ts AS q` in a join becomes a lateral subquery, in which `o` is in scope.
fn as_of(factor: &mut TableFactor) {
    let TableFactor::Table { name, alias, version: Some(_), .. } = factor else { return };
    let alias = alias.take().or_else(|| {
        let last = name.0.last()?.as_ident()?.clone();
        Some(TableAlias { explicit: true, name: last, columns: vec![], at: None })
    });
    let star = SelectItem::Wildcard(ast::WildcardAdditionalOptions::default());
    let Ok(mut inner) = super::parse_query("SELECT * FROM t") else { return };
    let SetExpr::Select(select) = inner.ast.body.as_mut() else { return };
    let mut subject = factor.clone();
    if let TableFactor::Table { alias, .. } = &mut subject {
        *alias = None;
    }
    select.projection = vec![star];
    select.from = vec![ast::TableWithJoins { relation: subject, joins: vec![] }];
    *factor = TableFactor::Derived { lateral: true, subquery: inner.ast, alias, sample: None };
}
