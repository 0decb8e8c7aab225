//! Data commands: from the row's keys to the shards, under their locks.

use super::access::{Access, Guards, held, lock_all};
use super::transaction::runs_script;
use super::window::{Place, Places, places_of};
use super::{Session, Turn};
use crate::entry::Stamp;
use crate::group::{LOCK_BYTES, Mode};
use crate::memory::{LOCKS_OOM, OOM};
use crate::node::Room;
use crate::shard::{Call, Events};
use crate::tracking::Caching;
use cache::{Cache, Change};
use commands::{Context, Execute, Flags, Keyspace, Row, Run, Split};
use resp::{Args, Output, Protocol, Reply, Span};
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// From one draw of a connection to the next: odd, so that none comes again soon, and not the step of `cache::Draws`, whose
/// sequences from neighbouring draws would overlap.
const DRAWS_APART: u64 = 0xd134_2543_de82_ef95;
/// What an entry costs beside its arguments, about: to refuse what could never fit.
const ENTRY_BYTES: u64 = 64;
/// More than a lock with a short key costs: no look at the request is needed while so much is free.
const LOCK_BYTES_MAX: u64 = 4 << 10;

/// What a lock costs that a request takes, about: no less than a leader reckons with for others' locks.
fn lock_bytes(args: Args<'_>) -> u64 {
    let bytes = (args.get(1).len() + args.get(2).len()) as u64 + ENTRY_BYTES;
    bytes.max(LOCK_BYTES)
}

/// The keys of a command that live in several shards.
#[derive(Clone, Copy)]
pub(super) struct Spread<'a> {
    /// By shard, those of one shard in the order of the arguments.
    pub places: &'a [Place],
    /// The shards, sorted and without doubles.
    pub shards: &'a [usize],
    /// Arguments from one key to the next: a key and what belongs to it.
    pub stride: usize,
}

impl Spread<'_> {
    /// Whether the last key has all that belongs to it. If not (MSET a 1 b), the command is for its own function
    /// to refuse.
    pub fn is_whole(&self, args: Args<'_>) -> bool {
        let last = self.places.iter().map(|place| place.position).max();
        last.unwrap_or(0) as usize + self.stride <= args.len()
    }

    /// Puts what several shards told in the order of the command's keys: what one shard would have told.
    fn put_in_order<T>(&self, told: &mut [T], key_of: impl Fn(&T) -> &[u8], args: Args<'_>) {
        if told.len() < 2 {
            return;
        }
        let mut positions: BTreeMap<&[u8], u32> = BTreeMap::new();
        for place in self.places {
            let position = positions
                .entry(args.get(place.position as usize))
                .or_insert(place.position);
            *position = place.position.min(*position);
        }
        told.sort_by_key(|one| positions.get(key_of(one)).copied());
    }
}

impl Session {
    /// Whether a write of `args` may go ahead: the budget holds, after eviction if need be.
    pub(super) fn has_room(&self, turn: Turn<'_>, args: Args<'_>) -> bool {
        let budget = &turn.node.budget;
        let bytes: u64 = args
            .iter()
            .map(|argument| argument.len() as u64)
            .sum::<u64>()
            + ENTRY_BYTES;
        bytes <= budget.total()
            && (budget.missing() == 0 || turn.node.relieve_for(turn.now, bytes) == Room::Enough)
    }

    /// Whether a lock may be taken by `args`: the memory for locks is enough, or made. Any other request may go ahead.
    #[inline]
    pub(super) fn has_lock_room(&self, turn: Turn<'_>, args: Args<'_>) -> bool {
        let locks = &turn.node.budget.locks;
        locks.missing_for(LOCK_BYTES_MAX) == 0
            || !commands::takes_lock(args)
            || turn.node.relieve_locks(turn.now, lock_bytes(args)) == Room::Enough
    }

