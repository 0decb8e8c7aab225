//! BITFIELD and BITFIELD_RO: integers of any width up to 64 bits at any bit of a string.

use crate::access::{edit_string, integer, peek_string, read_string, reply_failure};
use crate::bits::{BAD_BIT_OFFSET, BITMAP_ROW, bit_offset, in_longest_string};
use crate::errors::{ErrorText, SYNTAX};
use crate::string::{GROWING_WRITE, READ_KEY};
use crate::table::first_key;
use crate::{Context, EventClass, Flags, KeyAccess, Row, Run};
use cache::Key;
use resp::{Args, Reply, parse_i64};
use smallvec::SmallVec;

pub(crate) const BITFIELD: Row = Row {
    name: "bitfield",
    arity: -2,
    flags: GROWING_WRITE,
    keys: &[first_key(
        KeyAccess::RW
            .and(KeyAccess::ACCESS)
            .and(KeyAccess::UPDATE)
            .and(KeyAccess::VARIABLE_FLAGS),
    )],
    since: "3.2.0",
    summary: "Reads, sets and adds to integers of any width within the string at a key.",
    complexity: "O(1) for each operation.",
    run: Run::Data(bitfield),
    ..BITMAP_ROW
};

pub(crate) const BITFIELD_RO: Row = Row {
    name: "bitfield_ro",
    flags: Flags::READONLY.and(Flags::FAST),
    keys: &[READ_KEY],
    since: "6.0.0",
    summary: "Reads integers of any width within the string at a key.",
    run: Run::Data(bitfield_ro),
    ..BITFIELD
};

/// One operation.
#[derive(Clone, Copy)]
struct Operation {
    field: Field,
    verb: Verb,
    overflow: Overflow,
}

#[derive(Clone, Copy)]
enum Verb {
    Get,
    Set(i64),
    Add(i64),
}

/// What becomes of a number that does not fit.
#[derive(Clone, Copy)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

/// An integer's place in a string.
#[derive(Clone, Copy)]
struct Field {
    sign: Sign,
    /// 1..=64, unsigned to 63 so that every number is one of the protocol's.
    width: u32,
    /// Of its highest bit.
    offset: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Signed,
    Unsigned,
}

type Operations = SmallVec<[Operation; 4]>;

fn bitfield(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = parse(args.from(2)).and_then(|operations| {
        let key = ctx.first_key(args.get(1));
        match operations.iter().filter_map(Operation::last_written).max() {
            None => reply_fields(ctx, key, &operations, reply),
            Some(last_bit) => {
                let len_min = (last_bit >> 3) as usize + 1;
                run_operations(ctx, key, &operations, len_min, reply)
            }
        }
    });
    reply_failure(reply, outcome);
}

fn bitfield_ro(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = parse(args.from(2)).and_then(|operations| {
        if operations.iter().any(|one| one.last_written().is_some()) {
            return Err("ERR BITFIELD_RO only supports the GET subcommand");
        }
        let key = ctx.first_key(args.get(1));
        reply_fields(ctx, key, &operations, reply)
    });
    reply_failure(reply, outcome);
}

fn parse(args: Args<'_>) -> Result<Operations, ErrorText> {
    let mut operations = Operations::new();
    let mut overflow = Overflow::Wrap;
    let mut rest = args.iter();
    while let Some(word) = rest.next() {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        let left = rest.len();
        if is(b"overflow") && left >= 1 {
            overflow = Overflow::parse(rest.next().ok_or(SYNTAX)?)?;
            continue;
        }
        let known = is(b"get") && left >= 2 || (is(b"set") || is(b"incrby")) && left >= 3;
        let (true, Some(kind), Some(offset)) = (known, rest.next(), rest.next()) else {
            return Err(SYNTAX);
        };
        let field = Field::parse(kind, offset)?;
        let verb = if is(b"get") {
            Verb::Get
        } else {
            let operand = integer(rest.next().ok_or(SYNTAX)?)?;
            if is(b"set") {
                Verb::Set(operand)
            } else {
                Verb::Add(operand)
            }
        };
        operations.push(Operation {
            field,
            verb,
            overflow,
        });
    }
    Ok(operations)
}

impl Overflow {
    fn parse(word: &[u8]) -> Result<Overflow, ErrorText> {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        match word {
            _ if is(b"wrap") => Ok(Overflow::Wrap),
            _ if is(b"sat") => Ok(Overflow::Saturate),
            _ if is(b"fail") => Ok(Overflow::Fail),
            _ => Err("ERR Invalid OVERFLOW type specified"),
        }
    }
}

impl Operation {
    /// The last bit that it writes, if it writes.
    fn last_written(&self) -> Option<u64> {
        match self.verb {
            Verb::Get => None,
            Verb::Set(_) | Verb::Add(_) => {
                Some(self.field.offset + u64::from(self.field.width) - 1)
            }
        }
    }

    /// From the field's number to the one to store and the one to answer; none if it does not fit and
    /// is to fail.
    fn run(&self, before: i128) -> Option<(i128, i128)> {
        match self.verb {
            Verb::Get => Some((before, before)),
            Verb::Set(number) => {
                let after = self.fit(self.field.operand(number), 0)?;
                Some((after, before))
            }
            Verb::Add(number) => {
                let after = self.fit(before, number)?;
                Some((after, after))
            }
        }
    }

    /// `number + delta` as the field can hold it.
    fn fit(&self, number: i128, delta: i64) -> Option<i128> {
        let (min, max) = self.field.bounds();
        let sum = number + i128::from(delta);
        if (min..=max).contains(&sum) {
            return Some(sum);
        }
        match self.overflow {
            Overflow::Fail => None,
            Overflow::Wrap => Some(self.field.wrap(sum)),
            Overflow::Saturate => Some(if self.is_below(number, delta) {
                min
            } else {
                max
            }),
        }
    }

