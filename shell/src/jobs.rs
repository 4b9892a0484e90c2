//! `runnel jobs` and `runnel job …`: what a server's jobs do, as text or JSON.

use crate::args::{Args, JobAction, JobName, Output};
use crate::host;
use crate::render::cells::{grouped, width};
use crate::script::Failed;
use engine::Error;
use engine::session::{JobHost, JobLine};
use serde_json::Value;
use server::Client;
use server::log::timestamp;
use server::model::{Detail, Failure, JobState, Start, Stop, Summary, TakeSavepoint};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// How long is waited for a job to run, in seconds; it goes on starting afterwards.
const RUNNING_PATIENCE_SECONDS: u64 = 15;
/// How often its state is asked for, in milliseconds.
const RUNNING_TICK_MS: u64 = 10;
/// How often the log is asked for more, in milliseconds.
const FOLLOW_MS: u64 = 250;
/// Entries of the history that are shown.
const SHOWN_HISTORY: usize = 15;

/// `runnel jobs`.
pub fn list(args: &Args, server: &crate::args::ServerDir) -> Result<(), Failed> {
    let jobs = host::find(server)?.jobs()?;
    if args.output == Some(Output::Json) {
        return jobs.iter().try_for_each(json);
    }
    if jobs.is_empty() {
        println!("There are no jobs. Deploy one: runnel deploy FILE.sql");
        return Ok(());
    }
    let header = ["NAME", "STATUS", "UPTIME", "RESTARTS", "ROWS IN", "ROWS OUT", "CHECKPOINT", "ID"];
    let mut rows = vec![header.map(String::from).to_vec()];
    rows.extend(jobs.iter().map(|job| {
        let progress = &job.progress;
        vec![
            job.name.clone(),
            job.status.to_string(),
            if job.uptime_ms < 0 { "-".into() } else { span(job.uptime_ms) },
            grouped(job.restarts),
            grouped(progress.rows_in),
            grouped(progress.rows_out),
            checkpoint(job),
            job.id.clone(),
        ]
    }));
    print(&aligned(&rows))
}

/// `runnel job …`.
pub fn run(args: &Args, action: &JobAction) -> Result<(), Failed> {
    let client = |job: &JobName| host::find(&job.server);
    match action {
        JobAction::Describe(job) => {
            let detail = client(job)?.describe(&job.name)?;
            if args.output == Some(Output::Json) { json(&detail) } else { print(&described(&detail)) }
        }
        JobAction::Logs { job, follow, lines, out } => {
            let (client, raw) = (client(job)?, *out || args.output == Some(Output::Json));
            let mut page = client.logs(&job.name, *out, None, *lines)?;
            loop {
                let text: String =
                    page.lines.iter().map(|l| if raw { format!("{l}\n") } else { record(l) }).collect();
                print(&text)?;
                if !follow {
                    return Ok(());
                }
                if page.lines.is_empty() {
                    std::thread::sleep(Duration::from_millis(FOLLOW_MS));
                }
                page = client.logs(&job.name, *out, Some(page.next), *lines)?;
            }
        }
        JobAction::Stop { job, no_savepoint, drain, to } => {
            let stop = Stop { savepoint: !no_savepoint, drain: *drain, directory: absolute(to.as_deref()) };
            match client(job)?.stop(&job.name, &stop)?.savepoint {
                Some(path) => println!("Job {} has stopped. Its state is in the savepoint\n{path}", job.name),
                None => println!("Job {} has stopped. It starts again from its last checkpoint.", job.name),
            }
            println!("`runnel job start {}` goes on from there.", job.name);
            Ok(())
        }
        JobAction::Start { job, from_savepoint, fresh } => {
            let start = Start { from_savepoint: from_savepoint.clone(), fresh: *fresh };
            let client = client(job)?;
            client.start(&job.name, &start)?;
            wait_until_it_runs(&client, &job.name)
        }
        JobAction::Savepoint { job, to } => {
            let take = TakeSavepoint { directory: absolute(to.as_deref()) };
            if let Some(path) = client(job)?.savepoint(&job.name, &take)?.savepoint {
                println!("{path}");
            }
            Ok(())
        }
        JobAction::Delete(job) => {
            client(job)?.delete(&job.name)?;
            println!("Job {} is deleted. Its savepoints stay.", job.name);
            Ok(())
        }
    }
}

/// The jobs of the server that is found by its folder, for statements about jobs.
pub struct ServerJobs(pub crate::args::ServerDir);

