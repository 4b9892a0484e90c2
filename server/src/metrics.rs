//! `/metrics`: Prometheus text, with Flink's names as the Studio guide lists them.

use crate::host::Host;
use crate::model::{JobState, Source, SourceSplit, Summary, TaskTimes};
use std::fmt::Write;

/// One metric: name, kind, help, and its value for a job; `None` leaves the job out.
type JobMetric = (&'static str, &'static str, &'static str, fn(&Summary) -> Option<f64>);
/// The same for one partition or shard of a source.
type SplitMetric = (&'static str, &'static str, fn(&Source, &SourceSplit) -> Option<f64>);
/// The same for a source of a job.
type SourceMetric = (&'static str, &'static str, &'static str, fn(&Source) -> Option<f64>);

/// Metrics of a whole job: the label `operator` is empty.
const OF_JOBS: &[JobMetric] = &[
    ("uptime", "gauge", "Time without interruption in ms; -1 when it does not run.", |j| {
        Some(j.uptime_ms as f64)
    }),
    ("downtime", "gauge", "Time since the last failure in ms; 0 while it runs, -1 when it has ended.", |j| {
        Some(j.downtime_ms as f64)
    }),
    ("fullRestarts", "counter", "Restarts since the job was started.", |j| Some(j.restarts as f64)),
    ("numRecordsIn", "counter", "Rows read by all sources.", |j| Some(j.progress.rows_in as f64)),
    ("numRecordsOut", "counter", "Rows given to all sinks.", |j| Some(j.progress.rows_out as f64)),
    ("numRecordsInPerSecond", "gauge", "Rows read a second.", |j| Some(j.progress.rows_in_per_second)),
    ("numRecordsOutPerSecond", "gauge", "Rows given to sinks a second.", |j| {
        Some(j.progress.rows_out_per_second)
    }),
    ("numLateRecordsDropped", "counter", "Rows dropped because their windows had fired.", |j| {
        Some(j.progress.late_rows as f64)
    }),
    ("currentInputWatermark", "gauge", "Least watermark at the sinks in ms since the epoch.", |j| {
        j.progress.watermark_ms.map(|w| w as f64)
    }),
    ("currentOutputWatermark", "gauge", "Watermark passed on, in ms since the epoch.", |j| {
        j.progress.watermark_ms.map(|w| w as f64)
    }),
    ("numberOfCompletedCheckpoints", "counter", "Complete checkpoints since the job was started.", |j| {
        Some(j.checkpoints.completed as f64)
    }),
    ("numberOfFailedCheckpoints", "counter", "Failed checkpoints since the job was started.", |j| {
        Some(j.checkpoints.failed as f64)
    }),
    ("lastCheckpointSize", "gauge", "Bytes of the last complete checkpoint.", |j| {
        j.checkpoints.last.as_ref().map(|c| c.bytes as f64)
    }),
    ("lastCheckpointDuration", "gauge", "Time that the last complete checkpoint took in ms.", |j| {
        j.checkpoints.last.as_ref().map(|c| c.duration_ms as f64)
    }),
    ("managedMemoryUsed", "gauge", "Bytes of keyed state in memory.", |j| {
        (j.progress.memory_total > 0).then_some(j.progress.memory_used as f64)
    }),
    ("managedMemoryTotal", "gauge", "Memory budget of keyed state in bytes.", |j| {
        (j.progress.memory_total > 0).then_some(j.progress.memory_total as f64)
    }),
    ("managedMemoryUtilization", "gauge", "Keyed state in memory, in percent of its budget.", |j| {
        let Summary { progress, .. } = j;
        (progress.memory_total > 0)
            .then(|| progress.memory_used as f64 * 100.0 / progress.memory_total as f64)
    }),
    ("cpuUtilization", "gauge", "CPU time of the job's process, in percent of one core.", |j| {
        j.progress.cpu_percent
    }),
    ("threadsCount", "gauge", "Threads of the job's process.", |j| j.progress.threads.map(|t| t as f64)),
];

/// Metrics of each chain of operators: the label `task` is its name. Averages of its tasks.
const OF_TASKS: &[TaskMetric] = &[
    ("idleTimeMsPerSecond", "Time in each second without anything to do.", |t| t.idle_ms_per_second),
    (
        "backPressuredTimeMsPerSecond",
        "Time in each second in which what comes behind took nothing more.",
        |t| t.back_pressured_ms_per_second,
    ),
    ("busyTimeMsPerSecond", "The rest of each second.", |t| t.busy_ms_per_second),
];

/// Metrics of each source: the label `operator` is its table.
const OF_SOURCES: &[SourceMetric] = &[
    ("numRecordsIn", "counter", "", |s| Some(s.rows as f64)),
    ("numRecordsInPerSecond", "gauge", "", |s| Some(s.rows_per_second)),
    ("bytesConsumed", "counter", "Bytes read.", |s| Some(s.bytes as f64)),
    ("bytes_consumed_rate", "gauge", "Bytes read a second.", |s| {
        s.connector.contains("kafka").then_some(s.bytes_per_second)
    }),
    ("currentOutputWatermark", "gauge", "", |s| s.watermark_ms.map(|w| w as f64)),
    ("millisBehindLatest", "gauge", "How far reading is behind the stream's end in ms; -1 unknown.", |s| {
        (s.connector == "kinesis").then_some(s.lag as f64)
    }),
    ("records_lag_max", "gauge", "Records by which the last partition is behind its end; -1 unknown.", |s| {
        s.connector
            .contains("kafka")
            .then(|| s.splits.iter().filter_map(|p| p.lag).max().unwrap_or(-1) as f64)
    }),
    (
        "commitsSucceeded",
        "counter",
        "Commits of group offsets, which only show progress, that worked.",
        |s| s.connector.contains("kafka").then_some(s.commits_succeeded as f64),
    ),
    ("commitsFailed", "counter", "Commits of group offsets, which only show progress, that failed.", |s| {
        s.connector.contains("kafka").then_some(s.commits_failed as f64)
    }),
    ("currentoffsets", "gauge", "Offset of the last record read, by partition.", |_| None),
    ("committedoffsets", "gauge", "Offset that the group has committed, by partition.", |_| None),
];

/// Metrics of each partition or shard: the label is `partition` (Kafka) or `shardId` (Kinesis).
const OF_SPLITS: &[SplitMetric] = &[
    ("currentoffsets", "partition", |_, p| p.current_offset.map(|o| o as f64)),
    ("committedoffsets", "partition", |_, p| p.committed_offset.map(|o| o as f64)),
    ("millisBehindLatest", "shardId", |s, p| {
        (s.connector == "kinesis").then(|| p.lag.map(|lag| lag as f64)).flatten()
    }),
];

/// The same for the tasks of a chain of operators; all are gauges in ms.
type TaskMetric = (&'static str, &'static str, fn(&TaskTimes) -> f64);

/// States that are shown as `job_status{status="…"} 1`.
const STATUS: &str = "job_status";

/// The whole page.
pub fn text(host: &Host) -> String {
    let mut out = page(&host.list());
    header(&mut out, "process_uptime_seconds", "gauge", "Time since the server was started.");
    let _ = writeln!(out, "process_uptime_seconds {}", host.uptime_ms() as f64 / 1000.0);
    out
}

fn page(jobs: &[Summary]) -> String {
    let mut out = String::new();
    for (name, kind, help, value) in OF_JOBS {
        header(&mut out, name, kind, help);
        for job in jobs {
            if let Some(value) = value(job) {
                sample(&mut out, name, job, "", None, value);
            }
            let Some((_, _, _, of_source)) = OF_SOURCES.iter().find(|m| m.0 == *name) else { continue };
            for source in &job.progress.sources {
                if let Some(value) = of_source(source) {
                    sample(&mut out, name, job, &source.table, None, value);
                }
            }
        }
    }
    for (name, kind, help, value) in OF_SOURCES.iter().filter(|m| !OF_JOBS.iter().any(|j| j.0 == m.0)) {
        header(&mut out, name, kind, help);
        for job in jobs {
            for source in &job.progress.sources {
                if let Some(value) = value(source) {
                    sample(&mut out, name, job, &source.table, None, value);
                }
                for (_, label, value) in OF_SPLITS.iter().filter(|m| m.0 == *name) {
                    for split in &source.splits {
                        if let Some(value) = value(source, split) {
                            sample(&mut out, name, job, &source.table, Some((label, &split.split)), value);
                        }
                    }
                }
            }
        }
    }
    for (name, help, value) in OF_TASKS {
        header(&mut out, name, "gauge", help);
        for job in jobs {
            for task in &job.progress.tasks {
                sample(&mut out, name, job, "", Some(("task", &task.name)), value(task));
            }
        }
    }
    header(&mut out, STATUS, "gauge", "1 for the state that the job is in.");
    for job in jobs {
        let _ = writeln!(
            out,
            "{STATUS}{{job=\"{}\",job_id=\"{}\",status=\"{}\"}} 1",
            escaped(&job.name),
            job.id,
            JobState::word(job.status)
        );
    }
    out
}

fn header(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String does not fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn sample(
    out: &mut String,
    name: &str,
    job: &Summary,
    operator: &str,
    split: Option<(&str, &str)>,
    value: f64,
) {
    let (job_name, operator) = (escaped(&job.name), escaped(operator));
    let split = split.map_or(String::new(), |(label, of)| format!(",{label}=\"{}\"", escaped(of)));
    let _ = writeln!(
        out,
        "{name}{{job=\"{job_name}\",job_id=\"{}\",operator=\"{operator}\"{split}}} {value}",
        job.id
    );
}

/// A label's value.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Checkpoint, Checkpoints, Progress};

    #[test]
    fn names_are_flinks_and_labels_say_which_job_and_operator() {
        let sources = vec![
            Source {
                table: "c.d.k".into(),
                connector: "kafka".into(),
                rows: 3,
                lag: 13,
                bytes_per_second: 2.5,
                splits: vec![
                    SourceSplit {
                        split: "t-0".into(),
                        current_offset: Some(4),
                        committed_offset: Some(3),
                        lag: Some(9),
                    },
                    SourceSplit { split: "t-1".into(), lag: Some(4), ..SourceSplit::default() },
                ],
                ..Source::default()
            },
            Source {
                table: "c.d.s".into(),
                connector: "kinesis".into(),
                lag: 70,
                splits: vec![SourceSplit { split: "s-0".into(), lag: Some(70), ..SourceSplit::default() }],
                ..Source::default()
            },
        ];
        let last = Some(Checkpoint { bytes: 5, duration_ms: 6, ..Checkpoint::default() });
        let job = Summary {
            id: "1".into(),
            name: "a \"b\"".into(),
            status: JobState::Running,
            start_ms: 0,
            uptime_ms: 10,
            downtime_ms: 0,
            restarts: 2,
            progress: Progress {
                rows_in: 3,
                watermark_ms: Some(77),
                sources,
                tasks: vec![TaskTimes {
                    name: "0: Scan".into(),
                    idle_ms_per_second: 250.0,
                    ..TaskTimes::default()
                }],
                cpu_percent: Some(12.5),
                ..Progress::default()
            },
            checkpoints: Checkpoints { failed: 1, last, ..Checkpoints::default() },
        };
        let text = page(&[job]);
        for line in [
            "uptime{job=\"a \\\"b\\\"\",job_id=\"1\",operator=\"\"} 10",
            "numRecordsIn{job=\"a \\\"b\\\"\",job_id=\"1\",operator=\"c.d.k\"} 3",
            "records_lag_max{job=\"a \\\"b\\\"\",job_id=\"1\",operator=\"c.d.k\"} 9",
            "millisBehindLatest{job=\"a \\\"b\\\"\",job_id=\"1\",operator=\"c.d.s\"} 70",
            "millisBehindLatest{job=\"a \\\"b\\\"\",job_id=\"1\",operator=\"c.d.s\",shardId=\"s-0\"} 70",
            "currentoffsets{job=\"a \\\"b\\\"\",job_id=\"1\",operator=\"c.d.k\",partition=\"t-0\"} 4",
            "committedoffsets{job=\"a \\\"b\\\"\",job_id=\"1\",operator=\"c.d.k\",partition=\"t-0\"} 3",
            "bytes_consumed_rate{job=\"a \\\"b\\\"\",job_id=\"1\",operator=\"c.d.k\"} 2.5",
            "currentOutputWatermark{job=\"a \\\"b\\\"\",job_id=\"1\",operator=\"\"} 77",
            "currentInputWatermark{job=\"a \\\"b\\\"\",job_id=\"1\",operator=\"\"} 77",
            "fullRestarts{job=\"a \\\"b\\\"\",job_id=\"1\",operator=\"\"} 2",
            "lastCheckpointSize{job=\"a \\\"b\\\"\",job_id=\"1\",operator=\"\"} 5",
            "numberOfFailedCheckpoints{job=\"a \\\"b\\\"\",job_id=\"1\",operator=\"\"} 1",
            "idleTimeMsPerSecond{job=\"a \\\"b\\\"\",job_id=\"1\",operator=\"\",task=\"0: Scan\"} 250",
            "cpuUtilization{job=\"a \\\"b\\\"\",job_id=\"1\",operator=\"\"} 12.5",
            "job_status{job=\"a \\\"b\\\"\",job_id=\"1\",status=\"RUNNING\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing:\n{text}");
        }
        for name in ["numRecordsIn", "currentInputWatermark"] {
            let types = text.matches(&format!("# TYPE {name} ")).count();
            assert_eq!(types, 1, "a metric is declared once: {name}");
        }
    }
}
