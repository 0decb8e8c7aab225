//! The request scanner: from a connection's read buffer to the places of all arguments in it.

use crate::args::Span;
use crate::batch::{Batch, Source};
use crate::error::ProtocolError;
use crate::inline;
use crate::number::parse_i64;

/// Spans of a half-arrived request whose memory is kept for the next one.
const KEPT_SPANS_MAX: usize = 1024;

/// Arguments that a client may send in one request before it has authenticated.
const UNAUTHENTICATED_ARGS_MAX: usize = 10;

/// Bytes that an argument may have before the client has authenticated.
const UNAUTHENTICATED_BULK_BYTES_MAX: usize = 16 * 1024;

/// What a request may measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in one argument (`proto-max-bulk-len`); 512 MiB.
    pub bulk_bytes_max: usize,
    /// Bytes in an inline request, and in the header of any length; 64 KiB.
    pub inline_bytes_max: usize,
    /// Arguments in one request; 2^31 - 1 as in Redis since 7.0. Nothing is allocated by it, the
    /// bytes that arrive are the bound.
    pub args_max: usize,
    /// Bytes in one request (`client-query-buffer-limit`); 1 GiB. At most 2 GiB count, so that
    /// every offset is a u32.
    pub request_bytes_max: usize,
    /// Whether the client has shown who it is.
    pub access: Access,
}

/// Whether a client has authenticated. One that has not gets small limits (10 arguments of 16 KiB),
/// so that a stranger cannot fill the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The limits apply as they are.
    Authenticated,
    /// Scan with a `requests_max` of 1 then: the request after an `AUTH` has other limits.
    Unauthenticated,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            bulk_bytes_max: 512 * 1024 * 1024,
            inline_bytes_max: 64 * 1024,
            args_max: i32::MAX as usize,
            request_bytes_max: 1024 * 1024 * 1024,
            access: Access::Authenticated,
        }
    }
}

/// Why a scan came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// All complete requests are in the batch; the rest of the buffer is the start of another.
    NeedMore {
        /// Bytes that are missing to the end of the argument that is arriving, 0 if that is
        /// unknown. It is the client's word: a hint for the next read, never to be allocated
        /// beyond what has arrived already.
        missing: usize,
    },
    /// The batch holds as many requests as were asked for, and the buffer holds more bytes.
    BatchFull,
    /// The next frame is broken. The requests before it are in the batch and are to be answered
    /// before the error is; the scanner is not to be used again.
    Error(ProtocolError),
}

/// Reads requests out of a buffer that grows at its end and shrinks at its front.
///
/// - `position` is where scanning goes on: no byte before it is looked at again.
/// - While `args_left` is not 0, a request that began at `request_start` is half there, and
///   `partial` holds the arguments already found, with offsets from `request_start`.
/// - Bytes from `position` to `searched` hold no end of line.
///
/// So a request that arrives in many pieces costs what it costs in one piece.
#[derive(Debug, Default)]
pub struct Scanner {
    position: usize,
    searched: usize,
    request_start: usize,
    args_left: usize,
    partial: Vec<Span>,
}

/// How a step of the scan went.
enum Step {
    Done,
    NeedMore { missing: usize },
}

