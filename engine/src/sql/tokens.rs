//! The token pass: refuses what sqlparser would misread, splits `>>`, collects hints, moves WITHIN.

use super::dialect::FlinkDialect;
use super::statement::TableHints;
use super::syntax::{self, is_word, shorten};
use crate::error::{Error, Location, Result, Span};
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, TokenizerError, Whitespace};

/// A chain of this many operators, such as `a OR b OR …`, is refused: each adds a level to the tree.
const MAX_CHAIN: usize = 500;

/// The name of what stands before MATCH_RECOGNIZE where it is a subquery.
pub(super) const SUBQUERY: &str = "__SUBQUERY";

/// Tokens ready for sqlparser.
pub(super) struct Prepared {
    /// With spans in the whole text.
    pub tokens: Vec<TokenWithSpan>,
    /// `/*+ OPTIONS(…) */` after names.
    pub hints: TableHints,
}

/// Cuts `text` into tokens. Errors: what is never closed, and characters that mean nothing.
pub(super) fn tokenize(text: &str) -> Result<Vec<TokenWithSpan>> {
    let (tokens, error) = tokenize_as_far_as_possible(text);
    match error {
        None => Ok(tokens),
        Some(e) => Err(unclosed(&e, end_of(text))),
    }
}

/// The tokens before the first error, and the error.
pub(super) fn tokenize_as_far_as_possible(text: &str) -> (Vec<TokenWithSpan>, Option<TokenizerError>) {
    let dialect = FlinkDialect::new();
    let mut tokens = Vec::new();
    let error = Tokenizer::new(&dialect, text).tokenize_with_location_into_buf(&mut tokens).err();
    (tokens, error)
}

/// Whether more text could mend the error: something was opened and not closed.
pub(super) fn is_unclosed(error: &TokenizerError) -> bool {
    ["Unterminated", "Unexpected EOF", "Expected close delimiter"].iter().any(|s| error.message.contains(s))
}

/// The place after the last character of `text`.
pub(super) fn end_of(text: &str) -> Location {
    let mut end = Location { line: 1, column: 1 };
    for c in text.chars() {
        end = after(end, c);
    }
    end
}

/// The place of the character that follows `c`, counted as sqlparser counts.
pub(super) fn after(at: Location, c: char) -> Location {
    if c == '\n' {
        Location { line: at.line + 1, column: 1 }
    } else {
        Location { line: at.line, column: at.column + 1 }
    }
}

pub(super) fn unclosed(error: &TokenizerError, end: Location) -> Error {
    let start = Location {
        line: u32::try_from(error.location.line).unwrap_or(1).max(1),
        column: u32::try_from(error.location.column).unwrap_or(1).max(1),
    };
    let message = error.message.as_str();
    let (text, hint) = if message.contains("multi-line comment") {
        ("A comment is never closed.", "Close it with */.")
    } else if message.contains("close delimiter") {
        ("A quoted name is never closed.", "Close it with a backtick (`).")
    } else if message.contains("Unterminated") {
        (
            "A text literal is never closed.",
            "Close it with a single quote; a quote inside is written twice: 'it''s'.",
        )
    } else {
        return Error::user(format!("The text cannot be read here: {message}."))
            .at(Span { start, end: start });
    };
    Error::user(text).with_hint(hint).at(Span { start, end: end.max(start) })
}

