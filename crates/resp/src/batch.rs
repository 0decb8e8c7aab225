//! The requests that one pass of the scanner found.

use crate::args::{Args, Span};

/// Capacity that [`Batch::clear`] keeps, in spans: 256 KiB.
const KEPT_SPANS_MAX: usize = 32 * 1024;

/// Capacity of unescaped inline bytes that [`Batch::clear`] keeps.
const KEPT_UNESCAPED_BYTES_MAX: usize = 64 * 1024;

/// Complete requests of a buffer, in order, as places in it. One is made per connection and used
/// for every read.
///
/// - `requests[i]` owns `spans_count` consecutive entries of `spans`, and those of `i + 1` follow.
/// - A span of an inline request with quotes points into `unescaped`, any other into the buffer.
#[derive(Debug, Default)]
pub struct Batch {
    /// The arguments of all requests, one request after the other.
    pub spans: Vec<Span>,
    /// The requests. None is without arguments.
    pub requests: Vec<Request>,
    /// Bytes from the buffer's start to the end of the last complete request: what the caller may
    /// drop once the requests have been executed.
    pub consumed: usize,
    pub(crate) unescaped: Vec<u8>,
}

/// One complete request of a [`Batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Index of its first argument, the command's name, in the batch's spans.
    pub first_span: u32,
    /// How many arguments, at least 1.
    pub spans_count: u32,
    /// Offset in the buffer of the byte that follows the request.
    pub end: u32,
    /// What its spans point into.
    pub source: Source,
}

/// What a request's spans point into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The read buffer.
    Buffer,
    /// Bytes that the batch holds, because quotes and escapes had to be undone.
    Unescaped,
}

impl Batch {
    /// An empty batch that owns no memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all requests, and keeps the memory unless a very large request had made it grow.
    pub fn clear(&mut self) {
        self.spans.clear();
        self.requests.clear();
        self.unescaped.clear();
        self.consumed = 0;
        if self.spans.capacity() > KEPT_SPANS_MAX {
            self.spans.shrink_to(KEPT_SPANS_MAX);
        }
        if self.requests.capacity() > KEPT_SPANS_MAX {
            self.requests.shrink_to(KEPT_SPANS_MAX);
        }
        if self.unescaped.capacity() > KEPT_UNESCAPED_BYTES_MAX {
            self.unescaped.shrink_to(KEPT_UNESCAPED_BYTES_MAX);
        }
    }

    /// How many requests.
    #[inline]
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether there is no request.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The arguments of request `i`. `buffer` is the one that was scanned, with nothing dropped
    /// from it since. Panics at or beyond `len()`.
    #[inline]
    pub fn args<'a>(&'a self, buffer: &'a [u8], i: usize) -> Args<'a> {
        let request = &self.requests[i];
        let first = request.first_span as usize;
        let spans = &self.spans[first..first + request.spans_count as usize];
        match request.source {
            Source::Buffer => Args::new(buffer, spans),
            Source::Unescaped => Args::new(&self.unescaped, spans),
        }
    }

    /// Takes the spans from `first_span` on as the arguments of a request that ends at `end`.
    #[inline]
    pub(crate) fn push_request(&mut self, first_span: usize, end: usize, source: Source) {
        self.requests.push(Request {
            first_span: first_span as u32,
            spans_count: (self.spans.len() - first_span) as u32,
            end: end as u32,
            source,
        });
        self.consumed = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scanner::{Limits, Scanner};

    #[test]
    fn a_cleared_batch_keeps_a_bounded_memory() {
        // Breaks if a connection holds on to what its largest request took, or to every inline
        // request that it ever sent.
        let mut batch = Batch::new();
        let mut scanner = Scanner::new();
        for _ in 0..3 {
            let line = b"ECHO \"a b\"\r\n".repeat(50_000);
            scanner.scan(&line, &Limits::default(), usize::MAX, &mut batch);
            scanner.advance(batch.consumed);
            assert_eq!(batch.len(), 50_000);
            assert_eq!(batch.args(&line, 0).get(1), b"a b");
            assert_eq!(batch.unescaped.len(), 50_000 * "ECHOa b".len());
            batch.clear();
            assert!(batch.is_empty() && batch.consumed == 0);
            assert!(batch.spans.capacity() <= KEPT_SPANS_MAX);
            assert!(batch.requests.capacity() <= KEPT_SPANS_MAX);
            assert!(batch.unescaped.capacity() <= KEPT_UNESCAPED_BYTES_MAX);
        }
    }
}
