//! `Session`: the façade for shell, server and tests.

use crate::config::Config;
use crate::connector::ConnectorRegistry;
use crate::error::Result;
use crate::outcome::Outcome;
use crate::sql::Piece;
use crate::time::Clock;
use catalog::Catalog;
use std::sync::Arc;

/// What a session is made of.
#[derive(Clone)]
pub struct SessionOptions {
    /// The catalogs, at least one; the first is current.
    pub catalogs: Vec<Arc<dyn Catalog>>,
    /// The connectors.
    pub connectors: ConnectorRegistry,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// For connectors over asynchronous clients.
    pub runtime: tokio::runtime::Handle,
}

/// One user's session: settings, current database, temporary objects.
pub struct Session {
    options: SessionOptions,
    config: Config,
}

impl Session {
    /// A session with default settings.
    pub fn new(options: SessionOptions) -> Self {
        Self { options, config: Config::default() }
    }

    /// Executes one statement. A query or INSERT is started, not waited for.
    pub fn execute(&mut self, statement: &Piece) -> Result<Outcome> {
        let _ = (statement, &self.options);
        Err(crate::Error::internal("not written"))
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The settings, to be changed.
    pub fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    /// Names that completion offers: tables and views of the current database.
    pub fn tables(&self) -> Vec<String> {
        Vec::new()
    }

    /// Column names of a table or view, for completion; empty if there is none.
    pub fn columns(&self, table: &str) -> Vec<String> {
        let _ = table;
        Vec::new()
    }

    /// The connectors, for completion of options.
    pub fn connectors(&self) -> &ConnectorRegistry {
        &self.options.connectors
    }

    /// Names of all functions, for completion.
    pub fn functions(&self) -> Vec<String> {
        Vec::new()
    }
}
