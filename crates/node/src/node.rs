//! The node: what all connections share. Shards behind their own short locks, the memory budget, the registry
//! of clients, publish/subscribe, statistics.

use crate::client::{Client, ClientClass, ClientFlag, ClientId};
use crate::entry::Stamp;
use crate::host::{Host, Now};
use crate::latency::LatencyMonitor;
use crate::memory::Budget;
use crate::monitor::Monitors;
use crate::pause::Pause;
use crate::pubsub::PubSub;
use crate::settings::{OutputBufferLimit, Settings};
use crate::shard::{Listened, Shard};
use crate::slowlog::Slowlog;
use crate::stats::Stats;
use crate::tracking::Tracking;
use arc_swap::ArcSwap;
use cache::{Change, ChangeKind, Policy};
use commands::{Event, EventClass};
use dashmap::DashMap;
use parking_lot::{Mutex, MutexGuard};
use placement::{ShardCountError, ShardMap, slot_of};
use resp::OwnedArgs;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU16, AtomicU64, Ordering};

/// Largest count of keys that one eviction entry names.
const VICTIMS_MAX: usize = 64;
/// Entries that one turn of background expiry examines in one shard.
const RECLAIM_WORK_MAX: usize = 256;

/// One member of the cluster; shared by all its connections.
#[derive(Debug)]
pub struct Node {
    /// The process around.
    pub host: Box<dyn Host>,
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
    policy: AtomicU8,
    /// Live connections.
    pub clients: DashMap<ClientId, Arc<Client>>,
    next_client: AtomicU64,
    /// Channels and patterns.
    pub pubsub: PubSub,
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
    /// Wall clock at start, ms: where log time begins.
    log_base_ms: u64,
    /// Wall time minus log time, ms, sampled by [`Node::turn`].
    wall_offset_ms: AtomicI64,
}

