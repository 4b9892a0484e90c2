//! LSM trees in a directory of this process: where state goes that has no room in memory. Not durable: nothing is read
//! again once the process has ended.

use crate::error::{Error, Result};
use lsm_tree::compaction::Leveled;
use lsm_tree::config::{BlockSizePolicy, CompressionPolicy};
use lsm_tree::{AbstractTree, AnyTree, Cache, Config, DescriptorTable, Guard, SequenceNumberCounter, Slice};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Bytes of blocks that all trees keep in memory.
const CACHE_BYTES: u64 = 16 << 20;
/// Files that are kept open.
const OPEN_FILES: usize = 256;
/// Least and most bytes of keys and values that a tree gathers in memory before it writes them out; they take about three
/// times as much. The more trees there are, the less each of them may gather.
const MEMTABLE_BYTES: (u64, u64) = (1 << 19, 4 << 20);
/// Bytes that all trees gather, as far as each may gather the least.
const MEMTABLES_BYTES: u64 = 8 << 20;
/// Bytes of a block of keys and states, read as one. Small and not compressed: a group is looked up alone.
const BLOCK_BYTES: u32 = 4 << 10;
/// Bytes of a file.
const FILE_BYTES: u64 = 8 << 20;
/// Runs that were written out and not merged yet: from so many on they are merged, and from so many on whoever writes
/// waits for that.
const RUNS: (u8, usize) = (8, 24);
/// Trees that wait to be merged; one that finds no place asks again later.
const WAITING_MERGES: usize = 64;

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

/// The trees of all stores of a process that spill at the same time.
pub(super) struct Disk {
    directory: PathBuf,
    cache: Arc<Cache>,
    files: Arc<DescriptorTable>,
    trees: AtomicU64,
    history: Arc<History>,
    merges: Option<SyncSender<Arc<Files>>>,
    merger: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("directory", &self.directory).finish()
    }
}

impl Disk {
    /// An empty one below `directory`. Its thread merges files.
    ///
    /// Errors: the directory cannot be made.
    pub(super) fn open(directory: &Path) -> Result<Self> {
        static OPENED: AtomicU64 = AtomicU64::new(0);
        let directory = directory.join(format!("state-{}", OPENED.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir_all(&directory).map_err(|e| failed(&directory, &e.into()))?;
        let history = Arc::<History>::default();
        let (merges, waiting) = sync_channel(WAITING_MERGES);
        let merger = std::thread::Builder::new().name("state merger".into()).spawn({
            let history = history.clone();
            move || merge_all(&waiting, &history)
        });
        Ok(Self {
            merger: Some(merger.map_err(|e| failed(&directory, &e.into()))?),
            merges: Some(merges),
            cache: Arc::new(Cache::with_capacity_bytes(CACHE_BYTES)),
            files: Arc::new(DescriptorTable::new(OPEN_FILES)),
            trees: AtomicU64::new(0),
            history,
            directory,
        })
    }

    /// An empty tree. `is_small`: little is written to it. The name is told in errors only.
    ///
    /// Errors: its files cannot be made.
    pub(super) fn tree(&self, name: &str, is_small: bool) -> Result<Tree> {
        let number = self.trees.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.join(format!("{number}-{name}"));
        let (least, most) = MEMTABLE_BYTES;
        let memtable_bytes =
            if is_small { least } else { (MEMTABLES_BYTES / (number + 1)).clamp(least, most) };
        let History { next, visible, .. } = self.history.as_ref();
        let opened = Config::new(&path, next.clone(), visible.clone())
            .use_cache(self.cache.clone())
            .use_descriptor_table(Some(self.files.clone()))
            .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES))
            .data_block_compression_policy(CompressionPolicy::disabled())
            // What is not there was mostly told by the store's own filter.
            .expect_point_read_hits(true)
            .open();
        let files = Files {
            tree: opened.map_err(|e| failed(&path, &e))?,
            path,
            memtable_bytes,
            waits: AtomicBool::new(false),
            dropped: AtomicBool::new(false),
            merging: Mutex::default(),
            failure: Mutex::default(),
        };
        Ok(Tree { files: Arc::new(files), history: self.history.clone() })
    }

    /// The trees as they are now.
    pub(super) fn moment(&self) -> Moment {
        let mut readers = lock(&self.history.readers);
        let seqno = self.history.next.get();
        *readers.entry(seqno).or_default() += 1;
        Moment { history: self.history.clone(), seqno }
    }

