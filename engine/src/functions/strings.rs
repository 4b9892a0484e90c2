//! Functions of strings.

use super::field::Length;
use super::regexes::Patterns;
use super::scalar::{Binding, Call, Function, Kind, Texts, check_size, result, user};
use arrow::array::*;
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::*;
use datafusion_common::Result;
use std::borrow::Cow;
use std::sync::Arc;

const T: Kind = Kind::Text;
const I: Kind = Kind::Integer;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("CHAR_LENGTH", &[T], result::int, char_length),
    Function::new("UPPER", &[T], result::first, |c| map_case(c, <[u8]>::make_ascii_uppercase, upper)),
    Function::new("LOWER", &[T], result::first, |c| map_case(c, <[u8]>::make_ascii_lowercase, lower)),
    Function::new("INITCAP", &[T], result::first, |c| map(c, init_cap)),
    Function::new("REVERSE", &[T], result::nullable_text, |c| map(c, |t, o| o.extend(t.chars().rev()))),
    Function::new("LTRIM", &[T, T], result::part, |c| trim(c, true, false)).optional(1),
    Function::new("RTRIM", &[T, T], result::part, |c| trim(c, false, true)).optional(1),
    // What TRIM(BOTH … FROM …) is bound to.
    Function::new("btrim", &[T, T], result::part, |c| trim(c, true, true)).optional(1),
    Function::new("TRIM", &[T, T], result::part, |c| trim(c, true, true)).optional(1),
    Function::new("SUBSTRING", &[T, I, I], result::nullable_part, substring).optional(1),
    Function::new("LEFT", &[T, I], result::nullable_part, left),
    Function::new("RIGHT", &[T, I], result::nullable_part, right),
    Function::new("OVERLAY", &[T, T, I, I], overlay_type, overlay).optional(1),
    Function::new("REPEAT", &[T, I], result::text, repeat),
    Function::new("REPLACE", &[T, T, T], result::text, replace),
    Function::new("LPAD", &[T, I, T], result::nullable_text, |c| pad(c, true)),
    Function::new("RPAD", &[T, I, T], result::nullable_text, |c| pad(c, false)),
    Function::new("INSTR", &[T, T, I, I], result::int, instr).optional(2),
    Function::new("LOCATE", &[T, T, I], result::int, locate).optional(1),
    Function::new("ASCII", &[T], result::int, ascii),
    Function::new("CHR", &[I], result::nullable_text, chr),
    Function::new("CONCAT", &[T], result::text, concat).variadic(),
    Function::new("CONCAT_WS", &[T, T], result::text, concat_ws).optional(1).variadic(),
    Function::new("SPLIT_INDEX", &[T, Kind::TextOrInteger, I], result::nullable_text, split_index),
    Function::new("SPLIT", &[T, T], split_type, split),
    Function::new("STR_TO_MAP", &[T, T, T], str_to_map_type, str_to_map).optional(2),
    Function::new("REGEXP", &[T, T], result::boolean, regexp),
    Function::new("REGEXP_REPLACE", &[T, T, T], result::nullable_text, regexp_replace),
    Function::new("REGEXP_EXTRACT", &[T, T, I], result::nullable_text, regexp_extract).optional(1),
    Function::new("PARSE_URL", &[T, T, T], result::nullable_text, parse_url).optional(1),
    Function::new("IS_ALPHA", &[Kind::Any], not_null_boolean, |c| test(c, is_alpha)),
    Function::new("IS_DIGIT", &[Kind::Any], not_null_boolean, |c| test(c, is_digit)),
    Function::new("IS_DECIMAL", &[Kind::Any], not_null_boolean, |c| test(c, is_decimal)),
];

fn map(call: &Call<'_>, f: fn(&str, &mut String)) -> Result<ArrayRef> {
    let text = call.text(0)?;
    call.texts(|row, out| {
        let Some(t) = text.get(row) else { return Ok(false) };
        f(t, out);
        Ok(true)
    })
}

