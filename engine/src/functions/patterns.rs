//! LIKE and SIMILAR TO, and `||`.

use super::field::Length;
use super::regexes;
use super::scalar::{Binding, Call, Function, Kind, check_size, result, user};
use arrow::array::*;
use arrow::datatypes::*;
use datafusion_common::Result;
use regex::Regex;
use std::borrow::Cow;
use std::collections::HashMap;

const PATTERN: &[Kind] = &[Kind::Text, Kind::Text, Kind::Text];
const TEXT: Kind = Kind::TextOrBytes;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("like ", PATTERN, result::boolean, like).optional(1),
    Function::new("similar ", PATTERN, result::boolean, similar).optional(1),
    Function::new("||", &[TEXT, TEXT], concat_type, concat),
];

/// Patterns that one batch keeps compiled, where they differ from row to row.
const MAX_PATTERNS: usize = 256;

fn matches(call: &Call<'_>, compile: fn(&str, Option<char>) -> Result<Matcher>) -> Result<ArrayRef> {
    let (text, pattern) = (call.text(0)?, call.text(1)?);
    let escape = if call.len() > 2 { Some(call.text(2)?) } else { None };
    let mut known: HashMap<(String, Option<char>), Matcher> = HashMap::new();
    call.booleans(|row| {
        let (Some(t), Some(p)) = (text.get(row), pattern.get(row)) else { return Ok(None) };
        let e = match &escape {
            None => None,
            Some(e) => match e.get(row) {
                None => return Ok(None),
                Some(e) => {
                    let mut chars = e.chars();
                    match (chars.next(), chars.next()) {
                        (Some(c), None) => Some(c),
                        _ => return user(format!("The ESCAPE of LIKE must be one character, not '{e}'.")),
                    }
                }
            },
        };
        if pattern.constant().is_some()
            && let Some(m) = known.values().next()
        {
            return Ok(Some(m.is_match(t)));
        }
        let key = (p.to_string(), e);
        if let Some(m) = known.get(&key) {
            return Ok(Some(m.is_match(t)));
        }
        let m = compile(p, e)?;
        let hit = m.is_match(t);
        if known.len() >= MAX_PATTERNS {
            known.clear();
        }
        known.insert(key, m);
        Ok(Some(hit))
    })
}

/// A compiled pattern. The usual shapes of LIKE need no regular expression.
enum Matcher {
    Equal(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    Regex(Regex),
}

impl Matcher {
    fn is_match(&self, t: &str) -> bool {
        match self {
            Self::Equal(p) => t == p,
            Self::Prefix(p) => t.starts_with(p.as_str()),
            Self::Suffix(p) => t.ends_with(p.as_str()),
            Self::Contains(p) => t.contains(p.as_str()),
            Self::Regex(r) => r.is_match(t),
        }
    }
}

fn like(call: &Call<'_>) -> Result<ArrayRef> {
    matches(call, |pattern, escape| {
        if escape.is_none() && !pattern.contains('_') {
            let inner = pattern.trim_matches('%');
            let (before, after) = (pattern.starts_with('%'), pattern.ends_with('%'));
            if !inner.contains('%') {
                let inner = inner.to_string();
                return Ok(match (before, after) {
                    _ if pattern.is_empty() => Matcher::Equal(inner),
                    (false, false) => Matcher::Equal(inner),
                    (false, true) => Matcher::Prefix(inner),
                    (true, false) => Matcher::Suffix(inner),
                    (true, true) => Matcher::Contains(inner),
                });
            }
        }
        let mut out = String::from("(?s)^");
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            match c {
                c if Some(c) == escape => match chars.next() {
                    Some(n) if n == '%' || n == '_' || Some(n) == escape => push_literal(&mut out, n),
                    _ => {
                        return user(format!(
                            "In the LIKE pattern '{pattern}' the escape character stands before neither %, _ nor itself."
                        ));
                    }
                },
                '%' => out.push_str(".*"),
                // As in Java, one character other than the ends of lines.
                '_' => out.push_str(r"[^\n\r\u{85}\u{2028}\u{2029}]"),
                c => push_literal(&mut out, c),
            }
        }
        out.push('$');
        Ok(Matcher::Regex(regexes::build(&out)?))
    })
}

