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
        runnel -e \"…\" --output json | jq .      one JSON object a row\n\n\
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

    /// File of the catalog that remembers tables and views, or `memory` for one that forgets
    /// [default: $RUNNEL_CATALOG, else ~/.local/share/runnel/catalog.db].
    #[arg(long, value_name = "FILE", global = true)]
    pub catalog: Option<PathBuf>,

    /// What to do; without one the shell opens.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Ways in besides the shell.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run SQL scripts in order; stop at the first error.
    Run {
        /// The scripts.
        #[arg(required = true, value_name = "FILE.sql")]
        files: Vec<PathBuf>,
    },
    /// Open the shell on a made-up stock stream, with hints of what to type. Needs no service.
    Tour,
    /// Print a completion script for your command-line shell.
    Completions {
        /// bash, zsh, fish, …
        shell: clap_complete::Shell,
    },
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
