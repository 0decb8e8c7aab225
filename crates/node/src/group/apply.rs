//! Applying a chosen entry: a function of (state, entry) alone, the same on every replica. It never fails; bytes that
//! are no batch of ours stop the node.

use super::locks::lock_origin;
use super::op::{Op, OpFlags, OpKind, peek_key, split_first};
use super::origins::Stored;
use super::reservations::TxId;
use super::said;
use crate::effects;
use crate::entry::{Batch, Run, Stamp};
use crate::shard::{Call, Events, Shard};
use crate::wire::{Place, Publish};
use cache::{Cache, Grant, Key, LockRequest, Pin};
use commands::Run as RowRun;
use paxos::{Incarnation, NodeId, ReplicaId};
use resp::{Output, Reply};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// What applying leaves beside the state. Followers drop it.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// Keyspace events, in order.
    pub events: Events,
    /// What scripts published, in order.
    pub said: Vec<Publish>,
    /// Whether a database was emptied, of which its keys' changes tell nothing.
    pub is_emptied: bool,
    /// Decisions to evict, and how many keys went by them.
    pub evictions: usize,
    pub evicted_keys: usize,
    /// Who waited for a lock and got it.
    pub grants: Vec<Grant>,
    /// Room for one reply at a time.
    pub scratch: Output,
}

/// How entries are applied here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Applying {
    /// Classes of keyspace events that are wanted: a leader's, else none.
    pub event_mask: u16,
    /// Whether it is told what scripts publish: a leader's business.
    pub tells: bool,
    /// The clock, us.
    pub now_us: u64,
    /// Whether the memory that the first operations need was asked for.
    pub is_touched: bool,
}

impl Shard {
    /// Applies a batch. The group answers each write that ran, if it is to.
    ///
    /// # Panics
    /// If the payload is no batch, names a command that is no data command, or is older than the entry before it:
    /// the leader's bugs.
    pub(crate) fn apply_batch(
        &mut self,
        log_ms: u64,
        payload: &[u8],
        applying: Applying,
        out: &mut Applied,
    ) {
        assert!(log_ms >= self.cache.now_ms(), "log time went back");
        self.cache.set_now(log_ms);
        let batch = Batch::parse(payload).expect("what was chosen is a batch");
        let stamp = Stamp {
            log_ms,
            wall_offset_ms: batch.wall_offset_ms,
            random: batch.draw,
        };
        self.wall_offset_ms = batch.wall_offset_ms;
        let mut ordinal = 0;
        for run in batch.runs() {
            if run.origin == ReplicaId::default() {
                self.apply_decisions(run, stamp, &mut ordinal, applying, out);
            } else {
                self.apply_run(run, stamp, &mut ordinal, applying, out);
            }
        }
    }

    /// Applies what a recorded entry says, as a follower does.
    #[cfg(test)]
    pub(crate) fn replay(&mut self, log_ms: u64, payload: &[u8]) {
        let applying = Applying {
            event_mask: 0,
            tells: false,
            now_us: 0,
            is_touched: false,
        };
        self.applied += 1;
        self.apply_batch(log_ms, payload, applying, &mut Applied::default());
    }

    /// What the leader decided by itself: nobody waits for replies.
    fn apply_decisions(
        &mut self,
        run: Run<'_>,
        stamp: Stamp,
        ordinal: &mut u64,
        applying: Applying,
        out: &mut Applied,
    ) {
        let mut rest = run.ops;
        while !rest.is_empty() {
            let (op, after) = split_first(rest).expect("the leader's own operation");
            rest = after;
            if self.group.streams.is_producing() {
                self.save_for_streams(&op);
            }
            if self.defers(&op, run.origin) {
                *ordinal += 1;
                continue;
            }
            let mark = out.scratch.mark();
            // What a group of one recorded has the numbers of its requests.
            let request = (op.head.seq > 0).then(|| LockRequest {
                origin: lock_origin(self.group.origin),
                number: op.head.seq,
            });
            self.run_op(&op, stamp.of_op(*ordinal), request, applying, out);
            out.scratch.rewind(mark);
            *ordinal += 1;
        }
    }

