//! Going back to a checkpoint: whose state is whose, what sources and sinks get of it, and what is told to the user.

use super::RestoreOptions;
use crate::checkpoint::{CheckpointStorage, OperatorEntry, compare};
use crate::connector::{Committable, Split};
use crate::error::{Error, Result};
use crate::failpoint;
use crate::operators::OpenContext;
use crate::plan::{OperatorId, StreamPlan};
use crate::state::StateReader;
use crate::time::Watermark;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

/// Name of the value that holds an operator's event time, in milliseconds.
pub(super) const WATERMARK: &str = "runnel.watermark";
/// Name of the value that holds what a writer has prepared.
pub(super) const COMMITTABLES: &str = "runnel.committables";
/// Name of the value that holds a source task's splits.
pub(super) const SPLITS: &str = "runnel.splits";
/// Name of the value that holds how many batches of VALUES were emitted.
pub(super) const EMITTED: &str = "runnel.emitted";

/// The checkpoint that a job starts from.
pub(super) struct Restored {
    pub(super) checkpoint_id: u64,
    storage: CheckpointStorage,
    entries: HashMap<String, Arc<OperatorEntry>>,
    pub(super) notices: Vec<String>,
    pub(super) uri: String,
}

impl Restored {
    /// Checks that `plan` can take the state back.
    ///
    /// Errors: another number of key groups; state that no operator claims, unless that is allowed.
    pub(super) fn new(options: &RestoreOptions, plan: &StreamPlan, max_parallelism: usize) -> Result<Self> {
        let RestoreOptions { manifest, storage, ignore_unclaimed, notices } = options;
        let uri = storage.checkpoint_uri(manifest.checkpoint_id);
        let has_keyed = manifest.operators.iter().flat_map(|o| &o.instances).flat_map(|i| &i.files);
        if has_keyed.into_iter().any(|f| f.key_groups.is_some())
            && manifest.max_parallelism != max_parallelism
        {
            return Err(Error::user(format!(
                "The state at {uri} is cut into {} key groups, the job into {max_parallelism}.",
                manifest.max_parallelism
            ))
            .with_hint(format!("SET 'pipeline.max-parallelism' = '{}'.", manifest.max_parallelism)));
        }
        let diff = compare(manifest, plan);
        diff.check(&uri, *ignore_unclaimed)?;
        let mut notices = notices.clone();
        if !diff.new.is_empty() || !diff.dropped.is_empty() {
            notices.extend(diff.sentences());
        }
        let entries =
            manifest.operators.iter().map(|o| (o.operator_id.clone(), Arc::new(o.clone()))).collect();
        Ok(Self { checkpoint_id: manifest.checkpoint_id, storage: storage.clone(), entries, notices, uri })
    }

    /// What an operator instance opens with.
    pub(super) fn operator(&self, id: &OperatorId) -> Option<RestoredOperator> {
        let entry = self.entries.get(&id.0)?.clone();
        Some(RestoredOperator { storage: self.storage.clone(), entry })
    }

    fn values<T: DeserializeOwned>(&self, id: &OperatorId, name: &str) -> Result<Vec<T>> {
        let Some(entry) = self.entries.get(&id.0) else { return Ok(Vec::new()) };
        // Task 0 sees the values of all; of the rows none are read.
        let reader = self.storage.reader(entry, 0..0, 0, 1)?;
        let read = |bytes: &[u8]| {
            serde_json::from_slice(bytes).map_err(|e| {
                Error::external(format!("The state of {} at {} cannot be read: {e}.", entry.name, self.uri))
                    .permanent()
            })
        };
        reader.values(name).into_iter().map(read).collect()
    }

    /// What the writers of a sink had prepared.
    pub(super) fn prepared(&self, id: &OperatorId) -> Result<Vec<Committable>> {
        Ok(self.values::<Vec<Committable>>(id, COMMITTABLES)?.into_iter().flatten().collect())
    }

    /// Batches of VALUES that were emitted.
    pub(super) fn emitted(&self, id: &OperatorId) -> Result<usize> {
        Ok(self.values::<usize>(id, EMITTED)?.into_iter().sum())
    }

    /// The splits of a source, dealt to `parallelism` tasks.
    pub(super) fn source(&self, id: &OperatorId, parallelism: usize) -> Result<Option<RestoredSource>> {
        failpoint::hit("restore.reader")?;
        let tasks = self.values::<SourceState>(id, SPLITS)?;
        if tasks.is_empty() {
            return Ok(None);
        }
        let watermarks = tasks
            .iter()
            .flat_map(|t| &t.splits)
            .filter_map(|s| Some((s.split.id.clone(), Watermark(s.watermark?))))
            .collect();
        let told: Vec<_> = tasks.iter().map(|t| t.told.map_or(Watermark::MIN, Watermark)).collect();
        let finished = tasks.iter().flat_map(|t| t.finished.iter().cloned()).collect();
        let mut splits: Vec<Vec<Split>> = vec![Vec::new(); parallelism];
        if tasks.len() == parallelism {
            // The same readers read the same splits.
            for (own, task) in splits.iter_mut().zip(tasks) {
                own.extend(task.splits.into_iter().map(|s| s.split));
            }
            return Ok(Some(RestoredSource { splits, finished, watermarks, told }));
        }
        let told = told_by_all(&tasks);
        let mut all: Vec<_> = tasks.into_iter().flat_map(|t| t.splits).map(|s| s.split).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        for (n, split) in all.into_iter().enumerate() {
            splits[n % parallelism].push(split);
        }
        Ok(Some(RestoredSource { splits, finished, watermarks, told: vec![told; parallelism] }))
    }
}

