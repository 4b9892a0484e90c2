//! The rows of both sides of a regular join by join key, as the payload of a `GroupStore`: a join key is in memory
//! with all its rows, or on disk. Snapshots hold rows, not keys: of a key with many, only those that have changed.

use super::join_rows::{JoinRows, Returned};
use super::kept_groups::Bytes;
use crate::error::{Error, Result};
use crate::state::{Payload, SnapshotKind, StateRows};
use arrow::array::{ArrayRef, AsArray, BinaryBuilder};
use std::sync::Arc;

/// Rows of the left and the right side.
pub(super) struct JoinState {
    pub(super) sides: [JoinRows; 2],
}

impl Payload for JoinState {
    fn resize(&mut self, groups: usize) {
        self.sides.iter_mut().for_each(|s| s.resize_groups(groups));
    }

    /// The bytes of each join key: rows of the left side, then of the right side.
    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let [left, right] = &self.sides;
        let (lefts, rights) = (left.encode(groups)?, right.encode(groups)?);
        let mut column = BinaryBuilder::new();
        let mut bytes = Vec::new();
        for number in 0..groups.len() {
            bytes.clear();
            left.write_group(&lefts, number, &mut bytes);
            right.write_group(&rights, number, &mut bytes);
            column.append_value(&bytes);
        }
        Ok(vec![Arc::new(column.finish())])
    }

    fn merge(&mut self, columns: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let column = columns.first().and_then(|c| c.as_binary_opt::<i32>());
        let Some(column) = column else { return Err(Error::internal("A join's rows are not bytes.")) };
        let mut returned = [Returned::default(), Returned::default()];
        for (row, group) in groups.iter().enumerate() {
            let bytes = &mut Bytes(column.value(row));
            let read = returned.iter_mut().try_for_each(|side| JoinRows::read_group(bytes, *group, side));
            if read.is_none() {
                return Err(Error::internal("A join's rows cannot be read back."));
            }
        }
        self.sides.iter_mut().zip(returned).try_for_each(|(side, rows)| side.put_back(rows))
    }

    fn clear(&mut self, group: u32) {
        self.sides.iter_mut().for_each(|s| s.clear(group));
    }

    fn size(&self) -> usize {
        self.sides.iter().map(JoinRows::size).sum()
    }

    fn spare(&self, _: usize, _: usize) -> usize {
        self.sides.iter().map(JoinRows::spare).sum()
    }

    fn pack(&mut self) -> Result<()> {
        self.sides.iter_mut().try_for_each(JoinRows::pack)
    }

    fn fresh(&self) -> Result<Self> {
        let [left, right] = &self.sides;
        Ok(Self { sides: [left.fresh(), right.fresh()] })
    }

    fn inherit(&mut self, old: &mut Self) {
        self.sides.iter_mut().zip(&mut old.sides).for_each(|(new, old)| new.inherit(old));
    }

    fn due(&self, group: u32) -> i64 {
        self.sides.iter().map(|s| s.due(group)).min().unwrap_or(i64::MAX)
    }

    fn rows(&self, groups: &[u32], _: &[ArrayRef], kind: SnapshotKind) -> Result<Option<Vec<StateRows>>> {
        let mut rows = Vec::new();
        for side in &self.sides {
            side.snapshot(groups, kind == SnapshotKind::Full, &mut rows)?;
        }
        Ok(Some(rows))
    }

    fn deleted(&self, _: &[ArrayRef]) -> Result<Option<Vec<StateRows>>> {
        // Their rows were taken away one by one: see `removed`.
        Ok(Some(Vec::new()))
    }

    fn removed(&mut self) -> Result<Vec<StateRows>> {
        let mut rows = Vec::new();
        for side in &mut self.sides {
            side.take_gone(&mut rows)?;
        }
        Ok(rows)
    }

    fn saved(&mut self, groups: &[u32]) {
        self.sides.iter_mut().for_each(|s| s.saved(groups));
    }
}
