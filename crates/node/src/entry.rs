//! A log entry and its bytes: what a shard's replicas agree on. Today a group has one member and commits
//! on the spot; the entry is applied without being encoded first unless somebody records the log.
//!
//! Layout, version 1, integers little endian:
//!
//! ```text
//! offset  size  what
//!      0     1  version, 1
//!      1     1  kind: 0 command, 1 evict, 2 flush, 3 effects
//!      2     1  numbered database, 0..=15 (255 in a flush: all of them)
//!      3     1  zero
//!      4     8  log time, ms
//!     12     8  wall time minus log time, ms, signed
//!     20     8  the leader's draw
//!     28     4  count of arguments, n (at least 1 in a command; keys in an evict)
//!     32   4*n  length of each argument
//!      …     …  the arguments' bytes, one after the other
//! ```
//!
//! An evict names keys of one database. Effects are what a command over several shards left of this shard's keys:
//! triples of key, head (1 byte: 0 gone, else 1 + 2 if pinned + 4 if edited; 8 bytes: expiry as log time, 0 = none)
//! and value. Example, `DEL a` in database 0: 32 bytes of head with n = 2, then
//! `03 00 00 00  01 00 00 00  'D' 'E' 'L' 'a'`.

use crate::effects;
use resp::{Args, OwnedArgs};

/// The version that this code writes and reads.
const VERSION: u8 = 1;
/// Bytes ahead of the arguments' lengths.
const HEAD_BYTES: usize = 32;

/// When and with what luck an entry is applied: the same on every replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Log time in milliseconds.
    pub log_ms: u64,
    /// Wall time minus log time in milliseconds.
    pub wall_offset_ms: i64,
    /// The leader's draw.
    pub random: u64,
}

/// What an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A client's command, by its own arguments.
    Command,
    /// The arguments are keys that the leader chose to evict.
    Evict,
    /// Empties one numbered database, or all.
    Flush,
    /// The arguments are triples that say what has become of keys (see the layout).
    Effects,
}

impl EntryKind {
    /// Whether an entry of this kind may have `arguments`.
    fn admits(self, arguments: &[&[u8]]) -> bool {
        match self {
            EntryKind::Command => !arguments.is_empty(),
            EntryKind::Evict => true,
            EntryKind::Flush => arguments.is_empty(),
            EntryKind::Effects => {
                let (triples, rest) = arguments.as_chunks::<3>();
                rest.is_empty() && triples.iter().all(|[_, head, _]| effects::is_head(head))
            }
        }
    }
}

/// Numbered databases.
const DATABASES: u8 = 16;
/// Database number of a flush that empties all of them.
pub const ALL_DATABASES: u8 = 255;

/// An entry, its arguments borrowed from wherever they were read.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    /// What it does.
    pub kind: EntryKind,
    /// Numbered database.
    pub db: u8,
    /// When and with what luck.
    pub stamp: Stamp,
    /// A command's arguments, an evict's keys, nothing in a flush.
    pub args: Args<'a>,
}

/// Bytes that are no entry of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Cut short, or longer than it says.
    #[error("log entry has a wrong length")]
    Length,
    /// Another version of the layout.
    #[error("log entry has version {0}, this node reads version 1")]
    Version(u8),
    /// A kind that this version does not know.
    #[error("log entry has unknown kind {0}")]
    Kind(u8),
    /// A numbered database that there is none of.
    #[error("log entry has database {0}")]
    Database(u8),
    /// Arguments that its kind does not have, or a head with something where zero must be.
    #[error("log entry's parts do not fit its kind")]
    Shape,
}

impl Entry<'_> {
    /// Appends the entry's bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let kind = match self.kind {
            EntryKind::Command => 0,
            EntryKind::Evict => 1,
            EntryKind::Flush => 2,
            EntryKind::Effects => 3,
        };
        out.extend_from_slice(&[VERSION, kind, self.db, 0]);
        out.extend_from_slice(&self.stamp.log_ms.to_le_bytes());
        out.extend_from_slice(&self.stamp.wall_offset_ms.to_le_bytes());
        out.extend_from_slice(&self.stamp.random.to_le_bytes());
        out.extend_from_slice(&(self.args.len() as u32).to_le_bytes());
        for argument in self.args.iter() {
            out.extend_from_slice(&(argument.len() as u32).to_le_bytes());
        }
        for argument in self.args.iter() {
            out.extend_from_slice(argument);
        }
    }
}

/// An entry that owns its arguments, as read back from bytes.
pub struct OwnedEntry {
    kind: EntryKind,
    db: u8,
    stamp: Stamp,
    args: OwnedArgs,
}

impl OwnedEntry {
    /// Reads exactly one entry.
    ///
    /// # Errors
    /// A line each of [`EntryError`]; nothing is allocated on the word of a count that the bytes do not bear out.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        let head = bytes
            .first_chunk::<HEAD_BYTES>()
            .ok_or(EntryError::Length)?;
        if head[0] != VERSION {
            return Err(EntryError::Version(head[0]));
        }
        let kind = match head[1] {
            0 => EntryKind::Command,
            1 => EntryKind::Evict,
            2 => EntryKind::Flush,
            3 => EntryKind::Effects,
            other => return Err(EntryError::Kind(other)),
        };
        let db = head[2];
        if db >= DATABASES && !(kind == EntryKind::Flush && db == ALL_DATABASES) {
            return Err(EntryError::Database(db));
        }
        let word = |at: usize| {
            u64::from_le_bytes(head[at..at + 8].try_into().expect("8 bytes of the head"))
        };
        let count =
            u32::from_le_bytes(head[28..32].try_into().expect("4 bytes of the head")) as usize;
        let lengths = count
            .checked_mul(4)
            .and_then(|size| bytes[HEAD_BYTES..].get(..size))
            .ok_or(EntryError::Length)?;
        let mut rest = &bytes[HEAD_BYTES + lengths.len()..];
        let mut arguments = Vec::with_capacity(count);
        for length in lengths.as_chunks::<4>().0 {
            let (argument, after) = rest
                .split_at_checked(u32::from_le_bytes(*length) as usize)
                .ok_or(EntryError::Length)?;
            arguments.push(argument);
            rest = after;
        }
        if !rest.is_empty() {
            return Err(EntryError::Length);
        }
        if head[3] != 0 || !kind.admits(&arguments) {
            return Err(EntryError::Shape);
        }
        Ok(OwnedEntry {
            kind,
            db,
            stamp: Stamp {
                log_ms: word(4),
                wall_offset_ms: word(12) as i64,
                random: word(20),
            },
            args: OwnedArgs::from_slices(&arguments),
        })
    }

    /// The entry, borrowed.
    pub fn entry(&self) -> Entry<'_> {
        Entry {
            kind: self.kind,
            db: self.db,
            stamp: self.stamp,
            args: self.args.args(),
        }
    }
}

#[cfg(test)]
mod tests;
