//! Java's regular expressions as the `regex` crate wants them, compiled once a thread.

use super::scalar::{carry, user};
use crate::error::Error;
use datafusion_common::Result;
use regex::{Regex, RegexBuilder};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Bytes that a compiled pattern may take.
const MAX_COMPILED_BYTES: usize = 8 << 20;
/// Patterns that a thread keeps compiled.
const MAX_PATTERNS: usize = 256;

/// Compiles a pattern in the `regex` crate's own syntax.
pub(super) fn build(pattern: &str) -> Result<Regex> {
    match RegexBuilder::new(pattern).size_limit(MAX_COMPILED_BYTES).build() {
        Ok(r) => Ok(r),
        Err(e) => user(format!("The pattern cannot be compiled: {e}")),
    }
}

thread_local! {
    /// Patterns that expressions on this thread have used: compiling one costs as much as a batch of rows.
    static COMPILED: RefCell<HashMap<String, Option<Rc<Regex>>>> = RefCell::default();
}

/// Java patterns of one argument, compiled when first met. A pattern that Java refuses too is `None`.
#[derive(Default)]
pub(super) struct Patterns {
    last: Option<(String, Option<Rc<Regex>>)>,
}

impl Patterns {
    /// The pattern, or `None` if it is no pattern at all; a feature that only Java has is an error.
    pub fn get(&mut self, java: &str) -> Result<Option<&Regex>> {
        Ok(self.get_told(java)?.0)
    }

    /// The same, and whether it is another one than before.
    pub fn get_told(&mut self, java: &str) -> Result<(Option<&Regex>, bool)> {
        let is_new = self.last.as_ref().is_none_or(|(text, _)| text != java);
        if is_new {
            self.last = Some((java.to_string(), compiled(java)?));
        }
        Ok((self.last.as_ref().and_then(|(_, regex)| regex.as_deref()), is_new))
    }
}

fn compiled(java: &str) -> Result<Option<Rc<Regex>>> {
    COMPILED.with_borrow_mut(|known| {
        if let Some(regex) = known.get(java) {
            return Ok(regex.clone());
        }
        if known.len() >= MAX_PATTERNS {
            known.clear();
        }
        let regex = compile(java)?.map(Rc::new);
        known.insert(java.to_string(), regex.clone());
        Ok(regex)
    })
}

fn compile(java: &str) -> Result<Option<Regex>> {
    if let Some(what) = only_java(java) {
        return Err(carry(Error::unsupported(
            format!("{what} in the regular expression '{java}'"),
            "Rewrite the pattern without it: take a group out with REGEXP_EXTRACT, or test in two steps.",
        )));
    }
    Ok(RegexBuilder::new(&translate(java)).size_limit(MAX_COMPILED_BYTES).build().ok())
}

/// What the pattern uses that no linear-time engine has.
fn only_java(java: &str) -> Option<&'static str> {
    let mut chars = java.char_indices().peekable();
    let mut in_class = false;
    while let Some((i, c)) = chars.next() {
        let rest = &java[i..];
        match c {
            '\\' => match chars.next() {
                Some((_, '1'..='9' | 'k')) if !in_class => return Some("A back reference"),
                Some((_, 'p' | 'P')) if chars.peek().is_some_and(|(_, n)| *n == '{') => {
                    chars.by_ref().find(|(_, n)| *n == '}');
                }
                Some((_, 'Q')) => {
                    let end = rest.find("\\E").map_or(java.len(), |e| i + e + 2);
                    while chars.next_if(|(at, _)| *at < end).is_some() {}
                }
                _ => {}
            },
            '[' => in_class = true,
            ']' => in_class = false,
            '(' if !in_class => {
                if ["(?=", "(?!", "(?<=", "(?<!"].iter().any(|p| rest.starts_with(p)) {
                    return Some("Look-around");
                }
                if rest.starts_with("(?>") {
                    return Some("An atomic group");
                }
            }
            '*' | '+' | '?' | '}' if !in_class && chars.peek().is_some_and(|(_, n)| *n == '+') => {
                return Some("A possessive quantifier");
            }
            _ => {}
        }
    }
    None
}

