//! Measuring the binary as a process: wall time, CPU time and peak memory, from the kernel's own account.

pub mod generator;
pub mod kafka;
pub mod results;

use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What one run of a process took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// From start to exit.
    pub wall: Duration,
    /// User and system time of all its threads.
    pub cpu: Duration,
    /// Peak resident memory, in bytes.
    pub peak_bytes: u64,
}

/// The release binary; `RUNNEL` names another.
pub fn binary() -> PathBuf {
    std::env::var_os("RUNNEL").map_or_else(|| target().join("release/runnel"), PathBuf::from)
}

/// Where cargo builds.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The value of an environment variable, or `default`.
pub fn setting(name: &str, default: &str) -> String {
    std::env::var(name).ok().filter(|v| !v.is_empty()).unwrap_or_else(|| default.to_string())
}

/// A list of numbers in an environment variable, separated by commas.
///
/// Errors: something in it is no number.
pub fn numbers(name: &str, default: &str) -> io::Result<Vec<u64>> {
    let number = |n: &str| {
        n.trim()
            .replace('_', "")
            .parse()
            .map_err(|_| io::Error::other(format!("{name} takes numbers, not {n}")))
    };
    setting(name, default).split(',').map(number).collect()
}

/// The workspace's folder.
pub fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}

/// Runs a command to its end, its output thrown away.
///
/// Errors: it cannot be started, or it fails.
pub fn measure(command: &mut Command) -> io::Result<Cost> {
    let started = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    let mut status = 0;
    // SAFETY: an all-zero rusage is a valid value of that plain struct.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the types that wait4 writes; the child is ours and not reaped yet.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    if waited != pid {
        return Err(io::Error::last_os_error());
    }
    let wall = started.elapsed();
    if status != 0 {
        return Err(io::Error::other(format!("{command:?} ended with status {status}")));
    }
    let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    let cpu = time(usage.ru_utime) + time(usage.ru_stime);
    Ok(Cost { wall, cpu, peak_bytes: usage.ru_maxrss as u64 * 1024 })
}

/// The middle one of several costs, by `key`.
pub fn median(mut costs: Vec<Cost>, key: impl Fn(&Cost) -> Duration) -> Option<Cost> {
    costs.sort_by_key(|c| key(c));
    costs.get(costs.len() / 2).copied()
}
