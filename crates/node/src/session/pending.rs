//! A request that gave way: what it waits for, and how it goes on.

use super::holes::Fill;
use super::{
    Session, Step, Turn, blocking, exec, gathered, long_scripts, over_shards, popping, random,
    scripting, wait, walk,
};
use crate::client::ClientFlag;
use crate::group::{Mode, OpFlags, OpKind, Request};
use crate::questions;
use resp::{Output, OwnedArgs, Protocol, Reply};

/// A request that gave way.
pub(super) enum Pending {
    /// KEYS or SCAN, half done.
    Walk(walk::HalfWalk),
    /// RANDOMKEY, half done.
    Random(random::HalfRandom),
    /// WATCH of keys whose contents are asked for.
    Watch(exec::HalfWatch),
    /// EXEC whose operation is on its way.
    Exec(exec::HalfExec),
    /// What brings records of several shards together.
    Gather(Box<gathered::HalfGather>),
    /// A transaction over several shards.
    Over(Box<over_shards::HalfOver>),
    /// FLUSHDB or FLUSHALL of `db`: what the shards' answers come to.
    Flush { db: u8, fill: Fill },
    /// A request that needs scripts which may be known elsewhere.
    Script(scripting::HalfLookup),
    /// A script that takes long.
    LongScript(long_scripts::HalfScript),
    /// What may be answered much later.
    Blocked(Box<blocking::HalfBlocked>),
    /// A pop that waits for something to be there.
    Pop(Box<popping::HalfPop>),
    /// WAIT, WAITAOF of what shards with replicas hold.
    Wait(wait::HalfWait),
    /// DEBUG SLEEP: until then, then `+OK`.
    Sleep { until_us: u64 },
    /// WAIT, WAITAOF: until then (never, if none), then what `reply` is.
    Replicas {
        until_us: Option<u64>,
        reply: ReplicasReply,
    },
}

/// What a wait for replicas answers at its end on a node without any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplicasReply {
    /// `:0`
    Wait,
    /// `*2 :0 :0`
    WaitAof,
}

impl Pending {
    /// The pop that waits, or is tried.
    pub fn pop(&self) -> Option<&popping::HalfPop> {
        match self {
            Pending::Pop(half) => Some(half),
            Pending::Gather(half) => half.pop(),
            Pending::Over(half) => half.pop(),
            _ => None,
        }
    }
}

impl Session {
    /// Goes on with a request that gave way.
    pub(super) fn go_on(&mut self, turn: Turn<'_>, output: &mut Output) -> Step {
        let mark = output.mark();
        let step = self.go_on_pending(turn, output);
        if self.pending.is_none() {
            // A transaction's own CLIENT CACHING holds no longer than the transaction.
            self.caching_next = None;
            self.finish_reply(self.replies, mark, output);
            self.release_if_held(output);
        }
        step
    }

    fn go_on_pending(&mut self, turn: Turn<'_>, output: &mut Output) -> Step {
        let step = match self.pending.take().expect("the caller saw it") {
            Pending::Walk(walk) => self.go_on_walk(turn, walk, output),
            Pending::Random(random) => self.go_on_random(turn, random, output),
            Pending::Watch(watch) => self.go_on_watch(watch, output),
            Pending::Exec(exec) => self.go_on_exec(turn, exec, output),
            Pending::Gather(half) => self.go_on_gather(turn, half, output),
            Pending::Over(half) => self.go_on_over(turn, half, output),
            Pending::Script(lookup) => self.go_on_lookup(turn, lookup, output),
            Pending::LongScript(half) => self.go_on_long(turn, &half, output),
            Pending::Blocked(half) => self.go_on_blocked(turn, half, output),
            Pending::Pop(half) => self.go_on_pop(turn, half, output),
            Pending::Wait(wait) => self.go_on_wait(turn, wait, output),
            Pending::Flush { db, fill } => self.go_on_flush(turn, db, fill, output),
            Pending::Sleep { until_us } if turn.now.monotonic_us >= until_us => {
                Reply::new(output, self.protocol).ok();
                Step::Done
            }
            Pending::Sleep { until_us } => {
                self.pending = Some(Pending::Sleep { until_us });
                Step::Wait {
                    until_us: Some(until_us),
                }
            }
            Pending::Replicas { until_us, reply }
                if until_us.is_some_and(|until| turn.now.monotonic_us >= until) =>
            {
                self.answer_wait(reply, 0, output);
                Step::Done
            }
            Pending::Replicas { until_us, reply } => {
                self.pending = Some(Pending::Replicas { until_us, reply });
                Step::Wait { until_us }
            }
        };
        if self.pending.is_none() {
            self.client.clear(ClientFlag::Blocked);
        }
        step
    }

    /// A request that others must not overtake waits for its slots: it goes on at once if they are filled.
    pub(super) fn wait_alone(
        &mut self,
        turn: Turn<'_>,
        pending: Pending,
        output: &mut Output,
    ) -> Step {
        self.pending = Some(pending);
        self.client.set(ClientFlag::Blocked);
        turn.node.request_flush();
        self.go_on_pending(turn, output)
    }

    /// Asks whoever leads a shard; returns the slot of the answer, or the refusal.
    pub(super) fn ask(
        &mut self,
        turn: Turn<'_>,
        shard: usize,
        db: u8,
        question: &OwnedArgs,
    ) -> Result<u32, String> {
        let mut state = turn.node.lock(shard);
        match state.mode() {
            Mode::Grouped => {
                let request = Request {
                    kind: OpKind::Internal,
                    db,
                    flags: OpFlags::NONE,
                    args: question.args(),
                    after: 0,
                };
                self.queue_on(turn, shard, &mut state, request)
            }
            Mode::Solo => {
                let mut output = Output::new();
                let mut reply = Reply::new(&mut output, Protocol::Resp2);
                state.run_clock(turn.now);
                questions::answer(&state, db, question.args(), &mut reply);
                drop(state);
                let (slot, ticket) = self.open_slot();
                ticket.fill_shared(output.into_bytes());
                Ok(slot)
            }
        }
    }
}
