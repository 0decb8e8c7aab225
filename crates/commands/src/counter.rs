//! Strings as numbers: INCR, DECR, INCRBY, DECRBY, INCRBYFLOAT. A change keeps the key's expiry and
//! its pin.

use crate::access::{integer, reply_integer, update_string};
use crate::errors::{ErrorText, NOT_FLOAT};
use crate::extended::Extended;
use crate::string::{GROWING_WRITE, READ_WRITE_KEY, STRING_ROW};
use crate::{Context, EventClass, Flags, Row, Run};
use cache::Key;
use resp::{Args, Reply};

pub(crate) const INCR: Row = Row {
    name: "incr",
    arity: 2,
    flags: GROWING_WRITE.and(Flags::FAST),
    keys: &[READ_WRITE_KEY],
    summary: "Adds one to the integer at a key; a missing key counts as 0.",
    run: Run::Data(incr),
    ..STRING_ROW
};

fn incr(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let key = ctx.first_key(args.get(1));
    reply_integer(reply, add(ctx, key, 1));
}

pub(crate) const DECR: Row = Row {
    name: "decr",
    summary: "Subtracts one from the integer at a key; a missing key counts as 0.",
    run: Run::Data(decr),
    ..INCR
};

fn decr(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let key = ctx.first_key(args.get(1));
    reply_integer(reply, add(ctx, key, -1));
}

pub(crate) const INCRBY: Row = Row {
    name: "incrby",
    arity: 3,
    summary: "Adds an integer to the one at a key; a missing key counts as 0.",
    run: Run::Data(incrby),
    ..INCR
};

fn incrby(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let key = ctx.first_key(args.get(1));
    let sum = integer(args.get(2)).and_then(|delta| add(ctx, key, delta));
    reply_integer(reply, sum);
}

pub(crate) const DECRBY: Row = Row {
    name: "decrby",
    summary: "Subtracts an integer from the one at a key; a missing key counts as 0.",
    run: Run::Data(decrby),
    ..INCRBY
};

fn decrby(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let key = ctx.first_key(args.get(1));
    let sum = integer(args.get(2))
        .and_then(|delta| delta.checked_neg().ok_or("ERR decrement would overflow"))
        .and_then(|delta| add(ctx, key, delta));
    reply_integer(reply, sum);
}

pub(crate) const INCRBYFLOAT: Row = Row {
    name: "incrbyfloat",
    since: "2.6.0",
    summary: "Adds a number to the one at a key; a missing key counts as 0.",
    run: Run::Data(incrbyfloat),
    ..INCRBY
};

fn incrbyfloat(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let key = ctx.first_key(args.get(1));
    match add_float(ctx, key, args.get(2)) {
        Ok(sum) => reply.bulk(&sum),
        Err(text) => reply.error(text),
    }
}

/// Adds to the number at `key` and returns the sum's text. The key's own text is looked at first.
///
/// # Errors
/// `WRONG_TYPE`, `NOT_FLOAT`, and a sum that is not finite.
fn add_float(ctx: &mut Context<'_>, key: Key<'_>, delta: &[u8]) -> Result<Vec<u8>, ErrorText> {
    let mut sum = Vec::new();
    update_string(ctx, key, |before| {
        let before = match before {
            Some(text) => Extended::parse(text).ok_or(NOT_FLOAT)?,
            None => Extended::ZERO,
        };
        sum = Extended::parse(delta)
            .ok_or(NOT_FLOAT)?
            .add(before)
            .ok_or("ERR increment would produce NaN or Infinity")?
            .to_text();
        Ok(&sum)
    })?;
    ctx.notify(EventClass::String, "incrbyfloat", key);
    Ok(sum)
}

/// Adds to the integer at `key` and returns the sum.
///
/// # Errors
/// `WRONG_TYPE`, `NOT_INTEGER`, and overflow of 64 bits.
fn add(ctx: &mut Context<'_>, key: Key<'_>, delta: i64) -> Result<i64, ErrorText> {
    let (mut sum, mut digits) = (0, itoa::Buffer::new());
    update_string(ctx, key, |before| {
        let before = match before {
            Some(text) => integer(text)?,
            None => 0,
        };
        sum = before
            .checked_add(delta)
            .ok_or("ERR increment or decrement would overflow")?;
        Ok(digits.format(sum).as_bytes())
    })?;
    ctx.notify(EventClass::String, "incrby", key);
    Ok(sum)
}

#[cfg(test)]
mod tests;
