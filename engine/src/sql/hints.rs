//! Hints after SELECT: `/*+ LOOKUP(…), STATE_TTL(…), BROADCAST(…) */`, and the tables of FROM that they mean.

use super::dialect::FlinkDialect;
use super::syntax::{self, shorten};
use super::tokens::tokenize;
use crate::error::{Error, Location, Result};
use catalog::Options;
use datafusion_sql::sqlparser::ast::{self, SetExpr, TableFactor, Visit, Visitor};
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::Token;
use std::collections::HashMap;
use std::ops::ControlFlow;

/// What hints say of tables in FROM, by the place of a table's name (its last part) or of a subquery's alias.
pub type QueryHints = HashMap<Location, RelationHints>;

/// What hints say of one table in FROM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct RelationHints {
    /// What the table is called in the query.
    pub name: String,
    /// `STATE_TTL` in milliseconds; 0 keeps state for ever.
    pub ttl_ms: Option<u64>,
    /// `LOOKUP`.
    pub lookup: Option<LookupHint>,
}

/// `LOOKUP`: how rows of a table are looked up. What is `None` was not said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct LookupHint {
    /// `async`.
    pub asynchronous: Option<bool>,
    /// `output-mode`: whether rows go on in the order in which they came.
    pub ordered: Option<bool>,
    /// `capacity`: most requests on their way.
    pub capacity: Option<u64>,
    /// `timeout` in milliseconds.
    pub timeout_ms: Option<u64>,
    /// `fixed-delay` in milliseconds, and `max-attempts`, of `retry-predicate` = `lookup_miss`.
    pub retry: Option<(u64, u32)>,
}

/// Names of the hints that are for SELECT, and what each takes.
const KINDS: &[(&str, Takes)] = &[
    ("BROADCAST", Takes::Tables),
    ("LOOKUP", Takes::Options),
    ("NEST_LOOP", Takes::Tables),
    ("OPTIONS", Takes::Anything),
    ("SHUFFLE_HASH", Takes::Tables),
    ("SHUFFLE_MERGE", Takes::Tables),
    ("STATE_TTL", Takes::Options),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Tables,
    Options,
    Anything,
}

/// One hint as written.
#[derive(Debug)]
struct Hint {
    kind: String,
    tables: Vec<String>,
    options: Options,
}

/// The hints of all SELECTs of `query`.
///
/// Errors: hints that cannot be read, unknown ones, tables that are not in the FROM beside them.
pub fn query_hints(query: &ast::Query) -> Result<QueryHints> {
    let mut found = Selects(QueryHints::new());
    match query.visit(&mut found) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(found.0),
    }
}

/// Reads the hints of `text`; errors unless Flink knows them.
pub(super) fn check(text: &str) -> Result<()> {
    read(text).map(drop)
}

struct Selects(QueryHints);

impl Visitor for Selects {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<Error> {
        self.body(&query.body)
    }
}

