//! LZF, the compression of strings in DUMP's payloads (LibLZF's stream format, as RDB files hold it).
//!
//! A stream is a row of two kinds of items:
//!
//! ```text
//! 000LLLLL            then L + 1 bytes that stand for themselves
//! LLLooooo oooooooo   L + 2 bytes (L of 1..=6) copied from o + 1 bytes back in the output
//! 111ooooo LLLLLLLL oooooooo   the same with L + 9 bytes
//! ```
//!
//! `01 61 61` is "aa"; followed by `20 00` it is "aaaaa": 3 bytes from one byte back.

/// Longest run of bytes that stand for themselves.
const LITERAL_BYTES_MAX: usize = 32;
/// Shortest and longest copy.
const COPY_BYTES_MIN: usize = 3;
const COPY_BYTES_MAX: usize = 264;
/// Furthest that a copy reaches back.
const DISTANCE_MAX: usize = 1 << 13;
/// After so many places (as a power of two) without a copy, every second place is tried, then every
/// third: what cannot be packed is given up quickly.
const PATIENCE_BITS: u32 = 6;
/// Most slots of the compressor's table of places seen, as a power of two.
const TABLE_BITS_MAX: u32 = 14;

/// `input` in LZF, or none if that is not shorter by at least `saved_min` bytes.
/// O(length) in time; the table it works with takes at most 64 KiB. `input` is below 4 GiB.
pub(crate) fn compress(input: &[u8], saved_min: usize) -> Option<Vec<u8>> {
    let bytes_max = input.len().checked_sub(saved_min)?;
    let table_bits = input.len().max(16).ilog2().min(TABLE_BITS_MAX);
    // The last place at which three bytes of this hash began; 0 is also a place, and one that a
    // look at the bytes themselves confirms or refutes like any other.
    let mut places = vec![0u32; 1 << table_bits];
    let mut output = Vec::with_capacity(bytes_max.min(input.len() / 2 + 16));
    let (mut at, mut literal_from) = (0, 0);
    while at + COPY_BYTES_MIN <= input.len() {
        let slot = &mut places[hash(&input[at..], table_bits)];
        let candidate = *slot as usize;
        *slot = u32::try_from(at).expect("the input is below 4 GiB");
        let common = match candidate < at && at - candidate <= DISTANCE_MAX {
            true => common_bytes(&input[candidate..], &input[at..]),
            false => 0,
        };
        if common < COPY_BYTES_MIN {
            at += 1 + ((at - literal_from) >> PATIENCE_BITS);
            continue;
        }
        write_literals(&mut output, &input[literal_from..at]);
        write_copy(&mut output, common, at - candidate);
        if output.len() > bytes_max {
            return None;
        }
        at += common;
        literal_from = at;
    }
    write_literals(&mut output, &input[literal_from..]);
    (output.len() <= bytes_max).then_some(output)
}

/// A hash of the first three bytes.
fn hash(bytes: &[u8], bits: u32) -> usize {
    let three = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
    // Knuth's multiplicative hash; the high bits are the well mixed ones.
    (three.wrapping_mul(2_654_435_761) >> (32 - bits)) as usize
}

/// How many bytes, up to the longest copy, the two have in common at their beginning.
fn common_bytes(earlier: &[u8], later: &[u8]) -> usize {
    earlier
        .iter()
        .zip(later)
        .take(COPY_BYTES_MAX)
        .take_while(|(one, other)| one == other)
        .count()
}

fn write_literals(output: &mut Vec<u8>, bytes: &[u8]) {
    for run in bytes.chunks(LITERAL_BYTES_MAX) {
        output.push((run.len() - 1) as u8);
        output.extend_from_slice(run);
    }
}

fn write_copy(output: &mut Vec<u8>, bytes_count: usize, distance: usize) {
    let [offset_high, offset_low] = ((distance - 1) as u16).to_be_bytes();
    let length = bytes_count - 2;
    if length < 7 {
        output.push((length as u8) << 5 | offset_high);
    } else {
        output.push(7 << 5 | offset_high);
        output.push((length - 7) as u8);
    }
    output.push(offset_low);
}

