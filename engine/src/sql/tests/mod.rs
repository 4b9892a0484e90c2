//! Tests of the room as a whole: text in, statement or sentence out.

mod create_table;
mod desugaring;
mod errors;
mod guide;
mod robustness;
mod splitting;
mod statements;

use super::{Piece, Statement, parse, split};
use crate::error::{Error, Result};

/// The only statement of a text.
pub(super) fn piece(text: &str) -> Piece {
    let mut pieces = split(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    assert_eq!(pieces.len(), 1, "{text}");
    pieces.remove(0)
}

/// Parses the only statement of a text.
pub(super) fn statement(text: &str) -> Result<Statement> {
    parse(&piece(text))
}

/// Parses what must parse.
pub(super) fn ok(text: &str) -> Statement {
    statement(text).unwrap_or_else(|e| panic!("{text}\n{}", show(&e)))
}

/// The error of what must not parse, as `line:column-line:column message | hint`.
pub(super) fn refusal(text: &str) -> String {
    let error =
        split(text).and_then(|pieces| pieces.iter().map(parse).collect::<Result<Vec<_>>>()).expect_err(text);
    show(&error)
}

pub(super) fn show(error: &Error) -> String {
    let place = error.span().map_or("?".to_owned(), |s| {
        format!("{}:{}-{}:{}", s.start.line, s.start.column, s.end.line, s.end.column)
    });
    match error.hint() {
        Some(hint) => format!("{place} {} | {hint}", error.message()),
        None => format!("{place} {}", error.message()),
    }
}

/// All examples, for what must hold for any text.
pub(super) fn all_examples() -> impl Iterator<Item = &'static str> {
    guide::TEXTS.iter().chain(statements::QUERIES).copied()
}
