//! A row per name that `CONFIG GET` knows.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::members::{HOST_BYTES_MAX, JoinAddress, PortChoice};
use super::values::{
    KeyspaceEvents, LogLevel, Refusal, integer_within, join, lock_memory_text, lock_overflow_name,
    memory_within, parse_lock_memory, parse_lock_overflow, parse_memory, parse_on_quorum_loss,
    parse_percentiles, parse_policy, parse_read_mode, parse_yes_no, policy_name, yes_no,
};
use crate::journal::SyncPolicy;
use crate::meta::ZONE_BYTES_MAX;

use super::{DATABASES_MAX, MAXMEMORY_MIN_BYTES, Settings};

/// One name and what can be done with it.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

type Get = fn(&Settings) -> String;
type Set = fn(&mut Settings, &str) -> Result<(), Refusal>;

#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Can be changed at any time.
    Mutable { get: Get, set: Set },
    /// Is given at start and stays.
    Startup { get: Get, set: Set },
    /// Is given at start and stays, and can be changed in Redis: setting it to what it is succeeds.
    Settled { get: Get, set: Set },
    /// Is always this here, and can be changed in Redis: setting it to what it is succeeds, so that
    /// tools which switch off what Torc does not have (`CONFIG SET save ""`) find it done.
    Fixed(&'static str),
    /// Is always this here, and cannot be changed in Redis either.
    Constant(&'static str),
}

impl Row {
    pub(super) fn value(&self, settings: &Settings) -> String {
        match self.kind {
            Kind::Mutable { get, .. } | Kind::Startup { get, .. } | Kind::Settled { get, .. } => {
                get(settings)
            }
            Kind::Fixed(value) | Kind::Constant(value) => value.into(),
        }
    }

    /// Why no value at all may be set while the node runs.
    pub(super) fn refusal_of_change(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Mutable { .. } | Kind::Settled { .. } | Kind::Fixed(_) => None,
            Kind::Startup { .. } | Kind::Constant(_) => Some(IMMUTABLE),
        }
    }

    /// Changes the value while the node runs.
    pub(super) fn change(&self, settings: &mut Settings, value: &str) -> Result<(), Refusal> {
        match self.kind {
            Kind::Mutable { set, .. } => set(settings, value),
            Kind::Fixed(fixed) if is_same(fixed, value) => Ok(()),
            Kind::Settled { get, .. } if is_same(&get(settings), value) => Ok(()),
            Kind::Startup { .. } | Kind::Settled { .. } | Kind::Fixed(_) | Kind::Constant(_) => {
                Err(IMMUTABLE.into())
            }
        }
    }
}

const IMMUTABLE: &str = "can't set immutable config";

/// Whether two texts are one value: the same but for case, or the same amount.
fn is_same(fixed: &str, value: &str) -> bool {
    let same_amount = || Some(parse_memory(fixed).ok()? == parse_memory(value).ok()?);
    fixed.eq_ignore_ascii_case(value) || same_amount() == Some(true)
}

const fn mutable(name: &'static str, get: Get, set: Set) -> Row {
    let kind = Kind::Mutable { get, set };
    Row { name, kind }
}

const fn startup(name: &'static str, get: Get, set: Set) -> Row {
    let kind = Kind::Startup { get, set };
    Row { name, kind }
}

const fn settled(name: &'static str, get: Get, set: Set) -> Row {
    let kind = Kind::Settled { get, set };
    Row { name, kind }
}

const fn fixed(name: &'static str, value: &'static str) -> Row {
    let kind = Kind::Fixed(value);
    Row { name, kind }
}

const fn constant(name: &'static str, value: &'static str) -> Row {
    let kind = Kind::Constant(value);
    Row { name, kind }
}

fn put<T>(field: &mut T, value: Result<T, Refusal>) -> Result<(), Refusal> {
    *field = value?;
    Ok(())
}

/// A day: whoever has not noticed by then that a lock is lost never will.
const LOCK_DELAY_MS_MAX: i64 = 86_400_000;

/// Most of what Redis keeps in an `int`.
const INT_MAX: i64 = i32::MAX as i64;

/// Least of the limits that a single request runs into (Redis's, too).
const REQUEST_LIMIT_MIN: u64 = 1 << 20;

