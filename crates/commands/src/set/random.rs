//! Members drawn by lot: SPOP, which removes them, and SRANDMEMBER.

use super::{READ_KEY, SET_ROW, TAKEN_FROM_KEY, WRITE_FAST, reply_all, set_at_first, told};
use crate::access::reply_failure;
use crate::collection::{edit, peek_collection};
use crate::errors::{ErrorText, SYNTAX};
use crate::picks::{Picks, Wanted, distinct};
use crate::{Context, EventClass, Flags, Row, Run};
use cache::{Changed, Draws, Set, Vacant};
use resp::{Args, Reply, parse_i64};

pub(super) const SPOP: Row = Row {
    name: "spop",
    arity: -2,
    flags: WRITE_FAST,
    keys: &[TAKEN_FROM_KEY],
    summary: "Removes members of a set that are drawn by lot, and returns them.",
    complexity: "O(M*log(N)) for M members drawn of N",
    run: Run::Data(spop),
    ..SET_ROW
};

fn spop(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = match args.len() {
        2 => pop_one(ctx, args, reply),
        3 => pop_several(ctx, args, reply),
        _ => Err(SYNTAX),
    };
    reply_failure(reply, outcome);
}

fn pop_one(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), ErrorText> {
    let key = ctx.first_key(args.get(1));
    let mut draws = Draws::new(ctx.random);
    let popped = edit(ctx, key, Vacant::Leave, told("spop"), |set: &mut Set| {
        let position = draws.below(set.len());
        reply.bulk(member_at(set, position));
        set.remove_at(position);
        ((), Changed::Yes)
    })?;
    if popped.is_none() {
        reply.null();
    }
    Ok(())
}

fn pop_several(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), ErrorText> {
    let count = parse_i64(args.get(2))
        .and_then(|count| u64::try_from(count).ok())
        .ok_or("ERR value is out of range, must be positive")?;
    let key = ctx.first_key(args.get(1));
    let draws = Draws::new(ctx.random);
    match peek_collection::<Set>(ctx, key)? {
        Some(set) if count > 0 && count >= set.len() as u64 => {
            // The key goes as a whole, its memory bit by bit.
            reply_all(reply, set);
            ctx.cache(key).remove(key);
            ctx.notify(EventClass::Set, "spop", key);
            ctx.notify(EventClass::Generic, "del", key);
        }
        Some(_) if count > 0 => {
            edit(ctx, key, Vacant::Leave, told("spop"), |set: &mut Set| {
                reply.set(count as usize);
                // From the last one on, so that those before stay where they are.
                for position in distinct(draws, count as usize, set.len()).into_iter().rev() {
                    reply.bulk(member_at(set, position));
                    set.remove_at(position);
                }
                ((), Changed::Yes)
            })?;
        }
        Some(_) | None => reply.set(0),
    }
    Ok(())
}

pub(super) const SRANDMEMBER: Row = Row {
    name: "srandmember",
    arity: -2,
    flags: Flags::READONLY,
    keys: &[READ_KEY],
    summary: "Returns members of a set that are drawn by lot.",
    complexity: "O(M*log(N)) for M members drawn of N",
    run: Run::Data(srandmember),
    ..SET_ROW
};

fn srandmember(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = match args.len() {
        2 => one(ctx, args, reply),
        3 => several(ctx, args, reply),
        _ => Err(SYNTAX),
    };
    reply_failure(reply, outcome);
}

fn one(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), ErrorText> {
    let mut draws = Draws::new(ctx.random);
    match set_at_first(ctx, args)? {
        Some(set) => reply.bulk(member_at(set, draws.below(set.len()))),
        None => reply.null(),
    }
    Ok(())
}

/// An array and no set under RESP3 too, as a member may be there several times.
fn several(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), ErrorText> {
    let wanted = Wanted::parse(args.get(2))?;
    let random = ctx.random;
    let Some(set) = set_at_first(ctx, args)? else {
        reply.array(0);
        return Ok(());
    };
    let picks = Picks::new(wanted, set.len(), random)?;
    picks.check_bytes(|position| member_at(set, position).len())?;
    reply.array(picks.len());
    for position in picks {
        reply.bulk(member_at(set, position));
    }
    Ok(())
}

fn member_at(set: &Set, position: usize) -> &[u8] {
    set.at(position)
        .expect("a position that is drawn is below the length")
}
