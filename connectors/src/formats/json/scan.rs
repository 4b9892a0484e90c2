//! The grammar of JSON: a cursor passes values without making anything of them.
//!
//! The grammar is checked everywhere, also in values that nobody reads. Two things are taken as Jackson takes them for
//! Flink: control characters may stand unescaped in strings, and a surrogate may be alone.

use super::cursor::Cursor;
use crate::formats::PADDING_BYTES;

/// Deepest nesting of objects and arrays.
pub(super) const MAX_DEPTH: usize = 128;

/// Why a record cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// Place in the buffer.
    pub at: usize,
    pub kind: FaultKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// It is no JSON: what was expected.
    Syntax(&'static str),
    /// A value does not fit: a sentence.
    Value(String),
}

/// Boxed, for results to be small on the hot path.
pub(super) type Scan<T> = Result<T, Box<Fault>>;

/// A value whose grammar was checked, by place. Strings are without their quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Null,
    True,
    False,
    Number { start: usize, end: usize },
    String { start: usize, end: usize, escaped: bool },
    Object { start: usize, end: usize },
    Array { start: usize, end: usize },
}

impl Cursor<'_> {
    #[cold]
    pub fn fault<T>(&self, expected: &'static str) -> Scan<T> {
        Err(Box::new(Fault { at: self.at(), kind: FaultKind::Syntax(expected) }))
    }

    /// Passes `byte`.
    #[inline(always)]
    pub fn expect(&mut self, byte: u8, expected: &'static str) -> Scan<()> {
        if self.peek() != byte {
            return self.fault(expected);
        }
        self.bump();
        Ok(())
    }

    /// Passes a string, standing on its first quote. Gives the place of its inside and whether escapes are in it.
    #[inline]
    pub fn string(&mut self) -> Scan<(usize, usize, bool)> {
        self.expect(b'"', "a string")?;
        let start = self.at();
        let mut escaped = false;
        loop {
            match self.find_special() {
                b'"' => {
                    self.bump();
                    return Ok((start, self.at() - 1, escaped));
                }
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return self.fault("the closing quote of a string"),
            }
        }
    }

    /// Passes an escape, standing on its backslash.
    #[cold]
    fn escape(&mut self) -> Scan<()> {
        self.bump();
        match self.peek() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.bump(),
            b'u' => {
                self.bump();
                for _ in 0..4 {
                    if !self.peek().is_ascii_hexdigit() {
                        return self.fault("four hexadecimal digits after \\u");
                    }
                    self.bump();
                }
            }
            _ => return self.fault("one of \" \\ / b f n r t u after a backslash"),
        }
        Ok(())
    }

    /// Passes a number, standing on its first character.
    pub fn number(&mut self) -> Scan<()> {
        if self.peek() == b'-' {
            self.bump();
        }
        match self.peek() {
            b'0' => self.bump(),
            b'1'..=b'9' => self.digits(),
            _ => return self.fault("a value"),
        }
        if self.peek().is_ascii_digit() {
            return self.fault("a number without leading zeros");
        }
        if self.peek() == b'.' {
            self.bump();
            if !self.peek().is_ascii_digit() {
                return self.fault("a digit after the decimal point");
            }
            self.digits();
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.bump();
            if matches!(self.peek(), b'+' | b'-') {
                self.bump();
            }
            if !self.peek().is_ascii_digit() {
                return self.fault("a digit in the exponent");
            }
            self.digits();
        }
        match self.peek() {
            b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r' | 0 => Ok(()),
            _ => self.fault("the end of a number"),
        }
    }

    fn digits(&mut self) {
        while self.peek().is_ascii_digit() {
            self.bump();
        }
    }

    /// Passes `null`, `true` or `false`.
    #[inline]
    pub fn whole_word<const N: usize>(&mut self, word: &[u8; N]) -> Scan<()> {
        if !self.word(word) || self.peek().is_ascii_alphanumeric() || self.peek() == b'_' {
            return self.fault("a value");
        }
        Ok(())
    }

    /// Passes any value, standing on its first character.
    pub fn value(&mut self) -> Scan<Token> {
        let start = self.at();
        Ok(match self.peek() {
            b'"' => {
                let (start, end, escaped) = self.string()?;
                Token::String { start, end, escaped }
            }
            b'n' => {
                self.whole_word(b"null")?;
                Token::Null
            }
            b't' => {
                self.whole_word(b"true")?;
                Token::True
            }
            b'f' => {
                self.whole_word(b"false")?;
                Token::False
            }
            b'{' => {
                self.container()?;
                Token::Object { start, end: self.at() }
            }
            b'[' => {
                self.container()?;
                Token::Array { start, end: self.at() }
            }
            _ => {
                self.number()?;
                Token::Number { start, end: self.at() }
            }
        })
    }

    /// Passes an object or array with all in it. Remembers what is open in the bits of one number.
    fn container(&mut self) -> Scan<()> {
        // Bit 0 is the innermost container; 1 stands for an object.
        let mut open: u128 = 0;
        let mut depth = 0;
        loop {
            // Here a value begins.
            match self.peek() {
                bracket @ (b'{' | b'[') => {
                    if depth == MAX_DEPTH {
                        return self.fault("nesting of at most 128 objects and arrays");
                    }
                    depth += 1;
                    let object = bracket == b'{';
                    open = open << 1 | u128::from(object);
                    self.bump();
                    self.blanks();
                    if self.peek() != bracket + 2 {
                        if object {
                            self.key()?;
                        }
                        continue;
                    }
                    // An empty container: `]` is `[` + 2, as `}` is `{` + 2. The loop below closes it.
                }
                b'"' => {
                    self.string()?;
                }
                b'n' => self.whole_word(b"null")?,
                b't' => self.whole_word(b"true")?,
                b'f' => self.whole_word(b"false")?,
                _ => self.number()?,
            }
            // Here a value has ended.
            loop {
                self.blanks();
                let object = open & 1 == 1;
                match self.peek() {
                    b'}' if object => {}
                    b']' if !object => {}
                    b',' => {
                        self.bump();
                        self.blanks();
                        if object {
                            self.key()?;
                        }
                        break;
                    }
                    _ if object => return self.fault("',' or '}'"),
                    _ => return self.fault("',' or ']'"),
                }
                self.bump();
                open >>= 1;
                depth -= 1;
                if depth == 0 {
                    return Ok(());
                }
            }
        }
    }

    /// Passes a key, its colon and the blanks after it.
    fn key(&mut self) -> Scan<()> {
        if self.peek() != b'"' {
            return self.fault("a key in double quotes");
        }
        self.string()?;
        self.blanks();
        self.expect(b':', "':' after a key")?;
        self.blanks();
        Ok(())
    }
}

