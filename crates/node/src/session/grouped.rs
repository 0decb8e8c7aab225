//! Data commands on shards that have replicas: a read under a valid lease runs on the spot, everything else waits in
//! the queue of the shard's group, and its reply comes later ([`super::holes`]).
//!
//! Order of one connection on one shard: a read says which write of the same batch it must see, a write behind which
//! read it comes. So a pipeline sees exactly what it wrote before, and nothing that it wrote later.
//!
//! Commands over several shards are taken apart where their parts can be put together again, and are then atomic
//! only within each shard.

use super::data::Spread;
use super::holes::Fill;
use super::{Session, Turn};
use crate::group::{Mode, OpFlags, OpKind, Request};
use crate::settings::ReadMode;
use crate::shard::{Call, Events, Shard};
use crate::wire::RequestKind;
use cache::Cache;
use commands::context::Touch;
use commands::{Context, Flags, Keyspace, Row, Split};
use resp::{Args, Output, Protocol, Reply, Span};
use smallvec::SmallVec;

/// Redis's words for keys of one command that belong to different nodes.
pub(super) const CROSSSLOT: &str = "CROSSSLOT Keys in request don't hash to the same slot";

/// Keys that are read under leases between two looks at the clock, at most; a command whose time nobody can tell counts as so many.
const UNSURE_MAX: usize = 256;

/// What became of a request on a shard with replicas.
enum Outcome {
    /// It ran; this is to be told to others.
    Ran(Events),
    /// It is queued: the reply comes to this slot.
    Queued(u32),
    /// It was refused.
    Refused,
}

impl Session {
    /// Runs or queues a command whose keys all live in one locked shard with replicas.
    pub(super) fn run_on_group(
        &mut self,
        turn: Turn<'_>,
        row: &'static Row,
        call: Call<'_>,
        shard: usize,
        state: &mut Shard,
        output: &mut Output,
    ) -> Events {
        match self.run_or_queue(turn, row, call, shard, state, output) {
            Outcome::Ran(events) => events,
            Outcome::Queued(slot) => {
                self.open_hole(row, Fill::Reply(slot), output);
                Events::new()
            }
            Outcome::Refused => Events::new(),
        }
    }

    fn run_or_queue(
        &mut self,
        turn: Turn<'_>,
        row: &'static Row,
        call: Call<'_>,
        shard: usize,
        state: &mut Shard,
        output: &mut Output,
    ) -> Outcome {
        let queued = self.queued_on(shard);
        let write = row.flags.has(Flags::WRITE);
        // A read behind one that waits would overtake it.
        let waits = queued.read != 0 && state.is_read_open(queued.read);
        let goes_by_lease = turn.settings.read_mode == ReadMode::Lease;
        if !write && !waits && goes_by_lease {
            let mark = output.mark();
            let mut reply = Reply::new(output, self.protocol);
            if let Ok((events, until_us)) =
                state.read_leased(call, queued.write, self.looked, &mut reply)
            {
                if self.is_within_lease(turn, row, call.args, until_us) {
                    return Outcome::Ran(events);
                }
                output.rewind(mark);
            }
        }
        let (kind, after) = match write {
            true => (OpKind::Write, queued.read),
            false => (OpKind::Read, queued.write),
        };
        let request = Request {
            kind,
            db: call.db,
            flags: self.op_flags(call.touch),
            args: call.args,
            after,
        };
        match self.queue_on(turn, shard, state, request) {
            Ok(slot) => Outcome::Queued(slot),
            Err(refusal) => {
                Reply::new(output, self.protocol).error(&refusal);
                Outcome::Refused
            }
        }
    }

    /// Whether a read that has just run did so before `until_us`, as far as that is not seen when the run ends: only who reads
    /// much is worth a look at the clock.
    #[inline]
    fn is_within_lease(
        &mut self,
        turn: Turn<'_>,
        row: &'static Row,
        args: Args<'_>,
        until_us: u64,
    ) -> bool {
        self.unsure += match row.flags.has(Flags::FAST) {
            true => args.len(),
            false => UNSURE_MAX,
        };
        if self.unsure < UNSURE_MAX {
            self.lease_until_us = self.lease_until_us.min(until_us);
            return true;
        }
        self.unsure = 0;
        self.looked = turn.node.now();
        if self.lease_until_us >= self.looked.monotonic_us {
            // All before were in time.
            self.lease_until_us = u64::MAX;
        }
        until_us >= self.looked.monotonic_us
    }

    /// Queues a request for a shard's group; returns the slot that its reply comes to, or the refusal.
    pub(super) fn queue_on(
        &mut self,
        turn: Turn<'_>,
        shard: usize,
        state: &mut Shard,
        request: Request<'_>,
    ) -> Result<u32, String> {
        let (slot, ticket) = self.open_slot();
        match state.enqueue(request, ticket, turn.now) {
            Ok(number) => {
                let holes = self.holes();
                let queued = holes.queued_mut(shard as u32);
                match request.kind.lane() {
                    RequestKind::Read => queued.read = number,
                    RequestKind::Write => {
                        queued.write = number;
                        holes.note_written(shard);
                    }
                }
                holes.note_handed(request.args.iter().map(<[u8]>::len).sum());
                turn.node.cluster.mark_dirty_locked(shard);
                Ok(slot)
            }
            Err(full) => {
                self.close_last_slot();
                Err(full.to_string())
            }
        }
    }

