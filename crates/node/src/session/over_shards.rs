//! EXEC, LOCK.GUARD and MSETNX whose keys live in several shards of which one has replicas: the session coordinates a transaction
//! (`group/reservations.rs`). Two rounds of messages: all participants reserve, then all finish.
//!
//! ```text
//!   reserving ──all said yes──▶ finishing ──▶ the reply
//!       │  └──another transaction was there first──▶ backing off ──▶ reserving, under a new name
//!       └──a check failed, no memory …──▶ the refusal is the reply
//! ```
//!
//! If the session goes away in between, the leaders of the participants see to the end.

use super::access::{held, lock_all};
use super::gathered::{Gathered, HalfGather, What, is_whole};
use super::hold::Hold;
use super::holes::integer_of;
use super::pending::Pending;
use super::plan::{How, Plan};
use super::window::{Place, places_of};
use super::{Session, Step, Turn};
use crate::group::reservations::{Participant, RESERVE_HEAD_ARGS, TxId, participants_bytes};
use crate::group::transact::{ABORTED, BUSY, RESERVED};
use crate::group::{OpHead, OpKind, Request, encode_op};
use crate::transactions::Outcome;
use commands::context::Touch;
use commands::{Execute, Row};
use resp::{Args, Output, OwnedArgs, Reply, split_array, split_reply};

/// How long a transaction tries to have its keys, us: as long as any other request is waited for.
const PATIENCE_US: u64 = 10_000_000;
/// Time until the second try, us: about what a transaction takes. It doubles with each …
const BACK_OFF_US: u64 = 1_000;
/// … up to this, us.
const BACK_OFF_US_MAX: u64 = 32_000;
/// What the client is told at last.
pub(super) const TOO_BUSY: &str = "TRYAGAIN other transactions have these keys all the time";

/// What the client is told of a transaction that all others have forgotten: this node took very long to ask for its replies.
const LOST: &str = "ERR the transaction was carried out, but its replies are not known any more";

/// A transaction that is under way.
pub(super) struct HalfOver {
    plan: Plan,
    goal: Goal,
    id: TxId,
    participants: Vec<Participant>,
    trying: Trying,
    stage: Stage,
}

/// Since when something is tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trying {
    /// When it was first asked for, ms by the wall clock.
    age_ms: u64,
    since_us: u64,
    tries: u32,
}

impl Trying {
    /// It is asked for now.
    pub fn new(turn: Turn<'_>) -> Trying {
        let wall_ms = turn.now.log_ms as i64 + turn.now.wall_offset_ms;
        Trying {
            age_ms: wall_ms.max(0) as u64,
            since_us: turn.now.monotonic_us,
            tries: 0,
        }
    }

    /// Whether it was tried for long enough.
    pub fn is_over(&self, turn: Turn<'_>) -> bool {
        turn.now.monotonic_us.saturating_sub(self.since_us) > PATIENCE_US
    }

    /// Whether nothing was asked for before.
    pub fn is_first(&self) -> bool {
        self.tries == 0
    }

    /// When to try again, us.
    pub fn back_off_until_us(&self, turn: Turn<'_>) -> u64 {
        let longest_us = (BACK_OFF_US << self.tries.min(10)).min(BACK_OFF_US_MAX);
        let drawn_us = turn.node.host.random() % longest_us;
        turn.now.monotonic_us + longest_us / 2 + drawn_us / 2
    }
}

