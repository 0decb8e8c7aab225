//! Frames: filled with messages, sealed, written; and taken out of what was read.

use super::{FRAME_BYTES_MAX, MESSAGE_BYTES_MAX, PeerMessage, VERSION, WireError, decode, encode};
use bytes::{Bytes, BytesMut};
use resp::Output;
use smallvec::SmallVec;
use std::io::IoSlice;

/// Bytes of a frame's head.
pub const HEAD_BYTES: usize = 28;
/// Bytes of the shortest message.
const MESSAGE_BYTES_MIN: usize = 5;

/// What kind of traffic a link carries, so that snapshots hold up nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Everything but …
    Fast = 0,
    /// … snapshots and what lags.
    Bulk = 1,
}

impl Class {
    /// Both.
    pub const ALL: [Class; 2] = [Class::Fast, Class::Bulk];

    /// The class with this number.
    pub fn from_number(number: u8) -> Option<Class> {
        Class::ALL.into_iter().find(|class| *class as u8 == number)
    }
}

/// A frame on its way out: filled, sealed, written, and then empty again with its memory kept.
#[derive(Debug, Default)]
pub struct Frame {
    output: Output,
    count: u32,
    shared_count: usize,
    sealed: bool,
}

impl Frame {
    /// Nothing in it, nothing allocated.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing is in it, or all has been written.
    pub fn is_empty(&self) -> bool {
        self.output.is_empty()
    }

    /// Bytes that are to be written.
    pub fn len(&self) -> usize {
        self.output.len()
    }

    /// How many messages are in it.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Appends a message; returns its bytes. Panics if the frame is sealed and not written.
    ///
    /// # Errors
    /// [`PushError`]; the frame is as before then.
    pub fn push(&mut self, message: &PeerMessage) -> Result<usize, PushError> {
        assert!(!self.sealed, "a sealed frame takes no more");
        if self.count == 0 {
            self.output.tail_mut().resize(HEAD_BYTES, 0);
        }
        let mark = self.output.mark();
        let Ok(encoded) = encode(message, &mut self.output) else {
            if self.count == 0 {
                self.clear();
            }
            return Err(PushError::TooLong);
        };
        if self.count > 0 && self.output.len() > FRAME_BYTES_MAX {
            self.output.rewind(mark);
            return Err(PushError::Full);
        }
        self.shared_count += encoded.shared_count;
        self.count += 1;
        Ok(encoded.bytes)
    }

    /// Completes the head. Nothing can be added until all has been written. Panics if there is no message.
    pub fn seal(&mut self, class: Class, sequence: u64) {
        assert!(
            self.count > 0 && !self.sealed,
            "only a filled frame is sealed"
        );
        let length = self.output.len() - 8;
        let length = u32::try_from(length).expect("frames are bounded by messages' bounds");
        let mut head = [0; HEAD_BYTES];
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[8..10].copy_from_slice(&VERSION.to_le_bytes());
        head[10..12].copy_from_slice(&u16::from(class as u8).to_le_bytes());
        head[12..16].copy_from_slice(&self.count.to_le_bytes());
        head[16..24].copy_from_slice(&sequence.to_le_bytes());
        let mut hasher = crc32fast::Hasher::new();
        let mut slices: SmallVec<[IoSlice<'_>; 16]> = SmallVec::new();
        slices.resize(2 * self.shared_count + 1, IoSlice::new(&[]));
        let filled = self.output.io_slices(&mut slices);
        hasher.update(&slices[0][HEAD_BYTES..]);
        for slice in &slices[1..filled] {
            hasher.update(slice);
        }
        drop(slices);
        hasher.update(&head[8..]);
        head[4..8].copy_from_slice(&hasher.finalize().to_le_bytes());
        self.output.tail_mut()[..HEAD_BYTES].copy_from_slice(&head);
        self.sealed = true;
    }

    /// Whether it is sealed and not yet written to the end.
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// What is to be written, in order, as far as `out` reaches; returns how many slices were filled.
    pub fn io_slices<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        self.output.io_slices(out)
    }

    /// The socket has taken `written` bytes.
    pub fn advance(&mut self, written: usize) {
        self.output.advance(written);
        if self.output.is_empty() {
            self.output.shrink();
            self.count = 0;
            self.shared_count = 0;
            self.sealed = false;
        }
    }

