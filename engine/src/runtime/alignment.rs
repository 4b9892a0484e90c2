//! Barrier alignment: channels that have their barrier are set aside until all have it.

use crate::message::Barrier;

/// Which channels of a task have the barrier of the checkpoint at hand.
#[derive(Debug)]
pub(super) struct Alignment {
    channels: Vec<Channel>,
    pending: Option<Barrier>,
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
    /// Set the channel aside.
    Block,
    /// All have it: take the snapshot, pass the barrier on, and take these channels back.
    Complete(Barrier, Vec<usize>),
}

impl Alignment {
    /// For `channels` channels.
    pub(super) fn new(channels: usize) -> Self {
        Self { channels: vec![Channel::Before; channels], pending: None }
    }

    /// `channel` has come to `barrier`. A newer checkpoint than the one at hand takes its place.
    pub(super) fn barrier(&mut self, channel: usize, barrier: Barrier) -> Step {
        match self.pending {
            Some(p) if p.checkpoint_id >= barrier.checkpoint_id => {}
            _ => self.pending = Some(barrier),
        }
        self.channels[channel] = Channel::Behind;
        self.complete().unwrap_or(Step::Block)
    }

    /// `channel` has ended: it counts as aligned for good.
    pub(super) fn end(&mut self, channel: usize) -> Step {
        self.channels[channel] = Channel::Ended;
        self.complete().unwrap_or(Step::Go)
    }

    fn complete(&mut self) -> Option<Step> {
        if self.channels.contains(&Channel::Before) {
            return None;
        }
        let barrier = self.pending.take()?;
        let mut aside = Vec::new();
        for (channel, state) in self.channels.iter_mut().enumerate() {
            if *state == Channel::Behind {
                *state = Channel::Before;
                aside.push(channel);
            }
        }
        Some(Step::Complete(barrier, aside))
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
        assert_eq!(alignment.barrier(1, barrier(1)), Step::Block);
        assert_eq!(alignment.barrier(0, barrier(1)), Step::Block);
        assert_eq!(alignment.barrier(2, barrier(1)), Step::Complete(barrier(1), vec![0, 1, 2]));
        assert_eq!(alignment.barrier(2, barrier(2)), Step::Block);
    }

    #[test]
    fn an_ended_channel_is_aligned() {
        let mut alignment = Alignment::new(2);
        assert_eq!(alignment.barrier(1, barrier(1)), Step::Block);
        assert_eq!(alignment.end(0), Step::Complete(barrier(1), vec![1]));
        assert_eq!(alignment.barrier(1, barrier(2)), Step::Complete(barrier(2), vec![1]));
        assert_eq!(alignment.end(1), Step::Go);
    }
}
