//! Parts of strings: GETRANGE (and its old name SUBSTR), SETRANGE, APPEND, STRLEN. Edits are done in
//! place, so that a long string is not copied for each of them.

use crate::access::{
    Text, edit_string, integer, peek_string, put_string, read_string, reply_failure, reply_integer,
};
use crate::errors::{ErrorText, STRING_TOO_LONG};
use crate::string::{GROWING_WRITE, READ_KEY, STRING_ROW};
use crate::table::first_key;
use crate::{Context, EventClass, Flags, KeyAccess, Row, Run, STRING_BYTES_MAX};
use cache::{Expiry, Pin};
use resp::{Args, Reply};
use std::ops::Range;

pub(crate) const GETRANGE: Row = Row {
    name: "getrange",
    arity: 4,
    flags: Flags::READONLY,
    keys: &[READ_KEY],
    since: "2.4.0",
    summary: "Returns a part of the string at a key.",
    complexity: "O(N) in the length of the part.",
    run: Run::Data(getrange),
    ..STRING_ROW
};

pub(crate) const SUBSTR: Row = Row {
    name: "substr",
    since: "1.0.0",
    summary: "The old name of GETRANGE.",
    ..GETRANGE
};

fn getrange(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = reply_range(ctx, args, reply);
    reply_failure(reply, outcome);
}

fn reply_range(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), ErrorText> {
    let (first, last) = (integer(args.get(2))?, integer(args.get(3))?);
    let key = ctx.first_key(args.get(1));
    match read_string(ctx, key)? {
        Some(value) => {
            let range = clip(first, last, value.as_bytes().len());
            match value {
                Text::Inline(bytes) => reply.bulk(&bytes[range]),
                Text::Shared(bytes) => reply.bulk_shared(&bytes.slice(range)),
            }
        }
        None => reply.bulk(b""),
    }
    Ok(())
}

/// The places `first..=last` of something `len` long, as most of Redis's ranges have it: negative
/// places count from the end, and what lies outside is cut off.
pub(crate) fn clip(first: i64, last: i64, len: usize) -> Range<usize> {
    // Both from the end and the wrong way round: empty, though cutting off at 0 would find a byte.
    if first < 0 && last < 0 && first > last {
        return 0..0;
    }
    clip_any(first, last, len)
}

/// As [`clip`], but for `-5 -9` of 3: cut off at 0, it finds the first place. BITPOS has it so.
pub(crate) fn clip_any(first: i64, last: i64, len: usize) -> Range<usize> {
    let len = len as i64;
    let from_start = |place: i64| {
        if place < 0 {
            (len + place).max(0)
        } else {
            place
        }
    };
    let first = from_start(first);
    let end = from_start(last).min(len - 1) + 1;
    if first >= end {
        return 0..0;
    }
    first as usize..end as usize
}

pub(crate) const SETRANGE: Row = Row {
    name: "setrange",
    arity: 4,
    flags: GROWING_WRITE,
    keys: &[first_key(KeyAccess::RW.and(KeyAccess::UPDATE))],
    since: "2.2.0",
    summary: "Writes over a part of the string at a key; a gap before it is filled with zero bytes.",
    complexity: "O(M) in the length of the argument, if the string need not grow.",
    run: Run::Data(setrange),
    ..STRING_ROW
};

fn setrange(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    reply_integer(reply, write_range(ctx, args));
}

/// Returns the string's length after it.
fn write_range(ctx: &mut Context<'_>, args: Args<'_>) -> Result<i64, ErrorText> {
    let offset = integer(args.get(2))?;
    let offset = u64::try_from(offset).map_err(|_| "ERR offset is out of range")?;
    let key = ctx.first_key(args.get(1));
    let part = args.get(3);
    let len = peek_string(ctx, key)?.map_or(0, |value| value.as_bytes().len());
    if part.is_empty() {
        return Ok(len as i64);
    }
    if offset.saturating_add(part.len() as u64) > STRING_BYTES_MAX as u64 {
        return Err(STRING_TOO_LONG);
    }
    let (offset, end) = (offset as usize, offset as usize + part.len());
    let len = len.max(end);
    edit_string(ctx, key, len)[offset..end].copy_from_slice(part);
    ctx.notify(EventClass::String, "setrange", key);
    Ok(len as i64)
}

pub(crate) const APPEND: Row = Row {
    name: "append",
    arity: 3,
    flags: GROWING_WRITE.and(Flags::FAST),
    keys: &[first_key(KeyAccess::RW.and(KeyAccess::INSERT))],
    since: "2.0.0",
    summary: "Appends to the string at a key, or sets the key if it is missing.",
    complexity: "O(1), amortised, for a short argument.",
    run: Run::Data(append),
    ..STRING_ROW
};

fn append(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    reply_integer(reply, append_part(ctx, args));
}

/// Returns the string's length after it.
fn append_part(ctx: &mut Context<'_>, args: Args<'_>) -> Result<i64, ErrorText> {
    let key = ctx.first_key(args.get(1));
    let part = args.get(2);
    let len = match peek_string(ctx, key)? {
        Some(value) => {
            let before = value.as_bytes().len();
            let len = before + part.len();
            if len > STRING_BYTES_MAX {
                return Err(STRING_TOO_LONG);
            }
            edit_string(ctx, key, len)[before..].copy_from_slice(part);
            len
        }
        None => {
            put_string(ctx, key, part, Expiry::Never, Pin::Unpinned);
            part.len()
        }
    };
    ctx.notify(EventClass::String, "append", key);
    Ok(len as i64)
}

pub(crate) const STRLEN: Row = Row {
    name: "strlen",
    arity: 2,
    flags: Flags::READONLY.and(Flags::FAST),
    keys: &[first_key(KeyAccess::RO)],
    since: "2.2.0",
    summary: "Returns the length in bytes of the string at a key.",
    run: Run::Data(strlen),
    ..STRING_ROW
};

fn strlen(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let key = ctx.first_key(args.get(1));
    let len = read_string(ctx, key).map(|value| value.map_or(0, |v| v.as_bytes().len() as i64));
    reply_integer(reply, len);
}

#[cfg(test)]
mod tests;