    /// What a request is refused with that needs memory which is neither there nor made, if this node judges that.
    #[inline]
    pub(super) fn lacks_room(
        &self,
        turn: Turn<'_>,
        row: &Row,
        args: Args<'_>,
    ) -> Option<&'static str> {
        if !row.flags.has(Flags::DENYOOM) {
            None
        } else if !self.has_room(turn, args) {
            Some(OOM)
        } else if !self.has_lock_room(turn, args) {
            Some(LOCKS_OOM)
        } else {
            None
        }
    }

    /// Runs a command of one key whose shard and hash are known, outside of transactions: the way of a GET or a SET.
    #[inline]
    pub(super) fn run_on_one(
        &mut self,
        turn: Turn<'_>,
        row: &'static Row,
        execute: Execute,
        args: Args<'_>,
        place: Place,
        output: &mut Output,
    ) {
        let node = turn.node;
        if let Some(refusal) = self.lacks_room(turn, row, args)
            && node.judges_room(place.shard as usize)
        {
            return Reply::new(output, self.protocol).error(refusal);
        }
        let call = Call {
            first_key_hash: Some(place.hash),
            ..self.call(turn, execute, args)
        };
        let mut state = node.lock(place.shard as usize);
        let events = if state.mode() == Mode::Grouped {
            self.run_on_group(turn, row, call, place.shard as usize, &mut state, output)
        } else {
            let mut reply = Reply::new(output, self.protocol);
            if row.flags.has(Flags::WRITE) {
                let events = state.commit(call, &mut reply);
                state.settle(&node.budget);
                events
            } else {
                state.read(call, &mut reply)
            }
        };
        let changes = state.is_observed().then(|| state.take_changes());
        drop(state);
        if !events.is_empty() || changes.is_some() {
            self.announce(turn, events, changes.unwrap_or_default());
        }
        if row.flags.has(Flags::WRITE) && node.budget.missing() > 0 {
            node.relieve(turn.now);
        }
    }

    /// How a command runs, whatever its shards.
    #[inline]
    pub(super) fn call<'a>(
        &mut self,
        turn: Turn<'_>,
        execute: Execute,
        args: Args<'a>,
    ) -> Call<'a> {
        // Far from the last one. Whoever draws from it mixes its bits.
        self.draw = self.draw.wrapping_add(DRAWS_APART);
        Call {
            execute,
            db: self.db,
            args,
            stamp: Stamp {
                log_ms: turn.now.log_ms,
                wall_offset_ms: turn.now.wall_offset_ms,
                random: self.draw,
            },
            first_key_hash: None,
            touch: self.touch,
            request: None,
            event_mask: turn.node.event_mask(),
        }
    }

    /// Runs a data command, whatever its keys and shards. `places` are those of its keys where they are known
    /// already, else empty.
    #[expect(
        clippy::too_many_arguments,
        reason = "what is known ahead is handed over; a struct would be built per command"
    )]
    pub(super) fn run_data(
        &mut self,
        turn: Turn<'_>,
        row: &'static Row,
        execute: Execute,
        args: Args<'_>,
        places: &[Place],
        access: &mut Access<'_>,
        output: &mut Output,
    ) {
        let node = turn.node;
        let write = row.flags.has(Flags::WRITE);
        let found;
        let places = if places.is_empty() {
            found = places_of(node, row, args);
            &found
        } else {
            places
        };
        if !access.is_held()
            && let Some(refusal) = self.lacks_room(turn, row, args)
            && places
                .iter()
                .any(|place| node.judges_room(place.shard as usize))
        {
            return Reply::new(output, self.protocol).error(refusal);
        }
        let call = self.call(turn, execute, args);
        let Some(&Place { shard, .. }) = places.first() else {
            return self.run_nowhere(turn, call, output);
        };
        if places.iter().any(|place| place.shard != shard) {
            return self.run_on_many(turn, row, call, places, access, output);
        }
        let number = shard as usize;
        let (events, changes) = access.with(node, number, |shard| {
            self.remember_read(turn, row, args);
            let events = if shard.mode() == Mode::Grouped {
                self.run_on_group(turn, row, call, number, shard, output)
            } else {
                let mut reply = Reply::new(output, self.protocol);
                if write {
                    let events = shard.commit(call, &mut reply);
                    shard.settle(&node.budget);
                    events
                } else {
                    shard.read(call, &mut reply)
                }
            };
            (events, shard.take_changes())
        });
        if !events.is_empty() || !changes.is_empty() {
            self.announce(turn, events, changes);
        }
        if write && node.budget.missing() > 0 && !access.is_held() {
            node.relieve(turn.now);
        }
    }

    /// Runs a command whose keys live in several shards, all of them locked together.
    fn run_on_many(
        &mut self,
        turn: Turn<'_>,
        row: &'static Row,
        call: Call<'_>,
        places: &[Place],
        access: &mut Access<'_>,
        output: &mut Output,
    ) {
        let node = turn.node;
        let stride = places[1].position - places[0].position;
        let mut places = Places::from_slice(places);
        places.sort_unstable_by_key(|place| (place.shard, place.position));
        let mut shards: SmallVec<[usize; 16]> = SmallVec::new();
        for place in &places {
            if shards.last() != Some(&(place.shard as usize)) {
                shards.push(place.shard as usize);
            }
        }
        let spread = Spread {
            places: &places,
            shards: &shards,
            stride: stride as usize,
        };
        let (events, changes) = match access {
            Access::Free | Access::InTransaction => {
                if shards
                    .iter()
                    .any(|shard| node.mode(*shard) == Mode::Grouped)
                {
                    return self.run_scattered(turn, row, call, spread, output);
                }
                let mut guards = lock_all(node, &shards);
                if guards
                    .iter()
                    .any(|(_, shard)| shard.mode() == Mode::Grouped)
                {
                    drop(guards);
                    return self.run_scattered(turn, row, call, spread, output);
                }
                self.run_locked(turn, row, call, spread, &mut guards, output)
            }
            Access::Held(guards) => self.run_locked(turn, row, call, spread, guards, output),
        };
        if !events.is_empty() || !changes.is_empty() {
            self.announce(turn, events, changes);
        }
        if row.flags.has(Flags::WRITE) && node.budget.missing() > 0 && !access.is_held() {
            node.relieve(turn.now);
        }
    }

    /// Runs a command over shards that are locked: in parts where it can be split, else whole.
    fn run_locked(
        &mut self,
        turn: Turn<'_>,
        row: &'static Row,
        call: Call<'_>,
        spread: Spread<'_>,
        guards: &mut Guards<'_>,
        output: &mut Output,
    ) -> (Events, Vec<Change>) {
        let write = row.flags.has(Flags::WRITE);
        self.remember_read(turn, row, call.args);
        let mut changes = Vec::new();
        if matches!(row.split, Split::Sum | Split::AllOk) && write && spread.is_whole(call.args) {
            let mut events =
                self.commit_parts(turn, row, call, spread, guards, &mut changes, output);
            spread.put_in_order(&mut events, |event| &event.key, call.args);
            spread.put_in_order(&mut changes, |change| &change.key, call.args);
            return (events, changes);
        }
        let mut reply = Reply::new(output, self.protocol);
        let events = run_whole(turn, row, call, spread, guards, &mut reply);
        for &shard in spread.shards {
            let shard = held(guards, shard);
            if write {
                shard.settle(&turn.node.budget);
            }
            if shard.is_observed() {
                changes.extend(shard.take_changes());
            }
        }
        spread.put_in_order(&mut changes, |change| &change.key, call.args);
        (events, changes)
    }

    /// Commits a splittable write (MSET, DEL …) as one entry a shard, each with its own keys, and puts the
    /// parts' replies together.
    #[expect(
        clippy::too_many_arguments,
        reason = "one caller; what a split needs is what it is given"
    )]
    fn commit_parts(
        &mut self,
        turn: Turn<'_>,
        row: &'static Row,
        call: Call<'_>,
        spread: Spread<'_>,
        guards: &mut Guards<'_>,
        changes: &mut Vec<Change>,
        output: &mut Output,
    ) -> Events {
        let all = call.args.spans();
        let mut sum = 0;
        let mut events = Events::new();
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
            // Replies of parts are a few bytes that nobody but this function sees.
            self.parts_reply.tail_mut().clear();
            let shard = held(guards, places[0].shard as usize);
            let mut reply = Reply::new(&mut self.parts_reply, Protocol::Resp2);
            let of_part = shard.commit(part, &mut reply);
            if !of_part.is_empty() {
                events.extend(of_part);
            }
            shard.settle(&turn.node.budget);
            if shard.is_observed() {
                changes.extend(shard.take_changes());
            }
            if row.split == Split::Sum {
                sum += integer_reply(self.parts_reply.tail_mut());
            }
        }
        let mut reply = Reply::new(output, self.protocol);
        match row.split {
            Split::Sum => reply.integer(sum),
            Split::AllOk => reply.ok(),
            Split::Whole | Split::Gather => unreachable!("not split"),
        }
        events
    }

    /// Tells others what a command did. What had expired was dropped before the command's own work, and is told first.
    pub(super) fn announce(&mut self, turn: Turn<'_>, events: Events, changes: Vec<Change>) {
        turn.node
            .publish_changes(changes, Some(self.client.id), turn.now);
        for event in &events {
            turn.node.publish_event(event, turn.now);
        }
    }

    /// Client-side caching: notes who reads what, ahead of reads that others answer. What is told of the keys in between waits
    /// for the reply, or the client would keep what has changed.
    pub(super) fn remember_reads_ahead<'a>(
        &self,
        turn: Turn<'_>,
        reads: impl Iterator<Item = (&'static Row, Args<'a>)>,
    ) {
        if self.tracking.is_some() {
            self.client.hold_pushes();
            reads.for_each(|(row, args)| self.remember_read(turn, row, args));
        }
    }

    /// The reply is there that pushes were kept back for.
    pub(super) fn release_if_held(&self, output: &mut Output) {
        if self.client.holds_pushes() && !self.has_holes() {
            self.client.release_pushes(output);
        }
    }

    /// Client-side caching: notes who reads what. The keys' shards are locked: a change between the note and the
    /// read would use up the note, and the client would never hear of the next one.
    pub(super) fn remember_read(&self, turn: Turn<'_>, row: &'static Row, args: Args<'_>) {
        let wanted = match (self.tracking, self.caching_next) {
            (None, _) => false,
            (Some(Caching::All), _) => true,
            (Some(Caching::OptIn), next) => next == Some(true),
            (Some(Caching::OptOut), next) => next != Some(false),
        };
        // What a script reads nobody knows ahead: it counts as a reader of all the keys that it is given.
        let is_script = matches!(row.run, Run::Session(command) if runs_script(command));
        let reads = row.flags.has(Flags::READONLY) || is_script;
        if !wanted || !reads {
            return;
        }
        let mut positions = SmallVec::new();
        if commands::keys_of(row, args, &mut positions).is_ok() {
            for position in positions {
                turn.node.tracking.remember(
                    turn.node,
                    self.client.id,
                    args.get(position),
                    turn.now,
                );
            }
        }
    }
}

