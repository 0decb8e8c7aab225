//! Commands that walk over all shards: KEYS, SCAN, DBSIZE, RANDOMKEY, FLUSHDB, FLUSHALL. Each step holds one shard's
//! lock for a bounded walk; KEYS and long SCANs let others run between their steps.

use super::access::{Access, lock_all};
use super::{Pending, Session, Step, Turn};
use crate::shard::Shard;
use commands::walk::{ScanOptions, Walk, draw_within, shards_by_lot};
use resp::{Args, Output, Reply};

/// Steps of a walk (each at most [`commands::walk::STEPS_MAX`] entries) between two turns of the other tasks.
const STEPS_PER_TURN: usize = 16;

/// A SCAN that asks for more than this gives way like KEYS.
const SCAN_AT_ONCE_MAX: usize = 1024;

/// A walk, half done.
pub(super) struct HalfWalk {
    walk: Walk<'static>,
    command: WalkCommand,
}

#[derive(Clone, Copy)]
enum WalkCommand {
    Keys,
    Scan,
}

impl HalfWalk {
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
        let half = HalfWalk {
            walk: Walk::keys_of_owned(pattern, self.db, turn.node.shards_count() as u32),
            command: WalkCommand::Keys,
        };
        self.begin_walk(turn, half, access, output)
    }

    pub(super) fn scan(
        &mut self,
        turn: Turn<'_>,
        args: Args<'_>,
        access: &mut Access<'_>,
        output: &mut Output,
    ) -> Step {
        let options = match ScanOptions::parse(args) {
            Ok(options) => options,
            Err(text) => {
                Reply::new(output, self.protocol).error(text);
                return Step::Done;
            }
        };
        let shards_count = turn.node.shards_count() as u32;
        if options.count > SCAN_AT_ONCE_MAX {
            let half = HalfWalk {
                walk: Walk::scan(options.into_owned(), self.db, shards_count),
                command: WalkCommand::Scan,
            };
            return self.begin_walk(turn, half, access, output);
        }
        let mut walk = Walk::scan(options, self.db, shards_count);
        while self.walk_step(turn, &mut walk, access) {}
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
            while self.walk_step(turn, &mut half.walk, access) {}
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
            if !self.walk_step(turn, &mut half.walk, &mut Access::Free) {
                half.reply(&mut Reply::new(output, self.protocol));
                return Step::Done;
            }
        }
        self.pending = Some(Pending::Walk(half));
        Step::Yield
    }

    /// One step; whether there is more to walk.
    fn walk_step(&mut self, turn: Turn<'_>, walk: &mut Walk<'_>, access: &mut Access<'_>) -> bool {
        let Some(shard) = walk.shard() else {
            return false;
        };
        access.with(turn.node, shard as usize, |shard| {
            shard.cache.set_now(turn.now.log_ms);
            walk.step(&shard.cache);
        });
        true
    }

    pub(super) fn dbsize(
        &mut self,
        turn: Turn<'_>,
        access: &mut Access<'_>,
        reply: &mut Reply<'_>,
    ) {
        let db = self.db;
        let sum: usize = (0..turn.node.shards_count())
            .map(|shard| access.with(turn.node, shard, |s| s.cache.len(db)))
            .sum();
        reply.integer(sum as i64);
    }

    pub(super) fn randomkey(
        &mut self,
        turn: Turn<'_>,
        access: &mut Access<'_>,
        reply: &mut Reply<'_>,
    ) {
        let db = self.db;
        let node = turn.node;
        let lens: Vec<usize> = (0..node.shards_count())
            .map(|shard| access.with(node, shard, |s| s.cache.len(db)))
            .collect();
        let random = node.host.random();
        for shard in shards_by_lot(&lens, random) {
            let found = access.with(node, shard, |shard| {
                shard.cache.set_now(turn.now.log_ms);
                match shard.cache.random(db, draw_within(random)) {
                    Some(key) => {
                        reply.bulk(key);
                        true
                    }
                    None => false,
                }
            });
            if found {
                return;
            }
        }
        reply.null();
    }

    /// FLUSHDB, FLUSHALL [ASYNC|SYNC]: `db` is emptied, shard by shard.
    pub(super) fn flush(
        &mut self,
        turn: Turn<'_>,
        db: u8,
        args: Args<'_>,
        access: &mut Access<'_>,
        output: &mut Output,
    ) {
        let mut reply = Reply::new(output, self.protocol);
        let mode_is_known = args.len() == 1
            || args.len() == 2
                && (args.get(1).eq_ignore_ascii_case(b"async")
                    || args.get(1).eq_ignore_ascii_case(b"sync"));
        if !mode_is_known {
            return reply.error("ERR syntax error");
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
            Access::Free => {
                let all: Vec<usize> = (0..turn.node.shards_count()).collect();
                for (_, mut shard) in lock_all(turn.node, &all) {
                    flush(&mut shard);
                }
            }
            Access::Held(guards) => guards.iter_mut().for_each(|(_, shard)| flush(shard)),
        }
        turn.node.tracking.flushed(turn.node, turn.now);
        reply.ok();
    }
}

#[cfg(test)]
mod tests;
