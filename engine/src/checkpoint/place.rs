//! `Place`: a local directory or a prefix of an S3 bucket, with the few blocking calls that checkpoints need.
//!
//! Local files do not go through `object_store`, which does not sync to disk: a checkpoint must be there after a
//! power cut.

use crate::error::{Error, Result};
use crate::failpoint;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as Key;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, PutMode, RetryConfig, WriteMultipart};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// Bytes of one part of an upload, and the most that is gathered before an upload in parts begins.
const PART_BYTES: usize = 8 << 20;
/// Parts of one file on their way at a time.
const PARTS_IN_FLIGHT: usize = 4;
/// Retries of one request, and the longest that all of them may take: the next checkpoint tries again anyway.
const MAX_RETRIES: usize = 5;
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for one answer and for a connection.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes read at once where a file is read from end to end.
const READ_BYTES: usize = 4 << 20;

/// Where files of checkpoints are kept. All paths are relative to it, with `/` between their parts.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// A directory, which need not exist yet.
    Local(PathBuf),
    /// A prefix of a bucket.
    Remote(Remote),
}

/// A prefix of a bucket.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    store: Arc<dyn ObjectStore>,
    /// `s3://bucket/prefix`, for messages.
    uri: String,
    prefix: Key,
    runtime: Handle,
}

impl Place {
    /// The place that `uri` names: a path, `file:///path`, `s3://bucket/prefix`.
    ///
    /// Errors: another scheme; settings of the environment that contradict each other.
    pub fn open(uri: &str, runtime: &Handle) -> Result<Self> {
        let uri = uri.trim().trim_end_matches('/');
        if uri.is_empty() {
            return Err(Error::user("The directory of checkpoints has no name.")
                .with_hint("Write a path, 'file:///path' or 's3://bucket/prefix'."));
        }
        if let Some(rest) = uri.strip_prefix("file:") {
            // `file:/a`, `file:///a` and `file://localhost/a` are the same; `file:a` is relative.
            let path = match rest.strip_prefix("//") {
                Some(rest) => rest.strip_prefix("localhost").unwrap_or(rest),
                None => rest,
            };
            return Ok(Self::Local(absolute(path)));
        }
        match uri.split_once("://") {
            None => Ok(Self::Local(absolute(uri))),
            Some(("s3" | "s3a" | "s3n", rest)) => Remote::open(rest, runtime).map(Self::Remote),
            Some((scheme, _)) => Err(Error::unsupported(
                format!("A directory of checkpoints with the scheme '{scheme}://'"),
                "Write a path, 'file:///path' or 's3://bucket/prefix'.",
            )),
        }
    }

    /// As a URI, or the path where it is local.
    pub fn uri(&self) -> String {
        match self {
            Self::Local(root) => root.display().to_string(),
            Self::Remote(remote) => remote.uri.clone(),
        }
    }

    /// The place `folder` below this one.
    pub fn below(&self, folder: &str) -> Self {
        match self {
            Self::Local(root) => Self::Local(root.join(folder)),
            Self::Remote(remote) => Self::Remote(Remote {
                uri: format!("{}/{folder}", remote.uri),
                prefix: remote.key(folder),
                ..remote.clone()
            }),
        }
    }

    /// The place that this one is in, and this one's name there; `None` at the top.
    pub fn above(&self) -> Option<(Self, String)> {
        match self {
            Self::Local(root) => {
                let name = root.file_name()?.to_str()?.to_string();
                Some((Self::Local(root.parent()?.to_path_buf()), name))
            }
            Self::Remote(remote) => {
                let parts: Vec<_> = remote.prefix.parts().collect();
                let (name, above) = parts.split_last()?;
                let uri = remote.uri.strip_suffix(&format!("/{}", name.as_ref()))?;
                let place = Remote {
                    uri: uri.to_string(),
                    prefix: above.iter().cloned().collect(),
                    ..remote.clone()
                };
                Some((Self::Remote(place), name.as_ref().to_string()))
            }
        }
    }