/// The token pass over one statement.
pub(super) fn prepare(tokens: Vec<TokenWithSpan>) -> Result<Prepared> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut hints = TableHints::new();
    let mut chain = Chain::default();
    // `?` and `{2,3}` are quantifiers in its patterns.
    let patterns = tokens.iter().any(|t| is_word(t, "MATCH_RECOGNIZE"));
    // In DDL two texts on two lines are a forgotten comma.
    let joins = !tokens
        .iter()
        .find(|t| !matches!(t.token, Token::Whitespace(_)))
        .is_some_and(|t| is_word(t, "CREATE"));
    let json = tokens.iter().any(|t| is_word(t, "JSON_OBJECT") || is_word(t, "JSON_OBJECTAGG"));
    // Index in `out` of the last token that is not white space.
    let mut before: Option<usize> = None;
    for (i, token) in tokens.iter().enumerate() {
        if let Token::Whitespace(white) = &token.token {
            if let Whitespace::MultiLineComment(comment) = white
                && let Some(hint) = comment.strip_prefix('+')
                && let Some(name) = before.map(|b| &out[b])
            {
                table_hint(hint, name, token, &mut hints)?;
            }
            out.push(token.clone());
            continue;
        }
        if !(patterns && matches!(token.token, Token::Placeholder(_) | Token::LBrace)) {
            refuse(token, tokens.get(i + 1))?;
        }
        chain.count(token)?;
        if joins && join_texts(token, before, &mut out) {
            continue;
        }
        if json && is_key_of_json(&tokens, i, before.map(|b| &out[b])) {
            continue;
        }
        before = Some(out.len());
        if token.token == Token::ShiftRight {
            let (first, second) = halves(token);
            before = Some(out.len() + 1);
            out.extend([first, second]);
        } else {
            out.push(token.clone());
        }
    }
    if patterns {
        refuse_subset(&out)?;
        skip_to_last(&mut out);
        wrap_subqueries(&mut out);
    }
    move_within(&mut out);
    wrap_values(&mut out);
    super::distances::mark(&mut out);
    Ok(Prepared { tokens: out, hints })
}

/// Refuses tokens that Flink does not have but sqlparser takes.
fn refuse(token: &TokenWithSpan, next: Option<&TokenWithSpan>) -> Result<()> {
    let at = |e: Error| Err(e.at(syntax::span(token.span)));
    match &token.token {
        Token::DoubleQuotedString(s) => {
            let s = shorten(s);
            at(Error::user(format!("\"{s}\" is written in double quotes, which mean nothing in Flink SQL."))
                .with_hint(format!("Names take backticks, texts single quotes: `{s}` or '{s}'.")))
        }
        Token::Div if next.is_some_and(|n| n.token == Token::Div && n.span.start == token.span.end) => {
            at(Error::user("`//` does not begin a comment.")
                .with_hint("Write -- for a comment to the end of the line, or /* … */."))
        }
        Token::DoubleColon => at(Error::user("`::` is not Flink SQL.").with_hint("Write CAST(value AS type).")),
        Token::DoubleEq => at(Error::user("`==` is not Flink SQL.").with_hint("Write = to compare.")),
        Token::AtSign => {
            at(Error::user("`@` is not Flink SQL: there are no variables.").with_hint("Write the value itself."))
        }
        Token::Sharp => at(Error::user("`#` does not begin a comment.").with_hint("Write -- for a comment.")),
        Token::Mod if next.is_some_and(|n| is_word(n, "flink") || is_word(n, "flinkssql")) => at(Error::user(
            "A paragraph header stands inside a statement.",
        )
        .with_hint("%flink.ssql must stand at the beginning of a line, after the `;` of the statement before it.")),
        Token::Placeholder(s) => at(Error::user(format!("`{}` is a placeholder without a value.", shorten(s)))
            .with_hint("Write the value itself.")),
        Token::LBrace => at(Error::user("`{` is not Flink SQL; a template's placeholder was not filled in.")
            .with_hint("Replace {…} by the value itself.")),
        Token::Number(n, true) => {
            at(Error::user(format!("`{}L` is not Flink SQL.", shorten(n))).with_hint("Leave out the L."))
        }
        Token::Char(c) => at(Error::user(format!("The character `{c}` means nothing here."))),
        _ => Ok(()),
    }
}

/// Counts operators in a row on each level of parentheses.
#[derive(Default)]
struct Chain {
    open: Vec<usize>,
    here: usize,
}

