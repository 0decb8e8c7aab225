//! INFO: the fields that clients, redis_exporter and people read.

use super::access::Access;
use super::{Manner, Session, Turn};
use crate::client::ClientFlag;
use crate::peers::Peer;
use crate::settings::policy_name;
use crate::shard::Shard;
use crate::stats::{LATENCY_CLASSES, RowStats};
use cache::Key;
use commands::Row;
use resp::{Args, Reply};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The version of Redis that clients are told: many gate on it.
pub(super) const REDIS_VERSION: &str = "7.4.0";

/// Keys of a shard and database that are drawn to estimate `avg_ttl`.
const TTL_DRAWS: u32 = 4;

/// Sections in the order of INFO; whether a plain INFO has them.
const SECTIONS: [(&str, bool); 13] = [
    ("server", true),
    ("clients", true),
    ("memory", true),
    ("persistence", true),
    ("stats", true),
    ("replication", true),
    ("cpu", true),
    ("modules", true),
    ("commandstats", false),
    ("errorstats", true),
    ("latencystats", false),
    ("cluster", true),
    ("keyspace", true),
];

/// What a walk over the shards adds up.
#[derive(Default)]
struct ShardSums {
    keys: [usize; 16],
    expiring: [usize; 16],
    used_bytes: u64,
    hits: u64,
    misses: u64,
    /// Of the keys with an expiry that were drawn: how many, and their remaining milliseconds. A wide
    /// sum: one key may live for all of 63 bits.
    ttls: [(u64, u128); 16],
}

impl ShardSums {
    /// Looks at a few keys of each database that has keys with an expiry.
    fn sample_ttls(&mut self, shard: &Shard, random: u64) {
        let cache = &shard.cache;
        for db in (0..16u8).filter(|db| cache.expiring_len(*db) > 0) {
            for draw in 0..TTL_DRAWS {
                let random = random.rotate_left(draw * 16);
                let key = cache.random(db, commands::walk::draw_within(random));
                let entry = key.and_then(|key| cache.peek(Key::new(cache.seed(), db, key)));
                if let Some(at_ms) = entry.and_then(|entry| entry.expires_at) {
                    let (count, sum_ms) = &mut self.ttls[usize::from(db)];
                    *count += 1;
                    *sum_ms += u128::from(at_ms.saturating_sub(cache.now_ms()));
                }
            }
        }
    }
}

impl Session {
    pub(super) fn info(
        &mut self,
        turn: Turn<'_>,
        args: Args<'_>,
        access: &mut Access<'_>,
        reply: &mut Reply<'_>,
    ) {
        let asked: Vec<String> = args
            .from(1)
            .iter()
            .map(|name| String::from_utf8_lossy(name).to_ascii_lowercase())
            .collect();
        let has = |word: &str| asked.iter().any(|name| name == word);
        let all = has("all") || has("everything");
        let default = asked.is_empty() || has("default");
        let sums = shard_sums(turn, access);
        let mut text = String::with_capacity(4096);
        for (name, by_default) in SECTIONS {
            if all || has(name) || default && by_default {
                if !text.is_empty() {
                    text.push_str("\r\n");
                }
                section(turn, name, self.manner(), &sums, &mut text);
            }
        }
        reply.verbatim("txt", text.as_bytes());
    }
}

fn shard_sums(turn: Turn<'_>, access: &mut Access<'_>) -> ShardSums {
    let mut sums = ShardSums::default();
    for shard in 0..turn.node.shards_count() {
        access.with(turn.node, shard, |shard| {
            for db in 0..16 {
                sums.keys[db] += shard.cache.len(db as u8);
                sums.expiring[db] += shard.cache.expiring_len(db as u8);
            }
            sums.used_bytes += shard.cache.used_bytes() as u64;
            let lookups = shard.cache.lookups();
            sums.hits += lookups.hits;
            sums.misses += lookups.misses;
            sums.sample_ttls(shard, turn.node.host.random());
        });
    }
    sums
}

