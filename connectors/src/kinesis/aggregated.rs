//! Records of the Kinesis Producer Library, which packs many user records into one: the magic number, a
//! protobuf message and its MD5.
//!
//! The message: 1 = partition keys (string, repeated), 2 = explicit hash keys (string, repeated), 3 = records
//! (message, repeated) with 1 = index of the partition key, 2 = index of the hash key, 3 = data, 4 = tags.

use std::ops::Range;

/// First bytes of an aggregated record.
const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];
/// Length of the MD5 behind the message.
const DIGEST_BYTES: usize = 16;

/// Where the user records lie in `data`, or `None` if it is not an aggregated record. Bytes that only begin
/// like one, but whose digest is another, are a plain record.
///
/// Errors: the digest is right but the message is not one of the library.
pub fn user_records(data: &[u8]) -> Result<Option<Vec<Range<usize>>>, String> {
    if !data.starts_with(&MAGIC) || data.len() < MAGIC.len() + DIGEST_BYTES {
        return Ok(None);
    }
    let end = data.len() - DIGEST_BYTES;
    if md5(&data[MAGIC.len()..end]) != data[end..] {
        return Ok(None);
    }
    let mut records = Vec::new();
    let mut message = Message { data, at: MAGIC.len(), end };
    while let Some(field) = message.next()? {
        if let (3, Value::Bytes(range)) = field {
            let mut record = Message { data, at: range.start, end: range.end };
            while let Some(field) = record.next()? {
                if let (3, Value::Bytes(range)) = field {
                    records.push(range);
                }
            }
        }
    }
    Ok(Some(records))
}

enum Value {
    Number,
    Bytes(Range<usize>),
}

/// Walks over the fields of a protobuf message.
struct Message<'a> {
    data: &'a [u8],
    at: usize,
    end: usize,
}

impl Message<'_> {
    fn next(&mut self) -> Result<Option<(u64, Value)>, String> {
        if self.at == self.end {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => {
                self.varint()?;
                Value::Number
            }
            1 => self.skip(8)?,
            2 => {
                let length = self.varint()?;
                let start = self.at;
                self.skip(length)?;
                Value::Bytes(start..self.at)
            }
            5 => self.skip(4)?,
            kind => return Err(format!("an aggregated record has a field of unknown kind {kind}")),
        };
        Ok(Some((key >> 3, value)))
    }

    fn skip(&mut self, length: u64) -> Result<Value, String> {
        match usize::try_from(length).ok().and_then(|l| self.at.checked_add(l)).filter(|at| *at <= self.end) {
            Some(at) => {
                self.at = at;
                Ok(Value::Number)
            }
            None => Err("an aggregated record is cut off".to_string()),
        }
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.data[..self.end].get(self.at).ok_or("an aggregated record is cut off")?;
            self.at += 1;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("an aggregated record has a number of more than 64 bits".to_string())
    }
}

/// MD5 (RFC 1321); only a checksum here.
fn md5(data: &[u8]) -> [u8; DIGEST_BYTES] {
    const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    let mut padded = data.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64), 0);
    if padded.len() - data.len() < 9 {
        padded.resize(padded.len() + 64, 0);
    }
    let end = padded.len() - 8;
    padded[end..].copy_from_slice(&(data.len() as u64).wrapping_mul(8).to_le_bytes());
    let constants: [u32; 64] =
        std::array::from_fn(|i| (((i + 1) as f64).sin().abs() * 4_294_967_296.0) as u32);
    let mut state = [0x6745_2301_u32, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476];
    for block in padded.chunks_exact(64) {
        let word = |i: usize| {
            u32::from_le_bytes([block[4 * i], block[4 * i + 1], block[4 * i + 2], block[4 * i + 3]])
        };
        let [mut a, mut b, mut c, mut d] = state;
        for (i, constant) in constants.iter().enumerate() {
            let (mixed, index) = match i / 16 {
                0 => ((b & c) | (!b & d), i),
                1 => ((d & b) | (!d & c), (5 * i + 1) % 16),
                2 => (b ^ c ^ d, (3 * i + 5) % 16),
                _ => (c ^ (b | !d), (7 * i) % 16),
            };
            let sum = a.wrapping_add(mixed).wrapping_add(*constant).wrapping_add(word(index));
            (a, d, c) = (d, c, b);
            b = b.wrapping_add(sum.rotate_left(SHIFTS[i / 16][i % 4]));
        }
        for (total, part) in state.iter_mut().zip([a, b, c, d]) {
            *total = total.wrapping_add(part);
        }
    }
    let mut digest = [0; DIGEST_BYTES];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    digest
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn md5_gives_the_digests_of_the_standard() {
        assert_eq!(hex(&md5(b"")), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(hex(&md5(b"abc")), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(hex(&md5(b"message digest")), "f96b697d7cb7938d525a2f31aaf161d0");
        let long = "1234567890".repeat(8);
        assert_eq!(hex(&md5(long.as_bytes())), "57edf4a22be3c955ac49da2e2107b67a");
        for length in [55, 56, 57, 63, 64, 65] {
            assert_ne!(md5(&vec![b'x'; length]), md5(&vec![b'x'; length + 1]));
        }
    }

    /// User records under one partition key.
    pub fn aggregated(parts: &[&[u8]]) -> Vec<u8> {
        let mut message = vec![0x0A, 1, b'k'];
        for part in parts {
            let mut record = vec![0x08, 0, 0x1A, u8::try_from(part.len()).unwrap()];
            record.extend_from_slice(part);
            message.extend([0x1A, u8::try_from(record.len()).unwrap()]);
            message.extend(record);
        }
        let mut data = MAGIC.to_vec();
        data.extend(&message);
        data.extend(md5(&message));
        data
    }

    #[test]
    fn user_records_are_found() {
        let data = aggregated(&[b"one", b"", b"three"]);
        let found = user_records(&data).unwrap().unwrap();
        let texts = found.into_iter().map(|r| &data[r]).collect::<Vec<_>>();
        assert_eq!(texts, [&b"one"[..], b"", b"three"]);
    }

    #[test]
    fn other_records_are_left_alone() {
        assert_eq!(user_records(b"{\"a\":1}"), Ok(None));
        assert_eq!(user_records(&MAGIC), Ok(None));
        let mut data = aggregated(&[b"one"]);
        *data.last_mut().unwrap() ^= 1;
        assert_eq!(user_records(&data), Ok(None), "a wrong digest means that it only looks like one");
    }

    #[test]
    fn a_broken_message_is_an_error() {
        let message = [0x1A, 9, 0x1A];
        let mut data = MAGIC.to_vec();
        data.extend(message);
        data.extend(md5(&message));
        assert!(user_records(&data).unwrap_err().contains("cut off"));
    }
}
