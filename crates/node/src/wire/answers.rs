//! Answers to forwarded requests, kept as the bytes that they are in a message: whoever works them out writes each
//! straight to its place, and whoever gets them reads each where it lies. There are thousands in one message under load.
//!
//! ```text
//! offset  size  what
//!      0     1  what was asked: 0 a write, 1 a read
//!      1     8  a write's sequence number, a read's id
//!      9     4  length of the reply
//!     13     …  the reply, as it goes to the client; empty: the request waits for a transaction
//! ```

use super::codec::Writer;
use super::{RequestKind, SHARED_BYTES_MIN, WireError};
use bytes::Bytes;
use resp::{Mark, Output};

/// Bytes ahead of a reply.
const ANSWER_HEAD_BYTES: usize = 13;

/// Answers that are being written.
#[derive(Debug, Default)]
pub struct AnswerBuffer {
    count: u32,
    body: Output,
}

/// An answer whose reply is being written.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    /// Where its length is.
    at: usize,
    /// The buffer's bytes ahead of its reply.
    bytes: usize,
}

/// A place between two answers of an [`AnswerBuffer`].
#[derive(Clone, Copy, Debug)]
pub struct AnswerMark {
    count: u32,
    body: Mark,
}

impl AnswerBuffer {
    /// None yet, with room for `bytes` of them.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut body = Output::new();
        body.tail_mut().reserve(bytes);
        AnswerBuffer { count: 0, body }
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> usize {
        self.body.len()
    }

    /// Begins an answer; its reply is what is written to [`AnswerBuffer::reply_mut`] until [`AnswerBuffer::end`].
    #[inline]
    pub fn begin(&mut self, kind: RequestKind, number: u64) -> Begun {
        let tail = self.body.tail_mut();
        let mut head = [0; ANSWER_HEAD_BYTES];
        head[0] = match kind {
            RequestKind::Write => 0,
            RequestKind::Read => 1,
        };
        head[1..9].copy_from_slice(&number.to_le_bytes());
        tail.extend_from_slice(&head);
        Begun {
            at: tail.len() - 4,
            bytes: self.body.len(),
        }
    }

    /// Where the reply of the answer that was begun goes. Only append.
    #[inline]
    pub fn reply_mut(&mut self) -> &mut Output {
        &mut self.body
    }

    /// The reply is written.
    ///
    /// # Panics
    /// If it has more than 4 GiB.
    #[inline]
    pub fn end(&mut self, begun: Begun) {
        let length = u32::try_from(self.body.len() - begun.bytes).expect("no reply is that long");
        self.body.tail_mut()[begun.at..begun.at + 4].copy_from_slice(&length.to_le_bytes());
        self.count += 1;
    }

    /// Adds an answer whose reply is copied.
    #[inline]
    pub fn push(&mut self, kind: RequestKind, number: u64, reply: &[u8]) {
        let begun = self.begin(kind, number);
        self.body.tail_mut().extend_from_slice(reply);
        self.end(begun);
    }

    /// The same with a reply that is shared, if it is long.
    pub fn push_shared(&mut self, kind: RequestKind, number: u64, reply: Bytes) {
        if reply.len() < SHARED_BYTES_MIN {
            return self.push(kind, number, &reply);
        }
        let begun = self.begin(kind, number);
        self.body.push_shared(reply);
        self.end(begun);
    }

    /// The place behind those that are there.
    pub fn mark(&self) -> AnswerMark {
        AnswerMark {
            count: self.count,
            body: self.body.mark(),
        }
    }

    /// Takes back those behind a place.
    pub fn rewind(&mut self, mark: AnswerMark) {
        self.body.rewind(mark.body);
        self.count = mark.count;
    }

    /// No more is added.
    pub fn finish(self) -> Answers {
        Answers {
            count: self.count,
            pieces: self.body.into_pieces(),
        }
    }
}

/// Answers of one message. They are equal if their bytes are.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    count: u32,
    /// In one piece, unless they were made here and some are long.
    pieces: Vec<Bytes>,
}

/// The answer to one forwarded request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// What was asked.
    pub kind: RequestKind,
    /// A write's sequence number, a read's id.
    pub number: u64,
    /// The reply, as it goes to the client.
    pub reply: &'a [u8],
}

impl Answers {
    /// How many there are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Puts them in one piece, if they are not: without a copy where they came in a message.
    pub fn joined(mut self) -> JoinedAnswers {
        let bytes = match self.pieces.len() {
            0 => Bytes::new(),
            1 => self.pieces.remove(0),
            _ => self.pieces.concat().into(),
        };
        JoinedAnswers { bytes }
    }

