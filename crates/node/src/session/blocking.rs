//! Requests that may be answered much later: they wait at their key's shard for something to happen ([`crate::blocked`]).
//! Today that is LOCK.ACQUIRE with WAIT. A connection waits for one of them at a time, and nothing behind it runs.
//!
//! ```text
//!   slot 0: the reply, or that the request was queued ── queued ──┐
//!   slot 1: what came of it ───────────────────────────────────── ┼─▶ the client's reply
//!   slot 2: what the log says of a request that is withdrawn ──── ┘   (its time is over, or a leader says that it does
//!                                                                      not wait any more)
//! ```
//!
//! CLIENT UNBLOCK ends one that stands in a queue, at once: what it may have been granted meanwhile is given back.
//!
//! What hangs on the connection (SESSION) is remembered here, and ended when the connection is.

use super::holes::integer_of;
use super::{Pending, Session, Step, Turn};
use crate::blocked::{SETTLED, Waiting};
use crate::client::Unblock;
use crate::group::{LockWord, Mode, OpKind, Request, Verb};
use crate::node::Node;
use crate::shard::Events;
use bytes::Bytes;
use commands::lock::WAITING;
use commands::{Execute, Patience, Row};
use resp::{Args, Output, Reply};

/// Locks that may hang on one connection. More are refused.
const SESSION_LOCKS_MAX: usize = 16_384;
const TOO_MANY: &str = "ERR too many locks hang on this connection";
/// As long as there are fewer, none of them is looked at.
const LOOKED_MIN: usize = 64;
/// Least time between two looks of a connection that has as many as may be, us.
const LOOK_AGAIN_US: u64 = 100_000;
/// What CLIENT UNBLOCK ERROR makes of a request.
const UNBLOCKED: &str = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
/// A request left the queue though its time was not over.
const LOST: &str = "UNBLOCKED the shard heard nothing of this node for too long and dropped its requests, please try again";
/// What begins the refusal of a request whose fate is not known.
const NO_LEADER: &[u8] = b"-CLUSTERDOWN";

/// Slots of a request that waits, behind that of its reply: what came of it, and what the log says of its withdrawal.
const OUTCOME: u32 = 1;
const WITHDRAWN: u32 = 2;

/// A request that waits.
pub(super) struct HalfBlocked {
    row: &'static Row,
    shard: usize,
    db: u8,
    key: Bytes,
    /// Its number at the shard.
    number: u64,
    aim: Aim,
    /// When its time is over, us; none = never.
    until_us: Option<u64>,
    /// When it was asked, us.
    asked_us: u64,
    stage: Stage,
}

/// What a request is to come to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Aim {
    /// Something that is its client's as long as it is.
    Plain,
    /// Something that hangs on the connection: a lock, by its owner's name.
    Session(Box<[u8]>),
    /// The end of such a one.
    Release(Box<[u8]>),
}

/// How far it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The shard has not said yet what it makes of it.
    Asked,
    /// It stands in a queue.
    Queued,
    /// It is being withdrawn.
    Leaving(Why),
}

/// Why a request is withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// Its time is over: then null is its reply.
    Late,
    /// The leader said that it does not wait any more.
    Settled,
}

/// The locks that hang on the connection, or did so when they were last looked at.
#[derive(Debug, Default)]
pub(super) struct SessionLocks {
    locks: Vec<SessionLock>,
    /// How many there were when they were last looked at.
    looked_count: usize,
    /// When that was because there was no room, us.
    looked_us: u64,
}

/// A lock that hangs on the connection.
#[derive(Debug)]
struct SessionLock {
    shard: usize,
    db: u8,
    key: Bytes,
    owner: Box<[u8]>,
    number: u64,
}

impl SessionLocks {
    pub fn is_empty(&self) -> bool {
        self.locks.is_empty()
    }

    /// One more. Those that ended by their time or by others are forgotten whenever there are twice as many as after the
    /// last look, so that what a look costs does not count.
    fn push(&mut self, lock: SessionLock, node: &Node) {
        if self.locks.len() >= LOOKED_MIN.max(2 * self.looked_count) {
            self.forget_ended(node);
        }
        self.locks.push(lock);
    }

    fn forget_ended(&mut self, node: &Node) {
        self.locks
            .retain(|lock| node.lock(lock.shard).blocked.is_bound(lock.number));
        self.looked_count = self.locks.len();
    }

