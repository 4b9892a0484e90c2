//! `FlinkDialect`: what sqlparser must know of Flink SQL, and the expressions that it cannot read itself.
//!
//! Those become plain function calls, which the planner binds: `TABLE t PARTITION BY k` is a call of `TABLE`
//! with an OVER, `MAP[k, v]` is `MAP(k, v)`, `MULTISET[..]` is `MULTISET(..)`, `x IS JSON OBJECT` is
//! `IS_JSON(x, 'OBJECT')`, `FINAL LAST(x)` is `FINAL(LAST(x))`, `TRIM(LEADING FROM s)` gets its `' '`, and of the JSON functions with a tail:
//! `JSON_VALUE(in, path, 'type', 'on empty', default, 'on error', default)`,
//! `JSON_QUERY(in, path, 'wrapper', 'on empty', 'on error', 'returning')`, `JSON_EXISTS(in, path, 'on error')`,
//! where absent parts are NULL; `JSON_OBJECT('marks', k, v, …)` and `JSON_ARRAY('marks', x, …)` with the marks of
//! `functions::json_build`. `(a, b) OVERLAPS (c, d)` is two comparisons, JSON_OBJECTAGG and JSON_ARRAYAGG are
//! LISTAGG over JSON texts. CAST's target is our own text of the type (see `SqlType::of_ast`).

use super::data_type::SqlType;
use super::distances::{DISTANCE, UNITS};
use super::syntax::{carry, expect, expected, here, peek_word, take, word, words};
use super::type_parser::parse_type;
use crate::error::{Error, Result};
use datafusion_sql::sqlparser::ast::{
    BinaryOperator, CastKind, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, TrimWhereField, UnaryOperator, Value, ValueWithSpan, WindowSpec,
    WindowType,
};
use datafusion_sql::sqlparser::dialect::{Dialect, Precedence};
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::{Span, Token};

/// Flink SQL's lexical rules and extensions.
#[derive(Debug, Default)]
pub struct FlinkDialect;

impl FlinkDialect {
    /// The dialect; it has no settings.
    pub fn new() -> Self {
        Self
    }
}

