//! The keys among a request's arguments, from the key specifications of its row.
//!
//! What the specifications cannot say is said here once: SORT's STORE may stand anywhere. Keys that
//! depend on stored data (SORT … BY and GET) are nobody's to find.

use crate::keyspec::{BeginSearch, FindKeys, KeyAccess, KeySpec};
use crate::lock_guard::{COMMAND_AT, LOCK_GUARD};
use crate::{Flags, Row};
use resp::Args;
use smallvec::SmallVec;

/// The arguments do not tell where the keys are: a count that is no number or exceeds the arguments, for
/// example. The command itself refuses such arguments before it looks at a key, with words of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeysError;

/// Positions of keys in a request's arguments; without an allocation up to eight.
pub type KeyPositions = SmallVec<[usize; 8]>;

/// Appends the positions of the keys of `args` to `positions`, in the order of the row's specifications. A key
/// that is named twice is there twice. The number of arguments must fit the row.
///
/// # Errors
/// [`KeysError`] if the arguments do not tell; `positions` is then as it was.
#[inline]
pub fn keys_of(row: &Row, args: Args<'_>, positions: &mut KeyPositions) -> Result<(), KeysError> {
    if row.is_single_key() {
        positions.push(1);
        return Ok(());
    }
    let before = positions.len();
    let result = visit_keys(row, args, |position, _| positions.push(position));
    if result.is_err() {
        positions.truncate(before);
    }
    result
}

/// Positions of the keys of `args` with what is done to each.
///
/// # Errors
/// [`KeysError`] if the arguments do not tell.
pub fn keys_with_access(
    row: &Row,
    args: Args<'_>,
) -> Result<SmallVec<[(usize, KeyAccess); 8]>, KeysError> {
    let mut keys: SmallVec<[(usize, KeyAccess); 8]> = SmallVec::new();
    visit_keys(row, args, |position, access| keys.push((position, access)))?;
    if let [(_, access)] = keys.as_mut_slice()
        && access.has(KeyAccess::VARIABLE_FLAGS)
    {
        *access = access_of_variable(row, args);
    }
    Ok(keys)
}

/// Calls `visit` with position and access of each key.
fn visit_keys(
    row: &Row,
    args: Args<'_>,
    mut visit: impl FnMut(usize, KeyAccess),
) -> Result<(), KeysError> {
    for spec in row.keys {
        if spec.access.has(KeyAccess::NOT_KEY) {
            continue;
        }
        if let Some(run) = run_of(row, spec, args)? {
            let mut position = run.first;
            while position <= run.last {
                visit(position, spec.access);
                position += run.step;
            }
        }
    }
    if row.name == LOCK_GUARD.name {
        visit_guarded_keys(args, &mut visit);
    }
    Ok(())
}

/// The keys of the command behind LOCK.GUARD. Arguments that do not tell them are refused by that command, before it
/// looks at a key.
fn visit_guarded_keys(args: Args<'_>, visit: &mut impl FnMut(usize, KeyAccess)) {
    let command = args.from(COMMAND_AT);
    let Ok(row) = crate::check(command) else {
        return;
    };
    if row.name == LOCK_GUARD.name {
        return;
    }
    // By itself, and not by way of this function: guards do not nest.
    for (position, access) in keys_with_access(row, command).unwrap_or_default() {
        visit(COMMAND_AT + position, access);
    }
}

/// Keys at regular distances; both ends are arguments.
struct KeyRun {
    first: usize,
    last: usize,
    step: usize,
}

