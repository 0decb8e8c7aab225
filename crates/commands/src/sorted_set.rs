//! Sorted sets: one member's score or place, and how many there are: ZCARD, ZSCORE, ZMSCORE, ZRANK, ZREVRANK, ZCOUNT,
//! ZLEXCOUNT. The head of the family: [`ROWS`] lists the rows of all its files.
//!
//! Scores are printed with 17 significant digits, by [`reply_score`] alone.

mod add;
mod blocking;
mod combine;
mod interval;
mod options;
pub(crate) mod pop;
mod random;
mod range;
mod remove;
mod scan;
#[cfg(test)]
mod tests;

use crate::access::{reply_failure, reply_integer};
use crate::collection::{Told, read_collection};
use crate::errors::{ErrorText, SYNTAX};
use crate::keyspec::first_key;
use crate::{Category, Context, EventClass, Flags, Group, KeyAccess, KeySpec, Row, Run, Split};
use cache::SortedSet;
use interval::Interval;
use resp::{Args, Protocol, Reply};

/// The family's rows.
pub static ROWS: &[Row] = &[
    blocking::BZMPOP,
    blocking::BZPOPMAX,
    blocking::BZPOPMIN,
    add::ZADD,
    ZCARD,
    ZCOUNT,
    combine::ZDIFF,
    combine::ZDIFFSTORE,
    add::ZINCRBY,
    combine::ZINTER,
    combine::ZINTERCARD,
    combine::ZINTERSTORE,
    ZLEXCOUNT,
    pop::ZMPOP,
    ZMSCORE,
    pop::ZPOPMAX,
    pop::ZPOPMIN,
    random::ZRANDMEMBER,
    range::ZRANGE,
    range::ZRANGEBYLEX,
    range::ZRANGEBYSCORE,
    range::ZRANGESTORE,
    ZRANK,
    remove::ZREM,
    remove::ZREMRANGEBYLEX,
    remove::ZREMRANGEBYRANK,
    remove::ZREMRANGEBYSCORE,
    range::ZREVRANGE,
    range::ZREVRANGEBYLEX,
    range::ZREVRANGEBYSCORE,
    ZREVRANK,
    scan::ZSCAN,
    ZSCORE,
    combine::ZUNION,
    combine::ZUNIONSTORE,
];

/// What the family's rows have in common.
const SORTED_SET_ROW: Row = Row {
    name: "",
    arity: 0,
    flags: Flags::NONE,
    keys: &[],
    categories: Category::SORTEDSET,
    group: Group::SortedSet,
    since: "",
    summary: "",
    complexity: "",
    split: Split::Whole,
    run: Run::Later,
    patience: None,
    blocks: None,
    subcommands: &[],
};

/// A key that is read.
const READ_KEY: KeySpec = first_key(KeyAccess::RO.and(KeyAccess::ACCESS));

const READ_FAST: Flags = Flags::READONLY.and(Flags::FAST);

/// What a read of one sorted set has in common with others.
const READ_ROW: Row = Row {
    flags: READ_FAST,
    keys: &[READ_KEY],
    complexity: "O(log(N)) for N members",
    ..SORTED_SET_ROW
};

/// A sorted set's event of this name.
const fn told(name: &'static str) -> Told {
    Told {
        class: EventClass::SortedSet,
        name,
    }
}

/// Whether members are answered with their scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Members,
    WithScores,
}

/// Which way members are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    /// The lowest score first.
    Upward,
    /// The highest score first.
    Downward,
}

/// Starts an answer of `count` members: pairs are arrays of two under RESP3 and stand in one row under RESP2.
fn reply_members(reply: &mut Reply<'_>, count: usize, shown: Shown) {
    match (shown, reply.protocol()) {
        (Shown::WithScores, Protocol::Resp2) => reply.array(count * 2),
        (Shown::WithScores, Protocol::Resp3) | (Shown::Members, _) => reply.array(count),
    }
}

/// One member of such an answer.
fn reply_member(reply: &mut Reply<'_>, member: &[u8], score: f64, shown: Shown) {
    match shown {
        Shown::Members => reply.bulk(member),
        Shown::WithScores => {
            if reply.protocol() == Protocol::Resp3 {
                reply.array(2);
            }
            reply.bulk(member);
            reply_score(reply, score);
        }
    }
}

/// A score, as every command of the family answers it.
fn reply_score(reply: &mut Reply<'_>, score: f64) {
    reply.double(score);
}

const ZCARD: Row = Row {
    name: "zcard",
    arity: 2,
    keys: &[first_key(KeyAccess::RO)],
    since: "1.2.0",
    summary: "Counts the members of a sorted set.",
    complexity: "O(1)",
    run: Run::Data(zcard),
    ..READ_ROW
};

fn zcard(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let key = ctx.first_key(args.get(1));
    let set = read_collection::<SortedSet>(ctx, key);
    reply_integer(reply, set.map(|set| set.map_or(0, |set| set.len() as i64)));
}

