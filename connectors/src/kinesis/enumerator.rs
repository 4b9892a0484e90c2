//! `KinesisEnumerator`: finds shards, and hands out children when their parents are read.

use super::client::{ATTEMPTS_AT_START, ATTEMPTS_WHILE_RUNNING, Client};
use super::options::Start;
use super::position::Position;
use super::shards::ShardGraph;
use engine::connector::{Assignment, Enumerator, Split};
use engine::error::Result;
use std::time::Duration;

/// Finds the shards of one stream.
#[derive(Debug)]
pub struct KinesisEnumerator {
    client: Client,
    runtime: tokio::runtime::Handle,
    graph: ShardGraph,
    start: Start,
    interval: Duration,
    /// Whether the stream was listed before.
    started: bool,
}

impl KinesisEnumerator {
    /// An enumerator that has not looked yet.
    pub fn new(client: Client, runtime: tokio::runtime::Handle, start: Start, interval: Duration) -> Self {
        let graph = ShardGraph::new(start == Start::Latest);
        Self { client, runtime, graph, start, interval, started: false }
    }
}

impl Enumerator for KinesisEnumerator {
    fn restore(&mut self, known: &[Split], finished: &[Split]) -> Result<()> {
        self.graph.restore(known.iter().map(|s| s.id.as_str()), finished.iter().map(|s| s.id.as_str()));
        Ok(())
    }

    fn discover(&mut self) -> Result<Assignment> {
        let attempts = if self.started { ATTEMPTS_WHILE_RUNNING } else { ATTEMPTS_AT_START };
        let listing = self.runtime.block_on(self.client.list_shards(attempts))?;
        self.started = true;
        self.graph.update(&listing);
        let mut splits = Vec::new();
        for shard in self.graph.take_ready() {
            let start = if shard.initial { self.start } else { Start::TrimHorizon };
            splits.push(Split { id: shard.id, position: Position::Initial(start).to_text()? });
        }
        Ok(Assignment { splits, complete: false })
    }

    fn interval(&self) -> Option<Duration> {
        Some(self.interval)
    }

    fn finished(&mut self, split: &Split) -> Result<()> {
        self.graph.finish(&split.id);
        Ok(())
    }
}