    /// Whether a sum that does not fit lies below the field's range, as Redis tells it: its distance
    /// to the upper bound is a 64-bit number that wraps around, so a number to be set that is far
    /// below a signed field's range counts as above it.
    fn is_below(&self, number: i128, delta: i64) -> bool {
        let (min, max) = self.field.bounds();
        let is_far = self.field.sign == Sign::Signed
            && self.field.width < 64
            && max - number > i128::from(i64::MAX);
        number + i128::from(delta) < min && !is_far
    }
}

impl Field {
    /// `u8`, `i16` …, and its place: in bits, or as `#n` the n-th of such fields.
    fn parse(kind: &[u8], offset: &[u8]) -> Result<Field, ErrorText> {
        let (sign, width) = match kind {
            [b'i', width @ ..] => (Sign::Signed, parse_i64(width)),
            [b'u', width @ ..] => (Sign::Unsigned, parse_i64(width)),
            _ => (Sign::Signed, None),
        };
        let width_max = match sign {
            Sign::Signed => 64,
            Sign::Unsigned => 63,
        };
        let width = width
            .filter(|width| (1..=width_max).contains(width))
            .ok_or(
                "ERR Invalid bitfield type. Use something like i16 u8. \
             Note that u64 is not supported but i64 is.",
            )?;
        let offset = match offset {
            // The product wraps around in Redis too, before it is checked.
            [b'#', index @ ..] => {
                let index = parse_i64(index).ok_or(BAD_BIT_OFFSET)?;
                in_longest_string(index.wrapping_mul(width))?
            }
            _ => bit_offset(offset)?,
        };
        Ok(Field {
            sign,
            width: width as u32,
            offset,
        })
    }

    /// The lowest and the highest number.
    fn bounds(self) -> (i128, i128) {
        match self.sign {
            Sign::Signed => (-(1 << (self.width - 1)), (1 << (self.width - 1)) - 1),
            Sign::Unsigned => (0, (1 << self.width) - 1),
        }
    }

    /// A client's number as one of this field's sign: a negative one counts as a large unsigned one.
    fn operand(self, number: i64) -> i128 {
        match self.sign {
            Sign::Signed => i128::from(number),
            Sign::Unsigned => i128::from(number as u64),
        }
    }

    /// The number's lowest bits, with the field's sign.
    fn wrap(self, number: i128) -> i128 {
        let spare = 128 - self.width;
        match self.sign {
            Sign::Signed => number << spare >> spare,
            Sign::Unsigned => ((number as u128) << spare >> spare) as i128,
        }
    }

    /// Bytes that hold any of its bits, and how far its lowest bit is from their end.
    fn bytes(self) -> (std::ops::Range<usize>, u32) {
        let end = self.offset + u64::from(self.width);
        let bytes = (self.offset >> 3) as usize..end.div_ceil(8) as usize;
        (bytes, (end.wrapping_neg() & 7) as u32)
    }

    /// The number there; bytes beyond the string's end are zero.
    fn read(self, string: &[u8]) -> i128 {
        let (bytes, shift) = self.bytes();
        let wide = bytes.fold(0u128, |wide, index| {
            wide << 8 | u128::from(string.get(index).copied().unwrap_or(0))
        });
        self.wrap((wide >> shift) as i128)
    }

    /// Writes the number there; the string is long enough.
    fn write(self, string: &mut [u8], number: i128) {
        let (bytes, shift) = self.bytes();
        let mask = ((1u128 << self.width) - 1) << shift;
        let bits = (number as u128) << shift & mask;
        for (place, byte) in string[bytes].iter_mut().rev().enumerate() {
            let (mask, bits) = ((mask >> (8 * place)) as u8, (bits >> (8 * place)) as u8);
            *byte = *byte & !mask | bits;
        }
    }
}

/// Answers operations that all read.
fn reply_fields(
    ctx: &mut Context<'_>,
    key: Key<'_>,
    operations: &[Operation],
    reply: &mut Reply<'_>,
) -> Result<(), ErrorText> {
    let value = read_string(ctx, key)?;
    let string = value.as_ref().map_or(&[][..], |value| value.as_bytes());
    reply.array(operations.len());
    for operation in operations {
        reply.integer(operation.field.read(string) as i64);
    }
    Ok(())
}

/// Runs operations of which some write, on a string that is made `len_min` bytes long at least.
fn run_operations(
    ctx: &mut Context<'_>,
    key: Key<'_>,
    operations: &[Operation],
    len_min: usize,
    reply: &mut Reply<'_>,
) -> Result<(), ErrorText> {
    let len_before = peek_string(ctx, key)?.map_or(0, |value| value.as_bytes().len());
    let len = len_before.max(len_min);
    let grows = len > len_before;
    if grows {
        edit_string(ctx, key, len);
    }
    let mut is_changed = false;
    reply.array(operations.len());
    for operation in operations {
        let field = operation.field;
        let value = peek_string(ctx, key)?;
        let before = field.read(value.as_ref().map_or(&[], |value| value.as_bytes()));
        let Some((after, answer)) = operation.run(before) else {
            reply.null();
            continue;
        };
        reply.integer(answer as i64);
        // A number that stays what it is does not count as a change, unless the string has grown.
        let writes = operation.last_written().is_some();
        if after != before {
            field.write(edit_string(ctx, key, len), after);
        }
        is_changed |= writes && (after != before || grows);
    }
    if is_changed {
        ctx.notify(EventClass::String, "setbit", key);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
