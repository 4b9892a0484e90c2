//! `KinesisEnumerator`: finds shards, and hands out children when their parents are read.

use super::client::Client;
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
}

impl KinesisEnumerator {
    /// An enumerator that has not looked yet.
    pub fn new(client: Client, runtime: tokio::runtime::Handle, start: Start, interval: Duration) -> Self {
        Self { client, runtime, graph: ShardGraph::new(start == Start::Latest), start, interval }
    }
}

impl Enumerator for KinesisEnumerator {
    fn restore(&mut self, known: &[Split], finished: &[Split]) -> Result<()> {
        self.graph.restore(known.iter().map(|s| s.id.as_str()), finished.iter().map(|s| s.id.as_str()));
        Ok(())
    }

    fn discover(&mut self) -> Result<Assignment> {
        let listing = self.runtime.block_on(self.client.list_shards())?;
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
