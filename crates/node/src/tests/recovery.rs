//! A node whose memory is read back from its journal.

use super::groups::Asker;
use crate::cluster::Membership;
use crate::group::{OpKind, ResetStart};
use crate::journal::layout::RecordHead;
use crate::journal::{
    Checkpoint, CheckpointReader, Generation, GroupId, GroupMemory, Identity, Journal,
    JournalBatch, JournalError, JournalUsage, Recovered, RecoveredGroup, Replay, SnapshotBase,
    Verdict,
};
use crate::node::Node;
use crate::settings::Settings;
use crate::testing::network::{Network, replica};
use crate::{CheckpointWork, Mode, Remembered};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A disk in memory, which remembers what was appended, and checkpoints that were finished.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    records: Vec<(RecordHead, Bytes)>,
    checkpoints: BTreeMap<GroupId, (Generation, SnapshotBase, Vec<Bytes>)>,
    wanted: Vec<GroupId>,
}

#[derive(Debug)]
struct Writer {
    disk: Disk,
    group: GroupId,
    generation: Generation,
    chunks: Vec<Bytes>,
}

#[derive(Debug)]
struct Reader(std::vec::IntoIter<Bytes>);

impl Journal for Disk {
    fn append(&self, batch: &JournalBatch) -> Result<(), JournalError> {
        let mut inner = self.0.lock();
        for record in batch.records() {
            let payload = [record.payload, record.shared].concat();
            let head = RecordHead {
                payload_checksum: record.checksum,
                payload_bytes: payload.len() as u32,
                group: record.group,
                lsn: inner.records.len() as u64,
                durable: 0,
                generation: record.generation,
                kind: record.kind,
            };
            inner.records.push((head, payload.into()));
        }
        Ok(())
    }

    fn begin_checkpoint(
        &self,
        group: GroupId,
        generation: Generation,
    ) -> Result<Box<dyn Checkpoint>, JournalError> {
        Ok(Box::new(Writer {
            disk: self.clone(),
            group,
            generation,
            chunks: Vec::new(),
        }))
    }

    fn groups_to_checkpoint(&self) -> Vec<GroupId> {
        self.0.lock().wanted.clone()
    }

    fn usage(&self) -> JournalUsage {
        JournalUsage::default()
    }
}

impl Checkpoint for Writer {
    fn chunk(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        self.chunks.push(Bytes::copy_from_slice(bytes));
        Ok(())
    }

    fn finish(self: Box<Self>, base: &SnapshotBase) -> Result<(), JournalError> {
        let mut inner = self.disk.0.lock();
        inner.wanted.retain(|group| *group != self.group);
        inner
            .checkpoints
            .insert(self.group, (self.generation, base.clone(), self.chunks));
        Ok(())
    }
}

impl CheckpointReader for Reader {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, JournalError> {
        Ok(self.0.next())
    }
}

impl Disk {
    /// What a process that starts on this disk finds.
    fn read(&self) -> Recovered {
        let inner = self.0.lock();
        let mut replay = Replay::default();
        for (group, (generation, base, _)) in &inner.checkpoints {
            replay.checkpoint(*group, *generation, base.clone());
        }
        for (head, payload) in &inner.records {
            replay.record(head, payload.clone()).expect("our own");
        }
        let (groups, doubts) = replay.finish();
        assert_eq!(doubts, []);
        let group = |memory: GroupMemory| RecoveredGroup {
            checkpoint: inner.checkpoints.get(&memory.group).map(|(.., chunks)| {
                Box::new(Reader(chunks.clone().into_iter())) as Box<dyn CheckpointReader>
            }),
            group: memory.group,
            generation: memory.generation,
            promised: memory.promised,
            base: memory.base,
            log: memory.log,
            chosen: memory.chosen,
            log_ms_ceiling: memory.log_ms_ceiling,
        };
        Recovered {
            identity: Some(Identity {
                cluster: 0,
                replica: replica(1),
            }),
            verdict: Verdict::Keep,
            groups: groups.into_iter().map(group).collect(),
        }
    }
}

/// The node ends where it stands, and another process goes on with its disk.
fn restart(network: &mut Network, disk: &Disk, start: u32) {
    begin_again(network, disk, start);
    network.settle();
}

fn begin_again(network: &mut Network, disk: &Disk, start: u32) {
    let before = network.node(1).clone();
    let remembered = Remembered::read(disk.read()).expect("a sound journal");
    let remembered = remembered.expect("a cluster");
    assert!(remembered.is_alone());
    let node = Node::recovered(
        Settings::clone(&before.settings.load()),
        Box::new(network.clock.clone()),
        Membership {
            // Without this the numbers of the new process's requests are those of the one before.
            start,
            journal: Some(Arc::new(disk.clone())),
            ..Membership::founder()
        },
        remembered,
    );
    let node = node.expect("a sound journal");
    assert_eq!(node.cluster.me, replica(1));
    network.nodes[0] = Arc::new(node);
}

