//! Pending entries that change hands: XCLAIM, XAUTOCLAIM.

use super::id::{range_start, reply_id, strict};
use super::{
    RW_DELETE, Refusal, STREAM_ROW, UPDATED_KEY, WRITE_FAST, edit_stream, no_group, notify,
    reply_entry, reply_refusal, shown, wall_now_ms,
};
use crate::collection::read_collection;
use crate::errors::{ErrorText, SYNTAX};
use crate::keyspec::first_key;
use crate::{Context, Row, Run};
use cache::{Changed, Group, Key, Pending, Stream, StreamId, Vacant};
use resp::{Args, Reply, parse_i64};

pub(super) const XCLAIM: Row = Row {
    name: "xclaim",
    arity: -6,
    flags: WRITE_FAST,
    keys: &[UPDATED_KEY],
    summary: "Makes a consumer the one that has pending entries which have been idle for some time.",
    complexity: "O(M*log(N)) for M ids given of N pending",
    run: Run::Data(xclaim),
    ..STREAM_ROW
};

/// Entries that XAUTOCLAIM claims unless COUNT says otherwise.
const COUNT_DEFAULT: i64 = 100;
/// Pending entries that XAUTOCLAIM looks at for each that it may claim.
const LOOKED_AT: i64 = 10;

/// The options of XCLAIM.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    is_forced: bool,
    only_ids: bool,
    /// When the entries count as handed out, wall time in milliseconds.
    delivered_ms: Option<i64>,
    deliveries: Option<u64>,
    last_id: StreamId,
}

/// An integer.
///
/// # Errors
/// `refusal`.
fn number(text: &[u8], refusal: ErrorText) -> Result<i64, ErrorText> {
    parse_i64(text).ok_or(refusal)
}

impl Options {
    /// # Errors
    /// Redis's texts, in its order.
    fn parse(args: Args<'_>, now_ms: i64) -> Result<Self, Refusal> {
        let mut options = Options::default();
        let mut at = 0;
        while at < args.len() {
            let option = args.get(at);
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            if is(b"force") {
                options.is_forced = true;
            } else if is(b"justid") {
                options.only_ids = true;
            } else if at + 1 == args.len() {
                return Err(unrecognized(option));
            } else {
                at += 1;
                let value = args.get(at);
                if is(b"idle") {
                    let idle_ms = number(value, "ERR Invalid IDLE option argument for XCLAIM")?;
                    options.delivered_ms = Some(now_ms.wrapping_sub(idle_ms));
                } else if is(b"time") {
                    let time = number(value, "ERR Invalid TIME option argument for XCLAIM")?;
                    options.delivered_ms = Some(time);
                } else if is(b"retrycount") {
                    let refusal = "ERR Invalid RETRYCOUNT option argument for XCLAIM";
                    options.deliveries = u64::try_from(number(value, refusal)?).ok();
                } else if is(b"lastid") {
                    options.last_id = strict(value, 0)?;
                } else {
                    return Err(unrecognized(option));
                }
            }
            at += 1;
        }
        Ok(options)
    }
}

fn unrecognized(option: &[u8]) -> Refusal {
    Refusal::Named([b"ERR Unrecognized XCLAIM option '", shown(option), b"'"].concat())
}

/// The number of a consumer that claims something; it is made if it is not there.
fn number_of(group: &mut Group, name: &[u8], now_ms: i64) -> u64 {
    match group.consumer(name).map(|consumer| consumer.number) {
        Some(number) => number,
        None => group.make_consumer(name, now_ms),
    }
}

/// Notes that a consumer asks, if there is one of this name; whether there is.
fn see(group: &mut Group, name: &[u8], now_ms: i64) -> bool {
    let is_there = group.consumer(name).is_some();
    if is_there {
        group.see_consumer(name, now_ms);
    }
    is_there
}

