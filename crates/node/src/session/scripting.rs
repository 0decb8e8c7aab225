//! EVAL and kin, SCRIPT: which script, on which keys, and where it runs.

use super::access::{Access, Guards, held, lock_all};
use super::grouped::CROSSSLOT;
use super::holes::Fill;
use super::{Session, Turn, server};
use crate::entry::Stamp;
use crate::group::{Mode, OpKind, Request};
use crate::overlay::{Invocation, Memory, Overlay, Terms, Verdict, Writes, triples};
use crate::scripts::{NOSCRIPT, Place};
use cache::{Cache, Change};
use resp::{Args, Output, OwnedArgs, Reply, parse_i64};
use std::sync::Arc;

/// Which script an EVAL means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    BySource,
    BySha,
}

/// What EVAL says inside MULTI where the shard has replicas.
const IN_MULTI: &str =
    "ERR scripts on shards with replicas cannot be part of a transaction: a script is one already";

impl Session {
    /// EVAL, EVALSHA and their `_RO` forms.
    pub(super) fn eval(
        &mut self,
        turn: Turn<'_>,
        args: Args<'_>,
        (named, writes): (Named, Writes),
        access: &mut Access<'_>,
        output: &mut Output,
    ) {
        let mut reply = Reply::new(output, self.protocol);
        let count = match parse_i64(args.get(2)) {
            None => return reply.error("ERR value is not an integer or out of range"),
            Some(count) if count > args.len() as i64 - 3 => {
                return reply.error("ERR Number of keys can't be greater than number of args");
            }
            Some(count) if count < 0 => {
                return reply.error("ERR Number of keys can't be negative");
            }
            Some(count) => count as usize,
        };
        let scripts = &turn.node.cluster.scripts;
        let script = match named {
            Named::BySource => match scripts.learn(args.get(1)) {
                Ok(script) => script,
                Err(error) => return reply.error(&error.to_string()),
            },
            Named::BySha => match scripts.get(args.get(1)) {
                Some(script) => script,
                None => return reply.error(NOSCRIPT),
            },
        };
        let writes = match (writes, script.writes()) {
            (Writes::Refused, true) if script.has_shebang() => {
                return reply
                    .error("ERR Can not execute a script with write flag using *_ro command.");
            }
            (_, false) => Writes::Refused,
            (writes, true) => writes,
        };
        let invocation = Invocation {
            script: &script,
            keys: args.iter().skip(3).take(count).collect(),
            args: args.iter().skip(3 + count).collect(),
        };
        let mut shards: Vec<usize> = invocation
            .keys
            .iter()
            .map(|key| turn.node.shard_of(key))
            .collect();
        shards.sort_unstable();
        shards.dedup();
        self.eval_on(turn, args, &invocation, writes, &shards, access, output);
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one caller, which worked all of them out"
    )]
    fn eval_on(
        &mut self,
        turn: Turn<'_>,
        args: Args<'_>,
        invocation: &Invocation<'_>,
        writes: Writes,
        shards: &[usize],
        access: &mut Access<'_>,
        output: &mut Output,
    ) {
        let node = turn.node;
        let memory =
            match access.is_held() || writes == Writes::Refused || self.has_room(turn, args) {
                true => Memory::Enough,
                false => Memory::Full,
            };
        let is_grouped = shards
            .iter()
            .any(|shard| node.mode(*shard) == Mode::Grouped);
        let (verdict, changes) = match access {
            Access::Free if !is_grouped => {
                let mut guards = lock_all(node, shards);
                if guards
                    .iter()
                    .any(|(_, shard)| shard.mode() == Mode::Grouped)
                {
                    drop(guards);
                    return self.eval_on_group(turn, args, invocation, writes, shards, output);
                }
                self.eval_locked(turn, invocation, (writes, memory), shards, &mut guards)
            }
            Access::Free => {
                return self.eval_on_group(turn, args, invocation, writes, shards, output);
            }
            Access::Held(guards) => {
                self.eval_locked(turn, invocation, (writes, memory), shards, guards)
            }
            Access::InTransaction if shards.is_empty() => {
                let mut none = lock_all(node, &[]);
                self.eval_locked(turn, invocation, (writes, memory), shards, &mut none)
            }
            Access::InTransaction => {
                return Reply::new(output, self.protocol).error(IN_MULTI);
            }
        };
        output.tail_mut().extend_from_slice(&verdict.reply);
        if !verdict.events.is_empty() || !changes.is_empty() {
            self.announce(turn, verdict.events, changes);
        }
        if node.budget.missing() > 0 && !access.is_held() {
            node.relieve(turn.now);
        }
    }

    /// Runs a script on shards that are locked and have no replicas.
    fn eval_locked(
        &self,
        turn: Turn<'_>,
        invocation: &Invocation<'_>,
        (writes, memory): (Writes, Memory),
        shards: &[usize],
        guards: &mut Guards<'_>,
    ) -> (Verdict, Vec<Change>) {
        let node = turn.node;
        let mut log_ms = turn.now.log_ms;
        for &shard in shards {
            let shard = held(guards, shard);
            shard.run_clock(turn.now);
            log_ms = log_ms.max(shard.cache.now_ms());
        }
        let stamp = Stamp {
            log_ms,
            wall_offset_ms: turn.now.wall_offset_ms,
            random: node.host.random(),
        };
        for &shard in shards {
            held(guards, shard).cache.set_now(log_ms);
        }
        let terms = Terms {
            db: self.db,
            stamp,
            protocol: self.protocol,
            touch: self.touch,
            writes,
            memory,
            event_mask: node.event_mask(),
            watchdog: node.cluster.scripts.begin(Place::Solo),
        };
        let cache_of = |key: &[u8]| -> Option<&Cache> {
            let shard = node.shard_of(key);
            let at = guards.binary_search_by_key(&shard, |(id, _)| *id).ok()?;
            Some(&guards[at].1.cache)
        };
        let overlay = Overlay::new(node.seed, &invocation.keys, terms, cache_of);
        let verdict = overlay.run(&node.cluster.scripts.engine, invocation);
        let mut changes = Vec::new();
        for &number in shards {
            let triples = triples(&verdict.changed, |key| node.shard_of(key) == number);
            if !triples.is_empty() {
                let shard = held(guards, number);
                let effects = OwnedArgs::from_slices(&triples);
                shard.commit_effects(self.db, stamp, effects.args());
                shard.settle(&node.budget);
                changes.extend(shard.take_changes());
            }
        }
        (verdict, changes)
    }

    /// Hands a script to the group of its keys' shard.
    fn eval_on_group(
        &mut self,
        turn: Turn<'_>,
        args: Args<'_>,
        invocation: &Invocation<'_>,
        writes: Writes,
        shards: &[usize],
        output: &mut Output,
    ) {
        let [shard] = shards else {
            return Reply::new(output, self.protocol).error(CROSSSLOT);
        };
        let writes = match writes {
            Writes::Allowed => &b"w"[..],
            Writes::Refused => b"r",
        };
        let source: Arc<[u8]> = invocation.script.source().clone();
        let count = invocation.keys.len().to_string();
        let mut parts: Vec<&[u8]> = vec![writes, &source, count.as_bytes()];
        parts.extend(&invocation.keys);
        parts.extend(&invocation.args);
        let parts = OwnedArgs::from_slices(&parts);
        let mut state = turn.node.lock(*shard);
        if state.mode() == Mode::Solo {
            // It lost its replicas this moment.
            drop(state);
            return Reply::new(output, self.protocol)
                .error("TRYAGAIN The shard's replicas are changing, please try again");
        }
        let request = Request {
            kind: OpKind::Script,
            db: self.db,
            flags: self.op_flags(self.touch),
            args: parts.args(),
            after: 0,
        };
        let queued = self.queue_on(turn, *shard, &mut state, request);
        drop(state);
        match queued {
            Ok(slot) => {
                let row = commands::lookup(args.get(0)).expect("it was found by its name");
                self.open_hole(row, Fill::Reply(slot), output);
            }
            Err(refusal) => Reply::new(output, self.protocol).error(&refusal),
        }
    }

    /// SCRIPT.
    pub(super) fn script(&mut self, turn: Turn<'_>, args: Args<'_>, output: &mut Output) {
        let mut reply = Reply::new(output, self.protocol);
        let scripts = &turn.node.cluster.scripts;
        match args.get(1).to_ascii_lowercase().as_slice() {
            b"load" => match scripts.learn(args.get(2)) {
                Ok(script) => reply.bulk(script.sha()),
                Err(error) => reply.error(&error.to_string()),
            },
            b"exists" => {
                reply.array(args.len() - 2);
                for name in args.from(2).iter() {
                    reply.integer(i64::from(scripts.get(name).is_some()));
                }
            }
            b"flush" => {
                let is_known = |mode: &[u8]| {
                    mode.eq_ignore_ascii_case(b"sync") || mode.eq_ignore_ascii_case(b"async")
                };
                if args.len() > 3 || args.len() == 3 && !is_known(args.get(2)) {
                    return reply.error("ERR SCRIPT FLUSH only support SYNC|ASYNC option");
                }
                scripts.flush();
                reply.ok();
            }
            b"kill" => match scripts.kill() {
                true => reply.ok(),
                false => reply.error("NOTBUSY No scripts in execution right now."),
            },
            _ => server::help(b"script", &mut reply),
        }
    }
}
