//! Watermarks: how far event time has come, for one split, one source task, or several inputs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// No row at or before this event time will come any more. Milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watermark(pub i64);

impl Watermark {
    /// Before all time: nothing is known.
    pub const MIN: Self = Self(i64::MIN);
    /// After all time: the end of bounded input, which fires every window.
    pub const MAX: Self = Self(i64::MAX);
}

impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::MIN => f.write_str("none"),
            Self::MAX => f.write_str("end"),
            Self(ms) => match chrono::DateTime::from_timestamp_millis(ms) {
                Some(t) => write!(f, "{}", t.format("%Y-%m-%d %H:%M:%S%.3f")),
                None => write!(f, "{ms}"),
            },
        }
    }
}

/// The minimum over several inputs, idle and ended ones left out.
#[derive(Debug, Clone)]
pub struct WatermarkMerge {
    inputs: Vec<Input>,
    emitted: Watermark,
    idle: bool,
}

#[derive(Debug, Clone, Copy)]
struct Input {
    watermark: Watermark,
    idle: bool,
    ended: bool,
}

/// What a merge has to tell downstream after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeChange {
    /// Event time has moved on to this watermark; or, after idleness, is still there and counts again.
    Watermark(Watermark),
    /// All inputs are idle now.
    Idle,
}

impl WatermarkMerge {
    /// A merge of `inputs` inputs, none of which has told anything.
    pub fn new(inputs: usize) -> Self {
        let input = Input { watermark: Watermark::MIN, idle: false, ended: false };
        Self { inputs: vec![input; inputs], emitted: Watermark::MIN, idle: false }
    }

    /// A merge of a restored job, which had told `watermark` before.
    pub fn restored(inputs: usize, watermark: Watermark) -> Self {
        Self { emitted: watermark, ..Self::new(inputs) }
    }

    /// Input `input` has moved on; it is active again if it was idle.
    pub fn watermark(&mut self, input: usize, watermark: Watermark) -> Option<MergeChange> {
        let state = &mut self.inputs[input];
        state.watermark = state.watermark.max(watermark);
        state.idle = false;
        self.change()
    }

    /// Input `input` has data again, without a new watermark. If all inputs were idle, the current watermark
    /// is told again, which ends idleness downstream.
    pub fn active(&mut self, input: usize) -> Option<MergeChange> {
        if !self.inputs[input].idle {
            return None;
        }
        self.inputs[input].idle = false;
        self.change()
    }

    /// Input `input` is idle.
    pub fn idle(&mut self, input: usize) -> Option<MergeChange> {
        self.inputs[input].idle = true;
        self.change()
    }

    /// Input `input` has ended and is left out for good.
    pub fn end(&mut self, input: usize) -> Option<MergeChange> {
        self.inputs[input].ended = true;
        self.change()
    }

    /// What is still to be told after a change: idleness, where the change was the last watermark before it.
    pub fn poll(&mut self) -> Option<MergeChange> {
        self.change()
    }

    /// Whether all inputs have ended.
    pub fn all_ended(&self) -> bool {
        self.inputs.iter().all(|i| i.ended)
    }

    /// The last watermark told downstream.
    pub fn current(&self) -> Watermark {
        self.emitted
    }

    fn change(&mut self) -> Option<MergeChange> {
        let live = || self.inputs.iter().filter(|i| !i.ended);
        live().next()?;
        let active = live().filter(|i| !i.idle).map(|i| i.watermark).min();
        // When all are idle, what the furthest of them promised still holds.
        let minimum = match active {
            Some(w) => w,
            None => live().map(|i| i.watermark).max().unwrap_or(Watermark::MIN),
        };
        let was_idle = std::mem::replace(&mut self.idle, active.is_none());
        if minimum > self.emitted {
            self.emitted = minimum;
            // A watermark ends idleness: if all are idle, that is told by the next poll.
            self.idle = false;
            return Some(MergeChange::Watermark(minimum));
        }
        match (was_idle, self.idle) {
            (false, true) => Some(MergeChange::Idle),
            (true, false) => Some(MergeChange::Watermark(self.emitted)),
            _ => None,
        }
    }
}

