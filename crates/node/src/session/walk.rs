//! Commands that walk over all shards: KEYS, SCAN, DBSIZE, RANDOMKEY, FLUSHDB, FLUSHALL. Each step holds one shard's
//! lock for a bounded walk; KEYS lets others run between its steps.

use super::access::{Access, lock_all};
use super::{Pending, Session, Step, Turn};
use crate::shard::Shard;
use commands::walk::{ScanOptions, Walk, draw_within, shards_by_lot};
use resp::{Args, Output, Reply};

/// Steps of a walk (each at most [`commands::walk::STEPS_MAX`] entries) between two turns of the other tasks.
const STEPS_PER_TURN: usize = 16;

/// KEYS, half done.
pub(super) struct KeysWalk(Walk<'static>);

impl Session {
    pub(super) fn keys(
        &mut self,
        turn: Turn<'_>,
        args: Args<'_>,
        access: &mut Access<'_>,
        output: &mut Output,
    ) -> Step {
        let mut walk = Walk::keys_of_owned(
            args.get(1).to_vec(),
            self.db,
            turn.node.shards_count() as u32,
        );
        if access.is_held() {
            while self.walk_step(turn, &mut walk, access) {}
            walk.reply_keys(&mut Reply::new(output, self.protocol));
            return Step::Done;
        }
        self.go_on_keys(turn, KeysWalk(walk), output)
    }

    pub(super) fn go_on_keys(
        &mut self,
        turn: Turn<'_>,
        walk: KeysWalk,
        output: &mut Output,
    ) -> Step {
        let KeysWalk(mut walk) = walk;
        for _ in 0..STEPS_PER_TURN {
            if !self.walk_step(turn, &mut walk, &mut Access::Free) {
                walk.reply_keys(&mut Reply::new(output, self.protocol));
                return Step::Done;
            }
        }
        self.pending = Some(Pending::Keys(KeysWalk(walk)));
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

    pub(super) fn scan(
        &mut self,
        turn: Turn<'_>,
        args: Args<'_>,
        access: &mut Access<'_>,
        reply: &mut Reply<'_>,
    ) {
        let options = match ScanOptions::parse(args) {
            Ok(options) => options,
            Err(text) => return reply.error(text),
        };
        let mut walk = Walk::scan(options, self.db, turn.node.shards_count() as u32);
        while self.walk_step(turn, &mut walk, access) {}
        walk.reply_scan(reply);
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
