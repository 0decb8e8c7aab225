//! Hashes: HGET, HMGET, HGETALL and all that only reads. The head of the hash family: [`ROWS`] lists the rows of all its
//! files.

use crate::collection::read_collection;
use crate::errors::ErrorText;
use crate::keyspec::first_key;
use crate::scan::{ScanOptions, Values, Walked, parse_cursor, reply_step};
use crate::walk::Keys;
use crate::{Category, Context, Flags, Group, KeyAccess, KeySpec, Row, Run};
use cache::{Hash, Scan};
use resp::{Args, Reply};

mod random;
mod write;

/// The family's rows.
pub static ROWS: &[Row] = &[
    write::HDEL,
    HEXISTS,
    HGET,
    HGETALL,
    write::HINCRBY,
    write::HINCRBYFLOAT,
    HKEYS,
    HLEN,
    HMGET,
    write::HMSET,
    random::HRANDFIELD,
    HSCAN,
    write::HSET,
    write::HSETNX,
    HSTRLEN,
    HVALS,
];

/// What the family's rows have in common.
const HASH_ROW: Row = Row {
    categories: Category::HASH,
    group: Group::Hash,
    since: "2.0.0",
    complexity: "O(log(N)) for N fields",
    ..Row::BLANK
};

/// A key whose content is read.
const READ_KEY: KeySpec = first_key(KeyAccess::RO.and(KeyAccess::ACCESS));
/// A key of which only so much is read as whether something is there.
const LOOKED_AT_KEY: KeySpec = first_key(KeyAccess::RO);

const READ_FAST: Flags = Flags::READONLY.and(Flags::FAST);

/// The hash at argument 1, for a read.
fn hash_at_first<'c>(
    ctx: &'c mut Context<'_>,
    args: Args<'_>,
) -> Result<Option<&'c Hash>, ErrorText> {
    let key = ctx.first_key(args.get(1));
    read_collection(ctx, key)
}

/// The value of the field at argument 2 of the hash at argument 1.
fn field_at_second<'c>(
    ctx: &'c mut Context<'_>,
    args: Args<'_>,
) -> Result<Option<&'c [u8]>, ErrorText> {
    let hash = hash_at_first(ctx, args)?;
    Ok(hash.and_then(|hash| hash.get(args.get(2))))
}

const HGET: Row = Row {
    name: "hget",
    arity: 3,
    flags: READ_FAST,
    keys: &[READ_KEY],
    summary: "Returns the value of a field of a hash.",
    run: Run::Data(hget),
    ..HASH_ROW
};

fn hget(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    match field_at_second(ctx, args) {
        Ok(value) => reply.bulk_or_null(value),
        Err(text) => reply.error(text),
    }
}

const HEXISTS: Row = Row {
    name: "hexists",
    arity: 3,
    flags: READ_FAST,
    keys: &[LOOKED_AT_KEY],
    summary: "Tells whether a hash has a field.",
    run: Run::Data(hexists),
    ..HASH_ROW
};

fn hexists(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    match field_at_second(ctx, args) {
        Ok(value) => reply.integer(i64::from(value.is_some())),
        Err(text) => reply.error(text),
    }
}

const HSTRLEN: Row = Row {
    name: "hstrlen",
    arity: 3,
    flags: READ_FAST,
    keys: &[LOOKED_AT_KEY],
    since: "3.2.0",
    summary: "Tells how long the value of a field of a hash is.",
    run: Run::Data(hstrlen),
    ..HASH_ROW
};

fn hstrlen(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    match field_at_second(ctx, args) {
        Ok(value) => reply.integer(value.map_or(0, <[u8]>::len) as i64),
        Err(text) => reply.error(text),
    }
}

const HMGET: Row = Row {
    name: "hmget",
    arity: -3,
    flags: READ_FAST,
    keys: &[READ_KEY],
    summary: "Returns the values of several fields of a hash.",
    complexity: "O(M*log(N)) for M of N fields",
    run: Run::Data(hmget),
    ..HASH_ROW
};