/// Most of what Redis keeps in a signed 64-bit number.
const LONG_MAX: u64 = i64::MAX as u64;

/// Addresses to listen on at most, as in Redis.
const BIND_MAX: usize = 16;

/// Threads at most: far more than cores serve nobody, and each takes a stack.
const WORKER_THREADS_MAX: i64 = 1024;

/// Replicas at most: beyond it each write waits for more nodes than it gains safety by.
const REPLICAS_MAX: i64 = 9;
/// Weight of a node.
const WEIGHT_MAX: i64 = 16;
/// A slower move would never end.
const BANDWIDTH_MIN: u64 = 64 << 10;

/// Settings first, in the order of the help page; then what tools ask for and has one truth here.
pub(super) static ROWS: &[Row] = &[
    startup(
        "port",
        |s| s.port.to_string(),
        |s, v| put(&mut s.port, integer_within(v, 0..=65535)),
    ),
    startup(
        "bind",
        |s| join(&s.bind),
        |s, v| put(&mut s.bind, parse_bind(v)),
    ),
    mutable(
        "protected-mode",
        |s| yes_no(s.protected_mode),
        |s, v| put(&mut s.protected_mode, parse_yes_no(v)),
    ),
    mutable(
        "requirepass",
        |s| s.requirepass.clone(),
        |s, v| put(&mut s.requirepass, Ok(v.into())),
    ),
    startup(
        "tcp-backlog",
        |s| s.tcp_backlog.to_string(),
        |s, v| put(&mut s.tcp_backlog, integer_within(v, 0..=INT_MAX)),
    ),
    mutable(
        "tcp-keepalive",
        |s| s.tcp_keepalive_s.to_string(),
        |s, v| put(&mut s.tcp_keepalive_s, integer_within(v, 0..=INT_MAX)),
    ),
    mutable(
        "timeout",
        |s| s.timeout_s.to_string(),
        |s, v| put(&mut s.timeout_s, integer_within(v, 0..=INT_MAX)),
    ),
    mutable(
        "maxclients",
        |s| s.maxclients.to_string(),
        |s, v| put(&mut s.maxclients, integer_within(v, 1..=u32::MAX.into())),
    ),
    mutable(
        "maxmemory",
        |s| s.maxmemory_bytes.to_string(),
        set_maxmemory,
    ),
    mutable(
        "maxmemory-policy",
        |s| policy_name(s.maxmemory_policy).into(),
        |s, v| put(&mut s.maxmemory_policy, parse_policy(v)),
    ),
    mutable(
        "lock-memory",
        |s| lock_memory_text(s.lock_memory),
        |s, v| put(&mut s.lock_memory, parse_lock_memory(v)),
    ),
    mutable(
        "lock-overflow",
        |s| lock_overflow_name(s.lock_overflow).into(),
        |s, v| put(&mut s.lock_overflow, parse_lock_overflow(v)),
    ),
    mutable(
        "proto-max-bulk-len",
        |s| s.proto_max_bulk_len_bytes.to_string(),
        |s, v| {
            put(
                &mut s.proto_max_bulk_len_bytes,
                memory_within(v, REQUEST_LIMIT_MIN..=LONG_MAX),
            )
        },
    ),
    mutable(
        "client-query-buffer-limit",
        |s| s.client_query_buffer_limit_bytes.to_string(),
        |s, v| {
            put(
                &mut s.client_query_buffer_limit_bytes,
                memory_within(v, REQUEST_LIMIT_MIN..=LONG_MAX),
            )
        },
    ),
    mutable(
        "client-output-buffer-limit",
        |s| s.client_output_buffer_limit.to_string(),
        |s, v| {
            let limits = s.client_output_buffer_limit.with(v);
            put(&mut s.client_output_buffer_limit, limits)
        },
    ),
    startup(
        "shards",
        |s| s.shards.to_string(),
        |s, v| {
            put(
                &mut s.shards,
                integer_within(v, 1..=placement::SLOTS_COUNT.into()),
            )
        },
    ),
    startup(
        "databases",
        |s| s.databases.to_string(),
        |s, v| {
            put(
                &mut s.databases,
                integer_within(v, 1..=DATABASES_MAX.into()),
            )
        },
    ),
    startup(
        "cluster-port",
        |s| s.cluster_port.to_string(),
        |s, v| put(&mut s.cluster_port, PortChoice::parse(v)),
    ),
    startup(
        "peer-port",
        |s| s.peer_port.to_string(),
        |s, v| put(&mut s.peer_port, PortChoice::parse_open(v)),
    ),
    startup(
        "advertise",
        |s| s.advertise.clone(),
        |s, v| put(&mut s.advertise, parse_host(v)),
    ),
    startup(
        "join",
        |s| join_with_commas(&s.join),
        |s, v| put(&mut s.join, JoinAddress::parse_all(v)),
    ),
    startup(
        "replicas",
        |s| s.replicas.to_string(),
        |s, v| put(&mut s.replicas, integer_within(v, 1..=REPLICAS_MAX)),
    ),
    mutable(
        "read-mode",
        |s| s.read_mode.name().into(),
        |s, v| put(&mut s.read_mode, parse_read_mode(v)),
    ),
    startup(
        "weight",
        |s| s.weight.to_string(),
        |s, v| put(&mut s.weight, integer_within(v, 0..=WEIGHT_MAX)),
    ),
    startup(
        "zone",
        |s| s.zone.clone(),
        |s, v| put(&mut s.zone, parse_zone(v)),
    ),
    mutable(
        "replace-after",
        |s| s.replace_after_s.to_string(),
        |s, v| put(&mut s.replace_after_s, integer_within(v, 1..=INT_MAX)),
    ),
    mutable(
        "on-quorum-loss",
        |s| s.on_quorum_loss.name().into(),
        |s, v| put(&mut s.on_quorum_loss, parse_on_quorum_loss(v)),
    ),
    mutable(
        "move-bandwidth",
        |s| s.move_bandwidth_bytes.to_string(),
        |s, v| {
            put(
                &mut s.move_bandwidth_bytes,
                memory_within(v, BANDWIDTH_MIN..=i64::MAX as u64),
            )
        },
    ),
    startup(
        "cluster-secret",
        |s| s.cluster_secret.clone(),
        |s, v| put(&mut s.cluster_secret, Ok(v.into())),
    ),
    mutable(
        "lock-delay",
        |s| s.lock_delay_ms.to_string(),
        |s, v| {
            put(
                &mut s.lock_delay_ms,
                integer_within(v, 0..=LOCK_DELAY_MS_MAX),
            )
        },
    ),
    startup(
        "worker-threads",
        |s| s.worker_threads.to_string(),
        |s, v| {
            put(
                &mut s.worker_threads,
                integer_within(v, 0..=WORKER_THREADS_MAX),
            )
        },
    ),
    mutable(
        "slowlog-log-slower-than",
        |s| s.slowlog_log_slower_than_us.to_string(),
        |s, v| {
            put(
                &mut s.slowlog_log_slower_than_us,
                integer_within(v, -1..=i64::MAX),
            )
        },
    ),
    mutable(
        "lua-time-limit",
        |s| s.lua_time_limit_ms.to_string(),
        |s, v| put(&mut s.lua_time_limit_ms, integer_within(v, 0..=INT_MAX)),
    ),
    mutable(
        "busy-reply-threshold",
        |s| s.lua_time_limit_ms.to_string(),
        |s, v| put(&mut s.lua_time_limit_ms, integer_within(v, 0..=INT_MAX)),
    ),
    mutable(
        "slowlog-max-len",
        |s| s.slowlog_max_len.to_string(),
        |s, v| put(&mut s.slowlog_max_len, integer_within(v, 0..=i64::MAX)),
    ),
    mutable(
        "latency-monitor-threshold",
        |s| s.latency_monitor_threshold_ms.to_string(),
        |s, v| {
            put(
                &mut s.latency_monitor_threshold_ms,
                integer_within(v, 0..=i64::MAX),
            )
        },
    ),
    mutable(
        "latency-tracking",
        |s| yes_no(s.latency_tracking),
        |s, v| put(&mut s.latency_tracking, parse_yes_no(v)),
    ),
    mutable(
        "latency-tracking-info-percentiles",
        |s| join(&s.latency_tracking_percentiles),
        |s, v| put(&mut s.latency_tracking_percentiles, parse_percentiles(v)),
    ),
    mutable(
        "notify-keyspace-events",
        |s| s.keyspace_events.to_string(),
        |s, v| put(&mut s.keyspace_events, KeyspaceEvents::parse(v)),
    ),
    mutable(
        "tracking-table-max-keys",
        |s| s.tracking_table_max_keys.to_string(),
        |s, v| {
            put(
                &mut s.tracking_table_max_keys,
                integer_within(v, 0..=i64::MAX),
            )
        },
    ),
    mutable(
        "loglevel",
        |s| s.loglevel.name().into(),
        |s, v| put(&mut s.loglevel, LogLevel::parse(v)),
    ),
    startup(
        "logfile",
        |s| s.logfile.clone(),
        |s, v| put(&mut s.logfile, Ok(v.into())),
    ),
    settled(
        "appendonly",
        |s| yes_no(s.appendonly),
        |s, v| put(&mut s.appendonly, parse_yes_no(v)),
    ),
    settled(
        "appendfsync",
        |s| sync_policy_name(s.appendfsync).into(),
        |s, v| put(&mut s.appendfsync, parse_sync_policy(v)),
    ),
    startup(
        "dir",
        |s| s.dir.clone(),
        |s, v| put(&mut s.dir, Ok(v.into())),
    ),
    // Durability beside the log: there are no snapshots of the whole.
    fixed("save", ""),
    constant("appenddirname", "appendonlydir"),
    fixed("stop-writes-on-bgsave-error", "no"),
    fixed("rdbcompression", "yes"),
    constant("rdbchecksum", "yes"),
    // What a dump holds is always checked before it is restored.
    fixed("sanitize-dump-payload", "yes"),
    // Replication as in Redis does not exist.
    fixed("replicaof", ""),
    fixed("slaveof", ""),
    fixed("masterauth", ""),
    fixed("masteruser", ""),
    fixed("replica-read-only", "yes"),
    fixed("slave-read-only", "yes"),
    fixed("replica-serve-stale-data", "yes"),
    fixed("slave-serve-stale-data", "yes"),
    fixed("replica-priority", "100"),
    fixed("slave-priority", "100"),
    fixed("repl-backlog-size", "1048576"),
    fixed("repl-timeout", "60"),
    fixed("repl-diskless-sync", "yes"),
    fixed("min-replicas-to-write", "0"),
    fixed("min-slaves-to-write", "0"),
    fixed("min-replicas-max-lag", "10"),
    fixed("min-slaves-max-lag", "10"),
    // This port is a plain one; TLS and the unix socket are not offered.
    constant("cluster-enabled", "no"),
    fixed("cluster-node-timeout", "15000"),
    fixed("cluster-require-full-coverage", "yes"),
    fixed("tls-port", "0"),
    constant("unixsocket", ""),
    constant("unixsocketperm", "0"),
    // Threads and the process.
    constant("io-threads", "1"),
    constant("io-threads-do-reads", "no"),
    constant("daemonize", "no"),
    constant("supervised", "no"),
    constant("pidfile", ""),
    constant("syslog-enabled", "no"),
    constant("enable-module-command", "no"),
    constant("aclfile", ""),
    fixed("acllog-max-len", "128"),
    fixed("hz", "10"),
    fixed("dynamic-hz", "yes"),
    fixed("activerehashing", "yes"),
    fixed("activedefrag", "no"),
    fixed("active-expire-effort", "1"),
    // Memory and eviction: recency is exact, not sampled, and there are no frequencies.
    fixed("maxmemory-samples", "5"),
    fixed("maxmemory-eviction-tenacity", "10"),
    fixed("maxmemory-clients", "0"),
    fixed("lfu-log-factor", "10"),
    fixed("lfu-decay-time", "1"),
    fixed("lazyfree-lazy-eviction", "no"),
    fixed("lazyfree-lazy-expire", "no"),
    fixed("lazyfree-lazy-server-del", "no"),
    fixed("lazyfree-lazy-user-del", "no"),
    fixed("lazyfree-lazy-user-flush", "no"),
    // Sizes up to which values of several parts are kept compact, with Redis's older names.
    fixed("hash-max-listpack-entries", "512"),
    fixed("hash-max-ziplist-entries", "512"),
    fixed("hash-max-listpack-value", "64"),
    fixed("hash-max-ziplist-value", "64"),
    fixed("list-max-listpack-size", "-2"),
    fixed("list-max-ziplist-size", "-2"),
    fixed("list-compress-depth", "0"),
    fixed("set-max-intset-entries", "512"),
    fixed("set-max-listpack-entries", "128"),
    fixed("set-max-listpack-value", "64"),
    fixed("zset-max-listpack-entries", "128"),
    fixed("zset-max-ziplist-entries", "128"),
    fixed("zset-max-listpack-value", "64"),
    fixed("zset-max-ziplist-value", "64"),
    fixed("hll-sparse-max-bytes", "3000"),
    fixed("stream-node-max-bytes", "4096"),
    fixed("stream-node-max-entries", "100"),
];

