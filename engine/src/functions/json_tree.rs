//! JSON as Flink's parser reads it and its writer writes it: whole numbers of any length, others as Java's doubles; what
//! follows the first value is not read.

use super::text::java_double;

/// Arrays and objects may be nested this deep.
const MAX_DEPTH: usize = 250;

/// A value of JSON.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Json>),
    /// Members in order; a key that comes twice keeps its first place and its last value.
    Object(Vec<(String, Json)>),
}

/// A number of JSON.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Number {
    /// A whole number: its digits.
    Whole(String),
    Double(f64),
}

impl Number {
    /// As a double.
    pub fn as_f64(&self) -> f64 {
        match self {
            Self::Whole(digits) => digits.parse().unwrap_or(f64::NAN),
            Self::Double(d) => *d,
        }
    }

    /// As a text, without quotes.
    pub fn write(&self, out: &mut String) {
        match self {
            Self::Whole(digits) => out.push_str(digits),
            Self::Double(d) => java_double(out, *d),
        }
    }
}

impl Json {
    /// Reads the first value of `text`.
    ///
    /// Errors: where it is no JSON.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { rest: text, length: text.len(), depth: 0 };
        reader.value().ok_or_else(|| {
            let at = reader.length - reader.rest.len();
            format!("unexpected {} at byte {at}", if reader.rest.is_empty() { "end" } else { "character" })
        })
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Whether it is an array or an object.
    pub fn is_container(&self) -> bool {
        matches!(self, Self::Array(_) | Self::Object(_))
    }

