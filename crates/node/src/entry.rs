//! The payload of a log entry: a batch of operations, from one or several nodes, with one stamp.
//!
//! Layout, version 6, integers little endian. Log time is not in it: the log itself carries that of every batch.
//!
//! ```text
//! offset  size  what
//!      0     1  version, 6
//!      1     3  zero
//!      4     8  wall time minus log time, ms, signed
//!     12     8  the leader's draw
//!     20        runs, to the end:
//!               +0   4  origin: node, 0 = the leader itself
//!               +4   8  origin: incarnation
//!              +12   8  replies to the origin's writes up to here are not asked for again
//!              +20   4  count of operations
//!              +24   4  their bytes, b
//!              +28   b  operations (`group/op.rs`)
//! ```
//!
//! Example, nothing but node 1's write `DEL a` of 40 bytes: 20 bytes of head, then `01 00 00 00`, incarnation and
//! done_seq, `01 00 00 00  28 00 00 00`, the operation.

use crate::group::{is_applicable, op::split_first};
use paxos::{Incarnation, NodeId, ReplicaId};

/// The version that this code writes and reads.
const VERSION: u8 = 6;
/// Bytes ahead of the first run.
pub(crate) const BATCH_HEAD_BYTES: usize = 20;
/// Bytes ahead of a run's operations.
pub(crate) const RUN_HEAD_BYTES: usize = 28;
/// Numbered databases.
pub(crate) const DATABASES: u8 = 16;
/// Database number of a flush that empties all of them.
pub const ALL_DATABASES: u8 = 255;

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

impl Stamp {
    /// The stamp of the operation at `ordinal` of a batch with this one: draws of their own for each.
    pub(crate) fn of_op(self, ordinal: u64) -> Stamp {
        // The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
        let step = 0x9e37_79b9_7f4a_7c15_u64;
        let mut z = self.random.wrapping_add(ordinal.wrapping_mul(step));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Stamp {
            random: z ^ (z >> 31),
            ..self
        }
    }
}

/// Operations of one node, one after the other in the order of their sequence numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run<'a> {
    /// Whose; the default is the leader's own decisions.
    pub origin: ReplicaId,
    /// Replies to its writes up to here are not asked for again.
    pub done_seq: u64,
    /// How many operations.
    pub count: u32,
    /// Their bytes.
    pub ops: &'a [u8],
}

/// Bytes that are no batch of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Cut short, or longer than it says.
    #[error("log entry has a wrong length")]
    Length,
    /// Another version of the layout.
    #[error("log entry has version {0}, this node reads version {VERSION}")]
    Version(u8),
    /// Something where zero must be.
    #[error("log entry has something where zero must be")]
    Shape,
    /// An operation that is none, or another count of them than is said.
    #[error("log entry has operations that cannot be applied")]
    Operations,
}

/// Appends room for a batch's head and its first run's, to be filled in by [`write_heads`].
pub(crate) fn reserve_heads(out: &mut Vec<u8>) {
    out.resize(out.len() + BATCH_HEAD_BYTES + RUN_HEAD_BYTES, 0);
}

/// Fills in the head of the batch at the front of `out`.
pub(crate) fn write_batch_head(out: &mut [u8], wall_offset_ms: i64, draw: u64) {
    out[0] = VERSION;
    out[4..12].copy_from_slice(&wall_offset_ms.to_le_bytes());
    out[12..20].copy_from_slice(&draw.to_le_bytes());
}

/// Fills in a run's head.
pub(crate) fn write_run_head(
    out: &mut [u8],
    origin: ReplicaId,
    done_seq: u64,
    count: u32,
    bytes: usize,
) {
    let bytes = u32::try_from(bytes).expect("a batch is far below 4 GiB");
    out[..4].copy_from_slice(&origin.node.0.to_le_bytes());
    out[4..12].copy_from_slice(&origin.incarnation.0.to_le_bytes());
    out[12..20].copy_from_slice(&done_seq.to_le_bytes());
    out[20..24].copy_from_slice(&count.to_le_bytes());
    out[24..28].copy_from_slice(&bytes.to_le_bytes());
}

/// Appends a whole run.
pub(crate) fn push_run(out: &mut Vec<u8>, run: Run<'_>) {
    let at = out.len();
    out.resize(at + RUN_HEAD_BYTES, 0);
    write_run_head(
        &mut out[at..],
        run.origin,
        run.done_seq,
        run.count,
        run.ops.len(),
    );
    out.extend_from_slice(run.ops);
}

/// A batch that borrows from its payload.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Wall time minus log time in milliseconds.
    pub wall_offset_ms: i64,
    /// The leader's draw.
    pub draw: u64,
    runs: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Reads a payload's head and looks at the lengths of its runs, not at the operations in them.
    ///
    /// # Errors
    /// A line each of [`EntryError`].
    pub fn parse(payload: &'a [u8]) -> Result<Self, EntryError> {
        let (head, runs) = payload
            .split_first_chunk::<BATCH_HEAD_BYTES>()
            .ok_or(EntryError::Length)?;
        if head[0] != VERSION {
            return Err(EntryError::Version(head[0]));
        }
        if head[1..4] != [0; 3] {
            return Err(EntryError::Shape);
        }
        let mut rest = runs;
        while !rest.is_empty() {
            rest = split_run(rest).ok_or(EntryError::Length)?.1;
        }
        Ok(Batch {
            wall_offset_ms: long(head, 4) as i64,
            draw: long(head, 12),
            runs,
        })
    }

    /// The runs, in order.
    pub fn runs(&self) -> impl Iterator<Item = Run<'a>> + use<'a> {
        let mut rest = self.runs;
        std::iter::from_fn(move || {
            let (run, after) = split_run(rest)?;
            rest = after;
            Some(run)
        })
    }
}

/// Looks at everything in a payload of another node, so that it can be applied. Costs a look at each operation's
/// arguments' lengths and its command's name.
///
/// # Errors
/// A line each of [`EntryError`].
pub(crate) fn check(payload: &[u8]) -> Result<(), EntryError> {
    for run in Batch::parse(payload)?.runs() {
        let mut rest = run.ops;
        let mut count = 0;
        while !rest.is_empty() {
            let (op, after) = split_first(rest).map_err(|_| EntryError::Operations)?;
            if !is_applicable(&op) {
                return Err(EntryError::Operations);
            }
            rest = after;
            count += 1;
        }
        if count != run.count {
            return Err(EntryError::Operations);
        }
    }
    Ok(())
}

/// What [`crate::Shard::take_record`] gave: log time and payload of each entry.
#[cfg(test)]
pub(crate) fn recorded(record: &[u8]) -> impl Iterator<Item = (u64, bytes::Bytes)> {
    let mut rest = record;
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (entry, after) = after.split_at(u32::from_le_bytes(*length) as usize);
        rest = after;
        let payload = bytes::Bytes::copy_from_slice(&entry[8..]);
        Some((long(entry, 0), payload))
    })
}

fn split_run(bytes: &[u8]) -> Option<(Run<'_>, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<RUN_HEAD_BYTES>()?;
    let (ops, rest) = rest.split_at_checked(word(head, 24) as usize)?;
    let run = Run {
        origin: ReplicaId {
            node: NodeId(word(head, 0)),
            incarnation: Incarnation(long(head, 4)),
        },
        done_seq: long(head, 12),
        count: word(head, 20),
        ops,
    };
    Some((run, rest))
}

fn word(head: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(head[at..at + 4].try_into().expect("4 bytes of the head"))
}

fn long(head: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(head[at..at + 8].try_into().expect("8 bytes of the head"))
}

#[cfg(test)]
mod tests;
