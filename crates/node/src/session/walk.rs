//! Commands that walk over all shards: KEYS, SCAN, DBSIZE, RANDOMKEY, FLUSHDB, FLUSHALL. Each step holds one shard's
//! lock for a bounded walk; KEYS and long SCANs let others run between their steps.

use super::access::{Access, Guards, lock_all};
use super::holes::Fill;
use super::{Pending, Session, Step, Turn};
use crate::group::{Mode, OpFlags, OpKind, Request};
use crate::questions;
use crate::shard::Shard;
use commands::walk::{ScanOptions, Walk, draw_within, shards_by_lot};
use resp::{Args, Output, OwnedArgs, Reply};

/// Steps of a walk (each at most [`commands::walk::STEPS_MAX`] entries) between two turns of the other tasks.
const STEPS_PER_TURN: usize = 16;

/// A SCAN that asks for more than this gives way like KEYS.
const SCAN_AT_ONCE_MAX: usize = 1024;

/// A walk, half done.
pub(super) struct HalfWalk {
    walk: Walk<'static>,
    command: WalkCommand,
    /// The next step is being taken by whoever leads the shard.
    asked: bool,
}

#[derive(Clone, Copy)]
enum WalkCommand {
    Keys,
    Scan,
}

/// What became of a step.
enum Stepped {
    /// It was taken here.
    Here,
    /// The shard has replicas: its leader is to take it.
    Elsewhere,
    /// There was none left.
    Over,
}

impl HalfWalk {
    fn new(walk: Walk<'static>, command: WalkCommand) -> Self {
        HalfWalk {
            walk,
            command,
            asked: false,
        }
    }

    fn reply(&self, reply: &mut Reply<'_>) {
        match self.command {
            WalkCommand::Keys => self.walk.reply_keys(reply),
            WalkCommand::Scan => self.walk.reply_scan(reply),
        }
    }
}

impl Session {
    pub(super) fn keys(
        &mut self,
        turn: Turn<'_>,
        args: Args<'_>,
        access: &mut Access<'_>,
        output: &mut Output,
    ) -> Step {
        let pattern = args.get(1).to_vec();
        let walk = Walk::keys_of_owned(pattern, self.db, turn.node.shards_count() as u32);
        let half = HalfWalk::new(walk, WalkCommand::Keys);
        self.begin_walk(turn, half, access, output)
    }

    pub(super) fn scan(
        &mut self,
        turn: Turn<'_>,
        options: Result<ScanOptions<'_>, &'static str>,
        access: &mut Access<'_>,
        output: &mut Output,
    ) -> Step {
        let options = match options {
            Ok(options) => options,
            Err(text) => {
                Reply::new(output, self.protocol).error(text);
                return Step::Done;
            }
        };
        let shards_count = turn.node.shards_count() as u32;
        if options.count > SCAN_AT_ONCE_MAX || turn.node.has_groups() {
            let walk = Walk::scan(options.into_owned(), self.db, shards_count);
            let half = HalfWalk::new(walk, WalkCommand::Scan);
            return self.begin_walk(turn, half, access, output);
        }
        let mut walk = Walk::scan(options, self.db, shards_count);
        // Where a shard got replicas this moment the reply is short: its cursor says where to go on.
        while let Stepped::Here = self.walk_step(turn, &mut walk, access) {}
        walk.reply_scan(&mut Reply::new(output, self.protocol));
        Step::Done
    }

    /// Begins a walk that may be long. A transaction, which holds all shards anyway, does it in one go.
    fn begin_walk(
        &mut self,
        turn: Turn<'_>,
        mut half: HalfWalk,
        access: &mut Access<'_>,
        output: &mut Output,
    ) -> Step {
        if access.is_held() {
            while let Stepped::Here = self.walk_step(turn, &mut half.walk, access) {}
            half.reply(&mut Reply::new(output, self.protocol));
            return Step::Done;
        }
        self.go_on_walk(turn, half, output)
    }

