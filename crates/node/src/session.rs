//! One connection's side of the protocol: its state (database, protocol, transaction, subscriptions …) and the
//! loop that turns a batch of parsed requests into replies.
//!
//! The task that read the bytes calls [`Session::run`]; commands on local shards run right there. What has to
//! wait answers a [`Step`] that says for what, and the caller comes back with [`Session::run`].
//!
//! Order: replies leave in the order of the requests. A request that gave way is continued before the next begins.

mod access;
mod client;
mod config;
mod connection;
mod data;
mod debug;
mod diagnostics;
mod info;
mod pubsub;
mod server;
mod transaction;
mod walk;
mod window;

use crate::client::{Client, ClientFlag};
use crate::host::Now;
use crate::latency::LatencyEvent;
use crate::monitor;
use crate::node::Node;
use crate::pause::PauseMode;
use crate::pubsub::Kind;
use crate::settings::Settings;
use crate::tracking::Caching;
use access::Access;
use commands::context::Touch;
use commands::{CheckError, Flags, Row, Run, Session as SessionCommand};
use resp::{Args, Batch, Mark, Output, Protocol, Reply};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use window::{Place, Window};

/// Replies beyond this are written to the socket before more requests of the same batch run: a reader that does not
/// read stops its own requests.
const OUTPUT_BYTES_SOFT_MAX: usize = 1 << 20;

/// What the connection's task is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// All requests of the batch ran.
    Done,
    /// Write the output, then call again.
    Flush,
    /// Let others run, then call again: a long walk goes on in steps.
    Yield,
    /// Call again at this monotonic microsecond (never, if none) or when roused.
    Wait {
        /// [`crate::Host::monotonic_us`]; none = only when roused.
        until_us: Option<u64>,
    },
    /// Write the output, then close.
    Close,
    /// Close without writing: the client is not to see what is left.
    Abort,
    /// Write the output, then end the process in good order.
    Shutdown,
}

/// One connection's state.
pub struct Session {
    /// What others see of it.
    pub client: Arc<Client>,
    protocol: Protocol,
    db: u8,
    authenticated: bool,
    /// Whether a request may take the short way: authenticated, and none of the states below.
    plain: bool,
    replies: Replies,
    transaction: Option<transaction::Transaction>,
    watches: Vec<transaction::Watch>,
    channels: BTreeSet<Box<[u8]>>,
    patterns: BTreeSet<Box<[u8]>>,
    shard_channels: BTreeSet<Box<[u8]>>,
    /// Which reads are remembered for client-side caching; none = no default-mode tracking.
    tracking: Option<Caching>,
    /// `CLIENT CACHING` for the next command.
    caching_next: Option<bool>,
    touch: Touch,
    pending: Option<Pending>,
    /// Whether EXEC holds shards locked at the moment.
    holds_shards: bool,
    /// Whether CLIENT PAUSE held the last request back.
    postponed: bool,
    /// EXEC put off to tell the shards who listens.
    listen_later: bool,
    /// Runs of one command that are not counted yet.
    tally: Option<(&'static Row, u64)>,
    /// When the last call of [`Session::run`] began, [`crate::Host::monotonic_us`].
    began_us: u64,
    /// Where the parts of a split command answer.
    parts_reply: Output,
}

/// CLIENT REPLY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replies {
    On,
    Off,
    /// The reply of the running command (`CLIENT REPLY SKIP` itself) and of the next are dropped.
    SkipNext,
    Skip,
}

/// A request that gave way.
enum Pending {
    /// KEYS or a long SCAN, half done.
    Walk(walk::HalfWalk),
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
enum ReplicasReply {
    /// `:0`
    Wait,
    /// `*2 :0 :0`
    WaitAof,
}

/// What one turn of work is done with.
#[derive(Clone, Copy)]
pub(crate) struct Turn<'a> {
    pub node: &'a Node,
    pub now: Now,
    pub settings: &'a Settings,
}

