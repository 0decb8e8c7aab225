//! Commands on lists: those that push, read and change elements are here, [`pop`] takes elements off an end, [`transfer`]
//! hands them from list to list, [`position`] looks for them.

pub mod blocking;
mod pop;
mod position;
mod transfer;

use crate::access::{integer, reply_failure, reply_integer};
use crate::collection::{Told, edit, peek_collection, read_collection};
use crate::errors::{ErrorText, SYNTAX};
use crate::keyspec::{counted_keys, first_key, key_at};
use crate::table::Execute;
use crate::{Context, EventClass, Flags, Group, KeyAccess, Row, Run};
use cache::{Changed, List, Typed, Vacant};
use resp::{Args, Reply};
use std::ops::Range;

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = Flags::READONLY.and(Flags::FAST);
const WRITE: Flags = Flags::WRITE;
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const WRITE_GROWS: Flags = Flags::WRITE.and(Flags::DENYOOM);
const WRITE_GROWS_FAST: Flags = WRITE_GROWS.and(Flags::FAST);
const WRITE_MOVABLE: Flags = Flags::WRITE.and(Flags::MOVABLE_KEYS);
const RO_ACCESS: KeyAccess = KeyAccess::RO.and(KeyAccess::ACCESS);
const RW_ACCESS_DELETE: KeyAccess = KeyAccess::RW.and(KeyAccess::ACCESS).and(KeyAccess::DELETE);
const RW_DELETE: KeyAccess = KeyAccess::RW.and(KeyAccess::DELETE);
const RW_INSERT: KeyAccess = KeyAccess::RW.and(KeyAccess::INSERT);
const RW_UPDATE: KeyAccess = KeyAccess::RW.and(KeyAccess::UPDATE);

const fn row(name: &'static str, arity: i16, execute: Execute) -> Row {
    Row {
        run: Run::Data(execute),
        ..Row::later(name, arity, Group::List, "")
    }
}

/// The family's rows.
#[rustfmt::skip] // A row is three lines: what it is, its keys, its documentation.
pub static ROWS: &[Row] = &[
    row("lindex", 3, lindex).flags(READ)
        .keys(&[first_key(RO_ACCESS)])
        .docs("1.0.0", "Answers the element at an index.", "O(log(N))"),
    row("linsert", 5, linsert).flags(WRITE_GROWS)
        .keys(&[first_key(RW_INSERT)])
        .docs("2.2.0", "Inserts an element before or after the first one of a value.", "O(N) in the elements before it"),
    row("llen", 2, llen).flags(READ_FAST)
        .keys(&[first_key(KeyAccess::RO)])
        .docs("1.0.0", "Counts the elements of a list.", "O(1)"),
    row("lmove", 5, transfer::lmove).flags(WRITE_GROWS)
        .keys(&[first_key(RW_ACCESS_DELETE), key_at(2, RW_INSERT)])
        .docs("6.2.0", "Takes an element off an end of a list and pushes it to an end of another.", "O(log(N))"),
    row("lmpop", -4, pop::lmpop).flags(WRITE_MOVABLE)
        .keys(&[counted_keys(1, RW_ACCESS_DELETE)])
        .docs("7.0.0", "Takes elements off an end of the first of several lists that is there.", "O(K+M*log(N)) for K keys and M elements taken"),
    row("lpop", -2, pop::lpop).flags(WRITE_FAST)
        .keys(&[first_key(RW_ACCESS_DELETE)])
        .docs("1.0.0", "Takes the first elements off a list.", "O(M*log(N)) for M elements taken"),
    row("lpos", -3, position::lpos).flags(READ)
        .keys(&[first_key(RO_ACCESS)])
        .docs("6.0.6", "Finds the indices of the elements of a value.", "O(N)"),
    row("lpush", -3, lpush).flags(WRITE_GROWS_FAST)
        .keys(&[first_key(RW_INSERT)])
        .docs("1.0.0", "Pushes elements to the front of a list, which is made if it is missing.", "O(M*log(N)) for M elements"),
    row("lpushx", -3, lpushx).flags(WRITE_GROWS_FAST)
        .keys(&[first_key(RW_INSERT)])
        .docs("2.2.0", "Pushes elements to the front of a list if it exists.", "O(M*log(N)) for M elements"),
    row("lrange", 4, lrange).flags(READ)
        .keys(&[first_key(RO_ACCESS)])
        .docs("1.0.0", "Answers the elements at a range of indices.", "O(log(N)+M) for M elements answered"),
    row("lrem", 4, lrem).flags(WRITE)
        .keys(&[first_key(RW_DELETE)])
        .docs("1.0.0", "Removes elements of a value, from either end on.", "O(N+M*log(N)) for M elements removed"),
    row("lset", 4, lset).flags(WRITE_GROWS)
        .keys(&[first_key(RW_UPDATE)])
        .docs("1.0.0", "Puts an element in place of the one at an index.", "O(log(N))"),
    row("ltrim", 4, ltrim).flags(WRITE)
        .keys(&[first_key(RW_DELETE)])
        .docs("1.0.0", "Keeps the elements at a range of indices alone.", "O(log(N)+M) for M elements removed"),
    row("rpop", -2, pop::rpop).flags(WRITE_FAST)
        .keys(&[first_key(RW_ACCESS_DELETE)])
        .docs("1.0.0", "Takes the last elements off a list.", "O(M*log(N)) for M elements taken"),
    row("rpoplpush", 3, transfer::rpoplpush).flags(WRITE_GROWS)
        .keys(&[first_key(RW_ACCESS_DELETE), key_at(2, RW_INSERT)])
        .docs("1.2.0", "Takes the last element off a list and pushes it to the front of another.", "O(log(N))"),
    row("rpush", -3, rpush).flags(WRITE_GROWS_FAST)
        .keys(&[first_key(RW_INSERT)])
        .docs("1.0.0", "Pushes elements to the back of a list, which is made if it is missing.", "O(M*log(N)) for M elements"),
    row("rpushx", -3, rpushx).flags(WRITE_GROWS_FAST)
        .keys(&[first_key(RW_INSERT)])
        .docs("2.2.0", "Pushes elements to the back of a list if it exists.", "O(M*log(N)) for M elements"),
];

