//! When a job that has failed starts again: Flink's restart strategies, and the one of deployed jobs.

use engine::{Config, Result};
use std::collections::{BTreeMap, VecDeque};

/// Delay between restarts of a deployed job whose script says nothing, in milliseconds.
const DEPLOYED_DELAY_MS: u64 = 10_000;
/// Delay of its first restart after a quiet time, in milliseconds: most failures are over at once.
const FIRST_DELAY_MS: u64 = 100;
/// Time without a failure after which the next restart counts as a first one, in milliseconds.
const QUIET_MS: i64 = 60_000;

/// When to start again.
#[derive(Debug, Clone, PartialEq)]
enum Strategy {
    /// The first restart at once, the others every ten seconds, without end.
    Deployed,
    None,
    FixedDelay {
        attempts: u64,
        delay_ms: u64,
    },
    FailureRate {
        failures: u64,
        interval_ms: u64,
        delay_ms: u64,
    },
    ExponentialDelay {
        initial_ms: u64,
        max_ms: u64,
        multiplier: f64,
        jitter: f64,
        reset_ms: u64,
        attempts: u64,
    },
}

/// A strategy and the failures that it has seen.
#[derive(Debug, Clone)]
pub struct Restarts {
    strategy: Strategy,
    /// Times of failures that still matter, in milliseconds since the epoch.
    failures: VecDeque<i64>,
    /// Failures since the start or the last reset.
    attempts: u64,
    backoff_ms: f64,
    last_ms: Option<i64>,
}

/// Whether the server has to know this setting of a script.
pub fn concerns(key: &str) -> bool {
    key.starts_with("restart-strategy")
}

impl Restarts {
    /// The strategy that `settings` ask for.
    ///
    /// Errors: a value that cannot be read.
    pub fn new(settings: &BTreeMap<String, String>) -> Result<Self> {
        let mut config = Config::default();
        for (key, value) in settings.iter().filter(|(k, _)| concerns(k)) {
            config.set(key, value)?;
        }
        let ms = |key: &str| config.duration_ms(&format!("restart-strategy.{key}"));
        let count = |key: &str| config.integer(&format!("restart-strategy.{key}"));
        let number = |key: &str| config.number(&format!("restart-strategy.{key}"));
        let kind = config.get("restart-strategy.type").unwrap_or_default().to_ascii_lowercase();
        let strategy = match kind.as_str() {
            "none" | "off" | "disable" => Strategy::None,
            "fixed-delay" | "fixeddelay" => Strategy::FixedDelay {
                attempts: count("fixed-delay.attempts"),
                delay_ms: ms("fixed-delay.delay"),
            },
            "failure-rate" | "failurerate" => Strategy::FailureRate {
                failures: count("failure-rate.max-failures-per-interval"),
                interval_ms: ms("failure-rate.failure-rate-interval"),
                delay_ms: ms("failure-rate.delay"),
            },
            "exponential-delay" | "exponentialdelay" => Strategy::ExponentialDelay {
                initial_ms: ms("exponential-delay.initial-backoff"),
                max_ms: ms("exponential-delay.max-backoff"),
                multiplier: number("exponential-delay.backoff-multiplier").max(1.0),
                jitter: number("exponential-delay.jitter-factor").min(1.0),
                reset_ms: ms("exponential-delay.reset-backoff-threshold"),
                attempts: count("exponential-delay.attempts-before-reset-backoff"),
            },
            _ => Strategy::Deployed,
        };
        Ok(Self { strategy, failures: VecDeque::new(), attempts: 0, backoff_ms: 0.0, last_ms: None })
    }