/// Whether the group that argument 2 names is there.
///
/// # Errors
/// `WRONG_TYPE`, no such group.
fn look_for_group(ctx: &mut Context<'_>, key: Key<'_>, name: &[u8]) -> Result<(), Refusal> {
    let stream = read_collection::<Stream>(ctx, key)?;
    match stream.and_then(|stream| stream.group(name)) {
        Some(_) => Ok(()),
        None => Err(no_group(key.bytes, name, "")),
    }
}

fn xclaim(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = claim(ctx, args, reply);
    reply_refusal(reply, outcome);
}

/// # Errors
/// Redis's texts, in its order.
fn claim(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Refusal> {
    let (key, name) = (ctx.first_key(args.get(1)), args.get(2));
    look_for_group(ctx, key, name)?;
    let refusal = "ERR Invalid min-idle-time argument for XCLAIM";
    let idle_ms_min = number(args.get(4), refusal)?.max(0);
    // What is no id is an option, and ends the ids.
    let parsed = args.from(5).iter().map_while(|text| strict(text, 0).ok());
    let ids: Vec<StreamId> = parsed.collect();
    let now_ms = wall_now_ms(ctx);
    let options = Options::parse(args.from(5 + ids.len()), now_ms)?;
    let delivered_ms = options.delivered_ms.filter(|at| (0..=now_ms).contains(at));
    let delivered_ms = delivered_ms.unwrap_or(now_ms);
    let consumer = args.get(3);
    let is_new = edit_stream(ctx, key, Vacant::Leave, |stream| {
        let was_there = stream.edit_group(name, |group| {
            if options.last_id > group.last_id() {
                group.set_position(options.last_id, group.entries_read());
            }
            see(group, consumer, now_ms)
        });
        let mut claimed = Vec::new();
        for id in ids {
            let is_there = stream.get(id).is_some();
            let given = stream.edit_group(name, |group| {
                if !is_there {
                    group.acknowledge(id);
                    return false;
                }
                let before = match group.pending(id) {
                    Some(before) => {
                        let idle_ms = now_ms.wrapping_sub(before.delivered_ms);
                        (idle_ms_min == 0 || idle_ms >= idle_ms_min).then_some(before.deliveries)
                    }
                    // As if it had been handed out once.
                    None => options.is_forced.then_some(1),
                };
                let Some(before) = before else {
                    return false;
                };
                let more = u64::from(!options.only_ids);
                let consumer = number_of(group, consumer, now_ms);
                group.give(Pending {
                    id,
                    consumer,
                    delivered_ms,
                    deliveries: options
                        .deliveries
                        .unwrap_or_else(|| before.saturating_add(more)),
                });
                true
            });
            if given == Some(true) {
                claimed.push(id);
            }
        }
        reply_claimed(reply, stream, &claimed, options.only_ids);
        let is_new = was_there == Some(false) && !claimed.is_empty();
        (is_new, Changed::Yes)
    })?;
    if is_new == Some(true) {
        notify(ctx, "xgroup-createconsumer", key);
    }
    Ok(())
}

fn reply_claimed(reply: &mut Reply<'_>, stream: &Stream, claimed: &[StreamId], only_ids: bool) {
    reply.array(claimed.len());
    for id in claimed {
        match only_ids {
            true => reply_id(reply, *id),
            false => reply_entry(reply, stream.get(*id).expect("it was there")),
        }
    }
}

pub(super) const XAUTOCLAIM: Row = Row {
    name: "xautoclaim",
    arity: -6,
    flags: WRITE_FAST,
    keys: &[first_key(RW_DELETE)],
    since: "6.2.0",
    summary: "Looks through a group's pending entries from an id on, and makes a consumer the one that has those which have been idle for some time.",
    complexity: "O(M*log(N)) for M of N pending entries looked at",
    run: Run::Data(xautoclaim),
    ..STREAM_ROW
};

fn xautoclaim(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = claim_idle(ctx, args, reply);
    reply_refusal(reply, outcome);
}

/// What XAUTOCLAIM is asked for.
#[derive(Clone, Copy, Debug)]
struct Walk {
    idle_ms_min: i64,
    first: StreamId,
    count: i64,
    only_ids: bool,
}

impl Walk {
    /// # Errors
    /// Redis's texts, in its order.
    fn parse(args: Args<'_>) -> Result<Self, ErrorText> {
        let refusal = "ERR Invalid min-idle-time argument for XAUTOCLAIM";
        let mut walk = Walk {
            idle_ms_min: number(args.get(4), refusal)?.max(0),
            first: range_start(args.get(5))?,
            count: COUNT_DEFAULT,
            only_ids: false,
        };
        let mut options = args.from(6).iter();
        while let Some(option) = options.next() {
            if option.eq_ignore_ascii_case(b"justid") {
                walk.only_ids = true;
            } else if option.eq_ignore_ascii_case(b"count") {
                let refusal = "ERR COUNT must be > 0";
                walk.count = parse_i64(options.next().ok_or(SYNTAX)?)
                    .filter(|count| (1..=i64::MAX / 16).contains(count))
                    .ok_or(refusal)?;
            } else {
                return Err(SYNTAX);
            }
        }
        Ok(walk)
    }

    /// What is claimed, what is gone, and where the next walk begins.
    fn look(
        &self,
        stream: &Stream,
        group: &Group,
        now_ms: i64,
    ) -> (Vec<Pending>, Vec<StreamId>, StreamId) {
        let (mut claimed, mut gone) = (Vec::new(), Vec::new());
        let (mut looks_left, mut left) = (self.count.saturating_mul(LOOKED_AT), self.count);
        let mut all = group.pending_from(self.first);
        while looks_left > 0 && left > 0 {
            let Some(pending) = all.next() else {
                return (claimed, gone, StreamId::MIN);
            };
            looks_left -= 1;
            if stream.get(pending.id).is_none() {
                gone.push(pending.id);
                left -= 1;
                continue;
            }
            let idle_ms = now_ms.wrapping_sub(pending.delivered_ms);
            if self.idle_ms_min == 0 || idle_ms >= self.idle_ms_min {
                claimed.push(pending);
                left -= 1;
            }
        }
        let next = all.next().map_or(StreamId::MIN, |pending| pending.id);
        (claimed, gone, next)
    }
}

/// # Errors
/// Redis's texts, in its order.
fn claim_idle(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Refusal> {
    let walk = Walk::parse(args)?;
    let (key, name, now_ms) = (ctx.first_key(args.get(1)), args.get(2), wall_now_ms(ctx));
    look_for_group(ctx, key, name)?;
    let is_new = edit_stream(ctx, key, Vacant::Leave, |stream| {
        let group = stream.group(name).expect("looked at above");
        let (claimed, gone, next) = walk.look(stream, group, now_ms);
        let made = stream.edit_group(name, |group| {
            let was_there = see(group, args.get(3), now_ms);
            for pending in &claimed {
                let consumer = number_of(group, args.get(3), now_ms);
                let more = u64::from(!walk.only_ids);
                group.give(Pending {
                    consumer,
                    delivered_ms: now_ms,
                    deliveries: pending.deliveries.saturating_add(more),
                    ..*pending
                });
            }
            for id in &gone {
                group.acknowledge(*id);
            }
            !was_there && !claimed.is_empty()
        });
        reply.array(3);
        reply_id(reply, next);
        let claimed: Vec<StreamId> = claimed.iter().map(|pending| pending.id).collect();
        reply_claimed(reply, stream, &claimed, walk.only_ids);
        reply.array(gone.len());
        gone.iter().for_each(|id| reply_id(reply, *id));
        (made, Changed::Yes)
    })?;
    if is_new.flatten() == Some(true) {
        notify(ctx, "xgroup-createconsumer", key);
    }
    Ok(())
}
