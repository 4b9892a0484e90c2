//! A file of state: rows as segments of Arrow IPC, small values, and a footer that says where they are.
//!
//! ```text
//! "RNLSTATE" | version u32 | 0 u32              header, 16 bytes, little-endian
//! segment …                                     an Arrow IPC stream of one batch: the rows, then a column of
//!                                               key groups and one of deletions where there are such
//! value …                                       bytes
//! footer (JSON)                                 kind, and for each segment and value: place, length, CRC-32
//! length u32 | CRC-32 u32 | "RNLSTEND"          of the footer
//! ```
//!
//! Segments are of bounded size, so that neither writing nor reading needs memory for more than a few of them, and
//! each tells its least and greatest key group, so that a task reads what is its own.

use super::manifest::{FORMAT_VERSION, StateFile};
use super::place::{NewFile, PlacedFile};
use crate::error::{Error, Result};
use crate::state::{SnapshotKind, StateRows};
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, Schema, UInt32Type};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"RNLSTATE";
const END_MAGIC: &[u8; 8] = b"RNLSTEND";
const HEADER_BYTES: u64 = 16;
const TAIL_BYTES: u64 = 16;
/// Bytes of rows that make a segment; larger batches are cut.
const SEGMENT_BYTES: usize = 4 << 20;
/// Largest footer: what claims to be larger is damaged.
const MAX_FOOTER_BYTES: u32 = 256 << 20;
/// Segments that lie side by side are read together up to this many bytes.
const READ_BYTES: u64 = 16 << 20;
/// Names of the columns that are added to the rows. They are found by place, not by name.
const KEY_GROUP: &str = "__key_group";
const DELETED: &str = "__deleted";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Footer {
    /// `full` or `delta`.
    kind: Kind,
    segments: Vec<Segment>,
    values: Vec<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Full,
    Delta,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Segment {
    table: String,
    offset: u64,
    bytes: u64,
    crc32: u32,
    rows: u64,
    /// Whether the last column but one, or the last, tells the key groups; then least and greatest.
    key_groups: Option<(u32, u32)>,
    /// Whether the last column tells deletions.
    deleted: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Value {
    name: String,
    offset: u64,
    bytes: u64,
    crc32: u32,
}

/// Writes a file of state piece by piece. Dropped before [`Self::finish`], it leaves nothing.
#[derive(Debug)]
pub struct StateFileWriter {
    file: NewFile,
    path: String,
    offset: u64,
    crc: crc32fast::Hasher,
    footer: Footer,
    segment: Vec<u8>,
}

impl StateFileWriter {
    pub(super) fn new(file: NewFile, path: String, kind: SnapshotKind) -> Result<Self> {
        let kind = match kind {
            SnapshotKind::Full => Kind::Full,
            SnapshotKind::Delta => Kind::Delta,
        };
        let mut writer = Self {
            file,
            path,
            offset: 0,
            crc: crc32fast::Hasher::new(),
            footer: Footer { kind, segments: Vec::new(), values: Vec::new() },
            segment: Vec::new(),
        };
        writer.write(MAGIC)?;
        writer.write(&FORMAT_VERSION.to_le_bytes())?;
        writer.write(&0u32.to_le_bytes())?;
        Ok(writer)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.crc.update(bytes);
        self.offset += bytes.len() as u64;
        self.file.write(bytes)
    }

    /// Adds rows.
    ///
    /// Errors: they cannot be written; there are not as many key groups or marks as rows.
    pub fn rows(&mut self, rows: &StateRows) -> Result<()> {
        let count = rows.rows.num_rows();
        let fits = rows.key_groups.as_ref().is_none_or(|g| g.len() == count)
            && rows.deleted.as_ref().is_none_or(|d| d.len() == count);
        if !fits {
            return Err(Error::internal(format!(
                "The state table '{}' has other numbers of rows, key groups and deletions.",
                rows.table
            )));
        }
        // Slices count the memory of what they are slices of: at worst a segment is smaller than it might be.
        let bytes = rows.rows.get_array_memory_size().max(1);
        let step = (count as u128 * SEGMENT_BYTES as u128 / bytes as u128).clamp(1024, 1 << 20) as usize;
        let mut at = 0;
        while at < count {
            let length = step.min(count - at);
            self.segment(rows, at, length)?;
            at += length;
        }
        Ok(())
    }

    fn segment(&mut self, rows: &StateRows, at: usize, length: usize) -> Result<()> {
        let batch = rows.rows.slice(at, length);
        let mut fields: Vec<Arc<Field>> = batch.schema().fields().iter().cloned().collect();
        let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
        let mut key_groups = None;
        if let Some(groups) = &rows.key_groups {
            let groups = &groups[at..at + length];
            key_groups = groups.iter().min().copied().zip(groups.iter().max().copied());
            fields.push(Arc::new(Field::new(KEY_GROUP, DataType::UInt32, false)));
            columns.push(Arc::new(UInt32Array::from(groups.to_vec())));
        }
        // Most segments of changes take nothing away.
        let deleted = rows.deleted.as_ref().map(|d| d.slice(at, length)).filter(|d| d.count_set_bits() > 0);
        if let Some(deleted) = &deleted {
            fields.push(Arc::new(Field::new(DELETED, DataType::Boolean, false)));
            columns.push(Arc::new(BooleanArray::new(deleted.clone(), None)));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(length));
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)?;
        let mut bytes = std::mem::take(&mut self.segment);
        bytes.clear();
        let mut stream = StreamWriter::try_new(&mut bytes, &schema)?;
        stream.write(&batch)?;
        stream.finish()?;
        drop(stream);
        self.footer.segments.push(Segment {
            table: rows.table.clone(),
            offset: self.offset,
            bytes: bytes.len() as u64,
            crc32: crc32fast::hash(&bytes),
            rows: length as u64,
            key_groups,
            deleted: deleted.is_some(),
        });
        self.write(&bytes)?;
        self.segment = bytes;
        Ok(())
    }

    /// Adds the values and closes the file.
    pub fn finish(mut self, values: &[(String, Vec<u8>)]) -> Result<StateFile> {
        for (name, bytes) in values {
            self.footer.values.push(Value {
                name: name.clone(),
                offset: self.offset,
                bytes: bytes.len() as u64,
                crc32: crc32fast::hash(bytes),
            });
            self.write(bytes)?;
        }
        let footer = serde_json::to_vec(&self.footer).map_err(|e| Error::internal(e.to_string()))?;
        let length = u32::try_from(footer.len()).ok().filter(|l| *l <= MAX_FOOTER_BYTES);
        let length = length.ok_or_else(|| Error::internal("A file of state has too many segments."))?;
        self.write(&footer)?;
        self.write(&length.to_le_bytes())?;
        self.write(&crc32fast::hash(&footer).to_le_bytes())?;
        self.write(END_MAGIC)?;
        self.file.finish()?;
        let keyed = || self.footer.segments.iter().filter_map(|s| s.key_groups);
        let key_groups = keyed().map(|g| g.0).min().zip(keyed().map(|g| g.1).max());
        Ok(StateFile { path: self.path, bytes: self.offset, crc32: self.crc.finalize(), key_groups })
    }
}

/// A file of state being read, for one task.
#[derive(Debug)]
pub(super) struct OpenStateFile {
    file: PlacedFile,
    kind: Kind,
    /// Segments that hold rows of the task, from the last to the first.
    segments: Vec<Segment>,
    values: Vec<Value>,
    /// Bytes read ahead, and where they lie in the file.
    ahead: (u64, Vec<u8>),
}

/// Which rows a task wants.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// Its key groups.
    pub key_groups: std::ops::Range<u32>,
    /// Whether it takes the rows that have none.
    pub unkeyed: bool,
}

