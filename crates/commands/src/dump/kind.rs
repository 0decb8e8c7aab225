//! The types of values in payloads, by their first byte.

pub(super) const STRING: u8 = 0;
/// A count, then the elements.
pub(super) const LIST: u8 = 1;
/// A count, then the members.
pub(super) const SET: u8 = 2;
/// A count, then members, each with its score in text.
pub(super) const SORTED_SET_TEXT: u8 = 3;
/// A count, then fields, each with its value.
pub(super) const HASH: u8 = 4;
/// A count, then members, each with its score as a double (little-endian).
pub(super) const SORTED_SET: u8 = 5;
/// A ziplist of elements.
pub(super) const LIST_ZIPLIST: u8 = 10;
/// Sorted integers.
pub(super) const SET_INTEGERS: u8 = 11;
/// A ziplist of members and scores.
pub(super) const SORTED_SET_ZIPLIST: u8 = 12;
/// A ziplist of fields and values.
pub(super) const HASH_ZIPLIST: u8 = 13;
/// A count, then ziplists of elements.
pub(super) const LIST_OF_ZIPLISTS: u8 = 14;
/// A stream, up to Redis 6.2.
pub(super) const STREAM: u8 = 15;
/// A listpack of fields and values.
pub(super) const HASH_LISTPACK: u8 = 16;
/// A listpack of members and scores.
pub(super) const SORTED_SET_LISTPACK: u8 = 17;
/// A count, then parts: [`PART_ELEMENT`] and an element, or [`PART_LISTPACK`] and a listpack of elements.
pub(super) const LIST_OF_PARTS: u8 = 18;
pub(super) const PART_ELEMENT: u64 = 1;
pub(super) const PART_LISTPACK: u64 = 2;
/// A stream, of Redis 7.0.
pub(super) const STREAM_COUNTED: u8 = 19;
/// A listpack of members.
pub(super) const SET_LISTPACK: u8 = 20;
/// A stream, since Redis 7.2.
pub(super) const STREAM_ACTIVE: u8 = 21;

/// Highest type of a value in the newest version that is read; beyond are marks that only files hold.
pub(super) const MAX: u8 = 25;
/// Was never given.
pub(super) const NONE: u8 = 8;
