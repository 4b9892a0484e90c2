//! `Scanner`: walks over JSON text, byte by byte, without making anything of it.
//!
//! The text is a record inside a larger padded buffer, so that a few bytes past its end may be loaded; `end` bounds
//! what belongs to it. The grammar is checked everywhere, also in values that nobody reads. Two things are taken as
//! Jackson takes them for Flink: control characters may stand unescaped in strings, and a surrogate may be alone.

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

/// See the head of the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scanner<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
    pub end: usize,
}

impl<'a> Scanner<'a> {
    /// The byte at hand; 0 at the end (which no grammar rule takes).
    #[inline(always)]
    pub fn peek(&self) -> u8 {
        if self.at < self.end { self.bytes[self.at] } else { 0 }
    }

    /// Passes blanks.
    #[inline(always)]
    pub fn blanks(&mut self) {
        while self.peek() <= b' ' && matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    /// Sixteen bytes from here on, of which some may lie behind the end.
    #[inline(always)]
    pub fn sixteen(&self) -> u128 {
        match self.bytes.get(self.at..self.at + 16) {
            Some(bytes) => u128::from_le_bytes(bytes.try_into().unwrap_or([0; 16])),
            None => 0,
        }
    }

    #[cold]
    pub fn fault<T>(&self, expected: &'static str) -> Scan<T> {
        Err(Box::new(Fault { at: self.at, kind: FaultKind::Syntax(expected) }))
    }

    /// Passes `byte`.
    #[inline(always)]
    pub fn expect(&mut self, byte: u8, expected: &'static str) -> Scan<()> {
        if self.peek() != byte {
            return self.fault(expected);
        }
        self.at += 1;
        Ok(())
    }

    /// Passes a string, standing on its first quote. Gives the place of its inside and whether escapes are in it.
    #[inline]
    pub fn string(&mut self) -> Scan<(usize, usize, bool)> {
        self.expect(b'"', "a string")?;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at = end_of_plain(self.bytes, self.at, self.end);
            match self.peek() {
                b'"' if self.at < self.end => {
                    self.at += 1;
                    return Ok((start, self.at - 1, escaped));
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
        self.at += 1;
        match self.peek() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
            b'u' => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_ascii_hexdigit() {
                        return self.fault("four hexadecimal digits after \\u");
                    }
                    self.at += 1;
                }
            }
            _ => return self.fault("one of \" \\ / b f n r t u after a backslash"),
        }
        Ok(())
    }

    /// Passes a number, standing on its first character.
    pub fn number(&mut self) -> Scan<()> {
        if self.peek() == b'-' {
            self.at += 1;
        }
        match self.peek() {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits(),
            _ => return self.fault("a value"),
        }
        if self.peek().is_ascii_digit() {
            return self.fault("a number without leading zeros");
        }
        if self.peek() == b'.' {
            self.at += 1;
            if !self.peek().is_ascii_digit() {
                return self.fault("a digit after the decimal point");
            }
            self.digits();
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
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
            self.at += 1;
        }
    }

    /// Passes `null`, `true` or `false`.
    #[inline]
    pub fn word(&mut self, word: &'static [u8]) -> Scan<()> {
        let end = self.at + word.len();
        if end > self.end || self.bytes[self.at..end] != *word {
            return self.fault("a value");
        }
        let next = if end < self.end { self.bytes[end] } else { 0 };
        if next.is_ascii_alphanumeric() || next == b'_' {
            return self.fault("a value");
        }
        self.at = end;
        Ok(())
    }

    /// Passes any value, standing on its first character.
    pub fn value(&mut self) -> Scan<Token> {
        let start = self.at;
        Ok(match self.peek() {
            b'"' => {
                let (start, end, escaped) = self.string()?;
                Token::String { start, end, escaped }
            }
            b'n' => {
                self.word(b"null")?;
                Token::Null
            }
            b't' => {
                self.word(b"true")?;
                Token::True
            }
            b'f' => {
                self.word(b"false")?;
                Token::False
            }
            b'{' => {
                self.container()?;
                Token::Object { start, end: self.at }
            }
            b'[' => {
                self.container()?;
                Token::Array { start, end: self.at }
            }
            _ => {
                self.number()?;
                Token::Number { start, end: self.at }
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
                    self.at += 1;
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
                b'n' => self.word(b"null")?,
                b't' => self.word(b"true")?,
                b'f' => self.word(b"false")?,
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
                        self.at += 1;
                        self.blanks();
                        if object {
                            self.key()?;
                        }
                        break;
                    }
                    _ if object => return self.fault("',' or '}'"),
                    _ => return self.fault("',' or ']'"),
                }
                self.at += 1;
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

/// The first `"` or `\` at or after `at`, or `end`.
#[inline(always)]
fn end_of_plain(bytes: &[u8], mut at: usize, end: usize) -> usize {
    // Eight bytes a step: a byte that equals the pattern becomes zero, and the lowest zero byte is found exactly.
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    const QUOTES: u64 = ONES * b'"' as u64;
    const BACKSLASHES: u64 = ONES * b'\\' as u64;
    while let Some(eight) = bytes.get(at..at + 8) {
        let eight = u64::from_le_bytes(eight.try_into().unwrap_or([0; 8]));
        let quote = eight ^ QUOTES;
        let backslash = eight ^ BACKSLASHES;
        let found = (quote.wrapping_sub(ONES) & !quote | backslash.wrapping_sub(ONES) & !backslash) & HIGH;
        if found != 0 {
            return (at + found.trailing_zeros() as usize / 8).min(end);
        }
        at += 8;
        if at >= end {
            return end;
        }
    }
    while at < end && !matches!(bytes[at], b'"' | b'\\') {
        at += 1;
    }
    at
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
    let mut scanner = Scanner { bytes: text, at: 0, end: text.len() };
    while scanner.at < scanner.end {
        match scanner.peek() {
            b'"' => {
                let Ok((start, end, escaped)) = scanner.string() else { return };
                if escaped {
                    let mut plain = Vec::new();
                    unescape(&mut plain, &text[start..end]);
                    super::encoder::write_string(out, &plain);
                } else {
                    super::encoder::write_string(out, &text[start..end]);
                }
            }
            b'-' | b'0'..=b'9' => {
                let start = scanner.at;
                if scanner.number().is_err() {
                    return;
                }
                let number = &text[start..scanner.at];
                match std::str::from_utf8(number).ok().and_then(|n| n.parse::<f64>().ok()) {
                    Some(value) if number.iter().any(|b| matches!(b, b'.' | b'e' | b'E')) => {
                        crate::formats::java::write_double(out, value);
                    }
                    _ => out.extend_from_slice(number),
                }
            }
            b' ' | b'\t' | b'\n' | b'\r' => scanner.at += 1,
            other => {
                out.push(other);
                scanner.at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(text: &str) -> bool {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(bytes.len() + 64, 0);
        let mut scanner = Scanner { bytes: &bytes, at: 0, end: text.len() };
        scanner.value().is_ok() && scanner.at == text.len()
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
