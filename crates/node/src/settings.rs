//! What can be configured, by Redis's names: the values a node runs by, and the one table through
//! which `CONFIG GET`, `CONFIG SET` and the server's own configuration read and write them.
//!
//! [`Settings`] is plain data. A changed value acts where it is read; whoever keeps something
//! derived from one (a budget, a mask) renews that after [`Settings::set`].
//!
//! Reading order: this file, `settings/values.rs` and `settings/members.rs` (what values look like),
//! `settings/table.rs` (a row per name).

use core::net::{IpAddr, Ipv4Addr};

use crate::journal::SyncPolicy;
use crate::lock_memory::{LockMemoryLimit, LockOverflow};
use cache::Policy;
use thiserror::Error;

mod members;
mod table;
mod values;

pub use members::{CLUSTER_PORT_ABOVE, JoinAddress, PEER_PORT_ABOVE, PortChoice, host_and_port};
pub use values::{
    KeyspaceEvents, LogLevel, OnQuorumLoss, OutputBufferLimit, OutputBufferLimits, ReadMode,
    Refusal, parse_memory, parse_policy, policy_name,
};

pub(crate) use table::is_zone;
use table::{Kind, ROWS, Row};

/// Least `maxmemory`, in bytes. Below it the shards' own tables leave no room for entries.
pub const MAXMEMORY_MIN_BYTES: u64 = 1 << 20;

/// Numbered databases at most: a key's database is four bits of its entry.
pub const DATABASES_MAX: u32 = 16;

/// What CONFIG SET changes on the node that is asked, and nowhere else: a node's own size, door and log. Whatever else it
/// changes holds on all nodes of the cluster, those that join later too.
const OF_ONE_NODE: [&str; 4] = ["protected-mode", "maxclients", "maxmemory", "loglevel"];

