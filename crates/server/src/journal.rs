//! The durable log on disk: what `node::journal` describes, in files.
//!
//! ```text
//!   DIR/lock                 held by the process that has the directory; its pid
//!   DIR/node                 the directory's own key
//!   DIR/segment-N.log        the log, in pieces of 64 MiB
//!   DIR/checkpoint-G-V-I.ckp state of group G, generation V, after index I
//! ```
//!
//! How to use it:
//!
//! ```text
//!   let mut found = journal::open(&Options::at(path))?;        // locks, reads and judges; changes nothing
//!   match found.recovered().verdict {                          // groups' memory, or a warm base without a vote
//!       Keep => identity = found.recovered().identity,         // go on as who we were
//!       NewIncarnation(doubt) => …                             // join the cluster, which gives an identity
//!   }
//!   let groups = found.take_groups();                          // to begin replicas with
//!   let journal = Arc::new(found.begin(identity)?);            // from here on it is written
//!   node: Some(Box::new(journal.clone())); at the end: journal.close()
//! ```
//!
//! `FileJournal` owns a thread that syncs once a second (`everysec`) and keeps the log small. A clean stop is `close`
//! after the last append; whoever only drops it leaves the log as a crash would.
//!
//! One append is one write and, under `always`, one sync, which callers at the same time share. A failed write or sync
//! ends the log: every later call gives the same error, and the caller ends the process with its text.
//!
//! What is not noticed: a block device set back as a whole (a snapshot of a virtual machine) under `always`, and damage
//! to the very last append after a loss of power, which looks like one that never was synced.
//!
//! Reading order: `directory`, `scan`, `recover`, `segments`, `shared`, `house`, `checkpoint`.

mod checkpoint;
mod directory;
mod house;
mod recover;
mod scan;
mod segments;
mod shared;

use checkpoint::FileCheckpoint;
use directory::Directory;
use node::journal::layout::{HEADER_BYTES, LayoutError, RecordKind, SegmentHeader};
use node::journal::{
    Checkpoint, Generation, GroupId, Identity, Journal, JournalBatch, JournalError, JournalUsage,
    Recovered, RecoveredGroup, SyncPolicy, Verdict,
};
use parking_lot::{Condvar, Mutex, MutexGuard};
use recover::Recovery;
use segments::{Life, Segment, Segments};
use shared::{Shared, Writer, create_segment};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use thiserror::Error;

/// Bytes of a segment, if nothing else is said.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Time between two turns of the keeper: what `everysec` is named for.
const TURN: Duration = Duration::from_secs(1);

/// Where and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory, made if it is not there.
    pub path: PathBuf,
    /// When an append is done.
    pub policy: SyncPolicy,
    /// A segment that would grow larger is followed by another.
    pub segment_bytes_max: u64,
    /// Which run of the kernel this is.
    pub boot_id: u128,
    /// A key for the directory, if it has none.
    pub fresh_key: u128,
    /// Who may rely on what the node promised.
    pub company: Company,
}

/// Who else is in the cluster of a directory's node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    /// Others may have counted its votes.
    Others,
    /// Nobody: a memory that is older than it was misleads nobody, and is better than none. What is damaged, or missing
    /// in between, stays in doubt.
    Nobody,
}

impl Options {
    /// In this directory, on this machine.
    pub fn at(path: &Path, policy: SyncPolicy) -> Options {
        Options {
            path: path.into(),
            policy,
            segment_bytes_max: SEGMENT_BYTES,
            boot_id: boot_id(),
            fresh_key: rand::random(),
            company: Company::Others,
        }
    }
}

/// The kernel's id of this run. Where it tells none, every start looks like one after a restart of the machine.
fn boot_id() -> u128 {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).unwrap_or_else(|_| rand::random())
}

/// Why there is no log.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The system refuses.
    #[error("cannot use the data directory: {path}: {source}")]
    Unusable {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has it.
    #[error("the data directory {path} is in use by another process{pid}")]
    InUse {
        /// Which directory.
        path: PathBuf,
        /// " (pid N)" if it is known, else nothing.
        pid: String,
    },
    /// Of another format.
    #[error("{path} is {error}")]
    Format {
        /// What.
        path: PathBuf,
        /// How.
        error: LayoutError,
    },
    /// Files of different directories are mixed.
    #[error("{file} was not written in this directory: it belongs to another node's data")]
    ForeignKey {
        /// The first of them.
        file: PathBuf,
    },
    /// The data belong to another cluster.
    #[error("the data directory {path} belongs to cluster {found:032x}, not to {wanted:032x}")]
    OtherCluster {
        /// Which directory.
        path: PathBuf,
        /// Its cluster.
        found: u128,
        /// The one that this node is in.
        wanted: u128,
    },
    /// The data belong to another node of the cluster.
    #[error(
        "the data directory {path} belongs to node {found} of the cluster, not to node {wanted}"
    )]
    OtherNode {
        /// Which directory.
        path: PathBuf,
        /// Its node.
        found: u32,
        /// This node.
        wanted: u32,
    },
}

