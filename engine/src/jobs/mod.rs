//! Jobs that are restarted when they fail: restart strategies, the supervisor, and the settings of both.

mod restart;
mod settings;
mod supervisor;

pub use restart::{RestartStrategy, Restarts};
pub use settings::{CheckpointSettings, JOB_ID, LATEST_CHECKPOINT};
pub use supervisor::{Launch, supervise};
