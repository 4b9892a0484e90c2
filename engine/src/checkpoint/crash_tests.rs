//! The storage is killed at every one of its steps, in processes of its own: the last complete checkpoint is found.

use super::tests::{grown, open, read, small, texts, unkeyed};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const DIRECTORY: &str = "RUNNEL_TEST_CHECKPOINTS";
const CHECKPOINTS: u64 = 14;

/// One run of a job: goes back to the latest checkpoint, then takes some. Not a test by itself.
#[test]
fn child() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let directory = Path::new(&directory);
    let storage = open(directory);
    let mut last = storage.latest().unwrap().map(|(manifest, _)| manifest);
    storage.remove_unfinished().unwrap();
    let first = storage.next_checkpoint_id().unwrap();
    for id in first..first + CHECKPOINTS {
        let manifest = match &last {
            Some(base) if id % 4 != 0 && id != first => grown(&storage, base, id),
            _ => small(&storage, id, id as i64),
        };
        // As a commit is told to sinks: from here on this checkpoint must not be lost.
        std::fs::write(directory.with_extension("told.new"), id.to_string()).unwrap();
        std::fs::rename(directory.with_extension("told.new"), directory.with_extension("told")).unwrap();
        last = Some(manifest);
        storage.retain(1 + (id % 3) as usize).unwrap();
    }
}

/// Runs until the end or the first kill; then the newest checkpoint that was told is still there, and whole.
fn run(directory: &Path, failpoints: &str) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "checkpoint::crash_tests::child", "--nocapture"])
        .env(DIRECTORY, directory)
        .env("RUNNEL_FAILPOINTS", failpoints)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains("panicked"), "{failpoints}: {text}");
    let told = std::fs::read_to_string(directory.with_extension("told")).ok();
    let told: u64 = told.map_or(0, |t| t.parse().unwrap());
    let storage = open(directory);
    let latest = storage.latest().unwrap();
    let id = latest.as_ref().map_or(0, |(manifest, _)| manifest.checkpoint_id);
    assert!(id >= told && id <= told + 1, "{failpoints}: told {told}, there is {id}");
    if let Some((manifest, _)) = latest {
        let rows = read(&storage, &manifest.operators[0], 0, 1);
        assert_eq!(rows.len(), manifest.operators[0].instances[0].files.len());
        assert_eq!(texts(&rows[rows.len() - 1..]), texts(&[unkeyed(id as i64)]), "{failpoints}");
    }
}

#[test]
fn killed_at_each_step_no_complete_checkpoint_is_lost() {
    let steps: Vec<&str> =
        crate::failpoint::NAMES.iter().copied().filter(|n| n.starts_with("storage.")).collect();
    assert!(steps.len() >= 10);
    for step in steps {
        let root = TempDir::new().unwrap();
        let directory = root.path().join("job");
        let mut rng = SmallRng::seed_from_u64(7);
        for nth in [1, 2, 3, 5, 8, 13] {
            run(&directory, &format!("{step}=kill@{nth}"));
        }
        for _ in 0..2 {
            run(&directory, &format!("{step}=kill@{}", rng.random_range(1..200)));
        }
        run(&directory, "");
        // Nothing of the crashed runs stays.
        let storage = open(&directory);
        storage.remove_unfinished().unwrap();
        storage.retain(1).unwrap();
        let needed = storage.latest().unwrap().unwrap().0.operators[0].instances[0].files.len();
        let left: usize = storage.listing().unwrap().values().map(Vec::len).sum();
        assert_eq!(left, needed + 1, "{step}");
    }
}

#[test]
fn a_store_that_fails_at_any_step_gives_an_error_and_loses_nothing() {
    for step in ["storage.begin", "storage.write", "storage.finish", "storage.rename", "storage.created"] {
        let root = TempDir::new().unwrap();
        let directory = root.path().join("job");
        run(&directory, "storage.sync=kill@9");
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "checkpoint::crash_tests::child", "--nocapture"])
            .env(DIRECTORY, &directory)
            .env("RUNNEL_FAILPOINTS", format!("{step}=error@3"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(&format!("The fail point {step} is armed.")), "{step}: {text}");
        run(&directory, "");
    }
}
