//! Size classes of slots, and what an allocation really takes.
//!
//! Slots grow by 8 bytes up to 256, by 16 up to 512, and above that by steps that divide the largest page
//! evenly (about 1/15 at 512 bytes, 1/8 at 4 KiB), so that a page's tail is never a large part of it.

use crate::record::RECORD_BYTES_MAX;

/// Smallest slot: a header and sixteen bytes.
pub(crate) const SLOT_BYTES_MIN: usize = 32;

/// Largest page. Pages are powers of two because the allocator's own classes then hold them exactly and one
/// class's (or one shard's) freed page is another's next.
pub(crate) const PAGE_BYTES_MAX: usize = 32 * 1024;

/// Smallest page: what the first record of a class costs.
const PAGE_BYTES_MIN: usize = 4 * 1024;

/// Slots per largest page of the classes over 512 bytes.
const SLOTS_PER_PAGE: [usize; 24] = [
    60, 56, 52, 48, 44, 40, 36, 32, 30, 28, 26, 24, 22, 20, 18, 16, 15, 14, 13, 12, 11, 10, 9, 8,
];

/// How many classes there are.
pub(crate) const CLASSES: usize = 29 + 16 + 24;

const fn sizes() -> [u16; CLASSES] {
    let mut sizes = [0; CLASSES];
    let mut class = 0;
    let mut bytes = SLOT_BYTES_MIN;
    while bytes <= 512 {
        sizes[class] = bytes as u16;
        class += 1;
        bytes += if bytes < 256 { 8 } else { 16 };
    }
    let mut at = 0;
    while at < SLOTS_PER_PAGE.len() {
        sizes[class] = (PAGE_BYTES_MAX / SLOTS_PER_PAGE[at] / 8 * 8) as u16;
        class += 1;
        at += 1;
    }
    assert!(class == CLASSES && sizes[CLASSES - 1] as usize == RECORD_BYTES_MAX);
    sizes
}

/// Slot bytes of each class, rising.
const SIZES: [u16; CLASSES] = sizes();

const fn by_eighths() -> [u8; RECORD_BYTES_MAX / 8 + 1] {
    let mut table = [0; RECORD_BYTES_MAX / 8 + 1];
    let mut class = 0;
    let mut at = 0;
    while at < table.len() {
        if at * 8 > SIZES[class] as usize {
            class += 1;
        }
        table[at] = class as u8;
        at += 1;
    }
    table
}

/// The class of a record of up to `8 * i` bytes.
static BY_EIGHTHS: [u8; RECORD_BYTES_MAX / 8 + 1] = by_eighths();

/// The class of a record of `bytes`, at most [`RECORD_BYTES_MAX`].
pub(crate) fn class_of(bytes: usize) -> usize {
    usize::from(BY_EIGHTHS[bytes.div_ceil(8)])
}

/// Whether slots of `slot_bytes` are those for a record of `bytes`, of whatever length.
#[inline]
pub(crate) fn is_of_class(slot_bytes: usize, bytes: usize) -> bool {
    bytes <= slot_bytes
        && BY_EIGHTHS
            .get(bytes.div_ceil(8))
            .is_some_and(|class| usize::from(SIZES[usize::from(*class)]) == slot_bytes)
}

/// Slot bytes of `class`.
pub(crate) fn slot_bytes(class: usize) -> usize {
    usize::from(SIZES[class])
}

/// Bytes of the next page of a class that holds `class_bytes` in pages already. A page is a
/// sixteenth to an eighth of its class (two slots and 4 KiB at least), which bounds what a partly filled
/// page wastes.
pub(crate) fn page_bytes(class: usize, class_bytes: usize) -> usize {
    (class_bytes / 16)
        .max(slot_bytes(class) * 2)
        .next_power_of_two()
        .clamp(PAGE_BYTES_MIN, PAGE_BYTES_MAX)
}

/// What the allocator takes for `bytes`: classes of four to a doubling up to 512 KiB, then whole 4 KiB
/// pages (mimalloc 3, `mi_good_size`).
pub(crate) fn allocated_bytes(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=64 => bytes.next_multiple_of(8),
        65..=524_288 => {
            let step = 1 << ((bytes - 1).ilog2() - 2);
            bytes.next_multiple_of(step)
        }
        _ => bytes.next_multiple_of(4096),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A class that is too small would write over its neighbour; one too large would waste.
    #[test]
    fn class_holds_its_records() {
        for bytes in 1..=RECORD_BYTES_MAX {
            let class = class_of(bytes);
            assert!(slot_bytes(class) >= bytes);
            assert!(class == 0 || slot_bytes(class - 1) < bytes);
            assert!(bytes < SLOT_BYTES_MIN || slot_bytes(class) <= bytes + bytes / 7 + 8);
        }
    }

    // A largest page of a class whose slots do not divide it would lose its tail for good.
    #[test]
    fn largest_pages_have_short_tails() {
        for class in 0..CLASSES {
            let tail = PAGE_BYTES_MAX % slot_bytes(class);
            assert!(tail * 50 < PAGE_BYTES_MAX, "{} {tail}", slot_bytes(class));
            assert!(PAGE_BYTES_MAX / slot_bytes(class) <= 1024);
        }
    }

    // Accounting by the wrong steps would drift from resident memory with long values.
    #[test]
    fn allocations_round_by_quarters() {
        for (bytes, taken) in [
            (0, 0),
            (1, 8),
            (64, 64),
            (65, 80),
            (4096, 4096),
            (4097, 5120),
            (100_000, 114_688),
            (524_288, 524_288),
            (600_000, 602_112),
        ] {
            assert_eq!(allocated_bytes(bytes), taken, "{bytes}");
        }
    }
}
