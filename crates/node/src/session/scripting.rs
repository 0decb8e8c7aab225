//! EVAL and kin, SCRIPT: which script, on which keys, and where it runs.
//!
//! What all nodes know of scripts is in the meta group's log. A node that does not know one by its SHA1 waits until it has
//! applied all that was loaded before it was asked, and only then answers NOSCRIPT.

use super::access::{Access, Guards, held, lock_all};
use super::holes::Fill;
use super::long_scripts::HalfScript;
use super::over_shards::is_apart;
use super::pending::Pending;
use super::transaction::Transaction;
use super::{Session, Step, Turn, server};
use crate::entry::Stamp;
use crate::group::{Mode, OpKind, Request};
use crate::overlay::{Invocation, Memory, Overlay, Terms, UNDECLARED_MAX, Verdict, Writes};
use crate::questions;
use crate::scripts::{NOSCRIPT, Place, WishError};
use crate::slots::Ticket;
use cache::{Cache, Change};
use commands::{Row, Run, Session as SessionCommand};
use resp::{Args, Output, OwnedArgs, Reply, parse_i64};
use script::{Script, Stop};
use smallvec::SmallVec;
use std::sync::Arc;

/// Which script an EVAL means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    BySource,
    BySha,
}

/// Whether a script ran to its end.
enum Ran {
    /// It did, or was stopped for good.
    Whole,
    /// Others wait, and it may run for longer.
    TooLong,
    /// It was given no keys and wants one of this shard. Nothing of what it did is left.
    Wants(usize),
}

/// What EVAL says at the moment at which a shard gets its replicas, or loses them.
const CHANGING: &str = "TRYAGAIN The shard's replicas are changing, please try again";
/// What EVAL says inside MULTI where the shard has replicas.
const IN_MULTI: &str =
    "ERR scripts on shards with replicas cannot be part of a transaction: a script is one already";

impl Session {
    /// EVAL, EVALSHA and their `_RO` forms.
    pub(super) fn eval(
        &mut self,
        turn: Turn<'_>,
        args: Args<'_>,
        how: (Named, Writes),
        access: &mut Access<'_>,
        output: &mut Output,
    ) -> Step {
        let count = match keys_count(args) {
            Ok(count) => count,
            Err(refusal) => {
                Reply::new(output, self.protocol).error(refusal);
                return Step::Done;
            }
        };
        let (node, (named, writes)) = (turn.node, how);
        let this = || {
            let row = commands::lookup(args.get(0)).expect("it was found by its name");
            (row, args)
        };
        self.remember_reads_ahead(turn, std::iter::once_with(this));
        let found = match named {
            Named::BySource => {
                let learned = node.cluster.scripts.learn(args.get(1));
                learned.map_err(|error| error.to_string())
            }
            Named::BySha => {
                let name = args.get(1);
                let script = self.script_named(turn, name);
                if script.is_none() && self.may_look_up(turn, &[name], access) {
                    let args = args.to_owned();
                    return self.look_up(turn, Goal::Eval { how, args }, output);
                }
                script.ok_or_else(|| NOSCRIPT.to_owned())
            }
        };
        self.share_scripts(turn);
        match found {
            Ok(script) => self.eval_found(turn, args, (&script, count, writes), access, output),
            Err(refusal) => {
                Reply::new(output, self.protocol).error(&refusal);
                Step::Done
            }
        }
    }

    /// The script that an EVAL or its kin means, as far as it is at hand, the count of its keys, and whether it may write.
    pub(super) fn script_of(
        &self,
        turn: Turn<'_>,
        row: &'static Row,
        args: Args<'_>,
    ) -> Result<(Script, usize, Writes), String> {
        let count = keys_count(args)?;
        let script = match row.name {
            "eval" | "eval_ro" => {
                let learned = turn.node.cluster.scripts.learn(args.get(1));
                learned.map_err(|error| error.to_string())?
            }
            _ => {
                let named = self.script_named(turn, args.get(1));
                named.ok_or_else(|| NOSCRIPT.to_owned())?
            }
        };
        let asked = match row.name {
            "eval_ro" | "evalsha_ro" => Writes::Refused,
            _ => Writes::Allowed,
        };
        let writes = writes_of(&script, asked)?;
        Ok((script, count, writes))
    }

