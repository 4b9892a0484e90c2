//! What this process takes of the machine, and what a job's tasks spend their time on.

use crate::model::TaskTimes;
use engine::runtime::TaskProgress;
use std::time::Duration;

/// Ticks a second of the times in `/proc`: the same on every Linux.
const TICKS: u64 = 100;

/// CPU time and threads of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// CPU time of all threads since the process began.
    pub cpu: Duration,
    /// Threads that live.
    pub threads: u64,
}

impl Usage {
    /// As it is now; `None` where the system does not tell.
    pub fn now() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/self/stat").ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        // The name before the last bracket may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        let ticks = number(11)? + number(12)?;
        Some(Self { cpu: Duration::from_millis(ticks * 1000 / TICKS), threads: number(17)? })
    }
}

/// What tasks have spent the last `seconds` on, as they stand `now` and stood `before`.
pub fn task_times(now: &[TaskProgress], before: &[TaskProgress], seconds: f64) -> Vec<TaskTimes> {
    let times = |task: &TaskProgress| {
        let before = before.iter().find(|b| b.name == task.name);
        let share = |now: Duration, before: Option<Duration>| {
            let spent = now.saturating_sub(before.unwrap_or_default()).as_secs_f64() * 1000.0;
            (spent / seconds / task.parallelism.max(1) as f64).min(1000.0)
        };
        let idle = share(task.idle, before.map(|b| b.idle));
        let back_pressured = share(task.back_pressured, before.map(|b| b.back_pressured)).min(1000.0 - idle);
        TaskTimes {
            name: task.name.clone(),
            parallelism: task.parallelism,
            idle_ms_per_second: idle,
            back_pressured_ms_per_second: back_pressured,
            busy_ms_per_second: 1000.0 - idle - back_pressured,
        }
    };
    now.iter().map(times).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_whatever_the_process_is_called() {
        let stat = "12 (a ) b) S 1 12 12 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 7 0 100 1000 10";
        assert_eq!(Usage::parse(stat), Some(Usage { cpu: Duration::from_secs(2), threads: 7 }));
        assert_eq!(Usage::parse("nonsense"), None);
        assert!(Usage::now().is_some_and(|u| u.threads > 0));
    }

    #[test]
    fn times_are_shares_of_a_second_of_each_task() {
        let task = |idle, back_pressured| TaskProgress {
            name: "0: Source".into(),
            parallelism: 2,
            idle: Duration::from_millis(idle),
            back_pressured: Duration::from_millis(back_pressured),
        };
        let times = task_times(&[task(3000, 1000)], &[task(1000, 0)], 2.0);
        let TaskTimes { idle_ms_per_second, back_pressured_ms_per_second, busy_ms_per_second, .. } = times[0];
        assert_eq!(
            (idle_ms_per_second, back_pressured_ms_per_second, busy_ms_per_second),
            (500.0, 250.0, 250.0)
        );
    }
}