impl Scanner {
    /// A scanner at the start of an empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends to `batch` the complete requests of `buffer` that were not scanned before, until
    /// it holds `requests_max` (at least 1). `buffer` is the one of the last call, less what
    /// [`advance`](Self::advance) was told, plus what arrived since. Requests without arguments
    /// (`*0`, blank lines) are passed over, as in Redis.
    pub fn scan(
        &mut self,
        buffer: &[u8],
        limits: &Limits,
        requests_max: usize,
        batch: &mut Batch,
    ) -> Scan {
        assert!(requests_max > 0, "a scan for no request makes no progress");
        // Offsets are u32; what lies beyond is scanned once the caller has dropped the front.
        let buffer = &buffer[..buffer.len().min(u32::MAX as usize)];
        let missing = loop {
            if batch.requests.len() >= requests_max {
                if self.position < buffer.len() {
                    return Scan::BatchFull;
                }
                break 0;
            }
            let step = if self.args_left > 0 {
                self.go_on(buffer, limits, batch)
            } else {
                match buffer.get(self.position) {
                    None => break 0,
                    Some(b'*') => self.multibulk(buffer, limits, batch),
                    Some(_) => self.inline(buffer, limits, batch),
                }
            };
            match step {
                Ok(Step::Done) => {}
                Ok(Step::NeedMore { missing }) => break missing,
                Err(error) => return Scan::Error(error),
            }
        };
        if self.args_left > 0 && buffer.len() - self.request_start > request_bytes_max(limits) {
            return Scan::Error(ProtocolError::TooBigRequest);
        }
        Scan::NeedMore { missing }
    }

    /// Tells that the caller has dropped `consumed` bytes from the buffer's front. Panics if some
    /// of them are not behind the last complete request.
    pub fn advance(&mut self, consumed: usize) {
        let kept_from = if self.args_left > 0 {
            self.request_start
        } else {
            self.position
        };
        assert!(
            consumed <= kept_from,
            "bytes dropped before their request was complete"
        );
        self.position -= consumed;
        self.searched = self.searched.saturating_sub(consumed);
        self.request_start = self.request_start.saturating_sub(consumed);
    }

    /// Heap bytes held for a half-arrived request.
    pub fn heap_bytes(&self) -> usize {
        self.partial.capacity() * size_of::<Span>()
    }

    /// A request that starts at `position` with a `*`.
    #[inline]
    fn multibulk(
        &mut self,
        buffer: &[u8],
        limits: &Limits,
        batch: &mut Batch,
    ) -> Result<Step, ProtocolError> {
        let start = self.position;
        let Some((count, mut at)) = self.args_count(buffer, limits)? else {
            return Ok(Step::NeedMore { missing: 0 });
        };
        let first_span = batch.spans.len();
        let short_bytes_max = limits.bulk_bytes_max.min(UNAUTHENTICATED_BULK_BYTES_MAX);
        for done in 0..count {
            // Most arguments are short and whole; the rest is left to `bulk`.
            if let Some((len, span_start)) = short_length(buffer, at, b'$')
                && let next = span_start + len + 2
                && next <= buffer.len()
                && len <= short_bytes_max
            {
                batch.spans.push(Span {
                    start: span_start as u32,
                    len: len as u32,
                });
                at = next;
                continue;
            }
            match self.bulk(buffer, at, limits)? {
                Bulk::Whole(span, next) => {
                    batch.spans.push(span);
                    at = next;
                }
                Bulk::Part { missing } => {
                    self.args_left = count - done;
                    self.set_aside(start, at, first_span, batch);
                    return Ok(Step::NeedMore { missing });
                }
            }
        }
        self.position = at;
        if count > 0 {
            check_request_bytes(at - start, limits)?;
            batch.push_request(first_span, at, Source::Buffer);
        } else {
            batch.consumed = at;
        }
        Ok(Step::Done)
    }

    /// Keeps the arguments of a request that is half there, from `first_span` of the batch on,
    /// until the rest has arrived.
    #[cold]
    fn set_aside(&mut self, start: usize, at: usize, first_span: usize, batch: &mut Batch) {
        assert!(self.partial.is_empty(), "one request at a time arrives");
        self.position = at;
        self.request_start = start;
        let spans = batch.spans.drain(first_span..);
        self.partial
            .extend(spans.map(|span| moved(span, -(start as i64))));
    }

