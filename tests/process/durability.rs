//! The log on disk: what is acknowledged is there after a kill, and a directory that cannot be used is refused in words.

use crate::until;
use std::fs;
use std::path::Path;
use std::time::Duration;
use torc_tests::{Client, Kind, Server, Value, encode, free_port};

/// How long a server may take to refuse or to stop.
const END_WAIT_MAX: Duration = Duration::from_secs(20);

/// Flags of a server that keeps its log in `directory`.
fn flags<'a>(directory: &'a Path, policy: &'a str) -> [&'a str; 6] {
    let directory = directory.to_str().expect("a plain path");
    [
        "--appendonly",
        "yes",
        "--appendfsync",
        policy,
        "--dir",
        directory,
    ]
}

fn durable(directory: &Path, policy: &str) -> Server {
    Server::start_with(Kind::Tested, &flags(directory, policy))
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory can be made")
}

/// Starts on `directory` and expects one line that names `word`, and no success.
fn refused(directory: &Path, word: &str) {
    let mut server = Server::spawn(Kind::Tested, free_port(), &flags(directory, "always"));
    let code = server.exit_code(END_WAIT_MAX);
    let log = server.log();
    assert!(
        code.is_some_and(|code| code > 0),
        "exit code {code:?}\n{log}"
    );
    assert!(log.contains(word), "no {word:?} in\n{log}");
    let told = log.lines().filter(|line| line.starts_with("torc: "));
    assert_eq!(told.count(), 1, "{log}");
}

fn write(client: &mut Client) {
    for n in 0..100 {
        assert_eq!(
            client.ask(&format!("INCR n{}", n % 10)),
            Value::Integer(n / 10 + 1)
        );
    }
}

fn assert_written(client: &mut Client) {
    for n in 0..10 {
        assert_eq!(client.ask(&format!("GET n{n}")), Value::bulk("10"));
    }
}

#[test]
fn what_was_acknowledged_outlives_a_kill() {
    // Fails when an acknowledged write is lost or done twice, or the cluster is another one afterwards.
    if Server::tests_redis() {
        return; // Redis would need its own file names.
    }
    for policy in ["always", "everysec", "no"] {
        let directory = directory();
        let server = durable(directory.path(), policy);
        let mut client = server.client();
        let id = client.ask("CLUSTER MYID");
        write(&mut client);
        // Dropped is killed.
        drop(server);
        let server = durable(directory.path(), policy);
        let mut client = server.client();
        assert_written(&mut client);
        assert_eq!(client.ask("CLUSTER MYID"), id);
        assert_eq!(client.ask("INCR n0"), Value::Integer(11));
        server.signal("TERM");
        drop(server);
        let server = durable(directory.path(), policy);
        assert_eq!(server.client().ask("INCR n0"), Value::Integer(12));
    }
}

#[test]
fn a_server_tells_that_it_keeps_a_log() {
    // Fails when INFO or CONFIG say other than what is done.
    if Server::tests_redis() {
        return; // Its directory is told resolved.
    }
    let directory = directory();
    let server = durable(directory.path(), "always");
    let mut client = server.client();
    let path = directory.path().to_str().expect("a plain path");
    for (name, value) in [
        ("appendonly", "yes"),
        ("appendfsync", "always"),
        ("dir", path),
    ] {
        let answer = client.ask(&format!("CONFIG GET {name}"));
        assert_eq!(
            answer,
            Value::Array(vec![Value::bulk(name), Value::bulk(value)])
        );
    }
    let info = client.ask("INFO persistence").text();
    assert!(info.contains("aof_enabled:1"), "{info}");
    let mut plain = Server::start();
    let info = plain.client().ask("INFO persistence").text();
    assert!(info.contains("aof_enabled:0"), "{info}");
    assert_eq!(plain.exit_code(Duration::ZERO), None);
}

