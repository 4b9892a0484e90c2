//! The shell: read, execute, render, repeat; nothing else.

use crate::commands::{self, Command};
use crate::execute;
use crate::input::{Assistant, Names};
use crate::paragraph;
use crate::render;
use crate::render::cells::grouped;
use crate::script::{self, Failed};
use crate::wiring::Process;
use engine::{Error, sql};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};
use std::time::{Duration, Instant};

/// Statements that history keeps.
const HISTORY_ENTRIES: usize = 10_000;
/// How long the tour shows its window where there is no terminal, in seconds.
const TOUR_SECONDS: u64 = 10;
const PROMPT: &str = "Runnel SQL> ";
const TOUR: &str = include_str!("../../sql-examples/00_tour.sql");
const TOUR_QUERY: &str = include_str!("../../sql-examples/00_tour_window.sql");

/// Opens the shell. Where there is no terminal, statements are read from standard input.
pub fn open(process: &mut Process) -> Result<(), Failed> {
    if !process.terminal {
        let text = std::io::read_to_string(std::io::stdin())
            .map_err(|e| Error::external(format!("Standard input cannot be read: {e}.")))?;
        return script::run_text(process, "stdin", &text);
    }
    println!(
        "Runnel {}: Flink SQL. Statements end with `;`. HELP; lists commands, QUIT; leaves.",
        env!("CARGO_PKG_VERSION")
    );
    println!("New here? `runnel tour` opens this shell on a made-up stock stream.\n");
    converse(process)
}

/// Opens the shell on a made-up stream. Where there is no terminal, shows ten seconds of a window and ends.
pub fn tour(process: &mut Process) -> Result<(), Failed> {
    script::run_text(process, "tour", TOUR)?;
    let query = TOUR_QUERY.trim();
    if !process.terminal {
        println!("{query}\n");
        let interrupt = process.interrupt.clone();
        let deadline = Instant::now() + Duration::from_secs(TOUR_SECONDS);
        std::thread::spawn(move || {
            while let Some(left) = deadline.checked_duration_since(Instant::now()) {
                std::thread::sleep(left);
            }
            interrupt.ask();
        });
        return script::run_text(process, "tour", query);
    }
    println!("A stream of made-up stock prices is defined as the table `stock`. Look at it:\n");
    println!("    DESCRIBE stock;");
    println!("    SELECT * FROM stock;\n");
    println!("Watch a window over it redraw itself (q returns here):\n");
    for line in query.lines() {
        println!("    {line}");
    }
    println!("\nTab completes, HELP; lists commands, QUIT; leaves. Press ↑ for the window query.\n");
    converse(process)
}

fn converse(process: &mut Process) -> Result<(), Failed> {
    let config = Config::builder()
        .max_history_size(HISTORY_ENTRIES)
        .and_then(|c| c.history_ignore_dups(true))
        .map_err(terminal)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .auto_add_history(false)
        .build();
    let mut editor: Editor<Assistant, FileHistory> = Editor::with_config(config).map_err(terminal)?;
    editor.set_helper(Some(Assistant::default()));
    let history = process.data_folder.join("history");
    // A first start has no history; one that cannot be read is no reason not to open.
    let _ = std::fs::create_dir_all(&process.data_folder);
    let _ = editor.load_history(&history);
    let _ = editor.add_history_entry(TOUR_QUERY.trim());
    loop {
        report_background(process);
        if let Some(assistant) = editor.helper_mut() {
            assistant.learn(Names::of(&process.session));
        }
        process.interrupt.reset();
        if process.interrupt.is_termination() {
            break;
        }
        match editor.readline(PROMPT) {
            Ok(text) if text.trim().is_empty() => {}
            Ok(text) => {
                let _ = editor.add_history_entry(text.trim());
                if !obey(process, &text)? {
                    break;
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(e) => return Err(terminal(e)),
        }
    }
    let _ = editor.save_history(&history);
    stop_background(process);
    Ok(())
}

fn terminal(e: ReadlineError) -> Failed {
    Failed::Error(Error::external(format!("The terminal cannot be used: {e}.")))
}

/// Does what one input asks for; false ends the shell.
fn obey(process: &mut Process, text: &str) -> Result<bool, Failed> {
    match Command::parse(text) {
        Some(Command::Quit) => return Ok(false),
        Some(Command::Help) => print!("{}", commands::help()),
        Some(Command::Clear) => print!("\x1b[2J\x1b[H"),
        Some(Command::Jobs) => list_background(process),
        Some(Command::Stop) => stop_background(process),
        None => {
            if let Err(e) = run(process, text) {
                render::error::print(&e, Some(render::error::Source { origin: "", text }));
            }
        }
    }
    Ok(!process.interrupt.is_termination())
}

fn run(process: &mut Process, text: &str) -> engine::Result<()> {
    for paragraph in paragraph::paragraphs(text)? {
        if paragraph.is_skipped() {
            continue;
        }
        for piece in sql::split(&paragraph.sql)? {
            execute::statement(process, &piece, &paragraph.properties, true)?;
        }
    }
    Ok(())
}

/// Tells of jobs behind the shell that have ended since the last prompt.
fn report_background(process: &mut Process) {
    process.background.retain(|job| match job.wait(Some(Duration::ZERO)) {
        None => true,
        Some(Ok(())) => {
            println!("[INFO] Job {} has finished: {} rows.", job.id(), grouped(job.progress().rows_out));
            false
        }
        Some(Err(e)) => {
            println!("[ERROR] Job {} has failed.", job.id());
            render::error::print(&e, None);
            false
        }
    });
}

fn list_background(process: &Process) {
    if process.background.is_empty() {
        println!("No job runs behind the shell.");
    }
    for job in &process.background {
        let progress = job.progress();
        println!(
            "{}  {:?}  {} rows in, {} rows out, {} late",
            job.id(),
            job.status(),
            grouped(progress.rows_in),
            grouped(progress.rows_out),
            grouped(progress.late_rows)
        );
        for reason in &progress.silence {
            println!("    {reason}");
        }
    }
}

fn stop_background(process: &mut Process) {
    for job in &process.background {
        job.cancel();
    }
    for job in process.background.drain(..) {
        match job.wait(Some(Duration::from_secs(STOP_PATIENCE_SECONDS))) {
            Some(Ok(())) => {
                println!("Job {} has stopped: {} rows.", job.id(), grouped(job.progress().rows_out))
            }
            Some(Err(e)) => render::error::print(&e, None),
            None => println!("Job {} does not stop; it is left behind.", job.id()),
        }
    }
}

/// How long a job may take to stop, in seconds.
const STOP_PATIENCE_SECONDS: u64 = 10;
