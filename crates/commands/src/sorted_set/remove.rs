//! Members removed: ZREM by name, ZREMRANGEBYRANK, ZREMRANGEBYSCORE and ZREMRANGEBYLEX by range.

use super::interval::Interval;
use super::{Direction, SORTED_SET_ROW, told};
use crate::access::reply_integer;
use crate::collection::edit;
use crate::errors::ErrorText;
use crate::keyspec::first_key;
use crate::{Context, Flags, KeyAccess, KeySpec, Row, Run};
use cache::{Changed, SortedSet, Vacant};
use resp::{Args, Reply};

const REMOVED: &[KeySpec] = &[first_key(KeyAccess::RW.and(KeyAccess::DELETE))];

pub(super) const ZREM: Row = Row {
    name: "zrem",
    arity: -3,
    flags: Flags::WRITE.and(Flags::FAST),
    keys: REMOVED,
    since: "1.2.0",
    summary: "Removes members and counts those that were there.",
    complexity: "O(M*log(N)) for M of N members",
    run: Run::Data(zrem),
    ..SORTED_SET_ROW
};

fn zrem(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let count = remove(ctx, args, "zrem", |set| {
        let members = args.from(2).iter();
        members
            .filter(|member| set.remove(member).is_some())
            .count()
    });
    reply_integer(reply, count);
}

/// What the removals of ranges have in common.
const RANGE_ROW: Row = Row {
    arity: 4,
    flags: Flags::WRITE,
    complexity: "O(log(N)+M*log(N)) for M of N members",
    ..ZREM
};

pub(super) const ZREMRANGEBYRANK: Row = Row {
    name: "zremrangebyrank",
    since: "2.0.0",
    summary: "Removes the members in a range of places.",
    run: Run::Data(zremrangebyrank),
    ..RANGE_ROW
};

fn zremrangebyrank(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let interval = Interval::of_ranks(args.get(2), args.get(3), Direction::Upward);
    remove_range(ctx, args, reply, "zremrangebyrank", interval);
}

pub(super) const ZREMRANGEBYSCORE: Row = Row {
    name: "zremrangebyscore",
    since: "1.2.0",
    summary: "Removes the members whose scores are in a range.",
    run: Run::Data(zremrangebyscore),
    ..RANGE_ROW
};

fn zremrangebyscore(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let interval = Interval::of_scores(args.get(2), args.get(3));
    remove_range(ctx, args, reply, "zremrangebyscore", interval);
}

pub(super) const ZREMRANGEBYLEX: Row = Row {
    name: "zremrangebylex",
    since: "2.8.9",
    summary: "Removes the members between two bounds, all scores being equal.",
    run: Run::Data(zremrangebylex),
    ..RANGE_ROW
};

fn zremrangebylex(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let interval = Interval::of_members(args.get(2), args.get(3));
    remove_range(ctx, args, reply, "zremrangebylex", interval);
}

fn remove_range(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    event: &'static str,
    interval: Result<Interval<'_>, ErrorText>,
) {
    let count = interval.and_then(|interval| {
        remove(ctx, args, event, |set| {
            let ranks = interval.ranks(set);
            for _ in ranks.clone() {
                take_at(set, ranks.start);
            }
            ranks.len()
        })
    });
    reply_integer(reply, count);
}

/// Removes the member at a place, which must be there; returns it with its score.
pub(super) fn take_at(set: &mut SortedSet, rank: usize) -> (Vec<u8>, f64) {
    let (member, score) = set.at(rank).expect("the caller names a member's place");
    let member = member.to_vec();
    set.remove(&member);
    (member, score)
}

/// Lends the sorted set at argument 1 to `change`, which returns how many members it removed.
///
/// # Errors
/// `WRONG_TYPE`.
fn remove(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    event: &'static str,
    change: impl FnOnce(&mut SortedSet) -> usize,
) -> Result<i64, ErrorText> {
    let key = ctx.first_key(args.get(1));
    let removed = edit(ctx, key, Vacant::Leave, told(event), |set| {
        let count = change(set);
        let changed = match count {
            0 => Changed::No,
            _ => Changed::Yes,
        };
        (count, changed)
    })?;
    Ok(removed.unwrap_or(0) as i64)
}
