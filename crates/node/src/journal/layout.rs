//! All bytes of the log on disk. Format 1, integers little endian, checksums CRC-32 (IEEE).
//!
//! **Segment**: a header, then records without gaps. Every segment but the last ends with a *sealed* record.
//!
//! ```text
//! offset  size  header, 128 bytes
//!      0     8  "torc-log"
//!      8     4  format, 1
//!     12     4  checksum of bytes 16..128
//!     16    16  node key: drawn once for the directory, also in its file `node`
//!     32    16  cluster id
//!     48     4  node id
//!     52     4  sync policy: 0 always, 1 every second, 2 never
//!     56     8  incarnation
//!     64     8  number of this segment, from 1
//!     72     8  number of the oldest segment when this one began
//!     80     8  sequence number (lsn) of its first record
//!     88    16  boot id of the kernel under which it was written
//!    104     8  device and
//!    112     8  inode of this very file: a copy has others
//!    120     8  zero
//!
//! offset  size  record: head of 40 bytes, then the payload
//!      0     4  checksum of bytes 4..40
//!      4     4  checksum of the payload
//!      8     4  length of the payload
//!     12     4  group (0 in records of the log itself)
//!     16     8  lsn, dense over all segments, from 1
//!     24     8  all below this lsn was on the disk when the record was written
//!     32     4  generation
//!     36     1  kind
//!     37     3  zero
//!
//! kind           payload
//!   1 promised   ballot = round u64, node u32, incarnation u64
//!   2 accepted   index u64, ballot, entry
//!   3 chosen     index u64
//!   4 base       base = index u64, log time ms u64, config
//!   5 standing   ballot promised, chosen u64, base u64, log time ms u64: all that holds of the group beside its entries; at the
//!                beginning of every segment, so that nothing but entries needs older ones
//!   6 moved      lsn u64 of the accepted record that this repeats, then its payload
//!   7 sealed     nothing: another segment follows
//!   8 trimmed    number u64 of the oldest segment that is needed; older ones are being deleted
//!   9 closed     nothing: a clean stop, if it is the last record
//!  10 log time   ms u64: no read was answered by a later one on this replica's word
//!
//! entry   0 u8 | 1 u8, log time ms u64, payload to the end | 2 u8, config
//! config  number u64, count of voters u32, each node u32 + incarnation u64; the same of learners
//! ```
//!
//! Example, *chosen 7* of group 2 as record 3: `crc crc 08000000 02000000 0300000000000000 0100000000000000 00000000 03
//! 000000`, then `0700000000000000`.
//!
//! **Checkpoint**: `"torc-ckp"`, format u32 = 1, group u32, generation u32, checksum of these 20 bytes u32; then chunks, each
//! length u32 (never 0), checksum u32, bytes; then the end: 0 u32, checksum u32 of the rest, length u32 of the rest, the
//! rest = count of chunks u64 and *base*.
//!
//! **`node`**: `"torc-key"`, format u32 = 1, node key 16 bytes, checksum of these 28 bytes u32.

use super::{
    Ballot, Config, Entry, Generation, GroupId, Identity, Incarnation, Index, NodeId, Record,
    ReplicaId, SnapshotBase, SyncPolicy,
};
use bytes::{Buf, BufMut, Bytes};
use thiserror::Error;

/// The format that this code writes, and the newest that it reads.
pub const FORMAT: u32 = 1;
/// Bytes of a segment's header.
pub const HEADER_BYTES: usize = 128;
/// Bytes of a record ahead of its payload.
pub const HEAD_BYTES: usize = 40;
/// Bytes of a record's payload at most: twice the longest argument, and what stands around it.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 30;
/// Bytes of a checkpoint's chunk at most. A chunk holds at least a key with its value, whatever their sizes.
pub const CHUNK_BYTES_MAX: usize = 1 << 30;
/// Bytes of a checkpoint ahead of its chunks.
pub const CHECKPOINT_HEADER_BYTES: usize = 24;
/// Bytes of the file `node`.
pub const KEY_FILE_BYTES: usize = 32;
/// Members of a configuration at most.
const MEMBERS_MAX: usize = 4096;

