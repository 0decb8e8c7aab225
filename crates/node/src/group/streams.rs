//! Snapshots under way at a shard: those that it makes for others, and the one that it receives.

use super::Work;
use super::engine::send;
use super::locks::each_key;
use super::op::{Op, OpKind};
use super::origins::Origins;
use super::reservations::Reservations;
use super::snapshot::{Producer, Staged, Staging};
use crate::journal::{Checkpoint, Journal};
use crate::shard::Shard;
use crate::view::{ClusterView, NodeView};
use bytes::Bytes;
use cache::{Cache, Collection};
use paxos::{Config, Index, Input, ReplicaId, SnapshotBase, SnapshotStep};
use std::collections::VecDeque;
use std::sync::Arc;

/// Names the stream of a checkpoint; replicas name theirs by fewer bits.
const CHECKPOINT: u64 = u64::MAX;

/// Clones that are let go of at a time.
const LET_GO_MAX: usize = 64;

/// What a step of a checkpoint gives.
pub(crate) enum CheckpointStep {
    /// A chunk; more follow.
    Chunk(Bytes),
    /// The last one.
    Last(Bytes),
    /// The state changed too much meanwhile: it is to begin anew.
    Outrun,
}

/// A group's snapshots.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    producers: Vec<Producer>,
    /// Collections that were clones for them, to be let go of by [`Shard::let_go_of_clones`].
    over: Vec<Collection>,
    /// Streams of which a chunk is wanted.
    wanted: VecDeque<u64>,
    staging: Option<Staging>,
    /// Where what is staged is written as well: it must be on the disk before the replica relies on it.
    written: Option<Box<dyn Checkpoint>>,
    /// From this log time on, ms, the shard's keys are those of all other copies; 0: no snapshot was installed.
    pub exact_from_ms: u64,
    /// What the replica is to be told once the step that caused it is done.
    pub told: VecDeque<Input>,
}

impl Streams {
    /// Whether a chunk is to be made.
    pub fn has_work(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Whether writes must save what they overwrite.
    #[inline]
    pub fn is_producing(&self) -> bool {
        !self.producers.is_empty()
    }

    /// Whether a state is being received.
    pub fn is_receiving(&self) -> bool {
        self.staging.is_some()
    }

    /// Bytes of the state that is being received.
    pub fn staged_bytes(&self) -> usize {
        self.staging.as_ref().map_or(0, Staging::used_bytes)
    }

    fn drop_stream(&mut self, stream: u64) {
        for producer in self.producers.extract_if(.., |one| one.stream == stream) {
            self.over.extend(producer.into_collections());
        }
        self.wanted.retain(|wanted| *wanted != stream);
        if self.staging.take_if(|s| s.stream == stream).is_some() {
            self.written = None;
        }
    }

    fn fail(&mut self, stream: u64) {
        self.drop_stream(stream);
        if stream != CHECKPOINT {
            self.told.push_back(Input::SnapshotFailed { stream });
        }
    }
}

impl Shard {
    /// Does what the replica wants done about snapshots.
    pub(super) fn on_snapshot(&mut self, step: SnapshotStep, work: &mut Work<'_>) {
        match step {
            SnapshotStep::Begin { stream, .. } => {
                let producer = Producer::new(stream, self);
                self.group.streams.producers.push(producer);
            }
            SnapshotStep::More { stream } => {
                self.group.streams.wanted.push_back(stream);
                work.cluster.mark_dirty(self.index());
            }
            SnapshotStep::Drop { stream } => self.group.streams.drop_stream(stream),
            SnapshotStep::Chunk {
                stream,
                sequence,
                bytes,
            } => self.stage(stream, sequence, &bytes, work),
            SnapshotStep::Install { stream, base } => self.install(stream, base, work),
        }
    }

