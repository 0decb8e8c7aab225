//! Forwarded reads that are executed as their message comes, while the leader's lease holds: no queue, and their replies
//! are written straight into the answer.

use super::Work;
use super::op::{Op, OpKind, peek_key, split_first};
use crate::entry::Stamp;
use crate::settings::ReadMode;
use crate::shard::{Call, Shard};
use crate::wire::{AnswerBuffer, AnswerMark, Forward, RequestKind};
use cache::{Cache, Key};
use commands::{Execute, Flags, Row, Run};
use resp::{Args, Reply};
use smallvec::SmallVec;

/// Reads that are touched together ahead of their execution.
const AHEAD_MAX: usize = 32;
/// Bytes of a message that has so few reads that they are touched together with those of other messages.
const FEW_BYTES_MAX: usize = 512;
/// With so many bytes of answers no further read of a message is executed on the spot.
const ANSWERS_BYTES_MAX: usize = 16 << 20;

/// Reads of a message that are executed as it comes.
pub(super) struct Reading {
    /// The clock time, us, that must not have come when all are executed.
    until_us: u64,
    /// What they see; the first one's draw.
    stamp: Stamp,
    /// How many were executed.
    count: u64,
    /// Answers to their origin …
    answers: AnswerBuffer,
    /// … of which those from here on are theirs.
    before: AnswerMark,
    /// Neighbours are mostly of one kind: the last one's row.
    row: Option<(&'static Row, Execute)>,
    /// Those that were touched together: where in the message each is, and its first key's hash.
    touched: SmallVec<[(usize, u32); AHEAD_MAX]>,
    /// How many of them are behind.
    touched_used: usize,
}

impl Reading {
    /// Whether one more read may be executed on the spot.
    pub fn has_room(&self) -> bool {
        self.answers.bytes() < ANSWERS_BYTES_MAX
    }

    /// The command of a read; none if a node of this version would not forward it as one.
    #[inline]
    fn command(&mut self, args: Args<'_>) -> Option<(&'static Row, Execute)> {
        if let Some((row, _)) = self.row
            && args.get(0).eq_ignore_ascii_case(row.name.as_bytes())
            && row.takes(args.len())
        {
            return self.row;
        }
        let row = commands::check(args).ok()?;
        let (Run::Data(execute), false) = (row.run, row.flags.has(Flags::WRITE)) else {
            return None;
        };
        let found = Some((row, execute));
        // A subcommand's row is not that of its first word.
        self.row = found.filter(|_| row.subcommands.is_empty() && row.parent().is_none());
        found
    }

    /// The hash of the first key of the read at `at` in its message, if it is known. Asks for the memory of the next ones
    /// once those before them that were asked for are executed.
    #[inline]
    fn hash_at(&mut self, cache: &Cache, message: &[u8], at: usize) -> Option<u32> {
        // Some were not executed.
        while self
            .touched
            .get(self.touched_used)
            .is_some_and(|(other, _)| *other < at)
        {
            self.touched_used += 1;
        }
        if self.touched_used >= self.touched.len() && !is_touched_with_others(message) {
            self.touch_from(cache, message, at);
        }
        let (found, hash) = *self.touched.get(self.touched_used)?;
        (found == at).then_some(hash)
    }

    fn touch_from(&mut self, cache: &Cache, message: &[u8], at: usize) {
        self.touched.clear();
        self.touched_used = 0;
        let mut databases: SmallVec<[u8; AHEAD_MAX]> = SmallVec::new();
        for (behind, key) in first_keys(cache, &message[at..]) {
            cache.touch_index(key);
            self.touched.push((at + behind, key.hash));
            databases.push(key.db);
        }
        for (&(_, hash), db) in self.touched.iter().zip(databases) {
            let bytes = b"";
            cache.touch_entry(Key { db, hash, bytes });
        }
    }
}

/// Whether the reads of a message are touched with those of others ([`Shard::touch_forward`]).
pub(crate) fn is_touched_with_others(message: &[u8]) -> bool {
    message.len() <= FEW_BYTES_MAX && begins_with_read(message)
}

/// Where each operation begins, and its first key, most likely, as far as they are touched together.
fn first_keys<'a>(cache: &Cache, ops: &'a [u8]) -> impl Iterator<Item = (usize, Key<'a>)> {
    let (mut rest, seed) = (ops, cache.seed());
    let keys = std::iter::from_fn(move || {
        let at = ops.len() - rest.len();
        let (db, key, after) = peek_key(rest)?;
        rest = after;
        Some((at, Key::new(seed, db, key)))
    });
    keys.take(AHEAD_MAX)
}

