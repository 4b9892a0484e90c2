//! `WaitTime`: how long a thread has waited for something, readable while it waits.

use crate::time::Stopwatch;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Does not wait now.
const AWAKE: u64 = u64::MAX;

/// Written by one thread at a time, read by any.
#[derive(Debug)]
pub(super) struct WaitTime {
    clock: Stopwatch,
    /// Microseconds of all waits that are over.
    total_us: AtomicU64,
    /// When the wait at hand has begun, in microseconds of `clock`.
    since_us: AtomicU64,
}

impl Default for WaitTime {
    fn default() -> Self {
        Self { clock: Stopwatch::start(), total_us: AtomicU64::new(0), since_us: AtomicU64::new(AWAKE) }
    }
}

impl WaitTime {
    fn now_us(&self) -> u64 {
        self.clock.elapsed().as_micros() as u64
    }

    /// A wait begins.
    pub(super) fn begin(&self) {
        self.since_us.store(self.now_us(), Ordering::Relaxed);
    }

    /// It is over.
    pub(super) fn end(&self) {
        let since = self.since_us.swap(AWAKE, Ordering::Relaxed);
        self.total_us.fetch_add(self.now_us().saturating_sub(since), Ordering::Relaxed);
    }

    /// All waits together, with the one at hand.
    pub(super) fn so_far(&self) -> Duration {
        let since = self.since_us.load(Ordering::Relaxed);
        let at_hand = if since == AWAKE { 0 } else { self.now_us().saturating_sub(since) };
        Duration::from_micros(self.total_us.load(Ordering::Relaxed) + at_hand)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::sleep;

    #[test]
    fn a_wait_counts_while_it_goes_on_and_no_longer() {
        let wait = WaitTime::default();
        sleep(Duration::from_millis(5));
        assert_eq!(wait.so_far(), Duration::ZERO);
        wait.begin();
        sleep(Duration::from_millis(5));
        assert!(wait.so_far() >= Duration::from_millis(5));
        wait.end();
        let total = wait.so_far();
        sleep(Duration::from_millis(2));
        assert_eq!(wait.so_far(), total);
    }
}
