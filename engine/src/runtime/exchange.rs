//! Exchanges: how one task spreads its rows over the tasks of another node.

use super::channel::{Mailbox, Sent};
use super::wait_time::WaitTime;
use crate::error::{Error, Result};
use crate::message::{ChangeBatch, Message};
use crate::plan::Partitioning;
use crate::state::key_group::{key_groups, task_of};
use arrow::array::UInt32Array;
use std::sync::Arc;

/// The sending end of one channel.
pub(super) struct Port {
    mailbox: Arc<Mailbox>,
    channel: usize,
    done: bool,
}

impl Port {
    /// Sends into `channel` of `mailbox`.
    pub(super) fn new(mailbox: Arc<Mailbox>, channel: usize) -> Self {
        Self { mailbox, channel, done: false }
    }

    fn send(&mut self, message: Message) -> Result<()> {
        if !self.done {
            self.done = self.mailbox.send(self.channel, message)? == Sent::Discarded;
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.done || self.mailbox.is_finished()
    }
}

/// One edge, as one sending task sees it.
pub(super) struct Exchange {
    partitioning: Partitioning,
    max_parallelism: usize,
    ports: Vec<Port>,
    next: usize,
    splitter: Splitter,
}

impl Exchange {
    /// `ports` are the target's tasks, in order; for `Forward` the one with our number.
    pub(super) fn new(partitioning: Partitioning, ports: Vec<Port>, max_parallelism: usize) -> Self {
        Self { partitioning, max_parallelism, ports, next: 0, splitter: Splitter::default() }
    }

    /// How long it has waited for room at each target.
    pub(super) fn full(&self) -> impl Iterator<Item = Arc<WaitTime>> + '_ {
        self.ports.iter().map(|port| port.mailbox.full(port.channel).clone())
    }

    /// Rows go to the tasks that they belong to.
    pub(super) fn emit(&mut self, batch: ChangeBatch) -> Result<()> {
        let tasks = self.ports.len();
        match &self.partitioning {
            Partitioning::Hash(columns) if tasks > 1 => {
                self.splitter.hash(&batch, columns, self.max_parallelism, tasks)?;
                let ports = &mut self.ports;
                self.splitter.split(batch, tasks, |task, part| ports[task].send(Message::Batch(part)))
            }
            Partitioning::Rebalance if tasks > 1 => {
                let task = self.next % tasks;
                self.next = task + 1;
                self.ports[task].send(Message::Batch(batch))
            }
            _ => match self.ports.first_mut() {
                Some(port) => port.send(Message::Batch(batch)),
                None => Err(Error::internal("An exchange leads nowhere.")),
            },
        }
    }

    /// Signals go to all tasks.
    pub(super) fn broadcast(&mut self, message: &Message) -> Result<()> {
        self.ports.iter_mut().try_for_each(|port| port.send(message.clone()))
    }

    /// Whether no target wants anything more.
    pub(super) fn is_done(&self) -> bool {
        self.ports.iter().all(Port::is_done)
    }
}

/// Splits batches by target task. Its buffers are kept from batch to batch.
#[derive(Default)]
struct Splitter {
    targets: Vec<u32>,
    counts: Vec<usize>,
}

impl Splitter {
    /// The target of each row: the task that owns its key group.
    fn hash(&mut self, batch: &ChangeBatch, columns: &[usize], groups: usize, tasks: usize) -> Result<()> {
        let keys: Vec<_> = columns.iter().map(|c| batch.records().column(*c).clone()).collect();
        key_groups(&keys, groups, &mut self.targets)?;
        for target in &mut self.targets {
            *target = task_of(*target, groups, tasks) as u32;
        }
        Ok(())
    }

    /// Gives each task its rows, in order.
    fn split(
        &mut self,
        batch: ChangeBatch,
        tasks: usize,
        mut send: impl FnMut(usize, ChangeBatch) -> Result<()>,
    ) -> Result<()> {
        self.counts.clear();
        self.counts.resize(tasks, 0);
        for target in &self.targets {
            self.counts[*target as usize] += 1;
        }
        for task in 0..tasks {
            match self.counts[task] {
                0 => continue,
                all if all == batch.num_rows() => return send(task, batch),
                count => {
                    let mut indices = Vec::with_capacity(count);
                    for (row, target) in self.targets.iter().enumerate() {
                        if *target as usize == task {
                            indices.push(row as u32);
                        }
                    }
                    send(task, batch.take(&UInt32Array::from(indices))?)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::channel::Received;
    use super::*;
    use crate::message::RowKind;
    use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
    use std::collections::HashMap;
    use std::time::Duration;

    fn batch() -> ChangeBatch {
        let keys: Vec<Option<String>> =
            (0..1000).map(|i| (i % 10 != 9).then(|| format!("k{}", i % 10))).collect();
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
        let keys: ArrayRef = Arc::new(StringArray::from(keys));
        let kinds = [RowKind::Insert, RowKind::Delete].repeat(500);
        ChangeBatch::new(
            RecordBatch::try_from_iter_with_nullable([("k", keys, true), ("v", values, true)]).unwrap(),
            kinds,
        )
    }

    fn spread(partitioning: Partitioning, tasks: usize) -> Vec<Vec<ChangeBatch>> {
        let mailboxes: Vec<_> = (0..tasks).map(|_| Mailbox::new(1)).collect();
        let ports = mailboxes.iter().map(|m| Port::new(m.clone(), 0)).collect();
        let mut exchange = Exchange::new(partitioning, ports, 128);
        exchange.emit(batch()).unwrap();
        exchange.emit(batch()).unwrap();
        mailboxes
            .iter()
            .map(|m| {
                let mut got = Vec::new();
                while let Received::Message(_, Message::Batch(b)) = m.receive(Duration::ZERO) {
                    got.push(b);
                }
                got
            })
            .collect()
    }

    #[test]
    fn a_key_goes_to_one_task_in_order_and_nothing_is_lost() {
        for tasks in 1..=4 {
            let mut homes: HashMap<Option<String>, usize> = HashMap::new();
            let mut rows = 0;
            for (task, batches) in spread(Partitioning::Hash(vec![0]), tasks).iter().enumerate() {
                for batch in batches {
                    let keys = batch.records().column(0).as_any().downcast_ref::<StringArray>().unwrap();
                    let values = batch.records().column(1).as_any().downcast_ref::<Int64Array>().unwrap();
                    assert!(values.values().is_sorted());
                    for row in 0..batch.num_rows() {
                        let key = (!keys.is_null(row)).then(|| keys.value(row).to_string());
                        assert_eq!(*homes.entry(key).or_insert(task), task);
                        assert_eq!(batch.kind(row).is_addition(), values.value(row) % 2 == 0);
                    }
                    rows += batch.num_rows();
                }
            }
            assert_eq!((rows, homes.len()), (2000, 10), "{tasks} tasks");
        }
    }

    #[test]
    fn rebalance_takes_turns() {
        let sizes: Vec<usize> = spread(Partitioning::Rebalance, 3).iter().map(Vec::len).collect();
        assert_eq!(sizes, [1, 1, 0]);
    }
}
