//! A step of a walk over a shard whose keys are on another node: the question as arguments, the answer as a reply.
//!
//! ```text
//! question:  position  steps  filters  pattern  type       filters: 1 there is a pattern + 2 there is a type + 4 locks alone
//! answer:    array of  position to go on at (-1 = end of the shard), entries seen, keys found …
//! ```
//!
//! Both are of one version of Torc; a question or an answer of no such form is refused.

use super::{Filter, Keys, STEPS_MAX, Visit, Walk, visit};
use cache::Cache;
use resp::{Args, Reply, parse_i64, parse_u64, split_array, split_reply};
use std::borrow::Cow;

/// How many arguments a question has.
const ARGUMENTS: usize = 5;
const PATTERN: u64 = 1;
const TYPE: u64 = 2;
const LOCKS: u64 = 4;

/// The arguments of a question about one step.
pub struct Question {
    arguments: [Vec<u8>; ARGUMENTS],
}

impl Question {
    /// The arguments in order.
    pub fn into_arguments(self) -> Vec<Vec<u8>> {
        self.arguments.into()
    }
}

impl Walk<'_> {
    /// What to ask whoever has [`Walk::shard`]'s keys, in the walk's database.
    pub fn question(&self) -> Question {
        let number = |number: u64| itoa::Buffer::new().format(number).as_bytes().to_vec();
        let text = |text: &Option<Cow<'_, [u8]>>| text.as_deref().unwrap_or_default().to_vec();
        let Filter {
            pattern,
            type_name,
            is_lock,
        } = &self.filter;
        let filters = u64::from(pattern.is_some()) * PATTERN
            + u64::from(type_name.is_some()) * TYPE
            + u64::from(*is_lock) * LOCKS;
        Question {
            arguments: [
                number(u64::from(self.cursor.position)),
                number(self.steps_max() as u64),
                number(filters),
                text(pattern),
                text(type_name),
            ],
        }
    }

    /// Takes the step that `reply` tells of. Whether it was one: if not, nothing is changed.
    pub fn take_answer(&mut self, reply: &[u8]) -> bool {
        let Some((visit, keys)) = read_answer(reply) else {
            return false;
        };
        let steps_max = self.steps_max();
        keys.iter().for_each(|key| self.found.push(key));
        self.advance(visit, steps_max);
        true
    }
}

/// Answers a question about keys of `db` that are in `cache`.
pub fn answer_step(cache: &Cache, db: u8, args: Args<'_>, reply: &mut Reply<'_>) {
    let number = |i: usize| parse_u64(args.get(i));
    let parts = (args.len() == ARGUMENTS).then(|| (number(0), number(1), number(2)));
    let Some((Some(position), Some(steps), Some(filters))) = parts else {
        return reply.error("ERR no question about a walk");
    };
    let given = |flag: u64, i: usize| (filters & flag != 0).then(|| Cow::Borrowed(args.get(i)));
    let filter = Filter {
        pattern: given(PATTERN, 3),
        type_name: given(TYPE, 4),
        is_lock: filters & LOCKS != 0,
    };
    let steps_max = (steps as usize).clamp(1, STEPS_MAX);
    let mut found = Keys::default();
    let visit = visit(cache, db, position as u32, steps_max, &filter, &mut found);
    reply.array(2 + found.len());
    reply.integer(visit.next.map_or(-1, i64::from));
    reply.integer(visit.seen as i64);
    found.iter().for_each(|key| reply.bulk(key));
}

fn read_answer(reply: &[u8]) -> Option<(Visit, Keys)> {
    let integer = |rest: &mut &[u8]| {
        let (first, after) = split_reply(rest)?;
        *rest = after;
        parse_i64(first.strip_prefix(b":")?.strip_suffix(b"\r\n")?)
    };
    let mut rest = split_array(reply)?;
    let next = match integer(&mut rest)? {
        -1 => None,
        position => Some(u32::try_from(position).ok()?),
    };
    let seen = usize::try_from(integer(&mut rest)?).ok()?;
    let mut keys = Keys::default();
    while !rest.is_empty() {
        let (bulk, after) = split_reply(rest)?;
        let line_end = bulk.iter().position(|byte| *byte == b'\n')?;
        keys.push(bulk[line_end + 1..].strip_suffix(b"\r\n")?);
        rest = after;
    }
    Some((Visit { next, seen }, keys))
}
