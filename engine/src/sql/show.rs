//! `SHOW …`.

use super::statement::{Name, Pattern, Show};
use super::syntax::{expected, found, list, name, string, take, word, words};
use crate::error::{Error, Result, nearest};
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::Token;

/// What can be shown, for "did you mean".
const WORDS: &[&str] = &[
    "CATALOGS",
    "CURRENT CATALOG",
    "DATABASES",
    "CURRENT DATABASE",
    "TABLES",
    "VIEWS",
    "FUNCTIONS",
    "USER FUNCTIONS",
    "COLUMNS",
    "JOBS",
    "MODULES",
    "PARTITIONS",
    "JARS",
    "PROCEDURES",
    "CREATE TABLE",
    "CREATE VIEW",
];

/// After SHOW.
pub(super) fn parse(p: &mut Parser) -> Result<Show> {
    if word(p, "CATALOGS") {
        return Ok(Show::Catalogs(pattern(p)?));
    }
    if words(p, "CURRENT CATALOG") {
        return Ok(Show::CurrentCatalog);
    }
    if words(p, "CURRENT DATABASE") {
        return Ok(Show::CurrentDatabase);
    }
    if word(p, "DATABASES") {
        return Ok(Show::Databases(from(p, 1)?, pattern(p)?));
    }
    if word(p, "TABLES") {
        return Ok(Show::Tables(from(p, 2)?, pattern(p)?));
    }
    if word(p, "VIEWS") {
        return Ok(Show::Views(from(p, 2)?, pattern(p)?));
    }
    let user = words(p, "USER FUNCTIONS");
    if user || word(p, "FUNCTIONS") {
        // All functions are built in, so that a database makes no difference.
        from(p, 2)?;
        return Ok(Show::Functions { user, like: pattern(p)? });
    }
    if word(p, "COLUMNS") {
        let Some(table) = from(p, 3)? else { return Err(expected(p, "FROM or IN")) };
        return Ok(Show::Columns(table, pattern(p)?));
    }
    let full = words(p, "FULL MODULES");
    if full || word(p, "MODULES") {
        return Ok(Show::Modules { full });
    }
    if word(p, "PARTITIONS") {
        let table = name(p, "the table's name", 3)?;
        if word(p, "PARTITION") {
            list(p, |p| {
                super::syntax::identifier(p, "a partition column")?;
                super::syntax::expect(p, &Token::Eq)?;
                Ok(p.parse_expr()?)
            })?;
        }
        return Ok(Show::Partitions(table));
    }
    if word(p, "JARS") {
        return Ok(Show::Jars);
    }
    if word(p, "PROCEDURES") {
        from(p, 2)?;
        return Ok(Show::Procedures(pattern(p)?));
    }
    if words(p, "CREATE TABLE") {
        return name(p, "the table's name", 3).map(Show::CreateTable);
    }
    if words(p, "CREATE VIEW") {
        return name(p, "the view's name", 3).map(Show::CreateView);
    }
    Err(unknown(p))
}

fn unknown(p: &Parser) -> Error {
    let next = p.peek_token_ref();
    let written = match &next.token {
        Token::Word(w) => w.value.clone(),
        _ => return expected(p, "what to show, for example TABLES"),
    };
    let hint = match nearest(&written, WORDS.iter().copied()) {
        Some(near) => format!("Did you mean SHOW {near}?"),
        None => format!("SHOW can be followed by {}.", WORDS.join(", ")),
    };
    Error::user(format!("SHOW {} is not a statement.", found(next).trim_matches('`').to_uppercase()))
        .with_hint(hint)
        .at(super::syntax::span(next.span))
}

fn from(p: &mut Parser, parts: usize) -> Result<Option<Name>> {
    if word(p, "FROM") || word(p, "IN") {
        return name(p, "a name", parts).map(Some);
    }
    Ok(None)
}

fn pattern(p: &mut Parser) -> Result<Option<Pattern>> {
    let negated = word(p, "NOT");
    let ignore_case = word(p, "ILIKE");
    if !ignore_case && !word(p, "LIKE") {
        if negated {
            return Err(expected(p, "LIKE or ILIKE"));
        }
        take(p, &Token::SemiColon);
        return Ok(None);
    }
    let pattern = string(p, "a pattern in single quotes")?;
    Ok(Some(Pattern { negated, ignore_case, pattern }))
}

impl Pattern {
    /// Whether `name` passes the filter: `%` is any text, `_` any character, `\` takes the next one as it is.
    pub fn matches(&self, name: &str) -> bool {
        let fold = |s: &str| if self.ignore_case { s.to_lowercase() } else { s.to_owned() };
        let pattern: Vec<char> = fold(&self.pattern).chars().collect();
        let name: Vec<char> = fold(name).chars().collect();
        like(&pattern, &name) != self.negated
    }
}

/// Matches with one row of "which prefixes of the name fit so far", so that many `%` cost no more than one.
fn like(pattern: &[char], name: &[char]) -> bool {
    let mut fits = vec![false; name.len() + 1];
    fits[0] = true;
    let mut i = 0;
    while i < pattern.len() {
        let mut next = vec![false; name.len() + 1];
        match pattern[i] {
            '%' => {
                let mut any = false;
                for (n, fit) in fits.iter().enumerate() {
                    any |= fit;
                    next[n] = any;
                }
            }
            c => {
                let literal = match c {
                    '_' => None,
                    '\\' if i + 1 < pattern.len() => {
                        i += 1;
                        Some(pattern[i])
                    }
                    c => Some(c),
                };
                for (n, at) in name.iter().enumerate() {
                    next[n + 1] = fits[n] && literal.is_none_or(|c| c == *at);
                }
            }
        }
        fits = next;
        i += 1;
    }
    fits[name.len()]
}
