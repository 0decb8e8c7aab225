//! Sets: members added, removed, moved and asked for. The head of the family of sets: [`ROWS`] lists the rows of all its
//! files. (`SET` and kin are strings.)

use crate::access::reply_integer;
use crate::collection::{Told, edit, peek_collection, read_collection};
use crate::errors::ErrorText;
use crate::keyspec::{first_key, key_at};
use crate::scan::{ScanOptions, Walked, parse_cursor, reply_step};
use crate::walk::Keys;
use crate::{Category, Context, EventClass, Flags, Group, KeyAccess, KeySpec, Row, Run};
use cache::{Changed, Scan, Set, Vacant};
use resp::{Args, Reply};

mod algebra;
mod random;

/// The family's rows.
pub static ROWS: &[Row] = &[
    SADD,
    SCARD,
    algebra::SDIFF,
    algebra::SDIFFSTORE,
    algebra::SINTER,
    algebra::SINTERCARD,
    algebra::SINTERSTORE,
    SISMEMBER,
    SMEMBERS,
    SMISMEMBER,
    SMOVE,
    random::SPOP,
    random::SRANDMEMBER,
    SREM,
    SSCAN,
    algebra::SUNION,
    algebra::SUNIONSTORE,
];

/// What the family's rows have in common.
const SET_ROW: Row = Row {
    categories: Category::SET,
    group: Group::Set,
    since: "1.0.0",
    complexity: "O(log(N)) for N members",
    ..Row::BLANK
};

/// A key whose content is read.
const READ_KEY: KeySpec = first_key(KeyAccess::RO.and(KeyAccess::ACCESS));
/// A key of which only so much is read as whether something is there.
const LOOKED_AT_KEY: KeySpec = first_key(KeyAccess::RO);
/// A key out of which members are taken that are answered.
const TAKEN_FROM_KEY: KeySpec =
    first_key(KeyAccess::RW.and(KeyAccess::ACCESS).and(KeyAccess::DELETE));

const READ_FAST: Flags = Flags::READONLY.and(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);

/// An event of the family.
const fn told(name: &'static str) -> Told {
    Told {
        class: EventClass::Set,
        name,
    }
}

/// The set at argument 1, for a read.
fn set_at_first<'c>(
    ctx: &'c mut Context<'_>,
    args: Args<'_>,
) -> Result<Option<&'c Set>, ErrorText> {
    let key = ctx.first_key(args.get(1));
    read_collection(ctx, key)
}

/// How many there are, and with it whether anything changed.
fn counted(changed_count: usize) -> (i64, Changed) {
    match changed_count {
        0 => (0, Changed::No),
        count => (count as i64, Changed::Yes),
    }
}

const SADD: Row = Row {
    name: "sadd",
    arity: -3,
    flags: WRITE_FAST.and(Flags::DENYOOM),
    keys: &[first_key(KeyAccess::RW.and(KeyAccess::INSERT))],
    summary: "Adds members to a set, and counts those that are new.",
    complexity: "O(M*log(N)) for M members given of N",
    run: Run::Data(sadd),
    ..SET_ROW
};

fn sadd(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let key = ctx.first_key(args.get(1));
    let members = args.from(2);
    let added = edit(ctx, key, Vacant::Make, told("sadd"), |set: &mut Set| {
        counted(members.iter().filter(|member| set.insert(member)).count())
    });
    reply_integer(reply, added.map(|added| added.unwrap_or(0)));
}

const SREM: Row = Row {
    name: "srem",
    arity: -3,
    flags: WRITE_FAST,
    keys: &[first_key(KeyAccess::RW.and(KeyAccess::DELETE))],
    summary: "Removes members from a set, and counts those that were there.",
    complexity: "O(M*log(N)) for M members given of N",
    run: Run::Data(srem),
    ..SET_ROW
};

fn srem(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let key = ctx.first_key(args.get(1));
    let members = args.from(2);
    let removed = edit(ctx, key, Vacant::Leave, told("srem"), |set: &mut Set| {
        counted(members.iter().filter(|member| set.remove(member)).count())
    });
    reply_integer(reply, removed.map(|removed| removed.unwrap_or(0)));
}

const SMOVE: Row = Row {
    name: "smove",
    arity: 4,
    flags: WRITE_FAST,
    keys: &[
        TAKEN_FROM_KEY,
        key_at(2, KeyAccess::RW.and(KeyAccess::INSERT)),
    ],
    summary: "Moves a member from one set to another.",
    run: Run::Data(smove),
    ..SET_ROW
};

