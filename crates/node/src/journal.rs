//! The node's durable log, as the node sees it: one log for all its groups, to which records are appended in batches,
//! and what is read back from it at start.
//!
//! ```text
//!   groups' Output.persist ──▶ JournalBatch ──append──▶ segments      (written by `server`, which alone has files)
//!   a group's state ──chunks──▶ Checkpoint ──finish──▶ checkpoint file; entries up to its base are no longer needed
//!   at start: checkpoint files + segments ──Replay──▶ Recovered { Verdict, groups }
//! ```
//!
//! How to use it. Every turn collects the records of all groups in one [`JournalBatch`] and appends it once; when
//! [`Journal::append`] returns, the records are as durable as configured, and `Input::Persisted` may be stepped. Any
//! error means that the disk cannot be relied on: the node stops, nothing is tried again. Now and then (a second is
//! often enough) [`Journal::groups_to_checkpoint`] names groups whose state is to be written; for each, begin a
//! [`Checkpoint`], hand it the snapshot's chunks, finish it with the base that they stand for, then step
//! `Input::Checkpointed(base.index)`. A received snapshot is written the same way *before* its `Record::Base` is
//! appended: a base without its checkpoint is memory lost.
//!
//! At start, [`Recovered::verdict`] says whether the replica may go on under its old name. `Verdict::Keep`: begin each
//! group with `Start::Recovered` from its [`RecoveredGroup`]. `Verdict::NewIncarnation`: the groups hold only what is
//! known to be chosen; it may serve as a warm base, but has no vote (DESIGN-PAXOS §3.10).
//!
//! What this module does *not* know: files, directories, threads, when a sync happens.
//!
//! Reading order: this file, `layout` (all bytes on disk), `batch`, `replay`.

use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

mod batch;
pub mod layout;
mod replay;

pub use batch::{BatchRecord, JournalBatch, Note};
pub use paxos::{
    AcceptedEntry, Ballot, Config, Entry, Generation, GroupId, Incarnation, Index, NodeId, Record,
    ReplicaId, SnapshotBase,
};
pub use replay::{GroupMemory, Replay};

/// When an append counts as done (Redis's `appendfsync`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// When it is on the disk.
    Always,
    /// When the system has it; it is on the disk within about a second.
    EverySecond,
    /// When the system has it.
    Never,
}

/// Whose log it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: u128,
    /// The node and the life of its memory.
    pub replica: ReplicaId,
}

/// The log of a node. Shared by whoever has records; callers at the same time share one sync.
pub trait Journal: Send + Sync + fmt::Debug {
    /// Appends and makes durable as configured; returns when both is done. An empty batch is nothing.
    ///
    /// # Errors
    ///
    /// The disk failed, now or earlier: nothing more is durable, stop the node.
    fn append(&self, batch: &JournalBatch) -> Result<(), JournalError>;

    /// Begins a checkpoint of `group`. The one before stays until this one is finished; of two that run at once, the
    /// one with the lower base is given up when it finishes.
    ///
    /// # Errors
    ///
    /// As with `append`.
    fn begin_checkpoint(
        &self,
        group: GroupId,
        generation: Generation,
    ) -> Result<Box<dyn Checkpoint>, JournalError>;

    /// Groups whose entries keep old segments alive while the log is larger than it should be, the oldest first: each
    /// needs a checkpoint at what it has applied. Empty nearly always; groups with one under way are left out.
    fn groups_to_checkpoint(&self) -> Vec<GroupId>;

    /// Sizes, for status pages.
    fn usage(&self) -> JournalUsage;
}

impl<J: Journal + ?Sized> Journal for Arc<J> {
    fn append(&self, batch: &JournalBatch) -> Result<(), JournalError> {
        (**self).append(batch)
    }

    fn begin_checkpoint(
        &self,
        group: GroupId,
        generation: Generation,
    ) -> Result<Box<dyn Checkpoint>, JournalError> {
        (**self).begin_checkpoint(group, generation)
    }

    fn groups_to_checkpoint(&self) -> Vec<GroupId> {
        (**self).groups_to_checkpoint()
    }

    fn usage(&self) -> JournalUsage {
        (**self).usage()
    }
}

/// A checkpoint that is being written. Dropped before it is finished, it never was.
pub trait Checkpoint: Send + fmt::Debug {
    /// Adds a chunk, at most [`layout::CHUNK_BYTES_MAX`] long; whatever the owner made of its state.
    ///
    /// # Errors
    ///
    /// As with [`Journal::append`].
    fn chunk(&mut self, bytes: &[u8]) -> Result<(), JournalError>;