impl Session {
    /// A new connection's state. It is authenticated from the start if there is no password.
    pub fn new(client: Arc<Client>, node: &Node) -> Self {
        let authenticated = node.settings.load().requirepass.is_empty();
        Session {
            client,
            protocol: Protocol::Resp2,
            db: 0,
            authenticated,
            plain: authenticated,
            replies: Replies::On,
            transaction: None,
            watches: Vec::new(),
            channels: BTreeSet::new(),
            patterns: BTreeSet::new(),
            shard_channels: BTreeSet::new(),
            tracking: None,
            caching_next: None,
            touch: Touch::Yes,
            pending: None,
            holds_shards: false,
            postponed: false,
            listen_later: false,
            tally: None,
            began_us: 0,
            parts_reply: Output::new(),
        }
    }

    /// Whether it has shown who it is.
    pub fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    /// When the last call of [`Session::run`] began, [`crate::Host::monotonic_us`]: a clock that is read already.
    pub fn began_us(&self) -> u64 {
        self.began_us
    }

    /// Runs the requests of `batch` from `next` on, and moves `next` past what ran. Called again after a step other
    /// than [`Step::Done`], it goes on where it stopped.
    pub fn run(
        &mut self,
        node: &Node,
        buffer: &[u8],
        batch: &Batch,
        next: &mut usize,
        output: &mut Output,
    ) -> Step {
        let now = node.now();
        let settings = node.settings.load();
        let turn = Turn {
            node,
            now,
            settings: &settings,
        };
        self.began_us = now.monotonic_us;
        let from = *next;
        let step = self.run_batch(turn, buffer, batch, next, output);
        if *next > from || self.tally.is_some() {
            self.after_batch(turn, (*next - from) as u64);
        }
        step
    }

    fn run_batch(
        &mut self,
        turn: Turn<'_>,
        buffer: &[u8],
        batch: &Batch,
        next: &mut usize,
        output: &mut Output,
    ) -> Step {
        if std::mem::take(&mut self.postponed) {
            self.client.clear(ClientFlag::Blocked);
        }
        if self.pending.is_some() {
            let step = self.go_on(turn, output);
            if self.pending.is_some() {
                return step;
            }
        }
        while *next < batch.len() {
            let mut window = Window::new();
            self.look_ahead(turn, buffer, batch, *next, &mut window);
            for &prepared in window.requests() {
                if output.len() > OUTPUT_BYTES_SOFT_MAX {
                    return Step::Flush;
                }
                let args = batch.args(buffer, *next);
                let places = window.places(prepared);
                let step = self.request(turn, prepared.row, places, args, output);
                match step {
                    Step::Done => *next += 1,
                    Step::Wait { .. } if self.pending.is_none() => return step, // paused: the request has not begun
                    Step::Flush
                    | Step::Yield
                    | Step::Wait { .. }
                    | Step::Close
                    | Step::Abort
                    | Step::Shutdown => {
                        *next += 1;
                        return step;
                    }
                }
            }
        }
        Step::Done
    }

    /// Runs one request from its refusal or reply to the counters.
    #[inline]
    fn request(
        &mut self,
        turn: Turn<'_>,
        row: Option<&'static Row>,
        places: &[Place],
        args: Args<'_>,
        output: &mut Output,
    ) -> Step {
        if self.plain
            && let Some(row) = row
            && let Run::Data(execute) = row.run
            && !turn.node.monitors.is_on()
            && !turn.node.pause.is_on()
            && row.flags.has_any(Flags::FAST.and(Flags::BRIEF))
            && turn.settings.slowlog_log_slower_than_us >= SLOWLOG_PRECISE_US
        {
            let mark = output.mark();
            match places {
                [place] if row.is_single_key() => {
                    self.run_on_one(turn, row, execute, args, *place, output);
                }
                _ => self.run_data(turn, row, execute, args, places, &mut Access::Free, output),
            }
            self.count(turn, row, mark, output);
            return Step::Done;
        }
        self.request_slow_path(turn, row, args, output)
    }