    /// Whether there is no room for one more.
    fn is_full(&mut self, node: &Node, now_us: u64) -> bool {
        let is_due = now_us >= self.looked_us + LOOK_AGAIN_US;
        if self.locks.len() >= SESSION_LOCKS_MAX && is_due {
            self.looked_us = now_us;
            self.forget_ended(node);
        }
        self.locks.len() >= SESSION_LOCKS_MAX
    }
}

impl Session {
    /// Whether a request has to take the way of those that may wait: returns what it wants.
    pub(super) fn patience_of(&self, row: &'static Row, args: Args<'_>) -> Option<Patience> {
        if let Some(patience) = row.patience {
            return patience(args);
        }
        // Its outcome is of interest here.
        let is_release = !self.session_locks.is_empty() && row.name == "lock.release";
        let is_its = |lock: &SessionLock| {
            lock.db == self.db && lock.key == args.get(1) && *lock.owner == *args.get(2)
        };
        (is_release && self.session_locks.locks.iter().any(is_its)).then_some(Patience {
            wait_ms: None,
            is_session: false,
        })
    }

    /// Runs a request of one key that may wait.
    pub(super) fn run_patiently(
        &mut self,
        turn: Turn<'_>,
        row: &'static Row,
        execute: Execute,
        args: Args<'_>,
        patience: Patience,
        output: &mut Output,
    ) -> Step {
        let node = turn.node;
        let shard = node.shard_of(args.get(1));
        let lacks_room = self.lacks_room(turn, row, args);
        let is_one_too_many =
            patience.is_session && self.session_locks.is_full(node, turn.now.monotonic_us);
        let refusal = lacks_room
            .filter(|_| node.judges_room(shard))
            .or(is_one_too_many.then_some(TOO_MANY));
        if let Some(refusal) = refusal {
            Reply::new(output, self.protocol).error(refusal);
            return Step::Done;
        }
        let owner = || Box::from(args.get(2));
        let mut half = HalfBlocked {
            row,
            shard,
            db: self.db,
            key: Bytes::copy_from_slice(args.get(1)),
            number: 0,
            aim: match (patience.is_session, row.patience) {
                (true, _) => Aim::Session(owner()),
                (false, Some(_)) => Aim::Plain,
                (false, None) => Aim::Release(owner()),
            },
            until_us: patience
                .wait_ms
                .filter(|ms| *ms > 0)
                .map(|ms| turn.now.monotonic_us + ms * 1000),
            asked_us: turn.now.monotonic_us,
            stage: Stage::Asked,
        };
        match self.ask_patiently(turn, execute, args, &mut half) {
            Ok(()) => self.wait_alone(turn, Pending::Blocked(Box::new(half)), output),
            Err(refusal) => {
                self.void_tickets();
                Reply::new(output, self.protocol).error(&refusal);
                Step::Done
            }
        }
    }

    /// Hands the request to its shard; the reply comes to slot 0, what comes of it later to slot 1.
    fn ask_patiently(
        &mut self,
        turn: Turn<'_>,
        execute: Execute,
        args: Args<'_>,
        half: &mut HalfBlocked,
    ) -> Result<(), String> {
        let node = turn.node;
        let mut state = node.lock(half.shard);
        let mut told = (Events::new(), Vec::new());
        half.number = match state.mode() {
            Mode::Grouped => {
                let request = Request {
                    kind: OpKind::Write,
                    db: self.db,
                    flags: self.op_flags(self.touch),
                    args,
                    after: 0,
                };
                self.queue_on(turn, half.shard, &mut state, request)?;
                state.queued_seq()
            }
            Mode::Solo => {
                let call = self.call(turn, execute, args);
                let mut reply_bytes = Output::new();
                let mut reply = Reply::new(&mut reply_bytes, self.protocol);
                let (events, number) = state.commit_request(call, &mut reply);
                state.settle(&node.budget);
                told = (events, state.take_changes());
                let (_, ticket) = self.open_slot();
                ticket.fill_shared(reply_bytes.into_bytes());
                // Time may change something about the lock, and nobody else looks at this shard.
                node.cluster.set_wake_us(half.shard, 0);
                number
            }
        };
        if !matches!(half.aim, Aim::Release(_)) {
            let (slot, ticket) = self.open_slot();
            assert_eq!(slot, OUTCOME, "who waits alone has the first slots");
            let waiting = Waiting {
                db: half.db,
                key: half.key.clone(),
                ticket,
                client: self.client.clone(),
                is_session: matches!(half.aim, Aim::Session(_)),
                is_queued: false,
                asked_us: half.asked_us,
            };
            state.blocked.wait(half.number, waiting);
        }
        drop(state);
        let (events, changes) = told;
        if !events.is_empty() || !changes.is_empty() {
            self.announce(turn, events, changes);
        }
        Ok(())
    }

