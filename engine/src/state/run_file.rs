//! State that is only added to, in files: batches that leave memory and are read again as a whole, when a window is
//! due, say. Keyed state that is looked up goes into the tree of `spill.rs` instead.

use super::budget::MemoryBudget;
use crate::error::{Error, Result};
use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What an operator whose state is not in a `GroupStore` holds of the memory budget. Gives it back when dropped.
#[derive(Debug)]
pub struct Share {
    memory: Arc<MemoryBudget>,
    held: usize,
}

impl Share {
    /// Nothing held yet.
    pub fn new(memory: Arc<MemoryBudget>) -> Self {
        Self { memory, held: 0 }
    }

    /// `bytes` are held now. Tells how many of them should go to disk.
    pub fn hold(&mut self, bytes: usize) -> usize {
        let over = self.memory.account(self.held, bytes);
        self.held = bytes;
        over
    }

    /// A new file for what goes to disk.
    ///
    /// Errors: it cannot be made.
    pub fn run_file(&self) -> Result<RunFile> {
        RunFile::new(self.memory.clone())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.account(self.held, 0);
    }
}

/// A file of batches, removed when the last of its pieces is dropped.
#[derive(Debug)]
pub struct RunFile {
    file: Arc<Held>,
    length: u64,
}

#[derive(Debug)]
struct Held {
    memory: Arc<MemoryBudget>,
    path: PathBuf,
    bytes: AtomicU64,
}

/// A batch in a file.
#[derive(Debug, Clone)]
pub struct Piece {
    file: Arc<Held>,
    offset: u64,
    bytes: usize,
}

impl RunFile {
    fn new(memory: Arc<MemoryBudget>) -> Result<Self> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        memory.take_place()?;
        let path = memory.spill_dir().join(format!("run-{}", MADE.fetch_add(1, Ordering::Relaxed)));
        File::create(&path).map_err(|e| failed(&path, &e))?;
        Ok(Self { file: Arc::new(Held { memory, path, bytes: AtomicU64::new(0) }), length: 0 })
    }

    /// Adds batches.
    ///
    /// Errors: they cannot be written.
    pub fn append(&mut self, batches: &[RecordBatch]) -> Result<Vec<Piece>> {
        let mut pieces = Vec::with_capacity(batches.len());
        let mut bytes = Vec::new();
        for batch in batches {
            let start = bytes.len();
            let mut writer = StreamWriter::try_new(&mut bytes, &batch.schema())?;
            writer.write(batch)?;
            writer.finish()?;
            drop(writer);
            pieces.push(Piece {
                file: self.file.clone(),
                offset: self.length + start as u64,
                bytes: bytes.len() - start,
            });
        }
        let write = || File::options().append(true).open(&self.file.path)?.write_all(&bytes);
        write().map_err(|e| failed(&self.file.path, &e))?;
        let before = self.length;
        self.length += bytes.len() as u64;
        self.file.bytes.store(self.length, Ordering::Relaxed);
        self.file.memory.account_spilled(before, self.length);
        Ok(pieces)
    }
}

impl Piece {
    /// The batch.
    ///
    /// Errors: it cannot be read.
    pub fn read(&self) -> Result<RecordBatch> {
        let read = || {
            let mut file = File::open(&self.file.path)?;
            file.seek(SeekFrom::Start(self.offset))?;
            let mut bytes = vec![0; self.bytes];
            file.read_exact(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|e| failed(&self.file.path, &e))?;
        let batch = StreamReader::try_new(bytes.as_slice(), None)?.next();
        batch.transpose()?.ok_or_else(|| Error::internal("A file of spilled state holds no batch."))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.account_spilled(self.bytes.load(Ordering::Relaxed), 0);
        // What cannot be removed now is removed by the next process.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::user(format!(
        "State that does not fit into memory cannot be kept in '{}': {error}.",
        path.display()
    ))
    .with_hint("Free space there, set TMPDIR to another disk, or raise 'taskmanager.memory.managed.size'.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};

    #[test]
    fn pieces_are_read_back_and_the_file_goes_with_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let memory = MemoryBudget::new(10, folder.path().join("state"));
        let mut share = Share::new(memory.clone());
        assert_eq!((share.hold(8), share.hold(30)), (0, 20));
        let batch = |value: i64| {
            let column: ArrayRef = Arc::new(Int64Array::from(vec![value; 100]));
            RecordBatch::try_from_iter([("a", column)]).unwrap()
        };
        let mut file = share.run_file().unwrap();
        let mut pieces = file.append(&[batch(1), batch(2)]).unwrap();
        pieces.extend(file.append(&[batch(3)]).unwrap());
        drop((file, share));
        for (piece, value) in pieces.iter().zip(1..) {
            assert_eq!(piece.read().unwrap(), batch(value));
        }
        assert!(memory.spilled() > 2400 && memory.used() == 0);
        let path = pieces[0].file.path.clone();
        pieces.truncate(1);
        assert!(path.exists());
        pieces.clear();
        assert!(!path.exists() && memory.spilled() == 0);
    }
}
