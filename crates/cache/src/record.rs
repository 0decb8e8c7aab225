//! The layout of one record in its slot.
//!
//! ```text
//! offset  0      4      8      12     16             (24)
//!         prev   next   stamp  head   expires_at     fence          key ...  body ...
//!         u32    u32    u32    u32    u64, only in   u64, only in   key_len  body_len
//!                                     volatile ones  pinned ones    bytes    bytes
//! ```
//!
//! All numbers are little-endian. `prev` and `next` are [`Location`]s in a recency list (or
//! [`NOWHERE`]), `stamp` is the time of the last access in units of 2^[`STAMP_SHIFT`] ms, modulo 2^32.
//!
//! `head` holds, from its lowest bit: volatile, pinned, edited, aside (one bit each), the database
//! (4 bits), `key_len` (12 bits) and `body_len` (12 bits). The body is the value itself, or the 4-byte
//! index of an [`crate::aside::Asides`] slot. A key too long to be inline lies aside too: its `key_len`
//! is [`KEY_ASIDE`] and no key byte is in the slot.
//!
//! Example: key `k`, value `abc`, no expiry, database 2 takes 20 bytes; its head is `0x0030_0120`.

use crate::{Pin, StringForm};

/// Where a record lies: page number and slot number in one word (see [`crate::pages`]).
pub(crate) type Location = u32;

/// No location: the end of a list, an empty bucket.
pub(crate) const NOWHERE: Location = u32::MAX;

/// Bytes of a record before its expiry, key and body.
pub(crate) const HEADER_BYTES: usize = 16;

/// Bytes of the expiry, where there is one.
pub(crate) const EXPIRY_BYTES: usize = 8;

/// Bytes of the fence, where there is one.
pub(crate) const FENCE_BYTES: usize = 8;

/// Longest record that lies in a page.
pub(crate) const RECORD_BYTES_MAX: usize = 4096;

/// Longest key that lies in the record.
pub(crate) const KEY_INLINE_BYTES_MAX: usize = 2048;

/// The `key_len` of a key that lies aside.
const KEY_ASIDE: u32 = 0xfff;

/// Bytes of an index into the asides.
pub(crate) const ASIDE_INDEX_BYTES: usize = 4;

/// A stamp's unit is 2^4 = 16 ms: fine enough for the order of two lists, and it wraps after 2.1 years.
pub(crate) const STAMP_SHIFT: u32 = 4;

/// What the head word says, apart from the length of key and body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traits {
    /// Has an expiry.
    pub volatile: bool,
    /// Lock path or not.
    pub pin: Pin,
    /// Set whole or edited.
    pub form: StringForm,
    /// Numbered database.
    pub db: u8,
}

impl Traits {
    /// Bytes of a record before its key.
    #[inline]
    pub(crate) fn lead_bytes(self) -> usize {
        let expiry = if self.volatile { EXPIRY_BYTES } else { 0 };
        let fence = match self.pin {
            Pin::Pinned => FENCE_BYTES,
            Pin::Unpinned => 0,
        };
        HEADER_BYTES + expiry + fence
    }
}

/// A decoded head word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head(u32);

const VOLATILE: u32 = 1;
const PINNED: u32 = 2;
const EDITED: u32 = 4;
const ASIDE: u32 = 8;

/// Where key and value go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Both in the slot.
    Inline,
    /// The key in the slot, the value aside.
    ValueAside,
    /// Both aside.
    AllAside,
}

impl Placement {
    /// Where a key and a value of these lengths go, in a record with these traits.
    pub(crate) fn of(key_bytes: usize, value_bytes: usize, traits: Traits) -> Placement {
        if key_bytes > KEY_INLINE_BYTES_MAX {
            Placement::AllAside
        } else if value_bytes > RECORD_BYTES_MAX
            || traits.lead_bytes() + key_bytes + value_bytes > RECORD_BYTES_MAX
        {
            Placement::ValueAside
        } else {
            Placement::Inline
        }
    }
}

impl Head {
    /// The head of a record with these traits, for a key and a value of these lengths.
    #[inline]
    pub(crate) fn new(
        traits: Traits,
        placement: Placement,
        key_bytes: usize,
        value_bytes: usize,
    ) -> Head {
        let (aside, key_len, body_len) = match placement {
            Placement::Inline => (0, key_bytes as u32, value_bytes as u32),
            Placement::ValueAside => (ASIDE, key_bytes as u32, ASIDE_INDEX_BYTES as u32),
            Placement::AllAside => (ASIDE, KEY_ASIDE, ASIDE_INDEX_BYTES as u32),
        };
        debug_assert!(key_len <= KEY_ASIDE && body_len <= 0xfff);
        let flag = |is_set: bool, bit: u32| if is_set { bit } else { 0 };
        let flags = flag(traits.volatile, VOLATILE)
            | flag(traits.pin == Pin::Pinned, PINNED)
            | flag(traits.form == StringForm::Edited, EDITED);
        Head(flags | aside | u32::from(traits.db) << 4 | key_len << 8 | body_len << 20)
    }

