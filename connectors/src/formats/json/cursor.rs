//! `Cursor`: a place in a text that zero bytes follow, and the loads of many bytes at once. The only code of the decoder
//! that goes without bounds tests.
//!
//! What makes it sound: behind the text lie [`PADDING_BYTES`] zero bytes (`new` looks), and `at` never goes past the
//! text's end. A cursor moves over bytes that are not zero, which the padding does not have, or to a place that was
//! compared with the end. So no load reads further than `PADDING_BYTES` behind the end.

use crate::formats::PADDING_BYTES;

/// Bytes that a string is searched and copied by.
const STEP: usize = 32;
/// 10 to the power of the index.
const POWERS: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// See the head of the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    /// The text and its padding.
    bytes: &'a [u8],
    at: usize,
    /// The text's length.
    last: usize,
}

impl<'a> Cursor<'a> {
    /// At the beginning of the text in the first `length` bytes. `None` if they are not followed by the padding.
    pub fn new(bytes: &'a [u8], length: usize) -> Option<Self> {
        let padding = bytes.get(length..)?.get(..PADDING_BYTES)?;
        padding.iter().all(|b| *b == 0).then_some(Self { bytes, at: 0, last: length })
    }

    /// The place, counted from the beginning of the text.
    #[inline(always)]
    pub fn at(&self) -> usize {
        self.at
    }

    /// The same text at `at`, which must not lie behind its end.
    pub fn moved(self, at: usize) -> Self {
        assert!(at <= self.last, "a place in the text");
        Self { at, ..self }
    }

    /// A stretch of the text.
    #[inline(always)]
    pub fn slice(&self, start: usize, end: usize) -> &'a [u8] {
        &self.bytes[start..end]
    }

    /// The byte at hand; 0 at the end.
    #[inline(always)]
    pub fn peek(&self) -> u8 {
        // SAFETY: the head of the file.
        unsafe { *self.bytes.get_unchecked(self.at) }
    }

    /// Whether the text has come to its end.
    #[inline(always)]
    pub fn is_at_end(&self) -> bool {
        self.at == self.last
    }

    /// Passes the byte at hand if it is not zero.
    #[inline(always)]
    pub fn bump(&mut self) {
        // The compiler drops the test where the byte was looked at.
        if self.peek() != 0 {
            self.at += 1;
        }
    }

    /// Passes blanks.
    #[inline(always)]
    pub fn blanks(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.bump();
        }
    }

    /// The `N` bytes that begin `ahead` bytes from here; what lies behind the end is zero.
    #[inline(always)]
    fn load<const N: usize>(&self, ahead: usize) -> [u8; N] {
        const { assert!(N <= STEP) };
        debug_assert!(ahead + N <= PADDING_BYTES);
        // SAFETY: the head of the file; callers pass sums below the padding.
        unsafe { self.bytes.as_ptr().add(self.at + ahead).cast::<[u8; N]>().read_unaligned() }
    }

    /// Passes `word` if it is at hand.
    #[inline(always)]
    pub fn word<const N: usize>(&mut self, word: &[u8; N]) -> bool {
        let same = self.load::<N>(0) == *word;
        if same && word[N - 1] != 0 {
            self.at += N;
        }
        same
    }

    /// Passes the `length` bytes whose first 16 are those of `head` under `mask`. The last of them is not zero.
    #[inline(always)]
    pub fn literal(&mut self, head: u128, mask: u128, literal: &[u8]) -> bool {
        let length = literal.len();
        if (u128::from_le_bytes(self.load(0)) ^ head) & mask != 0 {
            return false;
        }
        // A literal of this length that was found lies in the text, since its last byte is not zero.
        let found = match length {
            0..=16 => true,
            _ => self.bytes.get(self.at..self.at + length) == Some(literal),
        };
        if found && self.at + length <= self.last {
            self.at += length;
            return true;
        }
        false
    }

    /// Goes to the first `"` or `\` from here on and gives it; 0 if there is none.
    #[inline(always)]
    pub fn find_special(&mut self) -> u8 {
        loop {
            let at = first_special(&self.load(0));
            if at < STEP {
                // Neither is zero, so the place lies in the text.
                self.at += at;
                return self.peek();
            }
            if self.at + STEP >= self.last {
                self.at = self.last;
                return 0;
            }
            self.at += STEP;
        }
    }

    /// The same, and appends what is passed to `out`.
    #[inline(always)]
    pub fn copy_to_special(&mut self, out: &mut Vec<u8>) -> u8 {
        loop {
            let step: [u8; STEP] = self.load(0);
            let length = out.len();
            if out.capacity() - length < STEP {
                out.reserve(STEP);
            }
            let at = first_special(&step);
            let passed = if at < STEP { at } else { STEP.min(self.last - self.at) };
            // SAFETY: there is room for a step; the bytes up to the new length are written.
            unsafe {
                out.as_mut_ptr().add(length).cast::<[u8; STEP]>().write_unaligned(step);
                out.set_len(length + passed);
            }
            self.at += passed;
            if at < STEP {
                return self.peek();
            }
            if self.at == self.last {
                return 0;
            }
        }
    }

    /// Passes an integer of at most 15 digits without fraction, exponent or leading zeros. Does not move for others.
    #[inline(always)]
    pub fn plain_integer(&mut self) -> Option<i64> {
        let negative = usize::from(self.peek() == b'-');
        let head: [u8; 8] = self.load(negative);
        let (mut value, mut digits) = leading_digits(u64::from_le_bytes(head));
        if digits == 8 {
            let (low, more) = leading_digits(u64::from_le_bytes(self.load(negative + 8)));
            if more == 8 {
                return None;
            }
            value = value * POWERS[more] + low;
            digits += more;
        }
        if digits == 0 || (head[0] == b'0' && digits > 1) {
            return None;
        }
        // A sign and digits are not zero, so this is in the text, or the end of it.
        let [next] = self.load::<1>(negative + digits);
        if !matches!(next, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r') {
            return None;
        }
        self.at += negative + digits;
        let value = value as i64;
        Some(if negative == 1 { -value } else { value })
    }

    /// Passes `"HHHHHHHHHHHHHHHH:ss.SSS"` with the 16 bytes `minute` and gives the milliseconds behind them. Does not
    /// move for others.
    #[inline(always)]
    pub fn milliseconds_of(&mut self, minute: &[u8; 16]) -> Option<i64> {
        if self.load::<16>(1) != *minute || self.peek() != b'"' {
            return None;
        }
        // Each byte without the form's, the least in front: 0, a digit where the form has 0.
        let form = u64::from_le_bytes(*b":00.000\"");
        let rest = u64::from_le_bytes(self.load(17)) ^ form;
        // Sets the high bit of each byte that is more than 0, 5 for tens of seconds, or 9.
        let over = rest.wrapping_add(0x7f76_7676_7f76_7a7f) | rest;
        if over & 0x8080_8080_8080_8080 != 0 {
            return None;
        }
        let digit = |n: u32| (rest >> (8 * n) & 0xf) as i64;
        // The last byte passed is the quote.
        self.at += 25;
        Some(digit(1) * 10_000 + digit(2) * 1_000 + digit(4) * 100 + digit(5) * 10 + digit(6))
    }
}

