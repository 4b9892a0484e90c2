//! Types of Kafka's protocol as bytes, in the classic encoding and the compact one of newer requests.

/// A body being written.
#[derive(Debug, Default)]
pub(in super::super) struct Body(pub Vec<u8>);

impl Body {
    pub(in super::super) fn int8(mut self, value: i8) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(in super::super) fn int16(mut self, value: i16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(in super::super) fn int32(mut self, value: i32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(in super::super) fn int64(mut self, value: i64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(in super::super) fn string(self, value: &str) -> Self {
        // Kafka's names have at most 249 letters; transactional ids come from options of the same order.
        let bytes = &value.as_bytes()[..value.len().min(i16::MAX as usize)];
        let mut body = self.int16(bytes.len() as i16);
        body.0.extend(bytes);
        body
    }

    pub(in super::super) fn bytes(self, value: &[u8]) -> Self {
        let mut body = self.int32(i32::try_from(value.len()).unwrap_or(i32::MAX));
        body.0.extend(value);
        body
    }

    fn varint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// Length of a compact array.
    pub(in super::super) fn compact_array(mut self, length: usize) -> Self {
        self.varint(length + 1);
        self
    }

    pub(in super::super) fn compact_string(mut self, value: &str) -> Self {
        self.varint(value.len() + 1);
        self.0.extend(value.as_bytes());
        self
    }

    /// No tagged fields.
    pub(in super::super) fn no_tags(mut self) -> Self {
        self.0.push(0);
        self
    }
}

/// An answer being read. Every read past its end gives `None`.
#[derive(Debug)]
pub(in super::super) struct Answer<'a>(pub &'a [u8]);

impl<'a> Answer<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    pub(in super::super) fn int8(&mut self) -> Option<i8> {
        Some(self.take(1)?[0] as i8)
    }

    pub(in super::super) fn int16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    pub(in super::super) fn int32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(in super::super) fn int64(&mut self) -> Option<i64> {
        Some(i64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    /// A string, empty for null.
    pub(in super::super) fn string(&mut self) -> Option<String> {
        let length = self.int16()?;
        if length < 0 {
            return Some(String::new());
        }
        Some(String::from_utf8_lossy(self.take(length as usize)?).into_owned())
    }

    pub(in super::super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.int32()?;
        self.take(usize::try_from(length).unwrap_or(0))
    }

    /// Length of an array, 0 for null.
    pub(in super::super) fn array(&mut self) -> Option<usize> {
        Some(usize::try_from(self.int32()?).unwrap_or(0))
    }

    fn varint(&mut self) -> Option<usize> {
        let (mut value, mut shift) = (0_usize, 0);
        loop {
            let byte = self.take(1)?[0];
            value |= usize::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
            shift += 7;
            if shift > 28 {
                return None;
            }
        }
    }

    /// Length of a compact array, 0 for null.
    pub(in super::super) fn compact_array(&mut self) -> Option<usize> {
        Some(self.varint()?.saturating_sub(1))
    }

    /// A compact string, empty for null.
    pub(in super::super) fn compact_string(&mut self) -> Option<String> {
        let length = self.varint()?.saturating_sub(1);
        Some(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    /// Passes tagged fields over.
    pub(in super::super) fn tags(&mut self) -> Option<()> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let length = self.varint()?;
            self.take(length)?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let long = "x".repeat(300);
        let body = Body::default().int16(-2).string("ab").int64(1 << 40).bytes(b"xyz").compact_array(2);
        let body = body.compact_string(&long).no_tags().compact_string("").int8(1);
        let mut answer = Answer(&body.0);
        assert_eq!(answer.int16(), Some(-2));
        assert_eq!(answer.string().as_deref(), Some("ab"));
        assert_eq!(answer.int64(), Some(1 << 40));
        assert_eq!(answer.bytes(), Some(b"xyz".as_slice()));
        assert_eq!(answer.compact_array(), Some(2));
        assert_eq!(answer.compact_string(), Some(long));
        assert_eq!(answer.tags(), Some(()));
        assert_eq!(answer.compact_string().as_deref(), Some(""));
        assert_eq!(answer.int8(), Some(1));
        assert_eq!(answer.int8(), None);
        assert_eq!(Answer(&[0xff; 9]).compact_string(), None);
    }
}
