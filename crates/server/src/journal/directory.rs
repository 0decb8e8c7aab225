//! The directory of a log: names of its files, its lock, its key.

use super::OpenError;
use node::journal::layout::{self, LayoutError};
use node::journal::{Generation, GroupId, Index};
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory that this process alone has, as long as the value lives.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Open for the sake of syncing it.
    handle: Arc<File>,
    /// Held, never read again.
    _lock: File,
}

/// What a checkpoint's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CheckpointName {
    pub(super) group: GroupId,
    pub(super) generation: Generation,
    pub(super) index: Index,
}

/// What stands in a directory.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Numbers, ascending.
    pub(super) segments: Vec<u64>,
    /// Ascending.
    pub(super) checkpoints: Vec<CheckpointName>,
}

impl Directory {
    /// Makes the directory if it is not there, and locks it.
    pub(super) fn open(path: &Path) -> Result<Directory, OpenError> {
        let unusable = |source| OpenError::Unusable {
            path: path.into(),
            source,
        };
        fs::create_dir_all(path).map_err(unusable)?;
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join("lock"))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // Only for the message; the lock stands whatever the file holds.
                let _ = lock.read_to_string(&mut pid);
                let pid = pid.trim().parse().ok();
                return Err(OpenError::in_use(path, pid));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(unusable)?;
        let handle = Arc::new(File::open(path).map_err(unusable)?);
        Ok(Directory {
            path: path.into(),
            handle,
            _lock: lock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// For whoever syncs the directory with other files.
    pub(super) fn handle(&self) -> Arc<File> {
        self.handle.clone()
    }

    /// Makes durable which files there are.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    pub(super) fn segment(&self, number: u64) -> PathBuf {
        self.path.join(format!("segment-{number:016}.log"))
    }

    pub(super) fn checkpoint(&self, name: CheckpointName) -> PathBuf {
        let CheckpointName {
            group,
            generation,
            index,
        } = name;
        self.path.join(format!(
            "checkpoint-{}-{}-{}.ckp",
            group.0, generation.0, index.0
        ))
    }

    /// What is there.
    pub(super) fn list(&self) -> io::Result<Listing> {
        let mut listing = Listing::default();
        for file in fs::read_dir(&self.path)? {
            let file = file?;
            let name = file.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Some(number) = segment_number(name) {
                listing.segments.push(number);
            } else if let Some(checkpoint) = checkpoint_name(name) {
                listing.checkpoints.push(checkpoint);
            }
        }
        listing.segments.sort_unstable();
        listing.checkpoints.sort_unstable();
        Ok(listing)
    }

    /// Deletes what an earlier process began to write and never finished.
    pub(super) fn remove_unfinished(&self) -> io::Result<()> {
        for file in fs::read_dir(&self.path)? {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "tmp") {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// The node key, `None` if its file is not there or damaged.
    pub(super) fn read_key(&self) -> Result<Option<u128>, OpenError> {
        let path = self.key_file();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(OpenError::Unusable { path, source }),
        };
        match layout::decode_key_file(&bytes) {
            Ok(key) => Ok(Some(key)),
            Err(LayoutError::Damaged) => Ok(None),
            Err(error @ LayoutError::Newer(_)) => Err(OpenError::format(&path, error)),
        }
    }

    /// Writes the node key, so that it is there wholly or not at all.
    pub(super) fn write_key(&self, key: u128) -> io::Result<()> {
        let unfinished = self.path.join("node.tmp");
        let mut file = File::create(&unfinished)?;
        file.write_all(&layout::encode_key_file(key))?;
        file.sync_all()?;
        fs::rename(unfinished, self.key_file())?;
        self.sync()
    }

    pub(super) fn key_file(&self) -> PathBuf {
        self.path.join("node")
    }
}

fn segment_number(name: &str) -> Option<u64> {
    name.strip_prefix("segment-")?
        .strip_suffix(".log")?
        .parse()
        .ok()
}

fn checkpoint_name(name: &str) -> Option<CheckpointName> {
    let mut parts = name
        .strip_prefix("checkpoint-")?
        .strip_suffix(".ckp")?
        .split('-');
    let name = CheckpointName {
        group: GroupId(parts.next()?.parse().ok()?),
        generation: Generation(parts.next()?.parse().ok()?),
        index: Index(parts.next()?.parse().ok()?),
    };
    parts.next().is_none().then_some(name)
}
