//! `Consumer`: a librdkafka consumer that is read in batches. With `queue.rs`, and one call in `fetch`, the only
//! unsafe code of the connector.

use super::properties::Properties;
use super::queue::{Batch, Queue};
use engine::error::{Error, Result};
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaRespErr, RDKafkaType};
use rdkafka_sys as sys;
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// First wait for metadata before the errors met so far are looked at; doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Pause after a question that failed at once.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// `RD_KAFKA_PARTITION_UA` and the special times of ListOffsets.
pub(super) const LATEST: i64 = -1;
/// The oldest record, where a timestamp is asked for.
pub(super) const EARLIEST: i64 = -2;

/// A partition and an offset in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

/// What the client said went wrong, from its own threads.
#[derive(Debug, Default)]
pub(super) struct Events {
    trouble: Mutex<Trouble>,
    /// Commits of offsets that worked and that did not, since they were asked for.
    committed: AtomicU64,
    not_committed: AtomicU64,
    /// The last offset of each partition whose commit worked.
    offsets: Mutex<HashMap<(String, i32), i64>>,
}

#[derive(Debug, Default, Clone)]
pub(super) struct Trouble {
    /// The newest complaint that says more than "all brokers are down".
    pub reason: Option<String>,
    /// Trying again is of no use: wrong password, wrong certificate, no such host.
    pub hopeless: bool,
    /// No broker is connected.
    pub all_down: bool,
}

impl Events {
    fn state(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, code: c_int, reason: &str) {
        let is = |error: RDKafkaRespErr| code == error as c_int;
        let mut state = self.state();
        if is(RDKafkaRespErr::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
            state.all_down = true;
            return;
        }
        state.hopeless |= is(RDKafkaRespErr::RD_KAFKA_RESP_ERR__AUTHENTICATION)
            || is(RDKafkaRespErr::RD_KAFKA_RESP_ERR__SSL)
            || is(RDKafkaRespErr::RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED);
        state.reason = Some(shorten(reason));
    }
}

impl ClientContext for Events {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().map_or(0, |c| c as c_int);
        self.note(code, reason);
    }
}

/// librdkafka's text without the name of its thread and its state.
pub(super) fn shorten(reason: &str) -> String {
    let text = reason.split(" (after ").next().unwrap_or(reason).trim();
    // `127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused`
    let text = text.split_once("/bootstrap: ").map_or(text, |(_, rest)| rest);
    text.replace("ipv4#", "").replace("ipv6#", "").trim_end_matches('.').to_string()
}

/// What a code means, in the client's words: `Message size too large`.
pub(super) fn meaning(code: RDKafkaErrorCode) -> String {
    let text = code.to_string();
    let text = text.split_once('(').map_or(text.as_str(), |(_, rest)| rest.trim_end_matches(')'));
    text.split_once(": ").map_or(text, |(_, rest)| rest).to_string()
}

/// What an error means.
pub(super) fn meaning_of(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), meaning)
}

/// A consumer with partitions assigned by hand.
pub(super) struct Consumer {
    // Declared first, so that it is given back before the client goes.
    queue: Queue,
    client: Client<Events>,
    brokers: String,
    group: String,
    timeout: Duration,
}

/// Called by librdkafka, on the thread that serves the queue.
unsafe extern "C" fn on_error(
    _: *mut sys::rd_kafka_t,
    code: c_int,
    reason: *const c_char,
    opaque: *mut c_void,
) {
    if reason.is_null() || opaque.is_null() {
        return;
    }
    // SAFETY: `opaque` is the context that `Client::new` set, which lives as long as the client; `reason` is a C
    // string for the length of this call.
    let (events, reason) = unsafe { (&*opaque.cast::<Events>(), CStr::from_ptr(reason)) };
    events.note(code, &reason.to_string_lossy());
}

