//! The node's side of the meta group: its lock, what is done about what comes out of it, and the members of the groups
//! that this node leads.

use super::command::{MetaAnswer, MetaCommand, MetaError, MetaRequest, NodeAddresses, RequestId};
use super::group::{Completion, META_GROUP, MetaGroup, MetaTurn, NoAnswer};
use super::message::{JoinRequest, MetaMessage, Welcome};
use super::pace::Pace;
use super::reconcile::Reconciler;
use super::whereabouts::Whereabouts;
use crate::host::Now;
use crate::journal::{Journal, JournalBatch, JournalError};
use crate::node::Node;
use crate::resets::Resets;
use crate::settings::Settings;
use crate::view::{ClusterView, NodeView};
use crate::wire::PeerMessage;
use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use paxos::{Generation, Input, Message, NodeId, ReplicaId, SnapshotBase};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A removed node that was silent for so long has heard of it and ended, or never will, us. Long, since one that is only cut
/// off would go on for ever in a cluster that knows it no more.
const GONE_US: u64 = 600_000_000;
/// Between two looks at whether the shards' members are those wanted, us.
const RECONCILE_US: u64 = 100_000;

/// So long after a node's death the next leaders of its shards are about to be known, us. An election takes some 20 ms, or a
/// few hundred where machines are busy.
const ELECTION_US_MAX: u64 = 1_000_000;

/// The meta group as the node holds it.
#[derive(Debug)]
pub(crate) struct Meta {
    group: Mutex<MetaGroup>,
    view: ArcSwap<ClusterView>,
    /// One for each shard, by shard.
    reconcilers: Mutex<Vec<Reconciler>>,
    reconciled_us: AtomicU64,
    /// The settings that were taken over are those as of this epoch.
    settings_epoch: Mutex<u64>,
    /// Shards without a leader, and what is known of them.
    pub resets: Mutex<Resets>,
    /// For how long locks of each shard may be granted, ms; the shards read it.
    pub covers: Vec<Arc<AtomicU64>>,
    /// Where nodes are that the view does not know.
    pub whereabouts: Whereabouts,
}

impl Meta {
    /// `covers`: as its shards have them ([`crate::shard::Shard::covered_span_ms`]).
    pub fn new(group: MetaGroup, covers: Vec<Arc<AtomicU64>>, own: NodeAddresses) -> Self {
        let shards_count = covers.len();
        Meta {
            view: ArcSwap::new(group.view().clone()),
            group: Mutex::new(group),
            reconcilers: Mutex::new(vec![Reconciler::default(); shards_count]),
            reconciled_us: AtomicU64::new(0),
            settings_epoch: Mutex::new(0),
            resets: Mutex::new(Resets::new(shards_count)),
            covers,
            whereabouts: Whereabouts::new(own),
        }
    }
}

/// For whoever asks.
impl Node {
    /// The cluster as this node knows it.
    pub fn view(&self) -> Arc<ClusterView> {
        self.meta.view.load_full()
    }

    /// Has the cluster agree on a change; `done` is called once, at the latest after 10 s.
    pub fn change_cluster(&self, command: MetaCommand, done: Completion) {
        let id = u128::from(self.host.random()) << 64 | u128::from(self.host.random());
        let request = MetaRequest {
            id: RequestId(id),
            command,
        };
        self.submit(request, done);
    }

    /// Has the cluster agree on settings that hold on all nodes ([`Settings::name_in_cluster`]).
    pub(crate) fn configure_cluster(&self, pairs: Vec<(String, String)>, done: Completion) {
        self.change_cluster(MetaCommand::Configure { pairs }, done);
    }

    /// Has the cluster agree on a process that wants to join it; [`Node::welcome`] makes of the answer what that process is
    /// to be told.
    pub fn join_request(&self, request: JoinRequest, done: Completion) {
        let command = MetaCommand::Join {
            name: request.name,
            addresses: request.addresses,
            weight: request.weight,
            zone: request.zone,
        };
        let id = request.id;
        self.submit(MetaRequest { id, command }, done);
    }

    /// What a process is told that asked to join.
    ///
    /// # Errors
    /// Why it does not belong to the cluster: a sentence for people.
    pub fn welcome(&self, answer: Result<MetaAnswer, NoAnswer>) -> Result<Welcome, String> {
        match answer {
            Ok(MetaAnswer::Joined { node, incarnation }) => Ok(Welcome {
                node,
                incarnation,
                state: self.meta.group.lock().state().clone(),
            }),
            Ok(MetaAnswer::Refused { reason }) => Err(reason),
            Ok(MetaAnswer::Done { .. }) => Err("another request had this name".into()),
            Err(no_answer) => Err(no_answer.to_string()),
        }
    }