/// An event of lists.
const fn told(name: &'static str) -> Told {
    Told {
        class: EventClass::List,
        name,
    }
}

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// LEFT: where index 0 is.
    Front,
    /// RIGHT: where index -1 is.
    Back,
}

impl End {
    /// The end that a client names.
    ///
    /// # Errors
    /// `SYNTAX`.
    pub(crate) fn parse(word: &[u8]) -> Result<End, ErrorText> {
        if word.eq_ignore_ascii_case(b"left") {
            Ok(End::Front)
        } else if word.eq_ignore_ascii_case(b"right") {
            Ok(End::Back)
        } else {
            Err(SYNTAX)
        }
    }

    fn push(self, list: &mut List, element: &[u8]) {
        match self {
            End::Front => list.push_front(element),
            End::Back => list.push_back(element),
        }
    }

    /// The event of a push to this end.
    const fn pushed(self) -> Told {
        match self {
            End::Front => told("lpush"),
            End::Back => told("rpush"),
        }
    }

    /// The event of elements that were taken off this end.
    const fn popped(self) -> Told {
        match self {
            End::Front => told("lpop"),
            End::Back => told("rpop"),
        }
    }
}

/// The place that a signed index names in a list: negative ones count from the end.
fn place(index: i64, len: usize) -> Option<usize> {
    let index = match index {
        0.. => index,
        _ => index + len as i64,
    };
    usize::try_from(index).ok().filter(|index| *index < len)
}

/// The places `first..=last` of a list: negative ones count from the end, and what lies outside is cut off.
fn span(first: i64, last: i64, len: usize) -> Range<usize> {
    let len = len as i64;
    let from_start = |index: i64| if index < 0 { index + len } else { index };
    let first = from_start(first).max(0);
    let end = from_start(last).min(len - 1) + 1;
    if first >= end {
        return 0..0;
    }
    first as usize..end as usize
}

fn lpush(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    push(ctx, args, reply, End::Front, Vacant::Make);
}

fn rpush(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    push(ctx, args, reply, End::Back, Vacant::Make);
}

fn lpushx(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    push(ctx, args, reply, End::Front, Vacant::Leave);
}

fn rpushx(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    push(ctx, args, reply, End::Back, Vacant::Leave);
}

fn push(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>, end: End, vacant: Vacant) {
    let key = ctx.first_key(args.get(1));
    let len = edit(ctx, key, vacant, end.pushed(), |list: &mut List| {
        for element in args.from(2).iter() {
            end.push(list, element);
        }
        (list.len() as i64, Changed::Yes)
    });
    reply_integer(reply, len.map(|len| len.unwrap_or(0)));
}

fn llen(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let key = ctx.first_key(args.get(1));
    let list = read_collection::<List>(ctx, key);
    reply_integer(reply, list.map(|list| list.map_or(0, List::len) as i64));
}

fn lindex(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = reply_element(ctx, args, reply);
    reply_failure(reply, outcome);
}

/// LINDEX; the index of a missing list may be anything.
fn reply_element(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), ErrorText> {
    let key = ctx.first_key(args.get(1));
    let Some(list) = read_collection::<List>(ctx, key)? else {
        reply.null();
        return Ok(());
    };
    let place = place(integer(args.get(2))?, list.len());
    reply.bulk_or_null(place.and_then(|place| list.get(place)));
    Ok(())
}

