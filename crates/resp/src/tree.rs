//! Replies as values: what is too nested to be written piece by piece, and what a client decodes.

use bytes::Bytes;
use bytes::buf::BufMut as _;
use redis_protocol::resp2::types::{BytesFrame as Frame2, Resp2Frame as _};
use redis_protocol::resp3::types::{BytesFrame as Frame3, FrameMap, Resp3Frame as _};
use redis_protocol::resp3::types::{FrameSet, VerbatimStringFormat};
use redis_protocol::{resp2, resp3};

use crate::reply::{Protocol, Reply, is_line};

/// How deep a tree may nest, in both directions. The deepest reply of Redis, `COMMAND DOCS` with
/// its arguments in arguments, has about twelve levels.
pub const TREE_DEPTH_MAX: usize = 32;

/// A reply as a value. It is the same in both protocols; [`Reply::tree`] falls back under RESP2.
///
/// Pairs and elements keep their order.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    /// A simple string: one line.
    Simple(Bytes),
    /// An error, with its code.
    Error(Bytes),
    /// An integer.
    Integer(i64),
    /// A bulk string.
    Bulk(Bytes),
    /// Null, in place of a string.
    Null,
    /// Null, in place of an array; a decoder gives [`Tree::Null`] for it.
    NullArray,
    /// An array.
    Array(Vec<Tree>),
    /// Pairs.
    Map(Vec<(Tree, Tree)>),
    /// Elements whose order says nothing.
    Set(Vec<Tree>),
    /// A message that answers no request.
    Push(Vec<Tree>),
    /// A double.
    Double(f64),
    /// A boolean.
    Boolean(bool),
    /// A decimal integer of any size.
    BigNumber(Bytes),
    /// A string to be shown as it is.
    Verbatim(Bytes),
    /// Attributes, and the reply that they belong to.
    Attributed(Vec<(Tree, Tree)>, Box<Tree>),
}

impl Tree {
    /// A bulk string of ours, not copied.
    pub fn text(text: &'static str) -> Self {
        Tree::Bulk(Bytes::from_static(text.as_bytes()))
    }

    /// A bulk string, copied.
    pub fn bulk(bytes: &[u8]) -> Self {
        Tree::Bulk(Bytes::copy_from_slice(bytes))
    }

    /// A simple string of ours, not copied.
    pub fn simple(text: &'static str) -> Self {
        Tree::Simple(Bytes::from_static(text.as_bytes()))
    }

    /// The bytes of a string of any kind, of an error or of a big number.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match self {
            Tree::Simple(bytes)
            | Tree::Error(bytes)
            | Tree::Bulk(bytes)
            | Tree::BigNumber(bytes)
            | Tree::Verbatim(bytes) => Some(bytes),
            Tree::Attributed(_, tree) => tree.as_bytes(),
            Tree::Integer(_)
            | Tree::Null
            | Tree::NullArray
            | Tree::Array(_)
            | Tree::Map(_)
            | Tree::Set(_)
            | Tree::Push(_)
            | Tree::Double(_)
            | Tree::Boolean(_) => None,
        }
    }

    /// Whether this is an error.
    pub fn is_error(&self) -> bool {
        matches!(self, Tree::Error(_))
    }
}

