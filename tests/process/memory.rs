//! The memory limit, as far as a process shows it.

use torc_tests::{Client, Kind, Server, Value};

fn info(client: &mut Client, field: &str) -> u64 {
    let text = client.ask("INFO").text();
    let line = text.lines().find_map(|line| {
        line.strip_prefix(field)
            .and_then(|rest| rest.strip_prefix(':'))
    });
    line.unwrap_or_else(|| panic!("no {field} in INFO"))
        .trim()
        .parse()
        .expect("a number")
}

#[test]
fn without_eviction_writes_end_with_redis_s_oom() {
    // Fails when noeviction drops a key, or a full server refuses to read or to delete.
    let server = Server::start_with(
        Kind::Tested,
        &["--maxmemory", "16mb", "--maxmemory-policy", "noeviction"],
    );
    let mut client = server.client();
    let value = "v".repeat(10_000);
    let oom = Value::error("OOM command not allowed when used memory > 'maxmemory'.");
    let mut stored = 0;
    let refused = (0..4000).find_map(|number| {
        match client.ask_args(&["SET", &format!("k{number}"), &value]) {
            Value::Simple(_) => {
                stored += 1;
                None
            }
            other => Some(other),
        }
    });
    assert_eq!(refused, Some(oom.clone()), "after {stored} keys");
    assert!(
        (700..1700).contains(&stored),
        "16 MB held {stored} values of 10 kB"
    );
    assert_eq!(client.ask("DBSIZE"), Value::Integer(stored));
    assert_eq!(client.ask("GET k0"), Value::bulk(&value), "reading goes on");
    assert_eq!(client.ask_args(&["APPEND", "k0", &value]), oom);
    for number in 0..stored / 2 {
        assert_eq!(client.ask(&format!("DEL k{number}")), Value::Integer(1));
    }
    assert_eq!(
        client.ask_args(&["SET", "again", &value]),
        Value::simple("OK"),
        "room was made"
    );
}

#[test]
fn with_lru_the_newest_keys_stay_and_memory_is_bounded() {
    // Fails when the budget does not hold, the wrong keys go, or a read does not keep a key.
    let mut flags = vec!["--maxmemory", "32mb", "--maxmemory-policy", "allkeys-lru"];
    if Server::tests_redis() {
        flags.extend(["--maxmemory-samples", "64"]); // Redis's LRU is by samples.
    }
    let server = Server::start_with(Kind::Tested, &flags);
    let mut client = server.client();
    let value = "v".repeat(1000);
    client.ask_args(&["SET", "kept", &value]);
    for number in 0..120_000 {
        assert_eq!(
            client.ask_args(&["SET", &format!("key:{number}"), &value]),
            Value::simple("OK")
        );
        if number % 200 == 0 {
            assert_eq!(
                client.ask("GET kept"),
                Value::bulk(&value),
                "a key that is read stays (after {number})"
            );
        }
    }
    let keys = client.ask("DBSIZE").integer().expect("a number");
    assert!(
        (10_000..33_000).contains(&keys),
        "32 MB held {keys} values of 1 kB"
    );
    assert!(
        info(&mut client, "used_memory") <= 33 << 20,
        "{}",
        info(&mut client, "used_memory")
    );
    assert!(info(&mut client, "evicted_keys") > 80_000);
    assert_eq!(
        client.ask("EXISTS key:119999 key:119998 key:119990"),
        Value::Integer(3),
        "the newest are there"
    );
    assert_eq!(
        client.ask("EXISTS key:0 key:1 key:2"),
        Value::Integer(0),
        "the oldest are gone"
    );
}

#[test]
fn locks_are_never_evicted() {
    // Fails when LRU takes a lock away from its holder.
    let server = Server::start_with(
        Kind::Tested,
        &["--maxmemory", "16mb", "--maxmemory-policy", "allkeys-lru"],
    );
    if Server::tests_redis() {
        return; // Redis evicts them.
    }
    let mut client = server.client();
    for number in 0..100 {
        assert_eq!(
            client.ask(&format!("SET lock:{number} token NX PX 600000")),
            Value::simple("OK")
        );
    }
    let value = "v".repeat(1000);
    for number in 0..60_000 {
        assert_eq!(
            client.ask_args(&["SET", &format!("key:{number}"), &value]),
            Value::simple("OK")
        );
    }
    for number in 0..100 {
        assert_eq!(
            client.ask(&format!("GET lock:{number}")),
            Value::bulk("token"),
            "lock:{number}"
        );
    }
}

#[test]
fn a_value_beyond_the_whole_budget_is_refused_and_nothing_is_lost() {
    // Fails when one oversized value empties the cache or stops the server.
    let server = Server::start_with(Kind::Tested, &["--maxmemory", "8mb"]);
    if Server::tests_redis() {
        return; // Redis takes it and evicts everything after.
    }
    let mut client = server.client();
    assert_eq!(client.ask("SET small 1"), Value::simple("OK"));
    let reply = client.ask_args(&["SET", "large", &"v".repeat(20 << 20)]);
    assert_eq!(
        reply,
        Value::error("OOM command not allowed when used memory > 'maxmemory'.")
    );
    assert_eq!(client.ask("GET small"), Value::bulk("1"));
    assert_eq!(client.ask("EXISTS large"), Value::Integer(0));
}

#[test]
fn a_huge_value_goes_in_and_out_again() {
    // Fails when a value of the greatest size is refused, cut or changed. The full 512 MB are used
    // where the machine has room and nobody waits; 64 MB in the automatic checks.
    let available = std::fs::read_to_string("/proc/meminfo")
        .unwrap_or_default()
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemAvailable:")
                .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok())
        })
        .unwrap_or(0);
    let whole = std::env::var_os("TORC_TEST_HUGE").is_some() && available > 8 << 20;
    let length: usize = if whole { 512 << 20 } else { 64 << 20 };
    let server = Server::start_with(Kind::Tested, &["--maxmemory", "3gb"]);
    let mut client = server.client();
    let value: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
    assert_eq!(
        client.ask_args(&[b"SET".as_slice(), b"huge", &value]),
        Value::simple("OK")
    );
    assert_eq!(client.ask("STRLEN huge"), Value::Integer(length as i64));
    let mut bystander = server.client();
    client.send_args(&["GET", "huge"]).expect("sent");
    assert_eq!(bystander.ask("PING"), Value::simple("PONG"));
    assert!(
        client.receive().expect("the value") == Value::Bulk(value),
        "the value came back changed"
    );
    assert_eq!(client.ask("DEL huge"), Value::Integer(1));
}

#[test]
fn expired_keys_are_reclaimed_without_being_touched() {
    // Fails when keys that nobody asks for again stay in memory for ever.
    let server = Server::start();
    let mut client = server.client();
    let value = "v".repeat(500);
    for number in 0..20_000 {
        client.ask_args(&["SET", &format!("short:{number}"), &value, "PX", "50"]);
    }
    client.ask("SET stays 1");
    crate::until("the expired keys' end", || {
        client.ask("DBSIZE") == Value::Integer(1)
    });
    assert_eq!(info(&mut client, "expired_keys"), 20_000);
}
