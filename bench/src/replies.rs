//! Counts replies as they stream in, and notices every one that is not what it should be.
//!
//! The load loop knows what each reply must look like, so it needs no tree of frames: a reply is
//! either the expected one (one comparison) or is read byte by byte to say what it was.

use anyhow::{Result, bail};

/// Longest reply line that is kept; Redis's own error texts are far shorter.
const LINE_BYTES_MAX: usize = 512;

/// What every reply of a row must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// `+OK`.
    Ok,
    /// An integer.
    Integer,
    /// A bulk string of this many bytes.
    Bulk(usize),
    /// Any of these: `+OK`, an integer, a bulk string of this many bytes.
    Mixed(usize),
}

/// Where one connection stands within a reply. Chunks may be cut anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Position {
    /// Within a line; what came of it so far is in `line`.
    Line,
    /// Within a bulk string: this many bytes are still to come, CRLF included.
    Bulk(usize),
}

/// Counts one connection's replies.
///
/// - `line` is empty whenever `position` is `Bulk`.
/// - `line` never holds more than [`LINE_BYTES_MAX`] bytes.
#[derive(Debug, Clone)]
pub struct ReplyCounter {
    expected: Expected,
    /// The expected reply's first bytes, and how many bytes of a value with its CRLF follow.
    usual: (Vec<u8>, usize),
    position: Position,
    line: Vec<u8>,
}

impl ReplyCounter {
    /// A counter at the start of a connection's first reply.
    pub fn new(expected: Expected) -> Self {
        let usual = match expected {
            Expected::Ok => (b"+OK\r\n".to_vec(), 0),
            // An integer's digits are not known; `:` alone would skip the check of its line.
            Expected::Integer | Expected::Mixed(_) => (Vec::new(), 0),
            Expected::Bulk(length) => (format!("${length}\r\n").into_bytes(), length + 2),
        };
        Self {
            expected,
            usual,
            position: Position::Line,
            line: Vec::new(),
        }
    }

    /// Takes the next bytes of the connection and returns how many replies ended within them.
    ///
    /// # Errors
    /// A reply that is an error, or of another kind or length than expected: its text.
    pub fn take(&mut self, mut chunk: &[u8]) -> Result<usize> {
        let mut replies_count = 0;
        while !chunk.is_empty() {
            match self.position {
                Position::Bulk(left) => {
                    let taken = left.min(chunk.len());
                    chunk = &chunk[taken..];
                    if taken == left {
                        self.position = Position::Line;
                        replies_count += 1;
                    } else {
                        self.position = Position::Bulk(left - taken);
                    }
                }
                Position::Line if self.line.is_empty() && self.is_usual(chunk) => {
                    chunk = &chunk[self.usual.0.len() + self.usual.1..];
                    replies_count += 1;
                }
                Position::Line => {
                    let (line_part, rest) = match chunk.iter().position(|&byte| byte == b'\n') {
                        Some(end) => chunk.split_at(end + 1),
                        None => (chunk, &chunk[..0]),
                    };
                    chunk = rest;
                    self.line.extend_from_slice(line_part);
                    if self.line.len() > LINE_BYTES_MAX {
                        bail!("a reply's line is longer than {LINE_BYTES_MAX} bytes");
                    }
                    if self.line.ends_with(b"\n") {
                        replies_count += self.end_line()?;
                    }
                }
            }
        }
        Ok(replies_count)
    }

    /// Whether `chunk` starts with the expected reply, whole. A value of another length than its
    /// header says shows in the next header, which then is none.
    fn is_usual(&self, chunk: &[u8]) -> bool {
        let (prefix, value_bytes) = &self.usual;
        !prefix.is_empty() && chunk.len() >= prefix.len() + value_bytes && chunk.starts_with(prefix)
    }

