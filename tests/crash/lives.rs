//! `Lives`: one job, run by one process after the other, each of which is killed.

use crate::store::{Store, Trouble};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest life of a process that is killed at a random moment, at first. It is longer where the machine is too busy
/// for a checkpoint in that time, as nothing would be tested else.
const LIFE: Duration = Duration::from_secs(4);
/// The longest that this may become.
const LONGEST_LIFE: Duration = Duration::from_secs(40);

/// Longest time for which the store of checkpoints is in trouble, and between two such times.
const LONGEST_TROUBLE: Duration = Duration::from_millis(1500);

/// How the processes die.
pub struct Plan {
    /// From `RUNNEL_CRASH_SEED`; decides all that is left to chance here.
    pub seed: u64,
    /// From `RUNNEL_CRASH_KILLS`.
    pub kills: usize,
}

impl Plan {
    /// What the environment asks for, or a short loop.
    pub fn new(kills: usize) -> Self {
        let number = |name: &str| std::env::var(name).ok().map(|v| v.parse::<u64>().expect(name));
        let seed = number("RUNNEL_CRASH_SEED").unwrap_or(1);
        Self { seed, kills: number("RUNNEL_CRASH_KILLS").map_or(kills, |n| n as usize) }
    }

    /// One in `n` of the kills that the environment asks for.
    pub fn part(self, n: usize) -> Self {
        let asked = std::env::var_os("RUNNEL_CRASH_KILLS").is_some();
        Self { kills: if asked { self.kills.div_ceil(n) } else { self.kills }, ..self }
    }
}

/// A job under the crash loop.
pub struct Lives {
    store: Store,
    folder: tempfile::TempDir,
    pub random: SmallRng,
    /// The job's id, by which it goes on.
    job: String,
    script: String,
    lives: usize,
    /// How the lives ended, for the report.
    pub deaths: BTreeMap<String, usize>,
    /// Checkpoints that failed, as far as was told.
    pub failed_checkpoints: usize,
    /// Longest life at this time.
    life: Duration,
}

