//! The node: what all connections share. Shards behind their own short locks, the memory budget, the registry
//! of clients, publish/subscribe, statistics.

use crate::awaiting::WaitsCount;
use crate::balance::Balance;
use crate::client::{Client, ClientClass, ClientFlag, ClientId};
use crate::cluster::{Cluster, Membership};
use crate::entry::Stamp;
use crate::group::{Group, QueueBudget, said};
use crate::host::{Host, Now};
use crate::hot::HotKeys;
use crate::housework::Housework;
use crate::latency::LatencyMonitor;
use crate::memory::Budget;
use crate::meta::Meta;
use crate::monitor::Monitors;
use crate::pause::Pause;
use crate::pubsub::PubSub;
use crate::recovery::{Memory, StartError};
pub use crate::relief::Room;
use crate::report::Reports;
use crate::resident::Resident;
use crate::settings::{OutputBufferLimit, Settings};
use crate::shard::{Listened, Shard};
use crate::slowlog::Slowlog;
use crate::stats::Stats;
use crate::telling::Telling;
use crate::tracking::Tracking;
use crate::transactions::Transactions;
use crate::wire::ListensTo;
use arc_swap::ArcSwap;
use cache::{Change, ChangeKind, Policy};
use commands::{Event, EventClass};
use dashmap::DashMap;
use parking_lot::{Mutex, MutexGuard};
use paxos::GroupId;
use placement::{ShardCountError, ShardMap, slot_of};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU16, AtomicU64, Ordering};

/// What all groups' logs may hold of what was applied everywhere, together, bytes: for followers that fell behind. Whoever
/// is further behind gets a snapshot.
const LOGS_BYTES_MAX: usize = 64 << 20;

/// Differences between two samples of the wall clock against log time that are taken for the sampling's own.
const WALL_JITTER_MS: u64 = 10;

/// One member of the cluster; shared by all its connections.
#[derive(Debug)]
pub struct Node {
    /// The process around.
    pub host: Arc<dyn Host>,
    /// The others.
    pub cluster: Cluster,
    /// What the cluster agrees on about itself.
    pub(crate) meta: Meta,
    /// 40 hex digits, drawn at start.
    pub id: String,
    /// The cluster's secret hash seed.
    pub seed: u64,
    /// Slots to shards.
    pub map: ShardMap,
    shards: Box<[ShardCell]>,
    /// Runtime configuration, replaced whole by CONFIG SET.
    pub settings: ArcSwap<Settings>,
    /// Serialises changes of the configuration.
    pub settings_lock: Mutex<()>,
    /// Memory.
    pub budget: Budget,
    /// Memory beside the budget.
    pub resident: Resident,
    policy: AtomicU8,
    /// Live connections.
    pub clients: DashMap<ClientId, Arc<Client>>,
    next_client: AtomicU64,
    /// How much all of them wait for.
    pub(crate) waits_count: WaitsCount,
    /// What connections on other nodes are told, and what they ask.
    pub(crate) telling: Telling,
    /// What nodes report of themselves.
    pub(crate) reports: Reports,
    /// Whether this node has more to do than others.
    pub(crate) balance: Balance,
    /// Transactions over several shards.
    pub(crate) transactions: Transactions,
    /// What is asked for most.
    pub(crate) hot_keys: HotKeys,
    /// Channels and patterns.
    pub pubsub: Arc<PubSub>,
    /// Client-side caching.
    pub tracking: Tracking,
    /// MONITOR's listeners.
    pub monitors: Monitors,
    /// CLIENT PAUSE.
    pub pause: Pause,
    /// SLOWLOG.
    pub slowlog: Slowlog,
    /// LATENCY.
    pub latency: LatencyMonitor,
    /// Counters.
    pub stats: Stats,
    /// Classes of keyspace events that are published ([`EventClass`] values), with `K` and `E` beside it.
    event_mask: AtomicU16,
    /// Wall clock when the monotonic one began, ms: where log time begins.
    log_base_ms: u64,
    /// Wall time minus log time, ms, sampled by [`Node::turn`].
    wall_offset_ms: AtomicI64,
}

/// A shard on its own cache lines.
#[derive(Debug)]
#[repr(align(128))]
struct ShardCell {
    state: Mutex<ShardBox>,
    /// Log time of the last access of the key that eviction would take next, as last seen, or earlier. 0 = not asked.
    coldest_ms: AtomicU64,
}

struct ShardBox(Shard);

impl std::fmt::Debug for ShardBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard")
            .field("applied", &self.0.applied)
            .finish_non_exhaustive()
    }
}

/// A locked shard.
pub struct ShardGuard<'a>(MutexGuard<'a, ShardBox>);

impl std::ops::Deref for ShardGuard<'_> {
    type Target = Shard;
    #[inline]
    fn deref(&self) -> &Shard {
        &self.0.0
    }
}

