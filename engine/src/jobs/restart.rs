//! Restart strategies, Flink's: whether a failed job runs again, and after which delay. Pure: told the time.

use crate::config::Config;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::VecDeque;
use std::time::Duration;

/// What happens when a job fails.
#[derive(Debug, Clone, PartialEq)]
pub enum RestartStrategy {
    /// It has failed.
    None,
    /// It runs again after a delay, so many times.
    FixedDelay {
        /// Restarts before it fails for good.
        attempts: u64,
        /// Before each.
        delay: Duration,
    },
    /// It runs again unless it fails too often.
    FailureRate {
        /// Failures in `interval` that are allowed.
        max_failures: u64,
        /// In which failures are counted.
        interval: Duration,
        /// Before each restart.
        delay: Duration,
    },
    /// It runs again after a delay that grows.
    ExponentialDelay {
        /// The first delay.
        initial: Duration,
        /// The longest.
        max: Duration,
        /// By which it grows.
        multiplier: f64,
        /// Time without a failure after which it is the first again.
        reset_after: Duration,
        /// Share of it that is added or taken away at random.
        jitter: f64,
        /// Restarts before the job fails for good, unless the delay was reset.
        attempts: u64,
    },
}

impl RestartStrategy {
    /// As the settings say; where they say nothing, `ExponentialDelay` for jobs with checkpoints, else `None`.
    pub fn new(config: &Config, is_checkpointing: bool) -> Self {
        let delay = |key: &str| Duration::from_millis(config.duration_ms(key));
        let default = if is_checkpointing { "exponential-delay" } else { "none" };
        let word = config.get("restart-strategy.type").unwrap_or(default).to_ascii_lowercase();
        match word.replace('-', "").as_str() {
            "fixeddelay" => Self::FixedDelay {
                attempts: config.integer("restart-strategy.fixed-delay.attempts"),
                delay: delay("restart-strategy.fixed-delay.delay"),
            },
            "failurerate" => Self::FailureRate {
                max_failures: config.integer("restart-strategy.failure-rate.max-failures-per-interval"),
                interval: delay("restart-strategy.failure-rate.failure-rate-interval"),
                delay: delay("restart-strategy.failure-rate.delay"),
            },
            "exponentialdelay" => Self::ExponentialDelay {
                initial: delay("restart-strategy.exponential-delay.initial-backoff"),
                max: delay("restart-strategy.exponential-delay.max-backoff"),
                multiplier: config.number("restart-strategy.exponential-delay.backoff-multiplier"),
                reset_after: delay("restart-strategy.exponential-delay.reset-backoff-threshold"),
                jitter: config.number("restart-strategy.exponential-delay.jitter-factor"),
                attempts: config.integer("restart-strategy.exponential-delay.attempts-before-reset-backoff"),
            },
            _ => Self::None,
        }
    }
}

/// A strategy at work.
#[derive(Debug)]
pub struct Restarts {
    strategy: RestartStrategy,
    random: SmallRng,
    /// Restarts since the beginning, or since the delay was reset.
    attempts: u64,
    /// Times of failures, newest last, as many as matter.
    failures: VecDeque<Duration>,
    backoff: Duration,
}

impl Restarts {
    /// No failure yet. `seed` decides the jitter.
    pub fn new(strategy: RestartStrategy, seed: u64) -> Self {
        let random = SmallRng::seed_from_u64(seed);
        Self { strategy, random, attempts: 0, failures: VecDeque::new(), backoff: Duration::ZERO }
    }

