//! `runnel`: Flink SQL in one binary. Parses words, picks a way in, sets the exit code; no logic.

mod args;
mod commands;
mod deploy;
mod execute;
mod host;
mod input;
mod interrupt;
mod jobs;
mod paragraph;
mod render;
mod repl;
mod script;
mod wiring;

use clap::{CommandFactory, Parser};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = args::Args::parse();
    if let Some(args::Command::Completions { shell }) = args.command {
        clap_complete::generate(shell, &mut args::Args::command(), "runnel", &mut std::io::stdout());
        return ExitCode::SUCCESS;
    }
    // SQL sets the depth of what is parsed and bound; the main thread's stack may be small.
    let worker =
        std::thread::Builder::new().name("runnel".into()).stack_size(STACK_BYTES).spawn(|| run(args));
    match worker.map(std::thread::JoinHandle::join) {
        Ok(Ok(code)) => code,
        Ok(Err(_)) => ExitCode::from(EXIT_INTERNAL),
        Err(e) => {
            eprintln!("error: The main thread cannot be started: {e}.");
            ExitCode::from(EXIT_INTERNAL)
        }
    }
}

/// Stack of the thread that does the work, in bytes.
const STACK_BYTES: usize = 32 << 20;
/// Exit code when a bug of ours ended the process.
const EXIT_INTERNAL: u8 = 101;
/// Exit code when a statement failed.
const EXIT_FAILED: u8 = 1;

fn run(args: args::Args) -> ExitCode {
    let done = match &args.command {
        Some(args::Command::Deploy(words)) => deploy::run(&args, words),
        Some(args::Command::Jobs(server)) => jobs::list(&args, server),
        Some(args::Command::Job { action }) => jobs::run(&args, action),
        Some(args::Command::Server { dir, stop: true, .. }) => host::stop(dir),
        Some(args::Command::Server { dir, listen, .. }) => host::serve(dir, *listen),
        Some(args::Command::RunJob) => wiring::run_job(),
        _ => work(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(script::Failed::Shown) => ExitCode::from(EXIT_FAILED),
        Err(script::Failed::Error(e)) => {
            render::error::print(&e, None);
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// The shell and scripts.
fn work(args: &args::Args) -> Result<(), script::Failed> {
    let mut process = wiring::Process::start(args)?;
    match &args.command {
        Some(args::Command::Run { files, .. }) => script::run_files(&mut process, files),
        Some(args::Command::Tour) => repl::tour(&mut process),
        None => match &args.execute {
            Some(sql) => script::run_text(&mut process, "-e", sql),
            None => repl::open(&mut process),
        },
        Some(_) => Ok(()),
    }
}
