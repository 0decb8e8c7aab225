//! Snapshot streams: the way to a replica that needs what the log has dropped (rules R12, R13).
//!
//! ```text
//!   sender                                receiver
//!   SnapshotOffer{stream, base, config} ─▶
//!                                       ◀─ SnapshotAck{next: 0}      (or abort: it has the base already)
//!   SnapshotChunk{0}, {1} … window      ─▶ staged by the owner
//!                                       ◀─ SnapshotAck{next}
//!   SnapshotChunk{n, last}              ─▶ Install, then SnapshotInstalled
//! ```
//!
//! Chunks stay with the sender until they are acknowledged, so a lost one is sent again. The log above a stream's base
//! stays too, within a bound: the receiver goes on from it.

use crate::door::{Output, Record, Settings, SnapshotBase, SnapshotStep};
use crate::message::Kind;
use crate::mutation::Mutation;
use crate::replica::{ConfigNews, Replica, Role};
use crate::types::{Config, Index, ReplicaId};
use bytes::Bytes;
use std::collections::VecDeque;

/// Streams that a replica serves at a time.
const STREAMS_MAX: usize = 4;

/// The log may grow to so many times its budget for the sake of streams and checkpoints.
const PINNED_TIMES_MAX: usize = 4;

/// A stream is given up after this many election timeouts without a word.
const SILENT_TIMEOUTS_MAX: u64 = 8;

/// A snapshot that goes out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Outgoing {
    stream: u64,
    to: ReplicaId,
    base: Index,
    config: Config,
    /// Chunks that are made and not acknowledged; the first has this sequence number.
    first: u64,
    chunks: VecDeque<(Bytes, ChunkPlace)>,
    /// The receiver wants it.
    is_wanted: bool,
    /// The owner makes a chunk.
    is_asked: bool,
    /// Last sign of the receiver that it comes on, us.
    heard_us: u64,
    /// What is in flight was sent then, us.
    sent_us: u64,
}

/// Where in a stream a chunk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum ChunkPlace {
    Middle,
    Last,
}

/// A snapshot that comes in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Incoming {
    from: ReplicaId,
    stream: u64,
    base: Index,
    config: Config,
    /// The next chunk.
    next: u64,
    /// All chunks are here; the owner replaces its state.
    is_installing: bool,
    heard_us: u64,
}

impl Outgoing {
    /// Its name.
    pub(crate) fn stream(&self) -> u64 {
        self.stream
    }

    /// When to send again, us.
    pub(crate) fn wake_us(&self, settings: &Settings) -> u64 {
        self.sent_us + 2 * settings.heartbeat_us
    }

    fn is_made(&self) -> bool {
        self.chunks
            .back()
            .is_some_and(|(_, place)| *place == ChunkPlace::Last)
    }
}

impl Replica {
    /// Whether the owner is replacing its state; nothing is applied meanwhile.
    pub(crate) fn is_installing(&self) -> bool {
        self.incoming.as_ref().is_some_and(|i| i.is_installing)
    }

    /// Begins the streams that this step found necessary. At its end, so that their base is all that it applied.
    pub(crate) fn begin_streams(&mut self, out: &mut Output) {
        for to in std::mem::take(&mut self.offers) {
            let served = self.outgoing.iter().any(|stream| stream.to == to);
            if served || self.outgoing.len() >= STREAMS_MAX || self.is_installing() {
                continue;
            }
            self.stream_last += 1;
            let stream = Outgoing {
                stream: self.stream_last,
                to,
                base: self.chosen,
                config: self.config.clone(),
                first: 0,
                chunks: VecDeque::new(),
                is_wanted: false,
                is_asked: false,
                heard_us: self.now_us,
                sent_us: self.now_us,
            };
            out.snapshot.push(SnapshotStep::Begin {
                stream: stream.stream,
                to,
            });
            self.send_offer(&stream, out);
            self.outgoing.push(stream);
        }
    }

    fn send_offer(&self, stream: &Outgoing, out: &mut Output) {
        let kind = Kind::SnapshotOffer {
            stream: stream.stream,
            base: stream.base,
            config: stream.config.clone(),
        };
        out.send_first.push(self.names.message(stream.to, kind));
    }