const SEGMENT_MAGIC: &[u8; 8] = b"torc-log";
const CHECKPOINT_MAGIC: &[u8; 8] = b"torc-ckp";
const KEY_MAGIC: &[u8; 8] = b"torc-key";

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LayoutError {
    /// Damaged, or never what it is taken for.
    #[error("damaged")]
    Damaged,
    /// Written by a newer Torc.
    #[error("of format {0}, which is newer than this program's {FORMAT}")]
    Newer(u32),
}

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Drawn once for the directory.
    pub node_key: u128,
    /// Who writes.
    pub identity: Identity,
    /// How.
    pub policy: SyncPolicy,
    /// From 1, dense.
    pub number: u64,
    /// The oldest segment when this one began.
    pub oldest: u64,
    /// Of its first record.
    pub first_lsn: u64,
    /// Of the kernel.
    pub boot_id: u128,
    /// Of the file.
    pub device: u64,
    /// Of the file.
    pub inode: u64,
}

impl SegmentHeader {
    /// Its bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.put_slice(SEGMENT_MAGIC);
        bytes.put_u32_le(FORMAT);
        bytes.put_u32_le(0);
        bytes.put_u128_le(self.node_key);
        bytes.put_u128_le(self.identity.cluster);
        bytes.put_u32_le(self.identity.replica.node.0);
        bytes.put_u32_le(match self.policy {
            SyncPolicy::Always => 0,
            SyncPolicy::EverySecond => 1,
            SyncPolicy::Never => 2,
        });
        bytes.put_u64_le(self.identity.replica.incarnation.0);
        bytes.put_u64_le(self.number);
        bytes.put_u64_le(self.oldest);
        bytes.put_u64_le(self.first_lsn);
        bytes.put_u128_le(self.boot_id);
        bytes.put_u64_le(self.device);
        bytes.put_u64_le(self.inode);
        bytes.put_u64_le(0);
        let checksum = crc32fast::hash(&bytes[16..]);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        bytes.try_into().expect("the fields fill the header")
    }

    /// Reads it back. A newer format is told before anything else is looked at.
    ///
    /// # Errors
    ///
    /// [`LayoutError`].
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<SegmentHeader, LayoutError> {
        let mut rest = &bytes[..];
        magic(&mut rest, SEGMENT_MAGIC)?;
        if rest.get_u32_le() != crc32fast::hash(&bytes[16..]) {
            return Err(LayoutError::Damaged);
        }
        let node_key = rest.get_u128_le();
        let cluster = rest.get_u128_le();
        let node = NodeId(rest.get_u32_le());
        let policy = match rest.get_u32_le() {
            0 => SyncPolicy::Always,
            1 => SyncPolicy::EverySecond,
            2 => SyncPolicy::Never,
            _ => return Err(LayoutError::Damaged),
        };
        let incarnation = Incarnation(rest.get_u64_le());
        let replica = ReplicaId { node, incarnation };
        Ok(SegmentHeader {
            node_key,
            identity: Identity { cluster, replica },
            policy,
            number: rest.get_u64_le(),
            oldest: rest.get_u64_le(),
            first_lsn: rest.get_u64_le(),
            boot_id: rest.get_u128_le(),
            device: rest.get_u64_le(),
            inode: rest.get_u64_le(),
        })
    }
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// `Record::Promised`.
    Promised = 1,
    /// `Record::Accepted`.
    Accepted = 2,
    /// `Record::Chosen`.
    Chosen = 3,
    /// `Record::Base`.
    Base = 4,
    /// All that holds of a group beside its entries.
    Standing = 5,
    /// An accepted record again, so that its old segment may go.
    Moved = 6,
    /// The segment ends and another follows.
    Sealed = 7,
    /// Older segments are being deleted.
    Trimmed = 8,
    /// A clean stop.
    Closed = 9,
    /// `Record::LogTime`.
    LogTime = 10,
}