    /// Takes in a chunk of a snapshot that is received.
    fn stage(&mut self, stream: u64, sequence: u64, bytes: &[u8], work: &mut Work<'_>) {
        let seed = self.cache.seed();
        let group = &mut self.group;
        let streams = &mut group.streams;
        if sequence == 0 {
            streams.staging = Some(Staging::new(stream, seed));
            let generation = group.replica.generation();
            let begin = |journal: &Arc<dyn Journal>| journal.begin_checkpoint(group.id, generation);
            streams.written = work.unless_failed(work.cluster.journal().map(begin));
        }
        let staging = streams.staging.as_mut();
        let Some(staging) = staging.filter(|staging| staging.stream == stream) else {
            return;
        };
        if let Err(error) = staging.add(bytes) {
            tracing::warn!(group = group.id.0, %error, "dropped a snapshot");
            streams.fail(stream);
        } else if let Some(written) = &mut streams.written {
            work.unless_failed(Some(written.chunk(bytes)));
        }
    }

    /// Replaces the state by that of a received snapshot, whole or not at all.
    fn install(&mut self, stream: u64, base: SnapshotBase, work: &mut Work<'_>) {
        let streams = &mut self.group.streams;
        let staging = streams
            .staging
            .take_if(|staging| staging.stream == stream)
            .map(Staging::finish);
        match staging {
            Some(Ok(staged)) if staged.applied == base.index.0 && !staged.is_hollow => {
                let log_ms = staged.log_ms;
                let base = SnapshotBase { log_ms, ..base };
                if let Some(written) = streams.written.take() {
                    work.unless_failed(Some(written.finish(&base)));
                }
                work.graves.push(self.put_state(staged));
                let installed = Input::SnapshotInstalled { stream, base };
                self.group.streams.told.push_back(installed);
            }
            Some(Ok(_)) | Some(Err(_)) | None => {
                tracing::warn!(group = self.group.id.0, "dropped an incomplete snapshot");
                streams.fail(stream);
            }
        }
    }

    /// Replaces the state; returns the keys that were there, which take their time to be dropped.
    pub(crate) fn put_state(&mut self, staged: Staged) -> Cache {
        self.group.streams.exact_from_ms = staged.exact_from_ms;
        let former = std::mem::replace(&mut self.cache, staged.cache);
        self.origins = staged.origins;
        self.reservations = staged.reservations;
        self.applied = staged.applied;
        self.wall_offset_ms = staged.wall_offset_ms;
        self.state_replaced();
        former
    }

    /// Lets the state go, if this replica is no member of its group any more and nobody needs it.
    pub(crate) fn retire(&mut self, work: &mut Work<'_>) {
        if self.is_sealed() || !self.group.replica.can_retire() {
            return;
        }
        let refused = self.step(Input::Retire, work);
        assert!(refused.is_none(), "it said that it could");
        let log_ms = self.cache.now_ms();
        let seed = self.cache.seed();
        work.graves
            .push(std::mem::replace(&mut self.cache, Cache::new(seed)));
        self.cache.set_now(log_ms);
        self.origins = Origins::default();
        self.reservations = Reservations::default();
        self.applied = self.group.replica.chosen().0;
        self.state_replaced();
        tracing::info!(group = self.group.id.0, "left the group, dropped its keys");
    }

    /// Asks what became of a group whose leader this replica does not hear: whom it asks by itself may have left the group
    /// meanwhile, or be lives that are over, and who came in their place does not know of it, so it would keep its state
    /// for good.
    pub(crate) fn ask_what_became(&self, view: &ClusterView, work: &Work<'_>) {
        let replica = &self.group.replica;
        if self.is_sealed() || replica.is_hollow() {
            return;
        }
        let (me, id) = (replica.me(), self.group.id);
        let leader = work.cluster.leader(id).and_then(|node| view.node(node));
        let leader = leader.map(NodeView::replica);
        let is_over = |other| view.is_over(other);
        let hears_it = leader.is_none() || replica.leader() == leader;
        if hears_it && !knows_nobody(replica.config(), me, is_over) {
            return;
        }
        let wanted = view.wanted_of(id);
        let mut others = leader.into_iter().chain(wanted);
        if let Some(whom) = others.find(|other| *other != me) {
            send(replica.catch_up_request(whom), work);
        }
    }

