//! The forms of LPOP, LMPOP and LMOVE that wait until there is an element. Run as data commands they do not
//! ([`crate::blocking`]).

use super::pop::{ManyPop, pop};
use super::transfer::Transfer;
use super::{End, RW_ACCESS_DELETE, RW_INSERT, row};
use crate::blocking::{BlockShape, Blocks, timeout_ms};
use crate::errors::ErrorText;
use crate::keyspec::{counted_keys, first_key, key_at, keys_at};
use crate::{Context, Flags, Row};
use cache::CollectionType;
use resp::{Args, Reply};

const WRITE: Flags = Flags::WRITE.and(Flags::BLOCKING);
const WRITE_NOSCRIPT: Flags = WRITE.and(Flags::NOSCRIPT);

const fn blocks(shape: BlockShape) -> Option<Blocks> {
    Some(Blocks {
        of: CollectionType::List,
        shape,
    })
}

/// The rows of the forms that wait.
#[rustfmt::skip] // A row is three lines: what it is, its keys, its documentation.
pub static ROWS: &[Row] = &[
    Row { blocks: blocks(BlockShape::Source), ..row("blmove", 6, blmove).flags(WRITE_NOSCRIPT.and(Flags::DENYOOM)) }
        .keys(&[first_key(RW_ACCESS_DELETE), key_at(2, RW_INSERT)])
        .docs("6.2.0", "As LMOVE, but waits until there is an element.", "O(log(N))"),
    Row { blocks: blocks(BlockShape::TimeoutFirst), ..row("blmpop", -5, blmpop).flags(WRITE.and(Flags::MOVABLE_KEYS)) }
        .keys(&[counted_keys(2, RW_ACCESS_DELETE)])
        .docs("7.0.0", "As LMPOP, but waits until one of the lists is there.", "O(K+M*log(N)) for K keys and M elements taken"),
    Row { blocks: blocks(BlockShape::KeysFirst), ..row("blpop", -3, blpop).flags(WRITE_NOSCRIPT) }
        .keys(&[keys_at(1, -2, RW_ACCESS_DELETE)])
        .docs("2.0.0", "Takes the first element off the first of several lists that is there, or waits until one is.", "O(K) in the keys"),
    Row { blocks: blocks(BlockShape::KeysFirst), ..row("brpop", -3, brpop).flags(WRITE_NOSCRIPT) }
        .keys(&[keys_at(1, -2, RW_ACCESS_DELETE)])
        .docs("2.0.0", "Takes the last element off the first of several lists that is there, or waits until one is.", "O(K) in the keys"),
    Row { blocks: blocks(BlockShape::Source), ..row("brpoplpush", 4, brpoplpush).flags(WRITE_NOSCRIPT.and(Flags::DENYOOM)) }
        .keys(&[first_key(RW_ACCESS_DELETE), key_at(2, RW_INSERT)])
        .docs("2.2.0", "As RPOPLPUSH, but waits until there is an element.", "O(log(N))"),
];

fn blpop(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    pop_first(ctx, args, reply, End::Front);
}

fn brpop(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    pop_first(ctx, args, reply, End::Back);
}

fn pop_first(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>, end: End) {
    match try_keys(ctx, args, reply, end) {
        Ok(true) => {}
        Ok(false) => reply.null_array(),
        Err(text) => reply.error(text),
    }
}

fn try_keys(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    end: End,
) -> Result<bool, ErrorText> {
    let keys_count = args.len() - 2;
    timeout_ms(args.get(args.len() - 1))?;
    for bytes in args.from(1).iter().take(keys_count) {
        let key = ctx.key(bytes);
        let is_there = pop(ctx, key, end, 1, |_, elements| {
            reply.array(2);
            reply.bulk(bytes);
            reply.bulk_or_null(elements.next());
        })?;
        if is_there {
            return Ok(true);
        }
    }
    Ok(false)
}

fn blmpop(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let request = ManyPop::parse(args.from(2));
    // Redis looks at the timeout last.
    let request = request.and_then(|request| timeout_ms(args.get(1)).map(|_| request));
    match request.and_then(|request| request.run(ctx, reply)) {
        Ok(true) => {}
        Ok(false) => reply.null_array(),
        Err(text) => reply.error(text),
    }
}

fn blmove(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let ends = End::parse(args.get(3)).and_then(|from| Ok((from, End::parse(args.get(4))?)));
    let ends = ends.and_then(|ends| timeout_ms(args.get(5)).map(|_| ends));
    match ends {
        Ok((from, to)) => transfer(ctx, args, reply, from, to),
        Err(text) => reply.error(text),
    }
}

fn brpoplpush(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    match timeout_ms(args.get(3)) {
        Ok(_) => transfer(ctx, args, reply, End::Back, End::Front),
        Err(text) => reply.error(text),
    }
}

fn transfer(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>, from: End, to: End) {
    let transfer = Transfer {
        from: (ctx.first_key(args.get(1)), from),
        to: (ctx.key(args.get(2)), to),
    };
    match transfer.run(ctx, reply) {
        Ok(true) => {}
        Ok(false) => reply.null(),
        Err(text) => reply.error(text),
    }
}
