//! Modules by name. All functions are in the module `core`; what is loaded and used changes only what SHOW MODULES lists.

use super::show::{rows, text, text_rows};
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::sql::{Modules, Name};
use arrow::array::{ArrayRef, BooleanArray};
use std::sync::Arc;

/// The only module that there is.
const CORE: &str = "core";

/// The modules of a session: those that are used in their order, then the others.
#[derive(Debug)]
pub(super) struct LoadedModules(Vec<(String, bool)>);

impl Default for LoadedModules {
    fn default() -> Self {
        Self(vec![(CORE.to_string(), true)])
    }
}

impl LoadedModules {
    /// LOAD, UNLOAD and USE.
    ///
    /// Errors: a module that there is not, or one that is named twice.
    pub fn change(&mut self, change: &Modules) -> Result<Outcome> {
        let word = |name: &Name| name.parts.join(".");
        let unknown = |name: &Name| {
            Error::user(format!("No module with name '{}' exists", word(name)))
                .with_hint("SHOW FULL MODULES lists what is loaded.")
                .at(name.span)
        };
        match change {
            Modules::Load { name, .. } => {
                if self.has(&word(name)) {
                    let error = Error::user(format!("A module with name '{}' already exists", word(name)));
                    return Err(error.at(name.span));
                }
                if word(name) != CORE {
                    return Err(Error::user(format!("There is no module '{}'.", word(name)))
                        .with_hint("All functions are in the module core.")
                        .at(name.span));
                }
                let at = self.0.iter().filter(|(_, used)| *used).count();
                self.0.insert(at, (word(name), true));
            }
            Modules::Unload(name) => {
                if !self.has(&word(name)) {
                    return Err(unknown(name));
                }
                self.0.retain(|(loaded, _)| *loaded != word(name));
            }
            Modules::Use(names) => {
                let mut used: Vec<(String, bool)> = Vec::new();
                for name in names {
                    if !self.has(&word(name)) {
                        return Err(unknown(name));
                    }
                    if used.iter().any(|(known, _)| *known == word(name)) {
                        let error = Error::user(format!("Module '{}' appears more than once", word(name)));
                        return Err(error.at(name.span));
                    }
                    used.push((word(name), true));
                }
                let others = self.0.iter().filter(|(m, _)| used.iter().all(|(u, _)| u != m));
                let others: Vec<_> = others.map(|(m, _)| (m.clone(), false)).collect();
                self.0 = [used, others].concat();
            }
        }
        Ok(Outcome::Done)
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(loaded, _)| loaded == name)
    }

    /// `SHOW [FULL] MODULES`.
    pub fn show(&self, full: bool) -> Outcome {
        if !full {
            return text_rows("module name", self.0.iter().filter(|(_, used)| *used).map(|(m, _)| m.clone()));
        }
        let used: ArrayRef = Arc::new(BooleanArray::from_iter(self.0.iter().map(|(_, used)| Some(*used))));
        rows(vec![("module name", text(self.0.iter().map(|(m, _)| m.clone()))), ("used", used)])
    }
}
