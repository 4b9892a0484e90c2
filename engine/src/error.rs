//! The one error of the engine: a sentence, whose fault it is, where in the SQL, and a way out.

use std::fmt;

/// Result of a call into the engine.
pub type Result<T> = std::result::Result<T, Error>;

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The statement, its options or its data: the user can change it.
    User,
    /// A broker, a file system, a network: something outside this process.
    External,
    /// A bug of ours.
    Internal,
}

/// A place in a SQL text, both counted from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// Line, from 1.
    pub line: u32,
    /// Character in the line, from 1.
    pub column: u32,
}

/// A stretch of a SQL text; `end` is the first character after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// First character.
    pub start: Location,
    /// One past the last character.
    pub end: Location,
}

/// What went wrong. `Display` prints the message alone; the shell adds caret and hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(Box<Parts>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parts {
    kind: ErrorKind,
    message: String,
    span: Option<Span>,
    hint: Option<String>,
    retry: bool,
}

impl Error {
    fn new(kind: ErrorKind, message: impl Into<String>, retry: bool) -> Self {
        Self(Box::new(Parts { kind, message: message.into(), span: None, hint: None, retry }))
    }

    /// The user's SQL, option or data is wrong. `message` is a sentence that says what.
    pub fn user(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::User, message, false)
    }

    /// A feature that Runnel does not have (yet); `what` names it, `instead` says what to write.
    pub fn unsupported(what: impl fmt::Display, instead: impl Into<String>) -> Self {
        Self::user(format!("{what} is not supported yet.")).with_hint(instead)
    }

    /// Something outside the process failed; a retry may help.
    pub fn external(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::External, message, true)
    }

    /// A bug: something that cannot happen did.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message, false)
    }

    /// The same error, at `span` of the SQL text; a place already known is kept.
    #[must_use]
    pub fn at(mut self, span: impl Into<Option<Span>>) -> Self {
        if self.0.span.is_none() {
            self.0.span = span.into();
        }
        self
    }

    /// The same error without a place: the text that it points into is not the one that the user sees.
    #[must_use]
    pub fn without_span(mut self) -> Self {
        self.0.span = None;
        self
    }

    /// The same error with the nearest thing that would work.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        self.0.hint = (!hint.is_empty()).then_some(hint);
        self
    }

    /// The same error, marked as one that a retry cannot mend.
    #[must_use]
    pub fn permanent(mut self) -> Self {
        self.0.retry = false;
        self
    }

    /// The same error with `prefix` (for example an operator's name) before its message.
    #[must_use]
    pub fn within(mut self, prefix: impl fmt::Display) -> Self {
        self.0.message = format!("{prefix}: {}", self.0.message);
        self
    }

    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What is wrong, in a sentence.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Where in the SQL text, if known.
    pub fn span(&self) -> Option<Span> {
        self.0.span
    }

    /// What would work, if known.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Whether trying again may help.
    pub fn retry(&self) -> bool {
        self.0.retry
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {}

impl From<catalog::CatalogError> for Error {
    fn from(e: catalog::CatalogError) -> Self {
        match e {
            catalog::CatalogError::Storage(_) => Self::external(e.to_string()),
            _ => Self::user(e.to_string()),
        }
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(e: arrow::error::ArrowError) -> Self {
        use arrow::error::ArrowError as A;
        match e {
            A::DivideByZero => Self::user("Division by zero."),
            A::CastError(m) | A::ParseError(m) | A::ComputeError(m) | A::ArithmeticOverflow(m) => {
                Self::user(m)
            }
            other => Self::internal(other.to_string()),
        }
    }
}

/// The name in `candidates` that `word` most likely meant, for "did you mean" hints.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    candidates
        .into_iter()
        .map(|c| (strsim::damerau_levenshtein(&lower, &c.to_lowercase()), c))
        .min()
        .filter(|(distance, c)| *distance <= 1 + word.chars().count().min(c.chars().count()) / 4)
        .map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_typos_only() {
        let names = ["scan.startup.mode", "topic", "format"];
        assert_eq!(nearest("scan.startup.moed", names), Some("scan.startup.mode"));
        assert_eq!(nearest("Topic", names), Some("topic"));
        assert_eq!(nearest("fmat", names), Some("format"));
        assert_eq!(nearest("parallelism", names), None);
    }
}
