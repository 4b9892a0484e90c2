//! Queries that are checkpointed, killed and restored in the middle, and the exactly-once sink that tells the answer.

use crate::{Answer, Runner, answer, cells};
use arrow::datatypes::SchemaRef;
use chrono_tz::Tz;
use engine::checkpoint::CheckpointStorage;
use engine::connector::{Committable, RecoverContext, Sink, Writer, WriterContext};
use engine::message::ChangeBatch;
use engine::plan::{ChangelogMode, StreamPlan};
use engine::runtime::{self, CheckpointOptions, JobHandle, JobOptions, ReadGate, RestoreOptions};
use engine::sql::{self, Piece, Statement};
use engine::state::MemoryBudget;
use engine::time::SystemClock;
use engine::{Error, Outcome};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Rows in a batch of a source: small, so that there is a middle.
const BATCH_ROWS: usize = 3;
/// Longest that a run may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time without a row after which the rest is not waited for.
const STALLED: Duration = Duration::from_millis(500);

/// What a sink holds outside of the job: what was prepared, and what was published.
#[derive(Debug, Default)]
struct Outside {
    /// By operator, task and checkpoint.
    prepared: BTreeMap<(String, usize, u64), Vec<ChangeBatch>>,
    published: Vec<ChangeBatch>,
}

/// An exactly-once sink: rows are published by the checkpoint that they belong to, and by nothing else.
#[derive(Debug, Clone, Default)]
pub struct CommittingSink(Arc<Mutex<Outside>>);

impl CommittingSink {
    /// What was published.
    pub fn published(&self) -> Vec<ChangeBatch> {
        self.0.lock().unwrap().published.clone()
    }
}

impl Sink for CommittingSink {
    fn accepts(&self) -> ChangelogMode {
        ChangelogMode::RETRACT
    }

    fn describe(&self) -> String {
        "committing".into()
    }

    fn recover(&self, context: &RecoverContext, prepared: &[Committable]) -> engine::Result<()> {
        let mut outside = self.0.lock().unwrap();
        let mut keys: Vec<(u64, usize)> =
            prepared.iter().map(|c| serde_json::from_str(&c.text).unwrap()).collect();
        keys.sort_unstable();
        for (checkpoint, task) in keys {
            // Not there: it was published before the crash.
            if let Some(rows) = outside.prepared.remove(&(context.operator_id.clone(), task, checkpoint)) {
                outside.published.extend(rows);
            }
        }
        outside.prepared.retain(|(operator, ..), _| *operator != context.operator_id);
        Ok(())
    }

    fn writer(&self, context: WriterContext) -> engine::Result<Box<dyn Writer>> {
        Ok(Box::new(CommittingWriter { sink: self.clone(), context, rows: Vec::new() }))
    }
}

struct CommittingWriter {
    sink: CommittingSink,
    context: WriterContext,
    rows: Vec<ChangeBatch>,
}

impl Writer for CommittingWriter {
    fn write(&mut self, batch: ChangeBatch) -> engine::Result<()> {
        self.rows.push(batch);
        Ok(())
    }

    fn flush(&mut self) -> engine::Result<()> {
        Ok(())
    }

    fn prepare_commit(&mut self, checkpoint_id: u64) -> engine::Result<Vec<Committable>> {
        let mut outside = self.sink.0.lock().unwrap();
        let key = (self.context.operator_id.clone(), self.context.task, checkpoint_id);
        let before = outside.prepared.insert(key, std::mem::take(&mut self.rows));
        assert!(before.is_none(), "checkpoint {checkpoint_id} was prepared twice");
        let own =
            outside.prepared.keys().filter(|k| k.0 == self.context.operator_id && k.1 == self.context.task);
        Ok(own.map(|k| Committable { text: serde_json::to_string(&(k.2, k.1)).unwrap() }).collect())
    }

    fn commit(&mut self, checkpoint_id: u64) -> engine::Result<()> {
        let mut outside = self.sink.0.lock().unwrap();
        let own = |k: &(String, usize, u64)| {
            k.0 == self.context.operator_id && k.1 == self.context.task && k.2 <= checkpoint_id
        };
        let ready: Vec<_> = outside.prepared.keys().filter(|k| own(k)).cloned().collect();
        for key in ready {
            let rows = outside.prepared.remove(&key).unwrap();
            outside.published.extend(rows);
        }
        Ok(())
    }

    fn finish(&mut self) -> engine::Result<()> {
        assert!(!self.context.checkpointing || self.rows.is_empty(), "rows after the last checkpoint");
        let rows = std::mem::take(&mut self.rows);
        self.sink.0.lock().unwrap().published.extend(rows);
        Ok(())
    }
}

