//! The `kafka` connector against a real broker, whose address is in `RUNNEL_KAFKA`.

#[path = "kafka/errors.rs"]
mod errors;
#[path = "kafka/faults.rs"]
mod faults;
#[path = "kafka/fetching.rs"]
mod fetching;
#[path = "kafka/reading.rs"]
mod reading;
#[path = "kafka/support.rs"]
mod support;
#[path = "kafka/transactions.rs"]
mod transactions;
#[path = "kafka/upsert.rs"]
mod upsert;
#[path = "kafka/writing.rs"]
mod writing;
