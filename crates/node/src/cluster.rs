//! What a node knows of the others, as far as every request needs it: who it is itself, who leads which group, which
//! groups have something to send, and whom to wake for it.

use crate::bandwidth::Bandwidth;
use crate::checkpoints::UnderWay;
use crate::group::{GroupStart, Mode, Rooms, origin_of};
use crate::host::Host;
use crate::journal::{Journal, JournalError};
use crate::meta::{META_GROUP, MetaGroup, MetaState, NodeAddresses, Welcome, founding_command};
use crate::peers::Peers;
use crate::scripts::Scripts;
use crate::settings::Settings;
use crate::view::Addresses;
use atomic_waker::AtomicWaker;
use parking_lot::{Mutex, MutexGuard};
use paxos::{Ballot, Config, Generation, GroupId, Incarnation, NodeId, Replica, ReplicaId, Start};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

/// Who was heard to lead a group so long ago, us, stands in nobody's way any more: who leads says so with each beat.
const HEARD_US: u64 = 1_000_000;

/// The node that founds a cluster.
pub(crate) const FOUNDER: ReplicaId = ReplicaId {
    node: NodeId(1),
    incarnation: Incarnation(1),
};

/// As what a node begins.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The node, in this life of its memory.
    pub me: ReplicaId,
    /// Which start of the process this is within the life of its memory: rises with each, 0 if there is one alone.
    pub start: u32,
    /// The cluster's id if it is to be founded; 0: drawn.
    pub cluster: u128,
    /// The cluster's secret hash seed.
    pub seed: u64,
    /// Who votes in every group from the beginning, this node among them; none if the node joins a cluster that is
    /// there, and is fed.
    pub founders: Option<Vec<ReplicaId>>,
    /// Times and bounds of the groups.
    pub paxos: paxos::Settings,
    /// Where others reach this node.
    pub addresses: Addresses,
    /// Its 40 hex digits; empty: drawn.
    pub name: String,
    /// The cluster that it joins, as it was told; empty if it founds one.
    pub state: MetaState,
    /// Where records are made durable, if they are.
    pub journal: Option<Arc<dyn Journal>>,
}

impl Membership {
    /// The only node of a cluster that it founds.
    pub fn founder() -> Self {
        Membership {
            me: FOUNDER,
            start: 0,
            cluster: 0,
            seed: 0,
            founders: Some(vec![FOUNDER]),
            paxos: paxos::Settings::default(),
            addresses: Addresses::default(),
            name: String::new(),
            state: MetaState::default(),
            journal: None,
        }
    }

    /// A member of the cluster that it was welcomed to, without memory.
    pub fn joined(welcome: Welcome) -> Self {
        let me = welcome.replica();
        let record = welcome.state.nodes.get(&me.node.0);
        Membership {
            me,
            start: 0,
            cluster: 0,
            seed: welcome.state.hash_seed,
            founders: None,
            paxos: paxos::Settings::default(),
            journal: None,
            addresses: record
                .map_or_else(Addresses::default, |record| record.addresses.clone().into()),
            name: record.map_or_else(String::new, |record| record.name.clone()),
            state: welcome.state,
        }
    }

    /// The meta group's replica and state at the beginning, the settings' count of shards being the cluster's. `name` is
    /// this node's.
    pub(crate) fn meta_group(
        &self,
        start: GroupStart,
        name: &str,
        settings: &Settings,
        host: &dyn Host,
    ) -> MetaGroup {
        let replica = Replica::new(
            start.settings,
            META_GROUP,
            start.generation,
            self.me,
            start.start,
            host.random(),
            host.monotonic_us(),
        );
        let founding = self.founders.as_ref().map(|founders| {
            let founder = |founder: &ReplicaId| match *founder == self.me {
                true => (name.to_owned(), self.addresses.clone().into()),
                false => (format!("{:040x}", founder.node.0), NodeAddresses::default()),
            };
            let drawn = || u128::from(host.random()) << 64 | u128::from(host.random());
            let id = match self.cluster {
                0 => drawn(),
                id => id,
            };
            let founders = founders.iter().map(founder).collect();
            founding_command(id, self.seed, settings, founders)
        });
        MetaGroup::new(replica, self.state.clone(), founding)
    }

    /// The name under which this process asks groups.
    fn origin(&self) -> ReplicaId {
        origin_of(self.me, self.start)
    }

