//! Hints: the rest of the latest history entry that begins like the line.

use rustyline::Context;
use rustyline::history::SearchDirection;

/// The rest of a former input, shown dim; → takes it.
pub fn hint(line: &str, pos: usize, context: &Context<'_>) -> Option<String> {
    if line.trim().is_empty() || pos < line.len() {
        return None;
    }
    let history = context.history();
    let start = history.len().checked_sub(1)?;
    let found = history.starts_with(line, start, SearchDirection::Reverse).ok()??;
    let rest = found.entry.get(line.len()..)?;
    let first = rest.lines().next()?;
    (!first.is_empty()).then(|| first.to_string())
}
