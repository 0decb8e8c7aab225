//! One request that is not on the short way, from its refusal to its reply: CLIENT PAUSE, MONITOR, Redis's refusals in
//! Redis's order, and which function runs which command.

use super::access::Access;
use super::redirect::Reads;
use super::scripting::Named;
use super::{Manner, Session, Step, Turn, cross_protocol, pubsub, server, transaction};
use crate::client::ClientFlag;
use crate::memory::OOM;
use crate::overlay::Writes;
use crate::pause::PauseMode;
use crate::pubsub::Kind;
use crate::wire::PublishKind;
use commands::walk::ScanOptions;
use commands::{CheckError, Flags, Row, Run, Session as SessionCommand};
use resp::{Args, Mark, Output, Protocol, Reply};
use std::sync::atomic::Ordering;

impl Session {
    /// The way of every request that is not plain: pause, MONITOR, refusals, the state of the connection, timing.
    pub(super) fn request_slow_path(
        &mut self,
        turn: Turn<'_>,
        row: Option<&'static Row>,
        args: Args<'_>,
        output: &mut Output,
    ) -> Step {
        if row.is_none() && cross_protocol::is_http(args) {
            self.tell_cross_protocol(turn);
            return Step::Close;
        }
        if let Some(holes) = &mut self.holes {
            holes.begin_request();
        }
        let mark = output.mark();
        let row = match self.admit(turn, row, args, output) {
            Ok(row) => row,
            Err(refused) => {
                self.refused(turn, refused, mark, output);
                return Step::Done;
            }
        };
        if let Some(step) = self.paused(turn, row) {
            return step;
        }
        let replies = self.replies;
        let started_us = turn.node.host.monotonic_us();
        let is_queued = self.transaction.is_some() && !transaction::runs_inside(row);
        let step = if is_queued {
            self.queue(turn, row, args, output);
            Step::Done
        } else {
            let step = self.dispatch(turn, row, args, &mut Access::Free, output);
            self.show_to_monitors(turn, row, args);
            step
        };
        let took_us = turn.node.host.monotonic_us() - started_us;
        self.timed(turn, row, args, took_us);
        self.note_error(turn, Some(row), mark, output);
        turn.node.stats.ran(self.client.id, row.id(), 1, took_us);
        self.client
            .last_row
            .store(row.id() as u32, Ordering::Relaxed);
        let is_client = matches!(row.run, Run::Session(SessionCommand::Client));
        if self.transaction.is_none() && !is_client {
            self.caching_next = None;
        }
        if self.pending.is_none() {
            match pubsub::confirms(row) && !is_queued {
                // CLIENT REPLY drops no confirmations, as they are no replies.
                true => self.end_reply(),
                false => self.finish_reply(replies, mark, output),
            }
            self.release_if_held(output);
        }
        if self.client.has_pushes() {
            // What the command pushed to its own connection goes out behind its reply.
            self.client.drain_outbox(output);
        }
        step
    }

    /// Shows a command that ran to those who listen.
    pub(super) fn show_to_monitors(&self, turn: Turn<'_>, row: &'static Row, args: Args<'_>) {
        if turn.node.monitors.is_on() {
            let node = turn.node;
            node.monitors.show(node, &self.client, self.db, row, args);
        }
    }

    /// Whether CLIENT PAUSE holds this request back. CLIENT itself goes on, so that a pause can be ended.
    pub(super) fn paused(&mut self, turn: Turn<'_>, row: &'static Row) -> Option<Step> {
        if !turn.node.pause.is_on() {
            return None;
        }
        let (mode, until_us) = turn.node.pause.current(turn.node.host.monotonic_us())?;
        let writes = row.flags.has(Flags::WRITE)
            || row.flags.has(Flags::MAY_REPLICATE)
            || matches!(row.run, Run::Session(SessionCommand::Exec)) && self.transaction_writes();
        let is_client = matches!(row.run, Run::Session(SessionCommand::Client));
        if is_client || mode == PauseMode::Write && !writes {
            return None;
        }
        self.postponed = true;
        self.client.set(ClientFlag::Blocked);
        Some(Step::Wait {
            until_us: Some(until_us),
        })
    }

