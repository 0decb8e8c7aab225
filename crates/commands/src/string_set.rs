//! SET with its options, the older commands that are a part of it (SETNX, SETEX, PSETEX), and GETEX,
//! which changes the expiry only.

use crate::access::{put_string, read_string, reply_failure, reply_value, string_of};
use crate::errors::ErrorText;
use crate::string::{GROWING_WRITE, READ_WRITE_KEY, STRING_ROW};
use crate::string_options::{Allowed, Answer, Condition, Options, TimeForm, TimeOption};
use crate::table::first_key;
use crate::{Context, EventClass, Flags, KeyAccess, Row, Run};
use cache::{Entry, Expiry, Key, Pin};
use resp::{Args, Reply};

/// A longer value under `NX` with an expiry is a cache's `add`, not a lock.
pub const LOCK_VALUE_BYTES_MAX: usize = cache::PINNED_VALUE_BYTES_MAX;

/// Whether a request is a SET that would take a lock if nobody held it.
pub(crate) fn takes_lock(args: Args<'_>) -> bool {
    args.len() > 4
        && args.get(0).eq_ignore_ascii_case(b"set")
        && args.get(2).len() <= LOCK_VALUE_BYTES_MAX
        && Options::parse(args.from(3), Allowed::Set).is_ok_and(|options| {
            options.condition == Condition::IfAbsent
                && matches!(options.time, TimeOption::Given(..))
        })
}

pub(crate) const SET: Row = Row {
    name: "set",
    arity: -3,
    flags: GROWING_WRITE.and(Flags::BRIEF),
    keys: &[first_key(
        KeyAccess::RW
            .and(KeyAccess::ACCESS)
            .and(KeyAccess::UPDATE)
            .and(KeyAccess::VARIABLE_FLAGS),
    )],
    summary: "Sets a key to a string, under a condition and with an expiry if asked.",
    run: Run::Data(set),
    ..STRING_ROW
};

fn set(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    if args.len() > 3 {
        let outcome = set_with_options(ctx, args, reply);
        return reply_failure(reply, outcome);
    }
    let key = ctx.first_key(args.get(1));
    put_string(ctx, key, args.get(2), Expiry::Never, Pin::Unpinned);
    ctx.notify(EventClass::String, "set", key);
    reply.ok();
}

/// Redis's order: syntax, then the time, then the type (only where the old string is looked at),
/// then the condition.
fn set_with_options(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), ErrorText> {
    let options = Options::parse(args.from(3), Allowed::Set)?;
    let expiry = options
        .time
        .expiry(ctx, "ERR invalid expire time in 'set' command")?;
    let key = ctx.first_key(args.get(1));
    let value = args.get(2);
    if options.answer == Answer::OldString {
        match read_string(ctx, key)? {
            Some(old) => reply_value(reply, old),
            None => reply.null(),
        }
    }
    let before = ctx.cache(key).peek(key);
    let holds = options.condition.holds(before)?;
    let pin = pin_of(&options, expiry, before, value);
    if holds {
        put_string(ctx, key, value, expiry, pin);
        notify_set(ctx, key, options.time);
    }
    match (options.answer, holds) {
        (Answer::OldString, _) => {}
        (Answer::Outcome, true) => reply.ok(),
        (Answer::Outcome, false) => reply.null(),
    }
    Ok(())
}

impl Condition<'_> {
    /// Whether it lets a write over `before` happen.
    ///
    /// # Errors
    /// `WRONG_TYPE` if a string is to be compared with a value that is none.
    pub(crate) fn holds(&self, before: Option<Entry<'_>>) -> Result<bool, ErrorText> {
        Ok(match (self, before) {
            (Condition::Always, _) => true,
            (Condition::IfAbsent, before) => before.is_none(),
            (Condition::IfPresent, before) => before.is_some(),
            (Condition::IfEqual(_), None) => false,
            (Condition::IfEqual(wanted), Some(entry)) => {
                string_of(entry.value)?.as_bytes() == *wanted
            }
            (Condition::IfDifferent(_), None) => true,
            (Condition::IfDifferent(unwanted), Some(entry)) => {
                string_of(entry.value)?.as_bytes() != *unwanted
            }
        })
    }
}

/// Whether the key belongs to the lock path from now on. A lock is taken by `NX` with a time; a
/// write that looks before it writes (`XX`, `IFEQ`, `IFNE`) and leaves an expiry renews it, and so does one that
/// writes what is there: scripts look first and extend a lock by a plain SET. Any
/// other write ends it. Values that are too long for a lock are never pinned.
fn pin_of(options: &Options<'_>, expiry: Expiry, before: Option<Entry<'_>>, value: &[u8]) -> Pin {
    let expires = match expiry {
        Expiry::At(_) => true,
        Expiry::Keep => before.is_some_and(|entry| entry.expires_at.is_some()),
        Expiry::Never => false,
    };
    if !expires || value.len() > LOCK_VALUE_BYTES_MAX {
        return Pin::Unpinned;
    }
    match options.condition {
        Condition::IfAbsent => Pin::Pinned,
        Condition::IfPresent | Condition::IfEqual(_) | Condition::IfDifferent(_) => {
            before.map_or(Pin::Unpinned, |entry| entry.pin)
        }
        Condition::Always => before
            .filter(|entry| entry.value.string() == Some(value))
            .map_or(Pin::Unpinned, |entry| entry.pin),
    }
}

