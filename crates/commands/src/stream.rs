//! Streams: XLEN, XDEL, XSETID. The head of the family: [`ROWS`] lists the rows of all its files.
//!
//! Time is wall time: log time and the logged offset of wall time ([`wall_now_ms`]), never a clock.

mod add;
mod claim;
mod group;
mod id;
mod info;
mod pending;
mod progress;
mod range;
mod read;
#[cfg(test)]
mod tests;

use crate::access::{integer, reply_integer};
use crate::collection::read_collection;
use crate::errors::{ErrorText, SYNTAX, WRONG_TYPE};
use crate::keyspec::first_key;
use crate::{Category, Context, EventClass, Flags, Group, KeyAccess, KeySpec, Row, Run};
use cache::{Changed, Key, Stream, StreamEntry, StreamId, Vacant};
pub(crate) use progress::entries_up_to;
pub(crate) use read::RESOLVE;
use resp::{Args, Reply};

/// The family's rows.
pub static ROWS: &[Row] = &[
    pending::XACK,
    add::XADD,
    claim::XAUTOCLAIM,
    claim::XCLAIM,
    XDEL,
    group::XGROUP,
    info::XINFO,
    XLEN,
    pending::XPENDING,
    range::XRANGE,
    read::XREAD,
    read::XREADGROUP,
    range::XREVRANGE,
    XSETID,
    add::XTRIM,
];

/// What the family's rows have in common.
const STREAM_ROW: Row = Row {
    categories: Category::STREAM,
    group: Group::Stream,
    since: "5.0.0",
    complexity: "O(log(N)) for N entries",
    ..Row::BLANK
};

const READ: Flags = Flags::READONLY;
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const WRITE_GROWS_FAST: Flags = WRITE_FAST.and(Flags::DENYOOM);
const RO_ACCESS: KeyAccess = KeyAccess::RO.and(KeyAccess::ACCESS);
const RW_UPDATE: KeyAccess = KeyAccess::RW.and(KeyAccess::UPDATE);
const RW_DELETE: KeyAccess = KeyAccess::RW.and(KeyAccess::DELETE);
const RW_INSERT: KeyAccess = KeyAccess::RW.and(KeyAccess::INSERT);
const UPDATED_KEY: KeySpec = first_key(RW_UPDATE);

const NO_KEY: ErrorText = "ERR no such key";

/// Why a command of the family is refused.
#[derive(Debug)]
enum Refusal {
    /// In words that are always the same.
    Text(ErrorText),
    /// With names of the client's in it.
    Named(Vec<u8>),
}

impl From<ErrorText> for Refusal {
    fn from(text: ErrorText) -> Self {
        Refusal::Text(text)
    }
}

/// Answers the refusal, if there is one; otherwise the command has answered already.
fn reply_refusal(reply: &mut Reply<'_>, outcome: Result<(), Refusal>) {
    match outcome {
        Ok(()) => {}
        Err(Refusal::Text(text)) => reply.error(text),
        Err(Refusal::Named(bytes)) => reply.error_bytes(&bytes),
    }
}

/// A name as Redis's errors show it: up to its first NUL.
fn shown(name: &[u8]) -> &[u8] {
    let end = name.iter().position(|byte| *byte == 0);
    &name[..end.unwrap_or(name.len())]
}

/// There is no group of this name, or no key.
fn no_group(key: &[u8], group: &[u8], behind: &str) -> Refusal {
    let parts: [&[u8]; 6] = [
        b"NOGROUP No such key '",
        shown(key),
        b"' or consumer group '",
        shown(group),
        b"'",
        behind.as_bytes(),
    ];
    Refusal::Named(parts.concat())
}

/// There is no group of this name in the stream.
fn no_group_in_key(key: &[u8], group: &[u8]) -> Refusal {
    let parts: [&[u8]; 5] = [
        b"NOGROUP No such consumer group '",
        shown(group),
        b"' for key name '",
        shown(key),
        b"'",
    ];
    Refusal::Named(parts.concat())
}

/// A subcommand whose options fit no form of it.
fn subcommand_syntax(args: Args<'_>) -> Refusal {
    let name = args.get(0).to_ascii_uppercase();
    let given = shown(args.get(1));
    let parts: [&[u8]; 5] = [
        b"ERR unknown subcommand or wrong number of arguments for '",
        &given[..given.len().min(128)],
        b"'. Try ",
        &name,
        b" HELP.",
    ];
    Refusal::Named(parts.concat())
}

/// An id, if it is one.
pub(crate) fn parse_id(text: &[u8]) -> Option<StreamId> {
    id::strict(text, 0).ok()
}

/// Wall time in milliseconds, as the log has it.
fn wall_now_ms(ctx: &Context<'_>) -> i64 {
    crate::expire::wall_now_ms(ctx)
}

/// Lends the stream at `key` to `change`, and tells listeners of a new key; its own events are the caller's. None if
/// there is nothing and `vacant` is [`Vacant::Leave`].
///
/// # Errors
/// `WRONG_TYPE`; nothing is changed.
fn edit_stream<R>(
    ctx: &mut Context<'_>,
    key: Key<'_>,
    vacant: Vacant,
    change: impl FnOnce(&mut Stream) -> (R, Changed),
) -> Result<Option<R>, ErrorText> {
    let edited = ctx.cache(key).edit_collection(key, vacant, change);
    let Some(edited) = edited.map_err(|_| WRONG_TYPE)? else {
        return Ok(None);
    };
    if edited.is_new {
        ctx.notify(EventClass::New, "new", key);
    }
    Ok(Some(edited.result))
}