/// Queries that were really killed in the middle of their rows: a test of recovery that never does so tests nothing.
pub static KILLED_IN_THE_MIDDLE: AtomicUsize = AtomicUsize::new(0);

/// Runs the statements of `text`, whose `${PARALLELISM}` is put in. Each query is run to its end once; then again, at
/// parallelism `from`, until about half of the rows were read, when a checkpoint is taken and the job is killed; then
/// it goes on from that checkpoint at parallelism `to`. Gives what the sink published in the last two runs together.
/// State is kept within `memory`.
pub fn run_in_two(
    text: &str,
    from: usize,
    to: usize,
    memory: Arc<MemoryBudget>,
) -> Vec<Result<Answer, Error>> {
    let at = |parallelism: usize| text.replace("${PARALLELISM}", &parallelism.to_string());
    let (mut before, mut after) = (Runner::new(), Runner::new());
    let pieces = |text: String| sql::split(&text);
    let (first, second) = match (pieces(at(from)), pieces(at(to))) {
        (Ok(first), Ok(second)) => (first, second),
        (Err(e), _) | (_, Err(e)) => return vec![Err(e)],
    };
    let mut answers = Vec::new();
    for (one, two) in first.iter().zip(&second) {
        if !matches!(sql::parse(one), Ok(Statement::Query(_))) {
            let zone = before.session.config().zone();
            let outcomes = (before.session.execute(one), after.session.execute(two));
            match outcomes {
                (Ok(Outcome::Rows { schema, batches }), Ok(_)) => {
                    let batches: Vec<_> = batches.into_iter().map(ChangeBatch::inserts).collect();
                    answers.push(Ok(shown(&schema, &batches, zone)));
                }
                (Ok(Outcome::Job(one)), Ok(Outcome::Job(two))) => {
                    for job in [one, two] {
                        if let Err(e) = job.wait(Some(PATIENCE)).expect("the job ends") {
                            answers.push(Err(e));
                        }
                    }
                }
                (Ok(_), Ok(_)) => {}
                (Err(e), _) | (_, Err(e)) => answers.push(Err(e)),
            }
            continue;
        }
        let zone = before.session.config().zone();
        let sink = CommittingSink::default();
        let plans = (
            before.session.plan_into(one, Arc::new(CommittingSink::default())),
            before.session.plan_into(one, Arc::new(sink.clone())),
            after.session.plan_into(two, Arc::new(sink.clone())),
        );
        match plans {
            (Ok((whole, _)), Ok((half, schema)), Ok((rest, _))) => {
                let plans = [whole, half, rest];
                let max_parallelism = before.session.config().max_parallelism();
                let result = in_two(plans, &before, max_parallelism, &memory);
                answers.push(result.map(|()| shown(&schema, &sink.published(), zone)));
            }
            (Err(e), ..) | (_, Err(e), _) | (.., Err(e)) => answers.push(Err(e)),
        }
    }
    answers
}

fn in_two(
    [whole, half, rest]: [StreamPlan; 3],
    runner: &Runner,
    max_parallelism: usize,
    memory: &Arc<MemoryBudget>,
) -> Result<(), Error> {
    let folder = tempfile::tempdir().unwrap();
    let storage = CheckpointStorage::open(&folder.path().display().to_string(), runner.handle())?;
    let options = || JobOptions {
        max_parallelism,
        batch_rows: BATCH_ROWS,
        memory: memory.clone(),
        checkpointing: Some(CheckpointOptions::new(storage.clone())),
        ..JobOptions::new("recovery", Arc::new(SystemClock), runner.handle().clone())
    };
    let job = runtime::start(whole, JobOptions { checkpointing: None, ..options() })?;
    job.wait(Some(PATIENCE)).expect("the job ends")?;
    let all = job.progress().rows_in;
    let middle = all / 2;

    let gate = ReadGate::after(middle);
    let job = runtime::start(half, JobOptions { gate: Some(gate), ..options() })?;
    let deadline = Instant::now() + PATIENCE;
    while job.progress().rows_in < middle && job.wait(Some(Duration::from_millis(1))).is_none() {
        assert!(Instant::now() < deadline, "{:?}", job.progress());
    }
    match job.checkpoint() {
        Ok(_) => {
            job.cancel();
            job.wait(Some(PATIENCE)).expect("the job ends")?;
            let read = job.progress().rows_in;
            if read > 0 && read < all {
                KILLED_IN_THE_MIDDLE.fetch_add(1, Ordering::Relaxed);
            }
        }
        // All that it wanted was read before the middle.
        Err(error) => return job.wait(Some(PATIENCE)).expect("the job ends").map_err(|e| e.within(error)),
    }
    // A later one may have been begun when the job was killed: it is passed over.
    let (manifest, passed) = storage.latest()?.expect("a checkpoint");
    let restore =
        RestoreOptions { manifest, storage: storage.clone(), ignore_unclaimed: false, notices: passed };
    let job = runtime::start(rest, JobOptions { restore: Some(restore), ..options() })?;
    match job.wait(Some(PATIENCE)) {
        Some(result) => result,
        None => panic!("the restored job hangs: {:?} {:?}", job.progress(), job.notices()),
    }
}

