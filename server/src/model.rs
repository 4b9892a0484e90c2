//! What server, children and clients say to each other about a job: plain data, JSON on every wire.

use catalog::Object;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longest name of a job, in characters.
pub const MAX_NAME_CHARS: usize = 128;

/// A job's script, made ready, and how it is to run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Definition {
    /// Unique on the server.
    pub name: String,
    /// The script's file, for errors.
    pub origin: String,
    /// Where it was deployed: relative paths in it begin here.
    pub directory: String,
    /// The whole script, variables replaced.
    pub script: String,
    /// Definitions and settings in order, each with its place in the script.
    pub statements: Vec<Statement>,
    /// The INSERTs that are the job.
    pub inserts: Vec<Statement>,
    /// Settings of the command line, made before the statements are executed.
    pub settings: BTreeMap<String, String>,
    /// Settings that the script ends with: what the server needs to know of them.
    pub effective: BTreeMap<String, String>,
    /// `--parallelism`; without it the script's own `parallelism.default`.
    pub parallelism: Option<usize>,
    /// `--memory`, in bytes.
    pub memory: Option<u64>,
    /// Tables and views of the user's catalog that the script uses, as they were when it was deployed.
    pub objects: Vec<Carried>,
}

/// One statement of a script.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// As written.
    pub text: String,
    /// Its first line in the script, from 1.
    pub line: u32,
    /// Its first column there, from 1.
    pub column: u32,
}

impl Statement {
    /// The text, moved to its place in the script: places in it are places there.
    pub fn in_place(&self) -> String {
        let lines = "\n".repeat(self.line.saturating_sub(1) as usize);
        format!("{lines}{}{}", " ".repeat(self.column.saturating_sub(1) as usize), self.text)
    }
}

/// A table or view taken from the user's catalog.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Carried {
    /// Its database.
    pub database: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub object: Object,
}

/// State of a job, Flink's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum JobState {
    /// Its process is being started.
    Initializing,
    /// Its tasks are being started.
    Created,
    /// It runs.
    Running,
    /// It has failed and is being stopped.
    Failing,
    /// It has failed for good.
    Failed,
    /// It is being stopped.
    Cancelling,
    /// It was stopped without a savepoint.
    Canceled,
    /// Its input has ended, or it was stopped with a savepoint.
    Finished,
    /// It has failed and waits for its next start.
    Restarting,
    /// Its server has stopped; it comes back with the server.
    Suspended,
}

impl JobState {
    /// Flink's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Initializing => "INITIALIZING",
            Self::Created => "CREATED",
            Self::Running => "RUNNING",
            Self::Failing => "FAILING",
            Self::Failed => "FAILED",
            Self::Cancelling => "CANCELLING",
            Self::Canceled => "CANCELED",
            Self::Finished => "FINISHED",
            Self::Restarting => "RESTARTING",
            Self::Suspended => "SUSPENDED",
        }
    }

    /// The state that `word` names, in any case.
    pub fn parse(word: &str) -> Option<Self> {
        const ALL: [JobState; 10] = [
            JobState::Initializing,
            JobState::Created,
            JobState::Running,
            JobState::Failing,
            JobState::Failed,
            JobState::Cancelling,
            JobState::Canceled,
            JobState::Finished,
            JobState::Restarting,
            JobState::Suspended,
        ];
        ALL.into_iter().find(|s| s.word().eq_ignore_ascii_case(word))
    }

    /// Whether nothing more happens by itself.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Failed | Self::Canceled | Self::Finished)
    }
}

impl std::fmt::Display for JobState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.word())
    }
}

