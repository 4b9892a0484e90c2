//! The settings of checkpoints, savepoints and recovery, as a job takes them from `Config`.

use crate::checkpoint::CheckpointStorage;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::runtime::{CheckpointMode, CheckpointOptions, RestoreOptions};

/// Fixes the id of the next job (32 hexadecimal digits): a job that is started again under its id goes on from its
/// latest checkpoint. For those that host jobs; Flink's key.
pub const JOB_ID: &str = "$internal.pipeline.job-id";

/// Where the latest checkpoint of that job lies, as far as its host knows: without any checkpoint, it must not begin
/// from nothing.
pub const LATEST_CHECKPOINT: &str = "$internal.execution.latest-checkpoint";

/// How a job's checkpoints are set.
#[derive(Debug, Clone)]
pub struct CheckpointSettings {
    /// The job.
    pub job_id: String,
    /// How they are taken; `None`: none are.
    pub options: Option<CheckpointOptions>,
    savepoint: Option<String>,
    /// A checkpoint that there was.
    known: Option<String>,
    ignore_unclaimed: bool,
    /// Whether the first start goes on from the latest checkpoint too.
    is_fixed: bool,
    runtime: tokio::runtime::Handle,
}

impl CheckpointSettings {
    /// From the settings of a session. Checkpoints go below `state.checkpoints.dir`, in a folder of the job's id.
    ///
    /// Errors: a place that cannot be one; a job id that is none.
    pub fn new(config: &Config, drawn_id: String, runtime: &tokio::runtime::Handle) -> Result<Self> {
        let fixed = config.get(JOB_ID).map(str::to_string);
        if let Some(id) =
            fixed.as_ref().filter(|id| id.len() != 32 || !id.chars().all(|c| c.is_ascii_hexdigit()))
        {
            return Err(
                Error::user(format!("'{id}' is no job id.")).with_hint("It has 32 hexadecimal digits.")
            );
        }
        let is_fixed = fixed.is_some();
        let job_id = fixed.unwrap_or(drawn_id);
        let interval_ms = config.duration_ms("execution.checkpointing.interval");
        let options = if interval_ms == 0 {
            None
        } else {
            let folder = match config.get("state.checkpoints.dir") {
                Some(uri) => uri.trim_end_matches('/').to_string(),
                None => std::env::temp_dir().join("runnel").join("checkpoints").display().to_string(),
            };
            let storage = CheckpointStorage::open(&format!("{folder}/{job_id}"), runtime)?;
            let mode = config.get("execution.checkpointing.mode").unwrap_or_default();
            let at_least_once = mode.eq_ignore_ascii_case("AT_LEAST_ONCE");
            Some(CheckpointOptions {
                interval_ms,
                min_pause_ms: config.duration_ms("execution.checkpointing.min-pause"),
                timeout_ms: config.duration_ms("execution.checkpointing.timeout"),
                tolerable_failed: config.integer("execution.checkpointing.tolerable-failed-checkpoints"),
                mode: if at_least_once { CheckpointMode::AtLeastOnce } else { CheckpointMode::ExactlyOnce },
                savepoint_dir: config.get("state.savepoints.dir").map(str::to_string),
                retained: config.integer("execution.checkpointing.num-retained") as usize,
                ..CheckpointOptions::new(storage)
            })
        };
        Ok(Self {
            job_id,
            options,
            savepoint: config.get("execution.savepoint.path").map(str::to_string),
            known: config.get(LATEST_CHECKPOINT).map(str::to_string),
            ignore_unclaimed: config.boolean("execution.savepoint.ignore-unclaimed-state"),
            is_fixed,
            runtime: runtime.clone(),
        })
    }

    /// The job has had this checkpoint.
    pub fn note(&mut self, checkpoint: String) {
        self.known = Some(checkpoint);
    }

    /// What run number `attempt` (from 0) starts from: the latest complete checkpoint, or before the first one the
    /// savepoint that was named. Newer ones that are damaged are passed over and told.
    ///
    /// Errors: the place cannot be read; the savepoint is damaged; all checkpoints are, or are gone.
    pub fn restore(&mut self, attempt: u64) -> Result<Option<RestoreOptions>> {
        if let Some(options) = self.options.as_ref().filter(|_| attempt > 0 || self.is_fixed) {
            if let Some((manifest, notices)) = options.storage.latest()? {
                let storage = options.storage.clone();
                self.known = Some(storage.checkpoint_uri(manifest.checkpoint_id));
                // What this job has written itself, it claims; after an edit it was asked once.
                let ignore_unclaimed = self.ignore_unclaimed;
                return Ok(Some(RestoreOptions { manifest, storage, ignore_unclaimed, notices }));
            }
            if let Some(known) = &self.known {
                // To begin again would be to publish again what sinks have published.
                return Err(Error::external(format!(
                    "This job had a checkpoint, {known}, but there is none below {} now.",
                    options.storage.uri()
                ))
                .with_hint("Is the store mounted? To begin without what was lost, start the job afresh or from a savepoint."));
            }
        }
        let Some(path) = &self.savepoint else { return Ok(None) };
        let (manifest, storage) = CheckpointStorage::read_manifest(path, &self.runtime)?;
        let ignore_unclaimed = self.ignore_unclaimed;
        Ok(Some(RestoreOptions { manifest, storage, ignore_unclaimed, notices: Vec::new() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_had_a_checkpoint_does_not_begin_from_nothing() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.set(JOB_ID, "0123456789abcdef0123456789abcdef").unwrap();
        config.set("execution.checkpointing.interval", "1 s").unwrap();
        config.set("state.checkpoints.dir", folder.path().to_str().unwrap()).unwrap();
        let settings =
            |config: &Config| CheckpointSettings::new(config, String::new(), runtime.handle()).unwrap();
        assert!(settings(&config).restore(0).unwrap().is_none());
        config.set(LATEST_CHECKPOINT, "/store/chk-7").unwrap();
        let error = settings(&config).restore(0).unwrap_err();
        assert!(error.message().starts_with("This job had a checkpoint, /store/chk-7, but"), "{error}");
        let mut noted = settings(&Config::default());
        noted.note("/store/chk-1".into());
        assert!(noted.restore(1).unwrap().is_none(), "without checkpoints there is nothing to go on from");
    }
}
