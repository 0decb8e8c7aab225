//! A pack: up to 128 items side by side in one piece of memory, the leaf of a tree.
//!
//! ```text
//! | count u8 | width u8 | item | item | … room … | mark of last | … | mark of first |
//! ```
//!
//! All numbers are little-endian. A mark is an item's order word and its end (u16), counted from the pack's first byte:
//! a search runs over the marks, which lie together, and touches one item at its end. `width` is how many bytes each
//! order word takes: 0 if all are 0, or else 4 or 8. An item is the key's length (seven bits a byte, lowest first, the
//! top bit set in all but the last), the key, and the value up to the item's end. Two items of order 0, `ab` with value
//! `x` and `c` without, in a piece of 16 bytes:
//!
//! ```text
//! 02 00  02 61 62 78  01 63  00 00 00 00  08 00  06 00     (6 and 8 are the ends)
//! ```
//!
//! An item too long for that lies alone: `| 0 | width u8 | item | order word |`.
//!
//! A pack has no slack but what rounding up to the allocator's next size gives. It is never empty. It does not know
//! what the items are sorted by.

use super::Item;
use crate::class::allocated_bytes;
use smallvec::SmallVec;
use std::cmp::Ordering;
use std::sync::Arc;

/// Most items of a pack.
pub(super) const PACK_ITEMS_MAX: usize = 128;

/// Longest pack of more than one item, bytes: what the allocator gives from 2 KiB, without the count of shares.
pub(super) const PACK_BYTES_MAX: usize = 2048 - SHARES_BYTES;

/// What an allocation that is shared by count holds beside its content.
pub(super) const SHARES_BYTES: usize = 16;

const HEAD_BYTES: usize = 2;
const END_BYTES: usize = 2;

/// The content of a new piece: copying it is the cheapest way to one.
static ZEROS: [u8; PACK_BYTES_MAX] = [0; PACK_BYTES_MAX];

/// The packs that take the place of one.
pub(super) type Packs = SmallVec<[Pack; 4]>;

/// One item at least. A clone shares the memory.
#[derive(Clone)]
pub(super) struct Pack(Arc<[u8]>);

/// Bytes of an order word.
fn width_of(order: u64) -> usize {
    match order {
        0 => 0,
        1..=0xffff_ffff => 4,
        0x1_0000_0000.. => 8,
    }
}

fn length_bytes(length: usize) -> usize {
    1 + length.checked_ilog2().map_or(0, |log| log as usize / 7)
}

/// Bytes of an item, without its mark.
fn item_bytes(item: &Item<'_>) -> usize {
    length_bytes(item.key.len()) + item.key.len() + item.value.len()
}

/// Writes an item to `place`, which is exactly as long.
fn encode(item: &Item<'_>, place: &mut [u8]) {
    let (length, rest) = place.split_at_mut(length_bytes(item.key.len()));
    let mut left = item.key.len();
    for byte in &mut *length {
        *byte = left as u8 | 0x80;
        left >>= 7;
    }
    *length.last_mut().expect("a length has one byte at least") &= 0x7f;
    let (key, value) = rest.split_at_mut(item.key.len());
    key.copy_from_slice(item.key);
    value.copy_from_slice(item.value);
}

/// Writes an item's mark to `place`, which is exactly as long.
fn mark(place: &mut [u8], order: u64, end: usize) {
    let (word, place) = place.split_at_mut(place.len() - END_BYTES);
    word.copy_from_slice(&order.to_le_bytes()[..word.len()]);
    place.copy_from_slice(&(end as u16).to_le_bytes());
}

/// Adds `shift` to the ends in `marks`, modulo 65,536.
fn shift_ends(marks: &mut [u8], mark_bytes: usize, shift: u16) {
    let shifted = |end: &mut [u8]| {
        let sum = u16::from_le_bytes([end[0], end[1]]).wrapping_add(shift);
        end.copy_from_slice(&sum.to_le_bytes());
    };
    // Without order words the loop is one over numbers side by side.
    match mark_bytes {
        END_BYTES => marks.chunks_exact_mut(END_BYTES).for_each(shifted),
        _ => marks
            .chunks_exact_mut(mark_bytes)
            .for_each(|mark| shifted(&mut mark[mark_bytes - END_BYTES..])),
    }
}