/// LOWER and UPPER. Where all texts are ASCII, which most are, all are changed at once; else each with `f`.
fn map_case(call: &Call<'_>, ascii: fn(&mut [u8]), f: fn(&str, &mut String)) -> Result<ArrayRef> {
    let (array, constant) = call.column(0)?;
    let Some(texts) = array.as_string_opt::<i32>().filter(|_| !constant) else { return map(call, f) };
    let offsets = texts.value_offsets();
    let first = offsets.first().copied().unwrap_or(0);
    let last = offsets.last().copied().unwrap_or(0);
    let bytes = &texts.value_data()[first as usize..last as usize];
    if !bytes.is_ascii() {
        return map(call, f);
    }
    let mut bytes = bytes.to_vec();
    ascii(&mut bytes);
    let offsets = OffsetBuffer::new(offsets.iter().map(|o| o - first).collect::<Vec<i32>>().into());
    Ok(Arc::new(StringArray::try_new(offsets, bytes.into(), texts.nulls().cloned())?))
}

fn upper(t: &str, out: &mut String) {
    out.push_str(&t.to_uppercase());
}

fn lower(t: &str, out: &mut String) {
    if t.is_ascii() {
        out.push_str(t);
        out.make_ascii_lowercase();
    } else {
        out.push_str(&t.to_lowercase());
    }
}

/// Words are runs of ASCII letters and digits.
fn init_cap(t: &str, out: &mut String) {
    let mut first = true;
    for c in t.chars() {
        if c.is_ascii_alphanumeric() {
            out.push(if first { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() });
            first = false;
        } else {
            out.push(c);
            first = true;
        }
    }
}

fn char_length(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.text(0)?;
    call.numbers::<Int32Type>(|row| Ok(text.get(row).map(|t| t.chars().count() as i32)))
}

fn trim(call: &Call<'_>, front: bool, back: bool) -> Result<ArrayRef> {
    let text = call.text(0)?;
    let set = if call.len() > 1 { Some(call.text(1)?) } else { None };
    call.texts(|row, out| {
        let Some(mut t) = text.get(row) else { return Ok(false) };
        let set = match &set {
            None => " ",
            Some(s) => match s.get(row) {
                Some(s) => s,
                None => return Ok(false),
            },
        };
        if front {
            t = t.trim_start_matches(|c| set.contains(c));
        }
        if back {
            t = t.trim_end_matches(|c| set.contains(c));
        }
        out.push_str(t);
        Ok(true)
    })
}

/// Characters `from..from + n` of a text, in bytes; from is 0-based.
fn slice(t: &str, from: usize, n: usize) -> &str {
    if t.is_ascii() {
        let from = from.min(t.len());
        return &t[from..from.saturating_add(n).min(t.len())];
    }
    let start = t.char_indices().nth(from).map_or(t.len(), |(i, _)| i);
    let rest = &t[start..];
    let end = rest.char_indices().nth(n).map_or(rest.len(), |(i, _)| i);
    &rest[..end]
}

fn index(n: i64) -> usize {
    usize::try_from(n.max(0)).unwrap_or(usize::MAX)
}

/// Position 0 is 1; a negative one counts from the end.
fn substring(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, start) = (call.text(0)?, call.long(1)?);
    let length = if call.len() > 2 { Some(call.long(2)?) } else { None };
    call.texts(|row, out| {
        let (Some(t), Some(start)) = (text.get(row), start.get(row)) else { return Ok(false) };
        let length = match &length {
            None => i64::MAX,
            Some(l) => match l.get(row) {
                Some(l) => l,
                None => return Ok(false),
            },
        };
        if length < 0 {
            return Ok(false);
        }
        let from = if start > 0 {
            start - 1
        } else if start == 0 {
            0
        } else {
            let from = (t.chars().count() as i64).saturating_add(start);
            if from < 0 {
                return Ok(true);
            }
            from
        };
        out.push_str(slice(t, index(from), index(length)));
        Ok(true)
    })
}