    /// The member `key` of an object.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// Writes it as JSON without spaces.
    pub fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            // Java's writer quotes what JSON has no numbers for.
            Self::Number(Number::Double(d)) if !d.is_finite() => {
                out.push('"');
                java_double(out, *d);
                out.push('"');
            }
            Self::Number(number) => number.write(out),
            Self::String(text) => quote(text, out),
            Self::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (i, (key, value)) in members.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    quote(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Reads JSON; each part gives nothing where it is not written right.
struct Reader<'t> {
    rest: &'t str,
    length: usize,
    depth: usize,
}

impl Reader<'_> {
    fn spaces(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn eat(&mut self, word: &str) -> bool {
        match self.rest.strip_prefix(word) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self) -> Option<Json> {
        self.spaces();
        match self.rest.as_bytes().first()? {
            b'{' => self.nested(Self::object),
            b'[' => self.nested(Self::array),
            b'"' => self.string().map(Json::String),
            b'-' | b'0'..=b'9' => self.number(),
            _ => {
                let words = [("null", Json::Null), ("true", Json::Bool(true)), ("false", Json::Bool(false))];
                let (word, value) = words.into_iter().find(|(word, _)| self.rest.starts_with(word))?;
                self.eat(word);
                // `truex` is no word.
                self.ends_a_word().then_some(value)
            }
        }
    }

    fn ends_a_word(&self) -> bool {
        !self.rest.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$')
    }

    fn nested(&mut self, read: fn(&mut Self) -> Option<Json>) -> Option<Json> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn array(&mut self) -> Option<Json> {
        self.eat("[");
        let mut items = Vec::new();
        self.spaces();
        if self.eat("]") {
            return Some(Json::Array(items));
        }
        loop {
            items.push(self.value()?);
            self.spaces();
            if self.eat("]") {
                return Some(Json::Array(items));
            }
            if !self.eat(",") {
                return None;
            }
        }
    }

    fn object(&mut self) -> Option<Json> {
        self.eat("{");
        let mut members: Vec<(String, Json)> = Vec::new();
        self.spaces();
        if self.eat("}") {
            return Some(Json::Object(members));
        }
        let mut places = std::collections::HashMap::new();
        loop {
            self.spaces();
            let key = self.string()?;
            self.spaces();
            if !self.eat(":") {
                return None;
            }
            let value = self.value()?;
            match places.get(&key) {
                Some(at) => {
                    let place: &usize = at;
                    members[*place].1 = value;
                }
                None => {
                    places.insert(key.clone(), members.len());
                    members.push((key, value));
                }
            }
            self.spaces();
            if self.eat("}") {
                return Some(Json::Object(members));
            }
            if !self.eat(",") {
                return None;
            }
        }
    }

    fn number(&mut self) -> Option<Json> {
        let bytes = self.rest.as_bytes();
        let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        let sign = usize::from(bytes[0] == b'-');
        let whole = digits(sign);
        if whole == 0 || whole > 1 && bytes[sign] == b'0' {
            return None;
        }
        let mut end = sign + whole;
        let mut is_whole = true;
        if bytes.get(end) == Some(&b'.') {
            let fraction = digits(end + 1);
            if fraction == 0 {
                return None;
            }
            end += 1 + fraction;
            is_whole = false;
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let signed = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            let exponent = digits(end + 1 + signed);
            if exponent == 0 {
                return None;
            }
            end += 1 + signed + exponent;
            is_whole = false;
        }
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        if !self.ends_a_word() {
            return None;
        }
        Some(Json::Number(match is_whole {
            // Whole numbers know no -0.
            true if text == "-0" => Number::Whole("0".into()),
            true => Number::Whole(text.into()),
            false => Number::Double(text.parse().ok()?),
        }))
    }

    fn string(&mut self) -> Option<String> {
        if !self.eat("\"") {
            return None;
        }
        let mut text = String::new();
        loop {
            let end = self.rest.find(|c: char| c == '"' || c == '\\' || (c as u32) < 0x20)?;
            text.push_str(&self.rest[..end]);
            self.rest = &self.rest[end..];
            if self.eat("\"") {
                return Some(text);
            }
            if !self.eat("\\") {
                // A control character must be written with `\`.
                return None;
            }
            let escaped = self.rest.chars().next()?;
            self.rest = &self.rest[escaped.len_utf8()..];
            text.push(match escaped {
                '"' | '\\' | '/' => escaped,
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => self.unicode()?,
                _ => return None,
            });
        }
    }

    /// The character of `\uXXXX`, or of two of them.
    fn unicode(&mut self) -> Option<char> {
        let first = self.hex()?;
        if !(0xD800..0xDC00).contains(&first) {
            return Some(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let before = self.rest;
        if self.eat("\\u")
            && let Some(second) = self.hex().filter(|s| (0xDC00..0xE000).contains(s))
        {
            return char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00));
        }
        self.rest = before;
        Some(char::REPLACEMENT_CHARACTER)
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.rest.get(..4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
        self.rest = &self.rest[4..];
        u32::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(text: &str) -> String {
        let mut out = String::new();
        match Json::parse(text) {
            Ok(value) => value.write(&mut out),
            Err(error) => out.push_str(&error),
        }
        out
    }

    #[test]
    fn numbers_are_javas_and_texts_jacksons() {
        for (text, want) in [
            ("[1e7, 0.00001, 1.10, -0, -0.0, 2e308]", r#"[1.0E7,1.0E-5,1.1,0,-0.0,"Infinity"]"#),
            ("12345678901234567890123 and more", "12345678901234567890123"),
            (r#"{"a":1, "b":2, "a":3}"#, r#"{"a":3,"b":2}"#),
            (r#""\u00e9\/\ud83d\ude00\u0001""#, "\"é/😀\\u0001\""),
            ("123456789.123456789123", "1.2345678912345679E8"),
        ] {
            assert_eq!(again(text), want);
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "", "  ", "{a:1}", "{'a':1}", "[1,]", "01", ".5", "+5", "NaN", "truex", "\"\n\"", "\"\\x\"", "[1",
        ] {
            assert!(Json::parse(text).is_err(), "{text}");
        }
        assert!(Json::parse(&"[".repeat(9999)).is_err());
    }
}
