//! WAIT and WAITAOF: how many replicas hold everything that the connection wrote. The leaders of the shards that it
//! wrote to are asked, first for the last index of each, which is at least that of the connection's own writes, and then
//! again for that one until enough hold it.
//!
//! A write is answered once a majority holds it; so among three replicas `WAIT 1` is true at once.

use super::access::Access;
use super::holes::integer_of;
use super::{Pending, ReplicasReply, Session, Step, Turn};
use crate::client::ClientFlag;
use crate::group::Mode;
use crate::questions;
use crate::slots::Slots;
use resp::{Args, Output, OwnedArgs, Reply, parse_i64, split_array, split_reply};

/// Between two questions to the leaders, us.
const ASK_AGAIN_US: u64 = 10_000;

/// A wait under way.
pub(super) struct HalfWait {
    reply: ReplicasReply,
    /// How many are wanted.
    replicas: i64,
    /// When it ends; never, if none.
    until_us: Option<u64>,
    /// The shards, and which index of theirs is asked about; 0 = their last.
    shards: Vec<(usize, u64)>,
    /// What the last answers came to.
    least: i64,
    /// Answers are on their way.
    asked: bool,
    /// When to ask again; 0 before the first answers.
    ask_at_us: u64,
}

impl Session {
    /// WAIT numreplicas timeout.
    pub(super) fn wait(
        &mut self,
        turn: Turn<'_>,
        args: Args<'_>,
        access: &mut Access<'_>,
        output: &mut Output,
    ) -> Step {
        let mut reply = Reply::new(output, self.protocol);
        let Some(timeout_ms) = timeout(args.get(2), &mut reply) else {
            return Step::Done;
        };
        let Some(replicas) = parse_i64(args.get(1)) else {
            reply.error("ERR value is not an integer or out of range");
            return Step::Done;
        };
        self.wait_for(
            turn,
            replicas,
            timeout_ms,
            ReplicasReply::Wait,
            access,
            output,
        )
    }

    /// WAITAOF numlocal numreplicas timeout.
    pub(super) fn waitaof(
        &mut self,
        turn: Turn<'_>,
        args: Args<'_>,
        access: &mut Access<'_>,
        output: &mut Output,
    ) -> Step {
        let mut reply = Reply::new(output, self.protocol);
        let (Some(local), Some(replicas)) = (parse_i64(args.get(1)), parse_i64(args.get(2))) else {
            reply.error("ERR value is not an integer or out of range");
            return Step::Done;
        };
        if !(0..=1).contains(&local) || replicas < 0 {
            reply.error("ERR value is out of range, must be positive");
            return Step::Done;
        }
        let Some(timeout_ms) = timeout(args.get(3), &mut reply) else {
            return Step::Done;
        };
        if local > 0 {
            reply.error(
                "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
            );
            return Step::Done;
        }
        self.wait_for(
            turn,
            replicas,
            timeout_ms,
            ReplicasReply::WaitAof,
            access,
            output,
        )
    }

    fn wait_for(
        &mut self,
        turn: Turn<'_>,
        replicas: i64,
        timeout_ms: i64,
        reply: ReplicasReply,
        access: &mut Access<'_>,
        output: &mut Output,
    ) -> Step {
        let until_us = (timeout_ms > 0).then(|| turn.now.monotonic_us + timeout_ms as u64 * 1000);
        if turn.node.has_groups() && !access.is_held() {
            let half = HalfWait {
                reply,
                replicas,
                until_us,
                shards: self.written_shards(turn),
                least: 0,
                asked: false,
                ask_at_us: 0,
            };
            return self.wait_alone(turn, Pending::Wait(half), output);
        }
        if replicas <= 0 || access.is_held() {
            self.answer_wait(reply, 0, output);
            return Step::Done;
        }
        self.pending = Some(Pending::Replicas { until_us, reply });
        self.client.set(ClientFlag::Blocked);
        Step::Wait { until_us }
    }

