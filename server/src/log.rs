//! Logs: bounded files of JSON lines with the keys of the Studio guide, written, read page by page and followed.

use engine::time::{Clock, SystemClock};
use serde_json::json;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Size at which a log file is closed and the next begun, in bytes.
pub const LOG_FILE_BYTES: u64 = 4 << 20;
/// Closed files that are kept beside the open one.
pub const LOG_FILES_KEPT: u64 = 4;
/// Longest line of text that is logged, in bytes; the rest is cut off.
pub const LOG_LINE_BYTES: usize = 16 << 10;
/// Most lines in a page.
pub const PAGE_LINES: usize = 1000;
/// Most bytes in a page.
const PAGE_BYTES: u64 = 1 << 20;
/// Place of a file's first line: pages count `file × FILE_SPAN + bytes`, so that a place stays valid over files.
const FILE_SPAN: u64 = 1 << 40;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Info,
    /// Worth a look.
    Warn,
    /// Something failed.
    Error,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        }
    }
}

/// A log in a folder: files `<stem>.<n>`, of which the oldest go when there are too many. Writing never fails the
/// writer: a full disk costs lines, not jobs.
#[derive(Debug)]
pub struct Log {
    folder: PathBuf,
    stem: &'static str,
    open: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
}

/// Stem of the log of JSON lines.
pub const JSON: &str = "log.jsonl";
/// Stem of what the job printed.
pub const OUT: &str = "out.txt";

impl Log {
    /// The log `stem` in `folder`; made with its first line.
    pub fn new(folder: impl Into<PathBuf>, stem: &'static str) -> Self {
        Self { folder: folder.into(), stem, open: Mutex::new(None) }
    }

    /// Writes a record. `thread` says who speaks. What is too long is cut before it becomes JSON.
    pub fn write(&self, level: Level, logger: &str, thread: &str, message: &str, extra: &[(&str, &str)]) {
        let mut longest = LOG_LINE_BYTES;
        loop {
            let mut record = json!({
                "timestamp": timestamp(SystemClock.now_ms()),
                "messageType": level.word(),
                "logger": logger,
                "threadName": thread,
                "message": cut(message, longest),
                "messageSchemaVersion": "1",
            });
            if let Some(fields) = record.as_object_mut() {
                for (key, value) in extra {
                    fields.insert((*key).to_string(), cut(value, longest).into());
                }
            }
            let line = record.to_string();
            // Quotes and control characters are longer in JSON than they were.
            if line.len() <= LOG_LINE_BYTES || longest == 0 {
                return self.line(&line);
            }
            longest /= 2;
        }
    }

    /// Writes a line as it is.
    pub fn line(&self, line: &str) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // A line that cannot be written is lost; the next one tries again.
        if self.try_line(&mut open, cut(line, LOG_LINE_BYTES)).is_err() {
            *open = None;
        }
    }

    fn try_line(&self, open: &mut Option<Open>, line: &str) -> io::Result<()> {
        if open.as_ref().is_some_and(|o| o.bytes >= LOG_FILE_BYTES) {
            *open = None;
        }
        let open = match open {
            Some(open) => open,
            None => open.insert(self.next_file()?),
        };
        open.file.write_all(format!("{line}\n").as_bytes())?;
        open.bytes += line.len() as u64 + 1;
        Ok(())
    }

    /// Goes on in the last file if it has room, else begins the next and drops the oldest.
    fn next_file(&self) -> io::Result<Open> {
        fs::create_dir_all(&self.folder)?;
        let numbers = numbers(&self.folder, self.stem);
        let last = numbers.last().copied().unwrap_or(0);
        let bytes = fs::metadata(path(&self.folder, self.stem, last)).map_or(0, |m| m.len());
        let number = if bytes >= LOG_FILE_BYTES { last + 1 } else { last };
        for old in numbers.iter().filter(|n| **n + LOG_FILES_KEPT < number) {
            fs::remove_file(path(&self.folder, self.stem, *old))?;
        }
        let path = path(&self.folder, self.stem, number);
        let mut file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)?;
        let bytes = file.seek(SeekFrom::End(0))?;
        if bytes > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                // The server was killed in the middle of a line.
                file.write_all(b"\n")?;
            }
        }
        Ok(Open { file, bytes })
    }
}

fn path(folder: &Path, stem: &str, number: u64) -> PathBuf {
    folder.join(format!("{stem}.{number}"))
}

/// Numbers of the files there are, ascending.
fn numbers(folder: &Path, stem: &str) -> Vec<u64> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    let number = |name: &str| name.strip_prefix(stem)?.strip_prefix('.')?.parse::<u64>().ok();
    let mut numbers: Vec<u64> = names.filter_map(|e| number(e.file_name().to_str()?)).collect();
    numbers.sort_unstable();
    numbers
}

/// The first `longest` bytes of `text`, without half a character.
fn cut(text: &str, longest: usize) -> &str {
    if text.len() <= longest {
        return text;
    }
    let end = (0..=longest).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    &text[..end]
}