/// Values that a node runs by. The name of each in Redis's manner is the field's with dashes and
/// without its unit; defaults are Redis's where no reason is given.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// TCP port for clients. 6379; 0 lets the system choose one.
    pub port: u16,
    /// Addresses to listen on. 127.0.0.1 alone, so that a fresh node is not open to a network.
    pub bind: Vec<IpAddr>,
    /// Whether clients from other machines are refused while there is no password. Yes.
    pub protected_mode: bool,
    /// The password that `AUTH` asks for; empty: none. Empty.
    pub requirepass: String,
    /// Connections that the system may hold ready before they are accepted. 511.
    pub tcp_backlog: u32,
    /// Seconds between probes of a silent connection; 0: no probes. 300.
    pub tcp_keepalive_s: u32,
    /// Seconds after which an idle client is closed; 0: never. 0.
    pub timeout_s: u32,
    /// Clients at once. 10000.
    pub maxclients: u32,
    /// Bytes of keys, values and their overhead. Never 0: see `maxmemory_automatic_bytes`.
    pub maxmemory_bytes: u64,
    /// What `maxmemory 0` stands for, in bytes: 60 % of the machine's or container's memory, filled
    /// in at start. A cache without a limit would end by being killed, with all that it holds.
    pub maxmemory_automatic_bytes: u64,
    /// What to evict. `allkeys-lru` and not Redis's `noeviction`, as this is a cache: full is its
    /// normal state.
    pub maxmemory_policy: Policy,
    /// What locks may take of it, as they are not evicted. 25 %: a lock costs some 100 bytes, so that is many.
    pub lock_memory: LockMemoryLimit,
    /// What becomes of a lock for which that is not enough. It is refused: whoever evicts a lock gives it away.
    pub lock_overflow: LockOverflow,
    /// Bytes of one argument. 512 MiB.
    pub proto_max_bulk_len_bytes: u64,
    /// Bytes of one client's unread requests. 1 GiB.
    pub client_query_buffer_limit_bytes: u64,
    /// Bytes of one client's unsent replies, by class of client.
    pub client_output_buffer_limit: OutputBufferLimits,
    /// Shards that the slots are spread over. 64: many more than cores, so that their locks spread;
    /// few enough that each one's tables are well filled.
    pub shards: u32,
    /// Numbered databases. 16.
    pub databases: u32,
    /// Port for cluster-aware clients. 1000 above `port`.
    pub cluster_port: PortChoice,
    /// Port for other nodes. 10000 above `port`.
    pub peer_port: PortChoice,
    /// Name or address by which others reach this node; empty: what it is bound to. Empty.
    pub advertise: String,
    /// Nodes of the cluster to join, tried in turn; none: found one, or go on with the one in the data directory. None.
    pub join: Vec<JoinAddress>,
    /// Replicas of each shard, the largest odd number up to this and to the count of nodes. 3. It counts where a cluster is
    /// founded.
    pub replicas: u32,
    /// How a leader knows that it leads when it answers a read. By its lease: a round trip less, and as right as clocks
    /// run at the rates that leases assume.
    pub read_mode: ReadMode,
    /// Share of replicas that a node gets when it joins, relative to others'. 1; 0: none before `torc node weight` says so.
    pub weight: u32,
    /// Where the node stands: replicas of a shard lie in distinct zones where there are enough. Empty: nowhere in
    /// particular.
    pub zone: String,
    /// Seconds that a node may be silent before others take its place. 600: long enough for a restart of a machine.
    pub replace_after_s: u64,
    /// What becomes of a shard of which a majority of replicas lost their memory. It waits for an operator's word: what else is lost with a reset, somebody should have weighed.
    pub on_quorum_loss: OnQuorumLoss,
    /// Bytes a second of shards' states that a node sends to others. 100 MB: a tenth of a fast network.
    pub move_bandwidth_bytes: u64,
    /// What nodes prove to each other that they know; empty: the password of `requirepass`. Empty.
    pub cluster_secret: String,
    /// How long a lock that hangs on a connection outlives it, ms; 0: not at all, and nobody's silence ends it. 15 s, as in
    /// Consul: long enough for a holder to learn that it lost it.
    pub lock_delay_ms: u64,
    /// Threads that serve clients; 0: as many as there are cores. 0.
    pub worker_threads: u32,
    /// Microseconds from which a command is slow; -1: none is. 10000.
    pub slowlog_log_slower_than_us: i64,
    /// Slow commands kept. 128.
    pub slowlog_max_len: u64,
    /// Milliseconds after which a script is stopped; 0: never. 5000. On a shard with replicas it is 100 at most.
    pub lua_time_limit_ms: u64,
    /// Milliseconds from which an event's latency is recorded; 0: none is. 0.
    pub latency_monitor_threshold_ms: u64,
    /// Whether commands' latencies are counted for `LATENCY HISTOGRAM` and `INFO latencystats`. Yes.
    pub latency_tracking: bool,
    /// Percentiles that `INFO latencystats` shows. 50, 99, 99.9.
    pub latency_tracking_percentiles: Vec<f64>,
    /// Keyspace events that are published. None, as each costs a look-up.
    pub keyspace_events: KeyspaceEvents,
    /// Keys remembered for `CLIENT TRACKING`; 0: no limit. A million.
    pub tracking_table_max_keys: u64,
    /// Whether what shards agree on is kept on disk. No: a cache lives in the memory of several nodes.
    pub appendonly: bool,
    /// When a write on disk counts. Every second, as in Redis.
    pub appendfsync: SyncPolicy,
    /// Where the log's directory is made. The working directory.
    pub dir: String,
    /// How much is logged. `notice`.
    pub loglevel: LogLevel,
    /// Path of the log; empty: standard error. Empty.
    pub logfile: String,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            port: 6379,
            bind: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            protected_mode: true,
            requirepass: String::new(),
            tcp_backlog: 511,
            tcp_keepalive_s: 300,
            timeout_s: 0,
            maxclients: 10_000,
            maxmemory_bytes: 1 << 30,
            maxmemory_automatic_bytes: 1 << 30,
            maxmemory_policy: Policy::AllKeysLru,
            lock_memory: LockMemoryLimit::Percent(25),
            lock_overflow: LockOverflow::Refuse,
            proto_max_bulk_len_bytes: 512 << 20,
            client_query_buffer_limit_bytes: 1 << 30,
            client_output_buffer_limit: OutputBufferLimits::default(),
            shards: 64,
            databases: 16,
            cluster_port: PortChoice::Derived,
            peer_port: PortChoice::Derived,
            advertise: String::new(),
            join: Vec::new(),
            replicas: 3,
            read_mode: ReadMode::Lease,
            weight: 1,
            zone: String::new(),
            replace_after_s: 600,
            on_quorum_loss: OnQuorumLoss::Wait,
            move_bandwidth_bytes: 100_000_000,
            cluster_secret: String::new(),
            lock_delay_ms: 15_000,
            worker_threads: 0,
            slowlog_log_slower_than_us: 10_000,
            slowlog_max_len: 128,
            lua_time_limit_ms: 5000,
            latency_monitor_threshold_ms: 0,
            latency_tracking: true,
            latency_tracking_percentiles: vec![50.0, 99.0, 99.9],
            keyspace_events: KeyspaceEvents::default(),
            tracking_table_max_keys: 1_000_000,
            appendonly: false,
            appendfsync: SyncPolicy::EverySecond,
            dir: ".".into(),
            loglevel: LogLevel::Notice,
            logfile: String::new(),
        }
    }
}

