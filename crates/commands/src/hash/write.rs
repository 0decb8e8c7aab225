//! Fields that are set, counted up and removed: HSET, HSETNX, HMSET, HINCRBY, HINCRBYFLOAT, HDEL.

use super::HASH_ROW;
use crate::access::{integer, reply_integer};
use crate::collection::{Told, edit};
use crate::errors::{ErrorText, NOT_FLOAT};
use crate::extended::Extended;
use crate::keyspec::first_key;
use crate::{Context, EventClass, Flags, KeyAccess, KeySpec, Row, Run};
use cache::{Changed, Hash, Vacant};
use resp::{Args, Reply, parse_i64};

const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const GROWING_FAST: Flags = WRITE_FAST.and(Flags::DENYOOM);

/// A key whose fields are replaced.
const UPDATED_KEY: KeySpec = first_key(KeyAccess::RW.and(KeyAccess::UPDATE));

/// An event of the family.
const fn told(name: &'static str) -> Told {
    Told {
        class: EventClass::Hash,
        name,
    }
}

pub(super) const HSET: Row = Row {
    name: "hset",
    arity: -4,
    flags: GROWING_FAST,
    keys: &[UPDATED_KEY],
    summary: "Gives fields of a hash values, and counts those that are new.",
    complexity: "O(M*log(N)) for M fields given of N",
    run: Run::Data(hset),
    ..HASH_ROW
};

fn hset(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let odd = "ERR wrong number of arguments for 'hset' command";
    reply_integer(reply, set_pairs(ctx, args, odd));
}

pub(super) const HMSET: Row = Row {
    name: "hmset",
    summary: "Gives fields of a hash values.",
    run: Run::Data(hmset),
    ..HSET
};

fn hmset(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    match set_pairs(
        ctx,
        args,
        "ERR wrong number of arguments for 'hmset' command",
    ) {
        Ok(_) => reply.ok(),
        Err(text) => reply.error(text),
    }
}

/// Sets the pairs from argument 2 on; how many fields are new. As in Redis, a value that was there before counts as
/// a change too.
///
/// # Errors
/// `odd` if a field has no value, `WRONG_TYPE`.
fn set_pairs(ctx: &mut Context<'_>, args: Args<'_>, odd: ErrorText) -> Result<i64, ErrorText> {
    let pairs = args.from(2);
    if !pairs.len().is_multiple_of(2) {
        return Err(odd);
    }
    let key = ctx.first_key(args.get(1));
    let added = edit(ctx, key, Vacant::Make, told("hset"), |hash: &mut Hash| {
        let mut added = 0;
        for at in (0..pairs.len()).step_by(2) {
            added += i64::from(hash.set(pairs.get(at), pairs.get(at + 1)));
        }
        (added, Changed::Yes)
    })?;
    Ok(added.unwrap_or(0))
}

pub(super) const HSETNX: Row = Row {
    name: "hsetnx",
    arity: 4,
    flags: GROWING_FAST,
    keys: &[first_key(KeyAccess::RW.and(KeyAccess::INSERT))],
    summary: "Gives a field of a hash a value, provided that it has none.",
    run: Run::Data(hsetnx),
    ..HASH_ROW
};

fn hsetnx(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let key = ctx.first_key(args.get(1));
    let (field, value) = (args.get(2), args.get(3));
    let added = edit(ctx, key, Vacant::Make, told("hset"), |hash: &mut Hash| {
        if hash.get(field).is_some() {
            return (0, Changed::No);
        }
        hash.set(field, value);
        (1, Changed::Yes)
    });
    reply_integer(reply, added.map(|added| added.unwrap_or(0)));
}

pub(super) const HDEL: Row = Row {
    name: "hdel",
    arity: -3,
    flags: WRITE_FAST,
    keys: &[first_key(KeyAccess::RW.and(KeyAccess::DELETE))],
    summary: "Removes fields of a hash, and counts those that were there.",
    complexity: "O(M*log(N)) for M fields given of N",
    run: Run::Data(hdel),
    ..HASH_ROW
};

