//! Reading files: each file is a split with its own watermark, read in chunks that end at a record's end.

use super::path::{is_hidden, partition_value};
use crate::formats::select::ChosenFormat;
use crate::formats::{Decoder, Framing, PADDING_BYTES, Payloads};
use arrow::array::{
    ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringArray, TimestampMillisecondArray,
    UInt32Array,
};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use engine::connector::{
    Assignment, Boundedness, Enumerator, Metrics, Poll, Reader, ReaderContext, Source, SourceContext, Split,
};
use engine::error::{Error, Result};
use engine::message::RowKind;
use serde_json::json;
use std::collections::HashSet;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// Least and most bytes read at once; between them as many as a full batch needs.
const MIN_CHUNK_BYTES: usize = 256 << 10;
const MAX_CHUNK_BYTES: usize = 1 << 20;
/// Longest record. A longer one is an error: it would not fit into memory twice.
const MAX_RECORD_BYTES: usize = 256 << 20;
/// Files that one reader has open at a time; it reads them in turn.
const MAX_OPEN_FILES: usize = 64;
/// Deepest folder below the table's path.
const MAX_FOLDER_DEPTH: usize = 64;
/// Most files of one table.
const MAX_FILES: usize = 1_000_000;
/// Batches of which all records were skipped before the task is told that there is nothing, so that it can be stopped.
const MAX_EMPTY_BATCHES: usize = 16;
/// Most bytes for finding out how long a line is before the first was read.
const FIRST_LINE_BYTES: usize = 128;

#[derive(Debug)]
pub(super) struct FilesystemSource {
    pub path: PathBuf,
    pub pattern: Option<regex::Regex>,
    /// How often to look for new files; `None` if bounded.
    pub monitor: Option<Duration>,
    pub parallelism: Option<usize>,
    pub default_partition: String,
    pub format: ChosenFormat,
    /// Columns in the files.
    pub stored: SchemaRef,
    pub partitioned_by: Vec<String>,
    pub metadata: Vec<(String, FieldRef)>,
    pub zone: chrono_tz::Tz,
}

impl Source for FilesystemSource {
    fn boundedness(&self) -> Boundedness {
        if self.monitor.is_some() { Boundedness::Unbounded } else { Boundedness::Bounded }
    }

    fn changelog(&self) -> engine::plan::ChangelogMode {
        self.format.format().changelog()
    }

    fn metadata(&self) -> Vec<(String, FieldRef)> {
        super::metadata()
    }

    fn describe(&self) -> String {
        format!("filesystem(path=[{}], format=[{}])", self.path.display(), self.format.name())
    }

    fn max_parallelism(&self) -> Option<usize> {
        // One file is one split, so that more readers than one would only wait.
        self.parallelism.or_else(|| self.path.is_file().then_some(1))
    }

    fn enumerator(&self, _context: &SourceContext) -> Result<Box<dyn Enumerator>> {
        Ok(Box::new(FileEnumerator {
            root: self.path.clone(),
            pattern: self.pattern.clone(),
            monitor: self.monitor,
            known: HashSet::new(),
            restored: false,
        }))
    }

    fn reader(&self, context: ReaderContext) -> Result<Box<dyn Reader>> {
        let mut columns = Vec::new();
        let mut decoded = Vec::new();
        for field in context.projection.fields() {
            let metadata = self.metadata.iter().find(|(_, f)| f.name() == field.name());
            columns.push(match metadata {
                Some((key, _)) => Origin::Metadata(key.clone()),
                None if self.partitioned_by.contains(field.name()) => Origin::Partition,
                None => {
                    decoded.push(field.clone());
                    Origin::Decoded(decoded.len() - 1)
                }
            });
        }
        let decoded = Arc::new(Schema::new(decoded));
        Ok(Box::new(FileReader {
            root: self.path.clone(),
            default_partition: self.default_partition.clone(),
            decoder: self.format.decoder(decoded, self.stored.clone(), self.zone)?,
            framing: self.format.framing()?,
            schema: context.projection,
            columns,
            batch_rows: context.batch_rows.max(1),
            metrics: context.metrics,
            files: Vec::new(),
            next: 0,
        }))
    }
}