/// The value of the digits that eight bytes (the first one lowest) begin with, and how many there are.
#[inline(always)]
fn leading_digits(eight: u64) -> (u64, usize) {
    let digits = eight ^ 0x3030_3030_3030_3030;
    // Sets the high bit of the first byte that is no digit (and perhaps of bytes behind it).
    let other = (digits.wrapping_add(0x7676_7676_7676_7676) | digits) & 0x8080_8080_8080_8080;
    let count = (other.trailing_zeros() / 8) as usize;
    // The digits go to the end, zeros before them.
    let digits = if count == 0 { 0 } else { digits << (64 - 8 * count) };
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let low = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let high = (pairs >> 16 & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    (low.wrapping_add(high) >> 32, count)
}

/// Place of the first `"` or `\`; `STEP` if there is none.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn first_special(step: &[u8; STEP]) -> usize {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
    };
    // SAFETY: SSE2 is part of x86-64; both halves lie in the array.
    let mask = unsafe {
        let quote = _mm_set1_epi8(b'"' as i8);
        let backslash = _mm_set1_epi8(b'\\' as i8);
        let half = |n: usize| {
            let bytes = _mm_loadu_si128(step.as_ptr().add(16 * n).cast::<__m128i>());
            let found = _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash));
            _mm_movemask_epi8(found) as u32
        };
        half(0) | half(1) << 16
    };
    mask.trailing_zeros() as usize
}

/// Place of the first `"` or `\`; `STEP` if there is none.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn first_special(step: &[u8; STEP]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (words, _) = step.as_chunks::<8>();
    for (n, word) in words.iter().enumerate() {
        // A byte that equals the pattern becomes zero, and the lowest zero byte is found exactly.
        let word = u64::from_le_bytes(*word);
        let quote = word ^ (ONES * u64::from(b'"'));
        let backslash = word ^ (ONES * u64::from(b'\\'));
        let found = (quote.wrapping_sub(ONES) & !quote | backslash.wrapping_sub(ONES) & !backslash) & HIGH;
        if found != 0 {
            return 8 * n + found.trailing_zeros() as usize / 8;
        }
    }
    STEP
}

#[cfg(test)]
mod tests {
    use super::*;

    fn padded(text: &[u8]) -> Vec<u8> {
        [text, &[0; PADDING_BYTES]].concat()
    }

    #[test]
    fn a_text_without_padding_is_refused() {
        assert!(Cursor::new(b"abc", 3).is_none());
        assert!(Cursor::new(&padded(b"abc"), 3).is_some());
        assert!(Cursor::new(&padded(b"abc"), 4).is_none());
        assert!(Cursor::new(&padded(b"abc"), 2).is_none());
        assert!(Cursor::new(&padded(b""), usize::MAX).is_none());
    }