/// `0` goes back to the automatic limit. Too little is refused rather than let every write fail.
fn set_maxmemory(settings: &mut Settings, value: &str) -> Result<(), Refusal> {
    let bytes = parse_memory(value)?;
    settings.maxmemory_bytes = match bytes {
        0 => settings.maxmemory_automatic_bytes,
        MAXMEMORY_MIN_BYTES.. => bytes,
        _ => {
            return Err(format!(
                "argument must be 0 (automatic) or at least {MAXMEMORY_MIN_BYTES} bytes (1mb): \
                 less leaves no room for entries beside the shards' own tables"
            ));
        }
    };
    Ok(())
}

/// A name or an address, without a port.
fn parse_host(text: &str) -> Result<String, Refusal> {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if text.len() <= HOST_BYTES_MAX && text.chars().all(is_fit) {
        Ok(text.into())
    } else {
        Err(format!("'{text}' is neither a host name nor an IP address"))
    }
}

/// Whether this can be a zone's name, or is empty: none in particular.
pub(crate) fn is_zone(name: &[u8]) -> bool {
    let is_fit = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
    name.len() <= ZONE_BYTES_MAX && name.iter().all(is_fit)
}

fn parse_zone(text: &str) -> Result<String, Refusal> {
    match is_zone(text.as_bytes()) {
        true => Ok(text.into()),
        false => Err(format!(
            "'{text}' is no zone: up to {ZONE_BYTES_MAX} letters, digits, dots, dashes and underscores"
        )),
    }
}

