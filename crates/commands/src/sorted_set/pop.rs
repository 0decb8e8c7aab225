//! The lowest or highest members, removed and answered: ZPOPMIN, ZPOPMAX, ZMPOP. [`pop`] and [`MultiPop`] serve the forms
//! that wait as well.

use super::options::{at_least, count};
use super::remove::take_at;
use super::{SORTED_SET_ROW, reply_score, told};
use crate::access::reply_failure;
use crate::collection::{edit, peek_collection};
use crate::errors::{ErrorText, SYNTAX};
use crate::keyspec::{counted_keys, first_key};
use crate::{Context, Flags, KeyAccess, Row, Run};
use cache::{Changed, Key, SortedSet, Vacant};
use resp::{Args, Protocol, Reply};

const POPPED: KeyAccess = KeyAccess::RW.and(KeyAccess::ACCESS).and(KeyAccess::DELETE);

pub(super) const ZPOPMIN: Row = Row {
    name: "zpopmin",
    arity: -2,
    flags: Flags::WRITE.and(Flags::FAST),
    keys: &[first_key(POPPED)],
    since: "5.0.0",
    summary: "Removes and returns the members of the lowest scores.",
    complexity: "O(M*log(N)) for M of N members",
    run: Run::Data(zpopmin),
    ..SORTED_SET_ROW
};

fn zpopmin(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = pop_one_key(ctx, args, reply, End::Lowest);
    reply_failure(reply, outcome);
}

pub(super) const ZPOPMAX: Row = Row {
    name: "zpopmax",
    summary: "Removes and returns the members of the highest scores.",
    run: Run::Data(zpopmax),
    ..ZPOPMIN
};

fn zpopmax(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = pop_one_key(ctx, args, reply, End::Highest);
    reply_failure(reply, outcome);
}

pub(super) const ZMPOP: Row = Row {
    name: "zmpop",
    arity: -4,
    flags: Flags::WRITE.and(Flags::MOVABLE_KEYS),
    keys: &[counted_keys(1, POPPED)],
    since: "7.0.0",
    summary: "Removes and returns members of the first sorted set that is there.",
    complexity: "O(K+M*log(N)) for K keys and M of N members",
    run: Run::Data(zmpop),
    ..SORTED_SET_ROW
};

fn zmpop(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = MultiPop::parse(args.from(1)).and_then(|request| request.run(ctx, reply));
    match outcome {
        Ok(Popped::Some) => {}
        Ok(Popped::Nothing) => reply.null_array(),
        Err(text) => reply.error(text),
    }
}

/// The end of a sorted set that members are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Lowest,
    Highest,
}

/// Whether members were there to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Popped {
    /// They are answered.
    Some,
    /// Nothing is answered yet.
    Nothing,
}

/// How members that were taken are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Member and score by turns in one array: ZPOPMIN.
    Row,
    /// An array of pairs: ZPOPMIN with a count under RESP3.
    Pairs,
    /// The key and an array of pairs: ZMPOP.
    KeyAndPairs,
    /// The key, one member and its score: BZPOPMIN.
    KeyAndOne,
}

/// Takes up to `count_max` members, at least one, from an end of the sorted set at `key`, and answers them.
///
/// # Errors
/// `WRONG_TYPE`.
pub(crate) fn pop(
    ctx: &mut Context<'_>,
    key: Key<'_>,
    end: End,
    count_max: usize,
    reply: &mut Reply<'_>,
    form: Form,
) -> Result<Popped, ErrorText> {
    let event = told(match end {
        End::Lowest => "zpopmin",
        End::Highest => "zpopmax",
    });
    let popped = edit(ctx, key, Vacant::Leave, event, |set: &mut SortedSet| {
        let count = count_max.min(set.len());
        match form {
            Form::Row => reply.array(2 * count),
            Form::Pairs => reply.array(count),
            Form::KeyAndPairs => {
                reply.array(2);
                reply.bulk(key.bytes);
                reply.array(count);
            }
            Form::KeyAndOne => {
                reply.array(3);
                reply.bulk(key.bytes);
            }
        }
        for _ in 0..count {
            let (member, score) = match end {
                End::Lowest => take_at(set, 0),
                End::Highest => take_at(set, set.len() - 1),
            };
            if matches!(form, Form::Pairs | Form::KeyAndPairs) {
                reply.array(2);
            }
            reply.bulk(&member);
            reply_score(reply, score);
        }
        ((), Changed::Yes)
    })?;
    Ok(popped.map_or(Popped::Nothing, |()| Popped::Some))
}

/// # Errors
/// `SYNTAX`, a count that is none, `WRONG_TYPE`.
fn pop_one_key(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    end: End,
) -> Result<(), ErrorText> {
    let (count, form) = match (args.len(), reply.protocol()) {
        (2, _) => (1, Form::Row),
        (3, Protocol::Resp2) => (count(args.get(2))?, Form::Row),
        (3, Protocol::Resp3) => (count(args.get(2))?, Form::Pairs),
        _ => return Err(SYNTAX),
    };
    let key = ctx.first_key(args.get(1));
    let popped = match count {
        0 => peek_collection::<SortedSet>(ctx, key).map(|_| Popped::Nothing),
        _ => pop(ctx, key, end, count, reply, form),
    };
    if popped? == Popped::Nothing {
        reply.array(0);
    }
    Ok(())
}

/// What ZMPOP asks for.
pub(crate) struct MultiPop<'a> {
    keys: Args<'a>,
    keys_count: usize,
    end: End,
    count_max: usize,
}

impl<'a> MultiPop<'a> {
    /// `args` begin with the number of keys.
    ///
    /// # Errors
    /// Redis's texts, in its order.
    pub(crate) fn parse(args: Args<'a>) -> Result<Self, ErrorText> {
        let keys_count = at_least(1, args.get(0), "ERR numkeys should be greater than 0")?;
        if keys_count >= args.len() - 1 {
            return Err(SYNTAX);
        }
        let mut rest = args.from(keys_count + 1).iter();
        let end = match rest.next() {
            Some(word) if word.eq_ignore_ascii_case(b"min") => End::Lowest,
            Some(word) if word.eq_ignore_ascii_case(b"max") => End::Highest,
            _ => return Err(SYNTAX),
        };
        let mut count_max = None;
        while let Some(option) = rest.next() {
            if count_max.is_some() || !option.eq_ignore_ascii_case(b"count") {
                return Err(SYNTAX);
            }
            let argument = rest.next().ok_or(SYNTAX)?;
            count_max = Some(at_least(1, argument, "ERR count should be greater than 0")?);
        }
        Ok(MultiPop {
            keys: args.from(1),
            keys_count,
            end,
            count_max: count_max.unwrap_or(1),
        })
    }

    /// Takes members of the first key that is there, and answers them.
    ///
    /// # Errors
    /// `WRONG_TYPE` of a key before that.
    pub(crate) fn run(
        &self,
        ctx: &mut Context<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Popped, ErrorText> {
        for bytes in self.keys.iter().take(self.keys_count) {
            let key = ctx.key(bytes);
            let popped = pop(ctx, key, self.end, self.count_max, reply, Form::KeyAndPairs)?;
            if popped == Popped::Some {
                return Ok(popped);
            }
        }
        Ok(Popped::Nothing)
    }
}
