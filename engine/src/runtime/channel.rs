//! One mailbox for each task: a bounded queue per input channel, one sender to each queue.

use super::coordinator::Poke;
use super::shutdown::{Event, Wake, lock, stopped};
use super::wait_time::WaitTime;
use crate::error::Result;
use crate::message::Message;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Most rows that wait in one channel.
pub(super) const CHANNEL_ROWS: usize = 16_384;
/// Most bytes that wait in one channel. A message that is larger passes alone.
pub(super) const CHANNEL_BYTES: usize = 2 * 1024 * 1024;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It waits for the receiver.
    Taken,
    /// The receiver wants nothing more, now or later.
    Discarded,
}

/// What the receiver got.
#[derive(Debug)]
pub(super) enum Received {
    /// A message of a channel.
    Message(usize, Message),
    /// Nothing came in time.
    Nothing,
    /// The job is being stopped.
    Stopped,
}

/// The input of one task. Senders block while their queue is full; the receiver takes from any queue that is
/// not blocked, in turn.
pub(super) struct Mailbox {
    state: Mutex<State>,
    readable: Condvar,
    /// One for each channel: a channel has one sender.
    writable: Box<[Condvar]>,
    /// Time that the receiver has waited for a message.
    idle: Arc<WaitTime>,
    /// Time that the sender of each channel has waited for room.
    full: Box<[Arc<WaitTime>]>,
}

struct State {
    queues: Box<[Queue]>,
    next: usize,
    phase: Phase,
    receiver_waits: bool,
    /// The receiver is to look round: it gets nothing once.
    poked: bool,
    /// Messages in queues that are not blocked.
    ready: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The receiver has ended well and wants nothing more.
    Finished,
    /// The job is being stopped.
    Stopped,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<(Message, usize, usize)>,
    rows: usize,
    bytes: usize,
    blocked: bool,
    sender_waits: bool,
}

impl Queue {
    fn has_room(&self, rows: usize, bytes: usize) -> bool {
        self.messages.is_empty() || (self.rows + rows <= CHANNEL_ROWS && self.bytes + bytes <= CHANNEL_BYTES)
    }

    /// Half empty: senders are woken then rather than at each message.
    fn is_roomy(&self) -> bool {
        self.messages.is_empty() || (self.rows <= CHANNEL_ROWS / 2 && self.bytes <= CHANNEL_BYTES / 2)
    }
}

/// Rows and bytes that a message counts for. Signals count as one row, so that they are bounded too.
fn size(message: &Message) -> (usize, usize) {
    match message {
        Message::Batch(batch) => (batch.num_rows().max(1), batch.num_bytes()),
        _ => (1, 0),
    }
}

impl Mailbox {
    /// A mailbox of `channels` channels.
    pub(super) fn new(channels: usize) -> Arc<Self> {
        let state = State {
            queues: (0..channels).map(|_| Queue::default()).collect(),
            next: 0,
            phase: Phase::Open,
            receiver_waits: false,
            poked: false,
            ready: 0,
        };
        let writable = (0..channels).map(|_| Condvar::new()).collect();
        let full = (0..channels).map(|_| Arc::default()).collect();
        let (readable, idle) = (Condvar::new(), Arc::default());
        Arc::new(Self { state: Mutex::new(state), readable, writable, idle, full })
    }

    /// How long the receiver has waited for messages.
    pub(super) fn idle(&self) -> &Arc<WaitTime> {
        &self.idle
    }

    /// How long the sender of `channel` has waited for room.
    pub(super) fn full(&self, channel: usize) -> &Arc<WaitTime> {
        &self.full[channel]
    }

    /// Number of channels.
    pub(super) fn channels(&self) -> usize {
        self.writable.len()
    }

