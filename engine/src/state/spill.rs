//! The disk tier of keyed state: groups that have no room in memory, by key, in an LSM tree.
//!
//! One database for a process, below the budget's directory, opened when something is first spilled and removed
//! when nothing holds it any more; two trees for each store. A group is either in memory or here, never in both.

use super::bits::Bits;
use crate::error::{Error, Result};
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, Rows, SortField};
use fjall::config::{BlockSizePolicy, CompressionPolicy};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, Readable, Snapshot};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of blocks that the database keeps in memory.
const CACHE_BYTES: u64 = 16 << 20;
/// Least and most bytes that a store's tree gathers in memory before it writes them out.
const MEMTABLE_BYTES: (u64, u64) = (1 << 19, 4 << 20);
/// Bytes of the database's journal, which is never read: the least it can be set to.
const JOURNAL_BYTES: u64 = 64 << 20;
/// Bytes of a block of keys and states, read as one. Small and not compressed: a group is looked up alone.
const BLOCK_BYTES: u32 = 4 << 10;
/// Threads that write out and merge.
const WORKERS: usize = 1;
/// Longest key that the tree takes; groups with longer ones stay in memory.
const MAX_KEY_BYTES: usize = 60_000;
/// Bytes of a key's hash, which comes before the key.
const HASH_BYTES: usize = 8;
/// Bits of the filter that tells keys that were never spilled.
const FILTER_BITS: u64 = 1 << 25;
/// Bytes before a group's state: the epoch in which it last changed, whether a snapshot holds it, its times.
const HEADER_BYTES: usize = 4 + 1 + 8 + 8;

/// Beginning of the names of the directories that processes spill to.
const DIRECTORY: &str = "runnel-state-";
/// The file in it that its process holds locked for as long as it lives.
const LOCK: &str = "lock";

/// A directory that this process holds; removed with all that is in it when it is dropped. Where that does not
/// happen, the next process that spills does it.
#[derive(Debug)]
pub(super) struct Place {
    directory: PathBuf,
    _lock: File,
}

impl Place {
    /// The directory for this process, which need not exist yet.
    pub(super) fn of_process() -> PathBuf {
        std::env::temp_dir().join(format!("{DIRECTORY}{}", std::process::id()))
    }

    /// Takes `directory`, after removing those beside it that dead processes have left.
    ///
    /// Errors: it cannot be made.
    pub(super) fn take(directory: &Path) -> Result<Self> {
        if let Some(parent) = directory.parent() {
            remove_stale(parent);
        }
        let lock = || {
            std::fs::create_dir_all(directory)?;
            let lock = File::create(directory.join(LOCK))?;
            lock.lock()?;
            Ok(lock)
        };
        let lock = lock().map_err(|e: std::io::Error| failed(directory, &e.into()))?;
        Ok(Self { directory: directory.to_path_buf(), _lock: lock })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next process.
        let _ = std::fs::remove_file(self.directory.join(LOCK));
        let _ = std::fs::remove_dir(&self.directory);
    }
}

/// Removes the directories of processes that have died: nobody holds their lock.
fn remove_stale(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(DIRECTORY) {
            continue;
        }
        let held = File::open(entry.path().join(LOCK)).map(|lock| lock.try_lock().is_err());
        if held.is_ok_and(|held| !held) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// The database that all stores of a process spill to.
pub(super) struct Disk {
    database: Database,
    directory: PathBuf,
    stores: AtomicU64,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("directory", &self.directory).finish()
    }
}

impl Disk {
    /// Opens a fresh one below `directory`.
    pub(super) fn open(directory: &Path) -> Result<Self> {
        static OPENED: AtomicU64 = AtomicU64::new(0);
        let directory = directory.join(format!("state-{}", OPENED.fetch_add(1, Ordering::Relaxed)));
        let open = || {
            std::fs::create_dir_all(&directory)?;
            Database::builder(&directory)
                .temporary(true)
                .cache_size(CACHE_BYTES)
                .max_journaling_size(JOURNAL_BYTES)
                .manual_journal_persist(true)
                .worker_threads(WORKERS)
                .open()
        };
        let database = open().map_err(|e| failed(&directory, &e))?;
        Ok(Self { database, directory, stores: AtomicU64::new(0) })
    }

