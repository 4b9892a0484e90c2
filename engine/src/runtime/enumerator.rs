//! The enumerator thread of a source: finds splits and deals them to the readers.

use super::shutdown::{Event, Wake, lock};
use super::task::{TaskContext, spawn};
use crate::connector::{Enumerator, Source, SourceContext, Split};
use crate::error::{Error, Result};
use crate::failpoint;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Between the enumerator of a source and its readers.
pub(super) struct SplitBoard {
    state: Mutex<State>,
    /// For the enumerator: a split is finished, or the job stops.
    finished: Condvar,
    /// For readers without splits: there are new ones, or none will ever come.
    assigned: Condvar,
}

struct State {
    readers: Vec<ReaderState>,
    owners: HashMap<String, usize>,
    finished: VecDeque<Split>,
    /// Finished splits that the enumerator has answered with a `discover`.
    answered: u64,
    told: u64,
    discovered: bool,
    complete: bool,
    stopped: bool,
}

#[derive(Default)]
struct ReaderState {
    inbox: Vec<Split>,
    /// Splits assigned and not finished.
    load: usize,
    gone: bool,
}

/// What a reader finds on the board.
pub(super) struct News {
    /// Splits to read from now on.
    pub(super) splits: Vec<Split>,
    /// The first splits have been dealt: a reader without any has none.
    pub(super) discovered: bool,
    /// No split will ever be added.
    pub(super) complete: bool,
    /// Number of finished splits whose successors, if any, have been dealt.
    pub(super) answered: u64,
}

impl SplitBoard {
    /// For `readers` readers.
    pub(super) fn new(readers: usize) -> Arc<Self> {
        let state = State {
            readers: (0..readers).map(|_| ReaderState::default()).collect(),
            owners: HashMap::new(),
            finished: VecDeque::new(),
            answered: 0,
            told: 0,
            discovered: false,
            complete: false,
            stopped: false,
        };
        Arc::new(Self { state: Mutex::new(state), finished: Condvar::new(), assigned: Condvar::new() })
    }

    /// For the readers of a restored job, which have these splits to begin with. Those that are finished are not
    /// handed out again either.
    pub(super) fn restored(splits: &[Vec<Split>], finished: &[Split]) -> Arc<Self> {
        let board = Self::new(splits.len());
        let mut state = lock(&board.state);
        for (reader, own) in splits.iter().enumerate() {
            state.owners.extend(own.iter().map(|s| (s.id.clone(), reader)));
            state.readers[reader].load = own.len();
            state.readers[reader].inbox = own.clone();
        }
        state.owners.extend(finished.iter().map(|s| (s.id.clone(), 0)));
        drop(state);
        board
    }

    /// Deals new splits, each to the reader with the fewest, the first of equals.
    ///
    /// Errors: a split was handed out before.
    fn deal(&self, splits: Vec<Split>, complete: bool, answered: u64) -> Result<()> {
        let mut state = lock(&self.state);
        for split in splits {
            let readers = state.readers.iter().enumerate().filter(|(_, r)| !r.gone);
            let Some((reader, _)) = readers.min_by_key(|(_, r)| r.load) else { break };
            if state.owners.insert(split.id.clone(), reader).is_some() {
                return Err(Error::internal(format!("Split {} was handed out twice.", split.id)));
            }
            state.readers[reader].load += 1;
            state.readers[reader].inbox.push(split);
        }
        state.discovered = true;
        state.complete |= complete;
        state.answered += answered;
        drop(state);
        self.assigned.notify_all();
        Ok(())
    }

    /// What is new for reader `task`.
    pub(super) fn news(&self, task: usize) -> News {
        let mut state = lock(&self.state);
        News {
            splits: std::mem::take(&mut state.readers[task].inbox),
            discovered: state.discovered,
            complete: state.complete,
            answered: state.answered,
        }
    }

    /// Waits until there may be news for reader `task`, at most `timeout`.
    pub(super) fn wait_for_news(&self, task: usize, timeout: Duration) {
        let state = lock(&self.state);
        let waits = |s: &mut State| !s.stopped && s.readers[task].inbox.is_empty();
        drop(self.assigned.wait_timeout_while(state, timeout, waits).unwrap_or_else(PoisonError::into_inner));
    }