/// What each task of a source had told, all had told. One that has splits and told nothing yet has rows to come that
/// are not late; one without splits has no say.
fn told_by_all(tasks: &[SourceState]) -> Watermark {
    let reads = |t: &&SourceState| !t.splits.is_empty();
    let told = |t: &SourceState| t.told.map_or(Watermark::MIN, Watermark);
    match tasks.iter().filter(reads).map(told).min() {
        Some(least) => least,
        None => tasks.iter().map(told).filter(|w| *w > Watermark::MIN).min().unwrap_or(Watermark::MIN),
    }
}

/// State of one operator, for one of its new instances.
pub(super) struct RestoredOperator {
    storage: CheckpointStorage,
    entry: Arc<OperatorEntry>,
}

impl RestoredOperator {
    /// The state of the instance that is opened with `context`.
    pub(super) fn reader(&self, context: &OpenContext) -> Result<Box<dyn StateReader + Send>> {
        let groups = key_groups_of(context.task, context.max_parallelism, context.parallelism);
        self.storage.reader(&self.entry, groups, context.task, context.parallelism)
    }

    /// The event time that it had come to: the least of all tasks where they are others now.
    pub(super) fn watermark(&self, state: &dyn StateReader, context: &OpenContext) -> Watermark {
        let read = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse().ok().map(Watermark);
        let all: Vec<Watermark> = state.values(WATERMARK).into_iter().filter_map(read).collect();
        if all.len() < self.entry.parallelism {
            return Watermark::MIN;
        }
        let own = all.get(context.task).filter(|_| context.parallelism == self.entry.parallelism);
        own.copied().or_else(|| all.iter().min().copied()).unwrap_or(Watermark::MIN)
    }
}

/// The key groups that task `task` of `parallelism` owns.
fn key_groups_of(task: usize, max_parallelism: usize, parallelism: usize) -> Range<u32> {
    let first = |task: usize| (task * max_parallelism).div_ceil(parallelism) as u32;
    first(task)..first(task + 1)
}

/// A source's part of a checkpoint.
#[derive(Debug, Clone)]
pub(super) struct RestoredSource {
    /// For each task.
    pub(super) splits: Vec<Vec<Split>>,
    pub(super) finished: Vec<Split>,
    pub(super) watermarks: BTreeMap<String, Watermark>,
    /// The last watermark that each task had told.
    pub(super) told: Vec<Watermark>,
}

/// A source task's part of a checkpoint, as it is written.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SourceState {
    pub(super) splits: Vec<SplitState>,
    /// Splits that were read to their end.
    pub(super) finished: Vec<Split>,
    /// The last watermark that was told, in milliseconds.
    pub(super) told: Option<i64>,
}

/// A split in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SplitState {
    #[serde(flatten)]
    pub(super) split: Split,
    /// Its own watermark, in milliseconds.
    pub(super) watermark: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::key_group::task_of;

    #[test]
    fn each_key_group_belongs_to_the_task_that_gets_its_rows() {
        for parallelism in 1..=128 {
            for group in 0..128 {
                let task = task_of(group, 128, parallelism);
                assert!(key_groups_of(task, 128, parallelism).contains(&group), "{group} of {parallelism}");
            }
            let last = key_groups_of(parallelism - 1, 128, parallelism);
            assert_eq!(last.end, 128);
        }
    }

    #[test]
    fn a_task_with_splits_that_told_nothing_holds_the_others_back() {
        let task = |splits: &[&str], told: Option<i64>| SourceState {
            splits: splits
                .iter()
                .map(|id| SplitState {
                    split: Split { id: id.to_string(), position: String::new() },
                    watermark: None,
                })
                .collect(),
            finished: Vec::new(),
            told,
        };
        let told = |tasks: &[SourceState]| told_by_all(tasks).0;
        assert_eq!(told(&[task(&["a"], Some(7)), task(&["b"], Some(5))]), 5);
        assert_eq!(told(&[task(&["a"], Some(7)), task(&["b"], None)]), Watermark::MIN.0);
        assert_eq!(told(&[task(&["a"], Some(7)), task(&[], None)]), 7);
        assert_eq!(told(&[task(&[], Some(7)), task(&[], None)]), 7);
    }
}