    /// What each group begins with.
    pub(crate) fn group_start(&self) -> GroupStart {
        let config = |founders: &Vec<ReplicaId>| {
            let mut voters = founders.clone();
            voters.sort_unstable();
            Start::Founder(Config {
                number: 0,
                voters,
                learners: Vec::new(),
            })
        };
        GroupStart {
            me: self.me,
            origin: self.origin(),
            settings: paxos::Settings {
                durable: self.journal.is_some(),
                ..self.paxos
            },
            generation: Generation(0),
            start: self.founders.as_ref().map_or(Start::Joiner, config),
        }
    }
}

/// The node's place in its cluster.
#[derive(Debug)]
pub struct Cluster {
    /// This node, in this life of its memory.
    pub me: ReplicaId,
    /// The name under which this process asks groups: another at each start.
    pub(crate) origin: ReplicaId,
    /// Who leads each group, as last heard; 0 = not known. A hint: the log decides.
    leaders: Box<[AtomicU32]>,
    /// The ballot that each of them was last heard under, and when, us.
    ballots: Mutex<Vec<(Ballot, u64)>>,
    /// When the last beat was sent, us.
    beat_us: AtomicU64,
    /// What waits to be sent to the others.
    pub peers: Peers,
    /// How each shard's commands run here ([`Mode`]).
    modes: Box<[AtomicU8]>,
    /// Where records are made durable, if they are.
    journal: Option<Arc<dyn Journal>>,
    /// The checkpoint that is being written.
    pub(crate) checkpoint: Mutex<Option<UnderWay>>,
    /// Held from a step of a replica until its records are in the journal.
    durable_turn: Mutex<()>,
    /// Why the journal can no longer be relied on.
    failure: OnceLock<JournalError>,
    /// Whether memory is short and nothing may be evicted.
    full: AtomicBool,
    /// When a tick does something for each shard, us; 0 = at each.
    wakes_us: Box<[AtomicU64]>,
    /// A bit for each shard that wants a tick whatever `wakes_us` says: that is set by whoever has the shard, from what the
    /// shard knows.
    ticks_wanted: Box<[AtomicU64]>,
    /// A bit for each shard whose group has something to propose or to send.
    dirty: Box<[AtomicU64]>,
    /// Memory for turns of work.
    pub(crate) rooms: Rooms,
    /// What is sent of moving shards.
    pub(crate) bandwidth: Bandwidth,
    /// Its limit, bytes a second.
    bandwidth_bytes: AtomicU64,
    /// Whoever performs [`crate::Node::flush`].
    pub flusher: Flusher,
    /// Scripts: known, running.
    pub(crate) scripts: Arc<Scripts>,
}

impl Cluster {
    /// A cluster as a member sees it that knows no leader yet.
    pub fn new(membership: &Membership, shards_count: usize, host: Arc<dyn Host>) -> Self {
        let zeros = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        Cluster {
            me: membership.me,
            origin: membership.origin(),
            leaders: (0..=shards_count).map(|_| AtomicU32::new(0)).collect(),
            ballots: Mutex::new(vec![(Ballot::default(), 0); shards_count + 1]),
            beat_us: AtomicU64::new(0),
            peers: Peers::new(),
            modes: (0..shards_count)
                .map(|_| AtomicU8::new(Mode::Grouped as u8))
                .collect(),
            journal: membership.journal.clone(),
            checkpoint: Mutex::new(None),
            durable_turn: Mutex::new(()),
            failure: OnceLock::new(),
            full: AtomicBool::new(false),
            wakes_us: zeros(shards_count),
            ticks_wanted: zeros(shards_count.div_ceil(64)),
            dirty: zeros(shards_count.div_ceil(64)),
            rooms: Rooms::default(),
            bandwidth: Bandwidth::default(),
            bandwidth_bytes: AtomicU64::new(u64::MAX),
            flusher: Flusher::default(),
            scripts: Arc::new(Scripts::new(host)),
        }
    }

    /// Who leads a group, as last heard.
    #[inline]
    pub fn leader(&self, group: GroupId) -> Option<NodeId> {
        let node = self.leaders[group.0 as usize].load(Ordering::Relaxed);
        (node != 0).then_some(NodeId(node))
    }

    /// Takes note of who leads a group.
    pub fn set_leader(&self, group: GroupId, leader: Option<NodeId>) {
        let node = leader.map_or(0, |node| node.0);
        let before = self.leaders[group.0 as usize].swap(node, Ordering::Relaxed);
        if before != node && group != META_GROUP {
            // What was sent to the former one is to be sent to this one, by the next tick.
            let shard = group.0 as usize - 1;
            self.ticks_wanted[shard / 64].fetch_or(1 << (shard % 64), Ordering::Release);
        }
    }