    /// The writes of one origin: those that are the next of it run, the others were here before or come again. None runs
    /// of a process that is known to have been started again, or to be gone.
    fn apply_run(
        &mut self,
        run: Run<'_>,
        stamp: Stamp,
        ordinal: &mut u64,
        applying: Applying,
        out: &mut Applied,
    ) {
        if self.origins.is_over(run.origin) {
            return;
        }
        let mut origin = self.origins.take(run.origin);
        if self.has_lost_memory() {
            origin.skip_lost(run.done_seq);
        }
        origin.done(run.done_seq);
        let asks = lock_origin(run.origin);
        let mut rest = run.ops;
        let mut ahead = 0;
        while !rest.is_empty() {
            if ahead == 0 {
                ahead = AHEAD_MAX;
                if !applying.is_touched || rest.len() < run.ops.len() {
                    touch_first(&self.cache, rest);
                }
            }
            ahead -= 1;
            let (op, after) = split_first(rest).expect("a leader looks at what it proposes");
            rest = after;
            if origin.is_next(op.head.seq) {
                if self.group.streams.is_producing() {
                    self.save_for_streams(&op);
                }
                let mark = out.scratch.mark();
                let request = Some(LockRequest {
                    origin: asks,
                    number: op.head.seq,
                });
                if op.head.kind == OpKind::Reserve {
                    let stamp = stamp.of_op(*ordinal);
                    self.apply_reserve(&op, run.origin, (stamp, applying), out);
                } else if !self.defers(&op, run.origin) {
                    self.run_op(&op, stamp.of_op(*ordinal), request, applying, out);
                }
                let reply = stored_since(&mut out.scratch, mark);
                self.hold_if_uncovered();
                self.group
                    .answer(run.origin, op.head.seq, &reply, applying.now_us);
                origin.apply(reply);
            }
            *ordinal += 1;
        }
        self.origins.put(run.origin, origin);
        if !self.cache.locks().is_empty() && self.group.shows {
            // Here, so that what it has just been granted is not judged by what was heard of it long ago.
            self.group.heard.insert(asks, applying.now_us);
        }
    }

    /// Runs one operation; its reply goes to the end of `out.scratch`. `request` names who asks, where he can be answered
    /// later.
    pub(crate) fn run_op(
        &mut self,
        op: &Op<'_>,
        stamp: Stamp,
        request: Option<LockRequest>,
        applying: Applying,
        out: &mut Applied,
    ) {
        let db = op.head.db;
        match op.head.kind {
            OpKind::Write | OpKind::Read => {
                let protocol = op.head.flags.protocol();
                let row = commands::check(op.args()).expect("a logged command has a row");
                let RowRun::Data(execute) = row.run else {
                    panic!("{} is logged but is no data command", row.name)
                };
                let settles = !self.cache.locks().is_empty();
                if settles && op.head.kind == OpKind::Write {
                    self.settle_locks(op);
                    self.collect_grants(applying.event_mask, out);
                }
                let call = Call {
                    execute,
                    db,
                    args: op.args(),
                    stamp,
                    first_key_hash: None,
                    touch: op.head.flags.touch(),
                    request,
                    event_mask: applying.event_mask,
                };
                let mut reply = Reply::new(&mut out.scratch, protocol);
                let events = self.run(call, &mut reply);
                if !events.is_empty() {
                    out.events.extend(events);
                }
                if settles && op.head.kind == OpKind::Write {
                    self.settle_locks(op);
                }
            }
            OpKind::Flush => {
                out.is_emptied = true;
                self.flush(db);
                Reply::new(&mut out.scratch, op.head.flags.protocol()).ok();
            }
            OpKind::Multi => self.run_multi(op, stamp, applying, out),
            OpKind::Evict => {
                out.evictions += 1;
                out.evicted_keys += match op.head.flags.has(OpFlags::LOCKS) {
                    true => self.evict_locks(db, op.args()),
                    false => self.evict(db, op.args()),
                };
                self.settle_locks(op);
            }
            OpKind::Settle => {
                self.group.is_settling = false;
                self.settle_locks(op);
            }
            OpKind::Silent => self.apply_silent(op.args()),
            OpKind::LockWord => {
                let mut reply = Reply::new(&mut out.scratch, op.head.flags.protocol());
                match request {
                    Some(request) => self.apply_word(request.origin, db, op.args(), &mut reply),
                    None => reply.null(),
                }
            }
            OpKind::Refused => out.scratch.tail_mut().extend_from_slice(op.args().get(0)),
            OpKind::Forget => {
                for id in op.args().iter() {
                    self.origins.forget(replica_of(id));
                }
                self.forget_prevented(op.args());
            }
            OpKind::Finish => self.apply_finish(op, stamp, applying, out),
            OpKind::Prevent => self.apply_prevent(op, stamp, applying, out),
            OpKind::Overdue => self.apply_overdue(op, stamp, applying, out),
            OpKind::Release => {
                for id in op.args().iter() {
                    let id = TxId::of(id).expect("as decoded");
                    self.reservations.release(id);
                }
                Reply::new(&mut out.scratch, op.head.flags.protocol()).ok();
            }
            OpKind::Effects => {
                effects::apply(&mut self.cache, db, op.args());
                self.settle_locks(op);
            }
            OpKind::Outcome => {
                effects::apply(&mut self.cache, db, op.args().from(op.what_at()));
                self.settle_locks(op);
                self.tell_said(op, applying, out);
                out.scratch.tail_mut().extend_from_slice(op.args().get(0));
            }
            OpKind::Commands => self.run_commands(op, stamp, applying, out),
            OpKind::Internal
            | OpKind::Check
            | OpKind::Expect
            | OpKind::Fence
            | OpKind::TakeOver
            | OpKind::Script
            | OpKind::Reserve => {
                panic!(
                    "{:?} is never logged, or has a way of its own",
                    op.head.kind
                )
            }
        }
        self.collect_grants(applying.event_mask, out);
    }

