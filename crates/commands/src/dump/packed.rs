//! Redis's compact forms of small collections, as strings within a payload: listpacks, the ziplists that were before them, and
//! sorted integers. All are rows of items, which are strings or integers. Integers are little-endian unless told.
//!
//! ```text
//! listpack  bytes (u32)  count (u16)  item …  ff
//! item      0nnnnnnn                   the integer n
//!           10nnnnnn bytes             a string of n bytes
//!           110nnnnn nnnnnnnn          a signed integer of 13 bits (big-endian)
//!           1110nnnn nnnnnnnn bytes    a string of n bytes (big-endian)
//!           f0 u32 bytes               a string
//!           f1 i16, f2 i24, f3 i32, f4 i64
//!           and behind each its own length, to be read backwards: 7 bits a byte, the highest first, bit 7 set in all
//!           bytes but the first
//!
//! ziplist   bytes (u32)  offset of the last item (u32)  count (u16)  item …  ff
//! item      the length of the one before it: n (below fe), or fe u32; then
//!           00nnnnnn bytes             a string of n bytes
//!           01nnnnnn nnnnnnnn bytes    a string of n bytes (big-endian)
//!           80 u32 bytes               a string (big-endian)
//!           c0 i16, f0 i24, d0 i32, e0 i64, fe i8
//!           1111nnnn                   n - 1, which is 0 to 12
//!
//! integers  bytes of each: 2, 4 or 8 (u32)  count (u32)  integers, rising
//! ```
//!
//! A count of ffff says nothing. The listpack of "a" and 1 is `0c 00 00 00 02 00 81 61 02 01 01 ff`. Each function here answers none if
//! the bytes are not such a form to the last one, or if `visit` does.

use super::read::take;
use resp::parse_i64;

/// Is lent an item after the other; an integer in decimal.
pub(super) type Visit<'v> = &'v mut dyn FnMut(&[u8]) -> Option<()>;

/// The count that says nothing.
const COUNT_UNKNOWN: u16 = u16::MAX;
const END: u8 = 0xff;

/// One item, in place.
enum Item<'a> {
    String(&'a [u8]),
    Integer(i64),
}

impl Item<'_> {
    fn visit(&self, visit: Visit<'_>) -> Option<()> {
        match self {
            Item::String(bytes) => visit(bytes),
            Item::Integer(integer) => visit(itoa::Buffer::new().format(*integer).as_bytes()),
        }
    }
}

/// The items of a listpack.
pub(super) fn visit_listpack(bytes: &[u8], visit: Visit<'_>) -> Option<()> {
    let mut rest = bytes;
    let bytes_count = u32::from_le_bytes(take(&mut rest)?);
    let count = u16::from_le_bytes(take(&mut rest)?);
    if usize::try_from(bytes_count) != Ok(bytes.len()) {
        return None;
    }
    let mut seen = 0u64;
    while rest != [END] {
        let before = rest.len();
        let item = listpack_item(&mut rest)?;
        let (length, length_bytes) = back_length(before - rest.len());
        if rest.split_off(..length_bytes)? != &length[..length_bytes] {
            return None;
        }
        item.visit(visit)?;
        seen += 1;
    }
    (count == COUNT_UNKNOWN || u64::from(count) == seen).then_some(())
}

fn listpack_item<'a>(rest: &mut &'a [u8]) -> Option<Item<'a>> {
    let first = *rest.split_off_first()?;
    let length = match first {
        0x00..=0x7f => return Some(Item::Integer(i64::from(first))),
        0x80..=0xbf => usize::from(first & 0x3f),
        0xc0..=0xdf => {
            let bits = u16::from_be_bytes([first & 0x1f, *rest.split_off_first()?]);
            // The 13 bits go to the top and come back with the sign.
            return Some(Item::Integer(i64::from((bits << 3).cast_signed() >> 3)));
        }
        0xe0..=0xef => usize::from(u16::from_be_bytes([first & 0xf, *rest.split_off_first()?])),
        0xf0 => usize::try_from(u32::from_le_bytes(take(rest)?)).ok()?,
        0xf1 => return Some(Item::Integer(i64::from(i16::from_le_bytes(take(rest)?)))),
        0xf2 => return Some(Item::Integer(integer_of_24_bits(take(rest)?))),
        0xf3 => return Some(Item::Integer(i64::from(i32::from_le_bytes(take(rest)?)))),
        0xf4 => return Some(Item::Integer(i64::from_le_bytes(take(rest)?))),
        0xf5..=0xff => return None,
    };
    rest.split_off(..length).map(Item::String)
}

/// What stands behind an item of so many bytes, and how many bytes of it count.
fn back_length(length: usize) -> ([u8; 5], usize) {
    // Redis's own bounds: each but the first is lower by one than would fit.
    let bytes_count = match length {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    };
    let mut bytes = [0; 5];
    for (i, byte) in bytes[..bytes_count].iter_mut().rev().enumerate() {
        *byte = (length >> (7 * i)) as u8 & 0x7f | 0x80;
    }
    bytes[0] &= 0x7f;
    (bytes, bytes_count)
}

fn integer_of_24_bits([low, middle, high]: [u8; 3]) -> i64 {
    i64::from(i32::from_le_bytes([0, low, middle, high]) >> 8)
}

/// A listpack that is written.
#[derive(Debug, Default)]
pub(super) struct Listpack {
    items: Vec<u8>,
    count: usize,
}

impl Listpack {
    /// Bytes of its items.
    pub(super) fn bytes_len(&self) -> usize {
        self.items.len()
    }