    fn tree(&self, name: &str, memtable_bytes: u64) -> Result<Keyspace> {
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(memtable_bytes)
                .manual_journal_persist(true)
                .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES))
                .data_block_compression_policy(CompressionPolicy::disabled())
                // What is not there was mostly told by our own filter.
                .expect_point_read_hits(true)
        };
        self.database.keyspace(name, options).map_err(|e| failed(&self.directory, &e))
    }
}

fn failed(directory: &Path, error: &fjall::Error) -> Error {
    Error::user(format!(
        "State that does not fit into memory cannot be kept in '{}': {error}.",
        directory.display()
    ))
    .with_hint("Free space there, set TMPDIR to another disk, or raise 'taskmanager.memory.managed.size'.")
}

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
    disk: Arc<Disk>,
    name: String,
    groups: Keyspace,
    /// Keys spilled with changes since the last snapshot, in an epoch of each parity.
    changed: [Keyspace; 2],
    /// The groups that are to be woken, by time. Made when there is one.
    dues: Option<Keyspace>,
    earliest: i64,
    filter: Bits,
    filter_mask: u64,
    keys: RowConverter,
    states: RowConverter,
    len: u64,
    bytes: u64,
}

/// Spilled groups, read back.
pub(super) struct Loaded {
    pub(super) headers: Vec<Header>,
    pub(super) keys: Vec<ArrayRef>,
    pub(super) states: Vec<ArrayRef>,
}