/// Whose reply it is.
pub(super) enum Goal {
    /// EXEC's, with these commands.
    Exec(Vec<(&'static Row, OwnedArgs)>),
    /// That of the only command.
    Guard,
    /// MSETNX's: 1, or 0 if one of the keys is there.
    Msetnx,
    /// That of what ran on copies of the keys. If a check fails it runs again.
    Gathered(Box<Gathered>),
    /// None: its keys are held for what is gathered.
    Hold(Box<HalfGather>),
}

impl HalfOver {
    /// The pop that this is a try of, if it is one.
    pub fn pop(&self) -> Option<&super::popping::HalfPop> {
        match &self.goal {
            Goal::Gathered(gathered) => gathered.half.pop(),
            Goal::Hold(half) => half.pop(),
            Goal::Exec(_) | Goal::Guard | Goal::Msetnx => None,
        }
    }

    /// What it holds, and for whom.
    pub fn into_hold(self) -> (Trying, Hold, Goal) {
        let hold = Hold::new(self.id, self.participants);
        (self.trying, hold, self.goal)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Reserving,
    BackingOff { until_us: u64 },
    Finishing,
}

impl Session {
    /// Begins a transaction over several shards.
    pub(super) fn begin_over(
        &mut self,
        turn: Turn<'_>,
        plan: Plan,
        goal: Goal,
        output: &mut Output,
    ) -> Step {
        self.begin_over_since(turn, plan, goal, Trying::new(turn), output)
    }

    /// The same for what has been tried before.
    pub(super) fn begin_over_since(
        &mut self,
        turn: Turn<'_>,
        mut plan: Plan,
        goal: Goal,
        trying: Trying,
        output: &mut Output,
    ) -> Step {
        plan.sort();
        let half = HalfOver {
            plan,
            goal,
            id: turn.node.name_transaction(),
            participants: Vec::new(),
            trying,
            stage: Stage::BackingOff { until_us: 0 },
        };
        self.wait_alone(turn, Pending::Over(Box::new(half)), output)
    }

    /// Goes on with a transaction over several shards.
    pub(super) fn go_on_over(
        &mut self,
        turn: Turn<'_>,
        mut half: Box<HalfOver>,
        output: &mut Output,
    ) -> Step {
        loop {
            match half.stage {
                Stage::BackingOff { until_us } if until_us > turn.now.monotonic_us => {
                    self.pending = Some(Pending::Over(half));
                    return Step::Wait {
                        until_us: Some(until_us),
                    };
                }
                Stage::BackingOff { .. } => {
                    if let Err(refusal) = self.reserve_all(turn, &mut half) {
                        return self.refuse_over(turn, *half, &error_of(&refusal), output);
                    }
                }
                Stage::Reserving => {
                    let Some(votes) = self.answers_of(&half.participants) else {
                        self.pending = Some(Pending::Over(half));
                        return Step::Replies;
                    };
                    if votes.iter().all(|vote| vote == RESERVED) {
                        match &mut half.goal {
                            Goal::Hold(_) => return self.has_hold(turn, *half, output),
                            // By now it has taken over whatever was held.
                            Goal::Gathered(gathered) => gathered.half.hold = None,
                            Goal::Exec(_) | Goal::Guard | Goal::Msetnx => {}
                        }
                        let finished = self.finish_all(turn, &mut half);
                        if let (Err(_), Goal::Gathered(_)) = (&finished, &half.goal) {
                            // It is committed, whoever finishes it, and its replies are known.
                            return self.end_over(turn, *half, &[], output);
                        }
                        if let Err(refusal) = finished {
                            return self.refuse_over(turn, *half, &error_of(&refusal), output);
                        }
                        continue;
                    }
                    let is_refusal =
                        |vote: &&Vec<u8>| *vote != RESERVED && *vote != BUSY && *vote != ABORTED;
                    if let Some(refusal) = votes.iter().find(is_refusal) {
                        // Whatever it is: an answer that says nothing of the vote leaves the outcome to those who ask later.
                        if !is_unknown(refusal) {
                            abort_all(turn, &half);
                        }
                        let has_failed = is_null(refusal);
                        return match half.goal {
                            Goal::Msetnx if has_failed => {
                                Reply::new(output, self.protocol).integer(0);
                                Step::Done
                            }
                            Goal::Gathered(gathered) if has_failed => {
                                self.gather_again(turn, gathered.half, half.trying, output)
                            }
                            _ => self.refuse_over(turn, *half, refusal, output),
                        };
                    }
                    abort_all(turn, &half);
                    let trying = half.trying;
                    match half.goal {
                        // What was read is older now than the transaction would be: expiries would be, too.
                        Goal::Gathered(gathered) => {
                            return self.gather_again(turn, gathered.half, trying, output);
                        }
                        Goal::Hold(gather) => {
                            return self.gather_again(turn, gather, trying, output);
                        }
                        Goal::Exec(_) | Goal::Guard | Goal::Msetnx => {}
                    }
                    if half.trying.is_over(turn) {
                        return self.refuse_over(turn, *half, &error_of(TOO_BUSY), output);
                    }
                    half.id = turn.node.name_transaction();
                    half.stage = Stage::BackingOff {
                        until_us: half.trying.back_off_until_us(turn),
                    };
                }
                Stage::Finishing => {
                    let Some(replies) = self.answers_of(&half.participants) else {
                        self.pending = Some(Pending::Over(half));
                        return Step::Replies;
                    };
                    return self.end_over(turn, *half, &replies, output);
                }
            }
        }
    }

    /// Whoever asked for it is told that it was not carried out, or that nobody knows.
    fn refuse_over(
        &mut self,
        turn: Turn<'_>,
        half: HalfOver,
        refusal: &[u8],
        output: &mut Output,
    ) -> Step {
        match half.goal {
            Goal::Gathered(gathered) => {
                return self.end_gather(turn, *gathered.half, refusal, output);
            }
            Goal::Hold(gather) => return self.end_gather(turn, *gather, refusal, output),
            Goal::Exec(_) | Goal::Guard | Goal::Msetnx => {}
        }
        output.tail_mut().extend_from_slice(refusal);
        Step::Done
    }

    /// What the participants answered, in their order, once all did.
    fn answers_of(&mut self, participants: &[Participant]) -> Option<Vec<Vec<u8>>> {
        self.take_answers(participants.len())
    }

    /// Asks all participants to reserve.
    fn reserve_all(&mut self, turn: Turn<'_>, half: &mut HalfOver) -> Result<(), String> {
        let shards: Vec<usize> = half.plan.parts.iter().map(|part| part.shard).collect();
        // All numbers are known before the first is used: each participant is told those of all.
        let mut guards = lock_all(turn.node, &shards);
        half.participants = guards
            .iter()
            .map(|(shard, state)| Participant {
                shard: *shard as u32,
                seq: state.queued_seq() + 1,
            })
            .collect();
        let head: [&[u8]; RESERVE_HEAD_ARGS] = [
            &half.id.bytes(),
            &half.trying.age_ms.to_le_bytes(),
            &participants_bytes(&half.participants),
        ];
        let mut refused = None;
        let mut asked = 0;
        for part in &half.plan.parts {
            let mut args: Vec<&[u8]> = head.to_vec();
            args.extend(part.operations.iter().map(Vec::as_slice));
            let args = OwnedArgs::from_slices(&args);
            let request = Request {
                kind: OpKind::Reserve,
                db: 0,
                flags: self.op_flags(Touch::Yes),
                args: args.args(),
                after: 0,
            };
            let state = held(&mut guards, part.shard);
            if let Err(refusal) = self.queue_on(turn, part.shard, state, request) {
                refused = Some(refusal);
                break;
            }
            asked += 1;
        }
        drop(guards);
        turn.node.request_flush();
        half.trying.tries += 1;
        half.stage = Stage::Reserving;
        match refused {
            None => Ok(()),
            Some(refusal) => {
                self.void_tickets();
                half.participants.truncate(asked);
                abort_all(turn, half);
                Err(refusal)
            }
        }
    }

    /// All said yes: it is committed. Asks them to finish.
    fn finish_all(&mut self, turn: Turn<'_>, half: &mut HalfOver) -> Result<(), String> {
        half.stage = Stage::Finishing;
        let mut asked = Ok(());
        for participant in &half.participants {
            let (_, ticket) = self.open_slot();
            let finished =
                turn.node
                    .finish_at(half.id, *participant, Outcome::Committed, ticket, turn.now);
            // It will be carried out all the same.
            asked = asked.and(finished);
        }
        turn.node.request_flush();
        asked.map_err(|full| {
            self.void_tickets();
            full.to_string()
        })
    }

    /// All participants finished.
    fn end_over(
        &mut self,
        turn: Turn<'_>,
        half: HalfOver,
        replies: &[Vec<u8>],
        output: &mut Output,
    ) -> Step {
        let half = match half.goal {
            Goal::Gathered(gathered) => {
                let have_finished = replies.iter().all(|reply| split_array(reply).is_some());
                if have_finished && replies.len() == half.participants.len() {
                    turn.node.release(half.id, &half.participants);
                }
                // It is committed, and its replies were known before.
                return self.end_gathered(turn, *gathered, output);
            }
            _ => half,
        };
        if let Some(refusal) = replies.iter().find(|reply| reply.starts_with(b"-")) {
            return self.refuse_over(turn, half, refusal, output);
        }
        if replies.iter().any(|reply| split_array(reply).is_none()) {
            return self.refuse_over(turn, half, &error_of(LOST), output);
        }
        turn.node.release(half.id, &half.participants);
        let mut rests: Vec<&[u8]> = replies
            .iter()
            .map(|reply| split_array(reply).unwrap_or_default())
            .collect();
        let commands = match half.goal {
            Goal::Exec(commands) => commands,
            Goal::Msetnx => {
                Reply::new(output, self.protocol).integer(1);
                return Step::Done;
            }
            Goal::Gathered(_) | Goal::Hold(_) => unreachable!("ended above"),
            Goal::Guard => {
                let how = half.plan.replies.first().expect("a guard has a command");
                self.put_together(how, &mut rests, output);
                return Step::Done;
            }
        };
        let mut replies = half.plan.replies.iter();
        self.answer_exec(turn, &commands, output, &mut |session, output| {
            let how = replies.next().expect("one for each command");
            session.put_together(how, &mut rests, output);
        })
    }

    /// Writes a command's reply.
    fn put_together(&self, how: &How, rests: &mut [&[u8]], output: &mut Output) {
        let mut next = |part: usize| {
            let (element, rest) = split_reply(rests[part]).unwrap_or((b"_\r\n", b""));
            rests[part] = rest;
            element
        };
        let parts = match how {
            How::One(part) => return output.tail_mut().extend_from_slice(next(*part)),
            How::Sum(parts) | How::AllOk(parts) | How::Gather { parts, .. } => parts,
        };
        let elements: Vec<&[u8]> = parts.iter().map(|part| next(*part)).collect();
        if let Some(error) = elements.iter().find(|element| element.starts_with(b"-")) {
            return output.tail_mut().extend_from_slice(error);
        }
        let mut reply = Reply::new(output, self.protocol);
        match how {
            How::One(_) => unreachable!("written above"),
            How::Sum(_) => reply.integer(elements.iter().filter_map(|one| integer_of(one)).sum()),
            How::AllOk(_) => reply.ok(),
            How::Gather { order, .. } => {
                reply.array(order.len());
                let mut rests: Vec<&[u8]> = elements
                    .iter()
                    .map(|array| split_array(array).unwrap_or_default())
                    .collect();
                for part in order {
                    let (element, rest) = split_reply(rests[*part]).unwrap_or((b"_\r\n", b""));
                    rests[*part] = rest;
                    output.tail_mut().extend_from_slice(element);
                }
            }
        }
    }

    /// A command that has to be a transaction because its keys live in several shards of which one has replicas; none if it
    /// takes the usual way.
    pub(super) fn run_over(
        &mut self,
        turn: Turn<'_>,
        (row, execute): (&'static Row, Execute),
        args: Args<'_>,
        output: &mut Output,
    ) -> Option<Step> {
        match row.name {
            "lock.guard" => self.guard_over(turn, args, output),
            "msetnx" => self.msetnx_over(turn, (row, execute), args, output),
            _ if is_whole(row) && !row.blocks.is_some_and(|blocks| blocks.waits(args)) => {
                self.gather_command(turn, (row, execute), args, output)
            }
            _ => None,
        }
    }

    /// MSETNX: all keys are looked at, and then set, in one transaction.
    fn msetnx_over(
        &mut self,
        turn: Turn<'_>,
        (row, execute): (&'static Row, Execute),
        args: Args<'_>,
        output: &mut Output,
    ) -> Option<Step> {
        let places = places_of(turn.node, row, args);
        if !is_apart(turn, shards_of(&places)) {
            return None;
        }
        if args.len().is_multiple_of(2) {
            // One that lacks a value is refused by its own function.
            let call = self.call(turn, execute, args);
            self.run_nowhere(turn, call, output);
            return Some(Step::Done);
        }
        if let Some(refusal) = self.lacks_room(turn, row, args) {
            Reply::new(output, self.protocol).error(refusal);
            return Some(Step::Done);
        }
        let mut plan = Plan::default();
        for place in &places {
            let key = args.get(place.position as usize);
            let absent = OwnedArgs::from_slices(&[key, &0_u64.to_le_bytes()]);
            let check = self.operation(OpKind::Check, self.db, absent.args());
            plan.add_operation(place.shard as usize, check);
        }
        let mset = commands::lookup(b"mset").expect("it has a row");
        let mut words: Vec<&[u8]> = args.iter().collect();
        words[0] = b"MSET";
        let set = OwnedArgs::from_slices(&words);
        let encode = |args: Args<'_>| self.operation(OpKind::Write, self.db, args);
        let added = plan.add_command(mset, set.args(), &places, &encode);
        added.expect("MSET can be taken apart");
        Some(self.begin_over(turn, plan, Goal::Msetnx, output))
    }

    fn guard_over(&mut self, turn: Turn<'_>, args: Args<'_>, output: &mut Output) -> Option<Step> {
        let (token, command) = match commands::guard_of(args) {
            Ok(parts) => parts,
            Err(text) => {
                Reply::new(output, self.protocol).error_bytes(&text);
                return Some(Step::Done);
            }
        };
        let row = commands::check(command).ok()?;
        let lock = turn.node.shard_of(args.get(1));
        let places = places_of(turn.node, row, command);
        if !is_apart(turn, shards_of(&places).chain([lock])) {
            return None;
        }
        if let Some(refusal) = self.lacks_room(turn, row, command) {
            Reply::new(output, self.protocol).error(refusal);
            return Some(Step::Done);
        }
        let mut plan = Plan::default();
        let fence = OwnedArgs::from_slices(&[args.get(1), &token.to_le_bytes()]);
        let fence = self.operation(OpKind::Fence, self.db, fence.args());
        plan.add_operation(lock, fence.clone());
        let kind = kind_of(row);
        let encode = |args: Args<'_>| self.operation(kind, self.db, args);
        if plan.add_command(row, command, &places, &encode).is_err() {
            let what = What::Command(row, command.to_owned());
            return Some(self.gather(turn, what, Some((lock, fence)), output));
        }
        Some(self.begin_over(turn, plan, Goal::Guard, output))
    }

    /// An operation of a transaction.
    pub(super) fn operation(&self, kind: OpKind, db: u8, args: Args<'_>) -> Vec<u8> {
        let head = OpHead {
            kind,
            db,
            flags: self.op_flags(self.touch),
            seq: 0,
            after: 0,
        };
        let mut bytes = Vec::new();
        encode_op(&mut bytes, head, args.iter());
        bytes
    }
}

/// Whether there are several shards among these, and one of them has replicas.
pub(super) fn is_apart(turn: Turn<'_>, shards: impl Iterator<Item = usize> + Clone) -> bool {
    let is_grouped = |shard: usize| turn.node.mode(shard) == crate::group::Mode::Grouped;
    let first = shards.clone().next();
    shards.clone().any(|shard| Some(shard) != first) && shards.clone().any(is_grouped)
}

/// The shards of a command's keys.
pub(super) fn shards_of(places: &[Place]) -> impl Iterator<Item = usize> + Clone {
    places.iter().map(|place| place.shard as usize)
}

/// Whether a reply is a null, in either protocol.
pub(super) fn is_null(reply: &[u8]) -> bool {
    matches!(reply, b"$-1\r\n" | b"*-1\r\n" | b"_\r\n")
}

/// An error as a reply.
pub(super) fn error_of(text: &str) -> Vec<u8> {
    format!("-{text}\r\n").into_bytes()
}

/// How a data command is an operation.
pub(super) fn kind_of(row: &Row) -> OpKind {
    match row.flags.has(commands::Flags::WRITE) {
        true => OpKind::Write,
        false => OpKind::Read,
    }
}

/// Whether an answer says nothing of what became of a reserve.
fn is_unknown(vote: &[u8]) -> bool {
    let no_leader = crate::group::QueueFull::NoLeader.to_string();
    vote.strip_prefix(b"-")
        .is_some_and(|text| text.starts_with(no_leader.as_bytes()))
}

/// Somebody said no: whoever said yes may let go. Nobody waits for it; what gets lost they find out by themselves.
fn abort_all(turn: Turn<'_>, half: &HalfOver) {
    for participant in &half.participants {
        let nobody = turn.node.lock(participant.shard as usize).blocked.nobody();
        let _ = turn
            .node
            .finish_at(half.id, *participant, Outcome::Aborted, nobody, turn.now);
    }
    turn.node.request_flush();
}