fn hdel(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let key = ctx.first_key(args.get(1));
    let fields = args.from(2);
    let removed = edit(ctx, key, Vacant::Leave, told("hdel"), |hash: &mut Hash| {
        let removed = fields.iter().filter(|field| hash.remove(field)).count();
        match removed {
            0 => (0, Changed::No),
            removed => (removed as i64, Changed::Yes),
        }
    });
    reply_integer(reply, removed.map(|removed| removed.unwrap_or(0)));
}

pub(super) const HINCRBY: Row = Row {
    name: "hincrby",
    arity: 4,
    flags: GROWING_FAST,
    keys: &[first_key(
        KeyAccess::RW.and(KeyAccess::ACCESS).and(KeyAccess::UPDATE),
    )],
    summary: "Adds an integer to the one in a field of a hash; a missing field counts as 0.",
    run: Run::Data(hincrby),
    ..HASH_ROW
};

fn hincrby(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    reply_integer(reply, add_integer(ctx, args));
}

/// # Errors
/// `NOT_INTEGER`, then `WRONG_TYPE`, then those of the field's own text and of the sum.
fn add_integer(ctx: &mut Context<'_>, args: Args<'_>) -> Result<i64, ErrorText> {
    let delta = integer(args.get(3))?;
    update(ctx, args, "hincrby", |before| {
        let before = match before {
            Some(text) => parse_i64(text).ok_or("ERR hash value is not an integer")?,
            None => 0,
        };
        let sum = before
            .checked_add(delta)
            .ok_or("ERR increment or decrement would overflow")?;
        let text = itoa::Buffer::new().format(sum).as_bytes().to_vec();
        Ok((sum, text))
    })
    .map(|(sum, _)| sum)
}

pub(super) const HINCRBYFLOAT: Row = Row {
    name: "hincrbyfloat",
    since: "2.6.0",
    summary: "Adds a number to the one in a field of a hash; a missing field counts as 0.",
    run: Run::Data(hincrbyfloat),
    ..HINCRBY
};

fn hincrbyfloat(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    match add_float(ctx, args) {
        Ok(sum) => reply.bulk(&sum),
        Err(text) => reply.error(text),
    }
}

/// # Errors
/// `NOT_FLOAT` or an infinite number, then `WRONG_TYPE`, then those of the field's own text and of the sum.
fn add_float(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Vec<u8>, ErrorText> {
    let delta = Extended::parse(args.get(3)).ok_or(NOT_FLOAT)?;
    if !delta.is_finite() {
        return Err("ERR value is NaN or Infinity");
    }
    update(ctx, args, "hincrbyfloat", |before| {
        let before = match before {
            Some(text) => Extended::parse(text).ok_or("ERR hash value is not a float")?,
            None => Extended::ZERO,
        };
        let sum = before
            .add(delta)
            .ok_or("ERR increment would produce NaN or Infinity")?;
        Ok(((), sum.to_text()))
    })
    .map(|(_, text)| text)
}

/// Sets the field at argument 2 to the text that `compute` makes of its value; returns what `compute` does.
///
/// # Errors
/// `WRONG_TYPE`, and those of `compute`: nothing is changed then.
fn update<R>(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    event: &'static str,
    compute: impl FnOnce(Option<&[u8]>) -> Result<(R, Vec<u8>), ErrorText>,
) -> Result<(R, Vec<u8>), ErrorText> {
    let key = ctx.first_key(args.get(1));
    let field = args.get(2);
    let updated = edit(ctx, key, Vacant::Make, told(event), |hash: &mut Hash| {
        let computed = compute(hash.get(field));
        match &computed {
            Ok((_, text)) => {
                hash.set(field, text);
                (computed, Changed::Yes)
            }
            Err(_) => (computed, Changed::No),
        }
    })?;
    updated.expect("a vacant key is made")
}
