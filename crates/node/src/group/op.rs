//! One operation on a shard, as bytes: the same in the queue of the node that wants it, in a message to the leader
//! and in the log.
//!
//! Layout, integers little endian:
//!
//! ```text
//! offset  size  what
//!      0     1  kind (OpKind)
//!      1     1  numbered database, 0..=15 (255 in a flush: all of them)
//!      2     1  flags: 1 replies in RESP3, 2 reads are no accesses, 4 in an eviction: of locks,
//!                  8 in effects: keys may have grown, 16 in what came of a script: it published
//!      3     1  zero
//!      4     4  length of the whole operation, bytes
//!      8     8  sequence number of a write, id of a read
//!     16     8  in a read: the write of the same origin that must be applied first, 0 = none
//!     24     4  count of arguments, n
//!     28   4*n  length of each argument
//!      …     …  the arguments' bytes, one after the other
//! ```
//!
//! The arguments of a *multi* are operations themselves, of kinds write, read, flush and check; those of a *reserve* are,
//! behind the first three ([`super::reservations`]), of kinds write, read, effects, check, expect, fence and take over. Example, `DEL a` in
//! database 0 as write 7: `01 00 00 00  28 00 00 00  07 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  02 00 00 00
//! 03 00 00 00  01 00 00 00  'D' 'E' 'L' 'a'`.

use super::locks::is_word;
use super::reservations::{RESERVE_HEAD_ARGS, TX_ID_BYTES, is_reserve_head};
use super::said;
use super::scripts::keys_count;
use crate::effects;
use crate::entry::{ALL_DATABASES, DATABASES};
use commands::Run;
use commands::context::Touch;
use resp::{Args, Protocol, Span};
use smallvec::SmallVec;

/// Bytes ahead of the arguments' lengths.
pub(crate) const HEAD_BYTES: usize = 28;
/// Longest operation, bytes: it must fit into a message between nodes with room to spare.
pub(crate) const OP_BYTES_MAX: usize = 1000 << 20;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OpKind {
    /// A client's command that may change keys, by its own arguments.
    Write = 1,
    /// A client's command that changes nothing: never in the log by itself.
    Read = 2,
    /// Empties one numbered database, or all.
    Flush = 3,
    /// Several operations as one; its reply is the array of theirs, or null if a check failed.
    Multi = 4,
    /// A question of the node's own about the shard: never in the log.
    Internal = 5,
    /// The arguments are keys that the leader chose to evict; of locks, keys and the fences (8 bytes) of their grants.
    Evict = 6,
    /// The arguments are replicas (12 bytes each: node, incarnation) whose writes are over.
    Forget = 7,
    /// In a multi: the arguments are a key and the fingerprint (8 bytes) that it must have.
    Check = 8,
    /// The arguments are triples that say what has become of keys (see `effects`).
    Effects = 9,
    /// A write that the leader refused before it came into the log: the argument is the reply.
    Refused = 10,
    /// A script that may write: `w`, its source, the count of its keys, keys, arguments. Never in the log: the leader runs
    /// it and logs its outcome.
    Script = 11,
    /// What came of a script: the reply, what it published if the flag says so (`said`), then triples that say what has become of
    /// keys.
    Outcome = 12,
    /// The arguments are keys about whose locks the time says something: who is next gets what is free.
    Settle = 13,
    /// A delay (8 bytes, ms; all ones: none), then replicas as in a forget, of which nothing is heard: what they wait for
    /// they wait for no more, and what hangs on their connections ends after the delay (none: with its time).
    Silent = 14,
    /// A node's word about a lock that it asked for before: see `locks`.
    LockWord = 15,
    /// The same as an outcome, where that would hold a large collection: in place of triples the commands by which the script wrote,
    /// as operations of kind write, whose number is their draw.
    Commands = 16,
    /// A transaction's part here: see [`super::reservations`].
    Reserve = 17,
    /// What has become of a transaction: its name, and `c` (committed) or `a` (aborted).
    Finish = 18,
    /// A transaction's name, and the number (8 bytes) of its reserve here: unless that came before, it is refused.
    Prevent = 19,
    /// Names of transactions whose outcome nobody asks for any more.
    Release = 20,
    /// In a reserve: the arguments are a lock and the token (8 bytes, i64) under which it must be held.
    Fence = 21,
    /// In a reserve: the arguments are an operation of kind read, and the reply that it must have.
    Expect = 22,
    /// In a reserve: the argument is the name of a transaction of the same coordinator that ends here by it, and whose keys it has
    /// from then on.
    TakeOver = 23,
    /// The arguments are operations (20 bytes each: node, incarnation, number) that wait for transactions for too long, and are refused.
    Overdue = 24,
}

