use super::*;
use crate::testing::{Harness, START_MS, WALL_OFFSET_MS};
use proptest::prelude::*;

#[test]
fn time_left_is_told_rounded() {
    // Breaks if TTL truncates, or tells no key from no expiry.
    let mut harness = Harness::new();
    harness.run("SET a 1");
    assert_eq!(harness.run("TTL x"), ":-2\r\n");
    assert_eq!(harness.run("PEXPIRETIME x"), ":-2\r\n");
    assert_eq!(harness.run("PTTL a"), ":-1\r\n");
    assert_eq!(harness.run("EXPIRETIME a"), ":-1\r\n");
    for (left_ms, seconds) in [(1, 0), (499, 0), (500, 1), (1499, 1), (1500, 2)] {
        assert_eq!(harness.run(&format!("PEXPIRE a {left_ms}")), ":1\r\n");
        assert_eq!(harness.run("PTTL a"), format!(":{left_ms}\r\n"));
        assert_eq!(harness.run("TTL a"), format!(":{seconds}\r\n"));
    }
}

#[test]
fn clients_speak_of_wall_time() {
    // Breaks if log time, which starts anywhere, shows through.
    let mut harness = Harness::new();
    harness.run("SET a 1");
    let now_ms = START_MS as i64 + WALL_OFFSET_MS;
    harness.run("EXPIRE a 10");
    assert_eq!(
        harness.run("PEXPIRETIME a"),
        format!(":{}\r\n", now_ms + 10_000)
    );
    assert_eq!(
        harness.run(&format!("EXPIREAT a {}", now_ms / 1000 + 7)),
        ":1\r\n"
    );
    assert_eq!(harness.events(), "expire a");
    assert_eq!(
        harness.run("PTTL a"),
        format!(":{}\r\n", 7000 - now_ms % 1000)
    );
    harness.pass_ms(7000 - (now_ms % 1000) as u64 - 1);
    assert_eq!(harness.run("PTTL a"), ":1\r\n");
    harness.pass_ms(1);
    assert_eq!(harness.run("PTTL a"), ":-2\r\n");
}

#[test]
fn what_ends_now_is_removed() {
    // Breaks if a deadline of now or before leaves the key, or reports an expiry in place of a removal.
    let now_ms = START_MS as i64 + WALL_OFFSET_MS;
    for line in [
        "EXPIRE a 0".to_owned(),
        "PEXPIRE a -1".to_owned(),
        "PEXPIRE a -9223372036854775808".to_owned(),
        "EXPIREAT a 1".to_owned(),
        "EXPIREAT a -9223372036854775".to_owned(),
        format!("PEXPIREAT a {now_ms}"),
    ] {
        let mut harness = Harness::new();
        harness.run("SET a 1");
        assert_eq!(harness.run(&line), ":1\r\n", "{line}");
        assert_eq!(harness.events(), "del a", "{line}");
        assert_eq!(harness.run("EXISTS a"), ":0\r\n", "{line}");
    }
    let mut harness = Harness::new();
    harness.run("SET a 1");
    harness.run(&format!("PEXPIREAT a {}", now_ms + 1));
    assert_eq!(harness.run("PTTL a"), ":1\r\n");
}

#[test]
fn times_beyond_64_bits_are_refused() {
    // Breaks if an overflow wraps around into the past and removes the key.
    let mut harness = Harness::new();
    let max = i64::MAX;
    for (line, name) in [
        (format!("EXPIRE a {max}"), "expire"),
        (format!("EXPIRE a {}", max / 1000), "expire"),
        (format!("EXPIRE a {}", i64::MIN / 1000 - 1), "expire"),
        (format!("EXPIREAT a {}", max / 1000 + 1), "expireat"),
        (format!("PEXPIRE a {max}"), "pexpire"),
    ] {
        harness.run("SET a 1");
        let reply = format!("-ERR invalid expire time in '{name}' command\r\n");
        assert_eq!(harness.run(&line), reply, "{line}");
        assert_eq!(harness.run("TTL a"), ":-1\r\n");
    }
    assert_eq!(harness.run(&format!("PEXPIREAT a {max}")), ":1\r\n");
    assert_eq!(harness.run("PEXPIRETIME a"), format!(":{max}\r\n"));
    assert_eq!(harness.run("EXPIRETIME a"), ":9223372036854776\r\n");
}