    /// Seals it and takes all that is to be written, for links that are no sockets; it is empty then. Panics if there is no
    /// message.
    pub fn take_bytes(&mut self, class: Class, sequence: u64) -> BytesMut {
        self.seal(class, sequence);
        let mut bytes = BytesMut::with_capacity(self.len());
        while !self.is_empty() {
            let mut slices = [IoSlice::new(&[]); 16];
            let filled = self.io_slices(&mut slices);
            let before = bytes.len();
            slices[..filled]
                .iter()
                .for_each(|slice| bytes.extend_from_slice(slice));
            self.advance(bytes.len() - before);
        }
        bytes
    }

    /// Drops what is in it.
    pub fn clear(&mut self) {
        self.advance(self.output.len());
    }
}

/// Why a frame does not take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// It would be too long with it: the message goes into the next.
    Full,
    /// No frame takes it.
    TooLong,
}

/// What the head of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Bytes of the frame, the head included.
    pub frame_bytes: usize,
    /// Messages in it.
    pub count: u32,
}

/// Takes frames, in sequence, and their messages out of what was read from one connection.
#[derive(Debug)]
pub struct FrameReader {
    class: Class,
    sequence: u64,
    /// What is left of the present frame.
    body: Bytes,
    left: u32,
}

impl FrameReader {
    /// For a fresh connection of a class.
    pub fn new(class: Class) -> Self {
        FrameReader {
            class,
            sequence: 0,
            body: Bytes::new(),
            left: 0,
        }
    }

    /// The next message; none if `buffer` holds no further complete frame.
    ///
    /// # Errors
    /// Bytes that are no frames of this version, in order. The connection can say nothing more that has a meaning.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<PeerMessage>, WireError> {
        if self.left == 0 {
            if !self.body.is_empty() {
                return Err(WireError::Head);
            }
            let Some(head) = self.head(buffer)? else {
                return Ok(None);
            };
            if buffer.len() < head.frame_bytes {
                return Ok(None);
            }
            self.take_frame(buffer, head)?;
        }
        self.left -= 1;
        decode(&mut self.body).map(Some)
    }

    /// How many bytes the frame that is arriving lacks; 0 where that is not known yet.
    pub fn missing_bytes(&self, buffer: &BytesMut) -> usize {
        match self.head(buffer) {
            Ok(Some(head)) => head.frame_bytes.saturating_sub(buffer.len()),
            Ok(None) | Err(_) => 0,
        }
    }

    /// The head at the front of `buffer`, checked as far as it can be alone.
    fn head(&self, buffer: &BytesMut) -> Result<Option<FrameHead>, WireError> {
        let Some(head) = buffer.first_chunk::<HEAD_BYTES>() else {
            return Ok(None);
        };
        let u16_at = |at: usize| u16::from_le_bytes(head[at..at + 2].try_into().expect("2 bytes"));
        let u32_at = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("4 bytes"));
        if u16_at(8) != VERSION {
            return Err(WireError::Version(u16_at(8)));
        }
        let (length, count) = (u32_at(0) as usize, u32_at(12));
        let bytes_max = match count {
            1 => MESSAGE_BYTES_MAX,
            _ => FRAME_BYTES_MAX,
        };
        if length > bytes_max {
            return Err(WireError::TooLong(length));
        }
        let fits = length >= HEAD_BYTES - 8
            && count >= 1
            && count as usize <= (length + 8 - HEAD_BYTES) / MESSAGE_BYTES_MIN;
        if !fits || u16_at(10) != u16::from(self.class as u8) || u32_at(24) != 0 {
            return Err(WireError::Head);
        }
        Ok(Some(FrameHead {
            frame_bytes: length + 8,
            count,
        }))
    }

    fn take_frame(&mut self, buffer: &mut BytesMut, head: FrameHead) -> Result<(), WireError> {
        let frame = buffer.split_to(head.frame_bytes).freeze();
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&frame[HEAD_BYTES..]);
        hasher.update(&frame[8..HEAD_BYTES]);
        if hasher.finalize().to_le_bytes() != frame[4..8] {
            return Err(WireError::Checksum);
        }
        let got = u64::from_le_bytes(frame[16..24].try_into().expect("8 bytes"));
        let wanted = self.sequence;
        if got != wanted {
            return Err(WireError::Sequence { wanted, got });
        }
        self.sequence += 1;
        self.left = head.count;
        self.body = frame.slice(HEAD_BYTES..);
        Ok(())
    }
}
