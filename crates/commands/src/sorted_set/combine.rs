//! Several sorted sets and sets made into one: ZUNION, ZINTER, ZDIFF, the forms that store the result, and ZINTERCARD.
//! A member of a plain set has the score 1.

mod request;

use super::{READ_ROW, SORTED_SET_ROW};
use super::{reply_member, reply_members, told};
use crate::access::{reply_failure, reply_integer};
use crate::collection::put_collection;
use crate::errors::{ErrorText, WRONG_TYPE};
use crate::key::{Look, read};
use crate::keyspec::{counted_keys, first_key};
use crate::{Context, Flags, KeyAccess, KeySpec, Row, Run};
use cache::{Collection, Key, Set, SortedSet, Typed, Value};
use request::{Request, Takes};
use resp::{Args, Reply};

const READ: KeyAccess = KeyAccess::RO.and(KeyAccess::ACCESS);
const STORED: &[KeySpec] = &[
    first_key(KeyAccess::OW.and(KeyAccess::UPDATE)),
    counted_keys(2, READ),
];

/// What the rows that answer have in common.
const ANSWER_ROW: Row = Row {
    arity: -3,
    flags: Flags::READONLY.and(Flags::MOVABLE_KEYS),
    keys: &[counted_keys(1, READ)],
    since: "6.2.0",
    ..READ_ROW
};

/// What the rows that store have in common.
const STORE_ROW: Row = Row {
    arity: -4,
    flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::MOVABLE_KEYS),
    keys: STORED,
    since: "2.0.0",
    ..SORTED_SET_ROW
};

const UNION_COMPLEXITY: &str = "O(N*log(M)) for N members in all, M in the result";
const INTER_COMPLEXITY: &str = "O(N*K*log(M)) for N members of the smallest of K, M of the largest";
const DIFF_COMPLEXITY: &str = "O(N*K*log(M)) for N members of the first of K, M of the largest";

pub(super) const ZUNION: Row = Row {
    name: "zunion",
    summary: "Returns the members of any of several sorted sets.",
    complexity: UNION_COMPLEXITY,
    run: Run::Data(zunion),
    ..ANSWER_ROW
};

fn zunion(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let none = "ERR at least 1 input key is needed for 'zunion' command";
    let outcome = answer(ctx, args, reply, Request::new(Takes::Weights, none), union);
    reply_failure(reply, outcome);
}

pub(super) const ZUNIONSTORE: Row = Row {
    name: "zunionstore",
    summary: "Stores the members of any of several sorted sets.",
    complexity: UNION_COMPLEXITY,
    run: Run::Data(zunionstore),
    ..STORE_ROW
};

fn zunionstore(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let none = "ERR at least 1 input key is needed for 'zunionstore' command";
    let request = Request::new(Takes::WeightsToStore, none);
    let count = store(ctx, args, "zunionstore", request, union);
    reply_integer(reply, count);
}

pub(super) const ZINTER: Row = Row {
    name: "zinter",
    summary: "Returns the members of all of several sorted sets.",
    complexity: INTER_COMPLEXITY,
    run: Run::Data(zinter),
    ..ANSWER_ROW
};

fn zinter(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let none = "ERR at least 1 input key is needed for 'zinter' command";
    let outcome = answer(ctx, args, reply, Request::new(Takes::Weights, none), inter);
    reply_failure(reply, outcome);
}

pub(super) const ZINTERSTORE: Row = Row {
    name: "zinterstore",
    summary: "Stores the members of all of several sorted sets.",
    complexity: INTER_COMPLEXITY,
    run: Run::Data(zinterstore),
    ..STORE_ROW
};

fn zinterstore(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let none = "ERR at least 1 input key is needed for 'zinterstore' command";
    let request = Request::new(Takes::WeightsToStore, none);
    let count = store(ctx, args, "zinterstore", request, inter);
    reply_integer(reply, count);
}

pub(super) const ZDIFF: Row = Row {
    name: "zdiff",
    summary: "Returns the members of the first sorted set that are in none of the others.",
    complexity: DIFF_COMPLEXITY,
    run: Run::Data(zdiff),
    ..ANSWER_ROW
};

fn zdiff(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let none = "ERR at least 1 input key is needed for 'zdiff' command";
    let outcome = answer(ctx, args, reply, Request::new(Takes::Scores, none), diff);
    reply_failure(reply, outcome);
}

pub(super) const ZDIFFSTORE: Row = Row {
    name: "zdiffstore",
    since: "6.2.0",
    summary: "Stores the members of the first sorted set that are in none of the others.",
    complexity: DIFF_COMPLEXITY,
    run: Run::Data(zdiffstore),
    ..STORE_ROW
};

fn zdiffstore(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let none = "ERR at least 1 input key is needed for 'zdiffstore' command";
    let request = Request::new(Takes::Nothing, none);
    let count = store(ctx, args, "zdiffstore", request, diff);
    reply_integer(reply, count);
}

pub(super) const ZINTERCARD: Row = Row {
    name: "zintercard",
    since: "7.0.0",
    summary: "Counts the members of all of several sorted sets, up to a limit if asked.",
    complexity: INTER_COMPLEXITY,
    run: Run::Data(zintercard),
    ..ANSWER_ROW
};

fn zintercard(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let none = "ERR at least 1 input key is needed for 'zintercard' command";
    let request = Request::new(Takes::Limit, none).parse(ctx, args.from(1));
    let count = request.map(|request| {
        let limit = request.limit.unwrap_or(usize::MAX);
        let mut inputs = request.inputs;
        members_of_all(&mut inputs).take(limit).count() as i64
    });
    reply_integer(reply, count);
}

