//! What is kept of each partition: rows that wait for their time, and matches on their way.

use super::queue::{NOT_BEGUN, Queue, Run};
use super::rows::{NONE, Nodes, Rows};
use crate::error::{Error, Result};
use crate::state::Payload;
use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, Int64Array, ListArray, RecordBatch, RecordBatchOptions,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{Field, Int32Type, Int64Type, SchemaRef};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// No timer.
pub(super) const NEVER: i64 = i64::MAX;

/// One partition.
#[derive(Default)]
pub(super) struct Partition {
    /// Rows that wait, by time; those of the same time as they came.
    pub waiting: VecDeque<u32>,
    /// Matches on their way, and the one that has not begun.
    pub runs: Queue,
    /// Matches that are complete and wait for earlier ones.
    pub complete: Queue,
    /// Number of the next row.
    pub next: u64,
    /// When it is to be looked at.
    pub timer: i64,
    /// Bytes that were counted for it.
    counted: usize,
}

impl Partition {
    /// Whether nothing of it needs to be remembered.
    pub(super) fn is_idle(&self) -> bool {
        let begun = |run: &Run| run.start != NOT_BEGUN;
        self.waiting.is_empty() && self.complete.is_empty() && !self.runs.iter().any(begun)
    }

    fn size(&self) -> usize {
        self.waiting.capacity() * 4 + self.runs.size() + self.complete.size()
    }
}

/// All partitions, with their rows and matches.
pub(super) struct Partitions {
    pub rows: Rows,
    pub nodes: Nodes,
    partitions: Vec<Partition>,
    bytes: usize,
}

impl Partitions {
    /// For rows of `schema`, whose columns may all be NULL.
    pub(super) fn new(schema: SchemaRef) -> Self {
        Self { rows: Rows::new(schema), nodes: Nodes::default(), partitions: Vec::new(), bytes: 0 }
    }

    pub(super) fn get(&self, group: u32) -> &Partition {
        &self.partitions[group as usize]
    }

    pub(super) fn get_mut(&mut self, group: u32) -> &mut Partition {
        &mut self.partitions[group as usize]
    }

    /// Puts a row in its place among those that wait.
    pub(super) fn wait(&mut self, group: u32, id: u32) {
        let (rows, waiting) = (&self.rows, &mut self.partitions[group as usize].waiting);
        let time = rows.time(id);
        let at = match waiting.back() {
            Some(last) if rows.time(*last) > time => waiting.partition_point(|w| rows.time(*w) <= time),
            _ => waiting.len(),
        };
        waiting.insert(at, id);
    }

    /// Counts what the partition takes after it has changed.
    pub(super) fn count(&mut self, group: u32) {
        let partition = &mut self.partitions[group as usize];
        let size = partition.size();
        self.bytes = (self.bytes + size).saturating_sub(std::mem::replace(&mut partition.counted, size));
    }
}

/// Lists of numbers, one for each partition.
#[derive(Default)]
struct Lists<T> {
    values: Vec<T>,
    ends: Vec<i32>,
}

impl<T> Lists<T> {
    fn new() -> Self {
        Self { values: Vec::new(), ends: vec![0] }
    }

    fn close(&mut self) {
        self.ends.push(self.values.len() as i32);
    }
}

fn list(values: ArrayRef, ends: &[i32]) -> Result<ArrayRef> {
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    let offsets = OffsetBuffer::new(ends.to_vec().into());
    Ok(Arc::new(ListArray::try_new(field, offsets, values, None::<NullBuffer>)?))
}

/// Columns of the state before those of the rows: timer and number of the next row.
const FIXED: usize = 2;
/// Lists beside those of the rows' columns: times, numbers, whether they wait; nodes: parent, row, variable; runs: state,
/// node, start, start_ms, whether complete.
const LISTS: usize = 11;

