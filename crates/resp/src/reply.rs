//! Replies, written straight into a connection's output in the protocol that it speaks.

use bytes::Bytes;

use crate::number::{DoubleText, write_u64};
use crate::output::Output;

/// A value of at least this many bytes goes out as a shared chunk; a shorter one is copied, which
/// costs less than one more slice of a gathered write.
pub const SHARED_BYTES_MIN: usize = 16 * 1024;

/// The version of the protocol that a client speaks: 2 until it says `HELLO 3`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Protocol {
    /// RESP2: five types, all others sent in their nearest form.
    #[default]
    Resp2,
    /// RESP3.
    Resp3,
}

impl Protocol {
    /// 2 or 3, as `HELLO` and `CLIENT LIST` name it.
    pub fn version(self) -> i64 {
        match self {
            Protocol::Resp2 => 2,
            Protocol::Resp3 => 3,
        }
    }

    /// The protocol of this version, if there is one.
    pub fn from_version(version: i64) -> Option<Self> {
        match version {
            2 => Some(Protocol::Resp2),
            3 => Some(Protocol::Resp3),
            _ => None,
        }
    }
}

/// Writes replies. Types that RESP2 lacks fall back as in Redis: a map to a flat array, a set and
/// a push to an array, a double, a verbatim string and a big number to a bulk string, a boolean to
/// 0 or 1, null to a null bulk string.
///
/// The caller owes as many elements as an aggregate's header announces. Nothing here allocates but
/// the output's growth.
#[derive(Debug)]
pub struct Reply<'a> {
    output: &'a mut Output,
    protocol: Protocol,
}

impl<'a> Reply<'a> {
    /// A writer at the end of `output`.
    #[inline]
    pub fn new(output: &'a mut Output, protocol: Protocol) -> Self {
        Reply { output, protocol }
    }

    /// The protocol that replies are written in.
    #[inline]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The output that replies go to.
    #[inline]
    pub fn output(&mut self) -> &mut Output {
        self.output
    }

    /// `+OK`
    #[inline]
    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    /// A simple string. `text` is one line of ours: panics on a line break, which would be read as
    /// the start of another reply.
    #[inline]
    pub fn simple(&mut self, text: &str) {
        self.simple_bytes(text.as_bytes());
    }

    /// As [`simple`](Self::simple), for bytes.
    pub fn simple_bytes(&mut self, text: &[u8]) {
        assert!(is_line(text), "a simple string is one line");
        self.line(b'+', text);
    }

    /// An error with its code, for example `ERR syntax error`. See [`error_bytes`](Self::error_bytes).
    pub fn error(&mut self, text: &str) {
        self.error_bytes(text.as_bytes());
    }

    /// An error whose text may hold a client's bytes. As in Redis, line breaks at both ends are
    /// dropped and those within become spaces.
    pub fn error_bytes(&mut self, text: &[u8]) {
        let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let start = text.iter().position(|b| !is_break(b)).unwrap_or(text.len());
        let end = text
            .iter()
            .rposition(|b| !is_break(b))
            .map_or(start, |last| last + 1);
        let text = &text[start..end];
        let tail = self.output.tail_mut();
        tail.reserve(text.len() + 3);
        tail.push(b'-');
        tail.extend(text.iter().map(|b| if is_break(b) { b' ' } else { *b }));
        tail.extend_from_slice(b"\r\n");
    }

    /// An integer.
    #[inline]
    pub fn integer(&mut self, value: i64) {
        if let Ok(digit @ 0..=9) = u8::try_from(value) {
            self.raw(&[b':', b'0' + digit, b'\r', b'\n']);
        } else {
            let mut digits = itoa::Buffer::new();
            self.line(b':', digits.format(value).as_bytes());
        }
    }

