//! One statement's tokens to a `Statement`: the first words choose the file that reads the rest.

use super::dialect::FlinkDialect;
use super::splitter::{Cursor, Piece};
use super::stack::with_large_stack;
use super::statement::{JobStatement, Query, Replace, Statement, TableHints};
use super::syntax::{self, expect_words, expected, here, last, peek_word, take, word, words};
use super::{
    alter, catalogs, create_database, create_table, create_view, describe, drop, explain, function, insert,
    job, modules, refused, set, show, tokens, use_statement,
};
use crate::error::{Error, Location, Result, Span};
use datafusion_sql::sqlparser::ast::{self, Expr, SetExpr, TableFactor, VisitMut, VisitorMut};
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use std::ops::ControlFlow;

/// Parentheses, subqueries and the like may be nested this deep; sqlparser and the planner recurse.
pub const MAX_DEPTH: usize = 50;

/// Words that completion offers.
pub const KEYWORDS: &[&str] = &[
    "ALL",
    "ALTER",
    "AND",
    "ARRAY",
    "AS",
    "ASC",
    "BEGIN",
    "BETWEEN",
    "BIGINT",
    "BINARY",
    "BOOLEAN",
    "BY",
    "BYTES",
    "CASCADE",
    "CASE",
    "CAST",
    "CATALOG",
    "CATALOGS",
    "CHAR",
    "COLUMNS",
    "COMMENT",
    "CONSTRAINT",
    "CREATE",
    "CROSS JOIN",
    "CUMULATE",
    "CURRENT",
    "DATABASE",
    "DATABASES",
    "DATE",
    "DAY",
    "DECIMAL",
    "DESC",
    "DESCRIBE",
    "DESCRIPTOR",
    "DISTINCT",
    "DOUBLE",
    "DROP",
    "ELSE",
    "END",
    "ENFORCED",
    "EXCEPT",
    "EXCLUDING",
    "EXECUTE",
    "EXISTS",
    "EXPLAIN",
    "FALSE",
    "FILTER",
    "FLOAT",
    "FOR",
    "FROM",
    "FULL JOIN",
    "FUNCTIONS",
    "GROUP BY",
    "GROUPING SETS",
    "HAVING",
    "HOP",
    "HOUR",
    "IF EXISTS",
    "IF NOT EXISTS",
    "IN",
    "INCLUDING",
    "INNER JOIN",
    "INSERT INTO",
    "INT",
    "INTERSECT",
    "INTERVAL",
    "INTO",
    "IS",
    "JOIN",
    "KEY",
    "LEFT JOIN",
    "LIKE",
    "LIMIT",
    "MAP",
    "METADATA",
    "MINUTE",
    "MONTH",
    "NOT",
    "NULL",
    "OFFSET",
    "ON",
    "OR",
    "ORDER BY",
    "OVER",
    "OVERWRITE",
    "OVERWRITING",
    "PARTITION BY",
    "PARTITIONED BY",
    "PLAN",
    "PRIMARY KEY",
    "RESET",
    "RIGHT JOIN",
    "ROLLUP",
    "ROW",
    "SECOND",
    "SELECT",
    "SESSION",
    "SET",
    "SHOW",
    "SMALLINT",
    "STATEMENT SET",
    "STRING",
    "TABLE",
    "TABLES",
    "TEMPORARY",
    "THEN",
    "TIME",
    "TIMESTAMP",
    "TIMESTAMP_LTZ",
    "TINYINT",
    "TRUE",
    "TRY_CAST",
    "TUMBLE",
    "UNION ALL",
    "USE",
    "VALUES",
    "VARBINARY",
    "VARCHAR",
    "VIEW",
    "VIEWS",
    "VIRTUAL",
    "WATERMARK FOR",
    "WHEN",
    "WHERE",
    "WITH",
    "YEAR",
];

/// A statement being read: sqlparser's parser, and the text for what is kept as text.
pub(super) struct Source<'a> {
    pub p: Parser<'a>,
    text: &'a str,
    start: Location,
    hints: TableHints,
    raw: &'a [TokenWithSpan],
}

/// Reads one statement.
///
/// Errors: with the place in the text that was split, and what to write instead; statements that Flink has
/// and Runnel has not yet are refused by name.
pub fn parse(piece: &Piece) -> Result<Statement> {
    with_source(&piece.text, piece.tokens.clone(), piece.span, statement)
}