fn left(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, n) = (call.text(0)?, call.long(1)?);
    call.texts(|row, out| {
        let (Some(t), Some(n)) = (text.get(row), n.get(row)) else { return Ok(false) };
        out.push_str(slice(t, 0, index(n)));
        Ok(true)
    })
}

fn right(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, n) = (call.text(0)?, call.long(1)?);
    call.texts(|row, out| {
        let (Some(t), Some(n)) = (text.get(row), n.get(row)) else { return Ok(false) };
        let from = t.chars().count().saturating_sub(index(n));
        out.push_str(slice(t, from, usize::MAX));
        Ok(true)
    })
}

fn overlay_type(b: &Binding<'_>) -> Result<Field> {
    let of = |i| match b.text_length(i) {
        Length::Unlimited => None,
        Length::AtMost(n) | Length::Exactly(n) => Some(n),
    };
    let length = match (of(0), of(1)) {
        (Some(a), Some(b)) => Length::AtMost(a + b),
        _ => Length::Unlimited,
    };
    Ok(b.text(length, b.nullable()))
}

fn overlay(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, by, start) = (call.text(0)?, call.text(1)?, call.long(2)?);
    let length = if call.len() > 3 { Some(call.long(3)?) } else { None };
    call.texts(|row, out| {
        let (Some(t), Some(by), Some(start)) = (text.get(row), by.get(row), start.get(row)) else {
            return Ok(false);
        };
        let length = match &length {
            None => by.chars().count() as i64,
            Some(l) => match l.get(row) {
                Some(l) => l,
                None => return Ok(false),
            },
        };
        let total = t.chars().count() as i64;
        if start <= 0 || start > total {
            out.push_str(t);
            return Ok(true);
        }
        out.push_str(slice(t, 0, index(start - 1)));
        out.push_str(by);
        // A length below 1 takes all of the rest away.
        if length > 0 {
            out.push_str(slice(t, index((start - 1).saturating_add(length)), usize::MAX));
        }
        Ok(true)
    })
}

fn repeat(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, n) = (call.text(0)?, call.long(1)?);
    call.texts(|row, out| {
        let (Some(t), Some(n)) = (text.get(row), n.get(row)) else { return Ok(false) };
        check_size(t.len().saturating_mul(index(n)), "REPEAT")?;
        if !t.is_empty() {
            out.extend(std::iter::repeat_n(t, index(n)));
        }
        Ok(true)
    })
}

fn replace(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, from, to) = (call.text(0)?, call.text(1)?, call.text(2)?);
    call.texts(|row, out| {
        let (Some(t), Some(from), Some(to)) = (text.get(row), from.get(row), to.get(row)) else {
            return Ok(false);
        };
        if to.len() > from.len() {
            let hits = if from.is_empty() { t.len() + 1 } else { t.len() / from.len() };
            check_size(t.len().saturating_add(hits.saturating_mul(to.len())), "REPLACE")?;
        }
        out.push_str(&t.replace(from, to));
        Ok(true)
    })
}

/// NULL for a negative length, and where there is nothing to fill up with.
fn pad(call: &Call<'_>, front: bool) -> Result<ArrayRef> {
    let (text, n, by) = (call.text(0)?, call.long(1)?, call.text(2)?);
    call.texts(|row, out| {
        let (Some(t), Some(n), Some(by)) = (text.get(row), n.get(row), by.get(row)) else { return Ok(false) };
        if n < 0 || by.is_empty() {
            return Ok(false);
        }
        let n = index(n);
        let have = t.chars().count();
        if have >= n {
            out.push_str(slice(t, 0, n));
            return Ok(true);
        }
        check_size(
            (n - have).saturating_mul(4).saturating_add(t.len()),
            if front { "LPAD" } else { "RPAD" },
        )?;
        let filling = by.chars().cycle().take(n - have);
        if front {
            out.extend(filling);
            out.push_str(t);
        } else {
            out.push_str(t);
            out.extend(filling);
        }
        Ok(true)
    })
}

