//! The host of all jobs: what may be asked of them, whoever asks.

use crate::folder::{Folder, JobFolder};
use crate::job::Job;
use crate::log::{self, Level, Log};
use crate::model::{
    Deploy, Deployed, Detail, Health, JobState, LogPage, MAX_NAME_CHARS, Start, Stop, Summary, Taken,
};
use crate::registry::{Entry, Registry};
use engine::error::nearest;
use engine::time::{Clock, SystemClock};
use engine::{Error, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most jobs of a server.
pub const MAX_JOBS: usize = 200;
/// Bytes of a job's id, before they are written as hexadecimal digits.
const ID_BYTES: usize = 16;

/// All jobs of a server.
#[derive(Debug)]
pub struct Host {
    pub(crate) folder: Folder,
    pub(crate) registry: Registry,
    /// What children are started from.
    pub(crate) binary: PathBuf,
    pub(crate) log: Log,
    stopping: AtomicBool,
    /// By name.
    jobs: Mutex<BTreeMap<String, Arc<Job>>>,
    /// Held while jobs come and go, so that two clients do not make the same one.
    changes: Mutex<()>,
    started_ms: i64,
}

impl Host {
    /// Opens the registry below `folder` and starts every job that shall run. `binary` runs children.
    ///
    /// Errors: the registry cannot be used.
    pub fn open(folder: Folder, binary: PathBuf) -> Result<Arc<Self>> {
        let registry = Registry::open(&folder.registry())?;
        let host = Arc::new(Self {
            log: Log::new(folder.log(), log::JSON),
            folder,
            registry,
            binary,
            stopping: AtomicBool::new(false),
            jobs: Mutex::default(),
            changes: Mutex::default(),
            started_ms: SystemClock.now_ms(),
        });
        for entry in host.registry.all()? {
            let wanted = entry.wanted;
            let job = Job::new(host.folder.job(&entry.id), entry)?;
            host.jobs().insert(job.name(), job.clone());
            if wanted {
                job.begin(&host)?;
            }
        }
        Ok(host)
    }

    pub(crate) fn jobs(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Job>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the server is going.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Milliseconds since the server was started.
    pub fn uptime_ms(&self) -> i64 {
        SystemClock.now_ms() - self.started_ms
    }

    /// Ends all children. Their jobs stay wanted and come back with the next server.
    pub fn shut_down(&self) {
        self.stopping.store(true, Ordering::Release);
        let jobs: Vec<_> = self.jobs().values().cloned().collect();
        for job in &jobs {
            job.suspend();
        }
        for job in &jobs {
            job.wait_until_idle();
        }
        self.log.write(Level::Info, "runnel.server", "main", "The server has stopped.", &[]);
    }

    /// Whether there is a job of that name or id.
    pub fn knows(&self, name: &str) -> bool {
        self.job(name).is_ok()
    }

    pub(crate) fn job(&self, name: &str) -> Result<Arc<Job>> {
        let jobs = self.jobs();
        if let Some(job) = jobs.get(name).or_else(|| jobs.values().find(|j| j.id() == name)) {
            return Ok(job.clone());
        }
        let hint = match nearest(name, jobs.keys().map(String::as_str)) {
            Some(near) => format!("Did you mean {near}?"),
            None if jobs.is_empty() => "Deploy one: `runnel deploy FILE.sql`.".to_string(),
            None => "`runnel jobs` lists them.".to_string(),
        };
        Err(Error::user(format!("There is no job {name}.")).with_hint(hint))
    }

    /// All jobs, by name.
    pub fn list(&self) -> Vec<Summary> {
        self.jobs().values().map(|j| j.summary()).collect()
    }

    /// Everything about one job.
    ///
    /// Errors: there is none of that name or id.
    pub fn describe(&self, name: &str) -> Result<Detail> {
        let job = self.job(name)?;
        job.detail(self.registry.history(job.id())?)
    }

    /// How the server is.
    pub fn health(&self) -> Health {
        let jobs = self.list();
        let running = jobs.iter().filter(|j| j.status == JobState::Running).count();
        let waiting = jobs.iter().filter(|j| !j.status.is_final()).count() - running;
        Health {
            status: "ok".to_string(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            pid: std::process::id(),
            running,
            not_running: waiting,
        }
    }

    /// Registers a job and starts it.
    ///
    /// Errors: a name that is taken or none, too many jobs, a savepoint that could not be taken.
    pub fn deploy(self: &Arc<Self>, deploy: Deploy) -> Result<Deployed> {
        let _changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let name = deploy.definition.name.clone();
        check_name(&name)?;
        let existing = self.jobs().get(&name).cloned();
        match existing {
            Some(job) if deploy.update => {
                let savepoint = job.replace(self, deploy)?;
                Ok(Deployed { id: job.id().to_string(), savepoint })
            }
            Some(job) => Err(Error::user(format!("There is a job {name} already; it is {}.", job.status()))
                .with_hint(
                    "Replace its script with --update: it stops with a savepoint, from which the new script \
                     starts. Or choose another --name.",
                )),
            None => {
                if self.jobs().len() >= MAX_JOBS {
                    return Err(Error::user(format!(
                        "This server has {MAX_JOBS} jobs, the most it may have."
                    ))
                    .with_hint("Delete one: `runnel job delete NAME`."));
                }
                let id = new_id()?;
                let entry = Entry {
                    id: id.clone(),
                    definition: deploy.definition,
                    version: 1,
                    wanted: true,
                    status: JobState::Initializing,
                    start_ms: SystemClock.now_ms(),
                    restarts: 0,
                    run: new_id()?,
                    restore: deploy.from_savepoint,
                    checkpoint: None,
                    savepoint: None,
                    failure: None,
                };
                let folder = self.folder.job(&id);
                folder.create()?;
                self.registry.save(&entry)?;
                let job = Job::new(folder, entry)?;
                self.jobs().insert(name, job.clone());
                job.tell(self, Level::Info, "It was deployed.");
                job.begin(self)?;
                Ok(Deployed { id, savepoint: None })
            }
        }
    }

    /// Stops a job, with a savepoint if that is asked for.
    ///
    /// Errors: there is no such job, it does not run, or the savepoint could not be taken: then it runs on.
    pub fn stop(&self, name: &str, stop: &Stop) -> Result<Taken> {
        self.job(name)?.stop(self, stop)
    }

    /// Starts a job that was stopped or has ended.
    ///
    /// Errors: there is no such job, or it runs.
    pub fn start(self: &Arc<Self>, name: &str, start: Start) -> Result<()> {
        self.job(name)?.start(self, start)
    }

    /// Takes a savepoint of a running job.
    ///
    /// Errors: there is no such job, it does not run, or the savepoint could not be taken.
    pub fn savepoint(&self, name: &str, directory: Option<String>) -> Result<Taken> {
        self.job(name)?.savepoint(self, directory)
    }

    /// Forgets a job that does not run: its checkpoints, logs and history. Savepoints stay.
    ///
    /// Errors: there is no such job, or it runs.
    pub fn delete(&self, name: &str) -> Result<()> {
        let _changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let job = self.job(name)?;
        job.retire()?;
        self.registry.delete(job.id())?;
        self.jobs().remove(&job.name());
        self.log.write(
            Level::Info,
            "runnel.server",
            "main",
            &format!("Job {} was deleted.", job.name()),
            &[],
        );
        self.folder.job(job.id()).remove()
    }

    /// Lines of a job's log, or with `out` of what it printed: from a place on, or without one the last `tail`.
    ///
    /// Errors: there is no such job.
    pub fn logs(&self, name: &str, out: bool, from: Option<u64>, tail: usize) -> Result<LogPage> {
        let folder: JobFolder = self.folder.job(self.job(name)?.id());
        let stem = if out { log::OUT } else { log::JSON };
        let (lines, next) = match from {
            Some(from) => log::page(&folder.log(), stem, from),
            None => log::tail(&folder.log(), stem, tail),
        };
        Ok(LogPage { lines, next })
    }
}

fn check_name(name: &str) -> Result<()> {
    let fits = !name.trim().is_empty()
        && name.chars().count() <= MAX_NAME_CHARS
        && !name.chars().any(|c| c.is_control() || "/?#%\\".contains(c));
    if fits {
        return Ok(());
    }
    Err(Error::user(format!("`{name}` cannot be the name of a job.")).with_hint(format!(
        "A name has 1 to {MAX_NAME_CHARS} characters, none of / ? # % \\: choose one with --name."
    )))
}

/// 32 hexadecimal digits.
pub(crate) fn new_id() -> Result<String> {
    let mut bytes = [0_u8; ID_BYTES];
    let random = Path::new("/dev/urandom");
    File::open(random)
        .and_then(|mut f| f.read_exact(&mut bytes))
        .map_err(|e| Error::external(format!("{} cannot be read: {e}.", random.display())))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}