/// Called by librdkafka, on the thread that serves the queue.
unsafe extern "C" fn on_commit(
    _: *mut sys::rd_kafka_t,
    error: RDKafkaRespErr,
    list: *mut sys::rd_kafka_topic_partition_list_t,
    opaque: *mut c_void,
) {
    if opaque.is_null() {
        return;
    }
    // SAFETY: `opaque` is the context that `Client::new` set, which lives as long as the client.
    let events = unsafe { &*opaque.cast::<Events>() };
    if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        events.not_committed.fetch_add(1, Ordering::Relaxed);
        return;
    }
    events.committed.fetch_add(1, Ordering::Relaxed);
    if list.is_null() {
        return;
    }
    let mut offsets = events.offsets.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the list is alive for the length of this call, and read only.
    for (at, error) in unsafe { elements(list) } {
        if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            offsets.insert((at.topic, at.partition), at.offset);
        }
    }
}

/// The elements of a list, each with its own error.
///
/// # Safety
/// `list` is alive, and its topics are C strings.
unsafe fn elements(list: *mut sys::rd_kafka_topic_partition_list_t) -> Vec<(At, RDKafkaRespErr)> {
    // SAFETY: by the caller.
    let elements = unsafe {
        let native = &*list;
        match usize::try_from(native.cnt) {
            Ok(count) if count > 0 => std::slice::from_raw_parts(native.elems, count),
            _ => &[],
        }
    };
    let at = |e: &sys::rd_kafka_topic_partition_t| {
        // SAFETY: by the caller.
        let topic = unsafe { CStr::from_ptr(e.topic) }.to_string_lossy().into_owned();
        (At { topic, partition: e.partition, offset: e.offset }, e.err)
    };
    elements.iter().map(at).collect()
}

impl Consumer {
    /// A client for the properties. It connects in the background.
    ///
    /// Errors: settings that contradict each other.
    pub(super) fn new(properties: &Properties, reset: &str) -> Result<Self> {
        let config = properties.consumer(reset);
        let native = config.create_native_config().map_err(|e| setting(&e))?;
        // SAFETY: the configuration is ours until `Client::new` takes it; the callback fits the opaque set there.
        unsafe {
            sys::rd_kafka_conf_set_error_cb(native.ptr(), Some(on_error));
            sys::rd_kafka_conf_set_offset_commit_cb(native.ptr(), Some(on_commit));
            sys::rd_kafka_conf_set_log_cb(native.ptr(), None);
        }
        let client = Client::new(&config, native, RDKafkaType::RD_KAFKA_CONSUMER, Events::default())
            .map_err(|e| setting(&e))?;
        // SAFETY: the client is alive and a consumer with a group id.
        let queue = unsafe {
            sys::rd_kafka_poll_set_consumer(client.native_ptr());
            Queue::of_consumer(client.native_ptr())
        };
        let queue = queue.ok_or_else(|| Error::internal("The Kafka client has no consumer queue."))?;
        Ok(Self {
            queue,
            client,
            brokers: properties.brokers().to_string(),
            group: properties.group().to_string(),
            timeout: properties.api_timeout(),
        })
    }

    /// `group.id`.
    pub(super) fn group(&self) -> &str {
        &self.group
    }

