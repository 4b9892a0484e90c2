//! Kinesis streams for tests, through a plain client.

use crate::services;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType, StreamStatus};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
});

/// A stream of its own for one test; deleted with it.
pub struct Stream {
    /// Its name.
    pub name: String,
    /// For what the methods do not do.
    pub client: aws_sdk_kinesis::Client,
}

impl Stream {
    /// A stream with so many shards, ready to be used.
    pub fn new(shards: i32) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let name = format!("t{}-{number}", std::process::id());
        let config = aws_sdk_kinesis::Config::builder()
            .behavior_version(aws_sdk_kinesis::config::BehaviorVersion::latest())
            .endpoint_url(services::kinesis())
            .region(aws_sdk_kinesis::config::Region::new("us-east-1"))
            .credentials_provider(aws_credential_types::Credentials::new("test", "test", None, None, "test"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        let stream = Self { name, client: aws_sdk_kinesis::Client::from_conf(config) };
        RUNTIME.block_on(async {
            stream.client.create_stream().stream_name(&stream.name).shard_count(shards).send().await.unwrap();
        });
        stream.settle();
        stream
    }

    /// Its ARN.
    pub fn arn(&self) -> String {
        format!("arn:aws:kinesis:us-east-1:000000000000:stream/{}", self.name)
    }

    fn settle(&self) {
        let begin = Instant::now();
        loop {
            let summary =
                RUNTIME.block_on(self.client.describe_stream_summary().stream_name(&self.name).send());
            let status = summary.unwrap().stream_description_summary.unwrap().stream_status;
            if status == StreamStatus::Active {
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "the stream stays {status:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Puts records: partition key and data.
    pub fn put(&self, records: impl IntoIterator<Item = (String, Vec<u8>)>) {
        let entries = records.into_iter().map(|(key, data)| {
            PutRecordsRequestEntry::builder().partition_key(key).data(Blob::new(data)).build().unwrap()
        });
        let entries = entries.collect::<Vec<_>>();
        for batch in entries.chunks(250) {
            let request = self.client.put_records().stream_name(&self.name).set_records(Some(batch.to_vec()));
            let output = RUNTIME.block_on(request.send()).unwrap();
            assert_eq!(output.failed_record_count.unwrap_or(0), 0);
        }
    }

    /// Puts one record into each open shard.
    pub fn put_into_every_shard(&self, data: &[u8]) {
        let entries = self.open_shards().into_iter().map(|(_, start, _)| {
            let entry = PutRecordsRequestEntry::builder().partition_key("k").data(Blob::new(data));
            entry.explicit_hash_key(start.to_string()).build().unwrap()
        });
        let request = self.client.put_records().stream_name(&self.name).set_records(Some(entries.collect()));
        let output = RUNTIME.block_on(request.send()).unwrap();
        assert_eq!(output.failed_record_count.unwrap_or(0), 0);
    }

    /// Rows with these ids, spread over all shards.
    pub fn put_ids(&self, ids: std::ops::Range<i64>) {
        self.put(ids.map(|id| (format!("key{id}"), format!(r#"{{"id":{id},"name":"n{id}"}}"#).into_bytes())));
    }

    /// Id, first and last hash key of the shards that are not closed.
    pub fn open_shards(&self) -> Vec<(String, u128, u128)> {
        let listing = RUNTIME.block_on(self.client.list_shards().stream_name(&self.name).send()).unwrap();
        let open =
            listing.shards.unwrap().into_iter().filter(|s| {
                s.sequence_number_range.as_ref().is_some_and(|r| r.ending_sequence_number.is_none())
            });
        let mut open = open
            .map(|s| {
                let range = s.hash_key_range.unwrap();
                (s.shard_id, range.starting_hash_key.parse().unwrap(), range.ending_hash_key.parse().unwrap())
            })
            .collect::<Vec<(String, u128, u128)>>();
        open.sort_by_key(|(_, start, _)| *start);
        open
    }

    /// Splits the first open shard in the middle.
    pub fn split(&self) {
        let (shard, start, end) = self.open_shards().remove(0);
        let middle = (start / 2 + end / 2).to_string();
        let request = self.client.split_shard().stream_name(&self.name).shard_to_split(shard);
        RUNTIME.block_on(request.new_starting_hash_key(middle).send()).unwrap();
        self.settle();
    }

    /// Merges the last two open shards.
    pub fn merge(&self) {
        let open = self.open_shards();
        let [.., a, b] = &open[..] else { panic!("fewer than two open shards") };
        let request = self.client.merge_shards().stream_name(&self.name).shard_to_merge(&a.0);
        RUNTIME.block_on(request.adjacent_shard_to_merge(&b.0).send()).unwrap();
        self.settle();
    }

    /// Partition key and data of all records.
    pub fn contents(&self) -> Vec<(String, Vec<u8>)> {
        let mut all = Vec::new();
        let listing = RUNTIME.block_on(self.client.list_shards().stream_name(&self.name).send()).unwrap();
        for shard in listing.shards.unwrap() {
            let request = self.client.get_shard_iterator().stream_name(&self.name).shard_id(shard.shard_id);
            let request = request.shard_iterator_type(ShardIteratorType::TrimHorizon);
            let mut iterator = RUNTIME.block_on(request.send()).unwrap().shard_iterator;
            while let Some(current) = iterator {
                let output =
                    RUNTIME.block_on(self.client.get_records().shard_iterator(current).send()).unwrap();
                let end = output.records.is_empty() && output.millis_behind_latest == Some(0);
                all.extend(
                    output
                        .records
                        .into_iter()
                        .map(|r| (r.partition_key.unwrap_or_default(), r.data.into_inner())),
                );
                iterator = output.next_shard_iterator.filter(|_| !end);
            }
        }
        all
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = RUNTIME.block_on(self.client.delete_stream().stream_name(&self.name).send());
    }
}