    /// All chunks are there and stand for the state after `base`. On return they are durable under every policy, and
    /// the group's entries up to there may go.
    ///
    /// # Errors
    ///
    /// As with [`Journal::append`].
    fn finish(self: Box<Self>, base: &SnapshotBase) -> Result<(), JournalError>;
}

/// Reads a checkpoint's chunks back. They were verified when the log was opened.
pub trait CheckpointReader: Send + fmt::Debug {
    /// The next chunk as it was written, or `None` after the last.
    ///
    /// # Errors
    ///
    /// The disk failed, or gives other bytes than a moment ago.
    fn next_chunk(&mut self) -> Result<Option<Bytes>, JournalError>;
}

/// Why the log cannot go on. There is one thing to do about it: stop the node, and say this.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct JournalError(pub String);

/// What the log takes on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalUsage {
    /// Segments, the one that is written included.
    pub segments_count: u64,
    /// Their bytes.
    pub segments_bytes: u64,
    /// Bytes of finished checkpoints.
    pub checkpoints_bytes: u64,
    /// Records ever appended: the sequence number of the next.
    pub next_lsn: u64,
    /// All below this sequence number is on the disk.
    pub durable_lsn: u64,
}

/// What a log held when it was opened.
#[derive(Debug)]
pub struct Recovered {
    /// Whose it is; `None` if there was no log.
    pub identity: Option<Identity>,
    /// Whether the replica may go on as who it was.
    pub verdict: Verdict,
    /// Every group of which anything is known, by number.
    pub groups: Vec<RecoveredGroup>,
}

/// What the log held of a group.
#[derive(Debug)]
pub struct RecoveredGroup {
    /// The group.
    pub group: GroupId,
    /// Its generation; what it had of earlier ones is gone.
    pub generation: Generation,
    /// As promised, or the lowest ballot under `Verdict::NewIncarnation`.
    pub promised: Ballot,
    /// What the checkpoint stands for; the default without one.
    pub base: SnapshotBase,
    /// The state after `base`. `None` exactly if `base.index` is 0.
    pub checkpoint: Option<Box<dyn CheckpointReader>>,
    /// Accepted entries above the base by index. Dense up to `chosen`, and above it there may be gaps; nothing above
    /// it under `Verdict::NewIncarnation`.
    pub log: Vec<AcceptedEntry>,
    /// All up to here is chosen; may lag. At least `base.index`.
    pub chosen: Index,
    /// The last `Record::LogTime`, ms; 0 without one.
    pub log_ms_ceiling: u64,
}

/// Whether acceptor memory is whole (the table of DESIGN-PAXOS §3.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is: the incarnation goes on.
    Keep,
    /// It is not, or may not be: a new incarnation, which begins as a learner.
    NewIncarnation(Doubt),
}

/// Why memory is in doubt.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Doubt {
    /// There was no log.
    #[error("there is no log yet")]
    FirstStart,
    /// It ended without a clean stop, not every record had been synced, and the machine was started anew since.
    #[error(
        "the machine was restarted, and appendfsync was not 'always': the last writes may be lost"
    )]
    Unsynced,
    /// The files are not those that were written, but copies of them.
    #[error("{file} is a copy: it may be older than what this node has promised")]
    Copied {
        /// The first file that is a copy.
        file: String,
    },
    /// A record is damaged that had been whole.
    #[error("{file} is damaged at byte {offset}")]
    Corrupt {
        /// The file.
        file: String,
        /// Where the damage begins.
        offset: u64,
    },
    /// A segment is not there.
    #[error("segment {number} is missing")]
    SegmentMissing {
        /// Its number.
        number: u64,
    },
    /// A checkpoint is not there, though the log was cut because of it.
    #[error("the checkpoint of group {group} is missing")]
    CheckpointMissing {
        /// The group.
        group: u32,
    },
    /// A checkpoint is damaged.
    #[error("{file}, a checkpoint, is damaged")]
    CheckpointCorrupt {
        /// The file.
        file: String,
    },
    /// Chosen entries are not there.
    #[error("group {group} lacks entry {index}")]
    EntryMissing {
        /// The group.
        group: u32,
        /// The first that is missing.
        index: u64,
    },
}

#[cfg(test)]
mod tests;
