//! Shards of which a majority of replicas lost their memory go on with what is left of them (DESIGN-PAXOS §3.10).
//!
//! In its generation such a group can never have a leader again. What must not happen is that it has one all the same, which
//! some node has not heard of. So it is found out in two steps, the first of which costs nobody anything:
//!
//! 1. *Hints.* Whoever hears that nobody leads a shard tells the meta group's leader what it has of it (`Stranded`). If all
//!    nodes do, and the latest configuration that any of them knows has lost its majority, that leader proposes a *seal*.
//! 2. *Testimony.* A node that hears of the seal takes part in the group's generation no more: it drops whatever comes of
//!    it. Then it says in the meta group's log what it has. When all have, the state says what follows (`meta::lives`).
//!
//! Why that is enough: to lead, a replica must know a chosen configuration that it votes in, and a quorum of that must
//! answer. All nodes have said which they know, in their present lives; no message that is still on its way can teach them
//! another, as they drop it; whoever is no node's present life has no memory. So nobody can lead in that generation, and who
//! did lead has said that he does not. That a life is over means that its process has ended: a node's name and
//! address belong to one process at a time.
//!
//! The next generation is begun by the replica with the longest chosen prefix, whether it voted or not, alone; the others
//! drop what they have and join. What was chosen beyond, and only the others knew, is lost. What follows from that:
//!
//! - *Requests* that are not answered are asked again, and happen once in what the shard now is, though they may have happened
//!   in what was lost. Numbers go on: an origin that says that it is done up to a number beyond what the state knows has lost
//!   those in between (`group::origins`).
//! - *Transactions* over several shards of which this one lost the reserve or the outcome: it says what it now knows, so
//!   others may have done their part and it not. How many were open is logged.
//! - *Locks.* One that was granted in what is lost may still be believed in. So no lock is granted for as long as any may
//!   last: 60 s, or the longest time that was ever agreed on for the shard. A leader that grants for longer holds its answers
//!   until that is agreed on ([`crate::meta::ShardLife::lock_span_ms`]). Fences go on far above (`cache`).

use crate::group::ResetStart;
use crate::host::Now;
use crate::meta::{
    META_GROUP, MetaCommand, MetaMessage, ShardLife, ShardTestimony, Testimony, are_lost,
};
use crate::node::Node;
use crate::settings::OnQuorumLoss;
use crate::view::ClusterView;
use crate::wire::PeerMessage;
use bytes::Bytes;
use paxos::ReplicaId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// So long a shard must have been without a leader before anything is said about it, us.
const LEADERLESS_US: u64 = 3_000_000;
/// Between two hints of a node, us.
const HINT_US: u64 = 500_000;
/// A hint that is older counts as none, us.
const HINT_FRESH_US: u64 = 2_000_000;
/// Between two proposals of the same, us.
const AGAIN_US: u64 = 1_000_000;
/// An inquiry that takes longer is given up, us: some node is silent.
const INQUIRY_US: u64 = 10_000_000;

/// What a node knows of shards that nobody leads.
#[derive(Debug)]
pub(crate) struct Resets {
    /// Since when each has been without a leader, us; 0: it has one.
    leaderless_us: Vec<u64>,
    hinted_us: u64,
    /// The meta group's leader's: by shard, what each node said, and when, us.
    hints: BTreeMap<u32, BTreeMap<ReplicaId, (u64, ShardTestimony)>>,
    /// The same node's: when it first saw an inquiry under way, by shard, us.
    inquiries_us: BTreeMap<u32, u64>,
    proposed_us: u64,
    testified_us: u64,
    covered_us: u64,
}

impl Resets {
    /// Of a node with so many shards.
    pub fn new(shards_count: usize) -> Self {
        Resets {
            leaderless_us: vec![0; shards_count],
            hinted_us: 0,
            hints: BTreeMap::new(),
            inquiries_us: BTreeMap::new(),
            proposed_us: 0,
            testified_us: 0,
            covered_us: 0,
        }
    }

    /// Takes note of who is led; returns the shards that have not been for long.
    fn note_led(&mut self, led: &BTreeSet<u32>, now_us: u64) -> Vec<u32> {
        let mut stranded = Vec::new();
        for (shard, since_us) in (0..).zip(&mut self.leaderless_us) {
            if led.contains(&shard) {
                *since_us = 0;
            } else if *since_us == 0 {
                *since_us = now_us.max(1);
            } else if *since_us + LEADERLESS_US <= now_us {
                stranded.push(shard);
            }
        }
        stranded
    }
}

/// Whether something is to be done again that was done at `at_us`; it counts as done then.
fn is_due(at_us: &mut u64, pause_us: u64, now_us: u64) -> bool {
    let due = *at_us == 0 || now_us >= *at_us + pause_us;
    if due {
        *at_us = now_us.max(1);
    }
    due
}

