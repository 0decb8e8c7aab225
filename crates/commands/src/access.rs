//! How commands reach the strings of the keyspace, and how they answer: the one place that tells a
//! string from other types.

use crate::errors::{ErrorText, NOT_INTEGER, WRONG_TYPE};
use crate::{Context, EventClass, context::Touch};
use bytes::Bytes;
use cache::{Expiry, Key, OwnedEntry, OwnedValue, Pin, StringForm, Value};
use resp::{Reply, parse_i64};

/// A string of the keyspace, in place.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Text<'a> {
    /// In the cache's own pages.
    Inline(&'a [u8]),
    /// A long one, which a reply shares.
    Shared(&'a Bytes),
}

impl<'a> Text<'a> {
    /// Its bytes.
    #[inline]
    pub(crate) fn as_bytes(&self) -> &'a [u8] {
        match self {
            Text::Inline(bytes) => bytes,
            Text::Shared(bytes) => bytes,
        }
    }
}

/// The value, if it is a string.
///
/// # Errors
/// `WRONG_TYPE` for any other type.
#[inline]
pub(crate) fn string_of(value: Value<'_>) -> Result<Text<'_>, ErrorText> {
    match value {
        Value::String(bytes) => Ok(Text::Inline(bytes)),
        Value::Shared(bytes) => Ok(Text::Shared(bytes)),
        Value::Collection(_) => Err(WRONG_TYPE),
    }
}

/// The string at `key` for a read: counts as an access unless the client asked otherwise, and tells
/// listeners of a miss.
///
/// # Errors
/// `WRONG_TYPE`.
#[inline]
pub(crate) fn read_string<'c>(
    ctx: &'c mut Context<'_>,
    key: Key<'_>,
) -> Result<Option<Text<'c>>, ErrorText> {
    if listens(ctx, EventClass::KeyMiss) {
        report_miss(ctx, key);
    }
    let entry = match ctx.touch {
        Touch::Yes => ctx.cache(key).read(key),
        Touch::No => ctx.cache(key).glance(key),
    };
    entry.map(|entry| string_of(entry.value)).transpose()
}

/// The string at `key` as a write finds it: no access is counted (the write itself is one).
///
/// # Errors
/// `WRONG_TYPE`.
#[inline]
pub(crate) fn peek_string<'c>(
    ctx: &'c mut Context<'_>,
    key: Key<'_>,
) -> Result<Option<Text<'c>>, ErrorText> {
    let entry = ctx.cache(key).peek(key);
    entry.map(|entry| string_of(entry.value)).transpose()
}

/// Whether somebody listens to events of this class.
#[inline]
pub(crate) fn listens(ctx: &Context<'_>, class: EventClass) -> bool {
    ctx.event_mask & class as u16 != 0
}

#[cold]
fn report_miss(ctx: &mut Context<'_>, key: Key<'_>) {
    if ctx.cache(key).peek(key).is_none() {
        ctx.notify(EventClass::KeyMiss, "keymiss", key);
    }
}

/// Sets `key` to a whole string, and tells listeners if the key is new. The command's own event
/// follows from the caller.
#[inline]
pub(crate) fn put_string(
    ctx: &mut Context<'_>,
    key: Key<'_>,
    value: &[u8],
    expiry: Expiry,
    pin: Pin,
) {
    report_new(ctx, key);
    ctx.cache(key).put(key, value, expiry, pin);
}

/// Sets `key` to the whole string that `compute` makes of the one there, if any, and keeps expiry and pin;
/// tells listeners if the key is new.
///
/// # Errors
/// `WRONG_TYPE`, and those of `compute`: nothing is changed then.
#[inline]
pub(crate) fn update_string<'n>(
    ctx: &mut Context<'_>,
    key: Key<'_>,
    compute: impl FnOnce(Option<&[u8]>) -> Result<&'n [u8], ErrorText>,
) -> Result<(), ErrorText> {
    let mut is_new = false;
    ctx.cache(key).update(key, |old| match old {
        Some(value) => compute(Some(string_of(value)?.as_bytes())),
        None => {
            is_new = true;
            compute(None)
        }
    })?;
    if is_new {
        ctx.notify(EventClass::New, "new", key);
    }
    Ok(())
}

/// Puts a string that was computed in place of whatever is at `key`, without an expiry; tells
/// listeners if the key is new.
pub(crate) fn put_edited_string(ctx: &mut Context<'_>, key: Key<'_>, value: Vec<u8>) {
    report_new(ctx, key);
    let entry = OwnedEntry {
        value: OwnedValue::String(Bytes::from(value.into_boxed_slice())),
        expires_at: None,
        pin: Pin::Unpinned,
        fence: 0,
        form: StringForm::Edited,
    };
    ctx.cache(key).put_entry(key, entry);
}

/// Makes the string at `key` `len` bytes long and lends it for writing, see [`cache::Cache::edit`];
/// tells listeners if the key is new.
pub(crate) fn edit_string<'c>(ctx: &'c mut Context<'_>, key: Key<'_>, len: usize) -> &'c mut [u8] {
    report_new(ctx, key);
    ctx.cache(key).edit(key, len)
}

/// Tells listeners that a write is about to create `key`, if it is.
#[inline]
pub(crate) fn report_new(ctx: &mut Context<'_>, key: Key<'_>) {
    if listens(ctx, EventClass::New) && ctx.cache(key).peek(key).is_none() {
        ctx.notify(EventClass::New, "new", key);
    }
}

/// A string apart from the cache; a long one is shared, not copied.
pub(crate) fn detach(value: Text<'_>) -> Bytes {
    match value {
        Text::Inline(bytes) => Bytes::copy_from_slice(bytes),
        Text::Shared(bytes) => bytes.clone(),
    }
}

/// An integer argument.
///
/// # Errors
/// `NOT_INTEGER`.
#[inline]
pub(crate) fn integer(argument: &[u8]) -> Result<i64, ErrorText> {
    parse_i64(argument).ok_or(NOT_INTEGER)
}

/// Answers a string of the keyspace.
#[inline]
pub(crate) fn reply_value(reply: &mut Reply<'_>, value: Text<'_>) {
    match value {
        Text::Inline(bytes) => reply.bulk(bytes),
        Text::Shared(bytes) => reply.bulk_shared(bytes),
    }
}

/// Answers an integer, or the error.
#[inline]
pub(crate) fn reply_integer(reply: &mut Reply<'_>, answer: Result<i64, ErrorText>) {
    match answer {
        Ok(integer) => reply.integer(integer),
        Err(text) => reply.error(text),
    }
}

/// Answers the error, if there is one; otherwise the command has answered already.
#[inline]
pub(crate) fn reply_failure(reply: &mut Reply<'_>, answer: Result<(), ErrorText>) {
    if let Err(text) = answer {
        reply.error(text);
    }
}