    /// Puts `message` into `channel`; blocks while it is full.
    ///
    /// Errors: the job is being stopped.
    pub(super) fn send(&self, channel: usize, message: Message) -> Result<Sent> {
        let (rows, bytes) = size(&message);
        let mut state = lock(&self.state);
        loop {
            match state.phase {
                Phase::Open => {}
                Phase::Finished => return Ok(Sent::Discarded),
                Phase::Stopped => return Err(stopped()),
            }
            let queue = &mut state.queues[channel];
            if queue.has_room(rows, bytes) {
                break;
            }
            queue.sender_waits = true;
            self.full[channel].begin();
            state = self.writable[channel].wait(state).unwrap_or_else(PoisonError::into_inner);
            self.full[channel].end();
            state.queues[channel].sender_waits = false;
        }
        let queue = &mut state.queues[channel];
        // Of watermarks in a row, only the last one matters.
        if let (Message::Watermark(new), Some((Message::Watermark(last), ..))) =
            (&message, queue.messages.back_mut())
        {
            *last = *new;
            return Ok(Sent::Taken);
        }
        queue.messages.push_back((message, rows, bytes));
        queue.rows += rows;
        queue.bytes += bytes;
        if !queue.blocked {
            state.ready += 1;
            if state.receiver_waits {
                state.receiver_waits = false;
                drop(state);
                self.readable.notify_one();
            }
        }
        Ok(Sent::Taken)
    }

    /// The next message of any channel that is not blocked; waits at most `timeout`.
    pub(super) fn receive(&self, timeout: Duration) -> Received {
        let mut state = lock(&self.state);
        if state.ready == 0 && state.phase != Phase::Stopped && !timeout.is_zero() {
            state.receiver_waits = true;
            let waits = |s: &mut State| s.ready == 0 && s.phase != Phase::Stopped && !s.poked;
            self.idle.begin();
            let wait = self.readable.wait_timeout_while(state, timeout, waits);
            state = wait.unwrap_or_else(PoisonError::into_inner).0;
            self.idle.end();
            state.receiver_waits = false;
            state.poked = false;
        }
        if state.phase == Phase::Stopped {
            return Received::Stopped;
        }
        if state.ready == 0 {
            return Received::Nothing;
        }
        let channels = state.queues.len();
        for turn in 0..channels {
            let channel = (state.next + turn) % channels;
            let queue = &mut state.queues[channel];
            if queue.blocked {
                continue;
            }
            if let Some((message, rows, bytes)) = queue.messages.pop_front() {
                queue.rows -= rows;
                queue.bytes -= bytes;
                let wake = queue.sender_waits && queue.is_roomy();
                state.next = channel + 1;
                state.ready -= 1;
                drop(state);
                if wake {
                    self.writable[channel].notify_one();
                }
                return Received::Message(channel, message);
            }
        }
        Received::Nothing
    }

    /// Sets a channel aside, or takes it back. Its sender may go on until it is full.
    pub(super) fn block(&self, channel: usize, blocked: bool) {
        let mut state = lock(&self.state);
        let queue = &mut state.queues[channel];
        if queue.blocked != blocked {
            queue.blocked = blocked;
            let waiting = queue.messages.len();
            if blocked {
                state.ready -= waiting;
            } else {
                state.ready += waiting;
            }
        }
    }

    /// The receiver wants nothing more: what waits is dropped, and senders go on without it.
    pub(super) fn finish(&self) {
        self.close(Phase::Finished);
    }

    /// Whether the receiver wants nothing more.
    pub(super) fn is_finished(&self) -> bool {
        lock(&self.state).phase == Phase::Finished
    }

    fn close(&self, phase: Phase) {
        let mut state = lock(&self.state);
        if state.phase == Phase::Stopped {
            return;
        }
        state.phase = phase;
        state.ready = 0;
        for queue in &mut state.queues {
            queue.messages.clear();
            (queue.rows, queue.bytes) = (0, 0);
        }
        drop(state);
        self.readable.notify_all();
        for writable in &self.writable {
            writable.notify_all();
        }
    }

    #[cfg(test)]
    pub(super) fn waiting(&self, channel: usize) -> (usize, usize) {
        let state = lock(&self.state);
        (state.queues[channel].rows, state.queues[channel].bytes)
    }
}

