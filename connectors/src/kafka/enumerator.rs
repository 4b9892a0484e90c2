//! `KafkaEnumerator`: finds partitions, and where to begin and end in each.

use super::client::{At, Consumer, EARLIEST, LATEST};
use super::options::{KafkaOptions, Point, Topics, plain};
use engine::connector::{Assignment, Enumerator, Split};
use engine::error::{Error, Result, nearest};
use rdkafka::types::RDKafkaRespErr;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Topics of Kafka itself, which a pattern never matches.
const INTERNAL: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__share_group_state"];

/// Most topics named in an error.
const MAX_NAMES: usize = 10;

/// `Split::position` of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// The next record.
    pub offset: i64,
    /// The first record that is not read any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<i64>,
}

impl Position {
    /// Reads a split's position.
    pub(super) fn parse(split: &Split) -> Result<Self> {
        serde_json::from_str(&split.position).map_err(|_| {
            Error::internal(format!("'{}' is no position in Kafka partition {}.", split.position, split.id))
        })
    }

    /// A split at this position.
    pub(super) fn split(self, id: &str) -> Split {
        // Two numbers always have a JSON text.
        Split { id: id.to_string(), position: serde_json::to_string(&self).unwrap_or_default() }
    }
}

/// Topic and partition of a split's id.
pub(super) fn parse_id(id: &str) -> Result<(String, i32)> {
    id.rsplit_once('-')
        .and_then(|(topic, partition)| Some((topic.to_string(), partition.parse().ok()?)))
        .ok_or_else(|| Error::internal(format!("'{id}' is no Kafka partition.")))
}

/// `Split::id` of a partition.
pub(super) fn id(topic: &str, partition: i32) -> String {
    format!("{topic}-{partition}")
}

/// Finds partitions.
pub(super) struct KafkaEnumerator {
    options: Arc<KafkaOptions>,
    consumer: Consumer,
    known: BTreeSet<(String, i32)>,
    /// Partitions found now begin where `scan.startup.mode` says; later ones at their first record.
    first: bool,
}

impl KafkaEnumerator {
    pub(super) fn new(options: Arc<KafkaOptions>) -> Result<Self> {
        let consumer = Consumer::new(&options.properties, "none")?;
        Ok(Self { options, consumer, known: BTreeSet::new(), first: true })
    }