/// Reads an expression: a computed column's or a watermark's. Places in errors count from the text's
/// beginning.
pub fn parse_expression(text: &str) -> Result<Expr> {
    whole(text, |s| Ok(s.p.parse_expr()?))
}

/// Reads a query: a view's. Places in errors count from the text's beginning.
pub fn parse_query(text: &str) -> Result<Query> {
    whole(text, |s| s.query())
}

/// Reads the whole of `text`, which is no piece of a longer one.
pub(super) fn whole<T: Send>(
    text: &str,
    read: impl FnOnce(&mut Source<'_>) -> Result<T> + Send,
) -> Result<T> {
    let start = Location { line: 1, column: 1 };
    let span = Span { start, end: tokens::end_of(text) };
    with_source(text, tokens::tokenize(text)?, span, read)
}

/// Texts of no more tokens than this are read on the caller's stack: they cannot be deep.
const MAX_SMALL_TOKENS: usize = 20;

fn with_source<T: Send>(
    text: &str,
    raw: Vec<TokenWithSpan>,
    span: Span,
    read: impl FnOnce(&mut Source<'_>) -> Result<T> + Send,
) -> Result<T> {
    let tokens::Prepared { tokens, hints } = tokens::prepare(raw.clone())?;
    let small = raw.iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).count() <= MAX_SMALL_TOKENS;
    let all = || {
        let dialect = FlinkDialect::new();
        let p = Parser::new(&dialect).with_recursion_limit(MAX_DEPTH).with_tokens_with_locations(tokens);
        let mut source = Source { p, text, start: span.start, hints, raw: &raw };
        read(&mut source)
            .and_then(|read| expect_end(&source.p).map(|()| read))
            .map_err(|e| refused::explain(settle(e, &raw, span), &raw))
    };
    if small { all() } else { with_large_stack(all) }
}

/// Gives an error its full place: the token that starts there, or the end of the text.
fn settle(error: Error, tokens: &[TokenWithSpan], span: Span) -> Error {
    let place = match error.span() {
        None => Span { start: span.end, end: span.end },
        Some(place) if place.start == place.end => {
            let significant: Vec<&TokenWithSpan> =
                tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).collect();
            let starts = |t: &&TokenWithSpan| syntax::span(t.span).is_some_and(|s| s.start == place.start);
            let at = significant.iter().position(starts);
            let names = |t: &TokenWithSpan| error.message().ends_with(&format!("but found `{}`.", t.token));
            // sqlparser sometimes points one token too far.
            let at = at.map(|at| match at.checked_sub(1).map(|b| significant[b]) {
                Some(before) if names(before) && !names(significant[at]) => before,
                _ => significant[at],
            });
            at.and_then(|t| syntax::span(t.span)).unwrap_or(place)
        }
        Some(place) => place,
    };
    Error::user(error.message()).with_hint(error.hint().unwrap_or_default()).at(place)
}

/// The statement must end here.
pub(super) fn expect_end(p: &Parser) -> Result<()> {
    if p.peek_token_ref().token == Token::EOF {
        return Ok(());
    }
    Err(expected(p, "the end of the statement"))
}

