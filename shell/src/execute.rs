//! One statement: executed, and its outcome shown in the form asked for.

use crate::args::Output;
use crate::paragraph::{Properties, ResultType};
use crate::render::live::{self, Settings};
use crate::render::tableau::{BatchTableau, Tableau};
use crate::render::{
    ResultWriter, cells, cells::grouped, changelog::Changelog, csv, csv::Csv, json, json::Json, tableau,
    template,
};
use crate::wiring::Process;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use engine::message::ChangeBatch;
use engine::outcome::Query;
use engine::runtime::{JobHandle, ResultEvent};
use engine::sql::Piece;
use engine::{Error, Outcome, Result};
use std::io::{self, Write};
use std::time::Duration;

/// How long to wait for rows before looking at Ctrl-C, in milliseconds.
const TICK_MS: u64 = 50;
/// How long a cancelled job may take to stop, in milliseconds.
const STOP_PATIENCE_MS: u64 = 10_000;
const BATCH_MODE: &str = "execution.runtime-mode";

/// How a statement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It is done.
    Done,
    /// The user stopped it.
    Interrupted,
}

/// Executes one statement and shows its outcome. In the shell (`interactive`) an INSERT goes on in the
/// background, and its handle comes back through `background`.
pub fn statement(
    process: &mut Process,
    piece: &Piece,
    properties: &Properties,
    interactive: bool,
) -> Result<Ended> {
    if let Some(parallelism) = properties.parallelism {
        process.session.config_mut().set("parallelism.default", &parallelism.to_string())?;
    }
    let before = process.session.config().get(BATCH_MODE).map(String::from);
    if properties.batch {
        process.session.config_mut().set(BATCH_MODE, "batch")?;
    }
    let outcome = process.session.execute(piece);
    if properties.batch {
        let config = process.session.config_mut();
        match before {
            Some(mode) => config.set(BATCH_MODE, &mode)?,
            None => config.reset(BATCH_MODE),
        }
    }
    match outcome? {
        Outcome::Done => {
            if interactive {
                println!("[INFO] Execute statement succeeded.");
            }
            Ok(Ended::Done)
        }
        Outcome::Rows { schema, batches } => finished(process, &schema, &batches).map(|()| Ended::Done),
        Outcome::Query(query) => self::query(process, query, properties),
        Outcome::Job(job) if interactive && !process.session.config().boolean("table.dml-sync") => {
            println!("[INFO] Submitting SQL update statement to the cluster...");
            println!("[INFO] SQL update statement has been successfully submitted to the cluster:");
            println!("Job ID: {}\n", job.id());
            process.background.push(job);
            Ok(Ended::Done)
        }
        Outcome::Job(job) => wait(process, &job),
    }
}

/// Waits for a job's end; Ctrl-C stops it cleanly.
fn wait(process: &Process, job: &JobHandle) -> Result<Ended> {
    let mut told = 0;
    loop {
        let ended = job.wait(Some(Duration::from_millis(TICK_MS)));
        tell_notices(job, &mut told);
        if let Some(result) = ended {
            tell_losses(job);
            return result.map(|()| Ended::Done);
        }
        if process.interrupt.is_asked() {
            job.cancel();
            let result = stopped(job);
            tell_losses(job);
            return result.map(|()| Ended::Interrupted);
        }
    }
}

/// Says on standard error what else the user should know: checkpoints that failed or were passed over, restarts, keys that
/// do not fit into memory. `told` counts what was said before.
fn tell_notices(job: &JobHandle, told: &mut usize) {
    for notice in job.notices().iter().skip(*told) {
        eprintln!("note: {notice}");
        *told += 1;
    }
}

/// Says on standard error which rows the result lacks: where there is no status line, nobody else does.
fn tell_losses(job: &JobHandle) {
    let progress = job.progress();
    for (count, row, why) in [
        (progress.late_rows, "row", "came late: the windows had fired"),
        (progress.null_time_rows, "row", "had no event time (NULL), so no window to count in"),
        (progress.skipped_rows, "record", "could not be read in the table's format"),
    ] {
        if count > 0 {
            let s = if count == 1 { "" } else { "s" };
            eprintln!("note: {} {row}{s} left out that {why}.", grouped(count));
        }
    }
}

fn stopped(job: &JobHandle) -> Result<()> {
    match job.wait(Some(Duration::from_millis(STOP_PATIENCE_MS))) {
        Some(result) => result,
        None => Err(Error::internal(format!(
            "Job {} did not stop within {} s; the process ends without it.",
            job.id(),
            STOP_PATIENCE_MS / 1000
        ))),
    }
}

