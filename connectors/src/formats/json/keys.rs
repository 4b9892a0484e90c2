//! `KeyOrder`: the keys of an object in the order in which they come, learned while reading, so that the next key is
//! usually found with one comparison.

use super::cursor::Cursor;
use super::scan::{Scan, unescape};
use std::collections::HashMap;

/// Most keys remembered for one object: keys may be data.
const MAX_KEYS: usize = 256;
const NONE: usize = usize::MAX;

/// See the head of the file.
#[derive(Debug)]
pub(in crate::formats) struct KeyOrder {
    known: Vec<Key>,
    /// Place in `known` by the raw text between the quotes.
    places: HashMap<Box<[u8]>, usize>,
    /// Place of a column by its plain name.
    columns: HashMap<Box<[u8]>, usize>,
    first: usize,
}

/// A key that was seen.
#[derive(Debug)]
struct Key {
    /// Its text with both quotes and the colon: the first 16 bytes, and which of them count.
    head: u128,
    mask: u128,
    /// The whole of it.
    literal: Box<[u8]>,
    /// Its column; `None` if nobody reads it.
    column: Option<usize>,
    /// Place of the key that came after it last time.
    next: usize,
}

/// Where prediction stands within one object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prediction {
    previous: usize,
    guess: usize,
}

impl KeyOrder {
    pub(in crate::formats) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let columns = names.enumerate().map(|(i, n)| (n.as_bytes().into(), i)).collect();
        Self { known: Vec::new(), places: HashMap::new(), columns, first: NONE }
    }

    /// At the beginning of an object.
    #[inline(always)]
    pub(super) fn begin(&self) -> Prediction {
        Prediction { previous: NONE, guess: self.first }
    }

    /// Passes the key at hand and its colon, standing on its quote. Gives its column, `None` if nobody reads it.
    #[inline(always)]
    pub(super) fn next(&mut self, cursor: &mut Cursor<'_>, at: &mut Prediction) -> Scan<Option<usize>> {
        if let Some(key) = self.known.get(at.guess)
            && cursor.literal(key.head, key.mask, &key.literal)
        {
            *at = Prediction { previous: at.guess, guess: key.next };
            return Ok(key.column);
        }
        self.slow(cursor, at)
    }

    #[cold]
    fn slow(&mut self, cursor: &mut Cursor<'_>, at: &mut Prediction) -> Scan<Option<usize>> {
        if cursor.peek() != b'"' {
            return cursor.fault("a key in double quotes");
        }
        let (start, end, escaped) = cursor.string()?;
        cursor.blanks();
        cursor.expect(b':', "':' after a key")?;
        let raw = cursor.slice(start, end);
        let place = match self.places.get(raw) {
            Some(place) => *place,
            None => {
                let column = if escaped {
                    let mut plain = Vec::new();
                    unescape(&mut plain, raw);
                    self.columns.get(plain.as_slice())
                } else {
                    self.columns.get(raw)
                };
                let column = column.copied();
                if self.known.len() == MAX_KEYS {
                    return Ok(column);
                }
                self.places.insert(raw.into(), self.known.len());
                self.known.push(Key::new(cursor.slice(start - 1, end + 1), column));
                self.known.len() - 1
            }
        };
        match self.known.get_mut(at.previous) {
            Some(previous) => previous.next = place,
            None => self.first = place,
        }
        *at = Prediction { previous: place, guess: self.known[place].next };
        Ok(self.known[place].column)
    }
}

impl Key {
    /// `quoted` is its text with both quotes.
    fn new(quoted: &[u8], column: Option<usize>) -> Self {
        let literal = [quoted, b":"].concat();
        let mut head = [0; 16];
        let n = literal.len().min(16);
        head[..n].copy_from_slice(&literal[..n]);
        let mask = if n == 16 { u128::MAX } else { (1u128 << (8 * n)) - 1 };
        Self { head: u128::from_le_bytes(head), mask, literal: literal.into(), column, next: NONE }
    }
}
