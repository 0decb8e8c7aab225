use crate::testing::{Harness, run_golden};
use cache::{PACKED_BYTES_MAX, PACKED_LEN_MAX};
use std::collections::BTreeSet;

#[test]
fn replies_and_events_are_those_of_redis() {
    // Breaks if a reply, an error's text, the order of checks or a keyspace event differs from redis-server's.
    run_golden(include_str!("../../testdata/hash.txt"));
}

/// Sets fields `f0` … in a hash at `h`.
fn fill(h: &mut Harness, fields_count: usize) {
    for at in 0..fields_count {
        assert_eq!(h.run(&format!("HSET h f{at} v{at}")), ":1\r\n");
    }
}

/// The bulk strings of a reply.
fn bulks(reply: &str) -> Vec<&str> {
    let lines: Vec<&str> = reply.split("\r\n").collect();
    let is_head = |at: &usize| lines[*at].starts_with('$');
    (0..lines.len())
        .filter(is_head)
        .map(|at| lines[at + 1])
        .collect()
}

/// Walks over `h` to the end; the elements, and how many steps they took.
fn walk(h: &mut Harness, options: &str) -> (Vec<String>, usize) {
    let (mut cursor, mut found, mut steps) = ("0".to_owned(), Vec::new(), 0);
    loop {
        let reply = h.run(&format!("HSCAN h {cursor} {options}"));
        let mut elements = bulks(&reply).into_iter();
        cursor = elements.next().unwrap().to_owned();
        found.extend(elements.map(str::to_owned));
        steps += 1;
        if cursor == "0" {
            return (found, steps);
        }
    }
}

#[test]
fn a_large_hash_is_walked_step_by_step() {
    // Breaks if a walk misses a field, answers its values against the client's wish, or is one long step.
    let mut h = Harness::new();
    fill(&mut h, 1000);
    let (found, steps) = walk(&mut h, "COUNT 50");
    assert_eq!(steps, 20);
    let pairs: BTreeSet<_> = found.chunks(2).map(|pair| (&pair[0], &pair[1])).collect();
    assert_eq!(pairs.len(), 1000);
    assert!(pairs.iter().all(|(field, value)| field[1..] == value[1..]));
    assert_eq!(walk(&mut h, "NOVALUES COUNT 10000").0.len(), 1000);
    assert_eq!(walk(&mut h, "MATCH f99* novalues").0.len(), 11);
    assert_eq!(walk(&mut h, "").1, 100);
}

#[test]
fn a_field_that_stays_is_seen_by_every_walk() {
    // Breaks if fields that come and go meanwhile hide one that was there all the time.
    let mut h = Harness::new();
    fill(&mut h, 300);
    let (mut cursor, mut seen) = ("0".to_owned(), BTreeSet::new());
    for turn in 0.. {
        let reply = h.run(&format!("HSCAN h {cursor} NOVALUES COUNT 7"));
        let found = bulks(&reply);
        seen.extend(found[1..].iter().map(|field| (*field).to_owned()));
        cursor = found[0].to_owned();
        if cursor == "0" {
            break;
        }
        h.run(&format!("HDEL h f{} new{}", 200 + turn, turn / 2));
        h.run(&format!("HSET h new{turn} x"));
    }
    for at in 0..200 {
        assert!(seen.contains(&format!("f{at}")), "f{at}");
    }
}

#[test]
fn fields_by_lot_are_different_unless_asked_otherwise() {
    // Breaks if a draw repeats a field, leaves some out for good, or differs from replica to replica.
    let mut h = Harness::new();
    fill(&mut h, 200);
    let mut seen = BTreeSet::new();
    for random in 0..200 {
        h.random = random;
        let reply = h.run("HRANDFIELD h 20");
        let fields: BTreeSet<_> = bulks(&reply).into_iter().collect();
        assert_eq!(fields.len(), 20);
        assert_eq!(h.run("HRANDFIELD h 20"), reply);
        seen.extend(fields.into_iter().map(str::to_owned));
    }
    assert_eq!(seen.len(), 200);
    let reply = h.run("HRANDFIELD h -500");
    let drawn: BTreeSet<_> = bulks(&reply).into_iter().collect();
    assert_eq!(bulks(&reply).len(), 500);
    assert!((150..=200).contains(&drawn.len()), "{}", drawn.len());
    let reply = h.run("HRANDFIELD h -9 WITHVALUES");
    let pairs = bulks(&reply);
    assert!(pairs.chunks(2).all(|pair| pair[0][1..] == pair[1][1..]));
}

#[test]
fn too_many_draws_are_refused() {
    // Breaks if one request can fill memory with the same field again and again.
    let mut h = Harness::new();
    h.run("HSET h f v");
    let refused = "-ERR value is out of range\r\n";
    assert_eq!(h.run("HRANDFIELD h -1048577"), refused);
    assert_eq!(h.run("HRANDFIELD h -9223372036854775807"), refused);
    let long = "x".repeat(1 << 20);
    h.run(&format!("HSET h f {long}"));
    assert_eq!(h.run("HRANDFIELD h -1000 WITHVALUES"), refused);
    assert_eq!(bulks(&h.run("HRANDFIELD h -1000")).len(), 1000);
}

#[test]
fn a_hash_grows_and_keeps_its_fields() {
    // Breaks if a hash loses a field, or its encoding's name, when it is no longer small.
    let mut h = Harness::new();
    fill(&mut h, PACKED_LEN_MAX);
    assert_eq!(h.run("OBJECT ENCODING h"), "$8\r\nlistpack\r\n");
    h.run("HSET h one more");
    assert_eq!(h.run("OBJECT ENCODING h"), "$9\r\nhashtable\r\n");
    assert_eq!(h.run("HLEN h"), format!(":{}\r\n", PACKED_LEN_MAX + 1));
    assert_eq!(h.run("HGET h f7"), "$2\r\nv7\r\n");
    let long = "x".repeat(PACKED_BYTES_MAX);
    h.run(&format!("HSET long f {long}"));
    assert_eq!(h.run("OBJECT ENCODING long"), "$8\r\nlistpack\r\n");
    h.run(&format!("HSET long f {long}x"));
    assert_eq!(h.run("OBJECT ENCODING long"), "$9\r\nhashtable\r\n");
    assert_eq!(
        h.run("HSTRLEN long f"),
        format!(":{}\r\n", PACKED_BYTES_MAX + 1)
    );
}
