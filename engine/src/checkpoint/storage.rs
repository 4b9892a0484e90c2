//! `CheckpointStorage`: the checkpoints of one job, or one savepoint, in a directory or below a prefix of a bucket.
//!
//! ```text
//! <root>/chk-7/groupaggregate-0123456789abcdef-0-1.<run>.state   a task's state, perhaps only changes since chk-6
//! <root>/chk-7/manifest.json                                     written last: with it, the checkpoint is complete
//! <root of a savepoint>/….state, manifest.json                   the same without the folder, and never only changes
//! ```

use super::manifest::{CheckpointKind, FORMAT_VERSION, Manifest, OperatorEntry, StateFile};
use super::place::{Place, folder_of};
use super::state_file::{OpenStateFile, StateFileWriter, Wanted, later_release};
use crate::error::{Error, Result};
use crate::plan::OperatorId;
use crate::state::{SnapshotKind, StateReader, StateRows};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher, Hasher};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::runtime::Handle;

/// How often the newest checkpoint is looked for in a store that changes meanwhile.
const LOOKS: usize = 3;
/// Name of the manifest in its folder.
const MANIFEST: &str = "manifest.json";
/// Begins the folders of checkpoints.
const FOLDER: &str = "chk-";
/// Largest manifest: what is larger is damaged.
const MAX_MANIFEST_BYTES: usize = 256 << 20;

/// The checkpoints of one job, or one savepoint. Calls block; they must not be made on the runtime's own threads.
#[derive(Debug, Clone)]
pub struct CheckpointStorage {
    place: Place,
    /// A savepoint's files lie in the root itself.
    savepoint: bool,
    /// Tells files of this process from those of one that died, or has not yet noticed that it should.
    run: String,
    /// Files begun, so that no two have one name.
    begun: Arc<AtomicU64>,
}

/// A manifest with its checksum, as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed<'a> {
    format_version: u32,
    /// CRC-32 of the text of `manifest`, in hexadecimal.
    crc32: String,
    #[serde(borrow)]
    manifest: &'a RawValue,
}

/// The part of it that all releases agree on.
#[derive(Deserialize)]
struct Version {
    format_version: u32,
}

/// What was found where a manifest should be.
enum Found {
    Nothing,
    /// Why it cannot be used, as a sentence.
    Unusable(Error),
    Manifest(Box<Manifest>),
}

impl CheckpointStorage {
    /// The checkpoints below `uri`: a path, `file:///path` or `s3://bucket/prefix` (region, endpoint and credentials
    /// are those of the usual variables of the environment). One job, one `uri`. Nothing is touched yet.
    ///
    /// Errors: another scheme; settings of the environment that contradict each other.
    pub fn open(uri: &str, runtime: &Handle) -> Result<Self> {
        Ok(Self::new(Place::open(uri, runtime)?, false, draw()))
    }

    fn new(place: Place, savepoint: bool, run: String) -> Self {
        Self { place, savepoint, run, begun: Arc::default() }
    }

    #[cfg(test)]
    pub(super) fn at(place: Place) -> Self {
        Self::new(place, false, draw())
    }

    /// A new savepoint of job `job_id` in the directory `uri`: `savepoint-<begin of the id>-<random>`.
    pub fn savepoint(uri: &str, job_id: &str, runtime: &Handle) -> Result<Self> {
        let job: String = job_id.chars().filter(char::is_ascii_alphanumeric).take(6).collect();
        let run = draw();
        let place = Place::open(uri, runtime)?.below(&format!("savepoint-{job}-{run}"));
        Ok(Self::new(place, true, run))
    }

    /// Where it is, as the user may write it in `execution.savepoint.path`.
    pub fn uri(&self) -> String {
        self.place.uri()
    }

    /// Where checkpoint `checkpoint_id` is, as the user may write it in `execution.savepoint.path`.
    pub fn checkpoint_uri(&self, checkpoint_id: u64) -> String {
        if self.savepoint { self.uri() } else { self.place.below(&folder(checkpoint_id)).uri() }
    }

    fn path(&self, checkpoint_id: u64, name: &str) -> String {
        if self.savepoint { name.to_string() } else { format!("{}/{name}", folder(checkpoint_id)) }
    }

