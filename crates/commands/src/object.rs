//! OBJECT: what is known of a value beside its content.

use crate::{
    Category, Context, Flags, Group, KeyAccess, KeySpec, Row, Run,
    errors::SYNTAX,
    help::help_row,
    key::{ROW, key_at},
};
use cache::{Collection, Entry, Pin, StringForm, Value};
use resp::{Args, Reply, parse_i64};

const KEY: &[KeySpec] = &[key_at(2, KeyAccess::RO)];

/// What a row of a subcommand on one key has unless it says otherwise.
const ON_KEY: Row = Row {
    arity: 3,
    flags: Flags::READONLY,
    keys: KEY,
    since: "2.2.3",
    ..ROW
};

/// The family's rows.
pub static ROWS: &[Row] = &[Row {
    name: "object",
    arity: -2,
    categories: Category::NONE,
    since: "2.2.3",
    summary: "Looks at how a key's value is kept.",
    complexity: "That of the subcommand.",
    run: Run::Data(container),
    subcommands: &[
        Row {
            name: "encoding",
            summary: "Tells the form that a value is kept in.",
            run: Run::Data(encoding),
            ..ON_KEY
        },
        Row {
            name: "freq",
            since: "4.0.0",
            summary: "Tells how often a value is used; answers an error, as no LFU policy exists.",
            run: Run::Data(freq),
            ..ON_KEY
        },
        help_row(Group::Generic, "6.2.0"),
        Row {
            name: "idletime",
            summary: "Tells how many seconds ago a value was last used.",
            run: Run::Data(idletime),
            ..ON_KEY
        },
        Row {
            name: "pinned",
            since: "7.4.0",
            summary: "Tells whether a key is a lock, which is never evicted: 1 or 0.",
            run: Run::Data(pinned),
            ..ON_KEY
        },
        Row {
            name: "refcount",
            summary: "Tells how many refer to a value: 1, as values are not shared.",
            run: Run::Data(refcount),
            ..ON_KEY
        },
    ],
    ..ROW
}];

/// OBJECT by itself runs nothing: its callers run the subcommand's row.
fn container(_: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    reply.error(SYNTAX);
}

/// Longest string in bytes that Redis keeps together with its header.
const EMBSTR_BYTES_MAX: usize = 44;

/// What OBJECT ENCODING answers for an entry.
pub fn encoding_name(entry: &Entry<'_>) -> &'static str {
    match entry.value {
        Value::Shared(_) => "raw",
        Value::Collection(collection) => match collection {
            Collection::Hash(hash) if hash.is_packed() => "listpack",
            Collection::Set(set) if set.is_integers() => "intset",
            Collection::SortedSet(set) if set.is_packed() => "listpack",
            Collection::Hash(_) | Collection::Set(_) => "hashtable",
            Collection::SortedSet(_) => "skiplist",
            Collection::List(_) => "quicklist",
            Collection::Stream(_) => "stream",
        },
        Value::String(bytes) => match entry.form {
            StringForm::Edited => "raw",
            StringForm::Whole if parse_i64(bytes).is_some() => "int",
            StringForm::Whole if bytes.len() <= EMBSTR_BYTES_MAX => "embstr",
            StringForm::Whole => "raw",
        },
    }
}

/// The entry of argument 2. To look at it is no access and a miss no event, as in Redis.
fn entry<'c>(ctx: &'c mut Context<'_>, args: Args<'_>) -> Option<Entry<'c>> {
    // The subcommand stands before the key, but the key is still the command's first.
    let key = ctx.first_key(args.get(2));
    ctx.cache(key).glance(key)
}

fn encoding(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    match entry(ctx, args) {
        Some(entry) => reply.bulk(encoding_name(&entry).as_bytes()),
        None => reply.null(),
    }
}

fn freq(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    match entry(ctx, args) {
        Some(_) => reply.error(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note \
             that when switching between policies at runtime LRU and LFU data will take some time \
             to adjust.",
        ),
        None => reply.null(),
    }
}

fn idletime(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    match entry(ctx, args) {
        Some(entry) => reply.integer((entry.idle_ms / 1000) as i64),
        None => reply.null(),
    }
}

fn pinned(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    match entry(ctx, args).map(|entry| entry.pin) {
        Some(Pin::Pinned) => reply.integer(1),
        Some(Pin::Unpinned) => reply.integer(0),
        None => reply.null(),
    }
}

fn refcount(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    match entry(ctx, args) {
        Some(_) => reply.integer(1),
        None => reply.null(),
    }
}

#[cfg(test)]
mod tests;
