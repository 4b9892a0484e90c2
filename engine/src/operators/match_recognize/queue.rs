//! Partial and complete matches of a partition, the one that began first at the head.

/// What a match has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// State of the automaton.
    pub state: u32,
    /// The last row's place in the graph of matches; none before the first row.
    pub node: u32,
    /// Number of its first row in the partition; `NOT_BEGUN` before.
    pub start: u64,
    /// Time of its first row.
    pub start_ms: i64,
}

/// The `start` of what has no row yet: after all others.
pub(super) const NOT_BEGUN: u64 = u64::MAX;

/// A binary heap by `start`. Among matches that began with the same row, the order of what is put in and taken out is
/// that of `java.util.PriorityQueue`: in Flink it decides which of them is told.
#[derive(Debug, Clone, Default)]
pub(super) struct Queue {
    heap: Vec<Run>,
}

impl Queue {
    /// In the order of the heap, as it is to be put in again.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Run> {
        self.heap.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    pub(super) fn peek(&self) -> Option<&Run> {
        self.heap.first()
    }

    pub(super) fn push(&mut self, run: Run) {
        self.heap.push(run);
        let mut at = self.heap.len() - 1;
        while at > 0 {
            let parent = (at - 1) / 2;
            if self.heap[at].start >= self.heap[parent].start {
                break;
            }
            self.heap.swap(at, parent);
            at = parent;
        }
    }

    pub(super) fn pop(&mut self) -> Option<Run> {
        let last = self.heap.pop()?;
        let Some(head) = self.heap.first_mut() else { return Some(last) };
        let head = std::mem::replace(head, last);
        self.sift_down(0);
        Some(head)
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let mut child = 2 * at + 1;
            if child >= self.heap.len() {
                return;
            }
            if child + 1 < self.heap.len() && self.heap[child].start > self.heap[child + 1].start {
                child += 1;
            }
            if self.heap[at].start <= self.heap[child].start {
                return;
            }
            self.heap.swap(at, child);
            at = child;
        }
    }

    /// Takes out what `goes`, in the order of the heap.
    pub(super) fn take_out(&mut self, goes: impl Fn(&Run) -> bool) -> Vec<Run> {
        let (gone, kept): (Vec<Run>, Vec<Run>) = self.heap.iter().partition(|run| goes(run));
        if !gone.is_empty() {
            self.heap = kept;
            for at in (0..self.heap.len() / 2).rev() {
                self.sift_down(at);
            }
        }
        gone
    }

    /// Bytes held.
    pub(super) fn size(&self) -> usize {
        self.heap.capacity() * size_of::<Run>()
    }
}

impl FromIterator<Run> for Queue {
    fn from_iter<T: IntoIterator<Item = Run>>(runs: T) -> Self {
        let mut queue = Self::default();
        runs.into_iter().for_each(|run| queue.push(run));
        queue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(start: u64, state: u32) -> Run {
        Run { state, node: 0, start, start_ms: 0 }
    }

    fn states(queue: &Queue) -> Vec<u32> {
        queue.iter().map(|r| r.state).collect()
    }

    #[test]
    fn the_first_begun_is_at_the_head_and_equals_keep_javas_order() {
        let mut queue: Queue =
            [run(3, 0), run(1, 1), run(1, 2), run(NOT_BEGUN, 3), run(1, 4)].into_iter().collect();
        // As java.util.PriorityQueue lays them out.
        assert_eq!(states(&queue), [1, 4, 2, 3, 0]);
        let again: Queue = queue.iter().copied().collect();
        assert_eq!(states(&again), states(&queue));
        assert_eq!(queue.pop().map(|r| r.state), Some(1));
        assert_eq!(states(&queue), [4, 0, 2, 3]);
        assert_eq!(queue.take_out(|r| r.state == 4).len(), 1);
        assert_eq!(states(&queue), [2, 0, 3]);
        assert_eq!(queue.len(), 3);
    }
}