/// A shard on its own cache lines.
#[derive(Debug)]
#[repr(align(128))]
struct ShardCell {
    state: Mutex<ShardBox>,
    /// Log time of the last access of the key that eviction would take next, as last seen; `u64::MAX` = nothing to take.
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
    /// A node with empty shards.
    ///
    /// # Errors
    /// A count of shards that the slots cannot be divided over.
    pub fn new(settings: Settings, host: Box<dyn Host>) -> Result<Node, ShardCountError> {
        let seed = host.random();
        // The ring's seed is no secret and must be the same wherever the cluster runs.
        let map = ShardMap::new(settings.shards, 0)?;
        let shards = (0..map.shards_count())
            .map(|_| ShardCell {
                state: Mutex::new(ShardBox(Shard::new(seed))),
                coldest_ms: AtomicU64::new(u64::MAX),
            })
            .collect();
        let id = (0..5)
            .map(|_| format!("{:08x}", host.random() as u32))
            .collect();
        let log_base_ms = host.wall_us() / 1000;
        let node = Node {
            id,
            seed,
            shards,
            budget: Budget::new(settings.maxmemory_bytes, map.shards_count()),
            policy: AtomicU8::new(settings.maxmemory_policy as u8),
            clients: DashMap::new(),
            next_client: AtomicU64::new(1),
            pubsub: PubSub::default(),
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
        node.settings_changed();
        node.listen_again();
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
        self.policy
            .store(settings.maxmemory_policy as u8, Ordering::Relaxed);
        self.event_mask
            .store(settings.keyspace_events.classes(), Ordering::Relaxed);
        self.slowlog.resize(settings.slowlog_max_len as usize);
        self.tracking
            .resize(settings.tracking_table_max_keys as usize);
    }

    /// Tells every shard whether changes are wanted: somebody tracks keys, or expiry and eviction are events.
    pub fn listen_again(&self) {
        let wanted =
            self.event_mask() & (EventClass::Expired as u16 | EventClass::Evicted as u16) != 0;
        let listened = if wanted || self.tracking.is_on() {
            Listened::Yes
        } else {
            Listened::No
        };
        for shard in 0..self.shards.len() {
            self.lock(shard).listen(listened);
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

    /// Whether memory is short and could not be won back by eviction.
    ///
    /// Evicts, if need be, until the budget holds; no shard may be locked by the caller.
    pub fn relieve(&self, now: Now) -> Room {
        let policy = self.policy();
        let mut futile = 0;
        let mut reclaimed_grants = false;
        while self.budget.missing() > 0 {
            if !reclaimed_grants {
                // What shards hold and do not use comes first.
                for shard in 0..self.shards.len() {
                    let mut guard = self.lock(shard);
                    let used = guard.cache.used_bytes() as u64;
                    self.budget.give_back(used, &mut guard.grant);
                }
                reclaimed_grants = true;
                continue;
            }
            if policy == Policy::NoEviction || futile > self.shards.len() {
                return Room::None;
            }
            let Some(shard) = self.coldest_shard(policy, futile) else {
                return Room::None;
            };
            if self.evict_in(shard, policy, now) == 0 {
                futile += 1;
            } else {
                futile = 0;
            }
        }
        Room::Enough
    }

    /// The shard whose next victim was used longest ago, by what the shards last told. A shard that had nothing
    /// to give tells `u64::MAX` until it is asked again, which `futile` > 0 does for all.
    fn coldest_shard(&self, policy: Policy, futile: usize) -> Option<usize> {
        for _ in 0..3 {
            let coldest = |cell: &ShardCell| cell.coldest_ms.load(Ordering::Relaxed);
            let (shard, cell) = self
                .shards
                .iter()
                .enumerate()
                .min_by_key(|(_, cell)| coldest(cell))?;
            let told = coldest(cell);
            if told == u64::MAX || futile > 0 {
                self.ask_coldest(policy);
                if self.shards.iter().all(|cell| coldest(cell) == u64::MAX) {
                    return None;
                }
                return self
                    .shards
                    .iter()
                    .enumerate()
                    .min_by_key(|(_, cell)| coldest(cell))
                    .map(|(shard, _)| shard);
            }
            let really = self
                .lock(shard)
                .cache
                .coldest_ms(policy)
                .unwrap_or(u64::MAX);
            if really <= told {
                return Some(shard);
            }
            // Reads moved its tail on since: correct what is known and choose again.
            cell.coldest_ms.store(really, Ordering::Relaxed);
        }
        self.shards
            .iter()
            .enumerate()
            .min_by_key(|(_, cell)| cell.coldest_ms.load(Ordering::Relaxed))
            .map(|(shard, _)| shard)
    }

    /// Learns every shard's coldest key anew.
    fn ask_coldest(&self, policy: Policy) {
        for (shard, cell) in self.shards.iter().enumerate() {
            let coldest = self
                .lock(shard)
                .cache
                .coldest_ms(policy)
                .unwrap_or(u64::MAX);
            cell.coldest_ms.store(coldest, Ordering::Relaxed);
        }
    }

    /// Evicts about one step's bytes in one shard, as entries of its log; returns how many keys went.
    fn evict_in(&self, shard: usize, policy: Policy, now: Now) -> usize {
        let stamp = self.stamp(now);
        let mut guard = self.lock(shard);
        let wanted = self
            .budget
            .missing()
            .max(1)
            .min(self.budget.step().max(4096)) as usize;
        let victims = guard
            .cache
            .victims(policy, wanted, VICTIMS_MAX, stamp.random);
        let mut evicted = 0;
        for db in 0..16u8 {
            let keys: Vec<&[u8]> = victims
                .iter()
                .filter(|victim| victim.db == db)
                .map(|victim| &*victim.key)
                .collect();
            if !keys.is_empty() {
                evicted += guard.commit_evict(db, stamp, OwnedArgs::from_slices(&keys).args());
            }
        }
        let used = guard.cache.used_bytes() as u64;
        self.budget.give_back(used, &mut guard.grant);
        let coldest = guard.cache.coldest_ms(policy).unwrap_or(u64::MAX);
        self.shards[shard]
            .coldest_ms
            .store(coldest, Ordering::Relaxed);
        let changes = guard.take_changes();
        drop(guard);
        self.stats
            .evicted_keys
            .fetch_add(evicted as u64, Ordering::Relaxed);
        self.publish_changes(changes, None, now);
        evicted
    }

    /// Tells the world of changes: invalidations to those who track the keys, events of expiry and eviction.
    /// `by` is the connection that caused them.
    pub fn publish_changes(&self, changes: Vec<Change>, by: Option<ClientId>, now: Now) {
        if changes.is_empty() {
            return;
        }
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
        let settings = self.settings.load();
        let flags = settings.keyspace_events;
        if flags.keyspace() {
            let mut channel = format!("__keyspace@{}__:", event.db).into_bytes();
            channel.extend_from_slice(&event.key);
            self.pubsub
                .publish(self, &channel, event.name.as_bytes(), now);
        }
        if flags.keyevent() {
            let channel = format!("__keyevent@{}__:{}", event.db, event.name);
            self.pubsub
                .publish(self, channel.as_bytes(), &event.key, now);
        }
    }

    /// One turn of the node's housekeeping, every 100 ms: samples the wall clock, reclaims expired keys with
    /// bounded work a shard, brings memory under a lowered budget.
    pub fn turn(&self) {
        let now = self.now();
        let wall_ms = (self.host.wall_us() / 1000) as i64;
        self.wall_offset_ms
            .store(wall_ms - now.log_ms as i64, Ordering::Relaxed);
        for shard in 0..self.shards.len() {
            // A shard with much to reclaim gets several short turns, its lock free in between.
            for _ in 0..16 {
                let mut guard = self.lock(shard);
                guard.cache.set_now(now.log_ms);
                let reclaimed = guard.cache.reclaim_expired(RECLAIM_WORK_MAX);
                guard.settle(&self.budget);
                let changes = guard.take_changes();
                drop(guard);
                if !self.tracking.is_on() && changes.is_empty() {
                    self.stats
                        .expired_keys
                        .fetch_add(reclaimed as u64, Ordering::Relaxed);
                }
                self.publish_changes(changes, None, now);
                if reclaimed < RECLAIM_WORK_MAX / 4 {
                    break;
                }
            }
        }
        self.relieve(now);
        self.stats.sample(now.monotonic_us);
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

/// Outcome of [`Node::relieve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// The budget holds.
    Enough,
    /// It does not, and nothing may be evicted.
    None,
}
