//! A shard's group goes on in its next generation (`crate::resets`).

use super::forward::takes_lock;
use super::loss::Loss;
use super::op::Op;
use super::origins::Origins;
use super::reservations::Reservations;
use super::streams::Streams;
use super::{Mode, Work};
use crate::journal::JournalError;
use crate::shard::Shard;
use cache::Cache;
use paxos::{Ballot, Generation, Record, RoleChange, SnapshotBase};
use resp::Reply;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What log time, as the next leader counts it, may be ahead of what is reckoned at the beginning, ms: a lease and more.
const LOG_MARGIN_MS: u64 = 1_000;

/// What is said to who asks for a lock while none is granted, for so long yet, ms.
pub(crate) fn locks_withheld(for_ms: u64) -> String {
    format!(
        "LOCKWAIT The shard has lost memory, and somebody may hold a lock that it does not know of: none is granted for {for_ms} ms"
    )
}

/// How a generation begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResetStart {
    /// Which.
    pub generation: Generation,
    /// The number of its first configuration.
    pub number: u64,
    /// Whether this replica begins it; else it joins.
    pub is_base: bool,
    /// For so long no lock is granted, ms.
    pub withheld_ms: u64,
}

impl Shard {
    /// The generation of its group, as this replica knows it.
    pub(crate) fn generation(&self) -> Generation {
        self.group.replica.generation()
    }

    /// Whether this replica takes no part in its group until it is found out who can lead it.
    pub(crate) fn is_sealed(&self) -> bool {
        self.group.is_sealed
    }

    /// Has this replica take no part in its group any more, or again. One that leads goes on.
    pub(crate) fn seal(&mut self, is_sealed: bool) {
        let was_sealed = self.group.is_sealed;
        self.group.is_sealed = is_sealed && (was_sealed || !self.group.replica.is_leader());
    }

    /// For how long locks may be granted, ms: whoever learns what is agreed on writes it.
    pub(crate) fn covered_span_ms(&self) -> Arc<AtomicU64> {
        self.group.covered_span_ms.clone()
    }

    /// Whether every lock that was granted here lasts no longer than was agreed on.
    #[inline]
    pub(crate) fn has_covered_locks(&self) -> bool {
        self.cache.lock_span_ms() <= self.group.covered_span_ms.load(Ordering::Relaxed)
    }

    /// Whether this replica may show what it has applied: it leads, no former lease stands, and its locks are covered.
    pub(super) fn may_show(&self) -> bool {
        self.group.replica.may_show() && self.has_covered_locks()
    }

    /// Until when it may answer reads on the spot, us by the node's clock; 0: not at all.
    pub(super) fn lease_until_us(&self) -> u64 {
        match self.has_covered_locks() {
            true => self.group.replica.lease_until(),
            false => 0,
        }
    }

    /// Shows nothing from now on if a lock was granted that lasts longer than was agreed on: nobody is to rely on one that
    /// may outlast what others would wait for.
    pub(super) fn hold_if_uncovered(&mut self) {
        if !self.has_covered_locks() {
            self.group.shows = false;
            self.group.lease_until_us = 0;
        }
    }

    /// Whether the group has lost the memory of a majority once, so that writes that were answered may be missing.
    #[inline]
    pub(super) fn has_lost_memory(&self) -> bool {
        self.generation() > Generation(0)
    }

    /// Whether a transaction would take a lock while none is granted.
    pub(super) fn withholds(&self, op: &Op<'_>, log_ms: u64) -> bool {
        self.cache.locks_withheld_until_ms() > log_ms && takes_lock(op)
    }

    /// Answers that no lock is granted at the moment.
    pub(crate) fn refuse_lock(&self, reply: &mut Reply<'_>) {
        reply.error(&locks_withheld(self.cache.locks_withheld_ms()));
    }

