//! Paths of tables: URLs, hidden names, `key=value` folders.

use engine::error::{Error, Result};
use std::path::{Path, PathBuf};

/// The local path that the option `path` names: plain or `file:`.
///
/// Errors: another scheme.
pub(super) fn local(text: &str) -> Result<PathBuf> {
    if let Some(rest) = text.strip_prefix("file:") {
        // `file:/a`, `file:///a` and `file://localhost/a` are the same; `file:a` is relative.
        let path = match rest.strip_prefix("//") {
            Some(rest) => rest.strip_prefix("localhost").unwrap_or(rest),
            None => rest,
        };
        return Ok(PathBuf::from(path));
    }
    match text.split_once("://") {
        Some((scheme, _)) => Err(Error::unsupported(
            format!("A 'path' with the scheme '{scheme}://'"),
            "Copy the files to a local directory and write its path, for example 'path' = '/data/orders'.",
        )),
        None => Ok(PathBuf::from(text)),
    }
}

/// Whether Flink leaves a file or folder of this name out.
pub(super) fn is_hidden(name: &str) -> bool {
    name.starts_with('.') || name.starts_with('_')
}

/// Appends a partition value as a folder name: what a path cannot hold as `%XX`.
pub(super) fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\u{1}'..='\u{1f}'
            | '\u{7f}'
            | '"'
            | '#'
            | '%'
            | '\''
            | '*'
            | '/'
            | ':'
            | '='
            | '?'
            | '\\'
            | '{'
            | '['
            | ']'
            | '^' => out.push_str(&format!("%{:02X}", c as u32)),
            _ => out.push(c),
        }
    }
}

/// The other way round; what is no escape stays.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|h| std::str::from_utf8(h).ok());
        match code.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) if *first == b'%' => {
                out.push(byte);
                rest = &after[2..];
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The value of partition `key` in the folders of `file` below `root`.
pub(super) fn partition_value(root: &Path, file: &Path, key: &str) -> Option<String> {
    let below = file.strip_prefix(root).unwrap_or(file);
    below.parent()?.components().find_map(|folder| {
        let (name, value) = folder.as_os_str().to_str()?.split_once('=')?;
        (unescape(name) == key).then(|| unescape(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_local_or_refused() {
        for text in ["/a/b", "file:/a/b", "file:///a/b", "file://localhost/a/b"] {
            assert_eq!(local(text).unwrap(), Path::new("/a/b"), "{text}");
        }
        assert_eq!(local("a").unwrap(), Path::new("a"));
        let error = local("s3://bucket/x").unwrap_err();
        assert_eq!(error.message(), "A 'path' with the scheme 's3://' is not supported yet.");
    }

    #[test]
    fn partition_folders_there_and_back() {
        let mut name = String::from("k=");
        escape(&mut name, "a/b:c=d %é");
        assert_eq!(name, "k=a%2Fb%3Ac%3Dd %25é");
        let file = Path::new("/t").join(&name).join("part-0");
        assert_eq!(partition_value(Path::new("/t"), &file, "k").as_deref(), Some("a/b:c=d %é"));
        assert_eq!(partition_value(Path::new("/t"), &file, "z"), None);
    }
}
