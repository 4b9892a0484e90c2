//! Record batches (format 2, Kafka 0.11 and later) as they lie in an answer, and the records in them.

use super::super::record::{Record, TimestampType};
use super::compression::{Codec, Damage};
use std::str;

/// Bytes of a batch before its records.
const HEADER: usize = 61;

/// Bytes before those that a batch's length counts.
const PREFIX: usize = 12;

/// Where the bytes begin that the checksum is of.
const CHECKED: usize = 21;

/// Where the number of the format stands, in all formats.
const MAGIC_AT: usize = 16;

/// The format that is read here.
const MAGIC: u8 = 2;

/// Batches one after the other. The last one may be cut off; it is left out.
pub(super) struct Batches<'a>(pub &'a [u8]);

/// A batch of records.
#[derive(Clone, Copy)]
pub(super) struct Batch<'a> {
    bytes: &'a [u8],
}

fn bytes<const N: usize>(from: &[u8], at: usize) -> [u8; N] {
    let mut to = [0; N];
    to.copy_from_slice(&from[at..at + N]);
    to
}

impl<'a> Iterator for Batches<'a> {
    type Item = Batch<'a>;

    fn next(&mut self) -> Option<Batch<'a>> {
        if self.0.len() <= MAGIC_AT {
            return None;
        }
        let length = usize::try_from(i32::from_be_bytes(bytes(self.0, 8))).ok()?;
        let (batch, rest) = self.0.split_at_checked(PREFIX + length)?;
        self.0 = rest;
        Some(Batch { bytes: batch })
    }
}

impl<'a> Batch<'a> {
    fn int16(self, at: usize) -> i16 {
        i16::from_be_bytes(bytes(self.bytes, at))
    }

    fn int32(self, at: usize) -> i32 {
        i32::from_be_bytes(bytes(self.bytes, at))
    }

    fn int64(self, at: usize) -> i64 {
        i64::from_be_bytes(bytes(self.bytes, at))
    }

    /// Whether it is of the format that is read here; of others nothing else may be asked.
    pub(super) fn is_known(self) -> bool {
        self.bytes.len() >= HEADER && self.bytes[MAGIC_AT] == MAGIC
    }

    fn base_offset(self) -> i64 {
        self.int64(0)
    }

    /// Of its last record, also where compaction took that one away.
    pub(super) fn last_offset(self) -> i64 {
        self.base_offset().saturating_add(i64::from(self.int32(23)))
    }

    /// Whether its bytes are those that were written.
    pub(super) fn is_sound(self) -> bool {
        crc32c::crc32c(&self.bytes[CHECKED..]) == u32::from_be_bytes(bytes(self.bytes, 17))
    }

    fn attributes(self) -> i16 {
        self.int16(21)
    }

    /// Whether it is part of a transaction.
    pub(super) fn is_transactional(self) -> bool {
        self.attributes() & 0x10 != 0
    }

    /// Whether it is no data but the mark where a transaction ended.
    pub(super) fn is_control(self) -> bool {
        self.attributes() & 0x20 != 0
    }

    /// Who wrote it.
    pub(super) fn producer_id(self) -> i64 {
        self.int64(43)
    }

    /// Whether this mark says that the transaction was aborted.
    pub(super) fn aborts(self) -> bool {
        let mut records = self.records(&self.bytes[HEADER..]);
        matches!(records.next(), Some(Ok(mark)) if mark.key.is_some_and(|k| k.get(2..4) == Some(&[0, 0])))
    }

    /// Its records' bytes, decompressed into `room` if they are compressed.
    ///
    /// Errors: they do not decompress.
    pub(super) fn open(self, room: &'a mut Vec<u8>) -> Result<&'a [u8], Damage> {
        let packed = &self.bytes[HEADER..];
        match Codec::of(self.attributes() & 7)? {
            None => Ok(packed),
            Some(codec) => {
                room.clear();
                codec.decompress(packed, room)?;
                Ok(room)
            }
        }
    }

    /// The records in `bytes`, which `open` gave.
    pub(super) fn records<'b>(self, bytes: &'b [u8]) -> Records<'b> {
        let stamped_by_log = self.attributes() & 8 != 0;
        Records {
            bytes,
            left: self.int32(57).max(0),
            common: Common {
                base_offset: self.base_offset(),
                base_time: self.int64(27),
                log_time: stamped_by_log.then(|| self.int64(35)),
                epoch: self.int32(12),
            },
        }
    }
}

/// What records of a batch share.
#[derive(Clone, Copy)]
struct Common {
    base_offset: i64,
    base_time: i64,
    log_time: Option<i64>,
    epoch: i32,
}

/// Records one after the other; ends after the first error.
pub(super) struct Records<'a> {
    bytes: &'a [u8],
    left: i32,
    common: Common,
}

