//! When a job that has failed starts again: Flink's restart strategies, and the one of deployed jobs.

use engine::jobs::{self, RestartStrategy};
use engine::{Config, Result};
use std::collections::BTreeMap;
use std::time::Duration;

/// Delay between restarts of a deployed job whose script says nothing, in milliseconds.
const DEPLOYED_DELAY_MS: u64 = 10_000;
/// Delay of its first restart after a quiet time, in milliseconds: most failures are over at once.
const FIRST_DELAY_MS: u64 = 100;
/// Time without a failure after which the next restart counts as a first one, in milliseconds.
const QUIET_MS: i64 = 60_000;

/// A strategy and the failures that it has seen.
#[derive(Debug)]
pub struct Restarts {
    /// The script's own strategy; `None`: the first restart at once, the others every ten seconds, without end.
    script: Option<(RestartStrategy, jobs::Restarts)>,
    last_ms: Option<i64>,
}

/// Whether the server has to know this setting of a script.
pub fn concerns(key: &str) -> bool {
    key.starts_with("restart-strategy")
}

impl Restarts {
    /// The strategy that `settings` ask for; `seed` decides its jitter.
    ///
    /// Errors: a value that cannot be read.
    pub fn new(settings: &BTreeMap<String, String>, seed: u64) -> Result<Self> {
        let mut config = Config::default();
        for (key, value) in settings.iter().filter(|(k, _)| concerns(k)) {
            config.set(key, value)?;
        }
        let script = config.get("restart-strategy.type").is_some().then(|| {
            let strategy = RestartStrategy::new(&config, true);
            (strategy.clone(), jobs::Restarts::new(strategy, seed))
        });
        Ok(Self { script, last_ms: None })
    }

    /// The job has failed at `now_ms`: milliseconds until its next start, or `None` if it has failed for good.
    pub fn after_failure(&mut self, now_ms: i64) -> Option<u64> {
        let quiet_ms = self.last_ms.map_or(i64::MAX, |last| now_ms.saturating_sub(last));
        self.last_ms = Some(now_ms);
        match &mut self.script {
            Some((_, restarts)) => {
                let delay = restarts.failed(Duration::from_millis(now_ms.unsigned_abs()))?;
                Some(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))
            }
            None if quiet_ms >= QUIET_MS => Some(FIRST_DELAY_MS),
            None => Some(DEPLOYED_DELAY_MS),
        }
    }

    /// In a sentence.
    pub fn describe(&self) -> String {
        match self.script.as_ref().map(|(strategy, _)| strategy) {
            None => "It restarts without end: at once after a first failure, then every 10 s.".into(),
            Some(RestartStrategy::None) => "It does not restart.".into(),
            Some(RestartStrategy::FixedDelay { attempts, delay }) => {
                format!(
                    "fixed-delay: it restarts at most {attempts} times, {} ms after each failure.",
                    delay.as_millis()
                )
            }
            Some(RestartStrategy::FailureRate { max_failures, interval, delay }) => format!(
                "failure-rate: it restarts {} ms after a failure, unless there are more than {max_failures} in {} ms.",
                delay.as_millis(),
                interval.as_millis()
            ),
            Some(RestartStrategy::ExponentialDelay { initial, max, multiplier, .. }) => format!(
                "exponential-delay: it restarts after {} ms, each time {multiplier} times later, at most after {} ms.",
                initial.as_millis(),
                max.as_millis()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restarts(settings: &[(&str, &str)]) -> Restarts {
        let settings = settings.iter().map(|(k, v)| (format!("restart-strategy.{k}"), v.to_string()));
        Restarts::new(&settings.collect(), 1).unwrap()
    }

    fn delays(settings: &[(&str, &str)], at_ms: &[i64]) -> Vec<Option<u64>> {
        let mut restarts = restarts(settings);
        at_ms.iter().map(|at| restarts.after_failure(*at)).collect()
    }

    #[test]
    fn a_deployed_job_comes_back_at_once_and_then_every_ten_seconds() {
        assert_eq!(
            delays(&[], &[0, 5000, 20_000, 90_000]),
            [Some(100), Some(10_000), Some(10_000), Some(100)]
        );
    }

    #[test]
    fn the_scripts_strategy_is_flinks() {
        assert_eq!(delays(&[("type", "none")], &[0]), [None]);
        let fixed = [("type", "fixed-delay"), ("fixed-delay.attempts", "2"), ("fixed-delay.delay", "3 s")];
        assert_eq!(delays(&fixed, &[0, 1, 2]), [Some(3000), Some(3000), None]);
        assert_eq!(delays(&[("type", "fixed-delay")], &[0, 1]), [Some(1000), None], "Flink's defaults");
        let exponential = [("type", "exponential-delay"), ("exponential-delay.jitter-factor", "0")];
        assert_eq!(delays(&exponential, &[0, 1]), [Some(1000), Some(1500)]);
        assert_eq!(
            restarts(&fixed).describe(),
            "fixed-delay: it restarts at most 2 times, 3000 ms after each failure."
        );
    }
}