fn section(turn: Turn<'_>, name: &str, manner: Manner, sums: &ShardSums, text: &mut String) {
    let mut title = name.to_string();
    title[..1].make_ascii_uppercase();
    if name == "cpu" {
        title = "CPU".into();
    }
    let _ = write!(text, "# {title}\r\n");
    match name {
        "server" => server(turn, manner, text),
        "clients" => clients(turn, text),
        "memory" => memory(turn, sums, text),
        "persistence" => persistence(turn, text),
        "stats" => stats(turn, sums, text),
        "replication" => {
            let peers = turn.node.cluster.peers.all();
            let is_up = |peer: &&Arc<Peer>| turn.node.cluster.peers.is_up(peer.node);
            let up = peers.iter().filter(is_up).count();
            let _ = write!(
                text,
                "role:master\r\nconnected_slaves:{up}\r\nmaster_failover_state:no-failover\r\n",
            );
            let _ = write!(text, "master_replid:{}\r\n", turn.node.id);
            fields(
                text,
                &[
                    ("master_repl_offset", 0),
                    ("repl_backlog_active", 0),
                    ("repl_backlog_size", 0),
                    ("repl_backlog_first_byte_offset", 0),
                    ("repl_backlog_histlen", 0),
                ],
            );
        }
        "cpu" => {
            let process = turn.node.host.process();
            let seconds = |us: u64| us as f64 / 1e6;
            let _ = write!(
                text,
                "used_cpu_sys:{:.6}\r\nused_cpu_user:{:.6}\r\nused_cpu_sys_children:0.000000\r\nused_cpu_user_children:0.000000\r\n",
                seconds(process.system_us),
                seconds(process.user_us)
            );
        }
        "modules" => {}
        "commandstats" => each_used_row(turn, |row, stats| {
            let _ = write!(
                text,
                "cmdstat_{}:calls={},usec={},usec_per_call={:.2},rejected_calls={},failed_calls={}\r\n",
                row.full_name(),
                stats.calls,
                stats.took_us,
                stats.took_us as f64 / stats.calls.max(1) as f64,
                stats.rejected,
                stats.failed
            );
        }),
        "errorstats" => {
            for (code, count) in turn.node.stats.error_codes() {
                let _ = write!(text, "errorstat_{code}:count={count}\r\n");
            }
        }
        "latencystats" if turn.settings.latency_tracking => each_used_row(turn, |row, stats| {
            if stats.calls > 0 {
                let shares: Vec<String> = turn
                    .settings
                    .latency_tracking_percentiles
                    .iter()
                    .map(|share| format!("p{share}={:.3}", percentile_us(&stats.latency, *share)))
                    .collect();
                let _ = write!(
                    text,
                    "latency_percentiles_usec_{}:{}\r\n",
                    row.full_name(),
                    shares.join(",")
                );
            }
        }),
        "latencystats" => {}
        "cluster" => fields(
            text,
            &[("cluster_enabled", u64::from(manner == Manner::Cluster))],
        ),
        "keyspace" => {
            for db in (0..16).filter(|db| sums.keys[*db] > 0) {
                let (keys, expires) = (sums.keys[db], sums.expiring[db]);
                let (drawn, sum_ms) = sums.ttls[db];
                let average_ms = sum_ms / u128::from(drawn.max(1));
                let _ = write!(
                    text,
                    "db{db}:keys={keys},expires={expires},avg_ttl={average_ms}\r\n"
                );
            }
        }
        other => unreachable!("{other} is in SECTIONS and has no text"),
    }
}

fn fields(text: &mut String, fields: &[(&str, u64)]) {
    for (name, value) in fields {
        let _ = write!(text, "{name}:{value}\r\n");
    }
}