impl std::ops::DerefMut for ShardGuard<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Shard {
        &mut self.0.0
    }
}

impl Node {
    /// A node with empty shards, alone in a cluster that it founds.
    ///
    /// # Errors
    /// A count of shards that the slots cannot be divided over.
    pub fn new(settings: Settings, host: Box<dyn Host>) -> Result<Node, ShardCountError> {
        let membership = Membership {
            seed: host.random(),
            ..Membership::founder()
        };
        Node::member(settings, host, membership)
    }

    /// A node with empty shards, as the member of a cluster that `membership` says.
    ///
    /// # Errors
    /// A count of shards that the slots cannot be divided over.
    pub fn member(
        settings: Settings,
        host: Box<dyn Host>,
        membership: Membership,
    ) -> Result<Node, ShardCountError> {
        match Node::build(settings, host, membership, Memory::default()) {
            Ok(node) => Ok(node),
            Err(StartError::Shards(error)) => Err(error),
            Err(StartError::Memory(error)) => unreachable!("there is none: {error}"),
        }
    }

    /// A node with what it remembers.
    pub(crate) fn build(
        settings: Settings,
        host: Box<dyn Host>,
        membership: Membership,
        mut memory: Memory,
    ) -> Result<Node, StartError> {
        let host: Arc<dyn Host> = Arc::from(host);
        let seed = membership.seed;
        let settings = match membership.state.is_founded() {
            true => Settings {
                shards: membership.state.shards_count,
                ..settings
            },
            false => settings,
        };
        let map = ShardMap::new(settings.shards)?;
        let cluster = Cluster::new(&membership, map.shards_count() as usize, host.clone());
        let queues = Arc::new(QueueBudget::default());
        let mut new_shard = |shard: u32| {
            let (id, now_us) = (GroupId(shard + 1), host.monotonic_us());
            let (mut start, state, wall_offset_ms) = memory.shard_start(id, &membership)?;
            let retained = &mut start.settings.retained_bytes_max;
            *retained = (LOGS_BYTES_MAX / map.shards_count() as usize).min(*retained);
            let mut group = Group::new(id, start, host.random(), now_us, queues.clone());
            if let Some(offset_ms) = wall_offset_ms {
                let wall_ms = (host.wall_us() / 1000) as i64;
                let log_ms = u64::try_from(wall_ms.saturating_sub(offset_ms)).unwrap_or(0);
                group.replica.raise_log_ms(log_ms, now_us);
            }
            if group.replica.is_leader() {
                cluster.set_leader(id, Some(membership.me.node));
            }
            let mut shard = Shard::new(seed, group);
            if let Some(state) = state {
                shard.put_state(state);
            }
            cluster.set_mode(shard.index(), shard.mode());
            Ok(ShardCell {
                state: Mutex::new(ShardBox(shard)),
                coldest_ms: AtomicU64::new(0),
            })
        };
        let shards: Result<Box<[ShardCell]>, StartError> =
            (0..map.shards_count()).map(&mut new_shard).collect();
        let shards = shards?;
        let id: String = match membership.name.is_empty() {
            true => (0..5)
                .map(|_| format!("{:08x}", host.random() as u32))
                .collect(),
            false => membership.name.clone(),
        };
        let start = memory.meta_start(&membership);
        let meta = membership.meta_group(start, &id, &settings, &*host);
        cluster.scripts.take_facts(meta.state().scripts.facts());
        let covers = shards
            .iter()
            .map(|cell| cell.state.lock().0.covered_span_ms());
        let own = membership.addresses.clone().into();
        let meta = Meta::new(meta, covers.collect(), own);
        let log_base_ms = (host.wall_us() / 1000).saturating_sub(host.monotonic_us() / 1000);
        let node = Node {
            id,
            cluster,
            meta,
            seed,
            shards,
            resident: Resident::new(&*host),
            budget: Budget::new(settings.maxmemory_bytes, map.shards_count()),
            policy: AtomicU8::new(settings.maxmemory_policy as u8),
            clients: DashMap::new(),
            next_client: AtomicU64::new(1),
            waits_count: WaitsCount::default(),
            telling: Telling::default(),
            reports: Reports::default(),
            balance: Balance::default(),
            transactions: Transactions::default(),
            hot_keys: HotKeys::default(),
            pubsub: Arc::default(),
            tracking: Tracking::new(settings.tracking_table_max_keys as usize),
            monitors: Monitors::default(),
            pause: Pause::default(),
            slowlog: Slowlog::default(),
            latency: LatencyMonitor::default(),
            stats: Stats::new(commands::rows_count(), host.monotonic_us()),
            event_mask: AtomicU16::new(0),
            log_base_ms,
            wall_offset_ms: AtomicI64::new(0),
            map,
            host,
            settings_lock: Mutex::new(()),
            settings: ArcSwap::from_pointee(settings),
        };
        for shard in 0..node.shards.len() {
            // The empty tables count as well.
            node.lock(shard).settle(&node.budget);
        }
        node.settings_changed();
        node.listen_again();
        node.take_view(node.view());
        // A founder alone has its cluster before anybody asks.
        node.tick_meta(node.now());
        Ok(node)
    }