impl Node {
    /// Another node has something to say of shards that nobody leads.
    pub(crate) fn on_stranded(&self, from: ReplicaId, shards: Vec<ShardTestimony>, now: Now) {
        let mut resets = self.meta.resets.lock();
        let count = self.shards_count() as u32;
        for said in shards.into_iter().filter(|said| said.shard < count) {
            let hints = resets.hints.entry(said.shard).or_default();
            hints.retain(|id, _| id.node != from.node);
            hints.insert(from, (now.monotonic_us, said));
        }
    }

    /// Looks after shards without a leader, and goes the next step that is agreed on. Locks each shard for a moment.
    pub(crate) fn tick_resets(&self, now: Now) {
        let view = self.view();
        if view.nodes.is_empty() {
            return;
        }
        self.follow_lives(&view, now);
        self.cover_locks(&view, now);
        if view.nodes_ever == 1 {
            return;
        }
        self.testify(&view, now);
        self.hint(&view, now);
        if self.with_meta(|group| group.replica().is_leader()) {
            self.look_into(&view, now);
        } else {
            let mut resets = self.meta.resets.lock();
            resets.hints.clear();
            resets.inquiries_us.clear();
        }
    }

    /// Takes part in each shard's generation as far as it is agreed on.
    fn follow_lives(&self, view: &Arc<ClusterView>, now: Now) {
        self.note_lock_spans(view);
        let mut begun = Vec::new();
        for (&shard, life) in &view.lives {
            let mut guard = self.lock(shard as usize);
            guard.seal(life.inquiry.is_some());
            if life.generation() > guard.generation() {
                begun.push((shard as usize, life));
            }
        }
        if begun.is_empty() {
            return;
        }
        let mut work = self.work(now);
        for (shard, life) in begun {
            let start = ResetStart {
                generation: life.generation(),
                number: life.config_number,
                is_base: life.base() == Some(self.cluster.me),
                withheld_ms: life.withheld_ms,
            };
            self.on_shard(shard, &mut work, |shard, work| {
                if start.generation > shard.generation() {
                    shard.begin_generation(start, work);
                }
            });
        }
        self.finish(work);
        // Clients may hold what is no more.
        self.tracking.missed(self, now);
        self.request_flush();
    }

    /// Takes note of how long locks of each shard may last. Locks no shard.
    pub(crate) fn note_lock_spans(&self, view: &ClusterView) {
        let waits = self.settings.load().on_quorum_loss == OnQuorumLoss::Wait;
        for (shard, covered_ms) in self.meta.covers.iter().enumerate() {
            let span_ms = match waits {
                true => u64::MAX,
                false => view.lock_span_ms(shard),
            };
            covered_ms.store(span_ms, Ordering::Relaxed);
        }
    }

    /// Has the cluster agree on how long locks last, where that is longer than was agreed on.
    pub(crate) fn cover_locks(&self, view: &ClusterView, now: Now) {
        let mut shards = Vec::new();
        for shard in 0..self.shards_count() {
            let guard = self.lock(shard);
            let span_ms = guard.cache.lock_span_ms();
            if span_ms > view.lock_span_ms(shard) && guard.group.replica.is_leader() {
                // Few steps, so that it is seldom asked for.
                let step_ms = span_ms.checked_next_power_of_two().unwrap_or(u64::MAX);
                shards.push((shard as u32, step_ms));
            }
        }
        let is_due = !shards.is_empty() && {
            let mut resets = self.meta.resets.lock();
            is_due(&mut resets.covered_us, AGAIN_US / 4, now.monotonic_us)
        };
        if is_due {
            self.change_cluster(MetaCommand::CoverLocks { shards }, Box::new(drop));
        }
    }

    /// What this node has of a shard.
    fn testimony(&self, view: &ClusterView, shard: usize) -> ShardTestimony {
        let inquiry = view.life(shard).map_or(0, |life| life.inquiries_count);
        let guard = self.lock(shard);
        let replica = &guard.group.replica;
        let has_state = !replica.is_hollow() && replica.chosen().0 > 0;
        ShardTestimony {
            shard: shard as u32,
            generation: replica.generation().0,
            inquiry,
            testimony: Testimony::of(
                self.cluster.me,
                replica.config(),
                has_state.then_some(guard.applied),
            ),
        }
    }