/// The `bytes_count` bytes that `input` stands for, or none if it is not such a stream. Memory is
/// taken in proportion to `input` and not on the word of `bytes_count`.
pub(crate) fn decompress(input: &[u8], bytes_count: usize) -> Option<Vec<u8>> {
    // Three bytes of input stand for at most `COPY_BYTES_MAX` of output.
    if bytes_count > input.len().saturating_mul(COPY_BYTES_MAX / 3) {
        return None;
    }
    let mut output = Vec::with_capacity(bytes_count);
    let mut rest = input;
    while let Some((&control, after)) = rest.split_first() {
        rest = after;
        if control < 1 << 5 {
            let (literals, after) = rest.split_at_checked(usize::from(control) + 1)?;
            rest = after;
            output.extend_from_slice(literals);
        } else {
            let mut length = usize::from(control >> 5) + 2;
            if control >> 5 == 7 {
                length += usize::from(*rest.split_off_first()?);
            }
            let offset_low = *rest.split_off_first()?;
            let offset = u16::from_be_bytes([control & 0x1f, offset_low]);
            let from = output.len().checked_sub(usize::from(offset) + 1)?;
            copy_back(&mut output, from, length);
        }
        if output.len() > bytes_count {
            return None;
        }
    }
    (output.len() == bytes_count).then_some(output)
}

/// Appends `length` bytes that begin at `from`. They may overlap what is being appended: that is how
/// a short pattern is repeated.
fn copy_back(output: &mut Vec<u8>, from: usize, length: usize) {
    let period = output.len() - from;
    if period >= length {
        output.extend_from_within(from..from + length);
    } else {
        for i in 0..length {
            output.push(output[from + i % period]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn drawn_examples_are_read() {
        // Breaks if a field of the stream is taken from the wrong bits.
        assert_eq!(decompress(b"\x01aa", 2).unwrap(), b"aa");
        assert_eq!(decompress(b"\x01aa\x20\x00", 5).unwrap(), b"aaaaa");
        assert_eq!(
            decompress(b"\x00a\xe0\x33\x00\x01bc", 63).unwrap(),
            [&[b'a'; 61][..], b"bc"].concat()
        );
        assert_eq!(decompress(b"\x02abc\x40\x02", 7).unwrap(), b"abcabca");
    }

    #[test]
    fn streams_that_lie_are_refused() {
        // Breaks if a length or distance from outside is believed.
        assert_eq!(decompress(b"\x01aa", 1), None, "longer than said");
        assert_eq!(decompress(b"\x01aa", 3), None, "shorter than said");
        assert_eq!(decompress(b"\x05aa", 6), None, "literals missing");
        assert_eq!(decompress(b"\x00a\x20", 4), None, "distance missing");
        assert_eq!(decompress(b"\x00a\xe0", 4), None, "length missing");
        assert_eq!(
            decompress(b"\x00a\x20\x01", 4),
            None,
            "before the beginning"
        );
        assert_eq!(decompress(b"\x00a", usize::MAX), None, "beyond any stream");
    }

    #[test]
    fn what_does_not_shrink_is_refused() {
        // Breaks if a payload could become longer by compression.
        assert_eq!(compress(b"", 4), None);
        assert_eq!(compress(b"abcdefghijklmnopqrstuvwxyz", 4), None);
        let packed = compress(&[b'x'; 5000], 4).unwrap();
        assert!(packed.len() < 80, "{}", packed.len());
    }

    proptest! {
        #[test]
        fn compressed_bytes_come_back(
            words in proptest::collection::vec(0u8..12, 0..4000),
            stretch in 1usize..40,
        ) {
            // Breaks if any input is changed by being packed and unpacked.
            let input: Vec<u8> =
                words.iter().flat_map(|word| vec![*word; 1 + usize::from(*word) % stretch]).collect();
            if let Some(packed) = compress(&input, 0) {
                prop_assert!(packed.len() <= input.len());
                prop_assert_eq!(decompress(&packed, input.len()).unwrap(), input);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            stream in proptest::collection::vec(any::<u8>(), 0..200),
            bytes_count in 0usize..1000,
        ) {
            // Breaks if a hostile stream could panic or give another length than it was said to have.
            if let Some(output) = decompress(&stream, bytes_count) {
                prop_assert_eq!(output.len(), bytes_count);
            }
        }
    }
}