    /// The commands by which a script wrote, each with the draw that it had; the replies are the script's own business, and
    /// so are their events.
    fn run_commands(&mut self, op: &Op<'_>, stamp: Stamp, applying: Applying, out: &mut Applied) {
        let mark = out.scratch.mark();
        let silent = Applying {
            event_mask: 0,
            ..applying
        };
        for command in op.nested() {
            let stamp = Stamp {
                random: command.head.seq,
                ..stamp
            };
            self.run_op(&command, stamp, None, silent, out);
            out.scratch.rewind(mark);
        }
        self.tell_said(op, applying, out);
        out.scratch.tail_mut().extend_from_slice(op.args().get(0));
    }

    /// What a script published is told by who leads when its outcome is applied, be it another than who ran it.
    fn tell_said(&self, op: &Op<'_>, applying: Applying, out: &mut Applied) {
        if applying.tells {
            let place = Place {
                group: self.group.id,
                generation: self.generation().0,
                index: self.applied,
                ordinal: 0,
            };
            said::decode(op.said(), place, &mut out.said);
        }
    }

    /// Runs the operations of a transaction, unless a check fails: then null is its reply.
    fn run_multi(&mut self, op: &Op<'_>, stamp: Stamp, applying: Applying, out: &mut Applied) {
        if self.withholds(op, stamp.log_ms) {
            let mut reply = Reply::new(&mut out.scratch, op.head.flags.protocol());
            return self.refuse_lock(&mut reply);
        }
        let mut checks = op.nested().filter(|op| op.head.kind == OpKind::Check);
        if !checks.all(|check| self.holds(&check)) {
            let protocol = op.head.flags.protocol();
            return Reply::new(&mut out.scratch, protocol).null_array();
        }
        self.run_nested(op, stamp, applying, out);
    }

    /// Whether a check's key holds what it must.
    pub(super) fn holds(&self, check: &Op<'_>) -> bool {
        let args = check.args();
        let wanted = args.get(1).try_into().expect("8 bytes, as decoded");
        fingerprint(&self.cache, check.head.db, args.get(0)) == u64::from_le_bytes(wanted)
    }

    /// Runs the commands of a transaction, or of its part here; their replies are one array. Effects have none.
    pub(super) fn run_nested(
        &mut self,
        op: &Op<'_>,
        stamp: Stamp,
        applying: Applying,
        out: &mut Applied,
    ) {
        let is_condition = |kind: OpKind| {
            matches!(
                kind,
                OpKind::Check | OpKind::Expect | OpKind::Fence | OpKind::TakeOver
            )
        };
        let is_command = |op: &Op<'_>| !is_condition(op.head.kind);
        let has_reply = |op: &Op<'_>| is_command(op) && op.head.kind != OpKind::Effects;
        let count = op.nested().filter(has_reply).count();
        Reply::new(&mut out.scratch, op.head.flags.protocol()).array(count);
        for (ordinal, nested) in op.nested().filter(is_command).enumerate() {
            let stamp = stamp.of_op(1 + ordinal as u64);
            self.run_op(&nested, stamp, None, applying, out);
        }
    }
}