fn server(turn: Turn<'_>, manner: Manner, text: &mut String) {
    let process = turn.node.host.process();
    let uptime_s = turn.node.stats.uptime_us(turn.now.monotonic_us) / 1_000_000;
    let _ = write!(
        text,
        "redis_version:{REDIS_VERSION}\r\ntorc_version:{}\r\n",
        env!("CARGO_PKG_VERSION")
    );
    text.push_str("redis_git_sha1:00000000\r\nredis_git_dirty:0\r\nredis_build_id:0\r\n");
    text.push_str(match manner {
        Manner::Plain => "redis_mode:standalone\r\n",
        Manner::Cluster => "redis_mode:cluster\r\n",
    });
    let _ = write!(
        text,
        "os:{}\r\narch_bits:{}\r\nmonotonic_clock:POSIX clock_gettime\r\nmultiplexing_api:epoll\r\natomicvar_api:c11-builtin\r\ngcc_version:0.0.0\r\n",
        process.os,
        usize::BITS
    );
    let _ = write!(
        text,
        "process_id:{}\r\nprocess_supervised:no\r\nrun_id:{}\r\n",
        process.pid, turn.node.id
    );
    let _ = write!(
        text,
        "tcp_port:{}\r\nserver_time_usec:{}\r\n",
        turn.settings.port,
        turn.node.host.wall_us()
    );
    fields(
        text,
        &[
            ("uptime_in_seconds", uptime_s),
            ("uptime_in_days", uptime_s / 86_400),
            ("hz", 10),
            ("configured_hz", 10),
        ],
    );
    let _ = write!(
        text,
        "lru_clock:{}\r\n",
        (turn.now.log_ms / 1000) & 0xff_ffff
    );
    let _ = write!(
        text,
        "executable:{}\r\nconfig_file:{}\r\nio_threads_active:0\r\n",
        process.executable, process.config_file
    );
    let _ = write!(text, "torc_shards:{}\r\n", turn.node.shards_count());
    let resets = turn.node.view().resets_count();
    let _ = write!(text, "torc_shard_resets:{resets}\r\n");
}

/// There are no RDB files. Monitoring asks for their last state all the same, and gets what Redis says before the first.
fn persistence(turn: Turn<'_>, text: &mut String) {
    let journal = turn.node.cluster.journal();
    fields(
        text,
        &[
            ("loading", 0),
            ("async_loading", 0),
            ("rdb_changes_since_last_save", 0),
            ("rdb_bgsave_in_progress", 0),
            ("rdb_last_save_time", 0),
        ],
    );
    text.push_str(
        "rdb_last_bgsave_status:ok\r\nrdb_last_bgsave_time_sec:-1\r\nrdb_current_bgsave_time_sec:-1\r\n",
    );
    fields(
        text,
        &[
            ("rdb_saves", 0),
            ("rdb_last_cow_size", 0),
            ("aof_enabled", u64::from(journal.is_some())),
            ("aof_rewrite_in_progress", 0),
            ("aof_rewrite_scheduled", 0),
        ],
    );
    // A write that fails ends the node.
    text.push_str(
        "aof_last_rewrite_time_sec:-1\r\naof_current_rewrite_time_sec:-1\r\naof_last_bgrewrite_status:ok\r\naof_last_write_status:ok\r\n",
    );
    fields(text, &[("aof_last_cow_size", 0)]);
    if let Some(journal) = journal {
        let usage = journal.usage();
        let bytes = usage.segments_bytes + usage.checkpoints_bytes;
        fields(text, &[("aof_current_size", bytes)]);
    }
}

