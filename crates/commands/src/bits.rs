//! Strings as bits, the highest bit of the first byte first: SETBIT, GETBIT, BITCOUNT, BITPOS.

use crate::access::{edit_string, integer, peek_string, read_string, reply_integer};
use crate::errors::{ErrorText, SYNTAX};
use crate::range::{clip, clip_any};
use crate::string::{GROWING_WRITE, READ_KEY, READ_WRITE_KEY, STRING_ROW};
use crate::{Category, Context, EventClass, Flags, Group, Row, Run, STRING_BYTES_MAX};
use resp::{Args, Reply, parse_i64};
use std::ops::Range;

/// What the rows of bit commands have in common.
pub(crate) const BITMAP_ROW: Row = Row {
    categories: Category::BITMAP,
    group: Group::Bitmap,
    ..STRING_ROW
};

/// A place that is no bit of any string.
pub(crate) const BAD_BIT_OFFSET: ErrorText = "ERR bit offset is not an integer or out of range";

/// A bit's place, within the longest string.
///
/// # Errors
/// `BAD_BIT_OFFSET`.
pub(crate) fn bit_offset(argument: &[u8]) -> Result<u64, ErrorText> {
    in_longest_string(parse_i64(argument).ok_or(BAD_BIT_OFFSET)?)
}

/// The offset, if the byte that it lies in is one of the longest string.
pub(crate) fn in_longest_string(offset: i64) -> Result<u64, ErrorText> {
    u64::try_from(offset)
        .ok()
        .filter(|offset| offset >> 3 < STRING_BYTES_MAX as u64)
        .ok_or(BAD_BIT_OFFSET)
}

/// The bit at `offset`, 0 beyond the string's end.
fn bit_at(bytes: &[u8], offset: u64) -> u8 {
    let byte = bytes.get((offset >> 3) as usize).copied().unwrap_or(0);
    byte >> (7 - (offset & 7)) & 1
}

pub(crate) const GETBIT: Row = Row {
    name: "getbit",
    arity: 3,
    flags: Flags::READONLY.and(Flags::FAST),
    keys: &[READ_KEY],
    since: "2.2.0",
    summary: "Returns a bit of the string at a key.",
    run: Run::Data(getbit),
    ..BITMAP_ROW
};

fn getbit(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let key = ctx.first_key(args.get(1));
    let bit = bit_offset(args.get(2)).and_then(|offset| {
        let value = read_string(ctx, key)?;
        Ok(value.map_or(0, |value| bit_at(value.as_bytes(), offset).into()))
    });
    reply_integer(reply, bit);
}

pub(crate) const SETBIT: Row = Row {
    name: "setbit",
    arity: 4,
    flags: GROWING_WRITE,
    keys: &[READ_WRITE_KEY],
    since: "2.2.0",
    summary: "Sets or clears a bit of the string at a key and returns what it was.",
    run: Run::Data(setbit),
    ..BITMAP_ROW
};

fn setbit(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    reply_integer(reply, write_bit(ctx, args));
}

/// Returns the bit before it. As in Redis a bit that stays what it is within the string is no change.
fn write_bit(ctx: &mut Context<'_>, args: Args<'_>) -> Result<i64, ErrorText> {
    let offset = bit_offset(args.get(2))?;
    let bit = match args.get(3) {
        b"0" => 0,
        b"1" => 1,
        _ => return Err("ERR bit is not an integer or out of range"),
    };
    let key = ctx.first_key(args.get(1));
    let (before, len) = match peek_string(ctx, key)? {
        Some(value) => (bit_at(value.as_bytes(), offset), value.as_bytes().len()),
        None => (0, 0),
    };
    let index = (offset >> 3) as usize;
    if before != bit || index >= len {
        let bytes = edit_string(ctx, key, len.max(index + 1));
        let mask = 1 << (7 - (offset & 7));
        bytes[index] = bytes[index] & !mask | bit << (7 - (offset & 7));
        ctx.notify(EventClass::String, "setbit", key);
    }
    Ok(before.into())
}