    /// A node says that it leads a group under a ballot: the highest ballot of the last [`HEARD_US`] is believed. A group
    /// may go on under a lower one: somebody led by a configuration that others had left, and of a group that was begun
    /// anew the ballots begin anew. Returns whether that is news.
    pub(crate) fn hear_leader(
        &self,
        group: GroupId,
        ballot: Ballot,
        node: NodeId,
        now_us: u64,
    ) -> bool {
        let mut ballots = self.ballots.lock();
        let Some((known, heard_us)) = ballots.get_mut(group.0 as usize) else {
            return false;
        };
        if ballot < *known && now_us < *heard_us + HEARD_US {
            return false;
        }
        let is_news = ballot != *known;
        (*known, *heard_us) = (ballot, now_us);
        self.set_leader(group, Some(node));
        is_news
    }

    /// Whether a beat is to be sent, `interval_us` after the last; if so it counts as sent.
    pub(crate) fn is_beat_due(&self, now_us: u64, interval_us: u64) -> bool {
        let due = now_us >= self.beat_us.load(Ordering::Relaxed) + interval_us;
        if due {
            self.beat_us.store(now_us, Ordering::Relaxed);
        }
        due
    }

    /// How a shard's commands run here. A hint: the shard itself knows, under its lock.
    #[inline]
    pub fn mode(&self, shard: usize) -> Mode {
        match self.modes[shard].load(Ordering::Relaxed) == Mode::Solo as u8 {
            true => Mode::Solo,
            false => Mode::Grouped,
        }
    }

    /// Takes note of how a shard's commands run here.
    pub(crate) fn set_mode(&self, shard: usize, mode: Mode) {
        self.modes[shard].store(mode as u8, Ordering::Relaxed);
    }

    /// Whether memory is short and nothing may be evicted, as last found.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Takes note of it.
    pub(crate) fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// How many bytes of moving shards may be sent in a second.
    pub(crate) fn bandwidth_bytes(&self) -> u64 {
        self.bandwidth_bytes.load(Ordering::Relaxed)
    }

    /// Takes note of it.
    pub(crate) fn set_bandwidth_bytes(&self, bytes: u64) {
        self.bandwidth_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Whether records are made durable before what rests on them is sent.
    pub(crate) fn is_durable(&self) -> bool {
        self.journal.is_some()
    }

    /// Where records are made durable, if they are.
    pub(crate) fn journal(&self) -> Option<&Arc<dyn Journal>> {
        self.journal.as_ref()
    }

    /// Begins a turn whose records are made durable; no other does until it ends. None if nothing is durable.
    pub(crate) fn begin_durable_turn(&self) -> Option<MutexGuard<'_, ()>> {
        self.is_durable().then(|| self.durable_turn.lock())
    }

    /// Why this node cannot go on, if it cannot: its disk failed. The process around ends then, and says this.
    pub fn failure(&self) -> Option<&JournalError> {
        self.failure.get()
    }

    /// The disk failed. Whoever owns the process ends it, and tells why.
    pub(crate) fn fail(&self, error: JournalError) {
        // The first reason is the one that counts.
        let _ = self.failure.set(error);
        self.flusher.ask();
    }

    /// The shard's group has something to propose or to send.
    #[inline]
    pub fn mark_dirty(&self, shard: usize) {
        self.dirty[shard / 64].fetch_or(1 << (shard % 64), Ordering::Release);
    }

    /// The same, said by who holds the shard's lock and has queued something under it. Whoever takes the marks off locks
    /// the shard afterwards, so where there is one already it will find what was queued.
    #[inline]
    pub fn mark_dirty_locked(&self, shard: usize) {
        if self.dirty[shard / 64].load(Ordering::Relaxed) >> (shard % 64) & 1 == 0 {
            self.mark_dirty(shard);
        }
    }

    /// Whether a tick at this time does something for a shard; the caller does it, if so.
    pub(crate) fn is_tick_due(&self, shard: usize, now_us: u64) -> bool {
        let (wanted, bit) = (&self.ticks_wanted[shard / 64], 1 << (shard % 64));
        let is_wanted = wanted.load(Ordering::Relaxed) & bit != 0
            && wanted.fetch_and(!bit, Ordering::Acquire) & bit != 0;
        is_wanted || self.wakes_us[shard].load(Ordering::Relaxed) <= now_us
    }

