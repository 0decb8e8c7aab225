//! Members in a row: ZRANGE and the older commands that are a part of it, and ZRANGESTORE.

use super::interval::Interval;
use super::{Direction, READ_KEY, READ_ROW, SORTED_SET_ROW, Shown};
use super::{reply_member, reply_members, told};
use crate::access::{integer, reply_failure};
use crate::collection::{put_collection, read_collection};
use crate::errors::{ErrorText, SYNTAX};
use crate::keyspec::{first_key, key_at};
use crate::{Context, Flags, KeyAccess, Row, Run};
use cache::{SortedSet, Typed};
use resp::{Args, Reply};
use std::ops::Range;

const COMPLEXITY: &str = "O(log(N)+M) for N members of which M are answered";

/// What the rows that answer a range have in common.
const RANGE_ROW: Row = Row {
    arity: -4,
    flags: Flags::READONLY,
    keys: &[READ_KEY],
    complexity: COMPLEXITY,
    ..READ_ROW
};

pub(super) const ZRANGE: Row = Row {
    name: "zrange",
    since: "1.2.0",
    summary: "Returns members in a range of places, scores or members, from either end.",
    run: Run::Data(zrange),
    ..RANGE_ROW
};

fn zrange(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    answer(ctx, args, reply, Form::OPEN);
}

pub(super) const ZREVRANGE: Row = Row {
    name: "zrevrange",
    since: "1.2.0",
    summary: "Returns members in a range of places, from the highest score on.",
    run: Run::Data(zrevrange),
    ..RANGE_ROW
};

fn zrevrange(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    answer(ctx, args, reply, Form::fixed(By::Rank, Direction::Downward));
}

pub(super) const ZRANGEBYSCORE: Row = Row {
    name: "zrangebyscore",
    since: "1.0.5",
    summary: "Returns members in a range of scores.",
    run: Run::Data(zrangebyscore),
    ..RANGE_ROW
};

fn zrangebyscore(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    answer(ctx, args, reply, Form::fixed(By::Score, Direction::Upward));
}

pub(super) const ZREVRANGEBYSCORE: Row = Row {
    name: "zrevrangebyscore",
    since: "2.2.0",
    summary: "Returns members in a range of scores, from the highest on.",
    run: Run::Data(zrevrangebyscore),
    ..RANGE_ROW
};

fn zrevrangebyscore(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let form = Form::fixed(By::Score, Direction::Downward);
    answer(ctx, args, reply, form);
}

pub(super) const ZRANGEBYLEX: Row = Row {
    name: "zrangebylex",
    since: "2.8.9",
    summary: "Returns the members between two bounds, all scores being equal.",
    run: Run::Data(zrangebylex),
    ..RANGE_ROW
};

fn zrangebylex(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    answer(ctx, args, reply, Form::fixed(By::Member, Direction::Upward));
}

pub(super) const ZREVRANGEBYLEX: Row = Row {
    name: "zrevrangebylex",
    since: "2.8.9",
    summary: "Returns the members between two bounds from the last on, all scores being equal.",
    run: Run::Data(zrevrangebylex),
    ..RANGE_ROW
};

fn zrevrangebylex(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let form = Form::fixed(By::Member, Direction::Downward);
    answer(ctx, args, reply, form);
}

pub(super) const ZRANGESTORE: Row = Row {
    name: "zrangestore",
    arity: -5,
    flags: Flags::WRITE.and(Flags::DENYOOM),
    keys: &[
        first_key(KeyAccess::OW.and(KeyAccess::UPDATE)),
        key_at(2, KeyAccess::RO.and(KeyAccess::ACCESS)),
    ],
    since: "6.2.0",
    summary: "Stores a range of a sorted set's members as another sorted set.",
    complexity: "O(log(N)+M*log(M)) for N members of which M are stored",
    run: Run::Data(zrangestore),
    ..SORTED_SET_ROW
};

fn zrangestore(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = store(ctx, args, reply);
    reply_failure(reply, outcome);
}

/// What a range is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Member,
}

/// Whether WITHSCORES may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scores {
    OnRequest,
    Never,
}

/// What a command's name says already, and what its options are left to say.
#[derive(Clone, Copy, Debug)]
struct Form {
    by: Option<By>,
    direction: Option<Direction>,
    scores: Scores,
}

impl Form {
    /// ZRANGE: all is up to the options.
    const OPEN: Form = Form {
        by: None,
        direction: None,
        scores: Scores::OnRequest,
    };

    /// ZRANGESTORE.
    const STORED: Form = Form {
        scores: Scores::Never,
        ..Form::OPEN
    };

    /// The older commands.
    const fn fixed(by: By, direction: Direction) -> Form {
        Form {
            by: Some(by),
            direction: Some(direction),
            scores: Scores::OnRequest,
        }
    }
}