pub(crate) const BITCOUNT: Row = Row {
    name: "bitcount",
    arity: -2,
    flags: Flags::READONLY,
    keys: &[READ_KEY],
    since: "2.6.0",
    summary: "Counts the bits set in the string at a key, or in a part of it.",
    complexity: "O(N) in the length of the part.",
    run: Run::Data(bitcount),
    ..BITMAP_ROW
};

fn bitcount(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    reply_integer(reply, count_in_range(ctx, args));
}

/// Arguments are looked at before the key, as Redis does since 7.4.
fn count_in_range(ctx: &mut Context<'_>, args: Args<'_>) -> Result<i64, ErrorText> {
    let range = match args.len() {
        2 => BitRange::ALL,
        4 | 5 => BitRange::parse(args.from(2), ParseOrder::EndFirst)?,
        _ => return Err(SYNTAX),
    };
    let key = ctx.first_key(args.get(1));
    let Some(value) = read_string(ctx, key)? else {
        return Ok(0);
    };
    let bytes = value.as_bytes();
    Ok(count_ones(bytes, range.bits(bytes.len(), clip)) as i64)
}

pub(crate) const BITPOS: Row = Row {
    name: "bitpos",
    arity: -3,
    flags: Flags::READONLY,
    keys: &[READ_KEY],
    since: "2.8.7",
    summary: "Finds the first bit set or clear in the string at a key, or in a part of it.",
    complexity: "O(N) in the length of the part.",
    run: Run::Data(bitpos),
    ..BITMAP_ROW
};

fn bitpos(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    reply_integer(reply, find_in_range(ctx, args));
}

/// The place of the first such bit, or -1.
fn find_in_range(ctx: &mut Context<'_>, args: Args<'_>) -> Result<i64, ErrorText> {
    let bit = match integer(args.get(2))? {
        0 => 0,
        1 => 1,
        _ => return Err("ERR The bit argument must be 1 or 0."),
    };
    let range = match args.len() {
        3 => BitRange::ALL,
        4..=6 => BitRange::parse(args.from(3), ParseOrder::UnitFirst)?,
        _ => return Err(SYNTAX),
    };
    let key = ctx.first_key(args.get(1));
    let Some(value) = read_string(ctx, key)? else {
        // A missing string is zeros without end.
        return Ok(if bit == 0 { 0 } else { -1 });
    };
    let bytes = value.as_bytes();
    let bits = range.bits(bytes.len(), clip_any);
    if bits.is_empty() {
        return Ok(-1);
    }
    let end = bits.end;
    Ok(match find_bit(bytes, bits, bit) {
        Some(place) => place as i64,
        // Without an end given, the string counts as followed by zeros.
        None if bit == 0 && range.last.is_none() => end as i64,
        None => -1,
    })
}

/// A part of a string, as BITCOUNT and BITPOS have it.
#[derive(Clone, Copy)]
struct BitRange {
    first: i64,
    /// None: to the string's end.
    last: Option<i64>,
    unit: Unit,
}

#[derive(Clone, Copy)]
enum Unit {
    Byte,
    Bit,
}

impl Unit {
    fn parse(word: &[u8]) -> Result<Unit, ErrorText> {
        match word {
            _ if word.eq_ignore_ascii_case(b"bit") => Ok(Unit::Bit),
            _ if word.eq_ignore_ascii_case(b"byte") => Ok(Unit::Byte),
            _ => Err(SYNTAX),
        }
    }
}

/// In which order the arguments of a part are looked at.
#[derive(Clone, Copy)]
enum ParseOrder {
    /// BITCOUNT's: as they stand.
    EndFirst,
    /// BITPOS's: the unit before the end.
    UnitFirst,
}

impl BitRange {
    const ALL: BitRange = BitRange {
        first: 0,
        last: None,
        unit: Unit::Byte,
    };

