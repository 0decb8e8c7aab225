//! Scripts on a shard with replicas. The leader runs a script ahead of the log, on a copy of its keys' records, when
//! nothing of this group is on its way: what it sees is then the state below the index that it will have. In the script's
//! place it proposes the *outcome*: the reply, and what has become of keys. So all replicas come to the same state though
//! none but the leader ran it, a script that is stopped leaves nothing, and one whose outcome is lost is run again by the
//! next leader. Nothing is proposed behind an outcome before it is applied.
//!
//! A script that may not write is a read like any other: a question to the leader, which needs no log.

use super::Work;
use super::decide::refused;
use super::op::{Op, OpFlags, OpHead, OpKind, encode, split_first};
use super::requests::{Next, NextOps};
use super::said;
use crate::entry::{BATCH_HEAD_BYTES, RUN_HEAD_BYTES, Run, Stamp, push_run, write_batch_head};
use crate::host::Now;
use crate::overlay::{Invocation, Memory, Overlay, Terms, UNDECLARED_MAX, Verdict, Writes};
use crate::questions::SCRIPT;
use crate::scripts::Place;
use crate::shard::Shard;
use bytes::Bytes;
use cache::Key;
use commands::Event;
use paxos::ReplicaId;
use placement::slot_of;
use resp::{Args, parse_u64};
use script::Script;

/// Bytes of what a script changed, beyond which it is refused: an outcome must fit into a message between nodes.
const OUTCOME_BYTES_MAX: usize = 256 << 20;

/// Arguments ahead of the keys: what it is (`w`, or the question [`SCRIPT`]), the source, the count of keys.
const KEYS_AT: usize = 3;

/// How many keys a script has; none if its arguments are of another form.
pub(super) fn keys_count(args: Args<'_>) -> Option<usize> {
    if args.len() < KEYS_AT {
        return None;
    }
    let count = usize::try_from(parse_u64(args.get(2))?).ok()?;
    (count <= args.len() - KEYS_AT).then_some(count)
}

/// A script's declared keys.
pub(super) fn script_keys<'a>(args: Args<'a>) -> impl Iterator<Item = &'a [u8]> {
    let count = keys_count(args).unwrap_or(0);
    (KEYS_AT..KEYS_AT + count).map(move |at| args.get(at))
}

/// Whether an operation is a script that only reads.
pub(super) fn is_read_script(op: &Op<'_>) -> bool {
    op.head.kind == OpKind::Internal && op.args().get(0) == SCRIPT
}

/// Whose turn was last. Scripts are proposed one by one, and there may be a next one at any time: those of this node,
/// those of others, and all that is no script take turns, or some would wait for ever.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastTurn {
    /// A script's, after that of what is none.
    was_script: bool,
    /// Of the scripts' turns the last one was this node's own.
    was_own: bool,
}

impl LastTurn {
    /// What is no script is about to be proposed.
    pub fn begins_batch(&mut self) {
        self.was_script = false;
    }
}

/// A script that is the next to be proposed.
struct Waiting {
    origin: ReplicaId,
    done_seq: u64,
    op: Bytes,
}

impl Shard {
    /// Whether a script is the next of this node's writes, or of those of others.
    pub(super) fn script_waits(&self) -> bool {
        let group = &self.group;
        group.requests.next_is_script() || group.forwarded.next_is_script()
    }

    /// Whether this node's own script is the next one, if any is.
    fn next_script_is_own(&self) -> bool {
        let (own, forwarded) = (&self.group.requests, &self.group.forwarded);
        own.next_is_script() && !(self.group.last_turn.was_own && forwarded.next_is_script())
    }

    /// Whether something else is to be proposed before the script that waits: it is that one's turn, or time has changed
    /// something about a lock of the script's, which somebody waits for. He has it before the script looks at it.
    pub(super) fn goes_ahead_of_script(&mut self, now: Now) -> bool {
        if self.decide_settle_for_script(now) {
            return true;
        }
        let group = &self.group;
        group.last_turn.was_script
            && (!group.decisions.is_empty()
                || group.requests.next_is_plain()
                || group.forwarded.has_writes() && !group.forwarded.next_is_script())
    }