    /// Whether there is memory for what a script may write.
    pub(super) fn memory_for(&self, turn: Turn<'_>, args: Args<'_>, writes: Writes) -> Memory {
        match writes == Writes::Refused || self.has_room(turn, args) {
            true => Memory::Enough,
            false => Memory::Full,
        }
    }

    fn eval_found(
        &mut self,
        turn: Turn<'_>,
        args: Args<'_>,
        (script, count, writes): (&Script, usize, Writes),
        access: &mut Access<'_>,
        output: &mut Output,
    ) -> Step {
        let writes = match writes_of(script, writes) {
            Ok(writes) => writes,
            Err(refusal) => {
                Reply::new(output, self.protocol).error(refusal);
                return Step::Done;
            }
        };
        let invocation = Invocation {
            script,
            keys: args.iter().skip(3).take(count).collect(),
            args: args.iter().skip(3 + count).collect(),
        };
        let mut shards: SmallVec<[usize; 4]> = invocation
            .keys
            .iter()
            .map(|key| turn.node.shard_of(key))
            .collect();
        shards.sort_unstable();
        shards.dedup();
        if matches!(access, Access::Free) && is_apart(turn, shards.iter().copied()) {
            let memory = self.memory_for(turn, args, writes);
            return self.gather_script(turn, &invocation, (writes, memory), output);
        }
        loop {
            match self.eval_on(turn, args, &invocation, writes, &shards, access, output) {
                Ran::Whole => return Step::Done,
                Ran::TooLong => {
                    let half = HalfScript::new(&invocation, writes, shards.into_vec());
                    return self.run_long(half);
                }
                Ran::Wants(shard) => shards.push(shard),
            }
        }
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
    ) -> Ran {
        let node = turn.node;
        let memory = match access.is_held() {
            true => Memory::Enough,
            false => self.memory_for(turn, args, writes),
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
                    self.eval_on_group(turn, args, invocation, writes, shards, output);
                    return Ran::Whole;
                }
                let ran = self.eval_locked(turn, invocation, (writes, memory), shards, &mut guards);
                if shards.is_empty()
                    && let Some(key) = &ran.0.missing
                {
                    return Ran::Wants(node.shard_of(key));
                }
                let is_stopped = ran.0.stopped == Some(Stop::Timeout);
                if is_stopped && !node.has_groups() && node.cluster.scripts.allows_long() {
                    return Ran::TooLong;
                }
                ran
            }
            Access::Free => {
                self.eval_on_group(turn, args, invocation, writes, shards, output);
                return Ran::Whole;
            }
            Access::Held(guards) => {
                self.eval_locked(turn, invocation, (writes, memory), shards, guards)
            }
            Access::InTransaction if shards.is_empty() => {
                let mut none = lock_all(node, &[]);
                self.eval_locked(turn, invocation, (writes, memory), shards, &mut none)
            }
            Access::InTransaction => {
                Reply::new(output, self.protocol).error(IN_MULTI);
                return Ran::Whole;
            }
        };
        self.tell(turn, verdict, changes, output);
        if node.budget.missing() > 0 && !access.is_held() {
            node.relieve(turn.now);
        }
        Ran::Whole
    }

    /// Answers a script and tells others what it did.
    pub(super) fn tell(
        &mut self,
        turn: Turn<'_>,
        verdict: Verdict,
        changes: Vec<Change>,
        output: &mut Output,
    ) {
        output.tail_mut().extend_from_slice(&verdict.reply);
        if !verdict.events.is_empty() || !changes.is_empty() {
            self.announce(turn, verdict.events, changes);
        }
        verdict.changed.give_back(&turn.node.cluster.scripts);
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
        let how = (writes, memory, Place::Briefly);
        let mut undeclared: Vec<Box<[u8]>> = Vec::new();
        let verdict = loop {
            let more;
            let given = match undeclared.is_empty() {
                true => invocation,
                false => {
                    more = invocation.with_keys(&undeclared);
                    &more
                }
            };
            let overlay = self.overlay(turn, given, how, shards, guards);
            let verdict = overlay.run(&turn.node.cluster.scripts.engine, invocation);
            match &verdict.missing {
                Some(key)
                    if undeclared.len() < UNDECLARED_MAX
                        && shards.contains(&turn.node.shard_of(key)) =>
                {
                    undeclared.push(key.clone());
                }
                Some(_) | None => break verdict,
            }
        };
        let changes = self.commit(turn, &verdict, shards, guards);
        (verdict, changes)
    }

    /// One log time for shards that are locked.
    fn stamp_of(&self, turn: Turn<'_>, shards: &[usize], guards: &mut Guards<'_>) -> Stamp {
        let mut log_ms = turn.now.log_ms;
        for &shard in shards {
            let shard = held(guards, shard);
            shard.run_clock(turn.now);
            log_ms = log_ms.max(shard.cache.now_ms());
        }
        for &shard in shards {
            held(guards, shard).cache.set_now(log_ms);
        }
        Stamp {
            log_ms,
            wall_offset_ms: turn.now.wall_offset_ms,
            random: turn.node.host.random(),
        }
    }

    /// What a script runs on, taken from shards that are locked.
    pub(super) fn overlay(
        &self,
        turn: Turn<'_>,
        invocation: &Invocation<'_>,
        (writes, memory, place): (Writes, Memory, Place),
        shards: &[usize],
        guards: &mut Guards<'_>,
    ) -> Overlay {
        let node = turn.node;
        let stamp = self.stamp_of(turn, shards, guards);
        if writes == Writes::Allowed {
            // Who is next has a lock that expired, and is told, before the script changes what is there.
            for key in &invocation.keys {
                if let Ok(at) = place_of(guards, node.shard_of(key)) {
                    guards[at].1.commit_settle_of(stamp, key);
                }
            }
        }
        let withheld_ms = guards
            .iter()
            .map(|(_, shard)| shard.cache.locks_withheld_ms())
            .max();
        let terms = Terms {
            db: self.db,
            stamp,
            protocol: self.protocol,
            touch: self.touch,
            writes,
            memory,
            lock_memory: Memory::for_locks(&node.budget),
            locks_withheld_ms: withheld_ms.unwrap_or(0),
            event_mask: node.event_mask(),
            pubsub: node.pubsub.clone(),
            watchdog: node.cluster.scripts.begin(place),
        };
        let cache_of = |key: &[u8]| -> Option<&Cache> {
            let at = place_of(guards, node.shard_of(key)).ok()?;
            Some(&guards[at].1.cache)
        };
        Overlay::new(node.seed, &invocation.keys, terms, cache_of)
    }

    /// Makes what a script did true of shards that are locked: its effects are one entry a shard.
    pub(super) fn commit(
        &self,
        turn: Turn<'_>,
        verdict: &Verdict,
        shards: &[usize],
        guards: &mut Guards<'_>,
    ) -> Vec<Change> {
        let node = turn.node;
        let mut changes = Vec::new();
        if verdict.changed.is_empty() {
            return changes;
        }
        let stamp = self.stamp_of(turn, shards, guards);
        for &number in shards {
            let is_its = |key: &[u8]| node.shard_of(key) == number;
            if verdict.changed.keys().any(is_its) {
                let shard = held(guards, number);
                shard.commit_entries(self.db, stamp, &verdict.changed, is_its);
                shard.settle(&node.budget);
                changes.extend(shard.take_changes());
            }
        }
        changes
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
            // They were without replicas a moment ago.
            return Reply::new(output, self.protocol).error(CHANGING);
        };
        let (kind, what) = match writes {
            Writes::Allowed => (OpKind::Script, &b"w"[..]),
            // It needs no log: the leader answers it as a read.
            Writes::Refused => (OpKind::Internal, questions::SCRIPT),
        };
        let source: Arc<[u8]> = invocation.script.source().clone();
        let count = invocation.keys.len().to_string();
        let mut parts: Vec<&[u8]> = vec![what, &source, count.as_bytes()];
        parts.extend(&invocation.keys);
        parts.extend(&invocation.args);
        let parts = OwnedArgs::from_slices(&parts);
        let mut state = turn.node.lock(*shard);
        if state.mode() == Mode::Solo {
            // It lost its replicas this moment.
            drop(state);
            return Reply::new(output, self.protocol).error(CHANGING);
        }
        let request = Request {
            kind,
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
    pub(super) fn script(
        &mut self,
        turn: Turn<'_>,
        args: Args<'_>,
        access: &Access<'_>,
        output: &mut Output,
    ) -> Step {
        let mut reply = Reply::new(output, self.protocol);
        let scripts = &turn.node.cluster.scripts;
        match args.get(1).to_ascii_lowercase().as_slice() {
            b"load" => match scripts.learn_for_load(args.get(2)) {
                Ok(script) => {
                    let load = |ticket| scripts.load(&script, ticket);
                    match self.wish(turn, args, access, load, output) {
                        Ok(true) => {}
                        Ok(false) => Reply::new(output, self.protocol).bulk(script.sha()),
                        Err(refusal) => Reply::new(output, self.protocol).error(&refusal),
                    }
                }
                Err(error) => reply.error(&error.to_string()),
            },
            b"exists" => {
                let names: Vec<&[u8]> = args.from(2).iter().collect();
                if self.may_look_up(turn, &names, access) {
                    let args = args.to_owned();
                    return self.look_up(turn, Goal::Exists { args }, output);
                }
                self.script_exists(turn, args, output);
            }
            b"flush" => {
                let is_known = |mode: &[u8]| {
                    mode.eq_ignore_ascii_case(b"sync") || mode.eq_ignore_ascii_case(b"async")
                };
                if args.len() > 3 || args.len() == 3 && !is_known(args.get(2)) {
                    reply.error("ERR SCRIPT FLUSH only support SYNC|ASYNC option");
                    return Step::Done;
                }
                if access.is_held() {
                    // All nodes do it when the transaction is over; what comes behind it here sees it done.
                    scripts.forget();
                    self.has_flushed_scripts = true;
                }
                let flush = |ticket| scripts.flush(ticket);
                match self.wish(turn, args, access, flush, output) {
                    Ok(true) => {}
                    Ok(false) => Reply::new(output, self.protocol).ok(),
                    Err(refusal) => Reply::new(output, self.protocol).error(&refusal),
                }
            }
            b"kill" => match scripts.kill() {
                true => reply.ok(),
                false => reply.error("NOTBUSY No scripts in execution right now."),
            },
            _ => server::help(b"script", &mut reply),
        }
        Step::Done
    }

    /// A script by its name.
    fn script_named(&self, turn: Turn<'_>, name: &[u8]) -> Option<Script> {
        match self.has_flushed_scripts {
            true => turn.node.script_at_hand(name),
            false => turn.node.script_named(name),
        }
    }

    fn script_exists(&self, turn: Turn<'_>, args: Args<'_>, output: &mut Output) {
        let mut reply = Reply::new(output, self.protocol);
        reply.array(args.len() - 2);
        for name in args.from(2).iter() {
            reply.integer(i64::from(self.script_named(turn, name).is_some()));
        }
        self.share_scripts(turn);
    }

    /// Wants something of the scripts that all nodes know. Whether the reply comes when they agreed; in a transaction,
    /// whose reply waits for nobody else, it does not.
    fn wish(
        &mut self,
        turn: Turn<'_>,
        args: Args<'_>,
        access: &Access<'_>,
        wish: impl FnOnce(Option<Ticket>) -> Result<(), WishError>,
        output: &Output,
    ) -> Result<bool, String> {
        let waits = !access.is_held();
        let opened = waits.then(|| self.open_slot());
        let slot = opened.as_ref().map(|(slot, _)| *slot);
        if let Err(full) = wish(opened.map(|(_, ticket)| ticket)) {
            if waits {
                self.close_last_slot();
            }
            return Err(full.to_string());
        }
        if let Some(slot) = slot {
            let row = commands::lookup(args.get(0)).expect("it was found by its name");
            self.open_hole(row, Fill::Reply(slot), output);
        }
        self.share_scripts(turn);
        Ok(waits)
    }

    /// Has the other nodes told what this one wants of scripts, unless EXEC holds shards: then at its end.
    pub(super) fn share_scripts(&self, turn: Turn<'_>) {
        if !self.holds_shards && turn.node.cluster.scripts.has_wishes() {
            turn.node.share_scripts();
        }
    }
}

