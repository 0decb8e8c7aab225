//! Expiry: EXPIRE and its kin, TTL and its kin, PERSIST.
//!
//! Clients speak of wall time, the cache knows log time; the two differ by the context's
//! `wall_offset_ms`. Redis's limits are limits of wall time, so a deadline is computed and checked
//! as wall time and converted last.

use crate::{
    Context, EventClass, Flags, KeyAccess, KeySpec, Row, Run,
    errors::NOT_INTEGER,
    key::{Look, ROW, read},
    table::first_key,
};
use resp::{Args, Reply, parse_i64};

const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const READ_FAST: Flags = Flags::READONLY.and(Flags::FAST);
const UPDATED: &[KeySpec] = &[first_key(KeyAccess::RW.and(KeyAccess::UPDATE))];
const ACCESSED: &[KeySpec] = &[first_key(KeyAccess::RO.and(KeyAccess::ACCESS))];

/// The family's rows.
pub static ROWS: &[Row] = &[
    Row {
        name: "expire",
        arity: -3,
        flags: WRITE_FAST,
        keys: UPDATED,
        since: "1.0.0",
        summary: "Sets how many seconds a key has left to live.",
        run: Run::Data(expire),
        ..ROW
    },
    Row {
        name: "expireat",
        arity: -3,
        flags: WRITE_FAST,
        keys: UPDATED,
        since: "1.2.0",
        summary: "Sets the Unix time, in seconds, at which a key ends.",
        run: Run::Data(expireat),
        ..ROW
    },
    Row {
        name: "expiretime",
        arity: 2,
        flags: READ_FAST,
        keys: ACCESSED,
        since: "7.0.0",
        summary: "Tells the Unix time, in seconds, at which a key ends.",
        run: Run::Data(expiretime),
        ..ROW
    },
    Row {
        name: "persist",
        arity: 2,
        flags: WRITE_FAST,
        keys: UPDATED,
        since: "2.2.0",
        summary: "Takes a key's expiry away.",
        run: Run::Data(persist),
        ..ROW
    },
    Row {
        name: "pexpire",
        arity: -3,
        flags: WRITE_FAST,
        keys: UPDATED,
        since: "2.6.0",
        summary: "Sets how many milliseconds a key has left to live.",
        run: Run::Data(pexpire),
        ..ROW
    },
    Row {
        name: "pexpireat",
        arity: -3,
        flags: WRITE_FAST,
        keys: UPDATED,
        since: "2.6.0",
        summary: "Sets the Unix time, in milliseconds, at which a key ends.",
        run: Run::Data(pexpireat),
        ..ROW
    },
    Row {
        name: "pexpiretime",
        arity: 2,
        flags: READ_FAST,
        keys: ACCESSED,
        since: "7.0.0",
        summary: "Tells the Unix time, in milliseconds, at which a key ends.",
        run: Run::Data(pexpiretime),
        ..ROW
    },
    Row {
        name: "pttl",
        arity: 2,
        flags: READ_FAST,
        keys: ACCESSED,
        since: "2.6.0",
        summary: "Tells how many milliseconds a key has left to live.",
        run: Run::Data(pttl),
        ..ROW
    },
    Row {
        name: "ttl",
        arity: 2,
        flags: READ_FAST,
        keys: ACCESSED,
        since: "1.0.0",
        summary: "Tells how many seconds a key has left to live.",
        run: Run::Data(ttl),
        ..ROW
    },
];

/// Unit of a time that a client gives or gets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Seconds,
    Milliseconds,
}

/// What a time is counted from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Base {
    Now,
    UnixEpoch,
}

/// Wall time now, in milliseconds since the Unix epoch.
pub(crate) fn wall_now_ms(ctx: &Context<'_>) -> i64 {
    let wall = i128::from(ctx.now_ms) + i128::from(ctx.wall_offset_ms);
    clamp_i64(wall)
}

/// The log time of a wall time, or none if that is not after now: what ends then has ended.
pub(crate) fn log_deadline_ms(ctx: &Context<'_>, wall_ms: i64) -> Option<u64> {
    let log = i128::from(wall_ms) - i128::from(ctx.wall_offset_ms);
    // The difference of two 64-bit integers is below 2^64.
    let log = u64::try_from(log).ok()?;
    (log > ctx.now_ms).then_some(log)
}

/// The wall time of a log time.
fn wall_deadline_ms(ctx: &Context<'_>, log_ms: u64) -> i64 {
    clamp_i64(i128::from(log_ms) + i128::from(ctx.wall_offset_ms))
}

