//! The client's side of the protocol, for tools, benchmarks and tests: requests out, replies in.

use bytes::{Bytes, BytesMut};
use redis_protocol::resp2::types::BytesFrame as Frame2;
use redis_protocol::resp3::types::{BytesAttributes, BytesFrame as Frame3};
use redis_protocol::{resp2, resp3};

use crate::number::parse_i64;
use crate::reply::{Protocol, write_header};
use crate::tree::{TREE_DEPTH_MAX, Tree};

/// Appends a request to `out`, as every client sends it: an array of bulk strings.
pub fn encode_request(out: &mut Vec<u8>, arguments: &[&[u8]]) {
    write_header(out, b'*', arguments.len());
    for argument in arguments {
        write_header(out, b'$', argument.len());
        out.extend_from_slice(argument);
        out.extend_from_slice(b"\r\n");
    }
}

/// A reply that a client must not trust further; the connection is of no use any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The frame's first line is no frame's first line.
    #[error("reply: unknown frame {0:?}")]
    UnknownFrame(u8),
    /// A length is no integer, negative, or too large to be one.
    #[error("reply: invalid length")]
    InvalidLength,
    /// A string does not end where its length says.
    #[error("reply: a string does not end with a line break")]
    UnterminatedString,
    /// Aggregates nest deeper than [`TREE_DEPTH_MAX`].
    #[error("reply: nested too deeply")]
    TooDeep,
    /// The reply is longer than the client allows.
    #[error("reply: too long")]
    TooLong,
    /// The frame is not one that the protocol allows there.
    #[error("reply: {0}")]
    Malformed(String),
}

/// Decodes replies out of a buffer that grows at its end.
///
/// `redis-protocol` decodes, but it recurses for every level and starts anew with every piece that
/// arrives. So a reply is measured first, without recursion and without going back behind the
/// string that is arriving, and is handed on when it is whole, within its bounds and not too deep.
#[derive(Debug)]
pub struct ReplyDecoder {
    protocol: Protocol,
    bytes_max: usize,
    measure: Measure,
}

impl ReplyDecoder {
    /// A decoder of replies of up to `bytes_max` bytes each.
    pub fn new(protocol: Protocol, bytes_max: usize) -> Self {
        ReplyDecoder {
            protocol,
            bytes_max,
            measure: Measure::default(),
        }
    }

    /// Changes the protocol, before the reply to `HELLO` is decoded: that one is in the new.
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// Takes the next reply off the buffer; `None` if it is not whole yet. Strings in it share the
    /// buffer's memory. Between calls the buffer may only grow.
    ///
    /// # Errors
    ///
    /// Every [`ReplyError`]; the buffer is then of no use any more.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Tree>, ReplyError> {
        let Some(len) = self.measure.step(buffer)? else {
            if buffer.len() > self.bytes_max {
                return Err(ReplyError::TooLong);
            }
            return Ok(None);
        };
        self.measure = Measure::default();
        if len > self.bytes_max {
            return Err(ReplyError::TooLong);
        }
        let bytes = buffer.split_to(len).freeze();
        if let Some(text) = bytes.strip_prefix(b"-") {
            // An error may quote a client's bytes, which `redis-protocol` wants to be UTF-8.
            return Ok(Some(Tree::Error(bytes.slice(1..text.len() - 1))));
        }
        match self.protocol {
            Protocol::Resp2 => decode2(&bytes).map(Some),
            Protocol::Resp3 => decode3(&bytes).map(Some),
        }
    }
}

/// Parts the first reply of `bytes` from what follows it; none if they do not begin with a whole reply.
pub fn split_reply(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = Measure::default().step(bytes).ok()??;
    Some(bytes.split_at(length))
}

/// The replies in an array, one after the other; none if the reply is no array.
pub fn split_array(reply: &[u8]) -> Option<&[u8]> {
    let line_end = reply.windows(2).position(|pair| pair == b"\r\n")?;
    let count = reply[..line_end].strip_prefix(b"*")?;
    parse_i64(count)
        .is_some_and(|count| count >= 0)
        .then(|| &reply[line_end + 2..])
}

/// Finds the end of a reply.
///
/// - `position` is behind the last frame that was measured.
/// - `open` holds, for each aggregate around it, how many frames it still lacks; none lacks 0.
#[derive(Debug, Default)]
struct Measure {
    position: usize,
    open: Vec<u64>,
}

impl Measure {
    /// The length of the reply at the buffer's start, once it is whole.
    fn step(&mut self, buffer: &[u8]) -> Result<Option<usize>, ReplyError> {
        loop {
            let Some((children, next)) = measure_frame(&buffer[self.position..])? else {
                return Ok(None);
            };
            self.position += next;
            match children {
                Children::None => self.close_frame(),
                Children::Frames(count) => self.open_frame(count)?,
                Children::AttributesOf(count) => {
                    // The reply itself follows its attributes: together they are one frame more.
                    self.open_frame(count + 1)?;
                }
            }
            if self.open.is_empty() {
                return Ok(Some(self.position));
            }
        }
    }

    fn open_frame(&mut self, count: u64) -> Result<(), ReplyError> {
        if count == 0 {
            self.close_frame();
        } else if self.open.len() == TREE_DEPTH_MAX - 1 {
            return Err(ReplyError::TooDeep);
        } else {
            self.open.push(count);
        }
        Ok(())
    }

    /// A frame is whole, and with it every aggregate whose last one it is.
    fn close_frame(&mut self) {
        while let Some(lacking) = self.open.last_mut() {
            *lacking -= 1;
            if *lacking > 0 {
                return;
            }
            self.open.pop();
        }
    }
}