    /// Goes on with a request that waits.
    pub(super) fn go_on_blocked(
        &mut self,
        turn: Turn<'_>,
        mut half: Box<HalfBlocked>,
        output: &mut Output,
    ) -> Step {
        loop {
            let [reply, outcome, withdrawn] = self.client.slots().await_next();
            let now_us = turn.now.monotonic_us;
            match half.stage {
                Stage::Asked => match reply {
                    None => {
                        self.pending = Some(Pending::Blocked(half));
                        return Step::Replies;
                    }
                    Some(reply) if is_marker(&reply) => {
                        let mut state = turn.node.lock(half.shard);
                        state.blocked.note_queued(half.number);
                        drop(state);
                        half.stage = Stage::Queued;
                        self.client.begin_block();
                    }
                    Some(reply) => {
                        let is_unknown = reply.starts_with(NO_LEADER);
                        return self.end_block(turn, *half, &reply, is_unknown, output);
                    }
                },
                Stage::Queued => {
                    let is_late = half.until_us.is_some_and(|until| until <= now_us);
                    let unblocked = match is_late || outcome.is_some() {
                        true => self.client.end_block(),
                        false => self.client.take_unblock(),
                    };
                    if let Some(how) = unblocked {
                        return self.end_unblocked(turn, *half, how, output);
                    }
                    let why = match outcome {
                        Some(outcome) if outcome != SETTLED => {
                            return self.end_block(turn, *half, &outcome, false, output);
                        }
                        Some(_) => Some(Why::Settled),
                        None => is_late.then_some(Why::Late),
                    };
                    let Some(why) = why else {
                        let until_us = half.until_us;
                        self.pending = Some(Pending::Blocked(half));
                        return Step::Blocked { until_us };
                    };
                    half.stage = Stage::Leaving(why);
                    self.say(turn, &half, Verb::Withdraw);
                }
                Stage::Leaving(why) => {
                    if let Some(outcome) = outcome.filter(|outcome| outcome != SETTLED) {
                        return self.end_block(turn, *half, &outcome, false, output);
                    }
                    let Some(withdrawn) = withdrawn else {
                        self.pending = Some(Pending::Blocked(half));
                        return Step::Replies;
                    };
                    if integer_of(&withdrawn).is_some() {
                        return self.end_block(turn, *half, &withdrawn, false, output);
                    }
                    if withdrawn.starts_with(b"-") {
                        return self.end_block(turn, *half, &withdrawn, true, output);
                    }
                    let is_late = half.until_us.is_some_and(|until| until <= now_us);
                    let mut bytes = Output::new();
                    let mut answer = Reply::new(&mut bytes, self.protocol);
                    match why {
                        Why::Settled if !is_late => answer.error(LOST),
                        Why::Late | Why::Settled => answer.null(),
                    }
                    let answer = bytes.into_bytes();
                    return self.end_block(turn, *half, &answer, false, output);
                }
            }
        }
    }

    /// The request ends as CLIENT UNBLOCK said, whether or not it was granted something in the meantime: it does not want it.
    fn end_unblocked(
        &mut self,
        turn: Turn<'_>,
        half: HalfBlocked,
        how: Unblock,
        output: &mut Output,
    ) -> Step {
        let mut bytes = Output::new();
        let mut answer = Reply::new(&mut bytes, self.protocol);
        match how {
            Unblock::Timeout => answer.null(),
            Unblock::Error => answer.error(UNBLOCKED),
        }
        // Said before whatever the client asks for next.
        let word = half.word(Verb::Abandon, 0);
        let mut state = turn.node.lock(half.shard);
        let nobody = state.blocked.nobody();
        if state.say_word(&word, nobody, turn.now).is_err() {
            state.blocked.owe(word);
        }
        state.settle(&turn.node.budget);
        drop(state);
        turn.node.mark_dirty(half.shard);
        turn.node.request_flush();
        self.end_block(turn, half, &bytes.into_bytes(), false, output)
    }