const ZSCORE: Row = Row {
    name: "zscore",
    arity: 3,
    since: "1.2.0",
    summary: "Returns the score of a member.",
    run: Run::Data(zscore),
    ..READ_ROW
};

fn zscore(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let key = ctx.first_key(args.get(1));
    match read_collection::<SortedSet>(ctx, key) {
        Ok(set) => reply_score_of(reply, set, args.get(2)),
        Err(text) => reply.error(text),
    }
}

/// The score of a member, or null.
fn reply_score_of(reply: &mut Reply<'_>, set: Option<&SortedSet>, member: &[u8]) {
    match set.and_then(|set| set.score(member)) {
        Some(score) => reply_score(reply, score),
        None => reply.null(),
    }
}

const ZMSCORE: Row = Row {
    name: "zmscore",
    arity: -3,
    since: "6.2.0",
    summary: "Returns the scores of members, null for what is no member.",
    complexity: "O(log(N)) for each member asked for, N being the members of the sorted set",
    run: Run::Data(zmscore),
    ..READ_ROW
};

fn zmscore(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let key = ctx.first_key(args.get(1));
    let set = match read_collection::<SortedSet>(ctx, key) {
        Ok(set) => set,
        Err(text) => return reply.error(text),
    };
    let members = args.from(2);
    reply.array(members.len());
    for member in members.iter() {
        reply_score_of(reply, set, member);
    }
}

const ZRANK: Row = Row {
    name: "zrank",
    arity: -3,
    since: "2.0.0",
    summary: "Returns the place of a member, 0 for that of the lowest score, and its score if asked.",
    run: Run::Data(zrank),
    ..READ_ROW
};

fn zrank(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = rank(ctx, args, reply, Direction::Upward);
    reply_failure(reply, outcome);
}

const ZREVRANK: Row = Row {
    name: "zrevrank",
    summary: "Returns the place of a member, 0 for that of the highest score, and its score if asked.",
    run: Run::Data(zrevrank),
    ..ZRANK
};

fn zrevrank(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = rank(ctx, args, reply, Direction::Downward);
    reply_failure(reply, outcome);
}

/// # Errors
/// `SYNTAX`, too many arguments, `WRONG_TYPE`.
fn rank(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    direction: Direction,
) -> Result<(), ErrorText> {
    let shown = match args.len() {
        3 => Shown::Members,
        4 if args.get(3).eq_ignore_ascii_case(b"withscore") => Shown::WithScores,
        4 => return Err(SYNTAX),
        _ => {
            return Err(match direction {
                Direction::Upward => "ERR wrong number of arguments for 'zrank' command",
                Direction::Downward => "ERR wrong number of arguments for 'zrevrank' command",
            });
        }
    };
    let (key, member) = (ctx.first_key(args.get(1)), args.get(2));
    let set = read_collection::<SortedSet>(ctx, key)?;
    let found = set.and_then(|set| {
        let rank = set.rank(member)?;
        let rank = match direction {
            Direction::Upward => rank,
            Direction::Downward => set.len() - 1 - rank,
        };
        Some((rank as i64, set.score(member)?))
    });
    match (found, shown) {
        (Some((rank, _)), Shown::Members) => reply.integer(rank),
        (Some((rank, score)), Shown::WithScores) => {
            reply.array(2);
            reply.integer(rank);
            reply_score(reply, score);
        }
        (None, Shown::Members) => reply.null(),
        (None, Shown::WithScores) => reply.null_array(),
    }
    Ok(())
}

const ZCOUNT: Row = Row {
    name: "zcount",
    arity: 4,
    since: "2.0.0",
    summary: "Counts the members whose scores are in a range.",
    run: Run::Data(zcount),
    ..READ_ROW
};

fn zcount(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let interval = Interval::of_scores(args.get(2), args.get(3));
    let count = count(ctx, args, interval);
    reply_integer(reply, count);
}

const ZLEXCOUNT: Row = Row {
    name: "zlexcount",
    since: "2.8.9",
    summary: "Counts the members between two bounds, all scores being equal.",
    run: Run::Data(zlexcount),
    ..ZCOUNT
};

fn zlexcount(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let interval = Interval::of_members(args.get(2), args.get(3));
    let count = count(ctx, args, interval);
    reply_integer(reply, count);
}

/// How many members of the sorted set at argument 1 are within.
///
/// # Errors
/// That of the interval, then `WRONG_TYPE`.
fn count(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    interval: Result<Interval<'_>, ErrorText>,
) -> Result<i64, ErrorText> {
    let interval = interval?;
    let key = ctx.first_key(args.get(1));
    let set = read_collection::<SortedSet>(ctx, key)?;
    Ok(set.map_or(0, |set| interval.ranks(set).len() as i64))
}
