//! From a payload's content to a value. The content comes from outside: no length in it is believed, and memory is taken in
//! proportion to what is there.

use super::packed::{self, Visit};
use super::{kind, stream};
use crate::{STRING_BYTES_MAX, lzf};
use bytes::Bytes;
use cache::{Hash, List, OwnedValue, Set, SortedSet, Typed};
use resp::parse_f64;
use std::borrow::Cow;

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// The content is not what its type says.
    Malformed,
    /// A type of Redis's that is not built here.
    Unknown,
}

/// The value that `content` begins with; what follows it is ignored, as in Redis.
///
/// # Errors
/// [`Unreadable`]. A collection of nothing is malformed too, as are two equal fields or members.
pub(super) fn value_of(content: &[u8]) -> Result<OwnedValue, Unreadable> {
    let (&kind, rest) = content.split_first().ok_or(Unreadable::Malformed)?;
    let mut reader = Reader {
        rest,
        unpacked_bytes_left: STRING_BYTES_MAX,
    };
    let value = match kind {
        kind::STRING => {
            let string = reader.string().map(Cow::into_owned);
            string.map(|string| OwnedValue::String(Bytes::from(string)))
        }
        kind::LIST | kind::LIST_ZIPLIST | kind::LIST_OF_ZIPLISTS | kind::LIST_OF_PARTS => {
            filled(|list| reader.fill_list(kind, list))
        }
        kind::SET | kind::SET_INTEGERS | kind::SET_LISTPACK => {
            filled(|set| reader.fill_set(kind, set))
        }
        kind::HASH | kind::HASH_ZIPLIST | kind::HASH_LISTPACK => {
            filled(|hash| reader.fill_hash(kind, hash))
        }
        kind::SORTED_SET
        | kind::SORTED_SET_TEXT
        | kind::SORTED_SET_ZIPLIST
        | kind::SORTED_SET_LISTPACK => filled(|set| reader.fill_sorted_set(kind, set)),
        kind::STREAM | kind::STREAM_COUNTED | kind::STREAM_ACTIVE => {
            filled(|filling| stream::fill(kind, &mut reader, filling))
        }
        other if other <= kind::MAX && other != kind::NONE => return Err(Unreadable::Unknown),
        _ => None,
    };
    value.ok_or(Unreadable::Malformed)
}

/// A collection that is filled, unless nothing was.
fn filled<T: Typed>(fill: impl FnOnce(&mut T) -> Option<()>) -> Option<OwnedValue> {
    let mut typed = T::empty();
    fill(&mut typed)?;
    let collection = typed.into_collection();
    (!collection.is_void()).then_some(OwnedValue::Collection(collection))
}

/// Reads a content from its beginning on.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    /// How many bytes may still come out of LZF: a short content must not become a long value without end.
    unpacked_bytes_left: usize,
}