    /// Judges a whole line; returns how many replies it completes (a bulk's header: none).
    fn end_line(&mut self) -> Result<usize> {
        let line = std::mem::take(&mut self.line);
        let text = line.strip_suffix(b"\r\n").unwrap_or(&line);
        let shown = String::from_utf8_lossy(text);
        match (self.expected, text.split_first()) {
            (_, Some((b'-', _))) => bail!("the server answered an error: {shown}"),
            (Expected::Ok | Expected::Mixed(_), Some((b'+', b"OK"))) => Ok(1),
            (Expected::Integer | Expected::Mixed(_), Some((b':', digits))) => {
                if std::str::from_utf8(digits)
                    .ok()
                    .and_then(|digits| digits.parse::<i64>().ok())
                    .is_none()
                {
                    bail!("not an integer: {shown}");
                }
                Ok(1)
            }
            (Expected::Bulk(length) | Expected::Mixed(length), Some((b'$', digits)))
                if digits == length.to_string().as_bytes() =>
            {
                self.position = Position::Bulk(length + 2);
                Ok(0)
            }
            (expected, _) => bail!("expected {expected:?}, the server answered: {shown}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `stream` in chunks of `chunk_bytes` and returns the replies counted.
    fn count(expected: Expected, stream: &[u8], chunk_bytes: usize) -> Result<usize> {
        let mut counter = ReplyCounter::new(expected);
        let mut replies_count = 0;
        for chunk in stream.chunks(chunk_bytes) {
            replies_count += counter.take(chunk)?;
        }
        Ok(replies_count)
    }

    #[test]
    fn counts_the_same_however_the_stream_is_cut() {
        // A reply cut by a read would be counted twice or never, and the row would hang or lie.
        let bulks = b"$3\r\na\nb\r\n$3\r\n\r\n-\r\n$3\r\n$3\r\r\n";
        for chunk_bytes in 1..=bulks.len() {
            assert_eq!(count(Expected::Bulk(3), bulks, chunk_bytes).unwrap(), 3);
        }
        for chunk_bytes in 1..=15 {
            let stream = b"+OK\r\n+OK\r\n+OK\r\n";
            assert_eq!(count(Expected::Ok, stream, chunk_bytes).unwrap(), 3);
            let stream = b":1\r\n:-20\r\n:300\r\n";
            assert_eq!(count(Expected::Integer, stream, chunk_bytes).unwrap(), 3);
        }
    }

    #[test]
    fn a_reply_is_not_counted_before_its_last_byte() {
        // The next batch would be sent early, and a latency would lack its tail.
        let mut counter = ReplyCounter::new(Expected::Bulk(2));
        assert_eq!(counter.take(b"$2\r\nab\r").unwrap(), 0);
        assert_eq!(counter.take(b"\n").unwrap(), 1);
    }

    #[test]
    fn errors_misses_and_wrong_lengths_end_the_run() {
        // A server that answers errors quickly would win every row.
        for (expected, stream) in [
            (Expected::Ok, &b"+OK\r\n-ERR unknown command\r\n"[..]),
            (Expected::Ok, b"+QUEUED\r\n"),
            (Expected::Ok, b":1\r\n"),
            (Expected::Integer, b":\r\n"),
            (Expected::Integer, b":1x\r\n"),
            (Expected::Bulk(3), b"$-1\r\n"),
            (Expected::Bulk(3), b"$4\r\nabcd\r\n"),
            (Expected::Bulk(3), b"$3\r\nabcd\r\n$3\r\nabc\r\n"),
            (Expected::Bulk(3), b"-OOM command not allowed\r\n"),
        ] {
            for chunk_bytes in 1..=stream.len() {
                assert!(
                    count(expected, stream, chunk_bytes).is_err(),
                    "{expected:?} {:?} in chunks of {chunk_bytes}",
                    String::from_utf8_lossy(stream)
                );
            }
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        // A server that streams garbage would otherwise fill the client's memory.
        let garbage = vec![b'+'; LINE_BYTES_MAX + 1];
        assert!(count(Expected::Ok, &garbage, 64).is_err());
    }
}