    /// Appends the count and all of them.
    pub(super) fn encode(&self, out: &mut Writer<'_>) {
        out.u32(self.count);
        self.pieces.iter().for_each(|piece| out.rest(piece));
    }

    /// `count` answers that are all of `bytes`.
    ///
    /// # Errors
    /// They are not; `kind` is the message's.
    pub(super) fn decode(count: u32, bytes: Bytes, kind: u8) -> Result<Self, WireError> {
        let mut rest = &bytes[..];
        for _ in 0..count {
            let head = rest.first_chunk::<ANSWER_HEAD_BYTES>();
            let head = head.ok_or(WireError::Length(kind))?;
            if head[0] > 1 {
                return Err(WireError::Value(kind));
            }
            rest = rest[ANSWER_HEAD_BYTES..]
                .get(reply_bytes(head)..)
                .ok_or(WireError::Length(kind))?;
        }
        match rest.is_empty() {
            true => Ok(Answers {
                count,
                pieces: vec![bytes],
            }),
            false => Err(WireError::Length(kind)),
        }
    }
}

impl PartialEq for Answers {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count && self.clone().joined().bytes == other.clone().joined().bytes
    }
}

impl Eq for Answers {}

/// Answers in one piece of memory.
#[derive(Debug)]
pub struct JoinedAnswers {
    bytes: Bytes,
}

impl JoinedAnswers {
    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Answer<'_>> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let (head, after) = rest.split_first_chunk::<ANSWER_HEAD_BYTES>()?;
            let (reply, after) = after.split_at(reply_bytes(head));
            rest = after;
            Some(Answer {
                kind: match head[0] {
                    0 => RequestKind::Write,
                    _ => RequestKind::Read,
                },
                number: u64::from_le_bytes(head[1..9].try_into().expect("8 bytes")),
                reply,
            })
        })
    }

    /// The reply of one of them in the memory that all share.
    pub fn shared(&self, answer: &Answer<'_>) -> Bytes {
        self.bytes.slice_ref(answer.reply)
    }
}

fn reply_bytes(head: &[u8; ANSWER_HEAD_BYTES]) -> usize {
    u32::from_le_bytes(head[9..].try_into().expect("4 bytes")) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_out_as_they_were_written() {
        // Breaks if a client got the end of another's value, or a long value in the middle shifted those behind it.
        let long = Bytes::from(vec![b'x'; 3 * SHARED_BYTES_MIN]);
        let mut buffer = AnswerBuffer::with_capacity(0);
        buffer.push(RequestKind::Read, 7, b"$1\r\na\r\n");
        let begun = buffer.begin(RequestKind::Read, 8);
        buffer.reply_mut().tail_mut().extend_from_slice(b"<");
        buffer.reply_mut().push_shared(long.clone());
        buffer.reply_mut().tail_mut().extend_from_slice(b">");
        buffer.end(begun);
        let mark = buffer.mark();
        buffer.push_shared(RequestKind::Write, 9, long.clone());
        buffer.rewind(mark);
        buffer.push(RequestKind::Write, 10, b"");
        assert_eq!(buffer.count(), 3);
        let answers = buffer.finish().joined();
        let read: Vec<(RequestKind, u64, usize)> = answers
            .iter()
            .map(|answer| (answer.kind, answer.number, answer.reply.len()))
            .collect();
        let (write, read_kind) = (RequestKind::Write, RequestKind::Read);
        let wanted = [
            (read_kind, 7, 7),
            (read_kind, 8, long.len() + 2),
            (write, 10, 0),
        ];
        assert_eq!(read, wanted);
        let second = answers.iter().nth(1).unwrap();
        assert_eq!(second.reply[0], b'<');
        assert_eq!(answers.shared(&second).as_ptr(), second.reply.as_ptr());
    }

    #[test]
    fn bytes_that_are_no_answers_are_refused() {
        // Breaks if a length that reaches beyond a message made this node read what is not there.
        let mut buffer = AnswerBuffer::with_capacity(0);
        buffer.push(RequestKind::Read, 7, b"+OK\r\n");
        buffer.push(RequestKind::Read, 8, b"+OK\r\n");
        let bytes = buffer.finish().joined().bytes;
        assert!(Answers::decode(2, bytes.clone(), 33).is_ok());
        for cut in 0..bytes.len() {
            assert!(Answers::decode(2, bytes.slice(..cut), 33).is_err(), "{cut}");
        }
        assert!(Answers::decode(1, bytes.clone(), 33).is_err());
        assert!(Answers::decode(3, bytes.clone(), 33).is_err());
        let mut other_kind = bytes.to_vec();
        other_kind[0] = 2;
        assert!(Answers::decode(2, other_kind.into(), 33).is_err());
    }
}
