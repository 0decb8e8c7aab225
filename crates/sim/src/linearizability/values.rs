//! Numbers for the values of one key and for what an action makes of them.
//!
//! Appends whose outcome is unknown make many values possible, each of them long. So an appended value is kept as the one
//! before it and the action, and two values are told apart by length and two hashes of 64 bits, which go on from
//! the one before. Every pair of an action and a value is run once.

use crate::history::{Action, Answer, State};
use bytes::Bytes;
use std::collections::HashMap;
use xxhash_rust::xxh64::Xxh64;

/// What a value is known by; none where there is no value.
type Mark = Option<(u64, [u64; 2])>;

/// The bytes so far of a value, to be gone on with.
#[derive(Clone)]
struct Digests([Xxh64; 2]);

/// How a value came about.
#[derive(Clone, Copy)]
enum Made<'a> {
    Absent,
    Whole(&'a Bytes),
    /// A sum in decimal digits.
    Sum(i64),
    /// The value before, and what was put at its end.
    Appended(u32, &'a Bytes),
}

/// An [`Answer`] with the number of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Done,
    Value(u32),
    Swapped(bool),
    Number(i64),
    Removed(bool),
    NotANumber,
}

/// An action, and the numbers of the values that it names.
#[derive(Clone, Copy)]
struct Numbered<'a> {
    action: &'a Action,
    /// What it compares with.
    expected: u32,
    /// What it writes.
    value: u32,
}

/// All values that came up, by number.
#[derive(Default)]
pub(super) struct Values<'a> {
    numbers: HashMap<Mark, u32>,
    all: Vec<(Mark, Made<'a>)>,
    action_numbers: HashMap<&'a Action, u32>,
    actions: Vec<Numbered<'a>>,
    runs: HashMap<(u32, u32), (u32, Reply)>,
    /// Of values that came of an append.
    digests: HashMap<u32, Digests>,
}

impl Digests {
    fn of(value: &[u8]) -> Self {
        let mut digests = Digests([0, 1].map(Xxh64::new));
        digests.extend(value);
        digests
    }

    fn extend(&mut self, tail: &[u8]) {
        for digest in &mut self.0 {
            digest.update(tail);
        }
    }

    fn mark(&self, length: u64) -> Mark {
        Some((length, [self.0[0].digest(), self.0[1].digest()]))
    }
}

impl<'a> Values<'a> {
    /// The number of a value.
    pub(super) fn state(&mut self, state: &'a State) -> u32 {
        match state {
            None => self.number(None, Made::Absent),
            Some(value) => self.whole_value(value),
        }
    }

    fn whole_value(&mut self, value: &'a Bytes) -> u32 {
        let mark = Digests::of(value).mark(value.len() as u64);
        self.number(mark, Made::Whole(value))
    }

    fn number(&mut self, mark: Mark, made: Made<'a>) -> u32 {
        let next = self.all.len() as u32;
        let number = *self.numbers.entry(mark).or_insert(next);
        if number == next {
            self.all.push((mark, made));
        }
        number
    }

    /// The number of an action.
    pub(super) fn action(&mut self, action: &'a Action) -> u32 {
        let next = self.actions.len() as u32;
        let number = *self.action_numbers.entry(action).or_insert(next);
        if number == next {
            let absent = self.state(&None);
            let (expected, value) = match action {
                Action::Write(value) => (absent, self.whole_value(value)),
                Action::CompareAndSet { expected, value } => {
                    (self.state(expected), self.whole_value(value))
                }
                Action::Read | Action::Increment(_) | Action::Append(_) | Action::Delete => {
                    (absent, absent)
                }
            };
            self.actions.push(Numbered {
                action,
                expected,
                value,
            });
        }
        number
    }

    /// An answer as [`Values::run`] gives it.
    pub(super) fn reply(&mut self, answer: &'a Answer) -> Reply {
        match answer {
            Answer::Done => Reply::Done,
            Answer::Value(state) => Reply::Value(self.state(state)),
            Answer::Swapped(did) => Reply::Swapped(*did),
            Answer::Number(number) => Reply::Number(*number),
            Answer::Removed(did) => Reply::Removed(*did),
            Answer::NotANumber => Reply::NotANumber,
        }
    }