/// One source: a clone, so that it stays as it was while the destination changes.
enum Source {
    Absent,
    Set(Set),
    SortedSet(SortedSet),
}

impl Source {
    /// What is at `key`.
    ///
    /// # Errors
    /// `WRONG_TYPE`.
    fn read(ctx: &mut Context<'_>, key: Key<'_>) -> Result<Source, ErrorText> {
        match read(ctx, key, Look::Access).map(|entry| entry.value) {
            None => Ok(Source::Absent),
            Some(Value::Collection(Collection::Set(set))) => Ok(Source::Set(set.clone())),
            Some(Value::Collection(Collection::SortedSet(set))) => {
                Ok(Source::SortedSet(set.clone()))
            }
            Some(Value::Collection(
                Collection::Hash(_) | Collection::List(_) | Collection::Stream(_),
            ))
            | Some(Value::String(_) | Value::Shared(_)) => Err(WRONG_TYPE),
        }
    }

    fn len(&self) -> usize {
        match self {
            Source::Absent => 0,
            Source::Set(set) => set.len(),
            Source::SortedSet(set) => set.len(),
        }
    }

    fn score(&self, member: &[u8]) -> Option<f64> {
        match self {
            Source::Absent => None,
            Source::Set(set) => set.contains(member).then_some(1.0),
            Source::SortedSet(set) => set.score(member),
        }
    }

    fn iter(&self) -> Box<dyn Iterator<Item = (&[u8], f64)> + '_> {
        match self {
            Source::Absent => Box::new(std::iter::empty()),
            Source::Set(set) => Box::new(set.iter().map(|member| (member, 1.0))),
            Source::SortedSet(set) => Box::new(set.iter_from(0)),
        }
    }
}

/// A source and what its scores are multiplied with.
struct Input {
    source: Source,
    weight: f64,
}

/// How the scores of one member are made into one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    /// A sum of infinities of both signs counts as 0, as in Redis.
    fn apply(self, score: f64, other: f64) -> f64 {
        match self {
            Aggregate::Sum => number_or_0(score + other),
            Aggregate::Min if other < score => other,
            Aggregate::Max if other > score => other,
            Aggregate::Min | Aggregate::Max => score,
        }
    }
}

/// The number, or 0 for what is none: an infinite score with the weight 0, for example.
fn number_or_0(number: f64) -> f64 {
    if number.is_nan() { 0.0 } else { number }
}

/// Answers what `combine` makes of the sources; `args` begin with the command's name.
///
/// # Errors
/// Those of the request.
fn answer(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    request: Request,
    combine: fn(Request) -> SortedSet,
) -> Result<(), ErrorText> {
    let request = request.parse(ctx, args.from(1))?;
    let shown = request.shown;
    let result = combine(request);
    reply_members(reply, result.len(), shown);
    for (member, score) in result.iter_from(0) {
        reply_member(reply, member, score, shown);
    }
    Ok(())
}

/// Stores what `combine` makes of the sources at argument 1, and returns how many members it has.
///
/// # Errors
/// Those of the request.
fn store(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    event: &'static str,
    request: Request,
    combine: fn(Request) -> SortedSet,
) -> Result<i64, ErrorText> {
    let request = request.parse(ctx, args.from(2))?;
    let key = ctx.first_key(args.get(1));
    let result = combine(request);
    let count = result.len();
    put_collection(ctx, key, result, told(event));
    Ok(count as i64)
}

/// Redis goes from the smallest source on, which shows where sums are rounded.
fn sort_by_len(inputs: &mut [Input]) {
    inputs.sort_by_key(|input| input.source.len());
}

fn union(mut request: Request) -> SortedSet {
    sort_by_len(&mut request.inputs);
    let mut result = SortedSet::empty();
    for Input { source, weight } in &request.inputs {
        for (member, score) in source.iter() {
            let score = number_or_0(weight * score);
            let score = match result.score(member) {
                Some(before) => request.aggregate.apply(before, score),
                None => score,
            };
            result.set(member, score);
        }
    }
    result
}

/// The members of all sources with their scores in the smallest one, which comes first then.
fn members_of_all(inputs: &mut [Input]) -> impl Iterator<Item = (&[u8], f64)> {
    sort_by_len(inputs);
    let (first, others) = inputs.split_first().expect("there is a source");
    first.source.iter().filter(|(member, _)| {
        let mut others = others.iter();
        others.all(|input| input.source.score(member).is_some())
    })
}

fn inter(mut request: Request) -> SortedSet {
    sort_by_len(&mut request.inputs);
    let (first, others) = request.inputs.split_first().expect("there is a source");
    let mut result = SortedSet::empty();
    for (member, score) in first.source.iter() {
        let begin = number_or_0(first.weight * score);
        let score = others.iter().try_fold(begin, |score, input| {
            let other = input.source.score(member)?;
            Some(request.aggregate.apply(score, other * input.weight))
        });
        if let Some(score) = score {
            result.set(member, score);
        }
    }
    result
}

fn diff(request: Request) -> SortedSet {
    let (first, others) = request.inputs.split_first().expect("there is a source");
    let mut result = SortedSet::empty();
    for (member, score) in first.source.iter() {
        let mut others = others.iter();
        if others.all(|input| input.source.score(member).is_none()) {
            result.set(member, score);
        }
    }
    result
}