/// Scripts that may be known elsewhere.
impl Session {
    /// Whether any of these is not known here, but may be elsewhere, and the request may wait for that.
    fn may_look_up(&self, turn: Turn<'_>, names: &[&[u8]], access: &Access<'_>) -> bool {
        let is_missing =
            |name: &&[u8]| name.len() == SHA_DIGITS && turn.node.script_named(name).is_none();
        !self.has_looked_up
            && !access.is_held()
            && turn.node.may_lack_scripts()
            && names.iter().any(is_missing)
    }

    /// The same of the scripts of a transaction.
    pub(super) fn lacks_scripts(&self, turn: Turn<'_>, transaction: &Transaction) -> bool {
        use SessionCommand as C;
        let is_by_sha = |row: &Row| matches!(row.run, Run::Session(C::Evalsha | C::EvalshaRo));
        let by_sha = transaction
            .commands
            .iter()
            .filter(|(row, _)| is_by_sha(row));
        let names: Vec<&[u8]> = by_sha.map(|(_, args)| args.args().get(1)).collect();
        self.may_look_up(turn, &names, &Access::Free)
    }

    /// Waits until this node has applied all scripts that were loaded before.
    pub(super) fn look_up(&mut self, turn: Turn<'_>, goal: Goal, output: &mut Output) -> Step {
        let (slot, ticket) = self.open_slot();
        if let Err(full) = turn.node.cluster.scripts.look(ticket) {
            self.close_last_slot();
            return self.give_up(&full.to_string(), output);
        }
        self.share_scripts(turn);
        self.wait_alone(turn, Pending::Script(HalfLookup { goal, slot }), output)
    }