/// The watermarks of the splits that one source task reads: kept per split, merged by minimum, splits
/// without rows for the idle timeout left out.
#[derive(Debug, Clone)]
pub struct SplitWatermarks {
    splits: BTreeMap<Arc<str>, SplitState>,
    idle_timeout_ms: Option<u64>,
    emitted: Watermark,
    idle: bool,
}

/// One split as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitView {
    /// Its id.
    pub split: Arc<str>,
    /// The greatest watermark of its rows.
    pub watermark: Watermark,
    /// Whether it is left out.
    pub idle: bool,
    /// Processing time of its last row, or of its assignment.
    pub last_row_ms: i64,
}

#[derive(Debug, Clone, Copy)]
struct SplitState {
    watermark: Watermark,
    last_row_ms: i64,
    idle: bool,
}

impl SplitWatermarks {
    /// No splits yet. `idle_timeout_ms` is in processing time; `None` never makes a split idle.
    pub fn new(idle_timeout_ms: Option<u64>) -> Self {
        let idle_timeout_ms = idle_timeout_ms.filter(|t| *t > 0);
        Self { splits: BTreeMap::new(), idle_timeout_ms, emitted: Watermark::MIN, idle: false }
    }

    /// A split was assigned at `now_ms`.
    pub fn add(&mut self, split: Arc<str>, now_ms: i64) {
        let state = SplitState { watermark: Watermark::MIN, last_row_ms: now_ms, idle: false };
        self.splits.insert(split, state);
    }

    /// Rows of `split` came at `now_ms`; the greatest watermark among them was `watermark`.
    pub fn observe(&mut self, split: &str, watermark: Watermark, now_ms: i64) {
        if let Some(state) = self.splits.get_mut(split) {
            state.watermark = state.watermark.max(watermark);
            state.last_row_ms = now_ms;
            state.idle = false;
        }
    }

    /// `split` has ended and no longer holds the others back.
    pub fn finish(&mut self, split: &str) {
        self.splits.remove(split);
    }

    /// The time spent not reading (backpressure) does not count as idleness: moves all clocks on.
    pub fn forgive(&mut self, ms: i64) {
        for state in self.splits.values_mut() {
            state.last_row_ms = state.last_row_ms.saturating_add(ms);
        }
    }

    /// What is to be told downstream at `now_ms`. A task without splits is idle.
    pub fn poll(&mut self, now_ms: i64) -> Option<MergeChange> {
        if let Some(timeout) = self.idle_timeout_ms {
            for state in self.splits.values_mut() {
                state.idle = now_ms.saturating_sub(state.last_row_ms) >= timeout as i64;
            }
        }
        let minimum = self.splits.values().filter(|s| !s.idle).map(|s| s.watermark).min();
        let all_idle = minimum.is_none();
        // When all are idle, what the furthest of them promised still holds.
        let minimum = minimum.or_else(|| self.splits.values().map(|s| s.watermark).max());
        if let Some(minimum) = minimum.filter(|m| *m > self.emitted) {
            self.emitted = minimum;
            // A watermark ends idleness: if all are idle, that is told by the next poll.
            self.idle = false;
            return Some(MergeChange::Watermark(minimum));
        }
        match (std::mem::replace(&mut self.idle, all_idle), all_idle) {
            (false, true) => Some(MergeChange::Idle),
            (true, false) => Some(MergeChange::Watermark(self.emitted)),
            _ => None,
        }
    }

    /// Event time has been told as `watermark` between two rows: what [`poll`](Self::poll) tells comes after
    /// it. Earlier or equal ones change nothing and give `false`.
    pub fn tell(&mut self, watermark: Watermark) -> bool {
        let later = watermark > self.emitted;
        if later {
            self.emitted = watermark;
            self.idle = false;
        }
        later
    }

    /// The least watermark of the other splits that are not idle; `None` if `split` alone decides.
    pub fn others(&self, split: &str) -> Option<Watermark> {
        self.splits.iter().filter(|(id, s)| id.as_ref() != split && !s.idle).map(|(_, s)| s.watermark).min()
    }