    /// The owner made a chunk.
    pub(crate) fn on_chunk_made(
        &mut self,
        stream: u64,
        bytes: Bytes,
        last: bool,
        out: &mut Output,
    ) {
        let names = self.names;
        let now_us = self.now_us;
        let Some(outgoing) = self.outgoing.iter_mut().find(|o| o.stream == stream) else {
            return;
        };
        if !outgoing.is_asked {
            return;
        }
        outgoing.is_asked = false;
        if outgoing.chunks.is_empty() {
            outgoing.sent_us = now_us;
        }
        let sequence = outgoing.first + outgoing.chunks.len() as u64;
        let place = if last {
            ChunkPlace::Last
        } else {
            ChunkPlace::Middle
        };
        outgoing.chunks.push_back((bytes.clone(), place));
        let kind = Kind::SnapshotChunk {
            stream,
            sequence,
            bytes,
            last,
        };
        out.send_first.push(names.message(outgoing.to, kind));
        outgoing.ask_for_more(&self.settings, out);
    }

    /// The receiver says what it has.
    pub(crate) fn on_snapshot_ack(
        &mut self,
        from: ReplicaId,
        stream: u64,
        next: u64,
        abort: bool,
        out: &mut Output,
    ) {
        let now_us = self.now_us;
        let votes = self.is_voter(from);
        let Some(at) = self
            .outgoing
            .iter()
            .position(|o| o.stream == stream && o.to == from)
        else {
            return;
        };
        let outgoing = &mut self.outgoing[at];
        // Only what brings the stream on is a sign: a receiver that restarted, and took up an offer that was under way for
        // long, waits for chunks that are gone here.
        if next > outgoing.first || !outgoing.is_wanted {
            outgoing.heard_us = now_us;
        }
        outgoing.is_wanted = true;
        let base = outgoing.base;
        let mut is_taken = false;
        while outgoing.first < next
            && let Some((_, place)) = outgoing.chunks.pop_front()
        {
            outgoing.first += 1;
            outgoing.sent_us = now_us;
            is_taken |= place == ChunkPlace::Last;
        }
        if is_taken
            && !votes
            && let Role::Leader(leader) = &mut self.role
        {
            // As far as the receiver knows, the configuration stands at the base: that it is passed it learns from what is behind.
            leader.fill_to = leader.fill_to.max(base.next());
        }
        if is_taken || abort {
            self.drop_stream(at, out);
        } else {
            outgoing.ask_for_more(&self.settings, out);
        }
    }

    /// Ends a stream that goes out. Its receiver says in its next acknowledgement how far it is; until then there is no
    /// new one.
    fn drop_stream(&mut self, at: usize, out: &mut Output) {
        let outgoing = self.outgoing.remove(at);
        out.snapshot.push(SnapshotStep::Drop {
            stream: outgoing.stream,
        });
        let pause_us = self.settings.election_max_us;
        if let Role::Leader(leader) = &mut self.role
            && let Some(follower) = leader.followers.iter_mut().find(|f| f.id == outgoing.to)
        {
            follower.snapshot_after_us = self.now_us + pause_us;
        }
    }

    /// Streams to replicas that left the configuration end.
    pub(crate) fn drop_streams_of_strangers(&mut self, out: &mut Output) {
        let mut at = 0;
        while at < self.outgoing.len() {
            let to = self.outgoing[at].to;
            if self.is_voter(to) || self.config.learners.contains(&to) {
                at += 1;
            } else {
                self.drop_stream(at, out);
            }
        }
    }

    /// Sends again what was not acknowledged, and gives up on the silent.
    pub(crate) fn tick_streams(&mut self, out: &mut Output) {
        let silent_us = SILENT_TIMEOUTS_MAX * self.settings.election_max_us;
        let mut at = 0;
        while at < self.outgoing.len() {
            let outgoing = &mut self.outgoing[at];
            if self.now_us >= outgoing.heard_us + silent_us {
                self.drop_stream(at, out);
                continue;
            }
            if self.now_us >= outgoing.wake_us(&self.settings) {
                outgoing.sent_us = self.now_us;
                if outgoing.is_wanted {
                    outgoing.send_again(|to, kind| {
                        out.send_first.push(self.names.message(to, kind));
                    });
                } else {
                    let outgoing = self.outgoing[at].clone();
                    self.send_offer(&outgoing, out);
                }
            }
            at += 1;
        }
    }

