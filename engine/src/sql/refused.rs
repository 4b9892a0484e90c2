//! Statements of Flink that Runnel has not, refused by name; misspelt ones; and Flink's classic mistakes.

use super::syntax::{self, found, is_word, peek_words, span};
use crate::error::{Error, nearest};
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// First words of what Flink has and we have not, and what to write instead. Longer ones first.
const NOT_YET: &[(&str, &str)] = &[
    ("ALTER MATERIALIZED TABLE", "Write INSERT INTO a table with a connector."),
    ("ALTER MODEL", "Runnel has no models."),
    ("CREATE OR REPLACE", "Write DROP … IF EXISTS, then CREATE."),
    ("CREATE OR ALTER", "Write DROP … IF EXISTS, then CREATE."),
    ("CREATE MATERIALIZED TABLE", "Write CREATE TABLE with a connector, then INSERT INTO it."),
    ("CREATE TEMPORARY MODEL", "Runnel has no models."),
    ("CREATE MODEL", "Runnel has no models."),
    ("DROP MATERIALIZED TABLE", "Write DROP TABLE."),
    ("DROP MODEL", "Runnel has no models."),
    ("ADD JAR", "Runnel loads no Java code; connectors and formats are built in."),
    ("REMOVE JAR", "Runnel loads no Java code; connectors and formats are built in."),
    ("SHOW MATERIALIZED TABLES", "Write SHOW TABLES."),
    ("SHOW MODELS", "Runnel has no models."),
    ("SHOW CREATE MODEL", "Runnel has no models."),
    ("DESCRIBE DATABASE", "Write SHOW TABLES FROM the database."),
    ("DESC DATABASE", "Write SHOW TABLES FROM the database."),
    ("DESCRIBE FUNCTION", "Write SHOW FUNCTIONS LIKE 'name'."),
    ("DESC FUNCTION", "Write SHOW FUNCTIONS LIKE 'name'."),
    ("COMPILE AND EXECUTE PLAN", "Write the INSERT itself."),
    ("COMPILE PLAN", "Write the INSERT itself."),
    ("EXECUTE PLAN", "Write the INSERT itself."),
    ("ANALYZE TABLE", "Plans need no statistics; leave it out."),
    ("CALL", "There are no procedures."),
    ("UPDATE", "Streams are appended to: write INSERT INTO."),
    ("DELETE", "Streams are appended to: write INSERT INTO, filtered with WHERE."),
    ("TRUNCATE TABLE", "Empty the topic or the files with the external system's own tools."),
    ("MERGE", "Write INSERT INTO … SELECT."),
];

/// First words of every statement, for "did you mean".
const STATEMENTS: &[&str] = &[
    "SELECT", "WITH", "VALUES", "INSERT", "CREATE", "ALTER", "DROP", "USE", "SHOW", "DESCRIBE", "DESC",
    "SET", "RESET", "EXPLAIN", "EXECUTE", "STOP",
];

/// The refusal, if a statement of [`NOT_YET`] comes next.
pub(super) fn by_name(p: &Parser) -> Option<Error> {
    let (name, instead) = NOT_YET.iter().find(|(name, _)| peek_words(p, name))?;
    let first = span(p.peek_token_ref().span);
    let last = span(p.peek_nth_token_ref(name.split(' ').count() - 1).span);
    Some(Error::unsupported(name, *instead).at(syntax::between(first, last)))
}

/// The error for a statement that begins with none of our words.
pub(super) fn unknown(p: &Parser) -> Error {
    let next = p.peek_token_ref();
    let place = span(next.span);
    match &next.token {
        Token::Word(w) => {
            let hint = match w.value.to_ascii_uppercase().as_str() {
                "QUIT" | "EXIT" | "HELP" | "CLEAR" => "It is a word of the shell: type it alone.".to_owned(),
                "FROM" => "A query begins with SELECT: SELECT * FROM t.".to_owned(),
                "BEGIN" => "A statement set is written EXECUTE STATEMENT SET BEGIN … END.".to_owned(),
                "END" => "END closes EXECUTE STATEMENT SET BEGIN …; there is none open.".to_owned(),
                written => match nearest(written, STATEMENTS.iter().copied()) {
                    Some(near) => format!("Did you mean {near}?"),
                    None => format!("A statement begins with {}.", STATEMENTS.join(", ")),
                },
            };
            Error::user(format!("{} does not begin a statement.", found(next))).with_hint(hint).at(place)
        }
        Token::Mod => Error::user("A paragraph header was not understood.")
            .with_hint("Write %flink.ssql, alone or with properties: %flink.ssql(type=update).")
            .at(place),
        Token::EOF => Error::user("There is no statement."),
        _ => Error::user(format!("{} does not begin a statement.", found(next)))
            .with_hint(format!("A statement begins with {}.", STATEMENTS.join(", ")))
            .at(place),
    }
}

/// Replaces an error by a better one where a classic mistake explains it.
pub(super) fn explain(error: Error, tokens: &[TokenWithSpan]) -> Error {
    let Some(place) = error.span() else { return error };
    let significant: Vec<&TokenWithSpan> =
        tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).collect();
    let at = significant.iter().position(|t| span(t.span).is_some_and(|s| s.start >= place.start));
    let Some(at) = at else { return error };
    if let Some(better) = hyphen(&significant, at) {
        return better;
    }
    if error.hint().is_none()
        && let Some(hint) = hint_for(&error, &significant, at)
    {
        return error.with_hint(hint);
    }
    error
}