    /// Goes on with a request whose scripts are at hand now, if anybody knew them.
    pub(super) fn go_on_lookup(
        &mut self,
        turn: Turn<'_>,
        half: HalfLookup,
        output: &mut Output,
    ) -> Step {
        let Some(reply) =
            self.take_replies(|slots| slots.get(half.slot).unwrap_or_default().to_vec())
        else {
            self.pending = Some(Pending::Script(half));
            return Step::Replies;
        };
        let mark = output.mark();
        let is_known = !reply.starts_with(b"-");
        if !is_known {
            output.tail_mut().extend_from_slice(&reply);
        }
        self.has_looked_up = true;
        let (step, row) = match half.goal {
            Goal::Eval { how, args } => {
                let args = args.args();
                let step = match is_known {
                    true => self.eval(turn, args, how, &mut Access::Free, output),
                    false => Step::Done,
                };
                (step, commands::lookup(args.get(0)))
            }
            Goal::Exists { args } => {
                if is_known {
                    self.script_exists(turn, args.args(), output);
                }
                (Step::Done, commands::lookup(args.args().get(0)))
            }
            Goal::Exec(transaction) if is_known => (self.exec_all(turn, transaction, output), None),
            Goal::Exec(_) => {
                self.forget_watches(turn.node, &mut Access::Free);
                (Step::Done, None)
            }
        };
        self.has_looked_up = false;
        if let Some(row) = row {
            self.note_error(turn, Some(row), mark, output);
        }
        step
    }
}

