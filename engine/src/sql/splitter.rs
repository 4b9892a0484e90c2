//! Cuts a text at `;` outside quotes, comments and statement sets; also tells the shell whether a statement
//! is finished.

use super::syntax::is_word;
use super::tokens;
use crate::error::{Location, Result, Span};
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan, Whitespace};

/// One statement of a text, cut but not parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// As written, from its first to its last token, without the closing `;`.
    pub text: String,
    /// Its tokens; spans are places in the whole text.
    pub tokens: Vec<TokenWithSpan>,
    /// Its place in the whole text.
    pub span: Span,
    /// Whether a `;` closed it.
    pub terminated: bool,
}

/// Cuts `text` into statements. Empty ones are left out.
///
/// Errors: a literal, quoted name or comment that is never closed (the shell takes this as "go on typing",
/// see [`is_finished`]).
pub fn split(text: &str) -> Result<Vec<Piece>> {
    Ok(cut(text, tokens::tokenize(text)?))
}

/// Whether the text ends with a finished statement (its `;` has come), so that the shell may execute it.
/// Also true where typing more cannot help.
pub fn is_finished(text: &str) -> bool {
    let (tokens, error) = tokens::tokenize_as_far_as_possible(text);
    match error {
        Some(e) => !tokens::is_unclosed(&e),
        None => cut(text, tokens).last().is_some_and(|piece| piece.terminated),
    }
}

fn cut(text: &str, tokens: Vec<TokenWithSpan>) -> Vec<Piece> {
    let mut cursor = Cursor { text, at: Location { line: 1, column: 1 }, offset: 0 };
    let mut pieces = Vec::new();
    let mut current = Statement::default();
    for token in tokens {
        match token.token {
            Token::SemiColon if !current.is_block_open() => {
                pieces.extend(std::mem::take(&mut current).piece(&mut cursor, true));
            }
            Token::EOF => {}
            _ => current.push(token),
        }
    }
    pieces.extend(current.piece(&mut cursor, false));
    pieces
}

/// A statement as its tokens come in.
#[derive(Default)]
struct Statement {
    tokens: Vec<TokenWithSpan>,
    /// How many tokens there are without white space.
    words: usize,
    block: Block,
}

/// Where we are in a statement set.
#[derive(Default, PartialEq)]
enum Block {
    /// Not in one (yet).
    #[default]
    None,
    /// After `STATEMENT`.
    Statement,
    /// After `STATEMENT SET`.
    Set,
    /// Between its statements, where END closes it.
    Between,
    /// In one of its statements.
    Inside,
    /// After its END.
    Closed,
}

/// The words of `COMPILE AND EXECUTE PLAN 'f' IF NOT EXISTS FOR STATEMENT SET BEGIN`, the longest opening.
const MAX_OPENING_TOKENS: usize = 16;

impl Statement {
    fn push(&mut self, token: TokenWithSpan) {
        if is_blank(&token) {
            // White space and comments before the statement are no part of it.
            if self.words > 0 {
                self.tokens.push(token);
            }
            return;
        }
        if matches!(token.token, Token::Whitespace(_)) {
            self.tokens.push(token);
            return;
        }
        self.words += 1;
        self.block = match std::mem::take(&mut self.block) {
            Block::None if self.words < MAX_OPENING_TOKENS && is_word(&token, "STATEMENT") => {
                Block::Statement
            }
            Block::Statement if is_word(&token, "SET") => Block::Set,
            Block::Set if is_word(&token, "BEGIN") || token.token == Token::SemiColon => Block::Between,
            Block::None | Block::Statement | Block::Set => Block::None,
            Block::Between if token.token == Token::SemiColon => Block::Between,
            Block::Between if is_word(&token, "END") => Block::Closed,
            Block::Between => Block::Inside,
            Block::Inside if token.token == Token::SemiColon => Block::Between,
            Block::Inside => Block::Inside,
            Block::Closed => Block::Closed,
        };
        self.tokens.push(token);
    }

    /// Whether a `;` now belongs to the statement. `BEGIN STATEMENT SET;` is the old form of the opening.
    fn is_block_open(&self) -> bool {
        match self.block {
            Block::Between | Block::Inside => true,
            Block::Set => self.tokens.first().is_some_and(|t| is_word(t, "BEGIN")),
            Block::None | Block::Statement | Block::Closed => false,
        }
    }

    fn piece(mut self, cursor: &mut Cursor<'_>, terminated: bool) -> Option<Piece> {
        while self.tokens.last().is_some_and(is_blank) {
            self.tokens.pop();
        }
        let (first, last) = (self.tokens.first()?, self.tokens.last()?);
        let span =
            Span { start: super::syntax::span(first.span)?.start, end: super::syntax::span(last.span)?.end };
        let text = cursor.between(span.start, span.end).to_owned();
        Some(Piece { text, tokens: self.tokens, span, terminated })
    }
}

/// White space and comments; a hint is neither.
fn is_blank(token: &TokenWithSpan) -> bool {
    match &token.token {
        Token::Whitespace(Whitespace::MultiLineComment(text)) => !text.starts_with('+'),
        Token::Whitespace(_) => true,
        _ => false,
    }
}

/// Finds byte offsets of places, going forward only.
pub(super) struct Cursor<'a> {
    pub text: &'a str,
    /// Place of the character at `offset`.
    pub at: Location,
    pub offset: usize,
}

impl<'a> Cursor<'a> {
    /// The offset of the character at `place`, or of the end of the text.
    pub fn seek(&mut self, place: Location) -> usize {
        for c in self.text[self.offset..].chars() {
            if self.at >= place {
                break;
            }
            self.at = tokens::after(self.at, c);
            self.offset += c.len_utf8();
        }
        self.offset
    }

    /// The text from one place up to another.
    pub fn between(&mut self, start: Location, end: Location) -> &'a str {
        let from = self.seek(start);
        let to = self.seek(end);
        &self.text[from..to]
    }
}