impl OpKind {
    fn from_byte(byte: u8) -> Option<OpKind> {
        Some(match byte {
            1 => OpKind::Write,
            2 => OpKind::Read,
            3 => OpKind::Flush,
            4 => OpKind::Multi,
            5 => OpKind::Internal,
            6 => OpKind::Evict,
            7 => OpKind::Forget,
            8 => OpKind::Check,
            9 => OpKind::Effects,
            10 => OpKind::Refused,
            11 => OpKind::Script,
            12 => OpKind::Outcome,
            13 => OpKind::Settle,
            14 => OpKind::Silent,
            15 => OpKind::LockWord,
            16 => OpKind::Commands,
            17 => OpKind::Reserve,
            18 => OpKind::Finish,
            19 => OpKind::Prevent,
            20 => OpKind::Release,
            21 => OpKind::Fence,
            22 => OpKind::Expect,
            23 => OpKind::TakeOver,
            24 => OpKind::Overdue,
            _ => return None,
        })
    }
}

/// Marks of an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpFlags(u8);

impl OpFlags {
    /// None.
    pub const NONE: OpFlags = OpFlags(0);
    /// Replies are in RESP3.
    pub const RESP3: OpFlags = OpFlags(1);
    /// What is read does not count as accessed.
    pub const NO_TOUCH: OpFlags = OpFlags(2);

    /// In an eviction: locks go.
    pub const LOCKS: OpFlags = OpFlags(4);

    /// In effects: keys may have grown by a command that is refused where there is no memory.
    pub const GROWS: OpFlags = OpFlags(8);

    /// In an outcome or commands: the script published.
    pub const SAYS: OpFlags = OpFlags(16);

    /// These and `other`.
    pub const fn with(self, other: OpFlags) -> OpFlags {
        OpFlags(self.0 | other.0)
    }

    /// Whether all of `other` are among these.
    pub const fn has(self, other: OpFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether what is read counts as accessed.
    pub(crate) fn touch(self) -> Touch {
        if self.has(OpFlags::NO_TOUCH) {
            Touch::No
        } else {
            Touch::Yes
        }
    }

    /// The protocol of the reply.
    pub fn protocol(self) -> Protocol {
        if self.has(OpFlags::RESP3) {
            Protocol::Resp3
        } else {
            Protocol::Resp2
        }
    }
}

/// What comes ahead of an operation's arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpHead {
    /// What it does.
    pub kind: OpKind,
    /// Numbered database.
    pub db: u8,
    /// Its marks.
    pub flags: OpFlags,
    /// Sequence number of a write, id of a read; 0 where neither matters.
    pub seq: u64,
    /// In a read: the write that must be applied first.
    pub after: u64,
}

/// An operation that borrows its arguments from the bytes that it was read from.
#[derive(Clone, Debug)]
pub struct Op<'a> {
    /// What comes first.
    pub head: OpHead,
    bytes: &'a [u8],
    spans: SmallVec<[Span; 8]>,
}

