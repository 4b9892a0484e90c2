//! The composition root: the only file that names catalogs, connectors and the clock together.

use crate::args::{Args, Output};
use crate::interrupt::Interrupt;
use crate::script::Failed;
use catalog::{Catalog, DEFAULT_DATABASE, MemoryCatalog, OverlayCatalog, SqliteCatalog};
use engine::runtime::JobHandle;
use engine::session::SessionOptions;
use engine::time::SystemClock;
use engine::{Error, Session};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

/// Threads for connectors over asynchronous clients.
const ASYNC_THREADS: usize = 2;
/// Name of the catalog that always exists, Flink's.
const DEFAULT_CATALOG: &str = "default_catalog";

/// All that a run of the binary holds.
pub struct Process {
    /// The session in which statements are executed.
    pub session: Session,
    /// How results are shown.
    pub output: Output,
    /// `-D`: values of `${name}` in scripts.
    pub variables: BTreeMap<String, String>,
    /// Whether standard output is a terminal.
    pub terminal: bool,
    /// Ctrl-C.
    pub interrupt: Interrupt,
    /// INSERT jobs that the shell has started; they stop with it.
    pub background: Vec<JobHandle>,
    /// Where history and such live.
    pub data_folder: PathBuf,
    _runtime: tokio::runtime::Runtime,
}

impl Process {
    /// Puts everything together as the command line says.
    pub fn start(args: &Args) -> Result<Self, Failed> {
        let runtime = async_threads()?;
        let interrupt = Interrupt::listen(runtime.handle());
        let data_folder = data_folder();
        let catalog = open_catalog(args, &data_folder)?;
        let mut session = session(catalog, &runtime);
        session.set_job_host(Arc::new(crate::jobs::ServerJobs(crate::args::ServerDir::default())));
        let mut variables = BTreeMap::new();
        for (key, value) in &args.define {
            if engine::Config::is_known(key) {
                session.config_mut().set(key, value)?;
            }
            variables.insert(key.clone(), value.clone());
        }
        if let Some(bytes) = args.memory() {
            session.config_mut().set("taskmanager.memory.managed.size", &bytes.to_string())?;
        }
        let terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
        let output = match args.output {
            Some(Output::Table) if !terminal => Output::Tableau,
            Some(output) => output,
            None if terminal => Output::Table,
            None => Output::Tableau,
        };
        Ok(Self {
            session,
            output,
            variables,
            terminal,
            interrupt,
            background: Vec::new(),
            data_folder,
            _runtime: runtime,
        })
    }
}

/// What plans a script without touching the user's catalog.
pub struct Planner {
    /// The session, over the layer.
    pub session: Session,
    /// The layer over the user's catalog.
    pub catalog: Arc<OverlayCatalog>,
    _runtime: tokio::runtime::Runtime,
}

impl Planner {
    /// Over the catalog that the command line names.
    pub fn new(args: &Args) -> Result<Self, Failed> {
        let runtime = async_threads()?;
        let catalog = Arc::new(OverlayCatalog::new(open_catalog(args, &data_folder())?));
        let session = session(catalog.clone(), &runtime);
        Ok(Self { session, catalog, _runtime: runtime })
    }
}

/// `runnel run-job`: one job for a server.
pub fn run_job() -> Result<(), Failed> {
    let runtime = async_threads()?;
    server::child::run(|task| {
        let below = MemoryCatalog::new(DEFAULT_CATALOG);
        for carried in &task.definition.objects {
            if carried.database != DEFAULT_DATABASE && below.database(&carried.database).is_err() {
                below.create_database(&carried.database, Default::default())?;
            }
            below.create_object(&carried.database, &carried.name, carried.object.clone())?;
        }
        Ok(session(Arc::new(OverlayCatalog::new(Arc::new(below))), &runtime))
    })?;
    Ok(())
}

fn session(catalog: Arc<dyn Catalog>, runtime: &tokio::runtime::Runtime) -> Session {
    Session::new(SessionOptions {
        catalogs: vec![catalog],
        connectors: connectors::registry(),
        clock: Arc::new(SystemClock),
        runtime: runtime.handle().clone(),
    })
}

fn async_threads() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(ASYNC_THREADS)
        .enable_all()
        .build()
        .map_err(|e| Error::external(format!("Threads cannot be started: {e}.")))
}

/// `$XDG_DATA_HOME/runnel`, or `~/.local/share/runnel`.
pub fn data_folder() -> PathBuf {
    let xdg = std::env::var_os("XDG_DATA_HOME").filter(|v| !v.is_empty()).map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".local/share"));
    xdg.or_else(home).unwrap_or_else(std::env::temp_dir).join("runnel")
}

fn open_catalog(args: &Args, data_folder: &std::path::Path) -> Result<Arc<dyn Catalog>, Failed> {
    let path = args.catalog.clone().or_else(|| std::env::var_os("RUNNEL_CATALOG").map(PathBuf::from));
    if matches!(args.command, Some(crate::args::Command::Tour)) && path.is_none() {
        // The tour's tables are nobody's to keep.
        return Ok(Arc::new(MemoryCatalog::new(DEFAULT_CATALOG)));
    }
    let path = path.unwrap_or_else(|| data_folder.join("catalog.db"));
    if path.as_os_str() == "memory" {
        return Ok(Arc::new(MemoryCatalog::new(DEFAULT_CATALOG)));
    }
    let catalog = SqliteCatalog::open(DEFAULT_CATALOG, &path).map_err(|e| {
        Error::from(e)
            .with_hint("Name another file with --catalog, or write --catalog memory to keep nothing.")
    })?;
    Ok(Arc::new(catalog))
}
