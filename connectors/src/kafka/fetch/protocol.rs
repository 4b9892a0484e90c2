//! The two requests of reading, `Metadata` and `Fetch`, and their answers.

use super::super::wire::{Answer, Api, Body};
use super::settings::Settings;
use std::ops::Range;

/// Who leads which partition, with leader epochs.
pub(super) const METADATA: Api = Api { key: 3, version: 7, compact: false };
/// Records. Brokers since Kafka 2.3 know this version.
pub(super) const FETCH: Api = Api { key: 1, version: 11, compact: false };

/// Codes that mean something here.
pub(super) mod code {
    pub(in super::super) const OFFSET_OUT_OF_RANGE: i16 = 1;
    pub(in super::super) const CORRUPT_MESSAGE: i16 = 2;
    pub(in super::super) const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
    pub(in super::super) const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
}

/// Brokers and leaders.
pub(super) struct Cluster {
    /// Number and `host:port`.
    pub brokers: Vec<(i32, String)>,
    pub topics: Vec<Topic>,
}

pub(super) struct Topic {
    pub error: i16,
    pub name: String,
    /// Number, leader (-1 for none) and its epoch.
    pub partitions: Vec<(i32, i32, i32)>,
}

/// Asks for the leaders of topics.
pub(super) fn ask_leaders<'a>(topics: impl ExactSizeIterator<Item = &'a str>) -> Vec<u8> {
    let body = Body::default().int32(i32::try_from(topics.len()).unwrap_or(i32::MAX));
    topics.fold(body, Body::string).int8(0).0
}

/// Reads the answer to it.
pub(super) fn leaders(bytes: &[u8]) -> Option<Cluster> {
    let mut answer = Answer(bytes);
    answer.int32()?;
    let mut brokers = Vec::new();
    for _ in 0..answer.array()? {
        let number = answer.int32()?;
        brokers.push((number, format!("{}:{}", answer.string()?, answer.int32()?)));
        answer.string()?;
    }
    answer.string()?;
    answer.int32()?;
    let mut topics = Vec::new();
    for _ in 0..answer.array()? {
        let (error, name) = (answer.int16()?, answer.string()?);
        answer.int8()?;
        let mut partitions = Vec::new();
        for _ in 0..answer.array()? {
            answer.int16()?;
            partitions.push((answer.int32()?, answer.int32()?, answer.int32()?));
            for _ in 0..3 {
                for _ in 0..answer.array()? {
                    answer.int32()?;
                }
            }
        }
        topics.push(Topic { error, name, partitions });
    }
    Some(Cluster { brokers, topics })
}

/// A partition that is asked for.
pub(super) struct Wanted<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub leader_epoch: i32,
    pub offset: i64,
}

/// Asks for records.
pub(super) fn ask_records(settings: &Settings, wanted: &[Wanted<'_>]) -> Vec<u8> {
    let groups = || wanted.chunk_by(|a, b| a.topic == b.topic);
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let mut body = Body::default()
        .int32(-1)
        .int32(settings.wait_ms)
        .int32(settings.min_bytes)
        .int32(settings.answer_bytes)
        .int8(settings.committed.into())
        // No session: each request names all partitions.
        .int32(0)
        .int32(-1)
        .int32(count(groups().count()));
    for group in groups() {
        body = body.string(group[0].topic).int32(count(group.len()));
        for w in group {
            body = body.int32(w.partition).int32(w.leader_epoch).int64(w.offset);
            body = body.int64(-1).int32(settings.partition_bytes);
        }
    }
    body.int32(0).string("").0
}

/// What an answer has of one partition.
pub(super) struct Section {
    pub partition: i32,
    pub error: i16,
    /// Behind the last record that all replicas have.
    pub high_watermark: i64,
    /// Behind the last record before which all transactions have ended.
    pub last_stable: i64,
    /// Producers and first offsets of transactions that were aborted.
    pub aborted: Vec<(i64, i64)>,
    /// Where its batches lie in the bytes of the answer.
    pub records: Range<usize>,
}

/// Reads an answer to it: its error code, and calls `each` with a topic and a section of it.
pub(super) fn records(bytes: &[u8], mut each: impl FnMut(&str, Section)) -> Option<i16> {
    let mut answer = Answer(bytes);
    answer.int32()?;
    let error = answer.int16()?;
    answer.int32()?;
    for _ in 0..answer.array()? {
        let topic = answer.string()?;
        for _ in 0..answer.array()? {
            let (partition, error) = (answer.int32()?, answer.int16()?);
            let (high_watermark, last_stable) = (answer.int64()?, answer.int64()?);
            answer.int64()?;
            let aborted = (0..answer.array()?).map(|_| Some((answer.int64()?, answer.int64()?)));
            let aborted = aborted.collect::<Option<Vec<_>>>()?;
            answer.int32()?;
            let length = answer.bytes()?.len();
            let end = bytes.len() - answer.0.len();
            let records = end - length..end;
            each(&topic, Section { partition, error, high_watermark, last_stable, aborted, records });
        }
    }
    Some(error)
}