impl Payload for Partitions {
    fn resize(&mut self, groups: usize) {
        self.partitions.resize_with(groups, || Partition { timer: NEVER, ..Partition::default() });
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut rows: Lists<u32> = Lists::new();
        let (mut waits, mut times, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
        let (mut parents, mut node_rows, mut variables) = (Vec::new(), Vec::new(), Lists::<i32>::new());
        let (mut states, mut run_nodes, mut starts, mut starts_ms) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut complete = Lists::<i32>::new();
        for group in groups {
            let partition = self.get(*group);
            let mut places: HashMap<u32, i32> = HashMap::new();
            let first = rows.values.len();
            for id in &partition.waiting {
                rows.values.push(*id);
                waits.push(1);
            }
            let mut nodes: HashMap<u32, i32> = HashMap::new();
            let first_node = variables.values.len();
            for (run, is_complete) in
                partition.runs.iter().map(|r| (r, 0)).chain(partition.complete.iter().map(|r| (r, 1)))
            {
                // Earlier nodes come first.
                let (mut path, mut at) = (Vec::new(), run.node);
                while at != NONE && !nodes.contains_key(&at) {
                    path.push(at);
                    at = self.nodes.get(at).parent;
                }
                for id in path.into_iter().rev() {
                    let node = self.nodes.get(id);
                    let row = *places.entry(node.row).or_insert_with(|| {
                        rows.values.push(node.row);
                        waits.push(0);
                        (rows.values.len() - 1 - first) as i32
                    });
                    parents.push(nodes.get(&node.parent).copied().unwrap_or(-1));
                    node_rows.push(row);
                    variables.values.push(node.variable as i32);
                    nodes.insert(id, (variables.values.len() - 1 - first_node) as i32);
                }
                states.push(run.state as i32);
                run_nodes.push(nodes.get(&run.node).copied().unwrap_or(-1));
                starts.push(run.start as i64);
                starts_ms.push(run.start_ms);
                complete.values.push(is_complete);
            }
            rows.close();
            variables.close();
            complete.close();
        }
        times.extend(rows.values.iter().map(|id| self.rows.time(*id)));
        numbers.extend(rows.values.iter().map(|id| self.rows.number(*id) as i64));
        let timers = groups.iter().map(|g| self.get(*g).timer);
        let next = groups.iter().map(|g| self.get(*g).next as i64);
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(timers)),
            Arc::new(Int64Array::from_iter_values(next)),
        ];
        for column in 0..self.rows.schema().fields().len() {
            columns.push(list(self.rows.column(&rows.values, column)?, &rows.ends)?);
        }
        columns.push(list(Arc::new(Int64Array::from(times)), &rows.ends)?);
        columns.push(list(Arc::new(Int64Array::from(numbers)), &rows.ends)?);
        columns.push(list(Arc::new(Int32Array::from(waits)), &rows.ends)?);
        let nodes = &variables.ends;
        columns.push(list(Arc::new(Int32Array::from(parents)), nodes)?);
        columns.push(list(Arc::new(Int32Array::from(node_rows)), nodes)?);
        columns.push(list(Arc::new(Int32Array::from(variables.values)), nodes)?);
        let runs = &complete.ends;
        columns.push(list(Arc::new(Int32Array::from(states)), runs)?);
        columns.push(list(Arc::new(Int32Array::from(run_nodes)), runs)?);
        columns.push(list(Arc::new(Int64Array::from(starts)), runs)?);
        columns.push(list(Arc::new(Int64Array::from(starts_ms)), runs)?);
        columns.push(list(Arc::new(Int32Array::from(complete.values)), runs)?);
        Ok(columns)
    }

    fn merge(&mut self, columns: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let width = self.rows.schema().fields().len();
        if columns.len() != FIXED + width + LISTS {
            return Err(Error::internal("State of MATCH_RECOGNIZE with another number of columns."));
        }
        let timers = columns[0].as_primitive::<Int64Type>();
        let next = columns[1].as_primitive::<Int64Type>();
        let lists = &columns[FIXED + width..];
        let longs = |i: usize, group: usize| {
            lists[i].as_list::<i32>().value(group).as_primitive::<Int64Type>().clone()
        };
        let ints = |i: usize, group: usize| {
            lists[i].as_list::<i32>().value(group).as_primitive::<Int32Type>().clone()
        };
        for (index, group) in groups.iter().enumerate() {
            self.clear(*group);
            let (times, numbers, waits) = (longs(0, index), longs(1, index), ints(2, index));
            let options = RecordBatchOptions::new().with_row_count(Some(times.len()));
            let values =
                columns[FIXED..FIXED + width].iter().map(|c| c.as_list::<i32>().value(index)).collect();
            let records = RecordBatch::try_new_with_options(self.rows.schema().clone(), values, &options)?;
            let times: Vec<Option<i64>> = times.values().iter().map(|t| Some(*t)).collect();
            let ids = match times.is_empty() {
                true => Vec::new(),
                false => self.rows.add(records, &times),
            };
            let ids: Vec<u32> = ids.into_iter().flatten().collect();
            for (id, number) in ids.iter().zip(numbers.values()) {
                self.rows.set_number(*id, *number as u64);
            }
            let (parents, rows, variables) = (ints(3, index), ints(4, index), ints(5, index));
            let mut nodes: Vec<u32> = Vec::with_capacity(parents.len());
            for ((parent, row), variable) in
                parents.values().iter().zip(rows.values()).zip(variables.values())
            {
                let parent = usize::try_from(*parent).map_or(NONE, |p| nodes[p]);
                nodes.push(self.nodes.add(parent, *variable as usize, ids[*row as usize], &mut self.rows));
            }
            let (states, run_nodes) = (ints(6, index), ints(7, index));
            let (starts, starts_ms, complete) = (longs(8, index), longs(9, index), ints(10, index));
            for run in 0..states.len() {
                let node = usize::try_from(run_nodes.value(run)).map_or(NONE, |n| nodes[n]);
                if node != NONE {
                    self.nodes.hold(node);
                }
                let begun = Run {
                    state: states.value(run) as u32,
                    node,
                    start: starts.value(run) as u64,
                    start_ms: starts_ms.value(run),
                };
                let partition = &mut self.partitions[*group as usize];
                let queue =
                    if complete.value(run) == 1 { &mut partition.complete } else { &mut partition.runs };
                queue.push(begun);
            }
            // What refers to them now are runs and other nodes.
            nodes.iter().for_each(|n| self.nodes.release(*n, &mut self.rows));
            let partition = &mut self.partitions[*group as usize];
            for (id, waits) in ids.iter().zip(waits.values()) {
                if *waits == 1 {
                    partition.waiting.push_back(*id);
                } else {
                    self.rows.release(*id);
                }
            }
            (partition.timer, partition.next) = (timers.value(index), next.value(index) as u64);
            self.count(*group);
        }
        self.rows.tidy()
    }

    fn clear(&mut self, group: u32) {
        let fresh = Partition { timer: NEVER, ..Partition::default() };
        let partition = std::mem::replace(&mut self.partitions[group as usize], fresh);
        partition.waiting.iter().for_each(|id| self.rows.release(*id));
        for run in partition.runs.iter().chain(partition.complete.iter()) {
            self.nodes.release(run.node, &mut self.rows);
        }
        self.bytes = self.bytes.saturating_sub(partition.counted);
    }

    fn size(&self) -> usize {
        self.rows.size()
            + self.nodes.size()
            + self.bytes
            + self.partitions.capacity() * size_of::<Partition>()
    }

    fn fresh(&self) -> Result<Self> {
        Ok(Self::new(self.rows.schema().clone()))
    }
}