    /// Says in the meta group's log what this node has of shards that are sealed.
    fn testify(&self, view: &ClusterView, now: Now) {
        let me = self.cluster.me;
        let mut shards = Vec::new();
        let mut led = Vec::new();
        for (&shard, life) in &view.lives {
            let Some(inquiry) = &life.inquiry else {
                continue;
            };
            let said = self.testimony(view, shard as usize);
            let guard = self.lock(shard as usize);
            if said.generation != life.generation || guard.group.replica.is_leader() {
                // It has a leader after all, or had one a moment ago.
                led.push((shard, life.generation));
            } else if guard.is_sealed() && inquiry.get(&me.node.0) != Some(&said.testimony) {
                shards.push(said);
            }
        }
        let mut resets = self.meta.resets.lock();
        let is_any = !(shards.is_empty() && led.is_empty());
        if !is_any || !is_due(&mut resets.testified_us, AGAIN_US, now.monotonic_us) {
            return;
        }
        drop(resets);
        if !led.is_empty() {
            self.change_cluster(MetaCommand::Unseal { shards: led }, Box::new(drop));
        }
        if !shards.is_empty() {
            let node = me.node.0;
            self.change_cluster(MetaCommand::Testify { node, shards }, Box::new(drop));
        }
    }

    /// Tells the meta group's leader what this node has of shards that nobody leads.
    fn hint(&self, view: &ClusterView, now: Now) {
        let reports = self.reports.all(now);
        let led: BTreeSet<u32> = reports
            .values()
            .flat_map(|report| report.led.iter().map(|led| led.shard))
            .collect();
        let mut resets = self.meta.resets.lock();
        let stranded = resets.note_led(&led, now.monotonic_us);
        if stranded.is_empty() || !is_due(&mut resets.hinted_us, HINT_US, now.monotonic_us) {
            return;
        }
        drop(resets);
        let is_open = |shard: &u32| {
            let life = view.lives.get(shard);
            life.is_none_or(|life| life.inquiry.is_none())
        };
        let shards: Vec<ShardTestimony> = stranded
            .into_iter()
            .filter(is_open)
            .map(|shard| self.testimony(view, shard as usize))
            .collect();
        let me = self.cluster.me;
        match self.cluster.leader(META_GROUP) {
            Some(leader) if leader == me.node => self.on_stranded(me, shards, now),
            Some(leader) => {
                let message = MetaMessage::Stranded(shards);
                let bytes = Bytes::from(message.encode());
                self.cluster.peers.send(leader, &PeerMessage::Meta(bytes));
            }
            None => {}
        }
    }

    /// The meta group's leader has shards sealed that seem to be lost, and gives up on inquiries that come to no end.
    fn look_into(&self, view: &ClusterView, now: Now) {
        let now_us = now.monotonic_us;
        let mut resets = self.meta.resets.lock();
        let under_way = |life: &ShardLife| life.inquiry.is_some();
        resets
            .inquiries_us
            .retain(|shard, _| view.lives.get(shard).is_some_and(under_way));
        let mut late = Vec::new();
        for (&shard, life) in view.lives.iter().filter(|(_, life)| under_way(life)) {
            let since_us = *resets.inquiries_us.entry(shard).or_insert(now_us);
            if since_us + INQUIRY_US <= now_us {
                late.push((shard, life.generation));
            }
        }
        let lost: Vec<(u32, u32)> = match self.settings.load().on_quorum_loss {
            OnQuorumLoss::Wait => Vec::new(),
            OnQuorumLoss::Reset => resets
                .hints
                .iter()
                .filter(|(_, hints)| self.seems_lost(view, hints, now_us))
                .map(|(&shard, _)| (shard, view.life(shard as usize).map_or(0, |l| l.generation)))
                .collect(),
        };
        let is_any = !(late.is_empty() && lost.is_empty());
        if !is_any || !is_due(&mut resets.proposed_us, AGAIN_US, now_us) {
            return;
        }
        for (shard, _) in &lost {
            resets.hints.remove(shard);
        }
        drop(resets);
        if !late.is_empty() {
            tracing::warn!(?late, "nothing was found out about shards without a leader");
            self.change_cluster(MetaCommand::Unseal { shards: late }, Box::new(drop));
        }
        if !lost.is_empty() {
            tracing::warn!(shards = ?lost, "shards have lost the memory of a majority, looking for what is left");
            self.change_cluster(MetaCommand::Seal { shards: lost }, Box::new(drop));
        }
    }

    /// Whether, by what all nodes said not long ago, nobody can lead a shard.
    fn seems_lost(
        &self,
        view: &ClusterView,
        hints: &BTreeMap<ReplicaId, (u64, ShardTestimony)>,
        now_us: u64,
    ) -> bool {
        let generation = |shard: u32| view.lives.get(&shard).map_or(0, |life| life.generation);
        let said = |id: ReplicaId| {
            let (at_us, said) = hints.get(&id)?;
            let is_fresh = at_us + HINT_FRESH_US > now_us;
            (is_fresh && said.generation == generation(said.shard)).then_some(&said.testimony)
        };
        let all: Option<Vec<&Testimony>> =
            view.nodes.iter().map(|node| said(node.replica())).collect();
        all.is_some_and(|all| are_lost(all.into_iter(), |id| view.is_over(id)))
    }
}