impl<'a> Op<'a> {
    /// The arguments.
    #[inline]
    pub fn args(&self) -> Args<'_> {
        Args::new(self.bytes, &self.spans)
    }

    /// Argument `i`, as long as the bytes.
    fn argument(&self, i: usize) -> &'a [u8] {
        let span = self.spans[i];
        let start = span.start as usize;
        &self.bytes[start..start + span.len as usize]
    }

    /// The operations in a multi or a reserve, or the commands of a script.
    pub fn nested(&self) -> impl Iterator<Item = Op<'a>> + '_ {
        let first = match self.head.kind {
            OpKind::Commands => self.what_at(),
            OpKind::Reserve => RESERVE_HEAD_ARGS,
            _ => 0,
        };
        (first..self.spans.len()).map(|i| {
            split_first(self.argument(i))
                .expect("looked at when the whole was decoded")
                .0
        })
    }

    /// In what came of a script: where its arguments say what has become of keys.
    pub fn what_at(&self) -> usize {
        1 + usize::from(self.head.flags.has(OpFlags::SAYS))
    }

    /// In what came of a script: what it published, encoded as [`said`] draws it.
    pub fn said(&self) -> &'a [u8] {
        match self.head.flags.has(OpFlags::SAYS) {
            true => self.argument(1),
            false => &[],
        }
    }

    /// In an expect: what is read, and the reply that it must have.
    pub fn expected(&self) -> (Op<'a>, &'a [u8]) {
        let (read, _) = split_first(self.argument(0)).expect("looked at when it was decoded");
        (read, self.argument(1))
    }

    /// The whole operation's bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether an operation of its kind may look like this.
    fn is_sound(&self) -> bool {
        let args = self.args();
        match self.head.kind {
            OpKind::Write | OpKind::Read | OpKind::Internal => !args.is_empty(),
            OpKind::Flush => args.is_empty(),
            OpKind::Evict if self.head.flags.has(OpFlags::LOCKS) => {
                args.len().is_multiple_of(2)
                    && (1..args.len()).step_by(2).all(|at| args.get(at).len() == 8)
            }
            OpKind::Evict | OpKind::Settle => true,
            OpKind::Silent => {
                !args.is_empty()
                    && args.get(0).len() == 8
                    && args.from(1).iter().all(|replica| replica.len() == 12)
            }
            OpKind::LockWord => is_word(args),
            OpKind::Forget => args.iter().all(|replica| replica.len() == 12),
            OpKind::Refused => args.len() == 1,
            OpKind::Script => keys_count(args).is_some() && args.get(0) == b"w",
            OpKind::Outcome => {
                args.len() >= self.what_at()
                    && said::is_sound(self.said())
                    && effects::are_triples(args.from(self.what_at()))
            }
            OpKind::Commands => {
                args.len() >= self.what_at()
                    && said::is_sound(self.said())
                    && args.from(self.what_at()).iter().all(|bytes| {
                        split_first(bytes).is_ok_and(|(op, rest)| {
                            rest.is_empty() && op.head.kind == OpKind::Write
                        })
                    })
            }
            OpKind::Check | OpKind::Fence => args.len() == 2 && args.get(1).len() == 8,
            OpKind::Expect => {
                args.len() == 2
                    && split_first(args.get(0))
                        .is_ok_and(|(op, rest)| rest.is_empty() && op.head.kind == OpKind::Read)
            }
            OpKind::Overdue => args
                .iter()
                .all(|name| name.len() == super::overdue::NAME_BYTES),
            OpKind::TakeOver => args.len() == 1 && args.get(0).len() == TX_ID_BYTES,
            OpKind::Finish => {
                args.len() == 2
                    && args.get(0).len() == TX_ID_BYTES
                    && matches!(args.get(1), b"c" | b"a")
            }
            OpKind::Prevent => {
                args.len() == 2 && args.get(0).len() == TX_ID_BYTES && args.get(1).len() == 8
            }
            OpKind::Release => args.iter().all(|id| id.len() == TX_ID_BYTES),
            OpKind::Reserve => {
                is_reserve_head(args)
                    && args.iter().skip(RESERVE_HEAD_ARGS).all(|bytes| {
                        split_first(bytes).is_ok_and(|(op, rest)| {
                            rest.is_empty()
                                && matches!(
                                    op.head.kind,
                                    OpKind::Write
                                        | OpKind::Read
                                        | OpKind::Effects
                                        | OpKind::Check
                                        | OpKind::Expect
                                        | OpKind::Fence
                                        | OpKind::TakeOver
                                )
                        })
                    })
            }
            OpKind::Effects => effects::are_triples(args),
            OpKind::Multi => args.iter().all(|bytes| {
                split_first(bytes).is_ok_and(|(op, rest)| {
                    rest.is_empty()
                        && match op.head.kind {
                            OpKind::Write | OpKind::Read | OpKind::Flush | OpKind::Check => true,
                            // A multi in a multi would nest without end.
                            OpKind::Multi
                            | OpKind::Internal
                            | OpKind::Evict
                            | OpKind::Forget
                            | OpKind::Refused
                            | OpKind::Script
                            | OpKind::Outcome
                            | OpKind::Commands
                            | OpKind::Settle
                            | OpKind::Silent
                            | OpKind::LockWord
                            | OpKind::Reserve
                            | OpKind::Finish
                            | OpKind::Prevent
                            | OpKind::Release
                            | OpKind::Fence
                            | OpKind::Expect
                            | OpKind::TakeOver
                            | OpKind::Overdue
                            | OpKind::Effects => false,
                        }
                })
            }),
        }
    }
}

