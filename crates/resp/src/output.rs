//! A connection's output: small replies in one vector, large values as shared chunks between them.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Capacity that [`Output::shrink`] leaves; more than most batches of replies need.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// Written bytes at the tail's front are moved out once there are this many of them, and at least
/// as many as the unwritten ones: each byte is moved at most once on average.
const WRITTEN_BYTES_MAX: usize = 64 * 1024;

/// Bytes that wait to be written to a socket, in order.
///
/// ```text
///   tail    | written | $3\r\nfoo\r\n$70000\r\n | \r\n:1\r\n |
///   shared                                       ^ 70000 bytes, not copied
/// ```
///
/// - Positions in `tail` are kept as offsets in the stream of all tail bytes ever pushed, so they
///   stay good when written bytes are moved out of the vector.
/// - `shared` is ordered by position, and no chunk in it is empty.
/// - It has no bound of its own: whoever writes replies watches [`len`](Self::len) and applies the
///   client's output limit.
#[derive(Debug, Default)]
pub struct Output {
    tail: Vec<u8>,
    /// Bytes at the front of `tail` that the socket has taken.
    tail_written: usize,
    /// Stream offset of `tail[0]`.
    tail_base: u64,
    shared: VecDeque<Shared>,
    /// Chunks ever taken from the front of `shared`.
    shared_written: u64,
    /// Sum of the chunks' lengths.
    shared_bytes: usize,
}

#[derive(Debug)]
struct Shared {
    /// Stream offset of the tail byte that follows this chunk.
    at: u64,
    bytes: Bytes,
}

/// A place in an [`Output`], good while nothing before it is rewound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    tail: u64,
    shared: u64,
}

impl Output {
    /// Nothing pending, nothing allocated.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes pending.
    #[inline]
    pub fn len(&self) -> usize {
        self.tail.len() - self.tail_written + self.shared_bytes
    }

    /// Whether nothing is pending.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The place where the next byte will go.
    #[inline]
    pub fn mark(&self) -> Mark {
        Mark {
            tail: self.tail_base + self.tail.len() as u64,
            shared: self.shared_written + self.shared.len() as u64,
        }
    }

    /// Drops all that was written since the mark. Panics if the socket has taken some of it.
    pub fn rewind(&mut self, mark: Mark) {
        let tail_len = self.tail_offset(mark.tail);
        assert!(
            tail_len >= self.tail_written && mark.shared >= self.shared_written,
            "output after the mark has been written to the socket"
        );
        self.tail.truncate(tail_len);
        let kept = (mark.shared - self.shared_written) as usize;
        for dropped in self.shared.drain(kept..) {
            self.shared_bytes -= dropped.bytes.len();
        }
    }

    /// The first byte since the mark, if there is any: `b'-'` tells an error reply.
    pub fn since(&self, mark: Mark) -> Option<u8> {
        let kept = mark.shared.checked_sub(self.shared_written)? as usize;
        if let Some(chunk) = self.shared.get(kept)
            && chunk.at == mark.tail
        {
            return chunk.bytes.first().copied();
        }
        self.tail.get(self.tail_offset(mark.tail)).copied()
    }

    /// The bytes appended since the mark, without shared chunks: all of an error reply.
    pub fn tail_since(&self, mark: Mark) -> &[u8] {
        &self.tail[self.tail_offset(mark.tail)..]
    }

    /// The vector to append bytes to. Only append: what is already in it has its place among the
    /// shared chunks.
    #[inline]
    pub fn tail_mut(&mut self) -> &mut Vec<u8> {
        &mut self.tail
    }

    /// Appends a chunk without a copy. It keeps the chunk's memory alive until it is written.
    pub fn push_shared(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.shared_bytes += bytes.len();
        self.shared.push_back(Shared {
            at: self.tail_base + self.tail.len() as u64,
            bytes,
        });
    }

    /// All pending bytes, if no shared chunk is among them: most batches of replies.
    #[inline]
    pub fn as_one_slice(&self) -> Option<&[u8]> {
        self.shared
            .is_empty()
            .then(|| &self.tail[self.tail_written..])
    }

