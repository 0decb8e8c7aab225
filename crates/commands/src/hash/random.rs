//! HRANDFIELD.

use super::{HASH_ROW, READ_KEY, hash_at_first};
use crate::access::reply_failure;
use crate::errors::{ErrorText, SYNTAX};
use crate::picks::{OUT_OF_RANGE, Picks, Wanted};
use crate::scan::Values;
use crate::{Context, Flags, Row, Run};
use cache::Hash;
use resp::{Args, Protocol, Reply};

pub(super) const HRANDFIELD: Row = Row {
    name: "hrandfield",
    arity: -2,
    flags: Flags::READONLY,
    keys: &[READ_KEY],
    since: "6.2.0",
    summary: "Returns fields of a hash that are drawn by lot.",
    complexity: "O(M*log(N)) for M fields drawn of N",
    run: Run::Data(hrandfield),
    ..HASH_ROW
};

fn hrandfield(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = match args.len() {
        2 => one(ctx, args, reply),
        _ => several(ctx, args, reply),
    };
    reply_failure(reply, outcome);
}

fn one(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), ErrorText> {
    let random = ctx.random;
    let Some(hash) = hash_at_first(ctx, args)? else {
        reply.null();
        return Ok(());
    };
    for position in Picks::new(Wanted::Repeated(1), hash.len(), random)? {
        reply.bulk(pair_at(hash, position).0);
    }
    Ok(())
}

/// Redis's order: the count, the syntax, the count again, which may be half as far from zero if there are values, and
/// then the key.
fn several(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), ErrorText> {
    let wanted = Wanted::parse(args.get(2))?;
    let values = match args.len() {
        3 => Values::Hidden,
        4 if args.get(3).eq_ignore_ascii_case(b"withvalues") => Values::Shown,
        _ => return Err(SYNTAX),
    };
    if values == Values::Shown && wanted.count() > i64::MAX as u64 / 2 {
        return Err(OUT_OF_RANGE);
    }
    let random = ctx.random;
    let Some(hash) = hash_at_first(ctx, args)? else {
        reply.array(0);
        return Ok(());
    };
    let picks = Picks::new(wanted, hash.len(), random)?;
    picks.check_bytes(|position| {
        let (field, value) = pair_at(hash, position);
        match values {
            Values::Shown => field.len() + value.len(),
            Values::Hidden => field.len(),
        }
    })?;
    begin(reply, picks.len(), values);
    for (field, value) in picks.map(|position| pair_at(hash, position)) {
        if values == Values::Shown && reply.protocol() == Protocol::Resp3 {
            reply.array(2);
        }
        reply.bulk(field);
        if values == Values::Shown {
            reply.bulk(value);
        }
    }
    Ok(())
}

/// Begins the reply: under RESP3 pairs are arrays of their own, which follow.
fn begin(reply: &mut Reply<'_>, count: usize, values: Values) {
    match (values, reply.protocol()) {
        (Values::Shown, Protocol::Resp2) => reply.array(2 * count),
        (Values::Shown, Protocol::Resp3) | (Values::Hidden, _) => reply.array(count),
    }
}

fn pair_at(hash: &Hash, position: usize) -> (&[u8], &[u8]) {
    hash.at(position)
        .expect("a position that is drawn is below the length")
}
