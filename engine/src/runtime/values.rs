//! VALUES as a source: fixed rows, then the end.

use super::chain::Chain;
use super::task::{TaskContext, spawn};
use crate::error::Result;
use crate::operators::Values;

/// The task of a VALUES node.
pub(super) struct ValuesTask {
    context: TaskContext,
    chain: Chain,
    values: Values,
}

impl ValuesTask {
    /// `chain` gets the rows of `values`.
    pub(super) fn new(context: TaskContext, chain: Chain, values: Values) -> Self {
        Self { context, chain, values }
    }

    /// Starts its thread.
    pub(super) fn start(self, thread_name: String) {
        let control = self.context.control.clone();
        spawn(&control, thread_name, self, Self::run, |task| task.chain.running().to_string());
    }

    fn run(&mut self) -> Result<()> {
        let TaskContext { control, clock } = self.context.clone();
        self.chain.open()?;
        control.opened();
        for batch in self.values.by_ref() {
            if control.is_stopping() {
                return Ok(());
            }
            if self.chain.is_done() {
                break;
            }
            self.chain.process(0, batch, clock.now_ms())?;
        }
        self.chain.end(clock.now_ms())?;
        self.chain.report();
        Ok(())
    }
}