/// Hexadecimal digits of a script's name.
const SHA_DIGITS: usize = 40;

/// A request that waits for scripts which may be known elsewhere.
pub(super) struct HalfLookup {
    goal: Goal,
    slot: u32,
}

/// Which.
pub(super) enum Goal {
    /// EVALSHA.
    Eval {
        how: (Named, Writes),
        args: OwnedArgs,
    },
    /// SCRIPT EXISTS.
    Exists { args: OwnedArgs },
    /// EXEC of a transaction with EVALSHA.
    Exec(Transaction),
}

/// How many of the arguments are keys, or the refusal.
fn keys_count(args: Args<'_>) -> Result<usize, &'static str> {
    match parse_i64(args.get(2)) {
        None => Err("ERR value is not an integer or out of range"),
        Some(count) if count > args.len() as i64 - 3 => {
            Err("ERR Number of keys can't be greater than number of args")
        }
        Some(count) if count < 0 => Err("ERR Number of keys can't be negative"),
        Some(count) => Ok(count as usize),
    }
}

/// Whether a script may write that is run by a command which may or may not.
fn writes_of(script: &Script, asked: Writes) -> Result<Writes, &'static str> {
    match (asked, script.writes()) {
        (Writes::Refused, true) if script.has_shebang() => {
            Err("ERR Can not execute a script with write flag using *_ro command.")
        }
        (_, false) => Ok(Writes::Refused),
        (writes, true) => Ok(writes),
    }
}

/// Where a shard is among those that are locked.
fn place_of(guards: &Guards<'_>, shard: usize) -> Result<usize, usize> {
    guards.binary_search_by_key(&shard, |(id, _)| *id)
}
