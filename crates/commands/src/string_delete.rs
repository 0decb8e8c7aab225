//! Strings that are deleted as they are read or compared: GETDEL, DELIFEQ, DELEX. The latter two
//! release a lock without a script: only if the key still holds the caller's token.

use crate::access::{read_string, reply_integer, reply_value};
use crate::errors::{ErrorText, SYNTAX};
use crate::string::STRING_ROW;
use crate::string_options::Condition;
use crate::table::first_key;
use crate::{Context, EventClass, Flags, KeyAccess, Row, Run};
use cache::Key;
use resp::{Args, Reply};

pub(crate) const GETDEL: Row = Row {
    name: "getdel",
    arity: 2,
    flags: Flags::WRITE.and(Flags::FAST),
    keys: &[first_key(
        KeyAccess::RW.and(KeyAccess::ACCESS).and(KeyAccess::DELETE),
    )],
    since: "6.2.0",
    summary: "Returns the string at a key and deletes the key.",
    run: Run::Data(getdel),
    ..STRING_ROW
};

fn getdel(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let key = ctx.first_key(args.get(1));
    match read_string(ctx, key) {
        Ok(Some(value)) => {
            reply_value(reply, value);
            ctx.cache(key).remove(key);
            ctx.notify(EventClass::Generic, "del", key);
        }
        Ok(None) => reply.null(),
        Err(text) => reply.error(text),
    }
}

pub(crate) const DELIFEQ: Row = Row {
    name: "delifeq",
    arity: 3,
    flags: Flags::WRITE.and(Flags::FAST),
    keys: &[first_key(
        KeyAccess::RW.and(KeyAccess::ACCESS).and(KeyAccess::DELETE),
    )],
    since: "9.0.0",
    summary: "Deletes a key, provided that it holds this string.",
    run: Run::Data(delifeq),
    ..STRING_ROW
};

fn delifeq(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let key = ctx.first_key(args.get(1));
    reply_integer(reply, delete_if(ctx, key, Condition::IfEqual(args.get(2))));
}

pub(crate) const DELEX: Row = Row {
    name: "delex",
    arity: -2,
    flags: Flags::WRITE.and(Flags::FAST),
    keys: &[first_key(
        KeyAccess::RW
            .and(KeyAccess::DELETE)
            .and(KeyAccess::VARIABLE_FLAGS),
    )],
    since: "8.4.0",
    summary: "Deletes a key, if asked under a condition on the string that it holds.",
    run: Run::Data(delex),
    ..STRING_ROW
};

fn delex(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let condition = match args.len() {
        2 => Ok(Condition::Always),
        4 if args.get(2).eq_ignore_ascii_case(b"ifeq") => Ok(Condition::IfEqual(args.get(3))),
        4 if args.get(2).eq_ignore_ascii_case(b"ifne") => Ok(Condition::IfDifferent(args.get(3))),
        4 => Err(SYNTAX),
        _ => Err("ERR wrong number of arguments for 'delex' command"),
    };
    let key = ctx.first_key(args.get(1));
    reply_integer(
        reply,
        condition.and_then(|condition| delete_if(ctx, key, condition)),
    );
}

/// 1 if the key was there, fulfilled the condition and is deleted.
///
/// # Errors
/// `WRONG_TYPE` if another type than a string is to be compared.
fn delete_if(
    ctx: &mut Context<'_>,
    key: Key<'_>,
    condition: Condition<'_>,
) -> Result<i64, ErrorText> {
    let before = ctx.cache(key).peek(key);
    let goes = before.is_some() && condition.holds(before)?;
    if goes {
        ctx.cache(key).remove(key);
        ctx.notify(EventClass::Generic, "del", key);
    }
    Ok(goes.into())
}

#[cfg(test)]
mod tests;
