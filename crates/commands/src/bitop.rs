//! BITOP: a string made of other strings, bit by bit.

use crate::access::{put_edited_string, read_string, reply_integer};
use crate::bits::BITMAP_ROW;
use crate::errors::{ErrorText, SYNTAX};
use crate::string::GROWING_WRITE;
use crate::{BeginSearch, Context, EventClass, FindKeys, KeyAccess, KeySpec, Row, Run};
use resp::{Args, Reply};

pub(crate) const BITOP: Row = Row {
    name: "bitop",
    arity: -4,
    flags: GROWING_WRITE,
    keys: &[
        KeySpec {
            begin: BeginSearch::Index(2),
            find: FindKeys::Range {
                last: 0,
                step: 1,
                limit: 0,
            },
            access: KeyAccess::OW.and(KeyAccess::UPDATE),
        },
        KeySpec {
            begin: BeginSearch::Index(3),
            find: FindKeys::Range {
                last: -1,
                step: 1,
                limit: 0,
            },
            access: KeyAccess::RO.and(KeyAccess::ACCESS),
        },
    ],
    since: "2.6.0",
    summary: "Sets a key to the AND, OR, XOR or NOT of the strings at other keys.",
    complexity: "O(N) in the length of all strings together.",
    run: Run::Data(bitop),
    ..BITMAP_ROW
};

#[derive(Clone, Copy)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
}

impl Operation {
    fn parse(word: &[u8]) -> Option<Operation> {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        match word {
            _ if is(b"and") => Some(Operation::And),
            _ if is(b"or") => Some(Operation::Or),
            _ if is(b"xor") => Some(Operation::Xor),
            _ if is(b"not") => Some(Operation::Not),
            _ => None,
        }
    }

    /// Takes one more source into `result`; the shorter of both counts as followed by zeros.
    fn apply(self, result: &mut Vec<u8>, source: &[u8]) {
        if result.len() < source.len() {
            result.resize(source.len(), 0);
        }
        let pairs = result.iter_mut().zip(source);
        match self {
            Operation::And => {
                pairs.for_each(|(byte, other)| *byte &= other);
                result[source.len()..].fill(0);
            }
            Operation::Or => pairs.for_each(|(byte, other)| *byte |= other),
            Operation::Xor => pairs.for_each(|(byte, other)| *byte ^= other),
            Operation::Not => pairs.for_each(|(byte, other)| *byte = !other),
        }
    }
}

fn bitop(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    reply_integer(reply, combine(ctx, args));
}

/// Returns the result's length; an empty result removes the key.
fn combine(ctx: &mut Context<'_>, args: Args<'_>) -> Result<i64, ErrorText> {
    let operation = Operation::parse(args.get(1)).ok_or(SYNTAX)?;
    if matches!(operation, Operation::Not) && args.len() != 4 {
        return Err("ERR BITOP NOT must be called with a single source key.");
    }
    let mut result = Vec::new();
    for position in 3..args.len() {
        let key = ctx.key(args.get(position));
        let source = read_string(ctx, key)?;
        let source = source.as_ref().map_or(&[][..], |value| value.as_bytes());
        match operation {
            // The first one is taken as it is: nothing comes before it.
            Operation::And | Operation::Or | Operation::Xor if position == 3 => {
                result.extend_from_slice(source);
            }
            _ => operation.apply(&mut result, source),
        }
    }
    let len = result.len();
    let target = ctx.first_key(args.get(2));
    if len > 0 {
        put_edited_string(ctx, target, result);
        ctx.notify(EventClass::String, "set", target);
    } else if ctx.cache(target).remove(target) {
        ctx.notify(EventClass::Generic, "del", target);
    }
    Ok(len as i64)
}

#[cfg(test)]
mod tests;