impl Selects {
    fn body(&mut self, body: &SetExpr) -> ControlFlow<Error> {
        match body {
            SetExpr::Select(select) if !select.optimizer_hints.is_empty() => match self.select(select) {
                Err(e) if e.span().is_none() => {
                    ControlFlow::Break(e.at(syntax::span(select.select_token.0.span)))
                }
                Err(e) => ControlFlow::Break(e),
                Ok(()) => ControlFlow::Continue(()),
            },
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left)?;
                self.body(right)
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn select(&mut self, select: &ast::Select) -> Result<()> {
        let mut relations = Vec::new();
        for from in &select.from {
            collect(from, &mut relations);
        }
        let mut unknown = Vec::new();
        let hints = select.optimizer_hints.iter().map(|h| read(&h.text)).collect::<Result<Vec<_>>>()?;
        for hint in hints.into_iter().flatten() {
            let named: Vec<&str> = match hint.kind.as_str() {
                "LOOKUP" => hint.options.get("table").map(String::as_str).into_iter().collect(),
                "STATE_TTL" => hint.options.keys().map(String::as_str).collect(),
                "OPTIONS" => Vec::new(),
                _ => hint.tables.iter().map(String::as_str).collect(),
            };
            let missing = named.iter().filter(|n| !relations.iter().any(|r| r.is_called(n)));
            unknown.extend(missing.map(|n| format!("`{n}` in `{}`", hint.kind)));
            self.note(&hint, &relations)?;
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = relations.iter().filter_map(|r| r.names.first().map(String::as_str)).collect();
        Err(Error::user(format!(
            "The options of following hints cannot match the name of input tables or views: {}.",
            unknown.join(", ")
        ))
        .with_hint(match names.is_empty() {
            true => "There is no table in this FROM.".to_string(),
            false => {
                format!("In this FROM there are: {}. A table with an alias goes by it.", names.join(", "))
            }
        }))
    }

    fn note(&mut self, hint: &Hint, relations: &[Relation]) -> Result<()> {
        match hint.kind.as_str() {
            "LOOKUP" => {
                let (table, lookup) = lookup(&hint.options)?;
                for relation in relations.iter().filter(|r| r.is_called(table)) {
                    relation.hints(&mut self.0).lookup.get_or_insert_with(|| lookup.clone());
                }
            }
            "STATE_TTL" => {
                for (table, text) in &hint.options {
                    let ms = crate::config::parse_duration_ms(text)
                        .map_err(|e| invalid(&format!("Invalid STATE_TTL hint value: {}", e.message())))?;
                    for relation in relations.iter().filter(|r| r.is_called(table)) {
                        relation.hints(&mut self.0).ttl_ms.get_or_insert(ms);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// A table of FROM: what it may be called in hints, and its place.
struct Relation {
    names: Vec<String>,
    place: Option<Location>,
}

impl Relation {
    fn is_called(&self, name: &str) -> bool {
        self.names.iter().any(|n| n == name)
    }

    fn hints<'a>(&self, all: &'a mut QueryHints) -> &'a mut RelationHints {
        let place = self.place.unwrap_or(Location { line: 0, column: 0 });
        let hints = all.entry(place).or_default();
        hints.name = self.names.first().cloned().unwrap_or_default();
        hints
    }
}

fn collect(from: &ast::TableWithJoins, relations: &mut Vec<Relation>) {
    let factors = std::iter::once(&from.relation).chain(from.joins.iter().map(|j| &j.relation));
    for factor in factors {
        let start = |ident: &ast::Ident| syntax::span(ident.span).map(|s| s.start);
        match factor {
            TableFactor::NestedJoin { table_with_joins, .. } => collect(table_with_joins, relations),
            TableFactor::Table { name, alias, .. } => {
                let Some(last) = name.0.last().and_then(|p| p.as_ident()) else { continue };
                let names = match alias {
                    Some(alias) => vec![alias.name.value.clone()],
                    None => {
                        let parts = name.0.iter().filter_map(|p| p.as_ident()).map(|i| i.value.as_str());
                        vec![last.value.clone(), parts.collect::<Vec<_>>().join(".")]
                    }
                };
                relations.push(Relation { names, place: start(last) });
            }
            TableFactor::Derived { alias: Some(alias), .. }
            | TableFactor::TableFunction { alias: Some(alias), .. }
            | TableFactor::Function { alias: Some(alias), .. }
            | TableFactor::UNNEST { alias: Some(alias), .. }
            | TableFactor::MatchRecognize { alias: Some(alias), .. } => {
                let names = vec![alias.name.value.clone()];
                relations.push(Relation { names, place: start(&alias.name) });
            }
            _ => {}
        }
    }
}

/// Reads `NAME(…), NAME(…)`.
fn read(text: &str) -> Result<Vec<Hint>> {
    // Places inside the hint would count from its own beginning.
    let here = |e: Error| {
        let moved = Error::user(format!("The hint cannot be read. {}", e.message()));
        moved.with_hint(e.hint().unwrap_or_default())
    };
    let dialect = FlinkDialect::new();
    let mut p = Parser::new(&dialect).with_tokens_with_locations(tokenize(text).map_err(here)?);
    let mut hints = Vec::new();
    loop {
        let (kind, _) = syntax::identifier(&mut p, "a hint such as STATE_TTL('t' = '1 d')").map_err(here)?;
        let Some((known, takes)) = KINDS.iter().find(|(k, _)| k.eq_ignore_ascii_case(&kind)) else {
            let names: Vec<&str> = KINDS.iter().map(|(k, _)| *k).collect();
            return Err(Error::user(format!(
                "Hint: {} should be registered in the HintStrategyTable",
                shorten(&kind)
            ))
            .with_hint(format!("There are {}.", names.join(", "))));
        };
        let mut hint = Hint { kind: (*known).to_string(), tables: Vec::new(), options: Options::new() };
        if syntax::take(&mut p, &Token::LParen) {
            arguments(&mut p, &mut hint).map_err(here)?;
        }
        match takes {
            Takes::Tables if hint.tables.is_empty() || !hint.options.is_empty() => {
                return Err(invalid(&format!(
                    "Invalid hint: {known}, expecting at least one table or view specified in hint {known}."
                )));
            }
            Takes::Options if !hint.tables.is_empty() || hint.options.is_empty() => {
                return Err(invalid(&format!(
                    "Invalid list options in {known} hint, only support key-value options."
                )));
            }
            _ => hints.push(hint),
        }
        if !syntax::take(&mut p, &Token::Comma) {
            super::parser::expect_end(&p).map_err(here)?;
            return Ok(hints);
        }
    }
}

/// Names, or `key = value`, up to the closing parenthesis.
fn arguments(p: &mut Parser, hint: &mut Hint) -> Result<()> {
    if syntax::take(p, &Token::RParen) {
        return Ok(());
    }
    loop {
        let name = match &p.peek_token_ref().token {
            Token::SingleQuotedString(text) => {
                let text = text.clone();
                p.advance_token();
                text
            }
            _ => syntax::name(p, "a table's name", 3)?.parts.join("."),
        };
        if syntax::take(p, &Token::Eq) {
            let value = syntax::string(p, "a value in single quotes")?;
            hint.options.insert(name, value);
        } else {
            hint.tables.push(name);
        }
        if !syntax::take(p, &Token::Comma) {
            return syntax::expect(p, &Token::RParen);
        }
    }
}

fn invalid(text: &str) -> Error {
    Error::user(text).with_hint(
        "Write /*+ LOOKUP('table' = 'd', 'async' = 'true') */, /*+ STATE_TTL('a' = '1 d', 'b' = '2 d') */ or \
         /*+ BROADCAST(a) */.",
    )
}

/// The table of a LOOKUP hint, and what is said of it.
fn lookup(options: &Options) -> Result<(&str, LookupHint)> {
    let Some(table) = options.get("table") else {
        return Err(invalid("Invalid LOOKUP hint: incomplete required option(s): [Key: 'table']"));
    };
    let get = |key: &str| options.get(key).map(|v| v.trim());
    let wrong = |key: &str, value: &str| {
        invalid(&format!("Invalid LOOKUP hint options: Could not parse value '{value}' for key '{key}'."))
    };
    let duration = |key: &str| {
        get(key).map(|v| crate::config::parse_duration_ms(v).map_err(|_| wrong(key, v))).transpose()
    };
    let word = |key: &str, words: [&str; 2]| {
        get(key)
            .map(|v| match words.iter().position(|w| w.eq_ignore_ascii_case(v)) {
                Some(at) => Ok(at == 0),
                None => Err(wrong(key, v)),
            })
            .transpose()
    };
    let number = |key: &str| get(key).map(|v| v.parse::<u32>().map_err(|_| wrong(key, v))).transpose();
    let delay_ms = duration("fixed-delay")?;
    let attempts = number("max-attempts")?;
    let retry = match (get("retry-predicate"), get("retry-strategy"), delay_ms, attempts) {
        (None, None, None, None) => None,
        (Some(predicate), Some(strategy), Some(delay_ms), Some(attempts)) => {
            if !predicate.eq_ignore_ascii_case("lookup_miss") {
                return Err(invalid(&format!(
                    "Invalid LOOKUP hint option: unsupported retry-predicate '{predicate}', only 'lookup_miss' is \
                     supported currently"
                )));
            }
            if !strategy.eq_ignore_ascii_case("fixed_delay") {
                return Err(wrong("retry-strategy", strategy));
            }
            Some((delay_ms, attempts))
        }
        _ => return Err(invalid("Invalid LOOKUP hint: retry options can be both null or all not null")),
    };
    let hint = LookupHint {
        asynchronous: word("async", ["true", "false"])?,
        ordered: word("output-mode", ["ordered", "allow_unordered"])?,
        capacity: number("capacity")?.map(u64::from),
        timeout_ms: duration("timeout")?,
        retry,
    };
    Ok((table, hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints(query: &str) -> Result<Vec<RelationHints>> {
        let mut all: Vec<RelationHints> =
            query_hints(&crate::sql::parse_query(query)?.ast)?.into_values().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    fn ttl(name: &str, ms: u64) -> RelationHints {
        RelationHints { name: name.into(), ttl_ms: Some(ms), lookup: None }
    }

    #[test]
    fn a_hint_means_the_tables_beside_it() {
        let query = "SELECT /*+ STATE_TTL('a' = '1 d', 's' = '2s') */ * FROM t AS a JOIN (SELECT /*+ STATE_TTL('t' = '3s') */ * \
                     FROM t) AS s ON a.k = s.k";
        assert_eq!(hints(query).unwrap(), [ttl("a", 86_400_000), ttl("s", 2000), ttl("t", 3000)]);
        assert_eq!(hints("SELECT /*+ STATE_TTL('c.d.t' = '1s') */ * FROM c.d.t").unwrap(), [ttl("t", 1000)]);
    }

    #[test]
    fn a_lookup_hint_is_read_whole() {
        let found = hints(
            "SELECT /*+ LOOKUP('table' = 'd', 'async' = 'true', 'output-mode' = 'ALLOW_UNORDERED', 'capacity' = '7', 'timeout' = \
             '10s', 'retry-predicate' = 'lookup_miss', 'retry-strategy' = 'fixed_delay', 'fixed-delay' = '5 s', 'max-attempts' = '3'), \
             broadcast(d) */ * FROM a JOIN d ON a.k = d.k",
        );
        let lookup = LookupHint {
            asynchronous: Some(true),
            ordered: Some(false),
            capacity: Some(7),
            timeout_ms: Some(10_000),
            retry: Some((5000, 3)),
        };
        assert_eq!(found.unwrap(), [RelationHints { name: "d".into(), ttl_ms: None, lookup: Some(lookup) }]);
    }

    #[test]
    fn what_a_hint_does_not_mean_is_told_with_what_there_is() {
        let error = hints("SELECT /*+ BROADCAST(t, x) */ * FROM t AS a").unwrap_err();
        assert_eq!(
            error.message(),
            "The options of following hints cannot match the name of input tables or views: `t` in `BROADCAST`, `x` in `BROADCAST`."
        );
        assert_eq!(error.hint(), Some("In this FROM there are: a. A table with an alias goes by it."));
        assert!(error.span().is_some());
        let error = hints("SELECT /*+ STATE_TTL('a' = 'soon') */ * FROM a").unwrap_err();
        assert!(error.message().starts_with("Invalid STATE_TTL hint value"), "{error}");
    }
}