#[test]
fn arguments_are_checked_before_the_key() {
    // Breaks if errors come in another order than Redis's: options, number, key.
    let mut harness = Harness::new();
    let integer = "-ERR value is not an integer or out of range\r\n";
    let not_with_nx = "-ERR NX and XX, GT or LT options at the same time are not compatible\r\n";
    for (line, reply) in [
        ("EXPIRE x y", integer),
        ("EXPIRE x 1.5 NX", integer),
        ("EXPIRE x y FOO", "-ERR Unsupported option FOO\r\n"),
        (
            "EXPIRE x y NX \"a\\x00b\\r\\n\"",
            "-ERR Unsupported option a\r\n",
        ),
        (
            "EXPIRE x y \"a\\r\\nb\"",
            "-ERR Unsupported option a  b\r\n",
        ),
        ("EXPIRE x y NX XX", not_with_nx),
        ("EXPIRE x y gt lt nx", not_with_nx),
        (
            "EXPIRE x y GT lt",
            "-ERR GT and LT options at the same time are not compatible\r\n",
        ),
        ("EXPIRE x 1 XX GT", ":0\r\n"),
    ] {
        assert_eq!(harness.run(line), reply, "{line}");
    }
}

#[test]
fn conditions_compare_with_what_is_there() {
    // Breaks if a condition lets a change pass that Redis would not, or the other way round.
    // The options, then the replies: without an expiry, to earlier, to the same, to later.
    for (options, expected) in [
        ("", "1111"),
        ("NX", "1000"),
        ("XX", "0111"),
        ("GT", "0001"),
        ("LT", "1100"),
        ("XX GT", "0001"),
        ("XX LT", "0100"),
    ] {
        let mut replies = String::new();
        for (before, after) in [
            ("PERSIST a", 100),
            ("EXPIRE a 100", 50),
            ("EXPIRE a 100", 100),
            ("EXPIRE a 100", 200),
        ] {
            let mut harness = Harness::new();
            harness.run("SET a 1");
            harness.run(before);
            let reply = harness.run(&format!("EXPIRE a {after} {options}"));
            replies.push_str(&reply[1..2]);
        }
        assert_eq!(replies, expected, "{options}");
    }
}

#[test]
fn persisting_takes_the_expiry_away() {
    // Breaks if PERSIST answers 1 for what had no expiry, or leaves it.
    let mut harness = Harness::new();
    harness.run("SET a 1 PX 100");
    assert_eq!(harness.run("PERSIST a"), ":1\r\n");
    assert_eq!(harness.events(), "persist a");
    assert_eq!(harness.run("PERSIST a"), ":0\r\n");
    assert_eq!(harness.run("PERSIST x"), ":0\r\n");
    harness.pass_ms(1000);
    assert_eq!(harness.run("GET a"), "$1\r\n1\r\n");
}

proptest! {
    #[test]
    fn wall_deadlines_come_back(
        now_ms in 0u64..1 << 45,
        offset_ms in -(1i64 << 45)..1 << 45,
        ahead_ms in 1i64..1 << 45,
    ) {
        // Breaks if the way from wall time to log time and back is not exact, whatever the two differ by.
        let mut cache = cache::Cache::new(1);
        let ctx = Context {
            keyspace: crate::Keyspace::One(&mut cache),
            seed: 1,
            db: 0,
            now_ms,
            wall_offset_ms: offset_ms,
            random: 0,
            first_key_hash: None,
            touch: crate::context::Touch::Yes,
            request: None,
            event_mask: 0,
            events: Default::default(),
        };
        let wall_ms = wall_now_ms(&ctx) + ahead_ms;
        let log_ms = log_deadline_ms(&ctx, wall_ms).unwrap();
        prop_assert_eq!(log_ms, now_ms + ahead_ms as u64);
        prop_assert_eq!(wall_deadline_ms(&ctx, log_ms), wall_ms);
        prop_assert_eq!(log_deadline_ms(&ctx, wall_ms - ahead_ms), None);
    }
}
