//! A walk over one sorted set, step by step: ZSCAN.

use super::READ_ROW;
use crate::access::reply_failure;
use crate::collection::read_collection;
use crate::errors::ErrorText;
use crate::scan::{ScanOptions, Walked, parse_cursor, reply_step};
use crate::walk::Keys;
use crate::{Context, Flags, Row, Run};
use cache::{Scan, SortedSet};
use resp::{Args, DoubleText, Reply};

pub(super) const ZSCAN: Row = Row {
    name: "zscan",
    arity: -3,
    flags: Flags::READONLY,
    since: "2.8.0",
    summary: "Returns some members with their scores, and a cursor to go on from.",
    complexity: "O(log(N)+M) for N members of which M are looked at",
    run: Run::Data(zscan),
    ..READ_ROW
};

fn zscan(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = scan(ctx, args, reply);
    reply_failure(reply, outcome);
}

/// # Errors
/// Redis's, in its order: a cursor that is none, `WRONG_TYPE`, and only for a key that is there those of the options.
fn scan(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), ErrorText> {
    let cursor = parse_cursor(args)?;
    let key = ctx.first_key(args.get(1));
    let mut found = Keys::default();
    let Some(set) = read_collection::<SortedSet>(ctx, key)? else {
        reply_step(reply, Scan::Ended, &found);
        return Ok(());
    };
    let options = ScanOptions::parse(args, Walked::Other)?;
    let next = set.scan(cursor, options.count, |member, score| {
        if options.admits(member) {
            found.push(member);
            // A string under RESP3 too, as Redis answers a score here alone.
            found.push(&DoubleText::with_17_digits(score));
        }
    });
    reply_step(reply, next, &found);
    Ok(())
}