/// Why a setting was not made. The text is Redis's, to be sent after `ERR `.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettingError {
    /// There is no such name.
    #[error("Unknown option or number of arguments for CONFIG SET - '{0}'")]
    Unknown(String),
    /// The value, or any change at all, is refused.
    #[error("CONFIG SET failed (possibly related to argument '{name}') - {reason}")]
    Refused {
        /// The setting.
        name: String,
        /// Why.
        reason: Refusal,
    },
}

impl Settings {
    /// All names in the order in which `CONFIG GET` answers: settings first, then names that have one
    /// fixed value here.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ROWS.iter().map(|row| row.name)
    }

    /// The value of `name`, in either case, as `CONFIG GET` answers it. O(number of names).
    pub fn get(&self, name: &str) -> Option<String> {
        find(name).map(|row| row.value(self))
    }

    /// How the cluster calls a setting that has one value on all its nodes; none for what each node has for itself, and for
    /// what is not changed at run time.
    pub fn name_in_cluster(name: &str) -> Option<&'static str> {
        let row = find(name)?;
        let is_mutable = matches!(row.kind, Kind::Mutable { .. });
        (is_mutable && !OF_ONE_NODE.contains(&row.name)).then_some(row.name)
    }

    /// Changes one setting at run time, as `CONFIG SET` with one pair.
    ///
    /// # Errors
    ///
    /// [`SettingError`]; nothing has changed then.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        self.set_all(&[(name.as_bytes(), value.as_bytes())])
    }

    /// Changes several settings or, on an error, none: `CONFIG SET name value [name value …]`.
    ///
    /// # Errors
    ///
    /// The first [`SettingError`]: of all names first, and only then of the values.
    pub fn set_all(&mut self, pairs: &[(&[u8], &[u8])]) -> Result<(), SettingError> {
        let mut rows: Vec<&Row> = Vec::with_capacity(pairs.len());
        for (name, _) in pairs {
            // Replies that quote the name take text only; a name with other bytes is unknown anyway.
            let name = String::from_utf8_lossy(name);
            let Some(row) = find(&name) else {
                return Err(SettingError::Unknown(name.into_owned()));
            };
            if let Some(reason) = row.refusal_of_change() {
                // Here Redis quotes the name as it was written, below as it is defined.
                return Err(refused(&name, reason));
            }
            if rows.iter().any(|earlier| earlier.name == row.name) {
                return Err(refused(&name, "duplicate parameter"));
            }
            rows.push(row);
        }
        let mut changed = self.clone();
        for (row, (_, value)) in rows.iter().zip(pairs) {
            let value = std::str::from_utf8(value)
                .map_err(|_| refused(row.name, "argument must be text in UTF-8"))?;
            row.change(&mut changed, value)
                .map_err(|reason| refused(row.name, reason))?;
        }
        *self = changed;
        Ok(())
    }

    /// Sets a value before the node starts: also those that are fixed from then on.
    ///
    /// # Errors
    ///
    /// `None` if there is no such setting, or it has a fixed value here; otherwise why the value is
    /// refused.
    pub fn configure(&mut self, name: &str, value: &str) -> Result<(), Option<Refusal>> {
        match find(name).map(|row| row.kind) {
            Some(
                Kind::Mutable { set, .. } | Kind::Startup { set, .. } | Kind::Settled { set, .. },
            ) => set(self, value).map_err(Some),
            Some(Kind::Fixed(_) | Kind::Constant(_)) | None => Err(None),
        }
    }

    /// Whether every address listened on is this machine's own.
    pub fn bind_is_loopback(&self) -> bool {
        self.bind.iter().all(|address| address.is_loopback())
    }
}

fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name.eq_ignore_ascii_case(name))
}

fn refused(name: &str, reason: impl Into<Refusal>) -> SettingError {
    SettingError::Refused {
        name: name.into(),
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests;