/// The events of a key that was set.
pub(crate) fn notify_set(ctx: &mut Context<'_>, key: Key<'_>, time: TimeOption<'_>) {
    ctx.notify(EventClass::String, "set", key);
    if matches!(time, TimeOption::Given(..)) {
        ctx.notify(EventClass::Generic, "expire", key);
    }
}

pub(crate) const SETNX: Row = Row {
    name: "setnx",
    arity: 3,
    flags: GROWING_WRITE.and(Flags::FAST),
    keys: &[first_key(KeyAccess::OW.and(KeyAccess::INSERT))],
    summary: "Sets a key to a string, provided that it does not exist.",
    run: Run::Data(setnx),
    ..STRING_ROW
};

fn setnx(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let key = ctx.first_key(args.get(1));
    if ctx.cache(key).peek(key).is_some() {
        return reply.integer(0);
    }
    put_string(ctx, key, args.get(2), Expiry::Never, Pin::Unpinned);
    ctx.notify(EventClass::String, "set", key);
    reply.integer(1);
}

pub(crate) const SETEX: Row = Row {
    name: "setex",
    arity: 4,
    flags: GROWING_WRITE.and(Flags::BRIEF),
    keys: &[first_key(KeyAccess::OW.and(KeyAccess::UPDATE))],
    since: "2.0.0",
    summary: "Sets a key to a string that expires after seconds.",
    run: Run::Data(setex),
    ..STRING_ROW
};

fn setex(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let invalid = "ERR invalid expire time in 'setex' command";
    set_expiring(ctx, args, TimeForm::Seconds, invalid, reply);
}

pub(crate) const PSETEX: Row = Row {
    name: "psetex",
    since: "2.6.0",
    summary: "Sets a key to a string that expires after milliseconds.",
    run: Run::Data(psetex),
    ..SETEX
};

fn psetex(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let invalid = "ERR invalid expire time in 'psetex' command";
    set_expiring(ctx, args, TimeForm::Milliseconds, invalid, reply);
}

fn set_expiring(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    form: TimeForm,
    invalid: ErrorText,
    reply: &mut Reply<'_>,
) {
    let deadline_ms = match form.deadline_ms(ctx, args.get(2), invalid) {
        Ok(deadline_ms) => deadline_ms,
        Err(text) => return reply.error(text),
    };
    let key = ctx.first_key(args.get(1));
    put_string(
        ctx,
        key,
        args.get(3),
        Expiry::At(deadline_ms),
        Pin::Unpinned,
    );
    notify_set(ctx, key, TimeOption::Given(form, args.get(2)));
    reply.ok();
}

pub(crate) const GETEX: Row = Row {
    name: "getex",
    arity: -2,
    flags: Flags::WRITE.and(Flags::FAST),
    keys: &[READ_WRITE_KEY],
    since: "6.2.0",
    summary: "Returns the string at a key and sets or drops the key's expiry.",
    run: Run::Data(getex),
    ..STRING_ROW
};

fn getex(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = get_with_expiry(ctx, args, reply);
    reply_failure(reply, outcome);
}

/// Redis's order: syntax, then the key, then the time.
fn get_with_expiry(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), ErrorText> {
    let options = Options::parse(args.from(2), Allowed::Getex)?;
    let key = ctx.first_key(args.get(1));
    if read_string(ctx, key)?.is_none() {
        reply.null();
        return Ok(());
    }
    let invalid = "ERR invalid expire time in 'getex' command";
    let expiry = options.time.expiry(ctx, invalid)?;
    let entry = ctx.cache(key).peek(key);
    let entry = entry.expect("it was read at this log time");
    let had_expiry = entry.expires_at.is_some();
    reply_value(reply, string_of(entry.value)?);
    match (options.time, expiry) {
        (TimeOption::Given(..), Expiry::At(deadline_ms)) => {
            let is_past = deadline_ms <= ctx.now_ms;
            ctx.cache(key).set_expiry(key, Some(deadline_ms));
            let event = if is_past { "del" } else { "expire" };
            ctx.notify(EventClass::Generic, event, key);
        }
        (TimeOption::Persist, _) if had_expiry => {
            ctx.cache(key).set_expiry(key, None);
            ctx.notify(EventClass::Generic, "persist", key);
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests;
