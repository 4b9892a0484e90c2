//! What a server and its children say to each other: JSON, one object a line, over the child's standard input, which
//! is one end of a pair of sockets. Standard output stays free for the connector `print`.

use crate::model::{Checkpoint, Definition, Failure, JobState, Progress};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Read, Write};

/// Longest line, in bytes.
pub const MAX_LINE_BYTES: u64 = 32 << 20;

/// The first line to a child: what to run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Task {
    /// 32 hexadecimal digits: the engine's id of the job. Where there are checkpoints of it, it goes on from the latest.
    pub run: String,
    /// What.
    pub definition: Definition,
    /// The job's own folder.
    pub folder: String,
    /// Where checkpoints go unless the script says otherwise.
    pub checkpoints: String,
    /// Where savepoints go unless the script says otherwise.
    pub savepoints: String,
    /// The latest complete checkpoint of this run, as far as the server was told.
    pub checkpoint: Option<String>,
    /// Savepoint or checkpoint to start from when there is none of this run.
    pub restore: Option<String>,
}

/// Later lines to a child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Take a savepoint and go on.
    Savepoint {
        /// Where, if not in the usual folder.
        directory: Option<String>,
    },
    /// Take a savepoint and end.
    Stop {
        /// Where, if not in the usual folder.
        directory: Option<String>,
        /// End the event time first.
        drain: bool,
    },
    /// End.
    Cancel,
}

/// Lines from a child.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The job's state has changed.
    Status {
        /// To what.
        status: JobState,
    },
    /// How far it is; about once a second.
    Progress {
        /// All of it.
        progress: Progress,
    },
    /// Checkpoints are complete.
    Checkpoint {
        /// How many more than were told before.
        count: u64,
        /// The last of them.
        checkpoint: Checkpoint,
    },
    /// Checkpoints failed.
    CheckpointFailed {
        /// How many more than were told before.
        count: u64,
        /// Why the last one did.
        reason: String,
    },
    /// Something for the log.
    Notice {
        /// What, in a sentence.
        message: String,
        /// Whether it is worth a second look.
        warning: bool,
    },
    /// The savepoint asked for is there.
    Savepoint {
        /// What `--from-savepoint` takes.
        path: String,
    },
    /// The savepoint asked for is not.
    SavepointFailed {
        /// Why.
        failure: Failure,
    },
    /// The last line.
    Ended {
        /// `FINISHED`, `CANCELED` or `FAILED`.
        status: JobState,
        /// Why it failed.
        failure: Option<Failure>,
        /// Whether another start may help.
        retry: bool,
    },
}

/// Writes one line.
pub fn send<T: Serialize>(out: &mut impl Write, message: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
}

/// Reads one line; `None` at the end.
///
/// Errors: the stream breaks, a line is too long or is not understood.
pub fn receive<T: DeserializeOwned>(input: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    let read = input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        // The other side died in the middle of a line, or wrote one without end.
        let kind = if (read as u64) < MAX_LINE_BYTES {
            io::ErrorKind::UnexpectedEof
        } else {
            io::ErrorKind::InvalidData
        };
        return Err(io::Error::new(kind, "a line has no end"));
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_as_sent() {
        let mut wire = Vec::new();
        let stop = Command::Stop { directory: None, drain: true };
        send(&mut wire, &stop).unwrap();
        send(&mut wire, &Command::Cancel).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&wire),
            "{\"command\":\"stop\",\"directory\":null,\"drain\":true}\n{\"command\":\"cancel\"}\n"
        );
        let mut input = wire.as_slice();
        assert_eq!(receive::<Command>(&mut input).unwrap(), Some(stop));
        assert_eq!(receive::<Command>(&mut input).unwrap(), Some(Command::Cancel));
        assert_eq!(receive::<Command>(&mut input).unwrap(), None);
        assert!(receive::<Command>(&mut &b"{\"command\":"[..]).is_err());
    }
}