    /// The job has failed, `now` after it was submitted. The delay before it runs again; `None`: it has failed for
    /// good.
    pub fn failed(&mut self, now: Duration) -> Option<Duration> {
        match &self.strategy {
            RestartStrategy::None => None,
            RestartStrategy::FixedDelay { attempts, delay } => {
                self.attempts += 1;
                (self.attempts <= *attempts).then_some(*delay)
            }
            RestartStrategy::FailureRate { max_failures, interval, delay } => {
                while self.failures.front().is_some_and(|f| now.saturating_sub(*f) > *interval) {
                    self.failures.pop_front();
                }
                if self.failures.len() as u64 >= *max_failures {
                    return None;
                }
                self.failures.push_back(now);
                Some(*delay)
            }
            RestartStrategy::ExponentialDelay { initial, max, multiplier, reset_after, jitter, attempts } => {
                let last = self.failures.pop_back();
                // The delay itself is no time in which the job ran well.
                let well = last.map(|l| now.saturating_sub(l).saturating_sub(self.backoff));
                if well.is_none_or(|w| w >= *reset_after) {
                    self.attempts = 0;
                    self.backoff = *initial;
                } else {
                    self.backoff = self.backoff.mul_f64(multiplier.max(1.0)).min(*max);
                }
                self.failures.push_back(now);
                self.attempts += 1;
                if self.attempts > *attempts {
                    return None;
                }
                let share = jitter.clamp(0.0, 1.0);
                let factor = 1.0 + share * self.random.random_range(-1.0..=1.0);
                Some(self.backoff.mul_f64(factor).min(*max))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn delays(strategy: RestartStrategy, at: &[u64]) -> Vec<Option<u64>> {
        let mut restarts = Restarts::new(strategy, 7);
        let ms = |d: Duration| d.as_millis() as u64;
        at.iter().map(|s| restarts.failed(Duration::from_secs(*s)).map(ms)).collect()
    }

    #[test]
    fn fixed_delay_counts_attempts() {
        let strategy = RestartStrategy::FixedDelay { attempts: 2, delay: SECOND };
        assert_eq!(delays(strategy, &[1, 2, 3]), [Some(1000), Some(1000), None]);
        assert_eq!(delays(RestartStrategy::None, &[1]), [None]);
    }

    #[test]
    fn failure_rate_forgets_old_failures() {
        let strategy = RestartStrategy::FailureRate { max_failures: 2, interval: 10 * SECOND, delay: SECOND };
        assert_eq!(
            delays(strategy.clone(), &[1, 2, 20, 21, 22]),
            [Some(1000); 4].into_iter().chain([None]).collect::<Vec<_>>()
        );
        assert_eq!(delays(strategy, &[1, 2, 3]), [Some(1000), Some(1000), None]);
    }

    #[test]
    fn exponential_delay_grows_to_its_limit_and_is_reset() {
        let strategy = RestartStrategy::ExponentialDelay {
            initial: SECOND,
            max: 5 * SECOND,
            multiplier: 2.0,
            reset_after: 100 * SECOND,
            jitter: 0.0,
            attempts: 5,
        };
        let expected = [Some(1000), Some(2000), Some(4000), Some(5000), Some(1000), Some(2000)];
        assert_eq!(delays(strategy.clone(), &[1, 3, 7, 13, 200, 203]), expected);
        assert_eq!(delays(strategy.clone(), &[1, 3, 7, 13, 20, 30]).last(), Some(&None));
        let RestartStrategy::ExponentialDelay { initial, max, multiplier, reset_after, attempts, .. } =
            strategy
        else {
            panic!()
        };
        let jittery = RestartStrategy::ExponentialDelay {
            initial,
            max,
            multiplier,
            reset_after,
            jitter: 0.5,
            attempts,
        };
        let some = delays(jittery.clone(), &[1, 3, 7]);
        assert_eq!(some, delays(jittery, &[1, 3, 7]));
        let within = |d: Option<u64>, least: u64, most: u64| d.is_some_and(|d| d >= least && d <= most);
        assert!(within(some[0], 500, 1500) && within(some[1], 1000, 3000) && within(some[2], 2000, 5000));
    }

    #[test]
    fn settings_decide_and_checkpoints_make_the_default() {
        let mut config = Config::default();
        assert_eq!(RestartStrategy::new(&config, false), RestartStrategy::None);
        assert!(matches!(
            RestartStrategy::new(&config, true),
            RestartStrategy::ExponentialDelay { attempts: 2_147_483_647, .. }
        ));
        config.set("restart-strategy.type", "fixed-delay").unwrap();
        config.set("restart-strategy.fixed-delay.attempts", "3").unwrap();
        let fixed = RestartStrategy::FixedDelay { attempts: 3, delay: SECOND };
        assert_eq!(RestartStrategy::new(&config, false), fixed);
        config.set("restart-strategy.type", "off").unwrap();
        assert_eq!(RestartStrategy::new(&config, true), RestartStrategy::None);
    }
}