impl JobHost for ServerJobs {
    fn jobs(&self) -> engine::Result<Vec<JobLine>> {
        let Some(client) = Client::find(&host::folder(&self.0))? else { return Ok(Vec::new()) };
        let line = |job: Summary| JobLine {
            id: job.id,
            name: job.name,
            status: job.status.to_string(),
            start_ms: job.start_ms,
        };
        Ok(client.jobs()?.into_iter().map(line).collect())
    }

    fn stop(&self, id: &str, savepoint: bool, drain: bool) -> engine::Result<Option<String>> {
        let taken = host::find(&self.0)?.stop(id, &Stop { savepoint, drain, directory: None })?;
        Ok(taken.savepoint)
    }
}

/// A path on this machine begins at this folder, not at the server's.
fn absolute(path: Option<&str>) -> Option<String> {
    let path = path?;
    if path.contains("://") {
        return Some(path.to_string());
    }
    Some(std::path::absolute(path).map_or_else(|_| path.to_string(), |p| p.display().to_string()))
}

/// Waits until a job that is being started runs or does not, and says so.
pub fn wait_until_it_runs(client: &Client, name: &str) -> Result<(), Failed> {
    let since_ms = client.describe(name)?.summary.start_ms;
    let deadline = Instant::now() + Duration::from_secs(RUNNING_PATIENCE_SECONDS);
    loop {
        let job = client.describe(name)?;
        let (name, status) = (&job.summary.name, job.summary.status);
        let done = status.is_final() || matches!(status, JobState::Running | JobState::Restarting);
        if !done && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(RUNNING_TICK_MS));
            continue;
        }
        // What it starts from, and what has become of its state.
        for event in job.history.iter().filter(|h| h.at_ms >= since_ms && is_news(&h.what)) {
            println!("{}", event.what);
        }
        println!("Job {name} ({}) is {status}.", job.summary.id);
        if let Some(failure) = job.failure.filter(|_| status != JobState::Running) {
            eprint!("{}", failure_text(&failure));
            if status == JobState::Failed {
                return Err(Failed::Shown);
            }
        }
        println!("  runnel job describe {name}   how it is");
        println!("  runnel job logs {name} -f    what it says");
        println!("  runnel job stop {name}       a savepoint, and stop");
        return Ok(());
    }
}

/// Whether a line of the history says more than that states have changed or commands were obeyed.
fn is_news(what: &str) -> bool {
    let usual =
        ["It was deployed.", "It was started.", "Its script was replaced.", "It failed: ", "Savepoint "];
    !what.contains(" switched from ") && !usual.iter().any(|u| what.starts_with(u))
}

fn print(text: &str) -> Result<(), Failed> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // A reader that has gone away (`| head`) has read enough.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(Failed::Shown),
        Err(e) => Err(Error::external(format!("The text cannot be written: {e}.")).into()),
        Ok(()) => Ok(()),
    }
}

fn json(value: &impl serde::Serialize) -> Result<(), Failed> {
    let text = serde_json::to_string(value).map_err(|e| Error::internal(format!("{e}.")))?;
    print(&format!("{text}\n"))
}

/// Columns of equal width, two blanks apart.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> =
        (0..columns).map(|c| rows.iter().map(|r| width(&r[c])).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, wide) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(wide - width(cell) + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn checkpoint(job: &Summary) -> String {
    match &job.checkpoints.last {
        Some(last) => format!("{} ({})", last.id, size(last.bytes)),
        None => "-".to_string(),
    }
}

/// `1d 2h`, `3m 4s`, `250 ms`.
fn span(ms: i64) -> String {
    let seconds = ms / 1000;
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, 0) => format!("{ms} ms"),
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m {s}s"),
        (0, h, m, _) => format!("{h}h {m}m"),
        (d, h, ..) => format!("{d}d {h}h"),
    }
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// One line of the log for people: time, level, message.
fn record(line: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(line) else { return format!("{line}\n") };
    let field = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    format!("{} {:<5} {}\n", field("timestamp"), field("messageType"), field("message"))
}

/// Why a job failed, as errors are shown.
fn failure_text(failure: &Failure) -> String {
    let mut text = format!("error: {}\n", failure.message);
    if let Some((line, column)) = failure.place {
        let _ = writeln!(text, "  --> line {line}, column {column} of the script");
    }
    if let Some(hint) = &failure.hint {
        let _ = writeln!(text, "hint: {hint}");
    }
    text
}