    /// Appends a text, as an integer if it is one.
    pub(super) fn text(&mut self, text: &[u8]) {
        if let Some(integer) = parse_i64(text) {
            return self.integer(integer);
        }
        let begin = self.items.len();
        match text.len() {
            length @ 0..0x40 => self.items.push(0x80 | length as u8),
            length @ 0x40..0x1000 => {
                let head = 0xe000 | length as u16;
                self.items.extend_from_slice(&head.to_be_bytes());
            }
            length => {
                self.items.push(0xf0);
                self.items.extend_from_slice(&(length as u32).to_le_bytes());
            }
        }
        self.items.extend_from_slice(text);
        self.end_item(begin);
    }

    /// Appends an integer.
    pub(super) fn integer(&mut self, integer: i64) {
        let begin = self.items.len();
        let bytes = integer.to_le_bytes();
        match integer {
            0..0x80 => self.items.push(bytes[0]),
            -0x1000..0x1000 => {
                let head = 0xc000 | integer as u16 & 0x1fff;
                self.items.extend_from_slice(&head.to_be_bytes());
            }
            -0x8000..0x8000 => self.wide(0xf1, &bytes[..2]),
            -0x80_0000..0x80_0000 => self.wide(0xf2, &bytes[..3]),
            -0x8000_0000..0x8000_0000 => self.wide(0xf3, &bytes[..4]),
            _ => self.wide(0xf4, &bytes),
        }
        self.end_item(begin);
    }

    fn wide(&mut self, head: u8, bytes: &[u8]) {
        self.items.push(head);
        self.items.extend_from_slice(bytes);
    }

    /// Puts its length behind an item.
    fn end_item(&mut self, begin: usize) {
        let (length, length_bytes) = back_length(self.items.len() - begin);
        self.items.extend_from_slice(&length[..length_bytes]);
        self.count += 1;
    }

    /// Appends another's items.
    pub(super) fn append(&mut self, mut other: Listpack) {
        self.items.append(&mut other.items);
        self.count += other.count;
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.items.len() + 7);
        bytes.extend_from_slice(&(self.items.len() as u32 + 7).to_le_bytes());
        let count = u16::try_from(self.count).unwrap_or(COUNT_UNKNOWN);
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&self.items);
        bytes.push(END);
        bytes
    }
}

/// The items of a ziplist.
pub(super) fn visit_ziplist(bytes: &[u8], visit: Visit<'_>) -> Option<()> {
    let mut rest = bytes;
    let bytes_count = u32::from_le_bytes(take(&mut rest)?);
    let _last_offset: [u8; 4] = take(&mut rest)?;
    let count = u16::from_le_bytes(take(&mut rest)?);
    if usize::try_from(bytes_count) != Ok(bytes.len()) {
        return None;
    }
    let (mut seen, mut length_before) = (0u64, 0);
    while rest != [END] {
        let before = rest.len();
        let told = match *rest.split_off_first()? {
            END => return None,
            0xfe => u32::from_le_bytes(take(&mut rest)?),
            length => u32::from(length),
        };
        if usize::try_from(told) != Ok(length_before) {
            return None;
        }
        ziplist_item(&mut rest)?.visit(visit)?;
        length_before = before - rest.len();
        seen += 1;
    }
    (count == COUNT_UNKNOWN || u64::from(count) == seen).then_some(())
}

/// An item behind the length of the one before it.
fn ziplist_item<'a>(rest: &mut &'a [u8]) -> Option<Item<'a>> {
    let first = *rest.split_off_first()?;
    let length = match first {
        0x00..=0x3f => usize::from(first),
        0x40..=0x7f => usize::from(u16::from_be_bytes([first & 0x3f, *rest.split_off_first()?])),
        0x80 => usize::try_from(u32::from_be_bytes(take(rest)?)).ok()?,
        0xc0 => return Some(Item::Integer(i64::from(i16::from_le_bytes(take(rest)?)))),
        0xd0 => return Some(Item::Integer(i64::from(i32::from_le_bytes(take(rest)?)))),
        0xe0 => return Some(Item::Integer(i64::from_le_bytes(take(rest)?))),
        0xf0 => return Some(Item::Integer(integer_of_24_bits(take(rest)?))),
        0xf1..=0xfd => return Some(Item::Integer(i64::from(first & 0xf) - 1)),
        0xfe => return Some(Item::Integer(i64::from(i8::from_le_bytes(take(rest)?)))),
        _ => return None,
    };
    rest.split_off(..length).map(Item::String)
}

/// The members of a set of integers.
pub(super) fn visit_integers(bytes: &[u8], visit: Visit<'_>) -> Option<()> {
    let mut rest = bytes;
    let width = u32::from_le_bytes(take(&mut rest)?);
    let count = u64::from(u32::from_le_bytes(take(&mut rest)?));
    if !matches!(width, 2 | 4 | 8) || count * u64::from(width) != rest.len() as u64 {
        return None;
    }
    let mut before = None;
    while !rest.is_empty() {
        let integer = match width {
            2 => i64::from(i16::from_le_bytes(take(&mut rest)?)),
            4 => i64::from(i32::from_le_bytes(take(&mut rest)?)),
            _ => i64::from_le_bytes(take(&mut rest)?),
        };
        if before.is_some_and(|before| before >= integer) {
            return None;
        }
        Item::Integer(integer).visit(visit)?;
        before = Some(integer);
    }
    Some(())
}
