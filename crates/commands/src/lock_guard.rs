//! LOCK.GUARD: a command that runs only while a lock is held under the fence that the caller knows.
//!
//! The lock and the command's keys are looked at and changed in one step: under the locks of their shards, or as one
//! entry of the log of the shard that holds all of them. Where that cannot be, the node refuses: a look at the lock first
//! and a write later would let a former holder's write land after the next one has read.

use crate::errors::{ErrorText, NOT_INTEGER};
use crate::lock::LOCK_ROW;
use crate::table::first_key;
use crate::{BeginSearch, FindKeys, Flags, KeyAccess, KeySpec};
use crate::{Context, Execute, Row, Run, check};
use cache::{Cache, Key};
use resp::{Args, Reply, parse_i64};
use std::cmp::Ordering;

/// Arguments ahead of the guarded command: the name, the lock, the token.
pub(crate) const COMMAND_AT: usize = 3;

pub(crate) const LOCK_GUARD: Row = Row {
    name: "lock.guard",
    arity: -4,
    flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::MOVABLE_KEYS),
    keys: &[
        first_key(KeyAccess::RO),
        // Those of the command: `keys_of` looks for them.
        KeySpec {
            begin: BeginSearch::Unknown,
            find: FindKeys::Unknown,
            access: KeyAccess::RW.and(KeyAccess::ACCESS).and(KeyAccess::UPDATE),
        },
    ],
    summary: "Runs a command, provided that a lock is still held under this fence.",
    complexity: "That of the command.",
    run: Run::Data(guard),
    ..LOCK_ROW
};

/// The request that a guard stands before, or the request itself if it is no guard.
pub(crate) fn without_guard(args: Args<'_>) -> Args<'_> {
    match args.len() > COMMAND_AT && args.get(0).eq_ignore_ascii_case(LOCK_GUARD.name.as_bytes()) {
        true => args.from(COMMAND_AT),
        false => args,
    }
}

/// The row of the command that runs: that of the guarded one if `row`, of `args`, is the guard's.
pub fn unguarded(row: &'static Row, args: Args<'_>) -> &'static Row {
    match row.name == LOCK_GUARD.name {
        true => check(without_guard(args)).unwrap_or(row),
        false => row,
    }
}

const NOT_HELD: ErrorText =
    "STALELOCK nobody holds the lock under this fence any more, so others may have held it since";
const NOT_YET: ErrorText = "ERR unknown token: no grant of this lock has had that fence yet";
pub(crate) const OF_THIS_SCRIPT: ErrorText =
    "ERR the lock was taken by this script, and has no fence before the script is done";

fn guard(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let command = args.from(COMMAND_AT);
    // What is wrong with the request itself is told whoever holds the lock.
    let execute = match guarded(command) {
        Ok(execute) => execute,
        Err(text) => return reply.error_bytes(&text),
    };
    let Some(token) = parse_i64(args.get(2)) else {
        return reply.error(NOT_INTEGER);
    };
    let lock = ctx.first_key(args.get(1));
    if let Err(text) = is_current(ctx.cache(lock), lock, token) {
        return reply.error(&text);
    }
    // It was that of the lock.
    ctx.first_key_hash = None;
    // Nobody could be told later what becomes of the command.
    ctx.request = None;
    execute(ctx, command, reply);
}

/// Whether the lock is held under the fence `token`: the check of a guard whose lock lives in another shard than its data.
///
/// # Errors
/// It is not; the reply's text says why.
pub fn is_current(cache: &Cache, lock: Key<'_>, token: i64) -> Result<(), String> {
    let fence = match cache.fence(lock) {
        Some(0) => return Err(OF_THIS_SCRIPT.into()),
        Some(fence) => i64::try_from(fence).expect("below 2^53"),
        None => return Err(NOT_HELD.into()),
    };
    let is_held = u64::try_from(token).is_ok_and(|token| cache.is_lock_held_under(lock, token));
    match token.cmp(&fence) {
        _ if is_held => Ok(()),
        Ordering::Greater => Err(NOT_YET.into()),
        // Others share it still.
        Ordering::Equal => Err(NOT_HELD.into()),
        Ordering::Less => Err(format!(
            "STALELOCK the lock was granted anew since: its fence is {fence}, above {token}"
        )),
    }
}

/// The parts of a guard's request: the token and the guarded command.
///
/// # Errors
/// What is wrong with the request itself, as the reply's text.
pub fn guard_of(args: Args<'_>) -> Result<(i64, Args<'_>), Vec<u8>> {
    let command = args.from(COMMAND_AT);
    guarded(command)?;
    match parse_i64(args.get(2)) {
        Some(token) => Ok((token, command)),
        None => Err(NOT_INTEGER.into()),
    }
}

/// What runs a command under a guard.
///
/// # Errors
/// It is none, has the wrong number of arguments, or is none that runs on keys alone.
fn guarded(command: Args<'_>) -> Result<Execute, Vec<u8>> {
    let row = check(command).map_err(|error| error.text())?;
    match row.run {
        Run::Data(_) if row.name == LOCK_GUARD.name => {
            Err(b"ERR LOCK.GUARD cannot be nested in LOCK.GUARD".to_vec())
        }
        Run::Data(execute) => Ok(execute),
        Run::Session(_) => Err(format!(
            "ERR {} looks at more than its keys and cannot run under LOCK.GUARD",
            row.full_name().to_uppercase()
        )
        .into_bytes()),
        Run::Later => Err(crate::later_error(row).into_bytes()),
    }
}

#[cfg(test)]
mod tests;
