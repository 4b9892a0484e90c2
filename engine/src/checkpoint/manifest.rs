//! The manifest: what a checkpoint holds. Written last and atomically: without it there is no checkpoint.

use serde::{Deserialize, Serialize};

/// Version of the format of manifests and state files. Later releases read all earlier ones.
pub const FORMAT_VERSION: u32 = 1;

/// What a checkpoint is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckpointKind {
    /// Recovery; old ones are removed by the job.
    Checkpoint,
    /// The user's: self-contained, never removed by the job.
    Savepoint,
}

/// A complete checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// Version of Runnel that wrote it.
    pub runnel_version: String,
    /// Growing in a job, also over restarts.
    pub checkpoint_id: u64,
    /// What it is kept for.
    pub kind: CheckpointKind,
    /// Id of the job, 32 hexadecimal digits.
    pub job_id: String,
    /// Its name.
    pub job_name: String,
    /// When it was triggered, in milliseconds since the epoch.
    pub triggered_at_ms: i64,
    /// When the last task had written its part, in milliseconds since the epoch.
    pub completed_at_ms: i64,
    /// Number of key groups; state can only be restored with the same.
    pub max_parallelism: usize,
    /// The operators that have state.
    pub operators: Vec<OperatorEntry>,
}

/// The state of one operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorEntry {
    /// `OperatorId` of the plan.
    pub operator_id: String,
    /// Its name in EXPLAIN, for messages.
    pub name: String,
    /// Number of its tasks.
    pub parallelism: usize,
    /// Each task's state, in order.
    pub instances: Vec<InstanceState>,
}

/// The state of one task of an operator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceState {
    /// Its last full snapshot, then the changes since, from the oldest to the newest.
    pub files: Vec<StateFile>,
}

/// A file of state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFile {
    /// Path below the root of the checkpoint storage.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// CRC-32 of all its bytes.
    pub crc32: u32,
    /// Least and greatest key group of its rows; `None` where it has no keyed rows.
    pub key_groups: Option<(u32, u32)>,
}

impl Manifest {
    /// Bytes of all files of state.
    pub fn bytes(&self) -> u64 {
        let instances = self.operators.iter().flat_map(|o| &o.instances);
        instances.flat_map(|i| &i.files).map(|f| f.bytes).sum()
    }
}
