//! Several sets at once: SINTER, SUNION, SDIFF, their STORE forms, SINTERCARD.
//!
//! The sources are cloned first, which costs O(1) each: a destination that is a source too may be replaced.

use super::{SET_ROW, told};
use crate::access::reply_failure;
use crate::collection::{put_collection, read_collection};
use crate::errors::{ErrorText, SYNTAX};
use crate::key::key_of;
use crate::keyspec::{counted_keys, first_key, keys_at};
use crate::{Context, Flags, KeyAccess, KeySpec, Row, Run};
use cache::{Set, Typed};
use resp::{Args, Reply, parse_i64};
use std::ops::Range;

const SOURCE: KeyAccess = KeyAccess::RO.and(KeyAccess::ACCESS);
const STORED: KeySpec = keys_at(2, -1, SOURCE);
const GROWING_WRITE: Flags = Flags::WRITE.and(Flags::DENYOOM);

/// What is made of the sources, of which those that are not there are none.
type Combine = for<'s> fn(&'s [Option<Set>]) -> Members<'s>;

/// A result.
enum Members<'s> {
    /// Members of a source.
    Of(Vec<&'s [u8]>),
    /// A set of its own, in the form of the source that it began as.
    Set(Set),
}

impl Members<'_> {
    fn reply(&self, reply: &mut Reply<'_>) {
        match self {
            Members::Of(members) => {
                reply.set(members.len());
                members.iter().for_each(|member| reply.bulk(member));
            }
            Members::Set(set) => super::reply_all(reply, set),
        }
    }

    /// As a set of its own.
    fn into_set(self) -> Set {
        match self {
            Members::Of(members) => {
                let mut set = Set::empty();
                for member in members {
                    set.insert(member);
                }
                set
            }
            Members::Set(set) => set,
        }
    }
}

pub(super) const SINTER: Row = Row {
    name: "sinter",
    arity: -2,
    flags: Flags::READONLY,
    keys: &[keys_at(1, -1, SOURCE)],
    summary: "Returns the members that all of several sets have.",
    complexity: "O(N*M*log(L)) for the smallest set's N members, M sets and the largest one's L members",
    run: Run::Data(sinter),
    ..SET_ROW
};

fn sinter(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    answer(ctx, args, intersection, reply);
}

pub(super) const SINTERSTORE: Row = Row {
    name: "sinterstore",
    arity: -3,
    flags: GROWING_WRITE,
    keys: &[first_key(KeyAccess::RW.and(KeyAccess::UPDATE)), STORED],
    summary: "Stores the members that all of several sets have, and counts them.",
    run: Run::Data(sinterstore),
    ..SINTER
};

fn sinterstore(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    store(ctx, args, intersection, "sinterstore", reply);
}

pub(super) const SUNION: Row = Row {
    name: "sunion",
    summary: "Returns the members that any of several sets has.",
    complexity: "O(N*log(N)) for N members in all sets",
    run: Run::Data(sunion),
    ..SINTER
};

fn sunion(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    answer(ctx, args, union, reply);
}

pub(super) const SUNIONSTORE: Row = Row {
    name: "sunionstore",
    keys: &[first_key(KeyAccess::OW.and(KeyAccess::UPDATE)), STORED],
    summary: "Stores the members that any of several sets has, and counts them.",
    complexity: SUNION.complexity,
    run: Run::Data(sunionstore),
    ..SINTERSTORE
};

fn sunionstore(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    store(ctx, args, union, "sunionstore", reply);
}

pub(super) const SDIFF: Row = Row {
    name: "sdiff",
    summary: "Returns the members of a set that no other of several sets has.",
    run: Run::Data(sdiff),
    ..SUNION
};

fn sdiff(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    answer(ctx, args, difference, reply);
}

pub(super) const SDIFFSTORE: Row = Row {
    name: "sdiffstore",
    summary: "Stores the members of a set that no other of several sets has, and counts them.",
    run: Run::Data(sdiffstore),
    ..SUNIONSTORE
};

fn sdiffstore(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    store(ctx, args, difference, "sdiffstore", reply);
}

pub(super) const SINTERCARD: Row = Row {
    name: "sintercard",
    arity: -3,
    flags: Flags::READONLY.and(Flags::MOVABLE_KEYS),
    keys: &[counted_keys(1, SOURCE)],
    since: "7.0.0",
    summary: "Counts the members that all of several sets have, up to a limit.",
    run: Run::Data(sintercard),
    ..SINTER
};

fn sintercard(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = count_common(ctx, args, reply);
    reply_failure(reply, outcome);
}

fn count_common(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), ErrorText> {
    let (keys, limit) = parse_counted(args)?;
    let sources = sources(ctx, args, keys)?;
    reply.integer(common(&sources).take(limit).count() as i64);
    Ok(())
}