    /// All of a file; `None` if there is none.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        failpoint::hit("storage.read")?;
        match self {
            Self::Local(root) => match std::fs::read(root.join(path)) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(e) if is_missing(&e) => Ok(None),
                Err(e) => Err(failed("Reading", &root.join(path), &e)),
            },
            Self::Remote(remote) => {
                let key = remote.key(path);
                let read = async { remote.store.get(&key).await?.bytes().await };
                match remote.runtime.block_on(read) {
                    Ok(bytes) => Ok(Some(bytes.to_vec())),
                    Err(object_store::Error::NotFound { .. }) => Ok(None),
                    Err(e) => Err(remote.failed("Reading", path, &e)),
                }
            }
        }
    }

    /// Opens a file to be read piece by piece; `None` if there is none.
    pub fn open_file(&self, path: &str) -> Result<Option<PlacedFile>> {
        failpoint::hit("storage.read")?;
        let (bytes, local) = match self {
            Self::Local(root) => {
                let path = root.join(path);
                let opened = File::open(&path).and_then(|f| f.metadata().map(|m| (m, f)));
                match opened {
                    Ok((metadata, file)) => (metadata.len(), Some(file)),
                    Err(e) if is_missing(&e) => return Ok(None),
                    Err(e) => return Err(failed("Opening", &path, &e)),
                }
            }
            Self::Remote(remote) => match remote.runtime.block_on(remote.store.head(&remote.key(path))) {
                Ok(meta) => (meta.size, None),
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                Err(e) => return Err(remote.failed("Looking at", path, &e)),
            },
        };
        Ok(Some(PlacedFile { place: self.clone(), path: path.to_string(), bytes, local }))
    }

    /// Writes a small file whole or not at all. `false`, and nothing is changed, if there is one already.
    pub fn create(&self, path: &str, bytes: &[u8]) -> Result<bool> {
        failpoint::hit("storage.create")?;
        match self {
            Self::Local(root) => {
                let target = root.join(path);
                if target.exists() {
                    return Ok(false);
                }
                let mut file = LocalFile::begin(target)?;
                file.write(bytes)?;
                file.finish()?;
                failpoint::hit("storage.created")?;
                self.sync_folder(folder_of(path))?;
                Ok(true)
            }
            Self::Remote(remote) => {
                let key = remote.key(path);
                let put = |mode: PutMode| {
                    let payload = bytes.to_vec().into();
                    remote.runtime.block_on(remote.store.put_opts(&key, payload, mode.into()))
                };
                let put = match put(PutMode::Create) {
                    // A store without conditional writes: job and server see to it that one process writes.
                    Err(object_store::Error::NotImplemented { .. }) => put(PutMode::Overwrite),
                    done => done,
                };
                match put {
                    Ok(_) => Ok(true),
                    // Perhaps our own, whose answer was lost and which was sent again.
                    Err(
                        object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. },
                    ) => Ok(self.read(path)?.is_some_and(|there| there == bytes)),
                    Err(e) => Err(remote.failed("Writing", path, &e)),
                }
            }
        }
    }

    /// Begins a file, which is there when [`NewFile::finish`] was called. One that is there already is replaced.
    pub fn begin(&self, path: &str) -> Result<NewFile> {
        failpoint::hit("storage.begin")?;
        match self {
            Self::Local(root) => LocalFile::begin(root.join(path)).map(NewFile::Local),
            Self::Remote(remote) => Ok(NewFile::Remote(RemoteFile {
                remote: remote.clone(),
                path: path.to_string(),
                buffer: Vec::new(),
                upload: None,
            })),
        }
    }

    /// Sees to it that names of files in `folder`, and its own, outlast a power cut.
    pub fn sync_folder(&self, folder: &str) -> Result<()> {
        failpoint::hit("storage.sync")?;
        let Self::Local(root) = self else { return Ok(()) };
        let mut folder = root.join(folder);
        // Up to the root's own name: any of the folders may be new.
        loop {
            let sync = File::open(&folder).and_then(|f| f.sync_all());
            sync.map_err(|e| failed("Syncing", &folder, &e))?;
            if folder == *root || !folder.pop() {
                break;
            }
        }
        if let Some(above) = root.parent() {
            // Not ours: what cannot be opened was not made by us either.
            let _ = File::open(above).and_then(|f| f.sync_all());
        }
        Ok(())
    }

    /// Removes a file. One that is not there is removed.
    pub fn remove(&self, path: &str) -> Result<()> {
        failpoint::hit("storage.remove")?;
        match self {
            Self::Local(root) => match std::fs::remove_file(root.join(path)) {
                Err(e) if !is_missing(&e) => Err(failed("Removing", &root.join(path), &e)),
                _ => Ok(()),
            },
            Self::Remote(remote) => match remote.runtime.block_on(remote.store.delete(&remote.key(path))) {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(e) => Err(remote.failed("Removing", path, &e)),
            },
        }
    }

    /// Removes a folder if nothing is in it (where folders are more than names).
    pub fn remove_folder(&self, folder: &str) {
        if let Self::Local(root) = self {
            // Somebody's file in it keeps it, which does no harm.
            let _ = std::fs::remove_dir(root.join(folder));
        }
    }

    /// Names of the folders at the top.
    pub fn folders(&self) -> Result<Vec<String>> {
        self.list("", true)
    }

    /// Names of the files right in `folder`, hidden ones included.
    pub fn files(&self, folder: &str) -> Result<Vec<String>> {
        self.list(folder, false)
    }

    fn list(&self, folder: &str, folders: bool) -> Result<Vec<String>> {
        failpoint::hit("storage.list")?;
        let mut names = Vec::new();
        match self {
            Self::Local(root) => {
                let path = root.join(folder);
                let entries = match std::fs::read_dir(&path) {
                    Ok(entries) => entries,
                    Err(e) if is_missing(&e) => return Ok(names),
                    Err(e) => return Err(failed("Listing", &path, &e)),
                };
                for entry in entries {
                    let entry = entry.map_err(|e| failed("Listing", &path, &e))?;
                    let is_folder = entry.file_type().is_ok_and(|t| t.is_dir());
                    if let (true, Some(name)) = (is_folder == folders, entry.file_name().to_str()) {
                        names.push(name.to_string());
                    }
                }
            }
            Self::Remote(remote) => {
                let key = remote.key(folder);
                let listed = remote.runtime.block_on(remote.store.list_with_delimiter(Some(&key)));
                let listed = listed.map_err(|e| remote.failed("Listing", folder, &e))?;
                let last = |k: &Key| k.filename().map(String::from);
                if folders {
                    names.extend(listed.common_prefixes.iter().filter_map(last));
                } else {
                    names.extend(listed.objects.iter().filter_map(|o| last(&o.location)));
                }
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

impl Remote {
    /// `bucket/prefix`, with region, endpoint and credentials from the usual variables of the environment.
    fn open(text: &str, runtime: &Handle) -> Result<Self> {
        let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
        if bucket.is_empty() {
            return Err(
                Error::user("A URI 's3://' names no bucket.").with_hint("Write 's3://bucket/prefix'.")
            );
        }
        let plain = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]
            .iter()
            .any(|v| std::env::var(v).is_ok_and(|e| e.starts_with("http://")));
        Self::build(AmazonS3Builder::from_env(), plain, bucket, prefix, runtime)
    }

    /// The bucket with the settings of `builder`; `plain`: without TLS.
    pub(super) fn build(
        builder: AmazonS3Builder,
        plain: bool,
        bucket: &str,
        prefix: &str,
        runtime: &Handle,
    ) -> Result<Self> {
        let prefix = Key::parse(prefix).map_err(|e| {
            Error::user(format!("'s3://{bucket}/{prefix}' is no place for checkpoints: {e}."))
        })?;
        let client = ClientOptions::new().with_timeout(REQUEST_TIMEOUT).with_connect_timeout(CONNECT_TIMEOUT);
        let retry =
            RetryConfig { max_retries: MAX_RETRIES, retry_timeout: RETRY_TIMEOUT, ..Default::default() };
        let store = builder
            .with_client_options(client.with_allow_http(plain))
            .with_bucket_name(bucket)
            .with_retry(retry)
            .build()
            .map_err(|e| {
                Error::user(format!("The bucket '{bucket}' cannot be used: {e}.")).with_hint(
                    "Check AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL.",
                )
            })?;
        let uri = format!("s3://{bucket}/{prefix}").trim_end_matches('/').to_string();
        Ok(Self { store: Arc::new(store), uri, prefix, runtime: runtime.clone() })
    }

    fn key(&self, path: &str) -> Key {
        self.prefix.parts().chain(Key::from(path).parts()).collect()
    }

    fn failed(&self, what: &str, path: &str, error: &object_store::Error) -> Error {
        let text = format!("{what} {}/{path} failed: {error}.", self.uri);
        match error {
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                Error::external(text).with_hint("Check the credentials in AWS_ACCESS_KEY_ID and the like.")
            }
            _ => Error::external(text),
        }
    }
}

/// A file that is being read.
#[derive(Debug)]
pub(super) struct PlacedFile {
    place: Place,
    path: String,
    bytes: u64,
    local: Option<File>,
}

impl PlacedFile {
    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where it is, for messages.
    pub fn name(&self) -> String {
        format!("{}/{}", self.place.uri(), self.path)
    }

    /// Bytes `offset .. offset + length`.
    ///
    /// Errors: the file is shorter, or cannot be read.
    pub fn range(&mut self, offset: u64, length: usize) -> Result<Vec<u8>> {
        failpoint::hit("storage.read")?;
        if offset.checked_add(length as u64).is_none_or(|end| end > self.bytes) {
            return Err(Error::external(format!("The file {} is shorter than it was.", self.name())));
        }
        if length == 0 {
            // S3 has no ranges without bytes.
            return Ok(Vec::new());
        }
        match (&mut self.local, &self.place) {
            (Some(file), _) => {
                let mut bytes = vec![0; length];
                let read = file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(&mut bytes));
                read.map_err(|e| failed("Reading", Path::new(&self.path), &e))?;
                Ok(bytes)
            }
            (None, Place::Remote(remote)) => {
                let range = offset..offset + length as u64;
                let read = remote.runtime.block_on(remote.store.get_range(&remote.key(&self.path), range));
                Ok(read.map_err(|e| remote.failed("Reading", &self.path, &e))?.to_vec())
            }
            _ => Err(Error::internal("A local file that is not open.")),
        }
    }

    /// CRC-32 of all its bytes.
    pub fn crc32(&mut self) -> Result<u32> {
        let mut crc = crc32fast::Hasher::new();
        let mut at = 0;
        while at < self.bytes {
            let length = (self.bytes - at).min(READ_BYTES as u64) as usize;
            crc.update(&self.range(at, length)?);
            at += length as u64;
        }
        Ok(crc.finalize())
    }
}

