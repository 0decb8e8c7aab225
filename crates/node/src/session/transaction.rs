//! MULTI, EXEC, DISCARD, WATCH, UNWATCH: atomic over all shards of the node, by holding the locks of all the
//! shards that the queued commands name, in ascending order.

use super::access::{Access, lock_all};
use super::scripting::Goal;
use super::{Session, Step, Turn};
use crate::client::ClientFlag;
use crate::group::Mode;
use crate::memory::{LOCKS_OOM, OOM};
use crate::node::{Node, Room};
use cache::Key;
use commands::{Flags, Row, Run, Session as SessionCommand};
use resp::{Args, Mark, Output, OwnedArgs, Reply};
use smallvec::SmallVec;
use std::sync::atomic::Ordering;

/// Bytes that one connection may queue.
const QUEUED_BYTES_MAX: usize = 1 << 30;

/// The commands queued since MULTI.
#[derive(Default)]
pub(super) struct Transaction {
    pub commands: Vec<(&'static Row, OwnedArgs)>,
    bytes: usize,
    spoiled: bool,
}

/// A watched key.
pub(super) struct Watch {
    pub db: u8,
    pub key: Box<[u8]>,
    pub shard: usize,
    pub seen: Seen,
}

/// What WATCH saw of a key.
#[derive(Clone, Copy)]
pub(super) enum Seen {
    /// On a shard without replicas: how often it was changed, and whether it was there.
    Version { version: u64, existed: bool },
    /// On a shard with replicas: what it held. Unlike a version this does not tell a key that was changed and changed
    /// back from one that was not; but it is good on whatever node leads when EXEC runs.
    Contents(u64),
}

impl Transaction {
    /// A command was refused: EXEC will not run the rest.
    pub(super) fn spoil(&mut self) {
        self.spoiled = true;
    }
}

/// Commands that run at once though a transaction is being queued.
pub(super) fn runs_inside(row: &Row) -> bool {
    use SessionCommand as C;
    match row.run {
        Run::Session(command) => {
            matches!(
                command,
                C::Exec | C::Discard | C::Multi | C::Watch | C::Quit | C::Reset
            )
        }
        Run::Data(_) | Run::Later => false,
    }
}

impl Session {
    /// Whether a queued command writes (CLIENT PAUSE WRITE holds its EXEC back).
    pub(super) fn transaction_writes(&self) -> bool {
        let queued = self.transaction.as_ref();
        queued.is_some_and(|queued| {
            queued
                .commands
                .iter()
                .any(|(row, _)| row.flags.has(Flags::WRITE))
        })
    }

    pub(super) fn queue(
        &mut self,
        _turn: Turn<'_>,
        row: &'static Row,
        args: Args<'_>,
        output: &mut Output,
    ) {
        let transaction = self.transaction.as_mut().expect("the caller saw it");
        let mut reply = Reply::new(output, self.protocol);
        let args = args.to_owned();
        transaction.bytes += args.heap_bytes();
        if transaction.bytes > QUEUED_BYTES_MAX {
            transaction.spoil();
            return reply.error("ERR too many bytes are queued in this transaction");
        }
        if !transaction.spoiled {
            transaction.commands.push((row, args));
        }
        self.client
            .queued
            .store(transaction.commands.len() as u32, Ordering::Relaxed);
        reply.simple("QUEUED");
    }

    pub(super) fn multi(&mut self, reply: &mut Reply<'_>) {
        if self.transaction.is_some() {
            return reply.error("ERR MULTI calls can not be nested");
        }
        self.transaction = Some(Transaction::default());
        self.client.set(ClientFlag::Multi);
        self.client.queued.store(0, Ordering::Relaxed);
        self.replan();
        reply.ok();
    }

    pub(super) fn discard(&mut self, turn: Turn<'_>, reply: &mut Reply<'_>) {
        if self.transaction.is_none() {
            return reply.error("ERR DISCARD without MULTI");
        }
        self.end_transaction();
        self.forget_watches(turn.node, &mut Access::Free);
        reply.ok();
    }

    pub(super) fn end_transaction(&mut self) -> Option<Transaction> {
        let transaction = self.transaction.take();
        self.client.clear(ClientFlag::Multi);
        self.client.queued.store(u32::MAX, Ordering::Relaxed);
        self.replan();
        transaction
    }

