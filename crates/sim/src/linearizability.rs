//! Does one register per key explain what clients saw? (Herlihy and Wing, "Linearizability", 1990.)
//!
//! Keys are judged one by one, since linearizability is local. Within a key the search is Lowe's just-in-time
//! linearization ("Testing for linearizability", 2016): walk through calls and answers in order of time and keep every
//! *configuration* that the answers so far allow: the value, and which of the operations under way have taken effect.
//! Only an answer forces a choice: then each configuration puts operations under way into effect until the answered one
//! has. No configuration left means that no order explains the history.
//!
//! What keeps the number of configurations small:
//! - an operation under way that only looked, and saw what is there now, takes effect at once; that never hurts;
//! - operations of unknown outcome are never forced; equal ones are counted, not told apart;
//! - of two configurations that differ only in how many of the unknown took effect, the one that used fewer stays.

use crate::history::{Action, Answer, Operation, Outcome, State};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, VecDeque};
use values::{Reply, Values};

mod values;

/// Answered operations of one key that may be under way at once.
pub const UNDER_WAY_MAX: usize = 128;
/// Configurations that one answer may lead to before the search gives up.
pub const CONFIGURATIONS_MAX: usize = 50_000;
/// Longest window that is looked for when an offending history is made short.
const WINDOW_OPERATIONS_MAX: usize = 64;
/// Operations that are shown when no short window shows the fault by itself.
const SHOWN_MAX: usize = 12;

/// What the checker says of a whole history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// An order exists for every key.
    Linearizable,
    /// No order exists for this key.
    Violation(Box<Violation>),
    /// The search for this key was given up: too much is possible at once.
    Undecided {
        /// The key.
        key: Bytes,
    },
}

/// Proof that no order exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Of which key.
    pub key: Bytes,
    /// The shortest run of operations, in order of call, that was found to have no order.
    pub window: Vec<Operation>,
    /// Whether the window has no order whatever the value before it was; else it needs what came before.
    pub stands_alone: bool,
    /// The last answer, which no configuration allows.
    pub refuted: Operation,
    /// Values that the key may have had before it, some of them.
    pub possible: Vec<State>,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "key {:?}: no order explains", self.key)?;
        for operation in &self.window {
            writeln!(f, "  {operation}")?;
        }
        writeln!(f, "no order allows the answer of {}", self.refuted)?;
        let before = if self.stands_alone {
            "whatever came before"
        } else {
            "given what came before"
        };
        write!(f, "{before}; the value could be {:?}", self.possible)
    }
}

/// Judges a history. Keys in order; the first that fails is reported.
pub fn check(history: &[Operation]) -> Verdict {
    check_within(history, CONFIGURATIONS_MAX)
}

/// The same, with another bound than [`CONFIGURATIONS_MAX`] on how far a key is searched before it is given up. A key
/// that is given up hides no violation of another.
pub fn check_within(history: &[Operation], configurations_max: usize) -> Verdict {
    let mut given_up = None;
    let mut keys: BTreeMap<&Bytes, Vec<&Operation>> = BTreeMap::new();
    for operation in history {
        keys.entry(&operation.key).or_default().push(operation);
    }
    for (key, mut operations) in keys {
        operations.sort_by_key(|operation| operation.call_us);
        match search(&operations, &[None], configurations_max) {
            Ok(()) => {}
            Err(Stop::TooMany) => {
                given_up.get_or_insert(key);
            }
            Err(Stop::Refuted {
                operation,
                possible,
            }) => {
                let violation = shorten(key, &operations, operation, possible);
                return Verdict::Violation(Box::new(violation));
            }
        }
    }
    match given_up {
        Some(key) => Verdict::Undecided { key: key.clone() },
        None => Verdict::Linearizable,
    }
}

/// Why a search ended without an order.
enum Stop {
    /// No configuration allows this operation's answer.
    Refuted {
        operation: usize,
        possible: Vec<State>,
    },
    TooMany,
}

/// What may be the case between two events.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Configuration {
    /// The value: a number of [`Values`].
    state: u32,
    /// Which answered operations under way have taken effect, a bit per place.
    done: u128,
    /// How many of each kind of unknown operation have taken effect; ends where only zeros follow.
    used: Vec<u16>,
}

/// An answered operation.
#[derive(Clone, Copy)]
struct Answered {
    action: u32,
    reply: Reply,
    /// Whether it took no effect, by its answer.
    is_passive: bool,
}

/// What is under way between two events.
#[derive(Default)]
struct UnderWay<'a> {
    values: Values<'a>,
    /// Answered operations by place: a bit of `Configuration::done`.
    places: Vec<Option<Answered>>,
    /// Kinds of operations of unknown outcome, and how many of each have been called.
    unknown: Vec<(u32, u16)>,
}