fn statement(s: &mut Source<'_>) -> Result<Statement> {
    if is_query(&s.p) {
        return s.query().map(Statement::Query);
    }
    if words(&mut s.p, "CREATE OR REPLACE TABLE") {
        return create_table::parse_replace(s, Replace::OrCreate)
            .map(|create| Statement::CreateTable(Box::new(create)));
    }
    if words(&mut s.p, "REPLACE TABLE") {
        return create_table::parse_replace(s, Replace::Existing)
            .map(|create| Statement::CreateTable(Box::new(create)));
    }
    if let Some(refusal) = refused::by_name(&s.p) {
        return Err(refusal);
    }
    let p = &mut s.p;
    if let Some(statement) = catalogs::parse(p)? {
        return Ok(Statement::Catalog(statement));
    }
    if let Some(statement) = modules::parse(p)? {
        return Ok(Statement::Modules(statement));
    }
    if words(p, "EXECUTE STATEMENT SET") {
        expect_words(p, "BEGIN")?;
        return insert::statement_set(s).map(Statement::StatementSet);
    }
    if words(p, "BEGIN STATEMENT SET") {
        syntax::expect(p, &Token::SemiColon)?;
        return insert::statement_set(s).map(Statement::StatementSet);
    }
    if word(p, "EXECUTE") {
        if is_query(p) {
            return s.query().map(Statement::Query);
        }
        if word(p, "INSERT") {
            return insert::parse(s).map(Statement::Insert);
        }
        return Err(expected(p, "STATEMENT SET, INSERT or a query after EXECUTE"));
    }
    if word(p, "INSERT") {
        return insert::parse(s).map(Statement::Insert);
    }
    if word(p, "ALTER") {
        if function::peek(p) {
            return function::parse(s, true).map(Statement::CreateFunction);
        }
        return alter::parse(s).map(Statement::Alter);
    }
    if word(p, "CREATE") {
        if function::peek(p) {
            return function::parse(s, false).map(Statement::CreateFunction);
        }
        let temporary = word(p, "TEMPORARY");
        if word(p, "TABLE") {
            return create_table::parse(s, temporary).map(|create| Statement::CreateTable(Box::new(create)));
        }
        if word(p, "VIEW") {
            return create_view::parse(s, temporary).map(Statement::CreateView);
        }
        if !temporary && word(p, "DATABASE") {
            return create_database::parse(p).map(Statement::CreateDatabase);
        }
        let what = if temporary { "TABLE or VIEW" } else { "TABLE, VIEW or DATABASE" };
        return Err(expected(p, what));
    }
    if word(p, "DROP") {
        if function::peek(p) {
            return function::parse_drop(p).map(Statement::DropFunction);
        }
        return drop::parse(p).map(Statement::Drop);
    }
    if word(p, "USE") {
        return use_statement::parse(p).map(Statement::Use);
    }
    if words(p, "SHOW JOBS") {
        return Ok(Statement::Job(JobStatement::Show));
    }
    let quoted = matches!(p.peek_nth_token_ref(2).token, Token::SingleQuotedString(_));
    // Without an id, it is a table of that name.
    if quoted && (words(p, "DESCRIBE JOB") || words(p, "DESC JOB")) {
        return job::parse_describe(p).map(Statement::Job);
    }
    if word(p, "STOP") {
        return job::parse_stop(p).map(Statement::Job);
    }
    if word(p, "SHOW") {
        return show::parse(p).map(Statement::Show);
    }
    if word(p, "DESCRIBE") || word(p, "DESC") {
        return describe::parse(p).map(Statement::Describe);
    }
    if word(p, "SET") {
        return set::parse_set(p).map(Statement::Set);
    }
    if word(p, "RESET") {
        return set::parse_reset(p).map(Statement::Reset);
    }
    if word(p, "EXPLAIN") {
        return explain::parse(s).map(Statement::Explain);
    }
    Err(refused::unknown(&s.p))
}

/// Whether a query comes next.
pub(super) fn is_query(p: &Parser) -> bool {
    let mut n = 0;
    while p.peek_nth_token_ref(n).token == Token::LParen {
        n += 1;
    }
    ["SELECT", "WITH", "VALUES", "TABLE"].iter().any(|w| syntax::is_word(p.peek_nth_token_ref(n), w))
}

/// `TABLE t` is `SELECT * FROM t`.
fn select_all(body: &mut SetExpr) {
    let SetExpr::Table(table) = body else { return };
    let parts = [table.schema_name.take(), table.table_name.take()].into_iter().flatten();
    let name = parts.map(|part| catalog::quote_identifier(&part)).collect::<Vec<_>>().join(".");
    if let Ok(query) = parse_query(&format!("SELECT * FROM {name}")) {
        *body = *query.ast.body;
    }
}