impl<'a> Reader<'a> {
    /// What is not read yet.
    pub(super) fn rest(&mut self) -> &mut &'a [u8] {
        &mut self.rest
    }

    fn fill_list(&mut self, kind: u8, list: &mut List) -> Option<()> {
        let mut push = |element: &[u8]| {
            list.push_back(element);
            Some(())
        };
        if kind == kind::LIST_ZIPLIST {
            return packed::visit_ziplist(&self.string()?, &mut push);
        }
        for _ in 0..self.length()? {
            match kind {
                kind::LIST => push(&self.string()?)?,
                kind::LIST_OF_ZIPLISTS => packed::visit_ziplist(&self.string()?, &mut push)?,
                _ => match self.length()? {
                    kind::PART_ELEMENT => push(&self.string()?)?,
                    kind::PART_LISTPACK => packed::visit_listpack(&self.string()?, &mut push)?,
                    _ => return None,
                },
            }
        }
        Some(())
    }

    fn fill_set(&mut self, kind: u8, set: &mut Set) -> Option<()> {
        let mut add = |member: &[u8]| set.insert(member).then_some(());
        match kind {
            kind::SET_INTEGERS => packed::visit_integers(&self.string()?, &mut add),
            kind::SET_LISTPACK => packed::visit_listpack(&self.string()?, &mut add),
            _ => {
                for _ in 0..self.length()? {
                    add(&self.string()?)?;
                }
                Some(())
            }
        }
    }

    fn fill_hash(&mut self, kind: u8, hash: &mut Hash) -> Option<()> {
        let mut set = |field: &[u8], value: &[u8]| hash.set(field, value).then_some(());
        match kind {
            kind::HASH_ZIPLIST => visit_pairs(packed::visit_ziplist, &self.string()?, set),
            kind::HASH_LISTPACK => visit_pairs(packed::visit_listpack, &self.string()?, set),
            _ => {
                for _ in 0..self.length()? {
                    set(&self.string()?, &self.string()?)?;
                }
                Some(())
            }
        }
    }

    fn fill_sorted_set(&mut self, kind: u8, set: &mut SortedSet) -> Option<()> {
        let mut add = |member: &[u8], score: f64| {
            let is_new = !score.is_nan() && set.set(member, score).is_none();
            is_new.then_some(())
        };
        let add_packed = |member: &[u8], score: &[u8]| add(member, parse_f64(score)?);
        match kind {
            kind::SORTED_SET_ZIPLIST => {
                return visit_pairs(packed::visit_ziplist, &self.string()?, add_packed);
            }
            kind::SORTED_SET_LISTPACK => {
                return visit_pairs(packed::visit_listpack, &self.string()?, add_packed);
            }
            _ => {}
        }
        for _ in 0..self.length()? {
            let member = self.string()?;
            let score = match kind {
                kind::SORTED_SET_TEXT => self.score_text()?,
                _ => f64::from_le_bytes(take(&mut self.rest)?),
            };
            add(&member, score)?;
        }
        Some(())
    }

    /// A score of the oldest form: a length and as much text, or a length that stands for what has no digits.
    fn score_text(&mut self) -> Option<f64> {
        match *self.rest.split_off_first()? {
            255 => Some(f64::NEG_INFINITY),
            254 => Some(f64::INFINITY),
            253 => None,
            length => parse_f64(self.rest.split_off(..usize::from(length))?),
        }
    }

    /// A count.
    pub(super) fn length(&mut self) -> Option<u64> {
        match self.head()? {
            Head::Plain(length) => Some(length),
            Head::Int8 | Head::Int16 | Head::Int32 | Head::Packed => None,
        }
    }

    pub(super) fn string(&mut self) -> Option<Cow<'a, [u8]>> {
        let number = match self.head()? {
            Head::Plain(length) => {
                let length = usize::try_from(length).ok()?;
                return self.rest.split_off(..length).map(Cow::Borrowed);
            }
            Head::Packed => return self.packed_string().map(Cow::Owned),
            Head::Int8 => i32::from(i8::from_le_bytes(take(&mut self.rest)?)),
            Head::Int16 => i32::from(i16::from_le_bytes(take(&mut self.rest)?)),
            Head::Int32 => i32::from_le_bytes(take(&mut self.rest)?),
        };
        let digits = itoa::Buffer::new().format(number).as_bytes().to_vec();
        Some(Cow::Owned(digits))
    }

    fn packed_string(&mut self) -> Option<Vec<u8>> {
        let packed = usize::try_from(self.length()?).ok()?;
        let plain = usize::try_from(self.length()?).ok()?;
        self.unpacked_bytes_left = self.unpacked_bytes_left.checked_sub(plain)?;
        lzf::decompress(self.rest.split_off(..packed)?, plain)
    }

    /// What the head of a string says of the rest.
    fn head(&mut self) -> Option<Head> {
        let bytes = &mut self.rest;
        let first = *bytes.split_off_first()?;
        let low = first & 0x3f;
        Some(match first >> 6 {
            0 => Head::Plain(u64::from(low)),
            1 => Head::Plain(u64::from(low) << 8 | u64::from(*bytes.split_off_first()?)),
            2 => Head::Plain(match low {
                0 => u64::from(u32::from_be_bytes(take(bytes)?)),
                1 => u64::from_be_bytes(take(bytes)?),
                _ => return None,
            }),
            _ => match low {
                0 => Head::Int8,
                1 => Head::Int16,
                2 => Head::Int32,
                3 => Head::Packed,
                _ => return None,
            },
        })
    }
}

/// What the head of a string says of the rest.
enum Head {
    Plain(u64),
    Int8,
    Int16,
    Int32,
    Packed,
}

/// Visits the items of a packed form two by two; none if one is left over, or `visit` has none.
fn visit_pairs(
    visit_all: fn(&[u8], Visit<'_>) -> Option<()>,
    bytes: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Option<()>,
) -> Option<()> {
    let mut first: Option<Vec<u8>> = None;
    visit_all(bytes, &mut |item| match first.take() {
        None => {
            first = Some(item.to_vec());
            Some(())
        }
        Some(first) => visit(&first, item),
    })?;
    first.is_none().then_some(())
}

/// The bytes at the front, as many as an integer has.
pub(super) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unpacked_has_a_bound() {
        // Breaks if a short payload may become a value without end: each of these strings is 5 bytes long.
        let content =
            b"\x03\xc3\x05\x05\x01aa\x20\x00\xc3\x05\x05\x01aa\x20\x00\xc3\x05\x05\x01aa\x20\x00";
        for (unpacked_bytes_left, expected) in [(15, Some(3)), (14, None)] {
            let mut reader = Reader {
                rest: content,
                unpacked_bytes_left,
            };
            let mut list = List::empty();
            let filled = reader.fill_list(kind::LIST, &mut list);
            assert_eq!(filled.map(|()| list.len()), expected);
        }
    }
}