    /// `start [end [BYTE | BIT]]`; the caller checked how many they are. `order` tells which of two
    /// bad arguments is the one that is complained about.
    fn parse(args: Args<'_>, order: ParseOrder) -> Result<Self, ErrorText> {
        let first = integer(args.get(0))?;
        let unit = (args.len() > 2).then(|| Unit::parse(args.get(2)));
        let last = (args.len() > 1).then(|| integer(args.get(1)));
        let (last, unit) = match order {
            ParseOrder::EndFirst => (last.transpose()?, unit.transpose()?),
            ParseOrder::UnitFirst => {
                let unit = unit.transpose()?;
                (last.transpose()?, unit)
            }
        };
        Ok(BitRange {
            first,
            last,
            unit: unit.unwrap_or(Unit::Byte),
        })
    }

    /// The part's bits in a string of this length, cut off by the command's own rule.
    fn bits(self, len: usize, clip: fn(i64, i64, usize) -> Range<usize>) -> Range<usize> {
        let last = self.last.unwrap_or(-1);
        match self.unit {
            Unit::Bit => clip(self.first, last, len * 8),
            Unit::Byte => {
                let bytes = clip(self.first, last, len);
                bytes.start * 8..bytes.end * 8
            }
        }
    }
}

/// Bits set among `bits` of `bytes`.
fn count_ones(bytes: &[u8], bits: Range<usize>) -> u64 {
    let (whole, [head, tail]) = split_bits(bytes, &bits, 0);
    let (words, rest) = whole.as_chunks::<8>();
    let in_words: u64 = words
        .iter()
        .map(|word| u64::from(u64::from_ne_bytes(*word).count_ones()))
        .sum();
    let in_rest: u32 = rest.iter().map(|byte| byte.count_ones()).sum();
    in_words + u64::from(in_rest + head.count_ones() + tail.count_ones())
}

/// The first place among `bits` with this bit.
fn find_bit(bytes: &[u8], bits: Range<usize>, bit: u8) -> Option<usize> {
    // Looked for is a byte that is not all of the other bit; what lies outside the part is set so.
    let other = if bit == 0 { 0xff } else { 0 };
    let (whole, [head, tail]) = split_bits(bytes, &bits, other);
    let first_in = |byte: u8| (byte ^ other).leading_zeros() as usize;
    if head != other {
        return Some(bits.start / 8 * 8 + first_in(head));
    }
    let whole_start = bits.start.div_ceil(8) * 8;
    let (words, _) = whole.as_chunks::<8>();
    let skipped = words
        .iter()
        .take_while(|word| u64::from_ne_bytes(**word) == u64::from_ne_bytes([other; 8]))
        .count();
    let found = whole[skipped * 8..]
        .iter()
        .position(|byte| *byte != other)
        .map(|index| skipped * 8 + index);
    if let Some(index) = found {
        return Some(whole_start + index * 8 + first_in(whole[index]));
    }
    (tail != other).then(|| bits.end / 8 * 8 + first_in(tail))
}

/// The whole bytes among `bits`, and the broken ones before and after them, in which bits outside are
/// those of `outside` (all ones or all zeros). A part within one byte is all head.
fn split_bits<'a>(bytes: &'a [u8], bits: &Range<usize>, outside: u8) -> (&'a [u8], [u8; 2]) {
    let inside = |byte: u8, mask: u8| byte & mask | outside & !mask;
    let head_mask = 0xffu8 >> (bits.start % 8);
    let tail_mask = !(0xffu8 >> (bits.end % 8));
    let (first, last) = (bits.start / 8, bits.end / 8);
    if bits.is_empty() {
        return (&[], [outside; 2]);
    }
    if first == last {
        return (&[], [inside(bytes[first], head_mask & tail_mask), outside]);
    }
    let head = match bits.start % 8 {
        0 => outside,
        _ => inside(bytes[first], head_mask),
    };
    let tail = match bits.end % 8 {
        0 => outside,
        _ => inside(bytes[last], tail_mask),
    };
    (&bytes[bits.start.div_ceil(8)..last], [head, tail])
}

#[cfg(test)]
mod tests;
