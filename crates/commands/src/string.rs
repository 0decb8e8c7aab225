//! Strings, read and replaced whole: GET, GETSET, MGET, MSET, MSETNX, MSETEX. The head of
//! the string family: [`ROWS`] lists the rows of all its files.

use crate::access::{put_string, read_string, reply_integer, reply_value};
use crate::errors::ErrorText;
use crate::string_options::{Allowed, Options};
use crate::string_set::notify_set;
use crate::table::first_key;
use crate::{
    BeginSearch, Category, Context, EventClass, FindKeys, Flags, Group, KeyAccess, KeySpec, Row,
    Run, Split,
};
use crate::{bitfield, bitop, bits, counter, lcs, range, string_delete, string_set};
use cache::{Expiry, Pin};
use resp::{Args, Reply, parse_i64};

/// The family's rows.
pub static ROWS: &[Row] = &[
    range::APPEND,
    bits::BITCOUNT,
    bitfield::BITFIELD,
    bitfield::BITFIELD_RO,
    bitop::BITOP,
    bits::BITPOS,
    counter::DECR,
    counter::DECRBY,
    string_delete::DELEX,
    string_delete::DELIFEQ,
    GET,
    bits::GETBIT,
    string_delete::GETDEL,
    string_set::GETEX,
    range::GETRANGE,
    GETSET,
    counter::INCR,
    counter::INCRBY,
    counter::INCRBYFLOAT,
    lcs::LCS,
    MGET,
    MSET,
    MSETEX,
    MSETNX,
    string_set::PSETEX,
    string_set::SET,
    bits::SETBIT,
    string_set::SETEX,
    string_set::SETNX,
    range::SETRANGE,
    range::STRLEN,
    range::SUBSTR,
];

/// What the family's rows have in common.
pub(crate) const STRING_ROW: Row = Row {
    name: "",
    arity: 0,
    flags: Flags::NONE,
    keys: &[],
    categories: Category::STRING,
    group: Group::String,
    since: "1.0.0",
    summary: "",
    complexity: "O(1)",
    split: Split::Whole,
    run: Run::Later,
    patience: None,
    blocks: None,
    subcommands: &[],
};

/// A key that is read.
pub(crate) const READ_KEY: KeySpec = first_key(KeyAccess::RO.and(KeyAccess::ACCESS));

/// A key that is read and then written.
pub(crate) const READ_WRITE_KEY: KeySpec =
    first_key(KeyAccess::RW.and(KeyAccess::ACCESS).and(KeyAccess::UPDATE));

/// Flags of a write that may grow memory.
pub(crate) const GROWING_WRITE: Flags = Flags::WRITE.and(Flags::DENYOOM);

/// Keys from the first argument on, every `step`-th.
const fn every_key(step: u8, access: KeyAccess) -> KeySpec {
    KeySpec {
        begin: BeginSearch::Index(1),
        find: FindKeys::Range {
            last: -1,
            step,
            limit: 0,
        },
        access,
    }
}

const GET: Row = Row {
    name: "get",
    arity: 2,
    flags: Flags::READONLY.and(Flags::FAST),
    keys: &[READ_KEY],
    summary: "Returns the string at a key.",
    run: Run::Data(get),
    ..STRING_ROW
};

fn get(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let key = ctx.first_key(args.get(1));
    match read_string(ctx, key) {
        Ok(Some(value)) => reply_value(reply, value),
        Ok(None) => reply.null(),
        Err(text) => reply.error(text),
    }
}

const GETSET: Row = Row {
    name: "getset",
    arity: 3,
    flags: GROWING_WRITE.and(Flags::FAST),
    keys: &[READ_WRITE_KEY],
    summary: "Sets a key to a string and returns the string that was there before.",
    run: Run::Data(getset),
    ..STRING_ROW
};

fn getset(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let key = ctx.first_key(args.get(1));
    match read_string(ctx, key) {
        Ok(Some(value)) => reply_value(reply, value),
        Ok(None) => reply.null(),
        Err(text) => return reply.error(text),
    }
    put_string(ctx, key, args.get(2), Expiry::Never, Pin::Unpinned);
    ctx.notify(EventClass::String, "set", key);
}

const MGET: Row = Row {
    name: "mget",
    arity: -2,
    flags: Flags::READONLY.and(Flags::FAST),
    keys: &[every_key(1, KeyAccess::RO.and(KeyAccess::ACCESS))],
    summary: "Returns the strings at several keys.",
    complexity: "O(N) in the number of keys.",
    split: Split::Gather,
    run: Run::Data(mget),
    ..STRING_ROW
};