#[test]
fn keys_expire_while_nobody_runs() {
    // Breaks if a key lives longer because the node was down, by its log or by its checkpoint: what was read as expired
    // before would be there again.
    let disk = Disk::default();
    let mut network =
        Network::with_journals(1, 1, |_, _| {}, |_| Some(Arc::new(disk.clone()) as _));
    network.settle();
    let mut start = 0;
    let mut find = |network: &mut Network, found: &str| {
        start += 1;
        restart(network, &disk, start);
        let shard = network.node(1).shard_of(b"k");
        let mut asker = Asker::new(network, 1);
        let (slot, _) = asker.ask(network, shard, OpKind::Read, "EXISTS k", 0);
        network.run_ms(50);
        assert_eq!(asker.reply(slot).as_deref(), Some(found));
    };
    for kept in ["log", "checkpoint"] {
        let shard = network.node(1).shard_of(b"k");
        let mut asker = Asker::new(&network, 1);
        let slot = asker.write(&network, shard, "SET k v PX 5000");
        network.run_ms(50);
        assert_eq!(asker.reply(slot).as_deref(), Some("+OK"));
        if kept == "checkpoint" {
            disk.0.lock().wanted = (0..=8).map(GroupId).collect();
            while network.node(1).checkpoint_step() == CheckpointWork::More {}
        }
        find(&mut network, ":1");
        network.clock.advance_ms(6000);
        find(&mut network, ":0");
    }
}

/// Begins a generation of a shard, as the cluster would have it agreed on.
fn begin_generation(network: &Network, shard: usize, generation: u32, is_base: bool) {
    let node = network.node(1);
    let start = ResetStart {
        generation: Generation(generation),
        number: 5,
        is_base,
        withheld_ms: 60_000,
    };
    let mut work = node.work(node.now());
    node.on_shard(shard, &mut work, |shard, work| {
        shard.begin_generation(start, work);
    });
    node.finish(work);
}

#[test]
fn a_generation_outlives_a_restart() {
    // Breaks if a shard that went on after a majority had lost its memory falls back into the generation before, or comes
    // back without what it went on with; or if who joined it finds what is over.
    let disk = Disk::default();
    let mut network =
        Network::with_journals(1, 1, |_, _| {}, |_| Some(Arc::new(disk.clone()) as _));
    network.settle();
    let shard = network.node(1).shard_of(b"k");
    let other = (shard + 1) % 8;
    for generation in 1..=2 {
        for count in 1..=2 {
            let mut asker = Asker::new(&network, 1);
            let slot = asker.write(&network, shard, "INCR k");
            network.run_ms(700);
            let count = 2 * generation + count - 2;
            assert_eq!(asker.reply(slot), Some(format!(":{count}")));
            if count % 2 == 1 {
                begin_generation(&network, shard, generation, true);
                network.settle();
            }
        }
        restart(&mut network, &disk, generation);
        let guard = network.node(1).lock(shard);
        assert_eq!(guard.generation(), Generation(generation));
        assert!(guard.cache.locks_withheld_ms() > 50_000);
    }
    begin_generation(&network, other, 1, false);
    begin_again(&mut network, &disk, 3);
    network.run_ms(2000);
    let guard = network.node(1).lock(other);
    assert_eq!(guard.generation(), Generation(1));
    assert!(guard.group.replica.config().voters.is_empty());
}

#[test]
fn a_node_finds_all_that_it_acknowledged() {
    // Breaks if a durable node forgets an acknowledged write, applies one twice, takes what it is asked for the requests
    // of its earlier start, or cannot lead its own groups again.
    let disk = Disk::default();
    let mut network =
        Network::with_journals(1, 1, |_, _| {}, |_| Some(Arc::new(disk.clone()) as _));
    network.settle();
    assert_eq!(network.node(1).mode(0), Mode::Grouped);
    let mut checksums = Vec::new();
    for life in 0..4 {
        let mut asker = Asker::new(&network, 1);
        let mut slots = Vec::new();
        for n in 0..200 {
            let key = format!("k{}", n % 50);
            let shard = network.node(1).shard_of(key.as_bytes());
            slots.push(asker.write(&network, shard, &format!("INCR {key}")));
        }
        network.run_ms(50);
        for (n, slot) in slots.iter().enumerate() {
            let count = life * 4 + n / 50 + 1;
            assert_eq!(asker.reply(*slot), Some(format!(":{count}")));
        }
        network.run_ms(200);
        for shard in 0..8 {
            let origins = &network.node(1).lock(shard).origins;
            assert_eq!(origins.iter().count(), 1, "earlier starts are forgotten");
        }
        if life % 2 == 1 {
            let groups = (0..=8).map(GroupId).collect();
            disk.0.lock().wanted = groups;
            while network.node(1).checkpoint_step() == CheckpointWork::More {}
            assert_eq!(disk.0.lock().checkpoints.len(), 9);
        }
        let before = network.node(1).clone();
        for shard in 0..8 {
            let shard = before.lock(shard);
            checksums.push((shard.applied, shard.cache.checksum()));
        }
        restart(&mut network, &disk, life as u32 + 1);
        assert_eq!(network.node(1).id, before.id);
        for shard in 0..8 {
            let after = network.node(1).lock(shard);
            let (applied, checksum) = checksums.remove(0);
            assert!(after.applied >= applied);
            assert_eq!(after.cache.checksum(), checksum);
        }
    }
}