/// What a frame's own line says must follow it.
enum Children {
    None,
    Frames(u64),
    AttributesOf(u64),
}

/// Measures one frame without what it contains: its children, and its own length. `None` if it is
/// not whole.
fn measure_frame(bytes: &[u8]) -> Result<Option<(Children, usize)>, ReplyError> {
    let Some(&kind) = bytes.first() else {
        return Ok(None);
    };
    if !b"+-:,#_($!=*~>%|".contains(&kind) {
        return Err(ReplyError::UnknownFrame(kind));
    }
    let Some(line_end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
        return Ok(None);
    };
    let next = line_end + 2;
    let line = &bytes[1..line_end];
    let children = match kind {
        b'$' | b'!' | b'=' => {
            if line == b"-1" {
                return Ok(Some((Children::None, next)));
            }
            return Ok(measure_string(bytes, next, length(line)?)?.map(|end| (Children::None, end)));
        }
        b'*' | b'~' | b'>' if line == b"-1" => Children::None,
        b'*' | b'~' | b'>' => Children::Frames(length(line)?),
        b'%' => Children::Frames(length(line)? * 2),
        b'|' => Children::AttributesOf(length(line)? * 2),
        _ => Children::None,
    };
    Ok(Some((children, next)))
}

/// The end of a string of `len` bytes that starts at `start`, its line break included.
fn measure_string(bytes: &[u8], start: usize, len: u64) -> Result<Option<usize>, ReplyError> {
    let string_end = start + len as usize;
    match bytes.get(string_end..string_end + 2) {
        None => Ok(None),
        Some(b"\r\n") => Ok(Some(string_end + 2)),
        Some(_) => Err(ReplyError::UnterminatedString),
    }
}

/// A length or count, at most 2^40, so that sums of a few of them are exact.
fn length(line: &[u8]) -> Result<u64, ReplyError> {
    parse_i64(line)
        .and_then(|length| u64::try_from(length).ok())
        .filter(|length| *length <= 1 << 40)
        .ok_or(ReplyError::InvalidLength)
}

fn malformed(error: impl std::fmt::Display) -> ReplyError {
    ReplyError::Malformed(error.to_string())
}

fn decode2(bytes: &Bytes) -> Result<Tree, ReplyError> {
    let (frame, used) = resp2::decode::decode_bytes(bytes)
        .map_err(malformed)?
        .ok_or_else(|| malformed("less than a frame"))?;
    if used != bytes.len() {
        return Err(malformed("more than a frame"));
    }
    Ok(tree2(frame))
}

fn decode3(bytes: &Bytes) -> Result<Tree, ReplyError> {
    let (frame, used) = resp3::decode::complete::decode_bytes(bytes)
        .map_err(malformed)?
        .ok_or_else(|| malformed("less than a frame"))?;
    if used != bytes.len() {
        return Err(malformed("more than a frame"));
    }
    tree3(frame)
}

fn tree2(frame: Frame2) -> Tree {
    match frame {
        Frame2::SimpleString(text) => Tree::Simple(text),
        Frame2::Error(text) => Tree::Error(text.into_inner()),
        Frame2::Integer(value) => Tree::Integer(value),
        Frame2::BulkString(bytes) => Tree::Bulk(bytes),
        Frame2::Array(frames) => Tree::Array(frames.into_iter().map(tree2).collect()),
        Frame2::Null => Tree::Null,
    }
}

fn tree3(frame: Frame3) -> Result<Tree, ReplyError> {
    let (tree, attributes) = match frame {
        Frame3::SimpleString { data, attributes } => (Tree::Simple(data), attributes),
        Frame3::SimpleError { data, attributes } => (Tree::Error(data.into_inner()), attributes),
        Frame3::BlobError { data, attributes } => (Tree::Error(data), attributes),
        Frame3::BlobString { data, attributes } => (Tree::Bulk(data), attributes),
        Frame3::Boolean { data, attributes } => (Tree::Boolean(data), attributes),
        Frame3::Number { data, attributes } => (Tree::Integer(data), attributes),
        Frame3::Double { data, attributes } => (Tree::Double(data), attributes),
        Frame3::BigNumber { data, attributes } => (Tree::BigNumber(data), attributes),
        Frame3::VerbatimString {
            data, attributes, ..
        } => (Tree::Verbatim(data), attributes),
        Frame3::Array { data, attributes } => (Tree::Array(trees(data)?), attributes),
        Frame3::Push { data, attributes } => (Tree::Push(trees(data)?), attributes),
        Frame3::Set { data, attributes } => (Tree::Set(trees(data)?), attributes),
        Frame3::Map { data, attributes } => (Tree::Map(pairs(data)?), attributes),
        Frame3::Null => (Tree::Null, None),
        Frame3::Hello { .. } | Frame3::ChunkedString(_) => {
            return Err(malformed("not a reply"));
        }
    };
    Ok(match attributes {
        Some(attributes) => Tree::Attributed(pairs(attributes)?, Box::new(tree)),
        None => tree,
    })
}

fn trees(frames: impl IntoIterator<Item = Frame3>) -> Result<Vec<Tree>, ReplyError> {
    frames.into_iter().map(tree3).collect()
}

/// The decoder gives a map's pairs from the last to the first.
fn pairs(map: BytesAttributes) -> Result<Vec<(Tree, Tree)>, ReplyError> {
    map.into_iter()
        .rev()
        .map(|(key, value)| Ok((tree3(key)?, tree3(value)?)))
        .collect()
}

#[cfg(test)]
mod tests;