    /// The job has failed at `now_ms`: milliseconds until its next start, or `None` if it has failed for good.
    pub fn after_failure(&mut self, now_ms: i64) -> Option<u64> {
        let quiet_ms = self.last_ms.map_or(i64::MAX, |last| now_ms.saturating_sub(last));
        self.last_ms = Some(now_ms);
        self.attempts += 1;
        match self.strategy {
            Strategy::None => None,
            Strategy::Deployed if quiet_ms >= QUIET_MS => Some(FIRST_DELAY_MS),
            Strategy::Deployed => Some(DEPLOYED_DELAY_MS),
            Strategy::FixedDelay { attempts, delay_ms } => (self.attempts <= attempts).then_some(delay_ms),
            Strategy::FailureRate { failures, interval_ms, delay_ms } => {
                self.failures.push_back(now_ms);
                while self.failures.front().is_some_and(|f| now_ms - f > interval_ms as i64) {
                    self.failures.pop_front();
                }
                (self.failures.len() as u64 <= failures).then_some(delay_ms)
            }
            Strategy::ExponentialDelay { initial_ms, max_ms, multiplier, jitter, reset_ms, attempts } => {
                if self.backoff_ms == 0.0 || quiet_ms >= reset_ms as i64 {
                    (self.backoff_ms, self.attempts) = (initial_ms as f64, 1);
                } else {
                    self.backoff_ms = (self.backoff_ms * multiplier).min(max_ms as f64);
                }
                // Spread by the moment of the failure: jobs that fail together do not all come back together.
                let spread = (now_ms.rem_euclid(1000) as f64 / 500.0 - 1.0) * jitter;
                (self.attempts <= attempts).then_some((self.backoff_ms * (1.0 + spread)) as u64)
            }
        }
    }

    /// In a sentence.
    pub fn describe(&self) -> String {
        match &self.strategy {
            Strategy::Deployed => {
                "It restarts without end: at once after a first failure, then every 10 s.".into()
            }
            Strategy::None => "It does not restart.".into(),
            Strategy::FixedDelay { attempts, delay_ms } => {
                format!(
                    "fixed-delay: it restarts at most {attempts} times, {delay_ms} ms after each failure."
                )
            }
            Strategy::FailureRate { failures, interval_ms, delay_ms } => format!(
                "failure-rate: it restarts {delay_ms} ms after a failure, unless there are more than {failures} in \
                 {interval_ms} ms."
            ),
            Strategy::ExponentialDelay { initial_ms, max_ms, multiplier, .. } => format!(
                "exponential-delay: it restarts after {initial_ms} ms, each time {multiplier} times later, at most \
                 after {max_ms} ms."
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(settings: &[(&str, &str)], at_ms: &[i64]) -> Vec<Option<u64>> {
        let key = |k: &str| format!("restart-strategy.{k}");
        let settings = settings.iter().map(|(k, v)| (key(k), v.to_string())).collect();
        let mut restarts = Restarts::new(&settings).unwrap();
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
    fn none_and_fixed_delay() {
        assert_eq!(delays(&[("type", "none")], &[0]), [None]);
        let fixed = [("type", "fixed-delay"), ("fixed-delay.attempts", "2"), ("fixed-delay.delay", "3 s")];
        assert_eq!(delays(&fixed, &[0, 1, 2]), [Some(3000), Some(3000), None]);
        assert_eq!(delays(&[("type", "fixed-delay")], &[0, 1]), [Some(1000), None], "Flink's defaults");
    }

    #[test]
    fn failure_rate_forgets_old_failures() {
        let rate = [("type", "failure-rate"), ("failure-rate.max-failures-per-interval", "2")];
        assert_eq!(delays(&rate, &[0, 30_000, 70_000, 80_000]), [Some(1000), Some(1000), Some(1000), None]);
    }

    #[test]
    fn exponential_delay_grows_to_its_limit_and_is_reset() {
        let settings = [
            ("type", "exponential-delay"),
            ("exponential-delay.jitter-factor", "0"),
            ("exponential-delay.backoff-multiplier", "2"),
            ("exponential-delay.max-backoff", "3 s"),
        ];
        let delays = delays(&settings, &[0, 1, 2, 3, 4_000_000]);
        assert_eq!(delays, [Some(1000), Some(2000), Some(3000), Some(3000), Some(1000)]);
    }
}