impl RecordKind {
    fn decode(byte: u8) -> Result<RecordKind, LayoutError> {
        Ok(match byte {
            1 => RecordKind::Promised,
            2 => RecordKind::Accepted,
            3 => RecordKind::Chosen,
            4 => RecordKind::Base,
            5 => RecordKind::Standing,
            6 => RecordKind::Moved,
            7 => RecordKind::Sealed,
            8 => RecordKind::Trimmed,
            9 => RecordKind::Closed,
            10 => RecordKind::LogTime,
            _ => return Err(LayoutError::Damaged),
        })
    }
}

/// A record ahead of its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// CRC-32 of the payload.
    pub payload_checksum: u32,
    /// Bytes.
    pub payload_bytes: u32,
    /// Whose.
    pub group: GroupId,
    /// Which record.
    pub lsn: u64,
    /// All below was on the disk when this was written: whoever finds less has lost something.
    pub durable: u64,
    /// Of the group.
    pub generation: Generation,
    /// What.
    pub kind: RecordKind,
}

impl RecordHead {
    /// Its bytes. About 15 ns.
    pub fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[4..8].copy_from_slice(&self.payload_checksum.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.group.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.lsn.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.durable.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.generation.0.to_le_bytes());
        bytes[36] = self.kind as u8;
        let checksum = crc32fast::hash(&bytes[4..]);
        bytes[..4].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads it back.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Damaged`].
    pub fn decode(bytes: &[u8; HEAD_BYTES]) -> Result<RecordHead, LayoutError> {
        // Cheap looks first: a search for records tries every byte.
        let kind = RecordKind::decode(bytes[36])?;
        if bytes[37..] != [0; 3] {
            return Err(LayoutError::Damaged);
        }
        let mut rest = &bytes[..];
        if rest.get_u32_le() != crc32fast::hash(&bytes[4..]) {
            return Err(LayoutError::Damaged);
        }
        let head = RecordHead {
            payload_checksum: rest.get_u32_le(),
            payload_bytes: rest.get_u32_le(),
            group: GroupId(rest.get_u32_le()),
            lsn: rest.get_u64_le(),
            durable: rest.get_u64_le(),
            generation: Generation(rest.get_u32_le()),
            kind,
        };
        if head.payload_bytes as usize > PAYLOAD_BYTES_MAX {
            return Err(LayoutError::Damaged);
        }
        Ok(head)
    }
}

/// What holds of a group beside its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The ballot promised.
    pub promised: Ballot,
    /// All up to here is chosen.
    pub chosen: Index,
    /// The checkpoint's base.
    pub base: Index,
    /// The last `Record::LogTime`, ms.
    pub log_ms_ceiling: u64,
}

impl Standing {
    /// Its bytes as a payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_ballot(out, self.promised);
        out.put_u64_le(self.chosen.0);
        out.put_u64_le(self.base.0);
        out.put_u64_le(self.log_ms_ceiling);
    }

    /// Reads it back.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Damaged`].
    pub fn decode(mut payload: Bytes) -> Result<Standing, LayoutError> {
        let standing = Standing {
            promised: ballot(&mut payload)?,
            chosen: Index(u64_of(&mut payload)?),
            base: Index(u64_of(&mut payload)?),
            log_ms_ceiling: u64_of(&mut payload)?,
        };
        at_end(&payload)?;
        Ok(standing)
    }
}

/// Writes a record's payload to `out`, all but the last piece, which is given back where there is one: the bytes of an
/// entry's own payload, shared and not copied.
pub fn encode_record(record: &Record, out: &mut Vec<u8>) -> (RecordKind, Bytes) {
    match record {
        Record::Promised(ballot) => {
            put_ballot(out, *ballot);
            (RecordKind::Promised, Bytes::new())
        }
        Record::Accepted {
            index,
            ballot,
            entry,
        } => {
            out.put_u64_le(index.0);
            put_ballot(out, *ballot);
            (RecordKind::Accepted, put_entry(out, entry))
        }
        Record::Chosen(index) => {
            out.put_u64_le(index.0);
            (RecordKind::Chosen, Bytes::new())
        }
        Record::Base(base) => {
            put_base(out, base);
            (RecordKind::Base, Bytes::new())
        }
        Record::LogTime(ms) => {
            out.put_u64_le(*ms);
            (RecordKind::LogTime, Bytes::new())
        }
    }
}