    /// Decides that time changed something about the locks at the next script's keys, if it did; whether it did.
    fn decide_settle_for_script(&mut self, now: Now) -> bool {
        if self.cache.locks().is_empty() {
            return false;
        }
        let script = match self.next_script_is_own() {
            true => self.group.requests.next_script(),
            false => self.group.forwarded.next_script(),
        };
        let Some((op, _)) = script.and_then(|script| split_first(script).ok()) else {
            return false;
        };
        let stamp = self.group.proposal_stamp(now, 0, self.cache.now_ms());
        let (seed, db) = (self.cache.seed(), op.head.db);
        let is_due = |key: &&[u8]| {
            let key = Key::new(seed, db, key);
            self.cache.is_lock_due(key, stamp.log_ms)
        };
        let count = keys_count(op.args()).unwrap_or(0);
        let args = op.args();
        let keys = args.iter().skip(KEYS_AT).take(count).filter(is_due);
        let due: Vec<Vec<u8>> = keys.map(<[u8]>::to_vec).collect();
        let due: Vec<&[u8]> = due.iter().map(Vec::as_slice).collect();
        if !due.is_empty() {
            // Without room for it the decisions before it go first.
            self.decide(OpKind::Settle, db, &due);
        }
        !due.is_empty()
    }

    /// Whether the script whose turn it is has to wait for a transaction that has one of its keys. Others go ahead then.
    pub(super) fn script_is_held_back(&mut self) -> bool {
        if self.reservations.is_idle() {
            return false;
        }
        // Those of other nodes must not stop each other.
        let mut first = None;
        while self.group.forwarded.next_origin() != first {
            first = first.or(self.group.forwarded.next_origin());
            let script = self.group.forwarded.next_script();
            let held_back = script
                .and_then(|script| split_first(script).ok())
                .is_some_and(|(op, _)| self.has_script_keys(&op));
            if !held_back || !self.group.forwarded.put_behind_others() {
                break;
            }
        }
        let is_own = self.next_script_is_own();
        let script = match is_own {
            true => self.group.requests.next_script(),
            false => self.group.forwarded.next_script(),
        };
        let held_back = script
            .and_then(|script| split_first(script).ok())
            .is_some_and(|(op, _)| self.has_script_keys(&op));
        if held_back {
            // The other one may be free.
            self.group.last_turn.was_own = is_own;
        }
        held_back
    }

    /// Runs the script that waits and proposes its outcome; whether it did.
    pub(super) fn propose_script(&mut self, work: &mut Work<'_>) -> bool {
        // With the tail of former leaders chosen and nothing on its way, what is applied is all that is below the index that
        // comes next. If this leader is none any more, its proposal is not chosen; no lease is needed for that.
        let is_settled = self.group.in_flight.is_empty() && self.group.replica.may_show();
        if !is_settled {
            return false;
        }
        let waiting = self.take_script();
        let (op, _) = split_first(&waiting.op).expect("looked at when it was taken");
        let draw = work.host.random();
        let stamp = self
            .group
            .proposal_stamp(work.now, draw, self.cache.now_ms());
        let outcome = self.outcome_of(&op, stamp, work);
        let mut payload = vec![0; BATCH_HEAD_BYTES];
        let run = Run {
            origin: waiting.origin,
            done_seq: waiting.done_seq,
            count: 1,
            ops: &outcome,
        };
        push_run(&mut payload, run);
        write_batch_head(&mut payload, stamp.wall_offset_ms, stamp.random);
        self.group.has_outcome_in_flight = true;
        self.group.last_turn.was_script = true;
        self.propose_payload(stamp.log_ms, Bytes::from(payload), work);
        true
    }

    /// Takes the script out of its queue.
    fn take_script(&mut self) -> Waiting {
        let is_own = self.next_script_is_own();
        let group = &mut self.group;
        group.last_turn.was_own = is_own;
        if !is_own {
            let run = group.forwarded.next_run(usize::MAX);
            let run = run.expect("the caller saw a script");
            return Waiting {
                origin: run.origin,
                done_seq: run.done_seq,
                op: run.ops,
            };
        }
        let done_seq = group.requests.writes.done();
        let Next { ops, .. } = group.requests.next_writes().expect("the caller saw it");
        let op = match ops {
            NextOps::Fresh(memory) => {
                // What is queued stays the script: who leads next may have to run it again.
                let memory = Bytes::from(memory);
                group.requests.writes.sealed(memory.clone());
                memory.slice(BATCH_HEAD_BYTES + RUN_HEAD_BYTES..)
            }
            NextOps::Shared(ops) => ops,
        };
        Waiting {
            origin: group.origin,
            done_seq,
            op,
        }
    }