/// `FROM key-values`: the names on both sides of a hyphen without spaces, after a word that names follow.
fn hyphen(tokens: &[&TokenWithSpan], at: usize) -> Option<Error> {
    let joined = |a: usize, b: usize| tokens[a].span.end == tokens[b].span.start;
    let is_name = |i: usize| matches!(&tokens[i].token, Token::Word(w) if w.quote_style.is_none());
    // The error may be at the hyphen or at the word after it.
    let minus = (at.saturating_sub(1)..=at + 1)
        .find(|i| *i > 0 && *i + 1 < tokens.len() && tokens[*i].token == Token::Minus)?;
    if !is_name(minus - 1) || !is_name(minus + 1) || !joined(minus - 1, minus) || !joined(minus, minus + 1) {
        return None;
    }
    let mut first = minus - 1;
    while first >= 2 && tokens[first - 1].token == Token::Period {
        first -= 2;
    }
    let follows = first.checked_sub(1).map(|i| tokens[i])?;
    if !["FROM", "JOIN", "INTO", "TABLE", "VIEW", "OVERWRITE"].iter().any(|w| is_word(follows, w)) {
        return None;
    }
    let mut name = tokens[minus - 1].token.to_string();
    let mut end = minus - 1;
    while end + 2 < tokens.len()
        && tokens[end + 1].token == Token::Minus
        && is_name(end + 2)
        && joined(end, end + 1)
        && joined(end + 1, end + 2)
    {
        name.push('-');
        name.push_str(&tokens[end + 2].token.to_string());
        end += 2;
    }
    Some(
        Error::user(format!("The name {name} holds a hyphen and must be quoted."))
            .with_hint(format!("Put it in backticks: {}.", catalog::quote_identifier(&name)))
            .at(syntax::between(span(tokens[minus - 1].span), span(tokens[end].span))),
    )
}

/// Tells of a parenthesis that nothing closes.
fn open_parenthesis(tokens: &[&TokenWithSpan]) -> Option<String> {
    let mut open = Vec::new();
    for token in tokens {
        match token.token {
            Token::LParen => open.push(token.span.start),
            Token::RParen => {
                open.pop();
            }
            _ => {}
        }
    }
    let place = open.first()?;
    Some(format!("The `(` at {}:{} is never closed.", place.line, place.column))
}

fn hint_for(error: &Error, tokens: &[&TokenWithSpan], at: usize) -> Option<String> {
    let here = tokens[at];
    let message = error.message();
    if message.starts_with("Expected EXISTS") {
        return Some("Write IF EXISTS, or IF NOT EXISTS.".to_owned());
    }
    if message.starts_with("Expected TABLE")
        && let Token::Word(w) = &here.token
    {
        let kinds = ["TABLE", "VIEW", "DATABASE", "FUNCTION", "CATALOG"];
        return match w.value.to_ascii_uppercase().as_str() {
            "STREAM" | "EXTERNAL" => {
                Some("A stream is a table with a connector: CREATE TABLE t (…) WITH (…).".to_owned())
            }
            "INDEX" => Some("Tables of Flink SQL have no indexes.".to_owned()),
            written => nearest(written, kinds).map(|near| format!("Did you mean {near}?")),
        };
    }
    if message.starts_with("Expected APPLY") {
        return Some("Write LEFT JOIN, RIGHT JOIN or FULL JOIN.".to_owned());
    }
    if message.starts_with("Expected a query, INSERT") && is_word(here, "PLAN") {
        return Some("Write EXPLAIN PLAN FOR SELECT …, or EXPLAIN SELECT ….".to_owned());
    }
    if message.starts_with("Expected an expression")
        && at > 0
        && tokens[at - 1].token == Token::Comma
        && matches!(&here.token, Token::Word(w) if ["FROM", "WHERE", "GROUP", "ORDER"].iter().any(|k| w.value.eq_ignore_ascii_case(k)))
    {
        return Some("Leave out the comma before it.".to_owned());
    }
    if message.starts_with("Expected `)`") || message.starts_with("Expected )") {
        return open_parenthesis(tokens);
    }
    let leftover = error.message().starts_with("Expected the end of the statement");
    if let Token::Word(w) = &here.token
        && leftover
        && w.quote_style.is_none()
    {
        let clauses = ["WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "UNION", "JOIN", "FROM", "WINDOW"];
        let statements = ["SELECT", "INSERT", "CREATE", "DROP", "SHOW", "SET", "EXPLAIN", "DESCRIBE"];
        if statements.iter().any(|s| w.value.eq_ignore_ascii_case(s)) {
            return Some("Put a `;` between two statements.".to_owned());
        }
        let Some(near) = nearest(&w.value, clauses) else {
            // On a line of its own, it may as well be the next statement.
            let same_line = at > 0 && tokens[at - 1].span.end.line == here.span.start.line;
            return same_line.then(|| "Is a comma or an operator missing before it?".to_owned());
        };
        let by = ["GROUP", "ORDER"].contains(&near);
        if !by && w.value.eq_ignore_ascii_case(near) {
            return None;
        }
        return Some(format!("Did you mean {near}{}?", if by { " BY" } else { "" }));
    }
    if let Token::SingleQuotedString(s) = &here.token
        && leftover
    {
        return Some(format!(
            "Names are quoted with backticks: {}; and lists need commas.",
            catalog::quote_identifier(s)
        ));
    }
    None
}