    /// Says something of the request through its shard's log; the answer comes to slot 2.
    fn say(&mut self, turn: Turn<'_>, half: &HalfBlocked, verb: Verb) {
        let (slot, ticket) = self.open_slot();
        assert_eq!(slot, WITHDRAWN, "it is said once");
        let word = half.word(verb, 0);
        let mut state = turn.node.lock(half.shard);
        if let Err(full) = state.say_word(&word, ticket.clone(), turn.now) {
            ticket.fill(format!("-{full}\r\n").as_bytes());
        }
        drop(state);
        turn.node.mark_dirty(half.shard);
        turn.node.request_flush();
    }

    /// The client is answered.
    fn end_block(
        &mut self,
        turn: Turn<'_>,
        half: HalfBlocked,
        reply: &[u8],
        is_unknown: bool,
        output: &mut Output,
    ) -> Step {
        let mut state = turn.node.lock(half.shard);
        state.blocked.forget(half.number);
        let integer = integer_of(reply);
        let mut bound = None;
        match (&half.aim, integer) {
            (Aim::Session(owner), Some(_)) => {
                let (key, client) = (half.key.clone(), self.client.clone());
                state
                    .blocked
                    .bind(half.number, half.db, key, client, half.asked_us);
                bound = Some(SessionLock {
                    shard: half.shard,
                    db: half.db,
                    key: half.key.clone(),
                    owner: owner.clone(),
                    number: half.number,
                });
            }
            (Aim::Release(owner), Some(1)) => {
                let is_its = |lock: &SessionLock| {
                    lock.db == half.db && lock.key == half.key && lock.owner == *owner
                };
                let locks = &mut self.session_locks.locks;
                if let Some(at) = locks.iter().position(is_its) {
                    let lock = locks.swap_remove(at);
                    state.blocked.unbind(lock.number);
                }
            }
            // It may have been granted since the answer was made up.
            (Aim::Session(_), None) => state.blocked.unbind(half.number),
            (Aim::Plain | Aim::Release(_), _) => {}
        }
        if is_unknown && !matches!(half.aim, Aim::Release(_)) {
            // Nobody waits for what the log makes of it.
            state.blocked.owe(half.word(Verb::Abandon, 0));
        }
        drop(state);
        if let Some(lock) = bound {
            self.session_locks.push(lock, turn.node);
        }
        turn.node.cluster.set_wake_us(half.shard, 0);
        self.void_tickets();
        output.tail_mut().extend_from_slice(reply);
        if reply.starts_with(b"-") {
            turn.node.stats.failed(self.client.id, half.row.id());
            turn.node.stats.error(&reply[1..]);
        }
        Step::Done
    }

    /// The connection is over: what it waited for it does not want any more, and what hung on it ends.
    pub(super) fn leave_blocked(&mut self, node: &Node) {
        let delay_ms = node.settings.load().lock_delay_ms;
        let mut words: Vec<(usize, LockWord)> = Vec::new();
        if let Some(half) = self.pending.as_ref().and_then(Pending::pop) {
            half.end_waits(node, node.now().monotonic_us);
        }
        if let Some(Pending::Blocked(half)) = self.pending.take()
            && !matches!(half.aim, Aim::Release(_))
        {
            words.push((half.shard, half.word(Verb::Abandon, 0)));
        }
        self.session_locks.forget_ended(node);
        for lock in std::mem::take(&mut self.session_locks.locks) {
            words.push((
                lock.shard,
                LockWord {
                    verb: Verb::End,
                    db: lock.db,
                    key: Box::from(&lock.key[..]),
                    number: lock.number,
                    delay_ms,
                },
            ));
        }
        if words.is_empty() {
            return;
        }
        let now = node.now();
        for (shard, word) in words {
            let mut state = node.lock(shard);
            state.blocked.forget(word.number);
            state.blocked.unbind(word.number);
            let nobody = state.blocked.nobody();
            if state.say_word(&word, nobody, now).is_err() {
                state.blocked.owe(word);
            }
            state.settle(&node.budget);
            drop(state);
            node.mark_dirty(shard);
            node.cluster.set_wake_us(shard, 0);
        }
        node.request_flush();
    }
}

impl HalfBlocked {
    fn word(&self, verb: Verb, delay_ms: u64) -> LockWord {
        LockWord {
            verb,
            db: self.db,
            key: Box::from(&self.key[..]),
            number: self.number,
            delay_ms,
        }
    }
}

/// Whether a reply says that the request was queued.
fn is_marker(reply: &[u8]) -> bool {
    let word = reply
        .strip_prefix(b"+")
        .and_then(|rest| rest.strip_suffix(b"\r\n"));
    word == Some(WAITING.as_bytes())
}

#[cfg(test)]
mod tests;
