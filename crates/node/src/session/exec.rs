//! WATCH and EXEC on a shard that has replicas: the transaction is one operation of the shard's log, with what the
//! watched keys must still hold. If its keys live in several shards it takes a longer way (`over_shards`).
//!
//! Commands of the session itself (PING, SELECT, PUBLISH …) are not part of the operation: they run when its reply is
//! there, and answer in their places.

use super::access::Access;
use super::gathered::What;
use super::over_shards::{Goal, kind_of};
use super::pending::Pending;
use super::plan::Plan;
use super::transaction::{Seen, Transaction, Watch, runs_script, walks};
use super::window::places_of;
use super::{Session, Step, Turn};
use crate::group::{Mode, OpKind, Request};
use crate::questions;
use commands::context::Touch;
use commands::{Row, Run, Session as SessionCommand};
use resp::{Args, Output, OwnedArgs, Reply, parse_u64, split_array, split_reply};

/// What EXEC says of commands that look at all shards.
const WALKS: &str = "CROSSSLOT KEYS, SCAN, DBSIZE, RANDOMKEY, FLUSHDB and FLUSHALL look at all shards and cannot be part of a transaction";

/// An EXEC whose operation is on its way.
pub(super) struct HalfExec {
    commands: Vec<(&'static Row, OwnedArgs)>,
    slot: u32,
}

/// A WATCH whose keys' contents are on their way, each in the slot of its place.
pub(super) struct HalfWatch {
    watches: Vec<Watch>,
}

impl Session {
    /// Asks the leaders what keys hold.
    pub(super) fn watch_elsewhere(
        &mut self,
        turn: Turn<'_>,
        watches: Vec<Watch>,
        output: &mut Output,
    ) -> Step {
        for watch in &watches {
            let question = OwnedArgs::from_slices(&[questions::FINGERPRINT, &watch.key]);
            if let Err(refusal) = self.ask(turn, watch.shard, watch.db, &question) {
                self.void_tickets();
                Reply::new(output, self.protocol).error(&refusal);
                return Step::Done;
            }
        }
        self.wait_alone(turn, Pending::Watch(HalfWatch { watches }), output)
    }

    /// The keys' contents came.
    pub(super) fn go_on_watch(&mut self, half: HalfWatch, output: &mut Output) -> Step {
        let mut watches = half.watches;
        let told = self.take_replies(|slots| {
            let replies = (0..).map_while(|slot| slots.get(slot));
            for (watch, reply) in watches.iter_mut().zip(replies) {
                match fingerprint_of(reply) {
                    Some(contents) => watch.seen = Seen::Contents(contents),
                    None => return Err(reply.to_vec()),
                }
            }
            Ok(())
        });
        match told {
            None => {
                self.pending = Some(Pending::Watch(HalfWatch { watches }));
                return Step::Replies;
            }
            Some(Err(refusal)) => output.tail_mut().extend_from_slice(&refusal),
            Some(Ok(())) => {
                self.watches.append(&mut watches);
                self.end_watch(output);
            }
        }
        Step::Done
    }

    /// EXEC where at least one of the shards that it needs has replicas.
    pub(super) fn exec_on_group(
        &mut self,
        turn: Turn<'_>,
        transaction: Transaction,
        output: &mut Output,
    ) -> Step {
        if has_walk(&transaction) {
            self.forget_watches(turn.node, &mut Access::Free);
            Reply::new(output, self.protocol).error(WALKS);
            return Step::Done;
        }
        let is_lost = |watch: &Watch| matches!(watch.seen, Seen::Version { .. });
        if self.watches.iter().any(is_lost) {
            // The shard had no replicas when the key was watched: what happened since is not known.
            self.forget_watches(turn.node, &mut Access::Free);
            Reply::new(output, self.protocol).null_array();
            return Step::Done;
        }
        self.remember_transaction(turn, &transaction);
        let plan = self.plan_of(turn, &transaction);
        let watches = std::mem::take(&mut self.watches);
        self.client.facts.lock().watched = 0;
        let (shard, operations) = match plan.map(Plan::into_one) {
            Some(Ok(one)) => one,
            None => {
                let commands = transaction.commands;
                return self.gather(turn, What::Exec { commands, watches }, None, output);
            }
            Some(Err(plan)) => {
                return self.begin_over(turn, plan, Goal::Exec(transaction.commands), output);
            }
        };
        let slices: Vec<&[u8]> = operations.iter().map(Vec::as_slice).collect();
        let operations = OwnedArgs::from_slices(&slices);
        let request = Request {
            kind: OpKind::Multi,
            db: self.db,
            flags: self.op_flags(Touch::Yes),
            args: operations.args(),
            after: 0,
        };
        let mut state = turn.node.lock(shard);
        let queued = match state.mode() {
            Mode::Grouped => self.queue_on(turn, shard, &mut state, request),
            // It lost its replicas this moment: as if it had been too early.
            Mode::Solo => {
                Err("TRYAGAIN The shard's replicas are changing, please try again".into())
            }
        };
        drop(state);
        match queued {
            Ok(slot) => {
                let commands = transaction.commands;
                self.wait_alone(turn, Pending::Exec(HalfExec { commands, slot }), output)
            }
            Err(refusal) => {
                Reply::new(output, self.protocol).error(&refusal);
                Step::Done
            }
        }
    }