impl Chain {
    fn count(&mut self, token: &TokenWithSpan) -> Result<()> {
        match &token.token {
            Token::LParen | Token::LBracket => self.open.push(std::mem::take(&mut self.here)),
            Token::RParen | Token::RBracket => self.here = self.open.pop().unwrap_or_default(),
            Token::Comma | Token::SemiColon => self.here = 0,
            Token::Plus
            | Token::Minus
            | Token::Mul
            | Token::Div
            | Token::Mod
            | Token::StringConcat
            | Token::Eq
            | Token::Neq
            | Token::Lt
            | Token::Gt
            | Token::LtEq
            | Token::GtEq => self.here += 1,
            Token::Word(_)
                if ["AND", "OR", "UNION", "INTERSECT", "EXCEPT", "IS", "NOT"]
                    .iter()
                    .any(|w| is_word(token, w)) =>
            {
                self.here += 1;
            }
            _ => {}
        }
        if self.here > MAX_CHAIN {
            return Err(Error::user(format!("More than {MAX_CHAIN} operators stand in a row."))
                .with_hint("Write x IN (a, b, …) for x = a OR x = b …, or join with a VALUES table.")
                .at(syntax::span(token.span)));
        }
        Ok(())
    }
}

/// `'a'` on one line and `'b'` on the next are one text.
fn join_texts(token: &TokenWithSpan, before: Option<usize>, out: &mut [TokenWithSpan]) -> bool {
    let Token::SingleQuotedString(more) = &token.token else { return false };
    let Some(first) = before.map(|b| &mut out[b]) else { return false };
    let Token::SingleQuotedString(text) = &mut first.token else { return false };
    if first.span.end.line == token.span.start.line {
        return false;
    }
    text.push_str(more);
    first.span.end = token.span.end;
    true
}

/// `KEY` in `JSON_OBJECT(KEY 'k' VALUE v)`, which sqlparser cannot read and which means nothing.
fn is_key_of_json(tokens: &[TokenWithSpan], i: usize, before: Option<&TokenWithSpan>) -> bool {
    let next = tokens[i + 1..].iter().find(|t| !matches!(t.token, Token::Whitespace(_)));
    is_word(&tokens[i], "KEY")
        && before.is_some_and(|b| matches!(b.token, Token::LParen | Token::Comma))
        && next.is_some_and(|n| matches!(n.token, Token::SingleQuotedString(_) | Token::Word(_)))
}

/// `VALUES 1, 2` becomes `VALUES (1), (2)`: rows of one column need no parentheses.
fn wrap_values(tokens: &mut Vec<TokenWithSpan>) {
    const AFTER: &[&str] =
        &["ORDER", "LIMIT", "OFFSET", "FETCH", "UNION", "INTERSECT", "EXCEPT", "EXECUTE", "END", "FOR"];
    let significant = |t: &TokenWithSpan| !matches!(t.token, Token::Whitespace(_));
    let mut at = 0;
    while at < tokens.len() {
        if !is_word(&tokens[at], "VALUES") {
            at += 1;
            continue;
        }
        loop {
            let Some(first) = (at + 1..tokens.len()).find(|i| significant(&tokens[*i])) else { return };
            let starts = matches!(
                tokens[first].token,
                Token::Number(..) | Token::SingleQuotedString(_) | Token::Minus | Token::Word(_)
            );
            if !starts || is_word(&tokens[first], "ROW") {
                at = first;
                break;
            }
            let mut depth = 0_usize;
            let mut end = first;
            while end < tokens.len() {
                match &tokens[end].token {
                    Token::LParen | Token::LBracket => depth += 1,
                    Token::RParen | Token::RBracket if depth > 0 => depth -= 1,
                    Token::RParen | Token::SemiColon | Token::EOF | Token::Comma if depth == 0 => break,
                    _ if depth == 0 && AFTER.iter().any(|w| is_word(&tokens[end], w)) => break,
                    _ => {}
                }
                end += 1;
            }
            let last = (first..end).rev().find(|i| significant(&tokens[*i])).unwrap_or(first);
            let (mut open, mut close) = (tokens[first].clone(), tokens[last].clone());
            (open.token, close.token) = (Token::LParen, Token::RParen);
            tokens.insert(last + 1, close);
            tokens.insert(first, open);
            at = end + 2;
            if tokens.get(at).is_none_or(|t| t.token != Token::Comma) {
                break;
            }
        }
    }
}