/// Operations that are touched together ahead of their execution.
const AHEAD_MAX: usize = 32;

/// Asks for the memory of a payload's keys: in pass 0 for the index buckets, in pass 1 for the records that they name.
pub(super) fn touch_payload(cache: &Cache, payload: &[u8], pass: usize) {
    let Ok(batch) = Batch::parse(payload) else {
        return;
    };
    for run in batch.runs() {
        touch(cache, run.ops, pass);
    }
}

/// Both passes over the first operations.
pub(super) fn touch_first(cache: &Cache, ops: &[u8]) {
    touch(cache, ops, 0);
    touch(cache, ops, 1);
}

/// One pass over the first operations of a run.
fn touch(cache: &Cache, ops: &[u8], pass: usize) {
    let keys = first_keys(cache, ops).take(AHEAD_MAX);
    match pass {
        0 => keys.for_each(|key| cache.touch_index(key)),
        _ => keys.for_each(|key| cache.touch_entry(key)),
    }
}

/// The first key of each operation, most likely.
fn first_keys<'a>(cache: &Cache, ops: &'a [u8]) -> impl Iterator<Item = Key<'a>> {
    let (mut rest, seed) = (ops, cache.seed());
    std::iter::from_fn(move || {
        let (db, key, after) = peek_key(rest)?;
        rest = after;
        Some(Key::new(seed, db, key))
    })
}

/// Takes the reply since `mark` out of `scratch`.
pub(super) fn stored_since(scratch: &mut Output, mark: resp::Mark) -> Stored {
    let reply = match scratch.as_one_slice() {
        Some(_) => Stored::of(scratch.tail_since(mark)),
        None => {
            // A long value came as a shared chunk: gather it. The scratch holds this reply alone.
            let mut whole = Vec::with_capacity(scratch.len());
            while !scratch.is_empty() {
                let mut slices = [std::io::IoSlice::new(&[]); 8];
                let filled = scratch.io_slices(&mut slices);
                let before = whole.len();
                slices[..filled]
                    .iter()
                    .for_each(|slice| whole.extend_from_slice(slice));
                scratch.advance(whole.len() - before);
            }
            return Stored::Long(whole.into());
        }
    };
    scratch.rewind(mark);
    reply
}

/// What a key holds, in 8 bytes: equal as long as value, expiry, fence and existence are the same. A key that was changed and
/// changed back has the same one (WATCH over nodes tells contents, not versions). 0 = there is none.
pub(crate) fn fingerprint(cache: &Cache, db: u8, key: &[u8]) -> u64 {
    let Some(entry) = cache.peek(Key::new(cache.seed(), db, key)) else {
        return 0;
    };
    // A lock that was released and taken again by the same owner is another one: its fence tells. So does the number of a
    // collection's last change.
    let mut about = [0; 17];
    about[..8].copy_from_slice(&entry.expires_at.unwrap_or(0).to_le_bytes());
    about[8..16].copy_from_slice(&entry.fence.to_le_bytes());
    about[16] = u8::from(entry.pin == Pin::Pinned) + 2 * u8::from(entry.value.string().is_some());
    xxh3_64_with_seed(entry.value.string().unwrap_or_default(), xxh3_64(&about)).max(1)
}

/// A replica's id as the argument of a forget.
pub(super) fn replica_bytes(id: ReplicaId) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&id.node.0.to_le_bytes());
    bytes[4..].copy_from_slice(&id.incarnation.0.to_le_bytes());
    bytes
}

pub(super) fn replica_of(bytes: &[u8]) -> ReplicaId {
    let (node, incarnation) = bytes.split_at(4);
    ReplicaId {
        node: NodeId(u32::from_le_bytes(node.try_into().expect("12 bytes"))),
        incarnation: Incarnation(u64::from_le_bytes(
            incarnation.try_into().expect("12 bytes"),
        )),
    }
}
