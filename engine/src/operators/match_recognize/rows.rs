//! The rows that wait or belong to matches, and the graph of matches: each its last row, behind it the match before.

use crate::error::Result;
use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::interleave;
use arrow::datatypes::SchemaRef;

/// No row, no node.
pub(super) const NONE: u32 = u32::MAX;
/// Rows that are not needed any more are kept for as long as they are no more than the others, or than these.
const SPARE_ROWS: usize = 8192;
/// Batches in which rows are kept before they are put together.
const MAX_SEGMENTS: usize = 64;

/// Rows by id, each for as long as something refers to it.
pub(super) struct Rows {
    schema: SchemaRef,
    segments: Vec<RecordBatch>,
    held: Vec<Held>,
    free: Vec<u32>,
    /// Rows in `segments`.
    total: usize,
    bytes: usize,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    segment: u32,
    row: u32,
    refs: u32,
    time: i64,
    /// Its number in the partition, once it has been looked at.
    number: u64,
}

impl Rows {
    pub(super) fn new(schema: SchemaRef) -> Self {
        Self { schema, segments: Vec::new(), held: Vec::new(), free: Vec::new(), total: 0, bytes: 0 }
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Keeps rows of `records`: those that `times` has a time for. Gives the ids of these; each is referred to once.
    pub(super) fn add(&mut self, records: RecordBatch, times: &[Option<i64>]) -> Vec<Option<u32>> {
        let segment = self.segments.len() as u32;
        self.bytes += records.get_array_memory_size();
        self.total += records.num_rows();
        self.segments.push(records);
        let mut keep = |(row, time): (usize, &Option<i64>)| {
            let held = Held { segment, row: row as u32, refs: 1, time: (*time)?, number: 0 };
            Some(match self.free.pop() {
                Some(id) => {
                    self.held[id as usize] = held;
                    id
                }
                None => {
                    self.held.push(held);
                    self.held.len() as u32 - 1
                }
            })
        };
        times.iter().enumerate().map(&mut keep).collect()
    }

    pub(super) fn time(&self, id: u32) -> i64 {
        self.held[id as usize].time
    }

    pub(super) fn number(&self, id: u32) -> u64 {
        self.held[id as usize].number
    }

    pub(super) fn set_number(&mut self, id: u32, number: u64) {
        self.held[id as usize].number = number;
    }

    pub(super) fn hold(&mut self, id: u32) {
        self.held[id as usize].refs += 1;
    }

    pub(super) fn release(&mut self, id: u32) {
        let held = &mut self.held[id as usize];
        held.refs -= 1;
        if held.refs == 0 {
            self.free.push(id);
        }
    }

    fn live(&self) -> usize {
        self.held.len() - self.free.len()
    }

    /// Column `column` of rows; NULL for `NONE`.
    pub(super) fn column(&self, ids: &[u32], column: usize) -> Result<ArrayRef> {
        let data_type = self.schema.field(column).data_type();
        if ids.is_empty() {
            return Ok(new_null_array(data_type, 0));
        }
        // Local numbers of the segments that are read; the first stands for no row.
        let nulls = new_null_array(data_type, 1);
        let mut numbers = vec![0; self.segments.len()];
        let mut arrays: Vec<&dyn Array> = vec![nulls.as_ref()];
        let mut picks = Vec::with_capacity(ids.len());
        for id in ids {
            if *id == NONE {
                picks.push((0, 0));
                continue;
            }
            let Held { segment, row, .. } = self.held[*id as usize];
            let number = &mut numbers[segment as usize];
            if *number == 0 {
                *number = arrays.len();
                arrays.push(self.segments[segment as usize].column(column).as_ref());
            }
            picks.push((*number, row as usize));
        }
        Ok(interleave(&arrays, &picks)?)
    }

    /// Whole rows.
    pub(super) fn records(&self, ids: &[u32]) -> Result<RecordBatch> {
        let columns = (0..self.schema.fields().len()).map(|c| self.column(ids, c)).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(ids.len()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }

    /// Gives memory back where much of it is held for rows that are not needed any more.
    pub(super) fn tidy(&mut self) -> Result<()> {
        let live = self.live();
        if live == 0 {
            self.segments.clear();
            (self.held, self.free, self.total, self.bytes) = (Vec::new(), Vec::new(), 0, 0);
            return Ok(());
        }
        if self.total - live <= SPARE_ROWS.max(live) && self.segments.len() <= MAX_SEGMENTS {
            return Ok(());
        }
        let ids: Vec<u32> =
            (0..self.held.len() as u32).filter(|id| self.held[*id as usize].refs > 0).collect();
        let records = self.records(&ids)?;
        for (row, id) in ids.iter().enumerate() {
            let held = &mut self.held[*id as usize];
            (held.segment, held.row) = (0, row as u32);
        }
        self.total = records.num_rows();
        self.bytes = records.get_array_memory_size();
        self.segments = vec![records];
        Ok(())
    }

    /// Bytes held.
    pub(super) fn size(&self) -> usize {
        self.bytes + self.held.capacity() * size_of::<Held>() + self.free.capacity() * 4
    }
}

/// The last row of a match and what is before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    /// The match before this row.
    pub parent: u32,
    pub row: u32,
    pub variable: u32,
    /// Rows of the variable before this one.
    pub index: u32,
    /// Rows of the match before this one.
    pub depth: u32,
    /// First row of the variable.
    pub first: u32,
    /// The last node of the variable before this one's.
    pub before: u32,
    refs: u32,
}

/// Nodes by id. Matches that began alike share the nodes of what they have in common.
#[derive(Default)]
pub(super) struct Nodes {
    nodes: Vec<Node>,
    free: Vec<u32>,
}

impl Nodes {
    pub(super) fn get(&self, id: u32) -> &Node {
        &self.nodes[id as usize]
    }