    /// Fills `out` with the pending bytes in order, as far as it reaches; returns how many slices
    /// were filled. None of them is empty.
    pub fn io_slices<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        let mut position = self.tail_written;
        let mut push = |slice: &'a [u8]| {
            if slice.is_empty() {
                return true;
            }
            let Some(place) = out.get_mut(filled) else {
                return false;
            };
            *place = IoSlice::new(slice);
            filled += 1;
            true
        };
        for chunk in &self.shared {
            let at = self.tail_offset(chunk.at);
            if !push(&self.tail[position..at]) || !push(&chunk.bytes) {
                return filled;
            }
            position = at;
        }
        push(&self.tail[position..]);
        filled
    }

    /// Forgets the first `written` bytes: the socket has taken them. Panics if fewer are pending.
    pub fn advance(&mut self, written: usize) {
        assert!(written <= self.len(), "more written than was pending");
        let mut left = written;
        while left > 0 {
            let tail_end = match self.shared.front() {
                Some(chunk) => self.tail_offset(chunk.at),
                None => self.tail.len(),
            };
            let from_tail = left.min(tail_end - self.tail_written);
            self.tail_written += from_tail;
            left -= from_tail;
            if left > 0 {
                left -= self.advance_shared(left);
            }
        }
        self.drop_written();
    }

    /// Moves all that is pending in `other` to the end of this, and leaves `other` empty. Small
    /// bytes are copied, chunks are not. Marks of `other` are void then.
    pub fn append(&mut self, other: &mut Output) {
        if self.memory_bytes() == 0 && other.tail_written == 0 {
            // A fresh output takes the other's memory instead of copying from it.
            self.tail = std::mem::take(&mut other.tail);
            self.shared_bytes = std::mem::take(&mut other.shared_bytes);
            for chunk in std::mem::take(&mut other.shared) {
                self.shared.push_back(Shared {
                    at: self.tail_base + (chunk.at - other.tail_base),
                    bytes: chunk.bytes,
                });
            }
            return;
        }
        let mut position = other.tail_written;
        for chunk in std::mem::take(&mut other.shared) {
            let at = (chunk.at - other.tail_base) as usize;
            self.tail.extend_from_slice(&other.tail[position..at]);
            self.push_shared(chunk.bytes);
            position = at;
        }
        self.tail.extend_from_slice(&other.tail[position..]);
        other.tail_written = other.tail.len();
        other.shared_bytes = 0;
        other.drop_written();
    }

    /// Moves what is pending before the mark to the end of `to`. Small bytes are copied, chunks are not. Marks
    /// before this one are void then. Panics if what is before the mark was moved or written already.
    pub fn move_front(&mut self, until: Mark, to: &mut Output) {
        let end = self.tail_offset(until.tail);
        let mut position = self.tail_written;
        while self.shared_written < until.shared {
            let chunk = self
                .shared
                .pop_front()
                .expect("chunks before the mark are pending");
            self.shared_written += 1;
            self.shared_bytes -= chunk.bytes.len();
            let at = self.tail_offset(chunk.at);
            to.tail.extend_from_slice(&self.tail[position..at]);
            to.push_shared(chunk.bytes);
            position = at;
        }
        to.tail.extend_from_slice(&self.tail[position..end]);
        self.tail_written = end;
        self.drop_written();
    }

    /// All pending bytes in one piece: without a copy if no shared chunk is among them.
    pub fn into_bytes(mut self) -> Bytes {
        if self.shared.is_empty() {
            let mut bytes = Bytes::from(self.tail);
            bytes.advance(self.tail_written);
            return bytes;
        }
        let mut whole = Vec::with_capacity(self.len());
        while !self.is_empty() {
            let mut slices = [IoSlice::new(&[]); 16];
            let filled = self.io_slices(&mut slices);
            let before = whole.len();
            for slice in &slices[..filled] {
                whole.extend_from_slice(slice);
            }
            self.advance(whole.len() - before);
        }
        Bytes::from(whole)
    }

    /// All pending bytes in order, as pieces of the memory that they are in: nothing is copied.
    pub fn into_pieces(mut self) -> Vec<Bytes> {
        let mut position = self.tail_written;
        let tail = Bytes::from(std::mem::take(&mut self.tail));
        let mut pieces = Vec::with_capacity(2 * self.shared.len() + 1);
        for chunk in self.shared {
            let at = (chunk.at - self.tail_base) as usize;
            pieces.push(tail.slice(position..at));
            pieces.push(chunk.bytes);
            position = at;
        }
        pieces.push(match position {
            0 => tail,
            _ => tail.slice(position..),
        });
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }

    /// Gives back the memory that a large reply took, once it has been written. Cheap when there
    /// is nothing to give back, so it may be called after every batch.
    pub fn shrink(&mut self) {
        if self.tail.capacity() > KEPT_BYTES_MAX && self.tail.len() <= KEPT_BYTES_MAX {
            self.tail.shrink_to(KEPT_BYTES_MAX);
        }
        if self.shared.is_empty() && self.shared.capacity() > 64 {
            self.shared = VecDeque::new();
        }
    }

    /// Bytes of memory that this keeps, shared chunks counted in full.
    pub fn memory_bytes(&self) -> usize {
        self.tail.capacity() + self.shared.capacity() * size_of::<Shared>() + self.shared_bytes
    }

    #[inline]
    fn tail_offset(&self, stream_offset: u64) -> usize {
        stream_offset
            .checked_sub(self.tail_base)
            .expect("the place has been written to the socket") as usize
    }

    /// Takes up to `bytes_max` bytes off the first chunk; returns how many.
    fn advance_shared(&mut self, bytes_max: usize) -> usize {
        let chunk = self
            .shared
            .front_mut()
            .expect("pending bytes that are not in the tail are in a chunk");
        let taken = bytes_max.min(chunk.bytes.len());
        if taken == chunk.bytes.len() {
            self.shared.pop_front();
            self.shared_written += 1;
        } else {
            chunk.bytes.advance(taken);
        }
        self.shared_bytes -= taken;
        taken
    }

    /// Makes room at the tail's front.
    fn drop_written(&mut self) {
        if self.tail_written == self.tail.len() {
            self.tail.clear();
        } else if self.tail_written >= WRITTEN_BYTES_MAX && self.tail_written * 2 >= self.tail.len()
        {
            self.tail.drain(..self.tail_written);
        } else {
            return;
        }
        self.tail_base += self.tail_written as u64;
        self.tail_written = 0;
    }
}

#[cfg(test)]
mod tests;