    /// Messages and events that are there, at most `max`; if there are none, the next one within `timeout`
    /// and those behind it.
    pub(super) fn consume(&mut self, timeout: Duration, max: usize) -> Batch<'_> {
        self.queue.consume(timeout, max)
    }

    /// What went wrong lately.
    pub(super) fn trouble(&self) -> Trouble {
        self.client.context().state().clone()
    }

    /// All is well again.
    pub(super) fn recovered(&self) {
        *self.client.context().state() = Trouble::default();
    }

    /// Topics of the cluster, or one of them, with what it knows about them.
    ///
    /// Errors: no broker answers in time, or it is of no use to wait.
    pub(super) fn metadata(&mut self, topic: Option<&str>) -> Result<Metadata> {
        self.ask(|client, wait| client.fetch_metadata(topic, wait))
    }

    /// The offsets of the first records at or after a time, which stands in `offset`; [`EARLIEST`] and [`LATEST`]
    /// for the ends. [`LATEST`] comes back where there is no such record.
    pub(super) fn offsets_at(&mut self, times: &[At]) -> Result<Vec<At>> {
        self.list(times, |ptr, list, ms| {
            // SAFETY: client and list are alive during the call.
            unsafe { sys::rd_kafka_offsets_for_times(ptr, list, ms) }
        })
    }

    /// What the group has committed; a negative offset where it has not.
    pub(super) fn committed(&mut self, partitions: &[At]) -> Result<Vec<At>> {
        self.list(partitions, |ptr, list, ms| {
            // SAFETY: client and list are alive during the call.
            unsafe { sys::rd_kafka_committed(ptr, list, ms) }
        })
    }

    fn list(
        &mut self,
        partitions: &[At],
        call: impl Fn(*mut sys::rd_kafka_t, *mut sys::rd_kafka_topic_partition_list_t, c_int) -> RDKafkaRespErr,
    ) -> Result<Vec<At>> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let list = self.ask(|client, wait| {
            let list = raw_list(partitions)?;
            let ms = c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX);
            match call(client.native_ptr(), list.ptr(), ms) {
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(list),
                error => Err(KafkaError::OffsetFetch(error.into())),
            }
        })?;
        // SAFETY: the list is alive, and its topics are C strings.
        let elements = unsafe { elements(list.ptr()) };
        elements
            .into_iter()
            .map(|(at, error)| match error {
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(at),
                error => Err(Error::external(format!(
                    "Kafka has no offsets of partition {} of topic '{}': {}.",
                    at.partition,
                    at.topic,
                    meaning(error.into())
                ))),
            })
            .collect()
    }

    /// Asks until there is an answer, waiting longer each time, until the time is over or all is lost.
    fn ask<T>(&mut self, question: impl Fn(&Client<Events>, Duration) -> KafkaResult<T>) -> Result<T> {
        let begin = Instant::now();
        let mut wait = FIRST_WAIT;
        loop {
            let left = self.timeout.saturating_sub(begin.elapsed());
            let error = match question(&self.client, wait.min(left).max(RETRY_PAUSE)) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // Serves the complaints; a client that only asks has no messages.
            drop(self.queue.consume(Duration::ZERO, 1));
            let trouble = self.trouble();
            if let Some(error) = refused(&error) {
                return Err(error);
            }
            if trouble.hopeless || begin.elapsed() >= self.timeout {
                return Err(unreachable(&self.brokers, begin.elapsed(), &trouble, &error));
            }
            std::thread::sleep(RETRY_PAUSE.min(left));
            wait *= 2;
        }
    }

    /// Begins to read partitions at their offsets, beside those that are being read.
    pub(super) fn assign(&self, partitions: &[At]) -> Result<()> {
        let list = raw_list(partitions).map_err(|e| Error::internal(format!("Kafka partitions: {e}.")))?;
        // SAFETY: client and list are alive; the list is copied.
        give_back(unsafe { sys::rd_kafka_incremental_assign(self.client.native_ptr(), list.ptr()) }, "assign")
    }

    /// Stops to read partitions.
    pub(super) fn unassign(&self, partitions: &[At]) -> Result<()> {
        let list = raw_list(partitions).map_err(|e| Error::internal(format!("Kafka partitions: {e}.")))?;
        // SAFETY: as in `assign`.
        give_back(
            unsafe { sys::rd_kafka_incremental_unassign(self.client.native_ptr(), list.ptr()) },
            "unassign",
        )
    }

    /// Commits that worked and that did not since this was last called.
    pub(super) fn commits(&self) -> (u64, u64) {
        let events = self.client.context();
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        (take(&events.committed), take(&events.not_committed))
    }

    /// The last offset of a partition whose commit worked.
    pub(super) fn committed_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        let offsets = self.client.context().offsets.lock().unwrap_or_else(PoisonError::into_inner);
        offsets.get(&(topic.to_string(), partition)).copied()
    }

    /// Commits offsets in the background. Only shows progress, so failures are counted and not reported.
    pub(super) fn commit(&self, partitions: &[At]) -> Result<()> {
        let list = raw_list(partitions).map_err(|e| Error::internal(format!("Kafka partitions: {e}.")))?;
        // SAFETY: client and list are alive; the list is copied.
        let _ = unsafe { sys::rd_kafka_commit(self.client.native_ptr(), list.ptr(), 1) };
        Ok(())
    }

    /// Offset behind the newest record that the client has heard of.
    pub(super) fn known_end(&self, topic: &str, partition: i32) -> Option<i64> {
        let topic = CString::new(topic).ok()?;
        let (mut low, mut high) = (-1, -1);
        // SAFETY: client and topic are alive, both results are written before return.
        let error = unsafe {
            sys::rd_kafka_get_watermark_offsets(
                self.client.native_ptr(),
                topic.as_ptr(),
                partition,
                &mut low,
                &mut high,
            )
        };
        (error == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
    }
}

