//! The sink of a SELECT: rows wait in a bounded buffer until the caller takes them.

use super::shutdown::{Event, Wake, lock};
use super::{JobHandle, ResultEvent};
use crate::connector::{Sink, Writer, WriterContext};
use crate::error::Result;
use crate::message::ChangeBatch;
use crate::plan::ChangelogMode;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Most rows that wait for the caller.
const BUFFER_ROWS: usize = 65_536;
/// Most bytes that wait for the caller; one batch always fits.
const BUFFER_BYTES: usize = 16 * 1024 * 1024;

/// Rows between the writers and the caller.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    state: Mutex<State>,
    room: Condvar,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<(ChangeBatch, usize)>,
    rows: usize,
    bytes: usize,
    /// Writers no longer wait: the job is being stopped, or nobody reads.
    closed: bool,
    /// The job has ended: nothing more comes.
    ended: bool,
}

impl Buffer {
    /// Adds rows; waits while the buffer is full. Rows that come after the caller has gone are dropped.
    fn push(&self, batch: ChangeBatch) {
        let (rows, bytes) = (batch.num_rows(), batch.num_bytes());
        let full = |s: &mut State| {
            !s.closed
                && !s.batches.is_empty()
                && (s.rows + rows > BUFFER_ROWS || s.bytes + bytes > BUFFER_BYTES)
        };
        let wait = self.room.wait_while(lock(&self.state), full);
        let mut state = wait.unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return;
        }
        state.rows += rows;
        state.bytes += bytes;
        let was_empty = state.batches.is_empty();
        state.batches.push_back((batch, bytes));
        drop(state);
        if was_empty {
            self.filled.notify_one();
        }
    }

    /// Nobody reads any more.
    fn close(&self) {
        lock(&self.state).closed = true;
        self.room.notify_all();
    }

    fn pop(&self, state: &mut State) -> Option<ChangeBatch> {
        let (batch, bytes) = state.batches.pop_front()?;
        state.rows -= batch.num_rows();
        state.bytes -= bytes;
        self.room.notify_all();
        Some(batch)
    }
}

impl Wake for Buffer {
    fn wake(&self, event: Event) {
        match event {
            Event::Stopping => self.close(),
            Event::Ended => {
                lock(&self.state).ended = true;
                self.filled.notify_all();
            }
        }
    }
}

#[derive(Debug)]
struct CollectSink {
    buffer: Arc<Buffer>,
}

impl Sink for CollectSink {
    fn accepts(&self) -> ChangelogMode {
        ChangelogMode::RETRACT
    }

    fn describe(&self) -> String {
        "collect".to_string()
    }

    fn writer(&self, _context: WriterContext) -> Result<Box<dyn Writer>> {
        Ok(Box::new(CollectWriter { buffer: self.buffer.clone() }))
    }
}

struct CollectWriter {
    buffer: Arc<Buffer>,
}

impl Writer for CollectWriter {
    fn write(&mut self, batch: ChangeBatch) -> Result<()> {
        self.buffer.push(batch);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn flush_interval_ms(&self) -> Option<u64> {
        None
    }
}

/// A sink whose rows are read by [`Collected::results`], for SELECT.
pub fn collect() -> (Arc<dyn Sink>, Collected) {
    let buffer = Arc::new(Buffer::default());
    (Arc::new(CollectSink { buffer: buffer.clone() }), Collected { reader: Reader(buffer) })
}

/// The reading end: when it goes, writers no longer wait for it.
#[derive(Debug)]
struct Reader(Arc<Buffer>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The reading end of [`collect`].
#[derive(Debug)]
pub struct Collected {
    reader: Reader,
}

impl Collected {
    /// The rows of `job`, whose plan writes to the sink made with this.
    pub fn results(self, job: JobHandle) -> ResultStream {
        if let Some(control) = job.control() {
            control.register(&self.reader.0);
        }
        ResultStream { reader: self.reader, job }
    }
}

/// The rows of a SELECT. Dropping it cancels the job.
#[derive(Debug)]
pub struct ResultStream {
    reader: Reader,
    job: JobHandle,
}

impl ResultStream {
    /// The next rows; waits at most `timeout`. All rows come before `End`.
    pub fn next(&mut self, timeout: Duration) -> ResultEvent {
        let buffer = &self.reader.0;
        // Asked before looking into the buffer: rows that came before the end are seen.
        let result = self.job.control().and_then(|c| c.result());
        let state = lock(&buffer.state);
        let waits = |s: &mut State| s.batches.is_empty() && !s.ended && result.is_none();
        let wait = buffer.filled.wait_timeout_while(state, timeout, waits);
        let mut state = wait.unwrap_or_else(PoisonError::into_inner).0;
        if let Some(batch) = buffer.pop(&mut state) {
            return ResultEvent::Batch(batch);
        }
        let ended = state.ended;
        drop(state);
        match result.or_else(|| ended.then(|| self.job.control().and_then(|c| c.result())).flatten()) {
            Some(result) => ResultEvent::End(result),
            None => ResultEvent::Pending,
        }
    }

    /// The job behind it.
    pub fn job(&self) -> &JobHandle {
        &self.job
    }
}

impl Drop for ResultStream {
    fn drop(&mut self) {
        self.job.cancel();
    }
}
