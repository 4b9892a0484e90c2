//! `ShardGraph`: which shards of a stream may be read now. Pure: it is told what there is and what has ended.
//!
//! A shard that was split or merged is closed, and its children hold what was written later to the same keys.
//! So a child is handed out only after all its parents were read to their ends.

use std::collections::{BTreeMap, BTreeSet};

/// A shard as the service lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// `shardId-000000000001`
    pub id: String,
    /// None, one (after a split) or two (after a merge).
    pub parents: Vec<String>,
    /// Whether it still takes records.
    pub open: bool,
}

/// A shard that is to be read from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// `shardId-000000000001`
    pub id: String,
    /// Whether it was there when reading began; otherwise it came later and is read from its beginning.
    pub initial: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Waits for its parents.
    Waiting { initial: bool },
    /// Is with a reader.
    Reading,
    /// Was read to its end, or is not to be read.
    Done,
}

#[derive(Debug)]
struct Shard {
    parents: Vec<String>,
    state: State,
}

/// All shards of a stream and how far each is.
#[derive(Debug)]
pub struct ShardGraph {
    shards: BTreeMap<String, Shard>,
    only_open: bool,
    listed_before: bool,
    restored: bool,
}

impl ShardGraph {
    /// A graph that knows no shard yet. `only_open`: shards that are closed at the first listing are not read
    /// (start at LATEST).
    pub fn new(only_open: bool) -> Self {
        Self { shards: BTreeMap::new(), only_open, listed_before: false, restored: false }
    }

