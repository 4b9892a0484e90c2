//! VALUES as a source: fixed rows, then the end.

use super::ReadGate;
use super::chain::Chain;
use super::restore::EMITTED;
use super::snapshot::TaskCheckpoints;
use super::task::{TaskContext, end, spawn};
use crate::error::Result;
use crate::message::BarrierKind;
use crate::operators::Values;
use crate::time::Watermark;
use std::thread;
use std::time::Duration;

/// Sleep of a task that is held back.
const HELD_BACK: Duration = Duration::from_millis(1);

/// The task of a VALUES node.
pub(super) struct ValuesTask {
    context: TaskContext,
    chain: Chain,
    values: Values,
    /// Batches emitted, those before a restore included.
    emitted: usize,
    checkpoints: Option<TaskCheckpoints>,
    gate: Option<ReadGate>,
}

impl ValuesTask {
    /// `chain` gets the rows of `values`, without the first `emitted` batches.
    pub(super) fn new(
        context: TaskContext,
        chain: Chain,
        mut values: Values,
        emitted: usize,
        checkpoints: Option<TaskCheckpoints>,
        gate: Option<ReadGate>,
    ) -> Self {
        for _ in 0..emitted {
            values.next();
        }
        Self { context, chain, values, emitted, checkpoints, gate }
    }

    /// Starts its thread.
    pub(super) fn start(self, thread_name: String) {
        let control = self.context.control.clone();
        spawn(&control, thread_name, self, Self::run, |task| task.chain.running().to_string());
    }

    fn run(&mut self) -> Result<()> {
        let TaskContext { control, clock } = self.context.clone();
        if self.checkpoints.as_ref().is_some_and(|c| !c.wait_for_start()) {
            return Ok(());
        }
        self.chain.open()?;
        control.opened();
        self.chain.tell_restored()?;
        let mut stopped = false;
        while !stopped {
            if control.is_stopping() {
                return Ok(());
            }
            if let Some(checkpoints) = &mut self.checkpoints {
                checkpoints.tell_completed(&mut self.chain)?;
                checkpoints.progress(&mut self.chain)?;
                if let Some((barrier, drain)) = checkpoints.due() {
                    if drain {
                        self.chain.watermark(Watermark::MAX, clock.now_ms())?;
                    }
                    checkpoints.settle(&mut self.chain, &control)?;
                    let values = vec![(EMITTED.to_string(), self.emitted.to_string().into_bytes())];
                    let now_ms = clock.now_ms();
                    self.chain.barrier(barrier, 0, now_ms, Some(checkpoints), values)?;
                    stopped = barrier.kind == BarrierKind::Stop;
                    continue;
                }
            }
            if self.gate.as_ref().is_some_and(|g| g.is_closed(u64::MAX - 1)) {
                thread::sleep(HELD_BACK);
                continue;
            }
            let Some(batch) = (!self.chain.is_done()).then(|| self.values.next()).flatten() else { break };
            self.emitted += 1;
            self.chain.process(0, batch, clock.now_ms())?;
        }
        if !stopped {
            self.chain.end(clock.now_ms())?;
        }
        self.chain.report();
        let values = [(EMITTED.to_string(), self.emitted.to_string().into_bytes())];
        end(&mut self.chain, self.checkpoints.as_mut(), &control, &values, |_| Ok(()))
    }
}