/// Walks the events of one key's operations, which are in order of call.
fn search<'a>(
    operations: &[&'a Operation],
    start: &'a [State],
    configurations_max: usize,
) -> Result<(), Stop> {
    // At one time calls go before answers: what only touches counts as concurrent.
    let mut events: Vec<(u64, bool, usize)> = Vec::with_capacity(operations.len() * 2);
    for (number, operation) in operations.iter().enumerate() {
        events.push((operation.call_us, false, number));
        events.extend(operation.return_us().map(|at| (at, true, number)));
    }
    events.sort_unstable();
    let mut under_way = UnderWay::default();
    let mut place_of = vec![usize::MAX; operations.len()];
    let mut frontier: Vec<Configuration> = start
        .iter()
        .map(|state| Configuration {
            state: under_way.values.state(state),
            done: 0,
            used: Vec::new(),
        })
        .collect();
    for (_, is_answer, number) in events {
        let operation = operations[number];
        if is_answer {
            let place = place_of[number];
            let next = under_way.settle_answer(&frontier, place, configurations_max)?;
            if next.is_empty() {
                let values = &under_way.values;
                let possible = frontier.iter().map(|c| values.whole(c.state));
                let mut possible: Vec<State> = possible.collect();
                possible.sort();
                possible.dedup();
                possible.truncate(SHOWN_MAX);
                return Err(Stop::Refuted {
                    operation: number,
                    possible,
                });
            }
            under_way.places[place] = None;
            frontier = next;
        } else {
            match &operation.outcome {
                Outcome::Unknown => under_way.call_unknown(&operation.action),
                Outcome::Answered { answer, .. } => {
                    let place = under_way.call_answered(&operation.action, answer)?;
                    place_of[number] = place;
                    for configuration in &mut frontier {
                        under_way.take_passive(configuration, place);
                    }
                }
            }
        }
    }
    Ok(())
}

impl<'a> UnderWay<'a> {
    fn call_answered(&mut self, action: &'a Action, answer: &'a Answer) -> Result<usize, Stop> {
        let free = self.places.iter().position(Option::is_none);
        let place = free.unwrap_or(self.places.len());
        if place == UNDER_WAY_MAX {
            return Err(Stop::TooMany);
        }
        if place == self.places.len() {
            self.places.push(None);
        }
        self.places[place] = Some(Answered {
            action: self.values.action(action),
            reply: self.values.reply(answer),
            is_passive: changes_nothing(answer),
        });
        Ok(place)
    }

    fn call_unknown(&mut self, action: &'a Action) {
        if action.is_read() {
            return;
        }
        let action = self.values.action(action);
        match self.unknown.iter_mut().find(|(kind, _)| *kind == action) {
            Some((_, called)) => *called = called.saturating_add(1),
            None => self.unknown.push((action, 1)),
        }
    }

    /// Puts what is at `place` into effect if it fits the value and leaves it as it is.
    fn take_passive(&mut self, configuration: &mut Configuration, place: usize) {
        if let Some(answered) = self.places[place]
            && answered.is_passive
            && configuration.done & (1 << place) == 0
            && self.values.run(answered.action, configuration.state).1 == answered.reply
        {
            configuration.done |= 1 << place;
        }
    }

    /// All configurations after the answer of the operation at `place`, which has then left its place.
    fn settle_answer(
        &mut self,
        frontier: &[Configuration],
        place: usize,
        configurations_max: usize,
    ) -> Result<Vec<Configuration>, Stop> {
        let bit = 1u128 << place;
        let mut seen = Least::default();
        let mut settled = Least::default();
        let mut queue: VecDeque<Configuration> = VecDeque::new();
        for configuration in frontier {
            if seen.insert(configuration) {
                queue.push_back(configuration.clone());
            }
        }
        // First in, first out: a configuration that used less of the unknown comes before those that it makes needless.
        while let Some(configuration) = queue.pop_front() {
            if configuration.done & bit != 0 {
                let mut after = configuration;
                after.done &= !bit;
                settled.insert(&after);
                continue;
            }
            for mut next in self.followers(&configuration) {
                for place in 0..self.places.len() {
                    self.take_passive(&mut next, place);
                }
                if seen.insert(&next) {
                    queue.push_back(next);
                }
            }
            if seen.count > configurations_max {
                return Err(Stop::TooMany);
            }
        }
        Ok(settled.into_configurations())
    }