    /// Refuses what may not run in the connection's state, in Redis's order and words.
    pub(super) fn admit(
        &mut self,
        turn: Turn<'_>,
        row: Option<&'static Row>,
        args: Args<'_>,
        output: &mut Output,
    ) -> Result<&'static Row, Option<&'static Row>> {
        let mut reply = Reply::new(output, self.protocol);
        let found = match row {
            Some(row) => Ok(row),
            None => commands::check(args),
        };
        let row = match found {
            Ok(row) => row,
            Err(CheckError::WrongArity(row)) => {
                reply.error_bytes(&CheckError::WrongArity(row).text());
                return Err(Some(row));
            }
            Err(error) => {
                reply.error_bytes(&error.text());
                return Err(None);
            }
        };
        if !self.authenticated && !row.flags.has(Flags::NO_AUTH) {
            reply.error("NOAUTH Authentication required.");
            return Err(Some(row));
        }
        if matches!(row.run, Run::Later) {
            reply.error(&commands::later_error(row));
            return Err(Some(row));
        }
        if self.transaction.is_some() && row.flags.has(Flags::NO_MULTI) {
            reply.error("ERR Command not allowed inside a transaction");
            return Err(Some(row));
        }
        if self.subscriptions_count() > 0
            && self.protocol == Protocol::Resp2
            && !pubsub::allowed_while_subscribed(row)
        {
            reply.error(&format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
                row.full_name()
            ));
            return Err(Some(row));
        }
        // What is queued takes memory too, reads included.
        let queues = self.transaction.is_some() && !transaction::runs_inside(row);
        if queues && !self.has_room(turn, args) {
            reply.error(OOM);
            return Err(Some(row));
        }
        if self.manner == Manner::Cluster
            && let Some(elsewhere) = self.redirect(turn, row, args)
        {
            reply.error(&elsewhere);
            return Err(Some(row));
        }
        let keyspace = [Flags::WRITE, Flags::READONLY, Flags::MAY_REPLICATE];
        if self.client.has(ClientFlag::Monitor) && keyspace.iter().any(|f| row.flags.has(*f)) {
            // Redis takes a connection that listens for a replica.
            reply.error("ERR Replica can't interact with the keyspace");
            return Err(Some(row));
        }
        Ok(row)
    }

    /// Takes note of a refusal: inside MULTI it spoils the transaction.
    pub(super) fn refused(
        &mut self,
        turn: Turn<'_>,
        row: Option<&'static Row>,
        mark: Mark,
        output: &mut Output,
    ) {
        if let Some(transaction) = &mut self.transaction {
            transaction.spoil();
        }
        if let Some(row) = row {
            turn.node.stats.refused(self.client.id, row.id());
            if matches!(row.run, Run::Session(SessionCommand::Exec)) {
                self.abort_exec(turn, mark, output);
            }
        }
        self.note_error(turn, None, mark, output);
        self.finish_reply(self.replies, mark, output);
    }

    /// Runs one admitted command, alone or inside EXEC.
    pub(super) fn dispatch(
        &mut self,
        turn: Turn<'_>,
        row: &'static Row,
        args: Args<'_>,
        access: &mut Access<'_>,
        output: &mut Output,
    ) -> Step {
        match row.run {
            Run::Data(execute) => {
                if !access.is_held()
                    && let Some(step) = self.run_over(turn, (row, execute), args, output)
                {
                    return step;
                }
                if !access.is_held()
                    && let Some(patience) = self.patience_of(row, args)
                {
                    return self.run_patiently(turn, row, execute, args, patience, output);
                }
                if let Some(blocks) = row.blocks
                    && blocks.waits(args)
                    && !access.is_held()
                    && self.transaction.is_none()
                {
                    return self.run_popping(turn, (row, blocks), execute, args, output);
                }
                self.run_data(turn, row, execute, args, &[], access, output);
                Step::Done
            }
            Run::Session(command) => self.session_command(turn, command, args, access, output),
            Run::Later => unreachable!("refused before it runs"),
        }
    }

    pub(super) fn session_command(
        &mut self,
        turn: Turn<'_>,
        command: SessionCommand,
        args: Args<'_>,
        access: &mut Access<'_>,
        output: &mut Output,
    ) -> Step {
        use SessionCommand as C;
        match command {
            C::Exec => return self.exec(turn, output),
            C::Watch => return self.watch(turn, args, output),
            C::Keys => return self.keys(turn, args, access, output),
            C::Scan => return self.scan(turn, ScanOptions::parse(args), access, output),
            C::LockList => {
                return self.scan(turn, ScanOptions::parse_locks(args), access, output);
            }
            C::Wait => return self.wait(turn, args, access, output),
            C::Waitaof => return self.waitaof(turn, args, access, output),
            C::Debug => return self.debug(turn, args, access, output),
            C::Shutdown => return self.shutdown(turn, args, output),
            C::Eval | C::EvalRo | C::Evalsha | C::EvalshaRo => {
                let how = match command {
                    C::Eval => (Named::BySource, Writes::Allowed),
                    C::EvalRo => (Named::BySource, Writes::Refused),
                    C::Evalsha => (Named::BySha, Writes::Allowed),
                    _ => (Named::BySha, Writes::Refused),
                };
                return self.eval(turn, args, how, access, output);
            }
            C::Script => return self.script(turn, args, access, output),
            C::Config => {
                self.config(turn, args, access, output);
                return Step::Done;
            }
            C::Flushall => {
                return self.flush(turn, crate::entry::ALL_DATABASES, args, access, output);
            }
            C::Flushdb => return self.flush(turn, self.db, args, access, output),
            C::Dbsize => return self.dbsize(turn, args, access, output),
            C::Randomkey => return self.randomkey(turn, access, output),
            _ => {}
        }
        let mut reply = Reply::new(output, self.protocol);
        match command {
            C::Quit => {
                reply.ok();
                return Step::Close;
            }
            C::Auth => self.auth(turn, args, &mut reply),
            C::Client => return self.client_command(turn, args, output),
            C::Echo => reply.bulk(args.get(1)),
            C::Hello => self.hello(turn, args, &mut reply),
            C::Ping => self.ping(args, &mut reply),
            C::Reset => self.reset(turn, output),
            C::Select => self.select(turn, args, &mut reply),
            C::Discard => self.discard(turn, &mut reply),
            C::Multi => self.multi(&mut reply),
            C::Unwatch => self.unwatch(turn, access, &mut reply),
            C::Subscribe => self.subscribe(turn, Kind::Channel, args, output),
            C::Psubscribe => self.subscribe(turn, Kind::Pattern, args, output),
            C::Ssubscribe => self.subscribe(turn, Kind::ShardChannel, args, output),
            C::Unsubscribe => self.unsubscribe(turn, Kind::Channel, args, output),
            C::Punsubscribe => self.unsubscribe(turn, Kind::Pattern, args, output),
            C::Sunsubscribe => self.unsubscribe(turn, Kind::ShardChannel, args, output),
            C::Publish => self.publish(turn, PublishKind::Channel, args, access, output),
            C::Spublish => self.publish(turn, PublishKind::Shard, args, access, output),
            C::Pubsub => self.pubsub(turn, args, &mut reply),
            C::Cluster => self.cluster(turn, args, access, &mut reply),
            C::Operate => self.operate(turn, args, access, output),
            C::TorcHot => {
                let hot = turn.node.hot(turn.now);
                let json = serde_json::to_string(&hot).expect("plain data is written to memory");
                reply.bulk(json.as_bytes());
            }
            C::TorcPlan => self.plan(turn, args, &mut reply),
            C::Command => commands::command(args, &mut reply),
            C::Info => self.info(turn, args, access, &mut reply),
            C::Latency => self.latency(turn, args, &mut reply),
            C::Memory => self.memory(turn, args, access, &mut reply),
            C::Monitor => self.monitor(turn, access, &mut reply),
            C::Readonly => self.set_reads(Reads::Anywhere, &mut reply),
            C::Readwrite => self.set_reads(Reads::AtLeader, &mut reply),
            C::Asking => self.asking(&mut reply),
            C::Slowlog => self.slowlog(turn, args, &mut reply),
            _ => server::answer(turn, command, args, &mut reply),
        }
        Step::Done
    }
}
