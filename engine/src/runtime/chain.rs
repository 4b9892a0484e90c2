//! A chain: the operators of one task, which hand rows to each other by direct calls. Where one node feeds
//! several, the chain is a tree.

use super::check::Check;
use super::exchange::Exchange;
use super::metrics::OperatorMetrics;
use super::restore::{RestoredOperator, WATERMARK};
use super::snapshot::TaskCheckpoints;
use crate::error::Result;
use crate::failpoint;
use crate::message::{Barrier, BarrierKind, ChangeBatch, Message};
use crate::operators::{Collector, OpenContext, Operator, OperatorContext};
use crate::plan::{NodeKind, StreamNode};
use crate::state::{SnapshotKind, SnapshotProgress, StateWriter};
use crate::time::Watermark;
use std::cell::Cell;
use std::sync::Arc;

/// Where an operator's rows go.
pub(super) enum Route {
    /// To another operator of the same chain.
    Chained(usize),
    /// To other tasks.
    Exchange(Exchange),
}

/// One operator of a chain.
pub(super) struct Link {
    name: String,
    operator: Box<dyn Operator>,
    open: OpenContext,
    routes: Vec<Route>,
    watermark: Watermark,
    check: Check,
    metrics: Arc<OperatorMetrics>,
    /// Its number among all operator instances of the job.
    instance: usize,
    /// Whether its event time is kept in checkpoints: it decides which rows are late.
    keeps_watermark: bool,
    restored: Option<RestoredOperator>,
}

impl Link {
    /// `operator` runs `node`.
    pub(super) fn new(
        node: &StreamNode,
        operator: Box<dyn Operator>,
        open: OpenContext,
        metrics: Arc<OperatorMetrics>,
    ) -> Self {
        let keeps_watermark = !matches!(
            node.kind,
            NodeKind::Source(_)
                | NodeKind::Values(_)
                | NodeKind::Calc(_)
                | NodeKind::Union
                | NodeKind::Sink(_)
        );
        Self {
            name: node.name.clone(),
            operator,
            open,
            routes: Vec::new(),
            watermark: Watermark::MIN,
            check: Check::new(node.schema.clone()),
            metrics,
            instance: 0,
            keeps_watermark,
            restored: None,
        }
    }

    /// The same as instance `instance` of the job, with the state of a checkpoint where there is some.
    pub(super) fn with_state(mut self, instance: usize, restored: Option<RestoredOperator>) -> Self {
        self.instance = instance;
        self.restored = restored;
        self
    }

    fn is_done(&self, others: &[Link], first: usize) -> bool {
        let done = |route: &Route| match route {
            Route::Chained(index) => others[index - first].is_done(&others[index - first + 1..], index + 1),
            Route::Exchange(exchange) => exchange.is_done(),
        };
        self.operator.is_done() || (!self.routes.is_empty() && self.routes.iter().all(done))
    }
}

/// All operators of one task. The first receives the task's input; each comes after the one that feeds it.
pub(super) struct Chain {
    links: Vec<Link>,
    /// The operator that is running, for naming it when it panics.
    running: Cell<usize>,
}

impl Chain {
    /// A chain that starts with `head`.
    pub(super) fn new(head: Link) -> Self {
        Self { links: vec![head], running: Cell::new(0) }
    }

    /// Adds an operator that gets the rows of operator `from`; gives its index.
    pub(super) fn add(&mut self, from: usize, link: Link) -> usize {
        let index = self.links.len();
        self.links[from].routes.push(Route::Chained(index));
        self.links.push(link);
        index
    }

    /// The rows of operator `from` go through `exchange` too.
    pub(super) fn connect(&mut self, from: usize, exchange: Exchange) {
        self.links[from].routes.push(Route::Exchange(exchange));
    }

    /// Name of the operator that is running, or that ran when a panic came.
    pub(super) fn running(&self) -> &str {
        &self.links[self.running.get()].name
    }

