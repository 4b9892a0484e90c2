//! The sink is killed at every one of its steps, in processes of its own: no row is lost, doubled or seen too early.

use super::*;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use catalog::ObjectName;
use engine::connector::{Committable, Metrics, RecoverContext, WriterContext};
use engine::message::ChangeBatch;
use engine::time::MockClock;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const DIRECTORY: &str = "RUNNEL_TEST_FILES";
const ROWS: i64 = 400;
const BATCH: i64 = 8;
const BATCHES_PER_CHECKPOINT: i64 = 4;

/// What stands in for the checkpoint.
#[derive(Default, Serialize, Deserialize)]
struct Manifest {
    checkpoint_id: u64,
    next: i64,
    prepared: Vec<Committable>,
}

impl Manifest {
    fn read(directory: &Path) -> Self {
        let text = std::fs::read_to_string(directory.join("manifest")).ok();
        text.map(|t| serde_json::from_str(&t).unwrap()).unwrap_or_default()
    }

    fn write(&self, directory: &Path) {
        let new = directory.join("manifest.new");
        std::fs::write(&new, serde_json::to_string(self).unwrap()).unwrap();
        std::fs::rename(new, directory.join("manifest")).unwrap();
    }
}

fn table(directory: &Path) -> TableContext {
    let path = directory.join("table");
    let options = [
        ("connector", "filesystem"),
        ("path", path.to_str().unwrap()),
        ("format", "json"),
        ("sink.rolling-policy.file-size", "400 b"),
    ];
    TableContext {
        name: ObjectName::new("c", "d", "t"),
        options: options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        physical: Arc::new(Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("p", DataType::Utf8, true),
        ])),
        metadata: Vec::new(),
        partitioned_by: vec!["p".into()],
        primary_key: Vec::new(),
        zone: chrono_tz::UTC,
        clock: Arc::new(MockClock::at(0)),
    }
}

/// One run of the job, from its checkpoint to its end. Not a test by itself: the others start it as a process.
#[test]
fn child() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let directory = PathBuf::from(directory);
    let table = table(&directory);
    let sink = Filesystem.sink(&table).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut manifest = Manifest::read(&directory);
    let context = RecoverContext {
        runtime: runtime.handle().clone(),
        operator_id: "sink".into(),
        parallelism: 1,
        checkpoint_id: (manifest.checkpoint_id > 0).then_some(manifest.checkpoint_id),
    };
    sink.recover(&context, &manifest.prepared).unwrap();
    let mut writer = sink
        .writer(WriterContext {
            schema: table.physical.clone(),
            runtime: runtime.handle().clone(),
            clock: Arc::new(MockClock::at(0)),
            task: 0,
            parallelism: 1,
            operator_id: "sink".into(),
            checkpointing: true,
            restored_from: context.checkpoint_id,
            metrics: Arc::new(Metrics::default()),
        })
        .unwrap();
    while manifest.next < ROWS {
        for _ in 0..BATCHES_PER_CHECKPOINT {
            let numbers = manifest.next..(manifest.next + BATCH).min(ROWS);
            manifest.next = numbers.end;
            let partitions = StringArray::from_iter_values(numbers.clone().map(|n| (n % 3).to_string()));
            let numbers = Int64Array::from_iter_values(numbers);
            let columns: Vec<ArrayRef> = vec![Arc::new(numbers), Arc::new(partitions)];
            let batch = RecordBatch::try_new(table.physical.clone(), columns).unwrap();
            writer.write(ChangeBatch::inserts(batch)).unwrap();
            writer.flush().unwrap();
        }
        manifest.checkpoint_id += 1;
        manifest.prepared = writer.prepare_commit(manifest.checkpoint_id).unwrap();
        manifest.write(&directory);
        writer.commit(manifest.checkpoint_id).unwrap();
    }
    writer.finish().unwrap();
    std::fs::write(directory.join("done"), "").unwrap();
}

/// Runs until the end or the first kill.
fn run(directory: &Path, failpoints: &str) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "filesystem::crash_tests::child", "--nocapture"])
        .env(DIRECTORY, directory)
        .env("RUNNEL_FAILPOINTS", failpoints)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains("panicked"), "{failpoints}: {text}");
    look(directory);
}

/// Files below the table, visible or hidden.
fn files(directory: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut visible, mut hidden) = (Vec::new(), Vec::new());
    let Ok(folders) = std::fs::read_dir(directory.join("table")) else { return (visible, hidden) };
    for folder in folders {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let is_hidden = path.file_name().unwrap().to_str().unwrap().starts_with('.');
            if is_hidden { hidden.push(path) } else { visible.push(path) }
        }
    }
    (visible, hidden)
}