/// Where a column comes from.
#[derive(Debug)]
enum Origin {
    Decoded(usize),
    Metadata(String),
    Partition,
}

fn io_error(what: &str, path: &Path, error: &std::io::Error) -> Error {
    let text = format!("{what} {} failed: {error}.", path.display());
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::NotADirectory => Error::user(text),
        _ => Error::external(text),
    }
}

struct FileEnumerator {
    root: PathBuf,
    pattern: Option<regex::Regex>,
    monitor: Option<Duration>,
    known: HashSet<String>,
    /// Whether it goes on with what an earlier run knew.
    restored: bool,
}

impl FileEnumerator {
    fn list(&self, path: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
        if depth > MAX_FOLDER_DEPTH {
            return Err(Error::user(format!(
                "There are more than {MAX_FOLDER_DEPTH} folders inside each other at {}.",
                path.display()
            ))
            .with_hint("A link may lead back to a folder above it."));
        }
        let entries = std::fs::read_dir(path).map_err(|e| io_error("Listing", path, &e))?;
        for entry in entries {
            let entry = entry.map_err(|e| io_error("Listing", path, &e))?;
            if is_hidden(&entry.file_name().to_string_lossy()) {
                continue;
            }
            let path = entry.path();
            // Follows links. A file that goes away between listing and looking was never there.
            match std::fs::metadata(&path) {
                Ok(m) if m.is_dir() => self.list(&path, depth + 1, found)?,
                Ok(m) if m.is_file() => found.push(path),
                _ => {}
            }
            if found.len() > MAX_FILES {
                return Err(Error::user(format!(
                    "There are more than {MAX_FILES} files below {}.",
                    self.root.display()
                ))
                .with_hint("Choose some of them with 'source.path.regex-pattern'."));
            }
        }
        Ok(())
    }
}

impl Enumerator for FileEnumerator {
    fn restore(&mut self, known: &[Split], finished: &[Split]) -> Result<()> {
        self.known.extend(known.iter().chain(finished).map(|s| s.id.clone()));
        self.restored = !self.known.is_empty();
        Ok(())
    }

    fn discover(&mut self) -> Result<Assignment> {
        if self.restored && self.monitor.is_none() {
            // A bounded table is what was there at the first start.
            return Ok(Assignment { splits: Vec::new(), complete: true });
        }
        let mut found = Vec::new();
        match std::fs::metadata(&self.root) {
            Ok(m) if m.is_dir() => self.list(&self.root, 0, &mut found)?,
            Ok(_) => found.push(self.root.clone()),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Err(Error::user(format!("There is no file or directory {}.", self.root.display()))
                    .with_hint(
                        "Check the option 'path'; a relative one counts from where runnel was started.",
                    ));
            }
            Err(e) => return Err(io_error("Looking at", &self.root, &e)),
        }
        found.sort_unstable();
        let mut splits = Vec::new();
        for path in found {
            let absolute = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
            let text = absolute.to_string_lossy();
            if self.pattern.as_ref().is_some_and(|p| !p.is_match(&text)) {
                continue;
            }
            let Some(id) = path.to_str().map(String::from) else {
                return Err(
                    Error::user(format!("The name of {text} is not UTF-8.")).with_hint("Rename the file.")
                );
            };
            if self.known.insert(id.clone()) {
                splits.push(Split { id, position: json!({"offset": 0}).to_string() });
            }
        }
        Ok(Assignment { splits, complete: self.monitor.is_none() })
    }

    fn interval(&self) -> Option<Duration> {
        self.monitor
    }
}

/// A file being read.
struct OpenFile {
    id: Arc<str>,
    path: PathBuf,
    /// Opened at the first read.
    file: Option<Contents>,
    /// Where the first byte lies that was not yet given out.
    offset: u64,
    /// Bytes read from there on.
    carry: Vec<u8>,
    /// Bytes of a record, by the last batch.
    record_bytes: usize,
}