fn clients(turn: Turn<'_>, text: &mut String) {
    let clients = turn.node.clients_by_id();
    let count = |flag: ClientFlag| clients.iter().filter(|client| client.has(flag)).count() as u64;
    let largest = |of: fn(&crate::client::Client) -> u64| {
        clients.iter().map(|client| of(client)).max().unwrap_or(0)
    };
    fields(
        text,
        &[
            ("connected_clients", clients.len() as u64),
            ("cluster_connections", 0),
            ("maxclients", u64::from(turn.settings.maxclients)),
            (
                "client_recent_max_input_buffer",
                largest(|client| client.input_bytes.load(Ordering::Relaxed)),
            ),
            (
                "client_recent_max_output_buffer",
                largest(|client| client.output_bytes.load(Ordering::Relaxed)),
            ),
            ("blocked_clients", count(ClientFlag::Blocked)),
            (
                "tracking_clients",
                turn.node.tracking.clients_count() as u64,
            ),
            ("pubsub_clients", count(ClientFlag::Pubsub)),
            (
                "watching_clients",
                clients
                    .iter()
                    .filter(|client| client.facts.lock().watched > 0)
                    .count() as u64,
            ),
            ("clients_in_timeout_table", 0),
        ],
    );
}

/// Bytes as people read them: `1.50M`.
fn human(bytes: u64) -> String {
    let units = [
        (1u64 << 40, "T"),
        (1 << 30, "G"),
        (1 << 20, "M"),
        (1 << 10, "K"),
    ];
    match units.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, letter)) => format!("{:.2}{letter}", bytes as f64 / *unit as f64),
        None => format!("{bytes}B"),
    }
}

fn memory(turn: Turn<'_>, sums: &ShardSums, text: &mut String) {
    let process = turn.node.host.process();
    let stats = &turn.node.stats;
    let used = sums.used_bytes;
    let peak = stats
        .peak_memory
        .fetch_max(used, Ordering::Relaxed)
        .max(used);
    let total = turn.node.budget.total();
    let (scripts, scripts_bytes) = turn.node.cluster.scripts.counts();
    let pairs = [
        ("used_memory", used),
        ("used_memory_rss", process.resident_bytes),
        ("used_memory_peak", peak),
        ("total_system_memory", process.system_memory_bytes),
        ("used_memory_lua", scripts_bytes as u64),
        ("used_memory_scripts", scripts_bytes as u64),
        ("maxmemory", total),
    ];
    for (name, bytes) in pairs {
        let _ = write!(text, "{name}:{bytes}\r\n{name}_human:{}\r\n", human(bytes));
    }
    let _ = write!(text, "number_of_cached_scripts:{scripts}\r\n");
    let _ = write!(
        text,
        "used_memory_peak_perc:{:.2}%\r\n",
        used as f64 * 100.0 / peak.max(1) as f64
    );
    let locks = &turn.node.budget.locks;
    let _ = write!(
        text,
        "lock_memory_bytes:{}\r\nlock_memory_limit:{}\r\n",
        locks.used(),
        locks.limit()
    );
    let _ = write!(
        text,
        "maxmemory_policy:{}\r\n",
        policy_name(turn.node.policy())
    );
    let _ = write!(
        text,
        "mem_fragmentation_ratio:{:.2}\r\n",
        process.resident_bytes as f64 / used.max(1) as f64
    );
    let clients = turn.node.clients_by_id();
    let buffers = |client: &crate::client::Client| {
        client.input_bytes.load(Ordering::Relaxed)
            + client.output_bytes.load(Ordering::Relaxed)
            + client.outbox_bytes() as u64
    };
    text.push_str("used_memory_dataset_perc:100.00%\r\n");
    fields(
        text,
        &[
            ("used_memory_overhead", 0),
            ("used_memory_startup", 0),
            ("used_memory_dataset", used),
            (
                "mem_fragmentation_bytes",
                process.resident_bytes.saturating_sub(used),
            ),
            ("mem_not_counted_for_evict", 0),
            ("mem_clients_slaves", 0),
            (
                "mem_clients_normal",
                clients.iter().map(|client| buffers(client)).sum(),
            ),
            ("mem_aof_buffer", 0),
            ("mem_replication_backlog", 0),
            ("active_defrag_running", 0),
            ("lazyfree_pending_objects", 0),
            ("lazyfreed_objects", 0),
        ],
    );
    text.push_str("mem_allocator:mimalloc\r\n");
}