impl Reply<'_> {
    /// Writes a whole tree. `redis-protocol` encodes it; the few things that it cannot say, or
    /// says otherwise than Redis, and the levels above them are written here:
    ///
    /// - under RESP2 a null array,
    /// - under RESP3 doubles (it prints 1e300 with 301 digits), attributes of a null, and pairs or
    ///   elements that are not unique or not strings and numbers,
    /// - errors that are not UTF-8, or hold line breaks.
    ///
    /// Panics if the tree is deeper than [`TREE_DEPTH_MAX`].
    pub fn tree(&mut self, tree: &Tree) {
        self.tree_at(tree, TREE_DEPTH_MAX);
    }

    fn tree_at(&mut self, tree: &Tree, levels_left: usize) {
        assert!(levels_left > 0, "a tree of replies is too deep");
        let is_encoded = match self.protocol() {
            Protocol::Resp2 => self.encode_frame2(tree, levels_left),
            Protocol::Resp3 => self.encode_frame3(tree, levels_left),
        };
        if !is_encoded {
            self.write_level(tree, levels_left - 1);
        }
    }

    /// Writes this level, and leaves those below it to whoever can say them.
    fn write_level(&mut self, tree: &Tree, levels_left: usize) {
        match tree {
            Tree::Simple(text) => self.simple_bytes(text),
            Tree::Error(text) => self.error_bytes(text),
            Tree::Integer(value) => self.integer(*value),
            Tree::Bulk(bytes) => self.bulk_shared(bytes),
            Tree::Null => self.null(),
            Tree::NullArray => self.null_array(),
            Tree::Array(elements) => {
                self.array(elements.len());
                self.elements(elements, levels_left);
            }
            Tree::Map(pairs) => {
                self.map(pairs.len());
                self.pairs(pairs, levels_left);
            }
            Tree::Set(elements) => {
                self.set(elements.len());
                self.elements(elements, levels_left);
            }
            Tree::Push(elements) => {
                self.push(elements.len());
                self.elements(elements, levels_left);
            }
            Tree::Double(value) => self.double(*value),
            Tree::Boolean(value) => self.boolean(*value),
            Tree::BigNumber(digits) => self.big_number_bytes(digits),
            Tree::Verbatim(bytes) => self.verbatim("txt", bytes),
            Tree::Attributed(pairs, tree) => {
                // RESP2 clients would take attributes for the reply.
                if self.protocol() == Protocol::Resp3 {
                    self.attribute(pairs.len());
                    self.pairs(pairs, levels_left);
                }
                self.tree_at(tree, levels_left);
            }
        }
    }

    fn elements(&mut self, elements: &[Tree], levels_left: usize) {
        for element in elements {
            self.tree_at(element, levels_left);
        }
    }

    fn pairs(&mut self, pairs: &[(Tree, Tree)], levels_left: usize) {
        for (key, value) in pairs {
            self.tree_at(key, levels_left);
            self.tree_at(value, levels_left);
        }
    }

    /// Encodes the tree if `redis-protocol` can say it under RESP2; returns whether it could.
    fn encode_frame2(&mut self, tree: &Tree, levels_left: usize) -> bool {
        let Some(frame) = frame2(tree, levels_left) else {
            return false;
        };
        self.encode_with(frame.encode_len(false), |room| {
            resp2::encode::encode_bytes(room, &frame, false).ok()
        })
    }

    /// As [`encode_frame2`](Self::encode_frame2), under RESP3.
    fn encode_frame3(&mut self, tree: &Tree, levels_left: usize) -> bool {
        let Some(frame) = frame3(tree, levels_left) else {
            return false;
        };
        self.encode_with(frame.encode_len(false), |room| {
            resp3::encode::complete::encode_bytes(room, &frame, false).ok()
        })
    }

    /// Appends what `encode` puts into `room_bytes`. The room is an estimate: it comes out one too
    /// large for integers just below a power of ten, so only what was filled is kept.
    fn encode_with(
        &mut self,
        room_bytes: usize,
        encode: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> bool {
        let tail = self.output().tail_mut();
        let start = tail.len();
        tail.put_bytes(0, room_bytes);
        let filled = encode(&mut tail[start..]);
        tail.truncate(start + filled.unwrap_or(0));
        filled.is_some()
    }
}

/// The text of an error that can be encoded as it is.
fn error_text(text: &Bytes) -> Option<&str> {
    std::str::from_utf8(text).ok().filter(|_| is_line(text))
}

