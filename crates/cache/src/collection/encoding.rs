//! Collections as bytes, in pieces of bounded length: snapshots, effects, checksums.
//!
//! A piece, integers little endian:
//!
//! ```text
//! offset  size  what
//!      0     1  1 small hash, 2 hash, 3 list, 4 set of integers, 5 set, 6 small sorted set, 7 sorted set, 8 stream
//!      1        items in their order, to the end; each
//!               hash         4 length of the field, 4 length of the value, field, value
//!               list, set    4 length, element or member
//!               sorted set   8 score (IEEE 754), 4 length, member
//!               stream       records, which `stream/encoding` draws
//! ```

use super::{Collection, CollectionType, Hash, Set, SortedSet};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes of a piece when a checksum is made.
const CHECKSUM_BYTES: usize = 16 << 10;

const SMALL_HASH: u8 = 1;
const HASH: u8 = 2;
const LIST: u8 = 3;
const INTEGERS: u8 = 4;
const SET: u8 = 5;
const SMALL_SORTED_SET: u8 = 6;
const SORTED_SET: u8 = 7;
const STREAM: u8 = 8;

/// Bytes that are no piece of a collection, or of another type than those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedCollection;

/// What [`Collection::encode_from`] wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The last items.
    Last,
    /// Not all: the next piece begins at this position.
    Next(usize),
}

fn push_text(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text);
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], MalformedCollection> {
    let (field, rest) = bytes.split_first_chunk().ok_or(MalformedCollection)?;
    *bytes = rest;
    Ok(*field)
}

fn take_slice<'a>(bytes: &mut &'a [u8], len: usize) -> Result<&'a [u8], MalformedCollection> {
    let (slice, rest) = bytes.split_at_checked(len).ok_or(MalformedCollection)?;
    *bytes = rest;
    Ok(slice)
}

fn take_len(bytes: &mut &[u8]) -> Result<usize, MalformedCollection> {
    Ok(u32::from_le_bytes(take(bytes)?) as usize)
}

/// Appends items until `out` is long enough; tells how far it came.
fn fill<T>(
    out: &mut Vec<u8>,
    bytes_max: usize,
    from: usize,
    items: impl Iterator<Item = T>,
    mut push: impl FnMut(T, &mut Vec<u8>),
) -> Piece {
    let begin = out.len();
    for (count, item) in items.enumerate() {
        if count > 0 && out.len() - begin >= bytes_max {
            return Piece::Next(from + count);
        }
        push(item, out);
    }
    Piece::Last
}

impl Collection {
    /// The first byte of its pieces.
    fn form(&self) -> u8 {
        match self {
            Collection::Hash(hash) if hash.is_packed => SMALL_HASH,
            Collection::Hash(_) => HASH,
            Collection::List(_) => LIST,
            Collection::Set(set) if set.is_integers => INTEGERS,
            Collection::Set(_) => SET,
            Collection::SortedSet(set) if set.is_packed => SMALL_SORTED_SET,
            Collection::SortedSet(_) => SORTED_SET,
            Collection::Stream(_) => STREAM,
        }
    }

    /// Appends the piece that begins at the item at position `from`, of at least one item, and of about `bytes_max` bytes.
    pub fn encode_from(&self, from: usize, bytes_max: usize, out: &mut Vec<u8>) -> Piece {
        out.push(self.form());
        match self {
            Collection::Hash(hash) => fill(
                out,
                bytes_max,
                from,
                hash.tree.iter_from(from),
                |item, out| {
                    out.extend_from_slice(&(item.key.len() as u32).to_le_bytes());
                    out.extend_from_slice(&(item.value.len() as u32).to_le_bytes());
                    out.extend_from_slice(item.key);
                    out.extend_from_slice(item.value);
                },
            ),
            Collection::List(list) => fill(out, bytes_max, from, list.iter_from(from), push_text),
            Collection::Set(set) => {
                let members = set.tree.iter_from(from).map(|item| item.key);
                fill(out, bytes_max, from, members, push_text)
            }
            Collection::SortedSet(set) => fill(
                out,
                bytes_max,
                from,
                set.iter_from(from),
                |(member, score), out| {
                    out.extend_from_slice(&score.to_le_bytes());
                    push_text(member, out);
                },
            ),
            Collection::Stream(stream) => match stream.encode_records(from, bytes_max, out) {
                Some(next) => Piece::Next(next),
                None => Piece::Last,
            },
        }
    }

