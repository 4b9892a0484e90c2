//! SQL to running tasks. Knows no connector, format or terminal by name.
//!
//! Reading order, which is also the order of who may import whom: [`error`], [`config`] and [`failpoint`] (all may),
//! [`time`], [`sql`] (text to `Statement`), [`message`] (what flows between operators), [`plan`] (the operator
//! graph), [`functions`], [`state`], [`connector`] (what the outside implements), `planner`
//! (`Statement` to `StreamPlan`), [`operators`], [`checkpoint`], [`runtime`] (`StreamPlan` to running tasks), [`jobs`] (restarts), and
//! [`session`], the façade that shell, server and tests use.

pub mod checkpoint;
pub mod config;
pub mod connector;
pub mod error;
pub mod failpoint;
pub mod functions;
pub mod jobs;
pub mod message;
pub mod operators;
pub mod outcome;
pub mod plan;
pub mod planner;
pub mod runtime;
pub mod session;
pub mod sql;
pub mod state;
pub mod time;

pub use config::Config;
pub use error::{Error, Result};
pub use outcome::Outcome;
pub use session::Session;
