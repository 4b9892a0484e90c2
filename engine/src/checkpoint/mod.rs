//! Checkpoints at rest: the manifest, the files of state, where they are kept, and how they are read again.

mod manifest;

pub use manifest::{CheckpointKind, FORMAT_VERSION, InstanceState, Manifest, OperatorEntry, StateFile};
