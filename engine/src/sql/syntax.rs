//! Small steps over sqlparser's `Parser` that all statement files share, and its errors as our sentences.

use super::statement::Name;
use crate::error::{Error, Location, Result, Span};
use catalog::Options;
use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::{self, Token, TokenWithSpan};
use std::collections::HashMap;

/// Marks the parts of one of our errors on its way through sqlparser, whose errors are plain strings.
const CARRIED: char = '\u{1}';

/// The place of sqlparser's span; `None` for tokens that stand nowhere in the text.
pub(super) fn span(of: tokenizer::Span) -> Option<Span> {
    let location = |l: tokenizer::Location| Location { line: clamp(l.line), column: clamp(l.column) };
    (of.start.line != 0).then(|| Span { start: location(of.start), end: location(of.end) })
}

/// From the first to the second place.
pub(super) fn between(from: Option<Span>, to: Option<Span>) -> Option<Span> {
    Some(Span { start: from?.start, end: to?.end })
}

fn clamp(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The place of the token that comes next; `None` at the end of the text.
pub(super) fn here(p: &Parser) -> Option<Span> {
    span(p.peek_token_ref().span)
}

/// The place of the token taken last.
pub(super) fn last(p: &Parser) -> Option<Span> {
    span(p.get_current_token().span)
}

/// Whether the next token is the unquoted word `s`; also a word that sqlparser has no keyword for.
pub(super) fn peek_word(p: &Parser, s: &str) -> bool {
    is_word(p.peek_token_ref(), s)
}

/// Whether `token` is the unquoted word `s`.
pub(super) fn is_word(token: &TokenWithSpan, s: &str) -> bool {
    matches!(&token.token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(s))
}

/// Takes the unquoted word `s`, if it comes next.
pub(super) fn word(p: &mut Parser, s: &str) -> bool {
    let hit = peek_word(p, s);
    if hit {
        p.advance_token();
    }
    hit
}

/// Takes all of the words in `s`, which are separated by spaces, or none.
pub(super) fn words(p: &mut Parser, s: &str) -> bool {
    let hit = peek_words(p, s);
    if hit {
        s.split(' ').for_each(|_| p.advance_token());
    }
    hit
}

/// Whether the words in `s` come next.
pub(super) fn peek_words(p: &Parser, s: &str) -> bool {
    s.split(' ').enumerate().all(|(i, w)| is_word(p.peek_nth_token_ref(i), w))
}

/// Takes the words in `s`, or says that they were expected.
pub(super) fn expect_words(p: &mut Parser, s: &str) -> Result<()> {
    for w in s.split(' ') {
        if !word(p, w) {
            return Err(expected(p, w));
        }
    }
    Ok(())
}

/// Takes `token`, if it comes next.
pub(super) fn take(p: &mut Parser, token: &Token) -> bool {
    p.consume_token(token)
}

/// Takes `token`, or says that it was expected.
pub(super) fn expect(p: &mut Parser, token: &Token) -> Result<()> {
    if p.consume_token(token) { Ok(()) } else { Err(expected(p, &format!("`{token}`"))) }
}

/// "Expected `what` but found the next token", at that token.
pub(super) fn expected(p: &Parser, what: &str) -> Error {
    let next = p.peek_token_ref();
    Error::user(expected_text(what, &found(next))).at(span(next.span))
}

fn expected_text(what: &str, found: &str) -> String {
    if found.is_empty() {
        format!("Expected {what} but the text ends.")
    } else {
        format!("Expected {what} but found {found}.")
    }
}

/// A token as a sentence shows it; empty at the end of the text.
pub(super) fn found(token: &TokenWithSpan) -> String {
    match &token.token {
        Token::EOF => String::new(),
        Token::SemiColon => "`;`".to_owned(),
        Token::SingleQuotedString(s) => shorten(&format!("'{}'", s.replace('\'', "''"))),
        Token::Word(w) if w.quote_style.is_some() => shorten(&catalog::quote_identifier(&w.value)),
        other => format!("`{}`", shorten(&other.to_string())),
    }
}

/// At most this many characters of the user's text go into an error text.
const MAX_SHOWN_CHARS: usize = 60;

pub(super) fn shorten(text: &str) -> String {
    let mut chars = text.chars();
    let head: String = chars.by_ref().take(MAX_SHOWN_CHARS).collect();
    if chars.next().is_some() { format!("{head}…") } else { head }
}

/// Takes `'text'`.
pub(super) fn string(p: &mut Parser, what: &str) -> Result<String> {
    let text = match &p.peek_token_ref().token {
        Token::SingleQuotedString(s) | Token::UnicodeStringLiteral(s) | Token::NationalStringLiteral(s) => {
            s.clone()
        }
        _ => return Err(expected(p, what)),
    };
    p.advance_token();
    Ok(text)
}

/// Takes one identifier.
pub(super) fn identifier(p: &mut Parser, what: &str) -> Result<(String, Option<Span>)> {
    let next = p.peek_token_ref();
    let place = span(next.span);
    match &next.token {
        Token::Word(w) => {
            let name = w.value.clone();
            p.advance_token();
            if name.is_empty() {
                return Err(Error::user("A name cannot be empty.").at(place));
            }
            Ok((name, place))
        }
        Token::SingleQuotedString(s) => Err(Error::user(format!("'{s}' is a text, not a name."))
            .with_hint(format!("Names are quoted with backticks: write {}.", catalog::quote_identifier(s)))
            .at(place)),
        _ => Err(expected(p, what)),
    }
}

/// Takes a name of one to `most` parts.
pub(super) fn name(p: &mut Parser, what: &str, most: usize) -> Result<Name> {
    let (first, start) = identifier(p, what)?;
    let mut parts = vec![first];
    let mut end = start;
    while take(p, &Token::Period) {
        let (part, place) = identifier(p, "a name after `.`")?;
        parts.push(part);
        end = place;
    }
    let place = between(start, end);
    // `FROM key-values`: a hyphen without spaces around it, where no expression can stand.
    if let Some(e) = hyphenated(p, end) {
        return Err(e);
    }
    if parts.len() > most {
        let form = ["name", "catalog.database", "catalog.database.name"][most.clamp(1, 3) - 1];
        return Err(Error::user(format!(
            "`{}` has {} parts; at most {most} are possible here ({form}).",
            shorten(&parts.join(".")),
            parts.len()
        ))
        .at(place));
    }
    Ok(Name { parts, span: place })
}

/// The error for `key-values` without backticks, if the next tokens continue a name that way.
fn hyphenated(p: &Parser, end: Option<Span>) -> Option<Error> {
    let end = end?;
    let (minus, rest) = (p.peek_token_ref(), p.peek_nth_token_ref(1));
    if minus.token != Token::Minus || span(minus.span)?.start != end.end {
        return None;
    }
    let Token::Word(_) = &rest.token else { return None };
    Some(
        Error::user("A name with a hyphen must be quoted.")
            .with_hint("Put it in backticks, for example `key-values`.")
            .at(span(minus.span)),
    )
}

/// Takes `( item, item, … )`; an empty list is an error.
pub(super) fn list<T>(p: &mut Parser, mut item: impl FnMut(&mut Parser) -> Result<T>) -> Result<Vec<T>> {
    expect(p, &Token::LParen)?;
    let mut items = vec![item(p)?];
    while take(p, &Token::Comma) {
        items.push(item(p)?);
    }
    expect_or(p, &Token::RParen, "`,` or `)`")?;
    Ok(items)
}

fn expect_or(p: &mut Parser, token: &Token, what: &str) -> Result<()> {
    if take(p, token) { Ok(()) } else { Err(expected(p, what)) }
}

/// Takes `('key' = 'value', …)`, with the places of the keys. A key given twice takes its last value, as in
/// Flink.
pub(super) fn options(p: &mut Parser) -> Result<(Options, HashMap<String, Span>)> {
    expect(p, &Token::LParen)?;
    let (mut all, mut places) = (Options::new(), HashMap::new());
    if take(p, &Token::RParen) {
        return Ok((all, places));
    }
    loop {
        let place = here(p);
        let (key, value) = option(p)?;
        if let Some(place) = place {
            places.insert(key.clone(), place);
        }
        all.insert(key, value);
        if take(p, &Token::Comma) {
            if matches!(p.peek_token_ref().token, Token::RParen) {
                return Err(Error::user("A comma stands before `)`.")
                    .with_hint("Leave out the comma after the last option.")
                    .at(last(p)));
            }
            continue;
        }
        if take(p, &Token::RParen) {
            return Ok((all, places));
        }
        if matches!(p.peek_token_ref().token, Token::SingleQuotedString(_)) {
            return Err(Error::user(format!("A comma is missing before {}.", found(p.peek_token_ref())))
                .with_hint("Options are separated by commas: 'key' = 'value', 'key' = 'value'.")
                .at(here(p)));
        }
        return Err(expected(p, "`,` or `)` after an option"));
    }
}

fn option(p: &mut Parser) -> Result<(String, String)> {
    const FORM: &str = "Options are written 'key' = 'value', both in single quotes.";
    let key_place = here(p);
    let key = string(p, "an option's key in single quotes").map_err(|e| e.with_hint(FORM))?;
    if !take(p, &Token::Eq) {
        // `sink.x' = 'false'`: an opening quote is missing, so literals begin where they should end.
        return Err(expected(p, "`=` after the option's key").with_hint(FORM).at(key_place));
    }
    let value = string(p, "the option's value in single quotes")
        .map_err(|e| e.with_hint(format!("{FORM} Numbers and booleans too: '{}' = '10'.", shorten(&key))))?;
    Ok((key, value))
}

/// Carries one of our errors through code that can only return sqlparser's.
pub(super) fn carry(error: Error) -> ParserError {
    let place = error.span().map_or(String::new(), |s| {
        format!("{} {} {} {}", s.start.line, s.start.column, s.end.line, s.end.column)
    });
    ParserError::ParserError(format!(
        "{CARRIED}{}{CARRIED}{}{CARRIED}{place}",
        error.message(),
        error.hint().unwrap_or_default()
    ))
}

/// An error of sqlparser's, or one of ours that it carried, as ours. A place without extent means the token
/// that starts there.
impl From<ParserError> for Error {
    fn from(error: ParserError) -> Self {
        let text = match error {
            ParserError::RecursionLimitExceeded => return too_deep(),
            ParserError::ParserError(text) | ParserError::TokenizerError(text) => text,
        };
        if let Some(carried) = text.strip_prefix(CARRIED) {
            let mut parts = carried.split(CARRIED);
            let mut next = || parts.next().unwrap_or_default();
            let (message, hint, place) = (next(), next(), next());
            let numbers: Vec<u32> = place.split(' ').filter_map(|n| n.parse().ok()).collect();
            let place = match numbers[..] {
                [l, c, el, ec] => Some(Span {
                    start: Location { line: l, column: c },
                    end: Location { line: el, column: ec },
                }),
                _ => None,
            };
            return Self::user(message).with_hint(hint).at(place);
        }
        let (message, place) = take_place(&text);
        let found = message
            .strip_prefix("Expected: ")
            .or_else(|| message.strip_prefix("Expected "))
            .and_then(|m| m.rsplit_once(", found: "));
        let message = match found {
            Some((what, "EOF")) => expected_text(what, ""),
            Some((what, found)) => {
                let sign = !what.contains(char::is_alphanumeric);
                let what = if sign { format!("`{what}`") } else { what.to_owned() };
                expected_text(&what, &format!("`{}`", shorten(found)))
            }
            None => sentence(message),
        };
        Self::user(message).at(place.map(|start| Span { start, end: start }))
    }
}

/// The error for what is nested past the limit.
pub(super) fn too_deep() -> Error {
    Error::user("The statement is nested too deeply.").with_hint(format!(
        "At most about {} levels of parentheses and subqueries are possible: move inner parts to a view or WITH.",
        super::parser::MAX_DEPTH
    ))
}

fn sentence(text: &str) -> String {
    let text = text.trim().trim_start_matches("sql parser error: ");
    if text.ends_with('.') { text.to_owned() } else { format!("{text}.") }
}

/// Splits ` at Line: n, Column: m` off the end of one of sqlparser's texts.
fn take_place(text: &str) -> (&str, Option<Location>) {
    let Some((message, place)) = text.rsplit_once(" at Line: ") else { return (text, None) };
    let numbers = place
        .split_once(", Column: ")
        .and_then(|(line, column)| Some((line.trim().parse().ok()?, column.trim().parse().ok()?)));
    match numbers {
        Some((line, column)) if line > 0 => (message, Some(Location { line, column })),
        Some(_) => (message, None),
        None => (text, None),
    }
}
