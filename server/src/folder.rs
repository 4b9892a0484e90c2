//! The server's folder: who may use it, its lock, its token, its address, and what lies where in it.

use engine::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Bytes of the token, before they are written as hexadecimal digits.
const TOKEN_BYTES: usize = 32;
/// Only the owner may enter.
const FOLDER_MODE: u32 = 0o700;
/// Only the owner may read.
const FILE_MODE: u32 = 0o600;

/// Where a server keeps all that it has. Nobody but its owner may read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder(PathBuf);

/// How a running server is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// `127.0.0.1:8765`.
    pub address: String,
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
}

impl Folder {
    /// The folder `path`, which may not exist yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Makes it, and what is missing in it.
    ///
    /// Errors: it cannot be made.
    pub fn create(&self) -> Result<()> {
        self.make(&self.0)?;
        self.make(&self.jobs())
    }

    fn make(&self, path: &Path) -> Result<()> {
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path).map_err(|e| refused(path, &e))?;
        fs::set_permissions(path, fs::Permissions::from_mode(FOLDER_MODE)).map_err(|e| refused(path, &e))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The registry's file.
    pub fn registry(&self) -> PathBuf {
        self.0.join("registry.db")
    }

    /// The token's file: what a client sends as `Authorization: Bearer …`.
    pub fn token_file(&self) -> PathBuf {
        self.0.join("token")
    }

    /// The server's own log.
    pub fn log(&self) -> PathBuf {
        self.0.join("logs")
    }

    fn endpoint_file(&self) -> PathBuf {
        self.0.join("endpoint.json")
    }

    fn jobs(&self) -> PathBuf {
        self.0.join("jobs")
    }

    /// A job's own folder.
    pub fn job(&self, id: &str) -> JobFolder {
        JobFolder(self.jobs().join(id))
    }

    /// Where the savepoints of the jobs named `name` go. They outlive the job.
    pub fn savepoints(&self, name: &str) -> PathBuf {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
        let name: String = name.chars().map(plain).collect();
        self.0.join("savepoints").join(if name.starts_with('.') { format!("_{name}") } else { name })
    }

    /// Takes the folder for this process; held until the lock is dropped or the process ends.
    ///
    /// Errors: another server has it.
    pub fn lock(&self) -> Result<Lock> {
        match Lock::take(&self.0.join("lock"))? {
            Some(lock) => Ok(lock),
            None => {
                let who = match self.endpoint() {
                    Some(e) => format!(" (process {}, http://{})", e.pid, e.address),
                    None => String::new(),
                };
                Err(Error::user(format!("Another server{who} runs in {}.", self.0.display())).with_hint(
                    "Use that one: `runnel jobs`. Stop it with `runnel server --stop`, or give this one its \
                     own --dir.",
                ))
            }
        }
    }

    /// Makes a new token and writes it.
    ///
    /// Errors: no random numbers, or the file cannot be written.
    pub fn new_token(&self) -> Result<String> {
        let mut bytes = [0_u8; TOKEN_BYTES];
        let random = Path::new("/dev/urandom");
        File::open(random).and_then(|mut f| f.read_exact(&mut bytes)).map_err(|e| refused(random, &e))?;
        let token: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        write_secretly(&self.token_file(), token.as_bytes())?;
        Ok(token)
    }

    /// The token of the server that runs here.
    ///
    /// Errors: there is none, or it is not ours to read.
    pub fn token(&self) -> Result<String> {
        let path = self.token_file();
        fs::read_to_string(&path).map(|t| t.trim().to_string()).map_err(|e| refused(&path, &e))
    }

    /// Tells clients where the server is.
    ///
    /// Errors: the file cannot be written.
    pub fn publish(&self, endpoint: &Endpoint) -> Result<()> {
        let text = serde_json::to_vec(endpoint).map_err(|e| Error::internal(format!("{e}.")))?;
        write_secretly(&self.endpoint_file(), &text)
    }