    /// Begins a generation, or joins it with nothing.
    pub(crate) fn begin_generation(&mut self, start: ResetStart, work: &mut Work<'_>) {
        let group = self.group.id.0;
        let transactions = self.reservations.all_reserved().count();
        let former = self.group.replica.generation().0;
        self.clear_for_generation(work);
        match start.is_base {
            true => self.begin_as_base(start, work),
            false => self.begin_as_joiner(start, work),
        }
        self.state_replaced();
        self.blocked.ask_again();
        self.waits.tell_again();
        self.mode = Mode::Grouped;
        work.cluster.set_mode(self.index(), self.mode);
        let (generation, index) = (start.generation.0, self.applied);
        if start.is_base {
            tracing::error!(
                group,
                former,
                generation,
                index,
                transactions,
                withheld_ms = start.withheld_ms,
                "a majority of the group's voters lost their memory: it goes on with what is left here"
            );
        } else {
            tracing::warn!(group, former, generation, "the group begins anew elsewhere");
        }
    }

    /// Forgets what was under way.
    fn clear_for_generation(&mut self, work: &mut Work<'_>) {
        let exact_from_ms = self.group.streams.exact_from_ms;
        self.group.streams = Streams::default();
        self.group.streams.exact_from_ms = exact_from_ms;
        self.on_role(RoleChange::Follower { leader: None }, work);
        self.group.lease_until_us = 0;
        self.group.shows = false;
        self.group.is_sealed = false;
        self.group.loss = Loss::None;
    }

    fn begin_as_base(&mut self, start: ResetStart, work: &mut Work<'_>) {
        let replica = &self.group.replica;
        let floor_ms = work.now.log_ms.max(1);
        let (seed, now_us) = (work.host.random(), work.now_us());
        let (next, base) = replica.renew(start.generation, start.number, floor_ms, seed, now_us);
        let now_ms = next.reckoned_log_ms(now_us).max(self.cache.now_ms());
        self.group.replica = next;
        self.applied = base.index.0;
        // Clocks that run apart by what leases assume, both ways.
        let withheld_ms = start.withheld_ms.saturating_add(start.withheld_ms / 50);
        self.cache.withhold_locks(
            now_ms
                .saturating_add(withheld_ms)
                .saturating_add(LOG_MARGIN_MS),
        );
        self.cache.begin_fences(start.generation.0, now_ms);
        if work.cluster.is_durable() {
            let written = self.write_base(&base, work);
            work.unless_failed(Some(written));
            let record = Record::Base(SnapshotBase {
                log_ms: self.cache.now_ms(),
                ..base
            });
            self.push_record(&record, work);
        }
    }

    fn begin_as_joiner(&mut self, start: ResetStart, work: &mut Work<'_>) {
        let (seed, now_us) = (work.host.random(), work.now_us());
        self.group.replica = self.group.replica.rejoin(start.generation, seed, now_us);
        let seed = self.cache.seed();
        work.graves
            .push(std::mem::replace(&mut self.cache, Cache::new(seed)));
        self.origins = Origins::default();
        self.reservations = Reservations::default();
        self.applied = 0;
        self.group.streams.exact_from_ms = 0;
        if work.cluster.is_durable() {
            // What the journal has of the former generation is over.
            self.push_record(&Record::Promised(Ballot::default()), work);
        }
    }

    /// Writes the state as the checkpoint that the generation begins with, as a whole: it is little more than a snapshot that
    /// was received, and nobody is answered meanwhile.
    fn write_base(&mut self, base: &SnapshotBase, work: &Work<'_>) -> Result<(), JournalError> {
        use super::streams::CheckpointStep;
        let Some(journal) = work.cluster.journal() else {
            return Ok(());
        };
        let mut file = journal.begin_checkpoint(self.group.id, self.generation())?;
        let begun = self.begin_checkpoint();
        assert_eq!(begun.index, base.index, "the state is that of the base");
        loop {
            match self.checkpoint_step() {
                CheckpointStep::Chunk(chunk) => file.chunk(&chunk)?,
                CheckpointStep::Last(chunk) => {
                    file.chunk(&chunk)?;
                    return file.finish(&SnapshotBase {
                        log_ms: begun.log_ms,
                        ..base.clone()
                    });
                }
                CheckpointStep::Outrun => unreachable!("nothing is written to meanwhile"),
            }
        }
    }

    fn push_record(&mut self, record: &Record, work: &mut Work<'_>) {
        work.records.push(self.group.id, self.generation(), record);
        work.tokens.push((self.index(), 0));
    }
}