/// A range as a client asks for it.
struct Request<'a> {
    interval: Interval<'a>,
    direction: Direction,
    shown: Shown,
    /// Members to leave out at the beginning; none = all of them.
    offset: Option<usize>,
    /// Most members; none = all of them.
    limit: Option<usize>,
}

impl<'a> Request<'a> {
    /// `args` begin with the range's two ends.
    ///
    /// # Errors
    /// Redis's texts, in its order: options, what contradicts, then the ends.
    fn parse(args: Args<'a>, form: Form) -> Result<Self, ErrorText> {
        let Form {
            mut by,
            mut direction,
            scores,
        } = form;
        let (mut shown, mut offset, mut limit) = (Shown::Members, 0, -1);
        let mut at = 2;
        while at < args.len() {
            let option = args.get(at);
            let is = |word: &[u8]| option.eq_ignore_ascii_case(word);
            if scores == Scores::OnRequest && is(b"withscores") {
                shown = Shown::WithScores;
            } else if is(b"limit") && at + 2 < args.len() {
                offset = integer(args.get(at + 1))?;
                limit = integer(args.get(at + 2))?;
                at += 2;
            } else if direction.is_none() && is(b"rev") {
                direction = Some(Direction::Downward);
            } else if by.is_none() && is(b"bylex") {
                by = Some(By::Member);
            } else if by.is_none() && is(b"byscore") {
                by = Some(By::Score);
            } else {
                return Err(SYNTAX);
            }
            at += 1;
        }
        let by = by.unwrap_or(By::Rank);
        if limit != -1 && by == By::Rank {
            return Err(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            );
        }
        if shown == Shown::WithScores && by == By::Member {
            return Err("ERR syntax error, WITHSCORES not supported in combination with BYLEX");
        }
        let direction = direction.unwrap_or(Direction::Upward);
        let (first, last) = (args.get(0), args.get(1));
        // Going down, a client names the upper end first.
        let (min, max) = match direction {
            Direction::Upward => (first, last),
            Direction::Downward => (last, first),
        };
        let interval = match by {
            By::Rank => Interval::of_ranks(first, last, direction)?,
            By::Score => Interval::of_scores(min, max)?,
            By::Member => Interval::of_members(min, max)?,
        };
        // Places know no offset; LIMIT with -1 is let pass with them and means nothing.
        let offset = if by == By::Rank { 0 } else { offset };
        Ok(Request {
            interval,
            direction,
            shown,
            offset: usize::try_from(offset).ok(),
            limit: usize::try_from(limit).ok(),
        })
    }

    /// The places of the members that are asked for, from the lowest score on.
    fn ranks(&self, set: &SortedSet) -> Range<usize> {
        let Range { start, end } = self.interval.ranks(set);
        let offset = self.offset.unwrap_or(usize::MAX).min(end - start);
        let limit = self.limit.unwrap_or(usize::MAX);
        match self.direction {
            Direction::Upward => {
                let start = start + offset;
                start..end.min(start.saturating_add(limit))
            }
            Direction::Downward => {
                let end = end - offset;
                start.max(end.saturating_sub(limit))..end
            }
        }
    }
}

fn answer(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>, form: Form) {
    let request = match Request::parse(args.from(2), form) {
        Ok(request) => request,
        Err(text) => return reply.error(text),
    };
    let key = ctx.first_key(args.get(1));
    match read_collection::<SortedSet>(ctx, key) {
        Ok(Some(set)) => {
            let ranks = request.ranks(set);
            reply_members(reply, ranks.len(), request.shown);
            visit(set, ranks, request.direction, |member, score| {
                reply_member(reply, member, score, request.shown);
            });
        }
        Ok(None) => reply.array(0),
        Err(text) => reply.error(text),
    }
}

/// Calls `to` with the members at these places, in this direction.
fn visit(
    set: &SortedSet,
    ranks: Range<usize>,
    direction: Direction,
    mut to: impl FnMut(&[u8], f64),
) {
    let count = ranks.len();
    match direction {
        Direction::Upward => {
            let members = set.iter_from(ranks.start).take(count);
            members.for_each(|(member, score)| to(member, score));
        }
        Direction::Downward => {
            let members = set.iter_back(ranks.end).take(count);
            members.for_each(|(member, score)| to(member, score));
        }
    }
}

/// ZRANGESTORE.
///
/// # Errors
/// Those of the range, then `WRONG_TYPE`.
fn store(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), ErrorText> {
    let request = Request::parse(args.from(3), Form::STORED)?;
    let (to, from) = (ctx.first_key(args.get(1)), ctx.key(args.get(2)));
    let mut stored = SortedSet::empty();
    if let Some(set) = read_collection::<SortedSet>(ctx, from)? {
        let ranks = request.ranks(set);
        visit(set, ranks, Direction::Upward, |member, score| {
            stored.set(member, score);
        });
    }
    let count = stored.len();
    put_collection(ctx, to, stored, told("zrangestore"));
    reply.integer(count as i64);
    Ok(())
}