/// Reads the payload of a record of these kinds back; an entry's bytes are a part of `payload`, not copied.
///
/// # Errors
///
/// [`LayoutError::Damaged`], also for kinds that are no [`Record`].
pub fn decode_record(kind: RecordKind, mut payload: Bytes) -> Result<Record, LayoutError> {
    let record = match kind {
        RecordKind::Promised => Record::Promised(ballot(&mut payload)?),
        RecordKind::Accepted => Record::Accepted {
            index: Index(u64_of(&mut payload)?),
            ballot: ballot(&mut payload)?,
            entry: entry(&mut payload)?,
        },
        RecordKind::Chosen => Record::Chosen(Index(u64_of(&mut payload)?)),
        RecordKind::Base => Record::Base(base(&mut payload)?),
        RecordKind::LogTime => Record::LogTime(u64_of(&mut payload)?),
        RecordKind::Standing
        | RecordKind::Moved
        | RecordKind::Sealed
        | RecordKind::Trimmed
        | RecordKind::Closed => return Err(LayoutError::Damaged),
    };
    at_end(&payload)?;
    Ok(record)
}

/// A checkpoint's bytes ahead of its chunks.
pub fn encode_checkpoint_header(
    group: GroupId,
    generation: Generation,
) -> [u8; CHECKPOINT_HEADER_BYTES] {
    let mut bytes = Vec::with_capacity(CHECKPOINT_HEADER_BYTES);
    bytes.put_slice(CHECKPOINT_MAGIC);
    bytes.put_u32_le(FORMAT);
    bytes.put_u32_le(group.0);
    bytes.put_u32_le(generation.0);
    bytes.put_u32_le(crc32fast::hash(&bytes));
    bytes.try_into().expect("the fields fill the header")
}

/// Reads them back.
///
/// # Errors
///
/// [`LayoutError`].
pub fn decode_checkpoint_header(
    bytes: &[u8; CHECKPOINT_HEADER_BYTES],
) -> Result<(GroupId, Generation), LayoutError> {
    let mut rest = &bytes[..];
    magic(&mut rest, CHECKPOINT_MAGIC)?;
    let ids = (GroupId(rest.get_u32_le()), Generation(rest.get_u32_le()));
    if rest.get_u32_le() != crc32fast::hash(&bytes[..20]) {
        return Err(LayoutError::Damaged);
    }
    Ok(ids)
}

/// The rest that ends a checkpoint.
pub fn encode_checkpoint_end(chunks_count: u64, base: &SnapshotBase) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.put_u64_le(chunks_count);
    put_base(&mut bytes, base);
    bytes
}

/// Reads it back: count of chunks and base.
///
/// # Errors
///
/// [`LayoutError::Damaged`].
pub fn decode_checkpoint_end(mut rest: Bytes) -> Result<(u64, SnapshotBase), LayoutError> {
    let end = (u64_of(&mut rest)?, base(&mut rest)?);
    at_end(&rest)?;
    Ok(end)
}

/// The bytes of the file `node`.
pub fn encode_key_file(node_key: u128) -> [u8; KEY_FILE_BYTES] {
    let mut bytes = Vec::with_capacity(KEY_FILE_BYTES);
    bytes.put_slice(KEY_MAGIC);
    bytes.put_u32_le(FORMAT);
    bytes.put_u128_le(node_key);
    bytes.put_u32_le(crc32fast::hash(&bytes));
    bytes.try_into().expect("the fields fill the file")
}

/// Reads them back: the node key.
///
/// # Errors
///
/// [`LayoutError`].
pub fn decode_key_file(bytes: &[u8]) -> Result<u128, LayoutError> {
    let mut rest = bytes;
    if bytes.len() < 12 {
        return Err(LayoutError::Damaged);
    }
    magic(&mut rest, KEY_MAGIC)?;
    if bytes.len() != KEY_FILE_BYTES {
        return Err(LayoutError::Damaged);
    }
    let key = rest.get_u128_le();
    if rest.get_u32_le() != crc32fast::hash(&bytes[..28]) {
        return Err(LayoutError::Damaged);
    }
    Ok(key)
}