    /// A match with one more row; it is referred to once. Refers to `parent` and the row.
    pub(super) fn add(&mut self, parent: u32, variable: usize, row: u32, rows: &mut Rows) -> u32 {
        let variable = variable as u32;
        rows.hold(row);
        let node = match self.nodes.get_mut(parent as usize) {
            None => {
                Node { parent: NONE, row, variable, index: 0, depth: 0, first: row, before: NONE, refs: 1 }
            }
            Some(last) => {
                last.refs += 1;
                let same = last.variable == variable;
                Node {
                    parent,
                    row,
                    variable,
                    index: if same { last.index + 1 } else { 0 },
                    depth: last.depth + 1,
                    first: if same { last.first } else { row },
                    before: if same { last.before } else { parent },
                    refs: 1,
                }
            }
        };
        match self.free.pop() {
            Some(id) => {
                self.nodes[id as usize] = node;
                id
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() as u32 - 1
            }
        }
    }

    pub(super) fn hold(&mut self, id: u32) {
        self.nodes[id as usize].refs += 1;
    }

    pub(super) fn release(&mut self, mut id: u32, rows: &mut Rows) {
        while id != NONE {
            let node = &mut self.nodes[id as usize];
            node.refs -= 1;
            if node.refs > 0 {
                return;
            }
            rows.release(node.row);
            self.free.push(id);
            id = node.parent;
        }
        if self.free.len() == self.nodes.len() {
            (self.nodes, self.free) = (Vec::new(), Vec::new());
        }
    }

    /// The node `steps` before `id`.
    fn back(&self, mut id: u32, steps: usize) -> u32 {
        for _ in 0..steps {
            if id == NONE {
                break;
            }
            id = self.get(id).parent;
        }
        id
    }

    /// The last node of `variable` (of all variables without one) in the match `id`.
    fn last(&self, mut id: u32, variable: Option<usize>) -> u32 {
        let Some(variable) = variable.map(|v| v as u32) else { return id };
        while id != NONE && self.get(id).variable != variable {
            id = self.get(id).before;
        }
        id
    }

    /// First row of the match.
    pub(super) fn origin(&self, mut id: u32) -> u32 {
        loop {
            let node = self.get(id);
            if node.before == NONE {
                return node.first;
            }
            id = node.before;
        }
    }

    /// Row `offset` of those of `variable`, counted from the first or from the last one. `more` is a row that comes
    /// behind them and counts as theirs.
    pub(super) fn row(
        &self,
        id: u32,
        variable: Option<usize>,
        first: bool,
        offset: usize,
        more: Option<u32>,
    ) -> u32 {
        let last = self.last(id, variable);
        let count = match last {
            NONE => 0,
            last if variable.is_some() => self.get(last).index as usize + 1,
            last => self.get(last).depth as usize + 1,
        };
        let wanted = match first {
            true => offset,
            false => match (count + usize::from(more.is_some())).checked_sub(offset + 1) {
                Some(wanted) => wanted,
                None => return NONE,
            },
        };
        if wanted >= count {
            return more.filter(|_| wanted == count).unwrap_or(NONE);
        }
        match (wanted, variable) {
            (0, Some(_)) => self.get(last).first,
            (0, None) => self.origin(last),
            _ => self.get(self.back(last, count - 1 - wanted)).row,
        }
    }

    /// All rows of `variable`, in order, into `into`.
    pub(super) fn rows(&self, id: u32, variable: Option<usize>, more: Option<u32>, into: &mut Vec<u32>) {
        let begin = into.len();
        into.extend(more);
        let mut at = self.last(id, variable);
        while at != NONE && variable.is_none_or(|v| self.get(at).variable == v as u32) {
            into.push(self.get(at).row);
            at = self.get(at).parent;
        }
        into[begin..].reverse();
    }

    /// Bytes held.
    pub(super) fn size(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>() + self.free.capacity() * 4
    }
}