/// A record in an answer.
pub(in super::super) struct FetchedRecord<'a> {
    offset: i64,
    time: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    /// Number of headers, then each of them.
    headers: &'a [u8],
    common: Common,
}

/// Takes a number in zig-zag encoding, 7 bits a byte.
#[inline]
fn varint(bytes: &mut &[u8]) -> Option<i64> {
    let (first, rest) = bytes.split_first()?;
    let mut value = u64::from(*first);
    *bytes = rest;
    if value >= 0x80 {
        value &= 0x7f;
        let mut shift = 7;
        loop {
            let (byte, rest) = bytes.split_first()?;
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                break;
            }
            shift += 7;
            if shift > 63 {
                return None;
            }
        }
    }
    Some((value >> 1) as i64 ^ -((value & 1) as i64))
}

/// Takes a length and as many bytes; `None` inside for null.
#[inline]
fn sized<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let Ok(length) = usize::try_from(varint(bytes)?) else { return Some(None) };
    let (head, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(Some(head))
}

impl<'a> Records<'a> {
    #[inline]
    fn take(&mut self) -> Option<FetchedRecord<'a>> {
        let mut bytes = sized(&mut self.bytes)??;
        bytes = bytes.split_first()?.1;
        let time = varint(&mut bytes)?;
        let offset = self.common.base_offset.saturating_add(varint(&mut bytes)?);
        let key = sized(&mut bytes)?;
        let value = sized(&mut bytes)?;
        Some(FetchedRecord { offset, time, key, value, headers: bytes, common: self.common })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<FetchedRecord<'a>, Damage>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let record = self.take();
        if record.is_none() {
            self.left = 0;
        }
        Some(record.ok_or(Damage("its records are cut off")))
    }
}

impl Record for FetchedRecord<'_> {
    fn offset(&self) -> i64 {
        self.offset
    }

    fn key(&self) -> Option<&[u8]> {
        self.key
    }

    fn value(&self) -> Option<&[u8]> {
        self.value
    }

    fn timestamp(&self) -> (i64, TimestampType) {
        match self.common.log_time {
            Some(time) => (time, TimestampType::LogAppend),
            None => (self.common.base_time.saturating_add(self.time), TimestampType::Create),
        }
    }

    fn leader_epoch(&self) -> Option<i32> {
        (self.common.epoch >= 0).then_some(self.common.epoch)
    }

    fn headers(&self, each: &mut dyn FnMut(&str, Option<&[u8]>)) {
        let mut bytes = self.headers;
        let mut walk = || {
            for _ in 0..varint(&mut bytes)? {
                let name = sized(&mut bytes)??;
                each(&String::from_utf8_lossy(name), sized(&mut bytes)?);
            }
            Some(())
        };
        walk();
    }
}

/// Transactions of one answer that were aborted.
pub(super) struct Aborted {
    /// Producer and first offset, in rising order of the latter, those that did not begin yet.
    waiting: Vec<(i64, i64)>,
    /// Producers whose records are of an aborted transaction where reading is.
    open: Vec<i64>,
}

impl Aborted {
    /// Of producers, each with the first offset of its transaction.
    pub(super) fn new(mut transactions: Vec<(i64, i64)>) -> Self {
        transactions.sort_by_key(|(_, first)| std::cmp::Reverse(*first));
        Self { waiting: transactions, open: Vec::new() }
    }

