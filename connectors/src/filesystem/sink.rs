//! Writing files: rows go into a hidden file, which gets its name in one step when it is complete, and with checkpoints
//! when a checkpoint that holds its rows is.

use super::path::escape;
use super::pending::{Prepared, failed, hidden, publish, recover, remove_left, sync_folder};
use crate::formats::select::ChosenFormat;
use crate::formats::{Encoder, Payloads};
use arrow::array::{Array, UInt32Array};
use arrow::datatypes::SchemaRef;
use engine::connector::{
    Committable, DeliveryGuarantee, Metrics, RecoverContext, Sink, Writer, WriterContext,
};
use engine::error::{Error, Result};
use engine::failpoint;
use engine::functions::text::write_value;
use engine::message::ChangeBatch;
use engine::plan::ChangelogMode;
use engine::time::Clock;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes gathered before they go to the file.
const BUFFER_BYTES: usize = 256 << 10;
/// Partitions that one writer has files open for; beyond them the one longest unused is finished.
const MAX_OPEN_PARTITIONS: usize = 128;
/// Files of one writer that wait for a checkpoint: more mean that checkpoints fail, or partitions are too small.
const MAX_PENDING_FILES: usize = 100_000;

#[derive(Debug)]
pub(super) struct FilesystemSink {
    pub path: PathBuf,
    pub format: ChosenFormat,
    /// Columns in the files.
    pub stored: SchemaRef,
    pub partitioned_by: Vec<String>,
    pub default_partition: String,
    pub zone: chrono_tz::Tz,
    pub rolling: Rolling,
    /// Name of the empty file that marks a complete partition.
    pub success_file: Option<String>,
    pub parallelism: Option<usize>,
    /// What this job's hidden files end with: known from `recover` on, where checkpoints are taken.
    pub lineage: Mutex<Option<String>>,
}

impl FilesystemSink {
    /// The lineage, drawn if there is none yet.
    fn lineage(&self) -> String {
        let mut lineage = self.lineage.lock().unwrap_or_else(PoisonError::into_inner);
        lineage.get_or_insert_with(unique).clone()
    }
}

/// When a file is complete.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rolling {
    pub bytes: u64,
    pub age_ms: i64,
    pub silence_ms: i64,
}

impl Sink for FilesystemSink {
    fn accepts(&self) -> ChangelogMode {
        self.format.format().accepts()
    }

    fn describe(&self) -> String {
        format!("filesystem(path=[{}], format=[{}])", self.path.display(), self.format.name())
    }

    fn parallelism(&self) -> Option<usize> {
        self.parallelism
    }

    fn delivery_guarantee(&self) -> DeliveryGuarantee {
        DeliveryGuarantee::ExactlyOnce
    }

    fn recover(&self, _context: &RecoverContext, prepared: &[Committable]) -> Result<()> {
        let depth = self.partitioned_by.len();
        let known = recover(&self.path, depth, prepared)?;
        let mut lineage = self.lineage.lock().unwrap_or_else(PoisonError::into_inner);
        match (known, lineage.as_ref()) {
            (Some(known), _) => *lineage = Some(known),
            // A run of this process that crashed before its first checkpoint.
            (None, Some(own)) => remove_left(&self.path, depth, own)?,
            (None, None) => {}
        }
        Ok(())
    }

    fn writer(&self, context: WriterContext) -> Result<Box<dyn Writer>> {
        let index = |name: &str| {
            context.schema.index_of(name).map_err(|_| Error::internal(format!("no column `{name}` to write")))
        };
        let stored = self.stored.fields().iter().map(|f| index(f.name())).collect::<Result<_>>()?;
        let partitions = self.partitioned_by.iter().map(|n| index(n)).collect::<Result<_>>()?;
        Ok(Box::new(FileWriter {
            root: self.path.clone(),
            prefix: format!("part-{}-{}", unique(), context.task),
            lineage: self.lineage(),
            checkpointing: context.checkpointing,
            encoder: self.format.encoder(self.stored.clone(), self.zone)?,
            stored,
            partitions,
            default_partition: self.default_partition.clone(),
            zone: self.zone,
            rolling: self.rolling,
            success_file: self.success_file.clone(),
            clock: context.clock,
            metrics: context.metrics,
            open: BTreeMap::new(),
            pending: VecDeque::new(),
            written: BTreeSet::new(),
            count: 0,
            payloads: Payloads::default(),
        }))
    }
}

/// A name that no other writer has, in the form of a UUID.
fn unique() -> String {
    // The standard library seeds each of these from the operating system; a name is no part of a run's results.
    let draw = || std::collections::hash_map::RandomState::new().build_hasher().finish();
    let (a, b) = (draw(), draw());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        a >> 16 & 0xffff,
        a & 0xfff,
        b >> 48 & 0x3fff | 0x8000,
        b & 0xffff_ffff_ffff
    )
}