impl Dialect for FlinkDialect {
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`'
    }

    fn identifier_quote_style(&self, _identifier: &str) -> Option<char> {
        Some('`')
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_' || ch == '$'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_' || ch == '$'
    }

    fn supports_match_recognize(&self) -> bool {
        true
    }

    fn supports_table_versioning(&self) -> bool {
        true
    }

    fn supports_named_fn_args_with_rarrow_operator(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_within_after_array_aggregation(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_unicode_string_literal(&self) -> bool {
        true
    }

    fn supports_window_clause_named_window_reference(&self) -> bool {
        true
    }

    fn supports_window_function_null_treatment_arg(&self) -> bool {
        true
    }

    fn supports_comment_optimizer_hint(&self) -> bool {
        true
    }

    fn allow_extract_custom(&self) -> bool {
        true
    }

    fn supports_subquery_as_function_arg(&self) -> bool {
        true
    }

    fn supports_parens_around_table_factor(&self) -> bool {
        true
    }

    /// Reserved in Flink too. It also keeps sqlparser from reading a broken `CASE` a second time as a name,
    /// which would double the time with every level of nesting.
    fn is_reserved_for_identifier(&self, kw: Keyword) -> bool {
        matches!(
            kw,
            Keyword::ARRAY
                | Keyword::CASE
                | Keyword::CAST
                | Keyword::CEIL
                | Keyword::CONVERT
                | Keyword::CURRENT_DATE
                | Keyword::CURRENT_TIME
                | Keyword::CURRENT_TIMESTAMP
                | Keyword::EXISTS
                | Keyword::EXTRACT
                | Keyword::FALSE
                | Keyword::FLOOR
                | Keyword::INTERVAL
                | Keyword::LOCALTIME
                | Keyword::LOCALTIMESTAMP
                | Keyword::NOT
                | Keyword::NULL
                | Keyword::OVERLAY
                | Keyword::POSITION
                | Keyword::SUBSTR
                | Keyword::SUBSTRING
                | Keyword::TRIM
                | Keyword::TRUE
                | Keyword::TRY_CAST
        )
    }

    fn parse_prefix(&self, p: &mut Parser) -> Option<std::result::Result<Expr, ParserError>> {
        let Token::Word(w) = &p.peek_token_ref().token else { return None };
        if w.quote_style.is_some() {
            return None;
        }
        let name = w.value.to_ascii_uppercase();
        let then = &p.peek_nth_token_ref(1).token;
        let read: fn(&mut Parser, &str) -> Result<Expr> = match (name.as_str(), then) {
            ("TABLE", Token::Word(_)) => table_argument,
            ("MAP" | "MULTISET", Token::LBracket) => bracketed,
            ("CAST" | "TRY_CAST", Token::LParen) => cast,
            (DISTANCE, Token::LParen) => distance,
            ("POSITION", Token::LParen) => position,
            ("TRIM", Token::LParen) if is_trim_without_characters(p) => trim,
            ("JSON_VALUE" | "JSON_QUERY" | "JSON_EXISTS", Token::LParen) => json_call,
            ("JSON_OBJECT", Token::LParen) => json_object,
            ("JSON_ARRAY", Token::LParen) => json_array,
            ("JSON_OBJECTAGG" | "JSON_ARRAYAGG", Token::LParen) => json_aggregate,
            ("FINAL" | "RUNNING", Token::Word(_)) if is_navigated(p) => navigated,
            _ => return None,
        };
        Some(read(p, &name).map_err(carry))
    }

    fn parse_infix(
        &self,
        p: &mut Parser,
        left: &Expr,
        _precedence: u8,
    ) -> Option<std::result::Result<Expr, ParserError>> {
        let read = if peek_word(p, "IS") {
            is_json(p, left).and_then(|json| if json.is_some() { Ok(json) } else { is_distinct(p, left) })
        } else if peek_word(p, "BETWEEN") || super::syntax::peek_words(p, "NOT BETWEEN") {
            between(p, left)
        } else if peek_word(p, "OVERLAPS") {
            overlaps(p, left).map(Some)
        } else {
            return None;
        };
        read.map_err(carry).transpose()
    }
}

/// Takes the next token as the name of a call that we build.
fn call_name(p: &mut Parser, name: &str) -> Ident {
    p.advance_token();
    Ident::with_span(p.get_current_token().span, name)
}

/// A call of the function `name`.
pub(super) fn call(name: Ident, args: Vec<Expr>) -> Function {
    let args = args.into_iter().map(|e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e))).collect();
    Function {
        name: ObjectName::from(vec![name]),
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
    }
}

fn text(value: impl Into<String>) -> Expr {
    Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(value.into()), span: Span::empty() })
}

fn null() -> Expr {
    Expr::Value(ValueWithSpan { value: Value::Null, span: Span::empty() })
}

/// `TABLE t [PARTITION BY k, … [ORDER BY ts]]` as an argument.
fn table_argument(p: &mut Parser, name: &str) -> Result<Expr> {
    let name = call_name(p, name);
    let mut parts = p.parse_object_name(false)?.0;
    let idents = parts.drain(..).filter_map(|part| part.as_ident().cloned()).collect();
    let mut function = call(name, vec![Expr::CompoundIdentifier(idents)]);
    let mut spec =
        WindowSpec { window_name: None, partition_by: vec![], order_by: vec![], window_frame: None };
    if words(p, "PARTITION BY") {
        // With or without parentheses.
        spec.partition_by = vec![p.parse_expr()?];
        while p.peek_token_ref().token == Token::Comma && !argument_follows(p) {
            p.advance_token();
            spec.partition_by.push(p.parse_expr()?);
        }
        if let [Expr::Tuple(keys)] = &spec.partition_by[..] {
            spec.partition_by = keys.clone();
        } else if let [Expr::Nested(key)] = &spec.partition_by[..] {
            spec.partition_by = vec![(**key).clone()];
        }
    }
    if words(p, "ORDER BY") {
        spec.order_by = p.parse_comma_separated(Parser::parse_order_by_expr)?;
    }
    if !spec.partition_by.is_empty() || !spec.order_by.is_empty() {
        function.over = Some(WindowType::WindowSpec(spec));
    }
    Ok(Expr::Function(function))
}

/// Whether the next argument comes after the comma, not another key: `DESCRIPTOR(…)` or `name => …`.
fn argument_follows(p: &Parser) -> bool {
    let descriptor = |t: &Token| matches!(t, Token::Word(w) if w.value.eq_ignore_ascii_case("DESCRIPTOR"));
    descriptor(&p.peek_nth_token_ref(1).token) || p.peek_nth_token_ref(2).token == Token::RArrow
}

