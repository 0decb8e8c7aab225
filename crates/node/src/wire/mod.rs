//! The bytes between nodes: messages, and the frames that carry them over a link.
//!
//! Version 3, integers little endian. A **frame** is what is written to a link at once:
//!
//! ```text
//! offset  size  what
//!      0     4  length of the frame from offset 8 on
//!      4     4  crc32 of what is from offset 28 on, then of offsets 8..28
//!      8     2  version, 2
//!     10     2  class of the link: 0 fast, 1 bulk
//!     12     4  count of messages
//!     16     8  sequence: 0, 1, 2 … on one connection
//!     24     4  zero
//!     28     …  messages
//! ```
//!
//! A frame has at most [`FRAME_BYTES_MAX`] bytes, unless it holds one message alone, which has at most
//! [`MESSAGE_BYTES_MAX`]. A **message**:
//!
//! ```text
//!      0     4  length of what follows
//!      4     1  kind
//!      5     …  body
//! ```
//!
//! | kind | message | body |
//! |---|---|---|
//! | 1…16 | between replicas | group u32, generation u32, from replica, to replica, then by kind (`wire/replicas.rs`) |
//! | 32 | forward | group u32, origin replica, done_seq u64, ops to the end |
//! | 33 | forward reply | group u32, origin replica, count u32, count × (kind u8, number u64, reply bytes) (`wire/answers.rs`) |
//! | 34 | forward refused | group u32, known u8, leader u32 |
//! | 35 | node beat | sent_us u64, epoch u64, room u64, listens u8, count u32, count × (group u32, ballot) |
//! | 36 | publish | call u64, kind u8, has place u8, if so group u32, generation u32, index u64, ordinal u32, channel bytes, payload to the end |
//! | 37 | called | call u64, integer i64 |
//! | 38 | changed | node u32, client u64, count u32, count × (db u8, kind u8, key bytes, for an event: class u16, name bytes) |
//! | 39 | meta | to the end |
//! | 40 | touched | group u32, log_ms u64, count u32, count × (db u8, key bytes) |
//! | 41 | lock ask | group u32, origin replica, sent_us u64, count u32, count × (db u8, number u64, key bytes), count u32, count × the same |
//! | 42 | lock told | group u32, origin replica, sent_us u64, count u32, count × (number u64, fence u64), count u32, count × (number u64), count u32, count × the same |
//!
//! A replica is node u32, incarnation u64; a ballot is round u64, replica; bytes are length u32 and the bytes.
//! Example, `Called { call: 7, integer: 2 }`: `11 00 00 00  25  07 00 00 00 00 00 00 00  02 00 00 00 00 00 00 00`.
//!
//! What is decoded shares the memory that it was read into, so a log that keeps one small payload would keep a whole
//! read buffer. Messages with payloads that are kept long are therefore copied as a whole (one allocation) below
//! [`SLICED_BYTES_MIN`], and sliced above.
//!
//! Reading order: `message` (what is said), `answers`, `codec` (integers and bytes), `replicas`, `encode`, `decode`, `frame`.

mod answers;
mod codec;
mod decode;
mod encode;
mod frame;
mod message;
mod replicas;
#[cfg(test)]
mod tests;

pub use answers::{Answer, AnswerBuffer, AnswerMark, Answers, Begun, JoinedAnswers};
pub use codec::WireError;
pub use decode::decode;
pub use encode::{Encoded, encode};
pub use frame::{Class, Frame, FrameHead, FrameReader, HEAD_BYTES, PushError};
pub use message::{
    Called, Changed, Expect, Expected, Forward, ForwardRefused, ForwardReply, KeyChange,
    KeyChangeKind, ListensTo, LockAsk, LockTold, MISSED, NodeBeat, PeerMessage, Place, Publish,
    PublishKind, Ready, RequestKind, Touched,
};

/// The version that this code writes and reads.
pub const VERSION: u16 = 10;
/// Bytes of a frame of several messages.
pub const FRAME_BYTES_MAX: usize = 32 << 20;
/// Bytes of one message, its length included: more than a log entry with the largest value that a client may send.
pub const MESSAGE_BYTES_MAX: usize = 1 << 30;
/// Payloads from this size on are neither copied into a frame nor out of it.
pub const SHARED_BYTES_MIN: usize = 4096;
/// Messages from this size on are sliced from the read buffer even if their payloads are kept.
pub const SLICED_BYTES_MIN: usize = 16 << 10;
