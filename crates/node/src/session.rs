//! One connection's side of the protocol: its state (database, protocol, transaction, subscriptions …) and the
//! loop that turns a batch of parsed requests into replies.
//!
//! The task that read the bytes calls [`Session::run`]; commands on local shards run right there. What has to
//! wait answers a [`Step`] that says for what, and the caller comes back with [`Session::run`].
//!
//! Order: replies leave in the order of the requests. A request that gave way is continued before the next begins.

mod access;
mod blocking;
mod client;
mod cluster;
mod config;
mod connection;
mod copies;
mod cross_protocol;
mod data;
mod debug;
mod diagnostics;
mod exec;
mod gathered;
mod grouped;
mod hold;
mod holes;
mod info;
mod long_scripts;
mod moved;
mod operate;
mod over_shards;
mod pending;
mod plan;
mod popping;
mod pubsub;
mod random;
mod records;
mod redirect;
mod request;
mod scripting;
mod server;
mod tally;
mod transaction;
mod wait;
mod walk;
mod window;

use crate::client::{Client, ClientFlag};
use crate::host::Now;
use crate::hot::KEYS_PER_SAMPLE;
use crate::node::Node;
use crate::settings::Settings;
use crate::tracking::Caching;
use access::Access;
use commands::context::Touch;
use commands::{Flags, Row, Run, Split};
use holes::Filling;
use pending::{Pending, ReplicasReply};
use resp::{Args, Batch, Output, Protocol, Reply};
use std::collections::BTreeSet;
use std::sync::Arc;
use tally::SLOWLOG_PRECISE_US;
use window::{Place, Window};

pub(crate) use cross_protocol::Told as HttpTold;

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
    /// Write the output, then call again where a thread may be held up for seconds without others waiting for it.
    Long,
    /// Call again at this monotonic microsecond (never, if none) or when roused.
    Wait {
        /// [`crate::Host::monotonic_us`]; none = only when roused.
        until_us: Option<u64>,
    },
    /// Write the output, then call again when roused: replies are on their way, from a log or from another node.
    /// They come in any case, be they errors, so a connection whose other end sends no more is not given up.
    Replies,
    /// Write the output, then call again at this monotonic microsecond (never, if none) or when roused. What is waited for
    /// may never come, so a connection whose other end is gone is given up.
    Blocked {
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

/// How a connection's listener treats keys that are led elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// Whatever node is asked, it answers.
    #[default]
    Plain,
    /// As Redis Cluster: `MOVED` names the node to ask.
    Cluster,
}