fn described(job: &Detail) -> String {
    let (summary, progress) = (&job.summary, &job.summary.progress);
    let mut lines: Vec<(&str, String)> = vec![
        ("job", format!("{} ({})", summary.name, summary.id)),
        ("status", summary.status.to_string()),
        ("script", format!("{}, version {}", job.origin, job.version)),
        ("started", timestamp(summary.start_ms)),
    ];
    if summary.uptime_ms >= 0 {
        lines.push(("uptime", span(summary.uptime_ms)));
    }
    if summary.downtime_ms > 0 {
        lines.push(("downtime", span(summary.downtime_ms)));
    }
    lines.push(("restarts", format!("{}. {}", summary.restarts, job.restart_strategy)));
    if let Some(pid) = job.pid {
        lines.push(("process", pid.to_string()));
    }
    if let Some(parallelism) = job.parallelism {
        lines.push(("parallelism", parallelism.to_string()));
    }
    if let Some(bytes) = job.memory {
        lines.push(("memory", size(bytes)));
    }
    lines.push((
        "rows in",
        format!("{} ({:.0} a second)", grouped(progress.rows_in), progress.rows_in_per_second),
    ));
    lines.push((
        "rows out",
        format!("{} ({:.0} a second)", grouped(progress.rows_out), progress.rows_out_per_second),
    ));
    for (count, what) in [
        (progress.late_rows, "late"),
        (progress.null_time_rows, "without time"),
        (progress.skipped_rows, "unreadable"),
    ] {
        if count > 0 {
            lines.push((what, format!("{} rows dropped", grouped(count))));
        }
    }
    if let Some(watermark) = progress.watermark_ms {
        lines.push(("watermark", timestamp(watermark)));
    }
    for source in &progress.sources {
        let lag = match (source.lag, source.connector.as_str()) {
            (..0, _) => String::new(),
            (lag, "kinesis") => format!(", {lag} ms behind"),
            (lag, _) => format!(", {} records behind", grouped(lag as u64)),
        };
        lines.push(("source", format!("{}: {} rows{lag}", source.table, grouped(source.rows))));
    }
    for task in &progress.tasks {
        let percent = |ms: f64| (ms / 10.0).round();
        lines.push((
            "task",
            format!(
                "{} × {}: {} % busy, {} % back-pressured, {} % idle",
                task.name,
                task.parallelism,
                percent(task.busy_ms_per_second),
                percent(task.back_pressured_ms_per_second),
                percent(task.idle_ms_per_second)
            ),
        ));
    }
    for reason in &progress.silence {
        lines.push(("silent", reason.clone()));
    }
    let checkpoints = &summary.checkpoints;
    lines.push((
        "checkpoints",
        match &checkpoints.last {
            Some(last) => format!(
                "{} complete, {} failed; the last, number {}, {} in {} ms at {}",
                checkpoints.completed,
                checkpoints.failed,
                last.id,
                size(last.bytes),
                last.duration_ms,
                timestamp(last.at_ms)
            ),
            None => format!("none complete, {} failed", checkpoints.failed),
        },
    ));
    if let Some(failure) = &checkpoints.failure {
        lines.push(("", failure.clone()));
    }
    if let Some(path) = &job.restored_from {
        lines.push(("resumes from", path.clone()));
    }
    if let Some(path) = &job.savepoint {
        lines.push(("savepoint", path.clone()));
    }
    if let Some(failure) = &job.failure {
        lines.push(("last failure", format!("{} {}", timestamp(failure.at_ms), failure.message)));
        if let Some(hint) = &failure.hint {
            lines.push(("", hint.clone()));
        }
    }
    lines.push(("folder", job.folder.clone()));
    let wide = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text: String = lines.iter().map(|(name, value)| format!("{name:wide$}  {value}\n")).collect();
    text.push_str("\nhistory\n");
    for event in job.history.iter().skip(job.history.len().saturating_sub(SHOWN_HISTORY)) {
        let _ = writeln!(text, "  {} {}", timestamp(event.at_ms), event.what);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes() {
        assert_eq!(
            ["250 ms", "4s", "3m 4s", "2h 3m", "1d 2h"],
            [span(250), span(4999), span(184_000), span(7_400_000), span(93_600_000)]
                .each_ref()
                .map(String::as_str)
        );
        assert_eq!((size(5), size(1536), size(3 << 30)), ("5 B".into(), "1.5 KB".into(), "3.0 GB".into()));
    }

    #[test]
    fn records_become_lines() {
        let json = r#"{"timestamp":"T","messageType":"INFO","message":"It runs.","jobId":"1"}"#;
        assert_eq!(record(json), "T INFO  It runs.\n");
        assert_eq!(record("no json"), "no json\n");
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["NAME".to_string(), "N".into()], vec!["é".into(), "12".into()]];
        assert_eq!(aligned(&rows), "NAME  N\né     12\n");
    }
}