    /// The owner gave a stream up.
    pub(crate) fn on_snapshot_failed(&mut self, stream: u64, out: &mut Output) {
        if let Some(at) = self.outgoing.iter().position(|o| o.stream == stream) {
            self.drop_stream(at, out);
        }
        if let Some(incoming) = self.incoming.take_if(|i| i.stream == stream) {
            self.send_ack(incoming.from, stream, 0, AckKind::Abort, out);
        }
    }

    /// Somebody offers a snapshot.
    pub(crate) fn on_offer(
        &mut self,
        from: ReplicaId,
        stream: u64,
        base: Index,
        config: Config,
        out: &mut Output,
    ) {
        let patience_us = 2 * self.settings.election_max_us;
        if let Some(incoming) = &self.incoming {
            if incoming.from == from && incoming.stream == stream {
                let next = incoming.next;
                self.send_ack(from, stream, next, AckKind::Wanted, out);
                return;
            }
            let is_alive = self.now_us < incoming.heard_us + patience_us;
            if incoming.is_installing || (is_alive && from != self.promised.replica) {
                self.send_ack(from, stream, 0, AckKind::Abort, out);
                return;
            }
        }
        if let Role::Leader(leader) = &self.role
            && (leader.ready || leader.last > self.chosen)
        {
            // What it has proposed and counts itself is not mixed with what others have chosen meanwhile.
            self.send_ack(from, stream, 0, AckKind::Abort, out);
            return;
        }
        if base <= self.chosen && !self.mutations.has(Mutation::SnapshotLowersChosen) {
            self.send_ack(from, stream, 0, AckKind::Abort, out);
            return;
        }
        self.incoming = Some(Incoming {
            from,
            stream,
            base,
            config,
            next: 0,
            is_installing: false,
            heard_us: self.now_us,
        });
        self.send_ack(from, stream, 0, AckKind::Wanted, out);
    }

    /// One who leads, and is about to propose, takes no state from others any more.
    pub(crate) fn drop_incoming(&mut self, out: &mut Output) {
        if let Some(incoming) = self.incoming.take() {
            let stream = incoming.stream;
            assert!(
                !incoming.is_installing,
                "nobody leads while its state is replaced"
            );
            out.snapshot.push(SnapshotStep::Drop { stream });
            self.send_ack(incoming.from, stream, 0, AckKind::Abort, out);
        }
    }

    fn send_ack(&self, to: ReplicaId, stream: u64, next: u64, ack: AckKind, out: &mut Output) {
        let kind = Kind::SnapshotAck {
            stream,
            next,
            abort: ack == AckKind::Abort,
        };
        out.send_first.push(self.names.message(to, kind));
    }

    /// A part of a snapshot came.
    pub(crate) fn on_chunk(
        &mut self,
        from: ReplicaId,
        stream: u64,
        sequence: u64,
        (bytes, last): (Bytes, bool),
        out: &mut Output,
    ) {
        let chosen = self.chosen;
        let lowers = self.mutations.has(Mutation::SnapshotLowersChosen);
        let Some(incoming) = self
            .incoming
            .as_mut()
            .filter(|i| i.from == from && i.stream == stream)
        else {
            self.send_ack(from, stream, 0, AckKind::Abort, out);
            return;
        };
        incoming.heard_us = self.now_us;
        if incoming.base <= chosen && !incoming.is_installing && !lowers {
            // Caught up by other ways meanwhile: the state never goes back (R12).
            self.incoming = None;
            out.snapshot.push(SnapshotStep::Drop { stream });
            self.send_ack(from, stream, 0, AckKind::Abort, out);
            return;
        }
        if sequence == incoming.next && !incoming.is_installing {
            incoming.next += 1;
            out.snapshot.push(SnapshotStep::Chunk {
                stream,
                sequence,
                bytes,
            });
            if last {
                incoming.is_installing = true;
                let base = SnapshotBase {
                    index: incoming.base,
                    config: incoming.config.clone(),
                    log_ms: 0,
                };
                out.snapshot.push(SnapshotStep::Install { stream, base });
            }
        }
        let next = incoming.next;
        self.send_ack(from, stream, next, AckKind::Wanted, out);
    }