fn decode_order(place: &[u8], width: usize) -> u64 {
    let mut order = [0; 8];
    match width {
        0 => return 0,
        4 => order[..4].copy_from_slice(&place[..4]),
        _ => order.copy_from_slice(&place[..8]),
    }
    u64::from_le_bytes(order)
}

/// The key and the value of an item.
fn decode(place: &[u8]) -> (&[u8], &[u8]) {
    if place[0] < 0x80 {
        return place[1..].split_at(usize::from(place[0]));
    }
    let (mut length, mut at) = (0, 0);
    loop {
        length |= usize::from(place[at] & 0x7f) << (7 * at);
        at += 1;
        if place[at - 1] < 0x80 {
            return place[at..].split_at(length);
        }
    }
}

/// A piece of zeros.
fn blank(bytes: usize) -> Arc<[u8]> {
    match ZEROS.get(..bytes) {
        Some(zeros) => Arc::from(zeros),
        None => std::iter::repeat_n(0, bytes).collect(),
    }
}

/// The piece that the allocator gives for `bytes` anyway.
fn roomy(bytes: usize) -> usize {
    allocated_bytes(bytes + SHARES_BYTES) - SHARES_BYTES
}

impl Pack {
    /// These items, one at least, which must fit into one pack.
    pub(super) fn of<'a>(items: impl Iterator<Item = Item<'a>> + Clone) -> Pack {
        let (mut count, mut width) = (0, 0);
        for item in items.clone() {
            count += 1;
            width = width.max(width_of(item.order));
        }
        let bytes: usize = items.clone().map(|item| item_bytes(&item)).sum();
        let mark_bytes = width + END_BYTES;
        let needed = HEAD_BYTES + bytes + count * mark_bytes;
        let alone = needed > PACK_BYTES_MAX;
        assert!(count == 1 || (2..=PACK_ITEMS_MAX).contains(&count) && !alone);
        let mut piece = match alone {
            true => blank(HEAD_BYTES + bytes + width),
            false => blank(roomy(needed)),
        };
        let place = Arc::get_mut(&mut piece).expect("nobody shares a new piece");
        place[0] = if alone { 0 } else { count as u8 };
        place[1] = width as u8;
        let (mut end, mut marks) = (HEAD_BYTES, place.len());
        for item in items {
            let start = end;
            end += item_bytes(&item);
            encode(&item, &mut place[start..end]);
            if alone {
                place[end..].copy_from_slice(&item.order.to_le_bytes()[..width]);
            } else {
                marks -= mark_bytes;
                mark(&mut place[marks..marks + mark_bytes], item.order, end);
            }
        }
        Pack(piece)
    }

    /// These items, one at least, in as many packs as they need; if in more than one, in about equal ones.
    pub(super) fn divide(items: &[Item<'_>]) -> Packs {
        let width = items.iter().map(|item| width_of(item.order)).max();
        let mark_bytes = width.unwrap_or(0) + END_BYTES;
        let weight = |item| item_bytes(item) + mark_bytes;
        let total: usize = items.iter().map(weight).sum();
        let fits = HEAD_BYTES + total <= PACK_BYTES_MAX && items.len() <= PACK_ITEMS_MAX;
        let goal = if fits { usize::MAX } else { total / 2 };
        let mut packs = Packs::new();
        let (mut first, mut bytes) = (0, HEAD_BYTES);
        for (index, item) in items.iter().enumerate() {
            let more = weight(item);
            let full = bytes + more > PACK_BYTES_MAX || index - first == PACK_ITEMS_MAX;
            if index > first && (full || bytes >= goal) {
                packs.push(Pack::of(items[first..index].iter().copied()));
                (first, bytes) = (index, HEAD_BYTES);
            }
            bytes += more;
        }
        packs.push(Pack::of(items[first..].iter().copied()));
        packs
    }

    /// Whether its only item is too long to lie beside another.
    pub(super) fn is_alone(&self) -> bool {
        self.0[0] == 0
    }

    /// How many items there are.
    pub(super) fn len(&self) -> usize {
        usize::from(self.0[0]).max(1)
    }

    /// What the allocator takes for it.
    pub(super) fn bytes(&self) -> usize {
        allocated_bytes(self.0.len() + SHARES_BYTES)
    }

    fn width(&self) -> usize {
        usize::from(self.0[1])
    }

    fn mark_bytes(&self) -> usize {
        self.width() + END_BYTES
    }

    fn end(&self, index: usize) -> usize {
        if self.is_alone() {
            return self.0.len() - self.width();
        }
        let at = self.0.len() - index * self.mark_bytes() - END_BYTES;
        usize::from(u16::from_le_bytes([self.0[at], self.0[at + 1]]))
    }

    fn start(&self, index: usize) -> usize {
        match index {
            0 => HEAD_BYTES,
            _ => self.end(index - 1),
        }
    }

    /// Bytes in use.
    fn needed(&self) -> usize {
        match self.is_alone() {
            true => self.0.len(),
            false => self.end(self.len() - 1) + self.len() * self.mark_bytes(),
        }
    }

    /// The item at `index`, which must be there.
    pub(super) fn item(&self, index: usize) -> Item<'_> {
        let (key, value) = decode(&self.0[self.start(index)..self.end(index)]);
        Item {
            order: self.order(index),
            key,
            value,
        }
    }

    /// The order word of the item at `index`, which must be there.
    pub(super) fn order(&self, index: usize) -> u64 {
        let end = match self.is_alone() {
            true => self.0.len(),
            false => self.0.len() - index * self.mark_bytes() - END_BYTES,
        };
        decode_order(&self.0[end - self.width()..end], self.width())
    }

    /// Its items.
    pub(super) fn items(&self) -> impl Iterator<Item = Item<'_>> + Clone {
        (0..self.len()).map(|index| self.item(index))
    }

    /// Where the item of `order` and `key` is, or else would go.
    pub(super) fn seek(&self, order: u64, key: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            let found = self.order(middle).cmp(&order);
            match found.then_with(|| self.item(middle).key.cmp(key)) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// How many of the first items `is_before` is true of.
    pub(super) fn partition_point(&self, mut is_before: impl FnMut(Item<'_>) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            match is_before(self.item(middle)) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }

    /// Whether it is so empty that it should be put together with a neighbour.
    pub(super) fn is_sparse(&self) -> bool {
        self.needed() < PACK_BYTES_MAX / 4 && self.len() < PACK_ITEMS_MAX / 4
    }

    /// Both packs' items in one pack, if they leave a quarter of it free.
    pub(super) fn joined(&self, next: &Pack) -> Option<Pack> {
        let width = self.width().max(next.width());
        let widened = |pack: &Pack| pack.needed() + (width - pack.width()) * pack.len();
        let fits = widened(self) + widened(next) <= PACK_BYTES_MAX / 4 * 3
            && self.len() + next.len() <= PACK_ITEMS_MAX / 4 * 3;
        fits.then(|| Pack::of(self.items().chain(next.items())))
    }

    /// Whether its order words are wide enough for that of `item`, or there is but one item, which lies alone.
    pub(super) fn is_wide_enough(&self, item: &Item<'_>) -> bool {
        self.is_alone() || width_of(item.order) <= self.width()
    }

    /// Whether `item` can be put before one of its items, or (`gone` is 1) in place of one, by [`Pack::splice`].
    pub(super) fn has_room(&self, index: usize, gone: usize, item: &Item<'_>) -> bool {
        if self.is_alone() || !self.is_wide_enough(item) {
            return false;
        }
        let freed = (0..gone).map(|next| self.end(index + next) - self.start(index + next));
        let needed = self.needed() + item_bytes(item) + self.mark_bytes()
            - freed.sum::<usize>()
            - gone * self.mark_bytes();
        needed <= PACK_BYTES_MAX && self.len() + 1 - gone <= PACK_ITEMS_MAX
    }

    /// Takes away `gone` items (0 or 1) at `index` and puts `item` there, if there is one. It must have room for
    /// it, not lie alone, and keep an item at least.
    pub(super) fn splice(&mut self, index: usize, gone: usize, item: Option<&Item<'_>>) {
        let (mark_bytes, len, start) = (self.mark_bytes(), self.len(), self.start(index));
        let gone_end = if gone == 0 { start } else { self.end(index) };
        let end = self.end(len - 1);
        let come = item.map_or(0, item_bytes);
        let len_after = len - gone + usize::from(item.is_some());
        let needed = end - (gone_end - start) + come + len_after * mark_bytes;
        assert!(!self.is_alone() && len_after > 0 && needed <= PACK_BYTES_MAX);

        if needed > self.0.len() {
            self.move_to(roomy(needed));
        } else if Arc::get_mut(&mut self.0).is_none() {
            self.move_to(self.0.len());
        }
        let place = Arc::get_mut(&mut self.0).expect("nobody shares what was just copied");
        let bytes = place.len();
        // The marks first: where they move to is free of items before and after.
        let later = bytes - len * mark_bytes..bytes - (index + gone) * mark_bytes;
        let marks = bytes - len_after * mark_bytes;
        let later_after = marks..marks + later.len();
        place.copy_within(later, marks);
        place.copy_within(gone_end..end, start + come);
        let shift = (come as u16).wrapping_sub((gone_end - start) as u16);
        shift_ends(&mut place[later_after], mark_bytes, shift);
        if let Some(item) = item {
            encode(item, &mut place[start..start + come]);
            let at = bytes - (index + 1) * mark_bytes;
            mark(&mut place[at..at + mark_bytes], item.order, start + come);
        }
        place[0] = len_after as u8;
        if needed + needed / 2 + 32 < bytes {
            self.move_to(roomy(needed));
        }
    }

    /// Moves to a piece of `bytes`, which must suffice.
    fn move_to(&mut self, bytes: usize) {
        let end = self.end(self.len() - 1);
        let marks = self.len() * self.mark_bytes();
        let mut piece = blank(bytes);
        let place = Arc::get_mut(&mut piece).expect("nobody shares a new piece");
        place[..end].copy_from_slice(&self.0[..end]);
        place[bytes - marks..].copy_from_slice(&self.0[self.0.len() - marks..]);
        self.0 = piece;
    }
}

#[cfg(test)]
impl Pack {
    /// Fails if ends fall, are outside, or leave the piece much too large.
    pub(super) fn check(&self) {
        assert!(self.len() <= PACK_ITEMS_MAX);
        let mut last = HEAD_BYTES;
        for index in 0..self.len() {
            assert!(self.end(index) > last, "an item has a byte at least");
            last = self.end(index);
        }
        assert!(self.needed() <= self.0.len());
        assert!(self.is_alone() || self.0.len() <= PACK_BYTES_MAX);
        assert!(self.0.len() <= roomy(self.needed() * 3 / 2 + 32));
        let with_end = self.needed() + if self.is_alone() { END_BYTES } else { 0 };
        assert_eq!(self.is_alone(), with_end > PACK_BYTES_MAX);
    }

    /// Bytes in use of [`PACK_BYTES_MAX`], or items of the most, whichever is the larger part.
    pub(super) fn fill(&self) -> f64 {
        let bytes = self.needed() as f64 / PACK_BYTES_MAX as f64;
        bytes.max(self.len() as f64 / PACK_ITEMS_MAX as f64)
    }
}
