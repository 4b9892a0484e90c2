//! `runnel server`, and the server that other words find or start.

use crate::args::ServerDir;
use crate::script::Failed;
use crate::wiring;
use engine::Error;
use server::serve::Options;
use server::{Client, Folder};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server that was just started may take to answer, in seconds.
const START_PATIENCE_SECONDS: u64 = 15;
/// How long a server may take to end its jobs, in seconds.
const STOP_PATIENCE_SECONDS: u64 = 60;
/// How often it is looked whether it answers, in milliseconds.
const TICK_MS: u64 = 5;

/// The folder that the words mean.
pub fn folder(dir: &ServerDir) -> Folder {
    let env = || std::env::var_os("RUNNEL_SERVER_DIR").filter(|v| !v.is_empty()).map(Into::into);
    Folder::at(dir.dir.clone().or_else(env).unwrap_or_else(|| wiring::data_folder().join("server")))
}

/// `runnel server`: runs until it is told to stop.
pub fn serve(dir: &ServerDir, listen: Option<SocketAddr>) -> Result<(), Failed> {
    let folder = folder(dir);
    let path = folder.path().display().to_string();
    let options = Options { folder, listen, binary: binary()? };
    server::serve::run(options, |endpoint, jobs| {
        println!("Runnel server {}, process {}", endpoint.version, endpoint.pid);
        println!(
            "  http://{}   (jobs: {jobs}; Ctrl-C stops it, and its jobs until it comes back)",
            endpoint.address
        );
        println!("  folder {path}");
    })?;
    Ok(())
}

/// `runnel server --stop`.
pub fn stop(dir: &ServerDir) -> Result<(), Failed> {
    let folder = folder(dir);
    let Some(client) = Client::find(&folder)? else {
        println!("No server runs in {}.", folder.path().display());
        return Ok(());
    };
    let health = client.shut_down()?;
    let deadline = Instant::now() + Duration::from_secs(STOP_PATIENCE_SECONDS);
    while Instant::now() < deadline {
        if folder.endpoint().is_none() && folder.lock().is_ok() {
            println!(
                "The server (process {}) has stopped. Its jobs come back with the next one.",
                health.pid
            );
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(TICK_MS));
    }
    Err(Failed::Error(Error::external(format!(
        "The server (process {}) has not stopped within {STOP_PATIENCE_SECONDS} s.",
        health.pid
    ))))
}

/// The server of the folder.
///
/// Errors: none answers.
pub fn find(dir: &ServerDir) -> Result<Client, Error> {
    let folder = folder(dir);
    Client::find(&folder)?.ok_or_else(|| {
        Error::user(format!("No server runs in {}.", folder.path().display())).with_hint(
            "Start it: `runnel server`, and its jobs come back. `runnel deploy FILE.sql` starts one by itself.",
        )
    })
}

/// The server of the folder, started in the background where none answers; that is said on standard error.
pub fn find_or_start(dir: &ServerDir) -> Result<Client, Error> {
    let folder = folder(dir);
    if let Some(client) = Client::find(&folder)? {
        return Ok(client);
    }
    folder.create()?;
    let failed = |what: &str| {
        Error::external(format!("A server cannot be started: {what}"))
            .with_hint("Run `runnel server` in another terminal and look at what it says.")
    };
    let errors = folder.path().join("server.err");
    let file = std::fs::File::create(&errors).map_err(|e| failed(&format!("{}: {e}.", errors.display())))?;
    let mut child = Command::new(binary()?)
        .arg("server")
        .arg("--dir")
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::from(file))
        // Ctrl-C here, or closing this terminal, is not for it.
        .process_group(0)
        .spawn()
        .map_err(|e| failed(&format!("{e}.")))?;
    let deadline = Instant::now() + Duration::from_secs(START_PATIENCE_SECONDS);
    while Instant::now() < deadline {
        if let Some(client) = Client::find(&folder).ok().flatten() {
            let endpoint = client.endpoint();
            eprintln!(
                "No server ran; started one in the background: process {}, http://{}, folder {}. \
                 `runnel server --stop` stops it.",
                endpoint.pid,
                endpoint.address,
                folder.path().display()
            );
            return Ok(client);
        }
        if let Ok(Some(status)) = child.try_wait() {
            // Another client may have been quicker.
            if let Some(client) = Client::find(&folder).ok().flatten() {
                return Ok(client);
            }
            let said = std::fs::read_to_string(&errors).unwrap_or_default();
            return Err(failed(&format!("it ended ({status}). {}", said.trim())));
        }
        std::thread::sleep(Duration::from_millis(TICK_MS));
    }
    Err(failed(&format!("it does not answer within {START_PATIENCE_SECONDS} s.")))
}

/// This binary: servers and jobs are run from it.
fn binary() -> Result<std::path::PathBuf, Error> {
    std::env::current_exe().map_err(|e| Error::external(format!("The path of this program is unknown: {e}.")))
}
