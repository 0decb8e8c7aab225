//! MEMORY USAGE, the one subcommand of MEMORY that concerns a key; the rest is the node's.

use crate::{
    Category, Context, Flags, KeyAccess, Row, Run,
    errors::{NOT_INTEGER, SYNTAX},
    key::{ROW, key_at},
};
use resp::{Args, Reply, parse_i64};

/// The row of MEMORY USAGE, to stand among MEMORY's subcommands.
pub const USAGE: Row = Row {
    name: "usage",
    arity: -3,
    flags: Flags::READONLY,
    keys: &[key_at(2, KeyAccess::RO)],
    categories: Category::NONE,
    group: crate::Group::Server,
    since: "4.0.0",
    summary: "Counts the bytes that a key takes, its share of the index included.",
    complexity: "O(1)",
    run: Run::Data(usage),
    ..ROW
};

fn usage(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    if let Err(text) = check_options(args) {
        return reply.error(text);
    }
    let key = ctx.first_key(args.get(2));
    match ctx.cache(key).entry_bytes(key) {
        Some(bytes) => reply.integer(bytes as i64),
        None => reply.null(),
    }
}

/// `SAMPLES count`, any number of times: a value of any type is measured whole, whatever the count.
fn check_options(args: Args<'_>) -> Result<(), &'static str> {
    let mut rest = args.from(3).iter();
    while let Some(option) = rest.next() {
        if !option.eq_ignore_ascii_case(b"samples") {
            return Err(SYNTAX);
        }
        let samples = parse_i64(rest.next().ok_or(SYNTAX)?).ok_or(NOT_INTEGER)?;
        if samples < 0 {
            return Err(SYNTAX);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
