//! A child process, seen from the server: started, heard, and ended.

use crate::folder::JobFolder;
use crate::log::{Level, Log};
use crate::protocol::{self, Command, Event, MAX_LINE_BYTES, Task};
use engine::{Error, Result};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A child that says nothing for this long is taken for dead, in seconds. It tells its progress every second.
const SILENCE_SECONDS: u64 = 120;
/// How long a child may take to read a command, in seconds.
const SEND_PATIENCE_SECONDS: u64 = 30;
/// How long a child may take to go after its last word, in seconds.
const EXIT_PATIENCE_SECONDS: u64 = 15;
/// How often it is looked whether it has gone, in milliseconds.
const EXIT_TICK_MS: u64 = 10;
/// Hidden word of the binary under which a child runs.
pub const CHILD_WORD: &str = "run-job";

/// Where the child's own output goes.
#[derive(Debug, Clone)]
pub struct Outlets {
    /// Its standard error, as records.
    pub log: Arc<Log>,
    /// Its standard output, as it is.
    pub out: Arc<Log>,
}

/// A running child: its end of the wire.
pub struct Process {
    child: Child,
    input: BufReader<UnixStream>,
    control: Control,
    outlets: Vec<JoinHandle<()>>,
}

/// Sends commands to a child. Clones send to the same one.
#[derive(Debug, Clone)]
pub struct Control {
    socket: Arc<Mutex<UnixStream>>,
    pid: u32,
}

impl Control {
    /// The child's process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a command.
    ///
    /// Errors: the child is gone or does not read.
    pub fn send(&self, command: &Command) -> Result<()> {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        protocol::send(&mut *socket, command)
            .map_err(|e| Error::external(format!("The job's process does not listen: {e}.")))
    }
}

impl Process {
    /// Starts `binary` as a child and gives it its task.
    ///
    /// Errors: the process cannot be started, or does not take its task.
    pub fn start(binary: &Path, task: &Task, outlets: &Outlets) -> Result<Self> {
        let failed = |e: std::io::Error| {
            Error::external(format!("The job's process cannot be started: {e}."))
                .with_hint("Check memory, and the limits of processes and open files.")
        };
        let folder = JobFolder::at(&task.folder);
        std::fs::create_dir_all(folder.spill()).map_err(failed)?;
        let directory = Path::new(&task.definition.directory);
        if !directory.is_dir() {
            return Err(Error::external(format!(
                "The folder {} in which the job was deployed is gone.",
                directory.display()
            ))
            .with_hint("Make it again, or deploy from another folder with --update."));
        }
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let mut child = std::process::Command::new(binary)
            .arg(CHILD_WORD)
            .current_dir(directory)
            // State that has no room in memory goes here.
            .env("TMPDIR", folder.spill())
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C at the server's terminal is for the server alone.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let pid = child.id();
        let mut readers = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            let out = outlets.out.clone();
            readers.push(drain("stdout", stdout, move |line| out.line(line)).map_err(failed)?);
        }
        if let Some(stderr) = child.stderr.take() {
            let log = outlets.log.clone();
            let write = move |line: &str| log.write(Level::Warn, "runnel.job.stderr", "child", line, &[]);
            readers.push(drain("stderr", stderr, write).map_err(failed)?);
        }
        ours.set_read_timeout(Some(Duration::from_secs(SILENCE_SECONDS))).map_err(failed)?;
        ours.set_write_timeout(Some(Duration::from_secs(SEND_PATIENCE_SECONDS))).map_err(failed)?;
        let input = BufReader::new(ours.try_clone().map_err(failed)?);
        let control = Control { socket: Arc::new(Mutex::new(ours)), pid };
        let process = Self { child, input, control, outlets: readers };
        {
            let mut socket = process.control.socket.lock().unwrap_or_else(PoisonError::into_inner);
            protocol::send(&mut *socket, task).map_err(failed)?;
        }
        Ok(process)
    }

    /// For commands.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// What it says next; `None` once it has no more to say, or says nothing for too long.
    pub fn hear(&mut self) -> Option<Event> {
        protocol::receive(&mut self.input).unwrap_or_default()
    }

    /// Waits for its end, which comes by force if it does not come by itself. How it ended, in words.
    pub fn end(mut self, patience: Duration) -> String {
        let deadline = Instant::now() + patience.min(Duration::from_secs(EXIT_PATIENCE_SECONDS));
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(EXIT_TICK_MS));
                }
                _ => {
                    // Fails only where it has just gone.
                    let _ = self.child.kill();
                    break self.child.wait().ok();
                }
            }
        };
        for reader in std::mem::take(&mut self.outlets) {
            // A grandchild could hold the pipe; there are none. A panic there costs lines, not the job.
            let _ = reader.join();
        }
        status.map_or_else(|| "its process is lost".to_string(), words)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Only where starting failed half-way; otherwise it has ended.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("its process ended with exit code {code}"),
        (None, Some(9)) => "its process was killed (signal 9)".to_string(),
        (None, Some(signal)) => format!("its process died of signal {signal}"),
        (None, None) => "its process ended".to_string(),
    }
}

/// Gives `take` each line of a pipe until its end.
fn drain(
    name: &str,
    pipe: impl Read + Send + 'static,
    take: impl Fn(&str) + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_string()).spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        loop {
            line.clear();
            match reader.by_ref().take(MAX_LINE_BYTES / 32).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {
                    if line.last() == Some(&b'\n') {
                        line.pop();
                    }
                    take(&String::from_utf8_lossy(&line));
                }
            }
        }
    })
}