    /// The configurations that one more operation leads to.
    fn followers(&mut self, configuration: &Configuration) -> Vec<Configuration> {
        let mut found = Vec::new();
        for (place, under_way) in self.places.iter().enumerate() {
            let Some(answered) = under_way else {
                continue;
            };
            if configuration.done & (1 << place) != 0 {
                continue;
            }
            let (state, would) = self.values.run(answered.action, configuration.state);
            if would == answered.reply {
                found.push(Configuration {
                    state,
                    done: configuration.done | (1 << place),
                    used: configuration.used.clone(),
                });
            }
        }
        for (kind, (action, called)) in self.unknown.iter().enumerate() {
            if configuration.used.get(kind).copied().unwrap_or(0) == *called {
                continue;
            }
            let (state, _) = self.values.run(*action, configuration.state);
            if state == configuration.state {
                continue;
            }
            let mut used = configuration.used.clone();
            if used.len() <= kind {
                used.resize(kind + 1, 0);
            }
            used[kind] += 1;
            found.push(Configuration {
                state,
                done: configuration.done,
                used,
            });
        }
        found
    }
}

/// Whether what was answered so took no effect. (A write of the value that is there already is not meant: it may be
/// needed later, to bring that value back.)
fn changes_nothing(answer: &Answer) -> bool {
    match answer {
        Answer::Value(_) | Answer::NotANumber => true,
        Answer::Swapped(did) | Answer::Removed(did) => !did,
        Answer::Done | Answer::Number(_) => false,
    }
}

/// Configurations of which none makes another needless.
#[derive(Default)]
struct Least {
    used_by: HashMap<(u32, u128), Vec<Vec<u16>>>,
    /// In order of coming, so that a run does not hang on the order of a hash map.
    order: Vec<(u32, u128)>,
    count: usize,
}

impl Least {
    /// Whether it is new and nothing makes it needless.
    fn insert(&mut self, configuration: &Configuration) -> bool {
        let key = (configuration.state, configuration.done);
        let all = self.used_by.entry(key).or_default();
        if all
            .iter()
            .any(|used| uses_no_more(used, &configuration.used))
        {
            return false;
        }
        if all.is_empty() {
            self.order.push(key);
        }
        all.retain(|used| !uses_no_more(&configuration.used, used));
        all.push(configuration.used.clone());
        self.count += 1;
        true
    }

    fn into_configurations(mut self) -> Vec<Configuration> {
        let mut all = Vec::new();
        for key in &self.order {
            for used in self.used_by.remove(key).unwrap_or_default() {
                all.push(Configuration {
                    state: key.0,
                    done: key.1,
                    used,
                });
            }
        }
        all
    }
}

fn uses_no_more(left: &[u16], right: &[u16]) -> bool {
    left.iter()
        .enumerate()
        .all(|(kind, &count)| count <= right.get(kind).copied().unwrap_or(0))
}

/// The shortest run of operations ending with the refuted one that has no order whatever the value before it was.
fn shorten(
    key: &Bytes,
    operations: &[&Operation],
    refuted: usize,
    possible: Vec<State>,
) -> Violation {
    let end_us = operations[refuted]
        .return_us()
        .expect("only answers are refuted");
    let until_end: Vec<&Operation> = operations
        .iter()
        .copied()
        .filter(|operation| operation.call_us <= end_us)
        .collect();
    let violation = |window: Vec<&Operation>, stands_alone| Violation {
        key: key.clone(),
        window: window.into_iter().cloned().collect(),
        stands_alone,
        refuted: operations[refuted].clone(),
        possible: possible.clone(),
    };
    if let Some(starts) = all_states(&until_end) {
        for length in 1..=WINDOW_OPERATIONS_MAX.min(until_end.len()) {
            let window = until_end[until_end.len() - length..].to_vec();
            // Whatever was called before the window and of unknown outcome may strike within it.
            let mut judged: Vec<&Operation> = until_end[..until_end.len() - length]
                .iter()
                .copied()
                .filter(|operation| {
                    operation
                        .return_us()
                        .is_none_or(|at| at >= window[0].call_us)
                })
                .collect();
            judged.extend(&window);
            if let Err(Stop::Refuted { .. }) = search(&judged, &starts, CONFIGURATIONS_MAX) {
                return violation(window, true);
            }
        }
    }
    let shown = until_end.len().saturating_sub(SHOWN_MAX);
    violation(until_end[shown..].to_vec(), false)
}

/// Every value that the key can have; none where sums and ends put together make too many.
fn all_states(operations: &[&Operation]) -> Option<Vec<State>> {
    let mut states = vec![None];
    for operation in operations {
        match &operation.action {
            Action::Read | Action::Delete => {}
            Action::Write(value) | Action::CompareAndSet { value, .. } => {
                states.push(Some(value.clone()));
            }
            Action::Increment(_) | Action::Append(_) => return None,
        }
    }
    states.sort();
    states.dedup();
    Some(states)
}

#[cfg(test)]
mod tests;
