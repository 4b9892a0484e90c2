//! THE loop: one thread that takes messages from its channels, runs its chain, and passes signals on.

use super::alignment::{Alignment, Step};
use super::chain::Chain;
use super::channel::{Mailbox, Received};
use super::shutdown::Control;
use super::snapshot::TaskCheckpoints;
use crate::error::{Error, Result};
use crate::message::{Barrier, BarrierKind, Message};
use crate::time::{Clock, MergeChange, Stopwatch, WatermarkMerge};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Stack of a task's thread, in bytes: evaluating deep expressions recurses.
const STACK_BYTES: usize = 4 * 1024 * 1024;
/// Longest sleep of a task whose snapshot is not written yet.
const SNAPSHOT_WAIT: Duration = Duration::from_millis(1);
/// Processing time between two reports to the counters, in milliseconds.
const REPORT_MS: i64 = 100;

/// What all tasks of a job share.
#[derive(Clone)]
pub(super) struct TaskContext {
    pub(super) control: Arc<Control>,
    pub(super) clock: Arc<dyn Clock>,
}

/// Runs `body` on a thread of its own. An error or a panic fails the job; the thread's end is always told.
pub(super) fn spawn<T: Send + 'static>(
    control: &Arc<Control>,
    thread_name: String,
    mut task: T,
    body: fn(&mut T) -> Result<()>,
    running: fn(&T) -> String,
) {
    let shared = control.clone();
    let run = move || {
        let result = catch_unwind(AssertUnwindSafe(|| body(&mut task)));
        match result {
            Ok(Ok(())) => {}
            Ok(Err(error)) => shared.fail(error),
            Err(panic) => {
                let message = format!("{}: panicked: {}", running(&task), panic_text(panic.as_ref()));
                shared.fail(Error::internal(message).with_hint("This is a bug of Runnel: please report it."));
            }
        }
        // What the task holds (connections, files) is gone before the job counts as ended; a panic there must
        // not keep it from ending.
        if catch_unwind(AssertUnwindSafe(|| drop(task))).is_err() {
            shared.fail(Error::internal("A task panicked while it was being dropped."));
        }
        shared.ended();
    };
    if let Err(error) = thread::Builder::new().name(thread_name).stack_size(STACK_BYTES).spawn(run) {
        control.fail(Error::external(format!("A thread could not be started: {error}.")));
        control.ended();
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// How long to sleep when the next thing is due at `due_ms`.
pub(super) fn wait(due_ms: Option<i64>, now_ms: i64, clock: &dyn Clock) -> Duration {
    let longest = clock.longest_wait();
    due_ms.map_or(longest, |due| longest.min(Duration::from_millis(due.saturating_sub(now_ms).max(0) as u64)))
}

/// Decides when a task reports to the counters: now and then, and when it has nothing else to do.
#[derive(Debug, Default)]
pub(super) struct ReportTimer {
    last_ms: Option<i64>,
}

impl ReportTimer {
    pub(super) fn is_due(&mut self, now_ms: i64) -> bool {
        let due = self.last_ms.is_none_or(|last| now_ms.saturating_sub(last) >= REPORT_MS);
        if due {
            self.last_ms = Some(now_ms);
        }
        due
    }
}

/// A task with inputs.
pub(super) struct OperatorTask {
    context: TaskContext,
    chain: Chain,
    mailbox: Arc<Mailbox>,
    /// The head's input of each channel.
    inputs: Vec<usize>,
    checkpoints: Option<TaskCheckpoints>,
    /// Since the first barrier of the checkpoint at hand.
    aligning: Option<Stopwatch>,
    /// The barrier after which nothing comes has been passed on.
    stopped: bool,
}

impl OperatorTask {
    /// `inputs` says for each channel of `mailbox` which input of the chain's head it is.
    pub(super) fn new(
        context: TaskContext,
        chain: Chain,
        mailbox: Arc<Mailbox>,
        inputs: Vec<usize>,
        checkpoints: Option<TaskCheckpoints>,
    ) -> Self {
        Self { context, chain, mailbox, inputs, checkpoints, aligning: None, stopped: false }
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
        let channels = self.mailbox.channels();
        let mut merge = WatermarkMerge::restored(channels, self.chain.watermark_of_head());
        self.chain.tell_restored()?;
        let mut alignment = Alignment::new(channels);
        let mut reports = ReportTimer::default();
        while !merge.all_ended() && !self.chain.is_done() && !self.stopped {
            let now_ms = clock.now_ms();
            self.chain.fire_timers(now_ms)?;
            if reports.is_due(now_ms) {
                self.chain.report();
            }
            let mut wait = wait(self.chain.next_timer_ms(), now_ms, clock.as_ref());
            if let Some(checkpoints) = &mut self.checkpoints {
                checkpoints.tell_completed(&mut self.chain)?;
                if checkpoints.progress(&mut self.chain)? {
                    wait = wait.min(SNAPSHOT_WAIT);
                }
            }
            let (channel, message) = match self.mailbox.receive(wait) {
                Received::Message(channel, message) => (channel, message),
                Received::Nothing => {
                    self.chain.report();
                    continue;
                }
                Received::Stopped => return Ok(()),
            };
            let now_ms = clock.now_ms();
            let change = match message {
                Message::Batch(batch) => {
                    let change = merge.active(channel);
                    self.advance(change, now_ms)?;
                    self.chain.process(self.inputs[channel], batch, now_ms)?;
                    None
                }
                Message::Watermark(watermark) => merge.watermark(channel, watermark),
                Message::Idle => merge.idle(channel),
                Message::Barrier(barrier) => {
                    let step = alignment.barrier(channel, barrier);
                    self.align(channel, step)?;
                    None
                }
                Message::End => {
                    let step = alignment.end(channel);
                    self.align(channel, step)?;
                    merge.end(channel)
                }
            };
            if change.is_some() {
                self.advance(change, now_ms)?;
                let rest = merge.poll();
                self.advance(rest, now_ms)?;
            }
        }
        self.mailbox.finish();
        if !self.stopped {
            self.chain.end(clock.now_ms())?;
        }
        self.chain.report();
        end(&mut self.chain, self.checkpoints.as_mut(), &control, &[], |_| Ok(()))
    }

    fn advance(&mut self, change: Option<MergeChange>, now_ms: i64) -> Result<()> {
        match change {
            None => Ok(()),
            Some(MergeChange::Watermark(watermark)) => self.chain.watermark(watermark, now_ms),
            Some(MergeChange::Idle) => self.chain.idle(),
        }
    }

    fn align(&mut self, channel: usize, step: Step) -> Result<()> {
        let blocks = self.checkpoints.as_ref().is_none_or(TaskCheckpoints::blocks);
        match step {
            Step::Go => Ok(()),
            Step::Block(given_up) => {
                if !given_up.is_empty() {
                    self.aligning = None;
                }
                self.aligning.get_or_insert_with(Stopwatch::start);
                given_up.into_iter().for_each(|c| self.mailbox.block(c, false));
                if blocks {
                    self.mailbox.block(channel, true);
                }
                Ok(())
            }
            Step::Complete(barrier, aside) => {
                self.barrier(barrier)?;
                aside.into_iter().for_each(|c| self.mailbox.block(c, false));
                Ok(())
            }
        }
    }

    fn barrier(&mut self, barrier: Barrier) -> Result<()> {
        let alignment_ms = self.aligning.take().map_or(0, |s| s.elapsed().as_millis() as u64);
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.settle(&mut self.chain, &self.context.control)?;
        }
        let now_ms = self.context.clock.now_ms();
        self.chain.barrier(barrier, alignment_ms, now_ms, self.checkpoints.as_mut(), Vec::new())?;
        self.stopped = barrier.kind == BarrierKind::Stop;
        Ok(())
    }
}

/// A task has processed all that there is: it goes, or waits for the last checkpoint first.
pub(super) fn end(
    chain: &mut Chain,
    checkpoints: Option<&mut TaskCheckpoints>,
    control: &Control,
    head_values: &[(String, Vec<u8>)],
    on_complete: impl FnMut(u64) -> Result<()>,
) -> Result<()> {
    match checkpoints {
        None => chain.close(),
        Some(checkpoints) => checkpoints.wait_for_last(chain, control, head_values, on_complete),
    }
}

#[cfg(test)]
mod tests {
    use super::super::chain::Link;
    use super::super::exchange::{Exchange, Port};
    use super::super::metrics::OperatorMetrics;
    use super::super::testing::{PlanBuilder, Recorder, rows, values};
    use super::*;
    use crate::message::{Barrier, BarrierKind, ChangeBatch};
    use crate::operators::OpenContext;
    use crate::plan::{NodeId, Partitioning};
    use crate::time::{SystemClock, Watermark};

    #[test]
    fn rows_behind_a_barrier_wait_until_all_channels_have_it() {
        let mut plan = PlanBuilder::default();
        plan.operator("Op", vec![], 1);
        let metrics = OperatorMetrics::new(NodeId(0), "test", false);
        let mut chain = Chain::new(Link::new(
            &plan.last(),
            Box::new(Recorder::default()),
            OpenContext::for_tests(),
            metrics,
        ));
        let out = Mailbox::new(1);
        chain.connect(0, Exchange::new(Partitioning::Forward, vec![Port::new(out.clone(), 0)], 128));
        let mailbox = Mailbox::new(2);
        let send = |channel, message| mailbox.send(channel, message).map(drop).unwrap();
        let batch = |v| Message::Batch(ChangeBatch::inserts(rows(&[(0, v)])));
        let barrier =
            Message::Barrier(Barrier { checkpoint_id: 7, triggered_at_ms: 0, kind: BarrierKind::Savepoint });
        for message in [barrier.clone(), batch(1), Message::Watermark(Watermark(5)), Message::End] {
            send(0, message);
        }
        for message in [batch(2), Message::Watermark(Watermark(9)), barrier, batch(3), Message::End] {
            send(1, message);
        }
        let context =
            TaskContext { control: Control::new("j".into(), "j".into(), 1), clock: Arc::new(SystemClock) };
        OperatorTask::new(context, chain, mailbox, vec![0, 0], None).run().unwrap();
        let mut seen = Vec::new();
        while let Received::Message(_, message) = out.receive(Duration::ZERO) {
            seen.push(match message {
                Message::Batch(batch) => format!("{:?}", values(&batch)),
                Message::Watermark(w) => format!("wm {}", w.0),
                Message::Barrier(b) => format!("barrier {}", b.checkpoint_id),
                other => format!("{other:?}"),
            });
        }
        let after = seen.split_off(2);
        assert_eq!(seen, ["[2]", "barrier 7"]);
        assert!(["[1]", "[3]"].iter().all(|rows| after.iter().any(|s| s == rows)), "{after:?}");
        assert_eq!(after.last().map(String::as_str), Some("End"));
    }
}