/// Position, from 1, of the `nth` `part` in `t` from `start` on; from the end if `start` is negative. 0 is none.
fn find(t: &str, part: &str, start: i64, nth: i64) -> Option<i32> {
    if nth < 1 {
        return None;
    }
    let t: Cow<'_, [char]> = t.chars().collect();
    let part: Vec<char> = part.chars().collect();
    let total = t.len() as i64;
    let is_at = |i: i64| t.get(i as usize..).is_some_and(|rest| rest.starts_with(&part));
    let mut left = nth;
    let mut hit = |i: i64| {
        if is_at(i) {
            left -= 1;
        }
        left == 0
    };
    let found = if start > 0 {
        (start - 1..=total).find(|i| hit(*i))
    } else if start < 0 {
        (0..=total + start).rev().find(|i| hit(*i))
    } else {
        None
    };
    Some(found.map_or(0, |i| i as i32 + 1))
}

fn instr(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, part) = (call.text(0)?, call.text(1)?);
    let start = if call.len() > 2 { Some(call.long(2)?) } else { None };
    let nth = if call.len() > 3 { Some(call.long(3)?) } else { None };
    call.numbers::<Int32Type>(|row| {
        let (Some(t), Some(p)) = (text.get(row), part.get(row)) else { return Ok(None) };
        let start = start.as_ref().map_or(Some(1), |s| s.get(row));
        let nth = nth.as_ref().map_or(Some(1), |n| n.get(row));
        match (start, nth) {
            (Some(1), Some(1)) => Ok(Some(position(t, p))),
            (Some(start), Some(nth)) => match find(t, p, start, nth) {
                Some(at) => Ok(Some(at)),
                None => user(format!("The occurrence that INSTR looks for must be at least 1, not {nth}.")),
            },
            _ => Ok(None),
        }
    })
}

/// Position, from 1, of the first `part`; 0 is none.
fn position(t: &str, part: &str) -> i32 {
    t.find(part).map_or(0, |at| t[..at].chars().count() as i32 + 1)
}

fn locate(call: &Call<'_>) -> Result<ArrayRef> {
    let (part, text) = (call.text(0)?, call.text(1)?);
    let start = if call.len() > 2 { Some(call.long(2)?) } else { None };
    call.numbers::<Int32Type>(|row| {
        let (Some(p), Some(t)) = (part.get(row), text.get(row)) else { return Ok(None) };
        match start.as_ref().map_or(Some(1), |s| s.get(row)) {
            None => Ok(None),
            // As in Flink, an empty text is at the beginning, wherever the search begins.
            Some(_) if p.is_empty() => Ok(Some(1)),
            Some(start) if start <= 1 => Ok(Some(position(t, p))),
            Some(start) => {
                let start = index(start - 1);
                if start > t.chars().count() {
                    return Ok(Some(0));
                }
                let at = position(slice(t, start, usize::MAX), p);
                Ok(Some(if at == 0 { 0 } else { at + start as i32 }))
            }
        }
    })
}

/// The first byte of its UTF-8, as a signed number.
fn ascii(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.text(0)?;
    call.numbers::<Int32Type>(|row| {
        Ok(text.get(row).map(|t| t.bytes().next().map_or(0, |b| i32::from(b as i8))))
    })
}

fn chr(call: &Call<'_>) -> Result<ArrayRef> {
    let code = call.long(0)?;
    call.texts(|row, out| {
        let Some(code) = code.get(row) else { return Ok(false) };
        if code >= 0 {
            out.push(char::from((code % 256) as u8));
        }
        Ok(true)
    })
}

fn all_texts(call: &Call<'_>) -> Result<Vec<Texts>> {
    (0..call.len()).map(|i| call.text(i)).collect()
}

fn concat(call: &Call<'_>) -> Result<ArrayRef> {
    let parts = all_texts(call)?;
    call.texts(|row, out| {
        for part in &parts {
            let Some(part) = part.get(row) else { return Ok(false) };
            check_size(out.len() + part.len(), "CONCAT")?;
            out.push_str(part);
        }
        Ok(true)
    })
}

