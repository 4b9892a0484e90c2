//! Barrier alignment: channels that have their barrier are set aside until all have it.

use crate::message::Barrier;

/// Which channels of a task have the barrier of the checkpoint at hand.
#[derive(Debug)]
pub(super) struct Alignment {
    channels: Vec<Channel>,
    pending: Option<Barrier>,
    /// Id of the last checkpoint that was completed or given up.
    last: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channel {
    Before,
    Behind,
    Ended,
}

/// What is to be done after a barrier or an end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Go,
    /// Set the channel aside, after these have been taken back: the checkpoint that they waited for was given up.
    Block(Vec<usize>),
    /// All have it: take the snapshot, pass the barrier on, and take these channels back.
    Complete(Barrier, Vec<usize>),
}

impl Alignment {
    /// For `channels` channels.
    pub(super) fn new(channels: usize) -> Self {
        Self { channels: vec![Channel::Before; channels], pending: None, last: 0 }
    }

    /// `channel` has come to `barrier`. A newer checkpoint than the one at hand takes its place, and alignment
    /// begins anew; the barrier of an older one is passed over.
    pub(super) fn barrier(&mut self, channel: usize, barrier: Barrier) -> Step {
        let at_hand = self.pending.map_or(self.last, |p| p.checkpoint_id);
        if barrier.checkpoint_id < at_hand || (self.pending.is_none() && barrier.checkpoint_id == at_hand) {
            return Step::Go;
        }
        let mut given_up = Vec::new();
        if self.pending.is_none_or(|p| p.checkpoint_id < barrier.checkpoint_id) {
            given_up = self.take_back();
            self.pending = Some(barrier);
        }
        self.channels[channel] = Channel::Behind;
        match self.complete() {
            Some(Step::Complete(barrier, mut aside)) => {
                aside.extend(given_up);
                Step::Complete(barrier, aside)
            }
            _ => Step::Block(given_up),
        }
    }

    /// `channel` has ended: it counts as aligned for good.
    pub(super) fn end(&mut self, channel: usize) -> Step {
        self.channels[channel] = Channel::Ended;
        self.complete().unwrap_or(Step::Go)
    }

    fn take_back(&mut self) -> Vec<usize> {
        let mut aside = Vec::new();
        for (channel, state) in self.channels.iter_mut().enumerate() {
            if *state == Channel::Behind {
                *state = Channel::Before;
                aside.push(channel);
            }
        }
        aside
    }

    fn complete(&mut self) -> Option<Step> {
        if self.channels.contains(&Channel::Before) {
            return None;
        }
        let barrier = self.pending.take()?;
        self.last = barrier.checkpoint_id;
        Some(Step::Complete(barrier, self.take_back()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::BarrierKind;

    fn barrier(checkpoint_id: u64) -> Barrier {
        Barrier { checkpoint_id, triggered_at_ms: 0, kind: BarrierKind::Savepoint }
    }

    #[test]
    fn all_channels_must_have_it() {
        let mut alignment = Alignment::new(3);
        assert_eq!(alignment.barrier(1, barrier(1)), Step::Block(vec![]));
        assert_eq!(alignment.barrier(0, barrier(1)), Step::Block(vec![]));
        assert_eq!(alignment.barrier(2, barrier(1)), Step::Complete(barrier(1), vec![0, 1, 2]));
        assert_eq!(alignment.barrier(2, barrier(2)), Step::Block(vec![]));
    }

    #[test]
    fn an_ended_channel_is_aligned() {
        let mut alignment = Alignment::new(2);
        assert_eq!(alignment.barrier(1, barrier(1)), Step::Block(vec![]));
        assert_eq!(alignment.end(0), Step::Complete(barrier(1), vec![1]));
        assert_eq!(alignment.barrier(1, barrier(2)), Step::Complete(barrier(2), vec![1]));
        assert_eq!(alignment.end(1), Step::Go);
    }

    #[test]
    fn a_newer_checkpoint_begins_anew_and_an_older_one_is_passed_over() {
        let mut alignment = Alignment::new(3);
        assert_eq!(alignment.barrier(0, barrier(1)), Step::Block(vec![]));
        // Channel 1 never saw barrier 1: what came on channel 0 since then belongs to checkpoint 2.
        assert_eq!(alignment.barrier(1, barrier(2)), Step::Block(vec![0]));
        assert_eq!(alignment.barrier(2, barrier(1)), Step::Go);
        assert_eq!(alignment.barrier(0, barrier(2)), Step::Block(vec![]));
        assert_eq!(alignment.barrier(2, barrier(2)), Step::Complete(barrier(2), vec![0, 1, 2]));
        assert_eq!(alignment.barrier(2, barrier(1)), Step::Go);
    }
}