/// How far a job has come; see [`engine::runtime::Progress`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// When this was so, in milliseconds since the epoch.
    pub at_ms: i64,
    /// Rows read by all sources.
    pub rows_in: u64,
    /// Rows given to all sinks.
    pub rows_out: u64,
    /// Rows read a second, over the last moment.
    pub rows_in_per_second: f64,
    /// Rows given to sinks a second, over the last moment.
    pub rows_out_per_second: f64,
    /// Rows dropped because they came late.
    pub late_rows: u64,
    /// Rows dropped because they had no event time.
    pub null_time_rows: u64,
    /// Records that could not be read.
    pub skipped_rows: u64,
    /// The least watermark at the sinks, in milliseconds.
    pub watermark_ms: Option<i64>,
    /// Windows that are open.
    pub open_windows: u64,
    /// Bytes of keyed state in memory.
    pub memory_used: u64,
    /// The memory budget in bytes; 0 is without limit.
    pub memory_total: u64,
    /// Each source.
    pub sources: Vec<Source>,
    /// Each chain of operators that runs in tasks of its own.
    pub tasks: Vec<TaskTimes>,
    /// Percent of one core that the process uses, over the last moment; `None` where that is not known.
    pub cpu_percent: Option<f64>,
    /// Threads of the process, where that is known.
    pub threads: Option<u64>,
    /// Why nothing comes, in sentences.
    pub silence: Vec<String>,
}

/// What the tasks of a chain of operators spend their time on, in milliseconds of each second, over the last moment and
/// on average of the tasks. Together they are 1000.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskTimes {
    /// A number and the first operator's name.
    pub name: String,
    /// Number of tasks.
    pub parallelism: usize,
    /// Time in which there was nothing to do.
    pub idle_ms_per_second: f64,
    /// Time in which what comes behind took nothing more.
    pub back_pressured_ms_per_second: f64,
    /// The rest.
    pub busy_ms_per_second: f64,
}

/// How far one source has come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Source {
    /// Full name of the table.
    pub table: String,
    /// Its connector.
    pub connector: String,
    /// Rows read.
    pub rows: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Commits of Kafka offsets that worked.
    pub commits_succeeded: u64,
    /// Commits of Kafka offsets that did not.
    pub commits_failed: u64,
    /// How far behind the end, in the connector's unit; -1 if unknown.
    pub lag: i64,
    /// The least watermark of its splits, in milliseconds.
    pub watermark_ms: Option<i64>,
    /// Bytes read a second, over the last moment.
    pub bytes_per_second: f64,
    /// Rows read a second, over the last moment.
    pub rows_per_second: f64,
    /// Its splits, where the connector tells how far they are read.
    pub splits: Vec<SourceSplit>,
}

/// How far one partition or shard is read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceSplit {
    /// Its id.
    pub split: String,
    /// Offset of the last record read.
    pub current_offset: Option<i64>,
    /// Offset that is committed for others to see.
    pub committed_offset: Option<i64>,
    /// How far behind the end, in the connector's unit.
    pub lag: Option<i64>,
}

/// A complete checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checkpoint {
    /// Its number.
    pub id: u64,
    /// Where its manifest lies: what `execution.savepoint.path` takes.
    pub path: String,
    /// When it was complete, in milliseconds since the epoch.
    pub at_ms: i64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// What it wrote, in bytes.
    pub bytes: u64,
}

/// Checkpoints of a job since it was deployed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checkpoints {
    /// Complete ones.
    pub completed: u64,
    /// Failed ones.
    pub failed: u64,
    /// The last complete one.
    pub last: Option<Checkpoint>,
    /// Why the last failed one failed.
    pub failure: Option<String>,
}

/// Something that happened to a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happened {
    /// When, in milliseconds since the epoch.
    pub at_ms: i64,
    /// In a sentence.
    pub what: String,
}

/// One line of a list of jobs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// 32 hexadecimal digits.
    pub id: String,
    /// Unique on the server.
    pub name: String,
    /// How it stands.
    pub status: JobState,
    /// When it was started last, in milliseconds since the epoch.
    pub start_ms: i64,
    /// How long it has run without a break, in milliseconds; -1 when it does not run.
    pub uptime_ms: i64,
    /// How long it has been down since its last failure, in milliseconds; 0 while it runs, -1 when it has ended.
    pub downtime_ms: i64,
    /// Restarts since it was started by hand.
    pub restarts: u64,
    /// How far it is.
    pub progress: Progress,
    /// Its checkpoints.
    pub checkpoints: Checkpoints,
}