    /// Notes what is read, each command as the CLIENT CACHING ahead of it says.
    fn remember_transaction(&mut self, turn: Turn<'_>, transaction: &Transaction) {
        for (row, args) in &transaction.commands {
            let args = args.args();
            let is_client = matches!(row.run, Run::Session(SessionCommand::Client));
            if is_client && args.get(1).eq_ignore_ascii_case(b"caching") {
                self.choose_caching(args.get(2));
            } else {
                self.remember_reads_ahead(turn, [(*row, args)].into_iter());
            }
        }
    }

    /// The operation's reply came: puts it together with the replies of the session's own commands.
    pub(super) fn go_on_exec(
        &mut self,
        turn: Turn<'_>,
        half: HalfExec,
        output: &mut Output,
    ) -> Step {
        let reply = self.take_replies(|slots| slots.get(half.slot).map(<[u8]>::to_vec));
        let Some(reply) = reply else {
            self.pending = Some(Pending::Exec(half));
            return Step::Replies;
        };
        let reply = reply.unwrap_or_default();
        let Some(mut elements) = split_array(&reply) else {
            // A check failed, or it was refused.
            output.tail_mut().extend_from_slice(&reply);
            return Step::Done;
        };
        self.answer_exec(turn, &half.commands, output, &mut |_, output| {
            let (element, rest) = split_reply(elements).unwrap_or((b"_\r\n", b""));
            output.tail_mut().extend_from_slice(element);
            elements = rest;
        })
    }

    /// Writes EXEC's reply: `next` that of each data command, the session's own commands answer for themselves.
    pub(super) fn answer_exec(
        &mut self,
        turn: Turn<'_>,
        commands: &[(&'static Row, OwnedArgs)],
        output: &mut Output,
        next: &mut dyn FnMut(&Session, &mut Output),
    ) -> Step {
        let mut last = Step::Done;
        Reply::new(output, self.protocol).array(commands.len());
        for (row, args) in commands {
            let mark = output.mark();
            match row.run {
                Run::Data(_) => next(self, output),
                Run::Session(command) if runs_script(command) => next(self, output),
                Run::Session(_) | Run::Later => {
                    let step =
                        self.dispatch(turn, row, args.args(), &mut Access::InTransaction, output);
                    if matches!(step, Step::Close | Step::Shutdown) {
                        last = step;
                    }
                }
            }
            self.show_to_monitors(turn, row, args.args());
            turn.node.stats.ran(self.client.id, row.id(), 1, 0);
            self.note_error(turn, Some(row), mark, output);
        }
        self.has_flushed_scripts = false;
        last
    }

    /// What a transaction does in which shard: checks of watched keys, then its data commands, each in the database that
    /// was selected then. None if there is one among them that runs on copies of its keys: then so do all.
    fn plan_of(&self, turn: Turn<'_>, transaction: &Transaction) -> Option<Plan> {
        let mut plan = Plan::default();
        for watch in &self.watches {
            if let Seen::Contents(contents) = watch.seen {
                let check = OwnedArgs::from_slices(&[&watch.key, &contents.to_le_bytes()]);
                let operation = self.operation(OpKind::Check, watch.db, check.args());
                plan.add_operation(watch.shard, operation);
            }
        }
        let mut db = self.db;
        for (row, args) in &transaction.commands {
            match row.run {
                Run::Data(_) => {
                    let places = places_of(turn.node, row, args.args());
                    let encode = |args: Args<'_>| self.operation(kind_of(row), db, args);
                    plan.add_command(row, args.args(), &places, &encode).ok()?;
                }
                Run::Session(command) if runs_script(command) => return None,
                Run::Session(SessionCommand::Select) => db = selected(turn, args).unwrap_or(db),
                Run::Session(_) | Run::Later => {}
            }
        }
        Some(plan)
    }
}

fn has_walk(transaction: &Transaction) -> bool {
    let mut rows = transaction.commands.iter().map(|(row, _)| row);
    rows.any(|row| match row.run {
        Run::Session(command) => walks(command) && looks_at_all(command),
        Run::Data(_) | Run::Later => false,
    })
}

/// The database that a SELECT chooses, if there is such a one.
pub(super) fn selected(turn: Turn<'_>, select: &OwnedArgs) -> Option<u8> {
    let wanted = select.args().iter().nth(1).and_then(parse_u64)?;
    (wanted < turn.settings.databases as u64).then_some(wanted as u8)
}

/// Whether a command looks at the keys of all shards (and not at this node's own figures).
fn looks_at_all(command: SessionCommand) -> bool {
    use SessionCommand as C;
    matches!(
        command,
        C::Keys | C::Scan | C::LockList | C::Dbsize | C::Randomkey | C::Flushall | C::Flushdb
    )
}

/// The contents in the answer to a question about one key.
fn fingerprint_of(reply: &[u8]) -> Option<u64> {
    let bulk = split_array(reply)?.strip_prefix(b"$8\r\n")?;
    Some(u64::from_le_bytes(*bulk.first_chunk()?))
}
