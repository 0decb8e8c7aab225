//! What a group has handed out and nobody has acknowledged: XACK, XPENDING.

use super::id::{range_end, range_start, reply_id, strict};
use super::{
    READ, RO_ACCESS, Refusal, STREAM_ROW, UPDATED_KEY, WRITE_FAST, edit_stream, no_group,
    reply_refusal, wall_now_ms,
};
use crate::access::{integer, reply_integer};
use crate::collection::read_collection;
use crate::errors::{ErrorText, SYNTAX};
use crate::keyspec::first_key;
use crate::{Context, Row, Run};
use cache::{Changed, Group, Pending, Stream, StreamId, Vacant};
use resp::{Args, Reply};

pub(super) const XACK: Row = Row {
    name: "xack",
    arity: -4,
    flags: WRITE_FAST,
    keys: &[UPDATED_KEY],
    summary: "Acknowledges entries that a group has handed out, and counts those that were pending.",
    complexity: "O(M*log(N)) for M ids given of N pending",
    run: Run::Data(xack),
    ..STREAM_ROW
};

fn xack(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    reply_integer(reply, acknowledge(ctx, args));
}

/// # Errors
/// `WRONG_TYPE`, then an argument that is no id.
fn acknowledge(ctx: &mut Context<'_>, args: Args<'_>) -> Result<i64, ErrorText> {
    let (key, name) = (ctx.first_key(args.get(1)), args.get(2));
    let stream = read_collection::<Stream>(ctx, key)?;
    if stream.is_none_or(|stream| stream.group(name).is_none()) {
        return Ok(0);
    }
    let ids: Result<Vec<StreamId>, ErrorText> =
        args.from(3).iter().map(|text| strict(text, 0)).collect();
    let ids = ids?;
    let count = edit_stream(ctx, key, Vacant::Leave, |stream| {
        let count = stream.edit_group(name, |group| {
            ids.iter().filter(|id| group.acknowledge(**id)).count()
        });
        match count {
            Some(count @ 1..) => (count, Changed::Yes),
            Some(0) | None => (0, Changed::No),
        }
    })?;
    Ok(count.unwrap_or(0) as i64)
}

pub(super) const XPENDING: Row = Row {
    name: "xpending",
    arity: -3,
    flags: READ,
    keys: &[first_key(RO_ACCESS)],
    summary: "Tells what a group has handed out and nobody has acknowledged.",
    complexity: "O(log(N)+M) for M of N pending entries looked at, or O(C*log(N)) for C consumers",
    run: Run::Data(xpending),
    ..STREAM_ROW
};

fn xpending(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = pending(ctx, args, reply);
    reply_refusal(reply, outcome);
}

/// The arguments behind the group.
#[derive(Clone, Copy, Debug)]
struct Range<'a> {
    first: StreamId,
    last: StreamId,
    count: usize,
    idle_ms_min: i64,
    consumer: Option<&'a [u8]>,
}

impl<'a> Range<'a> {
    /// None if there are none.
    ///
    /// # Errors
    /// Redis's texts, in its order.
    fn parse(args: Args<'a>) -> Result<Option<Self>, ErrorText> {
        match args.len() {
            3 => return Ok(None),
            6..=9 => {}
            _ => return Err(SYNTAX),
        }
        let (mut at, mut idle_ms_min) = (3, 0);
        if args.get(3).eq_ignore_ascii_case(b"idle") {
            idle_ms_min = integer(args.get(4))?;
            if args.len() < 8 {
                return Err(SYNTAX);
            }
            at = 5;
        }
        let count = integer(args.get(at + 2))?.max(0) as usize;
        Ok(Some(Range {
            first: range_start(args.get(at))?,
            last: range_end(args.get(at + 1))?,
            count,
            idle_ms_min,
            consumer: (at + 3 < args.len()).then(|| args.get(at + 3)),
        }))
    }
}

/// # Errors
/// Redis's texts, in its order.
fn pending(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Refusal> {
    let range = Range::parse(args)?;
    let (key, name, now_ms) = (ctx.first_key(args.get(1)), args.get(2), wall_now_ms(ctx));
    let stream = read_collection::<Stream>(ctx, key)?;
    let Some(group) = stream.and_then(|stream| stream.group(name)) else {
        return Err(no_group(key.bytes, name, ""));
    };
    match range {
        None => reply_summary(reply, group),
        Some(range) => reply_range(reply, group, range, now_ms),
    }
    Ok(())
}

fn reply_summary(reply: &mut Reply<'_>, group: &Group) {
    reply.array(4);
    reply.integer(group.pending_len() as i64);
    let first = group.pending_from(StreamId::MIN).next();
    let (Some(first), Some(last)) = (first, group.last_pending_id()) else {
        reply.null();
        reply.null();
        reply.null_array();
        return;
    };
    reply_id(reply, first.id);
    reply_id(reply, last);
    let consumers: Vec<(&[u8], usize)> = group
        .consumers()
        .map(|consumer| (consumer.name, group.pending_len_of(consumer.number)))
        .filter(|(_, count)| *count > 0)
        .collect();
    reply.array(consumers.len());
    for (name, count) in consumers {
        reply.array(2);
        reply.bulk(name);
        reply.bulk_integer(count as i64);
    }
}

fn reply_range(reply: &mut Reply<'_>, group: &Group, range: Range<'_>, now_ms: i64) {
    let consumer = range.consumer.map(|name| group.consumer(name));
    let of_range = |pending: &Pending| pending.id <= range.last;
    let is_idle = |pending: &Pending| {
        range.idle_ms_min == 0 || now_ms.wrapping_sub(pending.delivered_ms) >= range.idle_ms_min
    };
    let found: Vec<Pending> = match consumer {
        // Nobody of this name has anything.
        Some(None) => Vec::new(),
        Some(Some(consumer)) => group
            .ids_of(consumer.number, range.first)
            .filter_map(|id| group.pending(id))
            .take_while(of_range)
            .filter(is_idle)
            .take(range.count)
            .collect(),
        None => group
            .pending_from(range.first)
            .take_while(of_range)
            .filter(is_idle)
            .take(range.count)
            .collect(),
    };
    reply.array(found.len());
    for pending in found {
        reply.array(4);
        reply_id(reply, pending.id);
        reply.bulk(group.name_of(pending.consumer).expect("it has a name"));
        reply.integer(now_ms.saturating_sub(pending.delivered_ms).max(0));
        reply.integer(pending.deliveries as i64);
    }
}