fn hmget(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let hash = match hash_at_first(ctx, args) {
        Ok(hash) => hash,
        Err(text) => return reply.error(text),
    };
    let fields = args.from(2);
    reply.array(fields.len());
    for field in fields.iter() {
        reply.bulk_or_null(hash.and_then(|hash| hash.get(field)));
    }
}

const HLEN: Row = Row {
    name: "hlen",
    arity: 2,
    flags: READ_FAST,
    keys: &[LOOKED_AT_KEY],
    summary: "Counts the fields of a hash.",
    complexity: "O(1)",
    run: Run::Data(hlen),
    ..HASH_ROW
};

fn hlen(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    match hash_at_first(ctx, args) {
        Ok(hash) => reply.integer(hash.map_or(0, Hash::len) as i64),
        Err(text) => reply.error(text),
    }
}

const HGETALL: Row = Row {
    name: "hgetall",
    arity: 2,
    flags: Flags::READONLY,
    keys: &[READ_KEY],
    summary: "Returns the fields of a hash with their values.",
    complexity: "O(N) in the number of fields",
    run: Run::Data(hgetall),
    ..HASH_ROW
};

fn hgetall(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let hash = match hash_at_first(ctx, args) {
        Ok(hash) => hash,
        Err(text) => return reply.error(text),
    };
    reply.map(hash.map_or(0, Hash::len));
    for (field, value) in hash.into_iter().flat_map(Hash::iter) {
        reply.bulk(field);
        reply.bulk(value);
    }
}

const HKEYS: Row = Row {
    name: "hkeys",
    summary: "Returns the fields of a hash.",
    run: Run::Data(hkeys),
    ..HGETALL
};

fn hkeys(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    reply_each(ctx, args, reply, |(field, _)| field);
}

const HVALS: Row = Row {
    name: "hvals",
    summary: "Returns the values of a hash.",
    run: Run::Data(hvals),
    ..HGETALL
};

fn hvals(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    reply_each(ctx, args, reply, |(_, value)| value);
}

/// The field or the value of a pair.
type Half = for<'h> fn((&'h [u8], &'h [u8])) -> &'h [u8];

/// Answers one half of every pair.
fn reply_each(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>, half: Half) {
    let hash = match hash_at_first(ctx, args) {
        Ok(hash) => hash,
        Err(text) => return reply.error(text),
    };
    reply.array(hash.map_or(0, Hash::len));
    for pair in hash.into_iter().flat_map(Hash::iter) {
        reply.bulk(half(pair));
    }
}

const HSCAN: Row = Row {
    name: "hscan",
    arity: -3,
    flags: Flags::READONLY,
    keys: &[READ_KEY],
    since: "2.8.0",
    summary: "Walks over the fields of a hash, step by step.",
    complexity: "O(N) in the number of fields that the step looks at",
    run: Run::Data(hscan),
    ..HASH_ROW
};

fn hscan(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    match scan(ctx, args) {
        Ok((next, found)) => reply_step(reply, next, &found),
        Err(text) => reply.error(text),
    }
}

/// Redis's order: the cursor, then the key, then the options.
fn scan(ctx: &mut Context<'_>, args: Args<'_>) -> Result<(Scan, Keys), ErrorText> {
    let cursor = parse_cursor(args)?;
    let mut found = Keys::default();
    let Some(hash) = hash_at_first(ctx, args)? else {
        return Ok((Scan::Ended, found));
    };
    let options = ScanOptions::parse(args, Walked::Hash)?;
    let next = hash.scan(cursor, options.count, |field, value| {
        if options.admits(field) {
            found.push(field);
            if options.values == Values::Shown {
                found.push(value);
            }
        }
    });
    Ok((next, found))
}

#[cfg(test)]
mod tests;
