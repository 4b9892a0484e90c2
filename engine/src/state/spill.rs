//! Keyed state on disk: groups that have no room in memory, by key. A group is either in memory or here, never in both.

use super::bits::Bits;
use super::disk::{Disk, Moment, Tree};
use crate::error::{Error, Result};
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, Rows, SortField};
use std::sync::Arc;

/// Longest key that the tree takes; groups with longer ones stay in memory.
const MAX_KEY_BYTES: usize = 60_000;
/// Bytes of a key's hash, which comes before the key.
const HASH_BYTES: usize = 8;
/// Bits of the filter that tells keys that were never spilled.
const FILTER_BITS: u64 = 1 << 25;
/// Bytes before a group's state: the epoch in which it last changed, whether a snapshot holds it, its times.
const HEADER_BYTES: usize = 4 + 1 + 8 + 8;

/// What is known of a spilled group beside its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// The epoch in which it last changed; 0 if that is no matter.
    pub(super) epoch: u32,
    /// Whether a snapshot before that epoch holds it.
    pub(super) persisted: bool,
    /// When it was last touched.
    pub(super) touched: i64,
    /// When it is to be woken; `i64::MAX` for never.
    pub(super) due: i64,
}

impl Header {
    fn write(self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.epoch.to_le_bytes());
        into.push(u8::from(self.persisted));
        into.extend_from_slice(&self.touched.to_le_bytes());
        into.extend_from_slice(&self.due.to_le_bytes());
    }

    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (epoch, rest) = bytes.split_first_chunk::<4>()?;
        let (persisted, rest) = rest.split_first()?;
        let (touched, rest) = rest.split_first_chunk::<8>()?;
        let (due, state) = rest.split_first_chunk::<8>()?;
        let header = Self {
            epoch: u32::from_le_bytes(*epoch),
            persisted: *persisted == 1,
            touched: i64::from_le_bytes(*touched),
            due: i64::from_le_bytes(*due),
        };
        Some((header, state))
    }
}

/// The groups of one store that are on disk.
pub(super) struct Spill {
    groups: Tree,
    /// Keys spilled with changes since the last snapshot, in an epoch of each parity.
    changed: [Tree; 2],
    /// The groups that are to be woken, by time.
    dues: Tree,
    earliest: i64,
    filter: Bits,
    filter_mask: u64,
    keys: RowConverter,
    states: RowConverter,
    len: u64,
    bytes: u64,
    disk: Arc<Disk>,
}

/// Spilled groups, read back.
pub(super) struct Loaded {
    pub(super) headers: Vec<Header>,
    pub(super) keys: Vec<ArrayRef>,
    pub(super) states: Vec<ArrayRef>,
}

/// The groups on disk at a moment, some of them already read.
pub(super) struct SpillReader {
    moment: Moment,
    /// Only the groups with a change in this epoch.
    changed: Option<Tree>,
    /// Where to go on.
    next: Vec<u8>,
    done: bool,
}

impl SpillReader {
    /// Where it has come to; empty at the end.
    pub(super) fn into_next(self) -> Vec<u8> {
        if self.done { Vec::new() } else { self.next }
    }
}

/// The sign of times, turned so that their bytes compare as they do.
const SIGN: u64 = 1 << 63;

/// Where a group with `key` stands among those that are to be woken.
fn due_key(due: i64, key: &[u8]) -> Vec<u8> {
    [&(due as u64 ^ SIGN).to_be_bytes(), key].concat()
}

fn converter(types: &[DataType]) -> Result<RowConverter> {
    Ok(RowConverter::new(types.iter().map(|t| SortField::new(t.clone())).collect())?)
}

/// Whether groups with columns of these types can be spilled.
pub(super) fn can_spill<'a>(mut types: impl Iterator<Item = &'a DataType>) -> bool {
    types.all(|t| RowConverter::supports_fields(&[SortField::new(t.clone())]))
}

impl Spill {
    /// Nothing spilled yet. `budget` is the bytes that all state may take in memory.
    pub(super) fn new(
        disk: Arc<Disk>,
        name: &str,
        key_types: &[DataType],
        state_types: &[DataType],
        budget: usize,
    ) -> Result<Self> {
        let tree = |kind: &str, is_small| disk.tree(&format!("{name}-{kind}"), is_small);
        let bits = (budget as u64 / 8).next_power_of_two().clamp(1 << 16, FILTER_BITS);
        Ok(Self {
            groups: tree("groups", false)?,
            changed: [tree("changed-0", true)?, tree("changed-1", true)?],
            dues: tree("dues", true)?,
            earliest: i64::MAX,
            filter: Bits::default(),
            filter_mask: bits - 1,
            keys: converter(key_types)?,
            states: converter(state_types)?,
            len: 0,
            bytes: 0,
            disk,
        })
    }