    /// The way of every request that is not plain: pause, MONITOR, refusals, the state of the connection, timing.
    fn request_slow_path(
        &mut self,
        turn: Turn<'_>,
        row: Option<&'static Row>,
        args: Args<'_>,
        output: &mut Output,
    ) -> Step {
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
        let step = if self.transaction.is_some() && !transaction::runs_inside(row) {
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
        if self.pending.is_none() && !pubsub::confirms(row) {
            self.finish_reply(replies, mark, output);
        }
        if self.client.wants_attention() {
            // What the command pushed to its own connection goes out behind its reply.
            self.client.drain_outbox(output);
        }
        step
    }

    /// Shows a command that ran to those who listen.
    fn show_to_monitors(&self, turn: Turn<'_>, row: &'static Row, args: Args<'_>) {
        if turn.node.monitors.is_on() {
            let node = turn.node;
            node.monitors.show(node, &self.client, self.db, row, args);
        }
    }

    /// Whether CLIENT PAUSE holds this request back. CLIENT itself goes on, so that a pause can be ended.
    fn paused(&mut self, turn: Turn<'_>, row: &'static Row) -> Option<Step> {
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
    fn admit(
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
            reply.error(data::OOM);
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
    fn refused(
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
    fn dispatch(
        &mut self,
        turn: Turn<'_>,
        row: &'static Row,
        args: Args<'_>,
        access: &mut Access<'_>,
        output: &mut Output,
    ) -> Step {
        match row.run {
            Run::Data(execute) => {
                self.run_data(turn, row, execute, args, &[], access, output);
                Step::Done
            }
            Run::Session(command) => self.session_command(turn, command, args, access, output),
            Run::Later => unreachable!("refused before it runs"),
        }
    }

    fn session_command(
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
            C::Keys => return self.keys(turn, args, access, output),
            C::Scan => return self.scan(turn, args, access, output),
            C::Wait => return self.wait(turn, args, access, output),
            C::Waitaof => return self.waitaof(turn, args, access, output),
            C::Debug => return self.debug(turn, args, access, output),
            C::Shutdown => return self.shutdown(turn, args, output),
            C::Flushall => {
                self.flush(turn, crate::entry::ALL_DATABASES, args, access, output);
                return Step::Done;
            }
            C::Flushdb => {
                self.flush(turn, self.db, args, access, output);
                return Step::Done;
            }
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
            C::Watch => self.watch(turn, args, &mut reply),
            C::Subscribe => self.subscribe(turn, Kind::Channel, args, output),
            C::Psubscribe => self.subscribe(turn, Kind::Pattern, args, output),
            C::Ssubscribe => self.subscribe(turn, Kind::ShardChannel, args, output),
            C::Unsubscribe => self.unsubscribe(turn, Kind::Channel, args, output),
            C::Punsubscribe => self.unsubscribe(turn, Kind::Pattern, args, output),
            C::Sunsubscribe => self.unsubscribe(turn, Kind::ShardChannel, args, output),
            C::Publish => self.publish(turn, Kind::Channel, args, output),
            C::Spublish => self.publish(turn, Kind::ShardChannel, args, output),
            C::Pubsub => self.pubsub(turn, args, &mut reply),
            C::Dbsize => self.dbsize(turn, access, &mut reply),
            C::Randomkey => self.randomkey(turn, access, &mut reply),
            C::Command => commands::command(args, &mut reply),
            C::Config => self.config(turn, args, access, &mut reply),
            C::Info => self.info(turn, args, access, &mut reply),
            C::Latency => self.latency(turn, args, &mut reply),
            C::Memory => self.memory(turn, args, access, &mut reply),
            C::Monitor => self.monitor(turn, access, &mut reply),
            C::Slowlog => self.slowlog(turn, args, &mut reply),
            _ => server::answer(turn, command, args, &mut reply),
        }
        Step::Done
    }

    /// Goes on with a request that gave way.
    fn go_on(&mut self, turn: Turn<'_>, output: &mut Output) -> Step {
        let mark = output.mark();
        let step = match self.pending.take().expect("the caller saw it") {
            Pending::Walk(walk) => self.go_on_walk(turn, walk, output),
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
                self.no_replicas(reply, output);
                Step::Done
            }
            Pending::Replicas { until_us, reply } => {
                self.pending = Some(Pending::Replicas { until_us, reply });
                Step::Wait { until_us }
            }
        };
        if self.pending.is_none() {
            self.client.clear(ClientFlag::Blocked);
            self.finish_reply(self.replies, mark, output);
        }
        step
    }

    /// Counts a plain command; equal ones in a row are added up and told once.
    #[inline]
    fn count(&mut self, turn: Turn<'_>, row: &'static Row, mark: Mark, output: &mut Output) {
        match &mut self.tally {
            Some((same, count)) if std::ptr::eq(*same, row) => *count += 1,
            _ => {
                self.flush_tally(turn, 0);
                self.tally = Some((row, 1));
            }
        }
        if output.since(mark) == Some(b'-') {
            self.note_error(turn, Some(row), mark, output);
        }
    }

    fn flush_tally(&mut self, turn: Turn<'_>, each_us: u64) {
        if let Some((row, count)) = self.tally.take() {
            turn.node
                .stats
                .ran(self.client.id, row.id(), count, each_us * count);
            self.client
                .last_row
                .store(row.id() as u32, Ordering::Relaxed);
        }
    }

    /// Counts an error reply written since `mark`.
    fn note_error(
        &mut self,
        turn: Turn<'_>,
        row: Option<&'static Row>,
        mark: Mark,
        output: &mut Output,
    ) {
        if output.since(mark) != Some(b'-') {
            return;
        }
        if let Some(row) = row {
            turn.node.stats.failed(self.client.id, row.id());
        }
        turn.node.stats.error(&output.tail_since(mark)[1..]);
    }

    /// SLOWLOG and LATENCY of a command that was timed alone.
    fn timed(&mut self, turn: Turn<'_>, row: &'static Row, args: Args<'_>, took_us: u64) {
        // Not the turn's: a CONFIG SET counts for itself.
        let settings = turn.node.settings.load();
        let threshold_us = settings.slowlog_log_slower_than_us;
        if threshold_us >= 0
            && took_us >= threshold_us as u64
            && !row.flags.has(Flags::SKIP_SLOWLOG)
        {
            let name = self.client.facts.lock().name.clone();
            let hidden = monitor::without_secrets(row, args);
            let args = hidden.as_ref().map_or(args, |hidden| hidden.args());
            let wall_s = turn.node.host.wall_us() / 1_000_000;
            turn.node
                .slowlog
                .add(args, took_us, wall_s, &self.client.addr, &name);
        }
        let threshold_ms = settings.latency_monitor_threshold_ms;
        if threshold_ms > 0 && took_us / 1000 >= threshold_ms {
            let fast = row.flags.has(Flags::FAST);
            let event = if fast {
                LatencyEvent::FastCommand
            } else {
                LatencyEvent::Command
            };
            turn.node
                .latency
                .add(event, took_us / 1000, turn.node.host.wall_us() / 1_000_000);
        }
    }

    /// CLIENT REPLY OFF and SKIP drop what was written since `mark`. `before` is the mode that the command began
    /// under: EXEC's own reply is not dropped by what is inside it.
    fn finish_reply(&mut self, before: Replies, mark: Mark, output: &mut Output) {
        if before == Replies::On && self.replies == Replies::On {
            return;
        }
        if before != Replies::On && self.replies != Replies::On {
            output.rewind(mark);
        }
        self.replies = match self.replies {
            Replies::SkipNext => Replies::Skip,
            Replies::Skip => Replies::On,
            Replies::On | Replies::Off => self.replies,
        };
        self.replan();
    }

    /// Tells the counters and the client's face of the requests that ran.
    fn after_batch(&mut self, turn: Turn<'_>, requests: u64) {
        let end_us = turn.node.host.monotonic_us();
        let took_us = end_us - turn.now.monotonic_us;
        self.flush_tally(turn, took_us / requests.max(1));
        self.client.active_us.store(end_us, Ordering::Relaxed);
        self.client.db.store(self.db, Ordering::Relaxed);
    }

    /// Works out anew whether the short way is open.
    fn replan(&mut self) {
        self.plain = self.authenticated
            && self.transaction.is_none()
            && self.replies == Replies::On
            && self.tracking.is_none()
            && (self.protocol == Protocol::Resp3 || self.subscriptions_count() == 0);
    }

    fn subscriptions_count(&self) -> usize {
        self.channels.len() + self.patterns.len() + self.shard_channels.len()
    }

    /// Ends the session: unwatches, unsubscribes, leaves the registry.
    pub fn close(&mut self, node: &Node) {
        self.forget_watches(node, &mut Access::Free);
        self.leave_all_channels(node);
        node.disconnect(&self.client);
    }
}

/// A SLOWLOG threshold below this times every command alone; above it the commands that Redis flags as fast are
/// not timed one by one.
const SLOWLOG_PRECISE_US: i64 = 1000;