fn halves(token: &TokenWithSpan) -> (TokenWithSpan, TokenWithSpan) {
    let mut middle = token.span.start;
    middle.column += 1;
    let (mut first, mut second) = (token.clone(), token.clone());
    first.token = Token::Gt;
    first.span.end = middle;
    second.token = Token::Gt;
    second.span.start = middle;
    (first, second)
}

/// Puts `/*+ OPTIONS('k' = 'v') */` under the place of the name before it.
fn table_hint(
    hint: &str,
    name: &TokenWithSpan,
    comment: &TokenWithSpan,
    hints: &mut TableHints,
) -> Result<()> {
    // After these words a hint is the query's, and stays in sqlparser's AST.
    if !matches!(name.token, Token::Word(_)) || ["SELECT", "INSERT"].iter().any(|w| is_word(name, w)) {
        return Ok(());
    }
    let Some(place) = syntax::span(name.span) else { return Ok(()) };
    // Places inside the hint would count from its own beginning: point at the comment instead.
    let here = |e: Error| {
        let moved = Error::user(format!("The hint cannot be read. {}", e.message()));
        moved.with_hint(e.hint().unwrap_or_default()).at(syntax::span(comment.span))
    };
    let dialect = FlinkDialect::new();
    let first = hint.trim_start().get(.."OPTIONS".len()).unwrap_or_default();
    if !first.eq_ignore_ascii_case("OPTIONS") {
        // Flink takes hints of queries here too, and they say nothing.
        return super::hints::check(hint).map_err(|e| e.at(syntax::span(comment.span)));
    }
    let mut p = Parser::new(&dialect).with_tokens_with_locations(tokenize(hint).map_err(here)?);
    loop {
        let (kind, _) = syntax::identifier(&mut p, "a hint such as OPTIONS(…)").map_err(here)?;
        if !kind.eq_ignore_ascii_case("OPTIONS") {
            return Err(Error::unsupported(
                format!("The hint {} after OPTIONS", shorten(&kind.to_uppercase())),
                "Write other hints after SELECT.",
            )
            .at(syntax::span(comment.span)));
        }
        let (options, _) = syntax::options(&mut p).map_err(here)?;
        hints.entry(place.start).or_default().extend(options);
        if !syntax::take(&mut p, &Token::Comma) {
            return super::parser::expect_end(&p).map_err(here);
        }
    }
}

/// `SUBSET u = (A, B)` of MATCH_RECOGNIZE.
fn refuse_subset(tokens: &[TokenWithSpan]) -> Result<()> {
    let significant: Vec<&TokenWithSpan> =
        tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).collect();
    let subset = significant.windows(4).find(|w| {
        is_word(w[0], "SUBSET")
            && matches!(w[1].token, Token::Word(_))
            && w[2].token == Token::Eq
            && w[3].token == Token::LParen
    });
    match subset {
        None => Ok(()),
        Some(found) => Err(Error::unsupported(
            "SUBSET in MATCH_RECOGNIZE",
            "Name columns without a variable for all rows of the match, or write out each variable.",
        )
        .at(syntax::span(found[0].span))),
    }
}

