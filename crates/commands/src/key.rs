//! Commands on keys as such, whatever they hold: DEL, EXISTS, TYPE, RENAME, COPY and kin.

use crate::{
    Category, Context, EventClass, Flags, Group, KeyAccess, KeySpec, Row, Run, Split,
    context::Touch,
    errors::{NOT_INTEGER, SYNTAX},
    table::{BeginSearch, FindKeys, first_key},
};
use cache::{CollectionType, Entry, Key, Pin, Value};
use resp::{Args, Reply, parse_i64};

/// What a row of the keys' families has unless it says otherwise.
pub(crate) const ROW: Row = Row {
    name: "",
    arity: 0,
    flags: Flags::NONE,
    keys: &[],
    categories: Category::KEYSPACE,
    group: Group::Generic,
    since: "",
    summary: "",
    complexity: "O(1)",
    split: Split::Whole,
    run: Run::Later,
    patience: None,
    blocks: None,
    subcommands: &[],
};

/// Every argument from 1 on is a key.
const fn all_keys(access: KeyAccess) -> KeySpec {
    KeySpec {
        begin: BeginSearch::Index(1),
        find: FindKeys::Range {
            last: -1,
            step: 1,
            limit: 0,
        },
        access,
    }
}

/// One key at argument `at`.
pub(crate) const fn key_at(at: u8, access: KeyAccess) -> KeySpec {
    KeySpec {
        begin: BeginSearch::Index(at),
        find: FindKeys::Range {
            last: 0,
            step: 1,
            limit: 0,
        },
        access,
    }
}

const READ_FAST: Flags = Flags::READONLY.and(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const REMOVED: &[KeySpec] = &[all_keys(KeyAccess::RM.and(KeyAccess::DELETE))];
const LOOKED_AT: &[KeySpec] = &[all_keys(KeyAccess::RO)];
const RENAMED: KeySpec = first_key(KeyAccess::RW.and(KeyAccess::ACCESS).and(KeyAccess::DELETE));

/// The family's rows.
pub static ROWS: &[Row] = &[
    Row {
        name: "copy",
        arity: -3,
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[
            first_key(KeyAccess::RO.and(KeyAccess::ACCESS)),
            key_at(2, KeyAccess::OW.and(KeyAccess::UPDATE)),
        ],
        since: "6.2.0",
        summary: "Copies a key's value and expiry to another key or database.",
        complexity: "O(1) for a string, O(N) for a collection of N elements",
        run: Run::Data(copy),
        ..ROW
    },
    Row {
        name: "del",
        arity: -2,
        flags: Flags::WRITE.and(Flags::BRIEF),
        keys: REMOVED,
        since: "1.0.0",
        summary: "Removes keys and counts those that existed.",
        complexity: "O(N) in the number of keys",
        split: Split::Sum,
        run: Run::Data(del),
        ..ROW
    },
    Row {
        name: "exists",
        arity: -2,
        flags: READ_FAST,
        keys: LOOKED_AT,
        since: "1.0.0",
        summary: "Counts the keys that exist; a key named twice counts twice.",
        complexity: "O(N) in the number of keys",
        split: Split::Sum,
        run: Run::Data(exists),
        ..ROW
    },
    Row {
        name: "move",
        arity: 3,
        flags: WRITE_FAST,
        keys: &[first_key(
            KeyAccess::RW.and(KeyAccess::ACCESS).and(KeyAccess::UPDATE),
        )],
        since: "1.0.0",
        summary: "Moves a key to another database unless a key of that name is there.",
        run: Run::Data(move_key),
        ..ROW
    },
    Row {
        name: "rename",
        arity: 3,
        flags: Flags::WRITE,
        keys: &[RENAMED, key_at(2, KeyAccess::OW.and(KeyAccess::UPDATE))],
        since: "1.0.0",
        summary: "Gives a key another name, in place of any key of that name.",
        run: Run::Data(rename),
        ..ROW
    },
    Row {
        name: "renamenx",
        arity: 3,
        flags: WRITE_FAST,
        keys: &[RENAMED, key_at(2, KeyAccess::OW.and(KeyAccess::INSERT))],
        since: "1.0.0",
        summary: "Gives a key another name unless a key of that name exists.",
        run: Run::Data(renamenx),
        ..ROW
    },
    Row {
        name: "touch",
        arity: -2,
        flags: READ_FAST,
        keys: LOOKED_AT,
        since: "3.2.1",
        summary: "Counts the keys that exist and marks them as just used.",
        complexity: "O(N) in the number of keys",
        split: Split::Sum,
        run: Run::Data(touch),
        ..ROW
    },
    Row {
        name: "type",
        arity: 2,
        flags: READ_FAST,
        keys: &[first_key(KeyAccess::RO)],
        since: "1.0.0",
        summary: "Tells the type of a key's value.",
        run: Run::Data(type_of),
        ..ROW
    },
    Row {
        name: "unlink",
        arity: -2,
        flags: WRITE_FAST,
        keys: REMOVED,
        since: "4.0.0",
        summary: "Removes keys and counts those that existed; memory may be freed later.",
        complexity: "O(N) in the number of keys",
        split: Split::Sum,
        run: Run::Data(del),
        ..ROW
    },
];

const SAME_OBJECT: &str = "ERR source and destination objects are the same";

/// How a reader looks at a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// As the client asked: counts as an access unless `CLIENT NO-TOUCH` is on.
    Access,
    /// Never counts as an access: EXISTS, TTL, TYPE …
    Glance,
}