    fn partitions(&mut self) -> Result<BTreeSet<(String, i32)>> {
        let options = self.options.clone();
        let mut found = BTreeSet::new();
        match &options.topics {
            Topics::List(names) => {
                for name in names {
                    let metadata = self.consumer.metadata(Some(name))?;
                    let topic = metadata.topics().iter().find(|t| t.name() == name);
                    match topic.map(|t| (t, t.error())) {
                        Some((topic, None)) if !topic.partitions().is_empty() => {
                            found.extend(topic.partitions().iter().map(|p| (name.clone(), p.id())));
                        }
                        Some((_, Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED))) => {
                            return Err(Error::user(format!(
                                "Kafka refuses: this user may not read topic '{name}'."
                            )));
                        }
                        Some((_, Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION))) => {
                            return Err(Error::user(format!(
                                "'{name}' cannot be the name of a Kafka topic."
                            ))
                            .with_hint(
                                "Letters, digits, '.', '_' and '-' are allowed, at most 249 of them.",
                            ));
                        }
                        _ => return Err(self.missing(name)),
                    }
                }
            }
            Topics::Pattern(pattern) => {
                let metadata = self.consumer.metadata(None)?;
                for topic in metadata.topics() {
                    if pattern.is_match(topic.name()) && !INTERNAL.contains(&topic.name()) {
                        found.extend(topic.partitions().iter().map(|p| (topic.name().to_string(), p.id())));
                    }
                }
                if found.is_empty() && self.first && options.discovery.is_none() {
                    return Err(Error::user(format!(
                        "No Kafka topic matches 'topic-pattern' = '{}'.{}",
                        plain(pattern),
                        self.names()
                    )));
                }
            }
        }
        Ok(found)
    }

    fn topics(&mut self) -> Vec<String> {
        let Ok(metadata) = self.consumer.metadata(None) else { return Vec::new() };
        let mut names = metadata.topics().iter().map(|t| t.name().to_string()).collect::<Vec<_>>();
        names.retain(|n| !INTERNAL.contains(&n.as_str()));
        names.sort_unstable();
        names
    }

    fn names(&mut self) -> String {
        let names = self.topics();
        match names.len() {
            0 => " The cluster has no topics.".to_string(),
            n if n <= MAX_NAMES => format!(" The cluster has {}.", names.join(", ")),
            n => format!(" The cluster has {n} topics, among them {}.", names[..MAX_NAMES].join(", ")),
        }
    }

    fn missing(&mut self, name: &str) -> Error {
        let mut names = self.topics();
        names.sort_by_cached_key(|n| strsim::damerau_levenshtein(name, n));
        let hint = nearest(name, names.iter().map(String::as_str));
        let hint = hint.map_or_else(
            || format!("Create it, for example with `kafka-topics.sh --create --topic {name}`."),
            |n| format!("Did you mean '{n}'?"),
        );
        names.truncate(MAX_NAMES);
        let known = match names.len() {
            0 => "The cluster has no topics.".to_string(),
            _ => format!("The nearest that it has: {}.", names.join(", ")),
        };
        let brokers = self.options.properties.brokers();
        Error::user(format!("Kafka ({brokers}) has no topic '{name}'. {known}")).with_hint(hint)
    }

    /// Offsets of `point` in `partitions`, in their order. `None` where the group has committed nothing.
    fn resolve(&mut self, partitions: &[At], point: &Point) -> Result<Vec<Option<i64>>> {
        let with = |offset: i64| partitions.iter().map(|p| At { offset, ..p.clone() }).collect::<Vec<_>>();
        match point {
            Point::Earliest => self.at(&with(EARLIEST)),
            Point::Latest => self.at(&with(LATEST)),
            Point::Timestamp(ms) => {
                let ends = self.at(&with(LATEST))?;
                let found = self.consumer.offsets_at(&with(*ms))?;
                let found = sorted(partitions, &found)?;
                Ok(found.into_iter().zip(ends).map(|(o, end)| if o < 0 { end } else { Some(o) }).collect())
            }
            Point::Group => {
                let committed = self.consumer.committed(&with(LATEST))?;
                let committed = sorted(partitions, &committed)?;
                Ok(committed.into_iter().map(|o| (o >= 0).then_some(o)).collect())
            }
            Point::Offsets(given) => {
                // As in Flink: where no offset is given, what the group has committed, else the beginning.
                let committed = self.resolve(partitions, &Point::Group)?;
                let earliest = self.resolve(partitions, &Point::Earliest)?;
                let given = partitions.iter().map(|p| given.get(&p.partition).copied());
                let rest = committed.into_iter().zip(earliest).map(|(c, e)| c.or(e));
                Ok(given.zip(rest).map(|(g, r)| g.or(r)).collect())
            }
        }
    }

    fn at(&mut self, times: &[At]) -> Result<Vec<Option<i64>>> {
        let found = self.consumer.offsets_at(times)?;
        Ok(sorted(times, &found)?.into_iter().map(Some).collect())
    }

    fn starts(&mut self, partitions: &[At]) -> Result<Vec<i64>> {
        let options = self.options.clone();
        let point = if self.first { &options.startup } else { &Point::Earliest };
        let found = self.resolve(partitions, point)?;
        let reset = match options.properties.reset() {
            _ if found.iter().all(Option::is_some) => None,
            Some("earliest") => Some(self.resolve(partitions, &Point::Earliest)?),
            Some("latest") => Some(self.resolve(partitions, &Point::Latest)?),
            _ => {
                let names = partitions.iter().zip(&found).filter(|(_, o)| o.is_none());
                let names = names.map(|(p, _)| id(&p.topic, p.partition)).collect::<Vec<_>>();
                return Err(Error::user(format!(
                    "Undefined offset with no reset policy for partitions: [{}]. Group '{}' has committed no offset \
                     there, and 'scan.startup.mode' is 'group-offsets'.",
                    names.join(", "),
                    self.consumer.group()
                ))
                .with_hint(
                    "Set 'scan.startup.mode' = 'earliest-offset' (or 'latest-offset'), or \
                     'properties.auto.offset.reset' = 'earliest'.",
                ));
            }
        };
        let reset = reset.unwrap_or_else(|| found.clone());
        Ok(found.into_iter().zip(reset).map(|(o, r)| o.or(r).unwrap_or(0)).collect())
    }

    fn stops(&mut self, partitions: &[At]) -> Result<Vec<Option<i64>>> {
        let options = self.options.clone();
        let Some(point) = &options.bounded else { return Ok(vec![None; partitions.len()]) };
        let found = self.resolve(partitions, point)?;
        if let Some((p, _)) = partitions.iter().zip(&found).find(|(_, o)| o.is_none()) {
            return Err(Error::user(format!(
                "Partition {} should stop at committed offset. But there is no committed offset of this partition for \
                 group {}.",
                id(&p.topic, p.partition),
                self.consumer.group()
            ))
            .with_hint("Use 'scan.bounded.mode' = 'latest-offset'."));
        }
        Ok(found)
    }
}

/// The offsets of `found` in the order of `asked`.
fn sorted(asked: &[At], found: &[At]) -> Result<Vec<i64>> {
    asked
        .iter()
        .map(|a| {
            let same = found.iter().find(|f| f.partition == a.partition && f.topic == a.topic);
            same.map(|f| f.offset).ok_or_else(|| {
                Error::external(format!("Kafka gave no offset for partition {}.", id(&a.topic, a.partition)))
            })
        })
        .collect()
}

impl Enumerator for KafkaEnumerator {
    fn restore(&mut self, known: &[Split], finished: &[Split]) -> Result<()> {
        self.first = false;
        for split in known.iter().chain(finished) {
            self.known.insert(parse_id(&split.id)?);
        }
        Ok(())
    }

    fn discover(&mut self) -> Result<Assignment> {
        let complete = self.options.discovery.is_none();
        let found = match self.partitions() {
            Ok(found) => found,
            // The next round asks again; readers notice by themselves when the brokers stay away.
            Err(error) if !self.first && error.retry() && !complete => return Ok(Assignment::default()),
            Err(error) => return Err(error),
        };
        let new = found.difference(&self.known).cloned().collect::<Vec<_>>();
        let partitions =
            new.iter().map(|(t, p)| At { topic: t.clone(), partition: *p, offset: 0 }).collect::<Vec<_>>();
        let starts = self.starts(&partitions)?;
        let stops = self.stops(&partitions)?;
        let splits = partitions
            .iter()
            .zip(starts.into_iter().zip(stops))
            .map(|(p, (offset, stop))| Position { offset, stop }.split(&id(&p.topic, p.partition)))
            .collect();
        self.known.extend(new);
        self.first = false;
        Ok(Assignment { splits, complete })
    }

    fn interval(&self) -> Option<Duration> {
        self.options.discovery
    }
}