    /// A bulk string, copied.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        let tail = self.output.tail_mut();
        tail.reserve(bytes.len() + 24);
        write_header(tail, b'$', bytes.len());
        tail.extend_from_slice(bytes);
        tail.extend_from_slice(b"\r\n");
    }

    /// A bulk string that is sent without a copy if it is long ([`SHARED_BYTES_MIN`]).
    #[inline]
    pub fn bulk_shared(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_BYTES_MIN {
            return self.bulk(bytes);
        }
        write_header(self.output.tail_mut(), b'$', bytes.len());
        self.output.push_shared(bytes.clone());
        self.raw(b"\r\n");
    }

    /// A number as a bulk string: what GET answers for a counter.
    #[inline]
    pub fn bulk_integer(&mut self, value: i64) {
        let mut digits = itoa::Buffer::new();
        self.bulk(digits.format(value).as_bytes());
    }

    /// Null in place of a string.
    #[inline]
    pub fn null(&mut self) {
        match self.protocol {
            Protocol::Resp2 => self.raw(b"$-1\r\n"),
            Protocol::Resp3 => self.raw(b"_\r\n"),
        }
    }

    /// Null in place of an array.
    #[inline]
    pub fn null_array(&mut self) {
        match self.protocol {
            Protocol::Resp2 => self.raw(b"*-1\r\n"),
            Protocol::Resp3 => self.raw(b"_\r\n"),
        }
    }

    /// The bytes as a bulk string, or null.
    #[inline]
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// Starts an array of `count` elements.
    #[inline]
    pub fn array(&mut self, count: usize) {
        write_header(self.output.tail_mut(), b'*', count);
    }

    /// Starts a map of `count` pairs: `2 * count` replies follow.
    #[inline]
    pub fn map(&mut self, count: usize) {
        match self.protocol {
            Protocol::Resp2 => self.array(count * 2),
            Protocol::Resp3 => write_header(self.output.tail_mut(), b'%', count),
        }
    }

    /// Starts a set of `count` elements.
    #[inline]
    pub fn set(&mut self, count: usize) {
        match self.protocol {
            Protocol::Resp2 => self.array(count),
            Protocol::Resp3 => write_header(self.output.tail_mut(), b'~', count),
        }
    }

    /// Starts a message that answers no request, of `count` elements.
    #[inline]
    pub fn push(&mut self, count: usize) {
        match self.protocol {
            Protocol::Resp2 => self.array(count),
            Protocol::Resp3 => write_header(self.output.tail_mut(), b'>', count),
        }
    }

    /// Starts attributes of `count` pairs, which precede the reply that they belong to. Panics
    /// under RESP2, whose clients would take them for the reply.
    #[inline]
    pub fn attribute(&mut self, count: usize) {
        assert_eq!(self.protocol, Protocol::Resp3, "RESP2 has no attributes");
        write_header(self.output.tail_mut(), b'|', count);
    }

    /// A double with 17 significant digits (C's `%.17g`), as Redis up to 7.0 prints one.
    pub fn double(&mut self, value: f64) {
        self.double_text(&DoubleText::with_17_digits(value));
    }

    /// A double in its shortest form that reads back equal, as Redis from 7.2 on prints one.
    pub fn double_shortest(&mut self, value: f64) {
        self.double_text(&DoubleText::shortest(value));
    }

    fn double_text(&mut self, text: &DoubleText) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => self.line(b',', text),
        }
    }

    /// A boolean.
    #[inline]
    pub fn boolean(&mut self, value: bool) {
        match (self.protocol, value) {
            (Protocol::Resp2, false) => self.raw(b":0\r\n"),
            (Protocol::Resp2, true) => self.raw(b":1\r\n"),
            (Protocol::Resp3, false) => self.raw(b"#f\r\n"),
            (Protocol::Resp3, true) => self.raw(b"#t\r\n"),
        }
    }

    /// A string to be shown as it is. `format` is three ASCII letters, `txt` or `mkd`; panics
    /// otherwise.
    pub fn verbatim(&mut self, format: &str, bytes: &[u8]) {
        assert_eq!(
            format.len(),
            3,
            "a verbatim string's format has three letters"
        );
        match self.protocol {
            Protocol::Resp2 => self.bulk(bytes),
            Protocol::Resp3 => {
                let tail = self.output.tail_mut();
                tail.reserve(bytes.len() + 28);
                write_header(tail, b'=', bytes.len() + 4);
                tail.extend_from_slice(format.as_bytes());
                tail.push(b':');
                tail.extend_from_slice(bytes);
                tail.extend_from_slice(b"\r\n");
            }
        }
    }

    /// An integer of any size, in decimal. Panics if `digits` is not one.
    pub fn big_number(&mut self, digits: &str) {
        self.big_number_bytes(digits.as_bytes());
    }

    pub(crate) fn big_number_bytes(&mut self, digits: &[u8]) {
        let unsigned = digits.strip_prefix(b"-").unwrap_or(digits);
        assert!(
            !unsigned.is_empty() && unsigned.iter().all(u8::is_ascii_digit),
            "a big number is decimal digits"
        );
        match self.protocol {
            Protocol::Resp2 => self.bulk(digits),
            Protocol::Resp3 => self.line(b'(', digits),
        }
    }

    #[inline]
    fn raw(&mut self, bytes: &[u8]) {
        self.output.tail_mut().extend_from_slice(bytes);
    }

    #[inline]
    fn line(&mut self, kind: u8, text: &[u8]) {
        let tail = self.output.tail_mut();
        tail.reserve(text.len() + 3);
        tail.push(kind);
        tail.extend_from_slice(text);
        tail.extend_from_slice(b"\r\n");
    }
}

/// Whether these bytes hold no line break.
pub(crate) fn is_line(bytes: &[u8]) -> bool {
    !bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n'))
}

/// A type's byte, a count and the line's end. Short lengths, which most are, cost no division
/// but by a constant.
#[inline]
pub(crate) fn write_header(tail: &mut Vec<u8>, kind: u8, count: usize) {
    match count {
        0..10 => tail.extend_from_slice(&[kind, b'0' + count as u8, b'\r', b'\n']),
        10..100 => {
            let (tens, units) = (count as u8 / 10, count as u8 % 10);
            tail.extend_from_slice(&[kind, b'0' + tens, b'0' + units, b'\r', b'\n']);
        }
        _ => {
            tail.push(kind);
            write_u64(tail, count as u64);
            tail.extend_from_slice(b"\r\n");
        }
    }
}

#[cfg(test)]
mod tests;
