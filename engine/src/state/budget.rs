//! One memory budget for the keyed state of a process, and the place for what goes beyond it.

use super::disk::{Disk, Place};
use crate::error::Result;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Bytes that keyed state may take in memory, shared by all operators of a process; beyond it, state goes to files
/// below `spill_dir`.
#[derive(Debug)]
pub struct MemoryBudget {
    total: AtomicUsize,
    used: AtomicUsize,
    spilled: AtomicU64,
    spill_dir: PathBuf,
    disk: Mutex<(Weak<Disk>, Option<Place>)>,
}

impl MemoryBudget {
    /// `total` bytes; files go below `spill_dir`, which need not exist yet.
    pub fn new(total: usize, spill_dir: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            total: AtomicUsize::new(total),
            used: AtomicUsize::new(0),
            spilled: AtomicU64::new(0),
            spill_dir,
            disk: Mutex::default(),
        })
    }

    /// No limit.
    pub fn unlimited() -> Arc<Self> {
        Self::new(usize::MAX, std::env::temp_dir())
    }

    /// `total` bytes for this process, whose files go below the system's directory for temporary files.
    pub fn of_process(total: usize) -> Arc<Self> {
        Self::new(total, Place::of_process())
    }

    /// All bytes; `usize::MAX` is without limit.
    pub fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// From now on `total` bytes.
    pub fn set_total(&self, total: usize) {
        self.total.store(total, Ordering::Relaxed);
    }

    /// Bytes of state on disk, before compression.
    pub fn spilled(&self) -> u64 {
        self.spilled.load(Ordering::Relaxed)
    }

    /// A holder whose state on disk was `before` bytes now has `now` there.
    pub(super) fn account_spilled(&self, before: u64, now: u64) {
        // Wraps below zero and back, as the sum of all is never negative.
        self.spilled.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
    }

    /// Bytes that are used by all operators.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Where state that does not fit goes: local files, removed when the process ends well and at its next start.
    pub fn spill_dir(&self) -> &Path {
        &self.spill_dir
    }

    /// Makes the directory for what goes to disk, where that was not done yet.
    ///
    /// Errors: it cannot be made.
    pub(super) fn take_place(&self) -> Result<()> {
        let mut shared = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.1.is_none() {
            shared.1 = Some(Place::take(&self.spill_dir)?);
        }
        Ok(())
    }

    /// What stores spill to: one for all that spill at the same time.
    ///
    /// Errors: no files can be made there.
    pub(super) fn disk(&self) -> Result<Arc<Disk>> {
        self.take_place()?;
        let mut shared = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(disk) = shared.0.upgrade() {
            return Ok(disk);
        }
        let disk = Arc::new(Disk::open(&self.spill_dir)?);
        shared.0 = Arc::downgrade(&disk);
        Ok(disk)
    }

    /// A holder whose use was `before` bytes now uses `now`. Tells how many bytes it should give up: its share of
    /// what all are over the budget.
    pub fn account(&self, before: usize, now: usize) -> usize {
        let others = if now >= before {
            self.used.fetch_add(now - before, Ordering::Relaxed).saturating_sub(before)
        } else {
            self.used.fetch_sub(before - now, Ordering::Relaxed).saturating_sub(before)
        };
        let used = others.saturating_add(now);
        let over = used.saturating_sub(self.total());
        (over as u128 * now as u128).checked_div(used as u128).unwrap_or(0) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_holder_gives_up_its_share() {
        let budget = MemoryBudget::new(100, PathBuf::new());
        assert_eq!(budget.account(0, 60), 0);
        assert_eq!(budget.account(0, 60), 10);
        assert_eq!(budget.used(), 120);
        assert_eq!(budget.account(60, 40), 0);
        assert_eq!(budget.used(), 100);
    }
}