    pub(super) fn go_on_walk(
        &mut self,
        turn: Turn<'_>,
        mut half: HalfWalk,
        output: &mut Output,
    ) -> Step {
        for _ in 0..STEPS_PER_TURN {
            if half.asked {
                let answer = self.take_replies(|slots| slots.get(0).map(<[u8]>::to_vec));
                let Some(answer) = answer else {
                    self.pending = Some(Pending::Walk(half));
                    return Step::Replies;
                };
                half.asked = false;
                let answer = answer.unwrap_or_default();
                if !half.walk.take_answer(&answer) {
                    return refuse_walk(&answer, output);
                }
            }
            match self.walk_step(turn, &mut half.walk, &mut Access::Free) {
                Stepped::Here => {}
                Stepped::Elsewhere => {
                    let arguments: Vec<Vec<u8>> = half.walk.question().into_arguments();
                    let mut words = vec![questions::WALK];
                    words.extend(arguments.iter().map(Vec::as_slice));
                    let question = OwnedArgs::from_slices(&words);
                    let shard = half.walk.shard().expect("it has a step left") as usize;
                    if let Err(refusal) = self.ask(turn, shard, self.db, &question) {
                        return self.give_up(&refusal, output);
                    }
                    half.asked = true;
                    turn.node.request_flush();
                }
                Stepped::Over => {
                    half.reply(&mut Reply::new(output, self.protocol));
                    return Step::Done;
                }
            }
        }
        self.pending = Some(Pending::Walk(half));
        Step::Yield
    }

    /// Takes one step, if it can be taken here.
    fn walk_step(&self, turn: Turn<'_>, walk: &mut Walk<'_>, access: &mut Access<'_>) -> Stepped {
        while let Some(shard) = walk.shard()
            && !self.walks_over(turn, shard as usize)
        {
            walk.skip();
        }
        let Some(shard) = walk.shard() else {
            return Stepped::Over;
        };
        access.with(turn.node, shard as usize, |shard| {
            if shard.mode() == Mode::Grouped {
                return Stepped::Elsewhere;
            }
            shard.run_clock(turn.now);
            walk.step(&shard.cache);
            Stepped::Here
        })
    }

    pub(super) fn dbsize(
        &mut self,
        turn: Turn<'_>,
        args: Args<'_>,
        access: &mut Access<'_>,
        output: &mut Output,
    ) -> Step {
        let db = self.db;
        if turn.node.has_groups() && !access.is_held() {
            let question = OwnedArgs::from_slices(&[questions::LEN]);
            for shard in 0..turn.node.shards_count() {
                if !self.walks_over(turn, shard) {
                    continue;
                }
                if let Err(refusal) = self.ask(turn, shard, db, &question) {
                    return self.give_up(&refusal, output);
                }
            }
            let row = commands::lookup(args.get(0)).expect("it was found by its name");
            let parts = 0..self.holes().slots_count();
            if parts.is_empty() {
                Reply::new(output, self.protocol).integer(0);
                return Step::Done;
            }
            self.open_hole(row, Fill::Sum(parts), output);
            return Step::Done;
        }
        let sum: usize = (0..turn.node.shards_count())
            .map(|shard| access.with(turn.node, shard, |s| s.cache.len(db)))
            .sum();
        Reply::new(output, self.protocol).integer(sum as i64);
        Step::Done
    }

    pub(super) fn randomkey(
        &mut self,
        turn: Turn<'_>,
        access: &mut Access<'_>,
        output: &mut Output,
    ) -> Step {
        let db = self.db;
        let node = turn.node;
        if node.has_groups() && !access.is_held() {
            return self.random_of_all(turn, output);
        }
        let lens: Vec<usize> = (0..node.shards_count())
            .map(|shard| access.with(node, shard, |s| s.cache.len(db)))
            .collect();
        let random = node.host.random();
        let mut reply = Reply::new(output, self.protocol);
        for shard in shards_by_lot(&lens, random) {
            let found = access.with(node, shard, |shard| {
                if shard.mode() == Mode::Solo {
                    shard.run_clock(turn.now);
                }
                let key = shard.cache.random(db, draw_within(random));
                key.map(|key| reply.bulk(key)).is_some()
            });
            if found {
                return Step::Done;
            }
        }
        reply.null();
        Step::Done
    }

