//! Rows kept in the batches in which they came, each under a number of its own: a row costs neither a copy nor a
//! look-up.

use super::segments::{RowRef, Segments};
use crate::error::Result;
use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;

/// Rows of smaller batches are put together.
const FEW_ROWS: usize = if cfg!(test) { 4 } else { 1024 };
/// Bytes of a column that are not worth a copy.
const COLUMN_BYTES: usize = 1024;

/// Rows by slot.
pub(super) struct ArrivedRows {
    batches: Segments,
    /// Where the row of each slot is; `RowRef::NULLS` of slots that are not in use.
    places: Vec<RowRef>,
    free: Vec<u32>,
    /// Slots of rows that came in small batches and were not put together yet.
    few: Vec<u32>,
}

impl ArrivedRows {
    /// No rows.
    pub(super) fn new(schema: SchemaRef) -> Self {
        Self { batches: Segments::new(schema), places: Vec::new(), free: Vec::new(), few: Vec::new() }
    }

    /// Keeps all rows; their slots into `slots` (cleared first).
    pub(super) fn add(&mut self, records: &RecordBatch, slots: &mut Vec<u32>) -> Result<()> {
        slots.clear();
        let rows = records.num_rows();
        if rows == 0 {
            return Ok(());
        }
        let segment = self.batches.add(without_slack(records)?);
        slots.reserve(rows);
        for row in 0..rows {
            let place = segment.row(row);
            slots.push(match self.free.pop() {
                Some(slot) => {
                    self.places[slot as usize] = place;
                    slot
                }
                None => {
                    self.places.push(place);
                    self.places.len() as u32 - 1
                }
            });
        }
        if rows < FEW_ROWS {
            self.few.extend_from_slice(slots);
            if self.few.len() >= FEW_ROWS {
                self.put_together()?;
            }
        }
        Ok(())
    }

    /// Moves rows of small batches to one of their own.
    fn put_together(&mut self) -> Result<()> {
        let mut slots = std::mem::take(&mut self.few);
        slots.retain(|slot| self.places[*slot as usize] != RowRef::NULLS);
        slots.sort_unstable();
        slots.dedup();
        let old: Vec<RowRef> = slots.iter().map(|slot| self.places[*slot as usize]).collect();
        if old.is_empty() {
            return Ok(());
        }
        let segment = self.batches.add(self.batches.rows(&old)?);
        for (row, slot) in slots.iter().enumerate() {
            self.places[*slot as usize] = segment.row(row);
        }
        old.into_iter().for_each(|row| self.batches.release(row));
        Ok(())
    }

    /// The rows of slots, which are in use, are not needed any more.
    pub(super) fn release(&mut self, slots: impl IntoIterator<Item = u32>) {
        for slot in slots {
            self.batches.release(std::mem::replace(&mut self.places[slot as usize], RowRef::NULLS));
            self.free.push(slot);
        }
    }

    /// See `Segments::pack`.
    pub(super) fn pack(&mut self, short: bool) -> Result<()> {
        self.batches.pack(short, || self.places.iter_mut())
    }

    /// Columns `columns` of the rows in `slots`.
    pub(super) fn take(&self, slots: &[u32], columns: &[usize]) -> Result<Vec<ArrayRef>> {
        let rows: Vec<RowRef> = slots.iter().map(|slot| self.places[*slot as usize]).collect();
        self.batches.take(&rows, columns)
    }

    /// Number of slots, in use or not.
    pub(super) fn slots(&self) -> usize {
        self.places.len()
    }

    /// Number of slots in use.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Bytes held, estimated.
    pub(super) fn size(&self) -> usize {
        self.batches.size()
            + self.places.len() * size_of::<RowRef>()
            + (self.free.len() + self.few.len()) * size_of::<u32>()
    }

    /// Bytes of rows, in use or not.
    pub(super) fn row_bytes(&self) -> usize {
        self.batches.size()
    }

    /// Those of `size` that are of free slots.
    pub(super) fn spare(&self) -> usize {
        self.free.len() * (size_of::<RowRef>() + size_of::<u32>())
    }
}

/// The rows in arrays of their own, where those that they are in are much larger.
fn without_slack(records: &RecordBatch) -> Result<RecordBatch> {
    let needed: usize = records
        .columns()
        .iter()
        .map(|c| c.to_data().get_slice_memory_size().unwrap_or(usize::MAX / 2) + COLUMN_BYTES)
        .fold(0, usize::saturating_add);
    if records.get_array_memory_size() <= needed.saturating_add(needed / 4) {
        return Ok(records.clone());
    }
    Ok(take_record_batch(records, &UInt32Array::from_iter_values(0..records.num_rows() as u32))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::testing::{rows, schema};
    use arrow::array::AsArray;
    use arrow::datatypes::Int32Type;

    fn values(kept: &ArrivedRows, slots: &[u32]) -> Vec<i32> {
        let columns = kept.take(slots, &[1]).unwrap();
        columns[0].as_primitive::<Int32Type>().values().to_vec()
    }

    #[test]
    fn rows_stay_under_their_slots_while_batches_are_put_together_and_moved() {
        let schema = schema("k STRING, v INT");
        let mut kept = ArrivedRows::new(schema.clone());
        let (mut all, mut slots) = (Vec::new(), Vec::new());
        for v in 0..40 {
            let lines = format!("+I a {v}\n+I b {}\n", v + 100);
            kept.add(rows(&schema, &lines).records(), &mut slots).unwrap();
            all.extend([(slots[0], v), (slots[1], v + 100)]);
            if v % 3 == 0 {
                // Every row but one in five goes, and its slot is used again.
                let (stay, go): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, v)| v % 5 == 0);
                kept.release(go.into_iter().map(|(slot, _)| slot));
                kept.pack(v % 2 == 0).unwrap();
                all = stay;
            }
            let (slots, wanted): (Vec<u32>, Vec<i32>) = all.iter().copied().unzip();
            assert_eq!(values(&kept, &slots), wanted);
            assert_eq!(kept.len(), all.len());
        }
        assert_eq!(kept.batches.live_rows(), kept.len());
        assert!(kept.slots() < 40);
    }

    #[test]
    fn a_slice_does_not_keep_what_it_was_cut_from() {
        let schema = schema("k STRING, v INT");
        let lines: String = (0..4000).map(|v| format!("+I a{v} {v}\n")).collect();
        let large = rows(&schema, &lines);
        let mut kept = ArrivedRows::new(schema);
        let mut slots = Vec::new();
        kept.add(&large.records().slice(7, 100), &mut slots).unwrap();
        assert_eq!(values(&kept, &slots), (7..107).collect::<Vec<_>>());
        assert!(kept.size() < 8_000, "{}", kept.size());
    }
}
