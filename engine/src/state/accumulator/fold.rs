//! From one aggregate's arithmetic (`Fold`) to its batch forms (`Folding`), so that each aggregate is written
//! once and its loops hold no virtual call.

use super::{Accumulator, Changes};
use crate::error::Result;
use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};

/// The arithmetic of one aggregate, row by row.
pub(super) trait Fold: Send {
    /// Argument columns, typed.
    type Input;
    /// Values being put in a column.
    type Output;
    /// Whether rows with a NULL argument are left out.
    const SKIPS_NULLS: bool = true;
    /// See `Accumulator::merges_in_time_order`.
    const IN_TIME_ORDER: bool = false;
    /// See `Accumulator::tells_every_row`.
    const TELLS_EVERY_ROW: bool = false;

    fn bind(&self, values: &[ArrayRef]) -> Result<Self::Input>;
    fn resize(&mut self, groups: usize);
    fn add(&mut self, group: usize, input: &Self::Input, row: usize);
    fn retract(&mut self, group: usize, input: &Self::Input, row: usize);
    fn clear(&mut self, group: usize);

    fn output(&self, capacity: usize) -> Self::Output;
    fn push(&self, group: usize, out: &mut Self::Output);
    fn finish(&self, out: Self::Output) -> Result<ArrayRef>;

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>>;
    fn merge(&mut self, states: &[ArrayRef], groups: &[u32]) -> Result<()>;
    fn size(&self) -> usize;
}

/// The batch forms of `F`.
pub(super) struct Folding<F>(pub F);

/// The rows that count: `None` for all.
pub(crate) fn selection(
    values: &[ArrayRef],
    filter: Option<&BooleanArray>,
    skips_nulls: bool,
) -> Option<BooleanBuffer> {
    let mut selected = filter.map(|f| match f.nulls() {
        None => f.values().clone(),
        Some(nulls) => f.values() & nulls.inner(),
    });
    if skips_nulls {
        let nulls = values.iter().filter_map(|v| v.logical_nulls()).filter(|n| n.null_count() > 0);
        for nulls in nulls {
            let valid = NullBuffer::inner(&nulls);
            selected = Some(selected.map_or_else(|| valid.clone(), |s| &s & valid));
        }
    }
    selected
}

impl<F: Fold> Accumulator for Folding<F> {
    fn resize(&mut self, groups: usize) {
        self.0.resize(groups);
    }

    fn update(&mut self, values: &[ArrayRef], groups: &[u32], filter: Option<&BooleanArray>) -> Result<()> {
        let input = self.0.bind(values)?;
        match selection(values, filter, F::SKIPS_NULLS) {
            None => groups.iter().enumerate().for_each(|(row, g)| self.0.add(*g as usize, &input, row)),
            Some(selected) => {
                selected.set_indices().for_each(|row| self.0.add(groups[row] as usize, &input, row));
            }
        }
        Ok(())
    }

    fn change(
        &mut self,
        values: &[ArrayRef],
        groups: &[u32],
        changes: Changes<'_>,
        filter: Option<&BooleanArray>,
    ) -> Result<(ArrayRef, ArrayRef)> {
        let input = self.0.bind(values)?;
        let selected = selection(values, filter, F::SKIPS_NULLS);
        let mut before = self.0.output(groups.len());
        let mut after = self.0.output(groups.len());
        for (row, group) in groups.iter().enumerate() {
            let group = *group as usize;
            self.0.push(group, &mut before);
            if selected.as_ref().is_none_or(|s| s.value(row)) {
                match changes.signs[row] {
                    1 => self.0.add(group, &input, row),
                    -1 => self.0.retract(group, &input, row),
                    _ => {}
                }
            }
            self.0.push(group, &mut after);
            if !changes.clears.is_empty() && changes.clears[row] {
                self.0.clear(group);
            }
        }
        Ok((self.0.finish(before)?, self.0.finish(after)?))
    }

    fn advance(
        &mut self,
        values: &[ArrayRef],
        groups: &[u32],
        filter: Option<&BooleanArray>,
    ) -> Result<ArrayRef> {
        let input = self.0.bind(values)?;
        let mut after = self.0.output(groups.len());
        match selection(values, filter, F::SKIPS_NULLS) {
            None => groups.iter().enumerate().for_each(|(row, group)| {
                self.0.add(*group as usize, &input, row);
                self.0.push(*group as usize, &mut after);
            }),
            Some(selected) => groups.iter().enumerate().for_each(|(row, group)| {
                if selected.value(row) {
                    self.0.add(*group as usize, &input, row);
                }
                self.0.push(*group as usize, &mut after);
            }),
        }
        self.0.finish(after)
    }

    fn apply(
        &mut self,
        values: &[ArrayRef],
        groups: &[u32],
        signs: &[i8],
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let input = self.0.bind(values)?;
        let selected = selection(values, filter, F::SKIPS_NULLS);
        for (row, (group, sign)) in groups.iter().zip(signs).enumerate() {
            if selected.as_ref().is_none_or(|s| s.value(row)) {
                match sign {
                    1 => self.0.add(*group as usize, &input, row),
                    -1 => self.0.retract(*group as usize, &input, row),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        let mut out = self.0.output(groups.len());
        groups.iter().for_each(|g| self.0.push(*g as usize, &mut out));
        self.0.finish(out)
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        self.0.state(groups)
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[u32]) -> Result<()> {
        self.0.merge(states, groups)
    }

    fn clear(&mut self, group: u32) {
        self.0.clear(group as usize);
    }

    fn skips_nulls(&self) -> bool {
        F::SKIPS_NULLS
    }

    fn merges_in_time_order(&self) -> bool {
        F::IN_TIME_ORDER
    }

    fn tells_every_row(&self) -> bool {
        F::TELLS_EVERY_ROW
    }

    fn size(&self) -> usize {
        self.0.size()
    }
}