    /// Whether another process has this node's place, or the node was removed: this one must end.
    pub fn is_over(&self) -> bool {
        self.meta.view.load().is_over(self.cluster.me)
    }

    /// Whether the process may end because its node was removed: it votes nowhere any more, and whoever votes instead knows
    /// it. Until then others may need it; they are about to replace it. Locks each shard for a moment.
    pub fn has_left(&self) -> bool {
        self.is_over()
            && self.with_meta(|group| group.replica().can_leave())
            && (0..self.shards_count()).all(|shard| self.lock(shard).group.replica.can_leave())
    }

    /// Since when another node has been alive without a break, us; none if it is not.
    pub fn alive_since(&self, node: NodeId, now: Now) -> Option<u64> {
        if node == self.cluster.me.node {
            return Some(0);
        }
        let group = self.meta.group.lock();
        group.presence.alive_since(node, now.monotonic_us)
    }

    /// Whether another node's link broke a moment ago, so that whoever leads its shards next is about to be known.
    pub(crate) fn is_just_lost(&self, node: NodeId, now: Now) -> bool {
        let group = self.meta.group.lock();
        let lost_us = group.presence.lost_for_us(node, now.monotonic_us);
        lost_us.is_some_and(|lost_us| lost_us < ELECTION_US_MAX)
    }

    /// Calls `f` with the meta group, locked.
    pub(crate) fn with_meta<R>(&self, f: impl FnOnce(&MetaGroup) -> R) -> R {
        f(&self.meta.group.lock())
    }

    fn submit(&self, request: MetaRequest, done: Completion) {
        let now = self.now();
        self.meta_turn(|group, turn| group.submit(request, Some(done), now, turn));
        self.request_flush();
    }
}

/// For what moves the node.
impl Node {
    /// A message between the meta group's replicas, or whatever else concerns its replica.
    pub(crate) fn step_meta(&self, input: Input, now: Now) {
        self.meta_turn(|group, turn| group.step(input, now, turn));
    }

    /// Another node wants something agreed on.
    ///
    /// # Errors
    /// Bytes that say nothing.
    pub(crate) fn on_meta_message(
        &self,
        from: ReplicaId,
        message: &Bytes,
        now: Now,
    ) -> Result<(), MetaError> {
        let message = match MetaMessage::decode(message)? {
            MetaMessage::Report(report) => {
                self.on_report(from.node, report, now);
                return Ok(());
            }
            MetaMessage::Stranded(shards) => {
                self.on_stranded(from, shards, now);
                return Ok(());
            }
            MetaMessage::Here(addresses) => {
                self.on_here(from, addresses);
                return Ok(());
            }
            message @ (MetaMessage::Ask(_) | MetaMessage::Refused { .. }) => message,
        };
        self.meta_turn(|group, turn| group.on_message(from.node, message, now, turn));
        Ok(())
    }

    /// A node lives.
    pub(crate) fn hear_node(&self, life: ReplicaId, now: Now) {
        self.meta.group.lock().presence.hear(life, now.monotonic_us);
    }

    /// The link from a node broke.
    pub(crate) fn lose_node(&self, node: NodeId, now: Now) {
        self.meta_turn(|group, turn| {
            group.presence.lose(node, now.monotonic_us);
            group.step(Input::PeerDown(node), now, turn);
        });
    }

    /// Time went by.
    pub(crate) fn tick_meta(&self, now: Now) {
        self.meta_turn(|group, turn| group.tick(now, turn));
        let due_us = self.meta.reconciled_us.load(Ordering::Relaxed) + RECONCILE_US;
        if now.monotonic_us >= due_us {
            self.meta
                .reconciled_us
                .store(now.monotonic_us, Ordering::Relaxed);
            self.look_for_lost(now);
            self.tick_resets(now);
            self.reconcile(now);
        }
    }

