//! `Payload`: what a `GroupStore` keeps for each key.

use super::snapshot::{SnapshotKind, StateRows};
use crate::error::Result;
use arrow::array::ArrayRef;

/// What is kept for each group beside its key. Groups are those of a `KeyTable`; `resize` comes before a new
/// group's rows. Every accumulator is one, and so are several together.
pub trait Payload: Send {
    /// Makes room for groups `0..groups`; new ones are empty.
    fn resize(&mut self, groups: usize);

    /// The state of `groups`, as columns with a row for each. Their types do not depend on `groups`.
    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>>;

    /// Adds the state in row `i` of `columns`, made by `state`, to group `groups[i]`.
    fn merge(&mut self, columns: &[ArrayRef], groups: &[u32]) -> Result<()>;

    /// Makes `group` empty.
    fn clear(&mut self, group: u32);

    /// Bytes held, estimated.
    fn size(&self) -> usize;

    /// Those of `size` that new groups take before there are more, where `free` of `groups` places are free.
    fn spare(&self, free: usize, groups: usize) -> usize {
        (self.size() as u128 * free as u128).checked_div(groups as u128).unwrap_or(0) as usize
    }

    /// Gives back memory that is held for nothing, where that is worth its while: memory is short, and what is not given
    /// back now is had by moving groups to disk.
    fn pack(&mut self) -> Result<()> {
        Ok(())
    }

    /// An empty one of the same kind.
    fn fresh(&self) -> Result<Self>
    where
        Self: Sized;

    /// Takes over what `old` holds beside its groups, which have been moved here.
    fn inherit(&mut self, old: &mut Self) {
        let _ = old;
    }

    /// When something is to be done with `group` though no row of its key comes, beside what [`super::GroupStore::wake_at`]
    /// was told; only asked when it goes to disk. `i64::MAX`: never.
    fn due(&self, group: u32) -> i64 {
        let _ = group;
        i64::MAX
    }

    /// Whether `group` is kept though its time to live is over.
    fn is_pinned(&self, group: u32) -> bool {
        let _ = group;
        false
    }

    /// What a snapshot holds of `groups`, whose keys are `keys`; of a delta at least what has changed since the last
    /// snapshot. `None`: one row for each group, made of `state`.
    fn rows(&self, groups: &[u32], keys: &[ArrayRef], kind: SnapshotKind) -> Result<Option<Vec<StateRows>>> {
        let _ = (groups, keys, kind);
        Ok(None)
    }

    /// What a delta holds of groups that are gone, whose keys are `keys`. `None`: a deleted row for each.
    fn deleted(&self, keys: &[ArrayRef]) -> Result<Option<Vec<StateRows>>> {
        let _ = keys;
        Ok(None)
    }

    /// What a delta holds of rows that were taken away from groups since the last snapshot. Called once at each
    /// barrier, for full snapshots too.
    fn removed(&mut self) -> Result<Vec<StateRows>> {
        Ok(Vec::new())
    }

    /// A snapshot holds all of `groups`.
    fn saved(&mut self, groups: &[u32]) {
        let _ = groups;
    }
}