impl Source<'_> {
    /// The text from `from` to the end of the token taken last.
    pub fn text_since(&self, from: Option<Span>) -> String {
        let (Some(from), Some(to)) = (from, last(&self.p)) else { return String::new() };
        let mut cursor = Cursor { text: self.text, at: self.start, offset: 0 };
        cursor.between(from.start, to.end.max(from.start)).to_owned()
    }

    /// Takes a query.
    pub fn query(&mut self) -> Result<Query> {
        let from = here(&self.p);
        if !is_query(&self.p) {
            return Err(expected(&self.p, "a query: SELECT, WITH or VALUES"));
        }
        let mut ast = match self.table()? {
            Some(all) => all,
            None => self.p.parse_query()?,
        };
        let text = self.text_since(from);
        let mut check = Check { hints: Vec::new(), tokens: self.raw };
        if let ControlFlow::Break(e) = ast.visit(&mut check) {
            return Err(e);
        }
        let place = syntax::between(from, last(&self.p));
        let inside = |at: &Location| place.is_some_and(|s| s.start <= *at && *at < s.end);
        let hints: TableHints =
            self.hints.iter().filter(|(at, _)| inside(at)).map(|(at, o)| (*at, o.clone())).collect();
        if let Some(at) = hints.keys().find(|at| !check.hints.contains(*at)) {
            return Err(Error::user("A hint stands where no table's name is before it.")
                .with_hint(
                    "Write it right after the name, before any alias: FROM t /*+ OPTIONS('k' = 'v') */ AS x.",
                )
                .at(Span { start: *at, end: *at }));
        }
        Ok(Query { ast, text, hints })
    }

    /// Takes `TABLE catalog.database.t`, if that is the whole query.
    fn table(&mut self) -> Result<Option<Box<ast::Query>>> {
        let name = |n: usize| matches!(self.p.peek_nth_token_ref(n).token, Token::Word(_));
        let dot = |n: usize| self.p.peek_nth_token_ref(n).token == Token::Period;
        if !(peek_word(&self.p, "TABLE") && name(1) && dot(2) && name(3) && dot(4) && name(5)) {
            return Ok(None);
        }
        self.p.advance_token();
        let name = self.p.parse_object_name(false)?;
        Ok(Some(parse_query(&format!("SELECT * FROM {name}"))?.ast))
    }

    /// Takes the hint of the table whose name ended at the token taken last.
    pub fn take_hint(&mut self, name: &super::statement::Name) -> catalog::Options {
        // Hints are kept by the place of the name's last part.
        let Some(place) = last(&self.p).filter(|_| name.span.is_some()) else { return Default::default() };
        self.hints.remove(&place.start).unwrap_or_default()
    }

    /// Takes the list of inner statements' separators: one or more `;`.
    pub fn semicolons(&mut self) -> bool {
        let mut any = false;
        while take(&mut self.p, &Token::SemiColon) {
            any = true;
        }
        any
    }
}

/// Refuses what sqlparser reads beyond Flink SQL, since DataFusion would leave some of it out without a word;
/// collects where tables' names are.
struct Check<'a> {
    hints: Vec<Location>,
    tokens: &'a [TokenWithSpan],
}

impl Check<'_> {
    fn refuse(what: &str, hint: &str) -> ControlFlow<Error> {
        ControlFlow::Break(Error::unsupported(what, hint))
    }
}

impl Check<'_> {
    /// Refuses `'x'` where a name belongs; sqlparser does not say where it stood.
    fn text_as_name(&self, text: &str, what: &str) -> ControlFlow<Error> {
        let written = Token::SingleQuotedString(text.to_owned());
        let token = self.tokens.iter().rfind(|t| t.token == written);
        ControlFlow::Break(
            Error::user(format!("'{text}' is a text, not {what}."))
                .with_hint(format!(
                    "Names are quoted with backticks: write {}.",
                    catalog::quote_identifier(text)
                ))
                .at(token.and_then(|t| syntax::span(t.span))),
        )
    }

    fn alias(&self, ident: &ast::Ident) -> ControlFlow<Error> {
        if ident.quote_style != Some('\'') {
            return ControlFlow::Continue(());
        }
        self.text_as_name(&ident.value, "a name")
    }
}

