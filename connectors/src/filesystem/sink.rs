//! Writing files: rows go into a hidden file, which gets its name in one step when it is complete.

use super::path::escape;
use crate::formats::select::ChosenFormat;
use crate::formats::{Encoder, Payloads};
use arrow::array::{Array, UInt32Array};
use arrow::datatypes::SchemaRef;
use engine::connector::{Metrics, Sink, Writer, WriterContext};
use engine::error::{Error, Result};
use engine::functions::text::write_value;
use engine::message::ChangeBatch;
use engine::plan::ChangelogMode;
use engine::time::Clock;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes gathered before they go to the file.
const BUFFER_BYTES: usize = 256 << 10;
/// Partitions that one writer has files open for; beyond them the one longest unused is finished.
const MAX_OPEN_PARTITIONS: usize = 128;

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

    fn writer(&self, context: WriterContext) -> Result<Box<dyn Writer>> {
        let index = |name: &str| {
            context.schema.index_of(name).map_err(|_| Error::internal(format!("no column `{name}` to write")))
        };
        let stored = self.stored.fields().iter().map(|f| index(f.name())).collect::<Result<_>>()?;
        let partitions = self.partitioned_by.iter().map(|n| index(n)).collect::<Result<_>>()?;
        Ok(Box::new(FileWriter {
            root: self.path.clone(),
            prefix: format!("part-{}-{}", unique(), context.task),
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
    /// All folders with a finished file.
    written: BTreeSet<String>,
    /// Files begun.
    count: usize,
    payloads: Payloads,
}

/// A file being written. Removed when dropped before it was published.
struct PartFile {
    file: File,
    hidden: PathBuf,
    visible: PathBuf,
    buffer: Vec<u8>,
    bytes: u64,
    begun_ms: i64,
    touched_ms: i64,
    published: bool,
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Error {
    let text = format!("{what} {} failed: {error}.", path.display());
    match error.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::NotADirectory => Error::user(text),
        _ => Error::external(text),
    }
}

impl PartFile {
    fn drain(&mut self) -> Result<()> {
        self.file.write_all(&self.buffer).map_err(|e| failed("Writing", &self.hidden, &e))?;
        self.buffer.clear();
        Ok(())
    }

    fn publish(mut self) -> Result<()> {
        self.drain()?;
        self.file.sync_all().map_err(|e| failed("Writing", &self.hidden, &e))?;
        std::fs::rename(&self.hidden, &self.visible).map_err(|e| failed("Publishing", &self.visible, &e))?;
        self.published = true;
        Ok(())
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.published {
            // Nobody can be told here, and a hidden file does no harm.
            let _ = std::fs::remove_file(&self.hidden);
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
                file.bytes += file.buffer.len() as u64;
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
        let hidden = directory.join(format!(".{name}.inprogress.{}", unique()));
        let file = File::create_new(&hidden).map_err(|e| failed("Making", &hidden, &e))?;
        Ok(PartFile {
            file,
            hidden,
            visible: directory.join(name),
            buffer: Vec::with_capacity(BUFFER_BYTES),
            bytes: 0,
            begun_ms: now_ms,
            touched_ms: now_ms,
            published: false,
        })
    }

    fn complete(&mut self, folder: &str) -> Result<()> {
        if let Some(file) = self.open.remove(folder) {
            file.publish()?;
            self.written.insert(folder.to_string());
        }
        Ok(())
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
        for file in self.open.values_mut() {
            file.bytes += file.buffer.len() as u64;
            file.drain()?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        for folder in self.open.keys().cloned().collect::<Vec<_>>() {
            self.complete(&folder)?;
        }
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
