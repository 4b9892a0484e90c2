//! Fail points: named places where a test lets the process die, a step fail, or time pass.
//!
//! `failpoint::hit("checkpoint.before-manifest")?` marks a place. Armed by the environment variable
//! `RUNNEL_FAILPOINTS`, a list of `name=action` or `name=action@n`, parted by `;`. The actions are `kill` (the
//! process dies at once, nothing is cleaned up), `error`, `sleep(ms)` and `off`; with `@n` only the n-th time
//! that the place is passed counts, from 1. When nothing is armed a place costs one relaxed load.

use crate::error::{Error, Result};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Every place there is, so that a test can walk them all. A place that is not in this list cannot be armed.
pub const NAMES: &[&str] = &[
    // the Kafka sink: between flush and checkpoint, before a commit, and finishing what an earlier run prepared
    "kafka.prepared",
    "kafka.commit",
    "kafka.recover-commit",
    "kafka.recover-abort",
    "kafka.recovered",
    // runtime: taking a checkpoint
    "checkpoint.trigger",
    "checkpoint.source-snapshot",
    "checkpoint.operator-snapshot",
    "checkpoint.sink-prepare",
    "checkpoint.write-state",
    "checkpoint.ack",
    "checkpoint.before-manifest",
    "checkpoint.after-manifest",
    // runtime: telling that it is complete
    "commit.before",
    "commit.sink",
    "commit.after",
    "commit.source",
    // runtime: going back to one
    "restore.latest",
    "restore.sink-recover",
    "restore.enumerator",
    "restore.reader",
    "restore.operator",
    "restore.running",
    // checkpoint: files of state and manifests at rest
    "storage.begin",
    "storage.write",
    "storage.finish",
    "storage.rename",
    "storage.sync",
    "storage.create",
    "storage.created",
    "storage.read",
    "storage.list",
    "storage.remove",
    // connectors: files
    "filesystem.begin",
    "filesystem.roll",
    "filesystem.prepare",
    "filesystem.prepared",
    "filesystem.publish",
    "filesystem.published",
    "filesystem.recover-truncate",
    "filesystem.recover-remove",
];

/// The variable that arms fail points.
pub const VARIABLE: &str = "RUNNEL_FAILPOINTS";

const UNKNOWN: u8 = 0;
const QUIET: u8 = 1;
const ARMED: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);
static POINTS: Mutex<Option<HashMap<String, Point>>> = Mutex::new(None);

#[derive(Debug, Clone, PartialEq)]
struct Point {
    action: Action,
    /// The only time that counts, from 1; `None`: every time.
    nth: Option<u64>,
    passed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Action {
    Kill,
    Error,
    Sleep(Duration),
    Off,
}

/// Passes the place `name`.
///
/// Errors: `name` is armed with `error`, or the environment variable is malformed.
#[inline]
pub fn hit(name: &'static str) -> Result<()> {
    if STATE.load(Ordering::Relaxed) == QUIET { Ok(()) } else { hit_armed(name) }
}

#[cold]
fn hit_armed(name: &'static str) -> Result<()> {
    if STATE.load(Ordering::Acquire) == UNKNOWN {
        arm(&std::env::var(VARIABLE).unwrap_or_default())?;
    }
    let action = {
        let mut points = POINTS.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(point) = points.as_mut().and_then(|p| p.get_mut(name)) else { return Ok(()) };
        point.passed += 1;
        if point.nth.is_some_and(|n| n != point.passed) {
            return Ok(());
        }
        point.action
    };
    match action {
        Action::Kill => std::process::abort(),
        Action::Error => Err(Error::external(format!("The fail point {name} is armed."))),
        Action::Sleep(time) => {
            std::thread::sleep(time);
            Ok(())
        }
        Action::Off => Ok(()),
    }
}

/// Arms the places that `text` names, in the form of [`VARIABLE`], and disarms all others.
///
/// Errors: an unknown name or action.
pub fn arm(text: &str) -> Result<()> {
    let mut points = HashMap::new();
    for part in text.split(';').map(str::trim).filter(|p| !p.is_empty()) {
        let (name, point) = parse(part)?;
        points.insert(name.to_string(), point);
    }
    let state = if points.is_empty() { QUIET } else { ARMED };
    *POINTS.lock().unwrap_or_else(PoisonError::into_inner) = Some(points);
    STATE.store(state, Ordering::Release);
    Ok(())
}

fn parse(part: &str) -> Result<(&str, Point)> {
    let refuse = |what: &str| {
        Error::user(format!("{VARIABLE}: {what} in {part:?}.")).with_hint(
            "Write name=kill, name=error, name=sleep(100) or name=off, with @n for the n-th time only.",
        )
    };
    let (name, action) = part.split_once('=').ok_or_else(|| refuse("no '='"))?;
    if !NAMES.contains(&name) {
        return Err(refuse("unknown fail point"));
    }
    let (action, nth) = match action.split_once('@') {
        Some((action, nth)) => (action, Some(nth.parse().map_err(|_| refuse("no number after '@'"))?)),
        None => (action, None),
    };
    let action = match action {
        "kill" => Action::Kill,
        "error" => Action::Error,
        "off" => Action::Off,
        other => {
            let ms = other.strip_prefix("sleep(").and_then(|o| o.strip_suffix(')'));
            let ms = ms.and_then(|ms| ms.parse().ok()).ok_or_else(|| refuse("unknown action"))?;
            Action::Sleep(Duration::from_millis(ms))
        }
    };
    Ok((name, Point { action, nth, passed: 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_understood_or_refused() {
        let point = |action, nth| Point { action, nth, passed: 0 };
        assert_eq!(parse("commit.sink=error@3"), Ok(("commit.sink", point(Action::Error, Some(3)))));
        assert_eq!(parse("commit.sink=kill"), Ok(("commit.sink", point(Action::Kill, None))));
        let sleep = point(Action::Sleep(Duration::from_millis(20)), None);
        assert_eq!(parse("commit.sink=sleep(20)"), Ok(("commit.sink", sleep)));
        for bad in ["commit.sink", "commit.sinks=kill", "commit.sink=explode", "commit.sink=kill@x"] {
            assert!(parse(bad).unwrap_err().message().contains(VARIABLE), "{bad}");
        }
    }

    #[test]
    fn no_name_is_twice_in_the_list() {
        let mut names = NAMES.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), NAMES.len());
    }
}
