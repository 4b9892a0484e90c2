//! Formats: bytes to Arrow and back, in batches. [`FORMATS`] is the only list of formats; [`select`] finds the one
//! that a table's options name.

pub(crate) mod calendar;
mod change_json;
mod column;
mod csv;
pub(crate) mod java;
mod json;
mod raw;
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

/// Where one record of a file ends and the next begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// At each line end.
    Lines,
    /// At each line end that is not between quotes. A quote counts where a field begins.
    QuotedLines {
        /// Last byte of the text between two fields.
        delimiter: u8,
        /// What a field with line ends is set in.
        quote: u8,
        /// Takes the meaning from the byte after it.
        escape: Option<u8>,
    },
}

/// One kind of encoding. `name` is the value of the `format` option.
pub trait Format: Send + Sync {
    /// Value of `'format'`, for example `json`.
    fn name(&self) -> &'static str;

    /// Options without the `name.` prefix.
    fn options(&self) -> Vec<OptionHelp>;

    /// Checks `options` (without the `name.` prefix) and the columns, without decoding anything.
    fn check(&self, options: &Options, schema: &SchemaRef) -> Result<()>;

    /// How records are told apart in a file.
    fn framing(&self, options: &Options) -> Result<Framing> {
        let _ = options;
        Ok(Framing::Lines)
    }

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
pub const FORMATS: &[&dyn Format] = &[
    &csv::Csv,
    &json::Json,
    &change_json::DEBEZIUM,
    &change_json::OGG,
    &change_json::CANAL,
    &change_json::MAXWELL,
    &raw::Raw,
];

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

/// Messages (or lines of a file) in one padded buffer.
#[derive(Debug, Clone, Default)]
pub struct Payloads {
    bytes: Vec<u8>,
    /// First byte and the one after the last, in rising order. Between payloads may be bytes that belong to none.
    spans: Vec<(usize, usize)>,
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
    /// Payloads at `spans` of `bytes`, as a file's lines lie in a chunk of it. Panics if a span does not lie in
    /// `bytes` behind the one before it.
    pub fn cut(bytes: Vec<u8>, spans: Vec<(usize, usize)>) -> Self {
        let mut end = 0;
        for (start, stop) in &spans {
            assert!(end <= *start && start <= stop && *stop <= bytes.len(), "spans in rising order");
            end = *stop;
        }
        Self { bytes, spans }
    }

    /// Appends one payload.
    pub fn push(&mut self, payload: &[u8]) {
        self.extend(|bytes| bytes.extend_from_slice(payload));
    }

    /// Appends one payload that `write` makes by appending to the buffer.
    pub fn extend(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.num_bytes();
        self.bytes.truncate(start);
        write(&mut self.bytes);
        self.spans.push((start, self.bytes.len()));
    }

    /// Puts the padding behind the data; call before decoding. Cheap when nothing was added since.
    pub fn pad(&mut self) {
        let end = self.num_bytes();
        self.bytes.truncate(end);
        self.bytes.resize(end + PADDING_BYTES, 0);
    }

    /// Number of payloads.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Bytes of all payloads, with what lies between them.
    pub fn num_bytes(&self) -> usize {
        self.spans.last().map_or(0, |s| s.1)
    }

    /// Payload `index`.
    pub fn get(&self, index: usize) -> &[u8] {
        &self.bytes[self.span(index)]
    }

    /// Where payload `index` lies in [`Payloads::buffer`].
    pub fn span(&self, index: usize) -> std::ops::Range<usize> {
        let (start, end) = self.spans[index];
        start..end
    }

    /// The bytes in which the payloads lie, and the padding if there is one.
    pub fn buffer(&self) -> &[u8] {
        &self.bytes
    }

    /// All payloads in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|i| self.get(i))
    }

    /// Whether the data is followed by [`PADDING_BYTES`] bytes, so that a decoder may load past the end.
    pub fn is_padded(&self) -> bool {
        self.bytes.len() >= self.num_bytes() + PADDING_BYTES
    }

    /// Forgets all payloads, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
    }

    /// The buffer, for the next use.
    pub fn into_buffer(self) -> Vec<u8> {
        self.bytes
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

#[cfg(test)]
mod tests {
    use super::FORMATS;
    use std::path::Path;

    const BEGIN: &str = "<!-- options -->\n";
    const END: &str = "<!-- /options -->";

    /// `UPDATE_EXPECT=1` rewrites the tables.
    #[test]
    fn every_format_has_a_page_that_lists_its_options() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/formats");
        for format in FORMATS {
            let path = folder.join(format!("{}.md", format.name()));
            let page = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let (before, rest) = page.split_once(BEGIN).expect("where the table begins");
            let (_, after) = rest.split_once(END).expect("where the table ends");
            let mut table = "| Option | Default | |\n| --- | --- | --- |\n".to_string();
            for option in format.options() {
                let default = option.default.map_or_else(String::new, |d| format!("`{d}`"));
                let description = option.description.replace('|', "\\|");
                table += &format!("| `{}.{}` | {default} | {description} |\n", format.name(), option.key);
            }
            let right = format!("{before}{BEGIN}{table}{END}{after}");
            if std::env::var_os("UPDATE_EXPECT").is_some() {
                std::fs::write(&path, right).expect("the page is written");
            } else {
                assert!(page == right, "{} is not up to date; UPDATE_EXPECT=1 rewrites it", path.display());
            }
        }
    }
}