    #[test]
    fn specials_are_found_at_every_place_and_bytes_copied() {
        for length in 0..100 {
            for special in [b'"', b'\\'] {
                let mut text = vec![b'x'; length];
                // Zero bytes and others that differ from the specials in one bit are plain.
                for (i, byte) in text.iter_mut().enumerate() {
                    *byte = [b'x', 0, b'#', b' ', b']', 0xa2, 0xdc][i % 7];
                }
                let plain = text.clone();
                text.push(special);
                text.extend_from_slice(b"zz\"");
                let bytes = padded(&text);
                let mut cursor = Cursor::new(&bytes, text.len()).unwrap();
                assert_eq!((cursor.find_special(), cursor.at()), (special, length));
                let mut cursor = Cursor::new(&bytes, text.len()).unwrap();
                let mut out = b"before".to_vec();
                assert_eq!(cursor.copy_to_special(&mut out), special);
                assert_eq!((cursor.at(), &out[6..]), (length, &plain[..]));
                let bytes = padded(&plain);
                let mut cursor = Cursor::new(&bytes, length).unwrap();
                let mut out = Vec::new();
                assert_eq!((cursor.copy_to_special(&mut out), cursor.at()), (0, length));
                assert_eq!(out, plain);
                let mut cursor = Cursor::new(&bytes, length).unwrap();
                assert_eq!((cursor.find_special(), cursor.at(), cursor.is_at_end()), (0, length, true));
            }
        }
    }

    #[test]
    fn integers_are_those_of_parse() {
        let mut texts: Vec<String> =
            ["", "-", "00", "01", "-01", "1.5", "1e3", "12a", "--1", "+1", "1/", "1:", "9\u{0}"]
                .map(String::from)
                .to_vec();
        for digits in 1..20 {
            texts.push("9".repeat(digits));
            texts.push(format!("-1{}", "0".repeat(digits)));
            texts.push("1234567890123456789"[..digits].to_string());
        }
        texts.extend(["0", "-0", "-7"].map(String::from));
        for text in texts {
            for end in [",", "}", "]", " ", "\n", "\"", "x", ""] {
                let whole = format!("{text}{end}");
                let bytes = padded(whole.as_bytes());
                let mut cursor = Cursor::new(&bytes, whole.len()).unwrap();
                let expected = text.parse::<i64>().ok().filter(|_| {
                    let digits = text.trim_start_matches('-');
                    digits.len() < 16
                        && (digits == "0" || !digits.starts_with('0'))
                        && !text.starts_with('+')
                        && matches!(end, "," | "}" | "]" | " " | "\n")
                });
                let at = expected.map_or(0, |_| text.len());
                assert_eq!((cursor.plain_integer(), cursor.at()), (expected, at), "{whole}");
            }
        }
    }

    #[test]
    fn seconds_behind_a_known_minute() {
        let minute = b"2024-06-12 15:08";
        let read = |text: &str| {
            let bytes = padded(text.as_bytes());
            let mut cursor = Cursor::new(&bytes, text.len()).unwrap();
            let value = cursor.milliseconds_of(minute);
            assert_eq!(cursor.at(), if value.is_some() { text.len() } else { 0 });
            value
        };
        for ms in 0..60_000 {
            let text = format!("\"2024-06-12 15:08:{:02}.{:03}\"", ms / 1000, ms % 1000);
            assert_eq!(read(&text), Some(ms));
        }
        for text in [
            "\"2024-06-12 15:08:60.000\"",
            "\"2024-06-12 15:08:00.0000\"",
            "\"2024-06-12 15:08:00.00\"",
            "\"2024-06-12 15:08:00,000\"",
            "\"2024-06-12 15:08:0:.000\"",
            "\"2024-06-12 15:08:/0.000\"",
            "\"2024-06-12 15:08:00.0\u{e9}\"",
            "\"2024-06-12 15:08:00.000",
            "\"2024-06-12 15:09:00.000\"",
            "x2024-06-12 15:08:00.000\"",
            "\"2024-06-12 15:08",
            "",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn literals_and_words_lie_in_the_text() {
        let bytes = padded(b"nul");
        assert!(!Cursor::new(&bytes, 3).unwrap().word(b"null"));
        let bytes = padded(b"null");
        let mut cursor = Cursor::new(&bytes, 4).unwrap();
        assert!(cursor.word(b"null") && cursor.is_at_end());
        let long = b"\"a key of more than sixteen\":";
        let head = u128::from_le_bytes(long[..16].try_into().unwrap());
        let bytes = padded(long);
        let mut cursor = Cursor::new(&bytes, long.len()).unwrap();
        assert!(cursor.literal(head, u128::MAX, long) && cursor.is_at_end());
        let bytes = padded(&long[..long.len() - 1]);
        assert!(!Cursor::new(&bytes, long.len() - 1).unwrap().literal(head, u128::MAX, long));
    }
}