fn concat_ws(call: &Call<'_>) -> Result<ArrayRef> {
    let parts = all_texts(call)?;
    call.texts(|row, out| {
        let Some(separator) = parts[0].get(row) else { return Ok(false) };
        let mut first = true;
        for part in &parts[1..] {
            let Some(part) = part.get(row) else { continue };
            check_size(out.len() + separator.len() + part.len(), "CONCAT_WS")?;
            if !first {
                out.push_str(separator);
            }
            first = false;
            out.push_str(part);
        }
        Ok(true)
    })
}

/// Parts are counted from 0; the separator is a text or the code of a character. An empty text has no parts,
/// an empty separator separates at blanks.
fn split_index(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, at) = (call.text(0)?, call.long(2)?);
    let code = call.fields[1].data_type().is_signed_integer();
    let separators = if code { None } else { Some(call.text(1)?) };
    let codes = if code { Some(call.long(1)?) } else { None };
    let mut buffer = [0; 4];
    call.pieces(|row| {
        let (Some(t), Some(at)) = (text.get(row), at.get(row)) else { return None };
        let separator: &str = if let Some(codes) = &codes {
            let code = codes.get(row).and_then(|c| u32::try_from(c).ok().filter(|c| *c <= 255));
            code.and_then(char::from_u32)?.encode_utf8(&mut buffer)
        } else {
            separators.as_ref().and_then(|s| s.get(row))?
        };
        if at < 0 || t.is_empty() {
            return None;
        }
        match separator.as_bytes() {
            [] => t.split(char::is_whitespace).nth(index(at)),
            [byte] => split_at_byte(t, *byte, index(at)),
            _ => t.split(separator).nth(index(at)),
        }
    })
}

/// Part `n` of `text`, whose parts are separated by an ASCII character.
fn split_at_byte(text: &str, separator: u8, n: usize) -> Option<&str> {
    let mut ends = memchr::memchr_iter(separator, text.as_bytes());
    let start = match n.checked_sub(1) {
        None => 0,
        Some(before) => ends.nth(before)? + 1,
    };
    text.get(start..ends.next().unwrap_or(text.len()))
}

fn split_type(b: &super::scalar::Binding<'_>) -> Result<Field> {
    Ok(b.strict(DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)))))
}

fn split(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, separator) = (call.text(0)?, call.text(1)?);
    let mut out = ListBuilder::new(StringBuilder::new()).with_field(Field::new("item", DataType::Utf8, true));
    for row in 0..call.rows {
        match (text.get(row), separator.get(row)) {
            // Of an empty text there are no parts.
            (Some(""), Some(_)) => out.append(true),
            (Some(t), Some("")) => {
                for (i, c) in t.char_indices() {
                    out.values().append_value(&t[i..i + c.len_utf8()]);
                }
                out.append(true);
            }
            (Some(t), Some(s)) => {
                t.split(s).for_each(|p| out.values().append_value(p));
                out.append(true);
            }
            _ => out.append(false),
        }
    }
    Ok(Arc::new(out.finish()))
}

fn str_to_map_type(b: &super::scalar::Binding<'_>) -> Result<Field> {
    Ok(b.strict(text_map()))
}

fn text_map() -> DataType {
    let entries = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, true),
    ]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