    /// Begins a checkpoint of the state as it is; returns what it stands for.
    pub(crate) fn begin_checkpoint(&mut self) -> SnapshotBase {
        let log_ms = self.cache.now_ms();
        let producer = Producer::new(CHECKPOINT, self);
        self.group.streams.drop_stream(CHECKPOINT);
        self.group.streams.producers.push(producer);
        SnapshotBase {
            index: Index(self.applied),
            config: self.group.replica.config().clone(),
            log_ms,
        }
    }

    /// The next chunk of the checkpoint under way.
    pub(crate) fn checkpoint_step(&mut self) -> CheckpointStep {
        let streams = &mut self.group.streams;
        let producer = streams
            .producers
            .iter_mut()
            .find(|p| p.stream == CHECKPOINT);
        let made = producer.map(|producer| {
            let chunk = producer.next(&self.cache);
            streams.over.append(&mut producer.take_over());
            chunk
        });
        match made {
            Some((chunk, false)) => CheckpointStep::Chunk(chunk),
            Some((chunk, true)) => {
                streams.drop_stream(CHECKPOINT);
                CheckpointStep::Last(chunk)
            }
            None => CheckpointStep::Outrun,
        }
    }

    /// Makes one chunk that is wanted; whether another may be made at once. What may not be sent yet is made by a tick.
    pub(super) fn make_chunk(&mut self, work: &mut Work<'_>) -> bool {
        let streams = &mut self.group.streams;
        let (cluster, now_us) = (work.cluster, work.now_us());
        if streams.wanted.is_empty()
            || !cluster
                .bandwidth
                .has_room(cluster.bandwidth_bytes(), now_us)
        {
            return false;
        }
        let stream = streams.wanted.pop_front().expect("it is not empty");
        let producer = streams.producers.iter_mut().find(|p| p.stream == stream);
        if let Some(producer) = producer.filter(|producer| !producer.has_ended()) {
            let (bytes, last) = producer.next(&self.cache);
            streams.over.append(&mut producer.take_over());
            cluster.bandwidth.take(bytes.len());
            let made = Input::SnapshotChunk {
                stream,
                bytes,
                last,
            };
            self.step(made, work);
        }
        self.group.streams.has_work()
    }

    /// Has the cache free in steps what snapshots needed clones of: what is not shared any more may be large, and many. Whether
    /// more of them are left.
    pub(crate) fn let_go_of_clones(&mut self) -> bool {
        let over = &mut self.group.streams.over;
        for collection in over.drain(over.len().saturating_sub(LET_GO_MAX)..) {
            self.cache.let_go(collection);
        }
        !over.is_empty()
    }

    /// An operation is about to run: what it may overwrite is saved for the snapshots that have not come to it.
    pub(super) fn save_for_streams(&mut self, op: &Op<'_>) {
        let streams = &mut self.group.streams;
        let mut failed = Vec::new();
        for producer in &mut streams.producers {
            if !save(producer, &self.cache, op) {
                failed.push(producer.stream);
            }
        }
        for stream in failed {
            tracing::info!(group = self.group.id.0, "a snapshot begins anew");
            streams.fail(stream);
        }
    }
}

/// Whether there were others in a configuration, and the lives of all of them are over.
fn knows_nobody(config: &Config, me: ReplicaId, is_over: impl Fn(ReplicaId) -> bool) -> bool {
    let members = config.voters.iter().chain(&config.learners);
    let mut others = members.copied().filter(|id| *id != me).peekable();
    others.peek().is_some() && others.all(is_over)
}

/// Whether the stream goes on.
fn save(producer: &mut Producer, cache: &Cache, op: &Op<'_>) -> bool {
    // Nothing of the state is left to be walked.
    if op.head.kind == OpKind::Flush {
        return false;
    }
    let mut goes_on = true;
    each_key(op, cache, &mut |db, key| {
        goes_on = goes_on && producer.save(cache, db, key)
    });
    goes_on
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Client, node, node_with};
    use cache::Key;
    use paxos::{Incarnation, NodeId};