/// `AFTER MATCH SKIP TO a` of MATCH_RECOGNIZE is `SKIP TO LAST a`.
fn skip_to_last(tokens: &mut Vec<TokenWithSpan>) {
    let places: Vec<usize> =
        (0..tokens.len()).filter(|i| !matches!(tokens[*i].token, Token::Whitespace(_))).collect();
    let words = ["AFTER", "MATCH", "SKIP", "TO"];
    let after = |window: &&[usize]| {
        window.iter().zip(words).all(|(at, word)| is_word(&tokens[*at], word))
            && !["NEXT", "FIRST", "LAST"].iter().any(|word| is_word(&tokens[window[4]], word))
            && matches!(tokens[window[4]].token, Token::Word(_))
    };
    let found: Vec<usize> = places.windows(5).filter(after).map(|window| window[4]).collect();
    for at in found.into_iter().rev() {
        let span = tokens[at].span;
        let space = TokenWithSpan { token: Token::Whitespace(Whitespace::Space), span };
        tokens.splice(at..at, [TokenWithSpan { token: Token::make_word("LAST", None), span }, space]);
    }
}

/// `(SELECT …) MATCH_RECOGNIZE (…)` becomes `__SUBQUERY((SELECT …)) MATCH_RECOGNIZE (…)`: sqlparser reads it behind names
/// only. The AST pass takes the name away again.
fn wrap_subqueries(tokens: &mut Vec<TokenWithSpan>) {
    let before = |tokens: &[TokenWithSpan], at: usize| {
        (0..at).rev().find(|i| !matches!(tokens[*i].token, Token::Whitespace(_)))
    };
    let mut at = tokens.len();
    while let Some(found) = (0..at).rev().find(|i| is_word(&tokens[*i], "MATCH_RECOGNIZE")) {
        at = found;
        let Some(close) = before(tokens, found).filter(|i| tokens[*i].token == Token::RParen) else {
            continue;
        };
        let mut depth = 0_usize;
        let open = (0..=close).rev().find(|i| {
            match tokens[*i].token {
                Token::RParen => depth += 1,
                Token::LParen => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0
        });
        let Some(open) = open else { continue };
        let first = (open + 1..close).find(|i| !matches!(tokens[*i].token, Token::Whitespace(_)));
        if !first.is_some_and(|i| ["SELECT", "WITH"].iter().any(|word| is_word(&tokens[i], word))) {
            continue;
        }
        let (opens, closes) = (tokens[open].span, tokens[close].span);
        tokens.insert(close + 1, TokenWithSpan { token: Token::RParen, span: closes });
        tokens.insert(open, TokenWithSpan { token: Token::LParen, span: opens });
        tokens.insert(open, TokenWithSpan { token: Token::make_word(SUBQUERY, None), span: opens });
    }
}

/// `PATTERN (…) WITHIN interval DEFINE` of MATCH_RECOGNIZE becomes `PATTERN (…) DEFINE __WITHIN AS interval,`,
/// which sqlparser can read.
fn move_within(tokens: &mut Vec<TokenWithSpan>) {
    let mut from = 0;
    while let Some(within) = (from..tokens.len()).find(|i| is_word(&tokens[*i], "WITHIN")) {
        from = within + 1;
        let next = tokens[from..].iter().find(|t| !matches!(t.token, Token::Whitespace(_)));
        if !next.is_some_and(|t| is_word(t, "INTERVAL")) {
            continue;
        }
        let Some(define) = (from..tokens.len()).find(|i| is_word(&tokens[*i], "DEFINE")) else { return };
        let interval: Vec<_> = tokens[from..define].to_vec();
        let place = tokens[within].span;
        let word = |w: &str| TokenWithSpan { token: Token::make_word(w, None), span: place };
        let space = || TokenWithSpan { token: Token::Whitespace(Whitespace::Space), span: place };
        let mut moved = vec![tokens[define].clone(), space(), word("__WITHIN"), space(), word("AS")];
        moved.extend(interval);
        moved.push(TokenWithSpan { token: Token::Comma, span: place });
        from = within + moved.len();
        tokens.splice(within..=define, moved);
    }
}