impl OpenStateFile {
    /// Reads header and footer.
    ///
    /// Errors: it is no file of state, damaged, or of a later release.
    pub fn open(mut file: PlacedFile, wanted: &Wanted) -> Result<Self> {
        let name = file.name();
        if file.bytes() < HEADER_BYTES + TAIL_BYTES {
            return Err(damaged(&name, "it is too short"));
        }
        let header = file.range(0, HEADER_BYTES as usize)?;
        if &header[..8] != MAGIC {
            return Err(damaged(&name, "it does not begin as a file of state does"));
        }
        let version = u32_at(&header, 8);
        if version > FORMAT_VERSION {
            return Err(later_release(&name, version));
        }
        if version == 0 || u32_at(&header, 12) != 0 {
            return Err(damaged(&name, "its header is wrong"));
        }
        let tail = file.range(file.bytes() - TAIL_BYTES, TAIL_BYTES as usize)?;
        let length = u64::from(u32_at(&tail, 0));
        if &tail[8..] != END_MAGIC || length > file.bytes() - HEADER_BYTES - TAIL_BYTES {
            return Err(damaged(&name, "it does not end as a file of state does"));
        }
        let footer = file.range(file.bytes() - TAIL_BYTES - length, length as usize)?;
        if crc32fast::hash(&footer) != u32_at(&tail, 4) {
            return Err(damaged(&name, "its footer has a wrong checksum"));
        }
        let footer: Footer = serde_json::from_slice(&footer)
            .map_err(|e| damaged(&name, &format!("its footer is wrong: {e}")))?;
        let mut segments: Vec<Segment> = footer.segments;
        segments.retain(|s| match s.key_groups {
            Some((least, greatest)) => least < wanted.key_groups.end && greatest >= wanted.key_groups.start,
            None => wanted.unkeyed,
        });
        segments.reverse();
        Ok(Self { file, kind: footer.kind, segments, values: footer.values, ahead: (0, Vec::new()) })
    }

