//! Checkpoints at rest: the manifest, the files of state, where they are kept, and how they are read again.

mod compare;
#[cfg(test)]
mod crash_tests;
mod manifest;
mod place;
mod state_file;
mod storage;
#[cfg(test)]
mod tests;

pub use compare::{StateDiff, StateOwner, compare};
pub use manifest::{CheckpointKind, FORMAT_VERSION, InstanceState, Manifest, OperatorEntry, StateFile};
pub use state_file::StateFileWriter;
pub use storage::CheckpointStorage;