    /// Goes on with a request that was half there.
    #[inline(never)]
    fn go_on(
        &mut self,
        buffer: &[u8],
        limits: &Limits,
        batch: &mut Batch,
    ) -> Result<Step, ProtocolError> {
        let start = self.request_start;
        while self.args_left > 0 {
            match self.bulk(buffer, self.position, limits)? {
                Bulk::Whole(span, next) => {
                    self.partial.push(moved(span, -(start as i64)));
                    self.position = next;
                    self.args_left -= 1;
                }
                Bulk::Part { missing } => return Ok(Step::NeedMore { missing }),
            }
        }
        check_request_bytes(self.position - start, limits)?;
        let first_span = batch.spans.len();
        let spans = self.partial.drain(..);
        batch
            .spans
            .extend(spans.map(|span| moved(span, start as i64)));
        batch.push_request(first_span, self.position, Source::Buffer);
        if self.partial.capacity() > KEPT_SPANS_MAX {
            self.partial = Vec::new();
        }
        Ok(Step::Done)
    }

    /// A line of words at `position`.
    fn inline(
        &mut self,
        buffer: &[u8],
        limits: &Limits,
        batch: &mut Batch,
    ) -> Result<Step, ProtocolError> {
        let start = self.position;
        let found = self.find(b'\n', buffer, start, limits.inline_bytes_max);
        let line_break = match found {
            Found::At(line_break) => line_break,
            Found::NotYet => return Ok(Step::NeedMore { missing: 0 }),
            Found::TooFar => return Err(ProtocolError::TooBigInline),
        };
        let first_span = batch.spans.len();
        // A carriage return at the line's end is a blank like others.
        let source = inline::split_words(buffer, start, line_break, batch)?;
        self.position = line_break + 1;
        if batch.spans.len() > first_span {
            batch.push_request(first_span, self.position, source);
        } else {
            batch.consumed = self.position;
        }
        Ok(Step::Done)
    }

    /// The count of arguments behind the `*` at `position`, and the offset behind its line; `None`
    /// if the line has not arrived. A negative count is 0.
    #[inline]
    fn args_count(
        &mut self,
        buffer: &[u8],
        limits: &Limits,
    ) -> Result<Option<(usize, usize)>, ProtocolError> {
        let at = self.position;
        let (count, next) = match short_length(buffer, at, b'*') {
            Some(short) => short,
            None => {
                let line_end = match self.find(b'\r', buffer, at, limits.inline_bytes_max) {
                    Found::At(line_end) if line_end + 2 <= buffer.len() => line_end,
                    Found::At(_) | Found::NotYet => return Ok(None),
                    Found::TooFar => return Err(ProtocolError::TooBigMultibulkCount),
                };
                let count = parse_i64(&buffer[at + 1..line_end])
                    .ok_or(ProtocolError::InvalidMultibulkLength)?;
                (usize::try_from(count).unwrap_or(0), line_end + 2)
            }
        };
        if count > limits.args_max {
            return Err(ProtocolError::InvalidMultibulkLength);
        }
        if count > UNAUTHENTICATED_ARGS_MAX && limits.access == Access::Unauthenticated {
            return Err(ProtocolError::UnauthenticatedMultibulkLength);
        }
        Ok(Some((count, next)))
    }

    /// The argument whose header is at `at`.
    #[inline(never)]
    fn bulk(&mut self, buffer: &[u8], at: usize, limits: &Limits) -> Result<Bulk, ProtocolError> {
        let (len, start) = match short_length(buffer, at, b'$') {
            Some(short) => short,
            None => match self.long_bulk_header(buffer, at, limits)? {
                Some(header) => header,
                None => return Ok(Bulk::Part { missing: 0 }),
            },
        };
        if len > limits.bulk_bytes_max {
            return Err(ProtocolError::InvalidBulkLength);
        }
        if len > UNAUTHENTICATED_BULK_BYTES_MAX && limits.access == Access::Unauthenticated {
            return Err(ProtocolError::UnauthenticatedBulkLength);
        }
        let next = start.saturating_add(len).saturating_add(2);
        if next > buffer.len() {
            let missing = next - buffer.len();
            return Ok(Bulk::Part { missing });
        }
        let span = Span {
            start: start as u32,
            len: len as u32,
        };
        Ok(Bulk::Whole(span, next))
    }

