//! A task's part in checkpoints: takes its operators' snapshots, piece by piece between messages, and hands them to
//! the threads that write.

use super::chain::Chain;
use super::coordinator::{Ack, Checkpoints, Stages};
use super::shutdown::Control;
use crate::checkpoint::{CheckpointStorage, StateFileWriter};
use crate::error::{Error, Result};
use crate::failpoint;
use crate::message::Barrier;
use crate::state::{SnapshotKind, SnapshotProgress, StateRows, StateWriter};
use crate::time::Stopwatch;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

/// Threads that write state, for each job.
const WRITERS: usize = 2;
/// Pieces of state that wait for each of them.
const WAITING_PIECES: usize = 4;
/// How long a task that has nothing to do sleeps before it looks for the next checkpoint.
const DOZE: Duration = Duration::from_millis(10);

/// A piece of an instance's snapshot, for the threads that write.
enum Piece {
    Rows { snapshot: Arc<Snapshot>, rows: StateRows },
    Last { snapshot: Arc<Snapshot>, values: Vec<(String, Vec<u8>)>, is_empty: bool },
}

/// The snapshot of one instance for one checkpoint.
struct Snapshot {
    checkpoint_id: u64,
    instance: usize,
    kind: SnapshotKind,
    storage: CheckpointStorage,
    attempt: u64,
    stages: Stages,
    watch: Stopwatch,
}

/// Starts the threads that write; they end when all senders are gone.
pub(super) fn start_writers(shared: &Arc<Checkpoints>) -> Vec<Writers> {
    let mut writers = Vec::new();
    for n in 0..WRITERS {
        let (sender, receiver) = sync_channel(WAITING_PIECES);
        let shared = shared.clone();
        let started = thread::Builder::new()
            .name(format!("state writer {n}"))
            .spawn(move || StateWriters { shared, open: HashMap::new() }.run(&receiver));
        if started.is_ok() {
            writers.push(Writers(sender));
        }
    }
    writers
}

/// The sending end of one thread that writes.
#[derive(Clone)]
pub(super) struct Writers(SyncSender<Piece>);

/// One thread that writes.
struct StateWriters {
    shared: Arc<Checkpoints>,
    open: HashMap<usize, (u64, StateFileWriter)>,
}

impl StateWriters {
    fn run(mut self, pieces: &Receiver<Piece>) {
        while let Ok(piece) = pieces.recv() {
            let snapshot = match &piece {
                Piece::Rows { snapshot, .. } | Piece::Last { snapshot, .. } => snapshot.clone(),
            };
            // What nobody waits for any more is not written.
            if self.shared.storage(snapshot.checkpoint_id).is_none() {
                self.open.remove(&snapshot.instance);
                continue;
            }
            if let Err(error) = self.write(piece) {
                self.open.remove(&snapshot.instance);
                let name = self.shared.instance(snapshot.instance).map_or("", |i| i.name.as_str());
                self.shared.decline(snapshot.checkpoint_id, error.within(name));
            }
        }
    }

    fn write(&mut self, piece: Piece) -> Result<()> {
        failpoint::hit("checkpoint.write-state")?;
        match piece {
            Piece::Rows { snapshot, rows } => self.file(&snapshot)?.rows(&rows),
            Piece::Last { snapshot, values, is_empty } => {
                let file = if is_empty && values.is_empty() {
                    None
                } else {
                    self.file(&snapshot)?;
                    match self.open.remove(&snapshot.instance) {
                        Some((_, file)) => Some(file.finish(&values)?),
                        None => None,
                    }
                };
                failpoint::hit("checkpoint.ack")?;
                let async_ms = snapshot.watch.elapsed().as_millis() as u64;
                let stages = Stages { async_ms, ..snapshot.stages };
                let ack = Ack { file, kind: snapshot.kind, stages };
                self.shared.acknowledge(snapshot.checkpoint_id, snapshot.instance, ack);
                Ok(())
            }
        }
    }