    /// The owner has replaced its state: log, chosen prefix and configuration follow in the same step; the promise, and
    /// what was accepted above, stay (R12).
    pub(crate) fn on_installed(&mut self, stream: u64, base: SnapshotBase, out: &mut Output) {
        let Some(incoming) = self
            .incoming
            .take_if(|i| i.stream == stream && i.is_installing)
        else {
            return;
        };
        let mutations = self.mutations;
        assert!(
            base.index == incoming.base
                && (base.index > self.chosen || mutations.has(Mutation::SnapshotLowersChosen)),
            "a snapshot never takes the chosen prefix back"
        );
        self.is_hollow = false;
        self.log.restart_after(base.index);
        self.chosen = base.index;
        if !mutations.has(Mutation::SnapshotKeepsConfig) {
            self.config = base.config.clone();
            self.config_index = base.index;
            self.note_vote();
        }
        if mutations.has(Mutation::SnapshotLowersPromised) {
            self.promised = crate::types::Ballot::default();
        }
        self.learn_log_ms(base.log_ms);
        self.checkpoint = self.checkpoint.max(base.index);
        self.count_upto();
        if self.settings.durable {
            self.chosen_recorded = base.index;
            out.persist.push(Record::Base(base));
        }
        self.on_config(ConfigNews::Learned, out);
        if let Some(leader) = self.leader.filter(|&l| l != self.names.me) {
            self.send_accepted(leader, self.promised, 0, out);
        }
        self.after_learning(out);
    }

    /// Drops chosen entries beyond the budget from the log's front (R13): never what a stream's receiver will go on
    /// from, nor what no checkpoint holds, as long as that keeps within a multiple of the budget.
    pub(crate) fn trim(&mut self, out: &mut Output) {
        let budget = self.settings.retained_bytes_max;
        if self.log.bytes() <= budget {
            return;
        }
        let pinned_max = budget.saturating_mul(PINNED_TIMES_MAX);
        while self.log.bytes() > budget {
            let first = self.log.trimmed().next();
            if first > self.chosen && !self.mutations.has(Mutation::TrimUnchosen) {
                return;
            }
            if first > self.log.last() {
                return;
            }
            let crowded = self.log.bytes() > pinned_max;
            if self.settings.durable && first > self.checkpoint && !crowded {
                return;
            }
            let pinning = self.outgoing.iter().position(|o| o.base < first);
            if let Some(at) = pinning
                && !self.mutations.has(Mutation::TrimUnderStream)
            {
                if !crowded {
                    return;
                }
                self.drop_stream(at, out);
                continue;
            }
            self.log.trim_first();
        }
    }
}

/// What a receiver says beside where it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AckKind {
    Wanted,
    Abort,
}

impl Outgoing {
    /// Has the owner make the next chunk, if the window has room.
    fn ask_for_more(&mut self, settings: &Settings, out: &mut Output) {
        let room = (self.chunks.len() as u64) < settings.snapshot_window_chunks;
        if self.is_wanted && !self.is_asked && room && !self.is_made() {
            self.is_asked = true;
            let stream = self.stream;
            out.snapshot.push(SnapshotStep::More { stream });
        }
    }

    /// All that is in flight, again.
    fn send_again(&self, mut send: impl FnMut(ReplicaId, Kind)) {
        for (sequence, (bytes, place)) in (self.first..).zip(&self.chunks) {
            send(
                self.to,
                Kind::SnapshotChunk {
                    stream: self.stream,
                    sequence,
                    bytes: bytes.clone(),
                    last: *place == ChunkPlace::Last,
                },
            );
        }
    }
}