fn stats(turn: Turn<'_>, sums: &ShardSums, text: &mut String) {
    let node = turn.node;
    let stats = &node.stats;
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let [commands_rate, input_rate, output_rate] = stats.rates();
    let (tracked_keys, tracked_items, tracked_prefixes) = node.tracking.sizes();
    fields(
        text,
        &[
            ("total_connections_received", read(&stats.connections)),
            ("total_commands_processed", stats.commands()),
            ("instantaneous_ops_per_sec", commands_rate),
            ("total_net_input_bytes", read(&stats.input_bytes)),
            ("total_net_output_bytes", read(&stats.output_bytes)),
            ("total_net_repl_input_bytes", 0),
            ("total_net_repl_output_bytes", 0),
        ],
    );
    let kilobytes = |rate: u64| rate as f64 / 1024.0;
    let _ = write!(
        text,
        "instantaneous_input_kbps:{:.2}\r\n",
        kilobytes(input_rate)
    );
    let _ = write!(
        text,
        "instantaneous_output_kbps:{:.2}\r\n",
        kilobytes(output_rate)
    );
    fields(
        text,
        &[
            ("rejected_connections", read(&stats.rejected)),
            ("sync_full", 0),
            ("sync_partial_ok", 0),
            ("sync_partial_err", 0),
            ("expired_keys", read(&stats.expired_keys)),
        ],
    );
    text.push_str("expired_stale_perc:0.00\r\n");
    fields(
        text,
        &[
            ("expired_time_cap_reached_count", 0),
            ("evicted_keys", read(&stats.evicted_keys)),
            ("evicted_clients", 0),
            ("keyspace_hits", sums.hits),
            ("keyspace_misses", sums.misses),
            ("pubsub_channels", node.pubsub.channels_count() as u64),
            ("pubsub_patterns", node.pubsub.patterns_count() as u64),
            (
                "pubsubshard_channels",
                node.pubsub.shard_channels_count() as u64,
            ),
            ("latest_fork_usec", 0),
            ("total_forks", 0),
            ("migrate_cached_sockets", 0),
            ("tracking_total_keys", tracked_keys as u64),
            ("tracking_total_items", tracked_items as u64),
            ("tracking_total_prefixes", tracked_prefixes as u64),
            ("unexpected_error_replies", 0),
            ("total_error_replies", read(&stats.errors)),
            ("dump_payload_sanitizations", 0),
            ("slave_expires_tracked_keys", 0),
            ("active_defrag_hits", 0),
            ("active_defrag_misses", 0),
            ("active_defrag_key_hits", 0),
            ("active_defrag_key_misses", 0),
            ("total_active_defrag_time", 0),
            ("current_active_defrag_time", 0),
            ("io_threaded_reads_processed", 0),
            ("io_threaded_writes_processed", 0),
        ],
    );
}

/// Calls `show` with every command that was called or refused, in order of names.
pub(super) fn each_used_row(turn: Turn<'_>, mut show: impl FnMut(&'static Row, &RowStats)) {
    let mut rows: Vec<&'static Row> = (0..commands::rows_count()).map(commands::row_of).collect();
    rows.sort_by_key(|row| row.full_name());
    for row in rows {
        let stats = turn.node.stats.of(row);
        if stats.calls > 0 || stats.rejected > 0 {
            show(row, &stats);
        }
    }
}

/// The duration in microseconds that `share` percent of the calls stayed below, to the resolution of the classes.
fn percentile_us(latency: &[u64; LATENCY_CLASSES], share: f64) -> f64 {
    let total: u64 = latency.iter().sum();
    let wanted = (total as f64 * share / 100.0).ceil() as u64;
    let mut seen = 0;
    for (class, count) in latency.iter().enumerate() {
        seen += count;
        if seen >= wanted {
            return ((1u64 << class) - 1).max(1) as f64;
        }
    }
    0.0
}

#[cfg(test)]
mod tests;