/// One life of a job that is killed, or its last, in which it comes to its end.
#[derive(Debug, Clone)]
pub struct Life {
    /// `parallelism.default`.
    pub parallelism: usize,
    /// After so many rows of this life a checkpoint is taken each time, and after the last one the job is killed;
    /// growing. Without any the job goes on to its end.
    pub checkpoints: Vec<u64>,
}

/// How a query is run by [`run_in_lives`].
#[derive(Debug, Clone)]
pub struct Lives {
    /// One after the other, each from the last checkpoint of the one before; the last takes no checkpoint.
    pub lives: Vec<Life>,
    /// Most rows in a batch of a source.
    pub batch_rows: usize,
    /// Budget for keyed state in bytes; what is beyond it is spilled.
    pub memory: Option<usize>,
}

/// Runs the query `piece` in several lives, and gives what its sink published in all of them together, and how many
/// times it was killed.
///
/// Errors: what the planner refuses, and what fails a job.
pub fn run_in_lives(runner: &mut Runner, piece: &Piece, how: &Lives) -> Result<(Answer, usize), Error> {
    let zone = runner.session.config().zone();
    let sink = CommittingSink::default();
    let folder = tempfile::tempdir().unwrap();
    let storage = CheckpointStorage::open(&folder.path().display().to_string(), runner.handle())?;
    let memory = match how.memory {
        Some(bytes) => MemoryBudget::new(bytes, folder.path().join("spilled")),
        None => MemoryBudget::unlimited(),
    };
    let mut restore = None;
    for (kills, Life { parallelism, checkpoints }) in how.lives.iter().enumerate() {
        runner.session.config_mut().set("parallelism.default", &parallelism.to_string())?;
        let (plan, schema) = runner.session.plan_into(piece, Arc::new(sink.clone()))?;
        let gate = checkpoints.first().map(|first| ReadGate::after(*first));
        let options = JobOptions {
            max_parallelism: runner.session.config().max_parallelism(),
            batch_rows: how.batch_rows,
            memory: memory.clone(),
            // A job of one life needs none.
            checkpointing: (how.lives.len() > 1).then(|| CheckpointOptions::new(storage.clone())),
            restore: restore.take(),
            gate: gate.clone(),
            ..JobOptions::new("lives", Arc::new(SystemClock), runner.handle().clone())
        };
        let job = runtime::start(plan, options)?;
        let ended = |job: &JobHandle| match job.wait(Some(PATIENCE)) {
            Some(result) => result.map(|()| (shown(&schema, &sink.published(), zone), kills)),
            None => panic!("the job hangs: {:?} {:?}", job.progress(), job.notices()),
        };
        let mut is_alive = true;
        for rows in checkpoints {
            gate.as_ref().expect("made with the checkpoints").move_to(*rows);
            // A gate also holds back rows that are no source's: where there are some, less comes than asked for.
            let (mut read, mut since) = (0, Instant::now());
            while read < *rows
                && since.elapsed() < STALLED
                && job.wait(Some(Duration::from_millis(1))).is_none()
            {
                let now = job.progress().rows_in;
                if now > read {
                    (read, since) = (now, Instant::now());
                }
            }
            // It cannot be taken when all was read, and the job has come to its end.
            is_alive = is_alive && job.checkpoint().is_ok();
        }
        if checkpoints.is_empty() || !is_alive {
            return ended(&job);
        }
        job.cancel();
        job.wait(Some(PATIENCE)).expect("the job ends")?;
        let (manifest, notices) = storage.latest()?.expect("a checkpoint");
        restore =
            Some(RestoreOptions { manifest, storage: storage.clone(), ignore_unclaimed: false, notices });
    }
    panic!("the last life takes no checkpoint");
}

fn shown(schema: &SchemaRef, batches: &[ChangeBatch], zone: Tz) -> Answer {
    let changes = batches
        .iter()
        .flat_map(|b| (0..b.num_rows()).map(move |r| (b.kind(r), cells(b.records(), schema, r, zone))));
    answer(schema, changes.collect())
}