    pub(super) fn answer_wait(&mut self, reply: ReplicasReply, count: i64, output: &mut Output) {
        let mut out = Reply::new(output, self.protocol);
        match reply {
            ReplicasReply::Wait => out.integer(count),
            // How much of it is on the others' disks is not known here.
            ReplicasReply::WaitAof => {
                out.array(2);
                out.integer(0);
                out.integer(0);
            }
        }
    }

    /// The shards that the connection wrote to, with an index that is not known yet: all of them if it wrote to none, or
    /// if some have no replicas, where it may have written unseen.
    fn written_shards(&self, turn: Turn<'_>) -> Vec<(usize, u64)> {
        let all = 0..turn.node.shards_count();
        let has_solo = all.clone().any(|shard| turn.node.mode(shard) == Mode::Solo);
        let holes = self.holes.as_ref();
        let is_written = |shard: &usize| holes.is_some_and(|holes| holes.has_written(*shard));
        let written: Vec<(usize, u64)> = all.clone().filter(is_written).map(|s| (s, 0)).collect();
        match has_solo || written.is_empty() {
            true => all.map(|shard| (shard, 0)).collect(),
            false => written,
        }
    }

    pub(super) fn go_on_wait(
        &mut self,
        turn: Turn<'_>,
        mut half: HalfWait,
        output: &mut Output,
    ) -> Step {
        loop {
            let now_us = turn.now.monotonic_us;
            let is_over = half.until_us.is_some_and(|until_us| until_us <= now_us);
            if half.asked {
                let shards = &mut half.shards;
                if let Some(least) = self.take_replies(|slots| least_of(slots, shards)) {
                    half.asked = false;
                    half.least = least;
                    half.ask_at_us = now_us + ASK_AGAIN_US;
                } else if !is_over {
                    let until_us = half.until_us;
                    self.pending = Some(Pending::Wait(half));
                    return until_us.map_or(Step::Replies, |until_us| Step::Wait {
                        until_us: Some(until_us),
                    });
                }
            }
            let is_reached = half.ask_at_us > 0 && half.least >= half.replicas;
            if is_over || is_reached {
                self.void_tickets();
                self.answer_wait(half.reply, half.least, output);
                return Step::Done;
            }
            if now_us < half.ask_at_us {
                let (ask_at_us, end_us) = (half.ask_at_us, half.until_us);
                self.pending = Some(Pending::Wait(half));
                return match end_us {
                    Some(end_us) => Step::Wait {
                        until_us: Some(end_us.min(ask_at_us)),
                    },
                    // There may never be enough.
                    None => Step::Blocked {
                        until_us: Some(ask_at_us),
                    },
                };
            }
            for (shard, index) in &half.shards {
                let index = index.to_string();
                let question = OwnedArgs::from_slices(&[questions::HOLDING, index.as_bytes()]);
                if let Err(refusal) = self.ask(turn, *shard, 0, &question) {
                    return self.give_up(&refusal, output);
                }
            }
            half.asked = true;
            turn.node.request_flush();
        }
    }
}

/// The least count of replicas that any shard told; what each takes for the last index is kept for the next time.
fn least_of(slots: &Slots, shards: &mut [(usize, u64)]) -> i64 {
    let mut least = i64::MAX;
    for (slot, (_, index)) in shards.iter_mut().enumerate() {
        let told = slots.get(slot as u32).and_then(|reply| {
            let (first, second) = split_reply(split_array(reply)?)?;
            Some((integer_of(first)?, integer_of(second)?))
        });
        if let Some((last, _)) = told {
            *index = last as u64;
        }
        least = least.min(told.map_or(0, |(_, count)| count));
    }
    if least == i64::MAX { 0 } else { least }
}

/// A time-out in milliseconds, or an error reply.
fn timeout(bytes: &[u8], reply: &mut Reply<'_>) -> Option<i64> {
    match parse_i64(bytes) {
        None => reply.error("ERR timeout is not an integer or out of range"),
        Some(timeout_ms) if timeout_ms < 0 => reply.error("ERR timeout is negative"),
        // The sum with the present time must not overflow.
        Some(timeout_ms) if timeout_ms > i64::MAX / 2000 => {
            reply.error("ERR timeout is out of range")
        }
        Some(timeout_ms) => return Some(timeout_ms),
    }
    None
}