    /// What is to stand in a script's place.
    fn outcome_of(&mut self, op: &Op<'_>, stamp: Stamp, work: &mut Work<'_>) -> Vec<u8> {
        let (args, seq) = (op.args(), op.head.seq);
        let scripts = &work.cluster.scripts;
        let script = match scripts.check(args.get(1)) {
            Ok(script) => script,
            Err(error) => return refused(seq, format!("-{error}\r\n").as_bytes()),
        };
        let Verdict {
            reply,
            changed,
            writes,
            events,
            stopped: _,
            missing: _,
        } = self.run_script(op, &script, (Writes::Allowed, stamp), work);
        // What somebody waits for goes on when the script is through, and not between its commands.
        let keys = args
            .iter()
            .skip(KEYS_AT)
            .take(keys_count(args).unwrap_or(0));
        let locks = self.cache.locks();
        let has_locks = !locks.is_empty() && keys.clone().any(|key| locks.has(op.head.db, key));
        let (kind, what) = match writes.filter(|_| !has_locks) {
            Some(writes) => (OpKind::Commands, writes),
            None => (OpKind::Outcome, changed.triples(|_| true)),
        };
        changed.give_back(&work.cluster.scripts);
        let published = said::encode(&events);
        let mut args: Vec<&[u8]> = vec![&reply];
        let mut flags = op.head.flags;
        if !published.is_empty() {
            flags = flags.with(OpFlags::SAYS);
            args.push(&published);
        }
        args.extend(what.iter().map(Vec::as_slice));
        if args.iter().map(|arg| arg.len()).sum::<usize>() > OUTCOME_BYTES_MAX {
            return refused(
                seq,
                b"-ERR the script changed more than fits into one entry of the log\r\n",
            );
        }
        let is_event = |event: &Event| said::kind_of(event).is_none();
        self.group.script_events = events.into_iter().filter(is_event).collect();
        let mut bytes = Vec::new();
        let head = OpHead {
            kind,
            flags,
            ..op.head
        };
        encode(&mut bytes, head, args.into_iter());
        bytes
    }

    /// Runs a script that only reads, on what this leader may show; its reply goes to the end of the scratch.
    pub(super) fn answer_script(&mut self, op: &Op<'_>, stamp: Stamp, work: &mut Work<'_>) {
        let source = op.args().iter().nth(1).unwrap_or_default();
        let script = work.cluster.scripts.check(source);
        let verdict = match (script, keys_count(op.args())) {
            (Ok(script), Some(_)) => self.run_script(op, &script, (Writes::Refused, stamp), work),
            (Ok(_), None) => Verdict::error("ERR no script"),
            (Err(error), _) => Verdict::error(&error.to_string()),
        };
        work.applied.events.extend(verdict.events);
        let scratch = &mut work.applied.scratch;
        scratch.tail_mut().extend_from_slice(&verdict.reply);
        verdict.changed.give_back(&work.cluster.scripts);
    }

    /// Runs a script on a copy of its keys.
    fn run_script(
        &self,
        op: &Op<'_>,
        script: &Script,
        (writes, stamp): (Writes, Stamp),
        work: &mut Work<'_>,
    ) -> Verdict {
        let began_us = work.host.monotonic_us();
        let args = op.args();
        let count = keys_count(args).expect("looked at by the caller");
        let invocation = Invocation {
            script,
            keys: args.iter().skip(KEYS_AT).take(count).collect(),
            args: args.iter().skip(KEYS_AT + count).collect(),
        };
        let is_full = work.budget.missing() > 0 && work.cluster.is_full();
        // The shard's own time stays: this may never be chosen, and another leader's time need not be so far.
        let cache = &self.cache;
        let mut undeclared: Vec<Box<[u8]>> = Vec::new();
        let verdict = loop {
            let terms = Terms {
                db: op.head.db,
                stamp: stamp.of_op(0),
                protocol: op.head.flags.protocol(),
                touch: op.head.flags.touch(),
                writes,
                memory: if is_full {
                    Memory::Full
                } else {
                    Memory::Enough
                },
                lock_memory: Memory::for_locks(work.budget),
                locks_withheld_ms: cache.locks_withheld_ms(),
                event_mask: work.event_mask,
                pubsub: work.pubsub.clone(),
                watchdog: work.cluster.scripts.begin(Place::Briefly),
            };
            let keys: Vec<&[u8]> = invocation
                .keys
                .iter()
                .copied()
                .chain(undeclared.iter().map(|key| &key[..]))
                .collect();
            let overlay = Overlay::new(cache.seed(), &keys, terms, |_| Some(cache));
            let verdict = overlay.run(&work.cluster.scripts.engine, &invocation);
            match &verdict.missing {
                Some(key) if self.reservations.has_anywhere(key) => {
                    break Verdict::error(
                        "TRYAGAIN a transaction has a key that the script does not declare",
                    );
                }
                // A lock that somebody waits for may be due: that is looked at before the script, for declared keys.
                Some(key)
                    if undeclared.len() < UNDECLARED_MAX
                        && work.map.shard_of_slot(slot_of(key)).index() == self.index()
                        && !cache.locks().has(op.head.db, key) =>
                {
                    undeclared.push(key.clone());
                }
                Some(_) | None => break verdict,
            }
        };
        work.scripts_us += work.host.monotonic_us().saturating_sub(began_us);
        verdict
    }
}