    /// Name of the head.
    pub(super) fn name(&self) -> &str {
        &self.links[0].name
    }

    /// Opens all operators, the last first, so that a sink is ready before rows come; those of a restored job take
    /// their state back.
    pub(super) fn open(&mut self) -> Result<()> {
        for (index, link) in self.links.iter_mut().enumerate().rev() {
            self.running.set(index);
            link.operator.open(&link.open).map_err(|e| e.within(&link.name))?;
            if let Some(restored) = link.restored.take() {
                failpoint::hit("restore.operator")?;
                let mut reader = restored.reader(&link.open)?;
                if link.keeps_watermark {
                    link.watermark = restored.watermark(reader.as_ref(), &link.open);
                }
                link.operator.restore(reader.as_mut()).map_err(|e| e.within(&link.name))?;
            }
        }
        Ok(())
    }

    /// Event time of the head, which a restored one knows before anything comes.
    pub(super) fn watermark_of_head(&self) -> Watermark {
        self.links[0].watermark
    }

    /// Tells downstream how far event time had come when the job was stopped: those that hear of it from several
    /// sides must know it of each.
    pub(super) fn tell_restored(&mut self) -> Result<()> {
        for link in self.links.iter_mut().filter(|l| l.watermark > Watermark::MIN) {
            let told = link.operator.watermark_out(link.watermark);
            link.check.watermark(told)?;
            broadcast(link, &Message::Watermark(told))?;
        }
        Ok(())
    }

    /// Rows of input `input` of the head.
    pub(super) fn process(&mut self, input: usize, batch: ChangeBatch, now_ms: i64) -> Result<()> {
        call(&mut self.links, 0, &self.running, now_ms, |operator, context, out| {
            operator.process(input, batch, context, out)
        })
    }

    /// Event time has moved on to `watermark`, or is told again after idleness.
    pub(super) fn watermark(&mut self, watermark: Watermark, now_ms: i64) -> Result<()> {
        on_watermark(&mut self.links, 0, &self.running, now_ms, watermark)
    }

    /// The task's input is idle.
    pub(super) fn idle(&mut self) -> Result<()> {
        self.links.iter_mut().try_for_each(|link| broadcast(link, &Message::Idle))
    }

    /// All channels have come to `barrier`: each operator's state is taken, then the barrier goes on. With the
    /// barrier of a drained job, operators emit what is left before. `head_values` go to the head's state.
    pub(super) fn barrier(
        &mut self,
        barrier: Barrier,
        alignment_ms: u64,
        now_ms: i64,
        checkpoints: Option<&mut TaskCheckpoints>,
        head_values: Vec<(String, Vec<u8>)>,
    ) -> Result<()> {
        if barrier.kind == BarrierKind::Stop && self.links[0].watermark == Watermark::MAX {
            finish(&mut self.links, 0, &self.running, now_ms, false)?;
        }
        if let Some(checkpoints) = checkpoints {
            self.snapshot(barrier, alignment_ms, checkpoints, head_values)?;
        }
        for link in &mut self.links {
            link.check.barrier(barrier)?;
            broadcast(link, &Message::Barrier(barrier))?;
        }
        Ok(())
    }

    /// Takes each operator's state for `barrier`.
    pub(super) fn snapshot(
        &mut self,
        barrier: Barrier,
        alignment_ms: u64,
        checkpoints: &mut TaskCheckpoints,
        mut head_values: Vec<(String, Vec<u8>)>,
    ) -> Result<()> {
        let taking = checkpoints.begin(barrier, alignment_ms);
        let kind = if barrier.kind.is_full() { SnapshotKind::Full } else { SnapshotKind::Delta };
        for (index, link) in self.links.iter_mut().enumerate() {
            self.running.set(index);
            failpoint::hit("checkpoint.operator-snapshot")?;
            let mut out = StateWriter::new(kind);
            let progress =
                link.operator.snapshot(barrier.checkpoint_id, &mut out).map_err(|e| e.within(&link.name))?;
            for (name, value) in head_values.drain(..) {
                out.value(&name, value);
            }
            if link.keeps_watermark && link.watermark > Watermark::MIN {
                out.value(WATERMARK, link.watermark.0.to_string());
            }
            checkpoints.taken(&taking, (index, link.instance), out, progress);
        }
        self.running.set(0);
        Ok(())
    }

