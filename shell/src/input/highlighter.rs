//! Colours for SQL: keywords, literals, comments, quoted names.

use engine::sql;

const KEYWORD: &str = "\x1b[1;34m";
const LITERAL: &str = "\x1b[32m";
const COMMENT: &str = "\x1b[2m";
const QUOTED: &str = "\x1b[36m";
const RESET: &str = "\x1b[0m";

/// `line` with colours. Its visible text is unchanged.
pub fn highlight(line: &str) -> String {
    let mut out = String::with_capacity(line.len() + 32);
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let (length, colour) = match c {
            '\'' => (quoted(rest, '\''), Some(LITERAL)),
            '`' => (quoted(rest, '`'), Some(QUOTED)),
            '-' if rest.starts_with("--") => (rest.find('\n').unwrap_or(rest.len()), Some(COMMENT)),
            '/' if rest.starts_with("/*") => (rest.find("*/").map_or(rest.len(), |e| e + 2), Some(COMMENT)),
            c if c.is_alphabetic() || c == '_' => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                let word = &rest[..end];
                let is_keyword = sql::KEYWORDS.iter().any(|k| k.eq_ignore_ascii_case(word));
                (end, is_keyword.then_some(KEYWORD))
            }
            c if c.is_ascii_digit() => {
                (rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len()), None)
            }
            c => (c.len_utf8(), None),
        };
        let (text, after) = rest.split_at(length);
        match colour {
            Some(colour) => {
                out.push_str(colour);
                out.push_str(text);
                out.push_str(RESET);
            }
            None => out.push_str(text),
        }
        rest = after;
    }
    out
}

/// A hint's look.
pub fn dim(text: &str) -> String {
    format!("{COMMENT}{text}{RESET}")
}

/// Length of the quoted text at the start; all of it if it is never closed.
fn quoted(text: &str, quote: char) -> usize {
    text[1..].find(quote).map_or(text.len(), |end| end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visible_text_is_unchanged() {
        let line = "SELECT `é`, 'it''s', 1.5e3 -- c\nFROM t /* x";
        let plain = [KEYWORD, LITERAL, COMMENT, QUOTED, RESET]
            .iter()
            .fold(highlight(line), |text, code| text.replace(code, ""));
        assert_eq!(plain, line);
        assert!(highlight(line).starts_with(&format!("{KEYWORD}SELECT{RESET}")));
    }
}