    /// Number of groups on disk.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes of memory that go with them, without the database's own.
    pub(super) fn size(&self) -> usize {
        self.filter.size()
    }

    /// Bytes of state on disk, before compression.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a key with this hash may be on disk.
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        self.len > 0 && self.filter.contains((hash & self.filter_mask) as u32)
    }

    fn encode(&self, hashes: &[u64], keys: &[ArrayRef]) -> Result<Vec<Vec<u8>>> {
        let rows: Option<Rows> = (!keys.is_empty()).then(|| self.keys.convert_columns(keys)).transpose()?;
        let key = |(i, hash): (usize, &u64)| {
            let row = rows.as_ref().map(|rows| rows.row(i));
            let bytes = row.as_ref().map_or(&[][..], |row| row.data());
            let mut key = Vec::with_capacity(HASH_BYTES + bytes.len());
            key.extend_from_slice(&hash.to_be_bytes());
            key.extend_from_slice(bytes);
            key
        };
        Ok(hashes.iter().enumerate().map(key).collect())
    }

    /// Puts groups on disk. Gives the rows whose keys were too long for it or whose state is more than `most` bytes, and
    /// the bytes of the largest group.
    pub(super) fn put(
        &mut self,
        hashes: &[u64],
        keys: &[ArrayRef],
        states: &[ArrayRef],
        headers: &[Header],
        most: u64,
    ) -> Result<(Vec<usize>, u64)> {
        let keys = self.encode(hashes, keys)?;
        let states = self.states.convert_columns(states)?;
        let (mut refused, mut largest) = (Vec::new(), 0);
        for (row, key) in keys.into_iter().enumerate() {
            let header = headers[row];
            let state = states.row(row);
            largest = largest.max((key.len() + HEADER_BYTES + state.data().len()) as u64);
            if key.len() > MAX_KEY_BYTES || state.data().len() as u64 > most {
                refused.push(row);
                continue;
            }
            let mut value = Vec::with_capacity(HEADER_BYTES + state.data().len());
            header.write(&mut value);
            value.extend_from_slice(state.data());
            self.bytes += (key.len() + value.len()) as u64;
            self.len += 1;
            self.filter.insert((hashes[row] & self.filter_mask) as u32);
            if header.epoch > 0 {
                self.changed[header.epoch as usize % 2].insert(&key, &[]);
            }
            if header.due < i64::MAX {
                self.earliest = self.earliest.min(header.due);
                self.dues.insert(&due_key(header.due, &key), &[]);
            }
            self.groups.insert(&key, &value);
        }
        self.written()?;
        Ok((refused, largest))
    }

    /// Takes groups off the disk: those of `keys` that are there, with the rows of `keys` that they are.
    pub(super) fn take(&mut self, hashes: &[u64], keys: &[ArrayRef]) -> Result<(Vec<u32>, Loaded)> {
        let encoded = self.encode(hashes, keys)?;
        // In the order of the tree, neighbours are read from one block.
        let mut order: Vec<u32> = (0..encoded.len() as u32).collect();
        order.sort_unstable_by(|a, b| encoded[*a as usize].cmp(&encoded[*b as usize]));
        let (mut rows, mut found) = (Vec::new(), Vec::new());
        for row in order {
            let key = &encoded[row as usize];
            if let Some(value) = self.groups.get(key)? {
                self.len = self.len.saturating_sub(1);
                self.bytes = self.bytes.saturating_sub((key.len() + value.len()) as u64);
                self.groups.remove(key);
                let due = Header::read(&value).map_or(i64::MAX, |(header, _)| header.due);
                if due < i64::MAX {
                    self.dues.remove(&due_key(due, key));
                }
                rows.push(row);
                found.push(value);
            }
        }
        self.written()?;
        let (headers, states) = self.decode(found.iter().map(|v| &**v))?;
        if self.earliest < i64::MAX && headers.iter().any(|header| header.due <= self.earliest) {
            self.earliest = self.first_due()?;
        }
        Ok((rows, Loaded { headers, keys: Vec::new(), states }))
    }

    /// A batch of changes is done: what has no room in the trees' memory goes to files.
    fn written(&self) -> Result<()> {
        [&self.groups, &self.changed[0], &self.changed[1], &self.dues]
            .into_iter()
            .try_for_each(|tree| self.disk.settle(tree))
    }

    fn first_due(&self) -> Result<i64> {
        let Some(first) = self.dues.range(Vec::new(), None).next() else { return Ok(i64::MAX) };
        let (key, _) = first?;
        Ok(key.first_chunk::<HASH_BYTES>().map_or(i64::MAX, |time| (u64::from_be_bytes(*time) ^ SIGN) as i64))
    }

    /// When the first group on disk is to be woken; `i64::MAX`: none is.
    pub(super) fn earliest(&self) -> i64 {
        self.earliest
    }

    /// The keys of groups that are to be woken at the latest at `until`, by time, at most `most`, and their number.
    pub(super) fn due(&mut self, until: i64, most: usize) -> Result<Option<(Vec<ArrayRef>, usize)>> {
        let mut keys = Vec::new();
        let mut earliest = i64::MAX;
        for entry in self.dues.range(Vec::new(), None) {
            let (key, _) = entry?;
            let Some((time, group)) = key.split_first_chunk::<HASH_BYTES>() else { continue };
            earliest = (u64::from_be_bytes(*time) ^ SIGN) as i64;
            if earliest > until || keys.len() == most {
                break;
            }
            keys.push(group.to_vec());
            earliest = i64::MAX;
        }
        self.earliest = earliest;
        if keys.is_empty() {
            return Ok(None);
        }
        let parser = self.keys.parser();
        let rows = keys.iter().map(|key| parser.parse(&key[HASH_BYTES..]));
        Ok(Some((self.keys.convert_rows(rows)?, keys.len())))
    }

    fn decode<'a>(&self, values: impl Iterator<Item = &'a [u8]>) -> Result<(Vec<Header>, Vec<ArrayRef>)> {
        let mut headers = Vec::new();
        let parser = self.states.parser();
        let mut states = Vec::new();
        for value in values {
            let Some((header, state)) = Header::read(value) else {
                return Err(Error::internal("A spilled group has no header."));
            };
            headers.push(header);
            states.push(parser.parse(state));
        }
        Ok((headers, self.states.convert_rows(states)?))
    }

    /// All groups as they are now; with `epoch`, only those spilled with a change in it.
    pub(super) fn reader(&self, epoch: Option<u32>) -> SpillReader {
        SpillReader {
            moment: self.disk.moment(),
            changed: epoch.map(|e| self.changed[e as usize % 2].clone()),
            next: Vec::new(),
            done: self.len == 0 && epoch.is_none(),
        }
    }

    /// The groups as they are now, from where an earlier reader has come to.
    pub(super) fn reader_from(&self, next: Vec<u8>) -> SpillReader {
        SpillReader { next, ..self.reader(None) }
    }

    /// The next groups of `reader`, about `most`; `None` at the end.
    pub(super) fn read(&self, reader: &mut SpillReader, most: usize) -> Result<Option<Loaded>> {
        if reader.done {
            return Ok(None);
        }
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        let tree = reader.changed.as_ref().unwrap_or(&self.groups);
        let mut seen = 0;
        for entry in tree.range(reader.next.clone(), Some(&reader.moment)) {
            if seen == most {
                break;
            }
            seen += 1;
            let (key, value) = entry?;
            reader.next.clear();
            reader.next.extend_from_slice(&key);
            reader.next.push(0);
            let value = match &reader.changed {
                None => Some(value),
                Some(_) => self.groups.get_at(&key, &reader.moment)?,
            };
            if let Some(value) = value {
                keys.push(key);
                values.push(value);
            }
        }
        reader.done = seen < most;
        let parser = self.keys.parser();
        let rows = keys.iter().map(|key| parser.parse(&key[HASH_BYTES..]));
        let key_columns = self.keys.convert_rows(rows)?;
        let (headers, states) = self.decode(values.iter().map(|v| &**v))?;
        Ok(Some(Loaded { headers, keys: key_columns, states }))
    }

    /// The changes of `epoch` have been read, or nobody will.
    pub(super) fn forget_changes(&self, epoch: u32) -> Result<()> {
        self.changed[epoch as usize % 2].clear()
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        [&self.groups, &self.changed[0], &self.changed[1], &self.dues].into_iter().for_each(Tree::discard);
    }
}
