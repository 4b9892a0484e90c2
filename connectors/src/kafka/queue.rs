//! Messages in batches: `rd_kafka_consume_batch_queue` behind types that give everything back.

use super::record::{Record, TimestampType};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::RDKafkaRespErr;
use rdkafka_sys as sys;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::time::Duration;

/// Most messages taken by one call.
pub(super) const MAX_MESSAGES: usize = 8192;

/// A consumer's queue. Given back when dropped, which must be before its client.
pub(super) struct Queue {
    queue: NonNull<sys::rd_kafka_queue_t>,
    messages: Vec<*mut sys::rd_kafka_message_t>,
}

// SAFETY: librdkafka's queues may be used from any thread; `messages` is empty unless a `Batch` borrows the queue.
unsafe impl Send for Queue {}

impl Queue {
    /// The queue of `consumer`; `None` if it is no consumer.
    ///
    /// # Safety
    /// `consumer` is alive and outlives the queue.
    pub(super) unsafe fn of_consumer(consumer: *mut sys::rd_kafka_t) -> Option<Self> {
        // SAFETY: by the caller.
        let queue = NonNull::new(unsafe { sys::rd_kafka_queue_get_consumer(consumer) })?;
        Some(Self { queue, messages: Vec::with_capacity(MAX_MESSAGES) })
    }

    /// Takes what is there, at most `max`; if nothing is, waits for one message and takes what came with it.
    pub(super) fn consume(&mut self, timeout: Duration, max: usize) -> Batch<'_> {
        let max = max.clamp(1, MAX_MESSAGES);
        self.take(0, max);
        if self.messages.is_empty() && !timeout.is_zero() {
            // librdkafka waits until all that was asked for is there, so one is asked for.
            self.take(c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX).max(1), 1);
            if !self.messages.is_empty() && max > 1 {
                self.take(0, max - 1);
            }
        }
        Batch { messages: &mut self.messages, next: 0 }
    }

    fn take(&mut self, timeout_ms: c_int, max: usize) {
        let old = self.messages.len();
        self.messages.reserve(max);
        // SAFETY: there is room for `max` pointers behind `old`; those that were written are counted.
        unsafe {
            let room = self.messages.as_mut_ptr().add(old);
            let taken = sys::rd_kafka_consume_batch_queue(self.queue.as_ptr(), timeout_ms, room, max);
            self.messages.set_len(old + usize::try_from(taken).unwrap_or(0));
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: it was ours and nobody uses it any more.
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

/// Messages taken from a queue. Those not taken out are destroyed with it.
pub(super) struct Batch<'a> {
    messages: &'a mut Vec<*mut sys::rd_kafka_message_t>,
    next: usize,
}

impl Batch<'_> {
    /// Whether nothing came.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.len() == self.next
    }
}

impl Iterator for Batch<'_> {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        let message = *self.messages.get(self.next)?;
        self.next += 1;
        NonNull::new(message).map(Message)
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for message in self.by_ref() {
            drop(message);
        }
        self.messages.clear();
    }
}

/// One message or event. Destroyed when dropped.
pub(super) struct Message(NonNull<sys::rd_kafka_message_t>);

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: it is ours, and no borrow of it is left.
        unsafe { sys::rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}

impl Message {
    fn raw(&self) -> &sys::rd_kafka_message_t {
        // SAFETY: alive until `self` is dropped.
        unsafe { self.0.as_ref() }
    }

    /// What happened instead of a message: an error, or the end of a partition.
    pub(super) fn error(&self) -> Option<RDKafkaErrorCode> {
        let error = self.raw().err;
        (error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| error.into())
    }

    /// The text of an error.
    pub(super) fn error_text(&self) -> String {
        // SAFETY: the message is alive; the text is copied.
        unsafe {
            let text = sys::rd_kafka_message_errstr(self.0.as_ptr());
            if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
        }
    }

    /// Stands for the topic, the same for all messages of it while it is assigned; 0 for none.
    pub(super) fn topic_id(&self) -> usize {
        self.raw().rkt as usize
    }

    /// Name of the topic; empty for errors without one.
    pub(super) fn topic(&self) -> String {
        if self.raw().rkt.is_null() {
            return String::new();
        }
        // SAFETY: the message holds its topic; the name is copied.
        unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(self.raw().rkt)).to_string_lossy().into_owned() }
    }

    /// The partition.
    pub(super) fn partition(&self) -> i32 {
        self.raw().partition
    }
}

impl Record for Message {
    /// At the end of a partition that of the next record.
    fn offset(&self) -> i64 {
        self.raw().offset
    }

    fn value(&self) -> Option<&[u8]> {
        // SAFETY: librdkafka gives pointer and length of memory that the message holds.
        unsafe { bytes(self.raw().payload, self.raw().len) }
    }

    fn key(&self) -> Option<&[u8]> {
        // SAFETY: as for the value.
        unsafe { bytes(self.raw().key, self.raw().key_len) }
    }

    fn timestamp(&self) -> (i64, TimestampType) {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive.
        let ms = unsafe { sys::rd_kafka_message_timestamp(self.0.as_ptr(), &mut kind) };
        let kind = match kind {
            sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_CREATE_TIME => TimestampType::Create,
            sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => TimestampType::LogAppend,
            _ => TimestampType::None,
        };
        (ms, kind)
    }

    fn leader_epoch(&self) -> Option<i32> {
        // SAFETY: the message is alive.
        let epoch = unsafe { sys::rd_kafka_message_leader_epoch(self.0.as_ptr()) };
        (epoch >= 0).then_some(epoch)
    }

    fn headers(&self, each: &mut dyn FnMut(&str, Option<&[u8]>)) {
        let mut headers: *mut sys::rd_kafka_headers_t = ptr::null_mut();
        // SAFETY: the message is alive and keeps the headers, which are read only.
        let error = unsafe { sys::rd_kafka_message_headers(self.0.as_ptr(), &mut headers) };
        if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        for index in 0.. {
            let mut name: *const c_char = ptr::null();
            let mut value: *const c_void = ptr::null();
            let mut size = 0;
            // SAFETY: as above; the results point into the headers.
            unsafe {
                let error = sys::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut size);
                if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                    return;
                }
                each(&CStr::from_ptr(name).to_string_lossy(), bytes(value, size));
            }
        }
    }
}

/// # Safety
/// `pointer` is null or points to `length` bytes that live as long as the result.
unsafe fn bytes<'a>(pointer: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: by the caller.
    (!pointer.is_null()).then(|| unsafe { std::slice::from_raw_parts(pointer.cast(), length) })
}