/// A list with offsets exactly as given: the special times of ListOffsets are negative.
fn raw_list(partitions: &[At]) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for at in partitions {
        list.add_partition_offset(&at.topic, at.partition, Offset::from_raw(at.offset))?;
    }
    Ok(list)
}

fn give_back(error: *mut sys::rd_kafka_error_t, what: &str) -> Result<()> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: not null, so an error object that is ours to destroy; its text is copied before.
    let text = unsafe {
        let text = CStr::from_ptr(sys::rd_kafka_error_string(error)).to_string_lossy().into_owned();
        sys::rd_kafka_error_destroy(error);
        text
    };
    Err(Error::external(format!("The Kafka client cannot {what} partitions: {text}.")))
}

/// The error for settings that the client refuses when it starts.
pub(super) fn setting(error: &KafkaError) -> Error {
    let reason = match error {
        KafkaError::ClientConfig(_, reason, _, _) | KafkaError::ClientCreation(reason) => reason.clone(),
        other => other.to_string(),
    };
    Error::user(format!("The Kafka client refuses these properties: {}.", reason.trim_end_matches('.')))
        .with_hint("See 'properties.*' of the table.")
}

/// The error for answers that say no, where waiting does not help.
pub(super) fn refused(error: &KafkaError) -> Option<Error> {
    use RDKafkaErrorCode as C;
    let code = error.rdkafka_error_code()?;
    let what = match code {
        C::TopicAuthorizationFailed => "this user may not read the topic",
        C::GroupAuthorizationFailed => "this user may not use the group ('properties.group.id')",
        C::ClusterAuthorizationFailed => "this user may not ask the cluster",
        C::InvalidTopic => "the name of the topic is not valid",
        _ => return None,
    };
    Some(Error::user(format!("Kafka refuses: {what}.")))
}

/// The error when no broker answers.
pub(super) fn unreachable(brokers: &str, waited: Duration, trouble: &Trouble, error: &KafkaError) -> Error {
    let reason = trouble
        .reason
        .clone()
        .unwrap_or_else(|| error.rdkafka_error_code().map_or_else(|| error.to_string(), |c| c.to_string()));
    if trouble.hopeless {
        return Error::external(format!("Kafka ({brokers}) does not let this client in: {reason}."))
            .with_hint("Check 'properties.security.protocol', 'properties.sasl.*' and 'properties.ssl.*'.")
            .permanent();
    }
    Error::external(format!(
        "No answer from Kafka ({brokers}) after {} s: {reason}.",
        (waited.as_millis() as u64).div_ceil(1000)
    ))
    .with_hint(
        "Check 'properties.bootstrap.servers', that the broker runs, and that its advertised address can be reached \
         from here; 'properties.default.api.timeout.ms' says how long to wait.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_lose_librdkafkas_names() {
        let text = "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)";
        assert_eq!(shorten(text), "Connect to 127.0.0.1:1 failed: Connection refused");
        assert_eq!(meaning(RDKafkaErrorCode::MessageSizeTooLarge), "Message size too large");
        assert_eq!(meaning(RDKafkaErrorCode::MessageTimedOut), "Message timed out");
    }
}