    #[inline]
    pub(crate) fn is_volatile(self) -> bool {
        self.0 & VOLATILE != 0
    }

    #[inline]
    pub(crate) fn is_aside(self) -> bool {
        self.0 & ASIDE != 0
    }

    #[inline]
    pub(crate) fn is_key_aside(self) -> bool {
        (self.0 >> 8) & 0xfff == KEY_ASIDE
    }

    #[inline]
    pub(crate) fn is_pinned(self) -> bool {
        self.0 & PINNED != 0
    }

    #[inline]
    pub(crate) fn pin(self) -> Pin {
        if self.is_pinned() {
            Pin::Pinned
        } else {
            Pin::Unpinned
        }
    }

    #[inline]
    pub(crate) fn form(self) -> StringForm {
        if self.0 & EDITED != 0 {
            StringForm::Edited
        } else {
            StringForm::Whole
        }
    }

    #[inline]
    pub(crate) fn db(self) -> u8 {
        (self.0 >> 4) as u8 & 15
    }

    #[inline]
    pub(crate) fn traits(self) -> Traits {
        Traits {
            volatile: self.is_volatile(),
            pin: self.pin(),
            form: self.form(),
            db: self.db(),
        }
    }

    /// The head of the same record, its key and value inline, with a value of `value_bytes` set whole.
    #[inline]
    pub(crate) fn with_whole(self, value_bytes: usize) -> Head {
        debug_assert!(!self.is_aside() && value_bytes <= 0xfff);
        Head(self.0 & 0x000f_ffff & !EDITED | (value_bytes as u32) << 20)
    }

    /// Key bytes in the slot.
    #[inline]
    pub(crate) fn key_len(self) -> usize {
        let len = (self.0 >> 8) & 0xfff;
        if len == KEY_ASIDE { 0 } else { len as usize }
    }

    /// Body bytes in the slot.
    #[inline]
    pub(crate) fn body_len(self) -> usize {
        (self.0 >> 20) as usize
    }

    /// Offset of the key in the slot.
    #[inline]
    pub(crate) fn key_start(self) -> usize {
        // Volatile is bit 0 and pinned is bit 1, and each stands for eight bytes.
        HEADER_BYTES + (self.0 & VOLATILE) as usize * 8 + (self.0 & PINNED) as usize * 4
    }

    /// Offset of the body in the slot.
    #[inline]
    pub(crate) fn body_start(self) -> usize {
        self.key_start() + self.key_len()
    }

    /// Length of the whole record.
    #[inline]
    pub(crate) fn record_len(self) -> usize {
        self.body_start() + self.body_len()
    }
}

fn word(slot: &[u8], at: usize) -> u32 {
    let bytes: [u8; 4] = slot[at..at + 4].try_into().expect("four bytes");
    u32::from_le_bytes(bytes)
}

