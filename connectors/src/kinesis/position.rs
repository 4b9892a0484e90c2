//! `Position`: where reading a shard goes on, and its text in a checkpoint.

use super::options::Start;
use engine::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Where reading a shard goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Position {
    /// Nothing was read yet.
    Initial(Start),
    /// After the record with this sequence number.
    After(String),
    /// In the aggregated record with this sequence number, after its first `done` user records.
    Within {
        /// Sequence number of the aggregated record.
        sequence: String,
        /// User records of it that were emitted.
        done: u32,
    },
}

impl Position {
    /// As `Split::position`: `{"after":"4957…"}`, `{"initial":"TRIM_HORIZON"}`.
    pub fn to_text(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|e| Error::internal(format!("a Kinesis position has no text: {e}")))
    }

    /// The inverse of `to_text`.
    ///
    /// Errors: the text is of no position.
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text)
            .map_err(|e| Error::internal(format!("'{text}' is no position in a Kinesis shard: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_stable_and_come_back() {
        for (position, text) in [
            (Position::After("49".into()), r#"{"after":"49"}"#),
            (Position::Within { sequence: "49".into(), done: 3 }, r#"{"within":{"sequence":"49","done":3}}"#),
            (Position::Initial(Start::TrimHorizon), r#"{"initial":"TRIM_HORIZON"}"#),
            (Position::Initial(Start::Latest), r#"{"initial":"LATEST"}"#),
            (Position::Initial(Start::AtTimestamp(1500)), r#"{"initial":{"AT_TIMESTAMP":1500}}"#),
        ] {
            assert_eq!(position.to_text().unwrap(), text);
            assert_eq!(Position::parse(text).unwrap(), position);
        }
        assert!(Position::parse("{}").is_err());
        assert!(Position::parse("49").is_err());
    }
}
