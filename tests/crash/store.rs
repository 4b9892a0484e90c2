//! The place of checkpoints, which may be away or full for a while.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Size of a store that can be full.
const STORE_SIZE: &str = "8m";
/// How the filling is written.
const PIECE_BYTES: usize = 16 << 10;

/// What befalls the store now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    Never,
    /// Nothing in it can be reached.
    Away,
    /// No byte fits in any more (ENOSPC). Needs a file system of its own, which only root may have.
    Full,
}

/// A folder for checkpoints.
pub struct Store {
    folder: PathBuf,
    trouble: Trouble,
    is_mounted: bool,
}

impl Store {
    /// Below `parent`. A store that cannot be full here is one that is away.
    pub fn new(parent: &Path, trouble: Trouble) -> Self {
        let folder = parent.join("checkpoints");
        std::fs::create_dir(&folder).unwrap();
        let mut store = Self { folder, trouble, is_mounted: false };
        if trouble == Trouble::Full {
            let mut mount = Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", &format!("size={STORE_SIZE}"), "tmpfs"]).arg(&store.folder);
            let mounted = mount.stdin(Stdio::null()).stderr(Stdio::null()).status();
            store.is_mounted = mounted.is_ok_and(|s| s.success());
            if !store.is_mounted {
                println!("no file system of its own may be mounted here: the store is away instead of full");
                store.trouble = Trouble::Away;
            }
        }
        store
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn away(&self) -> PathBuf {
        self.folder.with_extension("away")
    }

    fn filling(&self) -> PathBuf {
        self.folder.join(".filling")
    }

    /// Whether it is in trouble now.
    pub fn is_troubled(&self) -> bool {
        match self.trouble {
            Trouble::Never => false,
            Trouble::Away => self.away().exists(),
            Trouble::Full => self.filling().exists(),
        }
    }

    /// Brings the trouble, or takes it away.
    pub fn set(&self, troubled: bool) {
        match (self.trouble, troubled) {
            _ if self.is_troubled() == troubled => {}
            // As where nothing is mounted any more: what is there is no folder.
            (Trouble::Away, true) => {
                std::fs::rename(&self.folder, self.away()).unwrap();
                File::create(&self.folder).unwrap();
            }
            (Trouble::Away, false) => {
                std::fs::remove_file(&self.folder).unwrap();
                std::fs::rename(self.away(), &self.folder).unwrap();
            }
            (Trouble::Full, true) => {
                let mut filling = File::create(self.filling()).unwrap();
                let piece = vec![0; PIECE_BYTES];
                while filling.write_all(&piece).is_ok() {}
            }
            (Trouble::Full, false) => std::fs::remove_file(self.filling()).unwrap(),
            (Trouble::Never, _) => {}
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.is_mounted {
            let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
        }
    }
}