    /// Whether it holds all state, rather than changes.
    pub fn is_full(&self) -> bool {
        self.kind == Kind::Full
    }

    /// The small values.
    pub fn values(&mut self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut values = Vec::with_capacity(self.values.len());
        for value in &self.values {
            let bytes = self.file.range(value.offset, value.bytes as usize)?;
            if crc32fast::hash(&bytes) != value.crc32 {
                return Err(damaged(&self.file.name(), "a value has a wrong checksum"));
            }
            values.push((value.name.clone(), bytes));
        }
        Ok(values)
    }

    /// The next rows that are wanted; `None` at the end.
    pub fn next_rows(&mut self, wanted: &Wanted) -> Result<Option<StateRows>> {
        while let Some(segment) = self.segments.pop() {
            let rows = self.read(&segment)?;
            if rows.rows.num_rows() as u64 != segment.rows {
                return Err(damaged(&self.file.name(), "a segment has another number of rows"));
            }
            let rows = filtered(rows, wanted)?;
            if rows.rows.num_rows() > 0 {
                return Ok(Some(rows));
            }
        }
        Ok(None)
    }

    fn read(&mut self, segment: &Segment) -> Result<StateRows> {
        let (start, bytes) = &self.ahead;
        let there = segment.offset >= *start && segment.offset + segment.bytes <= start + bytes.len() as u64;
        if !there {
            let mut end = segment.offset + segment.bytes;
            for next in self.segments.iter().rev() {
                if next.offset != end || next.offset + next.bytes - segment.offset > READ_BYTES {
                    break;
                }
                end = next.offset + next.bytes;
            }
            self.ahead = (segment.offset, self.file.range(segment.offset, (end - segment.offset) as usize)?);
        }
        let (start, bytes) = &self.ahead;
        let at = (segment.offset - start) as usize;
        let bytes = &bytes[at..at + segment.bytes as usize];
        if crc32fast::hash(bytes) != segment.crc32 {
            return Err(damaged(&self.file.name(), "a segment has a wrong checksum"));
        }
        decode(segment, bytes).map_err(|e| damaged(&self.file.name(), e.message()))
    }
}

fn decode(segment: &Segment, bytes: &[u8]) -> Result<StateRows> {
    let mut stream = StreamReader::try_new(bytes, None)?;
    let batch = stream.next().ok_or_else(|| Error::internal("a segment is empty"))??;
    let mut columns = batch.columns().to_vec();
    let mut taken = |wanted: bool| if wanted { columns.pop() } else { None };
    let deleted = taken(segment.deleted).and_then(|d| d.as_boolean_opt().map(|d| d.values().clone()));
    let key_groups = taken(segment.key_groups.is_some())
        .and_then(|g| g.as_primitive_opt::<UInt32Type>().map(|g| g.values().to_vec()));
    if deleted.is_some() != segment.deleted || key_groups.is_some() != segment.key_groups.is_some() {
        return Err(Error::internal("a segment has other columns than it should"));
    }
    let schema = batch.schema();
    let fields: Vec<_> = schema.fields().iter().take(columns.len()).cloned().collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let rows = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?;
    Ok(StateRows { table: segment.table.clone(), key_groups, rows, deleted })
}

/// The rows whose key groups are wanted.
fn filtered(rows: StateRows, wanted: &Wanted) -> Result<StateRows> {
    let Some(groups) = &rows.key_groups else { return Ok(rows) };
    let mask = BooleanBuffer::from_iter(groups.iter().map(|g| wanted.key_groups.contains(g)));
    if mask.count_set_bits() == mask.len() {
        return Ok(rows);
    }
    let mask = BooleanArray::new(mask, None);
    let kept = groups.iter().copied().filter(|g| wanted.key_groups.contains(g)).collect();
    let deleted = match &rows.deleted {
        None => None,
        Some(deleted) => {
            let kept = arrow::compute::filter(&BooleanArray::new(deleted.clone(), None), &mask)?;
            Some(kept.as_boolean().values().clone())
        }
    };
    let batch = arrow::compute::filter_record_batch(&rows.rows, &mask)?;
    Ok(StateRows { table: rows.table, key_groups: Some(kept), rows: batch, deleted })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

fn damaged(name: &str, what: &str) -> Error {
    Error::external(format!("The file of state {name} is damaged: {what}.")).permanent()
}

pub(super) fn later_release(name: &str, version: u32) -> Error {
    Error::user(format!(
        "{name} has the format {version}, which a later release of Runnel wrote; this one reads up to {FORMAT_VERSION}."
    ))
    .with_hint("Start the job with that release.")
}