fn set_word(slot: &mut [u8], at: usize, value: u32) {
    slot[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// The neighbour towards the most recent one.
#[inline]
pub(crate) fn prev(slot: &[u8]) -> Location {
    word(slot, 0)
}

/// The neighbour towards the least recent one.
#[inline]
pub(crate) fn next(slot: &[u8]) -> Location {
    word(slot, 4)
}

#[inline]
pub(crate) fn set_prev(slot: &mut [u8], to: Location) {
    set_word(slot, 0, to);
}

#[inline]
pub(crate) fn set_next(slot: &mut [u8], to: Location) {
    set_word(slot, 4, to);
}

/// Time of the last access, in units of 2^[`STAMP_SHIFT`] ms modulo 2^32.
#[inline]
pub(crate) fn stamp(slot: &[u8]) -> u32 {
    word(slot, 8)
}

#[inline]
pub(crate) fn set_stamp(slot: &mut [u8], stamp: u32) {
    set_word(slot, 8, stamp);
}

#[inline]
pub(crate) fn head(slot: &[u8]) -> Head {
    Head(word(slot, 12))
}

#[inline]
pub(crate) fn set_head(slot: &mut [u8], head: Head) {
    set_word(slot, 12, head.0);
}

/// The expiry of a record, in ms of log time.
#[inline]
pub(crate) fn expires_at(slot: &[u8], head: Head) -> Option<u64> {
    head.is_volatile().then(|| volatile_expires_at(slot))
}

/// The expiry of a record that is known to be volatile.
#[inline]
pub(crate) fn volatile_expires_at(slot: &[u8]) -> u64 {
    let bytes: [u8; 8] = slot[HEADER_BYTES..HEADER_BYTES + EXPIRY_BYTES]
        .try_into()
        .expect("eight bytes");
    u64::from_le_bytes(bytes)
}

/// Writes the expiry of a volatile record.
#[inline]
pub(crate) fn set_expires_at(slot: &mut [u8], at: u64) {
    slot[HEADER_BYTES..HEADER_BYTES + EXPIRY_BYTES].copy_from_slice(&at.to_le_bytes());
}

fn fence_start(head: Head) -> usize {
    head.key_start() - FENCE_BYTES
}

/// The fence of a pinned record; 0 in any other.
#[inline]
pub(crate) fn fence(slot: &[u8], head: Head) -> u64 {
    if head.is_pinned() {
        pinned_fence(slot, head)
    } else {
        0
    }
}

#[cold]
fn pinned_fence(slot: &[u8], head: Head) -> u64 {
    let bytes: [u8; 8] = slot[fence_start(head)..head.key_start()]
        .try_into()
        .expect("eight bytes");
    u64::from_le_bytes(bytes)
}

/// Writes the fence of a pinned record.
pub(crate) fn set_fence(slot: &mut [u8], head: Head, fence: u64) {
    slot[fence_start(head)..head.key_start()].copy_from_slice(&fence.to_le_bytes());
}

/// The inline key.
#[inline]
pub(crate) fn key(slot: &[u8], head: Head) -> &[u8] {
    &slot[head.key_start()..head.body_start()]
}

/// The body: value or aside index.
#[inline]
pub(crate) fn body(slot: &[u8], head: Head) -> &[u8] {
    &slot[head.body_start()..head.record_len()]
}

#[inline]
pub(crate) fn body_mut(slot: &mut [u8], head: Head) -> &mut [u8] {
    &mut slot[head.body_start()..head.record_len()]
}

/// The aside index in the body of a record that [`Head::is_aside`].
#[inline]
pub(crate) fn aside_index(slot: &[u8], head: Head) -> u32 {
    word(slot, head.body_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    // A head whose fields overlap would mix lengths with flags.
    #[test]
    fn head_fields_are_apart() {
        for volatile in [false, true] {
            for pin in [Pin::Unpinned, Pin::Pinned] {
                for form in [StringForm::Whole, StringForm::Edited] {
                    for (db, key, value) in [(0, 0, 0), (15, 2048, 2000), (2, 1, 3), (7, 0, 4064)] {
                        let traits = Traits {
                            volatile,
                            pin,
                            form,
                            db,
                        };
                        let placement = Placement::of(key, value, traits);
                        assert_eq!(placement, Placement::Inline);
                        let head = Head::new(traits, placement, key, value);
                        assert_eq!(head.traits(), traits);
                        assert_eq!((head.key_len(), head.body_len()), (key, value));
                        assert!(!head.is_aside() && !head.is_key_aside());
                        assert_eq!(head.key_start(), traits.lead_bytes());
                        assert!(head.record_len() <= RECORD_BYTES_MAX);
                    }
                }
            }
        }
        let example = Traits {
            volatile: false,
            pin: Pin::Unpinned,
            form: StringForm::Whole,
            db: 2,
        };
        let head = Head::new(example, Placement::Inline, 1, 3);
        assert_eq!((head.0, head.record_len()), (0x0030_0120, 20));
    }

    // A record one byte over the largest class would find no slot.
    #[test]
    fn long_records_go_aside() {
        let plain = Traits {
            volatile: false,
            pin: Pin::Unpinned,
            form: StringForm::Whole,
            db: 0,
        };
        let volatile = Traits {
            volatile: true,
            ..plain
        };
        let pinned = Traits {
            pin: Pin::Pinned,
            ..volatile
        };
        for (key, value, traits, wanted) in [
            (16, 4064, plain, Placement::Inline),
            (16, 4065, plain, Placement::ValueAside),
            (16, 4056, volatile, Placement::Inline),
            (16, 4057, volatile, Placement::ValueAside),
            (16, 4048, pinned, Placement::Inline),
            (16, 4049, pinned, Placement::ValueAside),
            (2049, 0, plain, Placement::AllAside),
            (2048, usize::MAX, volatile, Placement::ValueAside),
        ] {
            assert_eq!(Placement::of(key, value, traits), wanted, "{key} {value}");
        }
    }
}
