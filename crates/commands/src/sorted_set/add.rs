//! Scores given and added to: ZADD and ZINCRBY, which is ZADD with INCR.

use super::options::score;
use super::{SORTED_SET_ROW, reply_score, told};
use crate::access::reply_failure;
use crate::collection::edit;
use crate::errors::{ErrorText, SYNTAX};
use crate::keyspec::first_key;
use crate::{Context, Flags, KeyAccess, Row, Run};
use cache::{Changed, SortedSet, Vacant};
use resp::{Args, Reply};
use smallvec::SmallVec;

pub(super) const ZADD: Row = Row {
    name: "zadd",
    arity: -4,
    flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
    keys: &[first_key(KeyAccess::RW.and(KeyAccess::UPDATE))],
    since: "1.2.0",
    summary: "Gives members their scores, under a condition if asked; adds those that are new.",
    complexity: "O(log(N)) for each member, N being the members of the sorted set",
    run: Run::Data(zadd),
    ..SORTED_SET_ROW
};

fn zadd(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = add(ctx, args, reply, Options::default());
    reply_failure(reply, outcome);
}

pub(super) const ZINCRBY: Row = Row {
    name: "zincrby",
    arity: 4,
    keys: &[first_key(
        KeyAccess::RW.and(KeyAccess::ACCESS).and(KeyAccess::UPDATE),
    )],
    summary: "Adds to the score of a member; one that is new begins with 0.",
    complexity: "O(log(N)) for N members",
    run: Run::Data(zincrby),
    ..ZADD
};

fn zincrby(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let options = Options {
        adds: true,
        ..Options::default()
    };
    let outcome = add(ctx, args, reply, options);
    reply_failure(reply, outcome);
}

const NOT_A_NUMBER: ErrorText = "ERR resulting score is not a number (NaN)";

/// What precedes the scores.
#[derive(Clone, Copy, Default)]
struct Options {
    /// NX
    only_new: bool,
    /// XX
    only_present: bool,
    /// GT
    only_higher: bool,
    /// LT
    only_lower: bool,
    /// CH: changed scores count too.
    counts_changed: bool,
    /// INCR
    adds: bool,
}

/// What became of one member.
enum Step {
    /// An option forbade it.
    Refused,
    /// It had this score already.
    Kept(f64),
    Changed(f64),
    Added(f64),
    /// Infinities of both signs were added up.
    NotANumber,
}

/// What became of all.
#[derive(Default)]
struct Outcome {
    added: usize,
    changed: usize,
    /// The score of the last one, if it has one of this request.
    score: Option<f64>,
    is_not_a_number: bool,
}

impl Outcome {
    fn note(&mut self, step: Step) {
        self.score = match step {
            Step::Refused => None,
            Step::Kept(score) => Some(score),
            Step::Changed(score) => {
                self.changed += 1;
                Some(score)
            }
            Step::Added(score) => {
                self.added += 1;
                Some(score)
            }
            Step::NotANumber => {
                self.is_not_a_number = true;
                None
            }
        };
    }

    fn changed(&self) -> Changed {
        match self.added + self.changed {
            0 => Changed::No,
            _ => Changed::Yes,
        }
    }
}

impl Options {
    /// The options in front of pairs of score and member, and those pairs.
    ///
    /// # Errors
    /// Redis's texts, in its order.
    fn parse(self, args: Args<'_>) -> Result<(Options, Args<'_>), ErrorText> {
        let (mut options, mut at) = (self, 0);
        while at < args.len() && options.take(args.get(at)) {
            at += 1;
        }
        let pairs = args.from(at);
        if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
            return Err(SYNTAX);
        }
        let Options {
            only_new,
            only_present,
            only_higher,
            only_lower,
            ..
        } = options;
        if only_new && only_present {
            return Err("ERR XX and NX options at the same time are not compatible");
        }
        if (only_higher && only_lower) || (only_new && (only_higher || only_lower)) {
            return Err("ERR GT, LT, and/or NX options at the same time are not compatible");
        }
        if options.adds && pairs.len() > 2 {
            return Err("ERR INCR option supports a single increment-element pair");
        }
        Ok((options, pairs))
    }

    /// Whether `word` is an option; it is taken then.
    fn take(&mut self, word: &[u8]) -> bool {
        let is = |option: &[u8]| word.eq_ignore_ascii_case(option);
        let option = if is(b"nx") {
            &mut self.only_new
        } else if is(b"xx") {
            &mut self.only_present
        } else if is(b"gt") {
            &mut self.only_higher
        } else if is(b"lt") {
            &mut self.only_lower
        } else if is(b"ch") {
            &mut self.counts_changed
        } else if is(b"incr") {
            &mut self.adds
        } else {
            return false;
        };
        *option = true;
        true
    }

    /// Whether the score before says nothing about the one after.
    fn is_plain(&self) -> bool {
        let has_condition =
            self.only_new || self.only_present || self.only_higher || self.only_lower;
        !has_condition && !self.adds
    }

    /// Does what is asked to one member.
    fn apply(&self, set: &mut SortedSet, member: &[u8], given: f64) -> Step {
        if self.is_plain() {
            // One search in place of two.
            return match set.set(member, given) {
                None => Step::Added(given),
                Some(before) if before == given => Step::Kept(given),
                Some(_) => Step::Changed(given),
            };
        }
        let Some(before) = set.score(member) else {
            if self.only_present {
                return Step::Refused;
            }
            set.set(member, given);
            return Step::Added(given);
        };
        if self.only_new {
            return Step::Refused;
        }
        let score = if self.adds { before + given } else { given };
        if score.is_nan() {
            return Step::NotANumber;
        }
        if (self.only_higher && score <= before) || (self.only_lower && score >= before) {
            return Step::Refused;
        }
        if score == before {
            return Step::Kept(score);
        }
        set.set(member, score);
        Step::Changed(score)
    }
}

/// ZADD and ZINCRBY: all arguments are checked before anything changes. A sum that is no number can come from one pair
/// alone, which then changes nothing either.
///
/// # Errors
/// Those of the options, `NOT_FLOAT`, `WRONG_TYPE`, and a sum that is no number.
fn add(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    preset: Options,
) -> Result<(), ErrorText> {
    let (options, pairs) = preset.parse(args.from(2))?;
    let scores = (0..pairs.len()).step_by(2).map(|at| score(pairs.get(at)));
    let scores: SmallVec<[f64; 8]> = scores.collect::<Result<_, _>>()?;
    let key = ctx.first_key(args.get(1));
    let vacant = match options.only_present {
        true => Vacant::Leave,
        false => Vacant::Make,
    };
    let event = told(if options.adds { "zincr" } else { "zadd" });
    let outcome = edit(ctx, key, vacant, event, |set: &mut SortedSet| {
        let mut outcome = Outcome::default();
        for (i, score) in scores.iter().enumerate() {
            // -0 is kept as 0, and answered as what is kept.
            outcome.note(options.apply(set, pairs.get(2 * i + 1), score + 0.0));
        }
        let changed = outcome.changed();
        (outcome, changed)
    })?;
    let outcome = outcome.unwrap_or_default();
    if outcome.is_not_a_number {
        return Err(NOT_A_NUMBER);
    }
    match (options.adds, outcome.score) {
        (true, Some(score)) => reply_score(reply, score),
        (true, None) => reply.null(),
        (false, _) if options.counts_changed => {
            reply.integer((outcome.added + outcome.changed) as i64);
        }
        (false, _) => reply.integer(outcome.added as i64),
    }
    Ok(())
}