/// `MAP[k, v, …]`, `MULTISET[x, …]`.
fn bracketed(p: &mut Parser, name: &str) -> Result<Expr> {
    let place = here(p);
    let name = call_name(p, name);
    let is_map = name.value == "MAP";
    expect(p, &Token::LBracket)?;
    let args = p.parse_comma_separated0(Parser::parse_expr, Token::RBracket)?;
    expect(p, &Token::RBracket)?;
    if is_map && args.len() % 2 == 1 {
        return Err(Error::user("MAP[…] needs keys and values in turn: its last key has no value.")
            .with_hint("Write MAP['k1', v1, 'k2', v2].")
            .at(place));
    }
    Ok(Expr::Function(call(name, args)))
}

/// `CAST(x AS type)`, `TRY_CAST(x AS type)`.
fn cast(p: &mut Parser, name: &str) -> Result<Expr> {
    p.advance_token();
    expect(p, &Token::LParen)?;
    let expr = p.parse_expr()?;
    if !word(p, "AS") {
        return Err(expected(p, "AS")
            .with_hint(format!("Write {name}(value AS type), for example {name}(x AS BIGINT).")));
    }
    let unit =
        peek_word(p, "INTERVAL").then(|| p.peek_nth_token_ref(1).token.to_string().to_ascii_uppercase());
    let data_type = parse_type(p)?.0.declared();
    expect(p, &Token::RParen)?;
    let expr = counted(&expr, &data_type, unit.as_deref()).unwrap_or(expr);
    Ok(Expr::Cast {
        kind: if name == "CAST" { CastKind::Cast } else { CastKind::TryCast },
        expr: Box::new(expr),
        data_type: data_type.to_ast(),
        array: false,
        format: None,
    })
}

/// Whether `FIRST(` or `LAST(` comes behind the next word.
fn is_navigated(p: &Parser) -> bool {
    let second = p.peek_nth_token_ref(1);
    ["FIRST", "LAST"].iter().any(|word| super::syntax::is_word(second, word))
        && p.peek_nth_token_ref(2).token == Token::LParen
}

/// `FINAL LAST(a.x)` of MATCH_RECOGNIZE.
fn navigated(p: &mut Parser, name: &str) -> Result<Expr> {
    let name = call_name(p, name);
    let inner = p.parse_prefix()?;
    Ok(Expr::Function(call(name, vec![inner])))
}

fn is_trim_without_characters(p: &Parser) -> bool {
    let is = |n, s: &str| super::syntax::is_word(p.peek_nth_token_ref(n), s);
    ["BOTH", "LEADING", "TRAILING"].iter().any(|s| is(2, s)) && is(3, "FROM")
}