    /// Writes all that a task has for a checkpoint. `attempt` tells the runs of a job within this process apart.
    pub fn write_state(
        &self,
        checkpoint_id: u64,
        operator: &OperatorId,
        task: usize,
        attempt: u64,
        rows: &[StateRows],
        values: &[(String, Vec<u8>)],
        kind: SnapshotKind,
    ) -> Result<StateFile> {
        let mut file = self.state_file(checkpoint_id, operator, task, attempt, kind)?;
        for rows in rows {
            file.rows(rows)?;
        }
        file.finish(values)
    }

    /// Begins a task's file for a checkpoint, for state that is too large to be handed over at once.
    pub fn state_file(
        &self,
        checkpoint_id: u64,
        operator: &OperatorId,
        task: usize,
        attempt: u64,
        kind: SnapshotKind,
    ) -> Result<StateFileWriter> {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let operator: String = operator.0.chars().map(plain).collect();
        let (run, number) = (&self.run, self.begun.fetch_add(1, Ordering::Relaxed));
        let path = self.path(checkpoint_id, &format!("{operator}-{task}-{attempt}.{run}-{number}.state"));
        StateFileWriter::new(self.place.begin(&path)?, path, kind)
    }

    /// Writes the manifest, with which the checkpoint is complete. All files that it names have been finished.
    ///
    /// Errors: it cannot be written; there is another manifest for this checkpoint, from another process.
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<()> {
        let internal = |e: serde_json::Error| Error::internal(e.to_string());
        let text = serde_json::value::to_raw_value(manifest).map_err(internal)?;
        let sealed = Sealed {
            format_version: FORMAT_VERSION,
            crc32: format!("{:08x}", crc32fast::hash(text.get().as_bytes())),
            manifest: &text,
        };
        let bytes = serde_json::to_vec(&sealed).map_err(internal)?;
        // Names of state files must outlast a power cut if the manifest does.
        let folders: BTreeSet<&str> = files(manifest).map(|f| folder_of(&f.path)).collect();
        for folder in folders {
            self.place.sync_folder(folder)?;
        }
        if self.place.create(&self.path(manifest.checkpoint_id, MANIFEST), &bytes)? {
            return Ok(());
        }
        Err(Error::external(format!(
            "Checkpoint {} is there already below {}: another process writes checkpoints of this job.",
            manifest.checkpoint_id,
            self.uri()
        ))
        .permanent()
        .with_hint("Give each job a directory of its own, and stop the other process."))
    }

    /// Ids of the checkpoints that have a manifest, from the oldest to the newest.
    pub fn checkpoints(&self) -> Result<Vec<u64>> {
        Ok(self.listing()?.into_iter().filter(|(_, names)| has_manifest(names)).map(|(id, _)| id).collect())
    }

    /// An id that is greater than those of all checkpoints that were begun here.
    pub fn next_checkpoint_id(&self) -> Result<u64> {
        Ok(self.ids()?.last().map_or(1, |id| id + 1))
    }

