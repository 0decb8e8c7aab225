//! SORT and SORT_RO. They apply to lists, sets and sorted sets, none of which exists yet: what is
//! here is all that can be seen of them until then, which is their syntax, a missing key and a
//! wrong type.

use crate::{
    Category, Context, EventClass, Flags, KeyAccess, KeySpec, Row, Run,
    errors::{NOT_INTEGER, SYNTAX, WRONG_TYPE},
    key::{Look, ROW, read},
    table::{BeginSearch, FindKeys, first_key},
};
use cache::Value;
use resp::{Args, Reply, parse_i64};

const SORTED: KeySpec = first_key(KeyAccess::RO.and(KeyAccess::ACCESS));
/// BY and GET: the keys follow from the elements that are sorted.
const LOOKED_UP: KeySpec = unknown(KeyAccess::RO.and(KeyAccess::ACCESS));
/// STORE: the word may stand anywhere among the arguments.
const STORED: KeySpec = unknown(KeyAccess::OW.and(KeyAccess::UPDATE));

const fn unknown(access: KeyAccess) -> KeySpec {
    KeySpec {
        begin: BeginSearch::Unknown,
        find: FindKeys::Unknown,
        access,
    }
}

const CATEGORIES: Category = Category::SET
    .and(Category::SORTEDSET)
    .and(Category::LIST)
    .and(Category::DANGEROUS);

/// The family's rows.
pub static ROWS: &[Row] = &[
    Row {
        name: "sort",
        arity: -2,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::MOVABLE_KEYS),
        keys: &[SORTED, LOOKED_UP, STORED],
        categories: CATEGORIES,
        since: "1.0.0",
        summary: "Sorts the elements of a list, set or sorted set; answers or stores them.",
        complexity: "O(N+M*log(M)) for N elements of which M are answered",
        run: Run::Data(sort),
        ..ROW
    },
    Row {
        name: "sort_ro",
        arity: -2,
        flags: Flags::READONLY.and(Flags::MOVABLE_KEYS),
        keys: &[SORTED, LOOKED_UP],
        categories: CATEGORIES,
        since: "7.0.0",
        summary: "Sorts the elements of a list, set or sorted set and answers them.",
        complexity: "O(N+M*log(M)) for N elements of which M are answered",
        run: Run::Data(sort_ro),
        ..ROW
    },
];

/// Whether STORE is among the options.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Writing,
    ReadOnly,
}

fn sort(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    run(ctx, args, reply, Form::Writing);
}

fn sort_ro(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    run(ctx, args, reply, Form::ReadOnly);
}

fn run(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>, form: Form) {
    let store = match parse(args, form) {
        Ok(store) => store,
        Err(text) => return reply.error(text),
    };
    let key = ctx.first_key(args.get(1));
    match read(ctx, key, Look::Access).map(|entry| entry.value) {
        Some(Value::String(_) | Value::Shared(_)) => reply.error(WRONG_TYPE),
        None => match store {
            Some(bytes) => {
                // Storing nothing removes what was there.
                let target = ctx.key(bytes);
                if ctx.cache(target).remove(target) {
                    ctx.notify(EventClass::Generic, "del", target);
                }
                reply.integer(0);
            }
            None => reply.array(0),
        },
    }
}

/// Checks the options in Redis's order and returns STORE's key (the last one counts).
fn parse(args: Args<'_>, form: Form) -> Result<Option<&[u8]>, &'static str> {
    let mut store = None;
    let mut rest = args.from(2).iter();
    while let Some(option) = rest.next() {
        match option.to_ascii_lowercase().as_slice() {
            b"asc" | b"desc" | b"alpha" => {}
            // Too few arguments left is bad syntax before a bad number is.
            b"limit" if rest.len() >= 2 => {
                for bound in rest.by_ref().take(2) {
                    parse_i64(bound).ok_or(NOT_INTEGER)?;
                }
            }
            b"by" | b"get" => {
                rest.next().ok_or(SYNTAX)?;
            }
            b"store" if form == Form::Writing => store = Some(rest.next().ok_or(SYNTAX)?),
            _ => return Err(SYNTAX),
        }
    }
    Ok(store)
}

#[cfg(test)]
mod tests;