/// Bytes that are no operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpError {
    /// Cut short, or longer than it says.
    #[error("operation has a wrong length")]
    Length,
    /// A kind that this version does not know.
    #[error("operation has unknown kind {0}")]
    Kind(u8),
    /// A numbered database that there is none of.
    #[error("operation has database {0}")]
    Database(u8),
    /// Arguments that its kind does not have, or something where zero must be.
    #[error("operation's parts do not fit its kind")]
    Shape,
}

/// Makes argument `at` of the operation that `bytes` begin with one that is no number, of the same length.
///
/// # Panics
/// If there is no such argument.
pub(super) fn spoil_argument(bytes: &mut [u8], at: usize) {
    let number_at = |place: usize| {
        let number = bytes[place..place + 4].try_into().expect("four bytes");
        u32::from_le_bytes(number) as usize
    };
    let count = number_at(HEAD_BYTES - 4);
    assert!(at < count, "argument {at} of {count}");
    let length_of = |argument: usize| number_at(HEAD_BYTES + 4 * argument);
    let start = HEAD_BYTES + 4 * count + (0..at).map(length_of).sum::<usize>();
    let end = start + length_of(at);
    bytes[start..end].fill(b'x');
}

/// Appends an operation to `out`; returns its length in bytes.
///
/// # Panics
/// If it has more than 4 GiB: the caller refuses what exceeds [`OP_BYTES_MAX`].
pub fn encode<'a>(
    out: &mut Vec<u8>,
    head: OpHead,
    args: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
) -> usize {
    let at = out.len();
    out.extend_from_slice(&[head.kind as u8, head.db, head.flags.0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&head.seq.to_le_bytes());
    out.extend_from_slice(&head.after.to_le_bytes());
    out.extend_from_slice(&(args.len() as u32).to_le_bytes());
    for argument in args.clone() {
        out.extend_from_slice(&(argument.len() as u32).to_le_bytes());
    }
    for argument in args {
        out.extend_from_slice(argument);
    }
    let length = out.len() - at;
    let field = u32::try_from(length).expect("bounded by OP_BYTES_MAX");
    out[at + 4..at + 8].copy_from_slice(&field.to_le_bytes());
    length
}

/// How long an operation of these arguments is, bytes.
pub fn encoded_bytes<'a>(args: impl ExactSizeIterator<Item = &'a [u8]>) -> usize {
    HEAD_BYTES + 4 * args.len() + args.map(<[u8]>::len).sum::<usize>()
}