/// Takes eight bytes of magic and the format.
fn magic(rest: &mut &[u8], wanted: &[u8; 8]) -> Result<(), LayoutError> {
    let found = &rest[..8];
    if found != wanted {
        return Err(LayoutError::Damaged);
    }
    rest.advance(8);
    match rest.get_u32_le() {
        FORMAT => Ok(()),
        newer if newer > FORMAT => Err(LayoutError::Newer(newer)),
        _ => Err(LayoutError::Damaged),
    }
}

fn put_ballot(out: &mut Vec<u8>, ballot: Ballot) {
    out.put_u64_le(ballot.round);
    put_replica(out, ballot.replica);
}

fn put_replica(out: &mut Vec<u8>, replica: ReplicaId) {
    out.put_u32_le(replica.node.0);
    out.put_u64_le(replica.incarnation.0);
}

/// Writes all but the entry's own payload, and gives that back.
fn put_entry(out: &mut Vec<u8>, entry: &Entry) -> Bytes {
    match entry {
        Entry::Noop => out.put_u8(0),
        Entry::Batch { log_ms, payload } => {
            out.put_u8(1);
            out.put_u64_le(*log_ms);
            return payload.clone();
        }
        Entry::Config(config) => {
            out.put_u8(2);
            put_config(out, config);
        }
    }
    Bytes::new()
}

fn put_config(out: &mut Vec<u8>, config: &Config) {
    out.put_u64_le(config.number);
    for members in [&config.voters, &config.learners] {
        out.put_u32_le(members.len() as u32);
        for member in members {
            put_replica(out, *member);
        }
    }
}

fn put_base(out: &mut Vec<u8>, base: &SnapshotBase) {
    out.put_u64_le(base.index.0);
    out.put_u64_le(base.log_ms);
    put_config(out, &base.config);
}

fn u64_of(from: &mut Bytes) -> Result<u64, LayoutError> {
    from.try_get_u64_le().map_err(|_| LayoutError::Damaged)
}

fn u32_of(from: &mut Bytes) -> Result<u32, LayoutError> {
    from.try_get_u32_le().map_err(|_| LayoutError::Damaged)
}

/// The number that a *moved* or *trimmed* record begins with.
///
/// # Errors
///
/// [`LayoutError::Damaged`].
pub fn take_number(payload: &mut Bytes) -> Result<u64, LayoutError> {
    u64_of(payload)
}

fn ballot(from: &mut Bytes) -> Result<Ballot, LayoutError> {
    Ok(Ballot {
        round: u64_of(from)?,
        replica: replica(from)?,
    })
}

fn replica(from: &mut Bytes) -> Result<ReplicaId, LayoutError> {
    Ok(ReplicaId {
        node: NodeId(u32_of(from)?),
        incarnation: Incarnation(u64_of(from)?),
    })
}

fn entry(from: &mut Bytes) -> Result<Entry, LayoutError> {
    match from.try_get_u8().map_err(|_| LayoutError::Damaged)? {
        0 => Ok(Entry::Noop),
        1 => Ok(Entry::Batch {
            log_ms: u64_of(from)?,
            payload: from.split_off(0),
        }),
        2 => Ok(Entry::Config(config(from)?)),
        _ => Err(LayoutError::Damaged),
    }
}

fn config(from: &mut Bytes) -> Result<Config, LayoutError> {
    Ok(Config {
        number: u64_of(from)?,
        voters: members(from)?,
        learners: members(from)?,
    })
}

fn members(from: &mut Bytes) -> Result<Vec<ReplicaId>, LayoutError> {
    let count = u32_of(from)? as usize;
    if count > MEMBERS_MAX {
        return Err(LayoutError::Damaged);
    }
    (0..count).map(|_| replica(from)).collect()
}

fn base(from: &mut Bytes) -> Result<SnapshotBase, LayoutError> {
    Ok(SnapshotBase {
        index: Index(u64_of(from)?),
        log_ms: u64_of(from)?,
        config: config(from)?,
    })
}

fn at_end(rest: &Bytes) -> Result<(), LayoutError> {
    if rest.is_empty() {
        Ok(())
    } else {
        Err(LayoutError::Damaged)
    }
}
