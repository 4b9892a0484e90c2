//! A server's life: lock, registry, address, signals, end.

use crate::api;
use crate::folder::{Endpoint, Folder};
use crate::host::Host;
use crate::log::Level;
use engine::{Error, Result};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// Port of a server that is told none.
pub const DEFAULT_PORT: u16 = 8765;
/// Threads that answer clients.
const ANSWER_THREADS: usize = 2;
/// Threads for what waits: savepoints, stops.
const WAIT_THREADS: usize = 64;

/// How a server is to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its folder.
    pub folder: Folder,
    /// Where it listens; without it the default port, or any free one where that is taken.
    pub listen: Option<SocketAddr>,
    /// What children are started from.
    pub binary: PathBuf,
}

/// Runs a server until it is told to stop. `ready` is called when it answers.
///
/// Errors: the folder belongs to another server, or the address is taken or not on loopback.
pub fn run(options: Options, ready: impl FnOnce(&Endpoint, usize)) -> Result<()> {
    let failed = |what: &str, e: std::io::Error| Error::external(format!("{what}: {e}."));
    if let Some(address) = options.listen.filter(|a| !a.ip().is_loopback()) {
        return Err(Error::user(format!("The server listens on loopback only, not on {address}."))
            .with_hint("Write --listen 127.0.0.1:PORT; for another machine, use an SSH tunnel."));
    }
    let folder = options.folder;
    folder.create()?;
    let _lock = folder.lock()?;
    folder.unpublish();
    let token = folder.new_token()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(ANSWER_THREADS)
        .max_blocking_threads(WAIT_THREADS)
        .enable_all()
        .build()
        .map_err(|e| failed("Threads cannot be started", e))?;
    runtime.block_on(async {
        let listener = listen(options.listen).await?;
        let address = listener.local_addr().map_err(|e| failed("The address is unknown", e))?;
        let host = Host::open(folder.clone(), options.binary)?;
        let version = env!("CARGO_PKG_VERSION").to_string();
        let endpoint = Endpoint { address: address.to_string(), pid: std::process::id(), version };
        folder.publish(&endpoint)?;
        let shutdown = Arc::new(Notify::new());
        let router = api::router(host.clone(), &token, shutdown.clone());
        let brought_back = host.list().iter().filter(|j| !j.status.is_final()).count();
        let what = format!("The server listens on http://{address}; {brought_back} jobs come back.");
        host.log.write(Level::Info, "runnel.server", "main", &what, &[]);
        ready(&endpoint, brought_back);
        let until = signals(shutdown);
        let served = axum::serve(listener, router).with_graceful_shutdown(until).await;
        folder.unpublish();
        let ending = host.clone();
        // Children are ended even where serving broke.
        let _ = tokio::task::spawn_blocking(move || ending.shut_down()).await;
        served.map_err(|e| failed("The server has stopped answering", e))
    })
}

async fn listen(address: Option<SocketAddr>) -> Result<TcpListener> {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT));
    let taken = |address: SocketAddr, e: std::io::Error| {
        Error::external(format!("The server cannot listen on {address}: {e}."))
            .with_hint("Choose another port: --listen 127.0.0.1:PORT; 127.0.0.1:0 takes any free one.")
    };
    match TcpListener::bind(address.unwrap_or(default)).await {
        Ok(listener) => Ok(listener),
        Err(e) => match address {
            Some(address) => Err(taken(address, e)),
            // Another user's server, most likely: ours is found by its folder, not its port.
            None => {
                let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                TcpListener::bind(any).await.map_err(|e| taken(any, e))
            }
        },
    }
}

/// Until SIGTERM, Ctrl-C, or a client's wish. A terminal that closes does not end the server.
async fn signals(shutdown: Arc<Notify>) {
    use tokio::signal::unix::{SignalKind, signal};
    let hangup = signal(SignalKind::hangup());
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signals) => drop(signals.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
        () = shutdown.notified() => {}
    }
    drop(hangup);
}