/// Tells listeners of an event of the family.
fn notify(ctx: &mut Context<'_>, name: &'static str, key: Key<'_>) {
    ctx.notify(EventClass::Stream, name, key);
}

/// Answers an entry: its id, and its fields with their values.
fn reply_entry(reply: &mut Reply<'_>, entry: StreamEntry<'_>) {
    reply.array(2);
    id::reply_id(reply, entry.id);
    reply.array(entry.fields.len());
    for string in entry.fields {
        reply.bulk(string);
    }
}

const XLEN: Row = Row {
    name: "xlen",
    arity: 2,
    flags: Flags::READONLY.and(Flags::FAST),
    keys: &[first_key(KeyAccess::RO)],
    summary: "Counts the entries of a stream.",
    complexity: "O(1)",
    run: Run::Data(xlen),
    ..STREAM_ROW
};

fn xlen(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let key = ctx.first_key(args.get(1));
    let stream = read_collection::<Stream>(ctx, key);
    let len = stream.map(|stream| stream.map_or(0, |stream| stream.len() as i64));
    reply_integer(reply, len);
}

const XDEL: Row = Row {
    name: "xdel",
    arity: -3,
    flags: WRITE_FAST,
    keys: &[first_key(RW_DELETE)],
    summary: "Removes entries of a stream by their ids, and counts those that were there.",
    complexity: "O(M*log(N)) for M ids given of N",
    run: Run::Data(xdel),
    ..STREAM_ROW
};

fn xdel(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    reply_integer(reply, delete(ctx, args));
}

/// # Errors
/// `WRONG_TYPE`, then an argument that is no id.
fn delete(ctx: &mut Context<'_>, args: Args<'_>) -> Result<i64, ErrorText> {
    let key = ctx.first_key(args.get(1));
    let removed = edit_stream(ctx, key, Vacant::Leave, |stream| {
        let ids: Result<Vec<StreamId>, ErrorText> = args
            .from(2)
            .iter()
            .map(|text| id::strict(text, 0))
            .collect();
        let removed = ids.map(|ids| ids.iter().filter(|id| stream.remove(**id)).count());
        let changed = match removed {
            Ok(1..) => Changed::Yes,
            Ok(0) | Err(_) => Changed::No,
        };
        (removed, changed)
    })?;
    let removed = removed.unwrap_or(Ok(0))?;
    if removed > 0 {
        notify(ctx, "xdel", key);
    }
    Ok(removed as i64)
}

const XSETID: Row = Row {
    name: "xsetid",
    arity: -3,
    flags: WRITE_GROWS_FAST,
    keys: &[UPDATED_KEY],
    summary: "Sets the id above which a stream's next entry is.",
    complexity: "O(1)",
    run: Run::Data(xsetid),
    ..STREAM_ROW
};

fn xsetid(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    match set_id(ctx, args) {
        Ok(()) => reply.ok(),
        Err(text) => reply.error(text),
    }
}

/// # Errors
/// Redis's texts, in its order.
fn set_id(ctx: &mut Context<'_>, args: Args<'_>) -> Result<(), ErrorText> {
    let last_id = id::strict(args.get(2), 0)?;
    let (mut added, mut max_deleted) = (None, StreamId::MIN);
    let mut options = args.from(3).iter();
    while let Some(option) = options.next() {
        let value = options.next().ok_or(SYNTAX)?;
        if option.eq_ignore_ascii_case(b"entriesadded") {
            let count = u64::try_from(integer(value)?);
            added = Some(count.map_err(|_| "ERR entries_added must be positive")?);
        } else if option.eq_ignore_ascii_case(b"maxdeletedid") {
            max_deleted = id::strict(value, 0)?;
            if last_id < max_deleted {
                return Err(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                );
            }
        } else {
            return Err(SYNTAX);
        }
    }
    let key = ctx.first_key(args.get(1));
    let set = edit_stream(ctx, key, Vacant::Leave, |stream| {
        let refusal = refusal_of_last_id(stream, last_id, added);
        if refusal.is_some() {
            return (refusal, Changed::No);
        }
        stream.set_last_id(last_id);
        if let Some(added) = added {
            stream.set_entries_added(added);
        }
        if max_deleted > StreamId::MIN {
            stream.set_max_deleted_id(max_deleted);
        }
        (None, Changed::Yes)
    })?;
    match set {
        None => return Err(NO_KEY),
        Some(Some(refusal)) => return Err(refusal),
        Some(None) => {}
    }
    notify(ctx, "xsetid", key);
    Ok(())
}

/// Why a stream cannot have this last id.
fn refusal_of_last_id(stream: &Stream, last_id: StreamId, added: Option<u64>) -> Option<ErrorText> {
    let top = stream.iter_back(stream.len()).next()?;
    if last_id < top.id {
        return Some("ERR The ID specified in XSETID is smaller than the target stream top item");
    }
    if added.is_some_and(|added| added < stream.len() as u64) {
        return Some(
            "ERR The entries_added specified in XSETID is smaller than the target stream length",
        );
    }
    None
}