fn lrange(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = reply_elements(ctx, args, reply);
    reply_failure(reply, outcome);
}

fn reply_elements(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), ErrorText> {
    let (first, last) = (integer(args.get(2))?, integer(args.get(3))?);
    let key = ctx.first_key(args.get(1));
    let Some(list) = read_collection::<List>(ctx, key)? else {
        reply.array(0);
        return Ok(());
    };
    let span = span(first, last, list.len());
    reply.array(span.len());
    for element in list.iter_from(span.start).take(span.len()) {
        reply.bulk(element);
    }
    Ok(())
}

fn lset(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    match replace_element(ctx, args) {
        Ok(()) => reply.ok(),
        Err(text) => reply.error(text),
    }
}

fn replace_element(ctx: &mut Context<'_>, args: Args<'_>) -> Result<(), ErrorText> {
    let key = ctx.first_key(args.get(1));
    let list = peek_collection::<List>(ctx, key)?.ok_or("ERR no such key")?;
    let len = list.len();
    let place = place(integer(args.get(2))?, len).ok_or("ERR index out of range")?;
    edit(ctx, key, Vacant::Leave, told("lset"), |list: &mut List| {
        list.set(place, args.get(3));
        ((), Changed::Yes)
    })?;
    Ok(())
}

fn linsert(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    reply_integer(reply, insert_element(ctx, args));
}

/// Returns the list's length after it: 0 if there is none, -1 if the value is not in it.
fn insert_element(ctx: &mut Context<'_>, args: Args<'_>) -> Result<i64, ErrorText> {
    let distance = match args.get(2).to_ascii_lowercase().as_slice() {
        b"before" => 0,
        b"after" => 1,
        _ => return Err(SYNTAX),
    };
    let (key, pivot, element) = (ctx.first_key(args.get(1)), args.get(3), args.get(4));
    let inserted = told("linsert");
    let len = edit(ctx, key, Vacant::Leave, inserted, |list: &mut List| {
        let place = list.iter_from(0).position(|other| other == pivot);
        match place {
            Some(place) => {
                list.insert(place + distance, element);
                (list.len() as i64, Changed::Yes)
            }
            None => (-1, Changed::No),
        }
    })?;
    Ok(len.unwrap_or(0))
}

fn lrem(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    reply_integer(reply, remove_elements(ctx, args));
}

/// Returns how many elements were removed.
fn remove_elements(ctx: &mut Context<'_>, args: Args<'_>) -> Result<i64, ErrorText> {
    let count = integer(args.get(2))?;
    let (key, element) = (ctx.first_key(args.get(1)), args.get(3));
    let removed = told("lrem");
    let removed = edit(ctx, key, Vacant::Leave, removed, |list: &mut List| {
        let places = places_of(list, element, count);
        for place in &places {
            list.remove(*place);
        }
        match places.len() {
            0 => (0, Changed::No),
            removed => (removed as i64, Changed::Yes),
        }
    })?;
    Ok(removed.unwrap_or(0))
}

/// The places of the first `count` elements that are equal to `element`, or of the last ones if it is negative, or of all if it is
/// 0; the last place first, so that each is still right when those ahead of it in the answer are gone.
fn places_of(list: &List, element: &[u8], count: i64) -> Vec<usize> {
    let count_max = match usize::try_from(count.unsigned_abs()) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(count) => count,
    };
    if count < 0 {
        let from_back = (0..list.len()).rev().zip(list.iter_back(list.len()));
        let equal = from_back.filter(|(_, other)| *other == element);
        return equal.map(|(place, _)| place).take(count_max).collect();
    }
    let equal = list
        .iter_from(0)
        .enumerate()
        .filter(|(_, other)| *other == element);
    let mut places: Vec<usize> = equal.map(|(place, _)| place).take(count_max).collect();
    places.reverse();
    places
}

fn ltrim(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    match keep_elements(ctx, args) {
        Ok(()) => reply.ok(),
        Err(text) => reply.error(text),
    }
}

/// LTRIM counts as a change even if all elements are kept, as in Redis.
fn keep_elements(ctx: &mut Context<'_>, args: Args<'_>) -> Result<(), ErrorText> {
    let (first, last) = (integer(args.get(2))?, integer(args.get(3))?);
    let key = ctx.first_key(args.get(1));
    let trimmed = told("ltrim");
    let rest = edit(ctx, key, Vacant::Leave, trimmed, |list: &mut List| {
        let span = span(first, last, list.len());
        let rest = (span.len() < list.len()).then(|| list.keep(span));
        (rest, Changed::Yes)
    })?;
    if let Some(rest) = rest.flatten() {
        ctx.cache(key).let_go(rest.into_collection());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