    /// Reads the clocks for one turn of work.
    pub fn now(&self) -> Now {
        let monotonic_us = self.host.monotonic_us();
        Now {
            monotonic_us,
            log_ms: self.log_base_ms + monotonic_us / 1000,
            wall_offset_ms: self.wall_offset_ms.load(Ordering::Relaxed),
        }
    }

    /// A stamp for an entry made now.
    pub fn stamp(&self, now: Now) -> Stamp {
        Stamp {
            log_ms: now.log_ms,
            wall_offset_ms: now.wall_offset_ms,
            random: self.host.random(),
        }
    }

    /// Takes over what CONFIG SET changed. The caller then calls [`Node::listen_again`], with no shard locked.
    pub fn settings_changed(&self) {
        let settings = self.settings.load();
        self.budget.resize(settings.maxmemory_bytes);
        let lock_bytes = settings.lock_memory.bytes(settings.maxmemory_bytes);
        self.budget.locks.set(lock_bytes, settings.lock_overflow);
        self.policy
            .store(settings.maxmemory_policy as u8, Ordering::Relaxed);
        // What the shards told was of another policy's keys.
        (0..self.shards.len()).for_each(|shard| self.tell_coldest(shard, 0));
        self.event_mask
            .store(settings.keyspace_events.classes(), Ordering::Relaxed);
        self.slowlog.resize(settings.slowlog_max_len as usize);
        self.cluster
            .scripts
            .set_limit_ms(settings.lua_time_limit_ms);
        self.tracking
            .resize(settings.tracking_table_max_keys as usize);
        self.cluster
            .set_bandwidth_bytes(settings.move_bandwidth_bytes);
    }

    /// Tells every shard whether changes are wanted: somebody tracks keys, or expiry and eviction are events.
    pub fn listen_again(&self) {
        for shard in 0..self.shards.len() {
            let mut guard = self.lock(shard);
            // Looked up for each shard, under its lock: what another thread wants meanwhile must not be overwritten by what
            // was wanted before it.
            guard.listen(self.listened());
        }
        self.announce_listening();
    }

    /// Whether changes are wanted.
    fn listened(&self) -> Listened {
        let wanted =
            self.event_mask() & (EventClass::Expired as u16 | EventClass::Evicted as u16) != 0;
        let told = self.telling.is_listened_to(ListensTo::Changes);
        match wanted || told || self.tracking.is_on() {
            true => Listened::Yes,
            false => Listened::No,
        }
    }

    /// Classes of keyspace events that are published.
    #[inline]
    pub fn event_mask(&self) -> u16 {
        self.event_mask.load(Ordering::Relaxed)
    }

    /// `maxmemory-policy`.
    pub fn policy(&self) -> Policy {
        let policy = self.policy.load(Ordering::Relaxed);
        [
            Policy::NoEviction,
            Policy::AllKeysLru,
            Policy::VolatileLru,
            Policy::AllKeysRandom,
            Policy::VolatileRandom,
            Policy::VolatileTtl,
        ]
        .into_iter()
        .find(|known| *known as u8 == policy)
        .expect("stored from a Policy")
    }

    /// How much may wait to be read by a client of `class`.
    pub fn output_limit(&self, class: ClientClass) -> OutputBufferLimit {
        let limits = self.settings.load().client_output_buffer_limit;
        match class {
            ClientClass::Normal => limits.normal,
            ClientClass::Pubsub => limits.pubsub,
        }
    }

    /// How many shards there are.
    pub fn shards_count(&self) -> usize {
        self.shards.len()
    }

    /// The shard of a key.
    #[inline]
    pub fn shard_of(&self, key: &[u8]) -> usize {
        self.map.shard_of_slot(slot_of(key)).index()
    }