/// One connection's state.
pub struct Session {
    /// What others see of it.
    pub client: Arc<Client>,
    protocol: Protocol,
    manner: Manner,
    reads: redirect::Reads,
    db: u8,
    authenticated: bool,
    /// Whether a request may take the short way: authenticated, and none of the states below.
    plain: bool,
    replies: Replies,
    /// The last draw, which the next one follows from (`Session::call`).
    draw: u64,
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
    /// Locks that hang on the connection.
    session_locks: blocking::SessionLocks,
    /// Whether EXEC holds shards locked at the moment.
    holds_shards: bool,
    /// Keys that were asked for since one was counted ([`crate::hot`]).
    keys_seen: u32,
    /// Whether CLIENT PAUSE held the last request back.
    postponed: bool,
    /// Whether all scripts that were loaded before the running request are applied here.
    has_looked_up: bool,
    /// Whether the running transaction emptied the cache of scripts.
    has_flushed_scripts: bool,
    /// EXEC put off to tell the shards who listens.
    listen_later: bool,
    /// EXEC put off to tell the cluster of these settings.
    configure_later: Vec<(String, String)>,
    /// Runs of one command that are not counted yet.
    tally: Option<(&'static Row, u64)>,
    /// When the last call of [`Session::run`] began, [`crate::Host::monotonic_us`].
    began_us: u64,
    /// Where the parts of a split command answer.
    parts_reply: Output,
    /// Replies that come later; none until the first of them.
    holes: Option<Box<holes::Holes>>,
    /// Until when the reads of the running call of [`Session::run`] were right, [`crate::Host::monotonic_us`].
    lease_until_us: u64,
    /// What was read under leases since somebody looked at the clock, in keys.
    unsure: usize,
    /// When somebody last looked at the clock in this run.
    looked: Now,
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
            manner: Manner::Plain,
            reads: redirect::Reads::AtLeader,
            db: 0,
            authenticated,
            plain: authenticated,
            replies: Replies::On,
            draw: node.host.random(),
            transaction: None,
            watches: Vec::new(),
            channels: BTreeSet::new(),
            patterns: BTreeSet::new(),
            shard_channels: BTreeSet::new(),
            tracking: None,
            caching_next: None,
            touch: Touch::Yes,
            pending: None,
            session_locks: blocking::SessionLocks::default(),
            holds_shards: false,
            keys_seen: 0,
            postponed: false,
            has_looked_up: false,
            has_flushed_scripts: false,
            listen_later: false,
            configure_later: Vec::new(),
            tally: None,
            began_us: 0,
            parts_reply: Output::new(),
            holes: None,
            lease_until_us: u64::MAX,
            unsure: 0,
            looked: Now::default(),
        }
    }

    /// The same in the manner of its listener.
    pub fn in_manner(self, manner: Manner) -> Self {
        Session { manner, ..self }
    }

    /// The manner of its listener.
    pub fn manner(&self) -> Manner {
        self.manner
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
        (self.unsure, self.looked) = (0, now);
        let from = *next;
        let step = self.run_batch(turn, buffer, batch, next, output);
        if *next > from || self.tally.is_some() {
            let end_us = self.after_batch(turn, (*next - from) as u64);
            if std::mem::replace(&mut self.lease_until_us, u64::MAX) < end_us {
                // The process stood still in the meantime, and others may have written what was read here.
                return Step::Abort;
            }
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
        if self.has_holes() && self.fill_holes(turn, output) == Filling::Waiting {
            return Step::Replies;
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
            self.keys_seen += window.keys_count();
            if self.keys_seen >= KEYS_PER_SAMPLE {
                self.keys_seen = 0;
                self.sample_key(turn, buffer, batch, *next, &window);
            }
            for &prepared in window.requests() {
                if output.len() > OUTPUT_BYTES_SOFT_MAX {
                    return Step::Flush;
                }
                let args = batch.args(buffer, *next);
                let places = window.places(prepared);
                if self.has_holes()
                    && !self.may_follow(prepared.row, args)
                    && self.await_replies(turn, output) == Filling::Waiting
                {
                    return Step::Replies;
                }
                let step = if self.has_holes() {
                    let mut behind = self.take_behind();
                    let step = self.request(turn, prepared.row, places, args, &mut behind);
                    self.put_behind(behind);
                    step
                } else {
                    self.request(turn, prepared.row, places, args, output)
                };
                match step {
                    Step::Done => *next += 1,
                    Step::Wait { .. } if self.pending.is_none() => {
                        // Paused: the request has not begun, and those before it are answered meanwhile.
                        if self.has_holes() {
                            self.await_replies(turn, output);
                        }
                        return step;
                    }
                    Step::Flush
                    | Step::Yield
                    | Step::Long
                    | Step::Wait { .. }
                    | Step::Blocked { .. }
                    | Step::Replies
                    | Step::Close
                    | Step::Abort
                    | Step::Shutdown => {
                        *next += 1;
                        return step;
                    }
                }
            }
        }
        if self.has_holes() && self.await_replies(turn, output) == Filling::Waiting {
            return Step::Replies;
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
            && !row.flags.has(Flags::BLOCKING)
            && (places.len() < 2
                || row.split != Split::Whole
                || !over_shards::is_apart(turn, over_shards::shards_of(places)))
            && (self.session_locks.is_empty() || row.name != "lock.release")
            && turn.settings.slowlog_log_slower_than_us >= SLOWLOG_PRECISE_US
        {
            let mark = output.mark();
            if self.manner == Manner::Cluster
                && let Some(elsewhere) = self.redirect(turn, row, args)
            {
                Reply::new(output, self.protocol).error(&elsewhere);
                self.count(turn, row, mark, output);
                return Step::Done;
            }
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
        self.void_tickets();
        self.leave_blocked(node);
        node.disconnect(&self.client);
    }
}