    /// The next part of the snapshot of operator `index`.
    pub(super) fn continue_snapshot(
        &mut self,
        index: usize,
        out: &mut StateWriter,
    ) -> Result<SnapshotProgress> {
        let link = &mut self.links[index];
        link.operator.continue_snapshot(out).map_err(|e| e.within(&link.name))
    }

    /// Checkpoint `id` is complete.
    pub(super) fn checkpoint_complete(&mut self, id: u64) -> Result<()> {
        for (index, link) in self.links.iter_mut().enumerate() {
            self.running.set(index);
            link.operator.checkpoint_complete(id).map_err(|e| e.within(&link.name))?;
        }
        self.running.set(0);
        Ok(())
    }

    /// The job has ended well, and its last checkpoint, if it takes any, is complete.
    pub(super) fn close(&mut self) -> Result<()> {
        self.links.iter_mut().try_for_each(|link| link.operator.close().map_err(|e| e.within(&link.name)))
    }

    /// The processing time that some operator waits for.
    pub(super) fn next_timer_ms(&self) -> Option<i64> {
        self.links.iter().filter_map(|l| l.operator.next_timer_ms()).min()
    }

    /// Calls the operators whose time has come.
    pub(super) fn fire_timers(&mut self, now_ms: i64) -> Result<()> {
        for index in 0..self.links.len() {
            if self.links[index].operator.next_timer_ms().is_some_and(|t| t <= now_ms) {
                let links = &mut self.links[index..];
                call(links, index, &self.running, now_ms, |operator, context, out| {
                    operator.on_timer(context, out)
                })?;
            }
        }
        Ok(())
    }

    /// All input has ended: time goes to its end, operators emit what is left, `End` goes on.
    pub(super) fn end(&mut self, now_ms: i64) -> Result<()> {
        self.watermark(Watermark::MAX, now_ms)?;
        finish(&mut self.links, 0, &self.running, now_ms, true)
    }

    /// Whether nothing that comes can change anything any more.
    pub(super) fn is_done(&self) -> bool {
        self.links[0].is_done(&self.links[1..], 1)
    }

    /// Tells the counters how the operators stand.
    pub(super) fn report(&self) {
        for link in &self.links {
            let mut status = link.operator.status();
            // Such windows are fired by the clock, no watermark is awaited.
            if link.operator.next_timer_ms().is_some() {
                status.next_fire_ms = None;
            }
            link.metrics.set(status, link.watermark);
        }
    }
}

fn broadcast(link: &mut Link, message: &Message) -> Result<()> {
    for route in &mut link.routes {
        if let Route::Exchange(exchange) = route {
            exchange.broadcast(message)?;
        }
    }
    Ok(())
}

/// Calls the operator of `links[0]`, whose index in the chain is `index`. An error gets the name of the operator
/// that it came from, once.
fn call(
    links: &mut [Link],
    index: usize,
    running: &Cell<usize>,
    now_ms: i64,
    f: impl FnOnce(&mut dyn Operator, &OperatorContext, &mut dyn Collector) -> Result<()>,
) -> Result<()> {
    let (head, rest) = split(links);
    let context = OperatorContext { now_ms, watermark: head.watermark };
    let Link { operator, routes, check, name, .. } = head;
    let mut out = Downstream { routes, check, rest, first: index + 1, running, now_ms, failed: false };
    let before = running.replace(index);
    let result = f(operator.as_mut(), &context, &mut out);
    let failed_downstream = out.failed;
    running.set(before);
    result.map_err(|e| if failed_downstream { e } else { e.within(name) })
}