    /// Takes that back.
    pub fn unpublish(&self) {
        // A file that stays behind costs the next client one refused connection.
        let _ = fs::remove_file(self.endpoint_file());
    }

    /// Where the server is, or was.
    pub fn endpoint(&self) -> Option<Endpoint> {
        serde_json::from_slice(&fs::read(self.endpoint_file()).ok()?).ok()
    }
}

/// A job's own folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFolder(PathBuf);

impl JobFolder {
    /// The folder `path` of a job.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Makes it.
    ///
    /// Errors: it cannot be made.
    pub fn create(&self) -> Result<()> {
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&self.0).map_err(|e| refused(&self.0, &e))
    }

    /// Removes it with all that is in it.
    ///
    /// Errors: it cannot be removed.
    pub fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(refused(&self.0, &e)),
            _ => Ok(()),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Held by the process that runs the job, so that no second one does.
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// The job's log.
    pub fn log(&self) -> PathBuf {
        self.0.join("logs")
    }

    /// Checkpoints, unless the script says otherwise.
    pub fn checkpoints(&self) -> PathBuf {
        self.0.join("checkpoints")
    }

    /// State beyond the memory budget.
    pub fn spill(&self) -> PathBuf {
        self.0.join("state")
    }
}

/// A file that one process holds. Let go when dropped, and by the system when the process ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held, never read")] File);

impl Lock {
    /// Takes `path`; `None` if another process holds it.
    ///
    /// Errors: the file cannot be made.
    pub fn take(path: &Path) -> Result<Option<Self>> {
        let open = OpenOptions::new().create(true).truncate(false).write(true).mode(FILE_MODE).open(path);
        let file = open.map_err(|e| refused(path, &e))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(refused(path, &e)),
        }
    }
}

/// Writes a file that only its owner can read; readers see the old or the new one, never half.
fn write_secretly(path: &Path, text: &[u8]) -> Result<()> {
    let beside = path.with_extension("new");
    // The mode is given when the file is made: an old one might be open to others.
    let _ = fs::remove_file(&beside);
    let write = || {
        let mut file = OpenOptions::new().create_new(true).write(true).mode(FILE_MODE).open(&beside)?;
        file.write_all(text)?;
        fs::rename(&beside, path)
    };
    write().map_err(|e| refused(path, &e))
}

fn refused(path: &Path, e: &std::io::Error) -> Error {
    Error::external(format!("{} cannot be used: {e}.", path.display()))
        .with_hint("Check the folder's owner and free space, or name another one with --dir.")
        .permanent()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn only_the_owner_can_read_and_one_server_runs() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::at(temp.path().join("a/server"));
        folder.create().unwrap();
        let token = folder.new_token().unwrap();
        assert_eq!((token.len(), folder.token().unwrap()), (2 * TOKEN_BYTES, token));
        assert_eq!((mode(folder.path()), mode(&folder.token_file())), (0o700, 0o600));

        let endpoint = Endpoint { address: "127.0.0.1:1".into(), pid: 7, version: "x".into() };
        folder.publish(&endpoint).unwrap();
        assert_eq!(folder.endpoint(), Some(endpoint));

        let lock = folder.lock().unwrap();
        let error = folder.lock().unwrap_err();
        assert!(
            error.message().starts_with("Another server (process 7, http://127.0.0.1:1) runs in"),
            "{error}"
        );
        drop(lock);
        folder.lock().unwrap();
        folder.unpublish();
        assert_eq!(folder.endpoint(), None);
    }

    #[test]
    fn names_of_jobs_stay_inside_the_folder() {
        let folder = Folder::at("/s");
        assert_eq!(folder.savepoints("a b/../c"), Path::new("/s/savepoints/a_b_.._c"));
        assert_eq!(folder.savepoints(".."), Path::new("/s/savepoints/_.."));
    }
}
