//! Locks beyond what SET and kin do with them: LOCK.FENCE here, those that acquire and release in `acquire`,
//! LOCK.GUARD in [`crate::lock_guard`].

mod acquire;

pub use acquire::{GRANT_EVENTS, WAITING};

use crate::access::string_of;
use crate::errors::ErrorText;
use crate::lock_guard::{LOCK_GUARD, OF_THIS_SCRIPT, without_guard};
use crate::string::STRING_ROW;
use crate::string_set;
use crate::table::first_key;
use crate::{Context, Flags, KeyAccess, Row, Run};
use cache::Key;
use resp::{Args, Reply};

/// The family's rows.
pub(crate) static ROWS: &[Row] = &[
    acquire::ACQUIRE,
    acquire::EXTEND,
    FENCE,
    LOCK_GUARD,
    acquire::INFO,
    acquire::RELEASE,
];

const FENCE: Row = Row {
    name: "lock.fence",
    arity: 2,
    flags: Flags::READONLY.and(Flags::FAST),
    keys: &[first_key(KeyAccess::RO)],
    summary: "Tells the number of the grant by which a lock is held; nothing if nobody holds it.",
    run: Run::Data(fence),
    ..LOCK_ROW
};

/// What the family's rows have in common.
pub(crate) const LOCK_ROW: Row = Row {
    since: "7.4.0",
    ..STRING_ROW
};

/// Whether a request would take a lock if nobody held it: what may be refused where the memory for locks is used up.
pub fn takes_lock(args: Args<'_>) -> bool {
    let args = without_guard(args);
    let acquires = !args.is_empty()
        && args
            .get(0)
            .eq_ignore_ascii_case(acquire::ACQUIRE.name.as_bytes());
    acquires || string_set::takes_lock(args)
}

/// Refuses keys with values that no lock can have. No access is counted.
fn may_be_lock(ctx: &mut Context<'_>, key: Key<'_>) -> Result<(), ErrorText> {
    match ctx.cache(key).peek(key).map(|entry| string_of(entry.value)) {
        Some(Err(text)) => Err(text),
        Some(Ok(_)) | None => Ok(()),
    }
}

/// No access is counted: nobody uses the key by asking for its number.
fn fence(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let key = ctx.first_key(args.get(1));
    if let Err(text) = may_be_lock(ctx, key) {
        return reply.error(text);
    }
    match ctx.cache(key).fence(key) {
        Some(0) => reply.error(OF_THIS_SCRIPT),
        Some(fence) => reply.integer(fence as i64),
        None => reply.null(),
    }
}

#[cfg(test)]
mod tests;