impl Shard {
    /// Asks for the memory that a message with few reads needs: in pass 0 for index buckets, in pass 1 for records.
    pub(crate) fn touch_forward(&self, forward: &Forward, pass: usize) {
        if self.group.replica.is_leader() {
            let keys = first_keys(&self.cache, &forward.ops);
            match pass {
                0 => keys.for_each(|(_, key)| self.cache.touch_index(key)),
                _ => keys.for_each(|(_, key)| self.cache.touch_entry(key)),
            }
        }
    }

    /// Begins to execute reads on the spot, if the message has some, they go by the lease and it holds; else they wait.
    pub(super) fn begin_reading(&mut self, forward: &Forward, work: &Work<'_>) -> Option<Reading> {
        let goes_by_lease = work.read_mode == ReadMode::Lease && begins_with_read(&forward.ops);
        let until_us = self.lease_until_us();
        if !goes_by_lease || work.host.monotonic_us() >= until_us {
            return None;
        }
        let answers = self.group.replies.lend(forward.origin);
        Some(Reading {
            until_us,
            stamp: Stamp {
                log_ms: self.group.read_ms(work.now),
                wall_offset_ms: self.group.wall_offset_ms(work.now),
                random: work.host.random(),
            },
            count: 0,
            before: answers.mark(),
            answers,
            row: None,
            touched: SmallVec::new(),
            touched_used: 0,
        })
    }

    /// Executes a read, which is at `at` in its message; false if no node of this version would forward it.
    pub(super) fn read_now(
        &mut self,
        op: &Op<'_>,
        (message, at): (&[u8], usize),
        reading: &mut Reading,
        work: &mut Work<'_>,
    ) -> bool {
        let hash = reading.hash_at(&self.cache, message, at);
        let stamp = reading.stamp.of_op(reading.count);
        if op.head.kind != OpKind::Read {
            self.answer_question(op, stamp, reading, work);
        } else if let Some((row, execute)) = reading.command(op.args()) {
            let call = Call {
                execute,
                db: op.head.db,
                args: op.args(),
                stamp,
                first_key_hash: hash.filter(|_| row.is_single_key()),
                touch: op.head.flags.touch(),
                request: None,
                event_mask: work.event_mask,
            };
            let begun = reading.answers.begin(RequestKind::Read, op.head.seq);
            let mut reply = Reply::new(reading.answers.reply_mut(), op.head.flags.protocol());
            let events = self.run(call, &mut reply);
            reading.answers.end(begun);
            if !events.is_empty() {
                work.applied.events.extend(events);
            }
        } else {
            return false;
        }
        reading.count += 1;
        true
    }

    fn answer_question(
        &mut self,
        op: &Op<'_>,
        stamp: Stamp,
        reading: &mut Reading,
        work: &mut Work<'_>,
    ) {
        let begun = reading.answers.begin(RequestKind::Read, op.head.seq);
        self.run_read(op, stamp, work);
        reading
            .answers
            .reply_mut()
            .append(&mut work.applied.scratch);
        reading.answers.end(begun);
    }

    /// The reads were executed. If the process stood still meanwhile, what was read may be old: then they wait for a
    /// lease again.
    pub(super) fn end_reading(
        &mut self,
        forward: &Forward,
        mut reading: Reading,
        work: &mut Work<'_>,
    ) {
        let is_late = reading.count > 0 && {
            self.drain_changes(work);
            work.host.monotonic_us() >= reading.until_us
        };
        if is_late {
            reading.answers.rewind(reading.before);
        }
        self.group
            .replies
            .give_back(forward.origin, reading.answers);
        if !is_late {
            return;
        }
        let mut at = 0;
        while let Ok((op, _)) = split_first(&forward.ops[at..]) {
            let range = at..at + op.bytes().len();
            at = range.end;
            if op.head.kind.lane() == RequestKind::Read {
                // One that waits already is not taken twice.
                self.take_read(
                    (forward.origin, forward.done_seq),
                    &op,
                    forward.ops.slice(range),
                );
            }
        }
    }
}

/// Whether the first operation of a message is a read: a node sends reads and writes apart.
fn begins_with_read(ops: &[u8]) -> bool {
    [OpKind::Read, OpKind::Internal]
        .map(|kind| Some(kind as u8))
        .contains(&ops.first().copied())
}