impl Lives {
    /// `script` is the job's SQL without settings; `trouble` befalls the place of its checkpoints now and then.
    pub fn new(seed: u64, script: String, trouble: Trouble) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let job = format!("{:032x}", random.random::<u128>());
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path(), trouble);
        Self {
            store,
            folder,
            random,
            job,
            script,
            lives: 0,
            deaths: BTreeMap::new(),
            failed_checkpoints: 0,
            life: LIFE,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the next process; `failpoints` as in `RUNNEL_FAILPOINTS`.
    pub fn start(&mut self, failpoints: &str) -> Child {
        self.lives += 1;
        let interval = self.random.random_range(200..500);
        let parallelism = self.random.random_range(1..=3);
        let text = format!(
            "SET '$internal.pipeline.job-id' = '{}';\n\
             SET 'execution.checkpointing.interval' = '{interval} ms';\n\
             SET 'state.checkpoints.dir' = 'file://{}';\n\
             SET 'parallelism.default' = '{parallelism}';\n\
             SET 'restart-strategy.type' = 'fixed-delay';\n\
             SET 'restart-strategy.fixed-delay.attempts' = '1000';\n\
             SET 'restart-strategy.fixed-delay.delay' = '200 ms';\n{}",
            self.job,
            self.store.folder().display(),
            self.script
        );
        let script = self.path("job.sql");
        std::fs::write(&script, text).unwrap();
        let log = File::create(self.path("log")).unwrap();
        Command::new(binary())
            .args(["run".as_ref(), script.as_os_str()])
            .env("RUNNEL_CATALOG", "memory")
            .env("RUNNEL_FAILPOINTS", failpoints)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("target/…/runnel: build with --workspace --bins")
    }

    /// From now on all is well with the store.
    pub fn end_trouble(&self) {
        self.store.set(false);
    }

    /// What the process said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Checkpoints that are complete now.
    pub fn checkpoints(&self) -> Vec<String> {
        let of_job = std::fs::read_dir(self.store.folder().join(&self.job));
        let names =
            of_job.into_iter().flatten().flatten().map(|e| e.file_name().to_string_lossy().into_owned());
        let mut names = names.filter(|n| n.starts_with("chk-")).collect::<Vec<_>>();
        names.sort();
        names
    }

    /// One life: killed at a random moment, or by one of `points` (name and action; `{n}` stands for a small number).
    pub fn live_and_die(&mut self, points: &[&str]) {
        let by_point = !points.is_empty() && self.random.random_bool(0.5);
        let failpoints = if by_point {
            let point = points[self.random.random_range(0..points.len())];
            point.replace("{n}", &self.random.random_range(1..=4).to_string())
        } else {
            String::new()
        };
        let mut child = self.start(&failpoints);
        let newest = self.checkpoints();
        let longest = match by_point {
            true => self.life * 2,
            false => Duration::from_millis(self.random.random_range(100..self.life.as_millis() as u64)),
        };
        let begin = Instant::now();
        let mut how = "random moment".to_string();
        let mut troubled = self.store.is_troubled();
        let mut next_trouble = self.random.random_range(0..LONGEST_TROUBLE.as_millis() as u64);
        loop {
            if begin.elapsed().as_millis() as u64 >= next_trouble {
                next_trouble += self.random.random_range(1..LONGEST_TROUBLE.as_millis() as u64);
                self.store.set(!self.store.is_troubled());
                troubled |= self.store.is_troubled();
            }
            if let Some(status) = child.try_wait().unwrap() {
                if troubled && status.code() == Some(1) {
                    how = "could not begin without its store".to_string();
                    break;
                }
                assert!(
                    by_point && status.code().is_none(),
                    "life {} ({failpoints}) ended by itself: {status}\n{}",
                    self.lives,
                    self.log()
                );
                how = failpoints.split('@').next().unwrap_or("").to_string();
                break;
            }
            if begin.elapsed() >= longest {
                child.kill().unwrap();
                child.wait().unwrap();
                if by_point {
                    how = format!("{} not reached or survived", failpoints.split('@').next().unwrap_or(""));
                }
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let log = self.log();
        self.failed_checkpoints += log.lines().filter(|l| l.contains(" has failed: ")).count();
        assert!(!log.contains("panicked") && !log.contains("Records are lost"), "life {}: {log}", self.lives);
        *self.deaths.entry(how).or_default() += 1;
        let span = if self.checkpoints() == newest { self.life.mul_f64(1.2) } else { self.life.mul_f64(0.9) };
        self.life = span.clamp(LIFE, LONGEST_LIFE);
    }
}

/// The binary that the workspace has built beside this test.
pub fn binary() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.join("runnel")
}

/// Kills the process when it goes out of scope.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Points where a process dies on the way from a barrier to a commit, in recovery, and where the store fails.
pub fn points(with: &[&'static str]) -> Vec<&'static str> {
    let mut all = vec![
        "checkpoint.operator-snapshot=kill@{n}",
        "checkpoint.sink-prepare=kill@{n}",
        "checkpoint.ack=kill@{n}",
        "checkpoint.before-manifest=kill@{n}",
        "checkpoint.after-manifest=kill@{n}",
        "commit.before=kill@{n}",
        "commit.sink=kill@{n}",
        "commit.after=kill@{n}",
        "restore.latest=kill@1",
        "restore.sink-recover=kill@{n}",
        "restore.operator=kill@{n}",
        "restore.running=kill@1",
        "storage.write=error@{n}",
        "storage.rename=error",
        "storage.create=error@{n}",
    ];
    all.extend(with);
    all
}

#[test]
fn every_point_has_a_name_that_exists() {
    for point in points(&[]) {
        let name = point.split('=').next().unwrap();
        assert!(engine::failpoint::NAMES.contains(&name), "{name}");
    }
    assert!(Path::new(&binary()).exists());
}
