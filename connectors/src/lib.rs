//! The connectors and formats that Runnel has. [`registry`] is the only list of connectors.

pub mod formats;
mod options;

use engine::connector::ConnectorRegistry;

/// All connectors of this build.
pub fn registry() -> ConnectorRegistry {
    ConnectorRegistry::default()
}