/// Runs a command once over several locked shards. A write takes an index in each shard's log.
fn run_whole(
    turn: Turn<'_>,
    row: &'static Row,
    call: Call<'_>,
    spread: Spread<'_>,
    guards: &mut Guards<'_>,
    reply: &mut Reply<'_>,
) -> Events {
    let node = turn.node;
    let shards = spread.shards;
    let route = |key: &[u8]| {
        shards
            .binary_search(&node.shard_of(key))
            .expect("a command touches only the keys that its row names")
    };
    // Their log times are one clock's; the latest that any of them showed holds for all.
    let mut log_ms = call.stamp.log_ms;
    let write = row.flags.has(Flags::WRITE);
    for &shard in shards {
        let shard = held(guards, shard);
        log_ms = log_ms.max(shard.cache.now_ms());
    }
    let stamp = Stamp {
        log_ms,
        ..call.stamp
    };
    if write {
        settle_locks(call, spread, guards, stamp);
        for &shard in shards {
            held(guards, shard).watch_effects();
        }
    }
    let locked = guards
        .iter_mut()
        .filter(|(shard, _)| shards.binary_search(shard).is_ok());
    let mut caches: Vec<&mut Cache> = locked.map(|(_, guard)| &mut guard.cache).collect();
    for cache in &mut caches {
        cache.set_now(log_ms);
    }
    let mut context = Context {
        keyspace: Keyspace::Many {
            caches: &mut caches,
            route: &route,
        },
        seed: node.seed,
        db: call.db,
        now_ms: log_ms,
        wall_offset_ms: call.stamp.wall_offset_ms,
        random: call.stamp.random,
        first_key_hash: None,
        touch: call.touch,
        request: None,
        event_mask: call.event_mask,
        events: SmallVec::new(),
    };
    (call.execute)(&mut context, call.args, reply);
    let events = context.events;
    if write {
        for &shard in shards {
            held(guards, shard).log_effects(stamp);
        }
        settle_locks(call, spread, guards, stamp);
    }
    events
}

/// Settles the locks of a command's keys, each in its shard and by an entry of its own.
fn settle_locks(call: Call<'_>, spread: Spread<'_>, guards: &mut Guards<'_>, stamp: Stamp) {
    for place in spread.places {
        let key = call.args.get(place.position as usize);
        held(guards, place.shard as usize).commit_settle_of(stamp, key);
    }
}

/// The number of a reply `:n\r\n`.
fn integer_reply(bytes: &[u8]) -> i64 {
    let digits = bytes
        .strip_prefix(b":")
        .and_then(|rest| rest.strip_suffix(b"\r\n"));
    digits
        .and_then(resp::parse_i64)
        .expect("the parts of a summed command answer integers")
}

#[cfg(test)]
mod tests;