struct FileWriter {
    root: PathBuf,
    prefix: String,
    lineage: String,
    checkpointing: bool,
    encoder: Box<dyn Encoder>,
    /// Columns of the batches that go into files.
    stored: Vec<usize>,
    /// Columns of the batches that make up the folders' names.
    partitions: Vec<usize>,
    default_partition: String,
    zone: chrono_tz::Tz,
    rolling: Rolling,
    success_file: Option<String>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    /// Files being written, by folder below the root.
    open: BTreeMap<String, PartFile>,
    /// Files that are whole and wait for their checkpoint, in the order in which they became so.
    pending: VecDeque<PendingFile>,
    /// All folders with a finished file.
    written: BTreeSet<String>,
    /// Files begun.
    count: usize,
    payloads: Payloads,
}

/// A file being written. Removed when dropped, unless it was published or a checkpoint may count on it.
struct PartFile {
    file: File,
    /// The folder that it lies in.
    directory: PathBuf,
    name: String,
    lineage: String,
    buffer: Vec<u8>,
    /// Bytes in the file, without those in the buffer.
    bytes: u64,
    begun_ms: i64,
    touched_ms: i64,
    /// Whether its name has been synced.
    named: bool,
    kept: bool,
}

/// A whole file that is not published yet.
struct PendingFile {
    folder: String,
    file: PartFile,
    /// The checkpoint that publishes it; `None` until the next barrier.
    checkpoint: Option<u64>,
}

impl PartFile {
    fn hidden(&self) -> PathBuf {
        self.directory.join(hidden(&self.name, &self.lineage))
    }

    fn drain(&mut self) -> Result<()> {
        self.file.write_all(&self.buffer).map_err(|e| failed("Writing", &self.hidden(), &e))?;
        self.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes all to disk, so that it outlasts a power cut.
    fn sync(&mut self) -> Result<()> {
        self.drain()?;
        self.file.sync_all().map_err(|e| failed("Writing", &self.hidden(), &e))?;
        if !self.named {
            sync_folder(&self.directory)?;
            self.named = true;
        }
        Ok(())
    }

    /// Gives it its name. It must have been synced.
    fn publish(&mut self) -> Result<()> {
        publish(&self.directory, &self.name, &self.lineage)?;
        self.kept = true;
        Ok(())
    }

    /// As a checkpoint remembers it. From now on it is not removed when the job fails.
    fn prepared(&mut self, folder: &str, open: bool) -> Result<Committable> {
        self.kept = true;
        let (name, bytes) = (self.name.clone(), self.bytes);
        Prepared::File { folder: folder.to_string(), name, bytes, open }.to_committable()
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.kept {
            // Nobody can be told here, and a hidden file does no harm.
            let _ = std::fs::remove_file(self.hidden());
        }
    }
}

impl FileWriter {
    /// Names of the folders of all rows, `k=v/k2=v2`.
    fn folders(&self, batch: &ChangeBatch) -> Vec<String> {
        let records = batch.records();
        let schema = records.schema();
        let mut value = String::new();
        (0..records.num_rows())
            .map(|row| {
                let mut folder = String::new();
                for column in &self.partitions {
                    let field = schema.field(*column);
                    let array = records.column(*column);
                    value.clear();
                    if array.is_valid(row) {
                        write_value(&mut value, array, row, field, self.zone);
                    }
                    if !folder.is_empty() {
                        folder.push('/');
                    }
                    escape(&mut folder, field.name());
                    folder.push('=');
                    if value.is_empty() {
                        folder.push_str(&self.default_partition);
                    } else {
                        escape(&mut folder, &value);
                    }
                }
                folder
            })
            .collect()
    }

    fn write_to(&mut self, folder: String, batch: &ChangeBatch) -> Result<()> {
        let stored = batch.with_records(batch.records().project(&self.stored)?);
        self.payloads.clear();
        self.encoder.encode(&stored, &mut self.payloads)?;
        let now_ms = self.clock.now_ms();
        if !self.open.contains_key(&folder) {
            if self.open.len() == MAX_OPEN_PARTITIONS {
                let oldest = self.open.iter().min_by_key(|(_, f)| f.touched_ms).map(|(k, _)| k.clone());
                self.complete(&oldest.unwrap_or_default())?;
            }
            let file = self.begin(&folder, now_ms)?;
            self.open.insert(folder.clone(), file);
        }
        let Some(file) = self.open.get_mut(&folder) else {
            return Err(Error::internal("a file that is gone"));
        };
        file.touched_ms = now_ms;
        for payload in self.payloads.iter() {
            file.buffer.extend_from_slice(payload);
            file.buffer.push(b'\n');
            if file.buffer.len() >= BUFFER_BYTES {
                file.drain()?;
            }
        }
        Metrics::add(&self.metrics.records, batch.num_rows());
        Metrics::add(&self.metrics.bytes, self.payloads.num_bytes());
        if file.bytes + file.buffer.len() as u64 >= self.rolling.bytes {
            self.complete(&folder)?;
        }
        Ok(())
    }

