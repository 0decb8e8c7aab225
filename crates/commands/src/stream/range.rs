//! Entries by range of ids: XRANGE, XREVRANGE.

use super::id::{range_end, range_start};
use super::{READ, RO_ACCESS, STREAM_ROW, reply_entry};
use crate::access::{integer, reply_failure};
use crate::collection::read_collection;
use crate::errors::{ErrorText, SYNTAX};
use crate::keyspec::first_key;
use crate::{Context, Row, Run};
use cache::Stream;
use resp::{Args, Reply};

pub(super) const XRANGE: Row = Row {
    name: "xrange",
    arity: -4,
    flags: READ,
    keys: &[first_key(RO_ACCESS)],
    summary: "Returns the entries of a stream between two ids.",
    complexity: "O(log(N)+M) for M of N entries returned",
    run: Run::Data(xrange),
    ..STREAM_ROW
};

fn xrange(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = range(ctx, args, reply, Direction::Upward);
    reply_failure(reply, outcome);
}

pub(super) const XREVRANGE: Row = Row {
    name: "xrevrange",
    summary: "Returns the entries of a stream between two ids, the highest first.",
    run: Run::Data(xrevrange),
    ..XRANGE
};

fn xrevrange(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = range(ctx, args, reply, Direction::Downward);
    reply_failure(reply, outcome);
}

/// Which way entries are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Upward,
    Downward,
}

/// # Errors
/// Redis's texts, in its order.
fn range(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    direction: Direction,
) -> Result<(), ErrorText> {
    let (start, end) = match direction {
        Direction::Upward => (args.get(2), args.get(3)),
        Direction::Downward => (args.get(3), args.get(2)),
    };
    let (start, end) = (range_start(start)?, range_end(end)?);
    let mut count_max = usize::MAX;
    let mut options = args.from(4).iter();
    while let Some(option) = options.next() {
        let value = options.next().ok_or(SYNTAX)?;
        if !option.eq_ignore_ascii_case(b"count") {
            return Err(SYNTAX);
        }
        count_max = integer(value)?.max(0) as usize;
    }
    let key = ctx.first_key(args.get(1));
    let Some(stream) = read_collection::<Stream>(ctx, key)? else {
        reply.array(0);
        return Ok(());
    };
    if count_max == 0 {
        reply.null_array();
        return Ok(());
    }
    let ranks = stream.ranks(start, end);
    let count = ranks.len().min(count_max);
    reply.array(count);
    match direction {
        Direction::Upward => stream
            .iter_from(ranks.start)
            .take(count)
            .for_each(|entry| reply_entry(reply, entry)),
        Direction::Downward => stream
            .iter_back(ranks.end)
            .take(count)
            .for_each(|entry| reply_entry(reply, entry)),
    }
    Ok(())
}