    /// FLUSHDB, FLUSHALL [ASYNC|SYNC]: `db` is emptied, shard by shard.
    pub(super) fn flush(
        &mut self,
        turn: Turn<'_>,
        db: u8,
        args: Args<'_>,
        access: &mut Access<'_>,
        output: &mut Output,
    ) -> Step {
        let mode_is_known = args.len() == 1
            || args.len() == 2
                && (args.get(1).eq_ignore_ascii_case(b"async")
                    || args.get(1).eq_ignore_ascii_case(b"sync"));
        if !mode_is_known {
            Reply::new(output, self.protocol).error("ERR syntax error");
            return Step::Done;
        }
        let stamp = turn.node.stamp(turn.now);
        let flush = |shard: &mut Shard| {
            shard.commit_flush(db, stamp);
            shard.take_changes();
            shard.settle(&turn.node.budget);
        };
        match access {
            // All are locked before the first is emptied, or a write to two shards might survive by half; each is
            // let go of as soon as it is done.
            Access::Free | Access::InTransaction => {
                let all: Vec<usize> = (0..turn.node.shards_count()).collect();
                let guards = lock_all(turn.node, &all);
                if guards
                    .iter()
                    .any(|(_, shard)| shard.mode() == Mode::Grouped)
                {
                    return self.flush_in_parts(turn, db, guards, flush, output);
                }
                for (_, mut shard) in guards {
                    flush(&mut shard);
                }
            }
            Access::Held(guards) => guards.iter_mut().for_each(|(_, shard)| flush(shard)),
        }
        turn.node.flushed(db, turn.now);
        Reply::new(output, self.protocol).ok();
        Step::Done
    }

    /// Empties shards of which some have replicas, each by its log.
    fn flush_in_parts(
        &mut self,
        turn: Turn<'_>,
        db: u8,
        guards: Guards<'_>,
        flush: impl Fn(&mut Shard),
        output: &mut Output,
    ) -> Step {
        let request = Request {
            kind: OpKind::Flush,
            db,
            flags: OpFlags::NONE,
            args: Args::new(&[], &[]),
            after: 0,
        };
        for (number, mut shard) in guards {
            if shard.mode() == Mode::Solo {
                flush(&mut shard);
                continue;
            }
            if let Err(refusal) = self.queue_on(turn, number, &mut shard, request) {
                let (_, ticket) = self.open_slot();
                ticket.fill(format!("-{refusal}\r\n").as_bytes());
            }
        }
        let parts = 0..self.holes().slots_count();
        let pending = Pending::Flush {
            db,
            fill: Fill::AllOk(parts),
        };
        self.wait_alone(turn, pending, output)
    }

    /// The shards' logs told what became of it.
    pub(super) fn go_on_flush(
        &mut self,
        turn: Turn<'_>,
        db: u8,
        fill: Fill,
        output: &mut Output,
    ) -> Step {
        let protocol = self.protocol;
        let done = self.take_replies(|slots| fill.write(slots, protocol, output));
        if done.is_none() {
            self.pending = Some(Pending::Flush { db, fill });
            return Step::Replies;
        }
        turn.node.flushed(db, turn.now);
        Step::Done
    }
}

/// Ends a walk with what a leader said in place of a step: a refusal.
fn refuse_walk(answer: &[u8], output: &mut Output) -> Step {
    let refusal = match answer.starts_with(b"-") {
        true => answer,
        false => b"-ERR the shard's leader took no step of the walk\r\n",
    };
    output.tail_mut().extend_from_slice(refusal);
    Step::Done
}

#[cfg(test)]
mod tests;
