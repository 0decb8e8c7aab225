//! INFO.

use crate::testing::{Client, node};

fn field<'a>(info: &'a str, name: &str) -> &'a str {
    info.split(' ')
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .unwrap_or_else(|| panic!("no field {name} in {info}"))
}

#[test]
fn the_fields_that_clients_read_are_there() {
    // Breaks if a client or exporter that gates on a field finds none: ioredis waits for `loading` for ever.
    let (node, _) = node();
    let mut client = Client::new(&node);
    let info = client.run("INFO");
    let names = "redis_version torc_version redis_mode arch_bits tcp_port uptime_in_seconds run_id process_id \
        connected_clients maxclients blocked_clients tracking_clients used_memory used_memory_human \
        used_memory_rss used_memory_peak maxmemory maxmemory_policy mem_fragmentation_ratio mem_allocator loading \
        rdb_bgsave_in_progress rdb_last_bgsave_status aof_enabled aof_last_write_status total_connections_received total_commands_processed \
        instantaneous_ops_per_sec expired_keys evicted_keys keyspace_hits keyspace_misses pubsub_channels \
        pubsub_patterns role connected_slaves master_repl_offset used_cpu_sys used_cpu_user cluster_enabled";
    for name in names.split_whitespace() {
        assert_ne!(field(&info, name), "", "{name}");
    }
    assert!(!info.contains("# Commandstats"));
    let all = client.run("INFO everything");
    assert!(all.contains("# Commandstats") && all.contains("cmdstat_info:calls=1"));
    assert_eq!(client.run("INFO nosuch"), "$0");
    let two = client.run("INFO keyspace cpu");
    assert!(two.contains("# CPU") && two.contains("# Keyspace") && !two.contains("# Server"));
}

#[test]
fn hits_and_misses_are_those_of_reads() {
    // Breaks if the hit rate that people tune a cache by is made up.
    let (node, _) = node();
    let mut client = Client::new(&node);
    client.pipeline(&[
        "SET a 1",
        "GET a",
        "GET b",
        "MGET a b c",
        "EXISTS a",
        "TTL b",
    ]);
    client.pipeline(&["SET d 1 NX", "EXPIRE a 10", "DEL d", "INCR n"]);
    let info = client.run("INFO stats");
    assert_eq!(field(&info, "keyspace_hits"), "3");
    assert_eq!(field(&info, "keyspace_misses"), "4");
    client.run("CONFIG RESETSTAT");
    let info = client.run("INFO stats");
    assert_eq!(field(&info, "keyspace_hits"), "0");
    assert_eq!(field(&info, "keyspace_misses"), "0");
}

#[test]
fn a_database_tells_its_keys_and_how_long_they_live() {
    // Breaks if redis-cli --stat and dashboards see no keys, or keys without an expiry count as having one.
    let (node, clock) = node();
    let mut client = Client::new(&node);
    for n in 0..50 {
        client.run(&format!("SET k{n} 1 EX 100"));
    }
    client.pipeline(&["SELECT 3", "SET x 1"]);
    clock.advance_ms(10_000);
    client.run("GET x");
    let info = client.run("INFO keyspace");
    assert_eq!(field(&info, "db3"), "keys=1,expires=0,avg_ttl=0");
    let first = field(&info, "db0");
    let ttl: u64 = first
        .strip_prefix("keys=50,expires=50,avg_ttl=")
        .and_then(|ttl| ttl.parse().ok())
        .unwrap_or_else(|| panic!("{first}"));
    assert!((89_000..=100_000).contains(&ttl), "{ttl}");
}

#[test]
fn the_longest_lives_have_an_average_too() {
    // Breaks if remaining times are added up in 64 bits: INFO panicked, or told nonsense.
    let (node, _) = node();
    let mut client = Client::new(&node);
    client.pipeline(&[
        "PSETEX a 9223370000000000000 1",
        "PSETEX b 9223370000000000000 1",
    ]);
    let info = client.run("INFO keyspace");
    assert_eq!(
        field(&info, "db0"),
        "keys=2,expires=2,avg_ttl=9223370000000000000"
    );
}

#[test]
fn errors_are_counted_by_their_code() {
    // Breaks if errorstats takes words out of the middle of a text or a value for a code.
    let (node, _) = node();
    let mut client = Client::new(&node);
    client.pipeline(&[
        "SET a -x",
        "INCR a",
        "GET a",
        "NOSUCH -WRONG",
        "SET a",
        "HELLO 9",
    ]);
    let info = client.run("INFO errorstats");
    assert_eq!(field(&info, "errorstat_ERR"), "count=3");
    assert_eq!(field(&info, "errorstat_NOPROTO"), "count=1");
    assert_eq!(info.matches("errorstat_").count(), 2, "{info}");
    let info = client.run("INFO commandstats");
    assert!(field(&info, "cmdstat_incr").ends_with("rejected_calls=0,failed_calls=1"));
    assert!(field(&info, "cmdstat_set").ends_with("rejected_calls=1,failed_calls=0"));
}
