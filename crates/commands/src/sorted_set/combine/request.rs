//! The arguments of ZUNION and kin: how many keys, the keys, options.

use super::{Aggregate, Input, Source};
use crate::Context;
use crate::access::integer;
use crate::errors::{ErrorText, SYNTAX};
use crate::sorted_set::Shown;
use resp::{Args, parse_f64, parse_i64};

/// Which options a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// WEIGHTS, AGGREGATE, WITHSCORES: ZUNION, ZINTER.
    Weights,
    /// WEIGHTS, AGGREGATE: their forms that store.
    WeightsToStore,
    /// WITHSCORES: ZDIFF.
    Scores,
    /// LIMIT: ZINTERCARD.
    Limit,
    /// None: ZDIFFSTORE.
    Nothing,
}

impl Takes {
    fn weights(self) -> bool {
        matches!(self, Takes::Weights | Takes::WeightsToStore)
    }

    fn scores(self) -> bool {
        matches!(self, Takes::Weights | Takes::Scores)
    }
}

/// What is asked for.
///
/// - Once parsed there is at least one input.
pub(super) struct Request {
    takes: Takes,
    no_keys: ErrorText,
    pub inputs: Vec<Input>,
    pub aggregate: Aggregate,
    pub shown: Shown,
    /// Most members that are counted; none = all of them.
    pub limit: Option<usize>,
}

impl Request {
    /// Nothing yet, of a command that takes these options and refuses a lack of keys with the text `no_keys`.
    pub(super) fn new(takes: Takes, no_keys: ErrorText) -> Self {
        Request {
            takes,
            no_keys,
            inputs: Vec::new(),
            aggregate: Aggregate::Sum,
            shown: Shown::Members,
            limit: None,
        }
    }

    /// Reads the sources and the options; `args` begin with the number of keys.
    ///
    /// # Errors
    /// Redis's texts, in its order: the number of keys, `WRONG_TYPE`, options.
    pub(super) fn parse(
        mut self,
        ctx: &mut Context<'_>,
        args: Args<'_>,
    ) -> Result<Self, ErrorText> {
        let count = integer(args.get(0))?;
        if count < 1 {
            return Err(self.no_keys);
        }
        let count = usize::try_from(count).map_err(|_| SYNTAX)?;
        if count > args.len() - 1 {
            return Err(SYNTAX);
        }
        for bytes in args.from(1).iter().take(count) {
            let key = ctx.key(bytes);
            self.inputs.push(Input {
                source: Source::read(ctx, key)?,
                weight: 1.0,
            });
        }
        self.take_options(args.from(1 + count))?;
        Ok(self)
    }

    fn take_options(&mut self, args: Args<'_>) -> Result<(), ErrorText> {
        let mut rest = args.iter();
        while let Some(option) = rest.next() {
            let is = |word: &[u8]| option.eq_ignore_ascii_case(word);
            if self.takes.weights() && rest.len() >= self.inputs.len() && is(b"weights") {
                for (input, weight) in self.inputs.iter_mut().zip(rest.by_ref()) {
                    input.weight = parse_f64(weight)
                        .filter(|weight| !weight.is_nan())
                        .ok_or("ERR weight value is not a float")?;
                }
            } else if self.takes.weights() && is(b"aggregate") {
                self.aggregate = aggregate(rest.next().ok_or(SYNTAX)?)?;
            } else if self.takes.scores() && is(b"withscores") {
                self.shown = Shown::WithScores;
            } else if self.takes == Takes::Limit && is(b"limit") {
                self.limit = limit(rest.next().ok_or(SYNTAX)?)?;
            } else {
                return Err(SYNTAX);
            }
        }
        Ok(())
    }
}

/// # Errors
/// `SYNTAX`.
fn aggregate(word: &[u8]) -> Result<Aggregate, ErrorText> {
    let is = |known: &[u8]| word.eq_ignore_ascii_case(known);
    if is(b"sum") {
        Ok(Aggregate::Sum)
    } else if is(b"min") {
        Ok(Aggregate::Min)
    } else if is(b"max") {
        Ok(Aggregate::Max)
    } else {
        Err(SYNTAX)
    }
}

/// A limit; 0 is none.
///
/// # Errors
/// Redis's text.
fn limit(argument: &[u8]) -> Result<Option<usize>, ErrorText> {
    let limit = parse_i64(argument).and_then(|limit| usize::try_from(limit).ok());
    let limit = limit.ok_or("ERR LIMIT can't be negative")?;
    Ok((limit > 0).then_some(limit))
}