/// Everything about a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detail {
    /// As in the list.
    #[serde(flatten)]
    pub summary: Summary,
    /// The script's file.
    pub origin: String,
    /// 1 at first, one more with every update.
    pub version: u64,
    /// Process id of its child.
    pub pid: Option<u32>,
    /// `--parallelism`.
    pub parallelism: Option<usize>,
    /// `--memory`.
    pub memory: Option<u64>,
    /// What happens when it fails, in a sentence.
    pub restart_strategy: String,
    /// What it started from.
    pub restored_from: Option<String>,
    /// The last savepoint.
    pub savepoint: Option<String>,
    /// Why it failed last.
    pub failure: Option<Failure>,
    /// The newest last.
    pub history: Vec<Happened>,
    /// Its folder on the server.
    pub folder: String,
}

/// Why a job failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failure {
    /// When, in milliseconds since the epoch.
    pub at_ms: i64,
    /// In a sentence.
    pub message: String,
    /// A way out.
    pub hint: Option<String>,
    /// Place in the script: line and column, from 1.
    pub place: Option<(u32, u32)>,
}

/// `POST /jobs`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deploy {
    /// What.
    pub definition: Definition,
    /// Savepoint or checkpoint to start from.
    pub from_savepoint: Option<String>,
    /// Replaces a job of that name: it is stopped with a savepoint, from which the new one starts.
    pub update: bool,
    /// With `update`: do not keep the old job's state.
    pub fresh: bool,
}

/// What deploying gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployed {
    /// The job.
    pub id: String,
    /// The savepoint with which the job of that name was stopped.
    pub savepoint: Option<String>,
}

/// `POST /jobs/{name}/stop`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stop {
    /// Take a savepoint.
    pub savepoint: bool,
    /// End the event time: windows fire before the savepoint.
    pub drain: bool,
    /// Where the savepoint goes instead of the job's own folder.
    pub directory: Option<String>,
}

/// `POST /jobs/{name}/start`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Start {
    /// Savepoint or checkpoint to start from, instead of the latest state.
    pub from_savepoint: Option<String>,
    /// Start without state.
    pub fresh: bool,
}

/// `POST /jobs/{name}/savepoint`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TakeSavepoint {
    /// Where it goes instead of the job's own folder.
    pub directory: Option<String>,
}

/// A savepoint that was taken, if one was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Taken {
    /// What `--from-savepoint` takes.
    pub savepoint: Option<String>,
}

/// Lines of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogPage {
    /// As written.
    pub lines: Vec<String>,
    /// Where the next page begins.
    pub next: u64,
}

/// `GET /health`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// Version of the server.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Jobs that shall run and do.
    pub running: usize,
    /// Jobs that shall run and do not.
    pub not_running: usize,
}

/// An error as a client gets it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Refusal {
    /// In a sentence.
    pub error: String,
    /// A way out.
    pub hint: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_flinks_words() {
        let text = serde_json::to_string(&JobState::Canceled).unwrap();
        assert_eq!(text, "\"CANCELED\"");
        assert_eq!(serde_json::from_str::<JobState>("\"RESTARTING\"").unwrap(), JobState::Restarting);
        assert_eq!(JobState::parse("running"), Some(JobState::Running));
        assert_eq!(JobState::parse("asleep"), None);
    }

    #[test]
    fn a_statement_stands_where_it_stood() {
        let statement = Statement { text: "SELECT 1".into(), line: 3, column: 5 };
        assert_eq!(statement.in_place(), "\n\n    SELECT 1");
    }
}