/// Reads the operation at the front of `bytes`; returns it and what follows it. Costs a look at each argument's length.
///
/// # Errors
/// A line each of [`OpError`]; nothing is allocated on the word of a count that the bytes do not bear out.
pub fn split_first(bytes: &[u8]) -> Result<(Op<'_>, &[u8]), OpError> {
    let head = bytes.first_chunk::<HEAD_BYTES>().ok_or(OpError::Length)?;
    let length = word(head, 4) as usize;
    let (bytes, rest) = bytes.split_at_checked(length).ok_or(OpError::Length)?;
    let kind = OpKind::from_byte(head[0]).ok_or(OpError::Kind(head[0]))?;
    let db = head[1];
    if db >= DATABASES && !(kind == OpKind::Flush && db == ALL_DATABASES) {
        return Err(OpError::Database(db));
    }
    let count = word(head, 24) as usize;
    let lengths = count
        .checked_mul(4)
        .and_then(|size| bytes.get(HEAD_BYTES..HEAD_BYTES.checked_add(size)?))
        .ok_or(OpError::Length)?;
    let mut spans = SmallVec::with_capacity(count);
    let mut start = HEAD_BYTES + lengths.len();
    for field in lengths.as_chunks::<4>().0 {
        let len = u32::from_le_bytes(*field);
        let end = start + len as usize;
        if end > bytes.len() {
            return Err(OpError::Length);
        }
        spans.push(Span {
            start: start as u32,
            len,
        });
        start = end;
    }
    if start != bytes.len() {
        return Err(OpError::Length);
    }
    let op = Op {
        head: OpHead {
            kind,
            db,
            flags: OpFlags(head[2]),
            seq: long(head, 8),
            after: long(head, 16),
        },
        bytes,
        spans,
    };
    let locks = OpFlags::LOCKS.0 & head[2] != 0;
    let unknown = match kind {
        OpKind::Effects => !15,
        OpKind::Outcome | OpKind::Commands => !23,
        _ => !7,
    };
    if head[2] & unknown != 0 || locks && kind != OpKind::Evict || head[3] != 0 || !op.is_sound() {
        return Err(OpError::Shape);
    }
    Ok((op, rest))
}

/// Whether an operation in a log can be applied: its kind belongs there, its command is one on data.
pub(crate) fn is_applicable(op: &Op<'_>) -> bool {
    match op.head.kind {
        OpKind::Write | OpKind::Read => {
            commands::check(op.args()).is_ok_and(|row| matches!(row.run, Run::Data(_)))
        }
        OpKind::Multi | OpKind::Reserve => op.nested().all(|nested| {
            let is_condition = matches!(
                nested.head.kind,
                OpKind::Check | OpKind::Fence | OpKind::TakeOver
            );
            is_condition || is_applicable(&nested)
        }),
        OpKind::Expect => is_applicable(&op.expected().0),
        OpKind::Flush
        | OpKind::Evict
        | OpKind::Forget
        | OpKind::Effects
        | OpKind::Refused
        | OpKind::Settle
        | OpKind::Silent
        | OpKind::LockWord
        | OpKind::Outcome
        | OpKind::Commands
        | OpKind::Finish
        | OpKind::Prevent
        | OpKind::Overdue
        | OpKind::Release => true,
        OpKind::Internal | OpKind::Check | OpKind::Fence | OpKind::TakeOver | OpKind::Script => {
            false
        }
    }
}

/// Number, `after` and length of the operation at the front of bytes that were made by [`encode`] here.
pub(crate) fn peek(bytes: &[u8]) -> (u64, u64, usize) {
    let head = bytes
        .first_chunk::<HEAD_BYTES>()
        .expect("an operation of our own");
    (long(head, 8), long(head, 16), word(head, 4) as usize)
}

/// Database and first key of a write, most likely, of the operation at the front of any bytes; and what
/// follows it. For hints.
pub(crate) fn peek_key(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let head = bytes.first_chunk::<HEAD_BYTES>()?;
    let (op, rest) = bytes.split_at_checked(word(head, 4) as usize)?;
    let count = word(head, 24) as usize;
    let lengths = op.get(HEAD_BYTES..)?.first_chunk::<8>()?;
    let length = |at: usize| {
        let field = lengths[at..at + 4].try_into().expect("4 bytes");
        u32::from_le_bytes(field) as usize
    };
    let start = HEAD_BYTES + 4 * count + length(0);
    let key = op.get(start..start + length(4))?;
    (count >= 2 && head[1] < DATABASES).then_some((head[1], key, rest))
}

fn word(head: &[u8; HEAD_BYTES], at: usize) -> u32 {
    u32::from_le_bytes(head[at..at + 4].try_into().expect("4 bytes of the head"))
}