    fn file(&mut self, snapshot: &Snapshot) -> Result<&mut StateFileWriter> {
        let id = snapshot.checkpoint_id;
        if self.open.get(&snapshot.instance).is_none_or(|(of, _)| *of != id) {
            let instance = self.shared.instance(snapshot.instance);
            let instance = instance.ok_or_else(|| Error::internal("A snapshot of an unknown operator."))?;
            let file = snapshot.storage.state_file(
                id,
                &instance.operator_id,
                instance.task,
                snapshot.attempt,
                snapshot.kind,
            )?;
            self.open.insert(snapshot.instance, (id, file));
        }
        match self.open.get_mut(&snapshot.instance) {
            Some((_, file)) => Ok(file),
            None => Err(Error::internal("A file of state is gone.")),
        }
    }
}

/// A task's side.
pub(super) struct TaskCheckpoints {
    shared: Arc<Checkpoints>,
    writers: Vec<Writers>,
    /// The newest barrier that was taken.
    seen: u64,
    /// The newest complete checkpoint that was told to the operators.
    told: u64,
    outbox: VecDeque<(usize, Piece)>,
    open: VecDeque<Open>,
    has_ended: bool,
}

/// An operator that has not given all of its snapshot.
struct Open {
    link: usize,
    writer: StateWriter,
    snapshot: Option<Arc<Snapshot>>,
    values: Vec<(String, Vec<u8>)>,
    is_empty: bool,
}

/// A checkpoint whose snapshots are being taken in a task.
pub(super) struct Taking {
    pub(super) barrier: Barrier,
    alignment_ms: u64,
    watch: Stopwatch,
    storage: Option<(CheckpointStorage, u64)>,
}

impl TaskCheckpoints {
    /// Of a task that has taken part in none.
    pub(super) fn new(shared: Arc<Checkpoints>, writers: Vec<Writers>) -> Self {
        Self {
            shared,
            writers,
            seen: 0,
            told: 0,
            outbox: VecDeque::new(),
            open: VecDeque::new(),
            has_ended: false,
        }
    }

    /// Waits until connectors may be opened. `false`: the job is being stopped.
    pub(super) fn wait_for_start(&self) -> bool {
        self.shared.wait_for_start()
    }

    /// Whether checkpoints are taken.
    pub(super) fn is_on(&self) -> bool {
        self.shared.is_on()
    }

    /// Whether channels with their barrier are set aside.
    pub(super) fn blocks(&self) -> bool {
        self.shared.blocks()
    }

    /// A barrier that a source or an ended task is to inject, and whether the last watermark comes before it.
    pub(super) fn due(&self) -> Option<(Barrier, bool)> {
        self.shared.due(self.seen)
    }

    /// A complete checkpoint that the operators were not told of yet.
    pub(super) fn completed(&mut self) -> Option<u64> {
        let id = self.shared.completed(self.told)?;
        self.told = id;
        Some(id)
    }

    /// Begins to take the snapshots of this task.
    pub(super) fn begin(&mut self, barrier: Barrier, alignment_ms: u64) -> Taking {
        self.seen = self.seen.max(barrier.checkpoint_id);
        let storage = self.shared.storage(barrier.checkpoint_id);
        Taking { barrier, alignment_ms, watch: Stopwatch::start(), storage }
    }

    /// Operator `link` of the chain, which is `instance`, has begun its snapshot.
    pub(super) fn taken(
        &mut self,
        taking: &Taking,
        (link, instance): (usize, usize),
        mut writer: StateWriter,
        progress: SnapshotProgress,
    ) {
        let stages = Stages {
            alignment_ms: taking.alignment_ms,
            sync_ms: taking.watch.elapsed().as_millis() as u64,
            async_ms: 0,
        };
        let (rows, values) = writer.take();
        let snapshot = taking.storage.clone().map(|(storage, attempt)| {
            Arc::new(Snapshot {
                checkpoint_id: taking.barrier.checkpoint_id,
                instance,
                kind: writer.kind(),
                storage,
                attempt,
                stages,
                watch: Stopwatch::start(),
            })
        });
        let mut open = Open { link, writer, snapshot, values, is_empty: true };
        self.put(&mut open, rows);
        match progress {
            SnapshotProgress::More => self.open.push_back(open),
            SnapshotProgress::Done => self.finish(open),
        }
    }