    /// Reader `task` has come to the end of `split`. Gives its number among all finished ones: when as many are
    /// answered, its successors have been dealt.
    pub(super) fn finish(&self, task: usize, split: Split) -> u64 {
        let mut state = lock(&self.state);
        state.readers[task].load = state.readers[task].load.saturating_sub(1);
        state.finished.push_back(split);
        state.told += 1;
        let number = state.told;
        drop(state);
        self.finished.notify_all();
        number
    }

    /// Reader `task` reads no more.
    pub(super) fn leave(&self, task: usize) {
        lock(&self.state).readers[task].gone = true;
        self.finished.notify_all();
    }

    /// Waits until a split is finished, `timeout` is over, or there is nothing left to do (`None`).
    fn wait_for_finished(&self, timeout: Option<Duration>) -> Option<Vec<Split>> {
        let over = |s: &State| s.stopped || s.readers.iter().all(|r| r.gone);
        let waits = |s: &mut State| s.finished.is_empty() && !over(s);
        let state = lock(&self.state);
        let mut state = match timeout {
            None => self.finished.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner),
            Some(t) => {
                self.finished.wait_timeout_while(state, t, waits).unwrap_or_else(PoisonError::into_inner).0
            }
        };
        (!over(&state)).then(|| state.finished.drain(..).collect())
    }
}

impl Wake for SplitBoard {
    fn wake(&self, event: Event) {
        if event == Event::Stopping {
            lock(&self.state).stopped = true;
            self.finished.notify_all();
            self.assigned.notify_all();
        }
    }
}

/// The thread that runs a source's enumerator.
pub(super) struct EnumeratorTask {
    pub(super) name: String,
    pub(super) source: Arc<dyn Source>,
    pub(super) source_context: SourceContext,
    pub(super) context: TaskContext,
    pub(super) board: Arc<SplitBoard>,
    /// Splits of a checkpoint: those to be read on, and those that are finished.
    pub(super) restored: Option<(Vec<Split>, Vec<Split>)>,
}

impl EnumeratorTask {
    /// Starts it.
    pub(super) fn start(self, thread_name: String) {
        let control = self.context.control.clone();
        spawn(
            &control,
            thread_name,
            self,
            |task| task.run().map_err(|e| e.within(&task.name)),
            |task| task.name.clone(),
        );
    }

    fn run(&mut self) -> Result<()> {
        let mut enumerator = self.source.enumerator(&self.source_context)?;
        if let Some((known, finished)) = self.restored.take() {
            failpoint::hit("restore.enumerator")?;
            enumerator.restore(&known, &finished)?;
        }
        self.context.control.opened();
        self.enumerate(enumerator.as_mut())
    }

    fn enumerate(&self, enumerator: &mut dyn Enumerator) -> Result<()> {
        let mut answered = 0;
        loop {
            let found = enumerator.discover()?;
            self.board.deal(found.splits, found.complete, answered)?;
            if found.complete {
                return Ok(());
            }
            let Some(finished) = self.board.wait_for_finished(enumerator.interval()) else { return Ok(()) };
            answered = finished.len() as u64;
            for split in &finished {
                enumerator.finished(split)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn splits(ids: std::ops::Range<usize>) -> Vec<Split> {
        ids.map(|n| Split { id: format!("s{n}"), position: String::new() }).collect()
    }

    fn ids(news: News) -> Vec<String> {
        news.splits.into_iter().map(|s| s.id).collect()
    }

    #[test]
    fn splits_go_to_the_least_loaded_reader() {
        let board = SplitBoard::new(3);
        board.deal(splits(0..5), false, 0).unwrap();
        assert_eq!(ids(board.news(0)), ["s0", "s3"]);
        assert_eq!(ids(board.news(1)), ["s1", "s4"]);
        assert_eq!(ids(board.news(2)), ["s2"]);
        assert_eq!(board.finish(1, splits(1..2).remove(0)), 1);
        board.finish(1, splits(4..5).remove(0));
        board.deal(splits(5..8), true, 2).unwrap();
        let news = board.news(1);
        assert!(news.complete && news.answered == 2);
        assert_eq!(ids(news), ["s5", "s6"]);
        assert_eq!(ids(board.news(2)), ["s7"]);
        assert!(board.deal(splits(5..6), false, 0).is_err());
    }
}
