//! How commands reach the collections of the keyspace: the one place where their types are told apart and where
//! keyspace events of their changes come from.

use crate::errors::{ErrorText, WRONG_TYPE};
use crate::key::{Look, read};
use crate::{Context, EventClass};
use cache::{Changed, Key, OwnedEntry, OwnedValue, Pin, StringForm, Typed, Vacant, Value};

/// The collection at `key` for a read: counts as an access unless the client asked otherwise, and tells listeners of a
/// miss. None if the key is not there.
///
/// # Errors
/// `WRONG_TYPE`.
pub(crate) fn read_collection<'c, T: Typed + 'c>(
    ctx: &'c mut Context<'_>,
    key: Key<'_>,
) -> Result<Option<&'c T>, ErrorText> {
    match read(ctx, key, Look::Access).map(|entry| entry.value) {
        None => Ok(None),
        Some(Value::Collection(collection)) => T::of(collection).map(Some).ok_or(WRONG_TYPE),
        Some(Value::String(_) | Value::Shared(_)) => Err(WRONG_TYPE),
    }
}

/// The collection at `key` as a write finds it: no access is counted, no miss is told. None if the key is not there.
///
/// # Errors
/// `WRONG_TYPE`.
pub(crate) fn peek_collection<'c, T: Typed + 'c>(
    ctx: &'c mut Context<'_>,
    key: Key<'_>,
) -> Result<Option<&'c T>, ErrorText> {
    match ctx.cache(key).peek(key).map(|entry| entry.value) {
        None => Ok(None),
        Some(Value::Collection(collection)) => T::of(collection).map(Some).ok_or(WRONG_TYPE),
        Some(Value::String(_) | Value::Shared(_)) => Err(WRONG_TYPE),
    }
}

/// An event of a change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    /// Its class: that of the type.
    pub class: EventClass,
    /// Redis's name of it: "hset", "lpush" …
    pub name: &'static str,
}

/// Lends the collection at `key` to `change`, and tells listeners: of a new key, of the change under `told`, and of
/// the key's end if nothing is left. None if there is nothing and `vacant` is [`Vacant::Leave`].
///
/// # Errors
/// `WRONG_TYPE`; nothing is changed.
pub(crate) fn edit<T: Typed, R>(
    ctx: &mut Context<'_>,
    key: Key<'_>,
    vacant: Vacant,
    told: Told,
    change: impl FnOnce(&mut T) -> (R, Changed),
) -> Result<Option<R>, ErrorText> {
    let edited = ctx.cache(key).edit_collection(key, vacant, change);
    let Some(edited) = edited.map_err(|_| WRONG_TYPE)? else {
        return Ok(None);
    };
    if edited.is_new {
        ctx.notify(EventClass::New, "new", key);
    }
    if edited.changed == Changed::Yes {
        ctx.notify(told.class, told.name, key);
    }
    if edited.is_gone {
        ctx.notify(EventClass::Generic, "del", key);
    }
    Ok(Some(edited.result))
}

/// Puts a whole collection in place of whatever is at `key`, without an expiry, or removes the key if the collection is
/// empty: what the commands that store a result do. Tells listeners under `told`, or of the key's end.
pub(crate) fn put_collection<T: Typed>(
    ctx: &mut Context<'_>,
    key: Key<'_>,
    collection: T,
    told: Told,
) {
    let collection = collection.into_collection();
    if collection.is_empty() {
        if ctx.cache(key).remove(key) {
            ctx.notify(EventClass::Generic, "del", key);
        }
        return;
    }
    crate::access::report_new(ctx, key);
    let entry = OwnedEntry {
        value: OwnedValue::Collection(collection),
        expires_at: None,
        pin: Pin::Unpinned,
        fence: 0,
        form: StringForm::Whole,
    };
    ctx.cache(key).put_entry(key, entry);
    ctx.notify(told.class, told.name, key);
}
