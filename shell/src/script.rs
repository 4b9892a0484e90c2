//! Scripts and `-e`: statements in order, stopped at the first error.

use crate::execute;
use crate::paragraph;
use crate::render;
use crate::wiring::Process;
use engine::{Error, sql};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Why a run ended badly.
#[derive(Debug)]
pub enum Failed {
    /// The user has been told.
    Shown,
    /// The user is still to be told.
    Error(Error),
}

impl From<Error> for Failed {
    fn from(e: Error) -> Self {
        Self::Error(e)
    }
}

/// Runs scripts one after the other in one session.
pub fn run_files(process: &mut Process, files: &[PathBuf]) -> Result<(), Failed> {
    for file in files {
        let text = read(file)?;
        run_text(process, &file.display().to_string(), &text)?;
        if process.interrupt.is_asked() {
            break;
        }
    }
    Ok(())
}

/// A script's text.
pub fn read(file: &Path) -> Result<String, Failed> {
    let bytes = std::fs::read(file).map_err(|e| {
        Error::user(format!("{} cannot be read: {e}.", file.display())).with_hint("Check the path.")
    })?;
    String::from_utf8(bytes).map_err(|e| {
        let line = e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        Failed::Error(
            Error::user(format!("{} is not UTF-8 (line {line}).", file.display()))
                .with_hint("Save the script as UTF-8."),
        )
    })
}

/// Runs the statements of one text. `origin` names it in errors.
pub fn run_text(process: &mut Process, origin: &str, text: &str) -> Result<(), Failed> {
    let text = substitute(text, &process.variables);
    let shown = |e: Error| {
        render::error::print(&e, Some(render::error::Source { origin, text: &text }));
        Failed::Shown
    };
    for paragraph in paragraph::paragraphs(&text).map_err(shown)? {
        process.interrupt.reset();
        if paragraph.is_skipped() {
            continue;
        }
        for piece in sql::split(&paragraph.sql).map_err(shown)? {
            let outcome = execute::statement(process, &piece, &paragraph.properties, false).map_err(shown)?;
            if outcome == execute::Ended::Interrupted {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Puts the values of `-D` in place of `${name}`; other `${…}` stay.
pub fn substitute(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let value = rest.find('}').and_then(|end| Some((end, variables.get(rest[2..end].trim())?)));
        match value {
            Some((end, value)) => {
                out.push_str(value);
                rest = &rest[end + 1..];
            }
            None => {
                out.push_str("${");
                rest = &rest[2..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_put_in_and_unknown_ones_stay() {
        let variables = BTreeMap::from([("a".to_string(), "1".to_string()), ("b.c".into(), "x".into())]);
        assert_eq!(substitute("${a} ${ b.c } ${d} ${", &variables), "1 x ${d} ${");
    }
}