/// Whole lines from the place `from` on, at most a page, and where the next page begins.
pub fn page(folder: &Path, stem: &str, from: u64) -> (Vec<String>, u64) {
    let (mut number, mut offset) = (from / FILE_SPAN, from % FILE_SPAN);
    let (mut lines, mut bytes) = (Vec::new(), 0);
    let first = number;
    for there in numbers(folder, stem).into_iter().filter(|n| *n >= first) {
        if lines.len() >= PAGE_LINES || bytes >= PAGE_BYTES {
            break;
        }
        if there > number {
            (number, offset) = (there, 0);
        }
        let Ok(mut file) = File::open(path(folder, stem, number)) else { continue };
        if file.seek(SeekFrom::Start(offset)).is_err() {
            continue;
        }
        let mut reader = BufReader::new(file);
        while lines.len() < PAGE_LINES && bytes < PAGE_BYTES {
            let mut line = Vec::new();
            match reader.read_until(b'\n', &mut line) {
                // A line without an end is still being written.
                Ok(read) if read > 0 && line.last() == Some(&b'\n') => {
                    line.pop();
                    offset += read as u64;
                    bytes += read as u64;
                    lines.push(String::from_utf8_lossy(&line).into_owned());
                }
                _ => break,
            }
        }
    }
    (lines, number * FILE_SPAN + offset)
}

/// The last `count` lines, and where the next page begins.
pub fn tail(folder: &Path, stem: &str, count: usize) -> (Vec<String>, u64) {
    let mut lines = std::collections::VecDeque::new();
    let count = count.min(PAGE_LINES);
    let mut from = 0;
    loop {
        let (page, next) = page(folder, stem, from);
        if next == from {
            return (lines.into(), next);
        }
        from = next;
        lines.extend(page);
        while lines.len() > count {
            lines.pop_front();
        }
    }
}

/// `2026-11-21T04:08:18.123Z`.
pub fn timestamp(ms: i64) -> String {
    let (days, rest) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // Days to a date: the civil calendar counted from 1 March 0000.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second, ms) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60, rest % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_the_guides_keys() {
        let temp = tempfile::tempdir().unwrap();
        let log = Log::new(temp.path(), JSON);
        log.write(Level::Warn, "runnel.job", "server", "It \"works\".", &[("jobId", "7")]);
        let (lines, next) = page(temp.path(), JSON, 0);
        assert_eq!(lines.len(), 1);
        let record: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(record["message"], "It \"works\".");
        assert_eq!((&record["messageType"], &record["jobId"]), (&"WARN".into(), &"7".into()));
        assert_eq!(page(temp.path(), JSON, next), (vec![], next));
        log.line("more");
        assert_eq!(page(temp.path(), JSON, next).0, ["more"]);
    }

    #[test]
    fn a_record_that_is_cut_is_json_still() {
        let temp = tempfile::tempdir().unwrap();
        let log = Log::new(temp.path(), JSON);
        for message in ["x".repeat(LOG_LINE_BYTES), "\"\u{1}é".repeat(LOG_LINE_BYTES)] {
            log.write(Level::Info, "runnel.job", "child", &message, &[("jobId", &message)]);
        }
        let (lines, _) = page(temp.path(), JSON, 0);
        assert_eq!(lines.len(), 2);
        for line in lines {
            let record: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert!(line.len() <= LOG_LINE_BYTES && record["message"].as_str().unwrap().len() > 500);
        }
    }

    #[test]
    fn files_are_bounded_and_pages_go_on_over_them() {
        let temp = tempfile::tempdir().unwrap();
        let log = Log::new(temp.path(), OUT);
        let long = "x".repeat(LOG_LINE_BYTES * 2);
        let a_file = LOG_FILE_BYTES as usize / LOG_LINE_BYTES;
        for _ in 0..a_file * 7 {
            log.line(&long);
        }
        log.line("last");
        let files = numbers(temp.path(), OUT);
        assert_eq!(files.len() as u64, LOG_FILES_KEPT + 1);
        assert!(*files.last().unwrap() >= 6, "{files:?}");
        let (lines, next) = tail(temp.path(), OUT, 3);
        assert_eq!((lines.len(), lines[2].as_str(), lines[1].len()), (3, "last", LOG_LINE_BYTES));
        // Another server goes on where the first stopped, even in the middle of a line.
        fs::OpenOptions::new()
            .append(true)
            .open(path(temp.path(), OUT, *files.last().unwrap()))
            .unwrap()
            .write_all(b"half")
            .unwrap();
        Log::new(temp.path(), OUT).line("again");
        assert_eq!(page(temp.path(), OUT, next).0, ["half", "again"]);
    }

    #[test]
    fn timestamps() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(timestamp(1_709_210_096_789), "2024-02-29T12:34:56.789Z");
        assert_eq!(timestamp(-1), "1969-12-31T23:59:59.999Z");
    }
}