#[test]
fn a_log_of_what_is_written_over_stays_small() {
    // Fails when the log of a node keeps what was written over: disk and memory, after a restart too, would grow with all that
    // was ever written.
    if Server::tests_redis() {
        return; // Its log is rewritten otherwise.
    }
    const LIVE_BYTES: u64 = 100 * 64 * 1024;
    let directory = directory();
    // Four segments and what the bound allows beside: three of them, and twice the live data.
    let bound = 3 * (64 << 20) + 2 * LIVE_BYTES + (64 << 20);
    let value = vec![b'v'; 64 * 1024];
    let mut bytes = Vec::new();
    (0..100).for_each(|n| {
        encode(
            &mut bytes,
            &[b"SET".as_slice(), format!("key{n}").as_bytes(), &value],
        );
    });
    let size = |client: &mut Client| -> u64 {
        let info = client.ask("INFO persistence").text();
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("aof_current_size:"));
        line.and_then(|size| size.trim().parse().ok())
            .expect("a size")
    };
    for laps in [70, 1] {
        let server = durable(directory.path(), "everysec");
        let mut client = server.client();
        for _ in 0..laps {
            let replies = client.exchange(&bytes, 100).expect("it answers");
            assert!(
                replies
                    .iter()
                    .all(|reply| *reply == Value::Simple("OK".into()))
            );
        }
        until("the log is small again", || size(&mut client) <= bound);
    }
}

#[test]
fn a_directory_in_use_is_refused() {
    // Fails when two processes write one log.
    if Server::tests_redis() {
        return; // Redis lets two servers share a directory.
    }
    let directory = directory();
    let first = durable(directory.path(), "everysec");
    let pid = format!("in use by another process (pid {})", first.pid());
    refused(directory.path(), &pid);
    assert_eq!(
        first.client().ask("SET k v"),
        Value::simple("OK"),
        "the first one lives on"
    );
}

#[test]
fn a_directory_that_cannot_be_used_is_refused() {
    // Fails when a server starts without its log, or what it finds makes it panic.
    if Server::tests_redis() {
        return; // Another format.
    }
    let directory = directory();
    let file = directory.path().join("file");
    fs::write(&file, "").expect("writable");
    refused(&file, "cannot use the data directory");

    // Written, then damaged in several ways; each is put right again before the next.
    let server = durable(directory.path(), "always");
    write(&mut server.client());
    drop(server);
    let log = directory.path().join("appendonlydir");
    let segment = log.join("segment-0000000000000001.log");
    let whole = fs::read(&segment).expect("the first segment");
    let mut newer = whole.clone();
    newer[8] = 99;
    fs::write(&segment, &newer).expect("writable");
    refused(
        directory.path(),
        "of format 99, which is newer than this program's",
    );
    let mut foreign = whole.clone();
    foreign[16] ^= 1;
    fs::write(&segment, &foreign).expect("writable");
    refused(directory.path(), "is damaged at byte 0");
    let mut changed = whole.clone();
    let middle = whole.len() / 2;
    changed[middle] ^= 1;
    fs::write(&segment, &changed).expect("writable");
    refused(directory.path(), "cannot be relied on");
    fs::write(&segment, &whole).expect("writable");
    let key = log.join("node");
    let other = self::directory();
    drop(durable(other.path(), "always"));
    let stolen = other
        .path()
        .join("appendonlydir/segment-0000000000000001.log");
    let second = log.join("segment-0000000000000002.log");
    fs::copy(&stolen, &second).expect("copied");
    refused(directory.path(), "belongs to another node's data");
    fs::remove_file(second).expect("just copied");
    assert!(key.is_file());
    let server = durable(directory.path(), "always");
    assert_written(&mut server.client());
}

#[test]
fn a_node_with_data_stays_in_its_cluster() {
    // Fails when --join makes a node forget its data, or mixes two clusters.
    if Server::tests_redis() {
        return; // Clusters of Redis are made otherwise.
    }
    let (one, other) = (directory(), directory());
    let first = durable(one.path(), "always");
    let second = durable(other.path(), "always");
    let mut client = second.client();
    write(&mut client);
    drop(second);
    // As a node that has its data it goes on alone, whatever it is told to join.
    let join = format!("127.0.0.1:{}", first.port());
    let mut flags = flags(other.path(), "always").to_vec();
    flags.extend(["--join", &join]);
    let second = Server::start_with(Kind::Tested, &flags);
    let mut client = second.client();
    assert_written(&mut client);
    until("a cluster of one", || {
        client
            .ask("CLUSTER INFO")
            .text()
            .contains("cluster_known_nodes:1")
    });
}