fn clamp_i64(value: i128) -> i64 {
    value.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

fn expire(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    set_expiry(ctx, args, reply, "expire", Unit::Seconds, Base::Now);
}

fn pexpire(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    set_expiry(ctx, args, reply, "pexpire", Unit::Milliseconds, Base::Now);
}

fn expireat(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    set_expiry(ctx, args, reply, "expireat", Unit::Seconds, Base::UnixEpoch);
}

fn pexpireat(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    set_expiry(
        ctx,
        args,
        reply,
        "pexpireat",
        Unit::Milliseconds,
        Base::UnixEpoch,
    );
}

fn set_expiry(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    name: &str,
    unit: Unit,
    base: Base,
) {
    let conditions = match Conditions::parse(args) {
        Ok(conditions) => conditions,
        Err(text) => return reply.error_bytes(&text),
    };
    let Some(amount) = parse_i64(args.get(2)) else {
        return reply.error(NOT_INTEGER);
    };
    let base_ms = match base {
        Base::Now => wall_now_ms(ctx),
        Base::UnixEpoch => 0,
    };
    let Some(deadline_ms) = wall_ms(amount, unit, base_ms) else {
        return reply.error(&format!("ERR invalid expire time in '{name}' command"));
    };
    let key = ctx.first_key(args.get(1));
    let Some(entry) = ctx.cache(key).get(key) else {
        return reply.integer(0);
    };
    let current = entry.expires_at;
    let current_ms = current.map(|log_ms| wall_deadline_ms(ctx, log_ms));
    if !conditions.hold(current_ms, deadline_ms) {
        return reply.integer(0);
    }
    match log_deadline_ms(ctx, deadline_ms) {
        Some(log_ms) => {
            ctx.cache(key).set_expiry(key, Some(log_ms));
            ctx.notify(EventClass::Generic, "expire", key);
        }
        None => {
            ctx.cache(key).remove(key);
            ctx.notify(EventClass::Generic, "del", key);
        }
    }
    reply.integer(1);
}

/// Wall time in milliseconds of `amount` units after `base_ms`, or none if it exceeds 64 bits.
fn wall_ms(amount: i64, unit: Unit, base_ms: i64) -> Option<i64> {
    let amount_ms = match unit {
        Unit::Seconds => amount.checked_mul(1000)?,
        Unit::Milliseconds => amount,
    };
    amount_ms.checked_add(base_ms)
}

/// When EXPIRE and its kin may change what is there.
#[derive(Default)]
struct Conditions {
    /// Only without an expiry.
    nx: bool,
    /// Only with an expiry.
    xx: bool,
    /// Only to a later time; no expiry is the latest.
    gt: bool,
    /// Only to an earlier time.
    lt: bool,
}

impl Conditions {
    /// From argument 3 on; the error is Redis's text.
    fn parse(args: Args<'_>) -> Result<Conditions, Vec<u8>> {
        let mut conditions = Conditions::default();
        if args.len() == 3 {
            return Ok(conditions);
        }
        for option in args.from(3).iter() {
            let flag = match option {
                [b'n' | b'N', b'x' | b'X'] => &mut conditions.nx,
                [b'x' | b'X', b'x' | b'X'] => &mut conditions.xx,
                [b'g' | b'G', b't' | b'T'] => &mut conditions.gt,
                [b'l' | b'L', b't' | b'T'] => &mut conditions.lt,
                // Redis prints it as a C string.
                _ => {
                    let end = option.iter().position(|byte| *byte == 0);
                    let shown = &option[..end.unwrap_or(option.len())];
                    return Err([b"ERR Unsupported option ", shown].concat());
                }
            };
            *flag = true;
        }
        let Conditions { nx, xx, gt, lt } = conditions;
        if nx && (xx || gt || lt) {
            let text = "ERR NX and XX, GT or LT options at the same time are not compatible";
            return Err(text.into());
        }
        if gt && lt {
            return Err("ERR GT and LT options at the same time are not compatible".into());
        }
        Ok(conditions)
    }

    /// Whether an expiry may go from `current_ms` (none: lives for ever) to `deadline_ms`, both wall time.
    fn hold(&self, current_ms: Option<i64>, deadline_ms: i64) -> bool {
        match current_ms {
            None => !self.xx && !self.gt,
            Some(current_ms) => {
                !(self.nx
                    || self.gt && deadline_ms <= current_ms
                    || self.lt && deadline_ms >= current_ms)
            }
        }
    }
}

fn ttl(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    tell_expiry(ctx, args, reply, Unit::Seconds, Base::Now);
}

fn pttl(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    tell_expiry(ctx, args, reply, Unit::Milliseconds, Base::Now);
}

fn expiretime(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    tell_expiry(ctx, args, reply, Unit::Seconds, Base::UnixEpoch);
}

fn pexpiretime(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    tell_expiry(ctx, args, reply, Unit::Milliseconds, Base::UnixEpoch);
}

/// -2 without a key, -1 without an expiry, else the time; seconds are rounded to the nearest.
fn tell_expiry(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    unit: Unit,
    base: Base,
) {
    let key = ctx.first_key(args.get(1));
    let Some(entry) = read(ctx, key, Look::Glance) else {
        return reply.integer(-2);
    };
    let Some(log_ms) = entry.expires_at else {
        return reply.integer(-1);
    };
    let time_ms = match base {
        Base::Now => clamp_i64(i128::from(log_ms) - i128::from(ctx.now_ms)),
        Base::UnixEpoch => wall_deadline_ms(ctx, log_ms),
    };
    let time_ms = time_ms.max(0);
    reply.integer(match unit {
        Unit::Milliseconds => time_ms,
        // Half a second cannot overflow once the sign bit is free.
        Unit::Seconds => ((time_ms as u64 + 500) / 1000) as i64,
    });
}

/// A lock that is persisted is one no longer, but a key like any other: it would be pinned for ever, and nobody hold it.
/// Who waits for it waits until it is deleted.
fn persist(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let key = ctx.first_key(args.get(1));
    let expires = ctx
        .cache(key)
        .get(key)
        .is_some_and(|entry| entry.expires_at.is_some());
    if expires {
        ctx.cache(key).set_expiry(key, None);
        ctx.notify(EventClass::Generic, "persist", key);
    }
    reply.integer(i64::from(expires));
}

#[cfg(test)]
mod tests;