fn long(head: &[u8; HEAD_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(head[at..at + 8].try_into().expect("8 bytes of the head"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(kind: OpKind) -> OpHead {
        OpHead {
            kind,
            db: 3,
            flags: OpFlags::RESP3,
            seq: 7,
            after: 5,
        }
    }

    fn bytes_of(head: OpHead, args: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&mut out, head, args.iter().copied());
        out
    }

    #[test]
    fn the_layout_is_as_drawn() {
        // Breaks if nodes of one version would not read each other's operations.
        let head = OpHead {
            kind: OpKind::Write,
            db: 0,
            flags: OpFlags::NONE,
            seq: 7,
            after: 0,
        };
        let bytes = bytes_of(head, &[b"DEL", b"a"]);
        assert_eq!(bytes[..8], [1, 0, 0, 0, 40, 0, 0, 0]);
        assert_eq!(bytes[24..], *b"\x02\0\0\0\x03\0\0\0\x01\0\0\0DELa");
        assert_eq!(peek(&bytes), (7, 0, bytes.len()));
    }

    #[test]
    fn what_its_kind_does_not_have_is_refused() {
        // Breaks if a peer's bytes could make the state machine panic later.
        let refused = |kind, args: &[&[u8]]| {
            let bytes = bytes_of(head(kind), args);
            split_first(&bytes).expect_err("unsound")
        };
        assert_eq!(refused(OpKind::Write, &[]), OpError::Shape);
        assert_eq!(refused(OpKind::Flush, &[b"x"]), OpError::Shape);
        assert_eq!(refused(OpKind::Check, &[b"k", b"1234567"]), OpError::Shape);
        assert_eq!(refused(OpKind::Forget, &[b"1234567"]), OpError::Shape);
        assert_eq!(refused(OpKind::Multi, &[b"junk"]), OpError::Shape);
        let multi = bytes_of(head(OpKind::Multi), &[]);
        assert_eq!(refused(OpKind::Multi, &[&multi]), OpError::Shape);
        let mut other_db = bytes_of(head(OpKind::Write), &[b"GET"]);
        other_db[1] = 16;
        assert_eq!(split_first(&other_db).unwrap_err(), OpError::Database(16));
    }

    #[test]
    fn a_multi_gives_back_what_it_was_made_of() {
        // Breaks if EXEC would run other commands than were queued.
        let one = bytes_of(head(OpKind::Write), &[b"SET", b"k", b"v"]);
        let two = bytes_of(head(OpKind::Check), &[b"k", b"12345678"]);
        let multi = bytes_of(head(OpKind::Multi), &[&one, &two]);
        let (op, rest) = split_first(&multi).unwrap();
        assert!(rest.is_empty());
        let nested: Vec<Op<'_>> = op.nested().collect();
        assert_eq!(nested[0].args().get(2), b"v");
        assert_eq!(nested[1].head.kind, OpKind::Check);
        assert_eq!(nested.len(), 2);
    }

    proptest! {
        #[test]
        fn decoding_gives_back_what_was_encoded(
            args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..12),
            seq: u64,
            tail in prop::collection::vec(any::<u8>(), 0..9),
        ) {
            // Breaks if a command's arguments changed on their way through the log.
            let head = OpHead { seq, ..head(OpKind::Write) };
            let slices: Vec<&[u8]> = args.iter().map(|arg| &arg[..]).collect();
            let mut bytes = bytes_of(head, &slices);
            prop_assert_eq!(bytes.len(), encoded_bytes(slices.iter().copied()));
            bytes.extend_from_slice(&tail);
            let (op, rest) = split_first(&bytes).unwrap();
            prop_assert_eq!(rest, &tail[..]);
            prop_assert_eq!(op.head, head);
            prop_assert_eq!(op.args().iter().collect::<Vec<_>>(), slices);
        }

        #[test]
        fn broken_bytes_are_errors(
            mut bytes in prop::collection::vec(any::<u8>(), 0..80),
            kind in 0u8..17,
            length in 0u32..90,
            count in 0u32..20,
        ) {
            // Breaks if a peer's garbage could panic or take memory that it does not bear out.
            if bytes.len() >= HEAD_BYTES {
                bytes[0] = kind;
                bytes[1] &= 15;
                bytes[2] &= 3;
                bytes[3] = 0;
                bytes[4..8].copy_from_slice(&length.to_le_bytes());
                bytes[24..28].copy_from_slice(&count.to_le_bytes());
            }
            let _ = split_first(&bytes).map(|(op, _)| op.nested().count());
        }
    }
}