/// What a reader sees: whole rows, none twice, none of a checkpoint that is not complete. Gives their number.
fn look(directory: &Path) -> usize {
    let next = Manifest::read(directory).next;
    let mut seen = Vec::new();
    for file in files(directory).0 {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.ends_with('\n'), "{} ends in a row", file.display());
        for line in text.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let n = row["n"].as_i64().unwrap();
            let folder = format!("p={}", n % 3);
            assert!(file.parent().unwrap().ends_with(folder), "{line} is in {}", file.display());
            seen.push(n);
        }
    }
    let count = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), count, "rows are doubled");
    assert!(seen.iter().all(|n| *n < next), "rows of no complete checkpoint: {seen:?} up to {next}");
    count
}

fn all_is_there(directory: &Path, what: &str) {
    assert_eq!(look(directory), ROWS as usize, "{what}");
}

#[test]
fn killed_at_each_step_nothing_is_lost_or_doubled() {
    let steps: Vec<&str> =
        engine::failpoint::NAMES.iter().copied().filter(|n| n.starts_with("filesystem.")).collect();
    assert!(steps.len() >= 8);
    for step in steps {
        for nth in [1, 2, 7, 20] {
            let directory = TempDir::new().unwrap();
            let directory = directory.path();
            // Steps of a recovery are only passed where there is something to recover.
            if step.contains("recover") {
                run(directory, "filesystem.prepare=kill@4");
            }
            run(directory, &format!("{step}=kill@{nth}"));
            let first = Manifest::read(directory).checkpoint_id == 0;
            if !directory.join("done").exists() {
                // In the recovery too.
                run(directory, "filesystem.recover-truncate=kill@2");
                run(directory, "filesystem.publish=kill@2");
                run(directory, "filesystem.recover-remove=kill@1");
                run(directory, "");
            }
            assert!(directory.join("done").exists());
            all_is_there(directory, &format!("{step}=kill@{nth}"));
            let hidden = files(directory).1;
            // What a run before the first checkpoint began is known to nobody, and hidden.
            assert!(hidden.is_empty() || first, "{step}=kill@{nth}: {hidden:?}");
        }
    }
}

#[test]
fn killed_again_and_again_nothing_is_lost_or_doubled() {
    let steps: Vec<&str> =
        engine::failpoint::NAMES.iter().copied().filter(|n| n.starts_with("filesystem.")).collect();
    for seed in 0..4 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let directory = TempDir::new().unwrap();
        for _ in 0..15 {
            let step = steps[rng.random_range(0..steps.len())];
            run(directory.path(), &format!("{step}=kill@{}", rng.random_range(1..30)));
        }
        run(directory.path(), "");
        all_is_there(directory.path(), &format!("seed {seed}"));
        // Starting once more from the last checkpoint changes nothing.
        run(directory.path(), "");
        all_is_there(directory.path(), &format!("seed {seed}, again"));
    }
}

#[test]
fn other_jobs_files_are_left_alone_and_broken_ones_are_told() {
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    run(directory, "filesystem.prepared=kill@3");
    let manifest = Manifest::read(directory);
    let folder = directory.join("table/p=1");
    std::fs::create_dir_all(&folder).unwrap();
    let theirs = folder.join(".part-x-0-0.inprogress.another-job");
    std::fs::write(&theirs, "{").unwrap();
    // A file that the checkpoint counts on has lost rows.
    let (_, hidden) = files(directory);
    let prepared = |path: &PathBuf| {
        let name =
            path.file_name().unwrap().to_str().unwrap()[1..].split(".inprogress").next().unwrap().to_string();
        manifest
            .prepared
            .iter()
            .any(|c| c.text.contains(&format!("\"{name}\"")) && !c.text.contains("\"bytes\":0"))
    };
    let ours = hidden.iter().find(|p| prepared(p)).unwrap();
    let whole = std::fs::read(ours).unwrap();
    std::fs::write(ours, "").unwrap();
    let sink = Filesystem.sink(&table(directory)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let context = RecoverContext {
        runtime: runtime.handle().clone(),
        operator_id: "sink".into(),
        parallelism: 1,
        checkpoint_id: Some(manifest.checkpoint_id),
    };
    let error = sink.recover(&context, &manifest.prepared).unwrap_err();
    assert!(error.message().contains("rows would be lost"), "{error}");
    std::fs::write(ours, whole).unwrap();
    run(directory, "");
    all_is_there(directory, "after the repair");
    assert_eq!(files(directory).1, [theirs]);
}
