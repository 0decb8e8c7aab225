//! One element from one shard to another (LMOVE, SMOVE and kin): what is asked, and the transaction that is made of the answers.

use super::copies::bulk_of;
use super::gathered::{BROKEN, HalfGather, Ran, What};
use super::over_shards::{error_of, is_null, kind_of};
use super::plan::Plan;
use super::popping::HalfPop;
use super::{Session, Step, Turn};
use crate::group::OpKind;
use crate::shard::Events;
use commands::{Execute, Row};
use resp::{Args, Output, OwnedArgs};
use std::collections::BTreeMap;

/// What Redis says of a key of another type.
const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

/// LMOVE, RPOPLPUSH, SMOVE and kin: questions about the source and the destination, in this order, and the commands by
/// which the element goes.
pub(super) struct Move {
    pub db: u8,
    source: usize,
    destination: usize,
    pub questions: Vec<(usize, OwnedArgs)>,
    /// For lists, how the element is taken and put; SMOVE has its element already.
    list: Option<(&'static [u8], &'static [u8])>,
    /// The keys and, of SMOVE, the element.
    words: OwnedArgs,
}

impl Move {
    /// Its keys and their shards.
    pub fn keys(&self) -> [(usize, &[u8]); 2] {
        let words = self.words.args();
        [
            (self.source, words.get(0)),
            (self.destination, words.get(1)),
        ]
    }
}

impl Session {
    /// What a command moves; none if it is another command.
    pub(super) fn move_of(
        &self,
        turn: Turn<'_>,
        row: &'static Row,
        args: Args<'_>,
    ) -> Option<Move> {
        let is_left = |at: usize| args.get(at).eq_ignore_ascii_case(b"left");
        let list = match row.name {
            "lmove" | "blmove" => Some((is_left(3), is_left(4))),
            "rpoplpush" | "brpoplpush" => Some((false, true)),
            "smove" => None,
            _ => return None,
        };
        let (source, destination) = (args.get(1), args.get(2));
        let places = (turn.node.shard_of(source), turn.node.shard_of(destination));
        let type_of = (places.1, OwnedArgs::from_slices(&[b"TYPE", destination]));
        let about_source = match list {
            Some((from_left, _)) => {
                let at: &[u8] = if from_left { b"0" } else { b"-1" };
                vec![OwnedArgs::from_slices(&[b"LINDEX", source, at])]
            }
            None => vec![
                OwnedArgs::from_slices(&[b"SISMEMBER", source, args.get(3)]),
                OwnedArgs::from_slices(&[b"EXISTS", source]),
            ],
        };
        let about_source = about_source
            .into_iter()
            .map(|question| (places.0, question));
        let element = list.is_none().then(|| args.get(3));
        let words: Vec<&[u8]> = [source, destination].into_iter().chain(element).collect();
        Some(Move {
            db: self.db,
            source: places.0,
            destination: places.1,
            questions: about_source.chain([type_of]).collect(),
            list: list.map(|(from_left, to_left)| {
                let pop: &[u8] = if from_left { b"LPOP" } else { b"RPOP" };
                let push: &[u8] = if to_left { b"LPUSH" } else { b"RPUSH" };
                (pop, push)
            }),
            words: OwnedArgs::from_slices(&words),
        })
    }

    /// Begins to move an element, for `pop` if that waits for one.
    pub(super) fn begin_move(
        &mut self,
        turn: Turn<'_>,
        execute: Execute,
        args: Args<'_>,
        moved: Move,
        pop: Option<Box<HalfPop>>,
        output: &mut Output,
    ) -> Step {
        // What its own function has against the arguments it says of keys that are not there, too.
        let mut nowhere = Output::new();
        let call = self.call(turn, execute, args);
        self.run_nowhere(turn, call, &mut nowhere);
        let nowhere = nowhere.into_bytes();
        let what = What::Move(moved, pop);
        if nowhere.starts_with(b"-") {
            let half = HalfGather::new(turn, what, BTreeMap::new(), None);
            return self.end_gather(turn, half, &nowhere, output);
        }
        self.gather(turn, what, None, output)
    }

    /// The answers to a move's questions came.
    pub(super) fn run_move(&self, moved: &Move, answers: &[Vec<u8>]) -> Ran {
        let (first, kind) = (&answers[0], &answers[answers.len() - 1]);
        if let Some(refusal) = answers.iter().find(|answer| answer.starts_with(b"-")) {
            return Ran::Refused(refusal.clone());
        }
        let is_missing = match moved.list {
            Some(_) => is_null(first),
            None => answers[1] == b":0\r\n",
        };
        if is_missing {
            // Of a set that went between the two questions too.
            return Ran::Nothing(answers[answers.len() - 2].clone());
        }
        let wanted: &[u8] = match moved.list {
            Some(_) => b"+list\r\n",
            None => b"+set\r\n",
        };
        if *kind != wanted && *kind != b"+none\r\n" {
            return Ran::Refused(error_of(WRONG_TYPE));
        }
        if moved.list.is_none() && first == b":0\r\n" {
            return Ran::Nothing(first.clone());
        }
        let mut plan = Plan::default();
        for ((shard, question), answer) in moved.questions.iter().zip(answers) {
            let read = self.operation(OpKind::Read, moved.db, question.args());
            let expect = OwnedArgs::from_slices(&[&read, answer]);
            let expect = self.operation(OpKind::Expect, moved.db, expect.args());
            plan.add_operation(*shard, expect);
        }
        let words = moved.words.args();
        let (source, destination) = (words.get(0), words.get(1));
        let (take, put) = match moved.list {
            Some((pop, push)) => {
                let Some(element) = bulk_of(first) else {
                    return Ran::Refused(error_of(BROKEN));
                };
                (
                    OwnedArgs::from_slices(&[pop, source]),
                    OwnedArgs::from_slices(&[push, destination, element]),
                )
            }
            None => (
                OwnedArgs::from_slices(&[b"SREM", source, words.get(2)]),
                OwnedArgs::from_slices(&[b"SADD", destination, words.get(2)]),
            ),
        };
        for (shard, command) in [(moved.source, take), (moved.destination, put)] {
            let row = commands::check(command.args()).expect("of a row");
            let operation = self.operation(kind_of(row), moved.db, command.args());
            plan.add_operation(shard, operation);
        }
        Ran::Did {
            plan,
            replies: vec![first.clone()],
            events: Events::new(),
        }
    }
}