fn push_literal(out: &mut String, c: char) {
    out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
}

fn similar(call: &Call<'_>) -> Result<ArrayRef> {
    matches(call, |pattern, escape| Ok(Matcher::Regex(regexes::build(&similar_to_regex(pattern, escape)?)?)))
}

const CLASSES: &[(&str, &str)] = &[
    ("[:ALPHA:]", "A-Za-z"),
    ("[:UPPER:]", "A-Z"),
    ("[:LOWER:]", "a-z"),
    ("[:DIGIT:]", "0-9"),
    ("[:SPACE:]", " "),
    ("[:WHITESPACE:]", " \\t\\n\\r\\x0B\\x0C"),
    ("[:ALNUM:]", "A-Za-z0-9"),
];

fn similar_to_regex(pattern: &str, escape: Option<char>) -> Result<String> {
    let mut out = String::from("(?s)^(?:");
    let mut rest = pattern;
    let mut in_class = false;
    while let Some(c) = rest.chars().next() {
        if in_class
            && let Some((name, chars)) =
                CLASSES.iter().find(|(n, _)| rest.get(..n.len()).is_some_and(|r| r.eq_ignore_ascii_case(n)))
        {
            out.push_str(chars);
            rest = &rest[name.len()..];
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match c {
            c if Some(c) == escape => {
                let Some(n) = rest.chars().next() else {
                    return user(format!(
                        "The SIMILAR TO pattern '{pattern}' ends with its escape character."
                    ));
                };
                rest = &rest[n.len_utf8()..];
                push_literal(&mut out, n);
            }
            '[' if !in_class => {
                in_class = true;
                out.push('[');
            }
            ']' => {
                in_class = false;
                out.push(']');
            }
            '%' if !in_class => out.push_str(".*"),
            '_' if !in_class => out.push('.'),
            // As in Flink, a dot is any character, and `^` the text's begin.
            '|' | '*' | '+' | '?' | '{' | '}' | '(' | ')' | '.' | '^' => out.push(c),
            '-' if in_class => out.push(c),
            c => push_literal(&mut out, c),
        }
    }
    out.push_str(")$");
    Ok(out)
}

/// CHAR and VARCHAR lengths add up.
fn concat_type(b: &Binding<'_>) -> Result<Field> {
    let bytes = |i: usize| matches!(b.data_type(i), DataType::Binary);
    if bytes(0) || bytes(1) {
        if !(bytes(0) && bytes(1)) {
            return b.refuse("cast one of them, for example CAST(x AS STRING).");
        }
        return result::bytes(b);
    }
    let length = match (b.text_length(0), b.text_length(1)) {
        (Length::Exactly(x), Length::Exactly(y)) => Length::Exactly(x.saturating_add(y)),
        (Length::Exactly(x) | Length::AtMost(x), Length::Exactly(y) | Length::AtMost(y)) => {
            Length::AtMost(x.saturating_add(y))
        }
        _ => Length::Unlimited,
    };
    Ok(b.text(length, b.nullable()))
}

fn concat(call: &Call<'_>) -> Result<ArrayRef> {
    if matches!(call.field.data_type(), DataType::Binary) {
        let (a, b) = (call.bytes(0)?, call.bytes(1)?);
        let mut out = BinaryBuilder::new();
        for row in 0..call.rows {
            match (a.get(row), b.get(row)) {
                (Some(a), Some(b)) => {
                    check_size(a.len() + b.len(), "||")?;
                    out.append_value(Cow::from([a, b].concat()));
                }
                _ => out.append_null(),
            }
        }
        return Ok(std::sync::Arc::new(out.finish()));
    }
    let (a, b) = (call.text(0)?, call.text(1)?);
    call.texts(|row, out| {
        let (Some(a), Some(b)) = (a.get(row), b.get(row)) else { return Ok(false) };
        check_size(a.len() + b.len(), "||")?;
        out.push_str(a);
        out.push_str(b);
        Ok(true)
    })
}
