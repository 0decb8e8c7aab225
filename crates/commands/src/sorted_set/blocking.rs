//! The forms of ZPOPMIN, ZPOPMAX and ZMPOP that wait until there is a member. Run as data commands they do not
//! ([`crate::blocking`]).

use super::SORTED_SET_ROW;
use super::pop::{End, Form, MultiPop, Popped, pop};
use crate::blocking::{BlockShape, Blocks, timeout_ms};
use crate::errors::ErrorText;
use crate::keyspec::{counted_keys, keys_at};
use crate::{Context, Flags, KeyAccess, Row, Run};
use cache::CollectionType;
use resp::{Args, Reply};

const POPPED: KeyAccess = KeyAccess::RW.and(KeyAccess::ACCESS).and(KeyAccess::DELETE);
const WRITE: Flags = Flags::WRITE.and(Flags::BLOCKING);

const fn blocks(shape: BlockShape) -> Option<Blocks> {
    Some(Blocks {
        of: CollectionType::SortedSet,
        shape,
    })
}

pub(super) const BZPOPMIN: Row = Row {
    name: "bzpopmin",
    arity: -3,
    flags: WRITE.and(Flags::NOSCRIPT).and(Flags::FAST),
    keys: &[keys_at(1, -2, POPPED)],
    since: "5.0.0",
    summary: "Takes the lowest member of the first of several sorted sets that is there, or waits until one is.",
    complexity: "O(K+log(N)) for K keys",
    blocks: blocks(BlockShape::KeysFirst),
    run: Run::Data(bzpopmin),
    ..SORTED_SET_ROW
};

pub(super) const BZPOPMAX: Row = Row {
    name: "bzpopmax",
    summary: "Takes the highest member of the first of several sorted sets that is there, or waits until one is.",
    run: Run::Data(bzpopmax),
    ..BZPOPMIN
};

pub(super) const BZMPOP: Row = Row {
    name: "bzmpop",
    arity: -5,
    flags: WRITE.and(Flags::MOVABLE_KEYS),
    keys: &[counted_keys(2, POPPED)],
    since: "7.0.0",
    summary: "As ZMPOP, but waits until one of the sorted sets is there.",
    complexity: "O(K+M*log(N)) for K keys and M of N members",
    blocks: blocks(BlockShape::TimeoutFirst),
    run: Run::Data(bzmpop),
    ..SORTED_SET_ROW
};

fn bzpopmin(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let popped = try_keys(ctx, args, reply, End::Lowest);
    answer(reply, popped);
}

fn bzpopmax(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let popped = try_keys(ctx, args, reply, End::Highest);
    answer(reply, popped);
}

fn bzmpop(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let request = MultiPop::parse(args.from(2));
    // Redis looks at the timeout last.
    let request = request.and_then(|request| timeout_ms(args.get(1)).map(|_| request));
    let popped = request.and_then(|request| request.run(ctx, reply));
    answer(reply, popped);
}

fn answer(reply: &mut Reply<'_>, popped: Result<Popped, ErrorText>) {
    match popped {
        Ok(Popped::Some) => {}
        Ok(Popped::Nothing) => reply.null_array(),
        Err(text) => reply.error(text),
    }
}

fn try_keys(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    end: End,
) -> Result<Popped, ErrorText> {
    let keys_count = args.len() - 2;
    timeout_ms(args.get(args.len() - 1))?;
    for bytes in args.from(1).iter().take(keys_count) {
        let key = ctx.key(bytes);
        let popped = pop(ctx, key, end, 1, reply, Form::KeyAndOne)?;
        if popped == Popped::Some {
            return Ok(popped);
        }
    }
    Ok(Popped::Nothing)
}