/// A file that is being written: it appears whole, when it is finished. Dropped before, it leaves nothing.
#[derive(Debug)]
pub(super) enum NewFile {
    Local(LocalFile),
    Remote(RemoteFile),
}

impl NewFile {
    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        failpoint::hit("storage.write")?;
        match self {
            Self::Local(file) => file.write(bytes),
            Self::Remote(file) => file.write(bytes),
        }
    }

    /// Makes it visible. Its name outlasts a power cut after [`Place::sync_folder`] only.
    pub fn finish(self) -> Result<()> {
        failpoint::hit("storage.finish")?;
        match self {
            Self::Local(file) => file.finish(),
            Self::Remote(file) => file.finish(),
        }
    }
}

/// A file under a name of its own, until it is whole.
#[derive(Debug)]
pub(super) struct LocalFile {
    file: File,
    hidden: PathBuf,
    target: PathBuf,
    finished: bool,
}

impl LocalFile {
    fn begin(target: PathBuf) -> Result<Self> {
        let name = target.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let hidden = target.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder).map_err(|e| {
                failed("Making the directory", folder, &e).with_hint(
                    "Check 'state.checkpoints.dir': it must be a directory that can be made and written.",
                )
            })?;
        }
        let file = File::create(&hidden).map_err(|e| failed("Making", &hidden, &e))?;
        Ok(Self { file, hidden, target, finished: false })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| failed("Writing", &self.hidden, &e))
    }

    fn finish(mut self) -> Result<()> {
        self.file.sync_all().map_err(|e| failed("Syncing", &self.hidden, &e))?;
        failpoint::hit("storage.rename")?;
        std::fs::rename(&self.hidden, &self.target).map_err(|e| failed("Renaming", &self.hidden, &e))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for LocalFile {
    fn drop(&mut self) {
        if !self.finished {
            // Nobody can be told here; what stays is removed with its checkpoint.
            let _ = std::fs::remove_file(&self.hidden);
        }
    }
}

/// An object, put in one piece if it is small and in parts if not.
#[derive(Debug)]
pub(super) struct RemoteFile {
    remote: Remote,
    path: String,
    buffer: Vec<u8>,
    upload: Option<WriteMultipart>,
}

impl RemoteFile {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() < PART_BYTES {
            return Ok(());
        }
        let key = self.remote.key(&self.path);
        let (store, upload) = (&self.remote.store, &mut self.upload);
        let buffer = std::mem::take(&mut self.buffer);
        let sent = self.remote.runtime.block_on(async {
            if upload.is_none() {
                let begun = store.put_multipart(&key).await?;
                *upload = Some(WriteMultipart::new_with_chunk_size(begun, PART_BYTES));
            }
            if let Some(upload) = upload {
                for part in buffer.chunks(PART_BYTES) {
                    upload.wait_for_capacity(PARTS_IN_FLIGHT).await?;
                    upload.write(part);
                }
            }
            Ok::<_, object_store::Error>(())
        });
        sent.map_err(|e| self.remote.failed("Writing", &self.path, &e))
    }

    fn finish(mut self) -> Result<()> {
        let key = self.remote.key(&self.path);
        let (store, buffer) = (Arc::clone(&self.remote.store), std::mem::take(&mut self.buffer));
        let upload = self.upload.take();
        let done = self.remote.runtime.block_on(async {
            match upload {
                None => store.put(&key, buffer.into()).await.map(drop),
                Some(mut upload) => {
                    upload.write(&buffer);
                    upload.finish().await.map(drop)
                }
            }
        });
        done.map_err(|e| self.remote.failed("Writing", &self.path, &e))
    }
}

impl Drop for RemoteFile {
    fn drop(&mut self) {
        if let Some(upload) = self.upload.take() {
            // Nobody can be told here; a bucket's own rules remove uploads that were given up.
            let _ = self.remote.runtime.block_on(upload.abort());
        }
    }
}

/// The folder that `path` lies in, empty at the top.
pub(super) fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn absolute(path: &str) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path))
}

/// A file where a folder should be is no sign that there is nothing: the store may be away.
fn is_missing(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::external(format!("{what} {} failed: {error}.", path.display()))
}