    /// Locks a shard. Whoever locks several does so in ascending order.
    #[inline]
    pub fn lock(&self, shard: usize) -> ShardGuard<'_> {
        ShardGuard(self.shards[shard].state.lock())
    }

    /// Locks a shard if nobody else holds it.
    #[inline]
    pub fn try_lock(&self, shard: usize) -> Option<ShardGuard<'_>> {
        self.shards[shard].state.try_lock().map(ShardGuard)
    }

    /// Registers a connection.
    pub fn connect(&self, addr: String, laddr: String, now: Now) -> Arc<Client> {
        let id = self.next_client.fetch_add(1, Ordering::Relaxed);
        let client = Arc::new(Client::new(id, addr, laddr, now.monotonic_us));
        self.clients.insert(id, client.clone());
        self.stats.connections.fetch_add(1, Ordering::Relaxed);
        client
    }

    /// A copy of the registry, by id. No guard is held while the caller works with it.
    pub fn clients_by_id(&self) -> Vec<Arc<Client>> {
        let mut clients: Vec<_> = self
            .clients
            .iter()
            .map(|entry| entry.value().clone())
            .collect();
        clients.sort_by_key(|client| client.id);
        clients
    }

    /// What a shard last told of its coldest key, log time in ms.
    pub(crate) fn told_coldest(&self, shard: usize) -> u64 {
        self.shards[shard].coldest_ms.load(Ordering::Relaxed)
    }

    /// Takes note of a shard's coldest key.
    pub(crate) fn tell_coldest(&self, shard: usize, coldest_ms: u64) {
        self.shards[shard]
            .coldest_ms
            .store(coldest_ms, Ordering::Relaxed);
    }

    /// Tells the world of changes: invalidations to those who track the keys, events of expiry and eviction.
    /// `by` is the connection that caused them.
    pub fn publish_changes(&self, changes: Vec<Change>, by: Option<ClientId>, now: Now) {
        if changes.is_empty() {
            return;
        }
        self.tell_changes(&changes, by);
        for change in &changes {
            let (class, name) = match change.kind {
                ChangeKind::Modified => continue,
                ChangeKind::Expired => (EventClass::Expired, "expired"),
                ChangeKind::Evicted => (EventClass::Evicted, "evicted"),
            };
            if change.kind == ChangeKind::Expired {
                self.stats.expired_keys.fetch_add(1, Ordering::Relaxed);
            }
            if self.event_mask() & class as u16 != 0 {
                let event = Event {
                    class,
                    name,
                    db: change.db,
                    key: change.key.clone(),
                    payload: Box::default(),
                };
                self.publish_event(&event, now);
            }
        }
        if self.tracking.is_on() {
            self.tracking.invalidate(self, &changes, by, now);
        }
    }

    /// Publishes a keyspace event to `__keyspace@…` and `__keyevent@…` as configured.
    pub fn publish_event(&self, event: &Event, now: Now) {
        if let Some(kind) = said::kind_of(event) {
            self.publish_everywhere(kind, &event.key, &event.payload, None, now);
            return;
        }
        self.tell_event(event);
        self.publish_event_here(event.db, &event.key, event.name.as_bytes(), now);
    }

    /// The same for connections on this node.
    pub(crate) fn publish_event_here(&self, db: u8, key: &[u8], name: &[u8], now: Now) {
        let settings = self.settings.load();
        let flags = settings.keyspace_events;
        if flags.keyspace() {
            let mut channel = format!("__keyspace@{db}__:").into_bytes();
            channel.extend_from_slice(key);
            self.pubsub.publish(self, &channel, name, now);
        }
        if flags.keyevent() {
            let mut channel = format!("__keyevent@{db}__:").into_bytes();
            channel.extend_from_slice(name);
            self.pubsub.publish(self, &channel, key, now);
        }
    }

    /// One whole turn of the node's housekeeping ([`Housework`]), ten times a second.
    pub fn turn(&self) {
        Housework::new(self).for_each(drop);
    }

    /// Takes note of expired keys that were reclaimed.
    pub(crate) fn note_reclaimed(&self, reclaimed: usize, changes: Vec<Change>, now: Now) {
        if !self.tracking.is_on() && changes.is_empty() {
            self.stats
                .expired_keys
                .fetch_add(reclaimed as u64, Ordering::Relaxed);
        }
        self.publish_changes(changes, None, now);
    }

    /// Learns how far the wall clock is from log time. What is within the error of reading two clocks one after the
    /// other changes nothing, so an expiry that was set by wall time is told back as it was given.
    pub(crate) fn sample_wall(&self, now: Now) {
        let wall_ms = (self.host.wall_us() / 1000) as i64;
        let offset_ms = wall_ms - now.log_ms as i64;
        let before_ms = self.wall_offset_ms.load(Ordering::Relaxed);
        if offset_ms.abs_diff(before_ms) > WALL_JITTER_MS {
            self.wall_offset_ms.store(offset_ms, Ordering::Relaxed);
        }
    }

    /// Ends a connection: forgets all that others know of it.
    pub fn disconnect(&self, client: &Arc<Client>) {
        self.clients.remove(&client.id);
        if client.has(ClientFlag::Monitor) {
            self.monitors.remove(client.id);
        }
        if client.has(ClientFlag::Tracking) {
            self.tracking.remove(client.id);
            self.listen_again();
        }
    }
}