    /// A tick does nothing for a shard before this time, us, unless something else happens to it.
    pub(crate) fn set_wake_us(&self, shard: usize, wake_us: u64) {
        self.wakes_us[shard].store(wake_us, Ordering::Relaxed);
    }

    /// Takes the marks off; returns the shards that had one, in order.
    pub(crate) fn take_dirty(&self) -> impl Iterator<Item = usize> {
        self.dirty.iter().enumerate().flat_map(|(word, bits)| {
            let mut bits = match bits.load(Ordering::Relaxed) {
                0 => 0,
                _ => bits.swap(0, Ordering::Acquire),
            };
            std::iter::from_fn(move || {
                let bit = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
                bits &= bits - 1;
                Some(word * 64 + bit)
            })
        })
    }
}

/// The task that performs [`crate::Node::flush`] when it is asked to: a flag and whom to wake.
#[derive(Debug, Default)]
pub struct Flusher {
    asked: AtomicBool,
    waker: AtomicWaker,
}

impl Flusher {
    /// Asks for a flush; wakes nobody if one is asked for already.
    #[inline]
    pub fn ask(&self) {
        if !self.asked.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Whether a flush was asked for since the last call. The task registers its waker before it looks.
    pub fn take(&self) -> bool {
        self.asked.swap(false, Ordering::AcqRel)
    }

    /// Registers the task.
    pub fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Clock;

    #[test]
    fn every_mark_is_taken_once() {
        // Breaks if a shard's requests could be left lying until the next tick, or be flushed for nothing.
        let cluster = Cluster::new(&Membership::founder(), 130, Arc::new(Clock::new(1)));
        for shard in [0, 63, 64, 129] {
            cluster.mark_dirty(shard);
        }
        assert_eq!(cluster.take_dirty().collect::<Vec<_>>(), [0, 63, 64, 129]);
        assert_eq!(cluster.take_dirty().count(), 0);
    }

    #[test]
    fn another_leader_makes_the_next_tick_due() {
        // Breaks if requests waited for a leader that stands still until they are sent again for their age, though another
        // has said that it leads; or if each beat made every shard tick.
        let cluster = Cluster::new(&Membership::founder(), 2, Arc::new(Clock::new(1)));
        let ballot = |round| Ballot {
            round,
            replica: FOUNDER,
        };
        for (round, node, due) in [(1, 2, true), (1, 2, false), (2, 3, true)] {
            cluster.set_wake_us(1, u64::MAX);
            let is_news = cluster.hear_leader(GroupId(2), ballot(round), NodeId(node), 0);
            assert_eq!(is_news, due, "{round} {node}");
            // Whoever has the shard says what it knows of itself.
            cluster.set_wake_us(1, u64::MAX);
            assert_eq!(cluster.is_tick_due(1, 0), due, "{round} {node}");
        }
    }

    #[test]
    fn a_leader_under_a_lower_ballot_is_believed_when_the_higher_one_is_silent() {
        // Breaks if a group was out of reach for good behind somebody who led it for a moment by members that had been
        // replaced; or if two who say that they lead took turns.
        let cluster = Cluster::new(&Membership::founder(), 1, Arc::new(Clock::new(1)));
        let group = GroupId(1);
        let hear = |round, node, now_us| {
            let ballot = Ballot {
                round,
                replica: FOUNDER,
            };
            cluster.hear_leader(group, ballot, NodeId(node), now_us);
            cluster.leader(group).expect("somebody was heard").0
        };
        assert_eq!(hear(6, 2, 500), 2);
        assert_eq!(hear(4, 3, 600), 2);
        assert_eq!(hear(6, 2, 700), 2);
        assert_eq!(hear(4, 3, 500 + HEARD_US), 2, "it was heard again");
        cluster.set_leader(group, None);
        assert_eq!(hear(4, 3, 700 + HEARD_US), 3);
        assert_eq!(hear(7, 2, 800 + HEARD_US), 2);
        assert_eq!(hear(4, 3, 900 + HEARD_US), 2);
    }

    #[test]
    fn a_flush_is_asked_for_once() {
        // Breaks if a second request in the same batch cost a wake-up of its own, or the first got lost.
        let flusher = Flusher::default();
        assert!(!flusher.take());
        flusher.ask();
        flusher.ask();
        assert!(flusher.take());
        assert!(!flusher.take());
    }
}
