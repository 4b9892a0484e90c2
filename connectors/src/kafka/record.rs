//! `Record`: what a client has of one record, whichever client it is.

/// When a timestamp was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimestampType {
    None,
    Create,
    LogAppend,
}

/// One record, which lies in the client's memory.
pub(super) trait Record {
    /// Its offset.
    fn offset(&self) -> i64;

    /// The key; `None` if it is null.
    fn key(&self) -> Option<&[u8]>;

    /// The value; `None` if it is null.
    fn value(&self) -> Option<&[u8]>;

    /// Milliseconds since the epoch (-1 if unknown), and what set them.
    fn timestamp(&self) -> (i64, TimestampType);

    /// Epoch of the partition's leader when the record was written.
    fn leader_epoch(&self) -> Option<i32>;

    /// Calls `each` with name and value of every header.
    fn headers(&self, each: &mut dyn FnMut(&str, Option<&[u8]>));
}
