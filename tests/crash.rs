//! The crash loop: the real binary is killed again and again, at random moments and at fail points, and in the end
//! nothing is lost and nothing is doubled. Short here; `make crash-loop KILLS=200 SEED=n` for long.

#[path = "crash/files.rs"]
mod files;
#[path = "crash/kafka.rs"]
mod kafka;
#[path = "crash/lives.rs"]
mod lives;
#[path = "crash/points.rs"]
mod points;
#[path = "crash/store.rs"]
mod store;