/// The entry of `key` for a command that only reads; a miss is a keyspace event.
pub(crate) fn read<'c>(ctx: &'c mut Context<'_>, key: Key<'_>, look: Look) -> Option<Entry<'c>> {
    // Asked for apart, as hardly anybody listens to misses and the entry is borrowed from `ctx`.
    if ctx.event_mask & EventClass::KeyMiss as u16 != 0 && ctx.cache(key).peek(key).is_none() {
        ctx.notify(EventClass::KeyMiss, "keymiss", key);
    }
    match (look, ctx.touch) {
        (Look::Access, Touch::Yes) => ctx.cache(key).read(key),
        (Look::Access, Touch::No) | (Look::Glance, _) => ctx.cache(key).glance(key),
    }
}

/// The name of a value's type, as TYPE answers it and `SCAN … TYPE` compares it.
pub fn type_name(value: &Value<'_>) -> &'static str {
    match value {
        Value::String(_) | Value::Shared(_) => "string",
        Value::Collection(collection) => match collection.type_of() {
            CollectionType::Hash => "hash",
            CollectionType::List => "list",
            CollectionType::Set => "set",
            CollectionType::SortedSet => "zset",
            CollectionType::Stream => "stream",
        },
    }
}

/// Argument `i` as a key; the first one's hash may be known.
pub(crate) fn key_of<'k>(ctx: &Context<'_>, args: Args<'k>, i: usize) -> Key<'k> {
    if i == 1 {
        ctx.first_key(args.get(1))
    } else {
        ctx.key(args.get(i))
    }
}

/// DEL and UNLINK: a removed value's memory goes back to its shard at once, in time that does not
/// depend on its length, so both are the same.
fn del(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let mut removed = 0;
    for i in 1..args.len() {
        let key = key_of(ctx, args, i);
        if ctx.cache(key).remove(key) {
            ctx.notify(EventClass::Generic, "del", key);
            removed += 1;
        }
    }
    reply.integer(removed);
}

fn exists(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let mut found = 0;
    for i in 1..args.len() {
        let key = key_of(ctx, args, i);
        found += i64::from(read(ctx, key, Look::Glance).is_some());
    }
    reply.integer(found);
}

/// TOUCH counts as an access even under `CLIENT NO-TOUCH`: that is what it is for.
fn touch(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let mut found = 0;
    for i in 1..args.len() {
        let key = key_of(ctx, args, i);
        if ctx.cache(key).read(key).is_some() {
            found += 1;
        } else {
            ctx.notify(EventClass::KeyMiss, "keymiss", key);
        }
    }
    reply.integer(found);
}

fn type_of(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let key = ctx.first_key(args.get(1));
    reply.simple(match read(ctx, key, Look::Glance) {
        Some(entry) => type_name(&entry.value),
        None => "none",
    });
}

fn rename(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let (from, to) = (ctx.first_key(args.get(1)), ctx.key(args.get(2)));
    if ctx.cache(from).get(from).is_none() {
        return reply.error("ERR no such key");
    }
    if from.bytes != to.bytes {
        move_entry(ctx, from, to);
    }
    reply.ok();
}

fn renamenx(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let (from, to) = (ctx.first_key(args.get(1)), ctx.key(args.get(2)));
    if ctx.cache(from).get(from).is_none() {
        return reply.error("ERR no such key");
    }
    // The same key under its own name exists already.
    if ctx.cache(to).get(to).is_some() {
        return reply.integer(0);
    }
    move_entry(ctx, from, to);
    reply.integer(1);
}

/// Moves the live entry of `from` over whatever is at `to`. The pin goes along: a lock that is
/// renamed is still a lock, but granted anew, since fences rise by name and every shard numbers its own.
fn move_entry(ctx: &mut Context<'_>, from: Key<'_>, to: Key<'_>) {
    let mut entry = ctx
        .cache(from)
        .take(from)
        .expect("the caller just saw the entry");
    entry.fence = 0;
    ctx.cache(to).put_entry(to, entry);
    ctx.notify(EventClass::New, "new", to);
    ctx.notify(EventClass::Generic, "rename_from", from);
    ctx.notify(EventClass::Generic, "rename_to", to);
}

fn move_key(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let db = match parse_db(args.get(2)) {
        Ok(db) => db,
        Err(text) => return reply.error(text),
    };
    let from = ctx.first_key(args.get(1));
    let to = Key { db, ..from };
    if to.db == from.db {
        return reply.error(SAME_OBJECT);
    }
    // A key's shard and hash follow from its bytes alone, so both are in one cache.
    let cache = ctx.cache(from);
    if cache.get(from).is_none() || cache.get(to).is_some() {
        return reply.integer(0);
    }
    let mut entry = cache.take(from).expect("the entry was just seen");
    entry.fence = 0;
    cache.put_entry(to, entry);
    ctx.notify(EventClass::New, "new", to);
    ctx.notify(EventClass::Generic, "move_from", from);
    ctx.notify(EventClass::Generic, "move_to", to);
    reply.integer(1);
}

fn copy(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let options = match CopyOptions::parse(args, ctx.db) {
        Ok(options) => options,
        Err(text) => return reply.error(text),
    };
    let from = ctx.first_key(args.get(1));
    let to = Key::new(ctx.seed, options.db, args.get(2));
    if from.db == to.db && from.bytes == to.bytes {
        return reply.error(SAME_OBJECT);
    }
    if read(ctx, from, Look::Access).is_none() {
        return reply.integer(0);
    }
    if !options.replaces && ctx.cache(to).get(to).is_some() {
        return reply.integer(0);
    }
    let mut entry = ctx
        .cache(from)
        .copy(from)
        .expect("the entry was just looked at");
    // A copy of a lock is not held by anybody, so it may be evicted as any other key.
    (entry.pin, entry.fence) = (Pin::Unpinned, 0);
    ctx.cache(to).put_entry(to, entry);
    ctx.notify(EventClass::New, "new", to);
    ctx.notify(EventClass::Generic, "copy_to", to);
    reply.integer(1);
}

struct CopyOptions {
    db: u8,
    replaces: bool,
}

impl CopyOptions {
    /// The options of COPY, from argument 3 on; `db` is where it goes unless told.
    fn parse(args: Args<'_>, db: u8) -> Result<CopyOptions, &'static str> {
        let mut options = CopyOptions {
            db,
            replaces: false,
        };
        let mut rest = args.from(3).iter();
        while let Some(option) = rest.next() {
            if option.eq_ignore_ascii_case(b"replace") {
                options.replaces = true;
            } else if option.eq_ignore_ascii_case(b"db") {
                options.db = parse_db(rest.next().ok_or(SYNTAX)?)?;
            } else {
                return Err(SYNTAX);
            }
        }
        Ok(options)
    }
}

/// How many numbered databases there are.
pub const DATABASES_COUNT: u8 = 16;

/// A numbered database, as COPY and MOVE take it.
///
/// # Errors
/// Redis's text: not an integer, beyond 32 bits, or no database of that number.
pub fn parse_db(bytes: &[u8]) -> Result<u8, &'static str> {
    let number = parse_i64(bytes).ok_or(NOT_INTEGER)?;
    let number = i32::try_from(number)
        .map_err(|_| "ERR value is out of range, value must between -2147483648 and 2147483647")?;
    u8::try_from(number)
        .ok()
        .filter(|db| *db < DATABASES_COUNT)
        .ok_or("ERR DB index is out of range")
}

#[cfg(test)]
mod tests;
