//! Formats: bytes to Arrow and back, in batches. [`FORMATS`] is the only list of formats; [`select`] finds the one
//! that a table's options name.

pub(crate) mod calendar;
pub(crate) mod java;
mod json;
pub mod select;
mod values;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use catalog::Options;
use engine::connector::OptionHelp;
use engine::error::{Error, Result, nearest};
use engine::message::{ChangeBatch, RowKind};
use engine::plan::ChangelogMode;
use std::sync::Arc;

/// Zero bytes that follow the data in [`Payloads`], so that a decoder may load past the end.
pub const PADDING_BYTES: usize = 64;

/// One kind of encoding. `name` is the value of the `format` option.
pub trait Format: Send + Sync {
    /// Value of `'format'`, for example `json`.
    fn name(&self) -> &'static str;

    /// Options without the `name.` prefix.
    fn options(&self) -> Vec<OptionHelp>;

    /// Checks `options` (without the `name.` prefix) and the columns, without decoding anything.
    fn check(&self, options: &Options, schema: &SchemaRef) -> Result<()>;

    /// Row kinds that decoding gives.
    fn changelog(&self) -> ChangelogMode {
        ChangelogMode::APPEND
    }

    /// Row kinds that encoding takes.
    fn accepts(&self) -> ChangelogMode {
        ChangelogMode::APPEND
    }

    /// A decoder that makes the columns of `projection`. `declared` are all physical columns of the table in order,
    /// for formats that go by position.
    fn decoder(
        &self,
        options: &Options,
        projection: SchemaRef,
        declared: SchemaRef,
        zone: chrono_tz::Tz,
    ) -> Result<Box<dyn Decoder>>;

    /// An encoder of the columns of `schema`.
    fn encoder(&self, options: &Options, schema: SchemaRef, zone: chrono_tz::Tz) -> Result<Box<dyn Encoder>>;
}

/// All formats of this build.
pub const FORMATS: &[&dyn Format] = &[&json::Json];

/// The format called `name`.
///
/// Errors: there is none; the text lists what there is.
pub fn format(name: &str) -> Result<&'static dyn Format> {
    FORMATS.iter().find(|f| f.name() == name).copied().ok_or_else(|| {
        let names = FORMATS.iter().map(|f| f.name()).collect::<Vec<_>>();
        let hint = match nearest(name, names.iter().copied()) {
            Some(near) => format!("Did you mean '{near}'? There are: {}.", names.join(", ")),
            None => format!("There are: {}.", names.join(", ")),
        };
        Error::user(format!("This Runnel has no format '{name}'.")).with_hint(hint)
    })
}

/// Messages (or lines of a file) side by side in one padded buffer.
#[derive(Debug, Clone, Default)]
pub struct Payloads {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// Where decoding failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// Index of the payload.
    pub payload: usize,
    /// A sentence: what is wrong with it, and where in it; never more than 200 characters of the data.
    pub message: String,
}

/// What decoding made.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// Columns of the projection.
    pub batch: RecordBatch,
    /// A kind for each row; `None` if all are inserts.
    pub kinds: Option<Arc<[RowKind]>>,
    /// For each row the index of its payload; `None` if row n came from payload n.
    pub origin: Option<Vec<u32>>,
    /// Payloads that were skipped because they do not decode (`ignore-parse-errors`).
    pub skipped: usize,
}

/// Turns payloads into rows. One decoder serves one reader, batch after batch.
pub trait Decoder: Send {
    /// Decodes all payloads into one batch. An error leaves the decoder usable.
    fn decode(&mut self, payloads: &Payloads) -> std::result::Result<Decoded, DecodeError>;
}

/// Turns rows into payloads.
pub trait Encoder: Send {
    /// Appends a payload for each row of `batch` to `out`.
    fn encode(&mut self, batch: &ChangeBatch, out: &mut Payloads) -> Result<()>;
}

impl Payloads {
    /// Appends one payload.
    pub fn push(&mut self, payload: &[u8]) {
        self.extend(|bytes| bytes.extend_from_slice(payload));
    }

    /// Appends one payload that `write` makes by appending to the buffer.
    pub fn extend(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Puts the padding behind the data; call before decoding. Cheap when nothing was added since.
    pub fn pad(&mut self) {
        let end = self.num_bytes();
        self.bytes.truncate(end);
        self.bytes.resize(end + PADDING_BYTES, 0);
    }

    /// Number of payloads.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all payloads.
    pub fn num_bytes(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Payload `index`.
    pub fn get(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }

    /// Where payload `index` lies in [`Payloads::buffer`].
    pub fn span(&self, index: usize) -> std::ops::Range<usize> {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        start..self.ends[index]
    }

    /// All payloads side by side, and the padding if there is one.
    pub fn buffer(&self) -> &[u8] {
        &self.bytes
    }

    /// All payloads in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|i| self.get(i))
    }

    /// Whether the data is followed by [`PADDING_BYTES`] zero bytes.
    pub fn is_padded(&self) -> bool {
        self.bytes.len() >= self.num_bytes() + PADDING_BYTES
    }

    /// Forgets all payloads, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// At most `most` characters of `bytes` around `at`, for an error's text; control characters are shown as blanks.
pub(crate) fn excerpt(bytes: &[u8], at: usize, most: usize) -> String {
    let start = if bytes.len() <= most { 0 } else { at.saturating_sub(most / 2).min(bytes.len() - most) };
    let end = bytes.len().min(start + most);
    let text = String::from_utf8_lossy(&bytes[start..end]);
    let text = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let before = if start > 0 { "…" } else { "" };
    let after = if end < bytes.len() { "…" } else { "" };
    format!("{before}{}{after}", text.collect::<String>())
}
