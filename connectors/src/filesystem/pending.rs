//! Files that are written but not yet published, as a checkpoint remembers them; publishing and taking back.
//!
//! A file is hidden until it is published by one rename. Its hidden name ends with the lineage of its job: the same
//! over all restarts, so that a restored job finds what a crashed run left behind and leaves other jobs' files alone.

use super::path::is_hidden;
use engine::connector::Committable;
use engine::error::{Error, Result};
use engine::failpoint;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Between a hidden file's name and the lineage.
const IN_PROGRESS: &str = ".inprogress.";

/// What a checkpoint keeps of a writer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Prepared {
    /// The job whose files these are.
    Lineage(String),
    /// A file whose rows belong to the checkpoint up to `bytes`.
    File {
        /// Below the table's path.
        folder: String,
        /// The name that it gets.
        name: String,
        /// Length, line ends included.
        bytes: u64,
        /// Whether rows may still have been added after the checkpoint.
        open: bool,
    },
}

impl Prepared {
    pub fn to_committable(&self) -> Result<Committable> {
        let text = serde_json::to_string(self).map_err(|e| Error::internal(e.to_string()))?;
        Ok(Committable { text })
    }

    /// Errors: the text is another connector's, or a later release's.
    pub fn read(committable: &Committable) -> Result<Self> {
        serde_json::from_str(&committable.text).map_err(|e| {
            Error::user(format!("The checkpoint holds files that cannot be understood: {e}."))
                .with_hint("Was it taken by a later release, or while the table had another connector?")
        })
    }
}

/// The hidden name of `name`.
pub(super) fn hidden(name: &str, lineage: &str) -> String {
    format!(".{name}{IN_PROGRESS}{lineage}")
}

/// Makes the names of the files in `folder` outlast a power cut.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| failed("Syncing", folder, &e))
}

/// Gives a file that is whole its name.
pub(super) fn publish(folder: &Path, name: &str, lineage: &str) -> Result<()> {
    failpoint::hit("filesystem.publish")?;
    let visible = folder.join(name);
    std::fs::rename(folder.join(hidden(name, lineage)), &visible)
        .map_err(|e| failed("Publishing", &visible, &e))?;
    failpoint::hit("filesystem.published")
}

/// Publishes what a checkpoint prepared and removes what its job began later. May be repeated. Gives the lineage.
pub(super) fn recover(root: &Path, depth: usize, prepared: &[Committable]) -> Result<Option<String>> {
    let prepared = prepared.iter().map(Prepared::read).collect::<Result<Vec<_>>>()?;
    let lineages: BTreeSet<&str> = prepared
        .iter()
        .filter_map(|p| match p {
            Prepared::Lineage(lineage) => Some(lineage.as_str()),
            Prepared::File { .. } => None,
        })
        .collect();
    let Some(lineage) = lineages.iter().next() else { return Ok(None) };
    if lineages.len() > 1 {
        return Err(Error::internal("The checkpoint holds files of several jobs."));
    }
    let mut folders = BTreeSet::new();
    for file in &prepared {
        let Prepared::File { folder, name, bytes, .. } = file else { continue };
        let folder = root.join(folder);
        if finish(&folder, name, lineage, *bytes)? {
            publish(&folder, name, lineage)?;
            folders.insert(folder);
        }
    }
    for folder in folders {
        sync_folder(&folder)?;
    }
    remove_left(root, depth, lineage)?;
    Ok(Some((*lineage).to_string()))
}

/// Cuts a hidden file to what belongs to the checkpoint. `false`: it is hidden no more.
fn finish(folder: &Path, name: &str, lineage: &str, bytes: u64) -> Result<bool> {
    let path = folder.join(hidden(name, lineage));
    let file = match OpenOptions::new().write(true).open(&path) {
        Ok(file) => file,
        // Published already, by the run that crashed or a recovery that did; and perhaps moved away since.
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(failed("Opening", &path, &e)),
    };
    let length = file.metadata().map_err(|e| failed("Looking at", &path, &e))?.len();
    if length < bytes {
        return Err(Error::external(format!(
            "The file {} has {length} bytes, but the checkpoint counts on {bytes}: rows would be lost.",
            path.display()
        ))
        .permanent()
        .with_hint("Restore the file, or start from another checkpoint."));
    }
    failpoint::hit("filesystem.recover-truncate")?;
    file.set_len(bytes).and_then(|()| file.sync_all()).map_err(|e| failed("Cutting", &path, &e))?;
    Ok(true)
}

/// Removes the hidden files of `lineage` in `root` and, where rows go into partitions, `depth` folders below.
pub(super) fn remove_left(root: &Path, depth: usize, lineage: &str) -> Result<()> {
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed("Listing", root, &e)),
    };
    let suffix = format!("{IN_PROGRESS}{lineage}");
    for entry in entries {
        let path: PathBuf = entry.map_err(|e| failed("Listing", root, &e))?.path();
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
        if name.starts_with(".part-") && name.ends_with(&suffix) {
            failpoint::hit("filesystem.recover-remove")?;
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(failed("Removing", &path, &e)),
                _ => {}
            }
        } else if depth > 0 && !is_hidden(name) && name.contains('=') && path.is_dir() {
            remove_left(&path, depth - 1, lineage)?;
        }
    }
    Ok(())
}

pub(super) fn failed(what: &str, path: &Path, error: &std::io::Error) -> Error {
    let text = format!("{what} {} failed: {error}.", path.display());
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::NotADirectory => Error::user(text),
        _ => Error::external(text),
    }
}