    /// The whole as one piece.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let piece = self.encode_from(0, usize::MAX, &mut out);
        assert_eq!(piece, Piece::Last, "no piece is too long for its bound");
        out
    }

    /// The share of a cache's checksum of its content, beginning with `seed`: equal if the items and their order are.
    pub(crate) fn checksum(&self, seed: u64) -> u64 {
        let (mut sum, mut piece, mut next) = (seed, Vec::new(), Piece::Next(0));
        while let Piece::Next(from) = next {
            piece.clear();
            next = self.encode_from(from, CHECKSUM_BYTES, &mut piece);
            sum = xxh3_64_with_seed(&piece, sum);
        }
        sum
    }

    /// The collection that a first piece begins.
    ///
    /// # Errors
    /// [`MalformedCollection`]; an empty one is malformed too.
    pub fn decode(piece: &[u8]) -> Result<Collection, MalformedCollection> {
        let form = *piece.first().ok_or(MalformedCollection)?;
        let hash = |is_packed| Hash {
            is_packed,
            ..Hash::new()
        };
        let set = |is_integers| Set {
            is_integers,
            ..Set::new()
        };
        let sorted_set = |is_packed| SortedSet {
            is_packed,
            ..SortedSet::new()
        };
        let mut collection = match form {
            SMALL_HASH => Collection::Hash(hash(true)),
            HASH => Collection::Hash(hash(false)),
            LIST => Collection::new(CollectionType::List),
            INTEGERS => Collection::Set(set(true)),
            SET => Collection::Set(set(false)),
            SMALL_SORTED_SET => Collection::SortedSet(sorted_set(true)),
            SORTED_SET => Collection::SortedSet(sorted_set(false)),
            STREAM if piece.len() > 1 => Collection::new(CollectionType::Stream),
            _ => return Err(MalformedCollection),
        };
        collection.extend(piece)?;
        match collection.is_void() {
            true => Err(MalformedCollection),
            false => Ok(collection),
        }
    }

    /// Adds the items of a further piece.
    ///
    /// # Errors
    /// [`MalformedCollection`]: some items may have been added.
    pub fn extend(&mut self, piece: &[u8]) -> Result<(), MalformedCollection> {
        let (form, mut rest) = piece.split_first().ok_or(MalformedCollection)?;
        if *form != self.form() {
            return Err(MalformedCollection);
        }
        if let Collection::Stream(stream) = self {
            return stream.extend_records(rest).map_err(|_| MalformedCollection);
        }
        while !rest.is_empty() {
            let is_new = match self {
                Collection::Hash(hash) => {
                    let (field, value) = (take_len(&mut rest)?, take_len(&mut rest)?);
                    let field = take_slice(&mut rest, field)?;
                    hash.set(field, take_slice(&mut rest, value)?)
                }
                Collection::List(list) => {
                    let len = take_len(&mut rest)?;
                    list.push_back(take_slice(&mut rest, len)?);
                    true
                }
                Collection::Set(set) => {
                    let len = take_len(&mut rest)?;
                    set.insert(take_slice(&mut rest, len)?)
                }
                Collection::SortedSet(set) => {
                    let score = f64::from_le_bytes(take(&mut rest)?);
                    let len = take_len(&mut rest)?;
                    let member = take_slice(&mut rest, len)?;
                    !score.is_nan() && set.set(member, score).is_none()
                }
                Collection::Stream(_) => unreachable!("its records are read above"),
            };
            if !is_new || self.form() != *form {
                return Err(MalformedCollection);
            }
        }
        Ok(())
    }
}
