//! `ConnectorRegistry`: the connectors that this process has, by name.

use super::Connector;
use crate::error::{Error, Result, nearest};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Connectors by the value of the `connector` option.
#[derive(Clone, Default)]
pub struct ConnectorRegistry {
    connectors: BTreeMap<&'static str, Arc<dyn Connector>>,
}

impl ConnectorRegistry {
    /// Adds a connector under its name.
    pub fn add(&mut self, connector: Arc<dyn Connector>) {
        self.connectors.insert(connector.name(), connector);
    }

    /// The connector called `name`.
    ///
    /// Errors: there is none; the text starts as Flink's does and lists what there is.
    pub fn get(&self, name: &str) -> Result<&Arc<dyn Connector>> {
        self.connectors.get(name).ok_or_else(|| {
            let known = self.names().collect::<Vec<_>>().join(", ");
            Error::user(format!(
                "Could not find any factory for identifier '{name}': this Runnel has no connector of that name. \
                 Available connectors: {known}."
            ))
            .with_hint(
                nearest(name, self.names())
                    .map_or_else(String::new, |n| format!("Did you mean 'connector' = '{n}'?")),
            )
        })
    }

    /// Names of all connectors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.connectors.keys().copied()
    }
}
