//! LPOP, RPOP and LMPOP: elements are taken off an end of a list.

use super::End;
use crate::collection::edit;
use crate::errors::{ErrorText, SYNTAX};
use crate::{Context, access::reply_failure};
use cache::{Changed, Key, List, Typed, Vacant};
use resp::{Args, Reply, parse_i64};

/// Takes up to `count` elements off `end` of the list at `key`. Before they are gone `answer` is told how many they are and
/// sees them, the outermost first. Returns whether there is a list, which is what a blocking form asks.
///
/// # Errors
/// `WRONG_TYPE`; `answer` was not called then.
pub(crate) fn pop(
    ctx: &mut Context<'_>,
    key: Key<'_>,
    end: End,
    count: usize,
    answer: impl FnOnce(usize, &mut dyn Iterator<Item = &[u8]>),
) -> Result<bool, ErrorText> {
    let popped = edit(ctx, key, Vacant::Leave, end.popped(), |list: &mut List| {
        let len = list.len();
        let count = count.min(len);
        match end {
            End::Front => answer(count, &mut list.iter_from(0).take(count)),
            End::Back => answer(count, &mut list.iter_back(len).take(count)),
        }
        let rest = match (count, end) {
            (0, _) => return (None, Changed::No),
            (1, End::Front) => {
                list.remove(0);
                None
            }
            (1, End::Back) => {
                list.remove(len - 1);
                None
            }
            (_, End::Front) => Some(list.keep(count..len)),
            (_, End::Back) => Some(list.keep(0..len - count)),
        };
        (rest, Changed::Yes)
    })?;
    let is_there = popped.is_some();
    if let Some(rest) = popped.flatten() {
        ctx.cache(key).let_go(rest.into_collection());
    }
    Ok(is_there)
}

pub(super) fn lpop(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = pop_one_list(ctx, args, reply, End::Front);
    reply_failure(reply, outcome);
}

pub(super) fn rpop(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = pop_one_list(ctx, args, reply, End::Back);
    reply_failure(reply, outcome);
}

fn pop_one_list(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    end: End,
) -> Result<(), ErrorText> {
    let key = ctx.first_key(args.get(1));
    if args.len() == 2 {
        let is_there = pop(ctx, key, end, 1, |_, elements| {
            reply.bulk_or_null(elements.next());
        })?;
        if !is_there {
            reply.null();
        }
        return Ok(());
    }
    if args.len() > 3 {
        return Err(match end {
            End::Front => "ERR wrong number of arguments for 'lpop' command",
            End::Back => "ERR wrong number of arguments for 'rpop' command",
        });
    }
    let count = parse_i64(args.get(2)).and_then(|count| usize::try_from(count).ok());
    let count = count.ok_or("ERR value is out of range, must be positive")?;
    let is_there = pop(ctx, key, end, count, |count, elements| {
        reply_array(reply, count, elements);
    })?;
    if !is_there {
        reply.null_array();
    }
    Ok(())
}

fn reply_array(reply: &mut Reply<'_>, count: usize, elements: &mut dyn Iterator<Item = &[u8]>) {
    reply.array(count);
    for element in elements {
        reply.bulk(element);
    }
}

/// What LMPOP, and what blocks like it, was asked for.
pub(crate) struct ManyPop<'a> {
    /// The lists' keys, in the order in which they are looked at.
    pub keys: Args<'a>,
    /// How many of `keys` there are: options follow.
    pub keys_count: usize,
    /// Which end the elements are taken off.
    pub end: End,
    /// How many elements at most, 1 or more.
    pub count: usize,
}

impl<'a> ManyPop<'a> {
    /// From the argument on that counts the keys.
    ///
    /// # Errors
    /// Redis's texts, in its order.
    pub(crate) fn parse(args: Args<'a>) -> Result<Self, ErrorText> {
        let keys_count = positive(args.get(0), "ERR numkeys should be greater than 0")?;
        let options_at = keys_count.saturating_add(1);
        if options_at >= args.len() {
            return Err(SYNTAX);
        }
        let end = End::parse(args.get(options_at))?;
        let mut options = args.from(options_at + 1).iter();
        let mut count = None;
        while let Some(option) = options.next() {
            if count.is_some() || !option.eq_ignore_ascii_case(b"count") {
                return Err(SYNTAX);
            }
            let number = options.next().ok_or(SYNTAX)?;
            count = Some(positive(number, "ERR count should be greater than 0")?);
        }
        Ok(ManyPop {
            keys: args.from(1),
            keys_count,
            end,
            count: count.unwrap_or(1),
        })
    }

    /// Takes elements off the first list that is there and answers its key and them; whether there is one.
    ///
    /// # Errors
    /// `WRONG_TYPE`, if a key of another type comes before the first list.
    pub(crate) fn run(
        &self,
        ctx: &mut Context<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<bool, ErrorText> {
        for bytes in self.keys.iter().take(self.keys_count) {
            let key = ctx.key(bytes);
            let is_there = pop(ctx, key, self.end, self.count, |count, elements| {
                reply.array(2);
                reply.bulk(bytes);
                reply_array(reply, count, elements);
            })?;
            if is_there {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn positive(argument: &[u8], refusal: ErrorText) -> Result<usize, ErrorText> {
    let number = parse_i64(argument).filter(|number| *number > 0);
    number
        .and_then(|number| usize::try_from(number).ok())
        .ok_or(refusal)
}

pub(super) fn lmpop(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let popped = ManyPop::parse(args.from(1)).and_then(|request| request.run(ctx, reply));
    match popped {
        Ok(true) => {}
        Ok(false) => reply.null_array(),
        Err(text) => reply.error(text),
    }
}
