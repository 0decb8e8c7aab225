//! Integers, ids and counted bytes, read and written.

use bytes::Bytes;
use paxos::{Ballot, Incarnation, Index, NodeId, ReplicaId};
use resp::Output;

use super::SHARED_BYTES_MIN;

/// Bytes of a replica.
pub(super) const REPLICA_BYTES: usize = 12;
/// Bytes of a ballot.
pub(super) const BALLOT_BYTES: usize = 20;
/// Rounds, indexes and the like stay below this: nobody comes there by counting, and one more is still a number.
pub(super) const NUMBER_MAX: u64 = 1 << 62;
/// Log times, ms, and ages, us, stay below this: sums and products of them do not overflow.
pub(super) const TIME_MAX: u64 = 1 << 53;
/// What is left of a lease is no more than this, us: an hour. Whoever hears it shows nothing for so long.
pub(super) const LEASE_LEFT_US_MAX: u64 = 3_600_000_000;

/// Bytes from another node that are not of this version's layout. The link that they came over is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Another version of the layout.
    #[error("a frame of version {0}, this node speaks version 1")]
    Version(u16),
    /// Longer than anything that is sent.
    #[error("a frame of {0} bytes, more than any may have")]
    TooLong(usize),
    /// The checksum is another.
    #[error("a frame whose checksum is wrong")]
    Checksum,
    /// A frame is missing or came twice.
    #[error("frame {got} where {wanted} was due")]
    Sequence {
        /// What was due.
        wanted: u64,
        /// What came.
        got: u64,
    },
    /// A frame of the other class, or a head with something where zero must be.
    #[error("a frame's head that does not fit its link")]
    Head,
    /// A kind that this version does not know.
    #[error("a message of unknown kind {0}")]
    Kind(u8),
    /// Shorter or longer than its parts.
    #[error("a message of kind {0} with a wrong length")]
    Length(u8),
    /// A value that its place does not have.
    #[error("a message of kind {0} with a value out of range")]
    Value(u8),
}

/// Appends to a frame that is being filled.
pub(super) struct Writer<'a> {
    output: &'a mut Output,
    /// Bytes that were put in without a copy, and how many pieces they are.
    pub(super) shared_bytes: usize,
    pub(super) shared_count: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(output: &'a mut Output) -> Self {
        Writer {
            output,
            shared_bytes: 0,
            shared_count: 0,
        }
    }

    #[inline]
    pub(super) fn u8(&mut self, value: u8) {
        self.output.tail_mut().push(value);
    }

    #[inline]
    pub(super) fn u16(&mut self, value: u16) {
        self.fixed(&value.to_le_bytes());
    }

    #[inline]
    pub(super) fn u32(&mut self, value: u32) {
        self.fixed(&value.to_le_bytes());
    }

    #[inline]
    pub(super) fn u64(&mut self, value: u64) {
        self.fixed(&value.to_le_bytes());
    }

    #[inline]
    fn fixed(&mut self, bytes: &[u8]) {
        self.output.tail_mut().extend_from_slice(bytes);
    }

    #[inline]
    pub(super) fn replica(&mut self, replica: ReplicaId) {
        let mut bytes = [0; REPLICA_BYTES];
        bytes[..4].copy_from_slice(&replica.node.0.to_le_bytes());
        bytes[4..].copy_from_slice(&replica.incarnation.0.to_le_bytes());
        self.fixed(&bytes);
    }

    #[inline]
    pub(super) fn ballot(&mut self, ballot: Ballot) {
        self.u64(ballot.round);
        self.replica(ballot.replica);
    }

    /// A count of what follows.
    pub(super) fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).expect("no message holds so many"));
    }

    /// Bytes after their length.
    #[inline]
    pub(super) fn bytes(&mut self, bytes: &Bytes) {
        self.u32(u32::try_from(bytes.len()).expect("what is queued is bounded far below"));
        self.rest(bytes);
    }

    /// Bytes to the message's end.
    #[inline]
    pub(super) fn rest(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_BYTES_MIN {
            self.fixed(bytes);
        } else {
            self.shared_bytes += bytes.len();
            self.shared_count += 1;
            self.output.push_shared(bytes.clone());
        }
    }
}

/// Reads one message, from its kind on. Nothing is allocated on the word of a count that the bytes do not bear out.
pub(super) struct Reader {
    bytes: Bytes,
    at: usize,
    kind: u8,
}

impl Reader {
    /// `bytes` is a message without its length; it has a first byte.
    pub(super) fn new(bytes: Bytes) -> Self {
        let kind = bytes[0];
        Reader { bytes, at: 1, kind }
    }

    #[inline]
    pub(super) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let bytes = self.bytes[self.at..]
            .first_chunk::<N>()
            .ok_or(WireError::Length(self.kind))?;
        self.at += N;
        Ok(*bytes)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, WireError> {
        self.fixed::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16, WireError> {
        self.fixed().map(u16::from_le_bytes)
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32, WireError> {
        self.fixed().map(u32::from_le_bytes)
    }

    #[inline]
    pub(super) fn u64(&mut self) -> Result<u64, WireError> {
        self.fixed().map(u64::from_le_bytes)
    }

    /// Yes or no.
    pub(super) fn flag(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.bad_value()),
        }
    }

    pub(super) fn replica(&mut self) -> Result<ReplicaId, WireError> {
        Ok(ReplicaId {
            node: NodeId(self.u32()?),
            incarnation: Incarnation(self.u64()?),
        })
    }

    /// An integer up to `max`.
    pub(super) fn at_most(&mut self, max: u64) -> Result<u64, WireError> {
        let value = self.u64()?;
        match value <= max {
            true => Ok(value),
            false => Err(self.bad_value()),
        }
    }

    /// A position in a log.
    pub(super) fn index(&mut self) -> Result<Index, WireError> {
        self.at_most(NUMBER_MAX).map(Index)
    }

    /// Log time, ms, or an age, us.
    pub(super) fn time(&mut self) -> Result<u64, WireError> {
        self.at_most(TIME_MAX)
    }

    pub(super) fn ballot(&mut self) -> Result<Ballot, WireError> {
        Ok(Ballot {
            round: self.at_most(NUMBER_MAX)?,
            replica: self.replica()?,
        })
    }

    /// A count of items of at least `bytes_min` each.
    pub(super) fn count(&mut self, bytes_min: usize) -> Result<usize, WireError> {
        let count = self.u32()? as usize;
        if count > (self.bytes.len() - self.at) / bytes_min {
            return Err(WireError::Length(self.kind));
        }
        Ok(count)
    }

    /// Bytes after their length, sharing the message's memory.
    #[inline]
    pub(super) fn bytes(&mut self) -> Result<Bytes, WireError> {
        let length = self.u32()? as usize;
        if length > self.bytes.len() - self.at {
            return Err(WireError::Length(self.kind));
        }
        let bytes = self.bytes.slice(self.at..self.at + length);
        self.at += length;
        Ok(bytes)
    }

    /// What is left.
    pub(super) fn rest(&mut self) -> Bytes {
        let bytes = self.bytes.slice(self.at..);
        self.at = self.bytes.len();
        bytes
    }

    /// The message's kind.
    pub(super) fn kind(&self) -> u8 {
        self.kind
    }

    /// The error for a value that its place does not have.
    pub(super) fn bad_value(&self) -> WireError {
        WireError::Value(self.kind)
    }

    /// The end must be here.
    pub(super) fn finish(self) -> Result<(), WireError> {
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(WireError::Length(self.kind))
        }
    }
}