    /// Takes back a checkpoint: `reading` are with readers again, `done` were read to their ends.
    pub fn restore<'a>(
        &mut self,
        reading: impl IntoIterator<Item = &'a str>,
        done: impl IntoIterator<Item = &'a str>,
    ) {
        let states = reading
            .into_iter()
            .map(|id| (id, State::Reading))
            .chain(done.into_iter().map(|id| (id, State::Done)));
        for (id, state) in states {
            self.shards.insert(id.to_string(), Shard { parents: Vec::new(), state });
            self.restored = true;
        }
    }

    /// Takes in a complete listing of the stream. Shards that are done and no longer listed are forgotten.
    pub fn update(&mut self, listing: &[Listed]) {
        let first = !self.listed_before;
        self.listed_before = true;
        let wanted = self.wanted(listing, first);
        for shard in listing {
            let state = if wanted.contains(shard.id.as_str()) {
                State::Waiting { initial: first && !self.restored || !self.only_open }
            } else {
                State::Done
            };
            self.shards
                .entry(shard.id.clone())
                .and_modify(|known| known.parents.clone_from(&shard.parents))
                .or_insert(Shard { parents: shard.parents.clone(), state });
        }
        let listed = listing.iter().map(|s| s.id.as_str()).collect::<BTreeSet<_>>();
        self.shards.retain(|id, shard| shard.state != State::Done || listed.contains(id.as_str()));
    }

    /// Which of the listed shards are to be read at all.
    fn wanted<'a>(&self, listing: &'a [Listed], first: bool) -> BTreeSet<&'a str> {
        if !self.only_open || !first {
            return listing.iter().map(|s| s.id.as_str()).collect();
        }
        if !self.restored {
            return listing.iter().filter(|s| s.open).map(|s| s.id.as_str()).collect();
        }
        // Started at LATEST and restored: what the job knew, and what descends from it. The rest was closed
        // before the start and never wanted.
        let mut wanted = listing
            .iter()
            .map(|s| s.id.as_str())
            .filter(|id| self.shards.contains_key(*id))
            .collect::<BTreeSet<_>>();
        loop {
            let before = wanted.len();
            for shard in listing {
                if shard.parents.iter().any(|p| wanted.contains(p.as_str()) || self.shards.contains_key(p)) {
                    wanted.insert(&shard.id);
                }
            }
            if wanted.len() == before {
                return wanted;
            }
        }
    }

    /// The shard was read to its end.
    pub fn finish(&mut self, id: &str) {
        if let Some(shard) = self.shards.get_mut(id) {
            shard.state = State::Done;
        }
    }

    /// Shards that may be read now and were not handed out before. A parent that the stream no longer has
    /// counts as read.
    pub fn take_ready(&mut self) -> Vec<Ready> {
        let done = |id: &String| self.shards.get(id).is_none_or(|p| p.state == State::Done);
        let ready = self
            .shards
            .iter()
            .filter_map(|(id, shard)| match shard.state {
                State::Waiting { initial } if shard.parents.iter().all(done) => {
                    Some(Ready { id: id.clone(), initial })
                }
                _ => None,
            })
            .collect::<Vec<_>>();
        for shard in &ready {
            if let Some(known) = self.shards.get_mut(&shard.id) {
                known.state = State::Reading;
            }
        }
        ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(id: &str, parents: &[&str], open: bool) -> Listed {
        Listed { id: id.into(), parents: parents.iter().map(|p| p.to_string()).collect(), open }
    }

    fn ready(graph: &mut ShardGraph) -> String {
        let text = |r: Ready| if r.initial { r.id } else { format!("{}*", r.id) };
        graph.take_ready().into_iter().map(text).collect::<Vec<_>>().join(" ")
    }

    /// a was split into b and c; c and d were merged into e.
    fn resharded() -> Vec<Listed> {
        vec![
            shard("a", &[], false),
            shard("b", &["a"], true),
            shard("c", &["a"], false),
            shard("d", &[], false),
            shard("e", &["c", "d"], true),
        ]
    }

    #[test]
    fn children_wait_for_all_their_parents() {
        let mut graph = ShardGraph::new(false);
        graph.update(&resharded());
        assert_eq!(ready(&mut graph), "a d");
        assert_eq!(ready(&mut graph), "", "each is handed out once");
        graph.finish("a");
        assert_eq!(ready(&mut graph), "b c");
        graph.finish("c");
        assert_eq!(ready(&mut graph), "", "e has a second parent");
        graph.finish("d");
        assert_eq!(ready(&mut graph), "e");
    }

    #[test]
    fn latest_takes_open_shards_at_once_and_later_children_from_their_beginning() {
        let mut graph = ShardGraph::new(true);
        graph.update(&resharded());
        assert_eq!(ready(&mut graph), "b e");
        let mut later = resharded();
        later[1].open = false;
        later.extend([shard("f", &["b"], true), shard("g", &["b"], true)]);
        graph.update(&later);
        assert_eq!(ready(&mut graph), "", "b is not read to its end");
        graph.finish("b");
        assert_eq!(ready(&mut graph), "f* g*");
    }

    #[test]
    fn parents_that_are_gone_count_as_read() {
        let mut graph = ShardGraph::new(false);
        graph.update(&[shard("b", &["a"], true)]);
        assert_eq!(ready(&mut graph), "b");
    }

    #[test]
    fn a_parent_closed_between_listings_is_still_awaited() {
        let mut graph = ShardGraph::new(false);
        graph.update(&[shard("a", &[], true)]);
        assert_eq!(ready(&mut graph), "a");
        graph.update(&[shard("a", &[], false), shard("b", &["a"], true)]);
        assert_eq!(ready(&mut graph), "");
        graph.finish("a");
        assert_eq!(ready(&mut graph), "b");
    }

    #[test]
    fn a_restored_graph_hands_out_only_what_is_new() {
        let mut graph = ShardGraph::new(false);
        graph.restore(["d", "b"], ["a"]);
        graph.update(&resharded());
        assert_eq!(ready(&mut graph), "c");
        graph.finish("c");
        graph.finish("d");
        assert_eq!(ready(&mut graph), "e");
    }

    #[test]
    fn a_restored_latest_start_skips_what_it_skipped_before() {
        let mut graph = ShardGraph::new(true);
        graph.restore(["b", "e"], []);
        graph.update(&resharded());
        assert_eq!(ready(&mut graph), "", "a, c and d were closed before the start");
        graph.finish("b");
        let mut later = resharded();
        later[1].open = false;
        later.push(shard("f", &["b"], true));
        graph.update(&later);
        assert_eq!(ready(&mut graph), "f*");

        let mut graph = ShardGraph::new(true);
        graph.restore(["e"], ["b"]);
        graph.update(&later);
        assert_eq!(ready(&mut graph), "f*", "a child that came after the checkpoint");
    }

    #[test]
    fn shards_that_aged_out_are_forgotten() {
        let mut graph = ShardGraph::new(false);
        graph.update(&[shard("a", &[], false), shard("b", &["a"], true)]);
        graph.take_ready();
        graph.finish("a");
        graph.update(&[shard("b", &["a"], true)]);
        assert_eq!(graph.shards.len(), 1);
        assert_eq!(ready(&mut graph), "b");
    }
}