    pub(super) fn watch(&mut self, turn: Turn<'_>, args: Args<'_>, output: &mut Output) -> Step {
        if self.transaction.is_some() {
            Reply::new(output, self.protocol).error("ERR WATCH inside MULTI is not allowed");
            return Step::Done;
        }
        let mut asked = Vec::new();
        for key in args.from(1).iter() {
            let is_known = |watch: &Watch| watch.db == self.db && *watch.key == *key;
            if self.watches.iter().chain(&asked).any(is_known) {
                continue;
            }
            let shard = turn.node.shard_of(key);
            let here = self.watch_here(turn, shard, key);
            let watch = Watch {
                db: self.db,
                key: key.into(),
                shard,
                seen: here.unwrap_or(Seen::Contents(0)),
            };
            match here {
                Some(_) => self.watches.push(watch),
                None => asked.push(watch),
            }
        }
        if !asked.is_empty() {
            return self.watch_elsewhere(turn, asked, output);
        }
        self.end_watch(output);
        Step::Done
    }

    /// All keys are watched.
    pub(super) fn end_watch(&mut self, output: &mut Output) {
        self.client.facts.lock().watched = self.watches.len();
        Reply::new(output, self.protocol).ok();
    }

    /// Begins to watch a key of a shard without replicas; none if it has some.
    fn watch_here(&mut self, turn: Turn<'_>, shard: usize, key: &[u8]) -> Option<Seen> {
        let mut state = turn.node.lock(shard);
        if state.mode() == Mode::Grouped {
            return None;
        }
        state.run_clock(turn.now);
        let key_of = Key::new(turn.node.seed, self.db, key);
        let existed = state.cache.peek(key_of).is_some();
        let version = state.watch(self.db, key);
        Some(Seen::Version { version, existed })
    }

    pub(super) fn unwatch(
        &mut self,
        turn: Turn<'_>,
        access: &mut Access<'_>,
        reply: &mut Reply<'_>,
    ) {
        self.forget_watches(turn.node, access);
        reply.ok();
    }

    pub(super) fn forget_watches(&mut self, node: &Node, access: &mut Access<'_>) {
        if self.watches.is_empty() {
            return;
        }
        for watch in std::mem::take(&mut self.watches) {
            if let Seen::Version { .. } = watch.seen {
                access.with(node, watch.shard, |shard| {
                    shard.unwatch(watch.db, &watch.key)
                });
            }
        }
        self.client.facts.lock().watched = 0;
    }

    pub(super) fn exec(&mut self, turn: Turn<'_>, output: &mut Output) -> Step {
        let node = turn.node;
        let Some(transaction) = self.end_transaction() else {
            Reply::new(output, self.protocol).error("ERR EXEC without MULTI");
            return Step::Done;
        };
        let short = transaction
            .commands
            .iter()
            .any(|(row, _)| row.flags.has(Flags::DENYOOM))
            && node.budget.missing() > 0
            && node.relieve(turn.now) == Room::None;
        let lacks_locks = transaction
            .commands
            .iter()
            .any(|(_, args)| !self.has_lock_room(turn, args.args()));
        if transaction.spoiled || short || lacks_locks {
            self.forget_watches(node, &mut Access::Free);
            let reason = match (transaction.spoiled, short) {
                (true, _) => " previous errors.".to_owned(),
                (false, true) => format!(": {OOM}"),
                (false, false) => format!(": {LOCKS_OOM}"),
            };
            let text = format!("EXECABORT Transaction discarded because of{reason}");
            Reply::new(output, self.protocol).error(&text);
            return Step::Done;
        }
        if self.lacks_scripts(turn, &transaction) {
            return self.look_up(turn, Goal::Exec(transaction), output);
        }
        self.exec_all(turn, transaction, output)
    }