/// A key of another type answers null here, as Redis has it: MGET never fails.
fn mget(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    reply.array(args.len() - 1);
    let mut key = ctx.first_key(args.get(1));
    for position in 1..args.len() {
        if position > 1 {
            key = ctx.key(args.get(position));
        }
        match read_string(ctx, key) {
            Ok(Some(value)) => reply_value(reply, value),
            Ok(None) | Err(_) => reply.null(),
        }
    }
}

const MSET: Row = Row {
    name: "mset",
    arity: -3,
    flags: GROWING_WRITE.and(Flags::BRIEF),
    keys: &[every_key(2, KeyAccess::OW.and(KeyAccess::UPDATE))],
    since: "1.0.1",
    summary: "Sets several keys to strings.",
    complexity: "O(N) in the number of keys.",
    split: Split::AllOk,
    run: Run::Data(mset),
    ..STRING_ROW
};

fn mset(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    if args.len().is_multiple_of(2) {
        return reply.error("ERR wrong number of arguments for 'mset' command");
    }
    set_pairs(ctx, args);
    reply.ok();
}

const MSETNX: Row = Row {
    name: "msetnx",
    arity: -3,
    flags: GROWING_WRITE,
    keys: &[every_key(2, KeyAccess::OW.and(KeyAccess::INSERT))],
    since: "1.0.1",
    summary: "Sets several keys to strings, provided that none of them exists.",
    complexity: "O(N) in the number of keys.",
    run: Run::Data(msetnx),
    ..STRING_ROW
};

fn msetnx(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    if args.len().is_multiple_of(2) {
        return reply.error("ERR wrong number of arguments for 'msetnx' command");
    }
    for position in (1..args.len()).step_by(2) {
        let key = ctx.key(args.get(position));
        if ctx.cache(key).peek(key).is_some() {
            return reply.integer(0);
        }
    }
    set_pairs(ctx, args);
    reply.integer(1);
}

/// Sets every key to the value behind it, from argument 1 to the end.
fn set_pairs(ctx: &mut Context<'_>, args: Args<'_>) {
    let mut key = ctx.first_key(args.get(1));
    for position in (1..args.len()).step_by(2) {
        if position > 1 {
            key = ctx.key(args.get(position));
        }
        put_string(
            ctx,
            key,
            args.get(position + 1),
            Expiry::Never,
            Pin::Unpinned,
        );
        ctx.notify(EventClass::String, "set", key);
    }
}

const MSETEX: Row = Row {
    name: "msetex",
    arity: -4,
    flags: GROWING_WRITE.and(Flags::MOVABLE_KEYS),
    keys: &[KeySpec {
        begin: BeginSearch::Index(1),
        find: FindKeys::KeyNum {
            count_at: 0,
            first: 1,
            step: 2,
        },
        access: KeyAccess::OW.and(KeyAccess::UPDATE),
    }],
    since: "8.4.0",
    summary: "Sets several keys to strings, under one condition and with one expiry if asked.",
    complexity: "O(N) in the number of keys.",
    run: Run::Data(msetex),
    ..STRING_ROW
};

fn msetex(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    reply_integer(reply, set_pairs_with_options(ctx, args));
}

/// 1 if the pairs were set, 0 if the condition does not hold for all keys.
///
/// # Errors
/// Texts of Redis 8.4.
fn set_pairs_with_options(ctx: &mut Context<'_>, args: Args<'_>) -> Result<i64, ErrorText> {
    let pairs_count = parse_i64(args.get(1))
        .filter(|count| (1..=i64::from(i32::MAX)).contains(count))
        .ok_or("ERR invalid numkeys value")?;
    let options_at = 2 + 2 * pairs_count as usize;
    if options_at > args.len() {
        return Err("ERR wrong number of key-value pairs");
    }
    let options = Options::parse(args.from(options_at), Allowed::Msetex)?;
    let invalid = "ERR invalid expire time in 'msetex' command";
    let expiry = options.time.expiry(ctx, invalid)?;
    for position in (2..options_at).step_by(2) {
        let key = ctx.key(args.get(position));
        let before = ctx.cache(key).peek(key);
        if !options.condition.holds(before)? {
            return Ok(0);
        }
    }
    for position in (2..options_at).step_by(2) {
        let key = ctx.key(args.get(position));
        put_string(ctx, key, args.get(position + 1), expiry, Pin::Unpinned);
        notify_set(ctx, key, options.time);
    }
    Ok(1)
}

#[cfg(test)]
mod tests;
