//! LMOVE and RPOPLPUSH: an element goes from one list to another, or to the other end of its own.

use super::End;
use crate::collection::{edit, peek_collection};
use crate::{Context, errors::ErrorText};
use cache::{Changed, Key, List, Vacant};
use resp::{Args, Reply};

/// What LMOVE, and what blocks like it, was asked for.
pub(crate) struct Transfer<'a> {
    /// The list that gives the element, and the end that it is taken off.
    pub from: (Key<'a>, End),
    /// The list that gets it, and the end that it is pushed to.
    pub to: (Key<'a>, End),
}

impl Transfer<'_> {
    /// Moves an element and answers it; whether there was one.
    ///
    /// # Errors
    /// `WRONG_TYPE` of either key; nothing is changed then.
    pub(crate) fn run(
        &self,
        ctx: &mut Context<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<bool, ErrorText> {
        let ((from, from_end), (to, to_end)) = (self.from, self.to);
        let Some(list) = peek_collection::<List>(ctx, from)? else {
            return Ok(false);
        };
        let element = match from_end {
            End::Front => list.get(0),
            End::Back => list.get(list.len() - 1),
        };
        let element = element
            .expect("a list of the keyspace is not empty")
            .to_vec();
        let is_one_list = from.bytes == to.bytes;
        if !is_one_list {
            peek_collection::<List>(ctx, to)?;
        }
        edit(ctx, to, Vacant::Make, to_end.pushed(), |list: &mut List| {
            if is_one_list {
                take_off(list, from_end);
            }
            to_end.push(list, &element);
            ((), Changed::Yes)
        })?;
        let popped = from_end.popped();
        if is_one_list {
            ctx.notify(popped.class, popped.name, from);
        } else {
            edit(ctx, from, Vacant::Leave, popped, |list: &mut List| {
                take_off(list, from_end);
                ((), Changed::Yes)
            })?;
        }
        reply.bulk(&element);
        Ok(true)
    }
}

fn take_off(list: &mut List, end: End) {
    match end {
        End::Front => list.remove(0),
        End::Back => list.remove(list.len() - 1),
    }
}

pub(super) fn lmove(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    match (End::parse(args.get(3)), End::parse(args.get(4))) {
        (Ok(from), Ok(to)) => transfer(ctx, args, reply, from, to),
        (Err(text), _) | (_, Err(text)) => reply.error(text),
    }
}

pub(super) fn rpoplpush(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    transfer(ctx, args, reply, End::Back, End::Front);
}

fn transfer(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    from_end: End,
    to_end: End,
) {
    let transfer = Transfer {
        from: (ctx.first_key(args.get(1)), from_end),
        to: (ctx.key(args.get(2)), to_end),
    };
    match transfer.run(ctx, reply) {
        Ok(true) => {}
        Ok(false) => reply.null(),
        Err(text) => reply.error(text),
    }
}
