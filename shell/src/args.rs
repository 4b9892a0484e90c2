//! The command line's words. Their doc comments are `--help`.

use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Flink SQL in one binary: type SQL and watch windows over Kafka, Kinesis or files redraw themselves.
#[derive(Debug, Parser)]
#[command(
    name = "runnel",
    version,
    max_term_width = 100,
    after_help = "Examples:\n  \
        runnel                                  open the shell\n  \
        runnel tour                             open the shell on a made-up stock stream\n  \
        runnel -e \"SELECT 1\"                    execute and exit\n  \
        runnel run ddl.sql job.sql -D region=eu run scripts; ${region} in them becomes eu\n  \
        runnel -e \"…\" --output json | jq .      one JSON object a row\n  \
        runnel deploy job.sql                   run a script's INSERT as a job that survives crashes\n  \
        runnel jobs                             list the jobs\n\n\
        A script holds statements separated by `;`: DDL, then SET, then SELECT or INSERT. An unbounded query runs \
        until Ctrl-C. Exit code: 0 done, 1 a statement failed."
)]
pub struct Args {
    /// Execute this SQL (statements separated by `;`) and exit.
    #[arg(short = 'e', long = "execute", value_name = "SQL")]
    pub execute: Option<String>,

    /// How results are shown [default: table on a terminal, tableau into a pipe].
    #[arg(short, long, value_enum, global = true)]
    pub output: Option<Output>,

    /// Set `KEY` to `VALUE`: a setting as with SET, and `${KEY}` in scripts. May be repeated.
    #[arg(short = 'D', value_name = "KEY=VALUE", value_parser = key_value, global = true)]
    pub define: Vec<(String, String)>,

    /// Memory for keyed state, such as `512 mb`; what is beyond it goes to local disk [default: 800 mb]. The same as
    /// -D taskmanager.memory.managed.size=SIZE.
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub memory: Option<u64>,

    /// File of the catalog that remembers tables and views, or `memory` for one that forgets
    /// [default: $RUNNEL_CATALOG, else ~/.local/share/runnel/catalog.db].
    #[arg(long, value_name = "FILE", global = true)]
    pub catalog: Option<PathBuf>,

    /// What to do; without one the shell opens.
    #[command(subcommand)]
    pub command: Option<Command>,
}

impl Args {
    /// `--memory`, before or after `run`.
    pub fn memory(&self) -> Option<u64> {
        match &self.command {
            Some(Command::Run { memory: Some(memory), .. }) => Some(*memory),
            _ => self.memory,
        }
    }
}

/// Ways in besides the shell.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run SQL scripts in order; stop at the first error.
    Run {
        /// The scripts.
        #[arg(required = true, value_name = "FILE.sql")]
        files: Vec<PathBuf>,
        /// As before `run`: memory for keyed state.
        #[arg(id = "run-memory", long = "memory", value_name = "SIZE", value_parser = bytes)]
        memory: Option<u64>,
    },
    /// Run a script's INSERTs as a long-running job: on a server, restarted from its checkpoints when it fails.
    #[command(after_help = "\
Examples:
  runnel deploy orders.sql                          the job `orders`; a server is started where none runs
  runnel deploy orders.sql -D region=eu --name eu   ${region} in the script becomes eu
  runnel deploy orders.sql --update                 replace the script; the state is kept
  runnel deploy orders.sql --from-savepoint PATH    begin with the state of a savepoint

The script keeps the rules of a Studio note that is deployed as an application: definitions before INSERTs, all \
INSERTs in one paragraph (they run as one job), only %flink.ssql paragraphs, no ${forms}. A SELECT outside of INSERT \
is left out with a note, or refused under --strict. Tables and views of your catalog may be used; the job keeps them \
as they are now. The script's own CREATE TABLE is the job's alone and does not touch your catalog.

A job takes a checkpoint every 60 s unless the script says SET 'execution.checkpointing.interval' = '…'.")]
    Deploy(Deploy),
    /// List the jobs of the server.
    Jobs(ServerDir),
    /// Look at one job, stop it, start it, or delete it.
    #[command(after_help = "\
Examples:
  runnel job describe orders            how it is, why it failed, what happened to it
  runnel job logs orders -f             what it says, as it says it
  runnel job stop orders                take a savepoint and stop
  runnel job start orders               go on from there
  runnel job savepoint orders           take a savepoint and go on
  runnel job delete orders              forget it; savepoints stay")]
    Job {
        /// What to do with it.
        #[command(subcommand)]
        action: JobAction,
    },
    /// Host jobs: start those that shall run, answer clients, until SIGTERM or Ctrl-C.
    #[command(after_help = "\
Everything lives in the folder --dir, which only its owner can read: the registry of jobs, their checkpoints and logs, \
and `token`, which clients send. `runnel deploy` starts a server in the background where none runs. When a server ends, \
its jobs end too, and come back with the next one.