/// `POSITION(x IN s [FROM n])`.
fn position(p: &mut Parser, name: &str) -> Result<Expr> {
    let locate = call_name(p, if name == "POSITION" { "LOCATE" } else { name });
    expect(p, &Token::LParen)?;
    let what = p.parse_subexpr(FlinkDialect.prec_value(Precedence::Between))?;
    super::syntax::expect_words(p, "IN").map_err(|e| e.with_hint("Write POSITION(part IN text)."))?;
    let within = p.parse_expr()?;
    let start = if word(p, "FROM") { Some(p.parse_expr()?) } else { None };
    expect(p, &Token::RParen)?;
    Ok(match start {
        Some(start) => Expr::Function(call(locate, vec![what, within, start])),
        None => Expr::Position { expr: Box::new(what), r#in: Box::new(within) },
    })
}

/// `(a - b) DAY [TO SECOND]`: the distance as an interval.
fn distance(p: &mut Parser, _name: &str) -> Result<Expr> {
    let place = here(p);
    p.advance_token();
    expect(p, &Token::LParen)?;
    let inner = p.parse_expr()?;
    expect(p, &Token::RParen)?;
    let Expr::BinaryOp { left, op: BinaryOperator::Minus, right } = inner else {
        return Err(Error::user("A unit behind parentheses wants a difference of two times in them.")
            .with_hint("Write (a - b) DAY for an interval, or AS before the name of a column.")
            .at(place));
    };
    let Some(unit) = UNITS.iter().find(|u| word(p, u)) else {
        return Err(expected(p, "a unit of time"));
    };
    precision(p)?;
    if word(p, "TO") {
        if !UNITS.iter().any(|u| word(p, u)) {
            return Err(expected(p, "a unit of time"));
        }
        precision(p)?;
    }
    Ok(Expr::Function(call(Ident::new(MINUS_DATE), vec![text(*unit), *left, *right])))
}

/// What [`distance`] is a call of.
const MINUS_DATE: &str = "minus_date";

/// Takes `(n)` behind a unit.
fn precision(p: &mut Parser) -> Result<()> {
    if take(p, &Token::LParen) {
        p.parse_literal_uint()?;
        expect(p, &Token::RParen)?;
    }
    Ok(())
}

/// An interval in a CAST to a number counts its unit: `CAST(INTERVAL '3' DAY AS INT)`, `CAST((a - b) DAY AS INT)`; a number in
/// a CAST to an interval does where it is written out.
fn counted(expr: &Expr, target: &SqlType, unit: Option<&str>) -> Option<Expr> {
    let is_number = matches!(target, SqlType::TinyInt | SqlType::SmallInt | SqlType::Int | SqlType::BigInt);
    match expr {
        Expr::Nested(inner) => counted(inner, target, unit),
        Expr::Interval(literal) if is_number && literal.last_field.is_none() => {
            match literal.value.as_ref() {
                Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(n), .. })
                    if n.trim().parse::<i64>().is_ok() =>
                {
                    Some(text(n.trim()))
                }
                _ => None,
            }
        }
        Expr::Function(function) if is_number && function.name.to_string() == MINUS_DATE => {
            let FunctionArguments::List(list) = &function.args else { return None };
            let args: Vec<Expr> = list
                .args
                .iter()
                .filter_map(|a| match a {
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e.clone()),
                    _ => None,
                })
                .collect();
            let [unit, to, from] = <[Expr; 3]>::try_from(args).ok()?;
            Some(Expr::Function(call(Ident::new("TIMESTAMPDIFF"), vec![unit, from, to])))
        }
        Expr::Value(ValueWithSpan { value: Value::Number(n, _), .. }) if n.parse::<i64>().is_ok() => {
            let unit = UNITS.iter().find(|u| Some(**u) == unit)?;
            let mut p =
                Parser::new(&FlinkDialect).try_with_sql(&format!("INTERVAL '{n}' {unit}(10)")).ok()?;
            p.parse_expr().ok()
        }
        _ => None,
    }
}

/// `TRIM(LEADING FROM s)`.
fn trim(p: &mut Parser, _name: &str) -> Result<Expr> {
    p.advance_token();
    expect(p, &Token::LParen)?;
    let side = if word(p, "LEADING") {
        TrimWhereField::Leading
    } else if word(p, "TRAILING") {
        TrimWhereField::Trailing
    } else {
        p.advance_token();
        TrimWhereField::Both
    };
    p.advance_token();
    let expr = p.parse_expr()?;
    expect(p, &Token::RParen)?;
    Ok(Expr::Trim {
        trim_where: Some(side),
        trim_what: Some(Box::new(text(" "))),
        expr: Box::new(expr),
        trim_characters: None,
    })
}

/// `JSON_VALUE`, `JSON_QUERY`, `JSON_EXISTS` with their tails.
fn json_call(p: &mut Parser, name: &str) -> Result<Expr> {
    let function = call_name(p, name);
    expect(p, &Token::LParen)?;
    let mut args = p.parse_comma_separated(Parser::parse_expr)?;
    if take(p, &Token::RParen) {
        return Ok(Expr::Function(call(function, args)));
    }
    if args.len() != 2 {
        return Err(expected(p, "`)`"));
    }
    match name {
        "JSON_VALUE" => json_value_tail(p, &mut args)?,
        "JSON_QUERY" => json_query_tail(p, &mut args)?,
        _ => {
            let behaviour = ["TRUE", "FALSE", "UNKNOWN", "ERROR"].into_iter().find(|b| word(p, b));
            let Some(behaviour) = behaviour else {
                return Err(expected(p, "`)`, TRUE, FALSE, UNKNOWN or ERROR"));
            };
            super::syntax::expect_words(p, "ON ERROR")?;
            args.push(text(behaviour));
        }
    }
    expect(p, &Token::RParen)?;
    Ok(Expr::Function(call(function, args)))
}