    /// The leader of the meta group sees to it that others take the place of who is dead for long, as long as there are
    /// others: replicas that cannot be had elsewhere are not given up.
    fn look_for_lost(&self, now: Now) {
        let replace_after_s = self.settings.load().replace_after_s;
        let patience_us = replace_after_s.saturating_mul(1_000_000);
        let me = self.cluster.me.node;
        let command = {
            let mut group = self.meta.group.lock();
            if !group.replica().is_leader() {
                return;
            }
            let view = group.view().clone();
            let others = || view.nodes.iter().filter(|node| node.id != me);
            let leaving = view.leaving.iter().map(|node| node.id);
            let all = others().map(|node| node.id).chain(leaving);
            let late = group.presence.miss(all, patience_us, now.monotonic_us);
            let is_alive = |node: &NodeView| {
                node.id == me
                    || group
                        .presence
                        .alive_since(node.id, now.monotonic_us)
                        .is_some()
            };
            let back = others().find(|node| node.is_lost && is_alive(node));
            let gone = view.leaving.iter().find(|node| {
                let missed_us = group.presence.missed_for_us(node.id, now.monotonic_us);
                missed_us >= Some(GONE_US)
            });
            let active = view.nodes.iter().filter(|node| node.is_active());
            let can_hold = active.filter(|node| is_alive(node)).count();
            let lost =
                others().find(|node| !node.is_lost && node.weight > 0 && late.contains(&node.id));
            match (gone, back, lost) {
                (Some(node), _, _) => MetaCommand::Forget { node: node.id.0 },
                (None, Some(node), _) => MetaCommand::Find { node: node.id.0 },
                (None, None, Some(node)) if can_hold >= view.voters_count() => MetaCommand::Lose {
                    node: node.id.0,
                    incarnation: node.incarnation.0,
                },
                (None, None, _) => return,
            }
        };
        tracing::info!(?command, "the cluster changes by itself");
        self.change_cluster(command, Box::new(drop));
    }

    /// Brings the shards that this node leads one step nearer to the members that are wanted.
    fn reconcile(&self, now: Now) {
        let view = self.view();
        let is_alone = view.nodes.len() == 1 && view.nodes_ever == 1;
        if view.nodes.is_empty() || is_alone && !self.cluster.is_durable() {
            return;
        }
        let presence = self.with_meta(|group| group.presence.clone());
        let alive_since = |node| presence.alive_since(node, now.monotonic_us);
        let mut pace = Pace::new(self.reports.receiving(now));
        for shard in 0..self.shards_count() {
            let guard = self.lock(shard);
            let replica = &guard.group.replica;
            let feeds = replica.is_leader() && !replica.have_learners_caught_up();
            if feeds {
                pace.sends(guard.cache.used_bytes() as u64);
            }
            if replica.is_leader() && guard.cache.used_bytes() > 0 {
                let config = replica.config();
                let wanted = view.wanted_of(replica.group());
                let has = |id: &ReplicaId| {
                    config.voters.contains(id) || config.learners.contains(id) && !feeds
                };
                let lacking = wanted.iter().filter(|id| !has(id));
                lacking.for_each(|id| pace.lacks(id.node));
            }
        }
        let mut reconcilers = self.meta.reconcilers.lock();
        let mut work = self.work(now);
        for (shard, reconciler) in reconcilers.iter_mut().enumerate() {
            self.on_shard(shard, &mut work, |shard, work| {
                shard.look_for_loss(&view, now);
                let replica = &shard.group.replica;
                let bytes = shard.cache.used_bytes() as u64;
                if !replica.is_leader() {
                    let wanted = view.wanted_of(replica.group());
                    if !wanted.contains(&replica.me()) {
                        shard.retire(work);
                        shard.ask_what_became(&view, work);
                    }
                    return;
                }
                let admits = |node| pace.admits(node, bytes);
                let is_busy = |node| pace.is_receiving(node);
                let next = reconciler.next(
                    &view,
                    replica,
                    &alive_since,
                    &admits,
                    &is_busy,
                    now.monotonic_us,
                );
                if let Some(input) = next {
                    if let Input::Reconfigure { learners, .. } = &input {
                        let present = replica.config();
                        let is_new = |id: &&ReplicaId| {
                            !present.learners.contains(id) && !present.voters.contains(id)
                        };
                        let new = learners.iter().filter(is_new);
                        new.for_each(|id| pace.begins(id.node, bytes));
                    }
                    shard.step(input, work);
                }
                shard.forget_origins(&|life| view.is_over(life), work);
            });
        }
        drop(reconcilers);
        self.finish(work);
    }

    fn meta_turn(&self, f: impl FnOnce(&mut MetaGroup, &mut MetaTurn)) {
        let mut turn = MetaTurn::default();
        let mut done = Vec::new();
        let durable_turn = self.cluster.begin_durable_turn();
        f(&mut self.meta.group.lock(), &mut turn);
        // What was made durable may bring the group further, whose records are made durable in their turn.
        loop {
            let token = (!turn.out.persist.is_empty()).then_some(turn.out.token);
            let mut records = JournalBatch::default();
            for record in &turn.out.persist {
                records.push(META_GROUP, Generation(0), record);
            }
            done.append(&mut turn.done);
            self.send_meta(&mut turn.out.send_first);
            let installed = turn.installed.take();
            if token.is_some() && !(self.keep_installed(installed) && self.append(&records)) {
                return;
            }
            self.perform_meta(std::mem::take(&mut turn));
            let Some(token) = token else {
                break;
            };
            let persisted = Input::Persisted(token);
            self.meta
                .group
                .lock()
                .step(persisted, self.now(), &mut turn);
        }
        drop(durable_turn);
        let is_any_done = !done.is_empty();
        for (done, answer) in done {
            done(answer);
        }
        if is_any_done {
            // What gathered behind it.
            self.share_scripts();
        }
    }