Prometheus reads http://ADDRESS/metrics with `authorization: {credentials_file: DIR/token}`; \
http://ADDRESS/health answers without a token.")]
    Server {
        /// Where it is kept.
        #[command(flatten)]
        dir: ServerDir,
        /// Address on loopback [default: 127.0.0.1:8765, or any free port where that is taken].
        #[arg(long, value_name = "127.0.0.1:PORT")]
        listen: Option<std::net::SocketAddr>,
        /// Stop the server that runs in the folder.
        #[arg(long)]
        stop: bool,
    },
    /// Run one job for a server, which is on the other end of standard input.
    #[command(name = "run-job", hide = true)]
    RunJob,
    /// Open the shell on a made-up stock stream, with hints of what to type. Needs no service.
    Tour,
    /// Print a completion script for your command-line shell.
    Completions {
        /// bash, zsh, fish, …
        shell: clap_complete::Shell,
    },
}

/// Which server.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ServerDir {
    /// The server's folder [default: $RUNNEL_SERVER_DIR, else ~/.local/share/runnel/server].
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
}

/// `runnel deploy`.
#[derive(Debug, clap::Args)]
pub struct Deploy {
    /// The script.
    #[arg(value_name = "FILE.sql")]
    pub file: PathBuf,
    /// Name of the job [default: the script's 'pipeline.name', else the file's name].
    #[arg(long)]
    pub name: Option<String>,
    /// Parallel tasks of each operator [default: the script's 'parallelism.default', else 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub parallelism: Option<u16>,
    /// Memory for keyed state, such as `512 mb`; what is beyond it goes to disk [default: the script's
    /// 'taskmanager.memory.managed.size', else 800 mb].
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub memory: Option<u64>,
    /// Savepoint or checkpoint to begin with.
    #[arg(long, value_name = "PATH")]
    pub from_savepoint: Option<String>,
    /// Replace the script of a job of that name: it stops with a savepoint, from which the new script starts.
    #[arg(long)]
    pub update: bool,
    /// With --update: begin without the old job's state.
    #[arg(long, requires = "update", conflicts_with = "from_savepoint")]
    pub fresh: bool,
    /// Refuse what would be left out with a note: a SELECT outside of INSERT.
    #[arg(long)]
    pub strict: bool,
    /// Check and plan the script, and deploy nothing.
    #[arg(long)]
    pub check: bool,
    /// Which server.
    #[command(flatten)]
    pub server: ServerDir,
}

/// `runnel job …`.
#[derive(Debug, Subcommand)]
pub enum JobAction {
    /// Show everything about a job.
    Describe(JobName),
    /// Show what a job says: its log, or with --out what it printed.
    Logs {
        /// Which job.
        #[command(flatten)]
        job: JobName,
        /// Go on showing what comes, until Ctrl-C.
        #[arg(short, long)]
        follow: bool,
        /// How many of the last lines.
        #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
        lines: usize,
        /// What the job printed (the connector `print`) instead of its log.
        #[arg(long)]
        out: bool,
    },
    /// Take a savepoint and stop.
    Stop {
        /// Which job.
        #[command(flatten)]
        job: JobName,
        /// Take none: the job starts again from its last checkpoint.
        #[arg(long)]
        no_savepoint: bool,
        /// End the event time first, so that all windows fire. Only for a job that will not go on.
        #[arg(long, conflicts_with = "no_savepoint")]
        drain: bool,
        /// Where the savepoint goes [default: the script's 'state.savepoints.dir', else the server's folder].
        #[arg(long, value_name = "PATH", conflicts_with = "no_savepoint")]
        to: Option<String>,
    },
    /// Start a job that has stopped or ended, from its last savepoint or checkpoint.
    Start {
        /// Which job.
        #[command(flatten)]
        job: JobName,
        /// Begin with this savepoint or checkpoint instead.
        #[arg(long, value_name = "PATH")]
        from_savepoint: Option<String>,
        /// Begin without state.
        #[arg(long, conflicts_with = "from_savepoint")]
        fresh: bool,
    },
    /// Take a savepoint; the job goes on.
    Savepoint {
        /// Which job.
        #[command(flatten)]
        job: JobName,
        /// Where it goes [default: the script's 'state.savepoints.dir', else the server's folder].
        #[arg(long, value_name = "PATH")]
        to: Option<String>,
    },
    /// Forget a job that does not run, with its checkpoints and logs. Savepoints stay.
    Delete(JobName),
}

/// Which job.
#[derive(Debug, clap::Args)]
pub struct JobName {
    /// Name or id.
    pub name: String,
    /// Which server.
    #[command(flatten)]
    pub server: ServerDir,
}

/// Forms of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table that redraws itself in place (needs a terminal).
    Table,
    /// Flink SQL client's tableau: borders, an op column, fixed widths.
    Tableau,
    /// Each change on a line, without borders.
    Changelog,
    /// Comma-separated values with a header.
    Csv,
    /// One JSON object a line.
    Json,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_string(), value.to_string())),
        _ => Err("write KEY=VALUE".to_string()),
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    engine::config::parse_bytes(text).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn words_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn definitions_go_before_and_after_files() {
        let args = Args::parse_from(["runnel", "run", "a.sql", "-D", "x=1", "b.sql", "-Dy=a=b"]);
        assert_eq!(args.define, [("x".into(), "1".into()), ("y".into(), "a=b".into())]);
    }
}