/// Appends the text of the inside of a checked string with escapes. A surrogate without its other half becomes `?`,
/// as in Java's UTF-8.
#[cold]
pub(super) fn unescape(out: &mut Vec<u8>, mut inside: &[u8]) {
    while let Some(at) = memchr::memchr(b'\\', inside) {
        out.extend_from_slice(&inside[..at]);
        let kind = inside[at + 1];
        inside = &inside[at + 2..];
        let plain = match kind {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let unit = hex(inside);
                inside = &inside[4..];
                let mut code = u32::from(unit);
                let low = (inside.len() >= 6 && inside.starts_with(b"\\u")).then(|| hex(&inside[2..]));
                if let (0xd800..=0xdbff, Some(low @ 0xdc00..=0xdfff)) = (unit, low) {
                    code = 0x1_0000 + (u32::from(unit - 0xd800) << 10) + u32::from(low - 0xdc00);
                    inside = &inside[6..];
                }
                let c = char::from_u32(code).unwrap_or('?');
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            other => other,
        };
        out.push(plain);
    }
    out.extend_from_slice(inside);
}

fn hex(digits: &[u8]) -> u16 {
    digits[..4].iter().fold(0, |n, d| n << 4 | char::from(*d).to_digit(16).unwrap_or(0) as u16)
}