/// The keys of one specification; none if its keyword is absent.
fn run_of(row: &Row, spec: &KeySpec, args: Args<'_>) -> Result<Option<KeyRun>, KeysError> {
    let begin = match spec.begin {
        BeginSearch::Index(index) => Some(index as usize),
        BeginSearch::Keyword { keyword, from } => after_keyword(args, keyword, from),
        BeginSearch::Unknown if spec.access.has(KeyAccess::OW) => store_destination(args),
        BeginSearch::Unknown => None,
    };
    let Some(begin) = begin else {
        return Ok(None);
    };
    let (first, last, step) = match spec.find {
        FindKeys::Range { last, step, limit } => {
            let last = match (last, limit) {
                (0.., _) => begin.checked_add(last as usize),
                (_, 0 | 1) => args.len().checked_sub(last.unsigned_abs() as usize),
                (_, parts) => (begin + args.len().saturating_sub(begin) / parts as usize)
                    .checked_sub(last.unsigned_abs() as usize),
            };
            (begin, last, step as usize)
        }
        FindKeys::KeyNum {
            count_at,
            first,
            step,
        } => {
            let count_at = begin + count_at as usize;
            let count = args.spans().get(count_at).map(|_| args.get(count_at));
            let count = count.and_then(resp::parse_i64).ok_or(KeysError)?;
            let count = usize::try_from(count).map_err(|_| KeysError)?;
            if count == 0 && row.flags.has(Flags::NO_MANDATORY_KEYS) {
                return Ok(None);
            }
            let others_count = count.checked_sub(1).ok_or(KeysError)?;
            let first = begin + first as usize;
            // Far too large a count is refused below, like one that is too large by one.
            let distance = others_count.saturating_mul(step as usize);
            (first, first.checked_add(distance), step as usize)
        }
        FindKeys::Unknown => (begin, Some(begin), 1),
    };
    match last {
        Some(last) if first <= last && last < args.len() => Ok(Some(KeyRun { first, last, step })),
        _ => Err(KeysError),
    }
}

/// The position behind `keyword`, searched from argument `from` on, or backwards from the end.
fn after_keyword(args: Args<'_>, keyword: &str, from: i8) -> Option<usize> {
    let is_keyword =
        |position: &usize| args.get(*position).eq_ignore_ascii_case(keyword.as_bytes());
    let at = if from >= 0 {
        // A keyword at the very end has nothing behind it.
        (from as usize..args.len().saturating_sub(1)).find(is_keyword)
    } else {
        let end = (args.len() + 1).saturating_sub(from.unsigned_abs() as usize);
        (1..end).rev().find(is_keyword)
    };
    at.map(|position| position + 1)
}

/// The destination of SORT: behind the last STORE that is not itself an argument of another option.
fn store_destination(args: Args<'_>) -> Option<usize> {
    let mut destination = None;
    let mut position = 2;
    while position < args.len() {
        let option = args.get(position);
        position += if option.eq_ignore_ascii_case(b"limit") {
            3
        } else if option.eq_ignore_ascii_case(b"get") || option.eq_ignore_ascii_case(b"by") {
            2
        } else if option.eq_ignore_ascii_case(b"store") && position + 1 < args.len() {
            // Its key may be called STORE or LIMIT too.
            destination = Some(position + 1);
            2
        } else {
            1
        };
    }
    destination
}

/// What SET, BITFIELD do to their key: it depends on their options.
fn access_of_variable(row: &Row, args: Args<'_>) -> KeyAccess {
    let read = KeyAccess::ACCESS;
    let update = KeyAccess::RW.and(read).and(KeyAccess::UPDATE);
    let is = |position: usize, option: &[u8]| args.get(position).eq_ignore_ascii_case(option);
    if row.name != "bitfield" {
        let gets = (3..args.len()).any(|position| is(position, b"get"));
        return match gets {
            true => update,
            false => KeyAccess::OW.and(KeyAccess::UPDATE),
        };
    }
    let mut position = 2;
    while position < args.len() {
        let behind = args.len() - position - 1;
        position += if is(position, b"get") && behind >= 2 {
            3
        } else if is(position, b"overflow") && behind >= 1 {
            2
        } else {
            return update;
        };
    }
    KeyAccess::RO.and(read)
}

#[cfg(test)]
mod tests;