    /// As [`short_length`] for a header of any length, with the errors that it can have.
    fn long_bulk_header(
        &mut self,
        buffer: &[u8],
        at: usize,
        limits: &Limits,
    ) -> Result<Option<(usize, usize)>, ProtocolError> {
        let line_end = match self.find(b'\r', buffer, at, limits.inline_bytes_max) {
            Found::At(line_end) if line_end + 2 <= buffer.len() => line_end,
            Found::At(_) | Found::NotYet => return Ok(None),
            Found::TooFar => return Err(ProtocolError::TooBigBulkCount),
        };
        if buffer[at] != b'$' {
            return Err(ProtocolError::ExpectedBulk(buffer[at]));
        }
        let len = parse_i64(&buffer[at + 1..line_end])
            .and_then(|len| usize::try_from(len).ok())
            .ok_or(ProtocolError::InvalidBulkLength)?;
        Ok(Some((len, line_end + 2)))
    }

    /// Finds `wanted` at most `bytes_max` behind `at`, and remembers how far it has looked. As in
    /// Redis, which searches C strings, nothing is found behind a NUL.
    fn find(&mut self, wanted: u8, buffer: &[u8], at: usize, bytes_max: usize) -> Found {
        let from = self.searched.max(at).min(buffer.len());
        let to = buffer
            .len()
            .min(at.saturating_add(bytes_max).saturating_add(1));
        let stop = buffer[from.min(to)..to]
            .iter()
            .position(|byte| *byte == wanted || *byte == 0)
            .map(|offset| from + offset);
        match stop {
            Some(stop) if buffer[stop] == wanted => Found::At(stop),
            _ if buffer.len().saturating_sub(at) > bytes_max => Found::TooFar,
            _ => {
                self.searched = stop.unwrap_or(to);
                Found::NotYet
            }
        }
    }
}

/// Where the end of a line is.
enum Found {
    At(usize),
    NotYet,
    TooFar,
}

/// An argument that is there, with the offset of what follows it, or one that is arriving.
enum Bulk {
    Whole(Span, usize),
    Part { missing: usize },
}

/// The length behind the byte `kind` at `at`, and the offset behind its line, if the line is there
/// and has at most six digits. `None` says nothing but that the long way must be taken.
#[inline(always)]
fn short_length(buffer: &[u8], at: usize, kind: u8) -> Option<(usize, usize)> {
    let line = buffer.get(at..)?;
    if line.len() < 5 || line[0] != kind {
        return None;
    }
    let first = line[1].wrapping_sub(b'0');
    if first > 9 {
        return None;
    }
    if line[2] == b'\r' {
        return Some((first as usize, at + 4));
    }
    if first == 0 {
        return None;
    }
    let mut len = first as usize;
    // The byte behind the one looked at must have arrived too: it ends the line.
    for (i, byte) in line[..line.len().min(8) - 1].iter().enumerate().skip(2) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return (*byte == b'\r').then_some((len, at + i + 2));
        }
        len = len * 10 + digit as usize;
    }
    None
}

/// Bytes that one request may have, with room in a u32 for what precedes it.
fn request_bytes_max(limits: &Limits) -> usize {
    limits.request_bytes_max.min(i32::MAX as usize)
}

fn check_request_bytes(bytes: usize, limits: &Limits) -> Result<(), ProtocolError> {
    if bytes > request_bytes_max(limits) {
        return Err(ProtocolError::TooBigRequest);
    }
    Ok(())
}

/// The span `by` bytes further on.
fn moved(span: Span, by: i64) -> Span {
    Span {
        start: (i64::from(span.start) + by) as u32,
        len: span.len,
    }
}

#[cfg(test)]
mod tests;