/// Later values of a key win; keys stay in their first order.
fn str_to_map(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.text(0)?;
    let pairs = if call.len() > 1 { Some(call.text(1)?) } else { None };
    let equals = if call.len() > 2 { Some(call.text(2)?) } else { None };
    let mut patterns = Patterns::default();
    let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    let mut out = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for row in 0..call.rows {
        let pair = pairs.as_ref().map_or(Some(","), |p| p.get(row));
        let equal = equals.as_ref().map_or(Some("="), |e| e.get(row));
        let (Some(t), Some(pair), Some(equal)) = (text.get(row), pair, equal) else {
            out.append(false)?;
            continue;
        };
        let mut entries: Vec<(&str, Option<&str>)> = Vec::new();
        if !t.is_empty() {
            for part in split_regex(&mut patterns, t, pair, 0)? {
                let mut kv = split_regex(&mut patterns, part, equal, 2)?.into_iter();
                let (key, value) = (kv.next().unwrap_or(""), kv.next());
                match entries.iter_mut().find(|(k, _)| *k == key) {
                    Some(entry) => entry.1 = value,
                    None => entries.push((key, value)),
                }
            }
        }
        for (k, v) in entries {
            out.keys().append_value(k);
            out.values().append_option(v);
        }
        out.append(true)?;
    }
    Ok(Arc::new(out.finish()))
}

/// As Java's `String.split`: empty parts at the end are dropped where there is no limit (0).
fn split_regex<'t>(patterns: &mut Patterns, t: &'t str, by: &str, limit: usize) -> Result<Vec<&'t str>> {
    let plain = !by.is_empty() && !by.contains(|c: char| "\\^$.|?*+()[]{}".contains(c));
    let mut parts: Vec<&str> = if plain {
        if limit > 0 { t.splitn(limit, by).collect() } else { t.split(by).collect() }
    } else {
        let Some(r) = patterns.get(by)? else {
            return user(format!("STR_TO_MAP: '{by}' is no regular expression."));
        };
        let (mut parts, mut last) = (Vec::new(), 0);
        for found in r.find_iter(t) {
            // Nothing before the first character is no part.
            if found.end() > 0 && (limit == 0 || parts.len() + 1 < limit) {
                parts.push(&t[last..found.start()]);
                last = found.end();
            }
        }
        parts.push(&t[last..]);
        parts
    };
    while limit == 0 && parts.len() > 1 && parts.last().is_some_and(|p| p.is_empty()) {
        parts.pop();
    }
    if limit == 0 && parts == [""] && !t.is_empty() {
        parts.clear();
    }
    Ok(parts)
}

fn regexp(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, pattern) = (call.text(0)?, call.text(1)?);
    let mut patterns = Patterns::default();
    call.booleans(|row| {
        let (Some(t), Some(p)) = (text.get(row), pattern.get(row)) else { return Ok(None) };
        if p.is_empty() {
            return Ok(Some(false));
        }
        // As in Flink, a pattern that is none matches nothing.
        Ok(Some(patterns.get(p)?.is_some_and(|r| r.is_match(t))))
    })
}

fn regexp_replace(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, pattern, by) = (call.text(0)?, call.text(1)?, call.text(2)?);
    let mut patterns = Patterns::default();
    call.texts(|row, out| {
        let (Some(t), Some(p), Some(by)) = (text.get(row), pattern.get(row), by.get(row)) else {
            return Ok(false);
        };
        let Some(r) = patterns.get(p)? else { return Ok(false) };
        let mut last = 0;
        for whole in r.find_iter(t) {
            out.push_str(&t[last..whole.start()]);
            // Flink quotes the replacement: `$1` is no group.
            out.push_str(by);
            check_size(out.len(), "REGEXP_REPLACE")?;
            last = whole.end();
        }
        out.push_str(&t[last..]);
        Ok(true)
    })
}

fn regexp_extract(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, pattern) = (call.text(0)?, call.text(1)?);
    let group = if call.len() > 2 { Some(call.long(2)?) } else { None };
    let mut patterns = Patterns::default();
    // Where the groups of a match lie, for the pattern that was used last.
    let mut places: Option<regex::CaptureLocations> = None;
    call.try_pieces(|row| {
        let (Some(t), Some(p)) = (text.get(row), pattern.get(row)) else { return Ok(None) };
        let Some(group) = group.as_ref().map_or(Some(0), |g| g.get(row)) else { return Ok(None) };
        let Ok(group) = usize::try_from(group) else { return Ok(None) };
        let (pattern, is_new) = patterns.get_told(p)?;
        let Some(r) = pattern else { return Ok(None) };
        if group == 0 {
            return Ok(r.find(t).map(|m| m.as_str()));
        }
        if is_new {
            places = None;
        }
        let places = places.get_or_insert_with(|| r.capture_locations());
        let found = r.captures_read(places, t).and_then(|_| places.get(group));
        Ok(found.and_then(|(start, end)| t.get(start..end)))
    })
}