fn query(process: &Process, query: Query, properties: &Properties) -> Result<Ended> {
    let config = process.session.config();
    let zone = config.zone();
    let max_width = config.integer("sql-client.display.max-column-width") as usize;
    let max_rows = config.integer("sql-client.execution.max-table-result.rows") as usize;
    let (schema, with_op) = (query.schema.clone(), !query.changelog.is_append());
    let out = io::BufWriter::new(io::stdout());
    if properties.result_type == ResultType::Single && process.output != Output::Table {
        return pump(process, query, &mut Single::new(out, schema, zone, properties));
    }
    match process.output {
        Output::Table => {
            let settings = Settings { zone, max_width, max_rows, properties: properties.clone() };
            let ended = live::show(query, settings, &process.interrupt)?;
            Ok(if ended == live::Ended::Left && process.interrupt.is_termination() {
                Ended::Interrupted
            } else {
                Ended::Done
            })
        }
        Output::Tableau if query.batch => {
            let max_width = config.integer("table.display.max-column-width") as usize;
            pump(process, query, &mut BatchTableau::new(out, schema, zone, max_width, max_rows))
        }
        Output::Tableau => pump(process, query, &mut Tableau::new(out, schema, zone, max_width)),
        Output::Changelog => pump(process, query, &mut Changelog::new(out, schema, zone)),
        Output::Csv => pump(process, query, &mut Csv::new(out, schema, zone, with_op)),
        Output::Json => pump(process, query, &mut Json::new(out, schema, zone, with_op)),
    }
}

/// Writes a query's rows until it ends, the reader of our output goes away, or Ctrl-C.
fn pump(process: &Process, mut query: Query, writer: &mut dyn ResultWriter) -> Result<Ended> {
    if let Err(e) = writer.begin() {
        return broken(e);
    }
    loop {
        match query.results.next(Duration::from_millis(TICK_MS)) {
            ResultEvent::Batch(batch) => {
                if let Err(e) = writer.batch(&batch) {
                    query.results.job().cancel();
                    return broken(e);
                }
            }
            ResultEvent::Pending => {}
            ResultEvent::End(result) => {
                result?;
                let end = writer.end(false);
                tell_notices(query.results.job(), &mut 0);
                tell_losses(query.results.job());
                return end.map_or_else(broken, |()| Ok(Ended::Done));
            }
        }
        if process.interrupt.is_asked() {
            query.results.job().cancel();
            let end = writer.end(true);
            stopped(query.results.job())?;
            tell_notices(query.results.job(), &mut 0);
            tell_losses(query.results.job());
            return end.map_or_else(broken, |()| Ok(Ended::Interrupted));
        }
    }
}

/// A reader that has gone away (`| head`) is no error; a full disk is.
fn broken(e: io::Error) -> Result<Ended> {
    if e.kind() == io::ErrorKind::BrokenPipe {
        return Ok(Ended::Interrupted);
    }
    Err(Error::external(format!("The result cannot be written: {e}.")))
}

fn finished(process: &Process, schema: &SchemaRef, batches: &[RecordBatch]) -> Result<()> {
    let zone = process.session.config().zone();
    let names = || schema.fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
    let text = match process.output {
        Output::Csv => csv::finished(&tableau::all_rows(schema, batches, zone), &names()),
        Output::Json => batches
            .iter()
            .flat_map(|b| (0..b.num_rows()).map(move |r| json::object(b, schema, r, zone, None) + "\n"))
            .collect(),
        Output::Table | Output::Tableau | Output::Changelog => tableau::statement(schema, batches, zone),
    };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).or_else(|e| broken(e).map(drop))
}

/// `type=single` where there is no live table: the filled template whenever the row changes.
struct Single<W> {
    out: W,
    schema: SchemaRef,
    zone: chrono_tz::Tz,
    template: Option<String>,
}

impl<W: Write> Single<W> {
    fn new(out: W, schema: SchemaRef, zone: chrono_tz::Tz, properties: &Properties) -> Self {
        Self { out, schema, zone, template: properties.template.clone() }
    }
}

impl<W: Write> ResultWriter for Single<W> {
    fn begin(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn batch(&mut self, batch: &ChangeBatch) -> io::Result<()> {
        let last = (0..batch.num_rows()).rev().find(|r| batch.kind(*r).is_addition());
        if let Some(row) = last {
            let cells = cells::row(batch.records(), &self.schema, row, self.zone);
            let text = match &self.template {
                Some(t) => template::fill(t, &cells),
                None => cells.first().cloned().unwrap_or_default(),
            };
            writeln!(self.out, "{text}")?;
        }
        self.out.flush()
    }

    fn end(&mut self, _interrupted: bool) -> io::Result<()> {
        self.out.flush()
    }
}