/// SINTERCARD's keys, and at most how many members are to be counted.
///
/// # Errors
/// Redis's text, in its order: the number of keys, then the options one after the other.
fn parse_counted(args: Args<'_>) -> Result<(Range<usize>, usize), ErrorText> {
    let keys_count = parse_i64(args.get(1))
        .and_then(|count| usize::try_from(count).ok())
        .filter(|count| *count > 0)
        .ok_or("ERR numkeys should be greater than 0")?;
    if keys_count > args.len() - 2 {
        return Err("ERR Number of keys can't be greater than number of args");
    }
    let keys = 2..2 + keys_count;
    let mut limit = 0;
    let mut rest = args.from(keys.end).iter();
    while let Some(option) = rest.next() {
        if !option.eq_ignore_ascii_case(b"limit") {
            return Err(SYNTAX);
        }
        limit = parse_i64(rest.next().ok_or(SYNTAX)?)
            .and_then(|limit| usize::try_from(limit).ok())
            .ok_or("ERR LIMIT can't be negative")?;
    }
    Ok((keys, if limit == 0 { usize::MAX } else { limit }))
}

/// Answers what `combine` makes of the sets at all keys.
fn answer(ctx: &mut Context<'_>, args: Args<'_>, combine: Combine, reply: &mut Reply<'_>) {
    match sources(ctx, args, 1..args.len()) {
        Ok(sources) => combine(&sources).reply(reply),
        Err(text) => reply.error(text),
    }
}

/// Puts what `combine` makes of the sets at the keys from argument 2 on in place of whatever is at argument 1.
fn store(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    combine: Combine,
    event: &'static str,
    reply: &mut Reply<'_>,
) {
    let sources = match sources(ctx, args, 2..args.len()) {
        Ok(sources) => sources,
        Err(text) => return reply.error(text),
    };
    let set = combine(&sources).into_set();
    // Nothing is shared any more if the destination is a source, and is dropped whole.
    drop(sources);
    let len = set.len();
    let key = ctx.first_key(args.get(1));
    put_collection(ctx, key, set, told(event));
    reply.integer(len as i64);
}

/// Clones of the sets at these arguments. All are looked at, whatever the first ones are.
///
/// # Errors
/// `WRONG_TYPE` if any is no set.
fn sources(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    keys: Range<usize>,
) -> Result<Vec<Option<Set>>, ErrorText> {
    keys.map(|at| {
        let key = key_of(ctx, args, at);
        read_collection::<Set>(ctx, key).map(|set| set.cloned())
    })
    .collect()
}

fn intersection(sources: &[Option<Set>]) -> Members<'_> {
    Members::Of(common(sources).collect())
}

/// The members that all have, in the order of the smallest. The small ones are asked first.
fn common(sources: &[Option<Set>]) -> impl Iterator<Item = &[u8]> {
    // A source that is not there is as good as an empty one.
    let all: Option<Vec<&Set>> = sources.iter().map(Option::as_ref).collect();
    let mut all = all.unwrap_or_default();
    all.sort_by_key(|set| set.len());
    let smallest = all.first().copied();
    smallest
        .into_iter()
        .flat_map(Set::iter)
        .filter(move |member| all[1..].iter().all(|set| set.contains(member)))
}

/// Begins with the largest, so that few are added.
fn union(sources: &[Option<Set>]) -> Members<'_> {
    let sets = || sources.iter().enumerate();
    let largest = sets()
        .filter_map(|(at, set)| Some((at, set.as_ref()?)))
        .max_by_key(|(_, set)| set.len());
    let Some((largest_at, largest)) = largest else {
        return Members::Of(Vec::new());
    };
    let mut union = largest.clone();
    for (_, set) in sets().filter(|(at, _)| *at != largest_at) {
        for member in set.iter().flat_map(Set::iter) {
            union.insert(member);
        }
    }
    Members::Set(union)
}

/// Either the others' members are taken out of the first, or each of the first's is looked for in the others: whichever
/// is less to do.
fn difference(sources: &[Option<Set>]) -> Members<'_> {
    let [Some(first), others @ ..] = sources else {
        return Members::Of(Vec::new());
    };
    let others: Vec<&Set> = others.iter().flatten().collect();
    let others_len: usize = others.iter().map(|set| set.len()).sum();
    if others_len > first.len() {
        let rest = first
            .iter()
            .filter(|member| !others.iter().any(|set| set.contains(member)));
        return Members::Of(rest.collect());
    }
    let mut rest = first.clone();
    for member in others.into_iter().flat_map(Set::iter) {
        rest.remove(member);
    }
    Members::Set(rest)
}

#[cfg(test)]
mod tests;