/// The parts of a URL, as java.net.URL has them.
struct Url<'a> {
    protocol: &'a str,
    authority: &'a str,
    user: Option<&'a str>,
    host: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    reference: Option<&'a str>,
}

fn url(text: &str) -> Option<Url<'_>> {
    let text = super::parse::trim(text);
    let (protocol, rest) = text.split_once(':')?;
    if !["http", "https", "ftp", "file", "jar", "mailto"].iter().any(|p| p.eq_ignore_ascii_case(protocol)) {
        return None;
    }
    let (rest, reference) = match rest.split_once('#') {
        Some((r, f)) => (r, Some(f)),
        None => (rest, None),
    };
    let (rest, query) = match rest.split_once('?') {
        Some((r, q)) => (r, Some(q)),
        None => (rest, None),
    };
    let (authority, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.find('/').map_or((rest, ""), |i| rest.split_at(i)),
        None => ("", rest),
    };
    let (user, host) = match authority.rsplit_once('@') {
        Some((u, h)) => (Some(u), h),
        None => (None, authority),
    };
    let host = match host.strip_prefix('[').and_then(|h| h.split_once(']')) {
        Some((inner, _)) => &host[..inner.len() + 2],
        None => match host.rsplit_once(':') {
            Some((h, port)) if port.bytes().all(|b| b.is_ascii_digit()) => h,
            Some(_) => return None,
            None => host,
        },
    };
    Some(Url { protocol, authority, user, host, path, query, reference })
}

fn parse_url(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, part) = (call.text(0)?, call.text(1)?);
    let key = if call.len() > 2 { Some(call.text(2)?) } else { None };
    call.texts(|row, out| {
        let (Some(t), Some(part)) = (text.get(row), part.get(row)) else { return Ok(false) };
        let Some(url) = url(t) else { return Ok(false) };
        if let Some(key) = &key {
            let (Some(key), "QUERY") = (key.get(row), part) else { return Ok(false) };
            let value = url.query.and_then(|q| {
                q.split('&').find_map(|pair| pair.split_once('=').filter(|(k, _)| *k == key).map(|(_, v)| v))
            });
            return Ok(value.map(|v| out.push_str(v)).is_some());
        }
        let value = match part {
            "HOST" => Some(url.host),
            "PATH" => Some(url.path),
            "QUERY" => url.query,
            "REF" => url.reference,
            "PROTOCOL" => {
                out.push_str(&url.protocol.to_ascii_lowercase());
                return Ok(true);
            }
            "AUTHORITY" => Some(url.authority),
            "USERINFO" => url.user,
            "FILE" => {
                out.push_str(url.path);
                if let Some(q) = url.query {
                    out.push('?');
                    out.push_str(q);
                }
                return Ok(true);
            }
            _ => None,
        };
        Ok(value.map(|v| out.push_str(v)).is_some())
    })
}

fn not_null_boolean(_: &super::scalar::Binding<'_>) -> Result<Field> {
    Ok(Field::new("", DataType::Boolean, false))
}

/// FALSE for NULL. Numbers are tested as their texts.
fn test(call: &Call<'_>, is: fn(&str) -> bool) -> Result<ArrayRef> {
    let text = call.text(0)?;
    call.booleans(|row| Ok(Some(text.get(row).is_some_and(is))))
}

fn is_alpha(t: &str) -> bool {
    !t.is_empty() && t.chars().all(char::is_alphabetic)
}

fn is_digit(t: &str) -> bool {
    !t.is_empty() && t.chars().all(char::is_numeric)
}

fn is_decimal(t: &str) -> bool {
    super::parse::double(t).is_some()
}