impl OpenError {
    fn in_use(path: &Path, pid: Option<u32>) -> OpenError {
        OpenError::InUse {
            path: path.into(),
            pid: pid.map_or_else(String::new, |pid| format!(" (pid {pid})")),
        }
    }

    fn format(path: &Path, error: LayoutError) -> OpenError {
        OpenError::Format {
            path: path.into(),
            error,
        }
    }
}

/// A log that was read and not yet written to.
#[derive(Debug)]
pub struct FoundLog {
    options: Options,
    directory: Directory,
    recovery: Recovery,
}

/// Locks a directory and reads its log, without changing it.
///
/// # Errors
///
/// [`OpenError`]; damage is none, but a reason for a new incarnation.
pub fn open(options: &Options) -> Result<FoundLog, OpenError> {
    let directory = Directory::open(&options.path)?;
    let recovery = recover::recover(&directory, options.boot_id, options.company)?;
    Ok(FoundLog {
        options: options.clone(),
        directory,
        recovery,
    })
}

impl FoundLog {
    /// What it holds.
    pub fn recovered(&self) -> &Recovered {
        &self.recovery.recovered
    }

    /// What it holds of the groups, to begin replicas with.
    pub fn take_groups(&mut self) -> Vec<RecoveredGroup> {
        std::mem::take(&mut self.recovery.recovered.groups)
    }

    /// Writes on under this identity. Another incarnation than the last keeps nothing but the chosen prefixes, as
    /// they were recovered.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn begin(self, identity: Identity) -> Result<FileJournal, OpenError> {
        let path = self.options.path.clone();
        if let Some(found) = self.recovery.recovered.identity {
            self.check_identity(found, identity)?;
        }
        let shared = self
            .go_on(identity)
            .map_err(|source| OpenError::Unusable { path, source })?;
        Ok(FileJournal::start(Arc::new(shared)))
    }

    fn check_identity(&self, found: Identity, wanted: Identity) -> Result<(), OpenError> {
        let path = self.options.path.clone();
        if found.cluster != wanted.cluster {
            let (found, wanted) = (found.cluster, wanted.cluster);
            return Err(OpenError::OtherCluster {
                path,
                found,
                wanted,
            });
        }
        if found.replica.node != wanted.replica.node {
            let (found, wanted) = (found.replica.node.0, wanted.replica.node.0);
            return Err(OpenError::OtherNode {
                path,
                found,
                wanted,
            });
        }
        assert!(
            found != wanted || self.recovery.recovered.verdict == Verdict::Keep,
            "a memory in doubt must not vote under its old name"
        );
        Ok(())
    }

    /// Cuts what is to be cut, makes durable what is to be kept, begins a segment.
    fn go_on(self, identity: Identity) -> io::Result<Shared> {
        let FoundLog {
            options,
            directory,
            recovery,
        } = self;
        directory.remove_unfinished()?;
        let node_key = match recovery.node_key {
            Some(key) => key,
            None => {
                // Segments that are there have a key, too: theirs.
                let key = recovery
                    .last_header
                    .map_or(options.fresh_key, |header| header.node_key);
                directory.write_key(key)?;
                key
            }
        };
        for path in recovery.useless.iter().filter(|path| path.exists()) {
            fs::remove_file(path)?;
            directory.sync()?;
        }
        let mut segments = Segments {
            list: recovery.segments,
            groups: recovery.groups,
        };
        if recovery.recovered.identity != Some(identity) {
            begin_life(&mut segments);
        }
        let needs_seal = !segments.list.is_empty() && !recovery.is_sealed;
        let number = segments.list.back().map_or(1, |last| last.number + 1);
        let header = SegmentHeader {
            node_key,
            identity,
            policy: options.policy,
            number,
            oldest: segments.list.front().map_or(number, |oldest| oldest.number),
            first_lsn: recovery.next_lsn + u64::from(needs_seal),
            boot_id: options.boot_id,
            device: 0,
            inode: 0,
        };
        settle(&directory, &segments, recovery.is_cut)?;
        let (file, header) = create_segment(&directory, header)?;
        directory.sync()?;
        if needs_seal {
            seal_last(&directory, &mut segments, header, recovery.next_lsn)?;
        }
        let fresh = Segment::new(number, HEADER_BYTES as u64, Life::This);
        segments.list.push_back(fresh);
        let mut writer = Writer::new(file, header, segments, header.first_lsn);
        let mut standings = writer.standings();
        if standings.is_empty() {
            // A segment without a record counts as never begun, and its number would name the next start too.
            standings.push_trimmed(header.oldest);
        }
        writer.write(&standings, header.first_lsn)?;
        writer.file.sync_all()?;
        Ok(Shared::new(
            directory,
            options.policy,
            options.segment_bytes_max,
            writer,
        ))
    }
}