struct Contents {
    file: File,
    at_end: bool,
    /// One value for each column that does not come from the lines, in their order.
    constants: Vec<ArrayRef>,
}

struct FileReader {
    root: PathBuf,
    default_partition: String,
    decoder: Box<dyn Decoder>,
    framing: Framing,
    schema: SchemaRef,
    columns: Vec<Origin>,
    batch_rows: usize,
    metrics: Arc<Metrics>,
    files: Vec<OpenFile>,
    next: usize,
}

impl FileReader {
    fn open(&self, path: &Path, offset: u64) -> Result<Contents> {
        let mut file = File::open(path).map_err(|e| io_error("Opening", path, &e))?;
        let metadata = file.metadata().map_err(|e| io_error("Looking at", path, &e))?;
        if offset > metadata.len() {
            return Err(Error::user(format!(
                "The file {} has {} bytes, but {offset} were read before the restart: it has been replaced.",
                path.display(),
                metadata.len()
            ))
            .with_hint("Files of a table must not change but by growing. Put new rows into new files."));
        }
        if offset > 0 {
            file.seek(SeekFrom::Start(offset)).map_err(|e| io_error("Reading", path, &e))?;
        }
        let mut constants = Vec::new();
        for (origin, field) in self.columns.iter().zip(self.schema.fields()) {
            match origin {
                Origin::Decoded(_) => {}
                Origin::Partition => constants.push(self.partition(path, field)?),
                Origin::Metadata(key) => {
                    let modified = metadata.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
                    let modified = modified.map_or(0, |d| d.as_millis() as i64);
                    let value: ArrayRef = match key.as_str() {
                        "file.path" => Arc::new(StringArray::from(vec![path.to_string_lossy().as_ref()])),
                        "file.name" => {
                            let name = path.file_name().unwrap_or_default().to_string_lossy();
                            Arc::new(StringArray::from(vec![name.as_ref()]))
                        }
                        "file.size" => Arc::new(Int64Array::from(vec![metadata.len() as i64])),
                        _ => Arc::new(TimestampMillisecondArray::from(vec![modified]).with_timezone("UTC")),
                    };
                    constants.push(arrow::compute::cast(&value, field.data_type())?);
                }
            }
        }
        Ok(Contents { file, at_end: false, constants })
    }

    fn partition(&self, path: &Path, field: &FieldRef) -> Result<ArrayRef> {
        let text = partition_value(&self.root, path, field.name()).ok_or_else(|| {
            Error::user(format!(
                "The file {} lies in no folder '{}=…', which would hold its value of the partition column.",
                path.display(),
                field.name()
            ))
        })?;
        let value = (text != self.default_partition).then_some(text);
        let array: ArrayRef = Arc::new(StringArray::from(vec![value.as_deref()]));
        if field.data_type() == &DataType::Utf8 {
            return Ok(array);
        }
        let strict = arrow::compute::CastOptions { safe: false, ..Default::default() };
        arrow::compute::cast_with_options(&array, field.data_type(), &strict).map_err(|_| {
            Error::user(format!(
                "The folder '{}={}' holds no {}.",
                field.name(),
                value.unwrap_or_default(),
                engine::functions::field::type_text(field)
            ))
        })
    }