fn json_value_tail(p: &mut Parser, args: &mut Vec<Expr>) -> Result<()> {
    let returning = if word(p, "RETURNING") { text(parse_type(p)?.0.declared().to_string()) } else { null() };
    let (mut on_empty, mut on_error) = ((null(), null()), (null(), null()));
    for _ in 0..2 {
        let behaviour = if word(p, "NULL") {
            (text("NULL"), null())
        } else if word(p, "ERROR") {
            (text("ERROR"), null())
        } else if word(p, "DEFAULT") {
            (text("DEFAULT"), p.parse_expr()?)
        } else {
            break;
        };
        if words(p, "ON EMPTY") {
            on_empty = behaviour;
        } else if words(p, "ON ERROR") {
            on_error = behaviour;
        } else {
            return Err(expected(p, "ON EMPTY or ON ERROR"));
        }
    }
    args.extend([returning, on_empty.0, on_empty.1, on_error.0, on_error.1]);
    Ok(())
}

fn json_query_tail(p: &mut Parser, args: &mut Vec<Expr>) -> Result<()> {
    let mut returning = null();
    if word(p, "RETURNING") {
        let place = here(p);
        let (data_type, _) = parse_type(p)?;
        if data_type.to_string() == "ARRAY<STRING>" {
            returning = text("ARRAY<STRING>");
        } else if data_type != super::data_type::SqlType::STRING {
            return Err(Error::unsupported(
                format!("JSON_QUERY returning {data_type}"),
                "It returns STRING or ARRAY<STRING>.",
            )
            .at(place));
        }
    }
    const WRAPPERS: &[(&str, &str)] = &[
        ("WITHOUT ARRAY WRAPPER", "WITHOUT"),
        ("WITHOUT WRAPPER", "WITHOUT"),
        ("WITH CONDITIONAL ARRAY WRAPPER", "CONDITIONAL"),
        ("WITH CONDITIONAL WRAPPER", "CONDITIONAL"),
        ("WITH UNCONDITIONAL ARRAY WRAPPER", "UNCONDITIONAL"),
        ("WITH UNCONDITIONAL WRAPPER", "UNCONDITIONAL"),
        ("WITH ARRAY WRAPPER", "UNCONDITIONAL"),
        ("WITH WRAPPER", "UNCONDITIONAL"),
    ];
    let wrapper = WRAPPERS.iter().find(|(form, _)| words(p, form)).map_or_else(null, |(_, w)| text(*w));
    let (mut on_empty, mut on_error) = (null(), null());
    for _ in 0..2 {
        let forms = ["NULL", "ERROR", "EMPTY ARRAY", "EMPTY OBJECT"];
        let Some(behaviour) = forms.into_iter().find(|f| words(p, f)) else { break };
        if words(p, "ON EMPTY") {
            on_empty = text(behaviour);
        } else if words(p, "ON ERROR") {
            on_error = text(behaviour);
        } else {
            return Err(expected(p, "ON EMPTY or ON ERROR"));
        }
    }
    args.extend([wrapper, on_empty, on_error, returning]);
    Ok(())
}

/// Takes `[NULL | ABSENT] ON NULL`; whether NULLs are kept.
fn on_null(p: &mut Parser) -> Option<bool> {
    if words(p, "NULL ON NULL") {
        Some(true)
    } else if words(p, "ABSENT ON NULL") {
        Some(false)
    } else {
        None
    }
}

/// Whether the value is JSON already: a call of JSON_OBJECT or JSON_ARRAY.
fn is_built(value: &Expr) -> bool {
    let Expr::Function(function) = value else { return false };
    let name = function.name.to_string();
    name.eq_ignore_ascii_case("JSON_OBJECT") || name.eq_ignore_ascii_case("JSON_ARRAY")
}

/// `JSON_OBJECT([KEY] k VALUE v, … [NULL | ABSENT ON NULL])`.
fn json_object(p: &mut Parser, name: &str) -> Result<Expr> {
    let function = call_name(p, name);
    expect(p, &Token::LParen)?;
    let (mut pairs, mut marks) = (Vec::new(), String::new());
    let mut keeps_nulls = on_null(p);
    while keeps_nulls.is_none() && p.peek_token_ref().token != Token::RParen {
        let (key, value) = json_member(p)?;
        marks.push(if is_built(&value) { '1' } else { '0' });
        pairs.extend([key, value]);
        if !take(p, &Token::Comma) {
            keeps_nulls = on_null(p);
            break;
        }
    }
    expect(p, &Token::RParen)?;
    let mark = if keeps_nulls.unwrap_or(true) { 'N' } else { 'A' };
    Ok(Expr::Function(call(function, std::iter::once(text(format!("{mark}{marks}"))).chain(pairs).collect())))
}