impl VisitorMut for Check<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut ast::Query) -> ControlFlow<Error> {
        select_all(&mut query.body);
        let place = syntax::span(ast::Spanned::span(&*query.body));
        let refuse = |what: &str, hint: &str| ControlFlow::Break(Error::unsupported(what, hint).at(place));
        if matches!(
            *query.body,
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_)
        ) {
            return refuse("A query that changes tables", "Write INSERT INTO t WITH … SELECT ….");
        }
        if query.with.as_ref().is_some_and(|w| w.recursive) {
            return refuse("WITH RECURSIVE", "Flink 1.20 has no recursive queries either.");
        }
        if !query.locks.is_empty() || query.for_clause.is_some() {
            return refuse("FOR after a query", "Leave it out.");
        }
        if query.settings.is_some() || query.format_clause.is_some() || !query.pipe_operators.is_empty() {
            return refuse("This clause after a query", "Leave it out.");
        }
        if let Some(ast::LimitClause::LimitOffset { limit_by, .. }) = &query.limit_clause
            && !limit_by.is_empty()
        {
            return refuse("LIMIT BY", "Number the rows with ROW_NUMBER() and filter.");
        }
        if let Some(fetch) = &query.fetch
            && (fetch.with_ties || fetch.percent)
        {
            return refuse("FETCH WITH TIES or PERCENT", "Write FETCH FIRST n ROWS ONLY.");
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut ast::Select) -> ControlFlow<Error> {
        let place = syntax::span(select.select_token.0.span);
        let refuse = |what: &str, hint: &str| ControlFlow::Break(Error::unsupported(what, hint).at(place));
        for item in &select.projection {
            if let ast::SelectItem::ExprWithAlias { alias, .. } = item {
                self.alias(alias)?;
            }
        }
        if select.into.is_some() {
            return refuse("SELECT INTO", "Write INSERT INTO t SELECT ….");
        }
        if select.top.is_some() {
            return refuse("SELECT TOP", "Write LIMIT n at the end.");
        }
        if !select.lateral_views.is_empty() {
            return refuse("LATERAL VIEW", "Write CROSS JOIN UNNEST(array) AS t (x).");
        }
        if !select.cluster_by.is_empty() || !select.distribute_by.is_empty() || !select.sort_by.is_empty() {
            return refuse("CLUSTER BY, DISTRIBUTE BY or SORT BY", "Write ORDER BY.");
        }
        if !select.connect_by.is_empty() || select.prewhere.is_some() || select.value_table_mode.is_some() {
            return refuse("This clause of SELECT", "Leave it out.");
        }
        if let Some(ast::Distinct::On(_)) = &select.distinct {
            return refuse("SELECT DISTINCT ON", "Number the rows with ROW_NUMBER() and keep the first.");
        }
        if let ast::GroupByExpr::All(_) = &select.group_by {
            return refuse("GROUP BY ALL", "Write out the columns.");
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &mut ast::ObjectName) -> ControlFlow<Error> {
        if let Some(ident) = relation.0.last().and_then(|part| part.as_ident()) {
            if ident.quote_style == Some('\'') {
                return self.text_as_name(&ident.value, "a table");
            }
            self.hints.extend(syntax::span(ident.span).map(|s| s.start));
        }
        if relation.0.len() > 3 {
            return ControlFlow::Break(
                Error::user(format!("A table's name has at most three parts, not {}.", relation.0.len()))
                    .with_hint("Write catalog.database.table.")
                    .at(syntax::span(ast::Spanned::span(&*relation))),
            );
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        if let TableFactor::MatchRecognize { table, .. } = factor {
            unwrap_subquery(table);
        }
        if let TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. }
        | TableFactor::TableFunction { alias: Some(alias), .. }
        | TableFactor::Function { alias: Some(alias), .. }
        | TableFactor::MatchRecognize { alias: Some(alias), .. } = &*factor
        {
            self.alias(&alias.name)?;
        }
        match factor {
            TableFactor::Table { sample: Some(_), .. } | TableFactor::Derived { sample: Some(_), .. } => {
                Self::refuse("TABLESAMPLE", "Filter with WHERE RAND() < 0.1.")
            }
            TableFactor::Table { with_hints, .. } if !with_hints.is_empty() => Self::refuse(
                "WITH (…) after a table",
                "Write /*+ OPTIONS('key' = 'value') */ after its name.",
            ),
            TableFactor::Table { version: Some(version), .. }
                if !matches!(version, ast::TableVersion::ForSystemTimeAsOf(_)) =>
            {
                Self::refuse("This kind of time travel", "Write FOR SYSTEM_TIME AS OF time.")
            }
            TableFactor::Table { with_ordinality: true, .. }
            | TableFactor::Function { with_ordinality: true, .. }
            | TableFactor::UNNEST { with_ordinality: true, .. } => {
                Self::refuse("WITH ORDINALITY", "Leave it out; Flink 1.20 cannot plan it either.")
            }
            TableFactor::Unpivot { .. } => Self::refuse(
                "UNPIVOT",
                "Write CROSS JOIN UNNEST(ARRAY[ROW('a', a), ROW('b', b)]) AS t (k, v).",
            ),
            TableFactor::JsonTable { .. }
            | TableFactor::OpenJsonTable { .. }
            | TableFactor::XmlTable { .. } => {
                Self::refuse("JSON_TABLE and the like", "Read fields with JSON_VALUE.")
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        match expr {
            Expr::Function(call) if is_count_of_nothing(call) => ControlFlow::Break(
                Error::user("COUNT takes columns, or * without DISTINCT.")
                    .with_hint("Write COUNT(*) for rows, COUNT(DISTINCT a) for values of a column.")
                    .at(syntax::span(ast::Spanned::span(&call.name))),
            ),
            Expr::RLike { .. } => Self::refuse("RLIKE", "Write REGEXP(text, pattern)."),
            Expr::ILike { .. } => Self::refuse("ILIKE", "Write LOWER(text) LIKE 'pattern'."),
            Expr::Collate { .. } => Self::refuse("COLLATE", "Leave it out."),
            Expr::AtTimeZone { .. } => {
                Self::refuse("AT TIME ZONE", "Write CONVERT_TZ, or CAST(… AS TIMESTAMP_LTZ(3)).")
            }
            Expr::BinaryOp { op, .. } if !is_operator(op) => {
                Self::refuse(&format!("The operator {op}"), "There are + - * / % || = <> < <= > >= AND OR.")
            }
            Expr::UnaryOp { op, .. }
                if !matches!(
                    op,
                    ast::UnaryOperator::Plus | ast::UnaryOperator::Minus | ast::UnaryOperator::Not
                ) =>
            {
                Self::refuse(&format!("The operator {op}"), "There are + - and NOT.")
            }
            Expr::Convert { .. } => Self::refuse("CONVERT", "Write CAST(value AS type)."),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// `COUNT()` and `COUNT(DISTINCT *)`.
fn is_count_of_nothing(call: &ast::Function) -> bool {
    let ast::FunctionArguments::List(list) = &call.args else { return false };
    let all = |a: &ast::FunctionArg| matches!(a, ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Wildcard));
    let distinct = list.duplicate_treatment == Some(ast::DuplicateTreatment::Distinct);
    call.name.to_string().eq_ignore_ascii_case("COUNT")
        && (list.args.is_empty() || distinct && list.args.iter().any(all))
}

/// Whether Flink SQL has the operator.
fn is_operator(op: &ast::BinaryOperator) -> bool {
    use ast::BinaryOperator::{
        And, Divide, Eq, Gt, GtEq, Lt, LtEq, Minus, Modulo, Multiply, NotEq, Or, Plus, StringConcat,
    };
    matches!(
        op,
        And | Divide
            | Eq
            | Gt
            | GtEq
            | Lt
            | LtEq
            | Minus
            | Modulo
            | Multiply
            | NotEq
            | Or
            | Plus
            | StringConcat
    )
}

/// The subquery before MATCH_RECOGNIZE, which the token pass has put in a call.
fn unwrap_subquery(table: &mut TableFactor) {
    let TableFactor::Table { name, alias: None, args: Some(args), .. } = table else { return };
    let [ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(Expr::Subquery(subquery)))] = &args.args[..]
    else {
        return;
    };
    if matches!(&name.0[..], [part] if part.as_ident().is_some_and(|n| n.value == super::tokens::SUBQUERY)) {
        let subquery = subquery.clone();
        *table = TableFactor::Derived { lateral: false, subquery, alias: None, sample: None };
    }
}

/// Takes `IF NOT EXISTS`.
pub(super) fn if_not_exists(p: &mut Parser) -> Result<bool> {
    if !word(p, "IF") {
        return Ok(false);
    }
    expect_words(p, "NOT EXISTS")?;
    Ok(true)
}

/// Takes `COMMENT 'text'`.
pub(super) fn comment(p: &mut Parser) -> Result<Option<String>> {
    if !peek_word(p, "COMMENT") {
        return Ok(None);
    }
    p.advance_token();
    syntax::string(p, "the comment in single quotes").map(Some)
}