/// The groups on disk at a moment, some of them already read.
pub(super) struct SpillReader {
    snapshot: Snapshot,
    /// Only the groups with a change in this epoch.
    changed: Option<Keyspace>,
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
        let number = disk.stores.fetch_add(1, Ordering::Relaxed);
        // The more stores there are, the less each of them may gather.
        let bytes = (2 * MEMTABLE_BYTES.1 / (number + 1)).clamp(MEMTABLE_BYTES.0, MEMTABLE_BYTES.1);
        let tree = |kind: &str, bytes| disk.tree(&format!("{number}-{name}-{kind}"), bytes);
        let bits = (budget as u64 / 8).next_power_of_two().clamp(1 << 16, FILTER_BITS);
        Ok(Self {
            groups: tree("groups", bytes)?,
            changed: [tree("changed-0", bytes / 4)?, tree("changed-1", bytes / 4)?],
            dues: None,
            earliest: i64::MAX,
            name: format!("{number}-{name}"),
            filter: Bits::default(),
            filter_mask: bits - 1,
            keys: converter(key_types)?,
            states: converter(state_types)?,
            len: 0,
            bytes: 0,
            disk,
        })
    }

    fn error(&self, error: &fjall::Error) -> Error {
        failed(&self.disk.directory, error)
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

    /// Puts groups on disk. Gives the rows that were too long for it.
    pub(super) fn put(
        &mut self,
        hashes: &[u64],
        keys: &[ArrayRef],
        states: &[ArrayRef],
        headers: &[Header],
    ) -> Result<Vec<usize>> {
        let keys = self.encode(hashes, keys)?;
        let states = self.states.convert_columns(states)?;
        if self.dues.is_none() && headers.iter().any(|header| header.due < i64::MAX) {
            self.dues = Some(self.disk.tree(&format!("{}-dues", self.name), MEMTABLE_BYTES.0)?);
        }
        let mut batch = self.disk.database.batch();
        let mut refused = Vec::new();
        for (row, key) in keys.into_iter().enumerate() {
            if key.len() > MAX_KEY_BYTES {
                refused.push(row);
                continue;
            }
            let header = headers[row];
            let state = states.row(row);
            let mut value = Vec::with_capacity(HEADER_BYTES + state.data().len());
            header.write(&mut value);
            value.extend_from_slice(state.data());
            self.bytes += (key.len() + value.len()) as u64;
            self.len += 1;
            self.filter.insert((hashes[row] & self.filter_mask) as u32);
            if header.epoch > 0 {
                batch.insert(&self.changed[header.epoch as usize % 2], key.clone(), Vec::new());
            }
            if let (Some(dues), true) = (&self.dues, header.due < i64::MAX) {
                self.earliest = self.earliest.min(header.due);
                batch.insert(dues, due_key(header.due, &key), Vec::new());
            }
            batch.insert(&self.groups, key, value);
        }
        batch.commit().map_err(|e| self.error(&e))?;
        Ok(refused)
    }

    /// Takes groups off the disk: those of `keys` that are there, with the rows of `keys` that they are.
    pub(super) fn take(&mut self, hashes: &[u64], keys: &[ArrayRef]) -> Result<(Vec<u32>, Loaded)> {
        let encoded = self.encode(hashes, keys)?;
        // In the order of the tree, neighbours are read from one block.
        let mut order: Vec<u32> = (0..encoded.len() as u32).collect();
        order.sort_unstable_by(|a, b| encoded[*a as usize].cmp(&encoded[*b as usize]));
        let (mut rows, mut found) = (Vec::new(), Vec::new());
        let mut batch = self.disk.database.batch();
        for row in order {
            let key = &encoded[row as usize];
            if let Some(value) = self.groups.get(key).map_err(|e| self.error(&e))? {
                self.len = self.len.saturating_sub(1);
                self.bytes = self.bytes.saturating_sub((key.len() + value.len()) as u64);
                batch.remove(&self.groups, key.as_slice());
                let due = Header::read(&value).map_or(i64::MAX, |(header, _)| header.due);
                if let (Some(dues), true) = (&self.dues, due < i64::MAX) {
                    batch.remove(dues, due_key(due, key));
                }
                rows.push(row);
                found.push(value);
            }
        }
        batch.commit().map_err(|e| self.error(&e))?;
        let (headers, states) = self.decode(found.iter().map(|v| &**v))?;
        if self.earliest < i64::MAX && headers.iter().any(|header| header.due <= self.earliest) {
            self.earliest = self.first_due()?;
        }
        Ok((rows, Loaded { headers, keys: Vec::new(), states }))
    }

    fn first_due(&self) -> Result<i64> {
        let Some(guard) = self.dues.as_ref().and_then(|dues| dues.first_key_value()) else {
            return Ok(i64::MAX);
        };
        let key = guard.key().map_err(|e| self.error(&e))?;
        Ok(key.first_chunk::<HASH_BYTES>().map_or(i64::MAX, |time| (u64::from_be_bytes(*time) ^ SIGN) as i64))
    }

    /// When the first group on disk is to be woken; `i64::MAX`: none is.
    pub(super) fn earliest(&self) -> i64 {
        self.earliest
    }

    /// The keys of groups that are to be woken at the latest at `until`, by time, at most `most`, and their number.
    pub(super) fn due(&mut self, until: i64, most: usize) -> Result<Option<(Vec<ArrayRef>, usize)>> {
        let Some(dues) = &self.dues else { return Ok(None) };
        let mut keys = Vec::new();
        let mut earliest = i64::MAX;
        for guard in dues.iter() {
            let key = guard.key().map_err(|e| self.error(&e))?;
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
            snapshot: self.disk.database.snapshot(),
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
        for guard in reader.snapshot.range(tree, reader.next.clone()..) {
            if seen == most {
                break;
            }
            seen += 1;
            let (key, value) = guard.into_inner().map_err(|e| self.error(&e))?;
            reader.next.clear();
            reader.next.extend_from_slice(&key);
            reader.next.push(0);
            let value = match &reader.changed {
                None => Some(value),
                Some(_) => reader.snapshot.get(&self.groups, &key).map_err(|e| self.error(&e))?,
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
        self.changed[epoch as usize % 2].clear().map_err(|e| self.error(&e))
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        // The database goes with its last store; until then, what this one has is of no use.
        for tree in [&self.groups, &self.changed[0], &self.changed[1]].into_iter().chain(&self.dues) {
            let _ = self.disk.database.delete_keyspace(tree.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dead_processes_leave_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let [mine, living, dead, other] =
            [&format!("{DIRECTORY}1"), &format!("{DIRECTORY}2"), &format!("{DIRECTORY}3"), "other"]
                .map(|name| parent.path().join(name));
        std::fs::create_dir_all(dead.join("state-0/deep")).unwrap();
        std::fs::create_dir_all(&other).unwrap();
        File::create(dead.join(LOCK)).unwrap();
        let held = Place::take(&living).unwrap();
        assert!(!dead.exists());
        let taken = Place::take(&mine).unwrap();
        assert!(living.exists() && other.exists() && mine.exists());
        drop((held, taken));
        assert!(!living.exists() && !mine.exists() && other.exists());
    }
}