    /// The numbers of this batch's last requests in a shard's queue.
    pub(super) fn queued_on(&self, shard: usize) -> super::holes::Queued {
        let holes = self.holes.as_ref();
        holes.map_or_else(Default::default, |holes| holes.queued(shard as u32))
    }

    /// The marks of this connection's operations.
    pub(super) fn op_flags(&self, touch: Touch) -> OpFlags {
        let mut flags = OpFlags::NONE;
        if self.protocol == Protocol::Resp3 {
            flags = flags.with(OpFlags::RESP3);
        }
        if touch == Touch::No {
            flags = flags.with(OpFlags::NO_TOUCH);
        }
        flags
    }

    /// Runs a command whose keys live in several shards, of which at least one has replicas, part by part.
    pub(super) fn run_scattered(
        &mut self,
        turn: Turn<'_>,
        row: &'static Row,
        call: Call<'_>,
        spread: Spread<'_>,
        output: &mut Output,
    ) {
        if row.split == Split::Whole {
            return Reply::new(output, self.protocol).error(CROSSSLOT);
        }
        if !spread.is_whole(call.args) {
            return self.run_nowhere(turn, call, output);
        }
        // Noted before it is asked: what is told in between waits for the reply (`Client::hold_pushes`).
        self.remember_read(turn, row, call.args);
        let all = call.args.spans();
        let first_slot = self.holes().slots_count();
        let mut spans: SmallVec<[Span; 32]> = SmallVec::new();
        for places in spread.places.chunk_by(|one, next| one.shard == next.shard) {
            spans.clear();
            spans.push(all[0]);
            for place in places {
                let position = place.position as usize;
                spans.extend_from_slice(&all[position..position + spread.stride]);
            }
            let part = Call {
                args: Args::new(call.args.buffer(), &spans),
                first_key_hash: Some(places[0].hash),
                ..call
            };
            self.run_part(turn, row, part, places[0].shard as usize);
        }
        let parts = first_slot..self.holes().slots_count();
        let fill = match row.split {
            Split::Sum => Fill::Sum(parts),
            Split::AllOk => Fill::AllOk(parts),
            Split::Gather => Fill::Gather {
                order: order_of(&spread),
                parts,
            },
            Split::Whole => unreachable!("refused above"),
        };
        self.open_hole(row, fill, output);
    }

    /// Runs a part of a split command on its shard; the reply, now or later, is in the next slot.
    pub(super) fn run_part(
        &mut self,
        turn: Turn<'_>,
        row: &'static Row,
        part: Call<'_>,
        shard: usize,
    ) {
        let node = turn.node;
        let write = row.flags.has(Flags::WRITE);
        let mut output = Output::new();
        let mut state = node.lock(shard);
        let outcome = match state.mode() {
            Mode::Grouped => self.run_or_queue(turn, row, part, shard, &mut state, &mut output),
            Mode::Solo => {
                let mut reply = Reply::new(&mut output, self.protocol);
                Outcome::Ran(match write {
                    true => state.commit(part, &mut reply),
                    false => state.read(part, &mut reply),
                })
            }
        };
        let events = match outcome {
            Outcome::Queued(_) => return,
            Outcome::Ran(events) => events,
            Outcome::Refused => Events::new(),
        };
        state.settle(&node.budget);
        let changes = state.take_changes();
        drop(state);
        let (_, ticket) = self.open_slot();
        ticket.fill_shared(output.into_bytes());
        if !events.is_empty() || !changes.is_empty() {
            self.announce(turn, events, changes);
        }
    }

    /// Lets a command refuse its own arguments, which name no key that it could touch.
    pub(super) fn run_nowhere(&self, turn: Turn<'_>, call: Call<'_>, output: &mut Output) {
        let mut nowhere = Cache::new(turn.node.seed);
        let mut context = Context {
            keyspace: Keyspace::One(&mut nowhere),
            seed: turn.node.seed,
            db: call.db,
            now_ms: call.stamp.log_ms,
            wall_offset_ms: call.stamp.wall_offset_ms,
            random: call.stamp.random,
            first_key_hash: None,
            touch: call.touch,
            request: None,
            event_mask: 0,
            events: SmallVec::new(),
        };
        let mut reply = Reply::new(output, self.protocol);
        (call.execute)(&mut context, call.args, &mut reply);
    }
}

/// For each key in the order of the arguments, which part it is in.
fn order_of(spread: &Spread<'_>) -> Box<[u32]> {
    let mut parts: Vec<(u32, u32)> = Vec::with_capacity(spread.places.len());
    let chunks = spread.places.chunk_by(|one, next| one.shard == next.shard);
    for (part, places) in chunks.enumerate() {
        parts.extend(places.iter().map(|place| (place.position, part as u32)));
    }
    parts.sort_unstable();
    parts.into_iter().map(|(_, part)| part).collect()
}