    /// Reads the next records of file `i`; `None` at its end.
    fn read(&mut self, i: usize) -> Result<Option<(RecordBatch, Option<Arc<[RowKind]>>)>> {
        if self.files[i].file.is_none() {
            let contents = self.open(&self.files[i].path, self.files[i].offset)?;
            self.files[i].file = Some(contents);
        }
        let batch_rows = self.batch_rows;
        let open = &mut self.files[i];
        let Some(contents) = &mut open.file else { return Err(Error::internal("a file that is not open")) };
        let mut buffer = std::mem::take(&mut open.carry);
        let mut spans = Vec::with_capacity(batch_rows.min(8192));
        let used = loop {
            let used = cut(&buffer, contents.at_end, self.framing, batch_rows, &mut spans);
            if !spans.is_empty() {
                break used;
            }
            if contents.at_end {
                return Ok(None);
            }
            if buffer.len() > MAX_RECORD_BYTES {
                return Err(Error::user(format!(
                    "The record at byte {} of {} is longer than {} MiB, the longest that is read.",
                    open.offset,
                    open.path.display(),
                    MAX_RECORD_BYTES >> 20
                ))
                .with_hint("Records are separated by line ends; is this a file of lines?"));
            }
            // Doubling keeps a long record from being searched again and again.
            let wanted = (open.record_bytes * batch_rows).clamp(MIN_CHUNK_BYTES, MAX_CHUNK_BYTES);
            let wanted = wanted.max(buffer.len());
            buffer.reserve(wanted + PADDING_BYTES);
            let read = (&contents.file).take(wanted as u64).read_to_end(&mut buffer);
            let read = read.map_err(|e| io_error("Reading", &open.path, &e))?;
            contents.at_end = read < wanted;
        };
        open.carry = Vec::with_capacity(buffer.len() - used);
        open.carry.extend_from_slice(&buffer[used..]);
        buffer.truncate(used);
        open.record_bytes = used / spans.len();
        let mut payloads = Payloads::cut(buffer, spans);
        payloads.pad();
        let decoded = self.decoder.decode(&payloads).map_err(|e| {
            let at = open.offset + payloads.span(e.payload).start as u64;
            Error::user(format!("The record at byte {at} of {}: {}", open.path.display(), e.message)).with_hint(
                "If the format has the option 'ignore-parse-errors', setting it to 'true' skips what does not fit.",
            )
        })?;
        open.offset += used as u64;
        Metrics::add(&self.metrics.records, decoded.batch.num_rows());
        Metrics::add(&self.metrics.bytes, used);
        Metrics::add(&self.metrics.skipped, decoded.skipped);
        let rows = decoded.batch.num_rows();
        let mut constants = contents.constants.iter();
        let first = UInt32Array::from_value(0, if contents.constants.is_empty() { 0 } else { rows });
        let mut columns = Vec::with_capacity(self.columns.len());
        for origin in &self.columns {
            columns.push(match (origin, origin_constant(origin, &mut constants)) {
                (Origin::Decoded(i), _) => decoded.batch.column(*i).clone(),
                (_, Some(value)) => arrow::compute::take(value, &first, None)?,
                _ => return Err(Error::internal("a column without origin")),
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        Ok(Some((batch, decoded.kinds)))
    }
}

fn origin_constant<'a>(
    origin: &Origin,
    constants: &mut impl Iterator<Item = &'a ArrayRef>,
) -> Option<&'a ArrayRef> {
    match origin {
        Origin::Decoded(_) => None,
        _ => constants.next(),
    }
}

/// Finds up to `most` records in `buffer` and gives the number of bytes that they take with their line ends. At the
/// end of the file the last needs no line end.
fn cut(buffer: &[u8], at_end: bool, framing: Framing, most: usize, spans: &mut Vec<(usize, usize)>) -> usize {
    let mut start = 0;
    while spans.len() < most && start < buffer.len() {
        let end = match framing {
            Framing::Lines => memchr::memchr(b'\n', &buffer[start..]).map(|n| start + n),
            Framing::QuotedLines { delimiter, quote, escape } => {
                quoted_line_end(buffer, start, delimiter, quote, escape)
            }
        };
        let next = match end {
            Some(end) => end + 1,
            None if at_end => buffer.len(),
            None => break,
        };
        let end = end.unwrap_or(buffer.len());
        let end = if end > start && buffer[end - 1] == b'\r' { end - 1 } else { end };
        spans.push((start, end));
        start = next;
    }
    start
}

/// The line end that closes the record at `start`, if it is there.
fn quoted_line_end(
    buffer: &[u8],
    start: usize,
    delimiter: u8,
    quote: u8,
    escape: Option<u8>,
) -> Option<usize> {
    let escape = escape.unwrap_or(b'\n');
    let mut at = start;
    let mut quoted = false;
    // Where a quote was closed: another one right behind it stands for itself, and the field goes on.
    let mut closed = usize::MAX;
    while let Some(n) = memchr::memchr3(quote, b'\n', escape, &buffer[at..]) {
        let here = at + n;
        at = here + 1;
        match buffer[here] {
            b'\n' if !quoted => return Some(here),
            b'\n' => {}
            byte if byte == quote && quoted => {
                quoted = false;
                closed = at;
            }
            byte if byte == quote => {
                quoted = here == start || buffer[here - 1] == delimiter || closed == here;
            }
            // An escape takes the next byte with it.
            _ => at += 1,
        }
        if at > buffer.len() {
            return None;
        }
    }
    None
}

impl Reader for FileReader {
    fn assign(&mut self, splits: Vec<Split>) -> Result<()> {
        for split in splits {
            let position: serde_json::Value = serde_json::from_str(&split.position)
                .map_err(|e| Error::internal(format!("position of {}: {e}", split.id)))?;
            self.files.push(OpenFile {
                path: PathBuf::from(&split.id),
                id: split.id.into(),
                file: None,
                offset: position["offset"].as_u64().unwrap_or(0),
                carry: Vec::new(),
                record_bytes: FIRST_LINE_BYTES,
            });
        }
        Ok(())
    }