    /// Whether `batch`, which follows the one that was asked about before, is to be left out.
    pub(super) fn hides(&mut self, batch: Batch<'_>) -> bool {
        if !batch.is_transactional() {
            return false;
        }
        while let Some((producer, _)) = self.waiting.pop_if(|(_, first)| *first <= batch.last_offset()) {
            self.open.push(producer);
        }
        let producer = batch.producer_id();
        if batch.is_control() && batch.aborts() {
            self.open.retain(|p| *p != producer);
        }
        self.open.contains(&producer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(out: &mut Vec<u8>, value: i64) {
        let mut rest = (value << 1 ^ value >> 63) as u64;
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }

    fn put_sized(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
        put(out, bytes.map_or(-1, |b| b.len() as i64));
        out.extend(bytes.unwrap_or_default());
    }

    type Pair<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

    /// A batch from offset 100 on, with a record for each key and value.
    fn batch(attributes: i16, producer: i64, pairs: &[Pair<'_>]) -> Vec<u8> {
        let mut records = Vec::new();
        for (n, (key, value)) in pairs.iter().enumerate() {
            let mut one = vec![0];
            put(&mut one, n as i64 * 10);
            put(&mut one, n as i64);
            put_sized(&mut one, *key);
            put_sized(&mut one, *value);
            put(&mut one, 2);
            put_sized(&mut one, Some(b"h"));
            put_sized(&mut one, Some(b"v"));
            put_sized(&mut one, Some(b"n"));
            put_sized(&mut one, None);
            put_sized(&mut records, Some(&one));
        }
        let mut checked = Vec::new();
        checked.extend(attributes.to_be_bytes());
        checked.extend((pairs.len() as i32 - 1).to_be_bytes());
        checked.extend(1000_i64.to_be_bytes());
        checked.extend(9000_i64.to_be_bytes());
        checked.extend(producer.to_be_bytes());
        checked.extend(0_i16.to_be_bytes());
        checked.extend(0_i32.to_be_bytes());
        checked.extend((pairs.len() as i32).to_be_bytes());
        checked.extend(records);
        let mut bytes = 100_i64.to_be_bytes().to_vec();
        bytes.extend((checked.len() as i32 + 9).to_be_bytes());
        bytes.extend(7_i32.to_be_bytes());
        bytes.push(MAGIC);
        bytes.extend(crc32c::crc32c(&checked).to_be_bytes());
        bytes.extend(checked);
        bytes
    }

    #[test]
    fn records_have_all_that_was_written() {
        let bytes = batch(0, -1, &[(None, Some(b"one")), (Some(b"k"), None), (None, Some(&[b'x'; 200]))]);
        let both = [bytes.clone(), bytes[..bytes.len() - 1].to_vec()].concat();
        let batches = Batches(&both).collect::<Vec<_>>();
        assert_eq!(batches.len(), 1, "the one that is cut off is left out");
        let batch = batches[0];
        assert!(batch.is_known() && batch.is_sound() && !batch.is_control());
        assert_eq!(batch.last_offset(), 102);
        let mut room = Vec::new();
        let records = batch.records(batch.open(&mut room).unwrap()).map(|r| r.unwrap()).collect::<Vec<_>>();
        assert_eq!(records.iter().map(Record::offset).collect::<Vec<_>>(), [100, 101, 102]);
        assert_eq!(records[0].value(), Some(b"one".as_slice()));
        assert_eq!((records[0].key(), records[1].value()), (None, None));
        assert_eq!(records[1].key(), Some(b"k".as_slice()));
        assert_eq!(records[2].value().unwrap().len(), 200);
        assert_eq!(records[2].timestamp(), (1020, TimestampType::Create));
        assert_eq!(records[2].leader_epoch(), Some(7));
        let mut headers = Vec::new();
        records[2].headers(&mut |name, value| headers.push((name.to_string(), value.map(<[u8]>::to_vec))));
        assert_eq!(headers, [("h".to_string(), Some(b"v".to_vec())), ("n".to_string(), None)]);
    }

    #[test]
    fn the_log_may_set_the_time() {
        let bytes = batch(8, -1, &[(None, Some(b"one"))]);
        let batch = Batches(&bytes).next().unwrap();
        let record = batch.records(&bytes[HEADER..]).next().unwrap().unwrap();
        assert_eq!(record.timestamp(), (9000, TimestampType::LogAppend));
    }

    #[test]
    fn aborted_transactions_are_hidden_up_to_their_marker() {
        let of = |attributes, producer| batch(attributes, producer, &[(None, Some(b"x"))]);
        let (data, other, plain) = (of(0x10, 5), of(0x10, 6), of(0, 5));
        let mark = |key: &[u8]| batch(0x30, 5, &[(Some(key), Some(b""))]);
        let (abort, commit) = (mark(&[0, 0, 0, 0]), mark(&[0, 0, 0, 1]));
        let mut aborted = Aborted::new(vec![(5, 100), (6, 200)]);
        let [data, other, plain, abort, commit] =
            [&data, &other, &plain, &abort, &commit].map(|b| Batches(b).next().unwrap());
        assert!(aborted.hides(data));
        assert!(!aborted.hides(other), "its transaction begins later");
        assert!(!aborted.hides(plain));
        assert!(abort.aborts() && !commit.aborts());
        aborted.hides(commit);
        assert!(aborted.hides(data), "of another transaction");
        aborted.hides(abort);
        assert!(!aborted.hides(data), "the next transaction of that producer");
    }

    #[test]
    fn nonsense_is_an_error_and_no_panic() {
        let good = batch(0, -1, &[(None, Some(b"one")), (Some(b"k"), None), (None, Some(&[b'x'; 200]))]);
        let read = |bytes: &[u8]| {
            let mut room = Vec::new();
            for batch in Batches(bytes).filter(|b| b.is_known()) {
                let _ = (batch.is_sound(), batch.last_offset(), batch.aborts());
                let Ok(bytes) = batch.open(&mut room) else { continue };
                for record in batch.records(bytes) {
                    let Ok(record) = record else { break };
                    record.headers(&mut |_, _| {});
                    let _ = record.timestamp();
                }
            }
        };
        for end in 0..good.len() {
            read(&good[..end]);
        }
        for at in 0..good.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] ^= change;
                read(&bad);
                if at >= CHECKED {
                    assert!(!Batches(&bad).next().is_some_and(|b| b.is_known() && b.is_sound()), "byte {at}");
                }
            }
        }
    }
}