/// Java's classes are ASCII, and its dot stops at more line ends.
fn translate(java: &str) -> String {
    let mut out = String::with_capacity(java.len() + 16);
    let mut chars = java.chars().peekable();
    let mut depth = 0_usize;
    // Whether a dot matches all, in each open group.
    let mut dot_all = vec![false];
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('d') => out.push_str("[0-9]"),
                Some('D') => out.push_str("[^0-9]"),
                Some('w') => out.push_str("[A-Za-z0-9_]"),
                Some('W') => out.push_str("[^A-Za-z0-9_]"),
                Some('s') => out.push_str("[ \\t\\n\\x0B\\f\\r]"),
                Some('S') => out.push_str("[^ \\t\\n\\x0B\\f\\r]"),
                Some('h') => out.push_str("[ \\t]"),
                Some('Z') => out.push_str("\\z"),
                Some('R') => out.push_str("(?:\\r\\n|[\\n\\x0B\\f\\r\\x{85}\\x{2028}\\x{2029}])"),
                Some('e') => out.push_str("\\x1B"),
                Some('Q') => {
                    let mut quoted = String::new();
                    while let Some(q) = chars.next() {
                        if q == '\\' && chars.peek() == Some(&'E') {
                            chars.next();
                            break;
                        }
                        quoted.push(q);
                    }
                    out.push_str(&regex::escape(&quoted));
                }
                Some('p') | Some('P') if chars.peek() == Some(&'{') => {
                    let name: String = chars.by_ref().skip(1).take_while(|c| *c != '}').collect();
                    out.push_str(&posix(&name));
                }
                // Java lets any sign be escaped; the crate refuses escaped letters that mean nothing, as Java.
                Some(n) if n.is_ascii_alphanumeric() => {
                    out.push('\\');
                    out.push(n);
                }
                Some(n) => out.push_str(&regex::escape(n.encode_utf8(&mut [0; 4]))),
                None => out.push('\\'),
            },
            '[' => {
                depth += 1;
                out.push('[');
                // Java has no names of classes in `[: :]`.
                if depth > 1 && chars.next_if_eq(&':').is_some() {
                    out.push_str("\\:");
                }
            }
            '(' if depth == 0 => {
                out.push('(');
                dot_all.push(dot_all.last().copied().unwrap_or(false));
                if let Some(flags) = flags(chars.clone())
                    && let Some(dots) = flags.dots
                {
                    // `(?s)` holds for the rest of the group around it.
                    let group = dot_all.len() - if flags.group { 1 } else { 2 };
                    dot_all[group] = dots;
                }
            }
            ')' if depth == 0 => {
                if dot_all.len() > 1 {
                    dot_all.pop();
                }
                out.push(')');
            }
            ']' => {
                depth = depth.saturating_sub(1);
                out.push(']');
            }
            '.' if depth == 0 && dot_all.last() == Some(&true) => out.push_str("(?s:.)"),
            '.' if depth == 0 => out.push_str("[^\\n\\r\\x{85}\\x{2028}\\x{2029}]"),
            c => out.push(c),
        }
    }
    out
}

/// What `(?flags)` or `(?flags:` says.
struct Flags {
    /// Whether it begins a group.
    group: bool,
    /// Whether a dot matches all from here, if it says so.
    dots: Option<bool>,
}

fn flags(mut rest: impl Iterator<Item = char>) -> Option<Flags> {
    if rest.next() != Some('?') {
        return None;
    }
    let (mut on, mut dots) = (true, None);
    for c in rest {
        match c {
            ')' | ':' => return Some(Flags { group: c == ':', dots }),
            '-' => on = false,
            's' => dots = Some(on),
            c if c.is_ascii_alphabetic() => {}
            _ => return None,
        }
    }
    None
}

fn posix(name: &str) -> String {
    match name {
        "Alpha" => "[A-Za-z]".into(),
        "Digit" => "[0-9]".into(),
        "Alnum" => "[A-Za-z0-9]".into(),
        "Upper" => "[A-Z]".into(),
        "Lower" => "[a-z]".into(),
        "Space" => "[ \\t\\n\\x0B\\f\\r]".into(),
        "Punct" => "[!-/:-@\\[-`{-~]".into(),
        "XDigit" => "[0-9A-Fa-f]".into(),
        other => format!("\\p{{{}}}", other.strip_prefix("Is").unwrap_or(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_java_matches() {
        for (text, pattern, want) in [
            ("日本1", "\\p{L}+", Some("日本")),
            ("ab12", "[[:alpha:]]", Some("a")),
            ("xb", "[[:alpha:]]", None),
            ("a\nb", "a.b", None),
            ("a\nb", "(?s)a.b", Some("a\nb")),
            ("a\nb", "(?s:a.)b", Some("a\nb")),
            ("a\nb\nc", "(?s:a.)b.c", None),
            ("1+1", "\\Q1+1\\E", Some("1+1")),
        ] {
            let mut patterns = Patterns::default();
            let regex = patterns.get(pattern).unwrap().unwrap();
            assert_eq!(regex.find(text).map(|m| m.as_str()), want, "{pattern}");
        }
        for wrong in ["[", "(", "*", "a{1"] {
            assert!(Patterns::default().get(wrong).unwrap().is_none(), "{wrong}");
        }
    }
}