/// `[KEY] k VALUE v`, `k : v`.
fn json_member(p: &mut Parser) -> Result<(Expr, Expr)> {
    if peek_word(p, "KEY") && !super::syntax::is_word(p.peek_nth_token_ref(1), "VALUE") {
        p.advance_token();
    }
    let key = p.parse_expr()?;
    if !word(p, "VALUE") && !take(p, &Token::Colon) {
        return Err(expected(p, "VALUE").with_hint("Write KEY 'name' VALUE value."));
    }
    Ok((key, p.parse_expr()?))
}

/// `JSON_ARRAY(x, … [NULL | ABSENT ON NULL])`.
fn json_array(p: &mut Parser, name: &str) -> Result<Expr> {
    let function = call_name(p, name);
    expect(p, &Token::LParen)?;
    let (mut items, mut marks) = (Vec::new(), String::new());
    let mut keeps_nulls = on_null(p);
    while keeps_nulls.is_none() && p.peek_token_ref().token != Token::RParen {
        let value = p.parse_expr()?;
        marks.push(if is_built(&value) { '1' } else { '0' });
        items.push(value);
        if !take(p, &Token::Comma) {
            keeps_nulls = on_null(p);
            break;
        }
    }
    expect(p, &Token::RParen)?;
    let mark = if keeps_nulls.unwrap_or(false) { 'N' } else { 'A' };
    Ok(Expr::Function(call(function, std::iter::once(text(format!("{mark}{marks}"))).chain(items).collect())))
}

/// `JSON_OBJECTAGG([KEY] k VALUE v [NULL | ABSENT ON NULL])`, `JSON_ARRAYAGG(x [NULL | ABSENT ON NULL])`: LISTAGG
/// over the members' texts, in brackets.
fn json_aggregate(p: &mut Parser, name: &str) -> Result<Expr> {
    let span = p.peek_token_ref().span;
    p.advance_token();
    let named = |name: &str, args| Expr::Function(call(Ident::with_span(span, name), args));
    expect(p, &Token::LParen)?;
    let is_object = name == "JSON_OBJECTAGG";
    let (key, value) = if is_object {
        let (key, value) = json_member(p)?;
        (Some(key), value)
    } else {
        (None, p.parse_expr()?)
    };
    let mut keeps_nulls = on_null(p);
    // As in Flink, an order is read and does nothing.
    if !is_object && words(p, "ORDER BY") {
        p.parse_comma_separated(Parser::parse_order_by_expr)?;
        keeps_nulls = keeps_nulls.or_else(|| on_null(p));
    }
    let keeps_nulls = keeps_nulls.unwrap_or(is_object);
    expect(p, &Token::RParen)?;
    let concat = |left: Expr, right: Expr| Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::StringConcat,
        right: Box::new(right),
    };
    let mut member = if is_built(&value) { value } else { named("JSON_STRING", vec![value]) };
    if keeps_nulls {
        member = named("COALESCE", vec![member, text("null")]);
    }
    if let Some(key) = key {
        member = concat(concat(named("JSON_STRING", vec![key]), text(":")), member);
    }
    let list = named("LISTAGG", vec![member, text(",")]);
    let (open, close) = if is_object { ("{", "}") } else { ("[", "]") };
    let members = named("COALESCE", vec![list, text("")]);
    Ok(Expr::Nested(Box::new(concat(concat(text(open), members), text(close)))))
}

