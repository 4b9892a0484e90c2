//! Hosts deployed jobs: their registry, their child processes, their API.
//!
//! Reading order: `model` (what is said about a job), `protocol` (server and child), `registry`, `folder`, `log`
//! (what is on disk), `restart`, `process` (a child from outside), `job` (one job's supervisor), `host` (all jobs),
//! `api`, `metrics` and `serve` (the server), `client` (who asks it), `child` (a child from inside).

mod api;
pub mod child;
pub mod client;
pub mod folder;
mod host;
mod job;
pub mod log;
mod metrics;
pub mod model;
mod process;
pub mod protocol;
mod registry;
pub mod restart;
pub mod serve;
mod usage;

pub use client::Client;
pub use folder::Folder;
pub use process::CHILD_WORD;