    /// Ids of all folders of checkpoints, complete or not, sorted.
    fn ids(&self) -> Result<Vec<u64>> {
        let folders = self.place.folders()?;
        let mut ids: Vec<u64> = folders.iter().filter_map(|f| f.strip_prefix(FOLDER)?.parse().ok()).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// The names of the files in each folder of a checkpoint.
    pub(super) fn listing(&self) -> Result<BTreeMap<u64, Vec<String>>> {
        self.ids()?.into_iter().map(|id| Ok((id, self.place.files(&folder(id))?))).collect()
    }

    /// The newest complete checkpoint of which every byte is as it was written, and a sentence for each newer one
    /// that was passed over. `None` if none was ever completed.
    ///
    /// Errors: the directory cannot be read; there are complete checkpoints but all are damaged.
    pub fn latest(&self) -> Result<Option<(Manifest, Vec<String>)>> {
        for _ in 0..LOOKS {
            let seen = self.ids()?;
            let mut unfinished = Vec::new();
            let latest = self.search(&seen, &mut unfinished)?;
            // A store that goes away while it is read looks as if manifests were missing: to take that for true would
            // be to start from an older checkpoint, or from nothing, behind what sinks have published.
            let mut is_steady = self.ids()? == seen;
            for id in &unfinished {
                is_steady &= matches!(self.found(&self.path(*id, MANIFEST))?, Found::Nothing);
            }
            if is_steady && self.ids()? == seen {
                return Ok(latest);
            }
        }
        Err(Error::external(format!("The checkpoints below {} come and go while they are read.", self.uri()))
            .with_hint("Look after the store: is it mounted, does another process write there?"))
    }

    /// As `latest`, at one look at checkpoints `ids`; those without a manifest go to `unfinished`.
    fn search(&self, ids: &[u64], unfinished: &mut Vec<u64>) -> Result<Option<(Manifest, Vec<String>)>> {
        let mut passed = Vec::new();
        let mut last_error = None;
        for id in ids.iter().rev().copied() {
            let found = match self.found(&self.path(id, MANIFEST))? {
                Found::Manifest(manifest) if manifest.checkpoint_id != id => {
                    Found::Unusable(damaged(&self.checkpoint_uri(id), "its manifest is another checkpoint's"))
                }
                Found::Manifest(manifest) => match self.verify(&manifest)? {
                    None => return Ok(Some((*manifest, passed))),
                    Some(error) => Found::Unusable(error),
                },
                found => found,
            };
            match found {
                Found::Unusable(error) => {
                    passed.push(format!(
                        "Checkpoint {id} is passed over: {error} What sinks have published with it they publish again."
                    ));
                    last_error = Some(error);
                }
                _ => {
                    unfinished.push(id);
                    passed.push(format!(
                        "Checkpoint {id} is passed over: it has no manifest, so it was not finished."
                    ));
                }
            }
        }
        match last_error {
            None => Ok(None),
            // Starting from nothing would lose all silently.
            Some(error) => Err(Error::external(format!(
                "None of the checkpoints below {} can be used. {}",
                self.uri(),
                passed.join(" ")
            ))
            .permanent()
            .with_hint(error.hint().unwrap_or(
                "Start from a savepoint with 'execution.savepoint.path', or from nothing with another 'state.checkpoints.dir'.",
            ))),
        }
    }

    /// The savepoint or checkpoint at `uri` (its directory, or its manifest), verified, and the storage that its
    /// files are read from.
    ///
    /// Errors: there is none; it is damaged or of a later release.
    pub fn read_manifest(uri: &str, runtime: &Handle) -> Result<(Manifest, Self)> {
        let uri = uri.trim().trim_end_matches('/');
        let uri = uri.strip_suffix(MANIFEST).map_or(uri, |u| u.trim_end_matches('/'));
        let own = Self::new(Place::open(uri, runtime)?, true, draw());
        let manifest = match own.found(MANIFEST)? {
            Found::Manifest(manifest) => *manifest,
            Found::Unusable(error) => return Err(error),
            Found::Nothing => {
                return Err(Error::user(format!("There is no savepoint or checkpoint at {uri}."))
                    .with_hint("Name the directory that holds 'manifest.json': 'savepoint-…' or 'chk-…'."));
            }
        };
        let storage = match (manifest.kind, own.place.above()) {
            (CheckpointKind::Checkpoint, Some((above, name))) if name.starts_with(FOLDER) => {
                Self::new(above, false, draw())
            }
            _ => own,
        };
        match storage.verify(&manifest)? {
            None => Ok((manifest, storage)),
            Some(error) => Err(error),
        }
    }

    /// Reads a manifest. Errors: the place cannot be read just now, which says nothing about what is there.
    fn found(&self, path: &str) -> Result<Found> {
        let Some(bytes) = self.place.read(path)? else { return Ok(Found::Nothing) };
        let name = format!("{}/{path}", self.uri());
        let unusable = |what: &str| Ok(Found::Unusable(damaged(&name, what)));
        if bytes.len() > MAX_MANIFEST_BYTES {
            return unusable("it is larger than a manifest can be");
        }
        match serde_json::from_slice::<Version>(&bytes) {
            Ok(v) if v.format_version > FORMAT_VERSION => {
                return Ok(Found::Unusable(later_release(&name, v.format_version)));
            }
            Ok(v) if v.format_version > 0 => {}
            _ => return unusable("its manifest is cut off or overwritten"),
        }
        let Ok(sealed) = serde_json::from_slice::<Sealed>(&bytes) else {
            return unusable("its manifest is cut off or overwritten");
        };
        let text = sealed.manifest.get();
        if sealed.crc32 != format!("{:08x}", crc32fast::hash(text.as_bytes())) {
            return unusable("its manifest has a wrong checksum");
        }
        match serde_json::from_str::<Manifest>(text) {
            Ok(manifest) => Ok(Found::Manifest(Box::new(manifest))),
            Err(e) => unusable(&format!("its manifest does not hold what it should: {e}")),
        }
    }

    /// Reads all files of a checkpoint: the first that is not as it was written, as a sentence.
    fn verify(&self, manifest: &Manifest) -> Result<Option<Error>> {
        for wanted in files(manifest) {
            let Some(mut file) = self.place.open_file(&wanted.path)? else {
                let path = format!("{}/{}", self.uri(), wanted.path);
                return Ok(Some(damaged(&path, "the file is missing")));
            };
            if file.bytes() != wanted.bytes {
                return Ok(Some(damaged(
                    &file.name(),
                    &format!("it has {} bytes instead of {}", file.bytes(), wanted.bytes),
                )));
            }
            if file.crc32()? != wanted.crc32 {
                return Ok(Some(damaged(&file.name(), "its checksum is wrong")));
            }
        }
        Ok(None)
    }

    /// The state of an operator for one of `parallelism` tasks: the rows whose key groups are in `key_groups`, and
    /// for task 0 those without key groups; the values of all tasks.
    ///
    /// Errors: a file is damaged or cannot be read.
    pub fn reader(
        &self,
        operator: &OperatorEntry,
        key_groups: Range<u32>,
        task: usize,
        parallelism: usize,
    ) -> Result<Box<dyn StateReader + Send>> {
        if task >= parallelism {
            return Err(Error::internal(format!("Task {task} of {parallelism} asks for state.")));
        }
        let wanted = Wanted { key_groups, unkeyed: task == 0 };
        let mut files = VecDeque::new();
        let mut values = Vec::new();
        for instance in &operator.instances {
            for (i, file) in instance.files.iter().enumerate() {
                let is_ours = wanted.unkeyed
                    || file.key_groups.is_some_and(|(least, greatest)| {
                        least < wanted.key_groups.end && greatest >= wanted.key_groups.start
                    });
                if is_ours {
                    files.push_back((file.path.clone(), i == 0));
                }
            }
            if let Some(last) = instance.files.last() {
                values.extend(self.open_state(&last.path, &wanted)?.values()?);
            }
        }
        Ok(Box::new(Reader { storage: self.clone(), wanted, files, current: None, values }))
    }

    fn open_state(&self, path: &str, wanted: &Wanted) -> Result<OpenStateFile> {
        let file = self.place.open_file(path)?;
        let missing = || damaged(&format!("{}/{path}", self.uri()), "the file is missing");
        OpenStateFile::open(file.ok_or_else(missing)?, wanted)
    }

    /// Removes all but the newest `count` checkpoints, and what crashed or given up attempts before the newest left
    /// behind. Files that a checkpoint which stays refers to stay; savepoints and checkpoints of later releases too.
    ///
    /// Errors: the place cannot be read or written; nothing that is needed was removed.
    pub fn retain(&self, count: usize) -> Result<()> {
        self.clean(count.max(1), false)
    }

    /// Removes what crashed attempts left behind, also those newer than the newest checkpoint. Only when no other
    /// process writes here, so: at the start of a job.
    pub fn remove_unfinished(&self) -> Result<()> {
        self.clean(usize::MAX, true)
    }

    fn clean(&self, count: usize, newer: bool) -> Result<()> {
        if self.savepoint {
            return Ok(());
        }
        let listing = self.listing()?;
        let mut kept = BTreeSet::new();
        let mut needed = BTreeSet::new();
        let mut newest = None;
        let mut complete = 0;
        for (id, _) in listing.iter().rev().filter(|(_, names)| has_manifest(names)) {
            let path = self.path(*id, MANIFEST);
            match self.found(&path)? {
                // Gone meanwhile.
                Found::Nothing => {}
                Found::Manifest(manifest) => {
                    let is_checkpoint = manifest.kind == CheckpointKind::Checkpoint;
                    complete += usize::from(is_checkpoint);
                    if complete <= count || !is_checkpoint {
                        kept.insert(*id);
                        needed.extend(files(&manifest).map(|f| f.path.clone()));
                    }
                    newest = newest.max(Some(*id));
                }
                // A later release's: what it refers to is unknown but for what looks like a path.
                Found::Unusable(error) if error.kind() == crate::error::ErrorKind::User => {
                    kept.insert(*id);
                    let text = self.place.read(&path)?.unwrap_or_default();
                    needed.extend(
                        String::from_utf8_lossy(&text)
                            .split('"')
                            .filter(|t| t.starts_with(FOLDER))
                            .map(String::from),
                    );
                }
                // Damaged: kept for whoever wants to look at it, until there is a newer one.
                Found::Unusable(_) if newest.is_none() => {
                    kept.insert(*id);
                }
                Found::Unusable(_) => {}
            }
        }
        let old = |id: u64| newer || newest.is_some_and(|n| id < n);
        // Manifests first: what is removed halfway must not look complete.
        for (id, _) in listing.iter().filter(|(id, names)| !kept.contains(id) && has_manifest(names)) {
            self.place.remove(&self.path(*id, MANIFEST))?;
        }
        for (id, names) in listing.iter().filter(|(id, _)| old(**id)) {
            let mut left = 0;
            for name in names {
                let path = self.path(*id, name);
                let stays = needed.contains(&path) || (kept.contains(id) && name == MANIFEST);
                if stays {
                    left += 1;
                } else if name != MANIFEST {
                    self.place.remove(&path)?;
                }
            }
            if left == 0 {
                self.place.remove_folder(&folder(*id));
            }
        }
        Ok(())
    }
}

/// Reads the state of an operator, file by file.
struct Reader {
    storage: CheckpointStorage,
    wanted: Wanted,
    /// Paths, and whether each is its instance's first: the others must hold changes. So may the first, if there was
    /// nothing yet when all was to be written.
    files: VecDeque<(String, bool)>,
    current: Option<OpenStateFile>,
    values: Vec<(String, Vec<u8>)>,
}

impl StateReader for Reader {
    fn next_rows(&mut self) -> Result<Option<StateRows>> {
        loop {
            if let Some(file) = &mut self.current {
                if let Some(rows) = file.next_rows(&self.wanted)? {
                    return Ok(Some(rows));
                }
                self.current = None;
            }
            let Some((path, first)) = self.files.pop_front() else { return Ok(None) };
            let file = self.storage.open_state(&path, &self.wanted)?;
            if file.is_full() && !first {
                let path = format!("{}/{path}", self.storage.uri());
                return Err(damaged(&path, "it holds all state where changes are wanted"));
            }
            self.current = Some(file);
        }
    }

    fn values(&self, name: &str) -> Vec<&[u8]> {
        self.values.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_slice()).collect()
    }
}

fn files(manifest: &Manifest) -> impl Iterator<Item = &StateFile> {
    manifest.operators.iter().flat_map(|o| &o.instances).flat_map(|i| &i.files)
}

fn folder(checkpoint_id: u64) -> String {
    format!("{FOLDER}{checkpoint_id}")
}

fn has_manifest(names: &[String]) -> bool {
    names.iter().any(|n| n == MANIFEST)
}

fn damaged(path: &str, what: &str) -> Error {
    Error::external(format!("{path} is damaged: {what}.")).permanent()
}

/// Twelve hexadecimal digits that no other process has.
fn draw() -> String {
    // The standard library seeds this from the operating system; a name is no part of a run's results.
    let drawn = std::collections::hash_map::RandomState::new().build_hasher().finish();
    format!("{:012x}", drawn & 0xffff_ffff_ffff)
}