fn smove(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    reply_integer(reply, move_member(ctx, args));
}

/// How many were moved, 0 or 1. As in Redis, a source that is not there comes before a destination of another type.
fn move_member(ctx: &mut Context<'_>, args: Args<'_>) -> Result<i64, ErrorText> {
    let (from, to) = (ctx.first_key(args.get(1)), ctx.key(args.get(2)));
    let member = args.get(3);
    let Some(source) = peek_collection::<Set>(ctx, from)? else {
        return Ok(0);
    };
    let is_member = source.contains(member);
    peek_collection::<Set>(ctx, to)?;
    if !is_member || from.bytes == to.bytes {
        return Ok(i64::from(is_member));
    }
    edit(ctx, from, Vacant::Leave, told("srem"), |set: &mut Set| {
        counted(usize::from(set.remove(member)))
    })?;
    edit(ctx, to, Vacant::Make, told("sadd"), |set: &mut Set| {
        counted(usize::from(set.insert(member)))
    })?;
    Ok(1)
}

const SCARD: Row = Row {
    name: "scard",
    arity: 2,
    flags: READ_FAST,
    keys: &[LOOKED_AT_KEY],
    summary: "Counts the members of a set.",
    complexity: "O(1)",
    run: Run::Data(scard),
    ..SET_ROW
};

fn scard(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    match set_at_first(ctx, args) {
        Ok(set) => reply.integer(set.map_or(0, Set::len) as i64),
        Err(text) => reply.error(text),
    }
}

const SISMEMBER: Row = Row {
    name: "sismember",
    arity: 3,
    flags: READ_FAST,
    keys: &[LOOKED_AT_KEY],
    summary: "Tells whether a set has a member.",
    run: Run::Data(sismember),
    ..SET_ROW
};

fn sismember(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    match set_at_first(ctx, args) {
        Ok(set) => reply.integer(has(set, args.get(2))),
        Err(text) => reply.error(text),
    }
}

const SMISMEMBER: Row = Row {
    name: "smismember",
    arity: -3,
    flags: READ_FAST,
    keys: &[READ_KEY],
    since: "6.2.0",
    summary: "Tells which of several members a set has.",
    complexity: "O(M*log(N)) for M members given of N",
    run: Run::Data(smismember),
    ..SET_ROW
};

fn smismember(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let set = match set_at_first(ctx, args) {
        Ok(set) => set,
        Err(text) => return reply.error(text),
    };
    let members = args.from(2);
    reply.array(members.len());
    for member in members.iter() {
        reply.integer(has(set, member));
    }
}

/// 1 if `member` is in the set, else 0.
fn has(set: Option<&Set>, member: &[u8]) -> i64 {
    i64::from(set.is_some_and(|set| set.contains(member)))
}

const SMEMBERS: Row = Row {
    name: "smembers",
    arity: 2,
    flags: Flags::READONLY,
    keys: &[READ_KEY],
    summary: "Returns the members of a set.",
    complexity: "O(N) in the number of members",
    run: Run::Data(smembers),
    ..SET_ROW
};

fn smembers(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    match set_at_first(ctx, args) {
        Ok(Some(set)) => reply_all(reply, set),
        Ok(None) => reply.set(0),
        Err(text) => reply.error(text),
    }
}

/// Answers all members.
fn reply_all(reply: &mut Reply<'_>, set: &Set) {
    reply.set(set.len());
    set.iter().for_each(|member| reply.bulk(member));
}

const SSCAN: Row = Row {
    name: "sscan",
    arity: -3,
    flags: Flags::READONLY,
    keys: &[READ_KEY],
    since: "2.8.0",
    summary: "Walks over the members of a set, step by step.",
    complexity: "O(N) in the number of members that the step looks at",
    run: Run::Data(sscan),
    ..SET_ROW
};

fn sscan(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    match scan(ctx, args) {
        Ok((next, found)) => reply_step(reply, next, &found),
        Err(text) => reply.error(text),
    }
}

/// Redis's order: the cursor, then the key, then the options.
fn scan(ctx: &mut Context<'_>, args: Args<'_>) -> Result<(Scan, Keys), ErrorText> {
    let cursor = parse_cursor(args)?;
    let mut found = Keys::default();
    let Some(set) = set_at_first(ctx, args)? else {
        return Ok((Scan::Ended, found));
    };
    let options = ScanOptions::parse(args, Walked::Other)?;
    let next = set.scan(cursor, options.count, |member| {
        if options.admits(member) {
            found.push(member);
        }
    });
    Ok((next, found))
}

#[cfg(test)]
mod tests;
