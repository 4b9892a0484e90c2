//! Errors for people: the sentence, a caret under the SQL, and what would work.

use engine::Error;
use std::fmt::Write;

/// The text in which an error's place lies, and what to call it.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// A file's name, or `-e`; empty in the shell.
    pub origin: &'a str,
    /// The whole text.
    pub text: &'a str,
}

/// Prints an error to standard error.
pub fn print(error: &Error, source: Option<Source<'_>>) {
    eprint!("{}", text(error, source));
}

/// An error's text: several lines, each ended.
pub fn text(error: &Error, source: Option<Source<'_>>) -> String {
    let mut out = format!("error: {}\n", error.message());
    if let (Some(span), Some(source)) = (error.span(), source) {
        let number = span.start.line as usize;
        let column = span.start.column.max(1) as usize;
        if !source.origin.is_empty() {
            let _ = writeln!(out, "  --> {}:{number}:{column}", source.origin);
        }
        if let Some(line) = source.text.lines().nth(number.saturating_sub(1)) {
            let margin = number.to_string().len();
            let marks = if span.end.line == span.start.line {
                (span.end.column.saturating_sub(span.start.column) as usize).max(1)
            } else {
                line.chars().count().saturating_sub(column - 1).max(1)
            };
            // Tabs stay tabs, so that the caret stands where the terminal puts them.
            let lead: String =
                line.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            let marks = "^".repeat(marks.min(line.chars().count().saturating_sub(column - 1).max(1)));
            let _ = writeln!(out, "{:margin$} |", "");
            let _ = writeln!(out, "{number} | {line}");
            let _ = writeln!(out, "{:margin$} | {lead}{marks}", "");
        }
    }
    if let Some(hint) = error.hint() {
        let _ = writeln!(out, "hint: {hint}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::error::{Location, Span};

    #[test]
    fn a_caret_stands_under_the_place() {
        let at = |l, c| Location { line: l, column: c };
        let error = Error::user("There is no column `b`.")
            .with_hint("Did you mean `a`?")
            .at(Span { start: at(2, 3), end: at(2, 5) });
        let source = Source { origin: "x.sql", text: "SELECT\n\té bc\n" };
        assert_eq!(
            text(&error, Some(source)),
            "error: There is no column `b`.\n  --> x.sql:2:3\n  |\n2 | \té bc\n  | \t ^^\nhint: Did you mean `a`?\n"
        );
    }
}