    /// Makes a list `k` of `count` elements of `bytes` bytes.
    fn with_list(client: &mut Client<'_>, count: usize, bytes: usize) {
        let element = "x".repeat(bytes);
        let request = format!("*3\r\n$5\r\nRPUSH\r\n$1\r\nk\r\n${bytes}\r\n{element}\r\n");
        for _ in 0..count {
            client.feed(request.as_bytes());
        }
    }

    #[test]
    fn clones_of_collections_go_in_steps() {
        // Breaks if the end of a snapshot frees a large collection, which only it holds by then, while the shard is locked.
        let (node, _) = node();
        let mut client = Client::new(&node);
        with_list(&mut client, 500, 1000);
        let mut shard = node.lock(node.shard_of(b"k"));
        let seed = shard.cache.seed();
        // One that fails, one that comes to its end.
        shard.begin_checkpoint();
        for _ in 0..3 {
            assert!(matches!(shard.checkpoint_step(), CheckpointStep::Chunk(_)));
        }
        shard.begin_checkpoint();
        assert_eq!(shard.group.streams.over.len(), 1);
        while !matches!(shard.checkpoint_step(), CheckpointStep::Last(_)) {}
        assert_eq!(shard.group.streams.over.len(), 2);
        assert!(!shard.cache.bury(1));
        shard.cache.remove(Key::new(seed, 0, b"k"));
        assert!(!shard.let_go_of_clones());
        let mut steps = 1;
        while shard.cache.bury(16) {
            steps += 1;
        }
        assert!(steps > 10, "{steps}");
    }

    #[test]
    fn clones_that_nobody_shares_count_as_put_aside() {
        // Breaks if deleting large collections while a snapshot is made keeps them in memory that nothing bounds.
        let (node, _) = node_with(|settings| settings.maxmemory_bytes = 256 << 20);
        let mut client = Client::new(&node);
        with_list(&mut client, 70, 1 << 20);
        let mut shard = node.lock(node.shard_of(b"k"));
        let seed = shard.cache.seed();
        let mut producer = Producer::new(1, &shard);
        assert!(producer.save(&shard.cache, 0, b"k"));
        assert!(producer.save(&shard.cache, 0, b"other"), "it is shared");
        shard.cache.remove(Key::new(seed, 0, b"k"));
        assert!(!producer.save(&shard.cache, 0, b"third"));
    }

    #[test]
    fn who_knows_only_lives_that_are_over_knows_nobody() {
        // Breaks if a replica that was left behind by all whom it knew asks only them for ever, and keeps its state; or if
        // it asks its leader beside those that still answer.
        let id = |node, life| ReplicaId {
            node: NodeId(node),
            incarnation: Incarnation(life),
        };
        let is_over = |id: ReplicaId| id.incarnation == Incarnation(1) && id.node != NodeId(3);
        let knows_nobody = |voters: &[ReplicaId], learners: &[ReplicaId]| {
            let config = Config {
                number: 1,
                voters: voters.to_vec(),
                learners: learners.to_vec(),
            };
            knows_nobody(&config, id(9, 2), is_over)
        };
        assert!(knows_nobody(&[id(1, 1), id(2, 1)], &[id(9, 2)]));
        assert!(!knows_nobody(&[id(1, 1)], &[id(3, 1)]));
        assert!(!knows_nobody(&[id(1, 2)], &[]));
        assert!(!knows_nobody(&[id(9, 2)], &[]), "it is alone");
        assert!(!knows_nobody(&[], &[]), "it knows of no group yet");
    }
}