fn join_with_commas(addresses: &[JoinAddress]) -> String {
    let words: Vec<String> = addresses.iter().map(JoinAddress::to_string).collect();
    words.join(",")
}

fn sync_policy_name(policy: SyncPolicy) -> &'static str {
    match policy {
        SyncPolicy::Always => "always",
        SyncPolicy::EverySecond => "everysec",
        SyncPolicy::Never => "no",
    }
}

fn parse_sync_policy(text: &str) -> Result<SyncPolicy, Refusal> {
    match text.to_ascii_lowercase().as_str() {
        "always" => Ok(SyncPolicy::Always),
        "everysec" => Ok(SyncPolicy::EverySecond),
        "no" => Ok(SyncPolicy::Never),
        _ => Err("argument(s) must be one of the following: everysec, always, no".into()),
    }
}

/// Reads addresses separated by spaces. `*` is every IPv4 address of the machine, `::*` every IPv6 one.
fn parse_bind(text: &str) -> Result<Vec<IpAddr>, Refusal> {
    let addresses: Vec<IpAddr> = text
        .split_ascii_whitespace()
        .map(|word| match word {
            "*" => Ok(Ipv4Addr::UNSPECIFIED.into()),
            "::*" => Ok(Ipv6Addr::UNSPECIFIED.into()),
            "localhost" => Ok(Ipv4Addr::LOCALHOST.into()),
            _ => word.parse().map_err(|_| {
                format!("'{word}' is not an IP address (nor '*' for all IPv4, '::*' for all IPv6)")
            }),
        })
        .collect::<Result<_, Refusal>>()?;
    if addresses.is_empty() || addresses.len() > BIND_MAX {
        return Err(format!("argument must be 1 to {BIND_MAX} IP addresses"));
    }
    Ok(addresses)
}