    /// The bytes of a value.
    pub(super) fn whole(&self, mut state: u32) -> State {
        let mut tails = Vec::new();
        let first = loop {
            match self.all[state as usize].1 {
                Made::Absent if tails.is_empty() => return None,
                Made::Absent => break Bytes::new(),
                Made::Whole(value) => break value.clone(),
                Made::Sum(sum) => break Bytes::from(sum.to_string()),
                Made::Appended(before, tail) => {
                    tails.push(tail);
                    state = before;
                }
            }
        };
        let mut value = first.to_vec();
        for tail in tails.into_iter().rev() {
            value.extend_from_slice(tail);
        }
        Some(Bytes::from(value))
    }

    /// What the key holds after an action, and the reply: [`Action::run`] on numbers.
    pub(super) fn run(&mut self, action: u32, state: u32) -> (u32, Reply) {
        if let Some(&known) = self.runs.get(&(action, state)) {
            return known;
        }
        let mark = self.all[state as usize].0;
        let Numbered {
            action: what,
            expected,
            value,
        } = self.actions[action as usize];
        let ran = match what {
            Action::Read => (state, Reply::Value(state)),
            Action::Write(_) => (value, Reply::Done),
            Action::CompareAndSet { .. } if expected == state => (value, Reply::Swapped(true)),
            Action::CompareAndSet { .. } => (state, Reply::Swapped(false)),
            Action::Increment(_) => self.increment(what, state),
            Action::Append(tail) => {
                let length = mark.map_or(0, |(length, _)| length) + tail.len() as u64;
                let mut digests = self.digests(state);
                digests.extend(tail);
                let after = self.number(digests.mark(length), Made::Appended(state, tail));
                self.digests.insert(after, digests);
                (after, Reply::Number(length as i64))
            }
            Action::Delete => {
                let nothing = self.number(None, Made::Absent);
                (nothing, Reply::Removed(mark.is_some()))
            }
        };
        self.runs.insert((action, state), ran);
        ran
    }

    fn digests(&self, state: u32) -> Digests {
        match self.digests.get(&state) {
            Some(digests) => digests.clone(),
            None => Digests::of(self.whole(state).as_deref().unwrap_or_default()),
        }
    }

    fn increment(&mut self, action: &Action, state: u32) -> (u32, Reply) {
        let (_, answer) = action.run(&self.whole(state));
        match answer {
            Answer::Number(sum) => {
                let digits = sum.to_string();
                let mark = Digests::of(digits.as_bytes()).mark(digits.len() as u64);
                (self.number(mark, Made::Sum(sum)), Reply::Number(sum))
            }
            _ => (state, Reply::NotANumber),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_say_what_the_bytes_say() {
        let text = |text: &'static str| Bytes::from_static(text.as_bytes());
        let actions = [
            Action::Read,
            Action::Write(text("")),
            Action::Write(text("1")),
            Action::Write(text("12")),
            Action::CompareAndSet {
                expected: None,
                value: text("2"),
            },
            Action::CompareAndSet {
                expected: Some(text("11")),
                value: text("x"),
            },
            Action::Increment(1),
            Action::Increment(i64::MAX),
            Action::Append(text("")),
            Action::Append(text("1")),
            Action::Append(text("2")),
            Action::Delete,
        ];
        // Everything that three of them in a row can lead to.
        let mut states: Vec<State> = vec![None];
        for _ in 0..3 {
            let after: Vec<State> = states
                .iter()
                .flat_map(|state| actions.iter().map(|action| action.run(state).0))
                .collect();
            states.extend(after);
        }
        let answers: Vec<Vec<(State, Answer)>> = states
            .iter()
            .map(|state| actions.iter().map(|action| action.run(state)).collect())
            .collect();
        let mut values = Values::default();
        for (state, answers) in states.iter().zip(&answers) {
            let number = values.state(state);
            assert_eq!(&values.whole(number), state);
            for (action, (after, answer)) in actions.iter().zip(answers) {
                let action = values.action(action);
                let (now, reply) = values.run(action, number);
                assert_eq!(&values.whole(now), after);
                assert_eq!(values.state(after), now);
                assert_eq!(values.reply(answer), reply);
            }
        }
    }
}