    /// EXEC of a transaction whose scripts are at hand, as far as anybody knows them.
    pub(super) fn exec_all(
        &mut self,
        turn: Turn<'_>,
        transaction: Transaction,
        output: &mut Output,
    ) -> Step {
        let node = turn.node;
        let shards = self.shards_of(turn, &transaction);
        let guards = lock_all(node, &shards);
        if guards
            .iter()
            .any(|(_, shard)| shard.mode() == Mode::Grouped)
        {
            drop(guards);
            return self.exec_on_group(turn, transaction, output);
        }
        self.holds_shards = true;
        let mut access = Access::Held(guards);
        let unchanged = self.watches.iter().all(|watch| {
            let Seen::Version { version, existed } = watch.seen else {
                return false; // the shard had replicas then: what happened since is not known
            };
            access.with(node, watch.shard, |shard| {
                shard.run_clock(turn.now);
                // A key that was there and has expired since counts as changed.
                let key = Key::new(node.seed, watch.db, &watch.key);
                let exists = shard.cache.peek(key).is_some();
                shard.is_unchanged(watch.db, &watch.key, version) && (exists || !existed)
            })
        });
        self.forget_watches(node, &mut access);
        if !unchanged {
            self.holds_shards = false;
            Reply::new(output, self.protocol).null_array();
            return Step::Done;
        }
        Reply::new(output, self.protocol).array(transaction.commands.len());
        let mut last = Step::Done;
        for (row, args) in &transaction.commands {
            let args = args.args();
            let started_us = node.host.monotonic_us();
            let mark = output.mark();
            let step = self.dispatch(turn, row, args, &mut access, output);
            self.show_to_monitors(turn, row, args);
            let took_us = node.host.monotonic_us() - started_us;
            node.stats.ran(self.client.id, row.id(), 1, took_us);
            self.timed(turn, row, args, took_us);
            self.note_error(turn, Some(row), mark, output);
            if matches!(step, Step::Close | Step::Shutdown) {
                last = step;
            }
        }
        drop(access);
        self.holds_shards = false;
        if std::mem::take(&mut self.listen_later) {
            node.listen_again();
        }
        self.has_flushed_scripts = false;
        self.share_scripts(turn);
        if !self.configure_later.is_empty() {
            let pairs = std::mem::take(&mut self.configure_later);
            node.configure_cluster(pairs, Box::new(drop));
        }
        if node.budget.missing() > 0 {
            node.relieve(turn.now);
        }
        last
    }

    /// EXEC itself was refused, by the error written since `mark`: the transaction is over.
    pub(super) fn abort_exec(&mut self, turn: Turn<'_>, mark: Mark, output: &mut Output) {
        self.end_transaction();
        self.forget_watches(turn.node, &mut Access::Free);
        let error = &output.tail_since(mark)[1..];
        let error = error.strip_prefix(b"ERR ").unwrap_or(error);
        let text = [
            b"EXECABORT Transaction discarded because of: ",
            error.trim_ascii_end(),
        ]
        .concat();
        output.rewind(mark);
        Reply::new(output, self.protocol).error_bytes(&text);
    }

    /// The shards that a transaction needs: those of its keys and of the watched ones, all of them if it walks.
    fn shards_of(&self, turn: Turn<'_>, transaction: &Transaction) -> Vec<usize> {
        let node = turn.node;
        let mut shards: Vec<usize> = self.watches.iter().map(|watch| watch.shard).collect();
        for (row, args) in &transaction.commands {
            match row.run {
                Run::Data(_) => {
                    let mut positions = SmallVec::new();
                    match commands::keys_of(row, args.args(), &mut positions) {
                        Ok(()) => shards.extend(
                            positions
                                .iter()
                                .map(|&at| node.shard_of(args.args().get(at))),
                        ),
                        Err(_) => shards.push(0), // it refuses its arguments itself, on any shard
                    }
                    if positions.is_empty() {
                        shards.push(0);
                    }
                }
                Run::Session(command) if walks(command) => {
                    return (0..node.shards_count()).collect();
                }
                Run::Session(command) if runs_script(command) => {
                    let mut positions = SmallVec::new();
                    // Arguments that do not tell their keys are refused by the command itself.
                    let _ = commands::keys_of(row, args.args(), &mut positions);
                    let keys = positions.iter().map(|&at| args.args().get(at));
                    shards.extend(keys.map(|key| node.shard_of(key)));
                }
                Run::Session(_) | Run::Later => {}
            }
        }
        shards.sort_unstable();
        shards.dedup();
        shards
    }
}

/// Session commands that have keys.
pub(super) fn runs_script(command: SessionCommand) -> bool {
    use SessionCommand as C;
    matches!(command, C::Eval | C::EvalRo | C::Evalsha | C::EvalshaRo)
}

/// Session commands that look at the shards themselves.
pub(super) fn walks(command: SessionCommand) -> bool {
    use SessionCommand as C;
    matches!(
        command,
        C::Keys
            | C::Scan
            | C::LockList
            | C::Dbsize
            | C::Randomkey
            | C::Flushall
            | C::Flushdb
            | C::Info
            | C::Memory
            | C::Debug
            | C::Cluster
            | C::Config
            | C::Unwatch
    )
}

#[cfg(test)]
mod tests;