    /// Writes a snapshot that was received as a checkpoint; false if the disk failed.
    fn keep_installed(&self, installed: Option<(Vec<u8>, SnapshotBase)>) -> bool {
        let (Some((image, base)), Some(journal)) = (installed, self.cluster.journal()) else {
            return true;
        };
        self.write_meta(&**journal, &image, &base)
            .inspect_err(|error| self.cluster.fail(error.clone()))
            .is_ok()
    }

    /// Writes a checkpoint of the meta group.
    pub(crate) fn write_meta(
        &self,
        journal: &dyn Journal,
        image: &[u8],
        base: &SnapshotBase,
    ) -> Result<(), JournalError> {
        let mut file = journal.begin_checkpoint(META_GROUP, Generation(0))?;
        file.chunk(image)?;
        file.finish(base)
    }

    fn send_meta(&self, messages: &mut Vec<Message>) {
        for message in messages.drain(..) {
            let to = message.to.node;
            self.cluster.peers.send(to, &PeerMessage::Paxos(message));
        }
    }

    /// Performs what a turn left and what was made durable, without the lock.
    fn perform_meta(&self, mut turn: MetaTurn) {
        self.send_meta(&mut turn.out.send);
        for (to, message) in turn.messages {
            let bytes = Bytes::from(message.encode());
            self.cluster.peers.send(to, &PeerMessage::Meta(bytes));
        }
        if turn.leader.is_some() {
            // As it is by now, and under the lock: another thread's turn may have been performed before this one.
            let group = self.meta.group.lock();
            let leader = group.replica().leader().map(|leader| leader.node);
            self.cluster.set_leader(META_GROUP, leader);
        }
        if let Some(facts) = turn.scripts {
            self.cluster.scripts.take_facts(facts);
        }
        if let Some(view) = turn.view {
            self.take_view(view);
        }
    }

    /// Takes over another view of the cluster, unless a later one was faster.
    pub(crate) fn take_view(&self, view: Arc<ClusterView>) {
        self.meta.view.rcu(|known| match known.epoch > view.epoch {
            true => known.clone(),
            false => view.clone(),
        });
        let view = self.view();
        self.speak_to_known();
        self.take_settings();
        self.note_lock_spans(&view);
    }

    /// Takes over the cluster's runtime configuration.
    fn take_settings(&self) {
        let mut epoch = self.meta.settings_epoch.lock();
        let (latest, pairs) = self.with_meta(|group| {
            let state = group.state();
            (state.epoch, state.settings.clone())
        });
        if latest <= *epoch {
            return;
        }
        *epoch = latest;
        // A transaction may hold shards and change settings: it must not wait for one who waits for the shards.
        match self.replace_settings(&pairs) {
            Replaced::Yes => self.listen_again(),
            Replaced::No => {}
        }
    }

    fn replace_settings(&self, pairs: &BTreeMap<String, String>) -> Replaced {
        let _one_at_a_time = self.settings_lock.lock();
        let before = self.settings.load_full();
        let mut settings = Settings::clone(&before);
        for (name, value) in pairs {
            if let Err(error) = settings.set(name, value) {
                // Another node took it, this one cannot: it goes on with what it has.
                tracing::warn!(name, %error, "a setting of the cluster is not taken over");
            }
        }
        if settings == *before {
            return Replaced::No;
        }
        self.settings.store(settings.into());
        self.settings_changed();
        Replaced::Yes
    }
}

/// Whether the settings are others now.
enum Replaced {
    Yes,
    No,
}

/// Makes the state that a single founder, or several in tests, begin with.
pub(crate) fn founding_command(
    cluster_id: u128,
    hash_seed: u64,
    settings: &Settings,
    founders: Vec<(String, super::NodeAddresses)>,
) -> MetaCommand {
    MetaCommand::Found {
        cluster_id: format!("{cluster_id:032x}"),
        hash_seed,
        shards_count: settings.shards,
        replicas_wanted: settings.replicas,
        founders,
    }
}