    fn poll(&mut self, timeout: Duration) -> Result<Poll> {
        if self.files.is_empty() {
            self.metrics.waiting(|| std::thread::sleep(timeout));
            return Ok(Poll::Pending);
        }
        for _ in 0..MAX_EMPTY_BATCHES {
            let i = self.next % self.files.len().min(MAX_OPEN_FILES);
            self.next = i + 1;
            match self.read(i)? {
                None => return Ok(Poll::Finished(self.files.remove(i).id)),
                Some((batch, _)) if batch.num_rows() == 0 => {}
                Some((batch, kinds)) => {
                    return Ok(Poll::Rows { split: self.files[i].id.clone(), batch, kinds });
                }
            }
        }
        Ok(Poll::Pending)
    }

    fn snapshot(&self) -> Vec<Split> {
        let position = |offset: u64| json!({ "offset": offset }).to_string();
        self.files.iter().map(|f| Split { id: f.id.to_string(), position: position(f.offset) }).collect()
    }

    fn status(&self) -> Option<String> {
        self.files.is_empty().then(|| format!("new files below {}", self.root.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(text: &str, at_end: bool, framing: Framing, most: usize) -> (Vec<&str>, usize) {
        let mut spans = Vec::new();
        let used = cut(text.as_bytes(), at_end, framing, most, &mut spans);
        (spans.into_iter().map(|(s, e)| &text[s..e]).collect(), used)
    }

    #[test]
    fn lines_are_cut_at_their_ends() {
        assert_eq!(records("a\r\nb\n\nc", false, Framing::Lines, 9), (vec!["a", "b", ""], 6));
        assert_eq!(records("a\nb\nc", true, Framing::Lines, 9), (vec!["a", "b", "c"], 5));
        assert_eq!(records("a\nb\nc", true, Framing::Lines, 1), (vec!["a"], 2));
    }

    #[test]
    fn quotes_hold_lines_together() {
        let csv = Framing::QuotedLines { delimiter: b',', quote: b'"', escape: Some(b'\\') };
        let text = "1,\"a\nb\"\n2,x\"y\n3,\"a\"\"\nb\",\"\"\n4,\\\"a\n";
        let expected = vec!["1,\"a\nb\"", "2,x\"y", "3,\"a\"\"\nb\",\"\"", "4,\\\"a"];
        assert_eq!(records(text, false, csv, 9), (expected, text.len()));
        assert_eq!(records("1,\"a\nb", false, csv, 9), (vec![], 0));
        assert_eq!(records("1,\"a\nb", true, csv, 9), (vec!["1,\"a\nb"], 6));
    }
}