    fn put(&mut self, open: &mut Open, rows: Vec<StateRows>) {
        let Some(snapshot) = &open.snapshot else { return };
        for rows in rows {
            open.is_empty = false;
            self.outbox.push_back((snapshot.instance, Piece::Rows { snapshot: snapshot.clone(), rows }));
        }
    }

    fn finish(&mut self, open: Open) {
        let Some(snapshot) = open.snapshot else { return };
        if open.is_empty && open.values.is_empty() {
            // Nothing to write: the detour over another thread would only take time.
            let ack = Ack { file: None, kind: snapshot.kind, stages: snapshot.stages };
            self.shared.acknowledge(snapshot.checkpoint_id, snapshot.instance, ack);
            return;
        }
        let instance = snapshot.instance;
        let last = Piece::Last { snapshot, values: open.values, is_empty: open.is_empty };
        self.outbox.push_back((instance, last));
    }

    /// Goes on with the snapshots at hand, for a few milliseconds at most. `true`: there is more to do.
    pub(super) fn progress(&mut self, chain: &mut Chain) -> Result<bool> {
        while let Some((instance, piece)) = self.outbox.pop_front() {
            let Some(writer) = self.writers.get(instance % self.writers.len().max(1)) else {
                return Err(Error::external("The threads that write checkpoints could not be started."));
            };
            match writer.0.try_send(piece) {
                Ok(()) => {}
                Err(TrySendError::Full(piece)) => {
                    self.outbox.push_front((instance, piece));
                    return Ok(true);
                }
                Err(TrySendError::Disconnected(_)) => {
                    return Err(Error::internal("A thread that writes checkpoints has ended."));
                }
            }
        }
        let Some(mut open) = self.open.pop_front() else { return Ok(false) };
        let progress = chain.continue_snapshot(open.link, &mut open.writer)?;
        let (rows, values) = open.writer.take();
        open.values.extend(values);
        self.put(&mut open, rows);
        match progress {
            SnapshotProgress::More => self.open.push_front(open),
            SnapshotProgress::Done => self.finish(open),
        }
        Ok(true)
    }

    /// Takes the rest of the snapshots at hand. `false`: the job is being stopped.
    pub(super) fn settle(&mut self, chain: &mut Chain, control: &Control) -> Result<bool> {
        while self.progress(chain)? {
            if control.is_stopping() {
                return Ok(false);
            }
            if !self.outbox.is_empty() {
                thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(true)
    }

    /// Tells the operators of a complete checkpoint, if there is a new one; gives its id.
    pub(super) fn tell_completed(&mut self, chain: &mut Chain) -> Result<Option<u64>> {
        let Some(id) = self.completed() else { return Ok(None) };
        chain.checkpoint_complete(id)?;
        Ok(Some(id))
    }

    /// The task has nothing more to process: it takes part in checkpoints until the last one is complete, and then
    /// lets its operators go. `head_values` are those of a source; `on_complete` is called with ids of complete
    /// checkpoints.
    pub(super) fn wait_for_last(
        &mut self,
        chain: &mut Chain,
        control: &Control,
        head_values: &[(String, Vec<u8>)],
        mut on_complete: impl FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        if !self.is_on() {
            return chain.close();
        }
        if !self.settle(chain, control)? {
            return Ok(());
        }
        self.has_ended = true;
        self.shared.task_ended();
        loop {
            if control.is_stopping() {
                return Ok(());
            }
            let dismissed = self.shared.is_dismissed();
            if let Some(id) = self.tell_completed(chain)? {
                on_complete(id)?;
            }
            if dismissed {
                return chain.close();
            }
            if let Some((barrier, _)) = self.due() {
                chain.snapshot(barrier, 0, self, head_values.to_vec())?;
                if !self.settle(chain, control)? {
                    return Ok(());
                }
            }
            self.shared.doze(DOZE);
        }
    }
}

impl Drop for TaskCheckpoints {
    fn drop(&mut self) {
        self.shared.task_gone(self.has_ended);
    }
}