    /// The watermark of one split, if it is known.
    pub fn of(&self, split: &str) -> Option<Watermark> {
        self.splits.get(split).map(|s| s.watermark)
    }

    /// Each split, for telling why a query is silent.
    pub fn splits(&self) -> impl Iterator<Item = SplitView> + '_ {
        self.splits.iter().map(|(split, s)| SplitView {
            split: split.clone(),
            watermark: s.watermark,
            idle: s.idle,
            last_row_ms: s.last_row_ms,
        })
    }

    /// The last watermark told downstream.
    pub fn current(&self) -> Watermark {
        self.emitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_input_rules() {
        let mut merge = WatermarkMerge::new(2);
        assert_eq!(merge.watermark(0, Watermark(10)), None);
        assert_eq!(merge.watermark(1, Watermark(5)), Some(MergeChange::Watermark(Watermark(5))));
        assert_eq!(merge.watermark(1, Watermark(4)), None);
        assert_eq!(merge.end(1), Some(MergeChange::Watermark(Watermark(10))));
    }

    #[test]
    fn idle_inputs_are_left_out_and_never_take_time_back() {
        let mut merge = WatermarkMerge::new(2);
        merge.watermark(0, Watermark(10));
        assert_eq!(merge.idle(1), Some(MergeChange::Watermark(Watermark(10))));
        assert_eq!(merge.watermark(1, Watermark(3)), None);
        assert_eq!(merge.current(), Watermark(10));
        assert_eq!(merge.idle(0), None);
        assert_eq!(merge.idle(1), Some(MergeChange::Idle));
        assert_eq!(merge.idle(1), None);
        assert_eq!(merge.active(1), Some(MergeChange::Watermark(Watermark(10))));
        assert_eq!(merge.active(1), None);
    }

    #[test]
    fn idleness_is_told_after_the_last_watermark() {
        let mut merge = WatermarkMerge::new(2);
        merge.watermark(0, Watermark(10));
        merge.watermark(1, Watermark(3));
        assert_eq!(merge.idle(0), None);
        assert_eq!(merge.idle(1), Some(MergeChange::Watermark(Watermark(10))));
        assert_eq!(merge.poll(), Some(MergeChange::Idle));
        assert_eq!(merge.poll(), None);
    }

    #[test]
    fn a_split_that_wakes_counts_again() {
        let mut splits = SplitWatermarks::new(Some(1000));
        splits.add("a".into(), 0);
        splits.observe("a", Watermark(50), 0);
        assert_eq!(splits.poll(0), Some(MergeChange::Watermark(Watermark(50))));
        assert_eq!(splits.poll(1000), Some(MergeChange::Idle));
        splits.observe("a", Watermark(40), 1001);
        assert_eq!(splits.poll(1001), Some(MergeChange::Watermark(Watermark(50))));
        assert_eq!(splits.poll(1002), None);
        splits.add("b".into(), 1002);
        assert_eq!((splits.others("a"), splits.others("b")), (Some(Watermark::MIN), Some(Watermark(50))));
        assert!(!splits.tell(Watermark(50)));
        assert!(splits.tell(Watermark(51)));
    }

    #[test]
    fn a_silent_split_holds_time_until_it_is_idle() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut splits = SplitWatermarks::new(Some(1000));
        splits.add(a.clone(), 0);
        splits.add(b.clone(), 0);
        splits.observe("a", Watermark(50), 900);
        assert_eq!(splits.poll(999), None);
        assert_eq!(splits.poll(1000), Some(MergeChange::Watermark(Watermark(50))));
        assert_eq!(splits.poll(1500), None);
        assert_eq!(splits.poll(1900), Some(MergeChange::Idle));
        assert_eq!(splits.poll(5000), None);
    }

    #[test]
    fn a_task_without_splits_is_idle() {
        assert_eq!(SplitWatermarks::new(None).poll(0), Some(MergeChange::Idle));
    }
}