/// The tree as `redis-protocol`'s RESP2 frame, fallbacks applied; `None` if it has none, or is
/// deeper than `levels_left`.
fn frame2(tree: &Tree, levels_left: usize) -> Option<Frame2> {
    let below = levels_left.checked_sub(1)?;
    let array = |elements: &[Tree]| -> Option<Frame2> {
        let frames = elements.iter().map(|element| frame2(element, below));
        Some(Frame2::Array(frames.collect::<Option<_>>()?))
    };
    Some(match tree {
        Tree::Simple(text) => Frame2::SimpleString(is_line(text).then(|| text.clone())?),
        Tree::Error(text) => Frame2::Error(error_text(text)?.into()),
        Tree::Integer(value) => Frame2::Integer(*value),
        Tree::Bulk(bytes) | Tree::BigNumber(bytes) | Tree::Verbatim(bytes) => {
            Frame2::BulkString(bytes.clone())
        }
        Tree::Null => Frame2::Null,
        Tree::Array(elements) | Tree::Set(elements) | Tree::Push(elements) => array(elements)?,
        Tree::Map(pairs) => {
            let mut frames = Vec::with_capacity(pairs.len() * 2);
            for (key, value) in pairs {
                frames.push(frame2(key, below)?);
                frames.push(frame2(value, below)?);
            }
            Frame2::Array(frames)
        }
        Tree::Boolean(value) => Frame2::Integer(i64::from(*value)),
        Tree::NullArray | Tree::Double(_) | Tree::Attributed(..) => return None,
    })
}

/// As [`frame2`], for RESP3.
fn frame3(tree: &Tree, levels_left: usize) -> Option<Frame3> {
    let below = levels_left.checked_sub(1)?;
    let attributes = None;
    let array = |elements: &[Tree]| -> Option<Vec<Frame3>> {
        elements.iter().map(|each| frame3(each, below)).collect()
    };
    Some(match tree {
        Tree::Simple(text) => Frame3::SimpleString {
            data: is_line(text).then(|| text.clone())?,
            attributes,
        },
        Tree::Error(text) => Frame3::SimpleError {
            data: error_text(text)?.into(),
            attributes,
        },
        Tree::Integer(value) => Frame3::Number {
            data: *value,
            attributes,
        },
        Tree::Bulk(bytes) => Frame3::BlobString {
            data: bytes.clone(),
            attributes,
        },
        Tree::Null | Tree::NullArray => Frame3::Null,
        Tree::Array(elements) => Frame3::Array {
            data: array(elements)?,
            attributes,
        },
        Tree::Push(elements) => Frame3::Push {
            data: array(elements)?,
            attributes,
        },
        Tree::Set(elements) => Frame3::Set {
            data: unique_elements(elements, below)?,
            attributes,
        },
        Tree::Map(pairs) => Frame3::Map {
            data: unique_pairs(pairs, below)?,
            attributes,
        },
        Tree::Boolean(value) => Frame3::Boolean {
            data: *value,
            attributes,
        },
        Tree::BigNumber(digits) => Frame3::BigNumber {
            data: is_line(digits).then(|| digits.clone())?,
            attributes,
        },
        Tree::Verbatim(bytes) => Frame3::VerbatimString {
            data: bytes.clone(),
            format: VerbatimStringFormat::Text,
            attributes,
        },
        Tree::Double(_) | Tree::Attributed(..) => return None,
    })
}

/// The pairs as a map that keeps their order; `None` if a key stands twice or cannot be hashed,
/// which the frame's map has no place for.
fn unique_pairs(pairs: &[(Tree, Tree)], levels_left: usize) -> Option<FrameMap<Frame3, Frame3>> {
    let mut map = FrameMap::with_capacity(pairs.len());
    for (key, value) in pairs {
        let key = frame3(key, levels_left).filter(|key| key.kind().can_hash())?;
        let doubled = map.insert(key, frame3(value, levels_left)?);
        doubled.is_none().then_some(())?;
    }
    Some(map)
}

/// As [`unique_pairs`], for a set.
fn unique_elements(elements: &[Tree], levels_left: usize) -> Option<FrameSet<Frame3>> {
    let mut set = FrameSet::with_capacity(elements.len());
    for element in elements {
        let element = frame3(element, levels_left).filter(|each| each.kind().can_hash())?;
        set.insert(element).then_some(())?;
    }
    Some(set)
}

#[cfg(test)]
mod tests;
