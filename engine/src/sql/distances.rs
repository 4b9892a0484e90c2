//! The token pass for `(a - b) DAY`: the parentheses get a name before them, for the parser does not look behind them.

use super::syntax::is_word;
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// The name.
pub(super) const DISTANCE: &str = "$DISTANCE";

/// Units of the distance between two times.
pub(super) const UNITS: &[&str] = &["YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND"];

/// Words behind which parentheses are no arguments.
const BEFORE: &[&str] = &[
    "SELECT", "DISTINCT", "ALL", "WHERE", "AND", "OR", "NOT", "ON", "HAVING", "BY", "WHEN", "THEN", "ELSE",
    "CASE", "BETWEEN", "FROM",
];

/// Names each difference in parentheses that a unit of time follows.
pub(super) fn mark(tokens: &mut Vec<TokenWithSpan>) {
    if !tokens.iter().any(|t| t.token == Token::Minus) {
        return;
    }
    let mut open: Vec<(usize, bool, bool)> = Vec::new();
    let mut places = Vec::new();
    let mut before: Option<usize> = None;
    let significant = |t: &TokenWithSpan| !matches!(t.token, Token::Whitespace(_));
    for (i, token) in tokens.iter().enumerate().filter(|(_, t)| significant(t)) {
        match &token.token {
            Token::LParen => {
                let called = before.is_some_and(|b| {
                    matches!(tokens[b].token, Token::Word(_))
                        && !BEFORE.iter().any(|w| is_word(&tokens[b], w))
                });
                open.push((i, !called, false));
            }
            Token::Minus => {
                if let Some((_, _, minus)) = open.last_mut() {
                    *minus = true;
                }
            }
            Token::RParen => {
                let next = tokens[i + 1..].iter().find(|t| significant(t));
                let unit = next.is_some_and(|t| UNITS.iter().any(|u| is_word(t, u)));
                if let Some((at, true, true)) = open.pop()
                    && unit
                {
                    places.push(at);
                }
            }
            _ => {}
        }
        before = Some(i);
    }
    if places.is_empty() {
        return;
    }
    places.sort_unstable();
    let mut wanted = places.into_iter().peekable();
    let named = std::mem::take(tokens).into_iter().enumerate().flat_map(|(i, token)| {
        let name = wanted
            .next_if_eq(&i)
            .map(|_| TokenWithSpan { token: Token::make_word(DISTANCE, None), span: token.span });
        name.into_iter().chain([token])
    });
    *tokens = named.collect();
}