fn split(links: &mut [Link]) -> (&mut Link, &mut [Link]) {
    let (head, rest) = links.split_at_mut(1);
    (&mut head[0], rest)
}

fn on_watermark(
    links: &mut [Link],
    index: usize,
    running: &Cell<usize>,
    now_ms: i64,
    watermark: Watermark,
) -> Result<()> {
    // A restored operator may be ahead of what its inputs have told anew.
    let watermark = watermark.max(links[0].watermark);
    if watermark > links[0].watermark {
        call(links, index, running, now_ms, |operator, context, out| {
            operator.on_watermark(watermark, context, out)
        })?;
        links[0].watermark = watermark;
    }
    if links[0].operator.emits_at_end() {
        return Ok(());
    }
    pass_watermark(links, index, running, now_ms, watermark)
}

/// Tells what is behind the operator of `links[0]` that event time has moved on.
fn pass_watermark(
    links: &mut [Link],
    index: usize,
    running: &Cell<usize>,
    now_ms: i64,
    watermark: Watermark,
) -> Result<()> {
    let (head, rest) = split(links);
    let watermark = head.operator.watermark_out(watermark);
    head.check.watermark(watermark).map_err(|e| e.within(&head.name))?;
    for route in &mut head.routes {
        match route {
            Route::Exchange(exchange) => exchange.broadcast(&Message::Watermark(watermark))?,
            Route::Chained(next) => {
                on_watermark(&mut rest[*next - index - 1..], *next, running, now_ms, watermark)?
            }
        }
    }
    Ok(())
}

/// Lets all operators emit what is left; with `ends`, nothing follows.
fn finish(links: &mut [Link], index: usize, running: &Cell<usize>, now_ms: i64, ends: bool) -> Result<()> {
    call(links, index, running, now_ms, |operator, context, out| operator.finish(context, out))?;
    if links[0].operator.emits_at_end() && links[0].watermark > Watermark::MIN {
        pass_watermark(links, index, running, now_ms, links[0].watermark)?;
    }
    let (head, rest) = split(links);
    if ends {
        head.check.end().map_err(|e| e.within(&head.name))?;
    }
    for route in &mut head.routes {
        match route {
            Route::Exchange(exchange) if ends => exchange.broadcast(&Message::End)?,
            Route::Exchange(_) => {}
            Route::Chained(next) => finish(&mut rest[*next - index - 1..], *next, running, now_ms, ends)?,
        }
    }
    Ok(())
}

/// What an operator emits into: its routes, and the rest of the chain behind it.
struct Downstream<'a> {
    routes: &'a mut [Route],
    check: &'a mut Check,
    rest: &'a mut [Link],
    /// Index of `rest[0]` in the chain.
    first: usize,
    running: &'a Cell<usize>,
    now_ms: i64,
    failed: bool,
}

impl Collector for Downstream<'_> {
    fn emit(&mut self, batch: ChangeBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.check.batch(&batch)?;
        let result = self.pass(batch);
        self.failed |= result.is_err();
        result
    }
}

impl Downstream<'_> {
    fn pass(&mut self, batch: ChangeBatch) -> Result<()> {
        let mut batch = Some(batch);
        let last = self.routes.len().saturating_sub(1);
        for (n, route) in self.routes.iter_mut().enumerate() {
            let rows = if n == last { batch.take() } else { batch.clone() };
            let Some(rows) = rows else { continue };
            match route {
                Route::Exchange(exchange) => exchange.emit(rows)?,
                Route::Chained(next) => {
                    let links = &mut self.rest[*next - self.first..];
                    call(links, *next, self.running, self.now_ms, |operator, context, out| {
                        operator.process(0, rows, context, out)
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// Passes its rows on unchanged: the head of a source's chain.
pub(super) struct PassOn;

impl Operator for PassOn {
    fn process(
        &mut self,
        _input: usize,
        batch: ChangeBatch,
        _context: &OperatorContext,
        out: &mut dyn Collector,
    ) -> Result<()> {
        out.emit(batch)
    }
}