/// `(a, b) OVERLAPS (c, d)`: periods, whose ends may stand in any order; the second part may be an interval.
fn overlaps(p: &mut Parser, left: &Expr) -> Result<Expr> {
    let place = here(p);
    p.advance_token();
    let right = p.parse_subexpr(FlinkDialect.prec_value(Precedence::Between))?;
    let (Expr::Tuple(one), Expr::Tuple(other)) = (left, &right) else {
        return Err(Error::user("OVERLAPS compares two periods.")
            .with_hint("Write (start, end) OVERLAPS (start, end).")
            .at(place));
    };
    let ends = |period: &[Expr]| -> Result<(Expr, Expr)> {
        let [start, end] = period else {
            return Err(Error::user("A period of OVERLAPS has two parts.")
                .with_hint("Write (start, end) or (start, INTERVAL '1' HOUR).")
                .at(place));
        };
        let end = match end {
            Expr::Interval(_) => Expr::BinaryOp {
                left: Box::new(start.clone()),
                op: BinaryOperator::Plus,
                right: Box::new(end.clone()),
            },
            end => end.clone(),
        };
        Ok((start.clone(), end))
    };
    let ((a, b), (c, d)) = (ends(one)?, ends(other)?);
    let extreme = |name: &str, x: &Expr, y: &Expr| {
        Box::new(Expr::Function(call(Ident::new(name), vec![x.clone(), y.clone()])))
    };
    let reaches = |from: (&Expr, &Expr), to: (&Expr, &Expr)| {
        Box::new(Expr::BinaryOp {
            left: extreme("GREATEST", from.0, from.1),
            op: BinaryOperator::GtEq,
            right: extreme("LEAST", to.0, to.1),
        })
    };
    Ok(Expr::Nested(Box::new(Expr::BinaryOp {
        left: reaches((&a, &b), (&c, &d)),
        op: BinaryOperator::And,
        right: reaches((&c, &d), (&a, &b)),
    })))
}

/// `x IS [NOT] JSON [VALUE | OBJECT | ARRAY | SCALAR]`.
fn is_json(p: &mut Parser, left: &Expr) -> Result<Option<Expr>> {
    let not = super::syntax::peek_words(p, "IS NOT JSON");
    if !not && !super::syntax::peek_words(p, "IS JSON") {
        return Ok(None);
    }
    p.advance_token();
    if not {
        p.advance_token();
    }
    let name = call_name(p, "IS_JSON");
    let kind = ["VALUE", "OBJECT", "ARRAY", "SCALAR"].into_iter().find(|k| word(p, k)).unwrap_or("VALUE");
    let test = Expr::Function(call(name, vec![left.clone(), text(kind)]));
    Ok(Some(if not { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(test) } } else { test }))
}

/// `x IS [NOT] DISTINCT FROM y`, whose right side ends before AND.
fn is_distinct(p: &mut Parser, left: &Expr) -> Result<Option<Expr>> {
    let not = super::syntax::words(p, "IS NOT DISTINCT FROM");
    if !not && !super::syntax::words(p, "IS DISTINCT FROM") {
        return Ok(None);
    }
    let (left, right) =
        (Box::new(left.clone()), Box::new(p.parse_subexpr(FlinkDialect.prec_value(Precedence::Is))?));
    Ok(Some(if not { Expr::IsNotDistinctFrom(left, right) } else { Expr::IsDistinctFrom(left, right) }))
}

/// `x [NOT] BETWEEN {SYMMETRIC | ASYMMETRIC} a AND b`.
fn between(p: &mut Parser, left: &Expr) -> Result<Option<Expr>> {
    let negated = peek_word(p, "NOT");
    let at = if negated { 2 } else { 1 };
    let symmetric = super::syntax::is_word(p.peek_nth_token_ref(at), "SYMMETRIC");
    if !symmetric && !super::syntax::is_word(p.peek_nth_token_ref(at), "ASYMMETRIC") {
        return Ok(None);
    }
    (0..=at).for_each(|_| p.advance_token());
    let bound = FlinkDialect.prec_value(Precedence::Between);
    let low = p.parse_subexpr(bound)?;
    if !word(p, "AND") {
        return Err(expected(p, "AND"));
    }
    let high = p.parse_subexpr(bound)?;
    let range = |low: Expr, high: Expr| Expr::Between {
        expr: Box::new(left.clone()),
        negated,
        low: Box::new(low),
        high: Box::new(high),
    };
    if !symmetric {
        return Ok(Some(range(low, high)));
    }
    let op = if negated { BinaryOperator::And } else { BinaryOperator::Or };
    Ok(Some(Expr::Nested(Box::new(Expr::BinaryOp {
        left: Box::new(range(low.clone(), high.clone())),
        op,
        right: Box::new(range(high, low)),
    }))))
}