/// Appends a checked value as Jackson writes a tree: no blanks, plain escapes, and fractions as doubles.
#[cold]
pub(super) fn compact(out: &mut Vec<u8>, text: &[u8]) {
    let padded = [text, &[0; PADDING_BYTES]].concat();
    let Some(mut cursor) = Cursor::new(&padded, text.len()) else { return };
    while !cursor.is_at_end() {
        match cursor.peek() {
            b'"' => {
                let Ok((start, end, escaped)) = cursor.string() else { return };
                if escaped {
                    let mut plain = Vec::new();
                    unescape(&mut plain, &text[start..end]);
                    super::encoder::write_string(out, &plain);
                } else {
                    super::encoder::write_string(out, &text[start..end]);
                }
            }
            b'-' | b'0'..=b'9' => {
                let start = cursor.at();
                if cursor.number().is_err() {
                    return;
                }
                let number = &text[start..cursor.at()];
                match std::str::from_utf8(number).ok().and_then(|n| n.parse::<f64>().ok()) {
                    Some(value) if number.iter().any(|b| matches!(b, b'.' | b'e' | b'E')) => {
                        crate::formats::java::write_double(out, value);
                    }
                    _ => out.extend_from_slice(number),
                }
            }
            0 => return,
            b' ' | b'\t' | b'\n' | b'\r' => cursor.bump(),
            other => {
                out.push(other);
                cursor.bump();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(text: &str) -> bool {
        let bytes = [text.as_bytes(), &[0; PADDING_BYTES]].concat();
        let mut cursor = Cursor::new(&bytes, text.len()).unwrap();
        cursor.value().is_ok() && cursor.is_at_end()
    }

    #[test]
    fn the_grammar_is_serdes() {
        for text in [
            "{}",
            "[]",
            "[[]]",
            "{\"a\":{}}",
            "[1,2]",
            "[1,]",
            "[,1]",
            "{\"a\":1,}",
            "{\"a\"}",
            "{a:1}",
            "[1 2]",
            "-",
            "-0",
            "00",
            "1.",
            "1.5e",
            "1.5e+3",
            ".5",
            "+1",
            "tru",
            "nulll",
            "\"\\u12\"",
            "\"\\u123g\"",
            "\"\\x\"",
            "\"a",
            "\"a\\\"",
            "[\"a\\\"b\"]",
            "{\"a\":[1,{\"b\":null}],\"c\":\"d\"}",
            "[}",
            "{]",
            "[1",
            "{\"a\":1",
            "[true,false,null]",
            "[ 1 , 2 ]",
            "{ \"a\" : 1 }",
            "NaN",
            "",
        ] {
            let serde = serde_json::from_str::<serde_json::Value>(text).is_ok();
            assert_eq!(accepts(text), serde, "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(accepts(&deep(MAX_DEPTH)));
        assert!(!accepts(&deep(MAX_DEPTH + 1)));
        assert!(!accepts(&"[".repeat(1_000_000)));
    }

    #[test]
    fn strings_end_at_the_quote_wherever_it_stands() {
        for length in 0..40 {
            for end in ["\"", "\\\"x\""] {
                let text = format!("\"{}{end}", "é".repeat(length / 2) + &"x".repeat(length % 2));
                assert!(accepts(&text), "{text}");
                assert!(!accepts(&text[..text.len() - 1]));
            }
        }
    }

    #[test]
    fn escapes_and_trees() {
        let mut out = Vec::new();
        unescape(&mut out, br#"a\n\u00e9\/\"\\ \ud83d\ude00 \ud83d x"#);
        assert_eq!(String::from_utf8(out).unwrap(), "a\né/\"\\ 😀 ? x");
        let mut out = Vec::new();
        compact(&mut out, br#"{"a": 1, "b":[1, 2.50,"x\/",null,true,1e3]}"#);
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"a":1,"b":[1,2.5,"x/",null,true,1000.0]}"#);
    }
}
