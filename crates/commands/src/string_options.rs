//! The options behind a string that is set: conditions and expiry, as SET, GETEX and MSETEX share
//! them.

use crate::Context;
use crate::access::integer;
use crate::errors::{ErrorText, SYNTAX};
use cache::Expiry;
use resp::Args;

/// When a string is set at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition<'a> {
    /// Always.
    Always,
    /// `NX`: only if the key does not exist.
    IfAbsent,
    /// `XX`: only if it does.
    IfPresent,
    /// `IFEQ value`: only if it holds this string.
    IfEqual(&'a [u8]),
    /// `IFNE value`: unless it holds this string.
    IfDifferent(&'a [u8]),
}

/// How a time was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeForm {
    /// `EX`: seconds from now.
    Seconds,
    /// `PX`: milliseconds from now.
    Milliseconds,
    /// `EXAT`: seconds since 1970.
    UnixSeconds,
    /// `PXAT`: milliseconds since 1970.
    UnixMilliseconds,
}

/// What is asked about the expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeOption<'a> {
    /// Nothing.
    None,
    /// `KEEPTTL`.
    Keep,
    /// `PERSIST`.
    Persist,
    /// A time, not parsed yet: Redis looks at it after the syntax of all options.
    Given(TimeForm, &'a [u8]),
}

/// Whether the old string is answered (`GET`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// OK or null.
    Outcome,
    /// The string before.
    OldString,
}

/// Options that a command knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// All but `PERSIST`.
    Set,
    /// Times and `PERSIST`.
    Getex,
    /// `NX`, `XX`, times and `KEEPTTL`.
    Msetex,
}

/// Parsed options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options<'a> {
    pub condition: Condition<'a>,
    pub time: TimeOption<'a>,
    pub answer: Answer,
}

impl<'a> Options<'a> {
    /// Parses all of `args`. As in Redis an option may be repeated (the last time counts) as long as
    /// it contradicts no other.
    ///
    /// # Errors
    /// `SYNTAX`.
    pub fn parse(args: Args<'a>, allowed: Allowed) -> Result<Self, ErrorText> {
        let mut options = Options {
            condition: Condition::Always,
            time: TimeOption::None,
            answer: Answer::Outcome,
        };
        let mut rest = args.iter();
        while let Some(word) = rest.next() {
            let word = Word::of(word).filter(|word| word.is_of(allowed));
            match word.ok_or(SYNTAX)? {
                Word::Nx => options.set_condition(Condition::IfAbsent)?,
                Word::Xx => options.set_condition(Condition::IfPresent)?,
                Word::Ifeq => {
                    let value = rest.next().ok_or(SYNTAX)?;
                    options.set_condition(Condition::IfEqual(value))?;
                }
                Word::Ifne => {
                    let value = rest.next().ok_or(SYNTAX)?;
                    options.set_condition(Condition::IfDifferent(value))?;
                }
                Word::Get => options.answer = Answer::OldString,
                Word::Keepttl => options.set_time(TimeOption::Keep)?,
                Word::Persist => options.set_time(TimeOption::Persist)?,
                Word::Time(form) => {
                    let value = rest.next().ok_or(SYNTAX)?;
                    options.set_time(TimeOption::Given(form, value))?;
                }
            }
        }
        Ok(options)
    }

    fn set_condition(&mut self, condition: Condition<'a>) -> Result<(), ErrorText> {
        let agrees = match self.condition {
            Condition::Always => true,
            Condition::IfAbsent | Condition::IfPresent => self.condition == condition,
            Condition::IfEqual(_) | Condition::IfDifferent(_) => false,
        };
        self.condition = condition;
        agrees.then_some(()).ok_or(SYNTAX)
    }

    fn set_time(&mut self, time: TimeOption<'a>) -> Result<(), ErrorText> {
        let agrees = match (self.time, time) {
            (TimeOption::None, _) => true,
            (TimeOption::Given(before, _), TimeOption::Given(now, _)) => before == now,
            (before, now) => before == now,
        };
        self.time = time;
        agrees.then_some(()).ok_or(SYNTAX)
    }
}

/// An option's name.
enum Word {
    Nx,
    Xx,
    Ifeq,
    Ifne,
    Get,
    Keepttl,
    Persist,
    Time(TimeForm),
}

impl Word {
    /// The option that this argument names, in any case.
    fn of(argument: &[u8]) -> Option<Word> {
        let is = |name: &[u8]| argument.eq_ignore_ascii_case(name);
        match argument.len() {
            2 if is(b"EX") => Some(Word::Time(TimeForm::Seconds)),
            2 if is(b"PX") => Some(Word::Time(TimeForm::Milliseconds)),
            2 if is(b"NX") => Some(Word::Nx),
            2 if is(b"XX") => Some(Word::Xx),
            3 if is(b"GET") => Some(Word::Get),
            4 if is(b"EXAT") => Some(Word::Time(TimeForm::UnixSeconds)),
            4 if is(b"PXAT") => Some(Word::Time(TimeForm::UnixMilliseconds)),
            4 if is(b"IFEQ") => Some(Word::Ifeq),
            4 if is(b"IFNE") => Some(Word::Ifne),
            7 if is(b"KEEPTTL") => Some(Word::Keepttl),
            7 if is(b"PERSIST") => Some(Word::Persist),
            _ => None,
        }
    }

    fn is_of(&self, allowed: Allowed) -> bool {
        match self {
            Word::Time(_) => true,
            Word::Nx | Word::Xx | Word::Keepttl => allowed != Allowed::Getex,
            Word::Ifeq | Word::Ifne | Word::Get => allowed == Allowed::Set,
            Word::Persist => allowed == Allowed::Getex,
        }
    }
}

impl TimeForm {
    /// The log time in milliseconds that `argument` names; a time of the past is a valid one.
    ///
    /// # Errors
    /// `NOT_INTEGER`; `invalid`, the command's own text, for a time that is not above zero or beyond
    /// 64 bits of milliseconds since 1970.
    pub fn deadline_ms(
        self,
        ctx: &Context<'_>,
        argument: &[u8],
        invalid: ErrorText,
    ) -> Result<u64, ErrorText> {
        let number = integer(argument)?;
        if number <= 0 {
            return Err(invalid);
        }
        let ms = match self {
            TimeForm::Seconds | TimeForm::UnixSeconds => number.checked_mul(1000),
            TimeForm::Milliseconds | TimeForm::UnixMilliseconds => Some(number),
        };
        let ms = ms.ok_or(invalid)?;
        match self {
            TimeForm::Seconds | TimeForm::Milliseconds => {
                let wall_now_ms = (ctx.now_ms as i64).saturating_add(ctx.wall_offset_ms);
                ms.checked_add(wall_now_ms).ok_or(invalid)?;
                Ok(ctx.now_ms + ms as u64)
            }
            TimeForm::UnixSeconds | TimeForm::UnixMilliseconds => {
                // Before log time began is as past as its beginning.
                Ok(ms.saturating_sub(ctx.wall_offset_ms).max(0) as u64)
            }
        }
    }
}

impl TimeOption<'_> {
    /// What a write makes of it. Without any option an old expiry goes.
    ///
    /// # Errors
    /// As [`TimeForm::deadline_ms`].
    pub fn expiry(&self, ctx: &Context<'_>, invalid: ErrorText) -> Result<Expiry, ErrorText> {
        match self {
            TimeOption::None | TimeOption::Persist => Ok(Expiry::Never),
            TimeOption::Keep => Ok(Expiry::Keep),
            TimeOption::Given(form, argument) => {
                form.deadline_ms(ctx, argument, invalid).map(Expiry::At)
            }
        }
    }
}