/// What is there was written by another incarnation.
fn begin_life(segments: &mut Segments) {
    for segment in &mut segments.list {
        segment.life = Life::Earlier;
    }
    for group in segments.groups.values_mut() {
        group.promised = node::journal::Ballot::default();
        group.inherited = group.chosen;
    }
}

/// Cuts the last segment where its records end, and syncs all: from here on only the new segment is in question.
fn settle(directory: &Directory, segments: &Segments, is_cut: bool) -> io::Result<()> {
    for (place, segment) in segments.list.iter().enumerate() {
        let file = File::options()
            .write(true)
            .open(directory.segment(segment.number))?;
        if is_cut && place + 1 == segments.list.len() {
            file.set_len(segment.bytes)?;
        }
        file.sync_all()?;
    }
    Ok(())
}

fn seal_last(
    directory: &Directory,
    segments: &mut Segments,
    header: SegmentHeader,
    lsn: u64,
) -> io::Result<()> {
    let number = header.number - 1;
    let file = File::options()
        .append(true)
        .open(directory.segment(number))?;
    let mut writer = Writer::new(file, header, std::mem::take(segments), lsn);
    let mut batch = JournalBatch::default();
    batch.push_mark(RecordKind::Sealed);
    writer.write(&batch, lsn)?;
    writer.file.sync_all()?;
    *segments = writer.segments;
    Ok(())
}

/// The log, open for writing.
#[derive(Debug)]
pub struct FileJournal {
    shared: Arc<Shared>,
    start_number: u32,
    /// Set to end the keeper.
    stop: Arc<(Mutex<bool>, Condvar)>,
    keeper: Option<JoinHandle<()>>,
}

impl FileJournal {
    fn start(shared: Arc<Shared>) -> FileJournal {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let number = shared.writer.lock().header.number;
        let keeper = {
            let (shared, stop) = (shared.clone(), stop.clone());
            std::thread::Builder::new()
                .name("journal".into())
                .spawn(move || keep(&shared, &stop))
                .expect("the system gives a thread at start")
        };
        FileJournal {
            shared,
            start_number: u32::try_from(number).expect("fewer segments than fill any disk"),
            stop,
            keeper: Some(keeper),
        }
    }

    /// Which start in this directory it is: rises with each, durable before anything is appended.
    pub fn start_number(&self) -> u32 {
        self.start_number
    }

    /// Why the log is over, if it is.
    pub fn failure(&self) -> Option<JournalError> {
        self.shared.check().err()
    }

    /// A clean stop: nothing may be appended after it, and the next start keeps the incarnation whatever happens to
    /// the machine.
    ///
    /// # Errors
    ///
    /// As with `append`.
    pub fn close(&self) -> Result<(), JournalError> {
        self.shared.close()
    }
}

/// The keeper's thread.
fn keep(shared: &Shared, stop: &(Mutex<bool>, Condvar)) {
    let (stopped, wake) = stop;
    let mut stopped = stopped.lock();
    while !*stopped {
        wake.wait_for(&mut stopped, TURN);
        if *stopped {
            return;
        }
        let kept = MutexGuard::unlocked(&mut stopped, || shared.keep_house());
        if kept.is_err() {
            // Whoever asks how the log is hears of it.
            return;
        }
    }
}

impl Journal for FileJournal {
    fn append(&self, batch: &JournalBatch) -> Result<(), JournalError> {
        self.shared.append(batch)
    }

    fn begin_checkpoint(
        &self,
        group: GroupId,
        generation: Generation,
    ) -> Result<Box<dyn Checkpoint>, JournalError> {
        self.shared.check()?;
        let number = self.shared.count_checkpoint(group);
        match FileCheckpoint::begin(self.shared.clone(), group, generation, number) {
            Ok(checkpoint) => Ok(Box::new(checkpoint)),
            Err(error) => Err(self.shared.fail("begin a checkpoint", &error)),
        }
    }

    fn groups_to_checkpoint(&self) -> Vec<GroupId> {
        let writer = self.shared.writer.lock();
        writer
            .segments
            .groups_to_checkpoint(self.shared.segment_bytes_max)
    }

    fn usage(&self) -> JournalUsage {
        self.shared.usage()
    }
}

impl Drop for FileJournal {
    fn drop(&mut self) {
        *self.stop.0.lock() = true;
        self.stop.1.notify_all();
        if let Some(keeper) = self.keeper.take() {
            // It panics only by a bug of ours, which it has told of already.
            let _ = keeper.join();
        }
    }
}

#[cfg(test)]
mod tests;
