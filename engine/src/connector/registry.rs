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
            .with_hint(self.hint(name))
        })
    }

    /// A typo's right name, or for a relative that there is not the connector that is there.
    fn hint(&self, name: &str) -> String {
        let relative = || self.names().find(|n| name.split('-').any(|part| part == *n));
        match (nearest(name, self.names()), relative()) {
            (Some(near), _) => format!("Did you mean 'connector' = '{near}'?"),
            (None, Some(relative)) => format!("What comes nearest is 'connector' = '{relative}'."),
            (None, None) => String::new(),
        }
    }

    /// Names of all connectors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.connectors.keys().copied()
    }
}