    /// Changes have been made to `tree`: writes out what has no more room in memory.
    ///
    /// Errors: it cannot be written, or what was written earlier cannot be merged.
    pub(super) fn settle(&self, tree: &Tree) -> Result<()> {
        let files = &tree.files;
        if files.tree.active_memtable().size() < files.memtable_bytes {
            return Ok(());
        }
        let told = |e: lsm_tree::Error| failed(&files.path, &e);
        if let Some(failure) = lock(&files.failure).take() {
            return Err(told(failure));
        }
        files.tree.rotate_memtable();
        files.tree.flush(&files.tree.get_flush_lock(), self.history.watermark()).map_err(told)?;
        if let Some(merges) = &self.merges
            && !files.waits.swap(true, Ordering::AcqRel)
            && merges.try_send(files.clone()).is_err()
        {
            files.waits.store(false, Ordering::Release);
        }
        if files.tree.l0_run_count() >= RUNS.1 {
            files.merge(&self.history).map_err(told)?;
        }
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.merges = None;
        if let Some(merger) = self.merger.take() {
            let _ = merger.join();
        }
        // What cannot be removed now is removed by the next process.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Merges trees until nobody can ask for more.
fn merge_all(waiting: &Receiver<Arc<Files>>, history: &History) {
    while let Ok(files) = waiting.recv() {
        files.waits.store(false, Ordering::Release);
        if files.dropped.load(Ordering::Acquire) {
            continue;
        }
        if let Err(error) = files.merge(history) {
            *lock(&files.failure) = Some(error);
        }
    }
}

/// The numbers of changes, and the moments that are still read.
#[derive(Default)]
struct History {
    next: SequenceNumberCounter,
    visible: SequenceNumberCounter,
    readers: Mutex<BTreeMap<u64, usize>>,
}

impl History {
    /// Changes before this one need no longer be told apart.
    fn watermark(&self) -> u64 {
        let readers = lock(&self.readers);
        let first = readers.first_key_value().map_or_else(|| self.next.get(), |(seqno, _)| *seqno);
        first.saturating_sub(1)
    }
}

/// A moment whose contents can be read for as long as this is kept.
pub(super) struct Moment {
    history: Arc<History>,
    seqno: u64,
}

impl Drop for Moment {
    fn drop(&mut self) {
        let mut readers = lock(&self.history.readers);
        if let Some(count) = readers.get_mut(&self.seqno) {
            *count -= 1;
            if *count == 0 {
                readers.remove(&self.seqno);
            }
        }
    }
}

/// Bytes by bytes, in order. Written and read by one thread.
#[derive(Clone)]
pub(super) struct Tree {
    files: Arc<Files>,
    history: Arc<History>,
}

/// A tree with its files, which go with it.
struct Files {
    tree: AnyTree,
    path: PathBuf,
    /// Bytes that it gathers in memory.
    memtable_bytes: u64,
    /// It waits to be merged.
    waits: AtomicBool,
    /// Nobody needs it any more.
    dropped: AtomicBool,
    /// Held while it is merged, or cleared: a merge would bring back what is cleared meanwhile.
    merging: Mutex<()>,
    /// Why the last merge did not work.
    failure: Mutex<Option<lsm_tree::Error>>,
}

impl Files {
    fn merge(&self, history: &History) -> lsm_tree::Result<()> {
        let _one = lock(&self.merging);
        let strategy = Leveled::default().with_l0_threshold(RUNS.0).with_table_target_size(FILE_BYTES);
        self.tree.compact(Arc::new(strategy), history.watermark())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // What cannot be removed now goes with the directory.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

impl Tree {
    /// Nobody needs it any more, though the merger may still hold it.
    pub(super) fn discard(&self) {
        self.files.dropped.store(true, Ordering::Release);
    }

    fn change(&self, change: impl FnOnce(&AnyTree, u64)) {
        let seqno = self.history.next.next();
        change(&self.files.tree, seqno);
        self.history.visible.fetch_max(seqno + 1);
    }

    /// Puts `value` under `key`, in place of what is there.
    pub(super) fn insert(&self, key: &[u8], value: &[u8]) {
        self.change(|tree, seqno| {
            tree.insert(key, value, seqno);
        });
    }

    /// Takes away what is under `key`.
    pub(super) fn remove(&self, key: &[u8]) {
        self.change(|tree, seqno| {
            tree.remove(key, seqno);
        });
    }

    /// What is under `key`.
    ///
    /// Errors: the files cannot be read.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Slice>> {
        self.files.tree.get(key, u64::MAX).map_err(|e| failed(&self.files.path, &e))
    }

    /// What was under `key` then.
    pub(super) fn get_at(&self, key: &[u8], moment: &Moment) -> Result<Option<Slice>> {
        self.files.tree.get(key, moment.seqno).map_err(|e| failed(&self.files.path, &e))
    }

    /// Keys from `from` on with their values, now or at a moment.
    pub(super) fn range(
        &self,
        from: Vec<u8>,
        moment: Option<&Moment>,
    ) -> impl Iterator<Item = Result<(Slice, Slice)>> {
        let range = self.files.tree.range(from.., moment.map_or(u64::MAX, |m| m.seqno), None);
        range.map(|entry| entry.into_inner().map_err(|e| failed(&self.files.path, &e)))
    }

    /// Takes all away.
    pub(super) fn clear(&self) -> Result<()> {
        let _no_merge = lock(&self.files.merging);
        self.files.tree.clear().map_err(|e| failed(&self.files.path, &e))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(directory: &Path, error: &lsm_tree::Error) -> Error {
    Error::user(format!(
        "State that does not fit into memory cannot be kept in '{}': {error}.",
        directory.display()
    ))
    .with_hint("Free space there, set TMPDIR to another disk, or raise 'taskmanager.memory.managed.size'.")
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