impl Poke for Mailbox {
    fn poke(&self) {
        lock(&self.state).poked = true;
        self.readable.notify_one();
    }
}

impl Wake for Mailbox {
    fn wake(&self, event: Event) {
        if event == Event::Stopping {
            self.close(Phase::Stopped);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ChangeBatch;
    use crate::time::Watermark;
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use std::thread;

    const SOON: Duration = Duration::from_millis(20);

    fn batch(rows: usize) -> Message {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1; rows]));
        Message::Batch(ChangeBatch::inserts(RecordBatch::try_from_iter([("a", column)]).unwrap()))
    }

    fn rows(received: Received) -> usize {
        match received {
            Received::Message(_, Message::Batch(b)) => b.num_rows(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_full_channel_blocks_its_sender_only_and_room_wakes_it() {
        let mailbox = Mailbox::new(2);
        mailbox.send(0, batch(CHANNEL_ROWS - 1)).unwrap();
        let sender = thread::spawn({
            let mailbox = mailbox.clone();
            move || mailbox.send(0, batch(2)).unwrap()
        });
        thread::sleep(SOON);
        assert!(!sender.is_finished());
        mailbox.send(1, batch(3)).unwrap();
        assert_eq!(rows(mailbox.receive(SOON)), CHANNEL_ROWS - 1);
        assert_eq!(sender.join().unwrap(), Sent::Taken);
        assert_eq!(rows(mailbox.receive(SOON)), 3);
        assert_eq!(rows(mailbox.receive(SOON)), 2);
        assert!(matches!(mailbox.receive(SOON), Received::Nothing));
    }

    #[test]
    fn a_message_over_the_limit_passes_alone() {
        let mailbox = Mailbox::new(1);
        mailbox.send(0, batch(CHANNEL_ROWS * 40)).unwrap();
        let sender = thread::spawn({
            let mailbox = mailbox.clone();
            move || mailbox.send(0, batch(CHANNEL_ROWS * 2)).unwrap()
        });
        thread::sleep(SOON);
        assert!(!sender.is_finished());
        assert_eq!(rows(mailbox.receive(SOON)), CHANNEL_ROWS * 40);
        sender.join().unwrap();
        assert_eq!(rows(mailbox.receive(SOON)), CHANNEL_ROWS * 2);
        assert_eq!(mailbox.waiting(0), (0, 0));
    }

    #[test]
    fn stopping_wakes_both_ends() {
        let mailbox = Mailbox::new(1);
        mailbox.send(0, batch(CHANNEL_ROWS)).unwrap();
        let sender = thread::spawn({
            let mailbox = mailbox.clone();
            move || mailbox.send(0, batch(1))
        });
        thread::sleep(SOON);
        mailbox.wake(Event::Stopping);
        assert!(sender.join().unwrap().is_err());
        assert!(matches!(mailbox.receive(SOON), Received::Stopped));
    }

    #[test]
    fn a_finished_receiver_lets_senders_go() {
        let mailbox = Mailbox::new(1);
        mailbox.finish();
        assert_eq!(mailbox.send(0, batch(CHANNEL_ROWS * 2)).unwrap(), Sent::Discarded);
    }

    #[test]
    fn blocked_channels_wait_and_watermarks_do_not_pile_up() {
        let mailbox = Mailbox::new(2);
        mailbox.block(0, true);
        mailbox.send(0, batch(7)).unwrap();
        for ms in 0..1000 {
            mailbox.send(1, Message::Watermark(Watermark(ms))).unwrap();
        }
        assert_eq!(mailbox.waiting(1), (1, 0));
        assert!(matches!(mailbox.receive(SOON), Received::Message(1, Message::Watermark(Watermark(999)))));
        assert!(matches!(mailbox.receive(SOON), Received::Nothing));
        mailbox.block(0, false);
        assert_eq!(rows(mailbox.receive(SOON)), 7);
    }
}