    fn begin(&mut self, folder: &str, now_ms: i64) -> Result<PartFile> {
        let directory = self.root.join(folder);
        std::fs::create_dir_all(&directory).map_err(|e| {
            failed("Making the directory", &directory, &e)
                .with_hint("Check the option 'path': it must be a directory that can be made and written.")
        })?;
        let name = format!("{}-{}", self.prefix, self.count);
        self.count += 1;
        failpoint::hit("filesystem.begin")?;
        let path = directory.join(hidden(&name, &self.lineage));
        let file = File::create_new(&path).map_err(|e| failed("Making", &path, &e))?;
        Ok(PartFile {
            file,
            directory,
            name,
            lineage: self.lineage.clone(),
            buffer: Vec::with_capacity(BUFFER_BYTES),
            bytes: 0,
            begun_ms: now_ms,
            touched_ms: now_ms,
            named: false,
            kept: false,
        })
    }

    /// No row goes into the file of `folder` any more.
    fn complete(&mut self, folder: &str) -> Result<()> {
        let Some(mut file) = self.open.remove(folder) else { return Ok(()) };
        if self.checkpointing {
            if self.pending.len() == MAX_PENDING_FILES {
                return Err(Error::user(format!(
                    "{MAX_PENDING_FILES} files below {} wait for a checkpoint to publish them.",
                    self.root.display()
                ))
                .with_hint("Take checkpoints more often, or write into fewer partitions at a time."));
            }
            file.drain()?;
            failpoint::hit("filesystem.roll")?;
            self.pending.push_back(PendingFile { folder: folder.to_string(), file, checkpoint: None });
        } else {
            file.sync()?;
            file.publish()?;
            self.written.insert(folder.to_string());
        }
        Ok(())
    }

    /// Publishes the pending files of checkpoints up to `checkpoint_id`, or all.
    fn publish_pending(&mut self, checkpoint_id: Option<u64>) -> Result<()> {
        let is_due = |p: &PendingFile| match checkpoint_id {
            Some(id) => p.checkpoint.is_some_and(|c| c <= id),
            None => true,
        };
        let mut directories = BTreeSet::new();
        // In the order of their checkpoints. Each is let go at once, so that a failure publishes none again.
        while self.pending.front().is_some_and(is_due) {
            let Some(mut published) = self.pending.pop_front() else { break };
            published.file.publish()?;
            directories.insert(published.file.directory.clone());
            self.written.insert(published.folder);
        }
        directories.iter().try_for_each(|d| sync_folder(d))
    }
}

impl Writer for FileWriter {
    fn write(&mut self, batch: ChangeBatch) -> Result<()> {
        if self.partitions.is_empty() {
            return self.write_to(String::new(), &batch);
        }
        let mut rows: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for (row, folder) in self.folders(&batch).into_iter().enumerate() {
            rows.entry(folder).or_default().push(row as u32);
        }
        for (folder, rows) in rows {
            self.write_to(folder, &batch.take(&UInt32Array::from(rows))?)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let now_ms = self.clock.now_ms();
        let due = |f: &PartFile| {
            now_ms.saturating_sub(f.begun_ms) >= self.rolling.age_ms
                || now_ms.saturating_sub(f.touched_ms) >= self.rolling.silence_ms
        };
        let due = self.open.iter().filter(|(_, f)| due(f)).map(|(k, _)| k.clone()).collect::<Vec<_>>();
        for folder in due {
            self.complete(&folder)?;
        }
        self.open.values_mut().try_for_each(PartFile::drain)
    }

    /// Files in progress stay open over a checkpoint, as in Flink for formats of lines: it remembers how long they are.
    fn prepare_commit(&mut self, checkpoint_id: u64) -> Result<Vec<Committable>> {
        self.flush()?;
        failpoint::hit("filesystem.prepare")?;
        let mut prepared = vec![Prepared::Lineage(self.lineage.clone()).to_committable()?];
        for pending in &mut self.pending {
            if pending.checkpoint.is_none() {
                pending.file.sync()?;
                pending.checkpoint = Some(checkpoint_id);
            }
            prepared.push(pending.file.prepared(&pending.folder, false)?);
        }
        for (folder, file) in &mut self.open {
            file.sync()?;
            prepared.push(file.prepared(folder, true)?);
        }
        failpoint::hit("filesystem.prepared")?;
        Ok(prepared)
    }

    fn commit(&mut self, checkpoint_id: u64) -> Result<()> {
        self.publish_pending(Some(checkpoint_id))
    }

    fn finish(&mut self) -> Result<()> {
        for folder in self.open.keys().cloned().collect::<Vec<_>>() {
            self.complete(&folder)?;
        }
        for pending in &mut self.pending {
            pending.file.sync()?;
        }
        self.publish_pending(None)?;
        let Some(name) = self.success_file.as_ref().filter(|_| !self.partitions.is_empty()) else {
            return Ok(());
        };
        for folder in &self.written {
            let path = self.root.join(folder).join(name);
            File::create(&path).map_err(|e| failed("Making", &path, &e))?;
        }
        Ok(())
    }
}
