//! Members by lot: ZRANDMEMBER.

use super::{READ_ROW, Shown, reply_member, reply_members};
use crate::access::reply_failure;
use crate::collection::read_collection;
use crate::errors::{ErrorText, SYNTAX};
use crate::picks::{OUT_OF_RANGE, Picks, Wanted};
use crate::{Context, Flags, Row, Run};
use cache::SortedSet;
use resp::{Args, Reply};

pub(super) const ZRANDMEMBER: Row = Row {
    name: "zrandmember",
    arity: -2,
    flags: Flags::READONLY,
    since: "6.2.0",
    summary: "Returns members by lot, with their scores if asked.",
    complexity: "O(M*log(N)) for M of N members",
    run: Run::Data(zrandmember),
    ..READ_ROW
};

fn zrandmember(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = match args.len() {
        2 => one(ctx, args, reply),
        _ => several(ctx, args, reply),
    };
    reply_failure(reply, outcome);
}

/// # Errors
/// `WRONG_TYPE`.
fn one(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), ErrorText> {
    let (key, random) = (ctx.first_key(args.get(1)), ctx.random);
    let Some(set) = read_collection::<SortedSet>(ctx, key)? else {
        reply.null();
        return Ok(());
    };
    for rank in Picks::new(Wanted::Repeated(1), set.len(), random)? {
        reply.bulk(member_at(set, rank).0);
    }
    Ok(())
}

/// # Errors
/// A count that is none or too large, `SYNTAX`, `WRONG_TYPE`.
fn several(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), ErrorText> {
    let wanted = Wanted::parse(args.get(2))?;
    let shown = match args.len() {
        3 => Shown::Members,
        4 if args.get(3).eq_ignore_ascii_case(b"withscores") => Shown::WithScores,
        _ => return Err(SYNTAX),
    };
    if shown == Shown::WithScores && wanted.count() > i64::MAX as u64 / 2 {
        return Err(OUT_OF_RANGE);
    }
    let (key, random) = (ctx.first_key(args.get(1)), ctx.random);
    let Some(set) = read_collection::<SortedSet>(ctx, key)? else {
        reply.array(0);
        return Ok(());
    };
    let picks = Picks::new(wanted, set.len(), random)?;
    picks.check_bytes(|rank| member_at(set, rank).0.len())?;
    reply_members(reply, picks.len(), shown);
    for rank in picks {
        let (member, score) = member_at(set, rank);
        reply_member(reply, member, score, shown);
    }
    Ok(())
}

fn member_at(set: &SortedSet, rank: usize) -> (&[u8], f64) {
    set.at(rank).expect("a pick is below the length")
}
